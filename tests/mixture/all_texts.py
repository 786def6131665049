"""Every text of the folder of real texts, and made-up ones that tokenizers stumble over; seeded, so that a count can be written down."""

from __future__ import annotations

import gzip
import io
import json
import random
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

SEALED = "reserved.bin"
BLANKS = [
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\n\n\n",
    "\u00a0",
    "\u2028",
    "\u2029",
    "\u3000",
    "\u200b",
    "\u0085",
    "\x1c",
    "\x0b",
    "▁",
    "\ufeff",
]
CONTRACTIONS = ["'s", "'S", "'ſ", "'t", "'re", "'Ve", "'VE", "'ll", "'lL", "'d", "'m", "’s", "''", "'", "'sx", "\n's", " 's"]
SPECIAL = ["<|endoftext|>", "<|padding|>", "<s>", "</s>", "<unk>", "<0x41>", "<|im_start|>", "<think>", "</think>", "<|end"]
MARKS = [
    "\u0301",
    "\u0308",
    "\u0338",
    "\u0323\u0307",
    "\u3099",
    "\u1161",
    "\u11a8",
    "\u093c",
    "\u200d",
    "\ufe0f",
    "\u20dd",
    "\U0001f3fd",
]
WORDS = [
    "vabariigi",
    "õhtust",
    "ÄÖÜ",
    "the",
    "The",
    "mill",
    "привет",
    "μέρα",
    "שלום",
    "سلام",
    "नमस्ते",
    "สวัสดี",
    "你好世界",
    "日本語の",
    "한국어",
    "e",
    "o",
    "ﬁ",
    "ſ",
    "ß",
]
OTHER = [
    "!",
    "...",
    "—",
    "://",
    "==",
    "{}",
    "€",
    "½",
    "²",
    "٣",
    "Ⅻ",
    "१२३",
    "12345678",
    "0",
    "3.14",
    "🙂",
    "👩‍👩‍👧",
    "\x00",
    "\x07",
    "\ufffd",
]
POOLS = (BLANKS, CONTRACTIONS, SPECIAL, MARKS, WORDS, OTHER)


def every_text(data: Path) -> Iterator[tuple[str, str]]:
    """(file, text): each string of each record of *.jsonl.zst, and whole files of text (lists, LaTeX, tokenizer files, XML)."""
    for path in sorted(data.rglob("*")):
        name = path.relative_to(data).as_posix()
        if path.name == SEALED or not path.is_file():
            continue
        if name.endswith(".jsonl.zst"):
            with open(path, "rb") as file:
                lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n")
                yield from ((name, text) for line in lines for text in _strings(json.loads(line)) if text)
        elif name.endswith((".txt.gz", ".xml.gz")):
            yield name, gzip.open(path).read().decode("utf-8", "replace")
        elif name.endswith((".txt", ".md", ".json", ".jsonl")):
            yield name, path.read_bytes().decode("utf-8", "replace")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.encode("utf-8", "replace").decode()  # one file holds half a surrogate pair
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def strange(n: int, seed: int) -> list[str]:
    """n texts of up to 40 pieces: words of many scripts, blanks, contractions, special strings, lone marks, numbers, controls, long
    runs, code points of any plane, assigned or not."""
    draw = random.Random(seed)
    return ["".join(_piece(draw) for _ in range(draw.randint(0, 40))) for _ in range(n)]


def _piece(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.6:
        return draw.choice(draw.choice(POOLS))
    if kind < 0.7:
        return "".join(draw.choice("aeiou' nt'slr.-0123456789\n ") for _ in range(draw.randint(1, 12)))
    if kind < 0.73:
        return draw.choice(draw.choice(POOLS)) * draw.choice([2, 3, 7, 24, 25, 60, 65, 130, 400])
    char = chr(draw.randrange(draw.choice([0x250, 0x3000, 0xD800, 0x20000, 0x110000])))
    is_assigned = unicodedata.category(char) not in ("Cn", "Cs")
    if not is_assigned and (draw.random() < 0.99 or "\ud800" <= char <= "\udfff"):
        return "\n"
    return char * draw.choice([1, 1, 1, 2, 5])


def every_character(n: int) -> list[str]:
    """All characters but surrogates, n in a string; planes where nothing can be assigned are left out."""
    chars = [chr(code) for code in (*range(0x40000), *range(0xE0000, 0xF0000)) if not 0xD800 <= code < 0xE000]
    return ["".join(chars[i : i + n]) for i in range(0, len(chars), n)]
