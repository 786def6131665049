"""`curate diff A B --by NAME`: documents and tokens of two builds by component, phase, source, language, licence, or bins of a signal.

In: two connections to corpus.duckdb and names, a signal perhaps with the bounds of its bins (`edu_score=0.5,0.7`; else the quartiles of
A's kept documents). Out: plain data. All but signals and cluster size are stored aggregates. Imports errors, inspect.corpus.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from curate.errors import CurateError, nearest
from curate.inspect.corpus import Connection, rows, signals_of

NO_VALUE = "no value"
N_VALUES = 50  # of a text, the others together
CLUSTER_SIZE = "cluster_size"
ALIASES = {"components": "component", "phases": "phase", "sources": "source", "languages": "language", "licence": "license",
           "licences": "license", "licenses": "license"}  # fmt: skip
_KEPT = "SELECT {0} AS value, sum(documents)::BIGINT AS kept, sum(tokens)::BIGINT AS kept_tokens FROM kept_by_origin GROUP BY 1"
_TRAINED = (
    "SELECT {0} AS value, sum(documents)::BIGINT AS documents, sum(tokens)::BIGINT AS tokens FROM trained_by_origin GROUP BY 1"
)
_ORIGIN = f"""
SELECT coalesce(k.value, t.value) AS value, coalesce(kept, 0) AS kept, coalesce(kept_tokens, 0) AS kept_tokens,
  coalesce(documents, 0) AS documents, coalesce(tokens, 0) AS tokens
FROM ({_KEPT}) k FULL JOIN ({_TRAINED}) t ON k.value = t.value ORDER BY kept_tokens DESC, value"""
# A document of several sources is none; one of several components counts in each of them.
STORED = {
    "component": "SELECT component AS value, documents, train_tokens AS tokens FROM components",
    "phase": "SELECT phase AS value, sum(examples)::BIGINT AS uses, sum(train_tokens)::BIGINT AS tokens FROM component_phases GROUP BY 1 "
             "ORDER BY min(rowid)",
    **{name: _ORIGIN.format(name) for name in ("source", "language", "license")},
}  # fmt: skip


def tables(one: Connection, other: Connection, a: Path, b: Path, asked: Sequence[str]) -> list[dict[str, Any]]:
    """[{name, bounds, rows: [{value, a, b}]}]: figures are kept, kept_tokens (each document once), documents (trained on at least once),
    tokens (all uses); of components documents and tokens, of phases uses and tokens. None where a side does not have the value.

    Raises CurateError for a name that no table and no signal has, and for bounds that are none.
    """
    return [_table(one, other, a, b, name) for name in asked]


def _table(one: Connection, other: Connection, a: Path, b: Path, asked: str) -> dict[str, Any]:
    name, _, text = asked.partition("=")
    name = ALIASES.get(name, name)
    if name in STORED:
        if text:
            raise CurateError(f"{name} has no bins", where=f"--by {asked}", allowed=f"--by {name}")
        return {"name": name, "bounds": None, "rows": _beside(*(rows(corpus, STORED[name]) for corpus in (one, other)))}
    kinds = [_kind(corpus, name, asked) for corpus in (one, other)]
    is_text = bool({"VARCHAR", "BOOLEAN"}.intersection(kinds))
    if text and is_text:
        raise CurateError(f"{name} is a text: its values are the bins", where=f"--by {asked}", allowed=f"--by {name}")
    bounds = None if is_text else _bounds(text, asked) if text else _quartiles(one, a, name)
    found = [_signal(corpus, folder, name, bounds) for corpus, folder in ((one, a), (other, b))]
    return {"name": name, "bounds": bounds, "rows": _beside(*found)}


def _beside(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Values in A's order, then those of B alone."""
    by_value = [{row["value"]: {key: n for key, n in row.items() if key != "value"} for row in side} for side in (mine, theirs)]
    return [
        {"value": value, "a": by_value[0].get(value), "b": by_value[1].get(value)}
        for value in dict.fromkeys([*by_value[0], *by_value[1]])
    ]


