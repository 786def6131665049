"""Conversations to tokens: messages and a chat template in, text, control tokens and loss spans out, then ids and a loss mask.

The template is rendered by transformers' own Jinja environment, with its `{% generation %}` spans. What the template writes may
be a control token; what a user wrote never is: special strings inside messages are fenced by two characters the conversation does
not hold, before the template sees them, and encoded as plain text.
Imports errors, mixture.chat and mixture.tokenizer; the only home of transformers and jinja2 in mixture.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from curate.errors import CurateError
from mixture.chat import SHIPPED, shipped_as
from mixture.tokenizer import Tokenizer

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it would warn that there is no torch, which nobody needs here

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")  # transformers' own test for the markers
CLOCK = {"strftime_now", "now"}
CHANCE = {"lipsum"}
PRIVATE_USE = range(0xF0000, 0xFFFFE)  # plane 15: where the two fence characters are looked for
WRITE_CALLS = [name for name, ours in SHIPPED.items() if "tool_calls" in ours.source]


class TemplateRefuses(CurateError):
    """No fault of the template: it raised an exception of its own (two users in a row, say), it cannot write what the conversation has, or
    nothing in it is learned. `reason`: which of them, as left_out.parquet has it."""

    def __init__(
        self, what: str, *, where: str, found: str, reason: str = "template_refuses", allowed: str = "", next: str = ""
    ) -> None:
        super().__init__(what, where=where, found=found, allowed=allowed, next=next)
        self.reason = reason


@dataclass(frozen=True)
class Rendered:
    """One conversation as the model will see it. Positions are characters of `text`, half-open."""

    text: str
    controls: list[tuple[int, int, int]]  # start, end, id, in order, disjoint
    loss_spans: list[tuple[int, int]]  # what the template marks as generated, in order


@dataclass
class ChatTemplate:
    """A checked template for one tokenizer and one loss."""

    source: str
    tokenizer: Tokenizer
    loss: str  # "all" | "assistant"
    _controls: re.Pattern[str] = field(init=False, repr=False)
    reads_tools: bool = field(init=False)  # a template that does not leaves the tools of a conversation out
    writes_calls: bool = field(init=False)

    def __post_init__(self) -> None:
        self.reads_tools, self.writes_calls = bool(re.search(r"\btools\b", self.source)), "tool_calls" in self.source
        names = sorted(self.tokenizer.controls, key=len, reverse=True)
        self._controls = re.compile("|".join(map(re.escape, names)) or r"(?!)")

    def render(
        self, messages: list[dict[str, Any]], where: str = "", tools: str | None = None, *, is_open: bool = False
    ) -> Rendered:
        """One conversation, [{role, content, tool_calls?, ...}], and its tools as JSON text of a list. `where` names the document in errors
        (the template refused it, or would leave its tool calls out). `is_open`: as a prompt, up to where the assistant begins."""
        from jinja2.exceptions import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        if not self.writes_calls and any(one.get("tool_calls") for one in messages):
            raise TemplateRefuses(
                "the chat template writes no tool calls, and a conversation has some", where=where, found="tool_calls",
                reason="no_calls_in_template",
                allowed="a template that reads message.tool_calls",
                next=f"tokenizer: {{chat_template: {' | '.join(WRITE_CALLS)}}}, a file, or rules: [{{signal: n_tool_calls, max: 0}}]",
            )  # fmt: skip
        messages, given = _with_objects(messages), json.loads(tools) if tools and self.reads_tools else None
        given = [given] if isinstance(given, dict) else given
        fence = _fence(json.dumps([messages, given], ensure_ascii=False))
        special = {f"{role}_token": name for role, name in self.tokenizer.special_strings.items() if name is not None}
        try:
            fenced = _fenced(messages, self._controls, fence)
            (text,), (spans,) = render_jinja_template(
                [fenced],
                tools=_fenced(given, self._controls, fence),
                chat_template=self.source,
                return_assistant_tokens_mask=True,
                add_generation_prompt=is_open,
                **special,
            )
        except TemplateError as error:
            raise TemplateRefuses("the chat template refuses this conversation", where=where, found=str(error)) from error
        return self._unfenced(text, spans, fence)

    def _unfenced(self, text: str, spans: list[tuple[int, int]], fence: tuple[str, str]) -> Rendered:
        pieces, controls, position, is_plain = [], [], 0, False
        for piece in re.split(f"([{fence[0]}{fence[1]}])", text):
            if piece in fence:
                is_plain = piece == fence[0]
                continue
            if not is_plain:
                controls += [(start + position, end + position, i) for start, end, i in self._find_controls(piece)]
            pieces.append(piece)
            position += len(piece)
        fences = [match.start() for match in re.finditer(f"[{fence[0]}{fence[1]}]", text)]
        loss_spans = [(start - bisect_left(fences, start), end - bisect_left(fences, end)) for start, end in spans]
        return Rendered("".join(pieces), controls, loss_spans)

    def _find_controls(self, piece: str) -> Iterator[tuple[int, int, int]]:
        """Control tokens in template text, with the blanks that lstrip and rstrip tokens swallow."""
        last = 0
        for match in self._controls.finditer(piece):
            token, (start, end) = self.tokenizer.controls[match[0]], match.span()
            if token["lstrip"]:
                start = max(last, len(piece[:start].rstrip()))
            if token["rstrip"]:
                end = len(piece) - len(piece[end:].lstrip())
            last = end
            yield start, end, token["id"]

    def encode(
        self, messages: list[dict[str, Any]], where: str = "", *, must_learn: bool = True, tools: str | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Ids (n,) uint32 and, for loss "assistant", the mask (n,) uint8: 1 where a token covers a generated character.

        The ids are those of the whole text as the tokenizer's own library encodes it. Raises TemplateRefuses where the template
        refuses the conversation, or nothing in it would be learned and it `must_learn`: where cuts took the answers, it need not.
        """
        rendered = self.render(messages, where, tools)
        if self.loss == "all":
            return encode(self.tokenizer, rendered), None
        ids, mask = encode_with_mask(self.tokenizer, rendered)
        if must_learn and not mask.any():
            raise TemplateRefuses(
                "no assistant token in this conversation, so nothing to learn from it", where=where, found="loss: assistant",
                reason="nothing_learned",
                allowed="at least one message inside the template's generation markers",
                next="drop it from the source, or loss: all",
            )  # fmt: skip
        return ids, mask


