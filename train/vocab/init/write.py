"""A model and the tokenizer that it is to have in; the model with that vocabulary out: config, weights file by file, and how each row was made.

`curate train vocab` (train/vocab/run.py) calls `check` before any text is read and `write_model` after the tokenizer is there.
May import curate.errors, train.adapt (a name), train.average (Folder), train.config, train.merge.places, train.vocab.init.*; pyarrow,
safetensors, torch.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from curate.errors import CurateError
from train.adapt import ADAPTER
from train.average import Folder
from train.config import ModelSpec
from train.merge import places
from train.merge.config import PlaceSpec
from train.vocab.init import methods, tensors, words
from train.vocab.init.config import Rows
from train.vocab.init.mixture import Drawn, Mixture, fill
from train.vocab.init.words import Texts

Where = Callable[[tuple[str, ...]], str]  # a key's place in the run file
ID_MAP, HOW = "id_map.parquet", "rows.parquet"
CONFIGS = ("config.json", "generation_config.json")


def check(rows: Rows, model: ModelSpec, languages: Collection[str], where: Where = ".".join) -> None:
    """Raises CurateError for what can be known before a text is read."""
    with ExitStack() as stack:
        source = folder_of(model, where)
        tensors.of_vocabulary(source, Folder(source, "model", stack))
        if rows.donor is not None:
            donor = _there(Path(rows.donor), where(("rows", "donor")))
            tensors.of_vocabulary(donor, Folder(donor, "model", stack))
            tensors.open_tokenizer(donor)
    for key in ("vector_file", "source_vectors", "target_vectors", "dictionary"):
        if (file := getattr(rows, key)) is not None:
            _there(Path(file), where(("rows", key)))
    if rows.dictionary is not None:
        words.read_dictionary(Path(rows.dictionary))
    for key in ("source_language", "target_language"):
        if (language := getattr(rows, key)) is not None and language not in languages:
            raise CurateError(
                "there is no text of this language", where=where(("rows", key)), found=language,
                allowed=", ".join(sorted(filter(None, languages))) or "languages named under text:",
            )  # fmt: skip


def write_model(
    rows: Rows,
    model: ModelSpec,
    old_tokenizer: Path,
    to: Path,
    texts: Mapping[str, Texts],
    seed: int,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Into `to`, which holds the new tokenizer and id_map.parquet, everything else of the model. Returns what a receipt says of the rows."""
    source = folder_of(model)
    id_map = methods.read_id_map(to / ID_MAP)
    old, new = tensors.open_tokenizer(old_tokenizer), tensors.open_tokenizer(to)
    with ExitStack() as stack:
        folder = Folder(source, "model", stack)
        names = tensors.of_vocabulary(source, folder)
        n_old = _n_old(folder.shape(names.embedding)[1][0], old.vocab_size, id_map)
        size = math.ceil(len(id_map.tokens) / rows.pad_to_multiple_of) * rows.pad_to_multiple_of
        room = Path(stack.enter_context(TemporaryDirectory(prefix=".rows-", dir=to)))
        embedding, head = methods.plan(rows, methods.Given(id_map, old, new, texts, room, say))
        made = {names.embedding: embedding, names.head: head, names.bias: head}

        def changed(name: str) -> torch.Tensor:
            tensor = folder.read(name)
            if name not in made:
                return tensor
            drawn = Drawn(rows.noise, (seed << 1) + (name == names.head))  # the two matrices by lots of their own
            return fill(tensor, n_old, id_map.old_ids, made[name], size, drawn, rows.rank)

        n_parameters = _write_weights(source, folder, names.spare, changed, to)
    lost = _write_configs(
        source, to, size, {int(old_id): i for i, old_id in enumerate(id_map.old_ids) if old_id >= 0}, new.special
    )
    for key in lost:
        say(f"{key} of the old config has no token in the new vocabulary")
    how = _how(id_map, embedding)
    table = pa.table({"new_id": pa.array(range(len(how)), pa.int32()), "how": pa.array(how, pa.string())})
    pq.write_table(table, to / HOW)
    counts = dict(sorted(Counter(how).items()))
    say(f"{size:,} rows: {', '.join(f'{n:,} {key}' for key, n in counts.items())}, {size - len(how):,} padding")
    return {
        "method": rows.method, "rows": counts, "padding": size - len(how), "vocab_size": size, "old_vocab_size": n_old,
        "tied": names.is_tied, "noise": rows.noise, "seed": seed, "parameters": n_parameters,
    }  # fmt: skip


