"""Language models: normalised lines by a plain reference, scores by hand, unreadable models, and training with and without lmplz."""

from __future__ import annotations

import json
import math
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import text
from curate.errors import CurateError
from curate.models import lm, lm_lines, lm_texts, lm_train
from curate.models.lm_lines import Lines, lines_again, lines_of
from curate.store import file_sha256
from curate.text.unicode import tables
from tests.command import curate
from tests.models import lm_by_hand


def lines(*texts: str) -> Lines:
    data, offsets = text.buffers(pa.array(texts, pa.large_string()))
    return lines_of(data, offsets, text.segment(data, offsets))


def by_document(*texts: str) -> list[list[str]]:
    found = lines(*texts)
    rows: list[list[str]] = [[] for _ in texts]
    for doc, line in zip(found.doc, found.texts(), strict=True):
        rows[doc].append(line.decode())
    return rows


@pytest.mark.parametrize(("written", "expected"), [
    ("", []),
    (" \n\n\t", []),
    ("Tere, Maailm!", ["tere , maailm !"]),
    ("Tere\n\nMAAILM (1)\r\n", ["tere", "maailm ( 1 )"]),
    ("Õun İ ΣΑΣ ẞ", ["õun i σασ ß"]),  # simple case mapping: one code point each, no final sigma
    ("<s> </s> <unk>", ["< s > < /s > < unk >"]),
    ("中文 字", ["中文 字"]),
])  # fmt: skip
def test_lines_by_hand(written: str, expected: list[str]) -> None:
    assert by_document(written) == [expected]


def test_words_that_kenlm_keeps_for_itself_and_nul_are_replaced() -> None:
    assert lm_lines._RESERVED.sub(rb"(\1)", b"<s> a </s>\n<unk> x<unk>\n") == b"(s) a (/s)\n(unk) x<unk>\n"
    assert by_document("a\0b") == [["a?b"]]


def reference(written: str) -> list[str]:
    """Line by line, with the segmentation's words and the shipped table."""
    delta = tables()[1]
    found = []
    for line in written.split("\n"):
        if words := text.words(line):
            found.append("".join(chr(ord(c) + int(delta[ord(c)])) for c in " ".join(words)))
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="aÄÕõİΣ中😀 .,'-\n\r\u2028/1", max_size=40), max_size=5))
def test_lines_are_the_reference(written: list[str]) -> None:
    assert by_document("x", *written)[1:] == [reference(row) for row in written]


def test_many_words_are_rewritten_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lines("Üks kaks\nkolm NELI", "viis")
    monkeypatch.setattr(lm_lines, "_WORDS_AT_ONCE", 2)
    parts = lines("Üks kaks\nkolm NELI", "viis")
    assert whole.data == parts.data == "üks kaks\nkolm neli\nviis\n".encode()
    again = lines_again([[b"\xc3\xbcks kaks", b"kolm neli"], [b"viis"]])
    for a, b in zip(whole[1:5], again[1:5], strict=True):
        assert a.tolist() == b.tolist()
    assert whole.n_bytes.tolist() == [10, 10, 5] and again.word_hash.tolist() == [0, 1, 2, 3, 4]


def test_a_word_with_a_space_stays_one_word() -> None:
    data, offsets = text.buffers(pa.array(["Hà Nội đẹp"], pa.large_string()))
    seg = text.segment(data, offsets)
    seg = seg._replace(doc_ptr=np.array([0, 2]), start=seg.start[[0, 2]], end=seg.end[[1, 2]], lower=seg.lower[[0, 2]])
    found = lines_of(data, offsets, seg)
    assert found.data.decode() == "hà_nội đẹp\n" and len(found.word_end) == 2


