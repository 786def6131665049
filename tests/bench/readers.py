"""MB/s of every reader, beside datatrove's on the same files: `python -m tests.bench.readers [--mb N]`.

Real Estonian texts (VESKI_TEST_DATA), written in every format, repeated to about N MB of text. Seconds are of the processor, best of
five, on one core, in turns, so that what else the machine does meets all alike; MB are of the file as it unpacks. `mapped` adds our
mapping to document columns, which is what datatrove's readers do when they make a Document. Peak is what Python allocates while a file
is read (tracemalloc, a run of its own).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import html
import io
import json
import os
import tarfile
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from curate.recipe import License, Limits, Source
from curate.sources import format_of, raw_rows, read
from tests.real import rows as real_rows

DATA = Path(os.environ.get("VESKI_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def source(**given: Any) -> Source:
    return Source(name="s", read=["-"], license=License(declared="CC0-1.0"), **given)


def texts(n_bytes: int) -> list[dict[str, str]]:
    found = real_rows(DATA, "wiki") + real_rows(DATA, "web")
    n = sum(len(row["text"].encode()) for row in found)
    return [
        {"id": f"{i}-{row.get('id', j)}", "text": row["text"]} for i in range(max(n_bytes // n, 1)) for j, row in enumerate(found)
    ]


def write(folder: Path, rows: list[dict[str, str]]) -> list[tuple[str, Path, Source, int]]:
    """(what, file, source, bytes unpacked) of every format."""
    made: list[tuple[str, Path, Source, int]] = []

    def add(what: str, name: str, data: bytes, packed: bytes | None = None, **options: Any) -> None:
        path = folder / name
        path.write_bytes(data if packed is None else packed)
        made.append((what, path, source(**options), len(data)))

    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    add("jsonl", "a.jsonl", lines)
    add("jsonl.gz", "a.jsonl.gz", lines, gzip.compress(lines, 6))
    add("jsonl.zst", "a.jsonl.zst", lines, zstandard.ZstdCompressor(level=3).compress(lines))
    import bz2
    import lzma

    add("jsonl.bz2", "a.jsonl.bz2", lines, bz2.compress(lines))
    add("jsonl.xz", "a.jsonl.xz", lines, lzma.compress(lines, preset=1))
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["id", "text"])
    writer.writerows([row["id"], row["text"]] for row in rows)
    add("csv", "a.csv", table.getvalue().encode())
    columns = pa.Table.from_pylist(rows)
    n_text = sum(len(row["text"].encode()) + len(row["id"]) for row in rows)
    pq.write_table(columns, folder / "a.parquet", compression="zstd")
    made.append(("parquet (zstd)", folder / "a.parquet", source(), n_text))
    for name, new in (("file", pa.ipc.new_file), ("stream", pa.ipc.new_stream)):
        with new(folder / f"{name}.arrow", columns.schema) as sink:
            sink.write_table(columns, max_chunksize=1000)
        made.append((f"arrow {name}", folder / f"{name}.arrow", source(), n_text))
    paragraphs = [(row["id"], [html.escape(part) for part in row["text"].split("\n") if part.strip()]) for row in rows]
    xml = "<all>" + "".join(f"<r id='{i}'>{''.join(f'<p>{p}</p>' for p in parts)}</r>\n" for i, parts in paragraphs) + "</all>"
    add("xml", "a.xml", xml.encode(), xml={"record": "r", "fields": {"id": "@id", "text": "."}})
    prevert = "".join(f'<doc id="{i}">\n' + "".join(f"<p>\n{p}\n</p>\n" for p in parts) + "</doc>\n" for i, parts in paragraphs)
    add("prevert", "a.prevert", prevert.encode())
    vertical = "".join(f'<doc id="{i}">\n<g/>\n' + "".join(f"{w}\t{w}-s\tS.sg.n\n" for p in parts for w in p.split()) + "</doc>\n"
                       for i, parts in paragraphs)  # fmt: skip
    add("vertical", "a.vert", vertical.encode())
    body = gzip.decompress((DATA / "et_html/etwiki_export.xml.gz").read_bytes())
    add("mediawiki", "dump.xml", body, format="mediawiki")
    sentences = [line for row in rows for line in row["text"].split("\n") if line.strip()]
    joined = ("\n".join(sentences) + "\n").encode()
    (folder / "m.en").write_bytes(joined)
    add("moses (both sides)", "m.et", joined, format="moses", moses={"languages": ["et", "en"]}, fields={"text": "et"})
    made[-1] = (*made[-1][:3], 2 * len(joined))
    units = "".join(f'<tu><tuv xml:lang="et"><seg>{html.escape(s)}</seg></tuv></tu>\n' for s in sentences)
    add("tmx", "a.tmx", f"<tmx><body>{units}</body></tmx>".encode(), fields={"text": "et"})
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for i, row in enumerate(rows):
            info = tarfile.TarInfo(f"{i}.txt")
            info.size = len(row["text"].encode())
            archive.addfile(info, io.BytesIO(row["text"].encode()))
    add("tar of txt", "a.tar", tar.getvalue())
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a.jsonl", lines)
    made.append(("zip of jsonl", folder / "a.zip", source(), len(lines)))
    grouped = "".join(json.dumps({"doc": row["id"], "nr": n, "text": line}, ensure_ascii=False) + "\n"
                      for row in rows for n, line in enumerate(row["text"].split("\n")) if line.strip()).encode()  # fmt: skip
    add("jsonl grouped", "g.jsonl", grouped, group={"by": "doc", "order": "nr"})
    add("jsonl grouped, scattered", "s.jsonl", grouped, group={"by": "doc", "order": "nr", "scattered": True})
    return made


def theirs(path: Path) -> Callable[[], Iterable[Any]] | None:
    from datatrove.pipeline.readers import JsonlReader, ParquetReader
    from datatrove.pipeline.readers.csv import CsvReader
    from datatrove.pipeline.readers.ipc import IpcReader

    name = path.name
    options: dict[str, Any] = {"glob_pattern": name}
    kinds = {".jsonl": JsonlReader, ".csv": CsvReader, ".parquet": ParquetReader, ".arrow": IpcReader}
    suffix = Path(name.removesuffix(".gz").removesuffix(".zst")).suffix
    if suffix not in kinds or name in ("g.jsonl", "s.jsonl"):
        return None
    options |= {"stream": True} if name == "stream.arrow" else {}
    return lambda: kinds[suffix](str(path.parent), **options).run()


def seconds(*makes: Callable[[], Iterable[Any]]) -> list[tuple[float, int]]:
    """(best seconds, items) of each."""
    best, n = [float("inf")] * len(makes), [0] * len(makes)
    for _ in range(5):
        for i, make in enumerate(makes):
            started = time.process_time()
            n[i] = sum(1 for _ in make())
            best[i] = min(best[i], time.process_time() - started)
    return list(zip(best, n, strict=True))


def peak(make: Callable[[], Iterable[Any]]) -> float:
    tracemalloc.start()
    for _ in make():
        pass
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found / 1e6


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--mb", type=int, default=16)
    n_mb = asked.parse_args().mb
    limit = Limits().document_bytes
    with tempfile.TemporaryDirectory() as place:
        made = write(Path(place), texts(n_mb * 1_000_000))
        print(f"{'format':<26}{'MB':>7}{'rows':>9}{'rows MB/s':>11}{'mapped':>8}{'datatrove':>11}{'peak MB':>9}")
        for what, path, of, n_bytes in made:
            mb = n_bytes / 1e6
            kind = format_of(path, of)
            rival = theirs(path)
            (raw, _), (mapped, n), (other, n_other) = seconds(
                lambda path=path, kind=kind, of=of: raw_rows(path, kind, limit, None, of),
                lambda path=path, of=of: read(path, of, Limits()),
                rival or (lambda: ()),
            )
            shown = f"{mb / other:.0f}" if rival and n_other else ("failed" if rival else "-")
            held = peak(lambda path=path, of=of: read(path, of, Limits()))
            print(f"{what:<26}{mb:>7.1f}{n:>9}{mb / raw:>11.0f}{mb / mapped:>8.0f}{shown:>11}{held:>9.1f}", flush=True)


if __name__ == "__main__":
    main()
