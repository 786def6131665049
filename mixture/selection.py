"""Which documents are trained on, how often, and which are held out: kept documents and budgets in, uses out.

In: one table of kept documents per source, recipe order. Canonical order of a component's documents: its sources in `from` order,
then id. Held-out comes first, by whole duplicate clusters. Every pass lists its documents in its own keyed permutation (order.py);
passes follow each other until the budget is reached, so at most one document is used in part. Imports numpy, pyarrow, order, kernels.

**Epochs.** Document d has m_d copies (1 unless the component has `copies`). An epoch uses it m_d times: W = sum m_d n_tokens tokens, in
M passes, M = the largest m_d. Pass p (from 0, over all epochs) holds d iff floor((p + 1 + o_d) m_d / M) > floor((p + o_d) m_d / M), with
o_d = keyed_hash(id, key(seed, "copies", phase, component)) mod M: any M passes in a row hold d exactly m_d times, any P passes hold it
floor or ceiling of P m_d / M times, never twice in one pass. So copies are spread over the epoch, every part of an epoch is a sample of
the whole of it, and T = k W + r tokens (0 <= r < W) use d at least k m_d times and at most (k + 1) m_d, k m_d if r = 0. With
max_epochs c, T <= floor(c W): never more than ceil(c) m_d. Without copies M = 1, W = U and every pass holds all documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixture import kernels, order

# large strings: a hundred million ids do not fit 32-bit offsets
KEPT = pa.schema([
    ("id", pa.large_string()), ("cluster_id", pa.large_string()), ("n_tokens", pa.int64()), ("n_loss_tokens", pa.int64()),
    ("shard", pa.int64()), ("token_start", pa.int64()), ("language", pa.large_string()), ("license", pa.large_string()),
    ("bin", pa.int64()),  # of its component's copies, -1 in none
])  # fmt: skip


@dataclass(frozen=True)
class Documents:
    """Kept documents of all sources, by source (recipe order), then id. Arrays (n,)."""

    sources: list[str]
    components: list[str]
    source: np.ndarray  # int64, index into sources
    component: np.ndarray  # int64, index into components, -1 in none
    n_tokens: np.ndarray  # int64
    n_loss_tokens: np.ndarray  # int64
    shard: np.ndarray  # int64, index into the list of token shards
    token_start: np.ndarray  # int64, in tokens from the start of the shard
    bin: np.ndarray  # int64, of its component's copies, -1 in none
    copies: np.ndarray  # int64, uses in one epoch, >= 1
    id: pa.Array
    cluster: pa.Array  # cluster_id, or the document's own id
    language: pa.Array
    license: pa.Array

    @property
    def n(self) -> int:
        return self.source.size

    def of(self, component: int, canonical: Sequence[int]) -> np.ndarray:
        """Documents of a component, `canonical` giving its sources in `from` order."""
        own = np.flatnonzero(self.component == component)
        rank = np.full(len(self.sources), len(canonical), np.int64)
        rank[list(canonical)] = np.arange(len(canonical))
        return own[np.argsort(rank[self.source[own]], kind="stable")]


@dataclass(frozen=True)
class Use:
    """One pass of one component (component index, pass number), or its held-out documents (pass 0)."""

    component: int
    pass_: int
    documents: np.ndarray  # int64, in the pass's order
    n_tokens: np.ndarray  # int64, tokens used of each, from its first


def documents(
    tables: Mapping[str, pa.Table], components: Mapping[str, Sequence[str]], copies: Mapping[str, Sequence[int]] | None = None
) -> Documents:
    """Join the sources' tables (columns of KEPT) and assign components by their sources. A document without tokens is in none.

    `copies`: component -> copies of each of its bins; a document in no bin has one."""
    of_source = {source: i for i, sources in enumerate(components.values()) for source in sources}
    whole, source, component = [], [], []
    for number, (name, table) in enumerate(tables.items()):
        table = table.select(KEPT.names).cast(KEPT)
        whole.append(table.take(pc.sort_indices(table, sort_keys=[("id", "ascending")])))
        source.append(np.full(table.num_rows, number, np.int64))
        component.append(np.full(table.num_rows, of_source.get(name, -1), np.int64))
    rows = {name: pa.concat_tables(whole)[name].combine_chunks() for name in KEPT.names}
    columns = {name: rows[name].to_numpy() for name in ("n_tokens", "n_loss_tokens", "shard", "token_start", "bin")}
    assigned = np.where(columns["n_tokens"] > 0, np.concatenate(component), -1)
    times = np.ones(assigned.size, np.int64)
    for number, name in enumerate(components):
        if copies and name in copies:
            own = assigned == number
            times[own] = np.array([*copies[name], 1], np.int64)[columns["bin"][own]]  # bin -1 is the last
    return Documents(
        sources=list(tables), components=list(components), source=np.concatenate(source), component=assigned, copies=times,
        id=rows["id"], cluster=pc.coalesce(rows["cluster_id"], rows["id"]), language=rows["language"], license=rows["license"],
        **columns,
    )  # fmt: skip


def hold_out(docs: Documents, per_component: int, at_most: Fraction, seed: int) -> np.ndarray:
    """bool (n,): held-out documents. Clusters in order of keyed hash, whole, until a component's limit would be passed.

    The limit is the smaller of `per_component` tokens and `at_most` of the component's tokens. A cluster that does not fit is
    passed over; a cluster held out for one component is held out in all, and counts there.
    """
    held = np.zeros(docs.n, np.bool_)
    high, low = halves(docs.cluster)
    rank = order.keyed_hash(high, low, order.key(seed, "held-out"))
    by_hash = np.lexsort((low, high, rank))  # names decide between equal hashes
    changes = np.zeros(docs.n, np.int64)
    changes[1:] = (np.diff(high[by_hash]) != 0) | (np.diff(low[by_hash]) != 0)
    number = np.cumsum(changes)
    cluster = np.empty(docs.n, np.int64)
    cluster[by_hash] = number
    member_ptr = np.searchsorted(number, np.arange(number[-1] + 2 if docs.n else 1)).astype(np.int64)
    assigned = by_hash[docs.component[by_hash] >= 0]
    by_component = assigned[np.argsort(docs.component[assigned], kind="stable")]
    n_components = len(docs.components)
    order_ptr = np.searchsorted(docs.component[by_component], np.arange(n_components + 1)).astype(np.int64)
    limits = np.zeros(n_components, np.int64)
    for c in range(n_components):
        tokens = int(docs.n_tokens[docs.component == c].sum())
        limits[c] = min(per_component, int(at_most * tokens // 1))
    kernels.hold_out(by_component, order_ptr, cluster, by_hash, member_ptr, docs.component, docs.n_tokens, limits, held)
    return held


def halves(names: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The two halves of names of 32 hex digits, uint64 (n,) each."""
    names = names.cast(pa.large_string())
    ends = np.frombuffer(names.buffers()[1] or b"", np.int64)[names.offset : names.offset + len(names) + 1]
    if names.null_count or (len(names) and (np.diff(ends) != 32).any()):
        raise AssertionError("a document or cluster without a name of 32 hex digits")
    text = np.frombuffer(names.buffers()[2] or b"", np.uint8)[ends[0] if len(names) else 0 :]
    both = np.empty((len(names), 2), np.uint64)
    for first in range(0, len(names), 1 << 20):
        digits = text[32 * first : 32 * min(first + (1 << 20), len(names))].reshape(-1, 32)
        values = np.where(digits >= ord("a"), digits - (ord("a") - 10), digits - ord("0")).astype(np.uint8)
        both[first : first + len(digits)] = (values[:, 0::2] << 4 | values[:, 1::2]).view(">u8")
    return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])


