"""Text to token ids and back: a recipe's `tokenizer:` block in, `Tokenizer` out. Home of tokenizers, tiktoken, sentencepiece.

No special token is ever added here, and special strings in a text are plain text. Where the tokenizer is a BPE of a kind it knows,
compiled code does the work, or tiktoken (the same ids, checked by the caller on its own text: `first_mismatch`).
Imports errors, store, recipe; libraries and kernels inside functions only.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from curate.errors import CurateError
from curate.recipe import TokenizerSpec
from curate.store import canonical_json
from mixture.tokenizer import byte_level, tiktoken_bpe
from mixture.tokenizer.files import ROLES, TokenizerFiles, find_files, read_object

if TYPE_CHECKING:
    from mixture.tokenizer.compiled import CompiledBpe

__all__ = ["Tokenizer", "TokenizerFiles", "load_tokenizer", "open_tokenizer"]

# Names in use for a role, asked only where no file declares one: Llama 2, Llama 3, Gemma; GPT-2, GPT-NeoX, Qwen.
CONVENTIONAL = {
    "bos": ("<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>"),
    "eos": ("</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>"),
    "pad": ("<pad>", "<|padding|>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>"),
}


def load_tokenizer(spec: TokenizerSpec, resolve: Callable[[str], Path] = Path) -> Tokenizer:
    """The tokenizer of a recipe: `load_tokenizer(recipe.tokenizer, recipe.path)`.

    Raises CurateError where it is missing or damaged, or where `bos:` or `eos: per_document` asks for a token it does not have.
    """
    tokenizer = open_tokenizer(find_files(spec, resolve))
    for role, wanted in (("bos", spec.bos), ("eos", spec.eos)):
        if wanted == "per_document" and tokenizer.special[role] is None:
            raise CurateError(
                f"the tokenizer {tokenizer.files.name} has no {role} token", where=f"tokenizer.{role}", found="per_document",
                allowed="none", next=f'or declare "{role}_token" in tokenizer_config.json beside {tokenizer.files.paths[0].name}',
            )  # fmt: skip
    return tokenizer


@functools.lru_cache(maxsize=4)
def open_tokenizer(files: TokenizerFiles) -> Tokenizer:
    """The tokenizer of these files, once per process. Raises CurateError where a file is not what its name says."""
    return Tokenizer(files, _open_sentencepiece(files) if files.kind == "sentencepiece" else _open_tokenizers(files))


def _open_tokenizers(files: TokenizerFiles) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    if files.kind == "tokenizers":
        inner = Tokenizer.from_str(json.dumps(read_object(files.paths[0])))  # parsed here, for an error that names the file
    else:  # vocab.json and merges.txt are GPT-2's layout: byte-level BPE, its splitting regex
        inner = Tokenizer(models.BPE.from_file(*map(str, files.paths)))
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        names = {name for names in CONVENTIONAL.values() for name in names} | {name for _, name in files.declared if name}
        held = sorted(name for name in names if inner.token_to_id(name) is not None)
        inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in held])
    inner.encode_special_tokens = True
    inner.post_processor = None  # it adds special tokens and trims blanks from offsets: both are ours to decide
    inner.no_truncation()
    inner.no_padding()
    return inner


def _open_sentencepiece(files: TokenizerFiles) -> Any:
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_file=str(files.paths[0]))
    except (RuntimeError, OSError) as error:
        raise CurateError("this is not a SentencePiece model", where=str(files.paths[0]), found=str(error)) from error


class Tokenizer:
    """One tokenizer in this process."""

    def __init__(self, files: TokenizerFiles, inner: Any) -> None:
        self.files = files
        self._inner = inner
        self._is_sentencepiece = files.kind == "sentencepiece"
        self._is_quick = True

    @cached_property
    def _config(self) -> dict[str, Any]:
        return json.loads(self._inner.to_str())

    @cached_property
    def controls(self) -> dict[str, dict[str, Any]]:
        """Special string -> {id, lstrip, rstrip}: what a chat template writes as one token, and a plain text never."""
        if self._is_sentencepiece:
            ids = [i for i in range(len(self._inner)) if self._inner.is_control(i)]
            return {self._inner.id_to_piece(i): {"id": i, "lstrip": False, "rstrip": False} for i in ids}
        tokens = [token for token in self._config["added_tokens"] if token["special"]]
        return {token["content"]: {key: token[key] for key in ("id", "lstrip", "rstrip")} for token in tokens}

    @cached_property
    def special_strings(self) -> dict[str, str | None]:
        """Role (bos, eos, pad) -> its string: as declared by the tokenizer's files, else the one conventional name it has."""
        declared = dict(self.files.declared)
        found = {}
        for role in ROLES:
            names = [declared[role]] if role in declared else [name for name in CONVENTIONAL[role] if name in self.controls]
            found[role] = names[0] if names else None
        return found

    @cached_property
    def special(self) -> dict[str, int | None]:
        """Role (bos, eos, pad) -> id, None where the tokenizer has none."""
        return {role: None if name is None else self._id(role, name) for role, name in self.special_strings.items()}

    def _id(self, role: str, name: str) -> int:
        found = self._inner.piece_to_id(name) if self._is_sentencepiece else self._inner.token_to_id(name)
        if found is None or (self._is_sentencepiece and self._inner.is_unknown(found)):
            where = str(self.files.paths[0].with_name("tokenizer_config.json"))
            raise CurateError(f"{role}_token is not in the vocabulary", where=where, found=name)
        return int(found)

    @cached_property
    def vocab_size(self) -> int:
        """Rows a model's embedding needs: the largest id + 1."""
        if self._is_sentencepiece:
            return int(self._inner.vocab_size())
        return max(self._inner.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Token, as the vocabulary writes it, -> id, in the order of ids (the library's own order is another in every process); added
        tokens too."""
        if self._is_sentencepiece:
            return {self._inner.id_to_piece(i): i for i in range(len(self._inner))}
        return dict(sorted(self._inner.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1]))

    @property
    def dtype(self) -> np.dtype:
        """uint16 up to 65 536 ids, else uint32: datatrove's rule, little-endian."""
        return np.dtype("<u2") if self.vocab_size <= 1 << 16 else np.dtype("<u4")

    @cached_property
    def sha256(self) -> str:
        """Of the files' bytes and of the special tokens' ids; not of names, paths or the chat template."""
        state = hashlib.sha256()
        for data in (*(path.read_bytes() for path in self.files.paths), canonical_json(self.special)):
            state.update(len(data).to_bytes(8, "little"))
            state.update(data)
        return state.hexdigest()

    @property
    def template_sha256(self) -> str | None:
        return None if self.files.template is None else hashlib.sha256(self.files.template.encode()).hexdigest()

    @cached_property
    def _compiled(self) -> CompiledBpe | None:
        from mixture.tokenizer import compiled, pieces, tables

        if self._is_sentencepiece:
            found = tables.of_pieces(pieces.read_pieces(self.files.paths[0].read_bytes()))
        else:
            found = tables.of_tokenizer_json(self._config)
        return None if found is None else compiled.CompiledBpe(found)

    @cached_property
    def _tiktoken(self) -> tiktoken_bpe.FastBpe | None:
        return None if self._is_sentencepiece else tiktoken_bpe.build(self._config)

    @property
    def library(self) -> str:
        """Whose ids these are: "tokenizers" or "sentencepiece"."""
        return "sentencepiece" if self._is_sentencepiece else "tokenizers"

    @property
    def backend(self) -> str:
        """What encodes: "compiled", "tiktoken" or the library."""
        if self._is_quick and self._compiled is not None:
            return "compiled"
        return "tiktoken" if self._is_quick and self._tiktoken is not None else self.library

    @property
    def is_lossless(self) -> bool:
        """True where decode(encode(text)) is the text, for every text: byte-level BPE, no normalizer, no blank put in front."""
        if self._is_sentencepiece or self._config["normalizer"] is not None or self._config["model"]["type"] != "BPE":
            return False
        steps = self._config["pre_tokenizer"] or {}
        steps = steps.get("pretokenizers", [steps])
        strips = any(token["lstrip"] or token["rstrip"] for token in self._config["added_tokens"] if not token["special"])
        bytes_known = all(char in self._config["model"]["vocab"] for char in byte_level.byte_of_char())
        return steps[-1].get("type") == "ByteLevel" and not steps[-1]["add_prefix_space"] and bytes_known and not strips

    @cached_property
    def bytes_of_ids(self) -> dict[int, bytes] | None:
        """Where `is_lossless`: the bytes of text that each id stands for, without those that no text becomes; else None."""
        return byte_level.bytes_of_ids(self._config) if self.is_lossless else None

    @cached_property
    def byte_lengths(self) -> np.ndarray:
        """int32 (vocab_size,): bytes of text that each id stands for, 0 for special tokens."""
        from mixture.tokenizer import byte_lengths

        if self._is_sentencepiece:
            return byte_lengths.of_sentencepiece(self._inner)
        return byte_lengths.of_tokenizer_json(self._config, self.vocab_size)

    def by_library(self) -> Tokenizer:
        """The same tokenizer, encoding with its library."""
        other = copy.copy(self)
        other._is_quick = False
        return other

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text, (n,) uint32; no special token is added, special strings are plain text."""
        if self.backend == "compiled":
            return self._encode_compiled(pa.array(texts, pa.large_string()))
        if self.backend == "tiktoken":
            return self._completed([self._tiktoken.encode(text) for text in texts], texts.__getitem__)  # type: ignore[union-attr]
        return self._encode_library(texts)

    def encode_column(self, texts: pa.Array) -> list[np.ndarray]:
        """The same for a string array without nulls. Raises pa.ArrowInvalid on invalid UTF-8."""
        if self.backend != "compiled":
            return self.encode_batch(texts.to_pylist())
        texts = texts.cast(pa.large_string())
        texts.validate(full=True)  # Parquet readers do not look, and the kernel would read past the end
        return self._encode_compiled(texts)

    def _encode_compiled(self, texts: pa.Array) -> list[np.ndarray]:
        return self._completed(self._compiled.encode(texts), lambda i: texts[i].as_py())  # type: ignore[union-attr]

    def _completed(self, found: list[np.ndarray | None], text: Callable[[int], str]) -> list[np.ndarray]:
        """`found` with the library's ids where there are none; `text` by number."""
        left = [i for i, ids in enumerate(found) if ids is None]
        rest = dict(zip(left, self._encode_library([text(i) for i in left]), strict=True))
        return [rest[i] if ids is None else ids for i, ids in enumerate(found)]

    def _encode_library(self, texts: Sequence[str]) -> list[np.ndarray]:
        if self._is_sentencepiece:
            return [np.array(self._inner.encode_as_ids(text), np.uint32) for text in texts]
        return [np.array(found.ids, np.uint32) for found in self._inner.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_with_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids (n,) uint32 and the characters each token covers, (n, 2) int64 half-open; parts of one character share it."""
        if self._is_sentencepiece:
            found = self._inner.encode_as_offset_mapping(text)
            ids, offsets = found["ids"], found["offsets"]
        else:
            encoding = self._inner.encode(text, add_special_tokens=False)
            ids, offsets = encoding.ids, encoding.offsets
        return np.array(ids, np.uint32), np.array(offsets, np.int64).reshape(-1, 2)

    def first_mismatch(self, texts: Sequence[str]) -> int | None:
        """The first text that is encoded otherwise than by the library; None where all agree or the library encodes."""
        if self.backend == self.library:
            return None
        pairs = zip(self.encode_batch(texts), self._encode_library(texts), strict=True)
        return next((i for i, (quick, slow) in enumerate(pairs) if not np.array_equal(quick, slow)), None)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of these ids; special tokens appear as their strings. Exact for text where `is_lossless`."""
        plain = np.asarray(ids).tolist()
        if self._is_sentencepiece:
            return str(self._inner.decode(plain))
        return str(self._inner.decode(plain, skip_special_tokens=False))
