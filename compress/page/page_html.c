/* page_html: the page as HTML that needs nothing but itself: no script, no network (its own policy forbids both). What a picture shows is in
 * the table that it stands in or that stands beneath it. */
#include <math.h>
#include <string.h>

#include "compress/page/html.h"
#include "compress/page/page.h"
#include "compress/page/picture.h"

#define PUT(f, text) fputs(text, f)

static double share(double part, double whole) { return whole > 0 ? part / whole : 0; }

/* ---- the head of the page ---- */
static void tile(FILE *f, const char *what, const char *figure, const char *note)
{
    xc_html(f, "<div><dt>$</dt><dd class=\"figure\">$</dd><dd><small>$</small></dd></div>\n", what, figure, note);
}

static void tiles(FILE *f, const struct xc_page *p)
{
    const struct xc_evidence *e = &p->evidence;
    char note[256], label[80];

    PUT(f, "<dl class=\"tiles\">\n");
    if (p->source_bytes && p->file_bytes) snprintf(note, sizeof note, "%.2f times smaller than %s", (double)p->source_bytes / (double)p->file_bytes, xc_size(p->source_bytes).s);
    else snprintf(note, sizeof note, "%s weights", xc_count((double)p->inventory.count).s);
    tile(f, "Size", xc_size(p->file_bytes).s, note);
    snprintf(note, sizeof note, "%s weights", xc_count((double)p->inventory.count).s);
    tile(f, "Bits per weight", xc_fixed(share(8.0 * (double)p->inventory.bytes, (double)p->inventory.count), 2).s, note);
    if (e->n_metrics) {
        const struct xc_seen_metric *m = &e->metrics[0];
        const bool paired = isfinite(m->difference.value);

        snprintf(note, sizeof note, "%.40s; %s %s to %s", m->task, paired ? "difference" : "95 %:", paired ? xc_signed(m->difference.lo, 4).s : xc_fixed(m->model.lo, 4).s,
                 paired ? xc_signed(m->difference.hi, 4).s : xc_fixed(m->model.hi, 4).s);
        snprintf(label, sizeof label, "Accuracy (%.60s)", m->metric);
        tile(f, label, xc_fixed(m->model.value, 4).s, note);
    }
    if (e->n_latencies) {
        const struct xc_seen_latency *l = &e->latencies[e->n_latencies - 1];

        snprintf(note, sizeof note, "%lld tokens, %lld thread%s", (long long)l->tokens, (long long)l->threads, l->threads == 1 ? "" : "s");
        if (l->batch > 1) snprintf(note + strlen(note), sizeof note - strlen(note), ", batch of %lld", (long long)l->batch);
        snprintf(label, sizeof label, "%s ms", xc_fixed(l->median, l->median < 10 ? 2 : 1).s);
        tile(f, "Latency", label, note);
    }
    if (e->checked) {
        int32_t over = 0;

        for (int32_t i = 0; i < e->n_budgets; i++) over += e->budgets[i].verdict == XC_OVER;
        snprintf(note, sizeof note, "%d of %d limits hold", e->n_budgets - over, e->n_budgets);
        tile(f, "Budget", e->failed ? "missed" : xc_verdict_name(e->verdict), note);
    }
    PUT(f, "</dl>\n");
}

static const char *meta(const struct xc_page *p, const char *key)
{
    const char *value = xc_model_meta(p->model, key);

    return value ? value : "";
}

static void head(FILE *f, const struct xc_page *p)
{
    const char *made = json_string_value(json_object_get(json_object_get(p->manifest, "versions"), "xcompress"));

    xc_html(f, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
               "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
               "<link rel=\"icon\" href=\"data:,\">\n<title>$</title>\n<style>\n", p->name);
    PUT(f, xc_page_style);
    xc_html(f, "</style>\n</head>\n<body>\n<header>\n<h1>$</h1>\n<p class=\"soft\">$ · $ · $ weights", p->name, meta(p, "family"), meta(p, "task"), xc_count((double)p->inventory.count).s);
    if (made) xc_html(f, " · made by xcompress $", made);
    PUT(f, "</p>\n");
    tiles(f, p);
    PUT(f, "</header>\n<main>\n");
}

