/* convert: any model to a .xc file, or to a Hugging Face directory with plain weights. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "formats/formats.h"
#include "formats/json.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/pool.h"
#include "xcompress/compress.h"

struct convert_opts {
    const char *out;
    int to, dtype, store, init;
    int64_t threads, seed;
    bool quiet, json;
};

static const char *const to_choices[] = { "auto", "xc", "safetensors", NULL };
static const char *const dtype_choices[] = { "stored", "f32", "f16", "bf16", NULL };
static const char *const store_choices[] = { "fast", "small", NULL };
static const char *const init_choices[] = { "stored", "random", NULL };

static const struct cli_opt table[] = {
    CLI_STRING(struct convert_opts, out, 'o', "output", "PATH", NULL, "what to write: a file ending in .xc, or a directory"),
    CLI_CHOICE(struct convert_opts, to, 0, "to", to_choices, "auto", "format; auto: xc when PATH ends in .xc, else a safetensors directory"),
    CLI_CHOICE(struct convert_opts, dtype, 0, "dtype", dtype_choices, "stored", "number type in a directory; stored: what most weights of MODEL are (f32 for quantized ones)"),
    CLI_CHOICE(struct convert_opts, store, 0, "store", store_choices, "fast", "for .xc: fast (mapped) or small (entropy-coded)"),
    CLI_CHOICE(struct convert_opts, init, 0, "init", init_choices, "stored", "random: weights are drawn, as BERT's are before training; MODEL is a directory with config.json and a tokenizer, weights are not read"),
    CLI_SEED(struct convert_opts, seed),
    CLI_THREADS(struct convert_opts, threads),
    CLI_QUIET(struct convert_opts, quiet),
    CLI_JSON(struct convert_opts, json),
    CLI_END
};

static enum xc_status to_xc(const struct xc_model *m, const struct convert_opts *o, const struct cli_progress *progress, uint64_t *bytes, struct xc_err *err)
{
    struct xc_pool *pool = NULL;
    enum xc_status status = xc_pool_new(&pool, (int)o->threads, err);

    if (status == XC_OK) status = xc_save(m, o->out, o->store == 1, pool, &progress->callbacks, bytes, err);
    xc_pool_free(&pool);
    return status;
}

static enum xc_status to_directory(const struct xc_model *m, const struct convert_opts *o, uint64_t *bytes, struct xc_err *err)
{
    struct stat st;
    char path[4096];

    XC_TRY(xc_export(m, o->out, o->dtype ? dtype_choices[o->dtype] : NULL, err));
    if ((size_t)snprintf(path, sizeof path, "%s/model.safetensors", o->out) < sizeof path && !stat(path, &st)) *bytes = (uint64_t)st.st_size;
    return XC_OK;
}

static int convert_run(void *opts, int argc, char **argv)
{
    const struct convert_opts *const o = opts;
    const struct xc_load_opts load = { .all_tensors = true, .random = o->init == 1, .seed = (uint64_t)o->seed };
    struct cli_progress progress;
    struct xc_model *model = NULL;
    struct xc_err err = { 0 };
    uint64_t bytes = 0;
    enum xc_status status = XC_OK;
    size_t n;
    bool xc;

    (void)argc;
    if (!o->out) return cli_usage(&cli_verb_convert, "give -o PATH");
    n = strlen(o->out);
    xc = o->to == 1 || (o->to == 0 && n > 3 && !strcmp(o->out + n - 3, ".xc"));
    if (xc && o->dtype) return cli_usage(&cli_verb_convert, "--dtype is for a directory; weights of a .xc are changed by compress");
    if (!xc && o->store) return cli_usage(&cli_verb_convert, "--store is for a .xc file");
    cli_progress_init(&progress, o->quiet);
    if (xc) status = xc_atomic_check(o->out, argv[0], &err);
    if (status == XC_OK) status = xc_model_load(&model, argv[0], &load, &err);
    if (status == XC_OK) status = xc ? to_xc(model, o, &progress, &bytes, &err) : to_directory(model, o, &bytes, &err);
    cli_progress_done(&progress);
    xc_model_free(&model);
    if (status != XC_OK) return cli_fail(&err);
    if (o->json)
        return cli_print_json(json_pack("{s:o, s:s, s:I}", "output", xc_json_new_text(o->out, n), "format", xc ? "xc" : "safetensors", "bytes", (json_int_t)bytes));
    printf("%s: %.2f MB\n", o->out, (double)bytes / 1e6);
    return CLI_OK;
}

const struct cli_verb cli_verb_convert = {
    .name = "convert", .summary = "write a model in another format", .usage = "MODEL -o OUT.xc [--store fast|small] [--init random]\nMODEL -o DIRECTORY [--dtype f32|f16|bf16]",
    .details = "--init random makes a model of a specification, to be trained by finetune: config.json of any family that is read, with vocab.txt or tokenizer.json beside it. A .xc file keeps all weights, those that no answer needs too. A directory is one that transformers and sentence-transformers load: config.json, model.safetensors, the tokenizer and "
               "the pooling. Weights that were quantized become the numbers they stand for, and the factors of smoothing go back into the weights. What config.json cannot say (layers of unequal width, "
               "a classifier on the mean of all tokens, as finetune makes it without --pooling pooler) is refused.",
    .opts = table, .opts_size = sizeof(struct convert_opts), .min_args = 1, .max_args = 1, .run = convert_run,
};
