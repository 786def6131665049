"""The program of a sandboxed process, started by sandbox.py: it confines itself, then holds generated code or tests it.

In: a JSON order on standard input. Out: messages on two pipes (values.py). The candidate's process runs the generated code and answers
calls; the judge's process runs the tests of the benchmark, with calls in place of the candidate's functions. So generated code never
meets the tests, cannot patch what they use, and has nothing to say but the values it returns. Imports isolation and values.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import sys
import types
from typing import Any, BinaryIO

if __name__ == "__main__":  # python -I -S: only the standard library is on the path
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from train.evaluation import isolation, values

    del sys.path[0]


def main() -> None:
    order = json.load(sys.stdin)
    isolation.die_with_parent()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    held = isolation.confine(order["folder"], order["readable"], order["disk_bytes"], lambda: isolation.limits(**order["limits"]))
    sys.path += order["packages"]
    requests, replies, report = os.fdopen(order["in"], "rb"), os.fdopen(order["out"], "wb"), os.fdopen(order["report"], "wb")
    values.send(report, {"held": held})
    if order["role"] == "candidate":
        report.close()
        candidate(order["source"], requests, replies)
    else:
        values.send(report, judge(order, Line(requests, replies)))


def candidate(source: str, requests: BinaryIO, replies: BinaryIO) -> None:
    """Run the generated code, then answer: {call, args, kwargs}, {iterate}, {get, name} -> {value} or {raised}."""
    kept: list[Any] = []
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module  # dataclasses and pickle look their module up

    def keep(value: Any) -> int:
        kept.append(value)
        return len(kept) - 1

    def answer(request: dict) -> Any:
        if "run" in request:
            exec(compile(request["run"], "candidate.py", "exec"), module.__dict__)
            return None
        of = request["of"]
        target = getattr(module, of) if isinstance(of, str) else kept[of]
        if request["do"] == "iterate":
            return list(target)
        if request["do"] == "get":
            return getattr(target, request["name"])
        args, kwargs = values.decode(request["args"], lambda number, _: kept[number])
        return target(*args, **kwargs)

    request = {"run": source}
    while True:
        try:
            reply = {"value": values.encode(answer(request), keep)}
        except BaseException as error:  # sys.exit() too: the code has no say in how the test ends
            names = [kind.__name__ for kind in type(error).__mro__]
            reply = {"raised": names, "text": f"{type(error).__name__}: {error}"[:500]}
        values.send(replies, reply)
        try:
            request = values.receive(requests)
        except EOFError:
            return


class Remote:
    """A function or object of the candidate's process. Comparing or testing it is refused: only plain values can pass a test."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, line: Line, of: str | int, kind: str) -> None:
        self._line, self._of, self._kind = line, of, kind

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._line.ask({"of": self._of, "do": "call", "args": values.encode((args, kwargs), self._line.number)})

    def __iter__(self) -> Any:
        return iter(self._line.ask({"of": self._of, "do": "iterate"}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._line.ask({"of": self._of, "do": "get", "name": name})

    def __eq__(self, other: object) -> bool:
        raise TypeError(f"a {self._kind} of the candidate is no plain value")

    def __bool__(self) -> bool:
        raise TypeError(f"a {self._kind} of the candidate is no plain value")


class Line:
    """The judge's end of the two pipes."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self.incoming, self.outgoing = incoming, outgoing

    def ask(self, request: dict) -> Any:
        values.send(self.outgoing, request)
        return self.answer()

    def answer(self) -> Any:
        reply = values.receive(self.incoming)
        if "raised" in reply:
            raise _exception(reply["raised"], str(reply.get("text", "")))
        return values.decode(reply.get("value"), lambda number, kind: Remote(self, number, kind))

    def number(self, value: Any) -> int:
        if isinstance(value, Remote) and isinstance(value._of, int):
            return value._of
        raise TypeError(f"a {type(value).__name__} of the tests cannot go to the candidate")


def _exception(names: list[str], text: str) -> BaseException:
    """The builtin exception closest to the candidate's (tests may expect a ValueError), never one that ends the judge."""
    for name in names:
        kind = getattr(builtins, str(name), None)
        if isinstance(kind, type) and issubclass(kind, Exception) and kind is not StopIteration:
            try:
                return kind(text)
            except TypeError:  # UnicodeDecodeError and others that want more
                continue
    return RuntimeError(text)


def judge(order: dict, line: Line) -> dict:
    """Run the tests of the benchmark: {status, detail}."""
    try:
        line.answer()  # whether the candidate's code ran to its end
        _tests(order, line)
        return {"status": "passed", "detail": ""}
    except (EOFError, BrokenPipeError):
        return {"status": "died", "detail": ""}
    except AssertionError as error:
        return {"status": "failed", "detail": f"AssertionError {error}".strip()[:500]}
    except BaseException as error:
        return {"status": "error", "detail": f"{type(error).__name__}: {error}"[:500]}


def _tests(order: dict, line: Line) -> None:
    """`before` is the benchmark's own code (helpers of a prompt); every name the tests use and nobody defines is the candidate's."""
    names: dict[str, Any] = {"__name__": "tests"}
    exec(compile(order["before"], "before.py", "exec"), names)
    free, modules = _free_names(order["tests"])
    names.update({name: __import__(name) for name in modules if name not in names})
    names.update({name: Remote(line, name, "function") for name in order["names"] or free if order["names"] or name not in names})
    exec(compile(order["tests"], "tests.py", "exec"), names)


def _free_names(source: str) -> tuple[list[str], list[str]]:
    """(names that only the candidate can give, modules of the standard library the tests name but do not import)."""
    nodes = list(ast.walk(ast.parse(source)))
    bound = {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    bound |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    bound |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    bound |= {(a.asname or a.name).split(".")[0] for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
    loaded = {n.id for n in nodes if isinstance(n, ast.Name)} - bound - set(dir(builtins))
    owners = {n.value.id for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}
    modules = loaded & owners & sys.stdlib_module_names
    return sorted(loaded - modules), sorted(modules)


if __name__ == "__main__":
    main()
