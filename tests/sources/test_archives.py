"""Archives: members of every format, names that lead nowhere, damage, bombs."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
import warnings
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.documents import document_keys, ingest
from curate.sources import list_files
from curate.sources.readers.archives import harmless
from curate.store import Store
from tests.sources.making import lines, pack, read_all, recipe, source


def tar(path, members: dict[str, bytes], mode="w", form=tarfile.PAX_FORMAT):
    with tarfile.open(path, mode, format=form) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path, members: dict[str, bytes], how=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def make(path, members):
    if path.suffix == ".zip":
        return zipped(path, members)
    if path.name.endswith(".tar.zst"):
        tar(path.with_suffix(""), members)
        return pack(path, path.with_suffix("").read_bytes())
    return tar(path, members, {"gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(path.name.rpartition(".")[2], "w"))


def texts(path, of=None, **more):
    good, bad = read_all(path, of or source(), **more)
    return [(r.file, r.fields["text"]) for r in good], [(b.file, b.cause) for b in bad]


def parquet(texts_: list[str]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": texts_}), sink)
    return sink.getvalue()


NAMES = ["a.tar", "a.tar.gz", "a.tgz", "a.tar.zst", "a.tar.bz2", "a.tar.xz", "a.zip"]


@pytest.mark.parametrize("name", NAMES)
def test_members_of_every_format(tmp_path, name):
    members = {
        "x/a.jsonl": lines({"text": "1"}, {"text": "2"}), "x/b.jsonl.gz": gzip.compress(lines({"text": "3"})), "c.txt": b"4", "d.md": b"5",
        "e.csv": b"text\n6\n", "f.parquet": parquet(["7", "8"]), "logo.png": b"\x89PNG", ".hidden.txt": b"no", "__MACOSX/x.txt": b"no",
        "g" * 150 + ".txt": b"9",
    }  # fmt: skip
    good, bad = texts(make(tmp_path / name, members))
    assert bad == []
    assert [(file.removeprefix(f"{name}!/"), text) for file, text in good] == [
        ("x/a.jsonl", "1"), ("x/a.jsonl", "2"), ("x/b.jsonl.gz", "3"), ("c.txt", "4"), ("d.md", "5"), ("e.csv", "6"), ("f.parquet", "7"),
        ("f.parquet", "8"), ("g" * 150 + ".txt", "9")]  # fmt: skip


def test_the_format_is_that_of_the_members(tmp_path):
    path = make(
        tmp_path / "a.tar.gz", {"repo/a.py": b"x = 1", "repo/b.js": b"y", "repo/LICENSE": b"MIT", "repo/.git/c.py": b"no"}
    )
    code = source(format="tree", type="code", suffixes=[".py"])
    assert texts(path, code) == ([("a.tar.gz!/repo/a.py", "x = 1")], [])
    assert [name for name, _ in texts(path, source(format="text"))[0]] == [
        "a.tar.gz!/repo/a.py",
        "a.tar.gz!/repo/b.js",
        "a.tar.gz!/repo/LICENSE",
    ]


def test_names_that_lead_outside(tmp_path):
    names = ["../../out.txt", "/etc/out.txt", "a/../../b.txt", "C:\\x\\..\\y.txt", "n\x07l.txt"]
    assert [harmless(name) for name in [*names, "..", "/", ""]] == [
        "out.txt", "etc/out.txt", "a/b.txt", "C:/x/y.txt", "n\ufffdl.txt", "unnamed", "unnamed", "unnamed"]  # fmt: skip
    before = sorted(p for p in tmp_path.parent.rglob("*"))
    for name in ("a.tar", "a.zip"):
        folder = tmp_path / name[2:]
        folder.mkdir()
        here = os.getcwd()
        try:
            os.chdir(folder)
            good, bad = texts(make(folder / name, {n: b"t" for n in names}))
        finally:
            os.chdir(here)
        assert len(good) == 5 and bad == [] and all(".." not in file and "!//" not in file for file, _ in good)
    assert [p for p in sorted(tmp_path.parent.rglob("*")) if p not in before and p.suffix == ".txt"] == []


def test_links_and_devices_are_passed_over(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo("link.txt")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("a.txt")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    assert texts(tmp_path / "a.tar") == ([("a.tar!/a.txt", "x")], [])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert texts(tmp_path / "a.zip") == ([], [])


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(tmp_path, form):
    name = "/".join(["kaust õ" if form != tarfile.USTAR_FORMAT else "kaust"] * 15) + "/a.txt"
    assert texts(tar(tmp_path / "a.tar", {name: b"x", "b.txt": b"y"}, form=form))[0] == [
        (f"a.tar!/{name}", "x"),
        ("a.tar!/b.txt", "y"),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_archive_is_one_row(tmp_path, name):
    rng = random.Random(2)
    row = {"text": "".join(rng.choices("abcdefgh", k=500))}
    path = make(tmp_path / name, {f"{i}.jsonl": lines(*[row | {"id": f"{i}-{j}"} for j in range(50)]) for i in range(20)})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    good, bad = read_all(path)
    assert [(b.file, b.cause) for b in bad] == [(name, "truncated")] and 0 < bad[0].lost_bytes <= len(whole)
    ids = [r.fields["source_id"] for r in good]
    assert ids == [f"{i}-{j}" for i in range(20) for j in range(50)][: len(ids)]
    if name in ("a.tar", "a.tar.gz", "a.zip"):
        assert len(ids) > 400


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_zip_without_its_directory(tmp_path, how, streamed):
    """Members are read by their own headers, also where lengths stand behind the data, up to the last whole line of the last one."""
    rng = random.Random(5)
    rows = [{"id": str(i), "text": "".join(rng.choices("abcdefgh", k=300))} for i in range(60)]
    sink = io.BytesIO()
    if streamed:
        sink.seekable = lambda: False  # zipfile then writes lengths behind the data
        sink.tell = lambda: (_ for _ in ()).throw(OSError())
    with zipfile.ZipFile(sink, "w", how) as archive:
        archive.writestr("x/0.txt", "õun " * 100)
        archive.writestr("pilt.png", rng.randbytes(3000))
        archive.writestr("1.jsonl", lines(*rows[:30]))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("1.jsonl", lines(*rows[30:]))
    whole = sink.getvalue()
    ends = [whole.index(b"PK\x01\x02"), whole.rindex(b"PK\x03\x04")]
    cut = tmp_path / "a.zip"
    cut.write_bytes(whole[: ends[0]])
    good, bad = read_all(cut)
    names = ["a.zip!/x/0.txt"] + ["a.zip!/1.jsonl"] * 30 + ["a.zip!/1~2.jsonl"] * 30
    if streamed and how == zipfile.ZIP_STORED:  # nothing says where such a member ends
        assert good == [] and bad[-1].cause == "truncated"
        return
    assert [r.file for r in good] == names and good[0].fields["text"] == "õun " * 100
    assert [r.fields["text"] for r in good[1:]] == [row["text"] for row in rows]
    assert [(b.file, b.byte_offset, b.cause, b.lost_bytes) for b in bad] == [("a.zip", ends[0], "truncated", 0)]
    middle = (ends[0] + ends[1]) // 2
    cut.write_bytes(whole[:middle])
    good, bad = read_all(cut)
    assert [r.file for r in good] == names[: len(good)] and 35 < len(good) < 50
    assert [(b.file, b.cause) for b in bad] == [("a.zip", "truncated")]
    assert ends[1] < bad[0].byte_offset <= middle and 0 < bad[0].lost_bytes < 1000


def test_damage_in_a_zip_without_its_directory(tmp_path):
    """Of a member whose bytes changed its own row says so; a header that is gone costs its member; a wrong length no neighbour."""
    whole = zipped(
        tmp_path / "b.zip", {f"{i}.txt": f"{i}".encode() * 500 + random.Random(i).randbytes(9).hex().encode() for i in range(5)}
    )
    data = bytearray(whole.read_bytes())
    data = data[: data.index(b"PK\x01\x02")]
    places = [i for i in range(len(data)) if data[i : i + 4] == b"PK\x03\x04"]
    broken = bytearray(data)
    broken[places[1] : places[1] + 4] = b"XXXX"
    (tmp_path / "a.zip").write_bytes(broken)
    good, bad = read_all(tmp_path / "a.zip", document_bytes=10_000)
    assert [r.file[-5] for r in good] == ["0", "2", "3", "4"]
    assert [(b.cause, b.byte_offset, b.lost_bytes) for b in bad] == [("truncated", places[1], places[2] - places[1])]
    broken = bytearray(data)
    broken[places[2] + 18 : places[2] + 22] = (1 << 30).to_bytes(4, "little")  # its stored length
    broken[places[3] + 14] ^= 1  # a CRC
    (tmp_path / "a.zip").write_bytes(broken)
    good, bad = read_all(tmp_path / "a.zip", document_bytes=10_000)
    assert [r.file[-5] for r in good] == ["0", "1", "2", "4"]
    assert [(b.file, b.cause) for b in bad] == [("a.zip!/3.txt", "unreadable"), ("a.zip", "truncated")] and "CRC" in bad[0].detail


def test_a_zip_without_its_directory_is_no_bomb(tmp_path, monkeypatch):
    for module in ("stream", "readers.archives", "readers.local_zip"):
        monkeypatch.setattr(f"curate.sources.{module}.FREE_BYTES", 1 << 20)
        monkeypatch.setattr(f"curate.sources.{module}.MAX_EXPANSION", 100)
    path = zipped(tmp_path / "a.zip", {"0.txt": b"x", "1.txt": b"x" * (30 << 20), "2.txt": b"y"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"PK\x01\x02")])
    good, bad = texts(path)
    assert good == [("a.zip!/0.txt", "x")] and bad == [("a.zip!/1.txt", "unreadable"), ("a.zip", "bomb")]


def test_members_without_names_or_of_equal_names(tmp_path):
    """An empty name (found by the fuzz suite) and 3,000 equal ones, which would cost their square."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(3000):
            archive.writestr("a.txt", "x")
    data = (tmp_path / "a.zip").read_bytes()
    good, bad = texts(tmp_path / "a.zip")
    assert (
        bad == [] and [file for file, _ in good[:3]] == ["a.zip!/a.txt", "a.zip!/a~2.txt", "a.zip!/a~3.txt"] and len(good) == 3000
    )
    at = data.index(b"PK\x01\x02")
    (tmp_path / "a.zip").write_bytes(data[: at + 28] + b"\0\0" + data[at + 30 :])  # the length of the first name in the directory
    read_all(tmp_path / "a.zip")


