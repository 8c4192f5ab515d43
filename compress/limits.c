/* limits: see limits.h. */
#include "compress/limits.h"

#include <stdio.h>
#include <unistd.h>

#include "runtime/graph/graph.h"

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

bool xc_memory_is_short(const struct xc_model *m, uint64_t max_memory)
{
    double bytes = 0;

    for (int32_t t = 0; t < m->n_tensors; t++) bytes += m->tensors[t]->part[XC_PART_DATA] ? (double)xc_tensor_bytes(m->tensors[t]) : 4.0 * (double)xc_tensor_count(m->tensors[t]);
    return bytes > (double)(max_memory ? max_memory : xc_memory_default()) / 2;
}
