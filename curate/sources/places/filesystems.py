"""Files of every scheme fsspec knows (s3, gs, az, sftp, memory, ...): a URL pattern in, sizes, versions and bytes out. Holds fsspec.

Logins and endpoints are the environment's, as each file system reads them (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, FSSPEC_S3_ANON=true ...),
never a recipe's.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

from curate.errors import CurateError
from curate.recipe.places import Place, mirror_path
from curate.sources.places import BLOCK_BYTES, Opened, Remote, Unreachable

EXTRAS = {"s3": "s3", "s3a": "s3"}  # scheme -> extra of ours that brings its file system
VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "mtime", "modified", "created")
_WILD = ("*", "?", "[")


def listed(place: Place) -> list[Remote]:
    """The files a pattern matches; all below a URL that ends with /, but for hidden ones."""
    fs, path = _filesystem(place.url, place.where)
    try:
        fs.invalidate_cache()
        if any(sign in path for sign in _WILD):
            found = fs.glob(path, detail=True)
        elif place.url.endswith("/"):
            found = fs.find(path, detail=True)
            n = len(path.rstrip("/").split("/"))
            found = {name: info for name, info in found.items() if not any(part.startswith(".") for part in name.split("/")[n:])}
        else:
            info = fs.info(path)
            if info.get("type") == "directory":
                raise CurateError(
                    "this is a folder", where=place.where, found=place.url, next=f"{place.url}/ or {place.url}/*.jsonl"
                )
            found = {info["name"]: info}
    except (FileNotFoundError, NotADirectoryError):
        found = {}
    except PermissionError as error:
        raise _forbidden(place, error) from error
    except CurateError:
        raise
    except Exception as error:  # every file system has its own
        raise Unreachable("the files cannot be listed", where=place.where, found=f"{place.url}: {_said(error)}") from error
    files = [info for info in found.values() if info.get("type") == "file"]
    if not files:
        raise CurateError("nothing matches", where=place.where, found=place.url, next="correct the pattern")
    prefix = fs._strip_protocol(place.fixed).rstrip("/")
    return [_remote(place.fixed + info["name"][len(prefix) :].removeprefix("/"), info) for info in files]


def opened(remote: Remote, offset: int, n_bytes: int | None = None) -> Opened:
    return Opened(offset, remote.version, _blocks(remote, offset, n_bytes))


def version_now(remote: Remote) -> str:
    fs, path = _filesystem(remote.url, remote.path)
    try:
        fs.invalidate_cache()
        return version_of(fs.info(path))
    except Exception as error:
        raise Unreachable("the file cannot be looked at", where=remote.path, found=f"{remote.url}: {_said(error)}") from error


def version_of(info: dict[str, Any]) -> str:
    """What of fs.info changes with the content; times in one form, as listings and looks at one file give them in several."""
    found = next((info[name] for name in VERSIONS if info.get(name) not in (None, "")), "")
    if isinstance(found, int | float):
        found = datetime.datetime.fromtimestamp(found, datetime.UTC)
    if isinstance(found, datetime.datetime):
        return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC).isoformat()
    return str(found)


def _remote(url: str, info: dict[str, Any]) -> Remote:
    if info.get("size") is None:
        raise CurateError("the size of this file is not known, so it cannot be resumed", where=url, next="copy it by other means")
    return Remote(url, mirror_path(url), int(info["size"]), version_of(info))


def _blocks(remote: Remote, offset: int, n_bytes: int | None) -> Iterator[bytes]:
    fs, path = _filesystem(remote.url, remote.path)
    end = remote.size if n_bytes is None else min(offset + n_bytes, remote.size)
    while offset < end:
        try:
            block = fs.cat_file(path, start=offset, end=min(offset + BLOCK_BYTES, end))
        except FileNotFoundError as error:
            raise CurateError("the file is gone", where=remote.path, found=remote.url) from error
        except PermissionError as error:
            raise CurateError("no permission to read this", where=remote.path, found=f"{remote.url}: {_said(error)}") from error
        except Exception as error:
            raise Unreachable("the file cannot be read", where=remote.path, found=f"{remote.url}: {_said(error)}") from error
        if not block:
            raise Unreachable("the file ends early", where=remote.path, found=f"{remote.url}: {offset} of {remote.size} bytes")
        offset += len(block)
        yield block


def _filesystem(url: str, where: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    scheme = url.partition("://")[0]
    if scheme == "hf":
        raise CurateError(
            "a dataset of the hub has a key of its own", where=where, found=url, next="hub: owner/name, revision: COMMIT"
        )
    try:
        fs, path = url_to_fs(url)
    except ImportError as error:
        extra = EXTRAS.get(scheme)
        what = f"pip install 'veski[{extra}]'" if extra else "install what it says"
        raise CurateError(f"nothing here reads {scheme}://", where=where, found=str(error), next=what) from error
    except ValueError as error:
        raise CurateError("no such scheme", where=where, found=f"{url}: {error}", next="s3://, https://, gs:// ...") from error
    return fs, path


def _forbidden(place: Place, error: Exception) -> CurateError:
    return CurateError(
        "no permission to list this", where=place.where, found=f"{place.url}: {_said(error)}",
        next="set the login of its file system in the environment, such as AWS_ACCESS_KEY_ID; FSSPEC_S3_ANON=true for public buckets",
    )  # fmt: skip


def _said(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
