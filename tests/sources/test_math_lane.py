"""Mathematics: LaTeX sources to readable text with their formulas, macros, marks of one kind, files of macros beside."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.sources import Bad, list_files, read
from curate.sources.lanes.math import inputs, lane, with_dollars
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
        (r"\newcommand{\a}{\a}\a", r"\a"),  # one that names itself is not written out, nor is its definition text
        (r"\def\a#1.{x}\a b.", r"\a b."),  # delimited parameters
        (r"\newcommand{\a}{\ifx b c\fi}\a", r"\a"),
        (r"\newcommand{\a}{\ifx b c\fi} {\bf c}", r" {\bf c}"),  # a group behind it is none of its arguments
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


def test_definitions_say_nothing():
    setup = (
        r"\makeatletter\def\prd#1{\@ifnextchar\bgroup{\prd@parens{#1}}{\@ifnextchar\sm{\prd@noparens}{x}}}" "\n"
        r"\long\def\lam#1\arg#2:#3\end{\if a#1\else b\fi}\let\one\two\let\x=y\newif\ifcover\newbox\pbbox\newlength{\w}" "\n"
        r"\newenvironment{box}[1][z]{\begin{equation}}{\end{equation}}\setlength{\w}{2in}\hsize=6.3truein plus 1pt\parindent 0pt" "\n"
        r"\DeclareDocumentCommand{\f}{m o}{#1}\crefname{lem}{Lemma}{Lemmas}\AtBeginDocument{\def\g{a}}\font\sc=cmcsc10 at 8truept" "\n"
        r"\catcode`\@=11 \iffalse a b c \fi\newaliascnt{cor}{thm}\makeatother"
    )  # fmt: skip
    assert readable(setup) == "\n"
    assert readable(setup + "\n\nSome words.") == "Some words.\n"
    assert readable(setup, expand=False) == "\n"


def test_boxes_lengths_and_notes():
    assert readable(r"By \LEM{} and \own{this} holds.") == "By \\LEM and this holds.\n"
    assert (
        readable(r"\makebox[0.2\textwidth][s]{$x$} \parbox[t]{0.65\textwidth}{equality, p.~\pageref{a}}")
        == "$x$ equality, p. [a]\n"
    )
    assert (
        readable(r"\begin{minipage}[t]{3in}a \textcolor{red}{b} \hbox to 2in{c}\hskip 1em plus 2pt d\end{minipage}")
        == "a b c d\n"
    )
    assert (
        readable(r"A test\endnote{One!\label{e}}. B\footnotemark[7] c\endnotetext[9]{Two}. \theendnotes")
        == "A test (One!). B c (Two).\n"
    )
    assert readable("\\newtheorem{T}[x]{Satz}\n\\begin{T}Yes.\\end{T}") == "Satz. Yes.\n"
    assert readable("a\\selectfont%\nHomotopy") == "aHomotopy\n"
    assert readable("the category %\\uset%\nof $U$-small sets") == "the category of $U$-small sets\n"


PLAIN = r"""\magnification=\magstep1 \hsize=6.3truein
\font\big=cmr12 at 14pt \headline={\hfil\big a title\hfil}
\def\R{{\bf R}}
\centerline{\big On small things}
\beginsection 1. Introduction.

