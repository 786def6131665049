"""Speed and memory of the signals: `python -m tests.bench.signals`.

One pass (words, then every family that needs no model) in MB of UTF-8 per CPU second of one core, the median of several runs, beside
datatrove's four filters on the same texts (once, a sample, spaCy splits their words); each family's share; two threads against one;
peak memory as the corpus doubles and for one document of 64 MB; start with and without numba's cache.
Texts: VESKI_TEST_DATA (or ../shared/data), in Arrow buffers before the clock starts.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.kernels import FILES, texts

LANGUAGES = {"et": "ekk_Latn", "en": "eng_Latn", "code": "eng_Latn"}  # datatrove's names
SAMPLE_CHARS = 250_000  # of a corpus for datatrove
RUNS = 7


def data_folder() -> Path:
    return Path(os.environ.get("VESKI_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def cpu_times(work: Callable[[], object], runs: int) -> list[float]:
    times = []
    for _ in range(runs):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return times


def all_measurers() -> list:
    from curate.signals import FAMILIES, measurers
    from tests.signals.test_measure import recipe

    wanted = recipe()
    return [m for m in measurers(wanted, wanted.sources["a"]) if m.family.name in FAMILIES]


def batches(rows: list[str]) -> list:
    import pyarrow as pa

    from curate import text
    from curate.signals import Batch

    parts = list(text.batches(pa.array(rows, pa.large_string())))
    return [Batch(part, *text.buffers(part), None) for part in parts]


def one_pass(batch: object, wanted: list) -> int:
    from curate import text

    full = batch._replace(segments=text.segment(batch.data, batch.offsets))  # type: ignore[attr-defined]
    return sum(len(m.measure(full)) for m in wanted)


def speed(rows: list[str]) -> dict[str, float]:
    """name of a step -> MB per CPU second, the median; `pass` is all of it."""
    from curate import text

    wanted, given = all_measurers(), batches(rows)
    megabytes = sum(int(b.offsets[-1] - b.offsets[0]) for b in given) / 1e6
    full = [b._replace(segments=text.segment(b.data, b.offsets)) for b in given]
    steps: dict[str, Callable[[], object]] = {
        "pass": lambda: [one_pass(b, wanted) for b in given],
        "words": lambda: [text.segment(b.data, b.offsets) and None for b in given],
    }
    for m in wanted:
        steps[m.family.name] = lambda m=m: [m.measure(b) and None for b in full]
    times = {name: cpu_times(work, RUNS) for name, work in steps.items()}
    found = {name: megabytes / statistics.median(t) for name, t in times.items()}
    return {"MB": megabytes, "best": megabytes / min(times["pass"]), **found}


def datatrove_speed(rows: list[str], language: str) -> float:
    """MB per CPU second of its four filters, each asked about every text; their cache of one text's words is left on."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter

    filters = [f(language=language) for f in (GopherRepetitionFilter, GopherQualityFilter, C4QualityFilter, FineWebQualityFilter)]
    warm = "See on üks lause. Ja see on teine lause, mis on natuke pikem.\n" * 5
    sample, chars = [], 0
    for row in rows:
        if chars < SAMPLE_CHARS and len(row) < 50_000:
            sample.append(row)
            chars += len(row)

    def ask(documents: list[str]) -> None:
        for document in documents:
            for filter_ in filters:
                filter_.filter(Document(document, ""))

    ask([warm])
    (seconds,) = cpu_times(lambda: ask(sample), 1)
    return sum(len(row.encode()) for row in sample) / 1e6 / seconds


def threads(rows: list[str]) -> tuple[float, float]:
    """(MB per wall-clock second with one thread, with two), the best of RUNS, taken in turn."""
    wanted, given = all_measurers(), batches(rows)
    megabytes = sum(int(b.offsets[-1] - b.offsets[0]) for b in given) / 1e6
    best = {1: 1e9, 2: 1e9}
    for _ in range(RUNS):
        for n in best:
            with ThreadPoolExecutor(n) as pool:
                started = time.perf_counter()
                list(pool.map(lambda b: one_pass(b, wanted), given))
                best[n] = min(best[n], time.perf_counter() - started)
    return megabytes / best[1], megabytes / best[2]


