"""From what a model said to rows: prompts and answers of a task in; rows of items.parquet, and of results.parquet by its metrics, out.

What an answer is worth is said by extract, code, gec, ifeval, calls (per item) and metrics (over items); here is only which of them a kind of
task takes. An item whose answer holds none is wrong and is counted as missing. May import curate.errors, train.evaluation.*.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from train.evaluation import bootstrap, extract, metrics, texts
from train.evaluation.bootstrap import OfSums
from train.evaluation.results import Row
from train.evaluation.suite import Task

if TYPE_CHECKING:  # comparing results needs no torch
    from train.evaluation.harness import Answer, Prompt

OWN = ("bits_per_byte", "accuracy_norm")  # beside those of metrics.NAMES


def measure(metric: str, language: str) -> OfSums:
    """The measure of a result row, over its items. Raises CurateError for an unknown name."""
    if metric == "bits_per_byte":
        pairs = bootstrap.bits_per_byte
        return OfSums(lambda items: pairs.statistics([(i["details"]["nats"], i["details"]["bytes"]) for i in items]), pairs.value)
    if metric == "accuracy_norm":
        mean = bootstrap.mean
        return OfSums(lambda items: mean.statistics([i["details"]["chosen_norm"] in i["gold"] for i in items]), mean.value)
    return metrics.measure(metric, language)


def signature(metric: str, items: Sequence[Row], language: str) -> str:
    return f"{metric}|veski:{metrics.VERSION}" if metric in OWN else metrics.signature(metric, items, language)


def rows_of(task: Task, items: Sequence[Row], about: Row, seed: int, *, language: str | None = None) -> list[Row]:
    """A result row for every metric of the task; `about`: columns that all of them share."""
    language = language or task.language
    found = []
    for metric in task.asked:
        known = bootstrap.estimate(items, measure(metric, language), seed=seed)
        missing = sum(i["extracted"] is None for i in items) if task.kind not in ("bits_per_byte", "multiple_choice") else 0
        found.append({
            **about, "language": language, "metric": metric, "value": known.value, "low": known.low, "high": known.high, "n": known.n,
            "n_missing": known.n_missing + missing, "n_cut": sum(i["finish"] in ("length", "time") for i in items),
            "n_truncated": sum(bool(i["truncated"]) for i in items),
            "contaminated": None if any(i["contaminated"] is None for i in items) else sum(i["contaminated"] for i in items),
            "metric_signature": signature(metric, items, language),
        })  # fmt: skip
    return found


def of_choices(task: Task, prompts: Sequence[Prompt], likelihoods: Sequence[Sequence[tuple[float, bool]]]) -> list[Row]:
    """The most likely choice; `chosen_norm`: by nats per character (lm-evaluation-harness's acc_norm)."""
    items = []
    for prompt, each in zip(prompts, likelihoods, strict=True):
        nats = [value for value, _ in each]
        per_character = [value / max(1, len(choice)) for value, choice in zip(nats, prompt.choices, strict=True)]
        chosen, chosen_norm = (str(int(np.argmax(values))) for values in (nats, per_character))
        details = {"log_likelihoods": nats, "choices": list(prompt.choices), "chosen_norm": chosen_norm}
        items.append({
            **_common(task, prompt), "answers": [prompt.choices[int(chosen)]], "extracted": chosen, "score": float(chosen in prompt.gold),
            "n_tokens": 0, "finish": None, "details": details,
        })  # fmt: skip
    return items


def of_answers(task: Task, prompts: Sequence[Prompt], answers: Sequence[Answer]) -> list[Row]:
    said = SAYS[task.kind](task, prompts, [answer.text for answer in answers])
    return [
        {**_common(task, prompt), "answers": [answer.text], "n_tokens": answer.n_tokens, "finish": answer.finish, **more}
        for prompt, answer, more in zip(prompts, answers, said, strict=True)
    ]


def of_bits(task: Task, name: str, lines: Sequence[Row], language: str) -> list[Row]:
    """`score` is bits per byte, `weight` the bytes: the mean of the first by the second is the value of the task."""
    return [
        {
            "task": name, "item": line["item"], "language": language, "prompt_sha256": None, "prompt": None, "answers": [], "extracted": None,
            "gold": [], "score": line["nats"] / math.log(2) / line["bytes"] if line["bytes"] else None, "weight": float(line["bytes"]),
            "n_tokens": line["n_tokens"], "finish": None, "truncated": False, "contaminated": None,
            "details": {"nats": line["nats"], "bytes": line["bytes"]},
        }
        for line in lines
    ]  # fmt: skip


def _common(task: Task, prompt: Prompt) -> Row:
    return {
        "task": task.name, "item": prompt.item["id"], "language": str(prompt.item.get("language") or task.language),
        "prompt_sha256": hashlib.sha256(prompt.text.encode()).hexdigest(), "prompt": prompt.text, "gold": list(prompt.gold), "weight": 1.0,
        "truncated": prompt.truncated, "contaminated": None,
    }  # fmt: skip


# ---- what is read out of an answer, by kind: {extracted, score, details}


def extracted(how: str | None, text: str, language: str) -> str | None:
    """The answer inside a generated text, None where there is none."""
    if how is None:
        return text.strip() or None
    if how == "first_line":
        return text.strip().partition("\n")[0].strip() or None
    if how == "number":
        return _plain(extract.numeric_answer(text, language))
    if how == "choice":
        return extract.choice(text, "ABCDEFGHIJ")
    if how == "code":
        return extract.code_block(text)
    found = re.search(how, text, re.DOTALL)
    return found[1].strip() or None if found else None


def _plain(number: Decimal | None) -> str | None:
    return None if number is None else f"{number:f}"


def _texts(task: Task, prompts: Sequence[Prompt], said: Sequence[str]) -> list[Row]:
    """Score: exact match after normalisation, with the best of several right answers."""
    rows = []
    for prompt, text in zip(prompts, said, strict=True):
        language = str(prompt.item.get("language") or task.language)
        found = extracted(task.extract, text, language)
        score = (
            max((metrics.exact_match(found, gold, language) for gold in prompt.gold), default=0.0) if found is not None else 0.0
        )
        details = {"variant": prompt.item["variant"]} if task.kind == "multiloko" and "variant" in prompt.item else {}
        rows.append({"extracted": found, "score": score, "details": details})
    return rows


def _translations(task: Task, prompts: Sequence[Prompt], said: Sequence[str]) -> list[Row]:
    """A corpus score has no score of an item."""
    return [
        {"extracted": extracted(task.extract or "first_line", text, task.language), "score": None, "details": {}} for text in said
    ]


def _numbers(task: Task, prompts: Sequence[Prompt], said: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    for prompt, text in zip(prompts, said, strict=True):
        found = extracted(task.extract or "number", text, task.language)
        score = max((metrics.numeric_match(found, gold, task.language) for gold in prompt.gold), default=0.0) if found else 0.0
        rows.append({"extracted": found, "score": score, "details": {}})
    return rows


def _programs(task: Task, prompts: Sequence[Prompt], said: Sequence[str]) -> list[Row]:
    from train.evaluation import code

    run = code.humaneval if task.benchmark == "humaneval" else code.mbpp
    rows = []
    for prompt, text in zip(prompts, said, strict=True):
        outcome = run(prompt.item, text)
        details = {
            "passed": [outcome.passed],
            "status": outcome.status,
            "detail": outcome.detail,
            "open_to": list(outcome.open_to),
        }
        rows.append({"extracted": text.strip() or None, "score": float(outcome.passed), "details": details})
    return rows


def _corrections(task: Task, prompts: Sequence[Prompt], said: Sequence[str]) -> list[Row]:
    """M2 over the corrected sentences of all annotators, which are the gold answers, or over the edits of an .m2 file, whose answers are tokens."""
    from train.evaluation import gec

    found = [extracted(task.extract or "first_line", text, task.language) for text in said]
    sentences = [
        gec.read_m2(prompt.item["m2"], prompt.item["id"])[0]
        if "m2" in prompt.item
        else gec.from_corrections(prompt.item["original"], prompt.gold, texts.words)
        for prompt in prompts
    ]
    cut = [str.split if "m2" in prompt.item else texts.words for prompt in prompts]
    counts = gec.score(sentences, [of(text or "") for of, text in zip(cut, found, strict=True)])
    return [
        {"extracted": text, "score": gec.f_beta(each), "details": {"counts": list(each)}}
        for text, each in zip(found, counts, strict=True)
    ]


def _instructions(task: Task, prompts: Sequence[Prompt], said: Sequence[str]) -> list[Row]:
    from train.evaluation import ifeval

    rows = []
    for prompt, text in zip(prompts, said, strict=True):
        details = ifeval.check(prompt.item, text, task.language)
        rows.append({"extracted": text.strip() or None, "score": float(all(details["strict"])), "details": details})
    return rows


def _function_calls(task: Task, prompts: Sequence[Prompt], said: Sequence[str]) -> list[Row]:
    from train.evaluation import calls

    rows = []
    for prompt, text in zip(prompts, said, strict=True):
        details = calls.check(prompt.item, text)
        rows.append({"extracted": text.strip() or None, "score": float(details["valid"]), "details": details})
    return rows


SAYS: dict[str, Callable[[Task, Sequence[Prompt], Sequence[str]], list[Row]]] = {
    "generate": _texts, "multiloko": _texts, "translate": _translations, "math": _numbers, "code": _programs, "gec": _corrections,
    "ifeval": _instructions, "calls": _function_calls,
}  # fmt: skip


def check_metrics(task: Task) -> None:
    """Every metric has a measure. Raises CurateError naming the nearest."""
    for metric in task.asked:
        measure(metric, task.language)
