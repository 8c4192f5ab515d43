/* candidates: see candidates.h. */
#include "compress/distill/candidates.h"

#include <math.h>
#include <string.h>

#include "compress/grad/grad.h"
#include "compress/shrink/surgery.h"
#include "formats/formats.h"
#include "runtime/text/tokenizer.h"

#define BLOCK 64 /* words compared with the whole table at a time */

struct word {
    const char *text;
    size_t len;
    int32_t piece; /* its one token; -1 = several */
};

struct xc_candidates {
    int64_t K;
    struct xc_tokenizer *tok;    /* of the words: the masked language model's, else the teacher's */
    struct xc_tokenizer *table_tok; /* the teacher's; words of `near` are its tokens */
    struct xc_model *masked;     /* NULL = neighbours alone */
    struct xc_run *run;
    struct word *word;           /* all different words */
    int64_t n;
    size_t cap;
    int64_t *slot;               /* hash table: numbers of words, -1 = free */
    size_t n_slots;
    int32_t *near;               /* (n, K) tokens of the teacher */
    struct xc_tokens pieces;     /* scratch */
    int32_t *ids, *types, *start;
    size_t cap_ids, cap_types, cap_start;
};

void xc_split_release(struct xc_split *s)
{
    xc_free(s->word);
    xc_free(s->candidate);
    *s = (struct xc_split){ 0 };
}

void xc_candidates_free(struct xc_candidates **out)
{
    struct xc_candidates *c = *out;

    *out = NULL;
    if (!c) return;
    if (c->run) xc_run_free(&c->run);
    if (c->masked) xc_model_free(&c->masked);
    if (c->tok && c->tok != c->table_tok) xc_tokenizer_free(&c->tok);
    if (c->table_tok) xc_tokenizer_free(&c->table_tok);
    xc_tokens_release(&c->pieces);
    xc_free(c->word);
    xc_free(c->slot);
    xc_free(c->near);
    xc_free(c->ids);
    xc_free(c->types);
    xc_free(c->start);
    xc_free(c);
}

/* ---- words ---- */
static bool letter(char ch) { return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (unsigned char)ch >= 128; }
static bool space(char ch) { return ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r'; }

static bool has_letter(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (letter(text[i])) return true;
    return false;
}

/* The text of a token that begins a word and is made of letters; NULL otherwise. */
static const char *whole(const struct xc_tokenizer *tok, int32_t id, size_t *len)
{
    const bool bpe = !strcmp(xc_tokenizer_kind(tok), "bpe");
    const char *text = xc_tokenizer_token(tok, id, len);

    if (!text || !*len) return NULL;
    if (bpe) {
        if (*len < 3 || memcmp(text, "\xc4\xa0", 2) != 0) return NULL; /* a space, as GPT-2 writes it */
        text += 2;
        *len -= 2;
    } else if (*len >= 2 && !memcmp(text, "##", 2)) {
        return NULL;
    }
    for (size_t i = 0; i < *len; i++)
        if (!((text[i] >= 'a' && text[i] <= 'z') || (text[i] >= 'A' && text[i] <= 'Z')) && !(!bpe && (unsigned char)text[i] >= 128)) return NULL;
    return text;
}

const char *xc_candidates_word(const struct xc_candidates *c, int32_t token, size_t *len)
{
    /* tokens of the masked language model lie behind those of the teacher */
    const int32_t n = xc_tokenizer_vocab_size(c->table_tok);

    return token < n ? whole(c->table_tok, token, len) : whole(c->tok, token - n, len);
}

static size_t place_of(const struct xc_candidates *c, const char *text, size_t len)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    size_t at;

    for (size_t i = 0; i < len; i++) h = (h ^ (uint8_t)text[i]) * 1099511628211u;
    for (at = (size_t)(h ^ h >> 32) & (c->n_slots - 1); c->slot[at] >= 0; at = (at + 1) & (c->n_slots - 1))
        if (c->word[c->slot[at]].len == len && !memcmp(c->word[c->slot[at]].text, text, len)) break;
    return at;
}

