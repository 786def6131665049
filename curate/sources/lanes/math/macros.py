"""Simple macros of a LaTeX source: definitions in, the text without them and with their uses written out, out. Pure.

Taken: \\newcommand, \\renewcommand, \\providecommand (with up to nine arguments, the first optional), \\def with plain #1#2 parameters,
\\DeclareMathOperator; nothing that looks at what it is given (\\if, \\csname, \\let, \\expandafter, catcodes). Of what is not taken the
definition goes and the uses stay. Bounded: MOST_MACROS definitions, MOST_DEPTH levels, and a text that grows at most MOST_GROWTH-fold.
Imports groups, declarations.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from curate.sources.lanes.math.declarations import without_definitions
from curate.sources.lanes.math.groups import group

MOST_MACROS, MOST_DEPTH, MOST_BODY = 2_000, 8, 1_000
MOST_GROWTH = 4

_DEFINES = re.compile(
    r"\\(?:(?P<new>(?:re)?newcommand|providecommand|DeclareRobustCommand)\*?\s*|(?P<def>[gex]?def)\s*|(?P<operator>DeclareMathOperator)(?P<star>\*?)\s*)"
    r"(?=[{\\])"
)
_NAME = re.compile(r"\{?\s*\\([A-Za-z]+|[^A-Za-z\s])\s*\}?")
_TRICKS = re.compile(
    r"\\(?:if\w*|else|fi|csname|expandafter|catcode|let|futurelet|@ifnextchar|makeatletter|def|newcommand|unskip|ensuremath\b(?!))"
)
_PARAMETER = re.compile(r"#([1-9])")
_BLANK = re.compile(r"[ \t]*\n?[ \t]*")


class Macro(NamedTuple):
    n_arguments: int
    optional: str | None  # the default of the first argument, where it is in brackets
    body: str


def expand(text: str, beside: str = "") -> str:
    """The text with its simple macros written out and all definitions left away. `beside`: definitions of files it is read with."""
    rest, own = _without_definitions(text)
    macros = {**(_without_definitions(beside)[1] if beside else {}), **own}
    rest = without_definitions(rest)
    if not macros:
        return rest
    use = re.compile(r"\\(" + "|".join(sorted((_pattern(name) for name in macros), key=len, reverse=True)) + ")")
    limit = MOST_GROWTH * len(text) + 10_000
    for _ in range(MOST_DEPTH):
        found = _replaced(rest, use, macros, limit)
        if found is None or found == rest:
            break
        rest = found
    return rest


def definitions(text: str) -> str:
    """The simple definitions of a file of macros, one a line, as they stand there."""
    found: list[str] = []
    at = 0
    while (match := _DEFINES.search(text, at)) is not None and len(found) < MOST_MACROS:
        one = _definition(text, match)
        at = match.end() if one is None else one[2]
        if one is not None:
            found.append(" ".join(text[match.start() : at].split()))
    return "\n".join(found)


def _pattern(name: str) -> str:
    return rf"{name}(?![A-Za-z])" if name.isalpha() else re.escape(name)


def _without_definitions(text: str) -> tuple[str, dict[str, Macro]]:
    macros: dict[str, Macro] = {}
    kept: list[str] = []
    at = 0
    while (match := _DEFINES.search(text, at)) is not None and len(macros) < MOST_MACROS:
        found = _definition(text, match)
        if found is None:
            kept.append(text[at : match.end()])
            at = match.end()
            continue
        name, macro, end = found
        kept.append(text[at : match.start()])
        at = end
        macros[name] = macro
    kept.append(text[at:])
    return "".join(kept), macros


def _definition(text: str, match: re.Match[str]) -> tuple[str, Macro, int] | None:
    """(name, macro, place after its definition) where it is a simple one."""
    named = _NAME.match(text, match.end())
    if named is None:
        return None
    at, n, optional = named.end(), 0, None
    if match["new"]:
        if counted := re.compile(r"\s*\[([0-9])\]").match(text, at):
            n, at = int(counted[1]), counted.end()
            if (opening := re.compile(r"\s*\[").match(text, at)) is not None:
                end = group(text, opening.end() - 1, "[", "]")
                if end < 0:
                    return None
                optional, at = text[opening.end() : end - 1], end
    elif match["def"]:
        plain = re.compile(r"((?:#[1-9])*)\s*(?=\{)").match(text, at)
        if plain is None:
            return None
        n, at = len(plain[1]) // 2, plain.end()
    blank = re.compile(r"\s*").match(text, at)
    at = blank.end() if blank else at
    end = group(text, at)
    if end < 0 or end - at > MOST_BODY:
        return None
    body = text[at + 1 : end - 1]
    if match["operator"]:
        body = rf"\operatorname{match['star']}{{{body}}}"
    if _TRICKS.search(body) or f"\\{named[1]}" in re.findall(r"\\(?:[A-Za-z]+|.)", body):
        return None
    return named[1], Macro(n, optional, body), end


def _replaced(text: str, use: re.Pattern[str], macros: dict[str, Macro], limit: int) -> str | None:
    """One level of macros written out; None where the text grows beyond `limit`."""
    kept: list[str] = []
    at = size = 0
    for match in use.finditer(text):
        if match.start() < at:
            continue
        macro = macros[match[1]]
        taken = _arguments(text, match.end(), macro)
        if taken is None:
            continue
        arguments, end = taken
        body = _filled(macro.body, arguments)
        if not macro.n_arguments:  # `\R^n` needs no braces, `\R n` loses the space that ended the name, as in TeX
            end = _BLANK.match(text, end).end() if match[1].isalpha() and text[end : end + 1] == " " else end  # type: ignore[union-attr]
        if re.search(r"\\[A-Za-z]+$", body) and text[end : end + 1].isalpha():
            body += " "
        kept += (text[at : match.start()], body)
        size += match.start() - at + len(body)
        at = end
        if size > limit:
            return None
    kept.append(text[at:])
    return "".join(kept)


def _filled(body: str, arguments: list[str]) -> str:
    return _PARAMETER.sub(lambda match: arguments[int(match[1]) - 1] if int(match[1]) <= len(arguments) else match[0], body)


def _arguments(text: str, at: int, macro: Macro) -> tuple[list[str], int] | None:
    found: list[str] = []
    if macro.optional is not None:
        if text.startswith("[", at) and (end := group(text, at, "[", "]")) > 0:
            found.append(text[at + 1 : end - 1])
            at = end
        else:
            found.append(macro.optional)
    while len(found) < macro.n_arguments:
        blank = _BLANK.match(text, at)
        at = blank.end() if blank else at
        if text.startswith("{", at):
            end = group(text, at)
            if end < 0:
                return None
            found.append(text[at + 1 : end - 1])
        else:
            token = re.compile(r"\\(?:[A-Za-z]+|.)|[^\s{}]").match(text, at)
            if token is None:
                return None
            found.append(token[0])
            end = token.end()
        at = end
    return found, at