def memory(kind: str, megabytes: int) -> None:
    """In a process of its own: prints the peak of resident memory, what of it came with the pass, and the rate.

    stream: ordinary documents, batch after batch, as a shard is read. document: all of it one document. lines: one document of
    lines of one letter, the most words, lines and repeated n-grams that so many bytes can hold.
    """
    rows = texts(data_folder(), FILES["et"][:1])
    wanted = all_measurers()
    one_pass(batches(rows[:5])[0], wanted)  # imports, tables, compiled code
    text = "\n".join(rows)
    if kind == "stream":
        given = rows
    elif kind == "document":
        given = [(text * (megabytes * 1_000_000 // len(text) + 1)).encode()[: megabytes * 1_000_000].decode(errors="ignore")]
    else:
        given = ["a\n" * (megabytes * 500_000)]
    parts = batches(given)
    del given, text, rows
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    before, done, started = resident("VmRSS"), 0, time.process_time()
    while done < megabytes * 990_000:
        for part in parts:
            one_pass(part, wanted)
            done += int(part.offsets[-1] - part.offsets[0])
    rate = done / 1e6 / (time.process_time() - started)
    peak = resident("VmHWM")
    print(f"{peak:.0f} MB resident at most, {peak - before:.0f} MB more than before; {rate:.0f} MB/s")


def resident(name: str) -> float:
    """MB; VmRSS: now, VmHWM: the peak."""
    lines = Path("/proc/self/status").read_text().split("\n")
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def start() -> None:
    """In a process of its own: the first batch."""
    one_pass(batches(["Tere, maailm! See on lause.[1]\n\nSee on lause."])[0], all_measurers())
    print(f"{time.process_time():.1f}")


def child(function: str, *arguments: object, cache: str | None = None) -> str:
    """What one of these functions prints in a process of its own, with a numba cache of its own if one is given."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache} if cache else dict(os.environ)
    code = f"from tests.bench import signals; signals.{function}(*{arguments!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2]
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.strip()


def main() -> None:
    corpora = {name: texts(data_folder(), FILES[name]) for name in ("et", "en", "code")}
    speeds = {name: speed(rows) for name, rows in corpora.items()}
    columns = list(speeds["et"])
    print("MB/s/core " + "".join(f"{column:>{max(9, len(column) + 2)}}" for column in columns))
    for name, row in speeds.items():
        print(f"{name:<10}" + "".join(f"{row[column]:>{max(9, len(column) + 2)}.1f}" for column in columns))
    print("share of the pass, %")
    parts = columns[columns.index("words") :]
    for name, row in speeds.items():
        shares = {part: 100 * row["pass"] / row[part] for part in parts}
        print(f"{name:<10}" + "  ".join(f"{part} {share:.0f}" for part, share in shares.items()))
    for name, rows in corpora.items():
        theirs = datatrove_speed(rows, LANGUAGES[name])
        print(f"{name}: datatrove's four filters {theirs:.2f} MB/s/core; ours, with {len(parts) - 1} families, "
              f"{speeds[name]['pass'] / theirs:.0f} times that")  # fmt: skip
    for name, rows in corpora.items():
        one, two = threads(rows)
        print(f"{name}: one thread {one:.1f} MB/s of wall clock, two {two:.1f}: {two / one:.2f} times")
    for megabytes in (16, 32, 64):
        print(f"{megabytes} MB of documents, batch after batch: {child('memory', 'stream', megabytes)}")
    print(f"one document of 64 MB: {child('memory', 'document', 64)}")
    print(f"one document of 32 million lines of one letter, 64 MB: {child('memory', 'lines', 64)}")
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = child("start", cache=cache), child("start", cache=cache)
    print(f"first batch of a process: {cold} CPU s where every kernel must be compiled, {warm} with numba's cache")


if __name__ == "__main__":
    main()
