/* tokenizer_section: see tokenizer_section.h. The trie is a double array built breadth first over the sorted keys, so that the nodes near
 * the root, which every word visits, lie together.
 *
 * A section is written twice: first without tries, and opened, so that the encoder itself says what a byte-level token merges to and how an added
 * token normalises; then with them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/tokenizer_section.h"
#include "runtime/base/arena.h"
#include "runtime/text/bpe.h"

#define WINDOW 8 /* blocks searched for room before a new one is opened */

struct key {
    const uint8_t *s;
    uint32_t len;
    uint32_t value;
};

struct trie {
    uint32_t *units;
    uint8_t *based;          /* unit index is some node's base */
    uint16_t *block_free;    /* free units by block */
    size_t n_blocks, units_cap, based_cap, block_cap;
};

static void trie_release(struct trie *t)
{
    xc_free(t->units);
    xc_free(t->based);
    xc_free(t->block_free);
    memset(t, 0, sizeof *t);
}

static enum xc_status trie_add_block(struct trie *t, struct xc_err *err)
{
    const size_t n = (t->n_blocks + 1) * XC_TRIE_BLOCK;

    if (n > (size_t)XC_TOK_MAX_TOKENS) return xc_fail(err, XC_E_LIMIT, "vocabulary is too large for its trie");
    XC_TRY(xc_grow((void **)&t->units, &t->units_cap, n, sizeof *t->units, err));
    XC_TRY(xc_grow((void **)&t->based, &t->based_cap, n, 1, err));
    XC_TRY(xc_grow((void **)&t->block_free, &t->block_cap, t->n_blocks + 1, sizeof *t->block_free, err));
    for (size_t i = n - XC_TRIE_BLOCK; i < n; i++) {
        t->units[i] = XC_TRIE_FREE;
        t->based[i] = 0;
    }
    if (t->n_blocks == 0) t->based[0] = 1; /* with base 0 a root would look free */
    t->block_free[t->n_blocks++] = XC_TRIE_BLOCK;
    return XC_OK;
}

/* A reserved unit has the label that no lookup matches, and a leaf's bit, so that it does not look free. */
static bool is_free(uint32_t unit) { return unit == XC_TRIE_FREE; }

static void trie_set(struct trie *t, uint32_t at, uint32_t unit)
{
    if (is_free(t->units[at])) t->block_free[at / XC_TRIE_BLOCK]--;
    t->units[at] = unit;
}

static bool fits(const struct trie *t, uint32_t base, const uint16_t *labels, int n)
{
    if (t->based[base]) return false;
    for (int i = 0; i < n; i++)
        if (!is_free(t->units[base ^ labels[i]])) return false;
    return true;
}

static enum xc_status find_base(struct trie *t, uint32_t *base, const uint16_t *labels, int n, struct xc_err *err)
{
    const size_t first = t->n_blocks > WINDOW ? t->n_blocks - WINDOW : 0;

    for (size_t b = first; b < t->n_blocks; b++) {
        if (t->block_free[b] < n) continue;
        for (uint32_t i = (uint32_t)(b * XC_TRIE_BLOCK); i < (b + 1) * XC_TRIE_BLOCK; i++)
            if (is_free(t->units[i]) && fits(t, i ^ labels[0], labels, n)) {
                *base = i ^ labels[0];
                return XC_OK;
            }
    }
    *base = (uint32_t)(t->n_blocks * XC_TRIE_BLOCK);
    return trie_add_block(t, err);
}

/* A node whose children are not placed yet: keys lo..hi share `depth` bytes. */
struct todo { uint32_t unit, lo, hi, depth; };
struct queue { struct todo *items; size_t n, cap; };

/* Where the keys after lo stop sharing its byte at depth. */
static uint32_t same_byte(const struct key *keys, uint32_t lo, uint32_t hi, uint32_t depth)
{
    const uint8_t c = keys[lo].s[depth];

    while (lo < hi && keys[lo].s[depth] == c) lo++;
    return lo;
}

