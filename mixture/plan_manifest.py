"""A finished build as a plan: its manifest says what was asked, what there was and what was trained; nothing is computed again.

In: manifest.json and its recipe. Out: the Phases of plan.py. How much of a component was used before a phase is known where its documents
can only have been its own before. Imports recipe and mixture's budget, plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from curate.recipe import Mixture, PhaseSpec
from mixture.budget import NOTHING, Plan, Stock
from mixture.plan import Phase, Rows, Run


def of_manifest(manifest: Mapping[str, Any]) -> Run:
    def run(mixture: Mixture) -> list[Phase]:
        so_far: dict[str, tuple[float, float] | None] = dict.fromkeys(mixture.leaves, (0.0, 0.0))
        shared = _shared(mixture)
        found = []
        for spec, stated in zip(mixture.phase_list, manifest["phases"], strict=True):
            if manifest.get("continues"):
                so_far = dict.fromkeys(mixture.leaves)
            found.append(_phase(spec, manifest, stated, so_far))
            so_far |= dict.fromkeys(shared)
        return found

    return run


def _shared(mixture: Mixture) -> set[str]:
    """Components of a source that others have documents of too."""
    feeds: dict[str, list[str]] = {}
    for name, leaf in mixture.leaves.items():
        for source in leaf.from_:
            feeds.setdefault(source, []).append(name)
    return {name for names in feeds.values() if len(names) > 1 for name in names}


def _phase(
    spec: PhaseSpec, manifest: Mapping[str, Any], stated: Mapping[str, Any], so_far: dict[str, tuple[float, float] | None]
) -> Phase:
    n = len(spec.leaves)
    stocks, rows = [NOTHING] * n, [None] * n  # type: tuple[list[Stock], list[Rows | None]]
    requested, targets, caps, tokens = ([0] * n for _ in range(4))
    before: list[tuple[float, float] | None] = [(0.0, 0.0)] * n
    after = [(0.0, 0.0)] * n
    for i, component in enumerate(manifest["components"]):
        mine = next((p for p in component["phases"] if p["phase"] == spec.name), None)
        if mine is None:
            continue
        unique = {"tokens": mine["unique_tokens"], "examples": mine["documents"]}.get(spec.unit, component["unique_loss_tokens"])
        mean = mine["epochs"]["mean"]
        epoch = round(mine["realised"] / mean) if mean and "copies_per_epoch" in component else unique
        stocks[i] = Stock(unique, epoch, mine["documents"], mine["cap_tokens"])
        requested[i], targets[i], caps[i], tokens[i] = mine["requested"], mine["realised"], mine["cap_tokens"], mine["tokens"]
        passes = [p for p in stated["packing"]["passes"] if p["component"] == component["name"]]
        rows[i] = Rows(*(sum(p[key] for p in passes) for key in ("sequences", "padding_tokens", "unavoidable_padding_tokens")))
        earlier = before[i] = so_far[component["name"]]
        seen = mine["unique_tokens"] - mine["over_budget"]["tokens"]
        after[i] = (float(seen), (earlier[1] if earlier else 0.0) + mine["tokens"])
        so_far[component["name"]] = after[i]
    budget = stated["budget"]
    level = None if budget["level"] is None else Fraction(budget["level"])
    done = Plan(requested, targets, caps, list(budget["binding"]), budget["bent"], level)
    return Phase(spec, stocks, done, None, tokens, before, after, lambda: rows)
