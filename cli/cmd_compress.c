/* compress: a checkpoint to one .xc file. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "cli/together.h"
#include "compress/manifest.h"
#include "formats/json.h"
#include "runtime/base/pool.h"
#include "xcompress/compress.h"

struct compress_opts {
    const char *out, *recipe, *calibrate, *head, *attention;
    struct cli_list prune, targets, ignore, set;
    int quantize, store;
    int64_t threads, seed, rows, max_tokens;
    uint64_t max_memory, target_bytes;
    double target_bits, target_drop;
    bool no_resume, static_ranges, plan, no_golden, json, quiet;
};

static const char *const quantize_choices[] = { "none", "int8", "int8-groups", "int7", "int6", "int5", "int4", "int3", "int2", "mixed", NULL };
static const char *const store_choices[] = { "fast", "small", NULL };

static const struct cli_opt table[] = {
    CLI_STRING(struct compress_opts, out, 'o', "output", "FILE", NULL, "the .xc file to write"),
    CLI_BOOL(struct compress_opts, plan, 'n', "plan", "print what would become of every tensor, and the size of the file; write nothing"),
    CLI_GROUP("What to do"),
    CLI_STRING(struct compress_opts, recipe, 'r', "recipe", "FILE", NULL, "a recipe: passes with their options, targets and exceptions, as YAML (docs/recipes.md); instead of the options below"),
    CLI_CHOICE(struct compress_opts, quantize, 0, "quantize", quantize_choices, "none", "int8, or int8-groups and int7 to int2 in groups: weights of linears and embeddings; their activations and attention are int8. mixed: each weight "
               "its own format, by one of the targets below"),
    CLI_SIZE(struct compress_opts, target_bytes, 0, "target-bytes", "0", "mixed: the file takes at most SIZE, such as 11.5MB, and the answers change as little as that allows"),
    CLI_FLOAT(struct compress_opts, target_bits, 0, "target-bits", "N", 0, 32, "0", "mixed: at most N bits a weight, of all weights"),
    CLI_FLOAT(struct compress_opts, target_drop, 0, "target-drop", "X", 0, 1, "0", "mixed: the fewest bytes whose answers, on the calibration texts or some of our own, move by at most X: half the squared "
              "relative distance, for embeddings 1 - cosine"),
    CLI_LIST(struct compress_opts, prune, 0, "prune", "KIND=AMOUNT", "before that, cut: magnitude, wanda or obs = a share of the weights (0.5), N:M kept (2:4), or a share of blocks (0.75@16x4); speedup = times fewer multiply-adds by heads and "
             "neurons; layers = how many to keep; vocabulary = least count of a token; may be repeated"),
    CLI_STRING(struct compress_opts, attention, 0, "attention", "KIND", NULL, "after that and before --quantize, another attention, its options behind a colon: adaptive:eps=1e-3 leaves out blocks of keys that have at most that "
               "share of a query's attention together, multipole:eps=0.02 takes like keys together; longformer, linformer, reformer or synthesizer, such as longformer:window=128, is pass swap_attention"),
    CLI_BOOL(struct compress_opts, static_ranges, 0, "static", "activations by one calibrated scale a layer instead of one a row; needs --calibrate"),
    CLI_LIST(struct compress_opts, targets, 0, "target", "WORD", "treat only this: an op (linear), a node, a tensor, or re:PATTERN; may be repeated"),
    CLI_LIST(struct compress_opts, ignore, 0, "ignore", "WORD", "leave this as it is; may be repeated"),
    CLI_LIST(struct compress_opts, set, 0, "set", "OPTION=VALUE", "an option of the pass, such as attention=f32; may be repeated"),
    CLI_GROUP("Evidence"),
    CLI_STRING(struct compress_opts, calibrate, 'c', "calibrate", "FILE", NULL, "texts (one a line, or a .tsv; plain or .zst) that measure the error of each layer's output"),
    CLI_INT(struct compress_opts, rows, 0, "calibrate-rows", "N", 1, 1000000, "512", "use at most N texts, spread evenly over the file"),
    CLI_BOOL(struct compress_opts, no_golden, 0, "no-golden", "store no golden samples (selftest will have nothing to check)"),
    CLI_GROUP("Input and output"),
    CLI_CHOICE(struct compress_opts, store, 0, "store", store_choices, "fast", "fast: mapped, starts at once; small: entropy-coded"),
    CLI_STRING(struct compress_opts, head, 0, "head", "HEAD", NULL, "embed, classify, regress, tag, mlm or encode, where the checkpoint leaves a choice"),
    CLI_INT(struct compress_opts, max_tokens, 0, "max-tokens", "N", 0, 1000000, "0", "texts are cut to N tokens; 0 for what the checkpoint says"),
    CLI_BOOL(struct compress_opts, no_resume, 0, "no-resume", "forget what an interrupted run of the same work left in OUT.xc.resume; begin anew"),
    CLI_SIZE(struct compress_opts, max_memory, 0, "max-memory", "0", "memory to work in, such as 512MB: finished layers go to OUT.xc.resume before that; 0 for a quarter of the machine. The largest tensor comes on top"),
    CLI_THREADS(struct compress_opts, threads),
    CLI_SEED(struct compress_opts, seed),
    CLI_QUIET(struct compress_opts, quiet),
    CLI_JSON(struct compress_opts, json),
    CLI_END
};

/* ---- output ---- */
static json_t *layer_json(const struct xc_layer_report *l)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s}", "name", l->name, "node", l->node, "op", l->op, "encoding", l->encoding, "parameters", (json_int_t)l->count, "bytes",
                          (json_int_t)l->bytes, "source_bytes", (json_int_t)l->source_bytes, "fate", l->why);
    bool bad = !o;

    bad |= json_object_set_new(o, "error", xc_json_new_number(l->error)) != 0;
    bad |= json_object_set_new(o, "sparsity", l->sparsity < 0 ? json_null() : xc_json_new_number(l->sparsity)) != 0;
    bad |= json_object_set_new(o, "output_error", l->output_error < 0 ? json_null() : xc_json_new_number(l->output_error)) != 0;
    bad |= json_object_set_new(o, "clamped", json_integer(l->clamped)) != 0;
    if (!bad) return o;
    json_decref(o);
    return NULL;
}

