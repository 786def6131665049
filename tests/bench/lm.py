"""What a small KenLM model tells apart: `python -m tests.bench.lm`. Needs lmplz on the PATH, or VESKI_KENLM (docs/kenlm.md).

Trains on Wikipedia, a magazine and acts (split by document, versions of an article and of an act on one side), scores held-out and
other clean Estonian, web and learner texts, shuffled words, other languages and code. Texts: VESKI_TEST_DATA (or ../shared/data).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.models import lm_train
from curate.models.evaluate import roc_auc
from curate.models.lm import facts
from curate.models.lm_lines import lines_of
from curate.signals import Measurer, lm
from curate.signals.measure import as_batch
from curate.text import batches
from curate.text.tokenizers import RULES
from tests.bench.kernels import texts as read_texts

DATA = Path(os.environ.get("VESKI_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
PART = 2000  # bytes of a document below; running text is cut at ends of lines or sentences
CLEAN = ("EDT press and fiction", "EstNER news", "SIB-200", "lingua sentences")  # edited Estonian of other domains
SIGNALS = ("bits_per_byte", "KenLM bits", "word_perplexity", "oov_ratio", "tail_line_ratio")
# Sets with a * were not looked at when the normalisation and the cost of spelling were chosen.
CORRECTED, AS_WRITTEN = "L2, corrected *", "L2, as written *"


def rows(name: str) -> list[dict]:
    import zstandard

    with zstandard.open(DATA / f"{name}.jsonl.zst", "rt", encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def is_kept_out(key: str, share: float = 0.1) -> bool:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") < share * 2**32


def cut(whole: str) -> list[str]:
    """Parts of about PART bytes, of whole lines; a longer line is cut into lines at ends of sentences."""
    lines = [x for line in whole.split("\n") for x in (re.split(r"(?<=[.!?])\s+", line) if len(line) > PART else [line])]
    parts, held, n = [], [], 0
    for line in lines:
        held.append(line)
        n += len(line.encode()) + 1
        if n >= PART:
            parts.append("\n".join(held))
            held, n = [], 0
    return [*parts, "\n".join(held)] if n > PART / 4 or not parts else parts


def joined(sentences: list[str]) -> list[str]:
    return cut("\n".join(sentences))


def by_fifteen(sentences: list[str]) -> list[str]:
    """Fifteen sentences a document, so that two versions of them stay in step."""
    return ["\n".join(sentences[i : i + 15]) for i in range(0, len(sentences) - 14, 15)]


def shuffled(texts: list[str]) -> list[str]:
    """The words of every line in another order."""
    rng = random.Random(0)
    return ["\n".join(" ".join(rng.sample(line.split(), len(line.split()))) for line in text.split("\n")) for text in texts]


def training() -> tuple[list[str], dict[str, list[str]]]:
    """(training texts, the held-out ones by domain)."""
    keys = {
        "et_text/wiki_et_versions": lambda r: r["meta"]["title"],
        "et_text/aa_magazine": lambda r: r["id"],
        "et_text/laws": lambda r: re.sub(r"[\d_]+", "", r["id"])[:25],
    }
    names = {"et_text/wiki_et_versions": "Wikipedia", "et_text/aa_magazine": "magazine", "et_text/laws": "acts"}
    train: list[str] = []
    held: dict[str, list[str]] = {}
    for name, key in keys.items():
        own = rows(name)
        train += [r["text"] for r in own if not is_kept_out(key(r))]
        last = {key(r): r["text"] for r in own if is_kept_out(key(r))}  # one version of each
        held[f"held out: {names[name]}"] = [part for text in last.values() for part in cut(text)]
    return train, held


def sets() -> dict[str, list[str]]:
    """Name -> documents, in the order one would wish to see them ranked."""
    lingua = rows("lid/lingua_test")
    udhr = {r["lang"]: r["text"] for r in rows("lid/udhr2")}
    genesis = {r["id"]: r["text"] for r in rows("lid/genesis_bible")}
    cefr = rows("quality/cefr_learner_texts")
    gec = rows("preference/estgec_tartu_l2")
    sentences = {
        code: joined([r["text"] for r in lingua if r["lang"] == code and len(r["text"]) > 40])
        for code in ("et", "fi", "lv", "en")
    }
    found = {
        CLEAN[0]: [p for r in rows("et_text/ud_edt_dev") for p in cut(r["text"])],
        CLEAN[1]: [p for r in rows("et_text/estner_new_dev") for p in cut(r["text"])],
        CLEAN[2]: joined([r["text"] for r in rows("parallel/sib200_et_en_train_dev") if r["lang"] == "est_Latn"]),
        CLEAN[3]: sentences["et"],
        "EstQA paragraphs *": joined(sorted({r["text"] for r in rows("eval/estqa-train-v1.0")})),
        "UDHR Estonian *": cut(udhr["est"]),
        "Tatoeba *": joined([r["text"] for r in rows("parallel/tatoeba_et_en")]),
        "state docs, Markdown *": [p for r in rows("et_text/tara_doku") if r["lang"] == "et" for p in cut(r["text"])],
        "theatre pages *": [p for r in rows("et_html/zuga_pages_md") if r["lang"] == "et" for p in cut(r["text"])],
        "web, EWT": [p for r in rows("et_text/ud_ewt_train_2022") for p in cut(r["text"])],
        **{f"learners {level}": [r["text"] for r in cefr if r["meta"]["cefr"] == level] for level in ("C1", "B2", "B1", "A2")},
        CORRECTED: by_fifteen([r["corrections"][0] for r in gec]),
        AS_WRITTEN: by_fifteen([r["original"] for r in gec]),
        "shuffled EDT": shuffled([p for r in rows("et_text/ud_edt_dev") for p in cut(r["text"])]),
        "Finnish": sentences["fi"],
        "Finnish Genesis *": cut(next(text for name, text in genesis.items() if "finnish" in name.lower())),
        "Livvi": [p for r in rows("lid/ud_livvi") for p in cut(r["text"])],
        "Karelian, Veps UDHR *": cut(udhr["krl"]) + cut(udhr["vep"]),
        "Latvian": sentences["lv"],
        "English": sentences["en"],
        "Estonian with code": [p for r in rows("et_text/progeopik_rst") for p in cut(r["text"])],
        "code": [p for r in rows("code/code_files")[:150] for p in cut(r["text"])[:20]],
        "LaTeX *": [p for r in rows("math/hott_book_tex") for p in cut(r["text"])[:10]],
    }  # fmt: skip
    return {name: texts for name, texts in found.items() if texts}


def signals(measurer: Measurer, texts: list[str]) -> dict[str, np.ndarray]:
    """SIGNALS of every document with at least 20 words; KenLM bits are bits per byte without the spelling of unknown words."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in SIGNALS}
    for batch in batches(pa.array(texts, pa.large_string())):
        given = as_batch(pa.table({"text": batch}), RULES)
        columns = measurer.measure(given)
        enough = columns["n_lm_lm_words"] >= 20
        assert given.segments is not None
        lines = lines_of(given.data, given.offsets, given.segments)
        n_bytes = np.bincount(lines.doc, lines.n_bytes, len(batch))[enough]
        words, n_lines = columns["n_lm_lm_words"][enough], columns["n_lm_lm_lines"][enough]
        perplexity = np.asarray(columns["lm_word_perplexity"])[enough].astype(np.float64)
        found["bits_per_byte"].append(np.asarray(columns["lm_bits_per_byte"])[enough])
        found["KenLM bits"].append(np.log2(perplexity) * (words + n_lines) / n_bytes)
        found["word_perplexity"].append(perplexity)
        found["oov_ratio"].append(columns["n_lm_oov_words"][enough] / words)
        found["tail_line_ratio"].append(columns["n_lm_tail_lines"][enough] / n_lines)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def auc(low: np.ndarray, high: np.ndarray) -> float:
    """How often a document of `high` lies above one of `low`."""
    return roc_auc(np.concatenate([low, high]), np.concatenate([np.zeros(len(low), bool), np.ones(len(high), bool)]))


