/* synthesizer, int8, where a random matrix is the only part: its softmax depends on no text, so it is made once, block of keys by block of keys, and the
 * layer is the product of an int8 matrix and the values (synthesizer.c has the rest of the kind).
 *
 * Of each row and whole block of XC_KEY_BLOCK keys: the softmax within the block as int8 with its scale, the largest score, and the sum of the exponentials
 * relative to it. A text's softmax weighs its blocks by largest score and sum, so that any number of tokens is exact; a block that it sees only in part,
 * at its end or with causal, is made anew. With a band, rows have the blocks that the band of one of their tile's rows meets, and zeros outside it. The same code makes the blocks ahead (a plan) and on the spot (a run without one): same bits. */
#include <math.h>
#include <string.h>

#include "runtime/graph/attention/synthesizer.h"

#define TILE 128 /* queries */
#define FAR (-1e30f)

struct blocks { /* of one matrix; by [block from its tile's first on][row] */
    int8_t *p;  /* (L, ld) */
    float *scale, *top, *sum;
    int32_t *p_sum;
    int64_t L, ld, n, band;
};

/* The scores of one matrix, as numbers or encoded. */
struct scores {
    const float *r;
    const struct xc_tensor *t;
    int64_t cols, L, band;
};

bool xc_synth_is_random(const struct xc_attr_attention *attr, const bool has[XC_SYNTH_PARTS])
{
    return attr->quantized && !attr->rank && has[XC_SYNTH_RANDOM] && !has[XC_SYNTH_DOT] && !has[XC_SYNTH_DENSE] && !has[XC_SYNTH_FACTORED];
}

/* TILE rows begin where a block of keys does. */
_Static_assert(TILE == XC_KEY_BLOCK, "a tile's first block is found by its number");
static int64_t reach(int64_t band) { return xc_div_up(band, XC_KEY_BLOCK); }
static int64_t n_blocks(int64_t L, int64_t band) { return band ? xc_min_i64(2 * reach(band) + 1, L / XC_KEY_BLOCK) : L / XC_KEY_BLOCK; }
static int64_t first_block(int64_t row, int64_t band) { return band ? xc_max_i64(0, row / TILE - reach(band)) : 0; }
static int64_t end_block(int64_t row, int64_t band, int64_t n) { return band ? xc_min_i64(n, row / TILE + reach(band) + 1) : n; }

static size_t bytes_of_one(int64_t L, int64_t band)
{
    const size_t n = (size_t)n_blocks(L, band), each = (size_t)xc_round_up(L * (int64_t)sizeof(float), XC_ALIGN);

    return (size_t)xc_round_up(L * (int64_t)n * XC_KEY_BLOCK, XC_ALIGN) + n * 4 * each;
}

/* Matrix m of those in `memory`. */
static struct blocks blocks_at(const void *memory, int64_t L, int64_t band, int64_t m)
{
    struct blocks b = { .L = L, .n = n_blocks(L, band), .band = band };
    uint8_t *at = (uint8_t *)(uintptr_t)memory + (size_t)m * bytes_of_one(L, band);
    const size_t list = (size_t)b.n * (size_t)xc_round_up(L * (int64_t)sizeof(float), XC_ALIGN);

    b.ld = b.n * XC_KEY_BLOCK;
    b.p = (int8_t *)at;
    at += xc_round_up(L * b.ld, XC_ALIGN);
    b.scale = (float *)(void *)at;
    b.top = (float *)(void *)(at + list);
    b.sum = (float *)(void *)(at + 2 * list);
    b.p_sum = (int32_t *)(void *)(at + 3 * list);
    return b;
}

/* Row `row` of matrix m in one block of keys, those before `seen`: the softmax p (XC_KEY_BLOCK, zeros elsewhere), the largest score, the sum relative to it. */
static void within(const struct xc_kernels *kern, float *p, float *top, float *sum, const struct scores *s, int64_t m, int64_t row, int64_t block, int64_t seen)
{
    const int64_t key0 = block * XC_KEY_BLOCK, from = s->band ? xc_max_i64(key0, row - s->band) : key0, to = xc_min_i64(seen, xc_min_i64(key0 + XC_KEY_BLOCK, s->band ? row + s->band + 1 : s->L));
    const int64_t col = s->band ? from - (row - s->band) : from, count = to - from;
    float most = 0.0f, decoded[XC_KEY_BLOCK];
    const float *x = decoded;

    memset(p, 0, XC_KEY_BLOCK * sizeof *p);
    *top = FAR, *sum = 0.0f;
    if (count <= 0) return;
    if (s->r) x = s->r + (m * s->L + row) * s->cols + col;
    else xc_tensor_part_to_f32(s->t, m * s->L + row, col, count, decoded);
    p += from - key0;
    kern->softmax_rows(p, x, 1, count);
    for (int64_t j = 0; j < count; j++) {
        *top = x[j] > *top ? x[j] : *top;
        most = p[j] > most ? p[j] : most;
    }
    *sum = 1.0f / most;
}

