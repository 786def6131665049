"""Line rules: every rule by hand, then against datatrove's C4 filter and a plain Python form of RefinedWeb's rules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate import text
from curate.cuts import Cuts, Entry, cut_texts, merged
from curate.schema import SPANS
from curate.signals import Batch, c4, lines
from curate.signals.family import Spans

KIND = {name: i for i, name in enumerate(lines.KINDS)}


def batch_of(rows: list[str]) -> Batch:
    array = pa.array(rows, pa.large_string())
    data, offsets = text.buffers(array)
    return Batch(array, data, offsets, text.segment(data, offsets), {}, {})


def found(written: str) -> dict[str, list[str]]:
    """kind -> the pieces of one text that its spans cover, in order."""
    spans: Spans = lines.measure(batch_of(["Before it.", written, "after it."]))["spans"]
    data = written.encode()
    result: dict[str, list[str]] = {}
    for row, start, end, kind in zip(*map(np.ndarray.tolist, spans), strict=True):
        if row == 1:
            result.setdefault(lines.KINDS[kind], []).append(data[start:end].decode())
    return result


def of(kind: str, written: str) -> list[str]:
    return found(written).get(kind, [])


def counts(written: str) -> dict[str, int]:
    columns = lines.measure(batch_of([written]))
    return {name: int(column[0]) for name, column in columns.items() if name != "spans"}


def test_nothing_in_an_empty_text() -> None:
    assert found("") == {} and not any(counts("").values())


def test_one_word_without_line_end() -> None:
    assert found("Sõna") == {
        "c4_no_terminal_punct": ["Sõna"], "c4_few_words": ["Sõna"], "refinedweb_one_word": ["Sõna"],
    }  # fmt: skip
    assert counts("Sõna")["n_refinedweb_words"] == 1


def test_a_line_goes_with_its_end_whatever_that_is() -> None:
    for end in ("\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"):
        assert of("c4_few_words", f"Üks kaks kolm.{end}kaks sõna{end}Neli viis kuus.") == [f"kaks sõna{end}"], repr(end)
    for end in ("\n", "\r\n"):
        assert of("refinedweb_one_word", f"Üks kaks.{end}  sõna {end}kolm neli") == [f"  sõna {end}"]
    assert of("refinedweb_one_word", "Üks kaks.\u2028sõna\u2028kolm") == []  # one line of RefinedWeb


def test_c4_blank_lines_go() -> None:
    assert of("c4_few_words", "Üks kaks kolm.\n\n \t\nNeli viis kuus.\n") == ["\n", " \t\n"]
    assert of("c4_no_terminal_punct", "\n") == ["\n"]


def test_c4_terminal_punctuation() -> None:
    for mark in ".!?\"'":
        assert of("c4_no_terminal_punct", f"Nii see on{mark}  ") == []
    for mark in ("", ",", ":", "...", "…", "»", "。", ". [1]", " [1]"):  # after [1] goes, a blank is left at the end
        line = f"Nii see on{mark}"
        assert of("c4_no_terminal_punct", line) == [line], mark
    for line in ("Nii see on.[1]", "Nii see on..", "Nii see on.[edit]", "....x ..'", "Nii on. .."):
        assert of("c4_no_terminal_punct", line) == [], line
    assert of("c4_no_terminal_punct", "Нет\nДа, так.") == ["Нет\n"]


def test_c4_words_are_between_white_space() -> None:
    assert of("c4_few_words", "Üks kaks.\nÜks kaks kolm.\nÜks, [1]\u3000kaks.\nüks-kaks-kolm neli.") == [
        "Üks kaks.\n",
        "üks-kaks-kolm neli.",
    ]
    assert of("c4_few_words", "我们 走.") == ["我们 走."]


def test_c4_long_words_at_the_threshold() -> None:
    for letter in ("a", "õ", "中", "😀"):
        kept, gone = f"see {letter * 1000} on.", f"see {letter * 1001} on."
        assert of("c4_too_long_word", f"{kept}\n{gone}\n{kept}") == [f"{gone}\n"], letter
    spaced = "\u3000".join("é" * 900 for _ in range(5))
    assert of("c4_too_long_word", f"{spaced}\u3000{'b' * 1001}\nx") == [f"{spaced}\u3000{'b' * 1001}\n"]
    assert of("c4_too_long_word", spaced) == []


def test_c4_javascript_and_policies() -> None:
    for line in ("Please enable JavaScript.", "xjavascripts", "Java[1]script is."):
        assert of("c4_javascript", f"Esimene rida.\n{line}\nja") == [f"{line}\n"], line
    assert of("c4_javascript", "java script, javascrip") == []
    for phrase in (
        "Terms of Use",
        "privacy policy",
        "Cookie Policy",
        "uses cookies",
        "use of cookies",
        "USE COOKIES",
        "privacy[2] policy",
    ):
        assert of("c4_policy", f"See {phrase}!\nx") == [f"See {phrase}!\n"], phrase
    for phrase in ("terms of us", "privacy  policy", "policy", "use of cookie", "cookies use", "terms\nof use"):
        assert of("c4_policy", f"See {phrase}!") == [], phrase


def test_c4_citations_are_the_marks() -> None:
    assert of("c4_citation", "a [1] b[] [edit] [Edit] [a1] [12 [١٢] [citation needed] [[3]]") == [
        "[1]", "[]", "[edit]", "[١٢]", "[citation needed]", "[3]",
    ]  # fmt: skip
    assert counts("[1] [2]")["n_c4_citations"] == 2


def test_refinedweb_upper_case_is_more_than_half() -> None:
    assert of("refinedweb_uppercase", "ABab\nABCab\nÕÄõ\nМОСква\nMOSkva") == ["ABCab\n", "ÕÄõ\n"]
    assert of("refinedweb_uppercase", "МОСКва\n") == ["МОСКва\n"]
    assert of("refinedweb_uppercase", "AB C d\n") == []  # 3 of 6 code points: the blanks count


def test_refinedweb_numbers() -> None:
    assert of("refinedweb_numeric", "2024\n2 024\n2,5\n١٢٣\n 7 \n²\n") == ["2024\n", "١٢٣\n", " 7 \n"]


def test_refinedweb_counters() -> None:
    good = (
        "3 likes",
        "1,234.5k Views",
        "♥ 7 comments!",
        "(12  shares)",
        "5\u00a0upvotes",
        "٣ likes",
        "2.. likes",
        "1M followers »",
    )
    bad = (
        "likes",
        "3 like",
        "3likes",
        "a 3 likes",
        "3 likes b",
        "3 4 likes",
        ",3x likes",
        "3kk likes",
        "3 likes_",
        "_3 likes",
        "k likes",
    )
    for line in good:
        assert of("refinedweb_counter", line) == [line], line
    for line in bad:
        assert of("refinedweb_counter", line) == [], line


def test_refinedweb_short_edits() -> None:
    for line, cut in (
        ("Sign-in to see it", ["Sign-in "]), ("sign-in", ["sign-in"]), ("  SIGN-IN  ", ["  SIGN-IN  "]),
        ("See on uudis. Read more...", [" Read more..."]), ("Loe. read more…", [" read more…"]), ("Read more... ", ["Read more... "]),
        ("Teil on 3 items in cart praegu", [" items in cart"]), ("items in cart", ["items in cart"]),
        ("Sign-in items in cart read more...", ["Sign-in items in cart read more..."]),
        ("items in cart, items in cart", ["items in cart", " items in cart"]),
        ("ja sign-in", []), ("read more... nüüd", []), ("read more!!!", []), ("items in  cart", []),
    ):  # fmt: skip
        assert of("refinedweb_short_edit", line) == cut, line
    ten = "1 2 3 4 5 6 7 items in cart"
    assert of("refinedweb_short_edit", ten) == [" items in cart"] and of("refinedweb_short_edit", f"0 {ten}") == []
    assert counts("sign-in items in cart x")["n_refinedweb_short_edit_lines"] == 1


def test_refinedweb_words_are_counted_once() -> None:
    written = "TERE\n3 likes\nSee on pikem rida, read more...\nLõpp tuleb siin."
    assert counts(written)["n_refinedweb_words"] == 1 + 2 + 3  # TERE is a line of one word and of upper case; read, more, ...
    assert text.words(written) == ["TERE", "3", "likes", "See", "on", "pikem", "rida", ",", "read", "more", "...", "Lõpp", "tuleb",
                                   "siin", "."]  # fmt: skip


PIECES = st.sampled_from([
    "\n", "\n", "\r\n", "\r", "\x0b", "\x85", "\u2028", " ", " ", "\t", "\u3000", "\u00a0", ".", "...", "!", '"', "'", "…", "a", "õ", "A", "Õ",
    "中", "7", "٣", "sõna", "Sõna", "TERE", "[1]", "[", "]", "[edit]", "[citation needed]", "javascript", "JavaScript", "java", "script",
    "terms of use", "privacy", " policy", "cookie", "uses", " cookies", "use of", "likes", "views", "k", "3 ", ",", "sign-in", "Sign-in ",
    "read more...", "Read more…", "items in cart", "_", "(", "x" * 1001, "é" * 1000,
])  # fmt: skip
TEXTS = st.lists(PIECES, max_size=25).map("".join)


@settings(max_examples=400, deadline=None)
@given(TEXTS)
@example("a[1].\nb")
def test_c4_leaves_the_lines_that_datatrove_leaves(written: str) -> None:
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4QualityFilter

    rule = C4QualityFilter(min_num_sentences=-1, filter_lorem_ipsum=False, filter_curly_bracket=False)
    document = Document(text=written, id="0")
    assert rule.filter(document) is True
    kept = [line.strip() for line in document.text.split("\n")] if document.text else []
    assert [line.strip() for line in after(written, "c4").splitlines()] == [line for line in kept if line]


def after(written: str, group: str) -> str:
    """The text without what this group's rules find."""
    spans: Spans = lines.measure(batch_of([written]))["spans"]
    kinds = tuple(kind for kind in lines.KINDS if kind.startswith(group))
    table = pa.table([*spans[:3], pa.array([lines.KINDS[k] for k in spans.kind], pa.string())], schema=SPANS)
    cuts = merged([Entry("lines", kinds, ("",) * len(kinds))], {"lines": table})
    columns = (cuts[n].to_numpy() for n in ("row", "start", "end"))
    whole = Cuts(*columns, *(cuts[n].combine_chunks() for n in ("kind", "replacement")))
    return cut_texts(pa.array([written], pa.large_string()), np.zeros(1, np.int64), whole).to_pylist()[0]


