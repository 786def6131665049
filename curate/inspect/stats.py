"""`curate stats BUILD`: sources, reasons, rules alone and together, components, domains, signals by source.

In: a build folder. Out: plain data, and its text with bars. Imports inspect.{corpus, screen, tables}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.inspect import contamination, conversations, disk, duplicates, preferences
from curate.inspect.corpus import Connection, open_corpus, rows
from curate.inspect.screen import bin_label
from curate.inspect.tables import bar, count, number, paint, percent, short, table

QUANTILES = {"min": 0.0, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
N_DOMAINS = 10
AT_ONCE = 16  # columns of a query


def stats(build_dir: Path) -> dict[str, Any]:
    """Aggregates as stored, and the quantiles (nearest rank) of every numeric signal, the commonest values of the others."""
    with open_corpus(build_dir) as corpus:
        return {
            "build": str(build_dir),
            "sources": rows(corpus, "FROM sources ORDER BY priority"),
            "reasons": rows(corpus, "FROM reasons"),
            "together": rows(corpus, _TOGETHER),
            "duplicates": duplicates.counts(corpus, Path(build_dir)),
            "cuts": rows(corpus, _CUTS),
            "evaluation_sets": rows(corpus, "FROM evaluation_sets ORDER BY eval_set"),
            "conversations": conversations.by_source(corpus, Path(build_dir)),
            "preferences": preferences.by_source(corpus, Path(build_dir)),
            "components": rows(corpus, "FROM components"),
            "component_phases": rows(corpus, "FROM component_phases"),
            "copies": rows(corpus, "FROM copies"),
            "left_out": rows(corpus, _LEFT_OUT),
            "domains": rows(corpus, "SELECT * FROM domains ORDER BY documents DESC, domain, source LIMIT ?", N_DOMAINS),
            "disk": disk.disk(corpus, build_dir),
            "signals": _signals(corpus),
        }


# Pairs of rules that fail the same documents: what loosening one alone would not bring back.
_TOGETHER = """
WITH failed AS (SELECT source, id, unnest(failed_rules) AS rule FROM decisions WHERE len(failed_rules) > 1)
SELECT a.source, a.rule AS rule, b.rule AS other, count(*) AS documents FROM failed a
JOIN failed b ON a.source = b.source AND a.id = b.id AND a.rule < b.rule
GROUP BY ALL ORDER BY documents DESC, a.source, rule, other LIMIT 10
"""


# Of all documents, kept or not; a cut counts for the kind it was made for. In how many documents what is cut stands: of repeats only.
_CUTS = """
SELECT c.source, kind, count(*) AS cuts, count(DISTINCT c.id) AS documents, sum("end" - start)::BIGINT AS bytes,
  sum("end" - start) / (SELECT sum(n_bytes) FROM signals s WHERE s.source = c.source) AS share_of_bytes,
  quantile_disc(n_documents, 0.5) AS median_documents, max(n_documents) AS max_documents
