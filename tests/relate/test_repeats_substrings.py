"""Repeated substrings: against plain Python, and what `keep: first` and `keep: none` promise, as substrings.py says it."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate import text
from curate.recipe import Cut
from curate.relate.repeats import counts, kernels, substrings
from curate.store import Stage
from tests.relate.corpus import Corpus, one_id, rows
from tests.relate.test_repeats import measured, spans_of

N = 8
FAMILY = "repeated_substrings"
Place = tuple[str, int]  # id, word
CUTS = [Cut(kind=FAMILY, min_words=N)]


def ids_of(texts: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, str]]:
    """id -> (source, text), in canonical order."""
    listed = [(source, one_id(source, i), t) for source, of in texts.items() for i, t in enumerate(of)]
    order = list(texts)
    return {id_: (source, t) for source, id_, t in sorted(listed, key=lambda x: (order.index(x[0]), x[1]))}


def windows_of(documents: Mapping[str, tuple[str, str]]) -> dict[tuple[str, ...], list[Place]]:
    """Every run of N words -> its places in canonical order."""
    found: dict[tuple[str, ...], list[Place]] = defaultdict(list)
    for id_, (_, t) in documents.items():
        words = text.words(t)
        for i in range(len(words) - N + 1):
            found[tuple(words[i : i + N])].append((id_, i))
    return found


def words_of(t: str, start: int, end: int) -> tuple[int, int]:
    """Words of the text that begin in its bytes [start, end)."""
    at, ends = 0, []
    for word in text.words(t):
        at = t.encode().index(word.encode(), at)
        ends.append(at)
        at += len(word.encode())
    return sum(a < start for a in ends), sum(a < end for a in ends)


def flags(made: Corpus, found: Mapping[tuple[str, str], Stage], documents: Mapping[str, tuple[str, str]]) -> dict[Place, tuple]:
    """Every window that a span covers -> (counts, firsts)."""
    result: dict[Place, tuple] = {}
    for source in made.documents:
        for id_, start, end, *rest in spans_of(made, found[source, FAMILY], source, FAMILY):
            first, last = words_of(documents[id_][1], start, end)
            for i in range(first, last - N + 1):
                assert (id_, i) not in result
                result[id_, i] = tuple(rest)
    return result


WORD = st.sampled_from(["a", "a", "a", "b", "b", "c", "õõ"])
SPACE = st.sampled_from([" ", "  ", "\n", "\n\n", "\u3000"])
TEXT = st.lists(st.tuples(WORD, SPACE), max_size=40).map(lambda words: "".join(w + s for w, s in words))
BLOCK = "d e f g h i j k l m"
EXAMPLE = [f"{BLOCK} a b", f"x {BLOCK}", f"{BLOCK} {BLOCK} {BLOCK}", " ".join("a" * 30), f"e f g h i j k l m a b c c {BLOCK}"]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.lists(TEXT, min_size=1, max_size=6),
    st.lists(TEXT, max_size=3),
    st.sampled_from([2, 1000]),
    st.sampled_from([200, 1 << 20]),
)
@example(EXAMPLE, [BLOCK], 1, 200)
def test_windows_and_promises(a, b, shard_rows, part_bytes):
    texts = {"a": a, "b": b}
    documents = ids_of(texts)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(counts, "PART_BYTES", part_bytes)
        patch.setattr("os.fsync", lambda file: None)  # hundreds of small stages
        made, found = measured(Path(folder), texts, CUTS, None, shard_rows)
        got = flags(made, found, documents)
        columns = {row["id"]: list(row.values())[1:] for source in texts for row in rows(found[source, FAMILY], FAMILY)}
    windows = windows_of(documents)
    wanted = {}
    for places in windows.values():
        if len(places) > 1:
            for place in places:
                source = documents[place[0]][0]
                mine = [p for p in places if documents[p[0]][0] == source]
                n = len({p[0] for p in places}), len({p[0] for p in mine}), 0
                wanted[place] = (*n, place == places[0], place == mine[0], False)
    assert got == wanted

    words = {id_: text.words(t) for id_, (_, t) in documents.items()}
    covered = {(id_, j) for id_, i in got for j in range(i, i + N)}
    cut = {(id_, j) for (id_, i), flag in got.items() if not flag[3] for j in range(i, i + N)}
    for id_ in documents:
        assert columns[id_][::2] == [sum(p[0] == id_ for p in covered), sum(p[0] == id_ for p in cut)]
    check_promises(windows, words, got, cut)


def check_promises(
    windows: Mapping[tuple, list[Place]], words: Mapping[str, list[str]], got: Mapping[Place, tuple], cut: set[Place]
) -> None:
    order = {id_: n for n, id_ in enumerate(words)}
    for places in windows.values():
        whole = [(id_, i) for id_, i in places if not any((id_, j) in cut for j in range(i, i + N))]
        assert len(whole) <= 1 and (not whole or whole[0] == places[0])  # at most one place is left whole, the first
    for id_, j in cut:  # the chain to an equal word that stays, always to an earlier place
        at = (id_, j)
        while at in cut:
            window, place = next((w, (d, i)) for w, ps in windows.items() for d, i in ps
                                 if d == at[0] and i <= at[1] < i + N and len(ps) > 1 and (d, i) != ps[0])  # fmt: skip
            before = windows[window][0][0], windows[window][0][1] + at[1] - place[1]
            assert (order[before[0]], before[1]) < (order[at[0]], at[1]) and words[before[0]][before[1]] == words[id_][j]
            at = before


@given(st.lists(st.integers(0, 3), max_size=60), st.lists(st.integers(0, 3), max_size=60), st.integers(8, 20), st.data())
@settings(deadline=None)
def test_equal_runs_share_an_anchor(a, b, n, draw):
    """Of any run of n words, wherever it stands, the same anchors are chosen."""
    shared = draw.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n + 5))
    sequences = [a + shared + b, b + shared + a]
    k, w = substrings.winnowing(n)
    assert k + w - 1 == n
    keys = []
    for sequence in sequences:
        words = np.array(sequence, np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
        row, key = np.empty(len(words), np.int32), np.empty(len(words), np.uint64)
        chosen = kernels.anchors(*substrings.read_only(np.array([0, len(words)]), words), k, w, row, key)
        keys.append(set(key[:chosen].tolist()))
    assert keys[0] & keys[1]


def test_anchors_are_few_and_spread():
    """About 2 of w + 1 words, and keys that fill their range evenly: parts are ranges of keys."""
    words = np.random.default_rng(1).integers(0, 1 << 63, 100_000, dtype=np.uint64)
    k, w = substrings.winnowing(50)
    row, key = np.empty(len(words), np.int32), np.empty(len(words), np.uint64)
    n = kernels.anchors(*substrings.read_only(np.array([0, len(words)]), words), k, w, row, key)
    assert (k, w) == (25, 26) and 2 / 27 * 0.97 < n / len(words) < 2 / 27 * 1.03
    assert 0.49 < (key[:n] < np.uint64(1 << 63)).mean() < 0.51


def test_bytes_of_a_run(tmp_path):
    """With the white space after its last word, but never a line break that nothing before the run replaces."""
    run = "üks kaks kolm neli viis kuus seitse kaheksa"
    texts = [f"{run}\n", f"a1 {run} b1", f"a2 {run}\n\nb2", f"a3\n{run} \nb3", f"({run}", f"{run}\t\nb5"]
    left = ["", "a1 b1", "a2 \n\nb2", "a3\nb3", "(", "b5"]
    made, found = measured(tmp_path, {"a": texts}, CUTS)
    after = {}
    for id_, start, end, n, *_ in spans_of(made, found["a", FAMILY], "a", FAMILY):
        t = dict(zip([one_id("a", i) for i in range(6)], texts, strict=True))[id_].encode()
        after[id_] = (t[:start] + t[end:]).decode()
        assert n == 6
    assert [after[one_id("a", i)] for i in range(6)] == left


def test_a_window_may_be_lost_whole_but_no_word_is(tmp_path):
    """The case the docstring names: where a first place lies across the end of another copy."""
    old, new = [f"v{i}" for i in range(12)], [f"u{i}" for i in range(12)]
    texts = {"a": [" ".join(old)], "b": [" ".join(old[4:] + new)], "c": [" ".join(old[8:] + new[:4])]}
    made, found = measured(tmp_path, texts, CUTS)
    cut = {s: [(a, b) for _, a, b, *_, c, _, _ in spans_of(made, found[s, FAMILY], s, FAMILY) if not c] for s in texts}
    [(start, end)] = cut["b"]
    assert cut["a"] == [] and texts["b"][0].encode()[end:].decode() == " ".join(new) and start == 0
    assert cut["c"] == [(0, len(texts["c"][0]))]  # its only window is b's, where a's words are cut


def test_short_texts_and_one_document(tmp_path):
    seven = "üks kaks kolm neli viis kuus seitse"
    made, found = measured(tmp_path, {"a": [seven, seven, "", f"{seven} kaheksa / {seven} kaheksa"]}, CUTS)
    [first, second] = spans_of(made, found["a", FAMILY], "a", FAMILY)
    assert first[3:] == (1, 1, 0, True, True, False) and second[3:] == (1, 1, 0, False, False, False)
    assert first[0] == second[0] == one_id("a", 3) and (second[1], second[2]) == (47, 91)
