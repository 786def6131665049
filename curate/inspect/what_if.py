"""`curate what-if BUILD k=v ...`: two outcomes of decide and plan side by side, and the YAML to paste back.

In: the comparison of two decision tables (outcomes.py), two recipes, the planner's verdict. Out: plain data; what_if_screen.py
renders it. It decides and plans nothing itself. Imports recipe, membership, inspect.{corpus, outcomes, samples}.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

from curate.inspect.corpus import open_corpus
from curate.inspect.outcomes import KEPT
from curate.inspect.samples import with_texts
from curate.membership import Pattern, first_of
from curate.recipe import BROUGHT, Quantity, Recipe

Bins: TypeAlias = Mapping[str, Mapping[str, Any]]


def what_if(
    build_dir: Path, compared: Mapping[str, Any], recipes: tuple[Recipe, Recipe], copies: tuple[Bins, Bins], problem: str = "",
    feasible: bool | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What changes. `compared`: of outcomes.compare; `copies` of the components that have some, before and after (curate/copies.py).
    `problem`: the planner's message about the changed recipe, "" when it is feasible; `feasible` None: it was not planned (nothing
    tokenized yet)."""
    old, new = recipes
    before, after = compared["before"], compared["after"]
    with open_corpus(build_dir) as corpus:
        texts = [{**c, "documents": with_texts(corpus, c["documents"])} for c in compared["changed"]]
    for document in (d for c in texts for d in c["documents"] if d.get("witness")):
        if document["witness"]["standing"] != "reference":  # the build's own decision says nothing about this one
            document["witness"]["standing"] = "witness"
    return {
        "sources": {name: {"before": before[name], "after": after[name], **_moved(compared["moves"], name)} for name in after},
        "reasons": _reasons(before, after), "moves": _moves(compared["moves"]), "texts": texts,
        "components": components(compared, recipes, copies), "feasible": feasible, "problem": problem, "yaml": paste_lines(old, new),
    }  # fmt: skip


def components(
    compared: Mapping[str, Any], recipes: tuple[Recipe, Recipe], copies: tuple[Bins, Bins]
) -> dict[str, dict[str, dict[str, Any]]]:
    """{before, after: tokens_by_component}; under another tokenizer, or other cuts, every token is an estimate."""
    old, new = recipes
    same = (old.tokenizer, old.cuts, _cut_items(old)) == (new.tokenizer, new.cuts, _cut_items(new))
    before, after = (held(compared, side) for side in (0, 1))
    return {"before": tokens_by_component(old, before, copies[0]), "after": tokens_by_component(new, after, copies[1], same)}


@dataclass
class Held:
    """What the kept documents of one pattern of components hold. Tokens that are not made yet are estimated from bytes."""

    documents: int = 0
    tokens: int = 0  # with the estimated ones
    loss_tokens: int = 0
    estimated: int = 0
    is_complete: bool = True  # False where there is nothing to estimate from


def held(compared: Mapping[str, Any], side: int) -> dict[Pattern, Held]:
    """Of all sources, before (0) or after (1): exact where tokenized, else bytes times the source's tokens per byte in the build's own
    outcome, or all sources' where it has none of it."""
    known = compared["before"]
    all_tokens, all_bytes = (sum(s[key] for s in known.values()) for key in ("known_tokens", "known_bytes"))
    result: dict[Pattern, Held] = {}
    for source, patterns in compared["sizes"][side].items():
        seen = known.get(source, {"known_tokens": 0, "known_bytes": 0})
        tokens, size = (seen["known_tokens"], seen["known_bytes"]) if seen["known_bytes"] else (all_tokens, all_bytes)
        for pattern, row in patterns.items():
            of = result.setdefault(pattern, Held())
            new = round(row["new_bytes"] * tokens / size) if size else 0
            of.documents += row["documents"]
            of.tokens += row["known_tokens"] + new
            of.loss_tokens += row["known_loss_tokens"]
            of.loss_tokens += round(new * row["known_loss_tokens"] / row["known_tokens"]) if row["known_tokens"] else new
            of.estimated += new
            of.is_complete &= size > 0 or row["new_bytes"] == 0
    return result


