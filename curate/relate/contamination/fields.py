"""A row of an evaluation file in, its parts out: question, answers, options, passage.

Fields are those the recipe names, or the first known layout that a set's rows have. Imports errors, recipe, sources.fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from curate.errors import CurateError, nearest
from curate.sources.fields import as_string, pick

PARTS = ("question", "answer", "options", "passage")
Fields = Mapping[str, Sequence[str]]  # part, or id -> fields; of a question, passage or id the first that has a value


class Part(NamedTuple):
    """One text of an item. `name` is question, answer, options[2], passage: of several answers or options the place is named."""

    name: str
    kind: str  # of PARTS
    text: str


# Whole layouts come before single names, since a name may mean something else: XCOPA's `question` is "cause" or "effect".
LAYOUTS: tuple[dict[str, tuple[str, ...]], ...] = (
    {"question": ("premise",), "options": ("choice1", "choice2")},  # COPA, XCOPA
    {"question": ("prompt",), "answer": ("canonical_solution",)},  # HumanEval
    {"passage": ("premise",), "question": ("hypothesis",)},  # SNLI, XNLI, RTE
    {"question": ("goal",), "options": ("sol1", "sol2")},  # PIQA
    {"question": ("sentence",), "options": ("option1", "option2")},  # WinoGrande
    {"question": ("ctx",), "options": ("endings",)},  # HellaSwag
    {"question": ("input_sentence_1",), "options": ("sentence_quiz1", "sentence_quiz2")},  # StoryCloze
    {"question": ("flores_passage",), "options": ("mc_answer1", "mc_answer2", "mc_answer3", "mc_answer4")},
    {
        "passage": ("flores_passage",), "question": ("question",),
        "options": ("mc_answer1", "mc_answer2", "mc_answer3", "mc_answer4"),
    },  # Belebele
    {"question": ("question",), "options": ("A", "B", "C", "D")},  # CMMLU, Global-MMLU
    {"question": ("question",), "options": ("option_a", "option_b", "option_c", "option_d")},
)  # fmt: skip
NAMES: dict[str, tuple[str, ...]] = {
    "question": ("question", "question_stem", "query", "problem", "prompt", "instruction", "meta.question"),
    "answer": (
        "answer", "answers.text", "answers", "answer_text", "solution", "target", "targets", "completion", "output", "response",
        "meta.answers.text", "meta.answers", "meta.answer",
    ),
    "options": ("options", "choices.text", "choices", "endings", "mc1_targets.choices", "candidates"),
    "passage": ("passage", "context", "article", "story", "support", "paragraph", "text", "content"),
}  # fmt: skip
IDS = ("id", "task_id", "question_id", "idx", "uid", "meta.id")
LETTERS = frozenset("ABCDEFGHIJ")


def check(fields: Fields, where: str) -> None:
    """The recipe's own `fields:` name parts of items."""
    for part in fields:
        if part not in (*PARTS, "id"):
            close = nearest(part, PARTS)
            raise CurateError(f"items have no part {part!r}", where=where, allowed=", ".join(close or (*PARTS, "id")))
    if fields and not set(PARTS).intersection(fields):
        raise CurateError("no part of an item is named", where=where, found=", ".join(fields), allowed=", ".join(PARTS))


def fields_of(rows: Sequence[Mapping[str, Any]], given: Fields, where: str, file: str) -> Fields:
    """The fields of a set. Raises CurateError where a named field, or every known name, is in none of the rows."""
    if given:
        for part, names in given.items():
            missing = [name for name in names if all(pick(dict(row), (name,)) is None for row in rows)]
            if missing:
                seen = _names(rows)
                close = nearest(missing[0], seen)
                raise CurateError(
                    f"no item has a field {missing[0]!r}", where=f"{where}.fields.{part}", found=f"{file} has {', '.join(seen)}",
                    allowed=", ".join(close), next=f"did you mean {close[0]!r}?" if close else "",
                )  # fmt: skip
        return {"id": IDS, **given}
    for layout in LAYOUTS:
        if all(any(pick(dict(row), (name,)) is not None for row in rows) for names in layout.values() for name in names):
            return {"id": IDS, **layout}
    found: dict[str, tuple[str, ...]] = {}
    for part, names in NAMES.items():
        known = [name for name in names if any(pick(dict(row), (name,)) is not None for row in rows)]
        found |= {part: (known[0],)} if known else {}
    if not found:
        raise CurateError(
            "no field of these items is known to be a question, an answer, an option or a passage", where=where,
            found=f"{file} has {', '.join(_names(rows))}", next="name them: fields: {question: FIELD, answer: FIELD}",
        )  # fmt: skip
    return {"id": IDS, **found}


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Fields of the rows, those inside objects with dots."""
    found: dict[str, None] = {}
    for row in rows[:100]:
        for name, value in row.items():
            found[str(name)] = None
            if isinstance(value, dict):
                found.update(dict.fromkeys(f"{name}.{inner}" for inner in value))
    return list(found)


def parts_of(row: Mapping[str, Any], fields: Fields) -> list[Part]:
    """The parts of one item that have a text; equal ones once."""
    whole = dict(row)
    found: list[Part] = []
    options = [text for name in fields.get("options", ()) for text in _texts(pick(whole, (name,)))]
    for part in ("question", "passage"):
        text = next((t for name in fields.get(part, ()) for t in _texts(pick(whole, (name,)))), "")
        # A field `text` is often the question and the answer once more (GSM8K as jsonl): that is no passage.
        is_whole = part == "passage" and found and found[0].text in text
        found += [Part(part, part, text)] if text and not is_whole else []
    answers = [text for name in fields.get("answer", ()) for text in _texts(pick(whole, (name,)))]
    if options:  # an answer that only names the right option is none of its own
        answers = [t for t in answers if t not in options and t not in LETTERS and not t.isdecimal()]
    answers = list(dict.fromkeys(answers))
    found += [Part("answer" if len(answers) == 1 else f"answer[{i}]", "answer", text) for i, text in enumerate(answers)]
    found += [Part(f"options[{i}]", "options", text) for i, text in enumerate(options) if text not in options[:i]]
    return found


def item_id(row: Mapping[str, Any], fields: Fields, number: int) -> str:
    """The item's own id, or its place in the set from 1: `#12`."""
    return as_string(pick(dict(row), fields["id"])) or f"#{number}"


def _texts(value: Any) -> list[str]:
    """The texts of a value: a string, a number, a list of them, or an object that holds them as `text`."""
    if isinstance(value, dict):
        return _texts(value.get("text"))
    if isinstance(value, list | tuple):
        return [text for one in value for text in _texts(one)]
    text = as_string(value)
    return [text] if text and text.strip() else []
