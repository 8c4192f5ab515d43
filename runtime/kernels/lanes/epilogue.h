/* epilogue: sixteen finished accumulators of one row to sixteen outputs (struct xc_epilogue). Included after lanes/math.h.
 * The activation runs on what was just stored, still in L1, one call for a tile row: its polynomials need the registers. */
#ifndef XC_RUNTIME_KERNELS_LANES_EPILOGUE_H
#define XC_RUNTIME_KERNELS_LANES_EPILOGUE_H

#include "runtime/kernels/lanes/math.h"

/* Stores y, which has its bias, to out[r][c .. c + n), n <= 16. */
LANES_INLINE void ep_store(const struct xc_epilogue *ep, v16f y, int64_t r, int64_t c, int64_t n)
{
    float *out = ep->out + r * ep->ld_out + c;

    if (ep->act == XC_ACT_NONE && ep->residual) {
        const float *res = ep->residual + r * ep->ld_residual + c;

        y = v_add(y, n >= 16 ? v_load(res) : v_load_n(res, n));
    }
    if (n >= 16)
        v_store(out, y);
    else
        v_store_n(out, y, n);
}

LANES_INLINE void ep_store_s8(const struct xc_epilogue *ep, v16i acc, int64_t r, int64_t c, int64_t n)
{
    v16f t = v_mul(v_from_i(acc), v_set1(ep->row_scale[r]));

    if (ep->row_mid) t = v_fma(v_set1(ep->row_mid[r]), v_from_i(i_load(ep->col_sum + c)), t);
    ep_store(ep, v_fma(t, v_load(ep->col_scale + c), ep->bias ? v_load(ep->bias + c) : v_zero()), r, c, n);
}

/* w_sum: of struct xc_gemm_s4. */
LANES_INLINE void ep_store_s4(const struct xc_epilogue *ep, const float *w_sum, v16f acc, int64_t r, int64_t c, int64_t n)
{
    v16f y = v_fma(acc, v_set1(ep->row_scale[r]), ep->bias ? v_load(ep->bias + c) : v_zero());

    if (ep->row_mid) y = v_fma(v_set1(ep->row_mid[r]), v_load(w_sum + c), y);
    ep_store(ep, y, r, c, n);
}

LANES_INLINE void ep_store_f32(const struct xc_epilogue *ep, v16f acc, int64_t r, int64_t c, int64_t n)
{
    ep_store(ep, v_add(acc, ep->bias ? v_load(ep->bias + c) : v_zero()), r, c, n);
}

/* What is left to do for out[r][c .. c + n) after its stores. */
LANES_INLINE void ep_finish(const struct xc_epilogue *ep, int64_t r, int64_t c, int64_t n)
{
    float *out = ep->out + r * ep->ld_out + c;

    if (ep->act == XC_ACT_NONE) return;
    act_span(out, out, n, ep->act);
    if (ep->residual) {
        const float *res = ep->residual + r * ep->ld_residual + c;
        int64_t i = 0;

        for (; i + 16 <= n; i += 16) v_store(out + i, v_add(v_load(out + i), v_load(res + i)));
        if (i < n) v_store_n(out + i, v_add(v_load_n(out + i, n - i), v_load_n(res + i, n - i)), n - i);
    }
}

#endif
