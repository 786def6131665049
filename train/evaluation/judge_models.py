"""A model as the judge: a file that names it in, a callable (prompt, a, b) -> a | b | tie | skip out; pairs in, votes out.

Every pair is asked about in both orders. Where both verdicts name the same answer it is the vote, else the vote is a tie; both are kept, so that
what the place of an answer did is counted (train.evaluation.votes). Two kinds: `http`, any endpoint with OpenAI's /chat/completions;
`local`, a Hugging Face folder whose next tokens after the question are compared. A key is read from the environment variable the
file names, and stands in no file, message or log. The one module of train that imports requests.
May import curate.errors, curate.recipe, train.evaluation.judge; requests; torch, transformers (local only).
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import requests

from curate.errors import CurateError
from curate.recipe import Strict, validate
from curate.recipe.files import load_yaml
from train.evaluation.judge import QUESTION, read_pairs

Judge = Callable[[str, str, str], str]

TEMPLATE = """Two assistants answered the same prompt. {question} Do not let the order of the answers, their length or your own language sway you.

[Prompt]
{prompt}

[Answer A]
{a}

[Answer B]
{b}

[Your verdict]
Give your reason in two sentences at most. Then write the verdict on a line of its own:
[[A]] if A is better, [[B]] if B is better, [[C]] if they are equal.
"""
LETTERS = {"A": "a", "B": "b", "C": "tie"}
AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)  # worth another try


class JudgeSpec(Strict):
    kind: Literal["http", "local"]
    model: str  # what the endpoint calls it; of a local one a folder or a hub id
    name: str = ""  # in the votes; default: the model
    url: str = ""  # of the API, with its /v1
    key_env: str = ""  # the environment variable with the key; none is sent without
    template: str = TEMPLATE  # {prompt} {a} {b} {question}
    question: str = QUESTION
    timeout: float = 120.0  # seconds to wait for one answer
    retries: int = 4
    wait: float = 1.0  # seconds before the first retry, doubled for each
    max_tokens: int = 300
    revision: str | None = None
    dtype: Literal["fp32", "bf16"] = "fp32"


def load_spec(path: Path) -> JudgeSpec:
    data, where = load_yaml(Path(path))
    spec = validate(JudgeSpec, data, where, Path(path))
    if spec.kind == "http" and not spec.url.startswith(("http://", "https://")):
        raise CurateError(
            "where is the endpoint?", where=where.get(("url",), str(path)), found=repr(spec.url), allowed="http://HOST:PORT/v1"
        )
    if missing := [field for field in ("{prompt}", "{a}", "{b}") if field not in spec.template]:
        raise CurateError(
            "the template lacks what is judged", where=where.get(("template",), str(path)), allowed=", ".join(missing)
        )
    return spec


def build(spec: JudgeSpec) -> Judge:
    return http_judge(spec) if spec.kind == "http" else local_judge(spec)


def filled(spec: JudgeSpec, prompt: str, a: str, b: str) -> str:
    """The template, each place filled once: braces inside an answer stay text."""
    values = {"prompt": prompt, "a": a, "b": b, "question": spec.question}
    return re.sub(r"\{(prompt|a|b|question)\}", lambda match: values[match[1]], spec.template)


def verdict(text: str) -> str:
    """The last [[A]], [[B]] or [[C]] of what a judge said; skip where it said none."""
    found = re.findall(r"\[\[\s*([ABC])\s*\]\]", text)
    return LETTERS[found[-1]] if found else "skip"


# ---- pairs in, votes out


def ask(
    folder: Path, judge: Judge, name: str, to: Path, told: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, int]:  # fmt: skip
    """Votes on all pairs of a folder, appended to `to` one by one: run again, it asks about those that are left."""
    pairs = read_pairs(folder)
    done = _voted(to, name)
    counts = {"asked": 0, "before": sum(pair["pair"] in done for pair in pairs), "turned": 0, "skip": 0}
    for number, pair in enumerate(pairs, 1):
        if pair["pair"] not in done:
            vote = both_orders(judge, pair)
            counts["asked"] += 1
            counts["skip"] += vote["vote"] == "skip"
            counts["turned"] += vote["orders"] in (["a", "a"], ["b", "b"])
            with Path(to).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"pair": pair["pair"], "judge": name, **vote}, ensure_ascii=False) + "\n")
        told(number, len(pairs))
    return counts


def both_orders(judge: Judge, pair: Mapping[str, str]) -> dict[str, Any]:
    """{vote, orders}: `orders` are the two verdicts by place, the first shown is a."""
    first = judge(pair["prompt"], pair["a"], pair["b"])
    second = judge(pair["prompt"], pair["b"], pair["a"])
    turned = {"a": "b", "b": "a"}.get(second, second)
    if "skip" in (first, second):
        vote = "skip"
    else:
        vote = first if first == turned else "tie"
    return {"vote": vote, "orders": [first, second]}


def _voted(path: Path, name: str) -> set[str]:
    """Pairs this judge has voted on; half a line at the end, of a run that was killed, is cut off."""
    path = Path(path)
    if not path.exists():
        return set()
    data = path.read_bytes()
    if whole := data[: data.rfind(b"\n") + 1]:
        rows = [json.loads(line) for line in whole.decode().split("\n") if line]
    else:
        rows = []
    if len(whole) < len(data):
        path.write_bytes(whole)
    return {row["pair"] for row in rows if row["judge"] == name}


# ---- an endpoint


class _Bearer(requests.auth.AuthBase):
    """A key of ours and nothing from ~/.netrc, which requests would put in its place."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request


