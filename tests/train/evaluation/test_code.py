"""HumanEval and MBPP: canonical solutions pass, mutants fail, pass@k is the estimator of Chen et al. 2021."""

from __future__ import annotations

import io
import json
import sys
from itertools import combinations

import pytest
import zstandard

from train.evaluation import code

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sandbox needs Linux")


def rows(data, name):
    stream = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(open(data / name, "rb")), encoding="utf-8", newline="\n")
    return [json.loads(line) for line in stream]


def test_every_canonical_solution_passes(data):
    outcomes = {row["task_id"]: code.humaneval(row, row["canonical_solution"]) for row in rows(data, "eval/humaneval.jsonl.zst")}
    assert len(outcomes) == 164
    assert {task: outcome for task, outcome in outcomes.items() if not outcome.passed} == {}


def test_answers_of_nothing_fail(data):
    for row in rows(data, "eval/humaneval.jsonl.zst")[:40]:
        assert not code.humaneval(row, "    return None\n").passed
        assert not code.humaneval(row, "    pass\n").passed


def test_canonical_solution_in_a_chat_answer(data):
    row = rows(data, "eval/humaneval.jsonl.zst")[0]
    whole = row["prompt"] + row["canonical_solution"]
    answer = (
        f"Siin on lahendus:\n\n```python\n{whole.split('import List')[1]}\n```\nHead kasutamist!"  # without the prompt's import
    )
    assert code.humaneval(row, answer).passed
    assert code.humaneval(row, f"```python\n{row['canonical_solution']}```").passed
    assert code.humaneval(
        row, row["canonical_solution"] + "\nprint(undefined)\n\ndef other(:\n"
    ).passed  # ends at a stop sequence


MBPP = {
    "task_id": 2,
    "text": "Write a function to find the similar elements from the given two tuple lists.",
    "test_list": [
        "assert similar_elements((3, 4, 5, 6),(5, 7, 4, 10)) == (4, 5)",
        "assert similar_elements((1, 2, 3, 4),(5, 4, 3, 7)) == (3, 4)",
    ],
    "test_setup_code": "",
}


def test_mbpp():
    right = "def similar_elements(a, b):\n  return tuple(sorted(set(a) & set(b)))\n"
    assert code.mbpp(MBPP, right + "[DONE]\nand so on").passed
    assert code.mbpp(MBPP, f"```python\n{right}```").passed
    assert code.mbpp(MBPP, "def similar_elements(a, b):\n  return a\n").status == "failed"
    setup = MBPP | {"test_list": ["assert math.isclose(f(2), 4.0)"], "test_setup_code": ""}
    assert code.mbpp(setup, "def f(x): return 4.0").passed
    assert code.mbpp(setup, "import math\nmath.isclose = lambda a, b: True\ndef f(x): return 5.0").status == "failed"


def test_pass_at_k_counts_the_draws():
    """By hand: 2 of 5 right, drawing 2: of the 10 pairs, 3 hold no right answer."""
    assert code.pass_at_k(5, 2, 2) == pytest.approx(0.7)
    assert code.pass_at_k(5, 2, 1) == pytest.approx(0.4)
    assert code.pass_at_k(5, 0, 3) == 0.0 and code.pass_at_k(5, 3, 3) == 1.0
    for n in range(1, 8):
        for c in range(n + 1):
            for k in range(1, n + 1):
                draws = list(combinations([True] * c + [False] * (n - c), k))
                assert code.pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    with pytest.raises(ValueError, match=r"pass@6 of 2"):
        code.pass_at_k(5, 2, 6)
