/* lucidrains: the state dicts of two packages, as safetensors, beside a config.json of ours that holds the arguments of the constructor.
 *
 *   "model_type": "linformer"         "architectures": ["LinformerLM"]   linformer 0.2: LinformerLM. Wang et al. 2020, arXiv:2006.04768
 *   "model_type": "reformer-pytorch"  "architectures": ["ReformerLM"]    reformer-pytorch 1.4: ReformerLM. Kitaev et al. 2020, arXiv:2001.04451
 *
 * Every key is an argument by its own name, with the package's default; a key that is none, and a value that needs what is not here (rotary positions,
 * memory keys, local heads, ...), is refused. Arguments that matter in training alone are taken. Names may begin with "net." (Autopadder).
 *
 * Linformer stores its projections (seq_len, k); here they are (k, seq_len). reformer-pytorch takes as many buckets as a text has chunks; here a
 * model has `n_buckets`, max_seq_len / bucket_size where the config has none: longest texts give the package's numbers. Its rotations: reformer.c. */
#include <stdio.h>
#include <string.h>

#include "formats/hf.h"
#include "formats/rotations.h"
#include "formats/transpose.h"
#include "runtime/graph/attention/attention.h"

#define PREFIX "net."
#define EPS 1e-5f /* torch.nn.LayerNorm */

struct lucid {
    const struct xc_hf_config *cfg;
    struct xc_graph *g;
    int64_t vocab, dim, emb_dim, positions, depth, heads, head_dim;
    /* linformer */
    int64_t slots;
    bool one_kv, share_kv, reversible;
    /* reformer-pytorch */
    int64_t bucket_size, n_buckets, rounds, seed;
    int64_t axial[2]; /* 0 = a table of absolute positions */
    bool causal;
};

static enum xc_status refuse_true(const struct xc_hf_config *cfg, const char *const *keys, size_t n, struct xc_err *err)
{
    for (size_t i = 0; i < n; i++) {
        bool on;

        XC_TRY(xc_json_bool_or(&on, cfg->json, keys[i], false, err));
        if (on) return xc_fail(err, XC_E_UNSUPPORTED, "'%s' is true, which is not supported", keys[i]);
    }
    return XC_OK;
}

static enum xc_status read_common(struct lucid *l, const char *positions, int64_t fallback_head_dim, struct xc_err *err)
{
    const json_t *json = l->cfg->json;

    XC_TRY(xc_json_int(&l->vocab, json, "num_tokens", 1, 1 << 24, err));
    XC_TRY(xc_json_int(&l->dim, json, "dim", 1, 1 << 20, err));
    XC_TRY(xc_json_int(&l->positions, json, positions, 1, 1 << 24, err));
    XC_TRY(xc_json_int(&l->depth, json, "depth", 0, 1024, err));
    XC_TRY(xc_json_int_or(&l->heads, json, "heads", 1, 1 << 12, 8, err));
    if (!fallback_head_dim && l->dim % l->heads) return xc_fail(err, XC_E_FORMAT, "%lld heads do not divide 'dim' of %lld", (long long)l->heads, (long long)l->dim);
    return xc_json_int_or(&l->head_dim, json, "dim_head", 1, 1 << 12, fallback_head_dim ? fallback_head_dim : l->dim / l->heads, err);
}

/* ---- what both share ---- */
static enum xc_status open_graph(struct lucid *l, struct xc_model *m, int32_t *ids, int32_t *word, struct xc_err *err)
{
    const struct xc_space tokens = { .name = "tokens", .map = XC_MAP_INPUT }, sequences = { .name = "sequences", .map = XC_MAP_SEQUENCE };
    int32_t space, unused;

