"""Plain TeX and AMS-TeX: a source in, the same in the words of LaTeX out, so that latex.py reads both. Pure; imports declarations.

Known: \\beginsection, \\proclaim, \\item{...}, \\centerline and its kin, fonts by \\font, \\footnote with its mark, \\bye and \\end; of AMS-TeX
\\topmatter with \\title ... \\endtitle, \\heading, \\subheading, \\proclaim ... \\endproclaim, \\demo ... \\enddemo, \\roster, \\define, \\Refs.
"""

from __future__ import annotations

import re

from curate.sources.lanes.math.declarations import FONT
from curate.sources.lanes.math.groups import group

# Commands that plain TeX or AMS-TeX has and LaTeX texts do without; two different ones, or \bye at the end, tell it.
_MARKS = re.compile(
    r"\\(magnification|beginsection|proclaim|endproclaim|nopagenumbers|magstep|hsize|vsize|headline|footline|centerline|leftline|eqalign|eqno|"
    r"topmatter|endtopmatter|enddocument|endheading|endsubhead|enddemo|document(?=\s)|itemitem|footline|pageno|vfill\s*\\eject|"
    r"font\s*\\[A-Za-z]+\s*=|input\s+amst[a-z]+|input\s+(?:epsf|mssymb|harvmac|phyzzx)\b)(?![A-Za-z@])"
)
_BYE = re.compile(r"\\bye\s*\Z")
_LATEX = re.compile(r"\\(?:documentclass|documentstyle\s*(?:\[[^\]]*\])?\s*\{(?!amsppt)|begin\s*\{)")
_END = re.compile(r"\\bye(?![A-Za-z])|^[ \t]*(?:\\vfill\s*)?(?:\\eject\s*)?\\(?:end[ \t]*$|enddocument\b)", re.MULTILINE)
_PARAGRAPH = r"(?:\n[ \t]*\n|\\par(?![A-Za-z])|\Z)"
_SECTION = re.compile(rf"\\beginsection\s*((?:(?!\n[ \t]*\n)[^$]){{0,300}}?){_PARAGRAPH}")
_LINES = re.compile(r"\\(?:center|left|right)line[ \t]*(?=\{)")
_ITEM = re.compile(r"\\item(?:item)?[ \t]*(?=\{)")
_FOOTNOTE = re.compile(r"\\(?:v?footnote)[ \t]*(\*|\\[a-z]+\b|\{[^{}]{0,20}(?:\{[^{}]{0,20}\}[^{}]{0,20})?\})[ \t]*(?=\{)")
_BETWEEN = (  # of AMS-TeX: the command, what ends it, and the LaTeX put around what stands between, or nothing
    ("title", "\\endtitle", "\\chapter{", "}"),
    ("author", "\\endauthor", "\n\n{", "}\n\n"),
    *((name, f"\\end{name}", "", "") for name in ("affil", "address", "curraddr", "email", "thanks", "dedicatory", "keywords", "subjclass", "date")),
    ("abstract", "\\endabstract", "\\begin{abstract}", "\\end{abstract}"),
    *((name, f"\\end{name}", "\\section{", "}") for name in ("head", "heading")),
    *((name, f"\\end{name}", "\\subsection{", "}") for name in ("subhead", "subheading")),
    ("Refs", "\\endRefs", "", ""),
)  # fmt: skip
MOST_BETWEEN = 20_000  # characters
_NAMED = re.compile(r"\\(?:proclaim|demo|definition|example|remark)[ \t]*(?=\{)")
_OVER = re.compile(
    r"\\(?:end(?:proclaim|demo|definition|example|remark|roster|topmatter)|proclaim|roster|topmatter|narrower|folio|tenrm|obeylines|document|"
    r"nopagenumbers|supereject|dosupereject|eject|goodbreak|filbreak|bigbreak|medbreak|smallbreak|raggedbottom|TagsOnRight|TagsOnLeft|"
    r"NoBlackBoxes|BlackBoxes|frenchspacing|nonfrenchspacing|ninepoint|tenpoint|twelvepoint|hfil|hss|vss|vfil|hfilneg)(?![A-Za-z@])[ \t]*"
)


def is_plain(text: str) -> bool:
    """Is this a source of plain TeX or AMS-TeX?"""
    head = text[:200_000]
    if _LATEX.search(head):
        return False
    return len(set(_MARKS.findall(head))) >= 2 or ("\\" in head and _BYE.search(text[-200:]) is not None)


def to_latex(text: str) -> str:
    """The source as LaTeX would have it, up to its \\bye or \\end. Formulas stay."""
    if end := _END.search(text):
        text = text[: end.start()]
    fonts = sorted({match[1] for match in FONT.finditer(text)}, key=len, reverse=True)
    text = FONT.sub("", text)
    if fonts:
        text = re.sub(rf"\\(?:{'|'.join(map(re.escape, fonts))})(?![A-Za-z@])[ \t]*", "", text)
    text = re.sub(r"\\define(?=\s*\\)", r"\\def", text)
    for name, closing, *around in _BETWEEN:
        text = _between(text, re.compile(rf"\\{name}(?![A-Za-z])"), closing, around)
    text = _SECTION.sub(lambda match: f"\\section{{{match[1].strip()}}}\n\n", text)
    text = _with_group(text, _LINES, "\n\n", "\n\n")
    text = _with_group(text, _ITEM, "\\item[", "] ")
    text = _with_group(text, _NAMED, "\n\n", ". ")
    text = re.sub(r"\\proclaim(?![A-Za-z@])[ \t]*", "\n\n", text)
    text = _FOOTNOTE.sub(r"\\footnote", text)
    return re.sub(r"\\(?:sub)?heading(?=\s*\{)", r"\\section", text)


def without_layout(text: str) -> str:
    """Commands of plain TeX without a meaning to a reader go; where formulas have been put away."""
    return _OVER.sub("", text)


def _between(text: str, command: re.Pattern[str], closing: str, around: list[str]) -> str:
    """What stands between the command and its closing one, put into `around`; gone with them where that is empty."""
    kept: list[str] = []
    at = 0
    for match in command.finditer(text):
        if match.start() < at:
            continue
        end = text.find(closing, match.end(), match.end() + MOST_BETWEEN)
        if end < 0:
            continue
        inside = text[match.end() : end].strip()
        kept += (text[at : match.start()], f"{around[0]}{inside}{around[1]}" if around[0] else "\n\n")
        at = end + len(closing)
    return "".join([*kept, text[at:]]) if kept else text


def _with_group(text: str, command: re.Pattern[str], before: str, after: str) -> str:
    """Every command of the pattern and the group behind it become that group's inside between `before` and `after`."""
    kept: list[str] = []
    at = 0
    for match in command.finditer(text):
        end = group(text, match.end())
        if match.start() < at or end < 0:
            continue
        inside = text[match.end() + 1 : end - 1].strip()
        kept += (text[at : match.start()], before, inside.rstrip(".") if after == ". " else inside, after)
        at = end
    return "".join([*kept, text[at:]]) if kept else text
