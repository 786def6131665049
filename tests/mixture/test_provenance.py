"""Who wrote the rows: values of documents, and the sums of the manifest, by hand."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from mixture import provenance


def values(*extra: object) -> list[dict | None]:
    column = pa.chunked_array(
        [pa.array([None if one is None else json.dumps(one, separators=(",", ":")) for one in extra], pa.large_string())]
    )
    return [None if value is None else json.loads(value) for value in provenance.of_rows(column).to_pylist()]


def test_what_rows_say():
    whole = {"generator": "m", "kind": "translated", "seed": "1", "date": "2026-01", "verdict": "keep"}
    assert values(None, {"a": 1}, {"provenance": whole}, {"provenance": {"date": "2026-01"}}, {"provenance": "x"}, ["provenance"],
                  {"note": "\"provenance\":"}) == [
        None, None, {"generator": "m", "kind": "translated", "seed": "1"}, None, None, None, None]  # fmt: skip


@pytest.mark.parametrize(("n", "kept"), [(100, True), (101, False)])
def test_seeds_of_rows_are_left_out(n, kept):
    given = [json.dumps({"generator": "m", "seed": str(i)}) for i in range(n)] + [None, json.dumps({"seed": "0"})]
    found = provenance.without_many_seeds(pa.chunked_array([pa.array(given, pa.string())])).to_pylist()
    assert found == (given if kept else ['{"generator":"m"}'] * n + [None, None])


def test_tokens_by_generator():
    said = [
        json.dumps(one)
        for one in ({"generator": "m", "seed": "1"}, {"generator": "m", "seed": "2"}, {"kind": "retrieved"}, {"generator": "x"})
    ]
    assert provenance.stated([*said, None], [5, 7, 3, 0, 10]) == {
        "generators": {"none": 13, "m": 12},
        "provenance": [
            {"generator": "m", "seed": "2", "tokens": 7}, {"generator": "m", "seed": "1", "tokens": 5}, {"kind": "retrieved", "tokens": 3},
        ],
    }  # fmt: skip
    many = provenance.stated([json.dumps({"generator": f"m{i:02}"}) for i in range(60)], list(range(60, 0, -1)))["provenance"]
    assert len(many) == 51 and many[-1] == {"others": 10, "tokens": sum(range(1, 11))}
