"""Every preset loads, cites its source, and bounds signals that are measured; FineWeb2's are its published thresholds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from curate.errors import CurateError
from curate.recipe import Recipe, load_recipe
from curate.signals import signal_names
from curate.signals.gopher import stop_words

FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "presets"
COPIES = "rehydration"  # presets of copies: tests/test_copies.py
TEMPLATES = FOLDER / "templates"  # no bounds: test_templates.py
RULES = (p for p in FOLDER.rglob("*.yaml") if p.stem != COPIES and TEMPLATES not in p.parents)
NAMES = sorted(p.relative_to(FOLDER).with_suffix("").as_posix() for p in RULES)
KINDS = {
    "code": ", type: code",
    "parallel": ", type: parallel, parallel: {languages: [en, et]}",
}  # a preset's own name -> the sources it is for
RECIPE = """
kind: cpt
name: p
tokenizer: {{model: t}}
sources:
  a: {{read: a.jsonl, language: et, license: {{declared: CC0-1.0}}{more}}}
rules:
  - {{preset: {preset}}}
mixture:
  total: 1k tokens
  sequence_length: 64
  components: {{c: {{from: a, role: target, budget: 1k tokens}}}}
"""


def loaded(folder: Path, preset: str, more: str = "") -> Recipe:
    (folder / "r.yaml").write_text(RECIPE.format(preset=preset, more=more))
    return load_recipe(folder / "r.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_loads_names_measured_signals_and_its_source(name, tmp_path):
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    assert set(data) == {"source", "bounds"} and re.search(r"\b(19|20)\d\d\b", data["source"]) and text.startswith("#")
    recipe = loaded(tmp_path, name, KINDS.get(name.partition("/")[2], ""))
    assert [rule.origin for rule in recipe.rules] == [f"preset {name}"] * len(data["bounds"])
    known = signal_names(recipe, recipe.sources["a"])
    models = re.findall(r"^# needs models: (.+)$", text, re.MULTILINE)
    of_models = {f"{model.strip()}_score" for line in models for model in line.split(",")}
    assert {rule.signal for rule in recipe.rules} <= set(known) | of_models
    assert {rule.signal for rule in recipe.rules} >= of_models


# The table of FineWeb2's configurations, as read from huggingface/fineweb-2 (configs at 05e6729 and d331bee).
FINEWEB2 = {
    "ekk": (0.638, 0.363, (0.345, 0.268, 0.215), (0.172, 0.161, 0.150, 0.139, 0.125, 0.113), 0.143, 0.213, (3, 13), 0.722),
    "fin": (0.764, 0.293, (0.253, 0.202, 0.179), (0.153, 0.143, 0.133, 0.122, 0.112, 0.101), 0.114, 0.161, (3, 14), 0.755),
    "lvs": (0.300, 0.329, (0.526, 0.337, 0.242), (0.173, 0.160, 0.148, 0.135, 0.122, 0.109), 0.125, 0.169, (2, 13), 0.727),
    "vro": (0.300, 0.619, (0.639, 0.581, 0.513), (0.327, 0.307, 0.281, 0.254, 0.231, 0.212), 0.0, 0.453, (2, 11), 0.769),
}


@pytest.mark.parametrize("language", FINEWEB2)
def test_finewebs_thresholds_in_its_order(language, tmp_path):
    score, line, top, ngrams, punctuation, newline, (low, high), alpha = FINEWEB2[language]
    rules = [(rule.name, rule.bound) for rule in loaded(tmp_path, f"fineweb2/{language}_Latn").rules]
    assert rules == [
        ("min_language_score", score), ("max_duplicate_line_ratio", line),
        *((f"max_top_{n}gram_char_ratio", value) for n, value in zip((2, 3, 4), top, strict=True)),
        *((f"max_duplicate_{n}gram_char_ratio", value) for n, value in zip(range(5, 11), ngrams, strict=True)),
        ("min_n_nonblank_lines", 1), ("min_punctuated_line_ratio", punctuation), ("max_duplicate_nonblank_line_char_ratio", 0.1),
        ("max_newline_word_ratio", newline), ("min_n_non_symbol_words", 50), ("max_n_non_symbol_words", 100000),
        ("min_mean_word_chars", low), ("max_mean_word_chars", high), ("max_hash_word_ratio", 0.1), ("max_ellipsis_word_ratio", 0.1),
        ("max_bullet_line_ratio", 0.9), ("max_ellipsis_line_ratio", 0.3), ("min_alpha_word_ratio", alpha),
        *([("min_n_stop_words", 2)] if language != "vro" else []),
    ]  # fmt: skip


def test_the_shipped_stop_words_are_found_from_anywhere(tmp_path):
    recipe = loaded(tmp_path, "fineweb2/ekk_Latn", ", stop_words: preset:fineweb2/ekk_Latn.stop_words.txt")
    words = stop_words("et", recipe.path(recipe.sources["a"].stop_words))
    assert len(words) == 17 and {"ja", "on", "või", "tema", "aastal"} <= set(words)
    with pytest.raises(CurateError) as caught:
        recipe.path("preset:fineweb2/ekk_Latn.stopwords.txt")
    assert "fineweb2/ekk_Latn.stop_words.txt" in caught.value.allowed


def test_decisions_are_those_of_datatroves_filters(data, tmp_path):
    """FineWeb2's three filters with the Estonian configuration, run by datatrove on its own words (spaCy), beside our signals and
    rules: pieces of web text and of laws, whose paragraphs repeat."""
    pytest.importorskip("spacy", reason="datatrove's words: pip install -e .[datatrove]")
    from datatrove.data import Document
    from datatrove.pipeline import filters

    texts = pieces(data)
    keep, reasons = ours(loaded(tmp_path, "fineweb2/ekk_Latn", ", stop_words: preset:fineweb2/ekk_Latn.stop_words.txt"), texts)
    bound = {rule.name: rule.bound for rule in loaded(tmp_path, "fineweb2/ekk_Latn").rules}
    chain = [
        filters.GopherRepetitionFilter(
            language="ekk_Latn", dup_para_frac=0, dup_line_char_frac=0, dup_para_char_frac=0, dup_line_frac=bound["max_duplicate_line_ratio"],
            top_n_grams=[(n, bound[f"max_top_{n}gram_char_ratio"]) for n in (2, 3, 4)],
            dup_n_grams=[(n, bound[f"max_duplicate_{n}gram_char_ratio"]) for n in range(5, 11)]),
        filters.FineWebQualityFilter(
            language="ekk_Latn", short_line_thr=999, char_duplicates_ratio=0.1, line_punct_thr=bound["min_punctuated_line_ratio"],
            new_line_ratio=bound["max_newline_word_ratio"]),
        filters.GopherQualityFilter(
            language="ekk_Latn", max_avg_word_length=13, min_avg_word_length=3, min_stop_words=2, max_non_alpha_words_ratio=0.722,
            stop_words=list(stop_words("et", FOLDER / "fineweb2" / "ekk_Latn.stop_words.txt"))),
    ]  # fmt: skip
    theirs = [all(f.filter(Document(text, "")) is True for f in chain) for text in texts]
    differ = [(i, reason) for i, (a, b, reason) in enumerate(zip(keep, theirs, reasons, strict=True)) if a != b]
    assert 0.2 < sum(theirs) / len(texts) < 0.95 and len(set(reasons)) >= 6
    assert len(differ) <= 0.015 * len(texts), differ


def pieces(data: Path) -> list[str]:
    import json

    import zstandard

    found = []
    for name, size in (("ud_ewt_train_2022", 700), ("laws", 1500), ("wiki_et_versions", 2000)):
        raw = zstandard.ZstdDecompressor().stream_reader((data / "et_text" / f"{name}.jsonl.zst").read_bytes()).read().decode()
        texts = [json.loads(line)["text"] for line in raw.split("\n") if line]
        cut = [text[i : i + size].strip() for text in texts for i in range(0, min(len(text), 6 * size), size)]
        found += [piece for piece in cut if len(piece) > 200][:280]
    return found


def ours(recipe: Recipe, texts: list[str]) -> tuple[list[bool], list[str | None]]:
    """Keep and reason by the recipe's rules but the language score."""
    import pyarrow as pa

    from curate import text
    from curate.signals import fineweb, gopher, length, ratio_of, repetition
    from curate.signals.family import Batch

    array = pa.array(texts, pa.large_string())
    given, offsets = text.buffers(array)
    batch = Batch(array, given, offsets, text.segment(given, offsets))
    words = stop_words("et", recipe.path(recipe.sources["a"].stop_words))
    columns: dict = {}
    for measurer in (length.measurer(), gopher.measurer(words), repetition.measurer(), fineweb.measurer()):
        columns |= measurer.measure(batch)
    keep, reasons = [], []
    for i in range(len(texts)):
        failed = None
        for rule in recipe.rules[1:]:
            pair = ratio_of(rule.signal)
            value = (
                columns[rule.signal][i]
                if pair is None
                else columns[pair[0]][i] / columns[pair[1]][i]
                if columns[pair[1]][i]
                else 0
            )
            if value < rule.min if rule.min is not None else value > rule.max:
                failed = rule.name
                break
        keep.append(failed is None)
        reasons.append(failed)
    return keep, reasons
