/* check_kernels: every level of this build against scalar, bit for bit, over shapes with tails, extreme operands and guard bytes;
 * and scalar against a double-precision oracle (oracle.h). In the spirit of dav1d's checkasm.
 *
 *   check_kernels [LEVEL]   all usable levels, or one
 *
 * Levels that this CPU cannot run are checked all the same where the build carries them as SIMDe emulations (XC_TEST_SIMDE). */
#include <stdio.h>
#include <string.h>

#include "runtime/base/base.h"
#include "runtime/kernels/levels.h"
#include "tests/kernels/check.h"

#ifdef XC_TEST_SIMDE
void xc_kernels_init__avxvnni_simde(struct xc_kernels *k);
void xc_kernels_init__avx512vnni_simde(struct xc_kernels *k);
void xc_kernels_init__avx512vbmi_simde(struct xc_kernels *k);

static void init_avx512_simde(struct xc_kernels *k)
{
    xc_kernels_init__avx512vnni_simde(k);
    xc_kernels_init__avx512vbmi_simde(k);
}
#endif

static void check_level(const struct xc_kernels *k)
{
    seed = 7;
    printf("# level %s\n", k->isa);
    check_gemm_s8(k);
    check_gemm_sparse(k);
    check_gemm_s4(k);
    check_gemm_f32(k);
    check_gemm_bf16(k);
    check_attn(k);
    check_attn_runs(k);
    check_lsh(k);
    check_norm(k);
    check_quantize(k);
    check_elementwise(k);
    check_encode(k);
}

static void check_parse(void)
{
    struct xc_err err;

    check(xc_kernels_parse(NULL, &err) == XC_OK && xc_kernels_parse("", &err) == XC_OK, "parse", "nothing");
    check(xc_kernels_parse("avx512vnni,-vnni", &err) == XC_OK, "parse", "a level and a mask");
    check(xc_kernels_parse("avx3", &err) == XC_E_ARG && strstr(err.msg, "'avx3'"), "parse", "an unknown word is named");
    check(xc_kernels_parse("avx2,,scalar", &err) == XC_E_ARG, "parse", "an empty word");
}

int main(int argc, char **argv)
{
    bool found = argc < 2;

    setvbuf(stdout, NULL, _IOLBF, 0);
    ref = xc_kernels_for("scalar");
    if (!ref) return 1;
    printf("# xc_kernels() chose %s\n", xc_kernels()->isa);
    if (argc < 2) {
        check_parse();
        check_oracle_functions();
        check_oracle_gemm();
        check_oracle_gemm_s4();
        check_oracle_attention();
        check_oracle_rows();
        check_oracle_encode();
    }
    for (const char *const *level = xc_kernels_levels(); *level; level++) {
        const struct xc_kernels *k = xc_kernels_for(*level);

        if (argc > 1 && strcmp(argv[1], *level) != 0) continue;
        found = true;
        if (k)
            check_level(k);
        else
            printf("# level %s: this machine lacks it\n", *level);
    }
#ifdef XC_TEST_SIMDE
    static struct xc_kernels emulated;
    static const struct {
        const char *name;
        void (*init)(struct xc_kernels *k);
    } simde[] = {{"avxvnni-simde", xc_kernels_init__avxvnni_simde}, {"avx512vbmi-simde", init_avx512_simde}};

    for (size_t i = 0; i < XC_ARRAY_LEN(simde); i++) {
        if (argc > 1 && strcmp(argv[1], simde[i].name) != 0) continue;
        if (!xc_kernels_for("avx2")) {
            printf("# level %s: this machine lacks AVX2, which it stands on\n", simde[i].name);
            continue;
        }
        found = true;
        emulated = *xc_kernels_for("avx2");
        simde[i].init(&emulated);
        emulated.isa = simde[i].name;
        check_level(&emulated);
    }
#endif
    if (!found) printf("unknown level %s\n", argv[1]);
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed > 0 || !found;
}
