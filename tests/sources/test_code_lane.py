"""Code: languages by name and content, licences by header and by files beside, notebooks, rows of published datasets, trees, archives."""

from __future__ import annotations

import contextlib
import json
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.recipe import License
from curate.sources import Bad, list_files, read
from curate.sources.lanes.code.languages import kind_of, language_of, tables
from curate.sources.lanes.code.licence import of_header
from curate.sources.lanes.code.notebooks import script
from curate.sources.records import Refused
from tests.licenses import words
from tests.sources.making import limits, lines, pack, read_all, recipe, source

MIT = f"MIT License\n\nCopyright (c) 2024 A. Tamm\n\n{words.MIT}"


def about(fields: dict) -> dict:
    return json.loads(fields["extra"])["code"]


@pytest.mark.parametrize(
    ("path", "text", "name", "by"),
    [
        ("a/b.py", "", "Python", "extension"),
        ("Makefile", "all:\n", "Makefile", "name"),
        ("x.py.in", "", "Python", "extension"),
        ("Dockerfile.dev", "FROM a\n", "Dockerfile", "extension"),
        ("run", "#!/usr/bin/env -S python3 -u\n", "Python", "interpreter"),
        ("run", "#!/bin/bash\n", "Shell", "interpreter"),
        ("run", "# -*- mode: ruby -*-\n", "Ruby", "mode line"),
        ("a.h", "#include <stdio.h>\nint f(void);\n", "C", "content"),
        ("a.h", "#include <string>\nnamespace a { class B; }\n", "C++", "content"),
        ("a.h", "#import <Foundation/Foundation.h>\n@interface A : NSObject\n@end\n", "Objective-C", "content"),
        ("a.h", "", "C", "content"),
        ("a.m", "function y = f(x)\n% square\ny = x.^2;\nend\n", "MATLAB", "content"),
        ("a.m", '#import "A.h"\n@implementation A\n@end\n', "Objective-C", "content"),
        ("a.pl", "use strict;\nmy $x = 1;\n", "Perl", "content"),
        ("a.pl", ":- module(a, [b/1]).\nb(1).\nb(X) :- c(X).\n", "Prolog", "content"),
        ("a.ts", "export const a: string = 'b';\n", "TypeScript", "content"),
        ("a.ts", '<?xml version="1.0"?>\n<TS version="2.1"></TS>\n', "XML", "content"),
        ("a.v", "Require Import List.\nLemma a : forall x, x = x.\n", "Coq", "content"),
        ("a.v", "module a(input wire b);\nendmodule\n", "Verilog", "content"),
        ("a.cls", "\\NeedsTeXFormat{LaTeX2e}\n\\ProvidesClass{a}\n", "TeX", "content"),
        (None, '<?xml version="1.0"?><a/>', "XML", "content"),
        (None, "<!DOCTYPE html>\n", "HTML", "content"),
        (None, '{"a": 1}', "JSON", "content"),
    ],
)
def test_languages(path, text, name, by):
    assert language_of(path, text) == (name, by)


def test_no_language_and_that_of_the_row():
    assert language_of("NEWS", "Some words.") is None
    assert language_of("x.unknown", "Some words.", "c-sharp") == ("C#", "field")
    assert language_of("x.unknown", "words", "Brainfuck") == ("Brainfuck", "field")
    assert language_of("x.py", "words", "Java") == ("Python", "extension")
    assert kind_of("JSON") == "data" and kind_of("Brainfuck") == ""
    assert len(tables().languages) > 140 and {language.kind for language in tables().languages.values()} == {
        "code",
        "markup",
        "data",
        "prose",
    }


