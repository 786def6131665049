"""Function calls in an answer: whether they are well formed, allowed by the tools, and the ones that were wanted.

In: a row with `tools` (OpenAI's form, or bare {name, description, parameters}; lists or JSON text) and `calls` (the wanted ones, [] where no
tool fits; `accept`: further lists that are right too), and the answer. Out: {valid, exact, match, decision, n_calls, errors}. As TUCAN
(Emanuilov 2025, arXiv 2506.23394) and the Berkeley leaderboard's AST match score them. Pure. Imports errors, store.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from curate.errors import CurateError
from curate.store import canonical_json


class Call(NamedTuple):
    name: str
    arguments: dict[str, Any]


# Where models put calls: tags (Hermes, Qwen), fences (TUCAN's ```tool_call), Mistral's and Llama's marks before bare JSON.
_MARKED = re.compile(
    r"<(tool_call|function_call)>(.*?)(?:</\1>|\Z)|```(?:tool_call|function_call)s?\s*\n?(.*?)(?:```|\Z)"
    r"|(?:\[TOOL_CALLS\]|<\|python_tag\|>)(.*)\Z",
    re.DOTALL,
)
_FENCED = re.compile(r"```(?:json|python)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


def check(row: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """`valid`: every call is well formed and allowed, and there is one where one is wanted. `decision`: called exactly where a tool fits.

    `exact`: the wanted calls and no others, in any order, with equal arguments; `match`: the same, but letter case, spaces and marks of
    strings do not count, nor 3 against 3.0. Where no tool fits, both say that none was called.
    """
    tools = _tools(row["tools"])
    wanted = [_calls(calls) for calls in (row["calls"], *row.get("accept", ()))]
    found, errors = parse(answer, tools)
    attempted = bool(found or errors)
    errors += [error for call in found for error in problems(call, tools)]
    needed = bool(wanted[0])
    right = not errors and attempted == needed
    return {
        "valid": not errors and (attempted or not needed),
        "decision": attempted == needed,
        "exact": right and any(_same_calls(found, calls, _equal) for calls in wanted),
        "match": right and any(_same_calls(found, calls, _alike) for calls in wanted),
        "n_calls": len(found),
        "errors": errors,
    }


def parse(answer: str, tools: Mapping[str, Any]) -> tuple[list[Call], list[str]]:
    """(calls, errors). What is marked as a call must parse; a bare text or an ordinary fence is a call only where it names one."""
    marked = ["".join(group for group in match.groups()[1:] if group) for match in _MARKED.finditer(answer)]
    calls: list[Call] = []
    errors: list[str] = []
    for text in marked:
        try:
            calls += _read(text.strip(), tools)
        except ValueError as error:
            errors.append(f"a call that does not parse: {error}")
    if marked:
        return calls, errors
    for text in [match[1] for match in _FENCED.finditer(answer)] or [answer]:
        try:
            found = _read(text.strip(), tools)
            calls += found if _means_calls(text, found, tools) else []
        except ValueError as error:
            if re.match(r"\s*\[?\s*\{\s*\"(?:name|function|tool_calls)\"", text):
                errors.append(f"a call that does not parse: {error}")
    return calls, errors


def _means_calls(text: str, found: Sequence[Call], tools: Mapping[str, Any]) -> bool:
    """Unmarked JSON with a name may describe a person, unmarked Python may be code: they are calls of a known tool, or say arguments."""
    said = re.search(r'"(?:arguments|parameters|args|tool_calls|function)"\s*:', text) or re.match(
        r"\s*\[\s*\w+(?:\.\w+)*\(", text
    )
    return bool(said) or any(call.name in tools for call in found)


def _read(text: str, tools: Mapping[str, Any]) -> list[Call]:
    """Calls of a text that is nothing but calls, as JSON (one, a list, one a line) or as Python. ValueError where it is none."""
    if text[:1] in ("{", "["):
        try:
            return _calls(json.loads(text, parse_constant=_no_constant))
        except json.JSONDecodeError as error:
            try:
                return [call for line in text.splitlines() if line.strip() for call in _calls(json.loads(line))]
            except json.JSONDecodeError:
                if not re.match(r"\[\s*\w+(?:\.\w+)*\(", text):
                    raise ValueError(f"{error.msg} at character {error.pos}") from None
    return _python_calls(text, tools)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _python_calls(text: str, tools: Mapping[str, Any]) -> list[Call]:
    try:
        tree = ast.parse(text, mode="eval").body
        nodes = tree.elts if isinstance(tree, ast.List | ast.Tuple) else [tree]
        return [_python_call(node, tools) for node in nodes]
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"neither JSON nor Python: {type(error).__name__}") from None


def _python_call(node: ast.expr, tools: Mapping[str, Any]) -> Call:
    if not isinstance(node, ast.Call):
        raise ValueError("not a call")
    name = ast.unparse(node.func)
    names = list(tools.get(name, {}).get("properties", {}))
    if len(node.args) > len(names) or any(keyword.arg is None for keyword in node.keywords):
        raise ValueError(f"{name} has arguments without names")
    given = {name: arg for name, arg in zip(names, node.args, strict=False)}
    given |= {str(keyword.arg): keyword.value for keyword in node.keywords}
    return Call(name, {key: ast.literal_eval(value) for key, value in given.items()})


def _calls(found: Any) -> list[Call]:
    """Calls of decoded JSON. ValueError where it is another thing."""
    if isinstance(found, list):
        return [call for one in found for call in _calls(one)]
    if not isinstance(found, dict):
        raise ValueError("a call is an object")
    if isinstance(found.get("tool_calls"), list):
        return _calls(found["tool_calls"])
    inner = found["function"] if isinstance(found.get("function"), dict) else found
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError("a call without a name")
    arguments: Any = next((inner[key] for key in ("arguments", "parameters", "args") if key in inner), {})
    if isinstance(arguments, str):
        arguments = json.loads(arguments) if arguments.strip() else {}
    if not isinstance(arguments, dict):
        raise ValueError(f"the arguments of {name} are no object")
    return [Call(name, arguments)]


def _tools(found: Any) -> dict[str, dict]:
    """Name -> JSON schema of its arguments."""
    tools = json.loads(found) if isinstance(found, str) else found
    schemas = {}
    for tool in tools:
        inner = tool["function"] if isinstance(tool.get("function"), dict) else tool
        if not isinstance(inner.get("name"), str):
            raise CurateError("a tool without a name", found=json.dumps(tool)[:120])
        schemas[inner["name"]] = inner.get("parameters") or {}
    return schemas


def shown(tools: Any) -> list[dict[str, Any]] | None:
    """The tools of a row as a chat template gets them in training (curate's conversations): text stays as it is, of objects the keys are
    sorted, nulls left out and bare tools wrapped. None for none."""
    if isinstance(tools, str):
        tools = json.loads(tools) if tools.strip() else None
        return [tools] if isinstance(tools, dict) and tools else tools or None
    listed = [tools] if isinstance(tools, dict) and tools else tools or []
    named = [tool if "function" in tool or "name" not in tool else {"type": "function", "function": tool} for tool in listed]
    return json.loads(canonical_json(_without_nulls(named))) or None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def problems(call: Call, tools: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Why the tools do not allow a call. An argument that no schema names is one, unless additionalProperties allows it."""
    if call.name not in tools:
        yield f"no tool {call.name!r}"
        return
    schema = {"additionalProperties": False, "type": "object", **tools[call.name]}
    yield from (f"{call.name}: {problem}" for problem in _against(call.arguments, schema, ""))


TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "float": (int, float), "boolean": (bool,), "array": (list, tuple),
    "tuple": (list, tuple), "object": (dict,), "dict": (dict,), "null": (type(None),),
}  # fmt: skip


