/* Weights below int8: scales, rounding, bytes, and GPTQ against numpy (tests/vectors/gen_gptq.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compress/quantize/gptq.h"
#include "runtime/base/half.h"
#include "runtime/base/rng.h"
#include "runtime/graph/graph.h"
#include "runtime/graph/grouped.h"
#include "tests/vectors/gptq_vectors.h"

static float uniform(struct xc_rng *rng) { return (float)xc_rng_below(rng, 2000001) / 1e6f - 1.0f; }

static double error_of(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n)
{
    uint8_t u[256], zero;
    uint16_t scale, row_scale;
    double e = 0;

    assert_true(xc_lowbit_row_scale(f, x, n, n, &row_scale));
    assert_true(xc_lowbit_scale(f, x, weight, n, row_scale, &scale, &zero));
    xc_lowbit_round(f, u, x, n, scale, zero);
    for (int64_t i = 0; i < n; i++) {
        const double d = (double)x[i] - (double)xc_f16_to_f32(scale) * (u[i] - (double)xc_lowbit_zero(f, zero));

        assert_true(u[i] < 1 << f->bits);
        if (f->ternary) assert_true(u[i] >= 1);
        e += (weight ? (double)weight[i] : 1.0) * d * d;
    }
    return e;
}

/* The best of very many scales, in double precision. */
static double least_error(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n)
{
    const double lo = f->ternary ? -1 : -(1 << (f->bits - 1)), hi = f->ternary ? 1 : -lo - 1;
    double best = INFINITY, max = 0;

    for (int64_t i = 0; i < n; i++) max = fmax(max, fabs((double)x[i]));
    for (int sign = -1; sign < 2; sign += 2)
        for (int step = 1; step <= 3000; step++) {
            const double s = sign * max / -lo * step / 2000;
            double e = 0;

            for (int64_t i = 0; i < n; i++) {
                const double d = (double)x[i] - s * fmax(lo, fmin(hi, rint((double)x[i] / s)));

                e += (weight ? (double)weight[i] : 1.0) * d * d;
            }
            best = fmin(best, e);
        }
    return best;
}

static void test_scales(void **state)
{
    struct xc_rng rng;
    double nearest[9] = { 0 }, search[9] = { 0 }, least[9] = { 0 }, affine[9] = { 0 }, codes[9] = { 0 }, both[9] = { 0 };

    (void)state;
    xc_rng_init(&rng, 1, 2);
    for (int i = 0; i < 60; i++) {
        float x[64], weight[64];

        for (int k = 0; k < 64; k++) {
            x[k] = 0.05f * (uniform(&rng) + uniform(&rng) + uniform(&rng) + uniform(&rng));
            weight[k] = 0.1f + fabsf(uniform(&rng));
        }
        for (int bits = 2; bits <= 8; bits++) {
            const float *w = i % 2 ? weight : NULL;
            const int64_t n = i % 3 ? 64 : 37;
            const struct xc_lowbit plain = { .bits = bits }, found = { .bits = bits, .search = true }, zp = { .bits = bits, .search = true, .affine = true };
            struct xc_lowbit two = found, two_zp = zp;

            two.two_level = two_zp.two_level = true;
            codes[bits] += error_of(&two, x, w, n);
            both[bits] += error_of(&two_zp, x, w, n);

            nearest[bits] += error_of(&plain, x, w, n);
            search[bits] += error_of(&found, x, w, n);
            affine[bits] += error_of(&zp, x, w, n);
            least[bits] += least_error(&found, x, w, n);
        }
        const struct xc_lowbit ternary = { .bits = 2, .ternary = true, .search = true };

        search[0] += error_of(&ternary, x, NULL, 64);
        least[0] += least_error(&ternary, x, NULL, 64);
    }
    for (int bits = 2; bits <= 8; bits++) { /* a group alone has the largest code, which may be too small for it; the more bits, the more coarse codes are felt */
        if (codes[bits] > (bits < 5 ? 1.04 : bits < 7 ? 1.15 : 1.3) * search[bits]) fail_msg("%d bits: with codes for scales %g, without %g", bits, codes[bits], search[bits]);
        if (both[bits] > (bits < 5 ? 0.98 : bits < 7 ? 1.1 : 1.3) * fmin(affine[bits], search[bits])) fail_msg("%d bits: with codes for zeros %g, without %g, %g", bits, both[bits], affine[bits], search[bits]);
    }
    for (int bits = 0; bits <= 8; bits++) {
        if (bits == 1) continue;
        if (search[bits] > (bits < 8 ? 1.06 : 1.1) * least[bits]) /* f16 scales are felt by 255 levels */
            fail_msg("%d bits: the search finds %g, the least is %g", bits, search[bits], least[bits]);
        if (bits) assert_true(search[bits] < 0.97 * nearest[bits]);
        if (bits) assert_true(affine[bits] < 1.02 * search[bits]);
    }
}

