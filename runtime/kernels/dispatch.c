/* dispatch: which kernels this machine runs. The table is scalar, overlaid level by level as far as the CPU, the build and XC_CPU
 * allow; it is filled once. Nothing outside this file asks what the CPU can do.
 *
 * XC_CPU is a comma-separated list of words: a level's name is the ceiling, "-feature" hides a feature ("avx512vnni,-vnni"). */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/base.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kernels/levels.h"
#include "runtime/kernels/scalar/scalar.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

/* A level is usable when the CPU has all of its features by the detector that fits its kind of VNNI. */
static const struct level {
    const char *name;
    void (*init)(struct xc_kernels *k);
    unsigned features;
    int below; /* the level it overlays, or the next usable one below that; 0 is scalar */
} levels[] = {
    {"scalar", xc_kernels_init__scalar, 0, 0},
#if defined(__x86_64__)
    {"avx2", xc_kernels_init__avx2, XC_CPU_AVX2, 0},
    {"avxvnni", xc_kernels_init__avxvnni, XC_CPU_AVX2 | XC_CPU_VNNI, 1},
    {"avx512vnni", xc_kernels_init__avx512vnni, XC_CPU_AVX2 | XC_CPU_AVX512 | XC_CPU_VNNI, 1},
    {"avx512vbmi", xc_kernels_init__avx512vbmi, XC_CPU_AVX2 | XC_CPU_AVX512 | XC_CPU_VNNI | XC_CPU_VBMI, 3},
    {"avx512bf16", xc_kernels_init__avx512bf16, XC_CPU_AVX2 | XC_CPU_AVX512 | XC_CPU_VNNI | XC_CPU_BF16, 4},
#elif defined(__aarch64__)
    {"neon", xc_kernels_init__neon, XC_CPU_DOTPROD, 0},
#endif
};
enum { N_LEVELS = sizeof levels / sizeof levels[0] };

/* Words are known on every machine, so that one CI file serves all. */
static const char *const level_words[] = {"scalar", "avx2", "avxvnni", "avx512vnni", "avx512vbmi", "avx512bf16", "neon"};
static const struct {
    const char *word;
    unsigned feature;
} feature_words[] = {{"avx2", XC_CPU_AVX2}, {"vnni", XC_CPU_VNNI}, {"avx512", XC_CPU_AVX512}, {"dotprod", XC_CPU_DOTPROD}, {"bf16", XC_CPU_BF16}, {"vbmi", XC_CPU_VBMI}};

/* Features of this CPU for one level: the levels differ in which cpuid bit "vnni" is. */
static unsigned detect(const char *level)
{
    unsigned found = 0;

#if defined(__x86_64__)
    unsigned a, b, c, d, xcr0 = 0, leaf7_b = 0, leaf7_c = 0, leaf71_a = 0;

    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (!(c & 1u << 27)) return 0; /* OSXSAVE */
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(d) : "c"(0));

    const bool ymm = (xcr0 & 0x6) == 0x6, zmm = (xcr0 & 0xe6) == 0xe6;
    const bool fma_f16c_avx = (c & 1u << 12) && (c & 1u << 29) && (c & 1u << 28);

    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        leaf7_b = b;
        leaf7_c = c;
        if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) leaf71_a = a;
    }
    if (ymm && fma_f16c_avx && (leaf7_b & 1u << 5)) found |= XC_CPU_AVX2;
    if (zmm && (leaf7_b & 1u << 16) && (leaf7_b & 1u << 17) && (leaf7_b & 1u << 30) && (leaf7_b & 1u << 31)) found |= XC_CPU_AVX512;
    if (strncmp(level, "avx512", 6) == 0 ? (leaf7_c & 1u << 11) != 0 : (leaf71_a & 1u << 4) != 0) found |= XC_CPU_VNNI;
    if (zmm && (leaf71_a & 1u << 5)) found |= XC_CPU_BF16;
    if (zmm && (leaf7_c & 1u << 1) && (leaf7_c & 1u << 14)) found |= XC_CPU_VBMI;
#elif defined(__aarch64__)
    (void)level;
