"""A labelled set for decontamination: real documents with evaluation items in them, and documents that only look alike.

In: the folder of real data and a seed. Out: `Case`s. Nothing of the evaluation files is used but to plant it. Light edits change a
twentieth to a tenth of an item's words (one at least), all its numbers, or lose its case, punctuation, marks or line breaks.
"""

from __future__ import annotations

import functools
import json
import random
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import zstandard

SETS = {
    "estqa": "estqa-train-v1.0", "gsm8k": "gsm8k_test_a", "humaneval": "humaneval", "lambada": "lambada_test_a", "xcopa": "xcopa_et_test",
}  # fmt: skip
EDITS = ("typos", "words", "numbers", "stripped", "white_space")
CARRIERS = {
    "et": ("et_text/ud_ewt_train_2022", "et_text/aa_magazine", "et_text/wiki_et_versions", "et_text/ud_edt_dev"),
    "en": ("en_text/18f_posts", "en_text/wikitext2_valid", "en_text/inaugural"),
    "code": ("code/code_files",),
}
CARRIER_CHARS = 6000


class Case(NamedTuple):
    """One document. `label`: verbatim, light or reworded for documents with an item in them, else what kind of look-alike it is."""

    text: str
    label: str
    edit: str  # which one, "" for none
    eval_set: str  # of the planted item; "" for look-alikes
    item: str
    question: str  # items that share it are found as well as the planted one

    @property
    def is_contaminated(self) -> bool:
        return self.label in ("verbatim", "light", "reworded")


@functools.cache
def rows(data: Path, name: str) -> list[dict]:
    with zstandard.open(data / f"{name}.jsonl.zst", "rb") as file:
        return [json.loads(line) for line in file.read().split(b"\n") if line]


def patterns(data: Path, *sets: str) -> list[str]:
    """`against:` of the sets (all by default)."""
    return [str(data / "eval" / f"{SETS[name]}.jsonl.zst") for name in sets or SETS]


def planted(data: Path, seed: int, n: int) -> Iterator[Case]:
    """For every set n items verbatim and n lightly edited, each in a document of its kind."""
    rng = random.Random(seed)
    carriers = {kind: [r["text"] for name in names for r in rows(data, name)] for kind, names in CARRIERS.items()}
    for name, file in SETS.items():
        items = rows(data, f"eval/{file}")
        kind = {"estqa": "et", "xcopa": "et", "humaneval": "code"}.get(name, "en")
        vocabulary = sorted({w for t in rng.sample(carriers[kind], 20) for w in t.split() if w.isalpha()})
        for label in ("verbatim", "light"):
            for number, item in enumerate(rng.sample(items, min(n, len(items)))):
                parts, question = _parts(name, item), _question(name, item)
                edit = EDITS[number % len(EDITS)] if label == "light" else ""
                if edit == "numbers" and not any(re.search(r"\d", text) for text in parts.values()):
                    edit = "words"
                if edit:
                    parts = _edited(parts, edit, rng, vocabulary)
                shown = _rendered(name, parts, rng)
                yield Case(
                    _inside(rng.choice(carriers[kind]), shown, rng), label, edit, SETS[name], _id(name, item, items), question
                )


def reworded(data: Path, seed: int, n: int) -> Iterator[Case]:
    """Rows of the Socratic GSM8K, whole, and their answers alone: to be found against the plain one."""
    rng = random.Random(seed)
    carriers = [r["text"] for r in rows(data, "en_text/18f_posts")]
    for item in rng.sample(rows(data, "eval/gsm8k_test_socratic_a"), n):
        for edit, text in (("whole", f"{item['question']}\n{item['answer']}"), ("answer alone", item["answer"])):
            plain = item["id"].replace("test_socratic", "test")
            yield Case(_inside(rng.choice(carriers), text, rng), "reworded", edit, SETS["gsm8k"], plain, item["question"])


