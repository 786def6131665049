"""A row with both sides of a translation in, a document out: both as one text, or an instruction to translate and its answer.

`parts` has the sides by language, and `score` where a field is mapped to it; what was drawn for the row stands in extra under
"parallel". Pure: draws are a function of the sides (draw.py). Imports fields, repair, draw.
"""

from __future__ import annotations

from typing import Any

from curate.recipe import Source
from curate.sources.draw import Draw
from curate.sources.fields import (
    Mapper,
    add_extra,
    as_string,
    chat_text,
    checked,
    clean,
    field_names,
    number,
    pick,
    scalars,
    string,
)
from curate.sources.records import Refused
from curate.sources.repair import repair


def lane(source: Source, limit: int) -> Mapper:
    options = source.parallel
    assert options is not None
    names, others = field_names(source), scalars(source)
    shares = [share.value for share in options.instruction_languages.values()]
    said = list(options.instruction_languages)
    pools = {f"{language}/{kind}": options.pool(language, kind) for language in said for kind in options.kinds()}

    def fields(row: dict[str, Any]) -> dict[str, Any]:
        raw = [_side(row, names, language) for language in options.languages]
        sides = [repair(side) for side in raw]
        parts: dict[str, Any] = dict(zip(options.languages, sides, strict=True))
        if (score := number(pick(row, names["score"]), "score")) is not None:
            parts["score"] = score
        draw = Draw(options.seed, *sides)
        order = (1, 0) if draw.happens("reverse", options.reverse.value) else (0, 1)
        source_, target = (sides[i] for i in order)
        language = said[draw.index("language", shares)]
        values = {
            "source": source_, "target": target, "text": source_,
            "from": options.templates.said(language, options.languages[order[0]]),
            "to": options.templates.said(language, options.languages[order[1]]),
        }  # fmt: skip
        drawn = {"from": options.languages[order[0]], "to": options.languages[order[1]], "said_in": language}
        messages = None
        if options.form == "text":
            text = draw.template("template", pools[f"{language}/text"]).fill(values)
        else:
            drawn["input"] = kind = "separate" if draw.happens("input", options.separate_input.value) else "inline"
            prompt = draw.template("template", pools[f"{language}/{kind}"]).fill(values)
            prompt = f"{prompt}\n\n{source_}" if kind == "separate" else prompt
            messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": target}]
            text = chat_text(messages)
        made = {"text": checked(text, limit), "messages": messages, "parts": as_string(parts), "is_repaired": sides != raw}
        mapped = others(row)
        return mapped | made | {"extra": add_extra(mapped["extra"], "parallel", drawn)}

    return fields


def _side(row: dict[str, Any], names: dict[str, tuple[str, ...]], language: str) -> str:
    """One side without the white space around it."""
    side = clean(string(pick(row, names[language]), language)).strip()
    if not side:
        raise Refused("empty_text", f"{language} is empty")
    return side
