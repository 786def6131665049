"""The mixture over phases: what is packed is what the recipe says, to the token, on random recipes, against plain Python."""

from __future__ import annotations

from collections import Counter, defaultdict
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.manifest import read_manifest
from mixture.budget import Infeasible
from mixture.stream import IGNORED, START, Stream, advance
from tests.mixture.reference import UNITS, n_labels, random_mixture, random_sources, with_budgets
from tests.mixture.small_build import build, documents_of, recipe_with


def made(seed, folder):
    """(recipe, model, due, copies as the build takes them), or None where no phase has anything to train on."""
    rng = np.random.default_rng(seed)
    length = int(rng.choice([8, 17, 64]))
    sources = random_sources(rng, length)
    mixture, copies = random_mixture(rng, sources, length)
    held_out = {"per_component": "60 tokens", "at_most": "20 % of tokens"} if rng.random() < 0.5 else None
    recipe, model, due = with_budgets(rng, folder, mixture, sources, copies, held_out, seed)
    bins = {name: {"by": "quality", "origin": "table", "bins": [{"from": i, "copies": n} for i, n in enumerate(times)]}
            for name, times in copies.items()}  # fmt: skip
    return recipe, model, due, bins


def check(folder, model, due):
    """The build in `folder` against the model: uses, rows, and every number that the manifest states."""
    stream = Stream(folder / "manifest.json", verify=True)
    manifest, specs = stream.manifest, model.recipe.mixture.phase_list
    names = [name for name, _ in model.leaves]
    rows = pq.read_table(folder / "selection.parquet").to_pylist()
    assert {r["id"] for r in rows if r["split"] == "held_out"} == model.held

    # every use, in its order, with its chunks one after the other
    numbers = {spec.name: f for f, spec in enumerate(specs)}
    uses = defaultdict(list)
    for r in rows:
        if r["split"] == "train":
            uses[numbers[r["phase"]], names.index(r["component"]), r["pass"], r["id"]].append(r)
    expected = {(f, c, p, id_): (start, n) for f, c, p, use in model.uses for id_, start, n in use}
    assert set(uses) == set(expected)
    for key, chunks in uses.items():
        chunks.sort(key=lambda r: r["chunk"])
        start, n = expected[key]
        assert [r["chunk"] for r in chunks] == list(range(chunks[0]["n_chunks"]))
        assert chunks[0]["token_start"] == start and sum(r["n_tokens"] for r in chunks) == n
        assert all(a["token_start"] + a["n_tokens"] == b["token_start"] for a, b in pairwise(chunks))
        if specs[key[0]].packing == "best_fit":
            assert len(chunks) == -(-n // specs[key[0]].sequence_length)

    # the stream: rows of a phase follow each other, pure, as long as the phase says; what is in them counted again
    counted = {what: [Counter() for _ in specs] for what in (*UNITS, "sequences")}
    running, at = START, 0
    for f, spec in enumerate(specs):
        order = manifest["phases"][f]["order"]
        assert order["first_index"] == at
        last = Counter()
        for i in range(at, at + order["n_sequences"]):
            row = stream.row(i)
            assert row.input_ids.size == spec.sequence_length
            counted["tokens"][f][row.component] += row.n_tokens
            counted["loss_tokens"][f][row.component] += int((row.labels != IGNORED).sum())
            counted["sequences"][f][row.component] += 1
            running = advance(running, row.row_hash)
            chunks = [rows[int(c["document"])] for c in stream.chunks(stream.sequence_of(i))]
            assert {(r["phase"], r["component"]) for r in chunks} == {(spec.name, names[row.component])}
            (pass_,) = {r["pass"] for r in chunks}
            assert pass_ >= last[row.component]
            last[row.component] = pass_
        at += order["n_sequences"]
        begun = (key[1] for key, chunks in uses.items() if key[0] == f and chunks[0]["token_start"] == 0)
        counted["examples"][f].update(begun)
    assert at == stream.n_sequences and running.hex() == manifest["roots"]["stream"]

    for f, spec in enumerate(specs):
        budget, stated = manifest["phases"][f]["budget"], manifest["phases"][f]
        for unit in UNITS:
            assert budget[unit] == sum(counted[unit][f].values())
        assert budget["unit"] == spec.unit and budget["realised"] == budget["requested"] == budget[spec.unit] == spec.total.count
        assert dict(+counted[spec.unit][f]) == {c: n for c, n in due[f].items() if n}
        assert budget["padding"] == sum(counted["sequences"][f].values()) * spec.sequence_length - budget["tokens"]
        for p in stated["packing"]["passes"] if spec.packing == "concat" else []:
            assert p["padding_tokens"] < spec.sequence_length
        assert sum(p["tokens"] for p in stated["packing"]["passes"]) == budget["tokens"]
        for c in range(len(names)):
            mine = [p for p in manifest["components"][c]["phases"] if p["phase"] == spec.name]
            assert bool(mine) == (spec.asks[c] is not None)
            for p in mine:
                assert [p[unit] for unit in UNITS] == [counted[unit][f][c] for unit in UNITS]
                assert p["realised"] == p["requested"] == due[f][c]
    return uses, manifest


def check_caps(model, uses, manifest, begin=None):
    """Row by row: no document more than ceil(cap) epochs, k or k + 1 uses of documents with equal history, one document cut per
    component and phase, no token twice in one use; the numbers of uses that the manifest states. `begin`: what was consumed before."""
    whole = {id_: len(d["tokens"]) for id_, d in model.by_id.items()}
    begun = Counter(begin.used if begin else {})
    reached = Counter({id_: whole[id_] for id_, n in begun.items() if n and id_ in whole})  # how far the last use of each came
    in_order = sorted(uses.items(), key=lambda item: item[0][:3])
    for f, spec in enumerate(model.recipe.mixture.phase_list):
        before, was_cut = Counter(begun), {id_: reached[id_] < n for id_, n in whole.items()}
        cut = Counter()
        for (g, c, _, id_), chunks in in_order:
            if g == f:
                start = chunks[0]["token_start"]
                assert start == 0 or start == reached[id_] < whole[id_]  # a use goes on where it was cut, or another begins
                begun[id_] += start == 0
                reached[id_] = chunks[-1]["token_start"] + chunks[-1]["n_tokens"]
                cut[c] += reached[id_] < whole[id_]
        for c, (_, component) in enumerate(model.leaves):
            if spec.asks[c] is None:
                continue
            own, most = model.members(f, c), -(-Fraction(str(component.max_epochs)) // 1)
            per_epoch = max((model.n_copies(c, d) for d in own), default=1)
            histories = defaultdict(set)
            for d in own:
                times, id_ = model.n_copies(c, d), d["id"]
                assert begun[id_] <= max(most * times, before[id_])
                if times == per_epoch:  # in every pass
                    histories[before[id_], before[id_] > 0 and was_cut[id_]].add(begun[id_])
            assert all(max(found) - min(found) <= 1 for found in histories.values())
            assert cut[c] <= (spec.unit != "examples")
            (stated,) = [p for p in manifest["components"][c]["phases"] if p["phase"] == spec.name]
            assert stated["copies"] == {str(k): n for k, n in sorted(Counter(begun[d["id"]] for d in own).items())}
            assert stated["documents"] == len(own) and stated["unique_tokens"] == sum(whole[d["id"]] for d in own)
            assert stated["over_budget"]["documents"] == sum(not begun[d["id"]] for d in own)


@pytest.mark.parametrize("seed", range(100))
def test_recount_is_manifest_is_recipe(seed, tmp_path):
    recipe, model, due, copies = made(seed, tmp_path)
    if recipe is None:
        return
    summary = build(recipe, tmp_path, model.sources, n_shards=1 + seed % 3, token_bytes=4 if seed % 2 else 2, copies=copies)
    assert all(c["left"] == c["right"] for c in summary["checks"])
    uses, manifest = check(tmp_path / "build", model, due)
    check_caps(model, uses, manifest)
    labels = sum(n_labels(model.by_id[k[3]], chunks[0]["token_start"], chunks[-1]["token_start"] + chunks[-1]["n_tokens"])
                 for k, chunks in uses.items())  # fmt: skip
    assert labels == sum(p["budget"]["loss_tokens"] for p in manifest["phases"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 500))
def test_recount_of_hundreds(seed, tmp_path):
    test_recount_is_manifest_is_recipe(seed, tmp_path)


# --- by hand -----------------------------------------------------------------------------------------------------------


def uses_of(folder):
    """{(phase, component, pass): [(id, first token, tokens)]} of documents that fit a row, in no order."""
    found = defaultdict(list)
    for r in pq.read_table(folder / "selection.parquet").to_pylist():
        if r["split"] == "train":
            found[r["phase"], r["component"], r["pass"]].append((r["id"], r["token_start"], r["n_tokens"]))
    return {key: sorted(use) for key, use in found.items()}


def phases_of(component, *phases, **more):
    """One component x of source a; (total, unit) each."""
    return {
        "sequence_length": 64, "components": {"x": {"from": ["a"], "role": "other", **component}},
        "phases": {f"p{i}": {"total": text, "components": {"x": {"budget": text}}} for i, text in enumerate(phases)}, **more,
    }  # fmt: skip


def test_a_phase_takes_up_the_pass_that_another_left(tmp_path):
    """Four documents of ten tokens. 25 tokens leave the third in part and the fourth alone; 25 more finish both and begin again."""
    sources = {"a": documents_of("a", [10] * 4)}
    recipe = recipe_with(tmp_path, phases_of({"max_epochs": 2}, "25 tokens", "25 tokens", "30 tokens"), ["a"])
    build(recipe, tmp_path, sources)
    found = uses_of(tmp_path / "build")
    ids = [d["id"] for d in sources["a"]]
    first = found["p0", "x", 0]
    assert sorted(n for _, _, n in first) == [5, 10, 10]
    (cut,) = [i for i, _, n in first if n == 5]
    (unused,) = set(ids) - {i for i, _, _ in first}
    assert found["p1", "x", 0] == sorted([(cut, 5, 5), (unused, 0, 10)])
    second = found["p1", "x", 1]
    assert all(start == 0 for _, start, _ in second) and sum(n for _, _, n in second) == 10
    # 80 tokens are both epochs to the token
    everything = [use for uses in found.values() for use in uses]
    assert {i: sum(n for j, _, n in everything if j == i) for i in ids} == dict.fromkeys(ids, 20)
    stated = read_manifest(tmp_path / "build" / "manifest.json")["components"][0]["phases"]
    assert [p["copies"] for p in stated] == [{"0": 1, "1": 3}, stated[1]["copies"], {"2": 4}]
    assert [p["cap_tokens"] for p in stated] == [80, 55, 30] and [p["epochs"]["mean"] for p in stated] == [0.625, 0.625, 0.75]
    assert stated[0]["over_budget"] == {"documents": 1, "tokens": 15} and stated[2]["over_budget"] == {
        "documents": 0,
        "tokens": 0,
    }


def test_caps_count_over_all_phases(tmp_path):
    sources = {"a": documents_of("a", [10] * 4)}  # 1.5 epochs are 60 tokens
    with pytest.raises(Infeasible) as caught:
        build(recipe_with(tmp_path, phases_of({"max_epochs": 1.5}, "45 tokens", "16 tokens"), ["a"]), tmp_path, sources)
    assert not (tmp_path / "build" / "manifest.json").exists()
    assert {"set": {"mixture.phases.p1.on_shortage": "shrink_total"}} in caught.value.suggestions
    assert caught.value.short["x"]["cap"] == 15
    build(
        recipe_with(tmp_path, phases_of({"max_epochs": 1.5}, "45 tokens", "15 tokens"), ["a"]), tmp_path, sources, name="enough"
    )


def test_a_budget_of_labels_ends_where_they_are_reached(tmp_path):
    """One document of 8 tokens, of which tokens 2, 3, 5 and 7 count; token 0 is learned too, but no label of anything."""
    (document,) = documents_of("a", [8])
    document["loss"] = np.array([1, 0, 1, 1, 0, 1, 0, 1])
    for labels, tokens in ((1, 3), (2, 4), (3, 6), (4, 8)):
        recipe = recipe_with(tmp_path, phases_of({}, f"{labels} loss_tokens"), ["a"])
        build(recipe, tmp_path, {"a": [document]}, name=f"b{labels}")
        assert uses_of(tmp_path / f"b{labels}") == {("p0", "x", 0): [(document["id"], 0, tokens)]}
        (phase,) = read_manifest(tmp_path / f"b{labels}" / "manifest.json")["phases"]
        assert (phase["budget"]["realised"], phase["budget"]["tokens"], phase["budget"]["examples"]) == (labels, tokens, 1)
    with pytest.raises(Infeasible):
        build(recipe_with(tmp_path, phases_of({}, "5 loss_tokens"), ["a"]), tmp_path, {"a": [document]})
    # after two labels four tokens are left; the first of them is now the first of its part: 5 and 7 count
    recipe = recipe_with(tmp_path, phases_of({}, "2 loss_tokens", "2 loss_tokens"), ["a"])
    build(recipe, tmp_path, {"a": [document]}, name="two")
    assert uses_of(tmp_path / "two") == {("p0", "x", 0): [(document["id"], 0, 4)], ("p1", "x", 0): [(document["id"], 4, 4)]}


def test_examples_are_never_in_part(tmp_path):
    """13 of 12 tokens: one in part. Two examples: what is left of that use is none, so two more begin."""
    sources = {"a": documents_of("a", [12] * 3)}
    recipe = recipe_with(tmp_path, phases_of({"max_epochs": 2}, "13 tokens", "2 examples"), ["a"])
    build(recipe, tmp_path, sources)
    found = uses_of(tmp_path / "build")
    (cut,) = [i for i, _, n in found["p0", "x", 0] if n == 1]
    later = found["p1", "x", 0] + found.get(("p1", "x", 1), [])
    assert sum(start == 0 for _, start, _ in later) == 2 and all(n == 12 - start for _, start, n in later)
    assert [use for use in later if use[1]] in ([], [(cut, 1, 11)])
    manifest = read_manifest(tmp_path / "build" / "manifest.json")
    assert [p["budget"]["examples"] for p in manifest["phases"]] == [2, 2]


def test_the_first_component_that_is_in_the_phase_has_the_document(tmp_path):
    """Scores 0 to 9, ten tokens each: hq from 7 on, web all. In main there is web alone, in anneal both."""
    sources = {"a": [{**d, "score": i} for i, d in enumerate(documents_of("a", [10] * 10))]}
    components = {
        "hq": {"from": ["a"], "role": "other", "where": {"score": {"min": 7}}, "max_epochs": 2},
        "web": {"from": ["a"], "role": "other", "max_epochs": 2},
    }
    phases = {
        "main": {"total": "100 tokens", "components": {"web": "100 % of tokens"}},
        "anneal": {"total": "60 tokens", "sequence_length": 128, "components": {"hq": "30 tokens", "web": "50 % of tokens"}},
    }
    recipe = recipe_with(tmp_path, {"sequence_length": 64, "components": components, "phases": phases}, ["a"])
    build(recipe, tmp_path, sources)
    found = uses_of(tmp_path / "build")
    assert set(found) == {("main", "web", 0), ("anneal", "hq", 1), ("anneal", "web", 1)}  # pass 0 of both is consumed
    assert len(found["main", "web", 0]) == 10
    assert {i for i, _, _ in found["anneal", "hq", 1]} == {d["id"] for d in sources["a"][7:]}
    assert {i for i, _, _ in found["anneal", "web", 1]} < {d["id"] for d in sources["a"][:7]}
    hq, web = read_manifest(tmp_path / "build" / "manifest.json")["components"]
    assert (hq["documents"], web["documents"], [p["documents"] for p in web["phases"]]) == (3, 10, [10, 7])
    assert hq["where"] == {"score": {"min": 7.0, "missing": "fail"}} or hq["where"] == {"score": {"min": 7.0}}
    stream = Stream(tmp_path / "build" / "manifest.json")
    assert [stream.row(i).input_ids.size for i in range(stream.n_sequences)] == [64, 64, 128, 128]


def test_groups_share_what_the_group_has(tmp_path):
    sources = {name: documents_of(name, [10] * 50) for name in "abc"}
    english = {"budget": "40 % of tokens", "components": {
        "web": {"from": ["b"], "role": "replay", "budget": "75 % of tokens"},
        "books": {"from": ["c"], "role": "replay", "budget": "25 % of tokens"},
    }}  # fmt: skip
    components = {"et": {"from": ["a"], "role": "target", "budget": "60 % of tokens"}, "english": english}
    recipe = recipe_with(tmp_path, {"total": "500 tokens", "sequence_length": 32, "components": components}, list("abc"))
    build(recipe, tmp_path, sources)
    stated = read_manifest(tmp_path / "build" / "manifest.json")["components"]
    assert [(c["name"], c["group"], c["phases"][0]["tokens"]) for c in stated] == [
        ("et", "", 300), ("english/web", "english", 150), ("english/books", "english", 50)
    ]  # fmt: skip


def test_concat_rows_are_full_but_the_last_of_a_pass(tmp_path):
    """Of 30 documents of 50 tokens two epochs in rows of 64: 1500 tokens a pass, 24 rows, the last with 28 tokens."""
    sources = {"a": documents_of("a", [50] * 30)}
    mixture = phases_of({"max_epochs": 2}, "3000 tokens")
    mixture["phases"]["p0"]["packing"] = "concat"
    build(recipe_with(tmp_path, mixture, ["a"]), tmp_path, sources)
    stream = Stream(tmp_path / "build" / "manifest.json", verify=True)
    packing = stream.manifest["phases"][0]["packing"]
    assert packing["algorithm"] == "concat and chunk" and packing["cut"]["overlong_uses"] == 0
    assert [(p["sequences"], p["padding_tokens"]) for p in packing["passes"]] == [(24, 36), (24, 36)]
    assert sorted(stream.row(i).n_tokens for i in range(48)) == [28, 28] + [64] * 46
    assert packing["cut"]["documents_that_fit"] == sum(  # 64 r strictly inside a document, both passes
        2 * any(50 * i < 64 * r < 50 * (i + 1) for r in range(24)) for i in range(30)
    )
    rows = [stream.row(i) for i in range(48)]
    assert sum(r.n_loss_tokens for r in rows) == 2 * 30 * 49  # every token but a use's first is a label, across rows too


def test_lengths_that_leave_room_are_named(tmp_path):
    build(recipe_with(tmp_path, phases_of({}, "1200 tokens"), ["a"]), tmp_path, {"a": documents_of("a", [40] * 30)})
    (phase,) = read_manifest(tmp_path / "build" / "manifest.json")["phases"]
    # one document to a row of 64 where 1200 tokens would fit 19; three to a row of 128 are ten rows, and 1200 tokens need ten
    assert phase["packing"]["longer_rows"] == {"unavoidable_padding_tokens": 30 * 64 - 19 * 64, "sequence_length": 128}
    build(recipe_with(tmp_path, phases_of({}, "1200 tokens"), ["a"]), tmp_path, {"a": documents_of("a", [32] * 40)}, name="even")
    assert "longer_rows" not in read_manifest(tmp_path / "even" / "manifest.json")["phases"][0]["packing"]
