/* neon_model: a whole model on the library alone: golden samples at every level of this machine, one and two threads, in every batching; then
 * the embeddings of lines of text, to be compared bit by bit with another machine's. Run by run-neon.sh under qemu; builds anywhere.
 *
 *   neon_model MODEL.xc [TEXTS OUT]      OUT: float32 rows, no header */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/kernels/kernels.h"
#include "runtime/session/golden.h"

static int fail(const struct xc_err *err)
{
    char text[512];

    fprintf(stderr, "neon_model: %s\n", xc_err_text(err, text, sizeof text));
    return EXIT_FAILURE;
}

static int check(struct xc_model *model)
{
    const char *const *levels = xc_kernels_levels();
    struct xc_err err = {0};
    int n = 0;

    for (; *levels; levels++) {
        if (!xc_kernels_for(*levels)) continue; /* not on this machine */
        for (int threads = 1; threads <= 2; threads++)
            for (int batching = 0; batching < XC_BATCH_COUNT; batching++) {
                struct xc_golden_setup setup = {.isa = *levels, .batching = (enum xc_batching)batching};
                enum xc_status status = xc_pool_new(&setup.pool, threads, &err);
                int checked = 0;

                if (status == XC_OK) status = xc_golden_check(model, &setup, &checked, &err);
                xc_pool_free(&setup.pool);
                if (status != XC_OK) return fail(&err);
                if (checked == 0) return EXIT_FAILURE;
                n += checked;
            }
        printf("%s: %d answers so far, all the same\n", *levels, n);
    }
    return n ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int embed(struct xc_model *model, const char *texts, const char *out)
{
    const struct xc_session_opts opts = {0};
    struct xc_session *session = NULL;
    struct xc_output answer;
    struct xc_err err = {0};
    FILE *const in = fopen(texts, "r"), *const to = fopen(out, "wb");
    char line[4096];

    if (!in || !to) return EXIT_FAILURE;
    if (xc_session_new(&session, model, &opts, &err)) return fail(&err);
    while (fgets(line, sizeof line, in)) {
        const char *const text = line;

        line[strcspn(line, "\n")] = '\0';
        if (xc_session_run_texts(session, &text, NULL, 1, &answer, &err)) return fail(&err);
        if (fwrite(answer.data, sizeof *answer.data, (size_t)(answer.rows * answer.cols), to) != (size_t)(answer.rows * answer.cols)) return EXIT_FAILURE;
    }
    xc_session_free(&session);
    fclose(in);
    return fclose(to) ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct xc_model *model = NULL;
    struct xc_err err = {0};
    int code;

    if (argc != 2 && argc != 4) return 2;
    if (xc_model_open(&model, argv[1], &err)) return fail(&err);
    code = check(model);
    if (code == EXIT_SUCCESS && argc == 4) code = embed(model, argv[2], argv[3]);
    xc_model_free(&model);
    return code;
}
