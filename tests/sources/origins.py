"""Servers of the tests about places: a web server that knows ranges and can misbehave, and one that speaks the hub's API as far as we use it."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class Web:
    """`files`: path -> bytes. What it is to do wrong is set on it; `sent`: (path, first byte asked for, bytes sent) of every answer."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.sent: list[tuple[str, int, int]] = []
        self.headers: list[dict[str, str]] = []  # of the requests
        self.break_after: int | None = None  # bytes of an answer
        self.n_breaks = 0  # answers that still break off
        self.knows_ranges = True
        self.has_etags = True
        self.refuses: dict[str, tuple[int, dict[str, str]]] = {}  # path -> status, headers
        self.url = ""

    def etag(self, path: str) -> str:
        return f'"{hashlib.md5(self.files[path]).hexdigest()}"'

    def bytes_of(self, path: str) -> int:
        return sum(n for name, _, n in self.sent if name == path)


def _answer(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            web.headers.append(dict(self.headers))
            path = unquote(urlsplit(self.path).path)
            if path in web.refuses:
                status, headers = web.refuses[path]
                return self.reply(status, b"", headers)
            if isinstance(web, Hub) and (said := web.api(path, parse_qs(urlsplit(self.path).query))) is not None:
                return self.reply(*said)
            if path not in web.files:
                return self.reply(404, b"", {})
            return self.file(path)

        def file(self, path: str) -> None:
            data = web.files[path]
            headers = {"ETag": web.etag(path)} if web.has_etags else {}
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if asked and web.knows_ranges and self.headers.get("If-Range", headers.get("ETag")) == headers.get("ETag"):
                begin, end = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
                if begin >= len(data):
                    return self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
                return self.reply(206, data[begin:end], headers, path, begin)
            return self.reply(200, data, headers, path)

        def reply(self, status: int, body: bytes, headers: dict[str, str], path: str = "", begin: int = 0) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if web.break_after is not None and len(body) > web.break_after and web.n_breaks > 0:
                web.n_breaks -= 1
                body = body[: web.break_after]
                self.close_connection = True
            self.wfile.write(body)
            web.sent.append((path, begin, len(body)))

    return Handler


class Hub(Web):
    """Datasets: id -> {commit: {path: bytes}}; large files come from another address, as the hub's do."""

    def __init__(self) -> None:
        super().__init__()
        self.datasets: dict[str, dict[str, dict[str, bytes]]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.gated: set[str] = set()
        self.tokens: list[str | None] = []  # that came with requests for files

    def add(self, dataset: str, commit: str, files: dict[str, bytes], branch: str = "main") -> None:
        self.datasets.setdefault(dataset, {})[commit] = files
        self.branches.setdefault(dataset, {})[branch] = commit

    def api(self, path: str, query: dict[str, list[str]]) -> tuple[int, bytes, dict[str, str]] | None:
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+?)(?:/revision/([^/]+))?", path):
            return self.of(match[1], match[2], lambda commit, files: {"id": match[1], "sha": commit, "siblings": []})
        if match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)/?", path):
            return self.of(match[1], match[2], lambda commit, files: [self.entry(name, data) for name, data in files.items()])
        if match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.tokens.append(self.headers[-1].get("authorization") or self.headers[-1].get("Authorization"))
            if match[1] in self.gated:
                return 403, b"", {"X-Error-Code": "GatedRepo"}
            data = self.datasets.get(match[1], {}).get(match[2], {}).get(match[3])
            if data is None:
                return 404, b"", {"X-Error-Code": "EntryNotFound"}
            where = f"/cdn/{hashlib.sha256(data).hexdigest()}"
            self.files[where] = data
            return 302, b"", {"Location": f"{self.url}{where}", "X-Repo-Commit": match[2]}
        return None

    def of(self, dataset: str, revision: str | None, say) -> tuple[int, bytes, dict[str, str]]:
        if dataset not in self.datasets:
            return 401, b"", {"X-Error-Code": "RepoNotFound"}
        commit = self.branches[dataset].get(revision or "main", revision)
        if commit not in self.datasets[dataset]:
            return 404, b"", {"X-Error-Code": "RevisionNotFound"}
        return 200, json.dumps(say(commit, self.datasets[dataset][commit])).encode(), {"Content-Type": "application/json"}

    @staticmethod
    def entry(path: str, data: bytes) -> dict:
        said: dict = {
            "type": "file",
            "path": path,
            "size": len(data),
            "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
        }
        if path.endswith((".parquet", ".zst", ".gz")):
            said["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return said


@contextmanager
def serving(web: Web) -> Iterator[Web]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _answer(web))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
