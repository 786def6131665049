"""`curate train-lm`: texts in, a KenLM model and the JSON beside it out. The work is lmplz's and build_binary's.

A keyed hash of its text puts a document in training or holds it out; a line seen before, on either side, is not used again. Held-out
documents give the figures and the cutoffs of head and middle. Imports errors, store, text, lm and lm_texts.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from curate import text
from curate.errors import CurateError
from curate.models import lm
from curate.models.lm_lines import NORMALISATION, lines_again, lines_of
from curate.models.lm_texts import input_sha256, texts_of_files
from curate.store import file_sha256, write_atomic

BINARY = ("trie", "-q", "8", "-b", "8", "-a", "22")  # a tenth of the ARPA file; probabilities in 8 bits
HEAD, MIDDLE = 30, 60  # percentiles, as in CCNet (Wenzek et al. 2020, section 3.4)
MEMORY = "1G"  # of lmplz; more is sorted on disk

BUILD_KENLM = """apt-get install build-essential cmake libboost-program-options-dev libboost-system-dev libboost-thread-dev \\
            libboost-test-dev zlib1g-dev libbz2-dev liblzma-dev
           pip download kenlm==0.3.0 --no-binary :all: --no-deps --no-build-isolation && tar xf kenlm-0.3.0.tar.gz && cd kenlm-0.3.0
           cmake -B build -DCMAKE_BUILD_TYPE=Release && cmake --build build -j2 --target lmplz build_binary
           curate train-lm --kenlm kenlm-0.3.0/build/bin ...   (docs/kenlm.md)"""


class Tools(NamedTuple):
    lmplz: Path
    build_binary: Path


class Counts(NamedTuple):
    documents: int
    held_out: int
    lines: int
    held_out_lines: int
    words: int
    repeated_lines: int
    byte_counts: np.ndarray  # (256,) int64, of the training lines


def tools(folder: Path | None = None) -> Tools:
    """lmplz and build_binary in `folder`, else on the PATH. Raises CurateError that says how to build them."""
    found = [shutil.which(name, path=str(folder) if folder else None) for name in Tools._fields]
    for name, path in zip(Tools._fields, found, strict=True):
        if path is None:
            raise CurateError(
                f"KenLM's {name} is not there", where=f"--kenlm {folder}" if folder else "PATH", next=BUILD_KENLM,
                allowed="the folder of lmplz and build_binary",
            )  # fmt: skip
    return Tools(*(Path(path) for path in found if path))


def train(
    out: Path, files: Sequence[Path], *, order: int = 5, prune: str = "0 0 1", held_out: Fraction, seed: int = 0,
    field: str = "text", words: str = "rules", kenlm: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train on the texts of `files`, write `out` (binary) and `out`.json, and return what the JSON says.

    `prune`: lmplz's thresholds, one per order from 1 (the last holds for the rest); `held_out`: share of the documents;
    `words`: as a recipe's source has it. The same texts in the same order give the same bytes. About 70 bytes of memory per
    different line.
    """
    tool = tools(kenlm)
    thresholds = _thresholds(order, prune)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        work = Path(folder)
        counts = write_lines(texts_of_files(files, field), work, seed, float(held_out), words)
        command = ["lmplz", "-o", str(order), "--prune", *thresholds]
        command = _estimate(tool.lmplz, command, work)
        _run([str(tool.build_binary), *BINARY[1:], BINARY[0], str(work / "lm.arpa"), str(work / "lm.bin")], work, "build_binary")
        spelling = byte_entropy(counts.byte_counts)
        made: dict[str, Any] = {
            "kind": "kenlm", "sha256": file_sha256(work / "lm.bin"), "normalisation": NORMALISATION,
            **text.segmentation(words), "order": order, "prune": thresholds, "command": command,
            "binary": ["build_binary", *BINARY[1:], BINARY[0]],
            "inputs": [{"name": f.name, "sha256": input_sha256(f)} for f in files], "field": field, "seed": seed,
            "held_out_share": float(held_out), "n_documents": counts.documents,
            "n_held_out_documents": counts.held_out, "n_lines": counts.lines, "n_words": counts.words,
            "n_repeated_lines": counts.repeated_lines,
            "unknown_byte_bits": spelling,
        } | evaluate(work / "held_out.txt", work / "lm.bin", spelling)  # fmt: skip
        (work / "lm.bin").replace(out)
        write_atomic(lm.facts_file(out), (json.dumps(made, indent=1, ensure_ascii=False) + "\n").encode())
    return made


