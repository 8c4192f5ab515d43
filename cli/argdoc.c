/* argdoc: the documents that the option tables make: --help, the manual page (man(7) macros), completions for bash and zsh. */
#include <string.h>

#include "cli/argparse.h"

#define WIDTH 80       /* columns of --help */
#define HELP_COLUMN 28 /* where the text of an option begins */

/* ---- --help ---- */

/* Prints text wrapped to WIDTH, the cursor being at `column`; further lines are indented. Ends with a newline. */
static void print_wrapped(FILE *f, const char *text, int column, int indent)
{
    bool first = true;

    while (*text != '\0') {
        const int len = (int)strcspn(text, " \n");

        if (!first && column + 1 + len > WIDTH) {
            fprintf(f, "\n%*s", indent, "");
            column = indent;
        } else if (!first) {
            fputc(' ', f);
            column++;
        }
        fprintf(f, "%.*s", len, text);
        column += len;
        first = false;
        text += len;
        text += strspn(text, " \n");
    }
    fputc('\n', f);
}

/* The value's name: "FILE", or "{a,b}" for a choice; "" for a flag. */
static const char *value_name(const struct cli_opt *o, char *buf, size_t cap)
{
    size_t n = 0;

    buf[0] = '\0';
    if (o->type == CLI_TYPE_BOOL) return buf;
    if (o->type != CLI_TYPE_CHOICE) return o->arg != NULL ? o->arg : "VALUE";
    for (size_t i = 0; o->choices[i] != NULL && n < cap; i++) {
        const int w = snprintf(buf + n, cap - n, "%s%s", i == 0 ? "{" : ",", o->choices[i]);

        n += w > 0 ? (size_t)w : 0;
    }
    if (n + 1 < cap) snprintf(buf + n, cap - n, "}");
    return buf;
}

/* Help text with the default and the repetition spelled out. */
static void full_help(const struct cli_opt *o, char *buf, size_t cap)
{
    const char *const def = o->def_help != NULL ? o->def_help : o->def;

    snprintf(buf, cap, "%s%s%s%s%s", o->help, o->type == CLI_TYPE_LIST ? " (may be given several times)" : "", def != NULL ? " (default: " : "",
             def != NULL ? def : "", def != NULL ? ")" : "");
}

static void print_option(FILE *f, const struct cli_opt *o)
{
    char head[256], value[200], text[1024];
    const char *const name = value_name(o, value, sizeof value);
    const int n = snprintf(head, sizeof head, "  %c%c%c --%s%s%s", o->letter != 0 ? '-' : ' ', o->letter != 0 ? o->letter : ' ',
                           o->letter != 0 ? ',' : ' ', o->name, name[0] != '\0' ? " " : "", name);

    full_help(o, text, sizeof text);
    fputs(head, f);
    if (n + 1 > HELP_COLUMN)
        fprintf(f, "\n%*s", HELP_COLUMN, "");
    else
        fprintf(f, "%*s", HELP_COLUMN - n, "");
    print_wrapped(f, text, HELP_COLUMN, HELP_COLUMN);
}

static const struct cli_opt help_opt = {.type = CLI_TYPE_BOOL, .letter = 'h', .name = "help", .help = "show this help"};

/* Calls fn for every paragraph (separated by blank lines) of text. */
static void each_paragraph(FILE *f, const char *text, void (*fn)(FILE *f, const char *paragraph))
{
    char paragraph[2048];

    while (text != NULL && *text != '\0') {
        const char *const end = strstr(text, "\n\n");
        const size_t len = end != NULL ? (size_t)(end - text) : strlen(text);

        snprintf(paragraph, sizeof paragraph, "%.*s", (int)(len < sizeof paragraph ? len : sizeof paragraph - 1), text);
        fn(f, paragraph);
        text += len;
        text += strspn(text, "\n");
    }
}

static void help_paragraph(FILE *f, const char *paragraph)
{
    fputc('\n', f);
    if (paragraph[0] == ' ') /* indented: an example, as it is */
        fprintf(f, "%s\n", paragraph);
    else
        print_wrapped(f, paragraph, 0, 0);
}

