"""The bytes of a page in, its text and the name of its encoding out.

In order: a byte order mark; UTF-8 wherever the bytes are UTF-8 (nothing else looks like it by accident); the charset of the HTTP header;
that of the page's own meta; detection. Charsets mean what browsers mean by them (WHATWG Encoding Standard: iso-8859-1 is windows-1252).
Holds cchardet. Imports records.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from curate.sources.records import Refused

HEAD = 4096  # bytes searched for a meta charset; the standard says 1024, pages put it later
LOOKED_AT = 1 << 18  # bytes shown to the detector
BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
LATIN = "cp1252"
LABELS = {  # what authors write and browsers read as something else
    "iso-8859-1": LATIN, "iso8859-1": LATIN, "iso_8859-1": LATIN, "latin1": LATIN, "latin-1": LATIN, "us-ascii": LATIN,
    "ascii": LATIN, "windows-1252": LATIN, "ansi": LATIN, "iso-8859-9": "cp1254", "iso-8859-11": "cp874", "tis-620": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932", "x-sjis": "cp932",
    "ks_c_5601-1987": "cp949", "euc-kr": "cp949", "x-euc-jp": "euc-jp", "utf8": "utf-8", "unicode": "utf-8", "x-mac-roman": "mac-roman",
}  # fmt: skip
BALTIC = "cp1257"
BALTIC_TONGUES = ("et", "lv", "lt", "est", "lav", "lit", "liv", "vro")
MOST_BROKEN = (
    0.02  # of its sequences beyond ASCII may be broken in a page that is UTF-8 all the same (cut inside a letter, pasted)
)
_META = re.compile(rb"<meta[^>]+?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]+)", re.I)
_XML = re.compile(rb"^\s*<\?xml[^>]+encoding\s*=\s*[\"']([A-Za-z0-9_:.-]+)", re.I)
_HEADER = re.compile(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]+)", re.I)
_LANG = re.compile(rb"<html[^>]+?lang\s*=\s*[\"']?\s*([A-Za-z]{2,3})", re.I)
_WIDE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")
_S_OR_Z = re.compile(  # s and z with caron in Baltic pages: after a letter, or before one at the start of a word
    rb"[A-Za-z\xe0-\xff][\xf0\xfe\xd0\xde]|(?<![A-Za-z\xc0-\xff])[\xf0\xfe\xd0\xde](?=[a-z\xe0-\xff])"
)
_S_OR_Z_15 = re.compile(
    rb"[\xa6\xa8\xb8](?=[a-z\xe0-\xff])|[a-z\xe0-\xff][\xa8\xb8](?![\xa8\xb8])"
)  # in ISO 8859-15, where windows-1252 has ¦ ¨ ¸
_S_OR_Z_1252 = re.compile(rb"[a-z\xe0-\xff][\x8a\x8e\x9a\x9e]|[\x8a\x8e\x9a\x9e][a-z\xe0-\xff]")  # the same in windows-1252
_QUOTES_13 = re.compile(rb"\xa5(?=[A-Za-z\xc0-\xff])|\xa1(?![A-Za-z\xc0-\xff\xa1])")  # low and high quotes in ISO 8859-13
LATIN_LIKE = ("cp1252", "iso8859-1", "iso8859-3", "iso8859-4", "iso8859-9", "cp1257", "cp1254", "cp1250", "iso8859-2", "mac")
OF_DOS = ("cp437", "cp850", "cp852", "cp855")  # no page is in these: the WHATWG's list does not have them
_ICELANDIC = re.compile(rb"[\xe1\xed\xf3\xfa\xfd\xe6]")  # á í ó ú ý æ, of which Baltic pages as Latin would have none of meaning


class Decoded(NamedTuple):
    text: str
    encoding: str  # Python's name of it
    n_replaced: int  # sequences that were no text, shown as U+FFFD


def decode(data: bytes, content_type: str | None = None) -> Decoded:
    """Raises Refused for bytes that are no text at all: NULs in something that is not UTF-16."""
    for mark, name in BOMS:
        if data.startswith(mark):
            return _replaced(data[len(mark) :], name)
    header = _HEADER.search(content_type or "")
    wide = _codec(header[1]) if header else None
    if wide and wide.startswith(("utf-16", "utf-32")):
        return _replaced(data, wide)
    if b"\0" in data:
        if (wide := _utf16(data)) is None:
            raise Refused("nul_character", f"U+0000 at byte {data.index(0)}: a binary file?")
        return _replaced(data, wide)
    try:
        return Decoded(data.decode(), "utf-8", 0)
    except UnicodeDecodeError:
        pass
    declared = [_codec(label) for label in _declared(data, header[1] if header else None)]
    if mostly := _mostly_utf8(data):
        return mostly
    for codec in declared:
        if codec and codec != "utf-8" and (found := _strict(data, _meant(codec, data))):
            return found
    return _strict(data, _detected(data)) or _replaced(data, LATIN)


def _declared(data: bytes, header: str | None) -> list[str]:
    found = [header] if header else []
    for pattern in (_XML, _META):
        if match := pattern.search(data[:HEAD]):
            found.append(match[1].decode())
    return found


def _codec(label: str) -> str | None:
    """Python's codec of a label; None where there is none, or it makes no text of bytes (rot13)."""
    label = label.strip().lower()
    try:
        info = codecs.lookup(LABELS.get(label, label))
    except (LookupError, ValueError):
        return None
    return info.name if info._is_text_encoding else None