    XC_TRY(xc_model_add_graph(m, &l->g, "encode", err));
    XC_TRY(xc_graph_add_space(l->g, &space, &tokens, err));
    XC_TRY(xc_graph_add_space(l->g, &unused, &sequences, err));
    XC_TRY(xc_graph_add_input(l->g, ids, "ids", space, 1, XC_DTYPE_I32, err));
    return xc_hf_embedding(l->g, l->cfg, PREFIX, "token_emb", *ids, l->vocab, l->emb_dim, word, err);
}

static enum xc_status positions(const struct lucid *l, int32_t ids, const char *table, int32_t *out, struct xc_err *err)
{
    const struct xc_attr_positions attr = { .skip_id = -1 };

    XC_TRY(xc_graph_add_node(l->g, out, "positions", "position_ids", (struct xc_ref[]){ xc_val(ids) }, 1, &attr, err));
    return xc_hf_embedding(l->g, l->cfg, PREFIX, table, *out, l->positions, l->emb_dim, out, err);
}

/* fn(norm(x)), where norm and fn are modules below `base`: y of `attend` or of the feed-forward. */
static enum xc_status feed_forward(const struct lucid *l, const char *base, const char *chunk, int32_t x, int32_t *y, struct xc_err *err)
{
    char name[160];

    snprintf(name, sizeof name, "%snorm", base);
    XC_TRY(xc_hf_layer_norm(l->g, l->cfg, y, PREFIX, name, x, EPS, err));
    snprintf(name, sizeof name, "%sfn.%sw1", base, chunk);
    XC_TRY(xc_hf_linear(l->g, l->cfg, y, PREFIX, name, *y, l->dim * 4, err));
    snprintf(name, sizeof name, "%sfn.%sact", base, chunk);
    XC_TRY(xc_hf_unary(l->g, y, name, *y, XC_ACT_GELU, err));
    snprintf(name, sizeof name, "%sfn.%sw2", base, chunk);
    return xc_hf_linear(l->g, l->cfg, y, PREFIX, name, *y, l->dim, err);
}

static enum xc_status add_to(const struct lucid *l, const char *base, int32_t *stream, int32_t y, struct xc_err *err)
{
    char name[160];

    snprintf(name, sizeof name, "%sresidual", base);
    return xc_hf_add(l->g, stream, name, *stream, y, err);
}

static enum xc_status finish(const struct lucid *l, int32_t x, const char *logits, struct xc_err *err)
{
    const char *head = l->cfg->head;

    if (!strcmp(head, "embed")) return xc_hf_embed_head(l->g, l->cfg, x, err);
    if (!strcmp(head, "mlm") || !strcmp(head, "lm")) XC_TRY(xc_hf_linear(l->g, l->cfg, &x, PREFIX, logits, x, l->vocab, err));
    else if (strcmp(head, "encode")) return xc_fail(err, XC_E_UNSUPPORTED, "this package has no head '%s'", head);
    return xc_graph_add_output(l->g, x, err);
}

/* ---- linformer ---- */
static enum xc_status linformer_config(struct lucid *l, struct xc_err *err)
{
    static const char *const keys[] = { "num_tokens", "dim", "seq_len", "depth", "k", "heads", "dim_head", "one_kv_head", "share_kv", "reversible", "dropout" };

    XC_TRY(xc_hf_known_keys(l->cfg->json, keys, XC_ARRAY_LEN(keys), "linformer", err));
    XC_TRY(read_common(l, "seq_len", 0, err));
    l->emb_dim = l->dim;
    XC_TRY(xc_json_int_or(&l->slots, l->cfg->json, "k", 1, 1 << 20, 256, err));
    XC_TRY(xc_json_bool_or(&l->one_kv, l->cfg->json, "one_kv_head", false, err));
    XC_TRY(xc_json_bool_or(&l->share_kv, l->cfg->json, "share_kv", false, err));
    return xc_json_bool_or(&l->reversible, l->cfg->json, "reversible", false, err);
}

