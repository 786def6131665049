"""Accuracy and cost of language identification: `python -m tests.bench.langid`. Texts: VESKI_TEST_DATA (or ../shared/data).

Word pairs and sentences are lingua's test file, documents are joined sentences and other corpora; Livvi, Karelian and Veps are
languages no backend here names. Cost is MB of text per CPU second of one core.
"""

from __future__ import annotations

import collections
import os
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate import langid, text
from curate.langid import Spec, language_code
from curate.signals import Batch, language
from tests.bench.kernels import texts as read_texts
from tests.bench.lm import cut, rows

DATA = Path(os.environ.get("VESKI_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
LANGUAGES = ("et", "fi", "lv", "lt", "sv", "ru", "en")
N = 300  # items of one language and length: differences below about 2 points mean nothing
LID_176 = DATA / "lid" / "lid.176.ftz"

BACKENDS: dict[str, Spec] = {
    "py3langid, 13 candidates": Spec(candidates=langid.NEIGHBOURS),
    "py3langid, 13, whole text": Spec(candidates=langid.NEIGHBOURS, windows=0),
    "py3langid, 13, 1 window": Spec(candidates=langid.NEIGHBOURS, windows=1),
    "py3langid, all 140": Spec(),
    "lid.176.ftz, 13 candidates": Spec("fasttext", LID_176, langid.NEIGHBOURS),
    "lid.176.ftz, all 176": Spec("fasttext", LID_176),
    "lid.176.ftz, all, whole text": Spec("fasttext", LID_176, windows=0),
}


def identify(texts: list[str], spec: Spec) -> langid.Languages:
    found = [langid.identify(*text.buffers(part), spec) for part in text.batches(pa.array(texts, pa.large_string()))]
    return langid.Languages(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def kind(written: str) -> str:
    words = len(written.split())
    return "word" if words == 1 else "pair" if words == 2 else "sentence"


def lengths() -> dict[str, dict[str, list[str]]]:
    """length -> language -> texts."""
    found: dict[str, dict[str, list[str]]] = {
        length: collections.defaultdict(list) for length in ("word", "pair", "sentence", "document")
    }
    for row in rows("lid/lingua_test"):
        if (code := language_code(row["lang"])) in LANGUAGES:
            found[kind(row["text"])][code].append(row["text"])
    for code in LANGUAGES:
        sentences = found["sentence"][code]
        found["document"][code] = [" ".join(sentences[i : i + 15]) for i in range(0, len(sentences), 15)]
        for length in ("word", "pair", "sentence"):
            found[length][code] = found[length][code][:N]
    return found


def corpora() -> dict[str, tuple[str, list[str]]]:
    """name -> (language, documents of about 2 kB)."""
    udhr = {row["lang"]: row["text"] for row in rows("lid/udhr2")}
    of_udhr = {"et": "est", "fi": "fin", "lv": "lav", "lt": "lit", "sv": "swe", "ru": "rus", "en": "eng"}
    genesis = {row["id"]: row["text"] for row in rows("lid/genesis_bible")}
    found = {f"UDHR {code}": (code, cut(udhr[name])) for code, name in of_udhr.items()}
    for code, name in (("fi", "finnish"), ("sv", "swedish"), ("en", "english-web")):
        found[f"Genesis {code}"] = (code, cut(genesis[f"genesis/{name}.txt"]))
    for name, place in {"press, EDT": "et_text/ud_edt_dev", "web, EWT": "et_text/ud_ewt_train_2022", "wiki": "et_text/wiki_et_versions",
                        "magazine": "et_text/aa_magazine"}.items():  # fmt: skip
        found[f"et {name}"] = ("et", [part for row in rows(place) for part in cut(row["text"])][:N])
    found["et learners"] = ("et", [row["text"] for row in rows("quality/cefr_learner_texts")][:N])
    found["et Tatoeba sentences"] = ("et", [row["text"] for row in rows("parallel/tatoeba_et_en")][:N])
    found["en blog, 18F"] = ("en", [part for row in rows("en_text/18f_posts") for part in cut(row["text"])][:N])
    return found


def strangers() -> dict[str, list[str]]:
    """Relatives no backend here names; what are they called?"""
    udhr = {row["lang"]: row["text"] for row in rows("lid/udhr2")}
    livvi = " ".join(row["text"] for row in rows("lid/ud_livvi"))
    return {
        "Livvi sentences": [s for s in re.split(r"(?<=[.!?])\s+", livvi) if len(s) > 20],
        "Karelian, UDHR lines": [line for line in udhr["krl"].split("\n") if len(line) > 40],
        "Veps, UDHR lines": [line for line in udhr["vep"].split("\n") if len(line) > 40],
        "code": [part for row in rows("code/code_files")[:150] for part in cut(row["text"])[:3]],
    }


def accuracy(texts: list[str], code: str, spec: Spec) -> float:
    return 100 * float((identify(texts, spec).language == code).mean())


def table(title: str, columns: list[str], cell: Callable[[Spec, str], object]) -> None:
    print(f"\n{title}\n{'':30}" + "".join(f"{column:>10}" for column in columns))
    for name, spec in BACKENDS.items():
        print(f"{name:30}" + "".join(f"{cell(spec, column):>10}" for column in columns))


def cost(texts: list[str], spec: Spec) -> float:
    identify(texts[:2], spec)
    megabytes, times = sum(len(t.encode()) for t in texts) / 1e6, []
    for _ in range(3):
        started = time.process_time()
        identify(texts, spec)
        times.append(time.process_time() - started)
    return megabytes / min(times)


def confusion(by_length: dict[str, dict[str, list[str]]]) -> None:
    print("\nwhat Estonian is taken for, and what is taken for Estonian, of all word pairs and sentences (number of texts)")
    for name, spec in BACKENDS.items():
        taken: collections.Counter[str] = collections.Counter()
        called: collections.Counter[str] = collections.Counter()
        for length in ("pair", "sentence"):
            for code, texts in by_length[length].items():
                language = identify(texts, spec).language
                if code == "et":
                    taken.update(x for x in language if x != "et")
                elif n := int((language == "et").sum()):
                    called[code] += n
        shown = (", ".join(f"{code} {n}" for code, n in counts.most_common(8)) or "none" for counts in (taken, called))
        print(f"{name:30}" + "   called et: ".join(shown))


def opinions(by_length: dict[str, dict[str, list[str]]]) -> None:
    """Two identifiers side by side: what is called Estonian by the first, by the second, and by both (language_agreement)."""
    first, second = BACKENDS["py3langid, 13 candidates"], BACKENDS["lid.176.ftz, all 176"]
    print("\nshare called Estonian by py3langid with 13 candidates, by lid.176.ftz, by both")
    sets = {f"{code} {length}s": by_length[length][code] for code in ("et", "fi") for length in ("pair", "sentence", "document")}
    sets["et learners"] = [row["text"] for row in rows("quality/cefr_learner_texts")]
    sets |= {name: texts for name, texts in strangers().items() if name != "code"}
    for name, texts in sets.items():
        one, two = (identify(texts, spec).language == "et" for spec in (first, second))
        print(f"{name:22}{len(texts):>6} texts {one.mean():>8.3f}{two.mean():>8.3f}{(one & two).mean():>8.3f}")


def segments() -> None:
    """Foreign parts of pages: paragraphs of another language put into Estonian ones; and what clean pages show."""

    def measure(texts: list[str], spec: Spec) -> dict:
        array = pa.array(texts, pa.large_string())
        return language.measure_segments("language", spec, Batch(array, *text.buffers(array), None))

    sentences = {
        code: [r["text"] for r in rows("lid/lingua_test") if language_code(r["lang"]) == code and len(r["text"]) > 60]
        for code in LANGUAGES
    }
    rng = random.Random(0)
    print("\nparagraphs of five sentences put into pages of twenty Estonian ones: bytes found / bytes put in, and the share of pages "
          "whose second language is right")  # fmt: skip
    for name in ("py3langid, 13 candidates", "lid.176.ftz, 13 candidates", "lid.176.ftz, all 176"):
        spec, cells = BACKENDS[name], []
        for code in LANGUAGES[1:]:
            pages, put = [], 0
            for _ in range(60):
                own, other = rng.sample(sentences["et"], 20), rng.sample(sentences[code], 5)
                put += len("\n".join(other).encode()) + 1
                pages.append("\n".join([*own[:10], *other, *own[10:]]))
            found = measure(pages, spec)
            cells.append(
                f"{code} {found['n_language_foreign_bytes'].sum() / put:.2f}, {(found['language_second'] == code).mean():.2f}"
            )
        print(f"{name:30}" + "   ".join(cells))
    print(
        "share of the bytes of clean Estonian that is called foreign (Wikipedia has foreign bibliographies, the magazine has code)"
    )
    clean = {
        "Wikipedia sentences (MLQE)": ["\n".join(r["text"] for r in rows("parallel/mlqe_et_en")[i : i + 20]) for i in range(0, 4000, 20)],
        "learners": [r["text"] for r in rows("quality/cefr_learner_texts")],
        "acts": [r["text"] for r in rows("et_text/laws")[:100]],
        "Wikipedia pages": [r["text"] for r in rows("et_text/wiki_et_versions")],
        "magazine": [r["text"] for r in rows("et_text/aa_magazine")],
    }  # fmt: skip
    for name in ("py3langid, 13 candidates", "lid.176.ftz, 13 candidates", "lid.176.ftz, all 176"):
        shares = []
        for label, texts in clean.items():
            found = measure(texts, BACKENDS[name])
            shares.append(f"{label} {100 * found['n_language_foreign_bytes'].sum() / sum(len(t.encode()) for t in texts):.3f} %")
        print(f"{name:30}" + "   ".join(shares))


def main() -> None:
    by_length, others = lengths(), corpora()
    for length, texts in by_length.items():
        columns = list(LANGUAGES)
        n = min(len(texts[code]) for code in LANGUAGES)
        table(f"accuracy in %, {length}s of lingua's test file ({n} or more of each language)", columns,
              lambda spec, code, texts=texts: f"{accuracy(texts[code], code, spec):.1f}")  # type: ignore[misc]  # fmt: skip
    print("\naccuracy in %, documents of about 2 kB of other corpora (and Tatoeba's short sentences)")
    for name, spec in BACKENDS.items():
        print(f"{name:30}" + "   ".join(f"{label} {accuracy(texts, code, spec):.1f}" for label, (code, texts) in others.items()))
    confusion(by_length)
    print("\nwhat texts are called that no backend has a label for (lid.176 has Veps)")
    for label, texts in strangers().items():
        for name in ("py3langid, 13 candidates", "py3langid, all 140", "lid.176.ftz, all 176"):
            found = identify(texts, BACKENDS[name])
            counts = collections.Counter(found.language.tolist()).most_common(5)
            print(f"{label:22} {name:28} {len(texts)} texts: " + ", ".join(f"{code} {n}" for code, n in counts) +
                  f"; median score {np.median(found.score):.2f}")  # fmt: skip
    opinions(by_length)
    segments()
    documents = read_texts(DATA, ["et_text/aa_magazine", "et_text/wiki_et_versions"])
    short = [t for texts in by_length["sentence"].values() for t in texts]
    table("MB of text per CPU second of one core", ["documents", "sentences"],
          lambda spec, column: f"{cost(documents if column == 'documents' else short, spec):.1f}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