COUNTER = re.compile(r"^\W*\d(?:,|\.|\d)*[kmb]?\s+(?:likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes|downloads"
                     r"|views|followers)\W*$")  # fmt: skip


def refinedweb_reference(written: str) -> dict[str, list[str]]:
    """What DCLM's line modifiers remove, for lines without white space at their ends."""
    result: dict[str, list[str]] = {}
    for line in written.split("\n"):
        whole = line + "\n"
        line = line.strip()
        if not line:
            continue
        tests = {
            "uppercase": sum(c.isupper() for c in line) / len(line) > 0.5,
            "numeric": all(unicodedata.category(c) == "Nd" for c in line),
            "counter": COUNTER.search(line.lower()), "one_word": len(line.split()) == 1,
            "short_edit": len(line.split()) <= 10 and re.search(r"^sign-in|read more(?:\.\.\.|…)$|items in cart", line.lower()),
        }  # fmt: skip
        for kind, goes in tests.items():
            if goes:
                result.setdefault(kind, []).append(whole)
    return result


@settings(max_examples=400, deadline=None)
@given(TEXTS)
@example("Ab\u2028CD\n7\n")
def test_refinedweb_finds_what_plain_python_finds(written: str) -> None:
    written += "\n"
    want, got = refinedweb_reference(written), found(written)
    for kind in ("uppercase", "numeric", "counter", "one_word"):
        assert got.get(f"refinedweb_{kind}", []) == want.get(kind, []), kind
    assert counts(written)["n_refinedweb_short_edit_lines"] == len(want.get("short_edit", []))
    edited = re.sub(r"\s?items in cart|\s?read more(?:\.\.\.|…)(?=\s*$)|^\s*sign-in\s?", "", written, flags=re.I)
    if "\n" not in written[:-1] and want.keys() == {"short_edit"} and edited.strip():
        assert after(written, "refinedweb").split() == edited.split()


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_family_c4_counts_the_same_lines(written: str) -> None:
    batch = batch_of([written])
    theirs, ours = c4.measure(batch), lines.measure(batch)
    spans: Spans = ours["spans"]
    gone = {s for s, k in zip(spans.start.tolist(), spans.kind.tolist(), strict=True) if k < KIND["c4_citation"]}
    assert theirs["n_c4_lines"][0] - theirs["n_c4_kept_lines"][0] == len(gone)
    assert theirs["n_citations"][0] == ours["n_c4_citations"][0]
    assert theirs["n_too_long_word_lines"][0] == ours["n_c4_too_long_word_lines"][0]  # the first check: nothing comes before it


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, max_size=6))
def test_documents_of_a_batch_are_apart(rows: list[str]) -> None:
    whole = lines.measure(batch_of(rows))
    for i, written in enumerate(rows):
        alone = lines.measure(batch_of([written]))
        own = whole["spans"].row == i
        assert [column[own].tolist() for column in whole["spans"][1:]] == [column.tolist() for column in alone["spans"][1:]]
        assert all(alone[c.name][0] == whole[c.name][i] for c in lines.FAMILY.columns)
    starts = list(zip(whole["spans"].row.tolist(), whole["spans"].start.tolist(), strict=True))
    assert starts == sorted(starts)