void cli_print_help(FILE *f, const struct cli_verb *verb)
{
    const char *usage = verb->usage;
    bool headed = false;

    for (const char *lead = "Usage:"; usage != NULL && *usage != '\0'; lead = "      ") {
        const int len = (int)strcspn(usage, "\n");

        fprintf(f, "%s xcompress %s%s%.*s\n", lead, verb->name, len > 0 ? " " : "", len, usage);
        usage += len;
        usage += *usage == '\n';
    }
    fprintf(f, "\n%c%s.\n", verb->summary[0] >= 'a' && verb->summary[0] <= 'z' ? verb->summary[0] - 'a' + 'A' : verb->summary[0], verb->summary + 1);
    each_paragraph(f, verb->details, help_paragraph);

    for (const struct cli_opt *o = verb->opts; o != NULL && o->type != CLI_TYPE_END; o++) {
        if (o->hidden) continue;
        if (o->type == CLI_TYPE_GROUP)
            fprintf(f, "\n%s:\n", o->help);
        else if (!headed)
            fputs("\nOptions:\n", f);
        headed = true;
        if (o->type != CLI_TYPE_GROUP) print_option(f, o);
    }
    if (!headed) fputs("\nOptions:\n", f);
    print_option(f, &help_opt);
}

void cli_print_overview(FILE *f, const struct cli_verb *const *verbs)
{
    fputs("Usage: xcompress VERB [options] [arguments]\n\n"
          "Compresses transformer models, runs them, and keeps them within a budget.\n\n", f);
    for (; *verbs != NULL; verbs++)
        if (!(*verbs)->hidden) fprintf(f, "  %-12s %s\n", (*verbs)->name, (*verbs)->summary);
    fputs("\n'xcompress help VERB' or 'xcompress VERB --help' tells more; 'xcompress --version' prints the version.\n"
          "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a budget missed, 130 or 143 on a signal.\n", f);
}

/* ---- manual page ---- */

/* Text for troff: backslashes and hyphens escaped, and no line that begins like a request. */
static void man_text(FILE *f, const char *text)
{
    bool line_start = true;

    for (; *text != '\0'; text++) {
        if (line_start && (*text == '.' || *text == '\'')) fputs("\\&", f);
        line_start = *text == '\n';
        if (*text == '\\')
            fputs("\\e", f);
        else if (*text == '-')
            fputs("\\-", f);
        else
            fputc(*text, f);
    }
}

static void man_paragraph(FILE *f, const char *paragraph)
{
    const bool example = paragraph[0] == ' ';

    fputs(example ? ".PP\n.nf\n" : ".PP\n", f);
    man_text(f, paragraph);
    fputs(example ? "\n.fi\n" : "\n", f);
}

static void man_option(FILE *f, const struct cli_opt *o)
{
    char value[200], text[1024];
    const char *const name = value_name(o, value, sizeof value);

    fputs(".TP\n", f);
    if (o->letter != 0) fprintf(f, "\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB\\-\\-", f);
    man_text(f, o->name);
    fputs("\\fR", f);
    if (name[0] != '\0') {
        fputs(" \\fI", f);
        man_text(f, name);
        fputs("\\fR", f);
    }
    fputc('\n', f);
    full_help(o, text, sizeof text);
    man_text(f, text);
    fputs(".\n", f);
}

static void man_verb(FILE *f, const struct cli_verb *verb)
{
    const char *usage = verb->usage;

    fprintf(f, ".SS %s\n", verb->name);
    while (usage != NULL && *usage != '\0') {
        char line[256];
        const int len = (int)strcspn(usage, "\n");

        snprintf(line, sizeof line, "%.*s", len, usage);
        fprintf(f, "\\fBxcompress %s\\fR ", verb->name);
        man_text(f, line);
        fputs("\n.br\n", f);
        usage += len;
        usage += *usage == '\n';
    }
    fputs(".PP\n", f);
    man_text(f, verb->summary);
    fputs(".\n", f);
    each_paragraph(f, verb->details, man_paragraph);
    for (const struct cli_opt *o = verb->opts; o != NULL && o->type != CLI_TYPE_END; o++) {
        if (o->hidden) continue;
        if (o->type == CLI_TYPE_GROUP)
            fprintf(f, ".PP\n%s:\n", o->help);
        else
            man_option(f, o);
    }
}

