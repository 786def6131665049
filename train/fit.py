"""What fits a device: rows of a forward pass for `micro_batch: auto`, and the settings to try, in their order, where nothing does.

No setting here changes the global batch. The order is that of what it costs: nothing, time, digits, devices, weights that are not trained.
May import curate.*, train.*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PretrainedConfig

from curate.errors import CurateError
from curate.recipe.files import apply_set
from train.config import RunFile
from train.memory import RESERVE, Memory, peak
from train.steps import AUTO_TOKENS_ELSEWHERE

MOST_TOKENS = 32768  # of a forward pass on an accelerator: more does not make large models faster (guess)


@dataclass(frozen=True)
class Setting:
    """`sets`: key=value, on top of the run file. `rows` that fit; 0 where not even one does, and `memory` is that of one."""

    says: str
    sets: tuple[str, ...]
    world: int
    sharded: bool
    rows: int
    memory: Memory


def choose(
    run: RunFile, config: PretrainedConfig, free_bytes: int, world: int = 1, length: int = 0, *, sharded: bool = False, most: int | None = None,
    device: str = "cuda",
) -> int:  # fmt: skip
    """Rows of `length` tokens for one forward pass on a device with so much free memory (before the model is there); at least 1.

    As many as fit and do good, and then as few as the same number of passes allows: 9 rows of which 8 fit are 5 and 4.
    """
    length = length or run.global_batch.count
    each = max(1, run.global_batch.count // length // world)
    limit = min(each, most or max(1, MOST_TOKENS // length))
    try:
        rows = max(1, rows_that_fit(run, config, free_bytes, length, limit, world, sharded, device)[0])
    except CurateError:  # a model whose memory cannot be told
        rows = min(limit, max(1, AUTO_TOKENS_ELSEWHERE // length))
    return -(-each // -(-each // rows))


def rows_that_fit(
    run: RunFile,
    config: PretrainedConfig,
    free: int,
    length: int,
    limit: int,
    world: int = 1,
    sharded: bool = False,
    device: str = "cuda",
) -> tuple[int, Memory]:
    """The most rows up to `limit` (0: none) and their memory, that of one where none fits. Memory grows with rows along a line."""

    def of(rows: int) -> Memory:
        passes = -(-run.global_batch.count // length // world // rows)
        return peak(run, config, rows, length, world=world, sharded=sharded, micro_steps=passes, device=device)

    if (whole := of(limit)).fits(free):
        return limit, whole
    one = of(1)
    if limit == 1 or not one.fits(free):
        return 0, one
    each = max(1, (whole.total - one.total) / (limit - 1))
    rows = max(1, min(limit - 1, int((free * (1 - RESERVE) - one.total) / each) + 1))
    while not (found := of(rows)).fits(free):
        rows -= 1
    return rows, found


def ladder(run: RunFile, length: int, world: int, sharded: bool) -> Iterator[tuple[str, tuple[str, ...], int, bool]]:
    """(what it is, settings, processes, sharded), each on top of the one before; left out is what the run has already."""
    full, model = run.adapt.full is not None, run.model
    if not model.checkpointing:
        yield "gradient checkpointing", ("model.checkpointing=true",), world, sharded
    if full and model.weights == "fp32" and run.optimizer.name in ("adamw", "adamw_8bit"):
        sets = ("model.dtype=bf16", "model.weights=bf16", "optimizer.rounding=stochastic")
        yield "bf16 weights, rounded by lot", sets[model.dtype == "bf16" :], world, sharded
    if full and run.optimizer.name in ("adamw", "muon"):
        yield "8-bit optimizer", ("optimizer.name=adamw_8bit",), world, sharded
    for n in (2, 4, 8, 16):
        if full and n > world and run.global_batch.count // length % n == 0:
            yield f"FSDP over {n} devices", (), n, True
    if full:
        yield "LoRA", ("adapt=lora", "model.dtype=bf16", "model.weights=fp32", "optimizer.rounding=nearest"), world, sharded
    if full or (run.adapt.lora and run.adapt.lora.quantize == "none"):
        yield "QLoRA", ("adapt={lora: {quantize: nf4}}" if full else "adapt.lora.quantize=nf4",), world, sharded


def settings_tried(
    run: RunFile, config: PretrainedConfig, free: int, lengths: Sequence[int], rows: int, world: int = 1, sharded: bool = False,
    device: str = "cuda",
) -> list[Setting]:  # fmt: skip
    """From the run as it is, `rows` of the longest sequences in a pass, to the first setting that fits on as many devices."""
    length = max(lengths)
    tried: list[Setting] = []
    sets: dict[str, str] = {}  # by key: a later one takes the place of an earlier one
    for says, more, n, is_sharded in [("as it is", (), world, sharded), *ladder(run, length, world, sharded)]:
        if n > world and any(one.rows for one in tried):
            continue  # fewer devices do
        sets |= {one.partition("=")[0]: one for one in more}
        asked = changed(run, list(sets.values()))
        fitting, memory = rows_that_fit(
            asked, config, free, length, min(rows, run.global_batch.count // length // n), n, is_sharded, device
        )
        tried.append(Setting(says, _new(run, sets), n, is_sharded, fitting, memory))
        if fitting and n == world:
            break
    return tried


def _new(run: RunFile, sets: dict[str, str]) -> tuple[str, ...]:
    """Settings that the run file does not have already."""
    return tuple(one for one in sets.values() if changed(run, [one]) != run)


def changed(run: RunFile, sets: Sequence[str]) -> RunFile:
    """The run with key=value settings on top."""
    data = run.canonical()
    for one in sets:
        apply_set(data, one)
    return RunFile.model_validate(data)
