/* fuzz_safetensors: the header of a safetensors file (JSON); the data is as long as its offsets say, or one byte more. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "formats/json.h"
#include "formats/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t data_size(const uint8_t *data, size_t size)
{
    json_t *header = NULL, *entry;
    const char *key;
    int64_t end = 0, e;

    if (xc_json_parse(&header, (const char *)data, size, "header", NULL, NULL) != XC_OK) return 0;
    json_object_foreach(header, key, entry)
        if (xc_json_as_int(&e, json_array_get(json_object_get(entry, "data_offsets"), 1), 0, INT64_MAX / 2)) end = e > end ? e : end;
    xc_json_free(&header);
    return (uint64_t)end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint64_t data_at = 8 + size, file_size = data_at + data_size(data, size) + (size % 8 == 7);
    struct xc_checkpoint *cp = NULL;
    struct xc_err err = { 0 };

    if (xc_checkpoint_new(&cp, &err) != XC_OK) abort();
    if (xc_safetensors_header(cp, (const char *)data, size, data_at, file_size, 0, "", "fuzz", &err) == XC_OK) {
        uint64_t at = data_at; /* what was let through covers the file exactly */

        for (size_t i = 0; i < cp->n_tensors; i++) {
            if (cp->tensors[i].offset != at) abort();
            at += cp->tensors[i].bytes;
        }
        if (at != file_size) abort();
        if (xc_checkpoint_sort(cp, "fuzz", &err) != XC_OK) abort(); /* JSON has refused duplicates */
        for (size_t i = 0; i < cp->n_tensors; i++)
            if (xc_checkpoint_find(cp, cp->tensors[i].name) != &cp->tensors[i]) abort();
    } else if (err.code == XC_OK || !err.msg[0]) {
        abort();
    }
    xc_checkpoint_unref(&cp);
    return 0;
}