/* (seq_len, k) in the file, (k, seq_len) here. */
static enum xc_status projection(const struct lucid *l, const char *base, const char *which, int32_t *id, struct xc_err *err)
{
    int64_t dim[2] = { l->positions, l->slots };
    const int32_t had = l->g->model->n_tensors;
    char name[160];

    snprintf(name, sizeof name, "%sfn.proj_%s", base, which);
    XC_TRY(xc_hf_tensor(l->g->model, l->cfg, id, PREFIX, name, 2, dim, err));
    return l->g->model->n_tensors > had ? xc_transpose(l->g->model->tensors[*id], err) : XC_OK;
}

static enum xc_status linformer_attention(const struct lucid *l, const char *base, int32_t x, int32_t *y, struct xc_err *err)
{
    const int64_t kv = l->one_kv ? 1 : l->heads;
    const struct xc_attr_attention attr = { .kind = xc_attention_kind_named("linformer"), .heads = (int32_t)l->heads, .kv_heads = (int32_t)kv, .slots = (int32_t)l->slots };
    int32_t q, k, v, e, f;
    char name[160];

    snprintf(name, sizeof name, "%snorm", base);
    XC_TRY(xc_hf_layer_norm(l->g, l->cfg, &x, PREFIX, name, x, EPS, err));
    snprintf(name, sizeof name, "%sfn.to_q", base);
    XC_TRY(xc_hf_linear(l->g, l->cfg, &q, PREFIX, name, x, l->heads * l->head_dim, err));
    snprintf(name, sizeof name, "%sfn.to_k", base);
    XC_TRY(xc_hf_linear(l->g, l->cfg, &k, PREFIX, name, x, kv * l->head_dim, err));
    XC_TRY(projection(l, base, "k", &e, err));
    v = k;
    f = -1;
    if (!l->share_kv) { /* else values are the keys, and their projection too */
        snprintf(name, sizeof name, "%sfn.to_v", base);
        XC_TRY(xc_hf_linear(l->g, l->cfg, &v, PREFIX, name, x, kv * l->head_dim, err));
        XC_TRY(projection(l, base, "v", &f, err));
    }
    snprintf(name, sizeof name, "%sfn.attention", base);
    XC_TRY(xc_graph_add_node(l->g, y, "attention", name, (struct xc_ref[]){ xc_val(q), xc_val(k), xc_val(v), xc_ten(e), f < 0 ? xc_none() : xc_ten(f) }, f < 0 ? 4 : 5, &attr, err));
    snprintf(name, sizeof name, "%sfn.to_out", base);
    return xc_hf_linear(l->g, l->cfg, y, PREFIX, name, *y, l->dim, err);
}

static enum xc_status linformer_build(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    struct lucid l = { .cfg = cfg };
    int32_t ids, word, position, x, x1, y;

    (void)opts;
    XC_TRY(linformer_config(&l, err));
    XC_TRY(open_graph(&l, m, &ids, &word, err));
    XC_TRY(positions(&l, ids, "pos_emb", &position, err));
    XC_TRY(xc_hf_add(l.g, &x, "embeddings.sum", position, word, err));
    x1 = x;
    for (int i = 0; i < (int)l.depth; i++) {
        char base[96];

        snprintf(base, sizeof base, l.reversible ? "linformer.net.blocks.%d.f.net." : "linformer.net.layers.%d.0.", i);
        XC_TRY(linformer_attention(&l, base, x, &y, err));
        XC_TRY(add_to(&l, base, l.reversible ? &x1 : &x, y, err));
        snprintf(base, sizeof base, l.reversible ? "linformer.net.blocks.%d.g.net." : "linformer.net.layers.%d.1.", i);
        XC_TRY(feed_forward(&l, base, "", l.reversible ? x1 : x, &y, err));
        XC_TRY(add_to(&l, base, &x, y, err));
    }
    if (l.reversible) XC_TRY(xc_hf_add(l.g, &x, "linformer.streams", x1, x, err));
    return finish(&l, x, "to_logits", err);
}

