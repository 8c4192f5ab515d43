/* units: see units.h. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "formats/units.h"

bool xc_parse_int(int64_t *out, const char *text)
{
    char *end;
    long long x;

    *out = 0;
    if (!isdigit((unsigned char)text[text[0] == '-' || text[0] == '+'])) return false; /* no leading blanks, not empty */
    errno = 0;
    x = strtoll(text, &end, 10);
    if (*end != '\0' || errno != 0) return false;
    *out = x;
    return true;
}

bool xc_parse_uint(uint64_t *out, const char *text)
{
    unsigned long long x;
    char *end;

    *out = 0;
    if (!isdigit((unsigned char)text[0])) return false; /* strtoull takes "-1" */
    errno = 0;
    x = strtoull(text, &end, 10);
    if (*end != '\0' || errno != 0) return false;
    *out = x;
    return true;
}

/* A decimal number at the start of text; hexadecimal, inf and nan are not numbers here. */
static bool number_prefix(double *out, const char *text, const char **end)
{
    const char *p = text + (text[0] == '-' || text[0] == '+');
    char *stop;

    *out = 0;
    if (!isdigit((unsigned char)p[0]) && !(p[0] == '.' && isdigit((unsigned char)p[1]))) return false;
    if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) return false;
    *out = strtod(text, &stop);
    *end = stop;
    return isfinite(*out);
}

bool xc_parse_number(double *out, const char *text)
{
    const char *end;

    if (!number_prefix(out, text, &end)) {
        *out = 0;
        return false;
    }
    if (strcmp(end, "%") == 0) {
        *out /= 100;
        return true;
    }
    if (*end == '\0') return true;
    *out = 0;
    return false;
}

bool xc_parse_size(uint64_t *out, const char *text)
{
    static const struct {
        const char *name;
        double bytes;
    } units[] = {
        {"", 1}, {"B", 1},
        {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
        {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40},
        {"K", 0x1p10}, {"M", 0x1p20}, {"G", 0x1p30}, {"T", 0x1p40},
    };
    const char *unit;
    double x;

    *out = 0;
    if (!isdigit((unsigned char)text[0]) || !number_prefix(&x, text, &unit)) return false;
    if (*unit == ' ') unit++;
    for (size_t i = 0; i < XC_ARRAY_LEN(units); i++) {
        if (strcasecmp(unit, units[i].name) != 0) continue;
        x *= units[i].bytes;
        if (x >= 0x1p63) return false;
        /* Plain integers do not pass through a double: all 63 bits count. */
        if (*unit != '\0' || !xc_parse_uint(out, text)) *out = (uint64_t)x;
        return true;
    }
    return false;
}

const char *xc_format_size(uint64_t bytes, char buf[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double x = (double)bytes;
    size_t u = 0;

    while (x >= 999.95 && u + 1 < XC_ARRAY_LEN(units)) {
        x /= 1000;
        u++;
    }
    if (u == 0)
        snprintf(buf, 32, "%" PRIu64 " B", bytes);
    else
        snprintf(buf, 32, x < 9.995 ? "%.2f %s" : "%.1f %s", x, units[u]);
    return buf;
}