static void make_row(const struct xc_kernels *kern, const struct blocks *b, const struct scores *s, int64_t m, int64_t row, int64_t end)
{
    const int64_t first = first_block(row, b->band);
    float p[XC_KEY_BLOCK];

    for (int64_t block = first; block < end_block(row, b->band, xc_min_i64(end, b->L / XC_KEY_BLOCK)); block++) {
        const int64_t at = (block - first) * b->L + row;

        within(kern, p, &b->top[at], &b->sum[at], s, m, row, block, s->L);
        kern->quantize_rows_s8(b->p + row * b->ld + (block - first) * XC_KEY_BLOCK, b->ld, &b->scale[at], &b->p_sum[at], p, XC_KEY_BLOCK, NULL, 1, XC_KEY_BLOCK, 0.0f);
    }
}

/* ---- ahead ---- */
static const struct xc_tensor *matrix_of(const struct xc_model *m, const struct xc_node *node)
{
    const struct xc_attr_attention *attr = node->attr;
    bool has[XC_SYNTH_PARTS] = { [XC_SYNTH_DOT] = attr->dot };

    for (int i = XC_SYNTH_R; i < node->n_in; i++) {
        if (node->in[i].kind == XC_REF_NONE) continue;
        if (i == XC_SYNTH_R) has[XC_SYNTH_RANDOM] = true;
        if (i == XC_SYNTH_W) has[XC_SYNTH_DENSE] = true;
        if (i == XC_SYNTH_FACTORS) has[XC_SYNTH_FACTORED] = true;
    }
    if (!xc_synth_is_random(attr, has)) return NULL;
    const struct xc_tensor *t = m->tensors[node->in[XC_SYNTH_R].id];

    return t->part[XC_PART_DATA] ? t : NULL;
}

bool xc_synth_plain(const struct xc_tensor *t) { return t->part[XC_PART_DATA] && t->enc.format == XC_FMT_F32 && t->enc.layout == XC_LAYOUT_ROWS; }

/* The numbers of an encoded matrix that is not for synthesizer_random_forward, so that a run need not decode them again; readable 64 floats beyond. */
static size_t decoded_bytes(const struct xc_model *m, const struct xc_node *node)
{
    const struct xc_tensor *t = node->n_in > XC_SYNTH_R && node->in[XC_SYNTH_R].kind == XC_REF_TENSOR ? m->tensors[node->in[XC_SYNTH_R].id] : NULL;

    return t && t->part[XC_PART_DATA] && !xc_synth_plain(t) ? ((size_t)xc_tensor_count(t) + 64) * sizeof(float) : 0;
}

size_t xc_synth_random_bytes(const struct xc_model *m, const struct xc_node *node)
{
    const struct xc_tensor *t = matrix_of(m, node);
    const struct xc_attr_attention *attr = node->attr;

    return t ? (size_t)(t->dim[0] / attr->positions) * bytes_of_one(attr->positions, attr->window) : decoded_bytes(m, node);
}

enum xc_status xc_synth_random_prepare(void *to, const struct xc_model *m, const struct xc_node *node, const struct xc_kernels *kern, struct xc_err *err)
{
    const struct xc_tensor *t = matrix_of(m, node);
    const struct xc_attr_attention *attr = node->attr;
    const int64_t L = attr->positions;

    if (!t) {
        memset(to, 0, decoded_bytes(m, node));
        return xc_tensor_to_f32(m->tensors[node->in[XC_SYNTH_R].id], to, err);
    }
    const struct scores s = { .r = xc_synth_plain(t) ? (const float *)(const void *)t->part[XC_PART_DATA]->data : NULL, .t = t, .cols = t->dim[1], .L = L, .band = attr->window };

    for (int64_t r = 0; r < t->dim[0]; r++) {
        const struct blocks b = blocks_at(to, L, attr->window, r / L);

        make_row(kern, &b, &s, r / L, r % L, L / XC_KEY_BLOCK);
    }
    return XC_OK;
}

