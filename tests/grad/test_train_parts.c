/* The parts of training: its loops at every level, batches of an epoch, masks, schedules, the optimizer's step against plain double-precision code, and out of memory. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "compress/grad/loops.h"
#include "compress/train/dataset.h"
#include "compress/train/finetune.h"
#include "runtime/base/rng.h"

static struct xc_err err;

static void ok_at(enum xc_status status, int line)
{
    if (status != XC_OK) fail_msg("line %d: %s (%s)", line, err.msg, err.where);
}
#define OK(call) ok_at(call, __LINE__)

/* ---- loops: the generator against xc_philox, sums against plain double, every level against scalar bit for bit ---- */
enum { WIDE = 400 };

static void fill(float *x, int64_t n, uint64_t stream)
{
    struct xc_rng rng;

    xc_rng_init(&rng, 7, stream);
    for (int64_t i = 0; i < n; i++) x[i] = (float)xc_rng_normal(&rng) * (i % 37 ? 1.0f : 50.0f);
}

struct looped { /* what each loop made; the last of each array is a guard */
    uint8_t mask[WIDE / 8 + 1];
    uint8_t rows[3 * 7 + 1];
    float turned[WIDE + 1], applied[WIDE + 1], sum[XC_LOOPS_COLS + 1], sum_xy[XC_LOOPS_COLS + 1], sum_both[XC_LOOPS_COLS + 1], h[WIDE + 1], d[WIDE + 1], d_rms[WIDE + 1];
    double squares;
};

static void loop(struct looped *o, const struct xc_loops *l, int64_t n, const float *x, const float *y, const float *gain)
{
    const int64_t cols = n < XC_LOOPS_COLS ? n : XC_LOOPS_COLS;

    memset(o, 0x5a, sizeof *o);
    l->draw(o->mask, xc_div_up(n, 8), 20000, 5, (uint64_t)1 << 40 | 9, 0xfffffff8u);
    memcpy(o->applied, x, (size_t)n * sizeof *x);
    l->apply(o->applied, o->mask, n, 1.25f);
    fill(o->sum, cols, 1);
    memset(o->sum_xy, 0, (size_t)cols * sizeof *o->sum_xy);
    l->draw_rows(o->rows, 3, 7, 20000, 5, 9, 1000);
    memcpy(o->turned, x, (size_t)n * sizeof *x);
    l->softmax_grad(o->turned, y, n, 0.5f);
    l->col_sums(o->sum, NULL, x, n, NULL, 0, 150, cols);
    fill(o->sum_both, cols, 1);
    l->col_sums(o->sum_both, o->sum_xy, x, n, y, n, 150, cols);
    l->norm_row(o->h, o->d, x, y, gain, 1e-5f, false, true, n);
    memcpy(o->d_rms, x, (size_t)n * sizeof *x);
    l->norm_row(o->h, o->d_rms, x, y, gain, 1e-5f, true, false, n);
    o->squares = l->sum_squares(x, n);
}

