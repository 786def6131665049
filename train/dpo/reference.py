"""Log-probabilities that the reference gives to answers: computed once, kept by content, used again by every run that asks for the same.

An answer's name is the hash of its prompt's and its own token ids; a folder of the store belongs to one reference (its weights and the type it
calculates in). Pairs in; log-probabilities out, and files `part-*.npy` of (name, log-probability), each written whole. Values are float32 as the
forward pass gave them: another run reads the same bits, whatever its batches are.
May import curate.errors, curate.store, mixture.stream (hash_row), train.*; torch, accelerate.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from curate.errors import CurateError
from curate.store import canonical_json, digest, write_atomic
from mixture.stream import hash_row
from train import lineage
from train.batch import EMPTY
from train.dpo.batch import Micro, micro_batches, to
from train.dpo.config import DpoFile
from train.dpo.losses import Losses
from train.model import fresh_config

if TYPE_CHECKING:
    from mixture.pairs import Pair

VERSION = 1
RECORD = np.dtype([("name", "V16"), ("log_probability", "<f4")])
PART = 8192  # pairs between two files: what an interruption can lose


def name_of(prompt: np.ndarray, answer: np.ndarray) -> bytes:
    """16 bytes of content."""
    return hash_row(np.array([len(prompt), len(answer)]), [prompt, answer])


def identity(settings: DpoFile) -> dict[str, Any]:
    """What a log-probability depends on besides the ids; without paths, so that a copy of a model elsewhere is the same."""
    model = settings.model
    place, revision = (
        (settings.reference.init, settings.reference.revision) if settings.reference else (model.init, model.revision)
    )
    if isinstance(place, str) and not place.endswith(".json"):
        found = lineage.of("reference", place, revision)
        weights: Any = found.get("weights_sha256", [place, revision])
    else:
        weights = [fresh_config(model), model.seed]
    lora = settings.adapt.lora
    held = model.dtype if lora or settings.reference else model.weights
    return {"version": VERSION, "weights": weights, "dtype": [model.dtype, held], "quantize": lora.quantize if lora else "none"}


def open_store(settings: DpoFile, accelerator: Accelerator) -> Store:
    """One process reads the files of the weights to know what they are."""
    found = broadcast_object_list([identity(settings) if accelerator.is_main_process else None])[0]
    return Store(Path(settings.reference_store), found)


class Store:
    """Name -> log-probability, of one reference."""

    def __init__(self, root: Path, identity: dict[str, Any]) -> None:
        self.folder = root / digest(canonical_json(identity))[:32]
        self.known: dict[bytes, float] = {}
        self.read()

    def read(self) -> None:
        for path in sorted(self.folder.glob("part-*.npy")):
            data = path.read_bytes()
            if path.name != _file_name(data):
                raise CurateError(
                    "these reference log-probabilities are not what was written", where=str(path), exit_code=1,
                    next=f"rm {path}: they are computed again",
                )  # fmt: skip
            part = np.load(io.BytesIO(data))
            self.known.update(zip((name.tobytes() for name in part["name"]), part["log_probability"].tolist(), strict=True))

    def add(self, found: dict[bytes, float]) -> None:
        """One more file, whole or absent; the same answers again are the same file."""
        part = np.array([(np.void(name), value) for name, value in sorted(found.items())], RECORD)
        self.folder.mkdir(parents=True, exist_ok=True)
        data = io.BytesIO()
        np.save(data, part)
        write_atomic(self.folder / _file_name(data.getvalue()), data.getvalue())
        self.known.update(found)

    def lacks(self, pair: Pair) -> bool:
        return any(name not in self.known for name in names_of(pair))

    def of(self, micro: Micro) -> Tensor:
        """(2k,) float32 of a micro batch; 0 for fillers."""
        both = [(0.0, 0.0) if pair is None else tuple(self.known[name] for name in names_of(pair)) for pair in micro.pairs]
        chosen, rejected = zip(*both, strict=True)
        return torch.tensor([*chosen, *rejected], dtype=torch.float32)


def _file_name(data: bytes) -> str:
    return f"part-{digest(data)[:16]}.npy"


def names_of(pair: Pair) -> tuple[bytes, bytes]:
    return name_of(pair.prompt_ids, pair.chosen_ids), name_of(pair.prompt_ids, pair.rejected_ids)


def missing(store: Store | None, pairs: Iterator[Pair], accelerator: Accelerator) -> list[Pair]:
    """Pairs of which an answer is not in the store, each content once. The main process looks at them all, the others hear which.

    Raises CurateError, in every process, where `pairs` does."""
    found: dict[tuple[bytes, bytes], Pair] = {}
    problem: CurateError | None = None
    if accelerator.is_main_process:
        try:
            for pair in pairs:
                if store is not None and store.lacks(pair):
                    found.setdefault(names_of(pair), pair)
        except CurateError as error:
            problem = error
    heard = broadcast_object_list([list(found.values()), problem])
    if heard[1] is not None:
        raise heard[1]
    wanted: list[Pair] = heard[0]
    return wanted


def compute(
    store: Store, pairs: Sequence[Pair], losses: Losses, model: torch.nn.Module, accelerator: Accelerator, micro_tokens: int,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """By forward passes without gradient, all processes together; `model` is in training mode again afterwards if it was before."""
    was_training = model.training
    model.eval()
    for first in range(0, len(pairs), PART):
        part = pairs[first : first + PART]
        lines = _lines(part, losses, model, accelerator, micro_tokens)
        if accelerator.is_main_process:
            store.add(dict(_named(part, lines)))
            say(f"reference: {min(first + PART, len(pairs)):,} of {len(pairs):,} pairs, in {store.folder}")
        accelerator.wait_for_everyone()
    losses.forget()
    model.train(was_training)
    store.read()


def _lines(
    pairs: Sequence[Pair], losses: Losses, model: torch.nn.Module, accelerator: Accelerator, micro_tokens: int
) -> np.ndarray:
    """(pairs, 3) float64: place in `pairs`, log-probabilities of the chosen and of the rejected answer."""
    rank, world = accelerator.process_index, accelerator.num_processes
    found = [torch.zeros(0, 3, dtype=torch.float64, device=accelerator.device)]
    for micro in micro_batches(range(len(pairs)), pairs, micro_tokens, rank, world):
        inputs = to(placeholders(micro, losses), accelerator.device)
        chosen, rejected = losses.reference(model, inputs).double().chunk(2)
        found.append(torch.stack([torch.tensor(micro.index, device=chosen.device).double(), chosen, rejected], 1))
    lines = accelerator.gather(torch.cat(found)).cpu().numpy()
    return lines[lines[:, 0] != EMPTY]


def placeholders(micro: Micro, losses: Losses) -> dict[str, Tensor]:
    """What KTOTrainer reads besides when it is asked for log-probabilities: a KL row of two tokens, of which nothing is asked."""
    return micro.inputs if losses.loss.is_paired else {**micro.inputs, **kl_rows(2 * len(micro))}


def kl_rows(n: int) -> dict[str, Tensor]:
    nothing, seen = torch.zeros(n, 2, dtype=torch.int64), torch.ones(n, 2, dtype=torch.int64)
    return {"KL_input_ids": nothing, "KL_attention_mask": seen, "KL_completion_mask": nothing}


def _named(pairs: Sequence[Pair], lines: np.ndarray) -> Iterator[tuple[bytes, float]]:
    for place, chosen, rejected in lines:
        a, b = names_of(pairs[int(place)])
        yield a, float(chosen)
        yield b, float(rejected)
