"""Values between the process that holds generated code and the one that tests it: plain data is copied, all else stays as a handle.

In and out: JSON text on a line. Nothing that is decoded runs code (no pickle): a cheating object cannot bring its own __eq__ along.
Imports the standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from numbers import Integral
from typing import Any, BinaryIO

MAX_LINE = 1 << 24  # bytes of one message


def encode(value: Any, keep: Callable[[Any], int]) -> Any:
    """JSON for a value; a subclass of a plain type becomes that type; `keep` stores what is not plain and gives its number."""
    kinds: list[tuple[type, Callable[[Any], Any]]] = [
        (bool, lambda v: v is True),
        (int, lambda v: {"int": int.__format__(v, "x")}),
        (float, lambda v: {"float": float.hex(v)}),
        (complex, lambda v: {"complex": [float.hex(v.real), float.hex(v.imag)]}),
        (str, str.__str__),
        (bytes, lambda v: {"bytes": bytes.hex(v)}),
        (list, lambda v: {"list": [encode(x, keep) for x in list.__iter__(v)]}),
        (tuple, lambda v: {"tuple": [encode(x, keep) for x in tuple.__iter__(v)]}),
        (set, lambda v: {"set": [encode(x, keep) for x in set.__iter__(v)]}),
        (frozenset, lambda v: {"frozenset": [encode(x, keep) for x in frozenset.__iter__(v)]}),
        (dict, lambda v: {"dict": [[encode(k, keep), encode(x, keep)] for k, x in dict.items(v)]}),
        (range, lambda v: {"range": [v.start, v.stop, v.step]}),
    ]
    if value is None:
        return None
    for kind, as_json in kinds:
        if isinstance(value, kind):
            return as_json(value)
    if type(value).__module__ == "numpy":  # its scalars and arrays
        return encode(value.tolist(), keep)
    if isinstance(value, Integral):
        return encode(int(value), keep)
    return {"handle": [keep(value), type(value).__name__]}


def decode(found: Any, handle: Callable[[int, str], Any]) -> Any:
    """The value again; `handle` makes what stands for a kept one. ValueError where the text is none of ours."""
    if found is None or isinstance(found, bool | str):
        return found
    if not isinstance(found, dict) or len(found) != 1:
        raise ValueError("not an encoded value")
    ((kind, body),) = found.items()
    makers: dict[str, Callable[[], Any]] = {
        "int": lambda: int(body, 16),
        "float": lambda: float.fromhex(body),
        "complex": lambda: complex(float.fromhex(body[0]), float.fromhex(body[1])),
        "bytes": lambda: bytes.fromhex(body),
        "list": lambda: [decode(x, handle) for x in body],
        "tuple": lambda: tuple(decode(x, handle) for x in body),
        "set": lambda: {decode(x, handle) for x in body},
        "frozenset": lambda: frozenset(decode(x, handle) for x in body),
        "dict": lambda: {decode(k, handle): decode(x, handle) for k, x in body},
        "range": lambda: range(*body),
        "handle": lambda: handle(int(body[0]), str(body[1])),
    }
    if kind not in makers:
        raise ValueError(f"unknown kind {kind!r}")
    return makers[kind]()


def send(file: BinaryIO, message: dict) -> None:
    file.write(json.dumps(message).encode() + b"\n")
    file.flush()


def receive(file: BinaryIO) -> dict:
    """The next message; EOFError where the other side is gone, ValueError where it is too long or no object."""
    line = file.readline(MAX_LINE)
    if not line.endswith(b"\n"):
        if line:
            raise ValueError("a message that is cut or too long")
        raise EOFError
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("not a message")
    return message
