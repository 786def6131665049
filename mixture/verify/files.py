"""Every byte of every file: JSON that hashes itself, files against the sha256 written beside them, stages against their roots.

In: the build folder and the manifest's lineage. Out: findings that name the file, and the row group of a damaged Parquet file.
Imports schema, store and mixture.verify.report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.store import canonical_json, digest, file_sha256
from mixture.verify.report import Report


def shown(path: Path, build_dir: Path) -> str:
    """A file's name in findings: from the build folder, with ../ where it lies in the store."""
    return Path(_relative(path.resolve(), build_dir.resolve())).as_posix()


def _relative(path: Path, base: Path) -> str:
    common = next(parent for parent in [base, *base.parents] if path.is_relative_to(parent))
    up = len(base.relative_to(common).parts)
    return "/".join([".."] * up + list(path.relative_to(common).parts))


def read_exact(path: Path, report: Report, name: str) -> dict[str, Any] | None:
    """A file of store.write_json whose every byte is as it was written; None (and a finding) otherwise."""
    try:
        data = path.read_bytes()
        value = json.loads(data)
        body = {key: item for key, item in value.items() if key != "self"}
        if value["self"] != digest(canonical_json(body)):
            report.add(name, "its content does not match its own hash")
            return None
        written = (json.dumps({**body, "self": value["self"]}, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
        if written != data:
            at = next((i for i, (a, b) in enumerate(zip(written, data, strict=False)) if a != b), min(len(written), len(data)))
            report.add(name, "its bytes are not those that were written", f"byte {at}")
            return None
    except FileNotFoundError:
        report.add(name, "the file is missing")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        report.add(name, f"damaged: {error}")
    else:
        report.count(files=1, bytes=len(data))
        return body
    return None


def check_file(path: Path, stated: Mapping[str, Any], report: Report, name: str) -> bool:
    """Bytes and sha256 as stated; a damaged Parquet file is looked through for the row groups that cannot be read."""
    if not path.is_file():
        report.add(name, "the file is missing")
        return False
    size = path.stat().st_size
    if size != stated["bytes"]:
        report.add(name, f"{size:,} bytes, {stated['bytes']:,} were written", _damaged_rows(path))
        return False
    if file_sha256(path) != stated["sha256"]:
        report.add(name, "its bytes are not those that were written (sha256)", _damaged_rows(path))
        return False
    report.count(files=1, bytes=size)
    return True


def _damaged_rows(path: Path) -> str:
    if path.suffix != ".parquet":
        return ""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        return f"footer: {str(error).splitlines()[0]}"
    row = 0
    for group in range(file.num_row_groups):
        n_rows = file.metadata.row_group(group).num_rows
        try:
            file.read_row_group(group).validate(full=True)
        except (pa.ArrowException, OSError) as error:
            return f"rows {row}..{row + n_rows - 1}: {str(error).splitlines()[0]}"
        row += n_rows
    return ""


def check_stage(folder: Path, stated: Mapping[str, Any], report: Report, build_dir: Path) -> dict[str, Any] | None:
    """One stage folder, down to the last file. `stated`: its entry of the lineage. Returns stage.json where that is sound.

    Findings name the file; the result's "damaged" is {key: names of the shard's files that cannot be trusted}.
    """
    name = shown(folder / "stage.json", build_dir)
    info = read_exact(folder / "stage.json", report, name)
    if info is None:
        return None
    report.equal(name, "root", info["root"], stated["root"])
    report.equal(name, "fingerprint", stated["fingerprint"], info["fingerprint"])
    root = digest(*(part for key in sorted(info["shards"]) for part in (key, info["shards"][key]["root"])))
    report.equal(name, "root over its shards", info["root"], root)
    report.equal(name, "keys", info["keys"], sorted(info["shards"]))
    report.equal(name, "rows", info["rows"], sum(shard["rows"] for shard in info["shards"].values()))
    shards = report.each(info["keys"], lambda key, own: _check_shard(folder / key, info["shards"][key], own, build_dir))
    damaged = dict(zip(info["keys"], shards, strict=True))
    info["damaged"] = {key: names for key, names in damaged.items() if names}
    return info


def _check_shard(folder: Path, stated: Mapping[str, Any], report: Report, build_dir: Path) -> set[str]:
    name = shown(folder / "shard.json", build_dir)
    if not folder.is_dir():
        report.add(shown(folder, build_dir), "the shard is missing")
        return {file["name"] for file in stated["files"]}
    own = read_exact(folder / "shard.json", report, name)
    if own is not None and own != stated:
        report.add(name, "it is not the shard that stage.json lists")
    listed = {file["name"]: file for file in stated["files"]}  # as stage.json has them, whatever befell shard.json
    bad = {n for n, file in listed.items() if not check_file(folder / n, file, report, shown(folder / n, build_dir))}
    for stray in sorted(p.name for p in folder.iterdir() if p.name not in listed and p.name != "shard.json"):
        report.add(shown(folder / stray, build_dir), "no such file was written here")
    return bad


# Steps on the way that no manifest lists.
CACHES = (
    "raw_hashes", "ingest_runs", "ingest_names", "domain_numbers", "domain_lines", "repeat_keys", "repeat_counts", "anchors",
    "anchor_repeats", "contamination_items", "contamination_matches", "similar_index",
)  # fmt: skip


def check_caches(store: Path, report: Report, build_dir: Path) -> None:
    """What ingest keeps to read a new file alone next time, and what web domains and repeats are counted from: no manifest lists it,
    so each shard.json speaks for its own files."""
    for stage in CACHES:
        for file in sorted((store / stage).glob("*/stage.json")):
            read_exact(file, report, shown(file, build_dir))
        for folder in sorted(p for p in (store / stage).glob("*/*") if p.is_dir()):
            own = read_exact(folder / "shard.json", report, shown(folder / "shard.json", build_dir))
            if own is not None:
                _check_shard(folder, own, report, build_dir)


def check_outputs(build_dir: Path, manifest: Mapping[str, Any], report: Report, hashed: Mapping[Path, tuple[int, str]]) -> bool:
    """The manifest's list of files. Those of stages (`hashed`: bytes, sha256 as stage.json states them) were read there.

    True where every file of the build folder is as it was written."""
    sound = True
    for stated in manifest["outputs"]:
        path = (build_dir / stated["path"]).resolve()
        if path not in hashed:
            sound = check_file(path, stated, report, stated["path"]) and sound
        elif hashed[path] != (stated["bytes"], stated["sha256"]):
            report.add(stated["path"], "manifest.json and stage.json state different files")
    return sound