static enum xc_status grow_slots(struct xc_candidates *c, struct xc_err *err)
{
    const size_t n = c->n_slots ? 2 * c->n_slots : 4096;
    int64_t *slot = xc_malloc(n * sizeof *slot);

    if (!slot) return xc_fail_nomem(err, n * sizeof *slot);
    for (size_t i = 0; i < n; i++) slot[i] = -1;
    xc_free(c->slot);
    c->slot = slot;
    c->n_slots = n;
    for (int64_t i = 0; i < c->n; i++) c->slot[place_of(c, c->word[i].text, c->word[i].len)] = i;
    return XC_OK;
}

static enum xc_status add_words(struct xc_candidates *c, const char *text, size_t len, struct xc_err *err)
{
    for (size_t at = 0, end; at < len; at = end) {
        size_t place;

        while (at < len && space(text[at])) at++;
        for (end = at; end < len && !space(text[end]);) end++;
        if (end == at || !has_letter(text + at, end - at)) continue;
        if (2 * ((size_t)c->n + 1) > c->n_slots) XC_TRY(grow_slots(c, err));
        place = place_of(c, text + at, end - at);
        if (c->slot[place] >= 0) continue;
        XC_TRY(xc_grow((void **)&c->word, &c->cap, (size_t)c->n + 1, sizeof *c->word, err));
        c->word[c->n] = (struct word){ .text = text + at, .len = end - at, .piece = -1 };
        c->slot[place] = c->n++;
    }
    return XC_OK;
}

enum xc_status xc_candidates_split(const struct xc_candidates *c, struct xc_split *s, const char *text, size_t len, struct xc_err *err)
{
    s->n = 0;
    for (size_t at = 0, end; at < len; at = end) {
        while (at < len && space(text[at])) at++;
        for (end = at; end < len && !space(text[end]);) end++;
        if (end == at) break;
        XC_TRY(xc_grow((void **)&s->word, &s->cap_word, (size_t)s->n + 1, sizeof *s->word, err));
        s->word[s->n++] = (struct xc_split_word){ .text = text + at, .len = end - at, .known = has_letter(text + at, end - at) ? c->slot[place_of(c, text + at, end - at)] : -1 };
    }
    XC_TRY(xc_grow((void **)&s->candidate, &s->cap_candidate, (size_t)(s->n * c->K) + 1, sizeof *s->candidate, err));
    for (int64_t i = 0; i < s->n * c->K; i++) s->candidate[i] = -1;
    return XC_OK;
}

/* ---- neighbours ---- */
struct near {
    const struct xc_candidates *c;
    const struct xc_kernels *kern;
    const float *table;    /* (V,C), rows at length 1; rows of no whole word are zero */
    const float *panels;
    const float *where;    /* (n,C): the words */
    const int32_t *self;   /* n: the word's own token, -1 */
    float *scores;         /* by thread: (BLOCK,V) */
    int64_t V, C;
    int32_t *out;
};

/* The K largest of x, the largest first, of equal ones the first; -INFINITY never. */
static void top(int32_t *best, const float *x, int64_t V, int64_t K)
{
    int64_t n = 0;

    for (int64_t i = 0; i < K; i++) best[i] = -1;
    for (int64_t v = 0; v < V; v++) {
        int64_t at = n;

        if (x[v] == -INFINITY || (n == K && !(x[v] > x[best[K - 1]]))) continue;
        while (at > 0 && x[v] > x[best[at - 1]]) at--;
        for (int64_t k = n < K ? n : K - 1; k > at; k--) best[k] = best[k - 1];
        best[at] = (int32_t)v;
        n += n < K;
    }
}