def test_a_text_that_is_cut_is_no_document(tmp_path):
    path = tar(tmp_path / "a.tar", {"a.txt": b"terve", "b.txt": b"poolik" * 1000})
    path.write_bytes(path.read_bytes()[:4000])
    assert texts(path, document_bytes=10_000) == ([("a.tar!/a.txt", "terve")], [("a.tar", "truncated")])


def test_a_damaged_member_keeps_its_neighbours(tmp_path):
    members = {f"{i}.txt": bytes([97 + i]) * 700 for i in range(4)}
    path = tar(tmp_path / "a.tar", members)
    data = bytearray(path.read_bytes())
    at = data.index(b"1.txt")
    data[at : at + 400] = b"\xff" * 400  # its header
    path.write_bytes(data)
    good, bad = texts(path)
    assert [file[-5] for file, _ in good] == ["0", "2", "3"] and bad == [("a.tar", "unreadable")]
    path = zipped(tmp_path / "a.zip", {**members, "1.txt": random.Random(1).randbytes(900)})
    data = bytearray(path.read_bytes())
    at = data.index(b"1.txt") + 50
    data[at : at + 100] = b"\xff" * 100
    path.write_bytes(data)
    good, bad = texts(path)
    assert [file[-5] for file, _ in good] == ["0", "2", "3"] and bad == [("a.zip!/1.txt", "unreadable")]


