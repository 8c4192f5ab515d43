/* process: see process.h. */
#include "compress/gate/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/base.h"
#include "runtime/base/clock.h"

extern char **environ;

static enum xc_status start(pid_t *child, int *fd, char *const argv[], struct xc_err *err)
{
    posix_spawn_file_actions_t actions;
    int fds[2], e;

    if (pipe2(fds, O_CLOEXEC)) return xc_fail_errno(err, errno, "cannot make a pipe");
    if (posix_spawn_file_actions_init(&actions)) {
        close(fds[0]);
        close(fds[1]);
        return xc_fail_nomem(err, 0);
    }
    e = posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
    if (!e) e = posix_spawn(child, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    *fd = fds[0];
    if (!e) return XC_OK;
    close(fds[0]);
    return xc_fail_errno(err, e, "cannot run '%s'", argv[0]);
}

enum xc_status xc_process_read(struct xc_said *out, char *const argv[], size_t max_bytes, const struct xc_progress *progress, struct xc_err *err)
{
    enum xc_status status = XC_OK;
    size_t cap = 0;
    ssize_t got = 1;
    pid_t child;
    int fd = -1, wait_status = 0;

    *out = (struct xc_said){ 0 };
    XC_TRY(start(&child, &fd, argv, err));
    while (status == XC_OK && got != 0) {
        if (progress && progress->cancelled && progress->cancelled(progress->arg)) {
            status = xc_fail(err, XC_E_CANCELLED, "stopped");
            break;
        }
        status = xc_grow((void **)&out->text, &cap, out->n + 4096, 1, err);
        if (status != XC_OK) break;
        got = read(fd, out->text + out->n, cap - out->n - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = xc_fail_errno(err, errno, "cannot read what '%s' says", argv[0]);
        if (got <= 0) break;
        if (!out->n) out->first = xc_seconds();
        out->n += (size_t)got;
        if (out->n > max_bytes) status = xc_fail(err, XC_E_RANGE, "'%s' says more than %zu bytes", argv[0], max_bytes);
    }
    close(fd);
    if (status != XC_OK) kill(child, SIGTERM);
    while (waitpid(child, &wait_status, 0) < 0 && errno == EINTR) {
    }
    out->code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
    if (out->text) out->text[out->n] = '\0';
    if (status != XC_OK) {
        xc_free(out->text);
        *out = (struct xc_said){ 0 };
    }
    return status;
}
