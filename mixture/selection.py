"""Which documents are trained on, and how often: kept documents and budgets in, uses out.

In: one table of kept documents per source, recipe order; per phase how much of which component. Canonical order of a component's
documents: its sources in `from` order, then id. Held-out comes first (held_out.py). Every pass lists its documents in
its own keyed permutation (order.py); passes follow each other until the budget is reached, so at most one document per component and
phase is cut. Imports numpy, pyarrow,
names, order, kernels.

**Membership.** A document has a pattern: the components that it matches, in recipe order, each with the bin of its copies. In a phase
it belongs to the first of them that has a budget there. Its home, where held-out text is counted, is the first of them that has a
budget in any phase.
**Epochs.** Document d has m_d copies (1 unless the component has `copies`). An epoch uses it m_d times: W = sum m_d n_tokens tokens, in
M passes, M = the largest m_d. Pass p (from 0, over all epochs) holds d iff floor((p + 1 + o_d) m_d / M) > floor((p + o_d) m_d / M), with
o_d = keyed_hash(id, key(seed, "copies", phase, component)) mod M: any M passes in a row hold d exactly m_d times, any P passes hold it
floor or ceiling of P m_d / M times, never twice in one pass. So copies are spread over the epoch, every part of an epoch is a sample of
the whole of it, and T = k W + r tokens (0 <= r < W) use d at least k m_d times and at most (k + 1) m_d, k m_d if r = 0. With
max_epochs c, T <= floor(c W): never more than ceil(c) m_d. Without copies M = 1, W = U and every pass holds all documents.
**Phases.** `used` counts the uses of d begun so far, in any phase and component; `rest` is how many tokens were taken of the last one
where a budget cut it, else 0. In pass p of a phase d has the index floor((p + o_d) m_d / M) - floor(o_d m_d / M), its uses in the passes
before p; it stands there only if that is at least used_d (used_d - 1 if rest_d > 0: that use then goes on at token rest_d). So the
least used come first, what one phase left of a pass the next one takes, and among documents of equal history uses are k or k + 1.
**Units.** A budget counts tokens; or loss_tokens, the labels that count (a use's first token is none, nor what the loss mask leaves
out), the last document cut at the token where they are reached; or examples, uses begun, and then no document is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from curate.schema import PAIRS
from mixture import kernels, order
from mixture.names import Names, read

# large strings: a hundred million ids do not fit 32-bit offsets
KEPT = pa.schema([
    ("id", pa.large_string()), ("cluster_id", pa.large_string()), ("n_tokens", pa.int64()), ("n_loss_tokens", pa.int64()),
    ("shard", pa.int64()), ("token_start", pa.int64()), ("language", pa.dictionary(pa.int32(), pa.string())),
    ("license", pa.dictionary(pa.int32(), pa.string())), ("pattern", pa.int64()),  # index into the patterns, see curate/membership.py
])  # fmt: skip
PROVENANCE = pa.field("provenance", pa.dictionary(pa.int32(), pa.string()))  # values of provenance.py; of tables that say it
OF_PAIRS = pa.schema([*list(PAIRS)[1:-1]])  # columns of tables whose documents are pairs
REFUSED = PAIRS.field("refused")  # and of those whose documents may be refused: pairs, and conversations of kind sft
Pattern: TypeAlias = tuple[tuple[int, int], ...]  # (component, bin of its copies, -1 in none), in recipe order
UNKNOWN = "unknown"  # language or licence of a document that states none
BLOCK = 1 << 20  # documents of a pass permuted at once: a budget rarely needs the whole of the last pass


@dataclass(frozen=True)
class Coded:
    """A column of few different values."""

    values: list[str]
    code: np.ndarray  # int32 (n,), index into values, -1 where there is none


@dataclass(frozen=True)
class Pairs:
    """Where pairs part (schema.PAIRS). Arrays int64 (n,), all 0 where a document is refused or no pair."""

    n_prompt: np.ndarray
    n_chosen: np.ndarray
    n_rejected: np.ndarray
    margin: np.ndarray  # float64, NaN where it is not known

    @property
    def longest(self) -> np.ndarray:
        """Tokens of the longer of both conversations."""
        return self.n_prompt + np.maximum(self.n_chosen, self.n_rejected)


@dataclass(frozen=True)
class Documents:
    """Kept documents of all sources, by source (recipe order), then id. Arrays (n,)."""

    sources: list[str]
    components: list[str]
    canonical: list[list[int]]  # per component its sources in `from` order
    copies: list[np.ndarray]  # per component int64: uses in an epoch of documents in each bin, and last of those in none
    patterns: list[Pattern]
    pattern: np.ndarray  # int32, index into patterns
    source: np.ndarray  # int16, index into sources
    n_tokens: np.ndarray  # int64
    n_loss_tokens: np.ndarray  # int64
    shard: np.ndarray  # int32, index into the list of token shards
    token_start: np.ndarray  # int64, in tokens from the start of the shard
    id: Names
    cluster: pa.ChunkedArray  # cluster_id, null where the document stands alone
    language: Coded
    license: Coded
    provenance: Coded
    pairs: Pairs | None = None
    refused: Coded | None = None  # why a document without tokens cannot be trained on

    @property
    def n(self) -> int:
        return self.source.size

    def first_of(self, present: Collection[int]) -> np.ndarray:
        """int16 (n,): of the components in `present` the first that each document matches, -1 where there is none."""
        first = [next((c for c, _ in pattern if c in present), -1) for pattern in self.patterns]
        return np.array(first, np.int16)[self.pattern]

    def of(self, component: int, assigned: np.ndarray) -> np.ndarray:
        """The documents that `assigned` (of first_of) gives to a component, in canonical order."""
        return self.in_order(component, np.flatnonzero(assigned == component))

    def in_order(self, component: int, own: np.ndarray) -> np.ndarray:
        """A component's documents, given by source and id, in its canonical order."""
        if self.canonical[component] == sorted(self.canonical[component]):  # the recipe's order
            return own
        rank = np.full(len(self.sources), len(self.sources), np.int16)
        rank[self.canonical[component]] = np.arange(len(self.canonical[component]))
        return own[np.argsort(rank[self.source[own]], kind="stable")]

    def bins(self, component: int, own: np.ndarray) -> np.ndarray:
        """int64: the bin that a component's copies put its documents `own` in, -1 none."""
        return np.array([dict(pattern).get(component, -1) for pattern in self.patterns], np.int64)[self.pattern[own]]

    def copies_of(self, component: int, own: np.ndarray) -> np.ndarray:
        """int64: uses of the component's documents `own` in one epoch, >= 1."""
        times = self.copies[component]
        if (times == 1).all():
            return np.broadcast_to(np.int64(1), own.size)
        return times[self.bins(component, own)]  # bin -1 is the last


