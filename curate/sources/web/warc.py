"""WARC and ARC files in, one `RawRow` per captured page or `Bad` per thing lost out, for the formats `warc` and `wet`.

Keys of a row: html (bytes) or text (of conversion records), url, date, id, content_type, http (headers that matter later), truncated.
Requests, metadata, revisits, redirects, error answers, images and the like are no records of ours. Damage costs its own record only:
a damaged gzip member is left out up to the next one, a wrong length up to the next header. Imports frames and http.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from curate.sources.formats import Asked
from curate.sources.records import Bad, RawRow, Refused
from curate.sources.web import http
from curate.sources.web.frames import Cut, Frames

HEADER_BYTES = 1 << 20  # of one record's header; Common Crawl's have about 600
PAGES = ("text/html", "application/xhtml+xml")
KINDS = {"response": "html", "resource": "html", "conversion": "text"}  # record type -> key of the row
ARC_HEADER_BYTES = 8192  # of a line that may be the header of an ARC record
ADDRESS = re.compile(rb"[0-9a-fA-F.:]{2,39}")  # IPv4, IPv6
IN_BLOCK = re.compile(rb"\r?\n\r?\nWARC/[01]\.\d+\r?\n")  # a header inside a block whose length is wrong
ARC_IN_BLOCK = re.compile(rb"\n(?=\S{1,30}://\S[^\n]{0,2000} [0-9.]{7,15} \d{14} \S{1,100} \d{1,12}\r?\n)")
HEADER_START = len(b"\r\n\r\nWARC/1.0\r")
BROKEN = "bad_record"


class Header(NamedTuple):
    """The header of one record. `fields`: lower-case names; `length`: of its block; `problem`: why it cannot be read."""

    byte_offset: int
    fields: dict[str, str]
    length: int
    is_arc: bool
    problem: str = ""

    @property
    def kind(self) -> str:
        if not self.is_arc:
            return self.fields.get("warc-type", "").lower()
        return "warcinfo" if self.fields["uri"].startswith("filedesc:") else "response"


def read_warc(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """Responses, resources and conversions of one file. `asked.limit`: bytes of a record's block, and of what it unpacks to."""
    yield from _read(path, asked.limit, frozenset(KINDS))


