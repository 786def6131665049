"""Mathematics: LaTeX sources to readable text with their formulas, macros, marks of one kind, files of macros beside."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.sources import Bad, list_files, read
from curate.sources.lanes.math import lane, with_dollars
from curate.sources.lanes.math.latex import is_latex, readable
from curate.sources.lanes.math.macros import definitions, expand
from curate.text import symbols
from tests.sources.making import limits, pack, recipe, source

PAPER = r"""% a comment
\documentclass{article}
\usepackage{amsmath}
\newcommand{\R}{\mathbb{R}}
\newcommand{\norm}[1]{\left\| #1 \right\|}
\def\half{\frac{1}{2}}
\title{On \emph{small} things}
\author{M. Mets}
\begin{document}
\maketitle
\begin{abstract}
We show it. % really
\end{abstract}
\section[Short]{A ``long'' title}\label{sec:one}
Let $x \in \R^n$ with $\norm{x} = \half$; see \cite[p.~3]{a,b} and Section~\ref{sec:two}.
By 50\% \& more, M\"obius and \v{C}ech agree\footnote{As they \textbf{must}.}.
\begin{theorem}[Euler]
\begin{equation}\label{eq:e}
  e^{i\pi} + 1 = 0 % keep
\end{equation}
\end{theorem}
\begin{itemize}
\item one
\item[two] second
\end{itemize}
\begin{verbatim}
100% of $this$ stays
\end{verbatim}
\bibliographystyle{plain}
\begin{thebibliography}{9}
\bibitem{a} A book.
\end{thebibliography}
\end{document}
"""


def test_a_paper():
    assert readable(PAPER) == (
        "# On small things\n\nM. Mets\n\nAbstract. \nWe show it.\n\n".replace("Abstract. \n", "Abstract.\n")
        + "## A “long” title\n\n"
        + "Let $x \\in \\mathbb{R}^n$ with $\\left\\| x \\right\\| = \\frac{1}{2}$; see and Section [sec:two].\n"
        + "By 50% & more, Möbius and Čech agree (As they must.).\n\n"
        + "Theorem. [Euler]\n\n\\begin{equation}\\label{eq:e}\n  e^{i\\pi} + 1 = 0 \\end{equation}\n\n"
        + "- one\n\n- two second\n\n\\begin{verbatim}\n100% of $this$ stays\n\\end{verbatim}\n"
    )


def test_what_is_latex():
    assert is_latex(PAPER) and is_latex("\\section{A} text") and is_latex("text", "a/b.tex")
    assert not is_latex("The steps are \\begin{align*} 1 &= 1 \\end{align*} and $x$.") and not is_latex("Plain.", "a.md")


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        (r"\newcommand{\a}{b}\a c", "bc"),
        (r"\newcommand\a{b}\a{} c", "b{} c"),
        (r"\newcommand{\a}[2][z]{#1-#2}\a{y} \a[x]{y}", "z-y x-y"),
        (r"\def\a#1{(#1)}\a x\a{yz}", "(x)(yz)"),
        (r"\DeclareMathOperator{\im}{Im}$\im f$", r"$\operatorname{Im}f$"),
        (r"\newcommand{\a}{\b}\newcommand{\b}{c}\a", "c"),
        (r"\newcommand{\al}{\alpha}\al x", r"\alpha x"),
        (r"\newcommand{\a}{\a}\a", r"\newcommand{\a}{\a}\a"),  # one that names itself stays
        (r"\def\a#1.{x}\a b.", r"\def\a#1.{x}\a b."),  # delimited parameters stay
        (r"\newcommand{\a}{\ifx b c\fi}\a", r"\newcommand{\a}{\ifx b c\fi}\a"),
        (r"\newcommand{\a}[1]{#1}\a", r"\a"),  # an argument is missing
        (r"\ab \newcommand{\a}{b}", r"\ab "),  # another command
    ],
)
def test_macros(text, expanded):
    assert expand(text) == expanded


def test_macros_are_bounded():
    double = "".join(rf"\newcommand{{\{chr(97 + i)}}}{{\{chr(98 + i)}\{chr(98 + i)}}}" for i in range(20))
    text = double + r"\newcommand{\u}{" + "x" * 900 + r"}\a"
    assert len(expand(text)) <= 4 * len(text) + 12_000


def test_macros_of_files_beside(tmp_path):
    pack(tmp_path / "d/paper/macros.tex", rb"\newcommand{\R}{\mathbb{R}} % reals")
    pack(tmp_path / "d/paper/chapters/one.tex", rb"\section{One} Let $x \in \R$.")
    made = recipe(tmp_path, {"s": {"read": "d", "format": "tree", "type": "math"}})
    of = made.sources["s"]
    found = {f.name: list(read(f.path, of, limits(10_000), f.name, f.beside)) for f in list_files(made, of)}
    (record,) = found["paper/chapters/one.tex"]
    assert record.fields["text"] == "## One\n\nLet $x \\in \\mathbb{R}$.\n"
    assert json.loads(record.fields["extra"]) == {"math": {"is_latex": True, "path": "paper/chapters/one.tex"}}
    (refused,) = found["paper/macros.tex"]
    assert isinstance(refused, Bad) and refused.cause == "empty_text"
    assert definitions(r"a \newcommand{\R}{\mathbb{R}} b \def\x#1{\if #1}") == r"\newcommand{\R}{\mathbb{R}}"


def mapped(text: str, **asked) -> dict:
    return lane(source(type="math", **asked), 100_000)({"text": text})


def test_other_texts_stay_whole():
    text = "Two gears have $371$ teeth. \\begin{align*} a &= b \\end{align*} It costs $5."
    assert mapped(text) == mapped(text) | {"text": text, "extra": None}
    assert mapped(PAPER, math={"latex": "keep"})["text"] == PAPER
    assert "\\R^n" in mapped(PAPER, math={"macros": "keep"})["text"]


def test_marks_of_one_kind():
    text = r"Let \(x\) and \[ y^2 \] and $z$ and \[ \text{if $a$} \] and \\[2pt]."
    assert with_dollars(text) == r"Let $x$ and $$ y^2 $$ and $z$ and \[ \text{if $a$} \] and \\[2pt]."
    assert mapped(text)["text"] == text and mapped(text, math={"delimiters": "dollars"})["text"] == with_dollars(text)


def formulas_of(text: str) -> list[str]:
    data = text.encode()
    found = symbols.formulas(np.frombuffer(data or b"\0", np.uint8), np.array([0, len(data)], np.int64))
    return [data[a:b].decode() for a, b in found.inside.tolist()]


MARKS = [
    "\\",
    "{",
    "}",
    "[",
    "]",
    "$",
    "$$",
    "\\(",
    "\\)",
    "\\[",
    "\\]",
    "%",
    "&",
    "_",
    "\\item",
    "\\verb|",
    "\\footnote{",
    "\\section{",
    "\\label{",
]
PIECES = [*MARKS, "x", "õ", "#1", "\\a", "\\newcommand{\\a}", "\\def\\a", " ", "\n", "\n\n", *(
    f"\\{side}{{{name}}}" for side in ("begin", "end") for name in ("align", "document", "verbatim"))]  # fmt: skip


@settings(max_examples=150, deadline=2000)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_whatever_comes_is_read(pieces):
    text = "".join(pieces)
    made = readable(text)
    assert "\ue000" not in made and len(made) <= 4 * len(text) + 20_000
    with_dollars(text)


@pytest.mark.parametrize(
    "piece", [*MARKS, "\\newcommand{\\a}{", "\\begin{align}", "\\begin{verbatim}", "\\title{", "\\section[{", " ", "%\n", "\n"]
)
def test_time_is_linear(piece):
    """60 kB of a mark that never ends; half a minute before groups were found in one pass."""
    started = time.process_time()
    readable(piece * (60_000 // len(piece)))
    formulas_of(piece * (600_000 // len(piece)))
    assert time.process_time() - started < 5
