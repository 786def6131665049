"""Which old row a new token takes, and the old ids of its text."""

from __future__ import annotations

from tests.train.vocab import small
from train.vocab import id_map
from train.vocab.base import bytes_of_token, tokens_of


def test_equal_strings_between_vocabularies_of_one_kind():
    old, new = small.byte_level([("a", "b"), ("c", "d")]), small.byte_level([("c", "d"), ("d", "e")])
    found = id_map.matched(new, old, [])
    assert found[257] == 258 and 258 not in found  # cd; de is new
    assert found[0] == 0 and len(found) == 258


def test_equal_text_between_letters_of_bytes_and_pieces():
    """_a is Ġa there and ▁a here; the byte of a is not taken, as the letter a is."""
    old, new = small.byte_level([("Ġ", "a")]), small.pieces("▁a", [("▁", "a")])
    found = id_map.matched(new, old, [("</s>", small.END)])
    of_new = {token: i for i, token in tokens_of(new).items()}
    of_old = {token: i for i, token in tokens_of(old).items()}
    assert found[of_new["▁a"]] == of_old["Ġa"] and found[of_new["</s>"]] == 0
    assert sorted(i for i in (of_new["a"], of_new["<0x61>"]) if i in found) == [of_new["<0x61>"]]
    assert found[of_new["<0xC5>"]] == of_old["Å"]
    assert len(set(found.values())) == len(found)
    assert of_new["<unk>"] not in found and of_new["<s>"] not in found


def test_the_other_way_a_letter_wins_over_its_byte():
    old, new = small.pieces("▁a", [("▁", "a")]), small.byte_level([("Ġ", "a")])
    of_old = {token: i for i, token in tokens_of(old).items()}
    found = id_map.matched(new, old, [])
    of_new = {token: i for i, token in tokens_of(new).items()}
    assert found[of_new["a"]] == of_old["a"] and found[of_new["b"]] == of_old["<0x62>"] and found[of_new["Ġ"]] == of_old["▁"]


def test_pieces_are_ids_of_the_text_without_a_blank_in_front():
    old = small.pieces("▁abc", [("▁", "a"), ("a", "b")])
    of_old = {token: i for i, token in tokens_of(old).items()}
    new = small.byte_level([("Ġ", "a"), ("Ġa", "b"), ("a", "b"), ("Å", "¡"), ("a", "Å")])
    parts = id_map.pieces_of(new, old, [*range(257, 262), 0])
    assert [tokens_of(new)[i] for i in range(257, 262)] == ["Ġa", "Ġab", "ab", "Å¡", "aÅ"]
    assert parts == {
        257: [of_old["▁a"]], 258: [of_old["▁a"], of_old["b"]], 259: [of_old["ab"]], 260: [of_old["<0xC5>"], of_old["<0xA1>"]],
        261: [of_old["<0x61>"], of_old["<0xC5>"]],  # no whole characters: bytes
        0: [],
    }  # fmt: skip


def test_the_table_has_a_row_for_every_id():
    new = small.byte_level([("a", "b")])
    rows = id_map.table(new, {i: i for i in range(257)}, {257: [1, 2]}, {257: "learned"}).to_pylist()
    assert rows[257] == {"new_id": 257, "old_id": -1, "token": "ab", "pieces": [1, 2], "how": "learned"}
    assert rows[0] == {"new_id": 0, "old_id": 0, "token": small.END, "pieces": [0], "how": "kept"}
    assert [row["new_id"] for row in rows] == list(range(258))
    assert id_map.summary(id_map.table(new, {i: i for i in range(257)}, {257: [1, 2]}, {257: "learned"})) == {
        "vocab_size": 258, "kept": 257, "new": 1, "how": {"kept": 257, "learned": 1},
    }  # fmt: skip


def test_ids_that_no_token_has_keep_their_rows():
    hole = {"id": 300, "content": "<|far|>", "special": True}
    new = small.byte_level(added=[hole])
    rows = id_map.table(new, {i: i for i in range(301)}, {}, {})
    assert len(rows) == 301 and rows["token"][299].as_py() == "" and rows["old_id"][299].as_py() == 299


def test_text_of_tokens():
    bytes_, pieces = small.byte_level(), small.pieces("▁a")
    assert (
        bytes_of_token(bytes_, "Ġa") == b" a"
        and bytes_of_token(bytes_, "Å") == b"\xc5"
        and bytes_of_token(bytes_, "   ") == b"   "
    )
    assert (
        bytes_of_token(pieces, "▁a") == b" a"
        and bytes_of_token(pieces, "<0x0A>") == b"\n"
        and bytes_of_token(pieces, "õ") == "õ".encode()
    )
