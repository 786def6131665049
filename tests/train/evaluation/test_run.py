"""Runs of a suite on stories260K: what is written, what is not done twice, what goes on where something is wrong, how generations end."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from curate.errors import CurateError
from tests.train.evaluation.conftest import Small
from train.evaluation import harness, load, results
from train.evaluation import run as room
from train.evaluation.contamination import found_items
from train.evaluation.suite import Subject

CHOICE = {
    "name": "choice", "kind": "multiple_choice", "metrics": ["accuracy", "mcc"],
    "template": {"prompt": "Once upon a time, there was a", "choices": ["{{ a }}", "{{ b }}"], "answer": "label"},
}  # fmt: skip
SAY = {
    "name": "say",
    "kind": "generate",
    "template": {"prompt": "{{ q }}", "answer": "{{ a }}"},
    "max_new_tokens": 12,
    "stop": ["."],
}
CHOICES = [{"id": "p", "a": "little girl", "b": "xqz zzq", "label": 0}, {"id": "q", "a": "vvv", "b": "boy", "label": 1}]


def test_results_say_everything(ask) -> None:
    code, folder = ask([CHOICE], {"choice": CHOICES})
    accuracy, mcc = results.read_results(folder)
    assert (code, accuracy["value"], accuracy["n"], accuracy["n_missing"], mcc["value"]) == (0, 1.0, 2, 0, 1.0)
    assert {k: accuracy[k] for k in ("task", "metric", "shots", "seed", "bos", "harness", "limit", "contaminated")} == {
        "task": "choice", "metric": "accuracy", "shots": 0, "seed": 0, "bos": "auto: no", "harness": "lm-evaluation-harness", "limit": None,
        "contaminated": None,
    }  # fmt: skip
    assert all(
        accuracy[k]
        for k in ("model_sha256", "template_sha256", "data_sha256", "task_sha256", "harness_version", "at", "metric_signature")
    )
    first, second = results.read_items(folder)
    assert (first["item"], first["answers"], first["extracted"], first["gold"], first["score"]) == (
        "p",
        ["little girl"],
        "0",
        ["0"],
        1.0,
    )
    assert (second["item"], second["answers"], second["extracted"]) == ("q", ["boy"], "1")


def test_log_likelihoods_are_the_models(ask, stories: Path) -> None:
    """By hand: the sum of ln p of the tokens of ' little girl' after the prompt."""
    _, folder = ask([CHOICE], {"choice": CHOICES})
    tokenizer, model = AutoTokenizer.from_pretrained(stories), AutoModelForCausalLM.from_pretrained(stories)
    before = tokenizer(CHOICE["template"]["prompt"])["input_ids"]
    whole = tokenizer(CHOICE["template"]["prompt"] + " little girl")["input_ids"]
    with torch.no_grad():
        log_p = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    by_hand = sum(log_p[i - 1, whole[i]].item() for i in range(len(before), len(whole)))
    assert results.read_items(folder)[0]["details"]["log_likelihoods"][0] == pytest.approx(by_hand, abs=1e-4)


def test_what_is_done_is_not_done_again(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = ask([CHOICE, SAY], {"choice": CHOICES, "say": [{"q": "One day", "a": "x"}]})
    before = (folder / "tasks" / "choice.json").read_bytes()
    asked: list[str] = []
    real = room.Prepared
    monkeypatch.setattr(room, "Prepared", lambda asker, task, *rest: asked.append(task.name) or real(asker, task, *rest))
    ask([CHOICE, SAY], {})
    assert asked == [] and (folder / "tasks" / "choice.json").read_bytes() == before
    ask([CHOICE, {**SAY, "max_new_tokens": 3}], {})  # another task of that name
    assert asked == ["say"]
    ask([CHOICE, {**SAY, "max_new_tokens": 3}], {"choice": CHOICES[:1]})  # other items
    assert asked == ["say", "choice"]
    ask([CHOICE, {**SAY, "max_new_tokens": 3}], {}, model={"init": str(_other(folder))})
    assert asked == ["say", "choice", "choice", "say"]  # another model


def _other(folder: Path) -> Path:
    """The model with one weight changed."""
    old = yaml.safe_load((folder.parent / "run.yaml").read_text())["model"]["init"]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(old), AutoTokenizer.from_pretrained(old)
    with torch.no_grad():
        model.model.norm.weight[0] += 0.01
    model.save_pretrained(folder.parent / "other")
    tokenizer.save_pretrained(folder.parent / "other")
    return folder.parent / "other"


def test_killed_between_tasks(ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(room.Prepared, "answers", stopped)
        with pytest.raises(KeyboardInterrupt):
            ask([CHOICE, SAY], {"choice": CHOICES, "say": [{"q": "One day", "a": "x"}]}, to="r")
    folder = tmp_path / "r"
    assert {row["task"] for row in results.read_results(folder)} == {"choice"}
    code, folder = ask([CHOICE, SAY], {}, to="r")
    assert code == 0 and [row["task"] for row in results.read_results(folder)] == ["choice", "choice", "say"]


def test_one_broken_task_stops_no_other(ask, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [
        {**CHOICE, "name": "missing"}, {**CHOICE, "name": "label"}, {**CHOICE, "name": "field"}, {**SAY, "name": "gold"},
        {**SAY, "name": "chat", "chat": True}, {**SAY, "name": "long", "max_new_tokens": 600}, {**SAY, "name": "shots", "shots": 3},
        {**SAY, "name": "later", "data": None, "needs": "a file of questions"}, CHOICE,
    ]  # fmt: skip
    items = {
        "label": [{**CHOICES[0], "label": 2}], "field": [{"a": "x", "label": 0}], "gold": [{"q": "One"}], "chat": [{"q": "x", "a": "y"}],
        "long": [{"q": "x", "a": "y"}], "shots": [{"q": "x", "a": "y"}], "choice": CHOICES,
    }  # fmt: skip
    code, folder = ask(tasks, items)
    said = capsys.readouterr().out
    assert code == 3 and {row["task"] for row in results.read_results(folder)} == {"choice"}
    for line in (
        "failed: missing: ", "there is no file of items here", "the right choice of this item is none of its choices", "0 to 1",
        "failed: field: field, item #1: this item does not fit the template", "'b' is undefined", "failed: gold: gold, item #1", "'a' is undefined",
        "failed: chat: chat.chat: this task asks for a chat template and the model has none", "an answer is longer than the model's positions",
        "failed: shots: shots.shots: there are not enough items for the shots", "left out: later (a file of questions)",
    ):  # fmt: skip
        assert line in said, (line, said)


def test_how_generations_end(ask, stories: Path) -> None:
    """One ends at its stop string, one is cut by tokens, one by seconds; each says so."""
    story = "Once upon a time, there was a little girl named Lily."
    tasks = [
        {**SAY, "name": "stop", "max_new_tokens": 60}, {**SAY, "name": "length", "stop": ["never said"], "max_new_tokens": 5},
        {**SAY, "name": "time", "stop": ["never said"], "max_new_tokens": 450, "max_seconds": 0.05},
    ]  # fmt: skip
    _, folder = ask(tasks, {name: [{"q": story, "a": "x"}] for name in ("stop", "length", "time")})
    found = {item["task"]: item for item in results.read_items(folder)}
    assert {name: item["finish"] for name, item in found.items()} == {"stop": "stop", "length": "length", "time": "time"}
    assert found["length"]["n_tokens"] == 5 and 0 < found["time"]["n_tokens"] < 450 and found["stop"]["n_tokens"] < 60
    tokenizer, model = AutoTokenizer.from_pretrained(stories), AutoModelForCausalLM.from_pretrained(stories)
    prompt = tokenizer(story, return_tensors="pt")["input_ids"]
    whole = model.generate(prompt, max_new_tokens=60, do_sample=False)[0, prompt.shape[1] :]
    assert found["stop"]["answers"][0] == tokenizer.decode(whole, skip_special_tokens=True).split(".")[0]
    assert tokenizer.decode(whole[: found["stop"]["n_tokens"]]).count(".") == 1
    assert "." not in tokenizer.decode(whole[: found["stop"]["n_tokens"] - 1])
    assert {row["task"]: row["n_cut"] for row in results.read_results(folder)} == {"stop": 0, "length": 1, "time": 1}


def test_prompts_that_are_too_long_are_marked(ask) -> None:
    _, folder = ask([SAY], {"say": [{"q": "word " * 700, "a": "x"}, {"q": "One day", "a": "x"}]})
    assert [item["truncated"] for item in results.read_items(folder)] == [True, False]
    assert results.read_results(folder)[0]["n_truncated"] == 1


@pytest.mark.parametrize(("wanted", "said", "first"), [("auto", "auto: no", False), ("no", "no", False), ("yes", "yes", True)])
def test_bos_is_decided_and_said(stories: Path, wanted: str, said: str, first: bool) -> None:
    asker = harness.Asker(load.load(Subject(init=str(stories))), 2, wanted)
    assert asker.bos == said
    assert (asker.lm.tok_encode("One day")[0] == 1) == first
    ids, _ = asker.lm.tok_batch_encode(["One day"])
    assert (ids[0, 0].item() == 1) == first
    context, _ = asker.lm._encode_pair("One", " day")
    assert context.count(1) == int(first)


def test_no_bos_token(stories: Path) -> None:
    loaded = load.load(Subject(init=str(stories)))
    loaded.tokenizer.bos_token = None
    with pytest.raises(CurateError, match="has no BOS token"):
        harness.with_bos(loaded.tokenizer, "yes")


def test_winogrande_compares_what_follows(ask, stories: Path) -> None:
    """Choices stand in the context: by hand, ln p of the same continuation after each of them."""
    task = {"name": "gap", "kind": "multiple_choice",
            "template": {"prompt": "", "choices": ["Lily had a {{ a }}", "Lily had a {{ b }}"], "continuation": "and she was happy.",
                         "answer": "label"}}  # fmt: skip
    _, folder = ask([task], {"gap": [{"a": "toy", "b": "sad", "label": 0}]})
    tokenizer, model = AutoTokenizer.from_pretrained(stories), AutoModelForCausalLM.from_pretrained(stories)
    by_hand = []
    for context in ("Lily had a toy", "Lily had a sad"):
        n, ids = len(tokenizer(context)["input_ids"]), tokenizer(f"{context} and she was happy.")["input_ids"]
        with torch.no_grad():
            log_p = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        by_hand.append(sum(log_p[i - 1, ids[i]].item() for i in range(n, len(ids))))
    (item,) = results.read_items(folder)
    assert item["details"]["log_likelihoods"] == pytest.approx(by_hand, abs=1e-4)
    assert item["gold"] == ["0"] and item["extracted"] == str(int(by_hand[1] > by_hand[0]))


def test_contamination_is_the_builds(ask, small: Small, xcopa: list[dict]) -> None:
    assert found_items(small.build) == {"xcopa_et_test": frozenset({"3"})}  # not 17: what holds it is held out
    task = {**CHOICE, "name": "xcopa", "data": {"path": str(small.eval / "xcopa_et_test.jsonl")},
            "template": {"prompt": "{{ premise }}", "choices": ["{{ choice1 }}", "{{ choice2 }}"], "answer": "label"}}  # fmt: skip
    code, folder = ask([task], {}, contamination=str(small.build), limit=20)
    assert code == 0
    assert [item["item"] for item in results.read_items(folder) if item["contaminated"]] == ["3"]
    assert {row["contaminated"] for row in results.read_results(folder)} == {1}


def test_a_build_that_looked_for_nothing(tmp_path: Path) -> None:
    with pytest.raises(CurateError, match="not a build folder"):
        found_items(tmp_path)


def test_the_gate_of_a_run_file(ask) -> None:
    _, before = ask([CHOICE], {"choice": CHOICES}, to="before")
    gate = {"before": str(before), "rules": {"choice.accuracy": "-1 points"}}
    code, _ = ask([CHOICE], {"choice": [CHOICES[0], {**CHOICES[1], "label": 0}]}, to="after", gate=gate)
    assert code == 1
    code, _ = ask([CHOICE], {"choice": CHOICES}, to="after2", gate=gate)
    assert code == 0


def test_bits_per_byte_of_texts(ask, stories: Path) -> None:
    """By hand, of a text that fits: <s> and then every token; and of one that does not, in windows."""
    short, long = "Tere, maailm!", "Once upon a time, there was a little girl. " * 60
    _, folder = ask([{"name": "text", "kind": "bits_per_byte"}], {"text": [{"text": short}, {"text": long}]})
    tokenizer, model = AutoTokenizer.from_pretrained(stories), AutoModelForCausalLM.from_pretrained(stories)
    ids = [1, *tokenizer(short)["input_ids"]]
    with torch.no_grad():
        log_p = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    nats = -sum(log_p[i - 1, ids[i]].item() for i in range(1, len(ids)))
    first, second = results.read_items(folder)
    assert first["score"] == pytest.approx(nats / math.log(2) / len(short.encode()), rel=1e-5)
    assert second["n_tokens"] > 512 and second["details"]["bytes"] == len(long.encode())
    (row,) = results.read_results(folder)
    of_all = (
        sum(item["details"]["nats"] for item in (first, second))
        / math.log(2)
        / sum(item["details"]["bytes"] for item in (first, second))
    )
    assert row["value"] == pytest.approx(of_all) and row["bos"] == "prefix: <s>"


def test_a_chat_template_is_applied(ask, stories: Path, tmp_path: Path) -> None:
    """Shots are turns of their own, the system's words come first, and BOS, which the template writes, stands once."""
    model = tmp_path / "chat"
    AutoModelForCausalLM.from_pretrained(stories).save_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(stories)
    turns = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    tokenizer.chat_template = "{{ bos_token }}" + turns + "{% if add_generation_prompt %}[assistant]{% endif %}"
    tokenizer.save_pretrained(model)
    task = {**SAY, "chat": True, "shots": 1, "template": {"prompt": "{{ q }}", "answer": "{{ a }}", "system": "Be brief."}}
    rows = [{"q": "One", "a": "1"}, {"q": "Two", "a": "2"}]
    code, folder = ask([task], {"say": rows}, model={"init": str(model)})
    assert code == 0
    assert [i["prompt"].rstrip() for i in results.read_items(folder)] == [
        "<s>[system]Be brief.[user]Two[assistant]2[user]One[assistant]", "<s>[system]Be brief.[user]One[assistant]1[user]Two[assistant]",
    ]  # fmt: skip
    asker = harness.Asker(load.load(Subject(init=str(model))), 2, "yes")
    assert asker.lm.tok_encode("<s>[user]One").count(1) == 1
    assert asker.lm.tok_batch_encode(["<s>[user]One"])[0][0].tolist().count(1) == 1


def test_the_hub_cannot_be_reached(ask, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    away = {**CHOICE, "name": "away", "data": {"hub": "org/there-is-none", "config": "et", "split": "test", "revision": "abc"}}
    code, folder = ask([away, CHOICE], {"choice": CHOICES})
    assert code == 3 and {row["task"] for row in results.read_results(folder)} == {"choice"}
    assert "org/there-is-none et [test] @abc: this dataset cannot be read from the hub" in capsys.readouterr().out


def test_an_item_without_its_right_answer_is_named_and_never_scored_against_the_fields_name(ask, capsys) -> None:
    task = {**SAY, "template": {"prompt": "{{ q }}", "answer": "gold"}}
    items = [{"id": "one", "q": "Once", "gold": "upon"}, {"id": "two", "q": "gold"}]
    code, folder = ask([task, CHOICE], {"say": items, "choice": CHOICES})
    said = capsys.readouterr().out
    assert code == 3 and "this item has no right answer" in said and "item two" in said and "no gold" in said
    assert {row["task"] for row in results.read_results(folder)} == {"choice"}
