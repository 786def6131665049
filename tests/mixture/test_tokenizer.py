"""Ids, special tokens and the backends of mixture.tokenizer; expected ids by hand or from the reference libraries.

What the compiled encoder can say is in test_compiled.py.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Reference
from tokenizers import models

from curate.errors import CurateError
from curate.recipe import TokenizerSpec
from mixture.tokenizer import load_tokenizer, tiktoken_bpe
from tests.mixture import tiny_tokenizer
from tests.mixture.all_texts import every_character

HARD = [
    "", " ", "a", "\n\n  \n", "Tere  õhtust!\r\n", "<|endoftext|> <s>", "<|im_start|>user",
    "🙂👩‍👩‍👧", "\x00\x01", "don't 'll 're",
    "if x:\n\tpass  # ok", "a" * 3000, " " * 3000 + "x", "Ñandú ſtraße", "\u2028 \u0085 \u00a0", "1234567 8.9", "\U000f0000",
]  # fmt: skip


def load(place: Path, **spec):
    return load_tokenizer(TokenizerSpec(model=str(place), **{"bos": "none", "eos": "none", **spec}))


def texts(path: Path, limit: int) -> list[str]:
    with open(path, "rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n")
        return [json.loads(line)["text"] for _, line in zip(range(limit), lines, strict=False)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(tiny_tokenizer.write(tmp_path_factory.mktemp("tiny")))


# --- loading ---


def test_a_folder_with_tokenizer_json_alone(tiny):
    """Special tokens come from its added_tokens, by their conventional names."""
    assert tiny.special == {"bos": 4 - 1, "eos": 0, "pad": None}
    assert (tiny.backend, tiny.library) == ("compiled", "tokenizers")
    assert tiny.vocab_size == 340
    assert tiny.dtype == np.uint16
    assert tiny.is_lossless
    assert tiny.template_sha256 is None


def test_the_vocabulary_is_in_the_order_of_ids(tiny):
    """The library gives it in another order in every process, and what is made of it would not be the same twice."""
    assert list(tiny.vocabulary.values()) == list(range(tiny.vocab_size))


def test_the_bare_file_is_the_same_tokenizer(tmp_path, tiny):
    folder = tiny_tokenizer.write(tmp_path / "t")
    assert load(folder / "tokenizer.json").sha256 == load(folder).sha256
    assert load(folder).files.name == load(folder / "tokenizer.json").files.name == "t"


def test_the_config_decides_on_special_tokens(tmp_path):
    config = {"bos_token": None, "eos_token": {"content": "<|im_end|>"}, "pad_token": "<|endoftext|>", "chat_template": "x"}
    tokenizer = load(tiny_tokenizer.write(tmp_path / "a", config=config))
    assert tokenizer.special == {"bos": None, "eos": 2, "pad": 0}
    assert tokenizer.files.template == "x"
    assert tokenizer.sha256 != load(tiny_tokenizer.write(tmp_path / "b")).sha256
    named = [{"name": "tool_use", "template": "y"}, {"name": "default", "template": "z"}]
    assert load(tiny_tokenizer.write(tmp_path / "c", config={"chat_template": named})).files.template == "z"


def test_the_template_file_of_the_recipe_wins(tmp_path):
    folder = tiny_tokenizer.write(tmp_path / "a", template="inside")
    (tmp_path / "own.jinja").write_text("own")
    assert load(folder).files.template == "inside"
    assert load(folder, chat_template=str(tmp_path / "own.jinja")).files.template == "own"
    assert load(folder, chat_template=str(tmp_path / "own.jinja")).sha256 == load(folder).sha256


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"model": "nowhere/at/all"}, "no such tokenizer"),
        ({"model": "some-org/some-model"}, "pinned commit"),
        ({"model": "some-org/some-model", "revision": "main"}, "pinned commit"),
    ],
)
def test_what_is_not_there(spec, says):
    with pytest.raises(CurateError, match=says):
        load_tokenizer(TokenizerSpec(**spec))


def test_a_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(CurateError, match="not a tokenizer we can read"):
        load(tmp_path)


def test_damaged_files(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(CurateError, match=r"tokenizer\.json: this file is not a JSON object"):
        load(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.model").write_bytes(b"no model")
    with pytest.raises(CurateError, match="not a SentencePiece model"):
        load(tmp_path)


def test_a_missing_special_token_is_named(tmp_path, data):
    with pytest.raises(CurateError, match=r"tokenizer\.bos: the tokenizer gpt2 has no bos token"):
        load(data / "tokenizers/gpt2", bos="per_document")
    folder = tiny_tokenizer.write(tmp_path, config={"eos_token": "<|fim|>"})
    with pytest.raises(CurateError, match="eos_token is not in the vocabulary"):
        load(folder, eos="per_document")


def test_neither_torch_nor_transformers_is_imported(tmp_path):
    folder = tiny_tokenizer.write(tmp_path)
    code = (
        "import sys; from curate.recipe import TokenizerSpec; from mixture.tokenizer import load_tokenizer\n"
        f"load_tokenizer(TokenizerSpec(model={str(folder)!r})).encode_batch(['a'])\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- encoding ---


@pytest.mark.parametrize("text", HARD)
def test_every_backend_is_tokenizers(tiny, text):
    compiled, tiktoken, slow = (
        tiny.encode_batch([text])[0],
        tiny._tiktoken.encode(text),
        tiny.by_library().encode_batch([text])[0],
    )
    assert compiled.dtype == tiktoken.dtype == slow.dtype == np.uint32
    assert compiled.tolist() == tiktoken.tolist() == slow.tolist()
    assert tiny.decode(compiled) == text


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])) | st.text(alphabet="aeõ nt'sl \n<|>_endofx19🙂"))
def test_every_text_comes_back(tiny, text):
    ids = tiny.encode_batch([text])[0]
    assert tiny.first_mismatch([text]) is None
    assert tiny._tiktoken.encode(text).tolist() == ids.tolist()
    assert tiny.decode(ids) == text
    assert not {0, 1, 2, 3} & set(ids.tolist())  # no control token comes out of a text


def test_ids_are_mapped_where_vocabulary_order_is_not_merge_order(tmp_path, tiny):
    """Reversed ids: the token of rank r has another id, the pieces are the same."""
    original = tiny_tokenizer.data(tiny_tokenizer.write(tmp_path / "a"))
    n = len(original["model"]["vocab"])
    turned = {token: n - 1 - i for token, i in original["model"]["vocab"].items()}
    added = [{**token, "id": turned[token["content"]]} for token in original["added_tokens"]]
    edit = {"model": {**original["model"], "vocab": turned}, "added_tokens": added}
    tokenizer = load(tiny_tokenizer.write(tmp_path / "b", edit=edit))
    for text in [*HARD, *tiny_tokenizer.TEXTS]:
        ids = tokenizer.encode_batch([text])[0]
        assert ids.tolist() == (n - 1 - tiny.encode_batch([text])[0].astype(int)).tolist()
        assert ids.tolist() == tokenizer._tiktoken.encode(text).tolist()
        assert tokenizer.first_mismatch([text]) is None


def _model(merges: list[str], **more) -> dict:
    """A byte-level BPE with these merges, ids in order."""
    vocab = dict.fromkeys(sorted(tiny_tokenizer.ByteLevel.alphabet()))
    vocab.update(dict.fromkeys("".join(merge.split(" ")) for merge in merges))
    model = {"type": "BPE", "vocab": {token: i for i, token in enumerate(vocab)}, "merges": merges, **more}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"model": model, "pre_tokenizer": byte_level, "normalizer": None, "added_tokens": []}


def test_what_tiktoken_cannot_say_is_left_to_tokenizers():
    assert tiktoken_bpe.build(_model(["a b", "ab c"])) is not None
    assert tiktoken_bpe.build(_model(["a b", "ab c", "c d", "ab cd", "abc d"])) is not None  # two ways to abcd, side by side
    # abcd is made by two merges with another one between them: no single rank says so
    assert tiktoken_bpe.build(_model(["a b", "ab c", "c d", "ab cd", "e f", "abc d"])) is None
    # "bc" goes first inside "abc", so abc is never made alone, but tiktoken would make it of a + bc
    assert tiktoken_bpe.build(_model(["b c", "a b", "ab c"])) is None
    # a merge of a token that a later merge makes
    assert tiktoken_bpe.build(_model(["ab c", "a b"])) is None
    # a token without a merge counts only where whole pieces are looked up first
    lone = _model(["a b"])
    lone["model"]["vocab"]["xyz"] = 300
    assert tiktoken_bpe.build(lone) is not None
    lone["model"]["ignore_merges"] = True
    assert tiktoken_bpe.build(lone) is None
    assert tiktoken_bpe.build({**_model(["a b"]), "normalizer": {"type": "NFC"}}) is None
    prefix = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    assert tiktoken_bpe.build({**_model(["a b"]), "pre_tokenizer": prefix}) is None
    assert tiktoken_bpe.build({**_model(["a b"]), "pre_tokenizer": {"type": "Whitespace"}}) is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12), st.text(alphabet="abcd", max_size=40))
def test_merges_that_pass_the_check_agree_on_every_text(picks, text):
    """Random merge lists over four letters: wherever `build` says yes, tiktoken does what tokenizers does."""
    tokens, merges = list("abcd"), []
    for left, right in picks:
        pair = (tokens[left % len(tokens)], tokens[right % len(tokens)])
        if pair not in merges:
            merges.append(pair)
            tokens += [] if "".join(pair) in tokens else ["".join(pair)]
    config = _model([" ".join(pair) for pair in merges])
    fast = tiktoken_bpe.build(config)
    if fast is not None:
        reference = Reference(models.BPE(vocab=config["model"]["vocab"], merges=merges))
        assert fast.encode(text).tolist() == reference.encode(text).ids


def test_a_pattern_that_only_tiktoken_knows(tmp_path):
    tokenizer = load(tiny_tokenizer.write(tmp_path, edit=tiny_tokenizer.split_by(r"\p{L}+|\p{N}|[^\p{L}\p{N}]+")))
    assert tokenizer.backend == "tiktoken"
    assert tokenizer.first_mismatch([*HARD, *tiny_tokenizer.TEXTS, "I'LL 12345\n\n  x"]) is None


def test_added_tokens_that_are_not_special_stay_with_tokenizers(tmp_path):
    """<think> of a reasoning model: part of the vocabulary, one token wherever it stands; tiktoken does the other texts."""
    added = tiny_tokenizer.data(tiny_tokenizer.write(tmp_path / "a"))["added_tokens"]
    think = {**added[0], "id": 340, "content": "<think>", "special": False}
    edit = {**tiny_tokenizer.split_by(r"\p{L}+|\P{L}+"), "added_tokens": [*added, think]}
    tokenizer = load(tiny_tokenizer.write(tmp_path / "b", edit=edit))
    assert tokenizer.vocab_size == 341
    assert tokenizer.backend == "tiktoken"
    assert tokenizer._tiktoken.encode("so <think> so") is None
    assert 340 in tokenizer.encode_batch(["so <think> so"])[0].tolist()
    assert tokenizer.first_mismatch(["so <think> so", "so"]) is None


def test_a_blank_run_too_long_for_tiktoken(tiny, capfd):
    text = "a" + " " * 1_000_000 + "b"
    assert tiny._tiktoken.encode(text) is None
    assert tiny.decode(tiny.encode_batch([text])[0]) == text
    assert "panicked" not in capfd.readouterr().err


def test_a_pattern_that_skips_characters_is_noticed():
    config = _model(["a b"])
    fast = tiktoken_bpe.FastBpe(r"\p{L}+", {bytes([b]): b for b in range(256)}, np.arange(256, dtype=np.uint32), [])
    assert fast.encode("ab").tolist() == [97, 98]
    assert fast.encode("a b") is None
    assert tiktoken_bpe.build(config).encode("ab cab").tolist() == [256, 220, 66, 256]


def test_first_mismatch_names_the_text(tiny, monkeypatch):
    right = tiny._compiled.encode
    wrong = lambda texts: [ids[:-1] if "vilja" in text.as_py() else ids for ids, text in zip(right(texts), texts, strict=True)]  # noqa: E731
    monkeypatch.setattr(tiny._compiled, "encode", wrong)
    assert tiny.first_mismatch(["tuul", "vilja", "vilja"]) == 1
    assert tiny.by_library().first_mismatch(["vilja"]) is None


# --- offsets ---


def test_offsets_cover_every_character(tiny):
    text = "Tere  õhtust,\n\n veski🙂"
    for ids, offsets in [tiny.encode_with_offsets(text)]:
        assert ids.tolist() == tiny.encode_batch([text])[0].tolist()
        covered = {i for start, end in offsets for i in range(start, end)}
        assert covered == set(range(len(text)))


# --- real tokenizers ---


def test_gpt2_ids(data):
    """Ids published with GPT-2: "Hello world" is 15496 995."""
    tokenizer = load(data / "tokenizers/gpt2", eos="per_document")
    assert tokenizer.backend == "compiled"
    assert tokenizer.vocab_size == 50257
    assert tokenizer.special == {"bos": None, "eos": 50256, "pad": None}
    assert tokenizer.encode_batch(["Hello world", "<|endoftext|>"])[0].tolist() == [15496, 995]
    assert 50256 not in tokenizer.encode_batch(["<|endoftext|>"])[0]
    assert tokenizer.first_mismatch([*HARD, *texts(data / "et_text/ud_ewt_train_2022.jsonl.zst", 20)]) is None


def test_gpt_neox(data):
    """NFC comes before its BPE; runs of blanks are added tokens, <|endoftext|> in a text is text."""
    tokenizer = load(data / "tokenizers/gpt_neox_20b", eos="per_document")
    assert tokenizer.backend == "compiled"
    assert (tokenizer.vocab_size, tokenizer.special) == (50277, {"bos": None, "eos": 0, "pad": 1})
    assert not tokenizer.is_lossless
    assert tokenizer.encode_batch(["Hello world"])[0].tolist() == [12092, 1533]
    assert tokenizer.encode_batch(["a    b"])[0].tolist() == [66, 50274, 67]
    assert 0 not in tokenizer.encode_batch(["a<|endoftext|>b"])[0]
    for text in texts(data / "et_text/ud_ewt_train_2022.jsonl.zst", 5):
        assert tokenizer.decode(tokenizer.encode_batch([text])[0]) == text


def test_mistral(data):
    import sentencepiece

    place = data / "tokenizers/mistral_v1/tokenizer.model"
    tokenizer, reference = load(place, bos="per_document"), sentencepiece.SentencePieceProcessor(model_file=str(place))
    assert (tokenizer.backend, tokenizer.library, tokenizer.vocab_size) == ("compiled", "sentencepiece", 32000)
    assert tokenizer.special == {"bos": 1, "eos": 2, "pad": None}
    for text in [*HARD, "Tere õhtust"]:
        assert tokenizer.encode_batch([text])[0].tolist() == reference.encode(text)
    assert tokenizer.decode(tokenizer.encode_batch(["Tere õhtust"])[0]) == "Tere õhtust"
    assert not {1, 2} & set(tokenizer.encode_batch(["<s> </s>"])[0].tolist())


@pytest.mark.slow
def test_tiktoken_splits_every_character_as_tokenizers_does(tiny):
    """The two libraries carry their own Unicode tables: each assigned character, between letters, digits and blanks."""
    lines = ["".join(f"a{c}b 1{c}2 {c} " for c in chars) for chars in every_character(64)]
    slow = tiny.by_library().encode_batch(lines)
    assert [i for i, line in enumerate(lines) if tiny._tiktoken.encode(line).tolist() != slow[i].tolist()] == []
