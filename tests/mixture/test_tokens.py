"""Token shards from documents and decisions: bytes by hand, datatrove's reader and writer, reuse against a build from nothing."""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate import engine
from curate.errors import CurateError
from curate.recipe import License, Source, TokenizerSpec
from curate.schema import DECISIONS, DOCUMENTS
from curate.store import Store
from mixture import tokens
from mixture.token_files import TokenShards
from mixture.tokenizer import load_tokenizer
from tests.mixture import tiny_tokenizer

TEXTS = ["Veski jahvatab vilja.", "", "Õhtul 🙂 <|endoftext|>", "The mill grinds grain.\n", "x" * 50, "vesi jookseb"]
EOS, BOS = 0, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_tokenizer.write(tmp_path_factory.mktemp("tiny"), template=tiny_tokenizer.CHATML)


def recipe(folder: Path, type: str = "text", loss: str = "all", **spec):
    """What tokenize reads of a recipe."""
    source = Source(name="web", read="x", license=License(declared="MIT"), type=type, loss=loss)
    return SimpleNamespace(kind="cpt", tokenizer=TokenizerSpec(model=str(folder), **spec), sources={"web": source}, path=Path)


def make_documents(store: Store, texts: list[str], *, n_shards: int = 2, messages: list | None = None, group: int = 2):
    """A documents stage of one source, its ids in order, in row groups of two."""
    rows = [
        {
            "id": f"{i:032x}", "source": "web", "text": text,
            "text_hash": hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
            "messages": None if messages is None else json.dumps(messages[i]), "is_repaired": False,
        }
        for i, text in enumerate(texts)
    ]  # fmt: skip
    stage = store.stage("documents", version=1, settings={"n": n_shards}, raw=[r["text_hash"] for r in rows])
    keys = [f"{k:05d}" for k in range(n_shards)]
    for k, key in enumerate(keys):
        part = rows[k * len(rows) // n_shards : (k + 1) * len(rows) // n_shards]
        with stage.shard(key) as out:
            pq.write_table(pa.Table.from_pylist(part, DOCUMENTS), out.path / "documents.parquet", row_group_size=group)
            out.done(len(part), key + repr(part))
    stage.finish(keys)
    return stage


def make_decisions(store: Store, documents, keep: list[bool]):
    stage = store.stage("decide", version=1, settings={"keep": keep}, parents=[documents.root])
    row = 0
    for key in documents.keys:
        ids = pq.read_table(documents.shard_path(key) / "documents.parquet", columns=["id"])["id"].to_pylist()
        rows = [{"id": i, "source": "web", "keep": keep[row + n]} for n, i in enumerate(ids)]
        row += len(ids)
        with stage.shard(f"web.{key}") as out:
            pq.write_table(pa.Table.from_pylist(rows, DECISIONS), out.path / "decisions.parquet")
            out.done(len(rows), repr(rows))
    stage.finish([f"web.{key}" for key in documents.keys])
    return stage


def tokenize(store: Store, a_recipe, keep: list[bool], texts: list[str] = TEXTS, **documents):
    made = make_documents(store, texts, **documents)
    stages, tasks = tokens.tasks(store, a_recipe, {"web": made}, make_decisions(store, made, keep))
    engine.run(tasks, workers=1, label="tokenize")
    stages["web"].finish([key for task in tasks for _, key in task.outputs])
    return stages["web"]


def file_bytes(stage, key: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(stage.shard_path(key).iterdir()) if path.name != "shard.json"}


def test_the_files_byte_by_byte(tmp_path, folder):
    """Kept documents only, [bos] + ids + [eos], ends in the index, three lines of metadata."""
    keep = [True, True, False, True, True, True]
    stage = tokenize(Store(tmp_path), recipe(folder, bos="per_document"), keep)
    tokenizer = load_tokenizer(TokenizerSpec(model=str(folder)))
    ids = [[BOS, *tokenizer.encode_batch([TEXTS[i]])[0].tolist(), EOS] for i in (0, 1)]
    files = file_bytes(stage, "00000")
    assert sorted(files) == ["tokens.ds", "tokens.ds.index", "tokens.ds.metadata", "tokens.parquet"]
    assert files["tokens.ds"] == struct.pack(f"<{len(ids[0]) + 2}H", *ids[0], BOS, EOS)
    assert files["tokens.ds.index"] == struct.pack("<2Q", len(ids[0]), len(ids[0]) + 2)
    n = len(ids[0]) + 2
    assert files["tokens.ds.metadata"].decode() == f"{folder.name}|2\n{n}\n{n}.0 T"
    table = pq.read_table(stage.shard_path("00000") / "tokens.parquet").to_pylist()
    assert table == [
        {"id": f"{0:032x}", "token_start": 0, "n_tokens": len(ids[0]), "n_loss_tokens": len(ids[0])},
        {"id": f"{1:032x}", "token_start": len(ids[0]), "n_tokens": 2, "n_loss_tokens": 2},
    ]
    counts = stage.info()["counts"]
    assert {k: counts[k] for k in ("documents", "tokenized", "reused")} == {"documents": 5, "tokenized": 5, "reused": 0}
    assert (
        counts["n_tokens"]
        == counts["n_loss_tokens"]
        == sum(len(TokenShards([stage.shard_path(k)]).tokens(0)) for k in stage.keys)
    )


def test_datatrove_writes_the_same_and_reads_it(tmp_path, folder):
    """datatrove's TokenizedFile given our ids makes our bytes; its dataset over our shard gives tokens and positions."""
    torch = pytest.importorskip("torch", reason="datatrove's dataset needs the extra `train`")
    from datatrove.pipeline.tokens.tokenizer import TokenizedFile
    from datatrove.utils.dataset import DatatroveFileDataset

    stage = tokenize(Store(tmp_path / "store"), recipe(folder), [True] * 6, n_shards=1)
    ours, shard = file_bytes(stage, "00000"), TokenShards([stage.shard_path("00000")])
    theirs = TokenizedFile(
        str(tmp_path / "dt"), "tokens.ds", tokenizer_name_or_path=folder.name, save_final_metadata=True, token_size=2
    )
    documents = [shard.tokens(0)[r["token_start"] : r["token_start"] + r["n_tokens"]] for r in shard.index(0).to_pylist()]
    for ids in documents:
        theirs.write(ids.tolist(), None)
    theirs.close()
    for name in ("tokens.ds", "tokens.ds.index", "tokens.ds.metadata"):
        assert (tmp_path / "dt" / name).read_bytes() == ours[name], name

    length = 15
    dataset = DatatroveFileDataset(str(stage.shard_path("00000") / "tokens.ds"), length, token_size=2, return_positions=True)
    assert len(dataset) == len(shard.tokens(0)) // (length + 1) > 2
    position = np.concatenate([np.arange(len(ids)) for ids in documents])
    for i in range(len(dataset)):
        span, row = slice(i * (length + 1), (i + 1) * (length + 1)), dataset[i]
        assert row["input_ids"].tolist() == shard.tokens(0)[span].tolist()
        into = position[span].copy()  # datatrove counts a window's first document from the window, not from the document
        first = np.flatnonzero(into == 0)[:1]
        edge = first[0] if len(first) else len(into)
        into[:edge] = np.arange(edge)
        assert torch.equal(row["positions"], torch.tensor(into, dtype=row["positions"].dtype))


def test_the_loss_mask_is_datatroves(tmp_path, folder):
    from datatrove.pipeline.tokens.tokenizer import TokenizedFile

    chats = [[{"role": "user", "content": "Tere?"}, {"role": "assistant", "content": text}] for text in TEXTS]
    stage = tokenize(Store(tmp_path / "s"), recipe(folder, "conversation", "assistant"), [True] * 6, messages=chats, n_shards=1)
    shard = TokenShards([stage.shard_path("00000")])
    tokenizer = load_tokenizer(TokenizerSpec(model=str(folder)))
    theirs = TokenizedFile(str(tmp_path / "dt"), "tokens.ds", save_loss_metadata=True, token_size=2)
    for text, row in zip(TEXTS, shard.index(0).to_pylist(), strict=True):
        span = slice(row["token_start"], row["token_start"] + row["n_tokens"])
        ids, mask = shard.tokens(0)[span], shard.loss(0)[span]
        whole = f"<|im_start|>user\nTere?<|im_end|>\n<|im_start|>assistant\n{text}<|im_end|>\n<|endoftext|>"
        assert tokenizer.decode(ids) == whole
        assert tokenizer.decode(ids[mask == 1]) == f"{text}<|im_end|>"
        assert row["n_loss_tokens"] == mask.sum()
        theirs.write(ids.tolist(), mask.astype(bool))
    theirs.close()
    assert (tmp_path / "dt/tokens.ds.loss").read_bytes() == file_bytes(stage, "00000")["tokens.ds.loss"]
    assert stage.info()["counts"]["n_loss_tokens"] == int(shard.loss(0).sum()) < stage.info()["counts"]["n_tokens"]


def test_loss_all_has_no_mask_file(tmp_path, folder):
    chats = [[{"role": "user", "content": text}] for text in TEXTS]
    stage = tokenize(Store(tmp_path), recipe(folder, "conversation"), [True] * 6, messages=chats)
    shard = TokenShards([stage.shard_path(key) for key in stage.keys])
    assert shard.loss(0) is None
    assert "tokens.ds.loss" not in file_bytes(stage, "00000")
    assert stage.info()["counts"]["n_loss_tokens"] == len(shard.tokens(0)) + len(shard.tokens(1))


def test_bos_and_eos_are_not_doubled(tmp_path):
    """A template that writes bos and eos itself gets neither again; a put-in eos after the assistant's last token is learned."""
    config, spec = {"bos_token": "<s>", "eos_token": "<|endoftext|>"}, {"bos": "per_document", "eos": "per_document"}
    chat = [[{"role": "assistant", "content": "veski"}]]
    inner = "{{ messages[-1].content }}"
    for name, template, learned in (
        ("both", "<s>{% generation %}" + inner + "<|endoftext|>{% endgeneration %}", "veski<|endoftext|>"),
        ("none", "{% generation %}" + inner + "{% endgeneration %}", "veski<|endoftext|>"),
        ("later", "{% generation %}" + inner + "<|im_end|>{% endgeneration %}{{ '\\n' }}", "veski<|im_end|>"),
    ):
        place = tiny_tokenizer.write(tmp_path / name, template=template, config=config)
        asked = recipe(place, "conversation", "assistant", **spec)
        stage = tokenize(Store(tmp_path / "store"), asked, [True], [""], messages=chat, n_shards=1)
        shard, tokenizer = TokenShards([stage.shard_path("00000")]), load_tokenizer(TokenizerSpec(model=str(place)))
        middle = "<|im_end|>\n" if name == "later" else ""
        assert tokenizer.decode(shard.tokens(0)) == f"<s>veski{middle}<|endoftext|>"
        assert tokenizer.decode(shard.tokens(0)[shard.loss(0) == 1]) == learned


def test_nothing_kept_is_an_empty_shard(tmp_path, folder):
    stage = tokenize(Store(tmp_path), recipe(folder), [False] * 3 + [True] * 3)
    shard = TokenShards([stage.shard_path(key) for key in stage.keys])
    assert (len(shard.tokens(0)), shard.index(0).num_rows, shard.tokens(0).dtype) == (0, 0, np.uint16)
    assert shard.index(1).num_rows == 3


def test_a_changed_decision_tokenizes_only_what_is_new(tmp_path, folder, monkeypatch):
    """(a) counts and the encoder's own witness; (b) bytes and root of a build from nothing."""
    first = [True, False, True, True, False, False]
    second = [True, True, False, True, True, False]
    store = Store(tmp_path / "grown")
    tokenize(store, recipe(folder), first)
    asked: list[str] = []
    real = tokens._encode_rows

    def seen(ids, values, *rest):
        asked.extend(values.to_pylist())
        return real(ids, values, *rest)

    monkeypatch.setattr(tokens, "_encode_rows", seen)
    grown = tokenize(store, recipe(folder), second)
    assert sorted(asked) == sorted([TEXTS[1], TEXTS[4]])
    assert {k: grown.info()["counts"][k] for k in ("tokenized", "reused")} == {"tokenized": 2, "reused": 2}
    fresh = tokenize(Store(tmp_path / "fresh"), recipe(folder), second)
    assert fresh.info()["counts"]["reused"] == 0
    assert (grown.root, grown.fingerprint) == (fresh.root, fresh.fingerprint)
    for key in fresh.keys:
        assert file_bytes(grown, key) == file_bytes(fresh, key)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4), st.booleans())
