"""Places raw files come from: a `Place` of a recipe in, its files as `Remote`s out, and their bytes from any offset on.

http(s) lives in http.py, the Hugging Face hub in hub.py, every other scheme of fsspec in filesystems.py; fetch.py mirrors, look.py looks
at the first bytes. Imports errors and recipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from curate.errors import CurateError
from curate.recipe.places import Place, is_http

BLOCK_BYTES = 8 << 20  # asked for at a time of file systems that give ranges


class Remote(NamedTuple):
    """One file elsewhere. `path`: where it lies below the mirror; `version` changes whenever its content does, as far as the origin says
    ("" where it does not); `sha256` or `git_sha1` (of a blob): what the origin says its content is."""

    url: str
    path: str
    size: int  # -1: unknown
    version: str
    sha256: str = ""
    git_sha1: str = ""
    is_hub: bool = False


class Opened(NamedTuple):
    """Bytes of a Remote from `offset` on, which is less than what was asked for where the origin cannot skip, or has another version."""

    offset: int
    version: str
    blocks: Iterator[bytes]


class Unreachable(CurateError):
    """The origin did not answer, or not to the end; trying again may help."""


def listed(place: Place) -> list[Remote]:
    """Every file of a place, sorted by path. CurateError says what to do where there is none, or no way to them."""
    if place.hub:
        from curate.sources.places import hub

        found = hub.listed(place)
    elif is_http(place.url):
        from curate.sources.places import http

        found = http.listed(place)
    else:
        from curate.sources.places import filesystems

        found = filesystems.listed(place)
    return sorted(found, key=lambda remote: remote.path)


def opened(remote: Remote, offset: int = 0, n_bytes: int | None = None) -> Opened:
    """Its bytes from `offset` on, at most `n_bytes` of them. Raises Unreachable, also while they come."""
    if remote.is_hub:
        from curate.sources.places import hub

        return hub.opened(remote, offset, n_bytes)
    if is_http(remote.url):
        from curate.sources.places import http

        return http.opened(remote, offset, n_bytes)
    from curate.sources.places import filesystems

    return filesystems.opened(remote, offset, n_bytes)


def version_now(remote: Remote) -> str:
    """The version its origin has by now; the hub's commits and what http sends carry theirs."""
    if remote.is_hub or is_http(remote.url):
        return remote.version
    from curate.sources.places import filesystems

    return filesystems.version_now(remote)
