"""A path to somebody's data in, a proposed source block out: format, fields, language, licence, size, samples.

Looks at about the first thousand records and at every file's size; reads nothing else, writes nothing.
Imports the readers; the language model only when there is text to look at.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate import licenses
from curate.errors import CurateError
from curate.langid.codes import language_code
from curate.recipe import License, Limits, Source, preset
from curate.recipe.templates import expand
from curate.sources import Bad, raw_rows
from curate.sources import guess_evaluation as evaluation
from curate.sources.fields import DEFAULTS, pick
from curate.sources.formats import BY_SUFFIX, FORMATS
from curate.sources.guess import fields_of
from curate.sources.guess_notes import notes_of
from curate.sources.lanes import lane_of, records_of
from curate.sources.lanes.code.languages import kind_of, language_of
from curate.sources.parquet import n_rows
from curate.sources.readers.guess import format_of_content, options_of
from curate.sources.records import RawRow, Refused
from curate.sources.stream import COMPRESSED_SUFFIXES, HEAD_BYTES, Blocks, compression_of, strip_compression
from curate.units import show_bytes

N_LOOKED_AT = 1000
N_SAMPLES = 10
N_PAGES = 50  # of which the text is looked at: making it costs 30 ms a page
SAMPLE_CHARS = 200
LOOK_BYTES = 256 << 20  # of records held while looking
LANGUAGE_CHARS = 20_000  # of a text shown to the language model
NOT_PLAIN = {"no", "yes", "on", "off", "true", "false", "null", "y", "n", "~"}  # words YAML 1.1 reads as something else
UNKNOWN_LICENSE = "LicenseRef-unknown"
EVALUATION = "evaluation"  # the type of what is no source
MOST = 0.5
TEMPLATED = ("preference", "instruction_text")


@dataclass
class Proposal:
    """What was seen at `path`, and the source block that reads it."""

    path: str
    format: str
    compression: list[str]
    n_files: int
    total_bytes: int
    type: str
    source: dict[str, Any]
    looked_at: int  # records
    documents_estimate: int
    languages: dict[str, int]  # language -> documents of those looked at
    bad: dict[str, int]  # cause -> records
    fields_seen: dict[str, float]  # field -> mean characters
    licenses: list[str]
    samples: list[str]
    notes: list[str] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        return {**self.__dict__, "yaml": self.yaml()}

    def yaml(self) -> str:
        """The block as text; it loads under `sources:` of a recipe, that of evaluation data under `decontaminate:`."""
        name = re.sub(r"[^a-z0-9_]+", "_", Path(strip_compression(Path(self.path).name)).stem.lower()).strip("_") or "source"
        if self.type == EVALUATION:
            return f"decontaminate:\n  against:\n    {name}: {_flow(self.source)}\n"
        lines = [f"  {name}:"]
        for key, value in self.source.items():
            comment = ""
            if key == "license" and value.get("declared") == UNKNOWN_LICENSE:
                comment = "  # fill in: an SPDX id, or a LicenseRef- of your own"
            lines.append(f"    {key}: {_flow(value)}{comment}")
        return "sources:\n" + "\n".join(lines) + "\n"

    def text(self) -> str:
        """The screen."""
        n_texts = sum(self.languages.values())
        share = ", ".join(f"{name} {100 * n / n_texts:.0f} %" for name, n in self.languages.items() if n * 100 >= n_texts)
        seen = ", ".join(f"{name} ({n:.0f})" for name, n in self.fields_seen.items())
        lines = [
            f"{self.path}: {self.format}, {' and '.join(self.compression)}, {self.n_files} files, {show_bytes(self.total_bytes)}",
            f"about {self.documents_estimate:,} documents (looked at {self.looked_at})",
            f"languages  {share or 'not looked at'}",
            f"fields     {seen or 'none with text'}   (mean characters)",
            *(f"bad        {n} x {cause}" for cause, n in self.bad.items()),
            *(f"note       {note}" for note in self.notes),
            "", *(f"| {sample}" for sample in self.samples), "", self.yaml().rstrip(),
        ]  # fmt: skip
        return "\n".join(lines)


def propose(path: Path) -> Proposal:
    """Look at a JSONL, Parquet or text file, or at a folder of them, and propose how to read it."""
    path = Path(path).absolute()  # relative paths of a recipe start at the recipe
    if not path.exists():
        raise CurateError("there is nothing here", where=str(path), allowed="a file or a folder on this machine")
    files = _files(path)
    if not files:
        raise CurateError("this folder has no files", where=str(path))
    kinds = {file: _kind(file) for file in files}
    if path.is_dir() and "text" in kinds.values():  # of a source tree
        kinds = {file: "text" if kind == "markdown" else kind for file, kind in kinds.items()}
    size = {file: file.stat().st_size for file in files}
    kind, used = _choose(files, kinds, size)
    is_tree = path.is_dir() and kind == "text"
    options = options_of(used, kind)
    if "moses" in options:  # the other side is read with it
        used = [file for file in used if _suffix(file) == f".{options['moses']['languages'][0]}"]
    rows, bad, read_bytes, refused = _look(used, kind, size, options)
    if not rows and set(bad) == {"nul_character"}:
        raise CurateError(
            "nothing here is text", where=str(path), found=f"U+0000 in {len(refused)} of {len(used)} files",
            allowed=", ".join(sorted(FORMATS)), next="if it is one of these formats, say so in the recipe: format: NAME",
        )  # fmt: skip
    values = [row.values for row in rows]
    if not is_tree and values and (why := evaluation.reason(path, values)) is not None:
        return _evaluation(path, kind, used, size, rows, bad, read_bytes, why)
    found = fields_of(values or [{"text": ""}])
    if kind == "warc" and found["type"] == "text":  # of which no record is a page
        found["type"] = "web"
    if is_tree:  # suffixes under which nothing but binary files was seen are not proposed
        looked_at = used[: len(rows) + len(refused)]
        binary = {_suffix(file) for file in refused} - {_suffix(file) for file in looked_at if file not in refused}
        used = [file for file in used if _suffix(file) not in binary]
        named = collections.Counter(_named(file) for file in used)
        found["type"] = next((kind for kind in ("code", "math") if named[kind] * 2 > len(used)), "text")
    suffixes = sorted({_suffix(file) for file in used})
    notes = list(found["notes"])
    if len(used) < len(files):
        notes.append(f"{len(files) - len(used)} files of other formats are left out")
    for said in found["licenses"][:10]:
        expression, how = licenses.read(said)
        notes += (
            [f"licence {said[:80]!r} is not understood: license.spellings says what it is"] if expression is None and how else []
        )
    source = _block(path, kind, is_tree, suffixes, found) | options
    if (said := _said_language(found, values)) and found["type"] in TEMPLATED:  # whose templates are chosen by it
        source["language"] = said
    texts = _texts(source, rows)
    languages = _languages(texts)
    if languages and not found["language_field"] and found["type"] not in ("code", "parallel"):
        source, more = _with_language(source, languages)
        notes += more
    notes += notes_of(path, kind, found["type"], values, texts)
    notes += [hint] if not is_tree and (hint := evaluation.hint(path)) else []
    total = sum(size[file] for file in used)
    estimate = _estimate(used, kind, len(rows), total, read_bytes)
    return Proposal(
        path=str(path), format="tree" if is_tree else kind, compression=sorted({_compression(file) for file in used}),
        n_files=len(used), total_bytes=total, type=found["type"], source=_ordered(source), looked_at=len(rows),
        documents_estimate=estimate, languages=languages, bad=bad, licenses=found["licenses"][:10], notes=notes,
        fields_seen={name: round(n, 1) for name, n in sorted(found["seen"].items(), key=lambda item: -item[1])},
        samples=[_one_line(text) for text in texts[:N_SAMPLES]],
    )  # fmt: skip


def _evaluation(
    path: Path, kind: str, used: list[Path], size: dict[Path, int], rows: list[RawRow], bad: dict[str, int], read_bytes: int, why: str
) -> Proposal:  # fmt: skip
    """Items to look for in what is trained on."""
    values = [row.values for row in rows]
    seen = fields_of(values)
    text = seen["fields"].get("text") or next((name for name in DEFAULTS["text"] if name in seen["seen"]), None)
    named, parts = evaluation.parts_of_items(values, text)
    block: dict[str, Any] = {"read": _patterns(path, kind, False, sorted({_suffix(file) for file in used}))}
    block |= {"format": kind} if path.is_file() and BY_SUFFIX.get(_suffix(path)) != kind else {}
    block |= {"fields": named} if named else {}
    notes = [
        f"looks like evaluation data: {why}. Never train on it, or it measures nothing: it is proposed as a target of decontaminate"
    ]
    notes += [f"{part}: {name}" for part, name in parts.items()]
    if kind not in ("jsonl", "parquet"):
        notes.append(f"decontaminate.against reads jsonl and parquet, no {kind}: convert it")
    total = sum(size[file] for file in used)
    texts = [str(pick(row, (name,))) for row in values for name in [next(iter(parts.values()), "").split(", ")[0]] if name]
    return Proposal(
        path=str(path), format=kind, compression=sorted({_compression(file) for file in used}), n_files=len(used), total_bytes=total,
        type=EVALUATION, source=block, looked_at=len(rows), documents_estimate=_estimate(used, kind, len(rows), total, read_bytes),
        languages=_languages(texts), bad=bad, licenses=seen["licenses"][:10], notes=notes,
        fields_seen={name: round(n, 1) for name, n in sorted(seen["seen"].items(), key=lambda item: -item[1])},
        samples=[_one_line(text) for text in texts[:N_SAMPLES]],
    )  # fmt: skip


def _estimate(used: list[Path], kind: str, n_looked_at: int, total: int, read_bytes: int) -> int:
    if kind == "parquet":
        return sum(n_rows(file) for file in used)
    return len(used) if FORMATS[kind].is_one else round(n_looked_at * total / read_bytes) if read_bytes else 0


def _said_language(found: dict[str, Any], values: list[dict[str, Any]]) -> str | None:
    """The one language that the rows say they are in."""
    name = found["language_field"]
    said = {language_code(str(value)) for row in values if (value := pick(row, (name,))) is not None} if name else set()
    return said.pop() if len(said) == 1 else None


def _with_language(source: dict[str, Any], languages: dict[str, int]) -> tuple[dict[str, Any], list[str]]:
    """The language of most texts; a note where no language is."""
    name, n = next(iter(languages.items()))
    if name == "und" or n <= MOST * sum(languages.values()):
        return source, ["no language is that of most texts: map fields.language, or make sources by language"]
    return {**source, "language": name}, []


def _named(file: Path) -> str:
    """What a file of a tree is by its name: code, math (LaTeX), or text."""
    found = language_of(strip_compression(file.name), "")
    return "text" if found is None else "math" if found.name == "TeX" else "code" if kind_of(found.name) == "code" else "text"


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = []
    for place, folders, names in os.walk(path):
        folders[:] = [f for f in folders if not f.startswith(".") and f != "__pycache__"]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(file for file in found if file.is_file())


def _kind(file: Path) -> str:
    """jsonl, parquet or text: by the name, else by the first bytes. A JSON file that is no JSON lines counts as text."""
    suffix = _suffix(file)
    if suffix in BY_SUFFIX and suffix not in (".json", ".xml"):
        return BY_SUFFIX[suffix]
    head = next(iter(Blocks(file)), b"")[: 1 << 16]
    if (told := format_of_content(file, head)) is not None:
        return told
    try:
        return "jsonl" if isinstance(json.loads(head.split(b"\n")[0]), dict) else "text"
    except ValueError:
        return "text"


def _choose(files: list[Path], kinds: dict[Path, str], size: dict[Path, int]) -> tuple[str, list[Path]]:
    """The format that most bytes are in, and its files."""
    weight: collections.Counter[str] = collections.Counter()
    for file in files:
        weight[kinds[file]] += size[file] + 1
    kind = weight.most_common(1)[0][0]
    return kind, [file for file in files if kinds[file] == kind]


def _look(
    files: list[Path], kind: str, size: dict[Path, int], options: dict[str, Any]
) -> tuple[list[RawRow], dict[str, int], int, set[Path]]:
    """The first records, what was bad among them, about how many stored bytes they took, and the files with bad records."""
    rows: list[RawRow] = []
    bad: collections.Counter[str] = collections.Counter()
    refused: set[Path] = set()
    read_bytes, held = 0.0, 0
    source = (
        Source(name="looked_at", read=["-"], license=License(declared=UNKNOWN_LICENSE), format=kind, **options)
        if options
        else None
    )
    for file in files:
        n_bytes = 0
        for row in itertools.islice(raw_rows(file, kind, Limits().document_bytes, None, source), N_LOOKED_AT - len(rows) + 1):
            if isinstance(row, Bad):
                bad[row.cause] += 1
                refused.add(file)
                continue
            if len(rows) == N_LOOKED_AT or held > LOOK_BYTES:  # this file goes on
                read_bytes += min(size[file], n_bytes / _expansion(file))
                return rows, dict(bad), round(read_bytes), refused
            rows.append(row)
            n_bytes += row.n_bytes + 1
            held += row.n_bytes
        read_bytes += size[file]
    return rows, dict(bad), round(read_bytes), refused


def _expansion(file: Path) -> float:
    """Decompressed bytes per stored byte, from the first MB."""
    blocks, n = Blocks(file), 0
    for block in blocks:
        n += len(block)
        if n > 1 << 20:
            break
    return max(n / max(blocks.n_stored, 1), 1.0)


def _block(path: Path, kind: str, is_tree: bool, suffixes: list[str], found: dict[str, Any]) -> dict[str, Any]:
    source: dict[str, Any] = {"read": _patterns(path, kind, is_tree, suffixes)}
    if is_tree:
        source |= {"format": "tree", "suffixes": suffixes}
    elif path.is_file() and BY_SUFFIX.get(_suffix(path)) != kind:
        source["format"] = kind
    if found["type"] != "text":
        source["type"] = found["type"]
    fields = dict(found["fields"])
    if found["language_field"] and found["type"] != "parallel":  # whose rows have two
        fields["language"] = found["language_field"]
    if fields:
        source["fields"] = fields
    source |= found["options"]
    source["license"] = {"from_field": found["license_field"]} if found["license_field"] else {"declared": UNKNOWN_LICENSE}
    return source


def _patterns(path: Path, kind: str, is_tree: bool, suffixes: list[str]) -> str | list[str]:
    if path.is_file() or is_tree:
        return str(path)
    names = sorted({"".join(file.suffixes[-2:] if file.suffix in COMPRESSED_SUFFIXES else file.suffixes[-1:])
                    for file in _files(path) if _suffix(file) in suffixes and _kind(file) == kind})  # fmt: skip
    is_flat = not any(child.is_dir() for child in path.iterdir())
    patterns = [f"{path}/{'' if is_flat else '**/'}*{name}" for name in names]
    return patterns[0] if len(patterns) == 1 else patterns


def _texts(source: dict[str, Any], rows: list[RawRow]) -> list[str]:
    """The texts as ingest would see them."""
    block = {"language": "en", **source, "name": "proposed", "read": ["-"], "license": License(declared=UNKNOWN_LICENSE)}
    expand({"proposed": block}, lambda name, place: preset(name, Path(), place))
    model = Source(**block)
    fields, records, texts = lane_of(model, Limits().document_bytes), records_of(model), []
    for row in rows[:N_PAGES] if model.type == "web" else rows:
        for values in records(row.values):
            with contextlib.suppress(Refused):
                texts.append(fields(values)["text"])
    return texts


def _languages(texts: list[str]) -> dict[str, int]:
    """How many of the texts are in which language, most first."""
    if not texts:
        return {}
    import pyarrow as pa

    from curate.langid import Spec, identify
    from curate.text import buffers

    data, offsets = buffers(pa.array([text[:LANGUAGE_CHARS] for text in texts], pa.large_string()))
    found = collections.Counter(str(name) for name in identify(data, offsets, Spec()).language)
    return dict(found.most_common())


def _ordered(source: dict[str, Any]) -> dict[str, Any]:
    keys = (
        "read",
        "format",
        "suffixes",
        "type",
        "language",
        "fields",
        "parallel",
        "preference",
        "render",
        "csv",
        "xml",
        "moses",
        "license",
    )
    return {key: source[key] for key in keys if key in source}


def _flow(value: Any) -> str:
    """YAML in one line; strings are quoted as JSON does wherever they are not plain words."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    is_plain = re.fullmatch(r"[A-Za-z_.][\w.-]*", value) and value.lower() not in NOT_PLAIN
    return value if is_plain else json.dumps(value, ensure_ascii=False)


def _one_line(text: str) -> str:
    return " ".join(text[: 4 * SAMPLE_CHARS].split())[:SAMPLE_CHARS]


def _suffix(file: Path) -> str:
    return Path(strip_compression(file.name)).suffix.lower()


def _compression(file: Path) -> str:
    with open(file, "rb") as stream:
        return compression_of(stream.read(HEAD_BYTES))
