/* progress_bar: see progress_bar.h. On a terminal the bar appears only after a moment, so that quick work leaves no flicker. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "runtime/base/clock.h"

#define BAR_DELAY 0.3    /* seconds before a bar is shown */
#define BAR_INTERVAL 0.1 /* seconds between redraws */
#define LINE_INTERVAL 5  /* seconds between plain lines */
#define BAR_WIDTH 30

/* One bar at most is on the screen, whoever draws it; the screen is as global as stderr is. */
static bool bar_visible;

void cli_progress_clear(void)
{
    if (bar_visible) fputs("\r\033[K", stderr);
    bar_visible = false;
}

/* "1:02:03", "2:03", "4s" */
static const char *format_time(double s, char buf[32])
{
    const long t = s < 0 || !isfinite(s) || s > 1e9 ? -1 : (long)s;

    if (t < 0)
        snprintf(buf, 32, "?");
    else if (t >= 3600)
        snprintf(buf, 32, "%ld:%02ld:%02ld", t / 3600, t / 60 % 60, t % 60);
    else if (t >= 60)
        snprintf(buf, 32, "%ld:%02ld", t / 60, t % 60);
    else
        snprintf(buf, 32, "%lds", t);
    return buf;
}

static const char *format_count(double x, char buf[32])
{
    if (x >= 1e9)
        snprintf(buf, 32, "%.1fG", x / 1e9);
    else if (x >= 1e6)
        snprintf(buf, 32, "%.1fM", x / 1e6);
    else if (x >= 1e4)
        snprintf(buf, 32, "%.1fk", x / 1e3);
    else
        snprintf(buf, 32, "%.4g", x);
    return buf;
}

static void draw_bar(const struct cli_progress *p, double done, double total, double elapsed)
{
    char rate[32], left[32];
    const double share = total > 0 ? fmin(fmax(done / total, 0), 1) : 0;
    const int filled = (int)(share * BAR_WIDTH);
    const double per_s = elapsed > 0 ? done / elapsed : 0;

    format_count(per_s, rate);
    if (total > 0)
        fprintf(stderr, "\r%-12s [%.*s%*s] %3.0f%%  %s/s  %s left%s%s\033[K", p->what, filled, "##############################", BAR_WIDTH - filled, "",
                100 * share, rate, format_time(per_s > 0 ? (total - done) / per_s : -1, left),
                p->note[0] ? "  " : "", p->note);
    else
        fprintf(stderr, "\r%-12s %s  %s/s\033[K", p->what, format_count(done, left), rate);
    bar_visible = true;
}

static void draw_line(const struct cli_progress *p, double done, double total, double elapsed)
{
    char have[32], all[32], time[32];

    format_time(elapsed, time);
    if (total > 0)
        fprintf(stderr, "%s: %s of %s (%.0f%%), %s%s%s\n", p->what, format_count(done, have), format_count(total, all), 100 * done / total, time,
                p->note[0] ? ", " : "", p->note);
    else
        fprintf(stderr, "%s: %s, %s\n", p->what, format_count(done, have), time);
}

static void update(void *arg, const char *what, double done, double total)
{
    struct cli_progress *const p = arg;
    const double now = xc_seconds();

    if (strncmp(p->what, what, sizeof p->what - 1) != 0) {
        cli_progress_clear();
        snprintf(p->what, sizeof p->what, "%s", what);
        p->started = now;
        p->shown = now - (p->terminal ? BAR_INTERVAL - BAR_DELAY : 0);
    }
    if (now - p->shown < (p->terminal ? BAR_INTERVAL : LINE_INTERVAL)) return;
    p->shown = now;
    if (p->terminal)
        draw_bar(p, done, total, now - p->started);
    else
        draw_line(p, done, total, now - p->started);
}

static void note(void *arg, const char *text)
{
    struct cli_progress *const p = arg;

    snprintf(p->note, sizeof p->note, "%s", text);
}

void cli_progress_init(struct cli_progress *p, bool quiet)
{
    *p = (struct cli_progress){.quiet = quiet, .terminal = isatty(STDERR_FILENO) == 1};
    p->callbacks = (struct xc_progress){.update = quiet ? NULL : update, .cancelled = cli_cancelled, .arg = p, .note = note};
}

void cli_progress_done(struct cli_progress *p)
{
    cli_progress_clear();
    p->what[0] = p->note[0] = '\0';
}
