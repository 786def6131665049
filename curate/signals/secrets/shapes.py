"""The shapes of credentials, as their issuers publish them, and what tells a real one from an example. Bytes in, spans out; pure.

Prefixes and lengths: AWS IAM identifiers; GitHub "Behind GitHub's new authentication token formats" (2021); GitLab token overview; Slack
token types; Google API keys; Stripe keys; npm, PyPI, SendGrid, Twilio and Telegram documentation. The bounds on entropy are ours,
measured on code_files (docs/evidence/code_and_math.txt).
"""

from __future__ import annotations

import base64
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

MIN_BITS = 3.5  # of Shannon entropy a byte, for values that mix letters and digits: random base64 of 20 bytes has 4.0 on average
MIN_HEX_BITS = 3.0  # for hexadecimal: random of 32 digits has 3.6
MIN_SWITCHES = 4  # random letters and digits of 16 have 7 on average

Span = tuple[int, int, str]


class Shape(NamedTuple):
    kind: str
    needs: tuple[bytes, ...]  # one of these stands in the text, or the pattern is not tried
    pattern: re.Pattern[bytes]  # group 1 is the secret
    holds: Callable[[bytes], bool]


_WORDS = re.compile(
    rb"example|sample|dummy|fake|placeholder|change.?me|your[_-]|my[_-]?(?:secret|key|token|pass)|insert|replace|redacted|x{4,}|\*{3,}|\.{3}|"
    rb"1234567|abcdef(?:gh)?|0{8,}|test|secret|passw|todo|foo|bar|none|null|undefined|lorem|qwerty|deadbeef|not.?a.?real",
    re.IGNORECASE,
)
_REFERENCE = re.compile(rb"[${}<>%]|process\.env|environ|getenv|config\.|settings\.|self\.|\(\)|::|->|/\*")
_HEX = re.compile(rb"[0-9a-fA-F-]+")
_VALUE = re.compile(rb"[A-Za-z0-9+/=_.~!@#^&*-]+")
_PASSWORDS = frozenset(
    b"password pass passwd pwd secret user username admin root guest test token key x xx xxx xxxx foo bar baz a b p pw postgres mysql "
    b"redis rabbitmq mongo pass123 hunter2 toor letmein changeme example 123 1234 12345 123456 secret123 passw0rd mypassword my_password "
    b"yourpassword your_password auth".split()
)
_HOSTS = re.compile(
    rb"localhost|127\..*|0\.0\.0\.0|10\..*|192\.168\..*|host(?:name)?|server|db|database|.*\.(?:example|invalid|test|local)|(?:.*[.-])?example\..*",
    re.IGNORECASE,
)  # fmt: skip


def bits(value: bytes) -> float:
    """Shannon entropy of the bytes, bits a byte."""
    n = len(value)
    return -sum(k / n * math.log2(k / n) for k in Counter(value).values()) if n else 0.0


def is_random(value: bytes) -> bool:
    """Can nobody have written this by hand? Letters and digits mixed, entropy, no example, no reference, no path or sentence."""
    if _WORDS.search(value) or _REFERENCE.search(value):
        return False
    if _HEX.fullmatch(value):
        return bits(value) >= MIN_HEX_BITS and len(value) >= 24 and re.search(rb"[a-fA-F]", value) is not None
    has_digit, has_letter = re.search(rb"\d", value), re.search(rb"[A-Za-z]", value)
    return bool(has_digit and has_letter) and bits(value) >= MIN_BITS and _switches(value) >= MIN_SWITCHES


def _switches(value: bytes) -> int:
    """How often letters of one case give way to a digit or the other case: in random strings often, in names and versions rarely.

    A capital before a small letter begins a word, and marks between are passed over.
    """
    kinds = [0 if 97 <= c <= 122 else 1 if 65 <= c <= 90 else 2 for c in value if chr(c).isalnum()]
    return sum(a != b and (a, b) != (1, 0) for a, b in itertools.pairwise(kinds))


def _no_example(value: bytes) -> bool:
    """A published prefix and length is nearly proof; only written-out examples are left alone."""
    body = value[8:] if len(value) > 24 else value[4:]
    return not re.search(rb"EXAMPLE|example|x{5,}|X{5,}|\*{3,}|(.)\1{7,}|1234567890|abcdefgh", value) and bits(body) >= 2.5


def _is_jwt(value: bytes) -> bool:
    head = value.split(b".")[0]
    try:
        found = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "alg" in found


def _is_key(value: bytes) -> bool:
    body = re.sub(rb"-----[^-]+-----|\\[nr]|\s|[\"'+,]", b"", value)
    return len(body) >= 64 and not re.search(rb"\.\.\.|(.)\1{15,}", body) and bits(body) >= 4


def _is_url_password(value: bytes) -> bool:
    password = value.partition(b"@")[0]
    host = value.partition(b"@")[2]
    if password.lower() in _PASSWORDS or _REFERENCE.search(password) or _HOSTS.fullmatch(host):
        return False
    return not re.fullmatch(rb"[*x.X]+|:.*|.*(?:password|passwd|secret).*", password, re.IGNORECASE) and len(password) >= 4


def _of(kind: str, needs: str, pattern: str, holds: Callable[[bytes], bool] = _no_example) -> Shape:
    return Shape(kind, tuple(needs.encode().split()), re.compile(pattern.encode()), holds)


