"""A corpus file in, `RawRow | Bad` out, one per `<doc ...>`: prevert (paragraphs of running text) or vertical (a token a line).

The form of the Estonian National Corpus and of Sketch Engine. Attributes of `<doc>` become fields, all of them also `extra`.
Imports lines, stream.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from curate.sources.formats import Asked
from curate.sources.lines import lines
from curate.sources.records import EXTRA, Bad, RawRow
from curate.sources.stream import Blocks

TAG = re.compile(r"<(/?)([A-Za-z][\w.-]*)((?:\s[^\t]*)?)/?>\s*")  # fills its line; a token `<` has columns after it, or no name
ATTRIBUTE = re.compile(r'([\w.:-]+)\s*=\s*(?:"([^"]*)"|\'([^\']*)\')')
DOC_STARTS, DOC_END = (b"<doc ", b"<doc>", b"<doc\t"), b"</doc>"
PARAGRAPHS = ("p", "head", "div", "text")  # tags between which running text stands
# Of a text without a single <g/>: what goes without a space before, or after it.
BEFORE, AFTER = frozenset(".,;:!?)]}»”%…"), frozenset("([{«„")


class _Doc(NamedTuple):
    """A document being read: its `<doc>` line, where that stands, its lines so far."""

    head: bytes
    byte_offset: int
    body: list[bytes]


def read_vertical(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """One token a line, its form before the first tab; `<g/>` glues, `<s>` are sentences, `<p>` paragraphs."""
    yield from _documents(path, asked.limit, _tokens)


def read_prevert(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """Running text in `<p>`."""
    yield from _documents(path, asked.limit, _paragraphs)


def _documents(path: Path, limit: int, text_of: Any) -> Iterator[RawRow | Bad]:
    """`limit`: bytes of the lines of one document; a document that is not closed ends where the next begins."""
    blocks = Blocks(path)
    doc: _Doc | None = None
    n_bytes, stray_from, n_stray, end = 0, -1, 0, 0
    for line in lines(blocks, limit, settles=False):
        data, start = line.data, line.byte_offset
        end = start + line.n_bytes + line.is_ended
        is_start = data is not None and data.startswith(DOC_STARTS)
        is_end = data is not None and data.startswith(DOC_END)
        if doc is not None and (is_start or is_end):
            yield _row(path, doc, n_bytes, limit, text_of)
            doc = None
            blocks.settled = start
        if is_start:
            if n_stray:
                yield Bad(path.name, stray_from, "outside_documents", "lines before a <doc>", n_stray)
                n_stray = 0
            doc, n_bytes = _Doc(data or b"", start, []), line.n_bytes + 1
        elif doc is not None:
            n_bytes += line.n_bytes + 1
            if n_bytes <= limit and data is not None:
                doc.body.append(data)
            else:
                doc.body.clear()
        elif not is_end and (data is None or not _is_frame(data)):
            stray_from, n_stray = (stray_from if n_stray else start), n_stray + line.n_bytes + 1
    if blocks.problem:
        yield Bad(path.name, blocks.settled, *blocks.problem, blocks.lost_bytes())
        return
    if n_stray:
        yield Bad(path.name, stray_from, "outside_documents", "lines after the last document", min(n_stray, end - stray_from))
    if doc is not None:
        yield Bad(path.name, doc.byte_offset, "truncated", "the last document has no </doc>", end - doc.byte_offset)


def _is_frame(data: bytes) -> bool:
    """Blank lines, declarations and the tags of a whole corpus may stand between documents."""
    return not data.strip() or re.match(rb"</?(?:corpus|file|\?xml|!)[^>]*>\s*$", data) is not None


def _row(path: Path, doc: _Doc, n_bytes: int, limit: int, text_of: Any) -> RawRow | Bad:
    if n_bytes > limit:
        return Bad(path.name, doc.byte_offset, "too_large", f"a document of {n_bytes} bytes", n_bytes)
    try:
        head, body = doc.head.decode(), b"\n".join(doc.body).decode()
    except UnicodeDecodeError as error:
        detail = f"byte {error.object[error.start]:#04x} in the document"
        return Bad(path.name, doc.byte_offset, "invalid_utf8", detail, n_bytes)
    about = {name: html.unescape(one or other) for name, one, other in ATTRIBUTE.findall(head)}
    return RawRow({**about, "text": text_of(body.split("\n")), EXTRA: about}, doc.byte_offset, n_bytes)


def _paragraphs(body: list[str]) -> str:
    """Lines between tags are one paragraph each."""
    found: list[list[str]] = [[]]
    for line in body:
        if line.startswith("<") and (tag := TAG.fullmatch(line)) and tag[2] in PARAGRAPHS:
            found.append([])
        elif line and not line.isspace():
            found[-1].append(line.strip())
    text = "\n\n".join("\n".join(part) for part in found if part)
    return html.unescape(text) if "&" in text else text


def _tokens(body: list[str]) -> str:
    """Tokens with spaces between them, but where `<g/>` stands; without any, punctuation is put to its word."""
    found: list[list[str]] = [[]]
    glued = "<g/>" in body or "<g />" in body
    space = ""
    for line in body:
        token = line.partition("\t")[0]
        if token.startswith("<") and (tag := TAG.fullmatch(line)):
            if tag[2] == "g":
                space = ""
            elif tag[2] in PARAGRAPHS:
                found.append([])
                space = ""
            continue
        if not token or token.isspace():
            continue
        if not glued and token in BEFORE:
            space = ""
        found[-1].append(space)
        found[-1].append(token.rstrip("\r"))
        space = "" if not glued and token in AFTER else " "
    text = "\n\n".join("".join(part) for part in found if part)
    return html.unescape(text) if "&" in text else text
