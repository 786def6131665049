"""`curate plan`: over documents it is what a build states, over sums what arithmetic says; alternatives over phases, padding, steps, lines
to paste, statistics from elsewhere."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.inspect import plan_screen
from curate.manifest import read_manifest
from curate.recipe import load_recipe
from mixture import plan_cells, plan_documents, plan_rows, planning
from mixture.plan import alternatives, changed, effective, report, yaml_lines
from mixture.plan_cells import Cell, over_cells
from mixture.plan_manifest import of_manifest
from mixture.plan_stats import read_stats
from tests.mixture import two_phases
from tests.mixture.asked import read
from tests.mixture.small_build import build, documents_of, recipe_of, recipe_with, write_tokens

PART = {"from": ["a"], "role": "other"}


def cell(copies, documents, tokens, lengths=()):
    return Cell("a", {name: Fraction(n) for name, n in copies.items()}, documents, tokens, tokens, np.array(lengths, np.int64))


def told(run, recipe, **more):
    return report("small", recipe.mixture, run, known="test", is_exact=True, **more)


# --- over documents: what a build states --------------------------------------------------------------------------------


def known_of(recipe, folder, sources, copies=None):
    tables, shards, patterns = write_tokens(folder, recipe, sources, copies=copies)
    return planning.known(recipe, tables, shards, patterns, copies or {}, {"sha256": "0" * 64})


def test_two_phases_over_documents_are_those_of_the_build(tmp_path):
    two_phases.build(tmp_path)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    manifest = read_manifest(next(tmp_path.rglob("manifest.json")))
    of = known_of(recipe, tmp_path / "again", two_phases.sources_of())
    planned, stated = told(plan_documents.over_documents(of, recipe.seed), recipe), told(of_manifest(manifest), recipe)
    assert planned["phases"] == stated["phases"] and planned["feasible"]
    same = ("phase", "component", "requested", "realised", "tokens", "share", "cap")
    assert [{key: c[key] for key in same} for c in planned["components"]] == [
        {key: c[key] for key in same} for c in stated["components"]
    ]
    known = [(p, s) for p, s in zip(planned["components"], stated["components"], strict=True) if s["new_tokens"] is not None]
    assert all((p["new_tokens"], p["effective_tokens"]) == (s["new_tokens"], s["effective_tokens"]) for p, s in known)
    assert [s["component"] for _, s in known] == ["et", "en", "en"]  # et's documents and the best are of one source
    assert [c["new_tokens"] for c in planned["components"] if c["phase"] == "anneal"][:2] == [0, 0]  # et had them all before
    assert plan_screen.render(planned).count("sequences   padding") == 2


@given(
    st.lists(st.integers(1, 60), min_size=3, max_size=40), st.integers(1, 300), st.sampled_from([1, 1.5, 3]), st.integers(0, 99)
)
@settings(max_examples=25, deadline=None)
def test_sums_plan_what_documents_plan(tmp_path_factory, lengths, share, cap, seed):
    """One phase: the sums of a component's documents are all that caps and targets depend on."""
    folder = tmp_path_factory.mktemp("sums")
    total = max(1, int(sum(lengths) * share / 100))
    recipe = recipe_of(folder, {"c": {"from": ["a"], "budget": f"{total} tokens", "max_epochs": cap}}, total, 16, seed=seed)
    of = known_of(recipe, folder / "tokens", {"a": documents_of("a", lengths)})
    exact = plan_documents.over_documents(of, recipe.seed)(recipe.mixture)
    sums = over_cells(plan_cells_of(of))(recipe.mixture)
    assert (exact[0].plan, exact[0].stocks, str(exact[0].problem)) == (sums[0].plan, sums[0].stocks, str(sums[0].problem))
    if exact[0].plan is not None:
        assert exact[0].tokens == sums[0].tokens == [total]
        assert exact[0].seen[0][1] == sums[0].seen[0][1] == total


def plan_cells_of(of):
    return plan_documents.cells(of, of.docs.components)


