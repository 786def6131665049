"""Listed words: what counts as an occurrence, which source has a list, and agreement with datatrove's C4BadWordsFilter."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard

from curate import text
from curate.errors import CurateError
from curate.signals import bad_words, measurers, signal_names
from curate.signals.family import Batch
from tests.signals.test_measure import recipe


def count(phrases: list[str], texts: list[str], words: str | None = "rules") -> list[int]:
    array = pa.array(["enne", *texts], pa.large_string()).slice(1)
    data, offsets = text.buffers(array)
    segments = text.segment(data, offsets) if words else None
    return bad_words.measure(tuple(phrases), words, Batch(array, data, offsets, segments))["n_bad_words"].tolist()


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_whole_words_in_lower_case() -> None:
    listed = ["kuri", "Õel Sõna", "paha-paha", "s&m", "ülikuri"]
    texts = [
        "", "kuri", "Kuri, KURI ja kurikael.", "õel sõna; ÕEL\n  sõna, õel", "paha-paha paha paha", "S&M", "kurisevad", "ülikuri kuri",
        "(kuri) „kuri“ kuri/kuri", "кури 中文",
    ]  # fmt: skip
    assert count(listed, texts) == [0, 1, 2, 2, 1, 1, 0, 2, 4, 0]


def test_the_longest_phrase_counts_once() -> None:
    assert count(["a b c", "a b", "b", "c d"], ["a b c d", "a b d", "b c d", "a b c a b", "a c"]) == [1, 1, 2, 2, 0]


def test_scripts_without_spaces_are_searched_anywhere() -> None:
    assert count(["坏话", "坏", "AB"], ["这是坏话吗", "坏坏话", "好", "xaby", ""], None) == [1, 2, 0, 1, 0]


def test_a_source_gets_the_list_of_its_language(tmp_path: Path) -> None:
    write(tmp_path / "et.txt", "kuri", "", "  õel sõna  ", "kuri")
    given = recipe(bad_words={"est": "et.txt", "zh": "et.txt"}).model_copy(update={"base": tmp_path})
    source = given.sources["a"]  # language: est
    family = next(m for m in measurers(given, source) if m.family.name == "bad_words")
    assert family.needs_words and family.settings["in"] == "words"
    assert signal_names(given, source)["bad_word_ratio"] == "ratio" and signal_names(given, source)["n_bad_words"] == "int64"
    for language, expected in (("fi", None), (None, None), ("zh", "text"), ("et-EE", "words")):
        found = [m for m in measurers(given, source.model_copy(update={"language": language})) if m.family.name == "bad_words"]
        assert [m.settings["in"] for m in found] == ([expected] if expected else [])
    first = family.settings["list"]
    write(tmp_path / "et.txt", "õel sõna", "kuri")  # the same lines in another order: the same list
    assert bad_words.measurer({"et": tmp_path / "et.txt"}, "et", "rules").settings["list"] == first  # type: ignore[union-attr]


def test_mistakes(tmp_path: Path) -> None:
    path = write(tmp_path / "et.txt", "kuri")
    for lists, message in (
        ({"et": tmp_path / "none.txt"}, "no such list"),
        ({"et": path, "est": tmp_path / "other.txt"}, "two lists"),
        ({"et": write(tmp_path / "empty.txt", " ")}, "empty"),
        ({"et": write(tmp_path / "long.txt", " ".join(["sõna"] * 64))}, "64 words"),
    ):
        with pytest.raises(CurateError, match=message):
            bad_words.measurer(lists, "et", "rules")
    (tmp_path / "latin.txt").write_bytes("öäõ".encode("latin-1"))
    with pytest.raises(CurateError, match="UTF-8"):
        bad_words.measurer({"et": tmp_path / "latin.txt"}, "et", "rules")


def test_documents_found_as_in_c4(data: Path) -> None:
    """The same documents as datatrove's C4BadWordsFilter (its expression, with the list given to it), but for one address.

    C4 looks for the listed characters between two non-word characters (\\W), we for words, so that what the segmentation keeps
    whole (an address on the web) does not count in parts.
    """
    listed = (data / "lists/badwords_ldnoobw_en.txt").read_text(encoding="utf-8").strip().split("\n")
    theirs = re.compile(rf"(?:\W|^)({'|'.join(re.escape(word.strip()) for word in listed)})(?:\W|$)")
    with zstandard.open(data / "preference/hh_harmless.jsonl.zst", "rt", encoding="utf-8", newline="\n") as file:
        texts = [" ".join(str(value) for value in json.loads(line).values())[:4000] for line in file]
    ours = [n > 0 for n in count(listed, texts)]
    differing = [i for i, t in enumerate(texts) if bool(theirs.search(t.lower())) != ours[i]]
    assert len(texts) == 1620 and sum(ours) > 200
    assert [bool(re.search(r"\.com/\S*-on-the-diet", texts[i])) for i in differing] == [True]
