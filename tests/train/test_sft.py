"""SFT: the loss is that of TRL's own way with the same conversations; stopping is the same as not stopping; the folder answers and stops."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trl
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, TrainerCallback

from curate.errors import CurateError
from curate.store import file_sha256, read_json
from tests.train import chats, plain_loop
from tests.train.conftest import TINY, costs, last, residual, same_bits, weights
from tests.train.fake import FakeStream
from tests.train.test_cpt import stop_after
from train import cpt, lineage, sft
from train.export import export
from train.streams import Streams, open_streams

RunFile = Callable[..., Path]
Patch, Said = pytest.MonkeyPatch, pytest.CaptureFixture[str]
CALM = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}
RATES = [1e-3, 2e-3, 2e-3, 2e-3 * 2 / 3, 2e-3 / 3]  # warmup of 2 steps to 2e-3, then a line to nothing one step after the last


@pytest.fixture
def sft_file(run_file: RunFile, stream: FakeStream, monkeypatch: Patch) -> RunFile:
    """The run file of the fake stream (conftest), with method sft."""
    monkeypatch.setattr(sft, "open_streams", lambda paths: Streams([stream]))  # type: ignore[list-item]
    return lambda to="run", **changes: run_file(to, method="sft", **changes)


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> chats.Chats:
    """40 conversations in 20 rows of 1024 tokens: 5 steps of 4 rows."""
    return chats.make(data, tmp_path_factory.mktemp("chats"))


@pytest.fixture(scope="module")
def base(made: chats.Chats, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(made, tmp_path_factory.mktemp("model") / "base")


def write_base(made: chats.Chats, folder: Path) -> Path:
    """A pretrained model with the tokenizer, without a chat template."""
    torch.manual_seed(0)
    special = {"bos_token_id": 3, "eos_token_id": 0, "pad_token_id": None}
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=340, max_position_embeddings=1024, **size, **special)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(made.manifest.parents[1] / "tokenizer" / name, folder)
    return folder


def run_of(made: chats.Chats, base: Path, to: Path, **changes: object) -> Path:
    data = {
        "method": "sft", "name": "chats", "manifest": str(made.manifest), "model": {"init": str(base)},
        "global_batch": "4096 tokens", "micro_batch": 2, "optimizer": {"weight_decay": 0.1, "clip": 1.0},
        "schedule": {"kind": "linear", "peak_lr": 2e-3, "warmup": "2 steps"}, "save": {"to": str(to)}, **changes,
    }  # fmt: skip
    path = to.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(data))
    return path


class Rates(TrainerCallback):
    def on_step_begin(self, args, state, control, optimizer, **kwargs) -> None:
        for group in optimizer.param_groups:
            group["lr"] = RATES[state.global_step]


def trained_by_trl(made: chats.Chats, base: Path, to: Path) -> tuple[list[float], torch.nn.Module]:
    """(loss of every step, model): conversations in the order of our stream, 8 a step, as TRL itself tokenises and masks them."""
    import datasets

    streams = open_streams([made.manifest])
    rows = [streams.row(i) for i in range(20)]
    found = [made.by_tokens[tuple(row.input_ids[row.document == k].tolist())] for row in rows for k in range(2)]
    assert len(found) == 40 and all(row.document.max() == 1 for row in rows)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(made.manifest.parents[1] / "tokenizer")
    tokenizer.chat_template = made.tokenizer.chat_template
    args = trl.SFTConfig(
        output_dir=str(to), use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none", save_strategy="no",
        logging_strategy="no", disable_tqdm=True, max_steps=5, per_device_train_batch_size=4, gradient_accumulation_steps=2,
        train_sampling_strategy="sequential", shuffle_dataset=False, assistant_only_loss=True, max_length=None, packing=False,
        max_grad_norm=1.0,
    )  # fmt: skip
    steps = torch.optim.AdamW(plain_loop.decayed(list(model.parameters())), betas=(0.9, 0.95))
    flat = torch.optim.lr_scheduler.LambdaLR(steps, lambda step: 1.0)
    given = datasets.Dataset.from_dict({"messages": found})
    trainer = trl.SFTTrainer(
        model=model, args=args, train_dataset=given, processing_class=tokenizer, optimizers=(steps, flat), callbacks=[Rates()]
    )
    of_step: list[list[float]] = [[] for _ in range(5)]
    plain = trainer.compute_loss

    def compute_loss(*given, **named):
        loss = plain(*given, **named)
        of_step[trainer.state.global_step].append(loss.item())
        return loss

    trainer.compute_loss = compute_loss
    trainer.train()
    return [sum(losses) for losses in of_step], model


def test_loss_is_that_of_trl_on_the_same_conversations(made: chats.Chats, base: Path, tmp_path: Path) -> None:
    """TRL renders, tokenises, masks and pads the conversations itself; ours are rows of the stream, two in each."""
    assert sft.run(run_of(made, base, tmp_path / "ours")) == 0
    wanted, model = trained_by_trl(made, base, tmp_path / "theirs")
    found = costs(tmp_path / "ours")
    difference = np.abs(np.subtract(found, wanted)).max()
    mean, largest = residual(weights(last(tmp_path / "ours")), model.state_dict())
    print(f"losses {np.round(found, 4).tolist()}: at most {difference:.1e} from TRL's; weights {mean:.1e}, at most {largest:.1e}")
    assert len(found) == 5 and difference < 1e-6
    assert mean < 1e-6 and largest < 1e-4
    assert found[-1] < found[0] - 0.05
    receipt = read_json(last(tmp_path / "ours") / "receipt.json")
    asked = sum(row.n_loss_tokens for row in map(open_streams([made.manifest]).row, range(20)))
    assert (receipt["sequences"], receipt["loss_tokens"], receipt["differences"]) == (20, asked, [])


def test_the_folder_answers_and_stops(made: chats.Chats, base: Path, tmp_path: Path, capsys: Said) -> None:
    """transformers opens it: the manifest's template is there, generation ends where answers end, and the receipt knows the base model."""
    assert sft.run(run_of(made, base, tmp_path / "run", stop={"after": "2 steps"})) == 0
    said = capsys.readouterr()
    assert (
        "et: 9,553 of 16,819 tokens are learned" in said.err
        and "answers end in <|im_end|> (2): generation stops there" in said.err
    )
    folder = last(tmp_path / "run")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert tokenizer.chat_template == made.tokenizer.chat_template
    assert model.generation_config.eos_token_id == [0, 2] and model.config.eos_token_id == 0
    receipt = read_json(folder / "receipt.json")
    assert (receipt["method"], receipt["name"]) == ("sft", "chats")
    assert receipt["parents"] == [{"role": "init", "folder": base.name, "weights_sha256": lineage.weights_sha256(base)}]
    again = lineage.of("init", str(folder))
    assert (again["method"], again["name"], again["receipt_sha256"]) == ("sft", "chats", file_sha256(folder / "receipt.json"))


