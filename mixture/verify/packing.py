"""Packing and order counted again: rows as long as their phase allows, pure, nothing cut that fits, and the specified order.

In: the arrays of sequences/, `Used`, the manifest. Out: findings with the sequence. Imports mixture's batches, order, pack and verify.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mixture import order, pack
from mixture.batches import row_length
from mixture.statement import ALGORITHMS
from mixture.verify.report import Report
from mixture.verify.uses import SELECTION, Used

MANIFEST, CHUNKS = "manifest.json", "sequences/chunks.npy"


def row_lengths(manifest: Mapping[str, Any], n_rows: int) -> np.ndarray:
    """int64 (n_rows,): what a row has room for, that of its phase; held-out rows are as long as those of the first."""
    trained = [np.full(phase["order"]["n_sequences"], row_length(phase), np.int64) for phase in manifest["phases"]]
    n_held = n_rows - sum(part.size for part in trained)
    return np.concatenate([*trained, np.full(n_held, row_length(manifest["phases"][0]), np.int64)])


def check_rows(
    manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray], used: Used, packing: list[str], report: Report
) -> None:
    """`packing`: of each phase, as the recipe has it."""
    ptr = np.asarray(arrays["row_ptr"])
    room = row_lengths(manifest, ptr.size - 1)
    filled = np.add.reduceat(used.length.astype(np.int64), ptr[:-1]) if ptr.size > 1 else np.empty(0, np.int64)
    for row in np.flatnonzero(filled > room)[:3].tolist():
        report.add(CHUNKS, f"a row of {filled[row]:,} tokens, longer than sequence_length {room[row]:,}", f"sequence {row}")
    kind = np.stack((used.phase.astype(np.int64), used.component, used.pass_))
    mixed = (kind != np.repeat(kind[:, ptr[:-1]], np.diff(ptr), axis=1)).any(axis=0)
    for chunk in np.flatnonzero(mixed)[:3].tolist():
        report.add(SELECTION, "a row holds two phases, components or passes", f"row {chunk}")
    first = kind[:, ptr[:-1]]
    n_trained = arrays["order"].size
    steps = np.flatnonzero((first[:, 1:n_trained] != first[:, : max(n_trained - 1, 0)]).any(axis=0))
    wrong = [row for row in steps.tolist() if first[:, row].tolist() > first[:, row + 1].tolist()]
    for row in wrong[:3]:
        report.add(CHUNKS, "sequences are not numbered by phase, component, pass", f"sequence {row + 1}")
    report.equal(
        MANIFEST, "held_out.sequence_length", manifest["held_out"]["sequence_length"], manifest["phases"][0]["sequence_length"]
    )
    before = 0
    for f, phase in enumerate(manifest["phases"]):
        rows = slice(before, before + phase["order"]["n_sequences"])
        report.equal(MANIFEST, f"{phase['name']}: first_index", phase["order"]["first_index"], before)
        report.equal(MANIFEST, f"{phase['name']}: row_length", phase.get("row_length"), _stated_length(phase, packing[f]))
        padding = int(room[rows].sum() - filled[rows].sum()) if packing[f] != "single" else 0
        report.equal(MANIFEST, f"{phase['name']}: padding", phase["budget"]["padding"], padding)
        says = {**phase["packing"], "rule": phase["packing"]["cut"].get("rule")}
        rules = ALGORITHMS[packing[f]]
        report.equal(MANIFEST, f"{phase['name']}: packing", {key: says.get(key) for key in rules}, rules)
        _check_passes(f, phase, rows, first, filled, ptr, used, packing[f], [c["name"] for c in manifest["components"]], report)
        before = rows.stop


def _stated_length(phase: Mapping[str, Any], packing: str) -> int | None:
    """Of pairs, which both have to fit a sequence of their own: twice that; else a row is a sequence and nothing is stated."""
    return 2 * int(phase["sequence_length"]) if packing == "single" else None


def _check_passes(
    f: int, phase: Mapping[str, Any], rows: slice, first: np.ndarray, filled: np.ndarray, ptr: np.ndarray, used: Used, packing: str,
    names: list[str], report: Report,
) -> None:  # fmt: skip
    """Every pass of one phase: its rows, padding and cuts."""
    length = row_length(phase)
    stated = {(entry["component"], entry["pass"]): entry for entry in phase["packing"]["passes"]}
    kinds, begins = np.unique(first[1:, rows], axis=1, return_index=True)
    ends = [*begins[1:].tolist(), filled[rows].size]
    fit, overlong, uses, bound = 0, 0, [], 0
    for (c, number), a, b in zip(kinds.T.tolist(), begins.tolist(), ends, strict=True):
        own = slice(rows.start + a, rows.start + b)
        chunks = slice(int(ptr[own.start]), int(ptr[own.stop]))
        tokens, n_rows = int(filled[own].sum()), own.stop - own.start
        uses.append(_lengths(chunks, used))
        cut_that_fit, long = _check_cuts(chunks, length, packing, used, report)
        fit, overlong = fit + cut_that_fit, overlong + long
        if packing == "concat":
            bound = -(-tokens // length)
            loose = np.flatnonzero(filled[own][:-1] < length)
            if loose.size:
                report.add(CHUNKS, "a row is not full, and is not the last of its pass", f"sequence {own.start + loose[0]}")
        elif packing == "best_fit":
            bound = pack.lower_bound(used.length[chunks].astype(np.int64), length)
        room = [n_rows * length, bound * length] if packing != "single" else [tokens, tokens]
        right = {"sequences": n_rows, "padding_tokens": room[0] - tokens, "unavoidable_padding_tokens": room[1] - tokens}
        if packing == "single" and chunks.stop - chunks.start != n_rows:
            report.add(CHUNKS, "a sequence holds more than one pair", f"sequences {own.start} to {own.stop - 1}")
        for key, value in right.items():
            entry = stated.get((names[c], number), {}) if c < len(names) else {}
            report.equal(MANIFEST, f"{phase['name']}, {names[c]}: {key} of pass {number}", entry.get(key), value)
    cut = phase["packing"]["cut"]
    report.equal(MANIFEST, f"{phase['name']}: documents that fit, cut", cut["documents_that_fit"], fit)
    report.equal(MANIFEST, f"{phase['name']}: uses longer than a row", cut["overlong_uses"], overlong)
    longer = pack.longer_rows(uses, length) if packing == "best_fit" else None
    proposed = dict(zip(("unavoidable_padding_tokens", "sequence_length"), longer, strict=True)) if longer else None
    report.equal(MANIFEST, f"{phase['name']}: longer_rows", phase["packing"].get("longer_rows"), proposed)


def _lengths(chunks: slice, used: Used) -> np.ndarray:
    """int64: tokens of every use of one pass."""
    if (used.n_chunks[chunks] == 1).all():
        return used.length[chunks].astype(np.int64)
    _, number = np.unique(used.document[chunks], return_inverse=True)
    return np.bincount(number, used.length[chunks]).astype(np.int64)  # exact below 2^53


def _check_cuts(chunks: slice, length: int, packing: str, used: Used, report: Report) -> tuple[int, int]:
    """Uses of one pass that are cut: (those that would fit a row, longer ones). Best-fit cuts none that fits, the others evenly."""
    cut = chunks.start + np.flatnonzero(used.n_chunks[chunks] > 1)
    if not cut.size:
        return 0, 0
    cut = cut[np.lexsort((used.chunk[cut], used.document[cut]))]
    begins = np.flatnonzero(np.concatenate(([True], used.document[cut][1:] != used.document[cut][:-1])))
    size, n_chunks = used.length[cut].astype(np.int64), np.diff(np.append(begins, cut.size))
    whole = np.add.reduceat(size, begins)
    if packing == "best_fit":
        uneven = np.maximum.reduceat(size, begins) - np.minimum.reduceat(size, begins) > 1
        for i in np.flatnonzero(uneven | (n_chunks != -(-whole // length)))[:3].tolist():
            report.add(CHUNKS, f"a use of {whole[i]:,} tokens is cut into {n_chunks[i]} chunks, rows of {length:,} need "
                       f"{-(-whole[i] // length)} of equal size", f"row {cut[begins[i]]}")  # fmt: skip
    return int((whole <= length).sum()), int((whole > length).sum())


def check_order(manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray], used: Used, report: Report) -> None:
    """order.npy is the specified permutation and interleave of what the selection packs, phase after phase."""
    ptr = np.asarray(arrays["row_ptr"])
    found, before = [np.empty(0, np.uint64)], 0
    for phase in manifest["phases"]:
        n = phase["order"]["n_sequences"]
        first = ptr[before : before + n]
        rows: list[list[int]] = []
        keys: list[list[int]] = []
        for c, component in enumerate(manifest["components"]):
            counts = np.bincount(used.pass_[first[used.component[first] == c]])
            passes = np.flatnonzero(counts).tolist()
            rows.append(counts[passes].tolist())
            keys.append([order.key(manifest["seed"], "sequences", phase["name"], component["name"], str(p)) for p in passes])
        found.append(order.stream_order(rows, keys) + np.uint64(before))
        report.equal(
            MANIFEST,
            f"{phase['name']}: order",
            [phase["order"][k] for k in ("algorithm", "version")],
            [order.ALGORITHM, order.VERSION],
        )
        before += n
    if not np.array_equal(np.concatenate(found), arrays["order"]):
        report.add("sequences/order.npy", "it is not the order that seed, phases, components and passes give")