/* ---- evidence ---- */
static void budgets(FILE *f, const struct xc_evidence *e)
{
    static const char *const signs[] = { "✓", "?", "✕" };

    PUT(f, "<section>\n<h2>Budget</h2>\n<p class=\"soft\">The line in a picture is the limit.</p>\n<table class=\"bars many\" style=\"--n:3\">\n<thead><tr><th>limit on</th><td class=\"picture\"></td><th class=\"n\">limit</th>"
           "<th class=\"n\">value</th><th>verdict</th></tr></thead>\n<tbody>\n");
    for (int32_t i = 0; i < e->n_budgets; i++) {
        const struct xc_check_row *r = &e->budgets[i];
        char limit[48], value[48];

        xc_check_text(limit, sizeof limit, r->limit, r->unit);
        xc_check_text(value, sizeof value, r->value, r->unit);
        xc_html(f, "<tr><th scope=\"row\">$$<small>$</small></th><td class=\"picture\">", r->name, *r->note ? " " : "", r->note);
        if (isfinite(r->lo) && isfinite(r->hi) && !strcmp(r->unit, "fraction")) {
            const double lo = fmin(fmin(r->lo, r->value), r->limit), hi = fmax(fmax(r->hi, r->value), r->limit), room = hi > lo ? 0.08 * (hi - lo) : 1;

            xc_picture_interval(f, r->lo, r->value, r->hi, lo - room, hi + room, r->limit, r->verdict == XC_OVER);
        } else {
            xc_picture_limit(f, r->value, r->limit, 1.08 * fmax(r->value, r->limit), r->verdict == XC_OVER);
        }
        xc_html(f, "</td><td class=\"n\">$ $</td><td class=\"n\">$</td><td class=\"verdict", r->at_least ? "≥" : "≤", limit, value);
        xc_html(f, r->verdict == XC_OVER ? " over\">$ $$</td></tr>\n" : "\">$ $$</td></tr>\n", signs[r->verdict], xc_verdict_name(r->verdict), r->verdict == XC_UNDECIDED && r->strict ? ", strict" : "");
    }
    PUT(f, "</tbody>\n</table>\n</section>\n");
}

static void estimate(FILE *f, const struct xc_estimate *x, bool sign)
{
    if (!isfinite(x->value)) PUT(f, "<td class=\"n\">–</td>");
    else if (sign) xc_html(f, "<td class=\"n\">$ <small>$ to $</small></td>", xc_signed(x->value, 4).s, xc_signed(x->lo, 4).s, xc_signed(x->hi, 4).s);
    else xc_html(f, "<td class=\"n\">$ <small>$ to $</small></td>", xc_fixed(x->value, 4).s, xc_fixed(x->lo, 4).s, xc_fixed(x->hi, 4).s);
}

/* The metrics of one evaluation: they share its strings. */
static void evaluation(FILE *f, const struct xc_seen_metric *m, int32_t n)
{
    bool paired = false;
    double widest = 0;

    for (int32_t i = 0; i < n; i++) {
        const struct xc_estimate *d = &m[i].difference;

        if (!isfinite(d->value)) continue;
        paired = true;
        widest = fmax(widest, fmax(fabs(d->value), fmax(isfinite(d->lo) ? fabs(d->lo) : 0, isfinite(d->hi) ? fabs(d->hi) : 0)));
    }
    xc_html(f, "<h3>$</h3>\n<p class=\"soft\">$ rows of $", m->task, xc_integer(m->rows).s, m->data);
    if (m->against) xc_html(f, ", against $", m->against);
    if (isfinite(m->cosine)) xc_html(f, "; mean cosine of the embeddings $", xc_fixed(m->cosine, 4).s);
    if (isfinite(m->flips)) xc_html(f, "; $ of the answers differ", xc_percent(m->flips).s);
    PUT(f, paired ? ". The picture is the difference; its line is no difference at all.</p>\n<table class=\"bars many\" style=\"--n:3\">\n" : ".</p>\n<table class=\"bars\" style=\"--n:1\">\n");
    PUT(f, "<thead><tr><th>metric</th><td class=\"picture\"></td><th class=\"n\">this model</th>");
    if (paired) PUT(f, "<th class=\"n\">reference</th><th class=\"n\">difference</th>");
    PUT(f, "</tr></thead>\n<tbody>\n");
    for (; n > 0; n--, m++) {
        xc_html(f, "<tr><th scope=\"row\">$</th><td class=\"picture\">", m->metric);
        if (paired) xc_picture_interval(f, m->difference.lo, m->difference.value, m->difference.hi, -1.1 * widest, 1.1 * widest, 0, false);
        else xc_picture_interval(f, m->model.lo, m->model.value, m->model.hi, 0, 1, NAN, false);
        PUT(f, "</td>");
        estimate(f, &m->model, false);
        if (paired) estimate(f, &m->reference, false);
        if (paired) estimate(f, &m->difference, true);
        PUT(f, "</tr>\n");
    }
    PUT(f, "</tbody>\n</table>\n");
}

