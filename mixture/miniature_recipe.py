"""The recipe of a miniature: that of the whole, with budgets a share b of what the whole realised, to the token.

A recipe, its build's manifest and b in; a recipe with `miniature:` out. In a phase of T tokens (labels, examples) the miniature has
floor(bT), shared out as the whole realised them, by largest remainder. Policies, floors and shortages were settled when the whole was
planned: here every budget is a number. Imports errors, recipe and its models.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from curate.errors import CurateError
from curate.recipe import Component, Group, Miniature, Mixture, Policy, Quantity, Recipe
from curate.recipe.mixture import PhaseBudget


def miniature_recipe(recipe: Recipe, manifest: Mapping[str, Any], share: Fraction) -> Recipe:
    """Raises CurateError for a miniature of a miniature, and for a share of which a phase has nothing."""
    if recipe.miniature is not None:
        raise CurateError("this build is a miniature itself", where=recipe.name, next="curate simulate the build it is made of")
    targets = {phase["name"]: _targets(manifest, phase, share) for phase in manifest["phases"]}
    name = f"{recipe.name}-{share.numerator}of{share.denominator}"
    return recipe.model_copy(update={
        "name": name, "mixture": _scaled(recipe.mixture, targets), "miniature": Miniature(share=share, of=recipe.mixture),
    })  # fmt: skip


def _targets(manifest: Mapping[str, Any], phase: Mapping[str, Any], share: Fraction) -> dict[str, Quantity]:
    """Component -> its budget in this phase."""
    realised = {c["name"]: of["realised"] for c in manifest["components"] for of in c["phases"] if of["phase"] == phase["name"]}
    whole, unit = sum(realised.values()), phase["budget"]["unit"]
    total = int(whole * share)
    if not total:
        raise CurateError(
            f"this share of phase {phase['name']} is not one of its {unit}", where="--budget", found=str(share),
            allowed=f"1/{max(whole, 1)} or more",
        )  # fmt: skip
    ideals = {name: Fraction(n * total, whole) for name, n in realised.items()}
    found = {name: int(ideal) for name, ideal in ideals.items()}
    by_remainder = sorted(found, key=lambda name: found[name] - ideals[name])  # a stable sort: ties to the first component
    for name in by_remainder[: total - sum(found.values())]:
        found[name] += 1
    return {name: Quantity(Fraction(n), unit) for name, n in found.items()}


def _scaled(mixture: Mixture, targets: Mapping[str, Mapping[str, Quantity]]) -> Mixture:
    fixed: dict[str, Any] = {"policy": Policy(), "on_shortage": "fail"}
    if not mixture.phases:
        (own,) = targets.values()
        components = {name: _node(name, node, own) for name, node in mixture.components.items()}
        return mixture.model_copy(update={**fixed, "total": _sum(own), "components": components})
    phases = {}
    for name, phase in mixture.phases.items():
        asked = {leaf: PhaseBudget(budget=q) for leaf, q in targets[name].items()}
        phases[name] = phase.model_copy(update={**fixed, "total": _sum(targets[name]), "components": asked})
    components = {name: _node(name, node, {}) for name, node in mixture.components.items()}
    return mixture.model_copy(update={**fixed, "components": components, "phases": phases})


def _node(name: str, node: Component | Group, own: Mapping[str, Quantity]) -> Component | Group:
    """With its budget in `own`, which is empty where phases have the budgets; a group has the sum of its leaves."""
    if isinstance(node, Component):
        return node.model_copy(update={"budget": own.get(name), "floor": None})
    parts = {part: _node(f"{name}/{part}", below, own) for part, below in node.components.items()}
    inside = {leaf: q for leaf, q in own.items() if leaf.startswith(f"{name}/")}
    return node.model_copy(
        update={"budget": _sum(inside) if inside else None, "floor": None, "policy": Policy(), "components": parts}
    )


def _sum(quantities: Mapping[str, Quantity]) -> Quantity:
    """Of one unit."""
    values = list(quantities.values())
    return Quantity(sum((q.value for q in values), Fraction(0)), values[0].unit)
