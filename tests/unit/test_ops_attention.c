/* Attention, and what prunes tokens by it, against plain double-precision code; see one_op.h. */
#include "tests/unit/one_op.h"

/* kv 0 = heads; cross: k and v from the longer memory space */
static void attention_case(int heads, int kv, int D, bool cross, bool causal, bool quantized, int bias_heads, double tolerance)
{
    enum { L = 200 };
    const int n_kv = kv ? kv : heads, W = heads * D, KW = n_kv * D;
    const struct xc_attr_attention attr = { .heads = heads, .kv_heads = kv, .causal = causal, .quantized = quantized, .scale = bias_heads ? 0.3f : 0 };
    const double scale = bias_heads ? (double)0.3f : 1 / sqrt(D);
    struct xc_ref in[4];
    struct fix f;
    double *want = doubles(TOKENS * (int64_t)W), *bias = NULL, p[200];

    begin(&f);
    in[0] = xc_val(input(&f, "q", f.tokens, W));
    in[1] = xc_val(input(&f, "k", cross ? f.memory : f.tokens, KW));
    in[2] = xc_val(input(&f, "v", cross ? f.memory : f.tokens, KW));
    in[3] = bias_heads ? xc_ten(tensor(&f, "bias", 2, bias_heads, 2 * L - 1, 0)) : xc_none();
    add(&f, "attention", in, 4, &attr);
    if (bias_heads) bias = as_double(&f, in[3].id);
    for (int s = 0; s < N_SEQ; s++) {
        const int32_t *ks = cross ? memory_start : token_start;
        const int n_q = token_start[s + 1] - token_start[s], n_k = ks[s + 1] - ks[s];

        for (int h = 0; h < heads; h++)
            for (int i = 0; i < n_q; i++) {
                const int g = h / (heads / n_kv), place = i + n_k - n_q;
                double sum = 0;

                for (int j = 0; j < n_k; j++) {
                    double dot = 0;

                    for (int d = 0; d < D; d++) dot += (double)x_of(&f, 0)[(token_start[s] + i) * W + h * D + d] * (double)x_of(&f, 1)[(ks[s] + j) * KW + g * D + d];
                    if (bias) dot += bias[(bias_heads == 1 ? 0 : h) * (2 * L - 1) + j - place + L - 1] / scale;
                    p[j] = causal && j > place ? 0 : exp(dot * scale);
                    sum += p[j];
                }
                for (int j = 0; j < n_k; j++)
                    for (int d = 0; d < D; d++) want[(token_start[s] + i) * W + h * D + d] += p[j] / sum * (double)x_of(&f, 2)[(ks[s] + j) * KW + g * D + d];
            }
    }
    check(&f, want, tolerance);
    free(bias);
    free(want);
    end(&f);
}

static void test_attention(void **state)
{
    (void)state;
    attention_case(2, 0, 16, false, false, false, 0, 2e-6);
    attention_case(4, 2, 13, false, true, false, 0, 2e-6);
    attention_case(3, 1, 20, true, false, false, 0, 2e-6);
    attention_case(2, 0, 26, true, true, false, 0, 2e-6);
    attention_case(2, 0, 16, false, false, false, 2, 2e-6);
    attention_case(2, 0, 16, true, true, false, 1, 2e-6);
    attention_case(2, 0, 32, false, false, true, 0, 0.02);
    attention_case(4, 2, 26, true, true, true, 0, 0.02);
    attention_case(2, 0, 32, false, false, true, 2, 0.06); /* larger scores: the same steps of int8 weigh more */
}

/* Keys that no query has, queries that have no key. */
static void test_attention_edges(void **state)
{
    const int32_t none[] = { 0, 0, 2 }, some[] = { 0, 2, 2 };
    const struct xc_ragged spaces[] = { { .start = some, .n_seq = 2 }, { .start = none, .n_seq = 2 } };
    struct xc_view out;
    struct xc_run *run;

    (void)state;
    for (int causal = 0; causal < 2; causal++)
        for (int quantized = 0; quantized < 2; quantized++) {
            const struct xc_attr_attention attr = { .heads = 1, .causal = causal, .quantized = quantized };
            struct fix f;

            begin(&f);
            const int32_t q = input(&f, "q", f.tokens, 8), k = input(&f, "k", f.memory, 8), v = input(&f, "v", f.memory, 8);

            add(&f, "attention", (struct xc_ref[]){ xc_val(q), xc_val(k), xc_val(v) }, 3, &attr);
            for (int i = 0; i < 3; i++) f.in[i].rows = 2;
            OK(xc_run_new(&run, f.m, NULL, threads, &err));
            if (causal) {
                assert_int_equal(xc_run_graph(run, f.g, f.in, spaces, 2, &out, &err), XC_E_SHAPE);
            } else {
                OK(xc_run_graph(run, f.g, f.in, spaces, 2, &out, &err));
                for (int i = 0; i < 16; i++) assert_true(((float *)out.data)[i] == 0.0f);
            }
            xc_run_free(&run);
            end(&f);
        }
}

