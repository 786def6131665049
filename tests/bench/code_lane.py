"""Code and mathematics on real files: `python -m tests.bench.code_lane`. Files: VESKI_TEST_DATA (or ../shared/data), code/ and math/.

Kinds of code_files against the collector's hint (file names and headers, no ground truth), languages, licences, parsers, secrets with
what they are; formulas of LaTeX sources found again in the readable text; formulas of the book that near duplicates would confuse.
"""

from __future__ import annotations

import collections
import itertools
import re
import time
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from curate import text
from curate.recipe import License, Source
from curate.signals import code, secrets
from curate.signals.family import Batch
from curate.sources.lanes import lane_of
from curate.sources.lanes.math import latex
from curate.text import symbols
from tests.bench.lm import rows

KINDS = ("minified", "generated", "vendored", "test", "data", "normal")
SHOWN = 6
COLUMN = {"test": "is_test_file", "data": "is_data_file"}


def main() -> None:
    files = rows("code/code_files")
    of_code(files)
    of_secrets(files)
    of_latex()
    of_duplicates()


def of_code(files: list[dict]) -> None:
    lane = lane_of(Source(name="c", read=["-"], type="code", license=License(from_field="license")), 10**9)
    started = time.process_time()
    mapped = [lane(dict(row)) for row in files]
    n_bytes = sum(len(row["text"].encode()) for row in files)
    print(
        f"{len(files)} files, {n_bytes / 1e6:.1f} MB; lane {n_bytes / 1e6 / (time.process_time() - started):.1f} MB/s/core, ",
        end="",
    )
    array = pa.array([fields["text"] for fields in mapped], pa.large_string())
    batch = Batch(array, *text.buffers(array), None, {"extra": pa.array([fields["extra"] for fields in mapped])})
    code.measure(batch)
    started = time.process_time()
    found = code.measure(batch)
    print(f"signals {n_bytes / 1e6 / (time.process_time() - started):.1f} MB/s/core\n")

    def kind(i: int) -> str:
        return next((k for k in KINDS[:-1] if found[COLUMN.get(k, f"is_{k}")][i]), "normal")

    pairs = collections.defaultdict(list)
    for i, row in enumerate(files):
        pairs[row["meta"]["kind"], kind(i)].append(row["id"])
    hints = sorted({hint for hint, _ in pairs})
    print(f"{'hint (rows), signals (columns)':32s}" + "".join(f"{k:>10s}" for k in KINDS))
    for hint in hints:
        print(f"{hint:32s}" + "".join(f"{len(pairs[hint, k]):10d}" for k in KINDS))
    same = {"config/data": "data"}
    for (hint, mine), ids in sorted(pairs.items()):
        if ids and same.get(hint, hint) != mine:
            print(f"  {hint} -> {mine}: {'; '.join(ids[:SHOWN])}{' ...' if len(ids) > SHOWN else ''}")

    print("\nlanguage declared -> found, how")
    languages = collections.Counter(
        (row["language"], found["code_language"][i] or "-", _about(fields).get("language_by", "-"))
        for i, (row, fields) in enumerate(zip(files, mapped, strict=True))
    )
    for (declared, name, how), n in languages.most_common():
        print(f"  {declared:12s} {name:18s} {how:10s} {n:5d}")
    print("\nlicence declared -> concluded where they differ or a header says it")
    licences = collections.Counter(
        (row["license"], f["license"], _shape(f["license_evidence"])) for row, f in zip(files, mapped, strict=True)
    )
    for (declared, concluded, evidence), n in licences.most_common():
        print(f"  {declared:28s} {concluded:32s} {evidence:28s} {n:5d}")
    parsed = collections.Counter((found["code_language"][i], found["is_parsed"][i]) for i in range(len(files)))
    told = ", ".join(f"{name} {parsed[name, 1]} of {parsed[name, 1] + parsed[name, 0]}" for name in ("Python", "JSON", "TOML"))
    print(f"\nparsed: {told}")
    of_grammars(files, found)


def of_grammars(files: list[dict], found: dict) -> None:
    """By tree-sitter: files without an error, and of the others how much stands under errors."""
    seen = collections.defaultdict(list)
    for row, language, n, chars in zip(
        files, found["code_language"], found["n_parse_errors"], found["n_parse_error_chars"], strict=True
    ):
        if n is not None:
            seen[language].append((n, chars / max(len(row["text"]), 1), row["id"]))
    for language, of in sorted(seen.items()):
        wrong = sorted((share, name) for n, share, name in of if n)
        worst = f"; most: {wrong[-1][0]:.2%} of {wrong[-1][1]}" if wrong else ""
        print(f"  grammar of {language}: {len(of) - len(wrong)} of {len(of)} without an error{worst}")
    print()


def _about(fields: dict) -> dict:
    import json

    return json.loads(fields["extra"])["code"]


def _shape(evidence: str | None) -> str:
    return (evidence or "-").split(":")[0].split(",")[0]


