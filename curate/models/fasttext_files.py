"""The only module that knows fasttext: a model's file in, labels, probabilities or word vectors out; training texts in, a model out.

A text is handed over as DCLM does (mlfoundations/dclm, fasttext enrichers): stripped, its lines joined by spaces, whole.
Imports errors.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import CurateError

PREFIX = "__label__"
END = "</s>"  # the word that fastText puts at the end of each line
_MAGIC = 793712314  # FastText::FASTTEXT_FILEFORMAT_MAGIC_INT32
_CENTROIDS = 256  # of a product quantizer


@cache
def load(path: Path) -> Any:
    """The model at `path`. Raises CurateError for a file fastText cannot read, a truncated one included."""
    _check_whole(path)
    import fasttext

    try:
        return fasttext.load_model(str(path))
    except ValueError as error:
        raise CurateError("fastText cannot read this model", where=str(path), found=str(error)) from error


def labels(path: Path) -> list[str]:
    """The model's labels without their prefix, sorted."""
    return sorted(label.removeprefix(PREFIX) for label in load(path).get_labels())


def one_line(text: str) -> str:
    """A text as fastText reads it: DCLM's `" ".join(content.strip().splitlines())`."""
    return " ".join(text.strip().splitlines())


def predict(lines: Sequence[str], path: Path, k: int = -1) -> list[list[tuple[str, float]]]:
    """For every line its k best (label without prefix, probability in [0, 1]), best first; -1: all labels."""
    if not lines:
        return []
    found, probabilities = load(path).predict(list(lines), k=k)
    return [
        [(name.removeprefix(PREFIX), min(float(p), 1.0)) for name, p in zip(names, values, strict=True)]  # they reach 1.00001
        for names, values in zip(found, probabilities, strict=True)
    ]


def label_scores(texts: Sequence[str], path: Path, label: str) -> tuple[np.ndarray, list[str]]:
    """(probability of `label`, (n,) float32 rounded to 1e-4; the best label). A blank text: 0.0 and ""."""
    scores, best = np.zeros(len(texts), np.float32), [""] * len(texts)
    lines = [one_line(text) for text in texts]
    rows = [i for i, line in enumerate(lines) if line]
    for i, found in zip(rows, predict([lines[i] for i in rows], path), strict=True):
        scores[i] = round(dict(found).get(label, 0.0), 4)
        best[i] = found[0][0] if found else ""
    return scores, best


def train(lines: Sequence[tuple[str, str]], out: Path, parameters: dict[str, Any]) -> None:
    """Write the model trained on (label, text) pairs, in their order, to `out`; `parameters` as fasttext.train_supervised names them."""
    given = (
        f"{PREFIX}{label} {one_line(text).replace(PREFIX, ' ')}" for label, text in lines
    )  # a label in the text would be read as one
    _train_apart("supervised", given, out, parameters, "a lower --lr, or another --seed")


def train_vectors(lines: Iterable[str], out: Path, parameters: dict[str, Any]) -> None:
    """Write word vectors trained on lines of words, in their order, to `out`; `parameters` as fasttext.train_unsupervised names them."""
    _train_apart("unsupervised", lines, out, parameters, "more text, or a lower min_count")


def word_vectors(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(words, how often each was seen (n,) int64, vectors (n, d) float32) of a model, most frequent first, without fastText's end of line."""
    model = load(path)
    words, counts = model.get_words(include_freq=True, on_unicode_error="replace")
    kept = [i for i, word in enumerate(words) if word != END]
    vectors = [np.asarray(model.get_word_vector(words[i]), np.float32) for i in kept]
    shape = (len(kept), model.get_dimension())
    return [words[i] for i in kept], np.asarray(counts, np.int64)[kept], np.array(vectors, np.float32).reshape(shape)


def vector(word: str, path: Path) -> np.ndarray:
    """(d,) float32, from its n-grams where the word was not seen; zeros where it has none."""
    return np.asarray(load(path).get_word_vector(word), np.float32)


def _train_apart(kind: str, lines: Iterable[str], out: Path, parameters: dict[str, Any], remedy: str) -> None:
    """One thread and a process of its own, in which new memory is zero: fastText 0.9.2 with one thread fills only a tenth of its
    input matrix and reads the rest as malloc left it, so that two trainings in one process differ, or end in NaN.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    source = out.with_name(f".{out.name}.train.txt")
    try:
        with open(source, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
        job = {"kind": kind, "input": str(source), "out": str(out), "parameters": parameters}
        zeroed = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1024", "MALLOC_PERTURB_": "255"}
        command = [sys.executable, "-m", "curate.models.fasttext_files", json.dumps(job)]
        done = subprocess.run(command, env=zeroed, capture_output=True, text=True, check=False)
    finally:
        source.unlink(missing_ok=True)
    if done.returncode:
        told = (done.stderr.strip() or "no message").split("\n")[-1]
        raise CurateError("fastText could not train", where=str(out), found=told, next=remedy)


def _train(job: dict[str, Any]) -> None:
    import fasttext

    train_it = fasttext.train_supervised if job["kind"] == "supervised" else fasttext.train_unsupervised
    model = train_it(input=job["input"], thread=1, verbose=0, **job["parameters"])
    partial = f"{job['out']}.partial"
    model.save_model(partial)
    os.replace(partial, job["out"])


def _check_whole(path: Path) -> None:
    """The file is as long as its own header says: fastText ends the whole process on a truncated one.

    Layout of fastText 0.9: magic and version, 12 int32 and a double of arguments, the dictionary, two matrices.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            magic, _ = struct.unpack_from("<ii", data, 0)
            if magic != _MAGIC:
                raise ValueError("it does not begin as a fastText model does")
            at = 8 + 12 * 4 + 8
            n_entries, _, _, _, n_pruned = struct.unpack_from("<iiiqq", data, at)
            at += 28
            for _ in range(n_entries):  # word, NUL, count (int64), kind (int8)
                end = data.find(b"\0", at)
                if end < 0:
                    raise ValueError("it ends in its dictionary")
                at = end + 10
            at += 8 * max(n_pruned, 0)
            is_quantized = data[at]
            at = _end_of_matrix(data, at + 1, bool(is_quantized))
            at = _end_of_matrix(data, at + 1, bool(data[at]) and bool(is_quantized))
            if at != len(data):
                raise ValueError(f"it should be {at} bytes long and is {len(data)}")
    except (struct.error, IndexError, ValueError) as error:
        told = str(error) if type(error) is ValueError else "it ends early"
        raise CurateError(
            "this is no whole fastText model", where=str(path), found=told, next="fetch it again, and pin its sha256"
        ) from error  # fmt: skip


def _end_of_matrix(data: mmap.mmap, at: int, is_quantized: bool) -> int:
    if not is_quantized:
        rows, columns = struct.unpack_from("<qq", data, at)
        return at + 16 + 4 * rows * columns
    has_norms = data[at]
    rows, _, n_codes = struct.unpack_from("<qqi", data, at + 1)
    at = _end_of_quantizer(data, at + 21 + n_codes)
    return _end_of_quantizer(data, at + rows) if has_norms else at


def _end_of_quantizer(data: mmap.mmap, at: int) -> int:
    dim = struct.unpack_from("<i", data, at)[0]
    return at + 16 + 4 * dim * _CENTROIDS


if __name__ == "__main__":
    _train(json.loads(sys.argv[1]))
