"""What the stored tables of corpus.duckdb count, as SQL over its views: every term on its own, none by subtraction.

In: stage rows, ingest's counts, the manifest. Out: Arrow tables (`given_tables`), queries (`COMPUTED`). Imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pyarrow as pa

_STAGES = pa.schema([("stage", pa.string()), ("source", pa.string()), ("family", pa.string()), ("fingerprint", pa.string()),
                     ("root", pa.string()), ("rows", pa.int64()), ("path", pa.string())])  # fmt: skip
_COUNTS = pa.schema([("source", pa.string()), ("priority", pa.int32()), ("records", pa.int64())])
_PLANNED = pa.schema([("component", pa.string()), ("role", pa.string()), ("requested", pa.int64()), ("realised", pa.int64()),
                      ("max_epochs", pa.float64()), ("position", pa.int32()), ("epoch_tokens", pa.int64())])  # fmt: skip
_COPIES = pa.schema([("component", pa.string()), ("by", pa.string()), ("origin", pa.string()), ("lower", pa.float64()),
                     ("upper", pa.float64()), ("copies", pa.int32()), ("documents", pa.int64()), ("tokens", pa.int64()),
                     ("trained_tokens", pa.int64()), ("judged", pa.int64()), ("removed", pa.int64()), ("rate", pa.float64())])  # fmt: skip
EVALUATION_SETS = pa.schema([("eval_set", pa.string()), ("items", pa.int64()), ("short_items", pa.int64()), ("bound", pa.float64()),
                             ("action", pa.string()), ("passages", pa.string())])  # fmt: skip
_FED = pa.schema([("component", pa.string()), ("source", pa.string())])
_IN_PHASE = pa.schema([("phase", pa.string()), ("component", pa.string()), ("unit", pa.string()), ("requested", pa.int64()),
                       ("realised", pa.int64()), ("cap", pa.int64()), ("unique_tokens", pa.int64()), ("epochs", pa.float64()),
                       ("max_epochs_used", pa.int64()), ("over_budget_tokens", pa.int64()), ("sequences", pa.int64()),
                       ("padding", pa.int64()), ("position", pa.int32())])  # fmt: skip
_PHASES = pa.schema([("phase", pa.string()), ("unit", pa.string()), ("requested", pa.int64()), ("realised", pa.int64()),
                     ("padding", pa.int64()), ("sequence_length", pa.int64()), ("n_sequences", pa.int64()), ("first_index", pa.int64()),
                     ("packing", pa.string()), ("unavoidable_padding", pa.int64()), ("bent", pa.string()),
                     ("binding", pa.list_(pa.string())), ("excess_padding", pa.int64()), ("longer_rows", pa.int64())])  # fmt: skip


def given_tables(
    rows: list[dict[str, Any]], counts: Mapping[str, Mapping[str, int]], manifest: Mapping[str, Any] | None
) -> dict[str, pa.Table]:
    """Tables that are copied, not counted; names with _ are temporary inputs of COMPUTED."""
    read = [
        {"source": source, "priority": i + 1, "records": counted.get("n_read")} for i, (source, counted) in enumerate(
            counts.items()
        )
    ]  # fmt: skip
    planned, fed, in_phase = [], [], []
    for position, component in enumerate((manifest or {}).get("components", [])):
        name = component["name"]
        per_phase = phases_of(component)
        planned.append({
            "component": name, "role": component["role"], "max_epochs": component["max_epochs"], "position": position,
            "requested": _in_tokens(per_phase, "requested"), "realised": _in_tokens(per_phase, "realised"),
            "epoch_tokens": component.get("copies_per_epoch", {}).get("epoch_tokens"),
        })  # fmt: skip
        fed += [{"component": name, "source": source} for source in component["sources"]]
    for phase in (manifest or {}).get("phases", []):
        stated = [(i, c, p) for i, c in enumerate(manifest["components"]) for p in phases_of(c) if p["phase"] == phase["name"]]  # type: ignore[index]
        in_phase += [_in_phase(phase, c["name"], p) | {"position": i} for i, c, p in stated]
    phases = [_phase(phase) for phase in (manifest or {}).get("phases", [])]
    return {
        "stages": pa.Table.from_pylist(rows, _STAGES), "phases": pa.Table.from_pylist(phases, _PHASES),
        "_counts": pa.Table.from_pylist(read, _COUNTS), "_planned": pa.Table.from_pylist(planned, _PLANNED),
        "_fed": pa.Table.from_pylist(fed, _FED), "_in_phase": pa.Table.from_pylist(in_phase, _IN_PHASE),
        "copies": pa.Table.from_pylist(copies_of((manifest or {}).get("components", [])), _COPIES),
    }  # fmt: skip


def _in_tokens(per_phase: list[Mapping[str, Any]], what: str) -> int | None:
    """Over all phases; None where one of them counts something else."""
    units = {p.get("unit", "tokens") for p in per_phase}
    return sum(p[what] for p in per_phase) if units <= {"tokens"} else None


def _phase(phase: Mapping[str, Any]) -> dict[str, Any]:
    budget, packing = phase["budget"], phase["packing"]
    longer = packing.get("longer_rows") or {}  # where lengths make padding unavoidable
    return {
        "phase": phase["name"], **{name: budget.get(name) for name in ("unit", "requested", "realised", "padding", "bent", "binding")},
        "sequence_length": phase["sequence_length"], "n_sequences": phase["order"]["n_sequences"],
        "first_index": phase["order"]["first_index"], "packing": packing.get("algorithm"),
        "unavoidable_padding": sum(p["unavoidable_padding_tokens"] for p in packing["passes"]),
        "excess_padding": longer.get("unavoidable_padding_tokens"), "longer_rows": longer.get("sequence_length"),
    }  # fmt: skip


def _in_phase(phase: Mapping[str, Any], name: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says of a component in a phase; what the selection says is counted beside it."""
    passes = [p for p in phase["packing"]["passes"] if p.get("component") == name]
    return {
        "phase": phase["name"], "component": name, "cap": stated.get("cap_tokens"),
        **{key: stated.get(key) for key in ("unit", "requested", "realised", "unique_tokens")},
        "epochs": (stated.get("epochs") or {}).get("mean"), "max_epochs_used": (stated.get("epochs") or {}).get("max"),
        "over_budget_tokens": (stated.get("over_budget") or {}).get("tokens"),
        "sequences": sum(p["sequences"] for p in passes), "padding": sum(p["padding_tokens"] for p in passes),
    }  # fmt: skip


