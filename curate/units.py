"""Quantities with their unit, exact: `5B tokens`, `30 % of tokens`, `2 epochs`, `1.5 x`, `64 MB`. A bare number is an error.

Text in, integers and fractions out. Imports errors only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from curate.errors import CurateError

_COUNT = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_FORM = re.compile(
    r"^\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([kMBT]?)\s+(tokens|loss_tokens|examples|documents|epochs|epoch|steps)\s*$"
)
_SHARE = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*(?:of\s+(tokens|loss_tokens|examples|documents|steps|records))?\s*$")
_TIMES = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*x\s*$")
_SIZE = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?i?B)\s*$")


@dataclass(frozen=True)
class Quantity:
    """`value` counted in `unit`: tokens, loss_tokens, examples, documents, epochs, steps, share_of_tokens, multiplier, ...

    Shares are fractions in [0, 1]; counts are whole numbers (Fraction with denominator 1); epochs and multipliers may be fractional.
    """

    value: Fraction
    unit: str

    def __str__(self) -> str:
        if self.unit.startswith("share"):
            of = self.unit.removeprefix("share").removeprefix("_of_")
            return f"{decimal(self.value * 100)} %" + (f" of {of}" if of else "")
        return f"{decimal(self.value)} {'x' if self.unit == 'multiplier' else self.unit}"

    @property
    def count(self) -> int:
        """The whole number of a count; a share or a fractional number of epochs has none."""
        if self.unit.startswith("share") or self.value.denominator != 1:
            raise ValueError(f"{self} is not a whole number")
        return int(self.value)


def is_decimal(value: Fraction) -> bool:
    rest = value.denominator
    for p in (2, 5):
        while rest % p == 0:
            rest //= p
    return rest == 1


def decimal(value: Fraction) -> str:
    """Exact decimal digits where there are some, else a fraction."""
    if not is_decimal(value):
        return str(value)
    digits = 0
    while (value * 10**digits).denominator != 1:
        digits += 1
    text = str(int(value * 10**digits)).rjust(digits + 1, "0")
    return f"{text[:-digits]}.{text[-digits:]}" if digits else text


def quantity(text: object, allowed: tuple[str, ...], where: str = "") -> Quantity:
    """Read `text` as a quantity in one of the `allowed` units, e.g. ("tokens", "share_of_tokens", "epochs")."""
    forms = ", ".join(_EXAMPLES[unit] for unit in allowed)
    parsed = _parse(text) if isinstance(text, str) else None
    if parsed is None:
        hint = "a number needs its unit" if isinstance(text, int | float) else "not a quantity"
        raise CurateError(hint, where=where, found=repr(text), allowed=forms)
    if parsed.unit not in allowed:
        raise CurateError("this unit has no meaning here", where=where, found=repr(text), allowed=forms)
    return parsed


_EXAMPLES = {
    "tokens": "'5B tokens'", "loss_tokens": "'5M loss_tokens'", "examples": "'20k examples'", "documents": "'100 documents'",
    "epochs": "'2 epochs'", "steps": "'500 steps'", "share_of_tokens": "'30 % of tokens'", "share_of_documents": "'75 % of documents'",
    "share_of_loss_tokens": "'30 % of loss_tokens'", "share_of_examples": "'30 % of examples'", "multiplier": "'1.5 x'",
    "share_of_steps": "'1 % of steps'", "share_of_records": "'0.1 % of records'", "share": "'1 %'",
}  # fmt: skip


def _parse(text: str) -> Quantity | None:
    if match := _FORM.match(text):
        number, scale, unit = match.groups()
        value = Fraction(number.replace("_", "").replace(",", "")) * _COUNT[scale]
        unit = "epochs" if unit == "epoch" else unit
        return Quantity(value, unit) if unit == "epochs" or value.denominator == 1 else None
    if match := _SHARE.match(text):
        share = Fraction(match[1]) / 100
        return Quantity(share, f"share_of_{match[2]}" if match[2] else "share") if share <= 1 else None
    if match := _TIMES.match(text):
        return Quantity(Fraction(match[1]), "multiplier")
    return None


def n_bytes(text: object, where: str = "") -> int:
    """`64 MB` -> 64_000_000 (decimal units; KiB, MiB, GiB are binary)."""
    match = _SIZE.match(text) if isinstance(text, str) else None
    if match is None:
        raise CurateError("not a size in bytes", where=where, found=repr(text), allowed="'64 MB', '4 GB', '512 KiB'")
    return int(Fraction(match[1]) * _BYTES[match[2]])


def show_bytes(n: int) -> str:
    """1_430_000 -> '1.4 MB' for people; decimal units."""
    value = float(n)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def show_gib(n: float) -> str:
    """Memory of devices: 150_000_000_000 -> '139.7 GiB', smaller things in MiB; binary units."""
    return f"{n / 2**30:,.1f} GiB" if n >= 2**30 else f"{n / 2**20:,.1f} MiB"
