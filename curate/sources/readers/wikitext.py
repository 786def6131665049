"""Wikitext in, legible text out, in time linear in its length: a scanner and a stack, nothing is matched twice.

Kept: text, headings, lists and tables as Markdown, formulas between `$`, code between fences. Left out: templates but those that carry
text, references, files, galleries, comments, interwiki links. Categories are returned. What never closes is kept as text.

Our own, since mwparserfromhell takes 30 GB for a page of 80 kB of nested tags (its issue 286), and minutes for others. Imports nothing.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

TOKEN = re.compile(
    r"<!--|</?[a-zA-Z][a-zA-Z0-9-]*(?:\s[^<>]*)?/?>"  # comments and tags
    r"|\[\[(?P<target>[^\[\]{}|<>\n]+)(?P<label>\|[^\[\]{}|<>\n]*)?\]\]"  # most links, in one step
    r"|\{\{\{?|\}\}\}?|\[\[|\]\]"
    r"|\[(?:https?:|ftp:|mailto:|//)[^\s\[\]]*(?:[ \t]+(?P<said>[^\[\]\n]*))?\]"
    r"|(?P<table>(?:(?<=\n)|\A)[ \t:]*\{\|)|(?P<end>(?<=\n)[ \t]*\|\})|\|"
)  # fmt: skip
CONTROL = re.compile(r"[\x00-\x08]")  # the marks below are ours
MAX_OPEN = 100  # things open at a time; MediaWiki itself gives up at 40 templates in one another
BAR = "\x04"  # a `|` that splits nothing any more
KEPT = re.compile("\x02(\\d+)\x03")  # a piece that is ready
DROPPED = {
    "ref", "references", "gallery", "timeline", "imagemap", "score", "templatestyles", "hiero", "graph", "mapframe", "maplink", "indicator",
    "inputbox", "section", "style", "templatedata", "categorytree", "poll", "rss",
}  # fmt: skip
RAW = {"nowiki", "pre", "math", "chem", "ce", "source", "syntaxhighlight", *DROPPED}
NEW_LINE = {"br", "hr", "p", "div", "center", "blockquote", "table", "tr", "ul", "ol", "dl", "dt", "dd", "poem"}
# Templates that carry text: which of their parameters it is; 0 for all, joined, -1 for the last.
CARRIERS = {
    "lang": -1, "keel": -1, "transl": -1, "nowrap": 1, "nobr": 1, "small": 1, "väiksem": 1, "big": 1, "abbr": 1, "ipa": 1, "mvar": 1,
    "math": 1, "chem": 0, "val": 1, "quote": 1, "cquote": 1, "blockquote": 1, "tsitaat": 1, "sic": 1, "em": 1, "strong": 1,
}  # fmt: skip
SPELLED = {"!": BAR, "=": "=", "ndash": "–", "–": "–", "mdash": "—", "—": "—", "spaced ndash": " – ", "snd": " – ", "dot": " · ", "·": " · ",
           "•": " • ", "nbsp": " ", "'": "’", "((": "{{", "))": "}}"}  # fmt: skip
SUPER = str.maketrans("0123456789+-−=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿⁱ")
SUB = str.maketrans("0123456789+-−=()aeoxn", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₒₓₙ")
HEADING = re.compile(r"(={1,6})[ \t]*(.+?)[ \t]*\1[ \t]*$")
LIST = re.compile(r"([*#:;]+)[ \t]*(.*)", re.DOTALL)
SPACES = re.compile("[ \t]{2,}")
SWITCH = re.compile(r"__[A-Z]{3,}__")
INTERWIKI = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*\Z")
CELL_ATTRIBUTES = re.compile(r"[^|\[{]*=[^|\[{]*")
NO_TEXT_TABLES = re.compile(r"navbox|metadata|ambox|noprint|disputeabout|toccolours", re.IGNORECASE)


class Page(NamedTuple):
    text: str
    categories: list[str]


class Names(NamedTuple):
    """Lower-case names of the namespaces of a wiki that are not text, and of templates that are, by the number of their parameter."""

    files: Collection[str] = ("file", "image", "media")
    categories: Collection[str] = ("category",)
    carriers: Mapping[str, int] = CARRIERS


class _Frame:
    """Something open: its pieces since the last `|`, and the parts before."""

    __slots__ = ("kind", "parts", "pieces")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.parts: list[str] = []
        self.pieces: list[str] = []

    def split(self) -> None:
        self.parts.append("".join(self.pieces))
        self.pieces = []

    def literal(self) -> str:
        """The text of what never closed."""
        return "|".join([*self.parts, "".join(self.pieces)])


def clean(text: str, title: str = "", names: Names | None = None) -> Page:
    """The text of a page. `title`: what {{PAGENAME}} stands for."""
    scanner = _Scanner(CONTROL.sub("", text), title, names or Names())
    body = _lines(html.unescape(scanner.scan()).replace("\xa0", " ")).replace(BAR, "|")
    return Page(KEPT.sub(lambda match: scanner.kept[int(match[1])], body).strip(), list(dict.fromkeys(scanner.categories)))


class _Scanner:
    def __init__(self, text: str, title: str, names: Names) -> None:
        self.text, self.title, self.names = text, title, names
        self.kept: list[str] = []
        self.categories: list[str] = []
        self.stack = [_Frame("root")]
        self.n_open = dict.fromkeys(("root", "{{", "{{{", "[[", "{|", "sup", "sub"), 0)
        self.no_end: set[str] = set()  # what does not close any more
        self.at = self.last = 0  # where scanning goes on, and where the text that no token has taken begins

    def scan(self) -> str:
        text, find = self.text, TOKEN.search
        while found := find(text, self.at):
            start, self.at = found.start(), found.end()
            pieces = self.stack[-1].pieces
            if start > self.last:
                pieces.append(text[self.last : start])
            self._token(found)
            self.last = self.at
        self.stack[-1].pieces.append(text[self.last :])
        while len(self.stack) > 1:
            self._spill()
        return "".join(self.stack[0].pieces)

    def _token(self, found: re.Match[str]) -> None:
        token, top = found[0], self.stack[-1]
        first = token[0]
        if found["end"] is not None:
            self._table_end(token)
        elif first == "|":
            if top.kind in ("{{", "[[", "{{{"):
                top.split()
            else:
                top.pieces.append("|")
        elif found["table"] is not None:
            self._open("{|")
        elif first == "<":
            self._comment() if token == "<!--" else self._tag(token, found.start())
        elif found["target"] is not None:
            label = found["label"]
            top.pieces.append(self._link_text(found["target"], None if label is None else label[1:]))
        elif token in ("{{", "{{{", "[["):
            self._open(token)
        elif first == "[":
            top.pieces.append(found["said"] or "")
        elif first == "}":
            self._braces(len(token))
        else:
            self._close("[[", "", across=("sup", "sub"))

    def _open(self, kind: str) -> None:
        if len(self.stack) < MAX_OPEN:
            self.stack.append(_Frame(kind))
            self.n_open[kind] += 1

    def _spill(self) -> None:
        """What never closed becomes text of what it stands in; a table closes by itself."""
        frame = self.stack.pop()
        self.n_open[frame.kind] -= 1
        if frame.kind == "{|":
            frame.split()
            self.stack[-1].pieces.append(self._table(frame))
        else:
            self.stack[-1].pieces.append(frame.literal())

    def _close(self, kind: str, closing: str, across: Collection[str] = ()) -> bool:
        """Close the innermost open `kind`; open things of `across` inside of it never closed. False, and text, where there is none."""
        i = len(self.stack) - 1
        while self.stack[i].kind != kind and self.stack[i].kind in across:
            i -= 1
        if not self.n_open[kind] or self.stack[i].kind != kind:
            self.stack[-1].pieces.append(closing)
            return False
        while len(self.stack) - 1 > i:
            self._spill()
        frame = self.stack.pop()
        self.n_open[kind] -= 1
        frame.split()
        self.stack[-1].pieces.append(RENDER[kind](self, frame))
        return True

    def _braces(self, n: int) -> None:
        """`}}` or `}}}`: of a template, or of a parameter; what is too much is read again."""
        inner = next((f.kind for f in reversed(self.stack[-8:]) if f.kind in ("{{", "{{{", "{|")), "")
        kind = inner if inner in ("{{", "{{{") else "{{"
        if kind == "{{{" and n == 2:  # `{{{a}}`: one brace was text
            frame = next(f for f in reversed(self.stack) if f.kind == "{{{")
            frame.kind, kind = "{{", "{{"
            self.n_open["{{{"] -= 1
            self.n_open["{{"] += 1
        width = len(kind)
        self.at -= n - width
        self._close(kind, "", across=("[[", "sup", "sub"))

    def _table_end(self, token: str) -> None:
        inner = next((f.kind for f in reversed(self.stack[-8:]) if f.kind in ("{{", "{|")), "")
        if inner == "{|":
            self._close("{|", "", across=("[[", "sup", "sub", "{{{"))
            return
        self.at -= 1  # `|` and a brace that belongs to what follows
        if self.stack[-1].kind in ("{{", "[[", "{{{"):
            self.stack[-1].split()
        else:
            self.stack[-1].pieces.append("|")

    def _comment(self) -> None:
        end = -1 if "-->" in self.no_end else self.text.find("-->", self.at)
        if end < 0:
            self.no_end.add("-->")
        else:
            self.at = end + 3

    def _tag(self, token: str, start: int) -> None:
        name = re.match(r"</?([a-zA-Z0-9-]+)", token)[1].lower()  # type: ignore[index]
        is_end, is_empty = token[1] == "/", token.endswith("/>")
        pieces = self.stack[-1].pieces
        if name in RAW:
            if not is_end and not is_empty and (content := self._raw(name)) is not None:
                pieces.append(self._ready(name, token, content, start))
        elif name in ("sup", "sub"):
            if is_end:
                self._close(name, "")
            elif not is_empty:
                self._open(name)
        elif name in NEW_LINE:
            pieces.append("\n")
        elif name == "li" and not is_end:
            pieces.append("\n* ")
        elif name in ("td", "th") and not is_end:
            pieces.append(f" {BAR} ")

    def _raw(self, name: str) -> str | None:
        """What stands up to the end tag, and moves behind it."""
        if name in self.no_end:
            return None
        end = re.compile(f"</{name}\\s*>", re.IGNORECASE).search(self.text, self.at)
        if end is None:
            self.no_end.add(name)
            return None
        content, self.at = self.text[self.at : end.start()], end.end()
        return content

    def _ready(self, name: str, token: str, content: str, start: int) -> str:
        """A piece that no markup is looked for in."""
        if name in DROPPED:
            return ""
        if name in ("source", "syntaxhighlight"):
            language = re.search(r"lang\s*=\s*[\"']?([\w+#-]+)", token)
            content = content.strip("\n")
            content = f"```{language[1] if language else ''}\n{content}\n```" if "\n" in content else f"`{content.strip()}`"
        elif name in ("math", "chem", "ce"):
            content = " ".join(html.unescape(content).split())
            content = content if name == "math" else f"\\ce{{{content}}}"
            mark = "$$" if "block" in token or self._is_alone(start) else "$"
            content = f"{mark}{content}{mark}" if content else ""
        else:
            content = html.unescape(content)
        self.kept.append(content)
        piece = f"\x02{len(self.kept) - 1}\x03"
        return f"\n{piece}\n" if content.startswith("```") or name == "pre" else piece

    def _is_alone(self, start: int) -> bool:
        """Has what stands from `start` up to here a line of its own?"""
        before = self.text[max(start - 80, 0) : start]
        line = before.rpartition("\n")[2] if "\n" in before or start <= 80 else "far"
        return not line.strip(":* \t") and not self.text[self.at : self.at + 80].partition("\n")[0].strip(" \t.,;")

    def _template(self, frame: _Frame) -> str:
        name = frame.parts[0].strip()
        lower = name.lower().replace("_", " ")
        if lower in SPELLED:
            return SPELLED[lower]
        if lower in ("pagename", "fullpagename"):
            return self.title
        if lower.startswith("formatnum:"):
            return name[10:].strip()
        plain = [part.strip() for part in frame.parts[1:] if "=" not in part]
        named = dict(part.split("=", 1) for part in frame.parts[1:] if "=" in part)
        number = 1 if re.fullmatch(r"lang-[a-z-]+", lower) else self.names.carriers.get(lower)
        if number is None:
            return ""
        if number == 0:
            return "".join(plain)
        numbered = next((value.strip() for key, value in named.items() if key.strip() in (str(number), "text", "tekst")), None)
        if numbered is None and not plain and named and len(frame.parts) == 2:  # `=` inside the text itself
            numbered = frame.parts[1].strip()
        if numbered is not None:
            return numbered
        return plain[number - 1 if number > 0 else number] if len(plain) >= abs(number) else ""

    def _link(self, frame: _Frame) -> str:
        return self._link_text(frame.parts[0], frame.parts[-1] if len(frame.parts) > 1 else None)

    def _link_text(self, target: str, label: str | None) -> str:
        target, label = target.strip(), None if label is None else label.strip()
        space, colon, rest = target.partition(":")
        space = space.strip().lower().replace("_", " ")
        if colon and not target.startswith(":"):
            if space in self.names.files:
                return ""
            if space in self.names.categories:
                self.categories.append(rest.strip().replace("_", " "))
                return ""
            if label is None and INTERWIKI.match(space):
                return ""
        if label is None:
            return target.removeprefix(":").removeprefix("#")
        if not label:  # the pipe trick
            return re.sub(r"\s*\([^()]*\)\Z", "", rest if colon else target)
        return label

    def _table(self, frame: _Frame) -> str:
        first, _, body = "|".join(frame.parts).partition("\n")
        if NO_TEXT_TABLES.search(first):
            return ""
        rows: list[list[str]] = [[]]
        n_header = 0
        caption = ""
        for line in body.split("\n"):
            mark = line.lstrip()[:1]
            line = line.strip()
            if line.startswith("|+"):
                caption = _cell(line[2:])
            elif line.startswith("|-"):
                rows.append([])
            elif mark in ("|", "!") and mark:
                cells = re.split(r"\|\||!!" if mark == "!" else r"\|\|", line[1:])
                n_header += mark == "!" and len(rows) <= 2
                rows[-1].extend(_cell(cell) for cell in cells)
            elif rows[-1]:
                rows[-1][-1] += "\n" + line
        return _table_text(caption, [row for row in rows if any(cell.strip() for cell in row)], n_header > 0)

    def _sup(self, frame: _Frame) -> str:
        return _raised(frame.parts[0], SUPER, "^")

    def _sub(self, frame: _Frame) -> str:
        return _raised(frame.parts[0], SUB, "")

    def _nothing(self, frame: _Frame) -> str:
        return ""


RENDER: dict[str, Callable[[_Scanner, _Frame], str]] = {
    "{{": _Scanner._template, "{{{": _Scanner._nothing, "[[": _Scanner._link, "{|": _Scanner._table, "sup": _Scanner._sup,
    "sub": _Scanner._sub,
}  # fmt: skip


def _raised(text: str, table: dict[int, int], mark: str) -> str:
    raised = text.strip().translate(table)
    is_whole = all(ord(char) in table for char in text.strip())
    return raised if is_whole else f"{mark}{text}"


def _cell(text: str) -> str:
    """A cell without its attributes."""
    before, bar, after = text.partition("|")
    return (after if bar and CELL_ATTRIBUTES.fullmatch(before) else text).strip()


def _table_text(caption: str, rows: list[list[str]], has_header: bool) -> str:
    """Markdown's tables; a row of one cell is a paragraph, for tables that only lay out a page."""
    lines = [caption] if caption else []
    for i, row in enumerate(rows):
        if len(row) == 1:
            lines.append(row[0])
            continue
        lines.append(f"{BAR} " + f" {BAR} ".join(" ".join(cell.split()) for cell in row) + f" {BAR}")
        if i == 0 and has_header:
            lines.append(BAR + f"---{BAR}" * len(row))
    return "\n" + "\n".join(lines) + "\n" if lines else ""


