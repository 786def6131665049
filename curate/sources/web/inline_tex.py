"""Sources of MathJax and KaTeX in the running text of pages that load them: an lxml tree in, tokens in their place. Imports formula."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from curate.sources.web.formula import Formula, Found, cleaned
from curate.sources.web.mathml import name_of

_RENDERER = re.compile(r"mathjax|katex", re.I)
SPAN = re.compile(r"(?:^|\s)(?:math|tex|latex|inline-math|math-inline|math-display|tex2jax_process|ztext-math)(?=\s|$)", re.I)
_RAW = re.compile(  # sources of MathJax and KaTeX in running text
    r"\$\$(?P<a>[^$]{1,5000}?)\$\$|\\\[(?P<b>.{1,5000}?)\\\]|\\\((?P<c>.{1,2000}?)\\\)"
    r"|(?P<d>\\begin\{(?P<env>equation|align|gather|multline|eqnarray|alignat)\*?\}.{1,5000}?\\end\{(?P=env)\*?\})", re.S)  # fmt: skip
_RAW_DOLLAR = re.compile(
    r"(?<![\\$\w])\$(?![\s$\d])(?P<e>[^$\n]{1,300}?)(?<![\s\\])\$(?![\w$])|(?<![\\$\w])\$(?P<f>\d[^$\n]{0,80}[\\^_=][^$\n]{0,80}?)\$(?![\w$])"
)
_SINGLE = re.compile(r"inlineMath.{0,80}['\"]\$['\"]\s*,|left:\s*['\"]\$['\"]", re.S)  # a page that says $ delimits mathematics
_NOT_TEXT = frozenset({"script", "style", "code", "pre", "textarea", "noscript", "title"})


def protect_sources(tree: Any, html: str, found: Found) -> None:
    """Nothing is done in a page that loads no renderer: there a backslash before a bracket is a backslash."""
    if _loads_renderer(tree):
        _protect_raw(tree, found, is_dollar=bool(_SINGLE.search(html)))


def _loads_renderer(tree: Any) -> bool:
    for element in tree.iter("script", "link"):
        if _RENDERER.search(element.get("src") or element.get("href") or "") or _RENDERER.search((element.text or "")[:20000]):
            return True
    return any(SPAN.search(element.get("class") or "") for element in tree.iter("span", "div") if "\\" in (element.text or ""))


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
