/* section: the layout of a compiled tokenizer and the trie it holds, shared by the compiler (formats/tokenizer.c) and the
 * encoder. Written out for other readers in docs/tokenizer-section.md.
 *
 * Little-endian, flat: a header of 256 bytes and arrays that start on multiples of 64, in the order of enum xc_tok_array, without
 * overlap. xc_tokenizer_open checks everything the encoder relies on; a section that passes can give wrong ids but can do no harm. */
#ifndef XC_RUNTIME_TEXT_SECTION_H
#define XC_RUNTIME_TEXT_SECTION_H

#include <stdint.h>
#include <string.h>

#define XC_TOK_MAGIC "XCTK"
#define XC_TOK_VERSION 1u
#define XC_TOK_MAX_TOKENS (1 << 21)      /* ids are below this: the payload of a trie unit has 21 bits */
#define XC_TOK_MAX_TOKEN_BYTES 4095      /* 16 of them fit the 16-bit offsets of a block */
#define XC_TOK_MAX_WORD_CHARS (1 << 20)
#define XC_TOK_MAX_PIECES 64             /* of a template */
#define XC_TOK_MAX_PROBES 255            /* of the merge table */
#define XC_TOK_NONE 0xFFFFFFFFu          /* no trie */

enum xc_tok_model { XC_TOK_WORDPIECE = 1, XC_TOK_BPE = 2, XC_TOK_UNIGRAM = 3 };

/* How text is cut before the model: an id of a known pattern, since there is no regex engine here. */
enum xc_tok_split {
    XC_TOK_SPLIT_BERT = 1, /* white space removed, each punctuation mark a word */
    /* Unigram, and BPE of characters (in place of bytes): */
    XC_TOK_SPLIT_NONE = 3, /* the text whole */
    XC_TOK_SPLIT_META = 4, /* before each U+2581, which a blank has become; BPE as sentencepiece: before the first of a run */
    XC_TOK_SPLIT_WHITE_META = 5, /* white space removed, then as 4 */
    XC_TOK_SPLIT_GPT2 = 2  /* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
};

enum xc_tok_flag {
    XC_TOK_CLEAN = 1,          /* BERT normaliser */
    XC_TOK_CJK = 2,
    XC_TOK_STRIP = 4,          /* NFD, then marks removed */
    XC_TOK_LOWER = 8,
    XC_TOK_PREFIX_SPACE = 16,  /* byte-level BPE */
    XC_TOK_FUSE_UNK = 32,
    XC_TOK_WHOLE_WORDS = 64,   /* ignore_merges: a word in the vocabulary is not merged; the trie then holds all tokens */
    XC_TOK_LEFT = 128,         /* truncation removes from the left */
    XC_TOK_TEMPLATE = 256,     /* made from a template, else "A" and "A B" */
    XC_TOK_SENTENCEPIECE = 512,   /* unigram, BPE of characters, and the rest: normalised as the sentencepiece library does it, else as tokenizers does */
    XC_TOK_BYTE_FALLBACK = 1024,  /* an unknown character is its bytes */
    XC_TOK_STRIP_START = 2048,    /* white space at the text's ends is removed */
    XC_TOK_STRIP_END = 4096,
    XC_TOK_SQUEEZE = 8192,        /* two blanks and more are one; sentencepiece: and none at the ends */
    XC_TOK_SQUEEZE_META = 16384,  /* and that is U+2581 */
    XC_TOK_PREFIX_FIRST = 32768,  /* U+2581 is put before the text (XC_TOK_PREFIX_SPACE: before each part) unless it begins with one */
    XC_TOK_META_NORM = 65536,     /* that and U+2581 for blanks is the normaliser's work, whatever the text begins with: added tokens are searched behind it */
    XC_TOK_FLAGS_KNOWN = 131071
};

