"""Files of web servers: a URL in, its size, version and bytes out. Holds requests.

http has no folders to list; numbers in braces stand for many files: part-{0000..0099}.jsonl.gz. A login is read from ~/.netrc.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
import urllib3

from curate.errors import CurateError
from curate.recipe.places import Place, mirror_path
from curate.sources.places import Opened, Remote, Unreachable

TIMEOUT_S = (20, 60)  # to connect, and between two pieces of an answer
CHUNK_BYTES = 1 << 20
N_ASKED = 8  # servers' answers waited for at a time while listing
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_FILES = 1_000_000
_own = threading.local()

Refused = Callable[[str, str, requests.Response], CurateError | None]


def listed(place: Place) -> list[Remote]:
    urls = expanded(place.url, place.where)
    with ThreadPoolExecutor(N_ASKED) as pool:
        return list(pool.map(lambda url: _remote(url, place.where), urls))


def expanded(url: str, where: str = "") -> list[str]:
    """`a-{08..10}` -> a-08, a-09, a-10; as many digits as the first number has."""
    match = _BRACES.search(url)
    if match is None:
        if "*" in url:
            raise CurateError(
                "a web server does not list its files", where=where, found=url, allowed="part-{0000..0099}.jsonl.gz, or every URL"
            )
        return [url]
    first, last = int(match[1]), int(match[2])
    if not first <= last < first + _MOST_FILES:
        raise CurateError("these braces stand for nothing, or for too much", where=where, found=match[0], allowed="{0000..0099}")
    names = (f"{url[: match.start()]}{i:0{len(match[1])}d}{url[match.end() :]}" for i in range(first, last + 1))
    return [one for name in names for one in expanded(name, where)]


def _remote(url: str, where: str) -> Remote:
    answer = ask(url, where, {"Range": "bytes=0-0"})
    with answer:
        _, size = _range(answer)
        return Remote(url, mirror_path(url), size, version_of(answer.headers))


def opened(
    remote: Remote,
    offset: int,
    n_bytes: int | None = None,
    headers: Mapping[str, str] | None = None,
    refused: Refused | None = None,
) -> Opened:
    """`headers`: sent too; `refused` explains what its host means by a refusal. Where the content is another by now, or the server knows
    no ranges, the answer begins at 0."""
    asked = dict(headers or {})
    if offset or n_bytes is not None:
        asked["Range"] = f"bytes={offset}-{'' if n_bytes is None else offset + n_bytes - 1}"
        if offset and remote.version.startswith('"'):  # only strong etags may stand here (RFC 9110, section 13.1.5)
            asked["If-Range"] = remote.version
    answer = ask(remote.url, remote.path, asked, refused)
    begin, _ = _range(answer)
    return Opened(begin, version_of(answer.headers), _blocks(answer, remote.url, n_bytes))


def version_of(headers: Mapping[str, str]) -> str:
    return headers.get("ETag") or headers.get("Last-Modified") or ""


def ask(url: str, where: str, headers: Mapping[str, str], refused: Refused | None = None) -> requests.Response:
    """The answer, its body unread. Bytes as they are stored: nothing is unpacked on the way."""
    if not hasattr(_own, "session"):
        _own.session = requests.Session()
    try:
        answer: requests.Response = _own.session.get(
            url, headers={"Accept-Encoding": "identity", **headers}, stream=True, timeout=TIMEOUT_S
        )
    except requests.RequestException as error:
        raise Unreachable("no answer", where=where, found=f"{url}: {error}") from error
    if answer.status_code == 416:  # nothing at this offset: an empty file, or one that was read to its end
        return answer
    if answer.status_code in (429, 500, 502, 503, 504):
        answer.close()
        raise Unreachable("the server is busy", where=where, found=f"{url}: {answer.status_code} {answer.reason}")
    if answer.status_code not in (200, 206):
        answer.close()
        raise (refused and refused(url, where, answer)) or _refused(url, where, answer)
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        answer.close()
        raise CurateError("the server packs what it sends, though asked not to", where=where, found=url)
    return answer


def _refused(url: str, where: str, answer: requests.Response) -> CurateError:
    found = f"{url}: {answer.status_code} {answer.reason}"
    if answer.status_code in (401, 403):
        return CurateError("this needs a login or a permission", where=where, found=found, next="put the login into ~/.netrc")
    if answer.status_code in (404, 410):
        return CurateError("there is no such file", where=where, found=found, next="correct the address")
    return CurateError("the server refuses", where=where, found=found)


def _range(answer: requests.Response) -> tuple[int, int]:
    """(offset of the first byte sent, size of the whole file or -1)."""
    said = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if answer.status_code in (206, 416) and said:
        size = -1 if said[2] == "*" else int(said[2])
        return (max(size, 0) if said[1] is None else int(said[1])), size
    return 0, int(answer.headers.get("Content-Length", -1))


def _blocks(answer: requests.Response, url: str, n_bytes: int | None) -> Iterator[bytes]:
    left: Any = float("inf") if n_bytes is None else n_bytes
    if answer.status_code == 416:
        answer.close()
        return
    expected = int(answer.headers.get("Content-Length", -1))
    got = 0
    try:
        with answer:
            while left and (block := answer.raw.read(min(CHUNK_BYTES, left))):
                got += len(block)
                left -= len(block)
                yield block
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise Unreachable("the answer broke off", where=url, found=f"after {got} bytes: {error}") from error
    if left and 0 <= got < expected:
        raise Unreachable("the answer broke off", where=url, found=f"{got} of {expected} bytes")
