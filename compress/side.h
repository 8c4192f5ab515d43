/* side: the file beside the output that keeps finished tensors while a run lasts: OUT.xc.resume.
 *
 * It serves two ends. A run that is interrupted goes on where it was: a record is re-used when the same files are treated by the same
 * recipe (a digest of both is the file's key). And a model larger than memory: what is written here is mapped instead of held.
 * Tensors are written once the run has lasted a second, or once those that wait take more memory than they may; a short run makes no file.
 *
 * Header (4096 bytes): magic, key. Record: 4096 bytes that describe one tensor after one pass (with their own digest), its parts, padded to
 * 4096. A record that a kill cut short ends the file. Native byte order: the file never leaves the machine. */
#ifndef XC_COMPRESS_SIDE_H
#define XC_COMPRESS_SIDE_H

#include "runtime/graph/tensor.h"
#include "xcompress/compress.h"

struct xc_side;

/* For the output `path`. resume: records of an interrupted run with the same key are kept, else the file is begun anew once it is needed.
 * Waiting tensors may take `memory` bytes. Another run that writes the same output holds a lock; this one then goes without a file, *out NULL. */
enum xc_status xc_side_open(struct xc_side **out, const char *path, const uint64_t key[2], bool resume, uint64_t memory, struct xc_err *err);

/* The tensor as pass number `stage` left it in the interrupted run, with its report: true when it is there and t has it now. */
bool xc_side_take(struct xc_side *side, int32_t stage, const struct xc_encoding *want, struct xc_tensor *t, struct xc_layer_report *l);

/* Pass `stage` has finished t. What is written to disk is mapped instead, and no longer takes memory. t must stay until xc_side_settle or the end. */
enum xc_status xc_side_put(struct xc_side *side, int32_t stage, struct xc_tensor *t, const struct xc_layer_report *l, struct xc_err *err);

/* What waits is not written any more: before tensors may go (the graph changes). */
void xc_side_settle(struct xc_side *side);

/* Closes it. keep: the file stays for the next run (it holds what was finished, waiting tensors too); else it goes. */
void xc_side_close(struct xc_side **side, bool keep);

#endif
