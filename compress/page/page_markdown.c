/* page_markdown: the page in short, for a pull request. */
#include <math.h>

#include "compress/page/html.h"
#include "compress/page/page.h"
#include "formats/markup.h"

static void cell(FILE *f, const char *text)
{
    fputs("| ", f);
    if (text) xc_markup_markdown(f, text);
    fputc(' ', f);
}

static void estimate(FILE *f, const struct xc_estimate *x, bool sign)
{
    if (!isfinite(x->value)) fputs("| – ", f);
    else if (sign) fprintf(f, "| %s [%s, %s] ", xc_signed(x->value, 4).s, xc_signed(x->lo, 4).s, xc_signed(x->hi, 4).s);
    else fprintf(f, "| %s [%s, %s] ", xc_fixed(x->value, 4).s, xc_fixed(x->lo, 4).s, xc_fixed(x->hi, 4).s);
}

static void evidence(FILE *f, const struct xc_evidence *e)
{
    if (e->n_budgets) {
        fprintf(f, "\n#### Budget: %s\n\n| limit on | limit | value | verdict |\n| --- | ---: | ---: | --- |\n", e->failed ? "**missed**" : xc_verdict_name(e->verdict));
        for (int32_t i = 0; i < e->n_budgets; i++) {
            const struct xc_check_row *r = &e->budgets[i];
            char limit[48], value[48];

            xc_check_text(limit, sizeof limit, r->limit, r->unit);
            xc_check_text(value, sizeof value, r->value, r->unit);
            cell(f, r->name);
            fprintf(f, "| %s %s | %s | %s%s%s |\n", r->at_least ? "≥" : "≤", limit, value, r->verdict == XC_OVER ? "**" : "", xc_verdict_name(r->verdict), r->verdict == XC_OVER ? "**" : "");
        }
    }
    if (e->n_metrics) fputs("\n#### Accuracy, with 95 % intervals\n\n| metric | rows | this model | reference | difference |\n| --- | ---: | ---: | ---: | ---: |\n", f);
    for (int32_t i = 0; i < e->n_metrics; i++) {
        const struct xc_seen_metric *m = &e->metrics[i];

        cell(f, m->task);
        xc_markup_markdown(f, m->metric);
        fprintf(f, " | %lld ", (long long)m->rows);
        estimate(f, &m->model, false);
        estimate(f, &m->reference, false);
        estimate(f, &m->difference, true);
        fputs("|\n", f);
    }
    if (e->n_trainings) fputs("\n#### Training\n\n| log | updates | tokens | loss, first to last | dev rows, first to last |\n| --- | ---: | ---: | ---: | ---: |\n", f);
    for (int32_t i = 0; i < e->n_trainings; i++) {
        const struct xc_seen_training *t = &e->trainings[i];

        cell(f, t->name);
        fprintf(f, "| %lld | %s | %s to %s | ", (long long)t->loss.x[t->loss.n - 1], xc_count(t->tokens).s, xc_significant(t->loss.y[0]).s, xc_significant(t->loss.y[t->loss.n - 1]).s);
        if (t->dev.n) {
            xc_markup_markdown(f, t->metric);
            fprintf(f, " %s to %s ", xc_significant(t->dev.y[0]).s, xc_significant(t->dev.y[t->dev.n - 1]).s);
        }
        fputs("|\n", f);
    }
    if (e->n_latencies) fputs("\n#### Latency\n\n| tokens | batch | threads | median | 5 % to 95 % | start | memory |\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n", f);
    for (int32_t i = 0; i < e->n_latencies; i++) {
        const struct xc_seen_latency *l = &e->latencies[i];

        fprintf(f, "| %lld | %lld | %lld | %s ms | %s to %s | %s ms | %s MB |\n", (long long)l->tokens, (long long)l->batch, (long long)l->threads, xc_fixed(l->median, 2).s, xc_fixed(l->p5, 2).s,
                xc_fixed(l->p95, 2).s, xc_fixed(l->start_ms, 1).s, xc_fixed(l->rss_mb, 1).s);
    }
}

void xc_page_print_markdown(FILE *f, const struct xc_page *p)
{
    const struct xc_inventory *inv = &p->inventory;
    json_t *pass;
    size_t at;

    fputs("### ", f);
    xc_markup_markdown(f, p->name);
    fprintf(f, "\n\n**%s**", xc_size(p->file_bytes).s);
    if (p->source_bytes && p->file_bytes) fprintf(f, ", %.2f times smaller than %s", (double)p->source_bytes / (double)p->file_bytes, xc_size(p->source_bytes).s);
    fprintf(f, "; %s bits a weight, %s weights\n", xc_fixed(inv->count ? 8.0 * (double)inv->bytes / (double)inv->count : 0, 2).s, xc_count((double)inv->count).s);
    evidence(f, &p->evidence);
    if (p->relatives.n) xc_relatives_print_markdown(f, &p->relatives);
    fputs("\n#### Layers\n\n| layer | bytes | bits | largest error | of output | zeros |\n| --- | ---: | ---: | ---: | ---: | ---: |\n", f);
    for (int32_t i = 0; i < inv->n_layers; i++) {
        const struct xc_layer *l = &inv->layers[i];

        cell(f, l->name);
        fprintf(f, "| %s | %s | %s | %s | %s |\n", xc_size(l->bytes).s, xc_fixed(l->count ? 8.0 * (double)l->bytes / (double)l->count : 0, 2).s, xc_percent(l->error).s, xc_percent(l->output_error).s,
                xc_percent(l->counted > 0 ? l->zeros / l->counted : -1).s);
    }
    if (!json_array_size(json_object_get(p->manifest, "recipe"))) return;
    const struct xc_page_drop drop = xc_page_drop(p);

    if (drop.measured >= 0) fprintf(f, "\nEncodings chosen layer by layer: drop of the answers %s predicted, **%s** measured\n", xc_significant(drop.predicted).s, xc_significant(drop.measured).s);
    fputs("\n#### How it was made\n\n", f);
    json_array_foreach(json_object_get(p->manifest, "recipe"), at, pass) {
        char *text = xc_page_pass_text(pass);

        fprintf(f, "%zu. ", at + 1);
        xc_markup_markdown(f, text ? text : "out of memory");
        fputc('\n', f);
        xc_free(text);
    }
}
