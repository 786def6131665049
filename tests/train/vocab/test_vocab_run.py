"""`curate train vocab` as a user runs it: the folder it leaves, that it is there once and whole, and what it says of mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from curate.errors import CurateError
from curate.recipe import TokenizerSpec
from curate.store import read_json
from mixture.tokenizer import load_tokenizer
from tests.command import TOP, build, curate
from tests.train.vocab import small
from train.vocab.config import VocabRun
from train.vocab.run import run

TEXTS = ["veski jahvatab vilja ja vesi jookseb", "tuul puhub üle põllu, veski seisab", "vesi ja vili, veski ja tuul"]
MERGES = [
    ("v", "e"),
    ("Ġ", "ve"),
    ("j", "a"),
    ("Ġ", "ja"),
    ("s", "k"),
    ("sk", "i"),
]  # ve 257, Ġve 258, ja 259, Ġja 260, sk 261, ski 262


@pytest.fixture
def place(tmp_path: Path) -> Path:
    small.write(tmp_path / "old", small.byte_level(MERGES), eos_token=small.END, chat_template="{{ messages }}")
    rows = [{"id": str(i), "text": f"{text} {i}"} for i, text in enumerate(TEXTS * 8)]
    (tmp_path / "et.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "en.txt").write_text("the mill grinds\n\nthe water runs\nand runs\n\nthe wind\n", encoding="utf-8")
    return tmp_path


def run_file(place: Path, name: str = "run", **keys) -> Path:
    data = {
        "method": "vocab", "name": "et", "tokenizer": str(place / "old"), "held_out": "20 %", "save": {"to": str(place / "new")},
        "text": [{"files": str(place / "et.jsonl"), "language": "et"}, {"files": str(place / "en.txt"), "language": "en"}], **keys,
    }  # fmt: skip
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return path


def rows_of(folder: Path) -> list[dict]:
    return pq.read_table(folder / "id_map.parquet").to_pylist()


def model(place: Path, *, tied: bool, vocab_size: int = 263) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        tie_word_embeddings=tied, bos_token_id=None, eos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(place / "model")
    small.write(place / "model", small.byte_level(MERGES), eos_token=small.END)
    return place / "model"


def test_extend_leaves_a_folder_that_both_libraries_open(place):
    done = curate("train", "vocab", run_file(place, extend={"add": 12, "languages": "et"}))
    assert done.returncode == 0, done.stderr
    assert "fertility on held-out documents" in done.stdout and "12 new" in done.stderr
    new = place / "new"
    theirs, ours = AutoTokenizer.from_pretrained(new), load_tokenizer(TokenizerSpec(model=str(new)))
    assert len(theirs) == ours.vocab_size == 275 and theirs.eos_token == small.END and theirs.chat_template == "{{ messages }}"
    for text in (*TEXTS, "muu tekst  siin"):
        assert theirs(text).input_ids == ours.encode_batch([text])[0].tolist()
        assert theirs.decode(theirs(text).input_ids) == text
    old = AutoTokenizer.from_pretrained(place / "old")
    assert all(theirs.convert_tokens_to_ids(token) == i for token, i in old.get_vocab().items())
    rows = rows_of(new)
    assert [row["old_id"] for row in rows] == [*range(263), *[-1] * 12]
    assert all(old.decode(row["pieces"]) == theirs.decode([row["new_id"]]) for row in rows[263:])
    report = read_json(new / "fertility.json")["languages"]
    assert report["et"]["tokenizers"]["after"]["tokens"] < report["et"]["tokenizers"]["before"]["tokens"]
    receipt = read_json(new / "receipt.json")
    assert receipt["method"] == "vocab" and receipt["id_map"]["how"] == {"kept": 263, "learned": 12}
    assert receipt["parents"][0]["role"] == "tokenizer" and receipt["parents"][0]["folder"] == "old"
    assert receipt["text"]["et"]["documents"] == 24 and receipt["text"]["en"]["documents"] == 3
    assert str(place) not in json.dumps(receipt["parents"])


def test_the_same_bytes_again_and_once(place, capsys):
    path = run_file(place, trim={"min_frequency": 1})
    assert run(path) == 0 and run(path, [f"save.to={place / 'other'}"]) == 0
    files = sorted(file.name for file in (place / "new").iterdir())
    assert files == sorted(file.name for file in (place / "other").iterdir())
    assert all((place / "new" / name).read_bytes() == (place / "other" / name).read_bytes() for name in files)
    capsys.readouterr()
    assert run(path) == 0
    assert "done before" in capsys.readouterr().err
    with pytest.raises(CurateError, match="something else stands here"):
        run(path, ["trim.min_frequency=2"])
    with open(place / "en.txt", "a") as file:
        file.write("\nthe rain\n")
    with pytest.raises(CurateError, match="the same run file of something else") as caught:
        run(path)
    assert caught.value.found == "text changed since"


def test_trim_renumbers_what_stays(place):
    """sk and ski stand in every text, ve too; of the six merged tokens the one that no text has goes: here nothing but _ja is asked to stay."""
    assert run(run_file(place, trim={"size": 260, "keep": " ja"}, text=[{"files": str(place / "en.txt"), "language": "en"}])) == 0
    rows = rows_of(place / "new")
    assert [row["token"] for row in rows if row["old_id"] > 256] == ["ja", "Ġja"]
    assert [(row["new_id"], row["how"]) for row in rows if row["old_id"] > 256] == [(257, "part"), (258, "listed")]
    assert AutoTokenizer.from_pretrained(place / "new")("ja ja veski").input_ids[:2] == [257, 258]


def test_train_makes_a_tokenizer_like_the_old_one(place):
    assert run(run_file(place, train={"size": 270})) == 0
    rows = rows_of(place / "new")
    assert len(rows) == 270 and [row["old_id"] for row in rows[:257]] == list(range(257))
    ours = load_tokenizer(TokenizerSpec(model=str(place / "new")))
    assert ours.special == {"bos": None, "eos": 0, "pad": None} and ours.is_lossless
    same = {row["token"]: row["old_id"] for row in rows[257:] if row["old_id"] >= 0}
    assert all(small.byte_level(MERGES)["model"]["vocab"][token] == i for token, i in same.items()) and same


def test_replace_takes_another_tokenizer_with_its_own_template(place):
    small.write(place / "by", small.byte_level([("v", "e"), ("t", "h")]), eos_token=small.END, chat_template="other")
    assert run(run_file(place, replace={"by": str(place / "by")})) == 0
    assert [(row["token"], row["old_id"]) for row in rows_of(place / "new")[257:]] == [("ve", 257), ("th", -1)]
    assert (place / "new" / "chat_template.jinja").read_text() == "other"
    assert [parent["role"] for parent in read_json(place / "new" / "receipt.json")["parents"]] == ["tokenizer", "replaced_by"]


def test_the_report_alone(place):
    done = curate("train", "vocab", run_file(place))
    assert done.returncode == 0, done.stderr
    assert "fertility on all documents" in done.stdout and "after" not in done.stdout
    assert sorted(file.name for file in (place / "new").iterdir()) == ["fertility.json", "receipt.json"]
    found = read_json(place / "new" / "fertility.json")["languages"]["en"]
    assert found["documents"] == 3 and found["words"] == 10  # the mill grinds | the water runs and runs | the wind


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_gets_the_rows(place, tied):
    """Rows of kept tokens are the old ones bit for bit; both matrices fit the tokenizer."""
    source = model(place, tied=tied)
    path = run_file(
        place, model={"init": str(source)}, tokenizer=None, extend={"add": 5}, rows={"method": "mean", "pad_to_multiple_of": 1}
    )
    path.write_text(path.read_text().replace("tokenizer: null\n", ""))
    assert run(path) == 0
    old, new = AutoModelForCausalLM.from_pretrained(source), AutoModelForCausalLM.from_pretrained(place / "new")
    assert new.config.vocab_size == 268 == len(AutoTokenizer.from_pretrained(place / "new"))
    assert torch.equal(new.get_input_embeddings().weight[:263], old.get_input_embeddings().weight)
    assert torch.equal(new.get_output_embeddings().weight[:263], old.get_output_embeddings().weight)
    receipt = read_json(place / "new" / "receipt.json")
    assert [parent["role"] for parent in receipt["parents"]] == ["init", "tokenizer"] and receipt["rows"]["method"] == "mean"


def test_trimmed_model_says_the_same_of_kept_text(place):
    """Logits of kept tokens are those of the old model, bit for bit."""
    source = model(place, tied=False)
    path = run_file(place, model={"init": str(source)}, trim={"min_frequency": 1}, rows={"pad_to_multiple_of": 1})
    assert run(path) == 0
    old, new = AutoModelForCausalLM.from_pretrained(source), AutoModelForCausalLM.from_pretrained(place / "new")
    kept = [row["old_id"] for row in rows_of(place / "new")]
    text = "vesi ja veski"
    before, after = (
        AutoTokenizer.from_pretrained(source)(text, return_tensors="pt"),
        AutoTokenizer.from_pretrained(place / "new")(text, return_tensors="pt"),
    )
    assert [kept[i] for i in after.input_ids[0].tolist()] == before.input_ids[0].tolist()
    with torch.no_grad():
        assert torch.equal(old(before.input_ids).logits[0][:, kept], new(after.input_ids).logits[0])


RECIPE = """
kind: cpt
name: small
tokenizer: {model: old, eos: per_document}
sources:
  laws: {read: laws.jsonl, type: text, language: et, license: {declared: MIT}}
  news: {read: news.jsonl, type: text, language: en, license: {declared: MIT}}
