"""The repetition, FineWeb and C4 signals in plain Python, as datatrove 0.10.1 takes them, over a given list of words.

A text (and its words) in, a dict of counts out; written from the families' definitions, to be compared with the kernels.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from curate import text

TERMINAL = (".", "?", "!", '"', "'")
CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
C4_COLUMNS = (
    "n_c4_lines", "n_c4_kept_lines", "n_too_long_word_lines", "n_no_terminal_punct_lines", "n_few_word_lines", "n_lorem_ipsum_lines",
    "n_javascript_lines", "n_curly_bracket_lines", "n_policy_lines", "n_c4_sentences", "n_citations",
)  # fmt: skip


def repeated(pieces: list) -> tuple[int, int]:
    """(pieces equal to one before, their length)."""
    seen, n, chars = set(), 0, 0
    for piece in pieces:
        if piece in seen:
            n += 1
            chars += len(piece)
        seen.add(piece)
    return n, chars


def repetition(document: str, words: list[str]) -> dict[str, int]:
    paragraphs = re.split(r"\n{2,}", document.strip()) if document else []
    lines = re.split(r"\n+", document) if document else []
    counts = {"n_repetition_paragraphs": len(paragraphs), "n_repetition_lines": len(lines)}
    counts["n_duplicate_paragraphs"], counts["n_duplicate_paragraph_chars"] = repeated(paragraphs)
    counts["n_duplicate_lines"], counts["n_duplicate_line_chars"] = repeated(lines)
    for n in (2, 3, 4):
        grams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
        gram, occurrences = grams.most_common(1)[0] if grams else ("", 0)
        counts[f"n_top_{n}gram_chars"] = len(gram) * occurrences
    for n in range(5, 11):
        seen, chars, i = set(), 0, 0
        while i <= len(words) - n:
            gram = tuple(words[i : i + n])
            if gram in seen:
                chars += sum(map(len, gram))
                i += n
            else:
                seen.add(gram)
                i += 1
        counts[f"n_duplicate_{n}gram_chars"] = chars
    return counts


def fineweb(document: str, terminal: set[str]) -> dict[str, int]:
    lines = [line for line in document.split("\n") if line.strip()]
    return {
        "n_nonblank_lines": len(lines),
        "n_punctuated_lines": sum(line.endswith(tuple(terminal)) for line in lines),
        "n_short_lines": sum(len(line) <= 30 for line in lines),
        "n_duplicate_nonblank_line_chars": repeated(lines)[1],
        "n_newlines": document.count("\n"),
        "n_non_newline_chars": len(document.replace("\n", "")),
    }


def n_sentences(words: list[str], ends: set[str]) -> int:
    n, armed = 1, False
    for word in words:
        if word in ends:
            armed = True
        elif armed and not all(unicodedata.category(c)[0] == "P" for c in word):
            n, armed = n + 1, False
    return n


def c4_line(line: str) -> str:
    """The column a line of str.splitlines() counts as."""
    line = line.strip()
    words = line.split()
    clean = CITATION.sub("", line)
    low = clean.lower()
    if any(len(word) > 1000 for word in words):
        return "n_too_long_word_lines"
    if not clean.endswith(TERMINAL) or clean.endswith("..."):
        return "n_no_terminal_punct_lines"
    if len(words) < 3:
        return "n_few_word_lines"
    if "lorem ipsum" in low:
        return "n_lorem_ipsum_lines"
    if "javascript" in low:
        return "n_javascript_lines"
    if "{" in clean:
        return "n_curly_bracket_lines"
    return "n_policy_lines" if any(phrase in low for phrase in POLICY) else "n_c4_kept_lines"


def c4(document: str, ends: set[str]) -> dict[str, int]:
    counts = dict.fromkeys(C4_COLUMNS, 0)
    for line in document.splitlines():
        fate = c4_line(line)
        counts["n_c4_lines"] += 1
        counts["n_citations"] += len(CITATION.findall(line))
        counts[fate] += 1
        if fate == "n_c4_kept_lines":
            counts["n_c4_sentences"] += n_sentences(text.words(CITATION.sub("", line.strip())), ends)
    return counts
