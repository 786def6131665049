"""Texts as words of a tokenizer's ids, for learning further merges: texts in; lines out, one code point an id, a blank between words.

A word is a piece within which ids may be merged: what the pre-tokenizer cuts. Where it cuts nothing (SentencePiece), words begin at a
blank, letters, numbers and other marks stand apart (its split_by_unicode_script and split_by_number, roughly), and digits stay
single where the vocabulary has them single. Bytes, unknown and added tokens are never merged.
May import train.vocab.base, train.vocab.library.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from train.vocab import library
from train.vocab.base import BLANK, Config, alphabet_of, bytes_of_token, is_byte_level, tokens_of

ANY, LETTER, NUMBER, MARK = range(4)  # what a token begins or ends with; ANY: it is blanks alone


class Coder:
    """One tokenizer in this process."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.inner = library.opened(config)
        self.tokens = tokens_of(config)
        self.n_ids = max(self.tokens) + 1
        self._alone = self._apart(config)
        self._kinds = None if is_byte_level(config) else _kinds(self.tokens, self.n_ids)

    def _apart(self, config: Config) -> np.ndarray:
        names = {token["content"] for token in config["added_tokens"]} | {config["model"].get("unk_token")}
        names |= set() if is_byte_level(config) else alphabet_of(config)
        alone = np.zeros(self.n_ids, bool)
        alone[[i for i, token in self.tokens.items() if token in names]] = True
        return alone

    def lines(self, texts: Iterable[str]) -> Iterator[str]:
        rest = iter(texts)
        while batch := list(islice(rest, library.BATCH)):
            for ids, words in library.ids_and_words(self.inner, batch):
                if ids.size:
                    yield self._line(ids, words)

    def _line(self, ids: np.ndarray, words: np.ndarray) -> str:
        alone = self._alone[ids]
        cut = (words[1:] != words[:-1]) | alone[1:] | alone[:-1]
        if self._kinds is not None:
            begins, first, last, single = (column[ids] for column in self._kinds)
            before, after = last[:-1], first[1:]
            cut |= begins[1:] & (before != ANY)
            cut |= (before != ANY) & (after != ANY) & (before != after)
            cut |= single[1:] | single[:-1]
        codes = np.insert(ids + library.FIRST, np.flatnonzero(cut) + 1, ord(" "))
        return codes.astype("<u4").tobytes().decode("utf-32-le")

    def written(self, code: str) -> str:
        """The token that these code points make."""
        return "".join(self.tokens[ord(char) - library.FIRST] for char in code)

    def n_chars(self, token: str) -> int:
        """Characters of its text; a part of one counts as one."""
        return len(bytes_of_token(self.config, token).decode(errors="replace"))


def _kinds(tokens: dict[int, str], n_ids: int) -> tuple[np.ndarray, ...]:
    """By id: begins with a blank; kind of its first and last character but blanks; is a digit that stands alone."""
    begins, first, last, single = np.zeros(n_ids, bool), *(np.zeros(n_ids, np.int8) for _ in range(2)), np.zeros(n_ids, bool)
    digits_merge = any(len(token) > 1 and token.isdigit() for token in tokens.values())
    for i, token in tokens.items():
        begins[i] = token.startswith(BLANK)
        if bare := token.strip(BLANK):
            first[i], last[i] = _kind(bare[0]), _kind(bare[-1])
            single[i] = last[i] == NUMBER and not digits_merge
    return begins, first, last, single


def _kind(char: str) -> int:
    return {"L": LETTER, "M": LETTER, "N": NUMBER}.get(unicodedata.category(char)[0], MARK)