/* tail_depth: from that depth on, a key alone in its branch becomes a leaf at once; UINT32_MAX = leaves hold whole keys. */
static enum xc_status place(struct trie *t, struct queue *q, const struct key *keys, struct todo w, uint32_t tail_depth, struct xc_err *err)
{
    uint16_t labels[257];
    uint32_t base, lo = w.lo, flags = 0;
    int n = 0;

    if (lo < w.hi && keys[lo].len == w.depth) {
        labels[n++] = 0;
        flags = 1024;
        lo++;
    }
    for (uint32_t i = lo; i < w.hi; i = same_byte(keys, i, w.hi, w.depth)) labels[n++] = (uint16_t)(keys[i].s[w.depth] + 1);
    if (n == 0) labels[0] = 0; /* a root without keys: any base of its own will do */
    XC_TRY(find_base(t, &base, labels, n ? n : 1, err));
    t->based[base] = 1;
    trie_set(t, w.unit, (t->units[w.unit] & 511) | flags | base << 11);
    if (flags) trie_set(t, base, 0 | 512 | keys[w.lo].value << 11);
    for (uint32_t i = lo, next; i < w.hi; i = next) {
        const uint32_t label = keys[i].s[w.depth] + 1u, at = base ^ label;

        next = same_byte(keys, i, w.hi, w.depth);
        if (next == i + 1 && (keys[i].len == w.depth + 1 || w.depth >= tail_depth)) {
            trie_set(t, at, label | 512 | keys[i].value << 11);
            continue;
        }
        trie_set(t, at, label | 1u << 11);
        XC_TRY(xc_grow((void **)&q->items, &q->cap, q->n + 1, sizeof *q->items, err));
        q->items[q->n++] = (struct todo){at, i, next, w.depth + 1};
    }
    return XC_OK;
}

/* Adds the sorted keys under a new root. */
static enum xc_status trie_add(struct trie *t, uint32_t *root, const struct key *keys, size_t n, uint32_t tail_depth, struct xc_err *err)
{
    struct queue q = {0};
    enum xc_status status;
    uint32_t at = 0;

    if (t->n_blocks == 0) XC_TRY(trie_add_block(t, err));
    while (at < XC_TRIE_BLOCK && !is_free(t->units[at])) at++; /* roots go into the first block: two at most, placed first */
    if (at == XC_TRIE_BLOCK) {
        at = (uint32_t)(t->n_blocks * XC_TRIE_BLOCK);
        XC_TRY(trie_add_block(t, err));
    }
    trie_set(t, at, XC_TRIE_FREE | 1u << 11); /* label 511, payload to come */
    *root = at;
    XC_TRY_GOTO(place(t, &q, keys, (struct todo){at, 0, (uint32_t)n, 0}, tail_depth, err), out);
    for (size_t i = 0; i < q.n; i++) XC_TRY_GOTO(place(t, &q, keys, q.items[i], tail_depth, err), out);
out:
    xc_free(q.items);
    return status;
}

static int compare_keys(const void *x, const void *y)
{
    const struct key *a = x, *b = y;
    const int c = memcmp(a->s, b->s, a->len < b->len ? a->len : b->len);

    if (c) return c;
    if (a->len != b->len) return a->len < b->len ? -1 : 1;
    return a->value < b->value ? -1 : a->value > b->value;
}

/* Sorts, and of equal keys keeps the one with the lowest value. */
static size_t sort_keys(struct key *keys, size_t n)
{
    size_t m = 0;

    if (n) qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 0; i < n; i++)
        if (m == 0 || keys[m - 1].len != keys[i].len || memcmp(keys[m - 1].s, keys[i].s, keys[i].len) != 0) keys[m++] = keys[i];
    return m;
}

/* --- the description --- */

void xc_tok_spec_init(struct xc_tok_spec *spec)
{
    memset(spec, 0, sizeof *spec);
    memcpy(spec->h.magic, XC_TOK_MAGIC, 4);
    spec->h.version = XC_TOK_VERSION;
    spec->h.unk_id = -1;
    for (int i = 0; i < 5; i++) spec->h.roles[i] = -1;
    spec->h.root_next = spec->h.root_raw = spec->h.root_norm = XC_TOK_NONE;
    spec->prefix = "";
}

