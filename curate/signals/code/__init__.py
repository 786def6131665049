"""Family code: a batch of source files in, what kind of file each is, how long its lines are and whether it parses, out. Pure.

Reads path and language of `extra` (sources/lanes/code). Measured for sources of type code only. Lines are pieces between \\n without
the \\n, a final one ends the last line. Null means that the question does not apply: no parser at hand, no HTML. Imports paths, markers,
parsing, grammars, sources of code's table of languages.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from curate.signals.code import grammars, kernels
from curate.signals.code.markers import encoded_chars, is_generated, is_minified
from curate.signals.code.parsing import is_python2, parses
from curate.signals.code.paths import is_data_path, is_test_path, is_vendored_path
from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio, read_only
from curate.sources.lanes.code.languages import kind_of

PARSED_BYTES = 1 << 20  # a longer file is not parsed: Python's own parser takes a second for it

FAMILY = Family("code", 2, (  # grammars of tree-sitter; long hexadecimal is counted once
    Column("code_language", "name", "language by name and content; empty where nobody can tell", type="string", low=None),
    Column("code_kind", "name", "code, markup, data or prose: the language's kind; empty where the table has none", type="string", low=None),
    Column("n_longest_line_chars", "code points", "code points of the longest line; StarCoder: at most 1,000"),
    Column("n_line_chars", "code points", "code points of all lines"),
    Column("is_generated", "0 or 1", "made by a program: said so in the comments of its first 40 lines (linguist's marks), or by its name", high=1),
    Column("is_minified", "0 or 1", "JavaScript or CSS named .min., or of more than 110 code points a line on average (linguist)", high=1),
    Column("is_vendored", "0 or 1", "lies in a folder of other people's code, or is a well-known library's file (linguist)", high=1),
    Column("is_data_file", "0 or 1", "a language of data (JSON, XML, PO, ...), a lock file, a folder of data, or half of it encoded bytes", high=1),
    Column("is_test_file", "0 or 1", "lies in a folder of tests, or is named like a test", high=1),
    Column("n_encoded_chars", "code points", "code points in base64 of 64 or more, hexadecimal or \\u escapes of 8 or more in a row; "
           "StarCoder2: at most half of the text"),
    Column("n_longest_encoded_chars", "code points", "of the longest of these; StarCoder2: at most 1,024"),
    Column("is_parsed", "0 or 1", "parses: Python 3, JSON, TOML, YAML, XML, SVG; with `veski[code]` without an error of tree-sitter's "
           "grammar: JavaScript, TypeScript, C, C++, C#, Java, Rust, Go, Ruby, PHP, Shell and others; null for other languages, above 1 MiB and "
           "after 2 s", high=1),
    Column("n_parse_errors", "nodes", "ERROR and MISSING nodes of tree-sitter's tree; null where it is not asked"),
    Column("n_parse_error_chars", "code points", "code points of the tokens that stand in ERROR nodes by themselves; null where it is not asked"),
    Column("is_python2", "0 or 1", "Python that does not parse as Python 3 and holds what only Python 2 allows; null for other languages", high=1),
    Column("has_xml_start", "0 or 1", "<?xml version= among the first 100 code points of what is not XSLT; StarCoder drops it", high=1),
    Column("n_html_visible_chars", "code points", "of HTML, the text outside tags, scripts and styles, white space as one; StarCoder: at "
           "least 100 and 20 % of all; null for other languages"),
    Column("n_json_yaml_chars", "code points", "of JSON and YAML all code points; StarCoder: 50 to 5,000; null for other languages"),
), (
    Ratio("mean_line_chars", "n_line_chars", "n_lines", "no share: code points; StarCoder: at most 100"),
    Ratio("encoded_ratio", "n_encoded_chars", "n_chars"),
    Ratio("parse_error_ratio", "n_parse_error_chars", "n_chars", "macros of C and C++ count too: a bound of a few hundredths passes them"),
    Ratio("html_visible_ratio", "n_html_visible_chars", "n_chars"),
))  # fmt: skip

_HIDDEN = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.IGNORECASE | re.DOTALL)


def measurer() -> Measurer:
    return Measurer(FAMILY, measure, {"grammars": grammars.versions()}, needs_words=False, reads=("extra",))


def measure(batch: Batch) -> Columns:
    n = len(batch.texts)
    lines = np.empty((n, 3), np.int64)
    kernels.line_chars(*read_only(batch.data, batch.offsets), lines)
    rows = [
        _file(text, _about(extra), longest, chars, n_lines)
        for text, extra, (longest, chars, n_lines) in zip(
            batch.texts.to_pylist(), batch.columns["extra"].to_pylist(), lines.tolist(), strict=True
        )
    ]
    return {column.name: [row[column.name] for row in rows] for column in FAMILY.columns}


def _about(extra: str | None) -> dict[str, Any]:
    found = json.loads(extra).get("code") if extra else None
    return found if isinstance(found, dict) else {}


def _file(text: str, about: dict[str, Any], longest: int, chars: int, n_lines: int) -> dict[str, Any]:
    path, language = str(about.get("path", "")), str(about.get("language", ""))
    kind = kind_of(language)
    n_encoded, longest_encoded = encoded_chars(text)
    n_chars = chars + text.count("\n")
    mean = chars / max(n_lines, 1)
    parsed = parses(language, text) if len(text) <= PARSED_BYTES else None
    tree = grammars.parse(language, text) if parsed is None and len(text) <= PARSED_BYTES else None
    if tree is not None:
        parsed = tree.n_errors == 0
    return {
        "code_language": language, "code_kind": kind, "n_longest_line_chars": longest, "n_line_chars": chars,
        "is_generated": int(is_generated(path, text)), "is_minified": int(is_minified(path, language, mean)),
        "is_vendored": int(is_vendored_path(path)),
        "is_data_file": int(kind == "data" or is_data_path(path, kind == "code") or 2 * n_encoded > n_chars),
        "is_test_file": int(is_test_path(path)), "n_encoded_chars": n_encoded, "n_longest_encoded_chars": longest_encoded,
        "is_parsed": None if parsed is None else int(parsed),
        "n_parse_errors": tree and tree.n_errors, "n_parse_error_chars": tree and tree.n_error_chars,
        "is_python2": int(parsed is False and is_python2(text)) if language == "Python" and parsed is not None else None,
        "has_xml_start": int("<?xml version=" in text[:100] and not path.lower().endswith((".xsl", ".xslt"))),
        "n_html_visible_chars": len(" ".join(_HIDDEN.sub(" ", text).split())) if language == "HTML" else None,
        "n_json_yaml_chars": n_chars if language in ("JSON", "YAML") else None,
    }  # fmt: skip
