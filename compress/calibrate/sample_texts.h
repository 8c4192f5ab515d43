/* sample_texts: what a model may be shown when the user gives no texts: short and long, plain and with numbers, mostly English, some in
 * other languages. Written for this purpose. */
#ifndef XC_COMPRESS_CALIBRATE_SAMPLE_TEXTS_H
#define XC_COMPRESS_CALIBRATE_SAMPLE_TEXTS_H

extern const char *const xc_sample_texts[]; /* ends with NULL */

#endif
