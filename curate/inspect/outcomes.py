"""Two decision tables over the same documents, side by side: what each keeps, and which documents change sides.

In: a build, and the folder of another decide stage over its documents. Out: plain counts per source, and the first documents of
every change. Shards are read in pairs, rows in the order they have (one document, one row, everywhere): nothing is joined but
the tokens of a shard. Imports errors, membership, inspect.corpus.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import polars as pl

from curate.errors import CurateError
from curate.inspect.corpus import open_corpus, rows
from curate.membership import Membership, Pattern

KEPT = "kept"  # where a reason would stand
# Of kept documents, by the components they match.
SIZES = ("documents", "known_tokens", "known_loss_tokens", "known_bytes", "new_documents", "new_bytes")

Sizes: TypeAlias = dict[Pattern, dict[str, int]]
_COLUMNS = ["id", "keep", "reason", "failed_rules"]
_EVIDENCE = [
    "id",
    "source",
    "keep",
    "reason",
    "failed_rules",
    "signal",
    "value",
    "value_text",
    "bound",
    "witness_source",
    "witness_id",
    "similarity",
]


class Shard(NamedTuple):
    """Where the rows of one shard of documents lie."""

    source: str
    before: Path  # decisions of the build
    after: Path  # decisions of the other settings
    length: Path
    tokens: Path


class Changed(NamedTuple):
    """A document that changes sides."""

    side: str  # "dropped": kept before; "kept": dropped before
    reason: str
    id: str
    decision: Path  # the table that drops it


def folders(build_dir: Path) -> dict[tuple[str, str, str], Path]:
    """(stage, source, family) -> the folder of each stage of a build."""
    with open_corpus(Path(build_dir)) as corpus:
        stages = rows(corpus, "SELECT stage, source, family, path FROM stages")
    return {(s["stage"], s["source"], s["family"]): Path(build_dir) / s["path"] for s in stages}


def compare(build_dir: Path, decide: Path, members: tuple[Membership, Membership], n_texts: int = 2) -> dict[str, Any]:
    """{before, after: {source: counts}, sizes: [before, after] of {source: Sizes}, moves: [{source, before, after, documents}],
    changed: [{side, reason, documents: [...]}]}.

    counts: documents, kept, dropped, reasons {reason: n}, failed and alone {rule: n} (a rule removes alone what no other rule
    fails), known_tokens and known_bytes of kept documents that the build has tokenized, new_documents and new_bytes of the others.
    sizes: these again, and the loss tokens, for the kept documents of each pattern of components (`members`: before, after).
    moves: reasons before and after, or "kept", of the documents where they differ. changed: of each reason the `n_texts` documents
    with the smallest ids, which are hashes: a sample that is the same every time. Raises CurateError when the documents are not
    those of the build.
    """
    build_dir = Path(build_dir)
    with open_corpus(build_dir) as corpus:
        names = [row["source"] for row in rows(corpus, "SELECT source FROM sources ORDER BY priority")]
    return between(names, folders(build_dir), Path(decide), members, n_texts)


def between(
    names: list[str],
    path: Mapping[tuple[str, str, str], Path],
    decide: Path,
    members: tuple[Membership, Membership],
    n_texts: int,
) -> dict[str, Any]:
    """`compare`, given the sources and the folder of each (stage, source, family)."""
    shards = _shards(names, path, decide)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # polars reads and counts without the GIL
        parts = list(pool.map(lambda shard: _one(shard, n_texts, members), shards))
    moves: Counter[tuple[str, str, str]] = Counter()
    sides = [{name: _nothing() for name in names} for _ in range(2)]
    sizes: list[dict[str, Sizes]] = [{name: {} for name in names} for _ in range(2)]
    changed: list[Changed] = []
    for shard, (counts, sized, moved, samples) in zip(shards, parts, strict=True):
        for i in range(2):
            _add(sides[i][shard.source], counts[i])
            for pattern, own in sized[i].items():
                _add(sizes[i][shard.source].setdefault(pattern, dict.fromkeys(SIZES, 0)), own)
        moves.update({(shard.source, *pair): n for pair, n in moved.items()})
        changed += samples
    return {
        "before": sides[0], "after": sides[1], "sizes": sizes, "changed": _samples(changed, n_texts),
        "moves": [
            {"source": source, "before": b, "after": a, "documents": n}
            for (source, b, a), n in sorted(moves.items(), key=lambda item: (names.index(item[0][0]), -item[1], item[0]))
        ],
    }  # fmt: skip


def _shards(names: list[str], path: Mapping[tuple[str, str, str], Path], decide: Path) -> list[Shard]:
    before = path["decide", "", ""]
    found = []
    for name in names:
        lengths = path["signals", name, "length"]
        keys = sorted(p.parent.name for p in lengths.glob("*/length.parquet"))
        tokens = path.get(("tokens", name, ""), Path("none"))
        for key in keys:
            pair = (folder / f"{name}.{key}" / "decisions.parquet" for folder in (before, decide))
            found.append(Shard(name, next(pair), next(pair), lengths / key / "length.parquet", tokens / key / "tokens.parquet"))
    if missing := [s.after for s in found if not s.after.is_file()]:
        raise _not_these_documents(missing[0])
    return found


def _not_these_documents(path: Path) -> CurateError:
    return CurateError("the input has changed since this build was made: its decisions are about other documents",
                       where=str(path.parent), next="curate build-mixture RECIPE, then ask again")  # fmt: skip


def _one(
    shard: Shard, n_texts: int, members: tuple[Membership, Membership]
) -> tuple[list[dict[str, Any]], list[Sizes], Counter[tuple[str, str]], list[Changed]]:
    before, after = (pl.read_parquet(path, columns=_COLUMNS, glob=False) for path in (shard.before, shard.after))
    if not before["id"].equals(after["id"]):
        raise _not_these_documents(shard.after)
    sizes = pl.read_parquet(shard.length, columns=["n_bytes"], glob=False)["n_bytes"]
    known = _tokens(shard.tokens, before["id"])
    counts = [_counts(side, sizes, known["n_tokens"]) for side in (before, after)]
    sized = [_sizes(side, sizes, known, shard, of) for side, of in zip((before, after), members, strict=True)]
    reasons = pl.DataFrame({"before": before["reason"].fill_null(KEPT), "after": after["reason"].fill_null(KEPT)})
    moved = reasons.filter(pl.col("before") != pl.col("after")).group_by("before", "after").len()
    changed: list[Changed] = []
    if n_texts:
        now_dropped, now_kept = before["keep"] & ~after["keep"], after["keep"] & ~before["keep"]
        for side, path, which, table in (("dropped", shard.after, now_dropped, after), ("kept", shard.before, now_kept, before)):
            # the first of every reason: rows are in the order of ids
            first = table.select("reason", "id").filter(which).group_by("reason").head(n_texts) if which.any() else table.head(0)
            changed += [Changed(side, reason, id_, path) for reason, id_ in first.select("reason", "id").iter_rows()]
    return counts, sized, Counter({(b, a): n for b, a, n in moved.iter_rows()}), changed


def _tokens(path: Path, ids: pl.Series) -> pl.DataFrame:
    """n_tokens and n_loss_tokens by row, null where the build has not tokenized the document."""
    names = ["n_tokens", "n_loss_tokens"]
    if not path.is_file():
        return pl.DataFrame([pl.Series(name, [None], pl.Int64).new_from_index(0, len(ids)) for name in names])
    known = pl.read_parquet(path, columns=["id", *names], glob=False)
    return ids.to_frame("id").join(known, on="id", how="left", maintain_order="left").select(names)


def _sizes(side: pl.DataFrame, sizes: pl.Series, tokens: pl.DataFrame, shard: Shard, members: Membership) -> Sizes:
    """SIZES of the kept documents of every pattern."""
    pattern = members.pattern(shard.source, shard.length.parent.name)
    known, new = pl.col("tokens").is_not_null(), pl.col("tokens").is_null()
    table = pl.DataFrame(
        {"pattern": pattern, "keep": side["keep"], "bytes": sizes, "tokens": tokens["n_tokens"], "loss": tokens["n_loss_tokens"]}
    )
    asked = (
        pl.len(), pl.col("tokens").sum(), pl.col("loss").sum(), pl.col("bytes").filter(known).sum(), new.sum(),
        pl.col("bytes").filter(new).sum(),
    )  # fmt: skip
    columns = [value.alias(name) for name, value in zip(SIZES, asked, strict=True)]
    counted = table.filter("keep").group_by("pattern").agg(columns)
    return {members.patterns[row["pattern"]]: {name: int(row[name]) for name in SIZES} for row in counted.to_dicts()}


def _counts(side: pl.DataFrame, sizes: pl.Series, n_tokens: pl.Series) -> dict[str, Any]:
    keep = side["keep"]
    is_known, is_new = keep & n_tokens.is_not_null(), keep & n_tokens.is_null()
    failed = side["failed_rules"]
    ruled = failed.filter(failed.list.len() > 0)
    return {
        "documents": len(keep), "kept": int(keep.sum()), "dropped": int((~keep).sum()),
        "reasons": _of(side.filter(~pl.col("keep"))["reason"]), "failed": _of(ruled.list.explode(empty_as_null=False)),
        "alone": _of(ruled.filter(ruled.list.len() == 1).list.first()),
        "known_tokens": int(n_tokens.filter(is_known).sum()), "known_bytes": int(sizes.filter(is_known).sum()),
        "new_documents": int(is_new.sum()), "new_bytes": int(sizes.filter(is_new).sum()),
    }  # fmt: skip


def _of(values: pl.Series) -> dict[str, int]:
    return dict(values.value_counts().iter_rows())


def _nothing() -> dict[str, Any]:
    names = ("documents", "kept", "dropped", "known_tokens", "known_bytes", "new_documents", "new_bytes")
    return {**dict.fromkeys(names, 0), "reasons": {}, "failed": {}, "alone": {}}


def _add(total: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if isinstance(value, Mapping):
            for key, n in value.items():
                total[name][key] = total[name].get(key, 0) + n
        else:
            total[name] += value


def _samples(changed: list[Changed], n: int) -> list[dict[str, Any]]:
    """Of every reason the n documents with the smallest ids, with all that the decision that drops them says."""
    by: dict[tuple[str, str], list[Changed]] = {}
    for one in sorted(changed, key=lambda c: (c.side, c.reason, c.id, c.decision)):
        by.setdefault((one.side, one.reason), []).append(one)
    chosen = {key: listed[:n] for key, listed in by.items()}
    rows: dict[tuple[Path, str], dict[str, Any]] = {}
    for path in {c.decision for listed in chosen.values() for c in listed}:
        ids = [c.id for listed in chosen.values() for c in listed if c.decision == path]
        table = pl.read_parquet(path, columns=_EVIDENCE, glob=False).filter(pl.col("id").is_in(ids))
        rows |= {(path, row["id"]): row for row in table.to_dicts()}
    return [
        {"side": side, "reason": reason, "documents": [dict(rows[c.decision, c.id]) for c in listed]}
        for (side, reason), listed in chosen.items()
    ]
