"""The near duplicates that lie in the test data by nature: found, the right one kept, what only looks alike left alone.

Expected values were read off the texts (docs/evidence/dedup_natural.txt says what was seen); similarities are counted in plain
Python. `python -m tests.relate.test_natural_duplicates` prints that table and the pairs to read.
"""

from __future__ import annotations

import difflib
import random
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from curate.decide import decide
from tests.bench.road import DATA
from tests.relate.corpus import corpus, one_id, rows
from tests.relate.natural import Text, natural
from tests.relate.pairs import similar_pairs
from tests.relate.planted import Shingles, found_by_theory, jaccard, shingles

JACCARD = 0.75


class Found(NamedTuple):
    texts: list[Text]
    sets: list[Shingles]
    dropped: dict[int, tuple[int, float, str]]  # place of a text -> place of its witness, similarity, reason
    pairs: dict[tuple[int, int], float]  # all of JACCARD or more, exactly

    def names(self) -> dict[str, str]:
        return {self.texts[i].name: self.texts[w].name for i, (w, _, _) in self.dropped.items()}

    def missed(self) -> list[tuple[int, int]]:
        """Pairs similar enough of which both are kept."""
        return [pair for pair in self.pairs if not self.dropped.keys() & set(pair)]


def dedup(root: Path, texts: list[Text]) -> Found:
    """One source with the recipe's defaults: exact by normalised text, near at 0.75; more words first, then the id."""
    made = corpus(root, {"a": [text.text for text in texts]})
    stage = decide(made.store, made.recipe, made.documents, made.signals, made.relate(), 1)
    place = {one_id("a", i): i for i in range(len(texts))}
    dropped: dict[int, tuple[int, float, str]] = {}
    for row in rows(stage, "decisions"):
        if not row["keep"]:
            dropped[place[row["id"]]] = place[row["witness_id"]], row["similarity"], row["reason"]
    sets = [shingles(text.text) for text in texts]
    return Found(texts, sets, dropped, similar_pairs(sets, JACCARD))


def check(found: Found) -> None:
    """No removal below the threshold, each with a kept and not shorter witness; no more missed than the bands explain."""
    for i, (w, similarity, reason) in found.dropped.items():
        assert w not in found.dropped
        if reason == "near_duplicate":
            assert similarity == jaccard(found.sets[i], found.sets[w]) >= JACCARD
            assert len(_all_words(found.texts[w].text)) >= len(_all_words(found.texts[i].text))
    chance = np.array([1 - found_by_theory(similarity) for similarity in found.pairs.values()])
    assert len(found.missed()) <= chance.sum() + 4 * np.sqrt((chance * (1 - chance)).sum())


def _all_words(text: str) -> list[str]:
    from curate.text.reference import words_reference

    return words_reference(text)


@pytest.fixture(scope="module")
def sources(data):
    return natural(data)


def test_versions_of_articles(sources, tmp_path):
    """26 pairs of versions, most of them far from each other (wikitext left in, sections lost); two are near duplicates."""
    found = dedup(tmp_path, sources["articles"])
    check(found)
    assert found.names() == {
        "Austraalia.json@b1e1b2cb": "Austraalia.json@d44a1cc8", "Aabraham.json@aa049266": "Aabraham.json@ffb380bf",
    }  # fmt: skip


def test_revisions_of_pages(sources, tmp_path):
    found = dedup(tmp_path, sources["revisions"])
    check(found)
    assert len(found.dropped) == 4 and not found.missed()
    assert all(found.texts[i].group == found.texts[w].group for i, (w, _, _) in found.dropped.items())


def test_pages_of_a_site_that_are_one_page(sources, tmp_path):
    """X.html and X/index.html, and all other addresses of the site: what the crawler was given is its front page 69 times."""
    found = dedup(tmp_path, sources["pages"])
    check(found)
    assert len({text.text for text in sources["pages"]}) == 1 and len(found.dropped) == 68


def test_formulaic_titles(sources, tmp_path):
    """2,514 titles of directives: the same title under two numbers goes, titles that share their formulae stay."""
    found = dedup(tmp_path, sources["titles"])
    check(found)
    alike = similar_pairs(found.sets, 0.5)
    assert len(alike) > 200 and len(found.dropped) == 12
    assert all(found.pairs.get((min(i, w), max(i, w)), 0) >= JACCARD for i, (w, _, _) in found.dropped.items())
    same_act = [name[:10] == witness[:10] for name, witness in found.names().items()]
    assert same_act.count(False) == 1 and found.names()["32004L0088"] == "32004L0087"  # J = 0.75 itself: only numbers differ