def _is(value: Any, kind: str) -> bool:
    if kind not in TYPES:  # "any" and other inventions
        return True
    if isinstance(value, bool):
        return kind == "boolean"
    whole = kind == "integer" and isinstance(value, float) and value.is_integer()
    return whole or isinstance(value, TYPES[kind])


def _against(value: Any, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    """What of JSON schema the tools of models use: types, enum, const, required, properties, items, bounds, pattern, anyOf, oneOf, allOf."""
    where = place or "arguments"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{where} is {type(value).__name__}, not {' or '.join(kinds)}"
        return
    if "enum" in schema and not any(_equal(value, one) for one in schema["enum"]):
        yield f"{where} is none of {schema['enum']}"
    if "const" in schema and not _equal(value, schema["const"]):
        yield f"{where} is not {schema['const']!r}"
    for key in ("anyOf", "oneOf"):
        if key in schema and all(any(True for _ in _against(value, {**one}, place)) for one in schema[key]):
            yield f"{where} fits none of {key}"
    for one in schema.get("allOf", ()):
        yield from _against(value, one, place)
    if isinstance(value, dict):
        yield from _object(value, schema, place)
    elif isinstance(value, list | tuple):
        yield from _bounds(len(value), schema, "minItems", "maxItems", f"{where} has items:")
        for n, item in enumerate(value):
            yield from _against(item, schema["items"] if isinstance(schema.get("items"), dict) else {}, f"{where}[{n}]")
    elif isinstance(value, str):
        yield from _bounds(len(value), schema, "minLength", "maxLength", f"{where} has characters:")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{where} does not match {schema['pattern']}"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _bounds(value, schema, "minimum", "maximum", f"{where} is")
        yield from _bounds(value, schema, "exclusiveMinimum", "exclusiveMaximum", f"{where} is", strict=True)


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], place: str) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{place + '.' if place else ''}{name} is missing"
    for name, inner in value.items():
        full = f"{place}.{name}" if place else name
        if name in known:
            yield from _against(inner, known[name], full)
        elif schema.get("additionalProperties", True) is False:
            yield f"no argument {full!r}"