static json_t *swaps_json(const struct xc_compress_result *r, bool plan)
{
    json_t *layers = json_array(), *o;
    bool bad = !layers;

    for (int64_t i = 0; i < r->n_swaps; i++)
        bad |= json_array_append_new(layers, json_pack("{s:s, s:s, s:o, s:b}", "node", r->swaps[i].node, "to", r->swaps[i].to, "cost",
                                                       r->swaps[i].cost < 0 ? json_null() : xc_json_new_number(r->swaps[i].cost), "swapped", r->swaps[i].swapped)) != 0;
    o = json_pack("{s:o}", "layers", layers);
    if (!plan)
        bad |= json_object_set_new(o, "drop", json_pack("{s:o, s:o, s:o, s:o}", "swapped", xc_json_new_number(r->swap_drop), "local", xc_json_new_number(r->swap_local), "global",
                                                        xc_json_new_number(r->swap_global), "none", xc_json_new_number(r->swap_none))) != 0;
    if (!bad) return o;
    json_decref(o);
    return NULL;
}

static int print_json(const struct xc_compress_result *r, const struct compress_opts *o)
{
    json_t *layers = json_array(), *doc;
    struct rusage usage;
    bool bad = !layers;

    getrusage(RUSAGE_SELF, &usage);
    for (int64_t i = 0; i < r->n_layers; i++) bad |= json_array_append_new(layers, layer_json(&r->layers[i])) != 0;
    doc = json_pack("{s:b, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "plan", o->plan, "input_bytes", (json_int_t)r->input_bytes, "output_bytes", (json_int_t)r->output_bytes, "parameters",
                    (json_int_t)r->parameters, "bits_per_weight", xc_json_new_number(r->bits_per_weight), "seconds", xc_json_new_number(r->seconds), "peak_rss_mb",
                    xc_json_new_number((double)usage.ru_maxrss * 1024 / 1e6), "layers", layers);
    if (!bad && o->out && !o->plan) bad |= json_object_set_new(doc, "output", xc_json_new_text(o->out, strlen(o->out))) != 0;
    if (!bad) bad |= json_object_set_new(doc, "resumed", json_integer((json_int_t)r->resumed)) != 0;
    if (!bad && r->small_bytes) bad |= json_object_set_new(doc, "small_bytes", json_integer((json_int_t)r->small_bytes)) != 0;
    if (!bad && o->calibrate)
        bad |= json_object_set_new(doc, "calibration", json_pack("{s:I, s:I}", "texts", (json_int_t)r->calibration_texts, "tokens", (json_int_t)r->calibration_tokens)) != 0;
    if (!bad && o->plan)
        bad |= json_object_set_new(doc, "predicted", json_pack("{s:o, s:o}", "seconds", xc_json_new_number(r->predicted_seconds), "peak_rss_mb", xc_json_new_number((double)r->predicted_peak / 1e6))) != 0;
    if (!bad && o->plan && r->estimated) bad |= json_object_set_new(doc, "estimated", json_true()) != 0;
    if (!bad && r->n_sensitivity) bad |= json_object_set_new(doc, "sensitivity", xc_sensitivity_json(r, xc_json_new_number)) != 0;
    if (!bad && r->n_sensitivity)
        bad |= json_object_set_new(doc, "drop", json_pack("{s:o, s:o, s:o}", "attention", xc_json_new_number(r->attention_drop), "predicted", xc_json_new_number(r->predicted_drop), "measured",
                                                          r->measured_drop < 0 ? json_null() : xc_json_new_number(r->measured_drop))) != 0;
    if (!bad && r->n_swaps) bad |= json_object_set_new(doc, "swaps", swaps_json(r, o->plan)) != 0;
    if (!bad && r->token_layers)
        bad |= json_object_set_new(doc, "tokens", json_pack("{s:i, s:o, s:o, s:o}", "layers", r->token_layers, "threshold", xc_json_new_number(r->token_threshold), "kept",
                                                            r->tokens_kept < 0 ? json_null() : xc_json_new_number(r->tokens_kept), "drop", r->token_drop < 0 ? json_null() : xc_json_new_number(r->token_drop))) != 0;
    if (bad) {
        json_decref(doc);
        doc = NULL;
    }
    return cli_print_json(doc);
}

