/* The tests of atomic replacement again, as on a file system without O_TMPFILE: temporary files have names. The writer is compiled into this
 * program with the flag taken away (opening a directory for writing then fails with EISDIR, as old kernels do). */
#include <fcntl.h>
#undef O_TMPFILE
#define O_TMPFILE 0

#include "runtime/base/atomic_file.c"
#define NAMED_TEMPORARIES 1
#include "test_base_atomic_file.c"