def table(title: str, found: dict[str, dict[str, np.ndarray]], value: object, form: str) -> None:
    print(f"\n{title}\n{'':26}{'docs':>6}" + "".join(f"{name:>17}" for name in SIGNALS))
    for name, values in found.items():
        cells = "".join(f"{value(name, signal):>17{form}}" for signal in SIGNALS)  # type: ignore[operator]
        print(f"{name:26}{len(values[SIGNALS[0]]):>6}{cells}")


def _work(path: Path, texts: list[str]) -> tuple[float, float]:
    """(CPU seconds, seconds) to measure `texts` with the model, segmentation included, after one call to warm up."""
    measurer = lm.measurer("lm", path)
    parts = [pa.table({"text": batch}) for batch in batches(pa.array(texts, pa.large_string()))]
    measurer.measure(as_batch(parts[0], RULES))
    started, cpu = time.perf_counter(), time.process_time()
    for part in parts:
        measurer.measure(as_batch(part, RULES))
    return time.process_time() - cpu, time.perf_counter() - started


def speed(path: Path, texts: list[str]) -> None:
    megabytes = sum(len(t.encode()) for t in texts) / 1e6
    alone = min(_work(path, texts) for _ in range(3))
    with ProcessPoolExecutor(2) as pool:
        pairs = [list(pool.map(_work, [path] * 2, [texts] * 2)) for _ in range(3)]
    cpu, wall = (min(max(one[i] for one in pair) for pair in pairs) for i in range(2))
    print(f"\nspeed on {megabytes:.1f} MB of Estonian, words and lines included, MB per CPU second (and per second): one process "
          f"{megabytes / alone[0]:.1f} ({megabytes / alone[1]:.1f}); two processes together {2 * megabytes / cpu:.1f} "
          f"({2 * megabytes / wall:.1f})")  # fmt: skip


