"""Every file of the real data through the lane for its kind, by one recipe: tests/all_sources.yaml. Sums close, and samples are written.

VESKI_SAMPLES=FILE keeps the samples to look at. Files that are no documents (tokenizers, models, word lists) are named below with the
recipe key or the test that reads them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from curate.inspect.corpus import open_corpus, rows
from curate.recipe import load_recipe
from curate.sources import list_files
from tests import command

RECIPE = Path(__file__).resolve().parent / "all_sources.yaml"
BROKEN = "warc_broken"  # the names of its files say what is broken

# Files that no source of the recipe reads -> what reads them. A folder stands for all that lies in it.
ELSEWHERE = {
    "lists/ut1/": "urls.block_lists", "lists/badwords_v2_et.txt": "bad_words", "lists/badwords_v2_en.txt": "bad_words",
    "lists/badwords_v2_ru.txt": "bad_words", "lists/badwords_ldnoobw_fi.txt": "bad_words", "lists/badwords_ldnoobw_sv.txt": "bad_words",
    "lists/badwords_ldnoobw_de.txt": "bad_words", "lid/lid.176.ftz": "language_id", "eval/": "decontaminate.against",
    "lists/badwords_ldnoobw_en.txt": "tests/signals/test_bad_words.py: one list a language",
    "lists/badwords_ldnoobw_ru.txt": "tests/signals/test_bad_words.py: one list a language",
    "lists/stopwords.jsonl.zst": "tests/signals/reference.py: words of nine languages, no text",
    "lists/stoplist_et.txt": "source.stop_words, a list of words", "lists/easylist_urls.txt.gz": "rules of a browser extension, no domains",
    "tokenizers/": "tests/mixture/test_tokenizer.py", "models/": "tests/train/stories.py", "reserved.bin": "sealed", "README.md": "",
    "manifest.jsonl": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def built(data, tmp_path_factory):
    """The build folder, the finished command and the recipe; up to the decisions."""
    top = tmp_path_factory.mktemp("all_sources")
    done = command.curate("build-mixture", RECIPE, "--set", f"roots.data={data}", "--until", "decide", "--out", top / "build",
                          "--store", top / "store")  # fmt: skip
    assert done.returncode in (0, 3), done.stdout[-3000:] + done.stderr[-3000:]
    return top / "build", done, load_recipe(RECIPE, [f"roots.data={data}"])


def test_every_file_is_read_by_something(data):
    recipe = load_recipe(RECIPE, [f"roots.data={data}"])
    read = {file.path.resolve() for source in recipe.sources.values() for file in list_files(recipe, source)}
    found = {path.relative_to(data.resolve()).as_posix() for path in read}
    there = {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()}
    missing = sorted(
        name for name in there - found if not any(name == key or (key[-1:] == "/" and name.startswith(key)) for key in ELSEWHERE)
    )
    assert missing == []
    text = RECIPE.read_text()
    for name, reader in ELSEWHERE.items():  # what a recipe key is said to read stands in the recipe
        if reader.split(".")[0] in recipe.canonical():
            assert f"/{name.rstrip('/')}" in text, (name, reader)


@pytest.mark.slow
def test_sums_close_for_every_source(built):
    build, _, recipe = built
    with open_corpus(build) as corpus:
        sources = rows(corpus, "FROM sources")
    assert {one["source"] for one in sources} == set(recipe.sources)
    for one in sources:
        assert one["sums_close"], one
        assert one["records"] == one["documents"] + one["quarantined"] and one["documents"] == one["kept"] + one["dropped"], one
        assert one["documents"] > 0, one


@pytest.mark.slow
def test_only_broken_input_is_quarantined(built):
    """Past the limit is what is broken by its name, and rows of pairs that are none; the exit code says so."""
    build, done, recipe = built
    with open_corpus(build) as corpus:
        found = rows(corpus, "SELECT source, cause, count(*) AS n FROM quarantine GROUP BY ALL ORDER BY ALL")
        records = {one["source"]: one["records"] for one in rows(corpus, "FROM sources")}
    limit = float(recipe.limits.quarantine.value)
    of: dict[str, int] = {}
    for row in found:
        of[row["source"]] = of.get(row["source"], 0) + row["n"]
    past = {name for name, n in of.items() if n > limit * records[name]}
    assert BROKEN in past and done.returncode == 3
    for name in past:
        assert f"! {name}: {of[name]:,} of {records[name]:,} records are in quarantine" in done.stderr
    print("\n".join(f"{row['source']:<18} {row['cause']:<24} {row['n']:>7,}" for row in found))


@pytest.mark.slow
def test_documents_of_every_lane_are_whole(built):
    """Nothing empty, nothing with what no text holds; conversations, pairs and preferences have their columns."""
    build, _, recipe = built
    written = []
    for name, source in recipe.sources.items():
        table = _documents(build, name)
        texts = table["text"].to_pylist()
        assert all(text and not text.isspace() and "\0" not in text for text in texts), name
        if source.is_conversation:
            assert all(json.loads(one) for one in table["messages"].to_pylist()), name
        if source.type == "preference":
            assert not any(table[column].null_count for column in ("prompt", "chosen", "rejected")), name
        if source.type == "parallel":
            assert all({"et", "en"} <= set(json.loads(one)) for one in table["parts"].to_pylist()), name
        written.append(_samples(name, table))
    if place := os.environ.get("VESKI_SAMPLES"):
        Path(place).write_text("\n".join(written), encoding="utf-8")


@pytest.mark.slow
def test_licences_are_read_and_forbidden_ones_dropped(built):
    build, _, _ = built
    with open_corpus(build) as corpus:
        kept = {row["license"] for row in rows(corpus, "FROM kept_by_origin")}
        dropped = {row["source"] for row in rows(corpus, "FROM reasons WHERE reason = 'license_forbidden'")}
    assert {"MIT", "Apache-2.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC0-1.0 OR LicenseRef-public-domain", "unknown"} <= kept
    assert not any("-NC" in name for name in kept)
    assert {"et_press", "alpaca"} <= dropped  # UD EDT and Code Alpaca are non-commercial


def _documents(build: Path, source: str):
    with open_corpus(build) as corpus:
        stage = rows(corpus, "SELECT path FROM stages WHERE stage = 'documents' AND source = ?", source)[0]
    files = sorted((build / stage["path"]).rglob("documents.parquet"))
    return pq.read_table(files)


def _samples(name: str, table, n: int = 12, n_chars: int = 900) -> str:
    """Documents of one source, evenly over its ids, as one text."""
    lines = [f"{'=' * 30} {name}: {table.num_rows:,} documents"]
    step = max(1, table.num_rows // n)
    for row in table.take(list(range(0, table.num_rows, step))[:n]).to_pylist():
        about = {
            key: row[key]
            for key in ("id", "source_id", "url", "title", "language", "license", "license_evidence", "date", "file")
            if row[key]
        }
        lines.append(
            "--- " + yaml.safe_dump(about, sort_keys=False, allow_unicode=True, default_flow_style=True, width=10_000).strip()
        )
        for column in ("messages", "prompt", "chosen", "rejected", "parts", "extra"):
            if row[column]:
                lines.append(f"  [{column}] {row[column][:600]}")
        text = row["text"]
        middle = len(text) // 2
        lines.append(
            text[:n_chars]
            + (f"\n  [... {len(text):,} characters, the middle:]\n{text[middle : middle + 300]}" if len(text) > n_chars else "")
        )
    return "\n".join(lines) + "\n"