@dataclass(frozen=True)
class Labels:
    """Which tokens count as labels, where a budget is in loss_tokens."""

    whole: np.ndarray  # int64 (n_documents,): labels of one whole use of each
    mask: Callable[[int], np.ndarray]  # of a document, bool (n_tokens,): its tokens that the loss mask lets count


@dataclass(frozen=True)
class State:
    """What was consumed of every document, over the phases so far and whatever the recipe continues. Arrays int64 (n,), changed by `add`.

    `labels` only where some budget is in loss_tokens, else empty."""

    used: np.ndarray  # uses begun
    rest: np.ndarray  # tokens taken of the last use where a budget cut it, 0 where none did
    tokens: np.ndarray
    labels: np.ndarray

    @classmethod
    def fresh(cls, n: int, with_labels: bool = False) -> State:
        used, rest, tokens = (np.zeros(n, np.int64) for _ in range(3))
        return cls(used, rest, tokens, np.zeros(n if with_labels else 0, np.int64))

    def copy(self) -> State:
        return State(self.used.copy(), self.rest.copy(), self.tokens.copy(), self.labels.copy())

    def add(self, use: Use, docs: Documents, labels: Labels | None = None) -> None:
        """A use has at most one part of a document, so every document stands here once."""
        kernels.consume(use.documents, use.start, use.n_tokens, docs.n_tokens, self.used, self.rest, self.tokens)
        if self.labels.size:
            assert labels is not None
            self.labels[use.documents] += labels_of(use, docs, labels)


@dataclass(frozen=True)
class Use:
    """One pass of one component in one phase (their numbers), or its held-out documents (phase -1, pass 0)."""

    phase: int
    component: int
    pass_: int
    documents: np.ndarray  # int64, in the pass's order
    start: np.ndarray  # int64, the first token used of each; 0 unless an earlier phase began this use
    n_tokens: np.ndarray  # int64, tokens used of each


