"""Columns of raw rows in, a guess out which of them is the text of a document; for guess.py. Pure; imports fields.

A well-known name that holds prose wins over a longer field: what is longer beside a `text` is mostly the same once more, in XML, in
HTML, as tokens or in another language. What says something about a text (its address, its source, its licence) is never one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from curate.sources.fields import DEFAULTS

KNOWN = (
    *DEFAULTS["text"],
    "body",
    "full_text",
    "raw_text",
    "plain_text",
    "article",
    "document",
    "passage",
    "story",
)  # best first
ABOUT = frozenset({  # last parts of names that say something about a text
    "id", "_id", "uuid", "doc_id", "document_id", "docid", "uid", "key", "hash", "sha", "sha1", "sha256", "md5", "digest", "blob", "commit", "source",
    "src", "origin", "provenance", "dataset", "corpus", "url", "uri", "link", "domain", "host", "license", "licence", "licenses", "license_url",
    "rights", "lang", "language", "lang_code", "script", "date", "timestamp", "created", "added", "path", "file", "filename", "file_path", "filepath",
    "dump", "cc_segment", "warc_filename", "content_type", "mime", "encoding", "split", "subset", "config",
})  # fmt: skip
N_LOOKED_AT = 100  # values of a column
MOST = 0.5
_LETTERS = re.compile(r"[^\W\d_]")
_WORDS_TOGETHER = re.compile(r"[^\W\d_]\S*\s+\S*[^\W\d_]|[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff]{4}")
_ADDRESS = re.compile(r"\S+://\S+\Z|\S+/\S+\Z")


def is_about(name: str) -> bool:
    """Does a field of this name say something about a text, by its last part?"""
    return name.rpartition(".")[2].lower() in ABOUT


def is_prose(column: Sequence[Any]) -> bool:
    """Are most values running text: words beside each other (characters, where a script has no spaces), no markup, no address?"""
    own = column[:N_LOOKED_AT]
    return sum(isinstance(value, str) and _reads(value) for value in own) > MOST * len(own)


def _reads(value: str) -> bool:
    head = value[:2000].strip()
    if head.startswith("<") or _ADDRESS.match(head) or not _WORDS_TOGETHER.search(head):
        return False
    return 2 * len(_LETTERS.findall(head)) >= len("".join(head.split()))


def text_field(values: Mapping[str, list], lengths: Mapping[str, float], n_rows: int, notes: list[str]) -> str | None:
    """The field, None where no field holds text. `lengths`: mean characters of fields with text; `notes` get what was chosen and why."""
    can_be = {name for name in lengths if not is_about(name)}
    prose = {name for name in can_be if is_prose(values[name])}
    often = {name for name in can_be if len(values[name]) >= MOST * n_rows}
    longest = max(prose or can_be, key=lambda name: (lengths[name], name), default=None)
    known = next((name for name in KNOWN if name in prose & often), None)
    if known is None:
        if longest is not None and longest not in DEFAULTS["text"]:
            why = "the longest that holds prose" if longest in prose else "the longest, though nothing here reads like prose"
            notes.append(f"text: {longest} was chosen, {why}")
        return longest
    if longer := [name for name in lengths if lengths[name] > lengths[known]]:
        rival = max(longer, key=lambda name: (lengths[name], name))
        means = f"{lengths[rival]:.0f} against {lengths[known]:.0f} characters on average"
        notes.append(
            f"text: {known} was chosen for its well-known name and because it holds prose, though {rival} is longer ({means})"
        )
    return known
