"""The report on a text that fits on the screen, counted by hand."""

from __future__ import annotations

from tests.train.vocab import small
from train.vocab import fertility

MERGES = [("a", "b"), ("Ġ", "ab"), ("Å", "¡")]


def test_counts_by_hand():
    """ "ab ab cš!" is cut into ab | Ġab | Ġ c š ! before; without merges into 2 + 3 + 5 letters. š is 2 bytes."""
    configs = {"before": small.byte_level(MERGES), "after": small.byte_level()}
    found = fertility.measure(configs, [("et", "ab ab cš!"), ("en", "de"), ("et", "ab")])
    assert list(found) == ["en", "et"]
    data = found["et"].data()
    assert (data["documents"], data["chars"], data["bytes"], data["words"]) == (2, 11, 12, 4)
    before, after = data["tokenizers"]["before"], data["tokenizers"]["after"]
    assert before["tokens"] == 6 + 1 and after["tokens"] == 10 + 2
    assert before["tokens_per_word"] == 1.75 and before["tokens_per_char"] == 0.6364 and before["bytes_per_token"] == 1.7143
    assert before["tokens_per_byte"] == 0.5833 and after["bytes_per_token"] == 1.0
    # after a blank: Ġab 1 token three times, Ġ c š 3; without merges Ġ a b 3 three times, Ġ c and two bytes 4
    assert before["tokens_in_a_word"] == 1.5 and after["tokens_in_a_word"] == 3.25
    assert before["continued_words_ratio"] == 0.25 and after["continued_words_ratio"] == 1.0
    assert before["broken_tokens"] == 0 and after["broken_tokens"] == 2 and after["broken_tokens_ratio"] == 0.1667
    assert before["unknown_tokens"] == 0


def test_most_expensive_words():
    """cš costs 2 tokens more than one, once; de costs 2 more, twice; ab none, but is named last."""
    configs = {"before": small.byte_level(MERGES), "after": small.byte_level([("d", "e"), ("Ġ", "de")])}
    found = fertility.measure(configs, [("et", "ab cš de de")], n_expensive=3)["et"]
    assert [(row["word"], row["count"], row["tokens"]) for row in found.expensive] == [
        ("de", 2, {"before": 3, "after": 1}), ("cš", 1, {"before": 3, "after": 4}), ("ab", 1, {"before": 1, "after": 3}),
    ]  # fmt: skip
    screen = fertility.screen({"et": found}, "fertility")
    assert "de (2 x 3 -> 1)" in screen and "tokens" in screen


def test_pieces_count_bytes_of_missing_characters_and_no_line_end():
    """▁ a, then š as two bytes, then a line end, a whole character, as one."""
    found = fertility.measure({"it": small.pieces("▁a")}, [("et", "aš\n")])["et"].data()["tokenizers"]["it"]
    assert found["tokens"] == 5 and found["broken_tokens"] == 2


def test_unknown_tokens():
    config = small.pieces("▁a")
    config["model"]["byte_fallback"] = False
    found = fertility.measure({"it": config}, [("et", "aša")])["et"].data()["tokenizers"]["it"]
    assert found["tokens"] == 4 and found["unknown_tokens"] == 1


def test_a_text_without_words():
    found = fertility.measure({"it": small.byte_level()}, [("et", "...")])["et"].data()
    assert found["words"] == 0 and found["tokenizers"]["it"]["tokens_per_word"] is None
    assert "-" in fertility.screen(fertility.measure({"it": small.byte_level()}, [("et", "...")]), "x")
