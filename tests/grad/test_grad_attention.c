/* The derivative of every kind of attention against finite differences; see one_gradient.h. */
#include "tests/grad/one_gradient.h"

static void test_attention(void **state)
{
    static const struct { int heads, kv, D, causal, bias, cross; } cases[] = {
        { 1, 0, 16, 0, 0, 0 }, { 3, 0, 8, 0, 0, 1 }, { 4, 2, 5, 0, 0, 0 }, { 2, 0, 26, 1, 0, 0 }, { 2, 1, 16, 1, 1, 1 }, { 2, 0, 4, 0, 2, 0 },
    };
    struct fix f;

    (void)state;
    for (size_t both = 0; both < 2 * XC_ARRAY_LEN(cases); both++) {
        const size_t i = both / 2;
        const int heads = cases[i].heads, kv = cases[i].kv ? cases[i].kv : heads, D = cases[i].D;
        const struct xc_attr_attention attr = { .heads = heads, .kv_heads = cases[i].kv, .causal = cases[i].causal, .scale = i == 2 ? 0.3f : 0 };
        char what[80];

        begin(&f);
        f.drop = both % 2 ? 0.3 : 0;
        const int32_t keys = cases[i].cross ? f.memory : f.tokens;
        const int32_t q = input(&f, "q", f.tokens, heads * D), k = input(&f, "k", keys, kv * D), v = input(&f, "v", keys, kv * D);
        const struct xc_ref in[] = { xc_val(q), xc_val(k), xc_val(v), cases[i].bias ? xc_ten(tensor(&f, "bias", 2, DIMS(cases[i].bias, 2 * 90 - 1), 0, 1)) : xc_none() };

        snprintf(what, sizeof what, "attention, case %d, dropout %g", (int)i, f.drop);
        check(&f, node(&f, "attention", "n", in, cases[i].bias ? 4 : 3, &attr), what);
    }
    begin(&f); /* queries, keys and values are one */
    const struct xc_attr_attention attr = { .heads = 2 };
    const int32_t x = input(&f, "x", f.tokens, 12);

    check(&f, node(&f, "attention", "n", REFS(xc_val(x), xc_val(x), xc_val(x)), 3, &attr), "attention of itself");
}

static void test_attention_longformer(void **state)
{
    static const struct { int heads, kv, D, own; struct xc_attr_attention attr; } cases[] = {
        { 2, 2, 8, 0, { .window = 7 } },
        { 2, 1, 12, 1, { .window = 20, .global_first = 2 } },
        { 2, 2, 5, 1, { .window = 3, .dilation = 4, .global_first = 3, .causal = true } },
        { 1, 1, 16, 0, { .window = 100, .global_first = 70, .scale = 0.4f } },
    };
    struct fix f;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_attr_attention attr = cases[i].attr;
        const int heads = cases[i].heads, kv = cases[i].kv, D = cases[i].D;
        struct xc_ref in[6];
        char what[80];

        attr.kind = xc_attention_kind_named("longformer"), attr.heads = heads, attr.kv_heads = kv;
        begin(&f);
        f.step = 0.04;
        for (int k = 0; k < (cases[i].own ? 6 : 3); k++) {
            static const char *const names[] = { "q", "k", "v", "qg", "kg", "vg" };

            in[k] = xc_val(input(&f, names[k], f.tokens, (k % 3 ? kv : heads) * D));
        }
        snprintf(what, sizeof what, "longformer, case %d", (int)i);
        check(&f, node(&f, "attention", "n", in, cases[i].own ? 6 : 3, &attr), what);
    }
    for (int causal = 0; causal < 2; causal++) { /* soft spans, between whole tokens: masks bend where a span is one */
        const struct xc_attr_attention attr = { .kind = xc_attention_kind_named("longformer"), .heads = 2, .kv_heads = 1, .window = causal ? 3 : 6, .ramp = 5, .global_first = 1, .causal = causal };
        struct xc_ref in[8];

        begin(&f);
        f.step = 0.04;
        for (int k = 0; k < 3; k++) in[k] = xc_val(input(&f, (const char *const[]){ "q", "k", "v" }[k], f.tokens, k ? 10 : 20));
        for (int k = 3; k < 7; k++) in[k] = xc_none();
        in[7] = xc_ten(tensor(&f, "span", 1, DIMS(2), causal ? 0.5 : 0.583, 0.005));
        check(&f, node(&f, "attention", "n", in, 8, &attr), "longformer, soft spans");
    }
}

static void test_attention_linformer(void **state)
{
    static const struct { int heads, kv, D, slots, e, f; } cases[] = { { 2, 2, 8, 12, 12, 0 }, { 4, 2, 5, 9, 18, 9 }, { 1, 1, 70, 20, 20, 20 } };
    struct fix f;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        const struct xc_attr_attention attr = { .kind = xc_attention_kind_named("linformer"), .heads = cases[i].heads, .kv_heads = cases[i].kv, .slots = cases[i].slots };
        struct xc_ref in[5];
        char what[80];

        begin(&f);
        f.step = 0.02; /* mixed keys are large: scores bend early */
        in[0] = xc_val(input(&f, "q", f.tokens, attr.heads * cases[i].D));
        in[1] = xc_val(input(&f, "k", f.memory, attr.kv_heads * cases[i].D));
        in[2] = xc_val(input(&f, "v", f.memory, attr.kv_heads * cases[i].D));
        in[3] = xc_ten(tensor(&f, "e", 2, DIMS(cases[i].e, 89), 0, 0.15));
        in[4] = cases[i].f ? xc_ten(tensor(&f, "f", 2, DIMS(cases[i].f, 100), 0, 0.15)) : xc_none();
        snprintf(what, sizeof what, "linformer, case %d", (int)i);
        check(&f, node(&f, "attention", "n", in, 5, &attr), what);
    }
}

