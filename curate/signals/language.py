"""Families of language, one per entry of the recipe's language_id: a batch of text in, language, score and windows out.

Imports langid.
"""

from __future__ import annotations

import functools
from dataclasses import replace

from curate import langid
from curate.signals.family import Batch, Column, Columns, Family, Measurer

_LANGUAGE = Family("language", 1, (
    Column("language", "code", "ISO 639-1 where one exists, else 639-3; und where no window says anything", "string", None),
    Column("language_score", "probability", "mean probability of that language over the windows", "float32", 0, 1),
    Column("n_language_windows", "windows", "windows with evidence for any language"),
    Column("n_agreeing_language_windows", "windows", "windows whose own best language is that one"),
))  # fmt: skip


def family(name: str) -> Family:
    """The family of one entry of the recipe's language_id, its columns named after it."""
    columns = tuple(replace(c, name=c.name.replace("language", name)) for c in _LANGUAGE.columns)
    return Family(name, _LANGUAGE.version, columns)


def measurer(name: str, spec: langid.Spec) -> Measurer:
    return Measurer(family(name), functools.partial(measure, name, spec), langid.identity(spec), needs_words=False)


def measure(name: str, spec: langid.Spec, batch: Batch) -> Columns:
    found = langid.identify(batch.data, batch.offsets, spec)
    return {
        name: found.language,
        f"{name}_score": found.score,
        f"n_{name}_windows": found.n_windows,
        f"n_agreeing_{name}_windows": found.n_agreeing,
    }
