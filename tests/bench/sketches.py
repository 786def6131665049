"""The library rivals of dedup.py: datasketch and rensa over the same texts, each with the fastest calls its documentation names.

`python -m tests.bench.sketches datasketch|rensa|rensa_rho RAW [DOCUMENTS]` reads JSONL and prints a line of JSON: bytes of text,
documents, dropped, and seconds (wall and CPU) for words and shingles in Python, signatures (112 hashes), and finding duplicates
in 16 bands of 7. These libraries take tokens: cutting texts into word 5-grams is their user's part, done here by one regex.
datasketch: MinHash.bulk with xxhash, MinHashLSH(params=(16, 7)). rensa: RMinHash digest matrix, RMinHashLSH flags in one pass;
rensa_rho samples positions of tokens instead of reading all. Neither compares the texts: what shares a band is dropped.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BANDS, ROWS = 16, 7


def shingled(text: str) -> list[str]:
    words = re.findall(r"\w+", text.lower())
    return [" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))] if words else []


def read(raw: Path) -> Iterator[str]:
    for path in sorted(raw.glob("*.jsonl")):
        with open(path, encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["text"]


class Clock:
    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self.last = time.monotonic(), time.process_time()

    def lap(self, name: str) -> None:
        now = time.monotonic(), time.process_time()
        self.wall[name], self.cpu[name] = now[0] - self.last[0], now[1] - self.last[1]
        self.last = now


def datasketch(shingles: list[list[str]], clock: Clock) -> int:
    import xxhash
    from datasketch import MinHash, MinHashLSH

    sets = [[shingle.encode() for shingle in own] for own in shingles]
    clock.lap("shingles, encoded")
    sketches = MinHash.bulk(sets, num_perm=BANDS * ROWS, hashfunc=xxhash.xxh32_intdigest)
    clock.lap("signatures")
    index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    dropped = 0
    for i, sketch in enumerate(sketches):
        if index.query(sketch):
            dropped += 1
        else:
            index.insert(i, sketch, check_duplication=False)
    clock.lap("duplicates")
    return dropped


def rensa(shingles: list[list[str]], clock: Clock, rho: bool) -> int:
    from rensa import RMinHash, RMinHashLSH

    make = RMinHash.digest_matrix_from_token_sets_rho if rho else RMinHash.digest_matrix_from_token_sets
    matrix = make(shingles, BANDS * ROWS, 42)
    clock.lap("signatures")
    index = RMinHashLSH(threshold=0.75, num_perm=BANDS * ROWS, num_bands=BANDS)
    flags = index.query_duplicate_flags_matrix_one_shot(matrix)
    clock.lap("duplicates")
    return sum(flags)


def main() -> None:
    name, raw, *most = sys.argv[1:]
    texts: list[str] = []
    for text in read(Path(raw)):
        texts.append(text)
        if most and len(texts) == int(most[0]):
            break
    clock = Clock()
    shingles = [shingled(text) for text in texts]
    clock.lap("shingles")
    dropped = datasketch(shingles, clock) if name == "datasketch" else rensa(shingles, clock, name == "rensa_rho")
    size = sum(len(text.encode()) for text in texts)
    said: dict[str, Any] = {"text_bytes": size, "documents": len(texts), "dropped": dropped, "wall": clock.wall, "cpu": clock.cpu}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
