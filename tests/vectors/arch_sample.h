/* arch_sample: CASE/HEAD.bin beside a model of tests/vectors/arch (gen_arch.py has the layout): ragged texts, and what transformers answers. Include it behind cmocka.h. */
#ifndef XC_TESTS_VECTORS_ARCH_SAMPLE_H
#define XC_TESTS_VECTORS_ARCH_SAMPLE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct arch_sample {
    int32_t n_seq, tokens, rows, cols;
    int32_t *start, *ids, *types;
    float *out;
};

static inline void *read_exact(FILE *f, size_t n)
{
    void *const p = calloc(n + 1, 4);

    assert_non_null(p);
    assert_int_equal(fread(p, 4, n, f), n);
    return p;
}

static inline void arch_sample_read(struct arch_sample *s, const char *path)
{
    FILE *const f = fopen(path, "rb");
    int32_t *head;

    if (!f) fail_msg("cannot open %s", path);
    head = read_exact(f, 4);
    s->n_seq = head[0];
    s->tokens = head[1];
    s->rows = head[2];
    s->cols = head[3];
    free(head);
    s->start = read_exact(f, (size_t)s->n_seq + 1);
    s->ids = read_exact(f, (size_t)s->tokens);
    s->types = read_exact(f, (size_t)s->tokens);
    s->out = read_exact(f, (size_t)s->rows * (size_t)s->cols);
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
}

static inline void arch_sample_release(struct arch_sample *s)
{
    free(s->start);
    free(s->ids);
    free(s->types);
    free(s->out);
}

#endif
