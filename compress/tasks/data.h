/* data: labelled rows and plain lines, as in shared/data: what evaluation and calibration read.
 *
 *   .tsv     a header line names the columns; no quoting; `text`, or `text_a` and `text_b`, with `label` or `score`; others are ignored
 *            question answering: `question`, `context` and `answer` (empty: the context has none); `answer_start`, if there, is the answer's place in letters from 0
 *            multiple choice: `text` and `choice0`, `choice1`, ...; `label` is the number of the right one
 *   .json    question answering as SQuAD 1.1 and 2.0 have it (Rajpurkar et al. 2016, arXiv:1606.05250; 2018, arXiv:1806.03822)
 *   .conll   a token, a tab, its tag; a blank line ends a sentence
 *   lines    a text each
 *
 * Any of them but .json may be compressed with zstd. Everything is kept in memory. Errors name file and line. */
#ifndef XC_COMPRESS_TASKS_DATA_H
#define XC_COMPRESS_TASKS_DATA_H

#include "runtime/base/arena.h"

struct xc_data {
    const char *path;
    struct xc_arena arena;
    int64_t n;                /* rows or sentences */
    const char **a, **b;      /* texts, with their lengths; b NULL unless pairs; both NULL for .conll */
    size_t *a_len, *b_len;
    const char **label;       /* as written; NULL when there is no such column */
    double *score;            /* NULL when there is no such column */
    int64_t *line;            /* where row i is in the file */
    const char **words, **tags; /* .conll: sentence i has words word_start[i] .. word_start[i+1]-1 */
    int64_t *word_start;
    int64_t n_words;
    const char **answers;     /* question answering: row i (a question, b context) has answers[answer_start[i]] .. answers[answer_start[i+1]-1], any of them right */
    int64_t *answer_start;    /* n + 1 */
    int64_t *answer_at;       /* of each answer: byte of the context, -1 = it is not there */
    int64_t n_answers;
    const char **choices;     /* multiple choice: row i has choices[i * n_choices] and so on */
    size_t *choice_len;
    int32_t n_choices;
    size_t cap[15];           /* of the arrays; internal */
};

enum {
    XC_DATA_PAIR = 1,   /* text_a and text_b are needed; otherwise text is */
    XC_DATA_LABEL = 2,  /* a column label is needed */
    XC_DATA_SCORE = 4,  /* a column score is needed; with XC_DATA_LABEL, either of them */
    XC_DATA_NUMBERS = 8, /* label, where it stands for score, is read as a number */
    XC_DATA_QUESTION = 16, /* question and context are needed, in the place of text_a and text_b */
    XC_DATA_ANSWER = 32,   /* and answer */
    XC_DATA_CHOICE = 64    /* text and its choices are needed */
};
#define XC_MAX_CHOICES 64

enum xc_status xc_data_read_tsv(struct xc_data *out, const char *path, int want, struct xc_err *err);
enum xc_status xc_data_read_conll(struct xc_data *out, const char *path, struct xc_err *err);
enum xc_status xc_data_read_lines(struct xc_data *out, const char *path, struct xc_err *err);
/* Question answering: SQuAD's .json by its name, a .tsv otherwise. In a .json `line` counts questions, from 1. answers false: none are needed, and none read. */
enum xc_status xc_data_read_answers(struct xc_data *out, const char *path, bool answers, struct xc_err *err);
/* A row of it, for readers of files; texts are copied by add_answer (text NULL-terminated, place in letters or -1), not by add_question. */
enum xc_status xc_data_add_question(struct xc_data *data, const char *question, size_t question_len, const char *context, size_t context_len, int64_t line, struct xc_err *err);
enum xc_status xc_data_add_answer(struct xc_data *data, const char *text, size_t len, int64_t letter, struct xc_err *err);
/* A .tsv by its name (or .tsv.zst), lines otherwise. */
enum xc_status xc_data_read_texts(struct xc_data *out, const char *path, struct xc_err *err);
void xc_data_release(struct xc_data *data);

/* The rows of `more` behind those of `data`, copied; both have the same columns (text alone goes behind labelled rows only with none of them). */
enum xc_status xc_data_append(struct xc_data *data, const struct xc_data *more, struct xc_err *err);
/* One row behind the others: texts (b NULL unless pairs), with label, score and line of row `like`. */
enum xc_status xc_data_add_like(struct xc_data *data, int64_t like, const char *a, size_t a_len, const char *b, size_t b_len, struct xc_err *err);

/* For qsort and bsearch on an array of labels: numbers in their order, before names in theirs. */
int xc_data_compare_labels(const void *a, const void *b);

/* Adds "path:line" of row i to an error. */
enum xc_status xc_data_fail_at(const struct xc_data *data, int64_t i, struct xc_err *err, enum xc_status code);

#endif
