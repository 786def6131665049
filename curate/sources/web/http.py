"""An HTTP answer as archived in, its status, headers and decoded body out. Digests are checked here.

Nothing of what crawlers get wrong is an error where the page can still be had: chunks that are not chunked, a gzip header over
plain text. Holds brotli, imported where a body needs it. Imports records.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import zstandard

from curate.sources.records import Refused

# headers a page keeps: what says how to read it, and what its owner says of using it
KEPT = ("content-language", "last-modified", "tdm-policy", "tdm-reservation", "x-robots-tag")
FEED = 1 << 14  # encoded bytes decoded at a time: what one call may unpack is bounded (stream.FEED)
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})")
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_DIGESTS = {
    "sha1": hashlib.sha1,
    "sha256": hashlib.sha256,
    "sha-256": hashlib.sha256,
    "md5": hashlib.md5,
    "sha512": hashlib.sha512,
}


def split(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """(status, headers with names in lower case, repeated ones joined by commas; body). Raises Refused where it is no answer."""
    match = _STATUS.match(answer)
    if match is None:
        raise Refused("bad_record", f"no HTTP answer: {answer[:40].decode('latin-1')!r}")
    end = re.search(rb"\r?\n\r?\n", answer)
    head, body = (answer[: end.start()], answer[end.end() :]) if end else (answer, b"")
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").replace("\r\n", "\n").split("\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            name = name.strip().lower()
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return int(match[1]), headers, body


def decoded(body: bytes, headers: dict[str, str], limit: int) -> bytes:
    """The page without its transfer and content encodings. Raises Refused for what cannot be decoded or passes `limit` bytes."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = without_chunks(body)
    for coding in reversed(headers.get("content-encoding", "").lower().split(",")):
        if (coding := coding.strip().removeprefix("x-")) in _DECODERS and body:
            body = _decoded(body, coding, limit)
    return body


def check_digests(block: bytes, body: bytes, of_block: str | None, of_payload: str | None) -> None:
    """One of the digests that a record states is that of its block, or of its payload, with or without chunks (writers differ).

    The payload's is enough: software that rewrote the headers left the page alone. Raises Refused where none fits.
    """
    stated = [(of_payload, [body, without_chunks(body)]), (of_block, [block])]
    verdicts = [_fits(digest, candidates) for digest, candidates in stated if digest]
    if False in verdicts and True not in verdicts:
        raise Refused("bad_digest", f"{of_block or of_payload}, but the content has another")


def _fits(stated: str, candidates: Sequence[bytes]) -> bool | None:
    """Has one of `candidates` this digest, in base32, hex or base64? None for an algorithm that is not known."""
    name, _, value = stated.partition(":")
    function: Any = _DIGESTS.get(name.strip().lower())
    if function is None:
        return None
    value = value.strip().rstrip("=")
    for data in candidates:
        digest = function(data, usedforsecurity=False).digest()
        if value.lower() in (base64.b32encode(digest).decode().rstrip("=").lower(), digest.hex()):
            return True
        if value == base64.b64encode(digest).decode().rstrip("="):
            return True
    return False


def is_whole(body: bytes, headers: dict[str, str]) -> bool:
    """Has the body as many bytes as its Content-Length says?"""
    length = headers.get("content-length", "")
    return length.isdecimal() and len(length) < 19 and len(body) >= int(length)


def without_chunks(body: bytes) -> bytes:
    """What the chunks hold; the body as it is where it has none. A chunk that is cut gives what there is."""
    parts: list[bytes] = []
    at = 0
    while match := _CHUNK.match(body, at):
        size = int(match[1], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[match.end() : match.end() + size])
        at = match.end() + size
        at += 2 if body[at : at + 2] == b"\r\n" else body[at : at + 1] == b"\n"
    if not parts:
        return body
    return b"".join([*parts, body[at:]])  # chunks that end without an end: nothing is thrown away


def _decoded(body: bytes, coding: str, limit: int) -> bytes:
    out, n = [], 0
    try:
        for piece in _DECODERS[coding](body):
            out.append(piece)
            n += len(piece)
            if n > limit:
                raise Refused("too_large", f"a body of {len(body)} bytes that unpacks to more than {limit}")
    except ValueError as error:
        if n == 0 and re.match(rb"\s*<", body):
            return body  # the archive holds it decoded, with the header of old
        if n == 0:
            raise Refused("unreadable", f"content encoding {coding}: {error}") from None
    return b"".join(out)  # as a browser does: what came before the damage is shown


def _inflated(body: bytes, wbits: int) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=wbits)
    try:
        for at in range(0, len(body), FEED):
            if decoder.eof:
                return
            yield decoder.decompress(body[at : at + FEED])
    except zlib.error as error:
        raise ValueError(str(error)) from None


def _deflated(body: bytes) -> Iterator[bytes]:
    """`deflate` is zlib's form by the standard and bare deflate by custom."""
    is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _inflated(body, 15 if is_zlib else -15)


def _brotli(body: bytes) -> Iterator[bytes]:
    try:
        import brotli
    except ImportError:
        raise Refused("unreadable", "content encoding br needs the package brotli (veski[web])") from None
    decoder = brotli.Decompressor()
    try:
        yield decoder.process(body, output_buffer_limit=1 << 20)
        while not decoder.is_finished() and not decoder.can_accept_more_data():
            yield decoder.process(b"", output_buffer_limit=1 << 20)
    except brotli.error as error:
        raise ValueError(str(error)) from None


def _zstd(body: bytes) -> Iterator[bytes]:
    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    try:
        for at in range(0, len(body), 1 << 10):
            if decoder.eof:
                return
            yield decoder.decompress(body[at : at + (1 << 10)])
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


_DECODERS = {"gzip": lambda body: _inflated(body, 31), "deflate": _deflated, "br": _brotli, "zstd": _zstd}
