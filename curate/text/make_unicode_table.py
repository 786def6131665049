"""Makes unicode-<version>.npz, the classes and simple lower-case forms of all code points, from this Python's unicodedata.

Run `python -m curate.text.make_unicode_table` under another Python to make the table of its Unicode version; point
unicode.UNICODE_VERSION at it, raise SEGMENTATION_VERSION and look at which golden roots moved.
"""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import numpy as np

from curate.text import kernels as k

QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉"
# Set P of the word definition: what is a word of its own at the start of a chunk; the set S at its end lacks § and =.
# Currency signs (category Sc) join P; at the end they need a digit before them.
PUNCTUATION = "…,:;!?¿¡()[]{}<>_#*&" + "؟。？！，、；：～·।،۔؛٪"
MARKS = "§%=—–"
# PUNCTUATION_SET of datatrove 0.10.1 (datatrove/utils/text.py): a word of nothing else is a symbol for Gopher's counts.
SYMBOLS = "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»" + "".join(
    chr(x) for a, b in ((0, 9), (11, 13), (13, 32), (127, 160)) for x in range(a, b)
)


def class_of(c: str) -> int:
    """Bits of one code point. Surrogates have none but their category's: they cannot occur in UTF-8."""
    category = unicodedata.category(c)
    cased_down = c.islower() or category == "Lt"
    bits = {
        k.SPACE: c.isspace(),
        k.LETTER: c.isalpha(),
        k.MARK: category[0] == "M",
        k.LOWER: category in ("Ll", "Lo", "Lm") or category[0] == "M",
        k.UPPER: category in ("Lu", "Lt", "Lo", "Lm"),
        k.DIGIT: category == "Nd",
        k.ALNUM: c.isalnum(),
        k.ICON: category == "So",
        k.LEAD: c in PUNCTUATION or c in QUOTES or c in MARKS or category == "Sc",
        k.TRAIL: c in PUNCTUATION or c in QUOTES or c in "%—–",
        k.SYMBOL: c in SYMBOLS,
        k.BREAK: len(f"a{c}a".splitlines()) == 2,
        k.QUOTE: c in QUOTES,
        k.CURRENCY: category == "Sc",
        # Marks and the vowels and final consonants of Hangul may join what stands before them (NFC_Quick_Check=Maybe).
        k.NFC_UNSAFE: category[0] == "M" or 0x1160 <= ord(c) <= 0x11FF or not unicodedata.is_normalized("NFC", c),
        k.CASED_UP: c.isupper(),
        k.CASED_DOWN: cased_down,
    }
    return sum(bit for bit, holds in bits.items() if holds)


def simple_lower(c: str) -> str:
    """Simple lower-case mapping: one code point for one (only İ has a longer full form; UnicodeData.txt gives i)."""
    return c.lower()[0]


def main(folder: Path) -> Path:
    classes = np.array([class_of(chr(x)) for x in range(0x110000)], np.uint32)
    starts = np.flatnonzero(np.diff(classes, prepend=np.uint32(0xFFFFFFFF))).astype(np.int32)
    changed = np.array([x for x in range(0x110000) if simple_lower(chr(x)) != chr(x)], np.int32)
    deltas = np.array([ord(simple_lower(chr(x))) - x for x in changed], np.int32)
    path = folder / f"unicode-{unicodedata.unidata_version}.npz"
    np.savez_compressed(path, starts=starts, classes=classes[starts], changed=changed, deltas=deltas)
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(__file__).parent)}\n")
