"""`curate train evaluate RUN.yaml`: a model and a suite in; a folder of results out, filled task by task.

A task that is done with the same inputs (task, items, model, seed, limit, batch, versions) is not run again; one that cannot be run says why
and the others go on: exit code 3. A failed gate is exit code 1. May import curate.*'s contract, train.*; tqdm.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

from curate.errors import CurateError
from curate.store import canonical_json
from train import tokenizer as manifest_tokenizer
from train.config import ModelSpec
from train.evaluation import bits, data, results, scoring
from train.evaluation.contamination import Found, found_items, is_contaminated
from train.evaluation.data import Items
from train.evaluation.gate import Verdict, check
from train.evaluation.harness import NAME, Asker, Heard, Prepared, harness_version
from train.evaluation.load import Loaded, load
from train.evaluation.metrics import VERSION
from train.evaluation.results import Row
from train.evaluation.suite import Suite, Task, chosen, load_evaluation, load_suite
from train.model import Scorer
from train.streams import Streams, open_streams
from train.tokenizer import Found as FoundTokenizer

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asking:
    """A model, a suite, and what of it is asked how."""

    loaded: Loaded
    suite: Suite
    tasks: Sequence[Task]
    folder: Path
    spec: ModelSpec  # where the model's tokenizer is looked for
    roots: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    seed: int = 0
    batch: int = 8
    manifest: Path | None = None  # what {manifest: run} is outside a run
    found: Found | None = None  # what a build found of evaluation sets
    opened: tuple[Streams, FoundTokenizer] | None = None  # inside a run: its own held-out rows
    askers: dict[str, Asker] = field(default_factory=dict)

    def asker(self, bos: str) -> Asker:
        if bos not in self.askers:
            self.askers[bos] = Asker(self.loaded, self.batch, bos)
        return self.askers[bos]

    def limit_of(self, task: Task) -> int | None:
        limits = [n for n in (self.limit, task.limit) if n is not None]
        return min(limits) if limits else None


@dataclass(frozen=True)
class Ended:
    """`problems`: one sentence a task that could not be run. `left_out`: tasks whose data nobody named yet."""

    rows: list[Row]
    problems: dict[str, str]
    left_out: dict[str, str]


def run(run_file: str | Path, sets: Sequence[str] = ()) -> int:
    """0; 1 where a gate failed; 3 where a task could not be run. Raises CurateError."""
    settings = load_evaluation(Path(run_file), sets)
    suite = load_suite(Path(settings.suite))
    tasks = chosen(suite, settings.tasks)
    check_suite(suite, tasks)
    found = found_items(Path(settings.contamination)) if settings.contamination else None
    loaded = load(settings.model)
    subject, folder = settings.model, Path(settings.to)
    spec = ModelSpec(init=subject.init, revision=subject.revision, tokenizer=subject.tokenizer)
    manifest = Path(settings.manifest) if settings.manifest else None
    asking = Asking(
        loaded, suite, tasks, folder, spec, settings.roots, settings.limit, settings.seed, settings.batch, manifest=manifest, found=found
    )  # fmt: skip
    ended = evaluate(asking, lambda text: print(text, file=sys.stderr))
    print(table(ended, folder))
    verdict: Verdict | None = None
    if settings.gate is not None:
        verdict = check(Path(settings.gate.before), folder, settings.gate.rules, seed=settings.seed)
        print(verdict.text())
    return 1 if verdict is not None and verdict.failed else 3 if ended.problems else 0


def check_suite(suite: Suite, tasks: Sequence[Task]) -> None:
    """Everything that can be known before a model is opened."""
    harness_version()
    for task in tasks:
        try:
            scoring.check_metrics(task)
        except CurateError as error:
            raise CurateError(error.what, where=f"{suite.name}: {task.name}.metrics", allowed=error.allowed) from None


def evaluate(asking: Asking, say: Say) -> Ended:
    """All tasks, one by one; results.parquet and items.parquet are written after each."""
    ended = Ended([], {}, {})
    items: list[Row] = []
    for number, task in enumerate(asking.tasks, 1):
        head = f"{number}/{len(asking.tasks)} {task.name}"
        if task.data is None:
            ended.left_out[task.name] = task.needs
            say(f"{head}: left out, its data is not named: {task.needs}")
            continue
        try:
            rows, own = _done_or_asked(asking, task, head, say)
        except CurateError as error:
            ended.problems[task.name] = str(error)
            say(f"{head}: cannot be run: {error}")
            continue
        except torch.OutOfMemoryError as error:
            ended.problems[task.name] = (
                f"the device's memory is too small: {str(error).split('. ')[0]}; --set batch={max(1, asking.batch // 2)}"
            )
            say(f"{head}: cannot be run: {ended.problems[task.name]}")
            continue
        ended.rows.extend(rows)
        items += own
        results.write_tables(asking.folder, ended.rows, items)
    return ended


def _done_or_asked(asking: Asking, task: Task, head: str, say: Say) -> tuple[list[Row], list[Row]]:
    assert task.data is not None
    if task.data.manifest:
        return _held_out(asking, task, head, say)
    read = data.read(task.data, task.fields, _file_of(asking))
    pool = data.read(task.shots_from, task.fields, _file_of(asking)) if task.shots_from and task.shots else None
    key = _key(asking, task, [read.sha256, pool.sha256 if pool else ""])
    if known := results.read_task(asking.folder, task.name, key):
        say(f"{head}: done before with the same inputs")
        return known
    if task.kind == "bits_per_byte":
        asker = asking.asker("no")
        rows = read.rows[: asking.limit_of(task)]
        with _heard(head, len(rows)) as heard:
            items = scoring.of_bits(task, task.name, bits.texts(asker, rows, heard), task.language)
        bos = f"prefix: {asker.prefix}"
    else:
        asker = asking.asker(task.bos)
        prepared = Prepared(asker, task, read.rows, pool.rows if pool else None, asking.limit_of(task), asking.seed)
        with _heard(head, len(prepared.requests)) as heard:
            items = _asked(prepared, task, heard)
        bos = asker.bos
    if asking.found is not None:
        _mark(items, read, asking.found, head, say)
    rows_of = scoring.rows_of(task, items, _about(asking, task, read.origin, read.sha256, bos), asking.seed)
    results.write_task(asking.folder, task.name, key, rows_of, items)
    return rows_of, items


def _asked(prepared: Prepared, task: Task, heard: Heard) -> list[Row]:
    if task.kind == "multiple_choice":
        return scoring.of_choices(task, prepared.prompts, prepared.log_likelihoods(heard))
    return scoring.of_answers(task, prepared.prompts, prepared.answers(heard))


def _held_out(asking: Asking, task: Task, head: str, say: Say) -> tuple[list[Row], list[Row]]:
    """Bits per byte of a manifest's held-out rows: task NAME.language.et, NAME.component.web, NAME.source.laws, each over its rows."""
    assert task.data is not None and task.data.manifest is not None
    if task.data.manifest == RUN and asking.opened is not None:
        streams, found = asking.opened
    else:
        path = asking.manifest if task.data.manifest == RUN else asking.suite.file(task.data.manifest, asking.roots)
        if path is None or not path.is_file():
            raise CurateError(
                "there is no manifest here", where=f"{task.name}.data.manifest", found=str(path or "manifest: run, and the run file names none"),
                next="--set manifest=build/NAME/manifest.json",
            )  # fmt: skip
        streams = open_streams([path])
        found = manifest_tokenizer.find(streams.manifests[0], path, asking.spec)
    manifest = streams.manifests[-1]
    key = _key(asking, task, [manifest["roots"]["stream"], str(streams.n_held_out)])
    if known := results.read_task(asking.folder, task.name, key):
        say(f"{head}: done before with the same inputs")
        return known
    if found.tokenizer is None:
        raise CurateError(found.problem, where=task.name)
    limit = asking.limit_of(task)
    scorer = Scorer(asking.loaded.whole or asking.loaded.model, asking.loaded.dtype)
    with _heard(head, min(streams.n_held_out, limit or streams.n_held_out)) as heard:
        lines = bits.held_out(scorer, streams, found.tokenizer, asking.batch, limit, heard)
    rows: list[Row] = []
    items: list[Row] = []
    for (kind, name), each in sorted(lines.items()):
        full, language = f"{task.name}.{kind}.{name}", name if kind == "language" else "mul"
        own = scoring.of_bits(task, full, [line for line in each if line["bytes"]], language)
        about = _about(asking, task, str(manifest["name"]), manifest["roots"]["stream"], "as in the manifest")
        rows += scoring.rows_of(task, own, {**about, "task": full}, asking.seed, language=language)
        items += own
    results.write_task(asking.folder, task.name, key, rows, items)
    return rows, items


