/* answer_score: exact match and F1 of answers. See answer.h. */
#include <string.h>

#include "compress/tasks/answer.h"
#include "runtime/text/unicode.h"

/* A normalised answer: its words, back to back in bytes. */
struct words {
    uint8_t *bytes;
    size_t *end; /* of each word */
    int64_t n;
};

static bool is_punctuation(uint32_t cp) { return (cp >= 33 && cp <= 47) || (cp >= 58 && cp <= 64) || (cp >= 91 && cp <= 96) || (cp >= 123 && cp <= 126); }

static bool is_white(uint32_t cp) { return (cp >= 0x1C && cp <= 0x1F) || xc_codepoint_of(cp)->bits & XC_CP_WHITE; } /* as Python's split() */

/* Lower case without punctuation; returns its bytes. out has room for 3 * n + 3. */
static size_t simplify(uint8_t *out, const char *s, size_t n)
{
    size_t at = 0;
    uint32_t cp;

    for (size_t i = 0; i < n;) {
        const struct xc_codepoint *c;

        i += (size_t)xc_utf8_read(&cp, (const uint8_t *)s + i, n - i);
        if (is_punctuation(cp)) continue;
        c = xc_codepoint_of(cp);
        at += (size_t)xc_utf8_write(out + at, c->bits & XC_CP_LONG_LOWER ? 'i' : (uint32_t)((int32_t)cp + c->lower));
        if (c->bits & XC_CP_LONG_LOWER) at += (size_t)xc_utf8_write(out + at, 0x307);
    }
    return at;
}

/* The bytes of the article that begins at s[at], which no word character may touch; 0 = none. */
static size_t article(const uint8_t *s, size_t at, size_t n, bool inside)
{
    static const char *const articles[] = { "an", "a", "the" };
    uint32_t cp;

    for (size_t i = 0; i < XC_ARRAY_LEN(articles) && !inside; i++) {
        const size_t len = strlen(articles[i]);

        if (n - at < len || memcmp(s + at, articles[i], len)) continue;
        if (n - at == len) return len;
        xc_utf8_read(&cp, s + at + len, n - at - len);
        if (!(xc_codepoint_of(cp)->bits & XC_CP_WORD)) return len;
    }
    return 0;
}

static void words_release(struct words *w)
{
    xc_free(w->bytes);
    xc_free(w->end);
}

static enum xc_status normalise(struct words *w, const char *s, size_t n, struct xc_err *err)
{
    uint8_t *simple = xc_malloc(3 * n + 3);
    size_t len, to = 0, begun = 0;
    bool inside = false; /* behind a word character */
    uint32_t cp;

    *w = (struct words){ .bytes = xc_malloc(3 * n + 3), .end = xc_malloc((3 * n + 3) * sizeof *w->end) };
    if (!simple || !w->bytes || !w->end) {
        xc_free(simple);
        return xc_fail_nomem(err, 3 * n);
    }
    len = simplify(simple, s, n);
    for (size_t i = 0; i <= len;) {
        const size_t skip = i < len ? article(simple, i, len, inside) : 0, used = i == len || skip ? 0 : (size_t)xc_utf8_read(&cp, simple + i, len - i);

        if (!used || is_white(cp)) { /* an article is a blank, too */
            if (to > begun) w->end[w->n++] = begun = to;
            inside = skip > 0;
            i += skip ? skip : used ? used : 1;
            continue;
        }
        memcpy(w->bytes + to, simple + i, used);
        to += used;
        i += used;
        inside = xc_codepoint_of(cp)->bits & XC_CP_WORD;
    }
    xc_free(simple);
    return XC_OK;
}

static size_t word_begin(const struct words *w, int64_t i) { return i ? w->end[i - 1] : 0; }

static bool same_word(const struct words *a, int64_t i, const struct words *b, int64_t k)
{
    const size_t n = a->end[i] - word_begin(a, i);

    return n == b->end[k] - word_begin(b, k) && !memcmp(a->bytes + word_begin(a, i), b->bytes + word_begin(b, k), n);
}

static enum xc_status compare(bool *exact, double *f1, const struct words *a, const struct words *b, struct xc_err *err)
{
    bool *taken = xc_calloc((size_t)b->n + 1, sizeof *taken);
    int64_t shared = 0;

    if (!taken) return xc_fail_nomem(err, (size_t)b->n);
    *exact = a->n == b->n;
    for (int64_t i = 0; i < a->n && *exact; i++) *exact = same_word(a, i, b, i);
    for (int64_t i = 0; i < a->n; i++)
        for (int64_t k = 0; k < b->n; k++)
            if (!taken[k] && same_word(a, i, b, k)) {
                taken[k] = true;
                shared++;
                break;
            }
    xc_free(taken);
    *f1 = a->n && b->n ? 2.0 * (double)shared / (double)(a->n + b->n) : *exact;
    return XC_OK;
}

enum xc_status xc_answer_score(bool *exact, double *f1, const char *answer, size_t len, const char *const *gold, int64_t n_gold, struct xc_err *err)
{
    const struct words none = { 0 };
    struct words mine;
    enum xc_status status;
    bool any = false; /* right answer with a word in it; others are not looked at */

    *exact = false;
    *f1 = 0;
    status = normalise(&mine, answer, len, err);
    for (int64_t g = 0; g < n_gold && status == XC_OK; g++) {
        struct words want;
        bool equal;
        double score;

        status = normalise(&want, gold[g], strlen(gold[g]), err);
        if (status == XC_OK && want.n) {
            any = true;
            status = compare(&equal, &score, &mine, &want, err);
            if (status == XC_OK && equal) *exact = true;
            if (status == XC_OK && score > *f1) *f1 = score;
        }
        words_release(&want);
    }
    if (status == XC_OK && !any) status = compare(exact, f1, &mine, &none, err);
    words_release(&mine);
    return status;
}
