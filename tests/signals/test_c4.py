"""Family c4: one line for every fate, exact thresholds, citations, sentences, and the kernels against plain Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.recipe import preset
from curate.signals import c4
from curate.signals.kernels import SENTENCE_END
from tests.signals import reference
from tests.signals.measuring import measured, members

ENDS = members(SENTENCE_END)
PIECES = [
    "a", "B c", ".", "..", "...", "!", '"', "'", "。", " ", "  ", "\n", "\r\n", "\u2028", "\x1c", "\u00a0", "[1]", "[", "]", "[edit]", "[٣]",
    "[citation needed]", "{", "Lorem ", "IPSUM", "lorem[2] ipsum", "JavaScript", "java", "terms of use", "Privacy Policy", "cookie policy",
    "uses cookies", "use of coo\u212aies", "USE COOKIES", "use cookie", "x" * 999, "õ" * 500, "中", "é", "”", "(", ")", "s. T", "a b c. ",
]  # fmt: skip


def of(*texts: str) -> list[dict[str, int]]:
    return measured(c4.measurer(), list(texts))


def fate(line: str) -> str:
    """The column the single line counts as; the line may not raise any other."""
    (found,) = of(line)
    (column,) = [name for name in reference.C4_COLUMNS[1:9] if found[name]]
    assert found["n_c4_lines"] == found[column] == 1
    return column


def test_empty_white_space_and_one_word() -> None:
    assert set(of("")[0].values()) == {0}
    assert {k: v for k, v in of(" \n\u3000\n")[0].items() if v} == {"n_c4_lines": 2, "n_no_terminal_punct_lines": 2}
    assert fate("sõna") == "n_no_terminal_punct_lines" and fate("Sõna.") == "n_few_word_lines"


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("See on lause.", "n_c4_kept_lines"),
        ('Ta ütles: "jah"', "n_c4_kept_lines"),
        ("Kas sa tuled?!", "n_c4_kept_lines"),
        ("See on jutt…", "n_no_terminal_punct_lines"),
        ("See on jutt...", "n_no_terminal_punct_lines"),
        ("这 是 什么。", "n_no_terminal_punct_lines"),  # C4 knows no 。
        ("Kaks sõna.", "n_few_word_lines"),
        ("x" * 1000 + " on pikk.", "n_c4_kept_lines"),
        ("x" * 1001 + " on pikk.", "n_too_long_word_lines"),
        ("on pikk " + "õ" * 1000 + ".", "n_too_long_word_lines"),
        ("on pikk " + "õ" * 999 + ".", "n_c4_kept_lines"),
        ("a Lorem IPSUM { javascript.", "n_lorem_ipsum_lines"),
        ("no JavaScript { here.", "n_javascript_lines"),
        ("curly { terms of use.", "n_curly_bracket_lines"),
        ("our Terms of Use.", "n_policy_lines"),
        ("the privacy policy!", "n_policy_lines"),
        ("a cookie policy.", "n_policy_lines"),
        ("it Uses Cookies.", "n_policy_lines"),
        ("our use of cookies.", "n_policy_lines"),
        ("we use cookies.", "n_policy_lines"),
        ("we use cookie.", "n_c4_kept_lines"),
        ("They abuse cookies.", "n_policy_lines"),  # a substring, as in C4
        ("we use coo\u212aies.", "n_policy_lines"),  # the Kelvin sign's lower case is k
        ("We sell cookies.", "n_c4_kept_lines"),
    ],
)
def test_what_becomes_of_a_line(line: str, column: str) -> None:
    assert fate(line) == column == reference.c4_line(line)


def test_citations_go_before_the_end_is_looked_at_and_after_words_are_counted() -> None:
    kept, spaced, words, dots, hidden, unicode_digit = of(
        "Tartu on linn.[1][citation needed]", "Tartu on linn. [1]", "Tartu linn.[12] [edit]", "Tartu on..[3].",
        "a lorem[4] ipsum here.", "Tartu on linn.[٣]",
    )  # fmt: skip
    assert (kept["n_c4_kept_lines"], kept["n_citations"], kept["n_c4_sentences"]) == (1, 2, 1)
    assert spaced["n_no_terminal_punct_lines"] == 1  # a space is left at the end
    assert words["n_no_terminal_punct_lines"] == 1
    assert dots["n_no_terminal_punct_lines"] == 1  # ...
    assert hidden["n_lorem_ipsum_lines"] == 1
    assert unicode_digit["n_c4_kept_lines"] == 1  # \d is any Nd
    assert of("[1a] [edit ] [Edit] [] ja.")[0]["n_citations"] == 1


def test_sentences() -> None:
    (found,) = of("Esimene lause on siin. Teine on siin! Kas kolmas?\nJ. K. Rowling kirjutas raamatu.\nmitte seda")
    assert found["n_c4_sentences"] == 3 + 1  # "J." is one word
    assert of('Ta ütles "tule." Ta läks ära.')[0]["n_c4_sentences"] == 2
    assert of("See on hea .) ja.")[0]["n_c4_sentences"] == 2  # ) belongs to the sentence before
    assert of("See lõpeb nii.[1] Ja see algab nii.[2]")[0]["n_c4_sentences"] == 2


def test_five_sentences_are_enough() -> None:
    four, five = of("\n".join(["See on lause."] * 4), "\n".join(["See on lause."] * 5))
    assert (four["n_c4_sentences"], five["n_c4_sentences"]) == (4, 5)
    bounds = preset("c4/quality", Path())["bounds"]
    assert bounds == {"max_n_lorem_ipsum_lines": 0, "max_n_curly_bracket_lines": 0, "min_n_c4_sentences": 5}


def test_lines_end_where_splitlines_ends_them() -> None:
    (found,) = of("a b c.\r\nd e f.\x0bg h i.\x1cj k l.\u0085m n o.\u2029p q r.\n")
    assert (found["n_c4_lines"], found["n_c4_kept_lines"], found["n_c4_sentences"]) == (6, 6, 6)


def test_a_megabyte_without_space_or_line_end_is_looked_at_once() -> None:
    (found,) = of("õ" * 1_000_000 + ("a" * 900 + " ") * 2000 + "[" * 1_000_000 + " x.")
    assert found["n_too_long_word_lines"] == 1


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), max_size=4))
def test_as_in_plain_python(texts: list[str]) -> None:
    assert of(*texts) == [reference.c4(text, ENDS) for text in texts]
