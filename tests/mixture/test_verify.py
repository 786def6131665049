"""verify on a small build made by mixture's own rooms: nothing found, then every kind of damage found and located."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from curate import schema
from curate.errors import CurateError
from curate.manifest import read_manifest, write_manifest
from curate.store import Store, table_root
from mixture.verify import witnesses
from tests.mixture.verified import SIZES, build, check, doc_id

RECIPE = """
held_out: {per_component: 100 tokens, at_most: 20 % of tokens}
mixture:
  total: 1000 tokens
  sequence_length: 32
  components:
    et: {from: [web], role: target, budget: 700 tokens, max_epochs: 3}
    chat: {from: [chat], role: instruction, budget: 300 tokens, max_epochs: 2}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """.root with store/, build/ and the tokenizer; sound, shared, only read."""
    return build(tmp_path_factory.mktemp("verify"), RECIPE)


@pytest.fixture
def copy(built, tmp_path):
    shutil.copytree(built.root, tmp_path / "copy")
    return SimpleNamespace(root=tmp_path / "copy", build=tmp_path / "copy" / "build")


def test_a_sound_build(built):
    report = check(built)
    assert report.ok, report.text()
    # 31 documents; 30 kept, all decoded: 19 web, 8 chat, 3 spare
    assert (report.checked["documents"], report.checked["decoded"]) == (31, 30)
    assert report.text().startswith("everything counts up: ")
    assert check(built, fast=True).checked.get("decoded", 0) < 30