def write_lines(given: Iterable[str], work: Path, seed: int, share: float, words: str = "rules") -> Counts:
    """work/train.txt for lmplz, and work/held_out.txt: new lines of every held-out document, an empty line behind each document."""
    seen: set[bytes] = set()
    n = dict.fromkeys(("documents", "held_out", "lines", "held_out_lines", "words", "repeated_lines"), 0)
    byte_counts = np.zeros(256, np.int64)
    with open(work / "train.txt", "wb") as train_file, open(work / "held_out.txt", "wb") as held_file:
        for texts in _batches(given):
            data, offsets = text.buffers(texts)
            lines = lines_of(data, offsets, text.segment(data, offsets, words))
            n_words = np.bincount(lines.word_line, minlength=len(lines.doc))
            is_held = np.array([_is_held_out(row.encode(), seed, share) for row in texts.to_pylist()], bool)
            new: list[list[bytes]] = [[] for _ in is_held]
            for doc, line, n_line in zip(lines.doc.tolist(), lines.texts(), n_words.tolist(), strict=True):
                key = hashlib.blake2b(line, digest_size=8).digest()
                if key in seen:
                    n["repeated_lines"] += 1
                    continue
                seen.add(key)
                new[doc].append(line)
                n["words"] += 0 if is_held[doc] else n_line
            for held, own in zip(is_held.tolist(), new, strict=True):
                n["held_out" if held else "documents"] += 1
                n["held_out_lines" if held else "lines"] += len(own)
                joined = b"".join(line + b"\n" for line in own)
                if held and own:
                    held_file.write(joined + b"\n")
                elif not held:
                    train_file.write(joined)
                    byte_counts += np.bincount(np.frombuffer(joined, np.uint8), minlength=256)
    if not n["lines"] or not n["held_out_lines"]:
        raise CurateError(
            "too few different texts to train on and to hold out",
            found=f"{n['documents']} documents, {n['held_out']} held out",
            next="more texts, or a larger --held-out",
        )  # fmt: skip
    return Counts(**n, byte_counts=byte_counts)


def byte_entropy(byte_counts: np.ndarray) -> float:
    """Bits per byte of an order-0 code of the words' bytes, to four decimals."""
    counts = byte_counts.astype(np.float64)
    counts[[0x0A, 0x20]] = 0
    shares = counts[counts > 0] / counts.sum()
    return round(float(-(shares * np.log2(shares)).sum()), 4)


def evaluate(held_out: Path, model: Path, unknown_byte_bits: float) -> dict[str, Any]:
    """Figures over the held-out documents, and the 30th and 60th percentile of bits per byte of their documents and lines."""
    of_line, of_doc, sums = [], [], np.zeros(5)
    with open(held_out, "rb") as file:
        for documents in _documents(file):
            lines = lines_again(documents)
            scores = lm.score(lines, model, unknown_byte_bits)
            of_line.append(scores.bits / lines.n_bytes)
            per_doc = np.bincount(lines.doc, scores.bits) / np.bincount(lines.doc, lines.n_bytes)
            of_doc.append(per_doc)
            sums += [scores.bits.sum(), lines.n_bytes.sum(), scores.n_words.sum(), scores.n_unknown.sum(), scores.log10.sum()]
    bits, n_bytes, words, unknown, log10 = sums.tolist()
    n_lines = sum(map(len, of_line))
    return {
        "held_out": {
            "n_documents": sum(map(len, of_doc)), "n_lines": n_lines, "n_words": int(words), "bits_per_byte": round(bits / n_bytes, 4),
            "word_perplexity": round(10 ** (-log10 / (words + n_lines)), 4), "oov_ratio": round(unknown / words, 4),
        },
        "cutoffs": {"documents": _cutoffs(of_doc), "lines": _cutoffs(of_line)},
    }  # fmt: skip


