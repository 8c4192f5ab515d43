/* pass: a step of compression over the graph IR. compress.c runs a recipe's list of them; each is one file with one line in passes.def.
 *
 * Passes run one after the other, each on what the former left. A pass works in three steps, on the same struct xc_work:
 *   prepare()  (may be NULL) changes the graph: new nodes, other shapes. Tensors may be added, changed and dropped; reports follow their names.
 *   plan()     decides from shapes and names alone what becomes of every tensor and node in its scope, and says why. It reads no weight.
 *   apply()    does what was decided, tensor by tensor: load, change, let go.
 * A plan (--plan; and before any work, so that mistakes are found first) runs prepare with plan_only, and plan, of all passes.
 * A pass with overrides runs as several parts (recipe.h): prepare once, then plan and apply part by part. */
#ifndef XC_COMPRESS_PASS_H
#define XC_COMPRESS_PASS_H

#include "compress/recipe/recipe.h"
#include "runtime/base/pool.h"
#include "runtime/graph/op.h"
#include "xcompress/compress.h"

struct xc_ranges; /* calibrate.h */
struct xc_texts;
struct xc_side;
struct xc_sense; /* sensitivity.h */
struct xc_forecast; /* forecast.h */
struct xc_awq; /* awq.h */
struct xc_smoothing; /* smooth.h */

/* What prepare() works on. */
struct xc_prepare {
    struct xc_model *model;         /* changed in place; a copy of the caller's */
    const struct xc_recipe_pass *spec;
    const struct xc_compress_opts *opts;
    const struct xc_texts *texts;   /* of the calibration; NULL when none were given */
    bool plan_only;                 /* no weight is read: new and resized tensors hold whatever they do */

    /* For a pass that measures what it will choose, in a plan too. */
    bool check;                     /* the plan before the work: not the time to measure */
    bool changed;                   /* an earlier pass would have changed the model, and in this plan has not */
    const struct xc_encoding *want; /* n_want: what the earlier passes make of the model's tensors */
    int32_t n_want;
    struct xc_compress_result *result;
    struct xc_sense **sense;        /* the job's */
    struct xc_smoothing **smoothing; /* scales that apply() is to fill; NULL = it cannot */
    struct xc_forecast *forecast;   /* of a plan, for what prepare() would do; else NULL */
    bool *estimated;                /* set: this plan's sizes are a guess */
    /* Bytes of the file once the tensors of m have encodings want. packed (by tensor; -1 = from samples; NULL: none) is what they pack to. */
    enum xc_status (*size)(void *arg, uint64_t *bytes, const struct xc_model *m, const struct xc_encoding *want, const double *packed, struct xc_err *err);
    void *size_arg;
};

struct xc_work {
    struct xc_model *model;         /* changed in place; a copy of the caller's */
    const struct xc_recipe_pass *spec;
    const struct xc_compress_opts *opts;
    struct xc_layer_report *layers; /* one per tensor of the model, same order */
    struct xc_encoding *want;       /* the same: the encoding each tensor will have; plan() sets it, apply() makes it so */
    const struct xc_texts *texts;   /* calibration texts; NULL when none were given */
    struct xc_model *before;        /* with texts, in apply(): the model as the pass found it, its weights perhaps still in their file; else NULL */
    const struct xc_ranges *ranges; /* activations seen on them, in apply() of a pass that needs_ranges; else NULL */
    struct xc_compress_result *result;
    const struct xc_sense *sense;   /* what prepare() measured the model by; NULL = nothing */
    struct xc_smoothing *smoothing; /* scales of prepare() that apply() fills; NULL = none */
    struct xc_buf **golden;         /* where apply() may put the golden samples, if it runs the model as it will be; NULL = it will not be so yet, or none are wanted */
    struct xc_side *side;           /* where finished tensors are kept (side.h); NULL = nowhere */
    int32_t stage;                  /* which part of which pass, counted from 0 */
    int64_t resumed;                /* tensors taken from there */
    double done, total;             /* numbers treated, for the progress */
};

