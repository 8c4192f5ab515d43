/* token_offsets: which letters of a text a token stands for: what an answer made of tokens is cut from the text by.
 *
 * The encoder tells of each token the white-space word that it belongs to (tokenizer.h), which is all that tagging needs. Inside a word tokens follow each other
 * and stand for its characters in order, so it is enough to count: how many characters (of a byte-level vocabulary: bytes) a token is spelled with, and how
 * many each character of the text has become when it was normalised. Where these sums do not meet (an unknown token between others, a replacement that joins several characters),
 * every token of the word stands for the whole word. */
#ifndef XC_COMPRESS_TASKS_TOKEN_OFFSETS_H
#define XC_COMPRESS_TASKS_TOKEN_OFFSETS_H

#include "runtime/text/tokenizer.h"

/* begin[i], end[i] (n): bytes of text[0..len) that token i stands for. ids and words are those of this text encoded alone, without special tokens and not cut. A token of white
 * space alone has an empty range. */
enum xc_status xc_token_offsets(int64_t *begin, int64_t *end, const struct xc_tokenizer *tok, const char *text, size_t len, const int32_t *ids, const int32_t *words, int64_t n,
                                struct xc_err *err);

#endif
