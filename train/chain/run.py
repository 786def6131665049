"""A chain file in, its stages done one after the other: each by the command a user would give, in a process of its own.

A stage that is done of the same inputs is not done again; one that was stopped goes on as its own command does. A failed gate, or any
other failure, ends the chain with that stage's exit code. The receipts of all models must link. May import curate.errors, curate.store,
curate.recipe.files, train.chain, train.lineage, train.report; no torch but where adapters are merged.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.recipe.files import dump_yaml
from curate.store import write_atomic
from train.chain import record
from train.chain.config import PLACE, TRAINERS, Chain, Stage, filled, load_chain, set_key
from train.chain.keys import check_keys
from train.report.find import find

Say = Callable[[str], None]
STOPPED = 0  # a trainer that ends by max_hours, or told to stop, ends well


def run(chain_file: str | Path, sets: Sequence[str] = (), *, dry_run: bool = False, say: Say | None = None) -> int:
    """All stages that are left. Returns the exit code of the stage that ended it, or 0. Raises CurateError."""
    say = say or (lambda text: print(text, file=sys.stderr, flush=True))
    chain = load_chain(Path(chain_file), sets)
    check_keys(chain)
    entries = record.read_record(chain)
    if dry_run:
        print("\n".join(_plan(chain, entries)))
        return 0
    with _alone(chain):
        for number, stage in enumerate(chain.stages, start=1):
            code = _do(chain, stage, f"stage {number} of {len(chain.stages)}, {stage.name} ({stage.method})", entries, say)
            if code is not None:
                return code
    print("\n".join(_table(chain, entries)))
    return 0


def _do(chain: Chain, stage: Stage, called: str, entries: dict[str, dict[str, Any]], say: Say) -> int | None:
    """None where the stage is done, else what the chain ends with."""
    inputs, folder = record.inputs_sha256(stage, entries), chain.to / stage.name
    entry = entries.get(stage.name)
    if entry and entry.get("made") and entry["inputs_sha256"] == inputs and Path(entry["product"]).exists():
        say(f"{called}: done before")
        return None
    if entry and entry["inputs_sha256"] != inputs:
        for old in (folder, merged_of(chain, stage)):
            if old.exists():
                say(f"{called}: its inputs have changed; what it had made is now {record.set_aside(old)}")
    entries[stage.name] = entry = {"name": stage.name, "method": stage.method, "inputs_sha256": inputs, "product": str(folder)}
    record.write_record(chain, entries)
    command, started = _command(chain, stage, entries), time.monotonic()
    say(f"{called}: {shlex.join(command[1:])}")
    code = subprocess.run(command, check=False).returncode
    if code not in (0, 3) or (code == 3 and stage.method not in ("build", "evaluate")):
        say(f"{called} ended with exit code {code}; the same command goes on from here")
        return code if code > 0 else 1
    if stage.method in TRAINERS and not _is_complete(folder):
        say(f"{called} was stopped before its end; the same command goes on from there")
        return STOPPED
    product = _product(chain, stage, say)
    entry |= {"product": str(product), "exit_code": code, **record.made_by(stage, product)}
    record.check_links(stage, entry, entries)
    record.write_record(chain, entries)
    say(f"{called}: done in {time.monotonic() - started:.0f} s, {product}")
    return None


def _command(chain: Chain, stage: Stage, entries: dict[str, dict[str, Any]]) -> list[str]:
    values, folder = {name: entries[name]["product"] for name in stage.uses}, chain.to / stage.name
    if stage.method == "build":
        sets = [part for key, value in filled(stage.data, values).items() for part in ("--set", f"{key}={_as_yaml(value)}")]
        ours = ["--out", str(folder), "--store", chain.store]
        return [sys.executable, "-m", "curate", "build-mixture", str(stage.file), *ours, *sets]
    data = filled(stage.data, values)
    set_key(data, PLACE[stage.method], str(folder))
    if stage.method == "dpo":
        data.setdefault("reference_store", str(Path(chain.store) / "reference"))
    file = chain.to / "runs" / f"{stage.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, dump_yaml(data).encode())
    launch = list(chain.launch) if chain.launch and stage.method in TRAINERS else [sys.executable]
    return [*launch, "-m", "train", stage.method, str(file)]


def _as_yaml(value: Any) -> str:
    return value if isinstance(value, str) else dump_yaml({"": value}).partition(":")[2].strip()


def _is_complete(folder: Path) -> bool:
    run = find(folder)
    return 0 < run.n_steps <= run.history.done


def merged_of(chain: Chain, stage: Stage) -> Path:
    return chain.to / f"{stage.name}.merged"


def _product(chain: Chain, stage: Stage, say: Say) -> Path:
    """The folder that later stages go on from: of a trainer its last checkpoint, adapters merged into their model."""
    folder = chain.to / stage.name
    if stage.method not in TRAINERS:
        return folder
    last = max(folder.glob("step-*"), key=lambda path: (len(path.name), path.name))
    if not (last / "adapter_config.json").is_file():
        return last
    merged = merged_of(chain, stage)
    if not merged.exists():
        from train.export import export

        say(f"stage {stage.name}: adapters are merged into their model, {merged}")
        export(last, merged, merge=True)
    return merged


def _plan(chain: Chain, entries: dict[str, dict[str, Any]]) -> list[str]:
    lines = [f"{chain.name}: {len(chain.stages)} stages into {chain.to}"]
    is_same = True
    for stage in chain.stages:
        entry = entries.get(stage.name, {})
        known = all(entries.get(name, {}).get("made") for name in stage.uses)
        is_same = is_same and known and entry.get("inputs_sha256") == record.inputs_sha256(stage, entries)
        state = "done" if is_same and entry.get("made") else "begun" if is_same and entry else "to do"
        uses = f", of {', '.join(stage.uses)}" if stage.uses else ""
        lines.append(f"  {stage.name:<16} {stage.method:<9} {state:<6} {stage.where}{uses}")
    return lines


def _table(chain: Chain, entries: dict[str, dict[str, Any]]) -> list[str]:
    """What was made, and how the receipts link."""
    of_receipt = {entry["receipt_sha256"]: name for name, entry in entries.items() if "receipt_sha256" in entry}
    lines = [f"{'stage':<16} {'method':<9} {'receipt':<13} goes on from"]
    for stage in chain.stages:
        entry = entries[stage.name]
        parents = [
            f"{of_receipt.get(p.get('receipt_sha256'), p.get('folder') or p.get('hub') or '?')} ({p['role']})"
            for p in entry.get("parents", [])
        ]
        receipt = entry.get("receipt_sha256", "-")[:12]
        lines.append(f"{stage.name:<16} {stage.method:<9} {receipt:<13} {', '.join(parents) or ', '.join(stage.uses) or '-'}")
    return [*lines, f"{chain.to / record.RECORD}: every stage, its inputs and what it made"]


@contextlib.contextmanager
def _alone(chain: Chain) -> Iterator[None]:
    """One chain at a time in a folder: two would write the same runs."""
    import fcntl

    chain.to.mkdir(parents=True, exist_ok=True)
    with open(chain.to / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CurateError("this chain is running already", where=str(chain.to), allowed="one at a time in a folder") from None
        yield
