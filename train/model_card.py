"""README.md of an exported model: what a checkpoint, its receipt and its log say; no figure that was not counted or measured.

What is to be written by people (intended use, limits, licence) is left open, and said to be. The hub's YAML head is in front.
May import curate.errors, curate.store, mixture.export.card, train.watch.log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError
from curate.store import read_json
from mixture.export.card import languages
from train.watch.log import History

if TYPE_CHECKING:
    from train.export import Exported

OPEN = "*To be written by its author.*"
METHODS = {"cpt": "Continued pretraining", "sft": "Supervised fine-tuning", "dpo": "Preference optimisation"}


@dataclass
class About:
    exported: Exported
    dtype: str | None
    best: str | None
    merged: bool
    checkpoint: dict  # checkpoint.json of the last one
    receipt: dict
    history: History

    @property
    def run(self) -> dict:
        return self.checkpoint["run"]

    @property
    def base(self) -> str | None:
        """A hub id. A folder's name says nothing elsewhere."""
        init = self.run["model"]["init"]
        return (
            init if isinstance(init, str) and init.count("/") == 1 and not Path(init).exists() and init[0] not in "./" else None
        )


def write(folder: Path, about: About) -> list[str]:
    """Returns what could not be said."""
    manifests, said = _manifests(about.run)
    lines = [*_head(about), *_body(about), *_data(about, manifests), *_held_out(about), *_settings(about), *_open()]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if about.exported.kind == "adapters" and about.base is None:
        said.append(
            "adapter_config.json names no model of the hub: whoever opens the adapters needs the same base; --merge-adapters needs none"
        )
    if not any(folder.glob("tokenizer*")):
        said.append("the checkpoint has no tokenizer, so there is none here either")
    return said


def _manifests(run: Mapping) -> tuple[list[dict], list[str]]:
    found, said = [], []
    for path in run["manifest"]:
        try:
            found.append(read_json(Path(path)))
        except (CurateError, OSError):
            said.append(f"{path} cannot be read here, so README.md lacks the licences of the data")
    return (found if not said else []), said


def _head(about: About) -> list[str]:
    spoken = {of["name"]: of["tokens"] for of in about.receipt["languages"] if of["tokens"]}
    lines = [
        "---",
        f"library_name: {'transformers' if about.exported.kind == 'model' else 'peft'}",
        "pipeline_tag: text-generation",
    ]
    if codes := languages(dict(sorted(spoken.items(), key=lambda item: -item[1]))):
        lines += ["language:", *(f"- {json.dumps(code)}" for code in codes)]
    if about.base:
        kind = "finetune" if about.exported.kind == "model" else "adapter"
        lines += [f"base_model: {json.dumps(about.base)}", f"base_model_relation: {kind}"]
    return [*lines, "tags:", "- veski", "---", ""]


def _body(about: About) -> list[str]:
    receipt, model, exported = about.receipt, about.run["model"], about.exported
    base = f"`{about.base}`, revision `{model['revision']}`" if about.base else (
        "none: it began with fresh weights" if isinstance(model["init"], dict) or model["init"].endswith(".json") else "a folder of its author's"
    )  # fmt: skip
    of = (
        exported.checkpoints[0]
        if len(exported.checkpoints) == 1
        else f"the mean of {', '.join(exported.checkpoints)}, in float32"
    )
    how = f"{of}{f' (the best kept one by {about.best})' if about.best else ''}{', adapters merged in fp32' if about.merged else ''}"
    quantized = (about.run["adapt"].get("lora") or {}).get("quantize", "none") != "none"
    lines = [
        f"# {about.run['name']}", "",
        f"{METHODS[about.run['method']]}, {receipt['tokens']:,} tokens in {receipt['steps']:,} steps. Made by `curate train export`.", "",
        f"- **Base model**: {base}.",
        f"- **Weights**: {exported.n_parameters:,} parameters{f' in {about.dtype}' if about.dtype else ''}; {how}.",
        f"- **Languages**: {_listed((of['name'], of['tokens']) for of in receipt['languages'])} (tokens).",
    ]  # fmt: skip
    if about.merged and quantized:
        lines.append("- The adapters were trained over weights in four bits; they are merged into the whole weights.")
    return [*lines, ""]


