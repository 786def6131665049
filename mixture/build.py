"""Plan, pack, write: kept documents with their tokens in, a build folder with manifest.json out.

In: per source a table of kept documents (columns selection.KEPT), the token shards they point into, the recipe. Out: recipe.yaml,
selection.parquet, members.parquet, sequences/, and manifest.json last of all; the returned dict is what the screen shows. Every phase
is planned before the first is packed, so what is impossible fails early. Every number is counted from rows, and sums that do not close
stop the build. Imports curate's contract modules and mixture's rooms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.manifest import SCHEMA_VERSION, write_manifest
from curate.recipe import PhaseSpec, Recipe
from curate.store import write_atomic
from mixture import account, budget, licences, order, overlong, statement
from mixture.members import by_query, write_members
from mixture.miniature import plan_miniature
from mixture.planning import known, plan_phases, present
from mixture.selection import Documents, Pattern, Use
from mixture.sequences import Layout, lay_out, write_selection, write_sequences
from mixture.stream import START

CHECKPOINTS = 64


def plan_and_pack(
    recipe: Recipe, tables: MutableMapping[str, pa.Table], shards: Sequence[Path], build_dir: Path, *, tokenizer: dict,
    token_bytes: int, lineage: Sequence[dict], patterns: Sequence[Pattern], copies: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict:  # fmt: skip
    """Write the build folder of `recipe` and return its summary (see `account.summary`).

    `tables`: source -> kept documents, in recipe order, empty afterwards; `shard` indexes `shards` (paths of .ds files of `token_bytes` 2 or 4).
    `patterns`: what the tables' `pattern` counts into; `copies`: {component: {by, origin, bins: [{from, copies, ...}]}} of those that
    have copies, whose bins the patterns name (both curate/membership.py).
    `tokenizer` and `lineage` go into the manifest as they are. Raises budget.Infeasible, and then leaves no manifest.
    """
    _clear(build_dir)
    specs, seed, leaves = recipe.mixture.phase_list, recipe.seed, recipe.mixture.leaves
    of = known(recipe, tables, shards, patterns, copies or {}, tokenizer)
    licences.check(recipe, of.docs)
    docs, home, held, before, counted = of.docs, of.home, of.held, of.before, of.counted
    assigned = [docs.first_of(present(spec)) for spec in specs]
    if recipe.miniature is None:
        parts, plans, trained = plan_phases(specs, docs, assigned, held, before.state.copy(), counted, seed)
    else:
        drawn = plan_miniature(recipe, docs, held, before.state, counted)
        docs, assigned, parts, plans, trained = drawn.docs, drawn.assigned, drawn.parts, drawn.plans, drawn.uses
        home = docs.first_of({c for spec in specs for c in present(spec)})

    kept_back = [Use(-1, c, 0, own, np.zeros(own.size, np.int64), docs.n_tokens[own]) for c, own in _held(docs, home, held)]
    ever = partial(_ever, docs, assigned)
    caps = [budget.exact(c.max_epochs) for c in leaves.values()]
    write_atomic(build_dir / "recipe.yaml", recipe.canonical_yaml())
    with ThreadPoolExecutor(1) as beside:  # what needs no rows goes on beside them, then the books beside the selection
        components_root = beside.submit(statement.components_root, docs, ever, held)
        members = beside.submit(write_members, build_dir, docs, by_query(recipe))
        layout = lay_out(trained, kept_back, [(spec.row_length, spec.packing) for spec in specs])
        stream_order = _order(layout, docs.components, specs, seed)
        hashes, n_loss = write_sequences(build_dir / "sequences", layout, docs, stream_order, shards, token_bytes, progress)
        counting = beside.submit(account.count, layout, docs, n_loss, parts, caps, before.state)
        what, where = write_selection(
            build_dir / "selection.parquet", layout, docs, n_loss, stream_order, [spec.name for spec in specs]
        )
        counts = counting.result()
        members.result()
        overlong.write(build_dir, of.left)
    stream_root, checkpoints = _stream_hash(hashes, stream_order)
    components = [
        statement.component(
            c, name, recipe, docs, _without(ever(c), held), counts, parts, plans, (copies or {}).get(name), of.left
        )
        for c, name in enumerate(docs.components)
    ]
    roots = {"components": components_root.result(), "selection": what, "order": where, "stream": stream_root}
    manifest = {
        "schema_version": SCHEMA_VERSION, "kind": recipe.kind, "name": recipe.name, "tool_versions": statement.tool_versions(),
        "recipe_sha256": recipe.sha256, "roots": roots, "tokenizer": tokenizer, "seed": seed,
        "phases": [statement.phase(f, spec, layout, plans[f], docs, counts) for f, spec in enumerate(specs)],
        "components": components,
        "held_out": {
            "sequences": layout.n_rows - layout.n_trained, "sequence_length": specs[0].sequence_length,
            **({"row_length": specs[0].row_length} if specs[0].packing == "single" else {}),
            "documents": {name: int(n) for name, n in zip(docs.components, counts.held_documents, strict=True)},
            "tokens": {name: int(n) for name, n in zip(docs.components, counts.held_tokens, strict=True)},
        },
        **({"continues": before.stated} if before.stated else {}),
        **({"miniature": {"share": str(recipe.miniature.share)}} if recipe.miniature else {}),
        "stream_checkpoints": checkpoints, "outputs": statement.outputs(build_dir, shards), "lineage": list(lineage),
    }  # fmt: skip
    summary = account.summary(manifest, docs, home, held, of.left.is_out, counts, parts, plans)
    if wrong := [check for check in summary["checks"] if check["left"] != check["right"]]:
        raise AssertionError(f"sums do not close, no manifest is written: {wrong}")
    write_manifest(build_dir / "manifest.json", manifest)
    return summary


def _clear(build_dir: Path) -> None:
    """No manifest, no mixture: the old one stops being true now. Half-written files of a killed attempt go too."""
    (build_dir / "sequences").mkdir(parents=True, exist_ok=True)
    (build_dir / "manifest.json").unlink(missing_ok=True)
    files = (
        "recipe.yaml",
        "manifest.json",
        "selection.parquet",
        "members.parquet",
        overlong.NAME,
        "sequences/shards.json",
        "sequences/*.npy",
    )
    for name in files:
        for stale in build_dir.glob(str(Path(name).parent / f".{Path(name).name}.*")):
            stale.unlink()


def _ever(docs: Documents, assigned: Sequence[np.ndarray], component: int) -> np.ndarray:
    """The documents that are a component's in some phase, in canonical order."""
    ever = assigned[0] == component
    for of in assigned[1:]:
        ever |= of == component
    return docs.in_order(component, np.flatnonzero(ever))


