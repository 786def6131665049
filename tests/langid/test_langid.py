"""Language identification: equal to py3langid, windows by hand, codes, and a fastText model behind the same interface."""

from __future__ import annotations

import itertools
import json
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import langid, text
from curate.errors import CurateError
from curate.langid import bayes
from curate.langid.codes import label_codes, language_code


def identify(rows: list[str], **settings: object) -> langid.Languages:
    return langid.identify(*text.buffers(pa.array(rows, pa.large_string())), langid.Spec(**settings))  # type: ignore[arg-type]


def spans(written: str, n: int, n_bytes: int) -> list[str]:
    data, offsets = text.buffers(pa.array([written], pa.large_string()))
    _, start, end = langid.windows(data, offsets, n, n_bytes)
    return [data[a:b].tobytes().decode() for a, b in zip(start, end, strict=True)]


@pytest.mark.parametrize(("written", "n", "n_bytes", "expected"), [
    ("", 3, 4, []),
    ("abcdefghijkl", 3, 4, ["abcdefghijkl"]),  # as long as its windows: whole
    ("abcdefghijklm", 3, 4, ["abcd", "efgh", "jklm"]),  # starts 0, 9 * 1 // 2, 9
    ("abcdefghijklm", 0, 4, ["abcdefghijklm"]),
    ("abcdefghijklm", 1, 4, ["abcd"]),
    ("õõõõõõõ", 3, 4, ["õõ", "õ", "õõ"]),  # 14 bytes; the middle window is bytes 5 to 9, cut inwards to 6 to 8
])  # fmt: skip
def test_windows_by_hand(written: str, n: int, n_bytes: int, expected: list[str]) -> None:
    assert spans(written, n, n_bytes) == expected


def test_language_of_short_texts() -> None:
    found = identify(
        ["Täna õhtul sajab lund ja homme läheme suusatama.", "The weather is fine today.", "", "123"], candidates=("et", "en")
    )
    assert found.language.tolist() == ["et", "en", "und", "und"]
    assert found.n_windows.tolist() == found.n_agreeing.tolist() == [1, 1, 0, 0]
    assert found.score.dtype == np.float32 and (found.score[:2] > 0.9).all() and not found.score[2:].any()


def test_windows_vote_by_summed_probability() -> None:
    et, en = "Ta läks koju ja jõi kohvi, sest väljas oli külm. ", "She went home and drank coffee because it was cold outside. "
    found = identify([et * 30 + en * 12, et * 60], candidates=("et", "en"), windows=3, window_bytes=400)
    assert found.language.tolist() == ["et", "et"]
    assert found.n_windows.tolist() == [3, 3] and found.n_agreeing.tolist() == [2, 3]
    assert 0.6 < found.score[0] < 0.72 and found.score[1] > 0.95


