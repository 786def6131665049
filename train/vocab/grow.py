"""New tokens on top of a tokenizer: its tokenizer.json and texts in; the same with further merges out. Old ids stay, old merges come first.

Byte-pair encoding goes on where the old one stopped: texts are cut into old tokens, and the most frequent pair within a word becomes a
token, again and again. As new merges stand behind the old ones, a text is first cut as before, so it never takes more tokens than before.
Two occurrences of the same string between token borders are cut alike, so every new token is reached when it stands alone.
May import curate.errors, train.vocab.*.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from curate.errors import CurateError
from train.vocab import library
from train.vocab.base import Config, alphabet_of, is_byte_level, merges_of, tokens_of
from train.vocab.words import Coder

SLACK = 1.02  # merges asked for, as some are not taken

Texts = Callable[[], Iterable[str]]


@dataclass
class Grown:
    """`pieces`: old ids of every new token's text, by new id, in their order. `how`: "character" or "learned"."""

    config: Config
    pieces: dict[int, list[int]] = field(default_factory=dict)
    how: dict[int, str] = field(default_factory=dict)


def grow(config: Config, texts: Texts, n: int, *, min_frequency: int, max_chars: int, coverage: float) -> Grown:
    """`n` new tokens, or as many as the texts have. Raises CurateError where they have none."""
    characters = _characters(config, texts, n, min_frequency, coverage)
    grown = _with_characters(config, characters)
    coder = Coder(grown.config)
    left = n - len(characters)
    merges = _learned(coder, texts, left, min_frequency, max_chars) if left else []
    if not merges and not characters:
        raise CurateError(
            "these texts teach no new token", where="text", found=f"no two tokens of a word stand together {min_frequency} times",
            next="more text, or a smaller min_frequency",
        )  # fmt: skip
    return _with_merges(grown, coder, merges)


def _characters(config: Config, texts: Texts, n: int, min_frequency: int, coverage: float) -> list[str]:
    """Characters that are not in the vocabulary, the most frequent first, until so much of the text is covered. A byte-level vocabulary
    lacks none; where bytes are tokens, line ends and other blanks stay bytes, as they are in models made so."""
    if is_byte_level(config):
        return []
    inner, counts = library.opened(config), Counter[str]()
    for text in texts():
        counts.update(library.normalised(inner, text))
    vocab, has_bytes = config["model"]["vocab"], bool(alphabet_of(config))
    missing = {char: count for char, count in counts.items() if char not in vocab and not (has_bytes and _is_blank(char))}
    found: list[str] = []
    covered, total = counts.total() - sum(missing.values()), counts.total()
    for char, count in sorted(missing.items(), key=lambda item: (-item[1], item[0])):
        if covered >= coverage * total or count < min_frequency or len(found) == n:
            break
        found.append(char)
        covered += count
    return found


def _is_blank(char: str) -> bool:
    return unicodedata.category(char)[0] in "CZ"


def _with_characters(config: Config, characters: list[str]) -> Grown:
    model = config["model"]
    known = {token: i for i, token in tokens_of(config).items()}  # added tokens too: the library numbers those it misses anew
    first = max(known.values()) + 1
    vocab = known | {char: first + k for k, char in enumerate(characters)}
    grown = Grown({**config, "model": {**model, "vocab": vocab, "merges": [list(pair) for pair in merges_of(config)]}})
    if characters:
        inner = library.opened(config)
        grown.pieces = {vocab[char]: library.alone(inner, char) for char in characters}
        grown.how = dict.fromkeys(grown.pieces, "character")
    return grown


def _learned(coder: Coder, texts: Texts, n: int, min_frequency: int, max_chars: int) -> list[tuple[str, str]]:
    """`n` merges of code points, fewer where the texts have no more."""
    asked = int(n * SLACK) + 16
    while True:
        found = library.learn(coder.lines(texts()), coder.n_ids, asked, min_frequency)
        taken = _taken(coder, found, max_chars)
        if len(taken) >= n or len(found) < asked:
            return taken[:n]
        asked += 2 * (n - len(taken)) + 16


def _taken(coder: Coder, merges: list[tuple[str, str]], max_chars: int) -> list[tuple[str, str]]:
    """Those whose token is not too long and not in the vocabulary already: such a one the old merges do not reach, and with it they would
    go on, which is not what was counted. Merges that build on one left out are left out too."""
    known, out, taken = set(coder.tokens.values()), set(), []
    for left, right in merges:
        written = coder.written(left + right)
        if left in out or right in out or written in known or coder.n_chars(written) > max_chars:
            out.add(left + right)
        else:
            taken.append((left, right))
    return taken


def _with_merges(grown: Grown, coder: Coder, merges: list[tuple[str, str]]) -> Grown:
    config = grown.config
    vocab, listed = dict(config["model"]["vocab"]), list(config["model"]["merges"])
    for i, (left, right) in enumerate(merges, max(vocab.values()) + 1):
        vocab[coder.written(left + right)] = i
        listed.append([coder.written(left), coder.written(right)])
        ids = [ord(char) - library.FIRST for char in left + right]
        grown.pieces[i] = [old for one in ids for old in grown.pieces.get(one, [one])]
        grown.how[i] = "learned"
    return Grown({**config, "model": {**config["model"], "vocab": vocab, "merges": listed}}, grown.pieces, grown.how)
