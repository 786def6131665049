"""lm-evaluation-harness behind one module: a task, its items and a model in; prompts, log-likelihoods and generated texts out.

A task of ours becomes a ConfigurableTask in memory; prompts with their shots, chat templates, batches, log-likelihoods and generation are the
harness's own (0.4.13), so scores are those it gives by itself. Added: whether the beginning-of-sequence token (BOS) stands there is settled and
said, generations say how they ended, prompts that were cut say so. The only module that imports lm_eval.
May import curate.errors, train.evaluation.{calls,data,load,suite}; lm_eval, torch, transformers (types).
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jinja2
import torch
from transformers import PreTrainedTokenizerBase

from curate.errors import CurateError
from train.evaluation import calls
from train.evaluation.data import Item
from train.evaluation.load import Loaded
from train.evaluation.suite import GENERATED, Task, environment

NAME = "lm-evaluation-harness"
Heard = Callable[[], None]  # called once a request is answered


@dataclass(frozen=True)
class Prompt:
    """One item as the model sees it. `choices`: continuations that are compared; `gold`: the right texts, or the right choice's number."""

    item: Item
    text: str
    choices: tuple[str, ...]
    gold: tuple[str, ...]
    truncated: bool = False


@dataclass(frozen=True)
class Answer:
    """`finish`: stop, or what cut it: length (max_new_tokens) or time (max_seconds)."""

    text: str
    n_tokens: int
    finish: str


def harness_version() -> str:
    """Raises CurateError where it is not installed."""
    try:
        return version("lm_eval")
    except PackageNotFoundError:
        raise CurateError(
            "evaluation needs the extra `eval`",
            found="lm_eval is not installed",
            next='pip install -c constraints.txt -e ".[train,eval]"',
        ) from None


class _Docs(list):
    """Items as the harness wants a dataset; types and missing fields stay as they are in the file."""

    @property
    def features(self) -> dict[str, None]:
        return dict.fromkeys(self[0]) if self else {}


