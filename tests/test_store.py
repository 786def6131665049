"""Stage folders: fingerprints, exclusive publishing, roots that see rows and nothing else."""

import pickle

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import CurateError
from curate.store import Store, array_root, digest, read_json, table_root, write_json


def write(stage, key, text, root=None):
    with stage.shard(key) as shard:
        (shard.path / "a.txt").write_text(text)
        shard.done(1, root or digest(text), {"n": 1})


def test_fingerprint_is_settings_parents_and_raw_but_no_paths(tmp_path):
    a, b = Store(tmp_path / "a"), Store(tmp_path / "b")
    base = a.stage("x", version=1, settings={"k": 1, "j": [2]}, parents=["r"], raw=["s2", "s1"])
    assert base.fingerprint == b.stage("x", version=1, settings={"j": [2], "k": 1}, parents=["r"], raw=["s1", "s2"]).fingerprint
    for other in (
        a.stage("x", version=2, settings={"k": 1, "j": [2]}, parents=["r"], raw=["s1", "s2"]),
        a.stage("x", version=1, settings={"k": 2, "j": [2]}, parents=["r"], raw=["s1", "s2"]),
        a.stage("x", version=1, settings={"k": 1, "j": [2]}, parents=["q"], raw=["s1", "s2"]),
        a.stage("x", version=1, settings={"k": 1, "j": [2]}, parents=["r"], raw=["s1"]),
    ):
        assert other.fingerprint != base.fingerprint


def test_publish_finish_and_read_back(tmp_path):
    stage = Store(tmp_path).stage("x", version=1, settings={})
    write(stage, "00000", "a")
    assert stage.published("00000") and not stage.complete
    write(stage, "00001", "b")
    info = stage.finish(["00000", "00001"])
    assert (info["rows"], info["counts"], info["keys"]) == (2, {"n": 2}, ["00000", "00001"])
    assert stage.root == digest("00000", digest("a"), "00001", digest("b"))
    assert pickle.loads(pickle.dumps(stage)).root == stage.root
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_an_equal_winner_is_accepted_another_is_not(tmp_path):
    stage = Store(tmp_path).stage("x", version=1, settings={})
    write(stage, "0", "a")
    write(stage, "0", "a")
    with pytest.raises(RuntimeError, match="another content"):
        write(stage, "0", "b")


def test_a_failing_shard_leaves_nothing(tmp_path):
    stage = Store(tmp_path).stage("x", version=1, settings={})
    with pytest.raises(ZeroDivisionError), stage.shard("0") as shard:
        (shard.path / "a").write_text("half")
        _ = 1 / 0
    assert not stage.published("0") and list((tmp_path / ".tmp").iterdir()) == []


def test_json_sees_a_flipped_byte(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"tokens": 12345})
    assert read_json(path) == {"tokens": 12345}
    path.write_bytes(path.read_bytes().replace(b"12345", b"12346"))
    with pytest.raises(CurateError, match="damaged"):
        read_json(path)


def test_table_root_is_logical():
    table = pa.table({"id": ["a", "b", None], "n": [1, None, 3], "l": [["x"], [], ["y", "z"]], "ok": [True, None, False]})
    parts = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    large = table.set_column(0, "id", table["id"].cast(pa.large_string()))
    assert table_root(table) == table_root(parts) == table_root(large)
    assert table_root(table, exclude={"n"}) == table_root(table.drop_columns(["n"]))
    changed = {
        "value": table.set_column(1, "n", pa.array([1, None, 4])),
        "null": table.set_column(1, "n", pa.array([1, 0, 3])),
        "string": table.set_column(0, "id", pa.array(["ab", "", None])),
        "list": table.set_column(2, "l", pa.array([["x"], ["y"], ["z"]])),
        "name": table.rename_columns(["id2", "n", "l", "ok"]),
    }
    roots = {name: table_root(t) for name, t in changed.items()}
    assert len({table_root(table), *roots.values()}) == 6


def test_table_root_hides_what_stands_behind_a_null():
    hidden = pa.StringArray.from_buffers(
        2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"ab"), pa.py_buffer(b"\x01")
    )
    plain = pa.array(["a", None])
    assert table_root(pa.table({"s": hidden})) == table_root(pa.table({"s": plain}))


def test_array_root_sees_dtype_and_shape():
    assert array_root(np.zeros(4, np.uint8)) != array_root(np.zeros(2, np.uint16))
    assert array_root(np.zeros((2, 2))) != array_root(np.zeros(4))
