"""The paths of a dataset repository and its card's `configs:` in, the files of one config and split out, as the datasets library takes them.

Rules: `configs:` of the README's YAML; else data/{split}-00000-of-00001*; else the words train, validation, test (and their like) as
names of folders, then of files; else everything is train. A config without `configs:` is a folder of its name. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from fsspec.utils import glob_translate

from curate.errors import CurateError, nearest

# datasets 5.2, data_files.py: SPLIT_KEYWORDS, the patterns, FILES_TO_IGNORE
KEYWORDS = {
    "train": ("train", "training"), "validation": ("validation", "valid", "dev", "val"), "test": ("test", "testing", "eval", "evaluation"),
}  # fmt: skip
SEPARATORS = "-._ 0-9"
IN_FOLDERS = ("**/{word}/**", "**/{word}[{sep}]*/**", "**/*[{sep}]{word}/**", "**/*[{sep}]{word}[{sep}]*/**")
IN_NAMES = ("**/{word}[{sep}]*", "**/*[{sep}]{word}[{sep}]*")
SHARDED = re.compile(r"data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*")
IGNORED = {"README.md", "config.json", "dataset_info.json", "dataset_infos.json", "dummy_data.zip", "dataset_dict.json"}


def chosen(paths: Sequence[str], configs: Any, config: str | None, split: str | None, where: str = "") -> list[str]:
    """Sorted paths of one split. CurateError names the configs or splits there are."""
    splits = _splits(paths, configs if isinstance(configs, list) else [], config, where)
    found = {name: files for name, files in splits.items() if files}
    if not found:
        raise CurateError(
            "the dataset has no data files", where=where, found=", ".join(sorted(paths)[:5]) or "an empty repository"
        )
    wanted = split or ("train" if "train" in found or len(found) > 1 else next(iter(found)))
    if wanted not in found:
        close = nearest(wanted, found) or list(found)
        raise CurateError(
            f"the dataset has no split {wanted!r}", where=f"{where.rpartition('.')[0]}.split", allowed=", ".join(close)
        )
    return sorted(found[wanted])


def _splits(paths: Sequence[str], configs: list[Any], config: str | None, where: str) -> dict[str, list[str]]:
    """split -> its files."""
    named = {str(one["config_name"]): one for one in configs if isinstance(one, dict) and "config_name" in one}
    if not named:
        return _by_convention(paths, _folder_of(paths, config, where))
    if config is None:
        default = [name for name, one in named.items() if len(named) == 1 or name == "default" or one.get("default")]
        if len(default) != 1:
            raise _no_config("the dataset has several configs", named, where)
        config = default[0]
    if config not in named:
        close = nearest(config, named)
        raise _no_config(f"the dataset has no config {config!r}", close or named, where)
    one = named[config]
    base = str(one.get("data_dir") or "").strip("/")
    files = one.get("data_files")
    if not files:
        return _by_convention(paths, f"{base}/" if base else "")
    return {
        split: [path for pattern in patterns for path in _matching(paths, f"{base}/{pattern}" if base else pattern)]
        for split, patterns in _patterns(files, where).items()
    }  # fmt: skip


def _no_config(what: str, names: Any, where: str) -> CurateError:
    shown = sorted(names)
    return CurateError(
        what,
        where=f"{where.rpartition('.')[0]}.config",
        allowed=", ".join(shown[:20]) + (f" and {len(shown) - 20} more" if len(shown) > 20 else ""),
    )


def _folder_of(paths: Sequence[str], config: str | None, where: str) -> str:
    """Without `configs:` a config is a folder, at the top or below data/."""
    if config is None or config == "default":
        return ""
    folder = next((f for f in (f"{config}/", f"data/{config}/") if any(path.startswith(f) for path in paths)), None)
    if folder is None:
        folders = {path.removeprefix("data/").partition("/")[0] for path in paths if "/" in path.removeprefix("data/")}
        raise _no_config(f"the dataset has no config {config!r}", nearest(config, folders) or folders or ["none"], where)
    return folder


def _patterns(files: Any, where: str) -> dict[str, list[str]]:
    """`data_files:` of a card: a pattern, patterns, or {split, path} objects."""
    if isinstance(files, str):
        return {"train": [files]}
    if isinstance(files, dict):
        return {str(split): [value] if isinstance(value, str) else list(value) for split, value in files.items()}
    if isinstance(files, list) and all(isinstance(one, str) for one in files):
        return {"train": files}
    if isinstance(files, list) and all(isinstance(one, dict) and {"split", "path"} <= set(one) for one in files):
        return {str(one["split"]): [one["path"]] if isinstance(one["path"], str) else list(one["path"]) for one in files}
    raise CurateError("the dataset's card has data_files: of no known form", where=where, found=str(files)[:200])


def _by_convention(paths: Sequence[str], folder: str) -> dict[str, list[str]]:
    inside = [path[len(folder) :] for path in paths if path.startswith(folder)]
    sharded: dict[str, list[str]] = {}
    for path in inside:
        if match := SHARDED.fullmatch(path):
            sharded.setdefault(match[1], []).append(folder + path)
    if sharded:
        return sharded
    for patterns in (IN_FOLDERS, IN_NAMES):
        found = {
            split: [
                folder + path for word in words for pattern in patterns
                for path in _matching(inside, pattern.format(word=word, sep=SEPARATORS))
            ] for split, words in KEYWORDS.items()
        }  # fmt: skip
        if any(found.values()):
            return {split: sorted(set(files)) for split, files in found.items()}
    return {"train": [folder + path for path in _matching(inside, "**")]}


def _matching(paths: Sequence[str], pattern: str) -> list[str]:
    """Paths a pattern means; hidden ones, and those in folders like __pycache__, only where it names them."""
    pattern = pattern.removeprefix("./").lstrip("/")
    form = re.compile(glob_translate(pattern))
    name = pattern.rpartition("/")[2]
    return [
        path for path in paths
        if form.match(path) and (path.rpartition("/")[2] not in IGNORED or path.rpartition("/")[2] == name)
        and _n_special(path, ".") == _n_special(pattern, ".") and _n_special(path, "__") == _n_special(pattern, "__")
    ]  # fmt: skip


def _n_special(path: str, sign: str) -> int:
    parts = path.split("/") if sign == "." else path.split("/")[:-1]
    return sum(part.startswith(sign) and bool(part.strip(".")) for part in parts)
