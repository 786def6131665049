"""Suite files and evaluation run files: YAML in, checked `Suite` and `EvaluationRun` out; a mistake names file, line and key.

A suite is a list of tasks. Its paths start at the suite file, or at one of its `roots:`, which a run file may set; those of a run file start
where the command runs. A task says what is asked (`template:`, Jinja over the item's fields), how (`kind:`) and what is counted (`metrics:`).
May import curate.errors, curate.recipe, train.config; jinja2.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import Field, PrivateAttr, model_validator

from curate.errors import CurateError, nearest
from curate.recipe import Strict, Where, validate
from curate.recipe.files import load_extended, load_settings
from curate.store import canonical_json
from train.config import Names, Rules

Kind = Literal["bits_per_byte", "multiple_choice", "generate", "translate", "ifeval", "code", "math", "calls", "gec", "multiloko"]
GENERATED = ("generate", "translate", "ifeval", "code", "math", "calls", "gec", "multiloko")
METRICS: dict[str, tuple[str, ...]] = {  # of a kind that names none
    "bits_per_byte": ("bits_per_byte",), "multiple_choice": ("accuracy",), "generate": ("exact_match",), "translate": ("chrf++",),
    "ifeval": ("ifeval_prompt_strict", "ifeval_instruction_strict"), "code": ("pass_at_1",), "math": ("numeric_exact_match", "format_valid"),
    "calls": ("valid",), "gec": ("f05",), "multiloko": ("average", "gap"),
}  # fmt: skip
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


def environment() -> jinja2.Environment:
    """Templates see the fields of an item and nothing else; a field that an item lacks is an error."""
    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)


class Data(Strict):
    """Where items lie: files (JSON lines, Parquet, plain text; compressed or not), a dataset of the hub, or a manifest's held-out rows."""

    path: Names = ()
    hub: str | None = None
    config: str | None = None  # of the dataset: its language, say
    revision: str | None = None
    split: str = "test"
    where: dict[str, Any] = Field(default_factory=dict)  # only items with these values: {lang: et}
    manifest: str | None = None  # or `run`: of the run itself, of the evaluation's run file
    eval_set: str | None = None  # what a build's `decontaminate.against` calls it; default: the file's name without its endings

    @model_validator(mode="after")
    def _one(self) -> Data:
        if sum((bool(self.path), self.hub is not None, self.manifest is not None)) != 1:
            raise ValueError("one of path, hub, manifest")
        if self.hub is not None and self.revision is None:
            raise ValueError("a dataset of the hub is pinned: revision is missing")
        return self


class Template(Strict):
    """Jinja over the fields of an item. `delimiter` stands between prompt and answer, `between` between the shots."""

    prompt: str
    choices: str | tuple[str, ...] | None = None  # templates, or the field that lists them
    continuation: str | None = None  # what is scored after each choice; then the choices are what stands before it (WinoGrande)
    answer: str | None = None  # what is right: the text, the field that lists such texts, or the number of the choice, from 0
    system: str = ""
    delimiter: str = " "
    between: str = "\n\n"

    @model_validator(mode="after")
    def _parses(self) -> Template:
        for text in (
            self.prompt,
            self.answer,
            self.system,
            *((self.choices,) if isinstance(self.choices, str) else self.choices or ()),
        ):
            try:
                environment().from_string(text or "")
            except jinja2.TemplateSyntaxError as error:
                raise ValueError(f"this template does not parse: {error.message} ({text!r})") from None
        return self

    @property
    def sha256(self) -> str:
        return hashlib.sha256(canonical_json(self.model_dump(mode="json"))).hexdigest()


