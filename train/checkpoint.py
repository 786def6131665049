"""A checkpoint folder, whole or absent: model, tokenizer, optimizer, receipt, and checkpoint.json that lists them all.

`step-000120/` appears by one rename after every file in it is on disk; what is read back is checked against its list of hashes.
There is no random state in it: every draw of the trainer is a function of (seed, step, row). Nor a scheduler: the rate is a
function of the step. The optimizer lies in torch's distributed format, its state by the names of the weights, which any number of
processes reads again, each its part. May import curate.errors, curate.store, train.model, train.zero; torch, accelerate, transformers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from accelerate import Accelerator
from torch.distributed.checkpoint import state_dict as states
from torch.distributed.fsdp import FSDPModule

from curate.errors import CurateError
from curate.store import file_sha256, read_json, write_json
from train import zero
from train.model import Scorer

LIST = "checkpoint.json"
OPTIMIZER = "optimizer"
EXTENDED = "stream_roots"  # a list that may grow at its end


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: `step` steps are done, the next row of the stream is `cursor`."""

    path: Path
    step: int
    cursor: int
    run: dict
    receipt: dict

    def load_optimizer(self, scorer: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Into an optimizer over the same weights, on any number of processes."""
        is_zero = zero.is_zero(optimizer)
        _divide_again(scorer)
        state = {"optimizer": (zero.empty_state if is_zero else states.get_optimizer_state_dict)(scorer, optimizer)}
        with _alone_or_not() as alone:
            dcp.load(state, checkpoint_id=self.path / OPTIMIZER, no_dist=alone)
        (zero.set_state if is_zero else states.set_optimizer_state_dict)(scorer, optimizer, state["optimizer"])


def name_of(step: int) -> str:
    return f"step-{step:06d}"


def save(
    folder: Path, step: int, cursor: int, scorer: Scorer, optimizer: torch.optim.Optimizer, accelerator: Accelerator, *,
    receipt: dict, identity: dict, run: dict, tokenizer: Sequence[Path], keep: int,
) -> Path:  # fmt: skip
    """Write `folder/step-N`, then remove all but the `keep` newest. Every process of a run calls this."""
    temporary, final = folder / f".{name_of(step)}.writing", folder / name_of(step)
    speaks = accelerator.is_main_process
    if speaks:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    _divide_again(scorer)
    if zero.is_zero(optimizer):
        state = {"optimizer": zero.state_of(scorer, optimizer, keep=speaks)}
    else:
        state = {"optimizer": states.get_optimizer_state_dict(scorer, optimizer)}
    with _alone_or_not() as alone:
        dcp.save(state, checkpoint_id=temporary / OPTIMIZER, no_dist=alone)
    weights = _gathered(scorer, accelerator)
    if speaks:
        # peft would ask the hub whether the vocabulary has grown, to save the embeddings whole; train_also saves them anyway
        adapters = {"save_embedding_layers": False} if hasattr(scorer.model, "peft_config") else {}
        scorer.model.save_pretrained(temporary, **weights, **adapters)
        if adapters:  # peft leaves out where the model is to stop, which SFT may have changed
            scorer.causal.generation_config.save_pretrained(temporary)
        for file in tokenizer:
            shutil.copyfile(file, temporary / file.name)
        write_json(temporary / "receipt.json", receipt)
        files = [
            {"name": str(file.relative_to(temporary)), "bytes": file.stat().st_size, "sha256": file_sha256(file)}
            for file in sorted(temporary.rglob("*"))
            if file.is_file()
        ]
        write_json(temporary / LIST, {"step": step, "cursor": cursor, "identity": identity, "run": run, "files": files})
        for path in [*temporary.rglob("*"), temporary]:
            _to_disk(path)
        if final.exists():  # a damaged one that this run went back behind
            _remove(final)
        temporary.rename(final)
        _to_disk(folder)
        for old in sorted(s for s in _steps(folder) if s <= step)[:-keep]:
            _remove(folder / name_of(old))
    accelerator.wait_for_everyone()
    return final


def _divide_again(scorer: torch.nn.Module) -> None:
    """FSDP2 leaves what lies outside the layers whole after a pass without a backward one; the optimizer knows the parts only."""
    for module in scorer.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@contextlib.contextmanager
def _alone_or_not() -> Iterator[bool]:
    """Whether there is one process only, which torch warns of though told so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield not torch.distributed.is_initialized()


def _gathered(scorer: Scorer, accelerator: Accelerator) -> dict[str, Any]:
    """The whole weights on the main process, where they are shared out among the processes; else nothing."""
    if not any(hasattr(p, "full_tensor") for p in scorer.parameters()):
        return {}
    options = states.StateDictOptions(full_state_dict=True, cpu_offload=True)
    whole = states.get_model_state_dict(scorer, options=options)
    once = {name for name, _ in scorer.named_parameters()}
    again = {
        name for name, _ in scorer.named_parameters(remove_duplicate=False)
    } - once  # tied: gathered twice, no longer one tensor
    return {"state_dict": {name.removeprefix("model."): value for name, value in whole.items() if name not in again}}


def newest(folder: Path, identity: dict, say: Callable[[str], None], allow: Collection[str] = ()) -> Checkpoint | None:
    """The newest whole checkpoint, or None where there is none yet. Older ones are tried, aloud, when a newer one is damaged.

    Raises CurateError when it was made from something else than `identity` says, but for the keys in `allow`, or when all are damaged.
    """
    steps = sorted(_steps(folder), reverse=True)
    for step in steps:
        path = folder / name_of(step)
        try:
            return read(path, identity, say, allow)
        except _DamagedError as error:
            say(f"{path} is damaged ({error.what}); trying the one before it")
    if steps:
        raise CurateError(
            "no checkpoint here is whole", where=str(folder), found=f"{len(steps)} damaged", exit_code=1,
            next="save to another folder (save.to) to start from the beginning",
        )  # fmt: skip
    return None


def read(path: Path, identity: dict, say: Callable[[str], None], allow: Collection[str] = ()) -> Checkpoint:
    """A checkpoint whose files are all as they were written. Raises CurateError as `newest` does."""
    found = contents(path)
    differences = _differences(found.pop("identity"), identity)
    refused = [text for key, text in differences if key not in allow]
    if refused:
        raise CurateError(
            "this checkpoint belongs to another training: " + "; ".join(refused), where=str(path),
            next="give the old values back to go on with it, or train anew: --set save.to=FOLDER, or remove "
            + str(path.parent) + ("" if EXTENDED in str(differences) else ", or name what may differ: --set 'allow=[KEY]'")
            + (" (the mixture was built again, from other input or another recipe)" if EXTENDED in str(differences) else ""),
        )  # fmt: skip
    for _, text in differences:
        say(f"allowed: {text}")
    return Checkpoint(path, found["step"], found["cursor"], found["run"], read_json(path / "receipt.json"))


def clean(folder: Path) -> None:
    """Remove what an interrupted save left behind."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


class _DamagedError(CurateError):
    pass


def contents(path: Path) -> dict:
    """checkpoint.json of a whole checkpoint: every file is as it was written. Raises CurateError."""
    try:
        found = read_json(path / LIST)
    except FileNotFoundError:
        raise _DamagedError(f"{LIST} is missing", where=str(path), exit_code=1) from None
    except CurateError as error:
        raise _DamagedError(f"{LIST} is unreadable", where=str(path), exit_code=1) from error
    for file in found["files"]:
        at = path / file["name"]
        if not at.is_file() or at.stat().st_size != file["bytes"] or file_sha256(at) != file["sha256"]:
            raise _DamagedError(f"{file['name']} is not what was written", where=str(path), exit_code=1)
    return found


def _differences(saved: dict, wanted: dict) -> list[tuple[str, str]]:
    """(key, a sentence) of everything that differs; a list of streams that goes on from the old one does not."""
    said: list[tuple[str, str]] = []
    for key in sorted({*saved, *wanted}):
        was, now = saved.get(key), wanted.get(key)
        if key == EXTENDED and was and now and now[: len(was)] == was:
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            said += [(key, f"{key}.{text}") for _, text in _differences(was, now)]
        elif was != now:
            said.append((key, f"{key} was {_short(was)} and is now {_short(now)}"))
    return said


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:16]}..."


def _steps(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit()]


def _remove(path: Path) -> None:
    """Rename first: a half-removed checkpoint must not look like one."""
    doomed = path.with_name(f".{path.name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
