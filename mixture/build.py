"""Plan, pack, write: kept documents with their tokens in, a build folder with manifest.json out.

In: per source a table of kept documents (columns selection.KEPT), the token shards they point into, the recipe. Out: recipe.yaml,
selection.parquet, sequences/, and manifest.json last of all; the returned dict is what the screen shows. Every number is counted
from rows, and sums that do not close stop the build. Imports curate's contract modules and mixture's rooms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.manifest import SCHEMA_VERSION, write_manifest
from curate.recipe import Recipe
from curate.store import write_atomic
from mixture import account, budget, order, statement
from mixture.selection import Use, documents, hold_out, passes
from mixture.sequences import Layout, lay_out, write_selection, write_sequences
from mixture.statement import PHASE
from mixture.stream import START, advance

CHECKPOINTS = 64


def plan_and_pack(
    recipe: Recipe, tables: Mapping[str, pa.Table], shards: Sequence[Path], build_dir: Path, *, tokenizer: dict,
    token_bytes: int, lineage: Sequence[dict], copies: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict:  # fmt: skip
    """Write the build folder of `recipe` and return its summary (see `account.summary`).

    `tables`: source -> kept documents, in recipe order; `shard` indexes `shards` (paths of .ds files of `token_bytes` 2 or 4).
    `copies`: {component: {by, origin, bins: [{from, copies, ...}]}} of those that have copies; the tables' `bin` counts into `bins`.
    `tokenizer` and `lineage` go into the manifest as they are. Raises budget.Infeasible, and then leaves no manifest.
    """
    _clear(build_dir)
    mixture, seed = recipe.mixture, recipe.seed
    times = {name: [b["copies"] for b in given["bins"]] for name, given in (copies or {}).items()}
    docs = documents(tables, {name: c.from_ for name, c in mixture.components.items()}, times)
    held = np.zeros(docs.n, np.bool_)
    if recipe.held_out is not None:
        held = hold_out(docs, recipe.held_out.per_component.count, recipe.held_out.at_most.value, seed)
    canonical = [[docs.sources.index(source) for source in c.from_] for c in mixture.components.values()]
    owned = [docs.of(c, sources) for c, sources in enumerate(canonical)]
    chosen = [own[~held[own]] for own in owned]
    unique = [int(docs.n_tokens[own].sum()) for own in chosen]
    epoch = [int((docs.copies[own] * docs.n_tokens[own]).sum()) for own in chosen]
    plan = budget.plan(budget.requests(mixture), mixture.total.count, unique, mixture.on_shortage, epoch)

    per_component = [passes(docs, own, c, plan.targets[c], seed, PHASE) for c, own in enumerate(chosen)]
    kept_back = [Use(c, 0, own[held[own]], docs.n_tokens[own[held[own]]]) for c, own in enumerate(owned) if held[own].any()]
    layout = lay_out([use for uses in per_component for use in uses], kept_back, mixture.sequence_length)
    stream_order = _order(layout, docs.components, seed)

    write_atomic(build_dir / "recipe.yaml", recipe.canonical_yaml())
    hashes, n_loss = write_sequences(build_dir / "sequences", layout, docs, stream_order, shards, token_bytes, progress)
    what, where = write_selection(build_dir / "selection.parquet", layout, docs, n_loss, stream_order, PHASE)
    stream_root, checkpoints = _stream_hash(hashes, stream_order)
    counts = account.count(layout, docs, chosen)
    components = [
        statement.component(c, name, recipe, docs, chosen[c], counts, plan, (copies or {}).get(name))
        for c, name in enumerate(docs.components)
    ]
    roots = {"components": statement.components_root(docs, owned, held), "selection": what, "order": where, "stream": stream_root}
    manifest = {
        "schema_version": SCHEMA_VERSION, "kind": recipe.kind, "name": recipe.name, "tool_versions": statement.tool_versions(),
        "recipe_sha256": recipe.sha256, "roots": roots, "tokenizer": tokenizer, "seed": seed,
        "phases": [statement.phase(recipe, layout, plan, docs)], "components": components,
        "held_out": {
            "sequences": layout.n_rows - layout.n_trained,
            "documents": {name: int(n) for name, n in zip(docs.components, counts.held_documents, strict=True)},
            "tokens": {name: int(n) for name, n in zip(docs.components, counts.held_tokens, strict=True)},
        },
        "stream_checkpoints": checkpoints, "outputs": statement.outputs(build_dir, shards), "lineage": list(lineage),
    }  # fmt: skip
    summary = account.summary(manifest, layout, docs, held, counts, plan)
    if wrong := [check for check in summary["checks"] if check["left"] != check["right"]]:
        raise AssertionError(f"sums do not close, no manifest is written: {wrong}")
    write_manifest(build_dir / "manifest.json", manifest)
    return summary


def _clear(build_dir: Path) -> None:
    """No manifest, no mixture: the old one stops being true now. Half-written files of a killed attempt go too."""
    (build_dir / "sequences").mkdir(parents=True, exist_ok=True)
    (build_dir / "manifest.json").unlink(missing_ok=True)
    for name in ("recipe.yaml", "manifest.json", "selection.parquet", "sequences/shards.json", "sequences/*.npy"):
        for stale in build_dir.glob(str(Path(name).parent / f".{Path(name).name}.*")):
            stale.unlink()


def _order(layout: Layout, components: Sequence[str], seed: int) -> np.ndarray:
    rows: list[list[int]] = [[] for _ in components]
    keys: list[list[int]] = [[] for _ in components]
    for use, packed in zip(layout.uses[: layout.n_trained_uses], layout.packed, strict=False):
        rows[use.component].append(packed.n_rows)
        keys[use.component].append(order.key(seed, "sequences", PHASE, components[use.component], str(use.pass_)))
    return order.stream_order(rows, keys)


def _stream_hash(hashes: np.ndarray, stream_order: np.ndarray) -> tuple[str, list[dict]]:
    """Root of the stream, and its running hash at up to 64 evenly spaced stream indices, the last one included."""
    n = stream_order.size
    marks = {n * k // CHECKPOINTS for k in range(1, CHECKPOINTS + 1)} - {0}
    running, found = START, []
    for i, sequence in enumerate(stream_order.tolist(), 1):
        running = advance(running, hashes[sequence].tobytes())
        if i in marks:
            found.append({"stream_index": i, "sha256": running.hex()})
    return running.hex(), found