void xc_tok_spec_release(struct xc_tok_spec *spec)
{
    xc_free(spec->tokens);
    xc_free(spec->map);
    xc_free(spec->added);
    xc_free(spec->merges);
    xc_free(spec->charsmap);
    xc_tok_spec_init(spec);
}

static uint64_t hash(const char *s, size_t len)
{
    uint64_t h = 0xCBF29CE484222325u; /* FNV-1a */

    for (size_t i = 0; i < len; i++) h = (h ^ (uint8_t)s[i]) * 0x100000001B3u;
    return h ^ h >> 29;
}

static uint32_t *map_slot(const struct xc_tok_spec *spec, const char *s, size_t len)
{
    size_t at = hash(s, len) & (spec->map_size - 1);

    for (;; at = (at + 1) & (spec->map_size - 1)) {
        const struct xc_tok_spec_token *t;

        if (spec->map[at] == 0) return &spec->map[at];
        t = &spec->tokens[spec->map[at] - 1];
        if (t->len == len && memcmp(t->s, s, len) == 0) return &spec->map[at];
    }
}

static enum xc_status map_grow(struct xc_tok_spec *spec, struct xc_err *err)
{
    const size_t old_size = spec->map_size, size = old_size ? 2 * old_size : 1024;
    uint32_t *old = spec->map, *map = xc_calloc(size, sizeof *map);

    if (!map) return xc_fail_nomem(err, size * sizeof *map);
    spec->map = map;
    spec->map_size = size;
    for (size_t i = 0; i < old_size; i++)
        if (old[i]) *map_slot(spec, spec->tokens[old[i] - 1].s, spec->tokens[old[i] - 1].len) = old[i];
    xc_free(old);
    return XC_OK;
}

enum xc_status xc_tok_spec_add_token(struct xc_tok_spec *spec, int64_t id, const char *s, size_t len, bool in_vocab, struct xc_err *err)
{
    const size_t n0 = spec->n_tokens;
    uint32_t *slot;

    if (id < 0 || id >= XC_TOK_MAX_TOKENS)
        return xc_fail(err, XC_E_RANGE, "token '%.100s' has id %lld, the limit is %d", s, (long long)id, XC_TOK_MAX_TOKENS - 1);
    if (len > XC_TOK_MAX_TOKEN_BYTES) return xc_fail(err, XC_E_UNSUPPORTED, "token %lld has %zu bytes, the limit is %d", (long long)id, len, XC_TOK_MAX_TOKEN_BYTES);
    if ((size_t)id >= n0) {
        XC_TRY(xc_grow((void **)&spec->tokens, &spec->tokens_cap, (size_t)id + 1, sizeof *spec->tokens, err));
        memset(spec->tokens + n0, 0, ((size_t)id + 1 - n0) * sizeof *spec->tokens);
        spec->n_tokens = (size_t)id + 1;
    }
    if (spec->tokens[id].s) return xc_fail(err, XC_E_FORMAT, "tokens '%.100s' and '%.100s' have the same id %lld", spec->tokens[id].s, s, (long long)id);
    if (in_vocab && 2 * (spec->map_used + 1) > spec->map_size) XC_TRY(map_grow(spec, err));
    spec->tokens[id] = (struct xc_tok_spec_token){.s = s, .len = (uint32_t)len, .in_vocab = in_vocab, .score = NAN};
    if (!in_vocab) return XC_OK;
    slot = map_slot(spec, s, len);
    spec->map_used += *slot == 0;
    *slot = (uint32_t)id + 1;
    return XC_OK;
}

int32_t xc_tok_spec_find(const struct xc_tok_spec *spec, const char *s, size_t len)
{
    return spec->map_size ? (int32_t)*map_slot(spec, s, len) - 1 : -1;
}