static void accuracy(FILE *f, const struct xc_evidence *e)
{
    PUT(f, "<section>\n<h2>Accuracy</h2>\n<p class=\"soft\">With 95 % intervals.</p>\n");
    for (int32_t i = 0, n; i < e->n_metrics; i += n) {
        n = 1;
        while (i + n < e->n_metrics && e->metrics[i + n].task == e->metrics[i].task) n++;
        evaluation(f, &e->metrics[i], n);
    }
    PUT(f, "</section>\n");
}

static void latency(FILE *f, const struct xc_evidence *e)
{
    double end = 0;

    for (int32_t i = 0; i < e->n_latencies; i++) end = fmax(end, fmax(e->latencies[i].median, e->latencies[i].p95));
    PUT(f, "<section>\n<h2>Latency</h2>\n<p class=\"soft\">Median, and where nine of ten runs lie. A fresh process for start and memory.</p>\n<table class=\"bars many\" style=\"--n:5\">\n<thead><tr><th>run</th><td class=\"picture\"></td>"
           "<th class=\"n\">median</th><th class=\"n\">5 % to 95 %</th><th class=\"n\">per second</th><th class=\"n\">start</th><th class=\"n\">memory</th></tr></thead>\n<tbody>\n");
    for (int32_t i = 0; i < e->n_latencies; i++) {
        const struct xc_seen_latency *l = &e->latencies[i];

        xc_html(f, "<tr><th scope=\"row\">$ tokens <small>batch $, threads $</small></th><td class=\"picture\">", xc_integer(l->tokens).s, xc_integer(l->batch).s, xc_integer(l->threads).s);
        xc_picture_interval(f, l->p5, l->median, l->p95, 0, 1.04 * end, NAN, false);
        xc_html(f, "</td><td class=\"n\">$&nbsp;ms</td><td class=\"n\">$ to $</td><td class=\"n\">$</td><td class=\"n\">$&nbsp;ms</td><td class=\"n\">$&nbsp;MB</td></tr>\n", xc_fixed(l->median, 2).s, xc_fixed(l->p5, 2).s,
                xc_fixed(l->p95, 2).s, xc_fixed(l->per_second, 1).s, xc_fixed(l->start_ms, 1).s, xc_fixed(l->rss_mb, 1).s);
    }
    PUT(f, "</tbody>\n</table>\n</section>\n");
}

/* ---- training ---- */
#define CURVE_POINTS 200

static void limits(double *low, double *high, const struct xc_curve *c)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (int64_t i = 0; i < c->n; i++) {
        if (!isfinite(c->y[i])) continue;
        *low = fmin(*low, c->y[i]);
        *high = fmax(*high, c->y[i]);
    }
}

static void curve(FILE *f, const char *what, const struct xc_curve *all, double end)
{
    double x[CURVE_POINTS], y[CURVE_POINTS], low, high;
    const struct xc_curve c = xc_curve_mean(all, x, y, CURVE_POINTS);
    char label[480];

    limits(&low, &high, &c);
    snprintf(label, sizeof label, "%s over %s updates: from %s to %s, between %s and %s", what, xc_integer((long long)end).s, xc_significant(c.y[0]).s, xc_significant(c.y[c.n - 1]).s,
             xc_significant(low).s, xc_significant(high).s);
    xc_html(f, "<h3>$</h3>\n<p class=\"soft\">$ at first, $ at the end; the picture goes from $ to $.</p>\n<figure>\n", what, xc_significant(c.y[0]).s, xc_significant(c.y[c.n - 1]).s,
            xc_significant(low).s, xc_significant(high).s);
    xc_picture_curve(f, c.x, c.y, c.n, end, low, high, label);
    xc_html(f, "<div class=\"ends\"><span>0</span><span>$ updates</span></div>\n</figure>\n", xc_integer((long long)end).s);
}

