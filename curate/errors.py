"""The one error a user is meant to read: where it is, what was found, what is allowed, what to run next.

Imports nothing of ours; everybody may import it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CurateError(Exception):
    """A user's mistake (exit code 2) or a failed check (exit code 1): one message, no traceback."""

    def __init__(
        self, what: str, *, where: str = "", found: str = "", allowed: str = "", next: str = "", exit_code: int = 2
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.found, self.allowed, self.next = what, where, found, allowed, next
        self.exit_code = exit_code

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        for label in ("found", "allowed", "next"):
            if value := getattr(self, label):
                lines.append(f"  {label + ':':<9}{value}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple:
        # Exceptions with keyword arguments do not survive pickling (process pools) without this.
        return _rebuild, (type(self), self.what, self.__dict__.copy())


def _rebuild(cls: type[CurateError], what: str, state: dict) -> CurateError:
    error = cls.__new__(cls)
    Exception.__init__(error, what)
    error.__dict__.update(state)
    return error


def nearest(word: str, known: Iterable[str], n: int = 3) -> list[str]:
    """The known names closest to `word`, best first; empty where none is close."""
    return difflib.get_close_matches(word, sorted(known), n=n, cutoff=0.5)
