"""Makes spdx-<version>.txt (ids of licences and exceptions) and texts-<version>.npz (hashes of licence texts).

Run `python -m curate.licenses.make_data TEXTS` where `packaging` has the wanted SPDX list and the folder TEXTS holds one file per licence,
named `<SPDX id>.txt`, as the list publishes them; point spdx.LIST_VERSION at the list, and raise licenses.VERSION.

A text is stored as the hashes of its runs of five words (texts.shingles) between what people change or leave out: title and copyright
lines above, instructions for use below.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

from curate.licenses import spdx, texts

HERE = Path(__file__).resolve().parent
END = re.compile(
    r"END OF TERMS AND CONDITIONS|^\s*How to [Aa]pply These Terms|^Exhibit A - |^Creative Commons is not a party to its", re.M
)
START = "By exercising the Licensed Rights"  # Creative Commons 4.0: what stands above is advice
ABOVE = re.compile(r"^\s*(copyright|\(c\)|all rights reserved|.{0,60}licen[sc]e.{0,40}$|\W*$)", re.I)


def make_list(folder: Path) -> None:
    """One id a line; a deprecated one ends with ` -`, an exception begins with `WITH `."""
    from packaging.licenses import _spdx

    rows = [f"{one['id']}{' -' if one['deprecated'] else ''}" for one in _spdx.LICENSES.values()]
    rows += [f"WITH {one['id']}" for one in _spdx.EXCEPTIONS.values() if not one["deprecated"]]
    (folder / f"spdx-{_spdx.VERSION}.txt").write_text("\n".join(rows) + "\n")


def body(text: str) -> str:
    """A licence text without what stands above and below its terms."""
    text = text[max(text.find(START), 0) :]
    lines = text[: found.start() if (found := END.search(text)) and found.start() > len(text) / 2 else len(text)].splitlines()
    while lines and ABOVE.match(lines[0]):
        del lines[0]
    return "\n".join(lines)


def make_texts(folder: Path, given: Path) -> None:
    hashes = {
        file.stem: texts.shingles(texts.words(body(file.read_text(encoding="utf-8")))) for file in sorted(given.glob("*.txt"))
    }
    np.savez_compressed(folder / f"texts-{spdx.LIST_VERSION}.npz", **hashes)  # type: ignore[arg-type]


if __name__ == "__main__":
    make_list(HERE)
    make_texts(HERE, Path(sys.argv[1]))
