/* token_offsets: see token_offsets.h. */
#include "compress/tasks/token_offsets.h"

#include <string.h>

#include "runtime/text/encoder.h"

/* A character of a word. */
struct letter {
    int64_t begin, end; /* bytes of the text */
    int64_t units;      /* what it has become: characters, or bytes */
    bool apart;         /* BERT: a word of its own */
};

struct aligner {
    const struct xc_tokenizer *tok;
    const uint8_t *s;
    int64_t len, at;     /* bytes; where the next word is looked for */
    int32_t word;        /* the last one found */
    struct letter *letters;
    size_t n_letters, cap;
};

static bool is(const struct aligner *a, enum xc_tok_model model) { return a->tok->h->model == model; }

/* BERT's clean_text takes it away: it neither begins nor ends a word. */
static bool dropped(const struct aligner *a, uint16_t bits) { return is(a, XC_TOK_WORDPIECE) && a->tok->h->flags & XC_TOK_CLEAN && bits & XC_CP_CONTROL; }

static int64_t lower_units(const struct aligner *a, uint32_t cp) { return a->tok->h->flags & XC_TOK_LOWER && xc_codepoint_of(cp)->bits & XC_CP_LONG_LOWER ? 2 : 1; }

static int64_t characters(const uint8_t *s, size_t n)
{
    int64_t count = 0;
    uint32_t cp;

    for (size_t i = 0; i < n; count++) i += (size_t)xc_utf8_read(&cp, s + i, n - i);
    return count;
}

/* Bytes of what is replaced at once at s: a character with its marks, or one alone (unigram.c). */
static size_t letter_bytes(const struct aligner *a, const uint8_t *s, size_t n)
{
    const struct xc_charsmap *const map = &a->tok->charsmap;
    const bool longest = a->tok->h->flags & XC_TOK_SENTENCEPIECE;
    const uint8_t *out;
    size_t out_n, whole;
    uint32_t cp;

    if (is(a, XC_TOK_UNIGRAM) && map->n_units) {
        whole = longest ? n : xc_cluster_bytes(s, n);
        if ((longest || whole <= 5) && (whole = xc_charsmap_find(map, &out, &out_n, s, whole, longest)) != 0) return whole;
    }
    return (size_t)xc_utf8_read(&cp, s, n);
}

/* What the letter s[0..n) has become. */
static int64_t units_of(const struct aligner *a, uint32_t cp, const uint8_t *s, size_t n)
{
    const uint8_t *out;
    uint8_t utf8[4];
    size_t out_n;
    uint32_t d[4];
    int64_t units = 0;

    if (is(a, XC_TOK_BPE)) return xc_utf8_write(utf8, cp);
    if (is(a, XC_TOK_UNIGRAM)) return xc_charsmap_find(&a->tok->charsmap, &out, &out_n, s, n, false) == n ? characters(out, out_n) : 1;
    if (dropped(a, xc_codepoint_of(cp)->bits)) return 0;
    if (!(a->tok->h->flags & XC_TOK_STRIP)) return lower_units(a, cp);
    for (int i = 0, parts = xc_decompose(d, cp); i < parts; i++) units += xc_codepoint_of(d[i])->bits & XC_CP_MARK ? 0 : lower_units(a, d[i]);
    return units;
}

/* Moves to word `want` and lists its letters. Words are numbered as the encoder does (xc_encoder_enter). */
static enum xc_status find_word(struct aligner *a, int32_t want, struct xc_err *err)
{
    bool gap = true;

    a->n_letters = 0;
    while (a->at < a->len) {
        uint32_t cp;
        const int64_t n = (int64_t)letter_bytes(a, a->s + a->at, (size_t)(a->len - a->at));
        uint16_t bits;

        xc_utf8_read(&cp, a->s + a->at, (size_t)(a->len - a->at));
        bits = xc_codepoint_of(cp)->bits;
        if (!dropped(a, bits)) {
            if (bits & XC_CP_WHITE) {
                if (a->word == want && a->n_letters) return XC_OK;
                gap = true;
            } else {
                a->word += gap;
                gap = false;
            }
        }
        if (a->word == want && !gap) {
            XC_TRY(xc_grow((void **)&a->letters, &a->cap, a->n_letters + 1, sizeof *a->letters, err));
            a->letters[a->n_letters++] = (struct letter){ .begin = a->at, .end = a->at + n, .units = units_of(a, cp, a->s + a->at, (size_t)n),
                                                          .apart = bits & XC_CP_PUNCT || (a->tok->h->flags & XC_TOK_CJK && bits & XC_CP_CJK) };
        }
        a->at += n;
    }
    return XC_OK;
}

