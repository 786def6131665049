"""What of a build's evaluation sets stands in its documents: a table per set, the hits of a document, a line for people.

In: corpus.duckdb's view `contamination` and table `evaluation_sets`. Out: plain data and text. Imports recipe, inspect.corpus (rows),
inspect.tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.inspect.tables import count, one_line, percent, table
from curate.recipe import load_recipe
from curate.store import read_json

N_HITS = 20  # of a document, shown
CONTEXT_BYTES = 90


# Items whose score is above the recipe's bound, and those of which only the passage stands somewhere, without its question.
SETS = """
WITH above AS (SELECT c.*, acts OR passages = 'act' AS counts FROM contamination c JOIN _evaluation_sets USING (eval_set) WHERE score > bound),
found AS (
  SELECT eval_set, count(DISTINCT item) FILTER (counts) AS contaminated_items,
    count(DISTINCT (source, id)) FILTER (counts) AS documents, count(DISTINCT item) FILTER (NOT counts) AS passage_items,
    count(DISTINCT (source, id)) FILTER (NOT counts) AS passage_documents FROM above GROUP BY eval_set)
SELECT eval_set, items, short_items, coalesce(contaminated_items, 0) AS contaminated_items, coalesce(documents, 0) AS documents,
  coalesce(passage_items, 0) AS passage_items, coalesce(passage_documents, 0) AS passage_documents, bound, action
FROM _evaluation_sets LEFT JOIN found USING (eval_set) ORDER BY eval_set
"""


def given_sets(build_dir: Path, stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of _evaluation_sets: eval_set, items, short_items (no part has three words: nothing finds them), bound, action, passages;
    none where nothing was decontaminated."""
    mine = [row for row in stages if row["family"] == "contamination"]
    if not mine:
        return []
    given = load_recipe(build_dir / "recipe.yaml").decontaminate
    sets = read_json(build_dir / mine[0]["path"] / "stage.json")["extra"]["sets"]
    assert given is not None
    how = {"bound": given.overlap, "action": given.action, "passages": given.passages}
    return [{"eval_set": name, "items": of["items"], "short_items": of["short"], **how} for name, of in sorted(sets.items())]


def line(sets: Sequence[Mapping[str, Any]], build: str) -> str:
    """One line for the end screen; "" where nothing was decontaminated. A document may hold items of several sets."""
    if not sets:
        return ""
    items, found = (sum(s[name] for s in sets) for name in ("items", "contaminated_items"))
    does = {"drop_document": "such documents are dropped", "cut": "cut out", "report": "reported only"}[sets[0]["action"]]
    if not found:
        return f"no item of {len(sets)} evaluation sets ({count(items)} items) stands in the documents"
    worst = max(sets, key=lambda s: s["contaminated_items"])
    return (
        f"{count(found)} of {count(items)} evaluation items stand in the documents ({does}), most of {worst['eval_set']}: "
        f"{count(worst['contaminated_items'])} in {count(worst['documents'])} documents"
    )


def set_lines(sets: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of `curate stats`."""
    shown = [
        [s["eval_set"], count(s["items"]), count(s["short_items"]), count(s["contaminated_items"]), percent(s["contaminated_items"], s["items"]),
         count(s["documents"]), count(s["passage_items"]), count(s["passage_documents"])] for s in sets
    ]  # fmt: skip
    head = ["set", "items", "too short", "contaminated", "of items", "documents", "passage alone", "documents"]
    return table(head, shown, "<>>>>>>>", "  ") if shown else []


def hit_lines(text: str, hits: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every hit of one document: what of which item stands where, and the text that stands there. Items that share a part share a line."""
    same: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for hit in hits:
        same.setdefault(tuple(hit[name] for name in ("eval_set", "part", "start", "end", "score")), []).append(hit)
    lines = [f"  evaluation items  {count(len({(h['eval_set'], h['item']) for h in hits}))}"] if hits else []
    for (hit, *more), _ in zip(same.values(), range(N_HITS), strict=False):
        others = f" and {count(len(more))} more items" if more else ""
        alone = "" if hit["acts"] else " alone, without the question"
        lines.append(f"    {hit['eval_set']} {hit['item']}{others}: {hit['part']}{alone}, score {hit['score']:.4f}")
        lines.append(
            f"      {hit['n_found_words']} of {hit['n_item_words']} words ({hit['normalisation']}), bytes {count(hit['start'])} to "
            f"{count(hit['end'])}, of the part {count(hit['item_start'])} to {count(hit['item_end'])}"
        )
        lines.append(f"      | {excerpt(text, hit)}")
    return [*lines, f"    and {count(len(same) - N_HITS)} more"] if len(same) > N_HITS else lines


def searched(text: Mapping[str, Any]) -> str:
    """What the bytes of a hit count in: the text, and behind it the rejected answer of a preference. `text`: with text and rejected."""
    rejected = text.get("rejected")
    return (text.get("text") or "") + (f"\n\n{rejected}" if rejected is not None else "")


def excerpt(text: str, hit: Mapping[str, Any]) -> str:
    """The bytes of the document that a hit names, shortened in the middle."""
    data = text.encode()[hit["start"] : hit["end"]]
    if len(data) <= CONTEXT_BYTES:
        return one_line(data.decode())
    half = CONTEXT_BYTES // 2
    return one_line(data[:half].decode(errors="ignore") + " ... " + data[-half:].decode(errors="ignore"))
