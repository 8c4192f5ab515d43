/* random_matrix: see random_matrix.h. Tay et al. 2020, arXiv:2005.00743. */
#include <string.h>

#include "compress/attention/random_matrix.h"
#include "compress/shrink/surgery.h"
#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/synthesizer.h"

int32_t xc_random_matrix(const struct xc_node *node)
{
    const struct xc_attr_attention *a = node->attr;

    if (strcmp(node->op->name, "attention") || strcmp(xc_attention_kinds[a->kind]->name, "synthesizer")) return -1;
    return node->n_in > XC_SYNTH_R && node->in[XC_SYNTH_R].kind == XC_REF_TENSOR ? node->in[XC_SYNTH_R].id : -1;
}

bool xc_random_is_whole(const struct xc_node *node)
{
    const struct xc_attr_attention *a = node->attr;

    return xc_random_matrix(node) >= 0 && !a->rank && !a->window;
}

const struct xc_node *xc_random_owner(const struct xc_model *m, int32_t t)
{
    for (int32_t g = 0; g < m->n_graphs; g++)
        for (int32_t n = 0; n < m->graphs[g]->n_nodes; n++)
            if (xc_random_matrix(&m->graphs[g]->nodes[n]) == t) return &m->graphs[g]->nodes[n];
    return NULL;
}

enum xc_status xc_random_centre(struct xc_model *m, int32_t t, struct xc_err *err)
{
    const struct xc_attr_attention *a = xc_random_owner(m, t)->attr;
    struct xc_tensor *tensor = m->tensors[t];
    const int64_t rows = xc_tensor_rows(tensor), cols = xc_tensor_cols(tensor), L = a->positions;
    float *x;
    enum xc_status status;

    if (a->rank) return XC_OK;
    XC_TRY(xc_surgery_numbers(&x, tensor, err));
    for (int64_t r = 0; r < rows; r++) {
        /* of a band, keys 0 to L - 1 */
        const int64_t from = a->window ? xc_max_i64(0, a->window - r % L) : 0, to = a->window ? xc_min_i64(cols, L - r % L + a->window) : cols;
        double sum = 0;

        for (int64_t c = from; c < to; c++) sum += (double)x[r * cols + c];
        for (int64_t c = from; c < to; c++) x[r * cols + c] -= (float)(sum / (double)(to - from));
    }
    status = xc_tensor_set_f32(tensor, x, err);
    xc_free(x);
    return status;
}
