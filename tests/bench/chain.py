"""The whole chain on the shipped inputs: its time, its receipts, and whether a chain that is killed makes the same models.

    python -m tests.bench.chain [--kills 5]

recipes/chain/chain.yaml by the command a user gives: once undisturbed, once more (nothing is done again), and once from the beginning
with its whole process group killed (SIGKILL) at random moments and started again. Weights, receipts, manifests of both are compared by hash.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
CHAIN = "recipes/chain/chain.yaml"
HASHES = ("weights_sha256", "receipt_sha256", "tokenizer_sha256", "manifest_sha256")


def start(folder: Path) -> subprocess.Popen[str]:
    sets = ("--set", f"to={folder / 'chain'}", "--set", f"store={folder / 'store'}")
    command = [sys.executable, "-m", "curate", "train", "chain", CHAIN, *sets]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=TOP, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def whole(folder: Path) -> str:
    running = start(folder)
    said, _ = running.communicate()
    if running.returncode:
        raise SystemExit(f"exit {running.returncode}\n{said[-4000:]}")
    return said


def made(folder: Path) -> dict[str, dict[str, str]]:
    stages = json.loads((folder / "chain" / "chain.json").read_text())["stages"]
    return {stage["name"]: {key: stage[key] for key in HASHES if stage.get(key)} for stage in stages}


def killed(folder: Path, seconds: float, n_kills: int, seed: int) -> int:
    """Kills until so many have hit a running chain, then lets it end; how often it was started."""
    draw, starts = random.Random(seed), 0
    for _ in range(n_kills):
        running, starts = start(folder), starts + 1
        try:
            running.communicate(timeout=draw.uniform(0.02, 0.35) * seconds)
            break  # it ended before
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
    whole(folder)
    return starts + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, aside = Path(place) / "run", Path(place) / "undisturbed"
        folder.mkdir()
        began = time.monotonic()
        said = whole(folder)
        seconds = time.monotonic() - began
        print("\n".join(re.findall(r"^stage \d+ of \d+, .*: done in \d+ s", said, re.M)))
        print(f"the whole chain: {seconds:.0f} s (goal: under 900)\n")
        print(said[said.rindex("stage            method") :].replace(str(folder), "TO"))
        print("verdicts of the gates: " + "; ".join(re.findall(r"^gate: .*", said, re.M)))
        began = time.monotonic()
        again = whole(folder)
        n_stages = len(made(folder))
        print(
            f"the same command again: {again.count('done before')} of {n_stages} stages done before, {time.monotonic() - began:.0f} s"
        )
        first = made(folder)
        folder.rename(aside)
        folder.mkdir()
        starts = killed(folder, seconds, asked.kills, seed=7)
        second = made(folder)
        differ = [f"{name}.{key}" for name in first for key in first[name] if first[name][key] != second[name].get(key)]
        n = sum(map(len, first.values()))
        print(
            f"killed and started {starts} times: {n - len(differ)} of {n} hashes of weights, receipts, tokenizers and manifests are equal"
        )
        print("\n".join(differ))
    raise SystemExit(1 if differ or seconds > 900 or again.count("done before") < n_stages else 0)


if __name__ == "__main__":
    main()
