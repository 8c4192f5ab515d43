/* Atomic replacement: the path holds the old file or the new one, and nothing is left beside it, whatever fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/atomic_file.h"

static char dir[64], target[96];

static int enter(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/xc_atomic_XXXXXX");
    if (mkdtemp(dir) == NULL) return -1;
    snprintf(target, sizeof target, "%s/out", dir);
    return 0;
}

static int leave(void **state)
{
    char command[192];

    (void)state;
    snprintf(command, sizeof command, "chmod -R u+w %s; rm -rf %s", dir, dir);
    return system(command);
}

static int count_files(void)
{
    DIR *const d = opendir(dir);
    int n = 0;

    for (const struct dirent *e; (e = readdir(d)) != NULL;) n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

static void assert_content(const char *path, const char *want)
{
    char text[256] = "";
    FILE *const f = fopen(path, "r");

    assert_non_null(f);
    assert_int_equal(fread(text, 1, sizeof text - 1, f), strlen(want));
    fclose(f);
    assert_string_equal(text, want);
}

static void put(const char *path, const char *text)
{
    struct xc_err err = {0};

    if (xc_atomic_write_file(path, text, strlen(text), &err) != XC_OK) fail_msg("%s: %s", err.where, err.msg);
}

static void test_replace(void **state)
{
    struct xc_atomic_file *file;
    struct xc_err err = {0};

    (void)state;
    put(target, "old");
    assert_int_equal(xc_atomic_open(&file, target, &err), XC_OK);
    assert_int_equal(xc_atomic_write(file, "0000 body", 9, &err), XC_OK);
    assert_int_equal(xc_atomic_write_at(file, 0, "head", 4, &err), XC_OK);
    assert_int_equal(xc_atomic_write_at(file, 6, "body", 4, &err), XC_E_ARG);
    assert_int_equal(xc_atomic_write(file, " tail", 5, &err), XC_OK);
    assert_int_equal(xc_atomic_size(file), 14);
    assert_content(target, "old");
    assert_int_equal(xc_atomic_commit(&file, &err), XC_OK);
    assert_null(file);
    assert_content(target, "head body tail");
    assert_int_equal(count_files(), 1);

    assert_int_equal(xc_atomic_open(&file, target, &err), XC_OK);
    assert_int_equal(xc_atomic_write(file, "gone", 4, &err), XC_OK);
    xc_atomic_discard(&file);
    xc_atomic_discard(&file);
    assert_content(target, "head body tail");
    assert_int_equal(count_files(), 1);
}

/* Writes around the buffer's size, in pieces. */
static void test_large(void **state)
{
    const size_t n = (size_t)3 << 20;
    uint8_t *const bytes = malloc(n), *const back = malloc(n);
    struct xc_atomic_file *file;
    size_t at = 0;
    FILE *f;

    (void)state;
    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    assert_int_equal(xc_atomic_open(&file, target, NULL), XC_OK);
    for (size_t piece = 1; at < n; piece = piece * 3 + 1) {
        const size_t take = piece % 500000 < n - at ? piece % 500000 : n - at;

        assert_int_equal(xc_atomic_write(file, bytes + at, take, NULL), XC_OK);
        at += take;
        assert_int_equal(xc_atomic_size(file), at);
    }
    assert_int_equal(xc_atomic_commit(&file, NULL), XC_OK);
    f = fopen(target, "rb");
    assert_int_equal(fread(back, 1, n, f), n);
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
    assert_memory_equal(back, bytes, n);
    free(bytes);
    free(back);
}

