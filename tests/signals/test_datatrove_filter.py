"""datatrove's filters as rules: the same verdicts as datatrove itself, one message per mistake, never a document passed in silence."""

from __future__ import annotations

import functools

import pyarrow as pa
import pytest

from curate import signals
from curate.errors import CurateError
from curate.recipe import Recipe, Rule, load_recipe
from curate.signals import datatrove_filter
from curate.signals.family import Batch

pytest.importorskip("spacy", reason="what datatrove's word filters need: pip install -e .[datatrove]")

TEXT = "Täna on ilus ilm ja me läheme metsa, kus kasvavad suured puud. " * 6
TEXTS = [TEXT, "Liiga lühike.", "", TEXT.replace("Täna", "#" * 20), "1 2 3 4 5 6 7 8 9 0 " * 10, TEXT + "…"]


def rule(name: str, path: str, **args: object) -> Rule:
    return Rule.model_validate({"name": name, "signal": f"{name}_keep", "equals": 1, "datatrove": {"filter": path, "args": args}})


def batch(texts: list[str], urls: list[str | None] | None = None) -> Batch:
    ids = [f"{i:032x}" for i in range(len(texts))]
    columns = {"id": ids, "language": ["et"] * len(texts), "url": urls or [None] * len(texts)}
    none = pa.array([], pa.large_string())
    return Batch(pa.array(texts, pa.large_string()), none, none, None, {k: pa.array(v, pa.string()) for k, v in columns.items()})


def verdicts(rule_: Rule, given: Batch) -> list[tuple[int, str]]:
    found = datatrove_filter.measurer(rule_).measure(given)
    return list(zip(found[f"{rule_.name}_keep"].tolist(), found[f"{rule_.name}_reason"], strict=True))


def test_the_reasons_are_datatroves():
    found = verdicts(rule("gopher", "GopherQualityFilter", language="et", stop_words=["ja", "on", "kus"]), batch(TEXTS))
    assert found == [
        (1, ""), (0, "gopher_short_doc"), (0, "gopher_short_doc"), (0, "gopher_too_many_hashes"), (0, "gopher_below_avg_threshold"),
        (0, "gopher_too_many_end_ellipsis"),
    ]  # fmt: skip


@pytest.mark.parametrize(("path", "args"), [
    ("GopherQualityFilter", {"language": "et", "min_doc_words": 10}), ("GopherRepetitionFilter", {"language": "et"}),
    ("FineWebQualityFilter", {"language": "et"}), ("C4QualityFilter", {"language": "et", "min_num_sentences": 2}),
    ("C4ParagraphFilter", {}), ("RegexFilter", {"regex_exp": "metsa"}),
])  # fmt: skip
def test_agrees_with_datatrove_on_its_own(path, args):
    from datatrove.data import Document
    from datatrove.pipeline import filters

    texts = [text for text in TEXTS if text]  # its repetition and FineWeb filters divide by the number of lines and words
    texts += [f"{TEXT}\n" * 3, "Esimene lause on siin. Teine lause on ka siin. Kolmas on lühike.\nlõpp"]
    alone = getattr(filters, path)(**args)
    kept = {doc.id for doc in alone.run(iter(Document(text, str(i)) for i, text in enumerate(texts)))}
    assert {str(i) for i, (keep, _) in enumerate(verdicts(rule("x", path, **args), batch(texts))) if keep} == kept


def test_agrees_with_datatrove_on_real_text(data):
    """Pieces of real web text, cut so that both verdicts occur."""
    import json

    import zstandard
    from datatrove.data import Document
    from datatrove.pipeline.filters import GopherQualityFilter

    lines = zstandard.ZstdDecompressor().stream_reader((data / "et_text" / "ud_ewt_train_2022.jsonl.zst").read_bytes()).read()
    texts = [json.loads(line)["text"] for line in lines.decode().split("\n") if line]
    pieces = [text[i : i + 400] for text in texts for i in range(0, min(len(text), 4000), 400)]
    alone = GopherQualityFilter(language="et", stop_words=["ja", "on", "ei"])
    expected = [alone.filter(Document(piece, "")) for piece in pieces]
    found = verdicts(rule("g", "GopherQualityFilter", language="et", stop_words=["ja", "on", "ei"]), batch(pieces))
    assert found == [(1, "") if verdict is True else (0, verdict[1]) for verdict in expected]
    assert 0 < sum(keep for keep, _ in found) < len(found)