def test_a_sample_stands_for_all(tmp_path):
    recipe = recipe_of(tmp_path, {"c": {"from": ["a"], "budget": "1000 tokens", "max_epochs": 2}}, 1000, 16,
                       held_out={"per_component": "50 tokens", "at_most": "10 % of tokens"})  # fmt: skip
    of = known_of(plan_cells.without_the_rest(recipe), tmp_path / "tokens", {"a": documents_of("a", [10] * 12)})
    (found,) = plan_cells_of(of)
    assert (found.documents, found.tokens) == (12, 120)
    (large,) = plan_cells.scaled([found], Fraction(1, 5), recipe)  # 60 documents, 600 tokens, 50 of them held out
    assert (large.documents, large.tokens) == (55, 550)
    assert over_cells([large])(recipe.mixture)[0].plan.caps == [1100]


# --- over sums ----------------------------------------------------------------------------------------------------------


def phased(**more):
    return read({
        "sequence_length": 8, "components": {"hq": {**PART, "max_epochs": 2}, "web": PART},
        "phases": {
            "one": {"total": "100 tokens", "components": {"web": "100 % of tokens"}},
            "two": {"total": "60 tokens", "components": {"hq": "50 % of tokens", "web": "50 % of tokens"}},
        }, **more,
    })  # fmt: skip


def test_alternatives_are_tried_over_all_phases():
    """web has 90: the first phase lacks 10, and where it is helped by another pass the second lacks 30 as well."""
    mixture, cells = phased(), [cell({"hq": 1}, 2, 20), cell({"web": 1}, 9, 90)]
    run = over_cells(cells)
    (first,) = run(mixture)
    assert first.problem.suggestions[0]["set"] == {"mixture.components.web.max_epochs": "1.12"}  # alone not enough
    found = alternatives(run, mixture, first.problem)
    assert found == [{"mixture.components.web.max_epochs": "1.45"}]  # 130 of 90; no smaller total leaves web anything for later
    for change in found:
        assert all(phase.problem is None for phase in run(changed(mixture, change)))
    with_less = {"mixture.components.web.max_epochs": "1.44"}
    assert run(changed(mixture, with_less))[-1].problem is not None


def test_repeated_tokens_and_what_they_are_worth():
    """8.6 billion Estonian tokens four times over count as about 32 billion (arXiv 2305.16264)."""
    assert (
        effective(8.6, 4 * 8.6) == pytest.approx(8.6 + 8.6 * 15.39 * (1 - np.exp(-3 / 15.39))) == pytest.approx(32.04, abs=0.01)
    )
    assert effective(100, 70) == 70 and effective(0, 0) == 0
    mixture = read({
        "sequence_length": 8, "components": {"web": {**PART, "max_epochs": 4}},
        "phases": {"one": {"total": "150 tokens", "components": {"web": "150 tokens"}},
                   "two": {"total": "250 tokens", "components": {"web": "250 tokens"}}},
    })  # fmt: skip
    data = report("r", mixture, over_cells([cell({"web": 1}, 10, 100)]), known="test", is_exact=True)
    one, two = data["components"]
    assert (one["new_tokens"], one["repeated_tokens"], one["cap"], one["epochs"]) == (100, 50, 400, 1.5)
    assert (two["new_tokens"], two["repeated_tokens"], two["cap"], two["at_cap"]) == (0, 250, 250, True)
    assert one["effective_tokens"] == round(effective(100, 150))
    assert one["effective_tokens"] + two["effective_tokens"] == pytest.approx(effective(100, 400), abs=1)


def test_copies_make_an_epoch_longer():
    mixture = read({"total": "150 tokens", "sequence_length": 8, "components": {"web": {**PART, "budget": "1 epochs"}}})
    run = over_cells([cell({"web": 2}, 5, 50), cell({"web": 1}, 5, 50)])
    (phase,) = run(mixture)
    assert phase.plan.targets == [150] and phase.stocks[0].epoch == 150 and phase.stocks[0].documents == 15
    assert phase.seen == [(100.0, 150.0)]


def test_what_was_consumed_counts(tmp_path):
    recipe = recipe_of(tmp_path, {"c": {"from": ["a"], "budget": "60 tokens"}}, 60, 10)
    build(recipe, tmp_path, {"a": documents_of("a", [10] * 10)})
    mixture = {"total": "41 tokens", "sequence_length": 10, "components": {"c": {**PART, "budget": "41 tokens"}}}
    again = recipe_with(tmp_path, {**mixture, "continues": {"manifest": "build/manifest.json", "rows": 6}}, ["a"])
    consumed = plan_cells.consumed_of(again)
    assert consumed == {"c": 60}
    (phase,) = over_cells([cell({"c": 1}, 10, 100)], consumed)(again.mixture)
    assert phase.plan is None and "c asks 41 tokens, has 100 unique, 1 epochs allow 40 more (60 are consumed)" in str(
        phase.problem
    )
    of = known_of(again, tmp_path / "again", {"a": documents_of("a", [10] * 10)})
    assert plan_documents.over_documents(of, again.seed)(again.mixture)[0].stocks[0].cap == 40


