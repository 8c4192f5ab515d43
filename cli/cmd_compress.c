/* compress: a checkpoint to one .xc file. */
#include <stdio.h>
#include <sys/resource.h>

#include "cli/cli.h"
#include "formats/json.h"
#include "runtime/base/pool.h"
#include "xcompress/compress.h"

struct compress_opts {
    const char *out, *calibrate;
    int quantize, store;
    int64_t threads, seed, rows;
    bool static_ranges, plan, json, quiet;
};

static const char *const quantize_choices[] = { "none", "int8", NULL };
static const char *const store_choices[] = { "fast", "small", NULL };

static const struct cli_opt table[] = {
    CLI_STRING(struct compress_opts, out, 'o', "output", "FILE", NULL, "the .xc file to write"),
    CLI_CHOICE(struct compress_opts, quantize, 0, "quantize", quantize_choices, "none", "number type of weights and activations; int8 covers linears and embeddings"),
    CLI_STRING(struct compress_opts, calibrate, 'c', "calibrate", "FILE", NULL, "texts (one a line, or a .tsv; plain or .zst) to measure the error of each layer with"),
    CLI_BOOL(struct compress_opts, static_ranges, 0, "static", "quantize activations by calibrated ranges instead of row by row"),
    CLI_INT(struct compress_opts, rows, 0, "calibrate-rows", "N", 1, 1000000, "256", "use at most N texts of --calibrate"),
    CLI_CHOICE(struct compress_opts, store, 0, "store", store_choices, "fast", "fast: mapped, starts at once; small: entropy-coded"),
    CLI_BOOL(struct compress_opts, plan, 'n', "plan", "print the fate of every tensor and the size of the file; do nothing"),
    CLI_THREADS(struct compress_opts, threads),
    CLI_SEED(struct compress_opts, seed),
    CLI_QUIET(struct compress_opts, quiet),
    CLI_JSON(struct compress_opts, json),
    CLI_END
};

static json_t *layer_json(const struct xc_layer_report *l)
{
    json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:o, s:o, s:s}", "name", l->name, "encoding", l->encoding, "bytes", (json_int_t)l->bytes, "source_bytes", (json_int_t)l->source_bytes, "error",
                          xc_json_new_number(l->error), "sparsity", xc_json_new_number(l->sparsity), "fate", l->why);

    if (o && l->output_error >= 0 && json_object_set_new(o, "output_error", xc_json_new_number(l->output_error))) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static int print_json(const struct xc_compress_result *r, bool plan)
{
    struct rusage usage;
    json_t *layers = json_array(), *doc;
    bool bad = !layers;

    getrusage(RUSAGE_SELF, &usage);
    for (int64_t i = 0; i < r->n_layers; i++) bad |= json_array_append_new(layers, layer_json(&r->layers[i])) != 0;
    doc = json_pack("{s:b, s:I, s:I, s:o, s:o, s:o, s:o}", "plan", plan, "input_bytes", (json_int_t)r->input_bytes, "output_bytes", (json_int_t)r->output_bytes, "bits_per_weight",
                    xc_json_new_number(r->bits_per_weight), "seconds", xc_json_new_number(r->seconds), "peak_rss_mb", xc_json_new_number((double)usage.ru_maxrss / 1024), "layers", layers);
    if (bad) {
        json_decref(doc);
        doc = NULL;
    }
    return cli_print_json(doc);
}

static void print_table(const struct xc_compress_result *r, bool plan, const char *out)
{
    uint64_t tensors = 0;

    if (plan) printf("%-60s %-12s %12s %12s  %s\n", "tensor", "encoding", "from bytes", "to bytes", "fate");
    for (int64_t i = 0; i < r->n_layers; i++) {
        const struct xc_layer_report *l = &r->layers[i];

        tensors += l->bytes;
        if (plan) printf("%-60s %-12s %12llu %12llu  %s\n", l->name, l->encoding, (unsigned long long)l->source_bytes, (unsigned long long)l->bytes, l->why);
    }
    if (plan) printf("tensors: %.2f MB from %.2f MB, %.2f bits a weight\n", (double)tensors / 1e6, (double)r->input_bytes / 1e6, r->bits_per_weight);
    else
        printf("%s: %.2f MB from %.2f MB (%.2fx smaller), %.2f bits a weight, %.2f s\n", out, (double)r->output_bytes / 1e6, (double)r->input_bytes / 1e6,
               (double)r->input_bytes / (double)r->output_bytes, r->bits_per_weight, r->seconds);
}

static int compress_run(void *opts, int argc, char **argv)
{
    const struct compress_opts *const o = opts;
    struct xc_compress_opts c = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result;
    struct cli_progress progress;
    struct xc_pool *pool = NULL;
    struct xc_err err = { 0 };
    int code = CLI_OK;

    (void)argc;
    if (!o->out && !o->plan) return cli_usage(&cli_verb_compress, "give -o OUT.xc, or --plan");
    if (xc_pool_new(&pool, (int)o->threads, &err)) return cli_fail(&err);
    cli_progress_init(&progress, o->quiet);
    c.quantize = o->quantize ? quantize_choices[o->quantize] : NULL;
    c.calibrate = o->calibrate;
    c.static_ranges = o->static_ranges;
    c.calibrate_rows = (int32_t)o->rows;
    c.small = o->store == 1;
    c.seed = (uint64_t)o->seed;
    c.pool = pool;
    c.progress = progress.callbacks.update;
    c.progress_arg = progress.callbacks.arg;
    c.cancelled = progress.callbacks.cancelled;
    c.cancelled_arg = progress.callbacks.arg;
    if (xc_compress_file(argv[0], o->plan ? NULL : o->out, &c, &result, &err)) {
        cli_progress_done(&progress);
        code = cli_fail(&err);
    } else {
        cli_progress_done(&progress);
        if (o->json) code = print_json(&result, o->plan);
        else print_table(&result, o->plan, o->out);
        xc_compress_result_release(&result);
    }
    xc_pool_free(&pool);
    return code;
}

const struct cli_verb cli_verb_compress = {
    .name = "compress", .summary = "compress a checkpoint into one .xc file", .usage = "MODEL -o OUT.xc [--quantize int8] [options]",
    .opts = table, .opts_size = sizeof(struct compress_opts), .min_args = 1, .max_args = 1, .run = compress_run,
};
