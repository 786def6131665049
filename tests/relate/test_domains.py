"""The relation of web domains: counted by hand, in one layout as in another, none without addresses, the same after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.relate import domains as room
from curate.relate.domains import kernels
from tests.relate.corpus import Corpus, corpus, one_id, rows

FOOTER = "Kõik õigused kaitstud, 2021"  # 27 characters, 29 bytes; digits are all one
TEXTS = [
    f"esimene lugu algab siin\n{FOOTER}", f"teine lugu algab siin\n  {FOOTER.replace('1', '9')}\t\r\nlühike\n", f"{FOOTER}\n{FOOTER}",
    f"neljas lugu algab siin\n{FOOTER}", f"viies lugu algab siin\n{FOOTER}", "kuues lugu algab siin", "kuues lugu algab siin",
    "kuues lugu algab siin", f"{FOOTER}",
]  # fmt: skip
URLS = ["https://www.a.ee/1", "http://a.ee/2", "https://x.a.ee", "http://b.ee", "http://b.ee/2", "http://c.ee/1", "http://c.ee/2",
        "http://c.ee/3", None]  # fmt: skip


def table_of(made: Corpus, relations=None) -> dict[str, dict]:
    stage = (relations or made.relate()).domains["a"]
    return {row["id"]: row for row in rows(stage, "domains")}


def test_by_hand(tmp_path):
    made = corpus(tmp_path, {"a": TEXTS}, addresses={"a": URLS}, dedup={"near": None})
    found = table_of(made)
    names = ("domain_documents", "n_domain_duplicates", "n_domain_line_bytes", "n_domain_template_bytes")
    # a.ee: two titles of 23 and 21 bytes, four footers of 29; b.ee has two documents, too few for a template; c.ee three copies
    of = {"a.ee": (3, 0, 160, 116), "b.ee": (2, 0, 0, 0), "c.ee": (3, 2, 63, 63)}
    expected = [of["a.ee"]] * 3 + [of["b.ee"]] * 2 + [of["c.ee"]] * 3 + [(None,) * 4]
    assert [tuple(found[one_id("a", i)][name] for name in names) for i in range(9)] == expected
    counts = made.relate().domains["a"].info()["counts"]
    assert counts == {"with_domain": 8}


def test_no_address_no_stage(tmp_path):
    made = corpus(tmp_path, {"a": TEXTS, "b": TEXTS, "c": ["üks"]}, addresses={"b": [None] * 9, "a": URLS})
    relations = made.relate()
    assert set(relations.domains) == {"a"}
    assert {path.name for path in tmp_path.glob("domain*")} == {"domain_numbers", "domain_lines", "domains"}
    plain = corpus(tmp_path / "plain", {"a": TEXTS}, addresses={"a": [None] * 9})
    assert plain.relate().domains == {} and not list((tmp_path / "plain").glob("domain*"))


def test_shards_workers_and_parts_do_not_matter(tmp_path, monkeypatch):
    texts = [f"{FOOTER}\nlugu number {'x' * (i % 7)} on siin\nteine rida {i % 5}{'y' * (i % 3)} ka" for i in range(60)]
    addresses = [f"https://www.site{i % 7}.ee/{i}" for i in range(60)]
    tables, roots = [], []
    for n, (shard_rows, workers, part) in enumerate([(1000, 1, 64 << 20), (7, 2, 64 << 20), (1, 1, 64), (13, 1, 1000)]):
        monkeypatch.setattr(room, "PART_BYTES", part)
        made = corpus(tmp_path / str(n), {"a": texts}, addresses={"a": addresses}, shard_rows=shard_rows)
        relations = made.relate(workers)
        tables.append([row for key in relations.domains["a"].keys
                       for row in pq.read_table(relations.domains["a"].shard_path(key) / "domains.parquet").to_pylist()])  # fmt: skip
        numbers = [relations.domains["a"].shard_path(key) / "number.npy" for key in relations.domains["a"].keys]
        roots.append(np.concatenate([np.load(path) for path in numbers]))
    assert tables[0] == tables[1] == tables[2] == tables[3] and len(tables[0]) == 60
    assert all((roots[0] == other).all() for other in roots[1:])


def reference(texts: list[str], domain: list[str | None]) -> dict[str, tuple[int, int]]:
    """domain -> (line bytes, template bytes), in plain Python."""
    sizes = Counter(d for d in domain if d)
    documents, n_bytes = defaultdict(set), Counter()
    for i, (text, of) in enumerate(zip(texts, domain, strict=True)):
        if of is None or sizes[of] < room.MIN_DOCUMENTS:
            continue
        for line in text.split("\n"):
            line = line.strip("".join(map(chr, range(33))))
            if len(line) >= room.MIN_LINE_CHARS:
                key = of, "".join("0" if c in "0123456789" else c for c in line)
                documents[key].add(i)
                n_bytes[key] += len(line.encode())
    found = {of: (0, 0) for of in sizes}
    for (of, line), n in n_bytes.items():
        is_template = len(documents[of, line]) >= room.MIN_DOCUMENTS
        found[of] = (found[of][0] + n, found[of][1] + n * is_template)
    return found


LINES = ["aaaaaaaaaa", "õõõõõõõõõõ", "õõõõõõõõõ", "rida number 1", "rida number 2", "\t  rida number 3 \r", "lühike", "", " "]
documents = st.tuples(st.lists(st.sampled_from(LINES), max_size=6), st.sampled_from(["a.ee", "b.ee", "c.ee", None]))


@settings(max_examples=25, deadline=None)
@given(st.lists(documents, min_size=1, max_size=14))
def test_templates_as_in_plain_python(tmp_path_factory, listed):
    texts = ["\n".join(lines) for lines, _ in listed]
    domain = [of for _, of in listed]
    if not any(domain):
        return
    addresses = [None if of is None else f"http://{of}/" for of in domain]
    dedup = {"near": None, "exact": "none"}
    made = corpus(tmp_path_factory.mktemp("t"), {"a": texts}, addresses={"a": addresses}, shard_rows=4, dedup=dedup)
    found = table_of(made)
    expected = reference(texts, domain)
    for i, of in enumerate(domain):
        row = found[one_id("a", i)]
        got = (row["n_domain_line_bytes"], row["n_domain_template_bytes"])
        assert got == (expected[of] if of else (None, None))


def test_a_changed_block_list_relates_nothing_again(tmp_path):
    """The stages hang on family url, which knows no list, and on the clusters."""
    made = corpus(tmp_path, {"a": TEXTS}, addresses={"a": URLS})
    first = made.relate().domains["a"]
    stricter = made._replace(recipe=made.recipe.model_copy(update={"rules": []}))
    assert stricter.relate().domains["a"] == first
    assert first.parents[-1] == made.relate().clusters.root


KILLED = """
import os, sys
from pathlib import Path
from curate.relate import domains as room
from tests.relate.corpus import corpus
from tests.relate.test_domains import TEXTS, URLS
made = corpus(Path(sys.argv[1]), {"a": TEXTS * 3}, addresses={"a": URLS * 3}, shard_rows=5)
place, n = sys.argv[2], int(sys.argv[3])
kept = getattr(room, place)
def killed(*args):
    global n
    n -= 1
    if n < 0:
        os._exit(9)
    return kept(*args)
