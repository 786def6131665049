"""lm-evaluation-harness by itself: hand-written task files and its own command line, for tests and evidence. Nothing of train/ is used here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

XCOPA = """
task: xcopa_by_hand
dataset_path: json
dataset_kwargs: {data_files: {test: XCOPA_FILE}}
test_split: test
fewshot_split: test
output_type: multiple_choice
num_fewshot: SHOTS
doc_to_text: "{{premise.strip()[:-1]}} {{'sest' if question == 'cause' else 'seetõttu'}}"
doc_to_choice: "{{[choice1[0].lower() + choice1[1:], choice2[0].lower() + choice2[1:]]}}"
doc_to_target: label
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
ESTQA = """
task: estqa_by_hand
dataset_path: json
dataset_kwargs: {data_files: {test: ESTQA_FILE}}
test_split: test
output_type: generate_until
num_fewshot: 0
doc_to_text: "Küsimus: {{meta.question}}\\nVastus:"
doc_to_target: "{{meta.answers.text[0]}}"
generation_kwargs: {until: ["\\n", "."], max_gen_toks: 24, do_sample: false, temperature: 0.0}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true, ignore_punctuation: true}
"""


def run(
    model: Path, data: Path, folder: Path, *, limit: int | None = None, shots: int = 0, seed: int = 1234, batch: int = 8
) -> dict:
    """{scores: {task: {metric: value}}, samples: {task: [sample]}} of both tasks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("xcopa", XCOPA), ("estqa", ESTQA)):
        said = text.replace("XCOPA_FILE", str(data / "eval" / "xcopa_et_test.jsonl.zst")).replace("SHOTS", str(shots))
        (folder / f"{name}.yaml").write_text(said.replace("ESTQA_FILE", str(data / "eval" / "estqa-train-v1.0.jsonl.zst")))
    command = [
        sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu",
        "--tasks", "xcopa_by_hand,estqa_by_hand", "--include_path", str(folder), "--output_path", str(folder / "out"), "--log_samples",
        "--batch_size", str(batch), "--seed", f"0,1234,1234,{seed}", *(["--limit", str(limit)] if limit else []),
    ]  # fmt: skip
    alone = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(command, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    (scores,) = (folder / "out").rglob("results_*.json")
    samples = {
        path.name.removeprefix("samples_").rpartition("_by_hand")[0]: [
            json.loads(line) for line in path.read_text().split("\n") if line
        ]
        for path in (folder / "out").rglob("samples_*.jsonl")
    }
    for of in samples.values():
        of.sort(key=lambda sample: sample["doc_id"])
    return {
        "scores": {k.removesuffix("_by_hand"): v for k, v in json.loads(scores.read_text())["results"].items()},
        "samples": samples,
    }