static void training(FILE *f, const struct xc_seen_training *t)
{
    const double end = fmax(t->loss.x[t->loss.n - 1], t->dev.n ? t->dev.x[t->dev.n - 1] : 0);

    xc_html(f, "<section>\n<h2>Training</h2>\n<p class=\"soft\">$: $ updates, $ tokens.</p>\n", t->name, xc_integer((long long)end).s, xc_count(t->tokens).s);
    curve(f, "loss", &t->loss, end);
    if (t->dev.n) curve(f, t->metric, &t->dev, end);
    PUT(f, "</section>\n");
}

/* ---- sizes ---- */
static void group_table(FILE *f, const char *title, const struct xc_group *groups, int32_t n, uint64_t total)
{
    xc_html(f, "<div><h3>By $</h3>\n<table class=\"bars\" style=\"--n:3\">\n<thead><tr><th>$</th><td class=\"picture\"></td><th class=\"n\">bytes</th><th class=\"n\">share</th><th class=\"n\">tensors</th></tr></thead>\n<tbody>\n", title, title);
    for (int32_t i = 0; i < n; i++) {
        xc_html(f, "<tr><th scope=\"row\">$</th><td class=\"picture\">", groups[i].name);
        xc_picture_bar(f, (double)groups[i].bytes, -1, (double)groups[0].bytes);
        xc_html(f, "</td><td class=\"n\">$</td><td class=\"n\">$</td><td class=\"n\">$</td></tr>\n", xc_size(groups[i].bytes).s, xc_percent(share((double)groups[i].bytes, (double)total)).s,
                xc_integer(groups[i].n).s);
    }
    PUT(f, "</tbody>\n</table></div>\n");
}

static void sizes(FILE *f, const struct xc_page *p)
{
    const struct xc_inventory *inv = &p->inventory;
    double end = 0;

    for (int32_t i = 0; i < inv->n_layers; i++) end = fmax(end, fmax(4.0 * (double)inv->layers[i].count, (double)inv->layers[i].bytes));
    PUT(f, "<section>\n<h2>Size</h2>\n<p class=\"legend\"><span><i class=\"key fill\"></i>bytes of the weights</span><span><i class=\"key track\"></i>the same in f32</span></p>\n"
           "<table class=\"bars\" style=\"--n:3\">\n<thead><tr><th>layer</th><td class=\"picture\"></td><th class=\"n\">bytes</th><th class=\"n\">bits</th><th class=\"n\">share</th></tr></thead>\n<tbody>\n");
    for (int32_t i = 0; i < inv->n_layers; i++) {
        const struct xc_layer *l = &inv->layers[i];

        xc_html(f, "<tr><th scope=\"row\">$</th><td class=\"picture\">", l->name);
        xc_picture_bar(f, (double)l->bytes, 4.0 * (double)l->count, end);
        xc_html(f, "</td><td class=\"n\">$</td><td class=\"n\">$</td><td class=\"n\">$</td></tr>\n", xc_size(l->bytes).s, xc_fixed(share(8.0 * (double)l->bytes, (double)l->count), 2).s,
                xc_percent(share((double)l->bytes, (double)inv->bytes)).s);
    }
    PUT(f, "</tbody>\n</table>\n<div class=\"pair\">\n");
    group_table(f, "kind", p->kinds, p->n_kinds, inv->bytes);
    group_table(f, "encoding", p->encodings, p->n_encodings, inv->bytes);
    PUT(f, "</div>\n</section>\n");
}

/* ---- errors ---- */
/* The errors of one layer's tensors, in two arrays of inv->n. */
static int64_t errors_of(double *weight, double *output, const struct xc_inventory *inv, int32_t layer)
{
    int64_t n = 0;

    for (int32_t i = inv->layers[layer].first; i < inv->n && n < inv->layers[layer].n; i++) {
        if (inv->items[i].layer != layer) continue;
        weight[n] = inv->items[i].error;
        output[n++] = inv->items[i].output_error;
    }
    return n;
}

