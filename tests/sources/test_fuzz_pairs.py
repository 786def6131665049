"""Any JSON in any field: the lanes of pairs make a document or refuse, with a cause that is known, and the same twice."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.sources.fields import COLUMNS
from curate.sources.lanes import lane_of
from curate.sources.records import CAUSES, Refused
from tests.sources.making import recipe

BLOCKS: dict[str, dict[str, Any]] = {
    "text": {"type": "parallel", "parallel": {"languages": ["en", "et"], "reverse": "50 %"}, "fields": {"score": "score"}},
    "translation": {"type": "parallel", "parallel": {"languages": ["en", "et"], "form": "translation"}},
    "pairs": {"type": "preference", "preference": {}}, "compared": {"type": "preference", "preference": {"of": "compared"}},
    "corrections": {"type": "preference", "language": "et", "preference": {"of": "corrections"}},
    "answers": {"type": "preference", "preference": {"of": "answers", "pair": "drawn"}},
    "ordered": {"type": "preference", "preference": {"of": "answers", "order": ["a", "b"]}},
    "passages": {"type": "instruction_text", "language": "et", "render": "qa_after_text"},
}  # fmt: skip
NAMES = (
    "en", "et", "score", "translation", "prompt", "chosen", "rejected", "chosen_score", "rejected_score", "margin", "system", "context",
    "response1", "response2", "overall_preference", "original", "corrections", "answers", "scores", "text", "qa", "question", "answer",
    "id", "url",
)  # fmt: skip
TEXTS = st.sampled_from(["", " ", "Tere!", "Hello.", "Human: a\n\nAssistant: b", "[]", '[{"question": "a", "answer": "b"}]', "{x}", "\0", "\ud800",
                         "5", "nan", "P\u00c3\u00a4rnu"]) | st.text(max_size=8)  # fmt: skip
KEYS = st.sampled_from(["role", "content", "question", "answer", "text", "response", "score", "a", "b", "en", "et", "tool_calls"])
ROLES = st.sampled_from(["user", "assistant", "system", "tool"])
TURN = st.fixed_dictionaries({"role": ROLES, "content": TEXTS})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | TEXTS | st.lists(TURN, max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def lanes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lanes")
    loaded = recipe(folder, {name: {"read": "x", **block} for name, block in BLOCKS.items()})
    return {name: lane_of(source, 500) for name, source in loaded.sources.items()}


def outcome(make: Any, row: dict[str, Any]) -> Any:
    try:
        return make(row)
    except Refused as refused:
        assert refused.cause in CAUSES, refused
        return refused.cause


@pytest.mark.parametrize("name", BLOCKS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8))
def test_a_document_or_a_known_cause(name, lanes, row):
    made = outcome(lanes[name], row)
    assert outcome(lanes[name], row) == made
    if isinstance(made, dict):
        assert set(made) <= {*COLUMNS, "is_repaired"} and made["text"].strip()
        for column in COLUMNS:
            if column != "messages":
                assert made[column] is None or made[column].encode() is not None
        json.loads(made["parts"] or "{}")


@pytest.mark.parametrize("name", BLOCKS)
def test_what_is_nested_too_deeply_is_refused(name, lanes):
    deep: Any = functools.reduce(lambda inner, _: [inner], range(100_000), "x")
    turns = [{"role": "user", "content": "q"}, {"role": "tool", "content": deep}, {"role": "assistant", "content": "a"}]
    for key in NAMES:
        for value in (deep, {"a": deep, "text": deep, "content": deep}, turns):
            outcome(lanes[name], dict.fromkeys(NAMES, "Tere!") | {key: value})
