/* markup: see markup.h. */
#include "formats/markup.h"

#include <string.h>

/* Length of the well-formed character at s that may be shown; 0 = none. */
static int character(const unsigned char *s)
{
    const int n = *s < 0x80 ? 1 : *s >= 0xc2 && *s < 0xe0 ? 2 : *s >= 0xe0 && *s < 0xf0 ? 3 : *s >= 0xf0 && *s < 0xf5 ? 4 : 0;

    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (n == 1 && ((*s < 0x20 && *s != '\t') || *s == 0x7f)) return 0;
    if (n == 2 && s[0] == 0xc2 && s[1] < 0xa0) return 0; /* C1 controls */
    if (n == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xef && s[1] == 0xbf && s[2] > 0xbd))) return 0;
    if (n == 3 && s[0] == 0xe2 && ((s[1] == 0x80 && s[2] >= 0xaa && s[2] <= 0xae) || (s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9))) return 0; /* bidi overrides */
    if (n == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))) return 0;
    return n;
}

void xc_markup_xml(FILE *f, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    while (*s) {
        const int n = character(s);

        if (n == 0) putc('?', f);
        else if (*s == '<') fputs("&lt;", f);
        else if (*s == '>') fputs("&gt;", f);
        else if (*s == '&') fputs("&amp;", f);
        else if (*s == '"') fputs("&quot;", f);
        else if (*s == '\'') fputs("&#39;", f);
        else fwrite(s, 1, (size_t)n, f);
        s += n ? n : 1;
    }
}

void xc_markup_markdown(FILE *f, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    while (*s) {
        const int n = character(s);

        if (n == 0) putc(*s == '\n' || *s == '\r' ? ' ' : '?', f);
        else if (*s == '&') fputs("&amp;", f);
        else if (*s == '@') fputs("&#64;", f); /* names nobody */
        else {
            if (n == 1 && strchr("|\\`*_<>[]#~!", *s)) putc('\\', f);
            fwrite(s, 1, (size_t)n, f);
        }
        s += n ? n : 1;
    }
}