Let $x\in\R$\footnote*{As it must.}, so
$$ a=b+c \eqno(1)$$
\proclaim Theorem 1. It is so.
\par\item{(a)} first
\itemitem{(b)} second
\bye
What stands here is not read.
"""


def test_plain_tex():
    assert is_latex(PLAIN) and is_latex("$$ \\matrix{a & b \\cr c & d} $$\n\\bye\n")
    assert not is_latex("Say \\magnification to TeX, and it is larger. \\bye, they said.")
    assert readable(PLAIN) == (
        "On small things\n\n## 1. Introduction.\n\nLet $x\\in{\\bf R}$ (As it must.), so\n$$ a=b+c \\eqno(1)$$\n\n"
        "Theorem 1. It is so.\n\n- (a) first\n\n- (b) second\n"
    )


def test_ams_tex():
    text = (
        "\\input amstex\n\\documentstyle{amsppt}\n\\topmatter\n\\title On rings\\endtitle\n\\author A. Mets\\endauthor\n"
        "\\address Tartu\\endaddress\n\\endtopmatter\n\\document\n\\define\\Z{\\bold Z}\n\\heading Rings\\endheading\n"
        "\\proclaim{Theorem 1.} $\\Z$ is one.\\endproclaim\n\\demo{Proof} Clear.\\enddemo\n\\Refs\\ref\\no 1\\endref\\endRefs\n\\enddocument\n"
    )
    assert is_latex(text)
    assert readable(text) == "# On rings\n\nA. Mets\n\n## Rings\n\nTheorem 1. $\\bold Z$ is one.\n\nProof. Clear.\n"


def test_what_a_source_reads():
    text = (
        "\\input{a} % \\input{b}\n\\include{c/d}\\input e.tex\n\\inputencoding{x}\\begin{verbatim}\\input{f}\\end{verbatim}"
        "\\subimport{g/}{h}\\includegraphics{i}"
    )
    assert [one.name for one in inputs.asked(text)] == ["a", "c/d", "e.tex", "g/h"]
    known = {"p/main.tex", "p/a.tex", "p/c/d.tex", "p/c/x.tex", "top.tex"}.__contains__
    assert inputs.resolve("a", "p/main.tex", "p/main.tex", known) == "p/a.tex"
    assert inputs.resolve("x", "p/main.tex", "p/c/d.tex", known) == "p/c/x.tex"  # beside the reader
    assert inputs.resolve("../top", "p/main.tex", "p/main.tex", known) == "top.tex"
    assert inputs.resolve("../../top", "p/main.tex", "p/main.tex", known) is None
    assert inputs.resolve("/top", "p/main.tex", "p/main.tex", known) is None


def test_parts_are_planned():
    def of(*asks: str, main: bool = False, n: int = 10) -> inputs.Seen:
        return inputs.Seen(main, asks, n)

    book = {
        "m.tex": of("a", "b", main=True),
        "a.tex": of("c", "m"),
        "b.tex": of("c"),
        "c.tex": of(),
        "alone.tex": of(main=True),
        "d.tex": of(),
    }
    assert inputs.plan(book, 1000) == {"m.tex": ("a.tex", "c.tex", "b.tex")}
    assert inputs.plan(book, 50) == {"m.tex": ("a.tex", "c.tex", "b.tex")}  # c counts twice: 10 + 10 + 10 + 10 + 10
    assert inputs.plan(book, 49) == {}
    circle = {"x.tex": of("y", main=True), "y.tex": of("x", main=True)}
    assert inputs.plan(circle, 1000) == {"x.tex": ("y.tex",)}
    nested = {"a.tex": of("b", main=True), "z.tex": of("a", main=True), "b.tex": of()}
    assert inputs.plan(nested, 1000) == {"z.tex": ("a.tex", "b.tex")}
    bomb = {f"{i}.tex": of(*[f"{i + 1}"] * 10, main=i == 0, n=1) for i in range(12)}
    started = time.process_time()
    assert inputs.plan(bomb, 10**9) == {} and time.process_time() - started < 1
    assert inputs.joined("m.tex", {"m.tex": "1 \\input{a} 4", "a.tex": "2 \\input{m}\\input{gone} 3\\endinput 9"}) == (
        "1 \n2 \\input{m}\\input{gone} 3\n 4"
    )


BOOK = {
    "b/main.tex": b"\\documentclass{book}\\input{setup}\\begin{document}\\include{one}\\subfile{two}\\input{../../secret}\\end{document}",
    "b/setup.tex": rb"\def\word{yes}",
    "b/one.tex": rb"\chapter{One} \word.",
    "b/two.tex": b"\\documentclass[main]{subfiles}\\begin{document}\\chapter{Two} $x$.\\end{document}",
    "b/apart.tex": rb"\section{Apart} No.",
}
WHOLE = "# One\n\nyes.\n\n# Two\n\n$x$.\n"


def texts_of(made) -> dict[str, tuple[str, list[str]]]:
    of = made.sources["s"]
    found = {}
    for f in list_files(made, of):
        for item in read(f.path, of, limits(10_000), f.name, f.beside):
            if isinstance(item, Bad):
                found[item.file.partition("!/")[2] or f.name] = (item.cause, [])
            else:
                about = json.loads(item.fields["extra"])["math"]
                found[about["path"]] = (item.fields["text"], about.get("parts", []))
    return found


@pytest.mark.parametrize("asked", [None, "archives", "follow", "keep"])
def test_a_book_in_a_tree(tmp_path, asked):
    for name, data in BOOK.items():
        pack(tmp_path / "d" / name, data)
    pack(tmp_path / "secret.tex", b"Outside.")
    block = {"read": "d", "format": "tree", "type": "math", **({"math": {"inputs": asked}} if asked else {})}
    found = texts_of(recipe(tmp_path, {"s": block}))
    if asked == "follow":
        assert found == {
            "b/main.tex": (WHOLE, ["b/setup.tex", "b/one.tex", "b/two.tex"]),
            "b/apart.tex": ("## Apart\n\nNo.\n", []),
        }
    else:
        assert found["b/main.tex"] == ("empty_text", []) and found["b/two.tex"] == ("# Two\n\n$x$.\n", []) and len(found) == 5


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_paper_in_an_archive(tmp_path, kind):
    for name, data in BOOK.items():
        pack(tmp_path / "d" / name, data)
    (tmp_path / "in").mkdir()
    shutil.make_archive(str(tmp_path / "in/p"), "gztar" if kind == "tar" else "zip", tmp_path / "d")
    block = {"read": "in/*", "format": "tree", "type": "math", "suffixes": [".tex"]}
    assert texts_of(recipe(tmp_path, {"s": block})) == {
        "b/main.tex": (WHOLE, ["b/setup.tex", "b/one.tex", "b/two.tex"]), "b/apart.tex": ("## Apart\n\nNo.\n", []),
    }  # fmt: skip
    assert len(texts_of(recipe(tmp_path, {"s": {**block, "math": {"inputs": "keep"}}}))) == 5


def test_a_part_that_changes_is_read_again(tmp_path):
    for name, data in BOOK.items():
        pack(tmp_path / "d" / name, data)
    made = recipe(tmp_path, {"s": {"read": "d", "format": "tree", "type": "math", "math": {"inputs": "follow"}}})
    before = {f.name: f.beside for f in list_files(made, made.sources["s"])}
    pack(tmp_path / "d/b/one.tex", rb"\chapter{One} no.")
    (main,) = [f for f in list_files(made, made.sources["s"]) if f.name == "b/main.tex"]
    assert main.beside != before["b/main.tex"]
    with pytest.raises(CurateError, match="changed while it was read"):
        list(read(main.path, made.sources["s"], limits(10_000), main.name, before["b/main.tex"]))


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
SETUP = [
    "\\def\\a", "\\def\\a#1", "\\let\\a", "\\font\\a=b ", "\\hskip 1", "\\hsize=", "\\iffalse ", "\\makebox[", "\\parbox{", "\\setbox\\a=\\xy ",
    "\\a@b{", "\\proclaim ", "\\abstract ", "\\beginsection a ", "\\footnote{a}{", "\\centerline{", "\\input{a}", "\\begin{comment}", "\\newcommand{",
    "\\catcode`", "\\begin{document}", "\\endinput",
]  # fmt: skip
PIECES = [*MARKS, *SETUP, "x", "õ", "#1", "\\a", "\\newcommand{\\a}", "\\def\\a", " ", "\n", "\n\n", *(
    f"\\{side}{{{name}}}" for side in ("begin", "end") for name in ("align", "document", "verbatim"))]  # fmt: skip


@settings(max_examples=150, deadline=2000)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_whatever_comes_is_read(pieces):
    text = "".join(pieces)
    made = readable(text)
    assert "\ue000" not in made and len(made) <= 4 * len(text) + 20_000
    with_dollars(text)


@pytest.mark.parametrize(
    "piece",
    [*MARKS, *SETUP, "\\newcommand{\\a}{", "\\begin{align}", "\\begin{verbatim}", "\\title{", "\\section[{", " ", "%\n", "\n"],
)
def test_time_is_linear(piece):
    """60 kB of a mark that never ends; half a minute before groups were found in one pass."""
    started = time.process_time()
    readable(piece * (60_000 // len(piece)))
    assert time.process_time() - started < 5
    started = time.process_time()
    readable("\\magnification=1 \\hsize=2in" + piece * (60_000 // len(piece)))
    inputs.joined("a", {"a": piece * (60_000 // len(piece))})
    inputs.look(piece * (60_000 // len(piece)))
    formulas_of(piece * (600_000 // len(piece)))
    assert time.process_time() - started < 5
