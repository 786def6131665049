"""An address in, its host, what follows it, and its registered domain out. Never raises, whatever the text. Imports tldextract.

The registered domain follows the public suffix list as tldextract ships it (never fetched), without its private part: all of
blogspot.com is one domain, because one company answers for it; `host` tells its sites apart.
"""

from __future__ import annotations

import functools
import importlib.resources
import ipaddress
import re
from typing import Any
from urllib.parse import unquote

from curate.store import digest

_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?[/\\]{2}")
_BARE = re.compile(r"(?:www\.[^\s/?#@:]+|[^\s/?#@:.]+(?:\.[^\s/?#@:.]+)+(?=(?::\d+)?/))", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_LOST = re.compile(r"[\t\r\n]")  # browsers drop these from the middle of an address (WHATWG URL, "basic URL parser")
MAX_HOST_CHARS = 253  # RFC 1035 2.3.4, without the root's dot


def address(url: str) -> tuple[str | None, str]:
    """(host, what follows it up to #) of an absolute address; (None, "") where it names no host.

    Hosts are in lower case, Unicode labels in punycode, without user, port and last dot; IPv6 without brackets. Without a scheme
    only `www.a.ee` and `a.ee/path` (under a known public suffix) are addresses: `readme.md` may as well be a file.
    """
    parts = split(url)
    if parts is None:
        return None, ""
    authority, rest = parts
    host = clean_host(authority.rpartition("@")[2])
    return (None, "") if host is None else (host, rest.partition("#")[0])


def split(url: str) -> tuple[str, str] | None:
    """(user, host and port; what follows them, with query and fragment) of an absolute address; None where it is not one."""
    url = _LOST.sub("", url).strip()
    match = _SCHEME.match(url)
    if match is None and not _BARE.match(url):
        return None
    rest = url[match.end() :] if match else url
    end = next((i for i, c in enumerate(rest) if c in "/\\?#"), len(rest))
    if match is None:
        host = clean_host(rest[:end].rpartition("@")[2])
        if host is None or not (host.startswith("www.") or _parts(host)[1]):
            return None
    return rest[:end], rest[end:]


def clean_host(text: str) -> str | None:
    """`WWW.Õun.EE.:80` -> `www.xn--un-bka.ee`; None for what cannot be a host's name."""
    if text.startswith("["):
        try:
            inside, closed, _ = text[1:].partition("]")
            return ipaddress.IPv6Address(inside.partition("%")[0]).compressed if closed else None
        except ValueError:
            return None
    host = text.partition(":")[0]
    if "%" in host:
        host = unquote(host, errors="replace")
    host = host.lower().rstrip(".") if host.isascii() else _punycode(host)
    return host if len(host) <= MAX_HOST_CHARS and _HOST.fullmatch(host) else None


def _punycode(host: str) -> str:
    """Labels by IDNA 2003 (Python's codec); "" where a label cannot be written so."""
    try:
        labels = re.split("[.。．｡]", host)
        return ".".join(label.lower() if label.isascii() else label.encode("idna").decode() for label in labels).rstrip(".")
    except UnicodeError:
        return ""


@functools.lru_cache(maxsize=1 << 16)
def registered_domain(host: str) -> str:
    """`www.err.ee` -> `err.ee`, `a.b.co.uk` -> `b.co.uk`. Numbers (IP addresses) and public suffixes stay whole; under a suffix
    the list does not know, the last two labels (its own rule for those, `*`)."""
    if ":" in host or _NUMBER.fullmatch(host):
        return host
    name, suffix = _parts(host)
    if not suffix:
        return ".".join(host.split(".")[-2:])
    return f"{name}.{suffix}" if name else host


def _parts(host: str) -> tuple[str, str]:
    found = _extractor()(host)
    return found.domain, found.suffix


@functools.cache
def _extractor() -> Any:
    from tldextract import TLDExtract

    return TLDExtract(cache_dir=None, suffix_list_urls=(), fallback_to_snapshot=True, include_psl_private_domains=False)


@functools.cache
def suffix_list_digest() -> str:
    """Of the list in use: another list is another measurement."""
    return digest(importlib.resources.files("tldextract").joinpath(".tld_set_snapshot").read_bytes())
