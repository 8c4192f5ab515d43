/* bpe: the split of GPT-2 and byte-level byte-pair encoding.
 *
 * Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2019 (GPT-2). The pattern, by hand since there is no regex engine:
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * Merges are applied by rank, leftmost first. Most words are one token: the compiler puts into the trie exactly those tokens that merging
 * their own bytes gives back, so that a word found there needs no merging. Short words are merged by scanning, long ones in merge.c. */
#include "runtime/text/bpe.h"

#define SHORT_WORD 48 /* symbols */

static void merge_short(struct xc_encoder *e, const uint8_t *s, size_t n, int32_t word)
{
    const struct xc_tokenizer *tok = e->tok;
    uint32_t id[SHORT_WORD + 1], rank[SHORT_WORD + 1]; /* rank[i]: of the pair i, i + 1 */
    size_t used, m = xc_bpe_symbols(tok, id, NULL, SHORT_WORD, &used, s, n);

    if (m == 0) return;
    for (size_t i = 0; i + 1 < m; i++) rank[i] = xc_bpe_rank(tok, id[i], id[i + 1]);
    while (m > 1) {
        uint32_t best = XC_BPE_NO_PAIR;
        size_t at = 0;

        for (size_t i = 0; i + 1 < m; i++)
            if (rank[i] < best) {
                best = rank[i];
                at = i;
            }
        if (best == XC_BPE_NO_PAIR) break;
        id[at] = tok->merges[best].result;
        m--;
        for (size_t i = at + 1; i < m; i++) {
            id[i] = id[i + 1];
            rank[i - 1] = rank[i];
        }
        if (at) rank[at - 1] = xc_bpe_rank(tok, id[at - 1], id[at]);
        if (at + 1 < m) rank[at] = xc_bpe_rank(tok, id[at], id[at + 1]);
    }
    for (size_t i = 0; i < m; i++) xc_encoder_emit(e, (int32_t)id[i], word);
}

enum xc_status xc_bpe_merge(struct xc_encoder *e, const uint8_t *s, size_t n, int32_t word)
{
    if (n > SHORT_WORD) return xc_bpe_merge_long(e, &(struct xc_bpe_word){ .s = s, .n = n, .word = word });
    XC_TRY(xc_encoder_room(e, n));
    merge_short(e, s, n, word);
    return XC_OK;
}

/* The one token that a word is, -1 when it is not one; s[0..n) with a space before it if `space`. */
static int32_t whole_word(const struct xc_tokenizer *tok, bool space, const uint8_t *s, size_t n)
{
    const uint32_t *units = tok->units;
    uint32_t u = units[tok->h->root];
    size_t depth = 0;

    for (size_t i = 0; i < n + space; i++) {
        const uint8_t byte = space ? (i ? s[i - 1] : (uint8_t)' ') : s[i];

        for (uint8_t k = 0; k < tok->spell_len[byte]; k++) {
            const uint32_t label = tok->spell[byte][k] + 1u;

            if (xc_trie_leaf(u)) { /* in the tail: compare */
                size_t len;
                const uint8_t *t = xc_tokenizer_string(tok, xc_trie_payload(u), &len);

                if (depth >= len || t[depth] + 1u != label) return -1;
            } else {
                const uint32_t child = units[xc_trie_payload(u) ^ label];

                if (xc_trie_label(child) != label) return -1;
                u = child;
            }
            depth++;
        }
    }
    if (xc_trie_leaf(u)) {
        size_t len;

        xc_tokenizer_string(tok, xc_trie_payload(u), &len);
        return len == depth ? (int32_t)xc_trie_payload(u) : -1;
    }
    return xc_trie_end(u) ? (int32_t)xc_trie_payload(units[xc_trie_payload(u)]) : -1;
}

/* One word of the split: s[0..n), with a space before it that is not in the text if `lead`; `bad` when it is not well-formed UTF-8. */
static enum xc_status put_word(struct xc_encoder *e, bool lead, const uint8_t *s, size_t n, bool bad, int32_t word)
{
    struct xc_text_scratch *scratch = e->scratch;
    size_t want, m = 0;

    if (!bad && n <= e->tok->h->max_token_bytes) {
        const int32_t id = whole_word(e->tok, lead, s, n);

        if (id >= 0) {
            XC_TRY(xc_encoder_room(e, 1));
            xc_encoder_emit(e, id, word);
            return XC_OK;
        }
    }
    if (!lead && !bad) return xc_bpe_merge(e, s, n, word);
    want = (bad ? 3 * n : n) + 1;
    if (scratch->word_cap < want) XC_TRY(xc_grow((void **)&scratch->word, &scratch->word_cap, want, 1, e->err));
    if (lead) scratch->word[m++] = ' ';
    for (size_t i = 0; i < n;) {
        uint32_t cp;

        i += (size_t)xc_utf8_read(&cp, s + i, n - i);
        m += (size_t)xc_utf8_write(scratch->word + m, cp);
    }
    if (bad && m <= e->tok->h->max_token_bytes) return put_word(e, false, scratch->word, m, false, word);
    return xc_bpe_merge(e, scratch->word, m, word);
}