def _documents(file: BinaryIO, at_once: int = 1000) -> Iterator[list[list[bytes]]]:
    """Some documents at a time, each its lines."""
    found: list[list[bytes]] = [[]]
    for line in file:
        if line != b"\n":
            found[-1].append(line[:-1])
            continue
        if len(found) == at_once:
            yield found
            found = []
        found.append([])
    if found[:-1]:
        yield found[:-1]


def _cutoffs(values: list[np.ndarray]) -> dict[str, float]:
    head, middle = np.percentile(np.concatenate(values), [HEAD, MIDDLE])
    return {"head": round(float(head), 4), "middle": round(float(middle), 4)}


def _batches(rows: Iterable[str]) -> Iterator[pa.LargeStringArray]:
    """About a MB of texts at a time."""
    waiting, n_chars = [], 0
    for row in rows:
        waiting.append(row)
        n_chars += len(row)
        if n_chars > 1_000_000:
            yield pa.array(waiting, pa.large_string())
            waiting, n_chars = [], 0
    if waiting:
        yield pa.array(waiting, pa.large_string())


def _is_held_out(row: bytes, seed: int, share: float) -> bool:
    key = hashlib.blake2b(row, digest_size=8, key=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(key, "little") < share * 2**64


def _thresholds(order: int, prune: str) -> list[str]:
    if not 2 <= order <= 6:
        raise CurateError("KenLM's order", where="--order", found=str(order), allowed="2 to 6 (6 is what kenlm is compiled for)")
    given = prune.split()
    if not given or len(given) > order or not all(t.isdigit() for t in given) or sorted(given, key=int) != given:
        allowed = f"up to {order} numbers that do not fall, one per order from 1, e.g. '{' '.join('001'[:order])}'"
        raise CurateError("lmplz's pruning", where="--prune", found=repr(prune), allowed=allowed)
    return given


def _estimate(lmplz: Path, command: list[str], work: Path) -> list[str]:
    """Run lmplz; where Kneser-Ney's discounts cannot be had from these counts, again with --discount_fallback."""
    files = ["-S", MEMORY, "-T", str(work), "--text", str(work / "train.txt"), "--arpa", str(work / "lm.arpa")]
    try:
        _run([str(lmplz), *command[1:], *files], work, "lmplz")
    except CurateError as error:
        if "discount_fallback" not in error.found:
            raise
        command = [*command, "--discount_fallback"]
        _run([str(lmplz), *command[1:], *files], work, "lmplz")
    return command


def _run(command: list[str], work: Path, name: str) -> None:
    log: BinaryIO
    with open(work / f"{name}.log", "w+b") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
        log.seek(0)
        told = log.read().decode(errors="replace")
    if done.returncode:
        end = " ".join(told.replace(str(work), "").split())[-800:]
        raise CurateError(f"{name} failed", where=" ".join(command[:1]), found=end)


def render(out: Path, made: dict[str, Any]) -> str:
    """What was made, and the recipe lines to paste."""
    held, lines = made["held_out"], made["cutoffs"]["lines"]
    name = out.name.split(".")[0].replace("-", "_")
    return "\n".join([
        f"{out}: {made['n_words']:,} words in {made['n_lines']:,} different lines of {made['n_documents']:,} documents",
        f"held out: {held['n_documents']:,} documents, {held['bits_per_byte']} bits per byte, word perplexity "
        f"{held['word_perplexity']:,.0f}, unknown words {held['oov_ratio']:.1%}",
        f"lines: head up to {lines['head']}, middle up to {lines['middle']} bits per byte",
        "", "models:", f"  {name}: {{kind: kenlm, model: {out}, sha256: {made['sha256']}}}",
        "rules:", f"  - {{signal: {name}_bits_per_byte, keep: [head, middle], missing: fail}}",
    ])  # fmt: skip