def test_an_archive_inside_an_archive(tmp_path):
    inner = zipped(tmp_path / "inner.zip", {"a.txt": b"x"}).read_bytes()
    for name in ("a.tar", "a.zip"):
        good, bad = texts(make(tmp_path / name, {"inner.zip": inner, "b.tar.gz": b"x", "c.txt": b"y"}))
        assert good == [(f"{name}!/c.txt", "y")]
        assert bad == [(f"{name}!/inner.zip", "nested_archive"), (f"{name}!/b.tar.gz", "nested_archive")]


def test_what_is_no_archive(tmp_path):
    for name, data, cause in [
        ("a.zip", b"hello", "unreadable"), ("b.zip", b"PK\x03\x04 and no end", "truncated"), ("c.tar", b"", "truncated"),
        ("d.tar", b"x" * 3000, "unreadable"), ("e.tar.gz", b"no gzip", "unreadable"), ("f.zip", b"", "unreadable"),
    ]:  # fmt: skip
        (tmp_path / name).write_bytes(data)
        assert texts(tmp_path / name) == ([], [(name, cause)])
    assert texts(tmp_path / "none.tar")[1] == [("none.tar", "unreadable")] and texts(tmp_path / "none.zip")[1] == [
        ("none.zip", "unreadable")
    ]


