/* tensor_tree: see tensor_tree.h. */
#include "cli/tensor_tree.h"

#include <stdlib.h>
#include <string.h>

#include "formats/units.h"

#define MAX_DEPTH 12 /* words beyond this stay together: names are hostile */
#define BAR_WIDTH 8

struct branch {
    int32_t parent, first, last, next; /* children are a list; -1 = none */
    int32_t n_children;
    int32_t item;         /* of a leaf; of a group: any tensor in it, for its name */
    bool leaf;
    size_t from, to;      /* the part of that name that is the label */
    int32_t order;        /* the first tensor in it */
    uint64_t bytes, count;
    double zeros, counted, error, output_error;
};

struct tree {
    struct branch *at;
    size_t n, cap;
    const struct xc_inventory *inv;
    const struct tree_style *style;
    bool errors, outputs;
    int width;
};

/* ---- making ---- */
static const struct xc_inventory *sorting; /* qsort has no argument; one thread prints */

static int by_words(const void *a, const void *b)
{
    const char *x = sorting->items[*(const int32_t *)a].tensor->name, *y = sorting->items[*(const int32_t *)b].tensor->name;

    while (*x && *x == *y) {
        x++;
        y++;
    }
    if (*x == *y) return 0;
    if (!*x || !*y) return *x ? 1 : -1;
    if (*x == '.' || *y == '.') return *x == '.' ? -1 : 1; /* below every letter, so that what shares words is together */
    return (unsigned char)*x < (unsigned char)*y ? -1 : 1;
}

static enum xc_status add(struct tree *t, int32_t *out, int32_t parent, int32_t item, size_t from, size_t to, bool leaf, struct xc_err *err)
{
    XC_TRY(xc_grow((void **)&t->at, &t->cap, t->n + 1, sizeof *t->at, err));
    *out = (int32_t)t->n++;
    t->at[*out] = (struct branch){ .parent = parent, .first = -1, .last = -1, .next = -1, .item = item, .leaf = leaf, .from = from, .to = to, .order = item, .error = -1, .output_error = -1 };
    if (parent < 0) return XC_OK;
    if (t->at[parent].last < 0) t->at[parent].first = *out;
    else t->at[t->at[parent].last].next = *out;
    t->at[parent].last = *out;
    t->at[parent].n_children++;
    return XC_OK;
}

/* The group below `parent` with the label at name[from,to): the last one made, since names come sorted. */
static bool is_last(const struct tree *t, int32_t parent, const char *name, size_t from, size_t to)
{
    const int32_t last = t->at[parent].last;

    if (last < 0 || t->at[last].leaf || t->at[last].to - t->at[last].from != to - from) return false;
    return !memcmp(t->inv->items[t->at[last].item].tensor->name + t->at[last].from, name + from, to - from);
}

static enum xc_status add_item(struct tree *t, int32_t item, struct xc_err *err)
{
    const struct xc_item *it = &t->inv->items[item];
    const char *name = it->tensor->name, *dot;
    int32_t at = 0, leaf;
    size_t from = 0;

    for (int depth = 0; depth < MAX_DEPTH && (dot = strchr(name + from, '.')) != NULL; depth++) {
        const size_t to = (size_t)(dot - name);

        if (is_last(t, at, name, from, to)) at = t->at[at].last;
        else XC_TRY(add(t, &at, at, item, from, to, false, err));
        from = to + 1;
    }
    XC_TRY(add(t, &leaf, at, item, from, strlen(name), true, err));
    for (at = leaf; at >= 0; at = t->at[at].parent) {
        struct branch *b = &t->at[at];

        if (item < b->order) b->order = item;
        b->bytes += it->bytes;
        b->count += it->count;
        if (it->sparsity >= 0) {
            b->zeros += it->sparsity * (double)it->count;
            b->counted += (double)it->count;
        }
        if (it->error > b->error) b->error = it->error;
        if (it->output_error > b->output_error) b->output_error = it->output_error;
    }
    return XC_OK;
}

struct ordered {
    int32_t order, at;
};

static int by_order(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;

    return (x->order > y->order) - (x->order < y->order);
}

/* Children as the model has them. */
static enum xc_status put_in_order(struct tree *t, struct xc_err *err)
{
    struct ordered *list = xc_calloc(t->n + 1, sizeof *list);

