/* lsh: see lsh.h. */
#include <string.h>

#include "runtime/graph/attention/lsh.h"
#include "runtime/graph/run.h"

enum { ROWS = 64 }; /* hashed at once */

enum xc_status xc_lsh_open(struct xc_lsh *l, const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->attr;
    const struct xc_tensor *t = c->tensor[3];
    const float *rotations;
    float *panels;
    int64_t N;

    *l = (struct xc_lsh){ .c = c, .attr = attr, .D = c->in[0]->cols / attr->heads, .rounds = 1 };
    if (!t) return XC_OK;
    l->rounds = attr->rounds;
    l->half = attr->buckets / 2 + attr->buckets2 / 2;
    N = l->rounds * l->half;
    l->panel = xc_round_up(N, 16) * l->D;
    XC_TRY(xc_attention_tensor(c, t, &rotations, err));
    panels = xc_run_scratch(c->run, (size_t)(attr->heads * l->panel) * sizeof *panels);
    if (!panels) return xc_fail_nomem(err, (size_t)(attr->heads * l->panel) * sizeof *panels);
    memset(panels, 0, (size_t)(attr->heads * l->panel) * sizeof *panels);
    for (int64_t h = 0; h < attr->heads; h++)
        for (int64_t d = 0; d < l->D; d++)
            for (int64_t n = 0; n < N; n++) panels[h * l->panel + n / 16 * 16 * l->D + d * 16 + n % 16] = rotations[(h * l->D + d) * N + n];
    l->panels = panels;
    return XC_OK;
}

int64_t xc_lsh_rounds(const struct xc_lsh *l, int64_t n) { return n <= l->attr->chunk ? 1 : l->rounds; }

int64_t xc_lsh_room(const struct xc_lsh *l, int64_t n)
{
    return l->panels ? l->rounds * n + xc_lsh_buckets(l->attr) + 1 + xc_round_up(ROWS * l->rounds * l->half, 16) + 16 : 0;
}

/* bucket (rounds, n) of the n rows of a sequence */
static void hash(const struct xc_lsh *l, int32_t *bucket, float *p, int64_t seq, int64_t head, int64_t n, int64_t rounds)
{
    const struct xc_view *q = l->c->in[0];
    const int64_t N = l->rounds * l->half, b1 = l->attr->buckets, b2 = l->attr->buckets2;

    for (int64_t r0 = 0; r0 < n; r0 += ROWS) {
        const int64_t rows = xc_min_i64(ROWS, n - r0);
        const struct xc_gemm_f32 g = { .x = xc_seq_data(q, seq, head * l->D) + r0 * q->cols, .ldx = q->cols, .w = l->panels + head * l->panel, .N = N, .K = l->D,
                                       .ep = { .out = p, .ld_out = N } };

        l->c->kern->gemm_f32(&g, 0, rows, 0, N);
        for (int64_t r = 0; r < rounds; r++) {
            int32_t *at = bucket + r * n + r0, second[ROWS];

            l->c->kern->argmax_signs(at, p + r * l->half, N, rows, b1 / 2);
            if (b2 == 0) continue;
            l->c->kern->argmax_signs(second, p + r * l->half + b1 / 2, N, rows, b2 / 2);
            for (int64_t i = 0; i < rows; i++) at[i] += (int32_t)b1 * second[i];
        }
    }
}

void xc_lsh_order(const struct xc_lsh *l, int32_t *order, int32_t *room, int64_t seq, int64_t head)
{
    const struct xc_view *q = l->c->in[0];
    const struct xc_run *run = l->c->run;
    const int64_t n = xc_seq_rows(q, seq), rounds = xc_lsh_rounds(l, n), buckets = xc_lsh_buckets(l->attr);
    int32_t *bucket = room, *count = room + l->rounds * n;

    if (!l->panels || n <= l->attr->chunk) { /* short texts are one chunk, whatever the hashes */
        for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
        return;
    }
    if (!run->decided || !run->decided_before) hash(l, bucket, (float *)(void *)(count + buckets + 1), seq, head, n, rounds);
    for (int64_t r = 0; r < rounds && run->decided; r++) {
        uint16_t *decided = run->decided + (head * l->rounds + r) * q->rows + q->rag->start[seq];

        for (int64_t i = 0; i < n && run->decided_before; i++) bucket[r * n + i] = decided[i];
        for (int64_t i = 0; i < n && !run->decided_before; i++) decided[i] = (uint16_t)bucket[r * n + i];
    }
    for (int64_t r = 0; r < rounds; r++) { /* counting sort: stable, so equals keep the order of the text */
        memset(count, 0, (size_t)(buckets + 1) * sizeof *count);
        for (int64_t i = 0; i < n; i++) count[bucket[r * n + i] + 1]++;
        for (int64_t b = 0; b < buckets; b++) count[b + 1] += count[b];
        for (int64_t i = 0; i < n; i++) order[r * n + count[bucket[r * n + i]]++] = (int32_t)i;
    }
}
