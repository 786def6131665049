"""10,000 documents of the same templates with different content, all below the threshold: none may be lost.

`python -m tests.relate.test_templates` prints the table of docs/evidence/dedup_templates.txt: ours beside datatrove's.
"""

from __future__ import annotations

import random
import sys
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from curate.decide import decide, decide_counts
from curate.store import Stage
from tests.bench.rivals import datatrove, kept_by_datatrove, write_jsonl
from tests.relate import templates
from tests.relate.corpus import corpus, one_id, rows
from tests.relate.planted import shingles
from tests.relate.templates import TEMPLATES, bound

JACCARD = 0.75


def largest_jaccard(texts: list[str]) -> tuple[float, float]:
    """(largest, mean) Jaccard similarity over all pairs, exactly: shingles in common are a product of 0/1 matrices."""
    own = [shingles(text) for text in texts]
    times: dict[tuple[str, ...], int] = {}
    for shingle in (s for of in own for s in of):
        times[shingle] = times.get(shingle, 0) + 1
    column = {s: i for i, s in enumerate(s for s, n in times.items() if n > 1)}  # a shingle of one document is in no pair
    matrix = np.zeros((len(own), len(column)), np.float32)  # counts below 2**24 are exact
    for i, of in enumerate(own):
        matrix[i, [column[s] for s in of if s in column]] = 1
    sizes = np.array([len(of) for of in own], np.float64)
    largest, total = 0.0, 0.0
    for first in range(0, len(own), 500):
        shared = (matrix[first : first + 500] @ matrix.T).astype(np.float64)
        similar = shared / (sizes[first : first + 500, None] + sizes - shared)
        similar[np.arange(len(similar)), first + np.arange(len(similar))] = 0
        largest, total = max(largest, float(similar.max())), total + float(similar.sum())
    return largest, total / (len(own) * (len(own) - 1))


def decided(root: Path, texts: dict[str, list[str]]) -> Stage:
    made = corpus(root, texts, dedup={"near": {"jaccard": JACCARD}})
    return decide(made.store, made.recipe, made.documents, made.signals, made.relate(), 1)


def test_bounds_by_construction():
    """Slots do not share words (slot_words raises where they do), so no pair can reach the threshold; most templates come near."""
    bounds = {name: bound(template) for name, (template, _) in TEMPLATES.items()}
    assert {name: round(b, 3) for name, b in bounds.items()} == {"adverts": 0.739, "weather": 0.649, "laws": 0.458}
    assert max(bounds.values()) < JACCARD
    for (a, _), (b, _) in combinations(TEMPLATES.values(), 2):
        assert not templates.fixed_shingles(a) & templates.fixed_shingles(b)


def test_a_slot_that_shares_a_word_is_noticed():
    template = TEMPLATES["laws"][0]
    with pytest.raises(ValueError, match="slot term"):
        templates.slot_words(template._replace(slots={**template.slots, "term": template.slots["number"]}))
    with pytest.raises(ValueError, match="seaduse"):  # a word of the fixed text
        templates.slot_words(template._replace(slots={**template.slots, "term": ["Seaduse", *template.slots["term"][1:]]}))


def test_1000_of_them_all_stay_and_copies_go(tmp_path):
    """Every tenth document; and copies of 60 of them with one word changed, which are duplicates, among all these half-alikes."""
    texts = templates.documents(seed=1, share=0.1)
    found = {name: largest_jaccard(own)[0] for name, own in texts.items()}
    assert all(found[name] <= bound(TEMPLATES[name][0]) for name in texts), found
    assert found["adverts"] > 0.7  # not far below the threshold: a test that can fail
    rng = random.Random(2)
    copies = [own.replace(rng.choice([w for w in own.split() if w.isalpha()]), "muudetud", 1)
              for name in texts for own in rng.sample(texts[name], 20)]  # fmt: skip
    stage = decided(tmp_path, {**texts, "copies": copies})
    counts = decide_counts(stage)
    for name, own in texts.items():
        assert counts[name] == {"documents": len(own), "kept": len(own), "dropped": {}}
    table = {row["id"]: row for row in rows(stage, "decisions")}
    assert sum(not table[one_id("copies", i)]["keep"] for i in range(len(copies))) >= 58


@pytest.mark.slow
def test_10000_of_them_all_stay(tmp_path):
    texts = templates.documents(seed=1)
    assert sum(map(len, texts.values())) == 10_000 == len({text for own in texts.values() for text in own})
    for name, own in texts.items():  # every pair of them, exactly
        assert largest_jaccard(own)[0] <= bound(TEMPLATES[name][0]) < JACCARD
    stage = decided(tmp_path, texts)
    assert decide_counts(stage) == {name: {"documents": len(own), "kept": len(own), "dropped": {}} for name, own in texts.items()}


def main() -> None:
    texts = templates.documents(seed=1)
    similar = {name: largest_jaccard(own) for name, own in texts.items()}
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        ours = decide_counts(decided(top / "ours", texts))
        everything = [{"id": f"{name}/{i}", "text": text} for name, own in texts.items() for i, text in enumerate(own)]
        random.Random(3).shuffle(everything)
        write_jsonl(top / "raw", everything, 4)
        rivals = {}
        for bands, rows_, plain in ((14, 8, False), (14, 8, True), (16, 7, True)):
            out = top / f"datatrove-{bands}-{plain}"
            datatrove(top / "raw", out, bands, rows_, workers=2, plain=plain)
            shown = f"datatrove {bands} x {rows_}" + (", digits and diacritics as they are" if plain else "")
            rivals[shown] = kept_by_datatrove(out)
    print(
        "10,000 documents of three templates with different content; J of word 5-grams over all pairs of a template, threshold 0.75\n"
    )
    print(f"{'':<50}" + "".join(f"{name:>10}" for name in texts) + f"{'all':>10}")
    print(f"{'documents':<50}" + "".join(f"{len(own):>10}" for own in texts.values()) + f"{10_000:>10}")
    print(f"{'largest J by construction':<50}" + "".join(f"{bound(TEMPLATES[name][0]):>10.3f}" for name in texts))
    for i, shown in enumerate(("largest J, every pair counted", "mean J")):
        print(f"{shown:<50}" + "".join(f"{similar[name][i]:>10.3f}" for name in texts))
    lost = {name: counts["documents"] - counts["kept"] for name, counts in ours.items()}
    print(f"{'lost by veski, 16 x 7, jaccard 0.75':<50}" + "".join(f"{lost[n]:>10}" for n in texts) + f"{sum(lost.values()):>10}")
    for shown, kept in rivals.items():
        gone = [len(own) - sum(f"{name}/{i}" in kept for i in range(len(own))) for name, own in texts.items()]
        print(f"{'lost by ' + shown:<50}" + "".join(f"{n:>10}" for n in gone) + f"{sum(gone):>10}")


if __name__ == "__main__":
    sys.exit(main())
