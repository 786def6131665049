"""Instructions that a program can verify: the 25 kinds of IFEval (Zhou et al. 2023, arXiv 2311.07911), in English and Estonian.

In: the answer, the kinds and parameters of its prompt (`instruction_id_list` and `kwargs` of google/IFEval rows), the language asked for.
Out: which instructions were followed, strictly and loosely. Kinds and parameters are IFEval's; words, sentences and languages are those of
texts.py, so that õäöü count as letters and a declined word as a word. Pure. Imports errors and texts.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from curate.errors import CurateError, nearest
from train.evaluation import texts

# What a language says for the parts of an answer that IFEval fixes in English.
FIXED = {
    "en": {"options": ("My answer is yes.", "My answer is no.", "My answer is maybe.")},
    "et": {"options": ("Minu vastus on jah.", "Minu vastus on ei.", "Minu vastus on võib-olla.")},
}
RELATIONS = {"less than": "less than", "at least": "at least", "vähem kui": "less than", "vähemalt": "at least"}


def check(row: Mapping[str, Any], answer: str, language: str = "en") -> dict[str, list[bool]]:
    """`follows` for a row of google/IFEval or of ifeval_prompts, which may name its own language."""
    return follows(answer, row["instruction_id_list"], row["kwargs"], str(row.get("language") or language))


def follows(
    answer: str, kinds: Sequence[str], parameters: Sequence[Mapping[str, Any]], language: str = "en"
) -> dict[str, list[bool]]:
    """{strict, loose}: a truth per instruction. An empty answer follows none; loosely it is enough that one of `variants` does."""
    checks = [_checked(kind, given, language) for kind, given in zip(kinds, parameters, strict=True)]
    of_answer = [unicodedata.normalize("NFC", text) for text in variants(answer)]
    return {
        "strict": [bool(of_answer[0].strip()) and check(of_answer[0]) for check in checks],
        "loose": [any(text.strip() and check(text) for text in of_answer) for check in checks],
    }


def variants(answer: str) -> list[str]:
    """The answer and what is left without its asterisks, its first, its last line, in all combinations (the paper's section 2.2)."""
    lines = answer.split("\n")
    cut = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cut, *(text.replace("*", "") for text in cut)]


def _checked(kind: str, given: Mapping[str, Any], language: str) -> Callable[[str], bool]:
    if kind not in KINDS:
        raise CurateError(f"no kind of instruction {kind!r}", allowed=", ".join(nearest(kind, KINDS) or sorted(KINDS)))
    check, wanted = KINDS[kind]
    # Rows of the hub carry every parameter of every kind, nulls where it is another kind's.
    named = {key: value for key, value in given.items() if value is not None}
    if missing := [key for key in wanted if key not in named]:
        raise CurateError(f"{kind} needs {', '.join(wanted)}", found=f"no {missing[0]}")
    return lambda answer: bool(check(answer, language, **{key: named[key] for key in wanted}))


def _compare(n: int, relation: str, limit: int) -> bool:
    if relation not in RELATIONS:
        raise CurateError(f"no relation {relation!r}", allowed=", ".join(RELATIONS))
    return n < limit if RELATIONS[relation] == "less than" else n >= limit


def _same(text: str) -> str:
    return unicodedata.normalize("NFC", text).lower()


# ---- keywords: parts of words count (an Estonian word is found in its longer forms), forbidden words are whole, as in the reference


def _existence(answer: str, _: str, keywords: Sequence[str]) -> bool:
    return all(_same(word) in answer.lower() for word in keywords)


def _frequency(answer: str, _: str, keyword: str, frequency: int, relation: str) -> bool:
    return _compare(answer.lower().count(_same(keyword.strip())), relation, frequency)


def _forbidden(answer: str, _: str, forbidden_words: Sequence[str]) -> bool:
    return not any(re.search(rf"\b{re.escape(_same(word))}\b", answer.lower()) for word in forbidden_words)