def test_bombs(tmp_path, monkeypatch):
    for module in ("stream", "readers.archives"):
        monkeypatch.setattr(f"curate.sources.{module}.FREE_BYTES", 1 << 20)
        monkeypatch.setattr(f"curate.sources.{module}.MAX_EXPANSION", 100)
    big = b"x" * (30 << 20)
    for name in ("a.tar.gz", "a.tar.xz"):
        good, bad = texts(make(tmp_path / name, {"0.txt": b"x", "1.txt": big, "2.txt": b"y"}))
        assert good in ([], [(f"{name}!/0.txt", "x")]) and bad == [(name, "bomb")]
    good, bad = texts(make(tmp_path / "a.zip", {"0.txt": b"x", "1.txt": big, "2.txt": b"y"}))
    assert good == [("a.zip!/0.txt", "x")] and bad == [("a.zip!/1.txt", "unreadable"), ("a.zip", "bomb")]
    many = {f"{i}.txt.gz": gzip.compress(b"x" * (1 << 19)) for i in range(20)}
    good, bad = texts(make(tmp_path / "many.tar", many))
    assert 0 < len(bad) <= 20 and ("bomb" in {cause for _, cause in bad})


def test_headers_that_claim_too_much(tmp_path):
    """A long name of 1 GB that is not there, a size that no archive has."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"x" * 2000)
    assert texts(tmp_path / "a.tar") == ([], [("a.tar", "truncated")])
    info = tarfile.TarInfo("a.txt")
    info.size = 1 << 62
    (tmp_path / "b.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"x" * 2000)
    assert texts(tmp_path / "b.tar") == ([], [("b.tar", "truncated")])


def test_a_recipe_over_an_archive(tmp_path):
    """File and member stand in both tables; `id: path` names documents by both; other suffixes are other documents."""
    tar(tmp_path / "a.tar", {"x/1.txt": b"yks", "x/2.md": b"kaks", "x/3.txt": b"\xff", "x/4.txt": b"neli"})
    made = recipe(tmp_path, {"s": {"read": "a.tar", "format": "text", "id": "path", "suffixes": [".txt"]}})
    assert [f.format for f in list_files(made, made.sources["s"])] == ["archive"]
    store = Store(tmp_path / "store")
    stage = ingest(store, made, 1)["s"]
    rows = [row for key in document_keys(stage) for row in pq.read_table(stage.shard_path(key) / "documents.parquet").to_pylist()]
    assert sorted((row["file"], row["text"]) for row in rows) == [("a.tar!/x/1.txt", "yks"), ("a.tar!/x/4.txt", "neli")]
    bad = pq.read_table(stage.shard_path("quarantine") / "quarantine.parquet").to_pylist()
    assert [(row["file"], row["cause"]) for row in bad] == [("a.tar!/x/3.txt", "invalid_utf8")]
    every = recipe(tmp_path, {"s": {"read": "a.tar", "format": "text", "id": "path", "suffixes": [".txt", ".md"]}})
    assert ingest(store, every, 1)["s"].root != stage.root
