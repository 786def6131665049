"""Stage "decide": exactly one row per document. Rules judge, survivors among equals are resolved, nothing reads a text.

In: signals and relations of every source. Out, per shard of documents: decisions.parquet (schema.DECISIONS), row by
row those of the documents; and domain_drop.parquet (schema.DOMAIN_DROP) where a rule uses domain_drop_ratio. The order of judging:
cutoffs of `keep` over all shards; rules that are not over a domain; from those the share of each domain's documents that fail;
then all rules, in recipe order. A document that remove: names is dropped for that, whatever else, and is nobody's witness; its failed
rules are recorded all the same. Imports engine, recipe, schema, store, rules, relate.

Scopes: exact duplicates are looked for as dedup.exact.across and within say, near ones as dedup.near.across and dedup.within, each on
its own; references (dedup.against) are looked at by everybody.
near.keep `none` is defined on what `best` gives: of the documents that `best` keeps, those it kept as the witness of a near
duplicate go too, each with the best of these as its witness; that one is not kept either. A reference stays, and so does a document
that is like none but documents which themselves were dropped for another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import engine, schema
from curate.recipe import DOMAIN_SIGNALS, REMOVED, Dedup, Near, Recipe, Rule
from curate.relate import Relations, Shard, compared_by_prompt, kernels
from curate.relate.clusters import floats_at, on_disk, placed, sources_of, strings_at
from curate.relate.members import Members, load, opened
from curate.relate.resolve import NEAR, NOBODY, NONE, NOT_ELIGIBLE, REFERENCES, Scopes, kinds, resolve, similarity
from curate.rules import Cutoffs, Known, bound_text, failed_names, families, find_cutoffs, judge, reason_values, rules_of
from curate.signals.urls import DROP_RATIO
from curate.store import Stage, Store, digest, table_root

VERSION = 2  # witness_source, url_duplicate, near.keep
DUPLICATES = ("exact_duplicate", "url_duplicate", "near_duplicate")  # in the order of resolve.EXACT, URL, NEAR
PROMPT_DUPLICATE = "prompt_duplicate"  # what URL means of conversations where dedup.exact.by has prompt


@dataclass(frozen=True)
class Resolved:
    """By member: `witness` int32 (-1 none), `jaccard` float64 with it (NaN unknown), `kind` int8 (resolve.kinds)."""

    witness: np.ndarray
    jaccard: np.ndarray
    kind: np.ndarray
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
        "dedup": recipe.dedup.model_dump(mode="json", by_alias=True, exclude={"against", "priority"}),  # clusters' business
        "sources": list(recipe.sources),
    }
    removed = tuple(recipe.remove.ids) if recipe.remove else ()
    if removed:
        settings["removed"] = {"names": len(removed), "digest": digest(*removed)}
    parents = [root for one in relations.references for root in one.roots]
    parents += [documents[source].root for source in recipe.sources] + [used[key].root for key in sorted(used)]
    parents += [relations.buckets.root, relations.clusters.root]
    stage = store.stage("decide", version=VERSION, settings=settings, parents=parents)
    names = [shard.name for shard in relations.shards]
    threads = max(1, workers)
    cutoffs: Cutoffs = {}
    if not stage.complete:
        cutoffs = find_cutoffs(recipe.rules, [(shard.source, shard.key) for shard in relations.shards], used, threads)
    args = (
        stage,
        list(recipe.rules),
        recipe.dedup,
        used,
        relations,
        cutoffs,
        by_domain,
        removed,
        compared_by_prompt(recipe),
        threads,
    )
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
    by_domain: list[str], removed: tuple[str, ...], prompted: tuple[str, ...], threads: int,
) -> None:  # fmt: skip
    shards, n_references = relations.shards, len(relations.reference_shards)
    members = load(relations.all_shards, relations.buckets, relations.shingles, dedup.exact.by)
    eligible = np.ones(sum(shard.rows for shard in relations.all_shards), bool)

    def known(shard: Shard) -> Known:
        return Known(cutoffs, _drop_ratio(relations, shard, ratios[shard.source]) if shard.source in ratios else None)

    def judge_shard(shard: Shard) -> None:
        judged = judge(rules, shard.source, shard.key, shard.rows, signals, known(shard))
        eligible[shard.first : shard.first + shard.rows] = judged.eligible & ~named_in(shard.documents, removed)

    def write_shard(i: int) -> None:
        own = slice(*members.ends[n_references + i : n_references + i + 2].tolist())
        part = Resolved(resolved.witness[own], resolved.jaccard[own], resolved.kind[own], resolved.counts if i == 0 else {})
        source = sources_of(relations.all_shards, members.ends, part.witness)
        row = members.ordinal[own] - shards[i].first
        _write(stage, shards[i], rules, dedup, signals, known(shards[i]), row, part, ids, source, removed, prompted)

    with ThreadPoolExecutor(threads) as pool:  # columns are read, compared, compressed and hashed without the GIL
        ratios = {source: domain_drop_ratios(rules, source, signals, relations, cutoffs, pool) for source in by_domain}
        list(pool.map(judge_shard, shards))
        number, scopes = scopes_of(dedup, shards)
        numbers = [0] * n_references + [number[shard.source] for shard in shards]
        scope = np.repeat(np.array(numbers, np.int16), np.diff(members.ends))
        scope[~eligible[members.ordinal]] = NOT_ELIGIBLE
        scratch = stage.store / ".tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="blind-", dir=scratch) as folder:
            blind = _blind(relations, int(members.ends[n_references]), Path(folder))
            resolved = resolve_changed(members, scope, scopes, blind, dedup.near, scratch)
        ids = opened(relations.buckets.shard_path("all") / "id.npy")
        list(pool.map(write_shard, range(len(shards))))


def named_in(documents: Path, names: Sequence[str]) -> np.ndarray:
    """bool (rows,): documents of a shard whose id, or the id their origin gave them, is one of `names`."""
    if not names:
        return np.zeros(pq.read_metadata(documents).num_rows, np.bool_)
    table = pq.read_table(documents, columns=["id", "source_id"])
    given = pa.array(names, pa.string())
    found = [pc.is_in(table[column].cast(pa.string()), value_set=given) for column in ("id", "source_id")]
    return np.asarray(pc.or_(*found).to_numpy(), np.bool_)


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


def _blind(relations: Relations, n_references: int, folder: Path) -> dict[str, np.ndarray]:
    """witness, jaccard, kind and rank by member as clusters stored them, as memory maps; the first members are references'."""
    first = {
        "witness": np.full(n_references, -1, np.int32), "jaccard": np.full(n_references, np.nan),
        "kind": np.full(n_references, NONE, np.int8), "rank": np.arange(n_references, dtype=np.int32),
    }  # fmt: skip
    shards = [relations.clusters.shard_path(shard.name) for shard in relations.shards]
    return {
        name: on_disk([values, *(shard / f"{name}.npy" for shard in shards)], folder / name) for name, values in first.items()
    }


