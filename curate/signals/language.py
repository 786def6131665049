"""Family language (one per identifier of the recipe): a batch of text in, language, score and windows out. Imports langid."""

from __future__ import annotations

import numpy as np

from curate import langid


def measure(data: np.ndarray, offsets: np.ndarray, spec: langid.Spec, name: str) -> dict[str, np.ndarray]:
    """Columns of signals.language_family(name), one row per document."""
    found = langid.identify(data, offsets, spec)
    return {
        name: found.language,
        f"{name}_score": found.score,
        f"n_{name}_windows": found.n_windows,
        f"n_agreeing_{name}_windows": found.n_agreeing,
    }
