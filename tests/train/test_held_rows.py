"""train_rows: new. Rows of new tokens move, the others keep every bit: full or by adapters, tied or not; resumed, merged, reloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from curate.errors import CurateError
from tests.train.conftest import TINY, last, same_bits, weights
from train import cpt
from train.export import export

RunFile = Callable[..., Path]
NEW = [3, 17, 40, 63]  # of the 64 tokens of the fake stream
OLD = [i for i in range(64) if i not in NEW]
BOTH = ["embed_tokens", "lm_head"]
WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "full": {"full": {"train_rows": "new"}},
    "only the matrices": {"full": {"train_only": ["*embed_tokens*", "lm_head*"], "train_rows": "new"}},
    "adapters": {"lora": {"r": 2, "train_also": BOTH, "train_rows": "new"}},
}


def with_new_tokens(folder: Path, tied: bool) -> Path:
    torch.manual_seed(3)
    config = AutoConfig.for_model(**TINY, vocab_size=64, tie_word_embeddings=tied, max_position_embeddings=64)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    old_ids = iter(range(60))
    table = {
        "new_id": pa.array(range(64), pa.int32()),
        "old_id": pa.array([-1 if i in NEW else next(old_ids) for i in range(64)], pa.int32()),
    }
    pq.write_table(pa.table(table), folder / "id_map.parquet")
    return folder


def matrices(folder: Path) -> list[torch.Tensor]:
    """Embedding and head: of a model, or the copies that adapters come with."""
    found = weights(folder)
    return [p for name, p in sorted(found.items()) if p.shape[0] == 64 and ("embed_tokens" in name or "lm_head" in name)]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_only_new_rows_move(way: str, tied: bool, tmp_path: Path, run_file: RunFile) -> None:
    """With weight decay, clipping and Adam, over six steps; the same run without it moves the old rows too."""
    folder = with_new_tokens(tmp_path / "model", tied)
    wanted = WAYS[way]
    if tied and way == "only the matrices":
        wanted = {"full": {"train_only": ["*embed_tokens*"], "train_rows": "new"}}  # a tied head has no name of its own
    before = matrices(folder)
    assert len(before) == (1 if tied else 2)
    run = run_file(model={"init": str(folder)}, adapt=wanted)
    assert cpt.run(run) == 0
    after = matrices(last(tmp_path / "run"))
    assert len(after) in ((1, 2) if tied else (2,))  # peft may write a tied copy twice
    for now, was in zip(after, before * (len(after) // len(before)), strict=True):
        assert torch.equal(now[OLD], was[OLD])
        assert (now[NEW] != was[NEW]).any(1).all()
    ((kind, own),) = wanted.items()
    free = run_file("free", model={"init": str(folder)}, adapt={kind: {**own, "train_rows": "all"}})
    assert cpt.run(free) == 0
    assert not torch.equal(matrices(last(tmp_path / "free"))[0][OLD], before[0][OLD])


def test_resumed_to_the_bit(tmp_path: Path, run_file: RunFile) -> None:
    """A checkpoint has no id map: it is the one of the model that the run began with."""
    folder = with_new_tokens(tmp_path / "model", True)
    common = {"model": {"init": str(folder)}, "adapt": WAYS["full"]}
    assert cpt.run(run_file("whole", **common)) == 0
    parts = run_file("parts", **common)
    assert cpt.run(parts, ["stop.after=3 steps"]) == 0
    assert cpt.run(parts) == 0
    assert same_bits(last(tmp_path / "whole"), last(tmp_path / "parts"))


def test_merged_adapters_of_a_tied_model_reload(tmp_path: Path, run_file: RunFile) -> None:
    """huggingface/transformers#45127: a merged model whose vocabulary had grown and whose matrices are tied collapsed when reloaded."""
    folder = with_new_tokens(tmp_path / "model", True)
    assert cpt.run(run_file(model={"init": str(folder)}, adapt=WAYS["adapters"])) == 0
    export(tmp_path / "run", tmp_path / "merged", merge=True)
    from peft import PeftModel

    whole = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")
    adapted = PeftModel.from_pretrained(whole, last(tmp_path / "run")).eval()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    ids = torch.tensor([[*NEW, *OLD[:20]]])
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, rtol=0, atol=1e-5)
    assert merged.get_output_embeddings().weight.data_ptr() == merged.get_input_embeddings().weight.data_ptr()
    was = matrices(folder)[0]
    assert torch.equal(merged.get_input_embeddings().weight[OLD], was[OLD])
    assert (merged.get_input_embeddings().weight[NEW] != was[NEW]).any(1).all()


def test_what_is_refused(tmp_path: Path, run_file: RunFile) -> None:
    folder = with_new_tokens(tmp_path / "model", True)
    here = {"init": str(folder)}
    with pytest.raises(CurateError, match=r"adapt\.lora\.train_rows: train_rows: new, but neither matrix"):
        cpt.run(run_file("a", model=here, adapt={"lora": {"train_rows": "new"}}))
    with pytest.raises(CurateError, match=r"adapt\.full\.train_rows: train_rows: new, but neither matrix"):
        cpt.run(run_file("b", model=here, adapt={"full": {"train_only": ["*mlp*"], "train_rows": "new"}}))
    (folder / "id_map.parquet").unlink()
    with pytest.raises(CurateError, match=r"nothing says which rows are new\n.*found: +no id_map\.parquet beside the model"):
        cpt.run(run_file("c", model=here, adapt=WAYS["full"]))
