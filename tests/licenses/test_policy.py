"""`license:` and `licenses:` of a recipe: which patterns allow what, and what a person is told who wrote it wrong."""

from __future__ import annotations

import pytest
import yaml

from curate import pipeline
from curate.errors import CurateError
from curate.recipe import License, load_recipe
from curate.recipe.licenses import pattern, refusal
from curate.sources.licences import settle


@pytest.mark.parametrize(
    ("licence", "allow", "why"),
    [
        ("CC-BY-4.0", ["CC-BY-*"], ""),
        ("CC-BY-3.0-DE", ["CC-BY-*"], ""),
        ("CC-BY-SA-4.0", ["CC-BY-*"], ""),
        ("CC-BY-NC-4.0", ["CC-BY-*"], "CC-BY-NC-4.0 is not allowed"),  # a wildcard does not bring NC and ND
        ("CC-BY-NC-SA-4.0", ["CC-*"], "CC-BY-NC-SA-4.0 is not allowed"),
        ("CC-BY-NC-SA-4.0", ["CC-BY-NC-*"], ""),
        ("CC-BY-NC-ND-4.0", ["CC-BY-NC-*"], "CC-BY-NC-ND-4.0 is not allowed"),
        ("LicenseRef-CC-BY-NC", ["LicenseRef-*"], ""),
        ("cc-by-4.0", ["CC-BY-4.0"], ""),
        ("CC-BY-NC-4.0", ["CC-BY-4.0"], "CC-BY-NC-4.0 is not allowed"),
        ("MIT OR GPL-3.0-only", ["MIT"], ""),
        ("MIT AND GPL-3.0-only", ["MIT"], "MIT AND GPL-3.0-only is not allowed"),
        ("(MIT OR LicenseRef-X) AND (LicenseRef-Y OR CC0-1.0)", ["MIT", "CC0-1.0"], ""),
        ("MIT AND ISC OR Zlib AND GPL-2.0-only", ["MIT", "ISC"], ""),
        (
            "GPL-2.0-only WITH Classpath-exception-2.0",
            ["GPL-2.0-only"],
            "GPL-2.0-only WITH Classpath-exception-2.0 is not allowed",
        ),
        ("GPL-2.0-only WITH Classpath-exception-2.0", ["gpl-2.0-only with *"], ""),
        ("GPL-2.0-or-later", ["GPL-2.0-only"], ""),  # who receives it may choose version 2
        ("GPL-2.0-only", ["GPL-2.0-or-later"], "GPL-2.0-only is not allowed"),
        ("Apache-2.0+", ["Apache-2.0"], ""),
        ("LicenseRef-ENC", ["LicenseRef-ENC"], ""),
        ("All rights reserved", ["All*"], ""),  # of a store made before licences were checked: a name
        ("MIT OR", ["MIT"], "MIT OR is not allowed"),
        (")(", ["MIT"], ")( is not allowed"),
        (None, ["*A*"], "unknown licence"),
        (" ", ["*A*"], "unknown licence"),
        ("unknown", ["unknown"], "unknown licence"),
        ("NOASSERTION", ["NO*"], "unknown licence"),
        ("LicenseRef-unknown", ["LicenseRef-*"], "unknown licence"),
        ("MIT OR LicenseRef-unknown", ["MIT"], ""),
        ("MIT AND LicenseRef-unknown", ["MIT"], "unknown licence"),
    ],
)
def test_refusal(licence, allow, why):
    assert refusal(licence, tuple(allow)) == why


@pytest.mark.parametrize(
    ("given", "spelled"),
    [("mit", "MIT"), ("GPL-3.0", "GPL-3.0-only"), ("cc by 4.0", "CC-BY-4.0"), ("CC-BY-*", "CC-BY-*"), ("LicenseRef-x*", "LicenseRef-x*"),
     ("gpl-2.0-only with *", "gpl-2.0-only with *")],
)  # fmt: skip
def test_patterns_are_spelled_as_spdx_does(given, spelled):
    assert pattern(given) == spelled


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("*", "names no licence"),
        ("MTI", "no licence of the SPDX list"),
        ("CCBY-*", "named like this"),
        ("MIT OR ISC", "one licence"),
    ],
)
def test_patterns_that_nobody_meant(given, says):
    with pytest.raises(CurateError, match=says):
        pattern(given)


