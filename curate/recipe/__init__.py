"""Recipes: a YAML file in, a checked `Recipe` out; every mistake is one clear message before any work.

`load_recipe` follows `extends:`, expands presets into single bounds, applies `--set`, and checks names across the file.
Imports errors, units, store (hashing). Everybody may import it.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from curate.errors import CurateError, nearest
from curate.recipe.copies import Copies
from curate.recipe.files import Where, apply_set, load_extended, load_yaml, merge, validate
from curate.recipe.kinds import check_kind
from curate.recipe.kinds import fill as fill_of_kind
from curate.recipe.miniature import Miniature
from curate.recipe.miniature import check as check_miniature
from curate.recipe.mixture import Component, Condition, Continue, Group, Mixture, Phase, Policy
from curate.recipe.mixture_check import check_mixture
from curate.recipe.mixture_forms import components_of, expand_phases, scale, scaled, with_lists, with_weights
from curate.recipe.models import (
    DOMAIN_SIGNALS,
    Cut,
    DatatroveFilter,
    Decontaminate,
    Dedup,
    EvaluationSet,
    Exact,
    HeldOut,
    LanguageId,
    Limits,
    Model,
    Near,
    RecipeModel,
    Reference,
    Rule,
    TokenizerSpec,
    Urls,
)  # fmt: skip
from curate.recipe.phases import Ask, PhaseSpec
from curate.recipe.places import Mirror, Place, check_content, check_mirrored, is_url, local, mirror_at
from curate.recipe.remove import REMOVED, Remove, resolved
from curate.recipe.source import DECIDE_ROWS, PROVENANCE_KEYS, License, Source
from curate.recipe.strict import Strict
from curate.recipe.templates import expand as expand_templates
from curate.units import Quantity

__all__ = [
    "BROUGHT", "CONTAMINATED", "DECIDE_ROWS", "DOMAIN_SIGNALS", "PROVENANCE_KEYS", "REMOVED", "Ask", "Component", "Condition",
    "Continue", "Copies", "Cut", "DatatroveFilter", "Decontaminate", "Dedup", "EvaluationSet", "Exact", "Group", "HeldOut",
    "LanguageId", "License", "Limits", "Miniature", "Mixture", "Model", "Near", "Phase", "PhaseSpec", "Policy", "Quantity",
    "Recipe", "Reference", "Remove", "Rule", "Source", "Strict", "TokenizerSpec", "Urls", "Where", "load_recipe", "load_yaml",
    "merge", "validate",
]  # fmt: skip


class Recipe(RecipeModel):
    """A checked recipe and the folder its relative paths start from (`base`; never part of a fingerprint)."""

    base: Path = Path()

    def path(self, text: str, where: str = "") -> Path:
        """`{root}/x` or a path relative to the recipe file, roots and environment variables filled in; `preset:x` is a file that
        ships beside the presets."""
        if text.startswith("preset:"):
            return _shipped(text.removeprefix("preset:"), self.base, where or text)
        filled = self.filled(text, where)
        if is_url(filled):
            raise CurateError(
                "this must be a file on this machine",
                where=where or text,
                found=filled,
                next="copy it here: only what is read is fetched",
            )
        return self.base / Path(local(filled)).expanduser()

    def filled(self, text: str, where: str = "") -> str:
        """A path or URL with its root and environment variables."""

        def root(match: re.Match[str]) -> str:
            if match[1] not in self.roots:
                close = ", ".join(nearest(match[1], self.roots) or sorted(self.roots))
                raise CurateError(f"no root {match[1]!r}", where=where or text, allowed=close or "none is declared under roots:")
            return _environment(self.roots[match[1]], f"roots.{match[1]}")

        return re.sub(r"\{(\w+)\}", root, text)

    def matches(self, pattern: str, where: str = "") -> list[Path]:
        """Every file or folder that one pattern matches, sorted; of a URL the mirrored ones."""
        filled = self.filled(pattern, where)
        if is_url(filled):
            return self.mirror.read(Place(where, filled))
        return [Path(match) for match in sorted(glob.glob(str(self.path(pattern, where)), recursive=True))]

    def files(self, source: Source) -> list[Path]:
        """Every file or folder the source's patterns match, sorted, each once."""
        where = f"sources.{source.name}.read"
        found: dict[Path, None] = {}
        for pattern in source.read:
            matches = self.matches(pattern, where)
            if not matches:
                raise CurateError(
                    "no file matches", where=where, found=str(self.path(pattern, where)),
                    next="correct the pattern, or set the root it starts from",
                )  # fmt: skip
            found.update(dict.fromkeys(matches))
        for place in source.of_hub:
            found.update(dict.fromkeys(self.mirror.read(place)))
        return list(found)

    @property
    def mirror(self) -> Mirror:
        """Where URLs and datasets of the hub are mirrored: the root `mirror`, else mirror/ beside the recipe."""
        return mirror_at(self.path("{mirror}" if "mirror" in self.roots else "mirror", "roots.mirror"))

    def places(self) -> list[Place]:
        """Everything the recipe reads that is not on this machine."""
        of_eval = self.decontaminate.against if self.decontaminate else []
        named = [(f"sources.{s.name}.read", s.read) for s in self.sources.values()]
        named += [(f"dedup.against.{name}.read", one.read) for name, one in self.dedup.against.items()]
        if isinstance(of_eval, dict):
            named += [(f"decontaminate.against.{name}.read", one.read) for name, one in of_eval.items()]
        else:
            named.append(("decontaminate.against", of_eval))
        patterns = [
            (where, self.filled(pattern, where)) for where, read in named for pattern in read if not pattern.startswith("preset:")
        ]
        found = [Place(where, url) for where, url in patterns if is_url(url)]
        return [*found, *(place for source in self.sources.values() for place in source.of_hub)]

    def named_models(self) -> dict[str, Model | LanguageId]:
        """Models from files or the hub, by their place in the recipe."""
        found: dict[str, Model | LanguageId] = {f"models.{name}": model for name, model in self.models.items()}
        return found | {f"language_id.{i}": entry for i, entry in enumerate(self.language_id) if entry.model}

    def check_places(self) -> None:
        """Whatever lies elsewhere is mirrored."""
        if places := self.places():
            check_mirrored(self.mirror, places)

    def check_mirror(self, sha256: dict[Path, str]) -> None:
        """The mirrored ones of these files, with the sha256 found, are what was fetched."""
        if self.places():
            check_content(self.mirror, sha256)

    def canonical(self) -> dict:
        """Plain data with defaults filled in, presets expanded and roots left symbolic; loads to the same recipe."""
        data = self.model_dump(mode="json", by_alias=True, exclude={"base"}, exclude_none=True)
        if self.dedup.near is None:
            data["dedup"]["near"] = None  # left out it would be the default: near duplicates are looked for
        named = [(data, "sources"), (data, "models"), (data["dedup"], "against")]
        named += [(data["decontaminate"], "against")] if isinstance(data.get("decontaminate", {}).get("against"), dict) else []
        for place, group in named:
            place[group] = {name: {k: v for k, v in one.items() if k != "name"} for name, one in place[group].items()}
        return data

    def canonical_yaml(self) -> bytes:
        return yaml.safe_dump(self.canonical(), sort_keys=False, allow_unicode=True, width=120).encode()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.canonical_yaml()).hexdigest()


