"""corpus.duckdb: the build as tables one can ask. Stored aggregates, and views over the store's Parquet by relative paths.

In: a build folder, its stages, and (when there is one) the manifest. Out: build_dir/corpus.duckdb, written under a temporary
name and renamed; `open_corpus` reads it. The only module that imports duckdb. Imports errors, schema, store, inspect.aggregates.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curate import schema
from curate.errors import CurateError
from curate.inspect import aggregates as sql_text
from curate.inspect import contamination
from curate.store import Stage, read_json, write_atomic

NAME = "corpus.duckdb"
SEAL = Path("log") / "corpus.sha256"  # of the file as written: duckdb itself does not notice a flipped byte in an unused block
STORED = (
    "sources", "reasons", "components", "component_phases", "copies", "phases", "stages", "domains", "kept_by_origin",
    "trained_by_origin", "evaluation_sets",
)  # fmt: skip
VIEWS = (
    "documents", "texts", "signals", "addresses", "cuts", "contamination", "decisions", "duplicates", "quarantine", "tokens", "members",
    "left_out", "refused", "selection", "reference_texts",
)  # fmt: skip

Connection: TypeAlias = duckdb.DuckDBPyConnection
StageRow: TypeAlias = dict[str, Any]  # stage, source, family, fingerprint, root, rows, path (relative to the build folder)


def stage_rows(build_dir: Path, stages: Mapping[Any, Any]) -> list[StageRow]:
    """One row per stage of `stages`: {"documents": {source: Stage}, "signals": {source: {family: Stage}}, "decide": Stage, ...}.

    Keys below the stage's name are source and family; a tuple (source, family) does as well.
    """
    rows = []
    for (kind, *scope), stage in _walk(stages, ()):
        info = stage.info()
        source, family = (*scope, "", "")[:2]
        path = Path(os.path.relpath(stage.path, build_dir)).as_posix()
        rows.append({"stage": kind, "source": source, "family": family, "fingerprint": stage.fingerprint,
                     "root": info["root"], "rows": info["rows"], "path": path})  # fmt: skip
    return rows


def _walk(stages: Mapping[Any, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Stage]]:
    for key, value in stages.items():
        name = (*above, *(key if isinstance(key, tuple) else (key,)))
        if isinstance(value, Mapping):
            yield from _walk(value, name)
        elif value is not None:
            yield name, value


def write_corpus(build_dir: Path, stages: Mapping[Any, Any], aggregates: Mapping[str, Any] | None) -> Path:
    """Write build_dir/corpus.duckdb; `aggregates` is the manifest's content, None where there is no mixture.

    The storage version is one that the released duckdb command line (1.5) still opens.
    """
    build_dir = Path(build_dir)
    build_dir.mkdir(parents=True, exist_ok=True)
    temporary = build_dir / f".{NAME}.{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        with duckdb.connect(config={"file_search_path": str(build_dir)}) as connection:
            connection.execute(f"ATTACH {quote(str(temporary))} AS corpus (STORAGE_VERSION 'v1.5.0')")
            connection.execute("USE corpus")
            fill(connection, build_dir, stage_rows(build_dir, stages), aggregates)
            connection.execute("USE memory")
            connection.execute("DETACH corpus")
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        os.replace(temporary, build_dir / NAME)
    finally:
        temporary.unlink(missing_ok=True)
    write_atomic(build_dir / SEAL, f"{sha256}\n".encode())
    return build_dir / NAME


def fill(connection: Connection, build_dir: Path, rows: list[StageRow], manifest: Mapping[str, Any] | None) -> None:
    """Create every table and view in the connection's current database; relative paths resolve against its file_search_path."""
    for name, body in _views(build_dir, rows, manifest).items():
        connection.execute(f"CREATE VIEW {name} AS {body}")
    for name, table in sql_text.given_tables(rows, _counts(build_dir, rows), manifest).items():
        connection.register("given", table)
        connection.execute(f"CREATE {'TEMP ' if name.startswith('_') else ''}TABLE {name} AS SELECT * FROM given")
        connection.unregister("given")
    sets = pa.Table.from_pylist(contamination.given_sets(build_dir, rows), sql_text.EVALUATION_SETS)
    connection.register("given", sets)
    connection.execute("CREATE TEMP TABLE _evaluation_sets AS SELECT * FROM given")
    connection.unregister("given")
    connection.execute(f"CREATE TEMP TABLE _uses AS {sql_text.USES}")
    for name, body in {**sql_text.COMPUTED, "evaluation_sets": contamination.SETS}.items():
        connection.execute(f"CREATE TABLE {name} AS {body}")