def _bounds(value: float, schema: Mapping[str, Any], low: str, high: str, what: str, strict: bool = False) -> Iterator[str]:
    for key, sign in ((low, 1), (high, -1)):
        bound = schema.get(key)
        # Draft 4 has booleans in exclusiveMinimum
        if (
            isinstance(bound, int | float)
            and not isinstance(bound, bool)
            and (sign * value < sign * bound or (strict and value == bound))
        ):
            yield f"{what} {value}, {key} {bound}"


# ---- whether they are the ones that were wanted


def _same_calls(found: Sequence[Call], wanted: Sequence[Call], same: Any) -> bool:
    """Whether the two have the same calls, in any order."""
    left = list(wanted)
    for call in found:
        place = next((i for i, one in enumerate(left) if one.name == call.name and same(call.arguments, one.arguments)), None)
        if place is None:
            return False
        del left[place]
    return not left


def _equal(a: Any, b: Any) -> bool:
    """Equality of JSON: true is not 1, 1 is 1.0."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return (type(a) is type(b) and a == b) or (isinstance(a, int | float) and isinstance(b, int | float) and a == b)


def _alike(a: Any, b: Any) -> bool:
    """The leaderboard's looser equality: strings without case, spaces and ,./-_*^ ; numbers to six digits."""
    if isinstance(a, str) and isinstance(b, str):
        return re.sub(r"[ ,./\-_*^]", "", a).lower().replace("'", '"') == re.sub(r"[ ,./\-_*^]", "", b).lower().replace("'", '"')
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, float) or isinstance(b, float):
        return _equal(a, b) or (_is(a, "number") and _is(b, "number") and math.isclose(a, b, rel_tol=1e-6))
    return _equal(a, b)
