"""Machine-translation and spam suspicion, and the speed of classifiers: `python -m tests.bench.classifier`; docs/mt_spam.md explains.

Texts: VESKI_TEST_DATA (or ../shared/data), cut into chunks of 60 to 100 words, so that length says nothing; markup, spacing and
quotes are made equal first. Machine Estonian is made here (tests/models/made.py) out of sources that are split between training and
test by source, and its dictionaries by sentence pairs. VESKI_REAL_MT: a folder of .txt files of real machine translation, which
we may not pass on; without it those rows are left out.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zstandard

from curate import text
from curate.models import classifier, evaluate, fasttext_files, features
from tests.models import made

DATA = Path(os.environ.get("VESKI_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
FASTTEXT = {"dim": 50, "epoch": 10, "lr": 0.5, "wordNgrams": 2, "minn": 3, "maxn": 5, "bucket": 200_000, "minCount": 1, "seed": 1}


def rows(name: str) -> list[dict]:
    with open(DATA / f"{name}.jsonl.zst", "rb") as file:
        stream = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n")
        return [json.loads(line) for line in stream]


def lines_of(name: str, key: str = "text", keep: Any = None) -> list[str]:
    return [s for row in rows(name) if keep is None or keep(row) for s in made.sentences(row[key])]


def unique(lines: list[str]) -> list[str]:
    return list(dict.fromkeys(lines))


def gather() -> dict[str, list[str]]:
    """name -> sentences. Of wiki (MLQE's source sentences) one half is training's, the other test's; so are its English sides."""
    mlqe = rows("parallel/mlqe_et_en")
    half = len(mlqe) // 2
    sib = rows("parallel/sib200_et_en_train_dev")
    topics = {lang: {r["meta"]["index"]: r["text"] for r in sib if r["lang"].startswith(lang)} for lang in ("est", "eng")}
    tatoeba = rows("parallel/tatoeba_et_en")
    return {
        "wiki": unique([s for r in mlqe[:half] for s in made.sentences(r["text"])]),
        "wiki2": unique([s for r in mlqe[half:] for s in made.sentences(r["text"])]),
        "press": unique(lines_of("et_text/ud_edt_dev")), "magazine": unique(lines_of("et_text/aa_magazine")),
        "web": unique(lines_of("et_text/ud_ewt_train_2022")), "news": unique(lines_of("et_text/estner_new_dev")),
        "learner": unique(lines_of("quality/cefr_learner_texts")),
        "textbook": unique(lines_of("et_text/progeopik_rst") + lines_of("et_text/tara_doku", keep=lambda r: r["lang"] == "et")),
        "translated by people": unique([s for i in sorted(topics["est"]) for s in made.sentences(topics["est"][i])]),
        "translated by people 2": unique(
            [s for r in rows("eval/xcopa_et_test") for k in ("premise", "choice1", "choice2") for s in made.sentences(r[k])]
        ),
        "tatoeba": unique([s for r in tatoeba for s in made.sentences(r["text"])]),
    }  # fmt: skip


def machine(human: dict[str, list[str]]) -> dict[str, list[str]]:
    """name -> machine-made sentences; `1` is for training, `2` for tests: other English, another dictionary, other Estonian."""
    mlqe = rows("parallel/mlqe_et_en")
    half = len(mlqe) // 2
    sib = rows("parallel/sib200_et_en_train_dev")
    topics = {lang: {r["meta"]["index"]: r["text"] for r in sib if r["lang"].startswith(lang)} for lang in ("est", "eng")}
    tatoeba = rows("parallel/tatoeba_et_en")
    first = made.Dictionary([(r["text_en_mt"], r["text"]) for r in mlqe[:half]])
    second = made.Dictionary(
        [(r["text_en_mt"], r["text"]) for r in mlqe[half:]] + [(r["text_en"], r["text"]) for r in tatoeba]
        + [(topics["eng"][i], topics["est"][i]) for i in sorted(topics["est"]) if i in topics["eng"]]
    )  # fmt: skip

    def gloss(dictionary: made.Dictionary, lines: list[str]) -> list[str]:
        return unique([g for line in lines if (g := dictionary.gloss(line))])

    endings = made.WrongEndings([s for name in ("wiki", "press", "magazine") for s in human[name]])
    endings2 = made.WrongEndings([s for name in ("wiki2", "web", "news", "textbook", "learner") for s in human[name]])
    rng = random.Random(5)
    blog = unique(lines_of("en_text/18f_posts"))
    wiki = [s for r in mlqe[half:] for s in made.sentences(r["text_en_mt"])] + lines_of("en_text/wikitext2_valid")
    return {
        "gloss 1": gloss(first, unique(wiki)),
        "endings 1": [endings.spoil(s, rng) for name in ("press", "magazine") for s in human[name][1::2]],
        "gloss of blogs": gloss(second, blog), "gloss of tatoeba": gloss(second, [r["text_en"] for r in tatoeba]),
        "gloss of flores": gloss(second, [topics["eng"][i] for i in sorted(topics["eng"])]),
        **{f"endings of {name}": [endings2.spoil(s, rng) for s in human[name]] for name in ("web", "news", "textbook")},
    }  # fmt: skip


class Pair:
    """The two kinds of classifier, trained on the same texts."""

    def __init__(self, positive: list[str], negative: list[str], folder: Path) -> None:
        texts = positive + negative
        truth = np.arange(len(texts)) < len(positive)
        self.features = classifier.fit(features.rows_of(texts), truth, "mt")
        order = random.Random(1).sample(range(len(texts)), len(texts))
        self.path = folder / f"{len(list(folder.iterdir()))}.bin"
        fasttext_files.train([("mt" if truth[i] else "human", texts[i]) for i in order], self.path, FASTTEXT)

    def scores(self, texts: list[str]) -> dict[str, np.ndarray]:
        one = classifier.scores_of(self.features, texts)
        other = fasttext_files.label_scores(texts, self.path, "mt")[0]
        p = np.clip(np.stack([one, other]).astype(np.float64), 1e-4, 1 - 1e-4)
        return {"features": one, "fastText": other, "both": 1 / (1 + np.exp(-np.log(p / (1 - p)).mean(axis=0)))}


def compare(name: str, model: Pair, positive: list[str], negative: list[str]) -> None:
    found = model.scores(positive + negative)
    truth = np.arange(len(positive) + len(negative)) < len(positive)
    cells = []
    for scores in found.values():
        half = evaluate.at_recall(scores, truth, 0.5)
        flagged = evaluate.at_threshold(scores, truth, 0.5)
        cells.append(
            f"{evaluate.roc_auc(scores, truth):6.3f} {half['precision']:5.2f} {found_at_one_percent(scores, truth):5.2f} "
            f"{flagged['recall']:5.2f} {flagged['false_positive_ratio']:5.2f}"
        )
    print(f"{name:<60}{len(positive):>5}{len(negative):>6}   " + "   ".join(cells))


def found_at_one_percent(scores: np.ndarray, truth: np.ndarray) -> float:
    """Share of the positives above all but one in a hundred of the negatives."""
    return float((scores[truth] > np.quantile(scores[~truth], 0.99, method="higher")).mean())


def head(title: str) -> None:
    kinds = "   ".join(f"{kind:<30}" for kind in ("features", "fastText", "mean of both logits"))
    print(f"{title:<60}{'pos':>5}{'neg':>6}   {kinds}")
    print(f"{'':<71}   " + "   ".join(f"{'AUC':>6} {'P@R50':>5} {'R@1%':>5} {'R':>5} {'FPR':>5}" for _ in range(3)))


def flagged(name: str, model: Pair, texts: list[str]) -> None:
    found = model.scores(texts)
    print(
        f"{name:<60}{'':>5}{len(texts):>6}   "
        + "   ".join(f"{'':6} {'':5} {'':5} {'':5} {np.mean(s >= 0.5):5.2f}" for s in found.values())
    )


def split(lines: list[str], seed: int) -> tuple[list[str], list[str]]:
    """Chunks for training and, of other sentences, every tenth for the held-out part."""
    found = made.chunks(lines, seed)
    return [c for i, c in enumerate(found) if i % 10], found[::10]


def real_texts() -> dict[str, list[str]]:
    """file -> chunks of real machine translation; empty where VESKI_REAL_MT is not set."""
    if "VESKI_REAL_MT" not in os.environ:
        return {}
    files = sorted(Path(os.environ["VESKI_REAL_MT"]).glob("*.txt"))
    for file in files:
        print(f"real machine translation: {file.name} sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}")
    return {file.stem: made.chunks(made.sentences(file.read_text(encoding="utf-8")), 7) for file in files}


def mt(folder: Path) -> None:
    real = real_texts()
    human = gather()
    made_up = machine(human)
    cut = {name: made.chunks(lines, 7) for name, lines in (human | made_up).items()}
    train, held = {}, {}
    for name in ("wiki", "gloss 1", "endings 1"):
        train[name], held[name] = split((human | made_up)[name], 7)
    for name in ("press", "magazine"):  # the other half of their sentences is what `endings 1` spoils
        train[name], held[name] = split(human[name][::2], 7)
    negatives = ("wiki", "press", "magazine")
    most = 700  # of one source, so that none outvotes the others
    few = {name: random.Random(3).sample(found, min(most, len(found))) for name, found in train.items()}
    print("trained on:", ", ".join(f"{name} {len(found)}" for name, found in few.items()), "chunks of 60 to 100 words")
    print(
        "AUC: ROC-AUC; P@R50: precision where half the machine texts are found; R@1%: share found where 1 % of the human texts are"
    )
    print("flagged; R, FPR: share of machine and of human texts with a score of 0.5 or more\n")
    people = [c for name in negatives for c in few[name]]
    both = Pair(few["gloss 1"] + few["endings 1"], people, folder)
    head("machine against human text")
    clean = [c for name in negatives for c in held[name]]
    compare("in domain: held-out gloss, endings / wiki, press, magazine", both, held["gloss 1"] + held["endings 1"], clean)
    compare("  gloss / wiki", both, held["gloss 1"], held["wiki"])
    compare("  endings / press, magazine", both, held["endings 1"], held["press"] + held["magazine"])
    print("sources and dictionaries not trained on:")
    compare("  gloss of blogs / web, news", both, cut["gloss of blogs"], cut["web"] + cut["news"])
    compare("  gloss of tatoeba / tatoeba", both, cut["gloss of tatoeba"], cut["tatoeba"])
    compare("  gloss of flores / flores translated by people", both, cut["gloss of flores"], cut["translated by people"])
    for name in ("web", "news", "textbook"):
        compare(f"  endings of {name} / {name}", both, cut[f"endings of {name}"], cut[name])
    texts = [c for found in real.values() for c in found]
    if real:
        compare("  REAL machine translation / textbook", both, texts, cut["textbook"])
        compare("  REAL machine translation / web, news", both, texts, cut["web"] + cut["news"])
        compare("  REAL machine translation / flores translated by people", both, texts, cut["translated by people"])
    print("human text >= 0.5 (no source of these was trained on):")
    for name in ("wiki2", "web", "news", "textbook", "tatoeba", "learner", "translated by people", "translated by people 2"):
        flagged(f"  {name}", both, cut[name])
    print()
    head("trained on one kind of machine text, tested on another")
    gloss, endings = Pair(few["gloss 1"], people, folder), Pair(few["endings 1"], people, folder)
    compare("  gloss -> endings of web / web", gloss, cut["endings of web"], cut["web"])
    compare("  endings -> gloss of blogs / web", endings, cut["gloss of blogs"], cut["web"])
    if real:
        compare("  gloss -> REAL / textbook", gloss, texts, cut["textbook"])
        compare("  endings -> REAL / textbook", endings, texts, cut["textbook"])
    for left_out in real:
        others = [c for name, found in real.items() if name != left_out for c in found]
        model = Pair(others, cut["textbook"][::2] + people[::10], folder)
        compare(f"  REAL without {left_out} -> {left_out} / other textbook", model, real[left_out], cut["textbook"][1::2])


def spam(folder: Path) -> None:
    human = {name: made.chunks(lines, 7) for name, lines in gather().items()}
    web = human["web"] + human["news"]
    print()
    head("adverts of two grammars of ours (synthetic)")
    for train, test in (("shop", "loan"), ("loan", "shop")):
        model = Pair(made.adverts(400, 1, train), human["wiki"][:400] + human["press"] + human["magazine"][:400], folder)
        compare(f"  {train} -> other adverts of {train} / web, news", model, made.adverts(200, 2, train), web)
        compare(f"  {train} -> adverts of {test} / web, news", model, made.adverts(200, 2, test), web)


def speed(folder: Path) -> None:
    given = [row["text"] for row in rows("et_text/aa_magazine") + rows("et_text/wiki_et_versions")]
    model = Pair(made.adverts(50, 1, "shop"), given[:50], folder)
    batches = [text.buffers(batch) for batch in text.batches(pa.array(given, pa.large_string()))]
    segments = [text.segment(*batch) for batch in batches]
    megabytes = sum(int(offsets[-1] - offsets[0]) for _, offsets in batches) / 1e6

    def best(work: Any, n: int = 3) -> float:
        times = []
        for _ in range(n):
            started = time.process_time()
            work()
            times.append(time.process_time() - started)
        return megabytes / min(times)

    alone = best(lambda: [classifier.scores(model.features, *b, s) for b, s in zip(batches, segments, strict=True)])
    with_words = best(lambda: [classifier.scores(model.features, *b, text.segment(*b)) for b in batches])
    other = best(lambda: fasttext_files.label_scores(given, model.path, "mt"))
    print(
        f"\nscoring {megabytes:.1f} MB of Estonian, MB/s/core: features {alone:.0f} with the words at hand, {with_words:.0f} with them to "
        f"find; fastText {other:.1f} (dim 50, n-grams of 3 to 5 characters and 2 words)"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        mt(Path(folder))
        spam(Path(folder))
        speed(Path(folder))


if __name__ == "__main__":
    main()
