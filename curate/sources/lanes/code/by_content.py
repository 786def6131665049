"""Languages that share an extension, told apart by what stands in the text; and a language where no name tells it. Pure.

Marks are looked for in the first 50,000 characters. A language wins by the number of its distinct marks; where none speaks, the first
candidate that `_USUAL` names for its extension's group is taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LOOKED_AT = 50_000  # characters

# language -> patterns that stand in it and not in the languages it shares an extension with, at the start of a line where ^ says so
_MARKS: dict[str, tuple[str, ...]] = {
    "Objective-C": (
        r"^\s*@(?:interface|implementation|protocol|end|property|class|import|synthesize)\b", r"^\s*#import\s", r"@\"", r"\[\w+ \w+[:\]]",
    ),
    "C++": (
        r"^\s*(?:template\s*<|namespace\b|using\s+(?:namespace|\w+\s*=)|class\s+\w+[^;]*$|(?:public|private|protected)\s*:)", r"\bstd::",
        r"^\s*#\s*include\s*<(?:string|vector|map|memory|iostream|cstdint|utility|functional|algorithm|unordered_map|optional)>",
        r"\b(?:constexpr|nullptr|static_cast|virtual|override|noexcept|operator\s*[=<>+*(\[-])", r"\b\w+::\w+",
    ),
    "C": (r"^\s*#\s*include\s*[<\"]", r"^\s*#\s*(?:define|ifndef|ifdef)\b", r"^\s*typedef\s+(?:struct|enum|union)\b", r"\bextern \"C\""),
    "MATLAB": (r"^\s*%", r"^\s*function\b[^(;{]*(?:=|\()", r"^\s*end\s*;?\s*(?:%.*)?$", r"\b(?:zeros|disp|fprintf|numel|size)\(",
        r"^\s*\w+\s*=\s*[^=;]+;\s*$"),
    "Mathematica": (r"\(\*", r":=", r"\b(?:Module|Begin|BeginPackage|Block|Table|ReplaceAll)\[", r"->"),
    "Perl": (r"^\s*(?:use\s+(?:strict|warnings|v?5)|package\s+[\w:]+;|sub\s+\w+|my\s+[$@%(])", r"[$@%]\w+\s*=", r"=~", r"^\s*1;\s*$"),
    "Raku": (r"^\s*use\s+v6\b", r"^\s*(?:unit\s+)?(?:module|class|role|grammar)\s+[\w:-]+", r"\bmulti\s+(?:sub|method)\b", r"\bhas\s+[$@%][.!]"),
    "Prolog": (r"^\s*:-\s", r"^\w+\([^)]*\)\s*(?::-|\.\s*$)", r"^\s*%", r"^\w+\s*-->"),
    "TypeScript": (r"\b(?:import|export|const|let|function|interface|class|type|enum|declare|namespace)\b",
        r":\s*(?:string|number|boolean|void|any)\b"),
    "XML": (r"\A\s*<\?xml", r"\A\s*<!DOCTYPE\s", r"^\s*<TS\b", r"^\s*</\w+>"),
    "Verilog": (r"^\s*module\s+\w+", r"^\s*endmodule\b", r"\b(?:reg|wire|posedge|negedge)\b", r"^\s*`(?:timescale|define|include|ifdef)"),
    "Coq": (r"^\s*(?:Require|Import|Lemma|Theorem|Definition|Proof|Qed|Inductive|Fixpoint|Section|Module|From|Notation)\b", r"\(\*", r"\bforall\b"),
    "V": (r"^\s*(?:pub\s+)?fn\s", r"^\s*module\s+\w+\s*$", r":=", r"^\s*import\s+[\w.]+\s*$"),
    "Common Lisp": (r"^\s*\((?:defun|defmacro|defpackage|in-package|defvar|defclass|defparameter)\b", r"^\s*;;"),
    "OpenCL": (r"\b(?:__)?kernel\s+void\b", r"\b__(?:global|local|constant)\b", r"\bget_global_id\b"),
    "F#": (r"^\s*(?:open|module|namespace|let|type)\s", r"\|>", r"^\s*\|\s.*->", r"^\s*//"),
    "Forth": (r"^\s*:\s+\S+", r"(?:^|\s)\\\s", r"\s;\s*$", r"\b(?:DUP|SWAP|DROP|dup|swap|drop)\b"),
    "OCaml": (r"^\s*(?:let\s+rec|open|module|val|external)\b", r"\bmatch\b.*\bwith\b", r"->", r";;\s*$", r"\bfunction\b"),
    "Standard ML": (r"^\s*(?:structure|signature|fun|functor|datatype)\b", r"=>", r"\bval\b.*=", r"^\s*end\s*$"),
    "TeX": (r"\\(?:documentclass|ProvidesClass|NeedsTeXFormat|RequirePackage|LoadClass|def|newcommand|begin)\b", r"^\s*%", r"\\[A-Za-z@]+"),
    "Apex": (r"\b(?:global|public|private)\s+(?:(?:with|without)\s+sharing\s+|virtual\s+|abstract\s+)*class\b", r"\bSystem\.\w+", r"\[\s*SELECT\b",
        r"@isTest"),
    "VBA": (r"^\s*(?:Attribute VB_|VERSION \d|Option Explicit|(?:Public |Private )?(?:Sub|Function)\s)", r"^\s*End (?:Sub|Function|If)",
        r"\bDim\s+\w+\s+As\b"),
    "OpenEdge ABL": (r"(?i)^\s*(?:define|def)\s+(?:var|variable|input|output|temp-table)", r"(?i)\bno-undo\b", r"(?i)^\s*end\.\s*$"),
    "C#": (r"^\s*(?:using\s+[\w.]+;|namespace\s)", r"\b(?:public|private|internal)\s+\w+", r"[{};]\s*$"),
    "Smalltalk": (r"!\w+ methodsFor:", r"\bsubclass:\s*#", r"^\s*\^", r":=.*\."),
    "Pascal": (r"(?i)^\s*(?:unit|program|uses|interface|implementation|procedure|function|begin)\b", r":=", r"(?i)^\s*end[.;]"),
    "Puppet": (r"^\s*(?:class|define|node)\s+[\w:']+", r"=>", r"^\s*(?:package|file|service|exec)\s*\{"),
    "PHP": (r"<\?(?:php|=)", r"\$\w+\s*=", r"->\w+\("),
}  # fmt: skip
_PATTERNS = {name: tuple(re.compile(pattern, re.MULTILINE) for pattern in patterns) for name, patterns in _MARKS.items()}
# Where no mark speaks: the language most files of such an extension are in (a guess).
_USUAL = ("C", "MATLAB", "Perl", "TypeScript", "Verilog", "Common Lisp", "F#", "OCaml", "TeX", "C#", "Pascal")

_STARTS = (  # the first characters of a text that only one language begins with
    ("XML", re.compile(r"\s*<\?xml\s")), ("HTML", re.compile(r"\s*<(?:!doctype\s+html|html[\s>])", re.IGNORECASE)),
    ("PHP", re.compile(r"\s*<\?php\b")), ("SVG", re.compile(r"\s*<svg[\s>]")), ("PostScript", re.compile(r"%!PS")),
    ("Diff", re.compile(r"(?:diff --git |--- \S+.*\n\+\+\+ )")), ("TeX", re.compile(r"(?:\s*%.*\n)*\s*\\(?:documentclass|documentstyle)\b")),
    ("JSON", re.compile(r"\s*[{\[]\s*(?:\"[^\"\n]*\"\s*[:,\]]|[{\[]|[}\]]\s*$)")),
    ("YAML", re.compile(r"%YAML|---\s*\n[\w-]+:\s")), ("Dockerfile", re.compile(r"(?:\s*#.*\n)*FROM \S+(?: AS \S+)?\n")),
)  # fmt: skip


def among(candidates: Sequence[str], text: str) -> str:
    """The candidate with most of its marks in the text."""
    head = text[:LOOKED_AT]
    found = {name: sum(bool(p.search(head)) for p in _PATTERNS.get(name, ())) for name in candidates}
    if found.get("Objective-C") and "C" in found:  # an Objective-C header is C besides
        return "Objective-C"
    if found.get("C++") and "C" in found:  # so is one of C++
        return "C++"
    if found.get("XML") and "TypeScript" in found:
        return "XML"
    best = max(found.values())
    leads = [name for name in candidates if found[name] == best]
    return next((name for name in _USUAL if name in leads), leads[0])


def guess(text: str) -> str | None:
    """The language of a text without a telling name, by how it begins."""
    head = text[:2000].removeprefix("\ufeff")
    return next((name for name, pattern in _STARTS if pattern.match(head)), None)