def test_the_filter_sees_the_address_and_the_text_stays(monkeypatch):
    import tldextract

    monkeypatch.setattr(tldextract, "TLDExtract", functools.partial(tldextract.TLDExtract, suffix_list_urls=()))  # no network
    args = {"use_integrated_lists": False, "extra_domains": ["example.com"]}
    given = batch(["a", "b"], ["https://www.example.com/1", "https://example.org/2"])
    assert verdicts(rule("urls", "URLFilter", **args), given) == [(0, "domain"), (1, "")]
    changed = batch(["Esimene lause on siin. Teine lause on ka siin.\nlõpp"])
    assert verdicts(rule("c4", "C4QualityFilter", language="et", min_num_sentences=1), changed) == [(1, "")]
    assert changed.texts.to_pylist() == ["Esimene lause on siin. Teine lause on ka siin.\nlõpp"]


def test_a_filter_of_your_own():
    """By module and class; a bare False has the class as its reason."""
    path = f"{__name__}.EvenLength"
    assert verdicts(rule("even", path, by=2), batch(["ab", "abc"])) == [(1, ""), (0, "EvenLength")]
    assert "sha256" in datatrove_filter.measurer(rule("even", path)).settings
    settings = datatrove_filter.measurer(rule("even", "RegexFilter", regex_exp="a")).settings
    assert settings["filter"] == "datatrove.pipeline.filters.regex_filter.RegexFilter" and settings["args"] == {"regex_exp": "a"}


def test_a_document_the_filter_cannot_judge_is_named(monkeypatch):
    import tldextract

    monkeypatch.setattr(tldextract, "TLDExtract", functools.partial(tldextract.TLDExtract, suffix_list_urls=()))
    with pytest.raises(CurateError, match="does not have url") as caught:
        verdicts(rule("urls", "URLFilter", use_integrated_lists=False), batch(["a"]))
    assert caught.value.where == f"rule urls, document {0:032x}" and caught.value.exit_code == 1


@pytest.mark.parametrize(("path", "args", "says"), [
    ("GopherQualtyFilter", {}, "did you mean 'GopherQualityFilter'?"), ("datatrove.nowhere.X", {}, "datatrove.nowhere"),
    ("datatrove.pipeline.filters.GopherQuality", {}, "GopherQualityFilter"), ("json.JSONDecoder", {}, "no datatrove filter"),
    ("GopherQualityFilter", {"min_words": 3}, "min_words"), ("LambdaFilter", {}, "filter_function"),
    ("RegexFilter", {"regex_exp": "("}, "does not take these args"), ("SamplerFilter", {"rate": 0.5}, "by chance"),
    ("C4BadWordsFilter", {"keep_fraction": 0.1}, "by chance"), ("GopherQualityFilter", {"language": "xx"}, "word tokenizer"),
])  # fmt: skip
def test_mistakes_are_told_before_any_work(path, args, says):
    with pytest.raises(CurateError) as caught:
        datatrove_filter.measurer(rule("x", path, **args))
    assert says in str(caught.value) and "rule x" in str(caught.value)


def test_a_missing_library_names_the_extra(monkeypatch):
    from datatrove.pipeline.filters import RegexFilter

    monkeypatch.setattr(RegexFilter, "_requires_dependencies", ["no_such_library"], raising=False)
    with pytest.raises(CurateError, match=r"\[datatrove\]"):
        datatrove_filter.measurer(rule("missing", "RegexFilter", regex_exp="b"))


def test_it_is_measured_for_the_sources_of_its_rule(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE)
    recipe: Recipe = load_recipe(tmp_path / "r.yaml")
    of = {name: [m.family.name for m in signals.measurers(recipe, source)] for name, source in recipe.sources.items()}
    assert "short" in of["a"] and "short" not in of["b"]
    names = signals.signal_names(recipe, recipe.sources["a"])
    assert names["short_keep"] == "int64" and names["short_reason"] == "string"


RECIPE = """
kind: cpt
name: r
tokenizer: {model: t}
sources:
  a: {read: a.jsonl, language: et, license: {declared: CC0-1.0}}
  b: {read: b.jsonl, language: et, license: {declared: CC0-1.0}}
rules:
  - {datatrove: RegexFilter, args: {regex_exp: x}, name: short, sources: [a]}
mixture:
  total: 1k tokens
  sequence_length: 64
  components: {c: {from: [a, b], role: target, budget: 1k tokens}}
"""

from datatrove.pipeline.filters.base_filter import BaseFilter  # noqa: E402  (after the check for its libraries)


class EvenLength(BaseFilter):
    name = "even"

    def __init__(self, by: int = 2):
        super().__init__()
        self.by = by

    def filter(self, doc):
        return len(doc.text) % self.by == 0
