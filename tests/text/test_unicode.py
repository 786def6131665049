"""The shipped Unicode table against Python's own, where both have the same version."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from curate.langid import kernels as langid_kernels
from curate.text import kernels as k
from curate.text import make_unicode_table, unicode


def test_classes_by_hand() -> None:
    classes, lower = unicode.tables()
    assert classes.shape == lower.shape == (1 << 21,)
    assert classes[ord("ä")] == k.LETTER | k.LOWER | k.ALNUM | k.CASED_DOWN
    assert classes[ord("4")] == k.DIGIT | k.ALNUM
    assert classes[ord("\n")] == k.SPACE | k.BREAK
    assert classes[ord("€")] == k.LEAD | k.CURRENCY
    assert classes[0x301] == k.MARK | k.LOWER | k.NFC_UNSAFE
    assert classes[0x110000:].max() == 0
    assert ord("Õ") + lower[ord("Õ")] == ord("õ")


def test_no_letter_mark_or_digit_is_cut_off_or_inside() -> None:
    classes, _ = unicode.tables()
    wordlike = classes & np.uint32(k.LETTERISH | k.DIGIT) != 0
    assert not (classes[wordlike] & np.uint32(k.LEAD | k.TRAIL | k.ICON | k.CURRENCY | k.SPACE)).any()
    assert not (classes & np.uint32(k.BREAK | k.SPACE) == k.BREAK).any()


@pytest.mark.slow
@pytest.mark.skipif(
    unicodedata.unidata_version != unicode.UNICODE_VERSION, reason=f"needs a Python with Unicode {unicode.UNICODE_VERSION}"
)
def test_the_file_is_what_the_script_makes(tmp_path: Path) -> None:
    made = make_unicode_table.main(tmp_path)
    with np.load(made) as new, np.load(Path(unicode.__file__).with_name(made.name)) as shipped:
        assert {name: new[name].tolist() for name in new.files} == {name: shipped[name].tolist() for name in shipped.files}


def test_language_kernels_repeat_the_same_bits() -> None:
    for name in ("NFC_UNSAFE", "CASED_UP", "CASED_DOWN"):
        assert getattr(langid_kernels, name) == getattr(k, name)
