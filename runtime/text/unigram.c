/* unigram: SentencePiece's normalisation and its unigram language model; for its BPE model the words go to merge.c.
 *
 * Kudo 2018, arXiv:1804.10959; Kudo and Richardson 2018, arXiv:1808.06226. Two readers of one table of replacements (charsmap.h) disagree, and each is
 * followed to the letter: the tokenizers library (a tokenizer.json: Precompiled, Strip, Replace, Metaspace) and sentencepiece itself (a .model).
 *
 *   text -> replacements -> white space -> U+2581 for blanks, words -> best path -> ids
 *
 * The best path is the cut into tokens of the largest sum of scores; of equals the one whose last token begins earlier. It is found while the text comes
 * in, a byte position at a time: work is linear, at most max_token_bytes steps a position. A word is given out when it ends; a text without words
 * as soon as a window is full and all paths that are still open go through one place, which is looked for by walking them back; where there is none the window
 * doubles. So memory is bounded on any text but those made for the purpose, and the ids are those of the whole.
 *
 * Unknown characters score what the section says (10 below the worst token); adjacent ones are one unknown token, or all are bytes. */
#include <math.h>

#include "runtime/text/bpe.h"

#define XC_UNI_WINDOW 8192 /* bytes of one word, before paths are walked back */
#define LOOK 64            /* bytes in sight of a replacement */
#define FAR 100000.0       /* sentencepiece: a sum beyond it becomes 0, and those after it are counted from there */
#define META 0x2581u

struct xc_uni_node {
    union { double score; int32_t next; } u; /* best sum up to here; next: where the token that begins here ends, once the path is known */
    int32_t start, id;                       /* of the token that ends here; start -1: none does */
};

struct uni {
    struct xc_encoder *e;
    const struct xc_tokenizer *tok;
    uint32_t flags, split;
    enum xc_status status;
    bool merged; /* BPE: a word is put whole */
    /* white space */
    bool to_norm, started, prev_blank; /* prev_blank: sentencepiece */
    size_t held;         /* white space characters in scratch->pending that may be the last */
    size_t blanks, metas; /* blanks, U+2581 that wait to be squeezed or, sentencepiece, dropped at the end */
    /* words */
    bool last_meta; /* sentencepiece: what was pushed last is U+2581 */
    bool part_started, at_start; /* at_start: what is put stems from the first character of the text */
    /* the best path, over scratch->word */
    size_t len, next, far; /* bytes, first position not passed, last one reached */
    size_t window;
    bool unknown, literal; /* the last token was unknown; and it was spelled in the text */
    int32_t unknown_word;
};

/* ---- ids ---- */
static void emit(struct uni *u, int32_t id, int32_t word)
{
    if (u->status == XC_OK) u->status = xc_encoder_room(u->e, 1);
    if (u->status == XC_OK) xc_encoder_emit(u->e, id, word);
}

static void emit_bytes(struct uni *u, const uint8_t *s, size_t n, int32_t word)
{
    for (size_t i = 0; i < n; i++) emit(u, u->tok->byte_ids[s[i]], word);
}

static void end_unknown(struct uni *u)
{
    if (u->unknown && (u->literal || !(u->flags & XC_TOK_BYTE_FALLBACK))) emit(u, u->tok->h->unk_id, u->unknown_word);
    u->unknown = false;
}

/* Adjacent unknown characters are one token. With byte fallback each is its bytes; but the spelling of the unknown token, alone, is that token. */
static void put_unknown(struct uni *u, const uint8_t *s, size_t n, int32_t word)
{
    size_t len;
    const uint8_t *t = xc_tokenizer_string(u->tok, (uint32_t)u->tok->h->unk_id, &len);
    const bool spelled = !(u->flags & XC_TOK_SENTENCEPIECE) && n == len && !memcmp(s, t, n);

    if (!u->unknown) u->unknown_word = word;
    if (u->flags & XC_TOK_BYTE_FALLBACK && (u->unknown || !spelled)) {
        if (u->unknown && u->literal) emit_bytes(u, t, len, u->unknown_word);
        emit_bytes(u, s, n, word);
    }
    u->literal = !u->unknown && spelled;
    u->unknown = true;
}