static void print_layers(const struct xc_compress_result *r, bool plan, bool measured)
{
    int width = 6;

    for (int64_t i = 0; i < r->n_layers; i++)
        if ((int)strlen(r->layers[i].name) > width) width = (int)strlen(r->layers[i].name);
    printf("%-*s %-10s %11s %11s", width, "tensor", "encoding", "from bytes", "to bytes");
    if (!plan) printf(" %9s%s", "error", measured ? "    output" : "");
    printf("  fate\n");
    for (int64_t i = 0; i < r->n_layers; i++) {
        const struct xc_layer_report *l = &r->layers[i];

        printf("%-*s %-10s %11llu %11llu", width, l->name, l->encoding, (unsigned long long)l->source_bytes, (unsigned long long)l->bytes);
        if (!plan) {
            if (l->error > 0) printf(" %8.3f%%", 100 * l->error);
            else printf(" %9s", "");
            if (measured && l->output_error >= 0) printf(" %8.3f%%", 100 * l->output_error);
            else if (measured) printf(" %9s", "");
        }
        printf("  %s", l->why);
        if (l->clamped) printf("; %lld groups clamped", (long long)l->clamped);
        printf("\n");
    }
}

/* A column for each encoding that is a choice somewhere; what was chosen is marked. */
static void print_sensitivity(const struct xc_compress_result *r)
{
    const char *column[32];
    int n = 0, width = 6;

    for (int64_t i = 0; i < r->n_sensitivity; i++) {
        const struct xc_sensitivity *s = &r->sensitivity[i];

        if ((int)strlen(s->name) > width) width = (int)strlen(s->name);
        for (int32_t k = 0; k < s->n_choices; k++) {
            int c = 0;

            while (c < n && strcmp(column[c], s->choices[k].encoding)) c++;
            if (c == n && n < 32) column[n++] = s->choices[k].encoding;
        }
    }
    printf("%-*s", width, "drop by");
    for (int c = 0; c < n; c++) printf(" %11s ", column[c]);
    printf("\n");
    for (int64_t i = 0; i < r->n_sensitivity; i++) {
        const struct xc_sensitivity *s = &r->sensitivity[i];

        printf("%-*s", width, s->name);
        for (int c = 0; c < n; c++) {
            int32_t k = 0;

            while (k < s->n_choices && strcmp(column[c], s->choices[k].encoding)) k++;
            if (k == s->n_choices) printf(" %11s ", "");
            else printf(" %11.3g%c", s->choices[k].cost, k == s->chosen ? '*' : ' ');
        }
        printf("\n");
    }
    if (r->attention_drop > 0) printf("attention in int8: %.3g\n", r->attention_drop);
    printf("* chosen; drop in all: %.3g predicted", r->predicted_drop);
    if (r->measured_drop >= 0) printf(", %.3g measured", r->measured_drop);
    printf("\n");
}