/* ---- a run ---- */
struct job {
    const struct xc_synth *s;
    struct scores scores;
    const void *ready;               /* NULL = blocks are made in `own` first */
    void *own;
    int64_t *tile, *block, maps, most; /* (n_seq + 1): items of attend, blocks before it; matrices; blocks that a tile of the longest sequence sees */
    int64_t longest;                   /* its blocks */
    int8_t *v8;
    float *v_scale;
    uint8_t *scratch;
    size_t each, p8_at, scale_at, sum_at, top_at, weight_at;
};

static void make_item(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const int64_t L = j->s->L, m = item / L, row = item % L;
    const struct blocks b = blocks_at(j->own, L, j->s->band, m);

    (void)thread;
    make_row(j->s->c->kern, &b, &j->scores, m, row, j->longest);
}

/* Item: (sequence, head of values). */
static void pack_item(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const struct xc_synth *s = j->s;
    const int64_t n_seq = s->q->rag->n_seq, seq = item / s->kv, g = item % s->kv, D16 = xc_round_up(s->D, 16), at = g * j->block[n_seq] + j->block[seq];

    (void)thread;
    if (xc_seq_rows(s->v, seq)) s->c->kern->pack_values_s8(j->v8 + at * XC_KEY_BLOCK * D16, j->v_scale + at * D16, xc_seq_data(s->v, seq, g * s->D), s->v->cols, xc_seq_rows(s->v, seq), s->D);
}

/* weight (T, n): what each block's softmax is multiplied by, from its largest score (T, n) and sums (T, n), which it overwrites. */
static void weigh(const struct xc_kernels *kern, float *weight, const float *top, int64_t T, int64_t n, float *sum)
{
    kern->softmax_rows(weight, top, T, n);
    for (int64_t i = 0; i < T; i++) {
        float all = 0.0f;

        for (int64_t b = 0; b < n; b++) all += weight[i * n + b] *= sum[i * n + b];
        for (int64_t b = 0; b < n; b++) weight[i * n + b] *= 1.0f / all;
    }
}

/* Item: (sequence, head, tile of queries), in this order. */
static void attend(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const struct xc_synth *s = j->s;
    const struct xc_kernels *kern = s->c->kern;
    const int64_t n_seq = s->q->rag->n_seq, seq = xc_find_share(j->tile, n_seq, item), n = xc_seq_rows(s->q, seq), tiles = xc_div_up(n, TILE), D = s->D, D16 = xc_round_up(D, 16);
    const int64_t h = (item - j->tile[seq]) / tiles, g = h / (s->heads / s->kv), row0 = (item - j->tile[seq]) % tiles * TILE, T = xc_min_i64(TILE, n - row0), m = j->maps > 1 ? h : 0;
    const int64_t first = first_block(row0, s->band), v_at = g * j->block[n_seq] + j->block[seq] + first; /* blocks are counted from the first one here */
    const int64_t whole = end_block(row0, s->band, (s->attr->causal ? row0 + 1 : n) / XC_KEY_BLOCK) - first;
    const int64_t used = end_block(row0, s->band, xc_div_up(s->attr->causal ? row0 + T : n, XC_KEY_BLOCK)) - first;
    const struct blocks b = blocks_at(j->ready ? j->ready : j->own, s->L, s->band, m);
    uint8_t *mem = j->scratch + (size_t)thread * j->each;
    float *p = (float *)(void *)mem, *scale = (float *)(void *)(mem + j->scale_at), *top = (float *)(void *)(mem + j->top_at), *weight = (float *)(void *)(mem + j->weight_at);
    float *sum = weight + TILE * j->most, *out = (float *)s->c->out[0]->data + (s->q->rag->start[seq] + row0) * s->q->cols + h * D;
    int8_t *p8 = (int8_t *)(mem + j->p8_at);
    int32_t *p_sum = (int32_t *)(void *)(mem + j->sum_at);

    for (int64_t k = 0; k < whole; k++)
        for (int64_t i = 0; i < T; i++) top[i * used + k] = b.top[k * s->L + row0 + i], sum[i * used + k] = b.sum[k * s->L + row0 + i];
    for (int64_t k = whole; k < used; k++) { /* at most one: seen in part */
        for (int64_t i = 0; i < T; i++) {
            within(kern, p + i * XC_KEY_BLOCK, &top[i * used + k], &sum[i * used + k], &j->scores, m, row0 + i, first + k, s->attr->causal ? row0 + i + 1 : n);
        }
        kern->quantize_rows_s8(p8, XC_KEY_BLOCK, scale, p_sum, p, XC_KEY_BLOCK, NULL, T, XC_KEY_BLOCK, 0.0f);
    }
    weigh(kern, weight, top, T, used, sum);
    for (int64_t k = 0; k < used; k++) {
        const bool made = k >= whole;
        const int8_t *x = made ? p8 : b.p + row0 * b.ld + k * XC_KEY_BLOCK;
        const float *from = made ? scale : b.scale + k * s->L + row0;
        float row_scale[TILE];
        const struct xc_epilogue ep = { .row_scale = row_scale, .col_scale = j->v_scale + (v_at + k) * D16, .residual = k ? out : NULL, .ld_residual = s->q->cols, .out = out,
                                        .ld_out = s->q->cols };

        for (int64_t i = 0; i < T; i++) row_scale[i] = from[i] * weight[i * used + k];
        kern->gemm_s8(&(struct xc_gemm_s8){ .x = x, .ldx = made ? XC_KEY_BLOCK : b.ld, .x_sum = made ? p_sum : b.p_sum + k * s->L + row0,
                                            .w = j->v8 + (v_at + k) * XC_KEY_BLOCK * D16, .N = D, .K = XC_KEY_BLOCK, .ep = ep }, 0, T, 0, D);
    }
}

