"""The recipe as strict models: what may stand in a recipe file, with its defaults.

Plain data in, checked objects out. Imports errors, units and recipe's own modules.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from curate.errors import CurateError
from curate.recipe.bands import HASHES, optimal
from curate.recipe.files import CurateErrorValue
from curate.recipe.licenses import Licenses
from curate.recipe.miniature import Miniature
from curate.recipe.mixture import Mixture
from curate.recipe.remove import Remove
from curate.recipe.source import FormatName, Source
from curate.recipe.strict import Bytes, Names, Share, ShareOfTokens, Strict, Tokens, listed
from curate.units import Quantity


class TokenizerSpec(Strict):
    model: str
    revision: str | None = None
    bos: Literal["per_document", "none"] = "none"
    eos: Literal["per_document", "none"] = "per_document"
    chat_template: str | None = None


class LanguageId(Strict):
    name: str = "language"
    backend: Literal["py3langid", "fasttext"] = "py3langid"
    model: str | None = None
    revision: str | None = None
    sha256: str | None = None  # of the model's file; another file is refused
    candidates: list[str] = []
    windows: int = Field(3, ge=0)  # 0: the whole document
    window_bytes: int = Field(700, ge=100)
    segments: bool = False  # also the language of every part of a document: for mixed pages

    @model_validator(mode="after")
    def _needs_model(self) -> LanguageId:
        if (self.backend == "fasttext") != (self.model is not None):
            raise ValueError("backend fasttext needs model: (a path or a hub id), py3langid takes none")
        return self


class Urls(Strict):
    """What an address says. Lists are files, or folders of files in UT1's layout; .gz is read as well."""

    block_lists: dict[str, str] = {}  # category -> file or folder of domains and addresses
    words: dict[str, str] = {}  # category -> file of words that count when they stand in an address
    opt_out: str | None = None  # file of domains that reserve their texts


class Model(Strict):
    """A trained model that scores documents; its signals are named after it (`<name>_score`, `<name>_bits_per_byte`)."""

    name: str = ""  # filled in from the key
    kind: Literal["fasttext", "features", "kenlm"]
    model: str  # a path, or a file of the hub: owner/name/file
    revision: str | None = None
    sha256: str | None = None
    label: str | None = None  # of a fastText classifier: whose probability is the score
    sources: Names | None = None  # None: all


class Cut(Strict):
    """Parts of documents that are not trained on: measured as spans, cut when the text is tokenized."""

    kind: Literal["pii", "secrets", "lines", "boilerplate_lines", "repeated_substrings"]
    of: Names = []  # of pii, secrets and lines: which kinds; of boilerplate_lines: line, paragraph (empty: both)
    as_: Literal["typed", "constant", "removed"] = Field(
        "typed", alias="as"
    )  # of pii: [EMAIL], [PII], or nothing; of secrets: [TOKEN], [SECRET]
    sources: Names | None = None  # None: all
    # Of boilerplate_lines and repeated_substrings only:
    min_documents: int | None = Field(None, ge=2)  # stands in so many documents of ...
    per: Literal["corpus", "source", "domain"] | None = None
    keep: Literal["first", "none"] | None = None  # the first place in canonical order (source, id) stays, or none
    min_words: int | None = Field(None, ge=8)  # of repeated_substrings: the shortest run of words


class DatatroveFilter(Strict):
    filter: str  # a class of datatrove.pipeline.filters, or package.module.Class
    args: dict[str, Any] = {}


# Over the web domain of a document. One that has none passes by default: nothing is known against where it came from.
DOMAIN_SIGNALS = (
    "domain_documents", "domain_drop_ratio", "domain_duplicate_ratio", "domain_template_ratio", "n_domain_duplicates",
    "n_domain_line_bytes", "n_domain_template_bytes",
)  # fmt: skip
# Asked of some languages of code only (family code). A file of another language passes by default: the question is not about it.
OF_SOME_LANGUAGES = (
    "is_parsed", "n_parse_errors", "n_parse_error_chars", "parse_error_ratio", "is_python2", "n_html_visible_chars", "html_visible_ratio",
    "n_json_yaml_chars",
)  # fmt: skip


