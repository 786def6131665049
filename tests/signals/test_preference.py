"""Family preference, by hand."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from curate import langid
from curate.signals import Batch, preference

SPEC = langid.Spec(candidates=("de", "en", "et"))


def measured(*rows: tuple[list[str], str, str], parts: list[dict] | None = None) -> list[dict]:
    """rows: (contents of the prompt, chosen, rejected)."""
    prompts = [json.dumps([{"role": "user", "content": content} for content in prompt]) for prompt, _, _ in rows]
    columns = {"prompt": prompts, "chosen": [row[1] for row in rows], "rejected": [row[2] for row in rows]}
    columns["parts"] = [json.dumps(part) if part else None for part in parts or [{}] * len(rows)]
    given = {name: pa.array(values, pa.large_string()) for name, values in columns.items()}
    empty = np.zeros(1, np.uint8), np.zeros(len(rows) + 1, np.int64)
    found = preference.measurer(SPEC, "rules").measure(Batch(given["prompt"], *empty, None, given))
    assert set(found) == {column.name for column in preference.FAMILY.columns}
    types = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}
    made = {c.name: pa.array(found[c.name], types[c.type]).to_pylist() for c in preference.FAMILY.columns}
    return [{name: values[i] for name, values in made.items()} for i in range(len(rows))]


def test_by_hand():
    row = (["Mis päev täna on?", "Kolmapäev."], "Täna on reede, reede on täna.", "Reede.")
    (one,) = measured(row, parts=[{"margin": 1.23456}])
    assert one["preference_margin"] == pytest.approx(1.2346)
    assert {name: one[name] for name in one if name.startswith("n_") or name == "is_chosen_longer"} == {
        "n_prompt_turns": 2, "n_prompt_chars": 29, "n_chosen_chars": 29, "n_rejected_chars": 6, "n_longer_answer_chars": 29,
        "n_shorter_answer_chars": 6, "is_chosen_longer": 1,
        "n_chosen_words": 8, "n_rejected_words": 2,  # Täna on reede , reede on täna . | Reede .
        "n_shared_answer_words": 2, "n_joint_answer_words": 8,
        "n_chosen_prompt_words": 3,  # täna, on, .: each once, as the prompt has them
        "n_rejected_prompt_words": 1, "n_answers_in_other_language": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((["Ma  lähen KOOLIS."], "Ma lähen kooli.", "ma lähen koolis."), {"is_rejected_in_prompt": 1, "is_chosen_in_prompt": 0}),
        ((["Ütle: jah"], "Jah", "Ei"), {"is_chosen_in_prompt": 1, "is_rejected_in_prompt": 0}),
        ((["üks kaks"], "kaks", "aks"), {"is_chosen_in_prompt": 1, "is_rejected_in_prompt": 0}),  # whole words
        ((["a b"], "x a b y", "a b"), {"is_last_turn_in_chosen": 1, "is_rejected_in_chosen": 1, "is_chosen_in_rejected": 0}),
        ((["q"], "jah", "jah ja veel"), {"is_chosen_in_rejected": 1, "is_chosen_longer": 0}),
        ((["q"], "sama", "teha"), {"is_chosen_longer": 0, "n_shared_answer_words": 0, "n_joint_answer_words": 2}),
        (
            (["q"], "...", "😀"),
            {"n_chosen_chars": 3, "n_rejected_chars": 1, "chosen_language": "und", "n_answers_in_other_language": 0},
        ),
    ],
)
def test_what_stands_in_what(row, expected):
    (one,) = measured(row)
    assert {name: one[name] for name in expected} == expected


def test_languages_and_missing_margins():
    estonian, german = (
        "See on üsna tavaline eestikeelne lause ilmast.",
        "Das ist ein gewöhnlicher deutscher Satz über das Wetter.",
    )
    one, two = measured(
        ([estonian], estonian + " Jah.", german), ([german], estonian, estonian + " Jah."), parts=[{"margin": 0}, {}]
    )
    assert [(r["prompt_language"], r["chosen_language"], r["rejected_language"]) for r in (one, two)] == [
        ("et", "et", "de"), ("de", "et", "et")]  # fmt: skip
    assert [(r["n_answers_in_other_language"], r["preference_margin"]) for r in (one, two)] == [(1, 0.0), (2, None)]


def test_rows_do_not_touch_each_other():
    rows = [([f"p{i} ühine"], f"c{i} ühine sõna", f"r{i} ühine") for i in range(50)]
    together = measured(*rows)
    assert together == [one for row in rows for one in measured(row)]
    assert {one["n_shared_answer_words"] for one in together} == {1}
