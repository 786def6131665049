"""A root may change only together with its stage's VERSION: old builds stay true, and nobody changes a formula by accident.

After a wanted change raise the VERSION, say why in one line beside it, and write the file anew: VESKI_WRITE_GOLDEN=1 pytest tests/test_golden.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests import command

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden_roots.json"


def test_roots_change_only_with_their_version(tmp_path):
    command.build(HERE / "golden.yaml", tmp_path)
    manifest = json.loads((tmp_path / "build" / "manifest.json").read_text())
    now = {f"manifest {name}": {"version": manifest["schema_version"], "root": root} for name, root in manifest["roots"].items()}
    for stage in manifest["lineage"]:
        info = json.loads((tmp_path / "store" / stage["stage"] / stage["fingerprint"] / "stage.json").read_text())
        now[" ".join([stage["stage"], *stage["of"]])] = {"version": info["version"], "root": stage["root"]}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    changed = [name for name in golden if name in now and now[name]["root"] != golden[name]["root"]]
    raised = [name for name in golden if name in now and now[name]["version"] != golden[name]["version"]]
    assert not changed or raised, "these roots changed and no VERSION did: raise that of the first stage that changed"
    if os.environ.get("VESKI_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(now, indent=1) + "\n")
    else:
        assert now == golden, f"write {GOLDEN.name} anew"