def of_secrets(files: list[dict]) -> None:
    sets = {
        "code/code_files": files,
        **{name: (rows(name)) for name in ("et_text/tara_doku", "et_text/progeopik_rst", "en_text/18f_posts")},
    }
    print("secrets: every span there is")
    for name, listed in sets.items():
        array = pa.array([row["text"] for row in listed], pa.large_string())
        data, offsets = text.buffers(array)
        started = time.process_time()
        spans = secrets.measure(Batch(array, data, offsets, None))["spans"]
        speed = len(data) / 1e6 / (time.process_time() - started)
        print(f"  {name}: {len(listed)} texts, {len(data) / 1e6:.1f} MB, {speed:.0f} MB/s/core, {len(spans.row)} spans")
        for row, a, b, kind in zip(*(column.tolist() for column in spans), strict=True):
            body = listed[row]["text"].encode()
            around = (body[max(a - 40, 0) : a] + body[a : min(a + 8, b)] + b"...").decode(errors="replace").replace("\n", " ")
            print(f"    {secrets.KINDS[kind]:16s} {listed[row]['id']}: {' '.join(around.split())}")
    print()


def _formulas(body: str) -> list[str]:
    data = body.encode()
    found = symbols.formulas(np.frombuffer(data or b"\0", np.uint8), np.array([0, len(data)], np.int64))
    return [re.sub(r"\s|\\label\s*\{[^}]*\}", "", data[a:b].decode()) for a, b in found.inside.tolist()]


def _expected(source: str) -> list[str]:
    """Formulas of the body of a source, outside comments and what a reader never sees (definitions, index entries, references)."""
    body = latex.without_definitions(latex._COMMENT.sub(r"\1", source)).partition("\\end{document}")[0]
    begin = re.search(r"\\begin\s*\{document\}", body)
    held: list[str] = []
    seen = latex._without_groups(latex._hold_formulas(body[begin.end() :] if begin else body, held), latex._GONE)
    return [formula for match in latex._HELD.finditer(seen) for formula in _formulas(held[int(match[1])])]


def of_latex() -> None:
    print(
        f"{'LaTeX sources':28s}{'texts':>7s}{'MB/s':>7s}{'formulas':>10s}{'found again':>13s}{'commands left in prose, a kB':>30s}"
    )
    for name in ("math/hott_book_tex", "math/latexml_pairs"):
        sources = [row["text"] for row in rows(name) if latex.is_latex(row["text"])]
        started = time.process_time()
        made = [latex.readable(body, expand=False) for body in sources]
        speed = sum(map(len, sources)) / 1e6 / (time.process_time() - started)
        n = again = 0
        lost: list[str] = []
        for source, body in zip(sources, made, strict=True):
            wanted = collections.Counter(_expected(source))
            n += wanted.total()
            found = collections.Counter(_formulas(body))
            again += (wanted & found).total()
            lost += [formula[:60] for formula in (wanted - found).elements()]
        left = sum(len(re.findall(r"\\[A-Za-z]+", _without_formulas(body))) for body in made)
        print(f"{name:28s}{len(made):7d}{speed:7.1f}{n:10d}{again / n:13.2%}{1000 * left / sum(map(len, made)):30.2f}")
        print(*(f"    lost: {formula}" for formula in lost), sep="\n")
    print()


def _without_formulas(body: str) -> str:
    data = body.encode()
    found = symbols.formulas(np.frombuffer(data or b"\0", np.uint8), np.array([0, len(data)], np.int64))
    ends = [0, *itertools.chain.from_iterable(found.outer.tolist()), len(data)]
    return b" ".join(data[a:b] for a, b in zip(ends[::2], ends[1::2], strict=True)).decode()


def of_duplicates() -> None:
    """One story around each of the book's formulas: pairs of other formulas that words take for near duplicates."""
    book = [formula for row in rows("math/hott_book_tex") for formula in _formulas(row["text"])]
    drawn = sorted({formula for formula in book if 1 <= len(formula) <= 40 and "$" not in formula})[::37][:200]
    story = ("For every type in the universe that we have fixed at the beginning of this chapter there is an element", "and so the claim follows by "
             "induction on the length of the path that was given in the statement above.")  # fmt: skip
    texts = [f"{story[0]} ${formula}$ {story[1]}" for formula in drawn]
    print(
        f"one sentence around {len(drawn)} different formulas of the book: pairs at or above Jaccard 0.7 (5-grams), equal normalised texts"
    )
    for words in ("rules", "math"):
        data, offsets = text.buffers(pa.array(texts, pa.large_string()))
        ptr, hashes = text.shingle_sets_of(data, offsets, words, 5)
        sets = [set(hashes[a:b].tolist()) for a, b in itertools.pairwise(ptr.tolist())]
        near = sum(_jaccard(a, b) >= 0.7 for a, b in itertools.combinations(sets, 2))
        equal = len(texts) - len(set(map(bytes, text.normalised_hashes(data, offsets, words))))
        print(f"  words: {words:6s} near {near:6d} of {len(texts) * (len(texts) - 1) // 2}, equal {equal}")


def _jaccard(a: set, b: Iterable) -> float:
    both = a | set(b)
    return len(a & set(b)) / len(both) if both else 0.0


if __name__ == "__main__":
    main()