def read_wet(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """Only the conversions: text that somebody else has extracted."""
    yield from _read(path, asked.limit, frozenset({"conversion"}))


def _read(path: Path, limit: int, kinds: frozenset[str]) -> Iterator[RawRow | Bad]:
    frames = Frames(path)
    while True:
        try:
            header = _next_header(frames)
            if header is None:
                break
            if header.problem:
                yield Bad(path.name, header.byte_offset, BROKEN, header.problem, _skip_to_header(frames, header.byte_offset))
                continue
            yield from _record(path.name, frames, header, limit, kinds)
        except Cut as cut:
            yield Bad(path.name, cut.byte_offset, cut.cause, cut.detail, cut.lost_bytes)


def _next_header(frames: Frames) -> Header | None:
    """The header at the next line that is not blank; None at the end."""
    while True:
        at = frames.at
        line = frames.line(HEADER_BYTES)
        if not line:
            return None
        if line.strip():
            break
    if line.startswith(b"WARC/"):
        return _warc_header(frames, at)
    if _is_arc(line):
        return _arc_header(line, at)
    return Header(at, {}, 0, False, f"no header of a record: {_shown(line)}")


def _warc_header(frames: Frames, at: int) -> Header:
    fields: dict[str, str] = {}
    name, n = "", 0
    while (line := frames.line(HEADER_BYTES)).strip():
        n += len(line)
        if n > HEADER_BYTES:
            return Header(at, {}, 0, False, f"a header of more than {HEADER_BYTES} bytes")
        text = line.decode("utf-8", "replace").strip("\r\n")
        if text[0] in " \t" and name:  # continued
            fields[name] += " " + text.strip()
            continue
        name, colon, value = text.partition(":")
        name = name.strip().lower()
        if not colon:
            return Header(at, {}, 0, False, f"a line of the header without a colon: {_shown(line)}")
        fields[name] = value.strip()
    if not line:
        raise Cut(at, "truncated", "the file ends in a record's header", frames.at - at)
    length = fields.get("content-length", "")
    if not _is_number(length):
        return Header(at, fields, 0, False, f"Content-Length {length[:20] or 'is missing'}")
    return Header(at, fields, int(length), False)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 19


def _is_arc(line: bytes) -> bool:
    """Fields of version 1 or 2 at the end, an address before them, which may hold spaces."""
    if len(line) > ARC_HEADER_BYTES or b"://" not in line[:32]:
        return False
    parts = line.strip().split(b" ")
    return any(
        len(parts) > n and ADDRESS.fullmatch(parts[-n]) and parts[1 - n].isdigit() and 8 <= len(parts[1 - n]) <= 18
        for n in (4, 9)
    )


def _arc_header(line: bytes, at: int) -> Header:
    """`URL IP date type length` (version 1; the address may hold spaces), with five more before the length in version 2."""
    text = line.decode("utf-8", "replace").strip()
    parts = text.rsplit(" ", 4)
    if not re.fullmatch(r"[0-9a-fA-F.:]+", parts[1]):
        parts = [*text.rsplit(" ", 9)[:4], text.rsplit(" ", 1)[1]]
    url, _, date, kind, length = parts
    fields = {"uri": url, "date": date, "content-type": kind}
    if not _is_number(length):  # of the description it may be anything: the next header is found after its lines
        return Header(at, fields, 0, True, "" if url.startswith("filedesc:") else f"a length of {length[:20]}")
    return Header(at, fields, int(length), True)


def _record(name: str, frames: Frames, header: Header, limit: int, kinds: frozenset[str]) -> Iterator[RawRow | Bad]:
    at, length = header.byte_offset, header.length
    is_wanted = header.kind in kinds
    block = frames.take(length, limit, stop=ARC_IN_BLOCK if header.is_arc else IN_BLOCK)
    n = frames.at - at
    if block.is_stopped:
        yield Bad(name, at, BROKEN, f"a length of {length} that runs into the next record", n)
        return
    if block.n < length and not _is_all(frames, header, block.data):
        if not _give_back(frames, block.data):
            raise Cut(at, *(frames.broken() or ("truncated", f"a block of {block.n} of {length} bytes", n)))
        yield Bad(name, at, BROKEN, f"a length of {length} that runs into the next record", frames.at - at)
        return
    if not _is_followed_by_header(frames, header):
        if not _give_back(frames, block.data) and block.data:
            frames.give_back(block.data[-HEADER_START:])  # the next header may begin there
        lost = _skip_to_header(frames, at)
        yield Bad(name, at, BROKEN, f"a length of {length} that does not lead to the next record", lost)
        return
    if not is_wanted:
        return
    if block.data is None:
        yield Bad(name, at, "too_large", f"a record of {length} bytes", n)
        return
    try:
        values = _values(header, block.data, limit)
    except Refused as refused:
        yield Bad(name, at, refused.cause, refused.detail, n)
        return
    if values is not None:
        yield RawRow(values, at, n)


def _is_followed_by_header(frames: Frames, header: Header) -> bool:
    """The two line ends of WARC; or blank lines, then the end, a damaged place, or another header. ARC's description may have any length."""
    if not header.is_arc and frames.peek(4) == b"\r\n\r\n":
        return True
    following = frames.peek_line()
    if following is None or following.startswith(b"WARC/") or _is_arc(following):
        return True
    return header.is_arc and header.kind == "warcinfo" and _skip_to_header(frames, frames.at) >= 0


def _skip_to_header(frames: Frames, start: int) -> int:
    """Go on to the next header (or the end, or a damaged place); bytes of the stream from `start` to it."""
    while True:
        frames.skip_blank()
        following = frames.peek_line()
        if following is None or following.startswith(b"WARC/") or _is_arc(following):
            return frames.at - start
        frames.line(HEADER_BYTES)


def _give_back(frames: Frames, block: bytes | None) -> bool:
    """A block that swallowed other records gives them back."""
    found = IN_BLOCK.search(block or b"") or ARC_IN_BLOCK.search(block or b"")
    if found is None or block is None:
        return False
    frames.give_back(block[found.start() :])
    return True


def _values(header: Header, block: bytes, limit: int) -> dict[str, Any] | None:
    """The row of a record; None where it is no page: another answer than 2xx, or no text."""
    fields, kind = header.fields, KINDS[header.kind]
    content_type = fields.get("content-type", "")
    values: dict[str, Any] = {
        "url": (fields.get("warc-target-uri") or fields.get("uri") or "").strip("<>") or None,
        "date": fields.get("warc-date") or _arc_date(fields.get("date", "")),
        "id": fields.get("warc-record-id", "").strip("<>") or None,
    }
    if "warc-truncated" in fields:
        values["truncated"] = fields["warc-truncated"]
    if kind == "text":
        if not content_type.startswith("text/"):
            return None
        try:
            return values | {"text": block.decode(), "language": _first(fields.get("warc-identified-content-language"))}
        except UnicodeDecodeError as error:
            raise Refused("invalid_utf8", f"byte {block[error.start]:#04x} at byte {error.start} of the block") from None
    body = block
    if header.kind == "response" and (header.is_arc or content_type.replace(" ", "").startswith("application/http")):
        status, headers, body = _answer(header, block)
        if not 200 <= status < 300:
            return None
        content_type = headers.get("content-type", content_type if header.is_arc else "")
        if not _is_page(fields.get("warc-identified-payload-type") or content_type, body):
            return None
        values["http"] = {name: headers[name] for name in http.KEPT if name in headers}
    elif not _is_page(content_type, body):
        return None
    else:
        headers = {}
    http.check_digests(block, body, fields.get("warc-block-digest"), fields.get("warc-payload-digest"))
    return values | {"html": http.decoded(body, headers, limit), "content_type": content_type or None}


def _answer(header: Header, block: bytes) -> tuple[int, dict[str, str], bytes]:
    """ARC stores what was not HTTP as it is."""
    return (200, {}, block) if header.is_arc and not block.startswith(b"HTTP/") else http.split(block)


def _is_all(frames: Frames, header: Header, block: bytes | None) -> bool:
    """The file ends early, but the answer is whole by its own Content-Length: line ends were changed on the way here."""
    if not block or frames.is_broken or header.kind != "response":
        return False
    try:
        _, headers, body = _answer(header, block)
    except Refused:
        return False
    return http.is_whole(body, headers)


def _is_page(content_type: str, body: bytes) -> bool:
    mime = content_type.partition(";")[0].strip().lower()
    if mime in PAGES:
        return True
    return (
        mime in ("", "application/octet-stream", "unknown")
        and re.match(rb"\s*(?:<!doctype html|<html)", body[:500], re.I) is not None
    )


def _arc_date(date: str) -> str | None:
    """20140216050221 -> 2014-02-16T05:02:21Z."""
    match = re.match(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d))?", date)
    if match is None:
        return None
    year, month, day, *time = match.groups()
    return f"{year}-{month}-{day}" + (f"T{time[0]}:{time[1]}:{time[2]}Z" if time[0] else "")


def _first(codes: str | None) -> str | None:
    """Common Crawl writes `est,eng`: the first has most of the text."""
    return codes.split(",")[0].strip() or None if codes else None


def _shown(line: bytes) -> str:
    return repr(line[:60].decode("utf-8", "replace"))
