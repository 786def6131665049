"""Grammatical error correction: the MaxMatch (M2) score of Dahlmeier and Ng 2012 (NAACL, N12-1067), F0.5 by default.

In: source, gold edits of one or more annotators (an .m2 file, or corrected sentences), the system's sentence; all as tokens.
Out: counts of correct, proposed and gold edits, and F. Of all ways to read the system's sentence as edits of the source (the lattice of
minimal alignments, neighbouring changes merged with at most MAX_UNCHANGED unchanged words inside) the one that agrees most with the
annotator counts. Pure. Imports errors and, for raw sentences, texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from curate.errors import CurateError

MAX_UNCHANGED = 2  # m2scorer's default, --max_unchanged_words
Cell = tuple[int, int]  # tokens of the source and of the hypothesis that are behind
Cost = tuple[int, int, int]
Lattice = dict[Cell, list[Cell]]  # the steps that lead on from each cell


class Edit(NamedTuple):
    """Tokens start:end of the source become one of `corrections` (each a tuple of tokens, () for a deletion)."""

    start: int
    end: int
    corrections: tuple[tuple[str, ...], ...]


class Counts(NamedTuple):
    correct: int
    proposed: int
    gold: int


@dataclass(frozen=True)
class Sentence:
    source: tuple[str, ...]
    annotators: tuple[tuple[Edit, ...], ...]  # one at least; edits in order of their places


def f_beta(counts: Counts | Sequence[float], beta: float = 0.5) -> float:
    """F of m2scorer: precision 1 where nothing is proposed, recall 1 where nothing is to be corrected, F 0 where both are 0."""
    correct, proposed, gold = counts
    precision = correct / proposed if proposed else 1.0
    recall = correct / gold if gold else 1.0
    weighted = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / weighted if weighted else 0.0


def score(sentences: Sequence[Sentence], hypotheses: Sequence[Sequence[str]], beta: float = 0.5) -> list[Counts]:
    """Counts per sentence, of the annotator that is best for F over the sentences so far, as m2scorer chooses."""
    chosen: list[Counts] = []
    total = Counts(0, 0, 0)
    for sentence, hypothesis in zip(sentences, hypotheses, strict=True):
        best = max(
            (overlap(sentence.source, hypothesis, gold) for gold in sentence.annotators),
            key=lambda c: _preference(total, c, beta),
        )
        chosen.append(best)
        total = Counts(*(a + b for a, b in zip(total, best, strict=True)))
    return chosen


def _preference(total: Counts, local: Counts, beta: float) -> tuple[float, int, float]:
    """Highest F over all so far; then more correct edits; then fewer proposed and gold ones."""
    correct, proposed, gold = (a + b for a, b in zip(total, local, strict=True))
    together = proposed + beta**2 * gold
    f = (1 + beta**2) * correct / together if together else 1.0
    return f, correct, -together


def overlap(source: Sequence[str], hypothesis: Sequence[str], gold: Sequence[Edit]) -> Counts:
    """Counts of the reading that matches most gold edits; among those, of the fewest steps outside them, then of the fewest edits.

    Dynamic programming over the cells of the lattice. The state at a cell: unchanged words inside the edit that is open (-1: none is),
    and how many gold insertions at this place are behind, for each counts once. Costs: (- matches, steps no gold edit covers, edits).
    """
    steps = lattice(source, hypothesis)
    end = len(source), len(hypothesis)
    best: dict[Cell, dict[tuple[int, int], Cost]] = {(0, 0): {(-1, 0): (0, 0, 0)}}
    for cell in sorted({*steps, end}):
        states = best.pop(cell, {})
        for (_, used), cost in list(states.items()):
            _offer(states, (-1, used), cost)  # an edit may close anywhere
        if cell == end:
            matches, _, edits = min(states.values())
            return Counts(-matches, edits - matches, len(gold))
        for (inside, used), cost in states.items():
            for target in steps.get(cell, ()):
                after = (used if target[0] == cell[0] else 0,)
                for state, added in _continued(inside, _is_unchanged(source, hypothesis, cell, target)):
                    _offer(best.setdefault(target, {}), (state, *after), _plus(cost, (0, 1, added)))
            if inside < 0:
                for target, number in _gold_arcs(steps, source, hypothesis, cell, gold, used):
                    _offer(best.setdefault(target, {}), (-1, number), _plus(cost, (-1, 0, 0)))
    raise AssertionError("the lattice has no way to its end")


def _continued(inside: int, unchanged: bool) -> Iterator[tuple[int, int]]:
    """(next state, edits begun) for one step."""
    if not unchanged:
        yield max(inside, 0), int(inside < 0)
        return
    yield -1, 0
    if 0 <= inside < MAX_UNCHANGED:
        yield inside + 1, 0


def _gold_arcs(
    steps: Lattice, source: Sequence[str], hypothesis: Sequence[str], cell: Cell, gold: Sequence[Edit], used: int
) -> Iterator[tuple[Cell, int]]:
    """Cells that a gold edit leads to from this one, with the insertions that are then behind."""
    insertions = [g for g in gold if g.start == g.end == cell[0]]
    here = [(g, 0) for g in gold if g.start == cell[0] < g.end] + [(g, k + 1) for k, g in enumerate(insertions) if k >= used]
    for edit, number in here:
        for correction in edit.corrections:
            target = edit.end, cell[1] + len(correction)
            fits = target != cell and tuple(hypothesis[cell[1] : target[1]]) == correction
            if fits and _joined(steps, source, hypothesis, cell, target):
                yield target, number


def _joined(steps: Lattice, source: Sequence[str], hypothesis: Sequence[str], start: Cell, end: Cell) -> bool:
    """Whether the lattice leads from one cell to another with at most MAX_UNCHANGED unchanged words, and a change."""
    fewest = {start: 0}
    for cell in ((i, j) for i in range(start[0], end[0] + 1) for j in range(start[1], end[1] + 1)):
        for target in steps.get(cell, ()) if cell in fewest else ():
            n = fewest[cell] + _is_unchanged(source, hypothesis, cell, target)
            fewest[target] = min(n, fewest.get(target, n))
    return fewest.get(end, MAX_UNCHANGED + 1) <= MAX_UNCHANGED and tuple(source[start[0] : end[0]]) != tuple(
        hypothesis[start[1] : end[1]]
    )


def _is_unchanged(source: Sequence[str], hypothesis: Sequence[str], cell: Cell, target: Cell) -> bool:
    return target == (cell[0] + 1, cell[1] + 1) and source[cell[0]] == hypothesis[cell[1]]


def _offer(states: dict, key: tuple[int, int], cost: Cost) -> None:
    if key not in states or cost < states[key]:
        states[key] = cost


def _plus(a: Cost, b: Cost) -> Cost:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def lattice(source: Sequence[str], hypothesis: Sequence[str]) -> Lattice:
    """Steps (a word kept, substituted, deleted or inserted) on some shortest way, where a substitution costs 1 or where it costs 2.

    m2scorer 3.2 joins the two, so that a substitution may also be read as a deletion and an insertion.
    """
    steps: dict[Cell, set[Cell]] = {}
    for cost_of_substitution in (1, 2):
        for cell, targets in _shortest(source, hypothesis, cost_of_substitution).items():
            steps.setdefault(cell, set()).update(targets)
    return {cell: sorted(targets) for cell, targets in steps.items()}


def _shortest(source: Sequence[str], hypothesis: Sequence[str], substitution: int) -> dict[Cell, list[Cell]]:
    """Steps of all shortest ways: to the left of each cell by the distance from the start, kept where the end is reached."""
    n, m = len(source), len(hypothesis)
    distance = [[i + j for j in range(m + 1)] for i in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            diagonal = distance[i - 1][j - 1] + (0 if source[i - 1] == hypothesis[j - 1] else substitution)
            distance[i][j] = min(diagonal, distance[i - 1][j] + 1, distance[i][j - 1] + 1)
    steps: dict[Cell, list[Cell]] = {}
    seen, waiting = {(n, m)}, [(n, m)]
    while waiting:
        i, j = waiting.pop()
        diagonal = 0 if i and j and source[i - 1] == hypothesis[j - 1] else substitution
        for before, cost in (((i - 1, j - 1), diagonal), ((i - 1, j), 1), ((i, j - 1), 1)):
            if min(before) >= 0 and distance[before[0]][before[1]] + cost == distance[i][j]:
                steps.setdefault(before, []).append((i, j))
                if before not in seen:
                    seen.add(before)
                    waiting.append(before)
    return steps


def between(source: Sequence[str], corrected: Sequence[str]) -> tuple[Edit, ...]:
    """Edits that a corrected sentence stands for, where no annotator marked them.

    One shortest alignment (keeping before substituting before deleting before inserting). A run of neighbouring changes is one edit
    where words come or go in it; substituted words are an edit each, and so are marks that come or go.
    """
    runs: list[list[tuple[Cell, Cell]]] = [[]]
    for cell, target in _one_way(source, corrected):
        if _is_unchanged(source, corrected, cell, target):
            runs.append([])
        elif _grows(cell, target) and _is_mark((*source[cell[0] : target[0]], *corrected[cell[1] : target[1]])):
            runs += [[(cell, target)], []]
        else:
            runs[-1].append((cell, target))
    parts = [part for run in runs for part in ([run] if any(_grows(*step) for step in run) else [[step] for step in run]) if part]
    return tuple(Edit(p[0][0][0], p[-1][1][0], (tuple(corrected[p[0][0][1] : p[-1][1][1]]),)) for p in parts)


def _one_way(source: Sequence[str], corrected: Sequence[str]) -> Iterator[tuple[Cell, Cell]]:
    ways, cell = _shortest(source, corrected, 1), (0, 0)
    while cell != (len(source), len(corrected)):
        before, cell = cell, max(ways[cell], key=lambda t: (sum(t), t[0]))
        yield before, cell


def _grows(cell: Cell, target: Cell) -> bool:
    return target != (cell[0] + 1, cell[1] + 1)


def _is_mark(tokens: Iterable[str]) -> bool:
    return not any(c.isalnum() for token in tokens for c in token)


def from_corrections(source: str, corrections: Iterable[str], tokenize: Callable[[str], list[str]]) -> Sentence:
    """A sentence whose annotators wrote it out corrected; `tokenize` (texts.words) must cut the hypotheses too."""
    tokens = tuple(tokenize(source))
    return Sentence(tokens, tuple(between(tokens, tokenize(correction)) for correction in corrections) or ((),))


def read_m2(text: str, where: str = "") -> list[Sentence]:
    """Sentences of an .m2 file: `S tokens`, then `A start end|||type|||correction||other|||required|||comment|||annotator`."""
    sentences = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line for line in block.split("\n") if line.strip()]
        if not lines:
            continue
        if not lines[0].startswith("S"):
            raise CurateError(
                "a block of an .m2 file begins with its sentence", where=where, found=lines[0][:80], allowed="S tokens ..."
            )
        source = tuple(lines[0][1:].split())
        annotators: dict[str, list[Edit]] = {}
        for line in lines[1:]:
            annotator, edit = _annotation(line, len(source), where)
            annotators.setdefault(annotator, []).extend([edit] if edit else [])
        edits = tuple(tuple(sorted(annotators[key], key=lambda e: e[:2])) for key in sorted(annotators))
        sentences.append(Sentence(source, edits or ((),)))
    return sentences


def _annotation(line: str, n_tokens: int, where: str) -> tuple[str, Edit | None]:
    """(annotator, edit); no edit for `noop`, which says that the annotator found nothing to correct."""
    fields = line[2:].split("|||")
    places = fields[0].split()
    if not line.startswith("A ") or len(fields) < 6 or len(places) != 2 or not all(p.lstrip("-").isdigit() for p in places):
        raise CurateError(
            "a line of an .m2 file is no annotation",
            where=where,
            found=line[:120],
            allowed="A start end|||type|||text|||-|||-|||annotator",
        )
    start, end = map(int, places)
    if fields[1] == "noop" or start < 0:
        return fields[5].strip(), None
    if not start <= end <= n_tokens:
        raise CurateError(f"an edit lies outside its sentence of {n_tokens} tokens", where=where, found=line[:120])
    corrections = tuple(() if c.strip() == "-NONE-" else tuple(c.split()) for c in fields[2].split("||"))
    return fields[5].strip(), Edit(start, end, corrections)
