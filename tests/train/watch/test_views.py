"""What is seen of a run: rows of a table without a terminal, a drawn view on one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.train.watch.made import record
from train.watch.plain import Plain
from train.watch.record import Sums, Totals
from train.watch.screen import BINS, Screen, Trend


def no_mfu(_: Totals) -> dict[str, float]:
    return {}


def test_rows_hold_the_means_since_the_row_before(capsys: pytest.CaptureFixture[str]) -> None:
    plain = Plain(3, ["et", "en", "code"], [], no_mfu)
    for done, et in ((1, 2.0), (2, 4.0), (3, 8.0)):
        plain.step(record(done, et), None, Totals())
    plain.held_out(3, {"et": {"loss": 1.5, "bits_per_byte": 0.75}})
    assert capsys.readouterr().err.splitlines() == [
        "loss                   all      et      en    code        lr    norm  tokens/s",
        "step 1               2.330   2.000   3.000       -  1.00e-03    0.50        45",  # (59 x 2 + 29 x 3) / 88
        "step 3               5.011   6.000   3.000       -  1.00e-03    0.50        45",  # (59 x 12 + 29 x 6) / 176
        "held out, step 3         -   1.500       -       -",
        "  bits per byte          -   0.750       -       -",
    ]


def test_many_components_become_languages(capsys: pytest.CaptureFixture[str]) -> None:
    plain = Plain(1, [f"c{k}" for k in range(40)], ["et", "en"], lambda _: {"causal": 0.4125, "non-causal": 0.5})
    plain.step(record(1), None, Totals())
    plain.held_out(1, {"c7": {"loss": 1.5}})
    assert capsys.readouterr().err.splitlines() == [
        "loss                   all      et      en        lr    norm  tokens/s      MFU",
        "step 1               2.330   2.000   3.000  1.00e-03    0.50        45   41.2 %",
        "held out, step 1: c7 1.500",
    ]


def test_two_bins_become_one_when_all_are_full() -> None:
    trend = Trend()
    for k in range(BINS):
        trend.add(Sums(float(k), 1))
    assert (len(trend.bins), trend.each) == (BINS, 1) and str(trend)[0] == "▁" and str(trend)[-1] == "█"
    trend.add(Sums(100.0, 1))
    assert (len(trend.bins), trend.each) == (BINS // 2 + 1, 2)
    assert trend.bins[0] == [1.0, 2] and trend.bins[-1] == [100.0, 1]


def drawn(n_components: int, height: int) -> str:
    file = io.StringIO()
    names = ["et", "en", *(f"c{k}" for k in range(n_components - 2))]
    console = Console(file=file, force_terminal=True, width=110, height=height, color_system=None, _environ={})
    screen = Screen("tiny", 9, names, ["et", "en"], lambda totals: {"causal": 0.4, "non-causal": 0.45}, console)
    total = Totals()
    screen.start()
    for done in (1, 2):
        total.add(record(done), 36.0)
        screen.step(record(done), 36.0, total)
    screen.held_out(2, {"et": {"loss": 1.5, "bits_per_byte": 0.75}})
    screen.stop()
    return file.getvalue().rpartition("tiny")[2]


def test_the_screen_shows_all_of_it() -> None:
    shown = drawn(2, 60)
    rows = {line.split()[0]: line.split()[1:5] for line in shown.splitlines() if line.split()}
    assert rows["all"][:3] == ["2.330", "1.680", "100.0"]  # 205 nats over 88 tokens, over 176 bytes
    assert rows["et"] == ["2.000", "1.443", "66.7", "%"] and "0.750" in shown
    assert "2/9" in shown
    assert "50 all, 45 non-padding, 44 loss; packing fill 90.00 %" in shown
    assert "40.0 % causal, 45.0 % non-causal" in shown
    assert "data 25.0 %, forward and backward 75.0 %" in shown
    assert "energy    72 J, 18 W now" in shown and "180 tokens in 4.0 s" in shown


def test_more_components_than_lines() -> None:
    shown = drawn(40, 30)
    assert "and 22 more" in shown and "languages" in shown
    assert len(shown.splitlines()) <= 36