int32_t xc_tok_spec_find_any(const struct xc_tok_spec *spec, const char *s, size_t len)
{
    const int32_t id = xc_tok_spec_find(spec, s, len);

    if (id >= 0) return id;
    for (size_t i = 0; i < spec->n_added; i++) {
        const struct xc_tok_spec_token *t = &spec->tokens[spec->added[i].id];

        if (t->len == len && memcmp(t->s, s, len) == 0) return spec->added[i].id;
    }
    return -1;
}

/* --- the section --- */

struct merge_table { uint32_t *slots; size_t n; uint32_t max_probes; };

/* The last of equal pairs wins, as in the tokenizers library. Grows until no pair is far from its place. */
static enum xc_status make_merge_table(struct merge_table *t, const struct xc_tok_spec *spec, struct xc_err *err)
{
    size_t size = 64;

    while (size < 2 * spec->n_merges) size *= 2;
    for (;; size *= 2) {
        size_t i = 0;

        if (size > ((size_t)1 << 28)) return xc_fail(err, XC_E_LIMIT, "too many merges");
        t->slots = xc_calloc(size, sizeof *t->slots);
        if (!t->slots) return xc_fail_nomem(err, size * sizeof *t->slots);
        t->n = size;
        t->max_probes = 0;
        for (; i < spec->n_merges; i++) {
            const struct xc_tok_merge *m = &spec->merges[i];
            size_t at = xc_tok_pair_hash(m->left, m->right) & (size - 1);
            uint32_t probes = 0;

            for (; t->slots[at]; at = (at + 1) & (size - 1), probes++) {
                const struct xc_tok_merge *there = &spec->merges[t->slots[at] - 1];

                if (there->left == m->left && there->right == m->right) break;
            }
            if (probes > XC_TOK_MAX_PROBES) break;
            if (probes > t->max_probes) t->max_probes = probes;
            t->slots[at] = (uint32_t)i + 1;
        }
        if (i == spec->n_merges) return XC_OK;
        xc_free(t->slots);
        t->slots = NULL;
    }
}

static void fill_strings(uint8_t *base, const struct xc_tok_header *h, const struct xc_tok_spec *spec)
{
    uint32_t *block = (void *)(base + h->array[XC_TOK_STR_BLOCKS].offset);
    uint16_t *rel = (void *)(base + h->array[XC_TOK_STR_REL].offset);
    uint8_t *strings = base + h->array[XC_TOK_STRINGS].offset;
    uint32_t at = 0;

    for (size_t i = 0; i <= spec->n_tokens; i++) {
        if (i % 16 == 0) block[i / 16] = at;
        rel[i] = (uint16_t)(at - block[i / 16]);
        if (i == spec->n_tokens || !spec->tokens[i].len) continue;
        memcpy(strings + at, spec->tokens[i].s, spec->tokens[i].len);
        at += spec->tokens[i].len;
    }
}

static void fill_byte_ids(int32_t *ids, const struct xc_tok_spec *spec)
{
    uint32_t spare = 256;

    for (uint32_t c = 0; c < 256; c++) {
        const bool same = (c >= '!' && c <= '~') || (c >= 0xA1 && c <= 0xAC) || c >= 0xAE;
        uint8_t utf8[4];
        const int n = xc_utf8_write(utf8, same ? c : spare++);

        ids[c] = xc_tok_spec_find(spec, (const char *)utf8, (size_t)n);
    }
}

/* "<0x0A>" */
static void fill_byte_tokens(int32_t *ids, const struct xc_tok_spec *spec)
{
    for (unsigned c = 0; c < 256; c++) {
        char s[8];

        snprintf(s, sizeof s, "<0x%02X>", c);
        ids[c] = xc_tok_spec_find(spec, s, 6);
    }
}

static void fill_scores(double *scores, const struct xc_tok_spec *spec)
{
    for (size_t i = 0; i < spec->n_tokens; i++) scores[i] = spec->tokens[i].s && spec->tokens[i].in_vocab ? spec->tokens[i].score : NAN;
    scores[spec->n_tokens] = spec->unk_score;
}

