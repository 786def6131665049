"""The corpora of dedup.py and dedup_agreement.py, made of the real texts of the test data and of tests.relate.templates.

In: the folder of real texts. Out: lists of {id, text}. Pieces are whole lines, about as long as a web page (reference/kernels.md:
3 kB), because half of the bytes are acts and source files of 20 kB and more.
"""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

from tests.bench.kernels import texts
from tests.relate import templates

ORDINARY = (
    "et_text/aa_magazine", "et_text/wiki_et_versions", "et_text/laws", "et_text/tara_doku", "et_text/progeopik_rst",
    "et_text/ud_edt_dev", "et_text/ud_ewt_train_2022", "quality/cefr_learner_texts", "en_text/18f_posts", "en_text/inaugural",
    "en_text/cc_en_head_0091", "en_text/wikitext2_valid", "code/code_files", "math/hott_book_tex", "math/gsm8k_train",
    "lid/udhr2", "lid/genesis_bible",
)  # fmt: skip


def pieces(text: str, rng: random.Random) -> list[str]:
    """Runs of whole lines of 1 to 5 kB, the last as it comes."""
    found: list[str] = []
    lines: list[str] = []
    size, wanted = 0, rng.randint(1000, 5000)
    for line in text.split("\n"):
        lines.append(line)
        size += len(line) + 1
        if size >= wanted:
            found.append("\n".join(lines))
            lines, size, wanted = [], 0, rng.randint(1000, 5000)
    return [*found, "\n".join(lines)] if lines else found


def ordinary(data: Path) -> list[dict[str, str]]:
    """Estonian, English and other languages, code and mathematics: all there is of it, shuffled."""
    rng = random.Random(1)
    rows = [
        {"id": f"{name}/{i}/{j}", "text": piece}
        for name in ORDINARY
        for i, text in enumerate(texts(data, [name]))
        for j, piece in enumerate(pieces(text, rng))
        if piece.strip()
    ]
    rng.shuffle(rows)
    return rows


def template_heavy(data: Path) -> list[dict[str, str]]:
    """All 13,467 documents of the three templates, and as many bytes of ordinary text."""
    lines = list(product(range(templates.P), range(templates.P)))
    rows = [
        {"id": f"{name}/{a}/{b}", "text": one.document(a, b)} for name, (one, _) in templates.TEMPLATES.items() for a, b in lines
    ]
    size = sum(len(row["text"].encode()) for row in rows)
    for row in ordinary(data):
        if size <= 0:
            break
        rows.append(row)
        size -= len(row["text"].encode())
    random.Random(2).shuffle(rows)
    return rows
