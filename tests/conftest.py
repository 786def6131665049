"""Where tests find the real texts, and which of the long tests CI runs."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent


def pytest_addoption(parser):
    parser.addoption("--sample-slow", type=int, default=None, metavar="N", help="run a seeded sample of N of the slow tests")


def pytest_collection_modifyitems(config, items):
    n = config.getoption("--sample-slow")
    if n is None:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    chosen = set(random.Random(_seed()).sample([item.nodeid for item in slow], min(n, len(slow))))
    config.hook.pytest_deselected(items=[item for item in slow if item.nodeid not in chosen])
    items[:] = [item for item in items if item not in slow or item.nodeid in chosen]


def pytest_report_header(config):
    if config.getoption("--sample-slow") is not None:
        return (
            f"slow tests: a sample of {config.getoption('--sample-slow')}, seed {_seed()} (VESKI_SLOW_SEED, default the commit)"
        )
    return None


def _seed() -> str:
    if seed := os.environ.get("VESKI_SLOW_SEED"):
        return seed
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=TOP, capture_output=True, text=True)
    return done.stdout.strip() or "0"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real texts; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data")).absolute()
    if not (folder / "README.md").exists():
        pytest.skip("no real texts here: set VESKI_TEST_DATA to the folder that holds et_text/, en_text/, code/, ...")
    return folder
