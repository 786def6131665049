"""SPDX expressions: by hand, and against `packaging`, which has a parser of its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from curate.licenses import spdx


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("MIT", "MIT"),
        ("mit", "MIT"),
        (" apache-2.0  or  MIT ", "Apache-2.0 OR MIT"),
        ("MIT OR (ISC OR Zlib)", "MIT OR ISC OR Zlib"),
        ("MIT OR ISC AND Zlib", "MIT OR ISC AND Zlib"),
        ("(MIT OR ISC) AND Zlib", "(MIT OR ISC) AND Zlib"),
        ("GPL-2.0", "GPL-2.0-only"),
        ("gpl-2.0+", "GPL-2.0-or-later"),
        ("LGPL-2.1+ with classpath-exception-2.0", "LGPL-2.1-or-later WITH Classpath-exception-2.0"),
        ("GPL-2.0-with-classpath-exception", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("Apache-2.0+", "Apache-2.0+"),
        ("licenseref-ENC", "LicenseRef-ENC"),
        ("DocumentRef-x:LicenseRef-y", "DocumentRef-x:LicenseRef-y"),
        ("((((MIT))))", "MIT"),
    ],
)
def test_canonical(text, canonical):
    assert spdx.canonical(text) == canonical
    assert spdx.canonical(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing is written"),
        ("MIT OR", "ends too early"),
        ("MIT ISC", "'ISC' is not expected"),
        ("(MIT", "not closed"),
        (")(", "not expected"),
        ("AND", "not expected"),
        ("MITT", "'MITT' is no licence"),
        ("MIT WITH", "no exception"),
        ("MIT WITH ISC", "'ISC' is no exception"),
        ("GPL-2.0-with-classpath-exception WITH Classpath-exception-2.0", "has an exception already"),
        ("(" * 100_000 + "MIT", "too deeply"),
        ("LicenseRef-", "is no licence"),
        ("ÕIGUS-1.0", "is no licence"),
    ],
)
def test_what_is_wrong_is_said(text, says):
    with pytest.raises(spdx.NotSpdx, match=says.replace("(", r"\(")):
        spdx.canonical(text)


def test_the_list_is_that_of_packaging():
    from packaging.licenses import _spdx

    licences, exceptions = spdx.ids()
    if _spdx.VERSION != spdx.LIST_VERSION:
        pytest.skip(f"packaging has list {_spdx.VERSION}; python -m curate.licenses.make_data brings ours to it")
    assert licences == {name: one["id"] for name, one in _spdx.LICENSES.items()}
    assert exceptions == {name: one["id"] for name, one in _spdx.EXCEPTIONS.items() if not one["deprecated"]}


NAMES = st.sampled_from(["MIT", "isc", "Apache-2.0", "Apache-2.0+", "LicenseRef-a.b", "CC-BY-4.0", "NoLicense"])
WITH = st.sampled_from(["", "", " WITH LLVM-exception", " with Nothing"])
PARTS = st.recursive(
    st.builds(str.__add__, NAMES, WITH),
    lambda inner: st.one_of(
        st.builds("({})".format, inner), st.builds("{} AND {}".format, inner, inner), st.builds("{} or {}".format, inner, inner)
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(PARTS)
def test_it_takes_what_packaging_takes(text):
    try:
        theirs = canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        with pytest.raises(spdx.NotSpdx):
            spdx.canonical(text)
        return
    assert spdx.parse(text) == spdx.parse(theirs)
    assert spdx.parse(str(spdx.parse(text))) == spdx.parse(text)
