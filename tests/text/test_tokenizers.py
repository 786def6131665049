"""Words of datatrove's tokenizers behind text.segment: where they stand, what they depend on, and what a user without them is told."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import pipeline, text
from curate.errors import CurateError
from curate.recipe import Recipe
from curate.signals import characters, length, measure
from curate.store import Store
from curate.text import tokenizers
from tests.signals.test_measure import documents, run

spacy_missing = importlib.util.find_spec("spacy") is None
needs_spacy = pytest.mark.skipif(spacy_missing, reason="needs spaCy: pip install -e .[bench]")


class Pairs:
    """Stands for a tokenizer of a script without spaces: words of two characters, white space dropped, as datatrove's do."""

    language = "zh"

    def word_tokenize(self, written: str) -> list[str]:
        return [piece[i : i + 2] for piece in written.split() for i in range(0, len(piece), 2)]


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tokenizers, "_tokenizer", lambda language: Pairs())
    yield


def spans(seg: text.Segments, data: Any) -> list[list[str]]:
    words = [data[a:b].tobytes().decode() for a, b in zip(seg.start.tolist(), seg.end.tolist(), strict=True)]
    return [words[a:b] for a, b in zip(seg.doc_ptr[:-1].tolist(), seg.doc_ptr[1:].tolist(), strict=True)]


def test_segments_carry_the_tokenizers_words(pairs: None) -> None:
    rows = ["", "我们爱 北京。", " \n", "aé😀b"]
    array = pa.array(["vahe", *rows], pa.string()).slice(1)
    data, offsets = text.buffers(array)
    seg = text.segment(data, offsets, "zh")
    assert spans(seg, data) == [[], ["我们", "爱", "北京", "。"], [], ["aé", "😀b"]]
    assert seg.chars.tolist() == [2, 1, 2, 1, 2, 2]
    assert int(seg.hash[0]) == text.word_hash("我们")
    assert (seg.flags != 0).tolist() == [True, True, True, False, True, True]  # 。 is of datatrove's symbols


@needs_spacy
def test_a_tokenizer_that_is_installed() -> None:
    data, offsets = text.buffers(
        pa.array(["ሰላም ለዓለም። እንደምን፣"], pa.large_string())
    )  # Amharic: spaCy has it without more libraries
    assert spans(text.segment(data, offsets, "am"), data) == [["ሰላም", "ለዓለም", "።", "እንደምን", "፣"]]
    assert text.segmentation("am")["words"]["language"] == "am"
    assert set(text.segmentation("am")["words"]["libraries"]) == {"datatrove", "spacy"}


def test_the_fingerprint_of_our_own_words_names_no_library() -> None:
    assert text.segmentation() == {"segmentation": text.SEGMENTATION_VERSION, "unicode": text.UNICODE_VERSION}


PLACES = {
    ("", ()): [],
    ("aa aa", ("aa", "aa")): [(0, 2), (3, 5)],
    ("했다 했", ("했", "했", "다", "했")): [(0, 1), (1, 2), (3, 4)],  # a second morpheme of the same syllable
    ("a 12345 b", ("a", "b")): [(0, 1), (8, 9)],  # what the tokenizer dropped
    ("abc", ("a", "x", "c")): [(0, 1), (2, 3)],  # what it changed
}


@pytest.mark.parametrize("given_", PLACES)
def test_places_of_words(given_: tuple[str, tuple[str, ...]]) -> None:
    assert tokenizers.places(given_[0], list(given_[1])) == PLACES[given_]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text("aab中😀", min_size=1, max_size=4), st.sampled_from(["", " ", "\n "])), max_size=8))
def test_words_that_make_up_the_text_are_all_found(parts: list[tuple[str, str]]) -> None:
    written = "".join(word + gap for word, gap in parts)
    found = tokenizers.places(written, [word for word, _ in parts])
    assert [written[a:b] for a, b in found] == [word for word, _ in parts]


def test_codes_mean_what_they_say() -> None:
    # datatrove 0.10.1's own zh, zho, ar and hi lead to the tokenizers of other scripts or languages (tokenizers._codes).
    codes = tokenizers._codes()
    wanted = {"zh": "cmn_Hani", "zho": "zho_Hani", "ar": "arb_Arab", "hi": "hin_Deva", "th": "tha_Thai", "zho_Latn": "zho_Latn"}
    assert {code: codes[code] for code in wanted} == wanted


def test_a_code_nobody_has() -> None:
    with pytest.raises(CurateError, match="no word tokenizer for 'thaii'") as error:
        tokenizers.check("thaii", "sources.a.words")
    assert "rules" in error.value.allowed and error.value.where == "sources.a.words"


def test_an_absent_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(language: str) -> Any:
        raise ImportError("Please install `pythainlp` to use th word tokenizer (`pip install pythainlp`).")

    monkeypatch.setattr(tokenizers, "_tokenizer", absent)
    with pytest.raises(CurateError, match="library that is not installed") as error:
        tokenizers.check("th", "sources.a.words")
    assert "veski[multilingual]" in error.value.next and "pythainlp" in error.value.found and "km, lo" in error.value.allowed


def recipe(tmp_path: Path, words: str, **changes: object) -> Recipe:
    (tmp_path / "x.jsonl").touch()
    source = {"read": [str(tmp_path / "x.jsonl")], "license": {"declared": "CC0-1.0"}}
    component = {"from": "a", "role": "target", "budget": "1k tokens"}
    base = {
        "kind": "cpt", "name": "r", "tokenizer": {"model": "t"},
        "sources": {"a": {"name": "a", "words": words, **source}, "b": {"name": "b", **source}},
        "mixture": {"total": "1k tokens", "sequence_length": 64, "components": {"c": component}},
    }  # fmt: skip
    return Recipe.model_validate(base | changes)


def test_compared_sources_must_cut_words_alike(tmp_path: Path, pairs: None) -> None:
    pipeline.check(recipe(tmp_path, "zh"))  # across all: near duplicates among those that cut alike
    with pytest.raises(CurateError, match="cut their words in different ways") as error:
        pipeline.check(recipe(tmp_path, "zh", dedup={"near": {"across": ["a", "b"]}}))
    assert (error.value.found, error.value.where) == ("a: zh, b: rules", "dedup.near.across")
    pipeline.check(recipe(tmp_path, "rules", dedup={"near": {"across": ["a", "b"]}}))
    pipeline.check(recipe(tmp_path, "zh", dedup={"near": {"across": ["b"]}, "within": ["a"]}))


def test_measuring_follows_the_sources_words(tmp_path: Path, pairs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "measurers", lambda *_: [length.measurer(), characters.measurer()])
    store = Store(tmp_path)
    given_ = documents(store, ["我们爱北京", "aa"])
    plain = run(store, recipe(tmp_path, "rules"), given_)
    paired = run(store, recipe(tmp_path, "zh"), given_)
    assert plain[0]["length"].column("n_words").to_pylist() == [1, 1]
    assert paired[0]["length"].column("n_words").to_pylist() == [3, 1]
    assert plain[1].path != paired[1].path  # signatures
    folders = [
        {family: s.path for (_, family), s in measure.tasks(store, recipe(tmp_path, w), {"a": given_})[0].items()}
        for w in ("rules", "zh")
    ]
    same = {family for family in folders[0] if folders[0][family] == folders[1][family]}
    assert same == {"characters"}  # which needs no words
    assert pq.read_table(folders[1]["length"] / "00000" / "length.parquet").num_rows == 2
