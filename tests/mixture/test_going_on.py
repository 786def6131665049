"""Going on from earlier builds: what was consumed counts, to the token, whatever the new recipe is; what does not belong is refused."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.errors import CurateError
from curate.manifest import read_manifest, write_manifest
from mixture import going_on
from mixture.budget import Infeasible
from mixture.stream import Stream
from tests.mixture.reference import Model, random_mixture, random_sources, with_budgets
from tests.mixture.small_build import build, documents_of, name_of, recipe_with
from tests.mixture.test_phases import check, check_caps, made, phases_of, uses_of


def consume(model: Model, folder, n_rows: int) -> dict:
    """Count the first rows of a stream into `model`, from its chunks; what was lost of the uses that were begun."""
    stream = Stream(folder / "manifest.json")
    rows = pq.read_table(folder / "selection.parquet").to_pylist()
    seen = {int(c["document"]) for i in range(n_rows) for c in stream.chunks(stream.sequence_of(i))}
    uses = defaultdict(list)
    for number, r in enumerate(rows):
        if r["split"] == "held_out":
            model.held_before.add(r["id"])
        else:
            uses[r["phase"], r["component"], r["pass"], r["id"]].append(number)
    lost = {"chunks": 0, "tokens": 0}
    for (*_, id_), numbers in uses.items():
        consumed = [rows[n] for n in numbers if n in seen]
        if consumed:
            model.used[id_] += min(rows[n]["token_start"] for n in numbers) == 0
            lost["chunks"] += len(numbers) - len(consumed)
            lost["tokens"] += sum(rows[n]["n_tokens"] for n in numbers if n not in seen)
        model.consumed["tokens"][id_] += sum(r["n_tokens"] for r in consumed)
        model.consumed["loss_tokens"][id_] += sum(r["n_loss_tokens"] for r in consumed)
    model.consumed["examples"].update(model.used)
    return lost


def receipt_of(folder, n_rows: int, **more) -> str:
    """A receipt as train writes it, as far as it matters here."""
    stream = read_manifest(folder / "manifest.json")["roots"]["stream"]
    path = folder / f"receipt-{n_rows}.json"
    path.write_text(
        json.dumps(
            {
                "kind": "receipt",
                "streams": [{"sequences": n_rows, "n_skipped": 0, "manifest": {"stream": stream}}],
                "differences": [],
                **more,
            }
        )
    )
    return str(path)


def later(rng: np.random.Generator, sources: dict, time: int) -> dict:
    """The documents of a later time: some gone, new ones in old and new sources."""
    length = int(rng.choice([8, 17, 64]))
    new = random_sources(rng, length, "abcde", time)
    kept = {name: [d for d in documents if rng.random() < 0.9] for name, documents in sources.items()}
    return {
        name: sorted([*kept.get(name, []), *new.get(name, [])], key=lambda d: d["id"]) for name in dict.fromkeys([*kept, *new])
    }


def bins_of(copies: dict) -> dict:
    return {name: {"by": "quality", "origin": "table", "bins": [{"from": i, "copies": n} for i, n in enumerate(times)]}
            for name, times in copies.items()}  # fmt: skip


@pytest.mark.parametrize("seed", range(1000, 1040))
def test_what_was_consumed_counts(seed, tmp_path):
    """Build, consume part of it, build another mixture over other documents that goes on, and a third that goes on from both."""
    rng = np.random.default_rng(seed)
    recipe, model, _, copies = made(seed, tmp_path)
    if recipe is None:
        return
    build(recipe, tmp_path, model.sources, copies=copies, name="b0")
    begin, continues, losses, sources = Model(recipe, model.sources), [], [], model.sources
    for turn in (1, 2):
        old = tmp_path / f"b{turn - 1}"
        n = Stream(old / "manifest.json").n_sequences
        n_rows = int(rng.choice([rng.integers(0, n + 1), n, 1]))
        losses.append(consume(begin, old, n_rows))
        how = {"rows": n_rows} if rng.random() < 0.5 else {"receipt": receipt_of(old, n_rows)}
        continues.append({"manifest": str(old / "manifest.json"), **how})
        sources = later(rng, sources, turn)
        mixture, times = random_mixture(rng, sources, 17)
        mixture["continues"] = continues if turn == 2 else continues[0]  # a list of one may be left out
        held_out = {"per_component": "60 tokens", "at_most": "20 % of tokens"} if rng.random() < 0.5 else None
        recipe, model, due = with_budgets(rng, tmp_path, mixture, sources, times, held_out, seed, begin)
        if recipe is None:
            return
        build(recipe, tmp_path, sources, copies=bins_of(times), name=f"b{turn}")
        new = tmp_path / f"b{turn}"
        uses, manifest = check(new, model, due)
        check_caps(model, uses, manifest, begin)
        assert not model.held & {id_ for id_, n in begin.used.items() if n}
        assert [{k: c[k] for k in ("name", "rows", "lost")} for c in manifest["continues"]] == [
            {"name": "small", "rows": old["rows"] if "rows" in old else n_rows_of(old), "lost": lost}
            for old, lost in zip(continues, losses, strict=True)
        ]  # fmt: skip
        for stated, entry in zip(manifest["continues"], continues, strict=True):
            stream = Stream(entry["manifest"])
            tokens = dict.fromkeys(stream.components, 0)
            for i in range(stated["rows"]):
                row = stream.row(i)
                tokens[stream.components[row.component]] += row.n_tokens
            assert stated["tokens"] == tokens and stated["stream"] == stream.manifest["roots"]["stream"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1040, 1240))
def test_what_was_consumed_counts_in_hundreds(seed, tmp_path):
    test_what_was_consumed_counts(seed, tmp_path)


def n_rows_of(entry: dict) -> int:
    with open(entry["receipt"]) as file:
        return json.load(file)["streams"][0]["sequences"]


# --- by hand -----------------------------------------------------------------------------------------------------------


def goes_on(folder, old, total, *, seed=1, phase="p1", **how):
    mixture = phases_of({"max_epochs": 2}, total)
    mixture["phases"] = {phase: mixture["phases"].pop("p0")}
    mixture["continues"] = {"manifest": str(folder / old / "manifest.json"), **how}
    return recipe_with(folder, mixture, ["a"], seed=seed)


@pytest.fixture
def first(tmp_path):
    """Ten documents of 40 tokens, one a row of 64; 310 tokens: seven whole and one in part."""
    sources = {"a": documents_of("a", [40] * 10)}
    build(recipe_with(tmp_path, phases_of({"max_epochs": 2}, "310 tokens"), ["a"]), tmp_path, sources, name="old")
    return tmp_path, sources


def test_ten_billion_tokens_more(first):
    """The stream stops after five of eight rows: five documents have one use, the other five none, and 600 tokens are left."""
    folder, sources = first
    stream = Stream(folder / "old" / "manifest.json")
    rows = pq.read_table(folder / "old" / "selection.parquet").to_pylist()
    done = {rows[int(c["document"])]["id"] for i in range(5) for c in stream.chunks(stream.sequence_of(i))}
    consumed = sum(stream.row(i).n_tokens for i in range(5))
    recipe = goes_on(folder, "old", "200 tokens", receipt=receipt_of(folder / "old", 5))
    build(recipe, folder, sources)
    found = uses_of(folder / "build")
    assert set(found) == {("p1", "x", 0)} and {i for i, _, _ in found["p1", "x", 0]} == {d["id"] for d in sources["a"]} - done
    manifest = read_manifest(folder / "build" / "manifest.json")
    assert manifest["components"][0]["phases"][0]["cap_tokens"] == 600  # fifteen uses, of a cut one nothing
    assert manifest["components"][0]["phases"][0]["copies"] == {"1": 10}
    assert manifest["continues"] == [{
        "name": "small", "stream": stream.manifest["roots"]["stream"], "rows": 5, "tokens": {"x": consumed}, "uses": 5,
        "lost": {"chunks": 0, "tokens": 0}, "gone": {"documents": 0, "tokens": 0},
    }]  # fmt: skip
    with pytest.raises(Infeasible):
        build(goes_on(folder, "old", "601 tokens", rows=5), folder, sources, name="more")
    build(goes_on(folder, "old", "600 tokens", rows=5), folder, sources, name="enough")


def test_a_use_that_was_begun_is_not_begun_again(tmp_path):
    """One document of 100 tokens in rows of 64: two rows. After the first its other chunk is lost, and its next use is its second."""
    sources = {"a": documents_of("a", [100])}
    build(recipe_with(tmp_path, phases_of({"max_epochs": 2}, "100 tokens"), ["a"]), tmp_path, sources, name="old")
    build(goes_on(tmp_path, "old", "100 tokens", rows=1), tmp_path, sources)
    manifest = read_manifest(tmp_path / "build" / "manifest.json")
    assert manifest["continues"][0]["lost"] == {"chunks": 1, "tokens": 50} and manifest["continues"][0]["uses"] == 1
    assert manifest["components"][0]["phases"][0]["copies"] == {"2": 1}
    assert [r["pass"] for r in pq.read_table(tmp_path / "build" / "selection.parquet").to_pylist()] == [1, 1]
    with pytest.raises(Infeasible):  # 150 tokens of two epochs are not consumed, but the passes left hold 100
        build(goes_on(tmp_path, "old", "101 tokens", rows=1), tmp_path, sources, name="more")


def test_going_on_from_a_whole_build_is_its_next_phase(tmp_path):
    """Where no use was cut, a second build goes on as a second phase of the same name would."""
    sources = {"a": documents_of("a", np.random.default_rng(5).integers(1, 60, 50).tolist())}
    both = phases_of({"max_epochs": 2}, "30 examples", "45 examples")
    build(recipe_with(tmp_path, both, ["a"]), tmp_path, sources, name="both")
    build(recipe_with(tmp_path, phases_of({"max_epochs": 2}, "30 examples"), ["a"]), tmp_path, sources, name="old")
    n = Stream(tmp_path / "old" / "manifest.json").n_sequences
    build(goes_on(tmp_path, "old", "45 examples", rows=n), tmp_path, sources, name="new")
    what = ["component", "id", "pass", "chunk", "token_start", "n_tokens", "position"]
    rows = {name: pq.read_table(tmp_path / name / "selection.parquet").to_pylist() for name in ("both", "new")}
    assert [{k: r[k] for k in what} for r in rows["both"] if r["phase"] == "p1"] == [{k: r[k] for k in what} for r in rows["new"]]
    streams = [Stream(tmp_path / name / "manifest.json") for name in ("both", "new")]
    for i in range(streams[1].n_sequences):
        assert streams[0].row(n + i).row_hash == streams[1].row(i).row_hash


def test_held_out_stays_held_out_and_trained_is_never_held_out(tmp_path):
    """Ten documents of ten tokens. 20 tokens are held out; later the limit is 60, a clone of a held-out document has come, and one of a
    document that was trained on."""
    documents = documents_of("a", [10] * 10)
    for i, d in enumerate(documents):
        d["cluster_id"] = name_of("cluster", i)
    held_out = {"per_component": "20 tokens", "at_most": "50 % of tokens"}
    build(recipe_with(tmp_path, phases_of({}, "60 tokens"), ["a"], held_out), tmp_path, {"a": documents}, name="old")
    rows = pq.read_table(tmp_path / "old" / "selection.parquet").to_pylist()
    held = sorted(r["id"] for r in rows if r["split"] == "held_out")
    trained = {r["id"] for r in rows if r["split"] == "train"}  # one row of 64
    assert len(held) == 2 and len(trained) == 6
    cluster = {d["id"]: d["cluster_id"] for d in documents}
    clones = [
        {**d, "cluster_id": c}
        for d, c in zip(documents_of("clones", [10] * 2), (cluster[held[0]], cluster[min(trained)]), strict=True)
    ]
    sources = {"a": sorted([*documents, *clones], key=lambda d: d["id"])}
    mixture = phases_of({"max_epochs": 2}, "10 tokens")
    mixture["continues"] = {"manifest": str(tmp_path / "old" / "manifest.json"), "rows": 1}
    more = {"per_component": "60 tokens", "at_most": "50 % of tokens"}
    build(recipe_with(tmp_path, mixture, ["a"], more), tmp_path, sources)
    now = {r["id"] for r in pq.read_table(tmp_path / "build" / "selection.parquet").to_pylist() if r["split"] == "held_out"}
    # the two, the first one's clone, and both documents that no row held yet; not the clone of what was trained on
    assert now == {*held, clones[0]["id"], *(d["id"] for d in documents if d["id"] not in trained and d["id"] not in held)}
    # without held_out: those from before stay it
    build(recipe_with(tmp_path, mixture, ["a"]), tmp_path, sources, name="none")
    again = {r["id"] for r in pq.read_table(tmp_path / "none" / "selection.parquet").to_pylist() if r["split"] == "held_out"}
    assert again == {*held, clones[0]["id"]}


def test_documents_that_are_gone_are_counted(first):
    folder, sources = first
    rows = pq.read_table(folder / "old" / "selection.parquet").to_pylist()
    left = {"a": [d for d in sources["a"] if d["id"] not in {rows[0]["id"], rows[1]["id"]}]}
    build(goes_on(folder, "old", "200 tokens", rows=8), folder, left)
    (stated,) = read_manifest(folder / "build" / "manifest.json")["continues"]
    assert stated["gone"] == {"documents": 2, "tokens": rows[0]["n_tokens"] + rows[1]["n_tokens"]} and stated["uses"] == 8


@pytest.mark.parametrize(("how", "says"), [
    ({"rows": 9}, "0 to 8"), ({"receipt": "none.json"}, "no such receipt"), ({"receipt": "old/recipe.yaml"}, "no receipt of a run"),
])  # fmt: skip
def test_what_does_not_belong_is_refused(first, how, says):
    folder, sources = first
    with pytest.raises(CurateError, match=says):
        build(goes_on(folder, "old", "10 tokens", **how), folder, sources)


def test_a_build_does_not_go_on_from_the_one_it_replaces(first):
    folder, _ = first
    facts = {"sha256": "0" * 64}
    recipe = goes_on(folder, "old", "10 tokens", rows=1)
    going_on.check(recipe, facts, folder / "new")
    with pytest.raises(CurateError, match="the one it replaces"):
        going_on.check(recipe, facts, folder / "new" / ".." / "old")
    with pytest.raises(CurateError, match="tokenizer it began with"):
        going_on.check(recipe, {"sha256": "1" * 64}, folder / "new")


def test_a_receipt_of_another_stream_is_refused(first):
    folder, sources = first
    build(goes_on(folder, "old", "10 tokens", rows=1, seed=2), folder, sources, name="other")
    recipe = goes_on(folder, "old", "10 tokens", receipt=receipt_of(folder / "other", 1))
    with pytest.raises(CurateError, match="another stream"):
        build(recipe, folder, sources)
    differs = receipt_of(folder / "old", 2, differences=["what entered the model differs from the stream"])
    with pytest.raises(CurateError, match="not what its manifest planned"):
        build(goes_on(folder, "old", "10 tokens", receipt=differs), folder, sources, name="differs")


def test_another_tokenizer_or_a_damaged_selection_is_refused(first):
    folder, sources = first
    shutil.copytree(folder / "old", folder / "theirs")
    manifest = read_manifest(folder / "theirs" / "manifest.json")
    manifest["tokenizer"]["sha256"] = "1" * 64
    write_manifest(folder / "theirs" / "manifest.json", manifest)
    with pytest.raises(CurateError, match="tokenizer it began with"):
        build(goes_on(folder, "theirs", "10 tokens", rows=1), folder, sources)
    path = folder / "old" / "selection.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(CurateError, match="not the one that its manifest lists"):
        build(goes_on(folder, "old", "10 tokens", rows=1), folder, sources, name="b2")
    path.unlink()
    with pytest.raises(CurateError, match="without the old selection"):
        build(goes_on(folder, "old", "10 tokens", rows=1), folder, sources, name="b3")


def test_what_the_old_build_went_on_from_must_be_listed_too(first):
    folder, sources = first
    build(goes_on(folder, "old", "200 tokens", rows=5), folder, sources, name="second")
    with pytest.raises(CurateError, match="itself goes on from small"):
        build(goes_on(folder, "second", "10 tokens", rows=1, phase="p2"), folder, sources)
