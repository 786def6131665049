"""`curate verify BUILD`: everything a build states, counted and hashed again, from raw records to packed tokens.

In: a build folder, and functions of the caller for what mixture may not import (reading raw input, corpus.duckdb). Out: a Report
whose findings name the file and, where known, the row. A shard or row group in memory at a time, never the corpus.
Imports errors, recipe, store and mixture's rooms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.errors import CurateError
from curate.manifest import SCHEMA_VERSION
from curate.recipe import Recipe, load_recipe
from mixture.tokenizer import load_tokenizer
from mixture.verify import (
    budgets,
    copies,
    cuts,
    documents,
    files,
    going_on,
    held_out,
    left_out,
    miniature,
    origins,
    packing,
    pairs,
    rows,
    tokens,
    uses,
    witnesses,
)
from mixture.verify.copies import Membership
from mixture.verify.documents import Found
from mixture.verify.report import Finding, Report

__all__ = ["Finding", "Report", "verify"]

ROW_TABLES = {"decide": "decisions.parquet", "clusters": "duplicates.parquet"}  # besides signals/<family>: one row per document


def verify(
    build_dir: Path,
    base: Path | None = None,
    *,
    store: Path | None = None,
    stages: list[dict[str, Any]] | None = None,
    recount: Callable[[Recipe, str], Mapping[str, int]] | None = None,
    derived: Callable[[Path, list[dict[str, Any]], Mapping[str, Any] | None], list[str]] | None = None,
    membership: Callable[[Recipe, Mapping[tuple[str, str, str], Path]], Membership] | None = None,
    similarity: witnesses.Again | None = None,
    fast: bool = False,
) -> Report:
    """Check a build. `base`: where the recipe's relative paths start (None: the build folder). `store`: None: as the manifest's
    outputs lead to it.

    `stages`: lineage of a build that has no manifest: [{stage, of: [source, family], fingerprint, root}].
    `recount(recipe, source)` reads the raw input again: {n_read, n_documents, n_quarantined}; None: not asked for.
    `derived(build_dir, stage rows, manifest)` says what is wrong in corpus.duckdb. `membership(recipe, folders of stages)` finds the
    components and copies of documents again (curate.membership); a recipe with where: or copies: needs it.
    `similarity(recipe, source, text, source, text)` compares a duplicate and its witness anew (curate.recount); None: not asked for.
    `fast` decodes one document in a hundred; all else is complete.
    """
    build_dir, report = Path(build_dir).resolve(), Report()
    manifest = None
    if stages is None or (build_dir / "manifest.json").exists():
        manifest = files.read_exact(build_dir / "manifest.json", report, "manifest.json")
        if manifest is None:  # nothing it states can be trusted, its list of stages included
            return report
    lineage = (stages or []) if manifest is None else manifest["lineage"]
    store = _store(build_dir, manifest) if store is None else Path(store).resolve()
    recipe = _recipe(build_dir, base, manifest, report)
    found = _stages(build_dir, store, lineage, report)
    files.check_caches(store, report, build_dir)
    is_whole = manifest is not None and _outputs(build_dir, manifest, found, report)
    of = _by_stage(found)
    decide, clusters = (of.get(name, {}).get("") for name in ("decide", "clusters"))
    docs, token_stages = of.get("documents", {}), of.get("tokens", {})
    counted = {source: documents.check_documents(stage, report, build_dir) for source, stage in docs.items()}
    for stage in found:
        if (file := f"{stage.family}.parquet" if stage.family else ROW_TABLES.get(stage.stage)) is not None:
            documents.check_rows(stage, file, docs, report, build_dir)
    decided = documents.check_decisions(decide, report, build_dir) if decide else {}
    if decide is not None:
        references = witnesses.references_of(found)
        drops_heads = ((decide.info["settings"].get("dedup") or {}).get("near") or {}).get("keep") == "none"
        witnesses.check_kept(decide, references, drops_heads, report, build_dir)
        if similarity is not None and recipe is not None:
            witnesses.check_similar(decide, docs, references, recipe, similarity, report, build_dir)
    again = {source: _again(recount, recipe, source, report) for source in docs} if recount and recipe else {}
    documents.check_sums(docs, counted, decided, again, report, build_dir)
    _cuts(build_dir, recipe, docs, found, report)
    is_readable = len(found) == len(lineage) and not any(stage.info["damaged"] for stage in found)
    needs = recipe is not None and copies.needs_membership(recipe)
    members = _members(recipe, membership, found, report) if needs and is_readable and recipe is not None else None
    if recipe is not None and decide is not None and token_stages:
        _tokens(build_dir, recipe, manifest, docs, decide, token_stages, of.get("cuts", {}), report, fast)
        sound = is_whole and not any(
            names - tokens.TOKENS for stage in token_stages.values() for names in stage.info["damaged"].values()
        )
        sound = sound and (members is not None or not needs)
        if manifest is not None and sound and clusters is not None and len(token_stages) == len(docs):
            _mixture(build_dir, recipe, manifest, token_stages, docs, clusters, members, report)
    if derived is not None and is_readable and (manifest is None or is_whole):  # else its tables cannot be computed again
        for what in derived(build_dir, [stage.row(build_dir) for stage in found], manifest):
            report.add("corpus.duckdb", what)
    return report


def _store(build_dir: Path, manifest: Mapping[str, Any] | None) -> Path:
    """store/<stage>/<fingerprint>/<key>/tokens.ds, as the manifest lists it."""
    shards = [output["path"] for output in (manifest or {}).get("outputs", []) if output["path"].endswith("tokens.ds")]
    if not shards:
        raise CurateError("where the store lies is not known", where=str(build_dir), next="curate build-mixture RECIPE")
    return (build_dir / shards[0]).resolve().parents[3]


def _recipe(build_dir: Path, base: Path | None, manifest: Mapping[str, Any] | None, report: Report) -> Recipe | None:
    """recipe.yaml, which is the canonical recipe that the manifest names."""
    path = build_dir / "recipe.yaml"
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if manifest is not None and not report.equal("recipe.yaml", "recipe_sha256", manifest["recipe_sha256"], sha256):
            return None
        recipe = load_recipe(path, base=base)
        report.equal("recipe.yaml", "canonical form", sha256, recipe.sha256)
    except FileNotFoundError:
        report.add("recipe.yaml", "the file is missing")
        return None
    except CurateError as error:
        report.add("recipe.yaml", f"unreadable: {error.what}", error.where)
        return None
    return recipe


def _again(recount: Callable[[Recipe, str], Mapping[str, int]], recipe: Recipe, source: str, report: Report) -> Mapping[str, int]:
    try:
        return recount(recipe, source)
    except CurateError as error:
        report.add(error.where or f"sources.{source}", f"the raw input cannot be counted again: {error.what}")
        return {}


def _stages(build_dir: Path, store: Path, lineage: list[dict[str, Any]], report: Report) -> list[Found]:
    """Every stage of the lineage, down to the last byte; those whose stage.json is sound."""
    found = []
    read: dict[Path, dict[str, Any] | None] = {}  # of a reference, one stage may be that of several sources
    for entry in lineage:
        folder = (build_dir / entry["path"]).resolve() if "path" in entry else store / entry["stage"] / entry["fingerprint"]
        info = read[folder] if folder in read else files.check_stage(folder, entry, report, build_dir)
        read[folder] = info
        if info is not None:
            source, family = (*entry["of"], "", "")[:2]
            found.append(Found(entry["stage"], source, family, folder, info))
    return found


def _by_stage(found: list[Found]) -> dict[str, dict[str, Found]]:
    result: dict[str, dict[str, Found]] = {}
    for stage in found:
        result.setdefault(stage.stage, {})[stage.source] = stage
    return result


def _outputs(build_dir: Path, manifest: Mapping[str, Any], found: list[Found], report: Report) -> bool:
    """Files the manifest lists; those of a stage were hashed there, so here both statements are compared.

    True where the build folder is whole."""
    hashed = {}
    for stage in found:
        for key, shard in stage.info["shards"].items():
            hashed.update({stage.folder / key / f["name"]: (f["bytes"], f["sha256"]) for f in shard["files"]})
    is_whole = files.check_outputs(build_dir, manifest, report, hashed)
    listed = {(build_dir / output["path"]).resolve() for output in manifest["outputs"]}
    for path in sorted((build_dir / "sequences").glob("*")):
        if path.resolve() not in listed:
            report.add(files.shown(path, build_dir), "the manifest does not list this file")
    return is_whole


def _cuts(build_dir: Path, recipe: Recipe | None, docs: Mapping[str, Found], found: list[Found], report: Report) -> None:
    """Every source that the recipe cuts has its stage, and that is right."""
    stages = {stage.source: stage for stage in found if stage.stage == "cuts"}
    for source, stage in stages.items():
        signals = {s.family: s for s in found if s.stage == "signals" and s.source == source}
        if source in docs:
            cuts.check_cuts(stage, docs[source], signals, report, build_dir)
    if recipe is None:
        return
    asked = [cut.sources for cut in recipe.cuts]
    asked += [recipe.decontaminate.sources] if recipe.decontaminate and recipe.decontaminate.action == "cut" else []
    named = {source for sources in asked for source in (recipe.sources if sources is None else sources)}
    for source in sorted(named.intersection(docs).difference(stages)):
        report.add("manifest.json", f"the recipe cuts {source}, the lineage has no cuts of it")


def _members(
    recipe: Recipe, membership: Callable[[Recipe, Mapping[tuple[str, str, str], Path]], Membership] | None, found: list[Found],
    report: Report,
) -> Membership | None:  # fmt: skip
    """Which components documents are in, and how often they stand in an epoch, from the stages."""
    if membership is None:
        raise ValueError("the recipe has where: or copies: - verify needs membership= to find the components of documents again")
    try:
        return membership(recipe, {(stage.stage, stage.source, stage.family): stage.folder for stage in found})
    except (CurateError, pa.ArrowException, OSError, KeyError) as error:
        what = "the components and copies of documents cannot be found again"
        report.add("manifest.json", f"{what}: {' '.join(str(error).split())[:200]}")
        return None


def _tokens(
    build_dir: Path, recipe: Recipe, manifest: Mapping[str, Any] | None, docs: Mapping[str, Found], decide: Found,
    stages: Mapping[str, Found], cut_stages: Mapping[str, Found], report: Report, fast: bool,
) -> None:  # fmt: skip
    try:
        tokenizer = load_tokenizer(recipe.tokenizer, recipe.path)
    except CurateError as error:
        report.add(error.where or "tokenizer", f"the tokenizer cannot be read: {error.what}")
        return
    if manifest is not None:
        report.equal("manifest.json", "tokenizer.sha256", manifest["tokenizer"]["sha256"], tokenizer.sha256)
    for source, stage in stages.items():
        if source in docs:
            tokens.check_tokens(stage, docs[source], decide, cut_stages.get(source), recipe, tokenizer, report, build_dir, fast)


def _mixture(
    build_dir: Path, recipe: Recipe, manifest: Mapping[str, Any], stages: Mapping[str, Found], docs: Mapping[str, Found],
    clusters: Found, again: Membership | None, report: Report,
) -> None:  # fmt: skip
    """Selection, sequences and budgets; needs the arrays and the token shards' index, each checked before."""
    for what, right in (("schema_version", SCHEMA_VERSION), ("kind", recipe.kind), ("name", recipe.name), ("seed", recipe.seed)):
        report.equal("manifest.json", what, manifest[what], right)
    listed = files.read_exact(build_dir / "sequences" / "shards.json", report, "sequences/shards.json")
    arrays = uses.load_arrays(build_dir, manifest, report)
    kept = uses.kept_documents(stages, report, build_dir)
    if listed is None or arrays is None or kept is None:
        return
    uses.shards_of(stages, listed["shards"], build_dir, report)
    everyone = copies.members_of(kept, recipe, stages, docs, again)
    fitting = left_out.check_left_out(build_dir, manifest, recipe, kept, everyone, report)
    if fitting is None:
        return
    kept, whole = fitting
    used = uses.check_selection(build_dir, manifest, arrays, kept, listed["shards"], report)
    if used is None:
        return
    if "pairs" in arrays:
        pairs.check_records(arrays, used, kept, report)
    held = held_out.held_out(used, kept)
    members = whole if recipe.miniature is None else miniature.reduced(manifest, recipe, kept, whole, held, report)
    if members is None:
        return
    copies.check_members(build_dir, recipe, kept, members, report)
    before = going_on.consumed(recipe, manifest, kept, report)
    if before is not None:  # else nobody knows whose turn it is
        budgets.check_budgets(manifest, recipe, used, kept, members, held, before.history, report)
    copies.check_copies(manifest, recipe, used, kept, members, held, report)
    held_out.check_held_out(manifest, recipe, used, kept, whole, held, before, clusters, report, build_dir)
    origins.check_origins(manifest, recipe, docs, kept, used, report, build_dir)
    origins.check_allowed(manifest, recipe, report)
    packing.check_rows(manifest, arrays, used, [spec.packing for spec in recipe.mixture.phase_list], report)
    packing.check_order(manifest, arrays, used, report)
    damaged = {stage.folder / key / "tokens.ds" for stage in stages.values() for key in stage.info["damaged"]}
    rows.check_hashes(build_dir, manifest, arrays, listed["shards"], listed["token_bytes"], used, kept, damaged, report)
    rows.check_roots(build_dir, manifest, recipe, used, kept, members, held, report)
