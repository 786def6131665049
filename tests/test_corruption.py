"""`curate verify` finds a damaged byte in every kind of file of store and build, and says where it is."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests import command, real


def kinds(where: Path) -> dict[str, list[Path]]:
    """Files of the store and the build, grouped by what they are: stage and file name, or the build's file."""
    found: dict[str, list[Path]] = {}
    for path in sorted(where.rglob("*")):
        parts = path.relative_to(where).parts
        is_ours = parts[0] in ("store", "build") and "log" not in parts and ".tmp" not in parts
        if not is_ours or not path.is_file() or path.stat().st_size == 0:
            continue
        kind = f"{parts[1]}/{parts[-1]}" if parts[0] == "store" else "/".join(parts)
        found.setdefault(kind, []).append(path)
    return found


def verify(where: Path) -> tuple[int, str]:
    done = command.curate("verify", where / "build", "--no-raw", "--fast")  # the raw input is not what is damaged here
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_twenty_corruptions_are_caught_and_located(data, tmp_path):
    rows = {source: real.rows(data, source, 60) for source in real.FILES}
    patterns = real.write_layout(tmp_path / "raw", rows, "sharded")
    tokenizer = data / "tokenizers/gpt_neox_20b/tokenizer.json"
    recipe = real.write_recipe(tmp_path / "real.yaml", tmp_path / "raw", patterns, tokenizer, total="80k tokens", et="20k tokens", en="30k tokens",
                               code="20k tokens", math="10k tokens")  # fmt: skip
    command.build(recipe, tmp_path)
    whole = command.curate("verify", tmp_path / "build")
    assert whole.returncode == 0, whole.stdout
    found = kinds(tmp_path)
    assert len(found) >= 20, sorted(found)
    rng = random.Random(2026)
    missed = []
    for kind, paths in sorted(found.items()):
        path = rng.choice(paths)
        before = path.read_bytes()
        at = rng.randrange(len(before))
        path.write_bytes(before[:at] + bytes([before[at] ^ (1 << rng.randrange(8))]) + before[at + 1 :])
        code, said = verify(tmp_path)
        path.write_bytes(before)
        if code != 1 or path.name not in said:
            missed.append((kind, at, code, said[-300:]))
    print(json.dumps({"kinds": len(found), "missed": len(missed)}))
    assert missed == []
