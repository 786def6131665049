"""Instructions and conversations: rows in every common form in, canonical messages, their tools and how they were made out.

A record is, in this order: messages (turns.py); an instance of a task (Self-Instruct's; a row of several is as many records); a prompt
with its completion, and perhaps an input (Alpaca, T0). `system`, `history` and `tools` are added where a record has them. parts: {tools:
JSON text}. extra gets the keys `conversation` {template, task} and `provenance` {generator, date, seed, license, verdict}, where there is
something to say. Imports sources.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from curate.errors import CurateError
from curate.recipe import Source
from curate.recipe.lanes.conversation import INPUT, INSTRUCTION, WITH, WITHOUT, Conversation
from curate.sources import protect
from curate.sources.draw import Draw
from curate.sources.fields import PROVENANCE, Mapper, as_string, chat_text, checked, clean, field_names, pick, scalars, string
from curate.sources.records import Refused
from curate.sources.turns import Message, history_of, message, messages_of, tools_of
from curate.store import canonical_json

Names = Mapping[str, Sequence[str]]


def lane(source: Source, limit: int) -> Mapper:
    """The function from raw rows to columns; `messages` is a list. `limit`: bytes of the contents together."""
    names, others, options = field_names(source), scalars(source), source.conversation or Conversation()
    check(source, options)

    def fields(row: dict[str, Any]) -> dict[str, Any]:
        mapped = others(row)
        try:
            messages, template = _messages(row, names, options, mapped["language"] or source.language)
            messages, tools = _with_system(messages, row, names, source), _tools(row, names, source)
            if (kept := pick(row, names["protected"])) is not None:
                messages = protect.restored(messages, kept)
            told = _told(row, names, options, template)
        except RecursionError:
            raise Refused("broken_json", "a conversation that is nested too deeply") from None
        _strip_markers(messages, options.end_markers)
        mapped["messages"], mapped["text"] = messages, checked(chat_text(messages), limit)
        mapped["parts"] = canonical_json({"tools": tools}).decode() if tools else None
        mapped["extra"] = _extended(mapped["extra"], told)
        return mapped

    return fields


def records_of(source: Source) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    """The function from a row to its records: one, or as many as its task has instances, each with one of them and `ID/1`, `ID/2`, ... for its id."""
    names = field_names(source)

    def records(row: dict[str, Any]) -> list[dict[str, Any]]:
        listed = pick(row, names.get("instances", ()))
        if not isinstance(listed, list) or len(listed) < 2 or pick(row, names.get("messages", ())) is not None:
            return [row]
        field = next(name for name in names["instances"] if pick(row, (name,)) is not None)
        id_field = next((name for name in names.get("source_id", ()) if pick(row, (name,)) is not None), None)
        found = [{**row, field: [one]} for one in listed]
        if id_field is not None:
            for n, one in enumerate(found, 1):
                one[id_field] = f"{as_string(pick(row, (id_field,)))}/{n}"
        return found

    return records


def check(source: Source, options: Conversation) -> None:
    """Raises CurateError where the language that the recipe declares has no templates."""
    known = options.languages()
    if known and source.language is not None and source.language not in known:
        where = f"sources.{source.name}.conversation.templates"
        raise CurateError(f"no templates in {source.language!r}", where=where, allowed=", ".join(known))


def _messages(row: Message, names: Names, options: Conversation, language: str | None) -> tuple[list[Message], str]:
    """(messages, the template used or "")."""
    if "messages" in names and (value := pick(row, names["messages"])) is not None:
        return messages_of(value), ""
    if "instances" in names and (value := pick(row, names["instances"])) is not None:
        row, names = _instance(row, value, names)
    if "prompt" not in names:
        raise Refused("missing_text", "no messages")
    instruction = string(pick(row, names["prompt"]), "prompt" if "messages" not in names else "messages, nor a prompt")
    more = pick(row, names["input"]) if "input" in names else None
    more = string(more, "input") if more is not None else ""
    completion = string(pick(row, names["completion"]), "completion")
    prompt, template = _prompt(instruction, more if more.strip() else "", completion, options, language)
    return [message("user", prompt), message("assistant", completion)], template


def _instance(row: Message, value: Any, names: Names) -> tuple[Message, Names]:
    """The row of the one instance of a task, and where its fields are."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Refused("text_not_string", "instances is no list of objects")
    if len(value) != 1:
        raise Refused("missing_text", f"{len(value)} instances")
    prompt = pick(row, names["prompt"])
    return {"prompt": prompt, **value[0]}, {"prompt": ("prompt",), "input": ("input",), "completion": ("output", "completion")}


def _prompt(instruction: str, more: str, completion: str, options: Conversation, language: str | None) -> tuple[str, str]:
    """What the user says, and by which template: <language>/<form>/<number from 1>."""
    if options.templates is None:
        return (f"{instruction}\n\n{more}" if more else instruction), ""
    if language not in options.languages():
        raise Refused("no_templates", f"language {language}")
    form = WITH if more else WITHOUT
    pool = options.pool(language, form)
    i = Draw(options.seed, instruction, more, completion).index("template", [one.weight for one in pool])
    return pool[i].fill({INSTRUCTION: instruction, INPUT: more}), f"{language}/{form}/{i + 1}"


def _with_system(messages: list[Message], row: Message, names: Names, source: Source) -> list[Message]:
    """With earlier turns and what the system says put before them. A field that the recipe does not name counts where it fits."""
    before: list[Message] = []
    system = pick(row, names["system"])
    if isinstance(system, str) or "system" in source.fields:
        text = string(system, "system") if system is not None else ""
        before = [message("system", text)] if text.strip() and messages[:1] and messages[0]["role"] != "system" else []
    history = pick(row, names["history"])
    if history is not None and ("history" in source.fields or isinstance(history, list)):
        before += history_of(history)
    return [*before, *messages]


def _tools(row: Message, names: Names, source: Source) -> str | None:
    try:
        return tools_of(pick(row, names["tools"]))
    except Refused:
        if "tools" in source.fields:
            raise
        return None  # another kind of tools


def _strip_markers(messages: list[Message], markers: Sequence[str]) -> None:
    for one in messages:
        if one["role"] == "assistant":
            for marker in markers:
                one["content"] = one["content"].removesuffix(marker)


def _told(row: Message, names: Names, options: Conversation, template: str) -> dict[str, Any]:
    """What extra gets."""
    task = as_string(pick(row, names["task"])) if "task" in names else None
    conversation = {"template": template or None, "task": task}
    provenance = options.provenance.model_dump(mode="json") if options.provenance else {}
    for target in PROVENANCE:
        if (value := as_string(pick(row, names[target]))) is not None:
            provenance[target.partition(".")[2]] = value
    provenance["verdict"] = as_string(pick(row, names["verdict"]))
    told = {"conversation": conversation, "provenance": provenance}
    filled = {key: {k: as_string(v) for k, v in of.items() if v is not None} for key, of in told.items()}
    return {key: of for key, of in filled.items() if of}


def _extended(extra: str | None, told: Mapping[str, Any]) -> str | None:
    """`extra` with our keys; one that is no object stands under `value`."""
    if not told:
        return extra
    own = json.loads(extra) if extra else {}
    return clean(canonical_json({**(own if isinstance(own, dict) else {"value": own}), **told}).decode())
