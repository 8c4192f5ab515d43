/* whole_io: see whole_io.h. */
#include "compress/file/whole_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int xc_read_whole(int fd, void *to, size_t n, uint64_t at)
{
    for (size_t done = 0; done < n;) {
        const ssize_t got = pread(fd, (char *)to + done, n - done, (off_t)(at + done));

        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got ? errno : XC_IO_CUT;
        done += (size_t)got;
    }
    return 0;
}

int xc_write_whole(int fd, const void *from, size_t n, uint64_t at)
{
    for (size_t done = 0; done < n;) {
        const ssize_t put = pwrite(fd, (const char *)from + done, n - done, (off_t)(at + done));

        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return errno;
        done += (size_t)put;
    }
    return 0;
}

int xc_open_nameless(int *fd, const char *folder)
{
    char path[4096];

    *fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (*fd >= 0) return 0;
    if ((size_t)snprintf(path, sizeof path, "%s/.xcompress-XXXXXX", folder) >= sizeof path) return ENAMETOOLONG;
    *fd = mkostemp(path, O_CLOEXEC); /* a file system that knows no other kind */
    if (*fd < 0) return errno;
    unlink(path);
    return 0;
}
