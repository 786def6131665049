"""verify where there are several phases, overlapping components, three units and earlier builds: sound builds count up, lies do not."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.manifest import read_manifest, write_manifest
from curate.store import digest, file_sha256, table_root
from mixture.sequences import WHAT
from mixture.verify import rows as rows_again
from tests.mixture.verified import build, check

# web has 19 documents kept; long: those of 20 bytes or more. In anneal long ones are hq's, in main they are web's.
TWO = """
held_out: {per_component: 60 tokens, at_most: 20 % of tokens}
mixture:
  sequence_length: 32
  components:
    hq: {from: [web], where: {n_bytes: {min: 20}}, role: target, max_epochs: 4}
    web: {from: [web, spare], role: target, max_epochs: 2.5}
    chat: {from: [chat], role: instruction, max_epochs: 2}
  phases:
    main: {total: 500 tokens, components: {web: 80 % of tokens, chat: 20 % of tokens}}
    anneal: {total: 300 tokens, sequence_length: 64, components: {hq: 60 % of tokens, web: 20 % of tokens, chat: 20 % of tokens}}
"""
UNITS = """
mixture:
  sequence_length: 32
  components:
    web: {from: [web], role: target, max_epochs: 3, copies: {by: n_bytes, table: {0: 1, 20: 2}}}
    chat: {from: [chat], role: instruction, max_epochs: 2}
  phases:
    labels: {total: 200 loss_tokens, components: {web: 70 % of loss_tokens, chat: 30 % of loss_tokens}}
    documents: {total: 20 examples, packing: concat, components: {web: 14 examples, chat: 6 examples}}
    rest: {total: 150 tokens, packing: concat, policy: proportional, components: [web, chat]}
"""
GROUPS = """
mixture:
  total: 400 tokens
  sequence_length: 16
  packing: concat
  components:
    ours: {budget: 75 % of tokens, components: {
      long: {from: [web], where: {n_bytes: {min: 25}}, role: target, budget: 40 % of tokens, max_epochs: 3},
      rest: {from: [spare, web], role: target, budget: 60 % of tokens, max_epochs: 3}}}
    chat: {from: [chat], role: instruction, budget: 25 % of tokens}
"""
SOUND = {"two": TWO, "units": UNITS, "groups": GROUPS}


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    root = tmp_path_factory.mktemp("phases")
    return {name: build(root, mixture, name) for name, mixture in SOUND.items()}


@pytest.fixture
def copy(builds, tmp_path):
    shutil.copytree(builds["two"].root, tmp_path / "copy")
    return SimpleNamespace(root=tmp_path / "copy", build=tmp_path / "copy" / "two")


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_build(builds, name):
    report = check(builds[name])
    assert report.ok, report.text()
    assert report.checked["sequences"] > 10


def sign(copy, name: str, change) -> None:
    """Changes a file of the build and signs it again, roots included: only counting finds it."""
    path = copy.build / name
    if name.endswith(".npy"):
        np.save(path, change(np.load(path)))
    else:
        pq.write_table(change(pq.read_table(path)), path)
    manifest = read_manifest(copy.build / "manifest.json")
    for output in manifest["outputs"]:
        if output["path"] == name:
            output |= {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    if name == "selection.parquet":
        what = [table_root(table.select(list(WHAT))) for table in rows_again._slices(path)]
        where = [table_root(table.drop(list(WHAT))) for table in rows_again._slices(path)]
        n = sum(phase["order"]["n_sequences"] for phase in manifest["phases"])
        manifest["roots"] |= {"selection": digest("selection", *what), "order": digest("order", str(n), *where)}
    write_manifest(copy.build / "manifest.json", manifest)


def column(table: pa.Table, name: str, change) -> pa.Table:
    """Every row's value of a column is change(row)."""
    field = table.schema.field(name)
    values = pa.array([change(row) for row in table.to_pylist()], field.type)
    return table.set_column(table.schema.get_field_index(name), field, values)


def said(copy) -> list[str]:
    return [str(finding) for finding in check(copy).findings]


def test_another_phase(copy):
    sign(copy, "selection.parquet", lambda t: column(t, "phase", lambda r: "main" if r["phase"] else None))
    assert any("phase is not that of sequences" in line for line in said(copy))


def manifest_of(copy, change) -> None:
    manifest = read_manifest(copy.build / "manifest.json")
    change(manifest)
    write_manifest(copy.build / "manifest.json", manifest)


