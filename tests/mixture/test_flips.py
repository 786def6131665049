"""One flipped token (or mark of a loss mask) anywhere: the document and the token are named, and the rows that hold it."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixture.verify.report import Finding
from tests.mixture import tiny_tokenizer
from tests.mixture.verified import build, check

MIXTURE = """
held_out: {per_component: 100 tokens, at_most: 20 % of tokens}
mixture:
  total: 450 tokens
  sequence_length: 32
  components:
    et: {from: [web], role: target, budget: 150 tokens, max_epochs: 1}
    chat: {from: [chat], role: instruction, budget: 300 tokens, max_epochs: 2}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("flips"), MIXTURE)


@pytest.fixture
def copy(built, tmp_path):
    shutil.copytree(built.root, tmp_path / "copy")
    return SimpleNamespace(root=tmp_path / "copy", build=tmp_path / "copy" / "build")


def documents(copy, split: str | None, source: str = "web") -> list[str]:
    """Ids in the selection's split, or of those it does not have."""
    rows = pq.read_table(copy.build / "selection.parquet").to_pylist()
    if split:
        return [r["id"] for r in rows if r["split"] == split and r["source"] == source]
    used = {r["id"] for r in rows}
    return [id_ for path in shards(copy, source) for id_ in index(path)["id"].to_pylist() if id_ not in used]


def index(path) -> pa.Table:
    return pq.read_table(path.with_name("tokens.parquet"))


def shards(copy, source: str):
    """tokens.ds files of a source, by the ids of its documents."""
    own = {row["id"] for p in (copy.root / "store" / "documents").glob("*/*/documents.parquet")
           for row in pq.read_table(p, columns=["id", "source"]).to_pylist() if row["source"] == source}  # fmt: skip
    return [p for p in sorted((copy.root / "store" / "tokens").glob("*/*/tokens.ds")) if set(index(p)["id"].to_pylist()) <= own]


def flip(copy, id_: str, token: int, source: str = "web", file: str = "tokens.ds") -> tuple[int, int, int]:
    """Flips the lowest bit of a document's token; (token before, after, its place in the shard)."""
    for path in shards(copy, source):
        table = index(path)
        if (row := table["id"].index(id_).as_py()) >= 0:
            at = table["token_start"][row].as_py() + token
            values = np.fromfile(path.with_name(file), "<u2" if file == "tokens.ds" else "u1")
            before = int(values[at])
            values[at] ^= 1
            values.tofile(path.with_name(file))
            return before, before ^ 1, at
    raise AssertionError(id_)


def named(findings: list[Finding], of: str) -> list[tuple[str, str]]:
    return [(f.what, f.at) for f in findings if f.file.endswith(of)]


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("split", ["train", "held_out", None])
def test_a_token_is_named(copy, split, fast):
    """Of a document that is trained on, of one held out, and of one that is over budget."""
    id_ = documents(copy, split)[0]
    before, after, at = flip(copy, id_, 1)
    found = check(copy, fast=fast).findings
    tokens = named(found, "tokens.ds")
    place = f"source web, id {id_}, token 1 (token {at} of the shard)"
    assert tokens[:2] == [("its bytes are not those that were written (sha256)", ""),
                          (f"the token is {after}, the document's text gives {before}", place)]  # fmt: skip
    rows = [what for what, where in tokens[2:] if where.startswith("sequence ")]
    assert bool(rows) == (split is not None) and all(
        f"the change is in web {id_}" in what or f" or web {id_}" in what for what in rows
    )
    assert sum(split == "held_out" for what, where in tokens[2:] if where.endswith("held out")) == len(rows) * (
        split == "held_out"
    )


def test_of_a_source_that_nobody_uses(copy):
    id_ = documents(copy, None, "spare")[0]
    before, after, at = flip(copy, id_, 0, "spare")
    place = f"source spare, id {id_}, token 0 (token {at} of the shard)"
    found = named(check(copy).findings, "tokens.ds")
    assert found[1:] == [(f"the token is {after}, the document's text gives {before}", place)]


