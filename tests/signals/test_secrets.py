"""Family secrets: one of each shape, what looks like one and is none, spans in bytes. All credentials here are made up."""

from __future__ import annotations

import base64
import hashlib

import pyarrow as pa
import pytest

from curate import text
from curate.cuts import Entry, entries
from curate.errors import CurateError
from curate.signals import measurers, secrets
from curate.signals.family import Batch
from curate.signals.secrets.shapes import bits, find, is_random
from tests.signals.test_measure import recipe


def drawn(n: int, alphabet: str, seed: str = "x") -> str:
    """n characters that no generator of credentials ever gave anybody, the same every time."""
    digest = b"".join(hashlib.sha256(f"{seed}{i}".encode()).digest() for i in range(n // 32 + 1))
    return "".join(alphabet[byte % len(alphabet)] for byte in digest[:n])


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
ALNUM, UPPER, HEX = LETTERS + "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789abcdef"
TOKEN = "ghp_" + drawn(36, ALNUM)
JWT = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"kasutaja","iat":1516239022}', hashlib.sha256(b"a").digest())
)
BODY = "\n".join(drawn(64, ALNUM + "+/", str(i)) for i in range(4))
KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n-----END RSA PRIVATE KEY-----"

REAL = [
    (f"key = '{'AKIA' + drawn(16, UPPER)}'", "cloud_key", "AKIA" + drawn(16, UPPER)),
    ("x AIza" + drawn(35, ALNUM) + " y", "cloud_key", "AIza" + drawn(35, ALNUM)),
    (f"AccountKey={drawn(86, ALNUM)}==;", "cloud_key", drawn(86, ALNUM) + "=="),
    (f"git clone with {TOKEN}.", "token", TOKEN),
    ("glpat-" + drawn(20, ALNUM), "token", "glpat-" + drawn(20, ALNUM)),
    ("xoxb-182736459012-" + drawn(24, ALNUM), "token", "xoxb-182736459012-" + drawn(24, ALNUM)),
    ("sk_live_" + drawn(24, ALNUM), "token", "sk_live_" + drawn(24, ALNUM)),
    ("npm_" + drawn(36, ALNUM), "token", "npm_" + drawn(36, ALNUM)),
    ("hf_" + drawn(34, LETTERS), "token", "hf_" + drawn(34, LETTERS)),
    (f"Bearer {JWT}", "jwt", JWT),
    (f"{KEY}\n", "private_key", KEY),
    ("db = 'postgres://mari:Tr0ub4dor@db-1.puu.ee/a'", "url_password", "Tr0ub4dor"),
    (f'API_KEY = "{drawn(32, ALNUM)}"', "assigned_secret", drawn(32, ALNUM)),
    (f"client_secret: '{drawn(40, HEX)}'", "assigned_secret", drawn(40, HEX)),
]

NONE = [
    "AKIAIOSFODNN7EXAMPLE", "AKIA" + "A" * 16, "ghp_" + "x" * 36, "ghp_short", "x" + TOKEN, TOKEN + "z" * 300,
    'API_KEY = "your-api-key-goes-here-1234"', 'API_KEY = os.environ["API_KEY_OF_PRODUCTION_1"]', "password = '${DATABASE_PASSWORD_2}'",
    'token = "aaaaaaaaaaaaaaaaaaaaaaaaaaaa"', 'secret_name = "projects/kask/secrets/one"', 'key = "a1B2c3D4e5F6g7H8i9J0"',
    'csrf_token_field = "csrfmiddlewaretoken"', 'primary_key = "customer_id_and_order_id"', "postgres://user:password@db-1.puu.ee/a",
    "postgres://mari:Tr0ub4dor@localhost/a", "https://mari:${PASS}@puu.ee", "http://puu.ee:8080/a@b", "ssh://git@github.com:22/a",
    "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ", "eyJhYmMiOiJkZWYifQAAAAAA.eyJhYmMiOiJkZWYifQAAAAAA.AAAAAAAAAAAAAAAAAAAAAA",
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----", "-----BEGIN PUBLIC KEY-----\n" + BODY + "\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----\n" + BODY + "\n-----END CERTIFICATE-----", "sha = 'd41d8cd98f00b204e9800998ecf8427e'", "",
    "SECRET = 'HelloWorldThisIsNoSecret'", "token = 'version-1.2.3-release'",
]  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "value"), REAL, ids=[f"{kind}-{i}" for i, (_, kind, _) in enumerate(REAL)])
def test_each_shape(body, kind, value):
    data = f"õ {body}".encode()
    assert [(data[a:b].decode(), k) for a, b, k in find(data)] == [(value, kind)]


@pytest.mark.parametrize("body", NONE)
def test_what_looks_like_one(body):
    assert find(body.encode()) == []


def test_counts_spans_and_placeholders():
    array = pa.array(["", f"a = '{TOKEN}' # {TOKEN}", "tere"], pa.large_string())
    data, offsets = text.buffers(array)
    found = secrets.measure(Batch(array, data, offsets, None))
    assert found["n_tokens"].tolist() == [0, 2, 0] and found["n_secret_bytes"].tolist() == [0, 80, 0]
    spans = found["spans"]
    assert (spans.row.tolist(), spans.start.tolist(), spans.end.tolist()) == ([1, 1], [5, 49], [45, 89])
    assert [secrets.KINDS[k] for k in spans.kind] == ["token", "token"]
    assert {how: secrets.placeholder("jwt", how) for how in ("typed", "constant", "removed")} == {
        "typed": "[TOKEN]", "constant": "[SECRET]", "removed": "",
    }  # fmt: skip
    assert set(secrets.PLACEHOLDERS) == set(secrets.KINDS)


def test_overlaps_are_resolved():
    found = find(f'token = "{JWT}"'.encode())
    assert len(found) == 1


def test_entropy():
    assert bits(b"") == 0 and bits(b"aaaa") == 0 and bits(b"ab") == 1 and bits(bytes(range(256))) == 8
    assert (
        is_random(drawn(20, ALNUM).encode())
        and not is_random(b"CamelCaseIdentifier1")
        and not is_random(b"12345678901234567890123456")
    )


def test_time_is_linear():
    for piece in (b"://a:b", b"key", b"secret=", b"eyJ", b"AKIA", b"-----BEGIN PRIVATE KEY-----", b"'", b"token = '"):
        find(piece * (200_000 // len(piece)))


def test_secrets_are_cut():
    wanted = recipe(cuts=[{"kind": "secrets", "of": ["token", "jwt"]}, {"kind": "secrets", "of": "all", "as": "constant"}])
    source = wanted.sources["a"]
    assert entries(wanted, source) == [
        Entry("secrets", ("token", "jwt"), ("[TOKEN]", "[TOKEN]")), Entry("secrets", secrets.KINDS, ("[SECRET]",) * 6),
    ]  # fmt: skip
    assert "secrets" in {m.family.name for m in measurers(wanted, source)}
    assert "secrets" not in {m.family.name for m in measurers(recipe(), recipe().sources["a"])}
    with pytest.raises(CurateError, match="know no 'tokens'"):
        entries(recipe(cuts=[{"kind": "secrets", "of": "tokens"}]), source)
