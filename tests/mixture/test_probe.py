"""Chat templates tried before the first document: each fault alone, in a template that is otherwise right."""

from __future__ import annotations

import logging

import pytest

from curate.errors import CurateError
from curate.recipe import TokenizerSpec
from mixture.chat import SHIPPED
from mixture.probe import probe, probed
from mixture.render import load_template
from mixture.tokenizer import load_tokenizer
from tests.mixture import tiny_tokenizer
from tests.mixture.chat import words
from tests.mixture.chat.test_masks import FIXTURES

CONFIG = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
HEAD = "<|im_start|>{{ m.role }}\n"
ANSWER = "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
BREAK = "{{ '\n' }}"
OTHER = "{{ m.content }}<|im_end|>"


def turns(answer: str = ANSWER, other: str = OTHER, head: str = HEAD) -> str:
    told = f"{{% if m.role == 'assistant' %}}{answer}{{% else %}}{other}{{% endif %}}"
    return (
        f"{{% for m in messages %}}{head}{told}{{% endfor %}}{{% if add_generation_prompt %}}<|im_start|>assistant\n{{% endif %}}"
    )


def tried(tmp_path, source: str, loss: str = "assistant", config: dict | None = None, **spec) -> list[str]:
    folder = tiny_tokenizer.write(tmp_path / "t", template=source, config={**CONFIG, **(config or {})})
    made = TokenizerSpec(model=str(folder), **{"eos": "none", **spec})
    return probe(load_template(load_tokenizer(made), loss), made)


@pytest.mark.parametrize("loss", ["all", "assistant"])
def test_a_good_template_passes_in_silence(tmp_path, loss):
    assert tried(tmp_path, turns(), loss) == []
    assert tried(tmp_path, turns(), loss, eos="per_document") == []
    assert tried(tmp_path, "<s>" + turns(), loss, bos="per_document") == []


@pytest.mark.parametrize("name", SHIPPED)
def test_ours_pass(tmp_path, name):
    family = FIXTURES[name][0]
    ends = {"llama": "<|eot_id|>", "chatml": "<|im_end|>", "gemma": "<end_of_turn>"}
    config = {"eos_token": ends[family]} if family in ends else {"bos_token": "<s>", "eos_token": "</s>"}
    folder = words.write(tmp_path, family, [], config)
    spec = TokenizerSpec(model=str(folder), chat_template=name, eos="none")
    assert probe(load_template(load_tokenizer(spec), "assistant"), spec) == []


def test_an_end_of_turn_that_is_not_the_eos_is_said(tmp_path):
    """A base Llama's EOS is <|end_of_text|>: learned where the recipe puts it after the last answer, else nobody stops at it."""
    folder = words.write(tmp_path, "llama", [])
    for eos, n_said in (("none", 1), ("per_document", 0)):
        spec = TokenizerSpec(model=str(folder), chat_template="llama3.1", eos=eos)
        said = probe(load_template(load_tokenizer(spec), "assistant"), spec)
        assert [text for text in said if "answers end with <|eot_id|>, which is not the tokenizer's EOS" in text] == said
        assert len(said) == n_said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (turns("{% generation %}{% endgeneration %}" + OTHER), "enclose no answer"),
        (turns("{% if tools %}" + ANSWER + "{% else %}" + OTHER + "{% endif %}"), "enclose no answer"),
        (turns(other=ANSWER), "more than the assistant's words[^\n]*\n  found:   küsib esimene"),
        (turns("{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>"), "stands outside.*\n  found:   <|im_end|>"),
        (turns("{% generation %}{{ m.content }}\n{% endgeneration %}\n<|im_end|>"), "stands outside the generation markers"),
        (turns("{% generation %}{{ m.content }}{% endgeneration %}\n", "{{ m.content }}\n", "{{ m.role }}:"), "nothing ends"),
        ("<s><s>" + turns(), "begins with two BOS tokens"),
    ],
)
def test_what_would_spoil_the_training_is_an_error(tmp_path, source, said):
    with pytest.raises(CurateError, match=said) as caught:
        tried(tmp_path, source)
    assert "name one of ours" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "spec", "said"),
    [
        (turns(head="<s>" + HEAD), {}, "it writes BOS 4 times"),
        (turns(), {"bos": "per_document"}, "say bos: none, or let the template write it"),
        (turns(ANSWER + BREAK, OTHER + BREAK), {"eos": "per_document"}, "say eos: none"),
        (turns() + "{{ messages | length }}", {}, "earlier turns are written in another way"),
        (turns().replace("<|im_start|>assistant", "<|im_start|>model"), {}, "ready to be answered, is not what stands"),
        (turns(other="{% if m.role == 'user' %}" + OTHER + "{% endif %}"), {}, "leaves the system message out"),
        (turns("{% if loop.last %}" + ANSWER + "{% else %}" + OTHER + "{% endif %}"), {}, "only the answer `vastab teine` of two"),
        (turns(head="<|start_header_id|>{{ m.role }}\n"), {}, "<|start_header_id|> is no special token of this tokenizer"),
        ("{{ raise_exception('tools first') if not tools }}" + turns(), {}, "not tried.*tools first"),
        (
            turns("{% generation %}{{ m.content }}{% endgeneration %}", "{{ m.content }}\n", "{{ m.role }}:"),
            {"eos": "per_document"}, "only the last answer of a conversation ends with a token",
        ),
    ],
)  # fmt: skip
def test_what_may_be_meant_is_a_warning_with_its_remedy(tmp_path, source, spec, said):
    import re

    found = tried(tmp_path, source, **spec)
    assert [text for text in found if re.search(said.replace("|", r"\|"), text)], found
    assert all(any(word in text for word in ("name one of ours", "say bos", "say eos", "it was not tried")) for text in found)