static enum xc_status linformer_to_file(struct xc_tensor *t, struct xc_err *err)
{
    const char *tail = strrchr(t->name, '.');

    return tail && (!strcmp(tail, ".proj_k") || !strcmp(tail, ".proj_v")) ? xc_transpose(t, err) : XC_OK;
}

/* ---- reformer-pytorch ---- */
static enum xc_status reformer_config(struct lucid *l, struct xc_err *err)
{
    static const char *const keys[] = {
        "num_tokens", "dim", "depth", "max_seq_len", "heads", "dim_head", "bucket_size", "n_buckets", "n_hashes", "causal", "emb_dim", "axial_position_emb", "axial_position_shape",
        "absolute_position_emb", "hash_seed", "random_rotations_per_head", "ff_mult", "num_mem_kv", "n_local_attn_heads", "full_attn_thres", "fixed_position_emb", "use_scale_norm",
        "use_rezero", "use_full_attn", "one_value_head", "ff_glu", "weight_tie_embedding", "return_embeddings", /* what training and memory alone see: */
        "weight_tie", "ff_chunks", "attn_chunks", "reverse_thres", "lsh_dropout", "ff_dropout", "post_attn_dropout", "layer_dropout",
    };
    static const char *const off[] = { "fixed_position_emb", "use_scale_norm", "use_rezero", "use_full_attn", "one_value_head", "ff_glu", "weight_tie_embedding", "return_embeddings" };
    static const struct { const char *key; int64_t only; } fixed[] = { { "num_mem_kv", 0 }, { "n_local_attn_heads", 0 }, { "ff_mult", 4 }, { "full_attn_thres", 0 } };
    const json_t *json = l->cfg->json;
    json_t *shape;
    bool axial, absolute;

    XC_TRY(xc_hf_known_keys(json, keys, XC_ARRAY_LEN(keys), "reformer-pytorch", err));
    XC_TRY(refuse_true(l->cfg, off, XC_ARRAY_LEN(off), err));
    for (size_t i = 0; i < XC_ARRAY_LEN(fixed); i++) {
        int64_t value;

        XC_TRY(xc_json_int_or(&value, json, fixed[i].key, 0, 1 << 24, fixed[i].only, err));
        if (value != fixed[i].only) return xc_fail(err, XC_E_UNSUPPORTED, "'%s' is %lld; only %lld is supported", fixed[i].key, (long long)value, (long long)fixed[i].only);
    }
    XC_TRY(read_common(l, "max_seq_len", 64, err));
    XC_TRY(xc_json_int_or(&l->emb_dim, json, "emb_dim", 1, 1 << 20, l->dim, err));
    XC_TRY(xc_json_int_or(&l->bucket_size, json, "bucket_size", 1, 1 << 16, 64, err));
    XC_TRY(xc_json_int_or(&l->n_buckets, json, "n_buckets", 2, 1 << 12, xc_max_i64(l->positions / l->bucket_size, 2), err));
    XC_TRY(xc_json_int_or(&l->rounds, json, "n_hashes", 1, 256, 4, err));
    XC_TRY(xc_json_int_or(&l->seed, json, "hash_seed", 0, INT64_MAX, 0, err));
    XC_TRY(xc_json_bool_or(&l->causal, json, "causal", false, err));
    XC_TRY(xc_json_bool_or(&axial, json, "axial_position_emb", false, err));
    XC_TRY(xc_json_bool_or(&absolute, json, "absolute_position_emb", false, err));
    if (l->n_buckets % 2 || l->n_buckets > 1 << 12)
        return xc_fail(err, XC_E_FORMAT, "%lld buckets ('n_buckets', or 'max_seq_len' / 'bucket_size') must be an even number of at most %d", (long long)l->n_buckets, 1 << 12);
    if (!axial && !absolute)
        return xc_fail(err, XC_E_UNSUPPORTED, "rotary positions in every layer, which is what neither 'axial_position_emb' nor 'absolute_position_emb' means, are not supported");
    if (!axial) return XC_OK;
    XC_TRY(xc_json_array_or(&shape, json, "axial_position_shape", err));
    l->axial[0] = (l->positions + l->bucket_size - 1) / l->bucket_size;
    l->axial[1] = l->bucket_size;
    if (shape && (json_array_size(shape) != 2 || !xc_json_as_int(&l->axial[0], json_array_get(shape, 0), 1, 1 << 20) ||
                  !xc_json_as_int(&l->axial[1], json_array_get(shape, 1), 1, 1 << 20)))
        return xc_fail(err, XC_E_FORMAT, "'axial_position_shape' must be two numbers from 1 to %d", 1 << 20);
    if (l->axial[0] * l->axial[1] < l->positions)
        return xc_fail(err, XC_E_FORMAT, "'axial_position_shape' of %lld x %lld is smaller than 'max_seq_len' of %lld", (long long)l->axial[0], (long long)l->axial[1], (long long)l->positions);
    return XC_OK;
}