    if (!list) return xc_fail_nomem(err, t->n * sizeof *list);
    for (size_t i = 0; i < t->n; i++) {
        struct branch *b = &t->at[i];
        size_t n = 0;

        if (b->n_children < 2) continue;
        for (int32_t c = b->first; c >= 0; c = t->at[c].next) list[n++] = (struct ordered){ t->at[c].order, c };
        qsort(list, n, sizeof *list, by_order);
        b->first = list[0].at;
        b->last = list[n - 1].at;
        for (size_t k = 0; k < n; k++) t->at[list[k].at].next = k + 1 < n ? list[k + 1].at : -1;
    }
    xc_free(list);
    return XC_OK;
}

static enum xc_status build(struct tree *t, struct xc_err *err)
{
    int32_t *sorted = xc_calloc((size_t)t->inv->n + 1, sizeof *sorted), root;
    enum xc_status status = sorted ? add(t, &root, -1, 0, 0, 0, false, err) : xc_fail_nomem(err, (size_t)t->inv->n * sizeof *sorted);

    for (int32_t i = 0; i < t->inv->n && sorted; i++) sorted[i] = i;
    sorting = t->inv;
    if (sorted) qsort(sorted, (size_t)t->inv->n, sizeof *sorted, by_words);
    for (int32_t i = 0; i < t->inv->n && status == XC_OK; i++) status = add_item(t, sorted[i], err);
    xc_free(sorted);
    return status == XC_OK ? put_in_order(t, err) : status;
}

/* ---- printing ---- */
static int columns_of(const char *s, size_t n) /* code points: near enough for names */
{
    int width = 0;

    for (size_t i = 0; i < n; i++) width += ((unsigned char)s[i] & 0xc0) != 0x80;
    return width;
}

/* Joins a group of one with what is in it. */
static int32_t descend(struct tree *t, int32_t at)
{
    while (!t->at[at].leaf && t->at[at].n_children == 1) {
        t->at[t->at[at].first].from = t->at[at].from;
        at = t->at[at].first;
    }
    return at;
}

/* A few tensors and nothing else: "query" with weight and bias. They are shown in the group above, as query.weight and query.bias. */
static bool is_handful(const struct tree *t, int32_t at)
{
    if (t->at[at].leaf || t->at[at].n_children > 4) return false;
    for (int32_t c = t->at[at].first; c >= 0; c = t->at[c].next)
        if (!t->at[c].leaf) return false;
    return true;
}

struct chain {
    int32_t first, last;
};

static void append(struct tree *t, struct chain *list, int32_t c)
{
    t->at[c].next = -1;
    if (list->last < 0) list->first = c;
    else t->at[list->last].next = c;
    list->last = c;
}

/* The tree as it is printed, and how wide its names are. */
static void tidy(struct tree *t, int32_t parent, int depth)
{
    struct chain list = { -1, -1 };

    for (int32_t c = t->at[parent].first, next; c >= 0; c = next) {
        const int32_t one = descend(t, c);

        next = t->at[c].next;
        if (!is_handful(t, one)) {
            append(t, &list, one);
            if (!t->at[one].leaf) tidy(t, one, depth + 1);
            continue;
        }
        for (int32_t leaf = t->at[one].first, after; leaf >= 0; leaf = after) {
            after = t->at[leaf].next;
            t->at[leaf].from = t->at[one].from;
            append(t, &list, leaf);
        }
    }
    t->at[parent].first = list.first;
    for (int32_t c = list.first; c >= 0; c = t->at[c].next) {
        const struct branch *b = &t->at[c];
        const int width = 2 * depth + columns_of(t->inv->items[b->item].tensor->name + b->from, b->to - b->from);

        if (width > t->width) t->width = width;
    }
}

static const char *paint(const struct tree *t, const char *sequence) { return t->style->colour ? sequence : ""; }

