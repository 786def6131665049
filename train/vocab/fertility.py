"""What a tokenizer makes of a language: tokenizers and documents in; `Fertility` by language out, as data and as a table.

Words are curate's, with a letter or digit in them; each is cut as it stands after a blank. Tokens are all tokens of the texts, so that
tokens_per_word counts blanks and marks too. A broken token is no whole character: a byte of one, alone.
May import train.evaluation.texts, train.vocab.*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

import numpy as np

from train.evaluation.texts import spoken
from train.vocab import library
from train.vocab.base import Config, bytes_of_token, tokens_of


@dataclass
class Counts:
    """Of one language and one tokenizer."""

    n_tokens: int = 0
    n_unknown: int = 0
    n_broken: int = 0
    n_continued: int = 0  # words of two tokens or more
    n_word_tokens: int = 0


@dataclass
class Language:
    """The text is the same for every tokenizer."""

    n_documents: int = 0
    n_bytes: int = 0
    n_chars: int = 0
    words: Counter[str] = field(default_factory=Counter)
    by: dict[str, Counts] = field(default_factory=dict)
    expensive: list[dict[str, Any]] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        n_words = self.words.total()
        whole = {"documents": self.n_documents, "bytes": self.n_bytes, "chars": self.n_chars, "words": n_words}
        return whole | {
            "tokenizers": {name: self._of(one, n_words) for name, one in self.by.items()},
            "expensive_words": self.expensive,
        }

    def _of(self, one: Counts, n_words: int) -> dict[str, Any]:
        def ratio(a: int, b: int) -> float | None:
            return round(a / b, 4) if b else None

        return {
            "tokens": one.n_tokens, "tokens_per_word": ratio(one.n_tokens, n_words), "tokens_per_char": ratio(one.n_tokens, self.n_chars),
            "tokens_per_byte": ratio(one.n_tokens, self.n_bytes), "bytes_per_token": ratio(self.n_bytes, one.n_tokens),
            "tokens_in_a_word": ratio(one.n_word_tokens, n_words), "continued_words_ratio": ratio(one.n_continued, n_words),
            "unknown_tokens": one.n_unknown, "broken_tokens": one.n_broken, "broken_tokens_ratio": ratio(one.n_broken, one.n_tokens),
        }  # fmt: skip


def measure(configs: Mapping[str, Config], documents: Iterable[tuple[str, str]], n_expensive: int = 20) -> dict[str, Language]:
    """`configs`: name -> tokenizer.json, such as before and after. Languages by name."""
    found: dict[str, Language] = {}
    meters = {name: Meter(config) for name, config in configs.items()}
    for language, group in groupby(documents, key=lambda one: one[0]):
        texts = (text for _, text in group)
        own = found.setdefault(language, Language(by={name: Counts() for name in configs}))
        while batch := list(islice(texts, library.BATCH)):
            _read(own, batch)
            for name, meter in meters.items():
                meter.read(own.by[name], batch)
    for own in found.values():
        lengths = {name: meter.lengths(list(own.words)) for name, meter in meters.items()}
        _count_words(own, lengths, n_expensive)
    return dict(sorted(found.items()))


def _read(own: Language, texts: list[str]) -> None:
    for text in texts:
        own.n_documents += 1
        own.n_bytes += len(text.encode())
        own.n_chars += len(text)
        own.words.update(spoken(text))


def _count_words(own: Language, lengths: Mapping[str, list[int]], n_expensive: int) -> None:
    counts = list(own.words.values())
    for name, each in lengths.items():
        own.by[name].n_word_tokens = sum(n * length for n, length in zip(counts, each, strict=True))
        own.by[name].n_continued = sum(n for n, length in zip(counts, each, strict=True) if length > 1)
    first = next(iter(lengths.values()), [])
    rows = [(count * (first[k] - 1), word, k, count) for k, (word, count) in enumerate(own.words.items())]
    own.expensive = [
        {"word": word, "count": count, "tokens": {name: each[k] for name, each in lengths.items()}}
        for _, word, k, count in sorted(rows, key=lambda row: (-row[0], row[1]))[:n_expensive]
    ]


class Meter:
    """One tokenizer in this process."""

    def __init__(self, config: Config) -> None:
        self._inner = library.opened(config)
        self._alone = library.opened(library.without_prefix(config))
        tokens = tokens_of(config)
        specials = {token["content"] for token in config["added_tokens"]}
        self._broken = np.zeros(max(tokens) + 1, bool)
        self._broken[
            [i for i, token in tokens.items() if token not in specials and not _is_whole(bytes_of_token(config, token))]
        ] = True
        unknown = config["model"].get("unk_token")
        self._unknown = next((i for i, token in tokens.items() if token == unknown), -1)

    def read(self, counts: Counts, texts: list[str]) -> None:
        for ids in library.ids_of(self._inner, texts):
            counts.n_tokens += ids.size
            counts.n_unknown += int((ids == self._unknown).sum())
            counts.n_broken += int(self._broken[ids].sum())

    def lengths(self, words: list[str]) -> list[int]:
        """Tokens of every word, as it stands after a blank."""
        found: list[int] = []
        for start in range(0, len(words), 10_000):
            found += [ids.size for ids in library.ids_of(self._alone, [f" {word}" for word in words[start : start + 10_000]])]
        return found


def _is_whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


COLUMNS = {  # heading -> key of a tokenizer's data, how it is shown
    "tokens": ("tokens", "{:,}"), "per word": ("tokens_per_word", "{:.3f}"), "per char": ("tokens_per_char", "{:.3f}"),
    "bytes/token": ("bytes_per_token", "{:.2f}"), "continued": ("continued_words_ratio", "{:.1%}"),
    "broken": ("broken_tokens_ratio", "{:.1%}"), "unknown": ("unknown_tokens", "{:,}"),
}  # fmt: skip
SHOWN = 8  # words


def screen(found: Mapping[str, Language], heading: str) -> str:
    """A table of languages, one line per tokenizer, and the words that cost most."""
    lines = [heading, f"{'language':<9} {'tokenizer':<10}" + "".join(f" {name:>11}" for name in ("words", *COLUMNS))]
    for language, own in found.items():
        data = own.data()
        for name, one in data["tokenizers"].items():
            cells = ["-" if one[key] is None else form.format(one[key]) for key, form in COLUMNS.values()]
            lines.append(f"{language:<9} {name:<10} {data['words']:>11,}" + "".join(f" {cell:>11}" for cell in cells))
    for language, own in found.items():
        costs = (
            f"{row['word']} ({row['count']:,} x {' -> '.join(map(str, row['tokens'].values()))})" for row in own.expensive[:SHOWN]
        )
        lines += [f"{language}: most expensive words: {', '.join(costs)}"] if own.expensive else []
    return "\n".join(lines)
