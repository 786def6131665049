"""A smaller vocabulary: what stays, its new numbers, and that kept texts are cut as before."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from tests.train.vocab import small
from train.vocab import library, trim
from train.vocab.base import merges_of, read_base, tokens_of
from train.vocab.select import renumbered, renumbered_settings, select

MERGES = [("a", "b"), ("b", "c"), ("ab", "c"), ("Ġ", "abc"), ("d", "e")]  # ab 257, bc 258, abc 259, Ġabc 260, de 261


def kept(config: dict, texts: list[str], **asked) -> dict[int, str]:
    asked = {"min_frequency": 1, "size": None, "keep": set(), **asked}
    return trim.chosen(config, trim.counted(config, texts), **asked)


def names(config: dict, found: dict[int, str], reason: str) -> list[str]:
    return [tokens_of(config)[i] for i, why in found.items() if why == reason]


def test_counts_by_hand():
    base = small.byte_level(MERGES)
    counts = trim.counted(base, ["abc abc", "abd"])
    assert counts.size == 262
    assert {tokens_of(base)[i]: int(n) for i, n in enumerate(counts) if n} == {"abc": 1, "Ġabc": 1, "ab": 1, "d": 1}


def test_what_stays_and_why():
    """_abc stands twice; its merges go through ab and abc, not through bc. de and bc stand nowhere."""
    base = small.byte_level(MERGES)
    found = kept(base, ["x abc abc"])
    assert names(base, found, "special") == [small.END]
    assert names(base, found, "frequent") == ["Ġabc"] and names(base, found, "part") == ["ab", "abc"]
    assert len(names(base, found, "byte")) == 256
    assert len(found) == 260


def test_frequency_at_its_bound():
    base = small.byte_level(MERGES)
    assert names(base, kept(base, ["de de bc", "de"], min_frequency=3), "frequent") == ["de"]
    assert names(base, kept(base, ["de de bc", "de"], min_frequency=4), "frequent") == []


def test_size_takes_the_most_frequent_that_fit():
    """de stands 3 times, _abc twice and needs two more, bc once: with room for two tokens de and bc."""
    base = small.byte_level(MERGES)
    text = ["de", "de", "de", " abc abc", "bc"]
    assert names(base, kept(base, text, size=259), "frequent") == ["bc", "de"]
    assert names(base, kept(base, text, size=261), "frequent") == ["Ġabc", "de"]
    assert len(kept(base, text, size=261)) == 261
    with pytest.raises(CurateError, match="no room") as caught:
        kept(base, text, size=256)
    assert caught.value.allowed.startswith("257 or more")


def test_listed_tokens_stay_in_the_vocabularys_letters_or_as_text():
    base = small.byte_level(MERGES)
    keep = trim.listed(base, [" abc", "bc"], "trim.keep")
    found = kept(base, ["x"], keep=keep)
    assert names(base, found, "listed") == ["bc", "Ġabc"] and names(base, found, "part") == ["ab", "abc"]
    with pytest.raises(CurateError, match="no such token") as caught:
        trim.listed(base, ["abcd"], "trim.keep")
    assert "abc" in caught.value.allowed
    assert trim.listed(small.pieces("▁ab", [("▁", "a")]), [" a"], "") == {262}


def test_a_token_taken_only_whole_needs_no_parts():
    base = small.byte_level(MERGES, whole=["deab"], ignore_merges=True)
    found = kept(base, ["deab"])
    assert names(base, found, "frequent") == ["deab"] and names(base, found, "part") == []
    config, new = select(base, found)
    assert library.ids_of(library.opened(config), ["deab"])[0].tolist() == [new[262]]


def test_new_numbers_everywhere():
    """Without ab to de the added token comes down to 257; a template and a pair of RoBERTa's kind say so, as does its setting."""
    mark = {"id": 262, "content": "<|mark|>", "special": True}
    template = {
        "type": "TemplateProcessing",
        "single": [],
        "pair": [],
        "special_tokens": {"<|mark|>": {"id": "<|mark|>", "ids": [262], "tokens": ["<|mark|>"]}},
    }
    roberta = {
        "type": "RobertaProcessing",
        "sep": ["<|mark|>", 262],
        "cls": [small.END, 0],
        "trim_offsets": True,
        "add_prefix_space": False,
    }
    base = {**small.byte_level(MERGES, added=[mark]), "post_processor": {"type": "Sequence", "processors": [template, roberta]}}
    config, new = select(base, kept(base, ["x"]))
    assert new[262] == 257 and len(new) == 258
    assert config["added_tokens"][1]["id"] == 257
    first, second = config["post_processor"]["processors"]
    assert (
        first["special_tokens"]["<|mark|>"]["ids"] == [257]
        and second["sep"] == ["<|mark|>", 257]
        and second["cls"] == [small.END, 0]
    )
    assert renumbered(None, new) is None
    assert renumbered_settings(
        {"added_tokens_decoder": {"0": {"content": small.END}, "261": {}, "262": {"content": "<|mark|>"}}}, new
    ) == {"added_tokens_decoder": {"0": {"content": small.END}, "257": {"content": "<|mark|>"}}}
    assert library.opened(config).token_to_id("<|mark|>") == 257


