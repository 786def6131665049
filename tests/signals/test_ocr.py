"""Family ocr: counts by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curate.signals import ocr
from curate.signals.family import Batch
from curate.text import buffers

NAMES = [c.name for c in ocr.FAMILY.columns]


def counts(text: str) -> dict[str, int]:
    texts = pa.array([text], pa.large_string())
    found = ocr.measure(Batch(texts, *buffers(texts), None))
    return {name: int(found[name][0]) for name in NAMES}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", (0, 0, 0, 0, 0, 0, 0, 0)),
        ("veski", (5, 0, 1, 0, 0, 1, 0, 1)),
        ("Veski jahvatab.", (14, 0, 2, 0, 0, 1, 0, 0)),
        ("V e s k i", (5, 0, 5, 5, 0, 1, 0, 0)),  # spaced-out print
        ("Veski jahva-\ntab jahu", (18, 0, 4, 0, 0, 2, 1, 1)),
        ("Ve5ki on ■ ja ¬ tuleb", (16, 2, 4, 0, 1, 1, 0, 0)),
        ("мельница мелет", (13, 0, 2, 0, 0, 1, 0, 1)),
    ],
)
def test_counts(text, wanted):
    assert tuple(counts(text).values()) == wanted


@pytest.mark.parametrize(
    "word", ["a" * 41, "aaaaab", "k$%&#b", "w0rd", "sõnA5sõna", "bcdfghjklm", "aeiouae", "tEre", "te;re:ta;s!a"]
)
def test_garbage(word):
    assert ocr.is_garbage(word)


@pytest.mark.parametrize("word", ["a" * 3, "veski", "Tallinna-Tartu", "NATO", "EL-i", "e-kiri", "töö", "jäääär", "http://a.ee/x1y", "a@b.ee",
                                  "Rahvusvaheline", "õöäü", "и", "рыба", "2024a", "अधिकार", "প্রত্যেক", "McDonald"])  # fmt: skip
def test_no_garbage(word):
    assert not ocr.is_garbage(word)


def test_a_clean_text_has_almost_none():
    text = "Veski jahvatas kogu päeva ja õhtul oli kõik jahu valmis. Äripäev kirjutas sellest 2024. aastal, NATO ega EL sellest ei hoolinud."
    found = counts(text)
    assert (found["n_garbage_words"], found["n_odd_chars"], found["n_single_letter_words"]) == (0, 0, 0)


def test_measured_where_a_rule_asks(tmp_path):
    from curate.signals import DERIVED, measurers
    from tests.sources.making import pack, recipe

    pack(tmp_path / "a.txt", b"a")
    for rules, is_measured in (([], False), ([{"signal": "garbage_word_ratio", "max": 0.05}], True)):
        made = recipe(tmp_path, {"s": {"read": "a.txt"}}, rules=rules)
        assert ("ocr" in {m.family.name for m in measurers(made, made.sources["s"])}) == is_measured
    assert DERIVED["garbage_word_ratio"] == ("n_garbage_words", "n_ocr_words")
