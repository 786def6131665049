"""`curate inspect-source`: the proposed block loads, and reads the data."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from curate.errors import CurateError
from curate.sources import check_source, list_files, read
from curate.sources.propose import Proposal, propose
from tests.sources.making import lines, pack, recipe

LONG = "See on üsna tavaline eestikeelne lause, millest keelemudel aru saab. "


def block(proposal: Proposal) -> dict:
    """The one source of the YAML text."""
    (found,) = yaml.safe_load(proposal.yaml())["sources"].values()
    return found


def n_read(folder, proposal: Proposal) -> int:
    """Documents that the block reads, without a bad one."""
    loaded = recipe(folder, {"s": block(proposal)})
    source = loaded.sources["s"]
    files = list_files(loaded, source)
    check_source(source, files, loaded.limits)
    items = [item for file in files for item in read(file.path, source, loaded.limits)]
    assert not any(hasattr(item, "cause") for item in items)
    return len(items)


def test_jsonl_with_names_of_its_own(tmp_path):
    same = {"body": LONG * 5, "summary": "lühike", "meta": {"lang": "et", "licence": "MIT"}}
    rows = [{"doc_id": f"d{i}", "link": f"http://e.ee/{i}", **same} for i in range(20)]
    proposal = propose(pack(tmp_path / "minu andmed.jsonl.gz", lines(*rows)))
    assert block(proposal) == {
        "read": str(tmp_path / "minu andmed.jsonl.gz"), "license": {"from_field": "meta.licence"},
        "fields": {"text": "body", "source_id": "doc_id", "url": "link", "language": "meta.lang"},
    }  # fmt: skip
    assert (proposal.format, proposal.compression, proposal.documents_estimate, proposal.languages) == (
        "jsonl",
        ["gzip"],
        20,
        {"et": 20},
    )
    assert len(proposal.samples) == 10 and len(proposal.samples[0]) == 200
    assert n_read(tmp_path, proposal) == 20
    assert "minu_andmed:" in proposal.text() and proposal.data()["yaml"] == proposal.yaml()


def test_parquet_folder_without_a_licence(tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(3):
        pq.write_table(
            pa.table({"id": [f"{i}-{j}" for j in range(900)], "content": [LONG] * 900}), tmp_path / f"data/{i}.parquet"
        )
    proposal = propose(tmp_path / "data")
    assert block(proposal) == {
        "read": f"{tmp_path}/data/*.parquet",
        "language": "et",
        "license": {"declared": "LicenseRef-unknown"},
    }
    assert "# fill in" in proposal.yaml()
    assert (proposal.documents_estimate, proposal.looked_at) == (2700, 1000)
    assert n_read(tmp_path, proposal) == 2700


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ({"messages": [{"role": "user", "content": LONG}]}, {}),
        ({"chat": [{"from": "human", "value": LONG}]}, {"messages": "chat"}),
        (
            {"instruction": "Tõlgi", "input": "x", "output": LONG},
            {"prompt": "instruction", "completion": "output", "input": "input"},
        ),
        ({"prompt": "Tõlgi", "completion": LONG}, {"prompt": "prompt", "completion": "completion"}),
    ],
)
def test_conversations(tmp_path, row, fields):
    proposal = propose(pack(tmp_path / "a.jsonl", lines(row, row)))
    assert (block(proposal)["type"], block(proposal).get("fields", {})) == ("conversation", fields)
    assert n_read(tmp_path, proposal) == 2


def test_a_source_tree(tmp_path):
    for name in ("repo/a.py", "repo/b/c.py", "repo/README.md"):
        pack(tmp_path / name, b"def f():\n    return 1\n")
    pack(tmp_path / "repo/.git/config", b"x")
    pack(tmp_path / "repo/logo.png", b"\x89PNG\0\0\0")
    proposal = propose(tmp_path / "repo")
    assert block(proposal) == {
        "read": str(tmp_path / "repo"), "format": "tree", "suffixes": [".md", ".py"], "type": "code",
        "license": {"declared": "LicenseRef-unknown"},
    }  # fmt: skip
    assert n_read(tmp_path, proposal) == 3


def test_a_text_file_and_a_file_without_a_name_we_know(tmp_path):
    assert n_read(tmp_path, propose(pack(tmp_path / "a.txt.zst", LONG.encode()))) == 1
    proposal = propose(pack(tmp_path / "dump", lines({"id": 1, "text": LONG})))
    assert block(proposal)["format"] == "jsonl"
    assert n_read(tmp_path, proposal) == 1


def test_repeating_ids_and_bad_lines_are_said(tmp_path):
    proposal = propose(pack(tmp_path / "a.jsonl", lines({"id": 1, "text": LONG}, {"id": 1, "text": "b"}) + b"[]\n"))
    assert proposal.bad == {"not_an_object": 1}
    assert any("repeats" in note for note in proposal.notes)


def test_nothing_there(tmp_path):
    with pytest.raises(CurateError, match="nothing here"):
        propose(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CurateError, match="no files"):
        propose(tmp_path / "empty")


@pytest.mark.parametrize(
    ("row", "fields", "options"),
    [
        ({"id": "1", "et": LONG, "en": "An ordinary sentence."}, {}, {"type": "parallel", "parallel": {"languages": ["en", "et"]}}),
        ({"translation": {"et": LONG, "ru": LONG}}, {}, {"type": "parallel", "parallel": {"languages": ["et", "ru"]}}),
        ({"sentence_et": LONG, "sentence_en": LONG}, {"et": "sentence_et", "en": "sentence_en"},
         {"type": "parallel", "parallel": {"languages": ["en", "et"]}}),
        ({"prompt": LONG, "chosen": LONG, "rejected": "Ei."}, {}, {"type": "preference", "preference": {"of": "pairs"}}),
        ({"original": "Ma lähen koolis.", "corrections": ["Ma lähen kooli."]}, {}, {"type": "preference", "preference": {"of": "corrections"}}),
        ({"context": [{"role": "user", "content": LONG}], "response1": LONG, "response2": "Jah.", "overall_preference": 2}, {},
         {"type": "preference", "preference": {"of": "compared"}}),
        ({"prompt": LONG, "responses": {"b": LONG, "a": "Ei."}}, {},
         {"type": "preference", "preference": {"of": "answers", "order": ["a", "b"]}}),
        ({"text": LONG, "qa": [{"question": "Mis?", "answer": "Lause."}]}, {}, {"type": "instruction_text", "render": "qa_after_text"}),
        ({"text": LONG * 3, "title_et": "Lause", "title_en": "Sentence"}, {}, {}),  # a text with its title in two languages
    ],
)  # fmt: skip
def test_what_goes_in_twos(row, fields, options, tmp_path):
    proposal = propose(pack(tmp_path / "a.jsonl", lines(*[row] * 5)))
    found = block(proposal)
    assert {key: found[key] for key in ("type", "parallel", "preference", "render") if key in found} == options
    assert found.get("fields", {}) == fields and proposal.samples
    assert n_read(tmp_path, proposal) == 5
