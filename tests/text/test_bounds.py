"""All kernels of text and langid once with bounds checking, with a numba cache of its own (a warm one would not check)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKED = """
import random
import numpy as np, pyarrow as pa
from curate import langid, text
from curate.text import exceptions, kernels, reference, shingling, unicode

one = np.zeros(1, np.uint64)
try:  # a word said to end beyond the text: must raise, or nothing here checks anything
    data = np.zeros(4, np.uint8)
    data.flags.writeable = False
    kernels.word_attributes(data, np.zeros(1, np.int64), np.full(1, 5, np.int64), *unicode.tables(), np.zeros(1, np.int32),
                            np.zeros(1, np.uint8), one, one.copy())
except IndexError:
    pass
else:
    raise SystemExit("bounds checking is off")

shingling.LONG_BYTES, shingling.PIECE_BYTES = 0, 9
rng = random.Random(7)
alphabet = "aÄõ中😀\\u0301 .…,'’s+-—:#•/0€\\n\\r\\u2028"
pieces = [*exceptions.exceptions(), "www.", "ee", "http://", "@", ":80", "/x-y", "1.2.3.4"]
rows = ["", ".", "+", "'s", "a" * 900, ".." * 400, "😀" * 700, "8)" * 500, "a.b@" * 300, "a.ee:1"] + [
    "".join(rng.choices(alphabet, k=rng.randrange(60))) for _ in range(2000)
] + ["".join(rng.choices([*pieces, *alphabet], k=rng.randrange(8))) for _ in range(2000)]
array = pa.array(rows, pa.large_string())
for batch in text.batches(array, 5000):
    data, offsets = text.buffers(batch)
    data = data[: offsets[-1]].copy()  # nothing behind the last text to read by mistake
    seg = text.segment(data, offsets)
    for i, row in enumerate(batch.to_pylist()):
        spans = range(seg.doc_ptr[i], seg.doc_ptr[i + 1])
        assert [data[seg.start[w] : seg.end[w]].tobytes().decode() for w in spans] == reference.words_reference(row), row
    text.length_counts(data, offsets, seg)
    text.gopher_quality_counts(data, offsets, seg, np.array([text.word_hash("a"), text.word_hash("s")], np.uint64))
    text.signatures(seg, ngram=5, bands=16, rows=7, seed=1)
    text.normalised_hashes(data, offsets)
    text.shingle_sets(seg, np.arange(len(batch))[::2], 5)
    text.folded(data, seg, ("digits", "diacritics"))
    for i in range(0, len(batch), 7):  # a document alone, as if it were too long for a batch
        alone = offsets[i : i + 2] - offsets[i]
        text.signatures_of(data[offsets[i] : offsets[i + 1]].copy(), alone, None, "rules", ngram=3, bands=5, rows=3, seed=1)
    for langid.MIN_SEGMENT_BYTES in (1, 7, 200):
        langid.segments(data, offsets)
    for windows in (0, 1, 3):
        langid.identify(data, offsets, langid.Spec(candidates=("et", "en"), windows=windows, window_bytes=100))
print("checked")
"""


@pytest.mark.slow
def test_no_kernel_reads_or_writes_out_of_bounds(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    top = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", CHECKED], env=environment, cwd=top, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "checked\n"), done.stderr
