"""Whole runs on the CPU: the receipt, exact resume, how micro batches are cut, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from curate.errors import CurateError
from tests.train.conftest import TINY, last, residual, same_bits, weights
from tests.train.dpo.fake import FakePairs, pair_of
from train.dpo import run
from train.dpo.pairs import Pairs
from train.watch.log import read_log

RunFile = Callable[..., Path]


def steps_of(folder: Path) -> list[dict]:
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "step"]


def test_a_run_trains_every_pair_once_and_its_receipt_says_so(run_file: RunFile, tmp_path: Path, pairs) -> None:
    assert run.run(run_file()) == 0
    receipt = json.loads((last(tmp_path / "run") / "receipt.json").read_text())
    assert receipt["differences"] == [] and receipt["method"] == "dpo" and receipt["sequences"] == 22 and receipt["steps"] == 6
    assert receipt["streams"][0]["stream_sha256"] == pairs.manifest["roots"]["stream"]
    trained = pairs.pairs[:22]
    assert receipt["tokens"] == sum(2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in trained)
    assert receipt["loss_tokens"] == sum(len(p.chosen_ids) + len(p.rejected_ids) for p in trained)
    lines = steps_of(tmp_path / "run")
    assert [line["pairs"]["all"]["n"] for line in lines] == [4, 4, 4, 4, 4, 2]
    assert abs(lines[0]["loss_sum"] / 4 - 0.6931472) < 1e-5  # ln 2: before the first step nothing has parted from the reference


def logged(folder: Path, key: str) -> list[float]:
    """Of every step; of one that was done again, the later."""
    return read_log(folder / "log.jsonl").steps.of("pairs", "all", key).tolist()


def test_stopped_and_gone_on_is_the_same_run(run_file: RunFile, tmp_path: Path) -> None:
    """Bit for bit: weights, optimizer, receipt. With dropout, whose draws belong to step and answer."""
    lora = {"adapt": {"lora": {"r": 4, "dropout": 0.2}}, "dropout": True, "schedule": {"kind": "cosine", "peak_lr": 3e-3}}
    for name, how in (("full", {}), ("lora", lora)):
        assert run.run(run_file(f"whole-{name}", **how)) == 0
        path = run_file(f"halves-{name}", **how, save={"to": str(tmp_path / f"halves-{name}"), "every": "2 steps"})
        with pytest.raises(_StopError):
            run.run(path, ["track.project=stop"])
        assert run.run(path) == 0
        assert same_bits(last(tmp_path / f"whole-{name}"), last(tmp_path / f"halves-{name}"))
        assert logged(tmp_path / f"whole-{name}", "margin") == logged(tmp_path / f"halves-{name}", "margin")


class _StopError(Exception): ...


@pytest.fixture(autouse=True)
def stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose project is called so dies in the middle of step 4, two steps after its last checkpoint but one."""
    step = run._step

    def dies(tuning, between, prepared, number: int) -> bool:
        if tuning.settings.track.project == "stop" and number == 3:
            raise _StopError
        return step(tuning, between, prepared, number)

    monkeypatch.setattr(run, "_step", dies)


def test_micro_batches_change_nothing_but_rounding(run_file: RunFile, tmp_path: Path) -> None:
    """The mean over the pairs of the global batch: of one pair at a time, of a few, of all at once."""
    for size in (2, 128, 4096):
        assert run.run(run_file(f"micro-{size}", micro_tokens=size)) == 0
    one, few, all_ = (weights(last(tmp_path / f"micro-{size}")) for size in (2, 128, 4096))
    assert residual(one, few)[1] <= 1e-5 and residual(one, all_)[1] <= 1e-5
    for size in (128, 4096):
        a, b = logged(tmp_path / "micro-2", "loss"), logged(tmp_path / f"micro-{size}", "loss")
        assert max(abs(x - y) for x, y in zip(a, b, strict=True)) <= 1e-5


def test_a_second_run_computes_no_reference(run_file: RunFile, tmp_path: Path, capfd) -> None:
    assert run.run(run_file("first")) == 0
    parts = sorted((tmp_path / "reference").rglob("part-*.npy"))
    assert len(parts) == 1 and "reference: 27 of 27 pairs" in capfd.readouterr().err
    assert run.run(run_file("second", loss={"kind": "ipo", "beta": 0.3})) == 0
    assert sorted((tmp_path / "reference").rglob("part-*.npy")) == parts
    assert "all log-probabilities are known" in capfd.readouterr().err
    assert run.run(run_file("other", model={"init": {**TINY, "initializer_range": 0.2}, "seed": 2})) == 0
    assert len(sorted((tmp_path / "reference").iterdir())) == 2  # another model's are apart