def offsets(ids: pa.Array, per_epoch: int, key: int) -> np.ndarray:
    """o_d of every document, int64 (n,) in [0, per_epoch)."""
    if per_epoch == 1:
        return np.zeros(len(ids), np.int64)
    high, low = halves(ids)
    return (order.keyed_hash(high, low, key) % np.uint64(per_epoch)).astype(np.int64)


def copies_key(seed: int, phase: str, component: str) -> int:
    return order.key(seed, "copies", phase, component)


def stands_in(copies: np.ndarray, offset: np.ndarray, per_epoch: int, number: int) -> np.ndarray:
    """bool (n,): the documents that pass `number` holds."""
    at = number % per_epoch + offset
    return (at + 1) * copies // per_epoch > at * copies // per_epoch


def passes(docs: Documents, chosen: np.ndarray, component: int, target: int, seed: int, phase: str) -> list[Use]:
    """The passes of one component over the documents `chosen` (canonical order), together exactly `target` tokens."""
    if not chosen.size:
        return []
    name, copies = docs.components[component], docs.copies[chosen]
    per_epoch = int(copies.max())
    offset = offsets(docs.id.take(pa.array(chosen)), per_epoch, copies_key(seed, phase, name))
    uses: list[Use] = []
    left = target
    while left:
        number = len(uses)
        members = chosen[stands_in(copies, offset, per_epoch, number)]
        permuted = members[order.permutation(members.size, order.key(seed, "documents", phase, name, str(number)))]
        used = docs.n_tokens[permuted]
        before = np.cumsum(used)
        if before[-1] > left:
            last = int(np.searchsorted(before, left))  # the first document at which the budget is reached
            permuted, used = permuted[: last + 1], used[: last + 1].copy()
            used[-1] -= before[last] - left
        left -= int(used.sum())
        uses.append(Use(component, number, permuted, used))
    return uses
