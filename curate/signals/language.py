"""Families of language: a batch of text in, what identifiers say out. Imports langid.

One family per entry of the recipe's language_id; for entries with `segments`, a family of the parts of a document; for two entries
or more, one of their agreement. Who needs an entry's answer asks `_identified`: within a pass it is worked out once.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from curate import langid
from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio, Spans

# A segment counts as foreign from this score on. With py3langid and our candidates, 0.7 called 0.04 % of the bytes of Estonian acts
# and nothing of learner texts and Wikipedia sentences foreign, and found 96 to 100 % of paragraphs put into Estonian pages
# (docs/language_identification.md).
MIN_FOREIGN_SCORE = 0.7

_LANGUAGE = Family("language", 1, (
    Column("language", "code", "ISO 639-1 where one exists, else 639-3; und where no window says anything", "string", None),
    Column("language_score", "probability", "mean probability of that language over the windows", "float32", 0, 1),
    Column("n_language_windows", "windows", "windows with evidence for any language"),
    Column("n_agreeing_language_windows", "windows", "windows whose own best language is that one"),
))  # fmt: skip

AGREEMENT = Family("language_agreement", 1, (
    Column("n_language_opinions", "identifiers", "entries of language_id"),
    Column("n_agreeing_language_opinions", "identifiers", "of these whose language is the first entry's, itself included; 0 where the "
           "first says und"),
), (Ratio("language_agreement_ratio", "n_agreeing_language_opinions", "n_language_opinions", "1 where all say the same"),))  # fmt: skip


def family(name: str) -> Family:
    """The family of one entry of the recipe's language_id, its columns named after it."""
    columns = tuple(replace(c, name=c.name.replace("language", name)) for c in _LANGUAGE.columns)
    return Family(name, _LANGUAGE.version, columns)


def segments_family(name: str) -> Family:
    """The family of the segments of one entry: whole lines, at least langid.MIN_SEGMENT_BYTES together."""
    return Family(f"{name}_segments", 1, (
        Column(f"n_{name}_segments", "segments", "segments of the text; a text shorter than 200 bytes is one, an empty text has none"),
        Column(f"n_{name}_foreign_segments", "segments", "those in another language than the document's by this entry, with a score of "
               f"{MIN_FOREIGN_SCORE} or more; none where the document's is und"),
        Column(f"n_{name}_foreign_bytes", "bytes", "bytes of the foreign segments"),
        Column(f"{name}_second", "code", "the language with most foreign bytes, the first by its code among equals; empty where none is "
               "foreign", "string", None),
    ), (Ratio(f"{name}_foreign_byte_ratio", f"n_{name}_foreign_bytes", "n_bytes", "bytes in another language"),),
        span_kinds=("foreign",))  # fmt: skip


def measurer(name: str, spec: langid.Spec) -> Measurer:
    return Measurer(family(name), functools.partial(measure, name, spec), langid.identity(spec), needs_words=False)


def segments_measurer(name: str, spec: langid.Spec) -> Measurer:
    settings = langid.identity(spec) | {"segments": [langid.MIN_SEGMENT_BYTES, MIN_FOREIGN_SCORE]}
    return Measurer(segments_family(name), functools.partial(measure_segments, name, spec), settings, needs_words=False)


def agreement_measurer(specs: Sequence[langid.Spec]) -> Measurer:
    """`specs`: of all entries, in the recipe's order."""
    settings = {"opinions": [langid.identity(spec) for spec in specs]}
    return Measurer(AGREEMENT, functools.partial(measure_agreement, tuple(specs)), settings, needs_words=False)


def measure(name: str, spec: langid.Spec, batch: Batch) -> Columns:
    found = _identified(batch, spec)
    return {
        name: found.language,
        f"{name}_score": found.score,
        f"n_{name}_windows": found.n_windows,
        f"n_agreeing_{name}_windows": found.n_agreeing,
    }


def measure_agreement(specs: tuple[langid.Spec, ...], batch: Batch) -> Columns:
    first, *others = (_identified(batch, spec).language for spec in specs)
    agreeing = sum(((other == first).astype(np.int64) for other in others), np.ones(len(first), np.int64))
    return {
        "n_language_opinions": np.full(len(first), len(specs), np.int64),
        "n_agreeing_language_opinions": np.where(first == "und", 0, agreeing),
    }


def measure_segments(name: str, spec: langid.Spec, batch: Batch) -> Columns:
    own = _identified(batch, spec).language
    n = len(own)
    doc_ptr, bounds = langid.segments(batch.data, batch.offsets)
    doc, n_bytes = np.repeat(np.arange(n), np.diff(doc_ptr)), np.diff(bounds)
    found = langid.identify(batch.data, bounds, spec)
    is_foreign = (found.language != own[doc]) & (found.language != "und") & (own[doc] != "und")
    is_foreign &= found.score >= np.float32(MIN_FOREIGN_SCORE)
    row, start = doc[is_foreign], bounds[:-1][is_foreign]
    codes, code = np.unique(found.language[is_foreign].astype(str), return_inverse=True)
    by_code = np.zeros((n, len(codes) + 1), np.int64)
    np.add.at(by_code, (row, code), n_bytes[is_foreign])
    foreign_bytes = by_code.sum(axis=1)
    second = np.array([*codes.tolist(), ""], object)[np.where(foreign_bytes > 0, by_code.argmax(axis=1), len(codes))]
    start = start - batch.offsets[row]
    return {
        f"n_{name}_segments": np.diff(doc_ptr),
        f"n_{name}_foreign_segments": np.bincount(row, minlength=n),
        f"n_{name}_foreign_bytes": foreign_bytes,
        f"{name}_second": second,
        "spans": Spans(row, start, start + n_bytes[is_foreign], np.zeros(len(row), np.int16)),
    }


def _identified(batch: Batch, spec: langid.Spec) -> langid.Languages:
    if batch.shared is None:
        return langid.identify(batch.data, batch.offsets, spec)
    if ("language", spec) not in batch.shared:
        batch.shared["language", spec] = langid.identify(batch.data, batch.offsets, spec)
    found: langid.Languages = batch.shared["language", spec]
    return found
