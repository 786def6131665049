"""Family characters: counts by hand, against Python's own Unicode tables, and shares at their exact bounds."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import text
from curate.signals import DERIVED, Batch, characters
from curate.text import make_unicode_table, unicode


def counts(*rows: str) -> list[dict[str, int]]:
    array = pa.array(rows, pa.large_string())
    columns = characters.measure(Batch(array, *text.buffers(array), None, {}))
    return [{name: int(column[i]) for name, column in columns.items() if column[i]} for i in range(len(rows))]


def test_every_column_is_measured_and_an_empty_text_has_nothing() -> None:
    array = pa.array([""], pa.large_string())
    columns = characters.measure(Batch(array, *text.buffers(array), None, {}))
    assert list(columns) == [c.name for c in characters.FAMILY.columns]
    assert not any(column[0] for column in columns.values())


HAND = {
    "Tere, Õie! 42": {"n_letters": 7, "n_latin_letters": 7, "n_uppercase_letters": 2, "n_punctuation_chars": 2, "n_digits": 2, "n_white_space": 2},
    "Жук Ωμ": {"n_letters": 5, "n_cyrillic_letters": 3, "n_greek_letters": 2, "n_uppercase_letters": 2, "n_white_space": 1},
    "سلام؟ שלום": {"n_letters": 8, "n_arabic_letters": 4, "n_hebrew_letters": 4, "n_punctuation_chars": 1, "n_white_space": 1},
    "हिन्दी १": {"n_letters": 3, "n_devanagari_letters": 3, "n_digits": 1, "n_white_space": 1},  # three vowel signs and a virama are marks
    "漢字かなカタカナー한글ไทย": {"n_letters": 14, "n_han_letters": 2, "n_kana_letters": 7, "n_hangul_letters": 2, "n_thai_letters": 3},
    "ქართ Հայ አማ µ": {
        "n_letters": 10, "n_georgian_letters": 4, "n_armenian_letters": 3, "n_other_letters": 3, "n_uppercase_letters": 1,
        "n_white_space": 3,
    },
    "5 € + 3°": {"n_digits": 2, "n_symbols": 3, "n_white_space": 3},
    "😀 ⚠️ © 🇪🇪": {"n_emoji": 4, "n_symbols": 5, "n_white_space": 3},  # a face, U+FE0F after a sign, two letters of a flag
    "a\ufffdb\ufffd": {"n_letters": 2, "n_latin_letters": 2, "n_replacement_chars": 2, "n_symbols": 2},
    "a\0\x1b\x85\t\r\n": {"n_letters": 1, "n_latin_letters": 1, "n_control_chars": 3, "n_white_space": 4},
    "\u202eabc \u2066x\u2069\u200f": {"n_letters": 4, "n_latin_letters": 4, "n_directional_marks": 4, "n_white_space": 1},
    "\u202c\u202c": {"n_directional_marks": 2},  # closes what was never opened
    "\ue000\U000f0000\u0378\U000e0080\uffff": {"n_unassigned_chars": 5},
    "\u200d\u00ad\u0301²": {},  # joiner, soft hyphen, accent, superscript: none of these
}  # fmt: skip


@pytest.mark.parametrize("written", HAND)
def test_counts_by_hand(written: str) -> None:
    assert counts(written) == [HAND[written]]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=5))
def test_counts_follow_pythons_categories_where_those_know_the_character(rows: list[str]) -> None:
    rows = ["".join(c for c in row if unicodedata.category(c) != "Cn") for row in rows]
    for row, found in zip(rows, counts(*rows), strict=True):
        kinds = [unicodedata.category(c) for c in row]
        expected = {
            "n_letters": sum(kind[0] == "L" for kind in kinds),
            "n_uppercase_letters": sum(kind in ("Lu", "Lt") for kind in kinds),
            "n_digits": kinds.count("Nd"),
            "n_punctuation_chars": sum(kind[0] == "P" for kind in kinds),
            "n_symbols": sum(kind[0] == "S" for kind in kinds),
            "n_white_space": sum(c.isspace() for c in row),
            "n_replacement_chars": row.count("\ufffd"),
            "n_control_chars": sum(kind == "Cc" and c not in "\t\n\r" for c, kind in zip(row, kinds, strict=True)),
            "n_unassigned_chars": kinds.count("Co"),
        }
        assert {name: found.get(name, 0) for name in expected} == expected
        assert sum(
            n for name, n in found.items() if name.endswith("_letters") and name not in ("n_letters", "n_uppercase_letters")
        ) == (found.get("n_letters", 0))


def test_a_batch_equals_its_texts_one_by_one() -> None:
    rows = [*HAND, "", "ä" * 70]
    assert counts(*rows) == [counts(row)[0] for row in rows]
    array = pa.array(["vahe", *rows], pa.string()).slice(1)  # 32-bit offsets that do not begin at 0
    columns = characters.measure(Batch(array, *text.buffers(array), None, {}))
    assert columns["n_letters"].tolist() == [row.get("n_letters", 0) for row in counts(*rows)]


def test_ratios_are_over_letters_or_characters_that_exist() -> None:
    names = {c.name for c in characters.FAMILY.columns} | {"n_chars"}
    assert all({r.numerator, r.denominator} <= names for r in characters.FAMILY.ratios)
    above, below = DERIVED["cyrillic_ratio"]
    (found,) = counts("жaжa")
    assert found[above] / found[below] == 0.5  # exactly: a bound of 0.5 keeps it
    above, below = DERIVED["uppercase_ratio"]
    (found,) = counts("AaAaa 123!")
    assert found[above] / found[below] == 0.4


CHECKED = """
import random
import numpy as np, pyarrow as pa
from curate import text
from curate.signals import Batch, characters
from curate.signals.characters import kernels
from curate.text import unicode

