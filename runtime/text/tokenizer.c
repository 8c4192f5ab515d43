/* tokenizer: opens a compiled section, checks every field of it, and answers questions about it. Encoding is in encode.c.
 *
 * The section is hostile: counts lie, arrays overlap, tries hold cycles. Cycles do no harm (each step of a walk consumes a byte of text);
 * everything else that the encoder follows without a check is checked here, once. */
#include "runtime/text/encoder.h"

static const struct xc_text_model *model_of(const struct xc_tok_header *h)
{
    if (h->model == XC_TOK_WORDPIECE && h->split == XC_TOK_SPLIT_BERT) return &xc_text_wordpiece;
    if (h->model == XC_TOK_BPE && h->split == XC_TOK_SPLIT_GPT2) return &xc_text_bpe;
    if (h->split < XC_TOK_SPLIT_NONE || h->split > XC_TOK_SPLIT_WHITE_META) return NULL;
    if (h->model == XC_TOK_UNIGRAM) return &xc_text_unigram;
    if (h->model == XC_TOK_BPE) return &xc_text_characters;
    return NULL;
}

static enum xc_status check_header(const struct xc_buf *section, struct xc_err *err)
{
    const struct xc_tok_header *h = (const struct xc_tok_header *)(const void *)section->data;
    size_t end = sizeof *h;

    if (section->size < sizeof *h || memcmp(h->magic, XC_TOK_MAGIC, 4) != 0)
        return xc_fail(err, XC_E_FORMAT, "not a tokenizer section");
    if ((uintptr_t)section->data % 8) return xc_fail(err, XC_E_ARG, "tokenizer section is not aligned to 8 bytes");
    if (h->version != XC_TOK_VERSION)
        return xc_fail(err, XC_E_VERSION, "tokenizer section has version %u, this build knows %u", (unsigned)h->version, XC_TOK_VERSION);
    if (h->bytes > section->size)
        return xc_fail(err, XC_E_FORMAT, "tokenizer section is cut: %zu of %u bytes", section->size, (unsigned)h->bytes);
    if (!model_of(h)) return xc_fail(err, XC_E_VERSION, "unknown tokenizer model %u with split pattern %u", (unsigned)h->model, (unsigned)h->split);
    if (h->flags & ~(uint32_t)XC_TOK_FLAGS_KNOWN) return xc_fail(err, XC_E_VERSION, "unknown tokenizer flags 0x%x", (unsigned)h->flags);
    if ((h->flags & XC_TOK_SENTENCEPIECE && h->split < XC_TOK_SPLIT_NONE) || (h->flags & XC_TOK_META_NORM && (h->split < XC_TOK_SPLIT_NONE || h->flags & XC_TOK_SENTENCEPIECE)))
        return xc_fail(err, XC_E_FORMAT, "tokenizer flags 0x%x do not fit split pattern %u", (unsigned)h->flags, (unsigned)h->split);
    for (int i = 0; i < 16; i++) {
        const uint32_t at = h->array[i].offset, size = h->array[i].size;

        if (i >= XC_TOK_ARRAY_COUNT) {
            if (at || size) return xc_fail(err, XC_E_VERSION, "unknown array %d in tokenizer section", i);
            continue;
        }
        if (i >= XC_TOK_SCORES && !at && !size) continue; /* written before there was unigram; no kinds */
        if (at % 64 || at < end || at > h->bytes || size > h->bytes - at)
            return xc_fail(err, XC_E_FORMAT, "array %d of tokenizer section: offset %u, size %u, section of %u", i, (unsigned)at, (unsigned)size,
                           (unsigned)h->bytes);
        end = (size_t)at + size;
    }
    if (h->n_tokens < 1 || h->n_tokens > XC_TOK_MAX_TOKENS) return xc_fail(err, XC_E_RANGE, "tokenizer has %d tokens", (int)h->n_tokens);
    if (h->max_tokens < 0) return xc_fail(err, XC_E_RANGE, "tokenizer limit of %d tokens", (int)h->max_tokens);
    if (h->max_word_chars < 0 || h->max_word_chars > XC_TOK_MAX_WORD_CHARS)
        return xc_fail(err, XC_E_RANGE, "tokenizer limit of %d characters a word", (int)h->max_word_chars);
    if (h->unk_id < -1 || h->unk_id >= h->n_tokens || (h->unk_id < 0 && (h->model != XC_TOK_BPE || h->flags & XC_TOK_SENTENCEPIECE)))
        return xc_fail(err, XC_E_RANGE, "unknown token has id %d of %d", (int)h->unk_id, (int)h->n_tokens);
    for (int i = 0; i < 5; i++)
        if (h->roles[i] < -1 || h->roles[i] >= h->n_tokens)
            return xc_fail(err, XC_E_RANGE, "special token has id %d of %d", (int)h->roles[i], (int)h->n_tokens);
    if (h->max_probes > XC_TOK_MAX_PROBES) return xc_fail(err, XC_E_RANGE, "merge table of %u probes", (unsigned)h->max_probes);
    return XC_OK;
}

