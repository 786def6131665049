"""`curate export`: a mixture that trains from its folder alone, the curated texts, a dataset repository; checked, and never half there."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.errors import CurateError
from curate.manifest import read_manifest
from curate.store import write_json
from mixture.export import card, folder, parquet
from mixture.export.texts import export_texts
from mixture.export.tokens import export_tokens
from mixture.stream import Stream
from mixture.tokenizer import load_tokenizer
from mixture.verify.exported import verify_export
from tests import command, made

LICENCES = ["CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0", None]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """web: 40 texts of four licences, every fourth with an address that is cut; chat: 12 conversations; spare: in no component."""
    top = tmp_path_factory.mktemp("export")
    web = [
        {"id": f"w{i}", "text": made.text(30 + i, f"web{i}") + (f"\nkiri aadressil nimi{i}@example.com siin" if i % 4 == 0 else ""),
         "license": LICENCES[i % 4], "url": f"https://example.com/{i}"}
        for i in range(40)
    ]  # fmt: skip
    chat = [
        {"id": f"c{i}", "messages": [{"role": "user", "content": made.text(6, f"q{i}") + " mina@example.com"},
                                     {"role": "assistant", "content": made.text(9, f"a{i}")}]}
        for i in range(12)
    ]  # fmt: skip
    made.write_source(top / "raw", "web", web)
    made.write_source(top / "raw", "chat", chat)
    made.write_source(top / "raw", "spare", [{"id": f"s{i}", "text": made.text(40, f"s{i}")} for i in range(5)])
    path = made.write_recipe(
        top,
        sources={
            "spare": {"read": "raw/spare.jsonl", "license": {"declared": "MIT"}},
            "web": {"read": "raw/web.jsonl", "language": "et", "license": {"from_field": "license"}},
            "chat": {"read": "raw/chat.jsonl", "type": "conversation", "loss": "assistant", "license": {"declared": "MIT"}},
        },
        cuts=[{"kind": "pii", "of": ["email"], "as": "typed"}],
        held_out={"per_component": "300 tokens", "at_most": "10 % of tokens"},
        mixture={
            "total": "5300 tokens",
            "sequence_length": 128,
            "components": {
                "et": {
                    "budget": "4500 tokens",
                    "components": {"web": {"from": ["web"], "role": "target", "budget": "100 % of tokens", "max_epochs": 3}},
                },
                "chat": {"from": ["chat"], "role": "instruction", "budget": "800 tokens", "max_epochs": 2},
            },
        },
    )
    return made.build(path)


def selected(built) -> dict[tuple[str, str], int]:
    """(source, id) -> uses, of the documents in trained rows."""
    found: dict[tuple[str, str], int] = {}
    for row in pq.read_table(built.build / "selection.parquet").to_pylist():
        if row["split"] == "train":
            found[row["source"], row["id"]] = found.get((row["source"], row["id"]), 0) + (row["token_start"] == 0)
    return found


@pytest.fixture
def tokens(built, tmp_path) -> Path:
    export_tokens(built.build, tmp_path / "out", built.recipe)
    return tmp_path / "out"


def run_own_check(where: Path, *args: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-I", str(where / "verify.py"), *args], capture_output=True, text=True)


def test_it_trains_from_the_folder_alone(built, tmp_path):
    """Every row of the stream is the build's, with the build and its store gone."""
    shutil.copytree(built.build.parent, tmp_path / "top")
    top = tmp_path / "top"
    original = Stream(built.build / "manifest.json")
    data = export_tokens(top / "build", tmp_path / "away" / "out", built.recipe)
    shutil.rmtree(top)
    out = Stream(tmp_path / "away" / "out" / "manifest.json", verify=True)
    assert out.n_sequences == original.n_sequences and out.manifest["roots"] == original.manifest["roots"]
    for i in range(out.n_sequences):
        a, b = original.row(i), out.row(i)
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    for j in range(out.n_held_out):
        assert np.array_equal(original.held_out(j).labels, out.held_out(j).labels)
    # spare feeds no component: its shard is not needed, and the numbers of the others move down
    assert data["shards"] == 2 and data["shards_left_out"] == 1
    assert sorted(p.name for p in (tmp_path / "away" / "out" / "tokens").glob("*.ds")) == ["00000-web.ds", "00001-chat.ds"]


