"""The parts of `curate diff`: keys, roots, stages and figures of two builds, laid side by side.

In: two recipes as plain data, two manifests, two connections to corpus.duckdb. Out: plain data, every figure as {"a": ..., "b": ...}.
Imports inspect.corpus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curate.inspect.corpus import Connection, rows

# Keys that change no row: what a build is called, where its input lies, who wrote a rule.
_SILENT = {"name", "roots", "origin"}


def keys(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """[{key, a, b}] where two canonical recipes differ; rules and other lists of named entries are compared by name. Where only the
    order of sources, components or rules differs (it is a priority) the key ends in " (order)"."""
    found: list[dict[str, Any]] = []
    _compare({k: v for k, v in a.items() if k not in _SILENT}, {k: v for k, v in b.items() if k not in _SILENT}, "", found)
    return found


def _compare(a: Any, b: Any, at: str, found: list[dict[str, Any]]) -> None:
    a, b = _by_name(a, b)
    if not (isinstance(a, Mapping) and isinstance(b, Mapping)):
        if a != b:
            found.append({"key": at, "a": a, "b": b})
        return
    ignored = _SILENT if at else set()
    names = [name for name in [*a, *(name for name in b if name not in a)] if name not in ignored]
    for name in names:
        _compare(a.get(name), b.get(name), f"{at}.{name}" if at else name, found)
    shared = [[name for name in one if name in other] for one, other in ((a, b), (b, a))]
    if at in ("sources", "rules", "mixture.components") and shared[0] != shared[1]:
        found.append({"key": f"{at} (order)", "a": list(a), "b": list(b)})


def _by_name(a: Any, b: Any) -> tuple[Any, Any]:
    """Lists of entries that have names as mappings; a name that stands twice is told apart by its sources."""
    if not all(isinstance(x, list) and x and all(isinstance(e, Mapping) for e in x) for x in (a, b) if x):
        return a, b
    both = [*(a or []), *(b or [])]
    if not both or not isinstance(both[0], Mapping) or not all("name" in entry or "kind" in entry for entry in both):
        return a, b

    def name(entry: Mapping[str, Any]) -> str:
        return str(entry.get("name") or entry["kind"])

    def mapped(entries: list[Mapping[str, Any]] | None) -> dict[str, Any]:
        return {titled(entry): {k: v for k, v in entry.items() if k not in ("name", *_SILENT)} for entry in entries or []}

    twice = {name(e) for x in (a, b) for e in x or [] if sum(name(other) == name(e) for other in x) > 1}

    def titled(entry: Mapping[str, Any]) -> str:
        return name(entry) + (f"[{', '.join(entry.get('sources') or ['all'])}]" if name(entry) in twice else "")

    return mapped(a), mapped(b)


def roots(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The manifests' roots: {components, selection, order, stream} -> {a, b, same}."""
    mine, theirs = ((m or {}).get("roots", {}) for m in (a, b))
    return {
        name: {"a": mine.get(name), "b": theirs.get(name), "same": bool(mine) and mine.get(name) == theirs.get(name)}
        for name in ("components", "selection", "order", "stream")
    }


