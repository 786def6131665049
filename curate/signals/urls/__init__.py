"""Families url and url_lists: where a document came from, by its address and by what its record says of reuse. No text is read.

In: the documents' columns url and extra. Out: columns of two families, for every source, since any record may carry an address;
and the record of family domains, whose columns relate.domains counts and decide completes. url depends on the public suffix list
only, so that what is related by domain stands when a block list changes. Imports family, store.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio
from curate.signals.urls import lists
from curate.signals.urls.address import address, registered_domain, suffix_list_digest
from curate.store import digest

FAMILY = Family("url", 1, (
    Column("host", "host", "host of the address: lower case, punycode, no port; null where there is no address or no host in it",
           "string", None),
    Column("domain", "domain", "registered domain by the public suffix list (its private part off: blogspot.com is one); IP "
           "addresses, public suffixes and single names stay whole; null where host is", "string", None),
    Column("n_url_chars", "code points", "length of the address as it stands in the record; 0 without one"),
    Column("n_url_digits", "digits", "characters 0 to 9 in it"),
))  # fmt: skip

LISTS = Family("url_lists", 1, (
    Column("url_category", "category", "categories of urls.block_lists that list the address, in alphabetical order, joined by +; "
           "empty for none. A listed domain covers its subdomains, a listed address what lies below it", "string", None),
    Column("opt_out", "reason", "why the text is reserved, joined by +, empty where nothing says so: list (urls.opt_out names the "
           "domain), opt_out, robots, tdm_reservation, x_robots_tag (the record's extra says so, see reserved())", "string", None),
    Column("n_blocked_url_words", "words", "runs of letters and digits in host and path that urls.words lists, each time they stand"),
))  # fmt: skip

# Of a web domain within one source; relate.domains counts, before and without any rule. All null for a document without a domain.
DOMAINS = Family("domains", 1, (
    Column("domain_documents", "documents", "documents of the source with this domain"),
    Column("n_domain_duplicates", "documents", "those that are a duplicate of another document of any source (have a witness)"),
    Column("n_domain_line_bytes", "bytes", "bytes of their lines of 10 characters or more; 0 where there are under 3 documents"),
    Column("n_domain_template_bytes", "bytes", "bytes of such lines that stand in 3 documents of the domain or more"),
), (
    Ratio("domain_duplicate_ratio", "n_domain_duplicates", "domain_documents", "share of the domain's documents"),
    Ratio("domain_template_ratio", "n_domain_template_bytes", "n_domain_line_bytes", "share of the domain's line bytes"),
))  # fmt: skip

# Measured by decide, since rules make it: the share of the domain's documents that fail a rule which is not over a domain.
DROP_RATIO = Column("domain_drop_ratio", "share of documents", "of the source's documents of this domain, those that fail any "
                    "rule that is not over a domain_ signal; null without a domain", "float32", 0, 1)  # fmt: skip

# A robots directive that reserves a text: the usual ones against indexing, and those proposed against training.
RESERVED = frozenset({"noai", "noindex", "noml", "none", "disallow", "disallowed"})
_FIELDS = {"optout": "opt_out", "robots": "robots", "tdmreservation": "tdm_reservation", "xrobotstag": "x_robots_tag"}
_ANY_FIELD = re.compile(r'"(?:opt[_-]?out|robots|tdm[_-]?reservation|x[_-]?robots[_-]?tag)"\s*:', re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")


def measurer() -> Measurer:
    settings = {"public_suffixes": suffix_list_digest()}
    return Measurer(FAMILY, measure, settings, needs_words=False, reads=("url",))


def lists_measurer(block_lists: Mapping[str, Path], words: Mapping[str, Path], opt_out: Path | None) -> Measurer:
    """Category -> its list. Raises CurateError for a list that is not there or not in UT1's form."""
    given = [(name, block_lists[name], f"urls.block_lists.{name}") for name in sorted(block_lists)]
    given += [(lists.OPT_OUT, opt_out, "urls.opt_out")] if opt_out is not None else []
    blocked = _files(given)
    for (_, paths), (_, _, where) in zip(blocked, given, strict=True):
        for path in paths:
            lists.check_syntax(path, where)
    counted = _files([(name, words[name], f"urls.words.{name}") for name in sorted(words)])
    for group, names in (("block_lists", block_lists), ("words", words)):
        for name in names:
            lists.check_category(name, f"urls.{group}")
    sums = {path: lists.sha256(path) for _, paths in (*blocked, *counted) for path in paths}
    settings = {
        group: {name: digest(*sorted(sums[path] for path in paths)) for name, paths in files}
        for group, files in (("lists", blocked), ("words", counted))
    }  # fmt: skip
    in_order = [tuple(sums[path] for _, paths in files for path in paths) for files in (blocked, counted)]
    function = functools.partial(measure_lists, blocked, in_order[0], counted, in_order[1])
    return Measurer(lists_family(tuple(words)), function, settings, needs_words=False, reads=("url", "extra"))