def recipe(folder, license_, **keys):
    data = {
        "kind": "cpt", "name": "t", "tokenizer": {"model": "none"},
        "sources": {"web": {"read": "x.jsonl", "license": license_}, "spare": {"read": "x.jsonl", "license": {"declared": "GPL-3.0"}}},
        "mixture": {"total": "1k tokens", "sequence_length": 64,
                    "components": {"c": {"from": "web", "role": "target", "budget": "1k tokens"}}}, **keys,
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    (folder / "x.jsonl").write_text('{"text": "a"}\n')
    return load_recipe(folder / "recipe.yaml")


def test_declared_licences_are_spelled_as_spdx_does(tmp_path):
    loaded = recipe(tmp_path, {"declared": "cc by-sa 4.0"})
    assert loaded.sources["web"].license.declared == "CC-BY-SA-4.0" and loaded.sources["spare"].license.declared == "GPL-3.0-only"
    assert load_recipe(tmp_path / "recipe.yaml").canonical()["sources"]["web"]["license"] == {"declared": "CC-BY-SA-4.0"}


@pytest.mark.parametrize(
    ("license_", "says"),
    [
        (
            {"declared": "MTI"},
            r"recipe.yaml:\d+: sources.web.license.declared: this is no licence of the SPDX list\n.*MTI\n.*MIT",
        ),
        ({"declared": "Keeleinstituudi tingimused"}, "LicenseRef-Keeleinstituudi-tingimused"),
        ({}, "declared .* taken from_field, or both"),
        ({"declared": "MIT", "spellings": {"x": "MIT"}}, "there is no from_field"),
        ({"from_field": "l", "spellings": {"x": "y"}}, "no licence of the SPDX list"),
    ],
)
def test_a_wrong_licence_is_found_when_the_recipe_is_loaded(tmp_path, license_, says):
    with pytest.raises(CurateError) as error:
        recipe(tmp_path, license_)
    import re

    assert re.search(says, str(error.value)), error.value


def test_a_declared_licence_that_is_forbidden_is_found_before_any_work(tmp_path):
    loaded = recipe(tmp_path, {"declared": "CC-BY-NC-4.0"}, licenses={"allow": ["CC-BY-*", "mit"]})
    assert loaded.licenses.allow == ["CC-BY-*", "MIT"]
    with pytest.raises(CurateError, match=r"(?s)sources.web.license.declared: .*not allowed.*CC-BY-NC-4.0.*licenses.allow"):
        pipeline.check(loaded)
    with pytest.raises(CurateError, match=r"(?s)not known.*LicenseRef-unknown"):
        pipeline.check(recipe(tmp_path, {"declared": "LicenseRef-unknown"}, licenses={"allow": ["MIT"]}))
    for fine in (
        {"licenses": {"allow": ["CC-BY-NC-4.0"]}},
        {"licenses": {"allow": ["MIT"], "forbidden": "drop"}},
    ):  # spare is in no component
        pipeline.check(recipe(tmp_path, {"declared": "CC-BY-NC-4.0"}, **fine))


def test_drop_is_a_rule_that_the_canonical_recipe_brings_again(tmp_path):
    loaded = recipe(tmp_path, {"from_field": "l"}, licenses={"allow": ["MIT"], "forbidden": "drop", "unknown": "drop"})
    assert [(r.name, r.signal, r.max, r.origin) for r in loaded.rules] == [
        ("license_forbidden", "license_forbidden", 0, "licenses"), ("license_unknown", "license_unknown", 0, "licenses"),
    ]  # fmt: skip
    (tmp_path / "again.yaml").write_bytes(loaded.canonical_yaml())
    assert load_recipe(tmp_path / "again.yaml").sha256 == loaded.sha256
    with pytest.raises(CurateError, match="the name 'license_forbidden' is the rule's that licenses brings"):
        recipe(tmp_path, {"from_field": "l"}, licenses={"allow": ["MIT"], "forbidden": "drop"},
               rules=[{"name": "license_forbidden", "signal": "n_words", "min": 1}])  # fmt: skip


def test_what_is_handed_on(tmp_path):
    asked = recipe(tmp_path, {"from_field": "l"}, licenses={"allow": ["MIT", "LicenseRef-ENC"]}).licenses
    assert asked.handed_on == ["MIT"]  # whether ENC's own terms let it, only who has read them says
    asked = recipe(tmp_path, {"from_field": "l"}, licenses={"allow": ["MIT"], "redistribute": ["LicenseRef-ENC"]}).licenses
    assert asked.handed_on == ["LicenseRef-ENC"]


@pytest.mark.parametrize(
    ("said", "asked", "settled"),
    [
        ("MIT", {}, ("MIT", None)),
        ("the mit license", {}, ("MIT", 'spelled "the mit license"')),
        (
            "own terms",
            {"spellings": {"own terms": "licenseref-own"}},
            ("LicenseRef-own", 'spelled "own terms", as the recipe reads it'),
        ),
        ("own terms", {}, (None, 'not understood: "own terms"')),
        ("none stated", {}, (None, 'says "none stated"')),
        ("none stated", {"declared": "MIT"}, (None, None)),  # left to what is declared
        (None, {}, (None, None)),
    ],
)
def test_what_a_row_says(said, asked, settled):
    row = {"license": said, "license_evidence": None}
    assert tuple(settle(row, License(from_field="l", **asked)).values()) == settled


def test_what_a_lane_found_stays():
    row = {"license": "MIT", "license_evidence": "SPDX header, line 1"}
    assert settle(dict(row), License(from_field="l")) == row
    row = {"license": "mit", "license_evidence": "field repo_license"}
    assert settle(row, License(from_field="repo_license")) == {"license": "MIT", "license_evidence": 'spelled "mit"'}