try:  # a text said to end beyond the bytes: must raise, or nothing here checks anything
    kernels.kind_counts(np.zeros(2, np.uint8), np.array([0, 9]), np.zeros(1 << 21, np.uint8), np.empty((1, kernels.KINDS), np.int64))
except IndexError:
    pass
else:
    raise SystemExit("bounds checking is off")

rng = random.Random(3)
points = [x for x in range(0x110000) if not 0xD800 <= x < 0xE000]
rows = ["", "\\U0010ffff", "a" * 999] + ["".join(map(chr, rng.choices(points, k=rng.randrange(40)))) for _ in range(4000)]
rows += ["".join(map(chr, rng.choices(range(0x300), k=rng.randrange(40)))) for _ in range(4000)]
kinds = unicode.kinds()
for batch in text.batches(pa.array(rows, pa.large_string()), 20_000):
    data, offsets = text.buffers(batch)
    data = data[: offsets[-1]].copy()  # nothing behind the last text to read by mistake
    found = characters.measure(Batch(batch, data, offsets, None, {}))
    for i, row in enumerate(batch.to_pylist()):
        assert found["n_emoji"][i] == sum(bool(kinds[ord(c)] & unicode.EMOJI_KIND) for c in row)
        assert found["n_han_letters"][i] == sum(unicode.KINDS[kinds[ord(c)] & unicode.KIND] == "han_letter" for c in row)
        assert found["n_unassigned_chars"][i] == sum(unicode.KINDS[kinds[ord(c)] & unicode.KIND] == "unassigned" for c in row)
print("checked")
"""


@pytest.mark.slow
def test_the_kernel_stays_in_bounds(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    top = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", CHECKED], env=environment, cwd=top, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "checked\n"), done.stderr


def test_the_table_agrees_with_pythons_scripts_by_name() -> None:
    """A letter's Unicode name begins with its script: an opinion of Python's table on the one made from another library."""
    kinds = unicode.kinds()
    begins = {
        "LATIN": "latin",
        "CYRILLIC": "cyrillic",
        "HEBREW": "hebrew",
        "DEVANAGARI": "devanagari",
        "THAI": "thai",
        "ARMENIAN": "armenian",
    }
    for code in range(0x20, 0x1000):
        name = unicodedata.name(chr(code), "")
        if unicodedata.category(chr(code))[0] == "L" and (script := begins.get(name.split(" ")[0])):
            assert unicode.KINDS[int(kinds[code]) & unicode.KIND] == f"{script}_letter", name


@pytest.mark.slow
def test_the_file_is_what_the_script_makes(tmp_path: Path) -> None:
    regex = pytest.importorskip("regex")
    if not np.any([regex.match(r"\p{Script=Sidetic}", chr(0x10940)), False]):
        pytest.skip(f"needs a regex module of Unicode {unicode.KINDS_VERSION}")
    made = make_unicode_table.main_kinds(tmp_path)
    with np.load(made) as new, np.load(Path(unicode.__file__).with_name(made.name)) as shipped:
        assert {name: new[name].tolist() for name in new.files} == {name: shipped[name].tolist() for name in shipped.files}