def copies_of(components: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row per bin of the components with copies; documents in no bin (`lower` null, one copy) only where there are some. `judged`,
    `removed` and `rate` are what copies by filter rate were made from."""
    found = []
    for component in components:
        if (given := component.get("copies_per_epoch")) is None:
            continue
        bins = [{**own, "lower": own["from"]} for own in given["bins"]]
        for own, above in pairwise(bins):
            own["upper"] = above["lower"]
        bins += [{**given["no_bin"], "copies": 1}] if given["no_bin"]["documents"] else []
        found += [{"component": component["name"], "by": given["by"], "origin": given["origin"], **own} for own in bins]
    return [{name: row.get(name) for name in _COPIES.names} for row in found]


def phases_of(component: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The records of a manifest's component, one per phase."""
    return list(component["phases"])


# What every component used of every document, over all phases: grouped once, since the selection has a row per chunk.
USES = """
SELECT component, source, id, split = 'train' AS is_train, sum(n_tokens)::BIGINT AS tokens, sum(n_loss_tokens)::BIGINT AS loss_tokens,
  count_if(chunk = 0 AND token_start = 0) AS uses, max(token_start + n_tokens) AS reached
FROM selection GROUP BY ALL
"""

# In a phase a document belongs to the first of the components it matches that the phase has. Lists of components are few.
_FIRST = """
first AS (
  SELECT components, phase, arg_min(component, list_position(components, component)) AS component
  FROM (SELECT DISTINCT components FROM members) JOIN _in_phase ON list_contains(components, component) GROUP BY ALL)
"""

# A document used in part counts as selected; the rest of its tokens is over budget (components.over_budget_tokens). One without
# any token (an empty rendering) is in no component; what is too long for its components, and pairs that are none, are left out.
_USES = f"""
{_FIRST},
used AS (SELECT source, id, bool_or(is_train) AS is_train, NOT bool_and(is_train) AS is_held_out FROM _uses GROUP BY ALL),
uses AS (
  SELECT d.source, coalesce(is_train, false) AS is_train, coalesce(is_held_out, false) AS is_held_out,
    coalesce(m.components IN (SELECT components FROM first), false) AND coalesce(t.n_tokens, 0) > 0 AS in_component,
    l.id IS NOT NULL AS is_left_out
  FROM decisions d LEFT JOIN used u ON u.id = d.id AND u.source = d.source LEFT JOIN members m ON m.id = d.id AND m.source = d.source
  LEFT JOIN tokens t ON t.id = d.id AND t.source = d.source
  LEFT JOIN left_out l ON l.id = d.id AND l.source = d.source AND l.action = 'dropped' WHERE d.keep),
fates AS (
  SELECT source, count_if(is_train) AS selected, count_if(is_held_out) AS held_out,
    count_if(NOT is_train AND NOT is_held_out AND in_component) AS over_budget,
    count_if(NOT is_train AND NOT is_held_out AND NOT in_component AND NOT is_left_out) AS no_component,
    count_if(NOT is_train AND NOT is_held_out AND NOT in_component AND is_left_out) AS left_out
  FROM uses GROUP BY source)
"""

_SOURCES = f"""
WITH {_USES},
d AS (SELECT source, count(*) AS documents, count_if(is_repaired) AS repaired FROM documents GROUP BY source),
q AS (SELECT source, count(*) AS quarantined, sum(lost_bytes) AS lost_bytes FROM quarantine GROUP BY source),
k AS (SELECT source, count_if(keep) AS kept, count_if(NOT keep) AS dropped,
        count_if(NOT keep AND reason IS NOT NULL) AS with_reason
      FROM decisions GROUP BY source),
t AS (SELECT t.source, sum(n_tokens) AS tokens, sum(n_tokens)
        FILTER (lower(coalesce(d.license, 'unknown')) IN ('unknown', 'licenseref-unknown')) AS unknown_license_tokens
      FROM tokens t JOIN documents d ON d.id = t.id AND d.source = t.source GROUP BY t.source),
counted AS (
  SELECT c.source, c.priority, c.records, coalesce(documents, 0) AS documents, coalesce(quarantined, 0) AS quarantined,
    coalesce(lost_bytes, 0)::BIGINT AS lost_bytes, coalesce(repaired, 0) AS repaired,
    coalesce(kept, 0) AS kept, coalesce(dropped, 0) AS dropped, coalesce(with_reason, 0) AS dropped_with_reason,
    CASE WHEN has THEN coalesce(selected, 0) END AS selected, CASE WHEN has THEN coalesce(over_budget, 0) END AS over_budget,
    CASE WHEN has THEN coalesce(held_out, 0) END AS held_out, CASE WHEN has THEN coalesce(no_component, 0) END AS no_component,
    CASE WHEN has THEN coalesce(left_out, 0) END AS left_out,
    coalesce(tokens, 0)::BIGINT AS tokens, coalesce(unknown_license_tokens, 0)::BIGINT AS unknown_license_tokens
  FROM _counts c CROSS JOIN (SELECT count(*) > 0 AS has FROM _fed)
  LEFT JOIN d USING (source) LEFT JOIN q USING (source) LEFT JOIN k USING (source) LEFT JOIN t USING (source)
  LEFT JOIN fates USING (source))
SELECT *, coalesce(records = documents + quarantined AND documents = kept + dropped AND dropped = dropped_with_reason
                   AND (selected IS NULL OR kept = selected + over_budget + held_out + no_component + left_out), false) AS sums_close
FROM counted ORDER BY priority
"""

# failed: the rule says no, whatever other rules say; alone: no other rule does. A duplicate failed no rule.
_REASONS = """
WITH first AS (SELECT source, reason, count(*) AS dropped FROM decisions WHERE NOT keep GROUP BY ALL),
ruled AS (SELECT source, unnest(failed_rules) AS reason, len(failed_rules) AS n FROM decisions),
every AS (SELECT source, reason, count(*) AS failed, count_if(n = 1) AS alone FROM ruled GROUP BY ALL),
both_ AS (SELECT source, reason, coalesce(dropped, 0) AS dropped, coalesce(failed, dropped) AS failed,
            coalesce(alone, dropped) AS alone FROM first FULL JOIN every USING (source, reason))
SELECT b.source, reason, dropped, failed, alone, CASE WHEN records > 0 THEN dropped / records END AS share_of_read
FROM both_ b LEFT JOIN _counts c USING (source) ORDER BY priority, dropped DESC, reason
"""

# `available`: documents that belong to the component in some phase. A document's tokens are used from its first on, so the end of its
# furthest chunk says how many are; the rest is over budget after the last phase, whatever component used them.
_COMPONENTS = f"""
WITH {_FIRST},
used AS (
  SELECT component, count_if(is_train) AS documents, sum(tokens) FILTER (is_train) AS train_tokens,
    sum(loss_tokens) FILTER (is_train) AS train_loss_tokens, count_if(NOT is_train) AS held_out_documents,
    sum(tokens) FILTER (NOT is_train) AS held_out_tokens, max(uses) FILTER (is_train) AS max_copies
  FROM _uses GROUP BY component),
reached AS (SELECT id, source, bool_and(is_train) AS is_train, max(reached) AS tokens FROM _uses GROUP BY id, source),
fit AS (
  SELECT t.id, t.source, coalesce(l.n_kept_tokens, t.n_tokens) AS n_tokens
  FROM tokens t LEFT JOIN left_out l ON l.id = t.id AND l.source = t.source AND l.action = 'cut'),
available AS (
  SELECT f.component, count(*) AS available_documents, sum(t.n_tokens) AS unique_tokens,
    sum(t.n_tokens - coalesce(r.tokens, 0)) AS over_budget_tokens
  FROM fit t JOIN members m ON m.id = t.id AND m.source = t.source
  JOIN (SELECT DISTINCT component, components FROM first) f ON f.components = m.components
  LEFT JOIN reached r ON r.id = t.id AND r.source = t.source WHERE coalesce(r.is_train, true) GROUP BY f.component)
SELECT component, role, (SELECT list(source ORDER BY source) FROM _fed f WHERE f.component = p.component) AS sources,
  requested, realised, coalesce(train_tokens, 0)::BIGINT AS train_tokens,
  coalesce(train_loss_tokens, 0)::BIGINT AS train_loss_tokens,
  coalesce(documents, 0) AS documents, coalesce(unique_tokens, 0)::BIGINT AS unique_tokens,
  epoch_tokens, CASE WHEN unique_tokens > 0 THEN coalesce(train_tokens, 0) / coalesce(epoch_tokens, unique_tokens) END AS epochs,
  max_epochs, max_copies,
  coalesce(over_budget_tokens, 0)::BIGINT AS over_budget_tokens,
  coalesce(held_out_documents, 0) AS held_out_documents, coalesce(held_out_tokens, 0)::BIGINT AS held_out_tokens
FROM _planned p LEFT JOIN used USING (component) LEFT JOIN available USING (component)
ORDER BY position
"""

# By registered domain (family url). `dropped_ratio` counts every reason, duplicates too; `reasons` is each one's share of the
# domain's documents. (The signal domain_drop_ratio counts documents that fail a rule, whatever else became of them.)
_DOMAINS = """
WITH named AS (
  SELECT a.source, domain, keep, reason, n_tokens FROM addresses a
  LEFT JOIN decisions d ON d.id = a.id AND d.source = a.source LEFT JOIN tokens t ON t.id = a.id AND t.source = a.source
  WHERE domain IS NOT NULL),
counted AS (
  SELECT source, domain, count(*) AS documents, count_if(keep) AS kept, count_if(NOT keep) AS dropped,
    coalesce(sum(n_tokens), 0)::BIGINT AS kept_tokens
  FROM named GROUP BY source, domain),
by_reason AS (SELECT source, domain, reason, count(*) AS n FROM named WHERE NOT keep GROUP BY ALL),
listed AS (
  SELECT source, domain, map_from_entries(list((reason, n / documents) ORDER BY n DESC, reason)) AS reasons
  FROM by_reason JOIN counted USING (source, domain) GROUP BY source, domain)
SELECT source, domain, documents, kept, dropped, dropped / documents AS dropped_ratio, reasons, kept_tokens
FROM counted LEFT JOIN listed USING (source, domain) ORDER BY source, documents DESC, domain
"""

# A component in one phase: what was asked and may be had, in the phase's unit, and what its rows hold. `epochs` of this phase alone;
# the most epochs of a document, and what is over budget, of all phases up to it.
_COMPONENT_PHASES = """
WITH used AS (
  SELECT phase, component, sum(n_tokens) AS train_tokens, sum(n_loss_tokens) AS train_loss_tokens,
    count_if(chunk = 0 AND token_start = 0) AS examples, count(DISTINCT id) AS documents, max(pass) AS last_pass
  FROM selection WHERE split = 'train' GROUP BY phase, component)
SELECT p.phase, p.component, c.role, p.unit, p.requested, p.realised, p.cap, coalesce(train_tokens, 0)::BIGINT AS train_tokens,
  coalesce(train_loss_tokens, 0)::BIGINT AS train_loss_tokens, coalesce(examples, 0) AS examples, coalesce(documents, 0) AS documents,
  p.unique_tokens, p.epochs, p.max_epochs_used, c.max_epochs, last_pass, p.over_budget_tokens, p.sequences, p.padding
FROM _in_phase p JOIN _planned c ON c.component = p.component JOIN phases o ON o.phase = p.phase
LEFT JOIN used u ON u.phase = p.phase AND u.component = p.component ORDER BY o.first_index, o.rowid, p.position
"""

# By source, language and licence, as the documents state them. `unknown` where they do not.
_KEPT_BY_ORIGIN = """
SELECT d.source, coalesce(d.language, 'unknown') AS language, coalesce(d.license, 'unknown') AS license, count(*) AS documents,
  coalesce(sum(t.n_tokens), 0)::BIGINT AS tokens
FROM decisions k JOIN documents d ON d.id = k.id AND d.source = k.source
LEFT JOIN tokens t ON t.id = k.id AND t.source = k.source WHERE k.keep GROUP BY ALL ORDER BY ALL
"""

_TRAINED_BY_ORIGIN = """
SELECT u.component, u.source, coalesce(d.language, 'unknown') AS language, coalesce(d.license, 'unknown') AS license,
  count(*) AS documents, sum(u.tokens)::BIGINT AS tokens, sum(u.loss_tokens)::BIGINT AS loss_tokens
FROM _uses u JOIN documents d ON d.id = u.id AND d.source = u.source WHERE is_train GROUP BY ALL ORDER BY ALL
"""

COMPUTED = {
    "sources": _SOURCES, "reasons": _REASONS, "components": _COMPONENTS, "component_phases": _COMPONENT_PHASES, "domains": _DOMAINS,
    "kept_by_origin": _KEPT_BY_ORIGIN, "trained_by_origin": _TRAINED_BY_ORIGIN,
}  # fmt: skip