/* For a pass that treats tensors one by one. Before one: was it finished in an interrupted run? Then it is in place, with its report.
 * After one: it is finished, and may be written to disk and mapped, so that memory stays bounded and an interrupted run can go on. */
bool xc_work_resume(struct xc_work *w, int32_t t);
bool xc_work_can_resume(const struct xc_work *w, int32_t t);
enum xc_status xc_work_keep(struct xc_work *w, int32_t t, struct xc_err *err);

/* Reports n more numbers done; XC_E_CANCELLED when the caller wants to stop. */
enum xc_status xc_work_advance(struct xc_work *w, const char *what, double n, struct xc_err *err);

/* A text option has choices; a number has limits. Ends with a NULL name. */
struct xc_pass_option {
    const char *name, *help, *def;
    const char *choices; /* "a|b|c"; NULL = a number */
    const char *word;    /* may stand in place of a number: "auto"; NULL = none */
    double min, max;
    bool list;           /* several of the choices, with commas between them */
    bool size;           /* a number of bytes: 11.5MB */
};

struct xc_pass {
    const char *name, *summary;
    const struct xc_pass_option *options;
    /* Changes of the graph: new nodes, weights rescaled, layers and columns cut away. May be NULL. */
    enum xc_status (*prepare)(const struct xc_prepare *p, struct xc_err *err);
    /* Does this recipe entry need the ranges of activations? NULL = never. */
    bool (*needs_ranges)(const struct xc_recipe_pass *spec);
    enum xc_status (*plan)(struct xc_work *w, struct xc_err *err);
    enum xc_status (*apply)(struct xc_work *w, struct xc_err *err);
    /* Adds the work and the memory of apply() to a plan's forecast, after plan(); was: want before it. NULL = next to nothing. */
    void (*forecast)(const struct xc_work *w, const struct xc_encoding *was, struct xc_forecast *f);
};

/* plan() and apply() of a pass that does all its work in prepare(): what follows sees another model. */
enum xc_status xc_pass_nothing(struct xc_work *w, struct xc_err *err);
enum xc_status xc_pass_no_overrides(const struct xc_recipe_pass *spec, struct xc_err *err); /* and has no parts */

/* smooth.c: evens out the columns of what linears read. */
enum xc_status xc_smooth(const struct xc_prepare *p, const struct xc_awq *awq, struct xc_err *err);

const struct xc_pass *xc_pass_find(const char *name); /* NULL */

/* ---- scope.c: which nodes a recipe entry speaks of ---- */
enum xc_pick { XC_PICK_OUTSIDE = 0, XC_PICK_DEFAULT, XC_PICK_TARGET, XC_PICK_IGNORED };
struct xc_scope {
    uint8_t *pick;        /* enum xc_pick per node, graph after graph */
    const char **word;    /* the target that picked it */
    uint16_t *part;       /* which part of a pass with overrides treats it; NULL = there is one part */
    int32_t *first;       /* per graph: index of its node 0 */
};
/* default_ops: NULL-terminated. Fails with the word that matches nothing. */
enum xc_status xc_scope_make(struct xc_scope *scope, const struct xc_model *m, const struct xc_recipe_pass *spec, const char *const *default_ops, struct xc_err *err);
/* The index of node 0 of g, a graph of m. */
int32_t xc_scope_first(const struct xc_scope *scope, const struct xc_model *m, const struct xc_graph *g);
void xc_scope_release(struct xc_scope *scope);

/* ---- uses of a tensor ---- */
struct xc_use {
    int32_t graph, node, input;
};
struct xc_uses {
    struct xc_use *use; /* sorted by tensor */
    int32_t *first;     /* per tensor, n_tensors + 1 */
};
enum xc_status xc_uses_make(struct xc_uses *uses, const struct xc_model *m, struct xc_err *err);
void xc_uses_release(struct xc_uses *uses);

#endif