def scopes_of(dedup: Dedup, shards: Sequence[Shard]) -> tuple[dict[str, int], Scopes]:
    """(source -> the number of its scope, the scopes). Row 1 is `across`, then one for each source of `within`.

    Where near duplicates, or exact ones, are not looked for at all, everybody is of one mind, so that nothing is resolved again for it.
    """
    sources = list(dict.fromkeys(shard.source for shard in shards))
    near = _rows(sources, dedup.near.across, dedup.within) if dedup.near else dict.fromkeys(sources, 1)
    exact = _rows(sources, dedup.exact.across, dedup.exact.within) if dedup.exact.by else dict.fromkeys(sources, 1)
    rows = [np.array([REFERENCES, *(of[source] for source in sources)], np.int32) for of in (near, exact)]
    number = {source: i + 1 for i, source in enumerate(sources)}
    return number, Scopes(*rows)


def _rows(sources: Sequence[str], across: str | Sequence[str], within: Sequence[str]) -> dict[str, int]:
    inside = {source: i + 2 for i, source in enumerate(within)}
    return {source: inside.get(source, 1 if across == "all" or source in across else NOBODY) for source in sources}


def resolve_changed(
    members: Members, scope: np.ndarray, scopes: Scopes, blind: Mapping[str, np.ndarray], near: Near | None, scratch: Path
) -> Resolved:
    """Where a whole component is eligible and in one scope, the rule-blind result stands; the others are resolved again.

    scope: int16 (m,), numbers of `scopes` or NOT_ELIGIBLE. blind: witness, jaccard, kind and rank by member, as clusters stored them.
    """
    n_components = int(members.component.max(initial=-1)) + 1
    stands = kernels.settled(members.component, scope, _alike(scopes), n_components)[members.component]
    rest = np.where(stands, np.int16(NOT_ELIGIBLE), scope)
    jaccard, cap = (near.jaccard, near.bucket_cap) if near else (1.0, 1)
    again = resolve(members, rest, blind["rank"], jaccard=jaccard, cap=cap, scratch=scratch, scopes=scopes)
    witness = np.maximum(np.where(stands, blind["witness"], again.witness), np.int32(-1))
    similar = np.where(stands, blind["jaccard"], similarity(members, again)[0])
    kind = np.where(stands, blind["kind"], kinds(again))
    if near is not None and near.keep == "none":
        _drop_heads(witness, similar, kind, blind["rank"], scope, scopes)
    counts = {"reused_members": int(stands.sum()), "resolved_members": int((rest > NOT_ELIGIBLE).sum()), **again.counts}
    return Resolved(witness, similar, kind, counts)


