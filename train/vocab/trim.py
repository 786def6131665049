"""A smaller vocabulary: how often every token stands in a text in; the ids that stay out, and why each does.

Bytes, special tokens and the user's own list stay always; then tokens by frequency, each with all that its merges go through, so that it
is still reached. A text whose old tokens all stay is cut into the same ones: all merges it takes are kept, in their order, and a smaller
list offers it none that the old did not. May import curate.errors, train.vocab.*.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice, pairwise

import numpy as np

from curate.errors import CurateError, nearest
from train.vocab import library
from train.vocab.base import BLANK, LETTER_OF, Config, alphabet_of, byte_token, is_byte_level, merges_of, tokens_of

REASONS = ("special", "byte", "listed", "frequent", "part")


def counted(config: Config, texts: Iterable[str]) -> np.ndarray:
    """int64 (largest id + 1,): how often every token stands in the texts."""
    inner, counts = library.opened(config), np.zeros(max(tokens_of(config)) + 1, np.int64)
    rest = iter(texts)
    while batch := list(islice(rest, library.BATCH)):
        ids = np.concatenate([np.zeros(0, np.int32), *library.ids_of(inner, batch)])
        counts += np.bincount(ids, minlength=counts.size)
    return counts


def chosen(config: Config, counts: np.ndarray, *, min_frequency: int, size: int | None, keep: Collection[int]) -> dict[int, str]:
    """Id -> reason, by id. Raises CurateError where `size` has no room for what always stays."""
    reasons: dict[int, str] = {}
    parts, unknown = Parts(config), config["model"].get("unk_token")
    tokens = tokens_of(config)
    ids = {token: i for i, token in tokens.items()}
    special = [token["id"] for token in config["added_tokens"] if token["special"]] + ([ids[unknown]] if unknown in ids else [])
    for reason, members in (
        ("special", special),
        ("byte", sorted(ids[letter] for letter in alphabet_of(config))),
        ("listed", sorted(keep)),
    ):
        for i in members:
            reasons.setdefault(i, reason)
    for i in list(reasons):
        _with_parts(reasons, i, reasons[i], parts)
    if size is not None and len(reasons) > size:
        raise CurateError(
            "this size has no room for what always stays", where="trim.size", found=str(size), 
            allowed=f"{len(reasons)} or more: special tokens, bytes, trim.keep and their parts",
        )  # fmt: skip
    for i in _by_frequency(counts, min_frequency, tokens):
        new = parts.of(i) - reasons.keys()
        if size is None or len(reasons) + len(new) <= size:
            _with_parts(reasons, i, "frequent", parts)
    return dict(sorted(reasons.items()))


def _by_frequency(counts: np.ndarray, min_frequency: int, tokens: dict[int, str]) -> list[int]:
    """The most frequent first, of equals the lower id."""
    enough = [i for i in tokens if counts[i] >= max(min_frequency, 1)]
    return sorted(enough, key=lambda i: (-counts[i], i))


def _with_parts(reasons: dict[int, str], i: int, reason: str, parts: Parts) -> None:
    for part in parts.of(i):
        reasons.setdefault(part, reason if part == i else "part")


class Parts:
    """What a token is made of on its way: the ids that its merges go through, itself among them."""

    def __init__(self, config: Config) -> None:
        self._tokens = tokens_of(config)
        self._ids = {token: i for i, token in self._tokens.items()}
        self._ranks = {
            pair: rank for rank, pair in reversed(list(enumerate(merges_of(config))))
        }  # of a pair listed twice the first
        self._has_bytes = not is_byte_level(config) and bool(alphabet_of(config))

    def of(self, i: int) -> set[int]:
        """It alone where no merges lead to it: an added token, a byte, one that is only ever taken whole (ignore_merges)."""
        made = self._made(self._tokens[i])
        return {i} | ({self._ids[token] for token in made} if made and made[-1] == self._tokens[i] else set())

    def _made(self, token: str) -> list[str]:
        """Letters, then what every merge makes, in their order."""
        symbols = [one for char in token for one in self._letters(char)]
        found = list(symbols)
        while pairs := [(self._ranks[pair], k) for k, pair in enumerate(pairwise(symbols)) if pair in self._ranks]:
            _, k = min(pairs)
            symbols[k : k + 2] = [symbols[k] + symbols[k + 1]]
            found.append(symbols[k])
        return found if symbols == [token] and all(one in self._ids for one in found) else []

    def _letters(self, char: str) -> list[str]:
        return [byte_token(byte) for byte in char.encode()] if self._has_bytes and char not in self._ids else [char]


def listed(config: Config, names: Iterable[str], where: str) -> set[int]:
    """Ids of tokens, as the vocabulary writes them or as text (a blank in front is a blank). Raises CurateError naming the nearest."""
    ids, found = {token: i for i, token in tokens_of(config).items()}, set()
    for name in names:
        written = next((form for form in _forms(config, name) if form in ids), None)
        if written is None:
            raise CurateError(
                "the vocabulary has no such token", where=where, found=repr(name), allowed=", ".join(nearest(name, ids))
            )
        found.add(ids[written])
    return found


def _forms(config: Config, name: str) -> list[str]:
    if is_byte_level(config):
        return [name, "".join(LETTER_OF[byte] for byte in name.encode())]
    return [name, name.replace(" ", BLANK)]
