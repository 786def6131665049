"""The kernels of repeats with bounds checking, with a numba cache of their own (a warm one checks nothing)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKED = """
import random
import numpy as np
import pyarrow as pa
from curate import text
from curate.relate.repeats import kernels, lines, substrings
from curate.relate.repeats.counts import Places
from curate.signals.family import read_only

try:  # a text said to end beyond its bytes: must raise, or nothing here checks anything
    kernels.line_keys(*read_only(np.zeros(1, np.uint8), np.array([0, 9])), text.tables()[0], False, *(np.empty(9, t) for t in (
        np.int32, np.int64, np.int64, np.uint64, np.uint32)))
except IndexError:
    pass
else:
    raise SystemExit("bounds checking is off")

rng = random.Random(7)
for n in range(200):
    texts = ["".join(rng.choices("aõ \\n", weights=[4, 2, 4, 1], k=rng.randrange(150))) for _ in range(rng.randrange(1, 9))]
    array = pa.array(texts, pa.large_string())
    data, offsets = read_only(*text.buffers(array))
    seg = text.segment(data, offsets)
    k, w = substrings.winnowing(rng.randrange(8, 12))
    m = len(seg.hash)
    words = read_only(seg.doc_ptr, seg.hash)
    row, key = np.empty(m, np.int32), np.empty(m, np.uint64)
    some = np.unique(key[: kernels.anchors(*words, k, w, row, key)])[::2]
    position, check = np.empty(m, np.int64), np.empty(m, np.uint32)
    m = kernels.windows(*words, k, w, kernels.hash_table(some), some, row, position, key, check)
    begin, stop = np.empty(m, np.int64), np.empty(m, np.int64)
    of = read_only(data, offsets, seg.doc_ptr, seg.start, seg.end)
    kernels.run_bytes(*of, row[:m].astype(np.int64), position[:m], position[:m] + k + w - 2, begin, stop)
    assert (begin < stop).all()
    runs = Places(row[:m], position[:m], position[:m], key[:m], check[:m])
    for places in (runs, lines.find(array, False), lines.find(array, True)):
        domain = np.array([rng.randrange(-1, 3) for _ in texts], np.int32)
        size = len(places.key)
        out = [np.empty(size, t) for t in (np.uint64, np.uint32, np.int32, np.int32, np.int32)]
        r = kernels.distinct(np.argsort(places.key), places.key, places.check, places.row, domain, *out)
        out = [column[:r] for column in out]
        counted = [np.zeros(r, t) for t in (np.int32, np.int32, np.int32, np.uint8)]
        shard = np.zeros(r, np.int32)
        kernels.count_equal(np.argsort(out[0]), *out[:2], shard, np.zeros(1, np.int32), *out[2:], 1, *counted)
        group = np.flatnonzero(np.append(True, out[0][1:] != out[0][:-1]))[:r]
        found = np.empty(size, np.int64)
        ptr = np.append(group, r)
        table = kernels.hash_table(out[0][group])
        kernels.of_records(places.key, places.check, domain[places.row], table, out[0][group], out[1][group], ptr, out[2], found)
        assert (found >= 0).all() and (out[0][found] == places.key).all()
        bits = np.empty(size, np.uint8)
        kernels.first_places(found, np.arange(r), counted[3], np.zeros(r, np.uint8), bits)
print("checked")
"""


@pytest.mark.slow
def test_no_kernel_reads_or_writes_out_of_bounds(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    top = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", CHECKED], env=environment, cwd=top, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "checked\n"), done.stderr
