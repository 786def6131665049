"""`curate thresholds BUILD`: bounds for a source from its own measured distributions, by FineWeb2's methods.

In: a build's signals (every measured document, whatever the rules said of it), base bounds from the presets. Out: plain data: per
source the bounds in FineWeb2's order, what each would drop, texts on both sides, the recipe lines; and derived stop words.
Imports errors, recipe, langid's codes, inspect.{corpus, samples, stop_words, threshold_methods}; thresholds_screen.py renders it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from curate.errors import CurateError, nearest
from curate.inspect import stop_words as stop_word_lists
from curate.inspect.corpus import Connection, open_corpus, quote, rows
from curate.inspect.samples import texts_of
from curate.inspect.threshold_methods import METHODS, NEED_REFERENCE, PARTS, Op, language_score, propose, rounded
from curate.langid.codes import language_code
from curate.recipe import Recipe, preset

MIN_DOCUMENTS = (
    200  # the share in a tail of 10 % is then known to 2 percentage points (one standard error, sqrt(0.1 * 0.9 / 200))
)


class Bound(NamedTuple):
    """One bound to propose: `method` "fixed" keeps `base`, "clamp" is that of the language score."""

    part: str
    name: str
    base: float | None
    method: str

    @property
    def op(self) -> Op:
        return "min" if self.name.startswith("min_") else "max"

    @property
    def signal(self) -> str:
        return self.name[4:]

    @property
    def digits(self) -> int:
        return 1 if self.signal.endswith("_chars") else 3  # ratios as FineWeb2 writes them


def thresholds(
    build_dir: Path, recipe: Recipe, sources: Sequence[str] = (), *, method: str | None = None, reference: str | None = None,
    clean: str | None = None, stop_words: str | None = None, write_stop_words: Path | None = None, n_texts: int = 2,
) -> dict[str, Any]:  # fmt: skip
    """Proposals for `sources` (none named: all of type text that are large enough and serve as no reference).

    `method`: one for every bound, else FineWeb2's choice per filter (10tail where that needs a reference and there is none).
    `reference`: the source whose distribution the base bounds fit, e.g. English. `clean`: a source of the target's language whose
    distribution stands for it in the methods that compare with the reference (FineWeb2: Wikipedia on both sides); None: the source
    itself. `stop_words`: the source to derive stop words from. Raises CurateError for unknown names, signals that were not
    measured, and distributions of fewer than MIN_DOCUMENTS documents.
    """
    build_dir = Path(build_dir)
    _check(recipe, build_dir, sources, method, reference, clean, stop_words, write_stop_words)
    helpers = [name for name in (reference, clean, stop_words) if name is not None]
    bounds = _bounds(recipe, method, reference)
    with open_corpus(build_dir) as corpus:
        wanted = list(sources) or _large_enough(corpus, build_dir, recipe, helpers)
        _measured(corpus, build_dir, recipe, bounds, [*wanted, *(n for n in (reference, clean) if n)])
        derived = stop_word_lists.derive(corpus, build_dir, stop_words, recipe.sources[stop_words].words) if stop_words else None
        of_source = {name: _propose(corpus, recipe, name, bounds, reference, clean, n_texts) for name in wanted}
    if derived is not None and write_stop_words is not None:
        stop_word_lists.write(write_stop_words, derived)
        derived["file"] = Path(os.path.relpath(write_stop_words.resolve(), recipe.base.resolve())).as_posix()
    return {
        "build": str(build_dir), "reference": reference, "clean": clean, "sources": of_source, "stop_words": derived,
        "yaml": recipe_lines(recipe, of_source, derived),
    }  # fmt: skip


def _check(
    recipe: Recipe, build_dir: Path, sources: Sequence[str], method: str | None, reference: str | None, clean: str | None,
    stop_words: str | None, write_stop_words: Path | None,
) -> None:  # fmt: skip
    named = [("--source", name) for name in sources]
    named += [("--reference", reference or ""), ("--clean", clean or ""), ("--stop-words", stop_words or "")]
    for option, name in named:
        if name and name not in recipe.sources:
            close = ", ".join(nearest(name, recipe.sources)) or ", ".join(recipe.sources)
            raise CurateError(f"no source {name!r} in this build", where=option, allowed=close)
    if method is not None and method not in METHODS:
        raise CurateError("no such method", where="--method", found=method, allowed=", ".join(METHODS))
    if method in NEED_REFERENCE and reference is None:
        raise CurateError(f"{method} transfers bounds from a reference", where="--method", next="--reference SOURCE: the source of this "
                          "build that the base bounds fit, e.g. clean English")  # fmt: skip
    if write_stop_words is not None and stop_words is None:
        raise CurateError("which source are the stop words to come from?", where="--write-stop-words", next="--stop-words SOURCE")


def _bounds(recipe: Recipe, method: str | None, reference: str | None) -> list[Bound]:
    """Every bound FineWeb2 uses, in its order; the language score of the recipe's first opinion comes first."""
    found = [Bound("language score", f"min_{recipe.language_id[0].name}_score", None, "clamp")] if recipe.language_id else []
    for part in PARTS:
        fixed = dict(part.fixed)
        own = method or (part.method if reference or part.method not in NEED_REFERENCE else "10tail")
        for name, base in preset(part.preset, recipe.base)["bounds"].items():
            if name in part.off:
                continue
            found.append(Bound(part.name, name, fixed.get(name, base), own if name in part.adapted else "fixed"))
    return found


