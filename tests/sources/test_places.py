"""Places: URL patterns and datasets of the hub as sources, what their names become here, and which files of a dataset a split is."""

from __future__ import annotations

import re

import pytest

from curate.errors import CurateError
from curate.recipe.places import Entry, Mirror, Place, check_content, is_url, local, mirror_path
from curate.sources import list_files
from curate.sources.places import fetch as room
from curate.sources.places import http
from curate.sources.places.hub_files import chosen
from tests.sources.making import lines, pack, recipe

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(("url", "path"), [
    ("s3://bucket/a/b.jsonl", "s3/bucket/a/b.jsonl"),
    ("https://example.org/d/x.gz?token=1#top", "https/example.org/d/@f39ff4d9d82a/x.gz"),
    ("https://me:secret@example.org/x.gz", "https/example.org/x.gz"),
    ("s3://bucket/../../etc/passwd", "s3/bucket/%2E%2E/%2E%2E/etc/passwd"),
    ("s3://bucket//a/./b", "s3/bucket/%/a/%2E/b"),
    ("memory://d/õ ä.txt", "memory/d/õ ä.txt"),
])  # fmt: skip
def test_where_a_url_lies_below_the_mirror(url, path):
    import hashlib

    assert mirror_path(url) == path.replace("f39ff4d9d82a", hashlib.sha256(b"token=1").hexdigest()[:12])
    assert ".." not in mirror_path(url).split("/") and not mirror_path(url).startswith("/")


@pytest.mark.parametrize(("pattern", "folder"), [
    ("s3://b/a/*.jsonl", "s3/b/a"), ("s3://b/a/x.jsonl", "s3/b/a"), ("s3://b/d/", "s3/b/d"), ("s3://b/a*/x/y", "s3/b"),
    ("https://h/a/part-{00..10}.jsonl", "https/h/a"), ("https://h/a/x.jsonl?v=2", "https/h/a"),
])  # fmt: skip
def test_names_start_from_the_fixed_part_of_a_pattern(pattern, folder):
    assert Place("", pattern).folder == folder


def test_what_is_a_url():
    assert is_url("s3://b/x") and is_url("https://h/x") and is_url("memory://x")
    assert not is_url("/a/b") and not is_url("file:///a/b") and not is_url("a:b") and not is_url("{raw}/x")
    assert local("file:///a/b") == "/a/b" and local("a/b") == "a/b"


def test_numbers_in_braces():
    assert http.expanded("https://h/a-{08..11}.gz") == [f"https://h/a-{n}.gz" for n in ("08", "09", "10", "11")]
    assert len(http.expanded("https://h/{0..1}/{0..2}")) == 6
    for wrong in ("https://h/{3..1}", "https://h/*.gz"):
        with pytest.raises(CurateError):
            http.expanded(wrong)


def test_a_source_is_read_or_hub(tmp_path):
    pack(tmp_path / "a.jsonl", lines({"text": "a"}))
    for block in ({}, {"read": "a.jsonl", "hub": "o/n"}, {"read": "a.jsonl", "split": "train"}):
        with pytest.raises(CurateError, match="sources"):
            recipe(tmp_path, {"s": block})
    of_hub = recipe(tmp_path, {"s": {"hub": "o/n", "config": "et", "revision": COMMIT}})
    assert [p.key for p in of_hub.places()] == [f"hub o/n@{COMMIT} config et"]
    assert of_hub.canonical()["sources"]["s"]["hub"] == "o/n"


