"""Small helpers of the tests about reading: a source, its files, and what `read` makes of them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import yaml
import zstandard

from curate.recipe import License, Limits, Recipe, Source, load_recipe
from curate.sources import Bad, Record, read


def source(**given) -> Source:
    return Source(**{"name": "s", "read": ["-"], "license": License(declared="CC0-1.0"), **given})


def limits(document_bytes: int = 1000) -> Limits:
    return Limits(document_bytes=f"{document_bytes} B")


def read_all(path: Path, of: Source | None = None, document_bytes: int = 1000) -> tuple[list[Record], list[Bad]]:
    items = list(read(path, of or source(), limits(document_bytes)))
    return [i for i in items if isinstance(i, Record)], [i for i in items if isinstance(i, Bad)]


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def pack(path: Path, data: bytes) -> Path:
    """Write `data` as the name says: plain, .gz, .zst, .bz2 or .xz."""
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    elif path.suffix == ".zst":
        data = zstandard.ZstdCompressor().compress(data)
    elif path.suffix == ".bz2":
        data = bz2.compress(data)
    elif path.suffix == ".xz":
        data = lzma.compress(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def recipe(folder: Path, sources: dict[str, dict], **more) -> Recipe:
    """A recipe file beside the data, loaded; licences are filled in."""
    component = {"from": next(iter(sources)), "role": "target", "budget": "1k tokens"}
    data = {
        "kind": "cpt", "name": "t", "tokenizer": {"model": "none"},
        "sources": {name: {"license": {"declared": "CC0-1.0"}, **block} for name, block in sources.items()},
        "mixture": {"total": "1k tokens", "sequence_length": 64, "components": {"c": component}}, **more,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return load_recipe(folder / "recipe.yaml")
