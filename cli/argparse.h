/* argparse: one declarative table per verb makes the parsing (through getopt_long), --help, the man page and the completions.
 *
 * A verb's options live in a struct of its own; the table says which field an option sets. Defaults are text, parsed like an argument,
 * so that what --help shows is what happens. cli.h has an example. */
#ifndef XC_CLI_ARGPARSE_H
#define XC_CLI_ARGPARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum cli_type {
    CLI_TYPE_END = 0,
    CLI_TYPE_BOOL,   /* bool: set by being there */
    CLI_TYPE_INT,    /* int64_t within [lo,hi] */
    CLI_TYPE_SIZE,   /* uint64_t bytes: 64MB, 1.5GiB (formats/units.h) */
    CLI_TYPE_FLOAT,  /* double within [flo,fhi]; 5% = 0.05 */
    CLI_TYPE_STRING, /* const char *, NULL when not given and without default */
    CLI_TYPE_CHOICE, /* int: index into choices */
    CLI_TYPE_LIST,   /* struct cli_list: a string every time it is given */
    CLI_TYPE_GROUP,  /* not an option: a heading for those that follow */
};

/* Values of a repeated option, in order. Strings belong to argv, the array to the parser. */
struct cli_list {
    const char **items;
    size_t n, cap;
};

struct cli_opt {
    enum cli_type type;
    char letter;        /* 0 = none */
    const char *name;   /* long name, without dashes */
    const char *arg;    /* what --help calls the value: "FILE", "DIR", "N"; FILE and DIR complete as paths */
    const char *help;   /* no full stop, no default: that is added */
    size_t field;       /* offset in the verb's struct */
    const char *def;    /* default as text; NULL = zero */
    const char *def_help; /* shown instead of def, when its text says too little: "all CPUs" */
    int64_t lo, hi;
    double flo, fhi;
    const char *const *choices; /* NULL-terminated */
    bool hidden;        /* works, and is listed nowhere */
};

/* The field's offset; the compiler warns when its type is another. */
#define CLI_FIELD(S, f, T) (offsetof(S, f) + 0 * sizeof(&((S *)0)->f == (T *)0))

#define CLI_BOOL(S, f, letter_, name_, help_) \
    { .type = CLI_TYPE_BOOL, .letter = letter_, .name = name_, .help = help_, .field = CLI_FIELD(S, f, bool) }
#define CLI_INT(S, f, letter_, name_, arg_, lo_, hi_, def_, help_) \
    { .type = CLI_TYPE_INT, .letter = letter_, .name = name_, .arg = arg_, .help = help_, .field = CLI_FIELD(S, f, int64_t), \
      .def = def_, .lo = lo_, .hi = hi_ }
#define CLI_SIZE(S, f, letter_, name_, def_, help_) \
    { .type = CLI_TYPE_SIZE, .letter = letter_, .name = name_, .arg = "SIZE", .help = help_, .field = CLI_FIELD(S, f, uint64_t), \
      .def = def_ }
#define CLI_FLOAT(S, f, letter_, name_, arg_, lo_, hi_, def_, help_) \
    { .type = CLI_TYPE_FLOAT, .letter = letter_, .name = name_, .arg = arg_, .help = help_, .field = CLI_FIELD(S, f, double), \
      .def = def_, .flo = lo_, .fhi = hi_ }
#define CLI_STRING(S, f, letter_, name_, arg_, def_, help_) \
    { .type = CLI_TYPE_STRING, .letter = letter_, .name = name_, .arg = arg_, .help = help_, .field = CLI_FIELD(S, f, const char *), \
      .def = def_ }
#define CLI_CHOICE(S, f, letter_, name_, choices_, def_, help_) \
    { .type = CLI_TYPE_CHOICE, .letter = letter_, .name = name_, .help = help_, .field = CLI_FIELD(S, f, int), .def = def_, \
      .choices = choices_ }
