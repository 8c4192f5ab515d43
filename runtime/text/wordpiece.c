/* wordpiece: BERT's normaliser, its split into words, and greedy longest-match-first sub-words, in one pass over the text.
 *
 * Devlin et al. 2018, arXiv:1810.04805; the behaviour is that of BertNormalizer, BertPreTokenizer and WordPiece of the tokenizers
 * library: clean text, blanks around CJK, NFD less marks, lower case, then words end at white space and around punctuation. A word
 * that cannot be covered, or is longer than max_word_chars code points, is the unknown token.
 *
 * Everything in there works on single code points except NFD's canonical ordering, for which non-starters wait in `pending`. */
#include "runtime/text/encoder.h"

/* A word being collected, or (to_norm) the whole normalised text. */
struct bert {
    struct xc_encoder *e;
    uint8_t *word;
    size_t n, cap;     /* bytes; the cap is more than max_word_chars can fill */
    size_t chars;
    size_t n_pending;
    uint32_t flags;    /* XC_TOK_CLEAN ... */
    bool to_norm;
    enum xc_status status; /* the first failure; checked when a character other than plain ASCII has been handled */
};

/* Greedy longest match; s is a whole word. */
static void wordpiece(struct xc_encoder *e, const uint8_t *s, size_t n)
{
    const struct xc_tokenizer *tok = e->tok;
    const size_t n0 = e->out->n;
    uint32_t root = tok->h->root;
    size_t depth = 0;

    while (n) {
        size_t used = 0;
        const int32_t id = root == XC_TOK_NONE ? -1 : xc_tokenizer_longest(tok, root, depth, s, n, &used);

        if (id < 0) {
            e->out->n = n0;
            xc_encoder_emit(e, tok->h->unk_id, e->word);
            return;
        }
        xc_encoder_emit(e, id, e->word);
        s += used;
        n -= used;
        root = tok->h->root_next;
        depth = tok->n_prefix;
    }
}

static void end_word(struct bert *b)
{
    struct xc_encoder *e = b->e;

    if (b->chars == 0) return;
    if (b->status == XC_OK) b->status = xc_encoder_room(e, b->n + 1);
    if (b->status == XC_OK) {
        if (b->chars > (size_t)e->tok->h->max_word_chars)
            xc_encoder_emit(e, e->tok->h->unk_id, e->word);
        else
            wordpiece(e, b->word, b->n);
    }
    b->n = b->chars = 0;
}

static void put_byte_to_norm(struct bert *b, uint8_t c)
{
    struct xc_text_scratch *s = b->e->scratch;

    if (b->status == XC_OK && b->e->n_norm == s->norm_cap)
        b->status = xc_grow((void **)&s->norm, &s->norm_cap, b->e->n_norm + 1, 1, b->e->err);
    if (b->status == XC_OK && b->e->n_norm >= s->norm_words_cap)
        b->status = xc_grow((void **)&s->norm_words, &s->norm_words_cap, b->e->n_norm + 1, sizeof *s->norm_words, b->e->err);
    if (b->status != XC_OK) return;
    s->norm_words[b->e->n_norm] = b->e->word;
    s->norm[b->e->n_norm++] = c;
}

/* A code point of the word in hand. The buffer cannot overflow: past max_word_chars only the count matters. */
static void append(struct bert *b, uint32_t cp)
{
    if (b->cap - b->n < 4) b->n = 0;
    b->n += (size_t)xc_utf8_write(b->word + b->n, cp);
    b->chars++;
}

/* A normalised code point, lower case aside. */
static void put_one(struct bert *b, uint32_t cp)
{
    const uint16_t bits = xc_codepoint_of(cp)->bits;

    if (b->to_norm) {
        uint8_t utf8[4];
        const int n = xc_utf8_write(utf8, cp);

        for (int i = 0; i < n; i++) put_byte_to_norm(b, utf8[i]);
    } else if (bits & XC_CP_WHITE) {
        end_word(b);
    } else if (bits & XC_CP_PUNCT) {
        end_word(b);
        append(b, cp);
        end_word(b);
    } else {
        append(b, cp);
    }
}

static void put_lower(struct bert *b, uint32_t cp)
{
    if (b->flags & XC_TOK_LOWER) {
        const struct xc_codepoint *c = xc_codepoint_of(cp);

        if (c->bits & XC_CP_LONG_LOWER) { /* U+0130 */
            put_one(b, 'i');
            put_one(b, 0x307);
            return;
        }
        cp = (uint32_t)((int32_t)cp + c->lower);
    }
    put_one(b, cp);
}

