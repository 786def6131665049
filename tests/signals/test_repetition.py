"""Family gopher_repetition: hand-counted texts, thresholds, ties, and the kernels against plain Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.recipe import preset
from curate.signals import repetition
from tests.signals import reference
from tests.signals.measuring import measured, words

PIECES = [
    "a",
    "b",
    "bb",
    "a b",
    " ",
    "\n",
    "\n",
    "\n\n",
    "\t",
    ".",
    "õ",
    "ма",
    "中",
    "a b a b a b a b a b ",
    "\u2028",
    "\r\n",
    "x\ny\n",
]


def of(*texts: str) -> list[dict[str, int]]:
    return measured(repetition.measurer(), list(texts))


def test_empty_white_space_and_one_word() -> None:
    empty, blank, newlines, one = of("", " \t\u2003", "\n\n", "sõna")
    assert set(empty.values()) == {0}
    assert {k: v for k, v in blank.items() if v} == {"n_repetition_paragraphs": 1, "n_repetition_lines": 1}
    # re.split leaves an empty line before and after a run of \n: the second equals the first and has no characters
    assert {k: v for k, v in newlines.items() if v} == {
        "n_repetition_paragraphs": 1, "n_repetition_lines": 2, "n_duplicate_lines": 1,
    }  # fmt: skip
    assert {k: v for k, v in one.items() if v} == {"n_repetition_paragraphs": 1, "n_repetition_lines": 1}


def test_lines_and_paragraphs() -> None:
    (found,) = of("  \nüks\nkaks\n\nkolm\n\n\nüks\nkaks\n\nkolm\n")
    assert found["n_repetition_paragraphs"] == 4  # "üks\nkaks", "kolm", twice: stripped text
    assert (found["n_duplicate_paragraphs"], found["n_duplicate_paragraph_chars"]) == (2, 12)
    assert found["n_repetition_lines"] == 8  # "  ", six lines, and "" behind the last \n
    assert (found["n_duplicate_lines"], found["n_duplicate_line_chars"]) == (3, 11)
    # a line of one space does not end a paragraph, and \r or U+2028 ends neither
    assert of("a\n \na")[0]["n_repetition_paragraphs"] == 1 and of("a\r\ra\u2028a")[0]["n_repetition_lines"] == 1


def test_the_first_of_equally_frequent_n_grams_counts() -> None:
    (found,) = of("pikksõna b c d pikksõna b x c d")  # "pikksõna b" and "c d" twice each: (8 + 1 + 1) * 2
    assert found["n_top_2gram_chars"] == 20
    assert found["n_top_3gram_chars"] == len("pikksõna b c")  # no 3-gram repeats: the first one, once
    assert of("c d b pikksõna c d pikksõna b pikksõna")[0]["n_top_2gram_chars"] == 6
    assert of("a a a a a")[0]["n_top_2gram_chars"] == 4 * 3  # overlapping ones count
    assert of("a b c")[0]["n_top_4gram_chars"] == 0


def test_repeated_n_grams_are_stepped_over() -> None:
    twelve = "üks kaks kolm neli viis kuus seitse kaheksa üheksa kümme üksteist kaksteist"
    (found,) = of(f"{twelve} vahel {twelve}")
    letters = [len(w) for w in twelve.split()]
    assert found["n_duplicate_5gram_chars"] == sum(letters[:10])  # two 5-grams, then two words are left
    assert found["n_duplicate_6gram_chars"] == sum(letters)
    assert found["n_duplicate_7gram_chars"] == sum(letters[:7])
    assert found["n_duplicate_10gram_chars"] == sum(letters[:10])
    # "a" 20 times, 5-grams: the first is new, the second repeats and is stepped over, ...: words 1-5, 6-10, 11-15
    assert of(" ".join("a" * 20))[0]["n_duplicate_5gram_chars"] == 15


def test_the_sequence_of_words_is_compared_not_their_letters() -> None:
    (found,) = of("ab c d e f | a bc d e f")
    assert found["n_duplicate_5gram_chars"] == 0  # datatrove: "abcdef" again, 6
    assert of("ab c d e f | ab c d e f")[0]["n_duplicate_5gram_chars"] == 6


def test_exactly_at_a_threshold() -> None:
    """3 of 10 lines, 20 of 100 characters: equal to Gopher's bounds, which refuse what is above them."""
    (found,) = of("\n".join(["a", "b", "c", "d", "e", "f", "g", "a", "b", "c"]))
    assert (found["n_duplicate_lines"], found["n_repetition_lines"]) == (3, 10)
    bounds = preset("gopher/repetition", Path())["bounds"]
    assert list(bounds)[1:] == [f"max_{ratio.name}" for ratio in repetition.FAMILY.ratios]  # datatrove's order
    assert bounds["max_duplicate_line_ratio"] == 0.3


def test_scripts_without_case_or_spaces() -> None:
    (found,) = of("नमस्ते दुनिया\nनमस्ते दुनिया")
    assert (found["n_duplicate_lines"], found["n_duplicate_line_chars"]) == (1, len("नमस्ते दुनिया"))
    assert found["n_top_2gram_chars"] == 2 * len("नमस्ते दुनिया")


@pytest.mark.parametrize("n", [7, 8, 9, 16, 17, 33])
def test_lines_of_every_length_are_told_apart(n: int) -> None:
    """One changed byte anywhere in a line makes another line (hashes take eight bytes at a time)."""
    lines = ["x" * n] + ["x" * i + "y" + "x" * (n - i - 1) for i in range(n)]
    assert of("\n".join(lines))[0]["n_duplicate_lines"] == 0
    assert of("\n".join([*lines, *lines]))[0]["n_duplicate_lines"] == len(lines)


def test_a_million_lines_are_not_quadratic() -> None:
    (found,) = of("\n".join(map(str, range(1_000_000))) + "\n" + "a\n" * 1_000_000)
    assert (found["n_repetition_lines"], found["n_duplicate_lines"]) == (
        2_000_001,
        999_999,
    )  # and the empty one behind the last \n
    assert found["n_top_4gram_chars"] == 999_997 * 7
    assert found["n_duplicate_5gram_chars"] == 999_995


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), max_size=4))
def test_as_in_plain_python(texts: list[str]) -> None:
    expected = [reference.repetition(text, own) for text, own in zip(texts, words(texts), strict=True)]
    assert of(*texts) == [{name: counts[name] for name in found} for counts, found in zip(expected, of(*texts), strict=True)]
