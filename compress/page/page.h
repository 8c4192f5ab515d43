/* page: what is known of one model file, on one page: HTML for people, Markdown for pull requests. The same inputs give the same bytes. */
#ifndef XC_COMPRESS_PAGE_PAGE_H
#define XC_COMPRESS_PAGE_PAGE_H

#include <stdio.h>

#include "compress/inventory.h"
#include "compress/page/evidence.h"
#include "compress/page/histogram.h"
#include "compress/page/relatives.h"

/* Tensors that share something: an encoding, a kind. */
struct xc_group {
    const char *name;
    int32_t n;
    uint64_t count, bytes;
};

/* One line of a sensitivity profile: what an encoding of one layer costs. The manifest's "sensitivity" is a list of {"name", "chosen", "choices":
 * [{"encoding", "bytes", "cost"}]}; entries of another form are left out. */
struct xc_choice {
    const char *layer, *encoding;
    double bytes, cost; /* NaN = not told */
    bool chosen;
};

/* The drop of all choices together, of the manifest's "drop": {"predicted", "measured"}; -1 = not told. */
struct xc_page_drop {
    double predicted, measured;
};

struct xc_page {
    const char *name;               /* of the file, without its folder */
    struct xc_model *model;
    json_t *manifest;               /* NULL = none */
    struct xc_inventory inventory;
    struct xc_uses uses;
    uint64_t file_bytes, source_bytes; /* of the file or the weights of a directory; of the manifest's sources, 0 = not told */
    struct xc_group *kinds, *encodings; /* the largest first */
    int32_t n_kinds, n_encodings;
    struct xc_choice *choices;
    int32_t n_choices;
    struct xc_weights *weights;
    int32_t n_weights;
    bool asked;                     /* weights were asked for by name */
    struct xc_evidence evidence;
    struct xc_relatives relatives;    /* n = 0: none was given */
};

/* Reads a model of any format. A file without a manifest gives a page with less on it. */
enum xc_status xc_page_open(struct xc_page *page, const char *path, struct xc_err *err);
void xc_page_close(struct xc_page *page);

/* Adds histograms of the tensors `names` (n = 0: the one with the largest error), beside those of the model at `from` (may be NULL). XC_E_NOT_FOUND
 * names a tensor that either side lacks. */
enum xc_status xc_page_add_weights(struct xc_page *page, const char *const *names, size_t n, const char *from, struct xc_err *err);

struct xc_page_drop xc_page_drop(const struct xc_page *page);

void xc_page_print_html(FILE *f, const struct xc_page *page);
void xc_page_print_markdown(FILE *f, const struct xc_page *page);

/* "quantize: activations row, attention int8, format int8": a pass of a manifest's recipe in words; freed with xc_free, NULL out of memory. */
char *xc_page_pass_text(const json_t *pass);

extern const char xc_page_style[];

#endif
