"""`curate diff A B`: what changed between two builds, from the recipe's keys to the documents that are kept.

In: two build folders (of one store or of two). Out: plain data; diff_screen.py renders it. Texts are read where samples of them are
asked for, nothing else is. Shards of decisions with equal roots are not compared. Imports errors, manifest, recipe (YAML), store,
inspect.{corpus, diff_by, diff_parts, samples, step (titles)}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.inspect import diff_by, diff_parts
from curate.inspect.corpus import Connection, open_corpus, quote, rows
from curate.inspect.samples import with_texts
from curate.inspect.step import titles
from curate.manifest import read_manifest
from curate.recipe import load_yaml
from curate.store import read_json

KEPT, ABSENT = "kept", "absent"  # where a reason would stand
N_NAMED = 2  # documents of every change that are named, when no texts are asked for


@dataclass(frozen=True)
class Side:
    """One of the two builds."""

    build: Path
    recipe: dict[str, Any]
    manifest: dict[str, Any] | None
    stages: list[dict[str, Any]]  # rows of the table `stages`, in the order of the flow

    def roots(self, *names: str) -> dict[tuple[str, str, str], str]:
        """(stage, source, family) -> root, of the stages with these names."""
        return {(s["stage"], s["source"], s["family"]): s["root"] for s in self.stages if s["stage"] in names}

    def decide(self) -> Path:
        """The folder of the decisions. Raises CurateError where there is none."""
        folder = next((self.build / s["path"] for s in self.stages if s["stage"] == "decide"), None)
        if folder is None:
            raise CurateError("this build stopped before it was decided what is kept", where=str(self.build),
                              next="curate build-mixture RECIPE, without --until")  # fmt: skip
        if not (folder / "stage.json").exists():
            raise CurateError("the store does not have the decisions of this build", where=str(folder),
                              next="curate build-mixture RECIPE makes them again")  # fmt: skip
        return folder


def diff(a: Path, b: Path, n_texts: int = 0) -> dict[str, Any]:
    """{builds, recipe, roots, stages, parted, components, phases, sources, languages, licences, reasons, quality, moves, changed}.

    Every figure is a pair {"a": ..., "b": ...}, None where a side has none. moves: documents by what became of them in A and in B: a
    reason, "kept", or "absent" where the side does not have the document. changed: of every move to or from "kept" the documents with
    the smallest ids, which are hashes: a fair sample; `n_texts` of them with their texts, or N_NAMED without.
    """
    left, right = _side(Path(a)), _side(Path(b))
    files = _decisions(left, right)
    with open_corpus(left.build) as one, open_corpus(right.build) as other:
        both = (one, left), (other, right)
        moves, chosen = _moves(one, *files, n_texts or N_NAMED)
        changed = _named(chosen, one, other, n_texts > 0)
        return {
            "builds": {key: _of_build(side) for key, side in (("a", left), ("b", right))},
            "recipe": diff_parts.keys(left.recipe, right.recipe),
            "roots": diff_parts.roots(left.manifest, right.manifest), "stages": diff_parts.stages(left.stages, right.stages),
            "parted": diff_parts.parted(left.stages, right.stages),
            "components": diff_parts.pairs(*(diff_parts.components(corpus) for corpus, _ in both)),
            "phases": diff_parts.pairs(*(diff_parts.phases(corpus) for corpus, _ in both)),
            "sources": diff_parts.pairs(*(diff_parts.sources(corpus, side.manifest is not None) for corpus, side in both)),
            "languages": diff_parts.pairs(*(diff_parts.by_origin(c, "language", s.manifest is not None) for c, s in both)),
            "licences": diff_parts.pairs(*(diff_parts.by_origin(c, "license", s.manifest is not None) for c, s in both)),
            "reasons": diff_parts.reasons(one, other), "quality": _quality(both), "moves": moves, "changed": changed,
        }  # fmt: skip


def compare_by(a: Path, b: Path, names: Sequence[str]) -> dict[str, Any]:
    """{builds, roots, by}: nothing but the tables asked for (diff_by.tables)."""
    left, right = _side(Path(a)), _side(Path(b))
    with open_corpus(left.build) as one, open_corpus(right.build) as other:
        return {
            "builds": {key: _of_build(side) for key, side in (("a", left), ("b", right))},
            "roots": diff_parts.roots(left.manifest, right.manifest),
            "by": diff_by.tables(one, other, left.build, right.build, names),
        }


def _side(build: Path) -> Side:
    with open_corpus(build) as corpus:
        stages = rows(corpus, "FROM stages")
    has_manifest = (build / "manifest.json").exists()
    recipe, _ = load_yaml(build / "recipe.yaml")
    return Side(build, recipe, read_manifest(build / "manifest.json") if has_manifest else None, stages)


def _of_build(side: Side) -> dict[str, Any]:
    manifest = side.manifest
    return {"build": str(side.build), "name": side.recipe["name"], "has_mixture": manifest is not None,
            "stream_root": manifest["roots"]["stream"] if manifest else None}  # fmt: skip


def _decisions(left: Side, right: Side) -> tuple[list[Path], list[Path]]:
    """decisions.parquet of the shards of either side that the other does not have with the same rows."""
    folders = left.decide(), right.decide()
    roots = [{key: shard["root"] for key, shard in read_json(folder / "stage.json")["shards"].items()} for folder in folders]
    return tuple(  # type: ignore[return-value]
        [folder / key / "decisions.parquet" for key, root in own.items() if other.get(key) != root]
        for folder, own, other in zip(folders, roots, reversed(roots), strict=True)
    )


def _moves(
    corpus: Connection, a: list[Path], b: list[Path], n: int
) -> tuple[list[dict[str, Any]], dict[tuple[str, str, str], list[tuple[str, str]]]]:
    """[{source, a, b, documents}], most first, and of every source and change to or from "kept" the first `n` (source, id)."""
    if not a and not b:
        return [], {}
    corpus.execute(f"""
      CREATE OR REPLACE TEMP TABLE moved AS
      SELECT coalesce(x.source, y.source) AS source, coalesce(x.id, y.id) AS id,
        CASE WHEN x.id IS NULL THEN '{ABSENT}' WHEN x.keep THEN '{KEPT}' ELSE x.reason END AS a,
        CASE WHEN y.id IS NULL THEN '{ABSENT}' WHEN y.keep THEN '{KEPT}' ELSE y.reason END AS b
      FROM ({_rows_of(a)}) x FULL JOIN ({_rows_of(b)}) y ON x.source = y.source AND x.id = y.id
      WHERE x.id IS NULL OR y.id IS NULL OR x.keep <> y.keep OR x.reason IS DISTINCT FROM y.reason""")
    moves = rows(
        corpus, "SELECT source, a, b, count(*) AS documents FROM moved GROUP BY ALL ORDER BY documents DESC, source, a, b"
    )
    query = f"""SELECT source, id, a, b FROM moved WHERE (a = '{KEPT}') <> (b = '{KEPT}')
                QUALIFY row_number() OVER (PARTITION BY a, b ORDER BY id, source) <= ? ORDER BY a, b, id, source"""
    chosen: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for row in rows(corpus, query, n):
        side = KEPT if row["b"] == KEPT else "dropped"
        chosen.setdefault((side, row["a"], row["b"]), []).append((row["source"], row["id"]))
    return moves, chosen


def _rows_of(files: list[Path]) -> str:
    if not files:
        return "SELECT NULL::VARCHAR AS source, NULL::VARCHAR AS id, false AS keep, NULL::VARCHAR AS reason WHERE false"
    return f"SELECT source, id, keep, reason FROM read_parquet([{', '.join(quote(str(file.resolve())) for file in files)}])"


def _named(
    chosen: Mapping[tuple[str, str, str], list[tuple[str, str]]], one: Connection, other: Connection, with_text: bool
) -> list[dict[str, Any]]:
    """[{side: kept | dropped (what B does), a, b, documents}]: the decision that drops a document, its titles, perhaps its text."""
    found = []
    for (side, was, is_), keys in sorted(chosen.items()):
        # looked at in the side that drops it, for its evidence; or in the only one that has it
        corpus = one if is_ == ABSENT or (side == KEPT and was != ABSENT) else other
        ids = [id_ for _, id_ in keys]
        query = "SELECT * FROM decisions WHERE id IN (SELECT unnest(?::VARCHAR[]))"
        decisions = {(d["source"], d["id"]): d for d in rows(corpus, query, ids)}
        named = titles(corpus, ids)
        documents = [{**decisions[key], **named[key]} for key in keys]
        found.append({"side": side, "a": was, "b": is_, "documents": with_texts(corpus, documents) if with_text else documents})
    return found


def _quality(both: tuple[tuple[Connection, Side], tuple[Connection, Side]]) -> list[dict[str, Any]]:
    """Per source and signal that a rule of either recipe judges and both builds measured: mean and median over kept documents."""
    (one, left), (other, right) = both
    shared = [source for source in left.recipe["sources"] if source in right.recipe["sources"]]
    judged = {source: dict.fromkeys(s for side in (left, right) for s in diff_parts.rule_signals(side.recipe, source))
              for source in shared}  # fmt: skip
    measured = diff_parts.numeric_signals(one) & diff_parts.numeric_signals(other)
    columns = [s for s in dict.fromkeys(s for signals in judged.values() for s in signals) if s in measured]
    same = all(left.roots(name) == right.roots(name) for name in ("signals", "domains", "decide"))
    first = diff_parts.averages(one, columns)
    second = first if same else diff_parts.averages(other, columns)
    return [
        {"source": source, "signal": signal, "a": first[source, signal], "b": second[source, signal]}
        for source, signals in judged.items() for signal in signals if (source, signal) in first and (source, signal) in second
    ]  # fmt: skip
