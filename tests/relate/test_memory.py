"""Bytes resident per document of the whole relate, by the slope between two sizes, each in a process of its own.

Documents are drawn (drawn.py). Anonymous memory is counted: what is mapped from files of the store is the page cache's. Stated
bounds: buckets 40 bytes a document whatever they share, resolve and clusters 96 a document that shares a bucket.
"""

from __future__ import annotations

import pytest

from curate.relate import spill
from tests.memory import measured, needs_proc
from tests.relate import drawn

pytestmark = [needs_proc, pytest.mark.slow]

CODE = """
from pathlib import Path
from curate.engine import quietly
from curate.relate import buckets, resolve, spill
from tests.relate import drawn
folder, n, what, part_rows = sys.argv[1:]
spill.PART_ROWS, resolve.PART_BYTES, buckets.BLOCK_ROWS = int(part_rows), 1 << 20, 1 << 14
with quietly():
    small = drawn.stages(Path(folder) / "small", 50_000, size=8, in_clusters=0.5)  # compiles; its buffers are the baseline's
    found = drawn.grouped(small)
    drawn.clustered(small, found, drawn.sets(small, found))
    made = drawn.opened(Path(folder), int(n))
    if what == "clusters":
        found = drawn.grouped(made)  # stands in the store
    reset()
    before = resident()
    with Anonymous() as seen:
        if what == "buckets":
            found = drawn.grouped(made)
        else:
            drawn.clustered(made, found, drawn.sets_stage(made, found))
print(peak() - before if what == "buckets" else seen.most - seen.first, found.info()["rows"])
"""
SIZES = (200_000, 1_000_000)  # a slope over 0.8 M documents: a MB of chance is 1.25 bytes


def slope(tmp_path, what, part_rows, **given) -> tuple[float, float]:
    """(bytes per document, bytes per member)."""
    found = []
    for n in SIZES:
        made = drawn.stages(tmp_path / str(n), n, size=8, **given)
        if what == "clusters":
            drawn.sets(made, drawn.grouped(made))
        found.append(measured(CODE, tmp_path / str(n), n, what, part_rows))
    (a, m_a), (b, m_b) = found
    return (b - a) / (SIZES[1] - SIZES[0]), (b - a) / (m_b - m_a)


@pytest.mark.parametrize(("given", "part_rows", "least", "most"), [
    ({"in_clusters": 0.3}, spill.PART_ROWS, 8, 40),  # one partition: it grows with the corpus up to PART_ROWS
    ({"template": 0.95}, 1 << 14, 8, 40),  # pages of one key: its partition is as large as they are many
    # Many partitions: parent, labels and flag, 9 bytes, are left, and at these sizes less than the buffers all sizes have.
    ({"in_clusters": 0.3}, 1 << 14, -2, 16),
])  # fmt: skip
def test_buckets(tmp_path, given, part_rows, least, most):
    per_document, _ = slope(tmp_path, "buckets", part_rows, **given)
    assert least < per_document <= most, per_document


@pytest.mark.parametrize("given", [{"in_clusters": 1.0}, {"template": 0.9}])
def test_resolve_and_clusters(tmp_path, given):
    """All documents share a bucket: in clusters of a few, or all of them in one component."""
    _, per_member = slope(tmp_path, "clusters", 1 << 14, **given)
    assert 8 < per_member <= 96, per_member
