"""A bigram model small enough to score by hand, as an ARPA file."""

from __future__ import annotations

import json
from pathlib import Path

from curate import text
from curate.models.lm_lines import NORMALISATION
from curate.store import file_sha256

ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-1.0\t<unk>
0\t<s>\t-0.5
-0.7\t</s>
-0.4\ttere\t-0.3
-0.6\tmaailm\t-0.2

\\2-grams:
-0.2\t<s> tere
-0.1\ttere maailm

\\end\\
"""
# log10 p, by hand, of "tere maailm": -0.2 (<s> tere), -0.1 (tere maailm), -0.2 - 0.7 (back off to </s>) = -1.2
# of "tere , maailm !": -0.2; -0.3 - 1.0 (back off to <unk>); -0.6; -0.2 - 1.0; -0.7 = -4.0


def write(folder: Path, facts: dict | None = None) -> Path:
    """lm.arpa in `folder`; with `facts`, its JSON beside it."""
    path = folder / "lm.arpa"
    path.write_text(ARPA)
    if facts is not None:
        known = {"sha256": file_sha256(path), "normalisation": NORMALISATION, "segmentation": text.SEGMENTATION_VERSION}
        cutoffs = {"lines": {"head": 1.0, "middle": 2.0}}
        (folder / "lm.arpa.json").write_text(json.dumps({**known, "unknown_byte_bits": 4.0, "cutoffs": cutoffs, **facts}))
    return path
