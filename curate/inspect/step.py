"""`curate step BUILD S`: the packed rows of one training step and the documents in them.

In: a build folder and stream indices of one phase (mixture.steps makes them of a step); for texts, whoever decodes a row. Out: plain
data, and its text. Read: selection.parquet by stream index, and titles of the documents listed. Imports errors, manifest,
inspect.corpus, inspect.tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from curate.inspect.corpus import Connection, open_corpus, rows
from curate.inspect.tables import WIDTH, count, flowed, one_line, paint, percent, table, wrapped
from curate.manifest import read_manifest

N_ROWS = 16  # listed on the screen; the totals are of all
TEXT_LINES = 4  # of a chunk, on the screen

UNNAMED: dict[str, None] = dict.fromkeys(
    ("source_id", "title", "url", "file")
)  # where the store does not have the document any more

# One use of a chunk a row; the columns of the contract (design.md section 4) that say what, not where.
_CHUNKS = """
SELECT stream_index, sequence, phase, component, pass, position, source, id, chunk, n_chunks, token_start, n_tokens, n_loss_tokens
FROM selection WHERE stream_index >= ? AND stream_index < ? ORDER BY stream_index, position
"""

# Without ids: of twenty million rows their column is three quarters of the bytes.
_TOTALS = """
SELECT phase, component, source, pass, stream_index, count(*) AS chunks, sum(n_tokens)::BIGINT AS tokens,
  sum(n_loss_tokens)::BIGINT AS loss_tokens
FROM selection WHERE stream_index >= ? AND stream_index < ? GROUP BY ALL
"""


def passes_per_epoch(manifest: Mapping[str, Any]) -> dict[str, int]:
    """component -> passes of one epoch: 1, or the most copies a document of it has."""
    return {c["name"]: c.get("copies_per_epoch", {}).get("passes", 1) for c in manifest["components"]}


def step(
    build_dir: Path, asked: range, n_rows: int | None = N_ROWS, read: Callable[[int], list[str]] | None = None, n_empty: int = 0
) -> dict[str, Any]:
    """Rows `asked` of the stream, all of one phase: totals by component and source, and of the first `n_rows` (None: all) their documents.

    {build, phase, sequence_length, n_phases, first, last, sequences, empty, components: [{component, sequences, chunks, tokens,
    loss_tokens, padding, passes, epochs, sources: {source: tokens}}], total, rows: [{stream_index, sequence, phase, component, pass,
    epoch, tokens, padding, documents}]}. `empty`: the rows that fill the phase's last global batch. `epoch` counts from 1, in each
    phase. `read(stream index)` gives the texts of a row's chunks.
    """
    build_dir = Path(build_dir)
    manifest = read_manifest(build_dir / "manifest.json")
    length = {
        phase["name"]: phase["sequence_length"] if "row_length" not in phase else 0 for phase in manifest["phases"]
    }  # 0: pairs, which have no padding
    per_epoch = passes_per_epoch(manifest)
    with open_corpus(build_dir) as corpus:
        totals = rows(corpus, _TOTALS, asked.start, asked.stop)
        found = _rows(corpus, asked if n_rows is None else asked[:n_rows], length, per_epoch)
    for row in found if read else []:
        assert read is not None
        for document, text in zip(row["documents"], read(row["stream_index"]), strict=True):
            document["text"] = text
    components = _components(totals, length, per_epoch, [c["name"] for c in manifest["components"]])
    numbers = ("sequences", "chunks", "tokens", "loss_tokens", "padding")
    phase = _phase(manifest, asked)
    return {
        "build": str(build_dir), "phase": phase["name"], "sequence_length": phase["sequence_length"], "n_phases": len(length),
        "first": asked.start, "last": asked.stop - 1, "sequences": _end(manifest["phases"][-1]), "empty": n_empty,
        "components": components, "total": {name: sum(c[name] for c in components) for name in numbers}, "rows": found,
    }  # fmt: skip


def _end(phase: Mapping[str, Any]) -> int:
    return phase["order"]["first_index"] + phase["order"]["n_sequences"]


def _phase(manifest: Mapping[str, Any], asked: range) -> Mapping[str, Any]:
    """The phase of the rows; of no rows, as a rank has them in a last batch, the phase that ends there."""
    return next(phase for phase in manifest["phases"] if asked.stop <= _end(phase) and phase["order"]["n_sequences"])


def _components(
    totals: list[dict[str, Any]], length: Mapping[str, int], per_epoch: Mapping[str, int], names: list[str]
) -> list[dict[str, Any]]:
    found = []
    for name in names:
        mine = [t for t in totals if t["component"] == name]
        if not mine:
            continue
        room = {t["stream_index"]: length[t["phase"]] for t in mine}
        tokens = sum(t["tokens"] for t in mine)
        passes = sorted({t["pass"] for t in mine})
        sources: dict[str, int] = {}
        for t in sorted(mine, key=lambda t: t["source"]):
            sources[t["source"]] = sources.get(t["source"], 0) + t["tokens"]
        found.append({
            "component": name, "sequences": len(room), "chunks": sum(t["chunks"] for t in mine), "tokens": tokens,
            "loss_tokens": sum(t["loss_tokens"] for t in mine), "padding": sum(room.values()) - tokens if all(room.values()) else 0, "passes": passes,
            "epochs": sorted({p // per_epoch[name] + 1 for p in passes}), "sources": sources,
        })  # fmt: skip
    return found


def _rows(corpus: Connection, listed: range, length: Mapping[str, int], per_epoch: Mapping[str, int]) -> list[dict[str, Any]]:
    """The rows with their documents, in the order of the stream."""
    chunks = rows(corpus, _CHUNKS, listed.start, listed.stop)
    named = titles(corpus, [chunk["id"] for chunk in chunks])
    of_row: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        row = of_row.setdefault(
            chunk["stream_index"],
            {name: chunk[name] for name in ("stream_index", "sequence", "phase", "component", "pass")}
            | {"epoch": chunk["pass"] // per_epoch[chunk["component"]] + 1, "tokens": 0, "padding": 0, "documents": []},
        )
        own = ("position", "source", "id", "chunk", "n_chunks", "token_start", "n_tokens", "n_loss_tokens")
        row["documents"].append({**{name: chunk[name] for name in own}, **named.get((chunk["source"], chunk["id"]), UNNAMED)})
        row["tokens"] += chunk["n_tokens"]
        row["padding"] = length[row["phase"]] - row["tokens"] if length[row["phase"]] else 0
    return list(of_row.values())


def titles(corpus: Connection, ids: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """(source, id) -> {source_id, title, url, file}."""
    query = "SELECT source, id, source_id, title, url, file FROM documents WHERE id IN (SELECT unnest(?::VARCHAR[]))"
    return {(row.pop("source"), row.pop("id")): row for row in rows(corpus, query, sorted(set(ids)))} if ids else {}


def name_of(document: Mapping[str, Any]) -> str:
    """What people know a document by: its title, else its address, its origin's id, its file."""
    return one_line(document["title"] or document["url"] or document["source_id"] or document["file"] or "")


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    """A step as text, 100 columns. `data` with step, n_steps, batch_rows, rank and world beside it, None where there is none."""
    lines = [paint(_head(data), "bold", colour), "", *_totals(data), *_sources(data)]
    chunks = [document for row in data["rows"] for document in row["documents"]]
    head, *cells = _documents(chunks) if chunks else [""]
    at = 0
    for row in data["rows"]:
        filled = f"{count(row['tokens'])} tokens" + (f", {count(row['padding'])} of padding" if row["padding"] else "")
        what = f"{row['component']}, pass {row['pass']} (epoch {row['epoch']})"
        lines += ["", paint(f"row {row['stream_index']}", "cyan", colour) + f"  {what}, sequence {row['sequence']}: {filled}"]
        lines += [paint(head, "dim", colour)] if at == 0 else []
        for document in row["documents"]:
            lines.append(cells[at])
            lines += [f"      | {text}" for text in wrapped(document.get("text", ""), WIDTH - 8, TEXT_LINES)]
            at += 1
    left = data["last"] + 1 - data["first"] - len(data["rows"])
    lines += ["", f"and {count(left)} more rows: --json lists all, --rank those of one process"] if left > 0 else []
    return "\n".join(lines)


