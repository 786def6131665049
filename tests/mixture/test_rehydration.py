"""Copies in the mixture: m_d uses in an epoch, spread, exact to the token; and verify recounts them.

`reference_*` is the specification of selection.py written again with Python's integers.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.copies import bin_of
from curate.manifest import read_manifest, write_manifest
from curate.membership import membership
from mixture import account, budget, order, selection
from mixture.names import read
from tests import command
from tests.mixture import verified
from tests.mixture.small_build import build, documents_of, name_of, recipe_of
from tests.mixture.test_budget import applied, plan

MASK = 2**64 - 1
TABLE = {1: 1, 2: 2, 3: 3, 5: 5, 100: 8, 1000: 1}
FINEWEB2 = {"by": "cluster_size", "origin": "recipe", "bins": [{"from": a, "copies": n} for a, n in TABLE.items()]}


def mix64(z: int) -> int:
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def reference_offset(id_: str, per_epoch: int, key: int) -> int:
    high, low = int(id_[:16], 16), int(id_[16:], 16)
    return mix64((mix64(high ^ key) + low) & MASK) % per_epoch


def reference_passes(
    ids: list[str], lengths: list[int], copies: list[int], target: int, seed: int
) -> list[list[tuple[str, int]]]:
    """[(id, tokens used)] per pass."""
    most, passes = max(copies), []
    key = order.key(seed, "copies", "main", "x")
    while target:
        p = len(passes)
        members = []
        for id_, n, m in zip(ids, lengths, copies, strict=True):
            o = reference_offset(id_, most, key) if most > 1 else 0
            if (p + 1 + o) * m // most > (p + o) * m // most:
                members.append((id_, n))
        found = []
        for i in order.permutation(len(members), order.key(seed, "documents", "main", "x", str(p))).tolist():
            id_, n = members[i]
            found.append((id_, min(n, target)))
            target -= min(n, target)
            if not target:
                break
        passes.append(found)
    return passes


def documents(lengths: list[int], copies: list[int]) -> selection.Documents:
    """Of one source a and one component x; every number of copies is a bin of its own."""
    kinds = sorted(set(copies))
    table = pa.table({
        "id": sorted(name_of("d", i) for i in range(len(lengths))), "cluster_id": pa.nulls(len(lengths), pa.string()), "n_tokens": lengths,
        "n_loss_tokens": lengths, "shard": [0] * len(lengths), "token_start": [0] * len(lengths),
        "language": pa.nulls(len(lengths), pa.string()), "license": pa.nulls(len(lengths), pa.string()),
        "pattern": [kinds.index(m) for m in copies],
    })  # fmt: skip
    return selection.documents({"a": table}, {"x": ["a"]}, [((0, i),) for i in range(len(kinds))], {"x": kinds})


def passes(docs: selection.Documents, target: int, seed: int) -> list[selection.Use]:
    """Of component x in a first phase of tokens, with as many epochs as it takes."""
    state = selection.State.fresh(docs.n)
    found = selection.part(docs, state, 0, np.arange(docs.n), Fraction(10), "tokens")
    return selection.passes(docs, state, found, target, seed, "main")


DOCS = st.lists(st.tuples(st.integers(1, 60), st.sampled_from([1, 1, 2, 3, 5, 7, 8, 10])), min_size=1, max_size=40)


@given(DOCS, st.fractions(0, 3), st.integers(0, 2**40))
@settings(max_examples=100, deadline=None)
def test_uses_are_exact_spread_and_as_specified(rows, epochs, seed):
    lengths, copies = [n for n, _ in rows], [m for _, m in rows]
    epoch = sum(n * m for n, m in rows)
    target = int(epochs * epoch)
    docs = documents(lengths, copies)
    uses = passes(docs, target, seed)
    ids = docs.id.text().to_pylist()
    found = [[(ids[d], int(n)) for d, n in zip(use.documents, use.n_tokens, strict=True)] for use in uses]
    assert found == reference_passes(ids, lengths, copies, target, seed)
    assert [use.pass_ for use in uses] == list(range(len(uses)))
    assert sum(n for use in found for _, n in use) == target
    assert sum(n < lengths[ids.index(d)] for use in found for d, n in use) <= 1
    whole, rest = divmod(target, epoch)
    counted = Counter(d for use in found for d, _ in use)
    most = max(copies)
    for d, m in zip(ids, copies, strict=True):
        assert whole * m <= counted[d] <= (whole + (rest > 0)) * m
    so_far: Counter = Counter()
    for number, use in enumerate(found[:-1]):  # after any P passes: floor or ceiling of P m / M
        assert len({d for d, _ in use}) == len(use)
        so_far.update(d for d, _ in use)
        for d, m in zip(ids, copies, strict=True):
            share = Fraction((number + 1) * m, most)
            assert share // 1 <= so_far[d] <= -(-share // 1)


def test_no_part_of_an_epoch_is_of_one_kind():
    """Of 4,000 documents a tenth has 8 copies. Every pass, the last one too, holds its share of both kinds."""
    rng = np.random.default_rng(1)
    copies = np.where(rng.random(4000) < 0.1, 8, 1)
    docs = documents([10] * 4000, copies.tolist())
    epoch = int(10 * copies.sum())
    uses = passes(docs, epoch, 5)
    assert len(uses) == 8
    n_single = int((copies == 1).sum())
    for use in uses:
        single = int((copies[use.documents] == 1).sum())
        assert abs(single - n_single / 8) < 6 * np.sqrt(n_single / 8)  # hashes, not an even split
        assert int((copies[use.documents] == 8).sum()) == int((copies == 8).sum())


def test_offsets_by_hand():
    ids = ["0" * 32, "f" * 32, "0123456789abcdef" * 2]
    key = selection.copies_key(42, "main", "et")
    assert selection.offsets(read(pa.array(ids)), 8, key).tolist() == [reference_offset(i, 8, key) for i in ids]
    assert selection.offsets(read(pa.array(ids)), 1, key).tolist() == [0, 0, 0]
    # 3 of 8: of 8 passes in a row three, as far from each other as can be
    held = [bool(selection.stands_in(np.array([3]), np.array([0]), 8, p)[0]) for p in range(16)]
    assert held == [False, False, True, False, False, True, False, True] * 2


# --- the planner --------------------------------------------------------------------------------------------------------

COMPONENTS = st.lists(
    st.tuples(st.integers(1, 10**5), st.integers(0, 10**4), st.integers(0, 7), st.sampled_from([1, 1.5, 2, 7, 1.01])),
    min_size=1, max_size=6,
)  # fmt: skip


@given(COMPONENTS)
@settings(max_examples=200, deadline=None)
def test_suggestions_work_over_epochs_with_copies(rows):
    """Tokens asked, unique tokens, how much longer an epoch is, cap."""
    asked = [(f"c{i}", f"{t} tokens", cap) for i, (t, _, _, cap) in enumerate(rows)]
    total, unique = sum(t for t, _, _, _ in rows), [u for _, u, _, _ in rows]
    epoch = [u * (1 + more) + (more * 7 if u else 0) for _, u, more, _ in rows]
    try:
        done = plan(asked, total, unique, epoch=epoch)
    except budget.Infeasible as error:
        for change in error.suggestions:
            again, new_total, how = applied(asked, total, change)
            assert plan(again, new_total, unique, how, epoch).total <= total
        for name, short in error.short.items():
            i = int(name[1:])
            cap, enough = budget.exact(asked[i][2]), epoch[i] + short["needs_unique"]
            assert cap * enough // 1 >= rows[i][0] > cap * (enough - 1) // 1
    else:
        assert done.caps == [int(budget.exact(cap) * e // 1) for (_, _, cap), e in zip(asked, epoch, strict=True)]
        assert all(t <= cap for t, cap in zip(done.targets, done.caps, strict=True))


def test_an_epoch_counts_copies_and_the_message_says_both():
    asked = [("et", "2 epochs", 2), ("en", "50 tokens", 1)]
    assert plan(asked, 530, [100, 50], epoch=[240, 50]).targets == [480, 50]
    with pytest.raises(
        budget.Infeasible, match="en asks 50 tokens, has 20 unique, with copies 45 an epoch, 1 epochs allow 45"
    ) as caught:
        plan(asked, 530, [100, 20], epoch=[240, 45])
    assert caught.value.short == {"en": {"requested": 50, "cap": 45, "needs_unique": 5}}


# --- whole builds -------------------------------------------------------------------------------------------------------


def with_bins(documents: list[dict], sizes: list[int]) -> list[dict]:
    """Documents in the bins that FineWeb2's table gives clusters of these sizes."""
    return [{**d, "bin": int(i)} for d, i in zip(documents, bin_of(np.array(sizes, float), list(TABLE)), strict=True)]


