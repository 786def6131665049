"""`curate export BUILD DIR --tokens`: a mixture that trains from DIR alone, and the script that checks it.

In: a build folder with its manifest. Out: DIR with manifest.json, recipe.yaml, selection.parquet, sequences/, tokens/ (the token shards
that a sequence points into, all in one folder, as datatrove's DatatroveFolderDataset lists them), tokenizer/, verify.py. No text, and
no path but those recipe.yaml names; roots, arrays and shards are those of the build. Imports engine, errors, manifest, recipe, store
and mixture's export, stream, tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from curate.engine import progress
from curate.errors import CurateError
from curate.manifest import read_manifest, write_manifest
from curate.recipe import Recipe
from curate.store import read_json, write_atomic, write_json
from mixture.export import check
from mixture.export.folder import check_room, hand_over, identity, published, safe_names, standing, stated_of
from mixture.stream import CHUNK
from mixture.tokenizer import load_tokenizer
from mixture.tokenizer.files import SETTINGS

SUFFIXES = ("", ".index", ".metadata", ".loss")
SHARDS, CHUNKS, TEMPLATE = "sequences/shards.json", "sequences/chunks.npy", "tokenizer/chat_template.jinja"
SLICE = 1 << 22  # chunks rewritten at once


def export_tokens(build: Path, folder: Path, recipe: Recipe, *, link: bool = False) -> dict[str, Any]:
    """Write DIR, or find it there already. `link`: hard links instead of copies of the shards. The recipe says where the tokenizer is.

    Returns {export, folder, is_new, files, bytes, shards, shards_left_out, sequences, held_out_sequences, tokens, has_tokenizer, problem}.
    Raises CurateError where a file of the build is not what was written, or `folder` holds something else."""
    build = Path(build)
    manifest = read_manifest(build / "manifest.json")
    tokenizer, template, problem = _tokenizer(manifest, recipe)
    wanted = identity("tokens", manifest, tokenizer=[path.name for path in tokenizer])
    shards = read_json(build / SHARDS)
    used = _used(np.load(build / CHUNKS, mmap_mode="r"), len(shards["shards"]))
    if (record := standing(folder, wanted)) is None:
        record = _write(build, Path(folder), manifest, wanted, shards, used, link, tokenizer, template)
        is_new = True
    else:
        is_new = False
    return {
        "export": record["export"], "folder": str(folder), "is_new": is_new, "files": len(record["outputs"]),
        "bytes": sum(o["bytes"] for o in record["outputs"]), "shards": int(used.sum()), "shards_left_out": int((~used).sum()),
        "sequences": sum(phase["order"]["n_sequences"] for phase in record["phases"]),
        "held_out_sequences": record["held_out"]["sequences"],
        "tokens": sum(phase["budget"].get("tokens", phase["budget"]["realised"]) for phase in record["phases"]),
        "has_tokenizer": bool(tokenizer), "problem": problem,
    }  # fmt: skip


def _tokenizer(manifest: dict[str, Any], recipe: Recipe) -> tuple[list[Path], str | None, str]:
    """(files of the manifest's tokenizer, as train looks for them beside a manifest; a chat template that is not among them; why they
    are not there)."""
    try:
        tokenizer = load_tokenizer(recipe.tokenizer, recipe.path)
    except CurateError as error:
        return [], None, error.what
    if tokenizer.sha256 != manifest["tokenizer"]["sha256"]:
        return [], None, "the recipe's is not the one that made these tokens"
    paths = tokenizer.files.paths
    beside = [path for name in SETTINGS if (path := paths[0].parent / name).is_file()]
    if recipe.tokenizer.chat_template is not None:
        beside = [path for path in beside if path.name != Path(TEMPLATE).name]
    found = sorted([*paths, *beside], key=lambda path: path.name)
    return found, tokenizer.files.template if recipe.tokenizer.chat_template is not None else None, ""


def _used(chunks: np.ndarray, n_shards: int) -> np.ndarray:
    """bool (n_shards,): shards that a sequence points into."""
    used = np.zeros(n_shards, np.bool_)
    for first in range(0, len(chunks), SLICE):
        used[chunks["shard"][first : first + SLICE]] = True
    return used


def _write(
    build: Path, folder: Path, manifest: dict[str, Any], wanted: dict[str, Any], shards: dict[str, Any], used: np.ndarray,
    link: bool, tokenizer: list[Path], template: str | None,
) -> dict[str, Any]:  # fmt: skip
    stated = {output["path"]: output for output in manifest["outputs"]}
    names = _shard_names(manifest, shards["shards"], used)
    of_shards = {listed["path"] + suffix for listed in shards["shards"] for suffix in SUFFIXES}
    own = (path for path in stated if path in ("recipe.yaml", "selection.parquet") or Path(path).parts[0] == "sequences")
    plain = [path for path in own if path not in of_shards and path not in (SHARDS, CHUNKS)]
    moved = [(path + suffix, name + suffix) for path, name in names.items() for suffix in SUFFIXES if path + suffix in stated]
    n_bytes = {path: stated[path]["bytes"] for path in [*plain, CHUNKS, *(path for path, _ in moved)]}
    check_room(folder, sum(n_bytes.values()) - (sum(n_bytes[path] for path, _ in moved) if link else 0))
    with published(folder) as out, progress("export", sum(n_bytes.values())) as advance:
        written = {path: hand_over(build / path, out / path, stated[path], advance=advance) for path in plain}
        written[CHUNKS] = _write_chunks(build / CHUNKS, out / CHUNKS, stated[CHUNKS], used, advance)
        for path, name in moved:
            written[name] = hand_over(build / path, out / name, stated[path], link=link, advance=advance)
        for file in tokenizer:
            written[f"tokenizer/{file.name}"] = hand_over(file, out / "tokenizer" / file.name, None)
        if template is not None:
            write_atomic(out / TEMPLATE, template.encode())
            written[TEMPLATE] = stated_of(out / TEMPLATE)
        listed = [{**one, "path": names[one["path"]]} for one in shards["shards"] if one["path"] in names]
        write_json(out / SHARDS, {**shards, "shards": listed})
        written[SHARDS] = stated_of(out / SHARDS)
        written["verify.py"] = hand_over(Path(check.__file__), out / "verify.py", None)
        record = {
            **manifest, "outputs": [{"path": path, **written[path]} for path in sorted(written)], "export": wanted,
            "lineage": [{key: value for key, value in stage.items() if key != "path"} for stage in manifest["lineage"]],
        }  # fmt: skip
        write_manifest(out / "manifest.json", record)
    return record


def _shard_names(manifest: dict[str, Any], shards: list[dict[str, Any]], used: np.ndarray) -> dict[str, str]:
    """Path in the build -> path in the export, of the shards that are used: their new number and their source."""
    sources = {
        stage["fingerprint"]: stage["of"][0] for stage in manifest["lineage"] if stage["stage"] == "tokens" and stage.get("of")
    }
    plain = safe_names(sources.values())

    def named() -> Iterator[tuple[str, str]]:
        for number, shard in enumerate(np.flatnonzero(used).tolist()):
            path = shards[shard]["path"]
            source = next((plain[s] for fingerprint, s in sources.items() if fingerprint in Path(path).parts), "tokens")
            yield path, f"tokens/{number:05d}-{source}.ds"

    return dict(named())


def _write_chunks(
    source: Path, target: Path, stated: dict[str, Any], used: np.ndarray, advance: Callable[[int], None]
) -> dict[str, Any]:
    """The chunks, with the shards' new numbers; {bytes, sha256}."""
    copied = hand_over(source, target, stated, advance=advance)
    if used.all():
        return copied
    number = np.cumsum(used) - 1
    chunks = np.lib.format.open_memmap(target, mode="r+", dtype=CHUNK)
    for first in range(0, len(chunks), SLICE):
        chunks["shard"][first : first + SLICE] = number[chunks["shard"][first : first + SLICE]]
    chunks.flush()
    return stated_of(target)
