"""What a word of an item is worth as evidence: little where its n-grams stand in many documents, or in many items.

In: documents per n-gram, summed over the corpus. Out: a weight per word. Imports index.
"""

from __future__ import annotations

import numpy as np

from curate.relate.contamination.index import Index

VERSION = 1
# A corpus of fewer documents counts as this many: in it two copies of an item would else make the item common (a guess).
LEAST_DOCUMENTS = 10_000
LEAST_WEIGHT = 0.05


def word_weights(ix: Index, documents: np.ndarray, n_documents: int) -> np.ndarray:
    """float64 (n_words,) in [LEAST_WEIGHT, 1]: the mean over the n-grams that cover a word of their inverse document frequency.

    An n-gram's is 1 - ln(d) / ln(N) for d of N documents: 1 in a single one, 0 in all; and so for the p of P parts of items that have it,
    since what many items share is their template. The two are multiplied. Words that no n-gram covers keep their base weight.
    """
    in_corpus = 1 - np.log(np.maximum(documents, 1)) / np.log(max(n_documents, LEAST_DOCUMENTS))
    n_parts = max(len(ix.part_kind), LEAST_DOCUMENTS)
    gram = np.maximum(in_corpus * (1 - np.log(np.maximum(ix.gram_texts, 1)) / np.log(n_parts)), LEAST_WEIGHT)
    total, count = np.zeros(len(ix.key) + 1), np.zeros(len(ix.key) + 1)
    numbers = np.repeat(np.arange(ix.n_grams), np.diff(ix.postings_ptr))
    first, last = ix.postings.astype(np.int64), ix.postings + ix.gram_n[numbers]
    for places, sign in ((first, 1.0), (last, -1.0)):
        np.add.at(total, places, sign * gram[numbers])
        np.add.at(count, places, sign)
    total, count = np.cumsum(total)[:-1], np.cumsum(count)[:-1]
    covered = count > 0.5
    return np.where(covered, np.clip(total / np.maximum(count, 1), LEAST_WEIGHT, 1.0), ix.base_weight)
