"""Plans from sums by pattern: by hand over two phases, and beside what builds of the same documents planned."""

from __future__ import annotations

from fractions import Fraction

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.manifest import read_manifest
from curate.recipe import load_recipe
from mixture import budget
from mixture.plan_cells import Cell, over_cells
from tests.mixture.small_build import build, documents_of


def held(tokens: int, documents: int = 1, loss_tokens: int | Fraction | None = None):
    """(documents, tokens, loss tokens) of a pattern."""
    return documents, tokens, tokens if loss_tokens is None else loss_tokens


def plans(mixture, amounts, copies):
    """A plan per phase. `amounts`: {((component, bin), ...): held}; `copies`: component -> copies of its bins, a document in none has one."""
    names = list(mixture.leaves)
    cells = [
        Cell("a", {names[c]: Fraction([*copies.get(names[c], ()), 1][b]) for c, b in pattern}, *of) for pattern, of in amounts.items()
    ]  # fmt: skip
    phases = over_cells(cells)(mixture)
    if phases[-1].problem is not None:
        raise phases[-1].problem
    return [phase.plan for phase in phases]


def recipe_of(folder, components: dict, phases: dict, seed: int = 1):
    data = {
        "kind": "cpt", "name": "small", "tokenizer": {"model": "none"}, "seed": seed,
        "sources": {"a": {"read": "x.jsonl", "license": {"declared": "MIT"}, "fields": {"extra": "meta"}}},
        "mixture": {"sequence_length": 16, "components": {n: {"from": ["a"], "role": "other", **c} for n, c in components.items()},
                    "phases": phases},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return load_recipe(folder / "recipe.yaml")


COMPONENTS = {"hq": {"where": {"score": {"min": 5}}, "max_epochs": 2}, "all": {"max_epochs": 1.5}}
BOTH, ALL = ((0, -1), (1, -1)), ((1, -1),)


def test_two_phases_by_hand(tmp_path):
    """hq has 100 tokens, the rest 300. First phase: hq 120 of 2 epochs, all (without hq) 150 of 1.5. In the second hq is not asked for, so
    all has its 400 tokens and allows 600; hq's 120 and the rest's 150 are consumed, 330 are left."""
    phases = {"one": {"total": "270 tokens", "components": {"hq": "120 tokens", "all": "150 tokens"}}}
    two = {"two": {"total": "330 tokens", "components": {"all": "330 tokens"}}}
    amounts = {BOTH: held(100), ALL: held(300)}
    found = plans(recipe_of(tmp_path, COMPONENTS, phases | two).mixture, amounts, {})
    assert [(p.caps, p.targets) for p in found] == [([200, 450], [120, 150]), ([0, 330], [0, 330])]
    two["two"] = {"total": "331 tokens", "components": {"all": "331 tokens"}}
    with pytest.raises(budget.Infeasible, match="all asks 331 tokens"):
        plans(recipe_of(tmp_path, COMPONENTS, phases | two).mixture, amounts, {})


def test_what_is_used_least_comes_first(tmp_path):
    """After hq's 100 tokens (one epoch) all takes 100 of its 400 tokens: 100 of the 300 unused ones, so hq has an epoch left."""
    phases = {
        "one": {"total": "100 tokens", "components": {"hq": "100 tokens"}},
        "two": {"total": "100 tokens", "components": {"all": "100 tokens"}},
        "three": {"total": "100 tokens", "components": {"hq": "100 tokens"}},
    }
    found = plans(recipe_of(tmp_path, COMPONENTS, phases).mixture, {BOTH: held(100), ALL: held(300)}, {})
    assert [p.caps for p in found] == [[200, 0], [0, 500], [100, 0]]
    phases["two"] = {"total": "400 tokens", "components": {"all": "400 tokens"}}  # 300 unused ones, then a quarter of all 400
    found = plans(recipe_of(tmp_path, COMPONENTS, phases | {"three": {"total": "75 tokens", "components": {"hq": "75 tokens"}}}).mixture,
                  {BOTH: held(100), ALL: held(300)}, {})  # fmt: skip
    assert [p.caps for p in found] == [[200, 0], [0, 500], [75, 0]]


def test_copies_units_and_held_out_shares(tmp_path):
    """By examples, 4 documents with 3 copies and 5 with one: an epoch of 17 uses; two epochs allow 34. Of 10 loss tokens half a token
    is held out."""
    components = {"hq": {"max_epochs": 2, "copies": {"table": {1: 1, 5: 3}}}}
    recipe = recipe_of(tmp_path, components, {"one": {"total": "34 examples", "components": {"hq": "34 examples"}}})
    amounts = {((0, 0),): held(50, 5), ((0, 1),): held(40, 4)}
    [found] = plans(recipe.mixture, amounts, {"hq": [1, 3]})
    assert (found.caps, found.targets) == ([34], [34])
    recipe = recipe_of(tmp_path, components, {"one": {"total": "18 loss_tokens", "components": {"hq": "18 loss_tokens"}}})
    [found] = plans(recipe.mixture, {((0, 0),): held(10, 1, Fraction(19, 2))}, {"hq": [1, 3]})
    assert found.caps == [18]  # an epoch is 9 whole tokens


@given(
    st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=4, max_size=25), st.integers(0, 100), st.integers(0, 100),
    st.sampled_from([1, 1.5, 2, 3]), st.integers(0, 10**6),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_the_caps_are_those_that_a_build_finds(tmp_path_factory, rows, first, second, cap, seed):
    """Two phases of the same components: caps of the first are equal, those of the second too, as no document is in two components."""
    folder = tmp_path_factory.mktemp("cells")
    documents = [
        {**d, "score": 9 if good else 0} for d, (_, good) in zip(documents_of("a", [n for n, _ in rows]), rows, strict=True)
    ]
    sizes = {good: sum(len(d["tokens"]) for d in documents if (d["score"] == 9) == good) for good in (True, False)}
    n = {good: sum((d["score"] == 9) == good for d in documents) for good in (True, False)}
    most = {good: int(budget.exact(cap) * sizes[good]) for good in sizes}
    one = {name: most[good] * first // 100 for name, good in (("hq", True), ("all", False))}
    two = {name: (most[good] - one[name]) * second // 100 for name, good in (("hq", True), ("all", False))}
    if not sum(one.values()) or not sum(two.values()):
        return
    phases = {name: {"total": f"{sum(of.values())} tokens", "components": {c: f"{t} tokens" for c, t in of.items()}}
              for name, of in (("one", one), ("two", two))}  # fmt: skip
    components = {"hq": {"where": {"score": {"min": 5}}, "max_epochs": cap}, "all": {"max_epochs": cap}}
    recipe = recipe_of(folder, components, phases, seed)
    found = plans(recipe.mixture, {BOTH: held(sizes[True], n[True]), ALL: held(sizes[False], n[False])}, {})
    build(recipe, folder, {"a": documents})
    manifest = read_manifest(folder / "build" / "manifest.json")
    stated = [[c["phases"][f]["cap_tokens"] for c in manifest["components"]] for f in range(2)]
    assert [p.caps for p in found] == stated
    assert [p.targets for p in found] == [list(one.values()), list(two.values())]