static void test_mode_and_links(void **state)
{
    char link[96], real[96];
    struct stat st;

    (void)state;
    put(target, "x");
    assert_int_equal(chmod(target, 0640), 0);
    put(target, "y");
    assert_int_equal(stat(target, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);

    /* A link stays a link; what it points at is replaced, there or not. */
    snprintf(link, sizeof link, "%s/link", dir);
    snprintf(real, sizeof real, "%s/real", dir);
    assert_int_equal(symlink("real", link), 0);
    put(link, "through");
    assert_content(real, "through");
    put(link, "again");
    assert_content(real, "again");
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    unlink(link);
    assert_int_equal(symlink("link", link), 0); /* a loop */
    assert_int_equal(xc_atomic_write_file(link, "", 0, NULL), XC_E_IO);
}

static void expect_refused(const char *path, const char *message)
{
    struct xc_err err = {0};
    const int before = count_files();

    assert_int_equal(xc_atomic_write_file(path, "x", 1, &err), XC_E_IO);
    assert_string_equal(err.where, path);
    if (strstr(err.msg, message) == NULL) fail_msg("'%s' lacks '%s'", err.msg, message);
    assert_int_equal(xc_atomic_check(path, NULL, &err), XC_E_IO);
    assert_int_equal(count_files(), before);
}

static void test_refusals(void **state)
{
    char path[128];

    (void)state;
    expect_refused(dir, "is a directory");
    expect_refused("/dev/null", "not a regular file");
    expect_refused("", "path is empty");
    snprintf(path, sizeof path, "%s/no/out", dir);
    expect_refused(path, "No such file or directory");
    put(target, "x");
    snprintf(path, sizeof path, "%s/out/below", dir);
    expect_refused(path, "Not a directory");
    snprintf(path, sizeof path, "%s/new/", dir);
    expect_refused(path, "cannot write");
    if (geteuid() == 0) return; /* root writes anywhere */
    assert_int_equal(chmod(dir, 0500), 0);
    expect_refused(target, "Permission denied");
}

static void test_check(void **state)
{
    struct xc_err err = {0};
    char other[96], name[128];

    (void)state;
    assert_int_equal(xc_atomic_check(target, NULL, &err), XC_OK);
    assert_int_equal(count_files(), 0);
    put(target, "x");
    snprintf(other, sizeof other, "%s/other", dir);
    assert_int_equal(link(target, other), 0);
    assert_int_equal(xc_atomic_check(target, target, &err), XC_E_ARG);
    assert_int_equal(xc_atomic_check(target, other, &err), XC_E_ARG); /* a hard link is the same file */
    assert_int_equal(xc_atomic_check(target, dir, &err), XC_E_ARG);   /* part of the input directory */
    snprintf(name, sizeof name, "%s/new", dir);
    assert_int_equal(xc_atomic_check(name, dir, &err), XC_OK);        /* a new file there harms nothing */
    assert_int_equal(xc_atomic_check(name, target, &err), XC_OK);
    assert_content(target, "x");
}

/* A full disk, by the file size limit: an error that names the path, the old file as it was. */
static void test_no_space(void **state)
{
    struct rlimit old, low;
    struct xc_err err = {0};
    char *const bytes = calloc(1, (size_t)1 << 20);
    enum xc_status status;

    (void)state;
    put(target, "old");
    getrlimit(RLIMIT_FSIZE, &old);
    low = (struct rlimit){100000, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &low);
    status = xc_atomic_write_file(target, bytes, (size_t)1 << 20, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, XC_E_IO);
    assert_string_equal(err.where, target);
    assert_string_equal(err.msg, "cannot write: File too large");
    assert_content(target, "old");
    assert_int_equal(count_files(), 1);
    free(bytes);
}

static void test_faults(void **state)
{
    (void)state;
    put(target, "old");
    for (int n = 0;; n++) {
        struct xc_err err = {0};
        enum xc_status status;

        xc_alloc_fail_after(n);
        status = xc_atomic_write_file(target, "new", 3, &err);
        xc_alloc_fail_after(-1);
        if (status == XC_OK) {
            assert_true(n >= 5);
            break;
        }
        assert_int_equal(status, XC_E_NOMEM);
        assert_content(target, "old");
        assert_int_equal(count_files(), 1);
    }
    assert_content(target, "new");
}

/* What a signal handler does: in a process that then ends, since names that a handler took are not freed. */
static void test_remove_all(void **state)
{
    pid_t child;
    int how;

    (void)state;
    put(target, "old");
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct xc_atomic_file *file[3];
        int had;

        for (int i = 0; i < 3; i++)
            if (xc_atomic_open(&file[i], target, NULL) != XC_OK) _exit(1);
        had = count_files();
        xc_atomic_remove_all();
        if (count_files() != 1) _exit(2);
        xc_atomic_discard(&file[0]);
        if (xc_atomic_write_file(target, "new", 3, NULL) != XC_OK || count_files() != 1) _exit(3);
#ifdef NAMED_TEMPORARIES
        _exit(had == 4 ? 0 : 5);
#else
        _exit(had == 1 ? 0 : 4);
#endif
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    if (WEXITSTATUS(how) == 4) skip(); /* this file system lacks O_TMPFILE: fine */
    assert_int_equal(WEXITSTATUS(how), 0);
    assert_content(target, "new");
}

/* The rename itself fails: the temporary file goes. */
static void test_rename_fails(void **state)
{
    struct xc_atomic_file *file;
    struct xc_err err = {0};

    (void)state;
    assert_int_equal(xc_atomic_open(&file, target, &err), XC_OK);
    assert_int_equal(mkdir(target, 0700), 0); /* meanwhile, someone else */
    assert_int_equal(xc_atomic_commit(&file, &err), XC_E_IO);
    assert_null(file);
    assert_string_equal(err.where, target);
    assert_int_equal(count_files(), 1);
}

/* Killed at any moment: the old file or the new one, and with O_TMPFILE nothing else either (but for the instant of renaming). */
static void test_kill(void **state)
{
    (void)state;
    put(target, "old");
    for (int i = 0; i < 30; i++) {
        const pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0) {
            for (;;) (void)xc_atomic_write_file(target, "new", 3, NULL);
        }
        usleep((useconds_t)(i * 211));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        {
            char text[8] = "";
            FILE *const f = fopen(target, "r");

            assert_non_null(f);
            assert_int_equal(fread(text, 1, 7, f), 3);
            fclose(f);
            assert_true(strcmp(text, "old") == 0 || strcmp(text, "new") == 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_replace, enter, leave),  cmocka_unit_test_setup_teardown(test_large, enter, leave),
        cmocka_unit_test_setup_teardown(test_mode_and_links, enter, leave), cmocka_unit_test_setup_teardown(test_refusals, enter, leave),
        cmocka_unit_test_setup_teardown(test_check, enter, leave),    cmocka_unit_test_setup_teardown(test_no_space, enter, leave),
        cmocka_unit_test_setup_teardown(test_remove_all, enter, leave), cmocka_unit_test_setup_teardown(test_rename_fails, enter, leave),
        cmocka_unit_test_setup_teardown(test_faults, enter, leave),   cmocka_unit_test_setup_teardown(test_kill, enter, leave),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
