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


SENTENCE = "See on lause."


@pytest.mark.parametrize(
    ("row", "fields", "note"),
    [
        # what is longer than a well-known name is the same once more, as XML, or says where it is from
        ({"text": LONG, "xml": f"<doc><p>{LONG * 9}</p></doc>"}, {}, "though xml is longer"),
        ({"text": SENTENCE, "source": "organisation/repository:data/of/a/long/path/file.et"}, {}, "though source is longer"),
        ({"body": SENTENCE, "summary": LONG}, {"text": "body"}, "body was chosen for its well-known name"),
        # a well-known name that holds no prose does not win: a digest, an address, a word
        ({"text": "0f4a9c11e2", "paragraphs": LONG}, {"text": "paragraphs"}, "paragraphs was chosen, the longest that holds prose"),
        ({"content": "files/a.txt", "words": LONG}, {"text": "words"}, "words was chosen"),
        ({"text": "Tere", "words": LONG}, {"text": "words"}, "words was chosen"),
        # of unknown names the longest that holds prose, not the longest
        ({"tokens": "17 4 99 312 " * 50, "lines": LONG}, {"text": "lines"}, "lines was chosen, the longest that holds prose"),
        ({"text": "\u4eca\u5929\u5929\u6c14\u5f88\u597d", "url": "https://example.org/a/very/long/address/of/a/page"}, {}, "though url is longer"),
    ],
)  # fmt: skip
def test_which_field_is_the_text(row, fields, note, tmp_path):
    proposal = propose(pack(tmp_path / "a.jsonl", lines(*[row] * 3)))
    assert proposal.type == "text" and block(proposal).get("fields", {}) == fields
    assert any(note in one for one in proposal.notes)
    assert n_read(tmp_path, proposal) == 3


def test_a_field_that_says_where_a_text_is_from_is_no_text(tmp_path):
    proposal = propose(
        pack(tmp_path / "a.jsonl", lines({"source": "a long name of a place with words in it", "words": ["a", "b"]}))
    )
    assert "fields" not in block(proposal) and "no field holds text" in proposal.notes


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ({"text": LONG, "text_en": "An ordinary sentence.", "lang": "et"}, {"et": "text", "en": "text_en"}),
        ({"text": LONG, "text_en_mt": "An ordinary sentence.", "lang": "et", "meta": {"z_mean": "-0.5"}},
         {"et": "text", "en": "text_en_mt", "score": "meta.z_mean"}),
    ],
)  # fmt: skip
def test_a_text_beside_its_translation(row, fields, tmp_path):
    proposal = propose(pack(tmp_path / "a.jsonl", lines(*[row] * 3)))
    found = block(proposal)
    assert (found["type"], found["parallel"], found["fields"]) == ("parallel", {"languages": ["en", "et"]}, fields)
    assert any("machine" in note for note in proposal.notes) == ("text_en_mt" in row)
    assert n_read(tmp_path, proposal) == 3


def test_a_text_in_the_language_its_name_has_already_is_no_pair(tmp_path):
    assert propose(pack(tmp_path / "a.jsonl", lines({"text": LONG, "text_et": LONG, "lang": "et"}))).type == "text"


def evaluation_block(proposal: Proposal) -> dict:
    assert proposal.type == "evaluation" and any("Never train on it" in note for note in proposal.notes)
    loaded = yaml.safe_load(proposal.yaml())
    assert list(loaded) == ["decontaminate"]
    (found,) = loaded["decontaminate"]["against"].values()
    return found


def test_evaluation_data_is_no_source(tmp_path):
    items = lines(
        {"question": "Kui palju on kaks ja kaks?", "answer": "Neli."}, {"question": "Mis on taevas?", "answer": "Sinine."}
    )
    for name in ("eval/a.jsonl", "data/gsm8k_test.jsonl.gz", "xcopa/b.jsonl"):
        path = pack(tmp_path / name, items)
        assert evaluation_block(propose(path)) == {"read": str(path)}
    unknown = pack(tmp_path / "benchmark/c.jsonl", lines({"ask": LONG, "n": 1}))
    assert evaluation_block(propose(unknown)) == {"read": str(unknown), "fields": {"question": "ask"}}
    code = pack(tmp_path / "h.jsonl", lines({"prompt": "def f():", "canonical_solution": "return 1", "test": "assert f() == 1"}))
    assert evaluation_block(propose(code)) == {"read": str(code)}