static void test_loops(void **state)
{
    static const int64_t sizes[] = { 1, 7, 8, 15, 16, 17, 63, 64, 65, 129, 312, 384, 399 };
    float *x = xc_malloc(150 * WIDE * sizeof *x), *y = xc_malloc(150 * WIDE * sizeof *y), gain[WIDE];
    int levels = 0;

    (void)state;
    fill(x, 150 * WIDE, 2);
    fill(y, 150 * WIDE, 3);
    fill(gain, WIDE, 4);
    for (size_t k = 0; k < XC_ARRAY_LEN(sizes); k++) {
        const int64_t n = sizes[k];
        struct looped want, got;
        double squares = 0, dot = 0, size = 0;

        loop(&want, xc_loops_at(0), n, x, y, gain);
        for (int64_t i = 0; i < n; i++) {
            uint32_t word[4];
            bool kept;

            xc_philox(word, 5, (uint64_t)1 << 40 | 9, 0xfffffff8u + (uint64_t)(i / 8));
            kept = (word[i % 8 / 2] >> (i % 2 * 16) & 0xffff) >= 20000;
            assert_int_equal(want.mask[i / 8] >> (i % 8) & 1, kept);
            assert_true(want.applied[i] == x[i] * (kept ? 1.25f : 0.0f));
            squares += (double)x[i] * (double)x[i];
        }
        assert_true(fabs(want.squares - squares) <= 1e-12 * squares);
        assert_memory_equal(want.sum, want.sum_both, sizeof want.sum);
        for (int64_t i = 0; i < 3 * 7 * 8; i++) {
            uint32_t word[4];

            xc_philox(word, 5, 9, (uint64_t)(1000 + i / 56) << 24 | (uint64_t)(i / 8 % 7));
            assert_int_equal(want.rows[i / 8] >> (i % 8) & 1, (word[i % 8 / 2] >> (i % 2 * 16) & 0xffff) >= 20000);
        }
        for (int64_t i = 0; i < n; i++) dot += (double)y[i] * (double)x[i];
        for (int64_t i = 0; i < n; i++) size += fabs((double)y[i] * (double)x[i]);
        for (int64_t i = 0; i < n; i++)
            assert_true(fabs((double)want.turned[i] - 0.5 * (double)y[i] * ((double)x[i] - dot)) <= 2e-6 * fabs((double)y[i]) * (fabs((double)x[i]) + size));
        for (int64_t c = 0; c < n && c < XC_LOOPS_COLS; c++) {
            double sum = 0, scale = 0;

            for (int64_t r = 0; r < 150; r++) {
                sum += (double)x[r * n + c] * (double)y[r * n + c];
                scale += fabs((double)x[r * n + c] * (double)y[r * n + c]);
            }
            assert_true(fabs((double)want.sum_xy[c] - sum) <= 1e-5 * scale);
        }
        for (int i = 1; xc_loops_at(i); i++) {
            if (!xc_loops_run_here(xc_loops_at(i))) continue;
            loop(&got, xc_loops_at(i), n, x, y, gain);
            if (memcmp(&want, &got, sizeof want)) fail_msg("level %s, %d numbers: other bits than scalar", xc_loops_at(i)->level, (int)n);
            levels++;
        }
    }
    if (!levels) print_message("no level but scalar runs here\n");
    xc_free(x);
    xc_free(y);
}

/* ---- batches ---- */
enum { ROWS = 500 };

static void made_up(struct xc_dataset *d, int32_t per_row)
{
    int64_t at = 0;

    *d = (struct xc_dataset){ .n = ROWS, .per_row = per_row };
    xc_arena_init(&d->data.arena);
    d->start = xc_calloc(ROWS * 2 + 1, sizeof *d->start);
    for (int64_t i = 0; i < ROWS * per_row; i++) d->start[i + 1] = at += 1 + i % 23;
    d->ids = xc_calloc((size_t)at, sizeof *d->ids);
    d->words = xc_calloc((size_t)at, sizeof *d->words);
    d->types = xc_calloc((size_t)at, 1);
    for (int64_t i = 0; i < at; i++) {
        d->ids[i] = 1000 + (int32_t)i;
        d->words[i] = i % 10 ? (int32_t)(i % 10) : -1;
    }
}

