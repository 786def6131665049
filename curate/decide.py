"""Stage "decide": exactly one row per document. Rules judge, survivors among equals are resolved, nothing reads a text.

In: signals and relations of every source. Out, per shard of documents: decisions.parquet (schema.DECISIONS), row by
row those of the documents; and domain_drop.parquet (schema.DOMAIN_DROP) where a rule uses domain_drop_ratio. The order of judging:
cutoffs of `keep` over all shards; rules that are not over a domain; from those the share of each domain's documents that fail;
then all rules, in recipe order. Imports engine, recipe, schema, store, rules, relate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from curate import engine, schema
from curate.recipe import DOMAIN_SIGNALS, Dedup, Near, Recipe, Rule
from curate.relate import Relations, Shard, kernels
from curate.relate.clusters import floats_at, strings_at
from curate.relate.members import Members, load, opened
from curate.relate.resolve import EXACT_ONLY, NOT_ELIGIBLE, resolve, similarity
from curate.rules import Cutoffs, Known, bound_text, failed_names, families, find_cutoffs, judge, reason_values, rules_of
from curate.signals.urls import DROP_RATIO
from curate.store import Stage, Store, table_root

VERSION = 1
EXACT, NEAR = "exact_duplicate", "near_duplicate"


@dataclass(frozen=True)
class Resolved:
    """By member: `witness` int32 (a kept member; -1 none), `jaccard` float64 with it, `is_exact` by hash."""

    witness: np.ndarray
    jaccard: np.ndarray
    is_exact: np.ndarray
    counts: dict[str, int]


def decide(
    store: Store, recipe: Recipe, documents: Mapping[str, Stage], signals: Mapping[tuple[str, str], Stage],
    relations: Relations, workers: int,
) -> Stage:  # fmt: skip
    """Judge every document; with other rules or scopes the same relations are used again."""
    signals = {**signals, **{(source, "domains"): stage for source, stage in relations.domains.items()}}
    used = {
        (source, family): signals[source, family]
        for source in recipe.sources for family in families(recipe.rules, source, signals)
    }  # fmt: skip
    asks = {source for source in recipe.sources for rule in rules_of(recipe.rules, source) if rule.signal == DROP_RATIO.name}
    by_domain = [source for source in relations.domains if source in asks]
    # number.npy of the domains is a function of family url, which is therefore named as a parent
    used |= {(source, family): signals[source, family] for source in by_domain for family in ("domains", "url")}
    settings = {
        "rules": [rule.model_dump(mode="json", by_alias=True, exclude={"origin"}, exclude_none=True) for rule in recipe.rules],
        "dedup": recipe.dedup.model_dump(mode="json", by_alias=True),
        "sources": list(recipe.sources),
    }
    parents = [documents[source].root for source in recipe.sources] + [used[key].root for key in sorted(used)]
    parents += [relations.buckets.root, relations.clusters.root]
    stage = store.stage("decide", version=VERSION, settings=settings, parents=parents)
    names = [shard.name for shard in relations.shards]
    threads = max(1, workers)
    cutoffs: Cutoffs = {}
    if not stage.complete:
        cutoffs = find_cutoffs(recipe.rules, [(shard.source, shard.key) for shard in relations.shards], used, threads)
    args = (stage, list(recipe.rules), recipe.dedup, used, relations, cutoffs, by_domain, threads)
    task = engine.Task(tuple((stage, name) for name in names), _write_all, args, max(1, sum(s.rows for s in relations.shards)))
    engine.run([task], workers=workers, label="decide")
    shown: dict[str, dict[str, list[float]]] = {}
    for (source, signal), values in cutoffs.items():
        shown.setdefault(source, {})[signal] = list(values)
    stage.finish(names, {"cutoffs": shown} if shown else None)
    return stage


def decide_counts(stage: Stage) -> dict[str, dict]:
    """source -> {"documents", "kept", "dropped": {reason: n}}, every number counted in the rows."""
    counts: dict[str, dict] = {}
    for key in stage.keys:
        rows = pl.read_parquet(stage.shard_path(key) / "decisions.parquet", columns=["keep", "reason"], glob=False)
        of = counts.setdefault(key.rpartition(".")[0], {"documents": 0, "kept": 0, "dropped": {}})
        of["documents"] += rows.height
        of["kept"] += int(rows["keep"].sum())
        for reason, n in rows.filter(~pl.col("keep")).group_by("reason").len().sort("reason").iter_rows():
            of["dropped"][reason] = of["dropped"].get(reason, 0) + n
    return counts


def _write_all(
    stage: Stage, rules: list[Rule], dedup: Dedup, signals: dict[tuple[str, str], Stage], relations: Relations, cutoffs: Cutoffs,
    by_domain: list[str], threads: int,
) -> None:  # fmt: skip
    shards = relations.shards
    members = load(shards, relations.buckets, relations.shingles, dedup.exact.by)
    eligible = np.empty(sum(shard.rows for shard in shards), bool)

    def known(shard: Shard) -> Known:
        return Known(cutoffs, _drop_ratio(relations, shard, ratios[shard.source]) if shard.source in ratios else None)

    def judge_shard(shard: Shard) -> None:
        judged = judge(rules, shard.source, shard.key, shard.rows, signals, known(shard))
        eligible[shard.first : shard.first + shard.rows] = judged.eligible

    def write_shard(i: int) -> None:
        own = slice(int(members.ends[i]), int(members.ends[i + 1]))
        part = Resolved(resolved.witness[own], resolved.jaccard[own], resolved.is_exact[own], resolved.counts if i == 0 else {})
        _write(stage, shards[i], rules, dedup, signals, known(shards[i]), members.ordinal[own] - shards[i].first, part, ids)

    with ThreadPoolExecutor(threads) as pool:  # columns are read, compared, compressed and hashed without the GIL
        ratios = {source: domain_drop_ratios(rules, source, signals, relations, cutoffs, pool) for source in by_domain}
        list(pool.map(judge_shard, shards))
        blind = {name: _of_clusters(relations, name) for name in ("witness", "jaccard", "rank")}
        scope = member_scopes(dedup, shards, members, eligible[members.ordinal])
        resolved = resolve_changed(members, scope, blind, dedup.near, stage.store / ".tmp")
        ids = opened(relations.buckets.shard_path("all") / "id.npy")
        list(pool.map(write_shard, range(len(shards))))


def domain_drop_ratios(
    rules: Sequence[Rule], source: str, signals: Mapping[tuple[str, str], Stage], relations: Relations, cutoffs: Cutoffs, pool: Executor
) -> np.ndarray:  # fmt: skip
    """float64 by number of the source's domains: the share of its documents that fail any rule which is not over a domain."""
    document_rules = [rule for rule in rules if rule.signal not in DOMAIN_SIGNALS]
    shards = [shard for shard in relations.shards if shard.source == source]

    def numbers(shard: Shard) -> tuple[np.ndarray, np.ndarray]:
        judged = judge(document_rules, source, shard.key, shard.rows, signals, Known(cutoffs))
        number = _domain_numbers(relations, shard)
        return number[number >= 0], number[(number >= 0) & ~judged.eligible]

    counts = np.zeros((2, 0), np.int64)
    for found in pool.map(numbers, shards):
        if (more := max(int(of.max(initial=-1)) for of in found) + 1 - counts.shape[1]) > 0:
            counts = np.pad(counts, ((0, 0), (0, max(more, counts.shape[1]))))  # doubled, so that it is copied few times
        for of, count in zip(found, counts, strict=True):
            np.add.at(count, of, 1)
    return counts[1] / np.maximum(counts[0], 1)