static size_t place(size_t *total, size_t bytes)
{
    const size_t at = *total;

    *total += (size_t)xc_round_up((int64_t)bytes, XC_ALIGN);
    return at;
}

enum xc_status xc_synth_random_forward(const struct xc_synth *s, struct xc_err *err)
{
    struct job j = { .s = s, .ready = s->c->prepared, .maps = s->r_head ? s->heads : 1,
                     .scores = { .r = s->r, .t = s->c->tensor[XC_SYNTH_R], .cols = s->r_cols, .L = s->L, .band = s->band } };
    struct xc_run *run = s->c->run;
    const int64_t n_seq = s->q->rag->n_seq, D16 = xc_round_up(s->D, 16);

    j.tile = xc_run_scratch(run, (size_t)(2 * (n_seq + 1)) * sizeof *j.tile);
    if (!j.tile) return xc_fail_nomem(err, (size_t)(2 * (n_seq + 1)) * sizeof *j.tile);
    j.block = j.tile + n_seq + 1;
    j.tile[0] = j.block[0] = 0;
    for (int64_t i = 0; i < n_seq; i++) {
        const int64_t n = xc_seq_rows(s->q, i), blocks = xc_div_up(n, XC_KEY_BLOCK);

        j.tile[i + 1] = j.tile[i] + s->heads * xc_div_up(n, TILE);
        j.block[i + 1] = j.block[i] + blocks;
        j.longest = xc_max_i64(j.longest, blocks);
    }
    j.most = s->band ? xc_min_i64(j.longest, 2 * reach(s->band) + 1) : j.longest;
    place(&j.each, TILE * XC_KEY_BLOCK * sizeof(float));
    j.p8_at = place(&j.each, TILE * XC_KEY_BLOCK);
    j.scale_at = place(&j.each, TILE * sizeof(float));
    j.sum_at = place(&j.each, TILE * sizeof(int32_t));
    j.top_at = place(&j.each, TILE * (size_t)j.most * sizeof(float));
    j.weight_at = place(&j.each, 2 * TILE * (size_t)j.most * sizeof(float));
    j.scratch = xc_run_scratch(run, j.each * (size_t)xc_pool_threads(s->c->pool));
    j.v8 = xc_run_scratch(run, (size_t)(s->kv * j.block[n_seq] * XC_KEY_BLOCK * D16 + 1));
    j.v_scale = xc_run_scratch(run, (size_t)(s->kv * j.block[n_seq] * D16 + 1) * sizeof *j.v_scale);
    j.own = xc_run_scratch(run, j.ready ? 1 : (size_t)j.maps * bytes_of_one(s->L, s->band) + 1);
    if (!j.scratch || !j.v8 || !j.v_scale || !j.own) return xc_fail_nomem(err, j.each);
    if (!j.ready) xc_pool_run(s->c->pool, make_item, &j, j.maps * s->L);
    xc_pool_run(s->c->pool, pack_item, &j, n_seq * s->kv);
    xc_pool_run(s->c->pool, attend, &j, j.tile[n_seq]);
    return XC_OK;
}
