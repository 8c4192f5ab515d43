/* convert: any model to a .xc file, or to a Hugging Face directory with dequantized weights. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "formats/formats.h"
#include "formats/json.h"
#include "runtime/base/atomic_file.h"
#include "runtime/container/container.h"

struct convert_opts {
    const char *out;
    int to, dtype, store;
    bool quiet, json;
};

static const char *const to_choices[] = { "auto", "xc", "safetensors", NULL };
static const char *const dtype_choices[] = { "f32", "f16", "bf16", NULL };
static const char *const store_choices[] = { "fast", "small", NULL };

static const struct cli_opt table[] = {
    CLI_STRING(struct convert_opts, out, 'o', "output", "PATH", NULL, "what to write: a file ending in .xc, or a directory"),
    CLI_CHOICE(struct convert_opts, to, 0, "to", to_choices, "auto", "format; auto: xc when PATH ends in .xc, else a safetensors directory"),
    CLI_CHOICE(struct convert_opts, dtype, 0, "dtype", dtype_choices, "f32", "number type of weights in a safetensors directory"),
    CLI_CHOICE(struct convert_opts, store, 0, "store", store_choices, "fast", "for .xc: fast (mapped) or small (entropy-coded)"),
    CLI_QUIET(struct convert_opts, quiet),
    CLI_JSON(struct convert_opts, json),
    CLI_END
};

static enum xc_status write_xc(struct xc_model *m, const struct convert_opts *o, const struct cli_progress *p, uint64_t *bytes, struct xc_err *err)
{
    const struct xc_write_opts write = { .store = o->store ? XC_STORE_SMALL : XC_STORE_FAST, .progress = p->callbacks.update, .progress_arg = p->callbacks.arg,
                                         .cancelled = p->callbacks.cancelled, .cancelled_arg = p->callbacks.arg };

    return xc_container_write(m, o->out, &write, bytes, err);
}

static int convert_run(void *opts, int argc, char **argv)
{
    static const int formats[] = { XC_FMT_F32, XC_FMT_F16, XC_FMT_BF16 };
    const struct convert_opts *const o = opts;
    struct xc_model *model = NULL;
    struct cli_progress progress;
    struct xc_err err = { 0 };
    uint64_t bytes = 0;
    size_t n;
    bool xc;
    int code = CLI_OK;

    (void)argc;
    if (!o->out) return cli_usage(&cli_verb_convert, "give -o PATH");
    n = strlen(o->out);
    xc = o->to == 1 || (o->to == 0 && n > 3 && !strcmp(o->out + n - 3, ".xc"));
    cli_progress_init(&progress, o->quiet);
    if ((xc && xc_atomic_check(o->out, argv[0], &err)) || xc_model_load(&model, argv[0], NULL, &err) ||
        (xc ? write_xc(model, o, &progress, &bytes, &err) : xc_hf_write(model, o->out, formats[o->dtype], &err))) {
        cli_progress_done(&progress);
        code = cli_fail(&err);
    } else {
        cli_progress_done(&progress);
        if (o->json) code = cli_print_json(json_pack("{s:s, s:s, s:I}", "output", o->out, "format", xc ? "xc" : "safetensors", "bytes", (json_int_t)bytes));
        else printf("%s\n", o->out);
    }
    xc_model_free(&model);
    return code;
}

const struct cli_verb cli_verb_convert = {
    .name = "convert", .summary = "write a model in another format", .usage = "MODEL -o OUT.xc\nMODEL -o DIRECTORY [--dtype f32|f16|bf16]",
    .opts = table, .opts_size = sizeof(struct convert_opts), .min_args = 1, .max_args = 1, .run = convert_run,
};