def _head(data: Mapping[str, Any]) -> str:
    first, last, n = data["first"], data["last"], data["sequences"]
    phase = f" (phase {data['phase']}, rows of {count(data['sequence_length'])} tokens)" if data["n_phases"] > 1 else ""
    if data["step"] is None:
        return f"row {first} of {count(n)}{phase} (--global-batch makes S a training step)"
    of = f", rank {data['rank']} of {data['world']}" if data["rank"] is not None else ""
    ended = "phase" if data["n_phases"] > 1 else "stream"
    rows_ = f"rows {first} to {last} of {count(n)}" if last >= first else f"no row, the {ended} has ended"
    empty = f", then {data['empty']} empty" if data["empty"] and last >= first else ""
    return (
        f"step {data['step']} of {count(data['n_steps'])}{phase}, {count(data['batch_rows'])} sequences each{of}: {rows_}{empty}"
    )


def _totals(data: Mapping[str, Any]) -> list[str]:
    numbers = ("sequences", "chunks", "tokens", "loss_tokens", "padding")
    total = data["total"]
    shown = [
        [c["component"], *(count(c[name]) for name in numbers), percent(c["tokens"], total["tokens"]), _span(c["passes"]),
         _span(c["epochs"])]
        for c in data["components"]
    ]  # fmt: skip
    if len(shown) > 1:
        shown.append(["total", *(count(total[name]) for name in numbers), "", "", ""])
    head = ["component", "sequences", "chunks", "tokens", "loss tokens", "padding", "share", "pass", "epoch"]
    return table(head, shown, "<>>>>>>>>") if shown else []


def _sources(data: Mapping[str, Any]) -> list[str]:
    """The sources of components that have several here."""
    lines = []
    for c in data["components"]:
        if len(c["sources"]) > 1:
            ordered = sorted(c["sources"].items(), key=lambda item: (-item[1], item[0]))
            parts = [f"{source} {percent(n, c['tokens'])}" for source, n in ordered]
            lines += flowed([f"{part}," for part in parts[:-1]] + parts[-1:], f"tokens of {c['component']} come from ", "  ", " ")
    return lines


def _span(values: list[int]) -> str:
    return f"{values[0]}-{values[-1]}" if len(values) > 1 else str(values[0])


def _documents(chunks: list[dict[str, Any]]) -> list[str]:
    """A head, and a line for every chunk."""
    cells = [
        [count(d["position"]), count(d["n_tokens"]), d["source"], d["id"],
         f"{d['chunk'] + 1}/{d['n_chunks']}" if d["n_chunks"] > 1 else "", name_of(d)]
        for d in chunks
    ]  # fmt: skip
    return table(["at", "tokens", "source", "id", "chunk", "title, url, source_id or file"], cells, ">><<><", "  ")
