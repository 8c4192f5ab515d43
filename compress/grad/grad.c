/* grad: the table of derivatives. See grad.h. */
#include "compress/grad/grad.h"

#include <string.h>

#define GRAD(name) extern const struct xc_grad xc_grad_##name;
#include "compress/grad/grads.def"
#undef GRAD

static const struct xc_grad *const table[] = {
#define GRAD(name) &xc_grad_##name,
#include "compress/grad/grads.def"
#undef GRAD
};

const struct xc_grad *xc_grad_find(const char *op)
{
    for (size_t i = 0; i < XC_ARRAY_LEN(table); i++)
        if (!strcmp(table[i]->op, op)) return table[i];
    return NULL;
}
