"""The build: exact to the token on random recipes, layout-free roots, books that close, and no manifest unless all is written."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.manifest import read_manifest
from curate.schema import SELECTION
from curate.store import file_sha256
from mixture import build as build_module
from mixture.budget import Infeasible, exact
from mixture.policies import largest_remainder
from mixture.stream import START, Stream, advance
from tests.mixture.small_build import build, documents_of, name_of, recipe_of, write_tokens

TWO = {
    "x": {"from": ["a"], "budget": "70 % of tokens", "max_epochs": 2.5},
    "y": {"from": ["b", "c"], "budget": "30 % of tokens", "max_epochs": 1},
}


def three_sources(seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: documents_of(name, rng.integers(1, 150, n).tolist(), seed)
        for name, n in (("a", 60), ("b", 50), ("c", 40), ("d", 5))
    }


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    sources = three_sources()
    recipe = recipe_of(
        folder, TWO, 9000, 64, held_out={"per_component": "300 tokens", "at_most": "10 % of tokens"}, sources=list("abcd")
    )
    summary = build(recipe, folder, sources, n_shards=2)
    return folder / "build", sources, recipe, summary


def test_the_manifest_states_every_field(built):
    path, _, recipe, summary = built
    manifest = read_manifest(path / "manifest.json")
    assert set(manifest["roots"]) == {"components", "selection", "order", "stream"}
    assert manifest["recipe_sha256"] == recipe.sha256 == hashlib.sha256((path / "recipe.yaml").read_bytes()).hexdigest()
    assert manifest["phases"][0]["budget"]["requested"] == manifest["phases"][0]["budget"]["realised"] == 9000
    x, y = manifest["components"]
    assert x["phases"][0]["requested"] == x["phases"][0]["realised"] == 6300
    assert y["phases"][0]["realised"] == 2700
    assert x["licences"] == {"MIT": 6300} and y["languages"] == {"et": 2700}
    assert sum(x["phases"][0]["copies"].values()) == x["documents"]
    assert x["phases"][0]["epochs"]["max"] == -(-6300 // x["unique_tokens"])
    assert manifest["lineage"] == [{"stage": "tokens"}]
    assert summary["total"]["to_train"] == 9000 and summary["stream_root"] == manifest["roots"]["stream"]
    assert summary["components"][0]["share"] == 0.7


def test_outputs_list_every_file_with_its_hash(built):
    path = built[0]
    manifest = read_manifest(path / "manifest.json")
    for entry in manifest["outputs"]:
        file = path / entry["path"]
        assert (file.stat().st_size, file_sha256(file)) == (entry["bytes"], entry["sha256"])
    listed = {entry["path"] for entry in manifest["outputs"]}
    assert {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()} - listed == {"manifest.json"}
    assert sum(p.endswith("tokens.ds") for p in listed) == 8


def test_every_document_is_in_one_state(built):
    path, sources, _, summary = built
    rows = pq.read_table(path / "selection.parquet").to_pylist()
    selected = {r["id"] for r in rows if r["split"] == "train"}
    held = {r["id"] for r in rows if r["split"] == "held_out"}
    assert not selected & held
    for source, documents in sources.items():
        ids = {d["id"] for d in documents}
        expected = {
            "kept": len(ids), "selected": len(ids & selected), "held_out": len(ids & held),
            "over_budget": len(ids - selected - held) if source != "d" else 0, "no_component": 5 if source == "d" else 0,
            "left_out": 0,
        }  # fmt: skip
        assert summary["documents"][source] == expected
    assert summary["documents"]["b"]["over_budget"] > 0  # y needs a part of its documents only
    assert all(check["left"] == check["right"] for check in summary["checks"]) and len(summary["checks"]) > 10


def test_selection_is_sorted_and_agrees_with_the_sequences(built):
    path, _, _, _ = built
    table = pq.read_table(path / "selection.parquet")
    assert table.schema.equals(SELECTION)
    rows = table.to_pylist()
    rank = {"x": 0, "y": 1}
    keys = [(r["split"] != "train", rank[r["component"]], r["pass"], r["sequence"], r["position"]) for r in rows]
    assert keys == sorted(keys)
    assert {r["phase"] for r in rows if r["split"] == "train"} == {"main"}
    stream = Stream(path / "manifest.json")
    for i, r in enumerate(rows):
        chunk = stream._chunks[i]
        assert int(chunk["document"]) == i and int(chunk["length"]) == r["n_tokens"]
        if r["split"] == "train":
            assert stream.sequence_of(r["stream_index"]) == r["sequence"]


def test_passes_follow_each_other_and_the_interleave_keeps_shares(built):
    path = built[0]
    rows = pq.read_table(path / "selection.parquet").to_pylist()
    by_index = {r["stream_index"]: (r["component"], r["pass"]) for r in rows if r["split"] == "train"}
    n = len(by_index)
    assert sorted(by_index) == list(range(n))
    for component in ("x", "y"):
        passes = [p for i in range(n) for c, p in [by_index[i]] if c == component]
        assert passes == sorted(passes)
        total, seen = len(passes), 0
        for i in range(n):
            seen += by_index[i][0] == component
            assert abs((i + 1) * total - seen * n) < n


def test_rebuild_is_byte_identical(built, tmp_path):
    _, sources, recipe, _ = built
    build(recipe, tmp_path, sources)
    first = files_of(tmp_path / "build")
    (tmp_path / "build" / "sequences" / ".chunks.npy.tmp").write_bytes(b"left by a killed run")
    (tmp_path / "build" / ".manifest.json.0a1b2c3d").write_bytes(b"left by a killed run")
    build_again(recipe, tmp_path, sources, read_manifest(tmp_path / "build" / "manifest.json"))
    assert files_of(tmp_path / "build") == first


def build_again(recipe, folder, sources, old):
    """Over the token shards of the first build, with the facts of its manifest."""
    tables, _, patterns = write_tokens(folder / "scratch", recipe, sources)
    shards = sorted((folder / "tokens-build").rglob("tokens.ds"), key=lambda p: int(p.parent.name.rsplit("-", 1)[1]))
    build_module.plan_and_pack(
        recipe, tables, shards, folder / "build", tokenizer=old["tokenizer"], token_bytes=2, lineage=old["lineage"],
        patterns=patterns,
    )  # fmt: skip


def test_layout_changes_no_root_and_no_row(built, tmp_path):
    path, sources, recipe, _ = built
    roots = read_manifest(path / "manifest.json")["roots"]
    selection = (path / "selection.parquet").read_bytes()
    for n_shards, token_bytes in ((1, 2), (3, 4), (7, 2)):
        name = f"b{n_shards}"
        shuffled = {name: list(reversed(d)) for name, d in sources.items()}  # rows of a table in another order
        build(recipe, tmp_path, shuffled, n_shards=n_shards, token_bytes=token_bytes, name=name)
        assert read_manifest(tmp_path / name / "manifest.json")["roots"] == roots
        assert (tmp_path / name / "selection.parquet").read_bytes() == selection


def test_seed_and_content_change_the_roots(built, tmp_path):
    path, sources, _, _ = built
    old = read_manifest(path / "manifest.json")["roots"]
    other = recipe_of(
        tmp_path,
        TWO,
        9000,
        64,
        held_out={"per_component": "300 tokens", "at_most": "10 % of tokens"},
        seed=2,
        sources=list("abcd"),
    )
    build(other, tmp_path, sources)
    new = read_manifest(tmp_path / "build" / "manifest.json")["roots"]
    assert all(new[name] != old[name] for name in old)
    recipe = built[2]
    sources["a"][3]["tokens"][0] ^= 1
    try:
        build(recipe, tmp_path, sources, name="flipped")
    finally:
        sources["a"][3]["tokens"][0] ^= 1
    flipped = read_manifest(tmp_path / "flipped" / "manifest.json")["roots"]
    assert flipped["stream"] != old["stream"] and flipped["selection"] == old["selection"]


def test_held_out_takes_whole_clusters_within_the_limit(tmp_path):
    sources = {"a": documents_of("a", [10] * 200), "b": documents_of("b", [10] * 100)}
    for group, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (3, 3)] * 5):  # twenty clusters over both sources
        i, j = 4 * group + i, 4 * group + j
        sources["a"][i]["cluster_id"] = sources["b"][j]["cluster_id"] = name_of("cluster", group)
    components = {n: {"from": [n], "budget": "500 tokens"} for n in "ab"}
    recipe = recipe_of(tmp_path, components, 1000, 32, held_out={"per_component": "400 tokens", "at_most": "15 % of tokens"})
    build(recipe, tmp_path, sources)
    manifest = read_manifest(tmp_path / "build" / "manifest.json")
    assert manifest["held_out"]["tokens"] == {"a": 300, "b": 150}  # 15 % of 2000 and of 1000: filled, documents are equal
    held = {r["id"] for r in pq.read_table(tmp_path / "build" / "selection.parquet").to_pylist() if r["split"] == "held_out"}
    for documents in sources.values():
        assert {d["cluster_id"] for d in documents if d["id"] in held} - {None} == {
            d["cluster_id"] for d in [*sources["a"], *sources["b"]] if d["id"] in held and d["cluster_id"]
        }
    clusters = Counter(d["cluster_id"] for d in [*sources["a"], *sources["b"]] if d["id"] in held and d["cluster_id"])
    assert clusters and set(clusters.values()) == {2}


def test_a_large_cluster_is_passed_over_not_cut(tmp_path):
    sources = {"a": documents_of("a", [50] * 40)}
    for d in sources["a"][:10]:
        d["cluster_id"] = name_of("large")
    recipe = recipe_of(
        tmp_path,
        {"a": {"from": ["a"], "budget": "100 tokens"}},
        100,
        32,
        held_out={"per_component": "120 tokens", "at_most": "50 % of tokens"},
    )
    build(recipe, tmp_path, sources)
    held = {r["id"] for r in pq.read_table(tmp_path / "build" / "selection.parquet").to_pylist() if r["split"] == "held_out"}
    assert len(held) == 2 and not held & {d["id"] for d in sources["a"][:10]}


def test_infeasible_leaves_no_manifest_and_removes_the_old_one(built, tmp_path):
    _, sources, recipe, _ = built
    build(recipe, tmp_path, sources)
    assert (tmp_path / "build" / "manifest.json").exists()
    short = recipe_of(tmp_path, TWO, 900_000, 64, sources=list("abcd"))
    with pytest.raises(Infeasible, match="not enough tokens"):
        build(short, tmp_path, sources, name="build2")
    tables, shards, patterns = write_tokens(tmp_path / "more", short, sources)
    facts = {"tokenizer": {}, "token_bytes": 2, "lineage": [], "patterns": patterns}
    with pytest.raises(Infeasible):
        build_module.plan_and_pack(short, tables, shards, tmp_path / "build", **facts)
    assert not (tmp_path / "build" / "manifest.json").exists() and not (tmp_path / "build2" / "manifest.json").exists()


@pytest.mark.parametrize("step", ["write_sequences", "write_selection", "write_manifest"])
def test_a_build_that_dies_leaves_no_manifest_and_the_next_is_the_same(built, tmp_path, monkeypatch, step):
    _, sources, recipe, _ = built
    build(recipe, tmp_path, sources)
    whole = files_of(tmp_path / "build")

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build_module, step, die)
        with pytest.raises(KeyboardInterrupt):
            tables, shards, patterns = write_tokens(tmp_path / "dying", recipe, sources)
            facts = {"tokenizer": {}, "token_bytes": 2, "lineage": [], "patterns": patterns}
            build_module.plan_and_pack(recipe, tables, shards, tmp_path / "build", **facts)
    assert not (tmp_path / "build" / "manifest.json").exists()
    build_again(recipe, tmp_path, sources, json.loads(whole["manifest.json"]))
    assert files_of(tmp_path / "build") == whole


def test_documents_without_tokens_are_in_no_component(tmp_path):
    sources = {"a": documents_of("a", [10, 0, 10, 0, 10])}
    summary = build(recipe_of(tmp_path, {"a": {"from": ["a"], "budget": "1 epochs"}}, 30, 16), tmp_path, sources)
    assert summary["documents"]["a"] == {
        "kept": 5,
        "selected": 3,
        "over_budget": 0,
        "held_out": 0,
        "no_component": 2,
        "left_out": 0,
    }


def random_case(seed, folder):
    """Sources of adversarial lengths and a recipe whose budgets add up and fit their caps."""
    rng = np.random.default_rng(seed)
    n_components = int(rng.integers(1, 5))
    length = int(rng.choice([8, 17, 64, 256]))
    laws = [
        lambda n: rng.integers(1, 12, n), lambda n: rng.integers(1, 4 * length, n), lambda n: np.full(n, length),
        lambda n: np.full(n, length + 1), lambda n: np.maximum(1, rng.lognormal(3, 1.3, n)).astype(int),
        lambda n: np.ones(n, int),
    ]  # fmt: skip
    sources, components, unique = {}, {}, {}
    for c in range(n_components):
        names = [f"s{c}{k}" for k in range(int(rng.integers(1, 3)))]
        for name in names:
            sources[name] = documents_of(name, laws[int(rng.integers(len(laws)))](int(rng.integers(1, 40))).tolist(), seed)
        rng.shuffle(names)
        unique[f"c{c}"] = sum(len(d["tokens"]) for name in names for d in sources[name])
        cap = float(rng.choice([1.0, 1.5, 2.0, 7.0]))
        most = int(exact(cap) * unique[f"c{c}"] // 1)
        tokens = int(rng.choice([rng.integers(1, most + 1), most, min(most, unique[f"c{c}"])]))
        components[f"c{c}"] = {"from": names, "budget": f"{tokens} tokens", "max_epochs": cap}
    total = sum(int(c["budget"].split()[0]) for c in components.values())
    on_shortage = "fail"
    if rng.random() < 0.5:  # shares: in thousandths, so that rounding has work to do
        cuts = np.sort(rng.integers(0, 1001, n_components - 1))
        for c, share in zip(components.values(), np.diff([0, *cuts, 1000]), strict=True):
            c["budget"] = f"{share / 10:.1f} % of tokens"
        on_shortage = "shrink_total"
    held_out = {"per_component": "200 tokens", "at_most": "20 % of tokens"} if rng.random() < 0.5 else None
    if held_out:
        on_shortage = "shrink_total"
    return sources, recipe_of(folder, components, total, length, held_out=held_out, seed=int(seed), on_shortage=on_shortage)


@pytest.mark.parametrize("seed", range(60))
def test_tokens_in_the_stream_are_the_apportionment_of_the_recipe(seed, tmp_path):
    """Promise 4 and 8, from the rows the stream gives and from the selection, each counted again."""
    sources, recipe = random_case(seed, tmp_path)
    try:
        build(recipe, tmp_path, sources, n_shards=1 + seed % 3, token_bytes=4 if seed % 2 else 2)
    except Infeasible:
        assert recipe.mixture.on_shortage == "shrink_total"  # not a token left of some component
        assert not (tmp_path / "build" / "manifest.json").exists()
        return
    stream = Stream(tmp_path / "build" / "manifest.json", verify=True)
    manifest = stream.manifest
    rows = pq.read_table(tmp_path / "build" / "selection.parquet").to_pylist()
    by_id = {d["id"]: d for documents in sources.values() for d in documents}

    # the recipe's own arithmetic, from held-out rows and documents
    held = {r["id"] for r in rows if r["split"] == "held_out"}
    unique = {
        name: sum(len(d["tokens"]) for s in c.from_ for d in sources[s] if d["id"] not in held)
        for name, c in recipe.mixture.leaves.items()
    }  # fmt: skip
    asked = [
        c.budget.value * recipe.mixture.total.count if c.budget.unit == "share_of_tokens" else c.budget.value
        for c in recipe.mixture.leaves.values()
    ]  # fmt: skip
    caps = [int(exact(c.max_epochs) * unique[name] // 1) for name, c in recipe.mixture.leaves.items()]
    total = min(
        [recipe.mixture.total.count, *(int(Fraction(cap) * sum(asked) / q // 1) for cap, q in zip(caps, asked, strict=True) if q)]
    )
    targets = largest_remainder([q * total / sum(asked) for q in asked], total)

    # the stream: tokens by component, running hash, balance of passes
    trained, running = [0] * len(stream.components), START
    for i in range(stream.n_sequences):
        row = stream.row(i)
        trained[row.component] += row.n_tokens
        running = advance(running, row.row_hash)
        assert row.n_tokens == (row.document >= 0).sum() <= stream.phases[0].sequence_length
    assert trained == targets == [c["phases"][0]["realised"] for c in manifest["components"]]
    assert running.hex() == manifest["roots"]["stream"] == manifest["stream_checkpoints"][-1]["sha256"]
    assert manifest["phases"][0]["budget"]["realised"] == total

    # every use: from the first token on, whole but for one per component; k or k + 1 uses, never above ceil(cap)
    for c, (name, component) in enumerate(recipe.mixture.leaves.items()):
        mine = [r for r in rows if r["split"] == "train" and r["component"] == name]
        used, uses, in_part = Counter(), Counter(), 0
        for r in mine:
            used[r["id"], r["pass"]] += r["n_tokens"]
            uses[r["id"]] += r["chunk"] == 0
        for (document, _), tokens in used.items():
            in_part += tokens < len(by_id[document]["tokens"])
        assert in_part <= 1
        chosen = [d["id"] for s in component.from_ for d in sources[s] if d["id"] not in held]
        copies = [uses[document] for document in chosen]
        if copies:
            assert max(copies) - min(copies) <= 1 and max(copies) <= -(-exact(component.max_epochs) // 1)
            assert manifest["components"][c]["phases"][0]["copies"] == {str(k): n for k, n in sorted(Counter(copies).items())}
        for r in mine:
            length = len(by_id[r["id"]]["tokens"])
            assert r["n_chunks"] == 1 or length > stream.phases[0].sequence_length  # nothing that fits is cut


def test_padding_is_stated_per_component_and_pass(built):
    path, _, _, summary = built
    manifest = read_manifest(path / "manifest.json")
    stream = Stream(path / "manifest.json")
    passes = manifest["phases"][0]["packing"]["passes"]
    assert sum(p["sequences"] for p in passes) == stream.n_sequences
    assert (
        sum(p["padding_tokens"] for p in passes)
        == manifest["phases"][0]["budget"]["padding"]
        == summary["total"]["padding_tokens"]
    )
    assert (
        sum(stream.phases[0].sequence_length - stream.row(i).n_tokens for i in range(stream.n_sequences))
        == summary["total"]["padding_tokens"]
    )
    for p in passes:
        least = p["unavoidable_padding_tokens"]
        assert least <= p["padding_tokens"] <= least + 2 * stream.phases[0].sequence_length