static const void *array_of(const struct xc_tok_header *h, enum xc_tok_array a)
{
    return (const uint8_t *)h + h->array[a].offset;
}

static enum xc_status want_size(const struct xc_tok_header *h, enum xc_tok_array a, uint64_t bytes, struct xc_err *err)
{
    if (h->array[a].size == bytes) return XC_OK;
    return xc_fail(err, XC_E_FORMAT, "array %d of tokenizer section has %u bytes, not %llu", (int)a, (unsigned)h->array[a].size,
                   (unsigned long long)bytes);
}

static enum xc_status check_strings(const struct xc_tokenizer *tok, struct xc_err *err)
{
    const uint32_t n = (uint32_t)tok->h->n_tokens, size = tok->h->array[XC_TOK_STRINGS].size;
    uint64_t last = 0, longest = 0;

    for (uint32_t i = 0; i <= n; i++) {
        const uint64_t at = (uint64_t)tok->str_block[i >> 4] + tok->str_rel[i];

        if (at < last || at > size) return xc_fail(err, XC_E_FORMAT, "spelling of token %u lies outside its array", (unsigned)i);
        if (i && at - last > longest) longest = at - last;
        last = at;
    }
    if (longest > XC_TOK_MAX_TOKEN_BYTES || tok->h->max_token_bytes > XC_TOK_MAX_TOKEN_BYTES)
        return xc_fail(err, XC_E_FORMAT, "token of %llu bytes", (unsigned long long)longest);
    return XC_OK;
}

static enum xc_status check_trie(const uint32_t *units, uint32_t bytes, uint32_t n_values, const uint32_t *roots, struct xc_err *err)
{
    const uint32_t n = bytes / 4;

    if (bytes % (4 * XC_TRIE_BLOCK)) return xc_fail(err, XC_E_FORMAT, "trie of %u bytes", (unsigned)bytes);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t u = units[i], p = xc_trie_payload(u);

        if (p >= (xc_trie_leaf(u) ? n_values : n)) return xc_fail(err, XC_E_FORMAT, "trie unit %u points to %u", (unsigned)i, (unsigned)p);
        if (xc_trie_end(u) && (xc_trie_leaf(u) || (units[p] & 1023) != 512))
            return xc_fail(err, XC_E_FORMAT, "trie unit %u ends a token without a value", (unsigned)i);
    }
    for (int i = 0; i < 2; i++)
        if (roots[i] != XC_TOK_NONE && (roots[i] >= n || xc_trie_leaf(units[roots[i]])))
            return xc_fail(err, XC_E_FORMAT, "trie root %u of %u units", (unsigned)roots[i], (unsigned)n);
    return XC_OK;
}

/* Each of A and, in a pair, B is there exactly once. */
static enum xc_status check_template(const struct xc_tok_piece *p, uint32_t n, bool pair, int32_t n_tokens, struct xc_err *err)
{
    int count[3] = {0};

    for (uint32_t i = 0; i < n; i++) {
        if (p[i].what > XC_TOK_PIECE_B) return xc_fail(err, XC_E_FORMAT, "unknown template piece %d", p[i].what);
        if (p[i].what == XC_TOK_PIECE_SPECIAL && (p[i].id < 0 || p[i].id >= n_tokens))
            return xc_fail(err, XC_E_RANGE, "template has token id %d of %d", (int)p[i].id, (int)n_tokens);
        count[p[i].what]++;
    }
    if (count[XC_TOK_PIECE_A] != 1 || count[XC_TOK_PIECE_B] != pair) return xc_fail(err, XC_E_FORMAT, "template does not hold each text once");
    return XC_OK;
}

static enum xc_status check_bpe(struct xc_tokenizer *tok, struct xc_err *err)
{
    const struct xc_tok_header *h = tok->h;
    const uint32_t slots = h->array[XC_TOK_MERGE_TABLE].size / 4;

