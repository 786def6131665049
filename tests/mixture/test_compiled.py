"""The compiled encoder against the libraries: every text at hand, made-up ones, every character, random merges; ids by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from curate.recipe import TokenizerSpec
from mixture.tokenizer import compiled, kernels, load_tokenizer, pieces, tables
from mixture.tokenizer.byte_level import byte_of_char
from mixture.tokenizer.characters import classes
from tests.conftest import TOP
from tests.mixture import tiny_tokenizer
from tests.mixture.all_texts import every_character, every_text, strange

LLAMA3, QWEN2 = (tables.GPT4_PATTERN % digits for digits in (r"\p{N}{1,3}", r"\p{N}"))
NFC = {"type": "NFC"}


def added(i: int, content: str, **more) -> dict:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"id": i, "content": content, **plain, **more}


def config(merges: list[str] = [], **keys) -> dict:  # noqa: B006
    """A byte-level tokenizer.json with these merges; ids: the alphabet in its order, then the merged tokens."""
    vocab = dict.fromkeys(sorted(byte_of_char()))
    vocab.update(dict.fromkeys("".join(merge.split(" ")) for merge in merges))
    model = {"type": "BPE", "vocab": {token: i for i, token in enumerate(vocab)}, "merges": merges}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"model": model, "pre_tokenizer": byte_level, "normalizer": None, "added_tokens": [], **keys}


def library(config: dict) -> Tokenizer:
    found = Tokenizer.from_str(json.dumps({"version": "1.0", **config}))
    found.encode_special_tokens = True
    found.post_processor = None
    return found


def different(config: dict, texts: list[str]) -> list[str]:
    """Texts that the compiled encoder encodes, and otherwise than tokenizers. At least half of them must be its own."""
    reference = library(config)
    found = tables.of_tokenizer_json(json.loads(reference.to_str()))
    assert found is not None
    ours = compiled.CompiledBpe(found).encode(pa.array(texts, pa.large_string()))
    theirs = reference.encode_batch_fast(texts, add_special_tokens=False)
    assert sum(ids is not None for ids in ours) * 2 >= len(texts)
    return [text for text, a, b in zip(texts, ours, theirs, strict=True) if a is not None and a.tolist() != b.ids]


def gpt2(data: Path) -> dict:
    return load_tokenizer(TokenizerSpec(model=str(data / "tokenizers/gpt2")))._config


def variants(gpt2: dict) -> dict[str, dict]:
    """GPT-2's vocabulary under the rules of other tokenizers."""
    n = len(gpt2["model"]["vocab"])
    qwen = {**gpt2, **tiny_tokenizer.split_by(QWEN2), "normalizer": NFC}
    raw = [added(n, "<think>"), added(n + 1, "<|end"), added(n + 2, "of"), added(n + 3, "ﬁ")]
    blanks = [added(n + k, " " * (k + 2), normalized=True) for k in range(3)]
    covering = [added(n + 3, "text|>  ", normalized=True), added(0, "<|endoftext|>", normalized=True, special=True)]
    some = gpt2["model"]["merges"]
    return {
        "gpt2": gpt2,
        "llama3": {**gpt2, **tiny_tokenizer.split_by(LLAMA3)},
        "qwen2": qwen,
        "added, as they are": {**qwen, "added_tokens": [*gpt2["added_tokens"], *raw]},
        "added, after NFC, under a special one": {**gpt2, "normalizer": NFC, "added_tokens": [*blanks, *covering]},
        "ignore_merges": {**gpt2, "model": {**gpt2["model"], "ignore_merges": True, "merges": some[:20000]}},
        "a third of the merges": {**gpt2, "model": {**gpt2["model"], "merges": some[1000::3]}},
    }


# --- ids by hand ---


