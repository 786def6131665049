"""The libraries whose versions decide the texts of a source, checked before the work and part of its fingerprint. Imports errors, recipe."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from typing import Any

from curate.errors import CurateError
from curate.recipe import Source

OF_FORMAT = {"pdf": ("pypdfium2", "docs"), "docx": ("python-docx", "docs"), "epub": ("lxml", "docs")}  # distribution, our extra
OF_EXTRACTOR = {
    "trafilatura": "trafilatura", "resiliparse": "resiliparse", "justext": "justext", "datatrove": "trafilatura", "whole": "lxml",
}  # fmt: skip


def libraries(source: Source, formats: Iterable[str]) -> dict[str, Any]:
    """{"libraries": {name: version}} of what makes text of this source's files; {} where no library does.

    Raises CurateError naming the extra to install where one is missing.
    """
    wanted = {OF_FORMAT[kind] for kind in formats if kind in OF_FORMAT}
    if source.type == "web":
        wanted.add((OF_EXTRACTOR[source.pages.extractor], "web"))
    return {"libraries": {name: _version(name, extra, source) for name, extra in sorted(wanted)}} if wanted else {}


def _version(name: str, extra: str, source: Source) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        what, where = f"{name} is needed and not installed", f"sources.{source.name}"
        raise CurateError(what, where=where, next=f"pip install 'veski[{extra}]'") from None
