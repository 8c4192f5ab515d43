/* make_checkpoint: a sharded BERT-shaped checkpoint of any size, for bench/bounded.sh: DIR LAYERS [HIDDEN [SHARD_MB]].
 *
 * Weights are drawn (a sum of bytes of xorshift64*, near enough to a normal distribution), so that no file system stores them in less
 * than their size. hidden 4096, 14 layers: 11.9 GB of f32. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_TENSORS = 4096, VOCAB = 30522, POSITIONS = 512 };

static struct tensor { char name[96]; int64_t rows, cols; int shard; uint64_t begin, end; } tensors[MAX_TENSORS];
static int n_tensors, n_shards;

static void add(const char *name, int64_t rows, int64_t cols)
{
    struct tensor *t = &tensors[n_tensors++];

    snprintf(t->name, sizeof t->name, "%s", name);
    t->rows = rows;
    t->cols = cols;
}

static void add_layer(int layer, int64_t hidden)
{
    static const struct { const char *name; int rows, cols; } parts[] = {
        { "attention.self.query", 1, 1 }, { "attention.self.key", 1, 1 }, { "attention.self.value", 1, 1 }, { "attention.output.dense", 1, 1 },
        { "attention.output.LayerNorm", 1, 0 }, { "intermediate.dense", 4, 1 }, { "output.dense", 1, 4 }, { "output.LayerNorm", 1, 0 },
    };
    char name[96];

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        snprintf(name, sizeof name, "encoder.layer.%d.%s.weight", layer, parts[i].name);
        add(name, parts[i].rows * hidden, parts[i].cols * hidden);
        snprintf(name, sizeof name, "encoder.layer.%d.%s.bias", layer, parts[i].name);
        add(name, parts[i].rows * hidden, 0);
    }
}

static uint64_t count(const struct tensor *t) { return (uint64_t)t->rows * (uint64_t)(t->cols ? t->cols : 1); }

static bool write_text(const char *dir, const char *file, const char *text)
{
    char path[1024];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, file);
    f = fopen(path, "w");
    return f && fputs(text, f) >= 0 && !fclose(f);
}

static uint64_t state = 0x9E3779B97F4A7C15u;

static void fill(float *x, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        const uint64_t r = state * 0x2545F4914F6CDD1Du;

        x[i] = scale * ((float)(uint16_t)r + (float)(uint16_t)(r >> 16) + (float)(uint16_t)(r >> 32) + (float)(uint16_t)(r >> 48) - 131070.0f);
    }
}

static bool write_shard(const char *dir, int shard)
{
    enum { CHUNK = 1 << 20 };
    char path[1024], *header = malloc((size_t)n_tensors * 256 + 64);
    float *x = malloc(CHUNK * sizeof *x);
    size_t n = 1;
    uint64_t size;
    FILE *f;
    bool good = header && x;

    snprintf(path, sizeof path, "%s/model-%05d-of-%05d.safetensors", dir, shard + 1, n_shards);
    f = fopen(path, "wb");
    if (!f || !good) return false;
    header[0] = '{';
    for (int i = 0; i < n_tensors; i++) {
        const struct tensor *t = &tensors[i];
        char shape[64];

        if (t->shard != shard) continue;
        if (t->cols) snprintf(shape, sizeof shape, "%lld,%lld", (long long)t->rows, (long long)t->cols);
        else snprintf(shape, sizeof shape, "%lld", (long long)t->rows);
        n += (size_t)sprintf(header + n, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}", n > 1 ? "," : "", t->name, shape, (unsigned long long)t->begin,
                             (unsigned long long)t->end);
    }
    n += (size_t)sprintf(header + n, "}");
    while (n % 8) header[n++] = ' ';
    size = n;
    good = fwrite(&size, 8, 1, f) == 1 && fwrite(header, 1, n, f) == n;
    for (int i = 0; i < n_tensors && good; i++) {
        const struct tensor *t = &tensors[i];
        const bool norm = strstr(t->name, "LayerNorm.weight") != NULL;

        if (t->shard != shard) continue;
        for (uint64_t done = 0; done < count(t) && good; done += CHUNK) {
            const size_t k = count(t) - done < CHUNK ? (size_t)(count(t) - done) : CHUNK;

            fill(x, k, 0.02f / 37837.0f); /* a standard deviation of 0.02 */
            for (size_t j = 0; norm && j < k; j++) x[j] += 1;
            good = fwrite(x, sizeof *x, k, f) == k;
        }
    }
    free(header);
    free(x);
    return !fclose(f) && good;
}