def _alike(scopes: Scopes) -> np.ndarray:
    """int32 by scope, for kernels.settled."""
    both = scopes.near * (scopes.exact.max() + 1) + scopes.exact
    nobody = (scopes.near == NOBODY) | (scopes.exact == NOBODY)
    return np.where(scopes.exact == REFERENCES, kernels.ANYBODY, np.where(nobody, -1, both)).astype(np.int32)


def _drop_heads(
    witness: np.ndarray, similar: np.ndarray, kind: np.ndarray, rank: np.ndarray, scope: np.ndarray, scopes: Scopes
) -> None:
    """near.keep: none. Whoever was kept as the witness of a near duplicate goes as well, for the best of these."""
    near = np.flatnonzero(kind == NEAR)
    near = near[scopes.exact[scope[witness[near]]] != REFERENCES]
    near = near[np.argsort(rank[near])]
    heads, first = np.unique(witness[near], return_index=True)
    best = near[first]
    witness[heads], similar[heads], kind[heads] = best, similar[best], NEAR


def _write(
    stage: Stage, shard: Shard, rules: list[Rule], dedup: Dedup, signals: dict[tuple[str, str], Stage], known: Known, row: np.ndarray,
    resolved: Resolved, ids: np.ndarray, witness_source: pa.Array, removed: tuple[str, ...], prompted: tuple[str, ...],
) -> None:  # fmt: skip
    own = rules_of(rules, shard.source)
    judged = judge(rules, shard.source, shard.key, shard.rows, signals, known)
    exact, url, near = DUPLICATES
    more = [exact, PROMPT_DUPLICATE if shard.source in prompted else url, near, *([REMOVED] if removed else [])]
    reasons = [rule.name for rule in own] + more
    near_bound = f"< {dedup.near.jaccard:g}" if dedup.near else None
    code = judged.first.copy()
    equal = resolved.witness >= 0
    code[row[equal]] = len(own) + resolved.kind[equal].astype(np.int32) - 1
    value, value_text = reason_values(own, judged)
    if removed:
        is_removed = named_in(shard.documents, removed)
        code[is_removed] = len(reasons) - 1
        gone = pa.array(is_removed)
        value, value_text = (pc.if_else(gone, pa.scalar(None, column.type), column) for column in (value, value_text))

    def by_reason(texts: Sequence[str | None]) -> pa.Array:
        return pa.array(texts, pa.string()).take(pa.array(code, mask=code < 0))

    columns = {
        "id": pq.read_table(shard.documents, columns=["id"]).column(0),
        "source": pa.repeat(shard.source, shard.rows),
        "keep": pa.array(code < 0),
        "reason": by_reason(reasons),
        "failed_rules": failed_names(own, judged.failed),
        "signal": by_reason([*(rule.signal for rule in own), *(None for _ in more)]),
        "value": value,
        "value_text": value_text,
        "bound": by_reason(
            [
                *(bound_text(rule, shard.source, known.cutoffs) for rule in own),
                *(near_bound if reason == "near_duplicate" else None for reason in more),
            ]
        ),
        "witness_source": placed(shard.rows, row, witness_source),
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