def test_what_is_not_mirrored_is_named_all_at_once_with_what_to_do(tmp_path):
    made = recipe(tmp_path, {
        "a": {"read": ["s3://b/x/*.jsonl", "https://h/y.jsonl"]}, "b": {"hub": "o/n", "revision": COMMIT}, "c": {"hub": "o/m", "revision": "main"},
        "d": {"hub": "o/k"},
    }, dedup={"against": {"old": {"read": "s3://b/old.jsonl"}}})  # fmt: skip
    with pytest.raises(CurateError) as caught:
        made.check_places()
    said = str(caught.value)
    for part in ("sources.a.read: s3://b/x/*.jsonl: not mirrored", "sources.a.read: https://h/y.jsonl: not mirrored",
                 f"sources.b.hub: hub o/n@{COMMIT}: not mirrored", "sources.c.hub: hub o/m@main: revision main: not a commit",
                 "sources.d.hub: hub o/k@no revision: no revision", "dedup.against.old.read: s3://b/old.jsonl", "curate fetch RECIPE"):  # fmt: skip
        assert part in said
    with pytest.raises(CurateError, match="must be a file on this machine"):
        made.path("https://h/words.txt")


def test_the_mirror_is_a_root_or_lies_beside_the_recipe(tmp_path, monkeypatch):
    made = recipe(tmp_path, {"a": {"read": "{far}/*.jsonl"}}, roots={"far": "s3://b/x"})
    assert made.mirror.root == tmp_path / "mirror" and made.places()[0].url == "s3://b/x/*.jsonl"
    monkeypatch.setenv("FAST_DISK", str(tmp_path / "fast"))
    moved = recipe(tmp_path, {"a": {"read": "s3://b/x/*.jsonl"}}, roots={"mirror": "$FAST_DISK/m"})
    assert moved.mirror.root == tmp_path / "fast/m"


def test_mirrored_files_are_listed_by_name_and_missing_ones_are_missed(tmp_path):
    root = tmp_path / "mirror"
    made = recipe(tmp_path, {"a": {"read": ["s3://b/x/*/*.jsonl"]}})
    for name in ("1/p.jsonl", "2/p.jsonl"):
        pack(root / "s3/b/x" / name, lines({"text": name}))
        room._note(root, Entry(f"s3/b/x/{name}", f"s3://b/x/{name}", 22, "v", "sha")._asdict())
    pack(root / "s3/b/x/3/p.jsonl", lines({"text": "of another place"}))
    room._note(root, {"place": "s3://b/x/*/*.jsonl", "files": ["s3/b/x/1/p.jsonl", "s3/b/x/2/p.jsonl"]})
    with open(root / "mirrored.jsonl", "ab") as journal:
        journal.write(b'{"path": "s3/b/x/1/p.jsonl", "url": "torn')
    assert [f.name for f in list_files(made, made.sources["a"])] == ["1/p.jsonl", "2/p.jsonl"]
    room._note(root, Entry("s3/b/x/2/p.jsonl", "s3://b/x/2/p.jsonl", 23, "v", "sha")._asdict())  # after the torn line
    with pytest.raises(CurateError, match=r"1 of 2 files are not there, first s3/b/x/2/p.jsonl"):
        recipe(tmp_path, {"a": {"read": ["s3://b/x/*/*.jsonl"]}}).files(made.sources["a"])
    with pytest.raises(CurateError, match=r"s3/b/x/1/p.jsonl.*--verify|--verify") as caught:
        check_content(Mirror(root), {root / "s3/b/x/1/p.jsonl": "another", tmp_path / "elsewhere": "x"})
    assert caught.value.exit_code == 1


FINEWEB = [
    "README.md",
    *(f"data/{c}/{s}/{i:03d}_00000.parquet" for c in ("ekk_Latn", "fin_Latn") for s in ("train", "test") for i in range(2)),
]
CARD = [
    {"config_name": c, "data_files": [{"split": s, "path": f"data/{c}/{s}/*"} for s in ("train", "test")]}
    for c in ("ekk_Latn", "fin_Latn")
]


