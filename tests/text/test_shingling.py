"""Folded words by hand and against Unicode; long documents in pieces are what they are whole, in little memory."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import text
from curate.text import shingling
from curate.text.unicode import UNICODE_VERSION, folds
from tests.memory import measured, needs_proc

SHAPE = {"ngram": 5, "bands": 16, "rows": 7, "seed": 0}


def hashes_of(words: list[str], fold: list[str]) -> list[int]:
    """Folded hash of each word, the words cut by white space in these tests."""
    data, offsets = text.buffers(pa.array([" ".join(words)], pa.large_string()))
    seg = text.segment(data, offsets)
    assert len(seg.lower) == len(words)
    return text.folded(data, seg, fold).lower.tolist()


def plain(words: list[str]) -> list[int]:
    return hashes_of(words, [])


@pytest.mark.parametrize(("fold", "word", "same"), [
    (["digits"], "1234", "0"), (["digits"], "2005a", "0a"), (["digits"], "a1b22c", "a0b0c"), (["digits"], "١٢", "0"),
    (["digits"], "3,5", "0,0"), (["digits"], "A1", "a0"), (["digits"], "Õun", "õun"), (["digits"], "x²", "x²"),
    (["diacritics"], "Õunapuu", "ounapuu"), (["diacritics"], "šžäöü", "szaou"), (["diacritics"], "o\u0303un", "oun"),
    (["diacritics"], "ǖ", "u"), (["diacritics"], "Łódź", "łodz"), (["diacritics"], "straße", "straße"), (["diacritics"], "й", "и"),
    (["diacritics"], "한국", "한국"), (["diacritics"], "İ", "i"), (["diacritics"], "2005", "2005"), (["diacritics"], "ệ", "e"),
    (["digits", "diacritics"], "Ä12õ3", "a0o0"), (["digits", "diacritics"], "1\u03032", "0"), (["digits"], "1\u03032", "0\u03030"),
])  # fmt: skip
def test_folded_words_by_hand(fold, word, same):
    assert hashes_of([word], fold) == plain([same])


def test_nothing_folded_is_nothing_changed():
    data, offsets = text.buffers(pa.array(["Õun 12"], pa.large_string()))
    seg = text.segment(data, offsets)
    assert text.folded(data, seg, []) is seg and text.folding([]) == {}
    assert text.folding(["digits", "diacritics"]) == text.folding(["diacritics", "digits", "digits"])
    assert hashes_of(["Õun", "12"], ["digits"])[0] == plain(["õun"])[0] != hashes_of(["Õun"], ["diacritics"])[0]


@pytest.mark.skipif(unicodedata.unidata_version != UNICODE_VERSION, reason=f"Python's tables are not Unicode {UNICODE_VERSION}")
def test_the_shipped_table_is_unicode():
    found = folds()
    for code in [*range(0x80, 0xD800), *range(0xE000, 0x20000)]:
        left = [c for c in unicodedata.normalize("NFD", chr(code)) if unicodedata.category(c) != "Mn"]
        if unicodedata.category(chr(code)) == "Mn":
            assert code + found[code] == 0
        else:
            assert code + found[code] == (ord(left[0]) if len(left) == 1 else code)


def signature_and_set(written: str, words: str = "rules", **shape) -> tuple[list, list, list]:
    data, offsets = text.buffers(pa.array([written], pa.large_string()))
    fold = shape.pop("fold", ())
    keys, n = text.signatures_of(data, offsets, None, words, **{**SHAPE, **shape}, fold=fold)
    ptr, hashes = text.shingle_sets_of(data, offsets, words, shape.get("ngram", 5), fold)
    assert ptr.tolist() == [0, len(hashes)] and n.tolist() == [len(hashes)] and n.dtype == np.uint32
    return keys.tolist(), n.tolist(), hashes.tolist()


# letters, marks, all kinds of white space, what joins and splits words: cut anywhere, words must stay
PARTS = ("ja", "on", "Õ", "don't", ":-)", "1", "12", "a.", "...", "-", " ", " ", "\n", "\u00a0", "\u2003", "中")
pieces = st.lists(st.sampled_from(PARTS), max_size=60)


@settings(max_examples=150, deadline=None)
@given(pieces.map("".join), st.integers(1, 7), st.integers(1, 12), st.sampled_from([(), ("digits", "diacritics")]))
def test_a_long_document_in_pieces_is_the_whole(written, ngram, size, fold):
    whole = signature_and_set(written, ngram=ngram, fold=fold)
    data, offsets = text.buffers(pa.array([written], pa.large_string()))
    seg = text.folded(data, text.segment(data, offsets), fold)
    _, hashes = text.shingle_sets(seg, np.zeros(1, np.int64), ngram)
    keys, _ = text.signatures(seg, **{**SHAPE, "ngram": ngram})
    assert whole[0] == keys.tolist() and whole[2] == hashes.tolist() == sorted(set(whole[2]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shingling, "LONG_BYTES", 0)
        patch.setattr(shingling, "PIECE_BYTES", size)
        assert signature_and_set(written, ngram=ngram, fold=fold) == whole


def test_the_buffer_grows_and_repeated_shingles_cost_nothing(monkeypatch):
    once = " ".join(f"s{i}" for i in range(200_000))
    monkeypatch.setattr(shingling, "PIECE_BYTES", 100_000)
    data, offsets = text.buffers(pa.array([f"{once} {once} {once}"], pa.large_string()))
    found = shingling._distinct_of(data, 0, int(offsets[1]), 5, ())
    assert len(found) == 200_000 - 4 + 4  # 4 go across a seam, and both seams are equal
    assert (np.diff(found.astype(object)) > 0).all()


def test_a_tokenizer_of_another_language_sees_the_whole_text():
    assert not shingling._is_long(np.array([0, 10**9]), "zh") and shingling._is_long(np.array([0, 10**9]), "rules")
    assert not shingling._is_long(np.array([0, 10**9, 10**9]), "rules")  # never two in a batch with a long one


LONG = """
import numpy as np
from curate import text
def one(n):
    letters = np.random.default_rng(0).integers(97, 123, (n, 7), np.uint8)
    letters[:, 6] = 32
    data, offsets = letters.reshape(-1), np.array([0, 7 * n], np.int64)
    reset()
    before = resident()
    keys, count = text.signatures_of(data, offsets, None, "rules", ngram=5, bands=16, rows=7, seed=0)
    ptr, hashes = text.shingle_sets_of(data, offsets, "rules", 5)
    print(peak() - before, count[0], len(hashes))
one(400_000)  # long already: compiles
one(3_000_000)
"""


@needs_proc
def test_a_document_of_three_million_shingles_stays_below_64_mib():
    *_, grown, n, again = measured(LONG)
    assert n == again > 2_999_900
    assert 20 << 20 < grown < 64 << 20, grown  # at least its shingles, or nothing was measured
