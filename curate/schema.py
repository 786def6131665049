"""The columns of every table, in one place; and which parts of a conversation's messages are its text. Rows of all tables of one source
are in the order of `id`, shard by shard.

Imports pyarrow only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

ID = pa.string()  # 32 lower-case hex digits: 96-bit hash and 32-bit disambiguator

DOCUMENTS = pa.schema([
    ("id", ID), ("source", pa.string()), ("source_id", pa.string()),
    ("text", pa.large_string()), ("text_hash", pa.string()), ("messages", pa.large_string()),
    *((name, pa.large_string()) for name in ("prompt", "chosen", "rejected")),  # of a preference; prompt is canonical JSON messages
    ("parts", pa.large_string()),  # canonical JSON object: named parts a lane made the text of, such as both sides of a translation
    ("url", pa.string()), ("language", pa.string()), ("license", pa.string()),
    ("license_evidence", pa.string()),  # how the licence was found where nobody declared it: "spdx header", "LICENSE", ...
    ("date", pa.string()), ("title", pa.string()), ("extra", pa.large_string()), ("is_repaired", pa.bool_()),
    ("file", pa.string()), ("byte_offset", pa.int64()),
])  # fmt: skip
ORIGIN = frozenset({"file", "byte_offset"})  # where a record lay: kept for people, never part of a root

QUARANTINE = pa.schema([
    ("source", pa.string()), ("file", pa.string()), ("byte_offset", pa.int64()),
    ("cause", pa.string()), ("detail", pa.string()), ("lost_bytes", pa.int64()),
])  # fmt: skip

DUPLICATES = pa.schema([
    ("id", ID), ("source", pa.string()), ("cluster_id", ID), ("cluster_size", pa.int32()),
    ("witness_source", pa.string()), ("witness_id", ID), ("jaccard", pa.float64()), ("containment", pa.float64()),
])  # fmt: skip

DECISIONS = pa.schema([
    ("id", ID), ("source", pa.string()), ("keep", pa.bool_()), ("reason", pa.string()),
    ("failed_rules", pa.list_(pa.string())), ("signal", pa.string()), ("value", pa.float64()), ("value_text", pa.string()),
    ("bound", pa.string()), ("witness_source", pa.string()), ("witness_id", ID), ("similarity", pa.float64()),
])  # fmt: skip

DOMAIN_DROP = pa.schema([("id", ID), ("domain_drop_ratio", pa.float64())])  # null without a domain

# Parts of texts a family found (PII, lines a line rule would drop): row of the documents shard, bytes from the start of its text.
SPANS = pa.schema([("row", pa.int64()), ("start", pa.int64()), ("end", pa.int64()), ("kind", pa.string())])

# Of what stands in several places of a corpus: in how many documents of the corpus, of the span's source and of its domain there (0
# where it has none), and whether it is the first place in each, by source in the recipe's order, id and byte.
REPEATS = pa.schema([
    *SPANS, *((f"n_{per}_documents", pa.int64()) for per in ("corpus", "source", "domain")),
    *((f"is_first_in_{per}", pa.bool_()) for per in ("corpus", "source", "domain")),
])  # fmt: skip

# Where evaluation items stand: a row for each part of an item in each place. start, end are bytes of the document's text, item_start and
# item_end of the part; `acts`: False for a passage of an item that has a question; scores are rounded to 1e-4.
CONTAMINATION = pa.schema([
    ("id", ID), ("eval_set", pa.string()), ("item", pa.string()), ("part", pa.string()), ("acts", pa.bool_()),
    ("score", pa.float64()), ("overlap", pa.float64()), ("n_item_words", pa.int64()), ("n_found_words", pa.int64()),
    ("start", pa.int64()), ("end", pa.int64()), ("item_start", pa.int64()), ("item_end", pa.int64()), ("normalisation", pa.string()),
])  # fmt: skip

# What the recipe cuts: merged spans that do not overlap, by (row, start); `replacement` stands in the text instead;
# `n_documents`: of a kind that stands in several places, in how many documents (the most of the cut's spans of that kind); else null.
CUTS = pa.schema([*SPANS, ("replacement", pa.string()), ("n_documents", pa.int64())])

TOKENS = pa.schema([("id", ID), ("token_start", pa.int64()), ("n_tokens", pa.int64()), ("n_loss_tokens", pa.int64())])

# Of a shard of preferences, a row for every row of TOKENS. A pair's tokens are prompt, chosen, prompt, rejected; one that cannot be
# trained on has no tokens, and `refused` says why. `margin`: by how much chosen is better, where the row says so.
PAIRS = pa.schema([
    ("id", ID), *((f"n_{part}_tokens", pa.int64()) for part in ("prompt", "chosen", "rejected")),
    ("margin", pa.float64()), ("refused", pa.string()),
])  # fmt: skip

# Of a shard of conversations in a recipe of kind sft: those that cannot be trained on. They have no tokens; `detail`: what the chat
# template said of it.
REFUSED = pa.schema([("id", ID), ("reason", pa.string()), ("detail", pa.string())])

# The components that a tokenized document matches, in recipe order: in a phase it belongs to the first of them that the phase has.
MEMBERS = pa.schema([("source", pa.string()), ("id", ID), ("components", pa.list_(pa.string()))])

# What a build does not train on of documents that a component would have, by source (recipe order), then id: `action` dropped, the
# whole document, or cut, what is behind `n_kept_tokens`. `length` is what was compared with `sequence_length`: of a pair its longer
# conversation, else n_tokens. reason: longer_than_sequence, nothing_to_learn (in what a cut leaves), or why a conversation
# or a pair is refused.
LEFT_OUT = pa.schema([
    ("source", pa.string()), ("id", ID), ("component", pa.string()), ("action", pa.string()), ("reason", pa.string()),
    ("n_tokens", pa.int64()), ("n_kept_tokens", pa.int64()), ("length", pa.int64()), ("sequence_length", pa.int64()),
])  # fmt: skip

SELECTION = pa.schema([
    ("phase", pa.string()), ("component", pa.string()), ("source", pa.string()), ("id", ID), ("pass", pa.int32()),
    ("chunk", pa.int32()), ("n_chunks", pa.int32()), ("token_start", pa.int64()), ("n_tokens", pa.int64()),
    ("n_loss_tokens", pa.int64()), ("split", pa.string()), ("sequence", pa.int64()), ("position", pa.int32()),
    ("stream_index", pa.int64()),
])  # fmt: skip

SAID = ("reasoning_content", "content")  # of a message, in this order; then its tool calls


def map_said(message: dict[str, Any], change: Callable[[str, str], str]) -> dict[str, Any]:
    """A message with what it says changed: `change(text, before)` of its reasoning, its content, and the arguments of each tool call, as far
    as they are not empty. `before` stands in the document's text in front of it and cannot be changed: the name of what is called."""
    made = {**message, **{key: change(message[key], "") for key in SAID if message.get(key)}}
    if message.get("tool_calls"):
        made["tool_calls"] = [
            {**call, "function": {**of, "arguments": change(of["arguments"], f"{of['name']} ")}}
            for call in message["tool_calls"] for of in (call["function"],)
        ]  # fmt: skip
    return made


def said(messages: list[dict[str, Any]]) -> str:
    """The text of a conversation, what is measured and compared: what its messages say without roles, joined by blank lines. A tool call is
    its name and its arguments on a line."""
    found: list[str] = []

    def collect(text: str, before: str) -> str:
        found.append(before + text)
        return text

    for message in messages:
        map_said(message, collect)
    return "\n\n".join(found)