FROM cuts c GROUP BY c.source, kind ORDER BY c.source, bytes DESC, kind
"""


# What is lost of documents that a component has: whole ones, or what is behind a cut. Longest: of a pair its longer conversation.
_LEFT_OUT = """
SELECT component, action, reason, count(*) AS documents, sum(n_tokens - n_kept_tokens)::BIGINT AS tokens, max(length) AS longest
FROM left_out GROUP BY component, action, reason ORDER BY component, action, reason
"""


def _signals(corpus: Connection) -> list[dict[str, Any]]:
    """One row per source and signal; a few columns at a time: memory holds those, and a query over the view costs 0.2 s before it
    reads anything."""
    columns = rows(corpus, "SELECT column_name AS name, data_type AS type FROM duckdb_columns() WHERE table_name = 'signals'")
    found: list[dict[str, Any]] = []
    numeric: list[str] = []
    for column in columns:
        name = '"' + column["name"] + '"'
        if column["name"] in ("id", "source", "host", "domain"):  # one value per document: the table of domains says more
            continue
        if column["type"] == "VARCHAR":
            query = f"""SELECT source, {name} AS value, count(*) AS documents FROM signals WHERE {name} IS NOT NULL
                        GROUP BY ALL ORDER BY source, documents DESC, value"""
            by_source: dict[str, dict[str, int]] = {}
            for row in rows(corpus, query):
                by_source.setdefault(row["source"], {})[row["value"]] = row["documents"]
            found += [{"source": source, "signal": column["name"], "values": values} for source, values in by_source.items()]
        else:
            numeric.append(column["name"])
    for several in batched(numeric, AT_ONCE):
        asked = ", ".join(f'quantile_disc("{name}", ?) AS "{name}"' for name in several)
        query = f"SELECT source AS source_, {asked} FROM signals GROUP BY 1 ORDER BY 1"
        by_name: dict[str, list[dict[str, Any]]] = {name: [] for name in several}
        for row in rows(corpus, query, *[list(QUANTILES.values())] * len(several)):
            for name in several:
                if row[name] is not None:  # nulls do not count, and a source may have nothing else
                    quantiles = dict(zip(QUANTILES, row[name], strict=True))
                    by_name[name].append({"source": row["source_"], "signal": name, **quantiles})
        found += [row for name in several for row in by_name[name]]
    return found


def batched(names: Sequence[str], n: int) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), n):
        yield names[first : first + n]


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    """The statistics as text, 100 columns."""
    blocks = [("sources", _sources(data)), ("reasons (failed: by this rule at all; alone: by no other rule)", _reasons(data)),
              ("rules that fail the same documents", _together(data)),
              ("duplicates", duplicates.lines(data["duplicates"])),
              ("cuts: parts that are not trained on", _cuts(data)),
              ("evaluation sets: items that stand in documents", contamination.set_lines(data["evaluation_sets"])),
              ("conversations: turns, calls, balance", conversations.lines(data["conversations"])),
              ("preferences: margins, length, what stands in what", preferences.lines(data["preferences"])), ("components", _components(data)),
              ("left out: longer than a sequence, or nothing to learn from", _left_out(data)),
              ("components by phase", _component_phases(data)),
              ("copies in one epoch", _copies(data)),
              ("web domains", _domains(data)), ("stages of this build in the store", disk.lines(data["disk"])),
              ("signals by source", _signal_lines(data))]  # fmt: skip
    return "\n\n".join("\n".join([paint(title, "bold", colour), *lines]) for title, lines in blocks if lines)


def _sources(data: Mapping[str, Any]) -> list[str]:
    names = ["records", "quarantined", "documents", "repaired", "dropped", "kept"]
    shown = [[s["source"], *(count(s[n]) for n in names), bar(s["kept"], s["documents"], 16)] for s in data["sources"]]
    lines = table(["source", "read", *names[1:], "kept of documents"], shown, "<" + ">" * len(names) + "<", "  ")
    if any(s["selected"] is not None for s in data["sources"]):
        left = ["left_out"] if any(s["left_out"] for s in data["sources"]) else []
        uses = ["kept", "selected", "over_budget", "held_out", "no_component", *left, "tokens", "unknown_license_tokens"]
        lines += [
            "",
            *table(
                ["source", *uses[:-1], "unlicensed" if left else uses[-1]],
                [[s["source"], *(count(s[n]) for n in uses)] for s in data["sources"]],
                "<" + ">" * len(uses),
                "  ",
            ),
        ]
    open_ = [s["source"] for s in data["sources"] if not s["sums_close"]]
    return [
        *lines,
        f"  sums do NOT close for {', '.join(open_)}" if open_ else f"  sums close for all {len(data['sources'])} sources",
    ]


def _left_out(data: Mapping[str, Any]) -> list[str]:
    shown = [[r["component"], r["action"], r["reason"], count(r["documents"]), count(r["tokens"]), count(r["longest"])]
             for r in data["left_out"]]  # fmt: skip
    return table(["component", "", "reason", "documents", "tokens", "longest"], shown, "<<<>>>", "  ") if shown else []


def _reasons(data: Mapping[str, Any]) -> list[str]:
    largest = max((r["dropped"] for r in data["reasons"]), default=0)
    shown = [
        [r["source"], r["reason"], count(r["dropped"]), percent(r["share_of_read"], 1), count(r["failed"]), count(r["alone"]),
         bar(r["dropped"], largest, 16)] for r in data["reasons"]
    ]  # fmt: skip
    return table(["source", "reason", "dropped", "of read", "failed", "alone", ""], shown, "<<>>>><", "  ") if shown else []


def _together(data: Mapping[str, Any]) -> list[str]:
    shown = [[r["source"], r["rule"], r["other"], count(r["documents"])] for r in data["together"]]
    return table(["source", "rule", "and", "documents"], shown, "<<<>", "  ") if shown else []


def _cuts(data: Mapping[str, Any]) -> list[str]:
    shown = [
        [c["source"], c["kind"], count(c["cuts"]), count(c["documents"]), count(c["bytes"]), percent(c["share_of_bytes"], 1),
         *("" if c[n] is None else count(c[n]) for n in ("median_documents", "max_documents"))]
        for c in data["cuts"]
    ]  # fmt: skip
    head = ["source", "kind", "cuts", "documents", "bytes", "of the text", "stands in (median)", "(most)"]
    return table(head, shown, "<<>>>>>>", "  ") if shown else []


def _components(data: Mapping[str, Any]) -> list[str]:
    shown = [
        [c["component"], c["role"], short(c["requested"]), count(c["train_tokens"]), short(c["unique_tokens"]),
         count(c["documents"]), "-" if c["epochs"] is None else f"{c['epochs']:.2f}", f"{c['max_epochs']:g}",
         bar(c["epochs"] or 0, c["max_epochs"], 16)] for c in data["components"]
    ]  # fmt: skip
    head = ["component", "role", "requested", "to train", "unique", "documents", "epochs", "cap", "epochs of cap"]
    return table(head, shown, "<<>>>>>><", "  ") if shown else []


def _component_phases(data: Mapping[str, Any]) -> list[str]:
    """Where there are several phases. `epochs` of the phase, `most` of any document up to its end."""
    if len({c["phase"] for c in data["component_phases"]}) < 2:
        return []
    shown = [
        [c["phase"], c["component"], f"{short(c['requested'])} {c['unit']}", count(c["train_tokens"]), short(c["unique_tokens"]),
         count(c["documents"]), f"{c['epochs'] or 0:.2f}", count(c["max_epochs_used"]), f"{c['max_epochs']:g}"]
        for c in data["component_phases"]
    ]  # fmt: skip
    head = ["phase", "component", "requested", "to train", "unique", "documents", "epochs", "most", "cap"]
    return table(head, shown, "<<>>>>>>>", "  ")


def _copies(data: Mapping[str, Any]) -> list[str]:
    """Bins with what their copies were made from (by filter rate), documents and tokens held by them, and tokens trained on."""
    rated = any(b["judged"] is not None for b in data["copies"])
    head = ["component", "bin", "copies", "documents", "tokens", "trained on"] + (["judged", "removed", "rate"] if rated else [])
    shown = []
    for b in data["copies"]:
        figures = [b["component"], bin_label(b), *(count(b[k]) for k in ("copies", "documents", "tokens", "trained_tokens"))]
        figures += [count(b["judged"]), count(b["removed"]), percent(b["rate"], 1)] if rated else []
        shown.append(figures)
    lines = table(head, shown, "<" + ">" * (len(head) - 1), "  ") if shown else []
    origins = dict.fromkeys((b["component"], b["by"], b["origin"]) for b in data["copies"])
    return lines + [f"  {component}: bins of {by}, copies of {origin}" for component, by, origin in origins]


def _domains(data: Mapping[str, Any]) -> list[str]:
    shown = [
        [
            d["source"], d["domain"], *(count(d[n]) for n in ("documents", "kept", "dropped", "kept_tokens")),
            ", ".join(f"{reason} {percent(share, 1)}" for reason, share in list((d["reasons"] or {}).items())[:2]),
        ]
        for d in data["domains"]
    ]  # fmt: skip
    head = ["source", "domain", "documents", "kept", "dropped", "kept tokens", "largest reasons (share of its documents)"]
    return table(head, shown, "<<>>>><", "  ") if shown else []


def _signal_lines(data: Mapping[str, Any]) -> list[str]:
    figures = [s for s in data["signals"] if "values" not in s]
    shown = [[s["source"], s["signal"], *(number(s[q]) for q in QUANTILES)] for s in figures]
    lines = table(["source", "signal", *QUANTILES], shown, "<<" + ">" * len(QUANTILES), "  ") if shown else []
    for s in data["signals"]:
        if "values" in s:
            total = sum(s["values"].values())
            common = ", ".join(f"{value} {percent(n, total)}" for value, n in list(s["values"].items())[:8])
            lines.append(f"  {s['source']}  {s['signal']}: {common}")
    return lines