static void print_share(FILE *f, const struct tree *t, double share)
{
    static const char *const eighths[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
    const int n = (int)(share * 8 * BAR_WIDTH + 0.5), full = n / 8 < BAR_WIDTH ? n / 8 : BAR_WIDTH, rest = full < BAR_WIDTH ? n % 8 : 0;

    fprintf(f, " %6.1f%%", 100 * share);
    if (!t->style->pretty) return;
    fprintf(f, " %s", paint(t, "\033[36m"));
    for (int i = 0; i < full; i++) fputs("█", f);
    fprintf(f, "%s%s%*s", eighths[rest], paint(t, "\033[0m"), BAR_WIDTH - full - (rest > 0), "");
}

static void print_percent(FILE *f, const struct tree *t, double x, bool warn)
{
    if (x < 0) fprintf(f, " %8s", "");
    else if (warn) fprintf(f, "%s %7.2f%%%s", paint(t, x >= 0.2 ? "\033[31m" : x >= 0.05 ? "\033[33m" : ""), 100 * x, paint(t, x >= 0.05 ? "\033[0m" : ""));
    else fprintf(f, " %7.2f%%", 100 * x);
}

static void print_line(FILE *f, const struct tree *t, const struct branch *b, const char *lead, const char *mark, int used)
{
    const struct xc_item *item = &t->inv->items[b->item];
    char size[32], shape[48] = "", what[64];

    if (b->leaf) snprintf(shape, sizeof shape, "%lld x %lld", (long long)xc_tensor_rows(item->tensor), (long long)xc_tensor_cols(item->tensor));
    if (b->leaf) snprintf(what, sizeof what, "%s", item->encoding);
    else if (b->count >= 1000000) snprintf(what, sizeof what, "%.2f M", (double)b->count / 1e6);
    else snprintf(what, sizeof what, b->count >= 1000 ? "%.1f k" : "%.0f", b->count >= 1000 ? (double)b->count / 1e3 : (double)b->count);
    fprintf(f, "%s%s%s%s%s", paint(t, "\033[2m"), lead, mark, paint(t, "\033[0m"), b->leaf ? "" : paint(t, "\033[1m"));
    fwrite(item->tensor->name + b->from, 1, b->to - b->from, f);
    used += columns_of(item->tensor->name + b->from, b->to - b->from);
    fprintf(f, "%*s%s %14s  %s%-12s%s %9s", t->width > used ? t->width - used : 0, "", b->leaf ? "" : paint(t, "\033[0m"), shape,
            b->leaf && xc_format_traits((enum xc_format)item->tensor->enc.format)->quantized ? paint(t, "\033[32m") : paint(t, "\033[2m"), what, paint(t, "\033[0m"),
            xc_format_size(b->bytes, size));
    print_share(f, t, t->inv->bytes ? (double)b->bytes / (double)t->inv->bytes : 0);
    if (b->counted > 0 || b->error >= 0 || b->output_error >= 0) print_percent(f, t, b->counted > 0 ? b->zeros / b->counted : -1, false);
    if (t->errors && (b->error >= 0 || b->output_error >= 0)) print_percent(f, t, b->error, true);
    if (t->outputs && b->output_error >= 0) print_percent(f, t, b->output_error, true);
    fputc('\n', f);
}

static void print_children(FILE *f, const struct tree *t, int32_t parent, char *lead, size_t n, int depth)
{
    for (int32_t c = t->at[parent].first; c >= 0; c = t->at[c].next) {
        const bool last = t->at[c].next < 0;
        const char *mark = depth == 0 ? "" : !t->style->pretty ? "  " : last ? "└ " : "├ ", *below = depth == 0 ? "" : !t->style->pretty || last ? "  " : "│ ";

        print_line(f, t, &t->at[c], lead, mark, 2 * depth);
        if (t->at[c].leaf) continue;
        memcpy(lead + n, below, strlen(below) + 1);
        print_children(f, t, c, lead, n + strlen(below), depth + 1);
        lead[n] = '\0';
    }
}

enum xc_status tensor_tree_print(FILE *f, const struct xc_inventory *inv, const struct tree_style *style, struct xc_err *err)
{
    struct tree t = { .inv = inv, .style = style, .width = 6 };
    char lead[(MAX_DEPTH + 1) * 4 + 1] = "";
    enum xc_status status = inv->n ? build(&t, err) : XC_OK;

    if (status == XC_OK && inv->n) {
        t.errors = t.at[0].error >= 0;
        t.outputs = t.at[0].output_error >= 0;
        tidy(&t, 0, 0);
        fprintf(f, "%s%-*s %14s  %-12s %9s  share  %*s  zeros%s%s%s\n", paint(&t, "\033[1m"), t.width, "tensor", "shape", "encoding", "size", style->pretty ? BAR_WIDTH + 1 : 0, "",
                t.errors ? "    error" : "", t.outputs ? "   output" : "", paint(&t, "\033[0m"));
        print_children(f, &t, 0, lead, 0, 0);
    }
    xc_free(t.at);
    return status;
}
