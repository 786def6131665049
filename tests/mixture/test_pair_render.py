"""Pairs rendered and parted: tokens written out by hand, and each reason why there are none."""

from __future__ import annotations

import numpy as np
import pytest

from curate.recipe import TokenizerSpec
from mixture.pair_render import REFUSED, encode_pair
from mixture.render import ChatTemplate
from mixture.tokenizer import load_tokenizer
from tests.mixture import tiny_tokenizer

CHATML = tiny_tokenizer.CHATML  # ignores add_generation_prompt: the markers say where an answer begins
# Without markers, opened as vendors do; ends a turn with a token of its own.
PLAIN = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BARE = "{% for message in messages %}{{ message.role[0] }}: {{ message.content }}\n{% endfor %}{% if add_generation_prompt %}a: {% endif %}"
USER = [{"role": "user", "content": "ab"}]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A vocabulary whose letters stand alone, so that ids are those of characters; <|endoftext|> 0, <|im_start|> 1, <|im_end|> 2, <s> 3."""
    folder = tiny_tokenizer.write(tmp_path_factory.mktemp("tok"))
    return load_tokenizer(TokenizerSpec(model=str(folder)), lambda text, where="": folder)


def made(source: str, tokenizer) -> ChatTemplate:
    return ChatTemplate(source, tokenizer, "all")


def words(tokenizer, ids: np.ndarray) -> list[str]:
    return [tokenizer.decode(np.array([i], np.uint32)) for i in ids.tolist()]


@pytest.mark.parametrize("source", [CHATML, PLAIN])
def test_prompt_and_completions_by_hand(source, tokenizer):
    pair = encode_pair(made(source, tokenizer), USER, ("x", "yz"), None, None)
    assert pair.refused is None
    assert "".join(words(tokenizer, pair.prompt)) == "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\n"
    after = ["\n"] if source == PLAIN else []  # without markers all that follows is the completion, as TRL has it
    assert words(tokenizer, pair.chosen) == ["x", "<|im_end|>", *after]
    assert words(tokenizer, pair.rejected) == ["y", "z", "<|im_end|>", *after]
    n = pair.prompt.size
    assert np.array_equal(pair.tokens, np.concatenate([pair.prompt, pair.chosen, pair.prompt, pair.rejected]))
    assert pair.mask.tolist() == [0] * n + [1] * (2 + len(after)) + [0] * n + [1] * (3 + len(after))


def test_a_dialogue_learns_its_last_answer_alone(tokenizer):
    prompt = [*USER, {"role": "assistant", "content": "c"}, {"role": "user", "content": "d"}]
    pair = encode_pair(made(CHATML, tokenizer), prompt, ("x", "y"), None, None)
    assert "".join(words(tokenizer, pair.prompt)) == (
        "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\nc<|im_end|>\n<|im_start|>user\nd<|im_end|>\n<|im_start|>assistant\n"
    )
    assert words(tokenizer, pair.chosen) == ["x", "<|im_end|>"]


def test_bos_is_put_in_once_and_eos_only_where_no_special_token_ends(tokenizer):
    ended = encode_pair(made(CHATML, tokenizer), USER, ("x", "y"), 3, 0)
    assert ended.prompt[0] == 3 and words(tokenizer, ended.chosen) == ["x", "<|im_end|>"]
    bare = encode_pair(made("<s>" + BARE, tokenizer), USER, ("x", "y"), 3, 0)
    assert (bare.prompt == 3).sum() == 1 and bare.prompt[0] == 3
    assert words(tokenizer, bare.chosen) == ["x", "\n", "<|endoftext|>"] and bare.mask[-1] == 1


def test_special_strings_of_people_are_plain_text(tokenizer):
    pair = encode_pair(made(CHATML, tokenizer), USER, ("a<|im_end|>", "b"), None, None)
    assert (pair.chosen == 2).sum() == 1 and pair.chosen[-1] == 2 and tokenizer.decode(pair.chosen[:-1]) == "a<|im_end|>"


@pytest.mark.parametrize(
    ("source", "answers", "reason"),
    [
        (PLAIN, ("x ", "x"), "equal_completions"),
        (PLAIN, ("  ", "x"), "empty_completion"),
        ("{{ messages[-1].content }}{{ messages[0].content }}", ("x", "y"), "prompt_is_no_prefix"),  # the answer stands first
        ("{{ messages | length }}" + PLAIN, ("x", "y"), "prompt_is_no_prefix"),  # says how many turns there are
        ("{{ raise_exception('no') }}", ("x", "y"), "template_refuses"),
    ],
)
def test_what_is_no_pair_says_why(source, answers, reason, tokenizer):
    pair = encode_pair(made(source, tokenizer), USER, answers, None, None)
    assert pair.refused == reason and reason in REFUSED
    assert not pair.tokens.size and not pair.mask.size


def test_calls_in_a_prompt_that_the_template_cannot_write(tokenizer):
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    prompt = [*USER, {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "c"}]
    pair = encode_pair(made(CHATML, tokenizer), prompt, ("x", "y"), None, None)
    assert pair.refused == "no_calls_in_template" and pair.refused in REFUSED and not pair.tokens.size


def test_tokens_that_join_prompt_and_answer_must_not_differ(tokenizer):
    """` ja` is one token here: before "a" the prompt's last letters are not the tokens that they are before "x"."""
    template = made("{{ messages[0].content }}{% if messages | length > 1 %}{{ messages[1].content }}{% endif %}", tokenizer)
    assert words(tokenizer, tokenizer.encode_batch(["x ja"])[0]) == ["x", " ja"]
    pair = encode_pair(template, [{"role": "user", "content": "x j"}], ("a", "x"), None, None)
    assert pair.refused == "prompt_is_no_prefix"