def test_datatrove_opens_the_shards(built, tokens):
    datasets = pytest.importorskip("datatrove.utils.dataset")
    if datasets.DatatroveFolderDataset is NotImplemented:
        pytest.skip("datatrove's datasets need torch")
    shards = json.loads((tokens / "sequences" / "shards.json").read_text())
    whole = [np.fromfile(tokens / shard["path"], "<u2") for shard in shards["shards"]]
    length = 16
    found = datasets.DatatroveFolderDataset(str(tokens / "tokens"), length, token_size=2, return_positions=True)
    assert len(found) == sum(ids.size // (length + 1) for ids in whole) > 100
    expected = [ids[i * (length + 1) : (i + 1) * (length + 1)] for ids in whole for i in range(ids.size // (length + 1))]
    assert all(np.array_equal(found[i]["input_ids"].numpy(), ids) for i, ids in enumerate(expected))
    # and a document begins where the index says: position 0 there
    ends = np.fromfile(tokens / "tokens" / "00000-web.ds.index", "<u8")
    begins = {0, *ends[:-1].tolist()}
    flat = np.concatenate([found[i]["positions"].numpy() for i in range(whole[0].size // (length + 1))])
    for at in range(flat.size):
        if at % (length + 1) and at in begins:
            assert flat[at] == 0
    name, count = (tokens / "tokens" / "00000-web.ds.metadata").read_text().split("\n")[:2]
    assert name.endswith("|2") and int(count) == whole[0].size


def test_nothing_but_what_is_needed(built, tokens):
    files = {path.relative_to(tokens).as_posix() for path in tokens.rglob("*") if path.is_file()}
    shard_files = {f"tokens/{n}.ds{s}" for n in ("00000-web", "00001-chat") for s in ("", ".index", ".metadata")}
    assert files == {
        "manifest.json", "recipe.yaml", "selection.parquet", "verify.py", "tokenizer/tokenizer.json", "tokenizer/chat_template.jinja",
        *shard_files, "tokens/00001-chat.ds.loss",
        *(f"sequences/{n}.npy" for n in ("chunks", "component", "language", "order", "row_hash", "row_ptr")), "sequences/shards.json",
    }  # fmt: skip
    texts = [row["text"] for row in map(json.loads, (built.build.parent / "raw" / "web.jsonl").read_text().splitlines())]
    places = [str(built.build.parent), str(built.store.root)]
    for path in files - {"tokenizer/tokenizer.json"}:
        data = (tokens / path).read_bytes()
        assert not any(place.encode() in data for place in places), path
        assert not any(one.split("\n")[0].encode() in data for one in texts), path
    manifest = read_manifest(tokens / "manifest.json")
    assert {output["path"] for output in manifest["outputs"]} == files - {"manifest.json"}
    assert all("path" not in stage for stage in manifest["lineage"])
    assert manifest["export"]["of"]["stream_root"] == built.manifest["roots"]["stream"]


def test_it_checks_itself(built, tokens):
    done = run_own_check(tokens, built.manifest["roots"]["stream"])
    assert done.returncode == 0 and built.manifest["roots"]["stream"] in done.stdout, done.stdout
    other = run_own_check(tokens, "0" * 64)
    assert other.returncode == 1 and f"not {'0' * 64}" in other.stdout
    report = verify_export(tokens)
    n_held = sum(built.manifest["held_out"]["tokens"].values())
    assert report.ok and report.checked["tokens"] == 5300 + n_held, report.text()
    assert "what only the build can show:" in report.text() and report.data()["not_checked"]
    assert verify_export(built.build) is None  # a build is verified as one


def flip(where: Path, names: list[str], rng: random.Random) -> list[tuple]:
    """One bit of each of these files, each time mended again; what either check did not pin to that file."""
    missed = []
    for name in names:
        path = where / name
        before = path.read_bytes()
        at = rng.randrange(len(before))
        path.write_bytes(before[:at] + bytes([before[at] ^ (1 << rng.randrange(8))]) + before[at + 1 :])
        ours, own = verify_export(where), run_own_check(where)
        path.write_bytes(before)
        if own.returncode != 1 or name not in own.stdout + own.stderr:
            missed.append((name, at, own.stdout, own.stderr))
        if ours is None or not any(f.file == name for f in ours.findings):
            missed.append((name, at, ours and ours.text()))
    return missed


def test_a_flipped_bit_is_found_by_both(built, tokens):
    assert (
        flip(tokens, ["tokens/00001-chat.ds", "sequences/chunks.npy", "selection.parquet", "manifest.json"], random.Random(3))
        == []
    )
    (tokens / "stray.txt").write_text("x")
    assert [f.file for f in verify_export(tokens).findings] == ["stray.txt"] and "stray.txt" in run_own_check(tokens).stdout


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_flipped_bit_in_every_file_is_found_by_both(tokens, seed):
    names = sorted(p.relative_to(tokens).as_posix() for p in tokens.rglob("*") if p.is_file() and p.name != "verify.py")
    assert flip(tokens, names, random.Random(seed)) == []


def sign(where: Path, name: str) -> None:
    """The manifest states what the file now is."""
    from curate.manifest import write_manifest

    manifest = read_manifest(where / "manifest.json")
    for output in manifest["outputs"]:
        if output["path"] == name:
            output.update(folder.stated_of(where / name))
    write_manifest(where / "manifest.json", manifest)


def test_a_flipped_token_is_traced_to_its_documents(tokens):
    """There is no text to say which; rows that match clear the documents they share with rows that do not."""
    rows = pq.read_table(tokens / "selection.parquet").to_pylist()
    chunks = np.load(tokens / "sequences" / "chunks.npy")
    (number, path), *_ = [(i, s["path"]) for i, s in enumerate(json.loads((tokens / "sequences" / "shards.json").read_text())["shards"])
                          if "web" in s["path"]]  # fmt: skip
    at = next(i for i, r in enumerate(rows) if chunks["shard"][i] == number and r["split"] == "train" and r["token_start"] == 0)
    before = (tokens / path).read_bytes()
    place = 2 * int(chunks["start"][at])
    (tokens / path).write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
    found = [f for f in verify_export(tokens).findings if f.file == path and f.at]
    (tokens / path).write_bytes(before)
    uses = {r["sequence"] for r in rows if r["id"] == rows[at]["id"] and r["token_start"] == 0}
    assert {int(f.at.split()[1].rstrip(",")) for f in found} == uses
    assert all(f"web {rows[at]['id']}, tokens 0.." in f.what for f in found)


def test_signed_lies(built, tokens):
    """With the hashes set right again only counting finds them."""
    path = tokens / "tokens" / "00000-web.ds"
    ids = np.fromfile(path, "<u2")
    chunks = np.load(tokens / "sequences" / "chunks.npy")
    at = int(chunks[chunks["shard"] == 0][5]["start"])  # a token that is trained on
    ids[at] ^= 1
    ids.tofile(path)
    sign(tokens, "tokens/00000-web.ds")
    found = verify_export(tokens).findings
    assert {f.file for f in found} == {"sequences/row_hash.npy", "manifest.json"} and any("roots.stream" in f.what for f in found)
    assert "holds other tokens" in run_own_check(tokens).stdout
    ids[at] ^= 1
    ids.tofile(path)
    sign(tokens, "tokens/00000-web.ds")
    table = pq.read_table(tokens / "selection.parquet")
    rows = table.to_pylist()
    rows[3]["token_start"], rows[4]["component"], rows[5]["id"] = 1, "chat", rows[6]["id"]
    pq.write_table(type(table).from_pylist(rows, table.schema), tokens / "selection.parquet")
    sign(tokens, "selection.parquet")
    said = " ".join(f.what for f in verify_export(tokens).findings)
    assert (
        "token_start is not" in said
        and "component is not" in said
        and "one id, two documents" in said
        and "roots.selection" in said
    )


def test_the_same_again_is_fine_and_anything_else_is_refused(built, tokens, tmp_path):
    before = {p: p.read_bytes() for p in tokens.rglob("*") if p.is_file()}
    assert export_tokens(built.build, tokens, built.recipe)["is_new"] is False
    assert {p: p.read_bytes() for p in tokens.rglob("*") if p.is_file()} == before
    twin = tmp_path / "twin"
    export_tokens(built.build, twin, built.recipe)
    assert {p.relative_to(twin): p.read_bytes() for p in twin.rglob("*") if p.is_file()} == {
        p.relative_to(tokens): data for p, data in before.items()
    }
    with pytest.raises(CurateError, match="never written over something else") as error:
        export_texts(built.build, tokens, built.recipe, built.store.root)
    assert error.value.found.startswith("an export (tokens) of made")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(CurateError, match="never written over something else"):
        export_tokens(built.build, tmp_path / "mine", built.recipe)
    for number, of in enumerate(("a + 0.5 (b1 - c1)", None)):  # what curate train merge and curate train export leave
        model = tmp_path / "mine" / f"model-{number}"
        model.mkdir()
        write_json(model / "export.json", {"export": {"kind": "model", **({"of": of} if of else {})}, "outputs": []})
        with pytest.raises(CurateError, match="never written over something else") as error:
            export_tokens(built.build, model, built.recipe)
        assert error.value.found == "an export (model) of a model"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "out", "twin"]  # and no temporary folder is left
    shard = tokens / "tokens" / "00000-web.ds"
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(CurateError, match="lies there already, and is damaged") as error:
        export_tokens(built.build, tokens, built.recipe)
    assert error.value.found == "tokens/00000-web.ds"


def test_hard_links(built, tmp_path):
    export_tokens(built.build, tmp_path / "linked", built.recipe, link=True)
    shards = json.loads((built.build / "sequences" / "shards.json").read_text())["shards"]
    own = next(s["path"] for s in shards if (built.build / s["path"]).stat().st_nlink == 2)
    linked = {p.stat().st_ino for p in (tmp_path / "linked" / "tokens").glob("*.ds")}
    assert (built.build / own).stat().st_ino in linked
    assert (tmp_path / "linked" / "selection.parquet").stat().st_nlink == 1
    assert run_own_check(tmp_path / "linked").returncode == 0


def test_a_damaged_build_is_not_handed_on(built, tmp_path, monkeypatch):
    shutil.copytree(built.build.parent, tmp_path / "top")
    shard = next((tmp_path / "top" / "store" / "tokens").glob("*/*/tokens.ds.loss"))
    shard.write_bytes(b"\1" + shard.read_bytes()[1:])
    if shard.read_bytes()[0] == 1:
        shard.write_bytes(b"\2" + shard.read_bytes()[1:])
    with pytest.raises(CurateError, match="not what was written, and is not handed on"):
        export_tokens(tmp_path / "top" / "build", tmp_path / "out", built.recipe)
    assert [p.name for p in tmp_path.iterdir()] == ["top"]
    monkeypatch.setattr(os, "link", lambda a, b: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
    with pytest.raises(CurateError, match="cannot be hard-linked"):
        export_tokens(built.build, tmp_path / "out", built.recipe, link=True)


def test_without_its_tokenizer(built, tmp_path):
    import yaml

    from curate.recipe import load_recipe

    data = yaml.safe_load((built.build / "recipe.yaml").read_text())
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**data, "tokenizer": {"model": "gone"}}))
    found = export_tokens(built.build, tmp_path / "out", load_recipe(tmp_path / "r.yaml"))
    assert not found["has_tokenizer"] and "no such local folder" in found["problem"]
    assert run_own_check(tmp_path / "out").returncode == 0


def encoded(built, row: dict) -> np.ndarray:
    tokenizer = load_tokenizer(built.recipe.tokenizer, built.recipe.path)
    if row.get("messages") is not None:
        from mixture.render import load_template

        ids, _ = load_template(tokenizer, "assistant").encode(row["messages"])
        return ids
    return tokenizer.encode_batch([row["text"]])[0]


def tokens_of(built) -> dict[str, np.ndarray]:
    """id -> the tokens of every document, as its stage has them."""
    found = {}
    for path in built.store.root.glob("tokens/*/*/tokens.parquet"):
        ids = np.fromfile(path.with_name("tokens.ds"), "<u2")
        for row in pq.read_table(path).to_pylist():
            found[row["id"]] = ids[row["token_start"] : row["token_start"] + row["n_tokens"]]
    return found


def test_texts_are_what_was_tokenized(built, tmp_path):
    """Each exported text or conversation, tokenized anew, gives the tokens that are trained on."""
    data = export_texts(built.build, tmp_path / "out", built.recipe, built.store.root)
    uses, of = selected(built), tokens_of(built)
    rows = [row for path in sorted((tmp_path / "out" / "data").rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert {(row["source"], row["id"]): row["uses"] for row in rows} == uses and len(rows) == len(uses)
    for row in rows:
        ids = encoded(built, row)
        assert np.array_equal(of[row["id"]][: len(ids)], ids) and len(of[row["id"]]) - len(ids) in (0, 1)  # its eos
    cut = [row for row in rows if "[EMAIL]" in (row.get("text") or json.dumps(row.get("messages")))]
    n_chat = sum(source == "chat" for source, _ in uses)
    assert len(cut) > n_chat == data["components"]["chat"]["selected"] and not any("@example" in str(row) for row in rows)
    assert pq.read_schema(tmp_path / "out" / "data" / "et.web" / "00000.parquet").names == [
        "id", "source", "text", "language", "license", "url", "component", "uses",
    ]  # fmt: skip
    assert "messages" in pq.read_schema(tmp_path / "out" / "data" / "chat" / "00000.parquet").names
    assert data["documents"] == {"selected": len(uses), "exported": len(uses), "withheld": 0}
    assert data["components"]["et/web"]["trained_tokens"] == 4500 and data["components"]["chat"]["trained_tokens"] == 800
    report = verify_export(tmp_path / "out")
    assert report.ok and report.checked["rows"] == len(uses), report.text()
    assert export_texts(built.build, tmp_path / "out", built.recipe, built.store.root)["is_new"] is False


def test_only_rows_whose_licence_allows(built, tmp_path):
    data = export_texts(built.build, tmp_path / "hub", built.recipe, built.store.root, allow=["CC0-1.0", "cc-by-4*"])
    raw = {row["id"]: row for row in map(json.loads, (built.build.parent / "raw" / "web.jsonl").read_text().splitlines())}
    rows = [row for path in sorted((tmp_path / "hub" / "data").rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    withheld = pq.read_table(tmp_path / "hub" / "withheld.parquet").to_pylist()
    assert {row["license"] for row in rows} == {"CC0-1.0", "CC-BY-4.0"}
    uses = selected(built)
    assert {(r["source"], r["id"]) for r in rows} | {(r["source"], r["id"]) for r in withheld} == set(uses)
    assert len(rows) + len(withheld) == len(uses) == data["documents"]["selected"]
    assert data["documents"]["withheld"] == len(withheld)
    for row in withheld:
        expected = {"MIT": "MIT is not allowed", "CC-BY-NC-4.0": "CC-BY-NC-4.0 is not allowed", None: "unknown licence"}[
            row["license"]
        ]
        assert row["reason"] == expected and (row["source"] == "chat" or raw[row["source_id"]]["license"] == row["license"])
    assert not (tmp_path / "hub" / "data" / "chat").exists()
    report = verify_export(tmp_path / "hub")
    assert report.ok, report.text()


def test_the_card_opens_as_a_dataset(built, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    export_texts(built.build, tmp_path / "hub", built.recipe, built.store.root, allow=["CC0-1.0", "CC-BY-4.0", "MIT"])
    head = hub.metadata_load(tmp_path / "hub" / "README.md")
    rows = {name: pq.read_table(tmp_path / "hub" / "data" / name).num_rows for name in ("et.web", "chat")}
    assert head["size_categories"] == ["n<1K"] and head["language"] == ["et"]
    assert (head["license"], head["license_name"], head["license_link"]) == ("other", "per-row", "LICENSE.md")
    assert [(c["config_name"], c["data_files"]) for c in head["configs"]] == [
        (name, [{"split": "train", "path": f"data/{name}/*.parquet"}]) for name in ("et.web", "chat")
    ]
    readme = (tmp_path / "hub" / "README.md").read_text()
    assert f"| et/web | {rows['et.web']} |" in readme and "withheld.parquet" in readme
    datasets = pytest.importorskip("datasets")
    for name, n in rows.items():
        found = datasets.load_dataset(str(tmp_path / "hub"), name, split="train", cache_dir=str(tmp_path / "cache"))
        assert found.num_rows == n and found[0]["id"]


def test_what_may_be_handed_on_must_be_said(built, tmp_path):
    for allow, says in (([], "yours to say"), (["Apache-2.0"], "no document of this mixture"), (["*"], "names no licence")):
        with pytest.raises(CurateError, match=says):
            export_texts(built.build, tmp_path / "hub", built.recipe, built.store.root, allow=allow)
    assert list(tmp_path.iterdir()) == []


def test_sizes_languages_and_names():
    assert [card.size_category(n) for n in (0, 999, 1000, 99_999, 10**6, 10**12)] == [
        "n<1K", "n<1K", "1K<n<10K", "10K<n<100K", "1M<n<10M", "n>1T",
    ]  # fmt: skip
    assert card.languages({"ekk_Latn": 3, "en": 2, "unknown": 5, "en-GB": 1, "English": 1}) == ["ekk", "en"]
    assert folder.safe_names(["a/b", "a.b", "../x", "õ", "õ!", "a b"]) == {
        "a/b": "a.b", "a.b": "a.b_2", "../x": "x", "õ": "_", "õ!": "__", "a b": "a_b",
    }  # fmt: skip


def test_parts_roll_over(tmp_path, monkeypatch):
    import pyarrow as pa

    monkeypatch.setattr(parquet, "GROUP_BYTES", 100)
    monkeypatch.setattr(parquet, "FILE_BYTES", 250)
    parts = parquet.Parts(tmp_path / "p", pa.schema([("n", pa.int64())]))
    for i in range(10):
        parts.add(pa.table({"n": list(range(i * 10, i * 10 + 10))}))  # 80 bytes each: groups of two, files of four
    parts.close()
    assert parts.files == ["00000.parquet", "00001.parquet", "00002.parquet"] and parts.rows == 100
    assert pq.read_table(tmp_path / "p")["n"].to_pylist() == list(range(100))
    empty = parquet.Parts(tmp_path, pa.schema([("n", pa.int64())]), "one.parquet")
    empty.close()
    assert pq.read_table(tmp_path / "one.parquet").num_rows == 0


def test_the_command(built, tmp_path):
    from curate import cli

    done = command.curate("export", built.build, tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["export"]["kind"] == "tokens"
    verified = command.curate("verify", tmp_path / "out")
    assert verified.returncode == 0 and "what only the build can show" in verified.stdout
    for args, says in (
        (["--text", "--hub"], "one export at a time"), (["--text", "--link"], "--link does not belong to --text"),
        (["--allow", "MIT"], "--allow does not belong to --tokens"), (["--hub"], "yours to say"),
    ):  # fmt: skip
        with pytest.raises(CurateError, match=says):
            cli.app(["export", str(built.build), str(tmp_path / "other"), *args], standalone_mode=False)


@pytest.mark.slow
def test_the_trainer_opens_it(tokens, tmp_path):
    """Two steps on a tiny model, with bits per byte by the tokenizer in the folder."""
    pytest.importorskip("torch")
    import yaml

    run = {
        "method": "cpt", "name": "tiny", "manifest": str(tokens / "manifest.json"),
        "model": {"init": {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
                           "num_attention_heads": 2}},
        "global_batch": "1024 tokens", "schedule": {"kind": "cosine", "peak_lr": 1e-3}, "stop": {"after": "2 steps"},
        "save": {"to": str(tmp_path / "run")},
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    done = command.curate("train", "cpt", tmp_path / "run.yaml")
    assert done.returncode == 0, done.stderr
    assert "not found" not in done.stderr + done.stdout
