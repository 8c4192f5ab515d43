/* argparse: from argv to a verb's option struct, and the messages of wrong usage. getopt_long does the parsing, so abbreviations,
 * --opt=value, bundled letters and `--` are as everywhere; its messages are replaced by ours. */
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/argparse.h"
#include "compress/ranks.h"
#include "formats/units.h"
#include "runtime/base/base.h"

enum { VAL_HELP = 256, VAL_FIRST }; /* getopt_long's val: VAL_FIRST + index of the option */
#define SUGGEST_MAX 64              /* longer words are nobody's typing error */

int cli_usage(const struct cli_verb *verb, const char *fmt, ...)
{
    struct xc_err err = {0};
    char text[sizeof err.msg];
    va_list ap;

    if (!xc_ranks_speaks(NULL)) return 2; /* mpirun started several of us */
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)xc_fail(&err, XC_E_ARG, "%s", text); /* for its escaping: text holds what the user typed */
    if (verb != NULL)
        fprintf(stderr, "xcompress %s: %s; see 'xcompress %s --help'\n", verb->name, err.msg, verb->name);
    else
        fprintf(stderr, "xcompress: %s; see 'xcompress help'\n", err.msg);
    return 2;
}

static size_t min3(size_t a, size_t b, size_t c)
{
    const size_t ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Damerau-Levenshtein with neighbouring swaps (optimal string alignment). Both words are at most SUGGEST_MAX long. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[3][SUGGEST_MAX + 1];
    const size_t n = strlen(b);
    size_t *two = row[0], *prev = row[1], *cur = row[2];

    for (size_t j = 0; j <= n; j++) prev[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t *const free_row = two;

        cur[0] = i;
        for (size_t j = 1; j <= n; j++) {
            cur[j] = min3(prev[j] + 1, cur[j - 1] + 1, prev[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && two[j - 2] + 1 < cur[j]) cur[j] = two[j - 2] + 1;
        }
        two = prev;
        prev = cur;
        cur = free_row;
    }
    return prev[n];
}

const char *cli_nearest(const char *word, const char *const *candidates)
{
    const size_t len = strlen(word);
    const char *best = NULL;
    size_t best_distance = len / 3 + 1; /* one error in three characters, and one always */

    if (len > SUGGEST_MAX || len < 2) return NULL;
    for (; *candidates != NULL; candidates++) {
        size_t d;

        if (strlen(*candidates) > SUGGEST_MAX) continue;
        d = edit_distance(word, *candidates);
        if (strncmp(word, *candidates, len) == 0) d = 1; /* a beginning is near */
        if (d > best_distance || (d == best_distance && best != NULL)) continue;
        best_distance = d;
        best = *candidates;
    }
    return best;
}

static bool is_option(const struct cli_opt *o)
{
    return o->type != CLI_TYPE_GROUP;
}

static size_t count_opts(const struct cli_verb *verb)
{
    size_t n = 0;

    if (verb->opts != NULL)
        while (verb->opts[n].type != CLI_TYPE_END) n++;
    return n;
}

/* "'a', 'b' or 'c'" */
static void join_choices(char *buf, size_t cap, const char *const *choices)
{
    size_t n = 0;

    buf[0] = '\0';
    for (size_t i = 0; choices[i] != NULL; i++) {
        const char *const sep = i == 0 ? "" : choices[i + 1] == NULL ? " or " : ", ";
        const int w = snprintf(buf + n, cap - n, "%s'%s'", sep, choices[i]);

        if (w < 0 || (size_t)w >= cap - n) return;
        n += (size_t)w;
    }
}

/* Stores a value. On failure must_be says what was expected, and the return value is false; true with must_be[0] set is out of memory. */
static bool store(const struct cli_opt *o, void *opts, const char *text, char *must_be, size_t cap)
{
    char *const field = (char *)opts + o->field;

    switch (o->type) {
    case CLI_TYPE_BOOL: {
        const bool yes = true;

        memcpy(field, &yes, sizeof yes);
        return true;
    }
    case CLI_TYPE_INT: {
        int64_t x;

        if (xc_parse_int(&x, text) && x >= o->lo && x <= o->hi) {
            memcpy(field, &x, sizeof x);
            return true;
        }
        if (o->hi == INT64_MAX)
            snprintf(must_be, cap, "an integer >= %lld", (long long)o->lo);
        else
            snprintf(must_be, cap, "an integer from %lld to %lld", (long long)o->lo, (long long)o->hi);
        return false;
    }
    case CLI_TYPE_SIZE: {
        uint64_t x;

        if (xc_parse_size(&x, text)) {
            memcpy(field, &x, sizeof x);
            return true;
        }
        snprintf(must_be, cap, "a size such as 500KB, 64MB or 1.5GiB");
        return false;
    }
    case CLI_TYPE_FLOAT: {
        double x;

        if (xc_parse_number(&x, text) && x >= o->flo && x <= o->fhi) {
            memcpy(field, &x, sizeof x);
            return true;
        }
        if (o->fhi > 1e300)
            snprintf(must_be, cap, "a number >= %g", o->flo);
        else
            snprintf(must_be, cap, "a number from %g to %g", o->flo, o->fhi);
        return false;
    }
    case CLI_TYPE_STRING:
        memcpy(field, &text, sizeof text);
        return true;
    case CLI_TYPE_CHOICE:
        for (int i = 0; o->choices[i] != NULL; i++) {
            if (strcmp(text, o->choices[i]) != 0) continue;
            memcpy(field, &i, sizeof i);
            return true;
        }
        join_choices(must_be, cap, o->choices);
        return false;
    case CLI_TYPE_LIST: {
        struct cli_list list;

        memcpy(&list, field, sizeof list);
        if (xc_grow((void **)&list.items, &list.cap, list.n + 1, sizeof *list.items, NULL) != XC_OK) {
            snprintf(must_be, cap, "out of memory");
            return true;
        }
        list.items[list.n++] = text;
        memcpy(field, &list, sizeof list);
        return true;
    }
    case CLI_TYPE_END:
    case CLI_TYPE_GROUP:
        break;
    }
    return true;
}

/* How the user wrote the option that getopt has just read. */
static const char *as_written(const struct cli_opt *o, bool by_letter, char *buf, size_t cap)
{
    if (by_letter)
        snprintf(buf, cap, "-%c", o->letter);
    else
        snprintf(buf, cap, "--%s", o->name);
    return buf;
}

/* What getopt_long answers with '?': unknown, ambiguous, or a value where none belongs. */
static int report_unknown(const struct cli_verb *verb, char **argv)
{
    const char *const word = argv[optind - 1];
    const char *names[256] = {"help"};
    const char *near;
    char typed[80], matches[160] = "";
    size_t n_names = 1, len, hits = 0;

    if (strncmp(word, "--", 2) != 0 || (optopt > 0 && optopt < 256)) /* a letter, maybe inside a bundle */
        return cli_usage(verb, "unknown option '-%c'", optopt);

    len = strcspn(word + 2, "=");
    for (size_t i = 0; i < count_opts(verb) && n_names < XC_ARRAY_LEN(names) - 1; i++)
        if (is_option(&verb->opts[i]) && !verb->opts[i].hidden) names[n_names++] = verb->opts[i].name;
    names[n_names] = NULL;
    snprintf(typed, sizeof typed, "%.*s", (int)(len < sizeof typed - 1 ? len : sizeof typed - 1), word + 2);
    if (optopt != 0) return cli_usage(verb, "option '--%s' takes no value", typed);

    for (size_t i = 0; i < n_names; i++) {
        const size_t used = strlen(matches);

        if (strncmp(names[i], typed, len) != 0) continue;
        snprintf(matches + used, sizeof matches - used, "%s'--%s'", hits++ > 0 ? ", " : "", names[i]);
    }
    if (hits > 1) return cli_usage(verb, "option '--%s' is ambiguous: %s", typed, matches);
    near = cli_nearest(typed, names);
    if (near != NULL) return cli_usage(verb, "unknown option '--%s', did you mean '--%s'?", typed, near);
    return cli_usage(verb, "unknown option '--%s'", typed);
}

/* Fills getopt's two tables; the caller frees them. */
static bool build_tables(const struct cli_verb *verb, struct option **longs, char **letters)
{
    const size_t n = count_opts(verb);
    size_t n_long = 0, n_letters = 0;

    *longs = xc_calloc(n + 2, sizeof **longs);
    *letters = xc_calloc(2 * n + 4, 1);
    if (*longs == NULL || *letters == NULL) return false;
    (*letters)[n_letters++] = ':'; /* a missing value is ':' and not '?' */
    (*letters)[n_letters++] = 'h';
    for (size_t i = 0; i < n; i++) {
        const struct cli_opt *const o = &verb->opts[i];
        const bool takes_value = o->type != CLI_TYPE_BOOL;

        if (!is_option(o)) continue;
        (*longs)[n_long++] = (struct option){o->name, takes_value ? required_argument : no_argument, NULL, VAL_FIRST + (int)i};
        if (o->letter == 0) continue;
        (*letters)[n_letters++] = o->letter;
        if (takes_value) (*letters)[n_letters++] = ':';
    }
    (*longs)[n_long] = (struct option){"help", no_argument, NULL, VAL_HELP};
    return true;
}

static const struct cli_opt *find_opt(const struct cli_verb *verb, int val)
{
    const size_t n = count_opts(verb);

    if (val >= VAL_FIRST && (size_t)(val - VAL_FIRST) < n) return &verb->opts[val - VAL_FIRST];
    for (size_t i = 0; i < n; i++)
        if (is_option(&verb->opts[i]) && verb->opts[i].letter != 0 && verb->opts[i].letter == val) return &verb->opts[i];
    return NULL;
}

static int parse_with(const struct cli_verb *verb, void *opts, int argc, char **argv, const struct option *longs, const char *letters)
{
    char must_be[512] = "", written[64];
    int val;

    optind = 0; /* glibc: start over */
    opterr = 0;
    while ((val = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        const struct cli_opt *const o = find_opt(verb, val == ':' ? optopt : val);

        if (val == 'h' || val == VAL_HELP) {
            cli_print_help(stdout, verb);
            return 0;
        }
        if (val == '?') return report_unknown(verb, argv);
        as_written(o, (val == ':' ? optopt : val) < VAL_HELP, written, sizeof written);
        if (val == ':') return cli_usage(verb, "option '%s' needs a value", written);
        if (!store(o, opts, optarg, must_be, sizeof must_be))
            return cli_usage(verb, "option '%s' must be %s, not '%.60s'", written, must_be, optarg);
        if (must_be[0] != '\0') {
            fprintf(stderr, "xcompress: %s\n", must_be);
            return 1;
        }
    }
    return -1;
}

int cli_parse(const struct cli_verb *verb, void *opts, int argc, char **argv, int *n_rest, char ***rest)
{
    struct option *longs = NULL;
    char *letters = NULL;
    char must_be[512] = "";
    int code;

    for (size_t i = 0; i < count_opts(verb); i++) {
        const struct cli_opt *const o = &verb->opts[i];

        if (o->def == NULL || store(o, opts, o->def, must_be, sizeof must_be)) continue;
        fprintf(stderr, "xcompress: internal error: the default of '--%s' must be %s\n", o->name, must_be);
        return 1;
    }
    if (build_tables(verb, &longs, &letters)) {
        code = parse_with(verb, opts, argc, argv, longs, letters);
    } else {
        fprintf(stderr, "xcompress: out of memory\n");
        code = 1;
    }
    xc_free(longs);
    xc_free(letters);
    if (code >= 0) return code;

    *n_rest = argc - optind;
    *rest = argv + optind;
    if (*n_rest < verb->min_args) {
        if (*n_rest == 0) return cli_usage(verb, "missing argument: expected '%.*s'", (int)strcspn(verb->usage, "\n"), verb->usage);
        return cli_usage(verb, "%d more argument%s expected after '%.60s'", verb->min_args - *n_rest, verb->min_args - *n_rest == 1 ? " is" : "s are",
                         (*rest)[*n_rest - 1]);
    }
    if (verb->max_args >= 0 && *n_rest > verb->max_args) return cli_usage(verb, "unexpected argument '%.60s'", (*rest)[verb->max_args]);
    return -1;
}

void cli_parse_release(const struct cli_verb *verb, void *opts)
{
    for (size_t i = 0; i < count_opts(verb); i++) {
        struct cli_list list;

        if (verb->opts[i].type != CLI_TYPE_LIST) continue;
        memcpy(&list, (char *)opts + verb->opts[i].field, sizeof list);
        xc_free(list.items);
    }
}
