"""Templates in a recipe, from the command line: ours by name from build to checked tokens and brackets, and what a bad one says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from curate.manifest import read_manifest
from mixture.chat import SHIPPED, by_sha256
from tests.command import build, curate
from tests.made import text, write_recipe, write_source
from tests.mixture import tiny_tokenizer

CONFIG = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}


def recipe_of(folder: Path, chat_template: str | None, jinja: str | None = None) -> Path:
    talks = [
        [
            {"role": "user", "content": f"Küsimus {i}: {text(8, i)}?"},
            {"role": "assistant", "content": text(12, f"a{i}")},
            {"role": "user", "content": "Ja veel?"},
            {"role": "assistant", "content": f"Vastus {i}."},
        ]
        for i in range(20)
    ]
    write_source(folder, "chat", [{"messages": talk, "id": str(i)} for i, talk in enumerate(talks)])
    path = write_recipe(
        folder,
        sources={
            "chat": {
                "read": "chat.jsonl", "type": "conversation", "loss": "assistant", "language": "et", "license": {"declared": "CC0-1.0"},
            }
        },
        rules=[], dedup={"exact": [], "near": None},
        mixture={
            "total": "1M tokens", "sequence_length": 512, "on_shortage": "shrink_total",
            "components": {"all": {"from": ["chat"], "role": "instruction", "budget": "1M tokens", "max_epochs": 1}},
        },
    )  # fmt: skip
    tiny_tokenizer.write(folder / "tok", template=jinja, config=CONFIG)
    if chat_template is not None:
        path.write_text(path.read_text().replace("tokenizer:\n", f"tokenizer:\n  eos: none\n  chat_template: {chat_template}\n"))
    return path


def test_chatml_by_name(tmp_path):
    recipe = recipe_of(tmp_path, "chatml")
    done = build(recipe, tmp_path)
    assert "chat template" not in done.stderr
    manifest = read_manifest(tmp_path / "build" / "manifest.json")
    assert by_sha256(manifest["tokenizer"]["template_sha256"]) == SHIPPED["chatml"].source
    rows = json.loads(curate("step", tmp_path / "build", 0, "--texts", "--json").stdout)["rows"]
    for read in (document["text"] for row in rows for document in row["documents"]):
        question, answer, more, last, end = re.split("[⟦⟧]", read)
        assert re.fullmatch(r"<\|im_start\|>user\nKüsimus \d+: [^<]+\?<\|im_end\|>\n<\|im_start\|>assistant\n", question)
        assert re.fullmatch(r"[^<]+<\|im_end\|>", answer)
        assert more == "\n<|im_start|>user\nJa veel?<|im_end|>\n<|im_start|>assistant\n"
        assert re.fullmatch(r"Vastus \d+\.<\|im_end\|>", last)
        assert end == "\n"
    assert curate("verify", tmp_path / "build").returncode == 0


TURN = "<|im_start|>{{ m.role }}\n"
LOOP = "{% for m in messages %}" + TURN + "BODY{% endfor %}"
ANSWER = "{% if m.role == 'assistant' %}BODY{% else %}{{ m.content }}<|im_end|>{% endif %}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{{ m.content }}<|im_end|>", "no {% generation %} markers"),
        ("{% if false %}{% generation %}{% endgeneration %}{% endif %}{{ m.content }}<|im_end|>", "a mask of zeros"),
        (ANSWER.replace("BODY", "{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>"), "would never learn to stop"),
        ("{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}", "more than the assistant's words"),
        ("{{ strftime_now('%d') }}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}", "on another day"),
    ],
)
def test_a_bad_template_is_one_message_before_any_work(tmp_path, body, said):
    done = curate(
        "build-mixture", recipe_of(tmp_path, None, LOOP.replace("BODY", body)), "--out", tmp_path / "b", "--store", tmp_path / "s"
    )
    assert done.returncode == 2
    assert said in done.stderr and "next:" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gemma", "no <start_of_turn>, <end_of_turn>"),
        ("llama31", "one of ours (llama3, llama3.1, llama3.2, chatml, gemma, mistral, mistral-v1, alpaca) or a file"),
    ],
)
def test_a_name_that_does_not_fit(tmp_path, name, said):
    done = curate("build-mixture", recipe_of(tmp_path, name), "--out", tmp_path / "b", "--store", tmp_path / "s")
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_warning_is_said_and_the_build_goes_on(tmp_path):
    jinja = LOOP.replace("BODY", ANSWER.replace("BODY", "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"))
    done = build(recipe_of(tmp_path, None, jinja + "{{ messages | length }}"), tmp_path)
    assert done.stderr.count("earlier turns are written in another way once there are later ones") == 1
