"""`curate plan RUN.yaml`: what a run will take, before it takes it.

A run file and a device in; plain data out, which curate/inspect/run_plan_screen.py renders. Writes nothing, needs no GPU and reads
no weights: of a model on the hub its config alone. Speed is what the user states, else a guess.
May import curate.*, mixture.batches, train.*.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from curate.errors import CurateError
from curate.manifest import read_manifest
from curate.recipe.files import load_extended
from curate.units import n_bytes
from mixture.batches import Phase, phases_of
from train.config import RunFile, load_run
from train.devices import SHORT, Device, known, present
from train.dpo.config import DpoFile, load_dpo
from train.fit import Setting, choose, settings_tried
from train.flops import Flops, count
from train.memory import RESERVE, Memory, peak, sizes_of
from train.model import config_of
from train.schedule import Curve
from train.steps import Plan, micro_rows, plan_run

MFU = (0.35, 0.50)  # guess: what well-configured trainers of 8B models publish (torchtitan, accelerate, NeMo: 35 to 47 %)


def report(
    run_file: str | Path, sets: Sequence[str] = (), *, device: str = "", memory: str = "", devices: int = 1, sharded: bool = False,
    tokens_per_second: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Raises CurateError where the run file, the manifest or the model does not fit together, or the device has no known memory."""
    run = _load(Path(run_file), sets)
    manifests = [read_manifest(path) for path in run.manifests]
    plan = plan_run(run, all_phases(manifests))
    lengths = list(dict.fromkeys(phase.sequence_length for phase in plan.steps.phases))
    config = config_of(run.model, manifests[0]["tokenizer"], max(lengths))
    on = device_of(device, memory)
    flops = {length: count(config, length, run.adapt, on.name) for length in lengths}
    step_tokens = _step_tokens(run, plan, manifests)
    data = {
        "name": run.name, "run_file": str(run_file), "model": _model(run, config), "steps": plan.n_steps,
        "tokens": plan.n_steps * step_tokens, "loss_tokens": _loss_tokens(manifests, run),
        "global_batch": step_tokens, "pairs": run.global_batch.count if isinstance(run, DpoFile) else None,
        "phases": _phases(plan), "schedule": [_words(curve) for curve in plan.schedule.curves],
        "checkpoints": _checkpoints(run, plan, config), "flops_per_token": {n: _flops(f) for n, f in flops.items()},
        "device": {"name": on.name, "memory": on.memory, "peak": on.peak, "source": on.source, "number": devices, "sharded": sharded},
        "hours": _hours(run, plan, flops, on, devices, tokens_per_second, step_tokens), "max_hours": run.stop.max_hours,
        "reserve": RESERVE,
    }  # fmt: skip
    try:
        data |= _memory(run, plan, config, on, devices, sharded)
    except CurateError as error:
        data |= {"memory": None, "why": error.what, "fits": None}
    return data


def _load(path: Path, sets: Sequence[str]) -> RunFile:
    """By its method."""
    return load_dpo(path, sets) if load_extended(path)[0].get("method") == "dpo" else load_run(path, sets)


