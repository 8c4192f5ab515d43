/* gemm_steps_s8 with AVX-512 VBMI and VNNI: zeros anywhere.
 *
 * A step is four inputs of each of 16 outputs out of a window of 64: vpermb brings a row's bytes, vpdpbusd multiplies. On Zen 4 the two take 1.36 cycles
 * where the window is one line of memory and 1.9 where it crosses two; dense takes 1.0 for four inputs. So the rows of a tile are laid out as windows,
 * [window][row][64], 32 inputs apart: every byte twice, every window a line, all rows of a step within short displacements. Windows at multiples of 32
 * need 3 to 9 % more steps than windows anywhere would.
 *
 * As in avx512vnni/gemm_sparse_s8.c x is the unsigned operand, with 128 added: 128 times the sums of outputs, which are held, come off. */
#include "runtime/kernels/avx512vbmi/isa.h"
#include "runtime/kernels/avx512vnni/lanes.h"
#include "runtime/kernels/avx512vnni/tile.h"

#define STEP_ROWS 16
#define FEW_INPUTS 1024 /* of so many, windows of FEW_ROWS and a panel's steps lie in L1 together; where they do not, more rows read steps less often */
#define FEW_ROWS 12
#define APART 32        /* inputs from window to window */

#ifdef __AVX512VBMI__
#define PERMUTE_CALL LANES_INLINE
#else
#define PERMUTE_CALL static __attribute__((noinline))
#endif
PERMUTE_CALL v16i tile_permute(v16i at, const uint8_t *window) { return _mm512_permutexvar_epi8(at, _mm512_loadu_si512(window)); }

struct tile {
    int64_t rows;
    bool first;                        /* part of the inputs: else sums go on from c */
    _Alignas(64) int32_t c[STEP_ROWS * 16];
    _Alignas(64) uint8_t x[PART / APART * STEP_ROWS * 64];
};

/* mr: rows of a window. Inputs k0 and on, of K. */
static void copy_windows(struct tile *t, const struct xc_gemm_s8 *g, int64_t r0, int64_t k0, int mr)
{
    const int64_t windows = xc_div_up(xc_min_i64(PART, g->K - k0), APART);

    for (int64_t r = 0; r < t->rows; r++) {
        const int8_t *x = g->x + (r0 + r) * g->ldx + k0;
        uint8_t *to = t->x + r * 64;

        for (int64_t v = 0; v < windows; v++, x += APART, to += 64 * mr) {
            const int64_t n = g->K - k0 - v * APART;
            int8_t tail[64] = {0};

            if (n < 64) memcpy(tail, x, (size_t)n);
            _mm512_storeu_si512(to, _mm512_xor_si512(_mm512_loadu_si512(n < 64 ? tail : x), _mm512_set1_epi8(-128)));
        }
    }
}

/* n steps; windows count from base */
LANES_INLINE void steps_tile(struct tile *t, const int8_t *step, const uint16_t *window, int64_t base, int64_t n, int mr)
{
#define DECLARE(i) v16i a##i = mr > i && !t->first ? i_load(t->c + 16 * i) : i_zero();
#define STEP(i) if (mr > i) a##i = tile_dot(a##i, tile_permute(at, x + 64 * i), weight);
#define STORE(i) if (mr > i) i_store(t->c + 16 * i, a##i);
    EACH_ROW(DECLARE)
    for (; n > 0; n--, step += 128, window++) {
        const uint8_t *x = t->x + (*window - base) * (64 * mr);
        const v16i weight = _mm512_loadu_si512(step), at = _mm512_loadu_si512(step + 64);

        EACH_ROW(STEP)
    }
    EACH_ROW(STORE)
#undef DECLARE
#undef STEP
#undef STORE
}

static int count_of(int64_t rows)
{
#define CASE(count) if (rows <= count) return count;
    EACH_COUNT(CASE)
#undef CASE
    return 0;
}

static __attribute__((noinline)) void steps_run(struct tile *t, const int8_t *step, const uint16_t *window, int64_t base, int64_t n)
{
#define CASE(count) if (count <= STEP_ROWS && t->rows <= count) { steps_tile(t, step, window, base, n, count); return; }
    EACH_COUNT(CASE)
#undef CASE
}

void xc_gemm_steps_s8__avx512vbmi(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t panels = xc_div_up(g->N, 16);
    const int32_t *sums = (const int32_t *)(const void *)g->w;
    const int8_t *steps = g->w + 64 * panels;
    const uint32_t *first = g->index;
    const uint16_t *windows = (const uint16_t *)(const void *)(first + panels + 1);
    int32_t offset[16];
    struct tile t;

    for (int64_t r0 = row0; r0 < row1; r0 += t.rows) {
        t.rows = next_rows(row1 - r0, g->K <= FEW_INPUTS ? FEW_ROWS : STEP_ROWS);
        for (int64_t c0 = col0; c0 < col1; c0 += 16) {
            const uint16_t *window = windows + first[c0 / 16], *const end = windows + first[c0 / 16 + 1];

            fetch_outputs(&g->ep, r0, t.rows, c0);
            for (int64_t k0 = 0; k0 < g->K; k0 += PART) {
                const uint16_t *stop = g->K <= PART ? end : window;

                t.first = k0 == 0;
                if (PART < g->K || c0 == col0) copy_windows(&t, g, r0, k0, count_of(t.rows));
                while (stop < end && APART * *stop < k0 + PART) stop++;
                steps_run(&t, steps + 128 * (window - windows), window, k0 / APART, stop - window);
                window = stop;
            }
            for (int64_t i = 0; i < 16; i++) offset[i] = 128 * sums[c0 + i];
            xc_finish_rows__avx512vnni(&g->ep, t.c, offset, r0, t.rows, c0, xc_min_i64(16, col1 - c0));
        }
    }
}