@pytest.mark.parametrize(
    ("where", "key", "what"),
    [
        (("phases", 1, "order"), "first_index", "anneal: first_index"),
        (("phases", 1, "budget"), "padding", "anneal: padding"),
        (("phases", 1, "budget"), "loss_tokens", "anneal: loss_tokens"),
        (("phases", 1, "budget"), "examples", "anneal: examples"),
        (("phases", 0, "budget"), "requested", "main: requested"),
        (("phases", 0, "packing", "passes", 0), "sequences", "main, web: sequences of pass 0"),
        (("phases", 0, "packing", "passes", 0), "tokens", "tokens of pass 0"),
        (("phases", 0, "packing", "passes", 0), "unavoidable_padding_tokens", "unavoidable_padding_tokens of pass 0"),
        (("phases", 0, "packing", "cut"), "overlong_uses", "main: uses longer than a row"),
        (("components", 1, "phases", 0), "cap_tokens", "web in main: cap_tokens"),
        (("components", 1, "phases", 1), "requested", "web in anneal: requested"),
        (("components", 0, "phases", 0), "unique_tokens", "hq in anneal: unique_tokens"),
        (("components", 1, "phases", 1, "epochs"), "max", "web in anneal: epochs"),
        (("components", 1, "phases", 1, "over_budget"), "tokens", "web in anneal: over_budget"),
        (("components", 1, "phases", 1, "copies"), "2", "web in anneal: copies"),
        (("components", 1, "languages"), "et", "web: languages"),
        (("components", 1, "licences"), "MIT", "web: licences"),
        (("components", 1), "documents", "web: documents"),
        (("components", 1), "unique_loss_tokens", "web: unique_loss_tokens"),
        (("held_out", "tokens"), "chat", "chat: held-out tokens"),
        (("held_out", "documents"), "chat", "chat: held-out documents"),
    ],
)  # fmt: skip
def test_a_number_of_the_manifest(copy, where, key, what):
    """Every one that is stated is counted: one more, and it is named."""

    def change(manifest):
        at = manifest
        for step in where:
            at = at[step]
        at[key] += 1

    manifest_of(copy, change)
    lines = said(copy)
    assert lines and all(line.startswith("manifest.json: ") for line in lines if "sequences/" not in line), lines
    assert any(what in line for line in lines), lines


def test_a_word_of_the_manifest(copy):
    manifest_of(copy, lambda m: m["phases"][1]["budget"].update(policy="unimax", bent="bend_shares"))
    assert said(copy) == [
        "manifest.json: anneal: policy: stated unimax, counted again fixed",
        "manifest.json: anneal: bent: stated bend_shares, counted again ",
    ]


def test_who_is_used_when(copy):
    """One of equal length takes the place of the document that the seed puts into the last pass."""
    table = pq.read_table(copy.build / "selection.parquet")
    rows = [r for r in table.to_pylist() if r["phase"] == "main" and r["component"] == "web"]
    last = max(r["pass"] for r in rows)
    used = {r["id"] for r in rows if r["pass"] == last}
    out = [r for r in rows if r["pass"] == last - 1 and r["id"] not in used and r["n_chunks"] == 1]
    whole = [r for r in rows if r["pass"] == last and (r["n_chunks"], r["token_start"]) == (1, 0)]
    mine, other = next((a, b) for a in whole for b in out if a["n_tokens"] == b["n_tokens"])
    at, there = (table.to_pylist().index(row) for row in (mine, other))
    for name in ("id", "source"):
        table = column(
            table,
            name,
            lambda r, name=name: (
                other[name] if r["sequence"] == mine["sequence"] and r["position"] == mine["position"] else r[name]
            ),
        )
    sign(copy, "selection.parquet", lambda _: table)
    chunks = np.load(copy.build / "sequences" / "chunks.npy")
    chunks[at]["shard"], chunks[at]["start"] = chunks[there]["shard"], chunks[there]["start"]
    sign(copy, "sequences/chunks.npy", lambda _: chunks)
    lines = said(copy)
    left = f"selection.parquet [id {mine['id']}]: web in main, pass {last}: a document is left out whose turn it is"
    assert left in lines, lines


