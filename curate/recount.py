"""The raw input counted again, without the store: what `curate verify` holds a build's own counts against.

A recipe and a source in, {n_read, n_documents, n_quarantined, n_outside_sample} out, each counted on its own. Imports ingest, sources.
"""

from __future__ import annotations

from curate.ingest import ID_BYTES, document_row, sample_of
from curate.recipe import Recipe
from curate.sources import Bad, list_files, read


def recount(recipe: Recipe, name: str) -> dict[str, int]:
    """Read every record of source `name` again. Raises CurateError where its files are gone."""
    source = recipe.sources[name]
    sample = sample_of(recipe)
    counts = {"n_read": 0, "n_documents": 0, "n_quarantined": 0, "n_outside_sample": 0}
    for file in list_files(recipe, source):
        for item in read(file.path, source, recipe.limits):
            if isinstance(item, Bad):
                counts["n_quarantined"] += 1
            elif sample is not None and not sample.has(document_row(source, item.fields, file)[0]["key"][:ID_BYTES]):
                counts["n_outside_sample"] += 1
                continue
            else:
                counts["n_documents"] += 1
            counts["n_read"] += 1
    return counts
