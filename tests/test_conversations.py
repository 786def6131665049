"""Conversations from their files to tokens and back: prompts as duplicates, tools through the template, stats, a small set chosen, and
prompts sent elsewhere with answers that come back."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curate import recount
from curate.documents import ingest
from curate.errors import CurateError
from curate.inspect import conversations, exchange, select
from curate.inspect.corpus import differences, open_corpus, rows
from curate.inspect.stats import render, stats
from curate.membership import membership
from curate.recipe import load_recipe
from curate.relate.prompts import prompt_of
from curate.store import Store
from mixture.export.documents import messages_type
from mixture.export.texts import export_texts
from mixture.verify import verify
from tests.made import build, text, write_recipe, write_source

TOOL = {"type": "function", "function": {"name": "ilm", "parameters": {"type": "object", "properties": {}}}}
TEMPLATE = """\
{%- if tools %}TOOLS {{ tools | tojson }}
{% endif %}
{%- for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% for c in m.tool_calls or [] %}CALL {{ c.function.name }} {{ c.function.arguments | tojson }}{% endfor %}<|im_end|>{% endgeneration %}
{% else %}{{ m.content }}<|im_end|>
{% endif %}{% endfor %}"""  # noqa: E501


def chat(user: str, assistant: str, **more) -> dict:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}], **more}


def rows_of(kind: str) -> list[dict]:
    """Two sources: `a` of 40 prompts and answers, the last ten asking what the first ten ask; `b` with tools, a refusal and a fault."""
    if kind == "a":
        return [chat(f"Küsimus {i % 30}: {text(12, i % 30)}?", text(30, f"a{i}"), id=str(i)) for i in range(40)]
    called = [
        {"role": "user", "content": "Mis ilm on? " + text(10, "ilm")},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "function": {"name": "ilm", "arguments": '{"koht": "Tartu"}'}}]},
        {"role": "tool", "tool_call_id": "1", "content": "5 kraadi"}, {"role": "assistant", "content": text(20, "soe")},
    ]  # fmt: skip
    broken = [{"role": "assistant", "content": text(20, "x")}, {"role": "user", "content": text(20, "y")}]
    asked_in_a = chat(f"KÜSIMUS 3:  {text(12, 3)}?", text(25, "teine"), id="again")
    return [
        {"messages": called, "tools": [TOOL], "id": "called"}, {"messages": broken, "id": "broken"}, asked_in_a,
        chat(text(15, "z"), "Vabandust, aga ma ei saa sellega aidata.", id="refusal"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chats")
    for name in ("a", "b"):
        write_source(folder, name, rows_of(name))
    block = {"type": "conversation", "license": {"declared": "CC0-1.0"}, "language": "et"}
    path = write_recipe(
        folder,
        sources={
            "a": {"read": "a.jsonl", **block},
            "b": {"read": "b.jsonl", **block, "conversation": {"provenance": {"generator": "m1", "seed": 3}}},
        },
        rules=[{"signal": "n_turn_problems", "max": 0}],
        dedup={"exact": ["normalised", "prompt"], "near": None, "priority": ["source", "n_answer_words"]},
        mixture={
            "total": "1M tokens", "sequence_length": 512, "on_shortage": "shrink_total",
            "components": {"all": {"from": ["a", "b"], "role": "instruction", "budget": "1M tokens"}},
        },
    )  # fmt: skip
    (folder / "tok" / "chat_template.jinja").write_text(TEMPLATE)
    return build(path)


def decisions(of) -> dict[str, dict]:
    with open_corpus(of.build) as corpus:
        found = rows(corpus, "SELECT o.source_id, d.* FROM decisions d JOIN documents o ON o.id = d.id AND o.source = d.source")
    return {row["source_id"]: row for row in found}


def test_prompts_are_one_more_way_to_be_equal(made):
    found = decisions(made)
    assert {name: row["reason"] for name, row in found.items() if not row["keep"] and name.isdigit()}.keys() <= set(
        map(str, range(40))
    )
    groups = [{str(i), str(i + 30)} for i in range(10)]
    for group in groups:
        dropped = {name for name in group if not found[name]["keep"]}
        (kept,) = group - dropped
        assert {found[name]["reason"] for name in dropped} == {"prompt_duplicate"}
        assert {found[name]["witness_id"] for name in dropped} == {found[kept]["id"]}
    again = found["again"]
    assert (again["reason"], again["witness_source"]) == (
        "prompt_duplicate",
        "a",
    )  # in capitals, and of a source that comes later
    assert found["broken"]["reason"] == "max_n_turn_problems"
    assert sum(row["keep"] for row in found.values()) == 30 + 2


def test_the_build_verifies(made):
    report = verify(
        made.build, made.build.parent, store=made.store.root, recount=recount.recount, derived=differences, membership=membership,
        similarity=recount.similarity,
    )  # fmt: skip
    assert report.findings == []
    assert report.checked["similar_pairs_compared_again"] == 11  # those of one prompt


def test_who_wrote_the_rows_is_in_the_manifest(made):
    with open_corpus(made.build) as corpus:
        (of_b,) = rows(corpus, "SELECT sum(n_tokens)::BIGINT AS n FROM selection WHERE source = 'b' AND split = 'train'")
    (component,) = made.manifest["components"]
    total = sum(component["licences"].values())
    assert component["generators"] == {"none": total - of_b["n"], "m1": of_b["n"]} and of_b["n"] > 0
    assert component["provenance"] == [{"generator": "m1", "seed": "3", "tokens": of_b["n"]}]


def test_tools_and_calls_are_in_the_tokens(made):
    from curate.inspect.step import step
    from mixture import steps

    path = made.build / "manifest.json"
    read = steps.reader(path, made.recipe)
    texts = "\n".join(
        json.dumps(step(made.build, range(i, i + 1), None, read, 0), ensure_ascii=False, default=str) for i in range(8)
    )
    assert "TOOLS [{" in texts and 'CALL ilm {\\"koht\\": \\"Tartu\\"}' in texts.replace("\\\\", "\\")


def test_an_export_of_texts_has_the_calls_and_the_tools(made, tmp_path):
    export_texts(made.build, tmp_path / "texts", made.recipe, made.store.root)
    found = pq.read_table(tmp_path / "texts" / "data" / "all")
    keys = [field.name for field in found.schema.field("messages").type.value_type]
    assert keys == ["role", "content", "tool_calls", "tool_call_id"]  # nobody reasons, nobody has a name
    of_tools = [row for row in found.to_pylist() if row["tools"] is not None]
    assert len(of_tools) == 1 and json.loads(of_tools[0]["tools"]) == [TOOL]
    asked, calls, result, _ = of_tools[0]["messages"]
    assert calls == {"role": "assistant", "content": "", "tool_call_id": None, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "ilm", "arguments": '{"koht": "Tartu"}'}}]}  # fmt: skip
    assert (result["tool_call_id"], result["tool_calls"], asked["content"].startswith("Mis ilm on?")) == ("1", None, True)


def test_conversations_without_calls_keep_two_keys():
    assert [field.name for field in messages_type(set()).value_type] == ["role", "content"]


def test_stats_say_what_they_hold(made):
    data = stats(made.build)["conversations"]
    (all_b,) = [row for row in data["sizes"] if (row["source"], row["documents_of"]) == ("b", "all")]
    assert (all_b["documents"], all_b["with_tools"], all_b["with_calls"], all_b["n_turn_problems"], all_b["n_refusal_turns"]) == (
        4,
        1,
        1,
        1,
        1,
    )
    assert "conversations: turns, calls, balance" in render(stats(made.build))
    assert conversations.lines({}) == []


def test_a_small_set(made, tmp_path):
    data = select.select(made.build, select.Ask(10, max_similarity=0.3))
    assert len(data["picks"]) == 10 and data["short"] == {}
    assert data == select.select(made.build, select.Ask(10, max_similarity=0.3))
    hardness = [pick["difficulty"] for pick in data["picks"]]
    assert hardness == sorted(hardness, reverse=True)
    assert all(pick["similarity"] <= 0.3 for pick in data["picks"])
    files = select.write(data, tmp_path / "picks")
    assert [file.name for file in files] == ["picks.jsonl", "picks.txt"]
    assert files[1].read_text().splitlines()[1:] == [pick["id"] for pick in data["picks"]]
    recipe = made.build.parent / "small.yaml"
    recipe.write_text("extends: recipe.yaml\nname: small\nmixture: {components: {all: {where: {id: {file: picks.txt}}}}}\n")
    (made.build.parent / "picks.txt").write_bytes(files[1].read_bytes())
    small = build(recipe, made.build.parent / "small")
    assert small.manifest["components"][0]["documents"] == 10
    with pytest.raises(CurateError, match="no signal 'n_wrods'"):
        select.select(made.build, select.Ask(10, difficulty="n_wrods"))
    assert select.select(made.build, select.Ask(1000, ("et", "en")))["short"].keys() >= {"en"}


def test_the_greedy_by_hand():
    """Three prompts, the second like the first: words 0 and 1 weigh 2, word 2 weighs 1."""
    import numpy as np

    words = [np.array([0, 1]), np.array([0, 1, 2]), np.array([2])]
    found = select.Candidates(
        ["p", "q", "r"], ["s"] * 3, ["et", "et", "en"], [9, 8, 7], [9.0, 8.0, 7.0], words, np.array([2.0, 2.0, 1.0])
    )
    picks, left = select.greedy(found, {"": 3}, select.Ask(3, max_similarity=0.7))
    assert [(p["id"], p["nearest"], p["similarity"]) for p in picks] == [("p", None, 0.0), ("r", None, 0.0)]
    assert left == {"other_language": 0, "language_full": 0, "too_similar": 1}  # 4 of 5
    picks, left = select.greedy(found, {"et": 1, "en": 1}, select.Ask(2, ("et", "en"), max_similarity=1))
    assert [p["id"] for p in picks] == ["p", "r"] and left["language_full"] == 1
    assert select.quotas(5, ("et", "en")) == {"et": 3, "en": 2}


def sent(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_answers_come_back(made, tmp_path):
    told = exchange.export_prompts(made.build, tmp_path / "p.jsonl", "answer")
    prompts = sent(tmp_path / "p.jsonl")
    assert told["rows"] == len(prompts) == 32
    assert all(row["messages"][-1]["role"] in ("user", "tool") for row in prompts)
    assert [row["tools"] for row in prompts if "tools" in row] == [json.dumps([TOOL], sort_keys=True, separators=(",", ":"))]
    answers = [{"id": prompts[0]["id"], "answer": "Jah", "seed": 5, "verdict": "keep"}, {"id": prompts[0]["id"], "answer": "Ei"},
               {"id": "nobody", "answer": "?"}, {"id": prompts[1]["id"], "texts": 3}]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    data = exchange.import_answers(
        tmp_path / "p.jsonl", tmp_path / "a.jsonl", tmp_path / "o.jsonl", exchange.Told("m-1", "1", "2026-11-29")
    )
    assert (data["rows"], data["unanswered"], len(data["problems"])) == (2, 31, 2)
    first, second = sent(tmp_path / "o.jsonl")
    assert [first["messages"][-1]["content"], second["messages"][-1]["content"]] == ["Jah", "Ei"]
    assert (first["verdict"], first["provenance"]) == ("keep", {"generator": "m-1", "seed": 5, "date": "2026-11-29"})
    assert [row["id"][-2:] for row in (first, second)] == ["/1", "/2"]


def test_translations_keep_what_is_protected(tmp_path):
    """A translator that turns words round, keeps one prompt's placeholders, loses one of the second's and doubles one of the third's."""
    asked = ["Trüki `x = 5` 12 korda", "Palun helista Mari Maasikale kell 12.30", "Vaata lehte https://a.ee/1 ja {nimi}"]
    write_source(tmp_path, "a", [chat(text, "Olgu 7") for text in asked])
    block = {"read": "a.jsonl", "type": "conversation", "license": {"declared": "CC0-1.0"}, "language": "et"}
    mixture = {"total": "1M tokens", "sequence_length": 512, "on_shortage": "shrink_total",
               "components": {"all": {"from": ["a"], "role": "instruction", "budget": "1M tokens"}}}  # fmt: skip
    made = build(write_recipe(tmp_path, sources={"a": block}, mixture=mixture))
    exchange.export_prompts(made.build, tmp_path / "p.jsonl", "translate", to="en")
    prompts = sent(tmp_path / "p.jsonl")
    assert all(
        not any(c in one["content"] for c in ("`", "12", "Mari", "https", "{")) for row in prompts for one in row["messages"][:1]
    )
    answers = []
    for row in prompts:
        texts = [" ".join(reversed(one["content"].split(" "))) for one in row["messages"]]
        kept = list(row["protected"][0])
        original = "".join(row["protected"][0].values())
        if "Mari" in original:
            texts[0] = texts[0].replace(kept[0], "Mary Berry")
        elif "https" in original:
            texts[0] += kept[0]
        answers.append({"id": row["id"], "texts": texts})
    (tmp_path / "a_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    data = exchange.import_answers(
        tmp_path / "p.jsonl", tmp_path / "a_out.jsonl", tmp_path / "en.jsonl", exchange.Told("mt", license="MIT")
    )
    assert (data["rows"], data["damaged"]) == (3, 2)
    mixture["components"] = {"all": {"from": ["en"], "role": "instruction", "budget": "1M tokens"}}
    path = write_recipe(tmp_path, sources={"en": {**block, "read": "en.jsonl", "language": "en"}}, mixture=mixture)
    recipe = load_recipe(path)
    stage = ingest(Store(tmp_path / "again"), recipe, 1)["en"]
    (one,) = pq.read_table(stage.shard_path("00000") / "documents.parquet").to_pylist()
    assert json.loads(one["messages"])[0]["content"] == "korda 12 5` = `x Trüki".replace("5` = `x", "`x = 5`")
    assert json.loads(one["extra"])["provenance"] == {"generator": "mt", "license": "MIT"}
    lost = pq.read_table(stage.shard_path("quarantine") / "quarantine.parquet").to_pylist()
    assert [row["cause"] for row in lost] == ["damaged_placeholder"] * 2


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([("user", "a"), ("assistant", "b"), ("user", "c")], "user\na\n"),
        ([("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")], "user\na\nassistant\nb\nuser\nc\n"),
        ([("system", "s"), ("user", "a"), ("assistant", "b")], "system\ns\nuser\na\n"),
        ([("user", "a")], ""),  # nobody answers
        ([("assistant", "b"), ("user", "a")], ""),
        ([("user", " "), ("assistant", "b")], ""),
    ],
)
def test_what_a_prompt_is(messages, prompt):
    as_json = json.dumps([{"role": role, "content": content} for role, content in messages])
    assert prompt_of(as_json, None) == prompt
    assert prompt_of(as_json, '{"tools":"[1]"}') == (prompt + "[1]" if prompt else "")
