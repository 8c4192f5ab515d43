#!/usr/bin/env python3
"""Questions with answers made of tagged sentences: "which person?" of a sentence that names exactly one. For want of SQuAD in the data at hand; the answers are what NER would find,
one kind at a time.

    bench/questions.py [--none] SENTENCES.conll > OUT.tsv      --none: every fifth question is put to a sentence that names no such thing, and has no answer"""
import sys

WORDS = {"creative-work": "creative work"}


def sentences(path):
    words, tags = [], []
    for line in open(path, encoding="utf-8"):
        line = line.rstrip("\n")
        if line:
            word, tag = line.split("\t")
            words.append(word)
            tags.append(tag)
        elif words:
            yield words, tags
            words, tags = [], []
    if words:
        yield words, tags


def entities(tags):
    """(type, first word, word behind the last)"""
    at = 0
    while at < len(tags):
        end = at + 1
        if tags[at] != "O":
            while end < len(tags) and tags[end] == "I" + tags[at][1:]:
                end += 1
            yield tags[at][2:], at, end
        at = end


def main():
    none = "--none" in sys.argv
    asked = 0
    print("question\tcontext\tanswer\tanswer_start")
    for words, tags in sentences(sys.argv[-1]):
        context, found = " ".join(words), list(entities(tags))
        kinds = [k for k, _, _ in found]
        for kind, first, end in found:
            if kinds.count(kind) != 1 or kind not in ("person", "location", "group", "corporation", "product", "creative-work"):
                continue
            asked += 1
            start = len(" ".join(words[:first])) + (first > 0)
            print(f"which {WORDS.get(kind, kind)}?\t{context}\t{' '.join(words[first:end])}\t{start}")
            lacking = [k for k in ("person", "location", "group", "product") if k not in kinds]
            if none and asked % 5 == 0 and lacking:
                print(f"which {lacking[asked // 5 % len(lacking)]}?\t{context}\t\t")


main()