def _environment(text: str, where: str) -> str:
    filled = os.path.expandvars(text)
    if match := re.search(r"\$\{?(\w+)\}?", filled):
        raise CurateError("this environment variable is not set", where=where, found=match[0], next=f"export {match[1]}=FOLDER")
    return filled


def load_recipe(path: Path, sets: Sequence[str] = (), *, sample: Fraction | None = None, base: Path | None = None) -> Recipe:
    """Read, expand, override and check a recipe. `sample` in (0, 1) also scales token budgets; relative paths start at `base`
    (default: the folder of the file)."""
    path = Path(path)
    data, where = load_extended(path)
    base = path.parent if base is None else base
    if "after_cuts" in data:
        data["rules"] = [*(data.get("rules") or []), *_after_cuts(data.pop("after_cuts"), where, path)]
    if isinstance(data.get("rules"), list):
        data["rules"] = [rule for rule in data["rules"] if not (isinstance(rule, dict) and rule.get("origin") in BROUGHT)]
        data["rules"] = _expand_rules(data["rules"], base, where, path)
    expand_phases(data)
    for assignment in sets:
        key, _, value = assignment.partition("=")
        for one in _assignments(data, key, value):
            apply_set(data, one)
        where[tuple(key.split("."))] = f"--set {key}"
    expand_phases(data)
    _expand_copies(data, sets, base, where, path)
    expand_templates(data.get("sources"), lambda name, place: preset(name, base, place))
    fill_of_kind(data)
    if sample is not None:
        data["sample"] = str(Quantity(sample, "share"))
    dedup, decontaminate = data.get("dedup") or {}, data.get("decontaminate") or {}
    groups = [data.get("sources"), data.get("models"), dedup.get("against") if isinstance(dedup, dict) else None]
    groups.append(decontaminate.get("against") if isinstance(decontaminate, dict) else None)
    for group in groups:
        for name, named in group.items() if isinstance(group, dict) else ():
            if isinstance(named, dict):
                named["name"] = name
    recipe = validate(Recipe, {**data, "base": base}, where, path)
    recipe = recipe.model_copy(update={"mixture": with_lists(with_weights(recipe.mixture, recipe.path), recipe.path)})
    _check_names(recipe, where, path)
    recipe = _with_license_rules(recipe, path)
    recipe = _with_contamination_rules(recipe, path)
    recipe = _with_empty_rule(recipe, path)
    if recipe.remove is not None:
        if any(rule.name == REMOVED for rule in recipe.rules):
            raise CurateError(f"the name {REMOVED!r} is the reason of remove:", where=str(path), next="choose another name:")
        recipe = recipe.model_copy(update={"remove": resolved(recipe.remove, recipe.path)})
    return recipe if sample is None else _scaled(recipe, sample)


