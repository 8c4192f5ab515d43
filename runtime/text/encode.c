/* encode: from texts to ids: added tokens, templates, truncation. The words in between are wordpiece.c's and bpe.c's.
 *
 * Follows the tokenizers library: added tokens are found in the text as given (level 0), then, in what lies between, those marked
 * "normalized" in the normalised text (level 1); each time leftmost, longest first, without overlap. */
#include "runtime/text/encoder.h"

#define MAX_TEXT ((size_t)1 << 31)

enum xc_status xc_tokens_reserve(struct xc_tokens *out, size_t more, struct xc_err *err)
{
    size_t want, cap = out->cap, c;

    if (!xc_add_ok(&want, out->n, more)) return xc_fail_nomem(err, SIZE_MAX);
    if (want <= cap) return XC_OK;
    c = cap;
    XC_TRY(xc_grow((void **)&out->ids, &c, want, sizeof *out->ids, err));
    c = cap;
    XC_TRY(xc_grow((void **)&out->types, &c, want, sizeof *out->types, err));
    c = cap;
    XC_TRY(xc_grow((void **)&out->words, &c, want, sizeof *out->words, err));
    out->cap = c;
    return XC_OK;
}

void xc_tokens_release(struct xc_tokens *tokens)
{
    struct xc_text_scratch *s = tokens->scratch;

    if (s) {
        xc_free(s->word);
        xc_free(s->pending);
        xc_free(s->sorted);
        xc_free(s->norm);
        xc_free(s->norm_words);
        xc_free(s->symbols);
        xc_free(s->heap);
        xc_free(s->cuts);
        xc_free(s->nodes);
        xc_free(s->node_words);
        xc_free(s);
    }
    xc_free(tokens->ids);
    xc_free(tokens->types);
    xc_free(tokens->words);
    memset(tokens, 0, sizeof *tokens);
}

/* The next place at or after `at` where an added token may start; n when there is none. */
static size_t next_start(const struct xc_tokenizer *tok, int level, const uint8_t *s, size_t at, size_t n)
{
    if (tok->only_first[level] >= 0) {
        const uint8_t *p = at < n ? memchr(s + at, tok->only_first[level], n - at) : NULL;

        return p ? (size_t)(p - s) : n;
    }
    while (at < n && !tok->first[level][s[at]]) at++;
    return at;
}

/* The longest added token at s[0..n); the trie holds them to the last byte. */
static const struct xc_tok_added *added_at(const struct xc_tokenizer *tok, int level, const uint8_t *s, size_t n, size_t *len)
{
    const uint32_t *units = tok->added_units;
    uint32_t u = units[level ? tok->h->root_norm : tok->h->root_raw];
    const struct xc_tok_added *found = NULL;

    for (size_t i = 0; i < n && !xc_trie_leaf(u); i++) {
        const uint32_t label = s[i] + 1u, child = units[xc_trie_payload(u) ^ label];

        if (xc_trie_label(child) != label) break;
        u = child;
        if (u & (512 | 1024)) {
            found = &tok->added[xc_trie_payload(xc_trie_leaf(u) ? u : units[xc_trie_payload(u)])];
            *len = i + 1;
        }
    }
    return found;
}

/* The code point that ends just before s[at]; returns its bytes. */
static int read_back(uint32_t *cp, const uint8_t *s, size_t at)
{
    for (int k = at < 4 ? (int)at : 4; k > 1; k--) {
        uint32_t c;

        if (xc_utf8_read(&c, s + at - k, (size_t)k) == k) {
            *cp = c;
            return k;
        }
    }
    if (xc_utf8_read(cp, s + at - 1, 1) != 1) *cp = XC_REPLACEMENT;
    return 1;
}

static bool inside_word(const uint8_t *s, size_t start, size_t stop, size_t n)
{
    uint32_t cp;

    if (start) {
        read_back(&cp, s, start);
        if (xc_codepoint_of(cp)->bits & XC_CP_WORD) return true;
    }
    if (stop < n) {
        xc_utf8_read(&cp, s + stop, n - stop);
        if (xc_codepoint_of(cp)->bits & XC_CP_WORD) return true;
    }
    return false;
}

static size_t space_before(const uint8_t *s, size_t at)
{
    uint32_t cp;

    while (at) {
        const int k = read_back(&cp, s, at);

        if (!(xc_codepoint_of(cp)->bits & XC_CP_WHITE)) break;
        at -= (size_t)k;
    }
    return at;
}

static size_t space_after(const uint8_t *s, size_t at, size_t n)
{
    uint32_t cp;

    while (at < n) {
        const int k = xc_utf8_read(&cp, s + at, n - at);

        if (!(xc_codepoint_of(cp)->bits & XC_CP_WHITE)) break;
        at += (size_t)k;
    }
    return at;
}

static enum xc_status split_added(struct xc_encoder *e, int level, const uint8_t *s, size_t n);