static void test_extremes(void **state)
{
    const struct xc_lowbit f = { .bits = 4, .search = true };
    float x[64] = { 0 };
    uint8_t zero, u[64];
    uint16_t scale;

    (void)state;
    assert_true(xc_lowbit_scale(&f, x, NULL, 64, 0, &scale, &zero));
    xc_lowbit_round(&f, u, x, 64, scale, zero);
    assert_int_equal(u[5], 8);
    x[7] = NAN;
    assert_false(xc_lowbit_scale(&f, x, NULL, 64, 0, &scale, &zero));
    x[7] = -INFINITY;
    assert_false(xc_lowbit_scale(&f, x, NULL, 64, 0, &scale, &zero));
    x[7] = 1e6f;
    assert_false(xc_lowbit_scale(&f, x, NULL, 64, 0, &scale, &zero)); /* a scale beyond f16 */
    x[7] = 4e5f;
    assert_true(xc_lowbit_scale(&f, x, NULL, 64, 0, &scale, &zero));
    x[7] = 1e-38f;
    assert_true(xc_lowbit_scale(&f, x, NULL, 64, 0, &scale, &zero));
    xc_lowbit_round(&f, u, x, 64, scale, zero);
    assert_true(error_of(&f, x, NULL, 64) < 1e-70);
}

static void make_parts(struct xc_buf *part[XC_PART_COUNT], const struct xc_encoding *enc, int64_t rows, int64_t cols)
{
    struct xc_err err = { 0 };
    size_t bytes;

    for (int p = 0; p < XC_PART_COUNT; p++) {
        part[p] = NULL;
        assert_int_equal(xc_encoding_part_bytes(enc, rows, cols, (enum xc_part)p, &bytes, &err), XC_OK);
        if (bytes) assert_int_equal(xc_buf_new(&part[p], bytes, &err), XC_OK);
        if (bytes) memset(part[p]->data, 0, bytes);
    }
}

static int bits_at(const uint8_t *p, int at, int n)
{
    int v = 0;

    for (int b = 0; b < n; b++) v |= (p[(at + b) / 8] >> (at + b) % 8 & 1) << b;
    return v;
}

