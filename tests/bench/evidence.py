"""`make evidence`: every test and every benchmark, and their results as small text tables under docs/evidence/.

Each table is headed by date, machine and command; what people wrote below the line JUDGED of a table stays there. Exits with the
number of commands that failed.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
RESULTS = TOP / "docs" / "evidence"

# the verdicts and what the tests print about themselves, not the dots
TOLD = (
    r"passed|failed|skipped|PASSED|FAILED|SKIPPED| kills|missed|s call|bits per byte|byte-equal|kill -9|entered|ids equal|exit \d"
)

JUDGED = "## Judged by reading"

COMMANDS = {
    "tests": [sys.executable, "-m", "pytest", "-m", "not slow", "-n", "2", "tests"],
    "promises": [sys.executable, "-m", "pytest", "-m", "slow", "-rA", "--durations=0", "tests"],
    "kernels": [sys.executable, "-m", "tests.bench.kernels"],
    "tokenize": [sys.executable, "-m", "tests.bench.tokenize"],
    "padding": [sys.executable, "-m", "tests.bench.padding"],
    "plan": [sys.executable, "-m", "tests.bench.plan"],
    "mixture_scale": [sys.executable, "-m", "tests.bench.mixture_scale"],
    "verify": [sys.executable, "-m", "tests.bench.verify"],
    "evaluation": [sys.executable, "-m", "tests.bench.evaluation"],
    "selection_scale": [sys.executable, "-m", "tests.bench.selection_scale"],
    "signals": [sys.executable, "-m", "tests.bench.signals"],
    "against_datatrove": [sys.executable, "-m", "tests.signals.test_against_datatrove"],
    "against_spacy": [sys.executable, "-m", "tests.signals.test_against_spacy"],
    "classifier": [sys.executable, "-m", "tests.bench.classifier"],
    "pairs": [sys.executable, "-m", "tests.bench.pairs"],
    "pii": [sys.executable, "-m", "tests.signals.test_pii"],
    "what_if": [sys.executable, "-m", "tests.bench.what_if", "--documents", "10000000"],
    "dedup_scale": [sys.executable, "-m", "tests.bench.dedup_scale", "--most", "10000000"],
    "dedup": [sys.executable, "-m", "tests.bench.dedup"],
    "dedup_agreement": [sys.executable, "-m", "tests.bench.dedup_agreement"],
    "dedup_natural": [sys.executable, "-m", "tests.relate.test_natural_duplicates"],
    "dedup_planted": [sys.executable, "-m", "tests.relate.test_planted"],
    "dedup_templates": [sys.executable, "-m", "tests.relate.test_templates"],
    "repeats": [sys.executable, "-m", "tests.bench.repeats"],
    "decontamination": [sys.executable, "-m", "tests.bench.decontamination"],
    "decontamination_speed": [sys.executable, "-m", "tests.bench.decontamination", "speed"],
    "arrivals": [sys.executable, "-m", "tests.bench.arrivals"],
    "ingest_memory": [sys.executable, "-m", "tests.bench.ingest_memory"],
    "conversations": [sys.executable, "-m", "tests.bench.conversations"],
    "kenlm": [sys.executable, "-m", "tests.bench.lm"],
    "langid": [sys.executable, "-m", "tests.bench.langid"],
    "vocabulary": [sys.executable, "-m", "tests.bench.vocabulary"],
    "vocabulary_init": [sys.executable, "-m", "tests.bench.vocabulary_init", "--steps", "48", "--seeds", "2", "--before", "150"],
    "chat_vector": [sys.executable, "-m", "tests.bench.chat_vector"],
    "merge_memory": [sys.executable, "-m", "tests.bench.merge_memory"],
    "loader": [sys.executable, "-m", "tests.bench.loader"],
    "loader_step": [sys.executable, "-m", "tests.bench.loader_step"],
    "language_lesson": [sys.executable, "-m", "tests.bench.language_lesson"],
    "extraction": [sys.executable, "-m", "tests.bench.extraction"],
    "readers": [sys.executable, "-m", "tests.bench.readers"],
    "code_and_math": [sys.executable, "-m", "tests.bench.code_lane"],
    "road": [sys.executable, "-m", "tests.bench.road"],
    "bootstrap": [sys.executable, "-m", "tests.bench.bootstrap"],
    "gate": [sys.executable, "-m", "tests.bench.gate"],
    "skills": [sys.executable, "-m", "tests.bench.skills"],
    "chain": [sys.executable, "-m", "tests.bench.chain"],
    "sft": [sys.executable, "-m", "tests.bench.sft"],
    "trainer_memory": [sys.executable, "-m", "tests.bench.trainer_memory"],
}


def machine() -> str:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def head(command: list[str]) -> str:
    shown = " ".join(["python", *command[1:]])
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=TOP, capture_output=True, text=True).stdout.strip()
    return f"# {datetime.date.today()}  {machine()}  commit {commit}\n# {shown}\n"


def main() -> int:
    RESULTS.mkdir(parents=True, exist_ok=True)
    names = sys.argv[1:] or list(COMMANDS)
    failed = 0
    for name in names:
        print(f"{name} ...", flush=True)
        started = time.monotonic()
        done = subprocess.run(COMMANDS[name], cwd=TOP, capture_output=True, text=True)
        lines = done.stdout.split("\n")
        if name in ("tests", "promises"):
            lines = [x for x in lines if re.search(TOLD, x)]
        text = head(COMMANDS[name]) + "\n".join(line.rstrip().replace(str(TOP.parent), "..") for line in lines).strip() + "\n"
        path = RESULTS / f"{name}.txt"
        judged = path.read_text().partition(JUDGED)[2] if path.exists() else ""
        if any(lines):  # a command that printed nothing leaves the table of before as it was
            path.write_text(f"{text}\n{JUDGED}{judged}" if judged else text)
        failed += done.returncode != 0
        print(f"{name} {'FAILED' if done.returncode else 'done'} in {time.monotonic() - started:.0f} s", flush=True)
        if done.returncode:
            print(done.stdout[-3000:], done.stderr[-2000:])
    return failed


if __name__ == "__main__":
    sys.exit(main())