static void near_block(void *arg, int64_t item, int thread)
{
    const struct near *j = arg;
    const int64_t first = item * BLOCK, n = xc_min_i64(BLOCK, j->c->n - first);
    float *scores = j->scores + (int64_t)thread * BLOCK * j->V;
    const struct xc_gemm_f32 g = { .x = j->where + first * j->C, .ldx = j->C, .w = j->panels, .N = j->V, .K = j->C, .ep = { .out = scores, .ld_out = j->V } };

    j->kern->gemm_f32(&g, 0, n, 0, j->V);
    for (int64_t i = 0; i < n; i++) {
        float *x = scores + i * j->V;

        for (int64_t v = 0; v < j->V; v++) {
            size_t len;

            if (v == j->self[first + i] || !whole(j->c->table_tok, (int32_t)v, &len)) x[v] = -INFINITY;
        }
        top(j->out + (first + i) * j->c->K, x, j->V, j->c->K);
    }
}

static void unit(float *x, int64_t C)
{
    double norm = 0;

    for (int64_t i = 0; i < C; i++) norm += (double)x[i] * (double)x[i];
    norm = norm > 0 ? 1 / sqrt(norm) : 0;
    for (int64_t i = 0; i < C; i++) x[i] = (float)((double)x[i] * norm);
}

static enum xc_status pieces_of(struct xc_candidates *c, const struct xc_tokenizer *tok, const struct word *w, struct xc_err *err)
{
    const struct xc_encode_opts bare = { .no_special = true, .no_truncate = true };

    c->pieces.n = 0;
    return xc_tokenizer_encode(tok, &c->pieces, w->text, w->len, NULL, 0, &bare, err);
}

static enum xc_status word_table(float **table, int64_t *V, int64_t *C, const struct xc_teacher *teacher, struct xc_err *err)
{
    const struct xc_graph *g = teacher->graph;

    for (int32_t n = 0; n < g->n_nodes; n++) {
        const struct xc_node *node = &g->nodes[n];

        if (strcmp(node->op->name, "gather") || node->in[0].kind != XC_REF_VALUE || strcmp(g->values[node->in[0].id].name, "ids") || node->in[1].kind != XC_REF_TENSOR) continue;
        *V = xc_tensor_rows(teacher->model->tensors[node->in[1].id]);
        *C = xc_tensor_cols(teacher->model->tensors[node->in[1].id]);
        return xc_surgery_numbers(table, teacher->model->tensors[node->in[1].id], err);
    }
    return xc_fail(err, XC_E_UNSUPPORTED, "the teacher has no table of words to find neighbours in");
}

static enum xc_status find_near(struct xc_candidates *c, const struct xc_teacher *teacher, struct xc_pool *pool, struct xc_err *err)
{
    struct near j = { .c = c, .kern = xc_kernels() };
    float *table = NULL, *panels = NULL, *where = NULL;
    int32_t *self = NULL;
    enum xc_status status = word_table(&table, &j.V, &j.C, teacher, err);

    if (status == XC_OK) {
        where = xc_calloc((size_t)(c->n * j.C) + 1, sizeof *where);
        self = xc_malloc((size_t)(c->n + 1) * sizeof *self);
        panels = xc_alloc_aligned((size_t)xc_grad_panel_floats(j.V, j.C) * sizeof *panels);
        j.scores = xc_alloc_aligned((size_t)(j.V * BLOCK * xc_pool_threads(pool)) * sizeof *j.scores);
        c->near = xc_malloc((size_t)(c->n * c->K + 1) * sizeof *c->near);
        if (!where || !self || !panels || !j.scores || !c->near) status = xc_fail_nomem(err, (size_t)(j.V * j.C) * sizeof *panels);
    }
    for (int64_t v = 0; v < j.V && status == XC_OK; v++) unit(table + v * j.C, j.C);
    for (int64_t i = 0; i < c->n && status == XC_OK; i++) {
        status = pieces_of(c, c->table_tok, &c->word[i], err);
        self[i] = status == XC_OK && c->pieces.n == 1 ? c->pieces.ids[0] : -1;
        for (size_t k = 0; status == XC_OK && k < c->pieces.n; k++)
            for (int64_t x = 0; c->pieces.ids[k] < j.V && x < j.C; x++) where[i * j.C + x] += table[c->pieces.ids[k] * j.C + x];
        if (status == XC_OK) unit(where + i * j.C, j.C);
    }
    if (status == XC_OK) {
        xc_grad_panel_rows(panels, table, j.C, j.V, j.C);
        j.panels = panels;
        j.where = where;
        j.self = self;
        j.out = c->near;
        xc_pool_run(pool, near_block, &j, xc_div_up(c->n, BLOCK));
    }
    xc_free(table);
    xc_free(panels);
    xc_free(where);
    xc_free(self);
    xc_free(j.scores);
    return status;
}