def test_a_header_says_the_licence():
    assert of_header("# SPDX-License-Identifier: MIT OR Apache-2.0\nx = 1\n") == ("MIT OR Apache-2.0", "SPDX header, line 1")
    assert of_header("/*\n * Copyright 2020\n * SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note\n */\n")[0] == (
        "GPL-2.0-only WITH Linux-syscall-note"
    )
    commented = "".join(f"// {line}\n" for line in MIT.splitlines())
    found = of_header(commented + "int main() {}\n")
    assert found is not None and found[0] == "MIT" and found[1].startswith("header comment: ")
    assert (
        of_header('x = 1\nprint("licensed under the MIT License, copyright nobody")\n') is None
    )  # code that speaks of a licence
    assert of_header("# SPDX-License-Identifier: NoSuchLicence\n") is None
    assert of_header("") is None


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        ("# This module parses MIT licences and copyright lines.", None),
        ("# Detects whether code is licensed under the Apache License, Version 2.0, or MIT.", None),
        ("# Checks for the GNU General Public License, version 3, in copyright headers.", None),
        ("# Files that are released under the MIT License are listed here, with their copyright.", None),
        ("# Tests that a work is in the public domain and has no licence.", None),
        ("// Copyright 2020 A. Tamm. Released under the MIT license.", "MIT"),
        ("# foo is licensed under the Apache License, Version 2.0", "Apache-2.0"),
        ("/* Copyright\n * Dual licensed under the MIT or GPL Version 2 licenses.\n */", "MIT OR GPL-2.0-only"),
        ("# Parses configuration files. Licensed under the MIT license.", "MIT"),
        ("# This file is placed in the public domain; no licence is needed. It is in the public domain.", "LicenseRef-public-domain"),
        ("# It is free software; you can redistribute it under the terms of the GNU General Public License as published by the Free\n"
         "# Software Foundation; either version 2 of the License, or (at your option) any later version.", "GPL-2.0-or-later"),
    ],
)  # fmt: skip
def test_a_head_must_grant_what_it_names(head, licence):
    found = of_header(head + "\nx = 1\n")
    assert (found and found[0]) == licence
    assert licence is None or (found and found[1].startswith("header comment: notice: "))


@pytest.mark.parametrize("said", ["none stated", "NOASSERTION", "unknown", "other", "", " ", None, ["unknown"]])
def test_a_row_that_says_nothing_hides_no_file_beside(said):
    from curate.sources.lanes import BESIDE, lane_of

    of = source(type="code", license=License(from_field="l"))
    row = {"text": "x = 1\n", "path": "a.py", "l": said, BESIDE: "MIT\tLICENSE"}
    mapped = lane_of(of, 1000)(row)
    assert (mapped["license"], mapped["license_evidence"]) == ("MIT", "LICENSE")
    alone = lane_of(of, 1000)({key: value for key, value in row.items() if key != BESIDE})
    assert alone["license_evidence"] in (None, "field l")  # left to what is declared


@pytest.mark.parametrize("said", ["Apache-2.0", "All rights reserved", "research use only"])
def test_a_row_that_says_something_stands_above_files_beside(said):
    from curate.sources.lanes import BESIDE, lane_of

    mapped = lane_of(source(type="code", license=License(from_field="l")), 1000)(
        {"text": "x\n", "l": said, BESIDE: "MIT\tLICENSE"}
    )
    assert (mapped["license"], mapped["license_evidence"]) == (said, "field l")


def test_the_stack_row():
    row = {
        "hexsha": "ab12", "content": "#include <vector>\nstd::vector<int> a;\n", "ext": "h", "lang": "C",
        "max_stars_repo_path": "src/a.h", "max_stars_repo_name": "kask/puu", "max_stars_repo_licenses": ["MIT", "Apache-2.0"],
    }  # fmt: skip
    of = source(type="code", license=License(from_field="max_stars_repo_licenses"))
    (record,), bad = read_all_rows(row, of)
    assert not bad
    assert record.fields["source_id"] == "ab12"
    assert about(record.fields) == {"language": "C++", "language_by": "content", "path": "src/a.h", "repository": "kask/puu"}
    assert record.fields["license"] == "Apache-2.0 AND MIT"
    assert record.fields["language"] is None


def read_all_rows(row: dict, of) -> tuple[list, list]:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        return read_all(pack(Path(folder) / "a.jsonl", lines(row)), of, 100_000)