def _domain_numbers(relations: Relations, shard: Shard) -> np.ndarray:
    return np.load(relations.domains[shard.source].shard_path(shard.key) / "number.npy")


def _drop_ratio(relations: Relations, shard: Shard, ratios: np.ndarray) -> np.ndarray:
    """float64 (rows,), NaN without a domain."""
    number = _domain_numbers(relations, shard)
    return np.where(number >= 0, ratios[np.maximum(number, 0)], np.nan)


def _of_clusters(relations: Relations, name: str) -> np.ndarray:
    folders = [relations.clusters.shard_path(shard.name) for shard in relations.shards]
    return np.concatenate([np.load(folder / f"{name}.npy") for folder in folders])


def scopes(dedup: Dedup, sources: Sequence[str]) -> dict[str, int]:
    """source -> where its near duplicates are looked for: 0 across, 1.. each of `within` alone, EXACT_ONLY nowhere."""
    if dedup.near is None:
        return dict.fromkeys(sources, EXACT_ONLY)
    across = dedup.near.across
    inside = {source: i + 1 for i, source in enumerate(dedup.within)}
    return {source: inside.get(source, 0 if across == "all" or source in across else EXACT_ONLY) for source in sources}


def member_scopes(dedup: Dedup, shards: Sequence[Shard], members: Members, eligible: np.ndarray) -> np.ndarray:
    """int16 (m,): each member's scope; NOT_ELIGIBLE where a rule failed."""
    of_source = scopes(dedup, list(dict.fromkeys(shard.source for shard in shards)))
    scope = np.repeat(np.array([of_source[shard.source] for shard in shards], np.int16), np.diff(members.ends))
    scope[~eligible] = NOT_ELIGIBLE
    return scope


