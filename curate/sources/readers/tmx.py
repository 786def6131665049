"""A translation memory (TMX) in, `RawRow | Bad` out: one row per unit, its segments under their language codes. Imports elements."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.sources.formats import Asked
from curate.sources.readers.elements import elements
from curate.sources.readers.xml import text_of
from curate.sources.records import Bad, RawRow

CODES = ("bpt", "ept", "ph", "it", "ut")  # what they hold is markup of another format (TMX 1.4b, section 2.3.2)


def read_tmx(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """Rows {language code: text, "id": tuid, "date": creationdate, "props": {type: value}}, what is missing left out.

    Codes are lower case without a region, `et-EE` is `et`; a second variant of the same language stands under its whole code. A text
    in Indonesian takes the name `id`.
    """
    for found in elements(path, "tu", asked.limit):
        yield found if isinstance(found, Bad) else RawRow(_values(found.element), found.byte_offset, found.n_bytes)


def _values(unit: ET.Element) -> dict[str, Any]:
    props = {prop.get("type", ""): prop.text for prop in unit.findall("prop")}
    texts: dict[str, str] = {}
    for variant in unit.findall("tuv"):
        whole = variant.get("lang", "").lower().replace("_", "-")
        language = whole.partition("-")[0]
        segment = variant.find("seg")
        if segment is not None and language:
            texts.setdefault(whole if language in texts else language, text_of(segment, CODES))
    about = {"id": unit.get("tuid"), "date": unit.get("creationdate"), "props": props or None}
    return {name: value for name, value in about.items() if value is not None} | texts
