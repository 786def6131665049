"""A table in text (CSV, TSV) in, `RawRow | Bad` out, one per record; values are strings, as they stand.

A record that its quotes break costs its first line only: reading goes on at the next line. So a quote that never closes does not
swallow what follows. Imports lines, stream.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.recipe.lanes.csv import Csv
from curate.sources.formats import Asked
from curate.sources.lines import Line, Run, runs
from curate.sources.records import Bad, RawRow
from curate.sources.stream import Blocks, strip_compression

DELIMITERS = ",;\t|"
TABS = (".tsv", ".tab")
AGAIN, LEAST_TRY = 8, 1 << 12  # a run is parsed together so many times its bytes at most, and a try counts as so many
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
    """The lines of one file, those looked ahead at, and the C reader that pulls as many as a record needs.

    Lines that lie together are parsed together (`_together`); where one of their records is not plain and whole, it and the lines
    behind it are read one by one, which gives every bad line its own row.
    """

    def __init__(self, path: Path, blocks: Blocks, options: Csv, limit: int) -> None:
        self.path, self.blocks, self.options, self.limit = path, blocks, options, limit
        self.runs = runs(blocks, limit)
        self.run: Run | None = None
        self.at = 0  # byte of the run where the next line begins
        self.n_tried = 0  # bytes of it that were parsed together, some more than once
        self.ahead: deque[Line] = deque()  # read, and to be read again
        self.taken: list[Line] = []  # of the record being read
        self.n_taken = 0  # their bytes
        self.n_again = 0  # bytes that were read again, over the whole file
        self.refused: tuple[str, str] | None = None  # a line that ended the record before its time
        self.how: dict[str, Any]  # what csv.reader is told
        self.reader: Iterator[list[str]]
        self.columns: list[str] | None = None if options.header else options.columns or None
        self.has_header = options.header  # and it was not read yet

    def rows(self) -> Iterator[RawRow | Bad]:
        first = self._take()
        if first is None:
            return
        self.ahead.appendleft(first)
        quote: dict[str, Any] = (
            {"quotechar": self.options.quote} if self.options.quote else {"quoting": csv.QUOTE_NONE, "quotechar": None}
        )
        self.how = {"delimiter": self.options.delimiter or self._delimiter(first), "strict": True, **quote}
        self.reader = csv.reader(self._feed(), **self.how)
        while True:
            if not self.ahead and self.n_again <= self.limit and self._has_run():
                yield from self._together()
            row = self._record()
            if row is None:
                return
            if isinstance(row, list):
                yield from self._row(row, self.taken[0].byte_offset, self.n_taken)
            elif row.cause and self.has_header and not self.options.columns:
                lost = row.lost_bytes + sum(line.n_bytes for line in iter(self._take, None))
                yield row._replace(detail=f"the header: {row.detail}", lost_bytes=lost)
                return
            elif row.cause:
                yield row
                self.columns, self.has_header = (self.options.columns if self.has_header else self.columns), False
            self.blocks.settled = self.ahead[0].byte_offset if self.ahead else self._end()

    def _row(self, row: list[str], start: int, n_bytes: int) -> Iterator[RawRow]:
        if self.has_header:
            self.columns, self.has_header = self.options.columns or named(row), False
            return
        self.columns = self.columns or [f"column_{i + 1}" for i in range(len(row))]
        yield RawRow(dict(zip(self.columns, row, strict=True)), start, n_bytes)

    def _has_run(self) -> bool:
        """Do the next lines lie together? A line that does not is put to those ahead."""
        if self.run is None and (item := next(self.runs, None)) is not None:
            if isinstance(item, Line):
                self.ahead.append(item)
            else:
                self.run, self.at, self.n_tried = item, 0, 0
        return self.run is not None

    def _together(self) -> Iterator[RawRow]:
        """The records of the run up to the first that is not plain and whole in it."""
        assert self.run is not None
        if self.n_tried > AGAIN * len(self.run.data):
            return
        first, data = self.run.byte_offset + self.at, self.run.data[self.at :]
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            data = data[: data.rfind(b"\n", 0, error.start) + 1]
            text = data.decode()
        self.n_tried += len(data) + LEAST_TRY
        sums = list(itertools.accumulate(map(len, data.split(b"\n"))))
        reader = csv.reader(io.StringIO(text, newline="\n"), **self.how)
        at = n_lines = 0
        with contextlib.suppress(csv.Error):  # a record that goes on behind the run, or a quote gone wrong
            for row in reader:
                n_before, n_lines = n_lines, reader.line_num
                end = sums[n_lines - 1] + n_lines
                if row:
                    is_long = end - at - (n_lines == n_before + 1) > self.limit
                    if is_long or (self.columns is not None and len(row) != len(self.columns)):
                        break
                    yield from self._row(row, first + at, end - at)
                at = end
        self.at += at
        self.blocks.settled = first + at
        if self.at == len(self.run.data):
            self.run = None

    def _end(self) -> int:
        last = self.taken[-1]
        return last.byte_offset + last.n_bytes + last.is_ended

    def _record(self) -> list[str] | Bad | None:
        """The fields of the next record; a Bad, without a cause for a blank line; None at the end."""
        self.taken, self.n_taken, self.refused = [], 0, None
        columns = self.columns
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
            self.reader = csv.reader(self._feed(), **self.how)
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
        """The next line of those ahead, of the run, of the file."""
        if not self.ahead and self._has_run() and self.run is not None:
            offset, data, at = self.run.byte_offset, self.run.data, self.at
            end = data.index(b"\n", at)
            self.at = end + 1
            if self.at == len(data):
                self.run = None
            n = end - at
            return Line(offset + at, data[at:end] if n <= self.limit else None, n, True)
        return self.ahead.popleft() if self.ahead else None

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
