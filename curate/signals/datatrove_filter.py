"""Families of datatrove's filters, one per rule `{datatrove: GopherQualityFilter, args: {...}}`: a batch of text in, verdicts out.

Each filter sees a copy of the document (text, id, and in its metadata language and url where they are known) and runs as datatrove
0.10 runs it, one document after the other: slow (0.2 to 0.7 MB/s and core for those that split words), and what it changes in
the text or the metadata is lost. Imports recipe, store; the only module here that imports datatrove.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import CurateError, nearest
from curate.recipe import Rule
from curate.signals.family import Batch, Column, Columns, Family, Measurer
from curate.store import file_sha256

_VERSION = 1
_HOME = "datatrove.pipeline.filters"
_ONE_AT_A_TIME = threading.Lock()  # a filter keeps counts while it works, and is Python all through: threads gain nothing
_BY_CHANCE = {"SamplerFilter": "rate", "C4BadWordsFilter": "keep_fraction"}  # what makes these draw by chance
_INSTALL = 'pip install -c constraints.txt -e ".[datatrove]"'


def family(name: str) -> Family:
    """The family of the rule called `name`."""
    return Family(name, _VERSION, (
        Column(f"{name}_keep", "verdict", "1 where datatrove's filter keeps the document, else 0", high=1),
        Column(f"{name}_reason", "text", "why the filter drops it, in the filter's words (its class where it gives no reason); "
               "empty where it keeps the document", "string", None),
    ))  # fmt: skip


def measurer(rule: Rule) -> Measurer:
    """Raises CurateError for a class that is not there, arguments it does not take, and libraries it needs that are missing."""
    assert rule.datatrove is not None
    where = f"rule {rule.name}: datatrove"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", rule.name):
        raise CurateError("a filter's signals are named after its rule", where=where, found=f"name: {rule.name}",
                          allowed="letters, digits and _")  # fmt: skip
    path = class_path(rule.datatrove.filter, where)
    args = json.dumps(rule.datatrove.args, sort_keys=True, ensure_ascii=False)
    with _ONE_AT_A_TIME:
        made = _made(path, args, where)
    _check_language(made, where)
    settings = {"filter": path, "args": rule.datatrove.args, "datatrove": importlib.metadata.version("datatrove")}
    if not path.startswith("datatrove."):  # a class of the user's own: another text of its file is another filter
        settings["sha256"] = file_sha256(Path(str(importlib.import_module(path.rpartition(".")[0]).__file__)))
    run = functools.partial(measure, rule.name, path, args)
    return Measurer(family(rule.name), run, settings, needs_words=False, reads=("id", "language", "url"))


def measure(name: str, path: str, args: str, batch: Batch) -> Columns:
    """Raises CurateError, naming the document, for whatever the filter raises: a document it cannot judge is neither kept nor
    dropped in silence."""
    from datatrove.data import Document
    from datatrove.pipeline.filters.base_filter import get_filter_result

    texts, ids, languages, urls = (
        column.to_pylist() for column in (batch.texts, *(batch.columns[key] for key in ("id", "language", "url")))
    )
    keep, reasons = np.zeros(len(texts), np.int64), []
    with _ONE_AT_A_TIME:
        filter_ = _made(path, args, f"rule {name}: datatrove")
        for i, (text, id_, language, url) in enumerate(zip(texts, ids, languages, urls, strict=True)):
            metadata = {key: value for key, value in (("language", language), ("url", url)) if value is not None}
            try:
                [verdict] = filter_.filter_batch([Document(text=text, id=id_, metadata=metadata)])
            except ImportError as error:
                raise _library_missing(error, f"rule {name}: datatrove") from error
            except Exception as error:  # foreign code: anything may come; it is passed on with the document it came from
                raise CurateError(
                    f"the filter {path.rpartition('.')[2]} failed on a document", where=f"rule {name}, document {id_}",
                    found=f"{type(error).__name__}: {error}", exit_code=1,
                    next="restrict the rule to the sources it can judge (sources:), or correct its args",
                ) from error  # fmt: skip
            kept, reason = get_filter_result(verdict)
            keep[i] = bool(kept)
            reasons.append("" if kept else str(reason or path.rpartition(".")[2]))
    return {f"{name}_keep": keep, f"{name}_reason": reasons}


def class_path(name: str, where: str) -> str:
    """`GopherQualityFilter` or `package.module.Class` -> module and class of a datatrove filter."""
    from datatrove.pipeline import filters
    from datatrove.pipeline.filters.base_filter import BaseFilter

    module, _, own = name.rpartition(".")
    try:
        home = importlib.import_module(module or _HOME)
    except ModuleNotFoundError as error:
        raise CurateError(f"no module {module!r}", where=where, found=str(error), allowed=f"a class of {_HOME}, or "
                          "package.module.Class of what is installed") from error  # fmt: skip
    found = getattr(home, own, None)
    if isinstance(found, type) and issubclass(found, BaseFilter):
        return f"{found.__module__}.{found.__qualname__}"
    here = filters if home is filters or not module else home
    known = [n for n, c in vars(here).items() if isinstance(c, type) and issubclass(c, BaseFilter)]
    close = nearest(own, known)
    raise CurateError(
        f"no datatrove filter {name!r}", where=where, allowed=", ".join(close or sorted(known)) or f"a class of {_HOME}",
        next=f"did you mean {close[0]!r}?" if close else "",
    )  # fmt: skip


@functools.cache
def _made(path: str, args: str, where: str) -> Any:
    """The filter; one per process, settings and rule."""
    from datatrove.utils.logging import logger

    logger.disable("datatrove")
    module, _, name = path.rpartition(".")
    given = json.loads(args)
    if given.get(chance := _BY_CHANCE.get(name, "")) or name == "SamplerFilter":
        raise CurateError(f"{name} draws by chance ({chance}): a document's verdict would depend on its neighbours", where=where,
                          next="sample: in the recipe takes a share of the documents")  # fmt: skip
    try:
        return getattr(importlib.import_module(module), name)(**given)
    except ImportError as error:
        raise _library_missing(error, where) from error
    except (TypeError, ValueError, KeyError, re.error) as error:
        raise CurateError(f"{name} does not take these args", where=where, found=f"args {args}: {error}") from error
    except OSError as error:
        raise CurateError(f"{name} could not fetch or read what it needs", where=where, found=str(error)) from error


def _check_language(filter_: Any, where: str) -> None:
    """Filters that split words load a tokenizer at their first document: better now, before any work."""
    language = getattr(filter_, "language", None)
    if not isinstance(language, str):
        return
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    try:
        load_word_tokenizer(language).word_tokenize("a b")
    except ImportError as error:
        raise _library_missing(error, where) from error
    except ValueError as error:
        raise CurateError("datatrove has no word tokenizer for this language", where=where, found=f"language: {language}",
                          allowed="a code of its tokenizer_assignment.csv: et, ekk_Latn, ...") from error  # fmt: skip


def _library_missing(error: ImportError, where: str) -> CurateError:
    return CurateError("a library this filter needs is not installed", where=where, found=str(error), next=_INSTALL)
