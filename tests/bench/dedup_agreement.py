"""Who removes what: veski and datatrove's MinHash against exact all-pairs Jaccard, on a set small enough to count every pair.

`python -m tests.bench.dedup_agreement` prints docs/evidence/dedup_agreement.txt. Truth is counted in plain Python over sets of
word 5-grams (tests.relate.planted, tests.relate.pairs). Estimates of clusters agree by the adjusted Rand index (Hubert and Arabie
1985: 1 the same partition, 0 what chance gives), written out below.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from curate.decide import decide
from tests.bench import dedup_texts, rivals
from tests.bench.road import DATA
from tests.relate import templates
from tests.relate.corpus import corpus, one_id, rows
from tests.relate.natural import natural
from tests.relate.pairs import components, similar_pairs
from tests.relate.planted import planted, shingles

JACCARD = 0.75


class Result(NamedTuple):
    kept: set[int]
    cluster: list[str]  # by document


def texts() -> dict[str, bool]:
    """Text -> is it one of many that share a form: planted pairs at 0.5 to 0.95, natural versions, ordinary text (False); titles of
    directives and pages of templates (True). About 6,500 documents."""
    of = natural(DATA)
    plain = [text for pair in planted(DATA, 4, seed=3) for text in (pair.base, pair.plant)]
    plain += [text.text for name in ("articles", "revisions", "licences", "sums") for text in of[name]]
    plain += [row["text"] for row in dedup_texts.ordinary(DATA)[:700]]
    formal = [text.text for text in of["titles"]]
    formal += [text for own in templates.documents(seed=4, share=0.05).values() for text in own]
    found = [(text, name) for name, own in ((False, plain), (True, formal)) for text in own if text.strip()]
    random.Random(5).shuffle(found)
    return dict(found)


def ours(listed: Sequence[str], jaccard: float) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        made = corpus(Path(folder), {"all": listed}, dedup={"near": {"jaccard": jaccard}})
        relations = made.relate()
        stage = decide(made.store, made.recipe, made.documents, made.signals, relations, 1)
        place = {one_id("all", i): i for i in range(len(listed))}
        kept = {place[row["id"]] for row in rows(stage, "decisions") if row["keep"]}
        cluster = {place[row["id"]]: row["cluster_id"] or row["id"] for row in rows(relations.clusters, "duplicates")}
    return Result(kept, [cluster[i] for i in range(len(listed))])


def datatrove(raw: Path, out: Path, n: int, bands: int, rows_: int, plain: bool) -> Result:
    rivals.datatrove(raw, out, bands, rows_, workers=2, plain=plain, clusters=True)
    cluster = rivals.clusters_by_datatrove(out)
    return Result({int(i) for i in rivals.kept_by_datatrove(out)}, [cluster[str(i)] for i in range(n)])


def adjusted_rand(a: Sequence[object], b: Sequence[object]) -> float:
    """Agreement of two partitions of the same items, from their contingency table. 1.0 where both say the same of every pair."""

    def pairs(counts: Mapping[object, int]) -> int:
        return sum(n * (n - 1) // 2 for n in counts.values())

    both, of_a, of_b = pairs(Counter(zip(a, b, strict=True))), pairs(Counter(a)), pairs(Counter(b))
    chance = of_a * of_b / (len(a) * (len(a) - 1) / 2)
    most = (of_a + of_b) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


class Scores(NamedTuple):
    removed: int
    right: int  # removed, and a kept document is similar enough
    missed: int  # kept, and so is another that is similar enough: of each such pair one should go
    pairs: int  # pairs in one cluster
    pairs_right: int


def judged(result: Result, pairs: Mapping[tuple[int, int], float], n: int) -> Scores:
    alike: dict[int, set[int]] = {}
    for i, j in pairs:
        alike.setdefault(i, set()).add(j)
        alike.setdefault(j, set()).add(i)
    removed = set(range(n)) - result.kept
    right = sum(bool(alike.get(i, set()) & result.kept) for i in removed)
    both_kept = [(i, j) for i, j in pairs if i in result.kept and j in result.kept]
    missed = len({j for _, j in both_kept})
    inside: dict[str, list[int]] = {}
    for i, cluster in enumerate(result.cluster):
        inside.setdefault(cluster, []).append(i)
    together = sum(len(own) * (len(own) - 1) // 2 for own in inside.values())
    together_right = sum(result.cluster[i] == result.cluster[j] for i, j in pairs)
    return Scores(len(removed), right, missed, together, together_right)


def among(result: Result, chosen: Sequence[int]) -> Result:
    """The same of some of the documents, numbered anew."""
    return Result({i for i, old in enumerate(chosen) if old in result.kept}, [result.cluster[old] for old in chosen])


def show(
    title: str, results: Mapping[str, Result], pairs: Mapping[tuple[int, int], float], by_components: Sequence[object]
) -> None:
    n = len(by_components)
    print(
        f"\n{title}: {n:,} documents, {len(pairs):,} pairs with J >= {JACCARD}, {len({i for pair in pairs for i in pair}):,} documents in them"
    )
    print(f"{'':<26}{'removals':>9}{'right':>8}{'missed':>8}{'precision':>11}{'recall':>8}{'F1':>7}   "
          f"{'pairs':>9}{'right':>8}{'precision':>11}{'recall':>8}{'F1':>7}{'ARI':>8}")  # fmt: skip
    for name, result in results.items():
        s = judged(result, pairs, n)
        p, r = ratio(s.right, s.removed), ratio(s.right, s.right + s.missed)
        pp, pr = ratio(s.pairs_right, s.pairs), ratio(s.pairs_right, len(pairs))
        ari = adjusted_rand(result.cluster, by_components)
        print(f"{name:<26}{s.removed:>9,}{s.right:>8,}{s.missed:>8,}{p:>11.4f}{r:>8.4f}{f1(p, r):>7.4f}   "
              f"{s.pairs:>9,}{s.pairs_right:>8,}{pp:>11.4f}{pr:>8.4f}{f1(pp, pr):>7.4f}{ari:>8.4f}")  # fmt: skip


def ratio(a: float, b: float) -> float:
    return a / b if b else 1.0


def f1(precision: float, recall: float) -> float:
    return ratio(2 * precision * recall, precision + recall)


def main() -> None:
    forms = texts()
    listed = list(forms)
    n = len(listed)
    pairs = similar_pairs([shingles(text) for text in listed], JACCARD)
    by_components = components(n, list(pairs))
    results = {"exact: components": Result(set(by_components), [str(c) for c in by_components])}
    results["veski 16 x 7"] = ours(listed, JACCARD)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        rivals.write_jsonl(raw, [{"id": str(i), "text": text} for i, text in enumerate(listed)], 4)
        for bands, rows_, plain in ((14, 8, False), (14, 8, True), (16, 7, False), (16, 7, True)):
            name = f"datatrove {bands} x {rows_}" + (", plain" if plain else "")
            results[name] = datatrove(raw, Path(folder) / name.replace(" ", ""), n, bands, rows_, plain)
    print("J of word 5-grams, every pair counted exactly in plain Python, words as veski cuts them")
    print(f"removals: right if a kept document has J >= {JACCARD} with it; missed if it and one like it are both kept")
    print(f"pairs: any two documents of one cluster, right if their J >= {JACCARD}. ARI: with the components of the exact pairs")
    show("All", results, pairs, by_components)
    chosen = [i for i, text in enumerate(listed) if not forms[text]]
    number = {old: i for i, old in enumerate(chosen)}
    inside = {(number[i], number[j]): similarity for (i, j), similarity in pairs.items() if i in number and j in number}
    some = {name: among(result, chosen) for name, result in results.items()}
    show("Of these, without titles of directives and pages of templates", some, inside, [by_components[i] for i in chosen])
    print("\nexact: components removes all but one of everything that hangs together, also what is like no kept document.")
    print(
        "Half of the 600 planted pairs lie below the threshold on purpose, where whoever does not verify does worst: a crawl has fewer."
    )
    print("datatrove cuts words its own way; its default replaces digits and strips diacritics; plain: both left alone.")


if __name__ == "__main__":
    main()
