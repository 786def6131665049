"""`curate explain BUILD ID`: one document from its byte in the input to its places in the training stream.

In: a build folder and an id or its beginning. Out: plain data, and its text. Imports errors, recipe, relate.passages,
inspect.corpus, inspect.samples (texts), inspect.screen (rule_of), inspect.tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.inspect.contamination import hit_lines, searched
from curate.inspect.corpus import Connection, cutoffs_of, open_corpus, rows
from curate.inspect.samples import evidence, texts_of, witnesses_of
from curate.inspect.screen import rule_of
from curate.inspect.tables import changed_words, count, flowed, number, paint, percent, side_by_side, table, wrapped
from curate.recipe import Recipe, load_recipe
from curate.recipe.phases import MAIN
from curate.relate.passages import shared_passages
from curate.rules import bound_text

N_MEMBERS = 10  # of a cluster, shown
N_USES = 100
N_CUTS = 20  # shown

_USES = f"""
SELECT selection.* FROM selection LEFT JOIN phases USING (phase) WHERE id = ? AND source = ?
ORDER BY first_index NULLS LAST, pass, chunk LIMIT {N_USES}
"""


def explain(build_dir: Path, prefix: str) -> dict[str, Any]:
    """All that is known of one document. Raises CurateError when no document, or more than one, begins with `prefix`."""
    recipe = load_recipe(Path(build_dir) / "recipe.yaml")
    with open_corpus(build_dir) as corpus:
        document = _find(corpus, build_dir, prefix)
        cutoffs = cutoffs_of(corpus, build_dir)
        key = (document["id"], document["source"])
        text = texts_of(corpus, [document["id"]])[document["id"]]
        signals = rows(corpus, "FROM signals WHERE id = ? AND source = ?", *key)
        decision = rows(corpus, "FROM decisions WHERE id = ? AND source = ?", *key)
        duplicates = rows(corpus, "FROM duplicates WHERE id = ? AND source = ?", *key)
        cuts = rows(corpus, "FROM cuts WHERE id = ? AND source = ? ORDER BY start", *key)
        hits = rows(corpus, "FROM contamination WHERE id = ? AND source = ? ORDER BY score DESC, eval_set, item, start", *key)
        tokens = rows(corpus, "FROM tokens WHERE id = ? AND source = ?", *key)
        members = rows(corpus, "FROM members WHERE id = ? AND source = ?", *key)
        uses = rows(corpus, _USES, *key)
        result = {
            "document": document, "text": text["text"], "messages": text["messages"], "rejected": text["rejected"],
            "signals": _signals(recipe, document["source"], signals[0] if signals else {}, decision[0] if decision else None, cutoffs),
            "cuts": _cuts(text["text"] or "", cuts), "contamination": hits,
            "decision": decision[0] if decision else None, "duplicates": _cluster(corpus, duplicates),
            "witness": _witness(corpus, recipe, text["text"] or "", decision), "tokens": tokens[0] if tokens else None,
            "components": members[0]["components"] if members else None, "uses": uses,
        }  # fmt: skip
    return result


def _find(corpus: Connection, build_dir: Path, prefix: str) -> dict[str, Any]:
    if not re.fullmatch(r"[0-9a-f]{1,32}", prefix):
        raise CurateError("this is not an id", found=prefix, allowed="32 hex digits (0-9, a-f), or the beginning of them",
                          next=f'curate sql {build_dir} "select id, source, title from documents limit 10"')  # fmt: skip
    query = "SELECT * FROM documents WHERE id >= ? AND id < ? ORDER BY id LIMIT 6"  # a range: row groups are skipped by it
    found = rows(corpus, query, prefix, prefix + "g")
    if not found:
        raise CurateError(f"no document's id begins with {prefix}", where=str(build_dir),
                          next=f'curate sql {build_dir} "select id, source, title from documents limit 10"')  # fmt: skip
    if len(found) > 1:
        more = ", ..." if len(found) > 5 else ""
        raise CurateError(
            f"more than one id begins with {prefix}", where=str(build_dir), found=", ".join(d["id"] for d in found[:5]) + more
        )
    return found[0]


def _signals(
    recipe: Recipe, source: str, values: Mapping[str, Any], decision: Mapping[str, Any] | None,
    cutoffs: Mapping[tuple[str, str], tuple[float, float]],
) -> list[dict[str, Any]]:  # fmt: skip
    """Every signal that has a value, with the rules over it: their bound, and the verdict that decide recorded."""
    failed = set((decision or {}).get("failed_rules") or [])
    names = {rule.name: rule_of(recipe, rule.name, source) for rule in recipe.rules}
    mine = [rule for rule in names.values() if rule is not None]
    found = []
    for signal, value in values.items():
        if signal in ("id", "source") or value is None:
            continue
        rules = [{"rule": rule.name, "bound": bound_text(rule, source, cutoffs), "passes": rule.name not in failed, "origin": rule.origin}
                 for rule in mine if rule.signal == signal]  # fmt: skip
        found.append({"signal": signal, "value": value, "rules": rules})
    return found


def _cuts(text: str, cuts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """kind, start and end (bytes), the text that goes, what stands in its place, and in how many documents it stands (None: not counted)."""
    data = text.encode()
    names = ("kind", "start", "end", "replacement", "n_documents")
    return [{**{n: cut[n] for n in names}, "text": data[cut["start"] : cut["end"]].decode()} for cut in cuts]


def _cluster(corpus: Connection, duplicates: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not duplicates:
        return None
    query = """SELECT u.id, u.source, d.keep, d.reason FROM duplicates u JOIN decisions d ON d.id = u.id AND d.source = u.source
               WHERE cluster_id = ? ORDER BY u.id LIMIT ?"""
    members = rows(corpus, query, duplicates[0]["cluster_id"], N_MEMBERS)
    counted = rows(corpus, "SELECT count(*) AS n FROM duplicates WHERE cluster_id = ?", duplicates[0]["cluster_id"])
    return {**duplicates[0], "members": members, "in_references": duplicates[0]["cluster_size"] - counted[0]["n"]}


def _witness(corpus: Connection, recipe: Recipe, text: str, decision: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The document this one was dropped for: {source, id, text, file, byte_offset, standing}, and `passage`: the longest run of words
    that both have, {start, end, witness_start, witness_end} in bytes, None where they have none."""
    found = list(witnesses_of(corpus, decision).values())
    if not found:
        return None
    words = recipe.sources[decision[0]["source"]].words  # a near duplicate's words were cut alike
    passages = shared_passages(text, found[0]["text"] or "", min_words=1, words_a=words, words_b=words)
    names = ("start", "end", "witness_start", "witness_end")
    return {**found[0], "passage": dict(zip(names, passages[0], strict=True)) if passages else None}


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    """One document's story as text, 100 columns."""
    document = data["document"]
    lines = [paint(f"{document['source']}  {document['id']}", "bold", colour), *_origin(document), ""]
    lines += [f"  | {line}" for line in wrapped(data["text"] or "", 96, 6)]
    lines += ["", *_signal_lines(data, colour), "", *_cut_lines(data), *hit_lines(searched(data), data["contamination"])]
    return "\n".join([*lines, *_decision(data, colour), *_duplicates(data), *_uses(data)])


