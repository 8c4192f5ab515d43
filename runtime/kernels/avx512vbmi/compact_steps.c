/* compact_steps with AVX-512 VPOPCNTDQ: as pack_compact.c, which is the meaning, all sixteen outputs of a panel at once. Run when a model is opened.
 *
 * Windows go over the inputs by 32. Each output has a word of 64 bits, the numbers of the window that it has not given yet; while any has one in
 * the window's first half, a step takes the four lowest of each. */
#include <string.h>

#include "runtime/base/base.h"
#include "runtime/kernels/avx512vbmi/isa.h"
#include "runtime/kernels/avx512vnni/lanes.h"

#define HALF 32 /* bits: from window to window */

/* Of eight outputs: bits, how many numbers it gives (at most four), and where in the window they lie, a byte each. */
struct eight {
    __m512i bits, next; /* what is waiting in the window, and the bits behind it: of the window's first half, those of the word that follows */
    __m512i count, at;
};

LANES_INLINE void take_four(struct eight *e)
{
    const __m512i one = _mm512_set1_epi64(1);

    e->count = _mm512_min_epi64(_mm512_popcnt_epi64(e->bits), _mm512_set1_epi64(4));
    e->at = _mm512_setzero_si512();
    for (int i = 0; i < 4; i++) {
        const __m512i less = _mm512_sub_epi64(e->bits, one);

        /* zeros below the lowest bit are its place; of no bits 64, which becomes 0 */
        e->at = _mm512_or_si512(e->at, _mm512_slli_epi64(_mm512_and_si512(_mm512_popcnt_epi64(_mm512_andnot_si512(e->bits, less)), _mm512_set1_epi64(63)), 8 * (unsigned)i));
        e->bits = _mm512_and_si512(e->bits, less);
    }
}

LANES_INLINE v16i low_halves(__m512i x, __m512i y) { return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(x)), _mm512_cvtepi64_epi32(y), 1); }

/* The numbers at `from`, up to four a lane, the others zero. Dwords end where all numbers do, which n says: at least four. */
LANES_INLINE v16i numbers_at(const int8_t *data, v16i from, v16i count, int64_t n)
{
    const v16i begin = _mm512_min_epi32(from, i_set1((int32_t)(n - 4)));
    int32_t at[16], four[16];

    i_store(at, begin);
    for (int r = 0; r < 16; r++) memcpy(&four[r], data + at[r], 4);
    const v16i x = _mm512_srlv_epi32(i_load(four), _mm512_slli_epi32(_mm512_sub_epi32(from, begin), 3));

    return _mm512_and_si512(x, _mm512_srlv_epi32(i_set1(-1), _mm512_slli_epi32(_mm512_sub_epi32(i_set1(4), count), 3)));
}

/* Word i of each output, zeros behind the last word and the last output. */
static void words_at(struct eight *e, const uint8_t *mask, int64_t i, int64_t rows, int64_t words)
{
    uint64_t word[16] = { 0 };

    for (int64_t r = 0; r < rows && i < words; r++) memcpy(&word[r], mask + 8 * (r * words + i), 8);
    e[0].next = _mm512_loadu_si512(word);
    e[1].next = _mm512_loadu_si512(word + 8);
}

/* Returns how many steps; the panel's numbers, of n, begin at `held`. */
static int64_t panel_steps(int8_t *step, uint16_t *window, int32_t *sum, const int8_t *data, int32_t held, int64_t n, const uint8_t *mask, int64_t rows, int64_t words)
{
    const __m512i low = _mm512_set1_epi64(((int64_t)1 << HALF) - 1);
    int32_t first[16] = { 0 };
    v16i from, sums = i_zero();
    struct eight e[2];
    int64_t steps = 0;

    for (int64_t r = 0; r < rows; r++) {
        first[r] = held;
        for (int64_t i = 0; i < words; i++) {
            uint64_t word;

            memcpy(&word, mask + 8 * (r * words + i), 8);
            held += __builtin_popcountll(word);
        }
    }
    from = i_load(first);
    words_at(e, mask, 0, rows, words);
    for (int i = 0; i < 2; i++) e[i].bits = e[i].next;
    for (int64_t v = 0; v < 2 * words; v++) {
        while (_mm512_test_epi64_mask(_mm512_or_si512(e[0].bits, e[1].bits), low)) {
            take_four(&e[0]);
            take_four(&e[1]);
            const v16i count = low_halves(e[0].count, e[1].count), x = numbers_at(data, from, count, n);

            from = i_add(from, count);
            sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(1), x);
            _mm512_storeu_si512(step + 128 * steps, x);
            _mm512_storeu_si512(step + 128 * steps + 64, low_halves(e[0].at, e[1].at));
            window[steps++] = (uint16_t)v;
        }
        if (v % 2 == 0) words_at(e, mask, v / 2 + 1, rows, words);
        for (int i = 0; i < 2; i++) {
            const __m512i more = v % 2 == 0 ? _mm512_slli_epi64(e[i].next, HALF) : _mm512_andnot_si512(low, e[i].next);

            e[i].bits = _mm512_or_si512(_mm512_srli_epi64(e[i].bits, HALF), more);
        }
    }
    i_store(sum, sums);
    return steps;
}

void xc_compact_steps__avx512vbmi(int8_t *w, void *lists, const int8_t *data, const void *index, int64_t N, int64_t K)
{
    const int64_t panels = xc_div_up(N, 16), words = xc_div_up(K, 64);
    const uint32_t *number = index;
    const uint8_t *mask = (const uint8_t *)(number + panels + 1);
    const int64_t n = xc_max_i64(4, number[panels]);
    int8_t few[4] = { 0 };
    int32_t *sums = (int32_t *)(void *)w;
    uint32_t *first = lists;
    uint16_t *window = (uint16_t *)(void *)(first + panels + 1);

    if (number[panels] < 4) {
        memcpy(few, data, number[panels]);
        data = few;
    }
    w += 64 * panels;
    first[0] = 0;
    for (int64_t p = 0; p < panels; p++)
        first[p + 1] = first[p] + (uint32_t)panel_steps(w + 128 * (int64_t)first[p], window + first[p], sums + 16 * p, data, (int32_t)number[p], n, mask + 8 * 16 * p * words,
                                                        xc_min_i64(16, N - 16 * p), words);
}
