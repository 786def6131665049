"""The trainer goes the way of a plain loop that feeds one document at a time: every loss, every weight, for 22 steps, in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests import real
from tests.train import plain_loop
from tests.train.conftest import TINY, costs, residual, weights
from tests.train.fake import FakeStream, row_of, write_fake_manifest
from tests.train.stories import convert, read_model
from train import cpt
from train.streams import Streams

RunFile = Callable[..., Path]

SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "pad_token_id": None,
}  # fmt: skip
# a window of 8 tokens in rows of 32, so that the mask is of windows and of documents at once
WINDOW = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES = {
    "llama": {**TINY, "attention_dropout": 0.0},
    "llama tied": {"model_type": "llama", **SMALL, "tie_word_embeddings": True},
    "llama with biases": {"model_type": "llama", **SMALL, "attention_bias": True, "mlp_bias": True},
    "qwen3": {"model_type": "qwen3", **SMALL},
    "gemma2": {"model_type": "gemma2", **SMALL, **WINDOW, "query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0},
    "gemma3": {"model_type": "gemma3_text", **SMALL, **WINDOW, "query_pre_attn_scalar": 8},
}


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    made = FakeStream(n_sequences=87)  # 22 steps of 4 rows, one of the last is empty
    monkeypatch.setattr(cpt, "open_streams", lambda paths: Streams([made]))  # type: ignore[list-item]
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_a_plain_loop(family: str, run_file: RunFile, stream: FakeStream, tmp_path: Path) -> None:
    assert cpt.run(run_file(model={"init": FAMILIES[family], "seed": 1})) == 0
    model = plain_loop.fresh(FAMILIES[family], seed=1)
    wanted = plain_loop.train(model, plain_loop.batches(stream.rows[:87], 4), plain_loop.cosine(22))
    check(tmp_path / "run", model, wanted)


def check(run: Path, model: torch.nn.Module, wanted: list[float], allowed: float = 1e-5) -> None:
    """Issue 7's measure is a mean residual of 1e-6. The largest of a weight is `allowed` more: Adam divides by the size of gradients
    that are themselves rounding."""
    found = costs(run)
    assert len(found) == len(wanted) >= 20 and np.mean(found[-5:]) < np.mean(found[:5])
    of_loss = np.abs(np.array(found) - wanted)
    mean, largest = residual(weights(run / f"step-{len(wanted):06d}"), model.state_dict())
    print(
        f"{len(wanted)} steps: loss residual {of_loss.mean():.1e}, at most {of_loss.max():.1e}; weights {mean:.1e}, {largest:.1e}"
    )
    assert of_loss.mean() < 1e-6 and of_loss.max() < 1e-5
    assert mean < 1e-6 and largest < allowed


@pytest.fixture(scope="module")
def texts(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """Tokens of real Estonian articles, cut into documents of 3 to 89."""
    tokenizer = AutoTokenizer.from_pretrained(convert(data / "models" / "stories260K", tmp_path_factory.mktemp("stories")))
    articles = [row["text"][:2000] for row in real.rows(data, "wiki", 20)]
    ids = np.concatenate([tokenizer(text).input_ids for text in articles])
    sizes = np.random.default_rng(0).integers(3, 90, len(ids) // 90)
    return np.split(ids, np.cumsum(sizes))[:-1]


def packed(documents: list[np.ndarray], length: int, n_rows: int) -> list:
    rows, row = [], []
    for tokens in documents:
        if sum(map(len, row)) + len(tokens) > length:
            rows.append(row_of(row, length, len(rows) % 2))
            row = []
        row.append(tokens)
    assert len(rows) >= n_rows
    return rows[:n_rows]


def test_real_model_equals_a_plain_loop(
    data: Path, texts: list[np.ndarray], run_file: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = FakeStream(rows=packed(texts, 128, 83))
    monkeypatch.setattr(cpt, "open_streams", lambda paths: Streams([made]))  # type: ignore[list-item]
    path = run_file(model={"init": str(tmp_path / "model")}, global_batch="512 tokens")
    tokenizer = {"name": "none", "sha256": "0" * 64, "vocab_size": 512, "special": {"bos": 1, "eos": 2, "pad": None}}
    write_fake_manifest(tmp_path / "manifest.json", made, tokenizer=tokenizer)
    read_model(data / "models" / "stories260K" / "stories260K.bin").save_pretrained(tmp_path / "model")
    assert cpt.run(path) == 0
    steps, rates = plain_loop.batches(made.rows[:80], 4), plain_loop.cosine(20)
    model, exact = (AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=d) for d in (torch.float32, torch.float64))
    wanted = plain_loop.train(model, steps, rates)
    plain_loop.train(exact, steps, rates)
    # how far the plain loop itself is from arithmetic without rounding: 1.4e-4 at most, measured; ours as far
    _, rounding = residual(dict(model.state_dict()), exact.state_dict())
    check(tmp_path / "run", model, wanted, allowed=rounding)
    assert residual(weights(tmp_path / "run" / "step-000020"), exact.state_dict())[1] < 2 * rounding < 1e-3
