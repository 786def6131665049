"""Decontamination on the labelled set (tests/relate/labelled.py): recall by set and edit, precision, by kind of look-alike.

python -m tests.bench.decontamination [labelled] [--n 150] [--seed 0] [--show 20] [--overlap 0.75] [--ngram 5]
python -m tests.bench.decontamination speed [--mb 64]
python -m tests.bench.decontamination datatrove [--ngram 12]
VESKI_TEST_DATA is the folder of real data. `--show` prints the misses and false alarms with their best hit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from curate.recipe import Decontaminate
from curate.relate.contamination import measure
from tests.relate import corpus, labelled
from tests.relate.labelled import Case

TOP = Path(__file__).resolve().parents[2]


class Outcome(NamedTuple):
    case: Case
    score: float  # contamination_score
    passage_score: float
    hits: list[dict]  # schema.CONTAMINATION


def outcomes(root: Path, cases: list[Case], given: Decontaminate) -> list[Outcome]:
    """Every case as a document of one corpus, measured."""
    made = corpus.corpus(root, {"all": [case.text for case in cases]}, dedup={"near": None})
    recipe = made.recipe.model_copy(update={"decontaminate": given})
    stage = measure(made.store, recipe, made.documents, 1)["all", "contamination"]
    table = [row for key in stage.keys for row in pq.read_table(stage.shard_path(key) / "contamination.parquet").to_pylist()]
    of = {row["id"]: row for row in table}
    hits: dict[str, list[dict]] = defaultdict(list)
    for key in stage.keys:
        for hit in pq.read_table(stage.shard_path(key) / "contamination.hits.parquet").to_pylist():
            hits[hit["id"]].append(hit)
    ids = [corpus.one_id("all", i) for i in range(len(cases))]
    return [
        Outcome(case, round(of[id_]["contamination_score"], 4), round(of[id_]["contamination_passage_score"], 4), hits[id_])
        for case, id_ in zip(cases, ids, strict=True)
    ]


def is_found(one: Outcome, bound: float, same: dict[tuple[str, str], str]) -> bool:
    """The planted item, or one with its question, is above the bound. same: (set, item) -> question."""
    wanted = (one.case.eval_set, one.case.question)
    return any(
        h["acts"] and h["score"] > bound and (h["eval_set"], same.get((h["eval_set"], h["item"]))) == wanted for h in one.hits
    )


def questions(data: Path) -> dict[tuple[str, str], str]:
    found = {}
    for name, file in labelled.SETS.items():
        items = labelled.rows(data, f"eval/{file}")
        found |= {(file, labelled._id(name, item, items)): labelled._question(name, item) for item in items}
    return found


class Figures(NamedTuple):
    recall: dict[tuple[str, str], tuple[int, int]]  # (label or edit, set) -> (found, all)
    alarms: dict[str, tuple[int, int]]  # kind of look-alike -> (dropped, all)
    dropped: int
    right: int  # of the dropped documents those that hold an item

    def share(self, label: str) -> float:
        mine = [pair for (name, _), pair in self.recall.items() if name == label]
        return sum(found for found, _ in mine) / max(1, sum(n for _, n in mine))

    @property
    def precision(self) -> float:
        return self.right / max(1, self.dropped)


def figures(found: list[Outcome], bound: float, same: dict[tuple[str, str], str]) -> Figures:
    recall: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    alarms: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one in found:
        case = one.case
        if case.is_contaminated:
            for name in (case.label, f"{case.label} {case.edit}") if case.edit else (case.label,):
                recall[name, case.eval_set][0] += is_found(one, bound, same)
                recall[name, case.eval_set][1] += 1
        else:
            alarms[case.label][0] += one.score > bound
            alarms[case.label][1] += 1
    dropped = [one for one in found if one.score > bound and one.case.label != "reworded"]
    return Figures(
        {k: (a, b) for k, (a, b) in recall.items()}, {k: (a, b) for k, (a, b) in alarms.items()}, len(dropped),
        sum(one.case.is_contaminated for one in dropped),
    )  # fmt: skip


def show(one: Outcome, why: str) -> str:
    best = max(one.hits, key=lambda h: (h["score"], h["acts"]), default=None)
    head = f"{why}: {one.case.label} {one.case.edit} {one.case.eval_set} {one.case.item} score {one.score}"
    if best is None:
        return head + f"\n    planted: {one.case.question[:200]!r}" if one.case.question else head
    own = [h for h in one.hits if (h["eval_set"], h["item"]) == (best["eval_set"], best["item"])]
    data = one.case.text.encode()
    lines = [f"    {h['eval_set']} {h['item']} {h['part']} {h['score']:.3f} overlap {h['overlap']:.2f} {h['n_found_words']}/{h['n_item_words']} "
             f"{data[h['start'] : h['end']][:220].decode(errors='ignore')!r}" for h in own]  # fmt: skip
    return "\n".join([head, f"    planted: {one.case.question[:150]!r}", *lines])


def labelled_table(data: Path, n: int, seed: int, given: Decontaminate, n_shown: int) -> None:
    cases = [*labelled.planted(data, seed, n), *labelled.reworded(data, seed, n), *labelled.look_alikes(data, seed, 2 * n),
             *labelled.passages(data, seed, n)]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        found = outcomes(Path(folder), cases, given)
        seconds = time.perf_counter() - start
    print(f"{len(cases)} documents, {_mb(cases):.1f} MB, {seconds:.1f} s with reading and compiling")
    same = questions(data)
    got = figures(found, given.overlap, same)
    sets = list(labelled.SETS.values())
    print(f"\nrecall at a score above {given.overlap:g}\n{'':24}" + "".join(f"{name:>20}" for name in [*sets, "all"]))
    for label in dict.fromkeys(name for name, _ in got.recall):
        pairs = [got.recall.get((label, name)) for name in sets]
        cells = [f"{a}/{b} {a / b:.3f}" if b else "" for a, b in (pair or (0, 0) for pair in pairs)]
        print(f"{label:24}" + "".join(f"{cell:>20}" for cell in [*cells, f"{got.share(label):.3f}"]))
    print("\nlook-alikes dropped")
    for kind, (a, b) in got.alarms.items():
        print(f"  {kind:24}{a:>6} of {b}")
    print(
        f"\nprecision {got.precision:.4f}: {got.right} of {got.dropped} dropped documents hold an item (reworded ones left out)"
    )
    seen = Counter()
    for one in found:
        case = one.case
        why = (
            "" if case.label == "passage" else "MISSED" if case.is_contaminated and not is_found(one, given.overlap, same) else ""
        )
        why = "FALSE ALARM" if not case.is_contaminated and one.score > given.overlap else why
        if why and seen[why, case.label] < n_shown:
            seen[why, case.label] += 1
            print(show(one, why))
    passages = [one for one in found if one.case.label == "passage"]
    print(f"passages alone: {sum(one.passage_score > given.overlap for one in passages)} of {len(passages)} reported")


def _mb(cases: list[Case]) -> float:
    return sum(len(case.text.encode()) for case in cases) / 1e6


def rival(data: Path, n: int, seed: int, n_grams: int) -> None:
    """datatrove's NGramsDecontFilter over the same documents: recall, precision, MB/s. Its indexer imports lighteval in `run`, and
    lighteval is not needed to hash items that are given: `compute_hashes` is called here, and the file written that the filter reads."""
    import numpy as np
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer

    NGramsDecontIndexer._requires_dependencies = []
    config = NGramsDecontConfig(n_grams=n_grams, find_query_ngrams=True)
    cases = [*labelled.planted(data, seed, n), *labelled.look_alikes(data, seed, 2 * n)]
    with tempfile.TemporaryDirectory() as folder:
        indexer = NGramsDecontIndexer(folder, config=config)
        for name, file in labelled.SETS.items():
            hashes: set[int] = set()
            for item in labelled.rows(data, f"eval/{file}"):
                parts = labelled._parts(name, item)
                label = parts.get("answer") or " ".join(parts.get(k, "") for k in ("choice1", "choice2"))
                hashes.update(indexer.compute_hashes(label, parts["question"]))
            np.array(list(hashes), config.hash_config.np_descr).tofile(f"{folder}/{file}.index.hashes")
        own = NGramsDecontFilter(folder, config=config)
        own.filter(Document(text="warm", id="0"))
        start = time.process_time()
        dropped = [own.filter(Document(text=case.text, id=str(i))) is not True for i, case in enumerate(cases)]
        seconds = time.process_time() - start
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for case, is_dropped in zip(cases, dropped, strict=True):
        found[case.label, case.eval_set][0] += is_dropped
        found[case.label, case.eval_set][1] += 1
    right = sum(d for c, d in zip(cases, dropped, strict=True) if c.is_contaminated)
    print(f"datatrove NGramsDecontFilter, {n_grams}-grams: {_mb(cases) / seconds:.2f} MB/s per core over {_mb(cases):.1f} MB, "
          f"precision {right / max(1, sum(dropped)):.3f} ({right} of {sum(dropped)})")  # fmt: skip
    for (label, eval_set), (hits, all_) in found.items():
        print(f"  {label:20} {eval_set:22} {hits:>5} of {all_}")


def speed(data: Path, mb: int) -> None:
    """The stages that read texts, over `mb` MB of real texts (repeated where there are fewer), one process, one thread, warm."""
    import pyarrow as pa

    from curate import text
    from curate.relate.contamination import folding, index, items, kernels, matches
    from curate.store import Store

    groups = {
        "Estonian": [r["text"] for name in ("laws", "aa_magazine", "wiki_et_versions", "ud_ewt_train_2022", "ud_edt_dev", "tara_doku")
                     for r in labelled.rows(data, f"et_text/{name}")],
        "English": [r["text"] for name in ("18f_posts", "wikitext2_valid", "inaugural") for r in labelled.rows(data, f"en_text/{name}")],
        "code": [r["text"] for r in labelled.rows(data, "code/code_files")],
        "GSM8K train": [r["text"] for r in labelled.rows(data, "math/gsm8k_train")],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        given = Decontaminate(against=labelled.patterns(data))
        recipe = corpus.recipe_of(["a"]).model_copy(update={"decontaminate": given})
        stage, tasks = items.tasks(Store(Path(folder)), recipe)
        tasks[0].fn(*tasks[0].args)
        start = time.process_time()
        path = stage.shard_path("all") / "items.parquet"
        index.load(path, given.ngram, kernels.FOLDED)
        cold = time.process_time() - start
        index.load.cache_clear()
        start = time.process_time()
        ix = index.load(path, given.ngram, kernels.FOLDED)
        print(
            f"index of {len(ix.units)} units, {ix.n_grams} n-grams: {time.process_time() - start:.2f} s ({cold:.2f} s with compiling)"
        )
    warm = labelled.rows(data, "eval/gsm8k_test_a")[0]["text"] + " õ"
    matches.find(ix, pa.array([warm], pa.large_string()), kernels.FOLDED)
    for name, texts in groups.items():
        size, chosen = 0, []
        while size < mb * 10**6 / len(groups):
            for one in texts:
                chosen.append(one)
                size += len(one.encode())
                if size >= mb * 10**6 / len(groups):
                    break
        batches = list(text.batches(pa.array(chosen, pa.large_string())))
        seconds = {"words": 0.0, "look-up": 0.0, "all": 0.0}
        n = 0
        for batch in batches:
            start = time.process_time()
            ptr, _, _, key = folding.words(*text.buffers(batch), kernels.FOLDED)
            middle = time.process_time()
            matches._hits(ix, ptr, key)
            seconds["words"] += middle - start
            seconds["look-up"] += time.process_time() - middle
            start = time.process_time()
            n += matches.find(ix, batch, kernels.FOLDED).matches.num_rows
            seconds["all"] += time.process_time() - start
        shown = "  ".join(f"{step} {size / 1e6 / s:.0f}" for step, s in seconds.items())
        print(f"{name:14}{size / 1e6:>6.1f} MB  MB/s per core: {shown}   {n} matches")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="labelled", choices=["labelled", "speed", "datatrove"])
    for name, default in {"n": 150, "seed": 0, "show": 0, "ngram": 5, "overlap": 0.75, "mb": 64}.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    asked = parser.parse_args()
    data = Path(os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))
    if asked.what == "labelled":
        given = Decontaminate(against=labelled.patterns(data), ngram=asked.ngram, overlap=asked.overlap)
        labelled_table(data, asked.n, asked.seed, given, asked.show)
    elif asked.what == "datatrove":
        rival(data, asked.n, asked.seed, asked.ngram if asked.ngram != 5 else 12)
    else:
        speed(data, asked.mb)


if __name__ == "__main__":
    main()