def test_real_pages_lose_the_lines_datatrove_takes(data: Path) -> None:
    from tests.text.test_words import real_documents

    for name in ("en_text/cc_raw_pages.jsonl.zst", "et_text/ud_ewt_train_2022.jsonl.zst"):
        for written in real_documents(data, name, 100):
            test_c4_leaves_the_lines_that_datatrove_leaves.hypothesis.inner_test(written)


CHECKED = """
import random
import numpy as np, pyarrow as pa
from curate import text
from curate.signals import Batch, lines
from curate.signals.lines import kernels
from curate.text.unicode import tables

data = np.zeros(4, np.uint8)
data.flags.writeable = False
try:  # a line said to end beyond the text: must raise, or nothing here checks anything
    kernels.words_up_to(data, 0, 5, tables()[0], 9)
except IndexError:
    pass
else:
    raise SystemExit("bounds checking is off")
rng = random.Random(7)
pieces = ["[", "[1]", "[edit", "[citation neede", "a", "É", "中", "😀", " ", "\\n", "\\r", "\\u2028", "3 ", "likes", "sign-in", "read more...",
          "read more", "items in cart", "javascrip", "terms of us", " c", " p", " o", "x" * 999, ".", "..", "…"]
rows = ["", *pieces, *("".join(rng.choices(pieces, k=rng.randrange(12))) for _ in range(3000))]
for batch in text.batches(pa.array(rows, pa.large_string()), 3000):
    data, offsets = text.buffers(batch)
    data = data[: offsets[-1]].copy()  # nothing behind the last text to read by mistake
    lines.measure(Batch(batch, data, offsets, text.segment(data, offsets), {}, {}))
print("checked")
"""


@pytest.mark.slow
def test_no_kernel_reads_or_writes_out_of_bounds(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    top = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", CHECKED], env=environment, cwd=top, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "checked\n"), done.stderr