static void errors(FILE *f, const struct xc_inventory *inv)
{
    double *weight = xc_calloc((size_t)inv->n + 1, sizeof *weight), *output = xc_calloc((size_t)inv->n + 1, sizeof *output), end = 0;
    bool outputs = false;

    for (int32_t i = 0; i < inv->n_layers; i++) {
        end = fmax(end, fmax(inv->layers[i].error, inv->layers[i].output_error));
        outputs |= inv->layers[i].output_error >= 0;
    }
    PUT(f, "<section>\n<h2>Error and sparsity</h2>\n<p class=\"soft\">Relative error (L2), one point a tensor; the figures are the largest of the layer.</p>\n<p class=\"legend\"><span><i class=\"key\"></i>weight</span>");
    if (outputs) PUT(f, "<span><i class=\"key second\"></i>output of the layer on calibration texts</span>");
    xc_html(f, "</p>\n<table class=\"bars\" style=\"--n:$\">\n<thead><tr><th>layer</th><td class=\"picture\"></td><th class=\"n\">weight</th>", outputs ? "3" : "2");
    if (outputs) PUT(f, "<th class=\"n\">output</th>");
    PUT(f, "<th class=\"n\">zeros</th></tr></thead>\n<tbody>\n");
    for (int32_t i = 0; i < inv->n_layers; i++) {
        const struct xc_layer *l = &inv->layers[i];

        xc_html(f, "<tr><th scope=\"row\">$</th><td class=\"picture\">", l->name);
        if (weight && output && l->error >= 0) xc_picture_ticks(f, weight, output, errors_of(weight, output, inv, i), 1.02 * end); /* out of memory: the figures are there */
        xc_html(f, "</td><td class=\"n\">$</td>", xc_percent(l->error).s);
        if (outputs) xc_html(f, "<td class=\"n\">$</td>", xc_percent(l->output_error).s);
        xc_html(f, "<td class=\"n\">$</td></tr>\n", xc_percent(l->counted > 0 ? l->zeros / l->counted : -1).s);
    }
    PUT(f, "</tbody>\n</table>\n</section>\n");
    xc_free(weight);
    xc_free(output);
}

static void sensitivity(FILE *f, const struct xc_page *p)
{
    const struct xc_page_drop drop = xc_page_drop(p);
    double end = 0;

    for (int32_t i = 0; i < p->n_choices; i++) end = fmax(end, isfinite(p->choices[i].cost) ? p->choices[i].cost : 0);
    PUT(f, "<section>\n<h2>Sensitivity</h2>\n<p class=\"soft\">What each encoding of each layer costs, as measured before one was chosen.</p>\n");
    if (drop.measured >= 0)
        xc_html(f, "<p>Drop of the model's answers, all choices together: $ predicted by the sum, <b>$</b> measured.</p>\n", xc_significant(drop.predicted).s, xc_significant(drop.measured).s);
    PUT(f, "<table class=\"bars\" style=\"--n:3\">\n<thead><tr><th>layer</th>"
           "<td class=\"picture\"></td><th class=\"n\">encoding</th><th class=\"n\">bytes</th><th class=\"n\">cost</th></tr></thead>\n<tbody>\n");
    for (int32_t i = 0; i < p->n_choices; i++) {
        const struct xc_choice *c = &p->choices[i];

        xc_html(f, "<tr><th scope=\"row\">$</th><td class=\"picture\">", i && !strcmp(c->layer, c[-1].layer) ? "" : c->layer);
        xc_picture_bar(f, isfinite(c->cost) ? c->cost : 0, -1, end);
        xc_html(f, c->chosen ? "</td><td class=\"n verdict\">✓ $</td>" : "</td><td class=\"n\">$</td>", c->encoding);
        xc_html(f, "<td class=\"n\">$</td><td class=\"n\">$</td></tr>\n", isfinite(c->bytes) ? xc_size((uint64_t)c->bytes).s : "–", xc_significant(c->cost).s);
    }
    PUT(f, "</tbody>\n</table>\n</section>\n");
}

