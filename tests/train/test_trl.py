"""TRL's own SFTTrainer reads the dataset: the rows of every step, isolated, in order, each once; its loss is that of the documents."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["ACCELERATE_USE_CPU"] = "true"

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mixture.dataset import Batches, Rows, for_datasets
from tests.mixture import made_stream

trl = pytest.importorskip("trl", reason="needs trl: the extra `dev`")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """22 rows of 16 tokens: with 4 rows a step 6 steps, of the last half is empty."""
    return Rows(made_stream.write(tmp_path_factory.mktemp("trl"), [("main", 16, 22)]).manifest)


def tiny() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=64, eos_token_id=1, bos_token_id=None, pad_token_id=0,
        )
    )  # fmt: skip


def trained(rows: Rows, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(what each forward pass received, the log) of a run of SFTTrainer with accumulation."""
    words = WordLevel({f"t{i}": i for i in range(64)}, unk_token="t0")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), pad_token="t0", eos_token="t1")
    batches = Batches(rows, sequences=4, accumulate=2)
    args = trl.SFTConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no",
        logging_steps=1, disable_tqdm=True, num_train_epochs=1, learning_rate=1e-9,
        per_device_train_batch_size=batches.batch_size, gradient_accumulation_steps=batches.accumulate,
        dataset_kwargs={"skip_prepare_dataset": True}, padding_free=True, max_length=None, remove_unused_columns=False,
        train_sampling_strategy="sequential", shuffle_dataset=False,
    )  # fmt: skip
    trainer = trl.SFTTrainer(model=tiny(), args=args, train_dataset=for_datasets(batches), processing_class=tokenizer)
    seen: list[dict[str, Any]] = []
    trainer.model.register_forward_pre_hook(lambda model, given, named: seen.append(dict(named)), with_kwargs=True)
    trainer.train()
    return seen, [entry for entry in trainer.state.log_history if "loss" in entry]


def test_sft_trainer_trains_the_steps(rows: Rows, tmp_path: Path) -> None:
    seen, log = trained(rows, tmp_path)
    assert len(seen) == 12 and len(log) == 6
    for number, batch in enumerate(seen):
        items = [i if i < 22 else 22 for i in (2 * number, 2 * number + 1)]  # 22 is the empty row
        own = [rows[i] for i in items]
        assert batch["input_ids"].tolist() == [[t for item in own for t in item["input_ids"].tolist()]]
        assert batch["position_ids"].tolist() == [[t for item in own for t in item["position_ids"].tolist()]]
        assert batch["labels"].tolist() == [[t for item in own for t in item["labels"].tolist()]]
        sizes = torch.diff(batch["cu_seq_lens_q"]).tolist()
        assert sizes == [n for item in own for n in item["seq_lengths"]] and batch.get("attention_mask") is None


def test_its_loss_is_that_of_the_documents_alone(rows: Rows, tmp_path: Path) -> None:
    """Of every step: mean over the labels that have a place in the row. The rate is so small that the weights stay."""
    _, log = trained(rows, tmp_path)
    model = tiny()
    for step, entry in enumerate(log):
        nats, n = 0.0, 0
        for row in (rows[i] for i in range(4 * step, min(4 * step + 4, 22))):
            ids, labels, at = torch.from_numpy(row["input_ids"]), torch.from_numpy(row["labels"]), 0
            for size in row["seq_lengths"]:
                asked = int((labels[at : at + size] != -100).sum())
                if asked:
                    own = slice(at, at + size)
                    nats += model(input_ids=ids[None, own], labels=labels[None, own]).loss.item() * asked
                n, at = n + asked, at + size
        assert float(entry["loss"]) == pytest.approx(nats / n, abs=2e-3)  # TRL rounds to four digits


def test_transformers_takes_the_shifted_labels(rows: Rows) -> None:
    """`shift_labels` in the call: every label counts, those of a token in another row too."""
    model = tiny()
    more = 0
    for row in rows:
        tensors = {name: torch.from_numpy(row[name])[None] for name in ("input_ids", "position_ids", "labels", "shift_labels")}
        asked, placed = ((tensors[name] != -100).sum().item() for name in ("shift_labels", "labels"))
        more += asked - placed
        if not asked:
            continue
        with torch.no_grad():
            given = {**tensors, "use_cache": False}
            logits = model(**given).logits
            loss = model(**given).loss
        alone = torch.nn.functional.cross_entropy(logits[0], tensors["shift_labels"][0])
        assert loss.item() == pytest.approx(alone.item(), abs=1e-5)
    assert more > 0
