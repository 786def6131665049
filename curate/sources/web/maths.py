"""Mathematics of a page: formulas become tokens of letters before an extractor runs, and LaTeX between $ or $$ in the text it makes.

Understood: MathML (see mathml), MathJax 2 and 3 and KaTeX as rendered or as source (script type=math/tex, \\( \\[ $$ in pages that load
them), Wikipedia's and WordPress' images, pandoc's and Sphinx' spans, data-tex and the like, LaTeXML. Holds no library; lxml trees pass
through. Imports formula, mathml, inline_tex.
"""

from __future__ import annotations

import re
from typing import Any

from curate.sources.web.formula import DELIMITED, Formula, Found, cleaned
from curate.sources.web.inline_tex import SPAN, protect_sources
from curate.sources.web.mathml import latex, name_of

_WRAPPER = re.compile(
    r"(?:^|\s)(?:mwe-math-\S*|katex(?:-\S*)?|MathJax\S*|MJX\S*|mjx-\S*|math(?:-inline|-display|ml)?-container)(?=\s|$)"
)
_RENDERED = re.compile(r"(?:^|\s)(?:MathJax\S*|MJX\S*)(?=\s|$)")
_DISPLAY = re.compile(r"(?:^|[\s_-])(?:display|block|mwe-math-mathml-display|katex-display|MathJax_Display)(?=\s|$|[_-])")
_IMAGE = re.compile(
    r"(?:^|\s)(?:mwe-math-fallback-image\S*|tex|latex|math|texrender|latex_inline|latex_display|eqn?)(?=\s|$)", re.I
)
_IMAGE_SOURCE = re.compile(
    r"latex\.(?:php|codecogs|png)|/(?:cgi-bin/)?(?:mimetex|mathtex)|chart\?cht=tx|/math/render/|s\.wordpress\.com/latex", re.I
)
_DATA = ("data-tex", "data-latex", "data-math", "data-original-tex", "data-katex", "data-formula")
_INLINE = frozenset(
    ["p", "span", "a", "li", "dd", "dt", "td", "th", "em", "strong", "b", "i", "h1", "h2", "h3", "h4", "h5", "h6", "figcaption"]
)
_BLOCKS = frozenset(["p", "dd", "div", "section", "article", "blockquote", "figure", "main", "body"])  # alone in one: displayed
_CELLS = frozenset(["td", "th", "li", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "caption", "figcaption", "a"])


def protect(tree: Any, html: str) -> Found:
    """Put tokens in the place of the formulas of `tree`, which is changed. `html`: the page, in which no token may occur."""
    prefix = "xmathx"
    while prefix in html:
        prefix += "x"
    found = Found([], prefix)
    scripts, others = _candidates(tree)
    for script in scripts:
        _replace_script(script, found)
    gone: set[Any] = set()
    for element in others:
        if not any(parent in gone for parent in element.iterancestors()) and (said := _said(element)):
            top = _top(element)
            formula = Formula(said, _is_display(element, top))
            top = _outermost(top) if formula.is_display else top
            gone.add(top)
            _put(top, found, formula)
    protect_sources(tree, html, found)
    if found.formulas:
        _as_paragraphs(tree, found)
    return found


def restore(text: str, found: Found) -> tuple[str, int]:
    """(the text with LaTeX in the place of tokens, how many formulas it has). Displayed formulas stand on lines of their own, but not in
    tables."""
    if not found.formulas:
        return text, 0
    pattern, n = re.compile(rf"{found.prefix}(\d{{5,7}})z"), 0

    def line_of(line: str) -> str:
        nonlocal n
        is_table = "|" in line

        def shown(match: re.Match[str]) -> str:
            if int(match[1]) >= len(found.formulas):  # written with entities, so that the page had it unseen
                return match[0]
            formula = found.formulas[int(match[1])]
            if not formula.is_display:
                return f"${formula.latex}$"
            before, after = line[: match.start()].strip(" \t-*•"), line[match.end() :].strip()
            left, right = ("\n" if before and not is_table else ""), ("\n" if after and not is_table else "")
            return f"{left}$${formula.latex}$${right}"

        line, k = pattern.subn(shown, line)
        n += k
        return re.sub(r"[ \t]*\n[ \t]*", "\n", line) if k else line

    return "\n".join(line_of(line) for line in text.split("\n")), n


def _candidates(tree: Any) -> tuple[list[Any], list[Any]]:
    """(scripts that hold sources, other elements that may be formulas), each in document order."""
    scripts, others = [], []
    for element in tree.iter():
        name = name_of(element)
        if name == "script":
            if (element.get("type") or "").lower().startswith("math/"):
                scripts.append(element)
        elif (
            name == "math"
            or (name == "img" and element.get("alt"))
            or any(key in element.attrib for key in _DATA)
            or (name in ("span", "div") and SPAN.search(element.get("class") or ""))
        ):
            others.append(element)
    return scripts, others