class Prepared:
    """The requests of one task: prompts are built, nothing is asked yet."""

    def __init__(
        self, asker: Asker, task: Task, rows: Sequence[Item], pool: Sequence[Item] | None, limit: int | None, seed: int
    ) -> None:
        own = pool is None
        if task.shots and (n := len(rows if pool is None else pool)) < task.shots + own:
            raise CurateError(
                "there are not enough items for the shots",
                where=f"{task.name}.shots",
                found=f"{n} items",
                allowed=f"{task.shots} and one more",
            )
        with _quiet():
            self.harness = _task_class()(config=_config(task, rows, pool))
            self.harness.shows_tools = task.kind == "calls"
            self.harness.set_fewshot_seed(seed)
            if task.chat and not asker.lm.tokenizer.chat_template:
                raise CurateError(
                    "this task asks for a chat template and the model has none", where=f"{task.name}.chat",
                    next="leave chat: out for a base model, or --set model.tokenizer=FOLDER of a tokenizer that has one",
                )  # fmt: skip
            if task.chat and task.kind == "calls":
                _check_shows_tools(task, asker.lm.tokenizer.chat_template)
            chat = {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": asker.lm.apply_chat_template}
            self.harness.build_all_requests(limit=limit, **(chat if task.chat else {}))
        self.asker, self.task = asker, task
        self.requests: list[Any] = self.harness.instances
        self.prompts = [self._prompt(of) for of in _by_item(self.requests)]

    def _prompt(self, of: list[Any]) -> Prompt:
        first, texts = of[0], ()
        gold = self._gold(first.doc)
        if self.task.kind == "multiple_choice":
            texts = tuple(self.harness.doc_to_choice(first.doc))
            is_cut = any(self.asker.is_too_long(*request.args) for request in of)
        else:
            is_cut = self.asker.is_too_long(first.args[0], "", self.task.max_new_tokens)
        listed = gold if isinstance(gold, list) else [gold]
        return Prompt(first.doc, first.args[0], texts, tuple(str(one) for one in listed), is_cut)

    def _gold(self, item: Item) -> Any:
        if self.task.template is None or self.task.template.answer is None:
            return []
        return (self.harness.doc_to_text if self.task.template.continuation is not None else self.harness.doc_to_target)(item)

    def log_likelihoods(self, heard: Heard) -> list[list[tuple[float, bool]]]:
        """Of every item: (nats, is the most likely continuation token by token) of every choice."""
        with self.asker.listening(heard), _quiet():
            found = self.asker.lm.loglikelihood(self.requests, disable_tqdm=True)
        answers = iter(found)
        return [[next(answers) for _ in prompt.choices] for prompt in self.prompts]

    def answers(self, heard: Heard) -> list[Answer]:
        """What the model says to every prompt: greedy, up to a stop string, max_new_tokens or max_seconds."""
        self.asker.lm.max_seconds = self.task.max_seconds
        with self.asker.listening(heard) as hook, _quiet(), torch.no_grad():
            texts = self.asker.lm.generate_until(self.requests, disable_tqdm=True)
        return [Answer(text, *hook.ended[prompt.text]) for prompt, text in zip(self.prompts, texts, strict=True)]


class Asker:
    """A model with one BOS decision. `bos` says what came of it: 'auto: no', 'yes'."""

    def __init__(self, loaded: Loaded, batch: int, wanted: str) -> None:
        tokenizer, added = with_bos(loaded.tokenizer, wanted)
        self.bos = f"auto: {'yes' if added else 'no'}" if wanted == "auto" else wanted
        with _quiet():
            self.lm = _model_class()(
                pretrained=loaded.model, tokenizer=tokenizer, batch_size=batch, backend="causal",
                mixed_precision_dtype="bfloat16" if _is_autocast(loaded) else None,
                add_bos_token=None if wanted == "auto" else wanted == "yes",
            )  # fmt: skip

    def is_too_long(self, context: str, continuation: str, n_new: int = 0) -> bool:
        """Whether the harness cuts this prompt from the left. Raises CurateError where not even the answer fits."""
        encode, longest = self.lm.tok_encode, self.lm.max_length
        after = n_new or (len(self.lm._encode_pair(context, continuation)[1]) if context else len(encode(continuation)))
        if after >= longest:
            raise CurateError("an answer is longer than the model's positions", found=f"{after} tokens, {longest} positions")
        return len(encode(context + continuation)) + n_new > longest + (n_new == 0)

    @property
    def prefix(self) -> str:
        """What stands before the first token of a text whose bits are counted."""
        return str(self.lm.tok_decode([self.lm.prefix_token_id], skip_special_tokens=False))

    def rolling(self, texts: Sequence[str], heard: Heard) -> list[tuple[float, int]]:
        """(log-likelihood in nats, tokens) of whole texts, in windows of the model's length."""
        from lm_eval.api.instance import Instance

        requests = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]
        with self.listening(heard), _quiet():
            found = self.lm.loglikelihood_rolling(requests, disable_tqdm=True)
        return [(value, len(self.lm.tok_encode(text))) for value, text in zip(found, texts, strict=True)]

    @contextlib.contextmanager
    def listening(self, heard: Heard) -> Iterator[_Hook]:
        hook = _Hook(heard, self.lm.raw)
        self.lm.set_cache_hook(hook)
        try:
            yield hook
        finally:
            self.lm.raw.clear()


@dataclass
class _Hook:
    """The harness tells its cache of every answer, in the order in which the model gave them."""

    heard: Heard
    raw: list[tuple[int, str]]
    ended: dict[str, tuple[int, str]] = field(default_factory=dict)  # prompt -> (tokens, finish)

    def add_partial(self, kind: str, request: tuple, _: object) -> None:
        if kind == "generate_until":
            self.ended[request[0]] = self.raw.pop(0)
        self.heard()


def _is_autocast(loaded: Loaded) -> bool:
    """Inside a run the weights may be fp32 and the calculation bf16."""
    return loaded.dtype == "bf16" and next(loaded.model.parameters()).dtype == torch.float32