#if defined(__linux__)
    if (getauxval(AT_HWCAP) & 1u << 20) found |= XC_CPU_DOTPROD; /* HWCAP_ASIMDDP */
#else
    found |= XC_CPU_DOTPROD; /* every Apple silicon core */
#endif
#else
    (void)level;
#endif
    return found;
}

/* Reads the next word of a spec; false at its end. */
static bool next_word(const char **spec, const char **word, size_t *len)
{
    if (!*spec || !**spec) return false;
    *word = *spec;
    *len = strcspn(*spec, ",");
    *spec += *len + ((*spec)[*len] == ',');
    return true;
}

static bool word_is(const char *word, size_t len, const char *name) { return strlen(name) == len && memcmp(word, name, len) == 0; }

static unsigned feature_of(const char *word, size_t len)
{
    for (size_t i = 0; i < XC_ARRAY_LEN(feature_words); i++)
        if (word_is(word, len, feature_words[i].word)) return feature_words[i].feature;
    return 0;
}

enum xc_status xc_kernels_parse(const char *spec, struct xc_err *err)
{
    const char *word;
    size_t len;

    while (next_word(&spec, &word, &len)) {
        bool known = len > 0 && word[0] == '-' && feature_of(word + 1, len - 1) != 0;

        for (size_t i = 0; i < XC_ARRAY_LEN(level_words); i++) known = known || word_is(word, len, level_words[i]);
        if (!known)
            return xc_fail(err, XC_E_ARG, "unknown word '%.*s' in XC_CPU: expected scalar, avx2, avxvnni, avx512vnni, avx512vbmi, avx512bf16, neon, "
                           "-avx2, -vnni, -avx512, -vbmi, -bf16 or -dotprod", (int)(len < 40 ? len : 40), word);
    }
    return XC_OK;
}

static bool usable[N_LEVELS];

static void fill(struct xc_kernels *k, int level, unsigned hidden)
{
    int below = levels[level].below;

    while (!usable[below] || (levels[below].features & hidden)) below = levels[below].below;
    if (level > 0) fill(k, below, hidden);
    levels[level].init(k);
    k->isa = levels[level].name;
}

static struct xc_kernels tables[N_LEVELS];
static const struct xc_kernels *chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The position of a level's name in the order of strength, for a ceiling that this build may not have ("neon" on x86: scalar). */
static void build_tables(void)
{
    const char *spec = getenv("XC_CPU"), *word;
    unsigned hidden = 0;
    int ceiling = N_LEVELS - 1;
    size_t len;

    while (next_word(&spec, &word, &len)) {
        if (len > 0 && word[0] == '-') hidden |= feature_of(word + 1, len - 1);
        for (size_t i = 0; i < XC_ARRAY_LEN(level_words); i++) {
            if (!word_is(word, len, level_words[i])) continue;
            ceiling = 0;
            for (int l = 0; l < N_LEVELS; l++)
                if (strcmp(levels[l].name, level_words[i]) == 0) ceiling = l;
        }
    }
    for (int l = 0; l < N_LEVELS; l++) {
        usable[l] = (levels[l].features & ~detect(levels[l].name)) == 0;
        if (!usable[l]) continue; /* not even its init may run: compilers use the ISA there too */
        fill(&tables[l], l, hidden);
        if (l <= ceiling && (levels[l].features & hidden) == 0) chosen = &tables[l];
    }
}

const struct xc_kernels *xc_kernels(void)
{
    pthread_once(&once, build_tables);
    return chosen;
}

const struct xc_kernels *xc_kernels_for(const char *level)
{
    pthread_once(&once, build_tables);
    for (int l = 0; l < N_LEVELS; l++)
        if (strcmp(levels[l].name, level) == 0) return usable[l] ? &tables[l] : NULL;
    return NULL;
}

const char *const *xc_kernels_levels(void)
{
    static const char *const names[] = {
        "scalar",
#if defined(__x86_64__)
        "avx2", "avxvnni", "avx512vnni", "avx512vbmi", "avx512bf16",
#elif defined(__aarch64__)
        "neon",
#endif
        NULL,
    };

    return names;
}
