/* tokenize_ids: the C side of compare_tokenizers.py. Compiles the tokenizer of a directory and encodes what comes in on stdin.
 *
 *   in, per text    u32 flags (1 pair, 2 no special tokens, 4 words), u32 limit (0 = none), u32 n, then n times: u32 length, bytes
 *   out, per text   u32 n, i32 ids[n], u8 types[n]
 *   tokenize_ids DIR --json    writes the decompiled tokenizer.json instead */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/tokenizer.h"
#include "runtime/text/tokenizer.h"

static uint32_t get_u32(void)
{
    uint32_t x;

    if (fread(&x, sizeof x, 1, stdin) != 1) exit(3);
    return x;
}

static void check(enum xc_status status, const struct xc_err *err)
{
    char text[512];

    if (status == XC_OK) return;
    fprintf(stderr, "tokenize_ids: %s\n", xc_err_text(err, text, sizeof text));
    exit(1);
}

int main(int argc, char **argv)
{
    struct xc_buf *section;
    struct xc_tokenizer *tok;
    struct xc_tokens out = {0};
    struct xc_err err = {0};
    char **texts = NULL;
    size_t *lens = NULL, cap = 0;
    uint32_t flags;

    if (argc < 2) return 2;
    check(xc_tokenizer_compile(&section, argv[1], NULL, &err), &err);
    check(xc_tokenizer_open(&tok, section, &err), &err);
    if (argc > 2 && strcmp(argv[2], "--json") == 0) {
        char *json;
        size_t n;

        check(xc_tokenizer_decompile(&json, &n, section, &err), &err);
        fwrite(json, 1, n, stdout);
        xc_free(json);
    } else {
        while (fread(&flags, sizeof flags, 1, stdin) == 1) {
            const uint32_t limit = get_u32(), n = get_u32();
            const struct xc_encode_opts opts = {.max_tokens = (int32_t)limit, .no_special = flags & 2, .no_truncate = limit == 0};
            uint32_t n_out;

            if (n > cap) {
                texts = realloc(texts, n * sizeof *texts);
                lens = realloc(lens, n * sizeof *lens);
                cap = n;
            }
            for (uint32_t i = 0; i < n; i++) {
                lens[i] = get_u32();
                texts[i] = malloc(lens[i] + 1);
                if (fread(texts[i], 1, lens[i], stdin) != lens[i]) return 3;
                texts[i][lens[i]] = 0;
            }
            out.n = 0;
            if (flags & 4)
                check(xc_tokenizer_encode_words(tok, &out, (const char *const *)texts, n, &opts, &err), &err);
            else
                check(xc_tokenizer_encode(tok, &out, texts[0], lens[0], flags & 1 ? texts[1] : NULL, flags & 1 ? lens[1] : 0, &opts, &err), &err);
            n_out = (uint32_t)out.n;
            fwrite(&n_out, sizeof n_out, 1, stdout);
            fwrite(out.ids, sizeof *out.ids, n_out, stdout);
            fwrite(out.types, 1, n_out, stdout);
            for (uint32_t i = 0; i < n; i++) free(texts[i]);
        }
    }
    free(texts);
    free(lens);
    xc_tokens_release(&out);
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);
    return 0;
}
