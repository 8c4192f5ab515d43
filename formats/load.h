/* load: what finding a format and digesting its files share. */
#ifndef XC_FORMATS_LOAD_H
#define XC_FORMATS_LOAD_H

#include "formats/formats.h"

/* True when path is a safetensors file, by its first bytes; out is then its directory, which it stands for. */
bool xc_checkpoint_dir(char *out, size_t n, const char *path);

#endif
