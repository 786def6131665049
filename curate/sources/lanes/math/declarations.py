"""What sets a LaTeX or TeX document up and says nothing to a reader: definitions, fonts, lengths, switches. A text in, the text without it out.

Pure. Every kind is eaten with exactly the arguments it has, so that a group of text behind it stays. Imports groups.
"""

from __future__ import annotations

import re

from curate.sources.lanes.math.groups import group

MOST_PARAMETERS = 120  # characters and commands between the name of a \def and its body

_UNIT = r"(?:true\s*)?(?:pt|in|cm|mm|em|ex|pc|bp|sp|dd|cc|mu|fi(?:l|ll|lll)?)\b"
_LENGTH = (
    rf"(?:[-+]?[\d.]+[ \t]*{_UNIT}|[-+]?[\d.]*\\(?:magstep[ \t]*(?:half\b|\d)|[A-Za-z@]+)|[-+]?\d+)"
    rf"(?:[ \t]*(?:plus|minus)[ \t]*[-\d.]+[ \t]*{_UNIT}){{0,2}}"
)
_TOKEN = r"(?:\\(?:[A-Za-z@]++|[^A-Za-z@])|~)"
# What follows a command, by its kind: t a name, bare or in braces; o brackets, any number of them; m a group; * all groups there are.
_KINDS: tuple[tuple[str, str], ...] = (
    (r"(?:re|provide)?newcommand\*?|providecommand\*?|DeclareRobustCommand\*?", "tom"),
    (r"(?:New|Renew|Provide|Declare)(?:Expandable)?DocumentCommand", "tmm"),
    (r"(?:re)?newcommandx\*?", "tom"),
    (r"(?:re|provide)?newenvironment\*?", "momm"),
    (r"(?:New|Renew|Provide|Declare)DocumentEnvironment", "mmmm"),
    (r"DeclareMathOperator\*?|DeclarePairedDelimiter\*?|DeclareMathSymbol|DeclareUnicodeCharacter|newaliascnt|newtheoremstyle", "t*"),
    (r"Declare[A-Z][A-Za-z]*\*?|[Cc]ref(?:range|multi|rangemulti)?(?:format|name)|[Cc]reflabelformat|aliascntresetthe", "*"),
    (r"At(?:Begin|End)(?:Document|OfPackage|OfClass|Environment)|BeforeBeginEnvironment|AfterEndEnvironment", "m"),
    (r"title(?:format|spacing)\*?|newgeometry|restoregeometry|set(?:list|itemize|enumerate|description|mathfont|mainfont|sansfont|monofont|stretch)|(?:use)?tikz(?:library|set)|pgf[a-z]+set"
     r"|lstset|allowdisplaybreaks|hyphenation|theoremstyle|patchcmd"
        r"|apptocmd|pretocmd|bookmark|pdfbookmark|PassOptionsToPackage", "*"),
    (r"(?:head|foot)line|output|every(?:par|math|display|cr|hbox|vbox)", "=m"),
)  # fmt: skip
_GROUPED = re.compile("|".join(rf"\\(?P<k{i}>{names})(?![A-Za-z@])" for i, (names, _) in enumerate(_KINDS)))
_DEF = re.compile(  # possessive, or a name could be cut in many ways
    rf"(?:\\(?:long|outer|protected|global)\s*)*+\\[gex]?def\s*{_TOKEN}"
    rf"(?:[^{{}}\\\n]|\\(?:[A-Za-z@]++|[^A-Za-z@])|\n(?!\s*\n)){{0,{MOST_PARAMETERS}}}+(?=\{{)"
)
_LET = re.compile(rf"(?:\\global\s*)?\\(?:future)?let\s*{_TOKEN}[ \t]*=?[ \t]*(?:{_TOKEN}|[^\s{{}}\\]|(?=[\s{{}}]|$))")
_NEW = re.compile(
    r"\\new(?:if|count|dimen|skip|muskip|box|toks|read|write|fam|insert|savebox|length|counter|language)(?![A-Za-z@])\s*"
    rf"(?:\{{\s*\\?[A-Za-z@]+\s*\}}(?:\[[A-Za-z@]*\])?|{_TOKEN})"
)
FONT = re.compile(
    rf"\\font\s*\\([A-Za-z@]+)\s*=?\s*[^\s{{}}\\]+(?:\s+(?:at\s+[\d.]+\s*{_UNIT}|scaled\s*(?:\\magstep\s*(?:half|\w)|\d+)))?"
)
_PARAMETERS = [
    "magnification",
    "hsize",
    "vsize",
    "hoffset",
    "voffset",
    "baselineskip",
    "lineskip",
    "lineskiplimit",
    "parskip",
    "parindent",
    "leftskip",
    "rightskip",
    "topskip",
    "hangindent",
    "hangafter",
    "abovedisplayskip",
    "belowdisplayskip",
    "abovedisplayshortskip",
    "belowdisplayshortskip",
    "tolerance",
    "pretolerance",
    "emergencystretch",
    "hbadness",
    "vbadness",
    "hfuzz",
    "vfuzz",
    "pageno",
    "overfullrule",
    "looseness",
    "displaywidowpenalty",
    "widowpenalty",
    "clubpenalty",
    "brokenpenalty",
    "interlinepenalty",
    "textwidth",
    "textheight",
    "linewidth",
    "columnwidth",
    "paperwidth",
    "paperheight",
    "oddsidemargin",
    "evensidemargin",
    "topmargin",
    "headheight",
    "headsep",
    "footskip",
    "columnsep",
    "tabcolsep",
    "arraycolsep",
    "fboxsep",
    "fboxrule",
    "unitlength",
    "itemsep",
    "topsep",
    "parsep",
    "partopsep",
    "labelsep",
    "leftmargin",
    "rightmargin",
    "labelwidth",
    "jot",
    "marginparwidth",
    "marginparsep",
    "pdfpagewidth",
    "pdfpageheight",
    "pdfoutput",
    "hskip",
    "vskip",
    "kern",
    "mkern",
    "vglue",
    "hglue",
    "raise",
    "lower",
    "moveleft",
    "moveright",
    "penalty",
    "secnumdepth",
    "tocdepth",
    "smallskipamount",
    "medskipamount",
    "bigskipamount",
]
# Set, used as `0.4\textwidth`, or given a length behind them: all of it goes.
_PARAMETER = re.compile(
    rf"(?:\\(?:advance|multiply|divide)\s*)?(?:(?<![\w.])[-+]?[\d.]+[ \t]*)?\\(?:{'|'.join(_PARAMETERS)})(?![A-Za-z@])"
    rf"(?:[ \t]*(?:=[ \t]*|by[ \t]*)?{_LENGTH}[ \t]*)?"
)
_GLUE = re.compile(r"\\[hv](?:skip|glue)")  # white space between words
_SIZED_BOX = re.compile(rf"\\([hv]box|vtop|vcenter)\s*(?:(?:to|spread)\s*{_LENGTH}\s*)?(?=\{{)")
_CODE = re.compile(
    r"\\(?:cat|lc|uc|sf|math|del)code\s*(?:`\\?.|[\d']+)\s*=?\s*(?:\\[A-Za-z@]+|[\d\"A-F]+|`\\?.)|\\chardef\s*\\\w+\s*=?\s*(?:`\\?.|\d+)"
)
_SETBOX = re.compile(
    rf"\\setbox\s*(?:{_TOKEN}|\d+)\s*=?\s*(?:\\xy(?:(?!\\setbox).){{0,2000}}?\\endxy|(?:\\[hv]box|\\vtop)\s*(?=\{{))?", re.DOTALL
)
_NEVER, _ALWAYS = re.compile(r"\\iffalse(?![A-Za-z@])"), re.compile(r"\\(?:fi|else)(?![A-Za-z@])")
_INTERNAL = re.compile(r"\\(?:@[A-Za-z@]{2,}|[A-Za-z]+@[A-Za-z@]*)\*?")
_SWITCHES = re.compile(r"\\(?:else|fi|or)(?![A-Za-z@])[ \t]*|\\if(?:pdf|mmode|vmode|hmode|true|[A-Z][A-Za-z@]*)(?![a-z])[ \t]*")
_OPENING = re.compile(r"[ \t]*(?:\n[ \t]*)?([\[{])")


