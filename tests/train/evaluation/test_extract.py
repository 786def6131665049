"""Numbers, letters and code read out of answers."""

from __future__ import annotations

import io
import json
import re
from decimal import Decimal

import pytest
import zstandard

from train.evaluation import extract


@pytest.mark.parametrize(
    "text, language, value",
    [
        ("1,234.5", "en", "1234.5"), ("1,234", "en", "1234"), ("1,5", "en", "1.5"), ("$1,000,000", "en", "1000000"), ("12.50", "en", "12.5"),
        ("1 234,5", "et", "1234.5"), ("1\u00a0234\u202f567", "et", "1234567"), ("3,75", "et", "3.75"), ("1,234", "et", "1.234"),
        ("1.234,5", "et", "1234.5"), ("1,234.5", "et", "1234.5"), ("1.234.567", "et", "1234567"), ("−5", "et", "-5"), ("-0,5", "et", "-0.5"),
        ("+7", "en", "7"), ("18.", "en", "18"), ("25 %", "et", "25"), ("40€", "et", "40"), ("0", "en", "0"), (".5", "en", "0.5"),
        ("kaks", "et", None), ("", "en", None), ("1,2,3.4.5", "en", None), ("1/2", "en", None),
    ],
)  # fmt: skip
def test_number(text, language, value):
    found = extract.number(text, language)
    assert found == (Decimal(value) if value is not None else None)


@pytest.mark.parametrize(
    "text, language, value",
    [
        ("Ta teenib 9 * 2 = 18 dollarit päevas.\n#### 18", "et", "18"),
        ("#### 3\nParandus\n#### 1 234,5 eurot", "et", "1234.5"),
        ("Vastus on 1 234,5 eurot.", "et", "1234.5"),
        ("Kokku 12 õuna, millest alles 7.", "et", "7"),
        ("Seega $\\boxed{1\\,250}$, nagu 3. lauses.", "et", "1250"),
        ("\\boxed{\\frac{3}{4}}", "en", "0.75"), ("\\boxed{-\\dfrac{1}{2}} or 7", "en", "-0.5"), ("\\boxed{x^{2} = 16}", "en", "16"),
        ("\\boxed{1{,}000}", "en", "1000"), ("\\boxed{12\\text{ cm}}", "en", "12"), ("\\boxed{}", "en", None), ("\\boxed{3", "en", "3"),
        ("It took 3-5 days.", "en", "5"), ("It fell to -5 degrees", "en", "-5"), ("a 5-aastane laps", "et", "5"),
        ("He paid $1,234.50.", "en", "1234.50"), ("aastal 2020", "et", "2020"), ("I cannot say.", "en", None), ("####", "en", None),
        ("rida 1\nrida 2", "et", "2"), ("In 2020 300 people came", "en", "300"), ("-12", "en", "-12"), ("x=-3,5", "et", "-3.5"),
    ],
)  # fmt: skip
def test_numeric_answer(text, language, value):
    assert extract.numeric_answer(text, language) == (Decimal(value) if value is not None else None)


def test_gold_answers_of_gsm8k(data):
    """All 700: what the benchmark's own expression takes (openai/grade-school-math, dataset.py), and the harness's strict filter."""
    file = open(data / "eval/gsm8k_test_a.jsonl.zst", "rb")
    stream = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n")
    answers = [json.loads(line)["answer"] for line in stream]
    assert len(answers) == 700
    for answer in answers:
        assert extract.numeric_answer(answer) == Decimal(re.search(r"#### (\-?[0-9\.\,]+)", answer)[1].replace(",", ""))
        without = answer.split("####")[0] + "The answer is $" + answer.split("#### ")[1] + "."
        assert extract.numeric_answer(without) == extract.numeric_answer(answer)


def test_choice():
    letters = "ABCD"
    assert extract.choice("Vastus on B.", letters) == "B" and extract.choice("Vastus: (C) Tartu", letters) == "C"
    assert extract.choice("The answer is **D**, not A", letters) == "D" and extract.choice("answer: A\nAnswer: B", letters) == "B"
    assert (
        extract.choice("B", letters) == "B"
        and extract.choice(" (B) sest ...", letters) == "B"
        and extract.choice("A. Tallinn", letters) == "A"
    )
    assert extract.choice("Arvan, et see on tõsi", letters) is None and extract.choice("", letters) is None
    assert extract.choice("Vastus on Dublin", letters) is None and extract.choice("Vastus on 2", "123") == "2"


def test_code_block():
    assert extract.code_block("Näide:\n```python\nx = 1\n```\nlõpp ```y```") == "x = 1"
    assert extract.code_block("```\nx\ny\n```") == "x\ny" and extract.code_block("```py\nx = 1") == "x = 1"
    assert extract.code_block("x = 1") is None and extract.code_block("") is None


@pytest.mark.parametrize(
    "text", ["{" * 5000 + "\\boxed{" * 500, "1" * 20000, "1,1" * 5000, "-" * 20000 + "1", "1 234 " * 4000, "$ " * 9000]
)
def test_long_answers_take_no_time(text):
    extract.numeric_answer(text, "et")
    extract.choice(text, "AB")
    extract.code_block(text)