static uint32_t class_of(uint32_t cp) { return (uint32_t)xc_codepoint_of(cp)->bits >> XC_CP_CLASS_SHIFT; }

/* Canonical ordering: a stable sort by combining class; by counting when there are many, so that a text of marks alone is linear. */
static void sort_pending(struct bert *b)
{
    struct xc_text_scratch *s = b->e->scratch;
    const size_t n = b->n_pending;
    size_t start[129] = {0};

    if (n <= 32) {
        for (size_t i = 1; i < n; i++) {
            const uint32_t cp = s->pending[i];
            size_t k = i;

            for (; k && class_of(s->pending[k - 1]) > class_of(cp); k--) s->pending[k] = s->pending[k - 1];
            s->pending[k] = cp;
        }
        return;
    }
    if (s->sorted_cap < n) {
        b->status = xc_grow((void **)&s->sorted, &s->sorted_cap, n, sizeof *s->sorted, b->e->err);
        if (b->status != XC_OK) return;
    }
    for (size_t i = 0; i < n; i++) start[class_of(s->pending[i]) + 1]++;
    for (size_t i = 1; i < 129; i++) start[i] += start[i - 1];
    for (size_t i = 0; i < n; i++) s->sorted[start[class_of(s->pending[i])]++] = s->pending[i];
    memcpy(s->pending, s->sorted, n * sizeof *s->pending);
}

static void end_marks(struct bert *b)
{
    const struct xc_text_scratch *s = b->e->scratch;
    const size_t n = b->n_pending;

    if (n == 0) return;
    if (n > 1) sort_pending(b);
    b->n_pending = 0;
    if (b->status != XC_OK) return;
    for (size_t i = 0; i < n; i++) put_lower(b, s->pending[i]);
}

/* NFD and removal of marks. A removed mark is never put, but one that is a starter still ends a run of non-starters. */
static void put_stripped(struct bert *b, uint32_t cp)
{
    struct xc_text_scratch *s = b->e->scratch;
    uint32_t d[4];
    const int n = xc_decompose(d, cp);

    for (int i = 0; i < n; i++) {
        const uint16_t bits = xc_codepoint_of(d[i])->bits;

        if (bits >> XC_CP_CLASS_SHIFT == 0) end_marks(b);
        if (bits & XC_CP_MARK) continue;
        if (bits >> XC_CP_CLASS_SHIFT == 0) {
            put_lower(b, d[i]);
            continue;
        }
        if (b->n_pending == s->pending_cap && b->status == XC_OK)
            b->status = xc_grow((void **)&s->pending, &s->pending_cap, b->n_pending + 1, sizeof *s->pending, b->e->err);
        if (b->status != XC_OK) return;
        s->pending[b->n_pending++] = d[i];
    }
}

/* White space that the normaliser makes or meets. */
static void put_space(struct bert *b)
{
    end_marks(b);
    if (b->to_norm)
        put_byte_to_norm(b, ' ');
    else
        end_word(b);
}

/* One code point of text through the whole normaliser. */
static void put(struct bert *b, uint32_t cp)
{
    const uint16_t bits = xc_codepoint_of(cp)->bits;
    const bool cjk = b->flags & XC_TOK_CJK && bits & XC_CP_CJK;

    if (b->flags & XC_TOK_CLEAN && bits & XC_CP_CONTROL) return;
    if (bits & XC_CP_WHITE) {
        end_marks(b);
        if (b->to_norm)
            put_one(b, b->flags & XC_TOK_CLEAN ? ' ' : cp);
        else
            end_word(b);
        xc_encoder_leave(b->e);
        return;
    }
    xc_encoder_enter(b->e);
    if (cjk) put_space(b);
    if (b->flags & XC_TOK_STRIP)
        put_stripped(b, cp);
    else
        put_lower(b, cp);
    if (cjk) put_space(b);
}

static enum xc_status bert_begin(struct bert *b, struct xc_encoder *e)
{
    struct xc_text_scratch *s = e->scratch;
    const size_t want = 4 * (size_t)e->tok->h->max_word_chars + 64;

    memset(b, 0, sizeof *b);
    b->e = e;
    b->flags = e->tok->h->flags;
    if (s->word_cap < want) XC_TRY(xc_grow((void **)&s->word, &s->word_cap, want, 1, e->err));
    b->word = s->word;
    b->cap = s->word_cap;
    return XC_OK;
}

