/* limits: see limits.h. */
#include "compress/limits.h"

#include <stdio.h>
#include <unistd.h>

/* The number in a file of the kernel; 0 when there is none ("max", no such file). */
static uint64_t number_in(const char *path)
{
    FILE *const f = fopen(path, "re");
    unsigned long long n = 0;

    if (!f) return 0;
    if (fscanf(f, "%llu", &n) != 1) n = 0;
    fclose(f);
    return n;
}

uint64_t xc_memory_default(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    const uint64_t machine = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : (uint64_t)4 << 30;
    const uint64_t v2 = number_in("/sys/fs/cgroup/memory.max"), v1 = number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes"), group = v2 ? v2 : v1;

    return (group && group < machine ? group : machine) / 4;
}
