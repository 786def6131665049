"""The rival of road.py: the same chain in datatrove, with its own blocks and its fastest documented settings.

reader -> language -> Gopher quality -> MinHash (16 x 7, word 5-grams; signatures, buckets, cluster, filter) -> tokens.
`python -m tests.bench.datatrove_chain RAW OUT LID_MODEL TOKENIZER WORKERS` prints one line per stage: name, seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

WINDOWS, WINDOW_BYTES = 3, 700  # the same language windows as ours


def windows(text: str) -> str:
    """Start, middle and end of a long text, about 700 characters each: what our language family looks at."""
    if len(text) <= WINDOWS * WINDOW_BYTES:
        return text
    middle = (len(text) - WINDOW_BYTES) // 2
    return " ".join((text[:WINDOW_BYTES], text[middle : middle + WINDOW_BYTES], text[-WINDOW_BYTES:]))


def main(raw: str, out: str, lid_model: str, tokenizer: str, workers: int) -> None:
    from datatrove.data import Document
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.filters import GopherQualityFilter, LanguageFilter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.lid import FT176LID

    tasks = len(list(Path(raw).iterdir()))
    config = MinhashConfig(n_grams=5, num_buckets=16, hashes_per_bucket=7, hash_config=HashConfig(precision=64))
    stop_words = Path(__file__).resolve().parents[2] / "curate/signals/stop_words/et.txt"
    words = [w for w in stop_words.read_text(encoding="utf-8").split("\n") if w and not w.startswith("#")]

    class LocalWindows(FT176LID):
        MODEL_URL = lid_model  # a local file: nothing is fetched

        def predict(self, doc: Document) -> tuple[tuple[str, int], dict[str, float]]:
            return super().predict(Document(text=windows(doc.text), id=doc.id))

    language = LanguageFilter(["et"], language_threshold=0.65)
    language.model = LocalWindows(["et"])

    def stage(name: str, pipeline: list, tasks: int) -> None:
        started = time.monotonic()
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=min(workers, tasks), logging_dir=f"{out}/logs/{name}").run()
        print(f"{name}\t{time.monotonic() - started:.3f}", flush=True)

    stage("filter", [
        JsonlReader(raw), language, GopherQualityFilter(language="ekk_Latn", stop_words=words), JsonlWriter(f"{out}/filtered"),
    ], tasks)  # fmt: skip
    stage("signatures", [
        JsonlReader(f"{out}/filtered"), MinhashDedupSignature(f"{out}/sigs", config=config, language="ekk_Latn"),
    ], tasks)  # fmt: skip
    stage("buckets", [MinhashDedupBuckets(f"{out}/sigs", f"{out}/buckets", config=config)], config.num_buckets)
    stage("cluster", [MinhashDedupCluster(f"{out}/buckets", f"{out}/remove", config=config)], 1)
    stage("tokens", [
        JsonlReader(f"{out}/filtered"), MinhashDedupFilter(f"{out}/remove"),
        DocumentTokenizer(f"{out}/tokens", tokenizer_name_or_path=tokenizer, eos_token="<|endoftext|>", shuffle_documents=False),
    ], tasks)  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
