/* tokenizer: Hugging Face tokenizer files to the compiled section that runtime/text reads, and back.
 *
 * Read: tokenizer.json (WordPiece, BPE of bytes and of characters, Unigram); or spiece.model (SentencePiece unigram or BPE; also tokenizer.model, spm.model); or vocab.txt (BERT's WordPiece); or vocab.json with merges.txt (byte-level BPE of RoBERTa or GPT-2); each with
 * tokenizer_config.json, special_tokens_map.json and added_tokens.json where they exist. Models, normalizers, pre-tokenizers, split patterns and
 * post-processors that runtime/text does not have are refused by name with XC_E_UNSUPPORTED. Not used: padding (there is none
 * here), decoder, the truncation strategy of tokenizer.json (always longest_first, as transformers does).
 *
 * The same files give the same bytes. */
#ifndef XC_FORMATS_TOKENIZER_H
#define XC_FORMATS_TOKENIZER_H

#include "runtime/base/base.h"
#include "runtime/base/buf.h"

struct xc_tokenizer_compile_opts {
    int32_t max_tokens; /* 0 = tokenizer_config.json's model_max_length, else tokenizer.json's truncation, else none */
};
#define XC_TOKENIZER_COMPILE_DEFAULT { 0 }

/* The bytes of the files, NULL where there is none. */
struct xc_tokenizer_files {
    struct xc_tokenizer_file { const char *bytes; size_t size; } json, config, special, added, vocab_txt, vocab_json, merges_txt, spm;
};

/* From the files of a directory. XC_E_NOT_FOUND when it holds no tokenizer. opts may be NULL. */
#define XC_TOKENIZER_SPM_NAMES { "spiece.model", "tokenizer.model", "spm.model" }
enum xc_status xc_tokenizer_compile(struct xc_buf **out, const char *dir, const struct xc_tokenizer_compile_opts *opts, struct xc_err *err);

/* From bytes: what the former is made of, and easy to fuzz. */
enum xc_status xc_tokenizer_compile_files(struct xc_buf **out, const struct xc_tokenizer_files *files, const struct xc_tokenizer_compile_opts *opts,
                                          struct xc_err *err);

/* A tokenizer.json that the tokenizers library loads, with the same ids for every text. *json is freed with xc_free. */
enum xc_status xc_tokenizer_decompile(char **json, size_t *size, struct xc_buf *section, struct xc_err *err);

/* The same tokenizer with the tokens whose new_id (by old id) is not negative; the new ids are 0 .. n - 1. */
enum xc_status xc_tokenizer_subset(struct xc_buf **out, struct xc_buf *section, const int32_t *new_id, struct xc_err *err);

/* Adds to keep (by id) what any subset needs: added and special tokens, the template's, the bytes of BPE and the parts that its tokens are merged
 * of; with `characters` the single characters too (but of byte-level BPE), so that a word whose pieces are gone falls to smaller ones. Texts whose
 * tokens are all kept are then encoded as before. */
enum xc_status xc_tokenizer_close_set(uint8_t *keep, struct xc_buf *section, bool characters, struct xc_err *err);

#endif