setattr(room, place, killed)
made.relate()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("place", "n"), [("_write_numbers", 0), ("_lines_of", 3), ("_records", 0), ("numbers_of", 14)])
def test_a_killed_run_goes_on(tmp_path, place, n):
    top = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), place, str(n)]
    done = subprocess.run(command, cwd=top, env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    stages = []
    for folder in ("killed", "whole"):
        made = corpus(tmp_path / folder, {"a": TEXTS * 3}, addresses={"a": URLS * 3}, shard_rows=5)
        stages.append(made.relate().domains["a"])
    assert stages[0].root == stages[1].root
    for key in stages[0].keys:
        for name in ("domains.parquet", "number.npy"):
            assert (stages[0].shard_path(key) / name).read_bytes() == (stages[1].shard_path(key) / name).read_bytes()


def test_keys_of_lines():
    """Equal but for digits and outer white space: one key; another domain: another key; too short: none."""
    text = "  rida 12 siin\n\trida 99 siin\r\nrida aa siin\nlühike rid\nlühike ri".encode()
    data, offsets = np.frombuffer(text + text, np.uint8), np.array([0, len(text), 2 * len(text)], np.int64)
    key, row, size = np.empty(20, np.uint64), np.empty(20, np.int32), np.empty(20, np.int32)
    n = kernels.line_keys(data, offsets, np.array([0, 1], np.int32), 10, key, row, size)
    assert n == 8 and row[:8].tolist() == [0] * 4 + [1] * 4 and size[:4].tolist() == [12, 12, 12, 11]
    assert key[0] == key[1] and len(set(key[:8].tolist())) == 6
