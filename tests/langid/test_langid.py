"""Language identification: equal to py3langid, windows by hand, codes, and a fastText model behind the same interface."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate import langid, text
from curate.errors import CurateError
from curate.langid import bayes, fasttext_model
from curate.langid.codes import language_code


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
        if n == 0:  # no feature at all: every class is equally probable for theirs (Serbian and Uzbek have two)
            assert probability < 2.01 / len(theirs.nb_classes)
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


def test_fasttext_models_are_found_by_path_or_at_a_pinned_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked = []
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *args, **named: asked.append((args, named)) or "/cache/model.bin"
    )
    (tmp_path / "m.ftz").write_bytes(b"x")
    assert fasttext_model.model_path("m.ftz", None, tmp_path) == tmp_path / "m.ftz"
    assert fasttext_model.model_path("group/lid", "abc", tmp_path) == Path("/cache/model.bin")
    assert fasttext_model.model_path("group/lid/v2/lid.bin", "abc", tmp_path) == Path("/cache/model.bin")
    assert asked == [(("group/lid", "model.bin"), {"revision": "abc"}), (("group/lid", "v2/lid.bin"), {"revision": "abc"})]
    with pytest.raises(CurateError, match="pinned revision"):
        fasttext_model.model_path("group/lid", None, tmp_path)
    with pytest.raises(CurateError, match="no such fastText model"):
        fasttext_model.model_path("absent.bin", None, tmp_path)
