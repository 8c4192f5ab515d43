/* status: names of the status codes, and the one place where error text is made.
 *
 * Text from outside (names in a file, paths) reaches messages through %s. It is escaped here, so that no message can move a
 * terminal's cursor or break a log line: control characters (C0, DEL and C1) and bytes that are not UTF-8 become \xNN. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/base.h"

#define FORMAT_MAX 1024 /* bytes of a message before escaping; what is longer is cut */

static const char *const names[XC_STATUS_COUNT] = {
    [XC_OK] = "ok",
    [XC_E_NOMEM] = "out of memory",
    [XC_E_IO] = "input/output error",
    [XC_E_FORMAT] = "malformed data",
    [XC_E_CHECKSUM] = "checksum mismatch",
    [XC_E_VERSION] = "unknown version",
    [XC_E_UNSUPPORTED] = "unsupported",
    [XC_E_SHAPE] = "shape mismatch",
    [XC_E_RANGE] = "out of range",
    [XC_E_ARG] = "invalid argument",
    [XC_E_NOT_FOUND] = "not found",
    [XC_E_LIMIT] = "limit exceeded",
    [XC_E_MISMATCH] = "mismatch",
    [XC_E_CANCELLED] = "cancelled",
};

const char *xc_status_name(enum xc_status code)
{
    return (unsigned)code < XC_STATUS_COUNT ? names[code] : "unknown status";
}

/* Length of the printable UTF-8 character at s (n bytes remain), 0 when it must be escaped. Overlong forms, surrogates and
 * values above U+10FFFF are not UTF-8. */
static size_t printable_len(const unsigned char *s, size_t n)
{
    const unsigned char c = s[0];

    if (c < 0x80)
        return c >= 0x20 && c != 0x7f;
    if (c >= 0xc2 && c <= 0xdf && n >= 2 && (s[1] & 0xc0) == 0x80)
        return c == 0xc2 && s[1] < 0xa0 ? 0 : 2; /* U+0080..U+009F are the C1 controls */
    if ((c & 0xf0) == 0xe0 && n >= 3 && (s[1] & 0xc0) == 0x80 && (s[2] & 0xc0) == 0x80) {
        if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] >= 0xa0)) return 0;
        return 3;
    }
    if (c >= 0xf0 && c <= 0xf4 && n >= 4 && (s[1] & 0xc0) == 0x80 && (s[2] & 0xc0) == 0x80 && (s[3] & 0xc0) == 0x80) {
        if ((c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] >= 0x90)) return 0;
        return 4;
    }
    return 0;
}

/* Writes text (n bytes; `cut` says that more was there) into dst, escaped and never splitting a character. */
static void escape(char *dst, size_t cap, const char *text, size_t n, bool cut)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *s = (const unsigned char *)text;
    size_t o = 0, room_end = 0; /* room_end: where "..." can go without splitting anything */

    for (size_t i = 0; i < n;) {
        const size_t len = printable_len(s + i, n - i);
        const size_t need = len > 0 ? len : 4;

        if (o + need >= cap) {
            cut = true;
            break;
        }
        if (len > 0) {
            memcpy(dst + o, s + i, len);
            i += len;
        } else {
            dst[o] = '\\';
            dst[o + 1] = 'x';
            dst[o + 2] = hex[s[i] >> 4];
            dst[o + 3] = hex[s[i] & 15];
            i++;
        }
        o += need;
        if (o + 3 < cap) room_end = o;
    }
    if (cut) {
        memcpy(dst + room_end, "...", 3);
        o = room_end + 3;
    }
    dst[o] = '\0';
}

static void format(char *dst, size_t cap, const char *fmt, va_list ap) XC_PRINTF(3, 0) __attribute__((nonnull));
static void format(char *dst, size_t cap, const char *fmt, va_list ap)
{
    char text[FORMAT_MAX]; /* an argument may be dst itself: it is read before dst is written */
    const int n = vsnprintf(text, sizeof text, fmt, ap);

    if (n < 0)
        escape(dst, cap, fmt, strlen(fmt), true);
    else
        escape(dst, cap, text, strlen(text), (size_t)n >= sizeof text);
}

enum xc_status xc_fail(struct xc_err *err, enum xc_status code, const char *fmt, ...)
{
    va_list ap;

    if (err == NULL) return code;
    va_start(ap, fmt);
    format(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    err->code = code;
    err->where[0] = '\0';
    return code;
}

enum xc_status xc_fail_at(struct xc_err *err, enum xc_status code, const char *fmt, ...)
{
    va_list ap;

    if (err == NULL) return code;
    if (err->where[0] == '\0') {
        va_start(ap, fmt);
        format(err->where, sizeof err->where, fmt, ap);
        va_end(ap);
    }
    if (err->code == XC_OK) err->code = code; /* a place without a fault: keep the caller's word that it failed */
    return err->code;
}

enum xc_status xc_fail_errno(struct xc_err *err, int errnum, const char *fmt, ...)
{
    char text[FORMAT_MAX - 128], reason[128];
    va_list ap;

    if (err == NULL) return errnum == ENOMEM ? XC_E_NOMEM : XC_E_IO;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    return xc_fail(err, errnum == ENOMEM ? XC_E_NOMEM : XC_E_IO, "%s: %s", text, xc_errno_text(errnum, reason, sizeof reason));
}

const char *xc_errno_text(int errnum, char *buf, size_t n)
{
    /* XSI and GNU strerror_r differ in what they return; this file is compiled with _GNU_SOURCE and takes GNU's. */
    return strerror_r(errnum, buf, n);
}

const char *xc_err_text(const struct xc_err *err, char *buf, unsigned long n)
{
    if (n == 0) return buf;
    if (err == NULL)
        buf[0] = '\0';
    else if (err->where[0] != '\0')
        snprintf(buf, n, "%s: %s", err->where, err->msg);
    else
        snprintf(buf, n, "%s", err->msg);
    return buf;
}
