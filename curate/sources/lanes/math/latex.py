"""A LaTeX or TeX source in, readable text around untouched formulas out. Pure; imports macros, declarations, plain_tex and text.symbols.

Dropped: comments, the preamble (but for title and author), bibliography, index, labels, layout. Kept: formulas byte for byte (after
macros), environments of theorems, proofs and lists by their names, tables and code listings as they stand, captions, footnotes in
brackets. Headings become Markdown's #. Commands nobody
knows lose their name and keep their arguments, since that is where the words are; without arguments they stay.
"""

from __future__ import annotations

import re

import numpy as np

from curate.sources.lanes.math import macros, plain_tex
from curate.sources.lanes.math.declarations import without_definitions, without_lengths
from curate.sources.lanes.math.groups import group
from curate.text import symbols

_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%[^\n]*(?:\n[ \t]*(?=[^\s]))?")
_VERBATIM = ("verbatim", "Verbatim", "lstlisting", "minted", "alltt", "comment")
_AS_IS = (
    "tabular",
    "tabularx",
    "tabular*",
    "array",
    "longtable",
    "tikzpicture",
    "tikzcd",
    "CD",
    "picture",
    "algorithmic",
    "algorithm",
)
_DROPPED = ("thebibliography", "theindex", "comment", "filecontents", "filecontents*", "CCSXML")
_SOURCE = re.compile(
    r"\\(?:documentclass|documentstyle|begin\s*\{document\}|(?:chapter|section|subsection)\*?\s*(?:\[[^\]\n]*\])?\{)"
)
_HEADINGS = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5, "subparagraph": 6}
_HEADING = re.compile(rf"\\({'|'.join(_HEADINGS)})\*?\s*(?=[\[{{])")
# Commands that go with all their arguments: they say nothing to a reader.
_GONE = re.compile(
    r"\\(?:label|vspace|hspace|includegraphics|bibliographystyle|bibliography|addbibresource|printbibliography|input|include|subfile|subfileinclude|import|subimport|"
    r"InputIfFileExists|usepackage|documentclass|documentstyle|LoadClass|ProvidesPackage|ProvidesClass|ProvidesFile|NeedsTeXFormat|RequirePackage|pagestyle|thispagestyle|setlength|addtolength|setcounter|addtocounter|newcounter|numberwithin|newtheorem|theoremstyle|"
    r"index|symlabel|indexdef|indexsee|indexfoot|phantomsection|addcontentsline|tableofcontents|listoffigures|listoftables|maketitle|makeindex|printindex|hypersetup|graphicspath|"
    r"captionsetup|geometry|definecolor|colorlet|color|pagecolor|nopagecolor|pagenumbering|markboth|markright|fancyhead|fancyfoot|enlargethispage|includeonly|"
    r"linespread|fontsize|fontseries|fontshape|fontfamily|fontencoding|rule|hypersetup|theendnotes|"
    r"cleartooddpage|ThisLLCornerWallPaper|ThisULCornerWallPaper|ThisCenterWallPaper|thanks|email|address|affiliation|orcid|subjclass|keywords|date|ead|institute)\b\*?(?=[\s\[{\\}]|$)"
)
_LAYOUT = re.compile(
    r"\\(?:centering|raggedright|raggedleft|noindent|indent|newpage|clearpage|cleardoublepage|pagebreak|linebreak|nolinebreak|smallskip|medskip|"
    r"bigskip|vfill|hfill|hrulefill|par|bfseries|itshape|scshape|ttfamily|sffamily|rmfamily|mdseries|upshape|normalfont|em|bf|it|sc|tt|sf|rm|sl|"
    r"tiny|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge|appendix|frontmatter|mainmatter|backmatter|protect|relax|"
    r"null|nobreak|allowbreak|break|sloppy|fussy|onecolumn|twocolumn|hline|toprule|midrule|bottomrule|qedhere|qed|leavevmode|ignorespaces|"
    r"unskip|bgroup|egroup|begingroup|endgroup|makeatletter|makeatother|samepage|selectfont|strut|xspace|documentstyle|flushbottom|raggedbottom)"
    r"(?![A-Za-z@])[ \t]*"
)
_REFERENCE = re.compile(r"~?\\(?:eq|page|auto|name|c|C|Cref|cref|autoref)?ref\*?\s*\{([^{}]*)\}")
_CITE = re.compile(r"~?\\(?:no)?[Cc]ite[A-Za-z]*\*?\s*(?:\[[^\[\]]*\]\s*){0,2}\{[^{}]*\}")
_LINK = re.compile(r"\\href\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_URL = re.compile(r"\\(?:url|nolinkurl|path)\s*\{([^{}]*)\}")
_FOOTNOTE = re.compile(
    r"\\(?:footnote(?:text)?|endnote(?:text)?|sidenote|marginnote|tablefootnote|marginpar)\s*(?:\[[^\[\]]*\])?(?=\{)"
)
# Commands whose first arguments say how something looks, and how many those are.
_LOOKS = {
    "makebox": 0, "framebox": 0, "mbox": 0, "fbox": 0, "parbox": 1, "raisebox": 1, "resizebox": 2, "resizebox*": 2, "scalebox": 1,
    "rotatebox": 1, "textcolor": 1, "colorbox": 1, "fcolorbox": 2, "hypertarget": 1, "hyperlink": 1, "hyperref": 0, "foreignlanguage": 1,
    "multicolumn": 2, "multirow": 2, "texorpdfstring": 0, "adjustbox": 1, "savebox": 1,
}  # fmt: skip
_LOOK = re.compile(rf"\\({'|'.join(sorted(map(re.escape, _LOOKS), key=len, reverse=True))})(?![A-Za-z@])\s*(?=[\[{{(])")
_PLACED = re.compile(
    r"\\begin\s*\{(?:figure|table|wrapfigure|wraptable|SCfigure|algorithm|minipage|multicols|subfigure|subtable|tabbing|adjustwidth|spacing|scope|list|"
    r"(?:compact|aspara|inpara)(?:enum|item|desc)|enumerate|itemize|description|thebibliography|otherlanguage|CJK|sidewaystable|sidewaysfigure|floatingfigure)\*?\}(?=\s*[\[{])"
)
_ENVIRONMENT = re.compile(r"\\(begin|end)\s*\{([A-Za-z]+\*?)\}[ \t]*")
_THEOREM = re.compile(r"\\newtheorem\*?\s*\{([A-Za-z]+\*?)\}\s*(?:\[[A-Za-z]*\])?\s*\{([^{}\\$\n]{1,60})\}")
_WITH_NAME = (  # environments whose name a reader sees
    "theorem", "thm", "lemma", "lem", "proposition", "prop", "corollary", "cor", "definition", "defn", "def", "proof", "remark", "rem", "rmk",
    "example", "eg", "exercise", "ex", "claim", "conjecture", "problem", "solution", "note", "axiom", "abstract", "question", "answer", "notation",
)  # fmt: skip
_LONG = {
    "thm": "theorem", "lem": "lemma", "prop": "proposition", "cor": "corollary", "defn": "definition", "def": "definition", "rem": "remark",
    "rmk": "remark", "eg": "example", "ex": "exercise",
}  # fmt: skip
_ACCENTS = {"`": "\u0300", "'": "\u0301", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304", ".": "\u0307", "u": "\u0306", "v": "\u030c",
            "H": "\u030b", "c": "\u0327", "d": "\u0323", "b": "\u0331", "r": "\u030a", "k": "\u0328"}  # fmt: skip
_ACCENT = re.compile(
    r"\\([`'^\"~=.])\s*(?:\{\s*(\\?[A-Za-z])\s*\}|(\\[ij](?![A-Za-z])|[A-Za-z]))"
    r"|\\([uvHcdbrk])\s*\{\s*(\\?[A-Za-z])\s*\}|\\([uvHcdbrk])[ ]+([A-Za-z])"
)
_LETTERS = {
    "ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "o": "ø", "O": "Ø", "aa": "å", "AA": "Å", "l": "ł", "L": "Ł", "i": "ı", "j": "ȷ",
    "S": "§", "P": "¶", "dag": "†", "ddag": "‡", "pounds": "£", "copyright": "©", "ldots": "...", "dots": "...", "textellipsis": "...",
    "LaTeX": "LaTeX",
    "TeX": "TeX", "LaTeXe": "LaTeX2e", "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textbar": "|", "textless": "<",
    "textgreater": ">", "textendash": "–", "textemdash": "—", "quad": " ", "qquad": " ", "enspace": " ", "thinspace": " ", "newline": "\n",
    "textquoteleft": "‘", "textquoteright": "’", "textquotedblleft": "“", "textquotedblright": "”", "slash": "/", "euro": "€", "textdegree": "°",
    "today": "", "item": "\n- ", "and": ", ",
}  # fmt: skip
_LETTER = re.compile(rf"\\({'|'.join(sorted(_LETTERS, key=len, reverse=True))})(?![A-Za-z])(?:\{{\}}|[ \t]*)")
_ESCAPED = re.compile(r"\\([#$%&_{}])")
_SPACING = re.compile(r"\\(?:[,;:!>/ ]|-|@|(?=\n))")
_COMMAND = re.compile(
    r"\\[A-Za-z@]+\*?[ \t]*(?:\[[^\[\]\n]{0,200}\][ \t]*)?(?=\{(?!\}))"
)  # of a command alone, or with an empty group, the name is all there is
_HOLD = "\ue000{}\ue001"
_HELD = re.compile("\ue000(\\d+)\ue001")


def is_latex(text: str, path: str | None = None) -> bool:
    """Is this the source of a document of LaTeX, plain TeX or AMS-TeX, or of a part of one, not prose with formulas in it?"""
    if path and re.search(r"\.(?:tex|ltx|latex)$", path, re.IGNORECASE):
        return True
    return _SOURCE.search(text[:200_000]) is not None or plain_tex.is_plain(text)


def readable(text: str, expand: bool = True, beside: str = "") -> str:
    """The text of a LaTeX source. Formulas are as they stand there, with simple macros written out where `expand`: its own, and those
    that `beside` defines."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate({0xE000: None, 0xE001: None})
    held: list[str] = []
    text = _hold_environments(text, _VERBATIM, held)
    text = _COMMENT.sub(_uncommented, text)
    is_plain = plain_tex.is_plain(text)
    if is_plain:
        text = plain_tex.to_latex(text)
    theorems = dict(_THEOREM.findall(text))
    text = without_definitions(macros.expand(text, beside) if expand else text)  # macros may have written out definitions
    text = _body(text)
    for name in _DROPPED:
        text = re.sub(rf"\\begin\s*\{{{re.escape(name)}\}}.*?(?:\\end\s*\{{{re.escape(name)}\}}|\Z)", "\n", text, flags=re.DOTALL)
    text = _hold_formulas(text, held)
    text = _hold_environments(text, _AS_IS, held)
    text = _prose(plain_tex.without_layout(text) if is_plain else text, theorems)
    for _ in range(3):  # a formula inside a table, a table inside a listing
        if "\ue000" not in text:
            break
        text = _HELD.sub(lambda match: held[int(match[1])], text)
    return _tidy(text)


def _uncommented(match: re.Match[str]) -> str:
    """What stays of a comment: the backslashes before it, and a blank where it parts the name of a command from a letter."""
    text, end = match.string, match.end()
    parts = text[end : end + 1].isalpha() and re.search(r"\\[A-Za-z@]+$", text[max(match.start() - 40, 0) : match.start()])
    return match[1] + (" " if parts and "\n" in match[0] else "")


def _body(text: str) -> str:
    """What stands between \\begin{document} and \\end{document}, under the title; all of it where there is no preamble."""
    begin = re.search(r"\\begin\s*\{document\}", text)
    if begin is None:
        return text
    end = re.search(r"\\end\s*\{document\}", text[begin.end() :])
    body = text[begin.end() : begin.end() + end.start()] if end else text[begin.end() :]
    heads = []
    for name in ("title", "author"):
        match = re.search(rf"\\{name}\s*(?:\[[^\]]*\])?\s*(?=\{{)", text)
        stop = group(text, match.end()) if match else -1
        if match and stop > 0:
            heads.append(("# " if name == "title" else "") + " ".join(text[match.end() + 1 : stop - 1].split()))
            if match.start() > begin.end():
                body = body.replace(text[match.start() : stop], "", 1)
    return "\n\n".join([*heads, body])


def _held(text: str, held: list[str], display: bool = False) -> str:
    held.append(text)
    mark = _HOLD.format(len(held) - 1)
    return f"\n{mark}\n" if display else mark


def _hold_environments(text: str, names: tuple[str, ...], held: list[str]) -> str:
    """Whole environments of these names, from the first \\begin to the next \\end of the name, are put away as they stand."""
    for name in names:
        opening, closing = f"\\begin{{{name}}}", f"\\end{{{name}}}"
        kept: list[str] = []
        at = 0
        while (start := text.find(opening, at)) >= 0 and (end := text.find(closing, start)) >= 0:
            end += len(closing)
            kept += (text[at:start], _held(text[start:end], held, display=True))
            at = end
        text = "".join([*kept, text[at:]]) if kept else text
    return text


def _hold_formulas(text: str, held: list[str]) -> str:
    data = text.encode(errors="replace")
    found = symbols.formulas(np.frombuffer(data or b"\0", np.uint8), np.array([0, len(data)], np.int64))
    kept: list[str] = []
    at = 0
    for (start, end), shown in zip(found.outer.tolist(), found.is_display.tolist(), strict=True):
        kept += (data[at:start].decode(), _held(data[start:end].decode(), held, display=shown and b"\n" in data[start:end]))
        at = end
    return "".join([*kept, data[at:].decode()])


def _prose(text: str, theorems: dict[str, str]) -> str:
    """`theorems`: environment -> the name its \\newtheorem gives it."""
    text = _sections(text)
    text = _without_groups(text, _PLACED, begin=True)
    text = re.sub(r"\\input[ \t]+[\w./+-]+", "", text)
    text = without_lengths(_without_groups(text, _GONE))
    text = _without_looks(text)
    text = _LINK.sub(r"\2 (\1)", text)
    text = _URL.sub(r"\1", text)
    text = _CITE.sub("", text)
    text = re.sub(r"\\(?:foot|end)notemark\s*(?:\[[^\[\]]*\])?(?![A-Za-z])", "", text)
    text = _REFERENCE.sub(r" [\1]", text)
    text = _footnotes(text)
    text = re.sub(r"\\caption(?:of\s*\{[^{}]*\})?\s*(?:\[[^\[\]]*\])?(?=\{)", "\n\n", text)
    text = re.sub(r"\\item\s*\[([^\[\]]*)\]", r"\n- \1", text)
    text = _ENVIRONMENT.sub(lambda match: _environment(match, theorems), text)
    text = _ACCENT.sub(_accented, text)
    text = _LETTER.sub(lambda match: _LETTERS[match[1]], text)
    text = _LAYOUT.sub("", text)
    text = re.sub(r"\\\\\*?(?:\[[^\[\]]*\])?", "\n", text)
    text = re.sub(r"\\verb\*?(\W)(.*?)\1", r"\2", text)
    text = _SPACING.sub(lambda match: " " if match[0] in ("\\ ", "\\,", "\\;", "\\:") else "", text)
    text = _ESCAPED.sub(lambda match: chr(0xE010 + "#$%&_{}".index(match[1])), text)
    text = _COMMAND.sub("", text)
    text = text.replace("~", " ").replace("``", "“").replace("''", "”").replace("---", "—").replace("--", "–")
    text = re.sub(r"[{}]", "", text)
    return re.sub("[\ue010-\ue016]", lambda match: "#$%&_{}"[ord(match[0]) - 0xE010], text)


def _sections(text: str) -> str:
    kept: list[str] = []
    at = 0
    for match in _HEADING.finditer(text):
        if match.start() < at:
            continue
        start = match.end()
        if text.startswith("[", start):
            start = group(text, start, "[", "]")
        end = group(text, start) if start > 0 else -1
        if end < 0:
            continue
        title = " ".join(text[start + 1 : end - 1].split())
        kept += (text[at : match.start()], f"\n\n{'#' * _HEADINGS[match[1]]} {title}\n\n")
        at = end
    return "".join([*kept, text[at:]])


def _without_groups(text: str, command: re.Pattern[str], begin: bool = False) -> str:
    """Commands of the pattern go, with the groups behind them; `begin`: the groups alone."""
    kept: list[str] = []
    at = 0
    for match in command.finditer(text):
        if match.start() < at:
            continue
        kept.append(text[at : match.end() if begin else match.start()])
        at = match.end()
        while (opening := re.compile(r"[ \t]*(?:\n[ \t]*)?([\[{])").match(text, at)) is not None:
            end = group(text, opening.end() - 1, opening[1], "]" if opening[1] == "[" else "}")
            if end < 0:
                break
            at = end
    return "".join([*kept, text[at:]])


def _without_looks(text: str) -> str:
    """Boxes, colours and the like go with what says how they look; what stands in them stays in its braces."""
    kept: list[str] = []
    at = 0
    for match in _LOOK.finditer(text):
        if match.start() < at:
            continue
        end, n_left = match.end(), _LOOKS[match[1]]
        while (opening := re.compile(r"[ \t]*(?:\n[ \t]*)?([\[({])").match(text, end)) is not None and (
            n_left or opening[1] != "{"
        ):
            closes = group(text, opening.end() - 1, opening[1], {"[": "]", "(": ")", "{": "}"}[opening[1]])
            if closes < 0:
                break
            n_left -= opening[1] == "{"
            end = closes
        kept.append(text[at : match.start()])
        at = end
    return "".join([*kept, text[at:]])


def _footnotes(text: str) -> str:
    kept: list[str] = []
    at = 0
    for match in _FOOTNOTE.finditer(text):
        end = group(text, match.end())
        if match.start() < at or end < 0:
            continue
        kept += (text[at : match.start()], f" ({text[match.end() + 1 : end - 1].strip()})")
        at = end
    return "".join([*kept, text[at:]])


def _environment(match: re.Match[str], theorems: dict[str, str]) -> str:
    name = match[2].rstrip("*").lower()
    if match[1] == "end":
        return "\n\n"
    if match[2] in theorems:
        return f"\n\n{theorems[match[2]].strip()}. "
    return f"\n\n{_LONG.get(name, name).capitalize()}. " if name in _WITH_NAME else "\n\n"


def _accented(match: re.Match[str]) -> str:
    import unicodedata

    accent = match[1] or match[4] or match[6]
    letter = (match[2] or match[3] or match[5] or match[7]).lstrip("\\")
    return unicodedata.normalize("NFC", letter + _ACCENTS[accent])


def _tidy(text: str) -> str:
    text = re.sub(r"(?<![ \t])[ \t]+\n", "\n", text)
    text = re.sub(r"(\n#+ [^\n]*\n\n)[ \t]+", r"\1", text)
    text = re.sub(r"(?<=\S)[ \t]{2,}(?=[^\s&])", " ", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