def _origin(document: Mapping[str, Any]) -> list[str]:
    at = f", byte {count(document['byte_offset'])}" if document["byte_offset"] >= 0 else ""
    lines = [f"  from      {document['file']}{at}"]
    for name in ("source_id", "url", "title", "date", "language"):
        if document[name] is not None:
            lines.append(f"  {name:<9} {document[name]}")
    how = f"   ({document['license_evidence']})" if document["license_evidence"] else ""
    lines.append(f"  license   {document['license'] or 'unknown'}{how}")
    return [*lines, "  repaired  " + ("yes: the text is not byte for byte the input's" if document["is_repaired"] else "no")]


def _signal_lines(data: Mapping[str, Any], colour: bool) -> list[str]:
    """Signals that a rule judges come first, each with its verdict; the others follow, several in a line."""
    judged = [
        ["passes" if rule["passes"] else "FAILS", s["signal"], number(s["value"]), rule["bound"], rule["rule"],
         rule["origin"]]
        for s in data["signals"] for rule in s["rules"]
    ]  # fmt: skip
    lines = (
        table(["verdict", "signal", "value", "bound", "rule", "from"], judged, "<<><<<", "  ")
        if judged
        else ["  no rule judges it"]
    )
    lines = [paint(line, "red", colour) if line.startswith("  FAILS") else line for line in lines]
    others = [f"{s['signal']} {number(s['value'])}" for s in data["signals"] if not s["rules"]]
    return [*lines, *flowed(others, "  ", "  ")]