def _counts(build_dir: Path, rows: list[StageRow]) -> dict[str, dict[str, int]]:
    """What ingest counted while reading, per source."""
    documents = [row for row in rows if row["stage"] == "documents"]
    return {row["source"]: read_json(build_dir / row["path"] / "stage.json")["counts"] for row in documents}


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _views(build_dir: Path, rows: list[StageRow], manifest: Mapping[str, Any] | None) -> dict[str, str]:
    def union(stage: str, file: str, table: pa.Schema, columns: str = "*", where: str = "") -> str:
        globs = [f"{r['path']}/*/{file}" for r in rows if r["stage"] == stage and any(build_dir.glob(f"{r['path']}/*/{file}"))]
        if not globs:
            return f"SELECT {columns} FROM ({_empty(table)})"
        return f"SELECT {columns} FROM read_parquet([{', '.join(map(quote, globs))}]){where}"

    texts = ("text", "messages", "prompt", "chosen", "rejected", "parts")
    no_text = ", ".join(name for name in schema.DOCUMENTS.names if name not in texts)
    return {
        "documents": union("documents", "documents.parquet", schema.DOCUMENTS, no_text),
        "texts": union("documents", "documents.parquet", schema.DOCUMENTS, ", ".join(("id", "source", *texts))),
        "quarantine": union("documents", "quarantine.parquet", schema.QUARANTINE),
        "signals": _signals(build_dir, rows),
        "addresses": _addresses(rows),
        "cuts": _cuts(rows),
        "contamination": _contamination(rows),
        "reference_texts": _reference_texts(rows),
        "decisions": union("decide", "decisions.parquet", schema.DECISIONS),
        "duplicates": union("clusters", "duplicates.parquet", schema.DUPLICATES, where=" WHERE cluster_size > 1"),
        "tokens": _tokens(rows),
        "members": _members(rows, manifest),
        "left_out": "SELECT * FROM read_parquet('left_out.parquet')"
        if manifest and (build_dir / "left_out.parquet").exists()
        else _empty(schema.LEFT_OUT),
        "refused": _refused(build_dir, rows),
        "selection": "SELECT * FROM read_parquet('selection.parquet')" if manifest else _empty(schema.SELECTION),
    }


def _empty(table: pa.Schema) -> str:
    columns = ", ".join(f'CAST(NULL AS {_TYPES[str(field.type)]}) AS "{field.name}"' for field in table)
    return f"SELECT {columns} WHERE false"


_TYPES = {"string": "VARCHAR", "large_string": "VARCHAR", "bool": "BOOLEAN", "int32": "INTEGER", "int64": "BIGINT",
          "double": "DOUBLE", "list<item: string>": "VARCHAR[]", "list<element: string>": "VARCHAR[]"}  # fmt: skip


def _tokens(rows: list[StageRow]) -> str:
    parts = [
        f"SELECT {quote(r['source'])} AS source, * FROM read_parquet({quote(r['path'] + '/*/tokens.parquet')})"
        for r in rows if r["stage"] == "tokens"
    ]  # fmt: skip
    return " UNION ALL ".join(parts) or _empty(pa.schema([("source", pa.string()), *schema.TOKENS]))


def _refused(build_dir: Path, rows: list[StageRow]) -> str:
    """(source, id, reason, detail) of the conversations that cannot be trained on; only recipes of kind sft have such files."""
    parts = [
        f"SELECT {quote(r['source'])} AS source, * FROM read_parquet({quote(r['path'] + '/*/refused.parquet')})"
        for r in rows if r["stage"] == "tokens" and any(build_dir.glob(f"{r['path']}/*/refused.parquet"))
    ]  # fmt: skip
    return " UNION ALL ".join(parts) or _empty(pa.schema([("source", pa.string()), *schema.REFUSED]))


def _members(rows: list[StageRow], manifest: Mapping[str, Any] | None) -> str:
    """(source, id, components) of every tokenized document: the components that it matches, in recipe order. Where a component has a
    where:, or does not take every length, members.parquet says it of the documents of its sources; else the source of a document does."""
    parts = []
    components = (manifest or {}).get("components", [])
    chooses = [
        c for c in components
        if c.get("where") or (manifest or {}).get("miniature") or c.get("overlong", {"action": "split"})["action"] != "split"
    ]  # fmt: skip
    by_query = {source for c in chooses for source in c["sources"]}
    for row in rows if manifest else []:
        if row["stage"] == "tokens" and row["source"] not in by_query:
            names = ", ".join(quote(c["name"]) for c in components if row["source"] in c["sources"])
            given = f"{quote(row['source'])} AS source, id, CAST([{names}] AS VARCHAR[]) AS components"
            parts.append(f"SELECT {given} FROM read_parquet({quote(row['path'] + '/*/tokens.parquet')})")
    parts += ["SELECT * FROM read_parquet('members.parquet')"] if by_query else []
    return " UNION ALL ".join(parts) or _empty(schema.MEMBERS)


