/* test_recipe: recipes as YAML: what they mean (targets, exceptions, overrides, one pass after the other), every mistake with its line, hostile
 * files, and the same bytes as the shorthands make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compress/recipe/recipe.h"
#include "runtime/container/container.h"
#include "runtime/graph/op.h"
#include "tests/unit/scratch.h"

static char tiny[1024];

static const char full[] = "# everything\n"
                           "seed: 7\n"
                           "passes:\n"
                           "  - quantize:\n"
                           "      format: int8\n"
                           "      smooth: false\n"
                           "      targets: [Linear, Embedding, attention]\n"
                           "      ignore: 're:.*LayerNorm'\n"
                           "      overrides:\n"
                           "        - match: ['re:encoder\\.layer\\.(?:0|5)\\.attention', pooler]\n"
                           "          attention: f32\n"
                           "        - match: linear\n"
                           "          attention: int8\n"
                           "  - cast\n";

static void test_full(void **state)
{
    struct xc_recipe *r = NULL, *again = NULL;
    struct xc_err err = { 0 };
    json_t *json = NULL, *json2 = NULL;

    (void)state;
    ok(xc_recipe_parse(&r, full, sizeof full - 1, "r", &err), &err);
    assert_true(r->has_seed && r->seed == 7 && r->n == 2);
    struct xc_recipe_pass *const p = &r->passes[0];

    assert_true(p->line == 4 && p->targets.n == 3 && p->ignore.n == 1 && p->n_overrides == 2 && p->overrides[0].match.n == 2);
    assert_true(p->targets.word[1].line == 7 && p->overrides[0].match.word[1].line == 10);
    assert_true(xc_recipe_is(p, "smooth", "no") && xc_recipe_is(p, "attention", "int8"));
    p->part = 1;
    assert_true(xc_recipe_is(p, "smooth", "no") && xc_recipe_is(p, "attention", "f32"));
    p->part = 0;
    ok(xc_recipe_to_json(&json, r, &err), &err);
    ok(xc_recipe_from_json(&again, json, &err), &err);
    ok(xc_recipe_to_json(&json2, again, &err), &err);
    assert_true(json_equal(json, json2));
    assert_int_equal(again->passes[0].n_overrides, 2);
    json_decref(json);
    json_decref(json2);
    xc_recipe_free(&again);
    xc_recipe_free(&r);
}

static void test_mistakes(void **state)
{
    static const struct { const char *text, *where, *message; } cases[] = {
        { "", "r:1:1", "an empty recipe" },
        { "seed: 1\n", "r:1:1", "needs 'passes'" },
        { "- quantize\n", "r:1:1", "'this' must be a mapping, not a list" },
        { "passes: [quantize]\nstages: 1\n", "r:2:1", "unknown key 'stages'; known: seed, passes" },
        { "passes: quantize\n", "r:1:1", "'passes' must be a list" },
        { "passes: [shrinkify]\n", "r:1:10", "there is no pass 'shrinkify'" },
        { "passes:\n- quantize:\n    colour: red\n", "r:3:5", "pass 'quantize' has no option 'colour'" },
        { "passes:\n- quantize:\n    format: int9\n", "r:3:5", "is 'int9', must be" },
        { "passes:\n- quantize:\n    percentile: 101\n", "r:3:5", "must be a number from 50 to 100" },
        { "passes:\n- quantize:\n    format: [int8]\n", "r:3:5", "'format' must be a value, not a list" },
        { "passes:\n- quantize:\n  format: int8\n", "r:3:3", "'format' stands beside pass 'quantize'" },
        { "passes:\n- [quantize]\n", "r:2:3", "a pass must be a name" },
        { "passes:\n- quantize: int8\n", "r:2:3", "must be a mapping" },
        { "passes:\n- quantize:\n    targets: []\n", "r:3:5", "an empty list" },
        { "passes:\n- quantize:\n    targets: [[a]]\n", "r:3:15", "must be a value" },
        { "passes:\n- quantize:\n    targets: ['']\n", "r:3:15", "a target is empty" },
        { "passes:\n- quantize:\n    overrides:\n    - attention: f32\n", "r:4:7", "an override needs 'match'" },
        { "passes:\n- quantize:\n    overrides:\n    - match: x\n", "r:4:7", "changes no option" },
        { "passes:\n- quantize:\n    format: int8\n    format: int8\n", "r:4:5", "key 'format' is given twice" },
        { "seed: -1\npasses: []\n", "r:1:1", "'seed' must be a whole number" },
        { "seed: 99999999999999999999\npasses: []\n", "r:1:1", "'seed' must be a whole number" },
        { "a: &a [x]\npasses: []\n", "r:1:4", "anchors and tags have no meaning in a recipe" },
        { "passes: *a\n", "r:1:9", "an alias" },
        { "passes: []\n---\npasses: []\n", "r:3:1", "a second document; a recipe is one" },
        { "passes: [\xff\xfe]\n", "r:1:1", "not YAML" },
        { "[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]", "r:1:10", "nested more than 8 deep" },
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_recipe *r = NULL;
        struct xc_err err = { 0 };

        if (!xc_recipe_parse(&r, cases[i].text, strlen(cases[i].text), "r", &err)) fail_msg("accepted: %s", cases[i].text);
        assert_null(r);
        if (!strstr(err.msg, cases[i].message) || strcmp(err.where, cases[i].where)) fail_msg("%s\nsaid '%s' at %s", cases[i].text, err.msg, err.where);
    }
}

/* What only the model can tell: still with the line. */
static void test_scope_mistakes(void **state)
{
    static const struct { const char *text, *where, *message; } cases[] = {
        { "passes:\n- quantize:\n    targets:\n    - linear\n    - no.such.node\n", "r:5", "'no.such.node', a target of pass 'quantize', matches no node" },
        { "passes:\n- quantize:\n    ignore: 're:decoder.*'\n", "r:3", "'re:decoder.*', an exception of pass 'quantize', matches no node" },
        { "passes:\n- quantize:\n    targets: 're:encoder('\n", "r:3", "is no regular expression" },
        { "passes:\n- quantize:\n    targets: 're:(?!encoder).*'\n", "r:3", "look-around" },
        { "passes:\n- quantize:\n    targets: 're:((a{999}){999}){999}'\n", "r:3", "multiply to more than 1000" },
        { "passes:\n- quantize:\n    targets: 're:(a)\\1'\n", "r:3", "a reference to a group" },
        { "passes:\n- quantize:\n    targets: 're:.*LayerNorm'\n", "r:3", "which pass 'quantize' cannot treat" },
        { "passes:\n- quantize:\n    overrides:\n    - {match: nothing, attention: f32}\n", "r:4", "a pattern of an override of pass 'quantize', matches no node" },
        { "passes:\n- quantize:\n    targets: linear\n    overrides:\n    - {match: attention, attention: f32}\n", "r:5", "is for nothing that the pass treats" },
        { "passes:\n- cast\n- quantize:\n    activations: static\n", "r:3", "needs calibration texts" },
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
        struct xc_compress_result result;
        struct xc_recipe *r = NULL;
        struct xc_err err = { 0 };

        ok(xc_recipe_parse(&r, cases[i].text, strlen(cases[i].text), "r", &err), &err);
        opts.recipe = r;
        if (!xc_compress_file(tiny, NULL, &opts, &result, &err)) fail_msg("accepted: %s", cases[i].text);
        if (!strstr(err.msg, cases[i].message) || strcmp(err.where, cases[i].where)) fail_msg("%s\nsaid '%s' at %s", cases[i].text, err.msg, err.where);
        xc_recipe_free(&r);
    }
}