def test_the_reference_is_the_first_model_also_when_the_run_goes_on_without_its_store(run_file: RunFile, tmp_path: Path) -> None:
    assert run.run(run_file("whole")) == 0
    path = run_file("halves", stop={"after": "3 steps"})
    assert run.run(path) == 0
    shutil.rmtree(tmp_path / "reference")
    assert run.run(run_file("halves")) == 0
    a, b = weights(last(tmp_path / "whole")), weights(last(tmp_path / "halves"))
    assert residual(a, b)[1] <= 1e-5  # the numbers were computed again, in other batches


@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired", {"kind": "simpo", "beta": 2.0, "margin": 0.5}, "ipo", "hinge"])
def test_losses_teach_to_prefer(run_file: RunFile, tmp_path: Path, loss: object) -> None:
    assert run.run(run_file(loss=loss, schedule={"kind": "constant", "peak_lr": 5e-3})) == 0
    margins = [margin / n for margin, n in zip(logged(tmp_path / "run", "margin"), logged(tmp_path / "run", "n"), strict=True)]
    assert margins[-1] > margins[0]
    held = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines() if '"held_out"' in line[:30]]
    assert all(held[1]["components"][name]["margin"] > held[0]["components"][name]["margin"] for name in ("helpful", "polite"))


def test_a_row_that_is_left_out_on_the_way_changes_the_receipt(run_file: RunFile, tmp_path: Path, monkeypatch) -> None:
    """Of one pair another rejected answer enters than the manifest has."""
    real = Pairs.pair
    monkeypatch.setattr(
        Pairs,
        "pair",
        lambda self, i: real(self, i)._replace(rejected_ids=real(self, 8).rejected_ids) if i == 9 else real(self, i),
    )
    assert run.run(run_file()) == 1
    receipt = json.loads((last(tmp_path / "run") / "receipt.json").read_text())
    assert receipt["differences"][0] == "what entered the model differs from the stream between rows 5 and 10"


def test_skipped_pairs_are_named_and_the_rest_is_as_planned(run_file: RunFile, tmp_path: Path) -> None:
    assert run.run(run_file(skip=["3-7", 20])) == 0
    receipt = json.loads((last(tmp_path / "run") / "receipt.json").read_text())
    assert receipt["skipped"] == [3, 4, 5, 6, 7, 20] and receipt["sequences"] == 16 and receipt["differences"] == []
    assert logged(tmp_path / "run", "n") == [3, 0, 4, 4, 4, 1]


def test_another_loss_is_another_training(run_file: RunFile) -> None:
    assert run.run(run_file(stop={"after": "2 steps"})) == 0
    with pytest.raises(CurateError, match=r"loss\.kind was sigmoid and is now ipo"):
        run.run(run_file(loss="ipo"))


BAD = {
    "equal": (pair_of([1, 2], [3, 4], [3, 4]), "chosen and rejected are the same"),
    "empty": (pair_of([1, 2], [3, 4], []), "an answer is empty"),
    "long": (pair_of([1] * 30, [3] * 11, [4]), "it is longer than the window"),
    "vocabulary": (pair_of([1, 2], [64], [4]), "a token has no row"),
}


@pytest.mark.parametrize("name", BAD)
def test_pairs_that_teach_nothing_are_named_before_the_first_step(
    run_file: RunFile, tmp_path: Path, pairs: FakePairs, name: str
) -> None:
    path = run_file()
    pairs.pairs[13], words = BAD[name]
    with pytest.raises(CurateError, match=words) as caught:
        run.run(path)
    assert "pair 13" in str(caught.value) and caught.value.exit_code == 2
    assert not list((tmp_path / "run").glob("step-*")) and steps_of(tmp_path / "run") == []


def test_a_damaged_part_of_the_store_is_named(run_file: RunFile, tmp_path: Path) -> None:
    assert run.run(run_file("first")) == 0
    part = next((tmp_path / "reference").rglob("part-*.npy"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(CurateError, match="not what was written"):
        run.run(run_file("second"))


def test_stored_numbers_of_another_model_are_found_out(run_file: RunFile, tmp_path: Path) -> None:
    assert run.run(run_file("first")) == 0
    assert run.run(run_file("other", model={"init": {**TINY, "initializer_range": 0.2}, "seed": 2})) == 0
    one, two = sorted((tmp_path / "reference").iterdir())
    for a, b in ((one, two), (two, one)):
        for part in a.glob("part-*.npy"):
            shutil.copy(part, b / f"{part.name}.kept")
    for folder in (one, two):
        kept = next(folder.glob("*.kept"))
        for part in folder.glob("part-*.npy"):
            part.unlink()
        kept.rename(folder / kept.name.removesuffix(".kept"))
    with pytest.raises(CurateError, match="the model before the first step is not the reference"):
        run.run(run_file("second"))
