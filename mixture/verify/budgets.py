"""Phases and components counted again from the uses that the selection lists: tokens, caps, epochs, copies, what is over budget.

In: `Kept`, `Used` and `Members`, the manifest, the recipe, what `continues` consumed. Out: findings. The planner is asked again with what
is counted here; who is used when is history.py's. Imports recipe, mixture's budget and verify.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from curate.recipe import PhaseSpec, Recipe
from mixture import budget
from mixture.verify.copies import Members, phases_of
from mixture.verify.history import History, Part, cap_of, check_uses
from mixture.verify.report import Report
from mixture.verify.uses import SELECTION, Kept, Used

MANIFEST = "manifest.json"


def check_budgets(
    manifest: Mapping[str, Any], recipe: Recipe, used: Used, kept: Kept, members: Members, held: np.ndarray, history: History,
    report: Report,
) -> None:  # fmt: skip
    """`history`: what earlier builds consumed; the phases are added to it."""
    specs = recipe.mixture.phase_list
    if not report.equal(MANIFEST, "phases", [p["name"] for p in manifest["phases"]], [spec.name for spec in specs]):
        return
    if not report.equal(MANIFEST, "components", [c["name"] for c in manifest["components"]], members.names):
        return
    by_labels = any(spec.unit == "loss_tokens" for spec in specs)
    masks = kept.masks() if by_labels else []
    labels = _labels(kept, masks) if by_labels else None
    in_phases: list[list[str]] = [[] for _ in members.names]
    for f, spec in enumerate(specs):
        parts = [_part(f, spec, c, recipe, kept, members, held, labels) for c in phases_of(recipe)[f]]
        rest = {part.component: _rest(part, history, kept, masks) for part in parts}
        caps = {part.component: cap_of(part, history, rest[part.component]) for part in parts}
        plan = _plan(spec, parts, caps, kept, report)
        for part in parts:
            had = history.used[part.own].copy()
            check_uses(_usable(part, members), used, kept, history, manifest["seed"], report)
            _check_part(part, manifest, plan, caps[part.component], had, used, kept, history, report)
            in_phases[part.component].append(spec.name)
        for c in sorted({*range(len(members.names))}.difference(part.component for part in parts)):
            if (rows := used.of(f, c)).size:
                report.add(SELECTION, f"{members.names[c]} has no budget in {spec.name}, and is used there", f"row {rows[0]}")
        _check_phase(manifest["phases"][f], spec, plan, np.flatnonzero(used.is_train & (used.phase == f)), used, report)
    for c, component in enumerate(manifest["components"]):
        stated = [p["phase"] for p in component["phases"]]
        report.equal(MANIFEST, f"{component['name']}: phases", stated, in_phases[c])
        _check_component(component, recipe, members.ever(c, phases_of(recipe)), kept, held, report)


def _part(
    f: int, spec: PhaseSpec, c: int, recipe: Recipe, kept: Kept, members: Members, held: np.ndarray, labels: np.ndarray | None
) -> Part:
    name, leaf = members.names[c], recipe.mixture.leaves[members.names[c]]
    own = members.of(c, phases_of(recipe)[f])
    own = own[(kept.n_tokens[own] > 0) & ~held[own]]
    rank = np.array([leaf.from_.index(source) if source in leaf.from_ else -1 for source in kept.sources])
    own = own[np.argsort(rank[kept.source[own]], kind="stable")]
    measure = {"tokens": kept.n_tokens, "loss_tokens": labels, "examples": None}[spec.unit]
    each = np.ones(own.size, np.int64) if measure is None else measure[own]
    title = f"{name} in {spec.name}" if recipe.mixture.phases else name
    return Part(
        f, spec.name, c, name, title, spec.unit, spec.packing, own, members.copies(c, own), each, budget.exact(leaf.max_epochs)
    )


def _usable(part: Part, members: Members) -> Part:
    """What of it passes may hold: all, but in a miniature."""
    if members.usable is None:
        return part
    keep = members.usable[part.own]
    return replace(part, own=part.own[keep], copies=part.copies[keep], measure=part.measure[keep])


def _labels(kept: Kept, masks: Sequence[np.ndarray | None]) -> np.ndarray:
    """int64 (n_kept,): labels of one whole use of each document: what its mask lets count, and its first token is none."""
    found = kept.n_loss_tokens - 1
    for s, mask in enumerate(masks):
        if mask is not None:
            own = slice(int(kept.first[s]), int(kept.first[s + 1]))
            has = kept.n_tokens[own] > 0
            found[own][has] += mask[kept.start[own][has]] == 0
    return np.maximum(found, 0)


def _rest(part: Part, history: History, kept: Kept, masks: Sequence[np.ndarray | None]) -> np.ndarray:
    """int64 (own,): what is left of the uses that budgets have cut, in the part's unit."""
    taken = history.rest[part.own]
    left = np.where(taken > 0, kept.n_tokens[part.own] - taken, 0)
    if part.unit == "examples":
        return np.zeros(part.own.size, np.int64)
    if part.unit == "loss_tokens":
        for i in np.flatnonzero(taken).tolist():
            d = int(part.own[i])
            mask = masks[int(np.searchsorted(kept.first, d, side="right")) - 1]
            start, n = int(kept.start[d]), int(kept.n_tokens[d])
            left[i] -= 1  # its first token follows nothing
            if mask is not None:
                left[i] = np.count_nonzero(mask[start + int(taken[i]) + 1 : start + n])
    return left


