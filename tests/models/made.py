"""Estonian that nobody wrote, for tests and benchmarks: word-for-word translations, wrong endings, adverts from a grammar.

All of it is synthetic and rough on purpose; it stands in for machine translation and spam where no real examples are at hand.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

TOKEN = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
_MARKUP = re.compile(r"[{}\[\]|<>=*`#_/\\@~^]|\d{5,}")


def sentences(text: str) -> list[str]:
    """Plain sentences of 4 to 50 words in one spelling of spaces and quotes; what looks like markup, a list or code is left out."""
    text = re.sub(r"[«»“”„]", '"', text)
    text = re.sub(r"[’‘]", "'", text)
    found = []
    for line in text.split("\n"):
        for raw in re.split(r"(?<=[.!?])\s+(?=[A-ZÕÄÖÜŠŽ\"])", line):
            one = re.sub(r"\s+([.,;:!?)])", r"\1", " ".join(raw.split()))
            one = re.sub(r'" ?([^"]*?) ?"', r'"\1"', re.sub(r"\(\s+", "(", one))
            n = len(one.split())
            if 4 <= n <= 50 and one[-1] in '.!?"' and one[0].isupper() and not _MARKUP.search(one):
                found.append(one)
    return found


def chunks(lines: Sequence[str], seed: int, low: int = 60, high: int = 100) -> list[str]:
    """Consecutive sentences joined to texts of about `low` to `high` words: one distribution of lengths for every source."""
    rng = random.Random(seed)
    found: list[str] = []
    held: list[str] = []
    n, want = 0, rng.randint(low, high)
    for line in lines:
        held.append(line)
        n += len(line.split())
        if n >= want:
            found.append(" ".join(held))
            held, n, want = [], 0, rng.randint(low, high)
    return found


class Dictionary:
    """Word-for-word English to Estonian: IBM model 1 (Brown et al. 1993) over sentence pairs, each word's likeliest partner."""

    def __init__(self, pairs: Sequence[tuple[str, str]], steps: int = 5) -> None:
        english: dict[str, int] = {"": 0}  # "": no partner
        estonian: dict[str, int] = {}
        e_at, f_at, where = [], [], []
        n_targets = 0
        for en, et in pairs:
            es = [0, *(english.setdefault(w, len(english)) for w in words(en))]
            for w in words(et):
                f = estonian.setdefault(w, len(estonian))
                e_at += es
                f_at += [f] * len(es)
                where += [n_targets] * len(es)
                n_targets += 1
        e, f, at = np.array(e_at), np.array(f_at), np.array(where)
        cells, cell = np.unique(e * len(estonian) + f, return_inverse=True)
        cell_e = cells // len(estonian)
        t = np.ones(len(cells))
        for _ in range(steps):
            share = t[cell]
            share /= np.bincount(at, share, n_targets)[at]
            count = np.bincount(cell, share, len(cells))
            t = count / np.bincount(cell_e, count, len(english))[cell_e]
        names_e, names_f = list(english), list(estonian)
        best: dict[str, tuple[float, str]] = {}
        for i, p in zip(cells.tolist(), t.tolist(), strict=True):
            name = names_e[i // len(estonian)]
            best[name] = max(best.get(name, (0.0, "")), (p, names_f[i % len(estonian)]))
        self.best = best

    def gloss(self, sentence: str) -> str | None:
        """The sentence word for word, in English order; None where over a tenth of its words are not known. Names stay."""
        out, unknown, n = [], 0, 0
        for i, token in enumerate(TOKEN.findall(sentence)):
            if not token[0].isalpha():
                out.append(token)
                continue
            n += 1
            p, found = self.best.get(token.lower(), (0.0, ""))
            if i and token[0].isupper() and token.lower() != "i":
                out.append(token)
            elif p >= 0.1:
                out.append(found)
            elif not found:
                unknown += 1  # a word of no certain partner (the, of) is dropped
        if n < 4 or unknown > 0.1 * n or len(out) < 4:
            return None
        line = " ".join(out)
        line = re.sub(r"\s+([.,;:!?)])", r"\1", re.sub(r"\(\s+", "(", line))
        return line[:1].upper() + line[1:]


def words(text: str) -> list[str]:
    return [token.lower() for token in TOKEN.findall(text) if token[0].isalpha()]


class WrongEndings:
    """Takes Estonian sentences and gives a share of their words another ending seen on the same beginning."""

    def __init__(self, lines: Sequence[str]) -> None:
        forms: defaultdict[str, set[str]] = defaultdict(set)
        for line in lines:
            for word in words(line):
                if len(word) >= 5:
                    forms[word[: max(4, len(word) - 3)]].add(word)
        self.forms = {stem: sorted(found) for stem, found in forms.items() if len(found) > 1}

    def spoil(self, line: str, rng: random.Random, share: float = 0.3, swaps: float = 0.1) -> str:
        """Other endings for `share` of the longer words, and neighbours swapped at `swaps` of the places."""
        tokens = line.split()
        for i, token in enumerate(tokens):
            core = token.strip('.,;:!?()"')
            others = self.forms.get(core.lower()[: max(4, len(core) - 3)], []) if len(core) >= 5 and core.isalpha() else []
            others = [o for o in others if o != core.lower()]
            if others and rng.random() < share:
                new = rng.choice(others)
                tokens[i] = token.replace(core, new.capitalize() if core[0].isupper() else new)
        for i in range(1, len(tokens) - 2):
            if rng.random() < swaps and tokens[i].isalpha() and tokens[i + 1].isalpha():
                tokens[i], tokens[i + 1] = tokens[i + 1], tokens[i]
        return " ".join(tokens)


_SHOP = {
    "start": ["Osta {thing} soodsalt {where}!", "Otsid {thing2}? Meilt leiad parima valiku!", "{Thing} müük kuni {pct}% allahindlusega.",
              "Parim {thing} {where}, hind alates {price} €."],
    "middle": ["Tasuta tarne üle Eesti alates {price} eurost.", "Telli kohe ja säästa {pct}%!",
               "{Thing} hind ainult {price} €, kiire kohaletoimetamine.",
               "Meie e-poes on üle {num} toote.", "{Thing}, {thing}, {thing} - kõik ühest kohast.", "Kliendid hindavad meid 5/5.",
               "Vaata lähemalt www.{site}.ee või helista {phone}.", "Pakkumine kehtib ainult täna!", "{Thing} {where} soodsa hinnaga."],
    "end": ["Osta kohe!", "Lisa ostukorvi.", "Helista {phone}!", "Külasta www.{site}.ee juba täna!"],
}  # fmt: skip
_LOAN = {
    "start": ["Vajad raha kiiresti? Võta laen minutitega.", "Kasiino boonus kuni {price} eurot uutele mängijatele.",
              "Kuidas teenida internetis {price} eurot kuus?", "Siin on {num} parimat viisi, kuidas kaalust alla võtta."],
    "middle": ["Taotle kohe, vastus 15 minutiga.", "Intress alates {pct}% aastas, ilma tagatiseta.", "Registreeru ja saa {num} tasuta keerutust.",
               "See lihtne nipp muudab sinu elu.", "Miljonid inimesed on seda juba proovinud.", "Laen {price} eurot ilma paberimajanduseta.",
               "Kliki siia, et rohkem teada saada.", "Ära jäta seda võimalust kasutamata.", "Tulemus on garanteeritud juba {num} päevaga."],
    "end": ["Alusta kohe.", "Taotle laenu siit.", "Mängi vastutustundlikult.", "Liitu tasuta."],
}  # fmt: skip
GRAMMARS = {"shop": _SHOP, "loan": _LOAN}
_THINGS = [
    "talverehvid",
    "köögimööbel",
    "nutitelefonid",
    "aiamööbel",
    "jalgrattad",
    "voodipesu",
    "kohvimasinad",
    "kardinad",
    "tööriistad",
]
_PLACES = ["Tallinnas", "Tartus", "internetist", "Pärnus", "üle Eesti", "meie e-poest"]


def adverts(n: int, seed: int, grammar: str) -> list[str]:
    """n adverts of one of GRAMMARS, four to ten sentences each."""
    rng, rules = random.Random(seed), GRAMMARS[grammar]
    found = []
    for _ in range(n):
        thing = rng.choice(_THINGS)
        lines = [rng.choice(rules["start"]), *rng.choices(rules["middle"], k=rng.randint(3, 9)), rng.choice(rules["end"])]
        found.append(" ".join(
            line.format(
                thing=thing, Thing=thing.capitalize(), thing2=rng.choice(_THINGS), where=rng.choice(_PLACES), pct=rng.randint(5, 70),
                price=rng.choice([9.99, 19, 49, 199, 500, 1000]), num=rng.randint(3, 500), phone=f"5{rng.randint(100000, 9999999)}",
                site=rng.choice(["soodne", "parim", "ostame", "epood24"]),
            )
            for line in lines
        ))  # fmt: skip
    return found