def without_definitions(text: str) -> str:
    """The text without definitions of commands, environments and fonts, whatever they hold; their uses stay. Before formulas are put away."""
    text = _without_iffalse(text)
    text = _eaten(text, _DEF, lambda match: "m")
    text = _eaten(text, _GROUPED, lambda match: _KINDS[int(str(match.lastgroup)[1:])][1])
    text = _eaten(text, _SETBOX, lambda match: "m" if match[0].rstrip().endswith(("box", "vtop")) else "")
    for pattern in (_LET, _NEW, FONT, _CODE):
        text = pattern.sub("", text)
    return text


def _without_iffalse(text: str) -> str:
    """Without what \\iffalse comments out."""
    kept: list[str] = []
    at = 0
    for match in _NEVER.finditer(text):
        if match.start() < at:
            continue
        end = _ALWAYS.search(text, match.end())
        if end is None:
            break
        kept.append(text[at : match.start()])
        at = end.end()
    return "".join([*kept, text[at:]])


def without_lengths(text: str) -> str:
    """The text without lengths, switches and internals of LaTeX. Where formulas have been put away."""
    text = _eaten(text, _INTERNAL, lambda match: "*")
    text = _SIZED_BOX.sub(r"\\\1", text)
    return _SWITCHES.sub("", _PARAMETER.sub(lambda match: " " if _GLUE.search(match[0]) else "", text))


def _eaten(text: str, command: re.Pattern[str], kind: object) -> str:
    """The text without the matches of `command` and the arguments of each, by its kind; one whose arguments are not there stays."""
    kept: list[str] = []
    at = 0
    for match in command.finditer(text):
        if match.start() < at or (end := _behind(text, match.end(), kind(match))) < 0:  # type: ignore[operator]
            continue
        kept.append(text[at : match.start()])
        at = end
    return "".join([*kept, text[at:]]) if kept else text


def _behind(text: str, at: int, kind: str) -> int:
    """Place after the arguments of a command that ends at `at`; -1 where one of them is missing."""
    for step in kind:
        opening = _OPENING.match(text, at)
        if step == "=":
            at += len(text[at : at + 3]) - len(text[at : at + 3].lstrip(" ="))
        elif step == "t" and (name := re.compile(rf"\s*{_TOKEN}").match(text, at)):
            at = name.end()
        elif step in "tm":
            at = group(text, opening.end() - 1) if opening and opening[1] == "{" else -1
            if at < 0:
                return -1
        while step in "o*" and opening and (step == "*" or opening[1] == "["):
            end = group(text, opening.end() - 1, opening[1], "]" if opening[1] == "[" else "}")
            if end < 0:
                break
            at = end
            opening = _OPENING.match(text, at)
    return at