def _with_empty_rule(recipe: Recipe, file: Path) -> Recipe:
    """The last rule of every source with cuts: a kept document has a word left. `cuts:` alone says for which sources."""
    asked = [cut.sources for cut in recipe.cuts]
    if recipe.decontaminate and recipe.decontaminate.action == "cut":
        asked.append(recipe.decontaminate.sources)
    sources = [name for name in recipe.sources if any(names is None or name in names for names in asked)]
    if not sources:
        return recipe
    taken = next((r for r in recipe.rules if r.name == EMPTY_AFTER_CUTS and _overlap(r.sources, sources)), None)
    if taken is not None:
        raise CurateError(
            f"the name {EMPTY_AFTER_CUTS!r} is the rule's that cuts bring", where=str(file), next="choose another name:"
        )
    own = None if len(sources) == len(recipe.sources) else sources
    rule = Rule(name=EMPTY_AFTER_CUTS, signal="after_cuts_n_words", min=1, sources=own, origin="cuts")
    return recipe.model_copy(update={"rules": [*recipe.rules, rule]})


def _with_license_rules(recipe: Recipe, file: Path) -> Recipe:
    """`licenses: {forbidden: drop, unknown: drop}` are rules, after the recipe's own."""
    brought = recipe.licenses.rules() if recipe.licenses is not None else []
    for rule in brought:
        if any(other.name == rule["name"] for other in recipe.rules):
            raise CurateError(
                f"the name {rule['name']!r} is the rule's that licenses brings", where=str(file), next="choose another name:"
            )
    return recipe.model_copy(update={"rules": [*recipe.rules, *(Rule(**rule, origin="licenses") for rule in brought)]})


