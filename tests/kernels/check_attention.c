/* check_attention: attention of dense blocks and of runs, against scalar. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/base.h"
#include "tests/kernels/check.h"

void check_attn(const struct xc_kernels *k)
{
    for (int i = 0; i < 400; i++) {
        const struct attn_case c = attn_case(i);
        struct xc_attn_s8 a = attn_s8_operands(&c);
        struct out x = output((size_t)(c.n_q * a.ld_out) * 4), y = output((size_t)(c.n_q * a.ld_out) * 4);
        const int64_t row0 = rnd() % 4 ? 0 : (int64_t)(rnd() % (uint32_t)c.n_q), row1 = rnd() % 4 ? c.n_q : row0 + (c.n_q - row0) / 2;
        char name[160];

        a.out = data(x);
        ref->attn_s8(&a, row0, row1);
        a.out = data(y);
        scratch_for(c.D);
        k->attn_s8(&a, row0, row1);
        snprintf(name, sizeof name, "attn_s8 n_q %d n_k %d D %d causal %d bias %d fill %d rows %d-%d", (int)c.n_q, (int)c.n_k, (int)c.D, c.causal,
                 c.bias, (int)c.fill, (int)row0, (int)row1);
        check(same(x, y), k->isa, name);
        free_blocks();
    }
    for (int i = 0; i < 200; i++) {
        const struct attn_case c = attn_case(i);
        struct xc_attn_f32 a = {.n_q = c.n_q, .n_k = c.n_k, .D = c.D, .causal = c.causal, .scale = 0.3f, .ldq = c.D + 1, .ldk = c.D + 2, .ldv = c.D};
        struct out x = output((size_t)(c.n_q * (c.D + 3)) * 4), y = output((size_t)(c.n_q * (c.D + 3)) * 4);
        const int64_t row0 = rnd() % 4 ? 0 : (int64_t)(rnd() % (uint32_t)c.n_q), row1 = rnd() % 4 ? c.n_q : row0 + (c.n_q - row0) / 2;
        char name[160];

        a.q = floats((c.n_q - 1) * a.ldq + c.D, c.fill);
        a.k = floats((c.n_k - 1) * a.ldk + c.D, c.fill);
        a.v = floats((c.n_k - 1) * a.ldv + c.D, c.fill);
        if (c.bias) {
            a.bias = floats((c.n_q - 1) * (c.n_k + 2) + c.n_k, RANDOM);
            a.ld_bias = c.n_k + 2;
        }
        a.ld_out = c.D + 3;
        a.scratch = scratch_for(c.D);
        a.out = data(x);
        ref->attn_f32(&a, row0, row1);
        a.out = data(y);
        scratch_for(c.D);
        k->attn_f32(&a, row0, row1);
        snprintf(name, sizeof name, "attn_f32 n_q %d n_k %d D %d causal %d bias %d fill %d rows %d-%d", (int)c.n_q, (int)c.n_k, (int)c.D, c.causal,
                 c.bias, (int)c.fill, (int)row0, (int)row1);
        check(same(x, y), k->isa, name);
        free_blocks();
    }
}

/* Runs of keys: windows in order, keys out of order and hidden ones, a run without positions; a query's own key. */
void check_attn_runs(const struct xc_kernels *k)
{
    for (int i = 0; i < 400; i++) {
        enum { RUNS = 3 };
        struct attn_case c = attn_case(i);
        struct xc_key_run_s8 s8[RUNS];
        struct xc_key_run_f32 f32[RUNS];
        float *q_pos;
        struct xc_attn_s8 q;
        const int64_t n_runs = 1 + rnd() % RUNS, ld_out = c.D + 3;

        c.bias = false;
        q = attn_s8_operands(&c);
        q_pos = block((size_t)c.n_q * 4);
        for (int64_t j = 0; j < c.n_q; j++) q_pos[j] = (float)(5 + 2 * j);
        for (int64_t r = 0; r < n_runs; r++) {
            struct attn_case kc = attn_case(i);

            kc.D = c.D, kc.n_q = 1, kc.bias = false, kc.fill = c.fill;
            const struct xc_attn_s8 keys = attn_s8_operands(&kc);
            struct xc_key_run see = {.n = kc.n_k, .low = -(float)(rnd() % 200), .high = (float)(rnd() % 100)};
            float *pos = block((size_t)xc_round_up(kc.n_k, 16) * 4);

            if (rnd() % 4 == 0) see.low = -INFINITY;
            if (rnd() % 2) see.first = (float)(rnd() % 300), see.step = (float)(1 + rnd() % 3);
            for (int64_t j = 0; j < xc_round_up(kc.n_k, 16); j++) {
                pos[j] = see.step > 0 ? see.first + (float)j * see.step : (float)(rnd() % 300);
                if (rnd() % 16 == 0) pos[j] = XC_POS_NEVER;
            }
            see.pos = rnd() % 4 ? pos : NULL;
            s8[r] = (struct xc_key_run_s8){.see = see, .k = keys.k, .k_scale = keys.k_scale, .v = keys.v, .v_scale = keys.v_scale};
            f32[r] = (struct xc_key_run_f32){.see = see, .ldk = c.D + 2, .ldv = c.D, .k = floats((kc.n_k - 1) * (c.D + 2) + c.D, c.fill), .v = floats((kc.n_k - 1) * c.D + c.D, c.fill)};
        }
        struct xc_attn_runs a = {.q_pos = q_pos, .n_runs = n_runs, .D = c.D, .scale = 0.3f, .own = rnd() % 2, .own_score = -1e5f, .ld_out = ld_out, .scratch = q.scratch};
        const float *qf = floats((c.n_q - 1) * (c.D + 1) + c.D, c.fill);
        const int64_t row0 = rnd() % 4 ? 0 : (int64_t)(rnd() % (uint32_t)c.n_q), row1 = rnd() % 4 ? c.n_q : row0 + (c.n_q - row0) / 2;

        const bool skips = rnd() % 2;
        float *bound = block((size_t)c.n_q * RUNS * 4);

        for (int64_t j = 0; j < c.n_q * RUNS; j++) bound[j] = rnd() % 3 ? -60.0f + (float)(rnd() % 60) : (float)(rnd() % 60); /* any number: the levels must agree */
        for (int64_t r = 0; skips && r < n_runs; r++) {
            s8[r].see.step = f32[r].see.step = 0;
            s8[r].see.n = f32[r].see.n = xc_min_i64(s8[r].see.n, XC_KEY_BLOCK);
        }
        for (int f = 0; f < 2; f++) {
            struct out y[2], stat[2], lost[2];
            int64_t count[2][3] = {0};
            char name[160];

            for (int s = 0; s < 2; s++) {
                lost[s] = output((size_t)c.n_q * 4);
                const struct xc_attn_skip skip = {.eps = (float)(1 + i % 4) * 0.02f, .bound = i % 3 ? bound : NULL, .ld_bound = RUNS, .lost = data(lost[s]), .count = count[s]};

                a.skip = skips ? &skip : NULL;
                y[s] = output((size_t)(c.n_q * ld_out) * 4);
                stat[s] = output((size_t)(c.n_q * 2) * 4);
                a.out = data(y[s]);
                a.stat = data(stat[s]);
                scratch_for(c.D);
                const struct xc_attn_runs_s8 a8 = {.a = a, .run = s8, .q = q.q, .ldq = q.ldq, .q_scale = q.q_scale};
                const struct xc_attn_runs_f32 af = {.a = a, .run = f32, .q = qf, .ldq = c.D + 1};

                if (f) (s ? k : ref)->attn_runs_f32(&af, row0, row1);
                else (s ? k : ref)->attn_runs_s8(&a8, row0, row1);
            }
            snprintf(name, sizeof name, "attn_runs_%s case %d n_q %d D %d runs %d own %d fill %d rows %d-%d", f ? "f32" : "s8", i, (int)c.n_q, (int)c.D, (int)n_runs,
                     a.own, (int)c.fill, (int)row0, (int)row1);
            check(same(y[0], y[1]) && same(stat[0], stat[1]) && same(lost[0], lost[1]) && !memcmp(count[0], count[1], sizeof count[0]), k->isa, name);
        }
        free_blocks();
    }
}

