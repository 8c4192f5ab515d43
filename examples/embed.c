/* embed: the cosine of two texts, by libxcrt alone.
 *
 *     cc embed.c $(pkg-config --cflags --libs xcrt) -lm -o embed
 *     ./embed MODEL.xc "a cat sat" "the cat was sitting" */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <xcompress/runtime.h>

static int fail(const struct xc_err *err)
{
    char text[512];

    fprintf(stderr, "embed: %s\n", xc_err_text(err, text, sizeof text));
    return EXIT_FAILURE;
}

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

int main(int argc, char **argv)
{
    struct xc_model *model = NULL;
    struct xc_session *session = NULL;
    struct xc_pool *pool = NULL;
    struct xc_session_opts opts = {0};
    struct xc_output out;
    struct xc_err err = {0};
    int exit_code = EXIT_SUCCESS;

    if (argc != 4) {
        fprintf(stderr, "usage: embed MODEL.xc TEXT TEXT\n");
        return 2;
    }
    const char *const texts[2] = {argv[2], argv[3]};

    if (xc_pool_new(&pool, 2, &err) || xc_model_open(&model, argv[1], &err)) {
        exit_code = fail(&err);
        goto out;
    }
    opts.pool = pool;
    if (xc_session_new(&session, model, &opts, &err) || xc_session_run_texts(session, texts, NULL, 2, &out, &err)) {
        exit_code = fail(&err);
        goto out;
    }
    if (out.rows == 2) {
        const float *a = out.data, *b = out.data + out.cols;

        printf("%.6f\n", dot(a, b, out.cols) / sqrt(dot(a, a, out.cols) * dot(b, b, out.cols)));
    }
out:
    xc_session_free(&session);
    xc_model_free(&model);
    xc_pool_free(&pool);
    return exit_code;
}
