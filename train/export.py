"""A run or a checkpoint in; a folder that transformers opens out: weights, tokenizer, card, receipt, and export.json that lists them.

One checkpoint, the mean of several, or the one that measured best. Adapters stay adapters, or are merged into the model that they were
trained on. The folder is whole or not there, and never written over something else.
May import curate.errors, curate.store, mixture.export, train.*; torch, transformers, peft.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from curate.errors import CurateError
from curate.store import read_json, write_json
from mixture.export.folder import published, stated_of
from train import model_card
from train.adapt import ADAPTER
from train.average import DTYPES, write_mean
from train.checkpoint import LIST, OPTIMIZER, contents
from train.report.find import folder_of
from train.watch.log import read_log

RECORD = "export.json"
OURS = (LIST, "receipt.json", "README.md")  # of a checkpoint; README.md is peft's
NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass
class Exported:
    folder: str
    checkpoints: list[str]
    kind: str  # model | adapters
    n_parameters: int
    said: list[str] = field(default_factory=list)

    def data(self) -> dict:
        return asdict(self)

    def text(self) -> str:
        of = " and ".join(self.checkpoints) if len(self.checkpoints) < 3 else f"the mean of {len(self.checkpoints)} checkpoints"
        lines = [*self.said, f"{self.folder}: {self.kind} of {self.n_parameters:,} parameters, {of}"]
        loader = "AutoModelForCausalLM" if self.kind == "model" else "AutoPeftModelForCausalLM"
        return "\n".join([*lines, f"opens with {loader}.from_pretrained; README.md says what it is, its author says what for"])


def export(
    source: Path, to: Path, *, average: Sequence[str] = (), best: str | None = None, dtype: str | None = None, merge: bool = False
) -> Exported:
    """`average`: one number (the newest so many), or paths of checkpoints. `best`: loss or bits_per_byte, of all components or one
    (bits_per_byte:NAME). `dtype`: fp32, bf16 or fp16; None leaves it. Raises CurateError."""
    if dtype is not None and dtype not in DTYPES:
        raise CurateError("there is no such dtype", where="--dtype", found=dtype, allowed=", ".join(DTYPES))
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise CurateError(
            "an export is never written over something else", where=str(to), allowed="a new folder, or an empty one"
        )
    paths, said = chosen(Path(source), average, best)
    found = [contents(path) for path in paths]
    _check_one_run(paths, found)
    last, of_last = paths[-1], found[-1]
    is_adapter = (last / ADAPTER).is_file()
    if is_adapter and len(paths) > 1 and not merge:
        raise CurateError(
            "the mean of adapters is not the adapter of the mean", where="--average", allowed="--merge-adapters with it"
        )
    if merge and not is_adapter:
        raise CurateError("this checkpoint has no adapters", where="--merge-adapters", found=str(last))
    kind = "adapters" if is_adapter and not merge else "model"
    with published(to) as folder:
        with _merged(paths, found, folder.parent) if merge else nullcontext(list(paths)) as folders:
            n = write_mean(folders, folder, "adapter_model" if kind == "adapters" else "model", dtype)
            _copy_small(folders[-1], folder)
        _copy_small(last, folder, skip=("config.json", "generation_config.json", ADAPTER))
        if dtype and kind == "model":
            _say_dtype(folder / "config.json", dtype)
        shutil.copyfile(last / "receipt.json", folder / "receipt.json")
        exported = Exported(str(to), [path.name for path in paths], kind, n, said)
        about = model_card.About(
            exported, dtype, best, merge, of_last, read_json(last / "receipt.json"), read_log(last.parent / "log.jsonl")
        )
        exported.said += model_card.write(folder, about)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        outputs = [{"path": str(path.relative_to(folder)), **stated_of(path)} for path in files]
        record = {"kind": kind, "checkpoints": exported.checkpoints, "dtype": dtype, "merged": merge}
        write_json(folder / RECORD, {"export": record, "outputs": outputs})
    return exported


def chosen(source: Path, average: Sequence[str], best: str | None) -> tuple[list[Path], list[str]]:
    """Checkpoints in the order of their steps, and what is to be said of the choice."""
    if average and best:
        raise CurateError("either a mean or the best", where="--average --best", allowed="one of them")
    source = folder_of(source)
    is_one = (source / LIST).is_file()
    folder = source.parent if is_one else source
    kept = sorted(path.parent for path in folder.glob(f"step-*/{LIST}"))
    if not kept and not is_one:
        raise CurateError(
            "there is no checkpoint here",
            where=str(source),
            allowed="a run file, the folder that its save.to names, or a checkpoint",
        )
    if best:
        return best_of(kept, folder, best)
    if not average:
        return [source if is_one else kept[-1]], []
    if len(average) == 1 and average[0].isdigit():
        n = int(average[0])
        if not 2 <= n <= len(kept):
            raise CurateError(
                "there are not so many checkpoints to average", where="--average", found=str(n), allowed=f"2 to {len(kept)}",
                next="save.keep of the run file says how many are kept",
            )  # fmt: skip
        return kept[-n:], []
    paths = [Path(path) for path in average]
    if len({path.resolve() for path in paths}) < max(2, len(paths)):
        raise CurateError(
            "a mean is of different checkpoints", where="--average", found=", ".join(average), allowed="two or more"
        )
    return sorted(paths, key=lambda path: path.name), []


def best_of(kept: Sequence[Path], folder: Path, best: str) -> tuple[list[Path], list[str]]:
    """The kept checkpoint with the lowest `loss` or `bits_per_byte` on held-out text."""
    unit, _, name = best.partition(":")
    if unit not in ("loss", "bits_per_byte"):
        raise CurateError(
            "there is no such measure", where="--best", found=best, allowed="loss, bits_per_byte, bits_per_byte:COMPONENT"
        )
    values: dict[int, float] = {}
    names: set[str] = set()
    for event in read_log(folder / "log.jsonl").held_out:
        parts = {part: of[unit] for part, of in event["components"].items() if unit in of}
        names |= parts.keys()
        if parts and (not name or name in parts):
            values[event["step"]] = parts[name] if name else sum(parts.values()) / len(parts)
    steps = {int(path.name.removeprefix("step-")): path for path in kept}
    measured = {step: values[step] for step in steps if step in values}
    if not measured:
        raise CurateError(
            "no kept checkpoint was measured so", where="--best", found=best,
            allowed=f"components: {', '.join(sorted(names))}" if names else "",
            next="evaluate.held_out_every of the run file, at the steps of save.every",
        )  # fmt: skip
    step = min(measured, key=lambda s: (measured[s], s))
    table = ", ".join(f"step {s} {value:.4f}" for s, value in sorted(measured.items()))
    said = [f"{best}{'' if name else ', mean of the components'}: {table}; the least is step {step}'s"]
    if without := sorted(set(steps) - set(measured)):
        said.append(f"not measured there: {', '.join(f'step {s}' for s in without)}")
    return [steps[step]], said


def _check_one_run(paths: Sequence[Path], found: Sequence[dict]) -> None:
    for path, other in zip(paths[:-1], found[:-1], strict=True):
        for key in ("model_config", "adapt", "tokenizer_sha256"):
            if other["identity"].get(key) != found[-1]["identity"].get(key):
                raise CurateError(
                    "these checkpoints are of different models", where=str(path), found=f"another {key} than {paths[-1]}"
                )


@contextmanager
def _merged(paths: Sequence[Path], found: Sequence[dict], near: Path) -> Iterator[list[Path]]:
    """Folders of whole models, one for each checkpoint, on the disk of the export; gone afterwards."""
    with TemporaryDirectory(prefix=".merge-", dir=near) as temporary:
        folders = []
        for path, of in zip(paths, found, strict=True):
            folders.append(Path(temporary) / path.name)
            merge_into(path, of, folders[-1])
        yield folders


def merge_into(checkpoint: Path, found: dict, to: Path) -> None:
    """The model that the adapters were trained on, with them, in fp32: what was bf16 is so exactly."""
    from peft import PeftModel
    from transformers import AutoConfig, GenerationConfig

    from train.config import Adapt, ModelSpec
    from train.model import build
    from train.quiet import quieten

    quieten()

    spec, adapt = ModelSpec.model_validate(found["run"]["model"]), Adapt.model_validate(found["run"]["adapt"])
    assert adapt.lora is not None
    config = AutoConfig.for_model(**found["identity"]["model_config"])
    plain = adapt.model_copy(update={"lora": adapt.lora.model_copy(update={"quantize": "none"})})
    model = build(spec, plain, config).float()
    merged = PeftModel.from_pretrained(model, str(checkpoint)).merge_and_unload(safe_merge=True)
    if (checkpoint / "generation_config.json").is_file():
        merged.generation_config = GenerationConfig.from_pretrained(checkpoint)
    merged.save_pretrained(to)


def _copy_small(source: Path, folder: Path, skip: Sequence[str] = ()) -> None:
    """Everything of a checkpoint but weights, optimizer and what is ours."""
    for path in sorted(source.iterdir()):
        is_weight = ".safetensors" in path.name
        if path.is_file() and not is_weight and path.name not in (*OURS, *skip) and path.name != OPTIMIZER:
            shutil.copyfile(path, folder / path.name)


def _say_dtype(path: Path, dtype: str) -> None:
    config = json.loads(path.read_text())
    config["dtype"] = NAMES[dtype]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
