"""`curate samples BUILD --reason R`: texts dropped for a reason, and the documents on both sides of a rule's bound; or of a domain.

In: a build folder, a reason, a seed. Out: plain data, and its text: value beside bound, a duplicate beside its witness with the
changed words in [brackets]. Imports errors, recipe, inspect.corpus, inspect.screen (rule_of), inspect.tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.errors import CurateError, nearest
from curate.inspect.contamination import excerpt, searched
from curate.inspect.corpus import Connection, cutoffs_of, open_corpus, rows
from curate.inspect.screen import rule_of
from curate.inspect.tables import WIDTH, changed_words, count, cut, number, paint, percent, side_by_side, wrapped
from curate.recipe import CONTAMINATED, REMOVED, Recipe, Rule, load_recipe
from curate.rules import bound_text

_DECISION = "id, source, keep, reason, failed_rules, signal, value, value_text, bound, witness_source, witness_id, similarity"


def samples(
    build_dir: Path, reason: str | None = None, source: str | None = None, n: int = 10, seed: int = 0, domain: str | None = None
) -> dict[str, Any]:
    """`n` documents dropped for `reason` (None: kept ones), drawn by a hash of (seed, id), with texts and witnesses' texts.

    For a rule with a numeric bound also the n dropped and the n kept documents nearest to it. `domain`: those of one registered
    domain; without a reason kept and dropped ones alike, and `of_domain` is its rows of the table domains. Raises CurateError for
    a reason, source or domain that does not occur.
    """
    with open_corpus(build_dir) as corpus:
        _check(corpus, build_dir, reason, source)
        of_domain = _of_domain(corpus, build_dir, domain, source) if domain is not None else []
        in_domain = "(source, id) IN (SELECT (source, id) FROM addresses WHERE domain = ?)"
        parts = [("NOT keep AND reason = ?", reason), ("source = ?", source), (in_domain, domain)]
        given = [(part, value) for part, value in parts if value is not None]
        where = " AND ".join([*(["keep"] if reason is None and domain is None else []), *(part for part, _ in given)])
        values = [value for _, value in given]
        total = rows(corpus, f"SELECT count(*) AS n FROM decisions WHERE {where}", *values)[0]["n"]
        query = f"SELECT {_DECISION} FROM decisions WHERE {where} ORDER BY md5(? || id), id LIMIT ?"
        drawn = with_texts(corpus, rows(corpus, query, *values, f"{seed}-", n))
        recipe = load_recipe(Path(build_dir) / "recipe.yaml")
        near = _near_bound(corpus, build_dir, recipe, reason, source, n) if reason and domain is None else []
    return {
        "build": str(build_dir),
        "reason": reason,
        "source": source,
        "domain": domain,
        "of_domain": of_domain,
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


def _of_domain(corpus: Connection, build_dir: Path, domain: str, source: str | None) -> list[dict[str, Any]]:
    """Its rows of the table domains; without any, the nearest names of large domains."""
    found = rows(corpus, "FROM domains WHERE domain = ? AND (? IS NULL OR source = ?) ORDER BY source", domain, source, source)
    if not found:
        large = "SELECT domain FROM domains GROUP BY domain ORDER BY sum(documents) DESC, domain LIMIT 10000"
        known = [row["domain"] for row in rows(corpus, large)]
        raise CurateError(
            f"no document of the web domain {domain!r}", where=str(build_dir), allowed=", ".join(nearest(domain, known) or known[:5]),
            next=f'curate sql {build_dir} "from domains limit 20"',
        )  # fmt: skip
    return found


def _bound(rule: Rule, cutoffs: tuple[float, float] | None) -> float | None:
    """The number that parts kept from dropped: of `keep` a cutoff (of two the upper one); None where there is no number."""
    if rule.keep and cutoffs:
        return cutoffs[("middle" in rule.keep) != ("tail" in rule.keep)]
    return rule.min if rule.op == "min" else rule.max


def _near_bound(
    corpus: Connection, build_dir: Path, recipe: Recipe, reason: str, source: str | None, n: int
) -> list[dict[str, Any]]:
    """Per source and rule of this name: the dropped (by this rule alone) and the kept documents closest to the bound."""
    found = []
    cutoffs = cutoffs_of(corpus, build_dir)
    for name in (source,) if source else recipe.sources:
        rule = rule_of(recipe, reason, name)
        if rule is None or (bound := _bound(rule, cutoffs.get((name, rule.signal)))) is None:
            continue
        sides = {}
        for side, where, values in (("dropped", "failed_rules = [?]", [reason]), ("kept", "keep", [])):
            query = f"""
              SELECT d.id, d.source, d.keep, d.reason, s."{rule.signal}"::DOUBLE AS value FROM decisions d
              JOIN signals s ON s.id = d.id AND s.source = d.source WHERE d.source = ? AND {where}
              ORDER BY abs(s."{rule.signal}" - ?), d.id LIMIT ?"""
            sides[side] = with_texts(corpus, rows(corpus, query, name, *values, bound, n))
        if sides["dropped"] or sides["kept"]:
            found.append(
                {"source": name, "rule": rule.name, "signal": rule.signal, "bound": bound_text(rule, name, cutoffs), **sides}
            )
    return found


def with_texts(corpus: Connection, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `text`, and `witness` (of witnesses_of) where one is named."""
    texts = texts_of(corpus, [d["id"] for d in documents])
    witnesses = witnesses_of(corpus, documents)
    for document in documents:
        document["text"] = texts.get(document["id"], {}).get("text")
        if document.get("witness_id"):
            key = (document["witness_source"], document["witness_id"])
            document["witness"] = witnesses.get(key, {"source": key[0], "id": key[1], "text": None, "standing": "unknown"})
    return _with_verdicts(corpus, documents)