/* A target that no pass treats, a huge word, a huge file of nothing: bounded, and one error. */
static void test_hostile_sizes(void **state)
{
    const size_t n = (size_t)1 << 20;
    char *text = malloc(n + 1);
    struct xc_recipe *r = NULL;
    struct xc_err err = { 0 };
    static const char begin[] = "passes:\n- quantize:\n    targets: ['re:";

    (void)state;
    assert_non_null(text);
    memset(text, 'a', n);
    memcpy(text, begin, sizeof begin - 1);
    memcpy(text + n - 3, "']\n", 3);
    assert_int_equal(xc_recipe_parse(&r, text, n, "r", &err), XC_E_LIMIT);
    assert_non_null(strstr(err.msg, "a word of"));
    memset(text, '-', n);
    for (size_t i = 0; i < n; i += 2) text[i + 1] = '\n';
    assert_int_equal(xc_recipe_parse(&r, text, n, "r", &err), XC_E_LIMIT);
    memset(text, '[', n);
    assert_int_equal(xc_recipe_parse(&r, text, n, "r", &err), XC_E_LIMIT);
    free(text);
}

static void test_damage(void **state)
{
    char text[sizeof full];

    (void)state;
    for (size_t n = 0; n < sizeof full; n++) {
        struct xc_recipe *r = NULL;

        if (!xc_recipe_parse(&r, full, n, "r", NULL)) xc_recipe_free(&r);
        for (int c = 0; c < 256; c += 7) {
            memcpy(text, full, sizeof full);
            text[n] = (char)c;
            if (!xc_recipe_parse(&r, text, sizeof full - 1, "r", NULL)) xc_recipe_free(&r);
            assert_null(r);
        }
    }
}

static void test_out_of_memory(void **state)
{
    struct xc_recipe *r = NULL;
    enum xc_status status = XC_E_NOMEM;

    (void)state;
    for (int64_t n = 0; status != XC_OK; n++) {
        xc_alloc_fail_after(n);
        status = xc_recipe_parse(&r, full, sizeof full - 1, "r", NULL);
        xc_alloc_fail_after(-1);
        assert_true(status == XC_OK || (status == XC_E_NOMEM && !r));
    }
    xc_recipe_free(&r);
}

/* ---- what they do ---- */
static struct xc_model *compress(const char *yaml, const char *quantize)
{
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result;
    struct xc_model *source = NULL, *made = NULL;
    struct xc_recipe *r = NULL;
    struct xc_err err = { 0 };

