"""The planner over hundreds of random recipes: sums, quotas, floors, caps, groups; what it suggests works, a token further fails."""

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.units import Quantity, quantity
from mixture.budget import Infeasible, Stock, plan
from mixture.levels import grow, outcome
from tests.mixture.asked import changed, read, stocks

SIZES = [0, 1, 2, 3, 7, 10, 99, 100, 101, 10**6, 10**6 + 1, 10**12 + 7]
CAPS = [1, 1.5, 2, 7, 1.01]
POLICIES = ["fixed", "fixed", "proportional", "unimax", "temperature", "weights"]
MANY = settings(max_examples=200, deadline=None)


def policy(rng, names, unit):
    kind = rng.choice(POLICIES)
    if kind == "temperature":
        clip = {"at_most": f"{rng.randint(1, 10**6)} {unit}"} if rng.random() < 0.3 else {}
        return {"kind": kind, "temperature": rng.choice([1, 1.43, 3.3, 10]), **clip}
    if kind == "weights":
        weights = [rng.randint(0, 5) for _ in names]
        return {"kind": kind, "weights": dict(zip(names, weights if any(weights) else [1] * len(names), strict=True))}
    return {"kind": kind}


def level(rng, total, unit, depth, is_sized):
    """A policy and its components; shares of a fixed level are exact fractions that add up."""
    names = [f"c{i}" for i in range(rng.randint(1, 4 if depth else 6))]
    how = policy(rng, names, unit)
    weights = [rng.choice([0, 1, 1, 2, 3, 10**6]) for _ in names]
    weights = weights if any(weights) else [1] * len(names)
    kind = rng.choice(["share", "share", "documents", "x", "count" if is_sized and total is not None else "share"])
    counts = split(total, weights) if kind == "count" else []
    parts = {}
    for i, name in enumerate(names):
        share = Fraction(weights[i], sum(weights))
        budget = {"share": Quantity(share, f"share_of_{unit}"), "documents": Quantity(share, "share_of_documents"),
                  "x": Quantity(Fraction(weights[i]), "multiplier")}.get(kind) or f"{counts[i]} {unit}"  # fmt: skip
        part = {"budget": budget} if how["kind"] == "fixed" else {}
        if rng.random() < 0.2:
            part["floor"] = f"{rng.choice([0, 1, 5, 50, 10**5])} {unit}"
        if depth < 2 and rng.random() < 0.25:
            inside = counts[i] if kind == "count" and how["kind"] == "fixed" else None
            below, own = level(rng, inside, unit, depth + 1, is_sized and how["kind"] == "fixed")
            part |= {"policy": below, "components": own}
        else:
            part |= {"from": ["s"], "role": "other", "max_epochs": rng.choice(CAPS)}
        parts[name] = part
    return how, parts


