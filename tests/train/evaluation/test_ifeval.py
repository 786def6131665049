"""Verifiable instructions: a passing and a failing answer by hand for each of 25 kinds in both languages, and lm-eval's own checks."""

from __future__ import annotations

import json
import random
import sys
import types

import pytest

from curate.errors import CurateError
from train.evaluation import ifeval, ifeval_prompts, texts

LONG_ET = "Täna hommikul läksime metsa jalutama ja nägime kaugel põldude taga vana talu, kus elas kunagi minu vanaema"
LONG_EN = "This morning we went for a walk in the forest and saw an old farm behind the fields where my grandmother lived"

# kind: (parameters, right in English, wrong in English, right in Estonian, wrong in Estonian); parameters: one dict or (en, et)
CASES = {
    "keywords:existence": (
        ({"keywords": ["river", "bridge"]}, {"keywords": ["jõgi", "sild"]}),
        "A Bridge over the river.", "A bridge over the sea.", "Sild viib üle: JÕGI.", "Sild viib üle jõe.",
    ),
    "keywords:frequency": (
        ({"keyword": "rain", "frequency": 2, "relation": "at least"}, {"keyword": "vihm", "frequency": 3, "relation": "less than"}),
        "Rain, more rain.", "Rain.", "Vihm ja vihma.", "Vihm, vihma, vihmaga.",
    ),
    "keywords:forbidden_words": (
        ({"forbidden_words": ["rain"]}, {"forbidden_words": ["õun", "pirn"]}),
        "A train came.", "No RAIN today.", "Õunad on head.", "Üks ÕUN on hea.",
    ),
    "keywords:letter_frequency": (
        ({"letter": "t", "let_frequency": 3, "let_relation": "at least"}, {"letter": "õ", "let_frequency": 3, "let_relation": "less than"}),
        "Tattoo", "Tat", "Õnn ja võit", "Õnn, võit ja õ\u0303e: o\u0303".replace("õ\u0303", "õ"),
    ),
    "language:response_language": (
        ({"language": "en"}, {"language": "et"}), LONG_EN, LONG_ET, LONG_ET, LONG_EN,
    ),
    "length_constraints:number_sentences": (
        {"num_sentences": 3, "relation": "at least"},
        "One came. Two left! Who stayed?", "Mr. Smith came at 3.15 today. He left.",
        "Üks tuli. Teine läks! Kes jäi?", "Sündisin 24. veebruaril 1998. aastal. Nüüd olen suur.",
    ),
    "length_constraints:number_paragraphs": (
        {"num_paragraphs": 2}, "One\n***\nTwo", "One\n\nTwo", "Esimene\n\n***\n\nTeine\n***", "Üks *** kaks *** kolm",
    ),
    "length_constraints:number_words": (
        {"num_words": 4, "relation": "less than"}, "One, two - three!", "one two three four", "Kaks õuna: söö!", "Läks ta siis koju",
    ),
    "length_constraints:nth_paragraph_first_word": (
        ({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "hope"}, {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "õpetaja"}),
        "First.\n\nHope, they say, lasts.", "Hope.\n\nSecond.", "„Õpetaja“ tuli.\n\nLäks.", "Õpetajad tulid.\n\nLäksid.",
    ),
    "detectable_content:number_placeholders": (
        {"num_placeholders": 2}, "Dear [name], come to [place].", "Dear [name].", "Tere, [nimi], tule [koht].", "Tere, (nimi), tule [koht].",
    ),
    "detectable_content:postscript": (
        {"postscript_marker": "P.S."}, "Bye.\nP.S. Write!", "Bye. PS write!", "Head aega.\n\np. s. Kirjuta!", "Head aega. Laps.",
    ),
    "detectable_format:number_bullet_lists": (
        {"num_bullets": 2}, "List:\n* one\n* two", "* one\n* two\n- three", "Loend:\n- üks\n  - kaks", "* üks\n** kaks",
    ),
    "detectable_format:constrained_response": (
        {}, "My answer is maybe.", "Yes.", "Minu vastus on võib-olla.", "My answer is yes.",
    ),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2}, "*One* and *two*", "*One* and * *", "*Üks* ja **kaks**", "*Üks* ja kaks",
    ),
    "detectable_format:multiple_sections": (
        ({"section_spliter": "Section", "num_sections": 2}, {"section_spliter": "Peatükk", "num_sections": 2}),
        "Section 1\na\nSection 2\nb", "Section 1\na\nSection two\nb", "Peatükk 1\na\nPeatükk 2\nb", "1. peatükk\na\n2. peatükk\nb",
    ),
    "detectable_format:json_format": (
        {}, '```json\n{"a": [1]}\n```', "{'a': 1}", '{"õ": "ä"}', '{"õ": }',
    ),
    "detectable_format:title": (
        {}, "<<Snow>>\nIt fell.", "<Snow>\nIt fell.", "Siin: <<Lumi ja öö>>", "<< >>\nLumi",
    ),
    "combination:two_responses": (
        {}, "Yes.\n******\nNo.", "Yes.\n******\nYes.", "Jah.\n******\nEi.\n******", "Jah ***** Ei",
    ),
    "combination:repeat_prompt": (
        ({"prompt_to_repeat": "Write a poem."}, {"prompt_to_repeat": "Kirjuta luuletus öökullist."}),
        "Write a poem. Roses are red", "Sure! Write a poem.", "Kirjuta luuletus öökullist.\nÖö on pikk", "Luuletus öökullist:",
    ),
    "startend:end_checker": (
        ({"end_phrase": "I hope this helps."}, {"end_phrase": "Loodan, et sellest on abi."}),
        'Do it. I hope this helps."', "I hope this helps. Bye.", "Nii tee. LOODAN, et sellest on abi.", "Loodan, et sellest on abi. Kõike head!",
    ),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"}, "NATO and EU met", "NATO met", "ÜRO ja EÕ pidasid nõu", "Üro ja EÕ",
    ),
    "change_case:english_capital": ({}, LONG_EN.upper(), LONG_EN, LONG_ET.upper(), LONG_EN.upper()),
    "change_case:english_lowercase": ({}, LONG_EN.lower(), LONG_EN, LONG_ET.lower(), LONG_EN.lower()),
    "punctuation:no_comma": ({}, "Red; green and blue.", "Red, green.", "Punane ja 3.5 rohelist.", "3,5 rohelist."),
    "startend:quotation": ({}, '"All of it."', 'He said "no".', "„Kõik see.“", "„Kõik“ see."),
}  # fmt: skip