def _large_enough(corpus: Connection, build_dir: Path, recipe: Recipe, helpers: list[str]) -> list[str]:
    counted = {row["source"]: row["documents"] for row in rows(corpus, "SELECT source, documents FROM sources")}
    texts = [name for name, source in recipe.sources.items() if source.type in ("text", "web") and name not in helpers]
    found = [name for name in texts if counted[name] >= MIN_DOCUMENTS]
    if not found:
        sizes = ", ".join(f"{name} {counted[name]:,}" for name in texts) or "no other source of type text"
        raise CurateError("no source is large enough to take thresholds from", where=str(build_dir), found=f"documents: {sizes}",
                          allowed=f"{MIN_DOCUMENTS} or more", next="--source names one to look at")  # fmt: skip
    return found


def _measured(corpus: Connection, build_dir: Path, recipe: Recipe, bounds: list[Bound], sources: Sequence[str]) -> None:
    """The temporary table `measured`: id, source, the label of the language, a column per signal."""
    query = "SELECT column_name AS name FROM duckdb_columns() WHERE table_name = 'signals'"
    known = {row["name"] for row in rows(corpus, query)}
    if missing := sorted({b.signal for b in bounds} - known):
        raise CurateError("this build has not measured what the bounds are about", where=str(build_dir), found=f"no {missing[0]}"
                          + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
                          next="curate build-mixture RECIPE again: it measures every family that is missing")  # fmt: skip
    label = recipe.language_id[0].name if recipe.language_id else "NULL"
    columns = ", ".join(f'"{b}"::DOUBLE AS "{b}"' for b in dict.fromkeys(b.signal for b in bounds))
    among = ", ".join(quote(name) for name in dict.fromkeys(sources))
    corpus.execute(
        f"CREATE TEMP TABLE measured AS SELECT id, source, {label} AS label, {columns} FROM signals WHERE source IN ({among})"
    )
    counted = {r["source"]: r["n"] for r in rows(corpus, "SELECT source, count(*) AS n FROM measured GROUP BY source")}
    for name in dict.fromkeys(sources):
        if counted.get(name, 0) < MIN_DOCUMENTS:
            raise CurateError(f"source {name!r} is too small to take thresholds from", where=str(build_dir),
                              found=f"{counted.get(name, 0)} documents", allowed=f"{MIN_DOCUMENTS} or more")  # fmt: skip


def _values(corpus: Connection, source: str, signal: str, label: str | None = None) -> np.ndarray:
    where = "" if label is None else f" AND label = {quote(label)}"
    query = f'SELECT "{signal}" AS v FROM measured WHERE source = ? AND "{signal}" IS NOT NULL{where}'
    return np.asarray(corpus.execute(query, [source]).fetchnumpy()["v"], np.float64)