    XC_TRY(want_size(h, XC_TOK_BYTE_IDS, 256 * sizeof(int32_t), err));
    if (h->array[XC_TOK_MERGES].size % sizeof(struct xc_tok_merge)) return want_size(h, XC_TOK_MERGES, 0, err);
    if (slots == 0 || slots & (slots - 1) || h->array[XC_TOK_MERGE_TABLE].size % 4)
        return xc_fail(err, XC_E_FORMAT, "merge table of %u bytes", (unsigned)h->array[XC_TOK_MERGE_TABLE].size);
    tok->n_merges = h->array[XC_TOK_MERGES].size / (uint32_t)sizeof(struct xc_tok_merge);
    tok->merge_mask = slots - 1;
    for (int i = 0; i < 256; i++)
        if (tok->byte_ids[i] < -1 || tok->byte_ids[i] >= h->n_tokens) return xc_fail(err, XC_E_RANGE, "byte %d has token id %d", i, (int)tok->byte_ids[i]);
    for (uint32_t i = 0; i < tok->n_merges; i++)
        if (tok->merges[i].result >= (uint32_t)h->n_tokens) return xc_fail(err, XC_E_RANGE, "merge %u makes token id %u", (unsigned)i, (unsigned)tok->merges[i].result);
    for (uint32_t i = 0; i < slots; i++)
        if (tok->merge_table[i] > tok->n_merges) return xc_fail(err, XC_E_FORMAT, "merge table names merge %u of %u", (unsigned)tok->merge_table[i], (unsigned)tok->n_merges);
    return XC_OK;
}

/* What unigram and BPE of characters share. */
static enum xc_status check_characters(struct xc_tokenizer *tok, struct xc_err *err)
{
    const struct xc_tok_header *h = tok->h;
    const bool spm = h->flags & XC_TOK_SENTENCEPIECE, scored = spm || h->model == XC_TOK_UNIGRAM;
    const uint32_t n_kinds = spm ? h->array[XC_TOK_KINDS].size : 0;

    XC_TRY(want_size(h, XC_TOK_BYTE_IDS, 256 * sizeof(int32_t), err));
    XC_TRY(want_size(h, XC_TOK_SCORES, scored ? ((uint64_t)h->n_tokens + 1) * sizeof(double) : 0, err));
    XC_TRY(want_size(h, XC_TOK_KINDS, n_kinds ? (uint64_t)h->n_tokens : 0, err));
    for (int i = 0; i < 256; i++)
        if (tok->byte_ids[i] < (h->flags & XC_TOK_BYTE_FALLBACK ? 0 : -1) || tok->byte_ids[i] >= h->n_tokens)
            return xc_fail(err, XC_E_RANGE, "byte %d has token id %d", i, (int)tok->byte_ids[i]);
    for (int32_t i = 0; scored && i <= h->n_tokens; i++) /* NaN: never found; the sum of a long text stays finite */
        if (tok->scores[i] > 1e30 || tok->scores[i] < -1e30 || (i == h->n_tokens && !(tok->scores[i] <= 1e30)))
            return xc_fail(err, XC_E_RANGE, "token %d has a score of %g", (int)i, tok->scores[i]);
    for (uint32_t i = 0; i < n_kinds; i++) {
        if (tok->kinds[i] > XC_TOK_UNUSED) return xc_fail(err, XC_E_FORMAT, "token %u is of the unknown kind %d", (unsigned)i, tok->kinds[i]);
        tok->user_defined |= tok->kinds[i] == XC_TOK_USER;
        tok->unused |= tok->kinds[i] == XC_TOK_UNUSED;
    }
    if (!xc_charsmap_open(&tok->charsmap, (const uint8_t *)h + h->array[XC_TOK_CHARSMAP].offset, h->array[XC_TOK_CHARSMAP].size))
        return xc_fail(err, XC_E_FORMAT, "the table of replacements is damaged");
    return XC_OK;
}

static enum xc_status check_arrays(struct xc_tokenizer *tok, struct xc_err *err)
{
    const struct xc_tok_header *h = tok->h;
    const uint32_t roots[2] = {h->root, h->root_next}, added_roots[2] = {h->root_raw, h->root_norm};

    XC_TRY(want_size(h, XC_TOK_STR_BLOCKS, ((uint64_t)h->n_tokens / 16 + 1) * 4, err));
    XC_TRY(want_size(h, XC_TOK_STR_REL, ((uint64_t)h->n_tokens + 1) * 2, err));
    XC_TRY(check_strings(tok, err));
    XC_TRY(check_trie(tok->units, h->array[XC_TOK_UNITS].size, (uint32_t)h->n_tokens, roots, err));
    if (h->root == XC_TOK_NONE) return xc_fail(err, XC_E_FORMAT, "vocabulary without a trie");

    if (h->array[XC_TOK_ADDED].size % sizeof(struct xc_tok_added)) return want_size(h, XC_TOK_ADDED, 0, err);
    tok->n_added = h->array[XC_TOK_ADDED].size / (uint32_t)sizeof(struct xc_tok_added);
    for (uint32_t i = 0; i < tok->n_added; i++)
        if (tok->added[i].id < 0 || tok->added[i].id >= h->n_tokens) return xc_fail(err, XC_E_RANGE, "added token %u has id %d", (unsigned)i, (int)tok->added[i].id);
    XC_TRY(check_trie(tok->added_units, h->array[XC_TOK_ADDED_UNITS].size, tok->n_added, added_roots, err));

