"""Speed of the text kernels on real texts: `python -m tests.bench.kernels`, MB of UTF-8 per CPU second of one core, best of 7.

Texts: VESKI_TEST_DATA (or ../shared/data), already in Arrow buffers. Time is CPU time of this process (user + system), so that
neighbours on the machine disturb little; compiling is timed apart, in a fresh cache folder.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

FILES = {
    "et": [
        "et_text/aa_magazine",
        "et_text/wiki_et_versions",
        "et_text/ud_edt_dev",
        "et_text/ud_ewt_train_2022",
        "quality/cefr_learner_texts",
    ],
    "et_laws": ["et_text/laws"],
    "en": ["en_text/18f_posts", "en_text/cc_en_head_0091", "en_text/inaugural", "en_text/wikitext2_valid"],
    "code": ["code/code_files"],
}


def texts(folder: Path, names: list[str]) -> list[str]:
    import zstandard

    found = []
    for name in names:
        with open(folder / f"{name}.jsonl.zst", "rb") as file:
            stream = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n")
            found += [json.loads(line)["text"] for line in stream]
    return found


def best(work: Callable[[], object], n: int = 7) -> float:
    times = []
    for _ in range(n):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def measure(rows: list[str]) -> dict[str, float]:
    """Rate of every step in MB/s; the signal pass is segment + length + Gopher together."""
    import numpy as np
    import pyarrow as pa

    from curate import langid, text
    from curate.signals import gopher

    batches = [text.buffers(batch) for batch in text.batches(pa.array(rows, pa.large_string()))]
    segments = [text.segment(*batch) for batch in batches]
    stop = np.array([text.word_hash(word) for word in gopher.stop_words("et")], np.uint64)
    spec = langid.Spec(candidates=langid.NEIGHBOURS)

    def signal_pass() -> None:
        for batch in batches:
            seg = text.segment(*batch)
            text.length_counts(*batch, seg)
            text.gopher_quality_counts(*batch, seg, stop)

    def sign() -> None:
        for seg in segments:
            text.signatures(seg, ngram=5, bands=16, rows=7, seed=0)

    steps: dict[str, Callable[[], object]] = {
        "signal pass": signal_pass,
        "segment": lambda: [text.segment(*batch) and None for batch in batches],
        "length": lambda: [text.length_counts(*b, s) for b, s in zip(batches, segments, strict=True)],
        "gopher": lambda: [text.gopher_quality_counts(*b, s, stop) for b, s in zip(batches, segments, strict=True)],
        "signatures": sign,
        "text to sign.": lambda: [text.signatures_of(*b, None, "rules", ngram=5, bands=16, rows=7, seed=0) for b in batches],
        "folded": lambda: [
            text.folded(b[0], s, ("digits", "diacritics")) and None for b, s in zip(batches, segments, strict=True)
        ],
        "normalised": lambda: [text.normalised_hashes(*batch) for batch in batches],
        "shingle sets": lambda: [text.shingle_sets(s, np.arange(len(s.doc_ptr) - 1), 5) for s in segments],
        "language": lambda: [langid.identify(*batch, spec) for batch in batches],
    }
    megabytes = sum(int(offsets[-1] - offsets[0]) for _, offsets in batches) / 1e6
    return {"MB": megabytes, **{name: megabytes / best(work) for name, work in steps.items()}}


def main() -> None:
    folder = Path(os.environ.get("VESKI_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    started = time.process_time()
    measure(["Tere, maailm!"])  # compiles everything; loads the language model
    print(f"cold start: imports, compiling all kernels, loading the language model: {time.process_time() - started:.1f} CPU s")
    rates = {name: measure(texts(folder, files)) for name, files in FILES.items()}
    columns = list(rates["et"])
    print("MB/s/core  " + "".join(f"{column:>14}" for column in columns))
    for name, row in rates.items():
        print(f"{name:<11}" + "".join(f"{row[column]:>14.1f}" for column in columns))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NUMBA_CACHE_DIR"] = cache
        sys.exit(main())