class Rule(Strict):
    """One bound on one signal; `name` is the reason a document is dropped for."""

    name: str
    signal: str
    min: float | None = None
    max: float | None = None
    equals: Annotated[list[str | float] | None, BeforeValidator(listed)] = None  # one of these
    # Thirds as in CCNet (Wenzek et al. 2020): head up to the source's 30th percentile of the signal, middle up to the 60th, tail.
    keep: Annotated[list[Literal["head", "middle", "tail"]] | None, BeforeValidator(listed)] = None
    missing: Literal["fail", "pass"] = (
        "fail"  # what becomes of a document without a value; "pass" of DOMAIN_SIGNALS, OF_SOME_LANGUAGES
    )
    sources: list[str] | None = None  # None: all
    datatrove: DatatroveFilter | None = None  # the filter whose verdict the signal is
    origin: str = "recipe"

    @property
    def op(self) -> Literal["min", "max", "equals", "keep"]:
        return "min" if self.min is not None else "max" if self.max is not None else "keep" if self.keep else "equals"

    @property
    def bound(self) -> float | list:
        for value in (self.min, self.max, self.equals, self.keep):
            if value is not None:
                return value
        raise AssertionError("a rule without a bound passed validation")

    @property
    def bound_text(self) -> str:
        """`>= 50`, `<= 0.1`, `in et, en`, `in head, middle`: what a kept document satisfies."""
        if self.op in ("equals", "keep"):
            return "in " + ", ".join(f"{v:g}" if isinstance(v, float) else v for v in (self.equals or self.keep or []))
        return f"{'>=' if self.op == 'min' else '<='} {self.bound:g}"

    @model_validator(mode="before")
    @classmethod
    def _without_value(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("signal") in (*DOMAIN_SIGNALS, *OF_SOME_LANGUAGES):
            return {"missing": "pass", **data}
        return data

    @model_validator(mode="after")
    def _one_bound(self) -> Rule:
        if sum(value is not None for value in (self.min, self.max, self.equals, self.keep)) != 1:
            raise ValueError("a rule needs exactly one of min, max, equals, keep")
        return self


class Near(Strict):
    jaccard: float = Field(0.75, gt=0, le=1)
    ngram: int = Field(5, ge=1, le=32)
    bands: int = Field(16, ge=1, le=64)
    rows: int = Field(7, ge=1, le=32)
    hashes: int | None = Field(None, ge=2, le=2048, exclude=True)  # of `bands: optimal` only, which becomes bands and rows
    fold: list[
        Literal["digits", "diacritics"]
    ] = []  # what shingles do not tell apart: runs of digits; letters with and without marks
    across: Literal["all"] | list[str] = "all"
    bucket_cap: int = Field(256, ge=1)
    keep: Literal["best", "none"] = "best"  # none: whoever has a near duplicate goes, and the near duplicate goes too

    @model_validator(mode="before")
    @classmethod
    def _optimal(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if data.get("bands") != "optimal":
            if data.get("hashes") is not None:
                raise ValueError("hashes: belongs to bands: optimal; bands and rows as integers say how many hashes there are")
            return data
        if data.get("rows") is not None:
            raise ValueError("bands: optimal finds rows as well: leave rows: out, or write both as integers")
        jaccard, hashes = data.get("jaccard", cls.model_fields["jaccard"].default), data.get("hashes") or HASHES
        given = isinstance(jaccard, int | float) and 0 < jaccard <= 1, isinstance(hashes, int) and 2 <= hashes <= 2048
        if not all(given):  # the fields' own bounds say what is wrong
            return {**data, "bands": 1}
        try:
            found, rows = optimal(float(jaccard), hashes)
        except CurateError as error:
            raise CurateErrorValue(error) from None
        if found > 64 or rows > 32:
            raise ValueError(
                f"bands: optimal gives {found} bands of {rows} rows for jaccard {jaccard:g} and {hashes} hashes, "
                "at most 64 and 32 are allowed: ask for fewer hashes, or write bands: and rows:"
            )
        return {**{key: value for key, value in data.items() if key != "hashes"}, "bands": found, "rows": rows}


class Exact(Strict):
    """Equal by hash: `text` byte for byte, `normalised` but for white space and letter case, `url` by normalised address, `prompt` (of
    conversations, in place of their address) by all that is said before the last answer."""

    by: list[Literal["normalised", "text", "url", "prompt"]] = ["normalised"]
    across: Literal["all"] | list[str] = "all"  # sources compared with each other
    within: list[str] = []  # sources compared with themselves only

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        """`exact: normalised`, `exact: [normalised, url]` and `exact: none` say `by` alone."""
        if isinstance(data, str):
            return {"by": [] if data == "none" else [data]}
        return {"by": data} if isinstance(data, list) else data


class Reference(Strict):
    """A corpus the recipe's documents are compared with and that is not trained on: another build's kept documents where they lie,
    or files read as a source's are."""

    name: str = ""  # filled in from the key
    build: str | None = None
    read: Names = []
    format: FormatName = "auto"
    fields: dict[str, str] = {}
    id: Literal["auto", "path", "content"] = "auto"
    suffixes: list[str] = []
    words: str = "rules"

    @model_validator(mode="after")
    def _one(self) -> Reference:
        if (self.build is None) == (not self.read):
            raise ValueError("a reference is either build: (a build folder) or read: (files)")
        return self


class Dedup(Strict):
    exact: Exact = Exact()
    near: Near | None = Near()
    within: list[str] = []  # sources whose near duplicates are looked for among themselves only
    # Who stays of equals: `source` is the order of the recipe's sources, a signal's larger value wins, -signal's smaller one; id last.
    priority: list[str] = ["source", "n_words"]
    # Every source is compared with every reference, whatever across and within say; whoever is like one goes, references stay.
    against: dict[str, Reference] = {}


class EvaluationSet(Strict):
    """Items of a benchmark. `fields`: question, answer, options, passage, id -> the file's field or fields, `a.b` inside objects
    (empty: known names are looked for)."""

    name: str = ""  # filled in from the key
    read: Names
    format: Literal["auto", "jsonl", "parquet"] = "auto"
    fields: dict[str, Names] = {}


class Decontaminate(Strict):
    """Overlap of documents with evaluation items; see curate/relate/contamination."""

    against: Names | dict[str, EvaluationSet]  # files (a set per file, named after it), or sets by name
    action: Literal["drop_document", "cut", "report"] = "drop_document"
    # What a passage is worth that stands in a document without its question, as a Wikipedia paragraph does in Wikipedia: reported, or as
    # much as an item. An item that is nothing but a passage (LAMBADA) is always an item.
    passages: Literal["report", "act"] = "report"
    ngram: int = Field(5, ge=3, le=32)  # words that must stand together for an item to be looked for; short parts: 3
    overlap: float = Field(0.75, gt=0, lt=1)  # a higher contamination_score is contamination
    fold: list[Literal["diacritics"]] = ["diacritics"]
    sources: Names | None = None  # None: all


class HeldOut(Strict):
    per_component: Tokens
    at_most: ShareOfTokens = Quantity(Fraction(1, 100), "share_of_tokens")


class Limits(Strict):
    quarantine: Share = Quantity(Fraction(1, 1000), "share_of_records")
    document_bytes: Bytes = 64 * 10**6
    memory_per_worker: Bytes = 4 * 10**9
    scratch_disk: Bytes | None = None


class RecipeModel(Strict):
    kind: Literal["cpt", "sft", "preference"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    roots: dict[str, str] = {}
    tokenizer: TokenizerSpec
    seed: int = Field(0, ge=0, lt=2**63)
    sample: Share = Quantity(Fraction(1), "share")
    sources: dict[str, Source]
    language_id: list[LanguageId] = [LanguageId()]
    urls: Urls | None = None
    bad_words: dict[str, str] = {}  # language -> file of words and phrases, one a line
    models: dict[str, Model] = {}
    cuts: list[Cut] = []
    licenses: Licenses | None = None
    rules: list[Rule] = []
    dedup: Dedup = Dedup()
    decontaminate: Decontaminate | None = None
    remove: Remove | None = None
    held_out: HeldOut | None = None
    mixture: Mixture
    miniature: Miniature | None = None
    limits: Limits = Limits()
