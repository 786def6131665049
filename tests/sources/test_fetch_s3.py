"""A real S3-compatible server, started here (moto): mirrored, interrupted and gone on with, changed objects seen, damage seen."""

from __future__ import annotations

import random

import pytest

from curate import documents
from curate.errors import CurateError
from curate.recipe.places import Mirror
from curate.sources.places import fetch as room
from curate.sources.places import filesystems
from curate.sources.places.fetch import fetch
from curate.store import Store, file_sha256
from tests.sources.making import lines, recipe

moto_server = pytest.importorskip("moto.server", reason="needs the dev extra: moto[s3], flask, flask-cors")
pytest.importorskip("s3fs", reason="needs the extra s3")


@pytest.fixture(scope="module")
def server():
    found = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    found.start()
    yield "http://{}:{}".format(*found.get_host_and_port())
    found.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    """A client of an empty bucket; the same server and login are in the environment, where s3fs looks for them."""
    import boto3
    import s3fs

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    login = {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
    }
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(room, "WAIT_S", 0.0)
    monkeypatch.setattr(room, "LISTING_WAITS_S", ())
    client = boto3.client("s3", endpoint_url=server)
    client.create_bucket(Bucket="veski")
    yield client
    for item in client.list_objects_v2(Bucket="veski").get("Contents", []):
        client.delete_object(Bucket="veski", Key=item["Key"])
    client.delete_bucket(Bucket="veski")
    s3fs.S3FileSystem.clear_instance_cache()


def rows(n, seed=0):
    chance = random.Random(seed)
    return b"".join(lines({"text": f"row {seed} {i} {chance.random()}"}) for i in range(n))


def put(client, key, data):
    client.put_object(Bucket="veski", Key=key, Body=data)


def of(folder, pattern, **block):
    return recipe(folder, {"s": {"read": pattern, **block}})


def test_a_bucket_is_mirrored_and_built_from(tmp_path, bucket):
    for year in (2023, 2024):
        put(bucket, f"corpus/{year}/a.jsonl", rows(50, year))
    put(bucket, "corpus/2024/notes.txt", b"not asked for")
    found = fetch(of(tmp_path, "s3://veski/corpus/*/*.jsonl"))
    assert found.fetched == ["s3/veski/corpus/2023/a.jsonl", "s3/veski/corpus/2024/a.jsonl"]
    entry = Mirror(tmp_path / "mirror").files["s3/veski/corpus/2023/a.jsonl"]
    assert entry.url == "s3://veski/corpus/2023/a.jsonl" and entry.size == len(rows(50, 2023)) and entry.version.startswith('"')
    assert entry.sha256 == file_sha256(tmp_path / "mirror" / entry.path)
    stage = documents.ingest(Store(tmp_path / "store"), of(tmp_path, "s3://veski/corpus/*/*.jsonl"), 1)["s"]
    assert stage.info()["counts"]["n_documents"] == 100


def test_interrupted_it_goes_on_in_the_middle_of_an_object(tmp_path, bucket, monkeypatch):
    data = rows(20_000)
    put(bucket, "big.jsonl", data)
    monkeypatch.setattr(filesystems, "BLOCK_BYTES", 100_000)
    asked = counted(monkeypatch, fail_at=5)
    monkeypatch.setattr(room, "TRIES", 0)
    made = of(tmp_path, "s3://veski/big.jsonl")
    with pytest.raises(CurateError, match="cannot be read"):
        fetch(made)
    assert asked == [i * 100_000 for i in range(6)]
    part = next((tmp_path / "mirror").rglob(".big.jsonl.part"))
    assert part.read_bytes() == data[:500_000]
    asked.clear()
    found = fetch(made)
    assert asked[0] == 500_000 and found.fetched_bytes == len(data) - 500_000
    assert (tmp_path / "mirror/s3/veski/big.jsonl").read_bytes() == data
    assert not list((tmp_path / "mirror").rglob(".big*"))


def counted(monkeypatch, fail_at=None):
    """Offsets of the ranges asked for; the request number `fail_at` (from 0) finds no network, once."""
    import s3fs

    asked, cat_file = [], s3fs.S3FileSystem.cat_file

    def counting(self, path, start=None, end=None, **more):
        asked.append(start)
        if len(asked) - 1 == fail_at and not getattr(counting, "failed", False):
            counting.failed = True
            raise ConnectionResetError("the network is gone")
        return cat_file(self, path, start=start, end=end, **more)

    monkeypatch.setattr(s3fs.S3FileSystem, "cat_file", counting)
    return asked


