"""Blind side-by-side: answers of two or more models to the same prompts in, a folder for judges out; their votes read back.

The folder (pairs.jsonl, pairs.csv, vote.html) names no model. Which answer is whose stands in the key, a file beside the folder, never in it.
A pair is a prompt and two answers, A and B; of every two models each is A as often as the other, give or take one. Equal answers are not
asked about; they are counted apart. A vote is {pair, judge, vote: a | b | tie | skip, note}, CSV (that of the page, or pairs.csv filled in) or
JSON lines. The order of the pairs and who is A come from `seed`. May import curate.errors, curate.store, train.evaluation.results.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import random
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import CurateError, nearest
from curate.store import file_sha256, read_json, write_json
from train.evaluation.results import Row, read_items

VOTES = ("a", "b", "tie", "skip")
PAGE = Path(__file__).with_name("vote.html")
QUESTION = "Which answer is better?"


@dataclass(frozen=True)
class Pair:
    """`item`: task and id; `models`: whose answers A and B are."""

    id: str
    item: tuple[str, str]
    prompt: str
    answers: tuple[str, str]
    models: tuple[str, str]

    @property
    def shown(self) -> dict[str, str]:
        return {"pair": self.id, "prompt": self.prompt, "a": self.answers[0], "b": self.answers[1]}


@dataclass(frozen=True)
class Vote:
    """`orders`: what a judge that was asked in both orders said each time, by place (a: the first shown); else the one vote."""

    pair: str
    judge: str
    vote: str
    orders: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Exported:
    folder: Path
    key: Path
    n_pairs: int
    n_equal: int
    n_other_prompt: int

    def data(self) -> dict[str, Any]:
        return {**self.__dict__, "folder": str(self.folder), "key": str(self.key)}

    def text(self) -> str:
        lines = [
            f"{self.n_pairs} pairs in {self.folder} (vote.html, pairs.csv, pairs.jsonl)",
            f"the key, not for judges: {self.key}",
        ]
        if self.n_equal:
            lines.append(f"{self.n_equal} pairs of equal answers are not asked about")
        if self.n_other_prompt:
            lines.append(f"{self.n_other_prompt} pairs are left out: the two models were given different prompts")
        return "\n".join([*lines, f"next: curate train judge import {self.key} VOTES..."])


# ---- out


def export(
    models: Mapping[str, Path], to: Path, key: Path | None = None, *, tasks: Sequence[str] = (), limit: int | None = None,
    seed: int = 0, question: str = QUESTION,
) -> Exported:  # fmt: skip
    """`models`: name -> folder of results. `limit`: pairs of every two models."""
    to, key = Path(to), Path(key or f"{to}.key.json")
    if len(models) < 2:
        raise CurateError("side by side needs two models", found=", ".join(models), allowed="NAME=RESULTS NAME=RESULTS ...")
    for place in (to, key):
        if place.exists():
            raise CurateError(
                "this is already there", where=str(place), next="another --to, or remove it; votes fit one key only"
            )
    if key.resolve().is_relative_to(to.resolve()):
        raise CurateError("the key must not lie in the folder that judges see", where="--key", found=str(key))
    answers = {name: _answers(folder, tasks) for name, folder in models.items()}
    pairs, equal, n_other = _pairs(answers, limit, seed)
    if not pairs:
        raise CurateError(
            "there is nothing to judge", found=f"{len(equal)} pairs of equal answers, {n_other} with different prompts",
            allowed="tasks with generated answers that both models were asked alike",
        )  # fmt: skip
    digest = _write(to, pairs, question)
    write_json(key, {
        "kind": "judge_key", "seed": seed, "question": question, "pairs_sha256": digest, "models": sorted(models),
        "pairs": {p.id: {"a": p.models[0], "b": p.models[1], "task": p.item[0], "item": p.item[1]} for p in pairs},
        "equal": [{"models": list(names), "task": item[0], "item": item[1]} for names, item in equal],
    })  # fmt: skip
    return Exported(to, key, len(pairs), len(equal), n_other)


def _answers(folder: Path, tasks: Sequence[str]) -> dict[tuple[str, str], Row]:
    """Items with an answer, by task and id."""
    items = [item for item in read_items(Path(folder)) if item["answers"] and item["prompt"] is not None]
    known = sorted({item["task"] for item in items})
    for task in tasks:
        if task not in known:
            raise CurateError(
                "no answers of this task", where=str(folder), found=task, allowed=", ".join(nearest(task, known) or known)
            )
    return {(item["task"], item["item"]): item for item in items if not tasks or item["task"] in tasks}


def _pairs(
    answers: Mapping[str, Mapping[tuple[str, str], Row]], limit: int | None, seed: int
) -> tuple[list[Pair], list[tuple[tuple[str, str], tuple[str, str]]], int]:  # fmt: skip
    """(pairs in the order they are shown, (models, item) of equal answers, pairs with different prompts)."""
    draw = random.Random(seed)
    pairs: list[Pair] = []
    equal, n_other = [], 0
    ranked: dict[tuple[str, str], float] = {item: draw.random() for item in sorted(set().union(*answers.values()))}
    for names in itertools.combinations(sorted(answers), 2):
        first, second = (answers[name] for name in names)
        found = []
        for item in sorted(set(first) & set(second), key=ranked.__getitem__):
            one, two = first[item], second[item]
            if one["prompt"] != two["prompt"]:
                n_other += 1
            elif one["answers"][0].strip() == two["answers"][0].strip():
                equal.append((names, item))
            else:
                found.append(item)
        found = found[:limit]
        swaps = [i % 2 == 1 for i in range(len(found))]
        if len(found) % 2:
            swaps[-1] = draw.random() < 0.5
        draw.shuffle(swaps)
        for item, swap in zip(found, swaps, strict=True):
            order = names[::-1] if swap else names
            texts = [answers[name][item]["answers"][0].strip() for name in order]  # spaces would tell the model
            pairs.append(Pair(_id(seed, names, item), item, first[item]["prompt"], (texts[0], texts[1]), (order[0], order[1])))
    draw.shuffle(pairs)
    return pairs, equal, n_other


def _id(seed: int, names: tuple[str, str], item: tuple[str, str]) -> str:
    """Says nothing of who is A."""
    return hashlib.sha256(json.dumps([seed, *names, *item]).encode()).hexdigest()[:12]


def _write(to: Path, pairs: Sequence[Pair], question: str) -> str:
    """The folder, whole or not there; the hash of its pairs."""
    temporary = to.with_name(f".{to.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir(parents=True)
    lines = "".join(json.dumps(pair.shown, ensure_ascii=False) + "\n" for pair in pairs)
    (temporary / "pairs.jsonl").write_text(lines, encoding="utf-8")
    digest = file_sha256(temporary / "pairs.jsonl")
    (temporary / "pairs.csv").write_text(_sheet(pairs), encoding="utf-8-sig", newline="")
    data = {"id": digest[:16], "question": question, "pairs": [pair.shown for pair in pairs]}
    embedded = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")  # no </script> inside
    (temporary / "vote.html").write_text(PAGE.read_text(encoding="utf-8").replace("__DATA__", embedded), encoding="utf-8")
    os.rename(temporary, to)
    return digest


def _sheet(pairs: Sequence[Pair]) -> str:
    """For a spreadsheet. Text that such programs would run as a formula gets an apostrophe before it."""
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(["pair", "judge", "vote", "note", "prompt", "a", "b"])
    for pair in pairs:
        texts = (pair.prompt, *pair.answers)
        table.writerow([pair.id, "", "", "", *(f"'{t}" if t[:1] in "=+-@\t\r" and t else t for t in texts)])
    return out.getvalue()


# ---- in


def read_pairs(folder: Path) -> list[dict[str, str]]:
    """What judges see, in its order."""
    path = Path(folder) / "pairs.jsonl"
    if not path.is_file():
        raise CurateError(
            "this is no folder of pairs", where=str(folder), next="curate train judge export NAME=RESULTS ... --to FOLDER"
        )
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def read_key(path: Path) -> dict:
    key = read_json(Path(path))
    if key.get("kind") != "judge_key":
        raise CurateError("this is not a key of `curate train judge export`", where=str(path))
    return key


def read_votes(paths: Iterable[Path], key: Mapping[str, Any]) -> tuple[list[Vote], int]:
    """(the last vote of every judge on every pair, votes that were replaced by a later one). Raises CurateError naming file and line."""
    found: dict[tuple[str, str], Vote] = {}
    n = 0
    for path in paths:
        for line, row in _rows(Path(path)):
            vote = _vote(row, key, f"{path}:{line}")
            if vote is not None:
                found[vote.judge, vote.pair] = vote
                n += 1
    return [*found.values()], n - len(found)


def _vote(row: Mapping[str, Any], key: Mapping[str, Any], where: str) -> Vote | None:
    """None where nothing was voted."""
    pair, judge, vote = (str(row.get(name) or "").strip() for name in ("pair", "judge", "vote"))
    if not vote:
        return None
    if vote.lower() not in VOTES:
        raise CurateError("no such vote", where=where, found=vote, allowed=", ".join(VOTES))
    if pair not in key["pairs"]:
        raise CurateError(
            "the key knows no such pair", where=where, found=pair, next="the votes and the key of one export belong together"
        )
    if not judge:
        raise CurateError("a vote needs its judge's name", where=where, found=json.dumps(dict(row), ensure_ascii=False)[:200])
    orders = tuple(str(one) for one in row.get("orders") or ())
    if any(one not in VOTES for one in orders):
        raise CurateError("no such vote", where=where, found=str(row.get("orders")), allowed=", ".join(VOTES))
    return Vote(pair, judge, vote.lower(), orders, str(row.get("note") or ""))


def _rows(path: Path) -> Iterator[tuple[int, dict]]:
    """(line, row) of CSV with commas or semicolons, or of JSON lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise CurateError("there is no such file", where=str(path)) from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise CurateError("this is no file of votes in UTF-8", where=str(path), found=str(error)) from None
    if text.lstrip()[:1] == "{":
        yield from _json_lines(path, text)
        return
    head = text.split("\n", 1)[0]
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if ";" in head and "," not in head else ",")
    if missing := [name for name in ("pair", "judge", "vote") if name not in (table.fieldnames or ())]:
        raise CurateError("a column is missing", where=str(path), found=head.strip()[:200], allowed=", ".join(missing))
    for row in table:
        yield table.line_num, row


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise CurateError("this line is no JSON", where=f"{path}:{number}", found=str(error)) from None
            if not isinstance(row, dict):
                raise CurateError("this line is no vote", where=f"{path}:{number}", found=line[:100])
            yield number, row
