"""Every key of every stage, checked before the first one runs: against the class of its method's run file. May import curate.recipe, train.*.

Files and folders are not looked for: those of later stages do not exist yet, and each stage looks when its turn has come.
"""

from __future__ import annotations

from pydantic import BaseModel

from curate.recipe import validate
from train.chain.config import PLACE, Chain, Method, set_key


def check_keys(chain: Chain) -> None:
    """Raises CurateError naming file, line and key."""
    for stage in chain.stages:
        if stage.method == "build":
            continue
        data = stage.copied()
        set_key(data, PLACE[stage.method], str(chain.to / stage.name))
        validate(_class_of(stage.method), data, stage.lines, stage.origin)


def _class_of(method: Method) -> type[BaseModel]:
    if method == "evaluate":
        from train.evaluation.suite import EvaluationRun

        return EvaluationRun
    if method == "vocab":
        from train.vocab.config import VocabRun

        return VocabRun
    if method == "merge":
        from train.merge.config import MergeRun

        return MergeRun
    if method == "dpo":
        from train.dpo.config import DpoFile

        return DpoFile
    from train.config import RunFile

    return RunFile