def test_adapters_merged_and_reloaded_are_the_same_model(made: chats.Chats, base: Path, tmp_path: Path) -> None:
    """Logits of the trained model (adapters over the base) and of the exported folder; it stops where answers end, and has the template."""
    run = run_of(made, base, tmp_path / "run", adapt={"lora": {"r": 4}}, stop={"after": "2 steps"})
    assert sft.run(run) == 0
    export(last(tmp_path / "run"), tmp_path / "whole", merge=True)
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), last(tmp_path / "run")
    ).eval()
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole").eval()
    row = open_streams([made.manifest]).row(0)
    ids = torch.from_numpy(row.input_ids[row.document == 0].astype(np.int64))[None]
    with torch.no_grad():
        apart = (plain(input_ids=ids).logits - whole(input_ids=ids).logits).abs().max().item()
        moved = (plain(input_ids=ids).logits - plain.unload()(input_ids=ids).logits).abs().max().item()
    print(f"logits {apart:.1e} apart, {moved:.1e} from those of the base")
    assert apart < 1e-5 < 1e-3 < moved
    assert whole.generation_config.eos_token_id == [0, 2]
    assert AutoTokenizer.from_pretrained(tmp_path / "whole").chat_template == made.tokenizer.chat_template
    assert "Supervised fine-tuning" in (tmp_path / "whole" / "README.md").read_text()


WAYS: dict[str, dict] = {
    "full": {},
    "lora with dropout": {"adapt": {"lora": {"r": 4, "dropout": 0.2}}},
    "lora and whole matrices": {"adapt": {"lora": {"r": 4, "train_also": ["embed_tokens", "lm_head"]}}},
    "a part frozen": {"adapt": {"full": {"freeze": "model.layers.0.*"}}},
    "bf16": {"model": {"init": TINY, "seed": 1, "dtype": "bf16", "weights": "bf16"}},
    "muon": {"optimizer": {"name": "muon"}},
    "checkpointing": {"model": {"init": TINY, "seed": 1, "checkpointing": True}},
}


@pytest.mark.parametrize("way", WAYS)
def test_resume_gives_the_same_bits(sft_file: RunFile, tmp_path: Path, monkeypatch: Patch, way: str) -> None:
    assert sft.run(sft_file("whole", **WAYS[way])) == 0
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        assert sft.run(sft_file("parts", **WAYS[way])) == 0
    assert last(tmp_path / "parts").name == "step-000003"
    before = weights(last(tmp_path / "parts"))
    assert sft.run(sft_file("parts", **WAYS[way])) == 0
    whole = tmp_path / "whole" / "step-000006"
    assert same_bits(last(tmp_path / "parts"), whole)
    assert any(not torch.equal(before[name], value) for name, value in weights(whole).items())


