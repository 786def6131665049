"""`curate sql BUILD QUERY`: a question in SQL, read-only; wrong names answered with the nearest ones.

In: a build folder and a query. Out: {columns, rows}; text as a table, CSV or (in the command line) JSON.
Imports errors, inspect.corpus, inspect.tables.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from curate.errors import CurateError, nearest
from curate.inspect.corpus import Connection, open_corpus
from curate.inspect.tables import number, one_line

N_ROWS = 1000  # shown as a table; --csv and --json give all
N_CHARS = 60  # of a cell in a table


def sql(build_dir: Path, query: str) -> dict[str, Any]:
    """Run one query over corpus.duckdb. Raises CurateError for what DuckDB refuses, with the nearest known name."""
    with open_corpus(build_dir) as corpus:
        try:
            result = corpus.execute(query)
            columns = [column[0] for column in result.description or []]
            return {"columns": columns, "rows": [list(row) for row in result.fetchall()]}
        except duckdb.Error as error:
            raise _refused(corpus, str(error), query) from error


def _refused(corpus: Connection, message: str, query: str) -> CurateError:
    what = message.split("\n")[0]
    known = corpus.execute("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal").fetchall()
    tables = sorted({table for table, _ in known})
    if match := re.search(r"Table with name (\S+) does not exist", what):
        close = nearest(match[1], tables)
        return CurateError(
            f"no table {match[1]!r}", where="sql", found=query, allowed=", ".join(tables), next=_did_you_mean(close)
        )
    if match := re.search(r'Referenced column "([^"]+)"|does not have a column named "([^"]+)"', what):
        name = match[1] or match[2]
        used = [table for table in tables if re.search(rf"\b{table}\b", query)]
        columns = sorted({column for table, column in known if table in used or not used})
        close = nearest(name, columns)
        return CurateError(f"no column {name!r}", where="sql", found=query, allowed=", ".join(columns), next=_did_you_mean(close))
    return CurateError(re.sub(r"^\w+ Error: ", "", what), where="sql", found=query, next="tables: " + ", ".join(tables))


def _did_you_mean(close: list[str]) -> str:
    return f"did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    """A table, each cell in one line; figures to the right."""
    shown = data["rows"][:N_ROWS]
    right = [
        any(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in shown)
        for i in range(len(data["columns"]))
    ]
    cells = [[_cell(value) for value in row] for row in shown]
    widths = [max(len(row[i]) for row in (data["columns"], *cells)) for i in range(len(right))]
    lines = [
        "  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in (data["columns"], *cells)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    left = len(data["rows"]) - len(shown)
    lines += [f"({left:,} more rows: --csv or --json gives all)"] if left else []
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value)
    text = one_line(number(value)) if value is not None else ""
    return text if len(text) <= N_CHARS else text[: N_CHARS - 1] + "…"


def render_csv(data: Mapping[str, Any]) -> str:
    """RFC 4180 with a header; null is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(data["columns"])
    writer.writerows(data["rows"])
    return out.getvalue().rstrip("\n")
