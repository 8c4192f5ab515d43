/* check_report: a check as a table, as Markdown and as JUnit XML. */
#include <math.h>
#include <string.h>

#include "compress/gate/check.h"
#include "formats/markup.h"

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
void xc_check_print_markdown(FILE *f, const struct xc_check_report *report, const char *model)
{
    fprintf(f, "### Budget of ");
    xc_markup_markdown(f, model);
    fprintf(f, ": %s\n\n| budget | limit | value [95 %%] | verdict | |\n| --- | --- | --- | --- | --- |\n", report->failed ? "**missed**" : xc_verdict_name(report->verdict));
    for (int32_t i = 0; i < report->n_rows; i++) {
        const struct xc_check_row *r = &report->rows[i];
        char limit[48], value[96];

        limit_text(limit, sizeof limit, r);
        value_text(value, sizeof value, r);
        fprintf(f, "| ");
        xc_markup_markdown(f, r->name);
        fprintf(f, " | ");
        xc_markup_markdown(f, limit);
        fprintf(f, " | ");
        xc_markup_markdown(f, value);
        fprintf(f, r->verdict == XC_WITHIN ? " | within | " : " | **%s** | ", xc_verdict_name(r->verdict));
        xc_markup_markdown(f, r->note);
        fprintf(f, " |\n");
    }
}

/* ---- JUnit XML: as Jenkins and GitLab read it ---- */
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
        xc_markup_xml(f, model);
        fprintf(f, "\" name=\"");
        xc_markup_xml(f, r->name);
        fprintf(f, "\">\n");
        if (fails || r->verdict == XC_UNDECIDED) {
            fprintf(f, "      <%s message=\"%s: ", fails ? "failure" : "skipped", xc_verdict_name(r->verdict));
            xc_markup_xml(f, value);
            fprintf(f, ", limit ");
            xc_markup_xml(f, limit);
            fprintf(f, "\"/>\n");
        }
        fprintf(f, "      <system-out>");
        xc_markup_xml(f, value);
        fprintf(f, ", limit ");
        xc_markup_xml(f, limit);
        fprintf(f, "%s", *r->note ? "; " : "");
        xc_markup_xml(f, r->note);
        fprintf(f, "</system-out>\n    </testcase>\n");
    }
    fprintf(f, "  </testsuite>\n</testsuites>\n");
}
