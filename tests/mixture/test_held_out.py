"""Held-out documents: the same as by going through all clusters in the order of their hash, whatever is left out on the way."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest

from mixture import order, selection
from mixture.held_out import hold_out
from tests.mixture.reference import keyed_hash
from tests.mixture.small_build import name_of


def made(seed):
    """Documents of two sources in up to four components, a third of them in clusters, one long document now and then."""
    rng = np.random.default_rng(seed)
    tables, n_components = {}, int(rng.integers(1, 5))
    for source in ("a", "b"):
        n = int(rng.integers(1, 2000))
        lengths = np.maximum(1, rng.lognormal(3, 1.5, n)).astype(np.int64)
        clusters = [name_of("cluster", int(k)) if k < 400 else None for k in rng.integers(0, 1200, n)]
        ids = sorted(name_of(source, i) for i in range(n))
        for i in range(0, n - 1, 50):  # a cluster that bears the id of one of its members, which does not say so
            clusters[i], clusters[i + 1] = None, ids[i]
        tables[source] = pa.table({
            "id": ids, "cluster_id": pa.array(clusters, pa.string()), "n_tokens": lengths, "n_loss_tokens": lengths,
            "shard": np.zeros(n, np.int64), "token_start": np.cumsum(lengths) - lengths, "language": pa.nulls(n, pa.string()),
            "license": pa.nulls(n, pa.string()), "pattern": rng.integers(0, n_components + 1, n),
        })  # fmt: skip
    patterns = [*(((c, -1),) for c in range(n_components)), ()]
    return selection.documents(tables, {f"c{c}": ["a", "b"] for c in range(n_components)}, patterns), rng


def plain(docs, home, per_component, at_most, seed, trained, before):
    ids = docs.id.text().to_pylist()
    name = [c or i for c, i in zip(docs.cluster.to_pylist(), ids, strict=True)]
    members, size = defaultdict(list), docs.n_tokens.tolist()
    for d, cluster in enumerate(name):
        members[cluster].append(d)
    n = len(docs.components)
    limits = [min(per_component, int(at_most * sum(s for s, h in zip(size, home, strict=True) if h == c) // 1)) for c in range(n)]
    old = {name[d] for d in np.flatnonzero(before) if home[d] >= 0}
    held = {d for cluster in old for d in members[cluster] if home[d] >= 0 and not trained[d]}
    taken = [sum(size[d] for d in held if home[d] == c) for c in range(n)]
    for c in range(n):
        for cluster in sorted(members, key=lambda x: (keyed_hash(x, order.key(seed, "held-out")), x)):
            own = [d for d in members[cluster] if home[d] >= 0]
            if not any(home[d] == c for d in own) or taken[c] >= limits[c] or cluster in old or own[0] in held:
                continue
            if any(trained[d] for d in members[cluster]):
                continue
            adds = [sum(size[d] for d in own if home[d] == k) for k in range(n)]
            if all(not a or t + a <= limit for a, t, limit in zip(adds, taken, limits, strict=True)):
                held.update(own)
                taken = [t + a for t, a in zip(taken, adds, strict=True)]
    return held


@pytest.mark.parametrize("seed", range(30))
def test_as_by_going_through_all_clusters(seed):
    docs, rng = made(seed)
    home = docs.first_of(set(range(len(docs.components))))
    trained, before = rng.random(docs.n) < 0.05, rng.random(docs.n) < 0.01
    if seed % 3 == 0:
        trained[:], before[:] = False, False
    before &= ~trained
    per_component, at_most = int(rng.choice([0, 7, 300, 5000, 10**9])), Fraction(int(rng.integers(1, 400)), 1000)
    held = hold_out(docs, home, per_component, at_most, seed, trained, before)
    assert set(np.flatnonzero(held).tolist()) == plain(docs, home, per_component, at_most, seed, trained, before)
