"""Mathematics of a page: formulas become tokens of letters before an extractor runs, and LaTeX between $ or $$ in the text it makes.

Understood: MathML (see mathml), MathJax 2 and 3 and KaTeX as rendered or as source (script type=math/tex, \\( \\[ $$ in pages that load
them), Wikipedia's and WordPress' images, pandoc's and Sphinx' spans, data-tex and the like, LaTeXML. Holds no library; lxml trees pass
through. Imports mathml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from curate.sources.web.mathml import latex, name_of

_WRAPPER = re.compile(
    r"(?:^|\s)(?:mwe-math-\S*|katex(?:-\S*)?|MathJax\S*|MJX\S*|mjx-\S*|math(?:-inline|-display|ml)?-container)(?=\s|$)"
)
_RENDERED = re.compile(r"(?:^|\s)(?:MathJax\S*|MJX\S*)(?=\s|$)")
_SPAN = re.compile(r"(?:^|\s)(?:math|tex|latex|inline-math|math-inline|math-display|tex2jax_process|ztext-math)(?=\s|$)", re.I)
_DISPLAY = re.compile(r"(?:^|[\s_-])(?:display|block|mwe-math-mathml-display|katex-display|MathJax_Display)(?=\s|$|[_-])")
_IMAGE = re.compile(
    r"(?:^|\s)(?:mwe-math-fallback-image\S*|tex|latex|math|texrender|latex_inline|latex_display|eqn?)(?=\s|$)", re.I
)
_IMAGE_SOURCE = re.compile(
    r"latex\.(?:php|codecogs|png)|/(?:cgi-bin/)?(?:mimetex|mathtex)|chart\?cht=tx|/math/render/|s\.wordpress\.com/latex", re.I
)
_RENDERER = re.compile(r"mathjax|katex", re.I)
_DATA = ("data-tex", "data-latex", "data-math", "data-original-tex", "data-katex", "data-formula")
_RAW = re.compile(  # sources of MathJax and KaTeX in running text
    r"\$\$(?P<a>[^$]{1,5000}?)\$\$|\\\[(?P<b>.{1,5000}?)\\\]|\\\((?P<c>.{1,2000}?)\\\)"
    r"|(?P<d>\\begin\{(?P<env>equation|align|gather|multline|eqnarray|alignat)\*?\}.{1,5000}?\\end\{(?P=env)\*?\})", re.S)  # fmt: skip
_RAW_DOLLAR = re.compile(
    r"(?<![\\$\w])\$(?![\s$\d])(?P<e>[^$\n]{1,300}?)(?<![\s\\])\$(?![\w$])|(?<![\\$\w])\$(?P<f>\d[^$\n]{0,80}[\\^_=][^$\n]{0,80}?)\$(?![\w$])"
)
_SINGLE = re.compile(r"inlineMath.{0,80}['\"]\$['\"]\s*,|left:\s*['\"]\$['\"]", re.S)  # a page that says $ delimits mathematics
_NOT_TEXT = frozenset({"script", "style", "code", "pre", "textarea", "noscript", "title"})
_INLINE = frozenset(
    ["p", "span", "a", "li", "dd", "dt", "td", "th", "em", "strong", "b", "i", "h1", "h2", "h3", "h4", "h5", "h6", "figcaption"]
)
_BLOCKS = frozenset(["p", "dd", "div", "section", "article", "blockquote", "figure", "main", "body"])  # alone in one: displayed
_CELLS = frozenset(["td", "th", "li", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "caption", "figcaption", "a"])
_STYLE = re.compile(r"^\s*(?:\{\s*)?\\(?:display|text)style\b\s*")
_DELIMITED = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"), ("[latex]", "[/latex]"))


class Formula(NamedTuple):
    latex: str
    is_display: bool


class Found(NamedTuple):
    """Formulas of a page; the token of the i-th is `prefix` with at least five digits and a z."""

    formulas: list[Formula]
    prefix: str

    def token(self, i: int) -> str:
        return f"{self.prefix}{i:05d}z"


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
    if _loads_renderer(tree):
        _protect_raw(tree, found, is_dollar=bool(_SINGLE.search(html)))
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


def cleaned(said: str) -> str:
    """LaTeX in one line, without what renderers wrap it in: CDATA marks, delimiters, {\\displaystyle ...}, comments."""
    said = re.sub(r"%?\s*<!\[CDATA\[|%?\s*\]\]>", "", said)
    said = re.sub(r"(?<!\\)%[^\n]*\n", " ", said)
    said = " ".join(said.split())
    for opening, closing in _DELIMITED:
        if len(said) > len(opening + closing) and said.startswith(opening) and said.endswith(closing):
            inner = said[len(opening) : -len(closing)].strip()
            if opening not in inner:
                said = inner
                break
    if match := _STYLE.match(said):
        inner = said[match.end() :]
        if not match[0].lstrip().startswith("{"):
            said = inner
        elif inner.endswith("}") and _is_balanced(inner[:-1]):
            said = inner[:-1].strip()
    return said


def _is_balanced(text: str) -> bool:
    depth = 0
    for c in re.sub(r"\\.", "", text):
        depth += (c == "{") - (c == "}")
        if depth < 0:
            return False
    return depth == 0


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
            or (name in ("span", "div") and _SPAN.search(element.get("class") or ""))
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
    is_whole = any(text.startswith(a) and text.endswith(b) and len(text) > len(a + b) for a, b in _DELIMITED)
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


def _loads_renderer(tree: Any) -> bool:
    for element in tree.iter("script", "link"):
        if _RENDERER.search(element.get("src") or element.get("href") or "") or _RENDERER.search((element.text or "")[:20000]):
            return True
    return any(_SPAN.search(element.get("class") or "") for element in tree.iter("span", "div") if "\\" in (element.text or ""))


def _protect_raw(tree: Any, found: Found, is_dollar: bool) -> None:
    for element in _with_text(tree):
        for place in ("text", "tail"):
            text = getattr(element, place)
            if not text or (place == "text" and name_of(element) in _NOT_TEXT) or not ("$" in text or "\\" in text):
                continue
            text = _RAW.sub(lambda m: _raw(m, found), text)
            if is_dollar:
                text = _RAW_DOLLAR.sub(lambda m: _raw(m, found), text)
            setattr(element, place, text)


def _with_text(tree: Any) -> Iterator[Any]:
    """Elements whose text or tail is running text: not inside code."""
    for element in tree.iter():
        if isinstance(element.tag, str) and not any(name_of(parent) in _NOT_TEXT for parent in element.iterancestors()):
            yield element


def _raw(match: re.Match[str], found: Found) -> str:
    groups = match.groupdict()
    said = next(value for key, value in groups.items() if value is not None and key != "env")
    is_display = any(groups.get(key) is not None for key in "abd")
    found.formulas.append(Formula(cleaned(said), is_display))
    return found.token(len(found.formulas) - 1)
