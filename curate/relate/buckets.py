"""Stage "buckets": which documents share a band key or a hash, and the components these form.

In: bands.npy, n_shingles.npy, normalised.npy of every signatures shard; id, text_hash and url of the documents. Out, key "all":
member.npy int64 (m,) ordinals of documents that share anything; bucket.npy int32 (m, bands), -1 alone, numbered per band;
normalised.npy and text.npy int32 (m,), hash group or -1, and url.npy where the recipe compares addresses, or prompts of conversations;
component.npy int32 (m,); id.npy S32 (m,). Documents of references lie first, those that count; what only they share is nothing to us.
Imports addresses, layout, prompts, references, spill, store.

Memory while it runs, per document of the corpus: labels of the band or hash at work 4, parent 4, flag 1; and one partition of
keys (spill.PART_ROWS rows of 20 or 28 bytes), or 28 bytes per document that has the one key of a larger partition: 37 at most.
On disk meanwhile, per document: 12 bytes a band and 20 a hash for the keys, which become 4 each for the labels: 232 for 16 bands.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.engine import Task
from curate.errors import CurateError
from curate.relate import addresses, kernels, prompts
from curate.relate.layout import Shard, layout, n_documents
from curate.relate.references import Reference
from curate.relate.spill import Column, RowFile, bits_for
from curate.store import Digest, Stage, Store

VERSION = 1
_NO_REFERENCES: Mapping[str, Reference] = {}
BLOCK_ROWS = 1 << 17  # shards are read and written so many documents at a time: 24 MB with 16 bands (a guess)


def tasks(
    store: Store, sources: Sequence[str], documents: Mapping[str, Stage], signatures: Mapping[str, Stage], near: bool, url: bool = False,
    references: Mapping[str, Reference] = _NO_REFERENCES, prompted: Sequence[str] = (),
) -> tuple[Stage, list[Task]]:  # fmt: skip
    """`near` False: only hash groups, and bucket.npy has no bands. `url`: documents of one address form groups too. `references`: the
    first of `sources`. `prompted`: sources of conversations, of which those of one prompt form groups, whatever their addresses."""
    parents = [stage.root for source in sources for stage in (documents[source], signatures[source])]
    parents += [one.decide.root for one in references.values() if one.decide is not None]
    settings = {"sources": list(sources), "near": near, **({"url": addresses.VERSION} if url else {})}
    settings |= {"references": list(references)} if references else {}
    settings |= {"prompted": [prompts.VERSION, *prompted]} if prompted else {}
    stage = store.stage("buckets", version=VERSION, settings=settings, parents=parents)
    shards = layout(sources, documents)
    return stage, [
        Task(
            ((stage, "all"),),
            _write,
            (stage, shards, dict(signatures), near, url, dict(references), tuple(prompted)),
            max(1, n_documents(shards)),
        )
    ]


def _write(
    stage: Stage, shards: list[Shard], signatures: dict[str, Stage], near: bool, url: bool, references: dict[str, Reference],
    prompted: tuple[str, ...],
) -> None:  # fmt: skip
    n, n_references = n_documents(shards), sum(shard.rows for shard in shards if shard.source in references)
    scratch = stage.store / ".tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="keys-", dir=scratch) as folder, stage.shard("all") as shard:
        columns = _spill(Path(folder), shards, signatures, near, url, references, prompted)
        parent, shares = np.arange(n, dtype=np.int32), np.zeros(n, bool)
        n_groups = {}
        for column in columns:
            first = column.labels(n)
            _forget_foreign(first, n_references)
            kernels.union(parent, first)
            shares |= first >= 0
            n_groups[column.name] = int(kernels.number_groups(first))
            first.tofile(_labels(column))
            del first
        m, n_components = int(shares.sum()), int(kernels.number_components(parent, shares))
        root = _write_members(shard.path, shards, columns, parent, shares, m)
        n_buckets = sum(number for name, number in n_groups.items() if name.startswith("band"))
        shard.done(m, root, {"members": m, "buckets": n_buckets, "components": n_components})


def _forget_foreign(first: np.ndarray, n_references: int) -> None:
    """Groups of references alone become nothing: nobody asks whether they are alike. They are the first rows, and so the labels."""
    if n_references:
        own = first[n_references:]
        is_ours = np.zeros(n_references, bool)
        is_ours[own[(own >= 0) & (own < n_references)]] = True
        foreign = first[:n_references]
        foreign[~((foreign >= 0) & is_ours[foreign])] = -1


def _spill(
    folder: Path, shards: list[Shard], signatures: dict[str, Stage], near: bool, url: bool, references: dict[str, Reference],
    prompted: tuple[str, ...],
) -> list[Column]:  # fmt: skip
    """The columns of band keys in their order, then those of hashes; one pass over everything that is read."""
    bits = bits_for(n_documents(shards))
    hashed = {name: Column(folder, name, 2, bits) for name in ("normalised", "text", *(["url"] if url or prompted else []))}
    bands: list[Column] = []
    for block in _blocks(shards):
        keys, n_shingles, normalised, text = (np.concatenate(part) for part in zip(
            *(_keys_of(shard, signatures[shard.source].shard_path(shard.key), near) for shard in block), strict=True
        ))  # fmt: skip
        rows = np.arange(block[0].first, block[0].first + len(text), dtype=np.int32)
        counts = np.concatenate([_counts(shard, references) for shard in block])
        bands = bands or [Column(folder, f"band{b:02d}", 1, bits) for b in range(keys.shape[1])]
        has = np.flatnonzero((n_shingles > 0) & counts)  # the keys of a document without shingles mean nothing
        for b, column in enumerate(bands):
            column.add(keys[has, b, None], rows[has])
        hashed["normalised"].add(normalised[counts], rows[counts])
        hashed["text"].add(text[counts], rows[counts])
        for shard in block if url or prompted else ():
            if shard.source in prompted:
                urls, has_url = prompts.hashes(shard.documents)
            elif url:
                urls, has_url = addresses.hashes(pq.read_table(shard.documents, columns=["url"]).column(0).to_pylist())
            else:
                continue
            has_url &= _counts(shard, references)
            hashed["url"].add(urls[has_url], shard.first + np.flatnonzero(has_url).astype(np.int32))
    return [*bands, *hashed.values()]


def _counts(shard: Shard, references: dict[str, Reference]) -> np.ndarray:
    """bool (rows,): ours, or of a reference that counts."""
    found = references[shard.source].counts(shard) if shard.source in references else None
    return np.ones(shard.rows, bool) if found is None else found


def _keys_of(shard: Shard, folder: Path, near: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Band keys (rows, bands), distinct shingles (rows,), hashes (rows, 2) of the normalised and of the whole text."""
    normalised = np.load(folder / "normalised.npy")
    keys = np.load(folder / "bands.npy") if near else np.empty((len(normalised), 0), np.uint64)
    n_shingles, text = np.load(folder / "n_shingles.npy"), _text_hashes(shard)
    if {len(keys), len(n_shingles), len(normalised), len(text)} != {shard.rows}:
        raise CurateError("signatures and documents do not have the same rows", where=str(folder), exit_code=1)
    return keys, n_shingles, normalised, text


