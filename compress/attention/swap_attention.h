/* swap_attention: what its files share.
 *
 *   swap_attention.c   the pass: options, which layers, what each costs, where to stop, the controls
 *   swap_layer.c       one attention becomes another kind, in the graph; positions by copying
 *   attention_maps.c   what the attention of a dense model does on texts: the mass that windows hold, Linformer's E, Synthesizer's R */
#ifndef XC_COMPRESS_ATTENTION_SWAP_ATTENTION_H
#define XC_COMPRESS_ATTENTION_SWAP_ATTENTION_H

#include "compress/pass.h"

enum xc_swap_kind { XC_SWAP_LONGFORMER = 0, XC_SWAP_LINFORMER, XC_SWAP_REFORMER, XC_SWAP_SYNTHESIZER, XC_SWAP_UNIFORM /* of the controls: the mean of all tokens */ };

/* How one attention is to be. Lists follow from maps: the caller frees them with xc_swap_release. */
struct xc_swap {
    const char *node;           /* its name, which stays what it is */
    enum xc_swap_kind kind;
    int32_t window, global;     /* longformer; window -1 = by the mass; the widest where heads have their own */
    int32_t slots;              /* linformer */
    bool each_head;             /* linformer: slots, longformer: a window by the mass, for each head, else the same for all */
    int32_t chunk, rounds, buckets;
    bool again;                 /* reformer: the layer is one already, and gets other hashes */
    bool query;                 /* reformer: the queries are the keys too, else the mean of both projections */
    int32_t rank;               /* synthesizer; 0 = a whole matrix */
    bool dot;                   /* synthesizer: beside queries and keys */
    bool drawn;                 /* E and R at random, not from maps */
    double mass;
    /* of maps */
    int64_t seen;               /* positions that texts reached: rows and columns of what follows */
    float *windows;             /* longformer, each head: (heads), in tokens */
    float *e;                   /* linformer: (slots, seen), or (heads * slots, seen) */
    float *r;                   /* synthesizer: (heads * seen, seen); with rank (heads * seen, 2 * rank) */
    float scale;                /* reformer: of scores; 0 = not measured */
    double cost;
    bool done;
};
void xc_swap_release(struct xc_swap *s);

/* Runs texts through m, a dense model, and fills what each of the n swaps needs of maps: window, e, r, scale. */
enum xc_status xc_attention_maps(struct xc_swap *swap, int32_t n, struct xc_model *m, const struct xc_texts *texts, const struct xc_compress_opts *opts, struct xc_err *err);

/* Is node n of g an attention that can become another kind? *why (may be NULL) says what is in the way. Has it hashes, which can be drawn again? */
bool xc_swap_possible(const char **why, const struct xc_graph *g, int32_t n);
bool xc_swap_hashed(const struct xc_graph *g, int32_t n);

/* The node named s->node becomes s->kind, for texts of up to `positions` tokens. Dead nodes stay: xc_swap_finish after the last. plan_only: no numbers. */
enum xc_status xc_swap_layer(struct xc_graph *g, const struct xc_swap *s, int32_t positions, uint64_t seed, bool plan_only, struct xc_err *err);
enum xc_status xc_swap_finish(struct xc_model *m, struct xc_graph *g, struct xc_err *err);

/* The number of positions that the model's table has; 0 = no table. And more of them, row by row from the beginning again. */
int32_t xc_swap_positions(const struct xc_graph *g);
enum xc_status xc_swap_extend(struct xc_model *m, struct xc_graph *g, int32_t positions, bool plan_only, struct xc_err *err);

#endif