static void test_batches(void **state)
{
    struct xc_batches a = { 0 }, b = { 0 };
    struct xc_dataset d;

    (void)state;
    for (int32_t per_row = 1; per_row <= 2; per_row++) {
        int seen[ROWS] = { 0 }, moved = 0;

        made_up(&d, per_row);
        OK(xc_batches_plan(&a, &d, true, 3, 0, 100, 9, &err));
        OK(xc_batches_plan(&b, &d, true, 3, 0, 100, 9, &err));
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.order, b.order, ROWS * sizeof *a.order);
        for (int64_t i = 0; i < a.n; i++) {
            int64_t tokens = 0, targets;
            const struct xc_masking none = { .on = false };
            struct xc_batch batch = { 0 };

            for (int64_t r = a.first[i]; r < a.first[i + 1]; r++) {
                const int64_t row = a.order[r];

                seen[row]++;
                tokens += d.start[(row + 1) * per_row] - d.start[row * per_row];
            }
            assert_true(a.first[i + 1] > a.first[i] && a.first[i + 1] - a.first[i] <= 9);
            assert_true(tokens <= 100);
            OK(xc_batch_fill(&batch, &d, &a, i, &none, &targets, &err));
            assert_int_equal(targets, a.first[i + 1] - a.first[i]);
            assert_int_equal(batch.start[batch.sequences], tokens);
            for (int64_t s = 0, row = 0; s < batch.sequences; s++) { /* sequence s is sequence s % per_row of its row */
                row = a.order[a.first[i] + s / per_row] * per_row + s % per_row;
                assert_int_equal(batch.start[s + 1] - batch.start[s], d.start[row + 1] - d.start[row]);
                assert_int_equal(batch.ids[batch.start[s]], d.ids[d.start[row]]);
            }
            xc_batch_release(&batch);
        }
        for (int i = 0; i < ROWS; i++) assert_int_equal(seen[i], 1);
        OK(xc_batches_plan(&b, &d, true, 3, 1, 100, 9, &err)); /* another epoch, another order */
        for (int i = 0; i < ROWS; i++) moved += a.order[i] != b.order[i];
        assert_true(moved > ROWS / 2);
        OK(xc_batches_plan(&b, &d, false, 3, 1, 1, 0, &err)); /* no row fits: one by one, in the file's order */
        assert_int_equal(b.n, ROWS);
        for (int i = 0; i < ROWS; i++) assert_int_equal(b.order[i], i);
        xc_dataset_release(&d);
    }
    xc_batches_release(&a);
    xc_batches_release(&b);
}

static void test_masks(void **state)
{
    struct xc_masking mask = { .on = true, .mask_id = 7, .vocab = 900, .share = 0.15, .seed = 1 };
    struct xc_batches plan = { 0 };
    struct xc_batch batch = { 0 };
    struct xc_dataset d;
    int64_t targets, masked = 0, other = 0, same = 0, words = 0;

    (void)state;
    made_up(&d, 1);
    OK(xc_batches_plan(&plan, &d, false, 0, 0, 1 << 20, 0, &err));
    OK(xc_batch_fill(&batch, &d, &plan, 0, &mask, &targets, &err));
    for (int64_t i = 0; i < batch.tokens; i++) {
        words += d.words[i] >= 0;
        if (batch.label[i] < 0) {
            assert_int_equal(batch.ids[i], d.ids[i]);
            continue;
        }
        assert_true(d.words[i] >= 0);
        assert_int_equal(batch.label[i], d.ids[i]);
        masked += batch.ids[i] == 7;
        same += batch.ids[i] == d.ids[i];
        other += batch.ids[i] != 7 && batch.ids[i] != d.ids[i];
    }
    assert_int_equal(targets, masked + same + other);
    assert_true(fabs((double)targets / (double)words - 0.15) < 0.02);
    assert_true(fabs((double)masked / (double)targets - 0.8) < 0.05);
    assert_true(fabs((double)other / (double)targets - 0.1) < 0.04);
    xc_batch_release(&batch);
    xc_batches_release(&plan);
    xc_dataset_release(&d);
}

