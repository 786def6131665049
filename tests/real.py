"""A recipe over the real texts of VESKI_TEST_DATA (Estonian, English, code, mathematics), in any layout.

Used by the tests of the promises and by the benchmarks; nothing of it is part of the product.
"""

from __future__ import annotations

import gzip
import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

FILES = {
    "wiki": ["et_text/wiki_et_versions.jsonl.zst"],
    "web": ["et_text/ud_ewt_train_2022.jsonl.zst", "et_text/tara_doku.jsonl.zst", "et_text/eurlex_directive_titles.jsonl.zst"],
    "en": ["en_text/18f_posts.jsonl.zst", "en_text/wikitext2_valid.jsonl.zst"],
    "code": ["code/code_files.jsonl.zst"],
    "math": ["math/hott_book_tex.jsonl.zst", "math/gsm8k_train.jsonl.zst"],
}
FIELDS = {"math": {"text": "text"}}
WITHOUT_IDS = "web"  # this source is given without ids: identity comes from the text


def rows(data: Path, source: str, limit: int | None = None) -> list[dict]:
    """The records of one source as {id, text, url, license}; gsm8k's question and answer are joined."""
    found: list[dict] = []
    for name in FILES[source]:
        part = []
        with open(data / name, "rb") as file:
            stream = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n")
            for i, line in enumerate(stream):
                row = json.loads(line)
                text = row.get("text") or "\n".join(str(row[key]) for key in ("question", "answer") if key in row)
                part.append(
                    {
                        "id": str(row.get("id", f"{name}#{i}")),
                        "text": text,
                        "url": row.get("url") or "",
                        "license": str(row.get("license", "")),
                    }
                )
                if limit is not None and len(part) >= limit:
                    break
        found += part
    if source == WITHOUT_IDS:
        found = [{key: value for key, value in row.items() if key != "id"} for row in found]
        copies = [{**row, "url": f"http://copy.example/{i}"} for i, row in enumerate(found[:5])]
        found += copies  # equal texts under different addresses
    return found


def write_layout(folder: Path, all_rows: dict[str, list[dict]], layout: str) -> dict[str, str]:
    """Write the rows in one of the layouts of promise 3; returns source -> the pattern its recipe reads."""
    patterns = {}
    for source, records in all_rows.items():
        records = list(records)
        place = folder / source
        place.mkdir(parents=True)
        if layout == "plain":
            _jsonl(place / "a.jsonl", records)
        elif layout == "sharded":
            random.Random(1).shuffle(records)
            for i in range(3):
                with gzip.open(place / f"part-{9 - i}.jsonl.gz", "wb", compresslevel=3) as file:
                    file.write(_lines(records[i::3]))
        elif layout == "zst":
            data = _lines(records[::-1])
            (place / "renamed.jsonl.zst").write_bytes(zstandard.ZstdCompressor(level=1).compress(data))
        elif layout == "parquet":
            random.Random(2).shuffle(records)
            half = len(records) // 2
            for i, part in enumerate((records[:half], records[half:])):
                if part:
                    pq.write_table(pa.Table.from_pylist(part), place / f"{i}.parquet", row_group_size=50)
        else:
            raise ValueError(layout)
        patterns[source] = f"{{raw}}/{source}/*"
    return patterns


def _lines(records: list[dict]) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def _jsonl(path: Path, records: list[dict]) -> None:
    path.write_bytes(_lines(records))


LANGUAGES = {"wiki": "et", "web": "et", "en": "en", "code": None, "math": "en"}
TYPES = {"code": "code", "math": "math"}


def write_recipe(path: Path, raw: Path, patterns: dict[str, str], tokenizer: Path, **budgets: str) -> Path:
    """A recipe over `patterns`; budgets: component -> quantity text, components named like their sources (et = wiki + web)."""
    components = {
        "et": (["wiki", "web"], "target", 4),
        "en": (["en"], "replay", 2),
        "code": (["code"], "code", 2),
        "math": (["math"], "math", 2),
    }
    lines = [
        "kind: cpt", "name: real", f"roots: {{raw: '{raw}'}}",
        f"tokenizer: {{model: '{tokenizer}', eos: per_document}}", "seed: 7", "sources:",
    ]  # fmt: skip
    for source, pattern in patterns.items():
        language = f"language: {LANGUAGES[source]}, " if LANGUAGES[source] else ""
        lines.append(
            f"  {source}: {{read: '{pattern}', type: {TYPES.get(source, 'text')}, {language}license: {{from_field: license}}}}"
        )
    lines += [
        "rules:", "  - {preset: gopher/quality, sources: [wiki, web, en], set: {min_alpha_word_ratio: 0.7}}",
        "  - {signal: language, equals: [et], sources: [wiki, web]}", "  - {signal: language_score, min: 0.65, sources: [wiki, web]}",
        "dedup: {exact: normalised, near: {jaccard: 0.75, across: [wiki, web, en]}, within: [code]}",
        "held_out: {per_component: 20k tokens, at_most: 2 % of tokens}",
        "mixture:", f"  total: {budgets.pop('total')}", f"  sequence_length: {budgets.pop('sequence_length', '1024')}", "  components:",
    ]  # fmt: skip
    for name, budget in budgets.items():
        sources, role, cap = components[name]
        lines.append(f"    {name}: {{from: [{', '.join(sources)}], role: {role}, budget: {budget}, max_epochs: {cap}}}")
    lines.append("limits: {quarantine: 5 %}")
    path.write_text("\n".join(lines) + "\n")
    return path
