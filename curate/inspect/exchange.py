"""Making data elsewhere: prompts of a build out (`curate export-prompts`), answers or translations back in (`curate import-answers`).

Out: JSONL, a row {id, source, task, language, to?, license, messages, tools?, protected?} for each kept conversation: for `answer` up to
the last message that is not the assistant's, for `translate` whole, with placeholders for code, names and numbers (sources/protect.py)
and what each stands for. In: those rows, and rows {id, answer | messages | texts, generator?, seed?, date?, verdict?} of whoever
answered. Made of both: rows that a source of type conversation reads as they are; placeholders are put back there, and a damaged one is
a quarantine row. Nothing is generated here. Imports inspect.corpus, sources.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from curate.errors import CurateError, nearest
from curate.inspect.corpus import Connection, open_corpus, rows
from curate.inspect.tables import count
from curate.sources import protect
from curate.sources.records import Refused
from curate.store import write_atomic

BATCH = 1024
N_SHOWN = 5  # problems named
Row = dict[str, Any]


class Told(NamedTuple):
    """What holds for all answers of an import; a row's own words come first."""

    generator: str
    seed: str | None = None
    date: str | None = None
    license: str | None = None


def export_prompts(
    build_dir: Path, out: Path, task: Literal["answer", "translate"], *, to: str | None = None, sources: Sequence[str] = (),
    kinds: Collection[str] = protect.KINDS,
) -> Row:  # fmt: skip
    """Write OUT; {"rows", "without_prompt", "placeholders"}. Raises CurateError for a build without conversations or an unknown source."""
    if (task == "translate") != (to is not None):
        raise CurateError(
            "a translation goes into a language, an answer does not", where="--to", allowed="--task translate --to et"
        )
    counts = {"rows": 0, "without_prompt": 0, "placeholders": 0}
    lines: list[str] = []
    with open_corpus(build_dir) as corpus:
        for row in _kept(corpus, sources):
            made = _to_answer(row) if task == "answer" else _to_translate(row, to or "", kinds)
            if made is None:
                counts["without_prompt"] += 1
                continue
            counts["rows"] += 1
            counts["placeholders"] += sum(map(len, made.get("protected", ())))
            lines.append(json.dumps(made, ensure_ascii=False) + "\n")
    write_atomic(out, "".join(lines).encode())
    return {"build": str(build_dir), "file": str(out), "task": task, **counts}


def import_answers(prompts: Path, answers: Path, out: Path, told: Told) -> Row:
    """Write OUT; {"prompts", "answers", "rows", "unanswered", "damaged", "problems"}. Several answers of one prompt are a row each; answers
    that cannot be a row are named in `problems` and left out. `damaged`: rows whose placeholders ingest will refuse."""
    asked = {row["id"]: row for _, row in _read(prompts) if "id" in row}
    if not asked:
        raise CurateError("this file holds no prompts", where=str(prompts), next="curate export-prompts BUILD FILE")
    problems, lines, n_answers, n_damaged = [], [], 0, 0
    n_of: dict[str, int] = {}
    for place, answer in _read(answers):
        n_answers += 1
        prompt = asked.get(str(answer.get("id")))
        messages = None if prompt is None else _answered(prompt, answer)
        if prompt is None or messages is None:
            problems.append(f"{place}: " + ("no prompt has this id" if prompt is None else _WANTED[prompt["task"]]))
            continue
        n = n_of[prompt["id"]] = n_of.get(prompt["id"], 0) + 1
        row = _row(prompt, answer, messages, n, told)
        try:
            protect.restored(messages, row.get("protected", [{}] * len(messages)))
        except Refused:
            n_damaged += 1
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_atomic(out, "".join(lines).encode())
    return {
        "file": str(out), "prompts": len(asked), "answers": n_answers, "rows": len(lines), "unanswered": len(asked) - len(n_of),
        "damaged": n_damaged, "problems": problems,
    }  # fmt: skip


_WANTED = {"answer": "an answer is {id, answer: text}, or {id, messages: [...]}",
           "translate": "a translation is {id, texts: [...]} or {id, messages: [...]}, as many as the prompt has"}  # fmt: skip


