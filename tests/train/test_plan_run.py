"""What `curate plan RUN.yaml` says, by hand where a hand can; and that what it proposes does fit."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoConfig

from curate.errors import CurateError
from curate.inspect import run_plan_screen
from curate.manifest import write_manifest
from tests.train.measured import measure, run_of
from train.fit import changed, choose, rows_that_fit, settings_tried
from train.memory import RESERVE, peak
from train.oom import next_setting
from train.plan import report

# 2 layers, d 32, 4 heads, MLP 48, vocabulary 100, tied nothing: embeddings and head 2 x 3,200; a layer 4 x 1,024 + 3 x 1,536 + 2 x 32
TINY = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
PARAMETERS = 2 * 3200 + 2 * (4 * 1024 + 3 * 1536 + 64) + 32
SMALL = {
    "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 3000,
    "max_position_embeddings": 512,
}  # fmt: skip


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """Two phases: 100 rows of 32 tokens, 30 of 64; 8 and 4 rows a step, so 13 and 8 steps."""
    phases = [("main", 32, 100, 3100), ("long", 64, 30, 1900)]
    write_manifest(tmp_path / "manifest.json", {
        "schema_version": 1, "kind": "cpt", "name": "m", "tool_versions": {}, "recipe_sha256": "", "seed": 0, "roots": {"stream": "00"},
        "tokenizer": {"name": "t", "sha256": "0", "vocab_size": 100, "special": {}},
        "phases": [
            {"name": name, "sequence_length": length, "order": {"n_sequences": n}, "budget": {"loss_tokens": asked}}
            for name, length, n, asked in phases
        ],
        "components": [], "held_out": {}, "stream_checkpoints": [], "outputs": [], "lineage": [],
    })  # fmt: skip
    data = {
        "method": "cpt", "name": "tiny", "manifest": str(tmp_path / "manifest.json"), "model": {"init": TINY}, "micro_batch": 2,
        "global_batch": "256 tokens", "save": {"to": str(tmp_path / "run"), "every": "5 steps", "keep": 2},
        "schedule": {"kind": "wsd", "peak_lr": 2e-5, "warmup": "2 steps", "decay": "4 steps"},
    }  # fmt: skip
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_steps_tokens_and_checkpoints_by_hand(run_file: Path) -> None:
    data = report(run_file, device="h200")
    assert (data["steps"], data["tokens"], data["loss_tokens"]) == (13 + 8, 21 * 256, 3100 + 1900)
    assert [(p["steps"], p["rows"]) for p in data["phases"]] == [(13, 8), (8, 4)]
    assert [(b["micro_batch"], b["accumulation"]) for b in data["batches"]] == [(2, 4), (1, 4)]  # as many tokens in longer rows
    assert data["schedule"] == ["21 steps, wsd: warmup 2 steps to 2e-05, stable to step 17, then 4 steps of linear decay to 0"]
    assert data["model"]["parameters"] == data["model"]["trained"] == PARAMETERS
    # after steps 5, 10, 15, 20 and 21; two are kept, one more is there while it is written; fp32 weights and two moments
    assert (data["checkpoints"]["written"], data["checkpoints"]["kept"]) == (5, 2)
    assert data["checkpoints"]["bytes_each"] == 3 * 4 * PARAMETERS
    assert data["checkpoints"]["bytes"] == 3 * 3 * 4 * PARAMETERS
    assert data["fits"] is True


def test_hours_at_a_stated_speed_and_by_a_guess(run_file: Path) -> None:
    stated = report(run_file, tokens_per_second=100.0)["hours"]
    assert stated["low"] == stated["high"] == pytest.approx(21 * 256 / 100 / 3600)
    data = report(run_file, device="h200", devices=2)
    # work: 13 steps of rows of 32 tokens, 8 of 64, 256 tokens each; two devices at half and at 35 % of 989 TFLOP/s
    work = 256 * sum(n * data["flops_per_token"][length]["causal"] for n, length in ((13, 32), (8, 64)))
    assert data["hours"]["low"] == pytest.approx(work / (0.5 * 989e12 * 2) / 3600)
    assert data["hours"]["high"] == pytest.approx(work / (0.35 * 989e12 * 2) / 3600)
    assert "guess" in data["hours"]["from"]
    assert report(run_file, memory="80 GB")["hours"] is None


def test_stop_after_some_steps(run_file: Path) -> None:
    data = report(run_file, ["stop.after=15 steps"], device="h200")
    assert [p["steps"] for p in data["phases"]] == [13, 2]
    assert (data["steps"], data["loss_tokens"]) == (15, None)


def test_a_device_nobody_knows(run_file: Path) -> None:
    with pytest.raises(CurateError, match="not known"):
        report(run_file, device="abacus")


def test_parts_add_up_and_proposals_fit(run_file: Path) -> None:
    whole = report(run_file, ["model.init.vocab_size=60000"], memory="1 GB")["memory"]
    assert sum(whole["parts"].values()) == whole["total"]
    small = f"{int(0.8 * whole['total'] / 1000)} kB"
    data = report(run_file, ["model.init.vocab_size=60000"], memory=small)
    assert data["fits"] is False
    best = next(one for one in data["tried"] if one["fits"] and one["devices"] == 1)
    assert best["total"] <= 0.8 * whole["total"] * (1 - RESERVE)
    again = report(run_file, ["model.init.vocab_size=60000", *best["sets"]], memory=small)
    assert again["fits"] is True
    assert again["memory"]["total"] == best["total"]
    assert again["global_batch"] == 256
    text = run_plan_screen.render(data)
    assert "does not fit" in text
    assert " ".join(f"--set {one}" for one in best["sets"]) in text


def test_the_command(run_file: Path) -> None:
    command = [sys.executable, "-m", "curate", "plan", str(run_file), "--device", "h200"]
    files = sorted(run_file.parent.rglob("*"))
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["steps"] == 21
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "21 steps of 256 tokens" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("fits: ")
    assert done.stderr == ""
    assert sorted(run_file.parent.rglob("*")) == files


def test_order_of_settings() -> None:
    """Nothing fits a megabyte: every setting is tried, none twice, each of a smaller peak than the one before on as many devices."""
    config = AutoConfig.for_model("llama", **SMALL)
    tried = settings_tried(run_of(), config, 10**6, [64], 2)
    assert [one.says for one in tried] == [
        "as it is", "gradient checkpointing", "bf16 weights, rounded by lot", "8-bit optimizer", "FSDP over 2 devices",
        "FSDP over 4 devices", "FSDP over 8 devices", "FSDP over 16 devices", "LoRA", "QLoRA",
    ]  # fmt: skip
    assert all(one.rows == 0 for one in tried)
    alone = [one.memory.total for one in tried if one.world == 1]
    assert alone == sorted(alone, reverse=True)


def test_rows_that_fit_do_and_one_more_does_not() -> None:
    config, run = AutoConfig.for_model("llama", **SMALL), run_of(model={"checkpointing": True})
    one, nine = (peak(run, config, rows, 64).total for rows in (1, 9))
    free = int((one + nine) / 2 / (1 - RESERVE))
    rows, memory = rows_that_fit(run, config, free, 64, 16)
    assert 1 < rows < 9
    assert memory.fits(free)
    assert not peak(run, config, rows + 1, 64, micro_steps=math.ceil(16 / (rows + 1))).fits(free)


def test_auto_takes_equal_parts() -> None:
    """16 rows a step: where 9 to 15 fit, two passes of 8 do."""
    config, run = AutoConfig.for_model("llama", **SMALL), run_of(model={"checkpointing": True})
    free = int(peak(run, config, 11, 64).total / (1 - RESERVE))
    assert 8 < rows_that_fit(run, config, free, 64, 16)[0] < 16
    assert choose(run, config, free, length=64) == 8
    assert choose(run, config, 10**12, length=64) == 16
    assert choose(run, config, 10**12, world=4, length=64) == 4
    assert choose(run, config, 10**3, length=64) == 1  # nothing fits: the run says so itself


@pytest.mark.parametrize(
    ("changes", "rows", "expected"),
    [
        ({}, 4, "--set micro_batch=2"),
        ({}, 1, "--set model.checkpointing=true"),
        (
            {"model": {"checkpointing": True}},
            1,
            "--set model.dtype=bf16 --set model.weights=bf16 --set optimizer.rounding=stochastic",
        ),
        ({"model": {"checkpointing": True, "dtype": "bf16", "weights": "bf16"}}, 1, "--set optimizer.name=adamw_8bit"),
        ({"model": {"checkpointing": True}, "adapt": "lora"}, 1, "--set adapt.lora.quantize=nf4"),
        ({"model": {"checkpointing": True}, "adapt": {"lora": {"quantize": "nf4"}}}, 1, "nothing smaller is left"),
    ],
)
def test_next_setting(changes: dict[str, Any], rows: int, expected: str) -> None:
    run, config = run_of(**changes), AutoConfig.for_model("llama", **SMALL)
    assert next_setting(run, rows).startswith(expected)
    said = next_setting(run, rows, config=config, length=64)
    assert said.startswith(expected)
    if found := re.search(r"planned peak ([\d.]+) MiB -> ([\d.]+) MiB, the global batch stays", said):
        assert float(found[1]) > float(found[2])
    else:
        assert said.startswith("nothing")


def test_next_setting_counts_rows_of_the_first_phase() -> None:
    """4 rows of 128 tokens are what micro_batch 8 made of rows of 64: half of that is 4."""
    said = next_setting(run_of(), 4, config=AutoConfig.for_model("llama", **SMALL), length=128, first_length=64)
    assert said.startswith("--set micro_batch=4 ")


def test_a_proposed_setting_saves_what_is_said() -> None:
    """The saving of checkpointing, planned and measured by torch."""
    config, run = AutoConfig.for_model("llama", **SMALL), run_of()
    after = changed(run, ["model.checkpointing=true"])
    planned = peak(run, config, 4, 256, device="cpu").total - peak(after, config, 4, 256, device="cpu").total
    measured = measure(run, config, 4, 256) - measure(after, config, 4, 256)
    assert planned == pytest.approx(measured, rel=0.1)


def test_a_model_whose_memory_cannot_be_told(run_file: Path) -> None:
    """Experts in fp32 have no grouped product on fake tensors (torch 2.13): the rest of the plan is there, and says why."""
    experts = {"model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
    sets = [f"model.init={json.dumps({**TINY, **experts})}"]
    data = report(run_file, sets, device="h200")
    assert (data["steps"], data["memory"], data["fits"]) == (21, None, None)
    assert "memory: not known (the memory of qwen3_moe cannot be told" in run_plan_screen.render(data)
