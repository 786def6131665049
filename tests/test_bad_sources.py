"""Input that is broken, hostile or simply wrong, from the command line: quarantined with place and cause, neighbours kept, nothing outside.

One recipe has a source for each kind of damage; `curate build-mixture --until ingest` reads it twice, past its limit and below.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard

from tests import command
from tests.sources.making import lines

GOOD = "Kõrvalolev dokument on terve ja jääb alles."
LICENSE = {"declared": "CC0-1.0"}


def truncated(folder: Path) -> dict[str, Any]:
    whole = gzip.compress(
        lines(*({"id": f"t{i}", "text": f"{GOOD} {i} {random.Random(i).random()}"} for i in range(2000))), mtime=0
    )
    (folder / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "ends_in_a_line.jsonl").write_bytes(lines({"id": "e1", "text": GOOD}) + b'{"id": "e2", "text": "pool')
    (folder / "no_gzip.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00" + b"\xff" * 200)
    (folder / "whole.jsonl").write_bytes(lines({"id": "w1", "text": GOOD}))
    return {"read": "*", "bad": {"cut.jsonl.gz": {"truncated"}, "ends_in_a_line.jsonl": {"truncated"}, 
                    "no_gzip.jsonl.gz": {"unreadable", "truncated"}},
            "kept": {"t0", "e1", "w1"}}  # fmt: skip


def encodings(folder: Path) -> dict[str, Any]:
    latin = '{"id": "l2", "text": "Põõsas, mis on kirjutatud teises koodis"}\n'.encode("windows-1252")
    (folder / "latin1.jsonl").write_bytes(lines({"id": "l1", "text": GOOD}) + latin + lines({"id": "l3", "text": GOOD}))
    (folder / "utf16.jsonl").write_bytes('{"id": "u1", "text": "UTF-16"}\n'.encode("utf-16"))
    (folder / "surrogate.jsonl").write_bytes(
        b'{"id": "s1", "text": "\\ud800 pool"}\n{"id": "s2", "text": "a\\u0000b"}\n' + lines({"id": "s3", "text": GOOD})
    )
    return {"read": "*", "kept": {"l1", "l3", "s3"}, "at": {("latin1.jsonl", len(lines({"id": "l1", "text": GOOD})), "invalid_utf8")},
            "bad": {"latin1.jsonl": {"invalid_utf8"}, "utf16.jsonl": {"invalid_utf8", "broken_json"},
                    "surrogate.jsonl": {"lone_surrogate", "nul_character"}}}  # fmt: skip


def pages(folder: Path) -> dict[str, Any]:
    paragraph = f"<p>{GOOD} See on lõik, milles on piisavalt sõnu, et seda tekstiks pidada.</p>"
    shell = "<!DOCTYPE html><html lang='et'><head><title>Leht</title></head><body><article>{}</article></body></html>"
    (folder / "huge.html").write_text(shell.format(paragraph * (64_000_000 // len(paragraph.encode()))), encoding="utf-8")
    (folder / "deep.html").write_text(shell.format("<div>" * 10_000 + paragraph + "</div>" * 10_000), encoding="utf-8")
    (folder / "good.html").write_text(shell.format(paragraph * 3), encoding="utf-8")
    return {"read": "*.html", "type": "web", "bad": {"huge.html": {"too_large"}, "deep.html": {"too_deep"}}, "n_kept": 1}


def bombs(folder: Path) -> dict[str, Any]:
    """Five GiB of one letter in half a megabyte, inside one line of JSON."""
    block = b"a" * (64 << 20)
    with zstandard.ZstdCompressor(level=1).stream_writer(open(folder / "bomb.jsonl.zst", "wb")) as out:
        out.write(b'{"id": "b0", "text": "' + GOOD.encode() + b'"}\n{"id": "b1", "text": "')
        for _ in range(80):
            out.write(block)
        out.write(b'"}\n')
    (folder / "beside.jsonl").write_bytes(lines({"id": "b2", "text": GOOD}))
    return {"read": "*", "bad": {"bomb.jsonl.zst": {"bomb"}}, "kept": {"b0", "b2"}}


def traversal(folder: Path) -> dict[str, Any]:
    """Names that lead outside, a link to a file outside, and a link followed by a file under it."""
    with tarfile.open(folder / "names.tar", "w") as archive:
        for name in ("../../evil.jsonl", "/tmp/veski_evil.jsonl", "a/../../../evil2.jsonl", "fine.jsonl", "c:\\evil3.jsonl"):
            data = lines({"id": name, "text": GOOD})
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (("link.jsonl", "/etc/passwd"), ("folder", "/tmp")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w") as nested:
            nested.addfile(tarfile.TarInfo("x.jsonl"), io.BytesIO())
        info = tarfile.TarInfo("nested.tar")
        info.size = len(inner.getvalue())
        archive.addfile(info, io.BytesIO(inner.getvalue()))
    return {"read": "*.tar", "bad": {"names.tar!/nested.tar": {"nested_archive"}}, "kept": {"fine.jsonl"}}


def tables(folder: Path) -> dict[str, Any]:
    rows = ["id,text", f"c1,{GOOD}", 'c2,"see jutumärk ei lõpe', f"c3,{GOOD}", "c4,liiga,palju,välju", f'c5,"{GOOD}"']
    (folder / "quotes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return {"read": "*.csv", "bad": {"quotes.csv": {"broken_csv", "wrong_columns"}}, "kept": {"c1", "c3", "c5"}}


def columns(folder: Path) -> dict[str, Any]:
    """Parquet: a column of another name, of another type, of nulls and then strings; a footer cut off; a row group overwritten."""

    def write(name: str, **given: Any) -> None:
        pq.write_table(pa.table(given), folder / name)

    write("a.parquet", id=["p1"], text=[GOOD])
    write("other_name.parquet", id=["p2"], body=["tekst teise nime all"])
    write("other_type.parquet", id=["p3"], text=[5])
    pq.write_table(pa.table({"id": ["p4"], "text": pa.nulls(1)}), folder / "nulls.parquet")
    write("string_again.parquet", id=["p5", "p6"], text=[None, GOOD])
    data = (folder / "a.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(data[: len(data) // 2])
    return {"read": "*", "kept": {"p1", "p6"},
            "bad": {"other_name.parquet": {"missing_text"}, "other_type.parquet": {"text_not_string"}, "nulls.parquet": {"missing_text"},
                    "string_again.parquet": {"missing_text"}, "cut.parquet": {"truncated"}}}  # fmt: skip


def objects(folder: Path) -> dict[str, Any]:
    """JSON: a key that stands twice; ids past 2**53 and past 64 bits, which are exact or the document has another name."""
    ids = [2**53 + 1, 2**63 + 1, 2**64 + 1, -(2**63)]
    rows = b"".join(b'{"id": %d, "text": "%s %d"}\n' % (n, GOOD.encode(), i) for i, n in enumerate(ids))
    twice = b'{"id": "d1", "text": "esimene", "text": "teine"}\n'
    (folder / "ids.jsonl").write_bytes(rows)
    (folder / "twice.jsonl").write_bytes(
        lines({"id": "d0", "text": GOOD}) + twice + b"[1, 2]\n{not json}\n" + lines({"id": "d2", "text": GOOD})
    )
    return {
        "read": "*",
        "kept": {"d0", "d2", *map(str, ids)},
        "bad": {"twice.jsonl": {"duplicate_key", "not_an_object", "broken_json"}},
    }


KINDS = (truncated, encodings, pages, bombs, traversal, tables, columns, objects)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(top folder, {source: what is expected}, the finished command, how it ran below the limit, files beside the store before)."""
    top = tmp_path_factory.mktemp("bad")
    expected = {}
    sources = {}
    for kind in KINDS:
        folder = top / "raw" / kind.__name__
        folder.mkdir(parents=True)
        expected[kind.__name__] = asked = kind(folder)
        more = {key: asked[key] for key in ("type", "format") if key in asked}
        sources[kind.__name__] = {"read": f"raw/{kind.__name__}/{asked['read']}", "license": LICENSE, **more}
    recipe = {
        "kind": "cpt", "name": "bad", "tokenizer": {"model": str(command.TOP / "recipes/quickstart/tokenizer")}, "sources": sources,
        "mixture": {"total": "1k tokens", "sequence_length": 64,
                    "components": {"c": {"from": ["objects"], "role": "target", "budget": "1k tokens"}}},
    }  # fmt: skip
    (top / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    before = _files(top)
    args = ("build-mixture", top / "recipe.yaml", "--until", "ingest", "--store", top / "store")
    done = command.curate(*args, "--out", top / "build")
    below = command.curate(*args, "--out", top / "below", "--set", "limits.quarantine=100 %")
    return top, expected, done, below, before


def _files(top: Path) -> set[str]:
    """Every file of the folder but those of store and builds, and what may have been written to the folders of temporary files."""
    found = {
        str(path)
        for path in top.rglob("*")
        if path.is_file() and path.relative_to(top).parts[0] not in ("store", "build", "below")
    }
    return found | {
        str(path) for path in (top.parent, top.parent.parent, Path("/tmp"), Path("/")) for path in path.glob("*evil*")
    }


def _tables(top: Path, name: str) -> list[dict[str, Any]]:
    return [row for path in sorted(top.glob(f"store/documents/*/*/{name}.parquet")) for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
def test_each_thing_lost_has_a_row_with_place_and_cause(built, kind):
    top, expected, done, _, _ = built
    assert done.returncode == 3, done.stdout + done.stderr
    found: dict[str, set[str]] = {}
    for row in _tables(top, "quarantine"):
        if row["source"] == kind:
            found.setdefault(row["file"], set()).add(row["cause"])
            assert row["detail"] and row["lost_bytes"] >= 0 and row["byte_offset"] >= -1, row
    want = expected[kind]["bad"]
    assert set(found) == set(want), found
    assert all(found[file] <= causes and found[file] for file, causes in want.items()), found
    places = {(row["file"], row["byte_offset"], row["cause"]) for row in _tables(top, "quarantine")}
    assert expected[kind].get("at", set()) <= places


@pytest.mark.parametrize("kind", [kind.__name__ for kind in KINDS])
def test_neighbours_are_kept(built, kind):
    top, expected, _, _, _ = built
    rows = [row for row in _tables(top, "documents") if row["source"] == kind]
    assert expected[kind].get("kept", set()) <= {row["source_id"] for row in rows}
    assert all(row["text"].startswith(GOOD[:20]) or kind == "pages" for row in rows)
    if "n_kept" in expected[kind]:
        assert len(rows) == expected[kind]["n_kept"] and GOOD in rows[0]["text"]


def test_sums_close_and_the_limit_decides_the_exit_code(built):
    top, expected, done, below, _ = built
    for kind in expected:
        assert f"! {kind}: " in done.stderr and "past limits.quarantine" in done.stderr
    assert below.returncode == 0 and "past limits.quarantine" not in below.stderr, below.stderr
    shards = [json.loads(path.read_text()) for path in top.glob("store/documents/*/*/shard.json")]
    total = {name: sum(shard["counts"].get(name, 0) for shard in shards) for name in ("n_read", "n_documents", "n_quarantined")}
    assert total["n_read"] == total["n_documents"] + total["n_quarantined"]
    assert total["n_quarantined"] == len(_tables(top, "quarantine"))


def test_nothing_is_written_outside_the_store(built):
    top, _, _, _, before = built
    assert _files(top) == before


def test_broken_archives_of_the_web(data, tmp_path):
    """shared/data/warc/warcio: the names say what is broken. Whole files have no row; broken ones lose what is broken and no more."""
    recipe = {
        "kind": "cpt", "name": "warcio", "tokenizer": {"model": str(command.TOP / "recipes/quickstart/tokenizer")},
        "sources": {"w": {"read": f"{data}/warc/warcio/*", "format": "warc", "type": "web", "license": LICENSE}},
        "mixture": {"total": "1k tokens", "sequence_length": 64,
                    "components": {"c": {"from": ["w"], "role": "target", "budget": "1k tokens"}}},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = command.curate(
        "build-mixture", tmp_path / "recipe.yaml", "--until", "ingest", "--out", tmp_path / "b", "--store", tmp_path / "store"
    )
    assert done.returncode == 3, done.stderr
    bad = {(row["file"], row["cause"]) for row in _tables(tmp_path, "quarantine")}
    good = {row["file"] for row in _tables(tmp_path, "documents")}
    assert {file for file, _ in bad} == {"bad.arc", "example-trunc.warc"}, bad
    # one gzip stream over several records is no gzip of records, but nothing of it is lost
    whole = {"example.warc", "example.warc.gz", "example.arc", "example.arc.gz", "example-bad.warc.gz.bad", "example-bad-non-chunked.warc.gz",
             "example-wrong-chunks.warc.gz",
             "example-wget-bad-target-uri.warc.gz", "example-space-in-url.arc", "example-resource.warc.gz"}  # fmt: skip
    assert whole <= good and not whole & {file for file, _ in bad}, (good, bad)
    assert sorted(os.listdir(tmp_path)) == ["b", "recipe.yaml", "store"]
