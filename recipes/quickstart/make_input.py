"""Makes the sample input of the quickstart: bank/*.txt in, raw/* and planted.yaml out. Same seed, same bytes.

Run `python recipes/quickstart/make_input.py [FOLDER]`. Every text is written by the authors of veski (CC0-1.0); nothing is taken
from a data set. planted.yaml says which record shows which mechanism; tests/recipes holds the files, and the build, to it.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import unicodedata
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
import zstandard

sys.path.insert(0, str(Path(__file__).parent))
import plant
from grammar import COMBINATIONS, Page, conversations, join, page, singles, slug, topics
from lessons import lessons
from mathematics import values

SEED = 20261121
DOCUMENT_BYTES = 100_000  # limits.document_bytes of the recipe; one line is made longer


@dataclass
class Record:
    """One record before it is written; `key` names it in groups, `plant` is what planted.yaml says of it."""

    key: str
    text: str
    fields: dict[str, str] = field(default_factory=dict)
    plant: dict | None = None


@dataclass
class Sample:
    """Everything that is made: records by file, in file order, and the groups of duplicates by key."""

    files: dict[str, list[Record]] = field(default_factory=dict)
    groups: list[dict] = field(default_factory=list)
    broken: list[tuple[bytes, str | None]] = field(default_factory=list)


def rng_of(section: str) -> random.Random:
    return random.Random(f"{SEED}/{section}")


def pages(file: str, combinations: Iterable[tuple[int, int]] = COMBINATIONS) -> list[Page]:
    rng = rng_of(file)
    return [page(topic, c, rng) for topic in topics(file) for c in combinations]


def make() -> Sample:
    sample = Sample()
    clean = pages("et_web_1.txt") + pages("et_web_2.txt")
    rng_of("clean").shuffle(clean)
    web = _web(sample, clean)
    rng_of("order").shuffle(web)
    for number, record in enumerate(web):
        _web_fields(record, f"web-{number:04}")
    sample.files["et_web.jsonl.gz"] = web
    sample.files["et_books.parquet"] = _books(sample, clean)
    sample.files["en_replay.jsonl.zst"] = _replay(sample)
    sample.files["math.jsonl"] = _math()
    sample.files["instruct.jsonl"] = _instruct(sample)
    sample.files["et_web_truncated.jsonl.gz"] = [_plain(p, f"cut-{i:02}") for i, p in enumerate(clean[5:15])]
    good = [_plain(p, f"mended-{i:02}") for i, p in enumerate(clean[:5])]
    sample.broken = plant.broken_lines([_json(r) for r in good], DOCUMENT_BYTES + 1000)
    return sample


# ---- the web source: clean pages, and everything that is planted among them


def _web(sample: Sample, clean: list[Page]) -> list[Record]:
    """clean[:15] go to the two damaged files, clean[15:21] are repaired, clean[21:60] have duplicates, the rest stays alone."""
    found = [Record(p.key, p.text, {"url": p.address}) for p in clean[21:]]
    for i, p in enumerate(clean[15:21]):
        how = ("utf-8 read as latin-1", "utf-8 read as windows-1252", "not in NFC")[0 if i < 3 else 1 if i < 5 else 2]
        text = unicodedata.normalize("NFD", p.text) if i == 5 else _cp1252(p.text) if i > 2 else plant.mojibake(p.text)
        found.append(
            Record(p.key, text, {"url": p.address}, {"kind": "mojibake" if i < 5 else "not_nfc", "how": how, "is_repaired": True})
        )
    return found + _exact(sample, clean[21:31]) + _near(sample, clean[31:60]) + _noise(clean[60:]) + _foreign()


def _cp1252(text: str) -> str:
    """As windows-1252 shows UTF-8; the five bytes it leaves undefined stay what Latin-1 makes of them, as in browsers."""
    return "".join(bytes([b]).decode("cp1252", errors="ignore") or chr(b) for b in text.encode())


def _exact(sample: Sample, bases: list[Page]) -> list[Record]:
    copies = []
    for i, p in enumerate(bases[:9]):
        how, text = "other url", p.text
        if i == 7:
            how, text = "letter case and white space", join(p.title.upper(), p.parts, 2).replace(". ", ".  ")
        if i == 8:
            how, text = "equal after repair", plant.mojibake(p.text)
        keys = [p.key, *(f"{p.key}/copy-{n}" for n in range(2 if i == 0 else 1))]
        told = {"kind": "exact_duplicate", "how": how, **({"is_repaired": True} if i == 8 else {})}
        copies += [Record(key, text, {"url": "https://peegel.example/arhiiv"}, told) for key in keys[1:]]
        sample.groups.append({"kind": "exact_duplicate", "how": how, "members": keys, "kept": None})
    return copies


def _near(sample: Sample, bases: list[Page]) -> list[Record]:
    """bases[:9] pairs, [9:15] clusters of 3-5, [15:18] chains, [18:23] reprints for another place."""
    rng, found = rng_of("near"), []
    for i, p in enumerate(bases[:15]):
        n_copies = 1 if i < 9 else (2, 2, 2, 3, 3, 4)[i - 9]
        texts: list[str] = []
        while len(texts) < n_copies:
            text = plant.shortened(p, p.text, 0.86, 0.96, rng)
            if text not in texts:  # only the likeness to the head counts: it is kept, and is the witness of all
                texts.append(text)
        found += _group(sample, p, texts, "sentences left out", kept=0)
    for p in bases[15:18]:
        middle = plant.shortened(p, p.text, 0.80, 0.86, rng)
        last = plant.shortened(p, middle, 0.80, 0.86, rng, unlike=(p.text, 0.70))
        found += _group(sample, p, [middle, last], "chain", kept=0)
    reprints = [p for p in bases[18:] if 0.80 <= plant.jaccard(p.text, plant.moved(p, "Tuulevälja")) < 0.97][:4]
    for p in reprints:
        found += _group(sample, p, [plant.moved(p, "Tuulevälja")], "other place name", kept=None)
    return found


def _group(sample: Sample, p: Page, texts: list[str], how: str, kept: int | None) -> list[Record]:
    keys = [p.key, *(f"{p.key}/near-{n}" for n in range(len(texts)))]
    sample.groups.append({"kind": "near_duplicate", "how": how, "members": keys, "kept": kept})
    told = {"kind": "near_duplicate", "how": how}
    return [Record(key, text, {"url": "https://teataja.example/lood"}, told) for key, text in zip(keys[1:], texts, strict=True)]


def _noise(clean: list[Page]) -> list[Record]:
    rng, found = rng_of("noise"), []
    for i in range(16):
        fails = ["min_n_stop_words"] + (["max_bullet_line_ratio"] if i % 3 == 0 else [])
        told = {"kind": "menu", "failed_rules": sorted(fails)}
        found.append(Record(f"menu-{i}", plant.menu(i, rng), {"url": "https://poeke.example/menuu"}, told))
    for i in range(3):
        told = {"kind": "teasers", "failed_rules": ["max_ellipsis_line_ratio"]}
        found.append(
            Record(f"teasers-{i}", plant.teasers(clean[i * 14 : i * 14 + 14]), {"url": "https://paevauudis.example/"}, told)
        )
    spam = pages("spam.txt")
    for p in spam:
        found.append(Record(p.key, p.text, {"url": p.address}, {"kind": "spam", "note": "passes: no signal for it yet"}))
    for p in spam[:3]:
        told = {"kind": "hashtags", "failed_rules": ["max_hash_word_ratio"]}
        found.append(Record(f"{p.key}/tags", plant.hashtags(p, rng), {"url": p.address}, told))
    for p in _personal():
        found.append(
            Record(p.key, p.text, {"url": p.address}, {"kind": "personal_data", "note": "kept, the personal data is cut"})
        )
    return found


def _personal() -> list[Page]:
    """Notices with contact data: nothing real, see the head of bank/pii.txt."""
    rng = rng_of("personal")
    codes = ["38001085718", "47101010033", "60001019906", "50001029996", "30303039914"]
    ibans = ["EE382200221020145685", "EE471000001020145685", "FI21 1234 5600 0007 85", "DE89370400440532013000"]
    found = []
    for p in pages("pii.txt"):
        data = {
            "{phone}": f"+372 5000 {rng.randint(1, 9999):04}", "{code}": rng.choice(codes), "{iban}": rng.choice(ibans),
            "{email}": f"{slug(p.names['nimi'])}.{slug(p.names['pere'])}@{rng.choice(['post', 'kiri', 'kodu'])}.example",
        }  # fmt: skip
        parts = p.parts
        for slot, value in data.items():
            parts = tuple(part.replace(slot, value) for part in parts)
        found.append(Page(p.key, p.kind, p.address, p.title, parts, p.names))
    return found


def _foreign() -> list[Record]:
    found = []
    for p in pages("other_web.txt"):
        told = {"kind": p.kind, "failed_rules": ["language"]}
        found.append(Record(p.key, p.text, {"url": p.address}, told))
    for name, kind, text in singles():
        told = {"kind": kind, "failed_rules": ["min_n_non_symbol_words"] if kind == "short" else ["language"]}
        found.append(Record(name, text, {"url": f"https://{kind}.example"}, told))
    return found


# ---- the other sources


def _books(sample: Sample, clean: list[Page]) -> list[Record]:
    """Single essays from seven combinations of each topic, two-part texts from the other two; some texts the web source has too."""
    bank, rng = topics("et_books.txt"), rng_of("books")
    single = [page(topic, c, rng) for topic in bank for c in COMBINATIONS[:7]]
    found = [Record(f"book/{p.key}", join(p.title, p.parts, 1)) for p in single]
    for i, first in enumerate(bank):
        halves = [page(first, COMBINATIONS[7], rng), page(bank[(i + 1) % len(bank)], COMBINATIONS[8], rng)]
        found.append(Record(f"book/pair-{i}", "\n\n".join(join(p.title, p.parts, 1) for p in halves)))
    for p in clean[61:68]:
        key = f"book/{p.key}"
        found.append(
            Record(key, plant.shortened(p, p.text, 0.82, 0.93, rng), plant={"kind": "near_duplicate", "how": "across sources"})
        )
        sample.groups.append({"kind": "near_duplicate", "how": "across sources", "members": [key, p.key], "kept": 0})
    found.append(Record(f"book/{clean[68].key}", clean[68].text, plant={"kind": "exact_duplicate", "how": "across sources"}))
    members = [f"book/{clean[68].key}", clean[68].key]
    sample.groups.append({"kind": "exact_duplicate", "how": "across sources", "members": members, "kept": 0})
    rng.shuffle(found)
    for record in found:
        record.fields = {"year": str(rng.randint(1994, 2025)), "license": "CC0-1.0"}
    return found


def _replay(sample: Sample) -> list[Record]:
    found = [Record(f"en/{p.key}", p.text) for p in pages("en_replay.txt")]
    for i in (4, 40):
        told = {"kind": "exact_duplicate", "how": "other number"}
        sample.groups.append({**told, "members": [found[i].key, f"{found[i].key}/copy"], "kept": None})
        found.append(Record(f"{found[i].key}/copy", found[i].text, plant=told))
    rng_of("replay").shuffle(found)
    for i, record in enumerate(found):
        record.fields = {"number": f"en-{i:03}"}
    return found


def _math() -> list[Record]:
    rng, found = rng_of("math"), []
    for topic in topics("math.txt"):
        for c in COMBINATIONS[:8]:
            p, slot = page(topic, c, rng), values(topic.name, rng)
            text = join(p.title, p.parts, 1)
            for name, value in slot.items():
                text = text.replace(f"<{name}>", value)
            found.append(Record(f"math/{p.key}-{len(found)}", text))
    rng.shuffle(found)
    for i, record in enumerate(found):
        record.fields = {"id": f"math-{i:03}"}
    return found


def _instruct(sample: Sample) -> list[Record]:
    found = []
    for i, (language, messages) in enumerate(conversations() + lessons(rng_of("lessons"))):
        found.append(Record(f"talk-{i}", json.dumps(messages, ensure_ascii=False), {"language": language}))
    told = {"kind": "exact_duplicate", "how": "other number"}
    sample.groups.append({**told, "members": ["talk-9", "talk-9/copy"], "kept": None})
    found.append(Record("talk-9/copy", found[9].text, dict(found[9].fields), told))
    rng_of("instruct").shuffle(found)
    for i, record in enumerate(found):
        record.fields["id"] = f"talk-{i:03}"
    return found


def _plain(p: Page, source_id: str) -> Record:
    record = Record(p.key, p.text, {"url": p.address})
    _web_fields(record, source_id)
    return record


def _web_fields(record: Record, source_id: str) -> None:
    rng = rng_of(f"date/{record.key}")
    date = f"{rng.randint(2019, 2026)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    host, _, path = record.fields["url"].removeprefix("https://").partition("/")
    host = ".".join(slug(label) for label in host.split("."))
    record.fields = {"id": source_id, "url": f"https://{host}/{path.strip('/') or 'leht'}/{source_id}", "date": date}


# ---- writing


def _json(record: Record) -> dict:
    return {**record.fields, "text": record.text}


def _lines(rows: Iterable[dict]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def write(sample: Sample, folder: Path) -> None:
    """raw/* and planted.yaml under `folder`. No clock, no file name and no thread count enters a compressed file."""
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    files = sample.files
    (raw / "et_web.jsonl.gz").write_bytes(gzip.compress(_lines(map(_json, files["et_web.jsonl.gz"])), 9, mtime=0))
    cut, n_whole = _truncated([_json(r) for r in files["et_web_truncated.jsonl.gz"]])
    (raw / "et_web_truncated.jsonl.gz").write_bytes(cut)
    (raw / "et_web_broken.jsonl").write_bytes(b"".join(line + b"\n" for line, _ in sample.broken))
    books = [{"text": r.text, **r.fields} for r in files["et_books.parquet"]]
    pq.write_table(pa.Table.from_pylist(books), raw / "et_books.parquet", compression="zstd", row_group_size=20)
    replay = _lines({"number": r.fields["number"], "page": {"body": r.text}} for r in files["en_replay.jsonl.zst"])
    (raw / "en_replay.jsonl.zst").write_bytes(zstandard.ZstdCompressor(level=19).compress(replay))
    (raw / "math.jsonl").write_bytes(_lines(map(_json, files["math.jsonl"])))
    talks = ({**r.fields, "messages": json.loads(r.text)} for r in files["instruct.jsonl"])
    (raw / "instruct.jsonl").write_bytes(_lines(talks))
    told = yaml.safe_dump(planted(sample, n_whole), sort_keys=False, allow_unicode=True, width=140)
    head = "# What is planted where. Written by make_input.py, read by tests: the build is held to it. record: counted from 0.\n"
    (folder / "planted.yaml").write_text(head + told, encoding="utf-8")


def _truncated(rows: list[dict]) -> tuple[bytes, int]:
    """A gzip stream cut in the middle of a record, and how many records lie before the cut (each ends on a byte of its own)."""
    press = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [press.compress(_lines([row])) + press.flush(zlib.Z_FULL_FLUSH) for row in rows]
    n_whole = 6
    return b"".join(parts[:n_whole]) + parts[n_whole][: len(parts[n_whole]) // 2], n_whole


def planted(sample: Sample, n_whole: int) -> dict:
    place = {
        record.key: {"file": file, "record": i, **({"id": record.fields["id"]} if "id" in record.fields else {})}
        for file, records in sample.files.items() for i, record in enumerate(records)
    }  # fmt: skip
    records = [{**place[r.key], **r.plant} for rows in sample.files.values() for r in rows if r.plant]
    groups = [{**g, "members": [place[key] for key in g["members"]]} for g in sample.groups]
    offsets, offset = [], 0
    for line, _ in sample.broken:
        offsets.append(offset)
        offset += len(line) + 1
    quarantine = [
        {"file": "et_web_broken.jsonl", "record": i, "byte_offset": offsets[i], "cause": cause}
        for i, (_, cause) in enumerate(sample.broken) if cause
    ]  # fmt: skip
    quarantine.append({"file": "et_web_truncated.jsonl.gz", "record": n_whole, "cause": "truncated"})
    read = {file: len(rows) for file, rows in sample.files.items()}
    read |= {"et_web_truncated.jsonl.gz": n_whole, "et_web_broken.jsonl": sum(cause is None for _, cause in sample.broken)}
    return {"version": 1, "good_records": read, "records": records, "groups": groups, "quarantine": quarantine}


if __name__ == "__main__":
    write(make(), Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
