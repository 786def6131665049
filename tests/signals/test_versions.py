"""A signal's values may change only together with its version, family by family: what is in somebody's store stays true.

golden_signals.json holds what every family of FAMILIES, and the signatures, made of the texts below, and by what: version, settings
(lists by their digest), segmentation. After a wanted change raise the family's `version` (SEGMENTATION_VERSION for words,
SIGNATURES_VERSION for signatures), say why in one line beside it, and write the file anew:
VESKI_WRITE_GOLDEN=1 pytest tests/signals/test_versions.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from curate import text
from curate.recipe import Recipe
from curate.signals import FAMILIES, Spans, measure, measurers
from curate.store import array_root, digest
from tests.signals.measuring import batch
from tests.signals.test_measure import recipe

GOLDEN = Path(__file__).with_name("golden_signals.json")
TEXTS = [
    "",
    " \n\t\u3000",
    "sõna",
    "Tere, maailm! Kas sa tuled homme kell 12.30 koju? Jah, ma tulen... Või ei tule – kes teab.\n\n- üks\n- kaks\n• kolm…\n",
    "Sama rida siin.\nSama rida siin.\n\nSama lõik on siin.\n\nSama lõik on siin.\n\n"
    + "üks kaks kolm neli viis kuus seitse " * 6,
    "The cat sat on the mat.[1] It wasn't J. K. Rowling's cat, e.g. a U.S. one [citation needed]. We use cookies. See our Privacy Policy.",
    "Lorem ipsum dolor sit amet. Please enable JavaScript to see this. function f() { return 1; }. Terms of use apply here.",
    "# Heading ##\nhttps://example.org/a?b=c#d and john.doe@example.com call +372 5123 4567 now!\r\nnext\u2028line\x0cpage\n",
    "def f(x):\n    return {'a': [x[0], x[1]]}\n\n\ndef g(x):\n    return {'a': [x[0], x[1]]}\n",
    "中文没有空格。 这是一个句子！日本語の文です。 ภาษาไทย हिन्दी वाक्य। العربية؟ Ελληνικά; Українська мова є.",
    "ÕÄÖÜ ŠŽ İstanbul coo\u212aies ﬁ e\u0301 \u0378 😀👍🏽 \U000e0100 a\u00adb",
    "x" * 1001 + " on pikk.\n" + "1 2 3 4 5 6 7 8 9 10 " * 20,
]


def values_digest(columns: dict[str, Any]) -> str:
    """Of all columns, spans too, whatever they are made of (arrays, lists, Arrow)."""
    parts: list[str | bytes] = []
    for name in sorted(columns):
        if isinstance(columns[name], Spans):
            parts += [name, array_root(*columns[name])]
        else:
            parts += [name, json.dumps([None if v is None else v for v in _plain(columns[name])], ensure_ascii=False)]
    return digest(*parts)


def _plain(values: Any) -> list:
    for method in ("to_pylist", "tolist"):
        if hasattr(values, method):
            return getattr(values, method)()
    return list(values)


def everything() -> Recipe:
    """A recipe for which every family without a model or list is measured."""
    return recipe(cuts=[{"kind": kind, "of": ["all"]} for kind in ("pii", "secrets", "lines")])


def measured_now() -> dict[str, dict[str, Any]]:
    given, wanted = batch(TEXTS), everything()
    made_by = {"segmentation": text.SEGMENTATION_VERSION, "unicode": text.UNICODE_VERSION}
    now: dict[str, dict[str, Any]] = {}
    for m in measurers(wanted, wanted.sources["a"]):
        if m.family.name in FAMILIES:
            settings = {**m.settings, **(made_by if m.needs_words else {})}
            now[m.family.name] = {"version": m.family.version, "settings": settings, "digest": values_digest(m.measure(given))}
    assert given.segments is not None
    arrays = text.signatures(given.segments, ngram=5, bands=16, rows=7, seed=measure.SIGNATURE_SEED)
    now["signatures"] = {
        "version": measure.SIGNATURES_VERSION,
        "settings": made_by,
        "digest": array_root(*arrays, text.normalised_hashes(given.data, given.offsets)),
    }
    return now


def changed_alone(golden: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]) -> list[str]:
    """Families whose values changed while nothing that is said to make them did."""
    same = [name for name in golden if name in now and all(golden[name][k] == now[name][k] for k in ("version", "settings"))]
    return [name for name in same if golden[name]["digest"] != now[name]["digest"]]


def test_values_change_only_with_their_version() -> None:
    now = measured_now()
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    assert not changed_alone(golden, now), "these families' values changed and their version did not: raise it, or find out why"
    if os.environ.get("VESKI_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(now, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    else:
        assert now == golden, f"versions, settings or families changed: VESKI_WRITE_GOLDEN=1 writes {GOLDEN.name} anew"


def test_every_family_is_watched() -> None:
    wanted = everything()
    assert set(FAMILIES) <= {m.family.name for m in measurers(wanted, wanted.sources["a"])}


def test_the_watch_itself() -> None:
    one = {"a": {"version": 1, "settings": {}, "digest": "x"}}
    assert changed_alone(one, one) == []
    assert changed_alone(one, {"a": {"version": 1, "settings": {}, "digest": "y"}}) == ["a"]
    assert changed_alone(one, {"a": {"version": 2, "settings": {}, "digest": "y"}}) == []
    assert changed_alone(one, {"a": {"version": 1, "settings": {"list": "2"}, "digest": "y"}}) == []
    numbers = np.array([1, 2])
    assert values_digest({"n": numbers}) != values_digest({"n": numbers[::-1]}) != values_digest({"m": numbers[::-1]})
