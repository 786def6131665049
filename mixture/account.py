"""The books of a build: every number counted from the rows as they were laid out, and the sums that must close.

Documents and layout in; counts, document states, checks and the summary for the screen out. No total is a difference of others.
Imports mixture's budget, selection, sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mixture import budget
from mixture.selection import Documents
from mixture.sequences import Layout


class Counts(NamedTuple):
    """By component (n_components,) or by document (n_documents,)."""

    trained: np.ndarray  # tokens in trained rows, by component
    held_tokens: np.ndarray  # tokens in held-out rows, by component
    held_documents: np.ndarray  # documents in held-out rows, by component
    unused_tokens: np.ndarray  # tokens never trained on of documents that are not held out, by component
    uses: np.ndarray  # how often each document is trained on, at least in part
    trained_of: np.ndarray  # tokens trained on, all uses together, by document
    is_held: np.ndarray  # bool: the document stands in a held-out row


def count(layout: Layout, docs: Documents, chosen: Sequence[np.ndarray]) -> Counts:
    """Everything the manifest states, counted from the chunks as they were laid out."""
    n = len(docs.components)
    row = layout.row
    component = np.array([use.component for use in layout.uses], np.int64)[layout.row_use[row]]
    train = row < layout.n_trained
    first = layout.chunk == 0
    reached = np.zeros(docs.n, np.int64)  # tokens of each document that are trained on at least once
    np.maximum.at(reached, layout.document[train], (layout.start + layout.length)[train])
    return Counts(
        trained=_sum(component[train], layout.length[train], n),
        held_tokens=_sum(component[~train], layout.length[~train], n),
        held_documents=np.bincount(component[~train & first], minlength=n),
        unused_tokens=np.array([int((docs.n_tokens[own] - reached[own]).sum()) for own in chosen], np.int64),
        uses=np.bincount(layout.document[train & first], minlength=docs.n),
        trained_of=_sum(layout.document[train], layout.length[train], docs.n),
        is_held=np.bincount(layout.document[~train], minlength=docs.n) > 0,
    )


def _sum(index: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Exact sums of int64 values by index (bincount's weights would be floats)."""
    out = np.zeros(n, np.int64)
    np.add.at(out, index, values)
    return out


def summary(manifest: dict, layout: Layout, docs: Documents, held: np.ndarray, counts: Counts, plan: budget.Plan) -> dict:
    """components: [{name, role, requested, to_train, share, unique, epochs, cap, padding_share, unavoidable_padding_share}];
    total: {requested, to_train, unique, sequences, padding_tokens, padding_share}; held_out_tokens; stream_root;
    token_shard_bytes; documents: {source: {kept, selected, over_budget, held_out, no_component}}; checks: [{check, left, right}];
    bent, binding: as in budget.Plan."""
    phase = manifest["phases"][0]
    total = phase["budget"]["realised"]
    rows = []
    for c in manifest["components"]:
        own, (numbers,) = [p for p in phase["packing"]["passes"] if p["component"] == c["name"]], c["phases"]
        filled = max(1, sum(p["sequences"] for p in own) * phase["sequence_length"])
        rows.append({
            "name": c["name"], "role": c["role"], "requested": numbers["requested"], "to_train": numbers["realised"],
            "share": numbers["realised"] / total if total else 0.0, "unique": c["unique_tokens"],
            "epochs": numbers["epochs"]["mean"], "cap": c["max_epochs"],
            "padding_share": sum(p["padding_tokens"] for p in own) / filled,
            "unavoidable_padding_share": sum(p["unavoidable_padding_tokens"] for p in own) / filled,
        })  # fmt: skip
    by_source = states(docs, counts)
    padding = phase["budget"]["padding"]
    shards = [o["bytes"] for o in manifest["outputs"] if str(o["path"]).endswith(".ds")]
    return {
        "components": rows,
        "total": {
            "requested": phase["budget"]["requested"], "to_train": total, "unique": sum(r["unique"] for r in rows),
            "sequences": layout.n_trained, "padding_tokens": padding,
            "padding_share": padding / max(1, layout.n_trained * phase["sequence_length"]),
        },
        "held_out_tokens": sum(manifest["held_out"]["tokens"].values()), "stream_root": manifest["roots"]["stream"],
        "token_shard_bytes": sum(shards), "documents": by_source, "bent": plan.bent, "binding": plan.binding,
        "checks": checks(manifest, docs, held, counts, plan, by_source),
    }  # fmt: skip


def states(docs: Documents, counts: Counts) -> dict[str, dict[str, int]]:
    """Per source, documents in each of the four states, every one by its own condition."""
    used, held, assigned = counts.uses > 0, counts.is_held, docs.component >= 0
    masks = {
        "kept": np.ones(docs.n, np.bool_), "selected": used, "over_budget": assigned & ~used & ~held, "held_out": held,
        "no_component": ~assigned,
    }  # fmt: skip
    n = len(docs.sources)
    by_source = {state: np.bincount(docs.source[mask], minlength=n) for state, mask in masks.items()}
    return {source: {state: int(by_source[state][i]) for state in masks} for i, source in enumerate(docs.sources)}


def checks(manifest: dict, docs: Documents, held: np.ndarray, counts: Counts, plan: budget.Plan, by_source: dict) -> list[dict]:
    """[{check, left, right}]: every pair must be equal."""
    found: list[tuple[str, int, int]] = []
    for source, s in by_source.items():
        parts = s["selected"] + s["over_budget"] + s["held_out"] + s["no_component"]
        found.append((f"{source}: kept = selected + over budget + held out + in no component", s["kept"], parts))
    for c, component in enumerate(manifest["components"]):
        name, (numbers,), target = component["name"], component["phases"], plan.targets[c]
        own = np.flatnonzero((docs.component == c) & ~held)
        uses, times = counts.uses[own], docs.copies[own]
        epoch = int((times * docs.n_tokens[own]).sum())
        found.append((f"{name}: tokens in rows = budget", numbers["realised"], target))
        found.append((f"{name}: tokens by licence = budget", sum(component["licences"].values()), target))
        found.append((f"{name}: tokens by language = budget", sum(component["languages"].values()), target))
        found.append((f"{name}: documents by uses = documents", sum(numbers["copies"].values()), component["documents"]))
        if epoch:
            whole = target // epoch
            outside = int(((uses < whole * times) | (uses > (whole + 1) * times)).sum())
            found.append((f"{name}: documents used neither k nor k + 1 epochs, nor between", outside, 0))
            found.append((f"{name}: most epochs of a document", int((-(-uses // times)).max()), -(-target // epoch)))
    found.append(("documents in held-out rows = documents held out", int(counts.is_held.sum()), int(held.sum())))
    found.append(("held-out documents that are trained on", int(((counts.uses > 0) & held).sum()), 0))
    return [{"check": check, "left": left, "right": right} for check, left, right in found]
