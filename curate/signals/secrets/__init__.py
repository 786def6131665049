"""Family secrets: a batch of text in, spans of credentials and their counts out. Pure; imports shapes.

What counts: the shapes of shapes.py, each with a check that the thing can be one. What is left alone: examples (AWS's own, words such as
example, changeme, xxxx), references to a secret (${TOKEN}, os.environ[...]), and values without enough entropy. A span is the value alone;
of a private key the block from its BEGIN to its END line. Spans do not overlap: of two that do, the one that begins first, then the longer,
then the first kind stays. E-mail addresses are family pii's.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from curate.signals.family import Batch, Column, Columns, Family, Measurer, Spans
from curate.signals.secrets.shapes import find

KINDS = ("private_key", "cloud_key", "token", "jwt", "url_password", "assigned_secret")

FAMILY = Family("secrets", 1, (
    Column("n_private_keys", "spans", "private keys in PEM armour (RFC 7468; OpenSSH, PGP, EC, RSA, DSA), with a body of 64 bytes or more"),
    Column("n_cloud_keys", "spans", "keys of cloud providers by their published prefixes and lengths: AWS, Google, Azure, DigitalOcean"),
    Column("n_tokens", "spans", "tokens of services by their published prefixes and lengths: GitHub, GitLab, Slack, Stripe, npm, PyPI, "
           "Hugging Face, OpenAI, Anthropic, SendGrid, Twilio, Telegram, Discord"),
    Column("n_jwts", "spans", "JSON web tokens (RFC 7519) whose header says which algorithm signed them"),
    Column("n_url_passwords", "spans", "passwords in addresses, scheme://user:password@host (RFC 3986), where they are no placeholder"),
    Column("n_assigned_secrets", "spans", "quoted values of 16 to 200 bytes given to a name like api_key, secret or password, of letters and digits "
           "mixed and with the entropy of a random string (shapes.py)"),
    Column("n_secret_bytes", "bytes", "UTF-8 bytes of the text under any of these spans"),
), span_kinds=KINDS)  # fmt: skip

PLACEHOLDERS = {
    "private_key": "[PRIVATE_KEY]", "cloud_key": "[KEY]", "token": "[TOKEN]", "jwt": "[TOKEN]", "url_password": "[PASSWORD]",
    "assigned_secret": "[SECRET]",
}  # fmt: skip


def placeholder(kind: str, how: Literal["typed", "constant", "removed"]) -> str:
    """What stands in the text in place of a span of `kind`: [TOKEN] and the like, [SECRET] for all, or nothing."""
    return {"typed": PLACEHOLDERS[kind], "constant": "[SECRET]", "removed": ""}[how]


def measurer() -> Measurer:
    return Measurer(FAMILY, measure, needs_words=False)


def measure(batch: Batch) -> Columns:
    n = len(batch.offsets) - 1
    counts, n_bytes = np.zeros((n, len(KINDS)), np.int64), np.zeros(n, np.int64)
    found: list[tuple[int, int, int, int]] = []
    for row, (first, last) in enumerate(zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True)):
        for start, end, kind in find(batch.data[first:last].tobytes()):
            place = KINDS.index(kind)
            found.append((row, start, end, place))
            counts[row, place] += 1
            n_bytes[row] += end - start
    columns = np.array(found, np.int64).reshape(-1, 4).T
    spans = Spans(columns[0], columns[1], columns[2], columns[3].astype(np.int16))
    names = [column.name for column in FAMILY.columns]
    return {**dict(zip(names, counts.T, strict=False)), "n_secret_bytes": n_bytes, "spans": spans}
