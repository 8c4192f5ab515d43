/* digesting: see digesting.h. */
#include "compress/file/digesting.h"

#include <pthread.h>

#include "compress/manifest.h"

struct xc_digesting {
    pthread_t thread;
    const char *path;
    json_t *sources;
    enum xc_status status;
    struct xc_err err;
    bool stop;
};

static void *digest(void *arg)
{
    struct xc_digesting *const d = arg;

    d->status = xc_manifest_files(&d->sources, d->path, NULL, &d->stop, &d->err);
    return NULL;
}

struct xc_digesting *xc_digesting_begin(const char *path)
{
    struct xc_digesting *d = xc_calloc(1, sizeof *d);

    if (!d) return NULL;
    d->path = path;
    if (!pthread_create(&d->thread, NULL, digest, d)) return d;
    xc_free(d);
    return NULL;
}

enum xc_status xc_digesting_end(struct xc_digesting **digesting, json_t **sources, const char *path, struct xc_err *err)
{
    struct xc_digesting *d = *digesting;
    enum xc_status status;

    *digesting = NULL;
    if (!d) return xc_manifest_files(sources, path, NULL, NULL, err);
    pthread_join(d->thread, NULL);
    *sources = d->sources;
    status = d->status;
    if (status != XC_OK && err) *err = d->err;
    xc_free(d);
    return status;
}

void xc_digesting_cancel(struct xc_digesting **digesting)
{
    json_t *sources = NULL;

    if (!*digesting) return;
    __atomic_store_n(&(*digesting)->stop, true, __ATOMIC_RELAXED);
    (void)xc_digesting_end(digesting, &sources, NULL, NULL);
    json_decref(sources);
}