def _check_shows_tools(task: Task, chat_template: Any) -> None:
    """A question whose functions nobody sees would measure guessing."""
    own = f"{task.template.prompt}{task.template.system}" if task.template else ""
    if not re.search(r"\btools\b", f"{chat_template}{own}"):
        raise CurateError(
            "the model's chat template does not show functions, and neither does the task's template", where=f"{task.name}.chat",
            allowed="a chat template that reads `tools`", next='template: {system: "... {{ tools }}"}, or --set model.tokenizer=FOLDER',
        )  # fmt: skip


def _task_class() -> type:
    from lm_eval.api.task import ConfigurableTask

    class Asked(ConfigurableTask):
        """What stands before a question may differ from item to item: the system's words, and the functions that the chat template shows."""

        def resolve_field(self, doc: Item, field: Any = None) -> Any:
            return field(doc) if callable(field) else super().resolve_field(doc, field)

        def fewshot_context(self, doc: Item, *given: Any, chat_template: Callable[..., str] | None = None, **named: Any) -> Any:
            if chat_template is not None and self.shows_tools:
                chat_template = functools.partial(chat_template, tools=calls.shown(doc.get("tools")))
            return super().fewshot_context(doc, *given, chat_template=chat_template, **named)

    return Asked


def _model_class() -> type:
    from lm_eval.models.huggingface import HFLM

    class Model(HFLM):
        """HFLM that notes how each generation ended, and ends those that take too long."""

        max_seconds: float | None = None
        chat_template_args: dict[str, Any]

        def __init__(self, **settings: Any) -> None:
            self.raw: list[tuple[int, str]] = []
            super().__init__(**settings)

        def apply_chat_template(
            self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True, tools: list[dict] | None = None
        ) -> str:
            before = self.chat_template_args
            self.chat_template_args = {**before, "tools": tools} if tools else before
            try:
                return super().apply_chat_template(chat_history, add_generation_prompt)
            finally:
                self.chat_template_args = before

        def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **settings: Any) -> torch.Tensor:
            if self.max_seconds is not None:
                settings["max_time"] = self.max_seconds
            out = super()._model_generate(context=context, max_length=max_length, stop=stop, **settings)
            n = context.shape[1]
            self.raw += [_ending(row[n:], max_length - n, stop, self) for row in out.tolist()]
            return out

    return Model


