/* inspect: what a model is: architecture, parameters, encodings, bytes, sparsity, layer by layer; --graph for the IR. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/tensor_tree.h"
#include "compress/inventory.h"
#include "compress/manifest.h"
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

static json_t *known(double x) { return x < 0 ? json_null() : xc_json_new_number(x); }

static int print_json(const struct xc_model *m, const struct xc_inventory *inv, const json_t *manifest)
{
    json_t *doc = json_object(), *layers = json_array(), *meta = json_object();
    bool bad = !doc;

    for (int32_t i = 0; i < m->n_meta; i++)
        if (strcmp(m->meta[i].key, "source_config")) bad |= json_object_set_new(meta, m->meta[i].key, json_string(m->meta[i].value)) != 0;
    for (int32_t i = 0; i < inv->n; i++) {
        const struct xc_item *item = &inv->items[i];

        bad |= json_array_append_new(layers, json_pack("{s:s, s:I, s:I, s:s, s:I, s:o, s:s, s:s, s:o, s:o}", "name", item->tensor->name, "rows", (json_int_t)xc_tensor_rows(item->tensor), "cols",
                                                       (json_int_t)xc_tensor_cols(item->tensor), "encoding", item->encoding, "bytes", (json_int_t)item->bytes, "sparsity", known(item->sparsity), "kind",
                                                       item->kind, "layer", inv->layers[item->layer].name, "error", known(item->error), "output_error", known(item->output_error))) != 0;
    }
    bad |= json_object_set_new(doc, "meta", meta) != 0;
    bad |= json_object_set_new(doc, "parameters", json_integer((json_int_t)inv->count)) != 0;
    bad |= json_object_set_new(doc, "bytes", json_integer((json_int_t)inv->bytes)) != 0;
    bad |= json_object_set_new(doc, "bits_per_weight", xc_json_new_number(inv->count ? 8.0 * (double)inv->bytes / (double)inv->count : 0)) != 0;
    bad |= json_object_set_new(doc, "layers", layers) != 0;
    if (json_object_get(manifest, "sensitivity")) bad |= json_object_set(doc, "sensitivity", json_object_get(manifest, "sensitivity")) != 0;
    if (json_object_get(manifest, "drop")) bad |= json_object_set(doc, "drop", json_object_get(manifest, "drop")) != 0;
    if (bad) {
        json_decref(doc);
        doc = NULL;
    }
    return cli_print_json(doc);
}

/* What a file says of itself may hold anything; a terminal is to be spared. */
static void print_text(const char *text)
{
    for (; *text; text++) putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
}

static void print_fact(const char *key, const char *value)
{
    printf("%-14s ", key);
    print_text(value);
    putchar('\n');
}

/* "quantize format=int8 attention=int8" a pass. */
static void print_recipe(const json_t *recipe)
{
    json_t *pass, *value;
    const char *key;
    size_t i;

    json_array_foreach(recipe, i, pass) {
        const char *name = json_string_value(json_object_get(pass, "pass"));
        char line[512];
        size_t n = (size_t)snprintf(line, sizeof line, "%s", name ? name : "?");

        json_object_foreach(json_object_get(pass, "options"), key, value)
            if (n < sizeof line && json_is_string(value)) n += (size_t)snprintf(line + n, sizeof line - n, " %s=%s", key, json_string_value(value));
        print_fact(i ? "" : "recipe", line);
    }
}

