"""Choices a lane makes for a record: a function of the record's own texts, a seed and what is chosen. No state, no order, no clock.

So equal records are treated alike wherever they lie, and a new record changes no other. Imports recipe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction

from curate.recipe.templates import Template


class Draw:
    """`parts`: what identifies the record, in a fixed order."""

    def __init__(self, seed: int, *parts: str) -> None:
        state = hashlib.blake2b(digest_size=32)
        for part in (str(seed), *parts):
            data = part.encode("utf-8", "surrogatepass")
            state.update(len(data).to_bytes(8, "little") + data)
        self._key = state.digest()

    def number(self, what: str) -> int:
        """Uniform in [0, 2**64), another for every `what`."""
        return int.from_bytes(hashlib.blake2b(what.encode(), digest_size=8, key=self._key).digest(), "little")

    def happens(self, what: str, share: Fraction) -> bool:
        """True for `share` of all records."""
        return self.number(what) < share * 2**64

    def index(self, what: str, weights: Sequence[float | Fraction]) -> int:
        """Index of one of the weights, each as likely as it is heavy."""
        exact = [Fraction(weight) for weight in weights]
        left = Fraction(self.number(what), 2**64) * sum(exact)
        for i, weight in enumerate(exact):
            left -= weight
            if left < 0:
                return i
        return len(exact) - 1

    def template(self, what: str, pool: Sequence[Template]) -> Template:
        return pool[self.index(what, [one.weight for one in pool])]
