/* test_resume: interrupted work goes on: after a kill at any moment, after a stop on request, after damage to what was kept, the file that comes
 * out is the same to the byte, and nothing is left beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/base.h"
#include "tests/unit/scratch.h"
#include "xcompress/compress.h"

static char tiny[1024], dir[1024], out[1100], side[1200], want[1100], texts[1100], other[1100];
static const char *recipe = "passes: [quantize]\n"; /* of the work that is interrupted */
static uint64_t memory; /* that it may take; 0 = the default */

static bool exists(const char *path)
{
    struct stat st;

    return !stat(path, &st);
}

/* A run that lasts longer than what side.c waits for before it writes, and ends at the n-th tensor. */
struct stop {
    int at, seen;
    bool kill, stopped;
};

static void update(void *arg, const char *what, double done, double total)
{
    struct stop *s = arg;

    (void)done;
    (void)total;
    if (strcmp(what, "quantize") && strcmp(what, "prune")) return;
    if (!s->seen++) usleep(1100000);
    if (s->seen <= s->at) return;
    s->stopped = true;
    if (s->kill) raise(SIGKILL);
}

static int cancelled(void *arg) { return ((const struct stop *)arg)->stopped; }

static enum xc_status compress(struct stop *stop, bool no_resume, bool f32_attention, int64_t *resumed, struct xc_err *err)
{
    const struct xc_progress progress = { .update = update, .cancelled = cancelled, .arg = stop };
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result;
    struct xc_recipe *r = NULL;
    const char *yaml = f32_attention ? "passes:\n- quantize: {attention: f32}\n" : recipe;
    enum xc_status status;

    ok(xc_recipe_parse(&r, yaml, strlen(yaml), "r", err), err);
    opts.recipe = r;
    opts.no_resume = no_resume;
    if (strstr(yaml, "gptq") || strstr(yaml, "shrink") || strstr(yaml, "obs")) opts.calibrate = texts;
    opts.max_memory = memory;
    if (stop) opts.progress = &progress;
    status = xc_compress_file(tiny, out, &opts, &result, err);
    if (resumed) *resumed = status == XC_OK ? result.resumed : -1;
    if (status == XC_OK) xc_compress_result_release(&result);
    xc_recipe_free(&r);
    return status;
}

/* A child that is killed in the middle. */
static void killed(int at)
{
    const pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (!pid) {
        struct stop stop = { .at = at, .kill = true };
        struct xc_err err = { 0 };

        compress(&stop, true, false, NULL, &err);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_false(exists(out));
    assert_true(exists(side));
}

static void finish(bool no_resume, int64_t least, int64_t most)
{
    struct xc_err err = { 0 };
    int64_t resumed;

    ok(compress(NULL, no_resume, false, &resumed, &err), &err);
    if (resumed < least || resumed > most) fail_msg("%lld tensors were re-used, %lld to %lld expected", (long long)resumed, (long long)least, (long long)most);
    same_files(out, want);
    assert_false(exists(side));
    unlink(out);
}

static void test_killed(void **state)
{
    (void)state;
    killed(3);
    finish(false, 1, 3);
    killed(9);
    finish(false, 7, 9);
    killed(6);
    finish(true, 0, 0);
    finish(false, 0, 0); /* nothing is left of it */
}

static void test_cancelled(void **state)
{
    struct stop stop = { .at = 5 };
    struct xc_err err = { 0 };

    (void)state;
    assert_int_equal(compress(&stop, false, false, NULL, &err), XC_E_CANCELLED);
    assert_false(exists(out));
    assert_true(exists(side));
    finish(false, 3, 6);
}

/* Weights in groups: each on its own, and along the walk that smooths them; and by Hessians, which are those of weights that this round has not rounded yet, taken again or not. In the
 * output, tensors lie where the side file had them. */
static void test_groups(void **state)
{
    static const char *const recipes[] = { "passes:\n- quantize: {format: int4}\n", "passes:\n- quantize: {format: int4, method: gptq}\n", "passes:\n- quantize: {format: int3, zero_point: yes}\n",
                                          "passes:\n- quantize: {smooth: along}\n" };
    char int8[1200];

    (void)state;
    snprintf(int8, sizeof int8, "%s.int8", want);
    assert_int_equal(rename(want, int8), 0);
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++) {
        struct xc_err err = { 0 };

        recipe = recipes[i];
        ok(compress(NULL, true, false, NULL, &err), &err);
        assert_int_equal(rename(out, want), 0);
        for (int at = 1; at < 12; at += 5) {
            killed(at);
            finish(false, at - 1 ? 1 : 0, 1000); /* biases count, too */
        }
    }
    recipe = "passes: [quantize]\n";
    assert_int_equal(rename(int8, want), 0);
}