void cli_print_man(FILE *f, const struct cli_verb *const *verbs)
{
    fprintf(f, ".TH XCOMPRESS 1 \"\" \"xcompress %s\" \"User Commands\"\n", XC_VERSION);
    fputs(".SH NAME\nxcompress \\- make transformer models small and fast, and keep them within a budget\n"
          ".SH SYNOPSIS\n\\fBxcompress\\fR \\fIVERB\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]\n.br\n"
          "\\fBxcompress help\\fR [\\fIVERB\\fR]\n.br\n\\fBxcompress \\-\\-version\\fR\n"
          ".SH DESCRIPTION\n"
          "A \\fIMODEL\\fR is a path of any format that xcompress reads, found from its content: a Hugging Face directory or a .xc file.\n"
          "The result goes to standard output, readable by default and one JSON object with \\fB\\-\\-json\\fR; progress goes to standard error.\n"
          "Long options may be abbreviated; a value follows as \\fB\\-\\-option=value\\fR or \\fB\\-\\-option value\\fR;\n"
          "letters may be bundled; \\fB\\-\\-\\fR ends the options.\n"
          "Sizes are written 500KB, 64MB (decimal) or 64MiB, 64M (binary); fractions may be written 5%.\n"
          ".SH VERBS\n", f);
    for (; *verbs != NULL; verbs++)
        if (!(*verbs)->hidden) man_verb(f, *verbs);
    fputs(".SH EXIT STATUS\n.TP\n0\nDone.\n.TP\n1\nFailed, with a message on standard error; also when selftest, reproduce or diff found a difference.\n"
          ".TP\n2\nWrong usage.\n.TP\n3\nA budget is missed.\n.TP\n130, 143\nStopped by SIGINT or SIGTERM; outputs that existed are as they were.\n"
          ".SH ENVIRONMENT\n.TP\nXC_CPU\n"
          "Limits the kernels: scalar, avx2, avxvnni, avx512vnni, avx512vbmi, avx512bf16 or neon, optionally followed by masks such as \\fB,\\-vnni\\fR.\n", f);
}

/* ---- completions ---- */

static bool takes_path(const struct cli_opt *o)
{
    return o->arg != NULL && (strstr(o->arg, "FILE") != NULL || strstr(o->arg, "DIR") != NULL || strstr(o->arg, "MODEL") != NULL ||
                              strstr(o->arg, "DATA") != NULL || strstr(o->arg, ".xc") != NULL);
}

static bool listed(const struct cli_opt *o)
{
    return o->type != CLI_TYPE_GROUP && !o->hidden;
}

/* What to offer after an option that takes a value: choices, files, or nothing. */
static void bash_value(FILE *f, const struct cli_opt *o)
{
    if (o->type == CLI_TYPE_CHOICE) {
        fputs("COMPREPLY=($(compgen -W '", f);
        for (size_t i = 0; o->choices[i] != NULL; i++) fprintf(f, "%s%s", i > 0 ? " " : "", o->choices[i]);
        fputs("' -- \"$cur\"))", f);
    } else if (takes_path(o)) {
        fputs("COMPREPLY=($(compgen -f -- \"$cur\"))", f);
    } else {
        fputs("COMPREPLY=()", f);
    }
}

