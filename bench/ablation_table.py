#!/usr/bin/env python3
"""Tables of bench/ablation.sh.

  ablation_table.py --from OUT LOG.tsv     what the runs in OUT said, a line each, into LOG.tsv; prints the tables
  ablation_table.py LOG.tsv PAGE.md        puts the tables between the marks of PAGE.md; --check: says (exit 1) when they are not what stands there
"""
import glob
import json
import os
import re
import statistics
import sys

COLUMNS = ["run", "seed", "metric", "value", "steps", "tokens", "parameters", "seconds"]
BEGIN, END = "<!-- ablation.tsv -->\n", "<!-- end of ablation.tsv -->\n"
NAMES = {"sst2": "SST-2, first 8,000 rows: accuracy on dev", "stsb": "stsb, pairs without scores: Spearman on dev"}


def gather(folder):
    rows = []
    for path in glob.glob(os.path.join(folder, "*.json")):
        run, seed = os.path.basename(path).rsplit(".", 2)[:2]
        with open(path) as f:
            said = json.load(f)
        rows.append([run, seed, said["dev"]["metric"], "%.4f" % said["dev"]["last"], said["steps"], said["tokens"], said["parameters"], "%.1f" % said["seconds"]])
    with open(os.path.join(folder, "jobs")) as f:  # in the order of the script
        order = {name: i for i, name in enumerate(f.read().split())}
    rows = [r for r in rows if r[0] in order]
    return sorted(rows, key=lambda r: (order[r[0]], int(r[1])))


def read(path):
    with open(path) as f:
        lines = [line.rstrip("\n").split("\t") for line in f]
    if lines[0] != COLUMNS:
        sys.exit("ablation_table: '%s' has other columns than %s" % (path, ", ".join(COLUMNS)))
    return lines[1:]


def tables(rows):
    """Mean and standard deviation of each run's seeds, and the mean difference from the run it varies over the seeds that both have, with its standard error."""
    runs = {}
    for r in rows:
        runs.setdefault(r[0], {})[r[1]] = r
    text = ""
    for task in dict.fromkeys(name.split(".")[0] for name in runs):
        text += "\n*%s*\n\n| | mean | spread | difference | seeds | parameters | seconds |\n| --- | --- | --- | --- | --- | --- | --- |\n" % NAMES.get(task, task)
        for name, seeds in runs.items():
            if name.split(".")[0] != task:
                continue
            base = task + (".cut-by-weights" if ".cut-" in name else ".all")
            whole = runs.get(base, {})
            values = [float(r[3]) for r in seeds.values()]
            pairs = [float(r[3]) - float(whole[s][3]) for s, r in seeds.items() if s in whole]
            difference = ""
            if name != base and pairs:
                difference = "%+.4f" % statistics.mean(pairs)
                if len(pairs) > 1:
                    difference += " ± %.4f" % (statistics.stdev(pairs) / len(pairs) ** 0.5)
            first = next(iter(seeds.values()))
            text += "| %s | %.4f | %s | %s | %d | %.1f M | %.0f |\n" % (name.split(".", 1)[1], statistics.mean(values), "%.4f" % statistics.stdev(values) if len(values) > 1 else "", difference,
                                                                        len(seeds), int(first[6]) / 1e6, statistics.mean(float(r[7]) for r in seeds.values()))
    return text + "\n"


def main(argv):
    if len(argv) == 4 and argv[1] == "--from":
        rows = gather(argv[2])
        with open(argv[3], "w") as f:
            f.writelines("\t".join(str(x) for x in row) + "\n" for row in [COLUMNS] + rows)
        print(tables(read(argv[3])))
        return 0
    check = "--check" in argv
    argv = [a for a in argv if a != "--check"]
    if len(argv) != 3:
        sys.exit(__doc__)
    with open(argv[2]) as f:
        page = f.read()
    if BEGIN not in page or END not in page:
        sys.exit("ablation_table: '%s' lacks the mark %s" % (argv[2], BEGIN.strip()))
    made = re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: BEGIN + tables(read(argv[1])) + END, page, flags=re.S)
    if check:
        if made != page:
            sys.exit("ablation_table: the tables in '%s' are not those of '%s': run bench/ablation_table.py %s %s" % (argv[2], argv[1], argv[1], argv[2]))
        return 0
    with open(argv[2], "w") as f:
        f.write(made)
    return 0


sys.exit(main(sys.argv))
