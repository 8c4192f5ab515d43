/* scratch: what most unit tests do: a call that must succeed, paths, whole files. Include it behind cmocka.h. */
#ifndef XC_TESTS_UNIT_SCRATCH_H
#define XC_TESTS_UNIT_SCRATCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xcompress/status.h"

static inline void ok(enum xc_status status, const struct xc_err *err)
{
    char text[512];

    if (status != XC_OK) fail_msg("%s", xc_err_text(err, text, sizeof text));
}

static inline const char *source_root(void)
{
    const char *const root = getenv("XC_SOURCE_ROOT");

    return root ? root : ".";
}

/* Makes a folder of the test's own and writes its path to dir (size); not 0 where that fails. scratch_close removes it with all that is in it. */
static inline int scratch_open(char *dir, size_t size, const char *name)
{
    const char *const tmp = getenv("TMPDIR");

    snprintf(dir, size, "%s/xc-%s-XXXXXX", tmp ? tmp : "/tmp", name);
    return mkdtemp(dir) ? 0 : 1;
}

/* The exit status of a test of which `failed` cases failed. */
static inline int scratch_close(const char *dir, int failed)
{
    char command[2200];

    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command) ? 1 : failed;
}

/* Good until the 64th call from here on. */
static inline const char *path_in(const char *folder, const char *name)
{
    static char path[64][2100];
    static unsigned next;
    char *const p = path[next++ % 64];

    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

/* The caller frees. A NUL stands behind the n bytes. */
static inline uint8_t *read_file(const char *path, size_t *n)
{
    FILE *const f = fopen(path, "rb");
    uint8_t *p;
    long size;

    if (!f) fail_msg("cannot open %s", path);
    fseek(f, 0, SEEK_END);
    size = ftell(f);
    rewind(f);
    p = malloc((size_t)size + 1);
    assert_non_null(p);
    assert_int_equal(fread(p, 1, (size_t)size, f), size);
    p[size] = '\0';
    *n = (size_t)size;
    fclose(f);
    return p;
}

static inline void write_file(const char *path, const void *p, size_t n)
{
    FILE *const f = fopen(path, "wb");

    if (!f) fail_msg("cannot write %s", path);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static inline void same_files(const char *a, const char *b)
{
    size_t na, nb;
    uint8_t *pa = read_file(a, &na), *pb = read_file(b, &nb);

    if (na != nb || memcmp(pa, pb, na)) fail_msg("%s and %s differ", a, b);
    free(pa);
    free(pb);
}

#endif
