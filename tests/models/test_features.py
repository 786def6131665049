"""Features by hand on short texts, fuzz, and the kernels with bounds checks truly on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import text
from curate.models import features

PLACE = {name.split(" ")[0]: i for i, name in enumerate(features.SHAPE)}


def row(written: str) -> dict[str, float]:
    found = features.rows_of([written])[0]
    return {name: round(float(found[i]), 4) for name, i in PLACE.items()}


def test_names_are_the_columns() -> None:
    assert len(PLACE) == len(features.SHAPE) == features.N_FEATURES - features.N_BUCKETS


def test_an_empty_text_is_zeros() -> None:
    assert not features.rows_of(["", "  \n"])[0].any()
    assert features.rows_of([]).shape == (0, features.N_FEATURES)


@pytest.mark.parametrize(("written", "expected"), [
    ("Aa Bb", {"letter_ratio": 0.8, "upper_ratio": 0.5, "space_ratio": 0.2, "upper_inside_sentence": 0.5, "mean_word_chars": 2}),
    ("õde", {"non_ascii_ratio": 0.3333, "sentence_begins_low": 1, "sd_word_chars": 0, "words_to_3_chars": 1}),
    ("ma ma ma ma", {"same_as_word_before": 0.75, "type_token": 0.25, "log_words_per_sentence": np.log1p(4)}),
    ("Üks. Kaks kaks. Üks!", {"full_stop": 0.1, "exclamation": 0.05, "log_words_per_sentence": np.log1p(4 / 3), "symbol_words": 3 / 7,
                              "sd_by_mean_of_sentence_words": np.sqrt(2 - 16 / 9) / (4 / 3), "sentence_begins_as_the_one_before": 0}),
    ("Ja nii. Ja naa.", {"sentence_begins_as_the_one_before": 0.5, "line_without_final_mark": 0, "line_to_5_words": 0}),
    ("Osta 5 € või 10€!", {"price_like": 2 / 4, "number": 0.5, "currency": 2 / 17, "digit_ratio": 3 / 17}),
    ("Helista 5551 2345 kohe", {"phone_like": 1 / 4, "number": 0.5}),
    ("Aastal 1918 ja 1920", {"phone_like": 0, "price_like": 0}),
    ("http://x.ee ja a@b.ee", {"web_marks": None}),
    ("NATO ja EL 3D", {"all_caps": 0.5, "number_with_letters": 0.25, "upper_inside_sentence": 0.25}),
    ("Windows ja Excel", {"with_c_q_w_x_y": 2 / 3, "words_from_10_chars": 0}),
    ("pealkiri\n\nesimene lause on siin.\n", {"line_to_5_words": 1, "line_without_final_mark": 0.5, "newline": 3 / 33,
                                              "log_words_per_line": np.log1p(6 / 2)}),
    ("😀 tere", {"icon": 1 / 6}), ("中文 не", {"letter_ratio": 0.8, "non_ascii_ratio": 1}),
])  # fmt: skip
def test_shape_by_hand(written: str, expected: dict[str, float | None]) -> None:
    found = row(written)
    for name, value in expected.items():
        if value is None:
            assert found[name] > 0
        else:
            assert found[name] == pytest.approx(value, abs=1e-4), name


def test_skeletons() -> None:
    """Long words are their last three letters, numbers are all one; two pieces a word: alone, and with the word before."""
    hashed = features.rows_of(["Minu kirjutamine 12", "minu lugemine 345", "minu kirjutaja 12", "Sinu kirjutamine 12"])[
        :, len(PLACE) :
    ]
    assert (hashed[0] == hashed[1]).all() and (hashed[0] != hashed[2]).any() and (hashed[0] != hashed[3]).any()
    assert np.allclose((hashed**2).sum(axis=1), 1)
    assert (hashed[0] > 0).sum() == 6 and np.allclose(hashed[0][hashed[0] > 0], np.sqrt(1 / 6))


def test_length_alone_changes_little() -> None:
    """Twice the same page: the shares stay, but for the pairs across the seam."""
    page = "Ta läks koju. Väljas sadas vihma, ja keegi ei tulnud vastu!\nHommikul oli kõik teisiti, ütles ema.\n" * 6
    once, twice = features.rows_of([page, page * 2])[:, : len(PLACE)]
    assert np.allclose(once, twice, atol=0.02)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=80), max_size=6))
def test_any_text_has_finite_features_of_its_own(texts: list[str]) -> None:
    texts = [t.encode("utf-8", "ignore").decode() for t in texts]
    found = features.rows_of(texts)
    assert np.isfinite(found).all() and (found >= 0).all()
    for i, one in enumerate(texts):
        assert (features.rows_of([one])[0] == found[i]).all()


def test_a_slice_of_a_larger_buffer() -> None:
    array = pa.array(["esimene rida", "teine rida 5 €", "kolmas"], pa.large_string()).slice(1, 1)
    data, offsets = text.buffers(array)
    assert (features.rows(data, offsets, text.segment(data, offsets)) == features.rows_of(["teine rida 5 €"])).all()


CHECKED = """
import random
import numpy as np, pyarrow as pa
from curate import text
from curate.models import features, kernels
from curate.text.unicode import tables

def given(rows):
    data, offsets = text.buffers(pa.array(rows, pa.large_string()))
    data = data[: max(offsets[-1], 1)].copy()
    return data, offsets, text.segment(data, offsets)

data, offsets, seg = given(["abc def"])
try:  # a document said to end beyond the data: must raise, or nothing here checks anything
    features.rows(data, np.array([0, 50]), seg)
except IndexError:
    pass
else:
    raise SystemExit("bounds checking is off")

rng = random.Random(7)
alphabet = "aÄõ中😀\\u0301 .…,'’s+-—:@#•/015€%\\n\\r\\u2028"
rows = ["", ".", "\\n", "5", "€", "a" * 900, "5" * 40, ".." * 400, "😀" * 700, "a " * 300] + [
    "".join(rng.choices(alphabet, k=rng.randrange(60))) for _ in range(3000)
]
for i in range(0, len(rows), 97):
    data, offsets, seg = given(rows[i : i + 97])
    out = features.rows(data, offsets, seg)
    one = np.ones(features.N_FEATURES)
    z = features.logits(data, offsets, seg, 0 * one, one, one, 0.5, 6.0)
    assert np.allclose(z, 0.5 + np.clip(out, -6, 6).sum(axis=1), atol=1e-3)
print("checked")
"""


@pytest.mark.slow
def test_no_kernel_reads_or_writes_out_of_bounds(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    top = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", CHECKED], env=environment, cwd=top, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "checked\n"), done.stderr
