"""A file's name and its first rows in, a guess out whether they are items of an evaluation set; for propose.py.

Whoever trains on a benchmark can no longer measure by it, so such files are proposed as targets of `decontaminate`, never as sources.
Imports errors; relate.contamination's fields, for what the parts of an item are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.errors import CurateError

FOLDERS = frozenset({"eval", "evals", "evaluation", "evaluations", "benchmark", "benchmarks"})
# Benchmarks that are known by their name (of a file or of a folder over it); their training splits are training data.
NAMES = tuple(
    """agieval arc_challenge arc_easy bbh belebele boolq ceval cmmlu commonsenseqa copa estqa flores gpqa gsm8k hellaswag humaneval ifeval
    lambada mbpp mgsm mmlu openbookqa paws_x piqa siqa squad storycloze superglue sib200 triviaqa truthfulqa winogrande xcopa xnli xquad
    xstorycloze xwinograd""".split()  # noqa: SIM905
)
TRAINING = frozenset({"train", "training"})
_TOKENS = re.compile(r"[a-z0-9]+")


def reason(path: Path, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Why a file looks like evaluation data; None where it does not."""
    folders = [part.lower() for part in path.parts[:-1]]
    if folder := next((part for part in folders[-3:] if part in FOLDERS), None):
        return f"it lies in a folder called {folder}"
    words = _TOKENS.findall(path.name.lower())
    if TRAINING & set(words):
        return None
    for part in ("_".join(words), "_".join(_TOKENS.findall(path.parent.name.lower()))):
        if name := next((one for one in NAMES if re.search(rf"(?:\A|_){one}(?:_|\Z)", part)), None):
            return f"its name says {name}"
    if rows and all({"canonical_solution", "test"} <= set(row) for row in rows[:100]):
        return "its rows have the fields of HumanEval"
    return None


def hint(path: Path) -> str | None:
    """A note for files whose names say test or dev, no benchmark's."""
    said = next((word for word in _TOKENS.findall(path.name.lower()) if word in ("test", "dev", "valid", "validation")), None)
    return (
        said and f"its name says {said}: if you mean to measure by it, name it under decontaminate.against and do not train on it"
    )


def parts_of_items(rows: Sequence[Mapping[str, Any]], text: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """(fields to be named in the recipe, part -> field as it will be read). `text`: the field to take where no name is known."""
    from curate.relate.contamination.fields import fields_of

    try:
        known = fields_of(rows, {}, "", "")
    except CurateError:
        if text is None:
            return {}, {}
        return {"question": text}, {"question": text}
    return {}, {part: ", ".join(name for name in names) for part, names in known.items() if part != "id"}
