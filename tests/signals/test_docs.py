"""docs/signals.md is what the families' records say. Write it anew: VESKI_WRITE_GOLDEN=1 pytest tests/signals/test_docs.py"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
import textwrap
from pathlib import Path
from types import ModuleType

import curate.signals
from curate.signals import FAMILIES
from curate.signals.family import Column, Family, Ratio

PAGE = Path(__file__).resolve().parents[2] / "docs" / "signals.md"
NAME = "NAME"  # stands for the name an entry of the recipe gives
# Functions that make a family for an entry of the recipe, and what they are called with here.
MADE = {
    "classifier.family": (NAME, "fasttext", "LABEL"), "datatrove_filter.family": (NAME,), "language.family": (NAME,),
    "language.segments_family": (NAME,), "lm.family": (NAME,), "urls.lists_family": (("CATEGORY",),),
}  # fmt: skip

HEAD = """# Signals

Every number and text that is measured of a document, as rules, `curate sql` (view `signals`) and `curate stats` name it. This page
is written from the families' records (`tests/signals/test_docs.py`), so it says what the code does. Integers are stored; a ratio is
computed when it is read, and is 0 where its denominator is 0. A family whose heading says "every text" needs no list and no model and is
always measured; one that finds spans is measured where a cut or a rule asks for it. Both can be measured a second time on the text that the
cuts leave, where a rule asks: every name with `after_cuts_` before it. `NAME` stands for the name an entry of the recipe has; a family with
it is measured where the recipe has such an entry.
"""


def modules() -> dict[str, ModuleType]:
    """Every module below curate.signals by its name there."""
    found = pkgutil.walk_packages(curate.signals.__path__, "curate.signals.")
    names = [m.name for m in found if not m.name.endswith(("kernels", ".family", ".measure")) and ".make_" not in m.name]
    return {name.removeprefix("curate.signals."): importlib.import_module(name) for name in sorted(names)}


def makers(name: str, module: ModuleType) -> list[str]:
    """Public functions of the module that return a family."""
    own = inspect.getmembers(module, lambda f: inspect.isfunction(f) and f.__module__ == module.__name__)
    return [f"{name}.{f}" for f, function in own if not f.startswith("_") and function.__annotations__.get("return") == "Family"]


def families() -> dict[str, list[Family]]:
    """module -> its families: records at the module's top, and those that its functions make; each once, by name and columns."""
    found: dict[str, list[Family]] = {}
    for name, module in modules().items():
        listed = [value for key, value in vars(module).items() if isinstance(value, Family) and not key.startswith("_")]
        listed += [getattr(module, maker.partition(".")[2])(*MADE[maker]) for maker in makers(name, module)]
        known = {id(f) for families_ in found.values() for f in families_}
        mine = {f.name: f for f in listed if id(f) not in known}  # a maker's family replaces the record it starts from
        if mine:
            found[name] = list(mine.values())
    return found


def page() -> str:
    parts = [HEAD]
    always = {id(f) for f in FAMILIES.values()}
    for name, listed in sorted(families().items(), key=lambda item: (not any(id(f) in always for f in item[1]), item[0])):
        parts.append(about(modules()[name]))
        for family in listed:
            when = ", spans" if family.span_kinds else ", every text" if id(family) in always else ""
            parts.append(f"### {family.name} (version {family.version}{when})\n")
            parts.append("\n".join([*_table(family), ""]))
        if others := [c for key, c in vars(modules()[name]).items() if isinstance(c, Column) and not key.startswith("_")]:
            parts.append("### not measured but made in decide\n")
            parts.append("\n".join([*_table(Family(name, 1, tuple(others))), ""]))
    return "\n".join(parts)


def about(module: ModuleType) -> str:
    """The module's own words, without the sentences about its imports."""
    name = module.__name__.removeprefix("curate.signals.")
    text = re.sub(r"\s*Imports [^.]*(\.[a-z{][^.]*)*\.", "", inspect.getdoc(module) or "").strip()
    return f"## {name}\n\n" + textwrap.fill(" ".join(text.split()), 120) + "\n"


def _table(family: Family) -> list[str]:
    rows = [(c.name, c.unit, _range(c), c.doc) for c in family.columns] + [
        (r.name, "ratio", _of(r), r.doc) for r in family.ratios
    ]
    lines = ["| signal | unit | range | meaning, source, edge cases |", "|---|---|---|---|"]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in (f"`{row[0]}`", *row[1:])) + " |"
        for row in rows
    ]
    kinds = [f"Its spans are of the kinds {', '.join(f'`{kind}`' for kind in family.span_kinds)}."] if family.span_kinds else []
    return [*lines, *(["", *kinds] if kinds else [])]


def _range(column: Column) -> str:
    if column.type == "string" or column.low is None:
        return "text"
    return f"{column.low:g} to {column.high:g}" if column.high is not None else f"{column.low:g} or more"


def _of(ratio: Ratio) -> str:
    return f"`{ratio.numerator}` / `{ratio.denominator}`"


def test_every_function_that_makes_a_family_is_documented():
    assert {maker for name, module in modules().items() for maker in makers(name, module)} == set(MADE)


def test_every_column_says_unit_and_meaning():
    for listed in families().values():
        for family in listed:
            for column in family.columns:
                assert column.unit and len(column.doc) > 10, f"{family.name}.{column.name}"


def test_no_name_is_said_twice():
    """But for families of the same kind of recipe entry, which take its name."""
    names = [
        n for listed in families().values() for f in listed for n in (*(c.name for c in f.columns), *(r.name for r in f.ratios))
    ]
    assert len([n for n in names if NAME not in n]) == len({n for n in names if NAME not in n})


def test_the_page_is_what_the_records_say():
    if os.environ.get("VESKI_WRITE_GOLDEN"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.exists() and PAGE.read_text(encoding="utf-8") == page(), "VESKI_WRITE_GOLDEN=1 pytest tests/signals/test_docs.py"
