"""Family conversation: turns out of order, calls and their results, refusals, set phrases and answers cut off, written out by hand."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from curate import langid
from curate.signals import Batch
from curate.signals.conversation import FAMILY, measurer, turns

SPEC = langid.Spec(candidates=langid.candidates_for(["et", "en"]))


def chat(*pairs: tuple[str, str]) -> list[dict]:
    return [{"role": role, "content": content} for role, content in pairs]


def roles(letters: str) -> list[dict]:
    """s, u, a, t, x: a message each; A: an assistant that calls a tool."""
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool", "x": "narrator", "A": "assistant"}
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    return [{"role": names[c], "content": c, **({"tool_calls": [call]} if c == "A" else {})} for c in letters]


def measured(*chats: list[dict], parts: str | None = None, extra: str | None = None) -> list[dict]:
    columns = {
        "messages": [json.dumps(one) for one in chats], "parts": [parts] * len(chats), "extra": [extra] * len(chats),
    }  # fmt: skip
    batch = Batch(pa.array([]), np.zeros(0), np.zeros(1), None, {k: pa.array(v, pa.large_string()) for k, v in columns.items()})
    found = measurer(SPEC, "rules").measure(batch)
    assert list(found) == [column.name for column in FAMILY.columns]
    as_list = {name: of.to_pylist() if isinstance(of, pa.Array) else of.tolist() for name, of in found.items()}
    return [{name: of[i] for name, of in as_list.items()} for i in range(len(chats))]


@pytest.mark.parametrize(
    ("letters", "problems"),
    [
        ("ua", (0, "")), ("sua", (0, "")), ("uaua", (0, "")), ("uAta", (0, "")), ("uAtta", (0, "")), ("uA", (0, "")), ("uAtAta", (0, "")),
        ("", (1, "no_turns")), ("s", (1, "no_turns")), ("au", (2, "starts_with_assistant")), ("u", (1, "ends_with_user")),
        ("uua", (1, "user_after_user")), ("uaa", (1, "assistant_after_assistant")), ("usa", (1, "late_system")), ("uAt", (1, "ends_with_tool")),
        ("uta", (1, "tool_without_call")), ("uat", (2, "tool_without_call")), ("uAtua", (1, "user_after_tool")),
        ("uAa", (1, "assistant_after_assistant")), ("xua", (2, "unknown_role")), ("ux", (2, "unknown_role")), ("ssua", (1, "late_system")),
    ],
)  # fmt: skip
def test_order(letters, problems):
    assert turns.order(roles(letters)) == problems


def call(name: str = "f", arguments: str = "{}", **more) -> dict:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


def calls_of(*messages: dict, tools: object = None) -> dict[str, int]:
    found = turns.calls(list(messages), json.dumps(tools) if tools is not None else None)
    return {name.removeprefix("n_"): n for name, n in found.items() if n}


ASKS, DONE = {"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}


def asks(*made: dict) -> dict:
    return {"role": "assistant", "content": "", "tool_calls": list(made)}


def result(**more) -> dict:
    return {"role": "tool", "content": "1", **more}


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([ASKS, DONE], {}),
        ([ASKS, asks(call()), result(), DONE], {"tool_calls": 1}),
        ([ASKS, asks(call())], {"tool_calls": 1}),  # the call is the answer
        ([ASKS, asks(call(), call()), result(), DONE], {"tool_calls": 2, "unpaired_tool_calls": 1}),
        ([ASKS, asks(call(), call()), result()], {"tool_calls": 2, "unpaired_tool_calls": 1}),
        ([ASKS, asks(call()), DONE], {"tool_calls": 1, "unpaired_tool_calls": 1}),
        ([ASKS, result(), DONE], {"unpaired_tool_calls": 1}),
        ([ASKS, asks(call(id="a"), call(id="b")), result(tool_call_id="b"), result(tool_call_id="a"), DONE], {"tool_calls": 2}),
        ([ASKS, asks(call(id="a")), result(tool_call_id="c"), DONE], {"tool_calls": 1, "unpaired_tool_calls": 2}),
        ([ASKS, asks(call(arguments="{'a': 1}"), call(arguments="[1]")), result(), result(), DONE],
         {"tool_calls": 2, "bad_tool_arguments": 2}),
        ([ASKS, {"role": "assistant", "content": 'Nii. <tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'}, result(), DONE],
         {"written_tool_calls": 1}),
        ([ASKS, {"role": "assistant", "content": "```tool_call\n{name: f}\n```"}], {"written_tool_calls": 1, "bad_tool_arguments": 1}),
    ],
)  # fmt: skip
def test_calls(messages, found):
    assert calls_of(*messages) == found


def test_tools_that_are_declared():
    tools = [{"type": "function", "function": {"name": "f"}}, {"name": "g"}]
    assert calls_of(ASKS, asks(call("f"), call("h")), tools=tools) == {"tools": 2, "tool_calls": 2, "undeclared_tool_calls": 1}
    assert calls_of(ASKS, asks(call("h"))) == {"tool_calls": 1}


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("I’m sorry, but I can’t help with that.", True), ("Sorry, I can't do that.", True), ("Vabandust, aga ma ei saa seda teha.", True),
        ("Kahjuks ei saa ma sellele vastata.", True), ("I can help with that.", False), ("", False), ("Ей не могу помочь", False),
        ("x" * 200 + " i must decline", False), ("y" * 180 + " i must decline", True),
    ],
)  # fmt: skip
def test_refusals(text, is_one):
    assert turns.is_refusal(text) == is_one


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("As an AI language model, I have no feelings.", True), ("Keelemudelina mul tundeid ei ole.", True), ("Ta on keelemudel.", False),
        ("See on nii. Kui sul on veel küsimusi, küsi julgelt!", True), ("I hope this helps! " + "x" * 200, False), ("", False),
        ("2 + 2 = 4. Let me know if you have other questions.", True),
    ],
)  # fmt: skip
def test_boilerplate(text, is_one):
    assert turns.is_boilerplate(text) == is_one


SENTENCE = "Esimene lause sai otsa. "


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (SENTENCE + "See on aga pikem lause, mis jääb kahjuks pooleli, sest", True),
        (SENTENCE + "See on aga pikem lause, mis saab ka otsa.", False),
        ("See on vaid üks pikk rida, mille lõpus pole punkti", False),  # as titles and short answers are
        (SENTENCE + "\nVaid kuus sõna on siin reas", False),
        (SENTENCE + "Jüri Juhan Mart Mari Kati Peeter Paul Anna", False),
        (SENTENCE + "õun, pirn, ploom, kirss, mari, porgand, kaalikas, kapsas", False),
        (SENTENCE + "kood on selline: return [x for x in y] siin ja seal", True),
        (SENTENCE + "kood on selline: f(x) = siin ja seal ja mujalgi veel", False),
        ("```python\nx = 1", True), ("```\nx\n```", False), ("", False),
    ],
)  # fmt: skip
def test_answers_cut_off(text, is_one):
    assert turns.is_cut_off(text) == is_one


ET = "See on üsna pikk eestikeelne lause, milles on küllalt sõnu, et keel oleks kindlalt ära tuntav ka lühikese akna põhjal."
EN = "This is a rather long sentence in English, with enough words in it that its language can be told from one short window."


def test_languages_words_and_what_the_lane_said():
    extra = json.dumps({"conversation": {"template": "et/with_input/3"}, "provenance": {"generator": "m", "verdict": "keep"}})
    same, other, short = measured(
        chat(("system", "Ole hea"), ("user", ET), ("assistant", ET)), chat(("user", ET), ("assistant", EN), ("user", ET), ("assistant", ET)),
        chat(("user", ET), ("assistant", "Yes, of course")), extra=extra,
    )  # fmt: skip
    assert (same["user_language"], same["assistant_language"], same["is_same_language"]) == ("et", "et", 1)
    assert (same["n_system_words"], same["n_turns"], same["n_system_turns"]) == (2, 2, 1)
    assert same["n_prompt_words"] == same["n_answer_words"] == 23
    assert (other["n_language_turns"], other["n_foreign_turns"]) == (4, 1)
    assert short["is_same_language"] == 1  # too short to say
    assert (same["template"], same["task"], same["generator"], same["verdict"]) == ("et/with_input/3", None, "m", "keep")


def test_nothing_and_other_scripts():
    none, empty, thai = measured([], chat(("user", " "), ("assistant", "")), chat(("user", "สวัสดี"), ("assistant", "好")))
    assert (none["n_turn_problems"], none["n_turns"]) == (1, 0)
    assert (empty["n_empty_turns"], empty["n_turn_problems"], empty["is_same_language"]) == (2, 0, 1)
    assert (thai["n_empty_turns"], thai["n_turns"], thai["n_truncated_turns"]) == (0, 2, 0)
    assert measured() == []


def test_reasoning_and_arguments_are_counted():
    call = {"type": "function", "function": {"name": "ilm", "arguments": '{"koht": "Tartu"}'}}
    (one,) = measured([
        {"role": "user", "content": "Ilm?"}, {"role": "assistant", "content": "", "reasoning_content": "Vaatan ilma"},
        {"role": "assistant", "content": "", "reasoning_content": "Nüüd", "tool_calls": [call]}, {"role": "tool", "content": "5"},
        {"role": "assistant", "content": ""},
    ])  # fmt: skip
    assert (one["n_reasoning_turns"], one["n_reasoning_words"], one["n_empty_turns"]) == (2, 3, 1)
    assert one["n_argument_words"] == len(["{", '"', "koht", '"', ":", '"', "Tartu", '"', "}"]) and one["n_answer_words"] == 0