def _with_contamination_rules(recipe: Recipe, file: Path) -> Recipe:
    """`decontaminate: {action: drop_document}` is a rule over the score that family contamination measures, the last of the recipe's
    own; with `passages: act` there is one over passages besides."""
    given = recipe.decontaminate
    if given is None or given.action != "drop_document":
        return recipe
    signals = {CONTAMINATED: "contamination_score"}
    if given.passages == "act":
        signals[f"{CONTAMINATED}_passage"] = "contamination_passage_score"
    for name in signals:
        if any(rule.name == name and _overlap(rule.sources, given.sources) for rule in recipe.rules):
            raise CurateError(
                f"the name {name!r} is the rule's that decontaminate brings", where=str(file), next="choose another name:"
            )
    rules = [Rule(name=name, signal=signal, max=given.overlap, sources=given.sources, origin=DECONTAMINATE)
             for name, signal in signals.items()]  # fmt: skip
    return recipe.model_copy(update={"rules": [*recipe.rules, *rules]})


def _assignments(data: dict, key: str, value: str) -> list[str]:
    """`min_n_words=40` and `rules.min_n_words=40` set the bound of every rule of that name (each for other sources)."""
    name = key.removeprefix("rules.")
    rules = [(i, rule) for i, rule in enumerate(data.get("rules") or []) if isinstance(rule, dict) and rule.get("name") == name]
    if rules:
        return [f"rules.{i}.{next(op for op in OPS if op in rule)}={value}" for i, rule in rules]
    if name == CONTAMINATED and data.get("decontaminate"):
        return [f"decontaminate.overlap={value}"]
    if not key or "." in key or key in RecipeModel.model_fields:
        return [f"{key}={value}"]
    known = [*(r.get("name", "") for r in data.get("rules") or [] if isinstance(r, dict)), *RecipeModel.model_fields]
    close = nearest(key, known)
    raise CurateError(
        f"neither a rule nor a recipe key: {key!r}", where="--set", allowed=", ".join(close or known),
        next=f"did you mean {close[0]!r}?" if close else "",
    )  # fmt: skip


EMPTY_AFTER_CUTS = "empty_after_cuts"
CHANGED = ", set here"  # of a preset's bound that the recipe overrides
CONTAMINATED, DECONTAMINATE = "contaminated", "decontaminate"
BROUGHT = ("cuts", DECONTAMINATE, "licenses")  # origins of rules that other keys bring, and bring again
OPS = ("min", "max", "equals", "keep")


def _after_cuts(bounds: object, where: Where, file: Path) -> list[dict]:
    """`after_cuts: {min_n_words: 50}` as rules over the signals of the text after the recipe's cuts."""
    place = where.get(("after_cuts",), str(file))
    if not isinstance(bounds, dict):
        raise CurateError("after_cuts is a mapping", where=place, found=repr(bounds), allowed="{min_n_words: 50}")
    return [{**_rule_of_bound(key, value), "after_cuts": True} for key, value in bounds.items()]


def _rule_of_bound(key: str, value: object) -> dict:
    """`min_n_words: 50` -> {signal: n_words, min: 50}; a key without min_ or max_ is the signal, its value what it equals."""
    op, _, signal = key.partition("_")
    return {"signal": signal, op: value} if op in ("min", "max") else {"signal": key, "equals": value}


