"""Promise 5: killed at any moment, the same command again gives the same bytes.

20 random moments, the parent alone and the whole group by turns, at least 15 of them inside a stage. `kill -9` only.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import real

DERIVED = {"corpus.duckdb", "report.html"}
NEVER_FINISHED = ("raw_hashes", "ingest_runs", "ingest_names")  # caches that grow file by file


def command(recipe: Path, where: Path) -> list[str]:
    return [sys.executable, "-m", "curate", "build-mixture", str(recipe), "--out", str(where / "build"), "--store", str(where / "store"), "--workers", "2"]  # fmt: skip


def run(recipe: Path, where: Path) -> subprocess.Popen:
    return subprocess.Popen(command(recipe, where), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def bytes_of(where: Path) -> dict[str, str]:
    """sha256 of every file whose bytes are promised, by path relative to `where`."""
    found = {}
    for path in sorted(where.rglob("*")):
        parts = path.relative_to(where).parts
        if not path.is_file() or path.name in DERIVED or ".tmp" in parts or "log" in parts or "raw_hashes" in parts:
            continue
        found["/".join(parts)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def is_inside_a_stage(store: Path) -> bool:
    """Something was being written: an unpublished shard, or a stage folder without its stage.json."""
    writing = any(p.name.split("-")[0] != "engine" for p in (store / ".tmp").glob("*")) if store.exists() else False
    stages = [p for p in store.glob("*/*") if p.is_dir() and p.parent.name not in (".tmp", *NEVER_FINISHED)]
    return writing or any(not (p / "stage.json").exists() for p in stages)


@pytest.fixture(scope="module")
def setting(data, tmp_path_factory):
    """A recipe on real text that keeps both workers busy for some seconds, and its undisturbed build."""
    top = tmp_path_factory.mktemp("interrupted")
    rows = {source: real.rows(data, source, 400) for source in real.FILES}
    patterns = real.write_layout(top / "raw", rows, "sharded")
    tokenizer = data / "tokenizers/gpt_neox_20b/tokenizer.json"
    recipe = real.write_recipe(top / "real.yaml", top / "raw", patterns, tokenizer, total="650k tokens", et="250k tokens", en="150k tokens",
                               code="150k tokens", math="100k tokens")  # fmt: skip
    started = time.monotonic()
    process = run(recipe, top / "calm")
    _, err = process.communicate()
    assert process.returncode in (0, 3), err.decode()
    return recipe, top, time.monotonic() - started


@pytest.mark.slow
def test_twenty_kills(setting):
    recipe, top, seconds = setting
    calm = bytes_of(top / "calm")
    assert any(name.endswith("manifest.json") for name in calm)
    rng = random.Random(20)
    inside = kills = 0
    where = top / "killed"
    while kills < 20:
        if not kills % 5:  # four undisturbed ends, five kills before each
            where = top / f"killed{kills}"
        process = run(recipe, where)
        try:
            process.wait(timeout=rng.uniform(0.15, 0.95) * seconds / 2)
            continue  # ended before its moment came: the build was already there
        except subprocess.TimeoutExpired:
            pass
        if kills % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
        kills += 1
        inside += is_inside_a_stage(where / "store")
        if kills % 5 == 0:
            end = run(recipe, where)
            _, err = end.communicate()
            assert end.returncode in (0, 3), err.decode()
            assert bytes_of(where) == calm
    print(f"{kills} kills, {inside} of them inside a stage")
    assert inside >= 15


@pytest.mark.slow
def test_one_and_two_workers_give_the_same_bytes(setting):
    recipe, top, _ = setting
    done = subprocess.run([*command(recipe, top / "one")[:-1], "1"], capture_output=True, text=True)
    assert done.returncode in (0, 3), done.stderr
    assert bytes_of(top / "one") == bytes_of(top / "calm")
