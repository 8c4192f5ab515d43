/* report: see report.h. */
#include "compress/report.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/safetensors.h"
#include "runtime/container/container.h"
#include "runtime/session/golden.h"

void xc_report_release_layers(struct xc_compress_result *r)
{
    for (int64_t i = 0; i < r->n_layers; i++) {
        xc_free(r->layers[i].name);
        xc_free(r->layers[i].node);
    }
    xc_free(r->layers);
    r->layers = NULL;
    r->n_layers = 0;
}

void xc_compress_result_release(struct xc_compress_result *r)
{
    xc_report_release_layers(r);
    for (int64_t i = 0; i < r->n_sensitivity; i++) {
        xc_free(r->sensitivity[i].name);
        xc_free(r->sensitivity[i].choices);
    }
    xc_free(r->sensitivity);
    for (int64_t i = 0; i < r->n_swaps; i++) xc_free(r->swaps[i].node);
    xc_free(r->swaps);
    *r = (struct xc_compress_result){ 0 };
}

int64_t xc_report_find(const struct xc_compress_result *r, const char *name, int64_t hint)
{
    if (hint < r->n_layers && !strcmp(r->layers[hint].name, name)) return hint;
    for (int64_t i = 0; i < r->n_layers; i++)
        if (!strcmp(r->layers[i].name, name)) return i;
    return -1;
}

void xc_report_carry(struct xc_layer_report *to, const struct xc_layer_report *from)
{
    if (to->count == from->count) memcpy(to->why, from->why, sizeof to->why);
    to->error = from->error;
    to->output_error = from->output_error;
    to->sparsity = from->sparsity;
    to->clamped = from->clamped;
}

static uint64_t stored_bytes(const struct xc_tensor *t)
{
    const struct xc_format_traits *f = xc_format_traits((enum xc_format)t->source_format);

    if (t->part[XC_PART_DATA] || !t->source || !f) return xc_tensor_bytes(t);
    return (uint64_t)xc_tensor_count(t) * (uint64_t)f->bits / 8;
}

static enum xc_status describe(struct xc_layer_report *l, const char *name, const char *node, const char *op, struct xc_err *err)
{
    l->output_error = l->sparsity = -1;
    l->name = xc_strdup(name);
    l->node = xc_strdup(node);
    snprintf(l->op, sizeof l->op, "%s", op);
    return l->name && l->node ? XC_OK : xc_fail_nomem(err, strlen(name) + strlen(node));
}

/* What changes of the graph made of a tensor, before any pass treats it. */
static void fate_of_shape(struct xc_layer_report *l, const struct xc_tensor *now, const struct xc_tensor *was)
{
    if (!was) snprintf(l->why, sizeof l->why, "new");
    else if (xc_tensor_count(was) == xc_tensor_count(now)) snprintf(l->why, sizeof l->why, "kept: no pass treats it");
    else if (now->rank < 2) snprintf(l->why, sizeof l->why, "cut to %lld of %lld", (long long)xc_tensor_cols(now), (long long)xc_tensor_cols(was));
    else snprintf(l->why, sizeof l->why, "cut to %lld x %lld of %lld x %lld", (long long)xc_tensor_rows(now), (long long)xc_tensor_cols(now), (long long)xc_tensor_rows(was), (long long)xc_tensor_cols(was));
}

enum xc_status xc_report_init(struct xc_compress_result *r, const struct xc_model *m, const struct xc_model *source, struct xc_err *err)
{
    struct xc_uses uses;
    enum xc_status status = XC_OK;

    r->layers = xc_calloc((size_t)m->n_tensors + 1, sizeof *r->layers);
    if (!r->layers) return xc_fail_nomem(err, (size_t)m->n_tensors * sizeof *r->layers);
    XC_TRY(xc_uses_make(&uses, m, err));
    for (int32_t t = 0; t < m->n_tensors && status == XC_OK; t++) {
        const struct xc_tensor *tensor = m->tensors[t];
        const struct xc_use *use = &uses.use[uses.first[t]];
        const struct xc_node *node = uses.first[t] < uses.first[t + 1] ? &m->graphs[use->graph]->nodes[use->node] : NULL;
        const int32_t was = xc_model_find_tensor(source, tensor->name);
        struct xc_layer_report *l = &r->layers[r->n_layers++];

        status = describe(l, tensor->name, node ? node->name : "", node ? node->op->name : "", err);
        l->count = (uint64_t)xc_tensor_count(tensor);
        l->source_bytes = was >= 0 ? stored_bytes(source->tensors[was]) : 0;
        fate_of_shape(l, tensor, was >= 0 ? source->tensors[was] : NULL);
    }
    xc_uses_release(&uses);
    return status;
}

static enum xc_status add_dropped(struct xc_compress_result *r, const char *name, uint64_t count, uint64_t bytes, struct xc_err *err)
{
    const size_t size = ((size_t)r->n_layers + 1) * sizeof *r->layers;
    struct xc_layer_report *grown = xc_realloc(r->layers, size), *l;

    if (!grown) return xc_fail_nomem(err, size);
    r->layers = grown;
    l = &grown[r->n_layers++];
    *l = (struct xc_layer_report){ .count = count, .source_bytes = bytes };
    snprintf(l->encoding, sizeof l->encoding, "dropped");
    snprintf(l->why, sizeof l->why, "dropped: no graph of the model uses it");
    return describe(l, name, "", "", err);
}

