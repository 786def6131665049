"""Every use derived again, phase after phase: which documents a pass has to hold, from which token on, and which of them it uses.

In: `Kept`, `Used`, the members of components, what `continues` consumed. Out: findings, and what every document has been through
after each phase. The rule is the one written in selection.py; the selection's rows are held against it, and nothing is taken from
the code that made them but keys, offsets and permutations. Imports mixture's order and verify.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction

import numpy as np

from mixture import order
from mixture.verify.copies import Passes
from mixture.verify.report import Report
from mixture.verify.uses import SELECTION, Kept, Used


@dataclass(frozen=True)
class History:
    """Per document of Kept, over all phases so far and whatever the recipe continues. Arrays int64 (n_kept,)."""

    used: np.ndarray  # uses begun
    rest: np.ndarray  # tokens taken of the last use where a budget cut it, else 0
    reached: np.ndarray  # tokens, from the first on, that were trained on at least once
    tokens: np.ndarray  # trained on, all uses together
    labels: np.ndarray  # the same of labels that count

    @classmethod
    def empty(cls, n: int) -> History:
        return cls(*(np.zeros(n, np.int64) for _ in range(5)))

    def add(self, uses: Uses, kept: Kept) -> None:
        """Of one pass."""
        end = uses.begin + uses.n_tokens
        self.used[uses.document] += uses.begin == 0
        self.rest[uses.document] = np.where(end < kept.n_tokens[uses.document], end, 0)
        self.reached[uses.document] = np.maximum(self.reached[uses.document], end)
        self.tokens[uses.document] += uses.n_tokens
        self.labels[uses.document] += uses.labels

    def consumed(self, unit: str) -> np.ndarray:
        return {"tokens": self.tokens, "loss_tokens": self.labels, "examples": self.used}[unit]


@dataclass(frozen=True)
class Part:
    """A component in one phase. `own` in canonical order: its sources as `from` has them, then id."""

    phase: int
    phase_name: str
    component: int
    name: str
    title: str  # in findings: says the phase where there are several
    unit: str
    packing: str  # best_fit | concat | single
    own: np.ndarray  # int64, numbers in Kept
    copies: np.ndarray  # int64 (own,)
    measure: np.ndarray  # int64 (own,): what one whole use counts, in the unit
    max_epochs: Fraction

    @property
    def epoch(self) -> int:
        """Of all its documents, each times its copies, in the unit."""
        return int((self.copies * self.measure).sum())


def check_uses(part: Part, used: Used, kept: Kept, history: History, seed: int, report: Report) -> None:
    """Holds the rows of a part against the rule, then adds them to `history`."""
    mine = used.of(part.phase, part.component)
    rows = mine[np.lexsort((used.chunk[mine], used.document[mine], used.pass_[mine]))]
    uses = uses_of(rows, used, part.title, report)
    passes = Passes(seed, part.phase_name, part.name, part.own, part.copies, kept)
    due = history.used[part.own] - (history.rest[part.own] > 0)  # index of the next use, or of the one that was cut
    last, in_part = int(uses.pass_.max(initial=-1)), 0
    cap = -(-part.max_epochs.numerator // part.max_epochs.denominator) * passes.per_epoch
    if last >= cap:
        report.add(SELECTION, f"{part.title}: pass {last}, its cap of {float(part.max_epochs):g} epochs ends with pass {cap - 1}")
        last = cap - 1
    for number in range(last + 1):
        here = uses.of(number)
        members = part.own[_holds(passes, due, number)]
        key = order.key(seed, "documents", part.phase_name, part.name, str(number))
        in_part += _check_pass(
            f"{part.title}, pass {number}", members, here, key, number == last, part.packing, kept, history, report
        )
        history.add(here, kept)
    is_whole = part.unit == "examples" or part.packing == "single"
    if in_part > (not is_whole):
        most = "none" if is_whole else "at most one"
        report.add(SELECTION, f"{part.title}: {in_part:,} documents are used in part, {most} may be")


@dataclass(frozen=True)
class Uses:
    """Uses of one part by pass, then document: (n_uses,) arrays."""

    pass_: np.ndarray
    document: np.ndarray
    row: np.ndarray  # of the selection, where its first chunk is
    begin: np.ndarray  # first token
    n_tokens: np.ndarray
    labels: np.ndarray

    def of(self, number: int) -> Uses:
        """Those of one pass, in which a document is once."""
        here = slice(*np.searchsorted(self.pass_, [number, number + 1]).tolist())
        return Uses(*(getattr(self, field.name)[here] for field in fields(self)))


def uses_of(rows: np.ndarray, used: Used, title: str, report: Report) -> Uses:
    """`rows` sorted by pass, document, chunk. A use's chunks are numbered from 0 and follow each other."""
    if not rows.size:
        return Uses(*(np.empty(0, np.int64) for _ in range(6)))
    key = np.stack((used.pass_[rows].astype(np.int64), used.document[rows]))
    first = np.flatnonzero(np.concatenate(([True], (key[:, 1:] != key[:, :-1]).any(axis=0))))
    n_chunks = np.diff(np.append(first, rows.size))
    length = used.length[rows].astype(np.int64)
    ends = np.cumsum(length)
    begin = used.start[rows][first]
    follows = np.repeat(begin - (ends - length)[first], n_chunks) + ends - length
    number = np.arange(rows.size) - np.repeat(first, n_chunks)
    wrong = (used.chunk[rows] != number) | (used.n_chunks[rows] != np.repeat(n_chunks, n_chunks)) | (used.start[rows] != follows)
    for row in rows[wrong][:3].tolist():
        report.add(SELECTION, f"{title}, pass {used.pass_[row]}: a document's chunks do not follow each other", f"row {row}")
    labels = np.add.reduceat(used.n_loss[rows].astype(np.int64), first)
    return Uses(key[0][first], key[1][first], rows[first], begin, np.add.reduceat(length, first), labels)