def test_merges_by_rank_from_the_left():
    """Ranks: ab, bc, abc. In "abcab" the two ab come first, then ab + c; in "bcbc" bc twice; the blank is a word's first letter."""
    made = config(["a b", "b c", "ab c"])
    ab, bc, abc = 256, 257, 258
    a, blank = made["model"]["vocab"]["a"], made["model"]["vocab"]["Ġ"]
    ours = compiled.CompiledBpe(tables.of_tokenizer_json(made))
    texts = ["abcab", "bcbc a", "a", "", "aab"]
    wanted = [[abc, ab], [bc, bc, blank, a], [a], [], [a, ab]]
    assert [ids.tolist() for ids in ours.encode(pa.array(texts, pa.large_string()))] == wanted
    assert [ids.tolist() for ids in ours.encode(pa.array(texts, pa.large_string()).slice(1, 2))] == wanted[1:3]


def test_a_word_that_is_one_token_whatever_the_merges_say():
    """With ignore_merges "cab" is looked up whole; "cabs" is not in the vocabulary, and merges never make cab."""
    made = config(["a b"])
    made["model"]["vocab"]["cab"] = 300
    made["model"]["ignore_merges"] = True
    ours = compiled.CompiledBpe(tables.of_tokenizer_json(made))
    vocab = made["model"]["vocab"]
    wanted = [[300], [vocab["c"], 256, vocab["s"]]]
    assert [ids.tolist() for ids in ours.encode(pa.array(["cab", "cabs"], pa.large_string()))] == wanted


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_forgetting_changes_nothing(monkeypatch, ignore_merges):
    """More words than the memory holds: it is emptied on the way, but for words that are one token whatever the merges say."""
    monkeypatch.setattr(compiled, "N_SLOTS", 1 << 10)
    made = config(["a b", "1 2"])
    made["model"]["vocab"]["cab"] = 300
    made["model"]["ignore_merges"] = ignore_merges
    words = [f"{'abc'[i % 3] * (i % 5 + 1)}x{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}b cab" for i in range(3000)]
    assert different(made, [" ".join(words), *words]) == []


# --- what it is for, and what not ---


def test_what_is_left_to_the_libraries():
    assert tables.of_tokenizer_json(config(["a b"])) is not None
    left = [
        config(normalizer={"type": "NFKC"}),
        config(pre_tokenizer={"type": "Whitespace"}),
        config(**tiny_tokenizer.split_by(r"\p{L}+|\P{L}+")),
        config(added_tokens=[added(300, "<x>", lstrip=True)]),
        config(added_tokens=[added(300, "<x>"), added(301, "<y>", normalized=True)]),
        config(added_tokens=[added(300, "e\u0301", normalized=True)], normalizer=NFC),
        {**config(), "model": {**config()["model"], "dropout": 0.1}},
        {**config(), "model": {"type": "Unigram", "vocab": [["a", 0.0]]}},
    ]
    no_letter = config()
    del no_letter["model"]["vocab"]["a"]
    assert [tables.of_tokenizer_json(one) for one in [*left, no_letter]] == [None] * 9


def test_pieces_that_are_left_to_sentencepiece(data):
    found = pieces.read_pieces((data / "tokenizers/mistral_v1/tokenizer.model").read_bytes())
    assert (len(found.text), found.is_bpe, found.byte_fallback, found.is_identity, found.puts_blank) == (32000, *[True] * 4)
    assert (found.text[1:4], found.kind[:4]) == (["<s>", "</s>", "<0x00>"], [pieces.UNKNOWN, *[pieces.CONTROL] * 2, pieces.BYTE])
    assert tables.of_pieces(found) is not None
    over_a_blank = pieces.Pieces([*found.text, "a▁b"], [*found.score, -9.0], [*found.kind, pieces.NORMAL], *[True] * 4)
    user_defined = pieces.Pieces([*found.text, "<x>"], [*found.score, 0.0], [*found.kind, pieces.USER_DEFINED], *[True] * 4)
    unigram = pieces.Pieces(found.text, found.score, found.kind, False, True, True, True)
    rules = pieces.Pieces(found.text, found.score, found.kind, True, True, False, True)
    assert [tables.of_pieces(one) for one in (over_a_blank, user_defined, unigram, rules)] == [None] * 4


