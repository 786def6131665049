"""Words, sentences and the language of a generated text, by the definitions documents are curated with.

The one module of train that knows curate's text and langid. In: strings. Out: plain lists and counts.
"""

from __future__ import annotations

import unicodedata

import pyarrow as pa

from curate import langid
from curate.signals import kernels
from curate.signals.punctuation import marks
from curate.text import buffers
from curate.text import words as _words


def words(text: str) -> list[str]:
    """Words and marks, as curate cuts them."""
    return _words(unicodedata.normalize("NFC", text))


def spoken(text: str) -> list[str]:
    """Words with a letter or digit: what a person counts as words."""
    return [word for word in words(text) if any(c.isalnum() for c in word)]


def n_sentences(text: str) -> int:
    """Sentences as spaCy's sentencizer ends them, which curate's signals count with; stretches without a letter or digit are none.

    A sentence ends after a run of end marks (and other marks behind them), but not at a full stop before a lower-case word (24. veebruar,
    nt. siis) unless the text has no capitals at all. A line that follows a blank line or opens a list item begins a new one too:
    headings have no full stop.
    """
    table, cased = marks(), any(c.isupper() for c in text)
    count = 0
    for part in _blocks(text):
        open_, ender = False, ""
        for word in words(part):
            if any(c.isalnum() for c in word):
                count += bool(ender) and not (ender == "." and cased and word[0].islower())
                open_, ender = True, ""
            elif open_ and ((len(word) == 1 and table[ord(word)] & kernels.SENTENCE_END) or set(word) <= {".", "…"}):
                ender = word if ender in ("", ".") else ender
        count += open_
    return count


def _blocks(text: str) -> list[str]:
    blocks = [""]
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare[0] in "*-•#":
            blocks.append("")
        blocks[-1] += line + "\n"
    return blocks


def language(text: str) -> tuple[str, float]:
    """(code, score) of the likeliest language; ("und", 0.0) where the text says nothing. Capitals do not mislead it."""
    data, offsets = buffers(pa.array([text.lower()], pa.large_string()))
    found = langid.identify(data, offsets, langid.Spec(windows=0))
    return str(found.language[0]), float(found.score[0])


def is_in(text: str, code: str) -> bool:
    """Whether a text is in a language, among its usual neighbours; a text without letters is in any."""
    if not any(c.isalpha() for c in text):
        return True
    spec = langid.Spec(windows=0, candidates=langid.candidates_for([code]))
    data, offsets = buffers(pa.array([text.lower()], pa.large_string()))
    found = langid.identify(data, offsets, spec).language
    return str(found[0]) == langid.language_code(code)
