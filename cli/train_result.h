/* train_result: what finetune and distill say of a training. */
#ifndef XC_CLI_TRAIN_RESULT_H
#define XC_CLI_TRAIN_RESULT_H

#include "cli/cli.h"
#include "compress/train/finetune.h"

/* What both have in --json; the verb adds its own. NULL: out of memory. */
json_t *cli_train_json(const struct xc_finetune_result *r, const char *task, const char *out);

/* The first line of the text: the work and its time. */
void cli_train_print(const struct xc_finetune_result *r, const char *out);

/* The last, where dev rows were measured; before: when `first` was. */
void cli_train_print_dev(const struct xc_finetune_result *r, const char *before);

#endif
