"""An element of MathML in, LaTeX out: what its author wrote where it stands there (annotation, alttext, tex), else converted.

Works on lxml elements of any parser (names with or without namespace or prefix). Presentation MathML Core is converted in full; of
content MathML only the text. Imports symbols.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from curate.sources.web.symbols import FUNCTIONS, LIMITS, OVER, UNDER, VARIANTS, WIDE, latex_of

OPENING = {"(": "pmatrix", "[": "bmatrix", "|": "vmatrix", "‖": "Vmatrix", "{": "Bmatrix"}
CLOSING = {"(": ")", "[": "]", "|": "|", "‖": "‖", "{": "}"}
_TEX = re.compile(r"\b(?:x-)?(?:la)?tex\b", re.I)
_UPRIGHT = r"}\mathrm{"  # letter after letter: one word
_LETTERS = re.compile(r"(?<=\\mathrm\{[A-Za-z])\}\\mathrm\{(?=[A-Za-z]+\})|(?<=[A-Za-z]{2})\}\\mathrm\{(?=[A-Za-z]+\})")
_COMMAND_END = re.compile(r"\\[A-Za-z]+$")
_LOOKS_LIKE_TEX = re.compile(r"[\\^_{}]")


def name_of(element: Any) -> str:
    """`{http://www.w3.org/1998/Math/MathML}mi`, `m:mi`, `MI` -> `mi`; "" for comments."""
    tag = element.tag
    return tag.rpartition("}")[2].rpartition(":")[2].lower() if isinstance(tag, str) else ""


def latex(math: Any) -> str:
    """LaTeX of a <math> element, "" if it has no content."""
    for element in math.iter():
        if (
            name_of(element) == "annotation"
            and _TEX.search(element.get("encoding") or "")
            and (said := "".join(element.itertext()).strip())
        ):
            return said
    for key in ("tex", "alttext"):  # `tex` is LaTeXML's own
        said = (math.get(key) or "").strip()
        is_tex = key == "tex" or _LOOKS_LIKE_TEX.search(said) or len(said) < 2 or not _has_structure(math)
        if said and is_tex:  # an alttext may be words
            return said
    return convert(math)


def _has_structure(math: Any) -> bool:
    return any(name_of(e) in ("mi", "mo", "mn") for e in math.iter())


def convert(element: Any) -> str:
    """LaTeX of presentation MathML, whatever its author said beside it."""
    name = name_of(element)
    if name in _LEAVES:
        return _LEAVES[name](element)
    if name in _NODES:
        return _NODES[name](element)
    if name in ("annotation", "annotation-xml", "mprescripts", "none", "maligngroup", "malignmark", ""):
        return ""
    return _row(_children(element)) or ("" if len(element) else _text(element))


def _children(element: Any) -> list[Any]:
    return [child for child in element if isinstance(child.tag, str)]


def _text(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())


def joined(parts: Sequence[str]) -> str:
    """A command and a letter after it are kept apart."""
    out = ""
    for part in parts:
        if part and out and part[0].isalpha() and _COMMAND_END.search(out):
            out += " "
        out += part
    return _LETTERS.sub("", out) if _UPRIGHT in out else out


def _row(children: Sequence[Any]) -> str:
    children = [c for c in children if name_of(c) not in ("annotation", "annotation-xml")]
    if len(children) == 3 and (found := _fenced_table(children)):
        return found
    if (
        len(children) == 2
        and name_of(children[0]) == "mo"
        and _text(children[0]) == "{"
        and (table := _table_in(children[1])) is not None
    ):
        return _table(table, "cases")
    return joined([convert(child) for child in children])


def _fenced_table(children: Sequence[Any]) -> str:
    opening, inner, closing = _text(children[0]), children[1], _text(children[2])
    if name_of(children[0]) != "mo" or CLOSING.get(opening) != closing:
        table = _table_in(inner) if opening == "{" and not closing else None
        return _table(table, "cases") if table is not None else ""
    if (table := _table_in(inner)) is not None:
        return _table(table, OPENING[opening])
    if opening == "(" and name_of(inner) == "mfrac" and inner.get("linethickness") in ("0", "0pt", "0px"):
        return r"\binom" + "".join(f"{{{convert(c)}}}" for c in _children(inner)[:2])
    return ""


def _table_in(element: Any) -> Any:
    """A table, or a row that is nothing else."""
    while name_of(element) in ("mrow", "mstyle", "mpadded") and len(_children(element)) == 1:
        element = _children(element)[0]
    return element if name_of(element) == "mtable" else None


def _table(element: Any, environment: str = "") -> str:
    rows = []
    for row in _children(element):
        cells = _children(row) if name_of(row) in ("mtr", "mlabeledtr") else [row]
        if name_of(row) == "mlabeledtr":
            cells = cells[1:]
        rows.append(" & ".join(convert(cell) for cell in cells))
    align = (element.get("columnalign") or "").split()
    environment = environment or ("aligned" if align[:2] == ["right", "left"] else "matrix")
    body = r" \\ ".join(rows)
    return rf"\begin{{{environment}}}{body}\end{{{environment}}}"


def _group(text: str) -> str:
    return f"{{{text}}}"


def _script(text: str) -> str:
    """What follows _ or ^: braces unless it is one letter or digit."""
    return text if len(text) == 1 and text.isalnum() else _group(text)


def _base(element: Any) -> str:
    """What carries scripts: braces around more than one thing."""
    text = convert(element)
    children = _children(element)
    is_row = name_of(element) in ("mrow", "mstyle") and len(children) > 1
    return (
        _group(text) if (is_row and not _is_fenced(children)) or name_of(element) in ("msup", "msub", "msubsup") else text or "{}"
    )


def _is_fenced(children: Sequence[Any]) -> bool:
    return name_of(children[0]) == "mo" and name_of(children[-1]) == "mo" and _text(children[-1]) in ")]}|⟩⌉⌋"


def _identifier(element: Any) -> str:
    text = _text(element)
    command = VARIANTS.get(element.get("mathvariant") or "")
    if text in FUNCTIONS:
        return "\\" + text
    if text.replace(" ", "") in ("limsup", "liminf"):
        return "\\" + text.replace(" ", "")
    if len(text) > 1 and text.isalpha() and text.isascii():
        return f"\\{command or 'mathrm'}{{{text}}}"
    shown = joined([latex_of(c) for c in text])
    if command:
        return f"\\{command}{{{shown}}}" if shown else ""
    if element.get("mathvariant") == "normal" and len(text) == 1 and text.isascii() and text.isalpha():
        return f"\\mathrm{{{text}}}"
    return shown


def _operator(element: Any) -> str:
    text = _text(element)
    if text in FUNCTIONS:
        return "\\" + text
    if text.isalpha() and len(text) > 1 and text.isascii():
        return f"\\operatorname{{{text}}}" if text != "mod" else r"\bmod"
    return joined([latex_of(c) for c in text])


def _number(element: Any) -> str:
    text, command = _text(element), VARIANTS.get(element.get("mathvariant") or "")
    shown = "".join(latex_of(c) for c in text)
    return f"\\{command}{{{shown}}}" if command and shown else shown


def _words(element: Any) -> str:
    text = "".join(element.itertext())
    if not text.strip():
        return " " if text else ""
    text = re.sub(r"\s+", " ", text)
    return rf"\text{{{re.sub(r'[%#&$_{}]', lambda m: chr(92) + m[0], text)}}}"


def _space(element: Any) -> str:
    width = re.match(r"([\d.]+)em", element.get("width") or "")
    if element.get("linebreak") == "newline":
        return r" \\ "
    return r"\quad " if width and float(width[1]) >= 0.9 else r"\," if width and float(width[1]) > 0 else ""


def _fraction(element: Any) -> str:
    above, below = _pair(element)
    if element.get("linethickness") in ("0", "0pt", "0px"):
        return rf"{{{above} \atop {below}}}"
    return rf"\frac{{{above}}}{{{below}}}"


def _pair(element: Any) -> tuple[str, str]:
    found = [convert(child) for child in _children(element)[:2]]
    return (*found, "", "")[0], (*found, "", "")[1]


def _root(element: Any) -> str:
    inner, degree = _pair(element)
    return rf"\sqrt[{degree}]{{{inner}}}" if degree else rf"\sqrt{{{inner}}}"


def _scripts(marks: str) -> Callable[[Any], str]:
    def node(element: Any) -> str:
        children = _children(element)
        if not children:
            return ""
        parts = [convert(child) for child in children[1:]]
        shown = "".join(m + _script(p) for m, p in zip(marks, parts, strict=False) if p)
        return _base(children[0]) + shown.replace("^{'}", "'").replace(r"^{\prime}", "'")

    return node


def _around(marks: str) -> Callable[[Any], str]:
    """munder, mover, munderover: limits of a sum, an accent, or something set above or below."""

    def node(element: Any) -> str:
        children = _children(element)
        if not children:
            return ""
        core, text = children[0], _text(children[0])
        shown = convert(core)
        is_limit = (
            text in LIMITS
            or text.replace(" ", "") in FUNCTIONS
            or text in ("∫", "∮")
            or (name_of(core) == "munder" and marks == "^")
        )
        for mark, child in zip(marks, children[1:], strict=False):
            said, accent = convert(child), (OVER if mark == "^" else UNDER).get(_text(child))
            if accent and not is_limit:
                is_wide = accent in WIDE and len(text) > 1
                shown = rf"\{WIDE[accent] if is_wide else accent}{{{shown}}}"
            elif is_limit or re.match(r"\\(?:over|under)brace", shown):
                shown += mark + _script(said)
            elif said:
                shown = rf"\{'overset' if mark == '^' else 'underset'}{{{said}}}{{{shown}}}"
        return shown

    return node


def _many_scripts(element: Any) -> str:
    children = _children(element)
    if not children:
        return ""
    names = [name_of(c) for c in children]
    cut = names.index("mprescripts") if "mprescripts" in names else len(children)

    def pairs(of: Sequence[Any]) -> str:
        said = [convert(c) for c in of]
        return "".join(m + _script(p) for m, p in zip("_^" * len(said), said, strict=False) if p)

    before = pairs(children[cut + 1 :])
    return ("{}" + before if before else "") + _base(children[0]) + pairs(children[1:cut])


def _fence(element: Any) -> str:
    opening, closing = (element.get(key, default) for key, default in (("open", "("), ("close", ")")))
    marks = "".join((element.get("separators") if element.get("separators") is not None else ",").split())
    out = [latex_of(c) for c in opening]
    for i, child in enumerate(_children(element)):
        if i and marks:
            out.append(latex_of(marks[min(i - 1, len(marks) - 1)]))
        out.append(convert(child))
    return joined([*out, *(latex_of(c) for c in closing)])


def _enclosed(element: Any) -> str:
    inner, notation = _row(_children(element)), element.get("notation") or ""
    if "box" in notation:
        return rf"\boxed{{{inner}}}"
    if "radical" in notation:
        return rf"\sqrt{{{inner}}}"
    if "strike" in notation:
        return rf"\cancel{{{inner}}}"
    return rf"\overline{{{inner}}}" if notation == "top" else inner


def _first(element: Any) -> str:
    children = _children(element)
    return convert(children[0]) if children else ""


_LEAVES: dict[str, Callable[[Any], str]] = {
    "mi": _identifier, "mo": _operator, "mn": _number, "mtext": _words, "ms": _words, "mspace": _space,
    "mglyph": lambda e: rf"\text{{{e.get('alt')}}}" if e.get("alt") else "",
}  # fmt: skip
_NODES: dict[str, Callable[[Any], str]] = {
    "mfrac": _fraction, "msqrt": lambda e: rf"\sqrt{{{_row(_children(e))}}}", "mroot": _root, "msub": _scripts("_"), "msup": _scripts("^"),
    "msubsup": _scripts("_^"), "munder": _around("_"), "mover": _around("^"), "munderover": _around("_^"), "mmultiscripts": _many_scripts,
    "mtable": _table, "mfenced": _fence, "menclose": _enclosed, "maction": _first, "semantics": _first,
    "mphantom": lambda e: rf"\phantom{{{_row(_children(e))}}}",
}  # fmt: skip