@given(
    st.lists(st.tuples(st.integers(1, 90), st.sampled_from([1, 1, 1, 2, 3, 4, 50, 100, 2000])), min_size=2, max_size=30),
    st.integers(1, 99), st.sampled_from([1, 1.5, 3]), st.integers(0, 10**6),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_recount_is_manifest_is_recipe(tmp_path_factory, rows, percent, cap, seed):
    folder = tmp_path_factory.mktemp("copies")
    times = [TABLE[max(a for a in TABLE if a <= size)] for _, size in rows]
    a, b = documents_of("a", [n for n, _ in rows]), documents_of("b", [20] * 10)
    sources = {"a": with_bins(a, [size for _, size in rows]), "b": b}
    lengths, times_of = {d["id"]: len(d["tokens"]) for d in [*a, *b]}, dict(zip((d["id"] for d in a), times, strict=True))
    epoch = sum(lengths[i] * m for i, m in times_of.items())
    asked = max(1, int(budget.exact(cap) * epoch) * percent // 100)
    components = {
        "x": {"from": ["a"], "budget": f"{asked} tokens", "max_epochs": cap, "copies": {"table": TABLE}},
        "y": {"from": ["b"], "budget": "150 tokens"},
    }
    recipe = recipe_of(folder, components, asked + 150, 32, seed=seed)
    summary = build(recipe, folder, sources, copies={"x": FINEWEB2})
    assert all(check["left"] == check["right"] for check in summary["checks"])
    manifest = read_manifest(folder / "build" / "manifest.json")
    used = pq.read_table(folder / "build" / "selection.parquet").to_pylist()
    of_x = [row for row in used if row["component"] == "x"]
    assert sum(row["n_tokens"] for row in of_x) == asked
    uses = Counter(row["id"] for row in of_x if row["chunk"] == 0)
    x, y = manifest["components"]
    stated, phase = x["copies_per_epoch"], x["phases"][0]
    assert "copies_per_epoch" not in y and sum(row["n_tokens"] for row in used if row["component"] == "y") == 150
    assert (stated["epoch_tokens"], stated["passes"]) == (epoch, max(times))
    assert phase["copies"] == {str(k): n for k, n in sorted(Counter(uses[i] for i in times_of).items())}
    whole, most = asked // epoch, -(-asked // epoch)
    assert most <= -(-budget.exact(cap) // 1)
    assert all(whole * m <= uses[i] <= most * m for i, m in times_of.items())
    epochs = [Fraction(uses[i], m) for i, m in times_of.items()]
    assert phase["epochs"] == {"min": min(epochs) // 1, "mean": round(asked / epoch, 6), "max": -(-max(epochs) // 1)}
    for number, bin_ in enumerate(stated["bins"]):
        mine = [d["id"] for d in sources["a"] if d["bin"] == number]
        assert bin_["documents"] == len(mine) and bin_["tokens"] == sum(lengths[i] for i in mine)
        assert bin_["trained_tokens"] == sum(row["n_tokens"] for row in of_x if row["id"] in set(mine))
    # no two copies in one row or pass; no row of pass p + 1 before one of pass p
    assert max(Counter((row["id"], row["pass"], row["chunk"]) for row in of_x).values()) == 1
    in_order = [row["pass"] for row in sorted(of_x, key=lambda row: row["stream_index"])]
    assert in_order == sorted(in_order)
    in_pass: Counter = Counter()
    for row in of_x:
        in_pass[row["id"], row["pass"]] += row["n_tokens"]
    reached = {i: max((n for (j, _), n in in_pass.items() if j == i), default=0) for i in times_of}
    assert phase["over_budget"]["tokens"] == sum(lengths[i] - reached[i] for i in times_of)


def test_one_copy_each_is_the_build_without_copies(tmp_path):
    sources = {"a": documents_of("a", list(range(1, 60)))}
    plain = recipe_of(tmp_path, {"x": {"from": ["a"], "budget": "2.5 epochs", "max_epochs": 3}}, 59 * 30 * 5 // 2, 64)
    build(plain, tmp_path, sources, name="plain")
    once = {**FINEWEB2, "bins": [{"from": 1, "copies": 1}]}
    build(plain, tmp_path, {"a": [{**d, "bin": 0} for d in sources["a"]]}, name="once", copies={"x": once})
    names = sorted(p.name for p in (tmp_path / "plain" / "sequences").iterdir())
    for name in ["selection.parquet", *(f"sequences/{n}" for n in names if n != "shards.json")]:
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "once" / name).read_bytes()
    a, b = (read_manifest(tmp_path / name / "manifest.json") for name in ("plain", "once"))
    assert a["roots"] == b["roots"] and "copies_per_epoch" not in json.dumps(a)
    assert b["components"][0].pop("copies_per_epoch")["passes"] == 1 and a["components"] == b["components"]


# --- verify -------------------------------------------------------------------------------------------------------------

MIXTURE = """
held_out: {per_component: 100 tokens, at_most: 20 % of tokens}
mixture:
  total: 1000 tokens
  sequence_length: 64
  components:
    et: {from: [web], role: target, budget: 700 tokens, max_epochs: 3, copies: {table: {1: 1, 2: 3}}}
    chat: {from: [chat], role: instruction, budget: 300 tokens, max_epochs: 2}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return verified.build(tmp_path_factory.mktemp("rehydrated"), MIXTURE)


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made.root, tmp_path / "copy")
    return SimpleNamespace(root=tmp_path / "copy", build=tmp_path / "copy" / "build")


def findings(where) -> str:
    return verified.check(where).text()


def test_a_sound_build_with_copies(made):
    assert findings(made).startswith("everything counts up: ")
    stated = read_manifest(made.build / "manifest.json")["components"][0]["copies_per_epoch"]
    assert stated["passes"] == 3
    one, cluster = stated["bins"]
    assert one == {"from": 1, "copies": 1, "documents": 14, "tokens": 219, "trained_tokens": 420}  # three of 19 are held out
    assert cluster == {"from": 2, "copies": 3, "documents": 2, "tokens": 52, "trained_tokens": 280}
    assert stated["epoch_tokens"] == 219 + 3 * 52


def test_verify_cannot_do_without_the_stages(made):
    with pytest.raises(ValueError, match="copies"):
        verified.check(made, membership=None)


def test_other_copies_than_the_recipe_says(copy, monkeypatch):
    def other(recipe, folders):
        found = membership(recipe, folders)
        bins = [{"from": 1, "copies": 1}, {"from": 2, "copies": 2}]
        return replace(found, copies={"et": {**found.copies["et"], "bins": bins}})

    monkeypatch.setattr(verified, "membership", other)
    verified.build(copy.root, MIXTURE)
    monkeypatch.undo()
    said = findings(copy)
    assert "et: copies_per_epoch.bins" in said and "et: copies_per_epoch.epoch_tokens" in said


def test_a_document_used_too_often(copy, monkeypatch):
    monkeypatch.setattr(selection, "stands_in", lambda copies, offset, per_epoch, number: np.ones(copies.size, bool))
    monkeypatch.setattr(account, "checks", lambda *args: [])  # which would not let such a build be
    verified.build(copy.root, MIXTURE.replace("700 tokens", "400 tokens").replace("1000 tokens", "700 tokens"))
    monkeypatch.undo()
    said = findings(copy)
    assert "of another component or pass" in said and "its copies are 1" in said


@pytest.mark.parametrize("key", ["documents", "tokens", "trained_tokens", "copies"])
def test_a_number_of_the_manifest_that_is_not_so(copy, key):
    manifest = read_manifest(copy.build / "manifest.json")
    manifest["components"][0]["copies_per_epoch"]["bins"][0][key] += 1
    write_manifest(copy.build / "manifest.json", {k: v for k, v in manifest.items() if k != "self"})
    assert "et: copies_per_epoch.bins" in findings(copy)


def test_copies_the_recipe_knows_nothing_of(copy):
    manifest = read_manifest(copy.build / "manifest.json")
    manifest["components"][1]["copies_per_epoch"] = manifest["components"][0]["copies_per_epoch"]
    write_manifest(copy.build / "manifest.json", {k: v for k, v in manifest.items() if k != "self"})
    assert "chat: copies_per_epoch" in findings(copy)


# --- the command line, on texts with natural duplicates -----------------------------------------------------------------

NATURAL = """
kind: cpt
name: natural
roots: {{data: {data}}}
tokenizer: {{model: {top}/recipes/quickstart/tokenizer, eos: per_document}}
sources:
  wiki: {{read: "{{data}}/et_text/wiki_et_versions.jsonl.zst", language: et, license: {{declared: CC-BY-SA-3.0}}}}
  tara: {{read: "{{data}}/et_text/tara_doku.jsonl.zst", language: et, license: {{declared: CC0-1.0}}, fields: {{extra: meta}}}}
rules:
  - {{signal: language, equals: [et]}}
dedup: {{near: {{jaccard: 0.5}}}}
mixture:
  total: 800k tokens
  sequence_length: 1024
  components:
    wiki: {{from: [wiki], role: target, budget: 60 % of tokens, max_epochs: 2, copies: {{preset: fineweb2}}}}
    tara:
      from: [tara]
      role: target
      budget: 40 % of tokens
      copies: {{from: filter_rate, bins: [1, 2, 3, 5, 100, 1000]}}
  on_shortage: shrink_total
"""


@pytest.mark.slow
def test_on_the_command_line(data, tmp_path):
    (tmp_path / "recipe.yaml").write_text(NATURAL.format(data=data, top=command.TOP))
    done = command.build(tmp_path / "recipe.yaml", tmp_path)
    assert "wiki: copies by cluster_size (preset fineweb2/rehydration): 1 for 1" in done.stdout
    assert "tara: copies by cluster_size (filter_rate, at most 10): " in done.stdout
    [head] = [line.split() for line in done.stdout.splitlines() if line.startswith("component")]
    assert head == ["component", "requested", "to", "train", "share", "unique", "copies", "epochs", "cap"]
    manifest = read_manifest(tmp_path / "build" / "manifest.json")
    for component in manifest["components"]:
        stated = component["copies_per_epoch"]
        assert stated["epoch_tokens"] == sum(b["tokens"] * b["copies"] for b in stated["bins"]) > component["unique_tokens"]
    checked = command.curate("verify", tmp_path / "build")
    assert checked.returncode == 0, checked.stdout
    assert "preset fineweb2/rehydration" in command.curate("stats", tmp_path / "build").stdout
    shown = command.curate(
        "sql", tmp_path / "build", "select component, max(judged) from copies group by 1 order by 1", "--csv"
    ).stdout
    assert [line.split(",")[0] for line in shown.split()[1:]] == ["tara", "wiki"] and shown.split()[2] == "wiki,"
    tokens = sorted(p.name for p in (tmp_path / "store" / "tokens").iterdir())
    other = command.curate("what-if", tmp_path / "build", "mixture.components.wiki.copies.table.2=9", "mixture.on_shortage=fail")
    assert other.returncode == 0 and "wiki: with its copies an epoch is" in other.stdout, other.stderr
    again = command.build(tmp_path / "recipe.yaml", tmp_path, "--set", "mixture.components.wiki.copies.table.2=4")
    assert "4 for 2" in again.stdout and "set here" in again.stdout
    assert sorted(p.name for p in (tmp_path / "store" / "tokens").iterdir()) == tokens  # nothing is tokenized again
    assert command.curate("verify", tmp_path / "build").returncode == 0
