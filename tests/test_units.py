from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.units import Quantity, n_bytes, quantity, show_bytes


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("8.6B tokens", 8_600_000_000, "tokens"),
        ("2_000 tokens", 2000, "tokens"),
        ("20k examples", 20_000, "examples"),
        ("1.5 epochs", Fraction(3, 2), "epochs"),
        ("30 % of tokens", Fraction(3, 10), "share_of_tokens"),
        ("0.1 %", Fraction(1, 1000), "share"),
    ],
)
def test_reads_exactly(text, value, unit):
    assert quantity(text, (unit,)) == Quantity(Fraction(value), unit)


@pytest.mark.parametrize("text", [5, 0.3, "5B", "tokens", "1.0000001k tokens", "-3 tokens", "130 % of tokens", None, True])
def test_refuses_and_names_the_units(text):
    with pytest.raises(CurateError) as error:
        quantity(text, ("tokens", "share_of_tokens"))
    assert "tokens'" in str(error.value)


def test_refuses_a_unit_without_meaning_here():
    with pytest.raises(CurateError, match="no meaning"):
        quantity("2 epochs", ("tokens",))


@given(st.integers(0, 10**15))
def test_tokens_survive_printing(n):
    q = Quantity(Fraction(n), "tokens")
    assert quantity(str(q), ("tokens",)) == q


@given(st.integers(0, 10**9))
def test_shares_survive_printing(n):
    q = Quantity(Fraction(n, 10**9), "share_of_tokens")
    assert quantity(str(q), ("share_of_tokens",)) == q


def test_sizes():
    assert n_bytes("64 MB") == 64_000_000
    assert n_bytes("1 KiB") == 1024
    assert show_bytes(999) == "999 B"
    assert show_bytes(1_430_000) == "1.4 MB"
    with pytest.raises(CurateError, match="size in bytes"):
        n_bytes(64)