def _ending(tokens: list[int], most: int, stops: Sequence[str], lm: Any) -> tuple[int, str]:
    """(tokens up to the end, why it ended). What stands behind the end in a batch is padding."""
    ends = lm.model.generation_config.eos_token_id
    ids = {lm.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    if (at := next((i for i, token in enumerate(tokens) if token in ids), None)) is not None:
        return at + 1, "stop"
    texts = [stop for stop in stops if stop]

    def has_stop(n: int) -> bool:
        said = lm.tok_decode(tokens[:n])
        return any(stop in said for stop in texts)

    if has_stop(len(tokens)):
        low, high = 0, len(tokens)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if has_stop(middle) else (middle, high)
        return high, "stop"
    return len(tokens), "length" if len(tokens) >= most else "time"


def with_bos(tokenizer: PreTrainedTokenizerBase, wanted: str) -> tuple[PreTrainedTokenizerBase, bool]:
    """(a tokenizer that does what is wanted, whether it adds BOS to a text). Raises CurateError where it cannot."""
    mine = copy.deepcopy(tokenizer)
    if wanted != "auto" and _adds_bos(mine) != (wanted == "yes"):
        if mine.bos_token is None:
            raise CurateError("the model's tokenizer has no BOS token", where="bos", found=wanted, allowed="auto, no")
        mine.add_bos_token = wanted == "yes"
        if _adds_bos(mine) != (wanted == "yes"):
            raise CurateError("this tokenizer adds BOS or not as it likes", where="bos", found=wanted, allowed="auto")
    return mine, _adds_bos(mine)


def _adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and bool(ids) and ids[0] == tokenizer.bos_token_id


def _config(task: Task, rows: Sequence[Item], pool: Sequence[Item] | None) -> dict[str, Any]:
    template = task.template
    assert template is not None
    prompt, system = _rendered(template.prompt, task.name), _rendered(template.system, task.name)
    splits = {"test": _Docs(rows), "shots": _Docs(pool or ())}
    config = {
        "task": task.name, "custom_dataset": lambda **_: splits, "test_split": "test", "num_fewshot": task.shots,
        "fewshot_split": None if not task.shots else "test" if pool is None else "shots",
        "doc_to_text": prompt, "doc_to_target": _target(task), "target_delimiter": template.delimiter,
        "fewshot_delimiter": template.between, "description": system if template.system else "",
    }  # fmt: skip
    if task.kind == "multiple_choice":
        metric = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
        config |= {"output_type": "multiple_choice", "doc_to_choice": _choices(task), "metric_list": [metric]}
        if template.continuation is None:
            return config
        # the harness's form for choices in the context: the text is the number of the right one, the target what follows all of them
        return {**config, "doc_to_text": _target(task), "doc_to_target": _rendered(template.continuation, task.name)}
    assert task.kind in GENERATED
    metric = {"metric": "bypass", "aggregation": "bypass", "higher_is_better": True}
    until = list(task.stop) or [template.between]
    settings = {"until": until, "max_gen_toks": task.max_new_tokens, "do_sample": False, "temperature": 0.0}
    return {**config, "output_type": "generate_until", "generation_kwargs": settings, "metric_list": [metric]}


def _rendered(text: str, task: str) -> Callable[[Item], str]:
    template = environment().from_string(text)

    def render(item: Item) -> str:
        try:
            return template.render(item)
        except (jinja2.TemplateError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise CurateError(
                "this item does not fit the template", where=f"{task}, item {item['id']}", found=f"{text!r}: {error}",
                allowed=", ".join(key for key in item if key.isidentifier()),
            ) from None  # fmt: skip

    return render


def _choices(task: Task) -> Callable[[Item], list[str]]:
    assert task.template is not None
    given = task.template.choices
    if isinstance(given, str):
        return lambda item: [str(choice) for choice in _listed(item, given, task.name)]
    each = [_rendered(text, task.name) for text in given or ()]
    return lambda item: [render(item) for render in each]


def _listed(item: Item, name: str, task: str) -> list[Any]:
    found = item.get(name)
    if not isinstance(found, list) or not found:
        raise CurateError(
            "this field of an item is no list", where=f"{task}, item {item['id']}", found=f"{name}: {found!r}"[:200]
        )
    return found


def _target(task: Task) -> Callable[[Item], Any]:
    """The number of the right choice; or the right texts; "" where the task's benchmark knows by itself."""
    assert task.template is not None
    answer = task.template.answer
    if answer is None:
        return lambda item: ""
    render = _rendered(answer, task.name)

    def given(item: Item) -> Any:
        """A field's value, or a template's text. A name is never taken for the answer itself where an item lacks the field."""
        if "{" in answer:
            return render(item)
        if item.get(answer) in (None, []):
            raise CurateError(
                "this item has no right answer", where=f"{task.name}, item {item['id']}", found=f"no {answer}",
                allowed=", ".join(key for key in item if key.isidentifier()),
            )  # fmt: skip
        return item[answer]

    def target(item: Item) -> Any:
        found = given(item)
        if task.kind != "multiple_choice":
            return [str(one) for one in found] if isinstance(found, list) else str(found)
        text, choices = str(found), _choices(task)(item)
        if text in choices and not text.strip().isdigit():
            return choices.index(text)
        if not text.strip().isdigit() or int(text) >= len(choices):
            raise CurateError(
                "the right choice of this item is none of its choices", where=f"{task.name}, item {item['id']}", found=repr(text),
                allowed=f"0 to {len(choices) - 1}",
            )  # fmt: skip
        return int(text)

    return target


def _by_item(requests: Sequence[Any]) -> list[list[Any]]:
    found: dict[int, list[Any]] = {}
    for request in requests:
        found.setdefault(request.doc_id, []).append(request)
    return list(found.values())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The harness draws bars of its own and warns of what is meant here."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "transformers")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