def lists_family(categories: tuple[str, ...] = ()) -> Family:
    """With one more column per category of urls.words."""
    doc = "those of urls.words.{}"
    columns = [Column(f"n_{name}_url_words", "words", doc.format(name)) for name in sorted(categories)]
    return Family(LISTS.name, LISTS.version, (*LISTS.columns, *columns))


def _files(given: list[tuple[str, Path, str]]) -> lists.Files:
    return tuple((name, lists.list_files(path, where)) for name, path, where in given)


def measure(batch: Batch) -> Columns:
    urls = batch.columns["url"].to_pylist()
    hosts = [address(url)[0] if url else None for url in urls]
    return {
        "host": hosts,
        "domain": [None if host is None else registered_domain(host) for host in hosts],
        "n_url_chars": [len(url or "") for url in urls],
        "n_url_digits": [sum(map((url or "").count, "0123456789")) for url in urls],
    }


def measure_lists(
    blocked: lists.Files, blocked_sums: tuple[str, ...], counted: lists.Files, counted_sums: tuple[str, ...], batch: Batch
) -> Columns:
    known, words = lists.load(blocked, blocked_sums), lists.load_words(counted, counted_sums)
    found = [address(url) if url else (None, "") for url in batch.columns["url"].to_pylist()]
    masks = lists.masks(known, [host for host, _ in found], [rest for _, rest in found]).tolist()
    named = [_names(known.names, mask) for mask in masks]
    counts = np.zeros((len(found), 1 + len(counted)), np.int64)  # in any category, then in each
    for i, (host, rest) in enumerate(found) if words else ():
        for word in _WORD.findall(f"{host or ''}{rest.partition('?')[0]}".lower()):
            for place in words.get(word, ()):
                counts[i, 1 + place] += 1
            counts[i, 0] += word in words
    extras = batch.columns["extra"].to_pylist()
    return {
        "url_category": ["+".join(name for name in names if name != lists.OPT_OUT) for names in named],
        "opt_out": [
            "+".join([*(["list"] if lists.OPT_OUT in names else []), *reserved(extra)])
            for names, extra in zip(named, extras, strict=True)
        ],
        "n_blocked_url_words": counts[:, 0],
        **{f"n_{name}_url_words": counts[:, 1 + place] for place, (name, _) in enumerate(counted)},
    }


@functools.lru_cache(maxsize=1 << 12)
def _names(names: tuple[str, ...], mask: int) -> tuple[str, ...]:
    return tuple(name for bit, name in enumerate(names) if mask >> bit & 1)


def reserved(extra: str | None) -> list[str]:
    """Which fields of a record's `extra` (JSON) reserve its text, sorted: kept as evidence, acted on by rules only.

    opt_out and tdm_reservation (TDMRep, W3C community group report 2024) reserve by true, 1, yes, or a directive of RESERVED;
    robots and x_robots_tag by a directive, alone or in a list (`GPTBot: noindex, nofollow`). Keys are found at any depth, in any
    case, with - or _.
    """
    if not extra or not _ANY_FIELD.search(extra):
        return []
    return sorted({field for field, value in _fields(json.loads(extra)) if _reserves(field, value)})


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            if field := _FIELDS.get(re.sub("[_-]", "", key.lower())):
                yield field, item
            yield from _fields(item)
    elif isinstance(value, list):
        for item in value:
            yield from _fields(item)


def _reserves(field: str, value: Any) -> bool:
    if isinstance(value, list):
        return any(_reserves(field, item) for item in value)
    said = set(re.split(r"[\s,;:]+", str(value).lower()))
    return bool(said & RESERVED) or (field in ("opt_out", "tdm_reservation") and bool(said & {"1", "true", "yes"}))