/* ---- the masked language model ---- */
static enum xc_status open_masked(struct xc_candidates *c, const char *path, struct xc_pool *pool, struct xc_err *err)
{
    const struct xc_load_opts mlm = { .head = "mlm", .load_tensors = true };
    struct xc_model *m;

    XC_TRY(xc_model_load(&c->masked, path, &mlm, err));
    m = c->masked;
    if (!xc_model_meta(m, "task") || strcmp(xc_model_meta(m, "task"), "mlm") || !m->tokenizer) {
        xc_fail(err, XC_E_UNSUPPORTED, "no masked language model: it cannot propose words");
        return xc_fail_at(err, XC_E_UNSUPPORTED, "%s", path);
    }
    for (int32_t i = 0; i < m->n_tensors; i++) XC_TRY(xc_tensor_load(m->tensors[i], err));
    XC_TRY(xc_tokenizer_open(&c->tok, m->tokenizer, err));
    if (xc_tokenizer_special(c->tok, XC_TOKEN_MASK) < 0 || xc_tokenizer_special(c->tok, XC_TOKEN_CLS) < 0 || xc_tokenizer_special(c->tok, XC_TOKEN_SEP) < 0)
        return xc_fail(err, XC_E_UNSUPPORTED, "the masked language model's tokenizer has no mask token");
    for (int64_t i = 0; i < c->n; i++) {
        XC_TRY(pieces_of(c, c->tok, &c->word[i], err));
        c->word[i].piece = c->pieces.n == 1 ? c->pieces.ids[0] : -1;
    }
    return xc_run_new(&c->run, m, NULL, pool, err);
}

/* The text once for each wanted word of one piece, which is masked there. */
static enum xc_status ask_masked(struct xc_candidates *c, struct xc_split *s, struct xc_err *err)
{
    const int32_t limit = xc_tokenizer_max_tokens(c->tok) > 0 ? xc_tokenizer_max_tokens(c->tok) : 512, behind = xc_tokenizer_vocab_size(c->table_tok);
    const struct xc_graph *g = xc_model_find_graph(c->masked, "encode");
    int64_t at[512], word[512], n = 1, masked = 0, tokens;
    int32_t ids[512];

