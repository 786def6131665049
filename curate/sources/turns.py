"""Chat shapes in, canonical messages out: [{role, content, reasoning_content?, tool_calls?, tool_call_id?, name?}], or `Refused`.

Read: OpenAI messages (content parts, tool_calls, the older function_call), ShareGPT (from, value; function_call and observation turns),
JSON text of either, and transcripts ("Human: ... Assistant: ...", as HH-RLHF's). A tool call is {id?, type: function, function: {name,
arguments}}, its arguments JSON text: what came as text stays as it is, valid or not; what came as an object becomes canonical JSON, so
that JSON and Parquet give the same. What else a message says (weights) is left out. Pure; imports fields, records.
"""

from __future__ import annotations

import json
import re
from typing import Any

from curate.sources.fields import as_string, clean, pick, string
from curate.sources.records import Refused

Message = dict[str, Any]

# a role as written, in lower case -> ours; others stay as they are, for the signals to count
ROLES = {
    "human": "user", "prompter": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
    "developer": "system", "function": "tool", "observation": "tool", "tool_response": "tool", "function_response": "tool",
    "ipython": "tool",
}  # fmt: skip
REASONING = ("reasoning_content", "reasoning", "thinking")  # of a message: vLLM's and DeepSeek's name, OpenRouter's, gpt-oss'
THOUGHT = ("thinking", "reasoning")  # types of parts of a content that are reasoning
CALLS = ("function_call", "tool_call")  # roles of turns that are calls: {"name": ..., "arguments": ...} in their content
SPEAKER = re.compile(r"(?:\A\s*|\n\n[ \t]*)(Human|User|Assistant|System):")


def messages_of(value: Any) -> list[Message]:
    """A list of turns, JSON text of one, or a transcript."""
    if isinstance(value, str | bytes):
        text = string(value, "messages")
        if SPEAKER.match(text):
            return transcript(text)
        value = _json_of(text, "text_not_string", "messages is a string that is no JSON list and no transcript")
    if value is None:
        raise Refused("missing_text", "no messages")
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise Refused("text_not_string", "messages is no list of objects")
    return [_turn(turn) for turn in value]


def transcript(text: str) -> list[Message]:
    """Turns that begin with a speaker's name on a line of its own after a blank line, or at the start; white space around them goes."""
    names = list(SPEAKER.finditer(text))
    ends = [match.start() for match in names[1:]] + [len(text)]
    return [
        message(match[1], text[match.end() : end].strip()) for match, end in zip(names, ends, strict=True)
    ]  # fmt: skip


def message(role: str, content: str) -> Message:
    role = role.strip().lower()
    return {"role": clean(ROLES.get(role, role)), "content": clean(content)}


def history_of(value: Any) -> list[Message]:
    """[[question, answer], ...] of earlier turns, as Alpaca files with `history` have them."""
    if not isinstance(value, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        raise Refused("text_not_string", "history is no list of pairs")
    return [
        message(role, string(text, "history")) for pair in value for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def tools_of(value: Any) -> str | None:
    """The tools a conversation may call, as JSON text of a list; None for none. Text stays as it is."""
    listed = (
        _json_of(value, "broken_tools", "tools is text that is no JSON") if isinstance(value, str) and value.strip() else value
    )
    if listed in (None, "", [], {}) or (isinstance(listed, str) and not listed.strip()):
        return None
    listed = [listed] if isinstance(listed, dict) else listed
    if not isinstance(listed, list) or not all(isinstance(tool, dict) for tool in listed):
        raise Refused("broken_tools", "tools is no list of objects")
    if isinstance(value, str):
        return clean(value)
    named = [tool if "function" in tool or "name" not in tool else {"type": "function", "function": tool} for tool in listed]
    return clean(as_string(named))


def _turn(turn: Message) -> Message:
    role = string(pick(turn, ("role", "from")), "role").strip().lower()
    content, calls = pick(turn, ("content", "value")), _calls(turn)
    if role in CALLS:
        one = _json_of(content, "broken_tools", f"a {role} turn that is no JSON") if isinstance(content, str) else content
        role, content, calls = "assistant", "", [_call(call) for call in (one if isinstance(one, list) else [one])]
    thought, content = _reasoning(turn, content)
    made = message(role, _content(content, made_of_calls=bool(calls), role=role))
    if thought.strip():
        made["reasoning_content"] = clean(thought)
    if calls:
        made["tool_calls"] = calls
    for key in ("tool_call_id", "name"):
        if (value := turn.get(key)) is not None and (text := as_string(value)):
            made[key] = clean(text)
    return made


def _reasoning(turn: Message, content: Any) -> tuple[str, Any]:
    """What is thought before the answer, and the content without it."""
    own = pick(turn, REASONING)
    thought = [own] if isinstance(own, str) else []
    if isinstance(content, list) and any(isinstance(part, dict) and part.get("type") in THOUGHT for part in content):
        is_thought = [isinstance(part, dict) and part.get("type") in THOUGHT for part in content]
        parts = [
            pick(part, ("thinking", "reasoning", "text")) for part, is_own in zip(content, is_thought, strict=True) if is_own
        ]
        thought += [part for part in parts if isinstance(part, str)]
        content = [part for part, is_own in zip(content, is_thought, strict=True) if not is_own]
    return "".join(thought), content


def _content(content: Any, made_of_calls: bool, role: str) -> str:
    if content is None and made_of_calls:
        return ""
    if isinstance(content, list) and all(isinstance(part, str | dict) for part in content):
        return "".join(string(part.get("text"), f"text in a part of type {part.get('type')!r}") if isinstance(part, dict) else part
                       for part in content)  # fmt: skip
    if isinstance(content, dict | list) and ROLES.get(role, role) == "tool":  # what a tool gave back
        return as_string(content) or ""
    return string(content, "content")


def _calls(turn: Message) -> list[Message]:
    calls = turn.get("tool_calls")
    if isinstance(calls, str):
        calls = _json_of(calls, "broken_tools", "tool_calls is text that is no JSON") if calls.strip() else None
    if calls is None and turn.get("function_call") is not None:
        calls = [turn["function_call"]]
    if calls is not None and not isinstance(calls, list):
        raise Refused("broken_tools", "tool_calls is no list")
    return [_call(call) for call in calls or []]


def _call(call: Any) -> Message:
    of = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(of, dict) or not isinstance(of.get("name"), str) or not of["name"].strip():
        raise Refused("broken_tools", "a tool call without a name")
    arguments = pick(of, ("arguments", "parameters"))
    text = arguments if isinstance(arguments, str) else "{}" if arguments is None else as_string(arguments)
    made: Message = {"type": "function", "function": {"name": clean(of["name"]), "arguments": clean(text or "{}")}}
    if call is not of and call.get("id") is not None:
        made["id"] = clean(as_string(call["id"]))
    return made


def _json_of(text: Any, cause: str, detail: str) -> Any:
    try:
        return json.loads(string(text, "value"))
    except (ValueError, RecursionError):
        raise Refused(cause, detail) from None
