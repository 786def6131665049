"""After an out-of-memory error: the one next setting that keeps the global batch, as the `--set` to write. May import curate.*, train.*."""

from __future__ import annotations

import shlex

from transformers import PretrainedConfig

from curate.errors import CurateError
from curate.units import show_gib
from train.config import RunFile
from train.fit import changed, ladder
from train.memory import peak


def next_setting(
    run: RunFile, micro_rows: int, world: int = 1, *, config: PretrainedConfig | None = None, length: int = 0, first_length: int = 0,
    sharded: bool = False,
) -> str:  # fmt: skip
    """`micro_rows` rows of `length` tokens were in a forward pass. With the model's config it is said what the setting saves by the plan.

    `first_length`: of the first phase's rows, which are those that micro_batch counts; where it is left out, `length`.
    """
    if micro_rows > 1:
        half = micro_rows // 2
        saving = _saving((run, run), config, (micro_rows, half), length, (world, world), (sharded, sharded))
        return f"--set micro_batch={max(1, half * length // first_length if first_length else half)}  (smaller passes, more of them; {saving})"
    for says, sets, n, is_sharded in ladder(run, length or 1, world, sharded):
        saving = _saving((run, changed(run, sets)), config, (1, 1), length, (world, n), (sharded, is_sharded))
        how = " ".join(f"--set {shlex.quote(one)}" for one in sets) or f"accelerate launch with FSDP2 and --num_processes {n}"
        return f"{how}  ({says}; {saving})"
    return "nothing smaller is left: a device with more memory, shorter sequences or a smaller model"


def _saving(
    runs: tuple[RunFile, RunFile], config: PretrainedConfig | None, rows: tuple[int, int], length: int, world: tuple[int, int],
    sharded: tuple[bool, bool],
) -> str:  # fmt: skip
    if config is None:
        return "the global batch stays"
    try:
        was, now = (peak(run, config, rows[k], length, world=world[k], sharded=sharded[k]).total for k, run in enumerate(runs))
    except CurateError:  # a model whose memory cannot be told
        return "the global batch stays"
    return f"planned peak {show_gib(was)} -> {show_gib(now)}, the global batch stays"
