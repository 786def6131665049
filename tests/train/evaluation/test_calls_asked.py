"""Functions of an item reach the model through its chat template, written as in training; each item has its own system message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from curate.sources.turns import tools_of
from train.evaluation import calls, results

WEATHER = {"name": "ilm", "parameters": {"type": "object", "properties": {"koht": {"type": "string"}}, "required": ["koht"]}}
TIME = {"type": "function", "function": {"parameters": {"type": "object", "properties": {}}, "name": "kell", "description": None}}
TURNS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
SHOWS = "{% if tools %}[tools]{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}"
ROWS = [
    {"q": "Mis ilm on?", "tools": [WEATHER], "calls": [{"name": "ilm", "arguments": {"koht": "Tartu"}}], "said": "Üks"},
    {"q": "Mis kell on?", "tools": [TIME], "calls": [], "said": "Kaks"},
    {"q": "Tere!", "tools": [], "calls": [], "said": "Kolm"},
]
ASK = {"name": "calls", "kind": "calls", "chat": True, "template": {"prompt": "{{ q }}"}, "max_new_tokens": 4}


@pytest.fixture
def chatting(stories: Path, tmp_path: Path):
    """The model with a chat template."""

    def with_template(template: str) -> dict[str, str]:
        AutoModelForCausalLM.from_pretrained(stories).save_pretrained(tmp_path / "chat")
        tokenizer = AutoTokenizer.from_pretrained(stories)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path / "chat")
        return {"init": str(tmp_path / "chat")}

    return with_template


def test_the_functions_of_each_item(ask, chatting) -> None:
    code, folder = ask([ASK], {"calls": ROWS}, model=chatting(SHOWS + TURNS))
    place = '{"properties": {"koht": {"type": "string"}}, "required": ["koht"], "type": "object"}'
    ilm = f'{{"function": {{"name": "ilm", "parameters": {place}}}, "type": "function"}}'
    kell = '{"function": {"name": "kell", "parameters": {"properties": {}, "type": "object"}}, "type": "function"}'
    assert code == 0
    assert [item["prompt"] for item in results.read_items(folder)] == [
        f"[tools]{ilm}[user]Mis ilm on?[assistant]", f"[tools]{kell}[user]Mis kell on?[assistant]", "[user]Tere![assistant]",
    ]  # fmt: skip


def test_the_system_message_of_each_item(ask, chatting) -> None:
    """As TUCAN's models have it: the functions are words of the system message, and the template knows nothing of them."""
    system = "{{ said }}: {{ tools | map(attribute='name', default='kell') | join }}"
    task = {**ASK, "template": {"prompt": "{{ q }}", "system": system}}
    code, folder = ask([task], {"calls": ROWS}, model=chatting(TURNS))
    said = [item["prompt"].split("[user]")[0].strip() for item in results.read_items(folder)]
    assert code == 0 and said == ["[system]Üks: ilm", "[system]Kaks: kell", "[system]Kolm:"]


def test_functions_that_nobody_would_see(ask, chatting, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = ask([ASK], {"calls": ROWS}, model=chatting(TURNS))
    assert code == 3 and "the model's chat template does not show functions" in capsys.readouterr().out


@pytest.mark.parametrize("tools", [
    [WEATHER], [TIME], WEATHER, [], None, "", "[]", json.dumps([WEATHER, TIME]), json.dumps(TIME),
    [{"name": "a", "parameters": {"b": [{"c": None}]}}],
])  # fmt: skip
def test_functions_are_written_as_in_training(tools: object) -> None:
    """curate reads the rows of a conversation source so."""
    text = tools_of(tools)
    wanted = json.loads(text) if text else None
    assert json.dumps(calls.shown(tools) or []) == json.dumps([wanted] if isinstance(wanted, dict) else wanted or [])
