"""A table in text (CSV, TSV) in, `RawRow | Bad` out, one per record; values are strings, as they stand.

A record that its quotes break costs its first line only: reading goes on at the next line. So a quote that never closes does not
swallow what follows. Imports lines, stream.
"""

from __future__ import annotations

import codecs
import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.recipe.lanes.csv import Csv
from curate.sources.formats import Asked
from curate.sources.lines import Line, lines
from curate.sources.records import Bad, RawRow
from curate.sources.stream import Blocks, strip_compression

DELIMITERS = ",;\t|"
TABS = (".tsv", ".tab")
csv.field_size_limit(2**31 - 1)  # ours is asked.limit, in bytes of the record


def read_csv(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """The rows of one file by column name. `asked.limit`: bytes of a record."""
    options = (asked.source.csv if asked.source else None) or Csv()
    blocks = Blocks(path)
    table = _Table(path, blocks, options, asked.limit)
    yield from table.rows()
    if blocks.problem:
        yield Bad(path.name, blocks.settled, *blocks.problem, blocks.lost_bytes())


class _Table:
    """The lines of one file, those looked ahead at, and the C reader that pulls as many as a record needs."""

    def __init__(self, path: Path, blocks: Blocks, options: Csv, limit: int) -> None:
        self.path, self.blocks, self.options, self.limit = path, blocks, options, limit
        self.lines = lines(blocks, limit, settles=False)
        self.ahead: deque[Line] = deque()  # read, and to be read again
        self.taken: list[Line] = []  # of the record being read
        self.n_taken = 0  # their bytes
        self.n_again = 0  # bytes that were read again, over the whole file
        self.refused: tuple[str, str] | None = None  # a line that ended the record before its time
        self.reader: Iterator[list[str]]

    def rows(self) -> Iterator[RawRow | Bad]:
        first = self._take()
        if first is None:
            return
        self.ahead.appendleft(first)
        delimiter = self.options.delimiter or self._delimiter(first)
        quoting: dict[str, Any] = (
            {"quotechar": self.options.quote} if self.options.quote else {"quoting": csv.QUOTE_NONE, "quotechar": None}
        )
        self.reader = csv.reader(self._feed(), delimiter=delimiter, strict=True, **quoting)
        columns: list[str] | None = None if self.options.header else self.options.columns or None
        has_header = self.options.header
        while True:
            row = self._record(delimiter, quoting, columns)
            if row is None:
                return
            if isinstance(row, list):
                start, n_bytes = self.taken[0].byte_offset, self.n_taken
                if has_header:
                    columns, has_header = self.options.columns or named(row), False
                else:
                    columns = columns or [f"column_{i + 1}" for i in range(len(row))]
                    yield RawRow(dict(zip(columns, row, strict=True)), start, n_bytes)
            elif row.cause and has_header and not self.options.columns:
                lost = row.lost_bytes + sum(line.n_bytes for line in iter(self._take, None))
                yield row._replace(detail=f"the header: {row.detail}", lost_bytes=lost)
                return
            elif row.cause:
                yield row
                columns, has_header = (self.options.columns if has_header else columns), False
            self.blocks.settled = self.ahead[0].byte_offset if self.ahead else self._end()

    def _end(self) -> int:
        last = self.taken[-1]
        return last.byte_offset + last.n_bytes + last.is_ended

    def _record(self, delimiter: str, quoting: dict, columns: list[str] | None) -> list[str] | Bad | None:
        """The fields of the next record; a Bad, without a cause for a blank line; None at the end."""
        self.taken, self.n_taken, self.refused = [], 0, None
        try:
            row = next(self.reader, None)
            problem = None
        except csv.Error as error:
            row, problem = None, str(error)
        if row is not None and columns is not None and row and len(row) != len(columns):
            n, row = len(row), None
            self.refused = ("wrong_columns", f"{n} fields, the header has {len(columns)}")
        if row:
            return row
        if not self.taken:
            return None
        first = self.taken[0]
        if problem is not None or self.refused or row is None:
            self._again()
            self.reader = csv.reader(self._feed(), delimiter=delimiter, strict=True, **quoting)
            cause, detail = self.refused or ("broken_csv", problem or "a quote that never closes")
            return Bad(self.path.name, first.byte_offset, cause, detail, first.n_bytes)
        return Bad(self.path.name, first.byte_offset, "", "", 0)

    def _again(self) -> None:
        """All lines of a failed record but its first wait to be read again."""
        for line in reversed(self.taken[1:]):
            self.ahead.appendleft(line)
            self.n_again += line.n_bytes
        del self.taken[1:]

    def _feed(self) -> Iterator[str]:
        """Lines as text. Stops where a record is too long, or where too much has been looked ahead at for quotes that never closed."""
        while True:
            line = self._take()
            if line is None:
                return
            self.taken.append(line)
            self.n_taken += line.n_bytes + 1
            is_more = len(self.taken) > 1
            if line.data is None:
                self.refused = self.refused or ("too_large", f"a line of {line.n_bytes} bytes")
            elif is_more and self.n_taken > self.limit:
                self.refused = ("broken_csv", f"a quote that does not close within {self.limit} bytes")
            elif is_more and self.n_again > 4 * line.byte_offset + self.limit:  # else quotes in every line cost their square
                self.refused = ("broken_csv", "a quote that does not close in its line, as many before it")
            if self.refused:
                return
            data = line.data or b""
            if line.byte_offset == 0:
                data = data.removeprefix(codecs.BOM_UTF8)
            try:
                yield data.decode() + "\n"
            except UnicodeDecodeError as error:
                self.refused = ("invalid_utf8", f"byte {data[error.start]:#04x} at byte {error.start} of the line")
                return

    def _take(self) -> Line | None:
        return self.ahead.popleft() if self.ahead else next(self.lines, None)

    def _delimiter(self, first: Line) -> str:
        if Path(strip_compression(self.path.name)).suffix.lower() in TABS:
            return "\t"
        head = (first.data or b"").decode(errors="replace")
        return max(DELIMITERS, key=lambda mark: (head.count(mark), -DELIMITERS.index(mark)))


def named(header: list[str]) -> list[str]:
    """Column names without gaps and repeats: an empty one is `column_3`, a second `a` is `a_2`."""
    found: list[str] = []
    for i, name in enumerate(header):
        base = name = name.strip() or f"column_{i + 1}"
        n = 2
        while name in found:
            name, n = f"{base}_{n}", n + 1
        found.append(name)
    return found
