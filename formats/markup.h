/* markup: text that came from anywhere, as text of XML, HTML and Markdown. */
#ifndef XC_FORMATS_MARKUP_H
#define XC_FORMATS_MARKUP_H

#include <stdio.h>

/* XML 1.0 and HTML, inside elements and quoted attributes: markup is escaped; control characters but tab, invalid UTF-8 and what turns the
 * direction of writing around become '?'. */
void xc_markup_xml(FILE *f, const char *text);

/* Markdown (CommonMark, and in a cell of a GitHub table): escaped with backslashes; the same characters become '?', line ends a space. */
void xc_markup_markdown(FILE *f, const char *text);

#endif
