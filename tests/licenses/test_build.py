"""Licences through a build: rows and what is declared, the stop before packing, what drop and flag do, what is handed on."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from curate import cli
from curate.inspect.explain import explain, render
from curate.inspect.screen import screen
from curate.recipe import load_recipe
from mixture.export.texts import export_texts
from mixture.verify.exported import verify_export
from mixture.verify.origins import check_allowed
from mixture.verify.report import Report
from tests import command, made

SAID = ["CC0", "cc by 4.0", "CC BY-NC 4.0", "all rights reserved", "none stated", None]
ROWS = {"CC0-1.0": 10, "CC-BY-4.0": 10, "CC-BY-NC-4.0": 10, None: 10, "MIT": 20}  # with declared: MIT


def recipe(top, declared="MIT", **licenses):
    rows = [{"id": f"w{i}", "text": made.text(30, f"web{i}"), "license": SAID[i % 6]} for i in range(60)]
    made.write_source(top / "raw", "web", rows)
    made.write_source(top / "raw", "spare", [{"id": f"s{i}", "text": made.text(20, f"s{i}")} for i in range(3)])
    license_ = {"from_field": "license", **({"declared": declared} if declared else {})}
    return made.write_recipe(
        top,
        sources={"web": {"read": "raw/web.jsonl", "license": license_},
                 "spare": {"read": "raw/spare.jsonl", "license": {"declared": "GPL-3.0-only"}}},
        mixture={"total": "2000 tokens", "sequence_length": 64,
                 "components": {"c": {"from": ["web"], "role": "target", "budget": "2000 tokens", "max_epochs": 4}}},
        **({"licenses": licenses} if licenses else {}),
    )  # fmt: skip


def documents(built, source="web"):
    files = sorted(built.store.root.glob("documents/*/*/documents.parquet"))
    rows = [
        row
        for file in files
        for row in pq.read_table(file, columns=["id", "source", "source_id", "license", "license_evidence"]).to_pylist()
    ]
    return [row for row in rows if row["source"] == source]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return made.build(recipe(tmp_path_factory.mktemp("licences")))


def test_rows_and_what_is_declared(plain):
    rows = documents(plain)
    assert {name: sum(row["license"] == name for row in rows) for name in ROWS} == ROWS
    evidence = {row["license"]: row["license_evidence"] for row in rows}
    assert evidence == {
        "CC0-1.0": 'spelled "CC0"', "CC-BY-4.0": 'spelled "cc by 4.0"', "CC-BY-NC-4.0": 'spelled "CC BY-NC 4.0"',
        None: 'not understood: "all rights reserved"', "MIT": None,
    }  # fmt: skip


def test_explain_shows_licence_and_evidence(plain):
    of = {row["license"]: row["id"] for row in documents(plain)}
    assert 'license   CC-BY-NC-4.0   (spelled "CC BY-NC 4.0")' in render(explain(plain.build, of["CC-BY-NC-4.0"]))
    assert 'license   unknown   (not understood: "all rights reserved")' in render(explain(plain.build, of[None]))
    assert "license   MIT\n" in render(explain(plain.build, of["MIT"]))


def test_unknown_tokens_are_on_the_screen_and_in_the_manifest(plain):
    licences = plain.manifest["components"][0]["licences"]
    assert set(licences) == {"CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0", "MIT", "unknown"}
    assert screen(plain.build)["unknown_license_tokens"] > 0


def test_a_forbidden_or_unknown_licence_stops_the_build_before_packing(tmp_path):
    """The command, its exit code, and that decisions and statistics are there to look at."""
    path = recipe(tmp_path, allow=["CC0-1.0", "CC-BY-*", "MIT"])
    done = command.curate("build-mixture", path, "--out", tmp_path / "build", "--store", tmp_path / "store")
    assert done.returncode == 2, done.stdout + done.stderr
    said = done.stdout
    assert "no mixture: licenses.allow: documents of this mixture have a licence that licenses: does not allow" in said
    assert "web: CC-BY-NC-4.0, 10 documents, " in said and "web: unknown, 10 documents, " in said and "tokens" in said
    assert "spare" not in said.split("no mixture:")[1].split("allowed:")[0]  # in no component
    assert "licenses.forbidden=drop" in said and "licenses.unknown=drop (or flag)" in said
    assert not (tmp_path / "build" / "manifest.json").exists() and (tmp_path / "build" / "corpus.duckdb").exists()
    assert not list((tmp_path / "build" / "sequences").glob("*.npy"))


def test_drop_and_flag(tmp_path):
    built = made.build(recipe(tmp_path, allow=["CC0-1.0", "CC-BY-*", "MIT"], forbidden="drop", unknown="flag"))
    assert built.problem is None
    data = screen(built.build)
    assert {row["reason"]: row["dropped"] for row in data["sources"][0]["reasons"]} == {"license_forbidden": 10}
    assert any(hint.startswith("tokens of unknown licence: web ") for hint in data["hints"])
    assert data["unknown_license_tokens"] > 0 and "unknown" in built.manifest["components"][0]["licences"]
    assert "CC-BY-NC-4.0" not in built.manifest["components"][0]["licences"]
    dropped = next(row["id"] for row in documents(built) if row["license"] == "CC-BY-NC-4.0")
    assert "dropped for license_forbidden" in render(explain(built.build, dropped))
    both = made.build(tmp_path / "recipe.yaml", tmp_path / "both", ["licenses.unknown=drop"])
    assert both.problem is None and screen(both.build)["unknown_license_tokens"] == 0


def test_verify_finds_what_is_not_allowed(tmp_path):
    recipe(tmp_path, allow=["CC0-1.0", "MIT"], forbidden="drop", unknown="flag")
    loaded = load_recipe(tmp_path / "recipe.yaml")
    manifest = {"components": [{"name": "c", "licences": {"CC0-1.0": 5, "unknown": 7}}]}
    report = Report()
    check_allowed(manifest, loaded, report)
    assert report.findings == []
    manifest["components"][0]["licences"]["CC-BY-NC-4.0"] = 1234
    check_allowed(manifest, loaded, report)
    assert [one.what for one in report.findings] == ["c: trains on 1,234 tokens of CC-BY-NC-4.0: CC-BY-NC-4.0 is not allowed"]
    check_allowed(manifest, load_recipe(tmp_path / "recipe.yaml", ["licenses.unknown=drop"]), report)
    assert any("7 tokens of unknown" in one.what for one in report.findings)


def test_only_what_the_recipe_lets_be_handed_on_is(tmp_path):
    built = made.build(
        recipe(tmp_path, allow=["CC0-1.0", "CC-BY-NC-*", "CC-BY-*", "MIT"], redistribute=["CC0-1.0", "CC-BY-*"], unknown="flag")
    )
    data = export_texts(built.build, tmp_path / "hub", built.recipe, built.store.root, allow=[])
    assert set(data["licences"]) == {"CC0-1.0", "CC-BY-4.0"}
    reasons = {"CC-BY-NC-4.0 is not allowed", "MIT is not allowed", "unknown licence"}
    assert set(data["withheld_reasons"]) == reasons and data["documents"]["withheld"] > 0
    assert verify_export(tmp_path / "hub").ok
    only = export_texts(
        built.build, tmp_path / "other", built.recipe, built.store.root, allow=["MIT"]
    )  # in place of the recipe's
    assert set(only["licences"]) == {"MIT"}
    cli.app(["export", str(built.build), str(tmp_path / "third"), "--hub"], standalone_mode=False)
    assert (tmp_path / "third" / "README.md").is_file()


def test_a_changed_policy_reads_nothing_again(tmp_path):
    path = recipe(tmp_path, allow=["CC0-1.0", "CC-BY-*", "MIT"], unknown="flag", forbidden="drop")
    made.build(path)
    before = sorted(tmp_path.glob("store/documents/*"))
    again = made.build(path, sets=["licenses.allow=['CC0-1.0']"])
    assert sorted(tmp_path.glob("store/documents/*")) == before
    assert set(again.manifest["components"][0]["licences"]) == {"CC0-1.0", "unknown"}
