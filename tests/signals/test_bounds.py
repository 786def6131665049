"""The kernels of repetition, FineWeb and C4 with bounds checking, on texts with nothing behind them, against plain Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKED = """
import random
import numpy as np, pyarrow as pa
from curate import text
from curate.signals import Batch, c4, fineweb, kernels, repetition
from curate.signals.family import read_only
from tests.signals import reference
from tests.signals.measuring import members, words

try:  # eight bytes of a text of seven: must raise, or nothing here checks anything
    kernels.byte_hash(*read_only(np.zeros(7, np.uint8)), 0, 9)
except IndexError:
    pass
else:
    raise SystemExit("bounds checking is off")

terminal, ends = members(kernels.TERMINAL), members(kernels.SENTENCE_END)
rng = random.Random(11)
pieces = [*"aõ中😀 .\\n[]{'(\\u2028\\u0378", "\\n\\n", "[1]", "cook", "cookies", "use ", "javascript", "lorem ipsum", "terms of use", "\\r",
          "privacy policy", "...", "aeg on käes. ", "[citation needed]", "a b c d e f g h i j k l ", "\\U000E0100", "x" * 70]
rows = ["", ".", "[", "\\n", " ", "õ", "a" * 2100, "\\n" * 900, "õ\\n" * 900, "a " * 900, "[" * 900, "x" * 1001 + " a b."] + [
    "".join(rng.choices(pieces, k=rng.randrange(40))) for _ in range(1500)
]
for part in text.batches(pa.array(rows, pa.large_string()), 5000):
    data, offsets = text.buffers(part)
    data, offsets = read_only(data[offsets[0] : offsets[-1]].copy(), offsets - offsets[0])  # nothing behind the last text
    batch = Batch(part, data if data.size else np.zeros(1, np.uint8), offsets, text.segment(data, offsets))
    found = [m.measure(batch) for m in (repetition, fineweb, c4)]
    texts = part.to_pylist()
    for i, (row, own) in enumerate(zip(texts, words(texts), strict=True)):
        expected = reference.repetition(row, own) | reference.fineweb(row, terminal) | reference.c4(row, ends)
        assert {name: int(column[i]) for columns in found for name, column in columns.items()} == expected, row
print("checked")
"""


@pytest.mark.slow
def test_no_kernel_reads_or_writes_out_of_bounds(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    top = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", CHECKED], env=environment, cwd=top, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "checked\n"), done.stderr
