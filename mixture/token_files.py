"""Token shards on disk: documents' ids in, `.ds`, `.ds.index`, `.ds.metadata`, `.ds.loss` out, and memory maps of them.

The files are datatrove's and nanotron's: tokens.ds holds little-endian uint16 or uint32 ids without a header, the index the end
of each document in tokens (uint64), the metadata three lines (tokenizer|bytes per token, count, count for people); tokens.ds.loss
one byte per token, 1 where it is learned. tokens.parquet (schema TOKENS) says which document lies where. Imports schema, store.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.schema import TOKENS
from curate.store import digest, table_root

BUFFER_BYTES = 1 << 20


class TokenWriter:
    """One shard being written, document by document."""

    def __init__(self, tokens: BinaryIO, loss: BinaryIO | None, dtype: np.dtype) -> None:
        self._tokens, self._loss, self._dtype = tokens, loss, dtype
        self._tokens_hash, self._loss_hash = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
        self.n_tokens: list[int] = []
        self.n_loss_tokens: list[int] = []

    def write(self, ids: np.ndarray, mask: np.ndarray | None) -> None:
        """One document: ids (n,) of any unsigned type, mask (n,) uint8 where the shard has a loss mask, else None."""
        data = ids.astype(self._dtype, copy=False).tobytes()
        self._tokens.write(data)
        self._tokens_hash.update(data)
        if self._loss is not None and mask is not None:
            marks = mask.astype(np.uint8, copy=False).tobytes()
            self._loss.write(marks)
            self._loss_hash.update(marks)
        self.n_tokens.append(len(ids))
        self.n_loss_tokens.append(len(ids) if mask is None else int(mask.sum()))

    def hashes(self) -> tuple[str, str]:
        return f"{self._dtype.str}:{self._tokens_hash.hexdigest()}", self._loss_hash.hexdigest()


@contextlib.contextmanager
def token_writer(folder: Path, dtype: np.dtype, has_loss: bool) -> Iterator[TokenWriter]:
    """Open tokens.ds (and tokens.ds.loss) of a new shard; `close_shard` writes the rest."""
    with contextlib.ExitStack() as files:
        tokens = files.enter_context(open(folder / "tokens.ds", "wb", buffering=BUFFER_BYTES))
        loss = files.enter_context(open(folder / "tokens.ds.loss", "wb", buffering=BUFFER_BYTES)) if has_loss else None
        yield TokenWriter(tokens, loss, dtype)


def close_shard(folder: Path, writer: TokenWriter, ids: pa.Array, tokenizer: str, dtype: np.dtype) -> str:
    """Write index, metadata and tokens.parquet of a written shard; returns its root (document ids, tokens, loss mask)."""
    import humanize

    n_tokens = np.array(writer.n_tokens, np.int64)
    ends = np.cumsum(n_tokens)
    (folder / "tokens.ds.index").write_bytes(ends.astype("<u8").tobytes())
    total = int(ends[-1]) if len(ends) else 0
    lines = (f"{tokenizer}|{dtype.itemsize}", str(total), humanize.metric(total, unit="T"))
    (folder / "tokens.ds.metadata").write_text("\n".join(lines), encoding="utf-8")
    columns = [ids, pa.array(ends - n_tokens), pa.array(n_tokens), pa.array(writer.n_loss_tokens, pa.int64())]
    table = pa.table(columns, schema=TOKENS)
    pq.write_table(table, folder / "tokens.parquet", compression="zstd")
    return digest(table_root(table), *writer.hashes())


class TokenShards:
    """Token shards of one tokenizer, by number; a file is mapped when it is first asked for."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(folders)
        self._tokens: dict[int, np.ndarray] = {}
        self._loss: dict[int, np.ndarray | None] = {}

    def __len__(self) -> int:
        return len(self.folders)

    def tokens(self, shard: int) -> np.ndarray:
        """(n_tokens,) uint16 or uint32, read-only memory map."""
        if shard not in self._tokens:
            self._tokens[shard] = _map(self.folders[shard] / "tokens.ds", token_dtype(self.folders[shard]))
        return self._tokens[shard]

    def loss(self, shard: int) -> np.ndarray | None:
        """(n_tokens,) uint8 read-only memory map, or None where every token is learned."""
        if shard not in self._loss:
            path = self.folders[shard] / "tokens.ds.loss"
            self._loss[shard] = _map(path, np.dtype(np.uint8)) if path.exists() else None
        return self._loss[shard]

    def index(self, shard: int) -> pa.Table:
        """The documents of a shard in order: id, token_start, n_tokens, n_loss_tokens."""
        return pq.read_table(self.folders[shard] / "tokens.parquet", schema=TOKENS)


def token_dtype(folder: Path) -> np.dtype:
    """uint16 or uint32, as the shard's metadata states."""
    first = (folder / "tokens.ds.metadata").read_text(encoding="utf-8").split("\n")[0]
    return np.dtype(f"<u{int(first.rpartition('|')[2])}")


def _map(path: Path, dtype: np.dtype) -> np.ndarray:
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r")
