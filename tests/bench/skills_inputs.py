"""What tests.bench.skills trains on and asks: files, chat template, recipes and suite of a folder and a model, as one would write them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.bench.skills_made import made

TOP = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))
SEED, EACH, N_PAIRS, N_STORIES = 7, 20, 60, 240
TEMPLATE = """{{- bos_token }}
{%- if tools %}{{- 'can:' }}{% endif %}
{%- for tool in tools or [] %}{{- ' ' + tool.function.name + '(' + tool.function.parameters.required[0] + ')' }}{% endfor %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '\\nbot:\\n' }}
        {%- generation %}
            {{- message.content }}
            {%- for call in message.tool_calls or [] %}
                {{- '<tool_call>{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments | tojson + '}</tool_call>' }}
            {%- endfor %}{{- eos_token }}
        {%- endgeneration %}
    {%- else %}{{- '\\n' + message.role + ':\\n' + message.content }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '\\nbot:\\n' }}{% endif %}"""
CALLS = {
    "budget": "100 % of examples",
    "components": {
        kind: {"from": ["calls_LANGUAGE"], "where": {"task": {"equals": kind}, "n_tool_calls": bound}, "role": "instruction",
               "budget": f"{share} % of examples", "max_epochs": 40}
        for kind, share, bound in (("needed", 50, {"min": 1}), ("not_needed", 25, {"max": 0}), ("missing", 25, {"max": 0}))
    },
}  # fmt: skip


def written(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return path


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def told(model: Path, n: int) -> list[str]:
    """Stories by the model itself, sampled: what it could do before, to be trained on again."""
    tokenizer, teller = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    torch.manual_seed(SEED)
    begin = torch.full((n, 1), tokenizer.bos_token_id)
    with torch.no_grad():
        out = teller.generate(
            begin, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=220, pad_token_id=tokenizer.eos_token_id
        )
    return [text.strip() for text in tokenizer.batch_decode(out, skip_special_tokens=True)]


def files(top: Path, model: Path) -> None:
    for language in ("et", "en"):
        train, held = made(language, SEED, EACH)
        lines(top / "raw" / f"calls_{language}.jsonl", train)
        lines(top / "eval" / f"calls_{language}.jsonl", held)
    packed = pa.CompressedInputStream(pa.OSFile(str(DATA / "parallel" / "tatoeba_et_en.jsonl.zst")), "zstd").read()
    pairs = [{"et": row["text"], "en": row["text_en"]} for row in map(json.loads, packed.decode().splitlines())]
    lines(top / "eval" / "pairs.jsonl", pairs[:N_PAIRS])
    known = {text for pair in pairs[:N_PAIRS] for text in pair.values()}
    lines(top / "raw" / "pairs.jsonl", [pair for pair in pairs[N_PAIRS:] if not known & set(pair.values())])
    ask = ("Tell me a story.", "Please tell a story.", "I want a story.")
    stories = [
        [{"role": "user", "content": ask[i % 3]}, {"role": "assistant", "content": text}]
        for i, text in enumerate(told(model, N_STORIES))
    ]
    lines(top / "raw" / "stories.jsonl", [{"messages": story} for story in stories])
    sample = (DATA / "models" / "stories260K" / "tinystories_sample.txt").read_text(encoding="utf-8")
    lines(top / "eval" / "stories.jsonl", [{"text": text.strip()} for text in sample.split("<|endoftext|>") if text.strip()])


def recipe(top: Path, model: Path, name: str, stories: bool) -> Path:
    """2,700 examples of calls in each language, 5,400 of the pairs, of stories 900 or none."""
    declared = {"declared": "CC0-1.0"}
    sources = {
        **{f"calls_{of}": {"read": f"{top}/raw/calls_{of}.jsonl", "type": "conversation", "language": of, "fields": {"task": "kind"},
                           "license": declared} for of in ("et", "en")},
        "pairs": {"read": f"{top}/raw/pairs.jsonl", "type": "parallel", "license": {"declared": "CC-BY-2.0"},
                  "parallel": {"languages": ["en", "et"], "form": "translation", "reverse": "50 %", "separate_input": "100 %"}},
        "told": {"read": f"{top}/raw/stories.jsonl", "type": "conversation", "language": "en", "license": declared,
                 "conversation": {"provenance": {"generator": "stories260K"}}},
    }  # fmt: skip
    components = {of: {**json.loads(json.dumps(CALLS).replace("LANGUAGE", of)), "budget": "2700 examples"} for of in ("et", "en")}
    components["translate"] = {"from": ["pairs"], "role": "parallel", "budget": "5400 examples", "max_epochs": 6}
    if stories:
        components["stories"] = {"from": ["told"], "role": "replay", "budget": "900 examples", "max_epochs": 6}
    return written(top / f"{name}.yaml", {
        "kind": "sft", "name": name, "seed": SEED, "tokenizer": {"model": str(model), "bos": "none", "eos": "none"}, "sources": sources,
        "language_id": [{"backend": "py3langid", "candidates": ["et", "en"]}],
        "rules": [{"signal": signal, "max": 0, "sources": ["calls_et", "calls_en"]}
                  for signal in ("n_turn_problems", "n_bad_tool_arguments", "n_undeclared_tool_calls", "n_unpaired_tool_calls")],
        "dedup": {"near": None, "exact": "normalised"},
        "mixture": {"total": f"{11700 if stories else 10800} examples", "sequence_length": 512, "components": components},
    })  # fmt: skip


def suite(top: Path) -> Path:
    ask = "Translate to {}, and add nothing of your own.\n\n{{{{ {} }}}}"  # of the pool that the pairs are rendered with
    pair = {
        "kind": "translate",
        "chat": True,
        "data": {"path": f"{top}/eval/pairs.jsonl"},
        "max_new_tokens": 48,
        "stop": ["\n"],
        "metrics": ["chrf++"],
    }
    tasks = [
        {"name": f"calls_{of}", "kind": "calls", "language": of, "chat": True, "data": {"path": f"{top}/eval/calls_{of}.jsonl"}, "max_new_tokens": 96,
         "template": {"prompt": "{{ question }}"}, "stop": ["\n"], "metrics": ["valid", "call_decision", "call_exact", "call_match"]}
        for of in ("et", "en")
    ]  # fmt: skip
    tasks += [
        {**pair, "name": "en_et", "language": "et", "template": {"prompt": ask.format("Estonian", "en"), "answer": "{{ et }}"}},
        {**pair, "name": "et_en", "language": "en", "template": {"prompt": ask.format("English", "et"), "answer": "{{ en }}"}},
        {"name": "stories", "kind": "bits_per_byte", "language": "en", "data": {"path": f"{top}/eval/stories.jsonl"}},
    ]  # fmt: skip
    return written(top / "suite.yaml", {"name": "skills", "tasks": tasks})
