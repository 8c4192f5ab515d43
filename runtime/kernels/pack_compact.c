/* pack_compact: int8 weights with zeros anywhere: as a file holds them, as kernels multiply them (kernels.h, Layouts: compact, steps), and dense.
 * Portable; run once when a model is made or opened. */
#include <string.h>

#include "runtime/base/base.h"
#include "runtime/kernels/kernels.h"

#define WINDOW 64 /* inputs of a step */
#define APART 32  /* from window to window */

static int64_t words_of(int64_t K) { return xc_div_up(K, 64); }
static const uint8_t *masks_of(const void *index, int64_t N) { return (const uint8_t *)((const uint32_t *)index + xc_div_up(N, 16) + 1); }

static uint64_t word_at(const uint8_t *mask, int64_t i)
{
    uint64_t word;

    memcpy(&word, mask + 8 * i, sizeof word);
    return word;
}

/* Without an instruction for it, compilers call a function. */
static int64_t ones(uint64_t x)
{
    x -= x >> 1 & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
    return (int64_t)(((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56);
}

static int64_t ones_of(const uint8_t *mask, int64_t words)
{
    int64_t n = 0;

    for (int64_t i = 0; i < words; i++) n += ones(word_at(mask, i));
    return n;
}

size_t xc_compact_index_bytes(int64_t N, int64_t K)
{
    size_t masks, bytes;

    if (!xc_mul_ok(&masks, (size_t)N, (size_t)words_of(K)) || !xc_mul_ok(&masks, masks, 8) || !xc_mul_ok(&bytes, (size_t)xc_div_up(N, 16) + 1, sizeof(uint32_t)) ||
        !xc_add_ok(&bytes, bytes, masks))
        return 0;
    return bytes;
}

bool xc_compact_pack(int8_t *data, void *index, const int8_t *q, int64_t n, int64_t N, int64_t K)
{
    uint32_t *first = index, held = 0;
    uint8_t *mask = (uint8_t *)(first + xc_div_up(N, 16) + 1);
    int64_t spare = n;

    for (int64_t i = 0; i < N * K; i++) spare -= q[i] != 0;
    if (spare < 0 || n > N * K) return false;
    for (int64_t r = 0; r < N; r++, q += K, mask += 8 * words_of(K)) {
        if (r % 16 == 0) first[r / 16] = held;
        for (int64_t k = 0; k < K; k++) {
            if (q[k] == 0 && spare-- <= 0) continue;
            mask[k / 8] |= (uint8_t)(1u << k % 8);
            data[held++] = q[k];
        }
    }
    first[xc_div_up(N, 16)] = held;
    return true;
}

bool xc_compact_index_ok(const void *index, int64_t n, int64_t N, int64_t K)
{
    const uint32_t *first = index;
    const uint8_t *mask = masks_of(index, N);
    int64_t held = 0;

    for (int64_t r = 0; r < N; r++, mask += 8 * words_of(K)) {
        if (r % 16 == 0 && first[r / 16] != held) return false;
        if (K % 64 && word_at(mask, words_of(K) - 1) >> K % 64) return false;
        held += ones_of(mask, words_of(K));
    }
    return held == n && first[xc_div_up(N, 16)] == held;
}

/* The first number of an output. */
static int64_t begin_of(const void *index, int64_t row, int64_t N, int64_t K)
{
    return ((const uint32_t *)index)[row / 16] + ones_of(masks_of(index, N) + row / 16 * 16 * 8 * words_of(K), row % 16 * words_of(K));
}

/* ---- a walk over the numbers of an output ---- */
struct walk {
    const uint8_t *mask;
    const int8_t *value;  /* of the current number */
    uint64_t bits;        /* of the current word: what is left, the current number's the lowest */
    int64_t word, words;
    int64_t k;            /* its input; at the end, END */
};
#define END INT32_MAX

static void settle(struct walk *w)
{
    while (!w->bits && ++w->word < w->words) w->bits = word_at(w->mask, w->word);
    w->k = w->bits ? w->word * 64 + __builtin_ctzll(w->bits) : END;
}

static void step_on(struct walk *w)
{
    w->bits &= w->bits - 1;
    w->value++;
    settle(w);
}

static void begin(struct walk *w, const int8_t *value, const void *index, int64_t row, int64_t N, int64_t K)
{
    *w = (struct walk){.mask = masks_of(index, N) + row * 8 * words_of(K), .value = value, .word = -1, .words = words_of(K)};
    settle(w);
}

void xc_compact_unpack_row(int8_t *dst, const int8_t *data, const void *index, int64_t row, int64_t N, int64_t K)
{
    struct walk w;

    memset(dst, 0, (size_t)K);
    for (begin(&w, data + begin_of(index, row, N, K), index, row, N, K); w.k != END; step_on(&w)) dst[w.k] = *w.value;
}

void xc_compact_panels(int8_t *panel, const int8_t *data, const void *index, int64_t N, int64_t K)
{
    const int64_t K4 = xc_round_up(K, 4);

    memset(panel, 0, (size_t)(xc_round_up(N, 16) * K4));
    for (int64_t r = 0; r < N; r++) {
        int8_t *to = panel + r / 16 * 16 * K4 + r % 16 * 4;
        struct walk w;

        for (begin(&w, data, index, r, N, K); w.k != END; step_on(&w)) to[w.k / 4 * 64 + w.k % 4] = *w.value;
        data = w.value;
    }
}

/* ---- steps ---- */
/* Windows that do not overlap need, each, a step for every four numbers of the output that has most there; steps need no more than that. */
int64_t xc_compact_most_steps(const void *index, int64_t N, int64_t K)
{
    const uint8_t *mask = masks_of(index, N);
    int64_t steps = 0;

    for (int64_t n0 = 0; n0 < N; n0 += 16)
        for (int64_t i = 0; i < words_of(K); i++) {
            int64_t most = 0;

            for (int64_t r = n0; r < xc_min_i64(n0 + 16, N); r++) most = xc_max_i64(most, ones(word_at(mask, r * words_of(K) + i)));
            steps += xc_div_up(most, 4);
        }
    return steps;
}

/* The bits of 64 inputs from k on, a multiple of 32. */
static uint64_t window_at(const uint8_t *mask, int64_t k, int64_t words)
{
    const int64_t i = k / 64;

    if (k % 64 == 0) return word_at(mask, i);
    return word_at(mask, i) >> 32 | (i + 1 < words ? word_at(mask, i + 1) << 32 : 0);
}

/* The first input from k on that has a number; END when none has. */
static int64_t next_from(const uint8_t *mask, int64_t k, int64_t words)
{
    int64_t i = k / 64;
    uint64_t word;

    if (i >= words) return END;
    word = word_at(mask, i) & ~(uint64_t)0 << k % 64;
    while (!word && ++i < words) word = word_at(mask, i);
    return word ? i * 64 + __builtin_ctzll(word) : END;
}

/* What an output still has to give: its next number and where that is. */
struct lane {
    const uint8_t *mask;
    const int8_t *value;
    int64_t k;
};

/* Up to four numbers of the window at `low`. Without branches: how many there are cannot be foretold. */
static int32_t give(struct lane *l, int8_t *w, int8_t *at, int64_t low, int64_t words)
{
    static const int8_t zero = 0;
    uint64_t bits = window_at(l->mask, low, words);
    int32_t sum = 0;

    if (l->k > low) bits &= ~(uint64_t)0 << (l->k - low);
    for (int i = 0; i < 4; i++) {
        const bool any = bits != 0;

        w[i] = *(any ? l->value : &zero);
        at[i] = (int8_t)(any ? __builtin_ctzll(bits) : 0);
        sum += w[i];
        l->value += any;
        bits &= bits - 1;
    }
    l->k = bits ? low + __builtin_ctzll(bits) : next_from(l->mask, low + WINDOW, words);
    return sum;
}

/* A step's window begins as late as the number that waits at the lowest input allows, and every output gives the next four numbers it has there:
 * no order of windows needs fewer steps. (Some step must take the number that waits lowest; of the windows that hold it, the last holds
 * all that any of them holds of what waits.) */
static int64_t panel_steps(int8_t *step, uint16_t *window, int32_t *sum, const int8_t **data, const void *index, int64_t n0, int64_t N, int64_t K)
{
    const int64_t rows = xc_min_i64(16, N - n0), words = words_of(K);
    struct lane lane[16];
    int64_t steps = 0;

    memset(sum, 0, 16 * sizeof *sum);
    for (int64_t r = 0; r < rows; r++) {
        lane[r] = (struct lane){.mask = masks_of(index, N) + (n0 + r) * 8 * words, .value = *data};
        lane[r].k = next_from(lane[r].mask, 0, words);
        *data += ones_of(lane[r].mask, words);
    }
    for (;; steps++, step += 128, window++) {
        int64_t low = END;

        for (int64_t r = 0; r < rows; r++) low = xc_min_i64(low, lane[r].k);
        if (low == END) return steps;
        low = low / APART * APART;
        *window = (uint16_t)(low / APART);
        memset(step, 0, 128);
        for (int64_t r = 0; r < rows; r++)
            if (lane[r].k < low + WINDOW) sum[r] += give(&lane[r], step + 4 * r, step + 64 + 4 * r, low, words);
    }
}

void xc_compact_steps(int8_t *w, void *lists, const int8_t *data, const void *index, int64_t N, int64_t K)
{
    const int64_t panels = xc_div_up(N, 16);
    int32_t *sums = (int32_t *)(void *)w;
    uint32_t *first = lists;
    uint16_t *window = (uint16_t *)(void *)(first + panels + 1);

    w += 64 * panels;
    first[0] = 0;
    for (int64_t p = 0; p < panels; p++)
        first[p + 1] = first[p] + (uint32_t)panel_steps(w + 128 * (int64_t)first[p], window + first[p], sums + 16 * p, &data, index, 16 * p, N, K);
}
