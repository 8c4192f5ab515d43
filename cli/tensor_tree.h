/* tensor_tree: the tensors of a model as a tree of the words in their names, for a terminal or a pipe.
 *
 * A group shows what it holds in all. Groups of one are joined with what is in them. Order is that of the model. */
#ifndef XC_CLI_TENSOR_TREE_H
#define XC_CLI_TENSOR_TREE_H

#include <stdio.h>

#include "compress/inventory.h"

struct tree_style {
    bool colour;  /* escape sequences */
    bool pretty;  /* lines and bars of UTF-8; otherwise two spaces a level */
};

enum xc_status tensor_tree_print(FILE *f, const struct xc_inventory *inv, const struct tree_style *style, struct xc_err *err);

#endif