/* The bytes of a run of plain ASCII, lower case when asked for. */
static inline size_t take_plain(struct bert *b, const uint8_t *s, size_t n)
{
    const uint8_t *lower = b->e->tok->lower;
    size_t i = 0;
    uint8_t c;

    if (b->cap - b->n < 64) b->n = 0; /* more than max_word_chars: only the count matters now */
    if (n > b->cap - b->n) n = b->cap - b->n;
    for (; i < n && (c = lower[s[i]]) != 0; i++) b->word[b->n + i] = c;
    b->n += i;
    b->chars += i;
    return i;
}

static enum xc_status piece(struct xc_encoder *e, const uint8_t *s, size_t n)
{
    const struct xc_tokenizer *tok = e->tok;
    struct bert b;
    uint32_t cp;

    XC_TRY(bert_begin(&b, e));
    if (e->word_of) b.flags = 0; /* already normalised */
    for (size_t i = 0; i < n;) {
        const uint8_t c = s[i];

        if (e->word_of) {
            e->gap = false;
            if (b.chars == 0) e->word = e->word_of[i];
        }
        switch (tok->kind[c]) {
        case XC_BYTE_WORD:
            if (b.n_pending) end_marks(&b);
            xc_encoder_enter(e);
            i += take_plain(&b, s + i, n - i);
            break;
        case XC_BYTE_SPACE:
            if (b.n_pending) end_marks(&b);
            end_word(&b);
            xc_encoder_leave(e);
            if (b.status != XC_OK || xc_encoder_full(e)) return b.status;
            i++;
            break;
        case XC_BYTE_PUNCT:
            if (b.n_pending) end_marks(&b);
            end_word(&b);
            xc_encoder_enter(e);
            if (b.status == XC_OK) b.status = xc_encoder_room(e, 1);
            if (b.status != XC_OK) return b.status;
            if (e->word_of) e->word = e->word_of[i];
            xc_encoder_emit(e, tok->punct_id[c], e->word);
            if (xc_encoder_full(e)) return XC_OK;
            i++;
            break;
        case XC_BYTE_DROP:
            i++;
            break;
        default:
            i += (size_t)xc_utf8_read(&cp, s + i, n - i);
            put(&b, cp);
            if (b.status != XC_OK || xc_encoder_full(e)) return b.status;
        }
    }
    end_marks(&b);
    end_word(&b);
    return b.status;
}

static enum xc_status normalise(struct xc_encoder *e, const uint8_t *s, size_t n)
{
    struct bert b;
    uint32_t cp;

    XC_TRY(bert_begin(&b, e));
    b.to_norm = true;
    e->n_norm = 0;
    for (size_t i = 0; i < n && b.status == XC_OK;) {
        i += (size_t)xc_utf8_read(&cp, s + i, n - i);
        put(&b, cp);
    }
    end_marks(&b);
    return b.status;
}

static void open_tables(struct xc_tokenizer *tok)
{
    const uint32_t flags = tok->h->flags;

    for (uint32_t c = 0; c < 128; c++) {
        const struct xc_codepoint *cp = xc_codepoint_of(c);
        const uint8_t byte = (uint8_t)c;
        size_t len;

        tok->punct_id[c] = tok->h->unk_id;
        if (flags & XC_TOK_CLEAN && cp->bits & XC_CP_CONTROL) {
            tok->kind[c] = XC_BYTE_DROP;
        } else if (cp->bits & XC_CP_WHITE) {
            tok->kind[c] = XC_BYTE_SPACE;
        } else if (cp->bits & XC_CP_PUNCT) {
            const int32_t id = xc_tokenizer_longest(tok, tok->h->root, 0, &byte, 1, &len);

            tok->kind[c] = XC_BYTE_PUNCT;
            if (id >= 0 && tok->h->max_word_chars >= 1) tok->punct_id[c] = id;
        } else if (c) {
            tok->kind[c] = XC_BYTE_WORD;
            tok->lower[c] = (uint8_t)(flags & XC_TOK_LOWER ? (int32_t)c + cp->lower : (int32_t)c);
        } /* else NUL, when it is not cleaned away: slow, since 0 ends a plain run */
    }
}

const struct xc_text_model xc_text_wordpiece = {
    .name = "wordpiece", .open = open_tables, .piece = piece, .normalise = normalise,
};
