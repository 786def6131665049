"""Formulas and identifiers: what counts, where it stands, and that texts of other formulas are no duplicates."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from curate import text
from curate.recount import _shingles
from curate.signals import formulas
from curate.signals.family import Batch
from curate.text import symbols


def of(*texts: str) -> tuple[np.ndarray, np.ndarray]:
    return text.buffers(pa.array(list(texts), pa.large_string()))


def found(body: str) -> list[tuple[str, bool]]:
    data, offsets = of(body)
    all_of = symbols.formulas(data, offsets)
    return [
        (data[a:b].tobytes().decode(), bool(d))
        for (a, b), d in zip(all_of.inside.tolist(), all_of.is_display.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("a $x+1$ b", [("x+1", False)]), (r"\(y\) and \[z\]", [("y", False), ("z", True)]), ("$$w$$", [("w", True)]),
        (r"\begin{align*} a &= b \\[2pt] c \end{align*}", [(r" a &= b \\[2pt] c ", True)]),
        (r"\begin{equation}\begin{split}a\end{split}\end{equation}", [(r"\begin{split}a\end{split}", True)]),
        ("$ a = b $", [(" a = b ", False)]), ("It costs $5 and $10.", []), ("from $5-$10 a day", []), (r"\$x\$", []), (r"\\[2pt] x \\]", []),
        ("$x\n\ny$", []), ("$$ a\n\n b $$", [(" a\n\n b ", True)]), ("$", []), ("\\", []), ("$$$$", []), ("", []), ("õ$õ$õ", [("õ", False)]),
        (r"\begin{theorem}$q$\end{theorem}", [("q", False)]), (r"\begin{equation} x", []), (r"$5 and $x_1$", [("x_1", False)]),
    ],
)  # fmt: skip
def test_what_is_a_formula(body, wanted):
    assert found(body) == wanted


def test_the_family():
    data, offsets = of("", r"Let $õ$ and \[a \alpha\] cost $5.", "No formula, \\textbf{bold}.", r"\begin{align} x")
    array = pa.array(
        ["", r"Let $õ$ and \[a \alpha\] cost $5.", "No formula, \\textbf{bold}.", r"\begin{align} x"], pa.large_string()
    )
    columns = formulas.measure(Batch(array, data, offsets, None))
    assert {name: np.asarray(values).tolist() for name, values in columns.items()} == {
        "n_formulas": [0, 2, 0, 0], "n_display_formulas": [0, 1, 0, 0], "n_formula_chars": [0, 9, 0, 0], "n_latex_commands": [0, 1, 1, 1],
        "n_unclosed_formulas": [0, 1, 0, 1],
    }  # fmt: skip


STORY = "Two gears with equal teeth turn side by side in the old mill and the miller asks how often the smaller one comes round "


def jaccard(a: str, b: str, words: str) -> float:
    ptr, hashes = text.shingle_sets_of(*of(a, b), words, 5)
    one, two = set(hashes[: ptr[1]].tolist()), set(hashes[ptr[1] :].tolist())
    return len(one & two) / len(one | two) if one or two else 1.0


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("$a+b$", "$a-b$"),
        ("$x$", "$X$"),
        ("$x^2$", "$x_2$"),
        (r"\(\alpha\)", r"\(\beta\)"),
        ("$$ a < b $$", "$$ a > b $$"),
        ("$12$", "$21$"),
    ],
)
def test_texts_that_differ_in_their_formula_are_no_duplicates(one, two):
    a, b = f"{STORY}{one} {STORY}", f"{STORY}{two} {STORY}"
    assert jaccard(a, b, "math") == 0
    assert jaccard(a, b, "rules") > 0.5  # of words alone they share most
    hashes = text.normalised_hashes(*of(a, b), "math")
    assert (hashes[0] != hashes[1]).any()


def test_white_space_in_a_formula_does_not_matter():
    one, two, three = text.normalised_hashes(*of(f"{STORY}$a + b$.", f"{STORY}$a+b$.", f"{STORY}$A+b$."), "math")
    assert (one == two).all() and (one != three).any()


def test_one_formula_of_many_makes_two_stretches():
    many = [f"{STORY}$x_{{{i}}}$" for i in range(30)]
    a, b = " ".join(many), " ".join([*many[:15], f"{STORY}$y$", *many[16:]])
    assert 0.8 < jaccard(a, b, "math") < 0.95
    few = " ".join(many[:5]), " ".join([f"{STORY}$y$", *many[1:5]])
    assert jaccard(*few, "math") < 0.7


def test_prose_without_formulas_is_as_ever():
    data, offsets = of(STORY, STORY.upper())
    assert (text.normalised_hashes(data, offsets, "math") == text.normalised_hashes(data, offsets)).all()
    assert (text.shingle_sets_of(data, offsets, "math", 5)[1] == text.shingle_sets_of(data, offsets, "rules", 5)[1]).all()
    assert text.segmentation("math") == text.segmentation()


def test_verify_counts_the_same_shingles():
    a, b = f"{STORY}$a+b$ {STORY}", f"{STORY}$a+b$ and {STORY}"
    one, two = (_shingles(body, "math", 5, ()) for body in (a, b))
    assert len(one & two) / len(one | two) == jaccard(a, b, "math")


def test_identifiers():
    data, offsets = of("foo_bar(x1, 'õun')  # a-b\n", "", "a")
    ptr, start, end = symbols.identifiers(data, offsets)
    assert [data[a:b].tobytes().decode() for a, b in zip(start, end, strict=True)] == ["foo_bar", "x1", "õun", "a", "b", "a"]
    assert ptr.tolist() == [0, 5, 5, 6]
    many = "a " * 5000
    ptr, start, _ = symbols.identifiers(*of(many))
    assert len(start) == 5000 == ptr[-1]


def test_code_is_compared_by_identifiers():
    a = "def area(width, height):\n    return width * height\n\n\ndef half(width):\n    return width / 2\n"
    layout = a.replace("    ", "\t").replace(", ", ",")
    assert jaccard(a, layout, "code") == 1.0
    assert jaccard(a, a.replace("width", "w"), "code") < 0.3
    one, same, case = text.normalised_hashes(*of(a, layout, a.replace("half", "Half")), "code")
    assert (one == same).all() and (one != case).any()
    assert text.segmentation("code") != text.segmentation()


def test_a_long_text_of_code_is_read_in_pieces():
    body = "".join(f"name_{i} = other_{i % 977}\n" for i in range(120_000))
    _, hashes = text.shingle_sets_of(*of(body), "code", 5)
    (data, offsets) = of(body)
    whole = text.shingle_sets(text.segment(data, offsets, "code"), np.arange(1), 5)[1]
    assert len(body) > 2_000_000 and (hashes == whole).all()