def test_all_25_kinds_have_cases():
    assert set(CASES) == set(ifeval.KINDS) == set(ifeval_prompts.PARAMETERS) and len(CASES) == 25


@pytest.mark.parametrize("kind", CASES)
def test_right_and_wrong_by_hand(kind):
    given, *answers = CASES[kind]
    en, et = given if isinstance(given, tuple) else (given, given)
    for language, parameters, right, wrong in (("en", en, *answers[:2]), ("et", et, *answers[2:])):
        assert ifeval.follows(right, [kind], [parameters], language)["strict"] == [True], (language, right)
        assert ifeval.follows(wrong, [kind], [parameters], language)["strict"] == [False], (language, wrong)


def test_strict_and_loose():
    wrapped = "Siin on vastus:\n**Kõik see.**\nKas soovid veel midagi?"
    end = [{"end_phrase": "Kõik see."}]
    assert ifeval.follows(wrapped, ["startend:end_checker"], end, "et") == {"strict": [False], "loose": [True]}
    assert ifeval.follows("", ["punctuation:no_comma"], [{}]) == {"strict": [False], "loose": [False]}
    both = ifeval.follows("Red, green", ["punctuation:no_comma", "detectable_format:title"], [{}, {}])
    assert both == {"strict": [False, False], "loose": [False, False]}
    assert ifeval.variants("a\n*b*\nc") == ["a\n*b*\nc", "*b*\nc", "a\n*b*", "*b*", "a\nb\nc", "b\nc", "a\nb", "b"]


