"""`curate samples BUILD --reason R`: texts dropped for a reason, and the documents on both sides of a rule's bound.

In: a build folder, a reason, a seed. Out: plain data, and its text: value beside bound, a duplicate beside its witness with the
changed words in [brackets]. Imports errors, recipe, inspect.corpus, inspect.screen (rule_of), inspect.tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.errors import CurateError, nearest
from curate.inspect.corpus import Connection, open_corpus, rows
from curate.inspect.screen import rule_of
from curate.inspect.tables import changed_words, number, paint, side_by_side, wrapped
from curate.recipe import Recipe, load_recipe

_DECISION = "id, source, keep, reason, failed_rules, signal, value, value_text, bound, witness_id, similarity"


def samples(build_dir: Path, reason: str | None = None, source: str | None = None, n: int = 10, seed: int = 0) -> dict[str, Any]:
    """`n` documents dropped for `reason` (None: kept ones), drawn by a hash of (seed, id), with texts and witnesses' texts.

    For a rule with a numeric bound also the n dropped and the n kept documents nearest to it. Raises CurateError for a reason or
    source that does not occur.
    """
    with open_corpus(build_dir) as corpus:
        _check(corpus, build_dir, reason, source)
        where, values = ("keep", []) if reason is None else ("NOT keep AND reason = ?", [reason])
        where, values = (where, values) if source is None else (f"{where} AND source = ?", [*values, source])
        total = rows(corpus, f"SELECT count(*) AS n FROM decisions WHERE {where}", *values)[0]["n"]
        query = f"SELECT {_DECISION} FROM decisions WHERE {where} ORDER BY md5(? || id), id LIMIT ?"
        drawn = _with_texts(corpus, rows(corpus, query, *values, f"{seed}-", n))
        recipe = load_recipe(Path(build_dir) / "recipe.yaml")
        near = _near_bound(corpus, recipe, reason, source, n) if reason else []
    return {
        "build": str(build_dir),
        "reason": reason,
        "source": source,
        "seed": seed,
        "total": total,
        "samples": drawn,
        "near_bound": near,
    }


def _check(corpus: Connection, build_dir: Path, reason: str | None, source: str | None) -> None:
    """The reason and the source occur; else the nearest that do."""
    known = {r["reason"] for r in rows(corpus, "SELECT DISTINCT reason FROM reasons")}
    if reason is not None and reason not in known:
        close = ", ".join(nearest(reason, known)) or ", ".join(sorted(known)) or "this build dropped nothing"
        raise CurateError(
            f"no document was dropped for {reason!r}", where=str(build_dir), allowed=close, next=f"curate stats {build_dir}"
        )
    names = {r["source"] for r in rows(corpus, "SELECT source FROM sources")}
    if source is not None and source not in names:
        close = ", ".join(nearest(source, names)) or ", ".join(sorted(names))
        raise CurateError(f"no source {source!r}", where=str(build_dir), allowed=close)


def _near_bound(corpus: Connection, recipe: Recipe, reason: str, source: str | None, n: int) -> list[dict[str, Any]]:
    """Per source and rule of this name: the dropped (by this rule alone) and the kept documents closest to the bound."""
    found = []
    for name in (source,) if source else recipe.sources:
        rule = rule_of(recipe, reason, name)
        if rule is None or rule.op == "in":
            continue
        sides = {}
        for side, where, values in (("dropped", "failed_rules = [?]", [reason]), ("kept", "keep", [])):
            query = f"""
              SELECT d.id, d.source, d.keep, d.reason, s."{rule.signal}"::DOUBLE AS value FROM decisions d
              JOIN signals s ON s.id = d.id AND s.source = d.source WHERE d.source = ? AND {where}
              ORDER BY abs(s."{rule.signal}" - ?), d.id LIMIT ?"""
            sides[side] = _with_texts(corpus, rows(corpus, query, name, *values, float(rule.bound), n))
        if sides["dropped"] or sides["kept"]:
            found.append({"source": name, "rule": rule.name, "signal": rule.signal, "bound": rule.bound_text, **sides})
    return found


def _with_texts(corpus: Connection, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `text`, and `witness` {id, source, text} where one is named."""
    texts = texts_of(corpus, [d["id"] for d in documents] + [d["witness_id"] for d in documents if d.get("witness_id")])
    for document in documents:
        document["text"] = texts.get(document["id"], {}).get("text")
        if document.get("witness_id"):
            witness = texts.get(document["witness_id"], {})
            document["witness"] = {"id": document["witness_id"], "source": witness.get("source"), "text": witness.get("text")}
    return documents


def texts_of(corpus: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """id -> {id, source, text, messages}; ids are few."""
    if not ids:
        return {}
    marks = ", ".join("?" * len(ids))
    return {row["id"]: row for row in rows(corpus, f"SELECT id, source, text, messages FROM texts WHERE id IN ({marks})", *ids)}


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    """The samples as text, 100 columns."""
    what = f"dropped for {data['reason']}" if data["reason"] else "kept"
    of = f" of {data['source']}" if data["source"] else ""
    lines = [paint(f"{len(data['samples'])} of {data['total']:,} documents{of} {what}, seed {data['seed']}", "bold", colour)]
    for document in data["samples"]:
        lines += ["", *_document(document, colour)]
    for near in data["near_bound"]:
        head = f"{near['source']}: nearest to the bound {near['rule']} ({near['signal']} {near['bound']})"
        lines += ["", paint(head, "bold", colour)]
        for side, style in (("dropped", "red"), ("kept", "green")):
            for document in near[side]:
                value = f"{side:<8}{near['signal']} {number(document['value'])}"
                lines += ["", f"  {paint(value, style, colour)}   {document['id']}"]
                lines += [f"    {line}" for line in wrapped(document["text"] or "", 96, 3)]
    return "\n".join(lines)


def _document(document: Mapping[str, Any], colour: bool) -> list[str]:
    head = f"{document['source']}  {document['id']}"
    witness = document.get("witness")
    if witness:
        similar = "" if document["similarity"] is None else f"  similarity {document['similarity']:.4f}"
        left, right = changed_words(document["text"] or "", witness["text"] or "")
        heads = (f"dropped {document['id']}", f"kept {witness['source']} {witness['id']}")
        return [paint(head, "cyan", colour) + f"  {document['reason']}{similar}", *side_by_side(left, right, heads)]
    return [paint(head, "cyan", colour) + evidence(document), *(f"  {line}" for line in wrapped(document["text"] or "", 98, 8))]


def evidence(document: Mapping[str, Any]) -> str:
    """`  n_words 12, bound >= 50; also failed: ...` of a decision; nothing for a kept document."""
    if document["keep"] or not document["signal"]:
        return ""
    value = document["value_text"] if document["value_text"] is not None else number(document["value"])
    others = [rule for rule in document["failed_rules"] or [] if rule != document["reason"]]
    also = f"; also failed: {', '.join(others)}" if others else ""
    return f"  {document['signal']} {value}, bound {document['bound']}{also}"
