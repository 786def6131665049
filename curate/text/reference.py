"""The definitions of text in plain Python: what the kernels compute, written to be read and compared with, not to be fast.

A text in, its words and counts out. Used by tests and by people. Imports the Unicode table only, so it moves with its version.

Words. (1) White space (str.isspace) cuts the text into chunks. (2) At the start of a chunk, again and again: a member of P, a
symbol (category So), a + not before a digit, or a run of two or more full stops is a word. At the end likewise: a member of S, a
symbol, a currency sign after a digit, 's, a run of full stops, or one full stop after a lower-case letter, a digit, a member of
S, one of ² - +, or two capitals. (3) What is left is cut at marks inside it, and each mark is a word: runs of two or more full
stops, the ellipsis and symbols anywhere; hyphens and commas between letters; a full stop between lower case (or a quote) and
upper case (or a quote); : < > = / between a letter or digit and a letter; + - * ^ between a digit and a digit or hyphen. Marks
(combining characters) count as letters; letters of scripts without case as lower and as upper case. P and S stand in
make_unicode_table.py. Source: spaCy's base tokenizer rules, as reduced in our kernel measurements; no language's exceptions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from curate.text import kernels as k
from curate.text.unicode import tables


def is_(bits: int) -> Callable[[str], bool]:
    """Whether a character has one of the class bits; "" (beyond an end) has none."""
    return lambda c: c != "" and bool(int(tables()[0][ord(c)]) & bits)


is_space, is_letter, is_symbol = is_(k.SPACE), is_(k.LETTERISH), is_(k.ICON)
is_lower, is_upper, is_digit, is_quote = is_(k.LOWER), is_(k.UPPER), is_(k.DIGIT), is_(k.QUOTE)
in_p, in_s, is_currency = is_(k.LEAD), is_(k.TRAIL), is_(k.CURRENCY)


def words_reference(text: str) -> list[str]:
    words: list[str] = []
    for chunk in _chunks(text):
        words += _chunk_words(chunk)
    return words


def _chunks(text: str) -> list[str]:
    return "".join(" " if is_space(c) else c for c in text).split(" ") if text else []


def _chunk_words(chunk: str) -> list[str]:
    head: list[str] = []
    while n := _leading(chunk):
        head.append(chunk[:n])
        chunk = chunk[n:]
    tail: list[str] = []
    while n := _trailing(chunk):
        tail.insert(0, chunk[-n:])
        chunk = chunk[:-n]
    return head + _cut(chunk) + tail


def _leading(s: str) -> int:
    """Characters of the word at the start of s that rule 2 takes off, 0 for none."""
    if s.startswith(".."):
        return len(s) - len(s.lstrip("."))
    if s.startswith("+"):
        return 0 if is_digit(s[1:2]) else 1
    return 1 if s and (in_p(s[0]) or is_symbol(s[0])) else 0


def _trailing(s: str) -> int:
    if not s:
        return 0
    if s.endswith(".."):
        return len(s) - len(s.rstrip("."))
    last, one, two = s[-1], s[-2:-1], s[-3:-2]
    if last == ".":
        return int(is_lower(one) or is_digit(one) or in_s(one) or one in tuple("²-+") or (is_upper(one) and is_upper(two)))
    if in_s(last) or is_symbol(last) or (is_currency(last) and is_digit(one)):
        return 1
    return 2 if last in "sS" and one in ("'", "’") else 0


def _cut(s: str) -> list[str]:
    words: list[str] = []
    word = i = 0
    while i < len(s):
        if n := _infix(s, i):
            words += [s[word:i]] if i > word else []
            words.append(s[i : i + n])
            i += n
            word = i
        else:
            i += 1
    return words + ([s[word:]] if word < len(s) else [])


def _infix(s: str, i: int) -> int:
    """Characters of the cut mark at s[i], 0 where rule 3 does not cut."""
    c, before, after = s[i], s[i - 1 : i] if i else "", s[i + 1 : i + 2]
    dots = len(s[i:]) - len(s[i:].lstrip("."))
    if dots >= 2:
        return dots
    if c == "…" or is_symbol(c):
        return 1
    if c in "+-*^" and is_digit(before) and (is_digit(after) or after == "-"):
        return 1
    if c == "." and (is_lower(before) or is_quote(before)) and (is_upper(after) or is_quote(after)):
        return 1
    if c == "," and is_letter(before) and is_letter(after):
        return 1
    if c in ":<>=/" and (is_letter(before) or is_digit(before)) and is_letter(after):
        return 1
    for hyphen in ("---", "--", "-", "——", "—", "–", "~"):
        if s.startswith(hyphen, i) and is_letter(before) and is_letter(s[i + len(hyphen) : i + len(hyphen) + 1]):
            return len(hyphen)
    return 0


def length_reference(text: str) -> dict[str, int]:
    lines = text.removesuffix("\n").split("\n") if text else []
    filled = [not all(is_space(c) for c in line) for line in lines]
    return {
        "n_bytes": len(text.encode()),
        "n_chars": len(text),
        "n_words": len(words_reference(text)),
        "n_lines": len(lines),
        "n_paragraphs": sum(here and not before for before, here in zip([False, *filled], filled, strict=False)),
    }


def gopher_reference(text: str, stop_words: Collection[str]) -> dict[str, int]:
    """Counts as datatrove 0.10.1's GopherQualityFilter takes them, over our words."""
    words = words_reference(text)
    lines = text.splitlines()
    non_symbol = [w for w in words if not all(is_(k.SYMBOL)(c) for c in w)]
    return {
        "n_non_symbol_words": len(non_symbol),
        "n_non_symbol_word_chars": sum(map(len, non_symbol)),
        "n_alpha_words": sum(any(map(is_(k.LETTER), w)) for w in words),
        "n_stop_words": len(set(stop_words) & set(words)),
        "n_hash_chars": text.count("#"),
        "n_ellipsis_units": text.count("...") + text.count("…"),
        "n_bullet_lines": sum(line.lstrip().startswith(("•", "-")) for line in lines),
        "n_ellipsis_lines": sum(line.rstrip().endswith(("...", "…")) for line in lines),
        "n_unicode_lines": len(lines),
    }


def lower_reference(word: str) -> str:
    """Simple lower case, code point by code point."""
    return "".join(chr(ord(c) + int(tables()[1][ord(c)])) for c in word)


def shingles_reference(text: str, ngram: int) -> set[tuple[str, ...]]:
    """Runs of `ngram` lower-cased words with a letter or digit; fewer such words make one shingle, none makes none."""
    words = [lower_reference(w) for w in words_reference(text) if any(map(is_(k.ALNUM), w))]
    n = min(ngram, len(words))
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)} if n else set()