def http_judge(spec: JudgeSpec) -> Judge:
    key = os.environ.get(spec.key_env, "") if spec.key_env else ""
    if spec.key_env and not key:
        raise CurateError(
            "this environment variable is not set", where="key_env", found=spec.key_env, next=f"export {spec.key_env}=..."
        )
    session, auth = requests.Session(), _Bearer(key)
    url = spec.url.rstrip("/") + "/chat/completions"

    def judge(prompt: str, a: str, b: str) -> str:
        body = {
            "model": spec.model, "temperature": 0, "max_tokens": spec.max_tokens,
            "messages": [{"role": "user", "content": filled(spec, prompt, a, b)}],
        }  # fmt: skip
        return verdict(_said(_post(session, url, auth, body, spec), url))

    return judge


def _post(session: requests.Session, url: str, auth: _Bearer, body: dict, spec: JudgeSpec) -> requests.Response:
    """One answer. Tries again where that may help; raises CurateError (exit code 1) without the key in it."""
    wait, why = spec.wait, ""
    for left in range(spec.retries, -1, -1):
        try:
            answer = session.post(url, json=body, auth=auth, timeout=spec.timeout, allow_redirects=False)
        except (requests.ConnectionError, requests.Timeout) as error:
            why, asked = f"{type(error).__name__}", 0.0
        else:
            if answer.status_code == 200:
                return answer
            said = answer.text[:300].replace(auth.key, "***") if auth.key else answer.text[:300]
            why, asked = f"{answer.status_code} {said}", _seconds(answer.headers.get("Retry-After"))
            if answer.status_code not in AGAIN:
                break
        if left:
            time.sleep(max(wait, asked))
            wait *= 2
    raise CurateError(
        "the judge does not answer", where=url, found=why, next="what was voted is kept; the same command goes on", exit_code=1
    )


def _seconds(text: str | None) -> float:
    return min(60.0, float(text)) if text and text.strip().isdigit() else 0.0


def _said(answer: requests.Response, url: str) -> str:
    try:
        return str(answer.json()["choices"][0]["message"]["content"] or "")
    except (ValueError, LookupError, TypeError):
        raise CurateError(
            "this is not an answer of /chat/completions", where=url, found=answer.text[:200], exit_code=1,
            allowed="{choices: [{message: {content: TEXT}}]}",
        ) from None  # fmt: skip


# ---- a local model


def local_judge(spec: JudgeSpec) -> Judge:
    """The likeliest of [[A]], [[B]], [[C]] right after the question: a fixed answer of one token or a few, nothing generated."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[spec.dtype]
    tokenizer = AutoTokenizer.from_pretrained(spec.model, revision=spec.revision)
    model = AutoModelForCausalLM.from_pretrained(spec.model, revision=spec.revision, dtype=dtype).eval()
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30

    def log_likelihood(before: str, after: str) -> float | None:
        ids, whole = (
            tokenizer(text, add_special_tokens=not tokenizer.chat_template)["input_ids"] for text in (before, before + after)
        )
        start = next((i for i, (x, y) in enumerate(zip(ids, whole, strict=False)) if x != y), min(len(ids), len(whole)))
        if len(whole) > longest:
            return None
        with torch.no_grad():
            scores = model(torch.tensor([whole], device=model.device)).logits[0].float().log_softmax(-1)
        return float(sum(scores[i - 1, whole[i]] for i in range(max(1, start), len(whole))))

    def judge(prompt: str, a: str, b: str) -> str:
        question = filled(spec, prompt, a, b)
        if tokenizer.chat_template:
            question = tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
            )
        found = {letter: log_likelihood(question, f"[[{letter}]]") for letter in LETTERS}
        if any(value is None for value in found.values()):  # too long for the model
            return "skip"
        return LETTERS[max(LETTERS, key=lambda letter: float(found[letter] or 0.0))]

    return judge