/* The tokens from the beginning to position `to`, which every path goes through. */
static void emit_path(struct uni *u, size_t to)
{
    struct xc_text_scratch *s = u->e->scratch;
    struct xc_uni_node *node = s->nodes;

    for (size_t at = to; at > 0; at = (size_t)node[at].start) node[node[at].start].u.next = (int32_t)at;
    for (size_t at = 0; at < to && u->status == XC_OK && !xc_encoder_full(u->e);) {
        const size_t end = (size_t)node[at].u.next;
        int32_t word = -1;

        for (size_t i = at; i < end && word < 0; i++) word = s->node_words[i];
        if (node[end].id == u->tok->h->unk_id) {
            put_unknown(u, s->word + at, end - at, word);
        } else {
            end_unknown(u);
            emit(u, node[end].id, word);
        }
        at = end;
    }
}

/* ---- the best path ---- */
static void reach(struct uni *u, size_t from, size_t to, int32_t id, double score)
{
    struct xc_uni_node *node = &u->e->scratch->nodes[to];
    const double exact = u->e->scratch->nodes[from].u.score + score;
    const double sum = u->flags & XC_TOK_SENTENCEPIECE ? (double)(float)exact : exact; /* f32 there, so that more sums are equal */

    if (node->start >= 0 && !(sum > node->u.score)) return;
    *node = (struct xc_uni_node){ .u.score = sum, .start = (int32_t)from, .id = id };
    if (to > u->far) u->far = to;
}

/* sentencepiece 0.2.3 starts its f32 sums afresh where the one at hand is large, so that they keep their precision on a text of any length. */
static void start_afresh(struct uni *u)
{
    struct xc_uni_node *node = u->e->scratch->nodes;
    const double offset = node[u->next].u.score;

    if (!(fabs(offset) > FAR)) return;
    for (size_t i = u->next; i <= u->far; i++)
        if (node[i].start >= 0) node[i].u.score = (double)(float)(node[i].u.score - offset);
}

/* All tokens that begin at the next position. */
static void step(struct uni *u)
{
    const struct xc_tokenizer *tok = u->tok;
    const uint8_t *s = u->e->scratch->word + u->next;
    const size_t n = u->len - u->next, chars = s[0] < 0x80 ? 1 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    struct xc_prefixes p = { .at = tok->units[tok->h->root] };
    bool single = false;
    uint32_t id;
    size_t end;

    if (u->flags & XC_TOK_SENTENCEPIECE) start_afresh(u);
    while (xc_tokenizer_next_prefix(tok, &p, &id, &end, s, n))
        if (tok->scores[id] == tok->scores[id]) {
            reach(u, u->next, u->next + end, (int32_t)id, tok->scores[id]);
            single |= end == chars;
        }
    if (!single) reach(u, u->next, u->next + chars, tok->h->unk_id, tok->scores[tok->h->n_tokens]);
    u->next += chars;
}

/* The last place that all open paths go through: from the furthest back, an open end is replaced by where its token begins. */
static size_t common(struct uni *u)
{
    enum { OPEN = 1 << 30 }; /* ids are smaller */
    struct xc_uni_node *node = u->e->scratch->nodes;
    size_t open = 0, at;

    for (at = u->next; at <= u->far; at++)
        if (node[at].start >= 0) node[at].id |= OPEN, open++;
    for (at = u->far; open > 1; at--) {
        if (!(node[at].id & OPEN)) continue;
        node[at].id &= ~OPEN;
        open -= (node[node[at].start].id & OPEN) != 0;
        node[node[at].start].id |= OPEN;
    }
    while (!(node[at].id & OPEN)) at--;
    node[at].id &= ~OPEN;
    return at;
}

/* Gives out what is certain, and moves the rest to the front. */
static void shorten(struct uni *u)
{
    struct xc_text_scratch *s = u->e->scratch;
    const size_t at = u->far == u->next ? u->next : common(u);
    double score;

    if (at < u->window / 4) {
        u->window *= 2;
        return;
    }
    score = s->nodes[at].u.score;
    emit_path(u, at);
    memmove(s->word, s->word + at, u->len - at);
    memmove(s->node_words, s->node_words + at, (u->len - at) * sizeof *s->node_words);
    memmove(s->nodes, s->nodes + at, (u->len - at + 1) * sizeof *s->nodes);
    u->len -= at;
    u->next -= at;
    u->far -= at;
    for (size_t i = 1; i <= u->far; i++)
        if (s->nodes[i].start >= 0) s->nodes[i].start = s->nodes[i].start > (int32_t)at ? s->nodes[i].start - (int32_t)at : 0;
    s->nodes[0] = (struct xc_uni_node){ .u.score = score, .start = 0 };
}

