"""\\input, \\include, \\subfile, \\import: files of one tree or archive in, which of them are parts of which, and the text of a whole one, out.

Pure. A main file has \\begin{document}; what it reads are its parts, and no documents of their own. Only files that were handed in can be
found, by their names below the top, so that no name leads out of it. Bounded: MOST_DEPTH files inside each other, MOST_INPUTS in one, no file
inside itself, and `limit` bytes together; a main file that goes beyond keeps its parts outside, as documents of their own.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

MOST_DEPTH, MOST_INPUTS = 16, 1_000
ENDS = (".tex", ".ltx", ".latex", ".sty", ".tikz", ".pgf", ".def")  # names of files that may be a part
_INPUT = re.compile(
    r"\\(?:(?P<import>(?:sub)?(?:import|inputfrom|includefrom))\*?\s*\{(?P<folder>[^{}\n]{0,200})\}\s*\{(?P<inside>[^{}\n]{1,200})\}"
    r"|(?:input|include|subfile|subfileinclude|InputIfFileExists)(?![A-Za-z@])\s*\{\s*(?P<name>[^{}\n]{1,200}?)\s*\}"
    r"|input[ \t]+(?P<bare>[\w./+-]{1,200}))"
)
_VERBATIM = re.compile(
    r"\\begin\{(verbatim|Verbatim|lstlisting|minted|alltt|comment|filecontents\*?)\}.*?(?:\\end\{\1\}|\Z)", re.DOTALL
)
_COMMENT = re.compile(r"(?<!\\)(?:\\\\)*%[^\n]*")
_BEGIN, _END = re.compile(r"\\begin\s*\{document\}"), re.compile(r"\\end\s*\{document\}")
_STOP = re.compile(r"^[^%\n]*?\\endinput(?![A-Za-z@])", re.MULTILINE)


class Asked(NamedTuple):
    """One \\input: where it stands in its text, and the name it asks for."""

    start: int
    end: int
    name: str


class Seen(NamedTuple):
    """What a file is for the others: `is_main`: it has \\begin{document}; `asks`: names it reads, in order."""

    is_main: bool
    asks: tuple[str, ...]
    n_bytes: int


def look(text: str) -> Seen:
    return Seen(_begin(text) is not None, tuple(one.name for one in asked(text)), len(text.encode(errors="replace")))


def asked(text: str) -> list[Asked]:
    """Every \\input of a text outside comments and listings."""
    if "\\" not in text or _INPUT.search(text) is None:
        return []
    hidden = [match.span() for match in (*_VERBATIM.finditer(text), *_COMMENT.finditer(text))]
    hidden.sort()
    found, place = [], 0
    for match in _INPUT.finditer(text):
        while place < len(hidden) and hidden[place][1] <= match.start():
            place += 1
        if not any(a <= match.start() < b for a, b in hidden[place : place + 2]):
            name = match["name"] or match["bare"] or posixpath.join(match["folder"] or "", match["inside"])
            found.append(Asked(match.start(), match.end(), name.strip('"')))
    return found


def plan(seen: Mapping[str, Seen], limit: int) -> dict[str, tuple[str, ...]]:
    """Main file -> the names of its parts, in the order it reads them; only of those that have any. A main file that another one reads is
    a part of that; of main files that read each other in a circle the first by name is the main one."""
    mains = sorted(name for name, file in seen.items() if file.is_main and file.asks)
    reach = {name: _parts(name, seen, limit) for name in mains}
    inside = {part for name, parts in reach.items() for part in parts or () if part != name}
    chosen: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for name in [name for name in mains if name not in inside] + [name for name in mains if name in inside]:
        parts = reach[name]
        if parts and name not in taken:
            chosen[name] = parts
            taken.update(parts)
    return chosen


def joined(main: str, texts: Mapping[str, str]) -> str:
    """The text of a main file with its parts where it reads them; what is not among `texts` stays as it is written."""
    return _joined(main, texts, main, (main,))


def resolve(name: str, main: str, reader: str, known: Callable[[str], bool]) -> str | None:
    """The file that `name` means: from the folder of the main file, as TeX does, else from that of the file that reads it."""
    for folder in (posixpath.dirname(main), posixpath.dirname(reader)):
        path = posixpath.normpath(posixpath.join(folder, name))
        if path.startswith(("/", "..")):
            continue
        for candidate in (f"{path}.tex", path) if not path.endswith(ENDS) else (path, f"{path}.tex"):
            if known(candidate):
                return candidate
    return None


def _parts(main: str, seen: Mapping[str, Seen], limit: int) -> tuple[str, ...] | None:
    """Names of the parts of a main file; None where it is too large, too deep or reads too many."""
    found: dict[str, None] = {}
    n_bytes, n_inputs = seen[main].n_bytes, 0
    waiting: list[tuple[str, tuple[str, ...]]] = [(main, (main,))]
    while waiting:
        reader, stack = waiting.pop()
        for name in reversed(seen[reader].asks):
            part = resolve(name, main, reader, seen.__contains__)
            if part is None or part in stack:
                continue
            n_bytes, n_inputs = n_bytes + seen[part].n_bytes, n_inputs + 1
            if n_bytes > limit or n_inputs > MOST_INPUTS or len(stack) > MOST_DEPTH:
                return None
            waiting.append((part, (*stack, part)))
        if reader != main:
            found.setdefault(reader)
    return tuple(found)


def _joined(reader: str, texts: Mapping[str, str], main: str, stack: tuple[str, ...]) -> str:
    text = texts[reader]
    if reader != main:
        text = _body(text)
    kept: list[str] = []
    at = 0
    for one in asked(text):
        part = resolve(one.name, main, reader, texts.__contains__)
        if part is None or part in stack or len(stack) > MOST_DEPTH:
            continue
        kept += (text[at : one.start], "\n", _joined(part, texts, main, (*stack, part)), "\n")
        at = one.end
    return "".join([*kept, text[at:]])


def _begin(text: str) -> re.Match[str] | None:
    """\\begin{document}, where no comment hides it."""
    for match in _BEGIN.finditer(text):
        if not _COMMENT.search(text, text.rfind("\n", 0, match.start()) + 1, match.start()):
            return match
    return None


def _body(text: str) -> str:
    """Of a part: up to \\endinput; of one that could stand alone what stands in its document."""
    if stop := _STOP.search(text):
        text = text[: stop.end() - len("\\endinput")]
    if begin := _begin(text):
        end = _END.search(text, begin.end())
        text = text[begin.end() : end.start() if end else len(text)]
    return text
