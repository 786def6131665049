"""Shipped recipes, run files, suites and gates of function calling and translation: they load, fit each other, and plan to what their sources say."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.recipe import TokenizerSpec, load_recipe
from mixture.plan import report
from mixture.plan_cells import over_cells
from mixture.plan_stats import read_stats
from mixture.probe import probe
from mixture.render import encode_with_mask, load_template
from mixture.tokenizer import load_tokenizer
from tests.bench.skills_made import made, tool
from tests.command import build
from tests.mixture import tiny_tokenizer
from train.config import load_run
from train.evaluation.rules import check_metric, parse_rules, read_rules
from train.evaluation.run import check_suite
from train.evaluation.suite import load_suite

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
NAMES = ("llammas-sft", "llammas-translation", "tucan", "translation")


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESKI_RAW", "/raw")
    monkeypatch.setenv("VESKI_EVAL", "/eval")


def run_of(name: str, tmp_path: Path):
    """The shipped run file, with what it needs there."""
    (tmp_path / "manifest.json").write_text("{}")
    sets = [f"manifest={tmp_path / 'manifest.json'}", f"model.init={tmp_path}", "model.revision=null"]
    return load_run(RECIPES / "train" / f"{name}.yaml", sets)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_and_its_run(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert (recipe.kind, recipe.name) == ("sft", name)
    assert {source.loss for source in recipe.sources.values()} == {"assistant"}
    run = run_of(name, tmp_path)
    assert (run.method, run.name, run.save.to) == ("sft", name, f"runs/{name}")
    assert f"manifest: build/{recipe.name}/manifest.json" in (RECIPES / "train" / f"{name}.yaml").read_text()


def names_of(suite: Path) -> set[str]:
    loaded = load_suite(suite)
    check_suite(loaded, loaded.tasks)
    return {f"{task.name}.{metric}" for task in loaded.tasks if task.data is not None for metric in task.asked}


@pytest.mark.parametrize("name", ["tucan", "translation"])
def test_gates_of_runs_ask_what_their_suite_measures(name: str, tmp_path: Path) -> None:
    evaluate = run_of(name, tmp_path).evaluate
    assert evaluate.suite is not None and evaluate.suite_every is not None
    rules = parse_rules(evaluate.gate)
    assert rules and {rule.name for rule in rules} <= names_of(RECIPES.parent / evaluate.suite)
    for rule in rules:
        check_metric(rule, rule.name.partition(".")[2])


def test_the_gate_file_asks_what_the_suite_measures() -> None:
    rules = read_rules(RECIPES / "eval" / "calls-gate.yaml")
    assert len(rules) == 9 and {rule.name for rule in rules} <= names_of(RECIPES / "eval" / "calls.yaml")
    for rule in rules:
        check_metric(rule, rule.name.partition(".")[2])


def planned(name: str, documents: dict[str, int], tmp_path: Path):
    (tmp_path / "stats.json").write_text(json.dumps({of: {"documents": n, "tokens": 100 * n} for of, n in documents.items()}))
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    data = report(name, recipe.mixture, over_cells(read_stats(tmp_path / "stats.json", recipe)), known="stats", is_exact=False)
    assert data["feasible"], data["problem"]
    return data["phases"][0]["realised"], {c["component"]: c for c in data["components"]}


def test_llammas_takes_everything_three_times(tmp_path: Path) -> None:
    sizes = {
        "alpaca_cleaned": 51_760,
        "alpaca_est": 52_000,
        "oasst1": 5_000,
        "cot": 10_000,
        "flan": 10_000,
        "wmt18": 200,
        "mtee": 1_000,
    }
    total, found = planned("llammas-sft", sizes, tmp_path)
    of = {"alpaca_en": "alpaca_cleaned", "alpaca_et": "alpaca_est"}
    assert {name: c["realised"] for name, c in found.items()} == {name: 3 * sizes[of.get(name, name)] for name in found}
    assert total == 3 * sum(sizes.values())


def test_llammas_million_pairs(tmp_path: Path) -> None:
    total, found = planned(
        "llammas-translation", dict.fromkeys(("ccmatrix", "wikimatrix", "europarl", "opensubtitles"), 10**6), tmp_path
    )
    assert total == 1_000_000 and {c["epochs"] <= 1 for c in found.values()} == {True}
    assert [c["realised"] for c in found.values()] == [500_000, 400_000, 50_000, 50_000]


def test_tucan_has_its_conversations_in_three_kinds_and_as_many_general_ones(tmp_path: Path) -> None:
    """10,035 conversations: 72.57, 16.54 and 10.89 % of them, half in each language. 10,035 / 2 = 5,017.5."""
    leaves = [f"{language}/{kind}" for language in ("et", "en") for kind in ("needed", "not_needed", "missing")]
    total, found = planned("tucan", dict.fromkeys([*leaves, "general_et", "general_en"], 5_000), tmp_path)
    assert total == 20_070
    for language in ("et", "en"):
        for kind, share in (("needed", 0.7257), ("not_needed", 0.1654), ("missing", 0.1089)):
            assert abs(found[f"{language}/{kind}"]["realised"] - share * 5_017.5) < 1
        assert abs(found[f"general_{language}"]["realised"] - 5_017.5) < 1


def test_llammas_form_of_a_conversation(tmp_path: Path) -> None:
    """By hand after their ChatDataset: role lines, EOS and a line break after answers; learned are the answers with their EOS."""
    bos, eos = "<s>", "<|endoftext|>"
    folder = tiny_tokenizer.write(tmp_path / "tok", config={"bos_token": bos, "eos_token": eos})
    spec = TokenizerSpec(model=str(folder), eos="none", chat_template=str(RECIPES / "llammas-chat.jinja"))
    template = load_template(tokenizer := load_tokenizer(spec), "assistant")
    said = probe(template, spec)  # as in theirs, role lines are words
    assert [one.partition(" is no special token")[0] for one in said] == ["<|user|>", "<|assistant|>"]
    messages = [{"role": "system", "content": " Ole lahke. "}, {"role": "user", "content": "Tere!\n"}, {"role": "assistant", "content": "Tere."},
                {"role": "user", "content": "Aitäh"}, {"role": "assistant", "content": "Palun"}]  # fmt: skip
    shown = template.render(messages)
    assert shown.text == (
        f"{bos}<|system|>\nOle lahke.\n<|user|>\nTere!\n<|assistant|>\nTere.{eos}\n<|user|>\nAitäh\n<|assistant|>\nPalun{eos}\n"
    )
    ids, mask = encode_with_mask(tokenizer, shown)
    assert tokenizer.decode([int(i) for i, learned in zip(ids, mask, strict=True) if learned]) == f"Tere.{eos}Palun{eos}"
    assert template.render(messages[:2], is_open=True).text == f"{bos}<|system|>\nOle lahke.\n<|user|>\nTere!\n<|assistant|>\n"


def said(question: str, *turns: dict, kind: str = "needed", tools: list | None = None) -> dict:
    return {
        "kind": kind,
        "tools": [tool("et", "ring")] if tools is None else tools,
        "messages": [{"role": "user", "content": question}, *turns],
    }


def calling(*calls: tuple[str, object]) -> dict:
    made = [{"type": "function", "function": {"name": name, "arguments": arguments}} for name, arguments in calls]
    return {"role": "assistant", "content": "", "tool_calls": made}


ANSWER, RESULT = {"role": "assistant", "content": "Helistan."}, {"role": "tool", "content": "ok"}
FAULTS = {  # planted -> the rule it is dropped for; None: kept, but in no component
    "max_n_bad_tool_arguments": said("Helista homme Marile.", calling(("ring", "Mari")), RESULT, ANSWER),
    "max_n_undeclared_tool_calls": said("Helista homme Jaanile.", calling(("phone", {"person": "Jaan"})), RESULT, ANSWER),
    "max_n_unpaired_tool_calls": said("Helista homme Enele.", calling(("ring", {"person": "Ene"}), ("ring", {"person": "Ene"})), RESULT, ANSWER),
    "max_n_written_tool_calls": said("Helista homme Annale.", {**ANSWER, "content": '<tool_call>{"name": "ring", "arguments": {}}</tool_call>'}),
    "min_n_tools": said("Helista homme Katile.", ANSWER, tools=[]),
    None: said("Helista homme Kadrile.", ANSWER),  # says that a call is needed, and makes none
}  # fmt: skip


def test_tucan_is_built(tmp_path: Path) -> None:
    """On conversations of tests.bench.skills_made with planted faults: budgets are met, and each fault is dropped for its rule."""
    raw = tmp_path / "raw"
    for language in ("et", "en"):
        rows, held = made(language, 0, 4)
        rows += list(FAULTS.values()) if language == "et" else []
        talk = [
            {"messages": [{"role": "user", "content": f"{language}: {n}?"}, {"role": "assistant", "content": f"{n}."}]}
            for n in range(40)
        ]
        for place, of in (("raw/function-calls", rows), ("raw/instructions", talk), ("eval", held)):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
            name = f"calls_{language}" if place == "eval" else language
            (tmp_path / place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in of))
    tiny_tokenizer.write(tmp_path / "tok", config={"eos_token": "<|im_end|>"})
    sets = [f"roots.raw={raw}", f"roots.eval={tmp_path / 'eval'}", f"tokenizer.model={tmp_path / 'tok'}", "mixture.total=120 examples",
            "tokenizer.revision=null", "held_out=null", "decontaminate.action=report"]  # fmt: skip
    build(RECIPES / "tucan.yaml", tmp_path, "--workers", "1", *(part for one in sets for part in ("--set", one)))
    manifest = json.loads((tmp_path / "build" / "manifest.json").read_text())
    components = {c["name"]: c for c in manifest["components"]}
    calls = {"needed": 22, "not_needed": 5, "missing": 3}  # of 30: 21.8, 5.0 and 3.3
    wanted = {f"{language}/{kind}": n for language in ("et", "en") for kind, n in calls.items()} | {
        "general_et": 30,
        "general_en": 30,
    }
    assert {name: c["phases"][0]["examples"] for name, c in components.items()} == wanted
    decided = pa.concat_tables(
        pq.read_table(path) for path in (tmp_path / "store").glob("decide/*/*/decisions.parquet")
    ).to_pylist()
    dropped = [row["failed_rules"] for row in decided if row["source"] == "calls_et" and row["failed_rules"]]
    assert sorted(dropped) == [[rule] for rule in sorted(filter(None, FAULTS))]
    assert components["et/needed"]["documents"] == sum(
        row["kind"] == "needed" for row in made("et", 0, 4)[0]
    )  # not the one that makes no call