#define CLI_LIST(S, f, letter_, name_, arg_, help_) \
    { .type = CLI_TYPE_LIST, .letter = letter_, .name = name_, .arg = arg_, .help = help_, .field = CLI_FIELD(S, f, struct cli_list) }
#define CLI_GROUP(title_) { .type = CLI_TYPE_GROUP, .help = title_ }
#define CLI_END { .type = CLI_TYPE_END }

/* Options with one meaning everywhere: every verb that has them takes them from here. */
#define CLI_THREADS(S, f) \
    { .type = CLI_TYPE_INT, .name = "threads", .arg = "N", .help = "threads to use; 0 for one per CPU that this process may use", \
      .field = CLI_FIELD(S, f, int64_t), .def = "0", .lo = 0, .hi = 1024 }
#define CLI_SEED(S, f) \
    { .type = CLI_TYPE_INT, .name = "seed", .arg = "S", .help = "seed of everything random: the same seed gives the same result", \
      .field = CLI_FIELD(S, f, int64_t), .def = "0", .lo = 0, .hi = INT64_MAX }
#define CLI_MAX_MEMORY(S, f) \
    { .type = CLI_TYPE_SIZE, .name = "max-memory", .arg = "SIZE", .help = "fail rather than use more memory, such as 512MB or 2GiB", \
      .field = CLI_FIELD(S, f, uint64_t), .def = "0", .def_help = "no limit" }
#define CLI_QUIET(S, f) \
    { .type = CLI_TYPE_BOOL, .letter = 'q', .name = "quiet", .help = "no progress on stderr", .field = CLI_FIELD(S, f, bool) }, \
    { .type = CLI_TYPE_BOOL, .name = "no-progress", .help = "the same as --quiet", .field = CLI_FIELD(S, f, bool) }
#define CLI_JSON(S, f) \
    { .type = CLI_TYPE_BOOL, .name = "json", .help = "print the result as one JSON object", .field = CLI_FIELD(S, f, bool) }

struct cli_verb {
    const char *name;
    const char *summary;        /* one line, lower case, no full stop */
    const char *usage;          /* what follows the verb, a line per form: "MODEL -o OUT.xc [options]" */
    const char *details;        /* paragraphs for --help and the manual, separated by blank lines; may be NULL */
    const struct cli_opt *opts; /* ends with CLI_END; may be NULL */
    size_t opts_size;           /* sizeof the struct that opts sets */
    int min_args, max_args;     /* of operands; max_args < 0: no limit */
    /* opts is the filled struct, argv the operands. Returns the exit code. */
    int (*run)(void *opts, int argc, char **argv);
    bool hidden;
};

/* Parses argv (argv[0] is the verb) into opts, opts_size zeroed bytes. Returns -1 to go on, with argv permuted so that the operands are
 * (*rest)[0..*n_rest-1]; or an exit code, when --help was printed (0) or the usage was wrong (2, one line on stderr). */
int cli_parse(const struct cli_verb *verb, void *opts, int argc, char **argv, int *n_rest, char ***rest);

/* Frees what the parser allocated in opts (lists). */
void cli_parse_release(const struct cli_verb *verb, void *opts);

/* Wrong usage: "xcompress VERB: message; see 'xcompress VERB --help'" on stderr; returns 2. verb may be NULL. */
int cli_usage(const struct cli_verb *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The candidate nearest to word, NULL when none is near. candidates is NULL-terminated. */
const char *cli_nearest(const char *word, const char *const *candidates);

/* Documents made of the tables (argdoc.c). verbs is NULL-terminated. */
void cli_print_help(FILE *f, const struct cli_verb *verb);
void cli_print_overview(FILE *f, const struct cli_verb *const *verbs);
void cli_print_man(FILE *f, const struct cli_verb *const *verbs);
void cli_print_bash(FILE *f, const struct cli_verb *const *verbs);
void cli_print_zsh(FILE *f, const struct cli_verb *const *verbs);

#endif
