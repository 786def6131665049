"""The folder of a tokenizer: a tokenizer.json, its settings and id map as data in; files that transformers and mixture.tokenizer open out.

What was written is opened again and held against what was meant, id by id. May import curate.errors, curate.recipe, mixture.tokenizer, train.vocab.*.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.recipe import TokenizerSpec
from mixture.tokenizer import Tokenizer, load_tokenizer
from train.vocab import library
from train.vocab.base import Base, Config, tokens_of
from train.vocab.id_map import summary

CLASS = "PreTrainedTokenizerFast"  # takes a tokenizer.json as it is; classes of single models make parts of it anew
# of tokenizer_config.json: files and code that are not in the folder, and what only a class of its own understands
LEFT_OUT = (
    "tokenizer_file", "vocab_file", "merges_file", "auto_map", "name_or_path", "backend", "is_local", "local_files_only", "processor_class",
    "added_tokens_decoder", "legacy", "sp_model_kwargs", "spaces_between_special_tokens", "use_default_system_prompt", "from_slow",
)  # fmt: skip


def write_folder(folder: Path, config: Config, base: Base, rows: pa.Table) -> Tokenizer:
    """The tokenizer, opened from there."""
    _json(folder / "tokenizer.json", config)
    _json(folder / "tokenizer_config.json", settings_of(base))
    _json(folder / "special_tokens_map.json", _roles(base))
    if base.template is not None:
        (folder / "chat_template.jinja").write_text(base.template, encoding="utf-8")
    pq.write_table(rows, folder / "id_map.parquet")
    _json(folder / "id_map.json", summary(rows))
    _check(folder, rows)
    return load_tokenizer(TokenizerSpec(model=str(folder), bos="none", eos="none"))


def settings_of(base: Base) -> Config:
    """tokenizer_config.json. Special tokens stand in tokenizer.json with their ids, here by their names alone."""
    kept = {key: value for key, value in base.settings.items() if key not in LEFT_OUT}
    return {**kept, **_roles(base), "tokenizer_class": CLASS}


def _roles(base: Base) -> dict[str, Any]:
    """bos_token and its like, as strings."""
    declared = {**base.specials, **base.settings}
    found = {f"{role}_token": name for role, name in base.tokenizer.special_strings.items() if name is not None}
    for role in ("unk", "sep", "cls", "mask"):
        value = declared.get(f"{role}_token")
        name = value["content"] if isinstance(value, dict) else value
        name = name or (base.config["model"].get("unk_token") if role == "unk" else None)
        if name is not None:
            found[f"{role}_token"] = name
    return found


def _check(folder: Path, rows: pa.Table) -> None:
    """The library numbers added tokens by itself where the file leaves it a choice."""
    inner = library.opened(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
    wrong = [
        (i, token, inner.token_to_id(token))
        for i, token in zip(rows["new_id"].to_pylist(), rows["token"].to_pylist(), strict=True)
        if token and inner.token_to_id(token) != i
    ]
    if wrong:
        raise AssertionError(f"the written tokenizer numbers {len(wrong)} tokens otherwise: {wrong[:3]}")


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def size_of(config: Config) -> int:
    return max(tokens_of(config)) + 1
