"""Our words against spaCy's in the keep/drop decisions of datatrove's own filters; the filters are the same, only the splitter differs.

`python -m tests.signals.test_against_spacy` runs the whole comparison; its table is docs/evidence/against_spacy.txt. Goals: kernels.md
1.4. Documents: pieces of 200 to 12,000 characters of real texts, cut at line ends, so that thresholds are really exercised.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from curate import text
from curate.signals.gopher import stop_words

pytest.importorskip("spacy", reason="needs spaCy: pip install -e .[bench]")

FILES = {
    "et": [
        "et_text/aa_magazine", "et_text/wiki_et_versions", "et_text/laws", "et_text/ud_edt_dev", "et_text/ud_ewt_train_2022",
        "et_text/tara_doku", "et_text/progeopik_rst", "quality/cefr_learner_texts",
    ],
    "en": ["en_text/18f_posts", "en_text/cc_en_head_0091", "en_text/cc_raw_pages", "en_text/inaugural", "en_text/wikitext2_valid"],
    "code": ["code/code_files"],
}  # fmt: skip
GOALS = {"Gopher quality": 0.985, "Gopher repetition": 0.995, "FineWeb quality": 0.995, "C4 quality": 0.995}
N_DOCUMENTS = 900  # of each language
Verdicts = dict[str, list[str]]  # filter -> "kept" or the reason, document by document


def documents(folder: Path, language: str, n: int) -> list[str]:
    """`n` pieces drawn with a fixed seed, from all files of the language alike."""
    import zstandard

    rng = random.Random(language)
    pieces: list[str] = []
    for name in FILES[language]:
        found: list[str] = []
        with zstandard.open(folder / f"{name}.jsonl.zst", "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                rest = json.loads(line)["text"]
                while len(rest) > 200:
                    cut = rest.find("\n", int(200 * 60 ** rng.random()))
                    piece, rest = (rest, "") if cut < 0 else (rest[: cut + 1], rest[cut + 1 :])
                    found += [piece] if 200 <= len(piece) <= 12_000 else []
        pieces += rng.sample(found, min(len(found), 2 * n // len(FILES[language])))
    return rng.sample(pieces, min(n, len(pieces)))


def sentences(line: str) -> list[str]:
    """spaCy's sentencizer over our words (kernels.md 1.2): only how many there are is right."""
    from spacy.pipeline import Sentencizer

    ends, armed, n = set(Sentencizer.default_punct_chars), False, 0
    words = text.words(line)
    for word in words:
        end = word in ends
        if armed and not end and not all(unicodedata.category(c)[0] == "P" for c in word):
            n += 1
            armed = False
        elif end:
            armed = True
    return [""] * (n + 1) if words else []


def verdicts(language: str, rows: list[str]) -> Verdicts:
    """What datatrove's four filters say with the splitters that are in force."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter

    code = "et" if language == "et" else "en"
    filters: dict[str, Any] = {
        "Gopher quality": GopherQualityFilter(stop_words=list(stop_words(code)), language=code),
        "Gopher repetition": GopherRepetitionFilter(language=code),
        "FineWeb quality": FineWebQualityFilter(language=code),
        "C4 quality": C4QualityFilter(language=code),
    }
    found: Verdicts = {name: [] for name in filters}
    for row in rows:
        for name, one in filters.items():
            verdict = one.filter(Document(text=row, id="0"))
            found[name].append(verdict[1] if isinstance(verdict, tuple) else "kept" if verdict else "dropped")
    return found


def with_our_words(work: Callable[[], Verdicts]) -> Verdicts:
    """`work` with our words and our sentences in place of datatrove's."""
    from contextlib import ExitStack

    place = "datatrove.pipeline.filters"
    with ExitStack() as stack:
        for module in ("gopher_quality_filter", "gopher_repetition_filter", "fineweb_quality_filter"):
            stack.enter_context(mock.patch(f"{place}.{module}.split_into_words", lambda row, language: text.words(row)))
        stack.enter_context(mock.patch(f"{place}.c4_filters.split_into_sentences", lambda line, language: sentences(line)))
        return work()


def compare(language: str, rows: list[str]) -> dict[str, tuple[float, Counter[str], int]]:
    """filter -> (share of documents with the same keep/drop, reasons of the others, documents kept by spaCy's words)."""
    theirs = verdicts(language, rows)
    ours = with_our_words(lambda: verdicts(language, rows))
    found = {}
    for name in theirs:
        pairs = list(zip(theirs[name], ours[name], strict=True))
        flips = Counter(f"{a} with spaCy's words, {b} with ours" for a, b in pairs if (a == "kept") != (b == "kept"))
        found[name] = (1 - flips.total() / len(rows), flips, sum(a == "kept" for a, _ in pairs))
    return found


def causes(language: str, rows: list[str], most: int = 12) -> list[str]:
    """How many chunks between white space the two cut differently, and the shapes that differ most often."""
    import spacy

    nlp = spacy.blank("et" if language == "et" else "en")
    chunks = Counter(chunk for row in rows for chunk in row.split())
    different: Counter[str] = Counter()
    for chunk, n in chunks.items():
        theirs, ours = [t.text for t in nlp(chunk)], text.words(chunk)
        if theirs != ours:
            different[f"{shape(theirs):<24} {shape(ours)}"] += n
    total = chunks.total()
    lines = [
        f"{different.total():,} of {total:,} chunks ({different.total() / total:.2%}) are cut differently; spaCy's cut, ours:"
    ]
    return lines + [f"  {n:>6,}  {pair}" for pair, n in different.most_common(most)]


def shape(words: list[str]) -> str:
    """Words with | between them; a run of letters is a or A, of digits 9: no real text is shown."""
    lowered = ("".join("a" if c.islower() else "A" if c.isalpha() else "9" if c.isdigit() else c for c in w) for w in words)
    return re.sub(r"(.)\1+", r"\1", re.sub("A?a+", "a", "|".join(lowered)))[:60]


@pytest.mark.parametrize("language", FILES)
def test_sixty_documents_are_judged_alike(data: Path, language: str) -> None:
    for name, (same, flips, _) in compare(language, documents(data, language, N_DOCUMENTS)[:60]).items():
        assert same >= 1 - 2 / 60, (name, flips)  # two of sixty: more would be a chance of 1 in 100 at the goal of 98.5 %


@pytest.mark.slow
@pytest.mark.parametrize("language", FILES)
def test_decisions_agree_as_often_as_promised(data: Path, language: str) -> None:
    rows = documents(data, language, N_DOCUMENTS)
    assert len(rows) >= 800
    for name, (same, flips, kept) in compare(language, rows).items():
        assert same >= GOALS[name], (name, same, flips)
        assert 0 < kept < len(rows)  # the filter was exercised


def main() -> None:
    top = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("VESKI_TEST_DATA", top.parent / "shared" / "data"))
    lines = [
        f"Keep/drop of the filters of datatrove {version('datatrove')} with their own words (spaCy {version('spacy')}), "
        f"against the same filters given our words (segmentation {text.SEGMENTATION_VERSION})",
    ]
    for language in FILES:
        rows = documents(folder, language, N_DOCUMENTS)
        lines += ["", f"{language}: {len(rows)} documents, {sum(len(r.encode()) for r in rows) / 1e6:.1f} MB"]
        joined = compare(language, rows)
        for name, (same, flips, kept) in joined.items():
            lines.append(f"  {name:<18}{same:>8.2%} alike (goal {GOALS[name]:.1%}), kept {kept}")
            lines += [f"      {n} {flip}" for flip, n in flips.most_common()]
        lines += ["  " + line for line in causes(language, rows)]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