@dataclass(frozen=True)
class Part:
    """The members of a component in one phase, before the phase begins."""

    component: int
    own: np.ndarray  # int64, their documents in canonical order
    copies: np.ndarray  # int64 (own,)
    unit: str  # tokens | loss_tokens | examples
    epoch: int  # of all of them, each times its copies, in the unit
    unique: int  # each once, in the unit
    cap: int  # what the phase can have at most, in the unit; below 0 where more was consumed
    labels: Labels | None = field(default=None, repr=False)
    is_whole: bool = False  # no document is cut: a budget ends before the first that would pass it

    @property
    def epoch_documents(self) -> int:
        return int(self.copies.sum())


def documents(
    tables: MutableMapping[str, pa.Table], components: Mapping[str, Sequence[str]], patterns: Sequence[Pattern],
    copies: Mapping[str, Sequence[int]] | None = None,
) -> Documents:  # fmt: skip
    """Join the sources' tables (columns of KEPT). A document without tokens matches nothing, unless it was refused.

    `tables` is empty afterwards: a hundred million documents need not be there twice. `components`: name -> its sources in `from` order.
    `copies`: name -> copies of each of its bins."""
    parts, ids, sources = [], [], list(tables)
    there = {name for table in tables.values() for name in table.column_names}
    beside = [PROVENANCE, *(field_ for field_ in (*OF_PAIRS, REFUSED) if field_.name in there)]
    for source in sources:
        table = tables.pop(source)
        others = [table[f.name] if f.name in table.column_names else pa.nulls(len(table), f.type) for f in beside]
        table = table.select(KEPT.names).cast(KEPT)
        for field_, column in zip(beside, others, strict=True):
            table = table.append_column(field_, column)
        own = read(table["id"])
        if not _in_order(own):  # token shards are, one after the other, so mostly nothing is to do
            by_id = np.lexsort((own.low, own.high))
            table, own = table.take(pa.array(by_id)), own[by_id]
        parts.append(table.drop_columns("id"))
        ids.append(own)
        del table
    rows = pa.concat_tables(parts)
    with ThreadPoolExecutor(4) as pool:
        numbers = ("n_tokens", "n_loss_tokens", "token_start", "shard", "pattern")
        n_tokens, n_loss_tokens, token_start, shard, pattern = pool.map(lambda name: _one(rows[name]), numbers)
        language, license_, said = pool.map(lambda name: _coded(rows[name]), ("language", "license", "provenance"))
    pattern, known, pairs = pattern.astype(np.int32), list(patterns), _pairs(rows) if "n_prompt_tokens" in there else None
    refused = _coded(rows[REFUSED.name].dictionary_encode()) if REFUSED.name in there else None
    if n_tokens.size and n_tokens.min() < 1:
        pattern[(n_tokens < 1) & (refused.code < 0 if refused is not None else True)] = len(known)
        known.append(())
    return Documents(
        sources=sources, components=list(components), canonical=[[sources.index(s) for s in of] for of in components.values()],
        copies=[np.array([*(copies or {}).get(name, ()), 1], np.int64) for name in components], patterns=known, pattern=pattern,
        source=np.repeat(np.arange(len(sources), dtype=np.int16), [part.num_rows for part in parts]), n_tokens=n_tokens,
        n_loss_tokens=n_loss_tokens, shard=shard.astype(np.int32), token_start=token_start,
        id=Names.joined(ids) if len(ids) != 1 else ids[0], cluster=rows["cluster_id"], language=language, license=license_, provenance=said,
        pairs=pairs, refused=refused,
    )  # fmt: skip


def _pairs(rows: pa.Table) -> Pairs:
    prompt, chosen, rejected = (rows[f"n_{part}_tokens"].fill_null(0).to_numpy() for part in ("prompt", "chosen", "rejected"))
    margin = rows["margin"].cast(pa.float64()).fill_null(float("nan")).to_numpy()
    return Pairs(prompt, chosen, rejected, margin)


def _in_order(ids: Names) -> bool:
    high, low = ids.high, ids.low
    return bool(((high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] >= low[:-1]))).all())


