"""What a gate asks: texts such as "+2 %", "-1.5 points, surely", ">= 95 %" in, checked `Rule`s out; which way is good for each metric.

A change is signed and bounds the bad side: where less is better the change may be at most the number ("+2 %" lets it rise by 2 %, "-10 %"
asks that it falls by 10 %), where more is better it must be at least the number ("-1.5 points" lets it fall, "+2 points" asks for a rise).
A bound (">= 95 %") is of the value after. `surely` and `proven` ask for the interval, see train.evaluation.gate.
May import curate.errors, curate.recipe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from curate.errors import CurateError, nearest
from curate.recipe.files import CurateErrorValue, load_yaml

Unit = Literal["%", "points", ""]
Ask = Literal["value", "surely", "proven"]

FORMS = '"+2 %" (relative), "-1.5 points", ">= 95 %", "<= 1.2"; each may end in ", surely" or ", proven"'
LESS = ("bits_per_byte", "loss", "perplexity", "nats_per_token", "error_rate", "wer", "cer", "ter", "gap")
MORE = (
    "accuracy", "exact_match", "numeric_exact_match", "score", "f1", "macro_f1", "f05", "mcc", "chrf", "chrf++", "bleu", "rouge_l", "pass_at",
    "format_valid", "valid", "call", "answer_language", "ifeval", "average", "win_rate",
)  # fmt: skip
OF_HUNDRED = ("chrf", "chrf++", "bleu", "ter")  # from 0 to 100 as sacrebleu has them; a point of these is 1, of shares 0.01

_NUMBER = r"(\d+(?:\.\d+)?)"
_ASK = r"(?:\s*,\s*([a-z]+))?"
_CHANGE = re.compile(rf"([+\-−])\s*{_NUMBER}\s*(%|points?)\s*{_ASK}")
_BOUND = re.compile(rf"(>=|<=|≥|≤)\s*(-?){_NUMBER}\s*(%)?\s*{_ASK}")


@dataclass(frozen=True)
class Rule:
    """`amount` in the metric's own unit for bounds without %, in per cent or points else. `side` is of bounds: >= or <=."""

    name: str
    text: str
    amount: float
    unit: Unit
    side: Literal["", ">=", "<="] = ""
    ask: Ask = "value"


def parse(name: str, text: object, where: str = "") -> Rule:
    """One rule. Raises CurateError naming the allowed forms."""
    where = where or f"gate.{name}"
    said = " ".join(str(text).split())
    if found := _CHANGE.fullmatch(said):
        sign = 1.0 if found[1] == "+" else -1.0
        unit: Unit = "%" if found[3] == "%" else "points"
        return Rule(name, said, sign * float(found[2]), unit, "", _ask(found[4], said, where))
    if found := _BOUND.fullmatch(said):
        amount = float(f"{found[2]}{found[3]}")
        side: Literal[">=", "<="] = ">=" if found[1] in (">=", "≥") else "<="
        return Rule(name, said, amount, "%" if found[4] else "", side, _ask(found[5], said, where))
    why = "a change needs its sign and its unit" if re.match(r"[+\-−]?\s*\d", said) else "this is not a rule of a gate"
    raise CurateError(why, where=where, found=repr(text), allowed=FORMS)


def _ask(word: str | None, said: str, where: str) -> Ask:
    if word is None:
        return "value"
    if word == "surely" or word == "proven":
        return word  # type: ignore[return-value]
    raise CurateError("no such word after the comma", where=where, found=said, allowed="surely, proven")


def parse_rules(rules: Mapping[str, object], where: str = "gate") -> list[Rule]:
    if not rules:
        raise CurateError("a gate without rules stops nothing", where=where, allowed="NAME: RULE; " + FORMS)
    return [parse(name, text, f"{where}.{name}") for name, text in rules.items()]


def checked(rules: dict[str, str]) -> dict[str, str]:
    """For run files: the same rules, or the mistake on its way through pydantic. Whether a name is measured only results can tell."""
    for name, text in rules.items():
        try:
            parse(name, text)
        except CurateError as error:
            error.what = f"{name}: {error.what}"
            raise CurateErrorValue(error) from None
    return rules


def read_rules(path: Path) -> list[Rule]:
    """Rules of a YAML file: names and texts, alone or under the key `gate:` or `rules:`."""
    data, where = load_yaml(Path(path))
    at: tuple[str, ...] = ()
    for key in ("gate", "rules"):
        if isinstance(data.get(key), dict):
            data, at = data[key], (*at, key)
    return [parse(name, text, f"{where.get((*at, name), str(path))}: {name}") for name, text in data.items() if name != "before"]


def from_options(texts: Iterable[str]) -> list[Rule]:
    """Rules of the command line: "NAME: RULE"."""
    rules = []
    for text in texts:
        name, colon, said = text.partition(":")
        if not colon or not name.strip():
            raise CurateError(
                "a rule is a name, a colon and what is allowed", where="--rule", found=text, allowed="en_bits_per_byte: +2 %"
            )
        rules.append(parse(name.strip(), said, f"--rule {name.strip()}"))
    return rules


def base(metric: str, known: Iterable[str]) -> str | None:
    """The known name a metric's begins with: pass_at_10 is pass_at, answer_language.et is answer_language; the longest counts."""
    fits = [name for name in known if metric == name or metric.startswith((f"{name}_", f"{name}."))]
    return max(fits, key=len) if fits else None


def is_less_better(metric: str) -> bool | None:
    """None where it is not known."""
    name = base(metric, (*LESS, *MORE))
    return None if name is None else name in LESS


def is_of_hundred(metric: str) -> bool:
    return base(metric, OF_HUNDRED) is not None


def check_metric(rule: Rule, metric: str) -> None:
    """Raises CurateError where a rule and the metric it is for do not fit: no known direction, the wrong side, the wrong unit."""
    less = is_less_better(metric)
    if not rule.side:
        if less is None:
            raise CurateError(
                "it is not known whether more or less of this metric is better", where=rule.name, found=rule.text,
                allowed=f"a bound (>=, <=), or a metric of known direction: {', '.join(nearest(metric, (*LESS, *MORE)) or MORE[:4])}",
            )  # fmt: skip
        if rule.unit == "points" and less and base(metric, ("gap", "error_rate", "wer", "cer", "ter")) is None:
            raise CurateError(
                "points are of shares (1 point is 0.01), which this is not", where=rule.name, found=rule.text, allowed='"+2 %"'
            )
        return
    if less is not None and rule.side == (">=" if less else "<="):
        way, other = ("less", "<=") if less else ("more", ">=")
        raise CurateError(f"{way} is better here", where=rule.name, found=rule.text, allowed=f"{other} NUMBER")
    if rule.unit == "%" and (less or is_of_hundred(metric)) and base(metric, ("gap", "error_rate", "wer", "cer")) is None:
        raise CurateError(
            "this metric is no share: its bound has no %", where=rule.name, found=rule.text, allowed=f"{rule.side} NUMBER"
        )


def scale(rule: Rule, metric: str) -> float:
    """The rule's number in the metric's own unit; of a relative change the share."""
    if rule.unit == "points":
        return rule.amount if is_of_hundred(metric) else rule.amount / 100
    return rule.amount / 100 if rule.unit == "%" else rule.amount