def test_scores_by_hand(tmp_path: Path) -> None:
    found = lm.score(lines("Tere maailm\n\nTere, maailm!"), lm_by_hand.write(tmp_path), 4.0)
    assert found.log10 == pytest.approx([-1.2, -4.0], abs=1e-6)
    assert found.n_words.tolist() == [2, 4] and found.n_unknown.tolist() == [0, 2]
    # the comma and the exclamation mark are unknown: a byte and a separator each, at 4 bits
    assert found.bits == pytest.approx([1.2 * math.log2(10), 4.0 * math.log2(10) + 4 * 4.0], abs=1e-5)
    none = lm.score(lines("", " "), tmp_path / "lm.arpa", 4.0)
    assert [len(column) for column in none] == [0, 0, 0, 0]


def test_facts_are_checked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = lm_by_hand.write(tmp_path)
    assert lm.facts(path) == (lm.UNKNOWN_BYTE_BITS, None, None) and "lm.arpa.json" in caplog.text
    assert lm.facts(lm_by_hand.write(tmp_path, {})) == (4.0, 1.0, 2.0)
    for facts, message in (
        ({"sha256": "0" * 64}, "another model"),
        ({"normalisation": 0}, "another normalisation"),
        ({"words": {"tokenizer": "SpaCyTokenizer", "language": "zh"}}, "other words"),
        ({"cutoffs": {}}, "cannot be read"),
        ({"unknown_byte_bits": "x"}, "cannot be read"),
    ):
        with pytest.raises(CurateError, match=message):
            lm.facts(lm_by_hand.write(tmp_path, facts))
    (tmp_path / "lm.arpa.json").write_text("{")
    with pytest.raises(CurateError, match="cannot be read"):
        lm.facts(path)


@pytest.mark.parametrize("content", [b"", b"no model", lm_by_hand.ARPA[:120].encode(), b"mmap lm http://kheafield.com/code"])
def test_an_unreadable_model_is_the_users_mistake(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.bin"
    path.write_bytes(content)
    with pytest.raises(CurateError, match="cannot read this model"):
        lm.load(path)
    with pytest.raises(CurateError, match="cannot read this model"):
        lm.load(tmp_path / "absent.bin")


def write_texts(path: Path, texts: list[str], field: str = "text") -> Path:
    path.write_text("".join(json.dumps({field: row}) + "\n" for row in texts))
    return path


def test_texts_of_files(tmp_path: Path) -> None:
    jsonl = write_texts(tmp_path / "a.jsonl", ["üks", "kaks"], "body")
    (tmp_path / "b.txt").write_text("esimene\nlõik\n\n \nteine\n")
    (tmp_path / "c.txt").write_text("rida\nteine rida\n")
    found = list(lm_texts.texts_of_files([jsonl, tmp_path / "b.txt", tmp_path / "c.txt"], "body"))
    assert found == ["üks", "kaks", "esimene\nlõik", "teine\n", "rida", "teine rida"]
    with pytest.raises(CurateError, match="no record"):
        list(lm_texts.texts_of_files([jsonl]))
    with pytest.raises(CurateError, match="no such file"):
        list(lm_texts.texts_of_files([tmp_path / "absent.jsonl"]))


def test_lines_are_used_once_and_on_one_side(tmp_path: Path) -> None:
    given_texts = [f"Ühine rida.\nOma rida {i}.\nOma rida {i}." for i in range(200)]
    counts = lm_train.write_lines(given_texts, tmp_path, 0, 0.2)
    train = (tmp_path / "train.txt").read_text().split("\n")[:-1]
    held = [line for line in (tmp_path / "held_out.txt").read_text().split("\n") if line]
    assert len(set(train) | set(held)) == len(train) + len(held) == 201  # the common line stands once, on one side
    assert counts.documents + counts.held_out == 200 and 20 < counts.held_out < 60
    assert (counts.lines, counts.held_out_lines) == (len(train), len(held)) and counts.repeated_lines == 199 + 200
    assert counts.words == sum(len(line.split()) for line in train)
    assert counts.byte_counts[ord("o")] == sum(line.count("o") for line in train)
    other = lm_train.write_lines(given_texts, tmp_path, 1, 0.2)  # another seed, other documents
    assert (tmp_path / "train.txt").read_text().split("\n")[:-1] != train and other.documents + other.held_out == 200


def test_byte_entropy_by_hand() -> None:
    counts = np.bincount(np.frombuffer(b"ab a\nbc ad\n", np.uint8), minlength=256)
    # a 3, b 2, c 1, d 1 of 7, without separators: 3/7 log2 7/3 + 2/7 log2 7/2 + 2/7 log2 7
    assert lm_train.byte_entropy(counts) == pytest.approx(1.8424, abs=1e-4)


def test_evaluation_by_hand(tmp_path: Path) -> None:
    path = lm_by_hand.write(tmp_path)
    (tmp_path / "held_out.txt").write_text("tere maailm\ntere , maailm !\n\ntere maailm\n\n")
    found = lm_train.evaluate(tmp_path / "held_out.txt", path, 4.0)
    one, two = 1.2 * math.log2(10), 4.0 * math.log2(10) + 16.0  # bits of the two lines; 12 and 16 bytes
    assert found["held_out"] == {
        "n_documents": 2, "n_lines": 3, "n_words": 8, "bits_per_byte": round((2 * one + two) / 40, 4),
        "word_perplexity": round(10 ** (6.4 / 11), 4), "oov_ratio": 0.25,
    }  # fmt: skip
    # lines 0.3322, 0.3322, 1.8305; the 30th and 60th percentile by linear interpolation at places 0.6 and 1.2
    middle = round(0.8 * one / 12 + 0.2 * two / 16, 4)
    assert found["cutoffs"]["lines"] == {"head": round(one / 12, 4), "middle": middle}


def test_without_lmplz_the_build_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = write_texts(tmp_path / "a.jsonl", ["x"])
    with pytest.raises(CurateError, match="lmplz is not there") as error:
        lm_train.train(tmp_path / "m.bin", [file], held_out=Fraction(1, 50))
    assert "libboost-program-options-dev" in str(error.value) and "--target lmplz build_binary" in str(error.value)
    done = curate("train-lm", tmp_path / "m.bin", file, "--kenlm", tmp_path)
    assert done.returncode == 2 and "lmplz is not there" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "m.bin").exists()