def _holds(passes: Passes, due: np.ndarray, number: int) -> np.ndarray:
    """bool (own,): the documents that the pass has to hold: it is their turn, and that use was not made before."""
    before = passes.before(number)
    return (passes.before(number + 1) > before) & (before >= due)


def _check_pass(
    title: str,
    members: np.ndarray,
    uses: Uses,
    key: int,
    is_last: bool,
    packing: str,
    kept: Kept,
    history: History,
    report: Report,
) -> int:
    """Who is in one pass and how much of them. The last pass follows its permutation as far as the budget goes, all others are
    complete; the order of a pass is seen where documents are packed end to end. Returns the uses that end before their document."""
    n = min(uses.document.size, members.size) if is_last else members.size
    in_order = members
    if is_last or packing == "concat":
        in_order = members[order.permutation(members.size, key, 0, n)]
    due = np.sort(in_order)
    if not np.array_equal(uses.document, due):
        stray, missing = np.setdiff1d(uses.document, members), np.setdiff1d(due, uses.document)
        for d in stray[:3].tolist():
            what = "a document of another component or pass, used before, or held out"
            report.add(SELECTION, f"{title}: {what}", f"id {kept.id[d].decode()}")
        for d in missing[: 0 if stray.size else 3].tolist():
            report.add(SELECTION, f"{title}: a document is left out whose turn it is", f"id {kept.id[d].decode()}")
    elif packing == "concat" and not np.array_equal(uses.document[np.argsort(uses.row)], in_order):
        report.add(SELECTION, f"{title}: its documents do not stand in the order that the seed gives")
    right = history.rest[uses.document]  # where a budget has cut a use, it goes on
    for i in np.flatnonzero(uses.begin != right)[:3].tolist():
        what = f"a use begins at token {uses.begin[i]}, not at {right[i]}"
        report.add(SELECTION, f"{title}: {what}", f"id {kept.id[uses.document[i]].decode()}")
    short = uses.document[uses.begin + uses.n_tokens < kept.n_tokens[uses.document]]
    if short.size and not (is_last and short[0] == in_order[-1:]):
        report.add(
            SELECTION, f"{title}: a document is used in part that is not the budget's last", f"id {kept.id[short[0]].decode()}"
        )
    return int(short.size)


def cap_of(part: Part, history: History, rest: np.ndarray) -> int:
    """What the phase can have of it at most, in its unit, before it begins: what floor(max_epochs x epoch) leaves after all that was
    consumed of its documents, and no more than the passes below ceil(max_epochs) epochs still hold. `rest` (own,): what is left of
    the uses that budgets have cut, in the unit."""
    used = history.used[part.own]
    allowed = part.copies * -(-part.max_epochs.numerator // part.max_epochs.denominator)
    left = int((np.maximum(allowed - used, 0) * part.measure).sum()) + int(rest[used <= allowed].sum())
    by_tokens = int(part.max_epochs * part.epoch // 1) - int(history.consumed(part.unit)[part.own].sum())
    return max(0, min(by_tokens, left))
