"""The mixture section of a recipe: components and groups of them, policies, phases, and what it goes on from.

Plain data in, checked objects out; `phase_list` is what they mean phase by phase, what they must not be is mixture_check.py.
Imports errors, units and recipe's own modules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from curate.recipe.copies import Copies
from curate.recipe.phases import MAIN, Ask, PhaseSpec, exact, leaves_of
from curate.recipe.strict import Budget, Count, Floor, Names, Strict, listed

SEPARATOR = "/"  # a leaf of a group is called group/leaf
Packing: TypeAlias = Literal["best_fit", "concat", "single"]
Overlong: TypeAlias = Literal["split", "cut", "drop"]


class Condition(Strict):
    """What a document's value must satisfy for it to belong to a component: all bounds that are given."""

    min: float | None = None
    max: float | None = None
    below: float | None = None  # as max, but the bound itself is outside
    equals: Annotated[list[str | float] | None, BeforeValidator(listed)] = None  # one of these
    # of these, one a line; read into `equals` when the recipe is loaded
    file: str | None = Field(None, exclude_if=lambda value: value is None)
    missing: Literal["fail", "pass"] = Field("fail", exclude_if=lambda value: value == "fail")  # of a document without a value

    @model_validator(mode="after")
    def _possible(self) -> Condition:
        bounds = (self.min, self.max, self.below)
        if all(bound is None for bound in bounds) and self.equals is None and self.file is None:
            raise ValueError("a condition needs min, max, below or equals")
        if self.equals is not None and self.file is not None:
            raise ValueError("equals: or file:, not both")
        if self.equals == []:
            raise ValueError("equals: needs a value, or nothing ever matches")
        if any(bound is not None and not math.isfinite(bound) for bound in bounds):
            raise ValueError("a bound is a finite number")
        if self.min is not None and (
            (self.max is not None and self.min > self.max) or (self.below is not None and self.min >= self.below)
        ):
            raise ValueError("no number is in these bounds")
        return self

    def holds(self, value: str | float | None) -> bool:
        """Of one value; None or NaN is a missing one."""
        if value is None or value != value:
            return self.missing == "pass"
        if self.equals is not None and value not in self.equals:
            return False
        if self.min is None and self.max is None and self.below is None:
            return True
        return isinstance(value, int | float) and not (
            (self.min is not None and value < self.min)
            or (self.max is not None and value > self.max)
            or (self.below is not None and value >= self.below)
        )

    def within(self, other: Condition) -> bool:
        """Whether whoever satisfies this satisfies `other` too; False where that cannot be told."""
        if self.missing == "pass" and other.missing == "fail":
            return False
        if self.equals is not None:
            return all(other.holds(value) for value in self.equals)
        if other.equals is not None:
            return False
        if other.min is not None and (self.min is None or self.min < other.min):
            return False
        here = [bound for bound in (self.max, self.below) if bound is not None]
        if other.max is not None and not any(bound <= other.max for bound in here):
            return False
        top = other.below
        return top is None or (self.below is not None and self.below <= top) or (self.max is not None and self.max < top)


class Policy(Strict):
    """Who decides the shares of a level: its budgets (fixed), or a rule, within floors and caps (mixture/policies.py)."""

    kind: Literal["fixed", "proportional", "temperature", "unimax", "weights"] = "fixed"
    temperature: float | None = None  # T of U^(1/T)
    at_most: Count | None = None  # of temperature: U counts as no more than this (seqio's clip)
    weights: dict[str, float] | None = None  # name -> weight, of everything on the level
    file: str | None = None  # JSON {name: weight}; read into `weights` when the recipe is loaded, its path is then the `origin`
    origin: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"kind": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _of_its_kind(self) -> Policy:
        if (self.kind == "temperature") != (self.temperature is not None):
            raise ValueError("policy temperature needs temperature: (3.3, say), no other takes one")
        if self.temperature is not None and not 0.1 <= self.temperature <= 1000:
            raise ValueError("a temperature is a number from 0.1 to 1000; 1 is proportional, a large one nearly uniform")
        if self.at_most is not None and self.kind != "temperature":
            raise ValueError("at_most: belongs to policy temperature; components have floor: and max_epochs:")
        if (self.kind == "weights") != (self.weights is not None or self.file is not None):
            raise ValueError("policy weights needs weights: {name: number} or file:, no other takes them")
        if self.weights is not None and self.file is not None:
            raise ValueError("weights: or file:, not both")
        given = list((self.weights or {}).values())
        if not all(math.isfinite(w) and w >= 0 for w in given) or (self.weights is not None and not any(given)):
            raise ValueError("weights are numbers from 0, not all 0")
        return self


