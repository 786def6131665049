"""What each phase of a mixture asks of each component, all defaults filled in. The planner, selection and packing start from this.

Plain records, made by `Mixture.phase_list`. Imports units.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from curate.units import Quantity

if TYPE_CHECKING:
    from curate.recipe.mixture import Policy

MAIN = "main"  # the name of the phase of a recipe without phases


@dataclass(frozen=True)
class Ask:
    """What a phase asks of one component, or of a group (which has `parts`)."""

    name: str  # `et`, `english`, `english/web`
    key: str  # where in the recipe its budget and floor stand: mixture.components.et, mixture.phases.anneal.components.et
    budget: Quantity | None  # None: the policy of its level decides
    floor: Quantity | None
    max_epochs: Fraction = Fraction(1)  # of a component
    component_key: str = ""  # where max_epochs stands
    policy: Policy | None = None  # of a group: how its own parts share it
    parts: tuple[Ask, ...] = ()


@dataclass(frozen=True)
class PhaseSpec:
    """One phase. `asks`: per leaf of the mixture in recipe order, None where the leaf is not in this phase; `parts`: the same as the
    top of a tree of groups."""

    name: str
    key: str  # where total and the like stand: mixture, mixture.phases.anneal
    total: Quantity
    sequence_length: int
    packing: str  # best_fit | concat | single: one document a row, not padded
    on_shortage: str  # fail | shrink_total | bend_shares
    policy: Policy
    parts: tuple[Ask, ...]
    leaves: tuple[str, ...]  # of the mixture
    asks: tuple[Ask | None, ...]

    @property
    def row_length(self) -> int:
        """Tokens that a packed row has room for: of pairs those of both conversations, each of sequence_length at most."""
        return self.sequence_length * (2 if self.packing == "single" else 1)

    @property
    def unit(self) -> str:
        """tokens, loss_tokens or examples: what total, budgets and caps are counted in."""
        return self.total.unit


def exact(number: int | float | str | Fraction) -> Fraction:
    """A recipe's decimal as written: 1.1 is 11/10, not the nearest binary fraction."""
    return Fraction(str(number)) if isinstance(number, float) else Fraction(number)


def leaves_of(ask: Ask) -> list[Ask]:
    """The components below, itself if it is one."""
    return [leaf for part in ask.parts for leaf in leaves_of(part)] if ask.parts else [ask]
