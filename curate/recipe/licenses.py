"""`license:` of a source and `licenses:` of a recipe: what is declared, and what may be trained on and handed on.

Patterns are SPDX ids, with * and ?, letter case aside: `MIT`, `GPL-*`, `CC-BY-*`, `LicenseRef-own`, `GPL-2.0-only WITH *`. A wildcard does
not bring Creative Commons' NC or ND: they are allowed where the pattern names them. Of `A OR B` one must be allowed, of `A AND B` both;
`A WITH exception` stands for itself; `A+` and `A-or-later` are also allowed where A is. What is not known is never allowed. Imports
curate.licenses and recipe's own modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from curate.errors import CurateError, nearest
from curate.licenses import read, spdx
from curate.recipe.files import CurateErrorValue
from curate.recipe.strict import Strict

if TYPE_CHECKING:
    from curate.recipe.models import RecipeModel

UNKNOWN = frozenset({"", "unknown", "none", "noassertion", "licenseref-unknown"})  # SPDX's words for it, and ours
UNKNOWN_SAYS = "unknown licence"
FORBIDDEN_SIGNAL, UNKNOWN_SIGNAL = "license_forbidden", "license_unknown"
RESTRICTIONS = {"nc", "nd"}  # of Creative Commons: named or not allowed


class License(Strict):
    """Of a source. Both: `from_field` where a row says something, else `declared`; what a row says and nobody understands stays unknown."""

    declared: str | None = None  # an SPDX expression
    from_field: str | None = None
    spellings: dict[str, str] | None = None  # words of the field -> the expression they stand for

    @field_validator("declared")
    @classmethod
    def _expression(cls, said: str | None) -> str | None:
        return None if said is None else expression(said)

    @field_validator("spellings")
    @classmethod
    def _expressions(cls, said: dict[str, str] | None) -> dict[str, str] | None:
        return None if said is None else {words: expression(one) for words, one in said.items()}

    @model_validator(mode="after")
    def _some(self) -> License:
        if self.declared is None and self.from_field is None:
            raise ValueError("a licence is declared (an SPDX expression), taken from_field, or both")
        if self.spellings is not None and self.from_field is None:
            raise ValueError("spellings are of what from_field holds, and there is no from_field:")
        return self


class Licenses(Strict):
    """What a mixture may hold. error: the build stops before packing; flag: kept and shown; drop: a rule of that name drops them."""

    allow: list[str] = Field(min_length=1)
    redistribute: list[str] | None = None  # what `export --hub` hands on; None: allow without LicenseRef-*
    unknown: Literal["error", "flag", "drop"] = "error"
    forbidden: Literal["error", "drop"] = "error"

    @field_validator("allow", "redistribute")
    @classmethod
    def _patterns(cls, given: list[str] | None) -> list[str] | None:
        try:
            return None if given is None else [pattern(one) for one in given]
        except CurateError as error:
            raise CurateErrorValue(error) from None

    @property
    def handed_on(self) -> list[str]:
        """Patterns of what may be handed on. A LicenseRef-* is terms of somebody's own: only who has read them says so."""
        given = self.allow if self.redistribute is None else self.redistribute
        return [one for one in given if self.redistribute is not None or not one.lower().startswith("licenseref-")]

    def rules(self) -> list[dict[str, Any]]:
        """The rules that `drop` is; the signals are of family licenses."""
        asked = ((self.forbidden, FORBIDDEN_SIGNAL), (self.unknown, UNKNOWN_SIGNAL))
        return [{"name": signal, "signal": signal, "max": 0} for action, signal in asked if action == "drop"]


def expression(said: str) -> str:
    """What a person wrote into a recipe as SPDX has it. Raises CurateErrorValue."""
    found, why = read(said)
    if found is not None:
        return found
    if said.strip().lower() == "licenseref-unknown":
        return "LicenseRef-unknown"
    close = nearest(said, spdx.ids()[0].values()) if why else []
    allowed = ", ".join(close) or "an SPDX expression: MIT, CC-BY-SA-4.0, Apache-2.0 OR MIT"
    own = re.sub(r"[^A-Za-z0-9.]+", "-", said).strip("-") or "mine"
    raise CurateErrorValue(
        CurateError("this is no licence of the SPDX list", found=said, allowed=f"{allowed}; of one's own: LicenseRef-{own}")
    )


