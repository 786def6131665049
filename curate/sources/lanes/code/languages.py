"""The programming language of a file, by its name and its content. A path and a text in, a `Found` out; pure.

The table is languages.txt. Tried in this order: the whole file name, the extension (where several languages share one, by_content
tells them apart), the interpreter after #!, an editor's mode line, the row's own field, marks at the start of the text.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from curate.sources.lanes.code.by_content import among, guess


class Language(NamedTuple):
    name: str
    kind: str  # code, markup, data, prose


class Found(NamedTuple):
    """A name of languages.txt, and what told it: name, extension, content, interpreter, mode line, field."""

    name: str
    by: str


class _Tables(NamedTuple):
    languages: dict[str, Language]
    by_extension: dict[str, tuple[str, ...]]
    by_file: dict[str, str]
    by_interpreter: dict[str, str]
    by_name: dict[str, str]  # names and other names, in lower case


_MODE = re.compile(
    r"-\*-\s*(?:.*?\bmode:\s*)?([\w+#-]+)\s*(?:;.*?)?-\*-|\b(?:vim?|ex):\s*(?:set?\s+)?(?:.*?[\s:])?(?:ft|filetype|syntax)=([\w+#-]+)",
    re.IGNORECASE,
)
_INTERPRETER = re.compile(r"#!\s*(?:\S*/)?(?:env\s+(?:-\S+\s+|\w+=\S*\s+)*(?:\S*/)?)?([A-Za-z][\w+-]*?)(?:[\d.]*)(?=\s|$)")
_TEMPLATES = frozenset({"in", "tmpl", "template", "dist", "example", "sample", "orig", "bak"})  # x.py.in is read as x.py


def language_of(path: str | None, text: str, field: str | None = None) -> Found | None:
    """The language of a file. `path`: its name or path, / between folders; `field`: what its row calls it. None: nobody can tell."""
    known = tables()
    name = PurePosixPath(path).name if path else ""
    if name in known.by_file:
        return Found(known.by_file[name], "name")
    if candidates := _candidates(name):
        if len(candidates) == 1:
            return Found(candidates[0], "extension")
        return Found(among(candidates, text), "content")
    if found := _interpreter(text):
        return Found(found, "interpreter")
    if found := _mode(text):
        return Found(found, "mode line")
    if field and field.strip():
        return Found(known.by_name.get(field.strip().lower(), field.strip()), "field")
    if found := guess(text):
        return Found(found, "content")
    return None


def kind_of(name: str) -> str:
    """code, markup, data or prose; empty for a language the table does not have."""
    found = tables().languages.get(name)
    return found.kind if found else ""


@cache
def tables() -> _Tables:
    languages: dict[str, Language] = {}
    extensions: dict[str, list[str]] = {}
    files: dict[str, str] = {}
    interpreters: dict[str, str] = {}
    names: dict[str, str] = {}
    for line in Path(__file__).with_name("languages.txt").read_text(encoding="utf-8").split("\n"):
        if not line or line.startswith("#"):
            continue
        name, kind, suffixes, whole, shebangs, others = (part.strip() for part in (line + " |" * 5).split("|")[:6])
        languages[name] = Language(name, kind)
        for suffix in suffixes.split():
            extensions.setdefault(suffix, []).append(name)
        files |= dict.fromkeys(whole.split(), name)
        interpreters |= dict.fromkeys(shebangs.split(), name)
        names |= dict.fromkeys([name.lower(), *others.split()], name)
    return _Tables(languages, {suffix: tuple(found) for suffix, found in extensions.items()}, files, interpreters, names)


def _candidates(name: str) -> tuple[str, ...]:
    """Languages of the file name's last extension; .in and the like are stepped over."""
    parts = name.lower().split(".")[1:]
    while len(parts) > 1 and parts[-1] in _TEMPLATES:
        parts.pop()
    if not parts:
        return ()
    return tables().by_extension.get(parts[-1], ()) or (("Dockerfile",) if name.startswith("Dockerfile.") else ())


def _interpreter(text: str) -> str | None:
    match = _INTERPRETER.match(text[:200].split("\n", 1)[0]) if text.startswith("#!") else None
    return tables().by_interpreter.get(match[1].lower()) if match else None


def _mode(text: str) -> str | None:
    """The mode of an Emacs or Vim line among the first two lines or the last five."""
    lines = [line[:200] for line in (*text[:1000].split("\n")[:2], *text[-1000:].split("\n")[-5:])]
    for line in lines:
        if match := _MODE.search(line):
            return tables().by_name.get((match[1] or match[2]).lower())
    return None