def test_a_build_that_goes_on(builds, tmp_path):
    """Ten rows of `two` were trained on: what they consumed counts, the rest of their documents' chunks is lost."""
    shutil.copytree(builds["two"].root, tmp_path / "root")
    more = """
mixture:
  total: 260 tokens
  sequence_length: 32
  continues: {manifest: two/manifest.json, rows: 10}
  components:
    web: {from: [web], role: target, budget: 200 tokens, max_epochs: 2}
    chat: {from: [chat], role: instruction, budget: 60 tokens, max_epochs: 2}
"""
    made = build(tmp_path / "root", more, "more")
    report = check(made)
    assert report.ok, report.text()
    manifest = read_manifest(made.build / "manifest.json")
    assert manifest["continues"][0]["rows"] == 10 and manifest["continues"][0]["uses"] > 5
    manifest_of(made, lambda m: m["continues"][0].update(uses=3))
    [finding] = check(made).findings
    assert finding.what.startswith("continues: uses of small: stated 3, counted again ")
    manifest_of(made, lambda m: m.update(continues=manifest["continues"]))
    shutil.rmtree(tmp_path / "root" / "two")
    [finding] = check(made).findings
    assert (finding.file, finding.at) == ("recipe.yaml", "mixture.continues.0")
    assert "cannot be counted again" in finding.what and "two" in finding.what


def test_a_receipt_of_another_stream(builds, tmp_path):
    shutil.copytree(builds["two"].root, tmp_path / "root")
    stream = read_manifest(tmp_path / "root" / "two" / "manifest.json")["roots"]["stream"]
    receipt = tmp_path / "root" / "receipt.json"
    receipt.write_text(json.dumps({"streams": [{"sequences": 4, "n_skipped": 0, "manifest": {"stream": stream}}]}))
    more = """
mixture:
  total: 100 tokens
  sequence_length: 32
  continues: {manifest: two/manifest.json, receipt: receipt.json}
  components:
    web: {from: [web], role: target, budget: 100 tokens, max_epochs: 2}
"""
    made = build(tmp_path / "root", more, "more")
    assert check(made).ok
    receipt.write_text(json.dumps({"streams": [{"sequences": 4, "n_skipped": 0, "manifest": {"stream": "0" * 64}}]}))
    [finding] = check(made).findings
    assert "another stream" in finding.what


def drawn(rng: np.random.Generator, old: bool) -> dict:
    """Some mixture over the sources: one to three phases in any unit, components that overlap, copies, groups, concat or best fit."""

    def pick(*values):
        return values[int(rng.integers(len(values)))]

    copies = [{}, {"copies": {"by": "n_bytes", "table": {0: int(rng.integers(1, 4)), 15: int(rng.integers(1, 4))}}}]
    components = {}
    for name in ("a", "b", "c")[: int(rng.integers(1, 4))]:
        some = ["web", "chat", "spare"] if name == "a" else ["web", "spare"]  # c takes what a and b leave, d the rest of chat
        sources = [str(s) for s in rng.permutation(some)[: int(rng.integers(1, len(some) + 1))]]
        where = {} if name == "c" else {"where": {"n_bytes": pick({"min": int(rng.integers(15, 30))}, {"below": 20})}}
        components[name] = {"from": sources, "role": "other", "max_epochs": pick(1, 1.5, 2, 3), **where, **pick(*copies)}
    components["d"] = {"from": ["chat"], "role": "other", "max_epochs": pick(2, 3)}
    phases = {}
    for name in ("one", "two", "three")[: int(rng.integers(1, 4))]:
        unit = pick("tokens", "tokens", "loss_tokens", "examples")
        named = [part for part in components if rng.random() < 0.8] or ["d"]
        shares = rng.multinomial(100, np.ones(len(named)) / len(named))
        phases[name] = {
            "total": f"{int(rng.integers(2, 8 if unit == 'examples' else 150))} {unit}", "sequence_length": pick(8, 16, 32, 64),
            "packing": pick("best_fit", "concat"), "on_shortage": pick("shrink_total", "bend_shares"),
            "components": {part: f"{share} % of {unit}" for part, share in zip(named, shares.tolist(), strict=True)},
        }  # fmt: skip
    used = {part for phase in phases.values() for part in phase["components"]}
    mixture = {"sequence_length": 32, "components": {part: c for part, c in components.items() if part in used}, "phases": phases}
    if old:
        mixture["continues"] = {"manifest": "old/manifest.json", "rows": int(rng.integers(0, 12))}
    held = {"held_out": {"per_component": "40 tokens", "at_most": "10 % of tokens"}} if rng.random() < 0.5 else {}
    return {**held, "mixture": mixture}


