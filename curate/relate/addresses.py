"""Addresses as they are compared: one string for the spellings of one page, and a 128-bit hash of it.

In: addresses as records carry them. Out: `same_page(url)`, None where it is no absolute address; `hashes`, uint64 (n, 2), and who
has one. A page fetched twice under two spellings is one page; whether its text changed is not asked, which is why nobody compares
by address unless the recipe says so (dedup.exact.by: [url]). Imports signals.urls.address.

Left out, because it names the same page: the scheme (http and https), user and password, a first label `www`, ports 80 and 443,
a last dot and the case of the host (and its Unicode or punycode spelling), a trailing slash, a last segment index.html, index.htm
or index.php (what servers give for the folder), `.` and `..` segments, an empty query, parameters that only count visitors
(TRACKING), and the fragment, unless it begins with `!` or `/`: there a page of scripts keeps what it shows. Percent-encoding is
made one (RFC 3986 6.2.2: hex in upper case, letters, digits and -._~ plain, everything else that is not ASCII encoded as UTF-8).
Kept, because servers may tell it apart: the case of path and query, other ports, double slashes, the order of parameters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import numpy as np

from curate.signals.urls.address import clean_host, split

VERSION = 1  # raise it when same_page changes

# Parameters that advertisers and mailers add to a link to know where a visitor came from; a page is the same without them. Those of
# the public lists (ClearURLs, AdGuard's removeparam) that mean nothing else anywhere: `ref`, `source`, `id` stay.
TRACKING = frozenset((
    "gclid", "gclsrc", "dclid", "gbraid", "wbraid", "srsltid", "fbclid", "msclkid", "yclid", "ysclid", "twclid", "ttclid", "igshid",
    "igsh", "li_fat_id", "mc_cid", "mc_eid", "_ga", "_gl", "_hsenc", "_hsmi", "hsctatracking", "mkt_tok", "vero_id", "oly_anon_id",
    "oly_enc_id", "wickedid", "_openstat", "phpsessid", "jsessionid",
))  # fmt: skip
TRACKING_PREFIXES = ("utm_", "mtm_", "pk_", "hsa_")
_INDEX = ("index.html", "index.htm", "index.php")
_DEFAULT_PORTS = ("", "80", "443")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_TO_ENCODE = re.compile(r"[^!-~]")  # white space, controls, what is not ASCII
_PORT = re.compile(r":([0-9]*)$")
_SIMPLE_PATH = re.compile(r"(?:/[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*)*")


def same_page(url: str | None) -> str | None:
    """`https://www.A.ee:443/x/index.html?utm_source=n#top` and `http://a.ee/x/` -> `a.ee/x`; None without a host."""
    parts = split(url) if url else None
    if parts is None:
        return None
    authority, rest = parts
    authority = authority.rpartition("@")[2]
    host = clean_host(authority)
    if host is None:
        return None
    if host.startswith("www.") and "." in host[4:]:
        host = host[4:]
    port = _PORT.search(authority)
    host = f"[{host}]" if ":" in host else host
    if port is not None and (number := port[1].lstrip("0")) not in _DEFAULT_PORTS:
        host += f":{number}"
    rest, _, fragment = rest.partition("#")
    path, _, query = rest.partition("?")
    page = host + _path(path)
    if query and (kept := "&".join(p for p in query.split("&") if p and not _is_tracking(p))):
        page += f"?{_encoded(kept)}"
    return f"{page}#{_encoded(fragment)}" if fragment.startswith(("!", "/")) and len(fragment) > 1 else page


def hashes(urls: Iterable[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """(uint64 (n, 2) blake2b-128 of every address, zeros where there is none; bool (n,) has one)."""
    pages = [same_page(url) for url in urls]
    empty = bytes(16)
    found = b"".join(empty if page is None else hashlib.blake2b(page.encode(), digest_size=16).digest() for page in pages)
    return np.frombuffer(found, np.dtype("<u8")).reshape(-1, 2), np.array([page is not None for page in pages], bool)


def _path(path: str) -> str:
    """ "" for the root; otherwise begins with a slash and ends without."""
    path = path.partition(";jsessionid=")[0]
    if not _SIMPLE_PATH.fullmatch(path):  # most paths are plain already
        segments: list[str] = []
        for segment in _encoded(path.replace("\\", "/")).split("/")[1:]:
            if segment == "..":
                segments = segments[:-1]
            elif segment != ".":
                segments.append(segment)
        path = "".join(f"/{segment}" for segment in segments)
    path = path.rstrip("/")
    folder, _, last = path.rpartition("/")
    return folder.rstrip("/") if last.lower() in _INDEX else path


def _is_tracking(parameter: str) -> bool:
    name = parameter.partition("=")[0].lower()
    return name in TRACKING or name.startswith(TRACKING_PREFIXES)


def _encoded(text: str) -> str:
    if "%" in text:
        text = _ENCODED.sub(_one_byte, text)
    return _TO_ENCODE.sub(lambda match: "".join(f"%{b:02X}" for b in match[0].encode("utf-8", "replace")), text)


def _one_byte(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if char in _PLAIN else match[0].upper()
