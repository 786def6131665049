"""Several manifests are one stream: names, numbers, receipt; and a run goes on into a manifest that was built after it began."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from curate.errors import CurateError
from curate.store import read_json, write_json
from tests.mixture import made_stream
from tests.train.conftest import TINY, last, same_bits
from tests.train.fake import FakeStream
from tests.train.test_cpt import stop_after
from train import cpt
from train.streams import Streams, open_streams

Patch, Said = pytest.MonkeyPatch, pytest.CaptureFixture[str]
Write = Callable[..., Path]
# 128 tokens a step: 22 rows of 32 are 6 steps; 9 of 32 and 3 of 64 are 3 and 2
FIRST, SECOND = [("main", 32, 22)], [("main", 32, 9), ("long", 64, 3)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[made_stream.Made]:
    folder = tmp_path_factory.mktemp("made")
    return [made_stream.write(folder / f"{n}", phases, seed=n) for n, phases in enumerate((FIRST, SECOND))]


@pytest.fixture
def write(tmp_path: Path, two: list[made_stream.Made]) -> Write:
    def write(to: str, manifests: list[int], **changes: object) -> Path:
        data = {
            "method": "cpt", "name": "two", "manifest": [str(two[n].manifest) for n in manifests],
            "model": {"init": {**TINY, "max_position_embeddings": 64}, "seed": 1}, "global_batch": "128 tokens", "micro_batch": 2,
            "schedule": {"kind": "wsd", "peak_lr": 3e-3, "warmup": "1 steps", "decay": "2 steps"},
            "save": {"to": str(tmp_path / to), "every": "1 steps", "keep": 99}, "seed": 5, **changes,
        }  # fmt: skip
        path = tmp_path / f"{to}.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return write


def rates(folder: Path) -> list[float]:
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [event["lr"] for event in events if event["event"] == "step"]


def test_the_stable_part_is_extended(write: Write, tmp_path: Path, two: list[made_stream.Made], capsys: Said) -> None:
    """From before the first run's decay on into the second manifest: the bits of a run that knew both from its beginning."""
    assert cpt.run(write("first", [0])) == 0
    assert cpt.run(write("more", [0, 1], start_from=str(tmp_path / "first" / "step-000004"))) == 0
    assert "matches plan to the token" in capsys.readouterr().out
    assert cpt.run(write("both", [0, 1])) == 0
    assert same_bits(last(tmp_path / "more"), last(tmp_path / "both")) and last(tmp_path / "more").name == "step-000011"
    # one step of warmup is the peak at once; two steps of decay are the peak and half of it
    assert rates(tmp_path / "first") == pytest.approx([3e-3] * 5 + [1.5e-3])
    assert rates(tmp_path / "more") == pytest.approx([3e-3] * 6 + [1.5e-3])
    assert rates(tmp_path / "both") == pytest.approx([3e-3] * 10 + [1.5e-3])


def test_the_receipt_is_of_both_streams(write: Write, tmp_path: Path, two: list[made_stream.Made]) -> None:
    cpt.run(write("both", [0, 1]))
    receipt = read_json(last(tmp_path / "both") / "receipt.json")
    rows = [row for made in two for row in made.rows]
    assert receipt["sequences"] == 34 and receipt["steps"] == 11 and receipt["differences"] == []
    assert [own["sequences"] for own in receipt["streams"]] == [22, 12]
    assert all(own["stream_sha256"] == own["manifest"]["stream"] for own in receipt["streams"])
    assert {entry["name"]: entry["tokens"] for entry in receipt["components"]} == {
        name: sum(len(row["ids"]) for row in rows if row["component"] == n) for n, name in enumerate(made_stream.COMPONENTS)
    }
    assert {entry["name"]: entry["loss_tokens"] for entry in receipt["languages"]} == {
        name: sum(label != -100 and number == n for row in rows for label, number in zip(row["labels"], row["language"], strict=True))
        for n, name in enumerate(made_stream.LANGUAGES)
    }  # fmt: skip


