"""The keys under `rows:` of a vocab run file. No torch. May import curate.recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from curate.recipe import Strict

Method = Literal["mean", "subword_mean", "wechsel", "ofa", "focus", "orthogonal_matching"]
OF_TEXT = (
    "focus",
    "orthogonal_matching",
)  # these compare tokens by vectors trained on the user's text, where no others are named


class Vectors(Strict):
    """Static vectors by fastText (CBOW). What is left out is the papers' code's: 3 epochs and 10 times for tokens, 20 and 5 for words."""

    dim: int = Field(default=100, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    min_count: int | None = Field(default=None, ge=1)  # a token or word that is rarer has no vector
    negatives: int = Field(default=10, ge=1)


class Rows(Strict):
    """How the rows of new tokens are made; those of tokens that the id map leads back to old ones are copied bit for bit."""

    method: Method = "subword_mean"
    fallback: Literal["subword_mean", "mean", "normal"] = "subword_mean"  # of tokens for which the method has no vector
    noise: float = Field(default=0.01, ge=0)  # in standard deviations of the old rows; a guess, so that equal rows part
    pad_to_multiple_of: int = Field(default=64, ge=1)  # rows of both matrices
    neighbours: int = Field(default=10, ge=1)  # wechsel, ofa (both papers)
    temperature: float = Field(default=0.1, gt=0)  # wechsel, ofa (both papers)
    rank: int | None = Field(default=None, ge=1)  # ofa: rows are made of this many directions of the old matrix
    atoms: int = Field(default=64, ge=1)  # orthogonal_matching: old rows in a new one (mergekit-tokensurgeon's k)
    donor: str | None = None  # orthogonal_matching: folder of a model that knows the new tokens, with its tokenizer
    vectors: Vectors = Vectors()
    vector_file: str | None = None  # ofa: vectors of words of all languages (.vec or .bin) in place of trained ones
    source_vectors: str | None = None  # wechsel: word vectors of the model's language (.vec or .bin)
    target_vectors: str | None = None  # wechsel: of the new one
    source_language: str | None = None  # wechsel: a language of `text:`, where vectors are to be trained
    target_language: str | None = None
    dictionary: str | None = (
        None  # wechsel: lines of "source word <tab> target word"; without it the vectors share one space already
    )
    by: Literal["ngrams", "words"] = (
        "ngrams"  # wechsel: a token's vector from its n-grams (needs .bin), or from words it is part of
    )

    @model_validator(mode="after")
    def _belongs(self) -> Rows:
        owners = {
            "rank": ("ofa",), "donor": ("orthogonal_matching",), "vector_file": ("ofa",), "dictionary": ("wechsel",),
            "source_vectors": ("wechsel",), "target_vectors": ("wechsel",), "source_language": ("wechsel",),
            "target_language": ("wechsel",),
        }  # fmt: skip
        for key, methods in owners.items():
            if getattr(self, key) is not None and self.method not in methods:
                raise ValueError(f"{key}: belongs to method {methods[0]}, not {self.method}")
        if self.method == "wechsel":
            for side in ("source", "target"):
                if (getattr(self, f"{side}_vectors") is None) == (getattr(self, f"{side}_language") is None):
                    raise ValueError(f"wechsel needs one of {side}_vectors (a file) and {side}_language (vectors of its text)")
        return self
