/* forecast: how long a compression will take and how much memory, said by a plan before the work.
 *
 * Passes say how much of each kind of work they will do (struct xc_forecast, filled as the plan goes through the recipe); how long a unit of each kind takes is
 * measured here and now (forecast_rates.c): the kinds that are asked for run for some milliseconds, on a slice of the model and by the code that will do the
 * work. What the plan itself does (reading settings, hashing the source, tokenizing) is done again by the work and is taken as it was measured. Memory is
 * a sum of what a phase holds, over the largest phase. Aim: within 25 % (docs/methods.md tells how near it comes). */
#ifndef XC_COMPRESS_PLAN_FORECAST_H
#define XC_COMPRESS_PLAN_FORECAST_H

#include "runtime/graph/graph.h"
#include "xcompress/compress.h"

/* Bytes a second, assumed: a file written and on disk. A disk of a cloud machine. */
#define XC_FORECAST_WRITE_RATE 700e6

enum xc_toil {
    XC_TOIL_READ = 0,  /* numbers read from the source as f32, by all threads */
    XC_TOIL_LAY,       /* numbers of f32 weights laid in panels: once a batch and linear */
    XC_TOIL_F32,       /* multiply-adds of f32 linears, run node by node; what stands between them comes along */
    XC_TOIL_QUANT,     /* of linears with quantized weights, the same */
    XC_TOIL_INT8,      /* numbers to int8 under the 16-bit rules */
    XC_TOIL_INT8_ROWS, /* numbers to int8, tables */
    XC_TOIL_SEARCH,    /* numbers to groups, method search, by int4 */
    XC_TOIL_NEAREST,   /* the same, method nearest */
    XC_TOIL_GPTQ,      /* numbers times inputs, method gptq */
    XC_TOIL_CAST,      /* numbers to f16 */
    XC_TOIL_SMOOTH,    /* numbers of weights and inputs that factors are searched for */
    XC_TOIL_RANGES,    /* numbers put into histograms */
    XC_TOIL_COMPARE,   /* numbers of outputs held against others */
    XC_TOIL_TOUCH,     /* bytes of memory used for the first time */
    XC_TOIL_GRAM,      /* rows times inputs squared: second moments */
    XC_TOIL_FACTOR,    /* inputs cubed: an inverse factor of a Hessian */
    XC_TOIL_OBS,       /* numbers times inputs: second-order pruning */
    XC_TOIL_PACK,      /* bytes entropy-coded */
    XC_TOIL_WRITE,     /* bytes written, and on disk: assumed, since a plan writes nothing */
    XC_TOIL_COUNT
};

struct xc_forecast {
    double toil[XC_TOIL_COUNT];
    double peak;                    /* bytes of the largest phase so far, beside the program itself */
    int64_t texts, tokens;          /* of the calibration; 0 = none */
    int64_t own_tokens;             /* of the sample texts */
    double widened;                 /* numbers of quantized linears that are f32 when they run */
    double max_memory;              /* as the work may take; finished tensors beyond a quarter of it go to disk */
};

/* Counts a phase that holds so many bytes at once. */
void xc_forecast_holds(struct xc_forecast *f, double bytes);

/* One walk of `tokens` in batches of 1,024 through graph "encode", node by node, in memory of its own. want NULL: all weights f32; else those that are quantized run so. */
void xc_forecast_walk(struct xc_forecast *f, const struct xc_model *m, const struct xc_encoding *want, int64_t tokens);

/* Bytes: of all weights as f32; as they will be encoded; of the values that a walk of a batch of tokens keeps, and its scratch. */
double xc_forecast_f32_bytes(const struct xc_model *m);
double xc_forecast_encoded_bytes(const struct xc_model *m, const struct xc_encoding *want);
double xc_forecast_kept_bytes(const struct xc_forecast *f, const struct xc_model *m, const struct xc_encoding *want); /* of those, what stays in memory */
double xc_forecast_values_bytes(const struct xc_model *m, int64_t tokens);
double xc_forecast_lazy_bytes(const struct xc_model *m, int64_t tokens); /* of the values that live at a time when each is let go after its last use */
double xc_forecast_largest(const struct xc_model *m); /* numbers of the largest tensor */

/* Multiply-adds of linears, and what they read, for a token. */
double xc_forecast_macs(const struct xc_model *m, const struct xc_encoding *want, bool quantized);
double xc_forecast_inputs(const struct xc_model *m);
double xc_forecast_outputs(const struct xc_model *m);

/* Seconds of all the work in f. source: the model as it is; weights of a slice of it are read. */
enum xc_status xc_forecast_seconds(double *seconds, const struct xc_forecast *f, const struct xc_model *source, struct xc_pool *pool, struct xc_err *err);

#endif