def test_history_does_not_matter(tmp_path_factory, folder, history, is_chat):
    """Any sequence of decisions over one store ends in the bytes of the last decision alone, with and without a loss mask."""
    a_recipe = recipe(folder, "conversation", "assistant") if is_chat else recipe(folder)
    chats = [[{"role": "assistant", "content": text}] for text in TEXTS] if is_chat else None
    grown, fresh = Store(tmp_path_factory.mktemp("grown")), Store(tmp_path_factory.mktemp("fresh"))
    for keep in history:
        last = tokenize(grown, a_recipe, keep, messages=chats)
    alone = tokenize(fresh, a_recipe, history[-1], messages=chats)
    assert last.root == alone.root
    assert all(file_bytes(last, key) == file_bytes(alone, key) for key in alone.keys)


def test_other_settings_share_nothing(tmp_path, folder):
    store = Store(tmp_path)
    stages = [
        tokenize(store, recipe(folder), [True] * 6),
        tokenize(store, recipe(folder, eos="none"), [True] * 5 + [False]),
        tokenize(store, recipe(folder), [True] * 5 + [False], [*TEXTS[:5], "other"]),
    ]
    assert [stage.info()["counts"]["reused"] for stage in stages] == [0, 0, 0]
    assert len({stage.fingerprint for stage in stages}) == 3


