"""Results side by side: values and intervals as they are in the files, differences paired by item, a page that needs nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from curate.errors import CurateError
from train.evaluation.compare import compare, page
from train.evaluation.results import ITEMS, RESULTS, write_tables


def write(folder: Path, right: list[bool], *, task: str = "t", model: str = "m", **row: object) -> Path:
    """Results of a task with these items right or wrong."""
    same = {**dict.fromkeys(ITEMS.names), "task": task, "language": "et", "answers": ["x"], "extracted": "0", "details": {}}
    items = [{**same, "item": str(i), "gold": ["0" if r else "1"]} for i, r in enumerate(right)]
    value = sum(right) / len(right)
    about = {
        "task": task,
        "metric": "accuracy",
        "language": "et",
        "value": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "n": len(right),
        "model": model,
    }
    write_tables(folder, [{**dict.fromkeys(RESULTS.names), **about, **row}], items)
    return folder


def test_paired_differences(tmp_path: Path) -> None:
    """200 items; the second model is wrong on 10 that the first has right, right on 40 that it has wrong: +0.15 of 200."""
    a = write(tmp_path / "a", [True] * 100 + [False] * 100)
    b = write(tmp_path / "b", [False] * 10 + [True] * 90 + [True] * 40 + [False] * 60, model="m2")
    found = compare([a, b])
    (line,) = found.lines
    (change,) = line.changes
    assert change is not None and change.change == pytest.approx(0.15) and change.n == 200 and change.differs == ()
    assert (
        0.07 < change.low < 0.12 and 0.18 < change.high < 0.23
    )  # by hand: standard error sqrt((0.25 - 0.15 ** 2) / 200) = 0.034
    assert found.names == ("a", "b") and found.models == ("m", "m2")
    assert "0.5000 [0.4000, 0.6000]" in found.text() and "better" in found.text()


def test_what_was_not_asked_alike(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", [True] * 50, shots=0), write(tmp_path / "b", [False] * 50, shots=5)
    (line,) = compare([a, b]).lines
    assert line.changes[0] is not None and line.changes[0].differs == ("shots",) and not line.changes[0].is_sure
    assert "not alike: shots" in compare([a, b]).text()


def test_three_and_missing_tasks(tmp_path: Path) -> None:
    a, b = write(tmp_path / "x" / "r", [True] * 9), write(tmp_path / "y" / "r", [True] * 9)
    c = write(tmp_path / "z" / "r", [True] * 9, task="other")
    found = compare([a, b, c])
    assert found.names == ("x/r", "y/r", "z/r")
    first, other = found.lines
    assert (first.task, first.scores[2], first.changes[1]) == ("t", None, None)
    assert (other.task, other.scores[0], other.changes) == ("other", None, (None, None))
    with pytest.raises(CurateError, match="no task in common"):
        compare([a, c])
    with pytest.raises(CurateError, match="no results here"):
        compare([a, tmp_path])


def test_the_page_stands_alone(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", [True] * 30 + [False] * 30), write(tmp_path / "b", [True] * 60, model="<b>m & co</b>")
    text = page(compare([a, b]))
    assert "default-src 'none'" in text and not re.search(r"https?://|<script|<link|src=", text)
    assert "&lt;b&gt;m &amp; co&lt;/b&gt;" in text and "<svg" in text
    assert text.count("<circle") == 2 and '<td class="better">+0.5000' in text
