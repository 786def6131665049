"""The rival of dedup.py: datatrove's four MinHash stages over JSONL files, and nothing else.

`python -m tests.bench.datatrove_minhash RAW OUT BANDS ROWS WORKERS [--plain] [--clusters]` prints one line per stage: name, seconds.
OUT/kept holds the documents that stay. --plain: digits and diacritics are left as they are (datatrove replaces them by default).
--clusters: kept and OUT/removed carry metadata.minhash_cluster_id. 64-bit xxhash, as by default; a task per file and per band.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path


def main(raw: str, out: str, bands: int, rows: int, workers: int, plain: bool, clusters: bool) -> None:
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.text import TextNormConfig

    norm = TextNormConfig(norm_unicode_diacritics=not plain, norm_numbers=not plain)
    config = MinhashConfig(n_grams=5, num_buckets=bands, hashes_per_bucket=rows, norm_config=norm)
    tasks = len(list(Path(raw).iterdir()))

    def stage(name: str, pipeline: list, tasks: int) -> None:
        started = time.monotonic()
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=min(workers, tasks), logging_dir=f"{out}/logs/{name}").run()
        print(f"{name}\t{time.monotonic() - started:.3f}", flush=True)

    stage("signatures", [JsonlReader(raw), MinhashDedupSignature(f"{out}/sigs", config=config, language="ekk_Latn")], tasks)
    stage("buckets", [MinhashDedupBuckets(f"{out}/sigs", f"{out}/buckets", config=config)], bands)
    stage("cluster", [
        MinhashDedupCluster(f"{out}/buckets", f"{out}/remove", config=config, save_cluster_id=clusters),
    ], 1)  # fmt: skip
    removed = JsonlWriter(f"{out}/removed") if clusters else None
    stage("filter", [
        JsonlReader(raw), MinhashDedupFilter(f"{out}/remove", exclusion_writer=removed, load_cluster_ids=clusters),
        JsonlWriter(f"{out}/kept"),
    ], tasks)  # fmt: skip


if __name__ == "__main__":
    flags = sys.argv[6:]
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]), "--plain" in flags, "--clusters" in flags)