class Task(Strict):
    name: str = Field(pattern=NAME)
    kind: Kind
    version: int = Field(default=1, ge=1)
    language: str = "und"
    source: str = ""  # paper or repository, for people
    data: Data | None = None
    needs: str = ""  # what has to be found first, where data is not there: such a task is left out, aloud
    fields: dict[str, str] = Field(
        default_factory=dict
    )  # name in templates -> place in the item, inside objects with dots; id: the item's own
    template: Template | None = None
    shots: int = Field(default=0, ge=0)
    shots_from: Data | None = None  # default: other items of the task's own
    chat: bool = False  # the model's chat template
    metrics: Names = ()
    extract: str | None = None  # first_line | number | choice | code | a regular expression with one group
    limit: int | None = Field(default=None, ge=1)
    stop: Names = ()
    max_new_tokens: int = Field(default=64, ge=1)
    max_seconds: float | None = Field(default=None, gt=0)  # of one batch of generations
    bos: Literal["auto", "yes", "no"] = "auto"  # auto: as the tokenizer does it
    benchmark: Literal["humaneval", "mbpp"] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Task:
        if (self.data is None) == (not self.needs):
            raise ValueError("one of data, needs")
        if self.kind == "bits_per_byte":
            return self
        if self.data is not None and self.data.manifest:
            raise ValueError("a manifest's held-out rows are for kind bits_per_byte")
        if self.template is None:
            raise ValueError("the key 'template' is missing")
        if (self.kind == "multiple_choice") != (self.template.choices is not None):
            raise ValueError("template.choices belongs to kind multiple_choice, which needs it")
        if self.kind == "multiple_choice" and self.template.answer is None:
            raise ValueError("template.answer is missing: the number of the right choice, from 0")
        if (self.kind == "code") != (self.benchmark is not None):
            raise ValueError("benchmark (humaneval, mbpp) belongs to kind code, which needs it")
        if self.shots and self.template.answer is None:
            raise ValueError("shots need template.answer")
        if self.extract and self.extract not in EXTRACTS and re.compile(self.extract).groups != 1:
            raise ValueError(f"extract: {', '.join(EXTRACTS)}, or a regular expression with one group")
        return self

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of its metrics."""
        return self.metrics or METRICS[self.kind]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(canonical_json(self.model_dump(mode="json", exclude_none=True))).hexdigest()


EXTRACTS = ("first_line", "number", "choice", "code")


class Suite(Strict):
    name: str = Field(pattern=NAME)
    source: str = ""
    roots: dict[str, str] = Field(default_factory=dict)
    defaults: dict[str, Any] = Field(default_factory=dict)  # of every task that does not say otherwise
    tasks: tuple[Task, ...] = Field(min_length=1)
    _base: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _distinct(self) -> Suite:
        names = [task.name for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two tasks are called {twice[0]!r}")
        return self

    def file(self, text: str, roots: Mapping[str, str]) -> Path:
        """A path of the suite; `roots` of a run file before its own."""
        return self._base / os.path.expanduser(
            _filled(text, {**self.roots, **{k: str(Path(v).absolute()) for k, v in roots.items()}})
        )


def _filled(text: str, roots: Mapping[str, str]) -> str:
    def root(match: re.Match[str]) -> str:
        if match[1] not in roots:
            raise CurateError(
                f"no root {match[1]!r}", where=text, allowed=", ".join(nearest(match[1], roots) or sorted(roots)),
                next=f"--set roots.{match[1]}=FOLDER",
            )  # fmt: skip
        filled = os.path.expandvars(roots[match[1]])
        if missing := re.search(r"\$\{?(\w+)\}?", filled):
            raise CurateError(
                "this environment variable is not set", where=f"roots.{match[1]}", found=missing[0],
                next=f"export {missing[1]}=FOLDER, or --set roots.{match[1]}=FOLDER",
            )  # fmt: skip
        return filled

    return re.sub(r"\{(\w+)\}", root, text)


class Subject(Strict):
    """What is evaluated: a checkpoint of ours (of adapters too), a Hugging Face folder, a hub id with its revision."""

    init: str
    revision: str | None = None
    adapter: str | None = None  # a folder of peft's over `init`
    tokenizer: str | None = None  # a folder, where the model brings none
    dtype: Literal["fp32", "bf16"] = "fp32"
    attention: str = "auto"


class GateSpec(Strict):
    before: str  # a folder of results
    rules: Rules = Field(min_length=1)


class EvaluationRun(Strict):
    method: Literal["evaluate"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    model: Subject
    suite: str
    to: str
    tasks: Names = ()  # only these
    roots: dict[str, str] = Field(default_factory=dict)
    limit: Annotated[int, Field(ge=1)] | None = None  # items of every task
    seed: int = Field(default=0, ge=0, lt=2**32)
    batch: int = Field(default=8, ge=1)
    manifest: str | None = None  # what a suite's {manifest: run} is: of a build whose held-out rows are read
    contamination: str | None = None  # a build folder whose recipe decontaminates
    gate: GateSpec | None = None


def load_suite(path: Path) -> Suite:
    path = Path(path)
    data, where = load_extended(path)
    defaults = data.get("defaults") or {}
    tasks = data.get("tasks")
    if isinstance(tasks, list) and isinstance(defaults, dict):
        data["tasks"] = [{**defaults, **task} if isinstance(task, dict) else task for task in tasks]
    _say_tasks(data, where)
    suite = validate(Suite, data, where, path)
    suite._base = path.parent
    return suite


def _say_tasks(data: Mapping[str, Any], where: Where) -> None:
    """Messages name the line of the key that is wrong, which may stand under `defaults:`."""
    for number in range(len(data.get("tasks") or ())):
        for key in data.get("defaults") or {}:
            where.setdefault(("tasks", str(number), key), where[("defaults", key)])


def load_evaluation(path: Path, sets: Sequence[str] = ()) -> EvaluationRun:
    path = Path(path)
    data, where = load_settings(path, sets)
    run = validate(EvaluationRun, data, where, path)
    _check_files(run, where, path)
    return run


def _check_files(run: EvaluationRun, where: Where, path: Path) -> None:
    def at(*key: str) -> str:
        return where.get(key, where.get(key[:1], str(path)))

    if not Path(run.suite).is_file():
        raise CurateError("there is no such suite", where=at("suite"), found=run.suite, next="ls recipes/eval")
    init = run.model.init
    if not Path(init).exists():
        if init.count("/") != 1 or init.startswith((".", "/")):
            raise CurateError(
                "there is no model here", where=at("model", "init"), found=init,
                allowed="a checkpoint folder, a Hugging Face folder, or a hub id such as org/name",
            )  # fmt: skip
        if run.model.revision is None:
            raise CurateError("a model from the hub is pinned: model.revision is missing", where=at("model", "init"), found=init)
    if run.manifest is not None and not Path(run.manifest).is_file():
        raise CurateError(
            "there is no manifest here", where=at("manifest"), found=run.manifest, next="curate build-mixture RECIPE"
        )
    for key, folder in (("adapter", run.model.adapter), ("tokenizer", run.model.tokenizer)):
        if folder is not None and not Path(folder).is_dir():
            raise CurateError("there is no such folder", where=at("model", key), found=folder)
    if run.gate is not None and not (Path(run.gate.before) / "results.parquet").is_file():
        raise CurateError(
            "there are no results to compare with", where=at("gate", "before"), found=run.gate.before,
            next="curate train evaluate RUN.yaml of the model before",
        )  # fmt: skip


def chosen(suite: Suite, names: Sequence[str]) -> list[Task]:
    """The tasks of these names, all where there are none."""
    known = {task.name: task for task in suite.tasks}
    for name in names:
        if name not in known:
            raise CurateError(
                "the suite has no such task", where="tasks", found=name, allowed=", ".join(nearest(name, known) or known)
            )
    return [task for task in suite.tasks if not names or task.name in names]
