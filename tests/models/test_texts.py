"""What can be trained on: files as sources read them, and documents of a build by reason and source; the command and the recipe."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import CurateError
from curate.models import training
from curate.models.texts import read_all
from curate.recipe import Recipe
from curate.signals import measurers, signal_names
from curate.store import file_sha256
from tests.command import curate
from tests.models.made import adverts
from tests.models.test_classifier import PLAIN, write


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """The two tables of corpus.duckdb that are asked."""
    with duckdb.connect(str(tmp_path / "corpus.duckdb")) as corpus:
        corpus.execute(
            "CREATE TABLE texts AS SELECT * FROM (VALUES ('1', 'üks'), ('2', 'kaks'), ('3', 'kolm'), ('4', 'neli')) t(id, text)"
        )
        corpus.execute("CREATE TABLE decisions AS SELECT * FROM (VALUES ('1', 'a', true, NULL), ('2', 'b', true, NULL), "
                       "('3', 'a', false, 'short'), ('4', 'b', false, 'language')) t(id, source, keep, reason)")  # fmt: skip
    return tmp_path


@pytest.mark.parametrize(("choice", "texts"), [
    ("", ["üks", "kaks"]), (":source=b", ["kaks"]), (":reason=short", ["kolm"]), (":reason=language,source=b", ["neli"]),
])  # fmt: skip
def test_documents_of_a_build(choice: str, texts: list[str], build: Path) -> None:
    (given,) = read_all([f"{build}{choice}"], "--positive")
    assert given.texts == texts and given.record["n_records"] == len(texts) and len(given.record["texts_digest"]) == 32


@pytest.mark.parametrize(("choice", "told"), [
    (":reason=shrt", "no document"), (":source=c", "no document"), (":signal=x", "no choice 'signal'"),
])  # fmt: skip
def test_no_such_documents(choice: str, told: str, build: Path) -> None:
    with pytest.raises(CurateError, match=told) as caught:
        read_all([f"{build}{choice}"], "--positive")
    if "reason" in choice:
        assert caught.value.allowed == "reasons: short"


def test_every_format_gives_the_same_texts(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.jsonl", PLAIN[:3])
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(Path(plain).read_bytes()))
    pq.write_table(pa.table({"text": PLAIN[:3]}), tmp_path / "a.parquet")
    (tmp_path / "a.txt").write_text("\n".join(PLAIN[:3]))
    given = read_all([str(tmp_path / name) for name in ("a.jsonl", "a.jsonl.gz", "a.parquet")], "")
    assert [g.texts for g in given] == [PLAIN[:3]] * 3
    assert read_all([str(tmp_path / "a.txt")], "")[0].texts == ["\n".join(PLAIN[:3])]  # a text file is one text
    (tmp_path / "a.jsonl").write_text('{"text": "hea"}\nnot json\n{"text": "ka hea"}\n')
    (bad,) = read_all([str(tmp_path / "a.jsonl")], "")
    assert bad.texts == ["hea", "ka hea"] and (bad.record["n_records"], bad.record["n_bad"]) == (3, 1)


def test_the_command_and_the_lines_it_prints(tmp_path: Path) -> None:
    out = tmp_path / "models" / "web spam.json"
    given = write(tmp_path / "p.jsonl", adverts(40, 1, "shop")), write(tmp_path / "n.jsonl", PLAIN)
    wanted = ("--positive", given[0], "--negative", given[1], "--kind", "features", "--label", "spam", "--held-out", "20%")
    done = curate("train-classifier", out, *wanted)
    assert done.returncode == 0, done.stderr
    assert f"web_spam: {{kind: features, model: {out}, sha256: {file_sha256(out)}, label: spam}}" in done.stdout
    assert training.record_path(out).is_file()
    refused = curate("train-classifier", out, "--positive", given[0], "--negative", given[0], "--kind", "features")
    assert refused.returncode == 2 and "too few different texts" in refused.stderr and "Traceback" not in refused.stderr
    component = {"from": "a", "role": "target", "budget": "1k tokens"}
    model = {"name": "web_spam", "kind": "features", "model": str(out), "sha256": file_sha256(out), "sources": ["a"]}
    source = {"read": ["x.jsonl"], "language": "et", "license": {"declared": "CC0-1.0"}}
    recipe = Recipe.model_validate({
        "kind": "cpt", "name": "r", "tokenizer": {"model": "t"}, "models": {"web_spam": model},
        "sources": {name: {"name": name, **source} for name in ("a", "b")},
        "mixture": {"total": "1k tokens", "sequence_length": 64, "components": {"c": component}},
    })  # fmt: skip
    assert signal_names(recipe, recipe.sources["a"])["web_spam_score"] == "float32"
    assert "web_spam_score" not in signal_names(recipe, recipe.sources["b"])
    (found,) = (m for m in measurers(recipe, recipe.sources["a"]) if m.family.name == "web_spam")
    assert found.settings["model_sha256"] == file_sha256(out)
    wrong = recipe.model_copy(update={"models": {"web_spam": recipe.models["web_spam"].model_copy(update={"sha256": "0" * 64})}})
    with pytest.raises(CurateError, match="another file"):
        measurers(wrong, recipe.sources["a"])
