/* fuzz_tokenizer: the first byte says what the rest is: a compiled section, a tokenizer.json, a vocab.txt, a SentencePiece model, or a vocab.json,
 * a NUL and a merges.txt. What opens encodes texts, alone and as a pair, to ids inside its vocabulary. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formats/tokenizer.h"
#include "runtime/text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const struct xc_tokenizer *tok, const char *a, size_t a_len, const char *b, size_t b_len, const struct xc_encode_opts *opts)
{
    struct xc_tokens out = { 0 };
    struct xc_err err = { 0 };

    if (xc_tokenizer_encode(tok, &out, a, a_len, b, b_len, opts, &err) == XC_OK) {
        for (size_t i = 0; i < out.n; i++)
            if (out.ids[i] < 0 || out.ids[i] >= xc_tokenizer_vocab_size(tok)) abort();
    } else if (err.code == XC_OK || !err.msg[0]) {
        abort();
    }
    xc_tokens_release(&out);
}

static void use(struct xc_buf *section, const char *bytes, size_t n)
{
    static const char text[] = "The quick brown fox, it's 12.50\xe2\x82\xac!\n\t na\xc3\xafve e\xcc\x81 \xe6\x9d\xb1\xe4\xba\xac \xff\xfe [MASK] <s> unaffable";
    const struct xc_encode_opts all = { .no_truncate = true }, few = { .max_tokens = 5 };
    struct xc_tokenizer *tok = NULL;
    struct xc_err err = { 0 };
    char *json = NULL;
    size_t size;

    if (xc_tokenizer_open(&tok, section, &err) != XC_OK) {
        if (tok || err.code == XC_OK || !err.msg[0]) abort();
        return;
    }
    encode(tok, text, sizeof text, NULL, 0, &all);
    encode(tok, bytes, n < 4096 ? n : 4096, text, sizeof text, &few);
    encode(tok, bytes, n < 4096 ? n : 4096, NULL, 0, &all);
    if (xc_tokenizer_decompile(&json, &size, section, &err) == XC_OK) xc_free(json);
    xc_tokenizer_free(&tok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *const bytes = (const char *)data + 1;
    struct xc_tokenizer_files files = { .json = { .bytes = NULL } };
    struct xc_buf *section = NULL;
    struct xc_err err = { 0 };
    const char *nul;

    if (!size) return 0;
    size--;
    nul = size ? memchr(bytes, 0, size) : NULL;
    switch (data[0] % 5) {
    case 0:
        if (xc_buf_new(&section, size, &err) != XC_OK) return 0;
        if (size) memcpy(section->data, bytes, size);
        break;
    case 1: files.json.bytes = bytes; files.json.size = size; break;
    case 4: files.spm.bytes = bytes; files.spm.size = size; break;
    case 2: files.vocab_txt.bytes = bytes; files.vocab_txt.size = size; break;
    default:
        if (!nul) return 0;
        files.vocab_json.bytes = bytes;
        files.vocab_json.size = (size_t)(nul - bytes);
        files.merges_txt.bytes = nul + 1;
        files.merges_txt.size = size - files.vocab_json.size - 1;
    }
    if (!section && xc_tokenizer_compile_files(&section, &files, NULL, &err) != XC_OK) {
        if (section || err.code == XC_OK || !err.msg[0]) abort();
        return 0;
    }
    use(section, bytes, size);
    xc_buf_unref(&section);
    return 0;
}
