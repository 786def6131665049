"""Family fineweb_quality: hand-counted texts, exact thresholds, and the kernel against plain Python."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.recipe import preset
from curate.signals import fineweb
from curate.signals.kernels import PUNCTUATION, SENTENCE_END, TERMINAL
from curate.text.unicode import UNICODE_VERSION
from tests.signals import reference
from tests.signals.measuring import measured, members

PIECES = [
    "a",
    ".",
    "!",
    "…",
    "。",
    "\U00010f87",
    "\n",
    "\n\n",
    " ",
    "\u3000",
    "\r",
    "õ" * 29,
    "x" * 30,
    "x" * 31,
    "中" * 30,
    "a.\n" * 3,
]


def of(*texts: str) -> list[dict[str, int]]:
    return measured(fineweb.measurer(), list(texts))


def test_empty_white_space_and_one_word() -> None:
    assert set(of("")[0].values()) == {0}
    assert list(of(" \n\t\n\n")[0].values()) == [0, 0, 0, 0, 3, 2]
    assert list(of("sõna")[0].values()) == [1, 0, 1, 0, 0, 4]


def test_lines() -> None:
    (found,) = of("Ta tuli koju. \nJah!\n\nTa tuli koju.\nJah!\n- üks\n- kaks\n")
    assert found["n_nonblank_lines"] == 6
    assert found["n_punctuated_lines"] == 3  # "Ta tuli koju. " ends with a space
    assert found["n_short_lines"] == 6
    assert found["n_duplicate_nonblank_line_chars"] == 4  # "Jah!"
    assert (found["n_newlines"], found["n_non_newline_chars"]) == (7, 46)


def test_a_short_line_has_at_most_30_code_points() -> None:
    found = of("õ" * 30, "õ" * 31, "中" * 30, "中" * 31, "😀" * 30, "x" * 30, "x" * 31, "x" * 200)
    assert [f["n_short_lines"] for f in found] == [1, 0, 1, 0, 1, 1, 0, 0]


def test_terminal_punctuation_of_other_scripts() -> None:
    found = of("这是。", "यह है।", "ما هذا؟", "dies ist…", "so:", "end\U00010f87", "end.\r")
    assert [f["n_punctuated_lines"] for f in found] == [1, 1, 1, 0, 0, 1, 0]


def test_the_preset_stands_in_datatroves_order() -> None:
    names = [ratio.name for ratio in fineweb.FAMILY.ratios]
    bounds = preset("fineweb/quality", Path())["bounds"]
    assert [name[4:] for name in bounds] == ["n_nonblank_lines", *names]
    assert list(bounds.values()) == [1, 0.12, 0.67, 0.01, 0.3]


def test_the_sets_of_punctuation_are_those_of_their_sources() -> None:
    if unicodedata.unidata_version != UNICODE_VERSION:
        pytest.skip(f"needs a Python with Unicode {UNICODE_VERSION}")
    assert members(PUNCTUATION) == {c for c in map(chr, range(0x110000)) if unicodedata.category(c)[0] == "P"}
    datatrove_text = pytest.importorskip("datatrove.utils.text", reason="needs the extra `bench`")
    assert members(TERMINAL) == datatrove_text.TERMINAL_PUNCTUATION
    pipeline = pytest.importorskip("spacy.pipeline", reason="needs the extra `bench`")
    assert members(SENTENCE_END) == set(pipeline.Sentencizer.default_punct_chars)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), max_size=4))
def test_as_in_plain_python(texts: list[str]) -> None:
    assert of(*texts) == [reference.fineweb(text, members(TERMINAL)) for text in texts]
