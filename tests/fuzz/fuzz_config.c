/* fuzz_config: config.json, then a NUL, then a safetensors header (JSON) that says which tensors there are: everything that makes a graph.
 * The tensors' data is not there; its size is what the offsets say. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formats/hf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t data_size(const json_t *header)
{
    const char *key;
    json_t *entry;
    int64_t end = 0, e;

    json_object_foreach((json_t *)(uintptr_t)header, key, entry)
        if (xc_json_as_int(&e, json_array_get(json_object_get(entry, "data_offsets"), 1), 0, INT64_MAX)) end = e > end ? e : end;
    return (uint64_t)end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const heads[] = { NULL, "embed", "classify", "tag", "answer", "choice", "mlm", "encode" };
    const struct xc_json_limits limits = { (size_t)1 << 20, 32, 100000 };
    const uint8_t *const nul = size ? memchr(data, 0, size) : NULL;
    json_t *config = NULL, *header = NULL;
    struct xc_checkpoint *cp = NULL;
    struct xc_err err = { 0 };

    if (!nul) return 0;
    const size_t n = (size_t)(nul - data), rest = size - n - 1;

    if (xc_json_parse(&config, (const char *)data, n, "config.json", &limits, &err) == XC_OK &&
        xc_json_parse(&header, (const char *)nul + 1, rest, "header", &limits, &err) == XC_OK && xc_checkpoint_new(&cp, &err) == XC_OK &&
        xc_safetensors_header(cp, (const char *)nul + 1, rest, 0, data_size(header), 0, "", "header", &err) == XC_OK && xc_checkpoint_sort(cp, "header", &err) == XC_OK) {
        const struct xc_load_opts opts = { .head = heads[size % XC_ARRAY_LEN(heads)] };
        struct xc_hf_config cfg = { .json = config, .cp = cp, .n_modules = 1 };
        struct xc_model *m = NULL;

        err = (struct xc_err){ 0 };
        if (xc_hf_build(&m, &cfg, &opts, &err) != XC_OK && (m || err.code == XC_OK || !err.msg[0])) abort();
        xc_model_free(&m);
    }
    xc_checkpoint_unref(&cp);
    xc_json_free(&header);
    xc_json_free(&config);
    return 0;
}
