"""Short forms of a mixture written out, weights read from their file, budgets scaled to a sample.

Plain data or a Mixture in, the same out. Imports errors, units and recipe's own modules.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.recipe.mixture import Component, Group, Mixture, Policy
from curate.recipe.remove import read_names
from curate.recipe.strict import COUNTS
from curate.units import Quantity


def components_of(data: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], dict]]:
    """(key, plain data) of every component with documents, groups opened."""

    def below(nodes: object, at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict]]:
        for name, node in nodes.items() if isinstance(nodes, dict) else ():
            if isinstance(node, dict) and "components" in node:
                yield from below(node["components"], (*at, name, "components"))
            elif isinstance(node, dict):
                yield (*at, name), node

    mixture = data.get("mixture")
    yield from below(mixture.get("components") if isinstance(mixture, dict) else None, ("mixture", "components"))


def expand_phases(data: Mapping[str, Any]) -> None:
    """`components: {web: 70 % of tokens}` and `components: [web]` of a phase become {web: {budget: ...}}, so that a key below is one."""
    mixture = data.get("mixture")
    phases = mixture.get("phases") if isinstance(mixture, dict) else None
    for phase in phases.values() if isinstance(phases, dict) else ():
        asked = phase.get("components") if isinstance(phase, dict) else None
        if isinstance(asked, list):
            asked = dict.fromkeys(asked)
        if isinstance(asked, dict):
            phase["components"] = {
                name: given if isinstance(given, dict) else {} if given is None else {"budget": given} for name, given in asked.items()
            }  # fmt: skip


def with_weights(mixture: Mixture, path: Callable[[str, str], Path]) -> Mixture:
    """Weights in place of every file of weights. `path(text, key)` finds it."""

    def read(policy: Policy | None, key: str) -> Policy | None:
        if policy is None or policy.file is None:
            return policy
        file = path(policy.file, f"{key}.policy.file")
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            return Policy.model_validate({"kind": "weights", "weights": found, "origin": policy.file})
        except OSError:
            raise CurateError("there is no such file", where=f"{key}.policy.file", found=str(file)) from None
        except ValueError as error:  # of json and of pydantic
            raise CurateError("this file holds no weights", where=f"{key}.policy.file", found=f"{file}: {str(error).splitlines()[0]}",
                              allowed='JSON: {"et": 0.4, "en": 0.6}') from None  # fmt: skip

    def node(one: Component | Group, key: str) -> Component | Group:
        if not isinstance(one, Group):
            return one
        parts = {name: node(part, f"{key}.components.{name}") for name, part in one.components.items()}
        return one.model_copy(update={"policy": read(one.policy, key), "components": parts})

    components = {name: node(one, f"mixture.components.{name}") for name, one in mixture.components.items()}
    phases = {name: phase.model_copy(update={"policy": read(phase.policy, f"mixture.phases.{name}")})
              for name, phase in mixture.phases.items()}  # fmt: skip
    return mixture.model_copy(update={"policy": read(mixture.policy, "mixture"), "components": components, "phases": phases})


def with_lists(mixture: Mixture, path: Callable[[str, str], Path]) -> Mixture:
    """`where: {id: {file: ...}}` with the lines of the file as `equals`. `path(text, key)` finds it."""

    def node(one: Component | Group, key: str) -> Component | Group:
        if isinstance(one, Group):
            parts = {name: node(part, f"{key}.components.{name}") for name, part in one.components.items()}
            return one.model_copy(update={"components": parts})
        where = dict(one.where)
        for value, condition in where.items():
            if condition.file is not None:
                at = f"{key}.where.{value}.file"
                names: list[str | float] = [*read_names(path(condition.file, at), at)]
                where[value] = condition.model_copy(update={"equals": names, "file": None})
        return one.model_copy(update={"where": where})

    return mixture.model_copy(
        update={"components": {name: node(one, f"mixture.components.{name}") for name, one in mixture.components.items()}}
    )


def scale(q: Quantity, share: Fraction) -> Quantity:
    return Quantity(Fraction(int(q.value * share)), q.unit) if q.unit in COUNTS else q


def scaled(mixture: Mixture, share: Fraction) -> Mixture:
    """A total is the sum of its budgets where all are counts, so that rounding leaves no token over."""

    def fit(asked: Any, whole: Quantity | None) -> Quantity | None:
        budgets = [one.budget for one in asked]
        if whole is None or whole.unit not in COUNTS or not budgets or any(b is None or b.unit not in COUNTS for b in budgets):
            return whole and scale(whole, share)
        return Quantity(sum((b.value for b in budgets), Fraction(0)), whole.unit)

    def small(policy: Policy) -> Policy:
        return policy.model_copy(update={"at_most": policy.at_most and scale(policy.at_most, share)})

    def node(one: Any) -> Any:
        update: dict[str, Any] = {
            "floor": one.floor and scale(one.floor, share),
            "budget": one.budget and scale(one.budget, share),
        }
        if isinstance(one, Group):
            update["components"] = {name: node(part) for name, part in one.components.items()}
            update |= {"budget": fit(update["components"].values(), one.budget), "policy": small(one.policy)}
        return one.model_copy(update=update)

    components = {name: node(one) for name, one in mixture.components.items()}
    phases = {}
    for name, phase in mixture.phases.items():
        asked = {part: node(one) for part, one in phase.components.items()} if phase.components is not None else None
        phases[name] = phase.model_copy(update={
            "components": asked, "total": fit((asked or {}).values(), phase.total), "on_shortage": "shrink_total",
            "policy": phase.policy and small(phase.policy),
        })  # fmt: skip
    return mixture.model_copy(update={
        "components": components, "phases": phases, "total": fit(components.values(), mixture.total), "policy": small(mixture.policy),
        "on_shortage": "shrink_total",
    })  # fmt: skip
