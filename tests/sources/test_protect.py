"""Placeholders put into texts and checked back out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.sources.protect import hidden, restored
from curate.sources.records import Refused


@pytest.mark.parametrize(
    ("text", "shown", "kept"),
    [
        ("Kas Tallinna ja Tartu vahe on 186,5 km?", "Kas [[P1]] ja [[P2]] vahe on [[N3]] km?", ["Tallinna", "Tartu", "186,5"]),
        ("Trüki `x` ja vaata https://a.ee/x?y=1.", "Trüki [[C1]] ja vaata [[C2]].", ["`x`", "https://a.ee/x?y=1"]),
        ("Nii:\n```py\nx = 1\n```\nvalmis", "Nii:\n[[C1]]\nvalmis", ["```py\nx = 1\n```"]),
        ("def f(x):\n    return x\n\nSee on kood.", "[[C1]]\n\nSee on kood.", ["def f(x):\n    return x"]),
        ("Arvuta $x^2$, mitte $5 ja $10", "Arvuta [[C1]], mitte $[[N2]] ja $[[N3]]", ["$x^2$", "5", "10"]),
        ("Siin on [[N1]] juba", "Siin on [[C1]] juba", ["[[N1]]"]),
        ("See on lihtne lause. Ja teine.", "See on lihtne lause. Ja teine.", []),
        ("", "", []),
    ],
)
def test_what_is_hidden(text, shown, kept):
    found, of = hidden(text)
    assert (found, list(of.values())) == (shown, kept)
    assert restored([{"role": "user", "content": found}], [of]) == [{"role": "user", "content": text}]


def test_only_what_is_asked_for():
    text = "Küsi Marilt 5 `x` [[P9]]"
    assert hidden(text, ["numbers"])[0] == "Küsi Marilt [[N1]] `x` [[C2]]"  # what looks like a placeholder is hidden in any case
    assert hidden(text, ["code"], first=7)[0] == "Küsi Marilt 5 [[C7]] [[C8]]"


@pytest.mark.parametrize("text", ["", "[[N1]] [[N1]]", "[[N2]] [[N1]]", "[[N1] ]", "[[n1]]"])
def test_what_is_damaged(text):
    with pytest.raises(Refused) as refused:
        restored([{"role": "user", "content": text}], [{"[[N1]]": "5"}])
    assert refused.value.cause == "damaged_placeholder"


@pytest.mark.parametrize("kept", ["{", [], [{}, {}], {"a": 1}, "[1]", 5])
def test_what_is_no_list_of_what_was_hidden(kept):
    with pytest.raises(Refused):
        restored([{"role": "user", "content": "a"}], kept)


PIECES = st.sampled_from([
    "a", "Õ", "Mari ", "Maasikas", "12", "3.5", "`x`", "```", "\n", " ", "$", "[[C1]]", "[[N2]]", "{a}", "<b>", "x = 1", ";", "def f(", "\\(", "http://a.ee",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.text(max_size=4), max_size=12).map("".join), st.sets(st.sampled_from(["code", "numbers", "names"])))
def test_what_was_hidden_comes_back(text, kinds):
    shown, kept = hidden(text, kinds)
    assert restored([{"role": "user", "content": shown}], [kept])[0]["content"] == text
