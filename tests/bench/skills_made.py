"""Conversations with functions, written for tests.bench.skills: a seed in, rows and held-out questions in Estonian and English out.

Four functions with one argument. Three kinds as in TUCAN (arXiv 2506.23394): a call is needed; it is not (small talk, or no function on offer
fits); the argument is missing and is asked for. Estonian says the argument in a case (Tartus, Marile) and the call must name it in the
nominative. Two or three values of each function never stand in what is trained on. Our own text.
"""

from __future__ import annotations

import json
import random
from typing import Any, NamedTuple

Row = dict[str, Any]


class Function(NamedTuple):
    argument: str
    values: dict[str, str]  # as a call names it -> as people say it
    asks: tuple[str, ...]  # {} is the value
    bare: tuple[str, ...]  # without it
    back: str  # what is asked back
    result: str
    answer: str


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("/") for pair in text.split())


TOWNS = _pairs(
    "Tartu/Tartus Tallinn/Tallinnas Narva/Narvas Pärnu/Pärnus Viljandi/Viljandis Rakvere/Rakveres Võru/Võrus Valga/Valgas Paide/Paides "
    "Haapsalu/Haapsalus Jõhvi/Jõhvis Põlva/Põlvas Elva/Elvas Keila/Keilas Tapa/Tapal Otepää/Otepääl Jõgeva/Jõgeval Rapla/Raplas "
    "Kärdla/Kärdlas Türi/Türil"
)
PEOPLE = _pairs(
    "Mari/Marile Jaan/Jaanile Kati/Katile Peeter/Peetrile Anna/Annale Toomas/Toomasele Liis/Liisile Mart/Mardile Ene/Enele Jüri/Jürile "
    "Kadri/Kadrile Andres/Andresele"
)
ROOMS = _pairs(
    "köök/köögis magamistuba/magamistoas elutuba/elutoas vannituba/vannitoas esik/esikus kelder/keldris garaaž/garaažis saun/saunas"
)
ROOMS_EN = ("kitchen", "bedroom", "living room", "bathroom", "hall", "cellar", "garage", "sauna")
UNSEEN = {"Pärnu", "Elva", "Otepää", "Kati", "Mart", "köök", "saun", "kitchen", "sauna"}
VALUES = {
    "et": {"city": TOWNS, "person": PEOPLE, "room": ROOMS},
    "en": {"city": {x: x for x in TOWNS}, "person": {x: x for x in PEOPLE}, "room": {x: x for x in ROOMS_EN}},
}
TABLE = {  # function | argument | two ways to ask | the same without it | asked back | result | answer
    "et": """
weather|city|Mis ilm on {}?|Milline ilm on täna {}?|Mis ilm on?|Milline ilm on täna?|Mis linnas?|päike|Seal on päike.
clock|city|Mis kell on {}?|Palju kell on {}?|Mis kell on?|Palju kell on?|Mis linnas?|12|Kell on 12.
ring|person|Helista {}.|Tee {} kõne.|Helista.|Tee kõne.|Kellele?|ok|Helistan.
light|room|Pane {} tuli põlema.|Süüta {} tuli.|Pane tuli põlema.|Süüta tuli.|Mis toas?|ok|Tuli põleb.""",
    "en": """
weather|city|What is the weather in {}?|How is the weather in {}?|What is the weather?|How is the weather?|In which city?|sun|It is sunny there.
clock|city|What time is it in {}?|Tell me the time in {}.|What time is it?|Tell me the time.|In which city?|12|It is 12.
ring|person|Call {}.|Please ring {}.|Make a call.|Please ring.|Whom?|ok|I am calling.
light|room|Turn on the light in the {}.|I need light in the {}.|Turn on the light.|I need light.|In which room?|ok|The light is on.""",
}


def _function(language: str, argument: str, *texts: str) -> Function:
    return Function(argument, VALUES[language][argument], texts[:2], texts[2:4], *texts[4:])


