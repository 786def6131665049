"""Selection over phases written again from the words of mixture/selection.py, in plain Python, and random recipes for it.

Documents are those of small_build.py; a use is (phase, component, pass, [(id, first token, tokens)]).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from curate.recipe import Recipe
from mixture import order
from tests.mixture.small_build import documents_of, name_of, recipe_with

MASK = 2**64 - 1
UNITS = ("tokens", "loss_tokens", "examples")


def mix64(z: int) -> int:
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def keyed_hash(name: str, key: int) -> int:
    return mix64((mix64(int(name[:16], 16) ^ key) + int(name[16:], 16)) & MASK)


def n_labels(document: dict, start: int, end: int) -> int:
    """Labels that count of a use of tokens [start, end)."""
    return end - start - 1 if document["loss"] is None else int(sum(document["loss"][start + 1 : end]))


@dataclass
class Model:
    """What a build of `recipe` has to do, phase after phase."""

    recipe: Recipe
    sources: dict[str, list[dict]]
    copies: dict[str, list[int]] = field(default_factory=dict)  # component -> copies of its bins
    used: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    rest: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    consumed: dict[str, dict[str, int]] = field(default_factory=lambda: {unit: defaultdict(int) for unit in UNITS})
    held: set[str] = field(default_factory=set)
    held_before: set[str] = field(default_factory=set)
    uses: list[tuple] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.leaves, self.specs = list(self.recipe.mixture.leaves.items()), self.recipe.mixture.phase_list
        self.source = {d["id"]: source for source, documents in self.sources.items() for d in documents}
        self.by_id = {d["id"]: d for documents in self.sources.values() for d in documents}

    def component(self, document: dict, present: set[int]) -> int:
        """The first of the components in `present` that a document matches, -1."""
        if not len(document["tokens"]):
            return -1
        for number, (_, c) in enumerate(self.leaves):
            fits = self.source[document["id"]] in c.from_ and all(b.holds(document.get(key)) for key, b in c.where.items())
            if number in present and fits:
                return number
        return -1

    def hold_out(self) -> set[str]:
        """Clusters in order of their hash, component after component, whole, while no limit is passed."""
        self.held = set()
        present = {c for spec in self.specs for c, ask in enumerate(spec.asks) if ask}
        home = {d["id"]: self.component(d, present) for d in self.by_id.values()}
        cluster = {d["id"]: d["cluster_id"] or d["id"] for d in self.by_id.values()}
        members = defaultdict(list)
        for id_ in self.by_id:
            members[cluster[id_]].append(id_)
        size = {id_: len(d["tokens"]) for id_, d in self.by_id.items()}
        old = {cluster[id_] for id_ in self.held_before if id_ in home and home[id_] >= 0}
        self.held = {i for name in old for i in members[name] if home[i] >= 0 and not self.used[i]}
        taken = [sum(size[i] for i in self.held if home[i] == c) for c in range(len(self.leaves))]
        if self.recipe.held_out is None:
            return self.held
        limits = []
        for c in range(len(self.leaves)):
            tokens = sum(size[i] for i in home if home[i] == c)
            limits.append(min(self.recipe.held_out.per_component.count, int(self.recipe.held_out.at_most.value * tokens // 1)))
        names = sorted(members, key=lambda name: (keyed_hash(name, order.key(self.recipe.seed, "held-out")), name))
        for c in range(len(self.leaves)):
            for name in names:
                if taken[c] >= limits[c]:
                    break
                here = [i for i in members[name] if home[i] >= 0]
                if (
                    c not in {home[i] for i in here}
                    or name in old
                    or any(self.used[i] for i in members[name])
                    or here[0] in self.held
                ):
                    continue
                adds = [sum(size[i] for i in here if home[i] == k) for k in range(len(self.leaves))]
                if all(not a or t + a <= limit for a, t, limit in zip(adds, taken, limits, strict=True)):
                    self.held.update(here)
                    taken = [t + a for t, a in zip(taken, adds, strict=True)]
        return self.held

    def members(self, f: int, c: int) -> list[dict]:
        """In canonical order: sources as `from` names them, then id."""
        present = {i for i, ask in enumerate(self.specs[f].asks) if ask}
        return [
            d for source in self.leaves[c][1].from_ for d in self.sources[source]
            if d["id"] not in self.held and self.component(d, present) == c
        ]  # fmt: skip

    def n_copies(self, c: int, document: dict) -> int:
        bins = self.copies.get(self.leaves[c][0])
        return 1 if bins is None or document.get("bin", -1) < 0 else bins[document["bin"]]

    def measure(self, document: dict, start: int, end: int, unit: str) -> int:
        return {"tokens": end - start, "loss_tokens": n_labels(document, start, end), "examples": int(start == 0)}[unit]

    def whole(self, document: dict, unit: str) -> int:
        return self.measure(document, 0, len(document["tokens"]), unit)

    def epoch(self, f: int, c: int, unit: str) -> int:
        return sum(self.n_copies(c, d) * self.whole(d, unit) for d in self.members(f, c))

    def cap(self, f: int, c: int, unit: str) -> int:
        """By running through every pass that the cap allows."""
        _, component = self.leaves[c]
        own, allowed = self.members(f, c), Fraction(str(component.max_epochs))
        most = max((self.n_copies(c, d) for d in own), default=1)
        left = 0
        for p in range(math.ceil(allowed) * most):
            for d in own:
                start = self.stands(f, c, d, p, most)
                left += 0 if start is None else self.measure(d, start, len(d["tokens"]), unit)
        consumed = sum(self.consumed[unit][d["id"]] for d in own)
        return max(0, min(int(allowed * self.epoch(f, c, unit) // 1) - consumed, left))

    def stands(self, f: int, c: int, document: dict, p: int, most: int) -> int | None:
        """Where the use of a document in pass p starts, None where the pass does not hold it."""
        m, id_ = self.n_copies(c, document), document["id"]
        o = (
            keyed_hash(id_, order.key(self.recipe.seed, "copies", self.specs[f].name, self.leaves[c][0])) % most
            if most > 1
            else 0
        )
        index = (p + o) * m // most - o * m // most
        if (p + 1 + o) * m // most == (p + o) * m // most:
            return None
        if self.rest[id_] and index == self.used[id_] - 1:
            return self.rest[id_]
        return 0 if index >= self.used[id_] else None

    def run(self, f: int, targets: dict[int, int]) -> None:
        """The phase's passes, components in recipe order, each until its target is reached."""
        spec = self.specs[f]
        for c, target in sorted(targets.items()):
            own = self.members(f, c)
            most = max((self.n_copies(c, d) for d in own), default=1)
            p = 0
            while target:
                starts = [self.stands(f, c, d, p, most) for d in own]
                held = [(d, start) for d, start in zip(own, starts, strict=True) if start is not None]
                key = order.key(self.recipe.seed, "documents", spec.name, self.leaves[c][0], str(p))
                use = []
                for i in order.permutation(len(held), key).tolist():
                    document, start = held[i]
                    end = len(document["tokens"])
                    if self.measure(document, start, end, spec.unit) > target:
                        end = next(e for e in range(start, end) if self.measure(document, start, e, spec.unit) == target)
                    target -= self.measure(document, start, end, spec.unit)
                    use.append((document["id"], start, end - start))
                    self.take(document, start, end)
                    if not target:
                        break
                if use:
                    self.uses.append((f, c, p, use))
                p += 1

    def take(self, document: dict, start: int, end: int) -> None:
        id_ = document["id"]
        self.used[id_] += start == 0
        self.rest[id_] = end if end < len(document["tokens"]) else 0
        for unit in UNITS:
            self.consumed[unit][id_] += self.measure(document, start, end, unit)


