/* merge: byte-pair merging of a word of any length, of bytes or of characters.
 *
 * Pairs are merged in their order, leftmost first of equals, with a heap: O(n log n) time. The order is the rank of the pair in a list of merges; as
 * sentencepiece has it, where any two neighbours merge whose spelling is a piece, it is that piece's score, the largest first. There, pieces
 * "user-defined" are found first and never merged, and those "unused" are cut again when all is merged, where the piece was last seen in two parts.
 *
 * Words that pass XC_BPE_WINDOW symbols are merged window by window: 36 bytes of scratch per symbol of a window.
 *
 * Why windows give the ids of the whole word: merges on the two sides of a place that no merge crosses are independent. So each part of a result is
 * what its own bytes merge to; and neighbours that stay apart in one result stay apart in every sequence of such neighbours, because the first
 * merge to cross a border would cross it in the result of those two as well. Two results can therefore be joined at a token that they share.
 * A window begins at a token of the one before; if it begins with that token, they are joined there, else everything is done again with windows of
 * twice the size. (What lies behind a window reaches into it only along a chain of merges of falling rank.) Unused pieces ask for the whole. */
#include "runtime/text/bpe.h"

#define FROZEN 0x80000000u /* with an id: of a symbol that is not merged */
#define MAX_CUTS 100       /* sentencepiece: a piece that is still unused after as many stays */

int32_t xc_bpe_find(const struct xc_tokenizer *tok, const uint8_t *s, size_t n)
{
    struct xc_prefixes p = { .at = tok->units[tok->h->root] };
    uint32_t id;
    size_t len;

    while (xc_tokenizer_next_prefix(tok, &p, &id, &len, s, n))
        if (len == n) return (int32_t)id;
    return -1;
}

size_t xc_bpe_user(const struct xc_tokenizer *tok, uint32_t *id, const uint8_t *s, size_t n)
{
    struct xc_prefixes p = { .at = tok->units[tok->h->root] };
    size_t len, longest = 0;
    uint32_t found;

    while (tok->user_defined && xc_tokenizer_next_prefix(tok, &p, &found, &len, s, n))
        if (tok->kinds[found] == XC_TOK_USER) *id = found, longest = len;
    return longest;
}

static size_t utf8_bytes(uint8_t first) { return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4; }

/* The symbol that a word of characters begins with, and its bytes; -1 when there is none. With byte fallback the bytes of an unknown character are
 * symbols of their own, but for sentencepiece, which merges first. */
static int32_t first_of(const struct xc_tokenizer *tok, size_t *len, const uint8_t *s, size_t n)
{
    const bool bytes = tok->h->flags & XC_TOK_BYTE_FALLBACK && !(tok->h->flags & XC_TOK_SENTENCEPIECE);
    int32_t id;

    *len = 1;
    if ((s[0] & 0xC0) != 0x80) { /* else the rest of such a character */
        *len = utf8_bytes(s[0]);
        if (*len > n) *len = n;
        id = xc_bpe_find(tok, s, *len);
        if (id >= 0 || !bytes) return id;
        *len = 1;
    }
    return tok->byte_ids[s[0]];
}