/* The package adds the two axial tables. */
static enum xc_status axial_positions(const struct lucid *l, int32_t ids, int32_t x, int32_t *out, struct xc_err *err)
{
    const struct xc_attr_positions at[2] = { { .skip_id = -1, .divide = (int32_t)l->axial[1] }, { .skip_id = -1, .modulo = (int32_t)l->axial[1] } };
    const int64_t dim[2][4] = { { 1, l->axial[0], 1, l->emb_dim }, { 1, 1, l->axial[1], l->emb_dim } };
    int32_t part[2], table;

    for (int i = 0; i < 2; i++) {
        const int64_t rows[2] = { l->axial[i], l->emb_dim };
        char name[64];

        snprintf(name, sizeof name, "position_ids.%d", i);
        XC_TRY(xc_graph_add_node(l->g, &part[i], "positions", name, (struct xc_ref[]){ xc_val(ids) }, 1, &at[i], err));
        snprintf(name, sizeof name, "pos_emb.weights.%d", i);
        XC_TRY(xc_hf_tensor_as(l->g->model, l->cfg, &table, PREFIX, name, 4, dim[i], 2, rows, err));
        XC_TRY(xc_graph_add_node(l->g, &part[i], "gather", name, (struct xc_ref[]){ xc_val(part[i]), xc_ten(table) }, 2, NULL, err));
    }
    XC_TRY(xc_hf_add(l->g, out, "pos_emb", part[0], part[1], err));
    return xc_hf_add(l->g, out, "embeddings.sum", x, *out, err);
}

static enum xc_status lsh_attention(const struct lucid *l, const char *base, int layer, int32_t x, int32_t *y, struct xc_err *err)
{
    const struct xc_attr_attention attr = { .kind = xc_attention_kind_named("reformer"), .heads = (int32_t)l->heads, .causal = l->causal, .chunk = (int32_t)l->bucket_size, .before = 1,
                                            .rounds = (int32_t)l->rounds, .buckets = (int32_t)l->n_buckets };
    int64_t dim[2] = { l->heads * l->head_dim, l->rounds * l->n_buckets / 2 };
    int32_t qk, v, rotations;
    char name[160];

