"""Personal data: the gold file, the check digits, boundaries, any bytes. `python -m tests.signals.test_pii` writes the evidence."""

from __future__ import annotations

import ipaddress
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import text
from curate.signals import pii
from curate.signals.family import Batch
from curate.signals.pii.numbers.kernels import IBANS
from curate.signals.pii.tables import tlds

GOLD = Path(__file__).with_name("pii_gold.jsonl")


def found(given_text: str) -> list[tuple[str, str]]:
    """(kind, text) of every span of one document."""
    raw = given_text.encode()
    _, _, spans = pii.find(*text.buffers(pa.array([given_text], pa.large_string())))
    return [(pii.KINDS[k], raw[a:b].decode()) for a, b, k in zip(spans.start, spans.end, spans.kind, strict=True)]


def gold_counts() -> dict[str, Counter]:
    """kind -> {positives, hits, right} over the gold file; `right` are hits of the same kind and the same text."""
    counts: dict[str, Counter] = {kind: Counter() for kind in pii.KINDS}
    for line in GOLD.read_text(encoding="utf-8").split("\n"):
        if line:
            row = json.loads(line)
            wanted, got = Counter(map(tuple, row["spans"])), Counter(found(row["text"]))
            for name, part in (("positives", wanted), ("hits", got), ("right", wanted & got)):
                for (kind, _), n in part.items():
                    counts[kind][name] += n
    return counts


def test_precision_and_recall_on_the_gold_file() -> None:
    for kind, n in gold_counts().items():
        assert n["positives"] >= 15, kind
        assert n["right"] / n["hits"] >= 0.98, (kind, "precision")
        assert n["right"] / n["positives"] >= 0.98, (kind, "recall")


def test_the_gold_file_is_large_enough() -> None:
    rows = [json.loads(line) for line in GOLD.read_text(encoding="utf-8").split("\n") if line]
    assert sum(len(row["spans"]) for row in rows) >= 150 and sum(not row["spans"] for row in rows) >= 150
    assert len({row["text"] for row in rows}) == len(rows)
    assert all(value in row["text"] for row in rows for _, value in row["spans"])


def test_columns_and_spans_of_a_batch() -> None:
    texts = ["", "õ mari@naide.ee ja tel 5123 4567", "midagi", "38001085718"]
    array = pa.array(["mari@naide.ee", *texts], pa.large_string()).slice(1)  # a slice: offsets do not begin at 0
    columns = pii.measure(Batch(array, *text.buffers(array), None))
    assert [columns[c.name].tolist() for c in pii.FAMILY.columns] == [
        [0, 1, 0, 0], [0, 1, 0, 0], [0] * 4, [0] * 4, [0] * 4, [0] * 4, [0, 0, 0, 1], [0, 13 + 9, 0, 11],
    ]  # fmt: skip
    spans = columns["spans"]
    assert [a.tolist() for a in spans] == [[1, 1, 3], [3, 24, 0], [16, 33, 11], [0, 1, 6]]
    assert pii.measurer().needs_words is False


def test_an_email_wins_over_the_numbers_in_it() -> None:
    assert found("51234567@naide.ee 38001085718@eesti.ee") == [("email", "51234567@naide.ee"), ("email", "38001085718@eesti.ee")]
    assert found("tel 5123 4567.mari@naide.ee") == [("email", "4567.mari@naide.ee")]


@pytest.mark.parametrize("letter", ["z", "õ", "ж", "中", "é", "_", "७"])
def test_letters_of_every_script_are_word_characters(letter: str) -> None:
    for value in ("38001085718", "4111111111111111", "193.0.14.129", "2001:7fe::53", "EE352200221012345678", "+37251234567"):
        assert [v for _, v in found(f"{value} {letter}")] == [value]
        assert found(letter + value) == [], value
        assert letter == "७" or found(value + letter) == [], value


# Control digits by hand: 3800108571: 3+16+0+0+5+0+56+40+63+1 = 184 = 16*11+8 -> 8. 1141209000: 1+2+12+4+10+0+63+0+0+0 = 92 =
# 8*11+4 -> 4. 30002290009 is a 29 February of 1900, 60002290003 one of 2000.
@pytest.mark.parametrize(("code", "valid"), [
    ("38001085718", True), ("38001085719", False), ("38013085711", False), ("00000000000", False), ("99999999999", False),
    ("30002290009", False), ("60002290003", True), ("60001019906", True), ("11412090004", True),
])  # fmt: skip
def test_estonian_personal_codes(code: str, valid: bool) -> None:
    assert found(code) == ([("ee_personal_code", code)] if valid else [])


