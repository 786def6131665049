"""Family conversation: the messages of conversations in, turns, tool calls, words, languages and habits out. Pure.

Measured of sources of conversations alone. Words are those of the segmentation, punctuation included. Imports langid, text, turns.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curate import langid, text
from curate.signals.conversation import turns
from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio
from curate.store import digest

MIN_TURN_BYTES = 100  # a shorter turn's language is not asked for: too often wrong (docs/language_identification.md)

# version 2: reasoning and arguments have words of their own; a turn that only reasons is not empty
FAMILY = Family("conversation", 2, (
    Column("n_turns", "turns", "messages but the system's"),
    *(Column(f"n_{role}_turns", "turns", f"messages of the role {role}") for role in turns.ROLES),
    Column("n_turn_problems", "places", "where turns are out of order; in order is: at most one system message, first; user and assistant in "
           "turn; after an assistant that calls tools come tools, then the assistant; an assistant is last"),
    Column("turn_problem", "name", "the first of them: starts_with_ROLE, ROLE_after_ROLE, tool_without_call, late_system, unknown_role, "
           "ends_with_ROLE, no_turns; empty where there is none", "string", None),
    Column("n_empty_turns", "turns", "with no content but white space, no reasoning and no tool call"),
    Column("n_tools", "tools", "declared in the record's tools, by name"),
    Column("n_tool_calls", "calls", "in tool_calls of messages"),
    Column("n_written_tool_calls", "calls", "in the assistant's text: <tool_call>...</tool_call>, or a code block called tool_call"),
    Column("n_bad_tool_arguments", "calls", "whose arguments are no JSON object; written ones that are no JSON object with a name"),
    Column("n_undeclared_tool_calls", "calls", "of a tool that is not declared; 0 where none are declared"),
    Column("n_unpaired_tool_calls", "calls and results", "calls of tool_calls without a result, results without a call, by tool_call_id where "
           "both have one, else in order; calls that end the conversation are not counted"),
    Column("n_system_words", "words", "of the system's messages"),
    Column("n_prompt_words", "words", "of the user's messages"),
    Column("n_answer_words", "words", "of the assistant's messages"),
    Column("n_reasoning_words", "words", "of what the assistant thinks before its answers: reasoning_content"),
    Column("n_argument_words", "words", "of the arguments of tool calls"),
    Column("n_reasoning_turns", "turns", "of the assistant with reasoning_content"),
    Column("user_language", "code", "of the user's messages together, by the recipe's first language_id; und for none", "string", None),
    Column("assistant_language", "code", "of the assistant's messages together", "string", None),
    Column("is_same_language", "0 or 1", f"both are the same; 1 where one is und or of fewer than {MIN_TURN_BYTES} bytes", high=1),
    Column("n_language_turns", "turns", f"of user and assistant, of {MIN_TURN_BYTES} bytes or more, with a language that can be told"),
    Column("n_foreign_turns", "turns", "of these in another language than the user's messages together"),
    Column("n_refusal_turns", "turns", "of the assistant that begin with words of refusal (phrases.txt: Estonian, English)"),
    Column("n_boilerplate_turns", "turns", "of the assistant that speak of a language model, or close with a set phrase"),
    Column("n_truncated_turns", "turns", "of the assistant with a code block that does not end, or prose whose last line, no title and no list, "
           "ends within a sentence"),
    Column("template", "name", "of the template the prompt was made by: language/form/number; null for none", "string", None),
    Column("task", "name", "what fields: {task: ...} says; null for none", "string", None),
    Column("generator", "name", "the model that wrote the row, by its provenance; null for none", "string", None),
    Column("verdict", "name", "of a filter elsewhere, by fields: {verdict: ...}; null for none", "string", None),
), (
    Ratio("foreign_turn_ratio", "n_foreign_turns", "n_language_turns"),
    Ratio("refusal_turn_ratio", "n_refusal_turns", "n_assistant_turns"),
))  # fmt: skip

_WORDS = {"n_system_words": "system", "n_prompt_words": "user", "n_answer_words": "assistant"}
_TOLD = {"template": "conversation", "task": "conversation", "generator": "provenance", "verdict": "provenance"}  # key of extra
Chats = Sequence[Sequence[dict[str, Any]]]


def measurer(spec: langid.Spec, words: str) -> Measurer:
    """`spec`: of the recipe's first language_id. `words`: how the source's words are cut."""
    listed = digest(*(part for name, of in sorted(turns.phrases().items()) for part in (name, *of)))
    settings = {"language": langid.identity(spec), "phrases": listed, **text.segmentation(words)}
    reads = ("messages", "parts", "extra")
    return Measurer(FAMILY, functools.partial(measure, spec, words), settings, needs_words=False, reads=reads)


def measure(spec: langid.Spec, words: str, batch: Batch) -> Columns:
    chats = [json.loads(value) if value else [] for value in batch.columns["messages"].to_pylist()]
    parts = [json.loads(value) if value else {} for value in batch.columns["parts"].to_pylist()]
    extra = [json.loads(value) if value else {} for value in batch.columns["extra"].to_pylist()]
    by_role = {role: [[one for one in chat if one["role"] == role] for chat in chats] for role in turns.ROLES}
    ordered = [turns.order(chat) for chat in chats]
    called = [turns.calls(chat, part.get("tools")) for chat, part in zip(chats, parts, strict=True)]
    found: Columns = {"n_turns": _counts(len(chat) - len(own) for chat, own in zip(chats, by_role["system"], strict=True))}
    found |= {f"n_{role}_turns": _counts(map(len, by_role[role])) for role in turns.ROLES}
    found |= {
        "n_turn_problems": _counts(n for n, _ in ordered),
        "turn_problem": np.array([first for _, first in ordered], object),
    }
    found["n_empty_turns"] = _counts(sum(map(turns.is_empty, chat)) for chat in chats)
    found |= {name: _counts(one[name] for one in called) for name in turns.calls([], None)}
    joined = {name: ["\n\n".join(one["content"] for one in own) for own in by_role[role]] for name, role in _WORDS.items()}
    thought = ["\n\n".join(one.get("reasoning_content", "") for one in chat) for chat in chats]
    given = ["\n\n".join(call["function"]["arguments"] for one in chat for call in one.get("tool_calls", ())) for chat in chats]
    counted = {**joined, "n_reasoning_words": thought, "n_argument_words": given}
    found |= {name: _n_words(texts, words) for name, texts in counted.items()}
    found["n_reasoning_turns"] = _counts(sum(bool(one.get("reasoning_content")) for one in own) for own in by_role["assistant"])
    found |= _languages(chats, joined["n_prompt_words"], joined["n_answer_words"], spec)
    tests = {
        "n_refusal_turns": turns.is_refusal,
        "n_boilerplate_turns": turns.is_boilerplate,
        "n_truncated_turns": turns.is_cut_off,
    }
    for name, test in tests.items():
        found[name] = _counts(sum(test(one["content"]) for one in own) for own in by_role["assistant"])
    for name, key in _TOLD.items():
        found[name] = pa.array([_told(one, key, name) for one in extra], pa.string())
    return found


def _counts(values: Any) -> np.ndarray:
    return np.fromiter(values, np.int64)


def _told(extra: Any, key: str, name: str) -> str | None:
    of = extra.get(key) if isinstance(extra, dict) else None
    value = of.get(name) if isinstance(of, dict) else None
    return value if isinstance(value, str) else None


def _n_words(texts: list[str], words: str) -> np.ndarray:
    data, offsets = text.buffers(pa.array(texts, pa.large_string()))
    return np.diff(text.segment(data, offsets, words).doc_ptr)


def _languages(chats: Chats, prompts: list[str], answers: list[str], spec: langid.Spec) -> Columns:
    said = [(i, one["content"]) for i, chat in enumerate(chats) for one in chat
            if one["role"] in ("user", "assistant") and len(one["content"].encode()) >= MIN_TURN_BYTES]  # fmt: skip
    data, offsets = text.buffers(pa.array([*prompts, *answers, *(content for _, content in said)], pa.large_string()))
    languages = langid.identify(data, offsets, spec).language
    n = len(chats)
    is_short = (np.diff(offsets) < MIN_TURN_BYTES)[: 2 * n]
    prompt, answer, turn = languages[:n], languages[n : 2 * n], languages[2 * n :]
    row = np.array([i for i, _ in said], np.int64)
    has = turn != "und"
    foreign = has & (turn != prompt[row]) & (prompt[row] != "und")
    return {
        "user_language": prompt,
        "assistant_language": answer,
        "is_same_language": ((prompt == answer) | (prompt == "und") | (answer == "und") | is_short[:n] | is_short[n:]).astype(
            np.int64
        ),
        "n_language_turns": np.bincount(row[has], minlength=n),
        "n_foreign_turns": np.bincount(row[foreign], minlength=n),
    }
