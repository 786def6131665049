"""Conversations made from tables: Estonian word forms, sums, units and opposites. A random source in, (language, messages) out.

The forms are written out, not derived. Imports nothing of veski.
"""

from __future__ import annotations

import random

Talk = tuple[str, list[dict[str, str]]]

# nominative, genitive, partitive, partitive plural, an example
WORDS = [
    ("jõgi", "jõe", "jõge", "jõgesid", "Kevadel ei tohi jõge ületada nõrgal jääl."),
    ("käsi", "käe", "kätt", "käsi", "Laps hoidis vanaema kätt."),
    ("mägi", "mäe", "mäge", "mägesid", "Meie kandis ei ole ühtegi kõrget mäge."),
    ("uni", "une", "und", "unesid", "Nägin öösel imelikku und."),
    ("keel", "keele", "keelt", "keeli", "Ta oskab kolme keelt."),
    ("raamat", "raamatu", "raamatut", "raamatuid", "Loen praegu head raamatut."),
    ("õun", "õuna", "õuna", "õunu", "Laps sööb õuna."),
    ("tuba", "toa", "tuba", "tube", "Koristasin laupäeval oma tuba."),
    ("sõber", "sõbra", "sõpra", "sõpru", "Kutsusin külla paar sõpra."),
    ("vesi", "vee", "vett", "vesi", "Palun too klaas vett."),
]
OPPOSITES = [
    ("lai", "kitsas", "Jõgi on siin lai, aga silla all läheb ta kitsaks."), ("julge", "arg", "Julge hakkab rääkima, arg jääb kuulama."),
    ("terav", "nüri", "Terava noaga on ohutum lõigata kui nüriga."), ("sage", "harv", "Sagedasest külalisest sai mõne aastaga harv."),
    ("tihe", "hõre", "Tihe mets lõppes ja algas hõre männik."), ("kare", "sile", "Kareda laua saab liivapaberiga siledaks."),
]  # fmt: skip
SHOPPING = [
    ("leib", "leiba", 2),
    ("juust", "juustu", 5),
    ("purk mett", "purki mett", 7),
    ("kott kartuleid", "kotti kartuleid", 4),
]
UNITS = [
    ("kilometres", "miles", 1.609344), ("kilograms", "pounds", 0.45359237), ("centimetres", "inches", 2.54), ("litres", "US gallons", 3.785411784),
]  # fmt: skip


def lessons(rng: random.Random) -> list[Talk]:
    return _forms() + _opposites() + _sums(rng) + _shopping(rng) + _units(rng)


def _talk(language: str, *turns: str, system: str = "") -> Talk:
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
    return language, messages


def _forms() -> list[Talk]:
    found = []
    for i, (nominative, genitive, partitive, plural, example) in enumerate(WORDS):
        first = (
            f"Kääna sõna „{nominative}“ kolmes esimeses käändes.",
            f"Mis on sõna „{nominative}“ omastav ja osastav?",
            f"Ma õpin eesti keelt. Kuidas muutub „{nominative}“?",
        )[i % 3]
        answer = f"Nimetav „{nominative}“, omastav „{genitive}“, osastav „{partitive}“."
        more = ["Ja mitmuse osastav?", f"„{plural}“."] if i % 2 else ["Palun ka üks näitelause osastavaga.", example]
        found.append(_talk("et", first, answer, *more, system="Oled eesti keele õpetaja." if i % 4 == 0 else ""))
    return found


def _opposites() -> list[Talk]:
    asks = ("Mis on sõna „{}“ vastand?", "Ütle „{}“ antonüüm ja kasuta mõlemat lauses.", "Otsin vastupidist sõna sõnale „{}“.")
    return [_talk("et", asks[i % 3].format(a), f"„{b.capitalize()}“. {example}") for i, (a, b, example) in enumerate(OPPOSITES)]


def _sums(rng: random.Random) -> list[Talk]:
    found = []
    for i in range(5):
        a, b = rng.randint(12, 48), rng.choice([6, 7, 8, 9, 12, 13, 14, 16, 17, 18, 19])
        if b > 10:
            steps = f"Ten times {a} is {a * 10}, {b - 10} times {a} is {a * (b - 10)}, and together that makes {a * b}."
        else:
            steps = f"Ten times {a} is {a * 10}. Take away {10 - b} times {a}, which is {a * (10 - b)}, and {a * b} remains."
        ask = (
            f"What is {a} times {b}?",
            f"Please multiply {a} by {b} and show the steps.",
            f"I need {a} × {b} without a calculator.",
        )[i % 3]
        found.append(_talk("en", ask, steps, *(("And half of that?", f"{a * b / 2:g}.") if i % 2 else ())))
    return found


def _shopping(rng: random.Random) -> list[Talk]:
    found = []
    for nominative, partitive, price in SHOPPING:
        n, note = rng.randint(3, 6), rng.choice([50, 100])
        ask = f"Üks {nominative} maksab {price} eurot. Ostan {n} {partitive} ja maksan {note}-eurosega. Kui palju saan tagasi?"
        due = n * price
        found.append(
            _talk("et", ask, f"Kokku maksab see {n} · {price} = {due} eurot. Tagasi saad {note} − {due} = {note - due} eurot.")
        )
    return found


def _units(rng: random.Random) -> list[Talk]:
    found = []
    for i, (metric, other, factor) in enumerate(UNITS):
        amount = rng.randint(3, 60)
        ask = (f"Convert {amount} {other} to {metric}.", f"How many {metric} are {amount} {other}?")[i % 2]
        total = amount * factor
        found.append(_talk("en", ask, f"Multiply the {other} by {factor:g}: {amount} {other} are about {total:.1f} {metric}."))
    return found