_B, _E = r"(?<![A-Za-z0-9_+/=-])", r"(?![A-Za-z0-9_+/=-])"  # a credential stands alone
SHAPES = (
    _of("private_key", "-----BEGIN", r"(-----BEGIN (?:[A-Z]{2,9} ){0,3}PRIVATE KEY(?: BLOCK)?-----[\s\S]{64,20000}?"
        r"-----END (?:[A-Z]{2,9} ){0,3}PRIVATE KEY(?: BLOCK)?-----)", _is_key),
    _of("cloud_key", "AKIA ASIA ABIA ACCA", _B + r"((?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})" + _E),
    _of("cloud_key", "AIza", _B + r"(AIza[0-9A-Za-z_-]{35})" + _E), _of("cloud_key", "GOCSPX-", _B + r"(GOCSPX-[0-9A-Za-z_-]{28})" + _E),
    _of("cloud_key", "AccountKey SharedAccessKey", r"(?:AccountKey|SharedAccessKey)=([A-Za-z0-9+/]{43,86}={1,2})"),
    _of("cloud_key", "dop_v1_ doo_v1_", _B + r"(do[op]_v1_[a-f0-9]{64})" + _E),
    _of("token", "ghp_ gho_ ghu_ ghs_ ghr_", _B + r"(gh[pousr]_[A-Za-z0-9]{36,255})" + _E),
    _of("token", "github_pat_", _B + r"(github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})" + _E),
    _of("token", "glpat-", _B + r"(glpat-[A-Za-z0-9_-]{20,60})" + _E),
    _of("token", "xox", _B + r"(xox[abeoprs]-(?:\d+-)*[A-Za-z0-9-]{10,200})" + _E),
    _of("token", "hooks.slack.com", r"hooks\.slack\.com/services/(T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/[A-Za-z0-9]{24})" + _E),
    _of("token", "sk_live_ rk_live_ whsec_", _B + r"((?:[sr]k_live|whsec)_[A-Za-z0-9]{20,200})" + _E),
    _of("token", "npm_", _B + r"(npm_[A-Za-z0-9]{36})" + _E),
    _of("token", "pypi-AgEIcHlwaS5vcmc", _B + r"(pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,500})"),
    _of("token", "hf_", _B + r"(hf_[A-Za-z]{34})" + _E), _of("token", "sk-", _B + r"(sk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{40,200})" + _E,
        is_random),
    _of("token", "SG.", _B + r"(SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})" + _E), _of("token", "SK", _B + r"(SK[0-9a-f]{32})" + _E),
    _of("token", ":AA", _B + r"(\d{8,10}:AA[A-Za-z0-9_-]{33})" + _E),
    _of("token", "discord", r"discord(?:app)?\.com/api/webhooks/(\d{17,20}/[A-Za-z0-9_-]{60,80})"),
    _of("jwt", "eyJ", _B + r"(eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{16,2000})(?![A-Za-z0-9_-])", _is_jwt),
)  # fmt: skip
_URL = re.compile(rb"://[^\s/:@\"'<>`]{1,64}:([^\s/:@\"'<>`]{1,128})@([A-Za-z0-9.-]{1,253})")
# A quoted value, looked for first since few are that long; then the name it is given to, right before it.
_QUOTED = re.compile(rb"([\"'])(?=([^\"'\s\\]{16,200})\1)")
_GIVEN = re.compile(
    rb"(?:[kK](?:ey|EY)|[sS](?:ecret|ECRET)|[tT](?:oken|OKEN)|[pP](?:asswor?d|ASSWOR?D)|[cC](?:redential|REDENTIAL))"
    rb"[\w.-]{0,20}[\"']?\]?\s{0,4}(?:=|:|=>|:=)\s{0,4}[rbuf]?\Z"
)
NAME_BYTES = 48  # of the longest name, its signs and the blanks around them
# Of names that end in key only these: a key of a dictionary is no secret.
_KEY_NAME = re.compile(
    rb"(?i)(?:api|access|secret|private|auth|client|encryption|signing|app|consumer|master|account|service|license)[_.-]?key"
)


def find(data: bytes) -> list[Span]:
    """(start, end, kind) of every credential in a text's UTF-8, in order, without overlaps."""
    best: list[Span] = []
    for start, end, kind in sorted(set(_all(data)), key=lambda span: (span[0], -span[1])):
        if not best or start >= best[-1][1]:
            best.append((start, end, kind))
    return best


def _all(data: bytes) -> Iterator[Span]:
    for shape in SHAPES:
        if any(need in data for need in shape.needs):
            for match in shape.pattern.finditer(data):
                if shape.holds(match[1]):
                    yield match.start(1), match.end(1), shape.kind
    if b"://" in data:
        for match in _URL.finditer(data):
            if _is_url_password(match[1] + b"@" + match[2]):
                yield match.start(1), match.end(1), "url_password"
    for match in _QUOTED.finditer(data):
        start, value = match.end(), match[2]
        given = _GIVEN.search(data, max(start - 1 - NAME_BYTES, 0), start - 1)
        if given is None:
            continue
        if given[0][:1] in b"kK" and not _KEY_NAME.search(data[max(given.start() - 16, 0) : start]):
            continue
        if _VALUE.fullmatch(value) and is_random(value):
            yield start, start + len(value), "assigned_secret"
