/* units: numbers and sizes as people write them, on the command line, in recipes and in budgets. Whole text or nothing: trailing
 * characters are a failure. Functions return false and leave 0; the caller knows what the text was meant to be. */
#ifndef XC_FORMATS_UNITS_H
#define XC_FORMATS_UNITS_H

#include "runtime/base/base.h"

bool xc_parse_int(int64_t *out, const char *text);      /* decimal, with a sign */
bool xc_parse_uint(uint64_t *out, const char *text);
bool xc_parse_number(double *out, const char *text);    /* decimal or exponent; finite; also "2.5%" = 0.025 */

/* Bytes: "3MB" = 3,000,000; "3MiB" or "3M" = 3,145,728; B, KB, MB, GB, TB; KiB, MiB, GiB, TiB; K, M, G, T as in GNU. Upper or lower
 * case, a space before the unit and a fraction ("1.5GiB") are fine; fractions of a byte are dropped. */
bool xc_parse_size(uint64_t *out, const char *text);

/* "23.4 MB": decimal units, three figures or more; returns buf, which holds 32 bytes. */
const char *xc_format_size(uint64_t bytes, char buf[32]);

#endif