def test_training_splits_and_other_names_are_sources(tmp_path):
    row = {"question": "Kui palju on kaks ja kaks?", "answer": "Neli."}
    assert propose(pack(tmp_path / "gsm8k_train.jsonl", lines(row))).type == "conversation"
    assert propose(pack(tmp_path / "newsquads.jsonl", lines({"text": LONG}))).type == "text"  # not SQuAD
    said = propose(pack(tmp_path / "news_test.jsonl", lines({"text": LONG})))
    assert said.type == "text" and any("its name says test" in note for note in said.notes)


def test_what_is_proposed_for_evaluation_finds_its_items(tmp_path):
    from curate.recipe import load_recipe
    from curate.relate.contamination import check

    path = pack(tmp_path / "eval/a.jsonl", lines({"question": "Kui palju on kaks ja kaks?", "answer": "Neli."}))
    recipe(tmp_path, {"s": {"read": "{here}/none.jsonl", "license": {"declared": "CC0-1.0"}}})
    whole = (tmp_path / "recipe.yaml").read_text() + "\n" + propose(path).yaml()
    (tmp_path / "recipe.yaml").write_text(whole)
    loaded = load_recipe(tmp_path / "recipe.yaml")
    check(loaded)
    assert list(loaded.decontaminate.against) == ["a"]


def test_word_problems_are_mathematics(tmp_path):
    row = {"text": "Mari ostis 3 pakki, igas 4 nuppu. Kokku 3 * 4 = <<3*4=12>>12 nuppu."}
    assert propose(pack(tmp_path / "a.jsonl", lines(row, row))).type == "math"
    assert propose(pack(tmp_path / "b.jsonl", lines({"text": "Aastatel 1990-1995 oli x = 3 tavaline."}))).type == "text"


def test_languages_of_corrections_and_of_many_languages(tmp_path):
    row = {"original": "Ma lähen koolis.", "corrections": ["Ma lähen kooli."], "lang": "est_Latn"}
    assert block(propose(pack(tmp_path / "a.jsonl", lines(row, row))))["language"] == "et"  # its prompts are Estonian
    texts = [
        LONG,
        "This is quite an ordinary English sentence about the weather.",
        "Das ist ein ganz gewöhnlicher deutscher Satz über das Wetter.",
    ]
    mixed = propose(pack(tmp_path / "b.jsonl", lines(*({"text": text} for text in texts))))
    assert "language" not in block(mixed) and any("no language is that of most texts" in note for note in mixed.notes)
    rare = [{"text": LONG}] * 3 + [{"text": LONG, "content_language": "et"}]  # of one record in four
    assert block(propose(pack(tmp_path / "c.jsonl", lines(*rare)))).get("fields", {}) == {}


def test_what_is_no_text_is_said(tmp_path):
    with pytest.raises(CurateError, match="nothing here is text"):
        propose(pack(tmp_path / "model.bin", b"\x00\x01\x02"))
    words = propose(pack(tmp_path / "stop.txt", "\n".join(f"sõna{i}" for i in range(30)).encode()))
    assert any(note.startswith("a word a line") for note in words.notes)
    domains = propose(pack(tmp_path / "bad.txt", "\n".join(f"a{i}.example.org" for i in range(30)).encode()))
    assert any(note.startswith("a domain") for note in domains.notes)
    pages = propose(pack(tmp_path / "pages.jsonl", lines({"text": f"---\ntitle: a\n---\n{LONG}"})))
    assert any("front matter" in note for note in pages.notes)


def test_a_binary_beside_a_text_is_no_pair_of_languages(tmp_path):
    pack(tmp_path / "model.bin", b"\x00\x01")
    pack(tmp_path / "model.md", LONG.encode())
    assert propose(tmp_path / "model.md").format == "markdown"


def test_warc_without_a_name_that_says_so(tmp_path):
    head = b"WARC/1.0\r\nWARC-Type: warcinfo\r\nContent-Length: 0\r\n\r\n\r\n\r\n"
    proposal = propose(pack(tmp_path / "crawl.gz", head))
    assert (proposal.format, proposal.type) == ("warc", "web")