static void print_swaps(const struct xc_compress_result *r, bool plan)
{
    int width = 9, to = 2;

    for (int64_t i = 0; i < r->n_swaps; i++) {
        if ((int)strlen(r->swaps[i].node) > width) width = (int)strlen(r->swaps[i].node);
        if ((int)strlen(r->swaps[i].to) > to) to = (int)strlen(r->swaps[i].to);
    }
    printf("%-*s  %-*s %11s\n", width, "attention", to, "to", "drop alone");
    for (int64_t i = 0; i < r->n_swaps; i++) {
        printf("%-*s  %-*s ", width, r->swaps[i].node, to, r->swaps[i].to);
        if (r->swaps[i].cost < 0) printf("%11s", "");
        else printf("%11.3g", r->swaps[i].cost);
        printf("%s\n", r->swaps[i].swapped ? "" : "  left dense");
    }
    if (plan) return;
    printf("drop in all: %.3g; controls, the same layers: a window alone %.3g, the global part alone %.3g, no attention %.3g\n", r->swap_drop, r->swap_local, r->swap_global, r->swap_none);
}

static void print_tokens(const struct xc_compress_result *r)
{
    printf("tokens leave behind %d attentions", r->token_layers);
    if (r->token_threshold > 0) printf(", thresholds up to %.3g of the mean", r->token_threshold);
    if (r->tokens_kept >= 0) printf("; of the calibration texts %.1f %% stay in the mean, drop %.3g", 100 * r->tokens_kept, r->token_drop);
    printf("\n");
}