def test_rows_of_the_hub_carry_nulls():
    given = dict.fromkeys(("num_words", "relation", "keywords", "letter"), None) | {"num_words": 3, "relation": "less than"}
    assert ifeval.follows("one two", ["length_constraints:number_words"], [given])["strict"] == [True]
    with pytest.raises(CurateError, match="needs num_words, relation"):
        ifeval.follows("one", ["length_constraints:number_words"], [{"relation": "at least", "num_words": None}])
    with pytest.raises(CurateError, match="no kind of instruction"):
        ifeval.follows("one", ["length_constraints:number_word"], [{}])
    with pytest.raises(CurateError, match="no phrasings"):
        ifeval.follows("one", ["startend:quotation"], [{}], "fi")


def test_sentences_and_words():
    assert texts.n_sentences("Tere! Kuidas läheb, nt. täna? Hästi...") == 3
    assert texts.n_sentences("kõik on väike. ka see. ja see?") == 3  # no capitals at all: every full stop ends one
    assert texts.n_sentences("Pealkiri\n\nLause siin\n* punkt\n* teine") == 4
    assert texts.n_sentences("") == texts.n_sentences("...!?") == 0
    assert texts.spoken("Jah-ei, 3,5 km: „õe“ ...") == ["Jah", "ei", "3,5", "km", "õe"]


@pytest.fixture(scope="module")
def reference():
    """lm-eval's copy of Google's checks. Its language detector and its trained sentence splitter are not here: kinds that need them are
    left out below."""
    patched = {"langdetect": types.ModuleType("langdetect"), "immutabledict": types.ModuleType("immutabledict")}
    patched["immutabledict"].immutabledict = dict
    before = {name: sys.modules.get(name) for name in patched}
    nltk = pytest.importorskip("nltk", reason="veski[eval]")
    find, nltk.data.find = nltk.data.find, lambda *a, **k: True
    download, nltk.download = nltk.download, lambda *a, **k: True
    for name, module in patched.items():
        sys.modules.setdefault(name, module)
    try:
        from lm_eval.tasks.ifeval import instructions_registry
    except ImportError:
        pytest.skip("lm_eval is not installed: veski[eval]")
    finally:
        nltk.data.find, nltk.download = find, download
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
        for name in [name for name in sys.modules if name.startswith("lm_eval.tasks.ifeval")]:
            del sys.modules[name]  # another test may want it with the real libraries
    return instructions_registry.INSTRUCTION_DICT


NEEDS_MORE = {"language:response_language", "length_constraints:number_sentences", "change_case:english_capital",
              "change_case:english_lowercase", "change_case:capital_word_frequency"}  # fmt: skip
PIECES = (
    "river", "Bridge", "rain", ",", ".", "\n", "\n\n", "***", "******", "* one", "- two", "*high*", "**low**", "[name]", "<<Title>>", "Section 1",
    "Section 2", "P.S. more", "P.P.S. more", "My answer is yes.", '"', "```json", '{"a": 1}', "```", "I hope this helps.", "hope", "Part 3", 
    "Write it.", "ttt", "eee", " ", " ", "\n* ", "\n- ",
)  # fmt: skip


FEW = {  # for kinds that the many pieces seldom meet
    "length_constraints:nth_paragraph_first_word": ("hope", "Hope,", "'hope'", "\n\n", "\n\n", "\n", " rain"),
    "detectable_format:json_format": ("```json", '{"a": 1}', "```", "```", "\n", "[1]"),
    "detectable_format:multiple_sections": ("Section 1\n", "Section 2", "Section", "SECTION 3", "Part 1", "Part 2 ", "Part 3"),
    "detectable_content:number_placeholders": ("[name]", "[]", "[a\nb]", " ", "[x y]"),
    "length_constraints:number_paragraphs": ("***", "rain", "***\n", " ", "x ***"),
    "combination:two_responses": ("******", "rain", "river", "\n", "***"),
}