static enum xc_status write_section(struct xc_buf **out, const struct xc_tok_spec *spec, const struct trie *vocab, const struct trie *added,
                                    const struct merge_table *table, struct xc_err *err)
{
    struct xc_tok_header h = spec->h;
    uint64_t size[XC_TOK_ARRAY_COUNT] = {0}, at = sizeof h, strings = 0;
    const bool bpe = h.model == XC_TOK_BPE, characters = h.split >= XC_TOK_SPLIT_NONE, scored = h.model == XC_TOK_UNIGRAM || h.flags & XC_TOK_SENTENCEPIECE;
    bool kinds = false;
    struct xc_buf *buf;

    h.n_tokens = (int32_t)spec->n_tokens;
    h.max_probes = table->max_probes;
    h.max_token_bytes = 0;
    for (size_t i = 0; i < spec->n_tokens; i++) {
        strings += spec->tokens[i].len;
        if (spec->tokens[i].in_vocab && spec->tokens[i].len > h.max_token_bytes) h.max_token_bytes = spec->tokens[i].len;
        kinds |= spec->tokens[i].kind != XC_TOK_PLAIN;
    }
    size[XC_TOK_STR_BLOCKS] = (spec->n_tokens / 16 + 1) * 4;
    size[XC_TOK_STR_REL] = (spec->n_tokens + 1) * 2;
    size[XC_TOK_STRINGS] = strings;
    size[XC_TOK_UNITS] = vocab->n_blocks * XC_TRIE_BLOCK * 4;
    size[XC_TOK_ADDED] = spec->n_added * sizeof *spec->added;
    size[XC_TOK_ADDED_UNITS] = added->n_blocks * XC_TRIE_BLOCK * 4;
    size[XC_TOK_PIECES] = (h.n_single + h.n_pair) * sizeof(struct xc_tok_piece);
    size[XC_TOK_PREFIX] = strlen(spec->prefix);
    size[XC_TOK_BYTE_IDS] = bpe || characters ? 256 * sizeof(int32_t) : 0;
    size[XC_TOK_MERGES] = bpe ? spec->n_merges * sizeof *spec->merges : 0;
    size[XC_TOK_MERGE_TABLE] = bpe ? table->n * 4 : 0;
    size[XC_TOK_SCORES] = scored ? (spec->n_tokens + 1) * sizeof(double) : 0;
    size[XC_TOK_CHARSMAP] = characters ? spec->n_charsmap : 0;
    size[XC_TOK_KINDS] = kinds ? spec->n_tokens : 0;
    for (int i = 0; i < XC_TOK_ARRAY_COUNT; i++) {
        if (i == XC_TOK_KINDS && !kinds) continue; /* for readers that know none */
        at = (at + 63) / 64 * 64;
        if (at + size[i] > UINT32_MAX / 2) return xc_fail(err, XC_E_LIMIT, "compiled tokenizer passes 2 GiB");
        h.array[i].offset = (uint32_t)at;
        h.array[i].size = (uint32_t)size[i];
        at += size[i];
    }
    at = (at + 63) / 64 * 64;
    h.bytes = (uint32_t)at;
    XC_TRY(xc_buf_new(&buf, (size_t)at, err));
    memset(buf->data, 0, (size_t)at);
    memcpy(buf->data, &h, sizeof h);
    fill_strings(buf->data, &h, spec);
#define PUT(a, from) do { if (size[a]) memcpy(buf->data + h.array[a].offset, from, (size_t)size[a]); } while (0)
    PUT(XC_TOK_UNITS, vocab->units);
    PUT(XC_TOK_ADDED, spec->added);
    PUT(XC_TOK_ADDED_UNITS, added->units);
    if (h.n_single) memcpy(buf->data + h.array[XC_TOK_PIECES].offset, spec->single, h.n_single * sizeof spec->single[0]);
    if (h.n_pair) memcpy(buf->data + h.array[XC_TOK_PIECES].offset + h.n_single * sizeof spec->single[0], spec->pair, h.n_pair * sizeof spec->pair[0]);
    PUT(XC_TOK_PREFIX, spec->prefix);
    if (bpe && !characters) fill_byte_ids((void *)(buf->data + h.array[XC_TOK_BYTE_IDS].offset), spec);
    if (characters) fill_byte_tokens((void *)(buf->data + h.array[XC_TOK_BYTE_IDS].offset), spec);
    if (scored) fill_scores((void *)(buf->data + h.array[XC_TOK_SCORES].offset), spec);
    for (size_t i = 0; kinds && i < spec->n_tokens; i++) buf->data[h.array[XC_TOK_KINDS].offset + i] = spec->tokens[i].kind;
    PUT(XC_TOK_CHARSMAP, spec->charsmap);
    PUT(XC_TOK_MERGES, spec->merges);
    PUT(XC_TOK_MERGE_TABLE, table->slots);
#undef PUT
    *out = buf;
    return XC_OK;
}

