"""Makes tests/data/tiny-bert: a random BERT with a WordPiece vocabulary, small enough to live in the repository.

    python tests/vectors/gen_tiny.py [DIRECTORY]

Needs torch and transformers. The weights are random: it shows that things work, no more."""
import json
import os
import string
import sys

import torch
from transformers import BertConfig, BertModel

WORDS = """the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which one you were all her she there
would their we him been has when who will no more if out so said what up its about into than them can only other new some could time these two may then do
first any my now such like our over man me even most made after also did many before must through back years where much your way well down should because
each just those people how too little state good very make world still own see men work long get here between both life being under never day same another
know while last might us great old year off come since against go came right used take three boy girl woman dog cat play playing guitar food eat eating
run running walk walking horse ride riding water house street car road red green blue white black small big quick brown fox jump jumps lazy sit sat sitting
morning night city country music sing singing dance dancing child children young group field ball game sun moon sea river tree book read reading write
movie film bad best worst love hate funny sad happy boring""".split()
PIECES = ["s", "ed", "ing", "er", "est", "ly", "ion", "al", "es", "en", "able", "ness", "ment", "un", "re"]


def vocabulary():
    chars = string.ascii_lowercase + string.digits
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list(string.punctuation) + list(chars) + ["##" + c for c in chars]
    for w in WORDS + ["##" + p for p in PIECES]:
        if w not in words:
            words.append(w)
    return words


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "tiny-bert")
    words = vocabulary()
    torch.manual_seed(1)
    config = BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_position_embeddings=512)
    model = BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for p in model.parameters():  # larger than BERT's own start, so that texts differ
            p += 0.3 * torch.randn_like(p) / (p.shape[-1] ** 0.5 if p.dim() > 1 else 4)
    model.save_pretrained(out)
    with open(os.path.join(out, "vocab.txt"), "w", encoding="utf-8") as f:
        f.write("".join(w + "\n" for w in words))
    with open(os.path.join(out, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump({"do_lower_case": True, "model_max_length": 512, "tokenizer_class": "BertTokenizer"}, f, indent=2, sort_keys=True)
        f.write("\n")


main()
