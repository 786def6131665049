"""`curate ...` as a process of its own, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def curate(*args: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "curate", *map(str, args)], cwd=TOP, capture_output=True, text=True)


def build(recipe: Path, where: Path, *args: object) -> subprocess.CompletedProcess:
    """Build into where/build over where/store; past a quarantine limit is fine, anything else is shown."""
    done = curate("build-mixture", recipe, "--out", where / "build", "--store", where / "store", *args)
    assert done.returncode in (0, 3), done.stderr
    return done