def split(total, weights):
    """Counts in proportion to weights that add up to the total."""
    counts = [total * w // sum(weights) for w in weights]
    counts[-1] += total - sum(counts)
    return counts


def recipe(seed):
    """(mixture section as plain data, phase, stocks) of a seed."""
    rng = random.Random(seed)
    unit = rng.choice(["tokens", "tokens", "loss_tokens", "examples"])
    total = rng.choice([1, 2, 10, 97, 1000, 10**6 + 3, 3 * 10**12 + 1])
    how, parts = level(rng, total, unit, 0, True)
    data = {"total": f"{total} {unit}", "sequence_length": 8, "policy": how, "components": parts,
            "on_shortage": rng.choice(["fail", "fail", "shrink_total", "bend_shares"])}  # fmt: skip
    phase = read(data).phase_list[0]
    near = [max(total // len(phase.leaves), 1), total]
    unique = [rng.choice([*SIZES, *near, near[0] + 1, near[0] * 2]) for _ in phase.leaves]
    epoch = [u * rng.choice([1, 1, 2]) for u in unique]
    documents = [max(1, e // rng.choice([1, 3, 500])) if e else 0 for e in epoch]
    consumed = [rng.randint(0, e) if rng.random() < 0.2 else 0 for e in epoch]
    return data, phase, stocks(phase, unique, epoch, documents, consumed)


@given(st.integers(0, 2**64))
@MANY
def test_what_is_planned_keeps_every_promise(seed):
    _, phase, have = recipe(seed)
    try:
        done = plan(phase, have)
    except Infeasible:
        return
    found, root = outcome(grow(phase, have), phase.on_shortage), grow(phase, have)
    assert done.total == (phase.total.count if done.bent != "shrink_total" else done.total) <= phase.total.count
    assert sum(found.values.values()) == done.total > 0
    for leaf in root.leaves():
        assert leaf.floor <= done.targets[leaf.index] <= max(have[leaf.index].cap, 0) == done.caps[leaf.index]
    for node in root.all():  # quota: floor or ceiling of the exact value, for groups as for leaves
        exact = sum(found.values[leaf.index] for leaf in node.leaves())
        target = sum(done.targets[leaf.index] for leaf in node.leaves())
        assert abs(target - exact) < 1 and target >= node.floor
    if not done.bent and all(
        node.whole == node.wanted for node in root.all() if node.parts
    ):  # no group of nothing is asked for some
        assert sum(done.requested) == done.total
    _check_level(root, found, bends=done.bent == "bend_shares")


def _check_level(node, found, bends):
    """Rigid levels keep their shares; the others are one water level within what their parts need and can take."""
    exact = {part.name: sum(found.values[leaf.index] for leaf in part.leaves()) for part in node.parts}
    whole = sum(exact.values())
    if node.is_fixed and not bends:
        asked = sum(part.wanted for part in node.parts)
        assert all(exact[part.name] * asked == part.wanted * whole for part in node.parts)
    else:
        level = found.levels[node.name]
        for part in node.parts:
            low, high = _range(part, bends)
            assert exact[part.name] == min(high, max(low, level * part.wanted)) or part.wanted == 0
    for part in node.parts:
        if part.parts:
            _check_level(part, found, bends)


def _range(node, bends):
    """The least and the most that a node can have, from leaves up."""
    if not node.parts:
        return Fraction(node.floor), Fraction(max(node.stock.cap, 0))
    ranges = [_range(part, bends) for part in node.parts]
    if node.is_fixed and not bends:
        asked = sum(part.wanted for part in node.parts)
        some = [(low * asked / part.wanted, high * asked / part.wanted)
                for part, (low, high) in zip(node.parts, ranges, strict=True) if part.wanted]  # fmt: skip
        return max([node.floor, *(low for low, _ in some)]), min((high for _, high in some), default=Fraction(0))
    takes = [high if part.wanted else min(low, high) for part, (low, high) in zip(node.parts, ranges, strict=True)]
    return max(Fraction(node.floor), sum(low for low, _ in ranges)), sum(takes)


@given(st.integers(0, 2**64))
@MANY
def test_every_suggestion_works_and_a_token_further_fails(seed):
    data, phase, have = recipe(seed)
    try:
        plan(phase, have)
    except Infeasible as error:
        for suggestion in error.suggestions:
            change = suggestion["set"]
            again, stock = after(data, phase, have, change)
            done = plan(again, stock)
            assert done.total == again.total.count or again.on_shortage == "shrink_total"
            for nearer in further(data, phase, have, change):
                with pytest.raises(Infeasible):
                    plan(*nearer)
        text = str(error)
        assert "next:" in text and "found:" in text and text.startswith("mixture")


def after(data, phase, have, change):
    """The changed recipe read from its data, and its stocks: caps grow with max_epochs, what was consumed stays so."""
    again = read(changed(data, change)).phase_list[0]
    gone = [int(ask.max_epochs * s.epoch // 1) - s.cap for ask, s in zip(phase.asks, have, strict=True)]
    return again, stocks(again, [s.unique for s in have], [s.epoch for s in have], [s.documents for s in have], gone)


def further(data, phase, have, change):
    """The same changes, each a token less of a change."""
    unit, total = phase.unit, phase.total.count
    for key, value in change.items():
        if key.endswith("max_epochs"):
            again, stock = after(data, phase, have, change)
            leaf = key.removeprefix("mixture.components.").removesuffix(".max_epochs").replace(".components.", "/")
            i = phase.leaves.index(leaf)
            stock[i] = Stock(stock[i].unique, stock[i].epoch, stock[i].documents, stock[i].cap - 1)
            yield again, stock
        elif key.endswith(".floor"):
            more = quantity(value, (unit,)).count + 1
            yield after(data, phase, have, {**change, key: f"{more} {unit}"})
        elif key == "mixture.total":
            other = quantity(value, (unit,)).count
            nearer = other + (1 if other < total else -1)
            budgets = {}
            if len(change) > 1:  # the same shares of that total
                nodes = {node.ask.key: node for node in grow(phase, have).all() if node.ask}
                budgets = {k: Quantity(nodes[k.removesuffix(".budget")].wanted * nearer / total, unit)
                           for k in change if k.endswith(".budget")}  # fmt: skip
            yield put(data, phase, have, {key: f"{nearer} {unit}", **budgets})


def put(data, phase, have, change):
    """`after`, with budgets that no text can say."""
    texts = {key: value for key, value in change.items() if isinstance(value, str)}
    whole = changed(data, texts)
    for key, value in change.items():
        if not isinstance(value, str):
            node = {"mixture": whole}
            for step in key.split(".")[:-1]:
                node = node[step]
            node["budget"] = value
    again = read(whole).phase_list[0]
    gone = [int(ask.max_epochs * s.epoch // 1) - s.cap for ask, s in zip(phase.asks, have, strict=True)]
    return again, stocks(again, [s.unique for s in have], [s.epoch for s in have], [s.documents for s in have], gone)
