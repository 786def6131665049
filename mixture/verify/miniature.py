"""Who is in a miniature, drawn again from the stages: the rule is that of mixture/miniature.py, on documents counted here.

In: `Kept`, `Members` of the whole, which documents are held out, the manifest. Out: `Members` of the miniature, whose passes are then held
against the rule as those of any mixture (history.py). Imports recipe, mixture's going_on, labels, miniature, selection and verify.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from curate.errors import CurateError
from curate.recipe import Recipe
from mixture import going_on
from mixture.budget import Infeasible
from mixture.labels import labels
from mixture.miniature import plan_miniature
from mixture.names import read
from mixture.selection import Coded, Documents
from mixture.verify.copies import Members
from mixture.verify.report import Report
from mixture.verify.uses import Kept


def reduced(
    manifest: Mapping[str, Any], recipe: Recipe, kept: Kept, members: Members, held: np.ndarray, report: Report
) -> Members | None:
    """None (and a finding) where no miniature can be drawn."""
    docs = _documents(recipe, kept, members)
    try:
        counted = labels(docs, kept.shard_paths) if any(p.unit == "loss_tokens" for p in recipe.mixture.phase_list) else None
        before = going_on.consumed(recipe, docs, dict(manifest["tokenizer"]), counted is not None)
        drawn = plan_miniature(recipe, docs, held, before.state, counted)
    except (Infeasible, CurateError) as error:
        report.add("recipe.yaml", f"the documents of the miniature cannot be drawn again: {error.what}", error.where)
        return None
    report.equal(
        "manifest.json",
        "miniature.share",
        manifest.get("miniature", {}).get("share"),
        str(recipe.miniature and recipe.miniature.share),
    )
    return replace(members, pattern=drawn.docs.pattern, patterns=drawn.docs.patterns, usable=drawn.usable)


def _documents(recipe: Recipe, kept: Kept, members: Members) -> Documents:
    """What planning looks at; clusters, languages and licences play no part in it."""
    patterns = [*(tuple(pattern) for pattern in members.patterns), ()]
    n = kept.id.size
    ends = np.arange(0, 32 * n + 1, 32, dtype=np.int64)
    ids = pa.Array.from_buffers(pa.large_string(), n, [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(kept.id))])
    return Documents(
        sources=list(kept.sources), components=list(members.names),
        canonical=[[kept.sources.index(source) for source in leaf.from_] for leaf in recipe.mixture.leaves.values()],
        copies=[np.array([*(b["copies"] for b in members.bins.get(name, {}).get("bins", [])), 1], np.int64) for name in members.names],
        patterns=patterns, pattern=np.where(kept.n_tokens > 0, members.pattern, len(patterns) - 1).astype(np.int32),
        source=kept.source.astype(np.int16), n_tokens=kept.n_tokens, n_loss_tokens=kept.n_loss_tokens,
        shard=(np.searchsorted(kept.first, np.arange(n), side="right") - 1).astype(np.int32), token_start=kept.start,
        id=read(ids), cluster=pa.chunked_array([pa.nulls(n, pa.large_string())]), language=Coded([], np.full(n, -1, np.int32)),
        license=Coded([], np.full(n, -1, np.int32)),
        provenance=Coded([], np.full(n, -1, np.int32)),
    )  # fmt: skip