/* What token id is spelled with, less the mark of a word's beginning or continuation. */
static int64_t spelled(const struct aligner *a, int32_t id, bool first)
{
    const uint8_t *prefix = (const uint8_t *)a->tok->h + a->tok->h->array[XC_TOK_PREFIX].offset;
    size_t n, skip = 0;
    const uint8_t *s = (const uint8_t *)xc_tokenizer_token(a->tok, id, &n);

    if (!s) return 0;
    if (is(a, XC_TOK_WORDPIECE) && a->tok->n_prefix && n > a->tok->n_prefix && !memcmp(s, prefix, a->tok->n_prefix)) skip = a->tok->n_prefix;
    if (is(a, XC_TOK_BPE) && first && n >= 2 && s[0] == a->tok->spell[' '][0] && s[1] == a->tok->spell[' '][1]) skip = 2;
    if (is(a, XC_TOK_UNIGRAM) && first && n >= 3 && !memcmp(s, "\xE2\x96\x81", 3)) skip = 3;
    return characters(s + skip, n - skip);
}

/* The byte that token id stands for where a character is spelled in bytes; -1 = it is another token. */
static int32_t byte_of(const struct aligner *a, int32_t id)
{
    size_t n;
    const char *s = xc_tokenizer_token(a->tok, id, &n);

    if (!(a->tok->h->flags & XC_TOK_BYTE_FALLBACK) || n != 6 || memcmp(s, "<0x", 3)) return -1;
    for (int32_t b = 0; b < 256; b++)
        if (a->tok->byte_ids[b] == id) return b;
    return -1;
}

/* BERT has one unknown token for all of a word between punctuation. */
static int64_t unknown_piece(const struct aligner *a, size_t k)
{
    int64_t units = 0;

    if (k < a->n_letters && a->letters[k].apart) return a->letters[k].units;
    for (; k < a->n_letters && !a->letters[k].apart; k++) units += a->letters[k].units;
    return units;
}

/* Elsewhere an unknown token takes what the others leave; several of them a character each, where that is it. ids (n): from it on. 0: cannot be told. */
static int64_t unknown_units(const struct aligner *a, const int32_t *ids, int64_t n, int64_t left)
{
    int64_t unknown = 0;

    for (int64_t i = 0; i < n; i++) {
        if (ids[i] == a->tok->h->unk_id) unknown++;
        else left -= spelled(a, ids[i], false);
    }
    return unknown == 1 ? left : left == unknown;
}

/* How many of the n tokens from ids on are taken together, the bytes of unknown characters; and what they stand for. */
static int64_t next_group(const struct aligner *a, int64_t *units, size_t k, const int32_t *ids, int64_t n, bool first, int64_t left)
{
    int64_t bytes = 0, b;

    for (*units = 0; bytes < n && (b = byte_of(a, ids[bytes])) >= 0; bytes++) *units += (b & 0xC0) != 0x80; /* where a character begins */
    if (bytes) return bytes;
    if (ids[0] != a->tok->h->unk_id) *units = spelled(a, ids[0], first);
    else *units = is(a, XC_TOK_WORDPIECE) ? unknown_piece(a, k) : unknown_units(a, ids, n, left);
    return 1;
}

/* The tokens of one word, of which `a` has the letters. */
static void align(const struct aligner *a, int64_t *begin, int64_t *end, const int32_t *ids, int64_t n)
{
    const int64_t from = a->letters[0].begin, to = a->letters[a->n_letters - 1].end;
    int64_t left = 0, used = 0; /* units: behind what is aligned; of letter k */
    size_t k = 0;
    bool fits = true;

    for (size_t i = 0; i < a->n_letters; i++) left += a->letters[i].units;
    for (int64_t i = 0, group; i < n; i += group) {
        int64_t units, first, last;

        while (k < a->n_letters && used >= a->letters[k].units) k++, used = 0;
        group = next_group(a, &units, k, ids + i, n - i, i == 0, left);
        fits = units <= left && (units > 0 || (i == 0 && ids[0] != a->tok->h->unk_id));
        if (!fits) break;
        first = last = k < a->n_letters ? a->letters[k].begin : to; /* the mark of a word's beginning alone: nothing of it */
        left -= units;
        for (used += units; units && used > a->letters[k].units; k++) used -= a->letters[k].units;
        if (units) last = a->letters[k].end;
        for (int64_t g = i; g < i + group; g++) begin[g] = first, end[g] = last;
    }
    if (fits && left == 0) return;
    for (int64_t i = 0; i < n; i++) begin[i] = from, end[i] = to;
}

enum xc_status xc_token_offsets(int64_t *begin, int64_t *end, const struct xc_tokenizer *tok, const char *text, size_t len, const int32_t *ids, const int32_t *words, int64_t n,
                                struct xc_err *err)
{
    struct aligner a = { .tok = tok, .s = (const uint8_t *)text, .len = (int64_t)len, .word = -1 };
    enum xc_status status = XC_OK;
    int64_t last = 0;

    for (int64_t i = 0, to; i < n && status == XC_OK; i = to) {
        for (to = i + 1; to < n && words[to] == words[i];) to++;
        if (words[i] > a.word) status = find_word(&a, words[i], err);
        if (words[i] >= 0 && status == XC_OK && a.n_letters) {
            align(&a, begin + i, end + i, ids + i, to - i);
            last = end[to - 1];
            continue;
        }
        for (int64_t k = i; k < to; k++) begin[k] = end[k] = last;
    }
    xc_free(a.letters);
    return status;
}