@pytest.mark.parametrize(("paths", "configs", "config", "split", "expected"), [
    (FINEWEB, CARD, "ekk_Latn", None, ["data/ekk_Latn/train/000_00000.parquet", "data/ekk_Latn/train/001_00000.parquet"]),
    (FINEWEB, CARD, "fin_Latn", "test", ["data/fin_Latn/test/000_00000.parquet", "data/fin_Latn/test/001_00000.parquet"]),
    (FINEWEB, None, "ekk_Latn", None, ["data/ekk_Latn/train/000_00000.parquet", "data/ekk_Latn/train/001_00000.parquet"]),
    (["a.jsonl", "b.jsonl", ".hidden.jsonl", "README.md"], None, None, None, ["a.jsonl", "b.jsonl"]),
    (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/x-00000-of-00001.parquet"], None, None, "x",
     ["data/x-00000-of-00001.parquet"]),
    (["my_train_file.csv", "my-test.csv"], None, None, None, ["my_train_file.csv", "my-test.csv"][:0] or ["my_train_file.csv"]),
    (["x/valid/a.jsonl", "x/dev_set/b.jsonl", "training/c.jsonl"], None, None, "validation", ["x/dev_set/b.jsonl", "x/valid/a.jsonl"]),
    (["en/a.jsonl", "et/a.jsonl", "et/b.jsonl"], None, "et", None, ["et/a.jsonl", "et/b.jsonl"]),
    (["p/a.jsonl", "q/a.jsonl"], [{"config_name": "default", "data_files": "p/*.jsonl"}], None, None, ["p/a.jsonl"]),
    (["p/a.jsonl", "q/a.jsonl"], [{"config_name": "c", "data_dir": "q"}], "c", None, ["q/a.jsonl"]),
    (["p/a.jsonl", "q/r/a.jsonl"], [{"config_name": "c", "data_files": ["**/a.jsonl"]}], None, None, ["p/a.jsonl", "q/r/a.jsonl"]),
    (["only/test/a.jsonl"], None, None, None, ["only/test/a.jsonl"]),
])  # fmt: skip
def test_files_of_a_split(paths, configs, config, split, expected):
    assert chosen(paths, configs, config, split, "sources.s.hub") == expected


@pytest.mark.parametrize(("configs", "config", "split", "said"), [
    (CARD, None, None, "several configs"), (CARD, "ekk_latn", None, "no config 'ekk_latn'.*ekk_Latn"),
    (CARD, "ekk_Latn", "trian", "no split 'trian'.*train"),
    (None, "zzz", None, "no config 'zzz'"),
])  # fmt: skip
def test_what_there_is_instead_is_named(configs, config, split, said):
    with pytest.raises(CurateError) as caught:
        chosen(FINEWEB, configs, config, split, "sources.s.hub")
    assert re.search(said, str(caught.value), re.DOTALL) and "sources.s." in str(caught.value)


@pytest.mark.parametrize("paths", [
    ["README.md", "a.jsonl", "sub/b.jsonl"], ["train.jsonl", "test_0.jsonl", "test_1.jsonl", "dev.jsonl"],
    ["data/train/0.jsonl", "data/test/0.jsonl", "x.jsonl"],
    ["data/train-00000-of-00001.jsonl", "data/extra-00000-of-00001.jsonl", "other.jsonl"], ["evaluation/a.jsonl", "b.jsonl"],
    ["my_train_file.jsonl", "valid.jsonl", "__cache__/train.jsonl", ".git/train.jsonl"], ["trainers/a.jsonl", "contest.jsonl"],
    ["train.v2.jsonl", "sub.train/x.jsonl", "validation 1.jsonl"],
])  # fmt: skip
def test_conventions_are_those_of_the_datasets_library(tmp_path, paths):
    """Against datasets' own resolution of a folder."""
    from datasets.data_files import get_data_patterns, resolve_pattern

    for path in paths:
        pack(tmp_path / path, b"{}\n")
    theirs = {
        str(split): sorted({str(path).removeprefix(f"{tmp_path}/") for pattern in patterns for path in _resolved(resolve_pattern, pattern, tmp_path)})
        for split, patterns in get_data_patterns(str(tmp_path)).items()
    }  # fmt: skip
    assert {split: chosen(paths, None, None, split) for split in theirs} == theirs


def _resolved(resolve, pattern, folder):
    try:
        return resolve(pattern, base_path=str(folder))
    except FileNotFoundError:
        return []
