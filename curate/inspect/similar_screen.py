"""What `curate similar` shows: per text its hits, each with its origin, decision and the longest passage both texts share.

The data of similar.py in, text of 100 columns out. Imports the tables of this room.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from curate.inspect.tables import WIDTH, count, cut, flowed, paint, wrapped

N_LINES = 3  # of a shared passage


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    lines = _head(data, colour)
    for text in data["texts"]:
        lines += ["", *_text(text, data, colour)]
    ids = [hit["id"] for text in data["texts"] for hit in text["hits"]]
    if ids:
        lines += ["", f"next: curate explain {data['build']} {ids[0]}"]
    return "\n".join(lines)


def _head(data: Mapping[str, Any], colour: bool) -> list[str]:
    index, n = data["index"], len(data["texts"])
    n_hit = sum(bool(text["hits"]) for text in data["texts"])
    texts = f"{count(n_hit)} of {count(n)} texts have" if n > 1 else "the text has" if n_hit else "the text has no"
    what = f"{data['file']}: {texts} similar documents among the {count(index['documents'])} of {data['build']}"
    lines = [paint(cut(what, WIDTH), "bold", colour)]
    chances = [f"{math.floor(1000 * chance) / 10:g} % at {jaccard}" for jaccard, chance in index["chance"].items()]
    lines += flowed(chances, f"how many documents {index['bands']} bands of {index['rows']} find, by Jaccard:  ", "  ")
    if index["is_default"]:
        lines += [
            "the recipe looks for no near duplicates (dedup.near: null); its documents have default signatures all the same"
        ]
    if data["n_bad"]:
        lines += [f"! {count(data['n_bad'])} records of {data['file']} could not be read"]
    return lines


def _text(text: Mapping[str, Any], data: Mapping[str, Any], colour: bool) -> list[str]:
    sizes = f"{count(text['n_bytes'])} bytes, {count(text['n_shingles'])} shingles of {data['index']['ngram']} words"
    lines = [paint(cut(f"{text['name']}  ({sizes})", WIDTH), "cyan", colour)]
    if not text["n_shingles"]:
        return [*lines, "  no word to compare"]
    if text["compared"] < text["candidates"]:
        lines += [
            f"  ! {count(text['candidates'])} candidates; the {count(text['compared'])} that share most bands were compared"
        ]
    for number, hit in enumerate(text["hits"], 1):
        lines += _hit(number, hit, colour)
    if not text["hits"]:
        compared = f"{count(text['compared'])} candidates compared" if text["compared"] else "no candidate"
        lines += [f"  nothing at Jaccard >= {data['jaccard']:g} ({compared})"]
    if text["is_short"]:
        lines += ["  a short text: a long document that quotes it is hardly similar as a whole, and is not found this way"]
    return lines


def _hit(number: int, hit: Mapping[str, Any], colour: bool) -> list[str]:
    decision = hit["decision"]
    verdict = paint("kept", "green", colour) if decision["keep"] else paint(f"dropped for {decision['reason']}", "red", colour)
    alike = f"Jaccard {hit['jaccard']:.4f}   containment {hit['containment']:.4f}"
    lines = [f"  {number:>2}. {alike}   {verdict}", f"      {hit['source']}  {hit['id']}"]
    at = f", byte {count(hit['byte_offset'])}" if hit["byte_offset"] >= 0 else ""
    items = [f"from {hit['file']}{at}", *(f"{name} {hit[name]}" for name in ("source_id", "title", "url") if hit[name])]
    lines += flowed([cut(item, WIDTH - 6) for item in items], "      ", "      ")
    if not decision["keep"] and decision["witness_id"]:
        lines += [f"      its witness, which stayed: {decision['witness_id']}"]
    if hit["passage"]:
        p = hit["passage"]
        spans = f"bytes {count(p['start'])} to {count(p['end'])} here, {count(p['document_start'])} to {count(p['document_end'])} there"
        lines += [
            f"      longest shared passage: {spans}",
            *(f"        | {line}" for line in wrapped(p["text"], WIDTH - 10, N_LINES)),
        ]
    return lines