def _letters(answer: str, _: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    return _compare(answer.lower().count(_same(letter)), let_relation, let_frequency)


# ---- language, length


def _language(answer: str, _: str, language: str) -> bool:
    return texts.is_in(answer, language)


def _sentences(answer: str, _: str, num_sentences: int, relation: str) -> bool:
    return _compare(texts.n_sentences(answer), relation, num_sentences)


def _words(answer: str, _: str, num_words: int, relation: str) -> bool:
    return _compare(len(texts.spoken(answer)), relation, num_words)


def _paragraphs(answer: str, _: str, num_paragraphs: int) -> bool:
    """Parts between *** dividers; an empty one is allowed at the ends only."""
    parts = re.split(r"\s?\*\*\*\s?", answer)
    return all(part.strip() for part in parts[1:-1]) and sum(bool(part.strip()) for part in parts) == num_paragraphs


def _nth_paragraph(answer: str, _: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Parts between empty lines, and the word one of them begins with."""
    parts = answer.split("\n\n")
    if (
        sum(bool(part.strip()) for part in parts) != num_paragraphs
        or nth_paragraph > len(parts)
        or not parts[nth_paragraph - 1].strip()
    ):
        return False
    word = parts[nth_paragraph - 1].split()[0].lstrip("'\"„“”«»*_")
    return re.split(r"[.,?!'\"“”»:;*_]", word.lower())[0] == _same(first_word)


# ---- content and format


def _placeholders(answer: str, _: str, num_placeholders: int) -> bool:
    return len(re.findall(r"\[.*?\]", answer)) >= num_placeholders


def _postscript(answer: str, _: str, postscript_marker: str) -> bool:
    """The marker anywhere; between its letters a space may stand (P. S.)."""
    marker = _same(postscript_marker.strip())
    letters = r"\.\s?".join(re.escape(part) for part in marker.split(".") if part)
    return re.search(letters + (r"\." if marker.endswith(".") else ""), answer.lower()) is not None


def _bullets(answer: str, _: str, num_bullets: int) -> bool:
    return (
        len(re.findall(r"^\s*\*[^\*].*$", answer, re.MULTILINE)) + len(re.findall(r"^\s*-.*$", answer, re.MULTILINE))
        == num_bullets
    )


def _constrained(answer: str, language: str) -> bool:
    return any(option in answer for option in FIXED[_known(language)]["options"])


def _highlights(answer: str, _: str, num_highlights: int) -> bool:
    single = re.findall(r"\*[^\n\*]*\*", answer)
    double = re.findall(r"\*\*[^\n\*]*\*\*", answer)
    return sum(bool(part.strip("*").strip()) for part in single + double) >= num_highlights


def _sections(answer: str, _: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"\s?{re.escape(section_spliter.strip())}\s?\d+\s?", answer)) >= num_sections


def _json(answer: str, _: str) -> bool:
    bare = re.sub(r"^```(?:json|Json|JSON)?|```$", "", answer.strip()).strip()
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True


def _title(answer: str, _: str) -> bool:
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", answer))


# ---- combinations, ends, letter case, punctuation


def _two_responses(answer: str, _: str) -> bool:
    parts = answer.split("******")
    said = [part.strip() for part in parts if part.strip()]
    return all(part.strip() for part in parts[1:-1]) and len(said) == 2 and said[0] != said[1]


def _repeat(answer: str, _: str, prompt_to_repeat: str) -> bool:
    return answer.strip().lower().startswith(_same(prompt_to_repeat.strip()))


def _end(answer: str, _: str, end_phrase: str) -> bool:
    return answer.strip().strip('"“”„').lower().endswith(_same(end_phrase.strip()))


def _capital_words(answer: str, _: str, capital_frequency: int, capital_relation: str) -> bool:
    return _compare(sum(word.isupper() for word in texts.words(answer)), capital_relation, capital_frequency)


def _capitals(answer: str, language: str) -> bool:
    return answer.isupper() and texts.is_in(answer, language)


def _lowercase(answer: str, language: str) -> bool:
    return answer.islower() and texts.is_in(answer, language)


def _no_comma(answer: str, _: str) -> bool:
    return "," not in answer


QUOTES = {"en": ('""',), "et": ('""', "„“", "„”")}  # „ “ are the quotation marks of Estonian


def _quotation(answer: str, language: str) -> bool:
    bare = answer.strip()
    return len(bare) > 1 and bare[0] + bare[-1] in QUOTES[_known(language)]


def _known(language: str) -> str:
    if language not in FIXED:
        raise CurateError(f"no phrasings of verifiable instructions in {language!r}", allowed=", ".join(FIXED))
    return language


# Kind -> its check and the parameters it takes. `english_capital` and `english_lowercase` mean the language of the prompt.
KINDS: dict[str, tuple[Callable[..., bool], tuple[str, ...]]] = {
    "keywords:existence": (_existence, ("keywords",)),
    "keywords:frequency": (_frequency, ("keyword", "frequency", "relation")),
    "keywords:forbidden_words": (_forbidden, ("forbidden_words",)),
    "keywords:letter_frequency": (_letters, ("letter", "let_frequency", "let_relation")),
    "language:response_language": (_language, ("language",)),
    "length_constraints:number_sentences": (_sentences, ("num_sentences", "relation")),
    "length_constraints:number_paragraphs": (_paragraphs, ("num_paragraphs",)),
    "length_constraints:number_words": (_words, ("num_words", "relation")),
    "length_constraints:nth_paragraph_first_word": (_nth_paragraph, ("num_paragraphs", "nth_paragraph", "first_word")),
    "detectable_content:number_placeholders": (_placeholders, ("num_placeholders",)),
    "detectable_content:postscript": (_postscript, ("postscript_marker",)),
    "detectable_format:number_bullet_lists": (_bullets, ("num_bullets",)),
    "detectable_format:constrained_response": (_constrained, ()),
    "detectable_format:number_highlighted_sections": (_highlights, ("num_highlights",)),
    "detectable_format:multiple_sections": (_sections, ("section_spliter", "num_sections")),
    "detectable_format:json_format": (_json, ()),
    "detectable_format:title": (_title, ()),
    "combination:two_responses": (_two_responses, ()),
    "combination:repeat_prompt": (_repeat, ("prompt_to_repeat",)),
    "startend:end_checker": (_end, ("end_phrase",)),
    "change_case:capital_word_frequency": (_capital_words, ("capital_frequency", "capital_relation")),
    "change_case:english_capital": (_capitals, ()),
    "change_case:english_lowercase": (_lowercase, ()),
    "punctuation:no_comma": (_no_comma, ()),
    "startend:quotation": (_quotation, ()),
}
