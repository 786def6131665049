"""Licences of files by their own words: headers, licence texts as installed packages carry them, notices."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from curate.licenses import identify, read, texts
from tests.licenses.words import MIT

BSD_2 = """Redistribution and use in source and binary forms, with or without modification, are permitted provided that the following
conditions are met: 1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
disclaimer. 2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
disclaimer in the documentation and/or other materials provided with the distribution. {third}
THIS SOFTWARE IS PROVIDED BY {holder} "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO,
THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL {holder}
BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO,
PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY
OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS
SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE."""
THIRD = "3. Neither the name of {holder} nor the names of its contributors may be used to endorse or promote products derived from this software."
HOLDERS = "THE COPYRIGHT HOLDERS AND CONTRIBUTORS"


def commented(text: str, mark: str) -> str:
    return "".join(f"{mark} {line}\n" for line in text.splitlines())


def test_a_licence_text_however_it_stands():
    for shown in (MIT, commented(MIT, "//"), commented(MIT, " *"), MIT.upper(), MIT.replace("\n", " "), MIT.replace('"', "“")):
        text = f"The MIT License (MIT)\n\nCopyright © 2024-2026 Mari Maasikas <mari@näide.ee> and others\n\n{shown}\n\nint main() {{}}\n"
        assert identify(text) == ("MIT", "licence text: 100% of its text")


def test_a_condition_makes_another_licence():
    assert identify(MIT + "The Software shall be used for Good, not Evil.")[0] == "JSON"
    assert identify(MIT + "“Commons Clause” License Condition v1.0") is None
    start, end = MIT.index(", subject to"), MIT.index("THE SOFTWARE IS")
    assert identify(f"{MIT[:start]}.\n{MIT[end:]}")[0] == "MIT-0"
    assert identify(BSD_2.format(third="", holder=HOLDERS))[0] == "BSD-2-Clause"
    assert identify(BSD_2.format(third=THIRD.format(holder="the University of Tartu"), holder=HOLDERS))[0] == "BSD-3-Clause"
    assert identify(BSD_2.format(third=THIRD.format(holder="Näide OÜ"), holder="NÄIDE OÜ AND CONTRIBUTORS"))[0] == "BSD-3-Clause"
    advertising = "All advertising materials mentioning features or use of this software must display this: acknowledgement. "
    assert identify(BSD_2.format(third=advertising + THIRD, holder=HOLDERS))[0] == "BSD-4-Clause"


def test_half_a_licence_is_none():
    assert identify(MIT[: len(MIT) // 2]) is None


def test_two_licence_texts_are_both():
    both = MIT + "\n----\n" + BSD_2.format(third="", holder=HOLDERS)
    assert identify(both)[0] == "BSD-2-Clause AND MIT"


@pytest.mark.parametrize(
    ("head", "expression"),
    [
        ("// SPDX-License-Identifier: MIT\n", "MIT"),
        ("/* SPDX-License-Identifier: gpl-2.0+ */\n", "GPL-2.0-or-later"),
        ("<!-- SPDX-License-Identifier: (MIT OR Apache-2.0) -->", "MIT OR Apache-2.0"),
        ("# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: CC0-1.0\n", "MIT AND CC0-1.0"),
        ("(* SPDX-License-Identifier: LicenseRef-own *)", "LicenseRef-own"),
        ("# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note\r\n", "GPL-2.0-only WITH Linux-syscall-note"),
    ],
)
def test_headers(head, expression):
    assert identify(head + "\nx = 1\n") == (expression, "SPDX header")


@pytest.mark.parametrize(
    ("head", "expression"),
    [
        ('# Licensed under the Apache License, Version 2.0 (the "License");\n# you may not use this file except', "Apache-2.0"),
        (" * This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public\n"
         " * License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later\n"
         " * version.", "GPL-2.0-or-later"),
        ("; GNU Lesser General Public License as published by the FSF; version 2.1 of the License.", "LGPL-2.1-only"),
        ("under the terms of the GNU Affero General Public License, version 3", "AGPL-3.0-only"),
        ("# This Source Code Form is subject to the terms of the Mozilla Public\n# License, v. 2.0.", "MPL-2.0"),
        ("// Distributed under the Boost Software License, Version 1.0.", "BSL-1.0"),
        ("# This file is dual licensed under the terms of the Apache License, Version\n# 2.0, and the BSD License. See the LICENSE file",
         "Apache-2.0 OR BSD-3-Clause"),
        ("/*! (c) Foundation | Released under the MIT license | https://x.example/license */", "MIT"),
        ("# Use of this source code is governed by a BSD-style license that can be found in the LICENSE file.", "BSD-3-Clause"),
        ("-- This file is in the public domain, licence or not.", "LicenseRef-public-domain"),
        ("Licensed under either of Apache License, Version 2.0 or MIT license at your option.", "Apache-2.0 OR MIT"),
        ("This work is licensed under a Creative Commons Attribution-ShareAlike 4.0 International License.", "CC-BY-SA-4.0"),
    ],
)  # fmt: skip
def test_notices(head, expression):
    found = identify(head + "\n\ncode = 1\n")
    assert found is not None and found[0] == expression and found[1].startswith("notice: "), found


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "import apache\n# use this module with apache\n", "# SPDX-License-Identifier: not a licence\n",
        "# Licensed to PSF under a Contributor Agreement.", "All rights reserved. Copyright 2026.", "The licence is described elsewhere.",
        "Litsents: vaata faili LITSENTS", "# This library is available under apache/httpd/src, copyright ours",
        "copyright" * 100_000,
    ],
)  # fmt: skip
def test_what_states_no_licence(text):
    assert identify(text) is None


def test_every_stored_text_has_its_own_words():
    """Of no two licences one stands inside the other, but for those that one sentence tells apart."""
    known = texts.known()
    inside = {
        (a, b)
        for a in known for b in known
        if a != b and sum(h in set(known[b].tolist()) for h in known[a].tolist()) >= texts.LEAST * known[a].size
    }  # fmt: skip
    assert inside <= {("BSD-2-Clause", "BSD-3-Clause"), ("MIT-0", "MIT"), ("0BSD", "ISC"), ("GPL-3.0-only", "AGPL-3.0-only"),
                      ("AGPL-3.0-only", "GPL-3.0-only"), ("CC-BY-4.0", "CC-BY-SA-4.0"), ("CC-BY-SA-4.0", "CC-BY-4.0"),
                      ("LGPL-2.0-only", "LGPL-2.1-only"), ("LGPL-2.1-only", "LGPL-2.0-only")}  # fmt: skip


def test_licence_files_of_installed_packages():
    """Where a package's metadata names one licence and its folder holds one licence file, both say the same."""
    looked_at, wrong = 0, []
    for one in metadata.distributions(path=[p for p in sys.path if "site-packages" in p]):
        said = one.metadata.get("License-Expression") or ""
        files = [f for f in one.files or [] if re.match(r"LICEN[SC]E|COPYING", f.name, re.I) and "dist-info" in str(f)]
        if not said or " " in said or len(files) != 1 or said not in texts.known():
            continue
        found = identify(Path(str(files[0].locate())).read_text(encoding="utf-8", errors="replace"))
        looked_at += 1
        if found is None or read(said)[0] not in found[0].split(" AND "):
            wrong.append((one.name, said, found))
    if looked_at < 20:
        pytest.skip(f"only {looked_at} installed packages have one licence file and a License-Expression")
    assert wrong == []
