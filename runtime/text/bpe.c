/* bpe: the split of GPT-2 and byte-level byte-pair encoding.
 *
 * Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2019 (GPT-2). The pattern, by hand since there is no regex engine:
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * Merges are applied by rank, leftmost first. Most words are one token: the compiler puts into the trie exactly those tokens that merging
 * their own bytes gives back, so that a word found there needs no merging. Short words are merged by scanning, long ones with a
 * heap, and those that pass XC_BPE_WINDOW symbols window by window: O(n log n) time, 32 bytes of scratch per symbol of a window.
 *
 * Why windows give the ids of the whole word: merges on the two sides of a place that no merge crosses are independent. So each part of a result is
 * what its own bytes merge to; and neighbours that stay apart in one result stay apart in every sequence of such neighbours, because the first
 * merge to cross a border would cross it in the result of those two as well. Two results can therefore be joined at a token that they share.
 * A window begins at a token of the one before; if it begins with that token, they are joined there, else everything is done again with windows of
 * twice the size. (What lies behind a window reaches into it only along a chain of merges of falling rank.) */
#include "runtime/text/bpe.h"

#define SHORT_WORD 48 /* symbols */
#define NO_RANK 0xFFFFFFFFu

static uint32_t rank_of(const struct xc_tokenizer *tok, uint32_t left, uint32_t right)
{
    uint32_t at = xc_tok_pair_hash(left, right) & tok->merge_mask;

    for (uint32_t i = 0; i <= tok->h->max_probes; i++, at = (at + 1) & tok->merge_mask) {
        const uint32_t slot = tok->merge_table[at];

        if (slot == 0) break;
        if (tok->merges[slot - 1].left == left && tok->merges[slot - 1].right == right) return slot - 1;
    }
    return NO_RANK;
}

/* The symbols of the bytes, at most `room`; *used: the bytes that they stand for. A byte without a symbol is the unknown token, or
 * nothing when there is none. id NULL: only counts. */
static size_t first_symbols(const struct xc_tokenizer *tok, uint32_t *id, size_t room, size_t *used, const uint8_t *s, size_t n)
{
    const bool fuse = tok->h->flags & XC_TOK_FUSE_UNK;
    bool last_unknown = false;
    size_t m = 0, i = 0;

    for (; i < n; i++) {
        const int32_t b = tok->byte_ids[s[i]], symbol = b >= 0 ? b : tok->h->unk_id;

        if (symbol < 0 || (b < 0 && fuse && last_unknown)) continue;
        if (m == room) break;
        if (id) id[m] = (uint32_t)symbol;
        m++;
        last_unknown = b < 0;
    }
    *used = i;
    return m;
}

static void merge_short(struct xc_encoder *e, const uint8_t *s, size_t n, int32_t word)
{
    const struct xc_tokenizer *tok = e->tok;
    uint32_t id[SHORT_WORD + 1], rank[SHORT_WORD + 1]; /* rank[i]: of the pair i, i + 1 */
    size_t used, m = first_symbols(tok, id, SHORT_WORD, &used, s, n);

    if (m == 0) return;
    for (size_t i = 0; i + 1 < m; i++) rank[i] = rank_of(tok, id[i], id[i + 1]);
    while (m > 1) {
        uint32_t best = NO_RANK;
        size_t at = 0;

        for (size_t i = 0; i + 1 < m; i++)
            if (rank[i] < best) {
                best = rank[i];
                at = i;
            }
        if (best == NO_RANK) break;
        id[at] = tok->merges[best].result;
        m--;
        for (size_t i = at + 1; i < m; i++) {
            id[i] = id[i + 1];
            rank[i - 1] = rank[i];
        }
        if (at) rank[at - 1] = rank_of(tok, id[at - 1], id[at]);
        if (at + 1 < m) rank[at] = rank_of(tok, id[at], id[at + 1]);
    }
    for (size_t i = 0; i < m; i++) xc_encoder_emit(e, (int32_t)id[i], word);
}

static void heap_down(uint64_t *heap, size_t n, size_t i)
{
    const uint64_t x = heap[i];

    for (size_t k; (k = 2 * i + 1) < n; i = k) {
        if (k + 1 < n && heap[k + 1] < heap[k]) k++;
        if (heap[k] >= x) break;
        heap[i] = heap[k];
    }
    heap[i] = x;
}

