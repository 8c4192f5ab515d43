/* limits: the floor that speed is measured against: what one core does in registers, and how fast it reads memory. Prints JSON.
 *
 *   limits [REPETITIONS]      pin it (taskset -c 1) and keep the machine quiet; each figure is the best of all repetitions */
#include <stdio.h>

#include "bench/peaks.h"
#include "runtime/kernels/kernels.h"

/* Sums n 64-bit words in eight chains: the compiler turns it into vector loads. */
static uint64_t read_words(const uint64_t *p, size_t n)
{
    uint64_t s[8] = {0};

    for (size_t i = 0; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++) s[j] += p[i + j];
    return s[0] ^ s[1] ^ s[2] ^ s[3] ^ s[4] ^ s[5] ^ s[6] ^ s[7];
}

int main(int argc, char **argv)
{
    const int repetitions = argc > 1 ? atoi(argv[1]) : 200;
    static const size_t sizes[] = {16u << 10, 256u << 10, 8u << 20, 256u << 20};
    static const char *const names[] = {"read_16k", "read_256k", "read_8m", "read_256m"};
    double read_best[4] = {0};
    uint64_t *memory = malloc(sizes[3]);
    uint64_t sink = 0;

    if (!memory || repetitions < 1) return 1;
    memset(memory, 1, sizes[3]);
    for (int r = 0; r < repetitions; r++) {
        for (size_t i = 0; i < N_PEAKS; i++)
            if (xc_kernels_for(peaks[i].needs)) peak_measure(&peaks[i]);
        for (int i = 0; i < 4; i++) {
            if (i == 3 && r % 40 != 0) continue; /* a long one */

            const int loops = sizes[i] < 1u << 20 ? 16 : 1;
            const double start = xc_seconds();

            for (int l = 0; l < loops; l++) sink += read_words(memory, sizes[i] / 8);

            const double t = (xc_seconds() - start) / loops, rate = (double)sizes[i] / t * 1e-9;

            if (rate > read_best[i]) read_best[i] = rate;
        }
    }
    printf("{\"isa\": \"%s\", \"repetitions\": %d, \"gops\": {", xc_kernels()->isa, repetitions);
    for (size_t i = 0, n = 0; i < N_PEAKS; i++)
        if (peaks[i].best > 0) printf("%s\"%s\": %.1f", n++ ? ", " : "", peaks[i].name, peak_gops(&peaks[i]));
    printf("}, \"read_gb_per_s\": {");
    for (int i = 0; i < 4; i++) printf("%s\"%s\": %.1f", i ? ", " : "", names[i], read_best[i]);
    printf("}, \"check\": %u}\n", (unsigned)(sink & 255)); /* keeps the reads alive */
    free(memory);
    return 0;
}
