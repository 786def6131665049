"""How long `curate plan` thinks: recipes of many components, feasible and not, in one phase, in two, and under a policy.

    python -m tests.bench.plan

Without reading anything: statistics are in memory. The goal is 100 components in less than a second.
"""

from __future__ import annotations

import random
import time
from fractions import Fraction

import numpy as np

from mixture.plan import report
from mixture.plan_cells import Cell, over_cells
from tests.mixture.asked import read


def components(n: int, policy: str, seed: int = 0) -> tuple[dict, list[Cell]]:
    rng = random.Random(seed)
    weights = [rng.randint(1, 100) for _ in range(n)]
    parts = {}
    for i in range(n):
        parts[f"c{i}"] = {"from": ["s"], "role": "other", "max_epochs": rng.choice([1, 1.5, 4])}
        if policy == "fixed":
            parts[f"c{i}"]["budget"] = f"{weights[i]}B tokens"
    lengths = np.sort(np.random.default_rng(seed).lognormal(6.1, 1.2, 20_000).astype(np.int64) + 1)
    tokens = [w * 10**9 + rng.randint(0, 10**9) for w in weights]
    cells = [Cell("s", {name: Fraction(1)}, t // 900, t, t, lengths) for name, t in zip(parts, tokens, strict=True)]
    return parts, cells


def timed(n: int, policy: str, short: bool, phases: int) -> tuple[float, int]:
    parts, cells = components(n, policy)
    total = sum(int(p["budget"].split("B")[0]) for p in parts.values()) if policy == "fixed" else 40 * n
    if short:  # the last component has a tenth of what it is asked for; under a policy nobody has enough
        cells = [c if i < n - 1 and policy == "fixed" else Cell(c.source, c.copies, c.documents, c.tokens // 10, c.loss_tokens, c.lengths)
                 for i, c in enumerate(cells)]  # fmt: skip
    data: dict = {"sequence_length": 4096, "components": parts}
    if policy != "fixed":
        data["policy"] = {"kind": policy, "temperature": 3.3} if policy == "temperature" else policy
    if phases == 1:
        data["total"] = f"{total}B tokens"
    else:
        budgets = {name: {"budget": p.pop("budget", None)} for name, p in parts.items()}
        budgets = {name: {key: value for key, value in b.items() if value} for name, b in budgets.items()}
        for part in parts.values():
            part["max_epochs"] *= phases
        data["phases"] = {f"p{k}": {"total": f"{total}B tokens", "components": budgets} for k in range(phases)}
    mixture = read(data)
    start = time.process_time()
    found = report("bench", mixture, over_cells(cells), known="memory", is_exact=False)
    assert found["feasible"] != short
    return time.process_time() - start, len(found["changes"])


def main() -> None:
    timed(2, "fixed", False, 1)  # compiles the packer
    print(f"{'components':>10}  {'policy':<12} {'phases':>6}  {'feasible':>8}  {'changes':>7}  {'seconds':>7}")
    for n in (10, 100, 1000):
        for policy in ("fixed", "unimax", "temperature"):
            for phases in (1, 2):
                for short in (False, True):
                    seconds, changes = timed(n, policy, short, phases)
                    print(
                        f"{n:>10}  {policy:<12} {phases:>6}  {'no' if short else 'yes':>8}  {changes:>7}  {seconds:>7.2f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
