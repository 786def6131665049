"""Text that was made or retrieved says so: extra.provenance, of the source and of the row."""

from __future__ import annotations

import json

import pytest

from curate.errors import CurateError
from curate.ingest import settings_of
from curate.sources import check_source
from curate.sources.lanes import lane_of
from tests.sources.making import recipe


def loaded(tmp_path, **block):
    return recipe(tmp_path, {"s": {"read": "x", **block}})


def test_what_the_source_says_and_what_the_row_says(tmp_path):
    block = {
        "provenance": {"kind": "generated", "generator": "m-1", "pillar": "heritage"},
        "fields": {"text": "story", "provenance.persona": "meta.persona", "provenance.generator": "model", "extra": "meta"},
    }
    of = loaded(tmp_path, **block)
    check_source(of.sources["s"], [], of.limits)
    make = lane_of(of.sources["s"], 1000)
    row = {"story": "Elas kord.", "meta": {"persona": "kalur", "n": 2}, "model": "m-2"}
    assert json.loads(make(row)["extra"]) == {
        "persona": "kalur", "n": 2, "provenance": {"kind": "generated", "generator": "m-2", "pillar": "heritage", "persona": "kalur"}}  # fmt: skip
    assert json.loads(make({"story": "Elas kord.", "meta": [1]})["extra"]) == {
        "value": [1], "provenance": {"kind": "generated", "generator": "m-1", "pillar": "heritage"}}  # fmt: skip
    assert settings_of(of, of.sources["s"])["provenance"]["pillar"] == "heritage"


def test_of_every_kind_of_text(tmp_path):
    pairs = {"type": "parallel", "parallel": {"languages": ["en", "et"]}, "provenance": {"kind": "translated", "generator": "m"}}
    made = lane_of(loaded(tmp_path, **pairs).sources["s"], 1000)({"en": "a", "et": "b"})
    assert set(json.loads(made["extra"])) == {"parallel", "provenance"}
    passages = {"type": "instruction_text", "language": "et", "render": "qa_after_text", "fields": {"provenance.query": "q"}}
    made = lane_of(loaded(tmp_path, **passages).sources["s"], 1000)(
        {"text": "t", "question": "k", "answer": "v", "q": "laulupidu"}
    )
    assert json.loads(made["extra"])["provenance"] == {"query": "laulupidu"}


def test_sources_without_it_have_no_such_setting(tmp_path):
    of = loaded(tmp_path)
    assert "provenance" not in settings_of(of, of.sources["s"])
    assert lane_of(of.sources["s"], 1000)({"text": "a", "provenance": {"kind": "x"}})["extra"] is None


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"provenance": {"knd": "x"}}, "no key 'knd'"), ({"provenance": {"kind": "x"}, "type": "conversation"}, "under conversation"),
        ({"fields": {"provenance.knd": "x"}}, "provenance.kind"),
    ],
)  # fmt: skip
def test_unknown_keys_are_mistakes(block, says, tmp_path):
    with pytest.raises(CurateError) as caught:
        of = loaded(tmp_path, **block)
        check_source(of.sources["s"], [], of.limits)
    assert says in str(caught.value)