@pytest.mark.parametrize(("order", "prune"), [(1, "0"), (7, "0"), (3, "0 0 0 1"), (3, "1 0"), (3, "x"), (3, "")])
def test_settings_of_lmplz(order: int, prune: str) -> None:
    with pytest.raises(CurateError):
        lm_train._thresholds(order, prune)


needs_lmplz = pytest.mark.skipif(
    not (shutil.which("lmplz") and shutil.which("build_binary")),
    reason="lmplz is not on the PATH: docs/kenlm.md says how to build it",
)


@needs_lmplz
def test_training_gives_the_same_bytes_and_a_model_that_knows_its_text(tmp_path: Path) -> None:
    texts = [f"Eesti keel on ilus, ütles mees number {i}.\nTa läks koju {i % 7} korda." for i in range(300)]
    file = write_texts(tmp_path / "a.jsonl", texts)
    made = [
        lm_train.train(tmp_path / f"{n}.bin", [file], order=3, prune="0", held_out=Fraction(1, 10), seed=1)
        for n in ("m", "again")
    ]
    assert made[0] == made[1] and (tmp_path / "m.bin").read_bytes() == (tmp_path / "again.bin").read_bytes()
    assert made[0]["sha256"] == file_sha256(tmp_path / "m.bin") and made[0]["inputs"][0]["sha256"] == file_sha256(file)
    assert json.loads((tmp_path / "m.bin.json").read_text()) == made[0]
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    facts = lm.facts(tmp_path / "m.bin")
    own, foreign = lm.score(
        lines("Eesti keel on ilus.\nThe weather is nice today."), tmp_path / "m.bin", facts.unknown_byte_bits
    ).bits
    assert own / 20 < facts.unknown_byte_bits < foreign / 27
    assert "kind: kenlm" in lm_train.render(tmp_path / "m.bin", made[0])
    with pytest.raises(CurateError, match="too few"):
        lm_train.train(tmp_path / "few.bin", [write_texts(tmp_path / "one.jsonl", ["Tere."])], held_out=Fraction(1, 10))
