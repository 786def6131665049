"""Forty lines written from the specification, without a line of ours, find the order and the stream root of a real build."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.mixture import independent, two_phases

SOURCE = Path(independent.__file__).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    return two_phases.build(tmp_path_factory.mktemp("independent"))


@pytest.fixture(scope="module")
def manifest(build):
    return json.loads((build / "manifest.json").read_text())


def test_it_is_short_and_imports_nothing_of_ours():
    code = [line for line in SOURCE[SOURCE.index("def ") :].splitlines() if line.strip()]
    assert len(code) <= 40
    nodes = list(ast.walk(ast.parse(SOURCE)))
    imported = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    assert imported == ["hashlib", "json", "numpy"] and not any(isinstance(node, ast.ImportFrom) for node in nodes)


def test_the_build_is_worth_it(manifest):
    """Two phases, three components, several passes in a component, one of them in both phases."""
    passes = [(phase["name"], p["component"], p["pass"]) for phase in manifest["phases"] for p in phase["packing"]["passes"]]
    assert [phase["name"] for phase in manifest["phases"]] == ["main", "anneal"] and len(passes) == 8
    assert {name for name, component, _ in passes if component == "et"} == {"main", "anneal"} and ("main", "et", 2) in passes


def test_the_same_order(build, manifest):
    found = list(independent.order(manifest))
    assert found == np.load(build / "sequences" / "order.npy").tolist()
    selection = pq.read_table(build / "selection.parquet", columns=["sequence", "stream_index"]).to_pylist()
    stated = {row["stream_index"]: row["sequence"] for row in selection if row["stream_index"] is not None}
    assert [stated[i] for i in range(len(stated))] == found


def test_the_same_stream_hash(build, manifest):
    assert independent.stream_hash(build, manifest) == manifest["roots"]["stream"]


def test_one_token_is_another_hash(build, manifest, tmp_path):
    """What it hashes are the tokens: one of them changed in a shard is another root."""
    path = build / json.loads((build / "sequences" / "shards.json").read_text())["shards"][0]["path"]
    tokens = np.fromfile(path, "<u2")
    first = int(np.load(build / "sequences" / "chunks.npy")["start"][0])
    (tokens ^ (np.arange(tokens.size) == first)).astype("<u2").tofile(path)
    try:
        assert independent.stream_hash(build, manifest) != manifest["roots"]["stream"]
    finally:
        tokens.tofile(path)
