"""Scores through our suite files are those of lm-evaluation-harness run by itself: hand-written tasks, its own command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.train.evaluation.by_itself import run as by_itself
from train.evaluation import results
from train.evaluation.run import run

N, SHOTS, SEED, BATCH = 40, 2, 7, 4
SUITE = {
    "name": "ours",
    "tasks": [
        {
            "name": "xcopa", "kind": "multiple_choice", "language": "et", "shots": SHOTS, "metrics": ["accuracy", "accuracy_norm"],
            "template": {
                "prompt": "{{ premise.strip()[:-1] }} {{ {'cause': 'sest', 'effect': 'seetõttu'}[question] }}", "answer": "label",
                "choices": ["{{ choice1[0].lower() ~ choice1[1:] }}", "{{ choice2[0].lower() ~ choice2[1:] }}"],
            },
        },
        {
            "name": "estqa", "kind": "generate", "language": "en", "stop": ["\n", "."], "max_new_tokens": 24,
            "fields": {"question": "meta.question", "answers": "meta.answers.text"},
            "template": {"prompt": "Küsimus: {{ question }}\nVastus:", "answer": "answers"},
        },
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def both(data: Path, stories: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    top = tmp_path_factory.mktemp("both")
    files = {"xcopa": "xcopa_et_test.jsonl.zst", "estqa": "estqa-train-v1.0.jsonl.zst"}
    for task in SUITE["tasks"]:
        task["data"] = {"path": str(data / "eval" / files[task["name"]])}
    (top / "suite.yaml").write_text(yaml.safe_dump(SUITE, allow_unicode=True))
    asked = {"method": "evaluate", "name": "ours", "model": {"init": str(stories)}, "suite": str(top / "suite.yaml"), "to": str(top / "results"),
             "limit": N, "seed": SEED, "batch": BATCH}  # fmt: skip
    (top / "run.yaml").write_text(yaml.safe_dump(asked))
    assert run(top / "run.yaml") == 0
    return by_itself(stories, data, top / "harness", limit=N, shots=SHOTS, seed=SEED, batch=BATCH), top / "results"


def test_multiple_choice(both: tuple[dict, Path]) -> None:
    theirs, folder = both
    ours = results.read_items(folder, "xcopa")
    assert len(ours) == len(theirs["samples"]["xcopa"]) == N
    for item, sample in zip(ours, theirs["samples"]["xcopa"], strict=True):
        assert item["prompt"] == sample["arguments"]["gen_args_0"]["arg_0"]
        assert item["details"]["log_likelihoods"] == [float(response[0][0]) for response in sample["resps"]]
        assert item["score"] == sample["acc"]
        assert float(item["details"]["chosen_norm"] in item["gold"]) == sample["acc_norm"]
    rows = {row["metric"]: row["value"] for row in results.read_results(folder) if row["task"] == "xcopa"}
    assert rows == {
        "accuracy": theirs["scores"]["xcopa"]["acc,none"],
        "accuracy_norm": theirs["scores"]["xcopa"]["acc_norm,none"],
    }


def test_generation(both: tuple[dict, Path]) -> None:
    theirs, folder = both
    ours = results.read_items(folder, "estqa")
    assert len(ours) == len(theirs["samples"]["estqa"]) == N
    for item, sample in zip(ours, theirs["samples"]["estqa"], strict=True):
        assert item["prompt"] == sample["arguments"]["gen_args_0"]["arg_0"]
        assert item["answers"] == sample["resps"][0]
        assert item["score"] == sample["exact_match"]
    (row,) = [row for row in results.read_results(folder) if row["task"] == "estqa"]
    assert row["value"] == theirs["scores"]["estqa"]["exact_match,none"]
    assert {item["finish"] for item in ours} == {"stop", "length"}  # both ways of ending occur among these
