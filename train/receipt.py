"""What really entered the model, counted and hashed from the tensors of the forward pass; compared with the plan at the end.

In: input ids and positions as the model's own forward received them, with the labels of the loss. Out: receipt.json.
Nothing here is copied from the manifests: `compare` reads them, `add` never does. A run over several manifests has a running hash for
each; rows that the run file skips are named, and the plan's hash is made again without them.
May import mixture.stream (START, hash_row, advance), train.*; torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mixture.stream import START, advance, hash_row
from train.batch import EMPTY, Rows
from train.head import IGNORED
from train.streams import Streams

SCHEMA_VERSION = 2
FIELDS = 6  # stream index, component, tokens, loss tokens, two halves of the row hash; then tokens, then loss tokens by language


class Watch:
    """Keeps what each training forward of the decoder received, until `take`: what the loop meant to feed does not count."""

    def __init__(self, decoder: torch.nn.Module) -> None:
        self._entered: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._hook = decoder.register_forward_pre_hook(self._saw, with_kwargs=True)

    def _saw(self, decoder: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if decoder.training:
            self._entered.append((kwargs["input_ids"], kwargs["position_ids"]))

    def take(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """(input_ids, position_ids), each (B, length) int64, of all training forwards since the last call, in their order."""
        ids, positions = (torch.cat([x.reshape(-1, length) for x in column]) for column in zip(*self._entered, strict=True))
        self._entered.clear()
        return ids.cpu().numpy(), positions.cpu().numpy()

    def close(self) -> None:
        self._hook.remove()


def evidence(entered: tuple[np.ndarray, np.ndarray], rows: Rows, n_languages: int) -> np.ndarray:
    """One line of integers per row, (B, FIELDS + 2 n_languages) int64, that ranks can gather: counts and the hash of what entered.

    Tokens and document starts come from the entered tensors (a document starts where the position is 0); `rows` says only
    where padding begins, which labels the loss used and their language. A wrong answer there changes the hash or the sums too.
    """
    ids, positions = entered
    real = (rows.document >= 0).cpu().numpy()
    asked = (rows.labels != IGNORED).cpu().numpy() & real
    lines = np.zeros((len(ids), FIELDS + 2 * n_languages), np.int64)
    for i in range(len(ids)):
        tokens, starts = ids[i][real[i]], np.flatnonzero(positions[i][real[i]] == 0)
        lines[i, :4] = rows.index[i], rows.component[i], tokens.size, np.count_nonzero(asked[i])
        lines[i, 4:6] = np.frombuffer(hash_row(np.diff(starts, append=tokens.size), [tokens]), np.int64)
        for place, counted in enumerate((real[i], asked[i])):
            first = FIELDS + place * n_languages
            lines[i, first : first + n_languages] = np.bincount(rows.language[i][counted], minlength=n_languages)
    return lines


@dataclass
class OfStream:
    """The running account of one manifest's stream."""

    first: int  # its first row, in the rows of the run
    marks: list[int]  # rows of this stream at which to keep the running hash
    n_rows: int = 0
    sha256: str = START.hex()
    checkpoints: list[list] = field(default_factory=list)  # [row of this stream, running hash] at the marks passed

    def add(self, row_hash: bytes) -> None:
        self.sha256 = advance(bytes.fromhex(self.sha256), row_hash).hex()
        self.n_rows += 1
        if self.n_rows in self.marks:
            self.checkpoints.append([self.n_rows, self.sha256])


