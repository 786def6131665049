"""Files somebody wants to train on, in: their texts out, each file with its sha256 and counts. Imports errors, sources, store.

A file is what a recipe's source may read (JSONL, Parquet, plain text; .gz and .zst); a build folder gives the documents it kept, and
`BUILD:reason=R`, `BUILD:source=S` or `BUILD:reason=R,source=S` others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from curate.errors import CurateError, nearest
from curate.recipe import License, Limits, Source
from curate.sources import Bad, check_source, read
from curate.sources.listing import RawFile, format_of
from curate.store import digest, file_sha256


class Given(NamedTuple):
    """The texts of one input and what to write down about it."""

    texts: list[str]
    record: dict[str, Any]  # file as given, sha256, n_records, n_bad


def read_all(inputs: Sequence[str], where: str) -> list[Given]:
    """The texts of every input, in order. Raises CurateError for one that is missing, of an unknown format, or without any text."""
    found = [_read(one, where) for one in inputs]
    for given in found:
        if not given.texts:
            n_bad = given.record["n_bad"]
            raise CurateError(
                "this file has no text", where=f"{where} {given.record['file']}", found=f"{n_bad} bad records, 0 texts"
            )
    return found


def _read(one: str, where: str) -> Given:
    path, _, chosen = one.partition(":")
    if Path(one).is_file():
        return _file(Path(one), one)
    if Path(path).is_dir():
        return _build(Path(path), chosen, one, where)
    raise CurateError("there is no such file", where=where, found=one, allowed="a JSONL, Parquet or text file, or a build folder")


def _file(path: Path, name: str) -> Given:
    source = Source(name=path.name, read=[str(path)], license=License(declared="LicenseRef-unknown"))
    limits = Limits()
    stat = path.stat()
    raw = RawFile(path, path.name, format_of(path, source), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    check_source(source, [raw], limits)
    texts, n_bad = [], 0
    for item in read(path, source, limits):
        if isinstance(item, Bad):
            n_bad += 1
        else:
            texts.append(item.fields["text"])
    record = {"file": name, "sha256": file_sha256(path), "n_records": len(texts) + n_bad, "n_bad": n_bad}
    return Given(texts, record)


def _build(folder: Path, chosen: str, name: str, where: str) -> Given:
    from curate.inspect.corpus import open_corpus, rows

    options = dict(part.partition("=")[::2] for part in chosen.split(",") if part)
    if unknown := sorted(set(options) - {"reason", "source"}):
        raise CurateError(
            f"no choice {unknown[0]!r} of a build's documents", where=f"{where} {name}", allowed="reason=R, source=S"
        )
    condition, values = ("NOT keep AND reason = ?", [options["reason"]]) if "reason" in options else ("keep", [])
    if "source" in options:
        condition, values = f"{condition} AND source = ?", [*values, options["source"]]
    with open_corpus(folder) as corpus:
        query = f"SELECT text FROM texts WHERE id IN (SELECT id FROM decisions WHERE {condition}) ORDER BY id"
        texts = [row["text"] for row in rows(corpus, query, *values)]
        if not texts:
            known = [r["reason"] for r in rows(corpus, "SELECT DISTINCT reason FROM decisions WHERE NOT keep ORDER BY 1")]
            close = nearest(options.get("reason", ""), known) or known
            raise CurateError(
                "no document of this build is chosen", where=f"{where} {name}", found=chosen or "kept documents",
                allowed="reasons: " + ", ".join(close), next=f"curate stats {folder}",
            )  # fmt: skip
    return Given(texts, {"file": name, "texts_digest": digest(*texts), "n_records": len(texts), "n_bad": 0})