def test_damage_is_not_copied(tmp_path, folder, caplog):
    store = Store(tmp_path)
    stage = tokenize(store, recipe(folder), [True] * 6)
    path = stage.shard_path("00000") / "tokens.ds"
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    later = tokenize(store, recipe(folder), [True] * 5 + [False])
    assert later.info()["counts"]["reused"] == 2  # shard 00001 only
    assert "tokens.ds is damaged" in caplog.text


def test_a_mismatch_on_this_text_means_tokenizers(tmp_path, folder, monkeypatch, caplog):
    """An encoder that goes wrong on one document of shard 00001: tokenizers does that shard, the log says which document."""
    caplog.set_level(logging.WARNING)
    right = tokenize(Store(tmp_path / "right"), recipe(folder), [True] * 6)
    from mixture.tokenizer.compiled import CompiledBpe

    real = CompiledBpe.encode

    def wrongly(self, texts):
        return [ids[:-1] if "xxx" in text else ids for ids, text in zip(real(self, texts), texts.to_pylist(), strict=True)]

    monkeypatch.setattr(CompiledBpe, "encode", wrongly)
    wrong = tokenize(Store(tmp_path / "wrong"), recipe(folder), [True] * 6)
    assert f"differ on document {4:032x}" in caplog.text
    assert "shard 00001" in caplog.text and "shard 00000" not in caplog.text
    assert wrong.root == right.root


