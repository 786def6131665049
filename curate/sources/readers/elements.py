"""An XML file in, the elements that are records out, one at a time, as trees. Holds expat; imports stream.

Only the record being read is held. Entities that could grow or lead outside are refused, nothing is ever fetched. Where the XML breaks,
the record it breaks in is lost, and a new parser starts at the next start tag of a record.
"""

from __future__ import annotations

import html.entities
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

from curate.sources.records import Bad
from curate.sources.stream import Blocks

PIECE = 1 << 18  # fed to the parser at a time
HEAD_BYTES = 1 << 16
NAME_BYTES = 256  # of a start tag's name, looked for over the edge of two pieces
MAX_DEPTH = 500
MAX_ELEMENTS = 500_000  # of one record: a tree costs far more memory than its bytes (a guess)
MAX_ENTITY = 64  # characters of a declared entity that is taken: names of characters, which old corpora have


class Found(NamedTuple):
    """One record: its tree with local names, where its start tag stands and its bytes."""

    element: ET.Element
    byte_offset: int
    n_bytes: int


class _Stop(Exception):
    """Ends a parser. `at`: the offset from which the next record is looked for; None: there is none."""

    def __init__(self, cause: str, detail: str, at: int | None) -> None:
        super().__init__(cause)
        self.cause, self.detail, self.at = cause, detail, at


def elements(path: Path, record: str, limit: int, nests: bool = False, head: bytearray | None = None) -> Iterator[Found | Bad]:
    """Every element that `record` names: `tu`, the end of a path `body/p`, a whole path `/tei/text`, or "" for the root.

    `limit`: bytes of one. `nests`: a record inside a record belongs to the outer one; else the outer one has lost its end tag. `head` is
    filled with the first HEAD_BYTES, before the first record comes.
    """
    blocks = Blocks(path)
    reader = _Reader(path.name, record, limit, nests)
    n_read = 0
    for block in blocks:
        for start in range(0, len(block), PIECE):
            piece = block[start : start + PIECE]
            n_read += len(piece)
            if head is not None and len(head) < HEAD_BYTES:
                head += piece[:HEAD_BYTES]
            yield from reader.feed(piece, n_read)
        blocks.settled = reader.settled
    if blocks.problem:
        yield Bad(path.name, blocks.settled, *blocks.problem, blocks.lost_bytes())
    else:
        yield from reader.finish(n_read)


class _Reader:
    """Feeds parsers, one after another where the XML breaks, and says what was lost between them."""

    def __init__(self, file: str, record: str, limit: int, nests: bool) -> None:
        self.file, self.limit = file, limit
        self.tree = _Tree(file, record, limit, nests)
        name = re.escape(self.tree.wanted[-1].encode()) if self.tree.wanted else rb"(?!)"
        self.pattern = re.compile(rb"<(?:[^\s<>/:]+:)?%b[\s/>]" % name)
        self.tail = b""  # the piece before: a start tag may have begun in it
        self.lost: _Stop | None = None
        self.lost_from = 0

    @property
    def settled(self) -> int:
        return self.lost_from if self.lost else self.tree.settled

    def feed(self, piece: bytes, end: int) -> Iterator[Found | Bad]:
        """The records that end in `piece`, whose last byte stands before `end`."""
        data = self.tail + piece
        base, at = end - len(data), end - len(piece)
        self.tail = piece
        while True:
            if self.lost:
                if self.lost.at is None:
                    return
                match = self.pattern.search(data, max(self.lost.at - base, 0))
                if match is None:
                    self.lost.at = max(self.lost.at, end - NAME_BYTES)
                    return
                at = base + match.start()
                yield Bad(self.file, self.lost_from, self.lost.cause, self.lost.detail, at - self.lost_from)
                self.lost = None
                self.tree.restart(at)
            self.lost = self.tree.parse(data[at - base :], end)
            yield from self.tree.done
            self.tree.done = []
            if self.lost is None:
                return
            self.lost_from = 0 if self.lost.at is None else self.tree.settled

    def finish(self, n_read: int) -> Iterator[Found | Bad]:
        """What never ended."""
        if self.lost is None and n_read:
            self.lost = self.tree.parse(b"", n_read, is_last=True)
            yield from self.tree.done
            self.lost_from = min(self.tree.settled, n_read)
            if self.lost and self.lost.cause == "broken_xml" and self.tree.path:
                self.lost.cause = "truncated"
        if self.lost:
            yield Bad(self.file, self.lost_from, self.lost.cause, self.lost.detail, n_read - self.lost_from)


