"""`curate simulate` on builds by the real road: the command, verify on its result, nesting, the dry run, and what it refuses."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate import cli
from curate.errors import CurateError
from curate.inspect import corpus
from curate.inspect.when import when
from curate.manifest import read_manifest
from curate.recipe import load_recipe
from curate.recipe.miniature import share_of
from mixture import dry_run
from mixture.batches import Steps, phases_of
from mixture.stream import Stream
from tests import made


def run(*args: object) -> int:
    try:
        cli.app([str(arg) for arg in args], standalone_mode=False)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def sources(top) -> dict:
    """web: 200 texts of 20 to 120 words; chat: 40 conversations, assistant's labels only; spare: in no component."""
    made.write_source(top / "raw", "web", [{"id": f"w{i}", "text": made.text(20 + i % 100, f"web{i}")} for i in range(200)])
    chat = [
        {"id": f"c{i}", "messages": [{"role": "user", "content": made.text(5, f"q{i}")},
                                     {"role": "assistant", "content": made.text(6 + i % 9, f"a{i}")}]}
        for i in range(40)
    ]  # fmt: skip
    made.write_source(top / "raw", "chat", chat)
    made.write_source(top / "raw", "spare", [{"id": f"s{i}", "text": made.text(40, f"s{i}")} for i in range(5)])
    return {
        "spare": {"read": "raw/spare.jsonl", "license": {"declared": "MIT"}},
        "web": {"read": "raw/web.jsonl", "language": "et", "license": {"declared": "MIT"}},
        "chat": {"read": "raw/chat.jsonl", "type": "conversation", "loss": "assistant", "license": {"declared": "MIT"}},
    }


