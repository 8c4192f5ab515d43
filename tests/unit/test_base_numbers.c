/* Half floats, every one of them, and the counter-based generator against the vectors of its authors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "runtime/base/half.h"
#include "runtime/base/rng.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* The value of a binary16 by its definition. */
static double f16_value(uint16_t h)
{
    const int exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    const double sign = h & 0x8000 ? -1 : 1;

    if (exponent == 31) return mantissa != 0 ? NAN : sign * INFINITY;
    return exponent == 0 ? sign * ldexp(mantissa, -24) : sign * ldexp(1024 + mantissa, exponent - 25);
}

static void test_f16_all(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = xc_f16_to_f32((uint16_t)h);
        const double want = f16_value((uint16_t)h);

        if (isnan(want)) {
            assert_true(isnan(f));
            assert_int_equal(xc_f32_to_f16(f), h | 0x200); /* quiet, sign and payload kept */
        } else {
            assert_true((double)f == want && !signbit(f) == !signbit(want));
            assert_int_equal(xc_f32_to_f16(f), h);
        }
    }
}

/* Rounding: between every two neighbours, the middle goes to the even one, and a hair to either side to the nearer one. */
static void test_f16_rounding(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        const float a = xc_f16_to_f32((uint16_t)h);
        const float b = h + 1 == 0x7c00 ? 65536.0f : xc_f16_to_f32((uint16_t)(h + 1));
        const float middle = (a + b) / 2; /* exact */
        const uint16_t even = (uint16_t)(h + (h & 1));

        assert_int_equal(xc_f32_to_f16(middle), even);
        assert_int_equal(xc_f32_to_f16(-middle), even | 0x8000);
        assert_int_equal(xc_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(xc_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
    }
    assert_int_equal(xc_f32_to_f16(1e30f), 0x7c00);
    assert_int_equal(xc_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(xc_f32_to_f16(1e-30f), 0);
    assert_int_equal(xc_f32_to_f16(-1e-45f), 0x8000);
    assert_int_equal(xc_f32_to_f16(xc_f32_from_bits(0x7f800001)), 0x7e00); /* a NaN never becomes infinity */
}

#if defined(__x86_64__)
__attribute__((target("f16c"))) static uint16_t hardware_f16(float f)
{
    return (uint16_t)_mm_extract_epi16(_mm_cvtps_ph(_mm_set_ss(f), _MM_FROUND_TO_NEAREST_INT), 0);
}

__attribute__((target("f16c"))) static uint32_t hardware_f32_bits(uint16_t h)
{
    return (uint32_t)_mm_cvtsi128_si32(_mm_castps_si128(_mm_cvtph_ps(_mm_cvtsi32_si128(h))));
}
#endif

static void test_f16_hardware(void **state)
{
    (void)state;
#if defined(__x86_64__)
    struct xc_rng rng;

    if (!__builtin_cpu_supports("avx2")) skip(); /* comes with F16C, a name that clang 14 does not know here */
    for (uint32_t h = 0; h < 65536; h++) assert_int_equal(xc_f32_bits(xc_f16_to_f32((uint16_t)h)), hardware_f32_bits((uint16_t)h));
    xc_rng_init(&rng, 1, 2);
    for (int i = 0; i < 2000000; i++) {
        uint32_t bits = xc_rng_u32(&rng);

        /* Most random floats are far outside; bring every second one to where half floats live. */
        if (i % 2 == 0) bits = (bits & 0x807fffff) | (96 + (bits >> 23) % 48) << 23;
        if (xc_f32_to_f16(xc_f32_from_bits(bits)) != hardware_f16(xc_f32_from_bits(bits))) fail_msg("f32 bits %08x", bits);
    }
#else
    skip();
#endif
}

static void test_bf16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = xc_bf16_to_f32((uint16_t)h);
        const bool nan = (h & 0x7fff) > 0x7f80;

        assert_int_equal(xc_f32_to_bf16(f), nan ? h | 0x40 : h);
        if ((h & 0x7fff) >= 0x7f80) continue;
        /* The bit below is a tie, and goes to even; one more or less does not. */
        assert_int_equal(xc_f32_to_bf16(xc_f32_from_bits(h << 16 | 0x8000)), h + (h & 1));
        assert_int_equal(xc_f32_to_bf16(xc_f32_from_bits(h << 16 | 0x7fff)), h);
        assert_int_equal(xc_f32_to_bf16(xc_f32_from_bits(h << 16 | 0x8001)), h + 1);
    }
    assert_true(isnan(xc_bf16_to_f32(xc_f32_to_bf16(xc_f32_from_bits(0x7f800001)))));
    assert_true(isnan(xc_bf16_to_f32(xc_f32_to_bf16(xc_f32_from_bits(0xffffffff)))));
}

/* kat_vectors of the authors' Random123: philox4x32, 10 rounds. */
static void test_philox_vectors(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        const uint32_t *const c = cases[i].counter, *const k = cases[i].key;
        uint32_t out[4];

        xc_philox(out, (uint64_t)k[1] << 32 | k[0], (uint64_t)c[3] << 32 | c[2], (uint64_t)c[1] << 32 | c[0]);
        assert_memory_equal(out, cases[i].want, sizeof out);
    }
}

static void test_rng_sequence(void **state)
{
    struct xc_rng a, b;

    (void)state;
    /* The sequential view is the counter in order. */
    xc_rng_init(&a, 42, 7);
    for (uint64_t index = 0; index < 5; index++) {
        uint32_t out[4];

        xc_philox(out, 42, 7, index);
        for (int i = 0; i < 4; i++) assert_int_equal(xc_rng_u32(&a), out[i]);
    }
    xc_rng_init(&a, 42, 7);
    xc_rng_init(&b, 42, 8);
    assert_true(xc_rng_u32(&a) != xc_rng_u32(&b));
}

static void test_rng_draws(void **state)
{
    const int n = 200000;
    int counts[7] = {0};
    double sum = 0, squares = 0, units = 0, fourth = 0;
    struct xc_rng rng;

    (void)state;
    xc_rng_init(&rng, 3, 0);
    for (int i = 0; i < n; i++) {
        const double u = xc_rng_unit(&rng), z = xc_rng_normal(&rng);

        assert_true(u >= 0 && u < 1);
        counts[xc_rng_below(&rng, 7)]++;
        units += u;
        sum += z;
        squares += z * z;
        fourth += z * z * z * z;
    }
    /* Six standard errors. */
    assert_true(fabs(units / n - 0.5) < 6 * 0.2887 / sqrt(n));
    assert_true(fabs(sum / n) < 6 / sqrt(n));
    assert_true(fabs(squares / n - 1) < 6 * 1.415 / sqrt(n));
    assert_true(fabs(fourth / n - 3) < 6 * 9.8 / sqrt(n));
    for (int i = 0; i < 7; i++) assert_true(fabs(counts[i] - n / 7.0) < 6 * sqrt(n * 6.0 / 49));
    assert_int_equal(xc_rng_below(&rng, 1), 0);

    /* A range that plain modulo would bias by a third. */
    {
        const uint64_t range = UINT64_MAX / 3 * 2;
        int low = 0;

        for (int i = 0; i < n; i++) low += xc_rng_below(&rng, range) < range / 2;
        assert_true(fabs(low - n / 2.0) < 6 * sqrt(n) / 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_all),        cmocka_unit_test(test_f16_rounding), cmocka_unit_test(test_f16_hardware),
        cmocka_unit_test(test_bf16),           cmocka_unit_test(test_philox_vectors), cmocka_unit_test(test_rng_sequence),
        cmocka_unit_test(test_rng_draws),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