static void end_word(struct uni *u)
{
    struct xc_text_scratch *const s = u->e->scratch;

    if (u->merged) {
        if (u->status == XC_OK && u->len) u->status = xc_bpe_merge_long(u->e, &(struct xc_bpe_word){ .s = s->word, .n = u->len, .words = s->node_words });
        u->len = 0;
        return;
    }
    if (u->status == XC_OK && u->len) {
        while (u->next < u->len) step(u);
        emit_path(u, u->len);
    }
    if (u->status == XC_OK && u->len) end_unknown(u);
    u->len = u->next = u->far = 0;
    u->window = s->uni_window ? s->uni_window : XC_UNI_WINDOW;
}

static void push(struct uni *u, uint32_t cp, int32_t word)
{
    struct xc_text_scratch *s = u->e->scratch;
    size_t n;

    if (u->status == XC_OK && s->word_cap < u->len + 4) u->status = xc_grow((void **)&s->word, &s->word_cap, u->len + 4, 1, u->e->err);
    if (u->status == XC_OK && s->node_words_cap < u->len + 4) u->status = xc_grow((void **)&s->node_words, &s->node_words_cap, u->len + 4, sizeof *s->node_words, u->e->err);
    if (u->status == XC_OK && !u->merged && s->nodes_cap < u->len + 5) u->status = xc_grow((void **)&s->nodes, &s->nodes_cap, u->len + 5, sizeof *s->nodes, u->e->err);
    if (u->status != XC_OK) return;
    n = (size_t)xc_utf8_write(s->word + u->len, cp);
    for (size_t i = 0; i < n; i++) s->node_words[u->len + i] = word;
    if (!u->merged) {
        if (u->len == 0) s->nodes[0] = (struct xc_uni_node){ .u.score = 0, .start = 0 };
        for (size_t i = 1; i <= n; i++) s->nodes[u->len + i] = (struct xc_uni_node){ .start = -1 };
    }
    u->len += n;
    if (u->len < u->window || u->merged) return;
    while (u->next + u->tok->h->max_token_bytes + 4 <= u->len) step(u);
    shorten(u);
}

/* ---- words ---- */
/* A character of the normalised text: blanks become U+2581, one is put in front, words begin. */
static void put_word(struct uni *u, uint32_t cp, int32_t word)
{
    if (u->split == XC_TOK_SPLIT_WHITE_META && xc_codepoint_of(cp)->bits & XC_CP_WHITE) {
        end_word(u);
        u->part_started = false;
        return;
    }
    if (cp == ' ') cp = META, word = -1;
    else if (cp == META) word = -1;
    if (!u->part_started) {
        const bool prefix = u->flags & XC_TOK_PREFIX_SPACE || (u->flags & XC_TOK_PREFIX_FIRST && u->e->first && (u->at_start || u->split != XC_TOK_SPLIT_WHITE_META));

        u->part_started = true;
        if (prefix && (cp != META || u->flags & XC_TOK_META_NORM)) push(u, META, -1);
    } else if (cp == META && u->split != XC_TOK_SPLIT_NONE) {
        end_word(u);
    }
    push(u, cp, word);
}

/* ---- white space, as tokenizers' Strip and Replace ---- */
static void to_norm(struct uni *u, uint32_t cp, int32_t word)
{
    struct xc_text_scratch *s = u->e->scratch;
    const size_t n0 = u->e->n_norm;

    if (u->status == XC_OK && s->norm_cap < n0 + 4) u->status = xc_grow((void **)&s->norm, &s->norm_cap, n0 + 4, 1, u->e->err);
    if (u->status == XC_OK && s->norm_words_cap < n0 + 4) u->status = xc_grow((void **)&s->norm_words, &s->norm_words_cap, n0 + 4, sizeof *s->norm_words, u->e->err);
    if (u->status != XC_OK) return;
    u->e->n_norm += (size_t)xc_utf8_write(s->norm + n0, cp);
    for (size_t i = n0; i < u->e->n_norm; i++) s->norm_words[i] = word;
    if (u->at_start) u->e->n_first = u->e->n_norm;
}

static void put_out(struct uni *u, uint32_t cp, int32_t word)
{
    if (!u->to_norm) {
        put_word(u, cp, word);
        return;
    }
    if (u->flags & XC_TOK_META_NORM) {
        if (!u->part_started && u->flags & XC_TOK_PREFIX_SPACE) to_norm(u, META, -1);
        u->part_started = true;
        if (cp == ' ') cp = META;
    }
    to_norm(u, cp, word);
}

static void end_blanks(struct uni *u)
{
    if (u->blanks) put_out(u, u->blanks > 1 && u->flags & XC_TOK_SQUEEZE_META ? META : ' ', u->e->word);
    u->blanks = 0;
}

static void squeeze(struct uni *u, uint32_t cp)
{
    if (cp == ' ' && u->flags & XC_TOK_SQUEEZE) {
        u->blanks++;
        return;
    }
    end_blanks(u);
    put_out(u, cp, u->e->word);
}

