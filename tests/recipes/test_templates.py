"""Templates: files become part of the recipe, places are filled once, and what does not fit is said before any file is read."""

from __future__ import annotations

import pytest

from curate.errors import CurateError
from curate.ingest import settings_of
from curate.recipe import load_recipe
from curate.recipe.templates import Template
from tests.sources.making import recipe

POOLS = "names: {en: {et: Estonian, en: English}}\npools:\n  en/text: ['{source}|{target}']\n"


def parallel(**options) -> dict:
    return {"read": "x", "type": "parallel", "parallel": {"languages": ["en", "et"], **options}}


def test_places_are_filled_once_and_braces_in_values_stay():
    one = Template(text="{a} {b} {c} {}")
    assert one.fill({"a": "{b}", "b": "\\1 {a}"}) == "{b} \\1 {a} {c} {}"


def test_a_named_file_becomes_part_of_the_recipe_and_of_its_fingerprint(tmp_path):
    folder = tmp_path / "presets" / "templates"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(POOLS)
    first = recipe(tmp_path, {"s": parallel(templates="mine")})
    assert first.sources["s"].parallel.templates.pools["en/text"] == [Template(text="{source}|{target}")]
    again = tmp_path / "again.yaml"
    again.write_bytes(first.canonical_yaml())
    (folder / "mine.yaml").unlink()
    assert load_recipe(again).sha256 == first.sha256
    (folder / "mine.yaml").write_text(POOLS.replace("|", "-"))
    second = recipe(tmp_path, {"s": parallel(templates="mine")})
    assert settings_of(first, first.sources["s"]) != settings_of(second, second.sources["s"])


def test_the_shipped_ones_are_the_default(tmp_path):
    loaded = recipe(tmp_path, {"s": parallel(form="translation", instruction_languages={"en": "95 %", "et": "5 %"})}).sources["s"]
    pools = loaded.parallel.templates.pools
    assert {name: len(pools[name]) for name in ("en/separate", "en/inline", "et/separate", "et/inline")} == {
        "en/separate": 19, "en/inline": 13, "et/separate": 6, "et/inline": 7}  # as many as LLAMMAS'  # fmt: skip
    block = {"read": "x", "language": "et", "license": {"declared": "CC0-1.0"}}
    others = recipe(tmp_path, {
        "c": {**block, "type": "preference", "preference": {"of": "corrections"}}, "p": {**block, "type": "preference", "preference": {}},
        "q": {**block, "type": "instruction_text", "render": "qa_after_text"},
    }).sources  # fmt: skip
    assert len(others["c"].preference.pool("et")) == 8 and others["p"].preference.templates is None
    assert others["q"].render.pool("et", "qa_after_text") and others["q"].render.forms["qa_after_text"].value == 1


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (parallel(templates={"pools": {"en/text": ["{source}"]}, "names": {"en": {"et": "E", "en": "e"}}}), "lacks {target}"),
        (parallel(templates={"pools": {"en/text": ["{source}{target}{x}"]}, "names": {"en": {"et": "E", "en": "e"}}}), "has {x}"),
        (parallel(templates={"pools": {}, "names": {}}), "no pool 'en/text'"),
        (parallel(templates={"pools": {"en/text": ["{source}{target}"]}, "names": {"en": {"en": "e"}}}), "names.en.et"),
        (parallel(instruction_languages={"en": "50 %"}), "sum to 100 %"),
        (parallel(scripts={"ru": "cyrillic"}), "not among languages"),
        ({"read": "x", "type": "parallel", "parallel": {"languages": ["et", "et"]}}, "both languages are 'et'"),
        ({"read": "x", "type": "parallel"}, "needs parallel:"),
        ({**parallel(), "type": "text"}, "is for type: parallel"),
        ({"read": "x", "type": "instruction_text"}, "needs render:"),
        ({"read": "x", "type": "instruction_text", "render": {"forms": {"a": "10 %"}}}, "sum to 100 %"),
        ({"read": "x", "type": "preference", "preference": {"order": ["a"]}}, "of: answers"),
        ({"read": "x", "type": "preference", "preference": {"of": "answers", "order": ["a", "a"]}}, "twice"),
        (parallel(templates="translations"), "no preset 'templates/translations'"),
        (parallel(templates={"pools": {"en/text": [{"text": "{source}{target}", "weight": 0}]}}), "positive number"),
    ],
)
def test_what_does_not_fit_is_said(block, says, tmp_path):
    with pytest.raises(CurateError) as caught:
        recipe(tmp_path, {"s": block})
    assert says in str(caught.value)