def _kind(corpus: Connection, name: str, asked: str) -> str:
    """The type of a signal in DuckDB's words."""
    query = "SELECT column_name AS name, data_type AS type FROM duckdb_columns() WHERE table_name = 'signals'"
    known = {row["name"]: row["type"] for row in rows(corpus, query)}
    known = {**{key: kind for key, kind in known.items() if key not in ("id", "source")}, CLUSTER_SIZE: "INTEGER"}
    if name not in known:
        close = nearest(name, [*STORED, *known])
        raise CurateError(
            f"nothing to compare by: {name!r}", where=f"--by {asked}", allowed=", ".join([*STORED, "a signal"]),
            next=f"did you mean {close[0]!r}?" if close else "curate stats BUILD lists the signals",
        )  # fmt: skip
    return known[name]


def _bounds(text: str, asked: str) -> list[float]:
    try:
        bounds = [float(part) for part in text.split(",")]
    except ValueError:
        bounds = []
    if not bounds or sorted(set(bounds)) != bounds or not all(map(math.isfinite, bounds)):
        raise CurateError(
            "the bounds of bins are numbers, the smallest first", where=f"--by {asked}", allowed="--by edu_score=0.5,0.7"
        )
    return bounds


def _values(corpus: Connection, build: Path, name: str) -> str:
    """(source, id, value) of every document that has one."""
    if name == CLUSTER_SIZE:
        return "SELECT d.source, d.id, coalesce(c.cluster_size, 1) AS value FROM decisions d LEFT JOIN duplicates c USING (source, id)"
    return f'SELECT source, id, "{name}" AS value FROM ({signals_of(corpus, build, [name])})'


def _quartiles(corpus: Connection, build: Path, name: str) -> list[float]:
    """Of the kept documents; fewer where many have the same value."""
    query = f"""SELECT quantile_disc(v.value, [0.25, 0.5, 0.75]) AS bounds
                FROM ({_values(corpus, build, name)}) v JOIN decisions d USING (source, id) WHERE d.keep AND v.value IS NOT NULL"""
    return sorted({float(bound) for bound in rows(corpus, query)[0]["bounds"] or []})


def _signal(corpus: Connection, build: Path, name: str, bounds: Sequence[float] | None) -> list[dict[str, Any]]:
    """Figures by bin, or by value of a text, the commonest first."""
    kind = "s.value" if bounds is None else _bin(bounds)
    found = rows(
        corpus,
        f"""
      WITH s AS ({_values(corpus, build, name)}),
      k AS (SELECT d.source, d.id, {kind} AS bin, t.n_tokens FROM decisions d LEFT JOIN s ON s.id = d.id AND s.source = d.source
            LEFT JOIN tokens t ON t.id = d.id AND t.source = d.source WHERE d.keep),
      u AS (SELECT source, id, sum(n_tokens) AS tokens FROM selection WHERE split = 'train' GROUP BY ALL)
      SELECT bin, count(*) AS kept, coalesce(sum(n_tokens), 0)::BIGINT AS kept_tokens, count(u.id) AS documents,
        coalesce(sum(u.tokens), 0)::BIGINT AS tokens
      FROM k LEFT JOIN u ON u.id = k.id AND u.source = k.source GROUP BY bin ORDER BY {"kept DESC, bin" if bounds is None else "bin"}""",
    )
    labels = None if bounds is None else _labels(bounds)
    named = [{"value": _label(row.pop("bin"), labels), **row} for row in found]
    return named if bounds is not None or len(named) <= N_VALUES else _folded(named)


def _bin(bounds: Sequence[float]) -> str:
    steps = "".join(f" WHEN s.value < {bound!r} THEN {number}" for number, bound in enumerate(bounds))
    return f"CASE WHEN s.value IS NULL OR isnan(s.value::DOUBLE) THEN NULL{steps} ELSE {len(bounds)} END"


def _labels(bounds: Sequence[float]) -> list[str]:
    if not bounds:
        return ["all"]
    inner = [f"{low:g} to below {high:g}" for low, high in pairwise(bounds)]
    return [f"below {bounds[0]:g}", *inner, f"from {bounds[-1]:g}"]


def _label(value: Any, labels: Sequence[str] | None) -> str:
    return NO_VALUE if value is None else str(value) if labels is None else labels[value]


def _folded(named: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rest: Mapping[str, int] = {key: sum(row[key] for row in named[N_VALUES:]) for key in named[0] if key != "value"}
    return [*named[:N_VALUES], {"value": f"{len(named) - N_VALUES} others", **rest}]