# --- random recipes ----------------------------------------------------------------------------------------------------

LAWS = [
    lambda rng, n, length: rng.integers(1, 12, n), lambda rng, n, length: rng.integers(1, 4 * length, n),
    lambda rng, n, length: np.full(n, length), lambda rng, n, length: np.full(n, length + 1), lambda rng, n, length: np.ones(n, int),
    lambda rng, n, length: np.maximum(1, rng.lognormal(3, 1.3, n)).astype(int), lambda rng, n, length: rng.integers(0, 3, n) * length,
]  # fmt: skip


def random_sources(rng: np.random.Generator, length: int, names: str = "abcd", time: int = 0) -> dict[str, list[dict]]:
    """Documents with a score, a bin of copies, in clusters over the sources; some sources have loss masks. Ids differ by `time`."""
    sources = {}
    for name in names[: int(rng.integers(1, len(names) + 1))]:
        lengths = LAWS[int(rng.integers(len(LAWS)))](rng, int(rng.integers(1, 40)), length).tolist()
        sources[name] = documents_of(f"{name}{time or ''}", lengths, int(rng.integers(2**31)))
        masked = rng.random() < 0.4
        for d in sources[name]:
            d["score"] = int(rng.integers(0, 10))
            d["bin"] = int(rng.integers(-1, 3))
            d["cluster_id"] = name_of("cluster", int(rng.integers(0, 12))) if rng.random() < 0.3 else None
            if masked:
                d["loss"] = rng.integers(0, 2, len(d["tokens"]))
    return sources


