"""What really entered the model, counted and hashed from the tensors of the forward pass; compared with the plan at the end.

In: input ids and positions as the model's own forward received them, with the labels of the loss. Out: receipt.json.
Nothing here is copied from the manifest: `compare` reads it, `add` never does.
May import mixture.stream (START, hash_row, advance), train.*; torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mixture.stream import START, advance, hash_row
from train.batch import EMPTY, Rows
from train.loss import IGNORED

SCHEMA_VERSION = 1
FIELDS = 6  # stream index, component, tokens, loss tokens, two halves of the row hash


class Watch:
    """Keeps what each training forward of `model` received, until `take`: what the loop meant to feed does not count."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._entered: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._hook = model.register_forward_pre_hook(self._saw, with_kwargs=True)

    def _saw(self, model: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if model.training:
            self._entered.append((kwargs["input_ids"], kwargs["position_ids"]))

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """(input_ids, position_ids), each (B, T) int64, of all training forwards since the last call, in their order."""
        ids, positions = zip(*self._entered, strict=True)
        self._entered.clear()
        return torch.cat(ids).cpu().numpy(), torch.cat(positions).cpu().numpy()

    def close(self) -> None:
        self._hook.remove()


def evidence(entered: tuple[np.ndarray, np.ndarray], rows: Rows) -> np.ndarray:
    """One line of integers per row, (B, FIELDS) int64, that ranks can gather: counts and the hash of what entered.

    Tokens and document starts come from the entered tensors (a document starts where the position is 0); `rows` says only
    where padding begins and which labels the loss used. A wrong answer there changes the hash too.
    """
    ids, positions = entered
    real = (rows.document >= 0).cpu().numpy()
    asked = ((rows.labels != IGNORED) & (rows.document >= 0)).sum(1).cpu().numpy()
    lines = np.zeros((len(ids), FIELDS), np.int64)
    for i in range(len(ids)):
        tokens, starts = ids[i][real[i]], np.flatnonzero(positions[i][real[i]] == 0)
        lines[i, :4] = rows.index[i], rows.component[i], tokens.size, asked[i]
        lines[i, 4:] = np.frombuffer(hash_row(np.diff(starts, append=tokens.size), [tokens]), np.int64)
    return lines


@dataclass
class Receipt:
    """The running account: it is saved with every checkpoint and goes on from there."""

    components: list[str]
    marks: list[int]  # stream indices at which to keep the running hash
    n_rows: int = 0
    n_steps: int = 0
    stream_sha256: str = START.hex()
    counts: dict[str, list[int]] | None = None  # component -> [rows, tokens, loss tokens]
    checkpoints: list[list] | None = None  # [stream index, running hash] at the marks passed

    def __post_init__(self) -> None:
        self.counts = self.counts or {name: [0, 0, 0] for name in self.components}
        self.checkpoints = self.checkpoints or []

    def add(self, lines: np.ndarray) -> None:
        """One global batch of evidence, all ranks, in stream order."""
        assert self.counts is not None and self.checkpoints is not None
        state = bytes.fromhex(self.stream_sha256)
        for line in lines[lines[:, 0] != EMPTY]:
            state = advance(state, line[4:].tobytes())
            self.n_rows += 1
            if self.n_rows in self.marks:
                self.checkpoints.append([self.n_rows, state.hex()])
            total = self.counts[self.components[line[1]]]
            for place, value in enumerate((1, int(line[2]), int(line[3]))):
                total[place] += value
        self.stream_sha256 = state.hex()
        self.n_steps += 1

    def as_json(self) -> dict:
        assert self.counts is not None
        rows, tokens, loss_tokens = (sum(count[place] for count in self.counts.values()) for place in range(3))
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "receipt",
            "steps": self.n_steps,
            "sequences": rows,
            "tokens": tokens,
            "loss_tokens": loss_tokens,
            "stream_sha256": self.stream_sha256,
            "components": [
                {"name": name, "sequences": count[0], "tokens": count[1], "loss_tokens": count[2]}
                for name, count in self.counts.items()
            ],
            "stream_checkpoints": [{"stream_index": i, "sha256": sha} for i, sha in self.checkpoints or []],
        }

    @classmethod
    def from_json(cls, value: dict, marks: list[int]) -> Receipt:
        counts = {c["name"]: [c["sequences"], c["tokens"], c["loss_tokens"]] for c in value["components"]}
        checkpoints = [[mark["stream_index"], mark["sha256"]] for mark in value["stream_checkpoints"]]
        return cls(list(counts), marks, value["sequences"], value["steps"], value["stream_sha256"], counts, checkpoints)


def marks_of(manifest: dict) -> list[int]:
    return [mark["stream_index"] for mark in manifest["stream_checkpoints"]]


def compare(receipt: dict, manifest: dict) -> list[str]:
    """Where the receipt differs from the plan, one sentence each; empty when it agrees as far as it goes."""
    planned = {mark["stream_index"]: mark["sha256"] for mark in manifest["stream_checkpoints"]}
    problems, good = [], 0
    for mark in receipt["stream_checkpoints"]:
        if planned[mark["stream_index"]] != mark["sha256"]:
            problems.append(f"what entered the model differs from the stream between rows {good} and {mark['stream_index']}")
            break
        good = mark["stream_index"]
    if receipt["sequences"] != n_planned(manifest):
        return problems  # the run ended early: only the marks it passed can be compared
    if not problems and receipt["stream_sha256"] != manifest["roots"]["stream"]:
        problems.append(f"what entered the model differs from the stream after row {good}")
    entered = {component["name"]: component["tokens"] for component in receipt["components"]}
    for name, tokens in realised(manifest).items():
        if entered[name] != tokens:
            problems.append(f"{name}: {entered[name]:,} tokens entered the model, {tokens:,} were planned")
    return problems


def n_planned(manifest: dict) -> int:
    """Training rows of the manifest, all phases."""
    return sum(phase["order"]["n_sequences"] for phase in manifest["phases"])


def realised(manifest: dict) -> dict[str, int]:
    """Planned training tokens per component, all phases. `realised` is in the unit of the budget, which older manifests had in tokens."""
    return {c["name"]: sum(phase.get("tokens", phase["realised"]) for phase in c["phases"]) for c in manifest["components"]}


def account(receipt: Receipt, manifest: dict) -> dict:
    """receipt.json: what entered the model, and beside it, apart, what it was compared with."""
    entered, tokenizer = receipt.as_json(), manifest["tokenizer"]
    plan = {"name": manifest["name"], "stream": manifest["roots"]["stream"], "tokenizer_sha256": tokenizer["sha256"]}
    return {**entered, "manifest": plan, "differences": compare(entered, manifest)}


def verdict(account: dict, manifest: dict) -> str:
    """Two lines for people: what was trained, and whether it is what was planned."""
    counts = ", ".join(f"{c['name']} {c['tokens']:,}" for c in account["components"])
    said = f"trained {account['tokens']:,} tokens in {account['steps']} steps: {counts}\nreceipt: "
    if account["differences"]:
        return said + "DIFFERS from the plan: " + "; ".join(account["differences"])
    if account["sequences"] == n_planned(manifest):
        return said + f"matches plan to the token (stream root {account['stream_sha256'][:8]})"
    checked = max((mark["stream_index"] for mark in account["stream_checkpoints"]), default=0)
    return said + f"{account['sequences']} rows, matches plan as far as the manifest's marks go (row {checked})"
