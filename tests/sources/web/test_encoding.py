"""Which encoding a page is in: marks, UTF-8, header, meta, detection; Estonian pages of the nineties above all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.sources.records import Refused
from curate.sources.web.encoding import decode

TEXT = "Õhtul jõudsid šahtide ääres töötavad žürii liikmed üle öö kõik koju; näitus oli Šveitsi väljakul avatud. " * 3
PLAIN = "Kõik näitused, mida öösel külastati, olid tühjad ja pärast jõudis jäine tuul mööda äärt üles. " * 3


def bare(text: str) -> str:
    return f"<html><body><p>{text}</p></body></html>"


@pytest.mark.parametrize("name", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(name):
    found = decode(bare(TEXT).encode(name), "text/html; charset=iso-8859-1")
    assert found.text == bare(TEXT)


def test_utf8_wins_over_what_is_declared():
    page = f"<html><head><meta charset='iso-8859-1'></head><body>{TEXT}</body></html>"
    assert decode(page.encode(), "text/html; charset=windows-1257") == (page, "utf-8", 0)


@pytest.mark.parametrize("label", ["windows-1257", "iso-8859-13", "iso-8859-15", "windows-1252"])
@pytest.mark.parametrize("place", ["header", "meta", "xml"])
def test_declared(label, place):
    head = {"header": "", "meta": f'<meta http-equiv="Content-Type" content="text/html; charset={label}">', "xml": ""}[place]
    page = (
        f'<?xml version="1.0" encoding="{label}"?>' if place == "xml" else ""
    ) + f"<html><head>{head}</head><body>{TEXT}</body></html>"
    found = decode(page.encode(label), f"text/html; charset={label}" if place == "header" else "text/html")
    assert (found.text, found.n_replaced) == (page, 0)


@pytest.mark.parametrize("label", ["windows-1257", "iso-8859-13", "iso-8859-15", "windows-1252"])
@pytest.mark.parametrize("text", [TEXT, PLAIN])
def test_detected(label, text):
    assert decode(bare(text).encode(label)).text == bare(text)


def test_latin_1_means_windows_1252_as_in_browsers():
    page = bare("“Tere” – hind 5 € …")
    assert decode(page.encode("cp1252"), "text/html; charset=ISO-8859-1").text == page


def test_baltic_pages_that_call_themselves_latin():
    page = f"<html lang='et'><body>{TEXT}</body></html>"
    assert decode(page.encode("cp1257"), "text/html; charset=ISO-8859-1").text == page
    icelandic = "<html lang='is'><body>það er þess virði að þekkja þjóðina og þau góðu verk sín í bænum á Íslandi</body></html>"
    assert decode(icelandic.encode("cp1252"), "text/html; charset=ISO-8859-1").text == icelandic


@pytest.mark.parametrize("label", ["koi8-r", "windows-1251"])
def test_russian_without_a_charset(label):
    page = bare("Мельница мелет зерно каждый день, и мука идёт в мешки, а мешки стоят на складе у реки. " * 3)
    assert decode(page.encode(label)).text == page


def test_a_few_broken_places_do_not_make_it_another_encoding():
    data = bare(TEXT * 5).encode()
    found = decode(data[:200] + b"\xff" + data[200:], "text/html; charset=windows-1252")
    assert (found.encoding, found.n_replaced) == ("utf-8", 1)


def test_labels_that_are_none_are_passed_over():
    for label in ("rot13", "no-such-thing", "none", "zip"):
        assert decode(bare(PLAIN).encode("cp1257"), f"text/html; charset={label}").text == bare(PLAIN)


def test_binary_is_no_text_and_utf16_is():
    with pytest.raises(Refused) as caught:
        decode(b"\x7fELF\0\0\0\x01\x02\x03" * 20)
    assert caught.value.cause == "nul_character"
    assert decode(bare(TEXT).encode("utf-16-le")).text == bare(TEXT)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([None, "text/html; charset=utf-8", "charset=utf-16", "charset=iso-8859-1", "charset=big5"]),
)
def test_any_bytes(data, content_type):
    try:
        assert isinstance(decode(data, content_type).text, str)
    except Refused as refused:
        assert refused.cause == "nul_character"
