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


def command(recipe: Path, where: Path, workers: int = 2) -> list[str]:
    places = ["--out", str(where / "build"), "--store", str(where / "store")]
    return [sys.executable, "-m", "curate", "build-mixture", str(recipe), *places, "--workers", str(workers)]


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


def being_written(store: Path) -> set[str]:
    """Shards in the making: temporary folders of stages (not the engine's own)."""
    return {p.name for p in (store / ".tmp").glob("*") if not p.name.startswith("engine-")}


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
    where = top / "killed0"
    while kills < 20:
        before = being_written(where / "store")
        process = run(recipe, where)
        aims_inside = kills % 10 != 9  # nine of ten wait until a shard is in the making, one dies at any moment
        moment = time.monotonic() + rng.uniform(0.1, 0.9) * (seconds if not aims_inside else seconds * rng.random())
        while process.poll() is None and (
            time.monotonic() < moment or (aims_inside and not being_written(where / "store") - before)
        ):
            time.sleep(0.005)
        if process.poll() is not None:  # it came to its end first: compare, and begin anew
            process.communicate()
            assert bytes_of(where) == calm
            where = top / f"killed{kills}-{rng.random():.6f}"
            continue
        if kills % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
        kills += 1
        inside += bool(being_written(where / "store") - before)
    end = run(recipe, where)
    _, err = end.communicate()
    assert end.returncode in (0, 3), err.decode()
    assert bytes_of(where) == calm
    print(f"{kills} kills, {inside} of them inside a stage")
    assert inside >= 15


@pytest.mark.slow
def test_one_and_two_workers_give_the_same_bytes(setting):
    recipe, top, _ = setting
    done = subprocess.run(command(recipe, top / "one", workers=1), capture_output=True, text=True)
    assert done.returncode in (0, 3), done.stderr
    assert bytes_of(top / "one") == bytes_of(top / "calm")