enum xc_tok_array {
    XC_TOK_STR_BLOCKS,  /* u32 [n_tokens / 16 + 1]: where in STRINGS the block's first token is */
    XC_TOK_STR_REL,     /* u16 [n_tokens + 1]: from there; a token ends where the next begins; unused ids are empty */
    XC_TOK_STRINGS,     /* the tokens as the vocabulary spells them */
    XC_TOK_UNITS,       /* u32, the trie of the vocabulary */
    XC_TOK_ADDED,       /* struct xc_tok_added [] */
    XC_TOK_ADDED_UNITS, /* u32, the tries of added tokens; values index ADDED */
    XC_TOK_PIECES,      /* struct xc_tok_piece [n_single + n_pair] */
    XC_TOK_PREFIX,      /* "##": what continues a word */
    XC_TOK_BYTE_IDS,    /* i32 [256]: BPE's symbol of a byte, else the token of one (byte fallback); -1 none */
    XC_TOK_MERGES,      /* struct xc_tok_merge [], by rank */
    XC_TOK_MERGE_TABLE, /* u32 [power of 2]: rank + 1 of a pair, 0 empty; linear probing from xc_tok_pair_hash */
    XC_TOK_SCORES,      /* unigram, sentencepiece: f64 [n_tokens + 1], NaN: never found in a text; the last: of an unknown character */
    XC_TOK_CHARSMAP,    /* the same: SentencePiece's precompiled normalisation (charsmap.h), or nothing */
    XC_TOK_KINDS,       /* sentencepiece: u8 [n_tokens], enum xc_tok_kind, or nothing (offset 0): all are plain */
    XC_TOK_ARRAY_COUNT
};

struct xc_tok_header {
    char magic[4];
    uint32_t version;
    uint32_t bytes;          /* of the whole section */
    uint32_t model;          /* enum xc_tok_model */
    uint32_t split;          /* enum xc_tok_split */
    uint32_t flags;          /* enum xc_tok_flag */
    int32_t n_tokens;        /* largest id + 1, added tokens included */
    int32_t max_tokens;      /* 0 = no limit */
    int32_t max_word_chars;  /* WordPiece: longer words are unknown */
    int32_t unk_id;          /* -1 = none */
    int32_t roles[5];        /* enum xc_token_role; -1 = none */
    uint32_t root;           /* unit of the vocabulary's root */
    uint32_t root_next;      /* WordPiece: the node after the prefix, XC_TOK_NONE when no token starts with it */
    uint32_t root_raw;       /* in ADDED_UNITS: tokens searched in the text as given */
    uint32_t root_norm;      /* and those searched after normalisation */
    uint32_t n_single, n_pair; /* template pieces */
    uint32_t max_token_bytes;
    uint32_t max_probes;     /* of MERGE_TABLE */
    uint32_t reserved[9];    /* 0 */
    struct { uint32_t offset, size; } array[16]; /* bytes; those past XC_TOK_ARRAY_COUNT are 0 */
};

/* A user-defined piece is never cut nor merged; one that is not used is a step to longer ones, and cut again (BPE). */
enum xc_tok_kind { XC_TOK_PLAIN, XC_TOK_USER, XC_TOK_UNUSED };

enum { XC_TOK_SINGLE_WORD = 1, XC_TOK_LSTRIP = 2, XC_TOK_RSTRIP = 4, XC_TOK_NORMALIZED = 8, XC_TOK_SPECIAL = 16, XC_TOK_IN_VOCAB = 32 };
struct xc_tok_added { int32_t id; uint32_t flags; };

enum { XC_TOK_PIECE_SPECIAL, XC_TOK_PIECE_A, XC_TOK_PIECE_B };
struct xc_tok_piece { uint8_t what, type; uint16_t zero; int32_t id; };

struct xc_tok_merge { uint32_t left, right, result; };

_Static_assert(sizeof(struct xc_tok_header) == 256, "header layout");
_Static_assert(sizeof(struct xc_tok_piece) == 8, "piece layout");
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "sections are read in place: little-endian machines only"
#endif

static inline uint32_t xc_tok_pair_hash(uint32_t left, uint32_t right)
{
    const uint64_t k = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;

    return (uint32_t)(k >> 32 ^ k >> 15);
}

/* The trie: a double array (Aoe 1989) of 4-byte units, with XOR in place of addition.
 *
 *   bits 0..8    label: 0 = end of a token, 1 + byte on an edge, 511 = unused unit or root
 *   bit  9       leaf: the payload is a value; else it is the base of the children
 *   bit  10      a token ends here, and its value is in the leaf at base ^ 0
 *   bits 11..31  payload
 *
 * The child of a node along byte c is unit[base ^ (c + 1)], if that unit's label is c + 1. No two nodes share a base, so the label
 * proves the parent. The array is a multiple of 512 units and bases are inside, so the child's index needs no check.
 * In the vocabulary's trie a leaf stands for all that is left of its token (compared with STRINGS); in the others nothing is left. */
#define XC_TRIE_BLOCK 512u
#define XC_TRIE_FREE 511u
static inline uint32_t xc_trie_label(uint32_t unit) { return unit & 511; }
static inline uint32_t xc_trie_leaf(uint32_t unit) { return unit & 512; }
static inline uint32_t xc_trie_end(uint32_t unit) { return unit & 1024; }
static inline uint32_t xc_trie_payload(uint32_t unit) { return unit >> 11; }

#endif
