"""Which row of the old model a new token takes: two tokenizers in; one row per new id out, which id_map.parquet holds.

A kept token has the old id of the same string. Between vocabularies of different letters (byte-level, SentencePiece) tokens are the same
where they stand for the same text; special tokens also where they have the same role. `pieces` are the old ids of a new token's text.
May import train.vocab.*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from train.vocab import library
from train.vocab.base import LETTER_OF, Config, byte_token, bytes_of_token, is_byte_level, tokens_of

SCHEMA = pa.schema([
    ("new_id", pa.int32()), ("old_id", pa.int32()), ("token", pa.string()), ("pieces", pa.list_(pa.int32())), ("how", pa.string()),
])  # fmt: skip
NEW = -1


def table(
    new: Config, old_ids: Mapping[int, int], pieces: Mapping[int, Sequence[int]], how: Mapping[int, str]
) -> pa.Table:  # fmt: skip
    """SCHEMA, by new id; `how`: of tokens that are not simply kept."""
    tokens = tokens_of(new)
    if list(tokens) != list(range(len(tokens))):
        missing = sorted(set(range(max(tokens) + 1)) - tokens.keys())
        tokens = dict(sorted((tokens | dict.fromkeys(missing, "")).items()))  # ids that the tokenizer never gives keep their rows
    rows = [
        (i, old_ids.get(i, NEW), token, list(pieces.get(i, [old_ids[i]] if i in old_ids else [])), how.get(i, "kept" if i in old_ids else "new"))
        for i, token in tokens.items()
    ]  # fmt: skip
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)], schema=SCHEMA
    )


def matched(new: Config, old: Config, roles: Sequence[tuple[str | None, str | None]]) -> dict[int, int]:
    """New id -> old id. `roles`: pairs of (new, old) special strings that mean the same. No two new ids share an old one."""
    of_old = {token: i for i, token in tokens_of(old).items()}
    tokens, found = tokens_of(new), dict[int, int]()
    specials = {token["content"] for config in (new, old) for token in config["added_tokens"] if token["special"]}
    by_text = dict[bytes, int]() if is_byte_level(new) == is_byte_level(old) else _by_text(old, specials)
    for i, token in tokens.items():
        other = of_old.get(token) if not by_text or token in specials else None
        if other is None and by_text and token not in specials:
            other = by_text.get(bytes_of_token(new, token))
        if other is not None:
            found[i] = other
    ids, taken = {token: i for i, token in tokens.items()}, set(found.values())
    for mine, theirs in roles:
        if mine in ids and theirs in of_old and ids[mine] not in found and of_old[theirs] not in taken:
            found[ids[mine]] = of_old[theirs]
            taken.add(of_old[theirs])
    return _apart(found)


def _by_text(config: Config, specials: set[str]) -> dict[bytes, int]:
    """Bytes of text -> id; of a character and the byte that is the same, the character."""
    plain = [(i, token) for i, token in tokens_of(config).items() if token not in specials]
    found = dict[bytes, int]()
    for i, token in sorted(plain, key=lambda one: _is_byte(one[1])):
        found.setdefault(bytes_of_token(config, token), i)
    return found


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _apart(found: Mapping[int, int]) -> dict[int, int]:
    """Of new ids that lead to one old id the first: a byte and the character of it, say."""
    taken: set[int] = set()
    kept = {}
    for i, other in sorted(found.items()):
        if other not in taken:
            taken.add(other)
            kept[i] = other
    return kept


class Pieces:
    """The old ids of a token's text, without the blank that some tokenizers put before a text."""

    def __init__(self, old: Config) -> None:
        self._old = old
        self._inner = library.opened(library.without_prefix(old))
        self._vocab = old["model"]["vocab"]

    def of(self, written: bytes) -> list[int]:
        """Bytes that are no whole characters have the ids of bytes."""
        try:
            return [int(i) for i in library.ids_of(self._inner, [written.decode()])[0]]
        except UnicodeDecodeError:
            return self._of_bytes(written)

    def _of_bytes(self, written: bytes) -> list[int]:
        if is_byte_level(self._old):
            return library.alone(self._inner, "".join(LETTER_OF[byte] for byte in written))
        return [self._vocab[byte_token(byte)] for byte in written if byte_token(byte) in self._vocab]


def pieces_of(new: Config, old: Config, ids: Sequence[int]) -> dict[int, list[int]]:
    """Of these new ids; of special tokens none."""
    tokens, by = tokens_of(new), Pieces(old)
    special = {token["id"] for token in new["added_tokens"] if token["special"]}
    return {i: [] if i in special else by.of(bytes_of_token(new, tokens[i])) for i in ids}


def summary(rows: pa.Table) -> dict[str, Any]:
    """Counts for people: {vocab_size, old rows kept, new, by how}."""
    how = rows["how"].to_pylist()
    n_new = sum(i == NEW for i in rows["old_id"].to_pylist())
    return {
        "vocab_size": len(rows),
        "kept": len(rows) - n_new,
        "new": n_new,
        "how": {name: how.count(name) for name in sorted(set(how))},
    }
