"""Archives of the web written by hand: records, answers, pages."""

from __future__ import annotations

import base64
import gzip
import hashlib

PAGE = (
    "<html lang='et'><head><title>{title}</title></head><body><h1>{title}</h1>"
    "<p>Esimene lõik räägib pikalt sellest, mida veski jahvatab ja kuidas teri kogutakse.</p>"
    "<p>Teine lõik jätkab juttu sama pikalt ja lisab, et jahu läheb kotti ning kott lattu.</p></body></html>"
)


def html(title: str = "Veski") -> bytes:
    return PAGE.format(title=title).encode()


def answer(body: bytes, status: str = "200 OK", content_type: str = "text/html; charset=utf-8", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def record(block: bytes, kind: str = "response", number: int = 1, length: int | None = None, **headers: str) -> bytes:
    content_type = "application/http; msgtype=response" if kind == "response" else "text/plain"
    fields = {
        "WARC-Type": kind, "WARC-Record-ID": f"<urn:uuid:{number:08d}>", "WARC-Target-URI": f"http://a.ee/{number}",
        "WARC-Date": "2024-05-06T07:08:09Z", "Content-Type": content_type,
        "Content-Length": str(len(block) if length is None else length), **{k.replace("_", "-"): v for k, v in headers.items()},
    }  # fmt: skip
    return b"WARC/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()).encode() + b"\r\n" + block + b"\r\n\r\n"


def pages(n: int) -> list[bytes]:
    return [record(answer(html(f"Leht {i}")), number=i) for i in range(n)]


def members(records: list[bytes]) -> bytes:
    """One gzip member per record."""
    return b"".join(gzip.compress(r, mtime=0) for r in records)


def sha1(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()