FIXED = Policy()


def _is_fixed(policy: Policy) -> bool:
    return policy == FIXED


def _which(value: Any) -> str:
    if isinstance(value, dict):
        return GROUP if "components" in value else LEAF
    return GROUP if isinstance(value, Group) else LEAF


GROUP, LEAF = "<Group>", "<Component>"  # in pydantic's paths; files.py takes them out again
Node: TypeAlias = Annotated[
    Annotated["Group", Tag(GROUP)] | Annotated["Component", Tag(LEAF)], Discriminator(_which)
]  # fmt: skip


class Component(Strict):
    """Documents of some sources that satisfy `where`, and how much of them is asked for.

    A document belongs to the first component of a phase that lists its source and whose `where` holds."""

    from_: Names = Field(alias="from")
    where: dict[str, Condition] = Field({}, exclude_if=lambda where: not where)  # signal, cluster_size or mapped field -> bounds
    role: Literal["target", "replay", "code", "math", "instruction", "parallel", "other"]
    budget: Budget | None = None  # None under a policy, and where phases have the budgets
    floor: Floor | None = None
    max_epochs: float = Field(1, ge=1)
    copies: Copies | None = None  # None: every document once an epoch
    overlong: Overlong | None = Field(None, exclude_if=lambda value: value is None)  # None: the mixture's


class Group(Strict):
    """Components that share a budget; shares inside are shares of the group. Its leaves are called group/leaf."""

    budget: Budget | None = None
    floor: Floor | None = None
    policy: Policy = Field(FIXED, exclude_if=_is_fixed)
    components: dict[str, Node]


class PhaseBudget(Strict):
    """What a phase asks of a component or group; `10 % of tokens` alone is its budget."""

    budget: Budget | None = None
    floor: Floor | None = None  # None: the component's own

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return data if isinstance(data, dict | PhaseBudget) else {} if data is None else {"budget": data}


class Phase(Strict):
    """One of several phases. What it does not say, the mixture says."""

    total: Count
    sequence_length: int | None = Field(None, ge=8, le=2**20)
    packing: Packing | None = None
    on_shortage: Literal["fail", "shrink_total", "bend_shares"] | None = None
    policy: Policy | None = None
    components: dict[str, PhaseBudget] | None = None  # leaf or group; None, under a policy: all of the top level


class Continue(Strict):
    """A build whose stream was trained on already, and how far: by the receipt of the run, or by a number of rows."""

    manifest: str
    receipt: str | None = None
    rows: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one(self) -> Continue:
        if (self.receipt is None) == (self.rows is None):
            raise ValueError("how far the old build was trained on is either receipt: (a file of the run) or rows: (a number)")
        return self


