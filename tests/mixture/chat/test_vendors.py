"""Our templates write what the vendors' write: TRL's copies of those, rendered by transformers, token by token on a real vocabulary;
mistral-common's own tokens, written down here; what differs on purpose is said.

TRL has Llama 3, 3.1, 3.2, Gemma, Gemma 3 and Qwen 3 (ChatML with functions); it has no plain ChatML, Mistral or Alpaca.
"""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import pytest
import zstandard

from curate.errors import CurateError
from curate.recipe import TokenizerSpec
from mixture.render import load_template
from mixture.tokenizer import load_tokenizer
from tests.mixture.chat.test_masks import CALL, CALLS, SYSTEM, TOOLS, TURNS
from tests.mixture.chat.words import SPECIAL, template

BEGIN = {"llama": "<|begin_of_text|>", "gemma": "<bos>", "chatml": None}
TWO_TOOLS = json.dumps(
    [
        *json.loads(TOOLS),
        {"type": "function", "function": {"name": "kell", "description": "Kellaaeg: „täpne“", "parameters": {}}},
    ],
    ensure_ascii=False,
)
TWO_CALLS = [
    CALLS[0],
    {**CALLS[1], "tool_calls": [CALL, {**CALL, "function": {"name": "kell", "arguments": "{}"}}]},
    CALLS[2],
    {"role": "tool", "tool_call_id": "def", "content": '{"kell": "õhtu"}'},
    CALLS[3],
]


@pytest.fixture(scope="module")
def place(data, tmp_path_factory):
    """family -> a folder with GPT-NeoX's vocabulary and the family's special tokens at its end."""
    found = {}
    for family in ("llama", "chatml", "gemma"):
        made = json.loads((data / "tokenizers/gpt_neox_20b/tokenizer.json").read_text(encoding="utf-8"))
        first = 1 + max(token["id"] for token in made["added_tokens"])
        names = [name for name in SPECIAL[family] if name not in {token["content"] for token in made["added_tokens"]}]
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        made["added_tokens"] += [{"id": first + i, "content": name, **flags} for i, name in enumerate(names)]
        found[family] = tmp_path_factory.mktemp(family)
        (found[family] / "tokenizer.json").write_text(json.dumps(made), encoding="utf-8")
    return found