static void heap_up(uint64_t *heap, size_t i)
{
    const uint64_t x = heap[i];

    for (; i && heap[(i - 1) / 2] > x; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = x;
}

/* The symbols that merging leaves, as a list through the scratch: token k has id[i], the next one is at next[i], the last one's next is m. */
struct merged {
    uint32_t *id, *next;
    size_t m, used; /* first symbols; bytes */
};

static enum xc_status merge_heap(struct xc_encoder *e, struct merged *out, size_t room, const uint8_t *s, size_t n)
{
    const struct xc_tokenizer *tok = e->tok;
    struct xc_text_scratch *scratch = e->scratch;
    uint32_t *id, *prev, *next, *rank;
    uint64_t *heap;
    size_t m, n_heap = 0;

    if (room > n) room = n;
    if (scratch->symbols_cap < 4 * room) XC_TRY(xc_grow((void **)&scratch->symbols, &scratch->symbols_cap, 4 * room, sizeof(uint32_t), e->err));
    /* room - 1 at first; each of at most room - 1 merges takes one and adds two */
    if (scratch->heap_cap < 2 * room) XC_TRY(xc_grow((void **)&scratch->heap, &scratch->heap_cap, 2 * room, sizeof(uint64_t), e->err));
    id = scratch->symbols;
    prev = id + room;
    next = id + 2 * room;
    rank = id + 3 * room;
    heap = scratch->heap;
    m = first_symbols(tok, id, room, &out->used, s, n);
    out->id = id;
    out->next = next;
    out->m = m;
    for (size_t i = 0; i < m; i++) {
        prev[i] = (uint32_t)i - 1;
        next[i] = (uint32_t)i + 1;
        rank[i] = i + 1 < m ? rank_of(tok, id[i], id[i + 1]) : NO_RANK;
        if (rank[i] != NO_RANK) heap[n_heap++] = (uint64_t)rank[i] << 32 | i;
    }
    for (size_t i = n_heap / 2; i-- > 0;) heap_down(heap, n_heap, i);
    while (n_heap) {
        const uint64_t top = heap[0];
        const uint32_t at = (uint32_t)top, right = next[at];

        heap[0] = heap[--n_heap];
        if (n_heap) heap_down(heap, n_heap, 0);
        if (rank[at] != (uint32_t)(top >> 32)) continue; /* the pair has changed since */
        id[at] = tok->merges[rank[at]].result;
        next[at] = next[right];
        rank[right] = NO_RANK;
        rank[at] = NO_RANK;
        if (next[at] < m) {
            prev[next[at]] = at;
            rank[at] = rank_of(tok, id[at], id[next[at]]);
            if (rank[at] != NO_RANK) {
                heap[n_heap] = (uint64_t)rank[at] << 32 | at;
                heap_up(heap, n_heap++);
            }
        }
        if (at) {
            const uint32_t p = prev[at];

            rank[p] = rank_of(tok, id[p], id[at]);
            if (rank[p] != NO_RANK) {
                heap[n_heap] = (uint64_t)rank[p] << 32 | p;
                heap_up(heap, n_heap++);
            }
        }
    }
    return XC_OK;
}

/* Emits the tokens that begin before symbol `until`; the first symbol of the next one, m when there is none. */
static enum xc_status emit_until(struct xc_encoder *e, size_t *at, const struct merged *w, size_t until, int32_t word)
{
    size_t i = 0, n = 0;

    for (; i < w->m && i < until; i = w->next[i]) n++;
    *at = i;
    XC_TRY(xc_encoder_room(e, n));
    for (i = 0; i < *at && !xc_encoder_full(e); i = w->next[i]) xc_encoder_emit(e, (int32_t)w->id[i], word);
    return XC_OK;
}

/* *joined: false when a window does not begin as the one before it says. */
static enum xc_status merge_windows(struct xc_encoder *e, bool *joined, size_t window, const uint8_t *s, size_t n, int32_t word)
{
    uint32_t expected = 0;

    *joined = true;
    for (bool first = true;; first = false) {
        struct merged w;
        size_t at, skip;

        XC_TRY(merge_heap(e, &w, window, s, n));
        if (!first && w.id[0] != expected) {
            *joined = false;
            return XC_OK;
        }
        if (w.used == n) return emit_until(e, &at, &w, w.m, word);
        XC_TRY(emit_until(e, &at, &w, w.m - w.m / 4, word));
        if (at == w.m) { /* one token to the end of the window: no border inside to begin the next one at */
            *joined = false;
            return XC_OK;
        }
        expected = w.id[at];
        (void)first_symbols(e->tok, NULL, at, &skip, s, n);
        s += skip;
        n -= skip;
    }
}

static enum xc_status merge_long(struct xc_encoder *e, const uint8_t *s, size_t n, int32_t word)
{
    const size_t from = e->out->n;
    size_t window = e->scratch->bpe_window ? e->scratch->bpe_window : XC_BPE_WINDOW;

    for (;; window *= 2) {
        bool joined;

        XC_TRY(merge_windows(e, &joined, window, s, n, word));
        if (joined) return XC_OK;
        e->out->n = from;
    }
}

enum xc_status xc_bpe_merge(struct xc_encoder *e, const uint8_t *s, size_t n, int32_t word)
{
    if (n > SHORT_WORD) return merge_long(e, s, n, word);
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
