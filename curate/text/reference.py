"""The definitions of text in plain Python: what the kernels compute, written to be read and compared with, not to be fast.

A text in, its words and counts out. Used by tests and by people. Imports the Unicode table and the exceptions.

Words. (1) White space (str.isspace) cuts the text into chunks. (2) At the start of a chunk, again and again: a member of P, a
symbol (category So), a + not before a digit, or a run of two or more full stops is a word. At the end likewise: a member of S, a
symbol, a currency sign after a digit, 's, a run of full stops, or one full stop after a lower-case letter, a digit, a member of
S, one of ² - +, or two capitals. (3) What is left is cut at marks inside it, and each mark is a word: runs of two or more full
stops, the ellipsis and symbols anywhere; hyphens and commas between letters; a full stop between lower case (or a quote) and
upper case (or a quote); : < > = / between a letter or digit and a letter; + - * ^ between a digit and a digit or hyphen. Marks
(combining characters) count as letters; letters of scripts without case as lower and as upper case. P and S stand in
make_unicode_table.py. (4) What is left after (2) is not cut where it is a URL or e-mail address, and is cut otherwise where it is
a contraction of exceptions.txt (do|n't); words of a chunk side by side that together are an exception of one word there (Mr., :-),
a.) are joined, from the left, longest first. Source: spaCy's base tokenizer rules, as reduced in our kernel measurements, and its
exceptions. Every language has the same words: which of two equal texts is the duplicate must not depend on a declared language.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from itertools import takewhile

from curate.text import kernels as k
from curate.text.exceptions import exceptions
from curate.text.unicode import tables


def is_(bits: int) -> Callable[[str], bool]:
    """Whether a character has one of the class bits; "" (beyond an end) has none."""
    return lambda c: c != "" and bool(int(tables()[0][ord(c)]) & bits)


is_space, is_letter, is_symbol = is_(k.SPACE), is_(k.LETTERISH), is_(k.ICON)
is_lower, is_upper, is_digit, is_quote = is_(k.LOWER), is_(k.UPPER), is_(k.DIGIT), is_(k.QUOTE)
in_p, in_s, is_currency, is_alnum = is_(k.LEAD), is_(k.TRAIL), is_(k.CURRENCY), is_(k.ALNUM)


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
    return _joined(head + _rest(chunk) + tail)


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


def _rest(s: str) -> list[str]:
    parts = exceptions().get(s, ())
    if len(parts) > 1:
        return list(parts)
    return [s] if _is_address(s) else _cut(s)


def _joined(words: list[str]) -> list[str]:
    joined: list[str] = []
    while words:
        n = next((n for n in range(len(words), 1, -1) if exceptions().get(whole := "".join(words[:n])) == (whole,)), 1)
        joined.append("".join(words[:n]))
        words = words[n:]
    return joined


def _is_address(s: str) -> bool:
    """A host at the start, after the first scheme://, or after any @ that is not the first character."""
    scheme, mark, rest = s.partition("://")
    hosts = [s, *(s[i + 1 :] for i in range(1, len(s)) if s[i] == "@")]
    if mark and len(scheme) >= 2 and all(is_alnum(c) or c in "_+-." for c in scheme):
        hosts.append(rest)
    return any(map(_is_host, hosts))


def _is_host(s: str) -> bool:
    """Two or more labels joined by full stops, the last of lower-case letters, or four numbers; then nothing, a port or a path."""
    host = "".join(takewhile(lambda c: c in "-_." or (is_alnum(c) and c < "\x80") or "\xa1" <= c <= "\uffff", s))
    *labels, last = host.split(".")
    letters = 2 <= len(last) <= 63 and all(map(is_lower, last))
    if not labels or not all(1 <= len(x) <= 64 and x[0] not in "-_" and x[-1] not in "-_" for x in labels):
        return False
    if not letters and not (len(labels) == 3 and all(re.fullmatch("[0-9]{1,3}", x) for x in (*labels, last))):
        return False
    return re.fullmatch(r"(:[0-9]{2,5})?([/?#].*)?", s[len(host) :], re.DOTALL) is not None


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