def pattern(given: str, where: str = "") -> str:
    """A pattern as SPDX spells it. Raises CurateError for one that nobody has looked at, such as *, or that no licence has."""
    said = " ".join(given.split())
    if not re.search(r"[A-Za-z0-9]", said):
        raise CurateError("this pattern names no licence", where=where, found=repr(given), allowed="SPDX ids: CC0-1.0, 'CC-BY-*'")
    if re.search(r"\s(?:AND|OR)\s", said, re.IGNORECASE):
        raise CurateError("a pattern is one licence, an expression is judged by its parts", where=where, found=given,
                          allowed="one entry for each licence")  # fmt: skip
    if "*" in said or "?" in said:
        licences = spdx.ids()[0]
        if re.match(r"licenseref-|documentref-", said, re.IGNORECASE) or " with " in said.lower():
            return said
        if not any(fnmatchcase(name, said.lower()) for name in licences):
            close = nearest(said, licences.values())
            raise CurateError(
                "no licence of the SPDX list is named like this", where=where, found=given, allowed=", ".join(close)
            )
        return said
    if (found := read(said)[0]) is not None:
        return found
    close = nearest(said, spdx.ids()[0].values())
    raise CurateError(
        "this is no licence of the SPDX list",
        where=where,
        found=given,
        allowed=", ".join(close) or "SPDX ids, LicenseRef-*, 'CC-BY-*'",
    )


def check(recipe: RecipeModel) -> None:
    """Before any file is opened: no source that a component takes from declares for all its rows what is not allowed."""
    asked = recipe.licenses
    if asked is None:
        return
    fed = {name for one in recipe.mixture.leaves.values() for name in one.from_}
    for name, source in recipe.sources.items():
        said = source.license
        if (
            name not in fed or said.declared is None or said.from_field is not None or source.type == "code"
        ):  # files say what they are under
            continue
        why = refusal(said.declared, tuple(asked.allow))
        if why and (asked.unknown if why == UNKNOWN_SAYS else asked.forbidden) == "error":
            raise CurateError(
                f"the licence of this source is {'not known' if why == UNKNOWN_SAYS else 'not allowed'}",
                where=f"sources.{name}.license.declared", found=said.declared, allowed=", ".join(asked.allow),
                next="declare what it is under, or licenses.unknown: flag" if why == UNKNOWN_SAYS
                else "add it to licenses.allow, or take the source out of the mixture",
            )  # fmt: skip


@lru_cache(maxsize=1 << 16)
def refusal(licence: str | None, patterns: tuple[str, ...]) -> str:
    """Why a document of this licence is not allowed: `unknown licence`, or `X is not allowed`; "" where it is."""
    plain = " ".join((licence or "").split())
    if plain.casefold() in UNKNOWN:
        return UNKNOWN_SAYS
    try:
        tree = spdx.parse(plain)
    except spdx.NotSpdx:  # of a store made before licences were checked: taken as a name
        return "" if _matches(plain, patterns) else f"{plain} is not allowed"
    if _allowed(tree, patterns):
        return ""
    return UNKNOWN_SAYS if any(one.id.casefold() in UNKNOWN for one in _ones(tree)) else f"{plain} is not allowed"


def _allowed(tree: spdx.Tree, patterns: Sequence[str]) -> bool:
    if isinstance(tree, spdx.Many):
        parts = (_allowed(part, patterns) for part in tree.parts)
        return any(parts) if tree.operator == "OR" else all(parts)
    if tree.id.casefold() in UNKNOWN:
        return False
    if tree.exception:
        return _matches(str(tree), patterns)
    earlier = re.sub(r"-or-later$", "-only", tree.id.removesuffix("+"))
    return any(_matches(name, patterns) for name in (tree.id, earlier))


def _ones(tree: spdx.Tree) -> Iterable[spdx.One]:
    if isinstance(tree, spdx.One):
        return [tree]
    return [one for part in tree.parts for one in _ones(part)]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name.casefold(), one.casefold()) and not _restricted(name, one) for one in patterns)


def _restricted(name: str, one: str) -> bool:
    """Does Creative Commons' licence `name` have a restriction that the pattern does not name?"""
    if not name.casefold().startswith("cc-"):
        return False
    return bool(RESTRICTIONS & set(name.casefold().split("-")) - set(re.split(r"[-*?]", one.casefold())))
