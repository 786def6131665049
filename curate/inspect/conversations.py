"""What `curate stats` says of sources of conversations: turns and what is wrong with them, calls and none, and the balance of languages,
tasks, templates, generators and verdicts.

In: an open corpus.duckdb and its build folder, of whose signals family conversation alone is read. Out: rows by source, of all documents
and of those kept; lines for the screen. Imports inspect.corpus, inspect.tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.inspect.corpus import Connection, rows, signals_of
from curate.inspect.tables import count, percent, table

FAULTS = {  # column -> what a conversation with any is called on the screen
    "n_turn_problems": "order", "n_empty_turns": "empty", "n_bad_tool_arguments": "arguments", "n_unpaired_tool_calls": "unpaired",
    "n_undeclared_tool_calls": "undeclared", "n_refusal_turns": "refusal", "n_boilerplate_turns": "phrases", "n_truncated_turns": "cut off",
}  # fmt: skip
BALANCED = ("languages", "task", "template", "generator", "verdict")
_USED = ("n_turns", "n_system_turns", "n_tool_turns", "n_tools", "n_tool_calls", "n_written_tool_calls", "n_prompt_words", "n_answer_words",
         "is_same_language", "user_language", "assistant_language", "task", "template", "generator", "verdict", *FAULTS)  # fmt: skip
MOST = 15  # values of a balance on the screen

_CHATS = """
WITH chats AS (SELECT s.*, d.keep FROM ({signals}) s JOIN decisions d ON d.source = s.source AND d.id = s.id WHERE s.n_turns IS NOT NULL)
"""
_SIZES = """
, counted AS (SELECT *, 'all' AS documents_of FROM chats UNION ALL SELECT *, 'kept' FROM chats WHERE keep)
SELECT source, documents_of, count(*) AS documents, avg(n_turns) AS mean_turns, max(n_turns) AS most_turns,
  sum((n_system_turns > 0)::INT)::BIGINT AS with_system, sum((n_tools > 0)::INT)::BIGINT AS with_tools,
  sum((n_tool_calls + n_written_tool_calls > 0)::INT)::BIGINT AS with_calls, sum((n_tool_turns > 0)::INT)::BIGINT AS with_results,
  quantile_disc(n_prompt_words, 0.5) AS median_prompt_words, quantile_disc(n_answer_words, 0.5) AS median_answer_words,
  sum((is_same_language = 0)::INT)::BIGINT AS other_language, {faults}
FROM counted GROUP BY ALL ORDER BY source, documents_of
"""
_BALANCE = """
, named AS (SELECT *, user_language || ' -> ' || assistant_language AS languages FROM chats)
SELECT source, {name} AS value, count(*) AS documents, sum(keep::INT)::BIGINT AS kept FROM named WHERE {name} IS NOT NULL
GROUP BY ALL ORDER BY source, documents DESC, value
"""


def by_source(corpus: Connection, build_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """{"sizes": a row per source and documents_of, "balance": a row per source, name of BALANCED and value}; {} without conversations."""
    if not rows(corpus, "SELECT 1 FROM stages WHERE stage = 'signals' AND family = 'conversation' LIMIT 1"):
        return {}
    chats = _CHATS.format(signals=signals_of(corpus, build_dir, _USED))
    faults = ", ".join(f"sum(({name} > 0)::INT)::BIGINT AS {name}" for name in FAULTS)
    balance = [{"name": name, **row} for name in BALANCED for row in rows(corpus, chats + _BALANCE.format(name=name))]
    return {"sizes": rows(corpus, chats + _SIZES.format(faults=faults)), "balance": balance}


def lines(data: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
    """Two tables, then a line for each balance of a source."""
    if not data:
        return []
    sizes = data["sizes"]
    names = {"documents": "documents", "with_system": "system", "with_tools": "tools", "with_calls": "calls", "with_results": "results",
             "median_prompt_words": "prompt", "median_answer_words": "answer"}  # fmt: skip
    shown = [
        [r["source"], r["documents_of"], f"{r['mean_turns']:.1f}", count(r["most_turns"]), *(count(r[n]) for n in names)]
        for r in sizes
    ]
    head = ["source", "of", "turns", "most", *names.values()]
    found = [
        "  turns: mean, most; documents with a system message, tools, calls, results; median words",
        *table(head, shown, "<<" + ">" * 9, "  "),
    ]
    shown = [[r["source"], r["documents_of"], *(count(r[name]) for name in FAULTS), count(r["other_language"])] for r in sizes]
    found += ["", "  documents with turns or calls that are not as they should be, and with answers in another language",
              *table(["source", "of", *FAULTS.values(), "language"], shown, "<<" + ">" * (len(FAULTS) + 1), "  ")]  # fmt: skip
    for source, name in dict.fromkeys((r["source"], r["name"]) for r in data["balance"]):
        own = [r for r in data["balance"] if (r["source"], r["name"]) == (source, name)]
        total = sum(r["documents"] for r in own)
        most = ", ".join(f"{r['value']} {percent(r['documents'], total)}" for r in own[:MOST])
        found.append(f"  {source}  {name} ({len(own)}): {most}{', ...' if len(own) > MOST else ''}")
    return found
