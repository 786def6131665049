"""Licences as real datasets write them; the expected expressions were written by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.licenses import read, spdx

SPELLED = {
    "cc by-sa 4.0": "CC-BY-SA-4.0",
    "CC BY-SA 3.0 (Wikipedia)": "CC-BY-SA-3.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0",
    "CC BY-NC-SA 3.0": "CC-BY-NC-SA-3.0",
    "CC BY 2.0 FR (Tatoeba)": "CC-BY-2.0",  # the list has no French port
    "CC-BY-3.0 DE": "CC-BY-3.0-DE",
    "Creative Commons Attribution-ShareAlike 4.0 International": "CC-BY-SA-4.0",
    "Creative Commons Attribution 3.0 Unported License": "CC-BY-3.0",
    "https://creativecommons.org/licenses/by-nc-nd/3.0/igo/": "CC-BY-NC-ND-3.0-IGO",
    "http://creativecommons.org/licenses/by/4.0": "CC-BY-4.0",
    "https://creativecommons.org/publicdomain/zero/1.0/legalcode": "CC0-1.0",
    "CC BY-SA": "LicenseRef-CC-BY-SA",  # each version is another licence
    "CC0": "CC0-1.0",
    "CC0 1.0 Universal": "CC0-1.0",
    "CC0 / US public domain": "CC0-1.0 OR LicenseRef-public-domain",
    "public domain": "LicenseRef-public-domain",
    "apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "http://www.apache.org/licenses/LICENSE-2.0": "Apache-2.0",
    "mit": "MIT",
    "The MIT License": "MIT",
    "https://opensource.org/licenses/MIT": "MIT",
    "BSD": "BSD-3-Clause",  # of those in use the one with most conditions
    "New BSD License": "BSD-3-Clause",
    "Simplified BSD": "BSD-2-Clause",
    "GPLv3+": "GPL-3.0-or-later",
    "GNU GPL v2": "GPL-2.0-only",
    "GNU Lesser General Public License v2.1 or later": "LGPL-2.1-or-later",
    "GPL": "GPL-1.0-or-later",  # its own paragraph 9
    "gpl-3.0": "GPL-3.0-only",
    "odc-by": "ODC-By-1.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT/Apache-2.0": "MIT OR Apache-2.0",
    "MIT, Apache-2.0": "MIT AND Apache-2.0",
    '["MIT","apache-2.0"]': "MIT AND Apache-2.0",
}
NOTHING = ["", " ", "unknown", "None", "other", "n/a", "NOASSERTION", "LicenseRef-unknown", "none stated",
           "not stated per file (Estonian Reference Corpus; repo then GPL-2.0)", "no license", "[]", "-"]  # fmt: skip
NOT_UNDERSTOOD = [
    "MIT (repo); page content belongs to its publishers", "MIT (modified)", "All rights reserved", "proprietary", "MIT-like", "BSD-like",
    "UNLICENSED", "Common Crawl terms (text belongs to its authors)", "CC BY-SA 4.0 (FLORES-200 text); repo X", "Dual License", "MPL",
    '["MIT", 5]', "[x]", "未知", "CC BY 9.9", "Õigus", "Apache-2.0 (collection); each source set has its own terms",
]  # fmt: skip


@pytest.mark.parametrize(("said", "expression"), SPELLED.items())
def test_spellings(said, expression):
    assert read(said) == (expression, f'spelled "{said}"')
    assert spdx.canonical(expression) == expression


@pytest.mark.parametrize(
    "expression", ["MIT", "Apache-2.0 OR MIT", "GPL-2.0-only WITH Classpath-exception-2.0", "LicenseRef-ENC"]
)
def test_what_is_written_as_spdx_does_needs_no_evidence(expression):
    assert read(expression) == (expression, None)


@pytest.mark.parametrize("said", NOTHING)
def test_nothing_is_said(said):
    assert read(said) == (None, None)


@pytest.mark.parametrize("said", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_kept_as_it_was_said(said):
    expression, why = read(said)
    assert expression is None and why == f'not understood: "{said}"'


def test_long_words_are_shortened():
    assert len(read("x" * 10_000)[1]) < 150


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text('MITAPCBYSVL0123. -/,;()[]"&+', max_size=40)))
def test_any_text_gives_an_expression_or_a_reason(said):
    expression, why = read(said)
    if expression is not None:
        assert spdx.canonical(expression) == expression
    else:
        assert why is None or why.startswith("not understood")
