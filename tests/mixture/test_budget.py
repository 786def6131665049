"""Budgets: exact integers by hand, and suggestions that work while a token further fails."""

import pickle
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curate.units import Quantity
from mixture import budget
from mixture.budget import Infeasible, exact
from mixture.levels import grow
from mixture.policies import largest_remainder, water_fill
from tests.mixture.asked import changed, mixture, read, stocks


def ask(*rows):
    """(name, budget text, max_epochs) each."""
    return list(rows)


def plan(asked, total, unique, how="fail", epoch=None):
    phase = read(mixture(asked, f"{total} tokens", how)).phase_list[0]
    return budget.plan(phase, stocks(phase, unique, epoch))


def check(asked, total, how="fail"):
    budget.check(read(mixture(asked, f"{total} tokens", how)))


def ideals(asked, total, epoch):
    phase = read(mixture(asked, f"{total} tokens")).phase_list[0]
    return [part.wanted for part in grow(phase, stocks(phase, epoch)).parts]


def applied(asked, total, change):
    """The recipe after a suggestion: requests, total, on_shortage."""
    data = changed(mixture(asked, f"{total} tokens"), change["set"])
    rows = [(name, c["budget"], c["max_epochs"]) for name, c in data["components"].items()]
    return rows, read(data).total.count, data["on_shortage"]


def test_largest_remainder_by_hand():
    third = Fraction(10, 3)
    assert largest_remainder([third] * 3, 10) == [4, 3, 3]  # equal remainders: the first
    assert largest_remainder([Fraction(25, 10), Fraction(49, 10), Fraction(26, 10)], 10) == [2, 5, 3]
    assert largest_remainder([Fraction(7), Fraction(3)], 10) == [7, 3]
    with pytest.raises(ValueError, match="not a rounding"):
        largest_remainder([Fraction(7), Fraction(3)], 11)


def test_shares_tokens_and_epochs():
    asked = ask(("a", "33.3 % of tokens", 4), ("b", "500 tokens", 4), ("c", "1.5 epochs", 2))
    assert ideals(asked, 1000, [9999, 9999, 5]) == [333, 500, 7]  # 1.5 epochs of 5 tokens: 7, never 8
    done = plan(ask(("a", "30 % of tokens", 1), ("b", "70 % of tokens", 1)), 101, [50, 80])
    assert done.targets == [30, 71] and done.total == 101 and done.bent == "" and done.caps == [50, 80]


def test_max_epochs_is_the_decimal_as_written():
    assert exact(1.1) == Fraction(11, 10) and exact(2) == 2
    assert plan(ask(("a", "11 tokens", 1.1)), 11, [10]).targets == [11]
    with pytest.raises(Infeasible):
        plan(ask(("a", "12 tokens", 1.1)), 12, [10])


def test_sums_that_are_off_say_by_how_much():
    with pytest.raises(Infeasible) as caught:
        check(ask(("a", "60 tokens", 1), ("b", "30 tokens", 1)), 100)
    assert "10 tokens too few" in str(caught.value)
    assert [s["set"] for s in caught.value.suggestions] == [
        {"mixture.total": "90 tokens"}, {"mixture.components.a.budget": "70 tokens"}
    ]  # fmt: skip
    with pytest.raises(Infeasible, match=r"0\.10 tokens too many"):
        check(ask(("a", "50.1 % of tokens", 1), ("b", "50 % of tokens", 1)), 100)


def test_share_and_tokens_together_find_the_total_that_fits():
    with pytest.raises(Infeasible) as caught:
        check(ask(("a", "60 tokens", 1), ("b", "25 % of tokens", 1)), 100)
    assert caught.value.suggestions[0]["set"] == {"mixture.total": "80 tokens"}
    for change in caught.value.suggestions:
        check(*applied(ask(("a", "60 tokens", 1), ("b", "25 % of tokens", 1)), 100, change)[:2])


def test_a_budget_above_its_own_cap_fails_before_work():
    with pytest.raises(Infeasible, match="passes its own cap") as caught:
        check(ask(("a", "3 epochs", 2.5)), 100)
    assert [s["set"] for s in caught.value.suggestions] == [
        {"mixture.components.a.max_epochs": "3"}, {"mixture.components.a.budget": "2.5 epochs"}
    ]  # fmt: skip


def test_shortage_names_the_constraint_and_the_smallest_changes():
    asked = ask(("et", "60 tokens", 2), ("en", "40 tokens", 1))
    with pytest.raises(Infeasible) as caught:
        plan(asked, 100, [20, 70])
    error = caught.value
    assert "et asks 60 tokens, has 20 unique, 2 epochs allow 40" in str(error)
    assert error.short == {"et": {"requested": 60, "cap": 40, "needs_unique": 10}}
    assert [s["set"] for s in error.suggestions] == [
        {"mixture.components.et.max_epochs": "3"},
        {"mixture.total": "66 tokens", "mixture.components.et.budget": "40 tokens", "mixture.components.en.budget": "26 tokens"},
        {"mixture.on_shortage": "shrink_total"},
        {"mixture.on_shortage": "bend_shares"},
    ]
    again = pickle.loads(pickle.dumps(error))
    assert again.suggestions == error.suggestions and str(again) == str(error)


