/* rotations: see rotations.h. Normals by Box and Muller (1958) from counter-based uniforms. */
#include "formats/rotations.h"

#include <math.h>

#include "runtime/base/rng.h"

struct rotations {
    struct xc_source base;
    uint64_t seed, stream;
};

/* Numbers 2i and 2i + 1. */
static void pair(double out[2], uint64_t seed, uint64_t stream, uint64_t i)
{
    uint32_t w[4];

    xc_philox(w, seed, stream, i);
    const double u = (double)(((uint64_t)w[1] << 32 | w[0]) >> 11) * 0x1p-53, v = (double)(((uint64_t)w[3] << 32 | w[2]) >> 11) * 0x1p-53;
    const double radius = sqrt(-2.0 * log(1.0 - u)), angle = 6.283185307179586476925 * v; /* 1 - u is never 0 */

    out[0] = radius * cos(angle);
    out[1] = radius * sin(angle);
}

static enum xc_status rotations_read(struct xc_source *src, const struct xc_tensor *t, int64_t first, int64_t n, float *dst, struct xc_err *err)
{
    const struct rotations *r = (const struct rotations *)(const void *)src;

    (void)t;
    (void)err;
    for (int64_t i = first; i < first + n;) {
        double two[2];

        pair(two, r->seed, r->stream, (uint64_t)i / 2);
        if (i % 2 == 0) *dst++ = (float)two[0], i++;
        if (i < first + n) *dst++ = (float)two[1], i++;
    }
    return XC_OK;
}

static void rotations_unref(struct xc_source *src)
{
    if (__atomic_sub_fetch(&src->refs, 1, __ATOMIC_ACQ_REL) == 0) xc_free(src);
}

enum xc_status xc_rotations_bind(struct xc_tensor *t, uint64_t seed, uint64_t stream, struct xc_err *err)
{
    struct rotations *r = xc_malloc(sizeof *r);

    if (!r) return xc_fail_nomem(err, sizeof *r);
    *r = (struct rotations){ .base = { .read_f32 = rotations_read, .unref = rotations_unref, .refs = 1 }, .seed = seed, .stream = stream };
    xc_source_unref(&t->source);
    t->source = &r->base;
    t->source_format = XC_FMT_F32;
    return XC_OK;
}
