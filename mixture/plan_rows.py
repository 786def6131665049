"""Sequences and padding from lengths: what packing will make of so many tokens of documents of such lengths.

In: tokens of each pass, a sample of document lengths. Out: rows and padding in tokens. Concat-and-chunk needs no lengths and is exact
where passes are; best-fit packs the sample as the build packs a pass and scales what it finds. Imports mixture's pack.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixture.plan import Rows

# Documents packed to predict padding, of a component and of all together. Ten thousand web-like documents pad 0.02 to 0.05 % where a
# window of a hundred thousand pads 0.002 to 0.004 %, a thousand 0.2 to 0.5 %: a prediction is a little too high rather than too low.
SAMPLE, ALL, LEAST = 20_000, 400_000, 2_000


def passes_of(consumed: int, target: int, epoch: int) -> list[int]:
    """Tokens of each pass of a phase: what an earlier phase left of its last pass comes first."""
    found = []
    while target > 0 and epoch > 0:
        rest = epoch - consumed % epoch
        if rest == epoch and target > 2 * epoch:  # whole passes are alike
            whole = target // epoch
            found += [epoch] * min(whole, 10_000)
            target -= epoch * min(whole, 10_000)
            consumed += epoch * min(whole, 10_000)
            continue
        found.append(min(rest, target))
        target -= found[-1]
        consumed += found[-1]
    return found


def sample_of(n_components: int) -> int:
    """Documents to pack of each component, so that many components are not slow."""
    return min(SAMPLE, max(LEAST, ALL // max(n_components, 1)))


def concat(passes: Sequence[int], length: int) -> Rows:
    rows = sum(-(-tokens // length) for tokens in passes)
    padding = rows * length - sum(passes)
    return Rows(rows, padding, padding)


def best_fit(passes: Sequence[int], lengths: np.ndarray, length: int, sample: int = SAMPLE) -> Rows:
    """`lengths`: int64, evenly spaced order statistics of the documents' lengths."""
    from mixture.pack import pack  # compiled: only where it is needed

    total = sum(passes)
    if not lengths.size or not total:
        return Rows(0, 0, 0) if not total else concat(passes, length)
    n = min(sample, max(1, round(max(passes) / max(lengths.mean(), 1))))
    drawn = lengths[((np.arange(n) + 0.5) * lengths.size / n).astype(np.int64)]
    packed = pack(drawn, length)
    tokens = int(drawn.sum())
    least = -(-tokens // length)  # what the last row lacks is counted once for each pass, below
    excess = [max(rows - least, 0) * length / tokens for rows in (packed.n_rows, packed.lower_bound)]
    rows, bound = (sum(-(-round(t * (1 + share)) // length) for t in passes) for share in excess)
    return Rows(rows, rows * length - total, bound * length - total)