def _utf16(data: bytes) -> str | None:
    """UTF-16 without a mark, told by where the zeros of its ASCII are."""
    head = data[:2000]
    if len(head) < 4:
        return None
    even, odd = head[::2].count(0) / len(head[::2]), head[1::2].count(0) / len(head[1::2])
    return "utf-16-le" if odd > 0.4 and even < 0.1 else "utf-16-be" if even > 0.4 and odd < 0.1 else None


def _replaced(data: bytes, name: str) -> Decoded:
    text = data.decode(name, "replace")
    return Decoded(text, name, text.count("\ufffd"))


def _strict(data: bytes, name: str) -> Decoded | None:
    """None where the bytes are not of this encoding. What windows-125x leaves open are C1 controls, as in browsers."""
    try:
        return Decoded(data.decode(name), name, 0)
    except UnicodeDecodeError:
        if not name.startswith("cp125"):
            return None
    letters = {byte: bytes([byte]).decode(name, "replace") for byte in range(128, 256)}
    letters = {byte: chr(byte) if letter == "\ufffd" else letter for byte, letter in letters.items()}
    return Decoded(data.decode("latin-1").translate(letters), name, 0)


def _mostly_utf8(data: bytes) -> Decoded | None:
    """UTF-8 with a few broken places: far more letters beyond ASCII are whole than not."""
    found = _replaced(data, "utf-8")
    n_wide = len(_WIDE.findall(data))
    return found if found.n_replaced <= MOST_BROKEN * n_wide else None


def _meant(name: str, data: bytes) -> str:
    """Old Baltic pages call themselves Latin-1 and have their s and z with caron where windows-1257 has them."""
    if name != LATIN or not _S_OR_Z.search(data):
        return name
    lang = _LANG.search(data[:HEAD])
    is_baltic = lang is not None and lang[1].decode().lower() in BALTIC_TONGUES
    return BALTIC if is_baltic else name


def _detected(data: bytes) -> str:
    """By cchardet; where it finds something Latin, the places of š, ž and quotes tell the four encodings of Estonian pages apart."""
    import cchardet

    said = cchardet.detect(data[:LOOKED_AT])["encoding"] or LATIN
    name = _codec(said) or LATIN
    name = LATIN if name in OF_DOS else name
    is_estonian = _looks_estonian(data)
    if not name.startswith(LATIN_LIKE) or (name in ("cp1250", "iso8859-2") and not is_estonian):
        return name
    has_windows = re.search(rb"[\x80-\x9f]", data) is not None
    if _S_OR_Z_1252.search(data):
        return LATIN
    if _S_OR_Z_15.search(data) and not has_windows:
        return "iso8859-15"
    if _S_OR_Z.search(data) and not _ICELANDIC.search(data):
        return BALTIC if has_windows else "iso8859-13"
    if _QUOTES_13.search(data) and not has_windows:
        return "iso8859-13"
    return name if name in (BALTIC, "iso8859-13", "iso8859-15") and not is_estonian else LATIN


def _looks_estonian(data: bytes) -> bool:
    """Its four letters beyond ASCII, at their places in every Latin and Baltic page, are nearly all there is beyond ASCII."""
    beyond = re.findall(rb"[\xa1-\xff]", data)
    ours = sum(byte in b"\xe4\xf5\xf6\xfc\xc4\xd5\xd6\xdc" for byte in beyond)
    return bool(beyond) and ours >= 0.9 * len(beyond)
