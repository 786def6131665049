"""Repair undoes mojibake and normalises prose; clean text comes back as it is."""

from __future__ import annotations

import unicodedata

import orjson
import pytest
import zstandard

from curate.sources.repair import repair

CLEAN = "Ülikoolis õpetati šokolaadi söömist. Žürii otsus jäi püsima – „Õed”."


@pytest.mark.parametrize("page", ["latin-1", "windows-1250", "windows-1251"])
def test_utf8_read_as_another_page(page):
    assert repair(CLEAN.encode().decode(page)) == CLEAN


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("jÃ¤Ã¤ on kÃ¼lm", "jää on külm"),
        ("SÃ\x83Â¼Ã\x83Â¼tu sÃ\x83Âµna", "Süütu sõna"),
        ("itâ€™s", "it’s"),
        ("ippuvat \x96 ja", "ippuvat – ja"),
        ("o\u0303un", "õun"),
        ("puhas rida TÜ\u00a0raamatukogu\nrida: pÃ¤ev", "puhas rida TÜ\u00a0raamatukogu\nrida: päev"),
    ],
)
def test_patterns(broken, whole):
    assert repair(broken) == whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain ascii",
        CLEAN,
        "“Öö”, ütles ÕÄ…",
        "„HÄ»",
        "ﬁ ＡＢ &amp; “”",
        "Привет, Рёбра",
        "日本語",
        "Spaß”",
        "a\u2028b",
        "TÜ\u00a0–",
    ],
)
def test_clean_text_stays(text):
    assert repair(text) == text


@pytest.mark.parametrize(
    "name", ["laws", "aa_magazine", "ud_ewt_train_2022", "wiki_et_versions", "tara_doku", "eurlex_directive_titles"]
)
def test_clean_estonian_is_never_changed(data, name):
    stream = zstandard.ZstdDecompressor().decompressobj().decompress((data / f"et_text/{name}.jsonl.zst").read_bytes())
    for line in stream.split(b"\n"):
        if line:
            text = orjson.loads(line)["text"]
            assert unicodedata.is_normalized("NFC", text)
            assert repair(text) == text
