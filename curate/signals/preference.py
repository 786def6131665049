"""Family preference: prompt, chosen and rejected in; margin, sizes, languages and what stands in what out. Pure; of sources of type
preference.

Longer answers are preferred by people and models alike, and a model learns that first (Singhal et al. 2023, arXiv 2310.03716): the sizes
say how much of it a source has. Words are those of the segmentation, compared without letter case. Imports langid and text.
"""

from __future__ import annotations

import functools
import json

import numpy as np
import pyarrow as pa

from curate import langid, text
from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio

_IS = "0 or 1"

FAMILY = Family("preference", 1, (
    Column("preference_margin", "points", "by how much chosen is better, in the source's own points; missing where the row says nothing",
           "float32", None),
    Column("n_prompt_turns", "turns", "messages of the prompt, one of the system among them"),
    Column("n_prompt_chars", "code points", "of the contents of the prompt"),
    Column("n_chosen_chars", "code points", "of the chosen answer"),
    Column("n_rejected_chars", "code points", "of the rejected answer"),
    Column("n_longer_answer_chars", "code points", "of the longer answer"),
    Column("n_shorter_answer_chars", "code points", "of the shorter answer"),
    Column("is_chosen_longer", _IS, "the chosen answer has more code points than the rejected one", "int64", 0, 1),
    Column("n_chosen_words", "words", "of the chosen answer"),
    Column("n_rejected_words", "words", "of the rejected answer"),
    Column("n_shared_answer_words", "words", "words that both answers have, each as often as in the answer that has it less often"),
    Column("n_joint_answer_words", "words", "words of both answers, the shared ones once"),
    Column("n_chosen_prompt_words", "words", "words of the chosen answer that the prompt has, each as often as in both"),
    Column("n_rejected_prompt_words", "words", "the same of the rejected answer"),
    Column("is_chosen_in_prompt", _IS, "the whole chosen answer stands in the prompt, between white space; case and white space do not "
           "count", "int64", 0, 1),
    Column("is_rejected_in_prompt", _IS, "the same of the rejected answer; for corrections it always does", "int64", 0, 1),
    Column("is_last_turn_in_chosen", _IS, "the whole last message of the prompt stands in the chosen answer", "int64", 0, 1),
    Column("is_chosen_in_rejected", _IS, "the chosen answer is a part of the rejected one", "int64", 0, 1),
    Column("is_rejected_in_chosen", _IS, "the rejected answer is a part of the chosen one", "int64", 0, 1),
    Column("prompt_language", "code", "by the recipe's first entry of language_id; und where nothing says", "string", None),
    Column("chosen_language", "code", "the same of the chosen answer", "string", None),
    Column("rejected_language", "code", "the same of the rejected answer", "string", None),
    Column("n_answers_in_other_language", "answers", "answers in another language than the prompt; those where one is und do not count",
           "int64", 0, 2),
), (
    Ratio("chosen_rejected_char_ratio", "n_chosen_chars", "n_rejected_chars", "above 1 where chosen is longer"),
    Ratio("answer_char_ratio", "n_longer_answer_chars", "n_shorter_answer_chars", "1 or more, whichever is longer"),
    Ratio("answer_overlap_ratio", "n_shared_answer_words", "n_joint_answer_words", "1 where both have the same words"),
    Ratio("chosen_prompt_ratio", "n_chosen_prompt_words", "n_chosen_words", "1 where every word of chosen stands in the prompt"),
    Ratio("rejected_prompt_ratio", "n_rejected_prompt_words", "n_rejected_words", "1 where every word of rejected stands in the prompt"),
))  # fmt: skip

READS = ("prompt", "chosen", "rejected", "parts")


def measurer(spec: langid.Spec, words: str) -> Measurer:
    return Measurer(FAMILY, functools.partial(measure, spec, words), langid.identity(spec), reads=READS)