def _cut_items(recipe: Recipe) -> object:
    """What cuts evaluation items out of the texts; None where nothing does."""
    return recipe.decontaminate if recipe.decontaminate and recipe.decontaminate.action == "cut" else None


def _moved(moves: list[dict[str, Any]], source: str) -> dict[str, int]:
    mine = [m for m in moves if m["source"] == source]
    return {"newly_dropped": sum(m["documents"] for m in mine if m["before"] == KEPT),
            "newly_kept": sum(m["documents"] for m in mine if m["after"] == KEPT)}  # fmt: skip


def _moves(moves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over all sources, the most frequent first."""
    total: dict[tuple[str, str], int] = {}
    for move in moves:
        total[move["before"], move["after"]] = total.get((move["before"], move["after"]), 0) + move["documents"]
    ordered = sorted(total.items(), key=lambda item: (-item[1], item[0]))
    return [{"before": b, "after": a, "documents": n} for (b, a), n in ordered]


def _reasons(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Per reason, before and after: {dropped, and of a rule alone and jointly}. Alone: no other rule fails the document, so without
    the rule it would pass them all. Jointly: others fail it as well."""
    sides = {"before": before, "after": after}
    names = dict.fromkeys(r for side in sides.values() for s in side.values() for r in (*s["reasons"], *s["failed"]))
    rules = {r for side in sides.values() for s in side.values() for r in s["failed"]}

    def total(side: str, kind: str, reason: str) -> int:
        return sum(s[kind].get(reason, 0) for s in sides[side].values())

    found: dict[str, dict[str, Any]] = {}
    for reason in names:
        found[reason] = {}
        for side in sides:
            alone, failed = (total(side, kind, reason) if reason in rules else None for kind in ("alone", "failed"))
            jointly = None if alone is None or failed is None else failed - alone
            found[reason][side] = {"dropped": total(side, "reasons", reason), "alone": alone, "jointly": jointly}
    return found


def tokens_by_component(
    recipe: Recipe, of: Mapping[Pattern, Held], copies: Bins, exact: bool = True
) -> dict[str, dict[str, Any]]:
    """Documents and unique tokens per component, of its documents in any phase. `estimated` counts the tokens that are a guess: all of
    them unless `exact`. What the recipe may hold out at most is taken off, and of `epoch_tokens` (each document times its copies) alike."""
    phases = [{c for c, ask in enumerate(phase.asks) if ask is not None} for phase in recipe.mixture.phase_list]
    shares = left_of(recipe, of)
    result = {}
    for number, (name, component) in enumerate(recipe.mixture.leaves.items()):
        times = times_of(copies, name)
        mine = [pattern for pattern in of if any(first_of(pattern, phase) == number for phase in phases)]
        total = sum(of[pattern].tokens for pattern in mine)
        is_complete = all(of[pattern].is_complete for pattern in mine)
        left = sum((shares[p] * of[p].tokens for p in mine), Fraction(0))
        epoch = sum((shares[p] * of[p].tokens * times[dict(p)[number]] for p in mine), Fraction(0))
        asked = [str(ask.budget) for phase in recipe.mixture.phase_list if (ask := phase.asks[number]) is not None and ask.budget]
        result[name] = {"documents": sum(of[p].documents for p in mine), "tokens": int(left) if is_complete else None,
                        "epoch_tokens": int(epoch) if is_complete else None,
                        "estimated": sum(of[p].estimated for p in mine) if exact else total,
                        "requested": ", ".join(asked), "max_epochs": component.max_epochs}  # fmt: skip
    return result


def times_of(copies: Bins, name: str) -> list[int]:
    """The copies of each bin of a component, and last of the documents in none (bin -1)."""
    return [*(bin_["copies"] for bin_ in copies.get(name, {}).get("bins", [])), 1]


def left_of(recipe: Recipe, of: Mapping[Pattern, Held]) -> dict[Pattern, Fraction]:
    """The share of each pattern's tokens that is surely not held out: of every component the most that may be is taken off, from all
    of its documents alike. A document counts in the first of its components."""
    any_phase = {c for phase in recipe.mixture.phase_list for c, ask in enumerate(phase.asks) if ask is not None}
    tokens: Counter[int] = Counter()
    for pattern, one in of.items():
        tokens[first_of(pattern, any_phase)] += one.tokens
    shares = {c: Fraction(n - _held_out(recipe, n), n) if n else Fraction(1) for c, n in tokens.items()}
    return {pattern: shares[first_of(pattern, any_phase)] for pattern in of}


def _held_out(recipe: Recipe, tokens: int) -> int:
    """The most that is held out of a component of so many tokens."""
    if recipe.held_out is None:
        return 0
    most: Quantity = recipe.held_out.per_component
    share: Quantity = recipe.held_out.at_most
    return min(most.count, int(share.value * tokens // 1))


def paste_lines(old: Recipe, new: Recipe) -> list[str]:
    """The changed keys as YAML lines for the recipe; a changed bound of a preset goes to its `set:`."""
    lines: list[str] = []
    presets: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = {}
    same = {(rule.name, tuple(rule.sources or ())): rule for rule in old.rules}
    for rule in new.rules:
        if (
            rule.origin in BROUGHT or same.get((rule.name, tuple(rule.sources or ()))) == rule
        ):  # what other keys bring, they bring again
            continue
        if rule.origin.startswith("preset "):
            of = rule.origin.removeprefix("preset ").partition(",")[0]
            presets.setdefault((of, tuple(rule.sources or ())), {})[rule.name] = rule.bound
        else:
            lines.append(
                f"  - {_flow({'signal': rule.signal, rule.op: rule.bound, **({'sources': rule.sources} if rule.sources else {})})}"
            )
    for (of, sources), bounds in presets.items():
        lines.append(f"  - {_flow({'preset': of, **({'sources': list(sources)} if sources else {}), 'set': bounds})}")
    gone = [rule.name for rule in old.rules if rule.origin not in BROUGHT and rule.name not in {r.name for r in new.rules}]
    lines += [f"  # and without {name}" for name in gone]
    a, b = _without_origins(old.canonical()), _without_origins(new.canonical())
    return (["rules:", *lines] if lines else []) + _changed({**a, "rules": None}, {**b, "rules": None}, 0)


def _without_origins(node: dict[str, Any]) -> dict[str, Any]:
    """A canonical recipe, or a group of its components, without what people do not write: where a table of copies comes from."""
    for component in node.get("mixture", node)["components"].values():
        component.get("copies", {}).pop("origin", None)
        if "components" in component:
            _without_origins(component)
    return node


def _changed(old: Any, new: Mapping[str, Any], depth: int) -> list[str]:
    lines = []
    for key, value in new.items():
        before = old.get(key) if isinstance(old, Mapping) else None
        if value == before:
            continue
        if isinstance(value, Mapping) and isinstance(before, Mapping) and key != "copies":  # a table is read as a whole
            lines += [f"{'  ' * depth}{key}:", *_changed(before, value, depth + 1)]
        else:
            lines.append(f"{'  ' * depth}{key}: {_flow(value)}")
    gone = [key for key in old if key not in new] if isinstance(old, Mapping) else []
    return [*lines, *(f"{'  ' * depth}{key}: null" for key in gone)]


def _flow(value: Any) -> str:
    """YAML's flow style: bare words where they are safe, else JSON's quotes, which YAML reads alike."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    is_bare = isinstance(value, str) and value.replace("_", "").replace("/", "").isalnum() and value[0].isalpha()
    is_word = is_bare and value.lower() not in ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
    return value if is_word else json.dumps(value, ensure_ascii=False)
