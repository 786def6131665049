"""New tokens on top of a tokenizer."""

from __future__ import annotations

import re

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from tests.train.vocab import small
from train.vocab import library
from train.vocab.base import bytes_of_token, merges_of, read_base, tokens_of
from train.vocab.grow import Grown, grow
from train.vocab.words import Coder

ASK = {"min_frequency": 1, "max_chars": 16, "coverage": 1.0}


def grown(config: dict, texts: list[str], n: int, **asked) -> Grown:
    return grow(config, lambda: texts, n, **{**ASK, **asked})


def ids(config: dict, text: str) -> list[int]:
    return library.ids_of(library.opened(config), [text])[0].tolist()


def lines_of(data, name: str, n_bytes: int) -> list[str]:
    import json

    whole = zstandard.ZstdDecompressor().stream_reader((data / name).read_bytes()).read(n_bytes).decode(errors="ignore")
    return [json.loads(line)["text"] for line in whole.split("\n")[:-1]]


def test_merges_by_hand():
    """Words ab, _abc twice and _abcd are cut into ab | _ ab c | _ ab c d. The pairs (_, ab) and (ab, c) stand 3 times, (c, d) once; of
    equals the lower ids come first: _ is 222 + 1 = its place among the letters, ab is 257."""
    base = small.byte_level([("a", "b")])
    made = grown(base, ["ab abc abc abcd"], 3)
    assert merges_of(made.config) == [("a", "b"), ("Ġ", "ab"), ("Ġab", "c"), ("Ġabc", "d")]
    blank, ab, c, d = (base["model"]["vocab"][token] for token in ("Ġ", "ab", "c", "d"))
    assert ab == 257 and max(tokens_of(base)) == 257
    assert made.pieces == {258: [blank, ab], 259: [blank, ab, c], 260: [blank, ab, c, d]}
    assert set(made.how.values()) == {"learned"}
    assert ids(made.config, "ab abc abcd ab") == [257, 259, 260, 258]


def test_a_pair_rarer_than_asked_is_no_token():
    made = grown(small.byte_level([("a", "b")]), ["ab abc abc abcd"], 3, min_frequency=2)
    assert [token for i, token in tokens_of(made.config).items() if i > 257] == ["Ġab", "Ġabc"]


def test_a_token_too_long_and_what_builds_on_it_are_left_out_and_others_come_instead():
    """Of xxxx yyy: xx stands twice in a word, so it comes first, then xxxx; at most 3 characters."""
    made = grown(small.byte_level(), ["xxxx", "xxxx", "yyy", "yyy"], 3, max_chars=3)
    assert sorted(token for i, token in tokens_of(made.config).items() if i > 256) == ["xx", "yy", "yyy"]


def test_text_that_teaches_nothing_is_an_error():
    with pytest.raises(CurateError, match="teach no new token"):
        grown(small.byte_level(), ["a b c"], 5, min_frequency=3)


def test_added_tokens_keep_their_ids():
    """tokenizers numbers those that the vocabulary lacks by the vocabulary's size, which grows."""
    blanks = {"id": 257, "content": "    ", "special": False, "normalized": True}
    base = small.byte_level(added=[blanks])
    made = grown(base, ["veski veski veski"], 4)
    inner = library.opened(made.config)
    assert inner.token_to_id("    ") == 257 and inner.token_to_id(small.END) == 0
    assert sorted(made.pieces) == [258, 259, 260, 261]
    assert ids(made.config, "x    y") == ids(base, "x    y")


def test_a_token_of_the_vocabulary_that_no_merge_reaches_stays_unreached():
    """`whole` has the id of "abc", and only a word that is nothing else takes it: merges that make it would change old texts."""
    base = small.byte_level([("a", "b")], whole=["abc"], ignore_merges=True)
    made = grown(base, ["xabc xabc xabc"], 9)
    assert made.config["model"]["vocab"]["abc"] == 258
    assert all("".join(pair) != "abc" for pair in merges_of(made.config))
    assert ids(made.config, "abc") == [258]


@given(
    st.lists(st.text(alphabet="ab c", min_size=1, max_size=12), min_size=1, max_size=8), st.text(alphabet="abc d", max_size=20)
)
@settings(deadline=None, max_examples=60)
def test_old_merges_first_then_the_new_ones(texts, other):
    """Against merges applied by hand: on any text, never more tokens than before, and the text comes back."""
    base = small.byte_level([("a", "b"), ("b", "c"), ("Ġ", "ab")])
    try:
        made = grown(base, texts, 6)
    except CurateError:
        return
    names = tokens_of(made.config)
    for text in (*texts, other):
        found = ids(made.config, text)
        words = re.findall(r" ?[^ ]+| +(?![^ ])| +", text)
        assert "".join(words) == text
        by_hand = [part for word in words for part in small.merged(word.replace(" ", "Ġ"), merges_of(made.config))]
        assert [names[i] for i in found] == by_hand
        assert len(found) <= len(ids(base, text))
        assert library.opened(made.config).decode(found) == text


def test_every_new_token_is_reached_alone(data):
    texts = lines_of(data, "et_text/aa_magazine.jsonl.zst", 400_000)
    base = read_base(str(data / "tokenizers/gpt_neox_20b"), None, "").config
    made = grown(base, texts, 300, min_frequency=2)
    alone = library.opened(made.config)
    assert len(made.pieces) == 300 and min(made.pieces) == 50277
    for i, parts in made.pieces.items():
        token = tokens_of(made.config)[i] if i == min(made.pieces) else alone.id_to_token(i)
        assert library.alone(alone, token) == [i]
        assert library.alone(library.opened(base), token) == parts if i % 50 == 0 else True


