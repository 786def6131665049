"""What `curate plan RUN.yaml` prints. In: the data of train/plan.py. Out: text. Imports inspect.tables and units."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

from curate.inspect.tables import count, paint, short, table
from curate.units import show_gib


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    """The plan as text."""
    model = data["model"]
    share = "" if model["trained"] == model["parameters"] else f", {short(model['trained'])} of them trained"
    lines = [
        paint(data["name"], "bold", colour) + f"  {model['name']}: {short(model['parameters'])} parameters{share}"
        f" ({model['adapt']}, {model['optimizer']}, weights {model['weights']}, calculation {model['dtype']})",
        "",
        *_steps(data),
        "",
        *_time(data),
        "",
    ]
    return "\n".join(lines + _memory(data, colour))


def _steps(data: Mapping[str, Any]) -> list[str]:
    asked = "" if data["loss_tokens"] is None else f", {short(data['loss_tokens'])} loss tokens"
    pairs = data.get("pairs")
    of = f"{count(pairs)} pairs, about {short(data['global_batch'])} tokens" if pairs else f"{short(data['global_batch'])} tokens"
    with_padding = "tokens, the reference's pass not counted" if pairs else "tokens with padding"
    lines = [f"{count(data['steps'])} steps of {of}: {short(data['tokens'])} {with_padding}{asked}"]
    by_length = {one["sequence_length"]: one for one in data.get("batches", [])}
    for phase in data["phases"]:
        what = "pairs of up to" if pairs else "sequences x"
        said = f"  {phase['phase']}: {count(phase['steps'])} steps of {phase['rows']} {what} {count(phase['sequence_length'])} tokens"
        if one := by_length.get(phase["sequence_length"]):
            each = "" if data["device"]["number"] == 1 else f" x {data['device']['number']} devices"
            said += f" = micro batch {one['micro_batch']} x accumulation {one['accumulation']}{each}"
        lines.append(said)
    lines += [f"  {'learning rate' if not k else '             '}  {words}" for k, words in enumerate(data["schedule"])]
    c = data["checkpoints"]
    every = f"every {count(c['every'])} steps and at the end" if c["every"] else "at the end"
    lines.append(f"  checkpoints  {every}: {c['written']} written, {c['kept']} kept, about {show_gib(c['bytes_each'])} each; "
                 f"leave {show_gib(c['bytes'])} of disk")  # fmt: skip
    return lines


def _time(data: Mapping[str, Any]) -> list[str]:
    lines = []
    for length, flops in data["flops_per_token"].items():
        lines.append(
            f"work of a token: {_work(flops['causal'])} causal, {_work(flops['not_causal'])} not ({count(int(length))} tokens a row)"
        )
        lines.append(f"  {flops['formula']}")
    if (hours := data["hours"]) is None:
        lines.append("hours: not known; --tokens-per-second 7k states a speed, --device h200 a device")
        return lines
    low, high = (_hours(hours[key]) for key in ("low", "high"))
    speeds = " to ".join(dict.fromkeys(short(n) for n in hours["tokens_per_second"]))
    lines.append(f"{low if low == high else f'{low} to {high}'} at {speeds} tokens/s ({hours['from']})")
    if data["max_hours"] and hours["high"] > data["max_hours"]:
        lines.append(f"  stop.max_hours {data['max_hours']:g} ends it sooner; the same command goes on")
    return lines


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{max(1, math.ceil(hours * 60))} min"
    return f"{hours:,.1f} hours" if hours < 48 else f"{hours:,.0f} hours ({hours / 24:,.1f} days)"


def _work(flops: float) -> str:
    return f"{flops / 1e9:,.1f} GFLOP" if flops >= 1e8 else f"{flops / 1e6:,.2f} MFLOP"


def _memory(data: Mapping[str, Any], colour: bool) -> list[str]:
    device, memory = data["device"], data["memory"]
    if memory is None:
        return [f"memory: not known ({data['why']})"]
    many = (
        ""
        if device["number"] == 1
        else f" of {device['number']} devices" + (", sharded" if device["sharded"] else ", data parallel")
    )
    rows = [[part, show_gib(size)] for part, size in memory["parts"].items()]
    lines = [f"peak memory on {device['name']}{many}, at {count(memory['sequence_length'])} tokens a row, in the {memory['at']}"]
    lines += [f"  {line}" for line in table(["part", "bytes"], [*rows, ["total", show_gib(memory["total"])]], "<>")]
    others = ", ".join(f"{name} {show_gib(total)}" for name, total in memory["moments"].items() if name != memory["at"])
    lines.append(f"  elsewhere: {others}")
    usable = (
        f"{show_gib(device['memory'] * (1 - data['reserve']))} of {show_gib(device['memory'])} can be used "
        f"({data['reserve']:.0%} left for what torch does not count, a guess)"
    )
    if data["fits"]:
        return [*lines, paint("fits", "green", colour) + f": {usable}"]
    lines.append(paint("! does not fit", "red", colour) + f": {usable}")
    if data.get("pairs"):
        return [*lines, "smaller: --set micro_tokens=N (two rows are the least), model.checkpointing=true, adapt: lora, FSDP2"]
    lines.append("tried, each on top of the one before, the global batch kept:")
    return lines + _tried(data["tried"], device["number"])


def _tried(tried: list[Mapping[str, Any]], devices: int) -> list[str]:
    rows = [
        [one["setting"], str(one["micro_batch"]), show_gib(one["total"]), "fits" if one["fits"] else "does not"] for one in tried
    ]
    lines = [f"  {line}" for line in table(["setting", "micro batch", "peak", ""], rows, "<>><")]
    fitting = [one for one in tried if one["fits"]]
    if not fitting:
        return [*lines, "nothing that keeps the global batch fits: shorter sequences, a smaller model, a device with more memory"]
    for one in dict.fromkeys([0, len(fitting) - 1]):
        best = fitting[one]
        launch = "" if best["devices"] == devices else f" (accelerate launch, FSDP2, {best['devices']} processes)"
        says = "the first that fits" if not one else f"the first on {devices} device{'s' * (devices > 1)}"
        lines.append(f"{says}: {best['setting']}{launch}")
        lines.append("  " + " ".join(f"--set {shlex.quote(setting)}" for setting in best["sets"]))
    return lines
