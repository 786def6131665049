"""What identifiers say side by side: agreement, and the language of the parts of a mixed page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curate import langid
from curate.recipe import LanguageId
from curate.signals import language, measurers, ratio_of, signal_names
from curate.signals.measure import as_batch
from curate.store import Store
from tests.signals.measuring import batch
from tests.signals.test_measure import documents, recipe, run

ET = "Täna õhtul sajab lund ja homme hommikul läheme kõik koos suusatama, kui ilm on ilus ja tuult ei ole.\n" * 2
EN = "The weather is fine today and we shall all go skiing together tomorrow morning if there is no wind.\n" * 2
FI = "Tänä iltana sataa lunta ja huomenna aamulla lähdemme kaikki yhdessä hiihtämään, jos ilma on kaunis.\n" * 2
SPEC = langid.Spec(candidates=langid.NEIGHBOURS)


def segments(texts: list[str], spec: langid.Spec = SPEC) -> dict:
    measurer = language.segments_measurer("language", spec)
    found = measurer.measure(batch(texts))
    assert list(found) == [*(column.name for column in measurer.family.columns), "spans"]
    return found


def test_segments_of_a_mixed_page() -> None:
    page = ET * 3 + EN + ET
    found = segments([page, ET, "", EN + FI + ET * 4, "123\n" * 99])
    n_en, n_fi = len(EN.encode()), len(FI.encode())
    assert found["n_language_segments"].tolist() == [5, 1, 0, 6, 1]
    assert found["n_language_foreign_segments"].tolist() == [1, 0, 0, 2, 0]
    assert found["n_language_foreign_bytes"].tolist() == [n_en, 0, 0, n_en + n_fi, 0]
    assert found["language_second"].tolist() == ["en", "", "", "fi", ""]  # 214 bytes of Finnish, 200 of English
    spans = found["spans"]
    raw = [page.encode(), b"", b"", (EN + FI + ET * 4).encode()]
    cut = [raw[r][a:b].decode() for r, a, b in zip(spans.row, spans.start, spans.end, strict=True)]
    assert cut == [EN, EN, FI] and spans.kind.tolist() == [0, 0, 0]


def test_no_segment_of_a_text_without_language_is_foreign() -> None:
    found = segments(["", "1 2 3"])
    assert found["n_language_foreign_bytes"].tolist() == [0, 0] and len(found["spans"].row) == 0


def test_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"a": ["et", "et", "und", "et"], "b": ["et", "fi", "und", "et"], "c": ["et", "lv", "et", "fi"]}
    n = np.zeros(4, np.int64)
    fake = lambda data, offsets, spec: langid.Languages(np.array(said[spec.candidates[0]], object), n, n, n)  # noqa: E731
    monkeypatch.setattr(langid, "identify", fake)
    specs = tuple(langid.Spec(candidates=(name,)) for name in said)
    found = language.measure_agreement(specs, batch(["w", "x", "y", "z"]))
    assert found["n_language_opinions"].tolist() == [3, 3, 3, 3]
    assert found["n_agreeing_language_opinions"].tolist() == [3, 1, 0, 2]


def test_one_pass_identifies_once_for_each_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    identify = langid.identify
    monkeypatch.setattr(langid, "identify", lambda d, o, spec: asked.append((len(o), spec)) or identify(d, o, spec))
    entries = [LanguageId(segments=True, candidates=["et", "en", "fi"]), LanguageId(name="second", candidates=["et", "fi"])]
    wanted = recipe(language_id=entries)
    names = [m.family.name for m in measurers(wanted, wanted.sources["a"])]
    assert {"language", "second", "language_segments", "language_agreement"} <= set(names)
    store = Store(tmp_path)
    tables, _, _ = run(store, wanted, documents(store, [ET * 2 + EN, FI]))
    assert sorted(n for n, _ in asked) == [3, 3, 5]  # both entries over two documents, and the four segments
    assert tables["language_agreement"].column("n_agreeing_language_opinions").to_pylist() == [2, 2]
    assert tables["language_segments"].column("language_second").to_pylist() == ["en", ""]
    types = signal_names(wanted, wanted.sources["a"])
    assert types["language_agreement_ratio"] == types["language_foreign_byte_ratio"] == "ratio"
    assert ratio_of("language_foreign_byte_ratio") == ("n_language_foreign_bytes", "n_bytes")


def test_one_entry_has_no_agreement() -> None:
    wanted = recipe()
    assert not {"language_agreement", "language_segments"} & {m.family.name for m in measurers(wanted, wanted.sources["a"])}


def test_another_entry_leaves_the_first_ones_stage(tmp_path: Path) -> None:
    from curate.signals import measure

    store = Store(tmp_path)
    given = documents(store, ["a"])
    one, _, _ = measure.tasks(store, recipe(), {"a": given})
    two, _, _ = measure.tasks(store, recipe(language_id=[LanguageId(segments=True), LanguageId(name="b")]), {"a": given})
    assert two["a", "language"] == one["a", "language"] and ("a", "language_agreement") in two


def test_a_batch_alone_shares_nothing() -> None:
    import pyarrow as pa

    given = as_batch(pa.table({"text": pa.array([ET], pa.large_string())}), None)
    assert language.measure("l", SPEC, given)["l"].tolist() == language.measure("l", SPEC, batch([ET]))["l"].tolist() == ["et"]
    assert list(given.shared or {}) == [("language", SPEC)]
