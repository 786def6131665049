"""The longest shared run of words, against brute force; its byte offsets by hand."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from curate.relate.passages import shared_passages


def cut(text, start, end):
    return text.encode()[start:end].decode()


def test_by_hand():
    a = "Eile sõitis Jüri Tallinnast Tartusse ja tagasi. Muud ei midagi!"
    b = "«JÜRI Tallinnast,\nTartusse -- ja tagasi»; keegi"
    (found,) = shared_passages(a, b)
    assert cut(a, *found[:2]) == "Jüri Tallinnast Tartusse ja tagasi"
    assert cut(b, *found[2:]) == "JÜRI Tallinnast,\nTartusse -- ja tagasi"
    assert found == (13, 48, 2, 41)  # « is two bytes, õ, ü and Ü are two each
    assert shared_passages(a, b, min_words=6) == [] and shared_passages("", b) == [] and shared_passages("...", "...") == []


def test_several_do_not_overlap_and_come_longest_first():
    a = "a b c d e f x g h i j k"
    b = "g h i j k y a b c d e f"
    found = shared_passages(a, b, most=5)
    assert [cut(a, *f[:2]) for f in found] == ["a b c d e f", "g h i j k"]
    repeated = shared_passages("z " * 12, "z " * 10, most=5, min_words=2)
    assert [(f[1] - f[0], f[3] - f[2]) for f in repeated] == [(19, 19)]  # two words of a are left, none of b


def longest(a, b):
    return max((n for i in range(len(a)) for j in range(len(b)) for n in range(min(len(a) - i, len(b) - j) + 1)
                if a[i : i + n] == b[j : j + n]), default=0)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=14), st.lists(st.sampled_from("abc"), max_size=14), st.integers(1, 4))
def test_against_brute_force(a, b, least):
    text_a, text_b = " ".join(a), ", ".join(b)
    n = longest(a, b)
    found = shared_passages(text_a, text_b, min_words=least)
    if n < least:
        assert found == []
        return
    ((start_a, end_a, start_b, end_b),) = found
    run = cut(text_a, start_a, end_a).split()
    assert len(run) == n and run == cut(text_b, start_b, end_b).replace(",", "").split()
    first = next(i for i in range(len(a)) if a[i : i + n] == run)
    assert start_a == 2 * first  # the first place in a


def test_one_word_over_and_over_takes_seconds():
    start = time.monotonic()
    assert shared_passages("a " * 200_000, "a " * 150_000) == [(0, 299_999, 0, 299_999)]
    assert time.monotonic() - start < 20
