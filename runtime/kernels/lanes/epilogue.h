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

#ifdef LANES_REGISTERS_32
/* The same for a whole tile, c (rows, ld_c) with nv * 16 columns from column c0 of the output, without residual: what belongs to columns is
 * loaded once, and GELU never leaves the registers. */
LANES_INLINE void ep_rows_s8(const struct xc_epilogue *g, const int32_t *c, int64_t ld_c, int64_t r0, int64_t rows, int64_t c0, int nv, bool affine, bool gelu)
{
    const struct xc_epilogue ep = *g; /* stores to out cannot change a copy */
    v16f scale[3], bias[3], sum[3], y[3];

    for (int v = 0; v < nv; v++) {
        scale[v] = v_load(ep.col_scale + c0 + v * 16);
        bias[v] = ep.bias ? v_load(ep.bias + c0 + v * 16) : v_zero();
        sum[v] = affine ? v_from_i(i_load(ep.col_sum + c0 + v * 16)) : v_zero();
    }
    for (int64_t r = 0; r < rows; r++, c += ld_c) {
        const v16f row_scale = v_set1(ep.row_scale[r0 + r]), mid = affine ? v_set1(ep.row_mid[r0 + r]) : v_zero();
        float *out = ep.out + (r0 + r) * ep.ld_out + c0;

        for (int v = 0; v < nv; v++) {
            v16f t = v_mul(v_from_i(i_load(c + v * 16)), row_scale);

            if (affine) t = v_fma(mid, sum[v], t);
            y[v] = v_fma(t, scale[v], bias[v]);
        }
        for (int v = 0; v < nv; v++) v_store(out + v * 16, gelu ? v_gelu(y[v]) : y[v]);
    }
}

/* False: not such a tile. */
LANES_INLINE bool ep_tile_s8(const struct xc_epilogue *ep, const int32_t *c, int64_t ld_c, int64_t r0, int64_t rows, int64_t c0, int64_t cols)
{
    const bool gelu = ep->act == XC_ACT_GELU;

    if (ep->residual || (ep->act != XC_ACT_NONE && !gelu) || cols % 16 != 0) return false;
#define EP_CASE(n)                                                                                                    \
    if (cols == (n) * 16) {                                                                                           \
        if (ep->row_mid) gelu ? ep_rows_s8(ep, c, ld_c, r0, rows, c0, n, true, true) : ep_rows_s8(ep, c, ld_c, r0, rows, c0, n, true, false); \
        else gelu ? ep_rows_s8(ep, c, ld_c, r0, rows, c0, n, false, true) : ep_rows_s8(ep, c, ld_c, r0, rows, c0, n, false, false);           \
        return true;                                                                                                  \
    }
    EP_CASE(1)
    EP_CASE(2)
    EP_CASE(3)
#undef EP_CASE
    return false;
}
#else
LANES_INLINE bool ep_tile_s8(const struct xc_epilogue *ep, const int32_t *c, int64_t ld_c, int64_t r0, int64_t rows, int64_t c0, int64_t cols)
{
    (void)ep, (void)c, (void)ld_c, (void)r0, (void)rows, (void)c0, (void)cols;
    return false;
}
#endif

#endif
