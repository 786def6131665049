"""One conversation in, what is counted of its turns, its calls and its habits out. Pure, of plain Python: conversations are short.

Imports nothing of ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROLES = ("system", "user", "assistant", "tool")
EDGE_CHARS = 200  # at the beginning and the end of a turn: where refusals and closing words are looked for (a guess)
# Calls written into the text: Hermes and Qwen models' tags, and a code block of that name, as TUCAN's models write it.
WRITTEN_CALL = re.compile(r"<tool_call>(.*?)</tool_call>|```tool_call\s*\n(.*?)```", re.DOTALL)
FEW_WORDS = 8  # a last line of fewer is a heading, a name, a verse (a guess)
LIST_ITEM = re.compile(r"\s*(?:[-*\u2022]|\d+[.)])\s")
MADE_OF_CODE = re.compile(r"[{}<>=;|\\]|\w\(|://")
SENTENCE_END = re.compile(r"[.!?\u2026][\"'\u201d\u2019)]*\s")
OPEN_ENDS = ",-(\u2013\u2014:"


def order(messages: Sequence[dict[str, Any]]) -> tuple[int, str]:
    """(places where the turns are out of order, what the first of them is or "").

    In order is: at most one system message, at the start; then a user, an assistant, and so on; after an assistant that calls tools
    come tools, then the assistant; an assistant is last.
    """
    found: list[str] = []
    before = ""
    for i, one in enumerate(messages):
        role = one["role"]
        if role == "system":
            found += ["late_system"] if i else []
            continue
        if role not in ROLES:
            found.append("unknown_role")
        elif not before:
            found += [] if role == "user" else [f"starts_with_{role}"]
        elif role == "tool":
            found += [] if before in ("calls", "tool") else ["tool_without_call"]
        elif role == ("user" if before in ("assistant", "calls") else "assistant"):
            pass
        else:
            found.append(f"{role}_after_{'assistant' if before == 'calls' else before}")
        before = "calls" if role == "assistant" and (one.get("tool_calls") or WRITTEN_CALL.search(one["content"])) else role
    if not before:
        found.append("no_turns")
    elif before not in ("assistant", "calls"):
        found.append(f"ends_with_{before}" if before in ROLES else "unknown_role")
    return len(found), found[0] if found else ""


def calls(messages: Sequence[dict[str, Any]], tools: str | None) -> dict[str, int]:
    """n_tools, n_tool_calls, n_written_tool_calls, n_bad_tool_arguments, n_undeclared_tool_calls, n_unpaired_tool_calls."""
    declared = _names(tools)
    made = [call["function"] for one in messages for call in one.get("tool_calls", ())]
    written = [_call_of(match[1] or match[2] or "") for one in messages if one["role"] == "assistant"
               for match in WRITTEN_CALL.finditer(one["content"])]  # fmt: skip
    names = [call["name"] for call in made] + [str(call.get("name")) for call in written if call]
    bad = sum(not isinstance(_parsed(call["arguments"]), dict) for call in made) + sum(not call for call in written)
    return {
        "n_tools": len(declared), "n_tool_calls": len(made), "n_written_tool_calls": len(written), "n_bad_tool_arguments": bad,
        "n_undeclared_tool_calls": sum(name not in declared for name in names) if declared else 0,
        "n_unpaired_tool_calls": _unpaired(messages),
    }  # fmt: skip


def is_empty(one: dict[str, Any]) -> bool:
    return not one["content"].strip() and not one.get("tool_calls") and not one.get("reasoning_content")


def is_refusal(text: str) -> bool:
    return bool(_phrases("refusal").search(_plain(text[:EDGE_CHARS])))


def is_boilerplate(text: str) -> bool:
    """Speaks of itself as a model, or closes with a set phrase."""
    return bool(_phrases("model").search(_plain(text)) or _phrases("closing").search(_plain(text[-EDGE_CHARS:])))


def is_cut_off(text: str) -> bool:
    """A code block that does not end, or prose that ends within a sentence: no mark ends it, others were ended, and its last line has
    FEW_WORDS words or more, few of them capitalised or before a comma, as titles and lists have (all a guess)."""
    if text.count("```") % 2:
        return True
    text = text.rstrip()
    last = text.rpartition("\n")[2]
    words = last.split()
    if len(words) < FEW_WORDS or not SENTENCE_END.search(text) or LIST_ITEM.match(last) or MADE_OF_CODE.search(last):
        return False
    if 2 * sum(word[0].isupper() for word in words) > len(words) or 4 * last[:-1].count(",") > len(words):
        return False
    return last[-1].isalpha() or last[-1] in OPEN_ENDS


def _unpaired(messages: Sequence[dict[str, Any]]) -> int:
    """Calls without a result and results without a call. The calls of the last message may be open, for then the answer is the call."""
    n = 0
    waiting: list[dict[str, Any]] = []
    for one in messages:
        if one["role"] == "tool":
            wanted = one.get("tool_call_id")
            match = next((i for i, call in enumerate(waiting) if None in (wanted, call.get("id")) or call["id"] == wanted), None)
            if match is None:
                n += not _after_written(messages, one)
            else:
                waiting.pop(match)
            continue
        n += len(waiting)
        waiting = list(one.get("tool_calls", ()))
    return n + (len(waiting) if messages and messages[-1]["role"] == "tool" else 0)


def _after_written(messages: Sequence[dict[str, Any]], one: dict[str, Any]) -> bool:
    """Does the last assistant before this result write its calls into the text? How many that were is not compared."""
    at = next(i for i, other in enumerate(messages) if other is one)
    before = next((other for other in reversed(messages[:at]) if other["role"] == "assistant"), None)
    return before is not None and WRITTEN_CALL.search(before["content"]) is not None


def _names(tools: str | None) -> set[str]:
    listed = _parsed(tools or "[]")
    listed = [listed] if isinstance(listed, dict) else listed if isinstance(listed, list) else []
    of = [tool.get("function", tool) for tool in listed if isinstance(tool, dict)]
    return {tool["name"] for tool in of if isinstance(tool, dict) and isinstance(tool.get("name"), str)}


def _call_of(text: str) -> dict[str, Any] | None:
    """A written call: an object with a name."""
    found = _parsed(text)
    return found if isinstance(found, dict) and isinstance(found.get("name"), str) else None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _plain(text: str) -> str:
    return " ".join(text.lower().replace("\u2019", "'").replace(",", "").split())


@cache
def phrases() -> dict[str, tuple[str, ...]]:
    """phrases.txt: heading -> phrases."""
    found: dict[str, list[str]] = {}
    for line in (Path(__file__).parent / "phrases.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            heading = found.setdefault(line.strip("[]"), [])
        elif line.strip() and not line.startswith("#"):
            heading.append(_plain(line))
    return {name: tuple(of) for name, of in found.items()}


@cache
def _phrases(heading: str) -> re.Pattern[str]:
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, phrases()[heading])) + ")")
