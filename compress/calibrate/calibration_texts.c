/* calibration_texts: texts from a file of lines or a table. See calibrate.h. */
#include <string.h>

#include "compress/calibrate/calibrate.h"
#include "formats/lines.h"

#define MAX_TEXT ((size_t)64 << 10)
#define MAX_COLUMNS 64

struct columns {
    bool table;
    bool use[MAX_COLUMNS];
    int n;
};

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);

    return n >= k && !strcmp(s + n - k, end);
}

static bool names_text(const char *name, size_t n)
{
    static const char *const names[] = { "text", "sentence", "question", "context", "premise", "hypothesis" };

    for (size_t i = 0; i < XC_ARRAY_LEN(names); i++)
        if (n >= strlen(names[i]) && !strncmp(name, names[i], strlen(names[i]))) return true;
    return false;
}

/* Calls fn for each field of a line; false = fn failed. */
struct field {
    const char *p;
    size_t n;
};
static struct field next_field(const char **at, const char *end)
{
    const char *tab = memchr(*at, '\t', (size_t)(end - *at));
    const struct field f = { *at, (size_t)((tab ? tab : end) - *at) };

    *at = tab ? tab + 1 : NULL;
    return f;
}

static void read_header(struct columns *c, const char *line, size_t len)
{
    const char *at = line;
    bool any = false;

    while (at && c->n < MAX_COLUMNS) {
        const struct field f = next_field(&at, line + len);

        c->use[c->n] = names_text(f.p, f.n);
        any |= c->use[c->n++];
    }
    if (!any && c->n) c->use[c->n - 1] = true;
}

static enum xc_status add(struct xc_texts *t, const struct field *f, struct xc_err *err)
{
    const size_t n = f->n < MAX_TEXT ? f->n : MAX_TEXT;

    XC_TRY(xc_grow((void **)&t->text, &t->cap_text, (size_t)t->n + 1, sizeof *t->text, err));
    XC_TRY(xc_grow((void **)&t->length, &t->cap_length, (size_t)t->n + 1, sizeof *t->length, err));
    t->text[t->n] = xc_strndup(f->p, n);
    if (!t->text[t->n]) return xc_fail_nomem(err, n);
    t->length[t->n++] = n;
    return XC_OK;
}

/* Text number `seen` of `total` is taken when it begins a new one of `most` even shares. */
static bool take(int64_t seen, int64_t total, int64_t most)
{
    if (total <= most) return true;
    return seen == 0 || (__int128)seen * most / total != (__int128)(seen - 1) * most / total;
}

/* One pass over the file: counts texts (out NULL), or takes those that are due. */
static enum xc_status scan(struct xc_texts *out, const char *path, int64_t most, int64_t *total, struct xc_err *err)
{
    struct columns c = { .table = ends_with(path, ".tsv") || ends_with(path, ".tsv.zst") };
    struct xc_lines *lines = NULL;
    const char *line;
    size_t len;
    int64_t seen = 0;
    enum xc_status status;

    XC_TRY(xc_lines_open(&lines, path, NULL, err));
    for (;;) {
        const char *at;

        XC_TRY_GOTO(xc_lines_next(lines, &line, &len, err), out);
        if (!line) break;
        if (c.table && xc_lines_number(lines) == 1) {
            read_header(&c, line, len);
            continue;
        }
        at = line;
        for (int i = 0; at; i++) {
            struct field f = { line, len };

            if (c.table) f = next_field(&at, line + len);
            else at = NULL;
            if (!f.n || (c.table && (i >= c.n || !c.use[i]))) continue;
            if (out && take(seen, *total, most)) XC_TRY_GOTO(add(out, &f, err), out);
            seen++;
        }
    }
    if (!out) *total = seen;
out:
    xc_lines_close(&lines);
    return status;
}

enum xc_status xc_texts_read(struct xc_texts *out, const char *path, int64_t most, struct xc_err *err)
{
    int64_t total = 0;
    enum xc_status status;

    *out = (struct xc_texts){ 0 };
    if (most < 1) return xc_fail(err, XC_E_ARG, "at least one calibration text is needed");
    if (!strcmp(path, "-")) return xc_fail(err, XC_E_ARG, "calibration texts are read twice: give a file, not standard input");
    status = scan(NULL, path, most, &total, err);
    if (status == XC_OK && !total) {
        status = xc_fail(err, XC_E_FORMAT, "there is no text to calibrate with");
        xc_fail_at(err, status, "%s", path);
    }
    if (status == XC_OK) status = scan(out, path, most, &total, err);
    if (status != XC_OK) xc_texts_release(out);
    return status;
}

void xc_texts_release(struct xc_texts *t)
{
    for (int64_t i = 0; i < t->n; i++) xc_free(t->text[i]);
    xc_free(t->text);
    xc_free(t->length);
    *t = (struct xc_texts){ 0 };
}