/* What lies between two added tokens of one level. */
static enum xc_status between(struct xc_encoder *e, int level, const uint8_t *s, size_t n)
{
    const struct xc_tokenizer *tok = e->tok;
    enum xc_status status;

    if (level == 1 || tok->h->root_norm == XC_TOK_NONE) {
        status = tok->model->piece(e, s, n);
        e->first = false;
        return status;
    }
    if (!tok->model->normalise) return split_added(e, 1, s, n);
    XC_TRY(tok->model->normalise(e, s, n));
    e->word_of = e->scratch->norm_words;
    {
        const int32_t word = e->word;
        const bool gap = e->gap;

        e->gap = false; /* words come from word_of */
        status = split_added(e, 1, e->scratch->norm, e->n_norm);
        e->word = word;
        e->gap = gap;
    }
    e->word_of = NULL;
    return status;
}

static enum xc_status split_added(struct xc_encoder *e, int level, const uint8_t *s, size_t n)
{
    const struct xc_tokenizer *tok = e->tok;
    const int32_t *word_of = e->word_of;
    size_t from = 0, done = 0;

    if ((level ? tok->h->root_norm : tok->h->root_raw) == XC_TOK_NONE) return n ? between(e, level, s, n) : XC_OK;
    while (!xc_encoder_full(e)) {
        const struct xc_tok_added *added = NULL;
        size_t len = 0, start, stop;

        for (; (from = next_start(tok, level, s, from, n)) < n; from++) {
            added = added_at(tok, level, s + from, n - from, &len);
            if (added) break;
        }
        if (!added) break;
        start = from;
        stop = from += len;
        if (added->flags & XC_TOK_SINGLE_WORD && inside_word(s, start, stop, n)) continue;
        if (added->flags & XC_TOK_LSTRIP) {
            start = space_before(s, start);
            if (start < done) start = done;
        }
        if (added->flags & XC_TOK_RSTRIP) stop = space_after(s, stop, n);
        if (done < start) {
            if (word_of) e->word_of = word_of + done;
            XC_TRY(between(e, level, s + done, start - done));
            if (xc_encoder_full(e)) return XC_OK;
        }
        e->first = false;
        XC_TRY(xc_encoder_room(e, 1));
        if (word_of) {
            e->word = word_of[from - len];
        } else {
            if (start < from - len) xc_encoder_leave(e);
            xc_encoder_enter(e);
        }
        xc_encoder_emit(e, added->id, e->word);
        if (from < stop && !word_of) xc_encoder_leave(e);
        done = stop;
    }
    if (done < n && !xc_encoder_full(e)) {
        if (word_of) e->word_of = word_of + done;
        XC_TRY(between(e, level, s + done, n - done));
    }
    return XC_OK;
}

/* One text of a call: bytes, or words that are encoded one by one. */
struct text {
    const char *s;
    size_t n;
    const char *const *words;
    size_t n_words;
    size_t start, count; /* its tokens in out */
};

static enum xc_status encode_text(struct xc_encoder *e, struct text *t)
{
    t->start = e->out->n;
    e->word = -1;
    e->gap = true;
    e->first = true;
    e->fixed_word = t->words;
    if (!t->words) XC_TRY(split_added(e, 0, (const uint8_t *)t->s, t->n));
    for (size_t i = 0; i < t->n_words && !xc_encoder_full(e); i++) {
        const size_t n = strlen(t->words[i]);

        if (n > MAX_TEXT) return xc_fail(e->err, XC_E_RANGE, "word %zu has %zu bytes", i, n);
        e->word = (int32_t)i;
        e->gap = false;
        e->first = true;
        XC_TRY(split_added(e, 0, (const uint8_t *)t->words[i], n));
    }
    t->count = e->out->n - t->start;
    return XC_OK;
}

/* How many tokens of each text stay, in all at most `limit`: Hugging Face's longest_first. False: the counts are cut short at
 * limit + 1 and the odd token's owner depends on which text is longer. */
static bool share(size_t keep[2], const size_t count[2], int n_texts, size_t limit, bool exact)
{
    const int longer = count[0] > count[1] ? 0 : 1;
    const size_t less = count[!longer];

    keep[0] = count[0];
    keep[1] = count[1];
    if (count[0] + count[1] <= limit) return true;
    if (n_texts == 1) {
        keep[0] = limit;
        return true;
    }
    if (less <= limit / 2) { /* the shorter one fits into its half */
        keep[longer] = limit - less;
        return true;
    }
    if (!exact && limit % 2 && count[0] > limit && count[1] > limit) return false;
    keep[!longer] = limit / 2;
    keep[longer] = limit / 2 + limit % 2;
    return true;
}

/* Leaves `keep` of the text's tokens, from its beginning or (left) its end. */
static void cut(struct xc_tokens *out, struct text *t, size_t keep, bool left)
{
    const size_t drop = t->count - keep, at = t->start + (left ? 0 : keep), rest = out->n - at - drop;

    if (drop == 0) return;
    memmove(out->ids + at, out->ids + at + drop, rest * sizeof *out->ids);
    memmove(out->words + at, out->words + at + drop, rest * sizeof *out->words);
    memmove(out->types + at, out->types + at + drop, rest);
    out->n -= drop;
    t->count = keep;
    out->truncated = true;
}