size_t xc_bpe_symbols(const struct xc_tokenizer *tok, uint32_t *id, uint32_t *place, size_t room, size_t *used, const uint8_t *s, size_t n)
{
    const bool bytes = tok->h->split == XC_TOK_SPLIT_GPT2, fuse = tok->h->flags & XC_TOK_FUSE_UNK;
    bool last_unknown = false;
    size_t m = 0, i = 0;

    for (size_t len = 1; i < n; i += len) {
        uint32_t user = 0;
        const size_t user_len = bytes ? 0 : xc_bpe_user(tok, &user, s + i, n - i);
        const int32_t known = user_len ? 0 : bytes ? tok->byte_ids[s[i]] : first_of(tok, &len, s + i, n - i), symbol = known >= 0 ? known : tok->h->unk_id;

        if (user_len) len = user_len;
        if (symbol < 0 || (known < 0 && fuse && last_unknown)) continue;
        if (m == room) break;
        if (place) place[m] = (uint32_t)i;
        id[m++] = user_len ? user | FROZEN : (uint32_t)symbol;
        last_unknown = known < 0;
    }
    *used = i;
    if (place) place[m] = (uint32_t)i;
    return m;
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

/* A window. Of the symbols that merging leaves, as a list through the scratch: i has id[i] and begins at place[i], the next one is next[i], the last one's
 * next is m. pair[i], of i and the next: a rank, or the id that they are merged to. */
struct merged {
    uint32_t *id, *prev, *next, *pair, *place, *cuts;
    size_t m, used; /* first symbols; bytes */
    const uint8_t *s;
};

static uint32_t order_of(const struct xc_tokenizer *tok, uint32_t pair)
{
    float score;
    uint32_t bits;

    if (!(tok->h->flags & XC_TOK_SENTENCEPIECE)) return pair;
    score = (float)tok->scores[pair];
    memcpy(&bits, &score, sizeof bits);
    return bits >> 31 ? bits : ~(bits | 0x80000000u); /* the largest first, and -0 behind 0 */
}

static uint32_t pair_at(const struct xc_tokenizer *tok, const struct merged *w, uint32_t at)
{
    const uint32_t right = w->next[at];
    size_t from, n;
    int32_t id;

    if (right >= w->m) return XC_BPE_NO_PAIR;
    if (!(tok->h->flags & XC_TOK_SENTENCEPIECE)) return xc_bpe_rank(tok, w->id[at], w->id[right]);
    if ((w->id[at] | w->id[right]) & FROZEN) return XC_BPE_NO_PAIR;
    from = w->place[at];
    n = w->place[w->next[right]] - from;
    id = n <= tok->h->max_token_bytes ? xc_bpe_find(tok, w->s + from, n) : -1;
    if (id >= 0 && tok->unused && tok->kinds[id] == XC_TOK_UNUSED) w->cuts[id] = w->place[right] - (uint32_t)from;
    return (uint32_t)id;
}

static enum xc_status prepare(struct xc_encoder *e, struct merged *out, size_t room)
{
    struct xc_text_scratch *scratch = e->scratch;
    const size_t n_tokens = (size_t)e->tok->h->n_tokens;

    if (scratch->symbols_cap < 5 * room + 1) XC_TRY(xc_grow((void **)&scratch->symbols, &scratch->symbols_cap, 5 * room + 1, sizeof(uint32_t), e->err));
    /* room - 1 at first; each of at most room - 1 merges takes one and adds two */
    if (scratch->heap_cap < 2 * room) XC_TRY(xc_grow((void **)&scratch->heap, &scratch->heap_cap, 2 * room, sizeof(uint64_t), e->err));
    if (e->tok->unused) {
        if (scratch->cuts_cap < n_tokens) XC_TRY(xc_grow((void **)&scratch->cuts, &scratch->cuts_cap, n_tokens, sizeof(uint32_t), e->err));
        memset(scratch->cuts, 0, n_tokens * sizeof(uint32_t));
    }
    out->id = scratch->symbols;
    out->prev = out->id + room;
    out->next = out->prev + room;
    out->pair = out->next + room;
    out->place = out->pair + room;
    out->cuts = scratch->cuts;
    return XC_OK;
}

static enum xc_status merge_heap(struct xc_encoder *e, struct merged *out, size_t room, const uint8_t *s, size_t n)
{
    const struct xc_tokenizer *tok = e->tok;
    uint32_t *id, *prev, *next, *pair;
    uint64_t *heap;
    size_t n_heap = 0;

    if (room > n) room = n;
    XC_TRY(prepare(e, out, room));
    id = out->id, prev = out->prev, next = out->next, pair = out->pair;
    heap = e->scratch->heap;
    out->s = s;
    out->m = xc_bpe_symbols(tok, id, out->place, room, &out->used, s, n);
    for (uint32_t i = 0; i < out->m; i++) prev[i] = i - 1, next[i] = i + 1;
    for (uint32_t i = 0; i < out->m; i++) {
        pair[i] = pair_at(tok, out, i);
        if (pair[i] != XC_BPE_NO_PAIR) heap[n_heap++] = (uint64_t)order_of(tok, pair[i]) << 32 | i;
    }
    for (size_t i = n_heap / 2; i-- > 0;) heap_down(heap, n_heap, i);
    while (n_heap) {
        const uint64_t top = heap[0];
        const uint32_t at = (uint32_t)top, right = next[at];

        heap[0] = heap[--n_heap];
        if (n_heap) heap_down(heap, n_heap, 0);
        if (pair[at] == XC_BPE_NO_PAIR || order_of(tok, pair[at]) != (uint32_t)(top >> 32)) continue; /* the pair has changed since */
        id[at] = tok->h->flags & XC_TOK_SENTENCEPIECE ? pair[at] : tok->merges[pair[at]].result;
        next[at] = next[right];
        pair[right] = XC_BPE_NO_PAIR;
        if (next[at] < out->m) prev[next[at]] = at;
        for (int k = at == 0; k < 2; k++) { /* with what is before it, and behind: in sentencepiece's order, for the cuts */
            const uint32_t left = k ? at : prev[at];

            pair[left] = pair_at(tok, out, left);
            if (pair[left] == XC_BPE_NO_PAIR) continue;
            heap[n_heap] = (uint64_t)order_of(tok, pair[left]) << 32 | left;
            heap_up(heap, n_heap++);
        }
    }
    return XC_OK;
}

/* A token that has been made of the bytes from..to of a window. */
static enum xc_status put(struct xc_encoder *e, const struct xc_bpe_word *text, const struct merged *w, uint32_t id, size_t from, size_t to, int depth)
{
    const struct xc_tokenizer *tok = e->tok;
    const uint32_t flags = tok->h->flags, unk = (uint32_t)tok->h->unk_id;
    int32_t word = text->word;
    bool unknown;

    id &= ~FROZEN;
    if (tok->unused && tok->kinds[id] == XC_TOK_UNUSED && depth <= MAX_CUTS) {
        const size_t cut = from + w->cuts[id];
        int32_t left, right;

        if (cut > from) {
            left = xc_bpe_find(tok, w->s + from, cut - from);
            right = xc_bpe_find(tok, w->s + cut, to - cut);
            XC_TRY(put(e, text, w, left < 0 ? unk : (uint32_t)left, from, cut, depth + 1));
            return put(e, text, w, right < 0 ? unk : (uint32_t)right, cut, to, depth + 1);
        }
        id = unk;
    }
    for (size_t i = from; text->words && i < to && (i == from || word < 0); i++) word = text->words[(size_t)(w->s - text->s) + i];
    XC_TRY(xc_encoder_room(e, to - from));
    unknown = flags & XC_TOK_SENTENCEPIECE && id == unk;
    if (unknown && flags & XC_TOK_BYTE_FALLBACK)
        for (size_t i = from; i < to; i++) xc_encoder_emit(e, tok->byte_ids[w->s[i]], word);
    else if (!unknown || !e->unknown)
        xc_encoder_emit(e, (int32_t)id, word);
    e->unknown = unknown;
    return XC_OK;
}

/* Emits the tokens that begin before symbol `until`; the first symbol of the next one, m when there is none. */
static enum xc_status emit_until(struct xc_encoder *e, size_t *at, const struct merged *w, size_t until, const struct xc_bpe_word *text)
{
    size_t i = 0;

    while (i < w->m && i < until) {
        if (!xc_encoder_full(e)) XC_TRY(put(e, text, w, w->id[i], w->place[i], w->place[w->next[i]], 0));
        i = w->next[i];
    }
    *at = i;
    return XC_OK;
}

/* *joined: false when a window does not begin as the one before it says. */
static enum xc_status merge_windows(struct xc_encoder *e, bool *joined, size_t window, const struct xc_bpe_word *text)
{
    const uint8_t *s = text->s;
    size_t n = text->n;
    uint32_t expected = 0;

    *joined = true;
    for (bool first = true;; first = false) {
        struct merged w;
        size_t at;

        XC_TRY(merge_heap(e, &w, window, s, n));
        if (!first && w.id[0] != expected) {
            *joined = false;
            return XC_OK;
        }
        if (w.used == n) return emit_until(e, &at, &w, w.m, text);
        XC_TRY(emit_until(e, &at, &w, w.m - w.m / 4, text));
        if (at == w.m) { /* one token to the end of the window: no border inside to begin the next one at */
            *joined = false;
            return XC_OK;
        }
        expected = w.id[at];
        s += w.place[at];
        n -= w.place[at];
    }
}

enum xc_status xc_bpe_merge_long(struct xc_encoder *e, const struct xc_bpe_word *w)
{
    const size_t from = e->out->n;
    const bool unknown = e->unknown;
    size_t window = e->tok->unused ? w->n : e->scratch->bpe_window ? e->scratch->bpe_window : XC_BPE_WINDOW;

    for (;; window *= 2) {
        bool joined;

        XC_TRY(merge_windows(e, &joined, window, w));
        if (joined) return XC_OK;
        e->out->n = from;
        e->unknown = unknown;
    }
}