HELD = {"per_component": "1k tokens", "at_most": "5 % of tokens"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """One phase: web 0.4 epochs (most of it over budget), chat about 1.7."""
    top = tmp_path_factory.mktemp("simulate")
    path = made.write_recipe(
        top, sources=sources(top), held_out=HELD,
        mixture={
            "total": "40k tokens", "sequence_length": 256,
            "components": {
                "web": {"from": ["web"], "role": "target", "budget": "30k tokens"},
                "chat": {"from": ["chat"], "role": "instruction", "budget": "10k tokens", "max_epochs": 4},
            },
        },
    )  # fmt: skip
    return made.build(path)


@pytest.fixture(scope="module")
def phased(tmp_path_factory):
    """Two phases, a group, a component by value: long documents of web belong to `et/long` where that has a budget."""
    top = tmp_path_factory.mktemp("simulate-phases")
    path = made.write_recipe(
        top, sources=sources(top), held_out=HELD,
        mixture={
            "sequence_length": 256,
            "components": {
                "et": {"components": {
                    "long": {"from": ["web"], "where": {"n_words": {"min": 90}}, "role": "target", "max_epochs": 3},
                    "web": {"from": ["web"], "role": "target"},
                }},
                "chat": {"from": ["chat"], "role": "instruction", "max_epochs": 4},
            },
            "phases": {
                "main": {"total": "30k tokens", "components": {"et/web": "90 % of tokens", "chat": "10 % of tokens"}},
                "anneal": {"total": "20k tokens", "sequence_length": 128, "packing": "concat",
                           "components": {"et/long": "60 % of tokens", "chat": "40 % of tokens"}},
            },
        },
    )  # fmt: skip
    return made.build(path)


@pytest.mark.parametrize("which", ["built", "phased"])
def test_a_miniature_is_a_build_that_counts_up(which, request, tmp_path, capsys):
    whole = request.getfixturevalue(which)
    shares, members = (Fraction(1, 16), Fraction(1, 8)), []
    for share in shares:
        out = tmp_path / f"1of{share.denominator}"
        assert run("simulate", whole.build, "--budget", share, "--out", out, "--json") == 0
        data = json.loads(capsys.readouterr().out)
        assert data["ok"] and data["documents"]["outside"] == 0 and data["same_held_out"]
        assert run("verify", out) == 0, capsys.readouterr().out
        capsys.readouterr()
        manifest = read_manifest(out / "manifest.json")
        assert manifest["miniature"] == {"share": str(share)} and manifest["name"] == f"made-1of{share.denominator}"
        for phase, small in zip(whole.manifest["phases"], manifest["phases"], strict=True):
            assert small["budget"]["realised"] == int(phase["budget"]["realised"] * share)
            assert small["sequence_length"] == phase["sequence_length"]
        for line in data["components"]:
            assert line["share_off"] < 1
            one = next(c for c in whole.manifest["components"] if c["name"] == line["component"])
            mean = one["unique_tokens"] / one["documents"]
            # a document more in an epoch, of the two or three kinds a component is made of here
            assert abs(line["epochs"]["whole"] / line["epochs"]["small"] - 1) < 4 * mean / (share * one["unique_tokens"])
        members.append({r["id"] for r in pq.read_table(out / "members.parquet").to_pylist() if r["components"]})
        with corpus.open_corpus(out) as opened:
            assert all(row["sums_close"] for row in corpus.rows(opened, "FROM sources"))
    assert members[0] < members[1]
    left_out = next(r["id"] for r in pq.read_table(out / "members.parquet").to_pylist() if not r["components"])
    assert when(out, left_out)["fate"] == "no_component"


def test_its_recipe_makes_it_again(phased, tmp_path, capsys):
    assert run("simulate", phased.build, "--budget", "5 %", "--out", tmp_path / "mini") == 0
    screen = capsys.readouterr().out
    assert (
        "et/long" in screen
        and "anneal" in screen
        and "dry run: " in screen
        and "all of them documents that the whole trains on" in screen
    )
    path = phased.build.parent / "mini.yaml"
    path.write_bytes((tmp_path / "mini" / "recipe.yaml").read_bytes())
    again = made.build(path, tmp_path / "again")
    assert again.manifest["roots"] == read_manifest(tmp_path / "mini" / "manifest.json")["roots"]
    with pytest.raises(CurateError, match="is a miniature itself"):
        run("simulate", tmp_path / "mini", "--budget", "1/2", "--out", tmp_path / "more")
    for args in (["what-if", tmp_path / "mini", "seed=3"], ["plan", tmp_path / "mini"]):
        with pytest.raises(CurateError, match="follows the mixture it is made of"):
            run(*args)


def test_a_lie_about_who_is_in_it_is_found(built, tmp_path, capsys):
    out = tmp_path / "mini"
    assert run("simulate", built.build, "--budget", "1/8", "--out", out) == 0
    table = pq.read_table(out / "members.parquet")
    rows = table.to_pylist()
    at = next(i for i, row in enumerate(rows) if not row["components"] and row["source"] == "web")
    rows[at]["components"] = ["web"]
    pq.write_table(type(table).from_pylist(rows, table.schema), out / "members.parquet")
    manifest = read_manifest(out / "manifest.json")
    from curate.manifest import write_manifest
    from curate.store import file_sha256

    for output in manifest["outputs"]:
        if output["path"] == "members.parquet":
            output.update(bytes=(out / "members.parquet").stat().st_size, sha256=file_sha256(out / "members.parquet"))
    write_manifest(out / "manifest.json", manifest)
    capsys.readouterr()
    assert run("verify", out, "--no-raw") == 1
    assert f"row {at}, id {rows[at]['id']}" in capsys.readouterr().out


def test_the_dry_run_counts_what_the_stream_holds(built):
    stream = Stream(built.build / "manifest.json")
    steps = Steps(phases_of(built.manifest), (16,))
    n = 3
    found = dry_run.dry_run(built.build / "manifest.json", steps, n)
    rows = [stream.row(i) for i in range(16 * n)]
    assert (found["rows"], found["tokens"], found["empty_rows"]) == (48, sum(r.n_tokens for r in rows), 0)
    assert found["loss_tokens"] == sum(r.n_loss_tokens for r in rows) and found["padding"] == 48 * 256 - found["tokens"]
    for c, name in enumerate(stream.components):
        mine = [r for r in rows if r.component == c]
        of = found["components"][name]
        assert (of["rows"], of["tokens"]) == (len(mine), sum(r.n_tokens for r in mine))
        assert of["max_drift_rows"] < 1  # Tijdeman's bound
        epoch = built.manifest["components"][c]["unique_tokens"]
        assert found["curve"][-1]["epochs"][name] == round(of["tokens"] / epoch, 6)
    lengths = np.concatenate([stream.chunks(stream.sequence_of(i))["length"] for i in range(48)])
    assert found["lengths"]["chunks"] == lengths.size and found["lengths"]["percentiles"]["100"] == lengths.max()
    whole = dry_run.dry_run(built.build / "manifest.json", steps, 10**6)
    n_rows = built.manifest["phases"][0]["order"]["n_sequences"]
    assert whole["steps"] == -(-n_rows // 16) and whole["empty_rows"] == -n_rows % 16 and whole["tokens"] == 40_000
    assert all(abs(of["share"] - of["planned"]) < 1e-6 for of in whole["components"].values())


def test_shares(built, tmp_path):
    assert [share_of(t) for t in ("1/64", " 3 / 4 ", "2 %", "0.5%")] == [
        Fraction(1, 64), Fraction(3, 4), Fraction(1, 50), Fraction(1, 200),
    ]  # fmt: skip
    for text in ("64", "1/0", "3/2", "0 %", "100 %", "a half", None):
        with pytest.raises(CurateError):
            share_of(text)
    with pytest.raises(CurateError, match="not one of its tokens"):
        run("simulate", built.build, "--budget", "1/1000000", "--out", tmp_path / "mini")


def test_a_miniature_is_of_its_whole(built, tmp_path, capsys):
    """A recipe whose two mixtures are not the same but for budgets is refused."""
    assert run("simulate", built.build, "--budget", "1/8", "--out", tmp_path / "mini") == 0
    text = (tmp_path / "mini" / "recipe.yaml").read_text()
    for old, new, says in (
        ("    max_epochs: 4.0", "    max_epochs: 3.0", "the components of its whole"),
        ("  sequence_length: 256", "  sequence_length: 128", "the phases of its whole"),
        ("share: 1/8", "share: 9/8", "less than the whole"),
    ):
        (tmp_path / "r.yaml").write_text(text.replace(old, new, 1))
        with pytest.raises(CurateError, match=says):
            load_recipe(tmp_path / "r.yaml")


def test_exports_of_several_phases_and_of_a_miniature(phased, tmp_path, capsys):
    from tests.mixture.test_export import run_own_check

    assert run("simulate", phased.build, "--budget", "1/8", "--out", tmp_path / "mini") == 0
    for build, name in ((phased.build, "whole"), (tmp_path / "mini", "small")):
        assert run("export", build, tmp_path / name) == 0 and run("verify", tmp_path / name) == 0
        assert run_own_check(tmp_path / name).returncode == 0
        a, b = Stream(build / "manifest.json"), Stream(tmp_path / name / "manifest.json", verify=True)
        assert a.manifest["roots"] == b.manifest["roots"]
        for i in range(0, a.n_sequences, 7):
            assert np.array_equal(a.row(i).labels, b.row(i).labels)
        capsys.readouterr()
        assert run("export", build, tmp_path / f"{name}-text", "--text", "--json") == 0
        data = json.loads(capsys.readouterr().out)
        rows = [r for r in pq.read_table(build / "selection.parquet").to_pylist() if r["split"] == "train"]
        assert data["documents"]["selected"] == len({r["id"] for r in rows})
        assert data["rows"]["selected"] == len({(r["id"], r["component"]) for r in rows})
        assert sum(c["trained_tokens"] for c in data["components"].values()) == sum(r["n_tokens"] for r in rows)
        assert sum(c["uses"] for c in data["components"].values()) == sum(r["token_start"] == 0 for r in rows)
        assert run("verify", tmp_path / f"{name}-text") == 0


@pytest.mark.slow
def test_it_trains(built, tmp_path, capsys):
    pytest.importorskip("torch")
    import yaml

    from tests import command

    assert run("simulate", built.build, "--budget", "1/4", "--out", tmp_path / "mini") == 0
    model = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({
        "method": "cpt", "name": "mini", "manifest": str(tmp_path / "mini" / "manifest.json"), "model": {"init": model},
        "global_batch": "2048 tokens", "schedule": {"kind": "cosine", "peak_lr": 1e-3}, "save": {"to": str(tmp_path / "run")},
    }))  # fmt: skip
    done = command.curate("train", "cpt", tmp_path / "run.yaml")
    assert done.returncode == 0, done.stderr
