"""Languages that the standard library cannot parse, by tree-sitter, where it is installed (`pip install veski[code]`). A language and a text in, how
much of it is no part of its grammar out.

Every grammar is a package of its own with its compiled tables inside, so that nothing is fetched when a corpus is measured. Holds tree_sitter
and tree_sitter_*. Texts are read through a callback, since only then can a parse be stopped.
"""

from __future__ import annotations

import importlib
import time
from functools import cache
from typing import Any, NamedTuple

# name of languages.txt -> (package, function that gives the grammar)
GRAMMARS: dict[str, tuple[str, str]] = {
    "JavaScript": ("javascript", "language"), "TypeScript": ("typescript", "language_typescript"),
    "TSX": ("typescript", "language_tsx"), "C": ("c", "language"), "C++": ("cpp", "language"), "C#": ("c_sharp", "language"),
    "Java": ("java", "language"), "Rust": ("rust", "language"), "Go": ("go", "language"), "Ruby": ("ruby", "language"),
    "PHP": ("php", "language_php"), "Shell": ("bash", "language"), "Scala": ("scala", "language"), "Haskell": ("haskell", "language"),
    "Julia": ("julia", "language"), "Kotlin": ("kotlin", "language"), "Lua": ("lua", "language"), "OCaml": ("ocaml", "language_ocaml"),
    "Swift": ("swift", "language"), "Zig": ("zig", "language"), "CSS": ("css", "language"),
}  # fmt: skip
SECONDS = 2.0  # of one text; the slowest honest file of a megabyte takes 0.2, what has no grammar at all may take minutes
PIECE = 1 << 16  # bytes handed over at once
MOST_NODES = 100_000  # errors looked at; a text with more of them is no code of this language


class Parsed(NamedTuple):
    """`n_errors`: ERROR and MISSING nodes; `n_error_chars`: code points of the tokens that stand in ERROR nodes by themselves."""

    n_errors: int
    n_error_chars: int


def parse(language: str, text: str) -> Parsed | None:
    """What of the text the grammar does not have. None: no grammar at hand, or more than SECONDS of CPU time."""
    parser = _parser(language)  # of this call alone: threads measure side by side
    if parser is None:
        return None
    data = text.encode()
    stop = time.thread_time() + SECONDS
    try:
        tree = parser.parse(lambda at, _: data[at : at + PIECE], progress_callback=lambda *_: time.thread_time() > stop)
    except ValueError:  # stopped
        return None
    return _errors(tree.root_node, data)


def versions() -> dict[str, str]:
    """Version of every package there is, for the fingerprint of what depends on them."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("tree-sitter", *sorted({f"tree-sitter-{package.replace('_', '-')}" for package, _ in GRAMMARS.values()})):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found if "tree-sitter" in found else {}


def _errors(root: Any, data: bytes) -> Parsed:
    """Only nodes that hold an error are walked, without recursion: code may nest deeper than Python's stack. What stands whole inside an
    ERROR node counts as parsed, or one brace that a macro hides would condemn a file."""
    n = n_chars = 0
    waiting = [root] if root.has_error else []
    while waiting and n < MOST_NODES:
        node = waiting.pop()
        children = node.children
        n += node.is_error or node.is_missing
        for token in ([child for child in children if not child.child_count] or [node][: not children]) if node.is_error else ():
            n_chars += 0 if token.is_error and children else len(data[token.start_byte : token.end_byte].decode(errors="replace"))
        waiting += [child for child in children if child.has_error]
    return Parsed(n, n_chars)


def _parser(language: str) -> Any:
    grammar = _grammar(language)
    if grammar is None:
        return None
    from tree_sitter import Parser

    return Parser(grammar)


@cache
def _grammar(language: str) -> Any:
    if language not in GRAMMARS:
        return None
    package, function = GRAMMARS[language]
    try:
        from tree_sitter import Language

        return Language(getattr(importlib.import_module(f"tree_sitter_{package}"), function)())
    except ImportError:
        return None