def test_a_model_file_that_ends_early(data):
    model = (data / "tokenizers/mistral_v1/tokenizer.model").read_bytes()
    with pytest.raises(ValueError, match="ends inside a field"):
        pieces.read_pieces(model[:-3])


def test_younger_characters_are_left_to_the_library():
    ours = compiled.CompiledBpe(tables.of_tokenizer_json(config(["a b"])))
    young = next(chr(code) for code in range(0x1FFFF, 0, -1) if unicodedata.category(chr(code)) == "Cn")
    assert [ids is None for ids in ours.encode(pa.array(["ab", f"ab {young}", "ab"], pa.large_string()))] == [False, True, False]


def test_every_character_that_nfc_moves_is_marked():
    """Unmarked: in NFC alone, of class 0, and no second part of a composition."""
    marked = classes() & kernels.NOT_NFC != 0
    chars = [char for line in every_character(1) for char in line if unicodedata.category(char) != "Cn"]
    parts = [unicodedata.decomposition(char) for char in chars]
    seconds = {int(part, 16) for one in parts if one and one[0] != "<" for part in one.split(" ")[1:]} | {*range(0x1161, 0x1176)}
    wrong = [c for c in chars if not marked[ord(c)] and (unicodedata.combining(c) or not unicodedata.is_normalized("NFC", c))]
    assert wrong == [] and all(marked[code] for code in seconds)
    assert not marked[ord("õ")] and not marked[ord("한")] and marked[0x301] and marked[0x2126]


def test_text_that_is_not_in_nfc():
    made = config(["Ã µ"], normalizer=NFC)
    texts = [
        "o\u0303htu",
        "õhtu",
        "a\u0323\u0307",
        "a\u0307\u0323",
        "\u2126",
        "\u1112\u1161\u11ab",
        "\u0915\u093c",
        "a\u0d3c\u0308",
    ]
    assert different(made, texts) == []
    ours = compiled.CompiledBpe(tables.of_tokenizer_json(made)).encode(pa.array(texts, pa.large_string()))
    assert ours[0].tolist() == ours[1].tolist() and ours[0][0] == 256


# --- against the libraries ---


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12),
    st.lists(st.text(alphabet="abcd", min_size=1, max_size=30), min_size=1, max_size=20),
    st.integers(1, 12),
)
def test_random_merges_over_four_letters(picks, parts, times):
    """Merge lists in any order, also of tokens that a later merge makes; words long enough for the heap."""
    tokens, merges = list("abcd"), []
    for left, right in picks:
        pair = (tokens[left % len(tokens)], tokens[right % len(tokens)])
        if pair not in merges:
            merges.append(pair)
            tokens += [] if "".join(pair) in tokens else ["".join(pair)]
    made = config([" ".join(pair) for pair in merges[::-1]])
    assert different(made, [*parts, "".join(parts) * times, " ".join(parts)]) == []


@pytest.mark.parametrize("name", list(variants(config() | {"model": {"vocab": {}, "merges": []}})))
def test_made_up_texts(data, name):
    assert different(variants(gpt2(data))[name], strange(400, seed=1)) == []


@pytest.mark.parametrize("name", ["gpt_neox_20b", "mistral_v1"])
def test_made_up_texts_of_real_tokenizers(data, name):
    tokenizer = load_tokenizer(TokenizerSpec(model=str(data / "tokenizers" / name)))
    assert tokenizer.backend == "compiled"
    assert tokenizer.first_mismatch(strange(400, seed=2)) is None


def test_a_sentencepiece_model_as_tokenizer_json(data):
    place = data / "tokenizers/mistral_v1/tokenizer.model"
    texts = strange(400, seed=3)
    assert different(tiny_tokenizer.as_tokenizer_json(place), texts) == []
    theirs = SentencePieceProcessor(model_file=str(place)).encode(texts)
    ours = compiled.CompiledBpe(tables.of_tokenizer_json(tiny_tokenizer.as_tokenizer_json(place))).encode(
        pa.array(texts, pa.large_string())
    )
    assert [ids.tolist() for ids in ours] == theirs