def _said(element: Any) -> str:
    """LaTeX of a candidate; "" where it is no formula."""
    name = name_of(element)
    if name == "math":
        try:
            return cleaned(latex(element))
        except RecursionError:
            return ""
    if name == "img":
        is_math = _IMAGE.search(element.get("class") or "") or _IMAGE_SOURCE.search(element.get("src") or "")
        return cleaned(element.get("alt")) if is_math else ""
    for key in _DATA:
        if said := element.get(key):
            return cleaned(said)
    text = "".join(element.itertext()).strip()  # span class="math inline": only with its delimiters is it certain
    is_whole = any(text.startswith(a) and text.endswith(b) and len(text) > len(a + b) for a, b in DELIMITED)
    return cleaned(text) if is_whole and len(element) == 0 else ""


def _top(element: Any) -> Any:
    """The outermost wrapper that a renderer put around one formula."""
    top = element
    for parent in element.iterancestors():
        is_wrapper = name_of(parent).startswith("mjx-") or _WRAPPER.search(parent.get("class") or "")
        if not is_wrapper or sum(name_of(e) == "math" for e in parent.iter()) > 1:
            return top
        top = parent
    return top


def _is_display(element: Any, top: Any) -> bool:
    while True:
        if (
            element.get("display") in ("block", "true")
            or element.get("mode") == "display"
            or _DISPLAY.search(element.get("class") or "")
        ):
            return True
        if element is top:
            break
        element = element.getparent()
    block = top.getparent()
    while block is not None and _is_alone(top, block):
        if name_of(block) in _BLOCKS:
            return True
        if name_of(block) in _CELLS:
            return False
        top, block = block, block.getparent()
    return False


def _outermost(top: Any) -> Any:
    """What may give way to a paragraph: the last span around a displayed formula that holds nothing else."""
    while (parent := top.getparent()) is not None and name_of(parent) not in _BLOCKS | _CELLS and _is_alone(top, parent):
        top = parent
    return top


def _is_alone(child: Any, parent: Any) -> bool:
    """Is there nothing else in `parent` but punctuation?"""
    others = [parent.text, *(c.tail for c in parent)]
    return len(parent) == 1 and not "".join(text or "" for text in others).strip(" \t\r\n.,;:()0123456789")


def _put(element: Any, found: Found, formula: Formula | None) -> None:
    """Take `element` out of its tree, leaving a token (or nothing) and its tail."""
    text = ""
    if formula is not None:
        found.formulas.append(formula)
        text = found.token(len(found.formulas) - 1)
    parent, before = element.getparent(), element.getprevious()
    if parent is None:
        return
    if formula is not None and formula.is_display and name_of(parent) not in _INLINE:  # extractors pass over bare text of a div
        paragraph = parent.makeelement("p", {})
        paragraph.text, paragraph.tail = text, element.tail
        parent.replace(element, paragraph)
        return
    text += element.tail or ""
    element.tail = None
    if before is None:
        parent.text = (parent.text or "") + text
    else:
        before.tail = (before.tail or "") + text
    parent.remove(element)


def _as_paragraphs(tree: Any, found: Found) -> None:
    """Tables and divs that only set equations and their numbers (LaTeXML's, older pages') become paragraphs, one a row."""
    token = re.compile(rf"{found.prefix}\d{{5,7}}z")
    for name, inside in (("table", "tr"), ("div", "div")):
        for block in list(tree.iter(name)):
            text = "".join(block.itertext())
            is_only = token.search(text) and not re.sub(r"[\s\d.,;:()\[\]]", "", token.sub("", text))
            if not is_only or (name == "div" and any(name_of(e) in _BLOCKS for e in block.iterdescendants())):
                continue
            rows = ["".join(row.itertext()) for row in block.iter(inside)]
            for child in list(block):
                block.remove(child)
            block.tag, block.text = "div", None
            for row in rows:
                if token.search(row):
                    paragraph = block.makeelement("p", {})
                    paragraph.text = " ".join(row.split())
                    block.append(paragraph)


def _replace_script(script: Any, found: Found) -> None:
    """The source is what counts; what MathJax rendered beside it goes."""
    while (
        (before := script.getprevious()) is not None
        and _RENDERED.search(before.get("class") or "")
        and not (before.tail or "").strip()
    ):
        _put(before, found, None)
    kind, text = script.get("type").lower(), script.text or ""
    if "mml" in kind:
        from lxml import html

        inner = html.fragments_fromstring(text)
        said = latex(inner[0]) if inner and not isinstance(inner[0], str) else ""
    else:
        said = text
    _put(script, found, Formula(cleaned(said), "display" in kind) if said.strip() else None)
