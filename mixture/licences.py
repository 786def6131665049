"""What a recipe's `licenses:` says of the documents of a mixture, once their tokens are known: nothing, or why there is no mixture.

In: kept documents of all sources (selection.Documents). Counted: those that some component may take. Imports curate's recipe and errors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from curate.errors import CurateError
from curate.recipe import Recipe
from curate.recipe.licenses import UNKNOWN_SAYS, refusal
from mixture.selection import Documents

N_SHOWN = 20


class NotAllowed(CurateError):
    """Documents of the mixture have a licence that is forbidden, or none that is known. `found_in`: all of them, most tokens first."""

    found_in: list[Refused]


class Refused(NamedTuple):
    source: str
    license: str  # "unknown" where there is none
    why: str
    documents: int
    tokens: int


def check(recipe: Recipe, docs: Documents) -> None:
    """Raises NotAllowed. A licence whose documents a rule drops has none left here."""
    asked = recipe.licenses
    if asked is None:
        return
    actions = {True: asked.unknown, False: asked.forbidden}
    wrong = [one for one in refused(docs, tuple(asked.allow)) if actions[one.why == UNKNOWN_SAYS] == "error"]
    if not wrong:
        return
    shown = [f"{one.source}: {one.license}, {one.documents:,} documents, {one.tokens:,} tokens" for one in wrong[:N_SHOWN]]
    shown += [f"and {len(wrong) - N_SHOWN} more"] if len(wrong) > N_SHOWN else []
    ways = {one.why == UNKNOWN_SAYS for one in wrong}
    to_do = [
        "--set licenses.forbidden=drop" if False in ways else "",
        "--set licenses.unknown=drop (or flag)" if True in ways else "",
    ]
    error = NotAllowed(
        "documents of this mixture have a licence that licenses: does not allow", where="licenses.allow",
        found="\n           ".join(shown), allowed=", ".join(asked.allow),
        next=f"{' '.join(filter(None, to_do))} drops them; or add the licence to licenses.allow",
    )  # fmt: skip
    error.found_in = wrong
    raise error


def refused(docs: Documents, patterns: tuple[str, ...]) -> list[Refused]:
    """Documents that some component may take, by source and licence, of licences that the patterns do not allow; most tokens first."""
    why = [refusal(name, patterns) for name in [*docs.license.values, None]]
    if not any(why[:-1]) and (docs.license.code >= 0).all():
        return []
    n = len(why)
    code = np.where(docs.license.code < 0, n - 1, docs.license.code)
    taken = np.array([bool(pattern) for pattern in docs.patterns], np.bool_)[docs.pattern]
    of = np.where(taken, docs.source.astype(np.int64) * n + code, -1)
    keys, place, documents = np.unique(of, return_inverse=True, return_counts=True)
    tokens = np.zeros(keys.size, np.int64)
    np.add.at(tokens, place, docs.n_tokens)
    found = [
        Refused(
            docs.sources[key // n], docs.license.values[key % n] if key % n < n - 1 else "unknown", why[key % n], count, total
        )
        for key, count, total in zip(keys.tolist(), documents.tolist(), tokens.tolist(), strict=True)
        if key >= 0 and why[key % n]
    ]
    return sorted(found, key=lambda one: (-one.tokens, one.source, one.license))
