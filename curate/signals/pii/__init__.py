"""Family pii: a batch of text in, spans of personal data and their counts out. Pure; imports the kernels.

What counts (evidence: docs/evidence/pii.txt; the figures' gold file: tests/signals/pii_gold.jsonl):
- email: name@host with a top-level domain that exists, also name[at]host.ee; letters of any alphabet (RFC 6531). Not the user of
  a web address (https://user:word@host), not git@host:path. Addresses at example.com count: a reader cannot tell.
- phone: with + or 00, by the country's calling code and length; (555) 010-1234; otherwise only after a word that announces one.
- ipv4, ipv6: global addresses only, as datatrove's PIIFormatter decides by default: private, loopback, link-local, documentation
  and multicast addresses name nobody. Numbers of sections and versions stay.
- iban, bank_card, ee_personal_code: by their check digits; cards also by issuer and length.
A letter, digit or _ of any script beside a number keeps it from being one. Spans do not overlap: an e-mail address wins over
numbers in it, then iban, ipv6, ipv4, bank_card, ee_personal_code, phone, in this order, from left to right.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from curate.signals.family import Batch, Column, Columns, Family, Measurer, Spans
from curate.signals.pii import kernels
from curate.signals.pii.tables import words
from curate.text.unicode import tables

KINDS = ("email", "phone", "ipv4", "ipv6", "iban", "bank_card", "ee_personal_code")
_SHORTEST = 6  # bytes of the shortest span, a@b.ee

FAMILY = Family("pii", 1, (
    Column("n_emails", "spans", "e-mail addresses (RFC 5321 shape, existing top-level domain), spelled ones (name[at]host.ee) too"),
    Column("n_phones", "spans", "telephone numbers: with + or 00 by ITU-T E.164 codes and lengths, in North American "
           "punctuation, or after a word such as tel"),
    Column("n_ipv4s", "spans", "global IPv4 addresses (IANA special-purpose registry), multicast left out"),
    Column("n_ipv6s", "spans", "global IPv6 addresses (RFC 4291 text forms), IPv4-mapped ones where that is global"),
    Column("n_ibans", "spans", "international bank account numbers: ISO 13616 country shape and remainder 1 of 97"),
    Column("n_bank_cards", "spans", "payment card numbers of 13-19 digits: known issuer, Luhn (ISO/IEC 7812-1)"),
    Column("n_ee_personal_codes", "spans", "Estonian personal codes: date and control digit of EVS 585:2007; Lithuanian ones are "
           "built alike and count too"),
    Column("n_pii_bytes", "bytes", "UTF-8 bytes of the text under any of these spans"),
), span_kinds=KINDS)  # fmt: skip

# Capitals in brackets: plain ASCII that every tokenizer has, that survives JSON, Markdown and HTML, and that no ordinary text holds
# in this form, so that it can be searched for, or added to a vocabulary as one token.
PLACEHOLDERS = {
    "email": "[EMAIL]", "phone": "[PHONE]", "ipv4": "[IP]", "ipv6": "[IP]", "iban": "[IBAN]", "bank_card": "[CARD]",
    "ee_personal_code": "[ID]",
}  # fmt: skip


def placeholder(kind: str, how: Literal["typed", "constant", "removed"]) -> str:
    """What stands in the text in place of a span of `kind`: [EMAIL] and the like, [PII] for all, or nothing."""
    return {"typed": PLACEHOLDERS[kind], "constant": "[PII]", "removed": ""}[how]


def measurer() -> Measurer:
    return Measurer(FAMILY, measure, needs_words=False)


def measure(batch: Batch) -> Columns:
    counts, n_bytes, spans = find(batch.data, batch.offsets)
    names = [column.name for column in FAMILY.columns]
    return {**dict(zip(names, counts.T, strict=False)), "n_pii_bytes": n_bytes, "spans": spans}


def find(data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, Spans]:
    """(counts int64 (n_docs, 7) in the order of KINDS, bytes under spans int64 (n_docs,), the spans) of text.buffers(texts)."""
    data, offsets = _frozen(data), _frozen(offsets)
    n = len(offsets) - 1
    counts = np.empty((n, len(KINDS)), np.int64)
    most = int(offsets[-1] - offsets[0]) // _SHORTEST + 1  # pages that stay empty cost no memory
    row, start, end = (np.empty(most, np.int64) for _ in range(3))
    kind = np.empty(most, np.int16)
    found = kernels.scan(data, offsets, tables()[0], words(), counts, row, start, end, kind)
    spans = Spans(*(array[:found].copy() for array in (row, start, end, kind)))
    n_bytes = np.zeros(n, np.int64)
    np.add.at(n_bytes, spans.row, spans.end - spans.start)
    return counts, n_bytes, spans


def _frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view: Arrow's are, and numba compiles once more for arrays that are not."""
    view = array.view()
    view.flags.writeable = False
    return view