def test_extra_of_a_row_is_kept_beside():
    of = source(type="code", fields={"extra": "meta"})
    (record,), _ = read_all_rows({"text": "x = 1", "path": "a.py", "meta": {"stars": 3}}, of)
    assert json.loads(record.fields["extra"]) == {
        "code": {"language": "Python", "language_by": "extension", "path": "a.py"},
        "stars": 3,
    }


def test_targets_of_code_are_for_code():
    of = source(type="text", fields={"repository": "r"})
    from curate.sources.fields import check_fields

    with pytest.raises(CurateError, match="repository is for code"):
        check_fields(of)


NOTEBOOK = {
    "nbformat": 4, "metadata": {"kernelspec": {"language": "python", "name": "python3"}},
    "cells": [
        {"cell_type": "markdown", "source": ["# Pealkiri\n", "Tekst."]},
        {"cell_type": "code", "source": "%matplotlib inline\nimport os\n!ls\nx = os.sep\n", "outputs": [{"text": "SECRET OUTPUT"}]},
        {"cell_type": "code", "source": ["%%bash\n", "ls"]},
        {"cell_type": "code", "source": []},
    ],
}  # fmt: skip


def test_a_notebook_becomes_a_script():
    made = script(json.dumps(NOTEBOOK))
    assert made.language == "Python" and made.n_cells == 4
    assert made.text == (
        "# %% [markdown]\n# # Pealkiri\n# Tekst.\n\n# %%\n# %matplotlib inline\nimport os\n# !ls\nx = os.sep\n\n# %%\n# %%bash\n# ls\n"
    )
    compile(made.text, "notebook", "exec")


def test_notebooks_of_other_kinds():
    old = {"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": ["x = 1"]}]}]}
    assert script(json.dumps(old)).text == "# %%\nx = 1\n"
    js = {"metadata": {"language_info": {"name": "javascript"}}, "cells": [{"cell_type": "markdown", "source": "a"}]}
    assert script(json.dumps(js)) == ("// %% [markdown]\n// a\n", "JavaScript", 1)
    for text, cause in (
        ("{", "broken_json"),
        ("[]", "not_an_object"),
        ('{"cells": []}', "empty_text"),
        ("[" * 100_000, "broken_json"),
    ):
        with pytest.raises(Refused) as refused:
            script(text)
        assert refused.value.cause == cause


JSON = st.recursive(st.none() | st.booleans() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(["cells", "source", "cell_type", "metadata", "worksheets", "input", "language_info", "kernelspec", "name", "language", "code"]),
    inner, max_size=4), max_leaves=25)  # fmt: skip


@settings(max_examples=150, deadline=2000)
@given(JSON, st.text(max_size=60))
def test_whatever_stands_in_a_notebook_or_a_header(book, head):
    with contextlib.suppress(Refused):
        script(json.dumps(book))
    language_of(head, head)
    of_header(f"# {head}\n/* {head}\n# SPDX-License-Identifier: {head}")


def test_a_bad_notebook_is_quarantined_and_its_neighbour_read(tmp_path):
    pack(tmp_path / "d/a.ipynb", b"{broken")
    pack(tmp_path / "d/b.ipynb", json.dumps(NOTEBOOK).encode())
    made = recipe(tmp_path, {"s": {"read": "d", "format": "tree", "type": "code"}})
    found = [
        item
        for file in list_files(made, made.sources["s"])
        for item in read(file.path, made.sources["s"], limits(10_000), file.name)
    ]
    assert [item.cause for item in found if isinstance(item, Bad)] == ["broken_json"]
    (record,) = [item for item in found if not isinstance(item, Bad)]
    assert about(record.fields)["notebook_cells"] == 4


def fields_of(made, name: str = "s") -> dict[str, dict]:
    of = made.sources[name]
    found = {}
    for file in list_files(made, of):
        for item in read(file.path, of, limits(100_000), file.name, file.beside):
            found[about(item.fields)["path"]] = item.fields
    return found


