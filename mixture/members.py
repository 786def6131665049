"""members.parquet: which components every tokenized document matches, of the sources where that is a document's own business.

In: `Documents` of selection.py. Out: members.parquet (schema.MEMBERS) by source (recipe order), then id; no file where no component has
a where: or an overlong: but split, since then a document's source says it all. Imports recipe, schema and mixture's selection.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import schema
from curate.recipe import Recipe
from mixture.selection import Documents

NAME = "members.parquet"
SLICE = 1 << 20  # documents written at once; zstd's level 1 takes half the time of 3 on hex digits, and less room


def by_query(recipe: Recipe) -> list[str]:
    """The sources of which a document may or may not be in a component, in recipe order; in a miniature that is any."""
    mixture = recipe.mixture
    chooses = [c for name, c in mixture.leaves.items() if c.where or recipe.miniature or mixture.overlong_of(name) != "split"]
    asked = {source for c in chooses for source in c.from_}
    return [source for source in recipe.sources if source in asked]


def write_members(build_dir: Path, docs: Documents, sources: Collection[str]) -> None:
    """The documents of `sources`; an older file goes."""
    path = build_dir / NAME
    if not sources:
        path.unlink(missing_ok=True)
        return
    of_pattern = pa.array([[docs.components[c] for c, _ in pattern] for pattern in docs.patterns], schema.MEMBERS.types[2])
    ends = np.searchsorted(docs.source, np.arange(len(docs.sources) + 1))
    temporary = path.with_name(f".{NAME}.tmp")
    with pq.ParquetWriter(temporary, schema.MEMBERS, compression="zstd", compression_level=1, version="2.6") as writer:
        for number, source in enumerate(docs.sources):
            if source not in sources:
                continue
            for first in range(int(ends[number]), int(ends[number + 1]), SLICE):
                at = slice(first, min(first + SLICE, int(ends[number + 1])))
                size = at.stop - at.start
                columns = [pa.repeat(source, size), docs.id[at].text(), of_pattern.take(pa.array(docs.pattern[at]))]
                writer.write_table(pa.table(columns, names=schema.MEMBERS.names).cast(schema.MEMBERS))
    os.replace(temporary, path)