static void test_attention_hedgehog(void **state)
{
    static const struct { int heads, kv, D, slots, rows; bool causal; } cases[] = { { 2, 2, 8, 0, 0, false }, { 4, 2, 6, 0, 0, true }, { 2, 1, 10, 0, 14, false }, { 2, 2, 9, 5, 5, true } };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        const struct xc_attr_attention attr = { .kind = xc_attention_kind_named("hedgehog"), .heads = cases[i].heads, .kv_heads = cases[i].kv, .slots = cases[i].slots, .causal = cases[i].causal };
        struct xc_ref in[4];
        struct fix f;
        char what[64];

        begin(&f);
        f.step = 0.05; /* the map bends */
        in[0] = xc_val(input(&f, "q", f.tokens, attr.heads * cases[i].D));
        in[1] = xc_val(input(&f, "k", f.memory, attr.kv_heads * cases[i].D));
        in[2] = xc_val(input(&f, "v", f.memory, attr.kv_heads * cases[i].D));
        in[3] = cases[i].rows ? xc_ten(tensor(&f, "w", 2, DIMS(cases[i].rows, cases[i].D), 0, 0.5)) : xc_none();
        snprintf(what, sizeof what, "hedgehog, case %d", (int)i);
        check(&f, node(&f, "attention", "n", in, cases[i].rows ? 4 : 3, &attr), what);
    }
}

/* Local layers; hashes jump under differences, so LSH layers are checked against PyTorch alone (test_attention.c). */
static void test_attention_reformer(void **state)
{
    static const struct xc_attr_attention cases[] = { { .heads = 2, .chunk = 8, .before = 1 }, { .heads = 1, .chunk = 7, .before = 1, .after = 1, .causal = true }, { .heads = 2, .chunk = 100 } };
    struct fix f;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_attr_attention attr = cases[i];
        char what[80];

        attr.kind = xc_attention_kind_named("reformer");
        begin(&f);
        const int32_t q = input(&f, "q", f.tokens, 10), k = input(&f, "k", f.tokens, 10), v = input(&f, "v", f.tokens, 10);

        snprintf(what, sizeof what, "reformer, case %d", (int)i);
        check(&f, node(&f, "attention", "n", REFS(xc_val(q), xc_val(k), xc_val(v)), 3, &attr), what);
    }
}

static void test_attention_synthesizer(void **state)
{
    struct fix f;

    (void)state;
    for (int causal = 0; causal < 2; causal++) {
        struct xc_attr_attention attr = { .kind = xc_attention_kind_named("synthesizer"), .heads = 2, .kv_heads = 1 + causal, .positions = 80, .factor = 8, .dot = true, .rank = causal ? 3 : 0, .causal = causal };

        begin(&f);
        f.step = 0.04; /* the mixture's four numbers move every score */
        const int32_t q = input(&f, "q", f.tokens, 16), k = input(&f, "k", f.tokens, 8 * attr.kv_heads), v = input(&f, "v", f.tokens, 8 * attr.kv_heads);
        const int32_t hidden = input(&f, "hidden", f.tokens, 10), factors = input(&f, "factors", f.tokens, 36);
        const int32_t r = tensor(&f, "r", 2, DIMS(causal ? 160 : 80, causal ? 6 : 80), 0, 0.5), w = tensor(&f, "w", 2, DIMS(causal ? 80 : 160, 5), 0, 0.5);
        const int32_t b = tensor(&f, "b", 2, DIMS(1 + causal, 80), 0, 1), mix = tensor(&f, "mix", 2, DIMS(1, 4), 0, 1);

        check(&f, node(&f, "attention", "n", REFS(xc_val(q), xc_val(k), xc_val(v), xc_ten(r), xc_ten(w), xc_val(hidden), xc_ten(b), xc_val(factors), xc_ten(mix)), 9, &attr), "synthesizer");
        attr = (struct xc_attr_attention){ .kind = attr.kind, .heads = 2, .positions = 90, .window = 5 + 60 * causal, .causal = causal };
        begin(&f);
        const int32_t x = input(&f, "x", f.tokens, 16), band = tensor(&f, "band", 2, DIMS(causal ? 90 : 180, 2 * attr.window + 1), 0, 1);

        check(&f, node(&f, "attention", "n", REFS(xc_val(x), xc_val(x), xc_val(x), xc_ten(band)), 4, &attr), "synthesizer, a band");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention), cmocka_unit_test(test_attention_longformer), cmocka_unit_test(test_attention_linformer),
        cmocka_unit_test(test_attention_hedgehog), cmocka_unit_test(test_attention_reformer),
        cmocka_unit_test(test_attention_synthesizer),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