static bool write_index(const char *dir)
{
    char path[1024];
    FILE *f;

    snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
    f = fopen(path, "w");
    if (!f) return false;
    fprintf(f, "{\"metadata\":{},\"weight_map\":{");
    for (int i = 0; i < n_tensors; i++) fprintf(f, "%s\"%s\":\"model-%05d-of-%05d.safetensors\"", i ? "," : "", tensors[i].name, tensors[i].shard + 1, n_shards);
    fprintf(f, "}}\n");
    return !fclose(f);
}

static bool write_vocab(const char *dir)
{
    static const char *const special[] = { "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]" };
    char path[1024];
    FILE *f;

    snprintf(path, sizeof path, "%s/vocab.txt", dir);
    f = fopen(path, "w");
    if (!f) return false;
    for (int i = 0; i < VOCAB; i++) {
        if (i < 5) fprintf(f, "%s\n", special[i]);
        else fprintf(f, "w%d\n", i);
    }
    return !fclose(f);
}

int main(int argc, char **argv)
{
    const int layers = argc > 2 ? atoi(argv[2]) : 0;
    const int64_t hidden = argc > 3 ? atoll(argv[3]) : 4096, shard_bytes = (argc > 4 ? atoll(argv[4]) : 2000) * 1000000;
    char config[512];
    uint64_t at = 0;

    if (layers < 1 || layers > 200 || hidden < 64 || hidden > 16384 || hidden % 64 || shard_bytes < 1) return fprintf(stderr, "make_checkpoint DIR LAYERS [HIDDEN [SHARD_MB]]\n"), 2;
    add("embeddings.word_embeddings.weight", VOCAB, hidden);
    add("embeddings.position_embeddings.weight", POSITIONS, hidden);
    add("embeddings.token_type_embeddings.weight", 2, hidden);
    add("embeddings.LayerNorm.weight", hidden, 0);
    add("embeddings.LayerNorm.bias", hidden, 0);
    for (int l = 0; l < layers; l++) add_layer(l, hidden);
    for (int i = 0; i < n_tensors; i++) {
        if (at && at + 4 * count(&tensors[i]) > (uint64_t)shard_bytes) {
            n_shards++;
            at = 0;
        }
        tensors[i].shard = n_shards;
        tensors[i].begin = at;
        at += 4 * count(&tensors[i]);
        tensors[i].end = at;
    }
    n_shards++;
    mkdir(argv[1], 0777);
    snprintf(config, sizeof config,
             "{\"model_type\":\"bert\",\"architectures\":[\"BertModel\"],\"vocab_size\":%d,\"hidden_size\":%lld,\"num_hidden_layers\":%d,\"num_attention_heads\":%lld,"
             "\"intermediate_size\":%lld,\"hidden_act\":\"gelu\",\"max_position_embeddings\":%d,\"type_vocab_size\":2,\"layer_norm_eps\":1e-12}\n",
             VOCAB, (long long)hidden, layers, (long long)hidden / 64, (long long)hidden * 4, POSITIONS);
    if (!write_text(argv[1], "config.json", config) || !write_text(argv[1], "tokenizer_config.json", "{\"tokenizer_class\":\"BertTokenizer\",\"do_lower_case\":true}\n") ||
        !write_vocab(argv[1]) || !write_index(argv[1]))
        return perror(argv[1]), 1;
    for (int s = 0; s < n_shards; s++)
        if (!write_shard(argv[1], s)) return perror(argv[1]), 1;
    return 0;
}
