/* report: what became of each tensor, for people, for --json and for the manifest. */
#ifndef XC_COMPRESS_REPORT_H
#define XC_COMPRESS_REPORT_H

#include "compress/pass.h"

/* One report per tensor of m, in order: names, users, sizes; against the tensors of the same name in `source`, of which m was made. */
enum xc_status xc_report_init(struct xc_compress_result *r, const struct xc_model *m, const struct xc_model *source, struct xc_err *err);

void xc_report_release_layers(struct xc_compress_result *r);

/* The report of tensor `name`, looked for at `hint` first; -1. */
int64_t xc_report_find(const struct xc_compress_result *r, const char *name, int64_t hint);

/* What passes have said of a tensor, from its old report to its new one. */
void xc_report_carry(struct xc_layer_report *to, const struct xc_layer_report *from);

/* Appends the reports of tensors that are not in `kept` but were in `all`, or lie in the checkpoint at `from` (may be NULL) without being
 * in `all`: a pooler that the graph does not use. */
enum xc_status xc_report_dropped(struct xc_compress_result *r, const struct xc_model *kept, const struct xc_model *all, const char *from, struct xc_err *err);

/* Encodings and bytes as they will be (want) and the totals. */
void xc_report_finish(struct xc_compress_result *r, const struct xc_model *m, const struct xc_encoding *want);

/* The exact size of the fast file that m will make once its tensors have the encodings `want`. */
/* Where each part of each tensor will be in it (m->n_tensors rows), and where the last one ends. */
enum xc_status xc_report_layout(uint64_t (*at)[XC_PART_COUNT], uint64_t *end, const struct xc_model *m, const struct xc_encoding *want, bool golden, struct xc_err *err);
enum xc_status xc_report_file_size(uint64_t *bytes, const struct xc_model *m, const struct xc_encoding *want, struct xc_err *err);

#endif