@pytest.mark.slow
def test_two_workers_alike(tmp_path, folder):
    stages = []
    for workers in (1, 2):
        store = Store(tmp_path / str(workers))
        made = make_documents(store, TEXTS)
        found, tasks = tokens.tasks(store, recipe(folder), {"web": made}, make_decisions(store, made, [True] * 6))
        engine.run(tasks, workers=workers, label="tokenize")
        found["web"].finish(made.keys)
        stages.append(found["web"])
    assert stages[0].root == stages[1].root
    assert all(file_bytes(stages[0], key) == file_bytes(stages[1], key) for key in stages[0].keys)


def test_long_documents_go_in_small_batches(tmp_path, folder, monkeypatch):
    """Never more than BATCH_BYTES of text at once, but for a document that is longer alone."""
    monkeypatch.setattr(tokens, "BATCH_BYTES", 60)
    sizes: list[int] = []
    from mixture.tokenizer import Tokenizer

    real = Tokenizer.encode_column

    def seen(self, texts):
        sizes.append(sum(len(text.encode()) for text in texts.to_pylist()))
        return real(self, texts)

    texts = [f"{i} veski" for i in range(40)] + ["x" * 500]
    wanted = tokenize(Store(tmp_path / "a"), recipe(folder), [True] * 41, texts, n_shards=1, group=41)
    monkeypatch.setattr(Tokenizer, "encode_column", seen)
    stage = tokenize(Store(tmp_path / "b"), recipe(folder), [True] * 41, texts, n_shards=1, group=41)
    assert stage.root == wanted.root
    assert max(size for size in sizes if size < 500) <= 70 and sum(sizes) == sum(len(text) for text in texts)


def test_mistakes_are_found_before_the_first_document(tmp_path, folder):
    with pytest.raises(CurateError, match=r"sources\.web: loss: assistant is for conversations"):
        tokens.check(recipe(folder, "text", "assistant"))
    with pytest.raises(CurateError, match="has no chat template"):
        tokens.check(recipe(tiny_tokenizer.write(tmp_path), "conversation"))


def test_a_decision_table_of_other_documents_is_a_bug(tmp_path, folder):
    store = Store(tmp_path)
    made = make_documents(store, TEXTS)
    decisions = make_decisions(store, made, [True] * 6)
    table = pq.read_table(decisions.shard_path("web.00000") / "decisions.parquet")
    pq.write_table(table.slice(0, 2), decisions.shard_path("web.00000") / "decisions.parquet")
    _, tasks = tokens.tasks(store, recipe(folder), {"web": made}, decisions)
    with pytest.raises(RuntimeError, match="does not judge the documents"):
        engine.run(tasks, workers=1, label="tokenize")


def test_real_text_comes_back_from_the_shards(tmp_path, data):
    """GPT-2 and GPT-NeoX on real Estonian: decode gives the text of every document."""
    from tests.mixture.test_tokenizer import texts

    found = texts(data / "et_text/ud_ewt_train_2022.jsonl.zst", 20)
    for name in ("gpt2", "gpt_neox_20b"):
        place = data / "tokenizers" / name
        stage = tokenize(Store(tmp_path / name), recipe(place), [True] * len(found), found)
        shard, tokenizer = (
            TokenShards([stage.shard_path(key) for key in stage.keys]),
            load_tokenizer(TokenizerSpec(model=str(place))),
        )
        back = []
        for number in range(len(shard)):
            for row in shard.index(number).to_pylist():
                ids = shard.tokens(number)[row["token_start"] : row["token_start"] + row["n_tokens"]]
                assert ids[-1] == tokenizer.special["eos"]
                back.append(tokenizer.decode(ids[:-1]))
        assert back == found
