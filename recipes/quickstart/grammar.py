"""Texts from the hand-written banks: bank/*.txt in, documents (title, sentences, kind, address) out.

A bank is a list of topics; a topic has three titles, and positions with three alternatives each: three ways to tell it. A document
follows one of them for a block of positions, (a * block + b) mod 3, so that paragraphs hang together: two documents of a topic that
differ in `a` agree in about every third position, two that differ only in `b` nowhere.
`{x|y|z}` is a choice of inflected forms, `{koht}` a name from bank/slots.txt; other braces (LaTeX) stay.
Imports nothing of veski.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from pathlib import Path

BANK = Path(__file__).with_name("bank")
N_ALTERNATIVES = 3
BLOCK = 3  # positions, and parts of a paragraph
COMBINATIONS = [(a, b) for a in range(N_ALTERNATIVES) for b in range(N_ALTERNATIVES)]


@dataclass
class Topic:
    name: str
    kind: str
    address: str
    titles: list[str] = field(default_factory=list)
    positions: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """One generated document, still in parts: duplicates are made by leaving parts out or exchanging them."""

    key: str  # topic and combination: "raba-02"
    kind: str
    address: str
    title: str
    parts: tuple[str, ...]
    names: dict[str, str]

    @property
    def text(self) -> str:
        return join(self.title, self.parts)


def join(title: str, parts: tuple[str, ...], per_paragraph: int = BLOCK) -> str:
    """The title, an empty line, then paragraphs of `per_paragraph` parts."""
    paragraphs = [" ".join(parts[i : i + per_paragraph]) for i in range(0, len(parts), per_paragraph)]
    return "\n\n".join(([title] if title else []) + paragraphs)


def topics(file: str) -> list[Topic]:
    """Every topic of a bank, in file order; a position without exactly three alternatives is a mistake of ours."""
    found: list[Topic] = []
    for line in _lines(file):
        if line.startswith("== "):
            found.append(Topic(*(part.strip() for part in line[3:].split("|"))))
        elif line.startswith("title: "):
            found[-1].titles.append(line[7:])
        elif line == "--":
            found[-1].positions.append([])
        elif line:
            found[-1].positions[-1].append(line)
    for topic in found:
        assert {len(p) for p in [topic.titles, *topic.positions]} == {N_ALTERNATIVES}, (file, topic.name)
    return found


def slots() -> dict[str, list[str]]:
    return {
        key: [v.strip() for v in values.split(",")]
        for key, values in (line.split(": ", 1) for line in _lines("slots.txt") if line)
    }


def page(topic: Topic, combination: tuple[int, int], rng: random.Random) -> Page:
    """The document of one combination; `rng` chooses names and inflected choices."""
    a, b = combination
    names = {key: rng.choice(values) for key, values in slots().items()}
    block = BLOCK if len(topic.positions) == 8 or topic.kind == "personal_data" else 1  # short topics are told in loose sentences
    parts = tuple(fill(p[(a * (i // block) + b) % N_ALTERNATIVES], names, rng) for i, p in enumerate(topic.positions))
    address = topic.address.format_map(names)
    return Page(f"{topic.name}-{a}{b}", topic.kind, address, fill(topic.titles[b], names, rng), parts, names)


def fill(text: str, names: dict[str, str], rng: random.Random) -> str:
    """`{name}` and `{one|other}` replaced, a choice may hold names; other braces (LaTeX, later slots) stay."""
    text = re.sub(r"\{(\w+)\}", lambda m: names.get(m[1], m[0]), text)
    text = re.sub(r"\{([^{}|]*\|[^{}]*)\}", lambda m: rng.choice(m[1].split("|")), text)
    return text[0].upper() + text[1:]


def slug(text: str) -> str:
    """An ASCII name for addresses: `Jõekalda kool` -> `joekalda-kool`."""
    plain = text.lower().translate(str.maketrans("äöõüšž", "aoousz"))
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def singles() -> list[tuple[str, str, str]]:
    """(name, kind, text) of the pages written one by one."""
    found: list[list[str]] = []
    for line in _lines("single.txt"):
        if line.startswith("== "):
            found.append([*(part.strip() for part in line[3:].split("|")), ""])
        elif line:
            found[-1][2] = f"{found[-1][2]}\n\n{line}".strip()
    return [(name, kind, text) for name, kind, text in found]


def menu_words() -> dict[str, list[str]]:
    return {
        key: [v.strip() for v in values.split(",")]
        for key, values in (line.split(": ", 1) for line in _lines("menus.txt") if line)
    }


def conversations() -> list[tuple[str, list[dict[str, str]]]]:
    """(language, messages) of the conversations written by hand."""
    roles = {"S": "system", "U": "user", "A": "assistant"}
    found: list[tuple[str, list[dict[str, str]]]] = []
    for line in _lines("instruct.txt"):
        if line.startswith("= "):
            found.append((line[2:], []))
        elif line.startswith("  "):
            found[-1][1][-1]["content"] += "\n" + line.strip()
        elif line:
            found[-1][1].append({"role": roles[line[0]], "content": line[3:]})
    return found


def _lines(file: str) -> list[str]:
    lines = (BANK / file).read_text(encoding="utf-8").split("\n")
    return [line.rstrip() for line in lines if not line.startswith("#")]