/* Bytes as docs/container.md says. */
static void test_bytes(void **state)
{
    enum { K = 77, N = 19 };
    const struct xc_encoding panel = { .format = XC_FMT_S4, .layout = XC_LAYOUT_PANEL16, .scale_format = XC_FMT_F16, .group = 32, .zero_point = true };
    const struct xc_encoding rows = { .format = XC_FMT_S3, .scale_format = XC_FMT_F16, .group = 40 };
    const struct xc_encoding seven = { .format = XC_FMT_S7, .scale_format = XC_FMT_F16, .group = 32 }, eight = { .format = XC_FMT_G8, .scale_format = XC_FMT_S6, .group = 32, .zero_point = true };
    const struct xc_encoding codes = { .format = XC_FMT_S6, .scale_format = XC_FMT_S6, .group = 32 }, codes_zp = { .format = XC_FMT_S4, .layout = XC_LAYOUT_PANEL16, .scale_format = XC_FMT_S6, .group = 32, .zero_point = true };
    const uint16_t row_scale = xc_f32_to_f16(0.0123f);
    struct xc_buf *a[XC_PART_COUNT], *b[XC_PART_COUNT], *c[XC_PART_COUNT], *d[XC_PART_COUNT], *e[XC_PART_COUNT], *f[XC_PART_COUNT];
    uint8_t u[K], zero[3];
    uint16_t scale[3], coded[3], positive[3];

    (void)state;
    make_parts(a, &panel, N, K), make_parts(b, &rows, N, K), make_parts(c, &codes, N, K), make_parts(d, &codes_zp, N, K), make_parts(e, &seven, N, K), make_parts(f, &eight, N, K);
    for (int n = N - 1; n >= 0; n--) {
        for (int g = 0; g < 3; g++) {
            scale[g] = (uint16_t)(n * 100 + g), zero[g] = (uint8_t)((n + g) % 16);
            coded[g] = xc_grouped_scale_of(row_scale, (n * 3 + g) % 63 - 31), positive[g] = xc_grouped_scale_of(row_scale, n * 3 + g);
        }
        for (int k = 0; k < K; k++) u[k] = (uint8_t)((n * 5 + k * 3) % 16);
        xc_grouped_put_row(&panel, N, K, a, n, u, 0, scale, zero);
        for (int g = 0; g < 3; g++) zero[g] = (uint8_t)(63 - n - g);
        xc_grouped_put_row(&codes_zp, N, K, d, n, u, row_scale, positive, zero);
        for (int k = 0; k < K; k++) u[k] = (uint8_t)(n * 37 + k * 11);
        xc_grouped_put_row(&eight, N, K, f, n, u, row_scale, positive, zero);
        for (int k = 0; k < K; k++) u[k] &= 127;
        xc_grouped_put_row(&seven, N, K, e, n, u, 0, scale, zero);
        for (int k = 0; k < K; k++) u[k] = (uint8_t)((n * 5 + k * 3) % 8);
        xc_grouped_put_row(&rows, N, K, b, n, u, 0, scale, zero);
        for (int k = 0; k < K; k++) u[k] = (uint8_t)((n * 5 + k * 3) % 64);
        xc_grouped_put_row(&codes, N, K, c, n, u, row_scale, coded, zero);
    }
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++) {
            const int at = n / 16 * 8 * 80 + k / 8 * 64 + n % 16 * 4 + k % 4, byte = a[XC_PART_DATA]->data[at], want = (n * 5 + k * 3) % 16;
            const uint16_t *scales = (const uint16_t *)(const void *)a[XC_PART_SCALE]->data, *scales3 = (const uint16_t *)(const void *)b[XC_PART_SCALE]->data;

            assert_int_equal(k % 8 < 4 ? byte & 15 : byte >> 4, want);
            assert_int_equal(d[XC_PART_DATA]->data[at], byte);
            assert_int_equal(bits_at(b[XC_PART_DATA]->data + n * 29, 3 * k, 3), want & 7);
            assert_int_equal(scales[(n / 16 * 3 + k / 32) * 16 + n % 16], n * 100 + k / 32);
            assert_int_equal(a[XC_PART_ZERO]->data[(n / 16 * 3 + k / 32) * 16 + n % 16], (n + k / 32) % 16);
            assert_int_equal(scales3[n * 2 + k / 40], n * 100 + k / 40);
            /* two levels: f16 of the rows, then rows of 18 bits: code + 32, or the code; zeros as rows of their own */
            assert_int_equal(bits_at(c[XC_PART_DATA]->data + n * 58, 6 * k, 6), (n * 5 + k * 3) % 64);
            assert_int_equal(((const uint16_t *)(const void *)c[XC_PART_SCALE]->data)[n], row_scale);
            assert_int_equal(bits_at(c[XC_PART_SCALE]->data + 2 * N + 3 * n, 6 * (k / 32), 6), (n * 3 + k / 32) % 63 + 1);
            assert_int_equal(bits_at(d[XC_PART_SCALE]->data + 2 * N + 3 * n, 6 * (k / 32), 6), n * 3 + k / 32);
            assert_int_equal(bits_at(d[XC_PART_ZERO]->data + 3 * n, 6 * (k / 32), 6), 63 - n - k / 32);
            assert_int_equal(bits_at(e[XC_PART_DATA]->data + n * 68, 7 * k, 7), (n * 37 + k * 11) & 127);
            assert_int_equal(f[XC_PART_DATA]->data[n * K + k], (n * 37 + k * 11) & 255);
            assert_int_equal(bits_at(f[XC_PART_ZERO]->data + 3 * n, 6 * (k / 32), 6), 63 - n - k / 32);
        }
    struct xc_model *m = NULL; /* what the bytes of 8 bits stand for: scale * (u - 4 * the zero's code) */
    const int64_t dim[] = { N, K };
    struct xc_err err = { 0 };
    float real[N * K];
    int32_t id;

    assert_int_equal(xc_model_new(&m, &err), XC_OK);
    assert_int_equal(xc_model_add_tensor(m, &id, "w", 2, dim, &err), XC_OK);
    assert_int_equal(xc_tensor_set_encoded(m->tensors[id], &eight, f, &err), XC_OK);
    assert_int_equal(xc_tensor_to_f32(m->tensors[id], real, &err), XC_OK);
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++) {
            const float want = xc_f16_to_f32(xc_grouped_scale_of(row_scale, n * 3 + k / 32)) * (float)(((n * 37 + k * 11) & 255) - 4 * (63 - n - k / 32));

            assert_memory_equal(&real[n * K + k], &want, sizeof want);
        }
    xc_model_free(&m);
    for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&a[p]), xc_buf_unref(&b[p]), xc_buf_unref(&c[p]), xc_buf_unref(&d[p]), xc_buf_unref(&e[p]), xc_buf_unref(&f[p]);
}

