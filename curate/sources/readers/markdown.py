"""A Markdown file in, one `RawRow` out: its text without front matter, which becomes title, date and the rest.

Front matter is a mapping in YAML between `---` lines or in TOML between `+++` lines at the very start; what is not one of these stays
in the text, where `---` is a ruler. Holds yaml for this. Imports plain.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from curate.sources.formats import Asked
from curate.sources.plain import read_plain
from curate.sources.records import EXTRA, Bad, RawRow

MAX_FRONT = 64 << 10  # characters of front matter looked at
FRONT = re.compile(r"(---|\+\+\+)[ \t]*\r?\n(.*?)(?:^|\n)\1[ \t]*(?:\r?\n|\Z)", re.DOTALL)
NAMES = {"title": ("title",), "date": ("date", "published", "created")}


def read_markdown(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """The whole file is one document; fields: text, title, date, front (all of it)."""
    for row in read_plain(path, asked):
        yield row if isinstance(row, Bad) else RawRow(_split(row.values["text"]), row.byte_offset, row.n_bytes)


def _split(text: str) -> dict[str, Any]:
    found = FRONT.match(text, 0, MAX_FRONT)
    front = _mapping(found[1], found[2]) if found else None
    if found is None or not front:
        return {"text": text}
    values: dict[str, Any] = {"text": text[found.end() :].lstrip("\r\n"), "front": front}
    taken = {target: next((name for name in names if front.get(name) is not None), "") for target, names in NAMES.items()}
    values |= {target: front[name] for target, name in taken.items() if name}
    return values | {EXTRA: {key: value for key, value in front.items() if key not in taken.values()}}


def _mapping(mark: str, front: str) -> dict[str, Any] | None:
    try:
        value = tomllib.loads(front) if mark == "+++" else yaml.load(front, _Plain)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return None
    return value if isinstance(value, dict) and all(isinstance(key, str) for key in value) else None


class _Plain(yaml.SafeLoader):
    """YAML without aliases, which could grow without bound."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)
