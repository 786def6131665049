"""`curate inspect-source` over the formats beside JSON lines: the proposed block loads, and reads the data."""

from __future__ import annotations

import gzip
import io
import tarfile

import pyarrow as pa
import pytest
import yaml

from curate.sources import check_source, list_files, read
from curate.sources.propose import propose
from tests.sources.making import lines, pack, recipe

LONG = "See on üsna tavaline eestikeelne lause, millest keelemudel aru saab. "


def arrow() -> bytes:
    sink, rows = io.BytesIO(), pa.table({"id": ["1", "2"], "text": [LONG, LONG]})
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue()


def tar() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        data = lines({"id": 1, "text": LONG}, {"id": 2, "text": LONG})
        info = tarfile.TarInfo("x/a.jsonl")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


PAGE = f"<page><title>T</title><ns>0</ns><id>1</id><revision><text>{LONG}</text></revision></page>"
DOC = f'<doc id="1" genre="x">\n<p>\n{LONG}\n</p>\n</doc>\n<doc id="2">\n<p>\n{LONG}\n</p>\n</doc>\n'
XML = "<all><head>x</head><body>" + f"<part><nr>1</nr><p>{LONG}</p></part>" * 4 + "</body></all>"


@pytest.mark.parametrize(
    ("name", "data", "expected", "n"),
    [
        ("a.csv", f'id;body\n1;"{LONG}"\n2;{LONG}\n'.encode(), {"fields": {"text": "body"}}, 2),
        ("a.tsv.gz", gzip.compress(f"id\tbody\n1\t{LONG}\n".encode()), {"fields": {"text": "body"}}, 1),
        ("a.md", f"---\ntitle: T\n---\n{LONG}".encode(), {}, 1),
        ("a.feather", arrow(), {}, 2),
        ("cache", arrow(), {"format": "arrow"}, 2),
        ("a.prevert", DOC.encode(), {}, 2),
        ("enc.txt.part", DOC.encode(), {"format": "prevert"}, 2),
        ("wiki.xml", f"<mediawiki>{PAGE}</mediawiki>".encode(), {"format": "mediawiki"}, 1),
        ("law.xml", XML.encode(), {"xml": {"record": "body/part"}}, 4),
        ("a.tar", tar(), {}, 2),
        ("a.tar.gz", gzip.compress(tar()), {}, 2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # not the bytes: gzip writes the time into them
)
def test_what_is_proposed_reads_the_data(tmp_path, name, data, expected, n):
    proposal = propose(pack(tmp_path / name, b"")) if not data else propose(_written(tmp_path / name, data))
    (block,) = yaml.safe_load(proposal.yaml())["sources"].values()
    assert {key: block.get(key) for key in expected} == expected
    loaded = recipe(tmp_path / "recipe", {"s": block})
    files = list_files(loaded, loaded.sources["s"])
    check_source(loaded.sources["s"], files, loaded.limits)
    items = [item for file in files for item in read(file.path, loaded.sources["s"], loaded.limits)]
    assert not any(hasattr(item, "cause") for item in items) and len(items) == n


def _written(path, data):
    path.write_bytes(data)
    return path


def test_a_pair_of_files(tmp_path):
    _written(tmp_path / "c.et", (LONG + "\n").encode() * 3)
    _written(tmp_path / "c.en", b"This is quite an ordinary sentence that a model understands.\n" * 3)
    (block,) = yaml.safe_load(propose(tmp_path / "c.et").yaml())["sources"].values()
    assert (block["format"], block["moses"]) == ("moses", {"languages": ["et", "en"]})
