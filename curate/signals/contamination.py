"""Family contamination: how much of an evaluation item stands in a document. Records only; relate.contamination measures it, since what
a word is worth depends on every document of the corpus. Imports family."""

from __future__ import annotations

from curate.signals.family import Column, Family

ITEM, PASSAGE = "contamination", "contamination_passage"  # kinds of spans: parts of an item; a passage without its question

SCORE, PASSAGE_SCORE = "contamination_score", "contamination_passage_score"

FAMILY = Family(
    "contamination",
    2,  # rejected answers of preferences are looked through, too
    (
        Column(
            SCORE, "score",
            "the best score of an evaluation item in one place of the document: the share of its words that stand there in its order, each "
            "weighted by how few documents have its n-grams, as if three more had not been found (one, for a question beside its answer, "
            "option or passage; ten, for an answer alone); 0 where there is none; of a preference in its prompt with either answer", "float32", 0, 1,
        ),
        Column(
            PASSAGE_SCORE, "score", "the same of passages of items that have a question, whether or not the question is there",
            "float32", 0, 1,
        ),
        Column("n_contamination_matches", "places", "places of the document where an item or a passage was found, even to a part"),
    ),
    span_kinds=(ITEM, PASSAGE),
)  # fmt: skip