def _expand_rules(rules: list, base: Path, where: Where, file: Path) -> list[dict]:
    """Presets and rules with several bounds become rules of one bound each, in order, each with its name and origin."""
    expanded: list[dict] = []
    for i, rule in enumerate(rules):
        place = where.get(("rules", str(i)), str(file))
        if not isinstance(rule, dict):
            raise CurateError("a rule is a mapping", where=place, found=repr(rule), allowed="{signal: n_words, min: 50}")
        rule = dict(rule)
        prefix = "after_cuts_" if rule.pop("after_cuts", False) else ""
        if isinstance(rule.get("sources"), str):
            rule["sources"] = [rule["sources"]]
        if "preset" in rule:
            expanded += _expand_preset(rule, prefix, base, place)
            continue
        if "datatrove" in rule and "signal" not in rule:
            rule = _datatrove_rule(rule, place)
        bounds = [op for op in OPS if op in rule]
        signal = prefix + str(rule.get("signal", ""))
        for op in bounds or [""]:
            one = {key: value for key, value in rule.items() if key not in OPS or key == op} | {"signal": signal}
            default = f"{op}_{signal}" if op in ("min", "max") else signal
            one["name"] = rule.get("name") if len(bounds) <= 1 and rule.get("name") else default
            where.setdefault(("rules", str(len(expanded))), place)
            expanded.append(one)
    taken: dict[str, dict] = {}
    for rule in expanded:  # the same bound for other sources keeps its name; the sources tell the rules apart
        if (other := taken.get(rule["name"])) is not None and _overlap(other.get("sources"), rule.get("sources")):
            raise CurateError(
                f"two rules are called {rule['name']!r} for the same source", where=str(file),
                next="give one of them a name: of its own, or set: the preset's bound",
            )  # fmt: skip
        taken[rule["name"]] = rule
    return expanded


def _overlap(a: list | None, b: list | None) -> bool:
    return a is None or b is None or bool(set(a) & set(b))


def _datatrove_rule(rule: dict, place: str) -> dict:
    """`{datatrove: GopherQualityFilter, args: {...}}` -> a rule on the signal that holds that filter's verdict."""
    if not isinstance(rule["datatrove"], str):
        raise CurateError("datatrove: names a filter", where=place, found=repr(rule["datatrove"]), allowed="GopherQualityFilter")
    name = rule.get("name") or rule["datatrove"].rpartition(".")[2]
    filter_ = {"filter": rule["datatrove"], "args": rule.get("args") or {}}
    rest = {key: value for key, value in rule.items() if key != "args"}
    return {**rest, "name": name, "datatrove": filter_, "signal": f"{name}_keep", "equals": 1}


def _expand_preset(rule: dict, prefix: str, base: Path, place: str) -> list[dict]:
    name = str(rule["preset"])
    if unknown := sorted(set(rule) - {"preset", "sources", "set"}):
        raise CurateError(f"unknown key {unknown[0]!r} beside preset", where=place, allowed="preset, sources, set, after_cuts")
    bounds = dict(preset(name, base, place)["bounds"])
    for key, value in (rule.get("set") or {}).items():
        if key not in bounds:
            close = nearest(key, bounds)
            raise CurateError(f"preset {name} has no bound {key!r}", where=place, allowed=", ".join(close or bounds))
        bounds[key] = value
    result = []
    for key, value in bounds.items():
        one = _rule_of_bound(key, value)
        op = next(o for o in OPS if o in one)
        one["signal"] = prefix + one["signal"]
        one["name"] = f"{op}_{one['signal']}" if op in ("min", "max") else one["signal"]
        if rule.get("sources") is not None:
            one["sources"] = rule["sources"]
        changed = key in (rule.get("set") or {})
        result.append({**one, "origin": f"preset {name}" + (CHANGED if changed else "")})
    return result


def _expand_copies(data: dict, sets: Sequence[str], base: Path, where: Where, file: Path) -> None:
    """`copies: {preset: fineweb2}` becomes the table of presets/fineweb2/rehydration.yaml; `by:` and bounds of `table:` change it."""
    for at, component in components_of(data):
        given = component.get("copies") if isinstance(component, dict) else None
        if not isinstance(given, dict):
            continue
        at = (*at, "copies")
        is_set = any(assignment.startswith(".".join(at) + ".") for assignment in sets)
        if "preset" not in given:
            origin = str(given.get("origin", ""))
            if is_set and origin.startswith("preset ") and not origin.endswith(CHANGED):
                component["copies"] = {**given, "origin": origin + CHANGED}
            continue
        place = _place(where, at, file)
        if unknown := sorted(set(given) - {"preset", "by", "table"}):
            raise CurateError(f"unknown key {unknown[0]!r} beside preset", where=place, allowed="preset, by, table")
        of = str(given["preset"]).removesuffix("/rehydration")
        shipped = preset(f"{of}/rehydration", base, place)
        changed = given.get("table", {})
        if not isinstance(changed, dict):
            raise CurateError("table: is {lower bound: copies}", where=place, found=repr(changed))
        origin = f"preset {of}/rehydration" + (CHANGED if changed else "")
        component["copies"] = {"by": given.get("by", shipped["by"]), "table": {**shipped["table"], **changed}, "origin": origin}


