/* fuzz_container: a .xc file of any bytes. The checksums of the header and of the section table are made to fit, so that what lies behind
 * them is reached; every second input gets fitting checksums of its raw sections too. What is let through passes the verifier, can be sized, and its
 * compact weights can be laid out for their kernels. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/container/container.h"
#include "runtime/container/layout.h"
#include "runtime/graph/ops/gemm.h"
#include "runtime/kernels/kernels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mend(uint8_t *p, size_t size, bool sections)
{
    struct xc_file_header h;
    size_t n;

    if (size < sizeof h) return;
    memcpy(&h, p, sizeof h);
    n = (size - sizeof h) / sizeof(struct xc_file_section);
    if (h.n_sections < n) n = h.n_sections;
    for (size_t i = 0; i < n && sections; i++) {
        uint8_t *const at = p + sizeof h + i * sizeof(struct xc_file_section);
        struct xc_file_section s;
        XXH128_hash_t hash;

        memcpy(&s, at, sizeof s);
        if (s.flags & XC_SECTION_ZSTD || s.offset > size || s.stored_bytes > size - s.offset) continue;
        hash = XXH3_128bits(p + s.offset, (size_t)s.stored_bytes);
        s.digest[0] = hash.low64;
        s.digest[1] = hash.high64;
        memcpy(at, &s, sizeof s);
    }
    h.file_bytes = size;
    h.table_hash = XXH3_64bits(p + sizeof h, n * sizeof(struct xc_file_section));
    h.header_hash = XXH3_64bits(&h, offsetof(struct xc_file_header, header_hash));
    memcpy(p, &h, sizeof h);
}

/* As steps, and as this machine runs it. */
static void lay_out(const struct xc_tensor *t)
{
    const struct xc_kernels *const levels[2] = { xc_kernels_for("scalar"), xc_kernels() };

    if (!xc_gemm_is_compact(t) || xc_tensor_count(t) > 1 << 22) return;
    for (int l = 0; l < 2; l++) {
        size_t bytes, list_bytes;
        void *w, *lists;

        xc_gemm_compact_bytes(&bytes, &list_bytes, levels[l], t);
        w = malloc(bytes);
        lists = malloc(list_bytes + 1);
        if (w && lists) xc_gemm_compact_lay(w, lists, levels[l], t);
        free(w);
        free(lists);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const bool verify = size % 3 == 0;
    const struct xc_read_opts opts = { .verify = verify, .max_memory = (size_t)256 << 20 };
    struct xc_model *m = NULL;
    struct xc_buf *buf = NULL;
    struct xc_err err = { 0 };
    uint64_t bytes;

    if (xc_buf_new(&buf, size, &err) != XC_OK) return 0;
    if (size) memcpy(buf->data, data, size);
    mend(buf->data, size, size % 2);
    if (xc_container_read_buf(&m, buf, &opts, &err) == XC_OK) {
        if (!m || xc_model_verify(m, &err) != XC_OK) abort();
        (void)xc_container_size(m, &bytes, &err);
        for (int32_t t = 0; t < m->n_tensors; t++) lay_out(m->tensors[t]);
    } else if (m || err.code == XC_OK || !err.msg[0]) {
        abort();
    }
    xc_model_free(&m);
    xc_buf_unref(&buf);
    return 0;
}