def look_alikes(data: Path, seed: int, n: int) -> Iterator[Case]:
    """Hard negatives: whatever shares words with items and is none. Up to n of each kind."""
    rng = random.Random(seed)

    def some(kind: str, texts: list[str]) -> Iterator[Case]:
        for text in rng.sample(texts, min(n, len(texts))):
            yield Case(text, kind, "", "", "", "")

    et, en = ([r["text"] for name in CARRIERS[kind] for r in rows(data, name)] for kind in ("et", "en"))
    yield from some("gsm8k_train", [r["text"] for r in rows(data, "math/gsm8k_train")])
    yield from some("formulae", [r["text"] for f in ("hott_book_tex", "latexml_pairs", "wikipedia_math_page") for r in rows(data, f"math/{f}")
                                 if r.get("text")])  # fmt: skip
    yield from some("code", [r["text"] for r in rows(data, "code/code_files")])
    yield from some(
        "code_alpaca", [f"{r['instruction']}\n{r['input']}\n{r['output']}" for r in rows(data, "instruct/code_alpaca_2k")]
    )
    yield from some("t0_templates", [_any_text(r) for r in rows(data, "instruct/t0_templates")])
    yield from some("alpaca_est", [_any_text(r) for r in rows(data, "instruct/alpaca_est_seed")])
    yield from some("laws", [r["text"] for r in rows(data, "et_text/laws")])
    yield from some("directives", [r["text"] for r in rows(data, "et_text/eurlex_directive_titles")])
    yield from some(
        "tatoeba", ["\n".join(_any_text(r) for r in rng.sample(rows(data, "parallel/tatoeba_et_en"), 40)) for _ in range(n // 4)]
    )
    yield from some("clean_et", et)
    yield from some("clean_en", en)
    for name, kind in (("lambada", en), ("gsm8k", en), ("estqa", et)):  # a part of an item, quoted
        for item in rng.sample(rows(data, f"eval/{SETS[name]}"), n // 2):
            words = (item["text"] if name == "lambada" else _question(name, item) if name == "gsm8k" else item["text"]).split()
            size = max(5, int(len(words) * rng.uniform(0.15, 0.4)))
            at = rng.randrange(len(words) - size + 1)
            yield Case(_inside(rng.choice(kind), " ".join(words[at : at + size]), rng), f"quotation_{name}", "", "", "", "")
    copa = rows(data, f"eval/{SETS['xcopa']}")
    for _ in range(n):  # a premise without its choices, choices without their premise, a premise with another's choices
        a, b = rng.sample(copa, 2)
        texts = [a["premise"], f"{a['choice1']} {a['choice2']}", f"{a['premise']} {b['choice1']} {b['choice2']}"]
        yield Case(_inside(rng.choice(et), rng.choice(texts), rng), "xcopa_parts", "", "", "", "")
    estqa = rows(data, f"eval/{SETS['estqa']}")
    for _ in range(n):  # a question about something else, an answer alone
        item = rng.choice(estqa)
        words = _question("estqa", item).split()
        for place in sorted(range(1, len(words)), key=lambda i: -len(words[i]))[:2]:
            words[place] = max(rng.choice(et).split()[:50], key=len)
        text = rng.choice([" ".join(words), item["meta"]["answers"]["text"][0]])
        yield Case(_inside(rng.choice(et), text, rng), "estqa_alike", "", "", "", "")


def passages(data: Path, seed: int, n: int) -> Iterator[Case]:
    """Passages of EstQA without their questions, as they stand in Wikipedia: reported, not dropped."""
    rng = random.Random(seed)
    et = [r["text"] for name in CARRIERS["et"] for r in rows(data, name)]
    for item in rng.sample(rows(data, f"eval/{SETS['estqa']}"), n):
        yield Case(_inside(rng.choice(et), item["text"], rng), "passage", "", SETS["estqa"], item["id"], _question("estqa", item))


def _any_text(row: dict) -> str:
    """All texts of a row that is no running text."""
    found = [row[name] for name in ("text", "instruction", "input", "output", "prompt", "completion", "et", "en", "source", "target")
             if isinstance(row.get(name), str) and row.get(name)]  # fmt: skip
    found += [f"{i.get('input', '')}\n{i.get('output', '')}" for i in row.get("instances") or []]
    return "\n".join(found) or json.dumps(row, ensure_ascii=False)


def _id(name: str, item: dict, items: list[dict]) -> str:
    if name == "humaneval":
        return item["task_id"]
    return str(item["idx"]) if name == "xcopa" else item["id"]


def _question(name: str, item: dict) -> str:
    return {"estqa": lambda: item["meta"]["question"], "gsm8k": lambda: item["question"], "humaneval": lambda: item["prompt"],
            "lambada": lambda: item["text"], "xcopa": lambda: item["premise"]}[name]()  # fmt: skip


def _parts(name: str, item: dict) -> dict[str, str]:
    if name == "estqa":
        return {"passage": item["text"], "question": item["meta"]["question"], "answer": item["meta"]["answers"]["text"][0]}
    if name == "gsm8k":
        return {"question": item["question"], "answer": item["answer"]}
    if name == "humaneval":
        return {"question": item["prompt"], "answer": item["canonical_solution"]}
    if name == "lambada":
        return {"question": item["text"]}
    return {
        "question": item["premise"],
        "choice1": item["choice1"],
        "choice2": item["choice2"],
        "right": f"choice{item['label'] + 1}",
    }


def _rendered(name: str, parts: dict[str, str], rng: random.Random) -> str:
    """An item as it stands on pages: in a list of questions, as its data set's own line, as an exercise."""
    q, a = parts["question"], parts.get("answer", "")
    if name == "lambada":
        return q
    if name == "humaneval":
        return rng.choice([q + a, q, f"# task\n{q}\n\n# solution\n{a}"])
    if name == "gsm8k":
        return rng.choice(
            [f"{q}\n{a}", f"Question: {q}\nAnswer: {a}", q, json.dumps({"question": q, "answer": a}, ensure_ascii=False)]
        )
    if name == "estqa":
        p = parts["passage"]
        row = {"context": p, "question": q, "answers": {"text": [a]}}
        return rng.choice([f"{p}\n\nKüsimus: {q}\nVastus: {a}", f"{q}\n{a}", f"Küsimus: {q} Vastus: {a}.", f"{p}\n{q}",
                           json.dumps(row, ensure_ascii=False)])  # fmt: skip
    one, two = parts["choice1"], parts["choice2"]
    row = {"premise": q, "choice1": one, "choice2": two, "question": "cause", "label": 0}
    return rng.choice([f"{q} Mis oli põhjus?\n1) {one}\n2) {two}", f"{q}\nA. {one}\nB. {two}\nÕige: {parts[parts['right']]}",
                       json.dumps(row, ensure_ascii=False), f"Eeldus: {q}\nValikud: {one} / {two}"])  # fmt: skip


def _inside(carrier: str, text: str, rng: random.Random) -> str:
    """`text` between two lines (or words, where there are no lines) of a piece of the carrier."""
    first = rng.randrange(max(1, len(carrier) - CARRIER_CHARS))
    piece = carrier[first : first + CARRIER_CHARS]
    breaks = [m.end() for m in re.finditer("\n", piece)] or [m.end() for m in re.finditer(" ", piece)] or [0]
    at = rng.choice(breaks)
    return f"{piece[:at]}\n{text}\n{piece[at:]}"


def _edited(parts: dict[str, str], edit: str, rng: random.Random, vocabulary: list[str]) -> dict[str, str]:
    texts = {name: text for name, text in parts.items() if name != "right"}
    if edit == "numbers":
        texts = {name: re.sub(r"\d+", lambda m: str(int(m[0]) + rng.randint(1, 9)), text) for name, text in texts.items()}
    elif edit == "stripped":
        texts = {name: _stripped(text) for name, text in texts.items()}
    elif edit == "white_space":
        texts = {
            name: re.sub(r"\s+", lambda m: rng.choice([" ", "  ", "\n", " \n ", "\t"]), text) for name, text in texts.items()
        }
    else:
        pieces = {name: re.split(r"(\s+)", text) for name, text in texts.items()}
        places = [(name, i) for name, found in pieces.items() for i, piece in enumerate(found) if any(c.isalnum() for c in piece)]
        for name, i in rng.sample(places, max(1, round(len(places) * rng.uniform(0.05, 0.10)))):
            word = pieces[name][i]
            pieces[name][i] = _typo(word, rng) if edit == "typos" else rng.choice(vocabulary)
        texts = {name: "".join(found) for name, found in pieces.items()}
    return {**parts, **texts}


def _stripped(text: str) -> str:
    bare = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return re.sub(r"[^\w\s]", "", bare.lower())


def _typo(word: str, rng: random.Random) -> str:
    at = [i for i, c in enumerate(word) if c.isalnum()]
    i = rng.choice(at)
    kind = rng.choice(["swap", "leave out", "double"])
    if kind == "swap" and i + 1 < len(word) and word[i] != word[i + 1]:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    return word[:i] + word[i + 1 :] if kind == "leave out" and len(at) > 1 else word[:i] + word[i] + word[i:]