def preset(name: str, base: Path, place: str = "") -> dict[str, Any]:
    """Thresholds shipped as data, with their citation: presets/ beside the recipe first, then the package's own."""
    return load_yaml(_shipped(f"{name}.yaml", base, place))[0]


def _shipped(name: str, base: Path, place: str) -> Path:
    """A file below presets/: beside the recipe, in the installed package, or in this repository; the first that is there."""
    package = Path(__file__).resolve().parent.parent
    folders = [base / "presets", package / "presets", package.parent / "recipes" / "presets"]
    for folder in folders:
        if (file := folder / name).is_file():
            return file
    suffix = Path(name).suffix
    known = sorted({p.relative_to(f).as_posix() for f in folders if f.is_dir() for p in f.rglob(f"*{suffix}")})
    shown = [n.removesuffix(".yaml") for n in nearest(name, known) or known]
    raise CurateError(f"no preset {name.removesuffix('.yaml')!r}", where=place, allowed=", ".join(shown))


def _place(where: Where, at: tuple[str, ...], file: Path) -> str:
    """`file:line` of the key, or of the longest part of it that stands in a file."""
    return next((where[at[:n]] for n in range(len(at), 0, -1) if at[:n] in where), str(file))


def _check_names(recipe: Recipe, where: Where, file: Path) -> None:
    known = list(recipe.sources)

    def check(names: Sequence[str], *at: str) -> None:
        for name in names:
            if name not in recipe.sources:
                close = nearest(name, known)
                raise CurateError(
                    f"{'.'.join(at)}: no source {name!r}", where=_place(where, at, file), allowed=", ".join(close or known)
                )

    for i, rule in enumerate(recipe.rules):
        check(rule.sources or [], "rules", str(i), "sources")
    for name, model in recipe.models.items():
        check(model.sources or [], "models", name, "sources")
    for i, cut in enumerate(recipe.cuts):
        check(cut.sources or [], "cuts", str(i), "sources")
    near, exact = recipe.dedup.near, recipe.dedup.exact
    check(near.across if near and near.across != "all" else [], "dedup", "near", "across")
    check(recipe.dedup.within, "dedup", "within")
    check(exact.across if exact.across != "all" else [], "dedup", "exact", "across")
    check(exact.within, "dedup", "exact", "within")
    check((recipe.decontaminate and recipe.decontaminate.sources) or [], "decontaminate", "sources")
    if taken := sorted(set(recipe.dedup.against) & set(recipe.sources)):
        raise CurateError(f"dedup.against and sources both have {taken[0]!r}", where=where.get(("dedup", "against"), str(file)))
    check_mixture(recipe.mixture, recipe.sources, lambda *at: _place(where, at, file))
    check_kind(recipe.kind, recipe.sources, recipe.mixture, lambda *at: _place(where, at, file))
    if recipe.miniature is not None:
        check_mixture(recipe.miniature.of, recipe.sources, lambda *at: _place(where, ("miniature", "of", *at[1:]), file))
        check_miniature(recipe.mixture, recipe.miniature)
    names = [backend.name for backend in recipe.language_id]
    if len(set(names)) < len(names):
        raise CurateError(
            "two language_id entries have one name", where=where.get(("language_id",), str(file)), found=", ".join(names)
        )


def _scaled(recipe: Recipe, share: Fraction) -> Recipe:
    """Budgets of a sample: the same shares of totals that much smaller; what is short then shrinks the total."""
    held_out = recipe.held_out and recipe.held_out.model_copy(
        update={"per_component": scale(recipe.held_out.per_component, share)}
    )
    return recipe.model_copy(update={"mixture": scaled(recipe.mixture, share), "held_out": held_out})
