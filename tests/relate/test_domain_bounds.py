"""The kernels of addresses and of domains' lines with bounds checking, with a numba cache of their own (a warm one checks nothing)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKED = """
import random
import numpy as np
from curate.relate.domains import kernels as lines
from curate.signals.urls import kernels, lists

def frozen(raw):
    return np.frombuffer(raw, np.uint8)

empty = [np.empty(0, np.uint64)] * 4
try:  # an address said to end beyond its bytes: must raise, or nothing here checks anything
    kernels.listed(frozen(b"a.ee"), np.zeros(1, np.int64), np.full(1, 9), np.full(1, 9), *empty, np.empty(1, np.uint64))
except IndexError:
    pass
else:
    raise SystemExit("bounds checking is off")

rng = random.Random(7)
for n in range(400):
    raw = "".join(rng.choices("ab.:/*#w \\n\\r", k=rng.randrange(60))).encode()
    room = raw.count(b"\\n") + 1
    keys = np.empty(room, np.uint64), np.empty(room, np.uint64)
    a, b = kernels.list_keys(frozen(raw), *keys) if raw else (0, 0)
    merged = [*lists._merged([(keys[0][:a].copy(), 1)]), *lists._merged([(keys[1][:b].copy(), 2)])]
    known = lists.Lists(("x", "y", "z"), *merged)
    lists.masks(known, ["a.ee", None, "www.b", "w"], ["/x?y", "", "", "/"])

for n in range(300):
    texts = ["".join(rng.choices("aõ1\\n \\t", weights=[6, 6, 6, 1, 1, 1], k=rng.randrange(80))).encode() for _ in range(rng.randrange(1, 9))]
    offsets = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    data = frozen(b"".join(texts) or b"\\0")[: offsets[-1]]
    domain = np.array([rng.randrange(-1, 3) for _ in texts], np.int32)
    room = int(offsets[-1]) // 11 + len(texts)  # as in domains._lines_of
    key, row, size = np.empty(room, np.uint64), np.empty(room, np.int32), np.empty(room, np.int32)
    m = lines.line_keys(data, offsets, domain, 10, key, row, size)
    out = np.empty(m, np.uint64), np.empty(m, np.int32), np.empty(m, np.int32), np.empty(m, np.int64)
    m = lines.distinct_lines(np.argsort(key[:m], kind="stable"), key[:m], row[:m], size[:m], domain, *out)
    totals = np.zeros(3, np.int64), np.zeros(3, np.int64)
    lines.add_templates(np.argsort(out[0][:m]), *(column[:m] for column in out), 3, *totals)
    assert (totals[1] <= totals[0]).all()
print("checked")
"""


@pytest.mark.slow
def test_no_kernel_reads_or_writes_out_of_bounds(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    top = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", CHECKED], env=environment, cwd=top, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "checked\n"), done.stderr
