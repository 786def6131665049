"""Repeated lines, paragraphs and substrings on real texts: MB/s per core, bytes spilled, peak memory; datatrove's SentenceDedup beside.

python -m tests.bench.repeats [MB]. Real texts of VESKI_TEST_DATA. CPU seconds of one process, system time included;
kernels are compiled before the clock starts. Two corpora of MB (64) megabytes in documents of about 3 kB, of Estonian and English
texts: `ordinary` repeats words but few runs of them (from the second reading of the texts on, the words of every line are
shuffled); `template` holds every paragraph several times, in another order. datatrove: SentenceDedup of single lines (its three steps,
text in memory, nothing removed for being short), on the first 8 MB of the same documents.
"""

from __future__ import annotations

import io
import json
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from curate import engine, schema
from curate.recipe import Cut
from curate.relate import repeats
from curate.store import Stage, Store, folder_bytes
from tests.bench.signals import data_folder
from tests.relate.corpus import recipe_of

FILES = ("et_text/laws", "et_text/wiki_et_versions", "et_text/aa_magazine", "et_text/progeopik_rst", "en_text/18f_posts", "en_text/wikitext2_valid",
         "en_text/inaugural")  # fmt: skip
SHARD = 16384
RIVAL_BYTES = 8_000_000


def paragraphs(data: Path) -> list[str]:
    found = []
    for name in FILES:
        with open(data / f"{name}.jsonl.zst", "rb") as file:
            for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n"):
                found += [p for p in json.loads(line)["text"].split("\n\n") if p.strip()]
    return found


def shuffled_words(paragraph: str, chance: random.Random) -> str:
    lines = [line.split(" ") for line in paragraph.split("\n")]
    for words in lines:
        chance.shuffle(words)
    return "\n".join(" ".join(words) for words in lines)


def texts(data: Path, kind: str, n_bytes: int) -> Iterator[str]:
    given, chance, made = paragraphs(data), random.Random(1), 0
    for reading in range(1000):
        if reading and kind == "template":
            chance.shuffle(given)
        part: list[str] = []
        for paragraph in given:
            part.append(shuffled_words(paragraph, chance) if reading and kind == "ordinary" else paragraph)
            if sum(map(len, part)) > 3000:
                text = "\n\n".join(part)
                yield text
                part = []
                made += len(text.encode())
                if made >= n_bytes:
                    return


def documents_of(store: Store, listed: list[str], name: str) -> Stage:
    stage = store.stage("documents", version=1, settings={"of": name})
    keys = []
    for i in range(0, len(listed), SHARD):
        part = listed[i : i + SHARD]
        keys.append(f"{i // SHARD:05d}")
        columns = {field.name: pa.nulls(len(part), field.type) for field in schema.DOCUMENTS}
        columns |= {"id": pa.array([f"{i + j:032x}" for j in range(len(part))]), "text": pa.array(part, pa.large_string())}
        with stage.shard(keys[-1]) as shard:
            pq.write_table(
                pa.table(columns, schema=schema.DOCUMENTS),
                shard.path / "documents.parquet",
                compression="zstd",
                row_group_size=2000,
            )
            shard.done(len(part), name + keys[-1])
    stage.finish(keys)
    return stage


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def ours(folder: Path, listed: list[str], name: str, cut: Cut) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    store, size = Store(folder), sum(len(t.encode()) for t in listed)
    stage = documents_of(store, listed, name)
    recipe = recipe_of(["a"]).model_copy(update={"cuts": [cut]})
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    before, wall = cpu(), time.monotonic()
    with engine.quietly():
        found = repeats.measure(store, recipe, {"a": stage}, {}, 1)
    seconds, wall = cpu() - before, time.monotonic() - wall
    spilled = sum(
        folder_bytes(store.root / s)
        for s in ("repeat_keys", "repeat_counts", "anchors", "anchor_repeats")
        if (store.root / s).exists()
    )
    results = sum(folder_bytes(s.path) for s in found.values())
    rows = [
        pq.read_table(stage.shard_path(key) / f"{family}.parquet")
        for (_, family), stage in found.items() if family != "repeated_paragraphs" for key in stage.keys
    ]  # fmt: skip
    share = sum(sum(table[table.column_names[2]].to_pylist()) for table in rows) / size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    what = f"{cut.kind} {'+'.join(cut.of)}".strip()
    speed = f"{size / 1e6:5.0f} MB {seconds:6.2f} s CPU {wall:6.1f} s wall {size / 1e6 / seconds:6.1f} MB/s/core"
    disk = f"spilled {spilled / size:.2f} B/B  spans {results / size:.3f} B/B"
    print(f"{name:<9} {what:<34}{speed}  repeated {share:4.0%}  {disk}  peak {peak:.0f} MB (before {grown:.0f})", flush=True)


def rival(folder: Path, listed: list[str], name: str) -> None:
    from datatrove.data import Document
    from datatrove.pipeline.dedup import SentDedupConfig, SentenceDedupFilter, SentenceDedupSignature, SentenceFindDedups

    shutil.rmtree(folder, ignore_errors=True)
    config = SentDedupConfig(n_sentences=1, split_sentences=False, min_doc_words=0, min_num_sentences=0)
    size, n = 0, 0
    while n < len(listed) and size < RIVAL_BYTES:
        size, n = size + len(listed[n].encode()), n + 1
    given = [Document(text=t, id=str(i)) for i, t in enumerate(listed[:n])]
    before = cpu()
    SentenceDedupSignature(str(folder / "sigs"), config=config).run(iter(given))
    SentenceFindDedups(str(folder / "sigs"), str(folder / "dups"), config=config).run()
    kept = list(SentenceDedupFilter(str(folder / "dups"), config=config).run(iter(given)))
    seconds = cpu() - before
    print(f"{name:<9} datatrove SentenceDedup, lines     {size / 1e6:5.0f} MB {seconds:6.2f} s CPU {'':14}{size / 1e6 / seconds:6.1f} MB/s/core  "
          f"spilled {folder_bytes(folder) / size:.2f} B/B  {len(kept)} documents left of {n}", flush=True)  # fmt: skip


def main(data: Path, folder: Path, n_bytes: int) -> None:
    cuts = [Cut(kind="boilerplate_lines", of="line"), Cut(kind="boilerplate_lines"), Cut(kind="repeated_substrings")]
    few = [t for t, _ in zip(texts(data, "template", 10**6), range(20), strict=False)] * 2
    start = time.monotonic()
    for cut in cuts:
        with open("/dev/null", "w") as nowhere:
            shown, sys.stdout = sys.stdout, nowhere
            ours(folder / "store", few, "warm", cut)
            sys.stdout = shown
    print(f"kernels compiled or loaded in {time.monotonic() - start:.1f} s")
    for name in ("ordinary", "template"):
        listed = list(texts(data, name, n_bytes))
        for cut in cuts:
            ours(folder / "store", listed, name, cut)
        rival(folder / "datatrove", listed, name)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="veski-repeats-") as made:
        main(data_folder(), Path(made), int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 64_000_000)
