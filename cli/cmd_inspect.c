/* inspect: what a model is: architecture, parameters, encodings, bytes, sparsity, layer by layer; --graph for the IR. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "formats/formats.h"
#include "formats/json.h"
#include "runtime/session/session.h"

struct inspect_opts {
    bool graph, manifest, json;
};

static const struct cli_opt table[] = {
    CLI_BOOL(struct inspect_opts, graph, 'g', "graph", "print the graph IR as text"),
    CLI_BOOL(struct inspect_opts, manifest, 'm', "manifest", "print the manifest: how the file was made"),
    CLI_JSON(struct inspect_opts, json),
    CLI_END
};

/* Share of zeros among the stored numbers of an int8 tensor; -1 when that would mean reading a whole checkpoint. */
static double sparsity(const struct xc_tensor *t)
{
    const int8_t *p;
    int64_t zeros = 0;

    if (t->enc.format != XC_FMT_S8 || t->enc.layout != XC_LAYOUT_ROWS || !t->part[XC_PART_DATA]) {
        if (t->enc.format != XC_FMT_S8 || !t->part[XC_PART_DATA]) return -1;
    }
    p = (const int8_t *)t->part[XC_PART_DATA]->data;
    for (size_t i = 0; i < t->part[XC_PART_DATA]->size; i++) zeros += p[i] == 0;
    zeros -= (int64_t)t->part[XC_PART_DATA]->size - xc_tensor_count(t); /* padding is zero */
    return (double)(zeros > 0 ? zeros : 0) / (double)xc_tensor_count(t);
}

static const char *encoding(const struct xc_tensor *t, char *buf, size_t n)
{
    if (t->part[XC_PART_DATA]) return xc_encoding_text(&t->enc, buf, n);
    snprintf(buf, n, "%s", xc_format_traits((enum xc_format)t->source_format)->name);
    return buf;
}

static uint64_t bytes_of(const struct xc_tensor *t)
{
    if (t->part[XC_PART_DATA]) return xc_tensor_bytes(t);
    return (uint64_t)xc_tensor_count(t) * (uint64_t)xc_format_traits((enum xc_format)t->source_format)->bits / 8;
}

static int print_json(const struct xc_model *m)
{
    json_t *doc = json_object(), *layers = json_array(), *meta = json_object();
    uint64_t bytes = 0, parameters = 0;
    bool bad = !doc;
    char enc[64];

    for (int32_t i = 0; i < m->n_meta; i++)
        if (strcmp(m->meta[i].key, "source_config")) bad |= json_object_set_new(meta, m->meta[i].key, json_string(m->meta[i].value)) != 0;
    for (int32_t i = 0; i < m->n_tensors; i++) {
        const struct xc_tensor *t = m->tensors[i];
        const double zeros = sparsity(t);

        bytes += bytes_of(t);
        parameters += (uint64_t)xc_tensor_count(t);
        bad |= json_array_append_new(layers, json_pack("{s:s, s:I, s:I, s:s, s:I, s:o}", "name", t->name, "rows", (json_int_t)xc_tensor_rows(t), "cols", (json_int_t)xc_tensor_cols(t), "encoding",
                                                       encoding(t, enc, sizeof enc), "bytes", (json_int_t)bytes_of(t), "sparsity", zeros < 0 ? json_null() : xc_json_new_number(zeros))) != 0;
    }
    bad |= json_object_set_new(doc, "meta", meta) != 0;
    bad |= json_object_set_new(doc, "parameters", json_integer((json_int_t)parameters)) != 0;
    bad |= json_object_set_new(doc, "bytes", json_integer((json_int_t)bytes)) != 0;
    bad |= json_object_set_new(doc, "bits_per_weight", xc_json_new_number(parameters ? 8.0 * (double)bytes / (double)parameters : 0)) != 0;
    bad |= json_object_set_new(doc, "layers", layers) != 0;
    if (bad) {
        json_decref(doc);
        doc = NULL;
    }
    return cli_print_json(doc);
}

static void print_table(const struct xc_model *m)
{
    const bool colour = isatty(STDOUT_FILENO);
    uint64_t bytes = 0, parameters = 0;
    char enc[64], shape[64];

    for (int32_t i = 0; i < m->n_meta; i++)
        if (strcmp(m->meta[i].key, "source_config")) printf("%-14s %s\n", m->meta[i].key, m->meta[i].value);
    for (int32_t i = 0; i < m->n_graphs; i++) {
        const struct xc_graph *g = m->graphs[i];
        int64_t rows[64] = { 0 };
        struct xc_cost cost;

        for (int32_t s = 0; s < g->n_spaces && s < 64; s++) rows[s] = g->spaces[s].map == XC_MAP_SEQUENCE ? 1 : 128;
        if (g->n_spaces <= 64 && xc_graph_cost(g, rows, 1, &cost, NULL) == XC_OK) printf("graph          %s: %d nodes, %.3f G multiply-adds for 128 tokens\n", g->name, g->n_nodes, cost.macs / 1e9);
    }
    printf("\n%s%-60s %14s %-12s %12s %9s%s\n", colour ? "\033[1m" : "", "tensor", "shape", "encoding", "bytes", "zeros", colour ? "\033[0m" : "");
    for (int32_t i = 0; i < m->n_tensors; i++) {
        const struct xc_tensor *t = m->tensors[i];
        const double zeros = sparsity(t);

        bytes += bytes_of(t);
        parameters += (uint64_t)xc_tensor_count(t);
        snprintf(shape, sizeof shape, "%lld x %lld", (long long)xc_tensor_rows(t), (long long)xc_tensor_cols(t));
        printf("%-60s %14s %-12s %12llu ", t->name, shape, encoding(t, enc, sizeof enc), (unsigned long long)bytes_of(t));
        if (zeros < 0) printf("%9s\n", "");
        else printf("%8.2f%%\n", 100 * zeros);
    }
    printf("\n%.2f M parameters in %.2f MB, %.2f bits a weight\n", (double)parameters / 1e6, (double)bytes / 1e6, parameters ? 8.0 * (double)bytes / (double)parameters : 0);
}

static int inspect_run(void *opts, int argc, char **argv)
{
    const struct inspect_opts *const o = opts;
    struct xc_model *model = NULL;
    struct xc_err err = { 0 };
    int code = CLI_OK;

    (void)argc;
    if (xc_model_load(&model, argv[0], NULL, &err)) return cli_fail(&err);
    if (o->graph) {
        if (xc_model_print(stdout, model) != XC_OK) code = cli_failf("cannot write the graph");
    } else if (o->manifest) {
        if (!model->manifest) code = cli_failf("%s: carries no manifest", argv[0]);
        else printf("%.*s\n", (int)model->manifest->size, (const char *)model->manifest->data);
    } else if (o->json) {
        code = print_json(model);
    } else {
        print_table(model);
    }
    xc_model_free(&model);
    return code;
}

const struct cli_verb cli_verb_inspect = {
    .name = "inspect", .summary = "show what a model is, layer by layer", .usage = "MODEL [--graph | --manifest | --json]",
    .opts = table, .opts_size = sizeof(struct inspect_opts), .min_args = 1, .max_args = 1, .run = inspect_run,
};
