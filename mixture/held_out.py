"""Which documents are held out: by whole duplicate clusters in the order of a keyed hash, so that no near-duplicate is trained on.

Documents, their components and limits in; a mark per document out. What earlier runs trained on or held out comes in too. Imports
mixture's kernels, names, order, selection.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np

from mixture import kernels, order
from mixture.names import Names, read
from mixture.selection import Documents

MOST = 2**64 - 1


def hold_out(
    docs: Documents, home: np.ndarray, per_component: int, at_most: Fraction, seed: int, trained: np.ndarray | None = None,
    before: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """bool (n,): held-out documents. Clusters in order of keyed hash, whole, until a component's limit would be passed.

    `home` (n,): the component where a document counts, -1 in none. The limit is the smaller of `per_component` tokens and `at_most` of
    the component's tokens. A cluster that does not fit is passed over; a cluster held out for one component is held out in all, and
    counts there. `trained`: documents trained on before are not held out, nor is any other of their cluster. `before`: documents held
    out before stay it, with what has joined their clusters since, also beyond the limit.
    """
    held = np.zeros(docs.n, np.bool_)
    if not docs.n:
        return held
    name, cluster, member, member_ptr = _clusters(docs)
    barred = np.zeros(docs.n, np.bool_)
    if trained is not None and trained.any():
        barred |= _with_clusters(trained, cluster, member_ptr.size - 1)
    if before is not None and before.any():
        joined = _with_clusters(before & (home >= 0), cluster, member_ptr.size - 1)
        held |= joined & (home >= 0) & (~trained if trained is not None else True)
        barred |= joined
    n_components = len(docs.components)
    tokens, taken = np.zeros(n_components + 1, np.int64), np.zeros(n_components + 1, np.int64)
    kernels.add(home, docs.n_tokens, tokens)  # home -1 is the last
    kernels.add(home[held], docs.n_tokens[held], taken)
    taken, limits = (
        taken[:-1].copy(),
        np.array([min(per_component, int(at_most * n // 1)) for n in tokens[:-1].tolist()], np.int64),
    )
    rank = order.keyed_hash(name.high, name.low, order.key(seed, "held-out"))
    by_home, ptr = kernels.group(home + np.int16(1), n_components + 1)

    def take(c: int, candidates: np.ndarray) -> None:
        in_order = candidates[np.lexsort((name.low[candidates], name.high[candidates], rank[candidates]))]
        kernels.hold_out(c, in_order, cluster, member, member_ptr, home, docs.n_tokens, limits, taken, held)

    for c in range(n_components):
        own = by_home[ptr[c + 1] : ptr[c + 2]]
        own = own[~barred[own]] if barred.any() else own
        # Few of the first by hash fill the limit but for a gap, which only small documents fit: no more are put in order
        last = np.uint64(min(MOST, MOST // max(int(tokens[c]), 1) * 4 * max(int(limits[c]), 0)))
        take(c, own[rank[own] <= last])
        if taken[c] < limits[c]:
            take(c, own[(rank[own] > last) & (docs.n_tokens[own] <= limits[c] - taken[c])])
    return held


def _clusters(docs: Documents) -> tuple[Names, np.ndarray, np.ndarray, np.ndarray]:
    """(name of every document's cluster, number of the cluster or -1 where the document stands alone, the members of all clusters, where
    each cluster begins in them). A document without a cluster is of that which bears its id, if there is one."""
    cluster = np.full(docs.n, -1, np.int64)
    shared = np.flatnonzero(docs.cluster.is_valid().to_numpy())
    if not shared.size:
        return docs.id, cluster, np.empty(0, np.int64), np.zeros(1, np.int64)
    names = read(docs.cluster.drop_null())
    by_name = np.lexsort((names.low, names.high))
    names, shared = names[by_name], shared[by_name]
    first = np.concatenate(([True], (names.high[1:] != names.high[:-1]) | (names.low[1:] != names.low[:-1])))
    number = np.cumsum(first) - 1
    heads = names[first]
    for a, b in pairwise(np.searchsorted(docs.source, np.arange(len(docs.sources) + 1)).tolist()):
        found = kernels.find(heads.high, heads.low, docs.id.high[a:b], docs.id.low[a:b])
        at = np.flatnonzero(found >= 0)
        cluster[a + found[at]] = at
    cluster[shared] = number
    name = Names(docs.id.high.copy(), docs.id.low.copy())
    member = np.flatnonzero(cluster >= 0)
    name.high[member], name.low[member] = heads.high[cluster[member]], heads.low[cluster[member]]
    by_cluster, member_ptr = kernels.group(cluster[member], len(heads))
    return name, cluster, member[by_cluster], member_ptr


def _with_clusters(marked: np.ndarray, cluster: np.ndarray, n_clusters: int) -> np.ndarray:
    """bool (n,): the marked documents and all that share a cluster with one."""
    any_ = np.zeros(n_clusters + 1, np.bool_)
    any_[cluster[marked]] = True  # -1 is the last
    any_[-1] = False
    return marked | any_[cluster]