def _data(about: About, manifests: list[dict]) -> list[str]:
    total = max(1, about.receipt["tokens"])
    lines = [
        "## What it was trained on", "",
        "Counted from what entered the forward pass, not from what was planned.", "",
        "| component | tokens | share | with a loss | licences of the data, by tokens of the mixture |", "|---|---:|---:|---:|---|",
    ]  # fmt: skip
    for of in about.receipt["components"]:
        kinds = _licences(of["name"], manifests)
        lines.append(f"| {of['name']} | {of['tokens']:,} | {of['tokens'] / total:.1%} | {of['loss_tokens']:,} | {kinds} |")
    lines += ["", "| mixture | manifest's stream root | sequences here | hash of what entered |", "|---|---|---:|---|"]
    for of in about.receipt["streams"]:
        lines.append(
            f"| {of['manifest']['name']} | `{of['manifest']['stream']}` | {of['sequences']:,} | `{of['stream_sha256']}` |"
        )
    differences = about.receipt["differences"]
    said = (
        "agrees with the manifest as far as it goes"
        if not differences
        else "**differs from the manifest**: " + "; ".join(differences)
    )
    skipped = about.receipt["skipped"]
    left = f" {len(skipped):,} rows were left out by the run file." if skipped else ""
    return [*lines, "", f"The receipt (`receipt.json`) {said}.{left}", ""]


def _licences(component: str, manifests: Iterable[dict]) -> str:
    total: dict[str, int] = {}
    for manifest in manifests:
        for of in manifest["components"]:
            if of["name"] == component:
                for name, tokens in of.get("licences", {}).items():
                    total[name] = total.get(name, 0) + tokens
    return _listed(total.items()) if total else "not known here"


def _held_out(about: About) -> list[str]:
    events = about.history.held_out
    if not events:
        return []
    done = about.checkpoint["step"]
    before, after = events[0], next((e for e in reversed(events) if e["step"] <= done), events[-1])
    units = {"bits_per_byte": "bits per byte", "loss": "nats per token"}
    shown = [unit for unit in units if any(unit in of for of in after["components"].values())]
    head = " | ".join(f"{units[unit]} before | after" for unit in shown)
    lines = ["## Held-out text", "", f"| component | tokens | {head} |", "|---|---:|" + "---:|---:|" * len(shown)]
    for name, now in after["components"].items():
        was = before["components"].get(name, {})
        cells = [_shown(of.get(unit)) for unit in shown for of in (was, now)]
        lines.append(f"| {name} | {now['tokens']:,} | {' | '.join(cells)} |")
    lines += ["", f"Before: step {before['step']}; after: step {after['step']}. Documents near these were not trained on."]
    if len(about.exported.checkpoints) > 1:
        lines.append("These are of a single checkpoint: the mean itself was not measured.")
    return [*lines, ""]


def _settings(about: About) -> list[str]:
    run, start = about.run, about.history.start
    shown = {key: run[key] for key in ("global_batch", "micro_batch", "adapt", "optimizer", "schedule", "seed") if key in run}
    model = {key: run["model"].get(key) for key in ("dtype", "weights", "attention")}
    lines = ["## Settings", "", *(f"- `{key}`: `{_plain(value)}`" for key, value in {"model": model, **shown}.items())]
    lines.append(f"- tokenizer: sha256 `{about.checkpoint['identity']['tokenizer_sha256']}`")
    if versions := start.get("versions"):
        lines.append(f"- versions: {', '.join(f'{name} {version}' for name, version in versions.items())}")
    return [*lines, ""]


def _open() -> list[str]:
    return [
        "## Intended use and limits", "", OPEN, "", "## Licence", "",
        f"{OPEN} The licence of the base model holds, and what the licences of the data above ask for.",
    ]  # fmt: skip


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _listed(amounts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {tokens:,}" for name, tokens in sorted(amounts, key=lambda item: -item[1]) if tokens) or "not known"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