def control_digit(ten: str) -> int:
    """EVS 585:2007, written out once more."""
    for weights in ("1234567891", "3456789123"):
        rest = sum(int(a) * int(b) for a, b in zip(ten, weights, strict=True)) % 11
        if rest < 10:
            return rest
    return 0


@settings(max_examples=200, deadline=None)
@given(st.dates(date(1800, 1, 1), date(2099, 12, 31)), st.integers(0, 999), st.integers(0, 1))
def test_personal_codes_of_every_date(day: date, order: int, sex: int) -> None:
    ten = f"{2 * ((day.year - 1800) // 100) + 1 + sex}{day.year % 100:02}{day.month:02}{day.day:02}{order:03}"
    assert found(f"{ten}{control_digit(ten)}") == [("ee_personal_code", f"{ten}{control_digit(ten)}")]
    assert found(f"{ten}{(control_digit(ten) + 1) % 10}") == []


def test_account_numbers_of_every_country() -> None:
    """Lengths as SWIFT's registry gives them, checked through the number itself: one digit more or less is none."""
    lengths = {
        "EE": 20,
        "LV": 21,
        "LT": 20,
        "FI": 18,
        "SE": 24,
        "NO": 15,
        "DK": 18,
        "DE": 22,
        "GB": 22,
        "FR": 27,
        "MT": 31,
        "LC": 32,
    }
    for country, shape in zip(IBANS.split()[::2], IBANS.split()[1::2], strict=True):
        places = "".join(kind * int(n) for n, kind in re.findall(r"(\d+)([nac])", shape))
        body = "".join("7" if kind == "n" else "Q" for kind in places)
        value = f"{country}{98 - _number(body + country + '00') % 97:02}{body}"
        assert len(value) == lengths.get(country, len(value))
        assert found(value) == [("iban", value)], value
        assert found(f"arve {' '.join(value[i : i + 4] for i in range(0, len(value), 4))}.")[0][0] == "iban"
        assert ("iban", value) not in found(value + "7") and not any(kind == "iban" for kind, _ in found(value[:-1]))


def _number(value: str) -> int:
    return int("".join(str(int(c, 36)) for c in value))


def test_addresses_agree_with_the_standard_library() -> None:
    rng = random.Random(5)
    for _ in range(4000):
        v4 = ipaddress.IPv4Address(rng.getrandbits(32) if rng.random() < 0.7 else rng.choice(_edges()))
        v6 = ipaddress.IPv6Address(rng.getrandbits(128) >> rng.choice([0, 0, 64, 96]) | 1 << rng.choice([125, 125, 124, 64]))
        wanted = v4.is_global and not v4.is_multicast
        assert bool(found(f"IP {v4}")) == wanted, v4
        if int(v6) >> 125 == 1:
            assert bool(found(f"{v6.compressed} {v6.exploded}")) == v6.is_global, v6


def _edges() -> list[int]:
    blocks = (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.2.0/24 192.168.0.0/16 198.18.0.0/15"
    )
    blocks += " 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4"
    ends = [(int(n[0]), int(n[-1])) for n in map(ipaddress.ip_network, blocks.split())]
    return [x for a, b in ends for x in (a, b, min(b + 1, 2**32 - 1), max(a - 1, 0))]


def test_top_level_domains_exist() -> None:
    names = tlds()
    assert len(names) == len(set(names)) > 1400 and {"ee", "com", "рф", "xn--p1ai"} <= set(names)
    assert not {"example", "test", "local", "localhost", "invalid", "png", "js"} & set(names)


def test_placeholders() -> None:
    assert [pii.placeholder(kind, "typed") for kind in pii.KINDS] == [
        "[EMAIL]", "[PHONE]", "[IP]", "[IP]", "[IBAN]", "[CARD]", "[ID]",
    ]  # fmt: skip
    assert pii.placeholder("iban", "constant") == "[PII]" and pii.placeholder("iban", "removed") == ""
    assert all(found(f"tel {value} {value}") == [] for value in pii.PLACEHOLDERS.values())  # cutting twice changes nothing