class Receipt:
    """The running account: it is saved with every checkpoint and goes on from there."""

    def __init__(self, streams: Streams, saved: dict | None = None) -> None:
        self.components, self.languages, self.n_steps = list(streams.components), list(streams.languages), 0
        self.counts = {
            kind: {name: [0, 0, 0] for name in names} for kind, names in self._names().items()
        }  # rows, tokens, loss tokens
        self.skipped: list[int] = []
        self.of = [OfStream(first, marks_of(m)) for first, m in zip(streams.firsts, streams.manifests, strict=True)]
        if saved is not None:
            self._go_on(saved)

    def _names(self) -> dict[str, list[str]]:
        return {"components": self.components, "languages": self.languages}

    def _go_on(self, saved: dict) -> None:
        self.n_steps, self.skipped = saved["steps"], list(saved["skipped"])
        for kind in self.counts:
            for entry in saved[kind]:
                self.counts[kind][entry["name"]] = [entry["sequences"], entry["tokens"], entry["loss_tokens"]]
        for own, entry in zip(self.of, saved["streams"], strict=False):  # a longer list of manifests goes on from a shorter one
            own.n_rows, own.sha256 = entry["sequences"], entry["stream_sha256"]
            own.checkpoints = [[mark["stream_index"], mark["sha256"]] for mark in entry["stream_checkpoints"]]

    def add(self, lines: np.ndarray, skipped: Sequence[int] = ()) -> None:
        """One global batch of evidence, all ranks, in stream order, and the rows that were left out of it."""
        n = len(self.languages)
        for line in lines[lines[:, 0] != EMPTY]:
            next(own for own in reversed(self.of) if line[0] >= own.first).add(line[4:6].tobytes())
            _count(self.counts["components"][self.components[line[1]]], 1, line[2], line[3])
            for place, name in enumerate(self.languages):
                tokens, asked = line[FIELDS + place], line[FIELDS + n + place]
                _count(self.counts["languages"][name], int(tokens > 0), tokens, asked)
        self.skipped += [int(row) for row in skipped]
        self.n_steps += 1

    def as_json(self) -> dict:
        rows, tokens, loss_tokens = (sum(count[place] for count in self.counts["components"].values()) for place in range(3))
        listed = {
            kind: [{"name": name, "sequences": c[0], "tokens": c[1], "loss_tokens": c[2]} for name, c in counts.items()]
            for kind, counts in self.counts.items()
        }
        return {
            "schema_version": SCHEMA_VERSION, "kind": "receipt", "steps": self.n_steps, "sequences": rows, "tokens": tokens,
            "loss_tokens": loss_tokens, **listed, "skipped": self.skipped,
            "streams": [
                {
                    "sequences": own.n_rows, "n_skipped": self._n_skipped(number), "stream_sha256": own.sha256,
                    "stream_checkpoints": [{"stream_index": i, "sha256": sha} for i, sha in own.checkpoints],
                }
                for number, own in enumerate(self.of)
            ],
        }  # fmt: skip

    def _n_skipped(self, number: int) -> int:
        ends = [*(own.first for own in self.of), math.inf]
        return sum(ends[number] <= row < ends[number + 1] for row in self.skipped)


def _count(total: list[int], *values: int) -> None:
    for place, value in enumerate(values):
        total[place] += int(value)


def marks_of(manifest: dict) -> list[int]:
    return [mark["stream_index"] for mark in manifest["stream_checkpoints"]]


def account(receipt: Receipt, streams: Streams, cursor: int) -> dict:
    """receipt.json: what entered the model, and beside it, apart, what it was compared with: the stream up to row `cursor`."""
    entered = receipt.as_json()
    for own, manifest in zip(entered["streams"], streams.manifests, strict=True):
        of = {"name": manifest["name"], "stream": manifest["roots"]["stream"]}
        own["manifest"] = {**of, "tokenizer_sha256": manifest["tokenizer"]["sha256"], "sequences": n_planned(manifest)}
    return {**entered, "differences": compare(entered, streams, cursor)}