def measure(spec: langid.Spec, words: str, batch: Batch) -> Columns:
    prompts, chosen, rejected, parts = (batch.columns[name].to_pylist() for name in READS)
    turns = [json.loads(prompt) for prompt in prompts]
    asked = ["\n\n".join(turn["content"] for turn in one if turn["content"]) for one in turns]
    n_chars = np.array([[len(one) for one in row] for row in zip(asked, chosen, rejected, strict=True)], np.int64).reshape(-1, 3)
    margins = [json.loads(part).get("margin") if part else None for part in parts]
    return {
        "preference_margin": [None if margin is None else round(float(margin), 4) for margin in margins],
        "n_prompt_turns": np.array([len(one) for one in turns], np.int64),
        "n_prompt_chars": n_chars[:, 0],
        "n_chosen_chars": n_chars[:, 1],
        "n_rejected_chars": n_chars[:, 2],
        "n_longer_answer_chars": n_chars[:, 1:].max(axis=1),
        "n_shorter_answer_chars": n_chars[:, 1:].min(axis=1),
        "is_chosen_longer": (n_chars[:, 1] > n_chars[:, 2]).astype(np.int64),
        **_inside([one[-1]["content"] for one in turns], asked, chosen, rejected),
        **_compared(spec, words, [one for row in zip(asked, chosen, rejected, strict=True) for one in row]),
    }


def _inside(last: list[str], asked: list[str], chosen: list[str], rejected: list[str]) -> Columns:
    last, asked, chosen, rejected = (
        [f" {' '.join(one.lower().split())} " for one in column] for column in (last, asked, chosen, rejected)
    )
    pairs = {
        "is_chosen_in_prompt": (chosen, asked), "is_rejected_in_prompt": (rejected, asked), "is_last_turn_in_chosen": (last, chosen),
        "is_chosen_in_rejected": (chosen, rejected), "is_rejected_in_chosen": (rejected, chosen),
    }  # fmt: skip
    return {name: np.array([a in b for a, b in zip(*pair, strict=True)], np.int64) for name, pair in pairs.items()}


def _compared(spec: langid.Spec, words: str, texts: list[str]) -> Columns:
    """Of prompt, chosen, rejected, prompt, ...: languages, and words that two of them share."""
    data, offsets = text.buffers(pa.array(texts, pa.large_string()))
    language = langid.identify(data, offsets, spec).language.reshape(-1, 3)
    seg = text.segment(data, offsets, words)
    n_words = np.diff(seg.doc_ptr).reshape(-1, 3)
    of = np.repeat(np.arange(len(texts)), np.diff(seg.doc_ptr))
    row, kind = of // 3, of % 3
    shared = {pair: _shared(row, kind, seg.lower, pair, len(n_words)) for pair in ((1, 2), (0, 1), (0, 2))}
    is_known = language != "und"
    differs = (language[:, 1:] != language[:, :1]) & is_known[:, 1:] & is_known[:, :1]
    return {
        "n_chosen_words": n_words[:, 1],
        "n_rejected_words": n_words[:, 2],
        "n_shared_answer_words": shared[1, 2],
        "n_joint_answer_words": n_words[:, 1] + n_words[:, 2] - shared[1, 2],
        "n_chosen_prompt_words": shared[0, 1],
        "n_rejected_prompt_words": shared[0, 2],
        "prompt_language": language[:, 0],
        "chosen_language": language[:, 1],
        "rejected_language": language[:, 2],
        "n_answers_in_other_language": differs.sum(axis=1).astype(np.int64),
    }


def _shared(row: np.ndarray, kind: np.ndarray, word: np.ndarray, pair: tuple[int, int], n: int) -> np.ndarray:
    """int64 (n,): by row, words of the two kinds of text that both have, as often as both have them."""
    mine = (kind == pair[0]) | (kind == pair[1])
    row, kind, word = row[mine], kind[mine], word[mine]
    if not len(row):
        return np.zeros(n, np.int64)
    order = np.lexsort((word, row))
    row, kind, word = row[order], kind[order], word[order]
    begin = np.flatnonzero(np.concatenate([[True], (row[1:] != row[:-1]) | (word[1:] != word[:-1])]))
    of_first = np.add.reduceat((kind == pair[0]).astype(np.int64), begin)
    n_both = np.diff(np.append(begin, len(row)))
    found = np.zeros(n, np.int64)
    np.add.at(found, row[begin], np.minimum(of_first, n_both - of_first))
    return found
