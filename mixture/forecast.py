"""Plans of every phase from sums alone: what `build` would plan, before it is known which document goes where.

In: a mixture, and per pattern of components (selection.py) what its documents hold together, each once. Out: a Plan per phase, or
Infeasible. Exact for one phase. What a phase consumes is spread over the documents of a component as its passes do it, the least used
first, but evenly within a pattern, where a build uses some documents once more than others: so of later phases caps may be off by the
part of an epoch. What the recipe continues is not counted. Imports recipe and mixture's budget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from curate.recipe import Mixture
from mixture import budget

Pattern: TypeAlias = tuple[tuple[int, int], ...]  # (component, bin of its copies, -1 in none), in recipe order


@dataclass(frozen=True)
class Held:
    """What the documents of one pattern hold, each counted once; fractions where it is estimated or a part is held out."""

    tokens: Fraction
    loss_tokens: Fraction
    documents: Fraction

    def of(self, unit: str) -> Fraction:
        return {"tokens": self.tokens, "loss_tokens": self.loss_tokens, "examples": self.documents}[unit]


def plans(mixture: Mixture, held: Mapping[Pattern, Held], copies: Mapping[str, Sequence[int]]) -> list[budget.Plan]:
    """`copies`: component -> copies of each of its bins; a document in none has one. Raises budget.Infeasible."""
    used: dict[Pattern, Fraction] = dict.fromkeys(held, Fraction(0))  # uses of each document so far, on average
    found = []
    for phase in mixture.phase_list:
        inside = {c for c, ask in enumerate(phase.asks) if ask is not None}
        members: dict[int, dict[Pattern, int]] = {c: {} for c in inside}  # pattern -> its copies
        for pattern in held:
            if (first := next((pair for pair in pattern if pair[0] in inside), None)) is not None:
                times = [*copies.get(phase.leaves[first[0]], ()), 1]  # bin -1 is the last
                members[first[0]][pattern] = times[first[1]]
        stocks = [budget.NOTHING] * len(phase.leaves)
        for c, mine in members.items():
            ask = phase.asks[c]
            assert ask is not None
            sizes = {pattern: held[pattern].of(phase.unit) for pattern in mine}
            epoch = sum((m * sizes[p] for p, m in mine.items()), Fraction(0))
            consumed = sum((used[p] * sizes[p] for p in mine), Fraction(0))
            most = -(-ask.max_epochs // 1)
            left = sum((max(m * most - used[p], Fraction(0)) * sizes[p] for p, m in mine.items()), Fraction(0))
            cap = max(0, min(int(ask.max_epochs * int(epoch) // 1) + int(-consumed // 1), int(left)))
            documents = sum((m * held[p].documents for p, m in mine.items()), Fraction(0))
            stocks[c] = budget.Stock(int(sum(sizes.values(), Fraction(0))), int(epoch), int(documents), cap)
        plan = budget.plan(phase, stocks)
        for c, mine in members.items():
            _spend({p: held[p].of(phase.unit) for p in mine}, mine, used, Fraction(plan.targets[c]))
        found.append(plan)
    return found


def _spend(
    sizes: Mapping[Pattern, Fraction], copies: Mapping[Pattern, int], used: dict[Pattern, Fraction], target: Fraction
) -> None:
    """Raise `used` of the patterns to one number of epochs, those that are past it left alone, until `target` is consumed."""
    epochs = sorted({used[p] / m for p, m in copies.items()})
    for i, level in enumerate(epochs):
        low = [p for p, m in copies.items() if used[p] / m <= level and sizes[p]]
        per_epoch = sum((copies[p] * sizes[p] for p in low), Fraction(0))
        if not per_epoch:
            continue
        step = target / per_epoch
        step = min(step, epochs[i + 1] - level) if i + 1 < len(epochs) else step
        for p in low:
            used[p] += step * copies[p]
        target -= step * per_epoch
        if not target:
            return