@pytest.mark.parametrize("changes", [{}, {"skip": ["4-7", "9"]}, {"micro_batch": 1, "optimizer": {"clip": None}}], ids=str)
def test_trains_what_cpt_trains(sft_file: RunFile, run_file: RunFile, tmp_path: Path, changes: dict) -> None:
    """Two loops and two heads, one gradient: also where rows, or all rows of a step (4 to 7), are left out, and without clipping."""
    assert cpt.run(run_file("cpt", model=CALM, **changes)) == 0
    assert sft.run(sft_file("sft", model=CALM, **changes)) == 0
    mean, largest = residual(weights(last(tmp_path / "cpt")), weights(last(tmp_path / "sft")))
    print(f"weights {mean:.1e}, at most {largest:.1e}")
    assert mean < 1e-6 and largest < 1e-5
    a, b = (read_json(last(tmp_path / name) / "receipt.json") for name in ("cpt", "sft"))
    assert {**a, "method": "sft"} == b and b["differences"] == []
    lines = [[json.loads(one) for one in (tmp_path / name / "log.jsonl").read_text().splitlines()] for name in ("cpt", "sft")]
    rates, norms = ([[e[key] for e in log if e["event"] == "step"] for log in lines] for key in ("lr", "gradient_norm"))
    assert rates[0] == rates[1] and np.allclose(norms[0], norms[1], atol=1e-5) and len(rates[0]) == 6


@pytest.mark.parametrize("adapters", [None, {"r": 4, "dropout": 0.2}], ids=["full", "lora with dropout"])
def test_another_micro_batch_after_the_load(sft_file: RunFile, tmp_path: Path, monkeypatch: Patch, adapters: dict | None) -> None:
    changes = {"model": CALM, **({"adapt": {"lora": adapters}} if adapters else {})}
    sft.run(sft_file("whole", **changes))
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        sft.run(sft_file("parts", micro_batch=1, **changes))
    sft.run(sft_file("parts", micro_batch=4, **changes))
    whole, parts = last(tmp_path / "whole"), last(tmp_path / "parts")
    assert (whole / "receipt.json").read_bytes() == (parts / "receipt.json").read_bytes()
    mean, largest = residual(weights(whole), weights(parts))
    assert mean < 1e-6 and largest < 1e-5


def test_a_token_exchanged_on_the_way_into_the_model_shows(sft_file: RunFile, tmp_path: Path, monkeypatch: Patch) -> None:
    """The loop believes it fed row 8; the model got one other token."""
    before = sft.Fused.given

    def exchanged(self, input_ids, position_ids, labels):
        if self.training and 8 in self.test_rows:
            input_ids = input_ids.clone()
            input_ids[self.test_rows.index(8), 3] += 1
        return before(self, input_ids, position_ids, labels)

    begin = sft.session.Draws.begin
    monkeypatch.setattr(
        sft.session.Draws,
        "begin",
        lambda d, seed, step, rows: (setattr(sft.Fused, "test_rows", rows), begin(d, seed, step, rows)),
    )
    monkeypatch.setattr(sft.Fused, "test_rows", [], raising=False)
    monkeypatch.setattr(sft.Fused, "given", exchanged)
    assert sft.run(sft_file()) == 1
    receipt = read_json(last(tmp_path / "run") / "receipt.json")
    assert receipt["differences"] == ["what entered the model differs from the stream between rows 5 and 10"]


def test_a_checkpoint_of_another_method_is_refused(sft_file: RunFile, run_file: RunFile, monkeypatch: Patch) -> None:
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        cpt.run(run_file())
    with pytest.raises(CurateError, match="method was None and is now sft"):
        sft.run(sft_file())


def test_a_manifest_that_changed_is_refused(sft_file: RunFile, stream: FakeStream, monkeypatch: Patch) -> None:
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        sft.run(sft_file())
    stream.manifest["roots"]["stream"] = "0" * 64
    with pytest.raises(CurateError, match="stream_roots was"):
        sft.run(sft_file())


def test_rows_that_ask_nothing(sft_file: RunFile, stream: FakeStream, tmp_path: Path) -> None:
    """A long prompt may fill rows of its own, the first ones too; where no row asks anything there is nothing to train."""
    plain = list(stream.rows)
    for i in range(6):
        stream.rows[i] = plain[i]._replace(labels=np.full(32, -100), n_loss_tokens=0)
    assert sft.run(sft_file("some")) == 0
    receipt = read_json(last(tmp_path / "some") / "receipt.json")
    assert receipt["loss_tokens"] == sum(row.n_loss_tokens for row in plain[6:22]) and receipt["differences"] == []
    for i, row in enumerate(plain):
        stream.rows[i] = row._replace(labels=np.full(32, -100), n_loss_tokens=0)
    with pytest.raises(CurateError, match="nothing is asked: the loss mask is all zero"):
        sft.run(sft_file("none"))


def test_end_tokens_by_hand() -> None:
    """Two documents in a row, learned: 5 6 and 8 of the first, 9 of the second; 11 would be learned from a token that is in the next row."""
    from mixture.stream import Row
    from train.answers import _ends

    labels = np.array([-100, 5, 6, -100, 8, -100, 9, -100, -100, 11])
    row = Row(*[np.zeros(10, np.int64)] * 1, labels, *[np.zeros(10, np.int64)] * 3, 10, 5, 0, b"")
    assert _ends(row) == [6, 8, 9]
