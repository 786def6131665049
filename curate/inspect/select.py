"""`curate select BUILD`: a small set of conversations, by difficulty, of a length, in balanced languages, no two alike.

In: a build folder, of whose sources of conversations the kept documents are candidates. Out: picks in the order they were made, each
with what speaks for it, as rows and as a list of ids for `where: {id: {file: ...}}`. The greedy of DEITA (Liu et al. 2024, arXiv
2312.15685, section 2.4): hardest first, taken where no pick is too similar; its distance of embeddings is here the Jaccard index of the
words of the prompts, each weighted by how rare it is. Pensez (arXiv 2503.13661) selects 2,000 by length, language, difficulty and
diversity, half in each language; its exact rules are not published (reference/recipes-of-record.md). Deterministic: no seed, no clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from curate import text
from curate.errors import CurateError, nearest
from curate.inspect.corpus import Connection, open_corpus, rows, signals_of
from curate.inspect.tables import count, number, table
from curate.store import write_atomic

BATCH = 4096  # conversations read at once
COMMON = 0.1  # a word in more of the prompts than this says nothing of them (a guess)
LANGUAGE, LENGTH = "user_language", "n_answer_words"


class Ask(NamedTuple):
    size: int
    languages: tuple[str, ...] = ()  # each as many; (): whatever comes
    difficulty: str = LENGTH  # a signal, its larger values harder; -signal: its smaller ones
    min_answer_words: int = 0
    max_answer_words: int | None = None
    max_similarity: float = 0.5
    sources: tuple[str, ...] = ()  # (): all of conversations


class Candidates(NamedTuple):
    """Kept conversations of the length asked for, hardest first, then by source and id. Lists of one length."""

    id: list[str]
    source: list[str]
    language: list[str]
    answer_words: list[int]
    difficulty: list[float]
    words: list[np.ndarray]  # of the prompt: int64, distinct, numbers of `weight`
    weight: np.ndarray  # float64 by word: ln(conversations / those that have it), 0 for common ones


def select(build_dir: Path, ask: Ask) -> dict[str, Any]:
    """{"picks": [...], "left": {reason: candidates}, "short": {language: how many too few}, ...}. Raises CurateError for a build without
    conversations, a source or signal that is not there, and sizes that cannot be."""
    if ask.size < 1 or not 0 < ask.max_similarity <= 1:
        raise CurateError("a set has at least one conversation, and similarity is in (0, 1]", where="--n, --max-similarity")
    with open_corpus(build_dir) as corpus:
        found = _candidates(corpus, Path(build_dir), ask)
    quota = quotas(ask.size, ask.languages)
    picks, left = greedy(found, quota, ask)
    taken = {name: sum(p["language"] == name for p in picks) for name in quota} if ask.languages else {"": len(picks)}
    short = {name: n - taken[name] for name, n in quota.items() if taken[name] < n}
    return {
        "build": str(build_dir),
        "asked": ask._asdict(),
        "candidates": len(found.id),
        "picks": picks,
        "left": left,
        "short": short,
    }


def quotas(size: int, languages: Sequence[str]) -> dict[str, int]:
    """Equal parts, the first languages one more where it does not divide; "" is any language."""
    each, more = divmod(size, max(len(languages), 1))
    return {name: each + (i < more) for i, name in enumerate(languages)} if languages else {"": size}


def greedy(found: Candidates, quota: Mapping[str, int], ask: Ask) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Hardest first; who is not taken is counted by why: another language, its language is full, too similar to a pick."""
    open_ = dict(quota)
    holders: dict[int, list[int]] = {}  # word -> picks whose prompt has it
    sums: list[float] = []  # of a pick's weights
    picks: list[dict[str, Any]] = []
    left = {"other_language": 0, "language_full": 0, "too_similar": 0}
    for i, words in enumerate(found.words):
        language = found.language[i] if ask.languages else ""
        if language not in open_:
            left["other_language"] += 1
            continue
        if not open_[language]:
            left["language_full"] += 1
            continue
        at, similarity = _nearest(words, found.weight, holders, sums)
        if similarity > ask.max_similarity:
            left["too_similar"] += 1
            continue
        for word in words.tolist():
            if found.weight[word] > 0:
                holders.setdefault(word, []).append(len(picks))
        sums.append(float(found.weight[words].sum()))
        open_[language] -= 1
        picks.append({
            "pick": len(picks) + 1, "id": found.id[i], "source": found.source[i], "language": found.language[i],
            "answer_words": found.answer_words[i], "difficulty": found.difficulty[i], "harder_candidates": i,
            "nearest": picks[at]["id"] if at >= 0 else None, "similarity": round(similarity, 4),
        })  # fmt: skip
    return picks, left


def _nearest(words: np.ndarray, weight: np.ndarray, holders: Mapping[int, list[int]], sums: Sequence[float]) -> tuple[int, float]:
    """(the pick most similar to a prompt, the first among equals, or -1; their weighted Jaccard index)."""
    own = [(holders[word], weight[word]) for word in words.tolist() if word in holders]
    if not own:
        return -1, 0.0
    who = np.concatenate([np.array(picks, np.int64) for picks, _ in own])
    shared = np.bincount(who, np.repeat([w for _, w in own], [len(picks) for picks, _ in own]), len(sums))
    similarity = shared / (float(weight[words].sum()) + np.array(sums) - shared)
    at = int(similarity.argmax())
    return at, float(similarity[at])


