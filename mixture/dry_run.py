"""A mixture tried without a model: the first steps of its stream read as a trainer reads them; and a miniature held against its whole.

In: manifests, steps. Out: plain data; miniature_screen.py renders it. Imports manifest, store and mixture's batches, stream.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.engine import progress
from curate.manifest import read_manifest
from mixture.batches import Steps
from mixture.stream import Stream

MARKS = 20  # steps at which curves are told
PERCENTILES = (0, 5, 25, 50, 75, 95, 100)


def dry_run(manifest_path: Path, steps: Steps, n: int) -> dict[str, Any]:
    """Read the first `n` steps; every row is checked against its stored hash.

    {steps, of_steps, rows, empty_rows, tokens, loss_tokens, padding, padding_share, components: {name: {rows, tokens, share, planned,
    max_drift (of its share of tokens so far, from the end of the first step on), max_drift_rows (from its share of the phase's rows)}},
    lengths: {documents, chunks, percentiles, cut}, curve: [{step, shares, epochs, padding_share}], seconds}. planned: its share of tokens
    in the phases read, in proportion to what is read of them. epochs: tokens so far over the component's tokens of one epoch."""
    started = time.monotonic()
    stream, n = Stream(manifest_path, verify=True), min(n, steps.n_steps)
    manifest, names = stream.manifest, stream.components
    epoch = np.array([max(epoch_tokens(c), 1) for c in manifest["components"]])
    marks = sorted({n * k // MARKS for k in range(1, MARKS + 1)} - {0})
    tokens, rows = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    planned, ideal_rows = np.zeros(len(names)), np.zeros(len(names))
    drift, drift_rows = np.zeros(len(names)), np.zeros(len(names))
    total = {"rows": 0, "empty_rows": 0, "tokens": 0, "loss_tokens": 0, "padding": 0}
    curve: list[dict[str, Any]] = []
    lengths: list[np.ndarray] = [np.empty(0, np.int64)]
    n_begun = n_cut = 0
    with progress("dry run", n) as advance:
        for step in range(n):
            share = steps.share(step)
            phase = manifest["phases"][share.phase]
            batch = stream.read(share.rows, share.n_empty, share.phase)
            is_row = batch.component >= 0
            own = batch.component[is_row]
            before_rows = rows.copy()
            np.add.at(tokens, own, batch.n_tokens[is_row])
            of_tokens, of_rows = _shares(manifest, phase)
            planned += of_tokens * batch.n_tokens.sum()
            for at, c in enumerate(own.tolist(), 1):  # after every row of the stream
                rows[c] += 1
                drift_rows = np.maximum(drift_rows, np.abs(rows - ideal_rows - of_rows * at))
            ideal_rows += of_rows * own.size
            assert int((rows - before_rows).sum()) == own.size
            total["rows"] += int(own.size)
            total["empty_rows"] += share.n_empty
            total["tokens"] += int(batch.n_tokens.sum())
            total["loss_tokens"] += int(batch.n_loss_tokens.sum())
            room = own.size * phase["sequence_length"] if "row_length" not in phase else batch.n_tokens[is_row].sum()  # of pairs
            total["padding"] += int(room - batch.n_tokens[is_row].sum())
            drift = np.maximum(drift, np.abs(tokens - planned) / max(total["tokens"], 1))
            for i in share.rows:
                chunks = stream.chunks(stream.sequence_of(i))
                lengths.append(chunks["length"].astype(np.int64))
                n_cut += int(chunks["more"].sum())
            n_begun += sum(of.size for of in lengths[len(lengths) - len(share.rows) :])
            if step + 1 in marks:
                filled = total["tokens"] + total["padding"]
                curve.append({
                    "step": step + 1, "shares": _by(names, tokens / max(total["tokens"], 1)), "epochs": _by(names, tokens / epoch),
                    "padding_share": round(total["padding"] / max(filled, 1), 6),
                })  # fmt: skip
            advance(1)
    whole = np.concatenate(lengths)
    return {
        "steps": n, "of_steps": steps.n_steps, **total, "padding_share": round(total["padding"] / max(total["tokens"] + total["padding"], 1), 6),
        "components": {
            name: {
                "rows": int(rows[c]), "tokens": int(tokens[c]), "share": round(tokens[c] / max(total["tokens"], 1), 6),
                "planned": round(planned[c] / max(total["tokens"], 1), 6), "max_drift": round(float(drift[c]), 6),
                "max_drift_rows": round(float(drift_rows[c]), 6),
            }
            for c, name in enumerate(names)
        },
        "lengths": {
            "chunks": int(whole.size), "chunks_that_go_on": n_cut, "chunks_a_row": round(whole.size / max(total["rows"], 1), 3),
            "percentiles": {str(p): int(v) for p, v in zip(PERCENTILES, np.percentile(whole, PERCENTILES, method="nearest").tolist(), strict=True)}
            if whole.size else {},
        },
        "curve": curve, "seconds": round(time.monotonic() - started, 3),
    }  # fmt: skip


def _by(names: list[str], values: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in zip(names, values, strict=True)}


def _shares(manifest: Mapping[str, Any], phase: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Each component's share of a phase's tokens, and of its rows."""
    passes = phase["packing"]["passes"]
    counted = [
        [sum(p[what] for p in passes if p["component"] == c["name"]) for c in manifest["components"]]
        for what in ("tokens", "sequences")
    ]
    tokens, rows = (np.array(of, np.float64) / max(sum(of), 1) for of in counted)
    return tokens, rows


def epoch_tokens(component: Mapping[str, Any]) -> int:
    """Tokens of one epoch of a component: each of its documents, times its copies."""
    return int(component.get("copies_per_epoch", {}).get("epoch_tokens", component["unique_tokens"]))


def compared(whole: Path, small: Path) -> dict[str, Any]:
    """A miniature beside its whole: {ok, documents: {whole, small, outside}, same_held_out, components: [{component, phase, unit,
    realised, share, epochs, documents: {whole, small} each, share_off}]}.

    outside: documents it trains on that the whole does not, which must be none; share_off: of its realised budget from the whole's share,
    in the unit of the phase, which must be below 1. ok: these two, and the same held-out documents."""
    a, b = (read_manifest(of / "manifest.json") for of in (whole, small))
    trained, held = ([_documents(of / "selection.parquet", split) for of in (whole, small)] for split in ("train", "held_out"))
    outside = sum(len(ids.difference(trained[0].get(source, set()))) for source, ids in trained[1].items())
    lines = list(_lines(a, b))
    return {
        "ok": not outside and held[0] == held[1] and all(line["share_off"] < 1 for line in lines),
        "documents": {"whole": _count(trained[0]), "small": _count(trained[1]), "outside": outside},
        "same_held_out": held[0] == held[1], "held_out_documents": _count(held[1]), "components": lines,
    }  # fmt: skip


def _documents(path: Path, split: str) -> dict[str, set[str]]:
    """source -> ids in rows of a split."""
    found: dict[str, set[str]] = {}
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=["source", "id", "split"])
        table = (
            pa.table(table.filter(pc.equal(table["split"], split)).select(["source", "id"]))
            .group_by(["source", "id"])
            .aggregate([])
        )
        for source in pc.unique(table["source"]).to_pylist():
            found.setdefault(source, set()).update(table.filter(pc.equal(table["source"], source))["id"].to_pylist())
    return found


def _count(of: Mapping[str, set[str]]) -> int:
    return sum(map(len, of.values()))


def _lines(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    totals = [{p["name"]: p["budget"]["realised"] for p in of["phases"]} for of in (a, b)]
    for one, other in zip(a["components"], b["components"], strict=True):
        for x, y in zip(one["phases"], other["phases"], strict=True):
            of, into = (total[x["phase"]] for total in totals)
            yield {
                "component": one["name"], "phase": x["phase"], "unit": x["unit"],
                "realised": {"whole": x["realised"], "small": y["realised"]},
                "share": {"whole": round(x["realised"] / max(of, 1), 6), "small": round(y["realised"] / max(into, 1), 6)},
                "epochs": {"whole": x["epochs"]["mean"], "small": y["epochs"]["mean"]},
                "uses": {"whole": [min(map(int, x["copies"]), default=0), max(map(int, x["copies"]), default=0)],
                         "small": [min(map(int, y["copies"]), default=0), max(map(int, y["copies"]), default=0)]},
                "documents": {"whole": x.get("documents", one["documents"]), "small": y.get("documents", other["documents"])},
                "share_off": round(abs(y["realised"] - x["realised"] * into / max(of, 1)), 6),
            }  # fmt: skip
