"""Our signals and presets against datatrove's own filters on real texts, with the same words.

Every *.jsonl.zst of et_text, en_text, code and math, cut at line ends into documents of 200 to 12,000 characters. All integer signals
are compared, and what our rules decide and why. `python -m tests.signals.test_against_datatrove` writes the table of agreement to
docs/evidence/against_datatrove.txt; the default run takes a few documents of every file.
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
import zstandard

from curate.recipe import load_recipe
from curate.rules import judge, rules_of
from curate.signals import gopher, measure
from curate.store import Store
from tests.signals.measuring import words
from tests.signals.test_measure import documents

FOLDERS = {"et": ["et_text"], "en": ["en_text", "code", "math"]}  # by the language of the stop words
PRESETS = {
    "gopher_quality": "gopher/quality", "gopher_repetition": "gopher/repetition", "fineweb_quality": "fineweb/quality",
    "c4": "c4/quality",
}  # fmt: skip
RECIPE = """
kind: cpt
name: compare
tokenizer: {{model: t}}
sources: {{a: {{read: x.jsonl, language: {language}, license: {{declared: CC0-1.0}}}}}}
rules: {rules}
mixture: {{total: 1k tokens, sequence_length: 64, components: {{c: {{from: a, role: target, budget: 1k tokens}}}}}}
"""
MAX_CHARS_PER_FILE = 20_000_000  # all of them; less where a quicker look is enough


class Difference(NamedTuple):
    file: str
    document: int
    what: str
    ours: object
    theirs: object
    cause: str


class Result(NamedTuple):
    n_documents: Counter  # by file
    n_chars: Counter
    same: Counter  # (file, family) -> documents with the same decision and reason
    n_signals: int
    differences: list[Difference]


def pieces(file: Path, limit: int) -> list[str]:
    """Documents of 200 to 12,000 characters (lines are never cut: one of more than 12,000 stays whole), up to `limit` characters."""
    with open(file, "rb") as raw:
        stream = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw), encoding="utf-8", newline="\n")
        rows = [json.loads(line) for line in stream]
    rng = random.Random(file.name)
    found = list(_cut((row.get("text") or row.get("html") or "" for row in rows), rng))
    rng.shuffle(found)
    total, chosen = 0, []
    for piece in found:
        if total + len(piece) <= limit or not chosen:
            chosen.append(piece)
            total += len(piece)
    return chosen


def _cut(texts: Iterator[str], rng: random.Random) -> Iterator[str]:
    """Sizes are spread evenly over the logarithm; texts that are too short are joined to the next, by a line end."""
    piece = ""
    for text in texts:
        size = int(200 * 60 ** rng.random())
        for line in text.splitlines(keepends=True):
            if piece and len(piece) >= 200 and len(piece) + len(line) > size:
                yield piece
                piece, size = "", int(200 * 60 ** rng.random())
            piece += line
        if len(piece) >= 200:
            yield piece
            piece = ""
        elif piece and not piece.endswith("\n"):
            piece += "\n"


def ours(folder: Path, texts: list[str], language: str) -> tuple[list[dict[str, int]], dict[str, list[str | None]]]:
    """(all integer signals of every text, for every family the reason of every text), measured and judged as a build does it."""
    store = Store(folder / "store")
    stage = documents(store, texts)
    reasons: dict[str, list[str | None]] = {}
    columns: dict[str, list] = {}
    for family in PRESETS:
        path = folder / f"{family}.yaml"
        path.write_text(RECIPE.format(language=language, rules=f"[{{preset: {PRESETS[family]}}}]"))
        recipe = load_recipe(path, [])
        signals, _, work = measure.tasks(store, recipe, {"a": stage})
        for task in work:
            if not task.is_done:
                task.fn(*task.args)
        for measured in signals.values():
            measured.finish(["00000"])
        own = rules_of(recipe.rules, "a")
        judged = judge(recipe.rules, "a", "00000", len(texts), signals)
        reasons[family] = [own[i].name if i >= 0 else None for i in judged.first.tolist()]
        columns |= pq.read_table(signals["a", family].shard_path("00000") / f"{family}.parquet").drop(["id"]).to_pydict()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)], reasons


def compare(data: Path, folder: Path, limit: int, patch: pytest.MonkeyPatch) -> Result:
    from tests.signals.against import Rival

    result = Result(Counter(), Counter(), Counter(), 0, [])
    for language, places in FOLDERS.items():
        rival = Rival(list(gopher.stop_words(language)), patch)
        files = [
            (f"{place}/{f.name.partition('.')[0]}", f) for place in places for f in sorted((data / place).glob("*.jsonl.zst"))
        ]
        given = [(name, i, text) for name, file in files for i, text in enumerate(pieces(file, limit))]
        texts = [text for _, _, text in given]
        (folder / language).mkdir()
        counted, reasons = ours(folder / language, texts, language)
        for row, ((name, i, text), own) in enumerate(zip(given, words(texts), strict=True)):
            result.n_documents[name] += 1
            result.n_chars[name] += len(text)
            counts, theirs = rival.take(text, own)
            result = result._replace(n_signals=len(counts))
            for column, value in counts.items():
                if counted[row][column] != value:
                    cause = why(column, own, counted[row][column])
                    result.differences.append(Difference(name, i, column, counted[row][column], value, cause))
            for family, reason in theirs.items():
                if reasons[family][row] == reason:
                    result.same[name, family] += 1
                else:
                    cause = why_decided(reasons[family][row], reason, counted[row], counts)
                    result.differences.append(Difference(name, i, family, reasons[family][row], reason, cause))
    return result


def why(column: str, own: list[str], value: int) -> str:
    """The known cause, where it is shown to be the one: over sequences of words datatrove's count would be ours."""
    if column.startswith("n_duplicate_") and column.endswith("gram_chars"):
        from tests.signals.reference import repetition

        if repetition("", own)[column] == value:
            return "datatrove joins the words: equal letters, other words"
    return "unexplained"