def _propose(
    corpus: Connection, recipe: Recipe, source: str, bounds: list[Bound], reference: str | None, clean: str | None, n_texts: int
) -> dict[str, Any]:
    """{documents, rules: [...], together: share that any of the proposed bounds would drop}."""
    proposed = []
    for bound in bounds:
        if bound.signal == "n_stop_words" and not _values(corpus, source, bound.signal).any():
            continue  # no list was measured for this source: the bound would drop every document
        value, note = _value(corpus, recipe, source, bound, reference, clean)
        proposed.append((bound, value, note))
    fails = [f'("{b.signal}" IS NULL OR "{b.signal}" {"<" if b.op == "min" else ">"} {value!r})' for b, value, _ in proposed]
    shares = rows(corpus, f"SELECT count(*) AS documents, {', '.join(f'avg({f}::INT) AS f{i}' for i, f in enumerate(fails))}, "
                          f"avg(({' OR '.join(fails)})::INT) AS together FROM measured WHERE source = ?", source)[0]  # fmt: skip
    found = []
    for i, (bound, value, note) in enumerate(proposed):
        found.append({
            "rule": bound.name, "signal": bound.signal, "op": bound.op, "part": bound.part, "base": bound.base, "proposed": value,
            "method": bound.method, "note": note, "would_drop": shares[f"f{i}"], "base_would_drop": _base_share(corpus, source, bound),
            "texts": _texts(corpus, source, bound, value, n_texts) if bound.method != "fixed" else {"dropped": [], "kept": []},
        })  # fmt: skip
    return {"documents": shares["documents"], "rules": found, "together": shares["together"]}


def _value(
    corpus: Connection, recipe: Recipe, source: str, bound: Bound, reference: str | None, clean: str | None
) -> tuple[float, str]:
    """(the rounded bound, what there is to say about it)."""
    if bound.method == "clamp":
        declared = recipe.sources[source].language
        scores = _values(corpus, source, bound.signal, language_code(declared) if declared else None)
        if len(scores) < MIN_DOCUMENTS:
            return 0.3, f"only {len(scores)} documents have the label {declared}: the lowest bound there is"
        return rounded(language_score(scores), "min", 3), ""
    assert bound.base is not None
    if bound.method == "fixed":
        return float(bound.base), ""
    compares = bound.method in NEED_REFERENCE
    values = _values(corpus, clean if compares and clean else source, bound.signal)
    against = _values(corpus, reference, bound.signal) if compares and reference else None
    exact = propose(bound.method, bound.op, float(bound.base), values, against)
    if exact is None:
        return float(
            bound.base
        ), f"{bound.method} says nothing here (no spread, or a median of 0, in {reference}): the base bound"
    return rounded(exact, bound.op, bound.digits), ""


def _base_share(corpus: Connection, source: str, bound: Bound) -> float | None:
    if bound.base is None:
        return None
    test = f'"{bound.signal}" IS NULL OR "{bound.signal}" {"<" if bound.op == "min" else ">"} ?'
    return rows(corpus, f"SELECT avg(({test})::INT) AS share FROM measured WHERE source = ?", float(bound.base), source)[0][
        "share"
    ]


def _texts(corpus: Connection, source: str, bound: Bound, value: float, n: int) -> dict[str, list[dict[str, Any]]]:
    """The n documents on each side that are nearest to the bound."""
    found = {}
    for side, test in (("dropped", "<" if bound.op == "min" else ">"), ("kept", ">=" if bound.op == "min" else "<=")):
        query = f"""SELECT id, "{bound.signal}" AS value FROM measured WHERE source = ? AND "{bound.signal}" {test} ?
                    ORDER BY abs(value - ?), id LIMIT ?"""
        found[side] = rows(corpus, query, source, value, value, n)
    texts = texts_of(corpus, [d["id"] for side in found.values() for d in side])
    return {side: [{**d, "text": texts[d["id"]]["text"]} for d in listed] for side, listed in found.items()}


def recipe_lines(recipe: Recipe, of_source: dict[str, Any], derived: dict[str, Any] | None) -> list[str]:
    """YAML to paste: rules in FineWeb2's order, and the stop-word list where one was written."""
    lines = ["rules:"]
    for source, found in of_source.items():
        lines.append(f"  # {source}: FineWeb2's methods (arXiv 2506.20920) over {found['documents']:,} documents")
        names = {rule["rule"] for rule in found["rules"]}
        replaced = [r.name for r in recipe.rules if r.name in names and (r.sources is None or source in r.sources)]
        lines += [f"  # in place of the recipe's {', '.join(replaced)}"] if replaced else []
        for rule in found["rules"]:
            value = rule["proposed"]
            lines.append(
                f"  - {{signal: {rule['signal']}, {rule['op']}: {int(value) if value == int(value) else value!r}, sources: [{source}]}}"
            )
    language = recipe.sources[derived["source"]].language if derived else None
    same = [n for n in of_source if language and language_code(recipe.sources[n].language or "") == language_code(language)]
    if derived is not None and "file" in derived and same:
        lines += ["sources:", *(f"  {source}: {{stop_words: {derived['file']}}}" for source in same)]
    return lines