@pytest.mark.parametrize("name", ["gpt_neox_20b", "mistral_v1"])
def test_merges_are_those_of_an_independent_trainer(data, name):
    """The words of the text in old ids, counted again for every merge."""
    texts = lines_of(data, "et_text/aa_magazine.jsonl.zst", 60_000)
    base = read_base(str(data / "tokenizers" / name), None, "").config
    made = grown(base, texts, 40, min_frequency=2)
    coder = Coder(base)
    words = [[ord(char) - library.FIRST for char in word] for line in coder.lines(texts) for word in line.split(" ")]
    expected = small.learn(words, 40, 2)
    names = tokens_of(base)
    written = [("".join(names[i] for i in left), "".join(names[i] for i in right)) for left, right in expected]
    assert merges_of(made.config)[len(merges_of(base)) :] == written
    assert list(made.pieces.values()) == [list(left + right) for left, right in expected]


class TestPieces:
    """SentencePiece's kind: the whole text is one word to the library."""

    base = small.pieces("▁abcõ.12", [("▁", "a"), ("a", "b")])

    def words(self, text: str) -> list[list[str]]:
        names = tokens_of(self.base)
        (line,) = Coder(self.base).lines([text])
        return [[names[ord(char) - library.FIRST] for char in word] for word in line.split(" ")]

    def test_words_begin_at_blanks_and_end_where_the_kind_of_character_changes(self):
        assert self.words("ab  ca.b 12") == [["▁a", "b"], ["▁", "▁", "c", "a"], ["."], ["b"], ["▁"], ["1"], ["2"]]

    def test_bytes_stand_alone(self):
        assert self.words("bšc") == [["▁", "b"], ["<0xC5>"], ["<0xA1>"], ["c"]]

    def test_a_missing_character_becomes_a_token_before_merges(self):
        """š is 2 of 11 characters (the blank in front counts), so 9 of 11 are covered without it. Its bytes are 3 + 0xC5 and 3 + 0xA1."""
        made = grown(self.base, ["baššabacab"], 2, coverage=0.95)
        new = max(tokens_of(self.base)) + 1
        assert tokens_of(made.config)[new] == "š" and made.how[new] == "character" and made.pieces[new] == [200, 164]
        assert ids(made.config, "š") == [self.base["model"]["vocab"]["▁"], new]

    def test_what_covers_enough_needs_none(self):
        made = grown(self.base, ["cacacaš"], 1, coverage=0.8)
        assert [token for i, token in tokens_of(made.config).items() if made.how.get(i)] == ["ca"]

    def test_line_ends_stay_bytes(self):
        made = grown(self.base, ["ca\nca\nca\n"], 2)
        assert "\n" not in made.config["model"]["vocab"]

    def test_pieces_of_a_learned_token_are_old_ids_even_of_a_new_character(self):
        made = grown(self.base, ["šc šc šc"], 2, coverage=1.0)
        names = tokens_of(made.config)
        assert [names[i] for i in made.pieces] == ["š", "▁š"]
        assert made.pieces[max(made.pieces)] == [self.base["model"]["vocab"]["▁"], 200, 164]


def test_mistral_gets_words_not_marks(data):
    texts = lines_of(data, "et_text/aa_magazine.jsonl.zst", 400_000)
    base = read_base(str(data / "tokenizers/mistral_v1"), None, "").config
    made = grown(base, texts, 400, min_frequency=2)
    new = [tokens_of(made.config)[i] for i in made.pieces]
    assert len(new) == 400
    mixed = [token for token in new if len({(c.isalpha(), c.isdigit()) for c in token.replace("▁", "")}) > 1]
    assert mixed == [] and not any(re.search(r"\d", token) for token in new)
    assert all("▁" not in token.lstrip("▁") for token in new)
    assert bytes_of_token(base, "▁või") == " või".encode() and "▁või" in new


def test_a_llama_3_kind_keeps_control_tokens_template_and_whole_words(data):
    """Splitting by its regular expression, ignore_merges, control tokens that are not in the vocabulary, BOS by a template."""
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    controls = [{"id": 259 + k, "content": f"<|control_{k}|>", "special": True} for k in range(3)]
    base = small.byte_level([("a", "s"), ("Ġ", "as")], added=controls, ignore_merges=True)
    base["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, bytes_]}
    texts = lines_of(data, "et_text/aa_magazine.jsonl.zst", 60_000)
    made = grown(base, texts, 200, min_frequency=2)
    inner = library.opened(made.config)
    assert [inner.token_to_id(f"<|control_{k}|>") for k in range(3)] == [259, 260, 261]
    assert min(made.pieces) == 262 and len(made.pieces) == 200
    assert all(
        ids(made.config, bytes_of_token(base, inner.id_to_token(i)).decode()) == [i]
        for i in made.pieces
        if inner.id_to_token(i).isascii()
    )
    assert not {259, 260, 261} & set(ids(made.config, "<|control_1|>"))  # a text holds no control token
    for text in texts:
        assert inner.decode(ids(made.config, text)) == text
