"""`curate what-if BUILD k=v ...`: two outcomes of decide and plan side by side, and the YAML to paste back.

In: the build (its tokens and texts' sizes), two decision tables, two recipes, the planner's verdict. Out: plain data and text. It
decides and plans nothing itself. Imports recipe, schema, inspect.corpus, inspect.tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.inspect.corpus import open_corpus, quote, rows
from curate.inspect.tables import count, paint, table
from curate.recipe import Quantity, Recipe

_DROPS = "SELECT source, reason, count(*) AS n FROM {decisions} WHERE NOT keep GROUP BY ALL ORDER BY source, n DESC, reason"

# Tokens are known for documents tokenized before; the others are newly kept, and only their size in bytes is known.
_KEPT = """
SELECT k.source, count(*) AS kept, coalesce(sum(n_tokens), 0)::BIGINT AS known_tokens,
  coalesce(sum(n_bytes) FILTER (n_tokens IS NOT NULL), 0)::BIGINT AS known_bytes,
  coalesce(sum(n_bytes) FILTER (n_tokens IS NULL), 0)::BIGINT AS new_bytes, count_if(n_tokens IS NULL) AS new_documents
FROM (SELECT id, source FROM {decisions} WHERE keep) k LEFT JOIN tokens t ON t.id = k.id AND t.source = k.source
JOIN ({sizes}) s ON s.id = k.id AND s.source = k.source GROUP BY k.source
"""


def outcome(build_dir: Path, decide: Path | None = None) -> dict[str, Any]:
    """What a decision table keeps, per source: {source: {documents, kept, dropped, reasons, known_tokens, known_bytes, new_bytes,
    new_documents}}. `decide` is the folder of another decide stage; None: the build's own."""
    decisions = "decisions" if decide is None else f"read_parquet({quote(f'{Path(decide).resolve()}/*/decisions.parquet')})"
    with open_corpus(build_dir) as corpus:
        signals = {
            row["name"] for row in rows(corpus, "SELECT column_name AS name FROM duckdb_columns() WHERE table_name = 'signals'")
        }
        sizes = f"SELECT id, source, {'n_bytes FROM signals' if 'n_bytes' in signals else 'strlen(text) AS n_bytes FROM texts'}"
        sources = {
            row["source"]: {"documents": row["documents"], "kept": 0, "dropped": 0, "reasons": {}, "known_tokens": 0,
                            "known_bytes": 0, "new_bytes": 0, "new_documents": 0}
            for row in rows(corpus, "SELECT source, documents FROM sources ORDER BY priority")
        }  # fmt: skip
        for row in rows(corpus, _KEPT.format(decisions=decisions, sizes=sizes)):
            sources[row.pop("source")].update(row)
        for row in rows(corpus, _DROPS.format(decisions=decisions)):
            sources[row["source"]]["reasons"][row["reason"]] = row["n"]
    for source in sources.values():
        source["dropped"] = sum(source["reasons"].values())
    return sources


