"""How the result is spoken to, taken from b: its chat template and its ends of generation, the ids of a's tokenizer for the same tokens.

A chat vector brings the habit of a template, not the template: a base model has none. May import curate.errors, train.merge.*.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from train.merge.places import Model
from train.merge.vocabulary import tokens_of

TEMPLATE, SETTINGS, GENERATION = "chat_template.jinja", "tokenizer_config.json", "generation_config.json"
IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
SPECIAL = re.compile(r"<\|[^<>|{}\s]+\|>|<(?:s|/s|bos|eos|start_of_turn|end_of_turn)>|\[/?INST\]")


def take(b: Model, a: Model, folder: Path) -> None:
    """Raises CurateError where b has no template, or one with special tokens that a's tokenizer lacks."""
    template = template_of(b.tokenizer)
    if template is None:
        raise CurateError("b has no chat template to take", where=str(b.tokenizer), next="chat: a")
    own, other = tokens_of(a), tokens_of(b)
    missing = sorted({token for token in SPECIAL.findall(template) if token in other and token not in own})
    if missing:
        raise CurateError("a's tokenizer lacks tokens of this chat template", where=str(a.tokenizer), found=", ".join(missing[:5]),
                          next="chat: a, or add them first: curate train vocab")  # fmt: skip
    (folder / TEMPLATE).write_text(template, encoding="utf-8")
    settings = _read(folder / SETTINGS)
    settings.pop("chat_template", None)
    strings = {i: token for token, i in other.items()}
    ends = _read(b.small / GENERATION)
    if ends:
        moved = {key: _moved(ends[key], strings, own) for key in IDS if key in ends}
        (folder / GENERATION).write_text(json.dumps({**ends, **moved}, indent=2, sort_keys=True) + "\n")
    if (eos := _string(_read(b.tokenizer / SETTINGS).get("eos_token"))) in own:
        settings["eos_token"] = eos  # of the turn, where b ends its answers
    if settings:
        (folder / SETTINGS).write_text(
            json.dumps(settings, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
        )


def template_of(folder: Path) -> str | None:
    if (folder / TEMPLATE).is_file():
        return (folder / TEMPLATE).read_text(encoding="utf-8")
    found = _read(folder / SETTINGS).get("chat_template")
    return found if isinstance(found, str) else None


def _moved(ids: Any, strings: dict[int, str], own: dict[str, int]) -> Any:
    """b's ids as a's; those of tokens that a lacks are left out."""
    if isinstance(ids, list):
        return [own[strings[i]] for i in ids if strings.get(i) in own]
    return own.get(strings.get(ids, ""))


def _string(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