def test_both_ways_to_bend_by_hand():
    asked = ask(("a", "50 % of tokens", 1), ("b", "30 % of tokens", 1), ("c", "20 % of tokens", 1))
    shrunk = plan(asked, 1000, [400, 900, 900], "shrink_total")
    assert (shrunk.targets, shrunk.requested, shrunk.binding, shrunk.bent) == (
        [400, 240, 160],
        [500, 300, 200],
        ["a"],
        "shrink_total",
    )
    bent = plan(asked, 1000, [400, 900, 900], "bend_shares")
    assert bent.targets == [400, 360, 240] and bent.level == Fraction(12, 10) and bent.total == 1000
    bent = plan(asked, 1000, [400, 350, 900], "bend_shares")  # the second cap binds only after the first
    assert bent.targets == [400, 350, 250] and bent.binding == ["a"]
    with pytest.raises(Infeasible) as caught:
        plan(asked, 1000, [400, 300, 250], "bend_shares")
    assert caught.value.suggestions[-1]["set"]["mixture.total"] == "950 tokens"
    # enough for all: nothing bends
    assert plan(asked, 1000, [500, 300, 200], "bend_shares").bent == ""


def test_epochs_and_a_total_that_only_the_tokens_decide():
    asked = ask(("a", "2 epochs", 2), ("b", "50 % of tokens", 4))
    check(asked, 100)  # arithmetic alone cannot know
    with pytest.raises(Infeasible) as caught:
        plan(asked, 100, [30, 70])
    assert caught.value.suggestions[0]["set"] == {"mixture.total": "120 tokens"}
    assert plan(asked, 120, [30, 70]).targets == [60, 60]
    assert plan(asked, 140, [30, 70], "shrink_total").targets == [60, 70]  # 60 + 70 of 140
    with pytest.raises(Infeasible):
        plan(asked, 10, [0, 0], "shrink_total")


def test_no_tokens_at_all():
    with pytest.raises(Infeasible, match="not enough tokens"):
        plan(ask(("a", "10 tokens", 3)), 10, [0], "shrink_total")


def test_a_hundred_components_plan_in_no_time():
    shares = [(f"c{i}", "1 % of tokens", 1 + i % 4) for i in range(100)]
    done = plan(ask(*shares), 10**12 + 7, [10**9 * (i + 1) for i in range(100)], "bend_shares")
    assert done.total == 10**12 + 7 and all(t <= c for t, c in zip(done.targets, done.caps, strict=True))


COMPONENTS = st.lists(
    st.tuples(st.integers(1, 10**6), st.integers(0, 10**6), st.sampled_from([1, 1.5, 2, 7, 1.01])), min_size=1, max_size=7
)


@given(COMPONENTS)
@settings(max_examples=300, deadline=None)
def test_every_suggestion_works_and_one_token_further_fails(rows):
    asked = [(f"c{i}", f"{t} tokens", cap) for i, (t, _, cap) in enumerate(rows)]
    total, unique = sum(t for t, _, _ in rows), [u for _, u, _ in rows]
    try:
        done = plan(asked, total, unique)
    except Infeasible as error:
        for change in error.suggestions:
            again, new_total, how = applied(asked, total, change)
            done = plan(again, new_total, unique, how)
            assert done.total == sum(done.targets) == (new_total if how != "shrink_total" else done.total)
            if "mixture.total" in change["set"]:
                _one_more_token_fails(asked, total, unique, new_total)
            elif how == "fail":
                _one_token_less_of_cap_fails(again, new_total, unique, change)
        for name, short in error.short.items():
            i = int(name[1:])
            more = [u + short["needs_unique"] * (j == i) for j, u in enumerate(unique)]
            most = exact(asked[i][2])
            assert most * more[i] // 1 >= rows[i][0] > most * (more[i] - 1) // 1
    else:
        assert done.targets == [t for t, _, _ in rows]
        assert all(t <= int(exact(cap) * u // 1) for t, (_, _, cap), u in zip(done.targets, asked, unique, strict=True))


def _one_more_token_fails(asked, total, unique, shrunk):
    """The same shares of a total one token larger pass a cap."""
    wanted = ideals(asked, total, unique)
    assert any(q * (shrunk + 1) / total > exact(cap) * u // 1 for q, (_, _, cap), u in zip(wanted, asked, unique, strict=True))


def _one_token_less_of_cap_fails(again, total, unique, change):
    for key in change["set"]:
        name = key.split(".")[2]
        i = int(name[1:])
        cap = int(exact(again[i][2]) * unique[i] // 1)
        assert f"{cap} tokens" == again[i][1]  # the cap covers the request and not a token more


@given(COMPONENTS, st.integers(1, 3 * 10**6), st.sampled_from(["shrink_total", "bend_shares"]))
@settings(max_examples=300, deadline=None)
def test_bending_is_exact_and_never_passes_a_cap(rows, total, how):
    weights = sum(t for t, _, _ in rows)
    shares = [Fraction(t, weights) for t, _, _ in rows]
    asked = [(f"c{i}", Quantity(s, "share_of_tokens"), cap) for i, (s, (_, _, cap)) in enumerate(zip(shares, rows, strict=True))]
    unique = [u for _, u, _ in rows]
    caps = [int(exact(cap) * u // 1) for (_, _, cap), u in zip(asked, unique, strict=True)]
    try:
        done = plan(asked, total, unique, how)
    except Infeasible:
        assume(how == "bend_shares")
        assert sum(caps) < total
        return
    finally:
        if how == "shrink_total" and min(c / s for c, s in zip(caps, shares, strict=True)) < 1:
            assume(False)
    assert all(t <= c for t, c in zip(done.targets, caps, strict=True))
    bound = min(total, *(int(c / s // 1) for c, s in zip(caps, shares, strict=True)))
    assert done.total == (total if how == "bend_shares" else bound)
    if how == "shrink_total":
        assert all(abs(t - s * done.total) < 1 for t, s in zip(done.targets, shares, strict=True))


def test_water_fill_is_proportional_below_the_caps():
    values, level = water_fill([Fraction(1), Fraction(2), Fraction(3), Fraction(0)], [0] * 4, [1, 100, 5, 9], 12)
    assert values == [1, 6, 5, 0] and level == 3
