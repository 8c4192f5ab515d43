/* html: see html.h. */
#include "compress/page/html.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "formats/markup.h"
#include "formats/units.h"

void xc_html(FILE *f, const char *template, ...)
{
    va_list args;

    va_start(args, template);
    for (const char *p = template; *p;) {
        const size_t n = strcspn(p, "$");

        fwrite(p, 1, n, f);
        p += n;
        if (*p != '$') break;
        p++;
        {
            const char *text = va_arg(args, const char *);

            if (text) xc_markup_xml(f, text);
        }
    }
    va_end(args);
}

static struct xc_short none(void) { return (struct xc_short){ "–" }; }

struct xc_short xc_percent(double share)
{
    struct xc_short out;
    const double p = 100 * share;

    if (!isfinite(share) || share < 0) return none();
    snprintf(out.s, sizeof out.s, p == 0 ? "0 %%" : p < 0.0995 ? "%.3f %%" : p < 9.995 ? "%.2f %%" : "%.1f %%", p);
    return out;
}

struct xc_short xc_size(uint64_t bytes)
{
    struct xc_short out;
    char buf[32];

    snprintf(out.s, sizeof out.s, "%s", xc_format_size(bytes, buf));
    return out;
}

struct xc_short xc_count(double n)
{
    struct xc_short out;

    if (n >= 999.5e6) snprintf(out.s, sizeof out.s, "%.2f G", n / 1e9);
    else if (n >= 999.5e3) snprintf(out.s, sizeof out.s, "%.1f M", n / 1e6);
    else if (n >= 9999.5) snprintf(out.s, sizeof out.s, "%.1f k", n / 1e3);
    else snprintf(out.s, sizeof out.s, "%.0f", n);
    return out;
}

struct xc_short xc_fixed(double x, int digits)
{
    struct xc_short out;

    if (!isfinite(x)) return none();
    snprintf(out.s, sizeof out.s, "%.*f", digits, x);
    return out;
}

struct xc_short xc_signed(double x, int digits)
{
    struct xc_short out, size;

    if (!isfinite(x)) return none();
    size = xc_fixed(fabs(x), digits);
    snprintf(out.s, sizeof out.s, "%s%.60s", x < 0 ? "−" : "+", size.s);
    return out;
}

struct xc_short xc_significant(double x)
{
    struct xc_short out;

    if (!isfinite(x)) return none();
    snprintf(out.s, sizeof out.s, "%.3g", x);
    return out;
}

struct xc_short xc_integer(long long n)
{
    struct xc_short out;

    snprintf(out.s, sizeof out.s, "%lld", n);
    return out;
}
