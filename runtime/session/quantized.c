/* quantized: which int8 copies of values the linears of a plan read, who makes them, and what is multiplied on the way. */
#include <string.h>

#include "runtime/session/steps.h"

static enum xc_status cut_segments(struct xc_plan *p, struct xc_err *err)
{
    p->n_segments = 0;
    for (size_t i = 0; i < p->n_steps; i++) {
        struct segment *last = p->n_segments ? &p->segments[p->n_segments - 1] : NULL;

        if (last && last->local && p->steps[i].type->local && last->space == p->steps[i].space) {
            last->n++;
            continue;
        }
        XC_TRY(xc_grow((void **)&p->segments, &p->cap_segments, p->n_segments + 1, sizeof *p->segments, err));
        p->segments[p->n_segments++] = (struct segment){ .first = (int32_t)i, .n = 1, .space = p->steps[i].space, .local = p->steps[i].type->local };
    }
    return XC_OK;
}

static enum xc_status insert_quantize(struct xc_plan *p, size_t at, int32_t value, int32_t q, struct xc_err *err)
{
    struct step *s = NULL;

    XC_TRY(new_step(p, &s, &step_quantize, NULL, value, err));
    memmove(&p->steps[at + 1], &p->steps[at], (p->n_steps - 1 - at) * sizeof *p->steps);
    p->steps[at] = (struct step){ .type = &step_quantize, .space = p->graph->values[value].space, .in = { value, -1, -1, -1 }, .out = -1,
                                  .q_in = -1, .q_out = q };
    return XC_OK;
}

/* Gives every int8 linear its quantized input: from the norm that made the value when that is in the same segment, else by a step of
 * its own in front of the linear. Copies are shared inside a segment. */
enum xc_status add_quantized(struct xc_plan *p, struct xc_err *err)
{
    XC_TRY(cut_segments(p, err));
    for (size_t seg = 0; seg < p->n_segments; seg++) {
        for (int32_t i = p->segments[seg].first; i < p->segments[seg].first + p->segments[seg].n; i++) {
            struct step *s = &p->steps[i];
            const struct xc_range *range;
            int32_t q = -1;
            bool affine;
            float scale;

            if (s->type != &step_linear || !s->int8) continue;
            range = &s->node->in[0].range;
            scale = range->mode == XC_RANGE_STATIC ? range->scale : 0.0f;
            affine = range->mode == XC_RANGE_AFFINE;
            for (size_t k = 0; k < p->n_qvalues; k++)
                if (p->qvalues[k].value == s->in[0] && p->qvalues[k].segment == (int32_t)seg && p->qvalues[k].static_scale == scale && p->qvalues[k].affine == affine) q = (int32_t)k;
            if (q >= 0) {
                s->q_in = q;
                continue;
            }
            q = (int32_t)p->n_qvalues;
            XC_TRY(xc_grow((void **)&p->qvalues, &p->cap_qvalues, p->n_qvalues + 1, sizeof *p->qvalues, err));
            p->qvalues[p->n_qvalues++] = (struct qvalue){ .value = s->in[0], .cols = (int32_t)s->K, .ld = (int32_t)xc_round_up(s->K, 64),
                                                          .static_scale = scale, .affine = affine, .segment = (int32_t)seg };
            s->q_in = q;
            struct step *maker = NULL;

            for (int32_t j = p->segments[seg].first; j < i && !affine; j++)
                if (p->steps[j].out == s->in[0] && p->steps[j].type == &step_norm && p->steps[j].q_out < 0) maker = &p->steps[j];
            if (maker) {
                maker->q_out = q;
                continue;
            }
            XC_TRY(insert_quantize(p, (size_t)i, s->in[0], q, err));
            p->segments[seg].n++;
            for (size_t k = seg + 1; k < p->n_segments; k++) p->segments[k].first++;
            i++; /* the linear again stands behind its quantize step */
        }
    }
    for (size_t i = 0; i < p->n_steps; i++)
        if (p->steps[i].q_in >= 0) p->steps[i].in[0] = -1; /* an int8 linear reads the copy alone */
    return XC_OK;
}

static bool reads(const struct step *s, int32_t value)
{
    if (s->type == &step_node) {
        for (int k = 0; k < s->node->n_in; k++)
            if (value_in(s->node, k) == value) return true;
        return false;
    }
    return s->in[0] == value || s->in[1] == value || s->in[2] == value || s->in[3] == value;
}

/* Whether nothing but quantize steps reads the value. */
static bool only_quantized(const struct xc_plan *p, int32_t value)
{
    for (int32_t i = 0; i < p->graph->n_outputs; i++)
        if (p->graph->outputs[i] == value) return false;
    for (size_t i = 0; i < p->n_steps; i++)
        if (reads(&p->steps[i], value) && p->steps[i].type != &step_quantize) return false;
    return true;
}

/* The norm of segment seg that makes the value and does not quantize yet. */
static struct step *idle_norm(struct xc_plan *p, const struct segment *seg, int32_t value)
{
    for (int32_t i = seg->first; i < seg->first + seg->n; i++)
        if (p->steps[i].out == value && p->steps[i].type == &step_norm && p->steps[i].q_out < 0) return &p->steps[i];
    return NULL;
}

/* Scales that only quantize steps read become factors of these, or of the norm in front. */
void fold_scales(struct xc_plan *p)
{
    size_t kept = 0;

    for (size_t seg = 0; seg < p->n_segments; seg++) {
        struct segment *sg = &p->segments[seg];

        for (int32_t i = sg->first; i < sg->first + sg->n; i++) {
            const struct step scale = p->steps[i];

            if (scale.type != &step_scale || !only_quantized(p, scale.out)) continue;
            p->steps[i].type = NULL;
            for (int32_t j = i + 1; j < sg->first + sg->n; j++) {
                struct step *q = &p->steps[j], *norm;

                if (q->type != &step_quantize || q->in[0] != scale.out) continue;
                norm = p->qvalues[q->q_out].affine ? NULL : idle_norm(p, sg, scale.in[0]);
                if (norm) {
                    norm->q_out = q->q_out;
                    norm->q_gain = scale.gain;
                    q->type = NULL;
                } else {
                    q->in[0] = scale.in[0];
                    q->gain = scale.gain;
                }
            }
        }
    }
    for (size_t seg = 0; seg < p->n_segments; seg++) {
        struct segment *sg = &p->segments[seg];
        const int32_t first = sg->first, n = sg->n;

        sg->first = (int32_t)kept;
        for (int32_t i = first; i < first + n; i++)
            if (p->steps[i].type) p->steps[kept++] = p->steps[i];
        sg->n = (int32_t)kept - sg->first;
    }
    p->n_steps = kept;
}
