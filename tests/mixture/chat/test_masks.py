"""Every template of ours, token by token with its mask, written by hand: turns, system, functions, and what was cut off.

A list is [(mask, "token·token·..."), ...]; "·" parts the tokens. The tokenizer knows these words and no others (words.py).
"""

from __future__ import annotations

import pytest

from mixture.chat import SHIPPED
from tests.mixture.chat.words import SPECIAL, shown, template

SYSTEM = {"role": "system", "content": "Ole lahke."}
TURNS = [
    {"role": "user", "content": "Tere?"},
    {"role": "assistant", "content": "Tere, sina!"},
    {"role": "user", "content": "Aitäh."},
    {"role": "assistant", "content": "Palun."},
]
TOOLS = '[{"type": "function", "function": {"name": "ilm", "parameters": {"koht": "str"}}}]'
CALL = {"id": "abc", "type": "function", "function": {"name": "ilm", "arguments": '{"koht": "Tartu"}'}}
CALLS = [
    {"role": "user", "content": "Ilm?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "abc", "content": "5 kraadi"},
    {"role": "assistant", "content": "Viis."},
]

LLAMA3 = [
    (0, "<|begin_of_text|>·<|start_header_id|>·user·<|end_header_id|>·\n\n·Tere·?·<|eot_id|>"),
    (0, "<|start_header_id|>·assistant·<|end_header_id|>·\n\n"),
    (1, "Tere·,· ·sina·!·<|eot_id|>"),
    (0, "<|start_header_id|>·user·<|end_header_id|>·\n\n·Aitäh·.·<|eot_id|>"),
    (0, "<|start_header_id|>·assistant·<|end_header_id|>·\n\n"),
    (1, "Palun·.·<|eot_id|>"),
]
LLAMA3_SYSTEM = [
    (0, "<|begin_of_text|>·<|start_header_id|>·system·<|end_header_id|>·\n\n·Ole· ·lahke·.·<|eot_id|>"),
    (0, "<|start_header_id|>·user·<|end_header_id|>·\n\n·Tere·?·<|eot_id|>"),
    (0, "<|start_header_id|>·assistant·<|end_header_id|>·\n\n"),
    (1, "Tere·,· ·sina·!·<|eot_id|>"),
]
LLAMA3_OPEN = [
    (0, "<|begin_of_text|>·<|start_header_id|>·user·<|end_header_id|>·\n\n·Tere·?·<|eot_id|>"),
    (0, "<|start_header_id|>·assistant·<|end_header_id|>·\n\n"),
    (1, "Tere·,· ·sina·!·<|eot_id|>"),
    (0, "<|start_header_id|>·user·<|end_header_id|>·\n\n·Aitäh·.·<|eot_id|>"),
]
LLAMA3_CUT = [
    (0, "<|begin_of_text|>·<|start_header_id|>·user·<|end_header_id|>·\n\n·Tere·?·<|eot_id|>"),
    (0, "<|start_header_id|>·assistant·<|end_header_id|>·\n\n"),
    (1, "Tere·,"),
]

KNOWLEDGE = "Cutting· ·Knowledge· ·Date·:· ·December· ·2023·\n·Today· ·Date·:· ·26· ·Jul· ·2024·\n\n"
LLAMA31_HEAD = (0, "<|begin_of_text|>·<|start_header_id|>·system·<|end_header_id|>·\n\n·" + KNOWLEDGE + "·<|eot_id|>")
LLAMA31 = [
    LLAMA31_HEAD,
    (0, "<|start_header_id|>·user·<|end_header_id|>·\n\n·Tere·?·<|eot_id|>"),
    (0, "<|start_header_id|>·assistant·<|end_header_id|>·\n\n"),
    (1, "Tere·,· ·sina·!·<|eot_id|>"),
    (0, "<|start_header_id|>·user·<|end_header_id|>·\n\n·Aitäh·.·<|eot_id|>"),
    (0, "<|start_header_id|>·assistant·<|end_header_id|>·\n\n"),
    (1, "Palun·.·<|eot_id|>"),
]
LLAMA31_SYSTEM = [
    (0, "<|begin_of_text|>·<|start_header_id|>·system·<|end_header_id|>·\n\n·" + KNOWLEDGE + "·Ole· ·lahke·.·<|eot_id|>"),
    (0, "<|start_header_id|>·user·<|end_header_id|>·\n\n·Tere·?·<|eot_id|>"),
    (0, "<|start_header_id|>·assistant·<|end_header_id|>·\n\n"),
    (1, "Tere·,· ·sina·!·<|eot_id|>"),
]
LLAMA31_TOOLS = [
    (0, "<|begin_of_text|>·<|start_header_id|>·system·<|end_header_id|>·\n\n·Environment·:· ·ipython·\n"),
    (0, KNOWLEDGE + "·<|eot_id|>"),
    (0, "<|start_header_id|>·user·<|end_header_id|>·\n\n"),
    (0, "Given· ·the· ·following· ·functions·,· ·please· ·respond· ·with· ·a· ·JSON· ·for· ·a· ·function· ·call· "),
    (0, "with· ·its· ·proper· ·arguments· ·that· ·best· ·answers· ·the· ·given· ·prompt·.·\n\n"),
    (0, 'Respond· ·in· ·the· ·format· ·{·"·name·"·:· ·function· ·name·,· ·"·parameters·"·:· ·dictionary· ·of· ·argument· ·name'),
    (0, " ·and· ·its· ·value·}·.·Do· ·not· ·use· ·variables·.·\n\n"),
    (0, '{·\n· · · · ·"·type·"·:· ·"·function·"·,·\n· · · · ·"·function·"·:· ·{·\n'),
    (0, ' · · · · · · · ·"·name·"·:· ·"·ilm·"·,·\n'),
    (0, ' · · · · · · · ·"·parameters·"·:· ·{·\n'),
    (0, ' · · · · · · · · · · · ·"·koht·"·:· ·"·str·"·\n· · · · · · · · ·}·\n· · · · ·}·\n·}·\n\n'),
    (0, "Ilm·?·<|eot_id|>"),
    (0, "<|start_header_id|>·assistant·<|end_header_id|>·\n\n"),
    (1, '{·"·name·"·:· ·"·ilm·"·,· ·"·parameters·"·:· ·{·"·koht·"·:· ·"·Tartu·"·}·}·<|eot_id|>'),
    (0, '<|start_header_id|>·ipython·<|end_header_id|>·\n\n·"·5· ·kraadi·"·<|eot_id|>'),
    (0, "<|start_header_id|>·assistant·<|end_header_id|>·\n\n"),
    (1, "Viis·.·<|eot_id|>"),
]
LLAMA31_OPEN = [
    LLAMA31_HEAD,
    (0, "<|start_header_id|>·user·<|end_header_id|>·\n\n·Tere·?·<|eot_id|>"),
    (0, "<|start_header_id|>·assistant·<|end_header_id|>·\n\n"),
    (1, "Tere·,· ·sina·!·<|eot_id|>"),
    (0, "<|start_header_id|>·user·<|end_header_id|>·\n\n·Aitäh·.·<|eot_id|>"),
]
LLAMA31_CUT = [
    LLAMA31_HEAD,
    (0, "<|start_header_id|>·user·<|end_header_id|>·\n\n·Tere·?·<|eot_id|>"),
    (0, "<|start_header_id|>·assistant·<|end_header_id|>·\n\n"),
    (1, "Tere·,"),
]

CHATML = [
    (0, "<|im_start|>·user·\n·Tere·?·<|im_end|>·\n"),
    (0, "<|im_start|>·assistant·\n"),
    (1, "Tere·,· ·sina·!·<|im_end|>"),
    (0, "\n·<|im_start|>·user·\n·Aitäh·.·<|im_end|>·\n"),
    (0, "<|im_start|>·assistant·\n"),
    (1, "Palun·.·<|im_end|>"),
    (0, "\n"),
]
CHATML_SYSTEM = [
    (0, "<|im_start|>·system·\n·Ole· ·lahke·.·<|im_end|>·\n"),
    (0, "<|im_start|>·user·\n·Tere·?·<|im_end|>·\n"),
    (0, "<|im_start|>·assistant·\n"),
    (1, "Tere·,· ·sina·!·<|im_end|>"),
    (0, "\n"),
]
CHATML_TOOLS = [
    (0, "<|im_start|>·system·\n·#· ·Tools·\n\n"),
    (0, "You· ·may· ·call· ·one· ·or· ·more· ·functions· ·to· ·assist· ·with· ·the· ·user· ·query·.·\n\n"),
    (0, "You· ·are· ·provided· ·with· ·function· ·signatures· ·within· ·<·tools·>·<·/·tools·>· ·XML· ·tags·:·\n·<·tools·>·\n"),
    (0, '{·"·type·"·:· ·"·function·"·,· ·"·function·"·:· ·{·"·name·"·:· ·"·ilm·"·,· ·"·parameters·"·:· ·{'),
    (0, '"·koht·"·:· ·"·str·"·}·}·}·\n·<·/·tools·>·\n\n'),
    (0, "For· ·each· ·function· ·call·,· ·return· ·a· ·json· ·object· ·with· ·function· ·name· ·and· ·arguments· ·within· "),
    (0, "<·tool_call·>·<·/·tool_call·>· ·XML· ·tags·:·\n·<·tool_call·>·\n"),
    (0, '{·"·name·"·:· ·<·function·-·name·>·,· ·"·arguments·"·:· ·<·args·-·json·-·object·>·}·\n·<·/·tool_call·>·<|im_end|>·\n'),
    (0, "<|im_start|>·user·\n·Ilm·?·<|im_end|>·\n"),
    (0, "<|im_start|>·assistant·\n"),
    (
        1,
        '<·tool_call·>·\n·{·"·name·"·:· ·"·ilm·"·,· ·"·arguments·"·:· ·{·"·koht·"·:· ·"·Tartu·"·}·}·\n·<·/·tool_call·>·<|im_end|>',
    ),
    (0, "\n·<|im_start|>·user·\n·<·tool_response·>·\n·5· ·kraadi·\n·<·/·tool_response·>·<|im_end|>·\n"),
    (0, "<|im_start|>·assistant·\n"),
    (1, "Viis·.·<|im_end|>"),
    (0, "\n"),
]
CHATML_OPEN = [
    (0, "<|im_start|>·user·\n·Tere·?·<|im_end|>·\n"),
    (0, "<|im_start|>·assistant·\n"),
    (1, "Tere·,· ·sina·!·<|im_end|>"),
    (0, "\n·<|im_start|>·user·\n·Aitäh·.·<|im_end|>·\n"),
]
CHATML_CUT = [
    (0, "<|im_start|>·user·\n·Tere·?·<|im_end|>·\n"),
    (0, "<|im_start|>·assistant·\n"),
    (1, "Tere·,"),
]

GEMMA = [
    (0, "<bos>·<start_of_turn>·user·\n·Tere·?·<end_of_turn>·\n"),
    (0, "<start_of_turn>·model·\n"),
    (1, "Tere·,· ·sina·!·<end_of_turn>"),
    (0, "\n·<start_of_turn>·user·\n·Aitäh·.·<end_of_turn>·\n"),
    (0, "<start_of_turn>·model·\n"),
    (1, "Palun·.·<end_of_turn>"),
    (0, "\n"),
]
GEMMA_SYSTEM = [
    (0, "<bos>·<start_of_turn>·user·\n·Ole· ·lahke·.·\n\n·Tere·?·<end_of_turn>·\n"),
    (0, "<start_of_turn>·model·\n"),
    (1, "Tere·,· ·sina·!·<end_of_turn>"),
    (0, "\n"),
]
GEMMA_OPEN = [
    (0, "<bos>·<start_of_turn>·user·\n·Tere·?·<end_of_turn>·\n"),
    (0, "<start_of_turn>·model·\n"),
    (1, "Tere·,· ·sina·!·<end_of_turn>"),
    (0, "\n·<start_of_turn>·user·\n·Aitäh·.·<end_of_turn>·\n"),
]
GEMMA_CUT = [
    (0, "<bos>·<start_of_turn>·user·\n·Tere·?·<end_of_turn>·\n"),
    (0, "<start_of_turn>·model·\n"),
    (1, "Tere·,"),
]

MISTRAL = [
    (0, "<s>·[INST]· ·Tere·?·[/INST]"),
    (1, " ·Tere·,· ·sina·!·</s>"),
    (0, "[INST]· ·Aitäh·.·[/INST]"),
    (1, " ·Palun·.·</s>"),
]
MISTRAL_SYSTEM = [
    (0, "<s>·[INST]· ·Ole· ·lahke·.·\n\n·Tere·?·[/INST]"),
    (1, " ·Tere·,· ·sina·!·</s>"),
]
MISTRAL_TOOLS = [
    (0, '<s>·[AVAILABLE_TOOLS]· ·[·{·"·type·"·:· ·"·function·"·,· ·"·function·"·:· ·{·"·name·"·:· ·"·ilm·"·,· '),
    (0, '"·parameters·"·:· ·{·"·koht·"·:· ·"·str·"·}·}·}·]·[/AVAILABLE_TOOLS]·[INST]· ·Ilm·?·[/INST]'),
    (1, '[TOOL_CALLS]· ·[·{·"·name·"·:· ·"·ilm·"·,· ·"·arguments·"·:· ·{·"·koht·"·:· ·"·Tartu·"·}·,· '),
    (1, '"·id·"·:· ·"·abc·"·}·]·</s>'),
    (0, '[TOOL_RESULTS]· ·{·"·content·"·:· ·"·5· ·kraadi·"·,· ·"·call_id·"·:· ·"·abc·"·}·[/TOOL_RESULTS]'),
    (1, " ·Viis·.·</s>"),
]
MISTRAL_OPEN = [
    (0, "<s>·[INST]· ·Tere·?·[/INST]"),
    (1, " ·Tere·,· ·sina·!·</s>"),
    (0, "[INST]· ·Aitäh·.·[/INST]"),
]
MISTRAL_CUT = [
    (0, "<s>·[INST]· ·Tere·?·[/INST]"),
    (1, " ·Tere·,"),
]

MISTRAL_V1 = [  # no word of the template but <s> and </s> is one token
    (0, "<s>·[·INST·]· ·Tere·?· ·[·/·INST·]"),
    (1, " ·Tere·,· ·sina·!·</s>"),
    (0, "[·INST·]· ·Aitäh·.· ·[·/·INST·]"),
    (1, " ·Palun·.·</s>"),
]
MISTRAL_V1_SYSTEM = [
    (0, "<s>·[·INST·]· ·Ole· ·lahke·.·\n\n·Tere·?· ·[·/·INST·]"),
    (1, " ·Tere·,· ·sina·!·</s>"),
]
MISTRAL_V1_OPEN = [
    (0, "<s>·[·INST·]· ·Tere·?· ·[·/·INST·]"),
    (1, " ·Tere·,· ·sina·!·</s>"),
    (0, "[·INST·]· ·Aitäh·.· ·[·/·INST·]"),
]
MISTRAL_V1_CUT = [
    (0, "<s>·[·INST·]· ·Tere·?· ·[·/·INST·]"),
    (1, " ·Tere·,"),
]

BELOW = "<s>·Below· ·is· ·an· ·instruction· ·that· ·describes· ·a· ·task·.· ·Write· ·a· ·response· ·that· ·appropriately· "
ALPACA = [
    (0, BELOW + "·completes· ·the· ·request·.·\n\n"),
    (0, "#·#·#· ·Instruction·:·\n·Tere·?·\n\n·#·#·#· ·Response·:·\n"),
    (1, "Tere·,· ·sina·!·</s>"),
    (0, "\n\n·#·#·#· ·Instruction·:·\n·Aitäh·.·\n\n·#·#·#· ·Response·:·\n"),
    (1, "Palun·.·</s>"),
]
ALPACA_SYSTEM = [
    (0, "<s>·Ole· ·lahke·.·\n\n"),
    (0, "#·#·#· ·Instruction·:·\n·Tere·?·\n\n·#·#·#· ·Response·:·\n"),
    (1, "Tere·,· ·sina·!·</s>"),
]
ALPACA_OPEN = [
    (0, BELOW + "·completes· ·the· ·request·.·\n\n"),
    (0, "#·#·#· ·Instruction·:·\n·Tere·?·\n\n·#·#·#· ·Response·:·\n"),
    (1, "Tere·,· ·sina·!·</s>"),
    (0, "\n\n·#·#·#· ·Instruction·:·\n·Aitäh·.·\n\n"),
]
ALPACA_CUT = [
    (0, BELOW + "·completes· ·the· ·request·.·\n\n"),
    (0, "#·#·#· ·Instruction·:·\n·Tere·?·\n\n·#·#·#· ·Response·:·\n"),
    (1, "Tere·,"),
]

FIXTURES = {  # name -> family of special tokens, then turns, system, tools, without the last answer, cut inside an answer
    "llama3": ("llama", LLAMA3, LLAMA3_SYSTEM, None, LLAMA3_OPEN, LLAMA3_CUT),
    "llama3.1": ("llama", LLAMA31, LLAMA31_SYSTEM, LLAMA31_TOOLS, LLAMA31_OPEN, LLAMA31_CUT),
    "llama3.2": ("llama", LLAMA31, LLAMA31_SYSTEM, LLAMA31_TOOLS, LLAMA31_OPEN, LLAMA31_CUT),
    "chatml": ("chatml", CHATML, CHATML_SYSTEM, CHATML_TOOLS, CHATML_OPEN, CHATML_CUT),
    "gemma": ("gemma", GEMMA, GEMMA_SYSTEM, None, GEMMA_OPEN, GEMMA_CUT),
    "mistral": ("mistral", MISTRAL, MISTRAL_SYSTEM, MISTRAL_TOOLS, MISTRAL_OPEN, MISTRAL_CUT),
    "mistral-v1": ("plain", MISTRAL_V1, MISTRAL_V1_SYSTEM, None, MISTRAL_V1_OPEN, MISTRAL_V1_CUT),
    "alpaca": ("plain", ALPACA, ALPACA_SYSTEM, None, ALPACA_OPEN, ALPACA_CUT),
}
CASES = {
    "turns": (TURNS, None),
    "system": ([SYSTEM, *TURNS[:2]], None),
    "tools": (CALLS, TOOLS),
    "open": (TURNS[:3], None),
}
WRITTEN = [(name, case) for name, fixture in FIXTURES.items() for case, one in zip(CASES, fixture[1:], strict=False) if one]


def spelled(fixture: list[tuple[int, str]]) -> list[tuple[str, int]]:
    return [(token, mask) for mask, tokens in fixture for token in tokens.split("·")]


def words_of(name: str) -> list[str]:
    return [token for fixture in FIXTURES[name][1:] if fixture for token, _ in spelled(fixture)]


def test_every_template_has_its_fixtures():
    assert set(FIXTURES) == set(SHIPPED)


@pytest.mark.parametrize(("name", "case"), WRITTEN)
def test_tokens_and_mask(tmp_path, name, case):
    messages, tools = CASES[case]
    made = template(tmp_path, name, FIXTURES[name][0], words_of(name))
    wanted = spelled(FIXTURES[name][1 + list(CASES).index(case)])
    assert shown(made, messages, tools) == wanted


@pytest.mark.parametrize("name", FIXTURES)
def test_a_row_that_is_cut_learns_no_end(tmp_path, name):
    """A row that ends inside an answer: what is left of it is learned, its end-of-turn is not there to be learned."""
    wanted = spelled(FIXTURES[name][5])
    made = template(tmp_path, name, FIXTURES[name][0], words_of(name))
    ids, mask = made.encode(TURNS)
    cut = [(made.tokenizer.decode([i]), int(m)) for i, m in zip(ids[: len(wanted)], mask[: len(wanted)], strict=True)]
    assert cut == wanted
    ends = {"<|eot_id|>", "<|im_end|>", "<end_of_turn>", "</s>"}
    assert not ends & {token for token, learned in cut if learned}


@pytest.mark.parametrize("name", FIXTURES)
def test_only_the_assistant_is_left_out_of_a_prompt(tmp_path, name):
    """Rendered as a prompt, the text ends where the answer begins: prompt + answer is the conversation."""
    made = template(tmp_path, name, FIXTURES[name][0], words_of(name))
    prompt, whole = made.render(TURNS[:1], is_open=True), made.render(TURNS[:2])
    (begin, end) = whole.loss_spans[0]
    assert prompt.text == whole.text[:begin]
    assert whole.text[end:].strip() == ""


@pytest.mark.parametrize("name", FIXTURES)
def test_what_people_write_makes_no_control_token(tmp_path, name):
    """The special strings of the family in a question, a system message, an answer and a function's result are text."""
    family = FIXTURES[name][0]
    made, attack = template(tmp_path, name, family, []), " ".join(SPECIAL[family]) + " x"
    talks = [TURNS if name in ("mistral-v1", "alpaca", "gemma", "llama3") else [*TURNS, *CALLS], [SYSTEM, *TURNS]]
    for talk in talks:
        attacked = [{**message, "content": message["content"] and message["content"] + attack} for message in talk]
        plain, seen = made.render(talk), made.render(attacked)
        assert [control[2] for control in seen.controls] == [control[2] for control in plain.controls]
        assert seen.text.count(attack) == sum(bool(message["content"]) for message in talk)
