"""`miniature:` of a recipe, which `curate simulate` writes: the share of a whole mixture that this one is, and that mixture.

The recipe's own `mixture:` then has the budgets of the miniature, each so many tokens; documents are drawn by mixture/miniature.py.
Imports errors and recipe's own modules.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import BeforeValidator, PlainSerializer, model_validator

from curate.errors import CurateError
from curate.recipe.files import CurateErrorValue
from curate.recipe.mixture import Component, Mixture
from curate.recipe.strict import Strict

ALLOWED = "'1/64', '2 %'"
_FORM = re.compile(r"\s*([0-9]+)\s*/\s*([0-9]+)\s*|\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*")


def share_of(text: object, where: str = "") -> Fraction:
    """`1/64` or `2 %` -> a fraction in (0, 1)."""
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    if match is None or (match[2] is not None and int(match[2]) == 0):
        raise CurateError("this is no share of a mixture", where=where, found=repr(text), allowed=ALLOWED)
    share = Fraction(int(match[1]), int(match[2])) if match[1] is not None else Fraction(match[3]) / 100
    if not 0 < share < 1:
        raise CurateError(
            "a miniature is more than nothing and less than the whole", where=where, found=repr(text), allowed=ALLOWED
        )
    return share


def _read(value: object) -> Fraction:
    if isinstance(value, Fraction):
        return value
    try:
        return share_of(value)
    except CurateError as error:
        raise CurateErrorValue(error) from None


if TYPE_CHECKING:
    Part: TypeAlias = Fraction
else:
    Part = Annotated[Fraction, BeforeValidator(_read), PlainSerializer(str)]


class Miniature(Strict):
    share: Part
    of: Mixture  # the whole

    @model_validator(mode="after")
    def _ends(self) -> Miniature:
        if not self.of.components:
            raise ValueError("of: is the mixture that this is a miniature of")
        return self


def check(mixture: Mixture, miniature: Miniature) -> None:
    """A miniature has the components and phases of its whole, which differ in their budgets alone. Raises CurateError."""
    mine, theirs = ({name: _without_budget(leaf) for name, leaf in m.leaves.items()} for m in (mixture, miniature.of))
    differ = [name for name in [*mine, *theirs] if mine.get(name) != theirs.get(name)]
    if differ or list(mine) != list(theirs):
        raise CurateError(
            "a miniature has the components of its whole", where="miniature.of", found=differ[0] if differ else "another order",
            next="curate simulate BUILD writes both",
        )  # fmt: skip
    phases = [[(p.name, p.unit, p.sequence_length, p.packing, [a is not None for a in p.asks]) for p in m.phase_list]
              for m in (mixture, miniature.of)]  # fmt: skip
    if phases[0] != phases[1]:
        raise CurateError(
            "a miniature has the phases of its whole", where="miniature.of", next="curate simulate BUILD writes both"
        )


def _without_budget(leaf: Component) -> Component:
    return leaf.model_copy(update={"budget": None, "floor": None})
