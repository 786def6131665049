"""A chat template tried on made-up conversations before the first document: a template and what the recipe puts around it in,
warnings out, each with its remedy; CurateError where training would go wrong.

Imports errors, recipe and mixture.render.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

from curate.errors import CurateError
from curate.recipe import TokenizerSpec
from mixture.chat import SHIPPED
from mixture.render import ChatTemplate, Rendered, TemplateRefuses, encode_with_mask

SYSTEM = {"role": "system", "content": "jaama seadus"}
TURNS = [
    {"role": "user", "content": "küsib esimene"},
    {"role": "assistant", "content": "vastab esimene"},
    {"role": "user", "content": "küsib teine"},
    {"role": "assistant", "content": "vastab teine"},
]
LIKE_CONTROLS = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?s>|<(?:start|end)_of_turn>")
OURS = f"name one of ours: tokenizer: {{chat_template: {' | '.join(SHIPPED)}}}"

log = logging.getLogger(__name__)
_said: set[str] = set()


def probed(template: ChatTemplate, spec: TokenizerSpec) -> ChatTemplate:
    """`template`, tried; warnings are logged once per process."""
    for warning in probe(template, spec):
        if warning not in _said:
            _said.add(warning)
            log.warning("%s: %s", _where(template), warning)
    return template


def probe(template: ChatTemplate, spec: TokenizerSpec) -> list[str]:
    """What a user should know. Raises CurateError where the assistant's words would not be learned, others' would, no end of a turn
    would, or a row would begin with two BOS."""
    try:
        messages, whole = _first(template)
    except TemplateRefuses as refusal:
        return [f"it was not tried: it refuses two questions with their answers ({refusal.found})"]
    found = [
        *_strays(whole, template),
        *_blanks(whole, template),
        *_begin(whole, template, spec),
        *_stable(messages, whole, template),
    ]
    if len(messages) == len(TURNS):
        found += _system(template)
    if template.loss == "assistant":
        found += [*_answers(whole, template), *_ends(whole, template, spec)]
    return [*found, *_second_end(whole, template, spec), *_padding(whole, template)]


def _first(template: ChatTemplate) -> tuple[list[dict[str, str]], Rendered]:
    """Two turns of each; with a system message where the template insists on one."""
    try:
        return TURNS, template.render(TURNS)
    except TemplateRefuses:
        return [SYSTEM, *TURNS], template.render([SYSTEM, *TURNS])


def _where(template: ChatTemplate) -> str:
    return f"chat template of {template.tokenizer.files.name}"


def _strays(whole: Rendered, template: ChatTemplate) -> Iterator[str]:
    known = {whole.text[start:end].strip() for start, end, _ in whole.controls}
    for name in dict.fromkeys(LIKE_CONTROLS.findall(whole.text)):
        if name not in known:
            yield f"{name} is no special token of this tokenizer and is written as text; {OURS}, or add the token first (docs/alignment.md)"


def _blanks(whole: Rendered, template: ChatTemplate) -> Iterator[str]:
    """SentencePiece puts a blank before every piece of text, so one that the template writes after a special token comes second."""
    first, second, both, with_blank = (ids.tolist() for ids in template.tokenizer.encode_batch(["a", "x", "a x", " x"]))
    is_put_in = both == first + second
    if is_put_in and with_blank != second and any(whole.text[end : end + 1] == " " for _, end, _ in whole.controls):
        yield (
            "it writes a blank after a special token, where this tokenizer puts one in itself, so there are two; take the tokenizer.json "
            "of the model in place of tokenizer.model, or a template without these blanks"
        )


def _begin(whole: Rendered, template: ChatTemplate, spec: TokenizerSpec) -> Iterator[str]:
    bos, ids = template.tokenizer.special["bos"], encode_with_mask(template.tokenizer, whole)[0].tolist()
    if bos is None:
        return
    if ids[:2] == [bos, bos]:
        raise CurateError(
            "the chat template begins with two BOS tokens", where=_where(template), found=whole.text[:60],
            allowed="one, or none", next=f"take one out of the template, or {OURS}",
        )  # fmt: skip
    if ids.count(bos) > 1 and bos != template.tokenizer.special["eos"]:
        yield f"it writes BOS {ids.count(bos)} times in one conversation, so an answer may be preceded by one; {OURS}"
    if spec.bos == "per_document" and ids[0] != bos:
        yield (
            "bos: per_document puts a BOS in front that the template does not write, and whoever asks the model through the template "
            "will not have; say bos: none, or let the template write it"
        )


def _stable(messages: list[dict[str, str]], whole: Rendered, template: ChatTemplate) -> Iterator[str]:
    """The first turns of a conversation are written as they are without the later ones, and as when the model is asked."""
    for n, is_open in ((len(messages) - 2, False), (len(messages) - 1, True)):
        try:
            part = template.render(messages[:n], is_open=is_open)
        except TemplateRefuses:
            continue
        if not whole.text.startswith(part.text) and is_open:
            yield f"what it writes for a question, ready to be answered, is not what stands before the answer in training; {OURS}"
        elif not whole.text.startswith(part.text):
            yield (
                f"earlier turns are written in another way once there are later ones, so the model trains on what it will not see; {OURS}, "
                "or train on conversations of one answer"
            )


def _system(template: ChatTemplate) -> Iterator[str]:
    try:
        text = template.render([SYSTEM, *TURNS]).text
    except TemplateRefuses:
        return
    if SYSTEM["content"] not in text:
        yield f"it leaves the system message out; {OURS}, or drop those conversations: rules: [{{signal: n_system_words, max: 0}}]"


def _answers(whole: Rendered, template: ChatTemplate) -> Iterator[str]:
    learned = [message for message in [SYSTEM, *TURNS] if _span_of(message["content"], whole) is not None]
    others = [message["content"] for message in learned if message["role"] != "assistant"]
    if others:
        raise CurateError(
            "the chat template marks more than the assistant's words as generated", where=_where(template), found=others[0],
            allowed="{% generation %} around the assistant's turns alone", next=OURS,
        )  # fmt: skip
    if not learned:
        raise CurateError(
            "the chat template's generation markers enclose no answer, so nothing would be learned", where=_where(template),
            found="a mask of zeros", allowed="{% generation %} around the assistant's turns, not in a branch that is never taken", next=OURS,
        )  # fmt: skip
    if len(learned) == 1:
        yield f"only the answer `{learned[0]['content']}` of two is learned; {OURS}"


def _ends(whole: Rendered, template: ChatTemplate, spec: TokenizerSpec) -> Iterator[str]:
    """Who learns to stop: the token after an answer, inside its markers; or the EOS that the recipe puts after the last one."""
    tokenizer, eos = template.tokenizer, template.tokenizer.special["eos"]
    ids, mask = encode_with_mask(tokenizer, whole)
    adds_eos = spec.eos == "per_document" and ids[-1] != eos and mask[-1] == 1
    answers = [message["content"] for message in TURNS if message["role"] == "assistant" and _span_of(message["content"], whole)]
    ends = [_end_of(answer, whole) for answer in answers]
    if (outside := _after(answers[-1], whole)) is not None:
        raise CurateError(
            "the end of the assistant's turn stands outside the generation markers, so the model would never learn to stop",
            where=_where(template), found=outside, allowed=f"{{% generation %}}...{outside}{{% endgeneration %}}", next=OURS,
        )  # fmt: skip
    if not all(ends) and not adds_eos:
        raise CurateError(
            "nothing ends the assistant's turn, so the model would never learn to stop", where=_where(template),
            found=f"...{whole.text[-40:]}", allowed="an end-of-turn token inside the markers, or eos: per_document", next=OURS,
        )  # fmt: skip
    if not all(ends):
        yield f"only the last answer of a conversation ends with a token (the EOS of eos: per_document); {OURS}"
    elif eos is not None and eos not in ids[mask == 1] and not adds_eos:
        yield (
            f"answers end with {ends[-1].strip()}, which is not the tokenizer's EOS: whoever generates must stop there too; name its id "
            "in generation_config.json as eos_token_id"
        )


def _second_end(whole: Rendered, template: ChatTemplate, spec: TokenizerSpec) -> Iterator[str]:
    eos, ids = template.tokenizer.special["eos"], encode_with_mask(template.tokenizer, whole)[0].tolist()
    if spec.eos == "per_document" and eos in ids and ids[-1] != eos:
        yield "its turns end with the tokenizer's EOS, and eos: per_document puts another one behind the line break after the last; say eos: none"


def _span_of(words: str, whole: Rendered) -> tuple[int, int] | None:
    """The marked span that holds these words."""
    begin = whole.text.find(words)
    held = (span for span in whole.loss_spans if span[0] <= begin and begin + len(words) <= span[1])
    return next(held, None) if begin >= 0 else None


def _end_of(answer: str, whole: Rendered) -> str:
    """What is learned after the words of an answer: its end of turn, empty where there is none."""
    span = _span_of(answer, whole)
    return whole.text[whole.text.find(answer) + len(answer) : span[1]].strip() if span else ""


def _after(answer: str, whole: Rendered) -> str | None:
    """The special token right after an answer's markers, where nothing within them ends it."""
    span = _span_of(answer, whole)
    if span is None or _end_of(answer, whole):
        return None
    following = next((control for control in whole.controls if control[0] >= span[1]), None)
    is_next = following is not None and not whole.text[span[1] : following[0]].strip()
    return whole.text[following[0] : following[1]] if following is not None and is_next else None


def _padding(whole: Rendered, template: ChatTemplate) -> Iterator[str]:
    pad, eos = template.tokenizer.special["pad"], template.tokenizer.special["eos"]
    ids, mask = encode_with_mask(template.tokenizer, whole)
    if pad is not None and (pad == eos or pad in ids[mask == 1]):
        yield (
            "the pad token is also an end that is learned: our trainer goes by the loss mask, but one that hides padding by its id "
            "never learns to stop; give the tokenizer a pad_token of its own"
        )
