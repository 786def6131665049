"""What every model of a recipe is made of: strictness, quantities with units, names.

Imports errors, units and recipe.files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from curate.errors import CurateError
from curate.recipe.files import CurateErrorValue
from curate.units import Quantity, n_bytes, quantity

COUNTS = ("tokens", "loss_tokens", "examples")  # what a phase can be counted in
SHARES = tuple(f"share_of_{unit}" for unit in COUNTS)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, populate_by_name=True)


def read_quantity(value: object, units: tuple[str, ...]) -> Quantity:
    """`value` as a quantity in one of `units`, for a pydantic validator."""
    if isinstance(value, Quantity):
        return value
    try:
        return quantity(value, units)
    except CurateError as error:
        raise CurateErrorValue(error) from None


def _in_units(*units: str) -> Any:
    return Annotated[Quantity, BeforeValidator(lambda value: read_quantity(value, units)), PlainSerializer(str)]


def _read_bytes(value: object) -> int:
    try:
        return n_bytes(value)
    except CurateError as error:
        raise CurateErrorValue(error) from None


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def listed(value: object) -> object:
    return value if value is None or isinstance(value, list) else [value]


if TYPE_CHECKING:
    Tokens: TypeAlias = Quantity
    Count: TypeAlias = Quantity
    Budget: TypeAlias = Quantity
    Floor: TypeAlias = Quantity
    ShareOfTokens: TypeAlias = Quantity
    Share: TypeAlias = Quantity
else:
    Tokens = _in_units("tokens")
    Count = _in_units(*COUNTS)
    Budget = _in_units(*COUNTS, *SHARES, "share_of_documents", "epochs", "multiplier")
    Floor = _in_units(*COUNTS, *SHARES, "epochs")
    ShareOfTokens = _in_units("share_of_tokens")
    Share = _in_units("share", "share_of_records")
Bytes = Annotated[
    int, BeforeValidator(_read_bytes), PlainSerializer(lambda n: f"{n / 10**6:g} MB" if n % 1000 == 0 else f"{n} B")
]
Names = Annotated[list[str], BeforeValidator(_one_or_many)]