def _without(own: np.ndarray, held: np.ndarray) -> np.ndarray:
    return own[~held[own]]


def _held(docs: Documents, home: np.ndarray, held: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(component, its held-out documents), of those that have any."""
    of = np.where(held, home, -1)
    return [(c, own) for c in range(len(docs.components)) if (own := docs.of(c, of)).size] if held.any() else []


def _order(layout: Layout, components: Sequence[str], specs: Sequence[PhaseSpec], seed: int) -> np.ndarray:
    """Sequence of every stream index, uint64: each phase on its own, one after the other."""
    found = [np.empty(0, np.uint64)]
    for f, spec in enumerate(specs):
        rows: list[list[int]] = [[] for _ in components]
        keys: list[list[int]] = [[] for _ in components]
        for use, filled in layout.of_phase(f):
            rows[use.component].append(filled.n_rows)
            keys[use.component].append(order.key(seed, "sequences", spec.name, components[use.component], str(use.pass_)))
        found.append(order.stream_order(rows, keys) + np.uint64(layout.first_row[f]))
    return np.concatenate(found)


def _stream_hash(hashes: np.ndarray, stream_order: np.ndarray) -> tuple[str, list[dict]]:
    """Root of the stream, and its running hash (stream.advance) at up to 64 evenly spaced stream indices, the last one included."""
    n = stream_order.size
    in_order = hashes[stream_order.astype(np.int64)].tobytes()
    sha256, running, found, done = hashlib.sha256, START, [], 0
    for mark in sorted({n * k // CHECKPOINTS for k in range(1, CHECKPOINTS + 1)} - {0}):
        for at in range(16 * done, 16 * mark, 16):
            running = sha256(running + in_order[at : at + 16]).digest()
        done = mark
        found.append({"stream_index": mark, "sha256": running.hex()})
    return running.hex(), found