static void test_schedule(void **state)
{
    double before = 0;

    (void)state;
    for (int64_t t = 0; t < 10; t++) { /* rises for ten of a hundred, then falls to nearly nothing */
        const double x = xc_schedule_factor(XC_SCHEDULE_LINEAR, 0.1, t, 100);

        assert_true(x > before && x < 1);
        before = x;
    }
    assert_true(fabs(xc_schedule_factor(XC_SCHEDULE_LINEAR, 0.1, 10, 100) - 1) < 1e-12);
    assert_true(fabs(xc_schedule_factor(XC_SCHEDULE_LINEAR, 0.1, 55, 100) - 0.5) < 1e-12);
    assert_true(fabs(xc_schedule_factor(XC_SCHEDULE_COSINE, 0.1, 55, 100) - 0.5) < 1e-12);
    assert_true(fabs(xc_schedule_factor(XC_SCHEDULE_COSINE, 0, 25, 100) - 0.5 * (1 + sqrt(0.5))) < 1e-12);
    assert_true(xc_schedule_factor(XC_SCHEDULE_LINEAR, 0.1, 99, 100) < 0.02);
    assert_true(fabs(xc_schedule_factor(XC_SCHEDULE_CONSTANT, 0, 99, 100) - 1) < 1e-12);
}

/* ---- the optimizer ---- */
static struct xc_model *two_tensors(void)
{
    static const int64_t matrix[2] = { 130, 257 }, vector[1] = { 19 };
    struct xc_model *m;

    OK(xc_model_new(&m, &err));
    for (int k = 0; k < 2; k++) {
        const int64_t n = k ? 19 : 130 * 257;
        float *x = malloc((size_t)n * sizeof *x);
        struct xc_rng rng;
        int32_t id;

        xc_rng_init(&rng, 1, (uint64_t)k);
        for (int64_t i = 0; i < n; i++) x[i] = (float)xc_rng_normal(&rng);
        OK(xc_model_add_tensor(m, &id, k ? "bias" : "weight", k ? 1 : 2, k ? vector : matrix, &err));
        OK(xc_tensor_set_f32(m->tensors[id], x, &err));
        free(x);
    }
    return m;
}

static void test_optimizer(void **state)
{
    const bool all[2] = { true, true };

    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        const struct xc_optimizer_opts o = { .kind = (enum xc_optimizer)kind, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.1, .clip = 0.5, .ema = 0.75 };
        struct xc_model *m = two_tensors();
        struct xc_params p;
        double *x, *m1, *m2, *ema;
        float *grad;

        OK(xc_params_new(&p, m, all, &o, &err));
        assert_int_equal(p.total, 130 * 257 + 19);
        x = calloc((size_t)p.total * 4, sizeof *x);
        m1 = x + p.total;
        m2 = m1 + p.total;
        ema = m2 + p.total;
        grad = malloc((size_t)p.total * sizeof *grad);
        for (int64_t i = 0; i < p.total; i++) ema[i] = x[i] = (double)(i < 130 * 257 ? p.param[0].p[i] : p.param[1].p[i - 130 * 257]);
        p.param[1].rate = 0.5;
        for (int t = 1; t <= 5; t++) {
            struct xc_rng rng;
            double norm, want = 0;

            xc_rng_init(&rng, 2, (uint64_t)t);
            for (int64_t i = 0; i < p.total; i++) {
                const int64_t zone = i / 700 % 4; /* as the rows of a word table: touched always, late, once, never */

                p.grad[i] = (float)(xc_rng_normal(&rng) * 0.01) * (float)(zone == 0 || (zone == 1 && t >= 3) || (zone == 2 && t == 1));
                want += (double)p.grad[i] * (double)p.grad[i];
            }
            OK(xc_params_norm(&p, m, &norm, NULL, &err));
            assert_true(fabs(norm - sqrt(want)) < 1e-9 * norm);
            assert_true(norm > o.clip);
            memcpy(grad, p.grad, (size_t)p.total * sizeof *grad);
            xc_params_step(&p, &o, t, 0.01, norm, NULL);
            for (int64_t i = 0; i < p.total; i++) {
                const bool bias = i >= 130 * 257;
                const double rate = bias ? 0.005 : 0.01, decay = bias ? 0 : 0.1, g = (double)grad[i] * o.clip / (norm + 1e-6);

                assert_true(p.grad[i] == 0);

                if (kind == XC_OPT_ADAMW) {
                    m1[i] = 0.9 * m1[i] + 0.1 * g;
                    m2[i] = 0.99 * m2[i] + 0.01 * g * g;
                    x[i] = x[i] * (1 - rate * decay) - rate * (m1[i] / (1 - pow(0.9, t))) / (sqrt(m2[i] / (1 - pow(0.99, t))) + 1e-6);
                } else {
                    m1[i] = 0.9 * m1[i] + (g + decay * x[i]);
                    x[i] -= rate * m1[i];
                }
                ema[i] = 0.75 * ema[i] + 0.25 * x[i];
            }
        }
        for (int64_t i = 0; i < p.total; i++) {
            const float got = i < 130 * 257 ? p.param[0].p[i] : p.param[1].p[i - 130 * 257];

            if (!(fabs((double)got - x[i]) <= 3e-6)) fail_msg("optimizer %d: number %d is %.9g, must be %.9g", kind, (int)i, (double)got, x[i]);
            if (!(fabs((double)p.ema[i] - ema[i]) <= 3e-6)) fail_msg("optimizer %d: average %d is %.9g, must be %.9g", kind, (int)i, (double)p.ema[i], ema[i]);
        }
        p.grad[130 * 257 + 3] = NAN;
        assert_int_equal(xc_params_norm(&p, m, &(double){ 0 }, NULL, &err), XC_E_RANGE);
        assert_string_equal(err.msg, "the gradient of tensor 'bias' is not finite");
        xc_params_release(&p);
        xc_model_free(&m);
        free(grad);
        free(x);
    }
}

