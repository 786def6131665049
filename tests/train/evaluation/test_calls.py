"""Function calls by hand: forms of models, what tools allow, what was wanted, and when no tool fits."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import CurateError
from train.evaluation import calls

WEATHER = {
    "name": "get_weather",
    "description": "Ilm linnas",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 2},
            "days": {"type": "integer", "minimum": 1, "maximum": 10},
            "unit": {"type": "string", "enum": ["C", "F"]},
            "hours": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
            "exact": {"type": ["boolean", "null"]},
        },
        "required": ["city"],
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
ROW = {"tools": [WEATHER, CLOCK], "calls": [{"name": "get_weather", "arguments": {"city": "Tartu", "days": 3}}]}
NONE = ROW | {"calls": []}
RIGHT = '{"name": "get_weather", "arguments": {"city": "Tartu", "days": 3}}'

FORMS = {
    "tag": f"<tool_call>\n{RIGHT}\n</tool_call>",
    "tag that never closes": f"Vaatan järele. <tool_call>{RIGHT}",
    "TUCAN's fence": f"```tool_call\n{RIGHT}\n```",
    "json fence": f"Kutsun välja:\n```json\n{RIGHT}\n```",
    "bare": RIGHT,
    "list": f"[{RIGHT}]",
    "mistral": f"[TOOL_CALLS] [{RIGHT}]",
    "llama": '{"name": "get_weather", "parameters": {"days": 3, "city": "Tartu"}}',
    "openai": json.dumps(
        {"tool_calls": [{"type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Tartu", "days": 3}'}}]}
    ),
    "python": "get_weather(city='Tartu', days=3)",
    "python list": "[get_weather('Tartu', 3)]",
    "python in a fence": "```python\nget_weather('Tartu', days=3)\n```",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_models(form):
    found = calls.check(ROW, FORMS[form])
    assert found == {"valid": True, "decision": True, "exact": True, "match": True, "n_calls": 1, "errors": []}
    assert calls.check(NONE, FORMS[form])["decision"] is False  # irrelevance: there was nothing to call


@pytest.mark.parametrize(
    "arguments, problem",
    [
        ({"days": 3}, "city is missing"),
        ({"city": 5}, "city is int, not string"),
        ({"city": "Tartu", "days": "3"}, "days is str, not integer"),
        ({"city": "Tartu", "days": True}, "days is bool, not integer"),
        ({"city": "Tartu", "days": 3.5}, "days is float, not integer"),
        ({"city": "Tartu", "days": 11}, "days is 11, maximum 10"),
        ({"city": "Tartu", "unit": "K"}, "unit is none of ['C', 'F']"),
        ({"city": "Tartu", "hours": [1, "2"]}, "hours[1] is str, not integer"),
        ({"city": "Tartu", "hours": [1, 2, 3, 4]}, "hours has items: 4, maxItems 3"),
        ({"city": "T"}, "city has characters: 1, minLength 2"),
        ({"city": "Tartu", "exact": "jah"}, "exact is str, not boolean or null"),
        ({"city": "Tartu", "country": "EE"}, "no argument 'country'"),
    ],
)
def test_arguments_that_the_schema_refuses(arguments, problem):
    found = calls.check(ROW, json.dumps({"name": "get_weather", "arguments": arguments}))
    assert found["errors"] == [f"get_weather: {problem}"]
    assert (found["valid"], found["exact"], found["match"], found["decision"]) == (False, False, False, True)


def test_schemas_inside_schemas():
    schema = {"properties": {"where": {"anyOf": [{"type": "string", "pattern": "^E"}, {"type": "object", "required": ["lat"]}]}}}
    tools = [{"name": "f", "parameters": schema}]
    for value, ok in (("EE", True), ("LV", False), ({"lat": 58}, True), ({}, False), (3, False)):
        assert (
            calls.check({"tools": tools, "calls": [{"name": "f"}]}, json.dumps({"name": "f", "arguments": {"where": value}}))[
                "valid"
            ]
            is ok
        )
    open_ = [{"name": "f", "parameters": {"properties": {}, "additionalProperties": True}}]
    assert calls.check({"tools": open_, "calls": [{"name": "f"}]}, '{"name": "f", "arguments": {"x": 1}}')["valid"]
    whole = [{"name": "f", "parameters": {"properties": {"n": {"type": "integer", "exclusiveMinimum": 0}}}}]
    assert calls.check({"tools": whole, "calls": [{"name": "f"}]}, '{"name": "f", "arguments": {"n": 3.0}}')["valid"]
    assert not calls.check({"tools": whole, "calls": [{"name": "f"}]}, '{"name": "f", "arguments": {"n": 0}}')["valid"]


def test_calls_that_do_not_parse():
    for text in ('<tool_call>{"name": "get_weather", </tool_call>', "```tool_call\nTartu\n```", '{"name": "get_weather", "arguments": {"city": "Ta',
                 '<tool_call>{"arguments": {}}</tool_call>', '<tool_call>{"name": "get_weather", "arguments": [1]}</tool_call>'):  # fmt: skip
        found = calls.check(ROW, text)
        assert not found["valid"] and found["n_calls"] == 0 and len(found["errors"]) == 1, text
        assert found["decision"] and not calls.check(NONE, text)["decision"]
    for invented in ('{"name": "get_rain", "arguments": {}}', "[get_rain()]", "<tool_call>get_rain()</tool_call>"):
        assert calls.check(ROW, invented)["errors"] == ["no tool 'get_rain'"]


def test_no_call():
    for text in ("Kahjuks ei saa ma seda teha.", "", "Ilm on {ilus}.", '```json\n{"temperatuur": 3}\n```', "[1, 2]", "print(3) ei aita",
                 "```python\nprint(3)\n```",
                 '{"name": "Mari", "age": 7}'):  # fmt: skip
        assert calls.check(NONE, text) == {
            "valid": True,
            "decision": True,
            "exact": True,
            "match": True,
            "n_calls": 0,
            "errors": [],
        }, text
        found = calls.check(ROW, text)
        assert (found["valid"], found["decision"], found["exact"]) == (False, False, False)


def test_exact_and_alike():
    loose = '{"name": "get_weather", "arguments": {"city": "tartu ", "days": 3.0}}'
    found = calls.check(ROW, loose)
    assert (found["valid"], found["exact"], found["match"]) == (True, False, True)
    other = '{"name": "get_weather", "arguments": {"city": "Tallinn", "days": 3}}'
    assert calls.check(ROW, other)["match"] is False and calls.check(ROW, other)["valid"] is True
    missing = '{"name": "get_weather", "arguments": {"city": "Tartu"}}'
    assert calls.check(ROW, missing)["match"] is False
    either = ROW | {"accept": [[{"name": "get_weather", "arguments": {"city": "Tartu"}}]]}
    assert calls.check(either, missing)["exact"] is True


def test_several_calls_in_any_order():
    row = ROW | {"calls": [*ROW["calls"], {"name": "get_time", "arguments": {}}], "tools": json.dumps(ROW["tools"])}
    time = '{"name": "get_time", "arguments": {}}'
    assert calls.check(row, f"<tool_call>{time}</tool_call>\n<tool_call>{RIGHT}</tool_call>")["exact"]
    assert calls.check(row, f"{RIGHT}\n{time}")["exact"]
    assert not calls.check(row, RIGHT)["match"] and not calls.check(row, f"[{RIGHT}, {RIGHT}, {time}]")["match"]


def test_tools_without_names():
    with pytest.raises(CurateError, match="a tool without a name"):
        calls.check({"tools": [{"parameters": {}}], "calls": []}, "")


@given(st.text(alphabet='{}[]"\\:,ntamerguslf()=\n `<>_1', max_size=60))
def test_no_answer_breaks_the_check(text):
    for answer in (text, f"<tool_call>{text}</tool_call>", f"```tool_call\n{text}"):
        assert calls.check(ROW, answer)["exact"] is False
