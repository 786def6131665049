"""Licence texts: words of a text in, the licences whose terms stand there out, however they are wrapped, commented or signed.

A licence is there where LEAST of its runs of five words are, wherever they stand: names, years and changed titles cost a few of them. Of
licences that share most of their words the one with the most of them is taken. Hashes: make_data.py. Imports spdx (the list's version).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from curate.licenses.spdx import LIST_VERSION

RUN = 5  # words
LEAST = 0.85  # on licence files of installed packages: changed names cost up to 13 % (tests/licenses/test_identify.py)
OWN = 0.3  # of its runs a licence must have for itself to be a second one beside one it shares the others with (a guess)
MOST_WORDS = 60_000  # of a text looked at; the longest licence has 6,000

# (a licence, a sentence that makes another of it, that other one): the other's own words are too few to tell them apart by share.
CHANGED = (
    ("BSD-2-Clause", re.compile(r"to endorse or promote products derived from (?:this|the) software"), "BSD-3-Clause"),
    ("BSD-3-Clause", re.compile(r"all advertising materials mentioning features or use of this software"), "BSD-4-Clause"),
    ("BSD-3-Clause", re.compile(r"no express or implied licenses to any party s patent rights"), "BSD-3-Clause-Clear"),
    ("MIT", re.compile(r"software shall be used for good not evil"), "JSON"),
    *(
        (of, re.compile(rf"creative commons attribution {elements} 4 0"), other)
        for of in ("CC-BY-4.0", "CC-BY-SA-4.0")
        for elements, other in (
            ("noncommercial", "CC-BY-NC-4.0"), ("noderivatives", "CC-BY-ND-4.0"), ("noncommercial sharealike", "CC-BY-NC-SA-4.0"),
            ("noncommercial noderivatives", "CC-BY-NC-ND-4.0"),
        )
    ),
)  # fmt: skip
# Python's own file of licences: what stands below PSF-2.0 (BeOpen, CNRI, CWI, 0BSD for examples) is its history and no further licence.
PYTHON, PYTHON_HISTORY = "PSF-2.0", re.compile(r"beopen python open source license agreement")
# Terms added to a known text that nobody may take for it alone.
RESTRICTED = re.compile(
    r"commons clause|for non ?commercial (?:use|purposes|research)|non ?commercial use only|(?:academic|research) (?:use|purposes) only"
    r"|nuclear facility"
)


def words(text: str) -> list[str]:
    """Letters and digits of ASCII in lower case: marks of comments, quotes and line ends are none."""
    return re.findall(r"[a-z0-9]+", text.lower())[:MOST_WORDS]


def shingles(of: Sequence[str]) -> np.ndarray:
    """(n,) uint32, ascending: CRC-32 of every run of five words, each once."""
    runs = (" ".join(of[i : i + RUN]).encode() for i in range(len(of) - RUN + 1))
    return np.unique(np.fromiter((zlib.crc32(run) for run in runs), np.uint32))


@cache
def known() -> dict[str, np.ndarray]:
    """SPDX id -> hashes of its text."""
    with np.load(Path(__file__).parent / f"texts-{LIST_VERSION}.npz") as file:
        return {name: file[name] for name in file.files}


def found(of: Sequence[str]) -> list[tuple[str, float]]:
    """(SPDX id, share of its text that is there) of the licence texts among the words, the one with most words first."""
    there = shingles(of)
    hits = {name: np.isin(own, there, assume_unique=True) for name, own in known().items()}
    near = [name for name, hit in hits.items() if hit.mean() >= LEAST]
    taken: list[str] = []
    claimed = np.empty(0, np.uint32)
    for name in sorted(near, key=lambda name: (-int(hits[name].sum()), name)):
        own = ~np.isin(known()[name], claimed, assume_unique=True)
        if own.mean() >= OWN and hits[name][own].mean() >= LEAST:
            taken.append(name)
            claimed = np.union1d(claimed, known()[name])
    if not taken:
        return []
    text = " ".join(of)
    if PYTHON in taken and PYTHON_HISTORY.search(text):
        taken = [name for name in taken if name not in ("ISC", "0BSD")]
    if any(not name.startswith("CC-") for name in taken) and RESTRICTED.search(text):
        return []
    return [(_changed(name, text), float(hits[name].mean())) for name in taken]


def _changed(name: str, text: str) -> str:
    for of, sentence, other in CHANGED:
        if name == of and sentence.search(text):
            name = other
    return name