def _cut_lines(data: Mapping[str, Any]) -> list[str]:
    """What is not trained on, in the order of the text; line ends and other control characters as Python writes them."""
    cuts = data["cuts"]
    lines = [f"  cuts      {count(len(cuts))}, {count(sum(c['end'] - c['start'] for c in cuts))} bytes"] if cuts else []
    for cut in cuts[:N_CUTS]:
        shown = repr(cut["text"])[1:-1]
        put = f"  ->  {cut['replacement']}" if cut["replacement"] else ""
        put += "" if cut["n_documents"] is None else f"  in {count(cut['n_documents'])} documents"
        lines.append(f"    {cut['kind']:<24}{shown[:56] + ('...' if len(shown) > 56 else '')}{put}")
    return [*lines, f"    and {count(len(cuts) - N_CUTS)} more"] if len(cuts) > N_CUTS else lines


def _decision(data: Mapping[str, Any], colour: bool) -> list[str]:
    decision = data["decision"]
    if decision is None:
        return ["  decision  none yet: the build stopped before decide"]
    if decision["keep"]:
        return ["  decision  " + paint("kept", "green", colour)]
    lines = ["  decision  " + paint(f"dropped for {decision['reason']}", "red", colour) + evidence(decision)]
    if data["witness"]:
        witness = data["witness"]
        left, right = changed_words(data["text"] or "", witness["text"] or "")
        similar = "" if decision["similarity"] is None else f"similarity {decision['similarity']:.4f} to "
        at = f", byte {count(witness['byte_offset'])}" if witness["byte_offset"] >= 0 else ""
        lines += [f"  witness   {similar}{witness['source']} {witness['id']}", f"            from {witness['file']}{at}"]
        lines += _passage(data["text"] or "", witness)
        lines += side_by_side(left, right, ("this document", _STANDING[witness["standing"]]), 10)
    return lines


_STANDING = {
    "kept": "the kept witness", "reference": "the witness, a reference", "dropped": "its witness, dropped too (near.keep: none)",
}  # fmt: skip


def _passage(text: str, witness: Mapping[str, Any]) -> list[str]:
    """Where the longest shared run of words stands in both, and how it begins."""
    passage = witness["passage"]
    if passage is None:
        return []
    start, end = passage["start"], passage["end"]
    there = f"{count(passage['witness_start'])} to {count(passage['witness_end'])}"
    shown = text.encode()[start:end].decode()
    return [
        f"  shared    bytes {count(start)} to {count(end)} here, {there} there: the longest run of equal words",
        *(f"            {line}" for line in wrapped(shown, 86, 2)),
    ]


def _duplicates(data: Mapping[str, Any]) -> list[str]:
    cluster = data["duplicates"]
    if cluster is None:
        return ["  duplicates  none"]
    lines = [f"  duplicates  one of {count(cluster['cluster_size'])} in cluster {cluster['cluster_id']}"]
    for member in cluster["members"]:
        lines.append(f"    {member['id']}  {member['source']}  {'kept' if member['keep'] else member['reason']}")
    left = cluster["cluster_size"] - len(cluster["members"]) - cluster["in_references"]
    lines += [f"    and {count(left)} more"] if left > 0 else []
    return [*lines, "    and its head, in a reference"] if cluster["in_references"] else lines


def _uses(data: Mapping[str, Any]) -> list[str]:
    tokens = data["tokens"]
    if tokens is None:
        return ["  tokens    none: only kept documents are tokenized"] if data["decision"] else []
    lines = [f"  tokens    {count(tokens['n_tokens'])}, trained on {percent(tokens['n_loss_tokens'], tokens['n_tokens'])}"]
    if data["components"] is None:
        return [*lines, "  uses      none: the build has no mixture"]
    more = ", in each phase the first of them that it has" if len(data["components"]) > 1 else ""
    lines += [f"  component {', '.join(data['components']) or 'none'}{more}"] if tokens["n_tokens"] else []
    if not data["uses"]:
        why = "it gives no token" if not tokens["n_tokens"] else "over budget" if data["components"] else "in no component"
        return [*lines, f"  uses      none: {why}"]
    phase = ["phase"] if {use["phase"] for use in data["uses"]} - {MAIN, None} else []
    names = [*phase, "component", "split", "pass", "chunk", "n_chunks", "n_tokens", "sequence", "position", "stream_index"]
    shown = [["-" if use[name] is None else str(use[name]) for name in names] for use in data["uses"]]
    return [*lines, *table(names, shown, "<" * len(phase) + "<<>>>>>>>", "  ")]
