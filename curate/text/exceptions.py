"""The exceptions of rule 4 in memory: exceptions.txt in, a dict for the reference and a hash table for the kernels out.

Imports nothing of ours but the kernels' hash constants. Raising SEGMENTATION_VERSION goes with every change of the file.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from curate.text import kernels

_MASK = (1 << 64) - 1


@cache
def exceptions() -> dict[str, tuple[str, ...]]:
    """Exception -> its words: itself alone, or the two or three parts of a contraction."""
    found: dict[str, tuple[str, ...]] = {}
    for heading, line in _lines():
        if heading.startswith("split"):
            for parts in _contractions(line):
                found["".join(parts)] = parts
        else:
            found |= {word: (word,) for word in line.split()}
            if "’" in heading:
                found |= {word.replace("'", "’"): (word.replace("'", "’"),) for word in line.split()}
    return found


@cache
def table() -> np.ndarray:
    """(kernels.PAIRS + a power of two,) uint64, read-only: bits of the pairs of bytes in exceptions of one word, then slots
    of the upper 48 bits of an exception's hash and where it is cut (kernels.find_exception), 0 for an empty one."""
    size = 1 << (4 * len(exceptions())).bit_length()
    found = np.zeros(kernels.PAIRS + size, np.uint64)
    for word, parts in exceptions().items():
        raw = word.encode()
        limit = kernels.LONGEST_WHOLE if len(parts) == 1 else kernels.LONGEST_SPLIT
        if not 2 <= len(raw) <= limit:
            raise ValueError(f"exceptions.txt: {word!r} has not 2 to {limit} bytes")
        if len(parts) == 1:
            for one, two in pairwise(raw):
                bit = (one & 0x7F) << 7 | two & 0x7F
                found[bit >> 6] |= np.uint64(1 << (bit & 63))
        slot = (key := _hash(raw)) & (size - 1)
        while found[kernels.PAIRS + slot]:
            slot = (slot + 1) & (size - 1)
        cuts = sum(len(part.encode()) << (8 * i) for i, part in enumerate(parts[:-1]))
        found[kernels.PAIRS + slot] = key >> 16 << 16 | cuts
    found.flags.writeable = False
    return found


def _lines() -> list[tuple[str, str]]:
    """(heading, line) of every line that is neither empty nor a comment."""
    heading, found = "", []
    for line in Path(__file__).with_name("exceptions.txt").read_text(encoding="utf-8").split("\n"):
        if line.startswith("["):
            heading = line.strip("[]")
        elif line and not line.startswith("#"):
            found.append((heading, line))
    return found


def _contractions(line: str) -> list[tuple[str, ...]]:
    stems, endings = line.split(" + ")
    return [
        tuple(part.replace("'", mark) for part in (stem, *ending.split("|")))
        for word in stems.split() for ending in endings.split() for stem in (word, word.capitalize()) for mark in "'’"
    ]  # fmt: skip


def _hash(raw: bytes) -> int:
    """kernels.mix(kernels.string_hash(raw)) in Python's integers."""
    h = int(kernels._WORD)
    for byte in raw:
        h = ((h ^ byte) * int(kernels._MULTIPLY)) & _MASK
    h = ((h ^ (h >> 30)) * int(kernels._MIX_1)) & _MASK
    h = ((h ^ (h >> 27)) * int(kernels._MIX_2)) & _MASK
    return h ^ (h >> 31)
