/* diff: what differs between two models. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "compress/diff.h"
#include "formats/json.h"
#include "formats/units.h"

#define MOST_NODES 24 /* shown to people: one pass changes all layers alike */

struct diff_opts {
    bool json;
};

static const struct cli_opt table[] = {
    CLI_JSON(struct diff_opts, json),
    CLI_END
};

/* ---- JSON ---- */
static json_t *text_or_null(const char *s) { return s ? xc_json_new_text(s, strlen(s)) : json_null(); }

static json_t *side_json(const struct xc_diff_side *s)
{
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:i, s:i}", "file", text_or_null(s->path), "family", text_or_null(s->family), "task", text_or_null(s->task), "parameters", (json_int_t)s->count, "bytes",
                     (json_int_t)s->bytes, "file_bytes", (json_int_t)s->file_bytes, "tensors", s->n_tensors, "layers", s->n_layers);
}

static json_t *item_json(const struct xc_item *item)
{
    if (!item) return json_null();
    return json_pack("{s:I, s:I, s:s, s:I}", "rows", (json_int_t)xc_tensor_rows(item->tensor), "cols", (json_int_t)xc_tensor_cols(item->tensor), "encoding", item->encoding, "bytes", (json_int_t)item->bytes);
}

static int print_json(const struct xc_diff *d)
{
    json_t *doc = json_object(), *facts = json_array(), *nodes = json_array(), *tensors = json_array();
    bool bad = !doc;

    for (int32_t i = 0; i < d->n_facts; i++)
        bad |= json_array_append_new(facts, json_pack("{s:o, s:o, s:o}", "what", text_or_null(d->facts[i].what), "a", text_or_null(d->facts[i].a), "b", text_or_null(d->facts[i].b))) != 0;
    for (int32_t i = 0; i < d->n_nodes; i++)
        bad |= json_array_append_new(nodes, json_pack("{s:s, s:o, s:o, s:o}", "graph", d->nodes[i].graph, "node", text_or_null(d->nodes[i].name), "a", text_or_null(d->nodes[i].a), "b",
                                                      text_or_null(d->nodes[i].b))) != 0;
    for (int32_t i = 0; i < d->n_tensors; i++)
        bad |= json_array_append_new(tensors, json_pack("{s:s, s:o, s:o, s:o}", "name", d->tensors[i].name, "a", item_json(d->tensors[i].a), "b", item_json(d->tensors[i].b), "error",
                                                        xc_json_new_number(d->tensors[i].error))) != 0;
    bad |= json_object_set_new(doc, "equal", json_boolean(d->equal)) != 0;
    bad |= json_object_set_new(doc, "a", side_json(&d->a)) != 0;
    bad |= json_object_set_new(doc, "b", side_json(&d->b)) != 0;
    bad |= json_object_set_new(doc, "facts", facts) != 0;
    bad |= json_object_set_new(doc, "nodes", nodes) != 0;
    bad |= json_object_set_new(doc, "tensors", tensors) != 0;
    bad |= json_object_set_new(doc, "tensors_equal", json_integer(d->n_same)) != 0;
    if (bad) xc_json_free(&doc);
    return cli_print_json(doc);
}

/* ---- for people ---- */
/* One line of at most `most` bytes, without control characters. */
static void print_short(const char *s, size_t most)
{
    const size_t n = strlen(s);
    size_t end = n > most ? most : n;

    while (end < n && end && ((unsigned char)s[end] & 0xc0) == 0x80) end--; /* not inside a character */
    for (size_t i = 0; i < end; i++) putchar((unsigned char)s[i] < 0x20 || s[i] == 0x7f ? ' ' : s[i]);
    if (n > end) fputs("...", stdout);
}

static void print_side(const char *mark, const struct xc_diff_side *s)
{
    char size[32];

    printf("%s ", mark);
    print_short(s->path, 200);
    printf(": %s for %s, %.2f M weights in %d tensors and %d numbered layers, %s\n", s->family ? s->family : "unknown", s->task ? s->task : "unknown", (double)s->count / 1e6, s->n_tensors, s->n_layers,
           xc_format_size(s->file_bytes, size));
}

static bool is_boundary(char c) { return c == ' ' || c == ',' || c == '{' || c == '('; }

/* What differs in two texts: the words they begin and end with alike are left out. */
static void print_change(const char *a, const char *b, const char *before_a, const char *before_b, size_t most)
{
    size_t n_a = strlen(a), n_b = strlen(b), same = 0, from = 0, tail = 0;
    char text[600];

    while (a[same] && a[same] == b[same]) {
        same++;
        if (is_boundary(a[same - 1])) from = same;
    }
    while (tail < n_a - same && tail < n_b - same && a[n_a - 1 - tail] == b[n_b - 1 - tail]) tail++;
    while (tail && !is_boundary(a[n_a - tail])) tail--;
    for (int i = 0; i < 2; i++) {
        const char *s = i ? b : a;
        const size_t n = (i ? n_b : n_a) - from - tail;

        snprintf(text, sizeof text, "%s%.*s%s", from ? "... " : "", (int)(n < 500 ? n : 500), s + from, tail ? " ..." : "");
        fputs(i ? before_b : before_a, stdout);
        print_short(text, most);
    }
    putchar('\n');
}

/* Files that are not versions of one model: said in words, and the lists of what each has alone are left out. */
static bool is_another(const struct xc_diff *d)
{
    if (d->n_shared) return false;
    printf("\nDifferent models: no tensor of one is in the other by name. Nothing is compared but what they are.\n");
    return true;
}