def _addresses(rows: list[StageRow]) -> str:
    """(id, source, host, domain) of family url alone: one file per shard is read where `signals` joins them all."""
    parts = [
        f"SELECT id, {quote(r['source'])} AS source, host, domain FROM read_parquet({quote(r['path'] + '/*/url.parquet')})"
        for r in rows if r["stage"] == "signals" and r["family"] == "url"
    ]  # fmt: skip
    return " UNION ALL ".join(parts) or _empty(pa.schema([(name, pa.string()) for name in ("id", "source", "host", "domain")]))


def _cuts(rows: list[StageRow]) -> str:
    """(id, source, start, end, kind, replacement, n_documents), bytes of the text: cuts.parquet says the row of the documents shard."""
    documents = {r["source"]: r["path"] for r in rows if r["stage"] == "documents"}
    shard = "regexp_extract(filename, '([^/]+)/[^/]+$', 1)"
    parts = [
        f"SELECT id, {quote(r['source'])} AS source, start, \"end\", kind, replacement, n_documents "
        f"FROM (SELECT *, {shard} AS shard FROM read_parquet({quote(r['path'] + '/*/cuts.parquet')}, filename = true)) "
        f"JOIN (SELECT id, file_row_number AS row, {shard} AS shard FROM "
        f"read_parquet({quote(documents[r['source']] + '/*/documents.parquet')}, filename = true, file_row_number = true)) "
        f"USING (shard, row)"
        for r in rows if r["stage"] == "cuts"
    ]  # fmt: skip
    return " UNION ALL ".join(parts) or _empty(pa.schema([("id", pa.string()), ("source", pa.string()), *list(schema.CUTS)[1:]]))


def _reference_texts(rows: list[StageRow]) -> str:
    """Documents of dedup.against under the names that witness_source has: evidence only, in no count."""
    columns = ("id", "text", "messages", "url", "title", "file", "byte_offset")
    parts = [
        f"SELECT {quote(r['source'])} AS source, {', '.join(columns)} FROM read_parquet({quote(r['path'] + '/*/documents.parquet')})"
        for r in rows if r["stage"] == "reference_documents"
    ]  # fmt: skip
    kept = [field for field in schema.DOCUMENTS if field.name in columns]
    return " UNION ALL ".join(parts) or _empty(pa.schema([("source", pa.string()), *kept]))


def _contamination(rows: list[StageRow]) -> str:
    """Where items of evaluation sets stand, part by part: schema.CONTAMINATION with the source."""
    parts = [
        f"SELECT {quote(r['source'])} AS source, * FROM read_parquet({quote(r['path'] + '/*/contamination.hits.parquet')})"
        for r in rows if r["stage"] == "signals" and r["family"] == "contamination"
    ]  # fmt: skip
    return " UNION ALL ".join(parts) or _empty(pa.schema([("source", pa.string()), *schema.CONTAMINATION]))


def signals_of(connection: Connection, build_dir: Path, names: Collection[str]) -> str:
    """SQL that gives (id, source) and these signals; only the families that hold them are read and joined."""
    return _signals(Path(build_dir), rows(connection, "FROM stages"), names)


def _signals(build_dir: Path, rows: list[StageRow], only: Collection[str] | None = None) -> str:
    """All families of a source joined by id, with the derived ratios; sources may differ in their families. `only`: these signals."""
    from curate.signals import ratios_over

    families: dict[str, list[StageRow]] = {}
    for row in rows:
        if row["stage"] in ("signals", "domains"):
            families.setdefault(row["source"], []).append(row)
    for row in (r for r in rows if r["stage"] == "decide"):  # the one signal that rules make
        for source, stages in families.items():
            mine = {"family": "domain_drop", "path": row["path"], "shards": f"{source}.[0-9][0-9][0-9][0-9][0-9]"}
            stages += [mine] if any(build_dir.glob("{path}/{shards}/{family}.parquet".format_map(mine))) else []
    parts = []
    for source, stages in families.items():
        held = [(files, [name for name in pq.read_schema(min(build_dir.glob(files))).names if name not in ("id", "source")])
                for row in stages for files in [f"{row['path']}/{row.get('shards', '*')}/{row['family']}.parquet"]]  # fmt: skip
        ratios = ratios_over([name for _, names in held for name in names])
        ratios = {name: of for name, of in ratios.items() if only is None or name in only}
        asked = None if only is None else {*only, *(name for of in ratios.values() for name in of)}
        joined = [(files, names) for files, names in held if asked is None or asked.intersection(names)]
        if not joined:
            continue
        columns = [f'"{name}"' for _, names in joined for name in names if only is None or name in only]
        for ratio, (above, below) in ratios.items():
            columns.append(f'CASE WHEN "{below}" = 0 THEN 0.0 ELSE "{above}"::DOUBLE / "{below}" END AS "{ratio}"')
        tables = " JOIN ".join(
            f"(SELECT * FROM read_parquet({quote(files)}))" + (" USING (id)" if i else "") for i, (files, _) in enumerate(joined)
        )
        parts.append(f"SELECT id, {quote(source)} AS source, {', '.join(columns)} FROM {tables}")
    wanted = [(name, pa.float64()) for name in only or ()]
    return " UNION ALL BY NAME ".join(parts) or _empty(pa.schema([("id", pa.string()), ("source", pa.string()), *wanted]))


