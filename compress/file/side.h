/* side: the file beside the output that keeps finished tensors while a run lasts: OUT.xc.resume.
 *
 * It serves two ends. A run that is interrupted goes on where it was: a record is re-used when the same files are treated by the same
 * recipe (the recipe, and what the file system says of the files: the side file's key). And a model larger than memory: what is written here is mapped instead of held.
 * Tensors are written once the run has lasted a second, or once those that wait take more memory than they may, by a thread of its own; a short run makes no file.
 *
 * For --store fast the file is the output in the making. A tensor in its last encoding is written where the output has it, and the journal of what is
 * finished lies behind a hole that the rest of the output will fit in. In the end the writer fills in what lacks, cuts the journal off and renames.
 *
 * Journal: a header (4096 bytes: magic, key), then records: 4096 bytes that describe one tensor after one pass (with their own digest), and its parts,
 * padded to 4096, unless they are in place. A record that a kill cut short ends it. Native byte order: the file never leaves the machine. */
#ifndef XC_COMPRESS_FILE_SIDE_H
#define XC_COMPRESS_FILE_SIDE_H

#include "runtime/graph/graph.h"
#include "xcompress/compress.h"

struct xc_side;
struct xc_write_base; /* container.h */

/* What the run is, and where its tensors will be in the output when that is known (at not NULL). The caller's; copied. */
struct xc_side_layout {
    uint64_t key[2];
    const struct xc_model *model;   /* whose tensors */
    const struct xc_encoding *want; /* their last encodings */
    uint64_t (*at)[XC_PART_COUNT];  /* offset of each part */
    uint64_t end;                   /* of the last one */
};

/* For the output `path`. resume: records of an interrupted run with the same key are kept, else the file is begun anew once it is needed.
 * Waiting tensors may take `memory` bytes, those that are being written as much again. Another run that writes the same output holds a lock; this one then goes without a file, *out NULL. */
enum xc_status xc_side_open(struct xc_side **out, const char *path, const struct xc_side_layout *layout, bool resume, uint64_t memory, struct xc_err *err);

/* The tensor as pass number `stage` left it in the interrupted run, with its report: true when it is there and t has it now. */
bool xc_side_take(struct xc_side *side, int32_t stage, const struct xc_encoding *want, struct xc_tensor *t, struct xc_layer_report *l);

/* Is that tensor there, and whole? */
bool xc_side_has(const struct xc_side *side, int32_t stage, const struct xc_encoding *want, const struct xc_tensor *t);

/* Pass `stage` has finished t. What has been written to disk by the next call is mapped instead, and no longer takes memory. t must stay until xc_side_settle or the end. */
enum xc_status xc_side_put(struct xc_side *side, int32_t stage, struct xc_tensor *t, const struct xc_layer_report *l, struct xc_err *err);

/* The folder that the file lies in, for what does not outlive the run; "." when its name names none. NULL when it does not fit. */
const char *xc_side_folder(const struct xc_side *side, char *buf, size_t n);

/* What waits is not written any more: before tensors may go (the graph changes). */
void xc_side_settle(struct xc_side *side);

/* May the file become the output `path`, whose parts belong to `at`? Then *base says how; xc_container_write does it, and when that went well the side is told. */
bool xc_side_base(struct xc_side *side, const char *path, const struct xc_model *m, uint64_t (*at)[XC_PART_COUNT], uint64_t bytes, struct xc_write_base *base);
void xc_side_became_output(struct xc_side *side);

/* Closes it. keep: the file stays for the next run (it holds what was finished, waiting tensors too); else it goes. */
void xc_side_close(struct xc_side **side, bool keep);

#endif