def test_a_short_outage_is_waited_for(tmp_path, bucket, monkeypatch):
    data = rows(20_000)
    put(bucket, "big.jsonl", data)
    monkeypatch.setattr(filesystems, "BLOCK_BYTES", 100_000)
    asked = counted(monkeypatch, fail_at=5)
    assert fetch(of(tmp_path, "s3://veski/big.jsonl")).n_files == 1
    assert asked[5:7] == [500_000, 500_000] and (tmp_path / "mirror/s3/veski/big.jsonl").read_bytes() == data


def test_a_changed_object_is_told_by_its_etag(tmp_path, bucket):
    data = rows(50)
    put(bucket, "a.jsonl", data)
    made = of(tmp_path, "s3://veski/a.jsonl")
    fetch(made)
    put(bucket, "a.jsonl", data.replace(b"row 0 7", b"row 0 8"))  # of the same size
    with pytest.raises(CurateError, match="changed at the origin") as caught:
        fetch(made)
    assert "s3/veski/a.jsonl" in str(caught.value) and (tmp_path / "mirror/s3/veski/a.jsonl").read_bytes() == data
    assert fetch(made, update=True).changed == ["s3/veski/a.jsonl"]
    assert (tmp_path / "mirror/s3/veski/a.jsonl").read_bytes() != data


@pytest.mark.parametrize("when", ["between runs", "while it comes"])
def test_an_object_that_changes_on_the_way_is_never_mixed(tmp_path, bucket, monkeypatch, when):
    old, new = rows(20_000), rows(20_000, seed=1)
    put(bucket, "big.jsonl", old)
    monkeypatch.setattr(filesystems, "BLOCK_BYTES", 100_000)
    made = of(tmp_path, "s3://veski/big.jsonl")
    if when == "between runs":
        monkeypatch.setattr(room, "TRIES", 0)
        counted(monkeypatch, fail_at=5)
        with pytest.raises(CurateError):
            fetch(made)
        put(bucket, "big.jsonl", new)
    else:
        opened = room.opened
        monkeypatch.setattr(room, "opened", lambda *args: put(bucket, "big.jsonl", new) or opened(*args))
        with pytest.raises(CurateError, match="changed at its origin while"):
            fetch(made)
        monkeypatch.setattr(room, "opened", opened)
    assert not (tmp_path / "mirror/s3/veski/big.jsonl").exists()
    fetch(made)
    assert (tmp_path / "mirror/s3/veski/big.jsonl").read_bytes() == new


def test_a_checksum_that_does_not_fit_is_named(tmp_path, bucket):
    put(bucket, "a.jsonl", rows(50))
    made = of(tmp_path, "s3://veski/a.jsonl")
    fetch(made)
    path = tmp_path / "mirror/s3/veski/a.jsonl"
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(CurateError, match="their sha256 is another") as caught:
        documents.ingest(Store(tmp_path / "store"), of(tmp_path, "s3://veski/a.jsonl"), 1)
    assert caught.value.exit_code == 1 and "s3/veski/a.jsonl" in str(caught.value)
    assert fetch(made, verify=True).damaged == ["s3/veski/a.jsonl"] and path.read_bytes() == data


def test_a_folder_of_a_bucket_as_a_tree(tmp_path, bucket):
    for name in ("a.py", "deep/b.py", "deep/.git/c.py", "notes.bin"):
        put(bucket, f"code/{name}", f"# {name}\n".encode())
    block = {"format": "tree", "suffixes": [".py"], "id": "path"}
    fetch(of(tmp_path, "s3://veski/code/", **block))
    stage = documents.ingest(Store(tmp_path / "store"), of(tmp_path, "s3://veski/code/", **block), 1)["s"]
    assert stage.info()["counts"]["n_documents"] == 2


def test_buckets_and_objects_that_are_not_there(tmp_path, bucket):
    put(bucket, "a.jsonl", rows(1))
    for pattern, said in (
        ("s3://veski/b*.jsonl", "nothing matches"),
        ("s3://nowhere/a.jsonl", "nothing matches"),
        ("s3://veski/b.jsonl", "nothing matches"),
    ):
        with pytest.raises(CurateError, match=said):
            fetch(of(tmp_path, pattern))


def test_inspect_source_looks_at_the_beginning_only(tmp_path, bucket, monkeypatch):
    from curate.sources.places.look import LOOK_BYTES, look_at

    data = b"".join(lines({"text": f"row {i:06d} of a file of rows that are equally long"}) for i in range(60_000))
    put(bucket, "x/a.jsonl", data)
    put(bucket, "x/b.jsonl", data[: len(data) // 100])
    asked = counted(monkeypatch)
    found = look_at("s3://veski/x/*.jsonl")
    assert asked == [0] and len(data) > 2 * LOOK_BYTES
    assert (found.format, found.n_files, found.source["read"], found.bad) == ("jsonl", 2, "s3://veski/x/*.jsonl", {})
    assert found.documents_estimate == pytest.approx(60_600, rel=0.001)