def _lines(text: str) -> str:
    """Headings and lists as Markdown; emphasis, switches, and headings with nothing under them are left out."""
    text = SWITCH.sub("", re.sub("'{2,}", "", text))
    found: list[str] = []
    waiting: list[tuple[int, str]] = []  # headings that have no text under them yet
    for raw in text.split("\n"):
        line = raw.rstrip()
        if heading := HEADING.match(line):
            level = len(heading[1])
            while waiting and waiting[-1][0] >= level:
                waiting.pop()
            waiting.append((level, f"{'#' * level} {heading[2]}"))
            continue
        if listed := LIST.match(line):
            line = _item(listed[1], listed[2].strip())
            if not line:
                continue
        if not line.strip(f" \t{BAR}"):
            if found and found[-1]:
                found.append("")
            continue
        for _, title in waiting:
            found.extend(["", title, ""] if found and found[-1] else [title, ""])
        waiting.clear()
        indent = len(line) - len(line.lstrip(" ")) if line.lstrip(" ")[:2] in ("- ", "1.") else 0
        found.append(" " * indent + SPACES.sub(" ", line.strip()))  # two stand where a reference was
    return "\n".join(found)


def _item(marks: str, text: str) -> str:
    if not text:
        return ""
    if marks[-1] == "*":
        return "  " * (len(marks) - 1) + f"- {text}"
    return "  " * (len(marks) - 1) + f"1. {text}" if marks[-1] == "#" else text
