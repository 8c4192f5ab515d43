/* print: the stable text dump of a model. The same model gives the same bytes everywhere. */
#include <string.h>

#include "runtime/graph/op.h"

static void print_space(FILE *out, const struct xc_graph *g, const struct xc_space *s)
{
    fprintf(out, "  space %s", s->name);
    if (s->map == XC_MAP_INPUT) fprintf(out, " input");
    else if (s->map == XC_MAP_SEQUENCE) fprintf(out, " per-sequence");
    else if (s->map == XC_MAP_FIXED) fprintf(out, " fixed %d", s->k);
    else if (s->map == XC_MAP_SUBSET) fprintf(out, " subset of %s", g->spaces[s->base].name);
    else if (s->map == XC_MAP_STATE) fprintf(out, " of state %s", g->model->states[s->state].name);
    else fprintf(out, " strided %s kernel=%d stride=%d pad=%d,%d", g->spaces[s->base].name, s->kernel, s->stride, s->pad_left, s->pad_right);
    fputc('\n', out);
}

void xc_node_print(FILE *out, const struct xc_graph *g, const struct xc_node *node)
{
    for (int32_t i = 0; i < node->n_out; i++) {
        const struct xc_value *v = &g->values[node->out[i]];

        fprintf(out, "%s%%%s [%s x %d%s]", i ? ", " : "", v->name, g->spaces[v->space].name, v->cols, v->dtype == XC_DTYPE_I32 ? " i32" : "");
    }
    fprintf(out, " = %s.%d(", node->op->name, node->op->version);
    for (int32_t i = 0; i < node->n_in; i++) {
        const struct xc_ref *ref = &node->in[i];

        if (i) fputs(", ", out);
        if (ref->kind == XC_REF_VALUE) fprintf(out, "%%%s", g->values[ref->id].name);
        else if (ref->kind == XC_REF_TENSOR) fprintf(out, "@%s", g->model->tensors[ref->id]->name);
        else if (ref->kind == XC_REF_STATE) fprintf(out, "$%s", g->model->states[ref->id].name);
        else fputc('-', out);
        if (ref->range.mode == XC_RANGE_ROW) fputs(":int8", out);
        else if (ref->range.mode == XC_RANGE_AFFINE) fputs(":int8+", out);
        else if (ref->range.mode == XC_RANGE_STATIC) fprintf(out, ":int8*%.9g", (double)ref->range.scale);
    }
    fputc(')', out);
    for (const struct xc_attr_def *def = node->op->attrs; def && def->name; def++) {
        const double value = xc_attr_get(def, node->attr);

        if (def->rare && value == def->def) continue;
        if (def->type == XC_ATTR_CHOICE) fprintf(out, " %s=%s", def->name, def->choices[(int)value]);
        else if (def->type == XC_ATTR_BOOL) fprintf(out, " %s=%s", def->name, value != 0 ? "true" : "false");
        else fprintf(out, " %s=%.9g", def->name, value);
    }
}

enum xc_status xc_model_print(FILE *out, const struct xc_model *m)
{
    char enc[64];

    for (int32_t i = 0; i < m->n_meta; i++)
        if (strlen(m->meta[i].value) < 100 && !strchr(m->meta[i].value, '\n')) fprintf(out, "meta %s = %s\n", m->meta[i].key, m->meta[i].value);
    for (int32_t i = 0; i < m->n_labels; i++) fprintf(out, "label %d = %s\n", i, m->labels[i]);
    for (int32_t i = 0; i < m->n_states; i++) fprintf(out, "state $%s [%d] %s\n", m->states[i].name, m->states[i].cols, m->states[i].append ? "append" : "replace");
    for (int32_t i = 0; i < m->n_tensors; i++) {
        const struct xc_tensor *t = m->tensors[i];

        fprintf(out, "tensor @%s [", t->name);
        for (int32_t k = 0; k < t->rank; k++) fprintf(out, "%s%lld", k ? " " : "", (long long)t->dim[k]);
        fprintf(out, "] %s%s\n", xc_encoding_text(&t->enc, enc, sizeof enc), t->enc.layout == XC_LAYOUT_PANEL16 ? " panel16" : "");
    }
    for (int32_t i = 0; i < m->n_graphs; i++) {
        const struct xc_graph *g = m->graphs[i];

        fprintf(out, "graph %s\n", g->name);
        for (int32_t k = 0; k < g->n_spaces; k++) print_space(out, g, &g->spaces[k]);
        for (int32_t k = 0; k < g->n_inputs; k++) {
            const struct xc_value *v = &g->values[g->inputs[k]];

            fprintf(out, "  input %%%s [%s x %d%s]\n", v->name, g->spaces[v->space].name, v->cols, v->dtype == XC_DTYPE_I32 ? " i32" : "");
        }
        for (int32_t k = 0; k < g->n_nodes; k++) {
            fputs("  ", out);
            xc_node_print(out, g, &g->nodes[k]);
            fputc('\n', out);
        }
        for (int32_t k = 0; k < g->n_outputs; k++) fprintf(out, "  output %%%s\n", g->values[g->outputs[k]].name);
    }
    return ferror(out) ? XC_E_IO : XC_OK;
}
