#!/usr/bin/env python3
"""Check this folder: python verify.py [STREAM_ROOT]. Needs Python 3.11 and numpy, nothing else.

Every file of manifest.json against its size and sha256; the manifest against its own hash; every packed row, read from the token shards,
against its stored hash; the running hash over the stream against the manifest's checkpoints and root (and against STREAM_ROOT, where
the one who sent the folder says it in another way). Exit code 0: all is as it was written; 1: it is not.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
wrong: list[str] = []


def blake(*parts: bytes) -> Any:
    """blake2b-128 of the parts."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(part)
    return state


def check_files(manifest: dict[str, Any]) -> None:
    own = {key: value for key, value in manifest.items() if key != "self"}
    text = json.dumps(own, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    if manifest["self"] != blake(len(text).to_bytes(8, "little"), text).hexdigest():
        wrong.append("manifest.json: its content does not match its own hash")
    for listed in manifest["outputs"]:
        path = HERE / listed["path"]
        if not path.is_file() or path.stat().st_size != listed["bytes"]:
            wrong.append(f"{listed['path']}: missing, or of another size")
            continue
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != listed["sha256"]:
                wrong.append(f"{listed['path']}: its bytes are not those that were written (sha256)")
    known = {"manifest.json", *(listed["path"] for listed in manifest["outputs"])}
    for path in sorted(HERE.rglob("*")):
        name = path.relative_to(HERE).as_posix()
        if path.is_file() and name not in known and "__pycache__" not in path.parts:
            wrong.append(f"{name}: manifest.json does not list this file")


def row_hashes(listed: dict[str, Any], ptr: np.ndarray, chunks: np.ndarray) -> np.ndarray:
    """blake2b-128 of a row: uint32 number of chunks, uint32 chunk lengths, uint32 ids; uint8 (n_rows, 16)."""
    maps: dict[int, np.ndarray] = {}
    hashes = np.empty((len(ptr) - 1, 16), np.uint8)
    for row in range(len(ptr) - 1):
        own = chunks[ptr[row] : ptr[row + 1]]
        parts = [np.concatenate(([len(own)], own["length"])).astype("<u4").tobytes()]
        for shard, start, length in zip(own["shard"].tolist(), own["start"].tolist(), own["length"].tolist(), strict=True):
            if shard not in maps:
                maps[shard] = np.memmap(HERE / listed["shards"][shard]["path"], f"<u{listed['token_bytes']}", "r")
            parts.append(maps[shard][start : start + length].astype("<u4").tobytes())
        hashes[row] = np.frombuffer(blake(*parts).digest(), np.uint8)
    return hashes


def check_stream(manifest: dict[str, Any]) -> tuple[str, int]:
    folder = HERE / "sequences"
    ptr, chunks, order, stored = (np.load(folder / f"{n}.npy", "r") for n in ("row_ptr", "chunks", "order", "row_hash"))
    hashes = row_hashes(json.loads((folder / "shards.json").read_bytes()), ptr, chunks)
    for row in np.flatnonzero((hashes != stored).any(axis=1))[:20].tolist():
        wrong.append(f"sequences/row_hash.npy: sequence {row} holds other tokens")
    marks = {mark["stream_index"]: mark["sha256"] for mark in manifest["stream_checkpoints"]}
    running = hashlib.sha256(b"veski-stream-1").digest()
    for i, sequence in enumerate(order.tolist(), 1):
        running = hashlib.sha256(running + hashes[sequence].tobytes()).digest()
        if marks.get(i, running.hex()) != running.hex():
            wrong.append(f"manifest.json: another stream, at or before row {i - 1}")
            marks = {}
    if running.hex() != manifest["roots"]["stream"]:
        wrong.append(f"manifest.json: stream root {manifest['roots']['stream']} is stated, the rows give {running.hex()}")
    return running.hex(), len(hashes)


def main() -> int:
    try:
        manifest = json.loads((HERE / "manifest.json").read_bytes())
        check_files(manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"manifest.json: damaged: {error!r}")
        return 1
    said = "files only"
    if not wrong:
        root, n_rows = check_stream(manifest)
        said = f"{n_rows} packed rows, stream root {root}"
        if len(sys.argv) > 1 and sys.argv[1] != root:
            wrong.append(f"the stream root is {root}, not {sys.argv[1]}")
    size = sum(listed["bytes"] for listed in manifest["outputs"])
    print("\n".join(wrong) or f"as it was written: {len(manifest['outputs'])} files, {size} bytes, {said}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