def compare(receipt: dict, streams: Streams, cursor: int) -> list[str]:
    """Where the receipt differs from the plan, one sentence each; empty when it agrees as far as it goes."""
    problems = [p for number in range(len(streams.manifests)) for p in _compare_stream(receipt, streams, number)]
    if (entered := receipt["sequences"]) != (due := cursor - len(receipt["skipped"])):
        problems.append(f"{entered:,} rows entered the model, {due:,} were due")
    if not problems and not receipt["skipped"] and receipt["sequences"] == streams.n_sequences:
        planned = {"components": realised(streams.manifests), "languages": spoken(streams.manifests)}
        for kind, amounts in planned.items():
            entered = {entry["name"]: entry["tokens"] for entry in receipt[kind]}
            for name, tokens in amounts.items():
                if entered[name] != tokens:
                    problems.append(f"{name}: {entered[name]:,} tokens entered the model, {tokens:,} were planned")
    return problems


def _compare_stream(receipt: dict, streams: Streams, number: int) -> list[str]:
    manifest, own, first = streams.manifests[number], receipt["streams"][number], streams.firsts[number]
    skipped = {row - first for row in receipt["skipped"] if first <= row < first + n_planned(manifest)}
    if skipped:
        end = own["sequences"] + len(skipped)
        state = START
        for row in range(end):
            if row not in skipped:
                state = advance(state, streams.row_hash_of(first + row))
        is_same = state.hex() == own["stream_sha256"] and max(skipped) < end
        return [] if is_same else [f"what entered the model differs from stream {number} without the rows that were skipped"]
    planned, good = {mark["stream_index"]: mark["sha256"] for mark in manifest["stream_checkpoints"]}, 0
    for mark in own["stream_checkpoints"]:
        if planned[mark["stream_index"]] != mark["sha256"]:
            return [
                f"what entered the model differs from the stream between rows {first + good} and {first + mark['stream_index']}"
            ]
        good = mark["stream_index"]
    if own["sequences"] == n_planned(manifest) and own["stream_sha256"] != manifest["roots"]["stream"]:
        return [f"what entered the model differs from the stream after row {first + good}"]
    return []  # else the run ended inside this stream: only the marks it passed can be compared


def n_planned(manifest: dict) -> int:
    """Training rows of a manifest, all phases."""
    return sum(phase["order"]["n_sequences"] for phase in manifest["phases"])


def realised(manifests: Sequence[dict]) -> dict[str, int]:
    """Planned training tokens per component, all phases of all manifests."""
    planned: dict[str, int] = {}
    for manifest in manifests:
        for c in manifest["components"]:
            tokens = sum(phase.get("tokens", phase["realised"]) for phase in c["phases"])
            planned[c["name"]] = planned.get(c["name"], 0) + tokens
    return planned


def spoken(manifests: Sequence[dict]) -> dict[str, int]:
    """Planned training tokens per language."""
    planned: dict[str, int] = {}
    for manifest in manifests:
        for component in manifest["components"]:
            for name, tokens in component["languages"].items():
                planned[name] = planned.get(name, 0) + tokens
    return planned


def verdict(account: dict, streams: Streams) -> str:
    """Two lines for people: what was trained, and whether it is what was planned."""
    counts = ", ".join(f"{c['name']} {c['tokens']:,}" for c in account["components"])
    said = f"trained {account['tokens']:,} tokens in {account['steps']} steps: {counts}\nreceipt: "
    if account["differences"]:
        return said + "DIFFERS from the plan: " + "; ".join(account["differences"])
    roots = ", ".join(own["stream_sha256"][:8] for own in account["streams"] if own["sequences"])
    left_out = f", but for {len(account['skipped'])} rows that the run file skips" if account["skipped"] else ""
    if account["sequences"] + len(account["skipped"]) == streams.n_sequences:
        return said + f"matches plan to the token{left_out} (stream root {roots})"
    parts = zip(streams.firsts, account["streams"], strict=True)
    checked = max((first + mark["stream_index"] for first, own in parts for mark in own["stream_checkpoints"]), default=0)
    return said + f"{account['sequences']} rows, matches plan as far as the manifest's marks go (row {checked}){left_out}"