/* ---- weights ---- */
static void side(FILE *f, const char *what, const struct xc_weights_side *s, const struct xc_tensor *t)
{
    xc_html(f, "<tr><th scope=\"row\">$</th><td class=\"n\">$</td><td class=\"n\">$</td><td class=\"n\">$</td><td class=\"n\">$</td><td class=\"n\">$</td></tr>\n", what, xc_signed(s->mean, 5).s, xc_fixed(s->deviation, 5).s,
            xc_signed(s->least, 4).s, xc_signed(s->most, 4).s, xc_percent(share((double)s->zeros, (double)xc_tensor_count(t))).s);
}

static void bin_table(FILE *f, const struct xc_weights *w)
{
    PUT(f, "<details><summary>The same as a table</summary>\n<div class=\"scroll\"><table>\n<thead><tr><th>around</th>");
    if (w->has_before) PUT(f, "<th class=\"n\">before</th>");
    PUT(f, "<th class=\"n\">after</th></tr></thead>\n<tbody>\n");
    for (int i = 0; i < XC_HISTOGRAM_BINS; i++) {
        xc_html(f, "<tr><th scope=\"row\">$</th>", xc_signed(w->end * ((2 * i + 1.0) / XC_HISTOGRAM_BINS - 1), 4).s);
        if (w->has_before) xc_html(f, "<td class=\"n\">$</td>", xc_percent(w->before.bin[i]).s);
        xc_html(f, "<td class=\"n\">$</td></tr>\n", xc_percent(w->after.bin[i]).s);
    }
    PUT(f, "</tbody>\n</table></div></details>\n");
}

static void weights(FILE *f, const struct xc_page *p)
{
    PUT(f, "<section>\n<h2>Weights</h2>\n");
    for (int32_t i = 0; i < p->n_weights; i++) {
        const struct xc_weights *w = &p->weights[i];
        char label[480], encoding[48];

        snprintf(label, sizeof label, "Histogram of %.255s from %s to %s; its figures are in the tables below", w->name, xc_signed(-w->end, 4).s, xc_signed(w->end, 4).s);
        xc_html(f, "<h3>$</h3>\n<p class=\"soft\">$ x $, $", w->name, xc_integer(xc_tensor_rows(w->tensor)).s, xc_integer(xc_tensor_cols(w->tensor)).s, xc_encoding_text(&w->tensor->enc, encoding, sizeof encoding));
        if (!p->asked) PUT(f, ": the tensor that changed the most");
        if (isfinite(w->error)) xc_html(f, "; $ from the original", xc_percent(w->error).s);
        if (w->scaled) PUT(f, "; shown without the scale of smoothing that the file moved into its columns");
        PUT(f, ".</p>\n<p class=\"legend\">");
        if (w->has_before) PUT(f, "<span><i class=\"key line\"></i>before</span>");
        PUT(f, "<span><i class=\"key area\"></i>after</span><span>zeros are in the table</span></p>\n<figure>\n");
        xc_picture_histogram(f, w->has_before ? w->before.bin : NULL, w->after.bin, XC_HISTOGRAM_BINS, label);
        xc_html(f, "<div class=\"ends\"><span>$</span><span>0</span><span>$</span></div>\n</figure>\n", xc_signed(-w->end, 4).s, xc_signed(w->end, 4).s);
        PUT(f, "<div class=\"scroll\"><table>\n<thead><tr><th></th><th class=\"n\">mean</th><th class=\"n\">deviation</th><th class=\"n\">least</th><th class=\"n\">most</th><th class=\"n\">zeros</th></tr></thead>\n<tbody>\n");
        if (w->has_before) side(f, "before", &w->before, w->tensor);
        side(f, "after", &w->after, w->tensor);
        PUT(f, "</tbody>\n</table></div>\n");
        if (w->after.odd || (w->has_before && w->before.odd)) xc_html(f, "<p class=\"over\">NaN or infinite: $ before, $ after.</p>\n", xc_integer(w->before.odd).s, xc_integer(w->after.odd).s);
        bin_table(f, w);
    }
    PUT(f, "</section>\n");
}

/* ---- how it was made ---- */
static void files(FILE *f, const char *title, const json_t *list)
{
    json_t *one;
    size_t i;

    if (!json_array_size(list)) return;
    xc_html(f, "<h3>$</h3>\n<div class=\"scroll\"><table>\n<thead><tr><th>file</th><th class=\"n\">bytes</th><th>XXH3-128</th></tr></thead>\n<tbody>\n", title);
    json_array_foreach(list, i, one)
        xc_html(f, "<tr><th scope=\"row\">$</th><td class=\"n\">$</td><td><code>$</code></td></tr>\n", json_string_value(json_object_get(one, "file")),
                xc_integer(json_integer_value(json_object_get(one, "bytes"))).s, json_string_value(json_object_get(one, "xxh128")));
    PUT(f, "</tbody>\n</table></div>\n");
}