def why_decided(mine: str | None, theirs: str | None, counted: dict[str, int], counts: dict[str, int]) -> str:
    if {mine, theirs} == {"max_n_lorem_ipsum_lines", "max_n_curly_bracket_lines"}:
        return "both refuse; datatrove names the line that comes first"
    if any(counted[column] != value for column, value in counts.items()):
        return "a signal differs, see there"
    return "unexplained"


def table(result: Result) -> str:
    families = list(PRESETS)
    lines = [f"{'same decision and reason':<36}{'documents':>10}{'MB chars':>10}" + "".join(f"{f:>20}" for f in families)]
    rows = [*sorted(result.n_documents), "all"]
    for name in rows:
        of = [n for n in result.n_documents if name in (n, "all")]
        n = sum(result.n_documents[x] for x in of)
        shares = [sum(result.same[x, f] for x in of) for f in families]
        shown = "".join(f"{s:>11} {100 * s / n:>6.2f} %" for s in shares)
        lines.append(f"{name:<36}{n:>10}{sum(result.n_chars[x] for x in of) / 1e6:>10.2f}{shown}")
    documents_ = len({(d.file, d.document) for d in result.differences if d.what not in families})
    lines.append(f"{result.n_signals} integer signals compared in each document; some differ in {documents_} documents")
    lines += [f"{d.file} #{d.document} {d.what}: ours {d.ours}, datatrove's {d.theirs}: {d.cause}" for d in result.differences]
    return "\n".join(lines) + "\n"


def check(result: Result, share: float) -> None:
    """No difference without a known cause; at least `share` of all decisions and reasons equal; signals differ in at most 0.3 %."""
    assert not [d for d in result.differences if d.cause == "unexplained"]
    n = sum(result.n_documents.values())
    for family in PRESETS:
        assert sum(v for (_, f), v in result.same.items() if f == family) >= share * n, family
    assert len({(d.file, d.document) for d in result.differences if d.what not in PRESETS}) <= 0.003 * n


def test_a_few_documents_of_every_file(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(compare(data, tmp_path, 12_000, monkeypatch), 0.99)


@pytest.mark.slow
def test_all_files(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = compare(data, tmp_path, MAX_CHARS_PER_FILE, monkeypatch)
    print(table(result))
    check(result, 0.999)


def main() -> None:
    data = Path(os.environ.get("VESKI_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        result = compare(data, Path(folder), MAX_CHARS_PER_FILE, patch)
    sys.stdout.write(table(result))
    check(result, 0.999)


if __name__ == "__main__":
    main()
