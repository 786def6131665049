"""Sums and what is divided out of them, worked out by hand."""

from __future__ import annotations

import math

import pytest

from tests.train.watch.made import record
from train.watch.record import Sums, Totals, together


def test_loss_and_bits_per_byte() -> None:
    sums = Sums(loss_sum=24 * math.log(2), loss_tokens=6, tokens=8, n_bytes=12)
    assert sums.loss == pytest.approx(4 * math.log(2), rel=1e-15)
    assert sums.bits_per_byte == pytest.approx(2.0, rel=1e-15)  # 24 bits over 12 bytes
    assert Sums().loss is None and Sums().bits_per_byte is None


def test_together_knows_bytes_only_where_all_parts_do() -> None:
    known, unknown, empty = Sums(2.0, 1, 2, 4), Sums(3.0, 1, 2, 0), Sums(0.0, 0, 5, 0)
    assert together({"a": known, "b": known}) == Sums(4.0, 2, 4, 8)
    assert together({"a": known, "b": unknown}) == Sums(5.0, 2, 4, 0)
    assert together({"a": known, "b": empty}) == Sums(2.0, 1, 7, 4)


def test_totals_of_two_steps() -> None:
    totals = Totals()
    totals.add(record(1), joules=100.0)
    totals.add(record(2), joules=50.0)
    assert (totals.n_steps, totals.tokens, totals.all_tokens, totals.joules) == (2, 180, 200, 150.0)
    assert totals.fill == 0.9
    assert totals.speeds() == {"all": 50.0, "non-padding": 45.0, "loss": 44.0}  # in 4 seconds
    assert totals.components["en"] == Sums(174.0, 58, 60, 116)
    assert totals.all.loss == (2 * 59 * 2.0 + 2 * 29 * 3.0) / 176


def test_saves_and_measurements_are_no_training_time() -> None:
    totals = Totals(tokens=80, all_tokens=100, seconds={"forward_backward": 4.0, "save": 10.0, "evaluate": 6.0})
    assert totals.training_seconds == 4.0 and totals.speeds()["non-padding"] == 20.0


def test_mfu() -> None:
    totals = Totals(tokens=1000, seconds={"forward_backward": 2.0})
    flops = {"per_token_causal": 3e9, "per_token": 4e9, "peak": 1e12}
    # 500 tokens a second: 1.5e12 and 2e12 flop/s, of 4 devices with 1e12 each
    assert totals.mfu(flops, 4) == {"causal": pytest.approx(0.375), "non-causal": pytest.approx(0.5)}
    assert totals.mfu({**flops, "peak": None}, 4) == {} and totals.mfu(None, 4) == {} and Totals(tokens=5).mfu(flops, 1) == {}


def test_a_line_has_joules_only_where_they_are_known() -> None:
    assert "joules" not in record(1).line(None)
    line = record(3).line(1.5)
    assert line["joules"] == 1.5 and line["loss_sum"] == 118.0 + 87.0 and line["loss_tokens"] == 88 and line["n_bytes"] == 176
    assert line["components"]["en"] == {"loss_sum": 87.0, "loss_tokens": 29, "tokens": 30, "n_bytes": 58}
