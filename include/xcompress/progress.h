/* Progress and cancellation of long work: two callbacks that the caller may give. */
#ifndef XC_PROGRESS_H
#define XC_PROGRESS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Any function may be NULL, and so may a pointer to the struct. Called on the thread that called the library, a few times to a few
 * thousand times a second: it should be cheap. */
struct xc_progress {
    /* `done` of `total` units of `what` ("quantize", "write", ...); total <= 0 = unknown. A new `what` begins a new stage. */
    void (*update)(void *arg, const char *what, double done, double total);
    /* Non-zero: stop soon with XC_E_CANCELLED, leaving nothing half done. */
    int (*cancelled)(void *arg);
    void *arg;
    /* A few words that go with the stage under way: "loss 0.312, accuracy 0.911". */
    void (*note)(void *arg, const char *text);
};

#ifdef __cplusplus
}
#endif
#endif
