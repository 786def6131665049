"""docs/evidence/pii.txt: the gold file's table, hits in all real texts, the same texts by datatrove's PIIFormatter, speed.

What people judged by reading the hits stands below these tables (evidence.JUDGED) and stays there. No text of the data is written.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zstandard

from curate import text
from curate.signals import pii
from tests.bench.evidence import TOP
from tests.signals.test_pii import GOLD, gold_counts

NOT_TEXT = ("lists", "tokenizers", "models", "warc")  # block lists full of addresses, binaries, headers of transfers
FOR_SPEED = (
    "et_text/wiki_et_versions",
    "et_text/laws",
    "et_text/aa_magazine",
    "et_text/tara_doku",
    "en_text/18f_posts",
    "code/code_files",
)


def strings(value: Any, key: str = "") -> Iterator[str]:
    """Every text of a record but its bookkeeping."""
    if isinstance(value, str) and key not in ("id", "url", "license", "source"):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from strings(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


def documents(path: Path) -> list[str]:
    if path.name.endswith(".jsonl.zst"):
        with open(path, "rb") as file:
            lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n")
            return ["\n".join(strings(json.loads(line))) for line in lines]
    if path.name.endswith((".xml.gz", ".txt.gz")):
        return [gzip.decompress(path.read_bytes()).decode("utf-8", "replace")]
    return []


def files(data: Path) -> Iterator[tuple[str, list[str]]]:
    for path in sorted(data.rglob("*")):
        name = path.relative_to(data).as_posix()
        if path.is_file() and name.split("/")[0] not in NOT_TEXT and (found := documents(path)):
            yield name, found


def spans(texts: list[str]) -> tuple[set[tuple[int, int, int, str]], int, float]:
    """((document, start, end in code points, kind), bytes, CPU seconds of the measuring)."""
    found: set[tuple[int, int, int, str]] = set()
    n_bytes, seconds, first = 0, 0.0, 0
    for batch in text.batches(pa.array(texts, pa.large_string())):
        data, offsets = text.buffers(batch)
        began = time.process_time()
        _, _, hits = pii.find(data, offsets)
        seconds += time.process_time() - began
        n_bytes += int(offsets[-1] - offsets[0])
        for row, a, b, kind in zip(*(array.tolist() for array in hits), strict=True):
            raw = data[offsets[row] : offsets[row + 1]].tobytes()
            start = len(raw[:a].decode())
            found.add((first + row, start, start + len(raw[a:b].decode()), pii.KINDS[kind]))
        first += len(batch)
    return found, n_bytes, seconds


def theirs(texts: list[str]) -> set[tuple[int, int, int, str]]:
    """What PIIFormatter replaces, with its default settings."""
    from datatrove.pipeline.formatters.pii import PIIFormatter

    formatter = PIIFormatter()
    found = set()
    for row, given in enumerate(texts):
        for kind, replacer in (("email", formatter.emails_replacer), ("ipv4", formatter.ip_replacer)):
            for match in replacer.regex.finditer(given):
                if replacer.validator is None or replacer.validator(match[0]):
                    found.add((row, *match.span(), kind))
    return found


def gold_table() -> list[str]:
    rows = [json.loads(line) for line in GOLD.read_text(encoding="utf-8").split("\n") if line]
    clean = sum(not row["spans"] for row in rows)
    lines = [f"gold file: {len(rows)} texts, {sum(len(r['spans']) for r in rows)} spans in {len(rows) - clean}, none in {clean}"]
    lines += [f"{'':18}{'spans':>7}{'hits':>7}{'right':>7}{'precision':>11}{'recall':>9}"]
    for kind, n in gold_counts().items():
        precision, recall = n["right"] / max(1, n["hits"]), n["right"] / max(1, n["positives"])
        lines.append(f"{kind:18}{n['positives']:>7}{n['hits']:>7}{n['right']:>7}{precision:>11.3f}{recall:>9.3f}")
    return lines


def real_tables(data: Path) -> list[str]:
    lines = [f"{'hits in real text':40}{'MB':>7}" + "".join(f"{kind[:9]:>10}" for kind in pii.KINDS)]
    total: Counter = Counter()
    against: Counter = Counter()
    for name, texts in files(data):
        found, n_bytes, _ = spans(texts)
        counts = Counter(kind for *_, kind in found)
        total += counts + Counter(MB=n_bytes)
        if counts:
            lines.append(f"{name:40}{n_bytes / 1e6:>7.1f}" + "".join(f"{counts[kind]:>10}" for kind in pii.KINDS))
        other = theirs(texts)
        for kind in ("email", "ipv4"):
            mine, its = ({s[:3] for s in side if s[3] == kind} for side in (found, other))
            covered = {s for s in its - mine if any(s[0] == m[0] and s[1] < m[2] and m[1] < s[2] for m in mine - its)}
            against += Counter({
                (kind, "same"): len(mine & its), (kind, "other bounds"): len(covered), (kind, "only theirs"): len(its - mine - covered),
                (kind, "only ours"): len(mine - its) - len(covered),
            })  # fmt: skip
    lines.append(f"{'all':40}{total['MB'] / 1e6:>7.1f}" + "".join(f"{total[kind]:>10}" for kind in pii.KINDS))
    names = ("same", "other bounds", "only theirs", "only ours")
    lines += ["", f"{'datatrove PIIFormatter, same texts':40}" + "".join(f"{name:>14}" for name in names)]
    return lines + [f"{kind:40}" + "".join(f"{against[kind, name]:>14}" for name in names) for kind in ("email", "ipv4")]


def speed_table(data: Path) -> list[str]:
    lines = [f"{'MB/s/core':40}{'veski, 7 kinds':>16}{'datatrove, 2':>14}"]
    for name in FOR_SPEED:
        texts = documents(data / f"{name}.jsonl.zst")
        array = pa.array(texts, pa.large_string())
        given, offsets = text.buffers(array)
        best = min(_cpu(lambda g=given, o=offsets: pii.find(g, o)) for _ in range(5))
        rival = _cpu(lambda t=texts[:400]: theirs(t))
        size = sum(len(t.encode()) for t in texts[:400])
        lines.append(f"{name:40}{int(offsets[-1]) / 1e6 / best:>16.0f}{size / 1e6 / rival:>14.1f}")
    return lines


def _cpu(work: Any) -> float:
    began = time.process_time()
    work()
    return max(time.process_time() - began, 1e-9)


def main(data: Path) -> None:
    pii.find(np.zeros(1, np.uint8), np.array([0, 1], np.int64))  # compile
    parts = [gold_table()]
    if (data / "README.md").exists():
        parts += [real_tables(data), speed_table(data)]
    sys.stdout.write("\n\n".join("\n".join(part) for part in parts) + "\n")


def data_folder() -> Path:
    import os

    return Path(os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))
