/* train_memory: bytes of values, gradients of values and scratch that training a model takes for one batch, by the tape's own plan, as JSON: with every value kept, and
 * computed again from cuts 1, 2, 3, ... places apart; in the end with the inputs of reversible blocks recovered, where there are some. Weights, their gradients and the optimizer's numbers are not in it.
 *
 *   train_memory MODEL TOKENS SEQUENCES     such as what `convert SPECIFICATION --init random` makes */
#include <stdio.h>
#include <stdlib.h>

#include "compress/grad/tape.h"
#include "xcompress/compress.h"

/* segment -1: reversible; 0 bytes where nothing is. */
static enum xc_status bytes_with(double *bytes, struct xc_graph *g, const bool *trained, int32_t segment, int64_t tokens, int64_t sequences, struct xc_err *err)
{
    const struct xc_tape_opts opts = { .trained = trained, .segment = segment > 0 ? segment : 0, .reverse = segment < 0 };
    struct xc_tape *tape = NULL;

    XC_TRY(xc_tape_new(&tape, g, &opts, err));
    *bytes = segment < 0 && !xc_tape_reversible(tape) ? 0 : xc_tape_bytes(tape, tokens, sequences);
    xc_tape_free(&tape);
    return XC_OK;
}

int main(int argc, char **argv)
{
    static const int32_t segments[] = { 0, 1, 2, 3, 4, 6, 8, -1 };
    struct xc_model *m = NULL;
    struct xc_graph *g;
    struct xc_err err = { 0 };
    bool *trained = NULL;
    enum xc_status status;
    char text[512];

    if (argc != 4) {
        fprintf(stderr, "usage: train_memory MODEL TOKENS SEQUENCES\n");
        return 2;
    }
    status = xc_import(&m, argv[1], &err);
    g = status == XC_OK ? xc_model_find_graph(m, "encode") : NULL;
    if (g) trained = calloc((size_t)m->n_tensors + 1, sizeof *trained);
    for (int32_t t = 0; trained && t < m->n_tensors; t++) {
        trained[t] = true;
        if (status == XC_OK) status = xc_tensor_load(m->tensors[t], &err);
    }
    for (size_t i = 0; trained && i < XC_ARRAY_LEN(segments) && status == XC_OK; i++) {
        double bytes = 0;

        status = bytes_with(&bytes, g, trained, segments[i], atoll(argv[2]), atoll(argv[3]), &err);
        if (status == XC_OK && segments[i] < 0 && bytes > 0) printf(", {\"reversible\": true, \"bytes\": %.0f}", bytes);
        if (status == XC_OK && segments[i] >= 0) printf("%s{\"segment\": %d, \"bytes\": %.0f}", i ? ", " : "[", segments[i], bytes);
    }
    if (trained && status == XC_OK) printf("]\n");
    else fprintf(stderr, "train_memory: %s\n", g || status != XC_OK ? xc_err_text(&err, text, sizeof text) : "the model has no graph 'encode'");
    free(trained);
    xc_model_free(&m);
    return status == XC_OK && g ? 0 : 1;
}
