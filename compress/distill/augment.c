#include "compress/distill/augment.h"
enum xc_status xc_augment(struct xc_data *data, const struct xc_teacher *teacher, const struct xc_distill_opts *opts, const char *to, struct xc_err *err)
{
    (void)data; (void)teacher; (void)to; (void)err;
    return opts->augment.count ? xc_fail(err, XC_E_UNSUPPORTED, "augmentation") : XC_OK;
}