def _with_verdicts(corpus: Connection, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`says`, in the words of the datatrove filter whose verdict dropped a document (signals `<rule>_keep`, `<rule>_reason`), or the
    best hit of the document that holds an evaluation item."""
    contaminated = {d["id"]: d for d in documents if not d["keep"] and d.get("bound") and d["reason"].startswith(CONTAMINATED)}
    if contaminated:
        query = f"""SELECT * FROM contamination WHERE id IN ({", ".join("?" * len(contaminated))})
                    QUALIFY row_number() OVER (PARTITION BY source, id ORDER BY acts DESC, score DESC, eval_set, item, start) = 1"""
        whole = texts_of(corpus, list(contaminated))
        for hit in rows(corpus, query, *contaminated):
            own = contaminated[hit["id"]]
            says = f"{hit['eval_set']} {hit['item']} {hit['part']}, score {hit['score']:.4f}, bound {own['bound']}, bytes {hit['start']}-{hit['end']}"
            own["says"] = f"{says}: {excerpt(searched(whole[hit['id']]), hit)}"
    judged = [d for d in documents if not d["keep"] and (d.get("signal") or "") == f"{d['reason']}_keep"]
    for name in {d["reason"] for d in judged}:
        mine = {d["id"]: d for d in judged if d["reason"] == name}
        marks = ", ".join("?" * len(mine))
        for row in rows(corpus, f'SELECT id, "{name}_reason" AS says FROM signals WHERE id IN ({marks})', *mine):
            mine[row["id"]]["says"] = row["says"]
    return documents


def texts_of(corpus: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """id -> {id, source, text, messages, rejected}; ids are few."""
    if not ids:
        return {}
    marks = ", ".join("?" * len(ids))
    return {
        row["id"]: row
        for row in rows(corpus, f"SELECT id, source, text, messages, rejected FROM texts WHERE id IN ({marks})", *ids)
    }


def witnesses_of(corpus: Connection, decisions: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """(source, id) -> {source, id, text, file, byte_offset, standing} of the witnesses that decisions name; they are few.

    `standing`: kept, reference, or dropped (which near.keep: none does to both of a pair).
    """
    named = {(d["witness_source"], d["witness_id"]) for d in decisions if d.get("witness_id")}
    if not named:
        return {}
    ids = sorted({id_ for _, id_ in named})
    marks = ", ".join("?" * len(ids))
    own = f"""SELECT t.source, t.id, text, file, byte_offset, if(keep, 'kept', 'dropped') AS standing FROM texts t
              JOIN documents o ON o.id = t.id AND o.source = t.source JOIN decisions d ON d.id = t.id AND d.source = t.source
              WHERE t.id IN ({marks})"""
    others = f"SELECT source, id, text, file, byte_offset, 'reference' AS standing FROM reference_texts WHERE id IN ({marks})"
    found = {(r["source"], r["id"]): r for query in (own, others) for r in rows(corpus, query, *ids)}
    return {key: row for key, row in found.items() if key in named}


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    """The samples as text, 100 columns."""
    what = f"dropped for {data['reason']}" if data["reason"] else "kept or dropped" if data["domain"] else "kept"
    of = "".join(f" of {data[key]}" for key in ("domain", "source") if data[key])
    lines = [paint(f"{len(data['samples'])} of {data['total']:,} documents{of} {what}, seed {data['seed']}", "bold", colour)]
    for row in data["of_domain"]:
        reasons = ", ".join(f"{reason} {percent(share, 1)}" for reason, share in (row["reasons"] or {}).items())
        lines.append(
            cut(f"{row['source']}: {count(row['kept'])} kept, {count(row['dropped'])} dropped ({reasons or '-'})", WIDTH)
        )
    for document in data["samples"]:
        verdict = "kept" if document["keep"] else f"dropped for {document['reason']}"
        lines += ["", *([verdict] if data["domain"] else []), *document_lines(document, colour)]
    for near in data["near_bound"]:
        head = f"{near['source']}: nearest to the bound {near['rule']} ({near['signal']} {near['bound']})"
        lines += ["", paint(head, "bold", colour)]
        for side, style in (("dropped", "red"), ("kept", "green")):
            for document in near[side]:
                value = f"{side:<8}{near['signal']} {number(document['value'])}"
                lines += ["", f"  {paint(value, style, colour)}   {document['id']}"]
                lines += [f"    {line}" for line in wrapped(document["text"] or "", 96, 3)]
    return "\n".join(lines)


def document_lines(document: Mapping[str, Any], colour: bool, max_lines: int = 8, width: int = WIDTH) -> list[str]:
    """A document of a decision table with its text, or beside its witness; lines of at most `width` columns."""
    head, says = f"{document['source']}  {document['id']}", evidence(document)
    witness = document.get("witness")
    if witness:
        similar = "" if document["similarity"] is None else f"  similarity {document['similarity']:.4f}"
        left, right = changed_words(document["text"] or "", witness["text"] or "")
        heads = (f"dropped {document['id']}", f"{witness['standing']} {witness['source']} {witness['id']}")
        beside = side_by_side(left, right, heads, max_lines, "  " + " " * (WIDTH - width))
        return [paint(head, "cyan", colour) + f"  {document['reason']}{similar}", *(line[WIDTH - width :] for line in beside)]
    lines = [paint(head, "cyan", colour) + says]
    if len(head) + len(says) > width:
        lines = [paint(head, "cyan", colour), *(f"    {line}" for line in wrapped(says, width - 4, 4))]
    return [*lines, *(f"  {line}" for line in wrapped(document["text"] or "", width - 2, max_lines))]


def evidence(document: Mapping[str, Any]) -> str:
    """`  n_words 12, bound >= 50; also failed: ...` of a decision; nothing for a kept document."""
    if document["reason"] == REMOVED:
        return "  the recipe's remove: names it"
    if document["keep"] or not document["signal"]:
        return ""
    if document.get("says"):
        return f"  {document['reason']}: {document['says']}"
    value = document["value_text"] if document["value_text"] is not None else number(document["value"])
    others = [rule for rule in document["failed_rules"] or [] if rule != document["reason"]]
    also = f"; also failed: {', '.join(others)}" if others else ""
    return f"  {document['signal']} {value}, bound {document['bound']}{also}"
