"""recipes/pairs.yaml as a user builds it: what was planted is dropped for its reason, sums close, verify agrees, and stats shows the pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests import command
from tests.command import curate

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    top = tmp_path_factory.mktemp("pairs")
    command.build(RECIPES / "pairs.yaml", top)
    return top


@pytest.fixture(scope="module")
def documents(built) -> dict[tuple[str, str], dict]:
    """(source, source_id) -> the document with its decision."""
    read = {
        stage: pa.concat_tables(
            pq.read_table(p) for p in sorted((built / "store").glob(f"{stage}/*/*/{file}.parquet"))
        ).to_pylist()
        for stage, file in (("documents", "documents"), ("decide", "decisions"))
    }
    of = {(row["source"], row["id"]): row for row in read["decide"]}
    return {(row["source"], row["source_id"]): row | of[row["source"], row["id"]] for row in read["documents"]}


@pytest.mark.parametrize("source", ["translations", "translate"])
def test_planted_pairs_fail_the_filter_they_were_made_for(source, documents):
    mine = {name: row for (of, name), row in documents.items() if of == source}
    assert len(mine) == 23
    failed = {name.partition("-")[2]: row["failed_rules"] for name, row in mine.items() if not row["keep"]}
    assert failed.pop("18") == ["min_numerals_ratio"]  # other times of departure
    assert "max_side_word_ratio" in failed.pop("19")
    assert failed.pop("20") == ["min_n_sides_in_language"]  # not translated
    assert "max_terminal_punctuation_penalty" in failed.pop("21")
    assert {"min_n_shorter_side_chars", "min_n_shorter_side_words"} <= set(failed.pop("22"))
    assert failed == {}


def test_documents_have_their_parts(documents):
    (one,) = [row for (source, name), row in documents.items() if (source, name) == ("translate", "translations-00")]
    messages = json.loads(one["messages"])
    assert [turn["role"] for turn in messages] == ["user", "assistant"]
    assert messages[1]["content"] == json.loads(one["parts"])["et"] == "Kalur tõmbas paadi kaldale ja laotas võrgud kuivama."
    (pair,) = [row for (source, name), row in documents.items() if (source, name) == ("corrections", "corrections-00")]
    assert (
        pair["chosen"] == "Ma lähen homme linna sõpradega kohtuma."
        and pair["rejected"] in json.loads(pair["prompt"])[0]["content"]
    )
    passage = documents["passages", "passages-02"]
    assert json.loads(passage["parts"])["qa"] == [{"question": "Miks on laval kõige kuumem?", "answer": "Soe õhk tõuseb üles."}]
    assert json.loads(passage["extra"])["render"] in ("qa_after_text", "qa_before_text")


def test_sums_close_and_what_is_no_document_is_quarantined(built):
    found = json.loads(curate("stats", built / "build", "--json").stdout)
    assert all(source["sums_close"] for source in found["sources"])
    assert {s["source"]: s["quarantined"] for s in found["sources"]} == {
        "translations": 1, "translate": 1, "corrections": 1, "passages": 1}  # fmt: skip
    causes = curate("sql", built / "build", "SELECT source, cause FROM quarantine ORDER BY ALL", "--json")
    assert [tuple(row.values()) for row in json.loads(causes.stdout)] == [
        ("corrections", "equal_answers"), ("passages", "no_prompt"), ("translate", "empty_text"), ("translations", "empty_text")]  # fmt: skip


def test_answers_alone_carry_loss_and_verify_agrees(built):
    tokens = {s: json.loads(p.read_text())["counts"] for p in (built / "store").glob("tokens/*/stage.json")
              for s in [json.loads(p.read_text())["settings"].get("loss")]}  # fmt: skip
    assert 0 < tokens["assistant"]["n_loss_tokens"] < tokens["assistant"]["n_tokens"]
    done = curate("verify", built / "build")
    assert done.returncode == 0, done.stdout + done.stderr


def test_stats_shows_length_and_leakage_of_preferences(built):
    (every, kept) = json.loads(curate("stats", built / "build", "--json").stdout)["preferences"]
    assert (every["documents_of"], kept["documents_of"], every["pairs"], every["with_margin"]) == ("all", "kept", 9, 0)
    rows = [json.loads(line) for line in (RECIPES / "pairs" / "corrections.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = [(row["corrections"][0], row["original"]) for row in rows if row["corrections"][0] != row["original"]]
    assert every["chosen_longer_share"] == pytest.approx(sum(len(a) > len(b) for a, b in pairs) / 9)
    assert every["rejected_longer_share"] == pytest.approx(sum(len(a) < len(b) for a, b in pairs) / 9)
    assert every["mean_char_difference"] == pytest.approx(sum(len(a) - len(b) for a, b in pairs) / 9)
    assert every["is_rejected_in_prompt"] == 9 and every["is_chosen_in_prompt"] == 0
    text = curate("stats", built / "build").stdout
    assert "preferences: margins, length, what stands in what" in text and "rejected in prompt" in text


def test_an_evaluation_item_in_either_language_is_found(tmp_path):
    """One item in Estonian only, one in English only; each stands in a pair, once as a text and once as an instruction."""
    items = [
        {"id": "et", "text": "Sügisel korjame metsast pohli ja seeni ning keedame neist talveks moosi ja marinaadi."},
        {"id": "en", "text": "On Saturday grandmother baked bread, and its smell filled the whole house."},
    ]
    (tmp_path / "test_set.jsonl").write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items))
    recipe = yaml.safe_load((RECIPES / "pairs.yaml").read_text(encoding="utf-8"))
    recipe["roots"]["here"] = str(RECIPES / "pairs")
    recipe["tokenizer"]["model"] = str(RECIPES / "quickstart" / "tokenizer")
    recipe["decontaminate"] = {"against": "test_set.jsonl"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
    command.build(tmp_path / "recipe.yaml", tmp_path, "--until", "decide")
    found = curate("sql", tmp_path / "build", "SELECT d.source, d.source_id FROM decisions x JOIN documents d USING (source, id) "
                   "WHERE list_contains(x.failed_rules, 'contaminated') ORDER BY ALL", "--json")  # fmt: skip
    assert [tuple(row.values()) for row in json.loads(found.stdout)] == [
        (source, f"translations-{number}") for source in ("translate", "translations") for number in ("02", "08")
    ]