static void print_result(const struct xc_compress_result *r, const struct compress_opts *o)
{
    double worst = 0, worst_output = 0;
    int64_t clamped = 0;

    if (o->plan || o->calibrate) print_layers(r, o->plan, o->calibrate != NULL);
    if (r->n_sensitivity) print_sensitivity(r);
    if (r->n_swaps) print_swaps(r, o->plan);
    if (r->token_layers) print_tokens(r);
    if (o->plan) {
        if (r->estimated) printf("an estimate: the recipe chooses by what it will measure on the way\n");
        printf("the file: %s%llu bytes with --store fast, from %llu; %.2f bits a weight\n", r->estimated ? "about " : "", (unsigned long long)r->output_bytes, (unsigned long long)r->input_bytes, r->bits_per_weight);
        printf("it would take about %.2g s on this machine and %.0f MB of memory at most\n", r->predicted_seconds, (double)r->predicted_peak / 1e6);
        if (r->small_bytes) printf("with --store small about %llu bytes\n", (unsigned long long)r->small_bytes);
        return;
    }
    for (int64_t i = 0; i < r->n_layers; i++) {
        if (r->layers[i].error > worst) worst = r->layers[i].error;
        if (r->layers[i].output_error > worst_output) worst_output = r->layers[i].output_error;
        clamped += r->layers[i].clamped;
    }
    printf("%s: %.2f MB from %.2f MB (%.2fx smaller), %.2f bits a weight, %.2f s\n", o->out, (double)r->output_bytes / 1e6, (double)r->input_bytes / 1e6,
           (double)r->input_bytes / (double)r->output_bytes, r->bits_per_weight, r->seconds);
    if (r->resumed) printf("went on where an interrupted run had stopped: %lld tensors were finished\n", (long long)r->resumed);
    if (worst > 0) printf("weights: largest relative error %.2f%%, %lld groups clamped\n", 100 * worst, (long long)clamped);
    if (worst_output > 0) printf("outputs of layers: largest relative error %.2f%% on %lld texts\n", 100 * worst_output, (long long)r->calibration_texts);
}

/* ---- the recipe ---- */
static enum xc_status add_setting(struct xc_recipe *r, const char *text, struct xc_err *err)
{
    const char *equals = strchr(text, '=');
    char option[64];

    if (!equals || (size_t)(equals - text) >= sizeof option) return xc_fail(err, XC_E_ARG, "'%s' is not OPTION=VALUE", text);
    memcpy(option, text, (size_t)(equals - text));
    option[equals - text] = 0;
    return xc_recipe_set(r, option, equals + 1, err);
}

/* How much pass 'prune' takes away: a share (0.5), n of m kept (2:4), or a share of blocks (0.75@16x4). */
static enum xc_status add_amount(struct xc_recipe *r, const char *amount, struct xc_err *err)
{
    const char *colon = strchr(amount, ':'), *at = strchr(amount, '@'), *by = at ? strchr(at, 'x') : NULL;
    char first[16], rows[16];

    snprintf(first, sizeof first, "%.*s", (int)strcspn(amount, ":@"), amount);
    if (colon) {
        XC_TRY(xc_recipe_set(r, "pattern", "nm", err));
        XC_TRY(xc_recipe_set(r, "n", first, err));
        return xc_recipe_set(r, "m", colon + 1, err);
    }
    if (!at) return xc_recipe_set(r, "sparsity", amount, err);
    if (!by) return xc_fail(err, XC_E_ARG, "blocks '%s' are not ROWSxCOLS: a share of blocks is 0.75@16x4", at + 1);
    snprintf(rows, sizeof rows, "%.*s", (int)(by - at - 1), at + 1);
    XC_TRY(xc_recipe_set(r, "pattern", "block", err));
    XC_TRY(xc_recipe_set(r, "sparsity", first, err));
    XC_TRY(xc_recipe_set(r, "block_rows", rows, err));
    return xc_recipe_set(r, "block_cols", by + 1, err);
}

/* --prune KIND=AMOUNT as a pass. */
static enum xc_status add_prune(struct xc_recipe *r, const char *text, struct xc_err *err)
{
    static const struct {
        const char *kind, *pass, *option; /* option: takes the amount; NULL = saliency is the kind, and the amount a share or N:M */
    } kinds[] = {
        { "magnitude", "prune", NULL }, { "wanda", "prune", NULL }, { "obs", "prune", NULL }, { "speedup", "shrink", "speedup" },
        { "layers", "drop_layers", "keep" }, { "vocabulary", "prune_vocabulary", "min_count" },
    };
    const char *amount = strchr(text, '=');
    size_t k = 0;

