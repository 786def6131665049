"""Both sides of a pair in, how alike their characters are, what repeats in them and what is markup, out. Pure, of plain Python.

OpusFilter's LongestCommonSubstringFilter, SimilarityFilter, RepetitionFilter and HtmlTagFilter, as its documentation defines them
(docs/filters/special_character_and_similarity_filters.md). Imports nothing of ours.
"""

from __future__ import annotations

import re

MOST_CHARS = 2000  # of a side compared: an edit distance takes the product of both lengths
# Three characters to a hundred, then the same again twice or more, perhaps after spaces; it begins with no white space.
_REPEATED = re.compile(r"(?P<again>\S.{2,99}?)(?: *(?P=again)){2,}")
_TAG = re.compile(r"""<[A-Za-z][^\s<>/]*(?:[^<>"']|"[^"]*"|'[^']*'){0,2000}>""")


def common_substring_ratio(first: str, second: str) -> float:
    """Characters of the longest run that both have, per character of the shorter; 0 where one is empty. By halving: what has a common run of n
    characters has one of n - 1."""
    short, long = sorted((first[:MOST_CHARS], second[:MOST_CHARS]), key=len)
    if not short:
        return 0.0
    if short in long:
        return 1.0
    least, most = 0, len(short)
    while most - least > 1:
        n = (least + most) // 2
        runs = {short[i : i + n] for i in range(len(short) - n + 1)}
        if any(long[i : i + n] in runs for i in range(len(long) - n + 1)):
            least = n
        else:
            most = n
    return least / len(short)


def similarity_ratio(first: str, second: str) -> float:
    """1 - edit distance / length of the longer; 1 of two empty ones."""
    a, b = first[:MOST_CHARS], second[:MOST_CHARS]
    longest = max(len(a), len(b))
    return 1.0 - edit_distance(a, b) / longest if longest else 1.0


def edit_distance(a: str, b: str) -> int:
    """Levenshtein's, each edit at cost 1. Myers 1999 (J. ACM 46/3) in Hyyro's form: a column of the table is two integers of len(a) bits, which
    say where it goes up and down by one."""
    if not a or not b:
        return len(a) + len(b)
    places: dict[str, int] = {}
    for i, character in enumerate(a):
        places[character] = places.get(character, 0) | 1 << i
    full, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    up, down, distance = full, 0, len(a)
    for character in b:
        equal = places.get(character, 0)
        diagonal = (((equal & up) + up) ^ up) | equal | down
        right_up, right_down = (down | ~(diagonal | up)) & full, up & diagonal
        distance += bool(right_up & last) - bool(right_down & last)
        right_up, right_down = (right_up << 1 | 1) & full, (right_down << 1) & full
        up, down = (right_down | ~(diagonal | right_up)) & full, right_up & diagonal
    return distance


def n_repetitions(side: str) -> int:
    """How often the first run that stands there three times or more, one after the other, is repeated; 0 where none is."""
    found = _REPEATED.search(side[: 5 * MOST_CHARS])
    return found[0].count(found["again"]) - 1 if found else 0


def has_tag(side: str) -> bool:
    """An opening tag of HTML, or one that closes itself; what is cut off before its > is none."""
    return "<" in side and _TAG.search(side) is not None
