"""A mixture folder written by hand, in several phases: what is in every row is known because it is drawn here, not packed.

Phases and seeds in; manifest.json, sequences/ and two token shards out, one of them with a loss mask, and every row as plain lists.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from curate.manifest import write_manifest
from curate.store import write_json
from mixture.stream import CHUNK, START

COMPONENTS = ["et", "en"]
LANGUAGES = ["en", "et"]  # chunks take turns
VOCABULARY = 64


class Made(NamedTuple):
    manifest: Path
    rows: list[
        dict
    ]  # by stream index: ids, labels, positions, document, language (lists, without padding), component, length, hash
    held_out: list[dict]


def write(
    folder: Path, phases: list[tuple[str, int, int]], *, n_held_out: int = 3, held_out_length: int | None = None, seed: int = 0,
    token_bytes: int = 2,
) -> Made:  # fmt: skip
    """phases: (name, sequence length, rows). Rows hold one to five chunks and up to three tokens of padding."""
    rng = np.random.default_rng(seed)
    lengths = [length for _, length, n in phases for _ in range(n)]
    n_rows = len(lengths)
    lengths += [held_out_length or phases[0][1]] * n_held_out
    order = rng.permutation(n_rows) if len(phases) == 1 else np.concatenate(_inside(rng, phases))
    shards: list[list[int]] = [[], []]
    masks: list[list[int]] = [[], []]
    chunks, row_ptr, hashes, made = [], [0], [], []
    for length in lengths:  # phases follow each other in numbers too, so a sequence has its phase's length
        component = int(rng.integers(0, 2))
        row: dict = {
            "ids": [],
            "labels": [],
            "positions": [],
            "document": [],
            "language": [],
            "component": component,
            "length": length,
        }
        sizes = _cut(rng, length - int(rng.integers(0, 4)))
        for number, size in enumerate(sizes):
            more, shard = int(rng.random() < 0.2), int(rng.integers(0, 2))
            start = int(rng.integers(0, VOCABULARY))
            tokens = ((start + np.cumsum(rng.integers(1, 3, size + more))) % VOCABULARY).tolist()
            flags = rng.integers(0, 2, size + more).tolist() if shard else [1] * (size + more)
            chunks.append((shard, len(shards[shard]), size, len(chunks), more))
            shards[shard] += [*tokens, 7]  # a token that belongs to nobody
            masks[shard] += [*flags, 1]
            following = [t if f else -100 for t, f in zip(tokens[1:], flags[1:], strict=True)]
            row["ids"] += tokens[:size]
            row["labels"] += following if more else [*following, -100]
            row["positions"] += range(size)
            row["document"] += [number] * size
            row["language"] += [(len(chunks) - 1) % 2] * size
        parts = [len(sizes), *sizes, *row["ids"]]
        row["hash"] = hashlib.blake2b(b"".join(int(n).to_bytes(4, "little") for n in parts), digest_size=16).digest()
        hashes.append(row["hash"])
        row_ptr.append(len(chunks))
        made.append(row)
    state, marks = START, []
    for i, sequence in enumerate(order):
        state = hashlib.sha256(state + hashes[sequence]).digest()
        if i % 7 == 6 or i + 1 == n_rows:
            marks.append({"stream_index": i + 1, "sha256": state.hex()})
    _write_files(folder, shards, masks, token_bytes, chunks, row_ptr, [row["component"] for row in made], order, hashes)
    rows, held = [made[sequence] for sequence in order], made[n_rows:]
    manifest = _manifest(phases, rows, held, marks, state.hex(), held_out_length)
    write_manifest(folder / "build" / "manifest.json", manifest)
    return Made(folder / "build" / "manifest.json", rows, held)


def _inside(rng: np.random.Generator, phases: list[tuple[str, int, int]]) -> list[np.ndarray]:
    """Rows of each phase in an order of their own."""
    first = np.cumsum([0, *(n for _, _, n in phases)])
    return [start + rng.permutation(n) for start, (_, _, n) in zip(first[:-1], phases, strict=True)]


def _cut(rng: np.random.Generator, n_tokens: int) -> list[int]:
    cuts = np.sort(rng.choice(np.arange(1, n_tokens), size=min(int(rng.integers(0, 5)), n_tokens - 1), replace=False))
    return np.diff([0, *cuts, n_tokens]).tolist()


def _write_files(folder, shards, masks, token_bytes, chunks, row_ptr, component, order, hashes) -> None:
    listed = []
    for number, (tokens, mask) in enumerate(zip(shards, masks, strict=True)):
        path = folder / "tokens" / f"{number}.ds"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.array(tokens, f"<u{token_bytes}").tofile(path)
        if number:
            np.array(mask, "u1").tofile(path.with_name(path.name + ".loss"))
        listed.append({"path": f"../tokens/{number}.ds", "n_tokens": len(tokens), "has_loss": bool(number)})
    sequences = folder / "build" / "sequences"
    sequences.mkdir(parents=True)
    np.save(sequences / "row_ptr.npy", np.array(row_ptr, np.int64))
    np.save(sequences / "chunks.npy", np.array(chunks, CHUNK))
    np.save(sequences / "component.npy", np.array(component, np.uint16))
    np.save(sequences / "language.npy", np.arange(len(chunks), dtype=np.int16) % 2)
    np.save(sequences / "order.npy", order.astype(np.uint64))
    np.save(sequences / "row_hash.npy", np.array([list(h) for h in hashes], np.uint8))
    write_json(sequences / "shards.json", {"token_bytes": token_bytes, "languages": LANGUAGES, "shards": listed})


def _spoken(rows, component) -> dict:
    spoken = [number for row in rows if row["component"] == component for number in row["language"]]
    return {name: spoken.count(number) for number, name in enumerate(LANGUAGES)}


def _manifest(phases, rows, held, marks, root, held_out_length) -> dict:
    first, stated, realised = 0, [], {name: [] for name in COMPONENTS}
    for name, length, n in phases:
        stated.append({"name": name, "sequence_length": length, "order": {"first_index": first, "n_sequences": n}})
        for number, component in enumerate(COMPONENTS):
            mine = [row for row in rows[first : first + n] if row["component"] == number]
            tokens = sum(len(row["ids"]) for row in mine)
            realised[component].append({"phase": name, "realised": len(mine), "tokens": tokens})  # realised is in another unit
        first += n
    held_out = {"sequences": len(held)} | ({"sequence_length": held_out_length} if held_out_length else {})
    tokenizer = {"name": "none", "sha256": "0" * 64, "vocab_size": VOCABULARY, "special": {"bos": None, "eos": None, "pad": None}}
    return {
        "schema_version": 1, "kind": "cpt", "name": "made", "tool_versions": {}, "recipe_sha256": "", "seed": 0,
        "roots": {"stream": root}, "tokenizer": tokenizer, "phases": stated,
        "components": [
            {"name": name, "languages": _spoken(rows, c), "phases": realised[name]} for c, name in enumerate(COMPONENTS)
        ],
        "held_out": held_out, "stream_checkpoints": marks, "outputs": [], "lineage": [],
    }  # fmt: skip
