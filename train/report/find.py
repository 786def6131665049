"""A run's folder or its run file in; all that the page tells out. Nothing is computed here but sums.

May import curate.errors, curate.recipe.files (run files are YAML), curate.store, train.watch.log.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curate.errors import CurateError
from curate.recipe.files import load_extended
from curate.store import read_json
from train.watch.log import History, read_log


@dataclass
class Run:
    folder: Path
    history: History
    receipt: dict | None  # of the newest whole checkpoint
    checkpoint: str  # its folder's name
    planned: dict[str, int]  # component -> tokens, of all manifests; {} where one of them is not at hand

    @property
    def start(self) -> dict:
        return self.history.start

    @property
    def name(self) -> str:
        return self.start.get("name") or self.folder.name

    @property
    def n_steps(self) -> int:
        return int(self.start.get("steps", 0))

    def names(self, group: str) -> list[str]:
        """Components or languages, in the order of the stream; only those that steps or measurements speak of."""
        seen = self.history.steps.groups[group]
        measured = {name for event in self.history.held_out for name in event.get(group, ())}
        known = [*self.start.get(group, ()), *seen, *sorted(measured)]
        return [name for name in dict.fromkeys(known) if name in seen or name in measured]


def find(target: Path) -> Run:
    """Raises CurateError where there is no log of a run."""
    folder = folder_of(Path(target))
    log = folder / "log.jsonl"
    if not log.is_file():
        is_build = (folder / "manifest.json").is_file()
        raise CurateError(
            "there is no log of a run here", where=str(folder), found="a build" if is_build else "no log.jsonl",
            allowed="the folder that save.to of a run file names, or the run file",
            next=f"curate stats {folder}" if is_build else "curate train cpt RUN.yaml",
        )  # fmt: skip
    history = read_log(log)
    receipt, checkpoint = newest_receipt(folder)
    return Run(folder, history, receipt, checkpoint, planned(history.start.get("run", {}).get("manifest", ())))


def folder_of(target: Path) -> Path:
    if target.suffix not in (".yaml", ".yml"):
        return target
    data, where = load_extended(target)
    save = data.get("save")
    if not isinstance(save, dict) or not isinstance(save.get("to"), str):
        raise CurateError("this is not a run file: save.to is missing", where=where.get((), str(target)))
    return Path(save["to"])


def newest_receipt(folder: Path) -> tuple[dict | None, str]:
    """Of the newest checkpoint that is whole enough to have a readable one."""
    for path in sorted(folder.glob("step-*/receipt.json"), key=lambda p: (len(p.parent.name), p.parent.name), reverse=True):
        try:
            return read_json(path), path.parent.name
        except (CurateError, OSError):  # damaged, or just being removed: the one before is whole
            continue
    return None, ""


def planned(manifests: list[str] | str) -> dict[str, int]:
    total: dict[str, int] = {}
    for path in [manifests] if isinstance(manifests, str) else manifests:
        try:
            manifest = read_json(Path(path))
        except (CurateError, OSError):
            return {}
        for component in manifest["components"]:
            tokens = sum(phase.get("tokens", phase["realised"]) for phase in component["phases"])
            total[component["name"]] = total.get(component["name"], 0) + tokens
    return total