/* ---- token pruning ---- */
static void test_attention_received(void **state)
{
    (void)state;
    for (int variant = 0; variant < 4; variant++) { /* with values or not, all queries or some */
        enum { H = 4, KV = 2, D = 11 };
        const bool values = variant & 1;
        const struct xc_attr_received attr = { .heads = H, .kv_heads = KV, .queries = variant & 2 ? 8 : 0 };
        struct fix f;
        double *want = doubles(TOKENS);

        begin(&f);
        const int32_t q = input(&f, "q", f.tokens, H * D), k = input(&f, "k", f.tokens, KV * D), v = input(&f, "v", f.tokens, KV * D);

        for (int s = 0; s < N_SEQ; s++) {
            const int64_t r0 = token_start[s], n = token_start[s + 1] - r0, step = attr.queries && n > attr.queries ? (n + attr.queries - 1) / attr.queries : 1, asked = n ? (n + step - 1) / step : 0;

            for (int64_t i = 0; i < n; i += step)
                for (int h = 0; h < H; h++) {
                    double p[TOKENS], sum = 0;

                    for (int64_t j = 0; j < n; j++) {
                        double dot = 0;

                        for (int d = 0; d < D; d++) dot += (double)x_of(&f, 0)[(r0 + i) * H * D + h * D + d] * (double)x_of(&f, 1)[(r0 + j) * KV * D + h / 2 * D + d];
                        sum += p[j] = exp(dot / sqrt(D));
                    }
                    for (int64_t j = 0; j < n; j++) {
                        double norm = 0;

                        for (int d = 0; d < D; d++) norm += pow((double)x_of(&f, 2)[(r0 + j) * KV * D + h / 2 * D + d], 2);
                        want[r0 + j] += p[j] / sum / (double)(asked * H) * (values ? sqrt(norm) : 1);
                    }
                }
        }
        add(&f, "attention_received", (struct xc_ref[]){ xc_val(q), xc_val(k), xc_val(v) }, values ? 3 : 2, &attr);
        check(&f, want, 0.02); /* int8 queries and keys */
        free(want);
        end(&f);
    }
}

static void test_keep_rows(void **state)
{
    (void)state;
    for (int variant = 0; variant < 6; variant++) { /* threshold, most, both; output 0 or 1 */
        const struct xc_attr_keep attr = { .threshold = variant % 3 != 1 ? 0.7f : 0, .most = variant % 3 ? 5 : 0 };
        const int out = variant / 3, cols = out ? 3 : 7;
        struct fix f;
        double *want = doubles(TOKENS * 7);
        int32_t y[3], space, kept = 0;

        begin(&f);
        const int32_t score = input(&f, "score", f.tokens, 1), a = input(&f, "a", f.tokens, 7), b = input(&f, "b", f.tokens, 3);
        float *x = f.in[0].data;

        for (int i = 0; i < TOKENS; i++) x[i] = fabsf(x[i]);
        x[30] = x[31] = x[32] = 9; /* equals: the earlier ones */
        x[33] = x[34] = x[35] = 9;
        for (int s = 0; s < N_SEQ; s++) {
            const int r0 = token_start[s], n = token_start[s + 1] - r0;
            double mean = 0;

            for (int i = 0; i < n; i++) mean += (double)x[r0 + i] / n;
            for (int i = 0; i < n; i++) {
                int before = 0; /* rows that go before this one */

                if (i && (double)x[r0 + i] < (double)attr.threshold * mean) continue;
                for (int k = 0; k < n; k++) before += k != i && (k == 0 || x[r0 + k] > x[r0 + i] || (x[r0 + k] == x[r0 + i] && k < i));
                if (i && attr.most && before >= attr.most) continue;
                for (int c = 0; c < cols; c++) want[kept * cols + c] = (double)x_of(&f, 1 + out)[(r0 + i) * cols + c];
                kept++;
            }
        }
        OK(xc_graph_add_space(f.g, &space, &(struct xc_space){ .name = "kept", .map = XC_MAP_SUBSET, .base = f.tokens }, &err));
        OK(xc_graph_add_node(f.g, y, "keep_rows", "node", (struct xc_ref[]){ xc_val(score), xc_val(a), xc_val(b) }, 3, &attr, &err));
        OK(xc_graph_add_output(f.g, y[out], &err));
        OK(xc_model_verify(f.m, &err));
        check(&f, want, 0);
        free(want);
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_edges),
        cmocka_unit_test(test_attention_received),
        cmocka_unit_test(test_keep_rows),
    };
    int failed;

    if (xc_pool_new(&threads, 3, NULL)) return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    xc_pool_free(&threads);
    return failed;
}
