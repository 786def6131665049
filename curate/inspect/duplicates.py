"""How duplicates were looked for: what the stages of relate counted, and which buckets were cut short.

In: an open corpus.duckdb and its build folder. Out: plain counts, a warning for the end screen, lines for `curate stats`. Imports
inspect.corpus, inspect.tables, recipe, store.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.inspect.corpus import Connection, rows
from curate.inspect.tables import count
from curate.recipe import Recipe
from curate.store import read_json

_COUNTS = {
    "buckets": ("members", "buckets", "components"), "clusters": ("in_clusters", "compared_documents", "compared_pairs", "capped_buckets"),
    "decide": ("reused_members", "resolved_members", "compared_pairs", "capped_buckets"),
}  # fmt: skip


def counts(corpus: Connection, build_dir: Path) -> dict[str, Any]:
    """{buckets, clusters, decide: {what each counted}, references: [{reference, documents}]}; {} where nothing was related."""
    found: dict[str, Any] = {}
    for row in rows(corpus, "SELECT stage, path FROM stages WHERE stage IN ('buckets', 'clusters', 'decide')"):
        counted = read_json(Path(build_dir) / row["path"] / "stage.json")["counts"]
        found[row["stage"]] = {name: counted.get(name, 0) for name in _COUNTS[row["stage"]]}
    others = "SELECT source AS reference, rows AS documents FROM stages WHERE stage = 'reference_documents' ORDER BY 1"
    return {**found, "references": rows(corpus, others)} if found else {}


def capped_hints(corpus: Connection, build_dir: Path, recipe: Recipe) -> list[str]:
    """Said where a bucket held more documents than one is compared with. Of all documents, and of those the rules left, the larger."""
    found = counts(corpus, build_dir)
    n = max((found[stage]["capped_buckets"] for stage in ("clusters", "decide") if stage in found), default=0)
    if not n or recipe.dedup.near is None:
        return []
    cap = recipe.dedup.near.bucket_cap
    return [
        f"{count(n)} bucket{'s' if n != 1 else ''} of similar documents kept more than {count(cap)}: a document was compared with the "
        f"newest {count(cap)} only (dedup.near.bucket_cap)"
    ]


def lines(data: Mapping[str, Any]) -> list[str]:
    """The counts as text."""
    if not data:
        return []
    found, clusters, decide = (data.get(stage) for stage in _COUNTS)
    shown = []
    if found:
        shown.append(f"  {count(found['members'])} documents share something with another: {count(found['buckets'])} buckets, "
                     f"{count(found['components'])} groups that know nothing of each other")  # fmt: skip
    if clusters:
        shown.append(f"  {count(clusters['compared_documents'])} documents compared in {count(clusters['compared_pairs'])} pairs, "
                     f"{count(clusters['in_clusters'])} in clusters of two or more")  # fmt: skip
    if decide:
        shown.append(f"  after the rules {count(decide['reused_members'])} documents kept the result, "
                     f"{count(decide['resolved_members'])} were resolved again")  # fmt: skip
    capped = [
        f"{count(of['capped_buckets'])} {what}"
        for what, of in (("of all documents", clusters), ("after the rules", decide))
        if of
    ]
    if capped:
        shown.append("  buckets past dedup.near.bucket_cap: " + ", ".join(capped))
    for one in data["references"]:
        kept = " that its build kept" if ":" in one["reference"] else ""
        shown.append(f"  compared with the documents of {one['reference']}{kept} ({count(one['documents'])} in all)")
    return shown
