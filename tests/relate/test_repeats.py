"""Repeated lines and paragraphs: by hand, against plain Python, in one layout as in another; what a recipe may say of them."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import engine
from curate.cuts import entries
from curate.errors import CurateError
from curate.recipe import Cut, Recipe, Rule
from curate.relate.repeats import counts, measure
from curate.signals import repeats, signal_names
from curate.signals.urls.address import address, registered_domain
from curate.store import Stage, folder_bytes
from tests.relate.corpus import Corpus, corpus, one_id, rows

Addresses = Mapping[str, Sequence[str | None]]


def measured(root: Path, texts: Mapping[str, Sequence[str]], cuts: Sequence[Cut], addresses: Addresses | None = None, shard_rows: int = 1000,
             workers: int = 1) -> tuple[Corpus, dict[tuple[str, str], Stage]]:  # fmt: skip
    made = corpus(root, texts, addresses=addresses, shard_rows=shard_rows)
    recipe = made.recipe.model_copy(update={"cuts": list(cuts)})
    with engine.quietly():
        return made, measure(made.store, recipe, made.documents, made.signals, workers)


def spans_of(made: Corpus, stage: Stage, source: str, family: str) -> list[tuple]:
    """(id, start, end, three counts, three bools) of every span, in the order of rows."""
    found = []
    for key in stage.keys:
        ids = pq.read_table(made.documents[source].shard_path(key) / "documents.parquet", columns=["id"])["id"].to_pylist()
        table = pq.read_table(stage.shard_path(key) / f"{family}.spans.parquet").to_pydict()
        for row, start, end, kind, *rest in zip(*table.values(), strict=True):
            assert kind == repeats.FAMILIES[family].span_kinds[0]
            found.append((ids[row], start, end, *rest))
    return found


LINES = [Cut(kind="boilerplate_lines")]
FOOTER = "Kõik õigused kaitstud"
A = [
    f"Avaleht\n\nesimene lugu\nalgab siin\n\n{FOOTER}\n",
    f"Avaleht \r\n\r\nesimene lugu\n  algab siin\t\n\n\n{FOOTER}",
    "}\nAvaleht\n}\n",
]
B = [f"{FOOTER}\n{FOOTER}\nlõpp", "}\n---\n"]
URLS = {"a": ["http://www.leht.ee/1", "https://leht.ee/2", None], "b": ["http://leht.ee/3", None]}


def test_by_hand(tmp_path):
    made, found = measured(tmp_path, {"a": A, "b": B}, LINES, URLS)
    assert set(found) == {(s, f) for s in "ab" for f in ("repeated_lines", "repeated_paragraphs")}
    order = sorted(range(3), key=lambda i: one_id("a", i))
    assert order == [0, 2, 1]  # by id: what "first" means below
    ids = [one_id("a", i) for i in range(3)]
    got = spans_of(made, found["a", "repeated_lines"], "a", "repeated_lines")
    first, later = (True, True, True), (False, False, False)
    assert got == [
        (ids[0], 0, 8, 3, 3, 2, *first), (ids[0], 9, 22, 2, 2, 2, *first), (ids[0], 22, 33, 2, 2, 2, *first),
        (ids[0], 34, 58, 3, 2, 2, *first), (ids[2], 2, 10, 3, 3, 0, *later),
        (ids[1], 0, 10, 3, 3, 2, *later), (ids[1], 12, 25, 2, 2, 2, *later), (ids[1], 25, 39, 2, 2, 2, *later),
        (ids[1], 41, 64, 3, 2, 2, *later),
    ]  # fmt: skip
    footers = spans_of(made, found["b", "repeated_lines"], "b", "repeated_lines")
    b = one_id("b", 0)  # twice in one document: it stands in one document, and its second place is not the first
    assert footers == [(b, 0, 24, 3, 1, 1, False, True, True), (b, 24, 48, 3, 1, 1, *later)]
    paragraphs = spans_of(made, found["a", "repeated_paragraphs"], "a", "repeated_paragraphs")
    assert paragraphs == [  # with the blank lines after them; }, Avaleht, } is one paragraph, and another one
        (ids[0], 0, 9, 2, 2, 2, *first), (ids[0], 9, 34, 2, 2, 2, *first), (ids[0], 34, 58, 2, 2, 2, *first),
        (ids[1], 0, 12, 2, 2, 2, *later), (ids[1], 12, 41, 2, 2, 2, *later), (ids[1], 41, 64, 2, 2, 2, *later),
    ]  # fmt: skip
    table = {row["id"]: row for row in rows(found["a", "repeated_lines"], "repeated_lines")}
    assert (
        list(table[ids[2]].values())[1:] == [1, 8, 1, 8, 0, 0] and list(table[ids[1]].values())[1:] == [4, 10 + 13 + 14 + 23] * 3
    )
    assert [list(row.values())[1:] for row in rows(found["b", "repeated_lines"], "repeated_lines") if row["id"] == b] == [
        [2, 48, 0, 0, 0, 0]
    ]


def pieces(text: str, paragraphs: bool) -> list[tuple[str, int, int]]:
    """(what is compared, start, end in bytes) of the lines or paragraphs with a letter or digit, in plain Python."""
    found: list[tuple[str, int, int]] = []
    at, blank = 0, True
    for line in text.split("\n") if text else []:
        end = min(at + len(line.encode()) + 1, len(text.encode()))
        if paragraphs and line.strip():
            if blank:
                found.append((line.strip(), at, end))
            else:
                found[-1] = (f"{found[-1][0]}\n{line.strip()}", found[-1][1], end)
        elif paragraphs and found:
            found[-1] = (*found[-1][:2], end)
        elif not paragraphs:
            found.append((line.strip(), at, end))
        at, blank = end, not line.strip()
    return [piece for piece in found if any(map(str.isalnum, piece[0]))]


def domain_of(url: str | None) -> str | None:
    host = address(url)[0] if url else None
    return registered_domain(host) if host else None


def reference(texts: Mapping[str, Sequence[str]], addresses: Addresses, paragraphs: bool) -> dict[str, list[tuple]]:
    """source -> what spans_of gives."""
    places = [
        (source, of, one_id(source, i), *piece)
        for source, listed in texts.items() for i in sorted(range(len(listed)), key=lambda i: one_id(source, i))
        for of in [domain_of(addresses[source][i])] for piece in pieces(listed[i], paragraphs)
    ]  # fmt: skip
    documents: dict[tuple, set[str]] = defaultdict(set)
    first: dict[tuple, tuple] = {}
    for place in places:
        source, of, id_, key, *_ = place
        for scope in ((key,), (key, source), (key, source, of)):
            documents[scope].add(id_)
            first.setdefault(scope, place)
    found: dict[str, list[tuple]] = {source: [] for source in texts}
    for place in places:
        source, of, id_, key, start, end = place
        scopes = [(key,), (key, source), (key, source, of)]
        if len(documents[(key,)]) > 1:
            n = [len(documents[s]) for s in scopes]
            is_first = [first[s] == place for s in scopes]
            found[source].append((id_, start, end, *n[:2], n[2] if of else 0, *is_first[:2], bool(of) and is_first[2]))
    return found


LINE = st.sampled_from(
    ["", " ", "\u00a0", "a", " a", "a\r", "a \u3000", "A", "1", "2", "}", "õ b", "-\x85", "b\u2028b", "a" * 30]
)
TEXT = st.lists(LINE, max_size=9).map("\n".join)
URL = st.sampled_from([None, "http://x.ee/1", "http://www.x.ee", "http://y.ee", "no address"])
DOCUMENT = st.tuples(TEXT, URL)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    st.lists(DOCUMENT, min_size=1, max_size=9),
    st.lists(DOCUMENT, max_size=6),
    st.sampled_from([2, 1000]),
    st.sampled_from([200, 1 << 20]),
)
def test_as_plain_python_has_it(a, b, shard_rows, part_bytes):
    texts = {"a": [t for t, _ in a], "b": [t for t, _ in b]}
    addresses = {"a": [u for _, u in a], "b": [u for _, u in b]}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(counts, "PART_BYTES", part_bytes)
        patch.setattr("os.fsync", lambda file: None)  # hundreds of small stages
        made, found = measured(Path(folder), texts, LINES, addresses, shard_rows)
        for family in ("repeated_lines", "repeated_paragraphs"):
            wanted = reference(texts, addresses, family == "repeated_paragraphs")
            assert {s: spans_of(made, found[s, family], s, family) for s in texts} == wanted


def test_many_domains_hold_one_line(tmp_path):
    """A record for every domain of a key: which is found by halving."""
    n = 50
    texts, addresses = [f"{FOOTER}\nlugu {i}" for i in range(n)], [f"http://leht{i % 7}.ee/{i}" for i in range(n)]
    made, found = measured(tmp_path, {"a": texts}, LINES, {"a": addresses}, shard_rows=16)
    wanted = reference({"a": texts}, {"a": addresses}, False)["a"]
    assert spans_of(made, found["a", "repeated_lines"], "a", "repeated_lines") == wanted and len(wanted) == n


def test_equal_keys_of_another_check_are_other_lines(tmp_path, monkeypatch):
    """64 bits may be equal by chance: the other 32 tell the lines apart. Here half of the keys are made equal."""
    from curate.relate.repeats import lines

    find = lines.find
    monkeypatch.setattr(lines, "find", lambda *a: (of := find(*a))._replace(key=of.key & of.key.dtype.type(1)))
    texts = [f"{'abc'[i % 3]}\n{'de'[i % 2]}\nlugu {i}" for i in range(12)]
    addresses = [None if i % 4 == 0 else f"http://leht{i % 5}.ee/{i}" for i in range(12)]
    made, found = measured(tmp_path, {"a": texts}, LINES, {"a": addresses}, shard_rows=5)
    assert (
        spans_of(made, found["a", "repeated_lines"], "a", "repeated_lines")
        == reference({"a": texts}, {"a": addresses}, False)["a"]
    )


@pytest.mark.slow
def test_shards_workers_and_parts_do_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda file: None)
    texts = {
        "a": [f"{FOOTER}\nlugu {i % 5} siin\n\nüks kaks kolm neli viis kuus seitse kaheksa {i % 3}" for i in range(30)],
        "b": A,
    }
    cuts = [*LINES, Cut(kind="repeated_substrings", min_words=8)]
    found = []
    for i, (shard_rows, workers, part) in enumerate([(1000, 1, 1 << 20), (16, 2, 1 << 20), (3, 1, 1000)]):
        monkeypatch.setattr(counts, "PART_BYTES", part)
        made, stages = measured(tmp_path / str(i), texts, cuts, None, shard_rows, workers)
        found.append({of: (spans_of(made, stage, *of), rows(stage, of[1])) for of, stage in stages.items()})
        roots = {of: stage.root for of, stage in stages.items()}
    assert found[0] == found[1] == found[2] and len(found[0]) == 6
    again = measured(tmp_path / "again", texts, cuts, None, 3, 1)[1]
    assert roots == {of: stage.root for of, stage in again.items()}


def test_nobody_asks_nothing_runs(tmp_path):
    made, found = measured(tmp_path, {"a": A, "b": B}, [Cut(kind="boilerplate_lines", of="line", sources="b")], URLS)
    assert set(found) == {("b", "repeated_lines")}  # the corpus is b alone
    assert spans_of(made, found["b", "repeated_lines"], "b", "repeated_lines") == []
    assert measured(tmp_path / "none", {"a": A}, [])[1] == {} and not list((tmp_path / "none").glob("repeat*"))
    recipe = made.recipe.model_copy(
        update={"rules": [Rule(name="r", signal="domain_repeated_line_byte_ratio", max=0.5, sources=["a"])]}
    )
    assert [f.name for f in repeats.asked(recipe, "a")] == ["repeated_lines"] and repeats.asked(recipe, "b") == []
    assert signal_names(recipe, recipe.sources["a"])["n_copied_substring_words"] == "int64"
    assert folder_bytes(tmp_path) > 0


def entry(recipe: Recipe, **keys: object) -> list:
    made = recipe.model_copy(update={"cuts": [Cut.model_validate(keys)]})
    return [tuple(e) for e in entries(made, made.sources["a"])]


def test_what_a_recipe_may_say(tmp_path):
    recipe = corpus(tmp_path, {"a": []}).recipe
    line, paragraph = (("repeated_lines", ("repeated_line",), ("",)), ("repeated_paragraphs", ("repeated_paragraph",), ("",)))
    assert entry(recipe, kind="boilerplate_lines") == [(*line, "corpus", 50, False), (*paragraph, "corpus", 50, False)]
    assert entry(recipe, kind="boilerplate_lines", of="line", per="domain", min_documents=3, keep="first") == [
        (*line, "domain", 3, True)
    ]
    run = ("repeated_substrings", ("repeated_substring",), ("",))
    assert entry(recipe, kind="repeated_substrings") == [(*run, "corpus", 1, True)]
    assert entry(recipe, kind="repeated_substrings", min_words=8, keep="none", min_documents=4, per="source") == [
        (*run, "source", 4, False)
    ]
    for keys, said in (
        ({"kind": "boilerplate_lines", "of": ["lines"]}, "know no 'lines'"), ({"kind": "boilerplate_lines", "min_words": 9}, "know no min_words"),
        ({"kind": "repeated_substrings", "of": "line"}, "of one kind"), ({"kind": "repeated_substrings", "as": "constant"}, "nothing stands"),
        ({"kind": "pii", "of": "email", "per": "corpus"}, "know no per"), ({"kind": "lines", "of": "c4", "keep": "first"}, "know no keep"),
        ({"kind": "pii"}, "say which kinds"), ({"kind": "boilerplate_lines", "as": "constant"}, "lines are removed"),
    ):  # fmt: skip
        with pytest.raises(CurateError, match=said):
            entry(recipe, **keys)
    two = recipe.model_copy(update={"cuts": [Cut(kind="repeated_substrings", min_words=n) for n in (8, 9)]})
    with pytest.raises(CurateError, match="one min_words"):
        entries(two, two.sources["a"])