def random_builds(root, seed: int, n: int) -> tuple[int, list[str]]:
    """(builds that were possible, what verify said of them)."""
    import yaml

    from curate.errors import CurateError

    rng, made, said = np.random.default_rng(seed), 0, []
    build(root, TWO, "old")
    for i in range(n):
        text = yaml.safe_dump(drawn(rng, old=bool(i % 3 == 2)), sort_keys=False)
        try:
            done = build(root, text, f"b{i}")
        except CurateError as error:
            assert "mixture" in f"{error.what} {error.where} {error.found}", error
            continue
        report = check(done, fast=True)
        made += 1
        said += [] if report.ok else [f"{text}\n{report.text()}"]
    return made, said


def test_random_mixtures(tmp_path):
    made, said = random_builds(tmp_path, 1, 6)
    assert made >= 3 and not said, "\n".join(said)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_more_random_mixtures(tmp_path, seed):
    made, said = random_builds(tmp_path, seed, 40)
    assert made >= 15 and not said, "\n".join(said)


def lies(copy, rng: np.random.Generator):
    """(file, what was changed) for every number of the selection and of sequences/, one entry of each, signed; mended after each."""
    manifest = (copy.build / "manifest.json").read_bytes()
    table = pq.read_table(copy.build / "selection.parquet")
    names = ["selection.parquet", *(f"sequences/{name}.npy" for name in ("row_ptr", "chunks", "component", "order"))]
    for name in names:
        before = (copy.build / name).read_bytes()
        kinds = [field.name for field in table.schema] if name == "selection.parquet" else [None]
        kinds = ["shard", "start", "length", "document", "more"] if "chunks" in name else kinds
        for kind in kinds:
            for value in (-1, 0, 1, 7, 10**6):
                row = int(rng.integers(table.num_rows if kind else np.load(copy.build / name).size))

                def change(old, row=row, kind=kind, value=value):
                    if isinstance(old, pa.Table):
                        was = old[kind].to_pylist()
                        was[row] = f"{value:032x}" if isinstance(was[row], str) else value
                        field = old.schema.field(kind)
                        return old.set_column(old.schema.get_field_index(kind), field, pa.array(was, field.type))
                    old = old.copy()
                    target = old[kind] if kind else old
                    target[row] = np.array(value).astype(target.dtype)
                    return old

                old = table if name == "selection.parquet" else np.load(copy.build / name)
                new = change(old)
                if not (old.equals(new) if isinstance(old, pa.Table) else np.array_equal(old, new)):
                    sign(copy, name, lambda _, new=new: new)
                    yield f"{name} {kind or ''} {row} {value}"
                (copy.build / name).write_bytes(before)
                (copy.build / "manifest.json").write_bytes(manifest)


@pytest.mark.slow
def test_no_signed_number_slips_through_or_stops_the_check(copy):
    """Findings, never an exception."""
    n = 0
    for lie in lies(copy, np.random.default_rng(5)):
        report = check(copy, fast=True)
        assert not report.ok, lie
        n += 1
    assert n > 80


UNCOUNTED = ("tool_versions", "outputs", "lineage")  # files are hashed, stages compared with the store elsewhere
PROSE = ("padding", "end_of_document", "labels")  # of packing: sentences


def leaves(value, path=()):
    """(path, value) of every number and word in a manifest."""
    if isinstance(value, dict | list):
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(below, (*path, key))
    else:
        yield path, value


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two", "units"])
def test_every_leaf_of_the_manifest_is_counted(builds, tmp_path, name):
    """One more, or one letter more, and verify says so."""
    shutil.copytree(builds["two"].root, tmp_path / "copy")
    copy = SimpleNamespace(root=tmp_path / "copy", build=tmp_path / "copy" / name)
    manifest, slipped = read_manifest(copy.build / "manifest.json"), []
    for path, value in leaves(manifest):
        if path[0] in UNCOUNTED or (path[2:3] == ("packing",) and path[-1] in PROSE):
            continue

        def change(changed, path=path, value=value):
            at = changed
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = value + 1 if isinstance(value, int | float) else f"{value or ''}x"

        manifest_of(copy, change)
        slipped += [path] if check(copy, fast=True).ok else []
        write_manifest(copy.build / "manifest.json", manifest)
    assert not slipped
