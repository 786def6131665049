"""`curate train merge RUN.yaml`: models in; a folder that transformers opens out, whole or not there, with card, receipt and list of files.

The same run again finds its result and does nothing. `--dry-run` reads everything, says all that is known, and writes nothing but the recipe
for mergekit. May import curate.*'s contract, mixture.export, train.*; tqdm.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.store import canonical_json, digest, read_json, write_json
from mixture.export.folder import first_wrong, published, stated_of
from train.merge import card, chat
from train.merge.config import MergeRun, load_merge
from train.merge.places import opened, parents_of
from train.merge.plan import Plan, check_disk, formula, plan
from train.merge.write import Advance, Sizes, check_finite, write

RECORD, RECEIPT = "export.json", "receipt.json"
VERSION = 1  # of the arithmetic and of what lies in the folder
NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
OURS = ("checkpoint.json", RECORD, RECEIPT, "README.md", "optimizer")


def run(run_file: str | Path, sets: Sequence[str] = (), *, dry_run: bool = False) -> int:
    """0; 3 where a task of the sweep's suite could not be run. Raises CurateError."""
    of = load_merge(Path(run_file), sets)
    to = Path(of.to)
    if of.write_mergekit is not None:
        from train.merge.mergekit import write_recipe

        print(write_recipe(of))
    parents = parents_of(of)
    if not dry_run and of.sweep is None and standing(to, identity(of, parents, 1.0)):
        print(f"{to}: done before, from the same models")
        return 0
    _check_free(to)
    with opened(of, _near(to)) as models:
        made = plan(of, models)
        print("\n".join(made.said))
        for warning in made.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        check_disk(to, made.n_bytes)
        with bar("look for NaN", made, 1 + 2 * len(of.vectors)) as advance:
            check_finite(made, advance)
        if dry_run:
            print(f"nothing is written; without --dry-run: {to}")
            return 0
        times = 1.0
        if of.sweep is not None:
            from train.merge.sweep import sweep

            swept = sweep(made, of.sweep, _small)
            print(swept.text())
            if swept.problems or swept.best is None:
                return 3 if swept.problems else 0
            times = swept.best
        if standing(to, identity(of, parents, times)):
            print(f"{to}: done before, from the same models")
            return 0
        print(publish(made, to, parents, times))
    return 0


def _near(to: Path) -> Path:
    """A folder on the disk of the result, for what is temporary."""
    return next(parent for parent in to.absolute().parents if parent.is_dir())


def _check_free(to: Path) -> None:
    if to.exists() and not (to.is_dir() and not any(to.iterdir())) and not (to / RECORD).is_file():
        raise CurateError("a merge is never written over something else", where=str(to), allowed="a new folder, or an empty one")


def identity(of: MergeRun, parents: Sequence[dict], times: float) -> dict[str, Any]:
    """What tells one result from another: settings and weights; not where they lie, nor the sweep that led here."""
    settings = of.canonical()
    kept = {key: settings[key] for key in ("rows", "dtype", "chat") if key in settings}
    vectors = [vector.settings() for vector in of.vectors]
    tokenizers = [place.tokenizer for _, place in of.places()]
    weights = [{k: v for k, v in parent.items() if k != "folder"} for parent in parents]
    said = {"settings": kept, "vectors": vectors, "times": times, "parents": weights, "tokenizers": tokenizers}
    return {"kind": "merge", "version": VERSION, "name": of.name, "of": digest(canonical_json(said))}


def standing(to: Path, wanted: dict[str, Any]) -> bool:
    """Whether this very result lies there, whole. Raises CurateError where another one does, or where it is damaged."""
    if not (to / RECORD).is_file():
        return False
    record = read_json(to / RECORD)
    if record["export"] != wanted:
        raise CurateError("a merge is never written over something else", where=str(to), found=f"another {record['export'].get('kind', 'export')}",
                          allowed="a new folder: --set to=FOLDER")  # fmt: skip
    if wrong := first_wrong(to, record["outputs"]):
        raise CurateError(
            "this merge lies there already, and is damaged",
            where=str(to),
            found=wrong,
            next=f"rm -r {to}, and run it again",
            exit_code=1,
        )
    return True


def publish(made: Plan, to: Path, parents: list[dict], times: float) -> str:
    with published(to) as folder, bar("merge", made, 1) as advance:
        sizes = write(made, folder, advance, times)
        _small(made, folder)
        receipt = receipt_of(made, sizes, parents, times)
        write_json(folder / RECEIPT, receipt)
        card.write(folder, made, receipt)
        outputs = [{"path": str(p.relative_to(folder)), **stated_of(p)} for p in sorted(folder.rglob("*")) if p.is_file()]
        write_json(folder / RECORD, {"export": identity(made.run, parents, times), "outputs": outputs})
    said = f"{to}: {receipt['formula']}, {receipt['n_parameters']:,} numbers; what was added has {receipt['share']:.2%} of a's length"
    return f"{said}\nreceipt {to / RECEIPT}"


def receipt_of(made: Plan, sizes: Sizes, parents: list[dict], times: float) -> dict[str, Any]:
    tensors = made.a.weights.tensors
    return {
        "method": "merge", "name": made.run.name, "formula": formula(made.run, times), "times": times, "parents": parents,
        "vectors": [vector.settings() for vector in made.run.vectors],
        "rows": made.run.rows, "dtype": made.run.dtype, "chat": made.run.chat,
        "n_parameters": sum(t.numbers for t in tensors.values()), "n_tensors": len(tensors),
        "n_changed": sum(s.is_changed and bool(times) for s in made.steps.values()),
        "vocabulary": [None if m is None else {"said": m.said, **m.counts} for m in made.matches],
        "share": sizes.share(), "blocks": sizes.rows(),
    }  # fmt: skip


def _small(made: Plan, folder: Path) -> None:
    """Config, tokenizer and the like of a; chat template and ends of generation of whom the run file says."""
    weights = {path.name for path in made.a.weights.files}
    for place in dict.fromkeys((made.a.weights.folder, made.a.small)):
        for path in sorted(place.iterdir()):
            is_ours = path.name in OURS or path.name.startswith("adapter_") or path.name in weights
            if (
                path.is_file()
                and not is_ours
                and ".safetensors" not in path.name
                and not path.name.endswith((".bin", ".pt", ".pth"))
            ):
                shutil.copyfile(path, folder / path.name)
    index = made.a.weights.folder / "model.safetensors.index.json"
    if index.is_file():
        _write_index(index, folder / index.name, made)
    config = json.loads((made.a.weights.folder / "config.json").read_text())
    if made.run.dtype:
        config["dtype"] = NAMES[made.run.dtype]
        config.pop("torch_dtype", None)
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    if made.run.chat == "b":
        chat.take(made.models["b1"], made.a, folder)


def _write_index(source: Path, target: Path, made: Plan) -> None:
    if not made.run.dtype:
        shutil.copyfile(source, target)
        return
    index = json.loads(source.read_text())
    index["metadata"] = {**index.get("metadata", {}), "total_size": made.n_bytes}
    target.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


@contextmanager
def bar(title: str, made: Plan, models: int) -> Iterator[Advance]:
    """By bytes; nothing where nobody looks."""
    from tqdm import tqdm

    total = models * sum(t.n_bytes for t in made.a.weights.tensors.values())
    with tqdm(total=total, desc=title, unit="B", unit_scale=True, disable=not sys.stderr.isatty(), leave=False) as drawn:
        yield lambda n: (drawn.update(n), None)[1]
