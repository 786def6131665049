"""A preference to tokens: prompt messages and two answers in, the ids of the prompt and of both completions out, or why there are none.

Both answers are rendered by the chat template behind the same prompt. A completion is what the model has to write: the answer with its
end of turn, up to the end of the template's `{% generation %}` span where it marks one, else all that follows the open prompt. The
prompt's tokens must be the same before both. Imports mixture's render.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mixture.render import ChatTemplate, Rendered, TemplateRefuses, encode_with_mask

REFUSED = {
    "template_refuses": "the chat template refuses the prompt",
    "no_calls_in_template": "the chat template writes no tool calls, and the prompt has some",
    "prompt_is_no_prefix": "the prompt is no beginning of both conversations as they are rendered",
    "empty_completion": "nothing is left of an answer when it is rendered",
    "equal_completions": "chosen and rejected are the same when they are rendered",
}


class PairIds(NamedTuple):
    """Ids, uint32; those of the completions with their end of turn. All empty where `refused` says why."""

    prompt: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    refused: str | None = None

    @property
    def tokens(self) -> np.ndarray:
        """Prompt and chosen, prompt and rejected: the document of the pair."""
        return np.concatenate([self.prompt, self.chosen, self.prompt, self.rejected])

    @property
    def mask(self) -> np.ndarray:
        """uint8: 1 on both completions."""
        sizes = [part.size for part in (self.prompt, self.chosen, self.prompt, self.rejected)]
        return np.repeat(np.array([0, 1, 0, 1], np.uint8), sizes)


NONE = np.zeros(0, np.uint32)


def encode_pair(
    template: ChatTemplate, prompt: Sequence[dict[str, Any]], answers: tuple[str, str], bos: int | None, eos: int | None
) -> PairIds:
    """`answers`: chosen, rejected. `bos`, `eos`: put in where the template writes none; an eos only behind an answer that no special
    token ends."""
    try:
        before = template.render(list(prompt), is_open=True).text
        whole = [template.render([*prompt, {"role": "assistant", "content": answer}]) for answer in answers]
    except TemplateRefuses as refusal:
        return _refused(refusal.reason)
    if not all(rendered.text.startswith(before) for rendered in whole):
        return _refused("prompt_is_no_prefix")
    spans = [_completion(rendered, len(before)) for rendered in whole]
    if len({rendered.text[:begin] for rendered, (begin, _) in zip(whole, spans, strict=True)}) > 1:
        return _refused("prompt_is_no_prefix")
    if not all(_says(rendered, *span) for rendered, span in zip(whole, spans, strict=True)):
        return _refused("empty_completion")
    heads, tails = zip(
        *(_split(template, rendered, *span, bos, eos) for rendered, span in zip(whole, spans, strict=True)), strict=True
    )
    if not heads[0].size or not np.array_equal(*heads):
        return _refused("prompt_is_no_prefix")
    if np.array_equal(*tails):
        return _refused("equal_completions")
    return PairIds(heads[0], *tails)


def _refused(reason: str) -> PairIds:
    return PairIds(NONE, NONE, NONE, reason)


def _completion(rendered: Rendered, opened: int) -> tuple[int, int]:
    """Characters of the last answer: what the template marks behind the open prompt, else all that follows it."""
    begin, end = rendered.loss_spans[-1] if rendered.loss_spans else (0, 0)
    return (max(begin, opened), end) if end > opened else (opened, len(rendered.text))


def _says(rendered: Rendered, begin: int, end: int) -> bool:
    """Is there more between than control tokens and white space?"""
    at = begin
    for start, stop, _ in rendered.controls:
        if begin <= start < end:
            if rendered.text[at:start].strip():
                return True
            at = stop
    return bool(rendered.text[at:end].strip())


def _split(
    template: ChatTemplate, rendered: Rendered, begin: int, end: int, bos: int | None, eos: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Ids before the completion and of it; a token that has characters of both is the completion's."""
    controls = [control for control in rendered.controls if control[1] <= end]
    ids, mask = encode_with_mask(template.tokenizer, Rendered(rendered.text[:end], controls, [(begin, end)]))
    n = int(mask.argmax())
    head, tail = ids[:n], ids[n:]
    if bos is not None and (not head.size or head[0] != bos):
        head = np.concatenate([np.array([bos], np.uint32), head])
    if eos is not None and tail[-1] not in {control["id"] for control in template.tokenizer.controls.values()}:
        tail = np.concatenate([tail, np.array([eos], np.uint32)])
    return head, tail