TEXT = st.text(alphabet="abcde ", max_size=14)


@given(
    st.lists(TEXT, min_size=1, max_size=5),
    TEXT,
    st.permutations(MERGES[:3] + MERGES[4:]),
    st.booleans(),
    st.sampled_from([1, 2, 3]),
)
@settings(deadline=None, max_examples=150)
def test_a_text_whose_tokens_stay_is_cut_as_before(texts, other, merges, whole, least):
    merges = [*sorted(merges, key=lambda pair: len("".join(pair)) > 2), ("Ġ", "abc")]  # a merge's parts come before it
    base = small.byte_level(merges, ignore_merges=whole)
    found = kept(base, texts, min_frequency=least)
    config, new = select(base, found)
    before, after = library.opened(base), library.opened(config)
    for text in (*texts, other):
        old = library.ids_of(before, [text])[0].tolist()
        if all(i in new for i in old):
            assert library.ids_of(after, [text])[0].tolist() == [new[i] for i in old]
        assert after.decode(library.ids_of(after, [text])[0].tolist()) == text


@given(st.lists(st.text(alphabet="abcš ", max_size=12), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_the_same_with_pieces_and_bytes(texts):
    base = small.pieces("▁abc", [("▁", "a"), ("a", "b"), ("▁a", "b"), ("ab", "c"), ("▁ab", "c")])
    assume(any(texts))
    config, new = select(base, kept(base, texts))
    assert {0, 1, 2} < set(new) and set(range(3, 259)) < set(new)
    before, after = library.opened(base), library.opened(config)
    for old, ids in zip(library.ids_of(before, texts), library.ids_of(after, texts), strict=True):
        assert ids.tolist() == [new[i] for i in old.tolist()]


def test_every_kept_token_is_still_reached(data):
    """GPT-NeoX counted on English text: each kept token that the old merges reach alone, the kept ones reach alone."""
    whole = (
        zstandard.ZstdDecompressor()
        .stream_reader((data / "en_text/18f_posts.jsonl.zst").read_bytes())
        .read(300_000)
        .decode(errors="ignore")
    )
    texts = [json.loads(line)["text"] for line in whole.split("\n")[:-1]]
    base = read_base(str(data / "tokenizers/gpt_neox_20b"), None, "").config
    config, new = select(base, kept(base, texts, min_frequency=2))
    before, after = library.opened(base), library.opened(config)
    added = {token["id"] for token in base["added_tokens"]}
    reached = [i for i in new if i not in added and library.alone(before, before.id_to_token(i)) == [i]]
    assert len(reached) > 3000
    assert all(library.alone(after, before.id_to_token(i)) == [new[i]] for i in reached)
    assert len(config["model"]["merges"]) < len(merges_of(base)) / 5
    counts = trim.counted(base, texts)
    assert np.all([counts[i] < 2 for i in tokens_of(base) if i not in new])
