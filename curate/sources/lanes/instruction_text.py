"""A row with a passage and questions about it in, one text of both out, as a form of `render:` puts them.

The questions stand in a list of {question, answer}, or in two fields of a text each or a list each; with `group:` in several rows of one
passage. `parts` has the passage and the pairs; the form drawn for the row stands in extra under "render". Pure: draws are a function of
passage and pairs (draw.py). Imports fields, repair, draw, and the reader of groups.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.recipe import Source
from curate.recipe.lanes.instruction_text import QA
from curate.sources.draw import Draw
from curate.sources.fields import Mapper, add_extra, as_string, checked, clean, field_names, pick, scalars, string
from curate.sources.readers.grouping import grouped
from curate.sources.records import Bad, RawRow, Refused
from curate.sources.repair import repair

QUESTION, ANSWER = ("question", "q", "instruction", "prompt"), ("answer", "a", "answers", "response", "output", "completion")
OF_ANSWER = ("text", "value", "answer")  # an answer that is an object, such as SQuAD's {text: [...], answer_start: [...]}


def lane(source: Source, limit: int) -> Mapper:
    options = source.render
    assert options is not None
    language = options.language or source.language or ""
    names, others = field_names(source), scalars(source)
    forms, shares = list(options.forms), [share.value for share in options.forms.values()]
    pools = {form: options.pool(language, form) for form in (*forms, QA)}

    def fields(row: dict[str, Any]) -> dict[str, Any]:
        raw = clean(string(pick(row, names["text"]), "text"))
        raw_pairs = _pairs(row, names)
        passage = repair(raw.strip())
        if not passage:
            raise Refused("empty_text", "the passage is empty")
        pairs = [(repair(question), repair(answer)) for question, answer in raw_pairs]
        draw = Draw(options.seed, passage, *(part for pair in pairs for part in pair))
        form = forms[draw.index("form", shares)]
        one = draw.template("qa", pools[QA])
        qa = "\n\n".join(one.fill({"question": question, "answer": answer}) for question, answer in pairs)
        text = draw.template("template", pools[form]).fill({"passage": passage, "qa": qa})
        parts = {"passage": passage, "qa": [{"question": question, "answer": answer} for question, answer in pairs]}
        mapped = others(row)
        return mapped | {
            "text": checked(text, limit), "parts": as_string(parts), "extra": add_extra(mapped["extra"], "render", form),
            "is_repaired": pairs != raw_pairs or passage != raw.strip(),
        }  # fmt: skip

    return fields


def _pairs(row: dict[str, Any], names: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    """Questions that have an answer; equal pairs once."""
    listed = pick(row, names["qa"])
    if isinstance(listed, str):
        try:
            listed = json.loads(listed)
        except (ValueError, RecursionError):
            raise Refused("text_not_string", "the questions are a string that is no JSON list") from None
    if listed is None or (isinstance(listed, list) and all(isinstance(item, str) for item in listed)):
        questions, answers = listed or pick(row, names["question"]), pick(row, names["answer"])
        if not isinstance(questions, list):
            questions, answers = [questions], [answers]
        if not isinstance(answers, list) or len(answers) != len(questions):
            raise Refused("text_not_string", "there are not as many answers as questions")
        items = list(zip(questions, answers, strict=True))
    elif isinstance(listed, list) and all(isinstance(item, dict) for item in listed):
        items = [(pick(item, QUESTION), pick(item, ANSWER)) for item in listed]
    else:
        raise Refused("text_not_string", "the questions are no list of objects")
    found = [(_said(question), _said(answer)) for question, answer in items]
    pairs = list(dict.fromkeys(pair for pair in found if all(pair)))
    if not pairs:
        raise Refused("no_prompt", "no question has an answer")
    return pairs


def _said(value: Any) -> str:
    """A text, the first of a list of them, or the text of an object; "" where there is none."""
    while isinstance(value, list | dict):
        value = next(iter(value), None) if isinstance(value, list) else pick(value, OF_ANSWER)
    return clean(string(value, "question or answer")).strip() if value is not None else ""


def grouped_questions(
    path: Path, rows: Iterator[RawRow | Bad], source: Source, limit: int, scratch: Path | None
) -> Iterator[RawRow | Bad]:
    """Rows of one passage as one row with all their questions, in `group.order`; everything else is that of the first."""
    assert source.group is not None
    names = field_names(source)
    commas = source.model_copy(update={"group": source.group.model_copy(update={"join": ","})})
    for row in grouped(path, _as_texts(path, rows, names), commas, limit, scratch):
        if isinstance(row, Bad):
            yield row
        else:
            listed = {names["qa"][0]: f"[{row.values[names['text'][0]]}]", names["text"][0]: row.values[_PASSAGE]}
            yield row._replace(values=row.values | listed)


_PASSAGE = "\0passage"


def _as_texts(path: Path, rows: Iterator[RawRow | Bad], names: dict[str, tuple[str, ...]]) -> Iterator[RawRow | Bad]:
    """With the questions as JSON in the place of the text, for groups to join."""
    for row in rows:
        if isinstance(row, RawRow):
            try:
                pairs = [as_string({"question": question, "answer": answer}) for question, answer in _pairs(row.values, names)]
                row = row._replace(
                    values=row.values | {_PASSAGE: pick(row.values, names["text"]), names["text"][0]: ",".join(map(str, pairs))}
                )
            except Refused as refused:
                row = Bad(row.file or path.name, row.byte_offset, refused.cause, refused.detail, row.n_bytes)
        yield row
