"""Answers out of generated text: a number, a letter, a block of code.

In: the text, the language whose number forms it uses. Out: the answer, or None where the text holds none. Pure; standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

SPACES = "\u00a0\u2009\u202f"  # no-break, thin, narrow no-break
# A sign only where nothing countable stands before it (not the second half of a range); groups of three after spaces; marks between digits.
_NUMBER = r"(?<![\w.,])[-−–+]?(?:[$€£]\s?)?[-−]?(?:\d{{1,3}}(?:[{spaces}]\d{{3}})+(?!\d)|\d+)(?:[.,]\d+)*|(?<![\w.,])[-−]?[.,]\d+"
_AFTER_DIGIT = r"(?<=\d[-–/])\d+(?:[.,]\d+)*"  # the second number of 3-5 and 3/5
NUMBERS = {
    language: re.compile(f"{_NUMBER.format(spaces=spaces)}|{_AFTER_DIGIT}")
    for language, spaces in (("en", SPACES), ("et", " " + SPACES))
}
COMMA_IS_DECIMAL = {"et"}  # and in most of Europe; English counts thousands with it


def number(text: str, language: str = "en") -> Decimal | None:
    """The number a string is, or None: `1,234.5` in English, `1 234,5` in Estonian, currency and percent signs left out.

    Where both marks stand in it the last one is the decimal mark, and a mark that stands twice counts thousands, in any language.
    A single comma is the language's: three thousandths less than two in Estonian `1,997`, almost two thousand in English.
    """
    bare = re.sub(rf"[\s{SPACES}$€£%]|EUR|USD", "", text).replace("−", "-").replace("–", "-").removeprefix("+").rstrip(".")
    if not re.fullmatch(r"-?(\d+([.,]\d+)*|[.,]\d+)", bare):
        return None
    commas, dots = bare.count(","), bare.count(".")
    if commas and dots:
        thousands, decimal = (".", ",") if bare.rfind(",") > bare.rfind(".") else (",", ".")
    elif commas + dots > 1:
        thousands, decimal = ("," if commas else "."), ""
    elif commas and language not in COMMA_IS_DECIMAL and re.fullmatch(r"-?\d{1,3},\d{3}", bare):
        thousands, decimal = ",", ""
    else:
        thousands, decimal = "", "," if commas else "."
    bare = bare.replace(thousands, "") if thousands else bare
    try:
        return Decimal(bare.replace(decimal, ".") if decimal else bare)
    except InvalidOperation:
        return None


def numbers(text: str, language: str = "en") -> list[Decimal]:
    """All numbers of a text, in order. A language without rules of its own has English ones but for the comma."""
    pattern = NUMBERS["et" if language in COMMA_IS_DECIMAL else "en"]
    return [n for match in pattern.finditer(text) if (n := number(match[0], language)) is not None]


def boxed(text: str) -> str | None:
    """What the last \\boxed{...} or \\fbox{...} of a text holds; braces inside are matched."""
    found = None
    for match in re.finditer(r"\\(?:boxed|fbox)\s*\{", text):
        depth, end = 1, match.end()
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        if not depth:
            found = text[match.end() : end - 1]
    return found


def numeric_answer(text: str, language: str = "en") -> Decimal | None:
    """The answer to an arithmetic problem: after the last `####`, else in the last \\boxed{}, else the last number of the text."""
    if "####" in text:
        return next(iter(numbers(text.rsplit("####", 1)[1], language)), None)
    if (inside := boxed(text)) is not None:
        return _latex_number(inside, language)
    return next(reversed(numbers(text, language)), None)


def _latex_number(text: str, language: str) -> Decimal | None:
    text = (
        re.sub(r"\\text\s*\{[^{}]*\}|\\[,;!: ]|\\\$|\\%|\{|\}(?!\{)", " ", re.sub(r"\{,\}", ",", text))
        if "frac" not in text
        else text
    )
    if match := re.search(r"(-?)\\[dt]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(-?\d+)\s*\}", text):
        return Decimal(match[1] + "1") * Decimal(match[2]) / Decimal(match[3]) if int(match[3]) else None
    return next(reversed(numbers(text, language)), None)


_ANSWER_IS = r"(?:answer|vastus)\b(?:\s+(?:is|on))?\s*[:=]?\s*"


def choice(text: str, letters: Sequence[str]) -> str | None:
    """The letter chosen in a generated answer: `Vastus on (B)`, `Answer: B`, else a text that opens with the letter alone."""
    either = "|".join(re.escape(letter) for letter in letters)
    named = re.findall(rf"(?i:{_ANSWER_IS})[*_\"'(\[]*({either})(?!\w)", text)
    if named:
        return str(named[-1])
    opening = re.match(rf"\s*[*_\"'(\[]*({either})(?:[*_\"')\].:]|\s*$|\s*\n)", text)
    return str(opening[1]) if opening else None


def code_block(text: str) -> str | None:
    """The first fenced block of a text; one that never closes runs to the end. None where there is no fence."""
    match = re.search(r"```[ \t]*[\w+-]*[ \t]*\n(.*?)(?:\n```|```|\Z)", text, re.DOTALL)
    return match[1] if match else None
