/* all-MiniLM-L6-v2 (XC_MINILM) under training with each head, against PyTorch in double precision (tests/vectors/gen_grad_minilm.py): the loss,
 * every gradient, and the losses of 20 AdamW steps on the same texts, without dropout. Under sanitizers: loss and gradients of two heads. */
#include "compress/train/head.h"
#include "tests/grad/train_job.h"

struct minilm_case {
    const char *head, *loss;
    int32_t classes, gradients;
    double curve[20];
};
struct minilm_fact {
    int model, tensor;
    double norm, product[2];
    int64_t at; /* of the largest number */
    double largest;
};
#include "tests/vectors/grad_minilm_vectors.h"

#define RATE 1e-4
#define TEXTS 6

static int64_t length_of(int text) { return 5 + 3 * text; }

/* Made-up weights of the new tensors, in the order of the generator. */
static void new_weights(struct xc_model *m)
{
    static const char *const names[] = { "classifier.weight", "classifier.bias", "cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.bias",
                                         "cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.LayerNorm.bias", "cls.predictions.bias" };
    uint32_t at = 0;

    for (size_t i = 0; i < XC_ARRAY_LEN(names); i++) {
        const int32_t id = xc_model_find_tensor(m, names[i]);
        uint32_t s = 12345 + at;
        float *w;

        if (id < 0) continue;
        w = (float *)(void *)m->tensors[id]->part[XC_PART_DATA]->data;
        for (int64_t k = 0; k < xc_tensor_count(m->tensors[id]); k++) w[k] = (float)(0.2 * lcg(&s) + (strstr(names[i], "LayerNorm.weight") ? 1 : 0));
        at++;
    }
}

static void open_minilm(struct job *j, const struct minilm_case *c)
{
    static const char *const labels[] = { "0", "1", "2", "3", "4" };
    const bool pair = !strcmp(c->head, "pair");
    const struct xc_head_opts head = { .task = pair ? "classify" : c->head, .labels = labels, .n_labels = strcmp(c->head, "regress") ? c->classes : 0,
                                       .pooling = pair ? XC_HEAD_POOLER : !strcmp(c->head, "regress") ? XC_HEAD_FIRST : XC_HEAD_MEAN };
    int64_t n = 0;
    bool is_new;

    *j = (struct job){ .n_seq = TEXTS };
    OK(xc_head_load(&j->m, getenv("XC_MINILM"), &head, &is_new, &err));
    assert_true(is_new == (strcmp(c->head, "embed") != 0));
    prepare(j);
    new_weights(j->m);
    for (int i = 0; i < TEXTS; i++) n += length_of(i);
    j->start = calloc(TEXTS + 1, sizeof *j->start);
    j->ids = malloc((size_t)n * sizeof *j->ids);
    j->types = malloc((size_t)n * sizeof *j->types);
    n = 0;
    for (int i = 0; i < TEXTS; i++) {
        for (int64_t t = 0; t < length_of(i); t++, n++) {
            j->ids[n] = (int32_t)(1000 + (37 * i + 101 * t) % 20000);
            j->types[n] = pair && 2 * t >= length_of(i);
        }
        j->start[i + 1] = (int32_t)n;
    }
}

/* One gradient: relative to its norm, since a product may be small, and to the largest gradient of the model, since a small one may be the
 * difference of large numbers. */
static void check_gradient(const struct minilm_case *c, const struct minilm_fact *want, const float *g, int64_t n, double largest)
{
    const double off = 2e-5 * want->norm + 1e-6 * largest;
    const char *const tensor = minilm_tensors[want->tensor];
    double norm = 0, product[2] = { 0 };
    uint32_t s[2] = { 12345, 54321 };

    for (int64_t i = 0; i < n; i++) {
        norm += (double)g[i] * (double)g[i];
        for (int k = 0; k < 2; k++) product[k] += (double)g[i] * lcg(&s[k]);
    }
    norm = sqrt(norm);
    if (!(fabs(norm - want->norm) <= off)) fail_msg("%s, %s: gradient of '%s' has norm %.9g, PyTorch's %.9g", c->head, c->loss, tensor, norm, want->norm);
    for (int k = 0; k < 2; k++)
        if (!(fabs(product[k] - want->product[k]) <= off))
            fail_msg("%s, %s: gradient of '%s' has product %.9g, PyTorch's %.9g (norm %.9g)", c->head, c->loss, tensor, product[k], want->product[k], norm);
    if (!(fabs((double)g[want->at] - want->largest) <= off))
        fail_msg("%s, %s: gradient of '%s' at %lld is %.9g, PyTorch's %.9g", c->head, c->loss, tensor, (long long)want->at, (double)g[want->at], want->largest);
}

static void check_gradients(const struct job *j, const struct minilm_case *c)
{
    const int model = (int)(c - minilm_cases);
    double largest = 0;
    int32_t seen = 0;

    for (size_t f = 0; f < XC_ARRAY_LEN(minilm_facts); f++)
        if (minilm_facts[f].model == model) largest = fmax(largest, minilm_facts[f].norm);
    for (int32_t i = 0; i < j->params.n; i++) {
        const struct xc_param *p = &j->params.param[i];
        const char *const name = j->m->tensors[p->tensor]->name;
        const struct minilm_fact *want = NULL;

        for (size_t f = 0; f < XC_ARRAY_LEN(minilm_facts) && !want; f++)
            if (minilm_facts[f].model == model && !strcmp(minilm_tensors[minilm_facts[f].tensor], name)) want = &minilm_facts[f];
        if (!want) fail_msg("%s, %s: PyTorch has no gradient for '%s'", c->head, c->loss, name);
        check_gradient(c, want, j->params.grad + p->at, p->n, largest);
        seen++;
    }
    assert_int_equal(seen, c->gradients);
}

static void test_head(void **state)
{
    const struct minilm_case *c = *state;
    struct job j;
    double loss;

    if (!getenv("XC_MINILM")) skip();
    if (getenv("XC_SANITIZE") && strcmp(getenv("XC_SANITIZE"), "none") && strcmp(c->head, "pair") && strcmp(c->loss, "contrast")) skip();
    open_minilm(&j, c);
    loss = forward_backward(&j, c->loss);
    if (!(fabs(loss - c->curve[0]) <= 1e-5 * fabs(c->curve[0]))) fail_msg("%s, %s: loss %.9g, PyTorch has %.9g", c->head, c->loss, loss, c->curve[0]);
    check_gradients(&j, c);
    if (!getenv("XC_SANITIZE") || !strcmp(getenv("XC_SANITIZE"), "none")) {
        memset(j.params.grad, 0, (size_t)j.params.total * sizeof *j.params.grad);
        check_curve(&j, c->loss, RATE, c->curve, c->head);
    }
    finish(&j);
}

int main(void)
{
    struct CMUnitTest tests[XC_ARRAY_LEN(minilm_cases)];
    char names[XC_ARRAY_LEN(minilm_cases)][64];

    for (size_t i = 0; i < XC_ARRAY_LEN(minilm_cases); i++) {
        snprintf(names[i], sizeof names[i], "%s (%s)", minilm_cases[i].head, minilm_cases[i].loss);
        tests[i] = (struct CMUnitTest){ .name = names[i], .test_func = test_head, .initial_state = (void *)(uintptr_t)&minilm_cases[i] };
    }
    return cmocka_run_group_tests(tests, setup, teardown);
}
