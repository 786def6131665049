"""Mixtures and stocks for tests of the planner: a mapping as in a recipe file in, phases and what `plan` takes out."""

import copy
from fractions import Fraction

from curate.recipe import Mixture
from curate.recipe.files import apply_set
from curate.recipe.mixture_forms import expand_phases
from mixture.budget import Stock, exact


def mixture(rows, total, how="fail", **more):
    """(name, budget, max_epochs) each; a budget of None is left out."""
    components = {name: {"from": ["s"], "role": "other", "budget": budget, "max_epochs": cap} for name, budget, cap in rows}
    return {"total": total, "sequence_length": 8, "on_shortage": how, "components": components, **more}


def read(data):
    """The checked Mixture of plain data."""
    data = {"mixture": copy.deepcopy(data)}
    expand_phases(data)
    return Mixture.model_validate(data["mixture"])


def changed(data, change):
    """Plain data after a suggestion {recipe key: value}, read as `--set` reads it."""
    whole = {"mixture": copy.deepcopy(data)}
    expand_phases(whole)
    for key, value in change.items():
        apply_set(whole, f"{key}={value}")
    return whole["mixture"]


def stocks(phase, unique, epoch=None, documents=None, consumed=None):
    """Per leaf; its cap is floor(max_epochs * epoch) less what was consumed."""
    epoch = list(unique) if epoch is None else epoch
    n = len(phase.leaves)
    documents = documents or [1] * n
    consumed = consumed or [0] * n
    most = [ask.max_epochs if ask else Fraction(1) for ask in phase.asks]
    return [Stock(u, e, d, int(exact(m) * e // 1) - gone)
            for u, e, d, m, gone in zip(unique, epoch, documents, most, consumed, strict=True)]  # fmt: skip
