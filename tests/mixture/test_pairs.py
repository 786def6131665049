"""A preference mixture from raw rows to pairs: every pair is its row, whole; budgets, held-out, order and sums; verify counts it again."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.errors import CurateError
from mixture.pairs import PairStream, pair_hash
from mixture.stream import START, advance
from mixture.tokenizer import load_tokenizer
from tests import command, made
from tests.mixture import made_pairs

LONG = {"id": "long", "prompt": "x y", "chosen": "vesi " * 80, "rejected": "ja"}
WIDE = {"id": "wide", "prompt": "x y " * 20, "chosen": "vesi " * 3, "rejected": "ja"}  # fits once, and twice it would not


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    found = made_pairs.build(
        folder, total="40 examples", more=[LONG, WIDE], held_out={"per_component": "300 tokens", "at_most": "20 % of tokens"}
    )
    found.stream = PairStream(folder / "build" / "manifest.json", verify=True)
    return found


@pytest.fixture(scope="module")
def texts(built) -> dict[str, dict]:
    """id of a document -> the row that it was made of."""
    raw = {row["id"]: row for row in [*made_pairs.rows(20, "a"), *made_pairs.rows(12, "b"), LONG, WIDE]}
    documents = [
        row
        for p in sorted(Path(built.store.root).glob("documents/*/*/documents.parquet"))
        for row in pq.read_table(p).to_pylist()
    ]
    return {row["id"]: raw[row["source_id"]] for row in documents}


def test_every_pair_is_its_row(built, texts):
    tokenizer = load_tokenizer(built.recipe.tokenizer, built.recipe.path)
    stream = built.stream
    pairs = [stream.pair(i) for i in range(len(stream))] + [stream.held_out(j) for j in range(stream.n_held_out)]
    for pair in pairs:
        row = texts[pair.id]
        assert (
            tokenizer.decode(pair.prompt_ids) == (f"<|im_start|>user\n{row['prompt'].strip()}<|im_end|>\n<|im_start|>assistant\n")
            or row["id"] == "wide"
        )
        assert tokenizer.decode(pair.chosen_ids) == row["chosen"].strip() + "<|im_end|>"
        assert tokenizer.decode(pair.rejected_ids) == row["rejected"] + "<|im_end|>"
        is_a = row["id"].startswith("a")
        assert pair.margin == (row["margin"] if is_a else None)
        assert (stream.components[pair.component], stream.languages[pair.language]) == (
            ("first", "et") if is_a else ("second", "en")
        )
        assert pair.hash == pair_hash(pair.prompt_ids, pair.chosen_ids, pair.rejected_ids)
        assert pair.n_longest <= 128 and pair.n_tokens == 2 * pair.prompt_ids.size + pair.n_loss_tokens
    assert stream.n_held_out and not {p.id for p in pairs[: len(stream)]} & {p.id for p in pairs[len(stream) :]}
    assert any(texts[pair.id]["id"] == "wide" for pair in pairs) and not any(texts[pair.id]["id"] == "long" for pair in pairs)


def test_the_stream_is_arithmetic(built):
    """Order and hash of the stream are those of rows, and pair i needs nothing but i."""
    stream, state = built.stream, START
    for i in range(len(stream)):
        state = advance(state, stream.pair(i).hash)
        assert stream.row_hash_of(i) == stream.pair(i).hash
    assert state.hex() == built.manifest["roots"]["stream"]
    again = pickle.loads(pickle.dumps(stream))
    assert again.pair(7).hash == stream.pair(7).hash and len(again) == len(stream) == 40
    sizes = [[part.size for part in (p.prompt_ids, p.chosen_ids, p.rejected_ids)] for p in map(stream.pair, range(3, 9))]
    assert stream.lengths(3, 9).tolist() == sizes
    steps = stream.steps(16)
    assert (steps.n_steps, [len(steps.share(s).rows) for s in range(3)], steps.share(2).n_empty) == (3, [16, 16, 8], 8)
    assert stream.phases[0].sequence_length == 128  # of one conversation
    selection = pq.read_table(built.build / "selection.parquet").to_pylist()
    assert all(selection[stream.pair(i).document]["id"] == stream.pair(i).id for i in range(len(stream)))


def test_epochs_and_examples(built):
    first, second = built.manifest["components"]
    assert [c["phases"][0]["examples"] for c in (first, second)] == [24, 16]
    used = [built.stream.pair(i).id for i in range(40)]
    times = np.unique(used, return_counts=True)[1]
    assert times.max() == 2  # 24 of at most 20 pairs
    assert built.manifest["kind"] == "preference" and built.manifest["phases"][0]["budget"]["padding"] == 0
    assert built.manifest["phases"][0]["row_length"] == 256


@pytest.mark.parametrize("unit", ["tokens", "loss_tokens"])
def test_budgets_in_tokens_end_with_the_last_whole_pair(tmp_path, unit):
    found = made_pairs.build(tmp_path, total=f"1000 {unit}")
    stream = PairStream(tmp_path / "build" / "manifest.json")
    pairs = [stream.pair(i) for i in range(len(stream))]
    for number, (name, asked) in enumerate((("first", 600), ("second", 400))):
        mine = [p.n_tokens if unit == "tokens" else p.n_loss_tokens for p in pairs if p.component == number]
        (stated,) = found.manifest["components"][number]["phases"]
        assert (stated["requested"], stated["realised"]) == (asked, sum(mine)), name
        assert 0 <= asked - sum(mine) < max(mine)
    assert command.curate("verify", found.build).returncode == 0


def test_what_is_left_out_is_named_and_sums_close(built):
    rows = pq.read_table(built.build / "left_out.parquet").to_pylist()
    (row,) = rows
    # prompt 24 tokens with the template's, `vesi` 80 times: longer than 128; the row says by how much
    assert (row["source"], row["component"], row["action"], row["reason"]) == ("b", "second", "dropped", "longer_than_sequence")
    assert row["n_kept_tokens"] == 0 and row["sequence_length"] == 128 and row["length"] > 128
    assert built.manifest["components"][1]["overlong"] == {"action": "drop", "sequence_length": 128}
    assert built.manifest["components"][1]["left_out"] == [
        {"action": "dropped", "reason": "longer_than_sequence", "documents": 1, "tokens": row["n_tokens"]}]  # fmt: skip
    said = json.loads(command.curate("stats", built.build, "--json").stdout)
    assert said["left_out"][0]["documents"] == 1 and said["left_out"][0]["longest"] == row["length"]
    for source in said["sources"]:
        assert source["sums_close"]
        parts = [source[name] for name in ("selected", "over_budget", "held_out", "no_component", "left_out")]
        assert source["kept"] == sum(parts) and source["left_out"] == (source["source"] == "b")
    assert f"{row['length']} tokens are longer than its sequences of 128" in command.curate("when", built.build, "long").stdout
    assert "longer_than_sequence" in command.curate("stats", built.build).stdout


@pytest.mark.parametrize("args", [[], ["--fast"]])
def test_verify_counts_it_again(built, args):
    done = command.curate("verify", built.build, *args)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_rule_tokenizes_nothing_and_gives_what_a_fresh_build_gives(tmp_path):
    """Tokens of kept pairs are copied, with where they part."""
    rules = [{"signal": "n_chars", "min": 60, "name": "short"}]
    made_pairs.build(tmp_path / "one")
    path = made_pairs.write(tmp_path / "one", rules=rules, total="8 examples")
    second = made.build(path)
    fresh = made_pairs.build(tmp_path / "two", rules=rules, total="8 examples")
    assert second.manifest["roots"] == fresh.manifest["roots"]
    counts = [json.loads(p.read_text())["counts"] for p in Path(second.store.root).glob("tokens/*/stage.json")]
    assert sum(c["reused"] for c in counts) > 0 and all(c["tokenized"] == 0 for c in counts if c["reused"])


def test_an_export_of_tokens_has_its_pairs(built, tmp_path):
    done = command.curate("export", built.build, tmp_path / "out", "--tokens")
    assert done.returncode == 0, done.stderr
    there = PairStream(tmp_path / "out" / "manifest.json", verify=True)
    assert [there.pair(i).hash for i in range(40)] == [built.stream.pair(i).hash for i in range(40)]
    done = command.curate("verify", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr


def test_texts_of_pairs_are_not_exported_by_halves(built, tmp_path):
    done = command.curate("export", built.build, tmp_path / "out", "--text")
    assert done.returncode == 2 and "a rejected answer would be missing" in done.stderr and not (tmp_path / "out").exists()


def damaged(built, name: str, change) -> str:
    """What verify says of the build with one file changed; afterwards it is as it was."""
    path = next(Path(built.store.root).glob(f"tokens/*/*/{name}")) if name == "pairs.parquet" else built.build / name
    before = path.read_bytes()
    try:
        change(path)
        done = command.curate("verify", built.build)
        assert done.returncode == 1, done.stdout
        return done.stdout + done.stderr
    finally:
        path.write_bytes(before)


def test_verify_sees_a_record_that_parts_elsewhere(built):
    def change(path):
        records = np.load(path)
        records["n_chosen"][2] += 1
        records["n_rejected"][2] -= 1
        np.save(path, records)

    said = damaged(built, "sequences/pairs.npy", change)
    assert "sequences/pairs.npy" in said


def test_verify_sees_another_reason(built):
    def change(path):
        table = pq.read_table(path)
        pq.write_table(table.set_column(4, "reason", [["equal_completions"]]), path)

    assert "left_out.parquet" in damaged(built, "left_out.parquet", change)


def test_a_stream_of_another_kind_has_no_pairs(tmp_path):
    made.write_source(tmp_path / "raw", "t", [{"text": made.text(30, i)} for i in range(9)])
    path = made.write_recipe(
        tmp_path, sources={"t": {"read": "raw/t.jsonl", "license": {"declared": "MIT"}}}, dedup={"near": None},
        mixture={"total": "300 tokens", "sequence_length": 64, "components": {"t": {"from": ["t"], "role": "target", "budget": "300 tokens"}}},
    )  # fmt: skip
    found = made.build(path)
    with pytest.raises(CurateError, match="this mixture has no pairs"):
        PairStream(found.build / "manifest.json")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"cuts": [{"kind": "pii", "of": "all"}]}, "nothing is cut out of a pair"),
        ({"mixture.packing": "best_fit"}, "kind: preference is not packed so"),
        ({"mixture.overlong": "cut"}, "a pair is never cut"),
        ({"mixture.overlong": "shorten"}, "split"),
        ({"tokenizer": {"model": "bare"}}, "no chat template"),
    ],
)
def test_mistakes_are_one_message_from_the_command_line(tmp_path, keys, said):
    path = made_pairs.write(tmp_path, **{k: v for k, v in keys.items() if not k.startswith("mixture.")})
    made.tiny_tokenizer.write(tmp_path / "bare")
    sets = [word for key, value in keys.items() if key.startswith("mixture.") for word in ("--set", f"{key}={value}")]
    done = command.curate("build-mixture", path, "--out", tmp_path / "b", "--store", tmp_path / "s", *sets)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