def tokens_by_component(recipe: Recipe, sources: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Unique tokens per component: exact where tokenized, else bytes times the source's tokens per byte as `known` has them
    (the build's own outcome), or all sources' where it has none. `estimated` counts the tokens that are such a guess. What the
    recipe may hold out at most is taken off."""
    all_tokens, all_bytes = (sum(s[key] for s in known.values()) for key in ("known_tokens", "known_bytes"))
    result = {}
    for name, component in recipe.mixture.components.items():
        exact, estimated, is_complete = 0, 0, True
        for source in component.from_:
            row, seen = sources[source], known.get(source, {"known_tokens": 0, "known_bytes": 0})
            exact += row["known_tokens"]
            tokens, size = (seen["known_tokens"], seen["known_bytes"]) if seen["known_bytes"] else (all_tokens, all_bytes)
            estimated += round(row["new_bytes"] * tokens / size) if size else 0
            is_complete = is_complete and (size > 0 or row["new_bytes"] == 0)
        total = exact + estimated
        result[name] = {"tokens": total - _held_out(recipe, total) if is_complete else None, "estimated": estimated,
                        "requested": str(component.budget), "max_epochs": component.max_epochs}  # fmt: skip
    return result


def _held_out(recipe: Recipe, tokens: int) -> int:
    """The most that is held out of a component of so many tokens."""
    if recipe.held_out is None:
        return 0
    most: Quantity = recipe.held_out.per_component
    share: Quantity = recipe.held_out.at_most
    return min(most.count, int(share.value * tokens // 1))


def what_if(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    recipes: tuple[Recipe, Recipe],
    problem: str = "",
    feasible: bool | None = None,
) -> dict[str, Any]:
    """Two outcomes compared. `problem`: the planner's message about the changed recipe, "" when it is feasible; `feasible` None:
    it was not planned (nothing tokenized yet)."""
    old, new = recipes
    reasons = [*dict.fromkeys(r for side in (before, after) for s in side.values() for r in s["reasons"])]
    per_reason = {
        reason: [sum(s["reasons"].get(reason, 0) for s in side.values()) for side in (before, after)] for reason in reasons
    }  # fmt: skip
    return {
        "sources": {name: {"before": before.get(name), "after": after[name]} for name in after},
        "reasons": {reason: {"before": b, "after": a} for reason, (b, a) in per_reason.items()},
        "components": {
            "before": tokens_by_component(old, before, before), "after": tokens_by_component(new, after, before),
        },
        "feasible": feasible, "problem": problem, "yaml": paste_lines(old, new),
    }  # fmt: skip


def paste_lines(old: Recipe, new: Recipe) -> list[str]:
    """The changed keys as YAML lines for the recipe; a changed bound of a preset goes to its `set:`."""
    lines: list[str] = []
    presets: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = {}
    same = {(rule.name, tuple(rule.sources or ())): rule for rule in old.rules}
    for rule in new.rules:
        if same.get((rule.name, tuple(rule.sources or ()))) == rule:
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
    gone = [rule.name for rule in old.rules if rule.name not in {r.name for r in new.rules}]
    lines += [f"  # and without {name}" for name in gone]
    a, b = old.canonical(), new.canonical()
    return (["rules:", *lines] if lines else []) + _changed({**a, "rules": None}, {**b, "rules": None}, 0)


def _changed(old: Any, new: Mapping[str, Any], depth: int) -> list[str]:
    lines = []
    for key, value in new.items():
        before = old.get(key) if isinstance(old, Mapping) else None
        if value == before:
            continue
        if isinstance(value, Mapping) and isinstance(before, Mapping):
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


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    """The comparison as text, 100 columns."""
    lines = [*_source_lines(data), "", *_reason_lines(data), "", *_component_lines(data)]
    if data["feasible"] is not None:
        verdict = (
            paint("feasible", "green", colour) if data["feasible"] else paint("not feasible: ", "red", colour) + data["problem"]
        )
        lines += ["", f"the plan is {verdict}"]
    lines += (
        ["", "to keep it, in the recipe:", *(f"  {line}" for line in data["yaml"])] if data["yaml"] else ["", "nothing changes"]
    )
    return "\n".join(lines)


def _source_lines(data: Mapping[str, Any]) -> list[str]:
    shown = []
    for name, pair in data["sources"].items():
        b, a = pair["before"] or {"kept": 0, "dropped": 0}, pair["after"]
        shown.append([name, count(b["kept"]), "->", count(a["kept"]), f"{a['kept'] - b['kept']:+,}", count(b["dropped"]), "->",
                      count(a["dropped"])])  # fmt: skip
    return table(["source", "kept", "", "", "", "dropped", "", ""], shown, "<><>>><>")


def _reason_lines(data: Mapping[str, Any]) -> list[str]:
    shown = [
        [r, count(p["before"]), "->", count(p["after"]), f"{p['after'] - p['before']:+,}"] for r, p in data["reasons"].items()
    ]
    return table(["reason", "dropped", "", "", ""], shown, "<><>>") if shown else ["nothing is dropped"]


def _component_lines(data: Mapping[str, Any]) -> list[str]:
    shown = []
    for name, a in data["components"]["after"].items():
        b = data["components"]["before"].get(name, {"tokens": None})
        note = (
            f"{count(a['estimated'])} of them estimated"
            if a["estimated"]
            else ""
            if a["tokens"] is not None
            else "not tokenized yet"
        )
        figure = ("~" if a["estimated"] else "") + count(a["tokens"])
        shown.append([name, a["requested"], f"{a['max_epochs']:g}", count(b["tokens"]), "->", figure, note])
    return table(["component", "budget", "cap", "unique tokens", "", "", ""], shown, "<>>><><")