    snprintf(name, sizeof name, "%snorm", base);
    XC_TRY(xc_hf_layer_norm(l->g, l->cfg, &x, PREFIX, name, x, EPS, err));
    snprintf(name, sizeof name, "%sfn.toqk", base);
    XC_TRY(xc_hf_linear(l->g, l->cfg, &qk, PREFIX, name, x, dim[0], err));
    snprintf(name, sizeof name, "%sfn.tov", base);
    XC_TRY(xc_hf_linear(l->g, l->cfg, &v, PREFIX, name, x, dim[0], err));
    snprintf(name, sizeof name, "%sfn.rotations", base);
    if (xc_hf_has(l->cfg, PREFIX, name)) {
        XC_TRY(xc_hf_tensor(l->g->model, l->cfg, &rotations, PREFIX, name, 2, dim, err));
    } else {
        XC_TRY(xc_model_add_tensor(l->g->model, &rotations, name, 2, dim, err));
        XC_TRY(xc_rotations_bind(l->g->model->tensors[rotations], (uint64_t)l->seed, (uint64_t)layer, err));
    }
    snprintf(name, sizeof name, "%sfn.attention", base);
    XC_TRY(xc_graph_add_node(l->g, y, "attention", name, (struct xc_ref[]){ xc_val(qk), xc_val(qk), xc_val(v), xc_ten(rotations) }, 4, &attr, err));
    snprintf(name, sizeof name, "%sfn.to_out", base);
    return xc_hf_linear(l->g, l->cfg, y, PREFIX, name, *y, l->dim, err);
}

static enum xc_status reformer_build(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    struct lucid l = { .cfg = cfg };
    int32_t ids, word, x, x1, y;

    (void)opts;
    XC_TRY(reformer_config(&l, err));
    XC_TRY(open_graph(&l, m, &ids, &word, err));
    if (l.axial[0]) {
        XC_TRY(axial_positions(&l, ids, word, &x, err));
    } else {
        XC_TRY(positions(&l, ids, "pos_emb.emb", &x, err));
        XC_TRY(xc_hf_add(l.g, &x, "embeddings.sum", word, x, err));
    }
    if (l.emb_dim != l.dim) XC_TRY(xc_hf_linear(l.g, cfg, &x, PREFIX, "to_model_dim", x, l.dim, err));
    x1 = x;
    for (int i = 0; i < (int)l.depth; i++) {
        char base[96];

        snprintf(base, sizeof base, "reformer.layers.blocks.%d.f.net.", i);
        XC_TRY(lsh_attention(&l, base, i, x, &y, err));
        XC_TRY(add_to(&l, base, &x1, y, err));
        snprintf(base, sizeof base, "reformer.layers.blocks.%d.g.net.", i);
        XC_TRY(feed_forward(&l, base, "fn.", x1, &y, err));
        XC_TRY(add_to(&l, base, &x, y, err));
    }
    /* norm of the streams' mean, as that of their sum: the variance is four times as large, and so is what is added to it */
    XC_TRY(xc_hf_add(l.g, &x, "reformer.streams", x1, x, err));
    XC_TRY(xc_hf_layer_norm(l.g, cfg, &x, PREFIX, "norm", x, 4 * EPS, err));
    if (l.emb_dim != l.dim && (!strcmp(cfg->head, "mlm") || !strcmp(cfg->head, "lm"))) XC_TRY(xc_hf_linear(l.g, cfg, &x, PREFIX, "out.0", x, l.emb_dim, err));
    return finish(&l, x, "out.1", err);
}

static enum xc_status reformer_to_file(struct xc_tensor *t, struct xc_err *err)
{
    const char *tail = strstr(t->name, "pos_emb.weights.");
    const int second = tail && tail[strlen(tail) - 1] == '1';

    (void)err;
    if (!tail || t->rank != 2) return XC_OK;
    t->rank = 4;
    t->dim[3] = t->dim[1];
    t->dim[second ? 2 : 1] = t->dim[0];
    t->dim[0] = t->dim[second ? 1 : 2] = 1;
    return XC_OK;
}

const struct xc_arch xc_arch_linformer = { .model_type = "linformer", .class_name = "Linformer", .pad_id = 0, .build = linformer_build, .lm_suffix = "LM", .to_file = linformer_to_file };
const struct xc_arch xc_arch_reformer_pytorch = { .model_type = "reformer-pytorch", .class_name = "Reformer", .pad_id = 0, .build = reformer_build, .lm_suffix = "LM",
                                                  .to_file = reformer_to_file };