static void put_stripped(struct uni *u, uint32_t cp)
{
    struct xc_text_scratch *s = u->e->scratch;
    const bool white = xc_codepoint_of(cp)->bits & XC_CP_WHITE;

    if (white && !u->started && u->flags & XC_TOK_STRIP_START) return;
    u->started = true;
    if (white && u->flags & XC_TOK_STRIP_END) {
        if (u->status == XC_OK && u->held == s->pending_cap) u->status = xc_grow((void **)&s->pending, &s->pending_cap, u->held + 1, sizeof *s->pending, u->e->err);
        if (u->status == XC_OK) s->pending[u->held++] = cp;
        return;
    }
    for (size_t i = 0; i < u->held; i++) squeeze(u, s->pending[i]);
    u->held = 0;
    squeeze(u, cp);
}

/* ---- white space, as sentencepiece ---- */
/* No piece of a model that is split crosses the beginning of a run of U+2581. */
static void put_piece_character(struct uni *u, uint32_t cp)
{
    if (cp == META && u->split != XC_TOK_SPLIT_NONE && !u->last_meta) end_word(u);
    u->last_meta = cp == META;
    push(u, cp, cp == META ? -1 : u->e->word);
}

static void put_meta(struct uni *u, uint32_t cp)
{
    if (cp == ' ') cp = META;
    if (cp == META && u->flags & XC_TOK_SQUEEZE) { /* dropped where the text ends with it */
        u->metas++;
        return;
    }
    for (; u->metas; u->metas--) put_piece_character(u, META);
    put_piece_character(u, cp);
}

/* What one entry, or a character without one, becomes. */
static void put_piece(struct uni *u, const uint8_t *s, size_t n)
{
    uint32_t cp;

    if (!u->started) {
        if (n == 1 && s[0] == ' ' && u->flags & XC_TOK_SQUEEZE) return;
        u->started = true;
        if (u->flags & XC_TOK_PREFIX_SPACE) put_meta(u, META);
    }
    while (u->prev_blank && n && s[0] == ' ') s++, n--;
    if (n) u->prev_blank = u->flags & XC_TOK_SQUEEZE && s[n - 1] == ' ';
    for (size_t i = 0; i < n;) {
        i += (size_t)xc_utf8_read(&cp, s + i, n - i);
        put_meta(u, cp);
    }
}

/* ---- replacements ---- */
/* What stands for `single` or several characters of the text. tokenizers gives the k-th character of a replacement the place of the k-th that it
 * replaces; what is more has the place of the last. */
static void put_string(struct uni *u, const uint8_t *s, size_t n, bool single)
{
    uint32_t cp;

    if (u->flags & XC_TOK_SENTENCEPIECE) {
        put_piece(u, s, n);
        return;
    }
    for (size_t i = 0; i < n;) {
        if (i && !single) u->at_start = false;
        i += (size_t)xc_utf8_read(&cp, s + i, n - i);
        put_stripped(u, cp);
    }
}

/* The text from a place on, well-formed: itself, or a copy of the next LOOK bytes. */
struct sight {
    const uint8_t *s;
    size_t n;
    uint8_t copy[LOOK + 4];
    size_t good; /* the text is known to be well-formed up to here */
};

static void look(struct sight *sight, const uint8_t *s, size_t i, size_t n)
{
    sight->s = s + i;
    sight->n = n - i;
    while (sight->good < n && sight->good < i + LOOK) {
        uint32_t cp;
        const size_t at = sight->good < i ? i : sight->good, used = (size_t)xc_utf8_read(&cp, s + at, n - at);

        if (cp == XC_REPLACEMENT && !(used == 3 && s[at] == 0xEF && s[at + 1] == 0xBF && s[at + 2] == 0xBD)) break;
        sight->good = at + used;
    }
    if (sight->good >= n || sight->good >= i + LOOK) return;
    sight->s = sight->copy;
    for (sight->n = 0; i < n && sight->n < LOOK;) {
        uint32_t cp;

        i += (size_t)xc_utf8_read(&cp, s + i, n - i);
        sight->n += (size_t)xc_utf8_write(sight->copy + sight->n, cp);
    }
}

/* Bytes of the text that `used` bytes of what was in sight stand for. */
static size_t source_bytes(const uint8_t *s, size_t n, size_t used)
{
    size_t i = 0;

    while (used) {
        uint32_t cp;
        uint8_t utf8[4];

        i += (size_t)xc_utf8_read(&cp, s + i, n - i);
        used -= (size_t)xc_utf8_write(utf8, cp);
    }
    return i;
}

