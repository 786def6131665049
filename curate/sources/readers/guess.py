"""A file whose name does not say it in, its format and what its reader must be told out; for propose.py. Imports langid's codes, stream."""

from __future__ import annotations

import collections
import re
from pathlib import Path
from typing import Any
from xml.parsers import expat

from curate.langid.codes import is_language_code
from curate.sources.readers.arrow import is_arrow
from curate.sources.stream import Blocks, strip_compression

LOOK_BYTES = 4 << 20  # of an XML file
LANGUAGE_SUFFIX = re.compile(r"\.([a-z]{2,3})\Z")
MANY, MOST = 3, 0.5  # records are elements that stand there so often and hold so much of the text


def format_of_content(file: Path, head: bytes) -> str | None:
    """A format by the first bytes of a file's content, or by a file of another language beside it."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if is_arrow(head):
        return "arrow"
    if re.match(rb"WARC/\d|filedesc://", head):
        return "warc"
    start = head[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    for mark, name in ((rb"<mediawiki[\s>]", "mediawiki"), (rb"<tmx[\s>]", "tmx"), (rb"<\?xml", "xml")):
        if start.startswith(b"<") and re.search(mark, start):
            return name
    if start.startswith(b"<doc "):
        return "vertical" if re.search(rb"^[^<\n]+\t[^\n]*$", head, re.MULTILINE) else "prevert"
    if other_language(file) is not None:
        return "moses"
    return "xml" if file.suffix == ".xml" else None


def other_language(file: Path) -> list[str] | None:
    """[et, en] for `x.et` beside `x.en`, where these two alone are there."""
    bare = strip_compression(file.name)
    own = LANGUAGE_SUFFIX.search(bare)
    if own is None or not is_language_code(own[1]):
        return None
    stem = bare[: own.start()]
    beside = {strip_compression(path.name) for path in file.parent.iterdir() if path.name.startswith(f"{stem}.")}
    named = [(name, match[1]) for name in beside if (match := LANGUAGE_SUFFIX.search(name))]
    others = sorted({code for name, code in named if name == f"{stem}.{code}" and is_language_code(code)} - {own[1]})
    return [own[1], others[0]] if len(others) == 1 else None


def options_of(files: list[Path], kind: str) -> dict[str, Any]:
    """The source's keys that its reader needs: which elements of an XML file are records, which languages a pair of files has."""
    if kind == "xml" and (record := likely_record(files[0])):
        return {"xml": {"record": record}}
    if kind == "moses" and (languages := other_language(files[0])) is not None:
        return {"moses": {"languages": languages}}
    return {}


def likely_record(file: Path) -> str | None:
    """The highest path that stands there several times and holds most of the text; None where nothing does."""
    path: list[str] = []
    n_chars: collections.Counter[tuple[str, ...]] = collections.Counter()
    n_times: collections.Counter[tuple[str, ...]] = collections.Counter()

    def start(name: str, _: dict[str, str]) -> None:
        path.append(name.rpartition(":")[2])
        n_times[tuple(path)] += 1

    def text(data: str) -> None:
        n = len(data.strip())
        for depth in range(1, min(len(path), 12) + 1) if n else ():
            n_chars[tuple(path[:depth])] += n

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler = lambda _: path.pop()
    parser.buffer_text = True
    n_read = 0
    try:
        for block in Blocks(file):
            parser.Parse(block[: LOOK_BYTES - n_read], False)
            n_read += len(block)
            if n_read >= LOOK_BYTES:
                break
    except (expat.ExpatError, ValueError, LookupError):
        pass
    total = sum(n for place, n in n_chars.items() if len(place) == 1)
    found = [place for place, n in n_chars.items() if n_times[place] >= MANY and n >= MOST * total]
    return "/".join(min(found, key=lambda place: (len(place), -n_chars[place]))[-2:]) if found else None
