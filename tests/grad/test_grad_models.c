/* Whole models against PyTorch (tests/vectors/gen_grad.py): loss and every gradient of tiny checkpoints with each head, and the losses of 20
 * AdamW steps. all-MiniLM-L6-v2: test_grad_minilm.c. */
#include "formats/formats.h"
#include "tests/grad/train_job.h"
#include "tests/vectors/arch_sample.h"

struct grad_vector {
    int model;
    const char *tensor;
    double norm, product;
};
struct grad_case {
    const char *dir, *head, *loss;
    double value;
};
#include "tests/vectors/grad_vectors.h"

/* ---- tiny checkpoints ---- */
static void path_of(char *out, size_t n, const char *rest) { snprintf(out, n, "%s/tests/vectors/arch/%s", getenv("XC_SOURCE_ROOT"), rest); }

static void open_case(struct job *j, const struct grad_case *c)
{
    const bool pairs = !strcmp(c->loss, "cosine") || !strcmp(c->loss, "contrast") || !strcmp(c->loss, "choices");
    char path[1024], rest[128];
    struct arch_sample in;
    struct xc_pool *const pool = j->pool;
    const bool bf16 = j->bf16;

    memset(j, 0, sizeof *j);
    j->pool = pool;
    j->bf16 = bf16;
    path_of(path, sizeof path, c->dir);
    OK(xc_model_load(&j->m, path, NULL, &err));
    snprintf(rest, sizeof rest, "%s/%s.bin", c->dir, c->head);
    path_of(path, sizeof path, rest);
    arch_sample_read(&in, path);
    j->n_seq = in.n_seq;
    j->start = in.start; /* j's now */
    j->ids = in.ids;
    j->types = in.types;
    free(in.out);
    if (pairs) j->n_seq = 4;
    prepare(j);
}

/* Gradients by norm and by their product with made-up numbers; relative to the norm, since the product may be small, and to the
 * largest gradient, since a small one may be the difference of large numbers. */
static void check_gradients(const struct job *j, int model)
{
    int32_t seen = 0;
    double largest = 0;

    for (size_t v = 0; v < XC_ARRAY_LEN(grad_vectors); v++)
        if (grad_vectors[v].model == model) largest = fmax(largest, grad_vectors[v].norm);
    for (size_t v = 0; v < XC_ARRAY_LEN(grad_vectors); v++) {
        const struct grad_vector *want = &grad_vectors[v];
        const struct xc_param *p = NULL;
        double norm = 0, product = 0;
        uint32_t s = 12345;

        if (want->model != model) continue;
        for (int32_t i = 0; i < j->params.n && !p; i++)
            if (!strcmp(j->m->tensors[j->params.param[i].tensor]->name, want->tensor)) p = &j->params.param[i];
        if (!p) fail_msg("%s: no tensor '%s'", grad_cases[model].dir, want->tensor);
        for (int64_t i = 0; i < p->n; i++) {
            const double g = (double)j->params.grad[p->at + i];

            norm += g * g;
            product += g * lcg(&s);
        }
        norm = sqrt(norm);
        if (!(fabs(norm - want->norm) <= 2e-5 * want->norm + 1e-6 * largest) || !(fabs(product - want->product) <= 2e-5 * want->norm + 1e-6 * largest))
            fail_msg("%s, %s: gradient of '%s' has norm %.9g and product %.9g, PyTorch has %.9g and %.9g", grad_cases[model].dir, grad_cases[model].loss, want->tensor, norm, product,
                     want->norm, want->product);
        seen++;
    }
    assert_true(seen > 10);
}

static void test_gradients(void **state)
{
    (void)state;
    for (size_t c = 0; c < XC_ARRAY_LEN(grad_cases); c++) {
        struct job j = { 0 };
        double loss;

        open_case(&j, &grad_cases[c]);
        loss = forward_backward(&j, grad_cases[c].loss);
        if (!(fabs(loss - grad_cases[c].value) <= 1e-5 * fabs(grad_cases[c].value))) fail_msg("%s, %s: loss %.9g, PyTorch has %.9g", grad_cases[c].dir, grad_cases[c].loss, loss, grad_cases[c].value);
        check_gradients(&j, (int)c);
        finish(&j);
    }
}

static void test_tiny_curve(void **state)
{
    struct job j = { 0 };

    (void)state;
    open_case(&j, &grad_cases[0]);
    check_curve(&j, "classes", 2e-3, tiny_curve, "tiny BERT");
    finish(&j);
}

/* Products in bf16: eight bits of every operand, so losses and gradients near PyTorch's, and the same bits for any number of threads. */
static void test_bf16(void **state)
{
    (void)state;
    for (size_t c = 0; c < XC_ARRAY_LEN(grad_cases); c++) {
        struct job two = { .bf16 = true }, one = { .bf16 = true };
        double loss, off = 0, all = 0;

        OK(xc_pool_new(&one.pool, 1, &err));
        open_case(&two, &grad_cases[c]);
        open_case(&one, &grad_cases[c]);
        loss = forward_backward(&two, grad_cases[c].loss);
        if (!(fabs(loss - grad_cases[c].value) <= 2e-2 * fabs(grad_cases[c].value))) fail_msg("%s, %s: loss %.9g, PyTorch has %.9g", grad_cases[c].dir, grad_cases[c].loss, loss, grad_cases[c].value);
        if (!strcmp(grad_cases[c].loss, "classes")) assert_true(loss != grad_cases[c].value && fabs(loss - grad_cases[c].value) > 1e-7); /* it is not the f32 product */
        for (size_t v = 0; v < XC_ARRAY_LEN(grad_vectors); v++) {
            const struct grad_vector *want = &grad_vectors[v];
            double norm = 0;

            if (want->model != (int)c) continue;
            for (int32_t i = 0; i < two.params.n; i++) {
                if (strcmp(two.m->tensors[two.params.param[i].tensor]->name, want->tensor) != 0) continue;
                for (int64_t k = 0; k < two.params.param[i].n; k++) norm += pow((double)two.params.grad[two.params.param[i].at + k], 2);
            }
            off += pow(sqrt(norm) - want->norm, 2);
            all += pow(want->norm, 2);
        }
        if (!(sqrt(off) <= 3e-2 * sqrt(all))) fail_msg("%s, %s: gradients are off by %.3g of their norm", grad_cases[c].dir, grad_cases[c].loss, sqrt(off / all));
        assert_true(forward_backward(&one, grad_cases[c].loss) == loss);
        assert_memory_equal(one.params.grad, two.params.grad, (size_t)one.params.total * sizeof(float));
        xc_tape_free(&one.tape);
        xc_pool_free(&one.pool);
        finish(&one);
        finish(&two);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_tiny_curve),
        cmocka_unit_test(test_bf16),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