def test_licences(sources, tmp_path):
    """MIT under two holders is one text; PyTorch's BSD-like licence is another one."""
    found = dedup(tmp_path, sources["licences"])
    check(found)
    assert found.names() == {"rails_mit_license.txt": "react_mit_license.txt", "doc1.txt": "doc2.txt"}


@pytest.mark.slow
def test_laws_bibles_sums_and_prompts(sources, tmp_path):
    laws = dedup(tmp_path / "laws", sources["laws"])
    check(laws)
    assert laws.names() == {"struktuuritoetuse_seadus": "perioodi_2004_2006_struktuuritoetuse_seadus"}
    bibles = dedup(tmp_path / "bibles", sources["bibles"])
    assert not bibles.dropped and not similar_pairs(bibles.sets, 0.5)  # two English translations are two texts
    sums = dedup(tmp_path / "sums", sources["sums"])
    check(sums)
    assert len(sums.dropped) >= 35 and all(sums.texts[i].group == sums.texts[w].group for i, (w, _, _) in sums.dropped.items())
    prompts = dedup(tmp_path / "prompts", sources["prompts"][:2000])
    check(prompts)
    assert len(prompts.dropped) > 500


def test_marks_between_versions():
    assert marked("a b c d", "a b x d") == "a b [-c-]{+x+} d"


def marked(a: str, b: str, longest: int = 400) -> str:
    """Two texts as one, word by word: [-only in a-]{+only in b+}, long equal runs cut short."""
    x, y = a.split(), b.split()
    parts = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, x, y, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append(" ".join(x[i:j]) if j - i < 10 else f"{' '.join(x[i : i + 4])} ..{j - i - 8}.. {' '.join(x[j - 4 : j])}")
        else:
            parts.append(f"[-{' '.join(x[i:j])[:100]}-]{{+{' '.join(y[k:m])[:100]}+}}")
    text = " ".join(parts)
    return text if len(text) <= longest else f"{text[:longest]} ..."


def main() -> None:
    shown: list[tuple[str, Found]] = []
    print(
        "recipe's defaults (16 x 7, word 5-grams, jaccard 0.75, normalised text); each source by itself; J exact in plain Python\n"
    )
    print(f"{'':<11}{'texts':>7}{'belong together':>17}{'pairs J >= .5':>15}{'pairs J >= .75':>16}{'both kept':>11}{'dropped':>9}"
          f"{'of them equal':>15}")  # fmt: skip
    for name, texts in natural(DATA).items():
        if name == "html":  # 84 kB of markup each, minutes of plain Python, and what they show is in pages
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = dedup(Path(folder), texts)
        check(found)
        groups: dict[Any, int] = {}
        for text in texts:
            groups[text.group] = groups.get(text.group, 0) + (text.group is not None)
        together = sum(n * (n - 1) // 2 for n in groups.values())
        equal = sum(reason == "exact_duplicate" for _, _, reason in found.dropped.values())
        print(f"{name:<11}{len(texts):>7}{together or '-':>17}{len(similar_pairs(found.sets, 0.5)):>15}{len(found.pairs):>16}"
              f"{len(found.missed()):>11}{len(found.dropped):>9}{equal:>15}", flush=True)  # fmt: skip
        shown.append((name, found))
    print("\nbelong together: pairs the data name as versions of one article, page, passage or sum; '-' where they name none")
    rng = random.Random(1)
    for name, found in shown:
        chosen = sorted(found.dropped) if name in ("articles", "revisions", "licences", "laws", "titles") else []
        if name in ("prompts", "sums"):
            chosen = sorted(rng.sample(sorted(i for i, of in found.dropped.items() if of[2] == "near_duplicate"), 6))
        for i in chosen:
            w, similarity, _ = found.dropped[i]
            print(f"\n{name}: dropped {found.texts[i].name} for {found.texts[w].name}, J {similarity:.3f}")
            print(f"  {marked(found.texts[i].text, found.texts[w].text)}")
        if name in ("articles", "titles", "laws"):  # and what stayed although it is not far from it
            below = {pair: j for pair, j in similar_pairs(found.sets, 0.6).items() if j < JACCARD}
            for (i, j), similarity in sorted(below.items(), key=lambda item: -item[1])[:4]:
                print(f"\n{name}: both stay, {found.texts[i].name} and {found.texts[j].name}, J {similarity:.3f}")
                print(f"  {marked(found.texts[i].text, found.texts[j].text)}")


if __name__ == "__main__":
    sys.exit(main())