WORDS = """@ . , : ; - + ( ) [ ] / = # % \\ < > _ 0 1 2 3 4 5 12 34 567 5123 4567 11 +372 00372 tel phone § v ip EE LV :: ffff: at dot
mari naide .ee .com 38001085718 4111 1111 193.0.14.129 2001:7fe õ Ж 中 \u2013 ☎ 😀 \u0301 kaart eur € (at) [dot]"""
PIECES = st.sampled_from([*WORDS.split(), " ", "\n", "\u00a0"])


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=40), max_size=5))
def test_spans_of_any_text(texts: list[str]) -> None:
    data, offsets = text.buffers(pa.array(texts, pa.large_string()))
    counts, n_bytes, spans = pii.find(data, offsets)
    last: dict[int, int] = {}
    for row, a, b, _ in zip(*(s.tolist() for s in spans), strict=True):
        raw = texts[row].encode()
        assert last.get(row, 0) <= a < b <= len(raw) and b - a >= 6
        raw[a:b].decode()  # on the boundaries of characters
        last[row] = b
    assert spans.row.tolist() == sorted(spans.row.tolist())
    assert counts.sum() == len(spans.row) and n_bytes.sum() == (spans.end - spans.start).sum()


HARD = {
    "at signs": "@", "digits": "1", "digit and space": "1 ", "groups": "12-34 5", "pluses": "+372 5", "letters and at": "a@",
    "addresses": "a@b.ee ", "dotted": "a.b.", "octets": "193.0.14.129 ", "colons": "2001::", "brackets": "(at)", "spelled": "a(at)b(dot)c",
    "phones": "tel 5123 4567, ", "links": "tel on nr 12 34 56 7", "tags": "<b>12 34 567 ", "account": "EE35 2200 2210 1234 567",
    "hyphens": "a@b-", "names": "aaaaaaaaaa",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HARD)
def test_time_is_linear_in_one_hostile_line(name: str) -> None:
    """16 MB of one line in two seconds of CPU (busy machines: four): every look-around is bounded (REACH, GROUPS, DOMAIN)."""
    found("x")
    piece = HARD[name].encode()
    data = np.frombuffer(piece * (16_000_000 // len(piece)), np.uint8)
    began = time.process_time()
    pii.find(data, np.array([0, len(data)], np.int64))
    assert time.process_time() - began < 4


CHECKED = """
import random
import numpy as np, pyarrow as pa
from curate import text
from curate.signals import bad_words, pii
from curate.signals.family import Batch
from curate.signals.pii import kernels
from curate.signals.pii.tables import words
from curate.text import unicode
from tests.signals.test_pii import GOLD, HARD

raw = np.frombuffer(b"mari@naide.ee 193.0.14.129", np.uint8)
none = np.zeros(0, np.int64)
try:  # no room for a span: must raise, or nothing here checks anything
    kernels.scan(raw, np.array([0, len(raw)]), unicode.tables()[0], words(), np.zeros((1, 7), np.int64), none, none, none, np.zeros(0, np.int16))
except IndexError:
    pass
else:
    raise SystemExit("bounds checking is off")

rng = random.Random(7)
gold = GOLD.read_text(encoding="utf-8").split("\\n")
pieces = [*"@.:+-()[]/0123456789 aõ中\\n<>", *(p for line in gold for p in line[10:60].split(" ")), *HARD.values()]
rows = [p * 20 for p in HARD.values()] + ["".join(rng.choices(pieces, k=rng.randrange(40))) for _ in range(6000)]
rows += [row[:-k] for row in rows[:2000] for k in (1, 2)] + gold
for row in rows:  # each alone, in a buffer that ends with it: nothing behind the last text to read by mistake
    raw = np.frombuffer(row.encode() or b"\\0", np.uint8).copy()
    pii.find(raw, np.array([0, len(row.encode())], np.int64))
array = pa.array(rows, pa.large_string())
data, offsets = text.buffers(array)
batch = Batch(array, data, offsets, text.segment(data, offsets))
bad_words.measure(("mari", "tel 5123", "."), "rules", batch)
bad_words.measure(("ma", "1", "中"), None, batch)
print("checked")
"""


@pytest.mark.slow
def test_no_kernel_reads_or_writes_out_of_bounds(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    top = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", CHECKED], env=environment, cwd=top, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "checked\n"), done.stderr


if __name__ == "__main__":
    from tests.signals import pii_evidence

    pii_evidence.main(pii_evidence.data_folder())
