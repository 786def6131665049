"""Datasets of the Hugging Face hub: id, config, commit and split in, the repository's data files out, and their bytes. Holds
huggingface_hub.

Files are known by what the hub says of them: the sha256 of large ones, git's sha1 of small ones. HF_ENDPOINT, HF_TOKEN, a login of
`hf auth login` and HF_HUB_OFFLINE are heeded.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

from curate.errors import CurateError
from curate.recipe.places import COMMIT, Place, hub_path
from curate.sources.formats import BY_SUFFIX
from curate.sources.places import Opened, Remote, Unreachable, http
from curate.sources.places.hub_files import chosen
from curate.sources.stream import strip_compression

LOGIN = "hf auth login (or HF_TOKEN in the environment)"


def listed(place: Place) -> list[Remote]:
    """The data files of a config's split at a commit. Raises CurateError with the line to write where the revision floats."""
    if not COMMIT.fullmatch(place.revision or ""):
        commit = _info(place).sha
        raise CurateError(
            "a dataset of the hub needs a pinned revision", where=f"{place.where.rpartition('.')[0]}.revision",
            found=place.revision or "none", allowed="the 40 hex digits of a commit",
            next=f"write revision: {commit}   (what {place.revision or 'main'} is today)",
        )  # fmt: skip
    files = {file.path: file for file in _tree(place)}
    configs = card(place).get("configs") if "README.md" in files else None
    paths = chosen(list(files), configs, place.config, place.split, place.where)
    data = [path for path in paths if _suffix(path) in BY_SUFFIX]
    if not data:
        suffixes = ", ".join(sorted({_suffix(path) or path for path in paths})[:10])
        raise CurateError(
            "no file of the dataset has a format we read", where=place.where, found=suffixes, allowed=", ".join(BY_SUFFIX)
        )
    return [_remote(place, files[path]) for path in data]


def has_card(place: Place) -> bool:
    return any(file.path == "README.md" for file in _tree(place))


def card(place: Place) -> dict[str, Any]:
    """The YAML at the head of the dataset's README, empty where there is none."""
    from huggingface_hub import DatasetCard

    text = b"".join(opened(_file(place, "README.md", -1), 0).blocks).decode("utf-8", "replace")
    try:
        return dict(DatasetCard(text, ignore_metadata_errors=True).data.to_dict())
    except Exception:  # a card without YAML, or with such that is none, says nothing
        return {}


def latest(dataset: str, revision: str | None = None) -> str:
    """The commit a branch or tag (None: main) is at."""
    return str(_info(Place(dataset, hub=dataset, revision=revision)).sha)


def opened(remote: Remote, offset: int, n_bytes: int | None = None) -> Opened:
    from huggingface_hub.utils import build_hf_headers

    _check_online(remote.path)
    found = http.opened(remote, offset, n_bytes, build_hf_headers(library_name="veski"), _refused)
    return found._replace(version=remote.version)  # a commit's files do not change, whatever the server's cache calls them


def _remote(place: Place, file: Any) -> Remote:
    sha256 = file.lfs.sha256 if file.lfs is not None else ""
    return _file(place, file.path, file.size, sha256, "" if sha256 else file.blob_id)


def _file(place: Place, path: str, size: int, sha256: str = "", git_sha1: str = "") -> Remote:
    from huggingface_hub import hf_hub_url

    assert place.revision is not None
    url = hf_hub_url(place.hub, path, repo_type="dataset", revision=place.revision, endpoint=_endpoint())
    return Remote(url, hub_path(place.hub, place.revision, path), size, sha256 or git_sha1, sha256, git_sha1, is_hub=True)


def _tree(place: Place) -> Iterable[Any]:
    """Every file of the repository."""
    api = _api(place.where)
    with _said(place):
        entries = api.list_repo_tree(place.hub, repo_type="dataset", revision=place.revision, recursive=True)
        return [entry for entry in entries if hasattr(entry, "blob_id")]


def _info(place: Place) -> Any:
    api = _api(place.where)
    with _said(place):
        return api.dataset_info(place.hub, revision=place.revision)


def _api(where: str) -> Any:
    from huggingface_hub import HfApi

    _check_online(where)
    return HfApi(endpoint=_endpoint(), library_name="veski")


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _check_online(where: str) -> None:
    from huggingface_hub.constants import is_offline_mode

    if is_offline_mode():
        raise CurateError(
            "the hub may not be asked: HF_HUB_OFFLINE is set", where=where, next="unset HF_HUB_OFFLINE, then curate fetch RECIPE"
        )


@contextlib.contextmanager
def _said(place: Place) -> Iterator[None]:
    """What the hub's library raises inside becomes one message."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise gated(place.hub, place.where, _first_line(error)) from error
    except errors.RepositoryNotFoundError as error:
        raise CurateError(
            "no such dataset on the hub, or a private one", where=place.where, found=place.hub, next=LOGIN
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CurateError(
            "the dataset has no such revision", where=f"{place.where.rpartition('.')[0]}.revision", found=str(place.revision)
        ) from error
    except errors.HFValidationError as error:
        raise CurateError("this is no id of a dataset", where=place.where, found=place.hub, allowed="owner/name") from error
    except Exception as error:  # of the library's own transport: its types are not ours to know
        raise Unreachable("the hub does not answer", where=place.where, found=f"{place.hub}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def gated(dataset: str, where: str, found: str) -> CurateError:
    from huggingface_hub.constants import ENDPOINT

    page = f"{_endpoint() or ENDPOINT}/datasets/{dataset}"
    return CurateError(
        "the dataset is gated: its owners ask for your consent", where=where, found=found,
        next=f"accept its licence at {page}, then {LOGIN}, then curate fetch RECIPE",
    )  # fmt: skip


def _refused(url: str, where: str, answer: Any) -> CurateError | None:
    """What a refusal of the hub means beyond its status."""
    code = answer.headers.get("X-Error-Code", "")
    dataset = url.partition("/datasets/")[2].partition("/resolve/")[0]
    if code == "GatedRepo" or answer.status_code == 403:
        return gated(dataset, where, f"{dataset}: {answer.status_code} {code}")
    if answer.status_code == 401 or code == "RepoNotFound":
        return CurateError("no such dataset on the hub, or a private one", where=where, found=dataset, next=LOGIN)
    return None


def _suffix(path: str) -> str:
    name = strip_compression(path.rpartition("/")[2]).lower()
    return name[name.rfind(".") :] if "." in name else ""
