"""Conversations as they are asked: a 128-bit hash of everything before the last answer, and of the tools there are.

In: documents.parquet of a source of conversations. Out: uint64 (n, 2) and who has a prompt. Prompts are equal as normalised texts are: but
for white space and letter case (text.normalised_hashes). Another system message or other tools make another prompt. Compared where the
recipe says so (dedup.exact.by: [prompt]): many rows of instruction sets ask the same and differ in the answer. Imports text.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import text
from curate.schema import said

VERSION = 2  # what earlier messages call and think counts; raise it when prompt_of changes
BATCH_ROWS = 4096


def hashes(documents: Path) -> tuple[np.ndarray, np.ndarray]:
    """(hash of every document's prompt, bool (n,): it has one)."""
    found, has = [np.empty((0, 2), np.uint64)], [np.empty(0, bool)]
    for batch in pq.ParquetFile(documents).iter_batches(BATCH_ROWS, columns=["messages", "parts"]):
        columns = (batch[name].to_pylist() for name in ("messages", "parts"))
        prompts = [prompt_of(messages, parts) for messages, parts in zip(*columns, strict=True)]
        found.append(text.normalised_hashes(*text.buffers(pa.array(prompts, pa.large_string()))))
        has.append(np.array([bool(prompt) for prompt in prompts], bool))
    return np.concatenate(found), np.concatenate(has)


def prompt_of(messages: str | None, parts: str | None) -> str:
    """`messages` and `parts` as a document has them -> role and what it says of every message before the last of the assistant, then the
    tools; "" where nobody answers, or nothing is said before."""
    before = json.loads(messages or "[]")
    while before and before.pop()["role"] != "assistant":
        pass
    if not any(one["content"].strip() for one in before):
        return ""
    tools = json.loads(parts).get("tools", "") if parts else ""
    return "\n".join([*(f"{one['role']}\n{said([one])}" for one in before), tools])
