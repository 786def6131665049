"""A formula of Office (OMML) in, LaTeX out. Imports web.symbols and web.mathml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from curate.sources.web.mathml import joined
from curate.sources.web.symbols import FUNCTIONS, OVER, latex_of

M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"


def latex(element: Any) -> str:
    name = element.tag[len(M) :] if isinstance(element.tag, str) and element.tag.startswith(M) else ""
    if name == "t":
        text = (element.text or "").strip()
        return "\\" + text if text in FUNCTIONS else joined([latex_of(c) for c in text])
    if name in _NODES:
        return _NODES[name](element)
    if name.endswith("Pr"):
        return ""
    return joined([latex(child) for child in element])


def _part(element: Any, name: str) -> str:
    found = element.find(M + name)
    return "" if found is None else latex(found)


def _value(element: Any, path: str, default: str) -> str:
    found = element.find("/".join(M + name for name in path.split("/")))
    return default if found is None else found.get(M + "val", default)


def _scripts(element: Any) -> str:
    below, above, base = (_part(element, name) for name in ("sub", "sup", "e"))
    return (base or "{}") + (f"_{{{below}}}" if below else "") + (f"^{{{above}}}" if above else "")


def _before(element: Any) -> str:
    below, above = _part(element, "sub"), _part(element, "sup")
    return f"{{}}_{{{below}}}^{{{above}}}" + _part(element, "e")


def _nary(element: Any) -> str:
    below, above = _part(element, "sub"), _part(element, "sup")
    sign = latex_of(_value(element, "naryPr/chr", "∫"))
    return joined([sign + (f"_{{{below}}}" if below else "") + (f"^{{{above}}}" if above else ""), _part(element, "e")])


def _delimited(element: Any) -> str:
    left, right, bar = (
        _value(element, f"dPr/{name}", default) for name, default in (("begChr", "("), ("endChr", ")"), ("sepChr", "|"))
    )
    inner = latex_of(bar).join(latex(e) for e in element.findall(M + "e")) if bar else ""
    return joined([*(latex_of(c) for c in left), inner, *(latex_of(c) for c in right)])


def _matrix(element: Any) -> str:
    rows = r" \\ ".join(" & ".join(latex(e) for e in row.findall(M + "e")) for row in element.findall(M + "mr"))
    return rf"\begin{{matrix}}{rows}\end{{matrix}}"


def _accent(element: Any) -> str:
    return rf"\{OVER.get(_value(element, 'accPr/chr', '^'), 'hat')}{{{_part(element, 'e')}}}"


def _root(element: Any) -> str:
    degree = _part(element, "deg")
    return (rf"\sqrt[{degree}]" if degree else r"\sqrt") + f"{{{_part(element, 'e')}}}"


def _bar(element: Any) -> str:
    return rf"\{'underline' if _value(element, 'barPr/pos', 'top') == 'bot' else 'overline'}{{{_part(element, 'e')}}}"


def _fraction(element: Any) -> str:
    return rf"\frac{{{_part(element, 'num')}}}{{{_part(element, 'den')}}}"


def _function(element: Any) -> str:
    return joined([_part(element, "fName"), _part(element, "e")])


_NODES: dict[str, Callable[[Any], str]] = {
    "f": _fraction, "sSup": _scripts, "sSub": _scripts, "sSubSup": _scripts, "sPre": _before, "nary": _nary, "d": _delimited,
    "m": _matrix, "acc": _accent, "rad": _root, "bar": _bar, "func": _function,
    "limLow": lambda e: _part(e, "e") + f"_{{{_part(e, 'lim')}}}", "limUpp": lambda e: _part(e, "e") + f"^{{{_part(e, 'lim')}}}",
    "eqArr": lambda e: r"\begin{aligned}" + r" \\ ".join(latex(row) for row in e.findall(M + "e")) + r"\end{aligned}",
}  # fmt: skip
