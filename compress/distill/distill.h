/* distill: a student learns what its teachers know: task, teachers, student and texts in; a trained student out. The verb of the same name is a thin
 * face on it; the loop is that of train/ with the losses of this folder.
 *
 *   student.c       the student that is trained, made from the teacher
 *   blocks.c        what of both is compared
 *   terms.c         the losses, as pairs of a student's and a teacher's values
 *   distill.c       runs the teachers, adds up the terms
 *   augment.c       more texts (TinyBERT's data augmentation)
 *   distill_recipe.c  all of it from a YAML file
 *
 * TinyBERT: Jiao et al. 2019, arXiv:1909.10351. */
#ifndef XC_COMPRESS_DISTILL_DISTILL_H
#define XC_COMPRESS_DISTILL_DISTILL_H

#include "compress/distill/blocks.h"
#include "compress/train/finetune.h"

/* One line per loss; every weight of a stage has the name of its loss. */
enum xc_distill_loss {
    XC_DISTILL_EMBEDDING = 0,      /* MSE of what the first layers read, through a learnt projection where widths differ */
    XC_DISTILL_HIDDEN,             /* MSE of what mapped layers give, the same */
    XC_DISTILL_ATTENTION,          /* MSE of attention scores before the softmax */
    XC_DISTILL_ATTENTION_RELATION, /* KL of attention distributions */
    XC_DISTILL_VALUE_RELATION,     /* KL of the value relation */
    XC_DISTILL_COSINE,             /* 1 - cos of what mapped layers give */
    XC_DISTILL_CLS,                /* squared distance of the first token's rows, at length 1 */
    XC_DISTILL_LOGITS,             /* soft cross-entropy with temperature */
    XC_DISTILL_LABELS,             /* cross-entropy against the labels of the data */
    XC_DISTILL_OUTPUT,             /* MSE of what the models answer: an embedding, a score */
    XC_DISTILL_OUTPUT_COSINE,      /* 1 - cos of what the models answer */
    XC_DISTILL_LOSSES
};
extern const char *const xc_distill_losses[]; /* their names */

/* Which layer of a teacher of N layers student layer m of M (from 1) learns from: uniform m * N / M; top N - M + m; custom: a list. */
enum xc_layer_map { XC_LAYERS_UNIFORM = 0, XC_LAYERS_TOP, XC_LAYERS_CUSTOM };

/* How a smaller student begins. */
enum xc_student_init {
    XC_INIT_TEACHER = 0, /* layers, heads and neurons of the teacher, widths by SVD */
    XC_INIT_SELECT,   /* the same, widths by the columns of largest magnitude */
    XC_INIT_RANDOM,   /* normal with deviation 0.02 */
};
extern const char *const xc_student_inits[];

struct xc_distill_stage {
    const char *name;
    int64_t epochs, max_steps;
    double rate, warmup;
    double weight[XC_DISTILL_LOSSES];
};

struct xc_augment_opts {
    int64_t count;          /* texts made of one; 0 = none. The paper: 20 for small data sets */
    int64_t candidates;     /* words to choose from: 15 */
    double probability;     /* that a word is replaced: 0.4 */
    const char *cache;      /* file; NULL = the output's name and ".augment" */
    const char *model;      /* a masked language model; NULL = the teacher where it is one, else nearest neighbours in its word table */
};

struct xc_distill_opts {
    struct xc_finetune_opts train; /* stages, labels and data are filled from what follows */
    const char *const *teachers;
    size_t n_teachers;
    const char *student;           /* "layers=3,hidden=312,...", or a model */
    const char *student_from;      /* what a specification is made of; NULL = the first teacher. For a teacher in int8: its f32 model */
    const char *const *data;
    size_t n_data;
    const struct xc_distill_stage *stage;
    size_t n_stages;
    enum xc_layer_map map;
    int32_t layer[XC_MAX_BLOCKS], n_layer; /* custom: teacher's layer per student layer, from 1; 0 = none */
    int32_t relation_heads;        /* 0 = the student's */
    double temperature;
    enum xc_student_init init;
    struct xc_augment_opts augment;
    const char *quantize;          /* NULL, "int8", "int4", or a recipe (train/integers.h): training sees the integer arithmetic of the file that is written */
};

#define XC_DISTILL_DEFAULT \
    { .train = { .epochs = 1, .batch_tokens = 2048, .accumulate = 1, .contrast_scale = 20, .mask_share = 0.15, .layer_decay = 1, \
                 .optimizer = { .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 1 } }, \
      .temperature = 1, .augment = { .candidates = 15, .probability = 0.4 } }

/* The losses and stages of the paper for a task: intermediate layers first, then what the teacher answers. Owned by nobody: static. */
const struct xc_distill_stage *xc_distill_default_stages(const char *task, size_t *n);

/* Writes the student to `to`. */
enum xc_status xc_distill_file(const char *to, const struct xc_distill_opts *opts, struct xc_finetune_result *result, struct xc_err *err);

/* The student that a training would begin with: f32, with the head of the teacher. Model in, model out. */
enum xc_status xc_student_make(struct xc_model **out, const struct xc_model *teacher, const char *spec, enum xc_student_init init, uint64_t seed, struct xc_err *err);
bool xc_student_is_spec(const char *text);

#endif
