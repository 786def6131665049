"""Two text files whose lines pair up (Moses) in, `RawRow | Bad` out: rows {language: line, other language: line, "line": number}.

A file of the first language is read, the other stands beside it under the same name with the other ending. Imports lines, stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from curate.sources.formats import Asked
from curate.sources.lines import Line, lines
from curate.sources.records import Bad, RawRow
from curate.sources.stream import COMPRESSED_SUFFIXES, Blocks, Member, strip_compression


def other_side(path: Path | Member, languages: list[str]) -> Path | Member | None:
    """`x.et.gz` -> `x.en.gz`, or `x.en` packed otherwise; None where the name does not end in the first language, or nothing is there."""
    bare = strip_compression(path.name)
    if not bare.lower().endswith(f".{languages[0].lower()}"):
        return None
    stem = f"{bare[: -len(languages[0])]}{languages[1]}"
    packing = path.name[len(bare) :]
    names = [stem + packing, stem, *(stem + suffix for suffix in COMPRESSED_SUFFIXES)]
    found = (path.with_name(name) for name in names)
    return next((one for one in found if one is not None and (isinstance(one, Member) or one.is_file())), None)


def read_moses(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """Pairs of lines; one of them may be empty. Files of different numbers of lines are not read: from somewhere on all pairs are wrong."""
    languages = asked.source.moses.languages if asked.source and asked.source.moses else ["", ""]
    other = other_side(path, languages)
    if other is None:
        first = Blocks(path)
        n = sum(len(block) for block in first)
        yield Bad(path.name, 0, "misaligned", f"no file beside it that ends in .{languages[1]}", first.lost_bytes() or n)
        return
    sides = Blocks(path), Blocks(other)
    counted = [_n_lines(Blocks(side)) for side in (path, other)]
    if None not in counted and counted[0] != counted[1]:
        detail = f"{counted[0]} lines, {other.name} has {counted[1]}"
        yield Bad(path.name, 0, "misaligned", detail, path.stat().st_size)
        return
    left, right = (lines(side, asked.limit) for side in sides)
    for number, (one, two) in enumerate(zip_longest(left, right), start=1):
        if one is None or two is None:  # the shorter side is cut off, which is said below
            break
        yield _pair(path, languages, number, one, two)
    problems = [side for side in sides if side.problem]
    if not problems and None in counted:
        yield Bad(path.name, sides[0].settled, "misaligned", f"{other.name} has another number of lines", sides[0].lost_bytes())
    for side in problems:
        if side.problem:
            yield Bad(path.name, sides[0].settled, side.problem[0], f"{side.path.name}: {side.problem[1]}", side.lost_bytes())


def _pair(path: Path, languages: list[str], number: int, one: Line, two: Line) -> RawRow | Bad:
    n_bytes = one.n_bytes + two.n_bytes
    values: dict[str, object] = {"line": number}
    for language, line in zip(languages, (one, two), strict=True):
        if line.data is None:
            return Bad(path.name, one.byte_offset, "too_large", f"line {number} in {language} has {line.n_bytes} bytes", n_bytes)
        try:
            values[language] = line.data.decode().removeprefix("\ufeff").removesuffix("\r")
        except UnicodeDecodeError as error:
            detail = f"line {number} in {language}: byte {line.data[error.start]:#04x}"
            return Bad(path.name, one.byte_offset, "invalid_utf8", detail, n_bytes)
    return RawRow(values, one.byte_offset, n_bytes)


def _n_lines(blocks: Blocks) -> int | None:
    """Lines, the last with or without its end; None for a file that cannot be read to its end."""
    n, last = 0, b"\n"
    for block in blocks:
        n, last = n + block.count(b"\n"), block[-1:]
    return None if blocks.problem else n + (last != b"\n")
