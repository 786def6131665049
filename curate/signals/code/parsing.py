"""Does a text parse in its language? Parsers of the standard library, and PyYAML. A language and a text in, yes, no or None out.

None: no parser at hand. Holds yaml (events only: nothing of the text is built or run).
"""

from __future__ import annotations

import ast
import json
import re
import threading
import tomllib
import warnings
from collections.abc import Callable
from xml.parsers import expat

_lock = threading.Lock()  # filters of warnings are one for the process; parsing holds the GIL anyway
_BAD = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)

# What Python 3 refuses: print and exec statements, except with a comma, backquotes, <>, raise with a comma, octals, ur"", long integers.
_PYTHON2 = re.compile(
    r"^[ \t]*print(?:[ \t]+(?![=(,.\[:)]|in\b|is\b|if\b|and\b|or\b)|[ \t]*>>|[ \t]*$)|^[ \t]*except[ \t]+[\w.()\[\], ]+,[ \t]*\w+[ \t]*:"
    r"|^[ \t]*exec[ \t]+[\"'\w]|^[ \t]*raise[ \t]+[\w.]+[ \t]*,|<>|\b0[0-7]+\b(?![.\w])|\bur[\"']|\b\d+[lL]\b|`[\w.() ]+`",
    re.MULTILINE,
)


def parses(language: str, text: str) -> bool | None:
    """Whether the whole text is of the language's grammar."""
    parser = _PARSERS.get(language)
    if parser is None:
        return None
    try:
        parser(text.removeprefix("\ufeff"))
    except (*_BAD, expat.ExpatError):
        return False
    return True


def is_python2(text: str) -> bool:
    """Does Python hold statements that only Python 2 has? Asked of what does not parse as Python 3."""
    return _PYTHON2.search(text) is not None


def _python(text: str) -> None:
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ast.parse(text)


def _xml(text: str) -> None:
    """Well-formed, without a tree; entities that a document declares are not looked into."""
    expat.ParserCreate("utf-8").Parse(re.sub(r"^(\s*<\?xml[^>]*?)\s+encoding=([\"'])[^\"']*\2", r"\1", text).encode(), True)


def _yaml(text: str) -> None:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for _ in yaml.parse(text, Loader=loader):
            pass
    except yaml.YAMLError as error:
        raise ValueError(str(error)[:100]) from None


_PARSERS: dict[str, Callable[[str], object]] = {
    "Python": _python, "JSON": json.loads, "TOML": tomllib.loads, "YAML": _yaml, "XML": _xml, "SVG": _xml,
}  # fmt: skip
