/* fuzz_recipe: a recipe as YAML. What is accepted must survive the way through JSON; what is not must say why. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "compress/recipe/recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct xc_recipe *r = NULL, *again = NULL;
    struct xc_err err = { 0 };
    json_t *json = NULL;

    if (xc_recipe_parse(&r, (const char *)data, size, "recipe", &err) != XC_OK) {
        if (r || err.code == XC_OK || !err.msg[0]) abort();
        return 0;
    }
    if (xc_recipe_to_json(&json, r, &err) != XC_OK || xc_recipe_from_json(&again, json, &err) != XC_OK || again->n != r->n) abort();
    json_decref(json);
    xc_recipe_free(&again);
    xc_recipe_free(&r);
    return 0;
}
