"""`curate export BUILD DIR --text` and `--hub`: the documents a mixture trains on, as the model reads them, in Parquet.

In: a build folder, its recipe and store. Out: DIR/data/<component>/*.parquet (id, source, text or messages with tools, language, license, url,
component, uses) and export.json, which counts and lists them; for the hub also README.md, LICENSE.md and withheld.parquet: rows whose
licence neither --allow nor the recipe lets be handed on, by id. Exported + withheld = selected, counted apart. Imports engine, manifest,
recipe, store and mixture's export.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.engine import progress
from curate.errors import CurateError, nearest
from curate.manifest import read_manifest
from curate.recipe import Recipe, licenses
from curate.store import write_json
from mixture.export import card
from mixture.export.documents import READ, Selected, Store, messages_type, optional_columns, read, selected
from mixture.export.folder import check_room, identity, published, safe_names, standing, stated_of
from mixture.export.parquet import Parts

WITHHELD = pa.schema([
    *(READ.field(name) for name in ("id", "source", "source_id", "url", "license", "component", "uses")), ("reason", pa.string()),
])  # fmt: skip
ROWS = ("id", "source", "text", "messages", "tools", "language", "license", "url", "component", "uses")


def export_texts(build: Path, folder: Path, recipe: Recipe, store: Path, *, allow: Sequence[str] | None = None) -> dict[str, Any]:
    """Write DIR, or find it there already; returns {folder, is_new, **export.json}.

    `allow`: patterns of licences, and then DIR is a dataset repository for the hub; empty: those of the recipe's `licenses:`. None: every
    document, whatever its licence. Raises CurateError where nothing is allowed, the store lacks a document, or `folder` holds something
    else."""
    build, folder = Path(build), Path(folder)
    manifest = read_manifest(build / "manifest.json")
    if manifest["kind"] == "preference":
        raise CurateError(
            "texts of pairs are not exported: a rejected answer would be missing", where=str(build), found="kind: preference",
            allowed="--tokens, the pairs as they are trained on", next="curate sql BUILD reads them: the view texts",
        )  # fmt: skip
    patterns = None if allow is None else _patterns(manifest, recipe, allow)
    choices = {} if patterns is None else {"allow": list(patterns)}
    wanted = identity("text" if patterns is None else "hub", manifest, **choices)
    if (record := standing(folder, wanted)) is not None:
        return {"folder": str(folder), "is_new": False, **record}
    of = selected(build / "selection.parquet")
    of = {source: of[source] for source in recipe.sources if source in of}
    stages = Store(Path(store), manifest)
    n_bytes = sum(documents.stat().st_size for source in of for documents, _ in stages.documents(source))
    check_room(folder, n_bytes)
    with published(folder) as out, progress("export", n_bytes) as advance:
        counted = _write(out, manifest, recipe, of, stages, patterns, advance)
        if patterns is not None:
            card.write(out, manifest, counted)
        files = sorted(path for path in out.rglob("*") if path.is_file())
        listed = [{"path": path.relative_to(out).as_posix(), **stated_of(path)} for path in files]
        record = {"export": wanted, **counted, "outputs": listed}
        write_json(out / "export.json", record)
    return {"folder": str(folder), "is_new": True, **record}


def _patterns(manifest: Mapping[str, Any], recipe: Recipe, allow: Sequence[str]) -> tuple[str, ...]:
    """What --allow says, else the recipe. Every pattern of --allow names a licence of the mixture, and some tokens are allowed."""
    tokens: Counter[str] = Counter()
    for component in manifest["components"]:
        tokens.update(component["licences"])
    said = ", ".join(f"{name} ({n:,} tokens)" for name, n in tokens.most_common(12)) or "none"
    named = [licenses.pattern(one, "--allow") for one in allow]
    patterns = tuple(sorted({*named, *(recipe.licenses.handed_on if not named and recipe.licenses is not None else [])}))
    if not patterns:
        raise CurateError(
            "which licences may be handed on is yours to say", where="--allow", found=f"in this mixture: {said}",
            next="--allow CC0-1.0 --allow 'CC-BY-*', as they apply, or licenses.redistribute in the recipe; other rows are withheld and named",
        )  # fmt: skip
    for given in named or [""]:
        asked = (given,) if given else patterns
        if all(licenses.refusal(name, asked) for name in tokens):
            close = nearest(given, tokens)
            raise CurateError(
                "no document of this mixture has a licence that this allows", where="--allow" if named else "licenses",
                found=", ".join(asked), allowed=said, next=f"did you mean {close[0]!r}?" if given and close else "",
            )  # fmt: skip
    return patterns


def _write(
    out: Path, manifest: Mapping[str, Any], recipe: Recipe, of: Mapping[str, Selected], stages: Store,
    patterns: tuple[str, ...] | None, advance: Any,
) -> dict[str, Any]:  # fmt: skip
    """The Parquet files; what was counted on the way."""
    chats = {name for name, source in recipe.sources.items() if source.is_conversation}
    components = [component["name"] for component in manifest["components"]]
    folders = safe_names(components)
    more = {source: optional_columns(stages, source, own) for source, own in of.items() if source in chats}
    parts = {
        name: Parts(out / "data" / folders[name], _schema(name, of, chats, more)) for name in components
    }  # fmt: skip
    withheld = Parts(out, WITHHELD, "withheld.parquet") if patterns is not None else None
    tally = _Tally()
    for table in read(of, stages, chats, advance):
        refused = [] if patterns is None else [licenses.refusal(name, patterns) for name in table["license"].to_pylist()]
        keep = np.array([not why for why in refused], np.bool_) if refused else np.ones(table.num_rows, np.bool_)
        allowed = table.filter(pa.array(keep))
        names = np.array(allowed["component"].to_pylist(), object)
        for name in dict.fromkeys(names.tolist()):
            parts[name].add(allowed.filter(pa.array(names == name)))
        tally.add("exported", allowed)
        if withheld is not None and not keep.all():
            rest = table.append_column("reason", pa.array(refused, pa.string())).filter(pa.array(~keep))
            withheld.add(rest)
            tally.add("withheld", rest)
    for part in [*parts.values(), *([withheld] if withheld else [])]:
        part.close()
    counted = tally.counts(of, components)
    for name, own in counted["components"].items():
        own["files"] = [f"data/{folders[name]}/{file}" for file in parts[name].files]
        own["columns"] = list(parts[name].schema.names)
    return counted


def _schema(component: str, of: Mapping[str, Selected], chats: set[str], more: Mapping[str, set[str]]) -> pa.Schema:
    """`text`, `messages` or both: what the component's documents have; of messages the keys that some of its sources use, and `tools`."""
    mine = {source for source, own in of.items() if pa.compute.any(pa.compute.equal(own.component, component)).as_py()}
    keys = {key for source in mine & chats for key in more[source]}
    left_out = {name for name, has in (("messages", mine & chats), ("text", mine - chats)) if not has and mine}
    left_out |= {"tools"} - keys
    types = {"messages": messages_type(keys)}
    return pa.schema(
        [READ.field(name).with_type(types.get(name, READ.field(name).type)) for name in ROWS if name not in left_out]
    )


