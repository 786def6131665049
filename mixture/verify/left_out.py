"""What is left out, counted again: documents too long for their components, cut ones, conversations and pairs that were refused.

In: `Kept` and `Members`, the recipe, the token stages' pairs.parquet and refused.parquet. Out: findings against left_out.parquet and the
manifest, and Kept and Members as the mixture has them: cut documents as long as they are used, each in the components that take it. The
rule is the one written in overlong.py, document by document. Imports schema, recipe and mixture's pair_tokens, refused, verify.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.recipe import Recipe
from curate.schema import LEFT_OUT
from mixture import pair_tokens, refused
from mixture.verify.copies import Members
from mixture.verify.documents import read
from mixture.verify.report import Report
from mixture.verify.uses import Kept

NAME, MANIFEST = "left_out.parquet", "manifest.json"


def check_left_out(
    build_dir: Path, manifest: Mapping[str, Any], recipe: Recipe, kept: Kept, members: Members, report: Report
) -> tuple[Kept, Members] | None:
    """None where the file cannot be read: then nobody knows what the mixture has."""
    mixture, path = recipe.mixture, build_dir / NAME
    actions: list[str] = [mixture.overlong_of(name) for name in members.names]
    if recipe.kind == "cpt" and set(actions) == {"split"}:
        if path.exists():
            report.add(NAME, "the recipe leaves nothing out, yet the file is there")
        return kept, members
    limits = [min(s.sequence_length for s in mixture.phase_list if s.asks[c] is not None) for c in range(len(actions))]
    length, why = _lengths(kept)
    table = read(path, report, build_dir)
    if table is None:
        return None
    again = _Again(kept, members, actions, limits, length, why)
    right = pa.Table.from_pylist(again.rows, LEFT_OUT)
    if report.equal(NAME, "columns", table.column_names, LEFT_OUT.names) and report.equal(NAME, "rows", len(table), len(right)):
        for i, (stated, counted) in enumerate(zip(table.to_pylist(), again.rows, strict=True)):
            if stated != counted:
                wrong = next(name for name in LEFT_OUT.names if stated[name] != counted[name])
                report.add(NAME, f"{wrong}: {stated[wrong]} stated, {counted[wrong]} counted", f"row {i}, id {counted['id']}")
    for c, component in enumerate(manifest["components"]):
        _check_statement(component, actions[c], limits[c], again.rows, report)
    return replace(kept, n_tokens=again.n_tokens, n_loss_tokens=again.n_loss), replace(
        members, pattern=again.pattern, patterns=again.patterns
    )


def _lengths(kept: Kept) -> tuple[np.ndarray, list[str | None]]:
    """(what is compared with a sequence, why it is refused), of every document of Kept."""
    length, why = kept.n_tokens.copy(), [None] * kept.id.size  # type: tuple[np.ndarray, list[str | None]]
    for number, shard in enumerate(kept.shard_paths):
        first, last = int(kept.first[number]), int(kept.first[number + 1])
        if (path := shard.with_name(refused.NAME)).exists():
            said = {row["id"].encode(): row["reason"] for row in pq.read_table(path).to_pylist()}
            why[first:last] = [said.get(document) for document in kept.id[first:last].tolist()]
        if (path := shard.with_name(pair_tokens.NAME)).exists():
            table = pq.read_table(path)
            prompt, chosen, rejected = (table[f"n_{part}_tokens"].to_numpy() for part in ("prompt", "chosen", "rejected"))
            length[first:last] = prompt + np.maximum(chosen, rejected)
            why[first:last] = table["refused"].to_pylist()
    return length, why


class _Again:
    """The rule, applied to one document after the other: those that it touches are few."""

    def __init__(
        self, kept: Kept, members: Members, actions: list[str], limits: list[int], length: np.ndarray, refused: list[str | None]
    ) -> None:
        self.kept, self.names, self.actions, self.limits = kept, members.names, actions, limits
        self.pattern, self.patterns = members.pattern.copy(), [tuple((c, b) for c, b in pattern) for pattern in members.patterns]
        self.n_tokens, self.n_loss = kept.n_tokens.copy(), kept.n_loss_tokens.copy()
        self.masks = kept.masks()
        self.rows: list[dict[str, Any]] = []
        least = min((limit for limit, action in zip(limits, actions, strict=True) if action != "split"), default=None)
        too_long = np.zeros(length.size, np.bool_) if least is None else length > least
        touched = too_long | np.array([reason is not None for reason in refused], np.bool_)
        for d in np.flatnonzero(touched).tolist():
            self._judge(d, int(length[d]), refused[d])

    def _judge(self, d: int, length: int, refused: str | None) -> None:
        pattern, size = self.patterns[int(self.pattern[d])], int(self.kept.n_tokens[d])
        if not pattern:
            return
        left = min([size, *(self.limits[c] for c, _ in pattern if self.actions[c] == "cut")])
        learned = self._learned(d, left) if left < size else 0
        is_lost = left < size and not learned

        def takes(c: int) -> bool:
            if refused is not None:
                return False
            return not is_lost if self.actions[c] == "cut" else self.actions[c] == "split" or length <= self.limits[c]

        stays = tuple((c, b) for c, b in pattern if takes(c))
        if stays != pattern:
            if stays not in self.patterns:
                self.patterns.append(stays)
            self.pattern[d] = self.patterns.index(stays)
        why = refused or ("nothing_to_learn" if is_lost else "longer_than_sequence")
        if not stays:
            self._add(d, pattern[0][0], "dropped", why, size, 0, length)
        elif left < size and not is_lost:
            self.n_tokens[d], self.n_loss[d] = left, learned
            self._add(d, stays[0][0], "cut", why, size, left, length)

    def _learned(self, d: int, n_tokens: int) -> int:
        shard = int(np.searchsorted(self.kept.first, d, side="right")) - 1
        mask, start = self.masks[shard], int(self.kept.start[d])
        return n_tokens if mask is None else int(np.count_nonzero(mask[start : start + n_tokens]))

    def _add(self, d: int, c: int, action: str, reason: str, n_tokens: int, n_kept: int, length: int) -> None:
        self.rows.append({
            "source": self.kept.sources[int(self.kept.source[d])], "id": self.kept.id[d].decode(), "component": self.names[c],
            "action": action, "reason": reason, "n_tokens": n_tokens, "n_kept_tokens": n_kept, "length": length,
            "sequence_length": self.limits[c],
        })  # fmt: skip


def _check_statement(component: Mapping[str, Any], action: str, limit: int, rows: list[dict[str, Any]], report: Report) -> None:
    """`overlong` and `left_out` of a component in the manifest."""
    name = component["name"]
    report.equal(MANIFEST, f"{name}: overlong", component.get("overlong"), {"action": action, "sequence_length": limit})
    sums: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        if row["component"] == name:
            own = sums.setdefault((row["action"], row["reason"]), [0, 0])
            own[0] += 1
            own[1] += row["n_tokens"] - row["n_kept_tokens"]
    right = [{"action": a, "reason": r, "documents": n, "tokens": t} for (a, r), (n, t) in sorted(sums.items())]
    report.equal(MANIFEST, f"{name}: left_out", component.get("left_out"), right)