def test_a_tree_with_licence_files(tmp_path):
    pack(tmp_path / "d/LICENSE", MIT.encode())
    pack(tmp_path / "d/src/a.py", b"x = 1\n")
    pack(tmp_path / "d/vendored/package.json", b'{"license": "ISC"}')
    pack(tmp_path / "d/vendored/lib/b.js", b"var b = 1;\n")
    pack(tmp_path / "d/vendored/lib/c.js", b"// SPDX-License-Identifier: 0BSD\nvar c = 1;\n")
    block = {"read": "d", "format": "tree", "type": "code", "suffixes": [".py", ".js"], "code": {"repository_levels": 1}}
    found = fields_of(recipe(tmp_path, {"s": block}))
    assert {path: (f["license"], f["license_evidence"]) for path, f in found.items()} == {
        "src/a.py": ("MIT", "LICENSE"),
        "vendored/lib/b.js": ("ISC", "vendored/package.json"),
        "vendored/lib/c.js": ("0BSD", "SPDX header, line 1"),
    }
    assert about(found["src/a.py"])["repository"] == "src"
    declared = fields_of(recipe(tmp_path, {"s": {**block, "code": {"licenses": "declared"}}}))
    assert declared["src/a.py"]["license"] is None  # filled in with what the recipe declares, when documents are written


def test_archives_with_licence_files(tmp_path):
    folder = tmp_path / "d"
    pack(folder / "plain/p-1/COPYING", MIT.encode())
    pack(folder / "plain/p-1/src/a.py", b"x = 1\n")
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in/p.tar.gz", "w:gz") as tar:  # the licence after the code it is about
        tar.add(folder / "plain/p-1/src/a.py", "p-1/src/a.py")
        tar.add(folder / "plain/p-1/COPYING", "p-1/COPYING")
    with zipfile.ZipFile(tmp_path / "in/q.zip", "w") as archive:
        archive.writestr("q/LICENSE.txt", MIT)
        archive.writestr("q/b.rs", "fn main() {}\n")
    block = {"read": "in/*", "format": "tree", "type": "code", "suffixes": [".py", ".rs"]}
    found = fields_of(recipe(tmp_path, {"s": block}))
    assert {path: (f["license"], f["license_evidence"]) for path, f in found.items()} == {
        "p-1/src/a.py": ("MIT", "p-1/COPYING"), "q/b.rs": ("MIT", "q/LICENSE.txt"),
    }  # fmt: skip


def test_equal_files_of_other_names_are_read_apart(tmp_path):
    """Runs are keyed by content: not for documents whose language their name decides."""
    from curate.ingest import Hashed, plan_runs

    pack(tmp_path / "d/a.c", b"x\n")
    pack(tmp_path / "e/a.rs", b"x\n")
    made = recipe(tmp_path, {n: {"read": n, "format": "tree", "type": t} for n, t in (("d", "code"), ("e", "code"))})
    keys = []
    for of in made.sources.values():
        files = list_files(made, of)
        keys += [run.key for run in plan_runs(of, files, {(f.path, f.format): Hashed("same") for f in files})]
    assert len(set(keys)) == 2


def test_inspect_source_knows_code_and_latex(tmp_path):
    from curate.sources.propose import propose

    rows = [
        {"content": f"x = {i}\n", "max_stars_repo_path": f"a/{i}.py", "lang": "Python", "max_stars_repo_licenses": ["MIT"]}
        for i in range(4)
    ]
    pack(tmp_path / "stack.jsonl", lines(*rows))
    found = propose(tmp_path / "stack.jsonl")
    assert found.type == "code" and found.source["license"] == {"from_field": "max_stars_repo_licenses"}
    pack(tmp_path / "arxiv.jsonl", lines(*({"text": f"\\section{{A {i}}} Let $x = {i}$."} for i in range(4))))
    assert propose(tmp_path / "arxiv.jsonl").type == "math"
    pack(tmp_path / "paper/a.tex", b"\\section{A} Let $x$.")
    assert propose(tmp_path / "paper").type == "math"
    pack(tmp_path / "src/a.zig", b"const a = 1;\n")
    assert propose(tmp_path / "src").type == "code"