rules: [{signal: n_words, min: 4}]
mixture:
  total: 200 tokens
  sequence_length: 64
  components:
    et: {from: [laws], role: target, budget: 130 tokens, max_epochs: 4}
    en: {from: [news], role: replay, budget: 70 tokens, max_epochs: 4}
"""


def test_text_of_a_build(place):
    """Documents that it trains on, in their languages: "ja ja" has too few words. A source may be asked alone, and its language said."""
    for name, texts in {"laws": [*TEXTS, "ja ja"], "news": ["the mill grinds the grain", "water runs down the mill"]}.items():
        rows = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "recipe.yaml").write_text(RECIPE)
    build(place / "recipe.yaml", place)
    assert run(run_file(place, text=[{"build": str(place / "build")}])) == 0
    found = read_json(place / "new" / "fertility.json")["languages"]
    assert {language: one["documents"] for language, one in found.items()} == {"en": 2, "et": 3}
    assert found["et"]["bytes"] == sum(len(text.encode()) for text in TEXTS)
    asked = {"build": str(place / "build"), "sources": "news", "language": "eng"}
    assert run(run_file(place, text=[asked], save={"to": str(place / "again")})) == 0
    assert list(read_json(place / "again" / "fertility.json")["languages"]) == ["eng"]
    with pytest.raises(CurateError, match="trains on no such source"):
        run(run_file(place, text=[{**asked, "sources": "poems"}], save={"to": str(place / "third")}))


WRONG = {
    "two_actions": ({"extend": {"add": 1}, "trim": {}}, "one of train, extend, replace, trim"),
    "no_text": ({"text": [], "extend": {"add": 1}}, "the key 'text' is missing"),
    "missing_file": ({"text": [{"files": "nowhere/*.jsonl", "language": "et"}], "extend": {"add": 1}}, "there is no text here"),
    "no_language": ({"text": [{"files": "x.jsonl"}], "extend": {"add": 1}}, "files need their language"),
    "unknown_language": ({"extend": {"add": 1, "languages": "fi"}}, "the text has no such language"),
    "no_tokenizer": ({"tokenizer": "nowhere", "extend": {"add": 1}}, "there is no such local folder"),
    "unknown_key": ({"extend": {"add": 1, "min_frequenzy": 3}}, "min_frequency"),
    "too_small": ({"train": {"size": 200}}, "no room for a word"),
    "no_such_token": ({"trim": {"keep": ["zzz"]}}, "no such token"),
    "rows_of_nothing": ({"extend": {"add": 1}, "rows": {"method": "mean"}}, "rows are a model's"),
    "no_field": ({"text": [{"files": "ET", "language": "et", "field": "body"}], "extend": {"add": 1}}, "no such text"),
    "everything_held_out": ({"held_out": "100 %", "extend": {"add": 1}}, "nothing is left to learn from"),
    "no_model": ({"model": {"init": "nowhere/at/all"}, "extend": {"add": 1}}, "there is no model here"),
    "no_build": ({"text": [{"build": "nowhere"}], "extend": {"add": 1}}, "there is no build here"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_message(place, name):
    keys, said = WRONG[name]
    text = yaml.safe_dump(keys).replace("files: ET", f"files: {place / 'et.jsonl'}")
    with pytest.raises(CurateError) as caught:
        run(run_file(place, **yaml.safe_load(text)))
    assert said in str(caught.value) and caught.value.exit_code == 2
    assert not (place / "new").exists()


def test_vocabularies_that_share_nothing_are_refused_before_rows_are_made(place):
    """ASCII letters are bytes here and there; no token of two letters is in both."""
    small.write(place / "by", small.byte_level([("x", "y"), ("q", "z")]), eos_token=small.END)
    done = curate(
        "train", "vocab", run_file(place, model={"init": str(model(place, tied=True))}, replace={"by": str(place / "by")})
    )
    assert done.returncode == 2 and "the two vocabularies share nothing" in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1 and not (place / "new").exists()


def test_other_kinds_of_tokenizers_are_refused(place):
    config = small.byte_level()
    config["model"] = {"type": "WordLevel", "vocab": {small.END: 0, "a": 1}, "unk_token": small.END}
    small.write(place / "words", config)
    done = curate("train", "vocab", run_file(place, tokenizer=str(place / "words"), trim={}))
    assert done.returncode == 2 and "WordLevel" in done.stderr and "BPE" in done.stderr


def test_sentencepiece_becomes_a_tokenizer_json_that_cuts_alike(data, place):
    path = run_file(place, tokenizer=str(data / "tokenizers/mistral_v1"), extend={"add": 6})
    assert run(path) == 0
    old, new = (
        load_tokenizer(TokenizerSpec(model=str(data / "tokenizers/mistral_v1"))),
        load_tokenizer(TokenizerSpec(model=str(place / "new"))),
    )
    assert new.special["bos"] == 1 and new.special["eos"] == 2 and new.vocab_size == 32006
    text = "The mill grinds 123 grains — 你好, \n\n  šõž!"
    assert old.encode_batch([text])[0].tolist() == [i for i in new.encode_batch([text])[0].tolist()]
    theirs = AutoTokenizer.from_pretrained(place / "new")
    assert theirs(text).input_ids == [1, *new.encode_batch([text])[0].tolist()]


@pytest.mark.parametrize(("name", "action"), [("et-vocab-extend", "extend"), ("et-vocab-trim", "trim")])
def test_recipes_are_run_files_that_wait_for_their_model(name, action):
    """All keys are right: what is missing is the model, which the message says how to get."""
    path = TOP / "recipes" / "train" / f"{name}.yaml"
    assert VocabRun.model_validate(yaml.safe_load(path.read_text())).action == action
    with pytest.raises(CurateError, match="there is no model here") as caught:
        run(path)
    assert caught.value.where.startswith(str(path)) and "hf download" in caught.value.next
