/* layout: the bytes of a .xc file; shared by reader.c and writer.c, written out for others in docs/container.md.
 *
 * All numbers are little-endian. header (64 bytes), section table (64 bytes an entry), sections on multiples of 64. */
#ifndef XC_RUNTIME_CONTAINER_LAYOUT_H
#define XC_RUNTIME_CONTAINER_LAYOUT_H

#include <stdint.h>

#define XC_FILE_MAGIC "XCMODEL"   /* with its NUL: 8 bytes */
#define XC_MAX_SECTIONS (1u << 20)
#define XC_MAX_COUNT 65536u       /* tensors, nodes, inputs, outputs, labels, meta entries of a model */
#define XC_MAX_FEW 1024u          /* graphs, states, row spaces: things that others look up one by one */
#define XC_FRAME_BYTES ((size_t)1 << 20) /* decoded bytes of a zstd frame; the last of a section may be shorter */

struct xc_file_header {
    char magic[8];
    uint32_t version;      /* XC_CONTAINER_VERSION */
    uint32_t numerics;     /* XC_NUMERICS_VERSION the model was made for */
    uint64_t file_bytes;
    uint32_t n_sections;
    uint32_t reserved0;
    uint64_t table_hash;   /* XXH3-64 of the section table */
    uint64_t reserved1[2];
    uint64_t header_hash;  /* XXH3-64 of the 56 bytes before it */
};

enum { XC_SECTION_REQUIRED = 1, XC_SECTION_ZSTD = 2, XC_SECTION_PLANES = 4 /* frame_pack.h; with ZSTD */, XC_SECTION_FLAGS_KNOWN = 7 };

struct xc_file_section {
    char kind[4];          /* XC_KIND_* */
    uint32_t flags;
    uint64_t offset, stored_bytes, decoded_bytes;
    uint64_t digest[2];    /* XXH3-128 of the decoded bytes: low, high */
    uint32_t tensor, part; /* XC_KIND_TENSOR: whose bytes; else 0 */
    uint32_t width;        /* XC_SECTION_PLANES: bytes of a number, 2 or 4; else 0 */
    uint32_t reserved;
};

#define XC_KIND_MODEL "MODL"     /* meta, labels, states, tensor directory, graphs: exactly one */
#define XC_KIND_TENSOR "TENS"    /* one part of one tensor */
#define XC_KIND_TOKENIZER "TOKN"
#define XC_KIND_GOLDEN "GOLD"    /* optional */
#define XC_KIND_MANIFEST "MANI"  /* optional */
/* Reserved, so that nobody takes them for something else: RECI the recipe, MASK pruning masks kept for training, CALI activation
 * ranges and saliencies of a calibration run, OPTM optimiser state of a checkpoint. Sparse indices, zero points and permutations are
 * parts of TENS. */

_Static_assert(sizeof(struct xc_file_header) == 64, "the header is one line");
_Static_assert(sizeof(struct xc_file_section) == 64, "an entry is one line");

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "reader.c and writer.c copy the header's structs: big-endian machines need byte swaps here"
#endif

#endif
