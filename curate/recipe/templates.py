"""Pools of weighted templates as data: a file of presets/templates in, `Templates` out, part of the recipe and so of what decides rows.

A lane's options name a file (`templates: translation`) or hold the pools themselves; `expand` puts the file's content in place of its
name before the recipe is checked, so that a lane never opens a file. Imports errors, recipe.strict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import field_validator

from curate.recipe.strict import Strict

PLACE = re.compile(r"\{(\w+)\}")  # the only markup of a template; other braces stand for themselves
# Option of a source -> the file of its templates where none is named (None: then it has none).
DEFAULTS = {"conversation": None, "parallel": "translation", "preference": None, "render": "qa"}


class Template(Strict):
    text: str
    weight: float = 1.0

    @field_validator("weight")
    @classmethod
    def _positive(cls, value: float) -> float:
        if not 0 < value < float("inf"):
            raise ValueError("a template's weight is a positive number; leave the template out to never use it")
        return value

    def places(self) -> set[str]:
        return set(PLACE.findall(self.text))

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with every {name} replaced once: braces inside a value stay as they are."""
        return PLACE.sub(lambda match: values.get(match[1], match[0]), self.text)


class Templates(Strict):
    """`names`: language of a template -> language named -> how it says it there. `pools`: e.g. "et/separate" -> templates."""

    source: str = ""
    names: dict[str, dict[str, str]] = {}
    pools: dict[str, list[Template]]

    @field_validator("pools", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """A template without a weight may be written as its text alone."""
        if not isinstance(value, dict):
            return value
        return {
            name: [{"text": one} if isinstance(one, str) else one for one in pool] if isinstance(pool, list) else pool
            for name, pool in value.items()
        }

    def pool(self, name: str, needed: Iterable[str], allowed: Iterable[str]) -> list[Template]:
        """The pool `name`, not empty, whose templates have every place of `needed` and none beyond `allowed`; else ValueError."""
        if not self.pools.get(name):
            raise ValueError(f"the templates have no pool {name!r}; they have {', '.join(sorted(self.pools)) or 'none'}")
        needed, allowed = set(needed), {*needed, *allowed}
        for one in self.pools[name]:
            if missing := sorted(needed - one.places()):
                raise ValueError(f"a template of {name!r} lacks {{{missing[0]}}}: {one.text!r}")
            if unknown := sorted(one.places() - allowed):
                known = ", ".join(f"{{{place}}}" for place in sorted(allowed))
                raise ValueError(f"a template of {name!r} has {{{unknown[0]}}}, where {known} may stand: {one.text!r}")
        return self.pools[name]

    def said(self, language: str, named: str) -> str:
        """How templates of `language` name the language `named`; else ValueError."""
        found = self.names.get(language, {}).get(named)
        if found is None:
            raise ValueError(f"the templates do not say what {named!r} is called in {language!r}: names.{language}.{named}")
        return found


def expand(sources: object, load: Callable[[str, str], dict[str, Any]]) -> None:
    """In the blocks of `sources:`, the name of a template file becomes its content; short forms of options their long ones.

    `load(name, place)` reads presets/templates/<name>.yaml, beside the recipe or shipped.
    """
    for name, block in sources.items() if isinstance(sources, dict) else ():
        for option, default in DEFAULTS.items() if isinstance(block, dict) else ():
            given = block.get(option)
            if option == "render" and isinstance(given, str):
                given = {"forms": {given: "100 %"}}
            if not isinstance(given, dict):
                continue
            if given.get("of") == "corrections":
                default = "correction"
            of = given.get("templates", default)
            if isinstance(of, str):
                of = load(f"templates/{of}", f"sources.{name}.{option}.templates")
            block[option] = given if of is None else {**given, "templates": of}
