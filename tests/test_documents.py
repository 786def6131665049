"""The stage `documents`: identity, layouts, sums, samples, and what is not read again."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import documents, ingest, schema
from curate.documents import document_keys, n_shards
from curate.errors import CurateError
from curate.store import Stage, Store
from tests.sources.making import lines, pack, recipe

MIT = {"license": {"declared": "MIT"}}


def built(folder: Path, blocks: dict[str, dict], store: str = "store", workers: int = 1, **more) -> dict[str, Stage]:
    return documents.ingest(Store(folder / store), recipe(folder, blocks, **more), workers)


def rows(stage: Stage) -> list[dict]:
    return [row for key in document_keys(stage) for row in pq.read_table(stage.shard_path(key) / "documents.parquet").to_pylist()]


def quarantine(stage: Stage) -> list[dict]:
    return pq.read_table(stage.shard_path("quarantine") / "quarantine.parquet").to_pylist()


def id96(*parts: str) -> str:
    """blake2b-96 over length-prefixed parts, each behind "=": the identity as documented."""
    state = hashlib.blake2b(digest_size=12)
    for part in parts:
        state.update((len(part.encode()) + 1).to_bytes(8, "little") + b"=" + part.encode())
    return state.hexdigest()


def text_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def test_n_shards_is_a_power_of_two_by_the_count_alone():
    assert [n_shards(n) for n in (0, 1, 16384, 16385, 32768, 32769, 10**6, 10**12)] == [1, 1, 1, 2, 2, 4, 64, 65536]


def test_ids_are_what_the_design_says(tmp_path):
    pack(tmp_path / "a.jsonl", lines({"id": "x1", "text": "üks"}, {"text": "kaks"}, {"id": 7, "text": "kolm", "title": "T"}))
    stage = built(tmp_path, {"et": {"read": "a.jsonl", "language": "et"}})["et"]
    assert {row["text"]: row["id"] for row in rows(stage)} == {
        "üks": id96("et", "source_id", "x1") + "00000000",
        "kaks": id96("et", "text", text_hash("kaks")) + "00000000",
        "kolm": id96("et", "source_id", "7") + "00000000",
    }
    row = next(row for row in rows(stage) if row["text"] == "kolm")
    assert {name: value for name, value in row.items() if value is not None} == {
        "id": row["id"], "source": "et", "source_id": "7", "text": "kolm", "text_hash": text_hash("kolm"), "language": "et",
        "license": "CC0-1.0", "title": "T", "is_repaired": False, "file": "a.jsonl", "byte_offset": 46,
    }  # fmt: skip
    assert [r["id"] for r in rows(stage)] == sorted(r["id"] for r in rows(stage))
    table = pq.read_table(stage.shard_path("00000") / "documents.parquet")
    assert table.schema.equals(schema.DOCUMENTS)


def test_content_and_path_ids(tmp_path):
    pack(tmp_path / "d/a.txt.gz", b"sama")
    pack(tmp_path / "d/e/b.txt", b"sama")
    by_text = built(tmp_path, {"s": {"read": "d", "format": "tree"}})["s"]
    base = id96("s", "text", text_hash("sama"))
    assert [row["id"] for row in rows(by_text)] == [base + "00000000", base + "00000001"]
    by_path = built(tmp_path, {"s": {"read": "d", "format": "tree", "id": "path"}})["s"]
    assert {row["id"] for row in rows(by_path)} == {id96("s", "path", name) + "00000000" for name in ("a.txt", "e/b.txt")}
    pack(tmp_path / "c.jsonl", lines({"id": "1", "text": "sama"}))
    ignored = built(tmp_path, {"s": {"read": "c.jsonl", "id": "content"}})["s"]
    assert [(row["id"], row["source_id"]) for row in rows(ignored)] == [(base + "00000000", "1")]
    with pytest.raises(CurateError, match="one document per file"):
        built(tmp_path, {"s": {"read": "c.jsonl", "id": "path"}})


def test_equals_are_numbered_by_the_hash_of_their_fields(tmp_path):
    copies = [{"text": "sama tekst", "url": f"http://{i}.ee"} for i in range(5)] + [{"text": "sama tekst", "url": "http://3.ee"}]
    seen = set()
    for seed in range(4):
        random.Random(seed).shuffle(copies)
        folder = tmp_path / str(seed)
        pack(folder / "a.jsonl", lines(*copies[:2]))
        pack(folder / "b.jsonl.gz", lines(*copies[2:]))
        stage = built(folder, {"s": {"read": "*.jsonl*"}})["s"]
        assert [row["id"][24:] for row in rows(stage)] == [f"{i:08x}" for i in range(6)]
        seen.add((stage.root, tuple(row["url"] for row in rows(stage))))
    assert len(seen) == 1


def test_a_repaired_and_a_clean_copy_have_one_order(tmp_path):
    roots = set()
    for seed, order in enumerate(([0, 1], [1, 0])):
        texts = ["pÃ¤ev", "päev"]
        folder = tmp_path / str(seed)
        pack(folder / "a.jsonl", lines(*({"text": texts[i]} for i in order)))
        stage = built(folder, {"s": {"read": "a.jsonl"}})["s"]
        assert [row["text"] for row in rows(stage)] == ["päev", "päev"]
        assert stage.info()["counts"]["n_repaired"] == 1
        roots.add(stage.root)
    assert len(roots) == 1


def test_code_and_mathematics_are_not_repaired(tmp_path):
    pack(tmp_path / "a.jsonl", lines({"text": "s = 'pÃ¤ev o\u0303'"}))
    for kind in ("code", "math"):
        assert rows(built(tmp_path, {"s": {"read": "a.jsonl", "type": kind}})["s"])[0]["text"] == "s = 'pÃ¤ev o\u0303'"


WITH_IDS = [
    {"id": i, "text": f"dokument {i} " + "õ" * (i % 11), "url": f"http://e.ee/{i % 5}", "lic": ["MIT", None][i % 2]}
    for i in range(150)
]
WITHOUT = [
    {"text": f"tekst {i % 60}", "url": f"http://e.ee/{i % 90}", "title": None if i % 3 else f"t{i % 4}"} for i in range(200)
]
CHATS = [
    {"n": i, "messages": [{"role": "user", "content": f"küsimus {i % 20}"}, {"role": "assistant", "content": "sõna"}]}
    for i in range(40)
]
BLOCKS = {
    "ids": {"license": {"from_field": "lic"}},
    "none": {"language": "et"},
    "chats": {"type": "conversation", "fields": {"source_id": "n"}},
}


def write(folder: Path, name: str, records: list[dict], layout: str) -> str:
    """One layout of one source; the pattern that reads it."""
    rng, place = random.Random(layout), folder / "raw" / name
    records = list(records)
    if layout == "plain":
        pack(place / "a.jsonl", lines(*records))
    elif layout == "reversed zst":
        pack(place / "renamed.jsonl.zst", lines(*records[::-1]))
    elif layout == "many gz":
        rng.shuffle(records)
        for i in range(7):
            pack(place / f"{6 - i}/part.jsonl.gz", lines(*records[i::7]))
        return f"raw/{name}/*/*.jsonl.gz"
    elif layout == "members":
        (place).mkdir(parents=True)
        (place / "m.jsonl.gz").write_bytes(b"".join(gzip.compress(lines(record)) for record in records))
    elif layout == "parquet":
        place.mkdir(parents=True)
        rng.shuffle(records)
        for i in range(2):
            pq.write_table(pa.Table.from_pylist(records[i::2]), place / f"{i}.parquet", row_group_size=17)
    elif layout == "crlf, bom, blank lines, escapes":
        data = "\ufeff" + "\r\n\r\n".join(json.dumps(record) for record in records)
        pack(place / "x.jsonl", data.encode())
    elif layout == "mixed":
        pack(place / "a.jsonl.zst", lines(*records[:50]))
        pq.write_table(pa.Table.from_pylist(records[50:]), place / "b.parquet", compression="gzip")
    return f"raw/{name}/*"


LAYOUTS = ["plain", "reversed zst", "many gz", "members", "parquet", "crlf, bom, blank lines, escapes", "mixed"]


def test_layouts_have_one_root(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "SHARD_DOCUMENTS", 32)
    roots = {}
    for layout in LAYOUTS:
        folder = tmp_path / layout
        data = {"ids": WITH_IDS, "none": WITHOUT, "chats": CHATS}
        blocks = {name: {**BLOCKS[name], "read": write(folder, name, records, layout)} for name, records in data.items()}
        stages = built(folder, blocks)
        assert {name: stage.info()["rows"] for name, stage in stages.items()} == {"ids": 150, "none": 200, "chats": 40}
        roots[layout] = {name: stage.root for name, stage in stages.items()}
    assert all(found == roots["plain"] for found in roots.values()), roots
    assert len(stages["none"].keys) == 8 + 1


def test_parts_batches_and_groups_do_not_matter(tmp_path, monkeypatch):
    pack(tmp_path / "a.jsonl", lines(*WITHOUT))
    whole = built(tmp_path, {"s": {"read": "a.jsonl"}}, store="one")["s"]
    monkeypatch.setattr(ingest, "ROW_BYTES", 1)
    monkeypatch.setattr(ingest, "PART_TEXT_BYTES", 300)
    monkeypatch.setattr(ingest, "BATCH_TEXT_BYTES", 40)
    monkeypatch.setattr(documents, "GROUP_TEXT_BYTES", 100)
    small = built(tmp_path, {"s": {"read": "a.jsonl"}}, store="two")["s"]
    assert len(list(Path(tmp_path / "two").rglob("part-*.arrow"))) > 5
    assert small.root == whole.root
    files = [(stage.shard_path("00000") / "documents.parquet").read_bytes() for stage in (whole, small)]
    assert files[0] == files[1]


@pytest.mark.slow
def test_two_workers_write_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "SHARD_DOCUMENTS", 32)
    pack(tmp_path / "a.jsonl", lines(*WITHOUT))
    pack(tmp_path / "b.jsonl", lines(*WITH_IDS))
    block = {"s": {"read": "a.jsonl"}, "t": {"read": "b.jsonl"}}
    one, two = built(tmp_path, block, "one", 1), built(tmp_path, block, "two", 2)
    for name in block:
        for key in one[name].keys:
            for file in one[name].shard_path(key).glob("*.parquet"):
                assert file.read_bytes() == (two[name].shard_path(key) / file.name).read_bytes()


def test_sums_and_quarantine(tmp_path):
    whole = pack(tmp_path / "c.jsonl.gz", lines(*WITH_IDS)).read_bytes()
    (tmp_path / "c.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    pack(tmp_path / "a.jsonl", lines({"text": "hea"}, [1], {"text": None}) + b"\n{broken\n" + lines({"text": "pÃ¤ev"}))
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    stage = built(tmp_path, {"s": {"read": "*.jsonl*"}})["s"]
    counts = stage.info()["counts"]
    assert [(row["file"], row["byte_offset"], row["cause"]) for row in quarantine(stage) if row["file"] != "c.jsonl.gz"] == [
        ("a.jsonl", 16, "not_an_object"),
        ("a.jsonl", 20, "missing_text"),
        ("a.jsonl", 36, "broken_json"),
        ("gone.jsonl", -1, "unreadable"),
    ]
    assert [row["cause"] for row in quarantine(stage) if row["file"] == "c.jsonl.gz"] == ["truncated"]
    n = len(rows(stage))
    assert counts == {
        "n_read": n + 5, "n_documents": n, "n_quarantined": 5, "n_outside_sample": 0, "n_repaired": 1,
        "text_bytes": sum(len(row["text"].encode()) for row in rows(stage)),
    }  # fmt: skip
    assert stage.info()["rows"] == n


def test_damage_keeps_the_sums_closed(tmp_path):
    rng, path = random.Random(11), tmp_path / "a.jsonl.zst"
    whole = pack(path, lines(*WITHOUT)).read_bytes()
    for i in range(25):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(data[: rng.randrange(1, len(data))] if i % 2 else data))
        counts = built(tmp_path, {"s": {"read": "a.jsonl.zst"}}, store=f"s{i}")["s"].info()["counts"]
        assert counts["n_read"] == counts["n_documents"] + counts["n_quarantined"]
        assert counts["n_quarantined"] or counts["n_documents"] == 200


def test_quarantine_is_no_part_of_the_root(tmp_path):
    pack(tmp_path / "one/a.jsonl", lines({"text": "hea"}))
    pack(tmp_path / "two/a.jsonl", b"{broken\n" + lines({"text": "hea"}))
    assert (
        built(tmp_path / "one", {"s": {"read": "a.jsonl"}})["s"].root
        == built(tmp_path / "two", {"s": {"read": "a.jsonl"}})["s"].root
    )


def test_a_renamed_file_is_not_read_again_and_has_its_new_name(tmp_path, monkeypatch):
    block = {"s": {"read": "*.jsonl"}}
    pack(tmp_path / "a.jsonl", lines({"text": "üks"}, {"text": "kaks"}) + b"[]\n")
    before = built(tmp_path, block)["s"]
    (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl")
    monkeypatch.setattr(ingest, "read", lambda *_: pytest.fail("read again"))
    after = built(tmp_path, block)["s"]
    assert after.root == before.root
    assert {row["file"] for row in rows(before)} == {"a.jsonl"}
    assert {row["file"] for row in [*rows(after), *quarantine(after)]} == {"b.jsonl"}


def test_an_added_file_is_the_only_one_read(tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "GROUP_BYTES", 1)  # no file is small
    pack(tmp_path / "a.jsonl", lines({"text": "üks"}))
    built(tmp_path, {"s": {"read": "*.jsonl"}})
    pack(tmp_path / "b.jsonl", lines({"text": "kaks"}))
    pack(tmp_path / "copy.jsonl", lines({"text": "üks"}))
    read, seen = ingest.read, []
    monkeypatch.setattr(ingest, "read", lambda path, *rest: seen.append(path.name) or read(path, *rest))
    stage = built(tmp_path, {"s": {"read": "*.jsonl"}})["s"]
    assert seen == ["b.jsonl"]
    assert sorted((row["text"], row["file"], row["id"][24:]) for row in rows(stage)) == [
        ("kaks", "b.jsonl", "00000000"), ("üks", "a.jsonl", "00000000"), ("üks", "copy.jsonl", "00000001")]  # fmt: skip


def test_a_changed_file_is_read_again(tmp_path):
    block = {"s": {"read": "a.jsonl"}}
    pack(tmp_path / "a.jsonl", lines({"text": "üks"}))
    before = built(tmp_path, block)["s"]
    pack(tmp_path / "a.jsonl", lines({"text": "kaks"}))
    after = built(tmp_path, block)["s"]
    assert [row["text"] for row in rows(after)] == ["kaks"] and before.root != after.root


def test_a_file_that_grows_while_it_is_read_stops_the_work(tmp_path, monkeypatch):
    pack(tmp_path / "a.jsonl", lines({"text": "üks"}))
    read = ingest.read

    def growing(path, *rest):
        yield from read(path, *rest)
        path.write_bytes(path.read_bytes() * 2)

    monkeypatch.setattr(ingest, "read", growing)
    with pytest.raises(CurateError, match="changed while it was read"):
        built(tmp_path, {"s": {"read": "a.jsonl"}})


def test_a_sample_is_drawn_by_id_whatever_the_layout(tmp_path):
    blocks, roots = {}, []
    for layout in ("plain", "many gz"):
        folder = tmp_path / layout
        blocks = {"ids": {**BLOCKS["ids"], "read": write(folder, "ids", WITH_IDS, layout)}}
        stage = built(folder, blocks, sample="20 %", seed=3)["ids"]
        roots.append(stage.root)
    counts = stage.info()["counts"]
    assert roots[0] == roots[1]
    assert counts["n_read"] == counts["n_documents"] == len(rows(stage)) and counts["n_read"] + counts["n_outside_sample"] == 150
    assert 15 <= counts["n_read"] <= 45  # 30 expected, 3 standard deviations of 4.9
    assert built(folder, blocks, sample="20 %", seed=4)["ids"].root != roots[0]
    everything = {row["id"] for row in rows(built(folder, blocks)["ids"])}
    assert {row["id"] for row in rows(stage)} <= everything


def test_row_groups_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "ROW_GROUP_TEXT_BYTES", 100)
    pack(tmp_path / "a.jsonl", lines(*({"text": f"{i:02d}" * 20} for i in range(10))))
    stage = built(tmp_path, {"s": {"read": "a.jsonl"}})["s"]
    meta = pq.read_metadata(stage.shard_path("00000") / "documents.parquet")
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [2] * 5
    assert meta.row_group(0).column(0).statistics.max < meta.row_group(1).column(0).statistics.min


def test_an_empty_source_has_one_empty_shard(tmp_path):
    pack(tmp_path / "a.jsonl", b"\n")
    stage = built(tmp_path, {"s": {"read": "a.jsonl"}})["s"]
    assert (stage.keys, rows(stage), stage.info()["counts"]["n_read"]) == (["00000", "quarantine"], [], 0)