def main() -> None:
    kenlm = os.environ.get("VESKI_KENLM")
    train, held = training()
    with tempfile.TemporaryDirectory() as folder:
        texts, out = Path(folder) / "train.jsonl", Path(folder) / "lm.bin"
        texts.write_text("".join(json.dumps({"text": t}) + "\n" for t in train))
        started = time.perf_counter()
        made = lm_train.train(out, [texts], held_out=Fraction(1, 20), kenlm=Path(kenlm) if kenlm else None)
        size = sum(len(t.encode()) for t in train) / 1e6
        print(f"trained on {size:.1f} MB, {made['n_words']:,} words in {made['n_lines']:,} different lines, in "
              f"{time.perf_counter() - started:.0f} s: {' '.join(made['command'])}; binary {out.stat().st_size / 1e6:.1f} MB")  # fmt: skip
        print(f"its own held-out 5 %: {made['held_out']}; cutoffs {made['cutoffs']}; a byte of an unknown word "
              f"{facts(out).unknown_byte_bits} bits")  # fmt: skip
        measurer = lm.measurer("lm", out)
        found = {name: signals(measurer, texts) for name, texts in (held | sets()).items()}
        clean = {signal: np.concatenate([found[name][signal] for name in CLEAN]) for signal in SIGNALS}
        table("medians", found, lambda name, signal: np.median(found[name][signal]), ".3f")
        table(f"AUC: how often a document of the set lies above one of clean Estonian ({', '.join(CLEAN)})", found,
              lambda name, signal: auc(clean[signal], found[name][signal]), ".3f")  # fmt: skip
        ranked = list(found)
        above = dict(zip(ranked[1:], ranked, strict=False))
        table("AUC between neighbours: how often a document of the set lies above one of the set in the row before",
              {name: found[name] for name in ranked[1:]},
              lambda name, signal: auc(found[above[name]][signal], found[name][signal]), ".3f")  # fmt: skip
        bounds = {signal: float(np.quantile(clean[signal], 0.99)) for signal in SIGNALS}
        shown = ", ".join(f"{signal} {bound:.3g}" for signal, bound in bounds.items())
        table(f"share of each set that a bound drops which drops 1 % of clean Estonian ({shown})", found,
              lambda name, signal: float((found[name][signal] > bounds[signal]).mean()), ".3f")  # fmt: skip
        pairs = [(found[CORRECTED][signal] < found[AS_WRITTEN][signal]).mean() for signal in SIGNALS]
        print("\nfifteen L2 sentences as corrected lie below the same as written: " +
              ", ".join(f"{signal} {share:.3f}" for signal, share in zip(SIGNALS, pairs, strict=True)))  # fmt: skip
        speed(out, read_texts(DATA, ["et_text/aa_magazine", "et_text/ud_edt_dev", "quality/cefr_learner_texts"]))


if __name__ == "__main__":
    sys.exit(main())