def folder_of(model: ModelSpec, where: Where = ".".join) -> Path:
    """The folder of weights that `model.init` names, fetched where it is an id of the hub with a revision. A checkpoint of ours is checked
    against its list. Raises CurateError for a fresh model, or where there is none."""
    if not isinstance(model.init, str) or model.init.endswith(".json"):
        raise CurateError("a fresh model has no rows to keep", where=where(("model", "init")), allowed="a folder of weights")
    folder = Path(model.init)
    if folder.is_dir() or model.revision is not None:
        folder = places.folder_of(PlaceSpec(init=model.init, revision=model.revision))
    if not (folder / "config.json").is_file():
        raise CurateError(
            "there is no model here", where=where(("model", "init")), found=model.init,
            allowed="a folder with config.json and *.safetensors, or an id of the hub with model.revision",
            next="adapters first: curate train export RUN --merge-adapters --to FOLDER" if (folder / ADAPTER).is_file() else "",
        )  # fmt: skip
    return folder


def _there(path: Path, where: str) -> Path:
    if not path.exists():
        raise CurateError("there is no such file", where=where, found=str(path))
    return path


def _n_old(n_rows: int, n_tokens: int, id_map: methods.IdMap) -> int:
    """Rows of the old matrix that are tokens. Raises CurateError where the id map speaks of others."""
    highest = max([int(id_map.old_ids.max(initial=-1)), *(int(part.max(initial=-1)) for part in id_map.pieces)], default=-1)
    if highest >= n_rows or n_tokens > n_rows:
        raise CurateError(
            "the model has fewer rows than its tokenizer has tokens", where="model.init", found=f"{n_rows} rows",
            allowed=f"at least {max(highest + 1, n_tokens)}", next="is this the model's own tokenizer?",
        )  # fmt: skip
    return n_tokens


def _write_weights(source: Path, folder: Folder, spare: Collection[str], changed: Callable[[str], torch.Tensor], to: Path) -> int:
    """The files of `source` one after the other, under their names; returns the number of parameters."""
    n_parameters, n_bytes = 0, 0
    listed: dict[str, str] = {}
    for file in sorted(source.glob("model*.safetensors")):
        with ExitStack() as stack:
            own = sorted(Folder(source, file.stem, stack).files)
        part = {name: changed(name) for name in own if name not in spare}
        if not part:
            continue
        save_file(part, to / file.name, {"format": "pt"})
        n_parameters += sum(tensor.numel() for tensor in part.values())
        n_bytes += sum(tensor.nbytes for tensor in part.values())
        listed |= dict.fromkeys(part, file.name)
    if len(set(listed.values())) > 1:
        _write_object(to / tensors.INDEX, {"metadata": {"total_size": n_bytes}, "weight_map": listed})
    return n_parameters


def _write_configs(source: Path, to: Path, size: int, new_id: dict[int, int], special: Mapping[str, int | None]) -> list[str]:
    of_role = {role: i for role, i in special.items() if i is not None}
    lost: list[str] = []
    for name in CONFIGS:
        if (source / name).is_file():
            config, gone = tensors.config_for(tensors.read_object(source / name), size, new_id, of_role)
            _write_object(to / name, config)
            lost += gone
    return list(dict.fromkeys(lost))


def _write_object(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _how(id_map: methods.IdMap, made: Mapping[int, Mixture]) -> list[str]:
    return [made[i].how if old_id < 0 else "copied" for i, old_id in enumerate(id_map.old_ids.tolist())]