def _write_members(
    folder: Path, shards: list[Shard], columns: list[Column], component: np.ndarray, shares: np.ndarray, m: int
) -> str:
    """The files of the stage, a block of documents at a time; returns their root."""
    bands = [column for column in columns if column.width == 1]
    hashed = [column for column in columns if column.width == 2]
    member, bucket = RowFile(folder / "member.npy", np.int64, (m,)), RowFile(folder / "bucket.npy", np.int32, (m, len(bands)))
    components, ids = RowFile(folder / "component.npy", np.int32, (m,)), RowFile(folder / "id.npy", "S32", (m,))
    groups = [RowFile(folder / f"{column.name}.npy", np.int32, (m,)) for column in hashed]
    for block in _blocks(shards):
        first, n = block[0].first, sum(shard.rows for shard in block)
        own = np.flatnonzero(shares[first : first + n])
        member.append(own + first)
        components.append(component[first : first + n][own])
        numbers = np.empty((len(own), len(bands)), np.int32)
        for b, column in enumerate(bands):
            numbers[:, b] = _numbers(column, first, n)[own]
        bucket.append(numbers)
        for column, file in zip(hashed, groups, strict=True):
            file.append(_numbers(column, first, n)[own])
        for shard in block:
            digits = _digits(pq.read_table(shard.documents, columns=["id"]).column(0))
            ids.append(digits[shares[shard.first : shard.first + shard.rows]].reshape(-1).view("S32"))
    root = Digest()
    for file in (member, bucket, components, *groups):
        file.add_to(root)
    ids.add_to(root, np.dtype(np.uint8))
    return root.hexdigest()


def _blocks(shards: Sequence[Shard]) -> Iterator[list[Shard]]:
    """Shards one after another, at least BLOCK_ROWS documents together."""
    block: list[Shard] = []
    for shard in shards:
        block.append(shard)
        if sum(s.rows for s in block) >= BLOCK_ROWS:
            yield block
            block = []
    if block:
        yield block


def _labels(column: Column) -> Path:
    return column.folder / f"{column.name}.labels"


def _numbers(column: Column, first: int, n: int) -> np.ndarray:
    return np.fromfile(_labels(column), np.int32, n, offset=4 * first)


def _text_hashes(shard: Shard) -> np.ndarray:
    """uint64 (rows, 2) of the 32 hex digits of text_hash."""
    column = pq.read_table(shard.documents, columns=["text_hash"]).column(0)
    digits = _digits(column)
    value = np.where(digits >= ord("a"), digits - (ord("a") - 10), digits - ord("0"))
    packed = np.ascontiguousarray(value[:, ::2] << 4 | value[:, 1::2])
    return packed.view(np.uint64)


def _digits(column: pa.ChunkedArray) -> np.ndarray:
    """uint8 (rows, 32) of a column of strings of 32 characters."""
    array = column.cast(pa.binary(32)) if column.type != pa.binary(32) else column
    data = [np.frombuffer(c.buffers()[1], np.uint8)[c.offset * 32 : (c.offset + len(c)) * 32] for c in array.chunks if len(c)]
    return np.concatenate(data).reshape(-1, 32) if data else np.empty((0, 32), np.uint8)
