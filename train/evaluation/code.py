"""HumanEval and MBPP: from a row of the benchmark and a model's answer to an Outcome, and from outcomes to pass@k.

In: rows as the benchmarks have them (task_id, prompt, entry_point, test; text, test_list, ...). Out: sandbox.Outcome, floats.
Pure but for the sandbox. Imports sandbox and extract.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from train.evaluation.extract import code_block
from train.evaluation.sandbox import Limits, Outcome, check

HUMANEVAL_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # Chen et al. 2021, 3.1: a completion ends before these


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that one of k answers drawn from n, of which c passed, passes: 1 - C(n - c, k) / C(n, k). Chen et al. 2021, eq. 1."""
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {c} right answers among {n}")
    fails = 1.0
    for i in range(n - c + 1, n + 1):
        fails *= max(0.0, 1.0 - k / i)
    return 1.0 - fails


def humaneval(row: Mapping[str, Any], answer: str, limits: Limits | None = None) -> Outcome:
    """`answer`: the continuation of the prompt, or a chat answer with the whole function in a code block."""
    tests = f"{row['test']}\ncheck({row['entry_point']})\n"
    return check(humaneval_program(row, answer), tests, before=row["prompt"], names=[row["entry_point"]], limits=limits)


def humaneval_program(row: Mapping[str, Any], answer: str) -> str:
    prompt = str(row["prompt"])
    signature = re.compile(rf"^def {re.escape(row['entry_point'])}\b", re.MULTILINE)
    block = code_block(answer)
    if block is not None and signature.search(block):
        start = signature.search(prompt)
        return prompt[: start.start() if start else 0] + "\n" + block + "\n"
    return prompt + truncated(answer if block is None else block) + "\n"


def truncated(completion: str, stops: tuple[str, ...] = HUMANEVAL_STOPS) -> str:
    """The completion up to its first stop sequence."""
    return completion[: min((i for stop in stops if (i := completion.find(stop)) >= 0), default=len(completion))]


def mbpp(row: Mapping[str, Any], answer: str, limits: Limits | None = None) -> Outcome:
    """`answer`: the program, in a code block or bare, up to [DONE] (Austin et al. 2021, arXiv 2108.07732, prompt of section 3)."""
    block = code_block(answer)
    source = block if block is not None else answer.split("[DONE]")[0]
    before = "\n".join([*row.get("test_imports", []), row.get("test_setup_code", "")])
    return check(source, "\n".join(row["test_list"]), before=before, limits=limits)
