"""Fertility of a tokenizer of mostly English before and after it is extended for Estonian, on texts it did not learn from.

    python -m tests.bench.vocabulary [DATA] [--sizes 1000,2000,4000,8000,16000] [--tokenizers gpt_neox_20b,mistral_v1]

Learned from: Estonian popular science, laws, encyclopedia, web and documentation of DATA, all but the documents held out (one in ten, by the hash of
the text). Measured on these, on a source that nothing was learned from (news sentences of the Estonian UD treebank), and on English blogs.
Also: how long learning takes, what the tokenizer encodes a second before and after (tokenizers' own encoder), and that old texts never
take more tokens. Prints a table per tokenizer.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("RAYON_NUM_THREADS", "1")

from train.vocab import fertility, library
from train.vocab.base import Config, merges_of, read_base
from train.vocab.config import Text
from train.vocab.grow import grow
from train.vocab.texts import Corpus

LEARNED = (
    "aa_magazine",
    "laws",
    "wiki_et_versions",
    "ud_ewt_train_2022",
    "tara_doku",
    "progeopik_rst",
    "eurlex_directive_titles",
)
OTHER = {"et_other": "et_text/ud_edt_dev.jsonl.zst", "en": "en_text/18f_posts.jsonl.zst"}
SHARE = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sizes", default="1000,2000,4000,8000,16000")
    parser.add_argument("--tokenizers", default="gpt_neox_20b,mistral_v1")
    arguments = parser.parse_args()
    data, sizes = arguments.data, [int(n) for n in arguments.sizes.split(",")]
    learned = Corpus(tuple(Text(files=str(data / f"et_text/{name}.jsonl.zst"), language="et") for name in LEARNED), SHARE)
    other = [(name, text) for name, file in OTHER.items() for text in _all(data / file)]
    measured = [*learned.measured(held_out=True), *other]
    n, held_out = learned.documents["et"], learned.held_out["et"]
    print(
        f"learned from {n - held_out:,} Estonian documents of {learned.n_bytes['et'] / 1e6:.1f} MB in all, {held_out:,} held out"
    )
    for name in arguments.tokenizers.split(","):
        _table(name, read_base(str(data / "tokenizers" / name), None, "").config, learned, measured, sizes)


def _table(name: str, base: Config, learned: Corpus, measured: list[tuple[str, str]], sizes: list[int]) -> None:
    configs, seconds = {"0": base}, {"0": 0.0}
    for n in sizes:
        begun = time.perf_counter()
        grown = grow(base, lambda: learned.learned(), n, min_frequency=2, max_chars=16, coverage=0.9995)
        configs[str(n)], seconds[str(n)] = grown.config, time.perf_counter() - begun
    found = fertility.measure(configs, measured, n_expensive=0)
    rows = {language: own.data()["tokenizers"] for language, own in found.items()}
    words = ", ".join(f"{language} {own.data()['words']:,}" for language, own in found.items())
    print(f"\n{name}: {len(merges_of(base)):,} merges; words measured: {words}")
    print(
        f"{'new tokens':>10} {'learned in':>10}"
        + "".join(f" | {x:>8}: tok/word continued bytes/tok" for x in rows)
        + " | encodes et, en MB/s"
    )
    for n in configs:
        cells = "".join(f" | {'':>8}  {_cell(one[n])}" for one in rows.values())
        speeds = ", ".join(
            f"{_speed(configs[n], [text for x, text in measured if x == language]):.2f}" for language in ("et", "en")
        )
        print(f"{n:>10} {seconds[n]:>8.1f} s{cells} | {speeds}", flush=True)
        _check(base, configs[n], [text for _, text in measured])


def _all(path: Path) -> list[str]:
    return [text for _, text in Corpus((Text(files=str(path), language="und"),), 0).measured(held_out=False)]


def _cell(one: dict) -> str:
    return f"{one['tokens_per_word']:8.3f} {one['continued_words_ratio']:9.1%} {one['bytes_per_token']:9.2f}"


def _speed(config: Config, texts: list[str]) -> float:
    """MB of text a second on one thread: the best of three, on 2 MB at most."""
    chosen, size = [], 0
    for text in texts:
        if size < 2_000_000:
            chosen.append(text)
            size += len(text.encode())
    inner, best = library.opened(config), 0.0
    for _ in range(3):
        begun = time.perf_counter()
        library.ids_of(inner, chosen)
        best = max(best, size / 1e6 / (time.perf_counter() - begun))
    return best


def _check(base: Config, config: Config, texts: list[str]) -> None:
    before, after = library.ids_of(library.opened(base), texts), library.ids_of(library.opened(config), texts)
    longer = sum(new.size > old.size for old, new in zip(before, after, strict=True))
    assert longer == 0, f"{longer} texts take more tokens than before"


if __name__ == "__main__":
    main()