/* Buckets, with equals among the numbers and their negatives; and answers of several rounds. */
void check_lsh(const struct xc_kernels *k)
{
    for (int i = 0; i < 60; i++) {
        const int64_t R = 1 + (int64_t)(rnd() % 40), n = 1 + (int64_t)(rnd() % 70), ldx = n + (int64_t)(rnd() % 9), D = 1 + (int64_t)(rnd() % 90), rows = R + 7, ldy = D + 3;
        float *x = floats((R - 1) * ldx + n, RANDOM), *o = floats(R * D, RANDOM), *stat = floats(2 * R, RANDOM);
        int32_t *row = block((size_t)R * 4);
        struct out at[2], y[2], all[2];
        char name[100];

        if (i % 2)
            for (int64_t j = 0; j < (R - 1) * ldx + n; j++) x[j] = (float)(int)(rnd() % 5) - 2.0f;
        for (int64_t j = 0; j < R; j++) {
            row[j] = (int32_t)((j * 5 + i) % R); /* a token comes once */
            if (R % 5 == 0) row[j] = (int32_t)(rows - 1 - j);
            stat[2 * j] = rnd() % 8 ? stat[2 * j] * 40.0f : -1e30f;
            stat[2 * j + 1] = rnd() % 8 ? 1.0f + fabsf(stat[2 * j + 1]) : 0.0f;
        }
        for (int s = 0; s < 2; s++) {
            const struct xc_kernels *K = s ? k : ref;

            at[s] = output((size_t)R * 4);
            y[s] = output((size_t)((rows - 1) * ldy + D) * 4);
            all[s] = output((size_t)rows * 8);
            K->argmax_signs(data(at[s]), x, ldx, R, n);
            for (int round = 0; round < 3; round++) {
                const struct xc_join j = {.y = data(y[s]), .ldy = ldy, .D = D, .all = data(all[s]), .row = row, .o = o, .stat = round < 2 ? stat : x, .log2 = i % 3, .first = round == 0};

                if (round == 0 || 2 * R <= (R - 1) * ldx + n) K->join_rows(&j, R);
            }
        }
        snprintf(name, sizeof name, "argmax_signs R %d n %d", (int)R, (int)n);
        check(same(at[0], at[1]), k->isa, name);
        snprintf(name, sizeof name, "join_rows n %d D %d", (int)R, (int)D);
        check(same(y[0], y[1]) && same(all[0], all[1]), k->isa, name);
        free_blocks();
    }
}