    while (amount && k < XC_ARRAY_LEN(kinds) && (strlen(kinds[k].kind) != (size_t)(amount - text) || strncmp(kinds[k].kind, text, (size_t)(amount - text)) != 0)) k++;
    if (!amount || k == XC_ARRAY_LEN(kinds))
        return xc_fail(err, XC_E_ARG, "--prune '%s' is not KIND=AMOUNT with KIND one of magnitude, wanda, obs, speedup, layers, vocabulary", text);
    amount++;
    XC_TRY(xc_recipe_add(r, kinds[k].pass, err));
    if (kinds[k].option) return xc_recipe_set(r, kinds[k].option, amount, err);
    XC_TRY(xc_recipe_set(r, "saliency", kinds[k].kind, err));
    return add_amount(r, amount, err);
}

static bool has_target(const struct compress_opts *o) { return o->target_bytes || o->target_bits > 0 || o->target_drop > 0; }
static bool quantizes(const struct compress_opts *o) { return o->quantize || has_target(o); }

static enum xc_status set_number(struct xc_recipe *r, const char *option, double x, struct xc_err *err)
{
    char text[32];

    snprintf(text, sizeof text, "%.15g", x);
    return xc_recipe_set(r, option, text, err);
}

/* --attention KIND[:OPTION=VALUE,...]: pass adaptive for its two kinds, or swap_attention to that kind. */
static enum xc_status add_attention(struct xc_recipe *r, const char *text, struct xc_err *err)
{
    static const char *const kinds[] = { "adaptive", "multipole", "longformer", "linformer", "reformer", "synthesizer" };
    const size_t kind = strcspn(text, ":");
    size_t k = 0;

    while (k < XC_ARRAY_LEN(kinds) && (strlen(kinds[k]) != kind || strncmp(kinds[k], text, kind) != 0)) k++;
    if (k == XC_ARRAY_LEN(kinds)) return xc_fail(err, XC_E_ARG, "--attention '%s' is not KIND or KIND:OPTION=VALUE,... with KIND one of adaptive, multipole, longformer, linformer, reformer, synthesizer", text);
    XC_TRY(xc_recipe_add(r, k > 1 ? "swap_attention" : "adaptive", err));
    if (k) XC_TRY(xc_recipe_set(r, "kind", kinds[k], err));
    for (const char *at = text + kind; *at;) {
        const size_t n = strcspn(at + 1, ",");
        char setting[128];

        if (n >= sizeof setting) return xc_fail(err, XC_E_ARG, "--attention: the setting '%.40s...' is too long", at + 1);
        memcpy(setting, at + 1, n);
        setting[n] = 0;
        XC_TRY(add_setting(r, setting, err));
        at += 1 + n;
    }
    return XC_OK;
}

static enum xc_status make_recipe(struct xc_recipe *r, const struct compress_opts *o, struct xc_err *err)
{
    for (size_t i = 0; i < o->prune.n; i++) XC_TRY(add_prune(r, o->prune.items[i], err));
    if (o->attention) XC_TRY(add_attention(r, o->attention, err));
    if (!quantizes(o)) return XC_OK;
    XC_TRY(xc_recipe_add(r, "quantize", err));
    XC_TRY(xc_recipe_set(r, "format", has_target(o) ? "mixed" : quantize_choices[o->quantize], err));
    if (o->target_bytes) XC_TRY(set_number(r, "target_bytes", (double)o->target_bytes, err));
    if (o->target_bits > 0) XC_TRY(set_number(r, "target_bits", o->target_bits, err));
    if (o->target_drop > 0) XC_TRY(set_number(r, "target_drop", o->target_drop, err));
    if (o->static_ranges) XC_TRY(xc_recipe_set(r, "activations", "static", err));
    for (size_t i = 0; i < o->set.n; i++) XC_TRY(add_setting(r, o->set.items[i], err));
    for (size_t i = 0; i < o->targets.n; i++) XC_TRY(xc_recipe_target(r, o->targets.items[i], err));
    for (size_t i = 0; i < o->ignore.n; i++) XC_TRY(xc_recipe_ignore(r, o->ignore.items[i], err));
    return XC_OK;
}