    ok(xc_import(&source, tiny, &err), &err);
    if (yaml) ok(xc_recipe_parse(&r, yaml, strlen(yaml), "r", &err), &err);
    opts.recipe = r;
    opts.quantize = quantize;
    ok(xc_compress_model(&made, source, tiny, false, &opts, &result, &err), &err);
    xc_compress_result_release(&result);
    xc_recipe_free(&r);
    xc_model_free(&source);
    return made;
}

static char *dump(const struct xc_model *m)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    assert_int_equal(xc_model_print(f, m), XC_OK);
    fclose(f);
    return text;
}

/* One path for shorthands and recipes: the same graph, numbers and manifest. */
static void test_same_as_shorthand(void **state)
{
    struct xc_model *a = compress(NULL, "int8"), *b = compress("passes:\n- quantize: {format: int8}\n", NULL);
    char *ta = dump(a), *tb = dump(b);

    (void)state;
    assert_string_equal(ta, tb);
    assert_true(a->manifest->size == b->manifest->size && !memcmp(a->manifest->data, b->manifest->data, a->manifest->size));
    assert_int_equal(a->n_tensors, b->n_tensors);
    for (int32_t t = 0; t < a->n_tensors; t++)
        for (int p = 0; p < XC_PART_COUNT; p++)
            assert_true(!a->tensors[t]->part[p] == !b->tensors[t]->part[p] &&
                        (!a->tensors[t]->part[p] || !memcmp(a->tensors[t]->part[p]->data, b->tensors[t]->part[p]->data, a->tensors[t]->part[p]->size)));
    free(ta);
    free(tb);
    xc_model_free(&a);
    xc_model_free(&b);
}

static bool attention_quantized(const struct xc_model *m, const char *name)
{
    const struct xc_graph *g = m->graphs[0];
    const int32_t n = xc_graph_find_node(g, name);

    assert_true(n >= 0);
    return ((const struct xc_attr_attention *)g->nodes[n].attr)->quantized;
}

/* Settings of one layer: its attention stays in f32, the other's does not; weights are int8 in both. */
static void test_overrides(void **state)
{
    struct xc_model *m = compress("passes:\n- quantize:\n    overrides:\n    - {match: 're:encoder\\.layer\\.\\d\\.attention$', attention: f32}\n"
                                  "    - {match: ['re:encoder\\.layer\\.1'], attention: int8}\n", NULL);
    char name[64];

    (void)state;
    for (int layer = 0; layer < 2; layer++) {
        bool found = false;

        for (int32_t n = 0; n < m->graphs[0]->n_nodes; n++) {
            const struct xc_node *node = &m->graphs[0]->nodes[n];

            snprintf(name, sizeof name, "encoder.layer.%d.", layer);
            if (strncmp(node->name, name, strlen(name)) || strcmp(node->op->name, "attention")) continue;
            found = true;
            assert_int_equal(attention_quantized(m, node->name), layer == 1);
        }
        assert_true(found);
        snprintf(name, sizeof name, "encoder.layer.%d.attention.self.query.weight", layer);
        assert_int_equal(m->tensors[xc_model_find_tensor(m, name)]->enc.format, XC_FMT_S8);
    }
    xc_model_free(&m);
}

/* The second pass works on what the first left: f16 of rounded int8 is exact in int8's grid, not the original. */
static void test_sequence(void **state)
{
    struct xc_model *a = compress("passes:\n- quantize: {smooth: false}\n- cast: {format: f32, targets: linear}\n", NULL), *b = compress("passes:\n- quantize: {smooth: false}\n", NULL),
                    *c = compress("passes: []\n", NULL);
    const int32_t ta = xc_model_find_tensor(a, "encoder.layer.0.attention.self.query.weight"), tb = xc_model_find_tensor(b, "encoder.layer.0.attention.self.query.weight"),
                  tc = xc_model_find_tensor(c, "encoder.layer.0.attention.self.query.weight");
    const size_t n = (size_t)xc_tensor_count(a->tensors[ta]);
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y), *z = malloc(n * sizeof *z);

    (void)state;
    assert_true(x && y && z && a->tensors[ta]->enc.format == XC_FMT_F32 && b->tensors[tb]->enc.format == XC_FMT_S8);
    ok(xc_tensor_to_f32(a->tensors[ta], x, NULL), NULL);
    ok(xc_tensor_to_f32(b->tensors[tb], y, NULL), NULL);
    ok(xc_tensor_to_f32(c->tensors[tc], z, NULL), NULL);
    assert_memory_equal(x, y, n * sizeof *x);
    assert_true(memcmp(x, z, n * sizeof *x) != 0);
    free(x);
    free(y);
    free(z);
    xc_model_free(&a);
    xc_model_free(&b);
    xc_model_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full),           cmocka_unit_test(test_mistakes),         cmocka_unit_test(test_scope_mistakes), cmocka_unit_test(test_hostile_sizes), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_same_as_shorthand), cmocka_unit_test(test_overrides),     cmocka_unit_test(test_sequence),
    };
    const char *root = getenv("XC_SOURCE_ROOT");

    snprintf(tiny, sizeof tiny, "%s/tests/data/tiny-bert", root ? root : ".");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
