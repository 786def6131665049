"""The signals of a language model: by hand from a bigram model, where there are no words, and through a recipe."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from curate.errors import CurateError
from curate.recipe import Recipe
from curate.signals import lm, measurers, ratio_of, ratios_over, signal_names
from tests.models import lm_by_hand
from tests.signals.measuring import batch
from tests.signals.test_measure import documents, recipe, run


def columns(path: Path, texts: list[str]) -> dict[str, list]:
    measurer = lm.measurer("et", path)
    found = measurer.measure(batch(texts))
    assert list(found) == [column.name for column in measurer.family.columns]
    return {name: pa.array(values).to_pylist() for name, values in found.items()}


def test_by_hand(tmp_path: Path) -> None:
    # bits: 3.9863 of "tere maailm" (12 bytes), 13.2877 + 4 * 4 of "tere , maailm !" (16 bytes); head up to 1.0, middle up to 2.0
    found = columns(lm_by_hand.write(tmp_path, {}), ["Tere maailm", "Tere maailm\n\nTere, maailm!", "", " \n"])
    assert found["et_bits_per_byte"] == pytest.approx([0.3322, 1.1884, None, None], abs=1e-6)
    assert found["et_word_perplexity"] == pytest.approx([2.5119, 4.4668, None, None], abs=1e-4)  # 10 ** (1.2 / 3), (5.2 / 8)
    assert found["et_worst_line_bits_per_byte"] == pytest.approx([0.3322, 1.8305, None, None], abs=1e-6)
    counts = {name: values for name, values in found.items() if name.startswith("n_")}
    assert counts == {
        "n_et_lm_words": [2, 6, 0, 0], "n_et_oov_words": [0, 2, 0, 0], "n_et_lm_lines": [1, 2, 0, 0],
        "n_et_head_lines": [1, 1, 0, 0], "n_et_middle_lines": [0, 1, 0, 0], "n_et_tail_lines": [0, 0, 0, 0],
    }  # fmt: skip


def test_a_line_on_a_cutoff_is_below_it(tmp_path: Path) -> None:
    path = lm_by_hand.write(tmp_path, {"cutoffs": {"lines": {"head": 0.3322, "middle": 1.8304}}})
    found = columns(path, ["Tere maailm\nTere, maailm!"])
    assert [found[f"n_et_{third}_lines"] for third in ("head", "middle", "tail")] == [[1], [0], [1]]


def test_the_worst_line_is_a_long_one_where_there_is_any(tmp_path: Path) -> None:
    path = lm_by_hand.write(tmp_path, {})
    long = "Tere tere tere tere tere"
    alone = columns(path, [long])["et_worst_line_bits_per_byte"]
    assert columns(path, [f"{long}\nxyzzy!", "xyzzy!"])["et_worst_line_bits_per_byte"][0] == alone[0]
    assert columns(path, ["xyzzy!"])["et_worst_line_bits_per_byte"][0] > alone[0]


def test_without_its_json_a_model_has_no_thirds(tmp_path: Path) -> None:
    found = columns(lm_by_hand.write(tmp_path), ["Tere, maailm!"])
    assert "n_et_head_lines" not in found
    assert found["et_bits_per_byte"] == pytest.approx([(4 * 3.321928 + 4 * 4.5) / 16], abs=1e-4)


def entry(path: Path, **changes: object) -> Recipe:
    return recipe(models={"kenlm_et": {"name": "kenlm_et", "kind": "kenlm", "model": str(path), **changes}})


def test_through_a_recipe(tmp_path: Path) -> None:
    from curate.store import Store

    path = lm_by_hand.write(tmp_path, {})
    wanted = entry(path)
    names = signal_names(wanted, wanted.sources["a"])
    assert (
        names["kenlm_et_bits_per_byte"] == "float32"
        and names["kenlm_et_oov_ratio"] == names["kenlm_et_tail_line_ratio"] == "ratio"
    )
    assert ratio_of("kenlm_et_oov_ratio") == ("n_kenlm_et_oov_words", "n_kenlm_et_lm_words")
    columns = [name for name, kind in names.items() if kind != "ratio"]
    assert ratios_over(columns)["kenlm_et_tail_line_ratio"] == ("n_kenlm_et_tail_lines", "n_kenlm_et_lm_lines")
    assert ratio_of("n_words") is None and ratio_of("hash_word_ratio") == ("n_hash_chars", "n_words")
    store = Store(tmp_path / "store")
    tables, _, _ = run(store, wanted, documents(store, ["Tere maailm", ""]))
    assert tables["kenlm_et"].column("kenlm_et_bits_per_byte").to_pylist() == pytest.approx([0.3322, None], abs=1e-6)
    elsewhere = entry(path, sources=["b"])
    assert "kenlm_et" not in [m.family.name for m in measurers(elsewhere, elsewhere.sources["a"])]


def test_mistakes_are_found_before_the_first_document(tmp_path: Path) -> None:
    path = lm_by_hand.write(tmp_path, {})
    for wanted in (entry(tmp_path / "absent.bin"), entry(path, sha256="0" * 64), entry(Path(__file__))):
        with pytest.raises(CurateError):
            measurers(wanted, wanted.sources["a"])


def test_the_fingerprint_knows_model_normalisation_and_cutoffs(tmp_path: Path) -> None:
    one = lm.measurer("et", lm_by_hand.write(tmp_path, {})).settings
    other = lm.measurer("et", lm_by_hand.write(tmp_path, {"cutoffs": {"lines": {"head": 1.0, "middle": 2.5}}})).settings
    assert one != other and one["model_sha256"] == other["model_sha256"] and str(tmp_path) not in str(one)
