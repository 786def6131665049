"""What verify says: findings, each with the file it is about, and how much was looked at. Imports nothing of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

MOST = 20  # findings kept per file; the rest is counted
Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Finding:
    """`file` relative to the build folder; `at`: row group, row, id, byte or key, as far as known."""

    file: str
    what: str
    at: str = ""

    def __str__(self) -> str:
        return f"{self.file}{f' [{self.at}]' if self.at else ''}: {self.what}"


@dataclass
class Report:
    """Findings in the order in which they were found, and what was counted on the way."""

    findings: list[Finding] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    lacks: list[str] = field(default_factory=list)  # what cannot be checked here, in words
    _per_file: dict[str, int] = field(default_factory=dict)

    def add(self, file: object, what: str, at: object = "") -> None:
        self._per_file[str(file)] = self._per_file.get(str(file), 0) + 1
        if self._per_file[str(file)] <= MOST:
            self.findings.append(Finding(str(file), what, str(at)))

    def equal(self, file: object, what: str, stated: Any, counted: Any, at: object = "") -> bool:
        """A stated and a counted value must be the same."""
        if stated != counted:
            self.add(file, f"{what}: stated {_shown(stated)}, counted again {_shown(counted)}", at)
        return bool(stated == counted)

    def count(self, **amounts: int) -> None:
        for name, amount in amounts.items():
            self.checked[name] = self.checked.get(name, 0) + int(amount)

    def each(self, items: Sequence[Item], check: Callable[[Item, Report], Found]) -> list[Found]:
        """check(item, report) of every item, on all cores; findings and counts come in the order of the items."""

        def alone(item: Item) -> tuple[Report, Found]:
            own = Report()
            return own, check(item, own)

        results = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for own, found in pool.map(alone, items):
                self._take(own)
                results.append(found)
        return results

    def _take(self, other: Report) -> None:
        for finding in other.findings:
            self.add(finding.file, finding.what, finding.at)
        for file, n in other._left_out().items():
            self._per_file[file] += n
        self.count(**other.checked)

    @property
    def ok(self) -> bool:
        return not self.findings

    def _left_out(self) -> dict[str, int]:
        return {file: n - MOST for file, n in self._per_file.items() if n > MOST}

    def data(self) -> dict[str, Any]:
        found = [{"file": f.file, "at": f.at, "what": f.what} for f in self.findings]
        return {
            "ok": self.ok,
            "checked": self.checked,
            "findings": found,
            "left_out": self._left_out(),
            "not_checked": self.lacks,
        }

    def text(self) -> str:
        looked = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in self.checked.items())
        lacks = ["what only the build can show:", *(f"  {what}" for what in self.lacks)] if self.lacks else []
        if self.ok:
            return "\n".join([f"everything counts up: {looked}", *lacks])
        lines = [str(finding) for finding in self.findings]
        lines += [f"{file}: and {n:,} more" for file, n in self._left_out().items()]
        return "\n".join([*lines, f"{len(self.findings)} findings in {len(self._per_file)} files; looked at {looked}", *lacks])


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
