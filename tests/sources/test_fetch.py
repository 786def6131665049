"""`curate fetch`: mirrored from a web server, the hub's API and S3, resumed in the middle of a file, held against what the origin says."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import documents, engine
from curate.errors import CurateError
from curate.recipe.places import Mirror
from curate.sources import list_files
from curate.sources.places import fetch as room
from curate.sources.places.fetch import fetch
from curate.store import Store, file_sha256
from tests.sources.making import lines, pack, recipe
from tests.sources.origins import Hub, Web, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER = "f" * 40
TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(room, "WAIT_S", 0.0)
    monkeypatch.setattr(room, "LISTING_WAITS_S", (0.0,))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def web():
    with serving(Web()) as found:
        yield found


@pytest.fixture
def hub(monkeypatch):
    with serving(Hub()) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


def rows(n, seed=0):
    chance = random.Random(seed)
    return b"".join(lines({"text": f"row {seed} {i} {chance.random()}"}) for i in range(n))


def of(folder, *patterns, **block):
    return recipe(folder, {"s": {"read": list(patterns), **block} if patterns else block})


def test_a_web_server_is_mirrored_and_built_from_without_it(tmp_path, web):
    web.files = {f"/d/part-{i:02d}.jsonl": rows(20, i) for i in range(4)}
    made = of(tmp_path, f"{web.url}/d/part-{{00..03}}.jsonl")
    found = fetch(made)
    assert (found.n_files, len(found.fetched), found.n_bytes) == (4, 4, sum(map(len, web.files.values())))
    root = made.mirror.root
    host = web.url.removeprefix("http://")
    assert (root / "http" / host / "d/part-02.jsonl").read_bytes() == web.files["/d/part-02.jsonl"]
    entry = Mirror(root).files[f"http/{host}/d/part-02.jsonl"]
    data = web.files["/d/part-02.jsonl"]
    assert entry == (
        entry.path,
        f"{web.url}/d/part-02.jsonl",
        len(data),
        web.etag("/d/part-02.jsonl"),
        hashlib.sha256(data).hexdigest(),
    )
    again = of(tmp_path, f"{web.url}/d/part-{{00..03}}.jsonl")
    assert [f.name for f in list_files(again, again.sources["s"])] == [f"part-{i:02d}.jsonl" for i in range(4)]
    sent = web.bytes_of("/d/part-02.jsonl")
    assert fetch(again).fetched == [] and web.bytes_of("/d/part-02.jsonl") <= sent + 1  # only asked whether it changed
    again.check_places()
    stage = documents.ingest(Store(tmp_path / "store"), again, 1)["s"]
    (tmp_path / "local").mkdir()
    for name, data in web.files.items():
        (tmp_path / "local" / Path(name).name).write_bytes(data)
    local = documents.ingest(Store(tmp_path / "other"), of(tmp_path, "local/*"), 1)["s"]
    assert stage.root == local.root and stage.fingerprint == local.fingerprint


def test_an_answer_that_breaks_off_is_gone_on_with(tmp_path, web):
    web.files = {"/a.jsonl": rows(60_000)}
    size = len(web.files["/a.jsonl"])
    web.break_after, web.n_breaks = size // 5, 3
    found = fetch(of(tmp_path, f"{web.url}/a.jsonl"))
    assert (
        found.n_files == 1
        and Mirror(tmp_path / "mirror").files[found.fetched[0]].sha256 == hashlib.sha256(web.files["/a.jsonl"]).hexdigest()
    )
    begins = [begin for _, begin, n in web.sent if n > 1]
    assert begins[0] == 0 and all(a < b for a, b in itertools.pairwise(begins)) and len(begins) == 4
    assert web.bytes_of("/a.jsonl") == size + 1  # each byte once, and one to ask


def test_a_broken_run_leaves_a_part_and_the_next_goes_on_in_the_middle(tmp_path, web, monkeypatch):
    web.files = {"/a.jsonl": rows(60_000)}
    size = len(web.files["/a.jsonl"])
    web.break_after, web.n_breaks = size // 3, 1
    made = of(tmp_path, f"{web.url}/a.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(room._Part, "go_on", stopping(room._Part.go_on))
        with pytest.raises(CurateError, match="broke off"):
            fetch(made)
    part = next((tmp_path / "mirror").rglob(".a.jsonl.part"))
    assert part.stat().st_size == size // 3 and not list((tmp_path / "mirror").rglob("a.jsonl"))
    web.sent.clear()
    found = fetch(made)
    assert found.fetched_bytes == size - size // 3 == web.bytes_of("/a.jsonl") - 1
    assert not list((tmp_path / "mirror").rglob(".*"))


def stopping(go_on):
    """An Unreachable ends the file at once, as many of them would."""

    def once(self, *args):
        try:
            return go_on(self, *args)
        except room.Unreachable as error:
            self.save()
            raise CurateError(str(error)) from error

    return once


@pytest.mark.parametrize("harm", ["part", "origin", "no_ranges", "no_etag"])
def test_a_part_that_cannot_be_gone_on_with_starts_over(tmp_path, web, monkeypatch, harm):
    web.files = {"/a.jsonl": rows(30_000)}
    size = len(web.files["/a.jsonl"])
    web.has_etags = harm != "no_etag"
    web.break_after, web.n_breaks = size // 3, 1
    made = of(tmp_path, f"{web.url}/a.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(room._Part, "go_on", stopping(room._Part.go_on))
        with pytest.raises(CurateError):
            fetch(made)
    part = next((tmp_path / "mirror").rglob(".a.jsonl.part"))
    if harm == "part":
        data = bytearray(part.read_bytes())
        data[100] ^= 1
        part.write_bytes(data)
    if harm == "origin":
        web.files["/a.jsonl"] = rows(30_000, seed=1)
    web.knows_ranges = harm != "no_ranges"
    found = fetch(made)
    assert (tmp_path / "mirror" / found.fetched[0]).read_bytes() == web.files["/a.jsonl"]
    assert found.fetched_bytes == len(web.files["/a.jsonl"])


def test_what_changed_at_its_origin_is_an_error_until_it_is_asked_for(tmp_path, web):
    web.files = {"/a-0.jsonl": rows(20), "/a-1.jsonl": rows(20, 1)}
    made = of(tmp_path, f"{web.url}/a-{{0..1}}.jsonl")
    fetch(made)
    before = {path: file_sha256(path) for path in (tmp_path / "mirror").rglob("a-*")}
    web.files["/a-1.jsonl"] += rows(3, 2)
    with pytest.raises(CurateError, match="changed at the origin") as caught:
        fetch(made)
    assert "a-1.jsonl" in str(caught.value) and "--update" in str(caught.value)
    assert {path: file_sha256(path) for path in before} == before
    found = fetch(made, update=True)
    assert found.changed == found.fetched and len(found.fetched) == 1
    assert (tmp_path / "mirror" / found.fetched[0]).read_bytes() == web.files["/a-1.jsonl"]
    assert len(fetch(made).fetched) == 0


def test_damage_in_the_mirror_stops_a_build_and_is_mended(tmp_path, web):
    web.files = {"/a.jsonl": rows(20)}
    made = of(tmp_path, f"{web.url}/a.jsonl")
    path = tmp_path / "mirror" / fetch(made).fetched[0]
    data = path.read_bytes()
    path.write_bytes(data.replace(b"row 0 7", b"row 0 8"))
    fresh = of(tmp_path, f"{web.url}/a.jsonl")
    fresh.check_places()  # the size is right
    with pytest.raises(CurateError, match="their sha256 is another"):
        documents.ingest(Store(tmp_path / "store"), fresh, 1)
    assert fetch(made).damaged == []  # unless asked, files are not read again
    assert fetch(made, verify=True).damaged == [path.relative_to(tmp_path / "mirror").as_posix()]
    assert path.read_bytes() == data
    path.write_bytes(data[:100])
    with pytest.raises(CurateError, match="1 of 1 files are not there"):
        of(tmp_path, f"{web.url}/a.jsonl").check_places()
    fetch(made)
    assert path.read_bytes() == data


def test_all_that_cannot_be_had_is_named_and_the_rest_is_here(tmp_path, web, hub):
    web.files = {"/a.jsonl": rows(20)}
    web.refuses = {"/b.jsonl": (403, {})}
    made = recipe(tmp_path, {
        "a": {"read": f"{web.url}/a.jsonl"}, "b": {"read": f"{web.url}/b.jsonl"}, "c": {"read": f"{web.url}/c.jsonl"},
        "d": {"hub": "o/none", "revision": COMMIT},
    })  # fmt: skip
    with pytest.raises(CurateError) as caught:
        fetch(made)
    said = str(caught.value)
    assert (
        "3 things could not be fetched" in said
        and "~/.netrc" in said
        and "c.jsonl: 404" in said
        and "o/none" in said
        and "hf auth login" in said
    )
    assert [path.name for path in (tmp_path / "mirror").rglob("*.jsonl") if path.name != "mirrored.jsonl"] == ["a.jsonl"]


def test_schemes_that_are_not_there(tmp_path):
    for url, said in (("s4://b/x.jsonl", "no such scheme"), ("hf://datasets/o/n/x.jsonl", "hub: owner/name")):
        with pytest.raises(CurateError, match=said):
            fetch(of(tmp_path, url))


# the hub


def parquet(n, seed=0):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": [f"text {seed} {i}" for i in range(n)], "id": [f"{seed}-{i}" for i in range(n)]}), sink)
    return sink.getvalue().to_pybytes()


def web_dataset():
    configs = b"configs:\n- config_name: ekk_Latn\n  data_files:\n  - split: train\n    path: data/ekk_Latn/train/*\n"
    card = b"---\nlicense: odc-by\n" + configs + b"---\n# Texts\n"
    return {
        "README.md": card, "data/ekk_Latn/train/000.parquet": parquet(30), "data/ekk_Latn/train/001.parquet": parquet(20, 1),
        "data/fin_Latn/train/000.parquet": parquet(10, 2), ".gitattributes": b"x",
    }  # fmt: skip


def test_a_dataset_of_the_hub_is_mirrored_by_config_and_split(tmp_path, hub, monkeypatch):
    hub.add("o/web", COMMIT, web_dataset())
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    made = of(tmp_path, hub="o/web", config="ekk_Latn", revision=COMMIT)
    found = fetch(made)
    assert found.fetched == [f"hub/o/web/{COMMIT}/data/ekk_Latn/train/{i}.parquet" for i in ("000", "001")]
    assert "Bearer hf_secret" in hub.tokens
    fresh = of(tmp_path, hub="o/web", config="ekk_Latn", revision=COMMIT)
    assert [f.name for f in list_files(fresh, fresh.sources["s"])] == [f"data/ekk_Latn/train/{i}.parquet" for i in ("000", "001")]
    assert documents.ingest(Store(tmp_path / "store"), fresh, 1)["s"].info()["counts"]["n_documents"] == 50
    asked = len(hub.headers)
    assert fetch(fresh).fetched == [] and len(hub.headers) == asked  # of a commit that is here nobody is asked
    assert "hf_secret" not in (tmp_path / "mirror/mirrored.jsonl").read_text()


def test_small_files_are_held_against_gits_sha1(tmp_path, hub):
    data = rows(20)
    hub.add("o/t", COMMIT, {"train.jsonl": data})
    assert fetch(of(tmp_path, hub="o/t", revision=COMMIT)).n_files == 1
    hub.entry = lambda path, content: {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
    with pytest.raises(CurateError, match=r"git's sha1 .* expected"):
        fetch(of(tmp_path / "2", hub="o/t", revision=COMMIT))
    hub.entry = lambda path, content: {
        **Hub.entry(path, content),
        "lfs": {"oid": "1" * 64, "size": len(content), "pointerSize": 1},
    }
    with pytest.raises(CurateError, match=r"sha256 .*, 1{64} expected"):
        fetch(of(tmp_path / "3", hub="o/t", revision=COMMIT))
    assert not list((tmp_path / "3").rglob("train.jsonl"))


@pytest.mark.parametrize("revision", [None, "main", "v1"])
def test_a_floating_revision_is_an_error_with_the_line_to_write(tmp_path, hub, revision):
    hub.add("o/t", LATER, {"train.jsonl": rows(3)})
    hub.add("o/t", COMMIT, {"train.jsonl": rows(3)}, branch=revision or "main")
    made = of(tmp_path, hub="o/t", **({"revision": revision} if revision else {}))
    with pytest.raises(CurateError, match=f"write revision: {COMMIT}") as caught:
        fetch(made)
    assert "sources.s.revision" in str(caught.value)
    with pytest.raises(CurateError, match="curate fetch RECIPE"):
        made.files(made.sources["s"])


def test_gated_and_unknown_datasets_say_what_to_do(tmp_path, hub):
    hub.add("o/closed", COMMIT, {"train.parquet": parquet(3)})
    hub.gated.add("o/closed")
    with pytest.raises(CurateError) as caught:
        fetch(of(tmp_path, hub="o/closed", revision=COMMIT))
    said = str(caught.value)
    assert "gated" in said and f"{hub.url}/datasets/o/closed" in said and "hf auth login" in said and "accept its licence" in said
    wrong = (
        ({"hub": "o/nix", "revision": COMMIT}, "no such dataset"), ({"hub": "o/closed", "revision": LATER}, "no such revision"),
        ({"hub": "o/closed", "revision": COMMIT, "split": "tset"}, "no split 'tset'"), ({"hub": "a b", "revision": COMMIT}, "no id"),
    )  # fmt: skip
    for block, part in wrong:
        with pytest.raises(CurateError, match=part):
            fetch(of(tmp_path, **block))


def test_offline_nobody_is_asked(tmp_path, hub, monkeypatch):
    import huggingface_hub.constants as constants

    hub.add("o/t", COMMIT, {"train.jsonl": rows(5)})
    made = of(tmp_path, hub="o/t", revision=COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CurateError, match="HF_HUB_OFFLINE is set"):
        fetch(made)
    assert hub.headers == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    fetch(made)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.headers)
    assert fetch(made).n_files == 1 and len(hub.headers) == asked


def test_inspect_source_of_a_dataset_reads_the_beginning_and_proposes_its_commit(tmp_path, hub):
    from curate.sources.places.look import look_at

    chance = random.Random(3)
    table = pa.table(
        {
            "text": [f"Lause number {i}, {chance.randbytes(200).hex()}." for i in range(20_000)],
            "url": [f"http://a/{i}" for i in range(20_000)],
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=5_000, data_page_size=1 << 16)
    files = web_dataset() | {"data/ekk_Latn/train/000.parquet": sink.getvalue().to_pybytes()}
    hub.add("o/web", COMMIT, files)
    found = look_at("o/web", config="ekk_Latn")
    size = len(files["data/ekk_Latn/train/000.parquet"])
    sent = sum(n for path, _, n in hub.sent if path.startswith("/cdn/"))
    assert sent < size / 4  # less than the first of four row groups
    assert found.source["hub"] == "o/web" and found.source["revision"] == COMMIT and found.source["config"] == "ekk_Latn"
    assert (found.format, found.n_files, found.documents_estimate) == ("parquet", 2, round(20_000 / size * found.total_bytes))
    assert any("odc-by" in note for note in found.notes) and "read" not in found.source
    block = {key: value for key, value in found.source.items() if key != "license"}
    fetch(made := of(tmp_path, **block))
    assert [f.name for f in list_files(made, made.sources["s"])] == [f"data/ekk_Latn/train/{i}.parquet" for i in ("000", "001")]


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_inspect_source_of_a_url(tmp_path, web, packed):
    from curate.sources.places.look import LOOK_BYTES, look_at

    chance = random.Random(4)
    data = b"".join(lines({"text": f"row {i:06d} {chance.randbytes(40).hex()}", "id": f"{i:06d}"}) for i in range(40_000))
    web.files = {f"/a.jsonl{packed}": pack(tmp_path / f"a.jsonl{packed}", data).read_bytes()}
    found = look_at(f"{web.url}/a.jsonl{packed}")
    assert found.source["read"] == f"{web.url}/a.jsonl{packed}" and found.bad == {} and found.n_files == 1
    assert web.bytes_of(f"/a.jsonl{packed}") <= LOOK_BYTES + 1 < len(web.files[f"/a.jsonl{packed}"])
    assert found.documents_estimate == pytest.approx(40_000, rel=0.02)
    assert look_at(str(tmp_path / f"a.jsonl{packed}")).documents_estimate == pytest.approx(40_000, rel=0.02)


# any file system of fsspec


def test_file_systems_of_fsspec(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("d/1/a.jsonl", "d/2/a.jsonl", "d/2/.hidden.jsonl", "d/readme.txt", "d/2/deep/x.jsonl"):
        memory.pipe(f"/veski-test/{name}", rows(3, len(name)))
    try:
        made = of(tmp_path, "memory://veski-test/d/*/a.jsonl")
        assert [p.rpartition("d/")[2] for p in fetch(made).fetched] == ["1/a.jsonl", "2/a.jsonl"]
        folder = of(tmp_path / "2", "memory://veski-test/d/", format="jsonl")
        assert fetch(folder).n_files == 4
        fresh = of(tmp_path / "2", "memory://veski-test/d/", format="jsonl")
        assert [f.name for f in list_files(fresh, fresh.sources["s"])] == ["1/a.jsonl", "2/a.jsonl", "2/deep/x.jsonl"]
        with pytest.raises(CurateError, match="nothing matches"):
            fetch(of(tmp_path, "memory://veski-test/d/*.gz"))
        memory.rm("/veski-test/d/1/a.jsonl")
        memory.pipe("/veski-test/d/3/a.jsonl", rows(2))
        found = fetch(of(tmp_path, "memory://veski-test/d/*/a.jsonl"))  # what is new comes, what is gone stays
        assert [p.rpartition("d/")[2] for p in (*found.fetched, *found.gone)] == ["3/a.jsonl", "1/a.jsonl"]
        assert found.n_files == 3
        assert fetch(of(tmp_path, "memory://veski-test/d/*/a.jsonl"), update=True).n_files == 2
    finally:
        memory.rm("/veski-test", recursive=True)


# what runs and what is seen


def test_two_fetches_at_a_time_share_the_work(tmp_path, web):
    web.files = {f"/{i}.jsonl": rows(3000, i) for i in range(6)}
    made = of(tmp_path, f"{web.url}/{{0..5}}.jsonl")
    results = []
    with engine.quietly():
        threads = [threading.Thread(target=lambda: results.append(fetch(made))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 3 and {r.n_files for r in results} == {6}
    assert sum(web.bytes_of(name) for name in web.files) == sum(map(len, web.files.values())) + 18  # and one byte to ask, by each
    made.check_places()


def command(*args, **env):
    return [sys.executable, "-m", "curate", *map(str, args)], {**os.environ, **env}


def test_the_command_and_the_build_after_it_without_a_network(tmp_path, web):
    web.files = {f"/{i}.jsonl": rows(30, i) for i in range(2)}
    of(tmp_path, f"{web.url}/{{0..1}}.jsonl")
    tokenizer(tmp_path)
    build = ("build-mixture", tmp_path / "recipe.yaml", "--until", "ingest", "--out", tmp_path / "b", "--store", tmp_path / "s")
    args, env = command(*build)
    before = subprocess.run(args, env=env, cwd=TOP, capture_output=True, text=True)
    assert before.returncode == 2 and "curate fetch RECIPE" in before.stderr and "not mirrored" in before.stderr
    args, env = command("fetch", tmp_path / "recipe.yaml", "--json")
    done = subprocess.run(args, env=env, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_files"] == 2 and "fetch done" in done.stderr
    web.refuses = dict.fromkeys(web.files, (500, {}))
    asked = len(web.headers)
    args, env = command(*build, HF_HUB_OFFLINE="1")
    after = subprocess.run(args, env=env, cwd=TOP, capture_output=True, text=True)
    assert after.returncode == 0 and len(web.headers) == asked, after.stderr


def tokenizer(folder):
    """A word tokenizer, named by the recipe."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "</s>": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    (folder / "tok").mkdir()
    words.save(str(folder / "tok/tokenizer.json"))
    (folder / "tok/tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    text = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(text.replace("model: none", "model: tok"))


@pytest.mark.slow
def test_killed_in_the_middle_of_a_file_it_goes_on_there(tmp_path, web):
    data = random.Random(1).randbytes(120 << 20)
    web.files = {"/a.jsonl": data}
    of(tmp_path, f"{web.url}/a.jsonl")
    tokenizer(tmp_path)
    n_kills = 0
    for _ in range(20):
        args, env = command("fetch", tmp_path / "recipe.yaml")
        running = subprocess.Popen(args, env=env, cwd=TOP, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        size = part_size(tmp_path)
        while running.poll() is None and part_size(tmp_path) < size + (30 << 20):
            time.sleep(0.005)
        if running.poll() is not None:
            break
        running.send_signal(signal.SIGKILL)
        running.wait()
        n_kills += 1
    assert running.returncode == 0 and n_kills >= 2
    target = next(path for path in (tmp_path / "mirror").rglob("a.jsonl"))
    assert file_sha256(target) == hashlib.sha256(data).hexdigest()
    assert web.bytes_of("/a.jsonl") < len(data) + n_kills * (64 << 20)


def part_size(folder):
    return sum(path.stat().st_size for path in folder.rglob(".a.jsonl.part"))