def lines(data: Path, name: str) -> list[dict]:
    zstandard = pytest.importorskip("zstandard")
    with zstandard.open(data / name, "rt", encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("candidates", [(), langid.NEIGHBOURS])
def test_equals_py3langid(data: Path, candidates: tuple[str, ...]) -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    rows = [row["text"] for row in lines(data, "lid/lingua_test.jsonl.zst")[::60] + lines(data, "lid/udhr2.jsonl.zst")[::4]]
    rows += ["KALLIS SÕBER, TERE TULEMAST KOJU", unicodedata.normalize("NFD", "öösel sõitsime jõe äärde")]
    theirs = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    theirs.set_languages(list(candidates) or None)
    found = identify(rows, candidates=candidates, windows=0)
    compared = 0
    for row, language, score, n in zip(rows, found.language, found.score, found.n_windows, strict=True):
        label, probability = theirs.classify(row)
        if n == 0:  # no language, or no feature at all: every class is equally probable for theirs (Serbian and Uzbek have two)
            assert label == "zxx" or probability < 2.01 / len(theirs.nb_classes)
        else:
            assert language == language_code(label) and abs(float(score) - probability) <= 1e-4
            compared += 1
    assert compared > 350


def test_estonian_is_found_in_real_texts(data: Path) -> None:
    rows = [row["text"] for row in lines(data, "et_text/ud_edt_dev.jsonl.zst")] + [
        row["text"] for row in lines(data, "en_text/inaugural.jsonl.zst")
    ]
    found = identify(rows, candidates=langid.NEIGHBOURS)
    assert found.language.tolist() == ["et"] * 7 + ["en"] * 59


@pytest.mark.parametrize(("given", "code"), [
    ("et", "et"), ("est", "et"), ("ekk", "et"), ("est_Latn", "et"), ("et-EE", "et"), ("__label__ekk_Latn", "et"), ("EN", "en"),
    ("nb", "no"), ("nob", "no"), ("lvs", "lv"), ("cmn_Hans", "zh"), ("vro", "vro"), ("olo_Latn", "olo"),
])  # fmt: skip
def test_language_codes(given: str, code: str) -> None:
    assert language_code(given) == code


def test_default_candidates_are_neighbours_and_the_recipes_languages_the_model_knows() -> None:
    assert langid.candidates_for(["vro", "mt", "est"]) == tuple(sorted({*langid.NEIGHBOURS, "mt"}))


def test_an_unknown_candidate_is_the_users_mistake() -> None:
    with pytest.raises(CurateError, match="'vro'"):
        identify(["a"], candidates=("vro",))


def test_identity_names_the_model_by_content_and_normalises_candidates() -> None:
    one, other = (langid.identity(langid.Spec(candidates=c)) for c in (("est", "en"), ("en", "et", "et")))
    assert one == other and one["model_sha256"] == bayes.model_sha256() and len(one["model_sha256"]) == 64


def test_fasttext_model(data: Path) -> None:
    model = data / "lid" / "lid.176.ftz"
    rows = ["Täna õhtul sajab lund\nja homme läheme suusatama.", "The weather is fine today.", ""]
    free = identify(rows, backend="fasttext", model=model)
    assert free.language.tolist() == ["et", "en", "und"]
    assert free.n_windows.tolist() == [1, 1, 0] and free.score.max() <= 1
    narrow = identify(rows, backend="fasttext", model=model, candidates=("est", "fin"))
    assert (narrow.language[0], narrow.language[2]) == ("et", "und")
    assert narrow.score[0] > free.score[0]  # made to sum to 1 over the two
    assert langid.identity(langid.Spec("fasttext", model))["model_sha256"].startswith("8f3472cfe8738a7b")
    with pytest.raises(CurateError, match="'xx'"):
        identify(rows, backend="fasttext", model=model, candidates=("xx",))


def test_every_label_of_lid_176_keeps_its_code(data: Path) -> None:
    import fasttext

    labels = fasttext.load_model(str(data / "lid" / "lid.176.ftz")).get_labels()
    codes = label_codes(labels)
    assert len(labels) == 176 and len(set(codes.values())) == 176
    changed = {label: code for label, code in codes.items() if label != f"__label__{code}"}
    assert changed == {"__label__als": "gsw"}  # Wikipedia's als is Alemannic; the model has Albanian as sq


# The forms that GlotLID v3 (languages-v3.md), OpenLID v2 and FLORES-200 document: ISO 639-3 and a script.
@pytest.mark.parametrize(("label", "code"), [
    ("__label__ekk_Latn", "et"), ("__label__est_Latn", "et"), ("__label__vro_Latn", "vro"), ("__label__fin_Latn", "fi"),
    ("__label__olo_Latn", "olo"), ("__label__krl_Latn", "krl"), ("__label__vep_Latn", "vep"), ("__label__liv_Latn", "liv"),
    ("__label__lvs_Latn", "lv"), ("__label__ltg_Latn", "ltg"), ("__label__lit_Latn", "lt"), ("__label__eng_Latn", "en"),
    ("__label__rus_Cyrl", "ru"), ("__label__ukr_Cyrl", "uk"), ("__label__swe_Latn", "sv"), ("__label__nob_Latn", "no"),
    ("__label__nno_Latn", "nn"), ("__label__deu_Latn", "de"), ("__label__als_Latn", "sq"), ("__label__gsw_Latn", "gsw"),
    ("__label__arb_Arab", "ar"), ("__label__arb_Latn", "ar"), ("__label__cmn_Hani", "zh"), ("__label__zho_Hant", "zh"),
    ("__label__fas_Arab", "fa"), ("__label__pes_Arab", "fa"), ("__label__srp_Cyrl", "sr"), ("__label__fil_Latn", "tl"),
    ("__label__zsm_Latn", "ms"), ("__label__swh_Latn", "sw"), ("__label__khk_Cyrl", "mn"), ("__label__uzn_Latn", "uz"),
    ("__label__azj_Latn", "az"), ("__label__kmr_Latn", "ku"), ("__label__ydd_Hebr", "yi"), ("__label__sme_Latn", "se"),
    ("__label__zxx_Latn", "zxx"), ("__label__und_Xsux", "und"),
])  # fmt: skip
def test_labels_of_glotlid_and_openlid(label: str, code: str) -> None:
    assert label_codes([label]) == {label: code}


def test_what_is_no_language_is_und() -> None:
    scores = np.array([[0.7, 0.3], [0.2, 0.8], [0.0, 0.0]])
    found = langid._per_document(("zxx", "et"), scores, np.array([0, 1, 2, 3]))
    assert found.language.tolist() == ["und", "et", "und"]
    assert found.n_windows.tolist() == [0, 1, 0] and found.score.tolist() == [0.0, pytest.approx(0.8), 0.0]


@pytest.mark.parametrize(("written", "expected"), [
    (["", "short"], [[], ["short"]]),
    (["a" * 199 + "\n" + "b" * 199 + "\n"], [["a" * 199 + "\n", "b" * 199 + "\n"]]),  # exactly 200 bytes each
    (["a" * 198 + "\n" + "b\n" + "c" * 10], [["a" * 198 + "\nb\n" + "c" * 10]]),  # 199 bytes do not end one, 10 join the last
    (["õ" * 120 + "\n\n" + "b" * 200, "x"], [["õ" * 120 + "\n", "\n" + "b" * 200], ["x"]]),
])  # fmt: skip
def test_segments_by_hand(written: list[str], expected: list[list[str]]) -> None:
    data, offsets = text.buffers(pa.array(written, pa.large_string()))
    doc_ptr, bounds = langid.segments(data, offsets)
    parts = [data[a:b].tobytes().decode() for a, b in itertools.pairwise(bounds)]
    assert [parts[a:b] for a, b in itertools.pairwise(doc_ptr)] == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="aõ\n ", max_size=700), max_size=6))
def test_segments_fill_their_documents_with_whole_lines(written: list[str]) -> None:
    data, offsets = text.buffers(pa.array([*written, "end"], pa.large_string()).slice(0, len(written)))
    doc_ptr, bounds = langid.segments(data, offsets)
    assert bounds[0] == offsets[0] and bounds[-1] == offsets[-1] and (np.diff(bounds) > 0).all()
    assert np.array_equal(bounds[doc_ptr], offsets) or not all(written)
    for doc, whole in enumerate(written):
        own = bounds[doc_ptr[doc] : doc_ptr[doc + 1] + 1]
        parts = [data[a:b].tobytes().decode() for a, b in itertools.pairwise(own)]
        assert "".join(parts) == whole
        assert all(p.endswith("\n") for p in parts[:-1])
        assert len(parts) == 1 or all(len(p.encode()) >= langid.MIN_SEGMENT_BYTES for p in parts)