static enum xc_status encode(struct xc_encoder *e, struct text *texts, int n_texts, size_t limit, bool no_special)
{
    const struct xc_tok_header *h = e->tok->h;
    const struct xc_tok_piece *pieces = e->tok->pieces + (n_texts == 2 ? h->n_single : 0);
    const uint32_t n_pieces = n_texts == 2 ? h->n_pair : h->n_single;
    const bool left = h->flags & XC_TOK_LEFT;
    const size_t n0 = e->out->n, n_special = no_special ? 0 : n_pieces - (uint32_t)n_texts;
    struct text *order[2] = {0};
    bool exact = left;

    if (limit && limit < n_special)
        return xc_fail(e->err, XC_E_RANGE, "limit of %zu tokens leaves no room for the %zu special tokens", limit, n_special);
    for (;;) {
        size_t counts[2] = {0}, keep[2] = {0};
        int n_seen = 0;

        e->out->n = n0;
        for (uint32_t i = 0; i < n_pieces; i++) {
            const struct xc_tok_piece *p = &pieces[i];
            struct text *t = &texts[p->what == XC_TOK_PIECE_B];

            if (p->what == XC_TOK_PIECE_SPECIAL) {
                if (no_special) continue;
                XC_TRY(xc_encoder_room(e, 1));
                e->out->types[e->out->n] = p->type;
                xc_encoder_emit(e, p->id, -1);
                continue;
            }
            e->stop = limit && !exact ? e->out->n + (limit - n_special) + 1 : SIZE_MAX;
            XC_TRY(encode_text(e, t));
            if (t->count) memset(e->out->types + t->start, p->type, t->count);
            order[n_seen++] = t;
        }
        for (int i = 0; i < n_texts; i++) counts[i] = texts[i].count;
        if (!limit) return XC_OK;
        if (!share(keep, counts, n_texts, limit - n_special, exact)) {
            exact = true;
            continue;
        }
        /* the last text first, so that the other one's place does not move */
        for (int i = n_texts; i-- > 0;) cut(e->out, order[i], keep[order[i] - texts], left);
        return XC_OK;
    }
}

static enum xc_status run(const struct xc_tokenizer *tok, struct xc_tokens *out, struct text *texts, int n_texts,
                          const struct xc_encode_opts *opts, struct xc_err *err)
{
    const struct xc_encode_opts defaults = XC_ENCODE_DEFAULT;
    const size_t n0 = out->n;
    struct xc_encoder e = {.tok = tok, .out = out, .err = err};
    enum xc_status status;
    size_t limit;

    if (!opts) opts = &defaults;
    if (opts->max_tokens < 0) return xc_fail(err, XC_E_ARG, "limit of %d tokens", (int)opts->max_tokens);
    limit = opts->no_truncate ? 0 : (size_t)(opts->max_tokens ? opts->max_tokens : tok->h->max_tokens);
    for (int i = 0; i < n_texts; i++)
        if (texts[i].n > MAX_TEXT) return xc_fail(err, XC_E_RANGE, "text of %zu bytes passes 2 GiB", texts[i].n);
    out->truncated = false;
    if (!out->scratch) {
        out->scratch = xc_calloc(1, sizeof(struct xc_text_scratch));
        if (!out->scratch) return xc_fail_nomem(err, sizeof(struct xc_text_scratch));
        out->scratch_cap = sizeof(struct xc_text_scratch);
    }
    e.scratch = out->scratch;
    status = encode(&e, texts, n_texts, limit, opts->no_special);
    if (status != XC_OK) out->n = n0;
    return status;
}

enum xc_status xc_tokenizer_encode(const struct xc_tokenizer *tok, struct xc_tokens *out, const char *a, size_t a_len, const char *b,
                                   size_t b_len, const struct xc_encode_opts *opts, struct xc_err *err)
{
    struct text texts[2] = {{.s = a, .n = a_len}, {.s = b, .n = b ? b_len : 0}};

    if (!a && a_len) return xc_fail(err, XC_E_ARG, "no text");
    if (!a) texts[0].s = "";
    return run(tok, out, texts, b ? 2 : 1, opts, err);
}

enum xc_status xc_tokenizer_encode_words(const struct xc_tokenizer *tok, struct xc_tokens *out, const char *const *words, size_t n_words,
                                         const struct xc_encode_opts *opts, struct xc_err *err)
{
    static const char *const none = "";
    struct text text = {.words = words ? words : &none, .n_words = words ? n_words : 0};

    if (n_words > INT32_MAX) return xc_fail(err, XC_E_RANGE, "%zu words", n_words);
    return run(tok, out, &text, 1, opts, err);
}