# --- rows, steps, days --------------------------------------------------------------------------------------------------


def test_passes_go_on_where_a_phase_left_off():
    assert plan_rows.passes_of(0, 250, 100) == [100, 100, 50]
    assert plan_rows.passes_of(150, 120, 100) == [50, 70]
    assert plan_rows.passes_of(0, 350, 100) == [100, 100, 100, 50]
    assert plan_rows.passes_of(0, 0, 100) == []
    rows = plan_rows.concat([100, 100, 50], 30)
    assert (rows.rows, rows.padding) == (4 + 4 + 2, 10 * 30 - 250)


def test_padding_is_that_of_the_lengths():
    """Documents of 60 in rows of 100 leave 40 of each; of 50 nothing."""
    rows = plan_rows.best_fit([6000], np.full(100, 60), 100)
    assert (rows.rows, rows.padding, rows.unavoidable) == (100, 4000, 4000)
    rows = plan_rows.best_fit([5000, 5000], np.full(100, 50), 100)
    assert (rows.rows, rows.padding) == (100, 0)
    assert plan_rows.best_fit([10**9], np.full(100, 60), 100).rows == pytest.approx(10**9 / 60, rel=1e-3)


def test_steps_and_days():
    mixture = phased()
    lengths = [8] * 4
    data = report("r", mixture, over_cells([cell({"hq": 1}, 3, 24, lengths), cell({"web": 1}, 20, 160, lengths)]), known="test", is_exact=True,
                  global_batch="4 sequences", tokens_per_second=1 / 86400)  # fmt: skip
    one, two = data["phases"]
    assert (one["sequences"], one["steps"], one["days"]) == (13, 4, pytest.approx(104))
    assert two["sequences"] == 8 and two["steps"] == 2  # hq and web have 30 tokens each, in passes of their own
    with pytest.raises(CurateError, match="whole sequences"):
        report("r", mixture, over_cells([cell({"hq": 1}, 3, 24, lengths), cell({"web": 1}, 20, 160, lengths)]), known="test", is_exact=True,
               global_batch="9 tokens")  # fmt: skip
    unknown = report("r", mixture, over_cells([cell({"hq": 1}, 3, 24), cell({"web": 1}, 20, 160)]), known="test", is_exact=True,
                     global_batch="4 sequences")  # fmt: skip
    assert [(p["sequences"], p["padding_tokens"], p["steps"]) for p in unknown["phases"]] == [
        (13, None, 4),
        (8, None, 2),
    ]  # at least
    assert "at least 13 sequences (lengths are not known)   4 steps" in plan_screen.render(unknown)


def test_lines_to_paste():
    assert yaml_lines({"mixture.total": "66 tokens", "mixture.components.et.budget": "40 tokens"}) == [
        "mixture:", "  total: 66 tokens", "  components:", "    et: {budget: 40 tokens}"
    ]  # fmt: skip
    assert yaml_lines({"mixture.on_shortage": "shrink_total"}) == ["mixture:", "  on_shortage: shrink_total"]
    assert yaml_lines({"mixture.components.en.components.web.max_epochs": "1.5"}) == [
        "mixture:", "  components:", "    en:", "      components:", "        web: {max_epochs: 1.5}"
    ]  # fmt: skip


def test_the_screen():
    mixture = phased()
    good = report("small", mixture, over_cells([cell({"hq": 1}, 2, 20), cell({"web": 1}, 90, 900)]), known="sums", is_exact=False)
    assert plan_screen.render(good).splitlines() == [
        "small  an estimate, from sums",
        "",
        "one: 100 tokens, sequences of 8 tokens",
        "component  asked  to train    share  unique  epochs  cap",
        "web          100       100  100.0 %     900    0.11    1",
        "total        100       100              900",
        "at least 13 sequences (lengths are not known)",
        "",
        "two: 60 tokens, sequences of 8 tokens",
        "component  asked  to train   share  unique  epochs  cap  repeated  worth",
        "hq            30        30  50.0 %      20    1.50    2        10     30",
        "web           30        30  50.0 %     900    0.03    1         0     30",
        "total         60        60             920                     10     60",
        "at least 8 sequences (lengths are not known)",
        "",
        "worth: tokens as if all were new, by the law of repeated data (arXiv 2305.16264); a hint, no promise",
    ]
    bad = report("small", mixture, over_cells([cell({"hq": 1}, 2, 20), cell({"web": 1}, 9, 90)]), known="sums", is_exact=False)
    text = plan_screen.render(bad)
    assert "web          100         -      -      90       -    1  cap 90" in text
    assert "! not feasible: mixture.phases.one: not enough tokens for the mixture" in text
    assert text.endswith("\n\nin the recipe, this makes it feasible:\n  mixture:\n    components:\n      web: {max_epochs: 1.45}")
    assert all(len(line) <= 100 for line in text.splitlines())


