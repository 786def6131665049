"""Draws depend on the record, the seed and what is chosen, on nothing else, and fall as often as they should."""

from __future__ import annotations

from fractions import Fraction

from curate.recipe.templates import Template
from curate.sources.draw import Draw

N = 20_000


def test_numbers_are_pinned():
    """The construction as it stands in draw.py, worked out with hashlib alone: a change would draw every template anew."""
    import hashlib

    parts = b"".join(len(p).to_bytes(8, "little") + p for p in (b"7", b"tere", b"hello"))
    key = hashlib.blake2b(parts, digest_size=32).digest()
    expected = int.from_bytes(hashlib.blake2b(b"reverse", digest_size=8, key=key).digest(), "little")
    assert Draw(7, "tere", "hello").number("reverse") == expected == 11492867818372484356


def test_other_parts_seeds_and_names_give_other_numbers():
    numbers = {
        Draw(seed, *parts).number(what) for seed in (0, 1) for parts in (("ab", "c"), ("a", "bc"), ("abc",)) for what in "xy"
    }
    assert len(numbers) == 12


def test_shares_and_weights_fall_as_often_as_they_say():
    draws = [Draw(0, str(i)) for i in range(N)]
    assert abs(sum(d.happens("a", Fraction(85, 100)) for d in draws) / N - 0.85) < 0.008  # 3 standard deviations
    assert not any(d.happens("a", Fraction(0)) for d in draws) and all(d.happens("a", Fraction(1)) for d in draws)
    pool = [Template(text="x", weight=3), Template(text="y"), Template(text="z", weight=0.5)]
    found = [d.template("t", pool).text for d in draws]
    for text, share in (("x", 3 / 4.5), ("y", 1 / 4.5), ("z", 0.5 / 4.5)):
        assert abs(found.count(text) / N - share) < 0.01


def test_one_choice_says_nothing_of_another():
    draws = [Draw(0, str(i)) for i in range(N)]
    both = sum(d.happens("a", Fraction(1, 2)) and d.happens("b", Fraction(1, 2)) for d in draws)
    assert abs(both / N - 0.25) < 0.01