def _kept(corpus: Connection, sources: Sequence[str]) -> Iterator[Row]:
    known = [r["source"] for r in rows(corpus, "SELECT DISTINCT source FROM texts WHERE messages IS NOT NULL ORDER BY source")]
    if not known:
        raise CurateError("this build has no conversations", where="BUILD", allowed="a build with sources of type: conversation")
    for name in sources:
        if name not in known:
            raise CurateError(
                f"no source of conversations {name!r}", where="--source", allowed=", ".join(nearest(name, known) or known)
            )
    names = ("id", "source", "messages", "language", "license", "parts")
    result = corpus.execute(
        f"""SELECT t.id, t.source, t.messages, o.language, o.license, t.parts FROM texts t
            JOIN documents o ON o.source = t.source AND o.id = t.id JOIN decisions d ON d.source = t.source AND d.id = t.id
            WHERE d.keep AND t.messages IS NOT NULL AND t.source IN ({", ".join("?" * len(sources or known))}) ORDER BY t.source, t.id""",
        list(sources or known),
    )
    while batch := result.fetchmany(BATCH):
        yield from (dict(zip(names, values, strict=True)) for values in batch)


def _common(row: Row, task: str) -> Row:
    found = {"id": row["id"], "source": row["source"], "task": task, "language": row["language"], "license": row["license"]}
    tools = json.loads(row["parts"]).get("tools") if row["parts"] else None
    return found | ({"tools": tools} if tools else {})


def _to_answer(row: Row) -> Row | None:
    """Up to the last message that is not the assistant's; None where there is none."""
    messages = json.loads(row["messages"])
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    return _common(row, "answer") | {"messages": messages} if messages else None


def _to_translate(row: Row, to: str, kinds: Collection[str]) -> Row:
    messages, kept, n = [], [], 1
    for one in json.loads(row["messages"]):
        content, own = protect.hidden(one["content"], kinds, n)
        messages.append({**one, "content": content})
        kept.append(own)
        n += len(own)
    return _common(row, "translate") | {"to": to, "messages": messages, "protected": kept}


def _answered(prompt: Row, answer: Row) -> list[Row] | None:
    """The messages of a finished conversation, still with placeholders; None where the answer does not fit its prompt."""
    given = answer.get("messages")
    if isinstance(given, list) and all(isinstance(one, dict) and isinstance(one.get("content"), str) for one in given):
        texts = [one["content"] for one in given]
        if prompt["task"] == "answer":
            return prompt["messages"] + [{"role": "assistant", **one} for one in given] if given else None
    elif prompt["task"] == "answer":
        text = answer.get("answer")
        return [*prompt["messages"], {"role": "assistant", "content": text}] if isinstance(text, str) else None
    else:
        texts = answer.get("texts") or []
    if not isinstance(texts, list) or len(texts) != len(prompt["messages"]) or not all(isinstance(text, str) for text in texts):
        return None
    return [{**one, "content": text} for one, text in zip(prompt["messages"], texts, strict=True)]


def _row(prompt: Row, answer: Row, messages: list[Row], n: int, told: Told) -> Row:
    said = {key: answer.get(key) if answer.get(key) is not None else value for key, value in told._asdict().items()}
    row = {"id": f"{prompt['id']}/{n}", "messages": messages, "language": prompt.get("to") or prompt["language"],
           "license": prompt["license"], "provenance": {key: value for key, value in said.items() if value is not None}}  # fmt: skip
    row |= {key: prompt[key] for key in ("tools", "protected") if key in prompt}
    return row | ({"verdict": answer["verdict"]} if answer.get("verdict") is not None else {})


def _read(path: Path) -> Iterator[tuple[str, Row]]:
    """(file:line, object) of a JSONL file."""
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for i, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    value = json.loads(line)
                except ValueError:
                    value = None
                if not isinstance(value, dict):
                    raise CurateError("a line that is no JSON object", where=f"{path}:{i}", found=line[:80])
                yield f"{path.name}:{i}", value
    except (FileNotFoundError, IsADirectoryError):
        raise CurateError("there is no such file", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise CurateError("this is not UTF-8", where=str(path), found=str(error)) from None


def render(data: Mapping[str, Any]) -> str:
    """What was written, and what could not be."""
    if "task" in data:
        found = [f"{count(data['rows'])} conversations to {data['task']}, in {data['file']}"]
        if data["task"] == "translate":
            found.append(f"{count(data['placeholders'])} placeholders for what must not be translated")
        if data["without_prompt"]:
            found.append(f"{count(data['without_prompt'])} without anything to answer")
        return "\n".join(found)
    found = [
        f"{count(data['rows'])} rows of {count(data['answers'])} answers to {count(data['prompts'])} prompts, in {data['file']}",
        f"unanswered {count(data['unanswered'])}, damaged placeholders {count(data['damaged'])} (ingest puts these into quarantine)",
    ]  # fmt: skip
    found += [f"left out: {problem}" for problem in data["problems"][:N_SHOWN]]
    found += [f"and {count(len(data['problems']) - N_SHOWN)} more"] if len(data["problems"]) > N_SHOWN else []
    return "\n".join(found)