/* The bytes that a byte-level token stands for, from its spelling; false when it has other characters. */
static bool unspell(uint8_t *out, size_t *n, const struct xc_tokenizer *tok, const struct xc_tok_spec_token *t)
{
    *n = 0;
    for (uint32_t i = 0; i < t->len;) {
        int c = 0;

        for (; c < 256; c++)
            if (tok->spell_len[c] <= t->len - i && memcmp(tok->spell[c], t->s + i, tok->spell_len[c]) == 0) break;
        if (c == 256) return false;
        out[(*n)++] = (uint8_t)c;
        i += tok->spell_len[c];
    }
    return *n > 0;
}

/* The keys of the vocabulary's trie: WordPiece all tokens; those that have a score; BPE those that a word is without merging; of characters, these. */
static enum xc_status vocabulary_keys(struct key *keys, size_t *n, const struct xc_tok_spec *spec, struct xc_encoder *e)
{
    uint8_t bytes[XC_TOK_MAX_TOKEN_BYTES];

    *n = 0;
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct xc_tok_spec_token *t = &spec->tokens[i];
        size_t n_bytes;

        if (!t->in_vocab || !t->len || xc_tok_spec_find(spec, t->s, t->len) != (int32_t)i) continue;
        if (spec->h.model == XC_TOK_UNIGRAM || spec->h.flags & XC_TOK_SENTENCEPIECE) {
            if (isnan(t->score)) continue;
        } else if (spec->h.split >= XC_TOK_SPLIT_NONE) {
            uint32_t cp;

            if (xc_utf8_read(&cp, (const uint8_t *)t->s, t->len) != (int)t->len) continue;
        } else if (spec->h.model == XC_TOK_BPE) {
            if (!unspell(bytes, &n_bytes, e->tok, t)) continue;
            if (!(spec->h.flags & XC_TOK_WHOLE_WORDS)) {
                e->out->n = 0;
                XC_TRY(xc_bpe_merge(e, bytes, n_bytes, 0));
                if (e->out->n != 1 || e->out->ids[0] != (int32_t)i) continue;
            }
        }
        keys[(*n)++] = (struct key){(const uint8_t *)t->s, t->len, (uint32_t)i};
    }
    *n = sort_keys(keys, *n);
    return XC_OK;
}

/* Added tokens as they are searched at a level; the order of equal ones is special tokens first. `text` holds the normalised ones. */
static enum xc_status added_keys(struct key *keys, size_t *n, int level, const struct xc_tok_spec *spec, struct xc_encoder *e, struct xc_arena *text)
{
    *n = 0;
    for (size_t i = 0; i < spec->n_added; i++) {
        const struct xc_tok_spec_token *t = &spec->tokens[spec->added[i].id];
        const uint8_t *s = (const uint8_t *)t->s;
        size_t len = t->len;

        if (!(spec->added[i].flags & XC_TOK_NORMALIZED) != !level || len == 0) continue;
        if (level && e->tok->model->normalise) {
            e->gap = false;
            XC_TRY(e->tok->model->normalise(e, s, len));
            len = e->n_norm;
            if (len == 0) continue;
            if (len > 4 * XC_TOK_MAX_TOKEN_BYTES) return xc_fail(e->err, XC_E_LIMIT, "added token '%.100s' is too long", t->s);
            {
                uint8_t *copy = xc_arena_alloc(text, len);

                if (!copy) return xc_fail_nomem(e->err, len);
                memcpy(copy, e->scratch->norm, len);
                s = copy;
            }
        }
        keys[(*n)++] = (struct key){s, (uint32_t)len, (uint32_t)i};
    }
    *n = sort_keys(keys, *n);
    return XC_OK;
}

