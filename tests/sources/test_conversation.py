"""Conversations in every common form: what becomes of a row is written out by hand; what cannot be one is quarantined with its cause."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.recipe.lanes.conversation import Conversation
from curate.sources import check_source, list_files
from curate.sources.lanes import lane_of
from curate.sources.propose import propose
from curate.sources.records import CAUSES, Refused
from tests.sources.making import limits, lines, pack, read_all, recipe, source


def said(user: str, assistant: str) -> list[dict]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def lane(row: dict, **given) -> dict:
    return lane_of(source(type="conversation", **given), 10_000)(row)


def cause(row: dict, **given) -> str:
    with pytest.raises(Refused) as refused:
        lane(row, **given)
    assert refused.value.cause in CAUSES
    return refused.value.cause


CALL = {"id": "c1", "type": "function", "function": {"name": "ilm", "arguments": '{"koht": "Tartu", "a": null}'}}
FORMS = {
    "alpaca": ({"instruction": "Tõlgi", "input": "tere", "output": "hello"}, said("Tõlgi\n\ntere", "hello")),
    "alpaca without input": ({"instruction": "Tere", "input": " ", "output": "Tere!"}, said("Tere", "Tere!")),
    "instances": ({"instruction": "Tõlgi", "instances": [{"input": "tere", "output": "hi"}]}, said("Tõlgi\n\ntere", "hi")),
    "t0": ({"prompt": "Kes?", "completion": "Mina<|endoftext|>"}, said("Kes?", "Mina")),
    "history": (
        {"instruction": "b", "output": "B", "history": [["a", "A"]], "system": "s"},
        [{"role": "system", "content": "s"}, *said("a", "A"), *said("b", "B")],
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"},
        [{"role": "system", "content": "s"}, *said("a", "b")],
    ),
    "sharegpt calls": (
        {"conversations": [
            {"from": "human", "value": "Ilm?"}, {"from": "function_call", "value": '{"name": "ilm", "arguments": {"koht": "Tartu"}}'},
            {"from": "observation", "value": "{\"t\": 5}"}, {"from": "gpt", "value": "5"},
        ]},
        [
            {"role": "user", "content": "Ilm?"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"type": "function", "function": {"name": "ilm", "arguments": '{"koht":"Tartu"}'}}]},
            {"role": "tool", "content": "{\"t\": 5}"}, {"role": "assistant", "content": "5"},
        ],
    ),
    "openai": (
        {"messages": [
            {"role": "developer", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "Il"}, {"type": "text", "text": "m?"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": {"t": 5}, "weight": 1}, {"role": "assistant", "content": "5", "name": "m"},
        ]},
        [
            {"role": "system", "content": "s"}, {"role": "user", "content": "Ilm?"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": '{"t":5}', "tool_call_id": "c1"}, {"role": "assistant", "content": "5", "name": "m"},
        ],
    ),
    "openai, older": (
        {"messages": [
            {"role": "user", "content": "?"}, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{x"}},
            {"role": "function", "name": "f", "content": "1"}, {"role": "assistant", "content": "!"},
        ]},
        [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{x"}}]},
            {"role": "tool", "content": "1", "name": "f"}, {"role": "assistant", "content": "!"},
        ],
    ),
    "reasoning": (
        {"messages": [
            {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "reasoning_content": "Kaks ja kaks on neli.", "content": "4"},
            {"role": "user", "content": "3?"}, {"role": "assistant", "thinking": "On.", "content": "3"},
            {"role": "user", "content": "ja?"}, {"role": "assistant", "reasoning": "c", "reasoning_content": None, "content": "d"},
        ]},
        [
            {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4", "reasoning_content": "Kaks ja kaks on neli."},
            {"role": "user", "content": "3?"}, {"role": "assistant", "content": "3", "reasoning_content": "On."},
            {"role": "user", "content": "ja?"}, {"role": "assistant", "content": "d", "reasoning_content": "c"},
        ],
    ),
    "json text": ({"messages": json.dumps(said("a", "b"))}, said("a", "b")),
    "transcript": (
        {"messages": "\n\nHuman: a\n\nb\n\nAssistant: c \n\nHuman: d: Human: e\n\nAssistant:"},
        [*said("a\n\nb", "c"), *said("d: Human: e", "")],
    ),
}  # fmt: skip


TEXTS = {  # of those that call tools, or reason: by hand
    "sharegpt calls": 'Ilm?\n\nilm {"koht":"Tartu"}\n\n{"t": 5}\n\n5',
    "openai": 's\n\nIlm?\n\nilm {"koht": "Tartu", "a": null}\n\n{"t":5}\n\n5',
    "openai, older": "?\n\nf {x\n\n1\n\n!",
    "reasoning": "2 + 2?\n\nKaks ja kaks on neli.\n\n4\n\n3?\n\nOn.\n\n3\n\nja?\n\nc\n\nd",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    row, messages = FORMS[form]
    found = lane(row)
    assert found["messages"] == messages
    assert found["text"] == TEXTS.get(form, "\n\n".join(one["content"] for one in messages if one["content"]))
    assert found["extra"] is None


@pytest.mark.parametrize(
    "form", sorted(set(FORMS) - {"openai"})
)  # its contents are texts, lists and objects: no column of one type
def test_json_and_parquet_give_the_same(tmp_path, form):
    row, _ = FORMS[form]
    pack(tmp_path / "a.jsonl", lines(row))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    of = source(type="conversation")
    found = [read_all(tmp_path / name, of)[0][0].fields for name in ("a.jsonl", "a.parquet")]
    assert found[0] == found[1]


TOOL = {
    "type": "function",
    "function": {"name": "ilm", "parameters": {"type": "object", "properties": {"koht": {"type": "string"}}}},
}


@pytest.mark.parametrize(
    ("tools", "kept"),
    [
        ([TOOL], json.dumps([TOOL], sort_keys=True, separators=(",", ":"))),
        ([TOOL["function"]], json.dumps([TOOL], sort_keys=True, separators=(",", ":"))),
        (json.dumps([TOOL], indent=1), json.dumps([TOOL], indent=1)),  # text stays as it is
        ("", None), ([], None), (None, None), (["hammer", "saw"], None),
    ],
)  # fmt: skip
def test_tools(tools, kept):
    parts = lane({"messages": said("a", "b"), "tools": tools})["parts"]
    assert (parts and json.loads(parts)["tools"]) == kept


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"x": 1}, "missing_text"),
        ({"messages": [{"role": "user"}]}, "missing_text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "missing_text"),
        ({"messages": "no list"}, "text_not_string"),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "text_not_string"),
        ({"messages": [{"role": "user", "content": " "}]}, "empty_text"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "broken_tools",
        ),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "no json"}]}, "broken_tools"),
        ({"instruction": "a", "instances": []}, "missing_text"),
        ({"instruction": "a", "output": 5}, "text_not_string"),
        ({"instruction": "a", "output": "b", "history": [["a"]]}, "text_not_string"),
        ({"messages": said("a", "b\ud800")}, "lone_surrogate"),
    ],
)
def test_what_is_no_conversation(row, found):
    assert cause(row) == found


def test_parts_that_are_reasoning():
    parts = [{"type": "thinking", "thinking": "Vist jah."}, {"type": "text", "text": "Jah"}]
    found = lane({"messages": [{"role": "user", "content": "Kas?"}, {"role": "assistant", "content": parts}]})
    assert found["messages"][1] == {"role": "assistant", "content": "Jah", "reasoning_content": "Vist jah."}


def test_a_task_of_several_instances_is_as_many_documents(tmp_path):
    one = {"input": "tere", "output": "hi"}
    pack(tmp_path / "a.jsonl", lines(
        {"id": "t1", "instruction": "T\u00f5lgi", "instances": [one, {"input": "", "output": "x"}, {"input": "head aega"}]},
        {"id": "t2", "instruction": "T\u00f5lgi", "instances": [one]}, {"instruction": "T\u00f5lgi", "instances": []},
    ))  # fmt: skip
    found, bad = read_all(tmp_path / "a.jsonl", source(type="conversation"))
    assert [(r.fields["source_id"], r.fields["messages"]) for r in found] == [
        ("t1/1", said("T\u00f5lgi\n\ntere", "hi")), ("t1/2", said("T\u00f5lgi", "x")), ("t2", said("T\u00f5lgi\n\ntere", "hi")),
    ]  # fmt: skip
    assert [one.cause for one in bad] == ["missing_text", "missing_text"]  # without an output, and without an instance
    assert bad[0].lost_bytes == (tmp_path / "a.jsonl").read_bytes().index(b"\n") // 3
    mapped = source(type="conversation", fields={"instances": "x.list", "prompt": "q", "source_id": "x.key"})
    pack(tmp_path / "b.jsonl", lines({"q": "a", "x": {"key": 7, "list": [{"output": "b"}, {"output": "c"}]}}))
    found, bad = read_all(tmp_path / "b.jsonl", mapped)
    assert not bad and [(r.fields["source_id"], r.fields["text"]) for r in found] == [("7/1", "a\n\nb"), ("7/2", "a\n\nc")]


def test_mapped_fields_and_nothing_else():
    row = {"q": "a", "a": "b", "messages": said("c", "d"), "input": "e", "meta": {"task": "t"}}
    found = lane(row, fields={"prompt": "q", "completion": "a", "task": "meta.task", "extra": "meta"})
    assert found["messages"] == said("a", "b")
    assert json.loads(found["extra"]) == {"task": "t", "conversation": {"task": "t"}}
    assert cause({"tools": ["x"], "messages": said("a", "b")}, fields={"tools": "tools"}) == "broken_tools"


def test_provenance_of_the_source_and_of_the_row():
    row = {"messages": said("a", "b"), "gen": "m2", "seed": 7, "verdict": "keep"}
    given = {
        "fields": {"provenance.generator": "gen"},
        "conversation": {"provenance": {"generator": "m1", "date": "2026-01", "seed": 3}},
    }
    extra = json.loads(lane(row, **given)["extra"])
    assert extra == {"provenance": {"generator": "m2", "date": "2026-01", "seed": "3", "verdict": "keep"}}


POOLS = {
    "pools": {
        "et/with_input": [{"weight": 3, "text": "A {instruction} | {input}"}, "B {input} {instruction}"],
        "et/without_input": ["C {instruction}"],
    }
}


def test_templates_are_drawn_by_the_record():
    given = {"language": "et", "conversation": {"templates": POOLS}}
    rows = [{"instruction": f"i{n} {{input}}", "input": f"x{n}", "output": "o"} for n in range(400)]
    found = [lane(row, **given) for row in rows]
    assert found == [lane(row, **given) for row in rows]
    used = [json.loads(one["extra"])["conversation"]["template"] for one in found]
    assert 270 < used.count("et/with_input/1") < 330  # 300 of 400: 3 to 1
    assert {one["messages"][0]["content"] for one, name in zip(found, used, strict=True) if name.endswith("/2")} == {
        f"B x{n} i{n} {{input}}" for n in range(400) if used[n].endswith("/2")
    }
    assert used != [json.loads(lane(row, language="et", conversation={"templates": POOLS, "seed": 1})["extra"])["conversation"]["template"]
                    for row in rows]  # fmt: skip
    assert lane({"instruction": "i", "output": "o"}, **given)["messages"] == said("C i", "o")
    assert lane({"messages": said("a", "b")}, **given)["extra"] is None  # nothing to put into a template


def test_languages_without_templates():
    given = {"conversation": {"templates": POOLS}}
    assert cause({"instruction": "i", "output": "o"}, **given) == "no_templates"
    row = {"instruction": "i", "output": "o", "lang": "et"}
    assert lane(row, fields={"language": "lang"}, **given)["messages"] == said("C i", "o")
    with pytest.raises(CurateError, match="no templates in 'en'"):
        lane(row, language="en", **given)


@pytest.mark.parametrize(
    ("pools", "what"),
    [
        ({"et/with_input": ["{instruction}"], "et/without_input": ["{instruction}"]}, r"lacks \{input\}"),
        ({"et/with_input": ["{instruction} {input}"]}, "no pool 'et/without_input'"),
        ({"et/with_input": ["{instruction} {input} {x}"], "et/without_input": ["{instruction}"]}, r"has \{x\}"),
    ],
)
def test_templates_that_do_not_fit(pools, what):
    with pytest.raises(ValueError, match=what):
        Conversation.model_validate({"templates": {"pools": pools}})


def test_the_shipped_templates_are_fourteen_of_each_kind(tmp_path):
    block = {"read": "a.jsonl", "type": "conversation", "language": "et", "conversation": {"templates": "conversation"}}
    pack(tmp_path / "a.jsonl", lines({"instruction": "Tere", "input": "maailm", "output": "!"}))
    loaded = recipe(tmp_path, {"s": block})
    options = loaded.sources["s"].conversation
    assert options is not None and options.languages() == ["en", "et"]
    for language in ("et", "en"):
        for form in ("with_input", "without_input"):
            pool = options.pool(language, form)
            assert len(pool) == len({one.text for one in pool}) == 14
            assert sum(one.weight for one in pool) == pytest.approx(1)
    again = tmp_path / "again.yaml"
    again.write_bytes(loaded.canonical_yaml())
    assert yaml.safe_load(again.read_text())["sources"]["s"]["conversation"]["templates"]["pools"].keys() == {
        "et/with_input", "et/without_input", "en/with_input", "en/without_input"}  # fmt: skip


def test_a_wrong_mapping_is_found_before_the_work(tmp_path):
    pack(tmp_path / "a.jsonl", lines({"kysimus": "a", "vastus": "b"}))
    loaded = recipe(tmp_path, {"s": {"read": "a.jsonl", "type": "conversation"}})
    with pytest.raises(CurateError, match="no record of the first file has"):
        check_source(loaded.sources["s"], list_files(loaded, loaded.sources["s"]), limits())
    pack(tmp_path / "a.jsonl", lines({"instruction": "a", "output": "b"}))
    check_source(loaded.sources["s"], list_files(loaded, loaded.sources["s"]), limits())


@pytest.mark.parametrize("form", FORMS)
def test_what_is_proposed_reads_the_rows(tmp_path, form):
    row, messages = FORMS[form]
    pack(tmp_path / "a.jsonl", lines(*[row] * 3))
    block = yaml.safe_load(propose(tmp_path / "a.jsonl").yaml())["sources"]["a"]
    assert block["type"] == "conversation"
    assert lane(row, fields=block.get("fields", {}))["messages"] == messages


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["role", "from", "content", "value", "tool_calls", "function", "name", "arguments", "text", "id"]), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip
KEYS = [
    "messages",
    "conversations",
    "instances",
    "instruction",
    "input",
    "output",
    "system",
    "history",
    "tools",
    "protected",
    "verdict",
]


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=5))
def test_any_row_is_a_conversation_or_refused(row):
    try:
        found = lane(row)
    except Refused as refused:
        assert refused.cause in CAUSES
    else:
        assert all(isinstance(one["role"], str) and isinstance(one["content"], str) for one in found["messages"])
        json.dumps(found["messages"], ensure_ascii=False).encode()