static void made(FILE *f, const json_t *manifest)
{
    const json_t *versions = json_object_get(manifest, "versions"), *calibration = json_object_get(manifest, "calibration");
    json_t *pass;
    size_t i;

    PUT(f, "<section>\n<h2>How it was made</h2>\n<ol>\n");
    json_array_foreach(json_object_get(manifest, "recipe"), i, pass) {
        char *text = xc_page_pass_text(pass);

        xc_html(f, "<li><code>$</code></li>\n", text ? text : "out of memory");
        xc_free(text);
    }
    PUT(f, "</ol>\n");
    if (!json_array_size(json_object_get(manifest, "recipe"))) PUT(f, "<p>No pass: the weights are as they were.</p>\n");
    xc_html(f, "<p>Seed $; xcompress $, container $, numerics $.", xc_integer(json_integer_value(json_object_get(manifest, "seed"))).s, json_string_value(json_object_get(versions, "xcompress")),
            xc_integer(json_integer_value(json_object_get(versions, "container"))).s, xc_integer(json_integer_value(json_object_get(versions, "numerics"))).s);
    if (calibration)
        xc_html(f, " Calibrated on $ texts of $ tokens.", xc_integer(json_integer_value(json_object_get(calibration, "texts"))).s, xc_integer(json_integer_value(json_object_get(calibration, "tokens"))).s);
    PUT(f, " The same sources, recipe and seed give the same file: <code>xcompress reproduce</code>.</p>\n");
    files(f, "Sources", json_object_get(manifest, "sources"));
    files(f, "Calibration texts", json_object_get(calibration, "files"));
    PUT(f, "</section>\n");
}

static void tensors(FILE *f, const struct xc_inventory *inv)
{
    xc_html(f, "<section>\n<h2>Tensors</h2>\n<details><summary>All $ of them</summary>\n<div class=\"scroll\"><table>\n<thead><tr><th>tensor</th><th>kind</th><th class=\"n\">shape</th><th>encoding</th><th class=\"n\">bytes</th>"
               "<th class=\"n\">error</th><th class=\"n\">output</th><th class=\"n\">zeros</th></tr></thead>\n<tbody>\n", xc_integer(inv->n).s);
    for (int32_t i = 0; i < inv->n; i++) {
        const struct xc_item *item = &inv->items[i];

        xc_html(f, "<tr><th scope=\"row\">$</th><td>$</td><td class=\"n\">$ x $</td><td>$</td><td class=\"n\">$</td><td class=\"n\">$</td><td class=\"n\">$</td><td class=\"n\">$</td></tr>\n", item->tensor->name, item->kind,
                xc_integer(xc_tensor_rows(item->tensor)).s, xc_integer(xc_tensor_cols(item->tensor)).s, item->encoding, xc_integer((long long)item->bytes).s, xc_percent(item->error).s,
                xc_percent(item->output_error).s, xc_percent(item->sparsity).s);
    }
    PUT(f, "</tbody>\n</table></div></details>\n</section>\n");
}

void xc_page_print_html(FILE *f, const struct xc_page *p)
{
    const struct xc_evidence *e = &p->evidence;

    head(f, p);
    if (e->n_budgets) budgets(f, e);
    if (e->n_metrics) accuracy(f, e);
    if (e->n_latencies) latency(f, e);
    for (int32_t i = 0; i < e->n_trainings; i++) training(f, &e->trainings[i]);
    if (p->relatives.n) xc_relatives_print_html(f, &p->relatives, p->name);
    sizes(f, p);
    errors(f, &p->inventory);
    if (p->n_choices) sensitivity(f, p);
    if (p->n_weights) weights(f, p);
    if (p->manifest) made(f, p->manifest);
    tensors(f, &p->inventory);
    PUT(f, "</main>\n<footer>A page without scripts and without network, made by <code>xcompress report</code>.</footer>\n</body>\n</html>\n");
}
