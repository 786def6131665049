"""Writes sets of prompts with verifiable instructions in Estonian or English, so that no translated benchmark is needed.

In: how many, a language, a seed. Out: rows as google/IFEval has them (key, prompt, instruction_id_list, kwargs) and `language`. Same
arguments, same rows. A prompt is a task and one to three instructions that do not contradict each other. Pure. Imports ifeval and errors.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

from curate.errors import CurateError
from train.evaluation.ifeval import FIXED, KINDS

VERSION = 1  # tasks, phrasings and ranges; raise it when any of them changes

TASKS = {
    "et": (
        "Kirjuta lühike jutt vanast kalurist, kes elab Saaremaal.", "Selgita, kuidas valmistatakse leiba.",
        "Kirjelda oma lemmikkohta Eestis.", "Kirjuta kiri linnavalitsusele katkise tänavavalgustuse kohta.",
        "Võrdle elu linnas ja maal.", "Anna nõu, kuidas õppida võõrkeelt.", "Kirjuta luuletus esimesest lumest.",
        "Selgita, miks vahelduvad aastaajad.", "Kirjuta kutse naabrite suvepeole.", "Kirjelda, mida teha, kui eksid metsas ära.",
        "Kirjuta arvustus väljamõeldud filmist.", "Koosta nädala söögikava perele, kus on kaks last.",
        "Räägi, kuidas tähistatakse Eestis jaanipäeva.", "Kirjuta blogipostitus rattamatkast Lahemaal.",
        "Selgita kümneaastasele lapsele, mis on inflatsioon.", "Kirjuta tööpakkumine raamatukoguhoidjale.",
        "Kirjelda vana puumaja remonti.", "Kirjuta dialoog kahe sõbra vahel, kes kohtuvad üle aastate.",
        "Selgita, kuidas töötab tuulegeneraator.", "Kirjuta meeldetuletus üürnikele prügi sortimise kohta.",
        "Tutvusta mõnda Eesti rahvatantsu.", "Kirjuta muinasjutt rebasest ja jänesest.",
        "Kirjuta tänukiri õpetajale.", "Kirjelda tavalist päeva mesilasperes.", "Anna nõu, kuidas säästa kodus elektrit.",
    ),
    "en": (
        "Write a short story about an old fisherman who lives on an island.", "Explain how bread is made.",
        "Describe your favourite place in Estonia.", "Write a letter to the city council about a broken street light.",
        "Compare life in a city with life in the country.", "Give advice on how to learn a foreign language.",
        "Write a poem about the first snow.", "Explain why the seasons change.", "Write an invitation to a summer party for neighbours.",
        "Describe what to do when you are lost in a forest.", "Write a review of a film that does not exist.",
        "Make a weekly menu for a family with two children.", "Write a blog post about a bicycle trip.",
        "Explain inflation to a ten-year-old child.", "Write a job advertisement for a librarian.",
        "Write a dialogue between two friends who meet after many years.", "Explain how a wind turbine works.",
        "Write a letter of thanks to a teacher.", "Give advice on saving electricity.",
    ),
}  # fmt: skip
QUESTIONS = {  # for answers that are yes, no or maybe
    "et": ("Kas kool peaks algama hiljem kui kell kaheksa?", "Kas linnas on parem elada kui maal?", "Kas koer sobib väikesesse korterisse?",
           "Kas raamatud kaovad saja aasta pärast?", "Kas talvel on mõistlik rattaga tööl käia?"),
    "en": ("Should school begin later than eight o'clock?", "Is it better to live in a city than in the country?",
           "Is a small flat a good place for a dog?", "Will books be gone in a hundred years?", "Is cycling to work in winter sensible?"),
}  # fmt: skip
WORDS = {
    "et": ("mets", "hommik", "sild", "vihm", "raamat", "tänav", "õpetaja", "kodu", "jõgi", "küünal", "põld", "sõber", "aken", "lootus",
           "kevad", "püsivus", "mõte", "vanaema", "laev", "muusika"),
    "en": ("forest", "morning", "bridge", "rain", "book", "street", "teacher", "home", "river", "candle", "field", "friend", "window",
           "hope", "spring", "patience", "thought", "ship", "music", "garden"),
}  # fmt: skip
LETTERS = {"et": "aeiskltõäöüvmhp", "en": "abcdefghimnoprstuw"}
ENDINGS = {
    "et": ("Kas soovid veel midagi küsida?", "Loodan, et sellest on abi."),
    "en": ("Any other questions?", "I hope this helps."),
}
SECTIONS = {"et": ("Osa", "Peatükk"), "en": ("Section", "Part")}
LANGUAGES = {
    "et": {"en": "inglise", "fi": "soome", "de": "saksa", "lv": "läti", "ru": "vene"},
    "en": {"et": "Estonian", "fi": "Finnish", "de": "German", "lv": "Latvian", "ru": "Russian"},
}

Draw = random.Random
Drawn = dict[str, Any]


def _relation(draw: Draw) -> str:
    return draw.choice(("less than", "at least"))


# Parameters of every kind: (draw, language, task) -> kwargs.
PARAMETERS: dict[str, Callable[[Draw, str, str], Drawn]] = {
    "keywords:existence": lambda draw, lang, _: {"keywords": sorted(draw.sample(WORDS[lang], 2))},
    "keywords:frequency": lambda draw, lang, _: {"keyword": draw.choice(WORDS[lang]), "frequency": draw.randint(2, 4), "relation": _relation(draw)},
    "keywords:forbidden_words": lambda draw, lang, _: {"forbidden_words": sorted(draw.sample(WORDS[lang], 3))},
    "keywords:letter_frequency": lambda draw, lang, _: {
        "letter": draw.choice(LETTERS[lang]), "let_frequency": draw.randint(4, 15), "let_relation": _relation(draw)},
    "language:response_language": lambda draw, lang, _: {"language": draw.choice(sorted(LANGUAGES[lang]))},
    "length_constraints:number_sentences": lambda draw, *_: {"num_sentences": draw.randint(4, 12), "relation": _relation(draw)},
    "length_constraints:number_paragraphs": lambda draw, *_: {"num_paragraphs": draw.randint(2, 5)},
    "length_constraints:number_words": lambda draw, *_: {"num_words": draw.choice((40, 60, 80, 100, 150, 200)), "relation": _relation(draw)},
    "length_constraints:nth_paragraph_first_word": lambda draw, lang, _: (
        lambda n: {"num_paragraphs": n, "nth_paragraph": draw.randint(1, n), "first_word": draw.choice(WORDS[lang])})(draw.randint(2, 4)),
    "detectable_content:number_placeholders": lambda draw, *_: {"num_placeholders": draw.randint(2, 5)},
    "detectable_content:postscript": lambda draw, *_: {"postscript_marker": draw.choice(("P.S.", "P.P.S."))},
    "detectable_format:number_bullet_lists": lambda draw, *_: {"num_bullets": draw.randint(2, 6)},
    "detectable_format:constrained_response": lambda *_: {},
    "detectable_format:number_highlighted_sections": lambda draw, *_: {"num_highlights": draw.randint(2, 4)},
    "detectable_format:multiple_sections": lambda draw, lang, _: {
        "section_spliter": draw.choice(SECTIONS[lang]), "num_sections": draw.randint(2, 4)},
    "detectable_format:json_format": lambda *_: {},
    "detectable_format:title": lambda *_: {},
    "combination:two_responses": lambda *_: {},
    "combination:repeat_prompt": lambda _, __, task: {"prompt_to_repeat": task},
    "startend:end_checker": lambda draw, lang, _: {"end_phrase": draw.choice(ENDINGS[lang])},
    "change_case:capital_word_frequency": lambda draw, *_: {"capital_frequency": draw.randint(2, 6), "capital_relation": _relation(draw)},
    "change_case:english_capital": lambda *_: {},
    "change_case:english_lowercase": lambda *_: {},
    "punctuation:no_comma": lambda *_: {},
    "startend:quotation": lambda *_: {},
}  # fmt: skip

# How an instruction is said: str.format over its parameters; {relation} and the like in the words of the language.
PHRASES = {
    "et": {
        "keywords:existence": "Kasuta vastuses kindlasti sõnu {keywords}.",
        "keywords:frequency": "Sõna „{keyword}“ peab esinema vastuses {relation} {frequency} korda.",
        "keywords:forbidden_words": "Ära kasuta vastuses sõnu {forbidden_words}.",
        "keywords:letter_frequency": "Täht „{letter}“ peab esinema vastuses {let_relation} {let_frequency} korda.",
        "language:response_language": "Kogu vastus peab olema {language} keeles, muid keeli kasutada ei tohi.",
        "length_constraints:number_sentences": "Vastuses peab olema {relation} {num_sentences} lauset.",
        "length_constraints:number_paragraphs": "Vastuses peab olema {num_paragraphs} lõiku. Eralda lõigud Markdowni eraldajaga ***",
        "length_constraints:number_words": "Vastuses peab olema {relation} {num_words} sõna.",
        "length_constraints:nth_paragraph_first_word": "Vastuses peab olema {num_paragraphs} lõiku, mida eraldab tühi rida (kaks "
        "reavahetust) ja miski muu mitte. Lõik number {nth_paragraph} peab algama sõnaga „{first_word}“.",
        "detectable_content:number_placeholders": "Vastuses peab olema vähemalt {num_placeholders} kohatäidet nurksulgudes, näiteks [aadress].",
        "detectable_content:postscript": "Lisa vastuse lõppu järelkiri, mis algab märkega {postscript_marker}",
        "detectable_format:number_bullet_lists": "Vastuses peab olema täpselt {num_bullets} loendipunkti. Kasuta Markdowni loendit, näiteks:\n"
        "* See on esimene punkt.\n* See on teine punkt.",
        "detectable_format:constrained_response": "Vasta ühega järgmistest võimalustest: {options}",
        "detectable_format:number_highlighted_sections": "Tõsta vastuses Markdowniga esile vähemalt {num_highlights} kohta, näiteks "
        "*esiletõstetud koht*.",
        "detectable_format:multiple_sections": "Vastuses peab olema {num_sections} osa. Märgi iga osa algus nii: {section_spliter} X, näiteks:\n"
        "{section_spliter} 1\n[esimese osa sisu]\n{section_spliter} 2\n[teise osa sisu]",
        "detectable_format:json_format": "Kogu vastus peab olema JSON-vormingus. Võid kasutada Markdowni märke ```.",
        "detectable_format:title": "Vastusel peab olema pealkiri topeltnoolsulgudes, näiteks <<rõõmu luuletus>>.",
        "combination:two_responses": "Anna kaks erinevat vastust. Vastuseid ja ainult vastuseid eraldagu kuus tärni: ******.",
        "combination:repeat_prompt": "Korda kõigepealt eelnevat palvet sõna-sõnalt ja muutmata, alles siis vasta. Ära ütle enne palve "
        "kordamist midagi; käesolevat lauset korrata ei ole vaja.",
        "startend:end_checker": "Lõpeta vastus täpselt selle lausega: {end_phrase} Selle järel ei tohi olla ühtegi sõna.",
        "change_case:capital_word_frequency": "Läbiva suurtähega sõnu peab vastuses olema {capital_relation} {capital_frequency}.",
        "change_case:english_capital": "Kogu vastus peab olema eesti keeles ja läbivalt suurtähtedega.",
        "change_case:english_lowercase": "Kogu vastus peab olema eesti keeles ja läbivalt väiketähtedega. Suurtähti kasutada ei tohi.",
        "punctuation:no_comma": "Ära kasuta kogu vastuses ühtegi koma.",
        "startend:quotation": "Pane kogu vastus jutumärkidesse.",
    },
    "en": {
        "keywords:existence": "Include the words {keywords} in your answer.",
        "keywords:frequency": "The word {keyword} should appear {relation} {frequency} times in your answer.",
        "keywords:forbidden_words": "Do not use the words {forbidden_words} in your answer.",
        "keywords:letter_frequency": "The letter {letter} should appear {let_relation} {let_frequency} times in your answer.",
        "language:response_language": "Your entire answer should be in {language}, no other language is allowed.",
        "length_constraints:number_sentences": "Your answer should contain {relation} {num_sentences} sentences.",
        "length_constraints:number_paragraphs": "Your answer should have {num_paragraphs} paragraphs. Separate them with the markdown divider ***",
        "length_constraints:number_words": "Answer with {relation} {num_words} words.",
        "length_constraints:nth_paragraph_first_word": "There should be {num_paragraphs} paragraphs, separated by an empty line (two line "
        "breaks) and by nothing else. Paragraph {nth_paragraph} must start with the word {first_word}.",
        "detectable_content:number_placeholders": "Your answer must contain at least {num_placeholders} placeholders in square brackets, "
        "such as [address].",
        "detectable_content:postscript": "At the end of your answer add a postscript that starts with {postscript_marker}",
        "detectable_format:number_bullet_lists": "Your answer must contain exactly {num_bullets} bullet points. Use markdown, such as:\n"
        "* This is point 1.\n* This is point 2.",
        "detectable_format:constrained_response": "Answer with one of the following options: {options}",
        "detectable_format:number_highlighted_sections": "Highlight at least {num_highlights} places in your answer with markdown, such as "
        "*highlighted place*.",
        "detectable_format:multiple_sections": "Your answer must have {num_sections} sections. Mark the beginning of each with "
        "{section_spliter} X, such as:\n{section_spliter} 1\n[content of section 1]\n{section_spliter} 2\n[content of section 2]",
        "detectable_format:json_format": "The entire answer should be in JSON format. You can use markdown ticks such as ```.",
        "detectable_format:title": "Your answer must have a title in double angular brackets, such as <<poem of joy>>.",
        "combination:two_responses": "Give two different answers. The answers and only the answers should be separated by six asterisks: ******.",
        "combination:repeat_prompt": "First repeat the request above word for word without change, then answer. Do not say anything before "
        "repeating the request; this sentence is not part of it.",
        "startend:end_checker": "Finish your answer with exactly this sentence: {end_phrase} No other words should follow it.",
        "change_case:capital_word_frequency": "Words in all capital letters should appear {capital_relation} {capital_frequency} times.",
        "change_case:english_capital": "Your entire answer should be in English, and in all capital letters.",
        "change_case:english_lowercase": "Your entire answer should be in English, and in all lowercase letters. No capital letters are allowed.",
        "punctuation:no_comma": "Do not use any commas in your entire answer.",
        "startend:quotation": "Wrap your entire answer in double quotation marks.",
    },
}  # fmt: skip
RELATIONS = {"et": {"less than": "vähem kui", "at least": "vähemalt"}, "en": {"less than": "less than", "at least": "at least"}}

# Kinds that go with few others, and those they go with; all the rest go together but for the pairs below.
_ALONE = {
    "detectable_format:constrained_response": (),
    "detectable_format:json_format": ("keywords:existence", "keywords:forbidden_words"),
    "combination:two_responses": (
        "keywords:existence",
        "keywords:forbidden_words",
        "detectable_format:title",
        "punctuation:no_comma",
    ),
    "combination:repeat_prompt": ("keywords:existence", "detectable_format:title"),
    "language:response_language": (
        "length_constraints:number_sentences",
        "detectable_format:title",
        "detectable_content:number_placeholders",
    ),
    "startend:quotation": ("keywords:existence", "keywords:forbidden_words", "length_constraints:number_words"),
    "change_case:english_capital": ("keywords:forbidden_words", "punctuation:no_comma", "detectable_format:title"),
    "change_case:english_lowercase": ("keywords:forbidden_words", "keywords:existence", "detectable_format:number_bullet_lists"),
}
_APART = [
    {"keywords:existence", "keywords:frequency", "keywords:forbidden_words"},  # one may forbid what the other asks for
    {"length_constraints:number_sentences", "length_constraints:number_paragraphs", "length_constraints:number_words",
     "length_constraints:nth_paragraph_first_word", "detectable_format:multiple_sections", "detectable_format:number_bullet_lists",
     "keywords:letter_frequency"},
    {"startend:end_checker", "detectable_content:postscript"},
    {"detectable_format:number_highlighted_sections", "length_constraints:number_paragraphs", "detectable_format:number_bullet_lists"},
    {"change_case:capital_word_frequency", "change_case:english_capital", "detectable_content:postscript"},
    {"detectable_content:number_placeholders", "detectable_format:multiple_sections"},
]  # fmt: skip


def go_together(kinds: Sequence[str]) -> bool:
    """Whether one answer can follow all of these instructions, whatever their parameters."""
    if len(set(kinds)) < len(kinds):
        return False
    for kind in kinds:
        if kind in _ALONE and not set(kinds) - {kind} <= set(_ALONE[kind]):
            return False
    return not any(len(set(kinds) & apart) > 1 for apart in _APART)


def prompts(n: int, language: str = "et", seed: int = 0) -> list[Drawn]:
    """`n` rows. Every kind comes as often as the others as the first instruction of a prompt."""
    if language not in PHRASES:
        raise CurateError(f"no phrasings of verifiable instructions in {language!r}", allowed=", ".join(PHRASES))
    draw = random.Random(f"{VERSION} {language} {seed}")
    order: list[str] = []
    rows = []
    for key in range(n):
        if not order:
            order = draw.sample(sorted(KINDS), len(KINDS))
        kinds = _drawn(draw, order.pop())
        task = draw.choice((QUESTIONS if "detectable_format:constrained_response" in kinds else TASKS)[language])
        given = [PARAMETERS[kind](draw, language, task) for kind in kinds]
        said = [_said(kind, parameters, language) for kind, parameters in zip(kinds, given, strict=True)]
        rows.append(
            {
                "key": key,
                "prompt": "\n\n".join((task, *said)),
                "instruction_id_list": kinds,
                "kwargs": given,
                "language": language,
            }
        )
    return rows


def _drawn(draw: Draw, first: str) -> list[str]:
    """The first kind and up to two more that go with it."""
    kinds, wanted = [first], draw.choice((1, 1, 2, 3))
    for kind in draw.sample(sorted(KINDS), len(KINDS)):
        if len(kinds) < wanted and go_together([*kinds, kind]):
            kinds.append(kind)
    return sorted(kinds, key=lambda kind: kind != "combination:repeat_prompt")  # it speaks of the request right above


def _said(kind: str, given: Drawn, language: str) -> str:
    """The instruction in words; lists as the language lists them, relations and languages by their names."""
    quoted = "„{}“" if language == "et" else '"{}"'
    shown = {
        key: RELATIONS[language][value] if key.endswith("relation")
        else LANGUAGES[language][value] if key == "language"
        else ", ".join(quoted.format(word) for word in value) if isinstance(value, list) else value
        for key, value in given.items()
    }  # fmt: skip
    return PHRASES[language][kind].format(**shown, options=" / ".join(FIXED[language]["options"]))


def main(arguments: Sequence[str]) -> int:
    """python -m train.evaluation.ifeval_prompts N [LANGUAGE] [SEED]: JSON lines on standard output."""
    if not 1 <= len(arguments) <= 3 or not all(a.isdigit() for a in (arguments[0], *arguments[2:])):
        sys.stderr.write(f"{main.__doc__}\n")
        return 2
    language, seed = (*arguments[1:], *("et", "0")[len(arguments) - 1 :])
    for row in prompts(int(arguments[0]), language, int(seed)):
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
