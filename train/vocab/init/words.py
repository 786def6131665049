"""Static vectors of words and of tokens: text or a file of vectors in; one vector for each token of a tokenizer out.

Trained by fastText (CBOW) with the settings of the papers' code. Tokens without a vector have a row of zeros.
May import curate.errors, curate.models.fasttext_files, mixture.tokenizer, train.vocab.init.config; numpy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from curate.errors import CurateError
from curate.models.fasttext_files import END, train_vectors, vector, word_vectors
from mixture.tokenizer import Tokenizer
from train.vocab.init.config import Vectors

Texts = Callable[[], Iterator[str]]
WORD = re.compile(r"\w+|[^\w\s]")
BUCKET = 200_000  # of n-grams; fastText's two million make a file of 800 MB
# deepfocus FOCUS(): tokens, 3 epochs, seen 10 times; wechsel train_embeddings(): words, n-grams of 5, 20 epochs, fastText's own 5
OF_TOKENS = {"epoch": 3, "minCount": 10, "minn": 3, "maxn": 6}
OF_WORDS = {"epoch": 20, "minCount": 5, "minn": 5, "maxn": 5}


@dataclass(frozen=True)
class Words:
    """Words with their vectors; `counts` are ones and `by_ngrams` is None where the file has neither (.vec)."""

    words: list[str]
    counts: np.ndarray  # (n,) int64
    vectors: np.ndarray  # (n, d) float32
    by_ngrams: Callable[[str], np.ndarray] | None = None


def read_words(path: Path) -> Words:
    """A fastText model (.bin), or its text form (.vec: a line of two numbers, then lines of a word and its numbers)."""
    if path.suffix != ".vec":
        return Words(*word_vectors(path), lambda word: vector(word, path))
    words, rows, d = [], [], 0
    with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
        for number, line in enumerate(file, 1):
            parts = line.rstrip("\n").rstrip(" ").split(" ")
            if number == 1 and len(parts) == 2:
                continue
            d = d or len(parts) - 1
            if len(parts) != d + 1 or d < 1:
                raise CurateError(
                    "a line of another length", where=f"{path}:{number}", found=f"{len(parts) - 1} numbers", allowed=str(d)
                )
            words.append(parts[0])
            rows.append(np.array(parts[1:], np.float32))
    if not rows:
        raise CurateError("there are no vectors here", where=str(path))
    return Words(words, np.ones(len(words), np.int64), np.stack(rows))


def train_words(texts: Texts, out: Path, how: Vectors) -> Words:
    """Vectors of the words of the texts; a word is letters and digits, or one other sign."""
    lines = (" ".join(WORD.findall(text)) for text in texts())
    train_vectors(lines, out, _settings(how, OF_WORDS))
    return read_words(out)


def train_tokens(texts: Texts, tokenizer: Tokenizer, names: Sequence[str], out: Path, how: Vectors) -> np.ndarray:
    """(n, d): a vector for each token of the texts as `tokenizer` writes them (FOCUS); `names`: token by id."""
    written = _without_blanks(names)
    lines = (" ".join(written[i] for i in ids) for ids in _encoded(texts(), tokenizer))
    train_vectors(lines, out, _settings(how, OF_TOKENS))
    words, _, vectors = word_vectors(out)
    place = {name: i for i, name in enumerate(written)}
    found = np.zeros((len(names), vectors.shape[1]), np.float32)
    found[[place[word] for word in words]] = vectors
    return found


def from_words(tokenizer: Tokenizer, words: Words, n: int, is_weighted: bool) -> np.ndarray:
    """(n, d): the mean of the vectors of all words whose spelling has the token, alone or after a blank.

    `is_weighted`: by how often each was seen (WECHSEL, for vectors without n-grams), else plain (OFA)."""
    sums, weights = np.zeros((n, words.vectors.shape[1])), np.zeros(n)
    spelled = zip(_encoded(words.words, tokenizer), _encoded((f" {w}" for w in words.words), tokenizer), strict=True)
    for i, both in enumerate(spelled):
        ids = np.unique(np.concatenate(both)).astype(np.int64)
        weight = float(words.counts[i]) if is_weighted else 1.0
        sums[ids] += weight * words.vectors[i]
        weights[ids] += weight
    return np.divide(sums, weights[:, None], out=np.zeros_like(sums), where=weights[:, None] > 0).astype(np.float32)


def from_ngrams(tokenizer: Tokenizer, words: Words, n: int) -> np.ndarray:
    """(n, d): the vector that fastText makes of a token's text, without blanks around it (WECHSEL)."""
    assert words.by_ngrams is not None
    found = np.zeros((n, words.vectors.shape[1]), np.float32)
    for i in range(n):
        text = tokenizer.decode([i]).strip()
        if text and "\ufffd" not in text:
            found[i] = words.by_ngrams(text)
    return found


def alignment(source: Words, target: Words, dictionary: Iterable[tuple[str, str]]) -> np.ndarray:
    """(d, d) orthogonal: source vectors times it come nearest to their translations' (Procrustes: U V' of the SVD of S'T).

    A pair counts for each way of writing (as it is, lower, title) that both sides know, as in wechsel/__init__.py."""
    of_source = {word: i for i, word in enumerate(source.words)}
    of_target = {word: i for i, word in enumerate(target.words)}
    pairs = [
        (of_source[s], of_target[t])
        for one, other in dictionary
        for s in (one, one.lower(), one.title())
        for t in (other, other.lower(), other.title())
        if s in of_source and t in of_target
    ]
    if not pairs:
        raise CurateError(
            "no pair of the dictionary has vectors on both sides", where="rows.dictionary",
            next="more text for the vectors, or a lower rows.vectors.min_count",
        )  # fmt: skip
    left, right = (np.array(side) for side in zip(*pairs, strict=True))
    u, _, v = np.linalg.svd(source.vectors[left].astype(np.float64).T @ target.vectors[right].astype(np.float64))
    return u @ v


def read_dictionary(path: Path) -> list[tuple[str, str]]:
    """Lines of "source word <tab> target word" (a blank does as well where each side is one word)."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        parts = line.strip().split("\t") if "\t" in line else line.split()
        if len(parts) != 2:
            raise CurateError("a line of a dictionary is two words", where=f"{path}:{number}", found=line.strip()[:60])
        pairs.append((parts[0].strip(), parts[1].strip()))
    return pairs


def _settings(how: Vectors, of: dict[str, int]) -> dict[str, int | str]:
    own = {"epoch": how.epochs, "minCount": how.min_count}
    return {
        **of, **{key: value for key, value in own.items() if value is not None}, "model": "cbow", "dim": how.dim, "neg": how.negatives,
        "bucket": BUCKET,
    }  # fmt: skip


def _encoded(texts: Iterable[str], tokenizer: Tokenizer, batch: int = 256) -> Iterator[np.ndarray]:
    left = iter(texts)
    while part := list(islice(left, batch)):
        yield from tokenizer.encode_batch(part)


def _without_blanks(names: Sequence[str]) -> list[str]:
    """Names that fastText reads as one word each, none twice (it divides at blanks and at NUL)."""
    found: list[str] = []
    taken: set[str] = set()
    for i, name in enumerate(names):
        word = re.sub(r"[\s\0]", "\u2423", name) or "\u2423"
        word = f"{word}\u2423{i}" if word in taken or word == END else word
        found.append(word)
        taken.add(word)
    return found
