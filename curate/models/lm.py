"""KenLM language models: normalised lines in, bits, words and unknown words per line out. The only module that knows kenlm.

Beside a model of `curate train-lm` lies its JSON: how it was made, the normalisation it was trained with, the cost of spelling and
the cutoffs of head and middle. Imports errors, models' files and lm_lines.
"""

from __future__ import annotations

import json
import logging
import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from curate import text
from curate.errors import CurateError
from curate.models.files import model_sha256
from curate.models.lm_lines import NORMALISATION, Lines

# Bits a byte of a word that the model does not know costs, where the model's JSON does not say: the order-0 entropy of the bytes of
# our Estonian training lines was 4.54 (docs/kenlm.md).
UNKNOWN_BYTE_BITS = 4.5

log = logging.getLogger(__name__)


class Facts(NamedTuple):
    """What scoring needs to know of a model besides its file."""

    unknown_byte_bits: float
    head: float | None = None  # bits per byte of a line; up to it a line is head, None: the model came without cutoffs
    middle: float | None = None


class Scores(NamedTuple):
    """Of every line."""

    log10: np.ndarray  # (n_lines,) float64, log10 of the probability of its words and its end, as KenLM gives it
    bits: np.ndarray  # (n_lines,) float64, the same as bits, and the spelling of the words the model does not know
    n_words: np.ndarray  # (n_lines,) int64
    n_unknown: np.ndarray  # (n_lines,) int64


def facts_file(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def facts(path: Path, words: str = "rules") -> Facts:
    """Read the JSON beside a model. Raises CurateError where it belongs to another model, normalisation or tokenizer of words."""
    file = facts_file(path)
    if not file.is_file():
        log.warning("%s: no %s beside it, so no head and middle lines, and %g bits per byte of an unknown word", path.name,
                    file.name, UNKNOWN_BYTE_BITS)  # fmt: skip
        return Facts(UNKNOWN_BYTE_BITS)
    try:
        stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        found = Facts(float(stored["unknown_byte_bits"]), *(float(stored["cutoffs"]["lines"][k]) for k in ("head", "middle")))
        normalisation, segmentation, sha256 = stored["normalisation"], stored["segmentation"], stored["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise CurateError(
            "the description of the language model cannot be read", where=str(file), found=f"{type(error).__name__}: {error}",
            next="curate train-lm writes it beside the model",
        ) from error  # fmt: skip
    if sha256 != model_sha256(path):
        what = "the description belongs to another model"
        raise CurateError(what, where=str(file), found=f"it names sha256 {sha256}", allowed=model_sha256(path))
    if normalisation != NORMALISATION:
        raise CurateError(
            "the language model reads another normalisation of text", where=str(file), found=str(normalisation),
            allowed=str(NORMALISATION), next="train it again: curate train-lm",
        )  # fmt: skip
    here = text.segmentation(words)
    theirs, ours = (_tokenizer(given.get("words")) for given in (stored, here))
    if theirs != ours:
        raise CurateError(
            "the language model was trained on other words than this source has", where=str(file), found=theirs, allowed=ours,
            next=f"curate train-lm --words {words}",
        )  # fmt: skip
    if segmentation != here["segmentation"]:
        log.warning("%s was trained on words of segmentation %s, this is %s", path.name, segmentation, here["segmentation"])
    return found


def _tokenizer(words: dict[str, Any] | None) -> str:
    return f"{words['tokenizer']} {words['language']}" if words else "rules"


@cache
def load(path: Path) -> Any:
    """The model at `path`, binary or ARPA, once per process. Its pages are mapped: processes share them."""
    try:
        import kenlm
    except ModuleNotFoundError as error:
        raise CurateError(
            "KenLM's module is not installed", where=str(path), next='pip install -c constraints.txt -e ".[lm]"'
        ) from error
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        return kenlm.Model(str(path), config)
    except OSError as error:
        raise CurateError(
            "KenLM cannot read this model", where=str(path), found=str(error), allowed="a binary of build_binary, or an ARPA file",
            next="train it again: curate train-lm",
        ) from error  # fmt: skip


def score(lines: Lines, path: Path, unknown_byte_bits: float) -> Scores:
    """Score every line. A word the model does not know costs what KenLM's <unk> does, and its bytes and a separator besides.

    KenLM gives all unknown words together one small probability, so that a line of long foreign words would be cheap by the byte;
    with the spelling, bits are those of a code that can be read back. KenLM's module holds the GIL.
    """
    model = load(path)
    n_lines = len(lines.doc)
    unknown = _unknown(lines, model)
    log10 = np.array([model.score(line) for line in lines.texts()], np.float64)
    length = np.diff(lines.word_end, prepend=-1)  # bytes of a word and its separator
    spelled = np.bincount(lines.word_line[unknown], length[unknown], n_lines)
    n_words = np.bincount(lines.word_line, minlength=n_lines)
    n_unknown = np.bincount(lines.word_line[unknown], minlength=n_lines)
    return Scores(log10, -log10 * math.log2(10) + unknown_byte_bits * spelled, n_words, n_unknown)


def _unknown(lines: Lines, model: Any) -> np.ndarray:
    """(n_words,) bool: every different word is looked up once."""
    _, first, word = np.unique(lines.word_hash, return_index=True, return_inverse=True)
    end = lines.word_end[first].tolist()
    start = (np.concatenate([[-1], lines.word_end])[first] + 1).tolist()
    is_unknown = np.array([lines.data[a:b] not in model for a, b in zip(start, end, strict=True)], bool)
    return is_unknown[word]