/* The kind of the character at s, and its bytes. */
static inline uint8_t look(const struct xc_tokenizer *tok, const uint8_t *s, size_t n, size_t *len, bool *bad)
{
    uint32_t cp;
    uint16_t bits;

    if (s[0] < 0x80) {
        *len = 1;
        return tok->kind[s[0]];
    }
    *len = (size_t)xc_utf8_read(&cp, s, n);
    if (cp == XC_REPLACEMENT && !(*len == 3 && s[0] == 0xEF && s[1] == 0xBF)) *bad = true;
    bits = xc_codepoint_of(cp)->bits;
    return bits & XC_CP_LETTER ? XC_BYTE_LETTER : bits & XC_CP_NUMBER ? XC_BYTE_NUMBER : bits & XC_CP_WHITE ? XC_BYTE_SPACE : XC_BYTE_OTHER;
}

/* 's 't 're 've 'm 'll 'd, at a quote: the bytes it takes, 0 for none. */
static size_t contraction(const uint8_t *s, size_t n)
{
    if (n >= 2 && (s[1] == 's' || s[1] == 't' || s[1] == 'm' || s[1] == 'd')) return 2;
    if (n >= 3 && ((s[1] == 'r' && s[2] == 'e') || (s[1] == 'v' && s[2] == 'e') || (s[1] == 'l' && s[2] == 'l'))) return 3;
    return 0;
}

static enum xc_status piece(struct xc_encoder *e, const uint8_t *s, size_t n)
{
    const struct xc_tokenizer *tok = e->tok;
    bool lead = tok->h->flags & XC_TOK_PREFIX_SPACE && n && s[0] != ' ';
    size_t i = 0;

    while (i < n && !xc_encoder_full(e)) {
        const size_t from = i;
        bool bad = false;
        size_t len = 0, last = 0;
        uint8_t kind;

        if (!lead && s[i] == '\'' && (len = contraction(s + i, n - i)) != 0) {
            xc_encoder_enter(e);
            XC_TRY(put_word(e, false, s + i, len, false, e->word));
            i += len;
            continue;
        }
        kind = look(tok, s + i, n - i, &len, &bad);
        if (kind == XC_BYTE_SPACE && !lead && s[i] == ' ' && i + 1 < n) { /* " ?": the space goes with what follows */
            bool next_bad = false;
            size_t next_len;
            const uint8_t next = look(tok, s + i + 1, n - i - 1, &next_len, &next_bad);

            if (next != XC_BYTE_SPACE) {
                xc_encoder_leave(e);
                kind = next;
                bad = next_bad;
                len = 1 + next_len;
            }
        }
        i += len;
        last = len;
        while (i < n && look(tok, s + i, n - i, &len, &bad) == kind) {
            i += len;
            last = len;
        }
        if (kind != XC_BYTE_SPACE) {
            xc_encoder_enter(e);
            XC_TRY(put_word(e, lead, s + from, i - from, bad, e->word));
        } else {
            /* \s+(?!\S): all of the run at the end of the text, else all but its last, unless that is all. A space in front that is not in the
             * text counts as one of the run. */
            if (i < n && (lead || i - from > last)) i -= last;
            xc_encoder_leave(e);
            XC_TRY(put_word(e, lead, s + from, i - from, false, -1));
        }
        lead = false;
    }
    return XC_OK;
}

static void open_tables(struct xc_tokenizer *tok)
{
    uint32_t spare = 256; /* GPT-2's bytes_to_unicode: printable bytes are themselves, the others follow from U+0100 */

    for (uint32_t c = 0; c < 256; c++) {
        const bool same = (c >= '!' && c <= '~') || (c >= 0xA1 && c <= 0xAC) || c >= 0xAE;
        uint8_t utf8[4];

        tok->spell_len[c] = (uint8_t)xc_utf8_write(utf8, same ? c : spare++);
        memcpy(tok->spell[c], utf8, 2);
        if (c < 128) {
            const uint16_t bits = xc_codepoint_of(c)->bits;

            tok->kind[c] = bits & XC_CP_LETTER ? XC_BYTE_LETTER : bits & XC_CP_NUMBER ? XC_BYTE_NUMBER : bits & XC_CP_WHITE ? XC_BYTE_SPACE : XC_BYTE_OTHER;
        }
    }
}

const struct xc_text_model xc_text_bpe = {.name = "bpe", .open = open_tables, .piece = piece};
