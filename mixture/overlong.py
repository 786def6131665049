"""Documents longer than a sequence, conversations and pairs that cannot be trained on: what no component takes, each with its reason.

Documents with their components and the mixture in; the same documents out, shortened or in fewer components, and what was left out, a
row for each document (schema.LEFT_OUT). Imports recipe, schema and mixture's budget, hashes, refused, selection, stream.

**Limit** of a component: the smallest sequence_length of the phases where it has a budget. `overlong: drop`: a longer document does not
match the component, so that a later one with longer sequences may take it; of a pair the longer conversation counts. `cut`: a longer
document ends there in all its uses, at the smallest limit of the components that it matches and that cut; where nothing is left to learn
none of them takes it. `split`: packing cuts it into chunks. A conversation (of kind sft) or a pair that was refused
when it was rendered matches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.recipe import Mixture
from curate.schema import LEFT_OUT
from mixture.budget import Infeasible
from mixture.hashes import count_learned
from mixture.refused import REMEDIES, detail_of
from mixture.selection import Documents
from mixture.stream import map_tokens

NAME = "left_out.parquet"
LONGER, NOTHING = "longer_than_sequence", "nothing_to_learn"


@dataclass(frozen=True)
class LeftOut:
    """`is_out`: bool (n,), documents in no component though they match one. `table`: None where nothing can be left out."""

    is_out: np.ndarray
    table: pa.Table | None


def limits(mixture: Mixture) -> list[int]:
    """Of every component in recipe order: its smallest sequence_length."""
    specs = mixture.phase_list
    return [min(spec.sequence_length for spec in specs if spec.asks[c] is not None) for c in range(len(mixture.leaves))]


def leave_out(docs: Documents, mixture: Mixture, shards: Sequence[Path]) -> tuple[Documents, LeftOut]:
    """`shards`: the .ds files that `docs.shard` counts into."""
    actions, limit = [mixture.overlong_of(name) for name in mixture.leaves], limits(mixture)
    is_out = np.zeros(docs.n, np.bool_)
    if docs.refused is None and set(actions) <= {"split"}:
        return docs, LeftOut(is_out, None)
    length = docs.n_tokens if docs.pairs is None else np.where(docs.pairs.n_prompt > 0, docs.pairs.longest, docs.n_tokens)
    found = _Patterns(docs)
    for c, action in enumerate(actions):
        if action == "drop":
            found.without(c, length > limit[c])
    kept, n_loss = _cut(docs, found, [c for c, action in enumerate(actions) if action == "cut"], limit, shards)
    is_empty = (kept < docs.n_tokens) & (n_loss < 1)
    for c, action in enumerate(actions):
        if action == "cut":
            found.without(c, is_empty)
    is_refused = np.zeros(docs.n, np.bool_) if docs.refused is None else docs.refused.code >= 0
    for c in range(len(actions)):
        found.without(c, is_refused)
    first, last = found.first(docs.pattern), found.first(found.pattern)
    is_out = (first >= 0) & (last < 0)
    is_cut = (kept < docs.n_tokens) & ~is_empty & (last >= 0)
    table = _table(docs, np.where(is_out, first, last), is_out, is_cut, is_empty, length, kept, limit)
    made = replace(
        docs, patterns=found.patterns, pattern=found.pattern, n_tokens=np.where(is_cut, kept, docs.n_tokens),
        n_loss_tokens=np.where(is_cut, n_loss, docs.n_loss_tokens),
    )  # fmt: skip
    return made, LeftOut(is_out, table)


def check_any(docs: Documents, left: LeftOut, shards: Sequence[Path]) -> None:
    """Raises Infeasible where a component loses everything: a template, or a length, that fits none of its documents."""
    if left.table is None:
        return
    dropped, found = left.table.filter(pc.equal(left.table["action"], "dropped")), _Patterns(docs)
    for c, name in enumerate(docs.components):
        mine = dropped.filter(pc.equal(dropped["component"], name))
        if len(mine) and not found.has(c).any():
            reasons = {row["values"]: row["counts"] for row in pc.value_counts(mine["reason"]).to_pylist()}
            first = mine.slice(0, 1).to_pylist()[0]
            said = detail_of([shard.parent for shard in shards], first["id"])
            example = f"; source {first['source']}, id {first['id']}: {said}" if said else ""
            ways = dict.fromkeys(REMEDIES.get(reason, "a longer sequence_length") for reason in sorted(reasons))
            error = Infeasible(
                f"component {name} has documents and can train on none of them", where=f"mixture component {name}",
                found=", ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items())) + example,
                allowed=f"conversations of at most {mine['sequence_length'][0]} tokens, with something to learn",
                next=", or ".join(ways),
            )  # fmt: skip
            error.suggestions, error.short = [], {}
            raise error


def write(build_dir: Path, left: LeftOut) -> None:
    """left_out.parquet; an older one goes where nothing can be left out."""
    path = build_dir / NAME
    if left.table is None:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_name(f".{NAME}.tmp")
    pq.write_table(left.table, temporary, compression="zstd")
    temporary.replace(path)


class _Patterns:
    """The components that documents match, as some are taken out."""

    def __init__(self, docs: Documents) -> None:
        self.patterns, self.pattern = list(docs.patterns), docs.pattern.copy()

    def has(self, component: int) -> np.ndarray:
        """bool (n,): the documents that match it."""
        return np.array([any(c == component for c, _ in pattern) for pattern in self.patterns], np.bool_)[self.pattern]

    def without(self, component: int, which: np.ndarray) -> None:
        """The documents `which` (n,) do not match it any more."""
        mine = np.flatnonzero(which & self.has(component))
        for number in np.unique(self.pattern[mine]).tolist():
            left = tuple((c, b) for c, b in self.patterns[number] if c != component)
            if left not in self.patterns:
                self.patterns.append(left)
            self.pattern[mine[self.pattern[mine] == number]] = self.patterns.index(left)

    def first(self, pattern: np.ndarray) -> np.ndarray:
        """int64 (n,): the first component of each, -1 where there is none."""
        return np.array([next((c for c, _ in one), -1) for one in self.patterns], np.int64)[pattern]


def _cut(
    docs: Documents, found: _Patterns, cutting: Sequence[int], limit: Sequence[int], shards: Sequence[Path]
) -> tuple[np.ndarray, np.ndarray]:
    """int64 (n,): tokens that are left of every document, and of those how many are labels (of documents that are not cut, the mask's)."""
    kept, n_loss = docs.n_tokens.copy(), docs.n_loss_tokens.copy()
    for c in cutting:
        kept = np.where(found.has(c), np.minimum(kept, limit[c]), kept)
    cut = np.flatnonzero(kept < docs.n_tokens)
    n_loss[cut] = kept[cut]
    for number in np.unique(docs.shard[cut]).tolist():
        loss = shards[number].with_name(shards[number].name + ".loss")
        if loss.exists():
            mine = cut[docs.shard[cut] == number]
            n_loss[mine] = count_learned(np.asarray(map_tokens(loss, np.dtype("u1"))), docs.token_start[mine], kept[mine])
    return kept, n_loss


def _table(
    docs: Documents, component: np.ndarray, is_out: np.ndarray, is_cut: np.ndarray, is_empty: np.ndarray, length: np.ndarray,
    kept: np.ndarray, limit: Sequence[int],
) -> pa.Table:  # fmt: skip
    rows = np.flatnonzero(is_out | is_cut)
    out, of = is_out[rows], component[rows]
    whole, reasons = docs.n_tokens[rows], np.where(is_empty[rows], NOTHING, LONGER).astype(object)
    if docs.refused is not None:
        code = docs.refused.code[rows]
        reasons = np.where(code >= 0, np.array([*docs.refused.values, ""], object)[code], reasons)
    columns = [
        pa.array([docs.sources[s] for s in docs.source[rows].tolist()], pa.string()), docs.id[rows].text().cast(pa.string()),
        pa.array([docs.components[c] for c in of.tolist()], pa.string()), pa.array(np.where(out, "dropped", "cut").tolist(), pa.string()),
        pa.array(reasons.tolist(), pa.string()), whole, np.where(out, 0, kept[rows]), length[rows], np.array(limit, np.int64)[of],
    ]  # fmt: skip
    return pa.table(columns, names=LEFT_OUT.names).cast(LEFT_OUT)