class _Tree:
    """expat, the path it is at, and the tree of the record it is in."""

    def __init__(self, file: str, record: str, limit: int, nests: bool) -> None:
        self.file, self.limit, self.nests, self.is_rooted = file, limit, nests, record.startswith("/")
        self.wanted = [part for part in record.split("/") if part]
        self.done: list[Found | Bad] = []
        self.above: list[str] = []  # names of the elements that records lie in
        self.encoding: str | None = None
        self.restart(0)

    def restart(self, at: int) -> None:
        """A new parser at stream offset `at`, inside the elements that records lie in."""
        self.path: list[str] = []  # names with prefixes
        self.stack: list[ET.Element] = []  # of the record; empty where it is too large
        self.start, self.depth, self.n_elements, self.n_events = -1, 0, 0, 0
        self.began = self.settled = at
        opening = "".join(f"<{name}>" for name in self.above).encode()
        self.shift = at - len(opening)  # expat's offset plus this is the stream's
        parser = self.expat = expat.ParserCreate(self.encoding)
        parser.buffer_text, parser.buffer_size = True, 1 << 16
        parser.XmlDeclHandler, parser.EntityDeclHandler = self._declaration, self._entity
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler, parser.SkippedEntityHandler = self._text, self._skipped
        parser.Parse(opening, False)

    def parse(self, data: bytes, end: int, is_last: bool = False) -> _Stop | None:
        """Feed the bytes before stream offset `end`; what ended the parser, if something did. `settled`: all before became records."""
        try:
            self.expat.Parse(data, is_last)
        except _Stop as stop:
            self.settled = self.start if self.start >= 0 else self._here()
            return stop
        except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: an encoding that nobody knows
            at = self.shift + self.expat.ErrorByteIndex
            self.settled = self.start if self.start >= 0 else max(at, self.began)
            return _Stop("broken_xml", str(error), max(at, self.began + 1))
        here = self._here()
        self.settled = self.start if self.start >= 0 else here
        if end - here > self.limit + PIECE:  # expat holds a tag or a comment until it ends
            return _Stop("too_large", f"a tag or comment of more than {self.limit} bytes", end)
        return None

    def _here(self) -> int:
        return max(self.shift + self.expat.CurrentByteIndex, self.began)

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        self.encoding = encoding

    def _entity(self, name: str, is_parameter: bool, value: str | None, *_: object) -> None:
        if value is None or len(value) > MAX_ENTITY or "&" in value or "%" in value:
            raise _Stop("xml_entities", f"declares the entity {name[:50]!r}", None)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        path = self.path
        path.append(name)
        if len(path) > MAX_DEPTH:
            raise _Stop("broken_xml", f"nested deeper than {MAX_DEPTH}", self._here() + 1)
        if self.start < 0:
            if self._is_record():
                self.start, self.depth, self.n_elements, self.above = self._here(), len(path), 1, path[:-1]
                self.stack = [ET.Element(_local(name), _local_keys(attributes))]
            return
        if not self.nests and self.wanted and self._is_record():
            raise _Stop("broken_xml", "a record begins before this one ends", self._here())
        if self.stack:
            self.n_elements += 1
            self.stack.append(ET.SubElement(self.stack[-1], _local(name), _local_keys(attributes)))
            self._check_size()

    def _is_record(self) -> bool:
        n = len(self.wanted)
        if not n:
            return len(self.path) == 1
        if _local(self.path[-1]) != self.wanted[-1] or (self.is_rooted and len(self.path) != n):
            return False
        return [_local(name) for name in self.path[-n:]] == self.wanted

    def _end(self, name: str) -> None:
        self.path.pop()
        if self.start < 0:
            return
        if self.stack:
            closed = self.stack.pop()
        if len(self.path) < self.depth:
            n_bytes = self._here() + len(name) + 3 - self.start
            is_whole = self.n_elements <= MAX_ELEMENTS and n_bytes <= self.limit
            self.done.append(
                Found(closed, self.start, n_bytes) if is_whole
                else Bad(self.file, self.start, "too_large", f"a record of {n_bytes} bytes, {self.n_elements} elements or more", n_bytes)
            )  # fmt: skip
            self.start, self.stack = -1, []

    def _text(self, text: str) -> None:
        if not self.stack:
            return
        top = self.stack[-1]
        if len(top):
            top[-1].tail = (top[-1].tail or "") + text
        else:
            top.text = (top.text or "") + text
        self._check_size()

    def _skipped(self, name: str, is_parameter: bool) -> None:
        """An entity that an outer DTD would declare: HTML's names are known, others stay as they are written."""
        self._text(html.entities.html5.get(f"{name};", f"&{name};"))

    def _check_size(self) -> None:
        self.n_events += 1
        if self.n_events & 63:
            return
        if self.n_elements > MAX_ELEMENTS or self._here() - self.start > self.limit:
            self.stack = []


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _local_keys(attributes: dict[str, str]) -> dict[str, str]:
    return {_local(name): value for name, value in attributes.items()} if any(":" in name for name in attributes) else attributes
