"""What is planted into the clean texts: edits of pages (near duplicates, mojibake), menus, hashtags, teasers, and lines that are broken.

Pages and a random source in, texts or bytes out. Imports grammar only.
"""

from __future__ import annotations

import json
import random
import re

from grammar import Page, join, menu_words

SENTENCE_END = re.compile(r"(?<=[^\W\d_][.?!]) (?=[A-ZÄÖÜÕŠŽ])")


def shingles(text: str, n: int = 5) -> set[tuple[str, ...]]:
    """Word 5-grams; close to the kernel's definition, so edits keep a distance of 0.03 and more from the bound."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}


def jaccard(a: str, b: str) -> float:
    x, y = shingles(a), shingles(b)
    return len(x & y) / len(x | y)


def shortened(page: Page, text: str, low: float, high: float, rng: random.Random, unlike: tuple[str, float] | None = None) -> str:
    """`text` (of `page`, or an earlier edit of it) without some of its sentences: Jaccard to `text` in [low, high], and at most
    `unlike[1]` to `unlike[0]`. Shorter than the original, so the original is the one that is kept among equals."""
    for _ in range(2000):
        paragraphs = [SENTENCE_END.split(p) for p in text.split("\n\n")]
        for _ in range(rng.randint(1, 4)):
            row = rng.randrange(1, len(paragraphs))
            if len(paragraphs[row]) > 1:
                del paragraphs[row][rng.randrange(len(paragraphs[row]))]
        candidate = "\n\n".join(" ".join(p) for p in paragraphs)
        if low <= jaccard(text, candidate) <= high and (unlike is None or jaccard(unlike[0], candidate) <= unlike[1]):
            return candidate
    raise AssertionError(f"no edit of {page.title!r} within {low}-{high}")


def moved(page: Page, place: str) -> str:
    """The same page for another place: only the name changes (a reprinted press release)."""
    return page.text.replace(page.names["koht"], place)


def mojibake(text: str, code_page: str = "latin-1") -> str:
    """UTF-8 bytes read as a one-byte code page: `ä` becomes `Ã¤`."""
    return text.encode("utf-8").decode(code_page)


def menu(i: int, rng: random.Random) -> str:
    """A navigation menu or a cookie banner: bullets, pipes or bare lines, without one stop word."""
    words = menu_words()
    nav, shop, foot, cookie = (rng.sample(words[key], len(words[key])) for key in ("nav", "shop", "foot", "cookie"))
    if i % 3 == 0:
        return "\n".join(f"• {word}" for word in (nav[:26] + shop[:14] + foot[:10]))
    if i % 3 == 1:
        return "\n".join([" | ".join(nav[:24]), " | ".join(shop[:24]), " | ".join(foot[:12])])
    return "\n".join([*cookie, *nav[:16], *foot, *shop[:8]])


def teasers(pages: list[Page]) -> str:
    """A front page: the openings of articles, each broken off with three full stops."""
    return "\n".join(f"{' '.join(p.parts[i % 5].split()[:9])}..." for i, p in enumerate(pages))


def hashtags(page: Page, rng: random.Random) -> str:
    words = [w.lower() for w in re.findall(r"[^\W\d_]{5,}", page.text)]
    return join(page.title, page.parts[:2]) + "\n\n" + " ".join(f"#{w}" for w in rng.sample(words, 22))


def broken_lines(good: list[dict], over_bytes: int) -> list[tuple[bytes, str | None]]:
    """(line without its newline, cause or None): broken records with good neighbours between them."""

    def record(name: str, **fields: object) -> bytes:
        return json.dumps({"id": f"broken-{name}", "url": f"https://katki.example/{name}", **fields}, ensure_ascii=False).encode()

    keep = iter([json.dumps(g, ensure_ascii=False).encode() for g in good])
    sentence = "See lehekülg jäi salvestamisel pooleli ja sellest on alles ainult algus."
    return [
        (next(keep), None),
        (record("utf8", text=sentence).replace("lehekülg".encode(), "lehekülg".encode("latin-1")), "invalid_utf8"),
        (next(keep), None),
        (record("json", text=sentence)[:-20], "broken_json"),
        (record("missing", body=sentence), "missing_text"),
        (record("number", text=20261121), "text_not_string"),
        (next(keep), None),
        (record("surrogate", text="@").replace(b'"@"', b'"Katkine m\\u00e4rk: \\ud83d ja k\\u00f5ik."'), "lone_surrogate"),
        (record("nul", text="Nullbait\x00keset sõna."), "nul_character"),
        (record("long", text="a" * over_bytes), "too_large"),
        (next(keep), None),
        (b'["see", "on", "loend"]', "not_an_object"),
        (record("empty", text=""), "empty_text"),
        (next(keep), None),
    ]