/* Every code comes back from its f16, for every f16 that a row may have. */
static void test_codes(void **state)
{
    (void)state;
    for (int row = 1; row < 0x6400; row += 7)
        for (int code = -31; code <= 63; code++) {
            const float step = xc_f16_to_f32((uint16_t)row);

            assert_int_equal(lrintf(xc_f16_to_f32(xc_grouped_scale_of((uint16_t)row, code)) / step), code);
        }
}

/* sum over rows of e H e^T, e = w - what is left of it */
static double loss_of(const uint8_t *u, const uint16_t *scale)
{
    double loss = 0;

    for (int r = 0; r < GPTQ_N; r++) {
        double e[GPTQ_K];

        for (int k = 0; k < GPTQ_K; k++) e[k] = (double)gptq_w[r * GPTQ_K + k] - (double)xc_f16_to_f32(scale[r * 3 + k / GPTQ_GROUP]) * (u[r * GPTQ_K + k] - 8);
        for (int i = 0; i < GPTQ_K; i++)
            for (int k = 0; k < GPTQ_K; k++) loss += e[i] * (double)gptq_h[i * GPTQ_K + k] * e[k];
    }
    return loss;
}

static void test_gptq(void **state)
{
    const struct xc_lowbit f = { .bits = 4 };
    uint8_t u[GPTQ_N * GPTQ_K], zero[GPTQ_N * 3];
    uint16_t scale[GPTQ_N * 3];
    float weight[GPTQ_K], *scratch = malloc(xc_gptq_scratch(GPTQ_K) * sizeof *scratch);
    const uint16_t none[XC_GPTQ_ROWS] = { 0 };
    double nearest;

    (void)state;
    for (int k = 0; k < GPTQ_K; k++) weight[k] = gptq_h[k * GPTQ_K + k];
    for (int i = 0; i < GPTQ_N * 3; i++) {
        assert_true(xc_lowbit_scale(&f, gptq_w + i * GPTQ_GROUP, NULL, GPTQ_GROUP, 0, &scale[i], &zero[i]));
        xc_lowbit_round(&f, u + i * GPTQ_GROUP, gptq_w + i * GPTQ_GROUP, GPTQ_GROUP, scale[i], zero[i]);
    }
    nearest = loss_of(u, scale);
    for (int act_order = 0; act_order < 2; act_order++) {
        const int8_t *want = act_order ? gptq_q_ordered : gptq_q_plain;
        const double want_loss = act_order ? gptq_loss_ordered : gptq_loss_plain;
        struct xc_err err = { 0 };
        struct xc_gptq g;
        double damp = gptq_damp;
        int64_t bad;
        int same = 0;

        assert_int_equal(xc_gptq_init(&g, &(struct xc_gptq_moments){ .h = gptq_h, .ld = GPTQ_K }, weight, GPTQ_K, GPTQ_GROUP, &damp, act_order, NULL, &err), XC_OK);
        for (int r = 0; r < GPTQ_N; r += XC_GPTQ_ROWS) {
            const int n = GPTQ_N - r < XC_GPTQ_ROWS ? GPTQ_N - r : XC_GPTQ_ROWS;

            assert_true(xc_gptq_rows(&g, &f, u + r * GPTQ_K, none, scale + r * 3, zero + r * 3, gptq_w + r * GPTQ_K, n, scratch, &bad));
        }
        xc_gptq_release(&g);
        for (int i = 0; i < GPTQ_N * GPTQ_K; i++) same += u[i] - 8 == want[i];
        /* f32 and f64 may part at a rounding edge, and what follows in that row with them */
        if (same < GPTQ_N * GPTQ_K * 95 / 100) fail_msg("act_order %d: %d of %d as numpy has them", act_order, same, GPTQ_N * GPTQ_K);
        if (fabs(loss_of(u, scale) / want_loss - 1) > 0.02) fail_msg("act_order %d: loss %g, numpy's %g", act_order, loss_of(u, scale), want_loss);
        if (loss_of(u, scale) > 0.6 * nearest) fail_msg("act_order %d: loss %g, to nearest %g", act_order, loss_of(u, scale), nearest);
    }
    free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scales), cmocka_unit_test(test_extremes), cmocka_unit_test(test_bytes), cmocka_unit_test(test_codes), cmocka_unit_test(test_gptq),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