/* Pruning by second order: its weights go to the side file where memory is short, and come out the same; a group that was cut off is made again. */
static void test_prune(void **state)
{
    struct xc_err err = { 0 };
    char int8[1200];

    (void)state;
    snprintf(int8, sizeof int8, "%s.int8", want);
    assert_int_equal(rename(want, int8), 0);
    recipe = "passes:\n- prune: {saliency: obs}\n- quantize\n";
    ok(compress(NULL, true, false, NULL, &err), &err);
    assert_int_equal(rename(out, want), 0);
    memory = 40000; /* one weight has 4 KB */
    finish(true, 0, 0);
    for (int at = 3; at < 15; at += 11) { /* in the first pass, in the second */
        killed(at);
        finish(false, at > 12 ? 12 : 0, 1000);
    }
    memory = 0;
    recipe = "passes: [quantize]\n";
    assert_int_equal(rename(int8, want), 0);
}

/* At any instant, that of the last writing too: the time of the kill is drawn, not the place. What comes out in the end is the same, and until then there is
 * the old output or none. */
static void test_any_instant(void **state)
{
    static const uint8_t old[] = "the old file";

    (void)state;
    for (int i = 0; i < 12; i++) {
        const pid_t pid = fork();
        int status;

        assert_true(pid >= 0);
        if (!i) write_file(out, old, sizeof old);
        if (!pid) {
            struct stop stop = { .at = 1 << 30 };
            struct xc_err err = { 0 };

            compress(&stop, false, false, NULL, &err);
            _exit(0);
        }
        usleep(1090000 + (useconds_t)(i * 7919 % 41) * 1000); /* around the moment when it begins to write, and to the end */
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (exists(out)) {
            size_t n;
            uint8_t *p = read_file(out, &n);

            if (n != sizeof old || memcmp(p, old, n)) same_files(out, want);
            free(p);
        }
    }
    finish(false, 0, 1000);
}