@pytest.mark.parametrize("k", [3, 6, 8, 10])
def test_resume_in_either_stream(write: Write, tmp_path: Path, monkeypatch: Patch, capsys: Said, k: int) -> None:
    """Inside the first, at its end, inside the second, after its first phase."""
    cpt.run(write("whole", [0, 1]))
    with monkeypatch.context() as patched:
        stop_after(patched, k)
        cpt.run(write("parts", [0, 1]))
    cpt.run(write("parts", [0, 1]))
    assert same_bits(last(tmp_path / "parts"), last(tmp_path / "whole"))


def test_a_stop_in_the_second_stream_names_the_row(write: Write, capsys: Said) -> None:
    """8 steps are 22 rows and 8 of the second stream, whose marks are at 7 and 12: row 29 of the run."""
    assert cpt.run(write("parts", [0, 1], stop={"after": "8 steps"})) == 0
    assert "30 rows, matches plan as far as the manifest's marks go (row 29)" in capsys.readouterr().out


@pytest.mark.parametrize("manifests", [[1, 0], [1], [0]], ids=["turned round", "another", "one taken away"])
def test_other_lists_are_refused(write: Write, manifests: list[int]) -> None:
    cpt.run(write("run", [0, 1], stop={"after": "3 steps"}))
    with pytest.raises(CurateError, match="stream_roots was"):
        cpt.run(write("run", manifests))


def test_a_longer_list_goes_on_in_the_same_folder(write: Write, tmp_path: Path, two: list[made_stream.Made]) -> None:
    cpt.run(write("run", [0], schedule={"kind": "constant", "peak_lr": 3e-3}))
    assert cpt.run(write("run", [0, 1], schedule={"kind": "constant", "peak_lr": 3e-3})) == 0
    cpt.run(write("whole", [0, 1], schedule={"kind": "constant", "peak_lr": 3e-3}))
    assert same_bits(last(tmp_path / "run"), last(tmp_path / "whole"))


def test_phases_of_one_name_are_told_apart(two: list[made_stream.Made]) -> None:
    streams = open_streams([made.manifest for made in two])
    assert [(phase.name, phase.first_index, phase.n_rows) for phase in streams.phases] == [
        ("made-1/main", 0, 22), ("made-2/main", 22, 9), ("long", 31, 3)
    ]  # fmt: skip
    assert [streams.row(22 + i).input_ids[:3].tolist() for i in (0, 11)] == [two[1].rows[i]["ids"][:3] for i in (0, 11)]
    assert streams.held_out(0).input_ids[:3].tolist() == two[1].held_out[0]["ids"][:3]


def test_names_that_differ_are_renumbered() -> None:
    one, other = FakeStream(seed=1), FakeStream(seed=2)
    one.manifest, other.manifest = ({"name": name, "tokenizer": {"sha256": ""}} for name in ("one", "other"))
    other.components, other.languages = ["code", "et"], ["english", "suomi"]
    streams = Streams([one, other])  # type: ignore[list-item]
    assert streams.components == ["et", "en", "code"] and streams.languages == ["eesti", "english", "suomi"]
    assert [streams.row(i).component for i in (0, 2, 22, 24)] == [0, 1, 2, 0]  # 0 and 1 of `other` are code and et
    row, own = streams.row(22), other.rows[0]
    assert row.language.tolist() == [{0: 1, 1: 2, -1: -1}[n] for n in own.language.tolist()]
    batch = streams.read([22, 24], 1)
    assert batch.component.tolist() == [2, 0, -1] and batch.language[0].tolist() == row.language.tolist()
    assert set(batch.language[2].tolist()) == {-1}


def test_other_tokenizers_are_refused(two: list[made_stream.Made], tmp_path: Path) -> None:
    manifest = read_json(two[1].manifest)
    manifest["tokenizer"]["sha256"] = "1" * 64
    other = two[1].manifest.with_name("other.json")
    write_json(other, manifest)
    with pytest.raises(CurateError, match="different tokenizers"):
        open_streams([two[0].manifest, other])
