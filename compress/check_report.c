/* check_report: a check as a table, as Markdown and as JUnit XML. */
#include <math.h>
#include <string.h>

#include "compress/check.h"

void xc_check_text(char *buf, size_t n, double x, const char *unit)
{
    if (isnan(x)) snprintf(buf, n, "undefined");
    else if (!strcmp(unit, "bytes")) snprintf(buf, n, x >= 1e9 ? "%.3f GB" : x >= 1e6 ? "%.3f MB" : x >= 1e3 ? "%.3f kB" : "%.0f B", x >= 1e9 ? x / 1e9 : x >= 1e6 ? x / 1e6 : x >= 1e3 ? x / 1e3 : x);
    else if (!strcmp(unit, "bits")) snprintf(buf, n, "%.3f", x);
    else if (!strcmp(unit, "ms")) snprintf(buf, n, "%.3f ms", x);
    else if (!strcmp(unit, "ratio")) snprintf(buf, n, "%.3f x", x);
    else snprintf(buf, n, "%.4f", x);
}

/* "0.8668 [0.8506, 0.8819]" */
static void value_text(char *buf, size_t n, const struct xc_check_row *r)
{
    char lo[32], hi[32];
    size_t used;

    xc_check_text(buf, n, r->value, r->unit);
    if (isnan(r->lo) || isnan(r->hi)) return;
    xc_check_text(lo, sizeof lo, r->lo, strcmp(r->unit, "ms") ? r->unit : "bits");
    xc_check_text(hi, sizeof hi, r->hi, strcmp(r->unit, "ms") ? r->unit : "bits");
    used = strlen(buf);
    snprintf(buf + used, n - used, " [%s, %s]", lo, hi);
}

static void limit_text(char *buf, size_t n, const struct xc_check_row *r)
{
    char limit[32];

    xc_check_text(limit, sizeof limit, r->limit, r->unit);
    snprintf(buf, n, "%s %s", r->at_least ? ">=" : "<=", limit);
}

void xc_check_print(FILE *f, const struct xc_check_report *report, const char *model)
{
    fprintf(f, "%s: %s%s\n\n%-42s %-14s %-32s %s\n", model, xc_verdict_name(report->verdict), report->failed ? ", failed" : "", "budget", "limit", "value [95 %]", "verdict");
    for (int32_t i = 0; i < report->n_rows; i++) {
        const struct xc_check_row *r = &report->rows[i];
        char limit[48], value[96];

        limit_text(limit, sizeof limit, r);
        value_text(value, sizeof value, r);
        fprintf(f, "%-42s %-14s %-32s %s%s%s%s%s\n", r->name, limit, value, xc_verdict_name(r->verdict), r->verdict == XC_UNDECIDED && r->strict ? " (strict)" : "",
                *r->note ? "  (" : "", r->note, *r->note ? ")" : "");
    }
}

/* ---- Markdown ---- */
static void markdown_text(FILE *f, const char *s)
{
    for (; *s; s++) {
        if (strchr("|\\`*_<>[]", *s)) putc('\\', f);
        putc((unsigned char)*s < 0x20 ? ' ' : *s, f);
    }
}

void xc_check_print_markdown(FILE *f, const struct xc_check_report *report, const char *model)
{
    fprintf(f, "### Budget of ");
    markdown_text(f, model);
    fprintf(f, ": %s\n\n| budget | limit | value [95 %%] | verdict | |\n| --- | --- | --- | --- | --- |\n", report->failed ? "**missed**" : xc_verdict_name(report->verdict));
    for (int32_t i = 0; i < report->n_rows; i++) {
        const struct xc_check_row *r = &report->rows[i];
        char limit[48], value[96];

        limit_text(limit, sizeof limit, r);
        value_text(value, sizeof value, r);
        fprintf(f, "| ");
        markdown_text(f, r->name);
        fprintf(f, " | ");
        markdown_text(f, limit);
        fprintf(f, " | ");
        markdown_text(f, value);
        fprintf(f, r->verdict == XC_WITHIN ? " | within | " : " | **%s** | ", xc_verdict_name(r->verdict));
        markdown_text(f, r->note);
        fprintf(f, " |\n");
    }
}

/* ---- JUnit XML: as Jenkins and GitLab read it ---- */
/* XML 1.0 text: markup escaped, control characters and invalid UTF-8 replaced. */
static void xml_text(FILE *f, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    while (*s) {
        const int n = *s < 0x80 ? 1 : *s >= 0xc2 && *s < 0xe0 ? 2 : *s >= 0xe0 && *s < 0xf0 ? 3 : *s >= 0xf0 && *s < 0xf5 ? 4 : 0;
        int good = n > 0;

        for (int i = 1; i < n && good; i++) good = (s[i] & 0xc0) == 0x80;
        if (good && n == 3) good = !(s[0] == 0xe0 && s[1] < 0xa0) && !(s[0] == 0xed && s[1] > 0x9f) && !(s[0] == 0xef && s[1] == 0xbf && s[2] > 0xbd);
        if (good && n == 4) good = !(s[0] == 0xf0 && s[1] < 0x90) && !(s[0] == 0xf4 && s[1] > 0x8f);
        if (!good || (*s < 0x20 && *s != '\t') || *s == 0x7f) {
            putc('?', f);
            s++;
            continue;
        }
        if (*s == '<') fputs("&lt;", f);
        else if (*s == '>') fputs("&gt;", f);
        else if (*s == '&') fputs("&amp;", f);
        else if (*s == '"') fputs("&quot;", f);
        else fwrite(s, 1, (size_t)n, f);
        s += n;
    }
}

void xc_check_print_junit(FILE *f, const struct xc_check_report *report, const char *model)
{
    int failures = 0, skipped = 0;

    for (int32_t i = 0; i < report->n_rows; i++) {
        const struct xc_check_row *r = &report->rows[i];
        const bool fails = r->verdict == XC_OVER || (r->verdict == XC_UNDECIDED && r->strict);

        failures += fails;
        skipped += r->verdict == XC_UNDECIDED && !fails;
    }
    fprintf(f, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"xcompress check\" tests=\"%d\" failures=\"%d\" errors=\"0\" skipped=\"%d\" time=\"%.3f\">\n",
            report->n_rows, failures, skipped, report->seconds);
    for (int32_t i = 0; i < report->n_rows; i++) {
        const struct xc_check_row *r = &report->rows[i];
        const bool fails = r->verdict == XC_OVER || (r->verdict == XC_UNDECIDED && r->strict);
        char limit[48], value[96];

        limit_text(limit, sizeof limit, r);
        value_text(value, sizeof value, r);
        fprintf(f, "    <testcase classname=\"");
        xml_text(f, model);
        fprintf(f, "\" name=\"");
        xml_text(f, r->name);
        fprintf(f, "\">\n");
        if (fails || r->verdict == XC_UNDECIDED) {
            fprintf(f, "      <%s message=\"%s: ", fails ? "failure" : "skipped", xc_verdict_name(r->verdict));
            xml_text(f, value);
            fprintf(f, ", limit ");
            xml_text(f, limit);
            fprintf(f, "\"/>\n");
        }
        fprintf(f, "      <system-out>");
        xml_text(f, value);
        fprintf(f, ", limit ");
        xml_text(f, limit);
        fprintf(f, "%s", *r->note ? "; " : "");
        xml_text(f, r->note);
        fprintf(f, "</system-out>\n    </testcase>\n");
    }
    fprintf(f, "  </testsuite>\n</testsuites>\n");
}
