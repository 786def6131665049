"""Vectors of words and tokens: tables worked out by hand, files of both kinds, training twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from curate.errors import CurateError
from curate.recipe import TokenizerSpec
from mixture.tokenizer import Tokenizer, load_tokenizer
from train.vocab.init.config import Vectors
from train.vocab.init.words import (
    Words,
    alignment,
    from_ngrams,
    from_words,
    read_dictionary,
    read_words,
    train_tokens,
    train_words,
)

TINY = Vectors(dim=8, epochs=2, min_count=1, negatives=2)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    """Letters a, b, c, the blank and the token ab: GPT-2's kind, in which a blank is Ġ."""
    vocabulary = {name: i for i, name in enumerate(["a", "b", "c", "Ġ", "ab"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    return load_tokenizer(TokenizerSpec(model=str(tmp_path), bos="none", eos="none"))


WORDS = Words(["ab", "ca", "bb"], np.array([5, 3, 2]), np.array([[1.0, 0.0], [0.0, 4.0], [2.0, 2.0]], np.float32))


def test_tokens_from_words_plain(tokenizer: Tokenizer) -> None:
    """a: of ca alone (ab is one token). b: of bb. The blank: of all three, which are read after a blank too. ab: of ab."""
    found = from_words(tokenizer, WORDS, 5, is_weighted=False)
    assert found.tolist() == [[0, 4], [2, 2], [0, 4], [1, 2], [1, 0]]


def test_tokens_from_words_by_frequency(tokenizer: Tokenizer) -> None:
    """The blank: (5 (1, 0) + 3 (0, 4) + 2 (2, 2)) / 10."""
    found = from_words(tokenizer, WORDS, 5, is_weighted=True)
    assert found[3].tolist() == pytest.approx([0.9, 1.6])
    assert found[0].tolist() == [0, 4]


def test_a_token_of_no_word_has_zeros(tokenizer: Tokenizer) -> None:
    found = from_words(tokenizer, Words(["bb"], np.array([1]), np.array([[2.0, 2.0]], np.float32)), 5, is_weighted=False)
    assert found.tolist() == [[0, 0], [2, 2], [0, 0], [2, 2], [0, 0]]


def test_tokens_from_ngrams(tokenizer: Tokenizer) -> None:
    """Asked without the blank; a token that is only a blank is not asked."""
    asked: list[str] = []

    def by_ngrams(word: str) -> np.ndarray:
        asked.append(word)
        return np.full(2, len(word), np.float32)

    found = from_ngrams(tokenizer, Words(WORDS.words, WORDS.counts, WORDS.vectors, by_ngrams), 5)
    assert asked == ["a", "b", "c", "ab"] and found.tolist() == [[1, 1], [1, 1], [1, 1], [0, 0], [2, 2]]


def test_alignment_turns_a_quarter() -> None:
    """The target is the source turned by 90 degrees: (x, y) -> (-y, x)."""
    source = Words(["one", "two", "three"], np.ones(3, np.int64), np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 1.0]], np.float32))
    target = Words(["üks", "kaks", "kolm"], np.ones(3, np.int64), np.array([[0.0, 1.0], [-1.0, 0.0], [-1.0, 3.0]], np.float32))
    turned = alignment(source, target, [("one", "üks"), ("Two", "KAKS"), ("four", "neli")])
    np.testing.assert_allclose(source.vectors @ turned, target.vectors, atol=1e-12)


def test_alignment_is_scipy_s() -> None:
    linalg = pytest.importorskip("scipy.linalg", reason="pip install scipy")
    lot = np.random.default_rng(0)
    names = [f"w{i}" for i in range(40)]
    sides = [Words(names, np.ones(40, np.int64), lot.normal(size=(40, 6)).astype(np.float32)) for _ in range(2)]
    # w1 is also its own lower-case form, so that each pair counts four times on both ways: the answer is the same
    found = alignment(sides[0], sides[1], [(name, name) for name in names])
    wanted, _ = linalg.orthogonal_procrustes(sides[0].vectors.astype(float), sides[1].vectors.astype(float))
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_a_dictionary_that_fits_nothing() -> None:
    with pytest.raises(CurateError, match="no pair of the dictionary"):
        alignment(WORDS, WORDS, [("koer", "dog")])


def test_dictionary_and_vec_files(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text("ice cream\tjäätis\n\ndog koer\n", encoding="utf-8")
    assert read_dictionary(tmp_path / "d.txt") == [("ice cream", "jäätis"), ("dog", "koer")]
    (tmp_path / "bad.txt").write_text("a b c\n")
    with pytest.raises(CurateError, match=r"bad\.txt:1: a line of a dictionary is two words"):
        read_dictionary(tmp_path / "bad.txt")
    (tmp_path / "w.vec").write_text("2 3\nkoer 1 2 3 \nkass 4 5 6.5 \n")
    found = read_words(tmp_path / "w.vec")
    assert found.words == ["koer", "kass"] and found.vectors.tolist() == [[1, 2, 3], [4, 5, 6.5]]
    assert found.by_ngrams is None and found.counts.tolist() == [1, 1]
    (tmp_path / "cut.vec").write_text("koer 1 2 3\nkass 4 5\n")
    with pytest.raises(CurateError, match=r"cut\.vec:2: a line of another length"):
        read_words(tmp_path / "cut.vec")


def test_trained_vectors_are_the_same_twice(tmp_path: Path) -> None:
    texts = ["Koer haugub, kass näub.", "Kass magab ja koer sööb."] * 50
    often = TINY.model_copy(update={"epochs": 100})  # frequent words are mostly left out of a pass (fastText: t)
    first, second = (train_words(lambda: iter(texts), tmp_path / f"{k}.bin", often) for k in "ab")
    assert first.words == second.words and set(first.words) == {
        "Koer",
        "haugub",
        "kass",
        "näub",
        "Kass",
        "magab",
        "ja",
        "koer",
        "sööb",
        ",",
        ".",
    }
    assert dict(zip(first.words, first.counts.tolist(), strict=True))["."] == 100
    assert first.vectors.tobytes() == second.vectors.tobytes() and np.isfinite(first.vectors).all()
    assert first.by_ngrams is not None
    assert np.abs(first.by_ngrams("koerad")).sum() > 0  # not seen, but of n-grams
    np.testing.assert_allclose(first.by_ngrams("koer"), first.vectors[first.words.index("koer")])


def test_token_vectors_are_of_tokens_that_were_seen(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Spelled from "ab ca": ab, the blank (in front of c) and c, a. b alone never comes."""
    found = train_tokens(lambda: iter(["ab ca"] * 30), tokenizer, ["a", "b", "c", "Ġ", "ab"], tmp_path / "t.bin", TINY)
    assert found.shape == (5, 8)
    assert [bool(np.abs(row).sum()) for row in found] == [True, False, True, True, True]


def test_names_with_blanks_are_words_too(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """A token of SentencePiece may be a blank or a new line; two of them are not one word."""
    found = train_tokens(lambda: iter(["ab ca"] * 30), tokenizer, ["\n", "b", " ", "x y", "</s>"], tmp_path / "t.bin", TINY)
    assert [bool(np.abs(row).sum()) for row in found] == [True, False, True, True, True]