/* What format mixed chose from, as the manifest tells it: a line a weight. A file may hold anything: what has another form is left out. */
static void print_sensitivity(const json_t *manifest)
{
    const json_t *drop = json_object_get(manifest, "drop");
    json_t *layer, *choice;
    size_t i, k;

    if (!json_array_size(json_object_get(manifest, "sensitivity"))) return;
    printf("\ndrop of the answers by the encoding of one weight (* chosen)\n");
    json_array_foreach(json_object_get(manifest, "sensitivity"), i, layer) {
        const char *name = json_string_value(json_object_get(layer, "name")), *chosen = json_string_value(json_object_get(layer, "chosen"));

        if (!name || !chosen) continue;
        print_text(name);
        json_array_foreach(json_object_get(layer, "choices"), k, choice) {
            const char *encoding = json_string_value(json_object_get(choice, "encoding"));

            if (!encoding) continue;
            printf("  ");
            print_text(encoding);
            printf("%s %.2g", strcmp(encoding, chosen) ? "" : "*", json_number_value(json_object_get(choice, "cost")));
        }
        putchar('\n');
    }
    if (drop)
        printf("in all: %.3g predicted, %.3g measured\n", json_number_value(json_object_get(drop, "predicted")), json_number_value(json_object_get(drop, "measured")));
}

static int print_tree(const struct xc_model *m, const struct xc_inventory *inv, const json_t *manifest)
{
    const char *made = json_string_value(json_object_get(json_object_get(manifest, "versions"), "xcompress"));
    const struct tree_style style = { .colour = cli_colour(STDOUT_FILENO), .pretty = cli_pretty(STDOUT_FILENO) };
    struct xc_err err = { 0 };

    for (int32_t i = 0; i < m->n_meta; i++)
        if (strcmp(m->meta[i].key, "source_config")) print_fact(m->meta[i].key, m->meta[i].value);
    if (made) print_fact("made by", made);
    print_recipe(json_object_get(manifest, "recipe"));
    for (int32_t i = 0; i < m->n_graphs; i++) {
        const struct xc_graph *g = m->graphs[i];
        int64_t rows[64] = { 0 };
        struct xc_cost cost;

        for (int32_t s = 0; s < g->n_spaces && s < 64; s++) rows[s] = g->spaces[s].map == XC_MAP_SEQUENCE ? 1 : 128;
        if (g->n_spaces <= 64 && xc_graph_cost(g, rows, 1, &cost, NULL) == XC_OK) printf("graph          %s: %d nodes, %.3f G multiply-adds for 128 tokens\n", g->name, g->n_nodes, cost.macs / 1e9);
    }
    putchar('\n');
    if (tensor_tree_print(stdout, inv, &style, &err)) return cli_fail(&err);
    print_sensitivity(manifest);
    printf("\n%.2f M parameters in %.2f MB, %.2f bits a weight\n", (double)inv->count / 1e6, (double)inv->bytes / 1e6, inv->count ? 8.0 * (double)inv->bytes / (double)inv->count : 0);
    return CLI_OK;
}

/* Table or JSON: what needs the inventory. A manifest that cannot be read is said, and the rest is shown. */
static int inspect_tensors(const struct xc_model *m, bool json)
{
    struct xc_inventory inv = { 0 };
    json_t *manifest = NULL;
    struct xc_err err = { 0 };
    int code;

    if (m->manifest && xc_manifest_json(&manifest, m->manifest, &err)) cli_warn("%s", err.msg);
    if (xc_inventory_make(&inv, m, manifest, &err)) code = cli_fail(&err);
    else code = json ? print_json(m, &inv, manifest) : print_tree(m, &inv, manifest);
    xc_inventory_release(&inv);
    xc_json_free(&manifest);
    return code;
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
    } else {
        code = inspect_tensors(model, o->json);
    }
    xc_model_free(&model);
    return code;
}

const struct cli_verb cli_verb_inspect = {
    .name = "inspect", .summary = "show what a model is, layer by layer", .usage = "MODEL [--graph | --manifest | --json]",
    .details = "A tree of the tensors by name: shape, encoding, size, share of the whole, zeros, and the relative errors of weight and layer output that the manifest of a .xc "
               "file tells. Groups show what they hold in all, and the largest error. Colour on a terminal, unless NO_COLOR is set or TERM is dumb; plain in a pipe.",
    .opts = table, .opts_size = sizeof(struct inspect_opts), .min_args = 1, .max_args = 1, .run = inspect_run,
};