static enum xc_status fill_tries(struct trie *vocab, struct trie *added, struct xc_tok_spec *spec, const struct xc_tokenizer *tok, struct key *keys,
                                 struct xc_arena *text, struct xc_err *err)
{
    struct xc_tokens out = {0};
    struct xc_encoder e = {.tok = tok, .out = &out, .err = err, .stop = SIZE_MAX, .fixed_word = true};
    const uint32_t n_prefix = (uint32_t)strlen(spec->prefix);
    enum xc_status status;
    size_t n;

    out.scratch = e.scratch = xc_calloc(1, sizeof *e.scratch);
    if (!e.scratch) return xc_fail_nomem(err, sizeof *e.scratch);
    XC_TRY_GOTO(vocabulary_keys(keys, &n, spec, &e), out);
    XC_TRY_GOTO(trie_add(vocab, &spec->h.root, keys, n, n_prefix, err), out);
    spec->h.root_next = spec->h.root;
    for (uint32_t i = 0; i < n_prefix; i++) {
        const uint32_t label = (uint8_t)spec->prefix[i] + 1u, at = xc_trie_payload(vocab->units[spec->h.root_next]) ^ label;

        if (xc_trie_leaf(vocab->units[at]) || xc_trie_label(vocab->units[at]) != label) {
            spec->h.root_next = XC_TOK_NONE;
            break;
        }
        spec->h.root_next = at;
    }
    for (int level = 0; level < 2; level++) {
        XC_TRY_GOTO(added_keys(keys, &n, level, spec, &e, text), out);
        if (n) XC_TRY_GOTO(trie_add(added, level ? &spec->h.root_norm : &spec->h.root_raw, keys, n, UINT32_MAX, err), out);
    }
out:
    xc_tokens_release(&out);
    return status;
}

enum xc_status xc_tok_spec_build(struct xc_buf **out, struct xc_tok_spec *spec, struct xc_err *err)
{
    struct trie vocab = {0}, added = {0};
    struct merge_table table = {0};
    struct xc_buf *draft = NULL;
    struct xc_tokenizer *tok = NULL;
    struct key *keys = NULL;
    struct xc_arena text;
    enum xc_status status;
    uint32_t root;

    *out = NULL;
    xc_arena_init(&text);
    if (spec->n_tokens == 0) return xc_fail(err, XC_E_FORMAT, "empty vocabulary");
    keys = xc_malloc((spec->n_tokens + spec->n_added) * sizeof *keys);
    if (!keys) return xc_fail_nomem(err, (spec->n_tokens + spec->n_added) * sizeof *keys);
    if (spec->h.model == XC_TOK_BPE) XC_TRY_GOTO(make_merge_table(&table, spec, err), out);
    XC_TRY_GOTO(trie_add(&vocab, &root, keys, 0, 0, err), out);
    spec->h.root = root;
    XC_TRY_GOTO(write_section(&draft, spec, &vocab, &added, &table, err), out);
    XC_TRY_GOTO(xc_tokenizer_open(&tok, draft, err), out);
    trie_release(&vocab);
    XC_TRY_GOTO(fill_tries(&vocab, &added, spec, tok, keys, &text, err), out);
    XC_TRY_GOTO(write_section(out, spec, &vocab, &added, &table, err), out);
    /* our own work passes our own check */
    xc_tokenizer_free(&tok);
    status = xc_tokenizer_open(&tok, *out, err);
    if (status != XC_OK) xc_buf_unref(out);
out:
    xc_tokenizer_free(&tok);
    xc_buf_unref(&draft);
    trie_release(&vocab);
    trie_release(&added);
    xc_free(table.slots);
    xc_free(keys);
    xc_arena_release(&text);
    return status;
}