class _Tally:
    """Rows and documents as they were written, to be held against what is selected."""

    def __init__(self) -> None:
        self._rows: dict[str, Counter[str]] = {"exported": Counter(), "withheld": Counter()}
        self._documents = {"exported": 0, "withheld": 0}
        self._last: dict[str, tuple[str, str]] = {}
        self._numbers: dict[str, Counter[str]] = {name: Counter() for name in ("uses", "tokens")}
        self.licences: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def add(self, side: str, table: pa.Table) -> None:
        if not table.num_rows:
            return
        names = table["component"].to_pylist()
        self._rows[side].update(names)
        for key in zip(table["source"].to_pylist(), table["id"].to_pylist(), strict=True):  # rows of a document follow each other
            self._documents[side] += key != self._last.get(side)
            self._last[side] = key
        if side == "withheld":
            self.reasons.update(table["reason"].to_pylist())
            return
        for what, counter in self._numbers.items():
            for name, n in zip(names, table[what].to_pylist(), strict=True):
                counter[name] += n
        self.licences.update(name or "unknown" for name in table["license"].to_pylist())
        self.languages.update(name or "unknown" for name in table["language"].to_pylist())

    def counts(self, of: Mapping[str, Selected], components: Sequence[str]) -> dict[str, Any]:
        """{documents, rows: {selected, exported, withheld}, components, licences, languages, withheld_reasons}; sums that do not
        close are our own mistake."""
        rows = Counter[str]()
        for own in of.values():
            rows.update(own.component.to_pylist())
        documents = sum(int(np.unique(own.id).size) for own in of.values())
        found: dict[str, Any] = {
            "documents": {"selected": documents, **self._documents},
            "rows": {"selected": rows.total(), **{side: counter.total() for side, counter in self._rows.items()}},
            "components": {
                name: {
                    "selected": rows[name], "exported": self._rows["exported"][name], "withheld": self._rows["withheld"][name],
                    "uses": self._numbers["uses"][name], "trained_tokens": self._numbers["tokens"][name],
                }
                for name in components
            },
            "licences": dict(self.licences.most_common()), "languages": dict(self.languages.most_common()),
            "withheld_reasons": dict(self.reasons.most_common()),
        }  # fmt: skip
        checks = [found["documents"], found["rows"], *found["components"].values()]
        if wrong := [one for one in checks if one["selected"] != one["exported"] + one["withheld"]]:
            raise AssertionError(f"exported and withheld are not what is selected: {wrong}")
        return found