def open_corpus(build_dir: Path) -> Connection:
    """A read-only connection in which the views answer from any working directory.

    Raises CurateError when there is no corpus.duckdb or it cannot be read.
    """
    build_dir = Path(build_dir).resolve()
    if not (build_dir / NAME).exists():
        raise CurateError(
            "this is not a build: it has no corpus.duckdb", where=str(build_dir), next="curate build-mixture RECIPE"
        )
    try:
        return duckdb.connect(str(build_dir / NAME), read_only=True, config={"file_search_path": str(build_dir)})
    except duckdb.Error as error:
        raise CurateError("corpus.duckdb cannot be read", where=str(build_dir / NAME), found=str(error).splitlines()[0],
                          next="curate build-mixture RECIPE writes it again") from error  # fmt: skip


def cutoffs_of(connection: Connection, build_dir: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """(source, signal) -> the largest values of head and of middle, as decide found them for the rules with `keep`."""
    found = rows(connection, "SELECT path FROM stages WHERE stage = 'decide'")
    info = read_json(Path(build_dir) / found[0]["path"] / "stage.json") if found else {"extra": {}}
    stored = info["extra"].get("cutoffs", {})
    return {(source, signal): (head, middle) for source, of in stored.items() for signal, (head, middle) in of.items()}


def setup(build_dir: Path) -> str:
    """The one line a bare duckdb needs outside the build folder: `duckdb BUILD/corpus.duckdb`, then this."""
    return f"SET file_search_path = {quote(str(Path(build_dir).resolve()))};"


def rows(connection: Connection, query: str, *parameters: Any) -> list[dict[str, Any]]:
    """The result of a query as a list of dicts."""
    result = connection.execute(query, list(parameters))
    names = [column[0] for column in result.description or []]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def differences(build_dir: Path, stages: list[StageRow], manifest: Mapping[str, Any] | None) -> list[str]:
    """What in corpus.duckdb is not what the Parquet files give when everything is computed again; [] when equal."""
    build_dir = Path(build_dir).resolve()
    path = build_dir / NAME
    if not path.exists():
        return ["the file is missing"]
    found = []
    if (build_dir / SEAL).exists() and _sha256(path) != (build_dir / SEAL).read_text().strip():
        found.append("the file is not the one that was written (sha256 differs)")
    try:
        with duckdb.connect(config={"file_search_path": str(build_dir)}) as fresh, open_corpus(build_dir) as stored:
            fill(fresh, build_dir, stages, manifest)
            found += [what for name in STORED if (what := _compare_table(fresh, stored, name))]
            definitions = "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY view_name"
            if fresh.execute(definitions).fetchall() != stored.execute(definitions).fetchall():
                found.append("the views are not those of this build")
    except (duckdb.Error, CurateError) as error:
        found.append(f"unreadable: {str(error).splitlines()[0]}")
    return found


def _compare_table(fresh: Connection, stored: Connection, name: str) -> str:
    query = f"SELECT * FROM {name} ORDER BY ALL"
    mine, theirs = rows(fresh, query), rows(stored, query)
    if mine == theirs:
        return ""
    for index, (right, wrong) in enumerate(zip(mine, theirs, strict=False)):
        if right != wrong:
            changed = {key: (wrong.get(key), value) for key, value in right.items() if wrong.get(key) != value}
            return f"table {name}, row {index}: (stored, counted again) {changed}"
    return f"table {name}: {len(theirs)} rows stored, {len(mine)} counted again"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lineage(build_dir: Path) -> list[dict[str, Any]]:
    """The stages of a build as its manifest would list them: for builds that have none."""
    with open_corpus(build_dir) as connection:
        found = rows(connection, "SELECT stage, source, family, fingerprint, root, path FROM stages")
    of, kept = ("source", "family"), ("stage", "fingerprint", "root")
    return [
        {
            **{k: r[k] for k in (*kept, *(["path"] if r["stage"].startswith("reference_") else []))},
            "of": [r[k] for k in of if r[k]],
        }
        for r in found
    ]