RUN = "run"  # data: {manifest: run}: what the run itself holds out


def _file_of(asking: Asking) -> Callable[[str], Path]:
    return lambda text: asking.suite.file(text, asking.roots)


def _key(asking: Asking, task: Task, read: Sequence[str]) -> str:
    """Everything that an answer of this task depends on."""
    loaded = asking.loaded
    parts = [
        task.sha256, *read, loaded.sha256, loaded.dtype, loaded.tokenizer_sha256, asking.limit, asking.seed, asking.batch, harness_version(),
        VERSION, sorted((name, sorted(items)) for name, items in (asking.found or {}).items()),
    ]  # fmt: skip
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def _about(asking: Asking, task: Task, origin: str, sha256: str, bos: str) -> Row:
    loaded, template = asking.loaded, task.template
    chat = (loaded.tokenizer.chat_template or "") if task.chat else ""
    said = hashlib.sha256(f"{template.sha256}{chat}".encode()).hexdigest() if template else None
    return {
        "task": task.name, "task_version": task.version, "kind": task.kind, "model": loaded.name, "model_sha256": loaded.sha256,
        "dtype": loaded.dtype, "receipt": loaded.receipt, "suite": asking.suite.name, "task_sha256": task.sha256, "template_sha256": said,
        "data": origin, "data_sha256": sha256, "limit": asking.limit_of(task), "shots": task.shots, "seed": asking.seed, "batch": asking.batch,
        "harness": NAME, "harness_version": harness_version(), "bos": bos, "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def _mark(items: list[Row], read: Items, found: Found, head: str, say: Say) -> None:
    if read.eval_set not in found:
        say(f"{head}: the build looked for {', '.join(sorted(found))}, not for {read.eval_set} (data.eval_set: names it)")
        return
    of = {row["id"]: (row["own_id"], row["number"]) for row in read.rows}
    for item in items:
        item["contaminated"] = is_contaminated(found, read.eval_set, *of[item["item"]])


@contextmanager
def _heard(head: str, n: int) -> Iterator[Heard]:
    """A bar on a terminal, a line at the end elsewhere."""
    from tqdm import tqdm

    began = time.monotonic()
    with tqdm(total=n, desc=head, disable=not sys.stderr.isatty(), leave=False) as bar:
        yield lambda: (bar.update(), None)[1]
    print(f"{head}: {n} requests, {time.monotonic() - began:.1f} s", file=sys.stderr)


def table(ended: Ended, folder: Path) -> str:
    lines = [f"{'task':<34} {'metric':<26} {'value':>8}  {'95 % interval':<18} {'n':>6}  notes"]
    for row in ended.rows:
        notes = [f"{row[key]} {word}" for key, word in (("n_missing", "without an answer"), ("n_cut", "cut"), ("n_truncated", "prompts cut"))
                 if row[key]]  # fmt: skip
        notes += [f"{row['contaminated']} contaminated"] if row["contaminated"] else []
        interval = f"{row['low']:.4f} to {row['high']:.4f}"
        said = f"{row['task']:<34} {row['metric']:<26} {row['value']:>8.4f}  {interval:<18} {row['n']:>6}  {', '.join(notes)}"
        lines.append(said.rstrip())
    lines += [f"left out: {name} ({why})" for name, why in ended.left_out.items()]
    lines += [f"failed: {name}: {why}" for name, why in ended.problems.items()]
    return "\n".join([*lines, f"results {folder} (results.parquet, items.parquet)\nnext: curate train compare BEFORE {folder}"])
