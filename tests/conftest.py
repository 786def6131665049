"""Where tests find the real texts, and a cache folder of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    return Path(os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real texts; tests that need it skip where it is absent."""
    folder = data_folder()
    if not (folder / "README.md").exists():
        pytest.skip("no real texts here: set VESKI_TEST_DATA to the folder that holds et_text/, en_text/, code/, ...")
    return folder