def test_the_end_of_document(copy):
    id_ = documents(copy, "train")[0]
    (path,) = [p for p in shards(copy, "web") if id_ in index(p)["id"].to_pylist()]
    n = index(path)["n_tokens"][index(path)["id"].index(id_).as_py()].as_py()
    before, after, at = flip(copy, id_, n - 1)
    found = named(check(copy).findings, "tokens.ds")
    place = f"source web, id {id_}, token {n - 1} (token {at} of the shard)"
    assert found[1] == (f"the token is {after}, the document's text gives {before}", place)


def test_of_a_conversation(copy):
    id_ = documents(copy, "train", "chat")[0]
    before, after, at = flip(copy, id_, 3, "chat")
    found = named(check(copy).findings, "tokens.ds")
    place = f"source chat, id {id_}, token 3 (token {at} of the shard)"
    assert found[1] == (f"the token is {after}, the document's text gives {before}", place)


def test_a_mark_of_a_loss_mask(copy):
    id_ = documents(copy, "train", "chat")[0]
    before, after, at = flip(copy, id_, 2, "chat", "tokens.ds.loss")
    found = check(copy, fast=True).findings
    place = f"source chat, id {id_}, token 2 (token {at} of the shard)"
    assert named(found, "tokens.ds.loss") == [
        ("its bytes are not those that were written (sha256)", ""),
        (f"the mark is {after}, the conversation gives {before}", place),
    ]
    assert any("n_loss_tokens" in f.what for f in found if f.file == "selection.parquet")  # the row that trains on it


def test_a_token_that_no_vocabulary_has(copy):
    id_ = documents(copy, "train")[0]
    (path,) = [p for p in shards(copy, "web") if id_ in index(p)["id"].to_pylist()]
    at = index(path)["token_start"][index(path)["id"].index(id_).as_py()].as_py()
    tokens = np.fromfile(path, "<u2")
    before, tokens[at] = int(tokens[at]), 60_000
    tokens.tofile(path)
    found = named(check(copy).findings, "tokens.ds")
    assert found[1] == (f"the token is 60000, outside the vocabulary, the document's text gives {before}",
                        f"source web, id {id_}, token 0 (token {at} of the shard)")  # fmt: skip


def test_two_uses_clear_each_other(copy):
    """A changed token is in all rows that use it: a document of the same row that also stands in a row that matches is cleared."""
    rows = pq.read_table(copy.build / "selection.parquet").to_pylist()
    id_ = documents(copy, "train", "chat")[0]
    flip(copy, id_, 0, "chat")
    found = [f for f in check(copy).findings if f.at.startswith("sequence ")]
    assert {int(f.at.split()[1].rstrip(",")) for f in found} == {
        r["sequence"] for r in rows if r["id"] == id_ and r["token_start"] == 0
    }
    twice = {r["id"] for r in rows if r["source"] == "chat" and r["pass"] == 1 and r["id"] != id_}
    shared = {r["id"] for r in rows if r["sequence"] in {r["sequence"] for r in rows if r["id"] == id_}} - {id_}
    assert all(id_ in f.what for f in found)
    for f in found:
        assert not any(other in f.what for other in shared & twice if _stands_alone(rows, other, id_))


def _stands_alone(rows, other: str, id_: str) -> bool:
    wrong = {r["sequence"] for r in rows if r["id"] == id_}
    return any(r["id"] == other and r["sequence"] not in wrong and r["n_chunks"] == 1 for r in rows)


def test_of_a_tokenizer_that_changes_texts(tmp_path):
    """With a normalizer tokens do not give the text back: every text is encoded again."""
    tiny_tokenizer.write(tmp_path / "tok", template=tiny_tokenizer.CHATML, edit={"normalizer": {"type": "NFC"}})
    made = build(tmp_path, MIXTURE)
    assert check(made).ok
    id_ = documents(made, "train")[0]
    before, after, at = flip(made, id_, 1)
    place = f"source web, id {id_}, token 1 (token {at} of the shard)"
    assert named(check(made, fast=True).findings, "tokens.ds")[1] == (
        f"the token is {after}, the document's text gives {before}",
        place,
    )
