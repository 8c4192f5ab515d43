/* budget: the file that says what a model may cost (YAML, read through libyaml).
 *
 *     model:    {max_bytes: 23.5MB, max_bits_per_weight: 8.5}
 *     accuracy: [{task: sts, data: dev.tsv, metric: spearman, min: 0.85, reference: fp32.xc, max_drop: 0.002, strict: false}]
 *     latency:  [{tokens: 128, threads: 1, batch: 1, max_ms: 5, or: {baseline: old.xc, max_ratio: 1.1}}]
 *     memory:   {max_rss: 60MB}
 *     start:    {max_ms: 25}
 *
 * Unknown and repeated keys, wrong types, limits without a bound, anchors, aliases and tags are errors that name file, line and
 * column. Paths are relative to the folder of the budget file. Numbers and sizes are those of
 * formats/units.h: 23.5MB, 60MiB, 1%. */
#ifndef XC_COMPRESS_GATE_BUDGET_H
#define XC_COMPRESS_GATE_BUDGET_H

#include "runtime/base/arena.h"

struct xc_budget_accuracy {
    const char *task, *data, *train, *metric; /* train, metric NULL = none given */
    const char *reference;                    /* NULL = none */
    double min, max_drop;                     /* NaN = none */
    bool strict;                              /* undecided fails */
    int32_t line;
};

struct xc_budget_latency {
    int32_t tokens, threads, batch; /* threads 0 = all */
    double max_ms;                  /* NaN = none */
    const char *baseline;           /* NULL = none; enough to pass, whatever max_ms says */
    double max_ratio;               /* to the baseline; NaN = none */
    int32_t line;
};

struct xc_budget {
    struct xc_arena arena;
    double max_bytes, max_bits_per_weight;   /* NaN = none */
    double max_rss;                          /* bytes; NaN = none */
    double max_start_ms;                     /* NaN = none */
    struct xc_budget_accuracy *accuracy;
    struct xc_budget_latency *latency;
    int32_t n_accuracy, n_latency;
};

enum xc_status xc_budget_read(struct xc_budget *out, const char *path, struct xc_err *err);
/* name stands for the file in errors; dir (NULL = none) is put before relative paths. */
enum xc_status xc_budget_parse(struct xc_budget *out, const char *text, size_t n, const char *name, const char *dir, struct xc_err *err);
void xc_budget_release(struct xc_budget *budget);

#endif
