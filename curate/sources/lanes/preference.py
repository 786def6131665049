"""A row with a better and a worse answer in, one preference out: prompt (messages as canonical JSON), chosen, rejected.

Rows are pairs (answers, or whole dialogues that part at their last answer), two answers compared by a signed number, a sentence with its
corrections, or several scored answers of which two are taken. One row gives one pair or is refused; white space around an answer goes.
`text`, what is measured and compared, is the prompt's contents and the chosen answer joined by blank lines; `parts` has margin, scores
and who wrote what, as far as the row says. Pure. Imports fields, turns, repair, draw.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from curate.recipe import Source
from curate.recipe.lanes.preference import Preference
from curate.sources.draw import Draw
from curate.sources.fields import Mapper, as_string, chat_text, checked, clean, field_names, number, pick, scalars, string
from curate.sources.records import Refused
from curate.sources.repair import repair
from curate.sources.turns import SPEAKER, Message, message, messages_of

TEXT = ("text", "content", "response", "answer", "completion", "output", "value")  # of an answer that is an object
SCORE = ("score", "rating", "overall_score", "reward")
NAME = ("model", "name", "source", "generator")

Names = dict[str, tuple[str, ...]]


class Pair(NamedTuple):
    prompt: list[Message]
    chosen: str
    rejected: str
    parts: dict[str, Any]  # margin, chosen_score, rejected_score, chosen_by, rejected_by: those that are known


class Answer(NamedTuple):
    text: str
    score: float | int | None
    name: str | None


def lane(source: Source, limit: int) -> Mapper:
    options = source.preference
    assert options is not None
    names, others = field_names(source), scalars(source)
    pool = options.pool(options.language or source.language or "") if options.of == "corrections" else []

    def pair_of(row: dict[str, Any]) -> Pair:
        if options.of == "pairs":
            return _pair(row, names, options)
        if options.of == "compared":
            return _compared(row, names, options)
        if options.of == "answers":
            return _scored(row, names, options)
        original, correction = _corrected(row, names)
        prompt = Draw(options.seed, original, correction).template("template", pool).fill({"text": original})
        return Pair([message("user", prompt)], correction, original, {})

    def fields(row: dict[str, Any]) -> dict[str, Any]:
        try:
            raw = pair_of(row)
        except RecursionError:
            raise Refused("broken_json", "a preference that is nested too deeply") from None
        raw = raw._replace(chosen=raw.chosen.strip(), rejected=raw.rejected.strip())
        prompt = [{**turn, "content": repair(turn["content"])} for turn in _with_system(raw.prompt, row, names)]
        chosen, rejected = repair(raw.chosen), repair(raw.rejected)
        _check(prompt, chosen, rejected)
        return others(row) | {
            "text": checked(chat_text([*prompt, {"content": chosen}]), limit),
            "prompt": as_string(prompt), "chosen": checked(chosen, limit), "rejected": checked(rejected, limit),
            "parts": as_string(raw.parts) if raw.parts else None,
            "is_repaired": (chosen, rejected) != (raw.chosen, raw.rejected) or any(
                turn["content"] != was["content"] for turn, was in zip(prompt[-len(raw.prompt) :], raw.prompt, strict=True)),
        }  # fmt: skip

    return fields


def _check(prompt: list[Message], chosen: str, rejected: str) -> None:
    if not any(turn["role"] != "system" and turn["content"].strip() for turn in prompt):
        raise Refused("no_prompt", "there is nothing that is answered")
    for which, answer in (("chosen", chosen), ("rejected", rejected)):
        if not answer:
            raise Refused("empty_answer", f"{which} is empty")
    if chosen == rejected:
        raise Refused("equal_answers", f"both are the same {len(chosen)} characters")


def _with_system(prompt: list[Message], row: dict[str, Any], names: Names) -> list[Message]:
    system = pick(row, names["system"])
    if system is None or not string(system, "system").strip() or any(turn["role"] == "system" for turn in prompt):
        return prompt
    return [message("system", string(system, "system")), *prompt]


def _prompt(value: Any) -> list[Message]:
    """Messages, a transcript, or the text of one user."""
    if value is None:
        return []
    if isinstance(value, str) and not SPEAKER.match(value):
        return [message("user", value)] if value.strip() else []
    turns = messages_of(value)
    return turns[:-1] if turns and turns[-1] == message("assistant", "") else turns  # a transcript that ends with "Assistant:"


def _dialogue(value: Any, which: str) -> list[Message] | None:
    """The turns of an answer that is a dialogue; None where it is a text of its own."""
    if value is None:
        raise Refused("empty_answer", f"no {which}")
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith(("Human:", "User:"))):
        return messages_of(value)
    return None


def _pair(row: dict[str, Any], names: Names, options: Preference) -> Pair:
    values = {which: pick(row, names[which]) for which in ("chosen", "rejected")}
    turns = {which: _dialogue(value, which) for which, value in values.items()}
    before, answers = [], []
    for which, value in values.items():
        dialogue = turns[which]
        if dialogue is None:
            answers.append(string(value, which))
            continue
        if not dialogue or dialogue[-1]["role"] != "assistant":
            raise Refused("empty_answer", f"{which} does not end with what the assistant says")
        answers.append(dialogue[-1]["content"])
        before.append(dialogue[:-1])
    if len(before) == 2 and before[0] != before[1]:
        raise Refused("prompts_differ", f"the dialogues differ in turn {_first_difference(*before) + 1} of {len(before[0]) + 1}")
    prompt = before[0] if before and before[0] else _prompt(pick(row, names["prompt"]))
    scores = [number(pick(row, names[f"{which}_score"]), f"{which}_score") for which in values]
    margin = number(pick(row, names["margin"]), "margin")
    if margin is None and None not in scores:
        margin = scores[0] - scores[1]  # type: ignore[operator]
    if margin is not None and margin < options.min_margin:
        raise Refused("no_preference", f"a margin of {margin:g}")
    return Pair(prompt, answers[0], answers[1], _parts(margin, *scores))


def _first_difference(one: list[Message], other: list[Message]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _compared(row: dict[str, Any], names: Names, options: Preference) -> Pair:
    preference = number(pick(row, names["preference"]), "preference")
    if not preference or abs(preference) < options.min_margin:
        raise Refused("no_preference", "no preference" if preference is None else f"a preference of {preference:g}")
    first, second = (string(pick(row, names[which]), which) for which in ("first", "second"))
    chosen, rejected = (first, second) if preference < 0 else (second, first)
    return Pair(_prompt(pick(row, names["prompt"])), chosen, rejected, _parts(abs(preference)))


def _corrected(row: dict[str, Any], names: Names) -> tuple[str, str]:
    """The original and the first correction that differs from it, without white space around them."""
    original = clean(string(pick(row, names["original"]), "original")).strip()
    listed = pick(row, names["correction"])
    texts = [clean(string(one, "correction")).strip() for one in (listed if isinstance(listed, list) else [listed])]
    if not original or not any(texts):
        raise Refused("empty_answer", "the original is empty" if not original else "no correction")
    return original, next((text for text in texts if text and text != original), original)


def _scored(row: dict[str, Any], names: Names, options: Preference) -> Pair:
    """Two of the answers, by `pair`: the best with the worst, the best with the next worse, or any two drawn for the row. Of answers
    with one score the first in the row counts; only pairs whose scores differ, by min_margin or more, are pairs."""
    found = [one for one in _answers(row, names, options.order) if one.score is not None and one.text.strip()]
    ranked = sorted(found, key=lambda one: -(one.score or 0))  # stable: the order of the row among equals
    pairs = [(a, b) for i, a in enumerate(ranked) for b in ranked[i + 1 :]
             if a.score > b.score and a.score - b.score >= options.min_margin and a.text.strip() != b.text.strip()]  # type: ignore[operator]  # fmt: skip
    if options.pair != "drawn":
        pairs = [pair for pair in pairs if pair[0] is ranked[0]]
    if not pairs:
        raise Refused("no_preference", f"of {len(found)} scored answers no two differ enough")
    if options.pair == "best_worst":
        lowest = min(b.score for _, b in pairs)  # type: ignore[type-var]
        best, worse = next(pair for pair in pairs if pair[1].score == lowest)
    elif options.pair == "best_second":
        best, worse = pairs[0]
    else:
        best, worse = pairs[Draw(options.seed, *(one.text for one in found)).index("pair", [1.0] * len(pairs))]
    assert best.score is not None and worse.score is not None
    parts = _parts(best.score - worse.score, best.score, worse.score)
    parts |= {key: one.name for key, one in (("chosen_by", best), ("rejected_by", worse)) if one.name}
    return Pair(_prompt(pick(row, names["prompt"])), best.text, worse.text, parts)


def _answers(row: dict[str, Any], names: Names, order: list[str]) -> list[Answer]:
    """In the order of the row; by name where they are an object, in the order of their names, since JSON and Parquet keep another."""
    listed, scores = pick(row, names["answers"]), pick(row, names["scores"])
    if isinstance(listed, dict):
        items = [(name, listed[name]) for name in sorted(listed) if listed[name] is not None]
        own = scores if isinstance(scores, dict) else {}
        given = [own.get(name) for name, _ in items]
    elif isinstance(listed, list):
        items = [(None, one) for one in listed]
        given = list(scores) if isinstance(scores, list) else [None] * len(items)
        if len(given) != len(items):
            raise Refused("no_preference", f"{len(given)} scores for {len(items)} answers")
    else:
        raise Refused("empty_answer", "no list and no object of answers")
    found = []
    for (key, one), score in zip(items, given, strict=True):
        is_object = isinstance(one, dict)
        name = key or (pick(one, NAME) if is_object else None)
        score = pick(one, SCORE) if score is None and is_object else score
        if order:
            score = order.index(name) if name in order else None
        text = string(pick(one, TEXT) if is_object else one, "answer")
        found.append(Answer(clean(text), number(score, "score"), name if isinstance(name, str) else None))
    return found


def _parts(margin: float | int | None, chosen: float | int | None = None, rejected: float | int | None = None) -> dict[str, Any]:
    named = {"margin": margin, "chosen_score": chosen, "rejected_score": rejected}
    return {key: value for key, value in named.items() if value is not None}
