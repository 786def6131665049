"""Files of safetensors, read and written block by block: what the library maps or holds whole stays on disk here.

In: a folder. Out: its tensors by name, any rows of them; and a writer that fills a file in the order of its header. The format: eight bytes
length of the header, the header (JSON: name -> dtype, shape, data_offsets from its end), the data, little-endian.
May import curate.errors; torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.errors import CurateError

FLOATS = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
NAMES = {dtype: name for name, dtype in FLOATS.items()}
METADATA = "__metadata__"
BLOCK = 1 << 22  # numbers that are calculated with at once


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: `start` is its first byte in the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    n_bytes: int

    @property
    def n_rows(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def row_bytes(self) -> int:
        return self.n_bytes // self.n_rows if self.n_rows else 0

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(first row, row after the last) of parts of about BLOCK numbers."""
        rows = max(1, BLOCK * self.n_rows // max(1, self.numbers))
        yield from ((first, min(first + rows, self.n_rows)) for first in range(0, self.n_rows, rows))


class Weights:
    """The tensors of a folder. Raises CurateError where a file is missing, cut, or no safetensors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = _files(folder)
        self.headers = {path.name: read_header(path) for path in self.files}
        self.tensors: dict[str, Tensor] = {}
        for path in self.files:
            begin, header = self.headers[path.name]
            for name, entry in header.items():
                if name != METADATA:
                    first, last = entry["data_offsets"]
                    self.tensors[name] = Tensor(path, entry["dtype"], tuple(entry["shape"]), begin + first, last - first)
        self._open: dict[Path, BufferedReader] = {}
        _check_index(folder, self.tensors)

    def close(self) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()

    def raw(self, name: str, first: int, last: int) -> bytearray:
        """Bytes of the rows [first, last)."""
        tensor = self.tensors[name]
        if tensor.file not in self._open:
            self._open[tensor.file] = open(tensor.file, "rb")
        file = self._open[tensor.file]
        file.seek(tensor.start + first * tensor.row_bytes)
        data = bytearray((last - first) * tensor.row_bytes)
        file.readinto(data)
        return data

    def rows(self, name: str, first: int, last: int) -> torch.Tensor:
        """(last - first, ...) in the file's own dtype, a floating one."""
        tensor = self.tensors[name]
        shape = (last - first, *tensor.shape[1:])
        return (
            torch.frombuffer(self.raw(name, first, last), dtype=FLOATS[tensor.dtype]).view(shape)
            if math.prod(shape)
            else torch.empty(shape)
        )

    def gathered(self, name: str, ids: np.ndarray) -> torch.Tensor:
        """The rows `ids` (n,), in their order; runs of neighbours are read at once."""
        bounds = np.flatnonzero(np.diff(ids) != 1) + 1
        runs = [(int(run[0]), int(run[-1]) + 1) for run in np.split(ids, bounds)]
        return torch.cat([self.rows(name, first, last) for first, last in runs])


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        files = sorted(folder.glob("model*.safetensors"))
        if not files:
            pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
            raise CurateError(
                "there are no weights here", where=str(folder), found=f"{pickled[0]}, which is no safetensors" if pickled else "",
                allowed="model.safetensors, or model-*.safetensors with their index",
                next="AutoModelForCausalLM.from_pretrained(...).save_pretrained(...) writes safetensors" if pickled else "",
            )  # fmt: skip
        if numbered := [path.name for path in files if "-of-" in path.name]:
            _check_numbered(folder, numbered)
        return files
    listed = sorted(set(_weight_map(index).values()))
    if missing := [name for name in listed if not (folder / name).is_file()]:
        raise CurateError("shards of this checkpoint are missing", where=str(folder), found=f"no {', '.join(missing[:3])}",
                          allowed=f"the {len(listed)} files of {index.name}", next="copy or download the folder again")  # fmt: skip
    return [folder / name for name in listed]


def _check_numbered(folder: Path, names: Sequence[str]) -> None:
    """model-00001-of-00004.safetensors says how many there are."""
    total = int(names[0].removesuffix(".safetensors").rpartition("-of-")[2])
    if len(names) < total:
        raise CurateError("shards of this checkpoint are missing", where=str(folder), found=f"{len(names)} files",
                          allowed=f"the {total} that {names[0]} speaks of", next="copy or download the folder again")  # fmt: skip


def _weight_map(index: Path) -> dict[str, str]:
    try:
        return dict(json.loads(index.read_text())["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise CurateError("this index is damaged", where=str(index), found=str(error)) from error


def _check_index(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file() and (missing := sorted(set(_weight_map(index)) - set(tensors))):
        raise CurateError("tensors of this checkpoint are missing", where=str(folder), found=f"no {missing[0]} ({len(missing)} in all)",
                          allowed=f"what {index.name} lists", next="copy or download the folder again")  # fmt: skip


def read_header(path: Path) -> tuple[int, dict[str, Any]]:
    """(where the data begins, header). Raises CurateError where the file is cut or something else."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= size else b""
    try:
        header = json.loads(text)
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != METADATA), default=0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CurateError("this is no file of safetensors, or a damaged one", where=str(path), found=f"{size:,} bytes",
                          next="copy or download it again") from error  # fmt: skip
    if size != 8 + length + end:
        raise CurateError("this file is cut, or goes on too long", where=str(path), found=f"{size:,} bytes",
                          allowed=f"the {8 + length + end:,} that its header says", next="copy or download it again")  # fmt: skip
    return 8 + length, header


def header_in(header: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The same tensors in the same order, floating ones in `dtype`."""
    found: dict[str, Any] = {METADATA: header[METADATA]} if METADATA in header else {}
    at = 0
    for name in in_order(header):
        entry = header[name]
        kept = dtype if entry["dtype"] in FLOATS else entry["dtype"]
        first, last = entry["data_offsets"]
        size = math.prod(entry["shape"]) * FLOATS[dtype].itemsize if entry["dtype"] in FLOATS else last - first
        found[name] = {"dtype": kept, "shape": entry["shape"], "data_offsets": [at, at + size]}
        at += size
    return found


def in_order(header: Mapping[str, Any]) -> list[str]:
    """Names of the tensors as their data lies in the file."""
    return sorted((name for name in header if name != METADATA), key=lambda name: header[name]["data_offsets"])


def header_bytes(header: Mapping[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # data begins at a multiple of eight, as the library has it
    return len(text).to_bytes(8, "little") + text