void cli_print_bash(FILE *f, const struct cli_verb *const *verbs)
{
    fputs("# bash completion for xcompress; generated from its option tables\n"
          "_xcompress() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}\n"
          "    COMPREPLY=()\n"
          "    # readline splits --option=value at the '='\n"
          "    if [[ $cur == '=' ]]; then cur=''; elif [[ $prev == '=' ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
          "    if ((COMP_CWORD == 1)) || [[ $verb == help && COMP_CWORD -eq 2 ]]; then\n"
          "        COMPREPLY=($(compgen -W 'help --help --version", f);
    for (size_t i = 0; verbs[i] != NULL; i++)
        if (!verbs[i]->hidden) fprintf(f, " %s", verbs[i]->name);
    fputs("' -- \"$cur\"))\n        return\n    fi\n    case $verb in\n", f);
    for (; *verbs != NULL; verbs++) {
        if ((*verbs)->hidden) continue;
        fprintf(f, "    %s)\n        case $prev in\n", (*verbs)->name);
        for (const struct cli_opt *o = (*verbs)->opts; o != NULL && o->type != CLI_TYPE_END; o++) {
            if (!listed(o) || o->type == CLI_TYPE_BOOL) continue;
            fputs("        ", f);
            if (o->letter != 0) fprintf(f, "-%c|", o->letter);
            fprintf(f, "--%s) ", o->name);
            bash_value(f, o);
            fputs("; return ;;\n", f);
        }
        fputs("        esac\n        [[ $cur == -* ]] && COMPREPLY=($(compgen -W '--help", f);
        for (const struct cli_opt *o = (*verbs)->opts; o != NULL && o->type != CLI_TYPE_END; o++)
            if (listed(o)) fprintf(f, " --%s", o->name);
        fputs("' -- \"$cur\")) && return\n        ;;\n", f);
    }
    fputs("    esac\n"
          "    [[ $cur == -* ]] || COMPREPLY=($(compgen -f -- \"$cur\"))\n"
          "}\n"
          "complete -o filenames -F _xcompress xcompress\n", f);
}

/* Text inside single quotes and inside a [..] or :..: of _arguments. */
static void zsh_text(FILE *f, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            fputs("'\\''", f);
        else if (strchr("[]:\\", *text) != NULL)
            fprintf(f, "\\%c", *text);
        else
            fputc(*text, f);
    }
}

static void zsh_option(FILE *f, const struct cli_opt *o, const char *dashes, const char *name, const char *equals)
{
    fprintf(f, " \\\n            '%s%s%s%s[", o->type == CLI_TYPE_LIST ? "*" : "", dashes, name, o->type == CLI_TYPE_BOOL ? "" : equals);
    zsh_text(f, o->help);
    fputs("]", f);
    if (o->type == CLI_TYPE_CHOICE) {
        fputs(":value:(", f);
        for (size_t i = 0; o->choices[i] != NULL; i++) fprintf(f, "%s%s", i > 0 ? " " : "", o->choices[i]);
        fputs(")", f);
    } else if (o->type != CLI_TYPE_BOOL) {
        fputs(":", f);
        zsh_text(f, o->arg != NULL ? o->arg : "value");
        fputs(takes_path(o) ? ":_files" : ": ", f);
    }
    fputs("'", f);
}

void cli_print_zsh(FILE *f, const struct cli_verb *const *verbs)
{
    fputs("#compdef xcompress\n"
          "# zsh completion for xcompress; generated from its option tables\n"
          "_xcompress() {\n"
          "    local -a verbs\n"
          "    verbs=(\n        'help:show how a verb is used'\n", f);
    for (size_t i = 0; verbs[i] != NULL; i++) {
        if (verbs[i]->hidden) continue;
        fprintf(f, "        '%s:", verbs[i]->name);
        zsh_text(f, verbs[i]->summary);
        fputs("'\n", f);
    }
    fputs("    )\n"
          "    if ((CURRENT == 2)) || [[ $words[2] == help && CURRENT -eq 3 ]]; then\n"
          "        _describe -t verbs 'xcompress verb' verbs\n"
          "        return\n"
          "    fi\n"
          "    local verb=$words[2]\n"
          "    shift words\n"
          "    ((CURRENT--))\n"
          "    case $verb in\n", f);
    for (; *verbs != NULL; verbs++) {
        if ((*verbs)->hidden) continue;
        fprintf(f, "    %s)\n        _arguments -s -S '(-h --help)'{-h,--help}'[show help]'", (*verbs)->name);
        for (const struct cli_opt *o = (*verbs)->opts; o != NULL && o->type != CLI_TYPE_END; o++) {
            const char letter[2] = {o->letter, '\0'};

            if (!listed(o)) continue;
            zsh_option(f, o, "--", o->name, "=");
            if (o->letter != 0) zsh_option(f, o, "-", letter, "+");
        }
        fputs(" \\\n            '*:file:_files'\n        ;;\n", f);
    }
    fputs("    esac\n}\n_xcompress \"$@\"\n", f);
}
