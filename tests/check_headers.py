#!/usr/bin/env python3
"""Fails when a header does not compile alone: check_headers.py ROOT CC [CXX].

Every header as C11; the installed ones as C++11 too, and without the project's include path. Also: guards are XC_<PATH>_H, and no two
files of the tree share a name (except under runtime/kernels/<isa>/).
"""
import collections
import concurrent.futures
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

TOPS = ['include', 'runtime', 'formats', 'compress', 'cli']
# Fragments and per-ISA headers that need their folder's compiler flags.
SKIP = re.compile(r'^runtime/kernels/(avx2|avxvnni|avx512vnni|avx512vbmi|avx512bf16|neon|lanes|tile)/')

# Names that two folders share on purpose: an op and a data structure, a format and what it makes, a family and its attention.
TWINS = {'longformer.c', 'pool.c', 'reformer.c', 'tokenizer.c', 'tokenizer.h'}


def compiles(cmd, text, suffix):
    with tempfile.NamedTemporaryFile('w', suffix=suffix) as f:
        f.write(text)
        f.flush()
        r = subprocess.run(cmd + [f.name], capture_output=True, text=True)
    return None if r.returncode == 0 else r.stderr.strip()


def guard_of(path):
    """Installed headers are known by the name a user writes: XC_STATUS_H for xcompress/status.h."""
    path = re.sub(r'^include/xcompress/', '', path)
    return 'XC_' + re.sub(r'[^A-Z0-9]', '_', path.upper())


def main():
    root, cc, cxx = pathlib.Path(sys.argv[1]), shlex.split(sys.argv[2]), shlex.split(sys.argv[3]) if len(sys.argv) > 3 else None
    warn = ['-Wall', '-Wextra', '-Werror', '-fsyntax-only']
    c = cc + ['-std=c11', '-D_GNU_SOURCE', '-DXC_VERSION="0"', '-I', str(root), '-I', str(root / 'include')] + warn
    problems, jobs, names = [], [], collections.defaultdict(list)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for top in TOPS:
            for file in sorted((root / top).rglob('*.[ch]')) if (root / top).is_dir() else []:
                path = file.relative_to(root).as_posix()
                if not re.match(r'runtime/kernels/\w+/', path):
                    names[file.name].append(path)
                if file.suffix != '.h' or SKIP.match(path):
                    continue
                text = file.read_text(errors='replace')
                if f'#ifndef {guard_of(path)}\n' not in text:
                    problems.append(f'{path}: guard is not {guard_of(path)}')
                # Twice: the guard must work too.
                include = re.sub('^include/', '', path)
                body = f'#include "{include}"\n#include "{include}"\nextern int xc_check_headers;\n'
                jobs.append((path, 'C', pool.submit(compiles, c, body, '.c')))
                if path.startswith('include/') and cxx and shutil.which(cxx[0]):
                    cpp = cxx + ['-std=c++11', '-I', str(root / 'include')] + warn
                    jobs.append((path, 'C++', pool.submit(compiles, cpp, body, '.cpp')))
                    plain = cc + ['-std=c11', '-pedantic', '-I', str(root / 'include')] + warn
                    jobs.append((path, 'strict C', pool.submit(compiles, plain, body, '.c')))
        problems += [f'{path}: does not compile alone as {lang}:\n{job.result()}' for path, lang, job in jobs if job.result()]
    problems += [f'{name}: two files have this name: {", ".join(p)}' for name, p in names.items() if len(p) > 1 and name not in TWINS]
    if not jobs:
        problems.append(f'{root}: no headers found')
    print('\n'.join(problems))
    sys.exit(1 if problems else 0)


if __name__ == '__main__':
    main()
