"""A tokenizers byte-level BPE as a tiktoken encoding, where tiktoken can say the same: a tokenizer.json in, `FastBpe` out.

tiktoken merges any neighbours whose joined bytes are a token, lowest rank first; tokenizers merges listed pairs, first listed
first. The two agree when (1) every merge uses bytes or tokens made by earlier merges, (2) the merges that make one token stand
together, and (3) each token, encoded alone, gives itself: then at every step the lowest-ranked neighbours are a listed pair.
`build` checks the three and returns None where one fails. Regular expressions are compared on the run's own text (`tokens.py`).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from mixture.tokenizer.byte_level import byte_of_char, pattern_of

# tiktoken's regex engine overflows its stack on a run of 1 000 000 blanks and passes 400 000 (0.14.0, measured); far below both.
MAX_BLANK_RUN = 20_000
LONG_BLANK = re.compile(rf"(?<!\s)\s{{{MAX_BLANK_RUN}}}")


class FastBpe:
    """tiktoken with the ids of another vocabulary."""

    def __init__(self, pattern: str, ranks: dict[bytes, int], ids: np.ndarray, added: list[str]) -> None:
        import tiktoken

        self._encoding = tiktoken.Encoding("veski", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        self._ids = ids  # (n_ranks,) uint32: rank -> id of the tokenizer
        self._n_bytes = np.array([len(token) for token in ranks], np.int64)  # ranks are in order
        self._added = re.compile("|".join(map(re.escape, sorted(added, key=len, reverse=True)))) if added else None

    def encode(self, text: str) -> np.ndarray | None:
        """(n,) uint32, or None where this text is tokenizers' to encode: it holds an added token that is not a special one, a
        blank run too long for tiktoken's regex, or characters the pattern skips."""
        if self._added is not None and self._added.search(text):
            return None
        if len(text) > MAX_BLANK_RUN and LONG_BLANK.search(text):
            return None
        ranks = np.array(self._encoding.encode_ordinary(text), np.int64)
        if self._n_bytes[ranks].sum() != len(text.encode()):
            return None
        return self._ids[ranks]


def build(config: dict[str, Any]) -> FastBpe | None:
    """The tiktoken twin of a tokenizer.json, or None where tiktoken cannot express it."""
    model = config["model"]
    pattern = pattern_of(config.get("pre_tokenizer"))
    plain = not any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"))
    if model.get("type") != "BPE" or pattern is None or config.get("normalizer") is not None or not plain:
        return None
    added = {token["content"]: token["special"] for token in config.get("added_tokens", [])}
    ranked = _ranked_tokens(model, set(added))
    if ranked is None:
        return None
    to_byte = byte_of_char()
    ranks = {bytes(to_byte[char] for char in token): rank for rank, token in enumerate(ranked)}
    ids = np.array([model["vocab"][token] for token in ranked], np.uint32)
    return FastBpe(pattern, ranks, ids, [content for content, special in added.items() if not special])


def _ranked_tokens(model: dict[str, Any], added: set[str]) -> list[str] | None:
    """The 256 bytes, then every merged token in the order of its merges; None where a rank per token cannot say it."""
    from tokenizers.models import BPE

    vocab, to_byte = model["vocab"], byte_of_char()
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    merges: list[tuple[str, str]] = [(left, right) for left, right in pairs]
    known: dict[str, None] = dict.fromkeys(sorted(to_byte, key=lambda char: to_byte[char]))
    last = ""
    for left, right in merges:
        token = left + right
        if left not in known or right not in known or (token in known and token != last):
            return None
        known[token] = None
        last = token
    if not all(token in vocab for token in known):
        return None
    if model.get("ignore_merges") and any(token not in known and token not in added for token in vocab):
        return None  # such a token is taken when it is a whole piece, and never made by a merge: tiktoken knows no such thing
    alone = BPE(vocab=vocab, merges=merges)
    if any([part.value for part in alone.tokenize(token)] != [token] for token in known):
        return None
    return list(known)
