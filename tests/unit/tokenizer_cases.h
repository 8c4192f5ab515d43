/* What the tests of tokenizers share: the vectors of tests/vectors/tokenizer, sections made of texts, a small WordPiece. Include it behind cmocka.h. */
#ifndef XC_TESTS_UNIT_TOKENIZER_CASES_H
#define XC_TESTS_UNIT_TOKENIZER_CASES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/tokenizer.h"
#include "runtime/text/tokenizer.h"

static const char *const names[] = {"uncased", "cased", "roberta", "gpt2", "unigram", "unigram_bytes"};
enum { N_NAMES = 6 };

#define OK(call) do { if ((call) != XC_OK) fail_msg("%s: %s: %s", #call, err.where, err.msg); } while (0)

static inline struct xc_buf *vector_file(const char *name)
{
    const char *root = getenv("XC_SOURCE_ROOT");
    struct xc_err err = {0};
    struct xc_buf *buf;
    char path[1024];

    snprintf(path, sizeof path, "%s/tests/vectors/tokenizer/%s", root ? root : ".", name);
    OK(xc_buf_map(&buf, path, &err));
    return buf;
}

static inline struct xc_buf *compile_vector(const char *name)
{
    const char *root = getenv("XC_SOURCE_ROOT");
    struct xc_err err = {0};
    struct xc_buf *section;
    char path[1024];

    snprintf(path, sizeof path, "%s/tests/vectors/tokenizer/%s", root ? root : ".", name);
    OK(xc_tokenizer_compile(&section, path, NULL, &err));
    return section;
}

static inline struct xc_tokenizer *open_section(struct xc_buf *section)
{
    struct xc_tokenizer *tok;
    struct xc_err err = {0};

    OK(xc_tokenizer_open(&tok, section, &err));
    return tok;
}

static inline enum xc_status compile_text(struct xc_buf **out, const char *json, struct xc_err *err)
{
    const struct xc_tokenizer_files f = {.json = {json, strlen(json)}};

    return xc_tokenizer_compile_files(out, &f, NULL, err);
}

static inline const uint8_t *take(const uint8_t **p, size_t n)
{
    const uint8_t *at = *p;

    *p += n;
    return at;
}

static inline uint32_t take_u16(const uint8_t **p)
{
    const uint8_t *b = take(p, 2);

    return (uint32_t)(b[0] | b[1] << 8);
}

static inline uint32_t take_u32(const uint8_t **p)
{
    const uint32_t low = take_u16(p);

    return low | take_u16(p) << 16;
}

static inline void expect_ids(const char *name, uint32_t i, const struct xc_tokens *out, const uint8_t **p, bool types)
{
    const uint32_t n = take_u16(p);

    if (out->n != n) fail_msg("%s, text %u: %zu ids, not %u", name, i, out->n, n);
    for (uint32_t k = 0; k < n; k++) {
        const uint32_t id = take_u16(p);

        if (out->ids[k] != (int32_t)id) fail_msg("%s, text %u, token %u: id %d, not %u", name, i, k, (int)out->ids[k], id);
    }
    if (types) assert_memory_equal(out->types, take(p, n), n);
}

static inline void expect_vector(const char *name, struct xc_tokenizer *tok)
{
    const struct xc_encode_opts all = {.no_truncate = true};
    struct xc_buf *texts = vector_file("texts.bin"), *ids;
    struct xc_tokens out = {0};
    struct xc_err err = {0};
    const uint8_t *t = texts->data, *p;
    char path[64];

    snprintf(path, sizeof path, "%s/ids.bin", name);
    ids = vector_file(path);
    p = ids->data;
    for (uint32_t i = 0, n = take_u32(&t); i < n; i++) {
        const uint32_t len = take_u32(&t);
        char *copy = malloc(len ? len : 1); /* of its exact size: a read past the end is found */

        memcpy(copy, take(&t, len), len);
        out.n = 0;
        OK(xc_tokenizer_encode(tok, &out, copy, len, NULL, 0, &all, &err));
        free(copy);
        expect_ids(name, i, &out, &p, false);
    }
    assert_ptr_equal(p, ids->data + ids->size);
    xc_tokens_release(&out);
    xc_buf_unref(&ids);
    xc_buf_unref(&texts);
}

/* The caller frees. */
static inline char *repeat(const char *s, size_t n)
{
    const size_t len = strlen(s);
    char *out = malloc(len * n + 1);

    for (size_t i = 0; i < n; i++) memcpy(out + i * len, s, len);
    out[len * n] = 0;
    return out;
}

/* A small WordPiece: word, ##s, the, a, b, c and so on. */
static const char *const small_vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nword\n##s\nthe\na\nb\nc\n.\n##x\nabc\n";

static inline struct xc_buf *compile_vocab_txt(const char *vocab, const char *config, int32_t max_tokens)
{
    const struct xc_tokenizer_files f = {.vocab_txt = {vocab, strlen(vocab)}, .config = {config, config ? strlen(config) : 0}};
    const struct xc_tokenizer_compile_opts opts = {max_tokens};
    struct xc_err err = {0};
    struct xc_buf *section;

    OK(xc_tokenizer_compile_files(&section, &f, &opts, &err));
    return section;
}

static inline void expect(struct xc_tokenizer *tok, const char *text, const char *want)
{
    struct xc_tokens out = {0};
    struct xc_err err = {0};
    char got[512] = "";

    OK(xc_tokenizer_encode(tok, &out, text, strlen(text), NULL, 0, NULL, &err));
    for (size_t i = 0; i < out.n; i++) {
        size_t n;
        const char *s = xc_tokenizer_token(tok, out.ids[i], &n);

        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s", i ? " " : "", (int)n, s);
    }
    assert_string_equal(got, want);
    xc_tokens_release(&out);
}

/* ---- tokenizer.json in parts ---- */
#define WP "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"u\",\"vocab\":{\"u\":0,\"a\":1}}"
#define BERT "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}"
#define BPE(more) "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]" more "}"
#define UNI(more) "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",0],[\"a\",-1.5],[\"ab\",-2],[\"\\u2581\",-3]]" more "}"
#define META "\"pre_tokenizer\":{\"type\":\"Metaspace\"}"
#define BYTE "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"

/* Opens a changed copy and, if it opens, encodes: wrong ids are fine, a crash is not. */
static inline bool try_section(const uint8_t *bytes, size_t n)
{
    static const char text[] = "the words abc, ab [MASK] <mask> don't stop \xC3\xA9\xE4\xB8\xAD\xFF caf\xC3\xA9 newword abababab aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct xc_tokenizer *tok;
    struct xc_tokens out = {0};
    struct xc_err err = {0};
    struct xc_buf *buf;
    bool opened;

    OK(xc_buf_new(&buf, n, &err));
    memcpy(buf->data, bytes, n);
    opened = xc_tokenizer_open(&tok, buf, &err) == XC_OK;
    if (opened) {
        (void)xc_tokenizer_encode(tok, &out, text, sizeof text - 1, text, sizeof text - 1, NULL, &err);
        for (size_t i = 0; i < out.n; i++) assert_in_range(out.ids[i], 0, xc_tokenizer_vocab_size(tok) - 1);
        xc_tokenizer_free(&tok);
    } else {
        assert_null(tok);
        assert_true(err.msg[0]);
    }
    xc_tokens_release(&out);
    xc_buf_unref(&buf);
    return opened;
}

#endif
