"""What licence a text stands under, as far as the text itself says: texts and strings in, SPDX expressions and their evidence out.

`identify` looks at a licence file or at the head of a source file, `read` at what a field says, `spdx` at expressions. A function of the
text alone. docs/licences.md says what is recognised and what is not. Imports nothing of ours.
"""

from __future__ import annotations

import re

from curate.licenses import notices, spelled, texts

__all__ = ["VERSION", "identify", "read"]

VERSION = 2  # a file's head must grant the licence it names; of what is recognised: raise it when a text or a spelling would give another expression

LOOKS_LIKE = re.compile(r"licen[sc]e|copyright|copying|permission|public domain|creative ?commons", re.IGNORECASE)
HEAD_CHARS = 400_000

read = spelled.read


def identify(text: str, of_itself: bool = False) -> tuple[str, str] | None:
    """(SPDX expression, evidence) of the licence a text states for itself; None where it states none that is known.

    An `SPDX-License-Identifier:` wins over a licence text, and that over a notice. Several licence texts in one file are all of them
    together. A licence text alone does not say "or any later version", so that of the GNU licences is `-only`. `of_itself`: the text is
    the comment a file begins with, which may speak of licences: there a notice must grant one.
    """
    text = text[:HEAD_CHARS]
    if LOOKS_LIKE.search(text) is None:
        return None
    if header := notices.spdx_header(text):
        return header
    if found := texts.found(texts.words(text)):
        evidence = "; ".join(f"{share:.0%} of its text" for _, share in found)
        return spelled.spdx.join("AND", [name for name, _ in found]), f"licence text: {evidence}"
    return notices.notice(text, of_itself)
