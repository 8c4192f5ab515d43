#!/usr/bin/env python3
"""A picture of time against length from the JSON of bench_attention: both axes logarithmic, one line a case. Of several files the best time of each
case and length counts.

    attention_svg.py SCOPE OUT.svg JSON...        SCOPE: core or block"""
import json
import math
import sys

COLORS = ["#333333", "#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b"]
W, H, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 60, 200, 20, 45


def read(scope, paths):
    best = {}
    for path in paths:
        for case in json.load(open(path))["cases"]:
            if case["scope"] != scope:
                continue
            line = best.setdefault(case["name"], {})
            for x in case["lengths"]:
                line[x["tokens"]] = min(x["ms"], line.get(x["tokens"], math.inf))
    return best


def draw(lines):
    tokens = sorted({n for line in lines.values() for n in line})
    times = [t for line in lines.values() for t in line.values()]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    x = lambda n: LEFT + (W - LEFT - RIGHT) * math.log(n / tokens[0]) / math.log(tokens[-1] / tokens[0])
    y = lambda t: TOP + (H - TOP - BOTTOM) * (high - math.log10(t)) / (high - low)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {W} {H}" font-family="sans-serif" font-size="12">', f'<rect width="{W}" height="{H}" fill="white"/>']
    for n in tokens:
        name = f"{n // 1024}k" if n % 1024 == 0 else str(n)
        out.append(f'<path d="M{x(n):.1f} {TOP}V{H - BOTTOM}" stroke="#ddd"/><text x="{x(n):.1f}" y="{H - BOTTOM + 16}" text-anchor="middle">{name}</text>')
    for e in range(low, high + 1):
        name = f"{10**e:g} ms" if e < 3 else f"{10 ** (e - 3):g} s"
        out.append(f'<path d="M{LEFT} {y(10**e):.1f}H{W - RIGHT}" stroke="#ddd"/><text x="{LEFT - 6}" y="{y(10**e) + 4:.1f}" text-anchor="end">{name}</text>')
    out.append(f'<text x="{(LEFT + W - RIGHT) / 2}" y="{H - 8}" text-anchor="middle">tokens</text>')
    last = -math.inf
    for i, (name, line) in enumerate(sorted(lines.items(), key=lambda item: -max(item[1].items())[1])):
        color, at = COLORS[i % len(COLORS)], sorted(line.items())
        out.append(f'<path d="M{"L".join(f"{x(n):.1f} {y(t):.1f}" for n, t in at)}" fill="none" stroke="{color}" stroke-width="2"/>')
        out += [f'<circle cx="{x(n):.1f}" cy="{y(t):.1f}" r="2.5" fill="{color}"/>' for n, t in at]
        last = max(last + 15, y(at[-1][1]) + 4)
        out.append(f'<text x="{W - RIGHT + 8}" y="{last:.1f}" fill="{color}">{name}</text>')
    return "\n".join(out + ["</svg>", ""])


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    lines = read(sys.argv[1], sys.argv[3:])
    if not lines:
        sys.exit(f"attention_svg: no case of scope '{sys.argv[1]}'")
    open(sys.argv[2], "w").write(draw(lines))
