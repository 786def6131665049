"""Makes unicode-<version>.npz, the classes and simple lower-case forms of all code points, from this Python's unicodedata.

Run `python -m curate.text.make_unicode_table` under another Python to make the table of its Unicode version; point
unicode.UNICODE_VERSION at it, raise SEGMENTATION_VERSION and look at which golden roots moved.

Also makes folds-<version>.npz, letters without their marks, of the same version; raise shingling.FOLD_VERSION with it.

Also makes kinds-<version>.npz, what every code point is and of which script, from the regex module (not from Python, which knows no
scripts); its documentation says which Unicode version it has. Then set unicode.KINDS_VERSION, and raise the family characters.
"""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import numpy as np

from curate.text import kernels as k
from curate.text import unicode

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


def without_marks(c: str) -> str:
    """The canonical decomposition without combining marks (Mn): one letter, "" for a mark; `c` where more or nothing would be left
    of what is no mark (Hangul syllables have no marks)."""
    if unicodedata.category(c) == "Mn":
        return ""
    left = "".join(x for x in unicodedata.normalize("NFD", c) if unicodedata.category(x) != "Mn")
    return left if len(left) == 1 else c


def main_folds(folder: Path) -> Path:
    """folds-<version>.npz: code points of two bytes or more that change without their marks, and into what (0: left out)."""
    changed = np.array([x for x in range(0x80, 0x110000) if without_marks(chr(x)) != chr(x)], np.int32)
    bases = np.array([ord(without_marks(chr(x)) or "\0") for x in changed], np.int32)
    path = folder / f"folds-{unicodedata.unidata_version}.npz"
    np.savez_compressed(path, changed=changed, bases=bases)
    return path


def kinds_of() -> np.ndarray:
    """uint8 (0x110000,): the bytes of unicode.kinds(). Surrogates cannot occur in UTF-8; they count as unassigned."""
    import regex  # of transformers; not needed to run

    def having(pattern: str) -> np.ndarray:
        match = regex.compile(pattern).match
        return np.array([match(chr(x)) is not None for x in range(0x110000)])

    # Later lines win. U+30FC and U+FF70 lengthen vowels of both kana, so that Unicode gives them to no script.
    sets = {"other_letter": r"\p{L}"} | {
        f"{name}_letter": rf"[\p{{Script={name}}}&&\p{{L}}]" for name in unicode.SCRIPTS if name != "kana"
    }
    sets |= {
        "kana_letter": r"[[\p{Script=Hiragana}\p{Script=Katakana}\u30FC\uFF70]&&\p{L}]", "digit": r"\p{Nd}", "punctuation": r"\p{P}",
        "symbol": r"\p{S}", "replacement": r"\uFFFD", "control": r"[\p{Cc}--[\t\n\r]]", "directional_mark": r"\p{Bidi_Control}",
        "unassigned": r"[\p{Cn}\p{Co}\p{Cs}]",
    }  # fmt: skip
    found = np.zeros(0x110000, np.uint8)
    for name, pattern in sets.items():
        found[having("(?V1)" + pattern)] = unicode.KINDS.index(name)
    found[having(r"[\p{Lu}\p{Lt}]")] |= unicode.UPPER_KIND
    found[[x for x in range(0x110000) if chr(x).isspace()]] |= unicode.SPACE_KIND
    # What shows as an emoji by itself, and the selector that makes one of what it follows.
    found[having(r"[\p{Emoji_Presentation}\uFE0F]")] |= unicode.EMOJI_KIND
    return found


def main_kinds(folder: Path, version: str = unicode.KINDS_VERSION) -> Path:
    kinds = kinds_of()
    starts = np.flatnonzero(np.diff(kinds, prepend=np.uint8(255))).astype(np.int32)
    path = folder / f"kinds-{version}.npz"
    np.savez_compressed(path, starts=starts, kinds=kinds[starts])
    return path


if __name__ == "__main__":
    for make in (main, main_folds, main_kinds):
        sys.stdout.write(f"{make(Path(__file__).parent)}\n")