def files_of(root: Path) -> dict[str, list[Path]]:
    kinds: dict[str, list[Path]] = {}
    for path in sorted(p for top in ("store", "build") for p in (root / top).rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and ".tmp" not in parts:
            kinds.setdefault(f"{parts[1]}/{parts[-1]}" if parts[0] == "store" else "/".join(parts), []).append(path)
    return kinds


def flip_one_bit(copy, kinds: dict[str, list[Path]], rng: random.Random) -> list[tuple]:
    """One bit of one file of each kind, each time mended again; returns what verify did not pin to that file."""
    missed = []
    for kind, paths in kinds.items():
        path = rng.choice(paths)
        before = path.read_bytes()
        at = rng.randrange(len(before))
        path.write_bytes(before[:at] + bytes([before[at] ^ (1 << rng.randrange(8))]) + before[at + 1 :])
        report = check(copy)
        path.write_bytes(before)
        if not any(
            f.file.endswith("/".join(path.relative_to(copy.root).parts[1:])) or f.file == path.name for f in report.findings
        ):
            missed.append((kind, at, report.text()))
    return missed


def test_one_flipped_bit_in_some_kinds_of_file(copy):
    rng = random.Random(5)
    kinds = files_of(copy.root)
    assert len(kinds) >= 25, sorted(kinds)
    assert flip_one_bit(copy, {kind: kinds[kind] for kind in rng.sample(sorted(kinds), 6)}, rng) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_flipped_bit_in_every_kind_of_file(copy, seed):
    assert flip_one_bit(copy, files_of(copy.root), random.Random(seed)) == []


@pytest.mark.slow
def test_truncated_and_missing_files(copy):
    for kind, paths in files_of(copy.root).items():
        before = paths[-1].read_bytes()
        paths[-1].write_bytes(before[: len(before) // 2])
        assert any(paths[-1].name in f.file for f in check(copy).findings), kind
        paths[-1].unlink()
        assert any(paths[-1].name in f.file for f in check(copy).findings), kind
        paths[-1].write_bytes(before)
    assert check(copy).ok


def test_a_file_nobody_wrote(copy):
    [folder] = (copy.root / "store" / "decide").glob("*/web.00000")
    (folder / "more.parquet").write_bytes(b"x")
    [finding] = check(copy).findings
    assert finding.file.endswith("web.00000/more.parquet")


def republish(copy, stage: str, key: str, file: str, change) -> None:
    """Change a shard and sign it again, stage, manifest and all: only counting can find it now."""
    folder = next(p for p in (copy.root / "store" / stage).glob(f"*/{key}") if (p / file).exists())
    table = change(pq.read_table(folder / file))
    with_stage = json.loads((folder.parent / "stage.json").read_text())
    shutil.rmtree(folder)
    store = Store(copy.root / "store")
    again = store.stage(stage, version=with_stage["version"], settings=with_stage["settings"], parents=with_stage["parents"])
    assert again.path == folder.parent
    (folder.parent / "stage.json").unlink()
    with again.shard(key) as out:
        pq.write_table(table, out.path / file)
        out.done(table.num_rows, table_root(table, exclude=schema.ORIGIN), with_stage["shards"][key]["counts"])
    again.finish(with_stage["keys"])
    manifest = read_manifest(copy.build / "manifest.json")
    for entry in manifest["lineage"]:
        if entry["fingerprint"] == again.fingerprint:
            entry["root"] = again.root
    write_manifest(copy.build / "manifest.json", manifest)


def set_column(table: pa.Table, name: str, values: list) -> pa.Table:
    return table.set_column(
        table.schema.get_field_index(name), table.schema.field(name), pa.array(values, table.schema.field(name).type)
    )


def test_a_changed_text_is_found_by_its_hash_and_by_its_tokens(copy):
    def change(table):
        texts = table["text"].to_pylist()
        return set_column(table, "text", [*texts[:3], texts[3] + "!", *texts[4:]])

    republish(copy, "documents", "00001", "documents.parquet", change)
    found = check(copy).findings
    assert any(
        f.file.endswith("00001/documents.parquet") and f.at.startswith("row 3, id ") and "text_hash" in f.what for f in found
    )

    def sign(table):
        hashes = [hashlib.blake2b(t.encode(), digest_size=16).hexdigest() for t in table["text"].to_pylist()]
        return set_column(table, "text_hash", hashes)

    republish(copy, "documents", "00001", "documents.parquet", sign)
    found = check(copy).findings
    assert [(f.file.rsplit("/", 2)[1:], f.what) for f in found] == [
        (["00001", "tokens.ds"], "the document has 15 tokens, its text gives 16")
    ]


def test_unsorted_ids(copy):
    republish(
        copy, "documents", "00000", "documents.parquet", lambda table: table.take(pa.array([1, 0, *range(2, table.num_rows)]))
    )
    assert any("not sorted" in f.what and f.at.startswith("row 1") for f in check(copy).findings)


def test_similarities_are_counted_again(copy):
    def again(found):
        return lambda recipe, source, text, witness_source, witness_text: found

    def change(similarity):
        def changed(table):
            named = [None if reason is None else similarity for reason in table["reason"].to_pylist()]
            return set_column(table, "similarity", pa.array(named, pa.float64()))

        republish(copy, "decide", "web.00000", "decisions.parquet", changed)

    change(0.8)
    sound = check(copy, similarity=again(0.8))
    assert sound.ok and sound.checked["similar_pairs"] == sound.checked["similar_pairs_compared_again"] == 1
    found = check(copy, similarity=again(0.81)).findings
    assert {f.what for f in found} == {"similarity 0.8 is stated, the texts give 0.81"} and found[0].at.startswith("row 2, id ")
    change(0.7)
    found = check(copy, similarity=again(0.7)).findings
    assert {f.what for f in found} == {"similarity 0.7 is below dedup.near.jaccard 0.75"}


def test_a_sample_of_the_pairs_is_the_same_every_time(copy, monkeypatch):
    def change(table):
        rows = table.to_pylist()
        rows[3] |= {name: rows[2][name] for name in ("keep", "reason", "witness_source", "witness_id")}
        return pa.Table.from_pylist(rows, table.schema)

    republish(copy, "decide", "web.00000", "decisions.parquet", change)  # now two
    monkeypatch.setattr(witnesses, "MOST_PAIRS", 1)
    seen = []

    def again(recipe, source, text, witness_source, witness_text):
        seen.append(text)

    for _ in range(2):
        assert check(copy, similarity=again).checked["similar_pairs_compared_again"] == 1
    assert seen[0] == seen[1]
    monkeypatch.setattr(witnesses, "MOST_PAIRS", 2)
    monkeypatch.setattr(witnesses, "TEXT_BYTES", 1)  # room for one pair
    report = check(copy, similarity=again)
    assert report.checked["similar_pairs"] == 2 and report.checked["similar_pairs_compared_again"] == 1


def test_a_witness_without_its_source(copy):
    def change(table):
        return set_column(table, "witness_source", pa.nulls(table.num_rows, pa.string()))

    republish(copy, "decide", "web.00000", "decisions.parquet", change)
    assert any("has a source and an id" in f.what and f.at.startswith("row 2") for f in check(copy).findings)


def test_a_witness_that_is_not_kept_and_sums_that_do_not_close(copy):
    def change(table):
        rows = table.to_pylist()
        rows[0] |= {"keep": False, "reason": "min_n_words"}
        return pa.Table.from_pylist(rows, table.schema)

    republish(copy, "decide", "web.00000", "decisions.parquet", change)
    found = check(copy).findings
    assert any("is not kept" in f.what and f.file.endswith("decisions.parquet") for f in found)
    assert any(f.file.endswith("tokens.parquet") and "kept documents" in f.what for f in found)


def test_neither_kept_nor_dropped(copy):
    republish(
        copy, "decide", "web.00001", "decisions.parquet", lambda t: set_column(t, "reason", ["x"] + [None] * (t.num_rows - 1))
    )
    assert any("either kept or dropped" in f.what and f.at.startswith("row 0") for f in check(copy).findings)


def test_raw_input_is_counted_again(built):
    truth = {s: {"n_read": n + 1, "n_documents": n, "n_quarantined": 1} for s, (n, _) in SIZES.items()}
    assert check(built, recount=lambda recipe, source: truth[source]).ok
    truth["web"]["n_read"] = 22
    [finding] = check(built, recount=lambda recipe, source: truth[source]).findings
    assert finding.what == "web: n_read of the raw input, read again: stated 21, counted again 22"

    def missing(recipe, source):
        raise CurateError("no file matches", where="sources.web.read")

    assert "no file matches" in check(built, recount=missing).findings[0].what


def test_derived_tables_are_the_callers(built):
    asked = []

    def derived(build, rows, manifest):
        asked.extend(rows)
        return ["table sources, row 0: kept"]

    report = check(built, derived=derived)
    assert [str(f) for f in report.findings] == ["corpus.duckdb: table sources, row 0: kept"]
    assert {"stage", "source", "family", "fingerprint", "root", "rows", "path"} == set(asked[0])


def resign(copy, name: str, change) -> None:
    """Change a file of sequences/ or the selection and put its new hash into the manifest."""
    path = copy.build / name
    if name.endswith(".npy"):
        array = np.load(path)
        np.save(path, change(array))
    else:
        pq.write_table(change(pq.read_table(path)), path)
    manifest = read_manifest(copy.build / "manifest.json")
    for output in manifest["outputs"]:
        if output["path"] == name:
            output["bytes"], output["sha256"] = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
    write_manifest(copy.build / "manifest.json", manifest)


def swapped_order(order):
    order = order.copy()
    order[[0, 1]] = order[[1, 0]]
    return order


def longer_chunk(chunks):
    chunks = chunks.copy()
    chunks["start"][3] += 1
    return chunks


@pytest.mark.parametrize(
    ("name", "change", "file", "what"),
    [
        ("sequences/order.npy", swapped_order, "sequences/order.npy", "not the order that seed"),
        ("sequences/order.npy", lambda a: np.zeros_like(a), "sequences/order.npy", "not a permutation"),
        ("sequences/chunks.npy", longer_chunk, "selection.parquet", "id is not that of"),
        ("sequences/component.npy", lambda a: np.roll(a, 1), "selection.parquet", "component is not that of"),
        ("sequences/language.npy", lambda a: (a == 0).astype(a.dtype), "sequences/language.npy", "the language of a chunk"),
        ("sequences/row_hash.npy", lambda a: a ^ 1, "sequences/row_hash.npy", "not the hash of the tokens"),
        (
            "selection.parquet",
            lambda t: set_column(t, "n_loss_tokens", [0] * t.num_rows),
            "selection.parquet",
            "n_loss_tokens is not",
        ),
        ("selection.parquet", lambda t: t.slice(1), "selection.parquet", "chunks"),
        (
            "selection.parquet",
            lambda t: set_column(t, "pass", (pc.add(t["pass"], 1)).to_pylist()),
            "manifest.json",
            "tokens of pass 0",
        ),
    ],
)
def test_signed_lies_about_sequences(copy, name, change, file, what):
    resign(copy, name, change)
    found = check(copy).findings
    assert any(f.file == file and what in f.what for f in found), [str(f) for f in found]


def test_a_signed_lie_in_the_manifest(copy):
    manifest = read_manifest(copy.build / "manifest.json")
    manifest["components"][0]["unique_tokens"] += 1
    manifest["roots"]["stream"] = "0" * 64
    manifest["stream_checkpoints"][0]["sha256"] = "0" * 64
    write_manifest(copy.build / "manifest.json", manifest)
    assert [(f.file, f.at) for f in check(copy).findings] == [
        ("manifest.json", ""),
        ("manifest.json", f"stream index {manifest['stream_checkpoints'][0]['stream_index']}"),
        ("manifest.json", ""),
    ]  # fmt: skip


def test_a_held_out_cluster_that_is_trained_on(copy):
    """Everybody in one cluster: the held-out documents' relatives are trained on."""
    everybody = doc_id("web", 0)

    def change(table):
        rows = [row | {"cluster_id": everybody, "cluster_size": 20} for row in table.to_pylist()]
        return pa.Table.from_pylist(rows, table.schema)

    for key in ("web.00000", "web.00001"):
        republish(copy, "clusters", key, "duplicates.parquet", change)
    assert any("its duplicate cluster is held out" in f.what for f in check(copy).findings)


def test_no_manifest_is_a_finding(copy):
    (copy.build / "manifest.json").unlink()
    [finding] = check(copy).findings
    assert (finding.file, finding.what) == ("manifest.json", "the file is missing")