    ids[0] = xc_tokenizer_special(c->tok, XC_TOKEN_CLS);
    for (int64_t w = 0; w < s->n; w++) {
        const struct word plain = { .text = s->word[w].text, .len = s->word[w].len };

        XC_TRY(pieces_of(c, c->tok, &plain, err));
        if (n + (int64_t)c->pieces.n + 1 > xc_min_i64(limit, 512)) break;
        if (s->word[w].wanted && s->word[w].known >= 0 && c->word[s->word[w].known].piece >= 0) {
            at[masked] = n;
            word[masked++] = w;
        }
        for (size_t k = 0; k < c->pieces.n; k++) ids[n++] = c->pieces.ids[k];
    }
    ids[n++] = xc_tokenizer_special(c->tok, XC_TOKEN_SEP);
    if (!masked) return XC_OK;
    tokens = masked * n;
    XC_TRY(xc_grow((void **)&c->ids, &c->cap_ids, (size_t)tokens, sizeof *c->ids, err));
    XC_TRY(xc_grow((void **)&c->types, &c->cap_types, (size_t)tokens, sizeof *c->types, err));
    XC_TRY(xc_grow((void **)&c->start, &c->cap_start, (size_t)masked + 1, sizeof *c->start, err));
    memset(c->types, 0, (size_t)tokens * sizeof *c->types);
    for (int64_t i = 0; i < masked; i++) {
        c->start[i] = (int32_t)(i * n);
        memcpy(c->ids + i * n, ids, (size_t)n * sizeof *ids);
        c->ids[i * n + at[i]] = xc_tokenizer_special(c->tok, XC_TOKEN_MASK);
    }
    c->start[masked] = (int32_t)tokens;
    const struct xc_ragged rag = { .start = c->start, .n_seq = (int32_t)masked };
    struct xc_view in[XC_MAX_IN], out;

    for (int32_t i = 0; i < g->n_inputs; i++)
        in[i] = (struct xc_view){ .data = strcmp(g->values[g->inputs[i]].name, "types") ? c->ids : c->types, .rows = tokens, .cols = 1 };
    XC_TRY(xc_run_graph(c->run, g, in, &rag, 1, &out, err));
    for (int64_t i = 0; i < masked; i++) {
        float *x = (float *)out.data + (i * n + at[i]) * out.cols;
        int32_t *best = s->candidate + word[i] * c->K;

        for (int64_t v = 0; v < out.cols; v++) {
            size_t len;

            if (v >= xc_tokenizer_vocab_size(c->tok) || !whole(c->tok, (int32_t)v, &len)) x[v] = -INFINITY;
        }
        top(best, x, out.cols, c->K);
        for (int64_t k = 0; k < c->K; k++)
            if (best[k] >= 0) best[k] += behind;
    }
    return XC_OK;
}

enum xc_status xc_candidates_find(struct xc_candidates *c, struct xc_split *s, struct xc_err *err)
{
    for (int64_t w = 0; w < s->n; w++)
        if (s->word[w].wanted && s->word[w].known >= 0) memcpy(s->candidate + w * c->K, c->near + s->word[w].known * c->K, (size_t)c->K * sizeof *c->near);
    return c->masked ? ask_masked(c, s, err) : XC_OK;
}

/* ---- all of it ---- */
static enum xc_status fill(struct xc_candidates *c, const struct xc_teacher *teacher, const struct xc_augment_opts *opts, const struct xc_data *data, struct xc_pool *pool, struct xc_err *err)
{
    const char *task = xc_model_meta(teacher->model, "task");

    XC_TRY(grow_slots(c, err));
    for (int64_t i = 0; i < data->n; i++) {
        XC_TRY(add_words(c, data->a[i], data->a_len[i], err));
        if (data->b) XC_TRY(add_words(c, data->b[i], data->b_len[i], err));
    }
    XC_TRY(xc_tokenizer_open(&c->table_tok, teacher->model->tokenizer, err));
    if (opts->model) XC_TRY(open_masked(c, opts->model, pool, err));
    else if (task && !strcmp(task, "mlm")) XC_TRY(open_masked(c, teacher->path, pool, err));
    else c->tok = c->table_tok;
    return find_near(c, teacher, pool, err);
}

enum xc_status xc_candidates_new(struct xc_candidates **out, const struct xc_teacher *teacher, const struct xc_augment_opts *opts, const struct xc_data *data, struct xc_pool *pool,
                                 struct xc_err *err)
{
    struct xc_candidates *c = xc_calloc(1, sizeof *c);
    enum xc_status status;

    *out = NULL;
    if (!c) return xc_fail_nomem(err, sizeof *c);
    c->K = opts->candidates;
    status = fill(c, teacher, opts, data, pool, err);
    if (status != XC_OK) xc_candidates_free(&c);
    *out = c;
    return status;
}