FUNCTIONS = {
    language: {line.split("|")[0]: _function(language, *line.split("|")[1:]) for line in table.split("\n")[1:]}
    for language, table in TABLE.items()
}
BEFORE = {"et": ("", "Tere! ", "Kuule! ", "Ole hea. ", "Noh. "), "en": ("", "Hello! ", "Listen! ", "Be so kind. ", "Well. ")}
TALK = {
    "et": "Kes sa oled?|Ma olen abiline.|Aitäh!|Palun!|Head ööd!|Head ööd!|Kuidas läheb?|Hästi.|Mis on kass?|Kass on loom.|Mulle meeldib jäätis."
    "|See on hea.|Ma olen väsinud.|Puhka natuke.|Kas sa oskad laulda?|Ei oska.",
    "en": "Who are you?|I am a helper.|Thank you!|You are welcome!|Good night!|Good night!|How are you?|I am fine.|What is a cat?"
    "|A cat is an animal.|I like ice cream.|That is good.|I am tired.|Rest a little.|Can you sing?|No, I can not.",
}
NONE = {"et": "Seda ma ei saa teha.", "en": "I can not do that."}


def tool(language: str, name: str) -> Row:
    argument = FUNCTIONS[language][name].argument
    schema = {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def everything(language: str, draw: random.Random) -> list[Row]:
    """Every question there is, with two functions on offer; `seen`: whether the value may be trained on."""
    rows = []
    for name, of in FUNCTIONS[language].items():
        others = [other for other in FUNCTIONS[language] if other != name]
        for before in BEFORE[language]:
            for ask in of.asks:
                for value, form in of.values.items():
                    question = before + ask.format(form)
                    call = {"name": name, "arguments": {of.argument: value}}
                    rows.append(
                        _row(
                            language,
                            "needed",
                            question,
                            [name, draw.choice(others)],
                            [call],
                            of.answer,
                            draw,
                            value not in UNSEEN,
                        )
                    )
                    if draw.random() < 0.25:  # neither function is of use
                        rows.append(
                            _row(
                                language,
                                "not_needed",
                                question,
                                draw.sample(others, 2),
                                [],
                                NONE[language],
                                draw,
                                value not in UNSEEN,
                            )
                        )
            rows += [_row(language, "missing", before + bare, [name, draw.choice(others)], [], of.back, draw) for bare in of.bare]
    names, said = list(FUNCTIONS[language]), TALK[language].split("|")
    talk = list(zip(said[::2], said[1::2], strict=True))
    rows += [
        _row(language, "not_needed", before + asked, draw.sample(names, 2), [], answer, draw)
        for before in BEFORE[language]
        for asked, answer in talk
    ]
    return rows


def _row(
    language: str,
    kind: str,
    question: str,
    names: list[str],
    calls: list[Row],
    answer: str,
    draw: random.Random,
    seen: bool = True,
) -> Row:
    draw.shuffle(names)
    return {"language": language, "kind": kind, "question": question, "tools": [tool(language, name) for name in names], "calls": calls,
            "answer": answer, "seen": seen}  # fmt: skip


def conversation(row: Row) -> Row:
    """As a source of conversations has it; what a function returns stands between its call and the answer."""
    said: list[Row] = [{"role": "user", "content": row["question"]}]
    for call in row["calls"]:
        given = json.dumps(call["arguments"], ensure_ascii=False)
        said.append(
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"type": "function", "function": {"name": call["name"], "arguments": given}}],
            }
        )
        said.append({"role": "tool", "content": FUNCTIONS[row["language"]][call["name"]].result})
    return {"kind": row["kind"], "tools": row["tools"], "messages": [*said, {"role": "assistant", "content": row["answer"]}]}


def made(language: str, seed: int, each: int) -> tuple[list[Row], list[Row]]:
    """(conversations to train on, held-out questions: `each` of a kind; of those that need a call half have a value that is in no training row)."""
    draw = random.Random(f"{seed} {language}")
    rows = everything(language, draw)
    draw.shuffle(rows)
    held: list[Row] = []
    for kind in ("needed", "not_needed", "missing"):
        for seen, n in ((False, each // 2), (True, each - each // 2)) if kind == "needed" else ((True, each),):
            held += [row for row in rows if (row["kind"], row["seen"]) == (kind, seen)][:n]
    asked = {(row["question"], row["kind"]) for row in held}
    return [conversation(row) for row in rows if row["seen"] and (row["question"], row["kind"]) not in asked], held