static enum xc_status checkpoint_rest(struct xc_compress_result *r, const struct xc_model *all, const char *from, struct xc_err *err)
{
    struct xc_checkpoint *cp = NULL;
    enum xc_status status = XC_OK;

    XC_TRY(xc_checkpoint_open(&cp, from, err));
    for (size_t i = 0; i < cp->n_tensors && status == XC_OK; i++) {
        const struct xc_st_tensor *t = &cp->tensors[i];
        uint64_t count = 1;

        if (xc_model_find_tensor(all, t->name) >= 0) continue;
        for (int32_t d = 0; d < t->rank; d++) count *= (uint64_t)t->dim[d];
        status = add_dropped(r, t->name, count, t->bytes, err);
    }
    xc_checkpoint_unref(&cp);
    return status;
}

enum xc_status xc_report_dropped(struct xc_compress_result *r, const struct xc_model *kept, const struct xc_model *all, const char *from, struct xc_err *err)
{
    struct stat st;

    for (int32_t t = 0; t < all->n_tensors; t++)
        if (kept->n_tensors < all->n_tensors && xc_model_find_tensor(kept, all->tensors[t]->name) < 0)
            XC_TRY(add_dropped(r, all->tensors[t]->name, (uint64_t)xc_tensor_count(all->tensors[t]), stored_bytes(all->tensors[t]), err));
    if (from && !stat(from, &st) && S_ISDIR(st.st_mode)) XC_TRY(checkpoint_rest(r, all, from, err));
    return XC_OK;
}

static uint64_t encoded_bytes(const struct xc_tensor *t, const struct xc_encoding *enc)
{
    uint64_t total = 0;
    size_t bytes;

    for (int p = 0; p < XC_PART_COUNT; p++)
        if (xc_encoding_part_bytes(enc, xc_tensor_rows(t), xc_tensor_cols(t), (enum xc_part)p, &bytes, NULL) == XC_OK) total += bytes;
    return total;
}

void xc_report_finish(struct xc_compress_result *r, const struct xc_model *m, const struct xc_encoding *want)
{
    uint64_t bytes = 0;

    r->parameters = 0;
    for (int32_t t = 0; t < m->n_tensors; t++) {
        r->layers[t].bytes = encoded_bytes(m->tensors[t], &want[t]);
        xc_encoding_text(&want[t], r->layers[t].encoding, sizeof r->layers[t].encoding);
        bytes += r->layers[t].bytes;
        r->parameters += r->layers[t].count;
    }
    r->bits_per_weight = r->parameters ? 8.0 * (double)bytes / (double)r->parameters : 0;
}

/* A copy of the model whose tensors have sizes and no bytes: the writer reads none to compute a size. */
static enum xc_status make_hollow(struct xc_model **hollow, const struct xc_model *m, const struct xc_encoding *want, struct xc_err *err)
{
    enum xc_status status;

    XC_TRY(xc_model_clone(hollow, m, err));
    status = XC_OK;
    for (int32_t t = 0; t < (*hollow)->n_tensors && status == XC_OK; t++) {
        struct xc_tensor *tensor = (*hollow)->tensors[t];

        tensor->enc = want[t];
        for (int p = 0; p < XC_PART_COUNT && status == XC_OK; p++) {
            size_t size = 0;

            xc_buf_unref(&tensor->part[p]);
            status = xc_encoding_part_bytes(&want[t], xc_tensor_rows(tensor), xc_tensor_cols(tensor), (enum xc_part)p, &size, err);
            if (status != XC_OK || !size) continue;
            status = xc_buf_new(&tensor->part[p], 0, err);
            if (status == XC_OK) tensor->part[p]->size = size;
        }
    }
    if (status != XC_OK) xc_model_free(hollow);
    return status;
}

enum xc_status xc_report_file_size(uint64_t *bytes, const struct xc_model *m, const struct xc_encoding *want, struct xc_err *err)
{
    struct xc_model *hollow;
    enum xc_status status;

    *bytes = 0;
    XC_TRY(make_hollow(&hollow, m, want, err));
    status = xc_container_size(hollow, bytes, err);
    xc_model_free(&hollow);
    return status;
}

enum xc_status xc_report_layout(uint64_t (*at)[XC_PART_COUNT], uint64_t *end, const struct xc_model *m, const struct xc_encoding *want, bool golden, struct xc_err *err)
{
    struct xc_model *hollow;
    uint64_t bytes;
    size_t samples = 0;
    enum xc_status status;

    XC_TRY(make_hollow(&hollow, m, want, err));
    status = golden ? xc_golden_size(&samples, hollow, err) : XC_OK;
    /* what comes behind the tensors matters by being there: it has a line in the table */
    if (status == XC_OK && samples) status = xc_buf_new(&hollow->golden, samples, err);
    if (status == XC_OK) status = xc_buf_new(&hollow->manifest, 1, err);
    if (status == XC_OK) status = xc_container_layout(hollow, at, end, &bytes, err);
    xc_model_free(&hollow);
    return status;
}