@pytest.mark.parametrize("kind", sorted(set(CASES) - NEEDS_MORE))
def test_english_equals_the_reference(reference, kind):
    draw = random.Random(kind)
    agreed = {True: 0, False: 0}
    for n in range(400):
        given = ifeval_prompts.PARAMETERS[kind](draw, "en", "Write it.")
        if kind.startswith("keywords"):
            given = {
                key: (["river", "rain"] if isinstance(value, list) else "rain" if key == "keyword" else value)
                for key, value in given.items()
            }
        if kind == "detectable_content:postscript":
            given = {"postscript_marker": "P.P.S" if n % 2 else "P.S."}  # as the rows of google/IFEval spell them
        if kind == "length_constraints:nth_paragraph_first_word":
            given |= {"first_word": "hope"}
        answer = "".join(draw.choices(FEW.get(kind, PIECES) if n % 2 else PIECES, k=draw.randint(1, 9)))
        if (kind == "combination:repeat_prompt" and n % 3 == 0) or (kind == "startend:quotation" and n % 3 == 0):
            answer = "write it. " + answer if kind.startswith("combination") else f'"{answer}"'
        theirs = reference[kind](kind)
        theirs.build_description(**given)
        ours = ifeval.follows(answer, [kind], [given], "en")["strict"][0]
        assert ours == bool(answer.strip() and theirs.check_following(answer)), (answer, given)
        agreed[ours] += 1
    assert min(agreed.values()) >= 4, agreed  # both outcomes were met


@pytest.mark.parametrize("language", ["et", "en"])
def test_generated_prompts(language):
    rows = ifeval_prompts.prompts(500, language, seed=3)
    assert rows == ifeval_prompts.prompts(500, language, seed=3) != ifeval_prompts.prompts(500, language, seed=4)
    kinds = [kind for row in rows for kind in row["instruction_id_list"]]
    assert set(kinds) == set(ifeval.KINDS) and len({row["prompt"] for row in rows}) > 350
    for kind in ifeval.KINDS:
        assert sum(kind in row["instruction_id_list"] for row in rows) >= 20  # 500 prompts begin with each of 25 kinds as often
    for row in rows:
        assert ifeval_prompts.go_together(row["instruction_id_list"]) and "{" not in row["prompt"]
        ifeval.follows("Mingi vastus.", row["instruction_id_list"], row["kwargs"], language)  # parameters are complete
        if "combination:repeat_prompt" in row["instruction_id_list"]:
            assert row["prompt"].startswith(row["kwargs"][0]["prompt_to_repeat"])
    if language == "et":
        assert all(texts.is_in(row["prompt"], "et") for row in rows if len(row["prompt"]) > 120)


def test_instructions_that_exclude_each_other():
    assert not ifeval_prompts.go_together(["keywords:existence", "keywords:forbidden_words"])
    assert not ifeval_prompts.go_together(["detectable_format:json_format", "startend:quotation"])
    assert not ifeval_prompts.go_together(["punctuation:no_comma", "punctuation:no_comma"])
    assert ifeval_prompts.go_together(["punctuation:no_comma", "detectable_format:title", "length_constraints:number_words"])
    with pytest.raises(CurateError, match="no phrasings"):
        ifeval_prompts.prompts(1, "fi")


def test_prompts_as_a_file(capsys):
    assert ifeval_prompts.main(["3", "et", "7"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == ifeval_prompts.prompts(3, "et", 7)
    assert ifeval_prompts.main(["three"]) == 2 and "N [LANGUAGE] [SEED]" in capsys.readouterr().err