static int compress_run(void *opts, int argc, char **argv)
{
    const struct compress_opts *const o = opts;
    struct xc_compress_opts c = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result = { 0 };
    struct xc_recipe *recipe = NULL;
    struct cli_together together;
    struct xc_err err = { 0 };
    enum xc_status status;
    int code;

    (void)argc;
    if (o->recipe && (quantizes(o) || o->prune.n || o->attention || o->targets.n || o->ignore.n || o->set.n || o->static_ranges))
        return cli_usage(&cli_verb_compress, "--recipe says it all: without --quantize, --target-bytes, --target-bits, --target-drop, --prune, --attention, --static, --target, --ignore and --set");
    if (!o->out && !o->plan) return cli_usage(&cli_verb_compress, "give -o OUT.xc, or --plan");
    if (!quantizes(o) && !o->recipe && (o->targets.n || o->ignore.n || o->set.n || o->static_ranges)) return cli_usage(&cli_verb_compress, "--target, --ignore, --set and --static need --quantize");
    if (has_target(o) && o->quantize && strcmp(quantize_choices[o->quantize], "mixed")) return cli_usage(&cli_verb_compress, "--target-bytes, --target-bits and --target-drop are for --quantize mixed");
    if (o->static_ranges && !o->calibrate) return cli_usage(&cli_verb_compress, "--static needs --calibrate FILE");
    status = cli_together_open(&together, o->threads, o->quiet, &err);
    if (status == XC_OK) status = o->recipe ? xc_recipe_read(&recipe, o->recipe, &err) : xc_recipe_new(&recipe, &err);
    if (status == XC_OK && !o->recipe) status = make_recipe(recipe, o, &err);
    c.recipe = recipe;
    c.calibrate = o->calibrate;
    c.calibrate_rows = (int32_t)o->rows;
    c.max_memory = o->max_memory;
    c.no_resume = o->no_resume;
    c.small = o->store == 1;
    c.no_golden = o->no_golden;
    c.seed = (uint64_t)o->seed;
    c.head = o->head;
    c.max_tokens = (int32_t)o->max_tokens;
    c.ranks = together.ranks;
    c.pool = together.pool;
    c.progress = &together.progress.callbacks;
    if (status == XC_OK) status = xc_compress_file(argv[0], o->plan ? NULL : o->out, &c, &result, &err);
    if (cli_together_done(&together, status, &code, &err)) {
        if (o->json) code = print_json(&result, o);
        else print_result(&result, o);
    }
    xc_compress_result_release(&result);
    xc_recipe_free(&recipe);
    cli_together_close(&together);
    return code;
}

const struct cli_verb cli_verb_compress = {
    .name = "compress", .summary = "compress a checkpoint into one .xc file", .usage = "MODEL -o OUT.xc [--quantize int8] [--prune KIND=AMOUNT] [options]\nMODEL -o OUT.xc --recipe FILE [options]\nMODEL --plan [--quantize int8 | --recipe FILE] [options]",
    .details = "Without --quantize the weights stay as they are. --quantize int8 treats linears, embeddings and attention; biases and norms stay f32, and tensors that no graph "
               "uses are dropped. --plan says so tensor by tensor, with the reason.\n\n"
               "The file carries golden samples (see selftest) and a manifest (see reproduce, and inspect --manifest). The same input, options and seed give the same bytes, for any number of threads.",
    .opts = table, .opts_size = sizeof(struct compress_opts), .min_args = 1, .max_args = 1, .run = compress_run,
};