/* ---- every allocation fails once ---- */
static void write_rows(const char *path)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs("label\ttext\n", f);
    for (int i = 0; i < 6; i++) fprintf(f, "%d\tsome text %d\n", i % 2, i);
    fclose(f);
}

static void out_of_memory(bool sparse)
{
    char data[] = "/tmp/xc_train_XXXXXX", out[64], model[1024];
    struct xc_finetune_opts o = { .task = "classify", .data = data, .dev = data, .rate = 1e-3, .epochs = 1, .batch_tokens = 20, .accumulate = 1, .dropout = 0.1, .no_golden = true, .mask_share = 0.15,
                                  .optimizer = { .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .ema = 0.5 } };
    struct xc_finetune_result result;
    enum xc_status status = XC_E_NOMEM;
    int64_t n = 0;

    if (sparse) { /* masks, and an int8 model for every measurement */
        o.optimizer.ema = 0;
        o.sparsify = (struct xc_sparsify_opts){ .prune = "movement=0.5@16x4", .end = 0.5, .global = true };
        o.export = "int8";
    }
    assert_true(close(mkstemp(data)) == 0);
    write_rows(data);
    snprintf(out, sizeof out, "%s.xc", data);
    snprintf(model, sizeof model, "%s/tests/data/tiny-bert", getenv("XC_SOURCE_ROOT"));
    for (; status != XC_OK && n < 100000; n += 1 + n / 16) {
        xc_alloc_fail_after(n);
        status = xc_finetune_file(model, out, &o, &result, &err);
        xc_alloc_fail_after(-1);
        if (status == XC_OK) break;
        assert_int_not_equal(access(out, F_OK), 0); /* nothing is left */
    }
    assert_int_equal(status, XC_OK);
    assert_true(n > 100);
    assert_true(result.steps > 1);
    if (sparse) assert_true(fabs(result.sparsity - 0.5) < 0.05);
    unlink(data);
    unlink(out);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    out_of_memory(false);
    out_of_memory(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loops), cmocka_unit_test(test_batches), cmocka_unit_test(test_masks), cmocka_unit_test(test_schedule), cmocka_unit_test(test_optimizer), cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
