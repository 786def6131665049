"""A URL or a dataset of the hub in, a proposed source block out, from about the first MB of its first file. Imports propose."""

from __future__ import annotations

import io
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.recipe.places import COMMIT, Place, is_url, local
from curate.sources.formats import BY_SUFFIX
from curate.sources.places import Remote, Unreachable, listed, opened
from curate.sources.propose import EVALUATION, Proposal, propose
from curate.sources.stream import Blocks, compression_of, strip_compression

LOOK_BYTES = 1 << 20  # stored bytes of a file of lines
UNPACKED_BYTES = 8 << 20  # and what they may unpack to
READ_BYTES = 1 << 16  # of Parquet's pages at a time
N_ROWS = 200
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def look_at(text: str, config: str | None = None, split: str | None = None, revision: str | None = None) -> Proposal:
    """What `curate inspect-source` is given: a path, a URL pattern, or the id of a dataset where no such path is."""
    path = Path(local(text))
    if is_url(text):
        place = Place(text, text)
    elif not path.exists() and _HUB_ID.fullmatch(text) and path.suffix.lower() not in BY_SUFFIX:
        from curate.sources.places import hub

        place = Place(text, "", text, config, revision or None, split)
        if not COMMIT.fullmatch(revision or ""):
            place = place._replace(revision=hub.latest(text, revision))
    else:
        return propose(path)
    return _of_place(text, place)


def _of_place(text: str, place: Place) -> Proposal:
    remotes = listed(place)
    first = next((remote for remote in remotes if remote.size), remotes[0])
    with tempfile.TemporaryDirectory() as folder:
        file, share, compression, was_cut = _beginning(first, Path(folder))
        found = propose(file)
    total = sum(max(remote.size, 0) for remote in remotes)
    bad = dict(found.bad)
    if was_cut and bad.get("truncated"):  # by us
        bad = {cause: n for cause, n in {**bad, "truncated": bad["truncated"] - 1}.items() if n}
    sizes = f"the first of {len(remotes)} files" if len(remotes) > 1 else "the file"
    notes = [
        *found.notes,
        *([f"only the beginning of {sizes} was looked at: {first.path.rpartition('/')[2]}"] if was_cut else []),
    ]
    source = {**_read(text, place), **{key: value for key, value in found.source.items() if key != "read"}}
    if found.type == EVALUATION and place.hub:  # sets to look for are files, so far
        source = {**found.source, "read": [remote.url for remote in remotes]}
    if place.hub:
        from curate.sources.places import hub

        said = hub.card(place).get("license") if hub.has_card(place) else None
        notes += [f"the dataset's card says license: {said}"] if said else []
    per_byte = found.documents_estimate / max(share * first.size, 1) if first.size > 0 else 0
    return replace(
        found, path=text, compression=[compression], n_files=len(remotes), total_bytes=total, bad=bad, notes=notes, source=source,
        documents_estimate=max(round(per_byte * total), found.looked_at if not was_cut else 0),
    )  # fmt: skip


def _read(text: str, place: Place) -> dict[str, Any]:
    if not place.hub:
        return {"read": text}
    given = {"hub": place.hub, "config": place.config, "revision": place.revision, "split": place.split}
    return {key: value for key, value in given.items() if value}


def _beginning(remote: Remote, folder: Path) -> tuple[Path, float, str, bool]:
    """(a file of the first records, what share of the remote's bytes it stands for, its compression, whether it is not the whole)."""
    name = re.sub(r"[^\w.-]", "_", remote.path.rpartition("/")[2])
    if Path(name).suffix.lower() in (".parquet", ".pq"):
        return _first_rows(remote, folder / name)
    head = folder / f"head-{name}"
    head.write_bytes(b"".join(opened(remote, 0, LOOK_BYTES).blocks)[:LOOK_BYTES])
    stored = head.stat().st_size
    with open(head, "rb") as stream:
        compression = compression_of(stream.read(16))
    was_cut = stored < remote.size or (remote.size < 0 and stored == LOOK_BYTES)
    if not was_cut:
        return head.rename(folder / name), 1.0, compression, False
    data, blocks = bytearray(), Blocks(head)
    for block in blocks:
        data += block
        if len(data) >= UNPACKED_BYTES:
            break
    end = data.rfind(b"\n") + 1 or len(data)
    plain = folder / strip_compression(name)
    plain.write_bytes(data[:end])
    share = blocks.n_stored / remote.size * end / max(len(data), 1) if remote.size > 0 else 1.0
    return plain, share, compression, True


def _first_rows(remote: Remote, file: Path) -> tuple[Path, float, str, bool]:
    """Parquet is read from its end: the footer, then the first pages of its columns."""
    try:
        with pq.ParquetFile(pa.PythonFile(_Ranges(remote), mode="r"), buffer_size=READ_BYTES, pre_buffer=False) as parquet:
            n_rows = parquet.metadata.num_rows
            batch = next(parquet.iter_batches(batch_size=N_ROWS, row_groups=[0], use_threads=False), None) if n_rows else None
            table = pa.Table.from_batches([batch] if batch is not None else [], parquet.schema_arrow)
    except pa.ArrowException as error:
        raise CurateError("this is no Parquet file", where=remote.url, found=str(error).splitlines()[0]) from error
    pq.write_table(table, file)
    return file, table.num_rows / max(n_rows, 1), "plain", table.num_rows < n_rows


class _Ranges(io.RawIOBase):
    """A remote file as one that can be sought in; what is read is asked for then."""

    def __init__(self, remote: Remote) -> None:
        self._remote, self._at = remote, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._remote.size}[whence]
        return self._at

    def read(self, n: int = -1) -> bytes:
        n = self._remote.size - self._at if n < 0 else min(n, self._remote.size - self._at)
        if n <= 0:
            return b""
        answer = opened(self._remote, self._at, n)
        if answer.offset != self._at:
            raise Unreachable(
                "this server cannot send a part of a file", where=self._remote.url, next="curate fetch, then look at the mirror"
            )
        data = b"".join(answer.blocks)
        self._at += len(data)
        return data