static void note_words(struct uni *u, const uint8_t *s, size_t n)
{
    uint32_t cp;

    xc_utf8_read(&cp, s, n);
    if (xc_codepoint_of(cp)->bits & XC_CP_WHITE) xc_encoder_leave(u->e);
    else xc_encoder_enter(u->e);
}

/* All of a text through the table: clusters as tokenizers has them, or the longest entry as sentencepiece. */
static void replace(struct uni *u, const uint8_t *s, size_t n)
{
    const bool longest = u->flags & XC_TOK_SENTENCEPIECE;
    const struct xc_charsmap *map = &u->tok->charsmap;
    struct sight sight = { .good = 0 };
    bool inside = false; /* a cluster that has no entry as a whole: the rest of it is looked up character by character */
    unsigned last = 0;

    for (size_t i = 0; i < n && u->status == XC_OK && !xc_encoder_full(u->e);) {
        const uint8_t *out = NULL;
        size_t out_n = 0, used = 0, whole, chars;

        look(&sight, s, i, n);
        note_words(u, sight.s, sight.n);
        chars = sight.s[0] < 0x80 ? 1 : sight.s[0] < 0xE0 ? 2 : sight.s[0] < 0xF0 ? 3 : 4;
        if (longest) {
            uint32_t id;

            used = xc_bpe_user(u->tok, &id, sight.s, sight.n); /* stays as it is */
            if (used) out = sight.s, out_n = used;
            else used = xc_charsmap_find(map, &out, &out_n, sight.s, sight.n, true);
        } else if (map->n_units) {
            if (!inside || !xc_cluster_joins(last, sight.s, sight.n)) {
                whole = xc_cluster_bytes(sight.s, sight.n);
                if (whole <= 5 && xc_charsmap_find(map, &out, &out_n, sight.s, whole, false)) used = whole;
                inside = !used;
            }
            last = xc_cluster_bits(sight.s, sight.n);
            if (!used && xc_charsmap_find(map, &out, &out_n, sight.s, chars, false)) used = chars;
        }
        if (!used) out = sight.s, out_n = used = chars;
        put_string(u, out, out_n, used <= chars);
        if (out_n) u->at_start = false; /* what is removed before it has no place of its own in tokenizers' offsets */
        i += sight.s == s + i ? used : source_bytes(s + i, n - i, used);
    }
}

/* ---- the model ---- */
static void begin(struct uni *u, struct xc_encoder *e)
{
    *u = (struct uni){ .e = e, .tok = e->tok, .flags = e->tok->h->flags, .split = e->tok->h->split };
    u->merged = e->tok->h->model == XC_TOK_BPE;
    e->unknown = false;
    u->prev_blank = (u->flags & XC_TOK_SQUEEZE) != 0;
    u->at_start = true;
    u->window = e->scratch->uni_window ? e->scratch->uni_window : XC_UNI_WINDOW;
}

static enum xc_status piece(struct xc_encoder *e, const uint8_t *s, size_t n)
{
    struct uni u;

    begin(&u, e);
    if (e->word_of) { /* normalised already */
        if (u.flags & XC_TOK_META_NORM) u.flags &= ~(uint32_t)XC_TOK_PREFIX_SPACE;
        for (size_t i = 0; i < n && u.status == XC_OK && !xc_encoder_full(e);) {
            uint32_t cp;
            const int32_t word = e->word_of[i];

            u.at_start = (size_t)(s - e->scratch->norm) + i < e->n_first;
            i += (size_t)xc_utf8_read(&cp, s + i, n - i);
            put_word(&u, cp, word);
        }
    } else {
        replace(&u, s, n);
        end_blanks(&u); /* what is held goes: it is stripped */
    }
    if (!xc_encoder_full(e)) end_word(&u);
    return u.status;
}

static enum xc_status normalise(struct xc_encoder *e, const uint8_t *s, size_t n)
{
    struct uni u;

    begin(&u, e);
    u.to_norm = true;
    u.flags &= ~(uint32_t)XC_TOK_SENTENCEPIECE; /* has no tokens that are searched in normalised text */
    e->n_norm = e->n_first = 0;
    replace(&u, s, n);
    end_blanks(&u);
    return u.status;
}

static void open_tables(struct xc_tokenizer *tok) { (void)tok; }

const struct xc_text_model xc_text_unigram = { .name = "unigram", .open = open_tables, .piece = piece, .normalise = normalise };
const struct xc_text_model xc_text_characters = { .name = "bpe", .open = open_tables, .piece = piece, .normalise = normalise };