@pytest.mark.slow
def test_no_byte_out_of_place(tmp_path, data):
    """The kernels with bounds checking, on made-up texts; that it is on is shown by a deliberate overrun."""
    code = """if True:
        import sys, numpy as np, pyarrow as pa
        from curate.recipe import TokenizerSpec
        from mixture.tokenizer import kernels, load_tokenizer
        from tests.mixture.all_texts import strange
        for name in ("gpt_neox_20b", "mistral_v1"):
            tokenizer = load_tokenizer(TokenizerSpec(model=f"{sys.argv[1]}/tokenizers/{name}"))
            print(sum(len(ids) > 0 for ids in tokenizer.encode_batch(strange(300, seed=4))))
        try:
            kernels.fill_pairs(np.zeros((1, 3), np.int64), np.full((2, 2), -1, np.int64))
        except IndexError:
            print("checked")
    """
    env = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code, str(data)]
    done = subprocess.run(command, cwd=TOP, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "checked" and int(done.stdout.split()[0]) > 250


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [tables.GPT2_PATTERN, LLAMA3, QWEN2])
def test_every_character_between_letters_digits_and_blanks(pattern):
    made = config(["a b"], **tiny_tokenizer.split_by(pattern))
    known = [c for line in every_character(1) for c in line if unicodedata.category(c) != "Cn"]
    lines = ["".join(f"a{c}b 1{c}2 {c} '{c}'\n{c}\t{c}{c}" for c in known[i : i + 64]) for i in range(0, len(known), 64)]
    assert different(made, lines) == []
    print(f"{pattern[:20]}...: ids equal around {len(known)} characters")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(variants(config() | {"model": {"vocab": {}, "merges": []}})))
def test_many_made_up_texts(data, name):
    texts = strange(20_000, seed=5)
    assert different(variants(gpt2(data))[name], texts) == []
    print(f"{name}: ids equal to tokenizers on {len(texts)} made-up texts, {sum(len(t.encode()) for t in texts) / 1e6:.1f} MB")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "gpt_neox_20b", "mistral_v1", "mistral_v1 as tokenizer.json"])
def test_every_text_at_hand(data, name):
    """Every string of every file of the shared data, and 20,000 made-up ones."""
    texts = [text for _, text in every_text(data)] + strange(20_000, seed=6)
    assert len(texts) > 400_000
    is_json = name.endswith("json")
    config = tiny_tokenizer.as_tokenizer_json(data / "tokenizers/mistral_v1/tokenizer.model") if is_json else {}
    tokenizer = None if is_json else load_tokenizer(TokenizerSpec(model=str(data / "tokenizers" / name)))
    for first in range(0, len(texts), 20_000):
        batch = texts[first : first + 20_000]
        if tokenizer is None:
            assert different(config, batch) == []
        else:
            assert (tokenizer.backend, tokenizer.first_mismatch(batch)) == ("compiled", None)
    print(f"{name}: ids equal to the library's on {len(texts)} texts, {sum(len(t.encode()) for t in texts) / 1e6:.1f} MB")


def test_arrays_come_from_the_kernel_as_they_are(data):
    """(n,) uint32, also for an empty column."""
    tokenizer = load_tokenizer(TokenizerSpec(model=str(data / "tokenizers/gpt2")))
    assert tokenizer.encode_column(pa.array([], pa.string())) == []
    (ids,) = tokenizer.encode_column(pa.array(["Hello world"]))
    assert ids.tolist() == [15496, 995] and ids.dtype == np.uint32
    with pytest.raises(pa.ArrowInvalid):
        tokenizer.encode_column(pa.array([b"ok", b"\xf7\xbf"], pa.binary()).view(pa.string()))
