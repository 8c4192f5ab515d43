/* whole_io: all of some bytes at a place of a file, whatever pread and pwrite take at a time; files for what does not outlive the run. */
#ifndef XC_COMPRESS_FILE_WHOLE_IO_H
#define XC_COMPRESS_FILE_WHOLE_IO_H

#include <stddef.h>
#include <stdint.h>

#define XC_IO_CUT (-1) /* the file ends before */

/* Both: 0, or errno; xc_read_whole also XC_IO_CUT. */
int xc_read_whole(int fd, void *to, size_t n, uint64_t at);
int xc_write_whole(int fd, const void *from, size_t n, uint64_t at);

/* A file in `folder` that is gone when it is closed, to be read and written: 0, or errno and *fd -1. */
int xc_open_nameless(int *fd, const char *folder);

#endif