static void print_architecture(const struct xc_diff *d)
{
    const struct xc_diff_side *const a = &d->a, *const b = &d->b;
    int32_t reshaped = 0;

    if (a->family && b->family && strcmp(a->family, b->family)) printf("\nDifferent families: %s and %s.\n", a->family, b->family);
    if (a->n_layers != b->n_layers) printf("\nDifferent depths: %d and %d numbered layers.\n", a->n_layers, b->n_layers);
    for (int32_t i = 0; i < d->n_tensors; i++) reshaped += d->tensors[i].reshaped;
    if (reshaped) printf("\nDifferent widths: %d tensors have other shapes.\n", reshaped);
}

static void cell(char *buf, size_t n, const struct xc_item *a, const struct xc_item *b, bool reshaped)
{
    if (a && b && reshaped) snprintf(buf, n, "%lld x %lld > %lld x %lld", (long long)xc_tensor_rows(a->tensor), (long long)xc_tensor_cols(a->tensor), (long long)xc_tensor_rows(b->tensor), (long long)xc_tensor_cols(b->tensor));
    else snprintf(buf, n, "%lld x %lld", (long long)xc_tensor_rows((a ? a : b)->tensor), (long long)xc_tensor_cols((a ? a : b)->tensor));
}

static void print_tensors(const struct xc_diff *d)
{
    int name = 6, shape = 5;

    printf("\ntensors: %d equal, %d differ\n", d->n_same, d->n_tensors);
    if (!d->n_tensors) return;
    for (int32_t i = 0; i < d->n_tensors; i++) {
        char buf[128];

        cell(buf, sizeof buf, d->tensors[i].a, d->tensors[i].b, d->tensors[i].reshaped);
        if ((int)strlen(d->tensors[i].name) > name) name = (int)strlen(d->tensors[i].name);
        if ((int)strlen(buf) > shape) shape = (int)strlen(buf);
    }
    printf("  %-*s  %*s  %-12s %-12s %12s %12s  %s\n", name, "tensor", shape, "shape", "encoding", "", "bytes", "", "error");
    for (int32_t i = 0; i < d->n_tensors; i++) {
        const struct xc_diff_tensor *t = &d->tensors[i];
        char buf[128];

        cell(buf, sizeof buf, t->a, t->b, t->reshaped);
        printf("  %-*s  %*s  %-12s %-12s", name, t->name, shape, buf, t->a ? t->a->encoding : "(missing)", t->b ? t->b->encoding : "(missing)");
        if (t->a) printf(" %12llu", (unsigned long long)t->a->bytes);
        else printf(" %12s", "-");
        if (t->b) printf(" %12llu", (unsigned long long)t->b->bytes);
        else printf(" %12s", "-");
        if (t->reshaped) printf("  other shape\n");
        else if (!t->a || !t->b || isnan(t->error)) printf("\n");
        else printf("  %.3f%%\n", 100 * t->error);
    }
}

static void print_diff(const struct xc_diff *d)
{
    print_side("-", &d->a);
    print_side("+", &d->b);
    if (d->equal) {
        printf("\nEqual: %d tensors, the graphs, the tokenizer, the golden samples and the manifest%s.\n", d->n_same, d->a.file_bytes == d->b.file_bytes ? "" : "; the files are stored differently");
        return;
    }
    if (is_another(d)) return;
    print_architecture(d);
    for (int32_t i = 0; i < d->n_facts; i++) {
        printf("\n");
        print_short(d->facts[i].what, 200);
        print_change(d->facts[i].a ? d->facts[i].a : "(missing)", d->facts[i].b ? d->facts[i].b : "(missing)", "\n  - ", "\n  + ", 300);
    }
    if (d->n_nodes) printf("\ngraphs: %d nodes differ\n", d->n_nodes);
    for (int32_t i = 0; i < d->n_nodes && i < MOST_NODES; i++) {
        const struct xc_diff_node *n = &d->nodes[i];

        printf("  %s %s", n->graph, n->name);
        if (n->a && n->b) print_change(n->a, n->b, ": ", "  >  ", 200);
        else printf(n->a ? ": missing in the second\n" : ": missing in the first\n");
    }
    if (d->n_nodes > MOST_NODES) printf("  and %d more, which --json lists\n", d->n_nodes - MOST_NODES);
    print_tensors(d);
}

static int run(void *opts, int argc, char **argv)
{
    const struct diff_opts *const o = opts;
    struct xc_diff d = { 0 };
    struct xc_err err = { 0 };
    int code = CLI_OK;

    (void)argc;
    if (xc_diff_make(&d, argv[0], argv[1], &err)) return cli_fail(&err);
    if (o->json) code = print_json(&d);
    else print_diff(&d);
    if (code == CLI_OK && !d.equal) code = CLI_FAILED;
    xc_diff_release(&d);
    return code;
}

const struct cli_verb cli_verb_diff = {
    .name = "diff", .summary = "show what differs between two models", .usage = "A B [--json]",
    .details = "Facts, labels, tokenizer, golden samples, manifest, graphs node by node, and tensors: shape, encoding, bytes, and the relative L2 distance of B's numbers from A's, with the "
               "scales of smoothing put back. A and B are files or checkpoints of any format; how a .xc file is stored (fast or small) is not a difference.\n\n"
               "Exit code 0: equal; 1: they differ, or one cannot be read (then nothing is on stdout).",
    .opts = table, .opts_size = sizeof(struct diff_opts), .min_args = 2, .max_args = 2, .run = run,
};
