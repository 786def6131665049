"""The same vectors, order and stream on another NumPy than the one installed: nothing of a row's place is NumPy's to decide.

pip puts the other version into a folder that goes before the installed one; kernels are compiled anew there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.mixture import two_phases

TOP = Path(__file__).resolve().parents[2]
OTHER = "2.2.6"

# Prints what this NumPy makes of a build: our code, and the forty lines that are not ours.
SAID = """
import json, sys
from pathlib import Path
import numpy as np
from mixture import order
from mixture.stream import START, Stream, advance, row_hash
from tests.mixture import independent

build = Path(sys.argv[1])
manifest = json.loads((build / "manifest.json").read_text())
sizes = (1, 2, 10, 1000, 4097)
stream, state = Stream(build / "manifest.json"), START
for i in range(stream.n_sequences):
    row = stream.row(i)
    state = advance(state, row_hash(row.input_ids, row.document))
print(json.dumps({
    "numpy": np.__version__,
    "vectors": [order.permutation(10, 0).tolist(), order.permutation(1000, 2**64 - 1, count=5).tolist()],
    "permutations": [order.permutation(n, order.key(42, "sequences", "main", "et", "0")).tolist() for n in sizes],
    "interleave": order.interleave([5, 3, 0, 2, 41]).tolist(),
    "stream": state.hex(),
    "their permutations": [list(independent.permutation(n, "42", "sequences", "main", "et", "0")) for n in sizes],
    "their order": list(independent.order(manifest)),
    "their stream": independent.stream_hash(build, manifest),
}))
"""


def said(build: Path, folder: Path, *first: str) -> dict:
    path = os.pathsep.join([*first, str(TOP)])
    environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(folder / f"kernels-{len(first)}")}
    done = subprocess.run([sys.executable, "-c", SAID, str(build)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_another_numpy_finds_the_same(tmp_path):
    if np.__version__ == OTHER:
        pytest.skip(f"NumPy {OTHER} is the one installed: change OTHER in this file to another")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run([*command, "--target", str(tmp_path / "numpy"), f"numpy=={OTHER}"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip could not install numpy=={OTHER}, this test needs a package registry: {done.stderr.strip()[-300:]}")
    build = two_phases.build(tmp_path)
    here, there = said(build, tmp_path), said(build, tmp_path, str(tmp_path / "numpy"))
    assert (here.pop("numpy"), there.pop("numpy")) == (np.__version__, OTHER)
    assert here == there
    assert here["vectors"] == [[2, 0, 8, 1, 9, 7, 4, 5, 6, 3], [532, 496, 668, 654, 563]]  # published in order.py
    assert here["permutations"] == here["their permutations"]
    manifest = json.loads((build / "manifest.json").read_text())
    assert here["stream"] == here["their stream"] == manifest["roots"]["stream"]
    assert here["their order"] == np.load(build / "sequences" / "order.npy").tolist()