def tools_of(parts: str | None) -> str | None:
    """The tools of a conversation, from the column `parts` of its document."""
    found: str | None = json.loads(parts).get("tools") if parts else None
    return found


def _with_objects(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the arguments of tool calls as objects, which templates expect, wherever they are JSON of one."""

    def call(one: dict[str, Any]) -> dict[str, Any]:
        try:
            arguments = json.loads(one["function"]["arguments"])
        except ValueError:
            return one
        return {**one, "function": {**one["function"], "arguments": arguments}} if isinstance(arguments, dict) else one

    return [{**m, "tool_calls": [call(one) for one in m["tool_calls"]]} if m.get("tool_calls") else m for m in messages]


def load_template(tokenizer: Tokenizer, loss: str) -> ChatTemplate:
    """The tokenizer's chat template, checked before the first document.

    Raises CurateError where there is none, it does not parse, it prints the date or draws lots (the same conversation would give
    other tokens tomorrow), loss "assistant" finds no generation markers, or one of ours finds its special tokens missing.
    """
    from jinja2 import nodes
    from jinja2.exceptions import TemplateSyntaxError
    from transformers.utils.chat_template_utils import _compile_jinja_template

    where, source = f"chat template of {tokenizer.files.name}", tokenizer.files.template
    if source is None:
        raise CurateError(
            "the tokenizer has no chat template, and a source holds conversations", where=where,
            next=f"name one of ours: tokenizer: {{chat_template: {' | '.join(SHIPPED)}}}, or a file",
        )  # fmt: skip
    try:
        tree = _compile_jinja_template(source).environment.parse(source)
    except TemplateSyntaxError as error:
        line = f"{where}, line {error.lineno}"
        raise CurateError("the chat template is not valid Jinja", where=line, found=str(error.message)) from error
    read = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "load"}
    written = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
    moving = (read & CLOCK - written) | (read & CHANCE) | ({"date_string"} & read - written)
    moving |= {node.name for node in tree.find_all(nodes.Filter) if node.name == "random"}
    if moving:
        raise CurateError(
            "the chat template prints the date or a random choice: the same conversation would give other tokens on another day",
            where=where, found=", ".join(sorted(moving)), allowed="a template with the date written into it",
            next="save a copy with the date fixed and name it: tokenizer: {chat_template: FILE.jinja}",
        )  # fmt: skip
    if loss == "assistant" and not GENERATION.search(source):
        raise CurateError(
            "loss: assistant needs to know what the assistant wrote", where=where, found="no {% generation %} markers",
            allowed="{% generation %}...{% endgeneration %} around the assistant's text and its end-of-turn token",
            next=f"name one of ours: tokenizer: {{chat_template: {' | '.join(SHIPPED)}}}, or a copy with the markers: FILE.jinja",
        )  # fmt: skip
    _check_tokens(tokenizer, source, where)
    return ChatTemplate(source, tokenizer, loss)


def _check_tokens(tokenizer: Tokenizer, source: str, where: str) -> None:
    """A template of ours needs its family's special tokens: as plain text they would end no turn."""
    if (ours := shipped_as(source)) is None:
        return
    missing = [name for name in ours.tokens if name not in tokenizer.controls]
    missing += [f"a {role} token" for role in ours.roles if tokenizer.special_strings[role] is None]
    if missing:
        raise CurateError(
            "the tokenizer lacks special tokens of its chat template", where=where, found=f"no {', '.join(missing)}",
            allowed=f"a tokenizer with {', '.join((*ours.tokens, *(f'a {role} token' for role in ours.roles)))}",
            next="name the template of the tokenizer's family, or add the tokens first: docs/alignment.md",
        )  # fmt: skip


def encode(tokenizer: Tokenizer, rendered: Rendered) -> np.ndarray:
    """Ids (n,) uint32: control tokens as they are, the text between them encoded piece by piece, as libraries do."""
    pieces = list(_pieces(rendered))
    texts = iter(tokenizer.encode_batch([rendered.text[start:end] for start, end, control in pieces if control is None]))
    found = [next(texts) if control is None else np.array([control], np.uint32) for _, _, control in pieces]
    return np.concatenate(found) if found else np.zeros(0, np.uint32)


def encode_with_mask(tokenizer: Tokenizer, rendered: Rendered) -> tuple[np.ndarray, np.ndarray]:
    """The ids of `encode`, and a mask (n,) uint8: 1 where the token covers at least one character of a loss span. So a token that
    joins the last character of a prompt and the first of an answer counts, as in transformers."""
    ids, covers = [np.zeros(0, np.uint32)], [np.zeros((0, 2), np.int64)]
    for start, end, control in _pieces(rendered):
        if control is None:
            piece_ids, offsets = tokenizer.encode_with_offsets(rendered.text[start:end])
        else:
            piece_ids, offsets = np.array([control], np.uint32), np.array([[0, end - start]])
        ids.append(piece_ids)
        covers.append(offsets + start)
    is_loss = np.zeros(len(rendered.text) + 1, np.int64)
    for start, end in rendered.loss_spans:
        is_loss[start:end] = 1
    before = np.concatenate([[0], np.cumsum(is_loss)])
    cover = np.concatenate(covers)
    ends = np.maximum(cover[:, 1], cover[:, 0] + 1)  # a token of no character (a put-in blank) counts with the next one
    return np.concatenate(ids), (before[ends] > before[cover[:, 0]]).astype(np.uint8)


def _pieces(rendered: Rendered) -> Iterator[tuple[int, int, int | None]]:
    """(start, end, control id or None) over the whole text, in order, without empty pieces of text."""
    position = 0
    for start, end, control in rendered.controls:
        if position < start:
            yield position, start, None
        yield start, end, control
        position = end
    if position < len(rendered.text):
        yield position, len(rendered.text), None


def _fence(text: str) -> tuple[str, str]:
    """Two private-use characters that do not occur in `text`."""
    free = (chr(code) for code in PRIVATE_USE if chr(code) not in text)
    return next(free), next(free)


def _fenced(value: Any, controls: re.Pattern[str], fence: tuple[str, str]) -> Any:
    """`value` with every special string inside its strings between the fence characters; keys and roles' words stay."""
    if isinstance(value, str):
        return controls.sub(lambda match: f"{fence[0]}{match[0]}{fence[1]}", value)
    if isinstance(value, dict):
        return {key: _fenced(item, controls, fence) for key, item in value.items()}
    if isinstance(value, list):
        return [_fenced(item, controls, fence) for item in value]
    return value