class Mixture(Strict):
    total: Count | None = None  # None: phases have their own
    sequence_length: int = Field(ge=8, le=2**20)
    packing: Packing = Field("best_fit", exclude_if=lambda packing: packing == "best_fit")
    # Of documents longer than a sequence: chunks, the beginning alone, or not at all. kinds.py fills it in; None: of cpt, split
    overlong: Overlong | None = None
    on_shortage: Literal["fail", "shrink_total", "bend_shares"] = "fail"
    policy: Policy = Field(FIXED, exclude_if=_is_fixed)
    continues: Annotated[list[Continue], BeforeValidator(listed)] = Field([], exclude_if=lambda old: not old)
    components: dict[str, Node]
    phases: dict[str, Phase] = Field({}, exclude_if=lambda phases: not phases)

    @property
    def leaves(self) -> dict[str, Component]:
        """Every component that has documents, in recipe order, by its name: `et`, or `english/web` in a group."""
        return dict(_leaves(self.components))

    @property
    def phase_list(self) -> list[PhaseSpec]:
        """The phases with all that applies to each filled in; without `phases:` the one phase "main"."""
        return _phase_list(self)

    def overlong_of(self, leaf: str) -> Overlong:
        """What becomes of a component's documents that are longer than a sequence."""
        return self.leaves[leaf].overlong or self.overlong or "split"

    @staticmethod
    def key_of(leaf: str) -> str:
        """Where a component stands in a recipe: mixture.components.english.components.web."""
        return "mixture.components." + leaf.replace(SEPARATOR, ".components.")

    def values_of(self, source: str) -> set[str]:
        """Names of the values of this source's documents that its components go by: those of where: and of copies: by."""
        mine = [c for c in self.leaves.values() if source in c.from_]
        return {name for c in mine for name in [*c.where, *([c.copies.by] if c.copies else [])]}


def _leaves(nodes: dict[str, Group | Component], prefix: str = "") -> Iterator[tuple[str, Component]]:
    for name, node in nodes.items():
        if isinstance(node, Group):
            yield from _leaves(node.components, f"{prefix}{name}{SEPARATOR}")
        else:
            yield f"{prefix}{name}", node


def _phase_list(mixture: Mixture) -> list[PhaseSpec]:
    leaves = tuple(mixture.leaves)
    top = {name: _ask(name, f"mixture.components.{name}", node) for name, node in mixture.components.items()}
    common: dict[str, Any] = {"sequence_length": mixture.sequence_length, "packing": mixture.packing, "on_shortage": mixture.on_shortage,
              "policy": mixture.policy, "leaves": leaves}  # fmt: skip
    if not mixture.phases:
        assert mixture.total is not None, "a mixture without total and phases passed validation"
        return [_spec(name=MAIN, key="mixture", total=mixture.total, parts=tuple(top.values()), **common)]
    by_name = _all(top.values())
    phases = []
    for name, phase in mixture.phases.items():
        own = {key: value for key in ("sequence_length", "packing", "on_shortage", "policy")
               if (value := getattr(phase, key)) is not None}  # fmt: skip
        key = f"mixture.phases.{name}"
        asked = phase.components if phase.components is not None else dict.fromkeys(top)
        parts = tuple(
            replace(
                by_name[part], key=f"{key}.components.{part}", budget=given.budget if given else None,
                floor=(given and given.floor) or by_name[part].floor,
            )
            for part, given in asked.items()
        )  # fmt: skip
        phases.append(_spec(name=name, key=key, total=phase.total, parts=parts, **{**common, **own}))
    return phases


def _spec(*, parts: tuple[Ask, ...], leaves: tuple[str, ...], **rest: Any) -> PhaseSpec:
    """Parts in recipe order, whatever order the phase names them in."""
    order = {name: i for i, name in enumerate(leaves)}
    parts = tuple(sorted(parts, key=lambda ask: order[leaves_of(ask)[0].name]))
    found = {leaf.name: leaf for ask in parts for leaf in leaves_of(ask)}
    return PhaseSpec(parts=parts, leaves=leaves, asks=tuple(found.get(name) for name in leaves), **rest)


def _ask(name: str, key: str, node: Component | Group) -> Ask:
    parts: tuple[Ask, ...] = ()
    policy, most = None, Fraction(1)
    if isinstance(node, Group):
        policy = node.policy
        parts = tuple(_ask(f"{name}/{part}", f"{key}.components.{part}", below) for part, below in node.components.items())
    else:
        most = exact(node.max_epochs)
    return Ask(name, key, node.budget, node.floor, most, key, policy, parts)


def _all(asks: Any) -> dict[str, Ask]:
    """Groups and leaves by their names."""
    found: dict[str, Ask] = {}
    for ask in asks:
        found |= {ask.name: ask} | _all(ask.parts)
    return found