def resolve_changed(
    members: Members, scope: np.ndarray, blind: Mapping[str, np.ndarray], near: Near | None, scratch: Path
) -> Resolved:
    """Where a whole component is eligible and in one scope, the rule-blind result stands; the others are resolved again.

    blind: witness, jaccard and rank by member, as clusters stored them.
    """
    n_components = int(members.component.max(initial=-1)) + 1
    stands = kernels.settled(members.component, scope, n_components)[members.component]
    rest = np.where(stands, np.int16(NOT_ELIGIBLE), scope)
    jaccard, cap = (near.jaccard, near.bucket_cap) if near else (1.0, 1)
    again = resolve(members, rest, blind["rank"], jaccard=jaccard, cap=cap, scratch=scratch)
    witness = np.where(stands, blind["witness"], again.witness)
    similar = np.where(stands, blind["jaccard"], similarity(members, again)[0])
    is_exact = (witness >= 0) & (members.group >= 0)
    is_exact[is_exact] = members.group[witness[is_exact]] == members.group[is_exact]
    counts = {"reused_members": int(stands.sum()), "resolved_members": int((rest > NOT_ELIGIBLE).sum()), **again.counts}
    return Resolved(np.maximum(witness, np.int32(-1)), similar, is_exact, counts)


def _write(
    stage: Stage, shard: Shard, rules: list[Rule], dedup: Dedup, signals: dict[tuple[str, str], Stage], known: Known, row: np.ndarray,
    resolved: Resolved, ids: np.ndarray,
) -> None:  # fmt: skip
    own = rules_of(rules, shard.source)
    judged = judge(rules, shard.source, shard.key, shard.rows, signals, known)
    reasons = [rule.name for rule in own] + [EXACT, NEAR]
    near_bound = f"< {dedup.near.jaccard:g}" if dedup.near else None
    code = judged.first.copy()
    equal = resolved.witness >= 0
    code[row[equal]] = np.where(resolved.is_exact[equal], len(own), len(own) + 1)
    value, value_text = reason_values(own, judged)

    def by_reason(texts: Sequence[str | None]) -> pa.Array:
        return pa.array(texts, pa.string()).take(pa.array(code, mask=code < 0))

    columns = {
        "id": pq.read_table(shard.documents, columns=["id"]).column(0),
        "source": pa.repeat(shard.source, shard.rows),
        "keep": pa.array(code < 0),
        "reason": by_reason(reasons),
        "failed_rules": failed_names(own, judged.failed),
        "signal": by_reason([*(rule.signal for rule in own), None, None]),
        "value": value,
        "value_text": value_text,
        "bound": by_reason([*(bound_text(rule, shard.source, known.cutoffs) for rule in own), None, near_bound]),
        "witness_id": strings_at(shard.rows, row[equal], ids[resolved.witness[equal]]),
        "similarity": floats_at(shard.rows, row[equal], resolved.jaccard[equal]),
    }
    table = pa.table(columns).cast(schema.DECISIONS)
    dropped = np.bincount(code[code >= 0], minlength=len(reasons)).tolist()
    counts = {"kept": int((code < 0).sum()), **{f"dropped {name}": n for name, n in zip(reasons, dropped, strict=True)}}
    with stage.shard(shard.name) as writer:
        pq.write_table(table, writer.path / "decisions.parquet", compression="zstd")
        if known.drop_ratio is not None:  # a function of the decisions: no part of the root
            ratio = pa.array(known.drop_ratio, from_pandas=True)  # NaN becomes null
            dropped_table = pa.table([table.column("id"), ratio], schema=schema.DOMAIN_DROP)
            pq.write_table(dropped_table, writer.path / "domain_drop.parquet", compression="zstd")
        writer.done(shard.rows, table_root(table), {**counts, **resolved.counts})