def random_mixture(rng: np.random.Generator, sources: dict[str, list[dict]], length: int) -> tuple[dict, dict[str, list[int]]]:
    """A mixture section whose phases have no totals or budgets yet, and the copies of its components. Components overlap; one may
    take everything that is left."""
    names = list(sources)
    leaves: dict[str, dict] = {}
    copies: dict[str, list[int]] = {}
    lows = sorted(
        rng.choice(10, int(rng.integers(1, 5)), replace=False).tolist(), reverse=True
    )  # so that none takes all of a later one
    for i, low in enumerate(lows):
        chosen = [str(s) for s in rng.permutation(names)[: int(rng.integers(1, len(names) + 1))]]
        leaf: dict = {"from": chosen, "role": "other", "max_epochs": float(rng.choice([1, 1.5, 2, 3.25, 7]))}
        leaf["where"] = {"score": {"min": low, **({"max": low + int(rng.integers(0, 9))} if rng.random() < 0.5 else {})}}
        if rng.random() < 0.4:
            copies[f"c{i}"] = [int(n) for n in rng.integers(1, 6, 3)]
            leaf["copies"] = {"by": "quality", "table": {str(k): n for k, n in enumerate(copies[f"c{i}"])}}
        leaves[f"c{i}"] = leaf
    leaves["rest"] = {"from": names, "role": "other", "max_epochs": float(rng.choice([1, 2.5, 4]))}
    phases = {
        f"p{f}": {
            "sequence_length": int(rng.choice([8, 17, length])), "packing": str(rng.choice(["best_fit", "best_fit", "concat"])),
            "components": [name for name in leaves if rng.random() < 0.7] or ["rest"],
        }
        for f in range(int(rng.integers(1, 5)))
    }  # fmt: skip
    idle = [name for name in leaves if all(name not in phase["components"] for phase in phases.values())]
    phases["p0"]["components"] = [name for name in leaves if name in {*phases["p0"]["components"], *idle}]
    return {"sequence_length": length, "components": leaves, "phases": phases}, copies


def with_budgets(
    rng: np.random.Generator, folder: Path, mixture: dict, sources: dict, copies: dict, held_out: dict | None, seed: int,
    begin: Model | None = None,
) -> tuple[Recipe | None, Model | None, list[dict[int, int]]]:  # fmt: skip
    """The recipe with budgets that its caps allow, the model after all its phases, and per phase what each component is due. None where
    a component has nothing to train on in any phase."""
    leaves = list(mixture["components"])
    for phase in mixture["phases"].values():
        unit = str(rng.choice(UNITS))
        phase |= {"total": f"1 {unit}", "components": {name: {"budget": f"1 {unit}"} for name in phase["components"]}}
    trial = _begun(recipe_with(folder, mixture, list(sources), held_out, seed), sources, copies, begin)
    due: list[dict[int, int]] = []
    for f, phase in enumerate(mixture["phases"].values()):
        unit = phase["total"].split()[1]
        caps = {name: trial.cap(f, leaves.index(name), unit) for name in phase["components"]}
        targets, budgets = _shares(rng, caps, unit) if rng.random() < 0.3 else _counts(rng, caps, unit)
        due.append({leaves.index(name): target for name, target in targets.items()})
        phase |= {"total": f"{max(sum(targets.values()), 1)} {unit}", "components": budgets}
        trial.run(f, due[f])
    for f in range(len(due) - 1, -1, -1):  # a phase that has nothing left to train on is none
        if not sum(due[f].values()):
            del due[f], mixture["phases"][f"p{f}"]
    if {c for targets in due for c in targets} != set(range(len(leaves))):
        return None, None, due
    model = _begun(recipe_with(folder, mixture, list(sources), held_out, seed), sources, copies, begin)
    for f, targets in enumerate(due):
        model.run(f, targets)
    return model.recipe, model, due


def _begun(recipe: Recipe, sources: dict, copies: dict, begin: Model | None) -> Model:
    """A model that starts where `begin` ended."""
    model = Model(recipe, sources, copies)
    if begin is not None:
        model.used.update(begin.used)
        model.held_before = set(begin.held_before)
        for unit in UNITS:
            model.consumed[unit].update(begin.consumed[unit])
    model.hold_out()
    return model


def _counts(rng: np.random.Generator, caps: dict[str, int], unit: str) -> tuple[dict[str, int], dict[str, dict]]:
    targets = {name: int(rng.choice([rng.integers(0, cap + 1), cap, min(cap, 1)])) for name, cap in caps.items()}
    targets = targets if any(targets.values()) else dict(caps)
    return targets, {name: {"budget": f"{target} {unit}"} for name, target in targets.items()}


def _shares(rng: np.random.Generator, caps: dict[str, int], unit: str) -> tuple[dict[str, int], dict[str, dict]]:
    """Shares in thousandths, so that rounding has work to do: by largest remainder, the first of equals first."""
    edges = np.sort(rng.integers(0, 1001, len(caps) - 1))
    shares = dict(zip(caps, [Fraction(int(n), 1000) for n in np.diff([0, *edges, 1000])], strict=True))
    total = min(int(cap // shares[name]) for name, cap in caps.items() if shares[name])
    ideal = {name: share * total for name, share in shares.items()}
    targets = {name: int(value // 1) for name, value in ideal.items()}
    for name in sorted(ideal, key=lambda name: targets[name] - ideal[name])[: total - sum(targets.values())]:
        targets[name] += 1
    return targets, {name: {"budget": f"{float(share * 100):.1f} % of {unit}"} for name, share in shares.items()}