def _step_tokens(run: RunFile, plan: Plan, manifests: Sequence[dict]) -> int:
    """Of a global batch, padding included; of pairs, which are as long as they are, the mean over the manifests without padding."""
    if run.global_batch.unit == "tokens":
        return run.global_batch.count
    tokens = sum(phase.get("tokens", phase["realised"]) for m in manifests for c in m["components"] for phase in c["phases"])
    return -(-tokens // max(1, plan.steps.n_steps))


def all_phases(manifests: Sequence[dict]) -> list[Phase]:
    """Those of all manifests, one after the other, named as in train/streams.py."""
    names = [phase.name for manifest in manifests for phase in phases_of(manifest)]
    found: list[Phase] = []
    for manifest in manifests:
        first = found[-1].end if found else 0
        for phase, stated in zip(phases_of(manifest), manifest["phases"], strict=True):
            name = f"{manifest['name']}/{phase.name}" if names.count(phase.name) > 1 else phase.name
            # a pair is two rows of the stated length, each of which the model reads apart
            length = stated["sequence_length"] if manifest.get("kind") == "preference" else phase.sequence_length
            found.append(phase._replace(name=name, first_index=first + phase.first_index, sequence_length=length))
    return found


def device_of(name: str, memory: str) -> Device:
    """What the user names, or else what is here."""
    if not name and not memory:
        return present()
    found = known(name)
    if memory:
        return Device(name or "a device", n_bytes(memory, "--memory"), found.peak, found.source)
    if found.memory is None:
        raise CurateError("this device is not known", where="--device", found=name, allowed=f"{SHORT}, or --memory '141 GB'")
    return found


def _model(run: RunFile, config: PretrainedConfig) -> dict[str, Any]:
    sizes, how = sizes_of(run, config), "lora" if run.adapt.lora else "full"
    if run.adapt.lora and run.adapt.lora.quantize != "none":
        how = "qlora"
    name = run.model.init if isinstance(run.model.init, str) else config.model_type
    return {
        "name": name, "adapt": how, "parameters": sizes.numbers, "trained": sizes.trained, "dtype": run.model.dtype,
        "weights": run.model.weights, "optimizer": run.optimizer.name, "checkpointing": run.model.checkpointing,
    }  # fmt: skip


def _phases(plan: Plan) -> list[dict[str, Any]]:
    steps, found = plan.steps, []
    for number, phase in enumerate(steps.phases):
        first = steps.first_step(number)
        n = max(0, min(steps.ends[number], plan.n_steps) - first)
        rows = {"rows": steps.rows[number], "sequence_length": phase.sequence_length}
        found.append({"phase": phase.name, "steps": n, "sequences": phase.n_rows, **rows})
    return found


def _loss_tokens(manifests: Sequence[dict], run: RunFile) -> int | None:
    """Of the whole manifest, so only of a run to its end; None where a manifest does not say."""
    if run.stop.after != "end_of_manifest":
        return None
    said = [phase.get("budget", {}).get("loss_tokens") for manifest in manifests for phase in manifest["phases"]]
    return None if None in said else sum(said)


def _words(curve: Curve) -> str:
    """Such as: 12,000 steps, wsd: warmup 120 steps to 2e-05, stable to step 10,800, then linear to 0."""
    said = f"warmup {curve.n_warmup:,} steps to {curve.peak:g}, " if curve.n_warmup else f"from {curve.peak:g}, "
    if curve.kind == "wsd":
        said += f"stable to step {curve.n_steps - curve.n_decay:,}, then {curve.n_decay:,} steps of {curve.shape} decay to {curve.floor:g}"
    elif curve.kind == "constant":
        said += "constant"
    elif curve.kind == "step":
        said += f"times {curve.factor:g} at steps {', '.join(f'{at:,}' for at in curve.at)}"
    else:
        power = f" (power {curve.power:g})" if curve.kind == "polynomial" else ""
        said += f"then {curve.kind}{power} to {curve.floor:g}"
    return f"{curve.n_steps:,} steps, {curve.kind}: {said}"


def _checkpoints(run: RunFile, plan: Plan, config: PretrainedConfig) -> dict[str, Any]:
    """A checkpoint holds weights (of adapters those alone) and the optimizer's state."""
    sizes = sizes_of(run, config)
    each = (sizes.gradients if run.adapt.lora else sizes.weights) + sizes.optimizer
    written = plan.n_steps // plan.save_every if plan.save_every else 0
    written += not plan.save_every or plan.n_steps % plan.save_every != 0
    kept = min(written, run.save.keep)
    return {"every": plan.save_every, "written": written, "kept": kept, "bytes_each": each, "bytes": each * (kept + 1)}


def _flops(flops: Flops) -> dict[str, Any]:
    return {
        "causal": flops.per_token_causal,
        "not_causal": flops.per_token,
        "recompute": flops.recompute_causal,
        "formula": flops.formula,
    }


def _hours(
    run: RunFile, plan: Plan, flops: dict[int, Flops], on: Device, devices: int, tokens_per_second: float | None, step_tokens: int
) -> dict[str, Any] | None:  # fmt: skip
    """{low, high, tokens_per_second, from}; None where neither a speed is stated nor the device's peak is known."""
    tokens = {n: 0 for n in flops}
    for number, phase in enumerate(plan.steps.phases):
        n = max(0, min(plan.steps.ends[number], plan.n_steps) - plan.steps.first_step(number))
        tokens[phase.sequence_length] += n * step_tokens
    if tokens_per_second:
        hours = sum(tokens.values()) / tokens_per_second / 3600
        return {"low": hours, "high": hours, "tokens_per_second": [tokens_per_second] * 2, "from": "the speed stated"}
    if not on.peak:
        return None
    again = run.model.checkpointing
    work = sum(n * (flops[length].per_token_causal + again * flops[length].recompute_causal) for length, n in tokens.items())
    low, high = (work / (share * on.peak * devices) / 3600 for share in reversed(MFU))
    speeds = [sum(tokens.values()) / hours / 3600 for hours in (high, low)]
    said = f"a guess: {MFU[0]:.0%} to {MFU[1]:.0%} of {on.peak / 1e12:,.0f} TFLOP/s" + (", recompute included" if again else "")
    return {"low": low, "high": high, "tokens_per_second": speeds, "from": said}


def _memory(run: RunFile, plan: Plan, config: PretrainedConfig, on: Device, devices: int, sharded: bool) -> dict[str, Any]:
    kind = "cpu" if on.name == "cpu" else "cuda"
    free = on.memory or 0
    rows: dict[int, int] = {}
    for phase in plan.steps.phases:
        length = phase.sequence_length
        if isinstance(run, DpoFile):
            rows[length] = 2 * max(1, run.micro_tokens // (2 * length))  # of pairs of full length: the most that one pass holds
        elif run.micro_batch == "auto" and kind != "cpu":
            rows[length] = choose(run, config, free, devices, length, sharded=sharded)
        else:
            rows[length] = micro_rows(run, plan, length, devices, kind)

    def passes_of(length: int) -> int:
        if isinstance(run, DpoFile):
            return -(-2 * run.global_batch.count // devices // rows[length])
        return -(-run.global_batch.count // length // devices // rows[length])

    def of(length: int) -> Memory:
        passes = passes_of(length)
        return peak(run, config, rows[length], length, world=devices, sharded=sharded, micro_steps=passes, device=kind)

    worst, memory = max(((length, of(length)) for length in rows), key=lambda pair: pair[1].total)
    found: dict[str, Any] = {
        "batches": [
            {"sequence_length": n, "micro_batch": r, "accumulation": passes_of(n)} for n, r in rows.items()
        ],
        "memory": {"parts": memory.parts, "total": memory.total, "at": memory.at, "moments": memory.moments, "sequence_length": worst},
        "fits": memory.fits(free),
    }  # fmt: skip
    if not found["fits"] and isinstance(run, DpoFile):
        found["tried"] = []
    elif not found["fits"]:
        tried = settings_tried(run, config, free, list(rows), rows[worst], devices, sharded, kind)
        first = plan.steps.phases[0].sequence_length
        found["tried"] = [_setting(one, max(rows) / first, run.micro_batch) for one in tried]
    return found


def _setting(one: Setting, times: float, asked: Any) -> dict[str, Any]:
    """`times`: micro_batch counts rows of the first phase, `rows` those of the longest."""
    micro_batch = int(one.rows * times)
    smaller = (f"micro_batch={micro_batch}",) if one.rows and micro_batch != asked else ()
    return {
        "setting": one.says, "sets": [*one.sets, *smaller], "devices": one.world, "sharded": one.sharded, "micro_batch": one.rows or 1,
        "total": one.memory.total, "fits": one.rows > 0,
    }  # fmt: skip