    if (h->n_single > XC_TOK_MAX_PIECES || h->n_pair > XC_TOK_MAX_PIECES)
        return xc_fail(err, XC_E_RANGE, "templates of %u and %u pieces", (unsigned)h->n_single, (unsigned)h->n_pair);
    XC_TRY(want_size(h, XC_TOK_PIECES, (h->n_single + h->n_pair) * sizeof(struct xc_tok_piece), err));
    XC_TRY(check_template(tok->pieces, h->n_single, false, h->n_tokens, err));
    XC_TRY(check_template(tok->pieces + h->n_single, h->n_pair, true, h->n_tokens, err));
    tok->n_prefix = h->array[XC_TOK_PREFIX].size;
    if (h->model == XC_TOK_BPE) XC_TRY(check_bpe(tok, err));
    return h->split >= XC_TOK_SPLIT_NONE ? check_characters(tok, err) : XC_OK;
}

static void find_first_bytes(struct xc_tokenizer *tok)
{
    for (int level = 0; level < 2; level++) {
        const uint32_t root = level ? tok->h->root_norm : tok->h->root_raw;
        int count = 0;

        tok->only_first[level] = -1;
        for (uint32_t c = 0; c < 256 && root != XC_TOK_NONE; c++)
            if (xc_trie_label(tok->added_units[xc_trie_payload(tok->added_units[root]) ^ (c + 1)]) == c + 1) {
                tok->first[level][c] = 1;
                tok->only_first[level] = count++ ? -1 : (int)c;
            }
    }
}

enum xc_status xc_tokenizer_open(struct xc_tokenizer **out, struct xc_buf *section, struct xc_err *err)
{
    struct xc_tokenizer *tok;
    enum xc_status status;

    *out = NULL;
    XC_TRY(check_header(section, err));
    tok = xc_calloc(1, sizeof *tok);
    if (!tok) return xc_fail_nomem(err, sizeof *tok);
    tok->h = (const struct xc_tok_header *)(const void *)section->data;
    tok->model = model_of(tok->h);
    tok->str_block = array_of(tok->h, XC_TOK_STR_BLOCKS);
    tok->str_rel = array_of(tok->h, XC_TOK_STR_REL);
    tok->strings = array_of(tok->h, XC_TOK_STRINGS);
    tok->units = array_of(tok->h, XC_TOK_UNITS);
    tok->added = array_of(tok->h, XC_TOK_ADDED);
    tok->added_units = array_of(tok->h, XC_TOK_ADDED_UNITS);
    tok->pieces = array_of(tok->h, XC_TOK_PIECES);
    tok->byte_ids = array_of(tok->h, XC_TOK_BYTE_IDS);
    tok->merges = array_of(tok->h, XC_TOK_MERGES);
    tok->scores = array_of(tok->h, XC_TOK_SCORES);
    tok->merge_table = array_of(tok->h, XC_TOK_MERGE_TABLE);
    tok->kinds = array_of(tok->h, XC_TOK_KINDS);
    XC_TRY_GOTO(check_arrays(tok, err), fail);
    find_first_bytes(tok);
    tok->model->open(tok);
    tok->section = xc_buf_ref(section);
    *out = tok;
    return XC_OK;
fail:
    xc_free(tok);
    return status;
}

void xc_tokenizer_free(struct xc_tokenizer **tok)
{
    if (!*tok) return;
    xc_buf_unref(&(*tok)->section);
    xc_free(*tok);
    *tok = NULL;
}

int32_t xc_tokenizer_vocab_size(const struct xc_tokenizer *tok) { return tok->h->n_tokens; }
int32_t xc_tokenizer_max_tokens(const struct xc_tokenizer *tok) { return tok->h->max_tokens; }
const char *xc_tokenizer_kind(const struct xc_tokenizer *tok) { return tok->model->name; }

const char *xc_tokenizer_token(const struct xc_tokenizer *tok, int32_t id, size_t *len)
{
    const uint8_t *s;

    *len = 0;
    if (id < 0 || id >= tok->h->n_tokens) return NULL;
    s = xc_tokenizer_string(tok, (uint32_t)id, len);
    return *len ? (const char *)s : NULL;
}

int32_t xc_tokenizer_special(const struct xc_tokenizer *tok, enum xc_token_role role)
{
    return (unsigned)role < XC_TOKEN_ROLE_COUNT ? tok->h->roles[role] : -1;
}