def _one(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers; one chunk is not copied."""
    return column.chunk(0).to_numpy() if column.num_chunks == 1 else column.to_numpy()


def _coded(column: pa.ChunkedArray) -> Coded:
    """Values in the order in which they come."""
    place: dict[str, int] = {}
    codes = [np.empty(0, np.int32)]
    for chunk in column.chunks:
        own = [place.setdefault(value, len(place)) for value in chunk.dictionary.to_pylist()]
        codes.append(np.array([*own, -1], np.int32)[chunk.indices.fill_null(len(own)).to_numpy()])
    return Coded(list(place), np.concatenate(codes))


def offsets(ids: Names, per_epoch: int, key: int) -> np.ndarray:
    """o_d of every document, int64 (n,) in [0, per_epoch)."""
    if per_epoch == 1:
        return np.zeros(len(ids), np.int64)
    return (order.keyed_hash(ids.high, ids.low, key) % np.uint64(per_epoch)).astype(np.int64)


def copies_key(seed: int, phase: str, component: str) -> int:
    return order.key(seed, "copies", phase, component)


def stands_in(copies: np.ndarray, offset: np.ndarray, per_epoch: int, number: int) -> np.ndarray:
    """bool (n,): the documents that pass `number` holds, if none of their uses are consumed yet."""
    at = number % per_epoch + offset
    return (at + 1) * copies // per_epoch > at * copies // per_epoch


def uses_before(copies: np.ndarray, offset: np.ndarray, per_epoch: int, number: int) -> np.ndarray:
    """int64 (n,): how often the passes before `number` hold each document; in pass `number` the index of its use."""
    return (number + offset) * copies // per_epoch - offset * copies // per_epoch


def first_pass(copies: np.ndarray, offset: np.ndarray, per_epoch: int, due: np.ndarray) -> int:
    """The first pass that holds a document whose uses before `due` (n,) are consumed."""
    before = offset * copies // per_epoch
    return int((-(-(due + before + 1) * per_epoch // copies) - 1 - offset).min())


def part(
    docs: Documents, state: State, component: int, own: np.ndarray, max_epochs: Fraction, unit: str, labels: Labels | None = None,
    is_whole: bool = False,
) -> Part:  # fmt: skip
    """What a phase has of a component: `own` in canonical order, held-out documents left out.

    Its cap is the smaller of what floor(max_epochs * epoch) leaves after all that was consumed of `own`, and of what the passes below
    ceil(max_epochs) * M still hold."""
    copies, most = docs.copies_of(component, own), -(-max_epochs.numerator // max_epochs.denominator)
    consumed = {"tokens": state.tokens, "loss_tokens": state.labels, "examples": state.used}[unit]
    sums = np.zeros(4, np.int64)
    kernels.stock(own, copies, _whole(docs, unit, labels), state.used, consumed, most, sums)
    unique, epoch, left, taken = sums.tolist()
    cut = own[state.rest[own] > 0]
    cut = cut[state.used[cut] <= most * docs.copies_of(component, cut)]
    left += int(rest_of(docs, cut, state.rest[cut], unit, labels).sum())
    return Part(component, own, copies, unit, epoch, unique, min(int(max_epochs * epoch // 1) - taken, left), labels, is_whole)


def passes(docs: Documents, state: State, part: Part, target: int, seed: int, phase: str, number: int = 0) -> list[Use]:
    """The passes of one component in a phase (its name and number), together exactly `target` of the part's unit; of a part whose
    documents are whole as many as it holds. Adds them to `state`."""
    name, own, copies = docs.components[part.component], part.own, part.copies
    if target > max(part.cap, 0):
        raise ValueError(f"{target} {part.unit} of {name}, which has {part.cap}")
    per_epoch = int(copies.max(initial=1))
    offset = offsets(docs.id[own], per_epoch, copies_key(seed, phase, name)) if per_epoch > 1 else np.zeros(own.size, np.int64)
    due = state.used[own] - (state.rest[own] > 0)
    is_fresh, is_cut = not due.any(), bool(state.rest[own].any())
    uses: list[Use] = []
    left, pass_ = target, 0
    if left and not is_fresh:
        pass_ = first_pass(copies, offset, per_epoch, due)
    while left:
        holds = stands_in(copies, offset, per_epoch, pass_) if per_epoch > 1 else np.ones(own.size, np.bool_)
        if not is_fresh:
            holds &= uses_before(copies, offset, per_epoch, pass_) >= due
        members = own[holds] if per_epoch > 1 or not is_fresh else own
        if members.size:
            key = order.key(seed, "documents", phase, name, str(pass_))
            use, left = _pass(docs, state, part, members, key, left, (number, part.component, pass_), is_cut)
            if use.documents.size:
                state.add(use, docs, part.labels)
                uses.append(use)
        pass_ += 1
    return uses


def _pass(
    docs: Documents, state: State, part: Part, members: np.ndarray, key: int, left: int, of: tuple[int, int, int], is_cut: bool
) -> tuple[Use, int]:
    """One pass over `members`, or as much of it as brings the budget to its end; and what is left of the budget after it. `is_cut`: a use
    of some member was cut before."""
    chosen, starts, sizes = [], [], []
    is_run = members[-1] - members[0] + 1 == members.size and bool((np.diff(members) == 1).all())
    for first in range(0, members.size, BLOCK):
        at = order.permutation(members.size, key, first, min(BLOCK, members.size - first))
        documents = at + members[0] if is_run else members[at]
        start = state.rest[documents] if is_cut else np.zeros(documents.size, np.int64)
        n_tokens = docs.n_tokens[documents] - start
        before = np.cumsum(n_tokens if part.unit == "tokens" else _measure(docs, documents, start, part.unit, part.labels))
        is_last = before[-1] >= left
        if is_last:
            last = int(np.searchsorted(before, left))  # the first document at which the budget is reached
            documents, start, n_tokens = documents[: last + 1], start[: last + 1], n_tokens[: last + 1]
            over = int(before[last]) - left
            if over and part.is_whole:
                documents, start, n_tokens = documents[:last], start[:last], n_tokens[:last]
            elif over:
                n_tokens[-1] -= _tail(docs, int(documents[-1]), int(start[-1]), over, part)
            left = 0
        else:
            left -= int(before[-1])
        chosen.append(documents)
        starts.append(start)
        sizes.append(n_tokens)
        if is_last:
            break
    return Use(*of, *(np.concatenate(arrays) for arrays in (chosen, starts, sizes))), left


def _whole(docs: Documents, unit: str, labels: Labels | None) -> np.ndarray:
    """int64 (n,): what one whole use of every document counts."""
    if unit == "examples":
        return np.broadcast_to(np.int64(1), docs.n)
    if unit == "tokens":
        return docs.n_tokens
    assert labels is not None
    return labels.whole


def whole_of(docs: Documents, own: np.ndarray, unit: str, labels: Labels | None) -> np.ndarray:
    """int64 (own,): what one whole use of each document counts."""
    return _whole(docs, unit, labels)[own]


def _measure(docs: Documents, own: np.ndarray, start: np.ndarray, unit: str, labels: Labels | None) -> np.ndarray:
    """int64 (own,): what the uses from `start` on count, in labels or examples."""
    found = whole_of(docs, own, unit, labels)
    cut = np.flatnonzero(start)
    if cut.size:
        found = found.copy()
        found[cut] = rest_of(docs, own[cut], start[cut], unit, labels)
    return found


def rest_of(docs: Documents, cut: np.ndarray, start: np.ndarray, unit: str, labels: Labels | None) -> np.ndarray:
    """int64 (cut,): what the rest of uses that a budget has cut counts. They are few."""
    if unit == "tokens":
        return docs.n_tokens[cut] - start
    if unit == "examples":  # they began before
        return np.zeros(cut.size, np.int64)
    assert labels is not None
    pairs = zip(cut.tolist(), start.tolist(), strict=True)
    return np.array([np.count_nonzero(labels.mask(d)[a + 1 :]) for d, a in pairs], np.int64)


def _tail(docs: Documents, document: int, start: int, over: int, part: Part) -> int:
    """How many tokens at the end of a document's use the budget leaves, where they count `over`."""
    if part.unit == "tokens":
        return over
    assert part.labels is not None and part.unit == "loss_tokens"
    counts = np.flatnonzero(part.labels.mask(document)[start + 1 :]) + start + 1  # which tokens are labels
    return int(docs.n_tokens[document] - counts[-over - 1] - 1)  # the last label that the budget has is the last token of the use


def labels_of(use: Use, docs: Documents, labels: Labels) -> np.ndarray:
    found = labels.whole[use.documents]
    end = use.start + use.n_tokens
    for i in np.flatnonzero((use.start > 0) | (end < docs.n_tokens[use.documents])).tolist():
        found[i] = np.count_nonzero(labels.mask(int(use.documents[i]))[use.start[i] + 1 : end[i]])
    return found
