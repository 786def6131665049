"""Policies against their closed forms: UniMax's own algorithm, powers with integer bounds, water by hand; groups and odd units too."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixture.budget import Infeasible, check, plan
from mixture.levels import grow, outcome
from mixture.policies import DIGITS, largest_remainder, root, water_fill
from tests.mixture.asked import mixture, read, stocks

SIZES = st.lists(st.integers(0, 10**12), min_size=1, max_size=12)
MANY = settings(max_examples=300, deadline=None)


def under(policy, total, caps, **floors):
    """A phase of components c0, c1, ... without budgets."""
    rows = {f"c{i}": {"from": ["s"], "role": "other", "max_epochs": cap} for i, cap in enumerate(caps)}
    for name, floor in floors.items():
        rows[name]["floor"] = floor
    return read({"total": f"{total} tokens", "sequence_length": 8, "policy": policy, "components": rows}).phase_list[0]


def exact_values(phase, unique):
    found = outcome(grow(phase, stocks(phase, unique)), phase.on_shortage)
    return [found.values[i] for i in range(len(unique))]


def unimax(sizes, budget, epochs):
    """Algorithm 1 of Chung et al. 2023 (arXiv 2304.09151), in fractions: from the smallest to the largest, the fair share or N epochs."""
    given, left = [Fraction(0)] * len(sizes), Fraction(budget)
    by_size = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for rank, i in enumerate(by_size):
        given[i] = min(left / (len(sizes) - rank), Fraction(epochs * sizes[i]))
        left -= given[i]
    return given


@given(SIZES, st.integers(1, 5), st.integers(1, 10**13))
@MANY
def test_unimax_is_the_papers_algorithm(sizes, epochs, budget):
    phase = under("unimax", budget, [epochs] * len(sizes))
    if epochs * sum(sizes) < budget:
        with pytest.raises(Infeasible, match="all caps together allow"):
            plan(phase, stocks(phase, sizes))
        return
    assert exact_values(phase, sizes) == unimax(sizes, budget, epochs)
    assert plan(phase, stocks(phase, sizes)).targets == largest_remainder(unimax(sizes, budget, epochs), budget)


def test_unimax_by_hand():
    phase = under("unimax", 100, [1, 1, 4])
    done = plan(phase, stocks(phase, [10, 500, 9]))  # 33.3 each: 10 and 36 are less, the rest 54 goes to the second
    assert done.targets == [10, 54, 36] and done.requested == [34, 33, 33] and done.binding == ["c0"]
    phase = under("unimax", 100, [1, 1, 3])
    done = plan(phase, stocks(phase, [10, 500, 9]))
    assert done.targets == [10, 63, 27] and done.binding == ["c0", "c2"]
    assert done.level == Fraction(63 * 3, 100) and done.bent == ""  # 63 of an even share of 33.3


@given(SIZES, st.integers(1, 10**12))
@MANY
def test_proportional_is_proportional(sizes, budget):
    whole = sum(sizes)
    phase = under("proportional", budget, [10**6] * len(sizes))
    if whole * 10**6 < budget or not whole:
        return
    assert plan(phase, stocks(phase, sizes)).targets == largest_remainder([Fraction(budget * u, whole) for u in sizes], budget)
    same = under({"kind": "temperature", "temperature": 1}, budget, [10**6] * len(sizes))
    assert plan(same, stocks(same, sizes)).targets == plan(phase, stocks(phase, sizes)).targets


@given(
    st.integers(2, 10**15),
    st.sampled_from([Fraction(1), Fraction(2), Fraction(33, 10), Fraction(143, 100), Fraction(1, 2), Fraction(10)]),
)
@MANY
def test_a_root_is_right_to_its_last_digit(value, temperature):
    """r^p and value^q in integers, on both sides of the digit that was rounded."""
    p, q = temperature.numerator, temperature.denominator
    r = root(value, temperature)
    digit = Fraction(10) ** (len(str(int(r))) - DIGITS)
    assert (r - digit / 2) ** p <= value**q <= (r + digit / 2) ** p


def test_roots_by_hand():
    assert [root(u, Fraction(2)) for u in (0, 1, 4, 9, 10**12)] == [0, 1, 2, 3, 10**6]
    assert str(float(root(2, Fraction(2))))[:12] == "1.4142135623"
    # a vector: the same on every machine (10^12)^(10/33)
    assert root(10**12, Fraction(33, 10)) == Fraction("4328.76128108305834740213688640")


def test_temperature_by_hand():
    phase = under({"kind": "temperature", "temperature": 2}, 90, [100] * 3)
    assert plan(phase, stocks(phase, [4, 9, 16])).targets == [20, 30, 40]
    phase = under({"kind": "temperature", "temperature": 2, "at_most": "9 tokens"}, 80, [100] * 3)
    assert plan(phase, stocks(phase, [4, 9, 16])).targets == [20, 30, 30]
    phase = under({"kind": "temperature", "temperature": 2}, 90, [4, 9, 9])  # 16 is all the first has; 74 at 3 : 4
    assert plan(phase, stocks(phase, [4, 9, 16])).targets == [16, 32, 42]


def test_weights_from_outside():
    phase = under({"kind": "weights", "weights": {"c0": 0.1, "c1": 0.2, "c2": 0}}, 30, [1, 1, 1])
    assert plan(phase, stocks(phase, [100, 100, 100])).targets == [10, 20, 0]
    assert plan(phase, stocks(phase, [4, 100, 100])).targets == [4, 26, 0]


def test_floors_lift_and_the_others_share_the_rest():
    phase = under("proportional", 100, [4, 1, 1], c0="20 tokens")
    assert plan(phase, stocks(phase, [10, 60, 140])).targets == [20, 24, 56]  # 80 at 60 : 140
    phase = under("proportional", 100, [4, 1, 1], c0="2 epochs", c1="30 % of tokens")
    assert plan(phase, stocks(phase, [10, 60, 140])).targets == [20, 30, 50]
    one, two = Fraction(1), Fraction(2)
    assert water_fill([one, one, two], [5, 0, 0], [9, 3, 100], 14) == ([5, 3, 6], 3)  # level 3: a floor, a cap, and 2 x 3
    assert water_fill([one, one, two], [5, 0, 0], [9, 3, 100], 20) == ([Fraction(17, 3), 3, Fraction(34, 3)], Fraction(17, 3))
    assert water_fill([one, one], [5, 6], [9, 9], 11) == ([5, 6], 0)
    with pytest.raises(ValueError, match="do not allow"):
        water_fill([one, one], [5, 6], [9, 9], 19)


def test_floors_that_cannot_be():
    phase = under("unimax", 100, [1, 1], c0="70 tokens", c1="40 tokens")
    with pytest.raises(Infeasible, match="the floors take 110 tokens, the total is 100") as caught:
        plan(phase, stocks(phase, [500, 500]))
    assert [s["set"] for s in caught.value.suggestions] == [
        {"mixture.components.c0.floor": "60 tokens"}, {"mixture.total": "110 tokens"}
    ]  # fmt: skip
    phase = under("unimax", 100, [2, 1], c0="70 tokens")
    with pytest.raises(Infeasible, match="c0 has a floor of 70 tokens, has 30 unique, 2 epochs allow 60") as caught:
        plan(phase, stocks(phase, [30, 500]))
    assert {"mixture.components.c0.floor": "60 tokens"} in [s["set"] for s in caught.value.suggestions]
    data = mixture([("a", "60 tokens", 1), ("b", "40 tokens", 1)], "100 tokens")
    data["components"]["a"]["floor"] = "70 tokens"
    with pytest.raises(Infeasible, match="a asks 60 tokens, its floor is 70") as caught:
        check(read(data))  # no document can change it
    assert [s["set"] for s in caught.value.suggestions] == [
        {"mixture.on_shortage": "bend_shares"}, {"mixture.components.a.floor": "60 tokens"}
    ]  # fmt: skip
    phase = read({**data, "on_shortage": "bend_shares"}).phase_list[0]
    assert plan(phase, stocks(phase, [500, 500])).targets == [70, 30]
    with pytest.raises(Infeasible, match="the floor of c0 passes its own cap"):
        check(read({"total": "9 tokens", "sequence_length": 8, "policy": "unimax",
                    "components": {"c0": {"from": ["s"], "role": "other", "floor": "3 epochs", "max_epochs": 2}}}))  # fmt: skip


def test_a_shortage_under_a_policy_names_the_cheapest_passes():
    phase = under("unimax", 100, [1, 2, 1])
    with pytest.raises(Infeasible) as caught:
        plan(phase, stocks(phase, [10, 20, 30]))  # 80 in all, 20 lack: the third needs two thirds of a pass, the others more
    assert "the total is 100 tokens, all caps together allow 80" in str(caught.value)
    assert [s["set"] for s in caught.value.suggestions] == [
        {"mixture.components.c2.max_epochs": "1.67"}, {"mixture.total": "80 tokens"}, {"mixture.on_shortage": "shrink_total"}
    ]  # fmt: skip
    assert plan(under("unimax", 80, [1, 2, 1]), stocks(phase, [10, 20, 30])).targets == [10, 40, 30]


def test_documents_are_drawn_and_tokens_follow_their_length():
    """LLAMMAS: of 4 documents 3 are Estonian, with 100 tokens each, and 1 is English, with 500: 300 tokens to 500."""
    rows = [("et", "75 % of documents", 1), ("en", "25 % of documents", 1)]
    phase = read(mixture(rows, "8000 tokens")).phase_list[0]
    assert plan(phase, stocks(phase, [10**6, 10**6], documents=[10**4, 2000])).targets == [3000, 5000]
    assert plan(read(mixture(rows, "8000 examples")).phase_list[0], stocks(phase, [9000, 9000], documents=[9000] * 2)).targets == [
        6000, 2000,
    ]  # fmt: skip
    with pytest.raises(Infeasible, match=r"en asks .* has 0 unique"):  # nobody else gets its share
        plan(phase, stocks(phase, [10**6, 0], documents=[10**4, 0]))


def test_multipliers_are_epochs_in_proportion():
    phase = read(mixture([("wiki", "3 x", 3), ("web", "1.5 x", 1.5)], "450 tokens")).phase_list[0]
    assert plan(phase, stocks(phase, [100, 100])).targets == [300, 150]
    phase = read(mixture([("wiki", "3 x", 3), ("web", "1.5 x", 1.5)], "45 tokens")).phase_list[0]
    assert plan(phase, stocks(phase, [100, 100])).targets == [30, 15]
    with pytest.raises(Infeasible):
        plan(read(mixture([("wiki", "3 x", 3), ("web", "1.5 x", 1.5)], "451 tokens")).phase_list[0], stocks(phase, [100, 100]))


def grouped(**more):
    part = {"from": ["s"], "role": "other"}
    return {
        "total": "100 tokens", "sequence_length": 8,
        "components": {
            "et": {**part, "budget": "50 % of tokens"},
            "en": {"budget": "50 % of tokens", "components": {
                "web": {**part, "budget": "80 % of tokens"}, "books": {**part, "budget": "20 % of tokens"}}},
        }, **more,
    }  # fmt: skip


def test_groups_by_hand():
    phase = read(grouped()).phase_list[0]
    assert phase.leaves == ("et", "en/web", "en/books")
    assert plan(phase, stocks(phase, [100, 100, 100])).targets == [50, 40, 10]
    with pytest.raises(Infeasible) as caught:
        plan(phase, stocks(phase, [100, 100, 8]))
    assert "en/books asks 10 tokens, has 8 unique" in str(caught.value)
    assert [s["set"] for s in caught.value.suggestions] == [
        {"mixture.components.en.components.books.max_epochs": "1.3"},
        {"mixture.total": "80 tokens"},  # shares stay shares: 8 is a tenth
        {"mixture.on_shortage": "shrink_total"}, {"mixture.on_shortage": "bend_shares"},
    ]  # fmt: skip
    bent = plan(read(grouped(on_shortage="bend_shares")).phase_list[0], stocks(phase, [100, 100, 8]))
    assert bent.targets == [50, 42, 8] and bent.level == 1 and bent.levels["en"] == Fraction(42, 40)  # bent inside its group only
    shrunk = plan(read(grouped(on_shortage="shrink_total")).phase_list[0], stocks(phase, [100, 100, 8]))
    assert shrunk.targets == [40, 32, 8]
    bent = plan(read(grouped(on_shortage="bend_shares")).phase_list[0], stocks(phase, [100, 30, 8]))
    assert bent.targets == [62, 30, 8] and bent.binding == ["en/web", "en/books"]


def test_a_group_with_a_policy_of_its_own():
    data = grouped()
    data["components"]["en"]["policy"] = "unimax"
    for part in data["components"]["en"]["components"].values():
        del part["budget"]
    phase = read(data).phase_list[0]
    assert plan(phase, stocks(phase, [100, 100, 8])).targets == [50, 42, 8]
    with pytest.raises(Infeasible, match="group en is 50 tokens, all caps together allow 48"):
        plan(phase, stocks(phase, [100, 40, 8]))


def test_rounding_keeps_groups_and_leaves_within_one():
    part = {"from": ["s"], "role": "other", "budget": "50 % of tokens"}
    both = {"x": part, "y": part}
    data = {"total": "3 tokens", "sequence_length": 8,
            "components": {name: {"budget": "50 % of tokens", "components": both} for name in "ab"}}  # fmt: skip
    phase = read(data).phase_list[0]
    assert plan(phase, stocks(phase, [9] * 4)).targets == [1, 1, 1, 0]  # 1.5 and 1.5; 0.75 each


def test_sums_inside_a_group():
    data = grouped()
    data["components"]["en"]["components"]["books"]["budget"] = "30 % of tokens"
    with pytest.raises(Infeasible, match=r"group en do not add up to it: 5 tokens too many") as caught:
        check(read(data))
    assert caught.value.suggestions == [{"set": {"mixture.components.en.components.web.budget": "70 % of tokens"}}]


def test_phases_are_planned_with_their_own_keys():
    part = {"from": ["s"], "role": "other"}
    data = {
        "sequence_length": 8, "components": {"hq": {**part, "max_epochs": 2}, "web": part},
        "phases": {"main": {"total": "90 tokens", "components": {"web": "100 % of tokens"}},
                   "anneal": {"total": "10 tokens", "components": {"hq": "60 % of tokens", "web": "4 tokens"}}},
    }  # fmt: skip
    main, anneal = read(data).phase_list
    assert plan(main, stocks(main, [7, 100])).targets == [0, 90]
    with pytest.raises(Infeasible) as caught:
        plan(anneal, stocks(anneal, [2, 100], consumed=[0, 98]))
    assert str(caught.value).startswith("mixture.phases.anneal: not enough tokens")
    assert "web asks 4 tokens, has 100 unique, 1 epochs allow 2 more (98 are consumed)" in str(caught.value)
    assert caught.value.suggestions[0]["set"] == {
        "mixture.components.hq.max_epochs": "3",
        "mixture.components.web.max_epochs": "1.02",
    }
    assert caught.value.suggestions[1]["set"] == {
        "mixture.phases.anneal.total": "5 tokens", "mixture.phases.anneal.components.hq.budget": "3 tokens",
        "mixture.phases.anneal.components.web.budget": "2 tokens",
    }  # fmt: skip
    assert caught.value.short["web"] == {"requested": 4, "cap": 2, "needs_unique": 2}
