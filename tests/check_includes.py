#!/usr/bin/env python3
"""Fails when an #include points against the one-way order of docs/design.md.

    runtime <- formats <- compress <- cli        inside runtime: base <- kernels <- graph <- container, text, media <- session

An arrow is "may be included by". include/xcompress/ is below everything: its headers include one another and the C library only.
`check_includes.py ROOT` checks a tree; `check_includes.py --selftest` checks that violations are seen.
"""
import pathlib
import re
import sys
import tempfile

# What each folder may include, itself always. Longest prefix wins.
BASE = ['include/xcompress', 'runtime/base']
KERNELS = BASE + ['runtime/kernels']
GRAPH = KERNELS + ['runtime/graph']
RUNTIME = GRAPH + ['runtime/container', 'runtime/text', 'runtime/media', 'runtime/session']
ALLOWED = {
    'include/xcompress': ['include/xcompress'],
    'runtime/base': BASE,
    'runtime/kernels': KERNELS,
    'runtime/graph': GRAPH,
    'runtime/container': GRAPH + ['runtime/container'],
    'runtime/text': GRAPH + ['runtime/text'],
    'runtime/media': GRAPH + ['runtime/media'],
    'runtime/session': RUNTIME,
    'formats': RUNTIME + ['formats'],
    'compress': RUNTIME + ['formats', 'compress'],
    'cli': RUNTIME + ['formats', 'compress', 'cli'],
}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


def folder_of(path):
    """The key of ALLOWED that a repository path lies under, or None."""
    hits = [f for f in ALLOWED if path == f or path.startswith(f + '/')]
    return max(hits, key=len, default=None)


def target_of(root, source, name):
    """The repository path that #include "name" means in source, or None when there is no such file."""
    for candidate in (root / name, root / 'include' / name, (root / source).parent / name):
        if candidate.is_file():
            return candidate.resolve().relative_to(root.resolve()).as_posix()
    return None


def check(root):
    problems = []
    for top in sorted({f.split('/')[0] for f in ALLOWED}):
        for file in sorted((root / top).rglob('*.[ch]')) if (root / top).is_dir() else []:
            source = file.relative_to(root).as_posix()
            folder = folder_of(source)
            if folder is None:
                problems.append(f'{source}: lies in no folder of the order')
                continue
            for name in INCLUDE.findall(file.read_text(errors='replace')):
                target = target_of(root, source, name)
                if target is None:
                    problems.append(f'{source}: #include "{name}": no such file in the tree')
                elif not any(target.startswith(a + '/') for a in ALLOWED[folder]):
                    problems.append(f'{source}: #include "{name}": {folder} may not include {folder_of(target) or target}')
    return problems


def selftest():
    cases = [  # file, what it includes, whether that is a violation
        ('runtime/base/a.h', '', False),
        ('runtime/graph/g.h', '#include "runtime/base/a.h"', False),
        ('runtime/base/b.c', '#include "runtime/graph/g.h"', True),
        ('runtime/text/t.h', '#include "runtime/graph/g.h"', False),
        ('runtime/container/c.c', '#  include "runtime/text/t.h"', True),
        ('runtime/session/s.c', '#include "runtime/text/t.h"', False),
        ('formats/f.h', '#include "runtime/session/none.h"', True),
        ('runtime/kernels/avx2/k.c', '#include "../../graph/g.h"', True),
        ('cli/m.c', '#include "formats/f.h"', False),
        ('compress/x.c', '#include "cli/m.h"', True),
        ('cli/m.h', '', False),
    ]
    with tempfile.TemporaryDirectory() as tmp:
        root = pathlib.Path(tmp)
        for path, text, _ in cases:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text + '\n')
        found = check(root)
    for path, _, bad in cases:
        if any(p.startswith(path + ':') for p in found) != bad:
            sys.exit(f'check_includes selftest: {path}: expected {"a" if bad else "no"} violation; found {found}')


def main():
    if sys.argv[1:] == ['--selftest']:
        return selftest()
    selftest()
    problems = check(pathlib.Path(sys.argv[1]))
    print('\n'.join(problems))
    return sys.exit(1 if problems else 0)


if __name__ == '__main__':
    main()