def test_a_pad_token_that_is_learned(tmp_path):
    assert "pad token is also an end that is learned" in tried(tmp_path, turns(), config={"pad_token": "<|im_end|>"})[0]


def test_a_template_that_insists_on_a_system_message(tmp_path):
    insists = "{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}"
    assert tried(tmp_path, insists + turns()) == []
    with pytest.raises(CurateError, match="stands outside"):
        tried(tmp_path, insists + turns("{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>"))


def test_a_blank_that_sentencepiece_puts_in_itself(data, tmp_path):
    """Mistral's own tokenizer.model: "<s> [INST]" would begin with two blanks, "<s>[INST]" begins with one."""
    place = str(data / "tokenizers/mistral_v1")
    for blank, n_said in ((" ", 1), ("", 0)):
        source = SHIPPED["mistral-v1"].source.replace("'[INST] '", f"'{blank}[INST] '")
        (tmp_path / "t.jinja").write_text(source)
        spec = TokenizerSpec(model=place, chat_template=str(tmp_path / "t.jinja"))
        said = probe(load_template(load_tokenizer(spec), "assistant"), spec)
        assert [text for text in said if "so there are two; take the tokenizer.json" in text] == said
        assert len(said) == n_said


def test_a_warning_is_logged_once(tmp_path, caplog):
    folder = tiny_tokenizer.write(tmp_path, template=turns() + "{{ messages | length }}", config=CONFIG)
    spec = TokenizerSpec(model=str(folder), eos="none")
    made = load_template(load_tokenizer(spec), "assistant")
    with caplog.at_level(logging.WARNING):
        assert probed(made, spec) is made and probed(made, spec) is made
    assert len(caplog.records) == 2  # of a row, and of a question
    assert [record.getMessage() for record in caplog.records] == [
        f"chat template of {folder.name}: {warning}" for warning in probe(made, spec)
    ]


@pytest.mark.parametrize(
    ("name", "family", "said"),
    [
        ("llama3.1", "chatml", "no <|start_header_id|>, <|end_header_id|>, <|eot_id|>, a bos token"),
        ("chatml", "llama", "no <|im_start|>, <|im_end|>"),
        ("gemma", "llama", "no <start_of_turn>, <end_of_turn>"),
        ("mistral", "plain", "no [INST], [/INST], [AVAILABLE_TOOLS]"),
    ],
)
def test_a_familys_tokens_must_be_there(tmp_path, name, family, said):
    with pytest.raises(CurateError, match="lacks special tokens of its chat template") as caught:
        words.template(tmp_path, name, family, [])
    assert said in str(caught.value)


def test_a_name_that_is_none_of_ours(tmp_path):
    folder = words.write(tmp_path, "chatml", [])
    with pytest.raises(CurateError, match=r"no such chat template(.|\n)*one of ours \(llama3, llama3.1, llama3.2, chatml"):
        load_tokenizer(TokenizerSpec(model=str(folder), chat_template="chatlm"))
