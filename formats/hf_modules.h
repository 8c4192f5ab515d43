/* hf_modules: what sentence-transformers' files say follows the transformer. */
#ifndef XC_FORMATS_HF_MODULES_H
#define XC_FORMATS_HF_MODULES_H

#include "formats/hf.h"

/* JSON documents that cfg->modules points into, and the transformer's folder. */
struct xc_hf_module_files {
    json_t *doc[XC_HF_MAX_MODULES];
    int n;
    char dir[4096];
};

/* Fills cfg->modules, cfg->sentence and cfg->dir from cfg->root. Modules that are not supported are refused by name. */
enum xc_status xc_hf_read_modules(struct xc_hf_config *cfg, struct xc_hf_module_files *files, struct xc_err *err);
void xc_hf_release_modules(struct xc_hf_module_files *files);

bool xc_hf_exists(const char *dir, const char *file); /* a regular file */
enum xc_status xc_hf_load_json(json_t **out, const char *dir, const char *file, struct xc_err *err);

/* torch's key in 1_Pooling/config.json: "pooling_mode_mean_tokens" */
const char *xc_hf_pooling_key(enum xc_pool_mode mode);

#endif