/* A disk that is full after so many bytes (a limit on the size of files stands for it): an error, the old output untouched; what was finished is of use. */
static void test_full(void **state)
{
    static const uint8_t old[] = "the old file";
    struct stat st;

    (void)state;
    assert_int_equal(stat(want, &st), 0);
    for (int i = 0; i < 8; i++) {
        const pid_t pid = fork();
        const bool slow = i % 2; /* long enough for a side file */
        size_t n;
        uint8_t *p;
        int status;

        assert_true(pid >= 0);
        write_file(out, old, sizeof old);
        if (!pid) {
            const rlim_t most = (rlim_t)(st.st_size * i / 8);
            struct stop stop = { .at = 1 << 30 };
            struct xc_err err = { 0 };

            signal(SIGXFSZ, SIG_IGN);
            if (setrlimit(RLIMIT_FSIZE, &(struct rlimit){ most, most })) _exit(2);
            _exit(compress(slow ? &stop : NULL, false, false, NULL, &err) == XC_E_IO && err.msg[0] ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        p = read_file(out, &n);
        assert_true(n == sizeof old && !memcmp(p, old, n));
        free(p);
    }
    finish(false, 0, 1000);
}

/* A plan of a budget takes equal shares in all layers; what becomes wider than that does not lie over its neighbour, in a run that lasts and in one that goes on. */
static void test_other_widths(void **state)
{
    struct stop stop = { .at = 1 << 30 };
    struct xc_err err = { 0 };

    (void)state;
    recipe = "passes:\n- shrink: {flops: 0.85, heads: no}\n- quantize\n";
    ok(compress(NULL, true, false, NULL, &err), &err);
    assert_int_equal(rename(out, other), 0);
    ok(compress(&stop, true, false, NULL, &err), &err);
    same_files(out, other);
    unlink(out);
    killed(6);
    ok(compress(NULL, false, false, NULL, &err), &err);
    same_files(out, other);
    unlink(out);
    unlink(other);
    recipe = "passes: [quantize]\n";
}

/* Where it becomes the output, it has the old one's mode; through a link, the file that the link names is replaced. */
static void test_as_output(void **state)
{
    char real[1200];
    struct stop stop = { .at = 1 << 30 };
    struct xc_err err = { 0 };
    struct stat st;

    (void)state;
    write_file(out, (const uint8_t *)"x", 1);
    assert_int_equal(chmod(out, 0640), 0);
    ok(compress(&stop, false, false, NULL, &err), &err);
    assert_int_equal(stat(out, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    same_files(out, want);
    unlink(out);
    snprintf(real, sizeof real, "%s/real.xc", dir);
    assert_int_equal(symlink("real.xc", out), 0);
    stop = (struct stop){ .at = 1 << 30 };
    ok(compress(&stop, false, false, NULL, &err), &err);
    assert_int_equal(lstat(out, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    same_files(real, want);
    assert_false(exists(side));
    unlink(real);
    unlink(out);
}

/* Another recipe does not take what this one has made, and leaves nothing either. */
static void test_other_work(void **state)
{
    struct xc_err err = { 0 };
    int64_t resumed;

    (void)state;
    killed(5);
    ok(compress(NULL, false, true, &resumed, &err), &err);
    assert_int_equal(resumed, 0);
    assert_false(exists(side));
    unlink(out);
}

/* Cut anywhere, or changed anywhere: the same bytes come out. */
static void test_damage(void **state)
{
    uint8_t *p;
    size_t n;

    (void)state;
    killed(9);
    p = read_file(side, &n);
    for (size_t cut = 0; cut <= n; cut += cut < 20000 ? 1777 : 19999) {
        write_file(side, p, cut);
        finish(false, 0, 9);
    }
    for (size_t at = 0; at + 8 < n; at += 1999) {
        static const uint8_t hole[8];

        if (!memcmp(p + at, hole, sizeof hole)) continue; /* nothing is there to be damaged */
        p[at] ^= 0x55;
        write_file(side, p, n);
        finish(false, 0, 9);
        p[at] ^= 0x55;
    }
    free(p);
}

static int teardown(void **state)
{
    (void)state;
    unlink(out);
    unlink(want);
    unlink(side);
    unlink(texts);
    rmdir(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_other_work),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_groups), cmocka_unit_test(test_prune),
        cmocka_unit_test(test_any_instant),
        cmocka_unit_test(test_as_output),
        cmocka_unit_test(test_other_widths),
        cmocka_unit_test(test_full),
    };
    const char *root = getenv("XC_SOURCE_ROOT");
    struct xc_err err = { 0 };

    snprintf(tiny, sizeof tiny, "%s/tests/data/tiny-bert", root ? root : ".");
    snprintf(dir, sizeof dir, "%s/xc_resume_XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(dir)) return 1;
    snprintf(out, sizeof out, "%s/o.xc", dir);
    snprintf(side, sizeof side, "%s.resume", out);
    snprintf(want, sizeof want, "%s/want.xc", dir);
    snprintf(texts, sizeof texts, "%s/texts.txt", dir);
    snprintf(other, sizeof other, "%s/other.xc", dir);
    write_file(texts, (const uint8_t *)"A man is playing a guitar.\nTwo dogs run.\nThe city sleeps.\n", 58);
    if (compress(NULL, true, false, NULL, &err) != XC_OK || rename(out, want)) return 1;
    return cmocka_run_group_tests(tests, NULL, teardown);
}
