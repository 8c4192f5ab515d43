/* whole_io: all of some bytes at a place of a file, whatever pread and pwrite take at a time. */
#ifndef XC_COMPRESS_FILE_WHOLE_IO_H
#define XC_COMPRESS_FILE_WHOLE_IO_H

#include <stddef.h>
#include <stdint.h>

#define XC_IO_CUT (-1) /* the file ends before */

/* Both: 0, or errno; xc_read_whole also XC_IO_CUT. */
int xc_read_whole(int fd, void *to, size_t n, uint64_t at);
int xc_write_whole(int fd, const void *from, size_t n, uint64_t at);

#endif
