"""An XML file in, `RawRow | Bad` out: the elements that `xml.record` names, their fields by path. Imports elements.

The text of an element follows its markup: where only elements stand, each starts a line; where text stands between them, it runs on.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator
from pathlib import Path

from curate.recipe.lanes.xml import Xml
from curate.sources.formats import Asked
from curate.sources.readers.elements import elements
from curate.sources.records import Bad, RawRow


def read_xml(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """One row per record; without options the whole file is one, and its `text` all of it."""
    options = (asked.source.xml if asked.source else None) or Xml()
    for found in elements(path, options.record, asked.limit, options.nested):
        if isinstance(found, Bad):
            yield found
            continue
        fields = options.fields or {"text": "."}
        values = {name: value for name, where in fields.items() if (value := value_of(found.element, where, options)) is not None}
        yield RawRow(values, found.byte_offset, found.n_bytes)


def value_of(record: ET.Element, where: str, options: Xml) -> str | None:
    """What stands at `a/b`, `.//b`, `.`, `@c` or `a/@c` in a record; several texts are lines. None where nothing does."""
    place, is_attribute, attribute = where.rpartition("@")
    place = place.rstrip("/") if is_attribute else where
    matches = [record] if place in ("", ".") else record.findall(place)
    if is_attribute:
        return next((value for match in matches if (value := match.get(attribute)) is not None), None)
    texts = [text for match in matches if (text := text_of(match, options.skip, options.inline, options.breaks))]
    return "\n".join(texts) if texts else None


def text_of(
    element: ET.Element, skip: Collection[str] = (), inline: Collection[str] = (), breaks: Collection[str] = ("br", "lb")
) -> str:
    """Lines of an element: white space inside of one is a single space; `skip`, `inline` and `breaks` as in a recipe's `xml:`."""
    lines: list[list[str]] = [[]]
    _write(element, lines, skip, inline, breaks)
    return "\n".join(line for pieces in lines if (line := " ".join("".join(pieces).split())))


def _write(
    element: ET.Element, lines: list[list[str]], skip: Collection[str], inline: Collection[str], breaks: Collection[str]
) -> None:
    runs_on = _has_text(element.text) or any(_has_text(child.tail) for child in element)
    lines[-1].append(element.text or "")
    for child in element:
        if child.tag not in skip:
            is_inline = (runs_on and child.tag not in breaks) or child.tag in inline
            if not is_inline:
                lines.append([])
            _write(child, lines, skip, inline, breaks)
            if not is_inline:
                lines.append([])
        lines[-1].append(child.tail or "")


def _has_text(text: str | None) -> bool:
    return bool(text) and not text.isspace()  # type: ignore[union-attr]