# --- statistics ---------------------------------------------------------------------------------------------------------


STATISTICS = {
    "sequence_length": 8, "total": "10 tokens", "policy": "proportional",
    "components": {"best": {**PART, "where": {"edu": {"min": 0.7}}}, "web": {**PART, "from": ["a", "b"]}},
}  # fmt: skip


def stats(tmp_path, recipe, data, name="stats.json"):
    (tmp_path / name).write_text(data if isinstance(data, str) else json.dumps(data))
    return read_stats(tmp_path / name, recipe)


def test_statistics_by_source_and_component(tmp_path):
    recipe = recipe_with(tmp_path, STATISTICS, ["a", "b"])
    given = {"a": {"documents": 10, "tokens": "1k tokens"}, "b": {"documents": 5, "tokens": 250.0, "loss_tokens": 200},
             "best": {"documents": 2, "tokens": 100}}  # fmt: skip
    found = stats(tmp_path, recipe, given)
    assert [(c.source, dict(c.copies), c.documents, c.tokens, c.loss_tokens) for c in found] == [
        ("a", {"best": 1, "web": 1}, 2, 100, 100), ("a", {"web": 1}, 8, 900, 900), ("b", {"web": 1}, 5, 250, 200)
    ]  # fmt: skip
    plain = recipe_with(tmp_path, {**STATISTICS, "components": {"web": {**PART, "from": ["a", "b"]}}}, ["a", "b"])
    table = "source,documents,tokens,loss_tokens\na,10,1000,\nb,5,250,200\n"
    assert [(c.source, c.tokens, c.loss_tokens) for c in stats(tmp_path, plain, table, "s.csv")] == [
        ("a", 1000, 1000),
        ("b", 250, 200),
    ]


def test_lengths_are_spread_over_their_bins(tmp_path):
    recipe = recipe_with(tmp_path, {**STATISTICS, "components": {"web": PART}}, ["a"])
    (found,) = stats(tmp_path, recipe, {"a": {"documents": 6, "tokens": 60, "lengths": {"20": 2, "10": 4}}})
    assert found.lengths.tolist() == [2, 4, 7, 9, 13, 18]  # the middles of quarters of 0 to 10, and of halves of 10 to 20


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"c": {"documents": 1, "tokens": 1}}, "no source and no component 'c'"),
        ({"a": {"documents": 1}}, "a: no tokens"),
        ({"a": {"documents": 1, "tokens": 1, "tonkes": 2}}, "unknown key 'tonkes'"),
        ({"a": {"documents": 1, "tokens": 1.5}}, "no whole number of tokens"),
        ({"a": {"documents": 1, "tokens": 1}, "b": {"documents": 1, "tokens": 1}}, "nothing is said of component 'best'"),
        ({"a": {"documents": 1, "tokens": 1}, "best": {"documents": 1, "tokens": 1}}, "nothing is said of source 'b'"),
        (
            {"a": {"documents": 1, "tokens": 1}, "b": {"documents": 1, "tokens": 1}, "best": {"documents": 2, "tokens": 1}},
            "more documents",
        ),
        ("{", "not statistics"),
    ],
)
def test_statistics_that_say_too_little(tmp_path, given, said):
    with pytest.raises(CurateError, match=said):
        stats(tmp_path, recipe_with(tmp_path, STATISTICS, ["a", "b"]), given)


def test_nothing_known_names_what_would_help(tmp_path):
    recipe = recipe_with(tmp_path, STATISTICS, ["a", "b"])
    with pytest.raises(CurateError, match="there is no such file"):
        read_stats(tmp_path / "none.json", recipe)