def stages(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """[{stage, source, family, a, b, same}] in the order of the flow; a, b: {root, fingerprint, rows}, None where there is none."""
    order: dict[tuple[str, str, str], None] = {}
    mine, theirs = ({_key(s): s for s in side} for side in (a, b))
    names = list(dict.fromkeys(s["stage"] for side in (a, b) for s in side))
    for key in sorted([*mine, *(k for k in theirs if k not in mine)], key=lambda key: names.index(key[0])):
        order[key] = None
    found = []
    for key in order:
        pair = [{n: s[n] for n in ("root", "fingerprint", "rows")} if (s := side.get(key)) else None for side in (mine, theirs)]
        same = all(pair) and pair[0]["root"] == pair[1]["root"]  # type: ignore[index]
        found.append({**dict(zip(("stage", "source", "family"), key, strict=True)), "a": pair[0], "b": pair[1], "same": same})
    return found


def _key(stage: Mapping[str, Any]) -> tuple[str, str, str]:
    return stage["stage"], stage["source"], stage["family"]


def parted(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first stage of the flow at which each source parts, and the first of those over all sources (source ""): rows of `stages`.

    A stage that only one side has counts where it brings documents; one more measured family parts nobody.
    """
    firsts: dict[str, dict[str, Any]] = {}
    for stage in stages(a, b):
        if not stage["same"] and (stage["stage"] == "documents" or (stage["a"] and stage["b"])):
            firsts.setdefault(stage["source"], stage)
    return list(firsts.values())


def pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{name: {a, b}} over the names of both, A's first."""
    return {name: {"a": a.get(name), "b": b.get(name)} for name in [*a, *(name for name in b if name not in a)]}


def components(corpus: Connection) -> dict[str, dict[str, Any]]:
    """component -> documents (trained on at least once), tokens (all uses), unique_tokens, epochs."""
    query = "SELECT component, documents, train_tokens AS tokens, unique_tokens, epochs FROM components"
    return {row.pop("component"): row for row in rows(corpus, query)}


def phases(corpus: Connection) -> dict[str, dict[str, Any]]:
    """phase -> tokens (to train), sequences, sequence_length, and what the budget realised in its unit."""
    query = """SELECT phase, unit, realised, (SELECT coalesce(sum(train_tokens), 0)::BIGINT FROM component_phases c
                      WHERE c.phase = p.phase) AS tokens, n_sequences AS sequences, sequence_length FROM phases p ORDER BY first_index"""
    return {row.pop("phase"): row for row in rows(corpus, query)}


def sources(corpus: Connection, has_mixture: bool) -> dict[str, dict[str, Any]]:
    """source -> documents, kept, tokens (of kept documents, each once), selected (documents trained on), trained_tokens (all uses)."""
    query = "SELECT source, documents, kept, tokens, selected FROM sources ORDER BY priority"
    found = {row.pop("source"): row for row in rows(corpus, query)}
    trained = rows(corpus, "SELECT source, sum(tokens)::BIGINT AS n FROM trained_by_origin GROUP BY source")
    of = {row["source"]: row["n"] for row in trained}
    return {name: {**row, "trained_tokens": of.get(name, 0) if has_mixture else None} for name, row in found.items()}


def by_origin(corpus: Connection, column: str, has_mixture: bool) -> dict[str, dict[str, Any]]:
    """language or license -> kept, tokens (of kept documents, each once), trained_tokens (all uses); most kept tokens first."""
    query = f"""
      WITH k AS (SELECT {column}, sum(documents)::BIGINT AS kept, sum(tokens)::BIGINT AS tokens FROM kept_by_origin GROUP BY 1),
      t AS (SELECT {column}, sum(tokens)::BIGINT AS trained_tokens FROM trained_by_origin GROUP BY 1)
      SELECT {column} AS name, coalesce(kept, 0) AS kept, coalesce(tokens, 0) AS tokens, coalesce(trained_tokens, 0) AS trained_tokens
      FROM k FULL JOIN t USING ({column}) ORDER BY 3 DESC, 1"""
    found = {row.pop("name"): row for row in rows(corpus, query)}
    return found if has_mixture else {name: {**row, "trained_tokens": None} for name, row in found.items()}


def reasons(one: Connection, other: Connection) -> list[dict[str, Any]]:
    """[{source, reason, a, b}]: documents dropped for it, what changed most first."""
    query = "SELECT source, reason, dropped FROM reasons"
    mine, theirs = ({(r["source"], r["reason"]): r["dropped"] for r in rows(corpus, query)} for corpus in (one, other))
    found = [
        {"source": key[0], "reason": key[1], "a": mine.get(key, 0), "b": theirs.get(key, 0)} for key in sorted({*mine, *theirs})
    ]
    return sorted(found, key=lambda row: -abs(row["b"] - row["a"]))


def rule_signals(recipe: Mapping[str, Any], source: str) -> list[str]:
    """Signals that a rule judges in this source, in the order of the rules."""
    return [rule["signal"] for rule in recipe.get("rules", []) if source in (rule.get("sources") or [source])]


def numeric_signals(corpus: Connection) -> set[str]:
    query = "SELECT column_name AS name FROM duckdb_columns() WHERE table_name = 'signals' AND data_type NOT IN ('VARCHAR', 'BOOLEAN')"
    return {row["name"] for row in rows(corpus, query)}


def averages(corpus: Connection, columns: Sequence[str]) -> dict[tuple[str, str], dict[str, float]]:
    """(source, signal) -> {mean, median} over the kept documents of a source, where one of them has a value."""
    if not columns:
        return {}
    asked = ", ".join(f'avg(s."{c}")::DOUBLE, median(s."{c}")::DOUBLE' for c in columns)
    query = (
        f"SELECT s.source, {asked} FROM signals s JOIN decisions d ON d.id = s.id AND d.source = s.source WHERE d.keep GROUP BY 1"
    )
    return {
        (source, column): {"mean": values[2 * i], "median": values[2 * i + 1]}
        for source, *values in corpus.execute(query).fetchall() for i, column in enumerate(columns) if values[2 * i] is not None
    }  # fmt: skip