def _plan(spec: PhaseSpec, parts: Sequence[Part], caps: Mapping[int, int], kept: Kept, report: Report) -> budget.Plan | None:
    """What the planner makes of what is counted here; None (and a finding) where it finds no mixture."""
    stocks = [budget.Stock(0, 0, 0, 0)] * len(spec.leaves)
    for part in parts:
        stocks[part.component] = budget.Stock(int(part.measure.sum()), part.epoch, int(part.copies.sum()), caps[part.component])
    try:
        return budget.plan(spec, stocks)
    except budget.Infeasible as error:
        report.add("recipe.yaml", f"its budgets do not fit what is there: {error.what}", spec.key)
        return None


def _check_part(
    part: Part, manifest: Mapping[str, Any], plan: budget.Plan | None, cap: int, had: np.ndarray, used: Used, kept: Kept,
    history: History, report: Report,
) -> None:  # fmt: skip
    """A component in one phase. Uses, epochs and over_budget are all so far, the rest is of this phase."""
    stated = next((p for p in manifest["components"][part.component]["phases"] if p["phase"] == part.phase_name), None)
    if stated is None:
        report.add(MANIFEST, f"{part.title}: the phase is missing")
        return
    rows = used.of(part.phase, part.component)
    counted = _counted(used, rows)
    now, n_tokens = history.used[part.own], kept.n_tokens[part.own]
    realised = counted[part.unit]
    allowed = np.maximum(had, part.copies * -(-part.max_epochs.numerator // part.max_epochs.denominator))
    if realised > cap:
        report.add(
            SELECTION, f"{part.title}: {realised:,} {part.unit} are used, its cap of {float(part.max_epochs):g} epochs is {cap:,}"
        )
    for i in np.flatnonzero(now > allowed)[:3].tolist():
        report.add(
            SELECTION, f"{part.title}: used {now[i]} times, at most {allowed[i]} may be", f"id {kept.id[part.own[i]].decode()}"
        )
    right = {
        "unit": part.unit, "requested": plan.requested[part.component] if plan else None, "realised": realised,
        **counted, "cap_tokens": cap, "documents": int(part.own.size), "unique_tokens": int(n_tokens.sum()),
        "epochs": {
            "min": int((now // part.copies).min()) if now.size else 0, "mean": round(realised / part.epoch, 6) if part.epoch else 0.0,
            "max": int((-(-now // part.copies)).max(initial=0)),
        },
        "copies": {str(k): int(n) for k, n in enumerate(np.bincount(now)) if n},
        "over_budget": {"documents": int((now == 0).sum()), "tokens": int((n_tokens - history.reached[part.own]).sum())},
    }  # fmt: skip
    for key, value in right.items():
        if key != "requested" or plan is not None:
            report.equal(MANIFEST, f"{part.title}: {key}", stated.get(key), value)
    if plan is not None:
        unused = plan.targets[part.component] - realised  # what whole pairs leave of it
        is_fine = part.packing == "single" and 0 <= unused < int(part.measure.max(initial=0))
        if not is_fine:
            report.equal("recipe.yaml", f"{part.title}: {part.unit} of the budget", plan.targets[part.component], realised)
    passes = [p for p in manifest["phases"][part.phase]["packing"]["passes"] if p["component"] == part.name]
    by_pass = np.bincount(used.pass_[rows], used.length[rows])  # sums of integers below 2^53 are exact
    report.equal(MANIFEST, f"{part.title}: passes", [p["pass"] for p in passes], np.flatnonzero(by_pass).tolist())
    for entry in passes:
        tokens = int(by_pass[entry["pass"]]) if entry["pass"] < by_pass.size else 0
        report.equal(MANIFEST, f"{part.title}: tokens of pass {entry['pass']}", entry["tokens"], tokens)


def _counted(used: Used, rows: np.ndarray) -> dict[str, int]:
    begun = (used.chunk[rows] == 0) & (used.start[rows] == 0)
    return {"tokens": int(used.length[rows].sum()), "loss_tokens": int(used.n_loss[rows].sum()), "examples": int(begun.sum())}


def _check_phase(
    stated: Mapping[str, Any], spec: PhaseSpec, plan: budget.Plan | None, rows: np.ndarray, used: Used, report: Report
) -> None:
    counted = _counted(used, rows)
    right: dict[str, Any] = {
        "unit": spec.unit, "requested": spec.total.count, "realised": counted[spec.unit], **counted, "on_shortage": spec.on_shortage,
        "policy": spec.policy.kind,
    }  # fmt: skip
    if plan is not None:
        right |= {"bent": plan.bent, "binding": plan.binding, "level": None if plan.level is None else float(plan.level)}
    for key, value in right.items():
        report.equal(MANIFEST, f"{spec.name}: {key}", stated["budget"].get(key), value)
    if spec.on_shortage != "shrink_total" and not (spec.packing == "single" and spec.unit != "examples"):
        report.equal("recipe.yaml", f"{spec.key}.total", spec.total.count, counted[spec.unit])


def _check_component(
    stated: Mapping[str, Any], recipe: Recipe, ever: np.ndarray, kept: Kept, held: np.ndarray, report: Report
) -> None:
    """What is said of a component over all phases; `ever`: its documents in any of them."""
    name = stated["name"]
    leaf = recipe.mixture.leaves[name]
    own = ever[(kept.n_tokens[ever] > 0) & ~held[ever]]
    right = {
        "group": name.rpartition("/")[0], "role": leaf.role, "sources": list(leaf.from_), "max_epochs": leaf.max_epochs,
        "where": {key: bounds.model_dump(mode="json", exclude_none=True) for key, bounds in leaf.where.items()},
        "documents": int(own.size), "unique_tokens": int(kept.n_tokens[own].sum()),
        "unique_loss_tokens": int(kept.n_loss_tokens[own].sum()),
    }  # fmt: skip
    for key, value in right.items():
        report.equal(MANIFEST, f"{name}: {key}", stated.get(key), value)
