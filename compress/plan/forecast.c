/* forecast: amounts of work, see forecast.h. */
#include "compress/plan/forecast.h"

#include <math.h>
#include <string.h>

#include "runtime/graph/op.h"

#define BATCH 1024 /* tokens run together in calibration */
#define ROOMS 10e6 /* bytes: what kernels, threads and the allocator keep beside the values of a run; measured on MiniLM */

static bool is_linear(const struct xc_node *node) { return strcmp(node->op->name, "linear") == 0 && node->in[1].kind == XC_REF_TENSOR; }

void xc_forecast_holds(struct xc_forecast *f, double bytes) { f->peak = fmax(f->peak, bytes); }

double xc_forecast_f32_bytes(const struct xc_model *m)
{
    double bytes = 0;

    for (int32_t t = 0; t < m->n_tensors; t++) bytes += 4 * (double)xc_tensor_count(m->tensors[t]);
    return bytes;
}

double xc_forecast_encoded_bytes(const struct xc_model *m, const struct xc_encoding *want)
{
    double bytes = 0;

    for (int32_t t = 0; t < m->n_tensors; t++)
        for (int p = 0; p < XC_PART_COUNT; p++) {
            size_t part;

            if (xc_encoding_part_bytes(&want[t], xc_tensor_rows(m->tensors[t]), xc_tensor_cols(m->tensors[t]), (enum xc_part)p, &part, NULL) == XC_OK) bytes += (double)part;
        }
    return bytes;
}

double xc_forecast_kept_bytes(const struct xc_forecast *f, const struct xc_model *m, const struct xc_encoding *want)
{
    return fmin(xc_forecast_encoded_bytes(m, want), f->max_memory / 4);
}

double xc_forecast_largest(const struct xc_model *m)
{
    double most = 0;

    for (int32_t t = 0; t < m->n_tensors; t++) most = fmax(most, (double)xc_tensor_count(m->tensors[t]));
    return most;
}

static const struct xc_graph *encode_of(const struct xc_model *m) { return xc_model_find_graph(m, "encode"); }

/* Values whose rows are tokens; others are few. */
static bool per_token(const struct xc_graph *g, int32_t v) { return g->spaces[g->values[v].space].map != XC_MAP_SEQUENCE; }

double xc_forecast_values_bytes(const struct xc_model *m, int64_t tokens)
{
    const struct xc_graph *g = encode_of(m);
    double numbers = 0, largest = 0;

    for (int32_t v = 0; g && v < g->n_values; v++)
        if (per_token(g, v)) numbers += (double)xc_min_i64(tokens, BATCH) * g->values[v].cols;
    for (int32_t n = 0; g && n < g->n_nodes; n++)
        if (is_linear(&g->nodes[n])) largest = fmax(largest, (double)xc_tensor_count(m->tensors[g->nodes[n].in[1].id]));
    return 4 * (numbers + largest);
}

/* Is value v read by node n or one behind it? */
static bool read_from(const struct xc_graph *g, int32_t v, int32_t n)
{
    for (; n < g->n_nodes; n++)
        for (int32_t i = 0; i < g->nodes[n].n_in; i++)
            if (g->nodes[n].in[i].kind == XC_REF_VALUE && g->nodes[n].in[i].id == v) return true;
    return false;
}

/* Of the node beside which most stands: what it makes, and what it or those behind it read. */
double xc_forecast_lazy_bytes(const struct xc_model *m, int64_t tokens)
{
    const struct xc_graph *g = encode_of(m);
    double most = 0;

    for (int32_t n = 0; g && n < g->n_nodes; n++) {
        double cols = 0;

        for (int32_t v = 0; v < g->n_values; v++)
            if (per_token(g, v) && g->values[v].node <= n && (g->values[v].node == n || read_from(g, v, n))) cols += g->values[v].cols;
        most = fmax(most, cols);
    }
    return 4 * most * (double)tokens + ROOMS;
}

double xc_forecast_macs(const struct xc_model *m, const struct xc_encoding *want, bool quantized)
{
    const struct xc_graph *g = encode_of(m);
    double macs = 0;

    for (int32_t n = 0; g && n < g->n_nodes; n++) {
        const struct xc_node *node = &g->nodes[n];

        if (!is_linear(node) || !per_token(g, node->out[0])) continue;
        if (want ? xc_format_traits((enum xc_format)want[node->in[1].id].format)->quantized == quantized : !quantized) macs += (double)xc_tensor_count(m->tensors[node->in[1].id]);
    }
    return macs;
}

double xc_forecast_inputs(const struct xc_model *m)
{
    const struct xc_graph *g = encode_of(m);
    double numbers = 0;

    for (int32_t n = 0; g && n < g->n_nodes; n++)
        if (is_linear(&g->nodes[n]) && per_token(g, g->nodes[n].out[0])) numbers += (double)xc_tensor_cols(m->tensors[g->nodes[n].in[1].id]);
    return numbers;
}

double xc_forecast_outputs(const struct xc_model *m)
{
    const struct xc_graph *g = encode_of(m);
    double numbers = 0;

    for (int32_t n = 0; g && n < g->n_nodes; n++)
        if (is_linear(&g->nodes[n]) && per_token(g, g->nodes[n].out[0])) numbers += (double)xc_tensor_rows(m->tensors[g->nodes[n].in[1].id]);
    return numbers;
}

void xc_forecast_walk(struct xc_forecast *f, const struct xc_model *m, const struct xc_encoding *want, int64_t tokens)
{
    const double f32 = xc_forecast_macs(m, want, false), quant = xc_forecast_macs(m, want, true);

    f->toil[XC_TOIL_LAY] += f32 * (double)xc_div_up(tokens, BATCH);
    f->toil[XC_TOIL_F32] += f32 * (double)tokens;
    f->toil[XC_TOIL_QUANT] += quant * (double)tokens;
    f->toil[XC_TOIL_TOUCH] += xc_forecast_values_bytes(m, tokens);
}
