/* convert: any model to a .xc file, or to a Hugging Face directory with plain weights. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "formats/formats.h"
#include "formats/json.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/pool.h"
#include "xcompress/compress.h"

struct convert_opts {
    const char *out;
    int to, dtype, store;
    int64_t threads;
    bool quiet, json;
};

static const char *const to_choices[] = { "auto", "xc", "safetensors", NULL };
static const char *const dtype_choices[] = { "stored", "f32", "f16", "bf16", NULL };
static const char *const store_choices[] = { "fast", "small", NULL };

static const struct cli_opt table[] = {
    CLI_STRING(struct convert_opts, out, 'o', "output", "PATH", NULL, "what to write: a file ending in .xc, or a directory"),
    CLI_CHOICE(struct convert_opts, to, 0, "to", to_choices, "auto", "format; auto: xc when PATH ends in .xc, else a safetensors directory"),
    CLI_CHOICE(struct convert_opts, dtype, 0, "dtype", dtype_choices, "stored", "number type of weights; stored: as MODEL has them (in a safetensors directory what is quantized becomes f32)"),
    CLI_CHOICE(struct convert_opts, store, 0, "store", store_choices, "fast", "for .xc: fast (mapped) or small (entropy-coded)"),
    CLI_THREADS(struct convert_opts, threads),
    CLI_QUIET(struct convert_opts, quiet),
    CLI_JSON(struct convert_opts, json),
    CLI_END
};

/* A quantized .xc stays as it is unless a number type is asked for: then only its store changes. */
static enum xc_status copy_xc(const char *from, const struct convert_opts *o, struct xc_pool *pool, const struct xc_progress *progress, uint64_t *bytes, struct xc_err *err)
{
    struct xc_model *m = NULL;
    enum xc_status status;

    XC_TRY(xc_model_load(&m, from, NULL, err));
    status = xc_save(m, o->out, o->store == 1, pool, progress, bytes, err);
    xc_model_free(&m);
    return status;
}

extern const struct xc_format_reader xc_format_xc; /* of formats.def */

static enum xc_status to_xc(const char *from, const struct convert_opts *o, struct xc_pool *pool, const struct xc_progress *progress, uint64_t *bytes, struct xc_err *err)
{
    struct xc_compress_opts c = XC_COMPRESS_DEFAULT;
    struct xc_compress_result r = { 0 };
    struct xc_recipe *recipe = NULL;
    enum xc_status status;

    if (o->dtype == 0 && xc_format_xc.probe(from)) return copy_xc(from, o, pool, progress, bytes, err);
    XC_TRY(xc_recipe_new(&recipe, err));
    status = xc_recipe_add(recipe, "cast", err);
    if (status == XC_OK) status = xc_recipe_set(recipe, "format", dtype_choices[o->dtype], err);
    c.recipe = recipe;
    c.small = o->store == 1;
    c.pool = pool;
    c.progress = progress;
    if (status == XC_OK) status = xc_compress_file(from, o->out, &c, &r, err);
    *bytes = r.output_bytes;
    xc_compress_result_release(&r);
    xc_recipe_free(&recipe);
    return status;
}

/* f16 or bf16 when that is what most weights of the checkpoint are. */
static const char *stored_format(const struct xc_model *m)
{
    int64_t count[XC_FMT_COUNT] = { 0 };

    for (int32_t t = 0; t < m->n_tensors; t++) {
        const struct xc_tensor *tensor = m->tensors[t];

        count[tensor->part[XC_PART_DATA] ? tensor->enc.format : tensor->source_format] += xc_tensor_count(tensor);
    }
    if (count[XC_FMT_F16] > count[XC_FMT_F32] && count[XC_FMT_F16] >= count[XC_FMT_BF16]) return "f16";
    return count[XC_FMT_BF16] > count[XC_FMT_F32] ? "bf16" : "f32";
}

static enum xc_status to_directory(const char *from, const struct convert_opts *o, struct xc_err *err)
{
    struct xc_model *m = NULL;
    enum xc_status status;

    XC_TRY(xc_model_load(&m, from, NULL, err));
    status = xc_export(m, o->out, o->dtype ? dtype_choices[o->dtype] : stored_format(m), err);
    xc_model_free(&m);
    return status;
}

static int convert_run(void *opts, int argc, char **argv)
{
    const struct convert_opts *const o = opts;
    struct cli_progress progress;
    struct xc_pool *pool = NULL;
    struct xc_err err = { 0 };
    uint64_t bytes = 0;
    enum xc_status status;
    size_t n;
    bool xc;

    (void)argc;
    if (!o->out) return cli_usage(&cli_verb_convert, "give -o PATH");
    n = strlen(o->out);
    xc = o->to == 1 || (o->to == 0 && n > 3 && !strcmp(o->out + n - 3, ".xc"));
    cli_progress_init(&progress, o->quiet);
    status = xc_pool_new(&pool, (int)o->threads, &err);
    if (status == XC_OK) status = xc ? to_xc(argv[0], o, pool, &progress.callbacks, &bytes, &err) : to_directory(argv[0], o, &err);
    cli_progress_done(&progress);
    xc_pool_free(&pool);
    if (status != XC_OK) return cli_fail(&err);
    if (o->json) {
        json_t *doc = json_pack("{s:o, s:s}", "output", xc_json_new_text(o->out, n), "format", xc ? "xc" : "safetensors");

        if (xc && json_object_set_new(doc, "bytes", json_integer((json_int_t)bytes))) {
            json_decref(doc);
            doc = NULL;
        }
        return cli_print_json(doc);
    }
    if (xc) printf("%s: %.2f MB\n", o->out, (double)bytes / 1e6);
    else printf("%s\n", o->out);
    return CLI_OK;
}

const struct cli_verb cli_verb_convert = {
    .name = "convert", .summary = "write a model in another format", .usage = "MODEL -o OUT.xc [--dtype f32|f16|bf16]\nMODEL -o DIRECTORY [--dtype f32|f16|bf16]",
    .details = "A directory is one that transformers loads: config.json, model.safetensors, the tokenizer and the pooling. Weights that were quantized become the numbers they stand for.",
    .opts = table, .opts_size = sizeof(struct convert_opts), .min_args = 1, .max_args = 1, .run = convert_run,
};