def theirs(name: str) -> str:
    spec = importlib.util.find_spec("trl")
    assert spec is not None and spec.submodule_search_locations
    return (Path(spec.submodule_search_locations[0]) / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def objects(messages: list[dict]) -> list[dict]:
    """With the arguments of calls as transformers wants them."""

    def call(one: dict) -> dict:
        return {**one, "function": {**one["function"], "arguments": json.loads(one["function"]["arguments"])}}

    return [{**m, "tool_calls": [call(one) for one in m["tool_calls"]]} if "tool_calls" in m else m for m in messages]


def instructions(data: Path) -> list[list[dict]]:
    """Real ones, in Estonian and English, 30 of each, two of them a conversation of two turns."""
    found = []
    for name in ("alpaca_est_seed", "self_instruct_seed_en"):
        with open(data / f"instruct/{name}.jsonl.zst", "rb") as file:
            lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n")
            rows = [json.loads(line) for _, line in zip(range(60), lines, strict=False)]
        turns = [
            [
                {"role": "user", "content": f"{row['instruction']}\n{row['instances'][0]['input']}"},
                {"role": "assistant", "content": row["instances"][0]["output"]},
            ]
            for row in rows
        ]
        found += [a + b for a, b in zip(turns[::2], turns[1::2], strict=True)]
    return found


PAIRS = [  # ours, family, TRL's copy of the vendor's, may it have a system message, functions
    ("llama3", "llama", "llama3", True, False),
    ("llama3.1", "llama", "llama3_1", True, True),
    ("llama3.2", "llama", "llama3_2", True, True),
    ("gemma", "gemma", "gemma", False, False),
    ("gemma", "gemma", "gemma3", True, False),
    ("chatml", "chatml", "qwen3_instruct_2507", True, True),
]


@pytest.mark.parametrize(("ours", "family", "vendor", "has_system", "has_tools"), PAIRS)
def test_ids_are_those_of_the_vendors_template(place, data, ours, family, vendor, has_system, has_tools):
    from transformers import PreTrainedTokenizerFast

    made = load_template(load_tokenizer(TokenizerSpec(model=str(place[family]), chat_template=ours)), "assistant")
    special = {"bos_token": BEGIN[family]} if BEGIN[family] else {}
    reference = PreTrainedTokenizerFast(tokenizer_file=str(place[family] / "tokenizer.json"), **special)
    # the clock of Llama 3.2's template stands still
    source = theirs(vendor).replace('strftime_now("%d %b %Y")', '"26 Jul 2024"')
    cases = [(talk, None) for talk in [TURNS, TURNS[:3], *instructions(data)]]
    cases += [([SYSTEM, *talk], None) for talk in [TURNS, *instructions(data)[:10]] if has_system]
    cases += [([*head, *CALLS], tools) for head in ([], [SYSTEM]) for tools in (TOOLS, TWO_TOOLS) if has_tools]
    cases += [(TWO_CALLS, TWO_TOOLS)] if ours == "chatml" else []  # Llama makes one call a turn
    for messages, tools in cases:
        wanted = reference.apply_chat_template(
            objects(messages), tools=json.loads(tools) if tools else None, chat_template=source, return_dict=True
        )
        ids, mask = made.encode(messages, tools=tools)
        assert ids.tolist() == wanted["input_ids"]
        assert mask.any()


def test_the_mask_is_that_of_trls_training_template(place, data):
    """Llama 3, the one of ours that TRL has. Its Gemma and Qwen 3 also learn the line break after the end of the turn."""
    from transformers import PreTrainedTokenizerFast

    for ours, family, vendor in (
        ("llama3", "llama", "llama3_training"),
        ("gemma", "gemma", "gemma_training"),
        ("chatml", "chatml", "qwen3_instruct_2507_training"),
    ):
        made = load_template(load_tokenizer(TokenizerSpec(model=str(place[family]), chat_template=ours)), "assistant")
        special = {"bos_token": BEGIN[family]} if BEGIN[family] else {}
        reference = PreTrainedTokenizerFast(tokenizer_file=str(place[family] / "tokenizer.json"), **special)
        end = made.tokenizer.controls.get(SPECIAL[family][-1], {}).get("id")
        assert end is not None
        for messages in [TURNS, *instructions(data)[:20]]:
            wanted = reference.apply_chat_template(
                messages, chat_template=theirs(vendor), return_dict=True, return_assistant_tokens_mask=True
            )
            ids, mask = made.encode(messages)
            assert ids.tolist() == wanted["input_ids"]
            more = [i for i, (m, w) in enumerate(zip(mask, wanted["assistant_masks"], strict=True)) if m != w]
            if ours == "llama3":
                assert more == []
            else:  # one token a turn more in theirs: the line break after the end
                assert all(wanted["assistant_masks"][i] == 1 and ids[i - 1] == end for i in more)
                assert len(more) == sum(m["role"] == "assistant" for m in messages)


def test_mistral_v1_gives_mistral_commons_tokens(data):
    """The tokens of mistral-common 1.13.1 (tokenizer.model.v1, encode_chat_completion) for these two conversations."""
    spec = TokenizerSpec(model=str(data / "tokenizers/mistral_v1"), chat_template="mistral-v1")
    made = load_template(load_tokenizer(spec), "assistant")
    first = ["▁[", "INST", "]", "▁T", "ere", "?", "▁[", "/", "INST", "]"]
    second = ["▁[", "INST", "]", "▁A", "it", "äh", ".", "▁[", "/", "INST", "]"]
    system = ["▁[", "INST", "]", "▁O", "le", "▁la", "h", "ke", ".", "<0x0A>", "<0x0A>", "T", "ere", "?", "▁[", "/", "INST", "]"]
    answer, thanks = ["▁T", "ere", ",", "▁s", "ina", "!", "</s>"], ["▁Pal", "un", ".", "</s>"]
    for messages, parts in (
        (TURNS, [(0, ["<s>"]), (0, first), (1, answer), (0, second), (1, thanks)]),
        ([SYSTEM, *TURNS], [(0, ["<s>"]), (0, system), (1, answer), (0, second), (1, thanks)]),
    ):
        ids, mask = made.encode(messages)
        shown = [(made.tokenizer._inner.id_to_piece(int(i)), int(m)) for i, m in zip(ids, mask, strict=True)]
        assert shown == [(piece, learned) for learned, pieces in parts for piece in pieces]


def test_mistral_writes_mistral_commons_text(tmp_path):
    """mistral-common 1.13.1 (tokenizer V3), its ▁ as blanks; it has the system message and the functions in the last user turn."""
    made = template(tmp_path, "mistral", "mistral", [])
    assert made.render(TURNS).text == "<s>[INST] Tere?[/INST] Tere, sina!</s>[INST] Aitäh.[/INST] Palun.</s>"
    assert made.render([SYSTEM, *TURNS[:2]]).text == "<s>[INST] Ole lahke.\n\nTere?[/INST] Tere, sina!</s>"
    called = '[TOOL_CALLS] [{"name": "ilm", "arguments": {"koht": "Tartu"}, "id": "abc"}]</s>'
    result = '[TOOL_RESULTS] {"content": "5 kraadi", "call_id": "abc"}[/TOOL_RESULTS] Viis.</s>'
    tool = '{"type": "function", "function": {"name": "ilm", "parameters": {"koht": "str"}}}'
    wanted = f"<s>[AVAILABLE_TOOLS] [{tool}][/AVAILABLE_TOOLS][INST] Ilm?[/INST]{called}{result}"
    assert made.render(CALLS, tools=TOOLS).text == wanted
    calls = '{"name": "ilm", "arguments": {"koht": "Tartu"}, "id": "abc"}, {"name": "kell", "arguments": {}, "id": "abc"}'
    results = '[TOOL_RESULTS] {"content": {"kell": "õhtu"}, "call_id": "def"}[/TOOL_RESULTS] Viis.</s>'
    text = made.render(TWO_CALLS).text
    assert f"[TOOL_CALLS] [{calls}]</s>" in text and text.endswith(results)


@pytest.mark.parametrize(
    ("name", "family", "messages", "tools", "said"),
    [
        ("llama3.1", "llama", TWO_CALLS, TWO_TOOLS, "one function call in a turn"),
        ("llama3.1", "llama", [CALLS[0], {**CALLS[1], "content": "Vaatan."}], TOOLS, "no words beside a function call"),
        ("llama3.1", "llama", CALLS[3:], TOOLS, "does not begin with one"),
        ("mistral", "mistral", [CALLS[0], {**CALLS[1], "content": "Vaatan."}], TOOLS, "no words beside a function call"),
        ("mistral", "mistral", [TURNS[0], TURNS[0]], None, "two turns of the user"),
        ("mistral", "mistral", TURNS[1:], None, "user first, and here is assistant"),
        ("gemma", "gemma", [TURNS[0], TURNS[0]], None, "take turns, and here is user"),
        ("alpaca", "plain", [TURNS[0], SYSTEM], None, "take turns, and here is system"),
        ("mistral-v1", "plain", TURNS[1:], None, "take turns, and here is assistant"),
    ],
)
def test_what_a_family_cannot_write_is_refused(tmp_path, name, family, messages, tools, said):
    """Rather than left out without a word, as some published templates do."""
    with pytest.raises(CurateError, match=said):
        template(tmp_path, name, family, []).render(messages, "document 7", tools)