def _candidates(corpus: Connection, build_dir: Path, ask: Ask) -> Candidates:
    known = [
        r["source"]
        for r in rows(corpus, "SELECT source FROM stages WHERE stage = 'signals' AND family = 'conversation' ORDER BY ALL")
    ]
    if not known:
        raise CurateError(
            "this build has no conversations", where=str(build_dir), allowed="a build with sources of type: conversation"
        )
    for name in ask.sources:
        if name not in known:
            raise CurateError(
                f"no source of conversations {name!r}", where="--source", allowed=", ".join(nearest(name, known) or known)
            )
    signal = ask.difficulty.removeprefix("-")
    columns = [r["column_name"] for r in rows(corpus, "SELECT column_name FROM duckdb_columns() WHERE table_name = 'signals'")]
    if signal not in columns:
        raise CurateError(f"no signal {signal!r}", where="--difficulty", allowed=", ".join(nearest(signal, columns) or [LENGTH]))
    sources = ask.sources or tuple(known)
    query = f"""
      SELECT s.id, s.source, s.{LANGUAGE} AS language, s.{LENGTH} AS answer_words, s."{signal}"::DOUBLE AS difficulty, t.messages
      FROM ({signals_of(corpus, build_dir, {LANGUAGE, LENGTH, signal})}) s JOIN decisions d ON d.source = s.source AND d.id = s.id
      JOIN texts t ON t.source = s.source AND t.id = s.id
      WHERE d.keep AND s.source IN ({", ".join("?" * len(sources))}) AND s.{LENGTH} BETWEEN ? AND ? AND s."{signal}" IS NOT NULL
      ORDER BY s."{signal}" {"ASC" if ask.difficulty.startswith("-") else "DESC"}, s.source, s.id
    """
    most = 2**62 if ask.max_answer_words is None else ask.max_answer_words
    result = corpus.execute(query, [*sources, ask.min_answer_words, most])
    columns_: list[list[Any]] = [[], [], [], [], []]
    hashes: list[np.ndarray] = []
    while batch := result.fetchmany(BATCH):
        *own, messages = zip(*batch, strict=True)
        for column, values in zip(columns_, own, strict=True):
            column += values
        hashes += _prompt_words(messages)
    words, weight = _weighted(hashes)
    id_, source, language, answer_words, difficulty = columns_
    return Candidates(id_, source, language, answer_words, difficulty, words, weight)


def _prompt_words(messages: Sequence[str]) -> Iterator[np.ndarray]:
    """Hashes of the distinct words, in lower case, of what the user says."""
    prompts = ["\n\n".join(one["content"] for one in json.loads(chat) if one["role"] == "user") for chat in messages]
    seg = text.segment(*text.buffers(pa.array(prompts, pa.large_string())))
    for first, last in zip(seg.doc_ptr[:-1].tolist(), seg.doc_ptr[1:].tolist(), strict=True):
        yield np.unique(seg.lower[first:last])


def _weighted(hashes: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """(the same words as numbers, the weight of each)."""
    if not hashes:
        return [], np.zeros(0)
    every = np.concatenate(hashes)
    _, numbers, n_having = np.unique(every, return_inverse=True, return_counts=True)
    n = len(hashes)
    weight = np.where(n_having > max(COMMON * n, 2), 0.0, np.log(n / n_having))
    ends = np.cumsum([len(h) for h in hashes])[:-1]
    return np.split(numbers.astype(np.int64), ends), weight


def write(data: Mapping[str, Any], out: Path) -> list[Path]:
    """OUT.jsonl, a row per pick with what speaks for it, and OUT.txt, the ids: for `where: {id: {file: OUT.txt}}` of a component."""
    files = [out.with_suffix(suffix) for suffix in (".jsonl", ".txt")]
    told = "".join(json.dumps(pick, ensure_ascii=False) + "\n" for pick in data["picks"])
    head = f"# {len(data['picks'])} conversations of {data['build']}: {json.dumps(data['asked'], ensure_ascii=False)}\n"
    for file, content in zip(files, (told, head + "".join(f"{pick['id']}\n" for pick in data["picks"])), strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, content.encode())
    return files


def render(data: Mapping[str, Any], n: int = 20) -> str:
    """How many of what, and the first picks."""
    languages = {
        name: sum(p["language"] == name for p in data["picks"]) for name in sorted({p["language"] for p in data["picks"]})
    }
    found = [
        f"{count(len(data['picks']))} of {count(data['candidates'])} candidates: " + ", ".join(f"{k} {count(v)}" for k, v in languages.items()),
        "left: " + ", ".join(f"{name.replace('_', ' ')} {count(of)}" for name, of in data["left"].items()),
    ]  # fmt: skip
    found += [
        f"SHORT: {n_} too few{f' in {name}' if name else ''}: ask for fewer, or allow more similar ones"
        for name, n_ in data["short"].items()
    ]
    shown = [[count(p["pick"]), p["id"][:12], p["source"], p["language"], count(p["answer_words"]), number(p["difficulty"]),
              (p["nearest"] or "-")[:12], f"{p['similarity']:.2f}"] for p in data["picks"][:n]]  # fmt: skip
    found += table(
        ["pick", "id", "source", "language", "answer words", data["asked"]["difficulty"], "nearest pick", "similarity"],
        shown,
        ">><<>><>",
        "  ",
    )
    return "\n".join(found)
