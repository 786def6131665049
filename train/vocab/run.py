"""`curate train vocab RUN.yaml`: a tokenizer, a user's text and perhaps a model in; a folder with the new tokenizer, its id map and report, and
the model with new rows out. The same run file and texts give the same bytes.

The folder is whole or not there. Torch is imported only where there is a model. May import curate.errors, curate.store, mixture, train.*.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.errors import CurateError
from curate.store import read_json, write_json
from curate.units import show_bytes
from mixture.export.folder import published
from train import lineage
from train.vocab import fertility, id_map, library, select, trim
from train.vocab.base import Base, Config, alphabet_of, read_base, tokens_of
from train.vocab.config import VocabRun, at, load_vocab
from train.vocab.grow import grow
from train.vocab.init.config import Rows
from train.vocab.texts import Corpus
from train.vocab.write import size_of, write_folder

RECEIPT, REPORT = "receipt.json", "fertility.json"
SAMPLE = 1000  # documents whose tokens are held against the old ones
Where = Callable[[tuple[str, ...]], str]


@dataclass
class Made:
    config: Config
    rows: pa.Table
    base: Base  # whose settings and chat template the folder has
    said: dict[str, Any] = field(default_factory=dict)  # for the receipt


def run(run_file: str | Path, sets: Sequence[str] = ()) -> int:
    """Exit code 0: it is there, now or from before. Raises CurateError."""
    vocab, known = load_vocab(Path(run_file), sets)
    where: Where = at(known, Path(run_file))
    to = Path(vocab.save["to"])
    before = _before(to, vocab)
    base = read_base(*vocab.place, where(("tokenizer",)))
    other = read_base(vocab.replace.by, vocab.replace.revision, where(("replace", "by"))) if vocab.replace else None
    keep = _kept_always(base, vocab, where)
    corpus = _opened(vocab, where)
    made_of = _inputs(vocab, base, other, corpus)
    if before is not None:
        _check_same(before, made_of, to)
        _say(f"{to}: done before")
        return 0
    rows = _checked_rows(vocab, corpus, where)
    _say(f"{base.tokenizer.files.name}: {size_of(base.config):,} tokens; text: {_corpus(corpus)}")
    _check_converted(base, corpus)
    made = _made(vocab, base, other, corpus, keep, where)
    if made is not None:
        _check_shares(made, base, vocab, where)
        made.said |= _compared(made, base, corpus, vocab.action)
    report = _report(vocab, base, made, corpus)
    with published(to) as folder:
        _write(folder, vocab, base, made_of, made, corpus, report, rows)
    _say(f"{to}: {'the report' if made is None else _what(made)}")
    return 0


def _before(to: Path, vocab: VocabRun) -> dict[str, Any] | None:
    """The receipt of the same run file, where it stands already. Raises CurateError where something else does."""
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return None
    receipt = read_json(to / RECEIPT) if (to / RECEIPT).is_file() else {}
    if receipt.get("run") == _of_run(vocab):
        return receipt
    raise CurateError(
        "something else stands here", where=str(to), found="a folder that this run file did not make", allowed="a new folder, or an empty one",
        next="--set save.to=FOLDER",
    )  # fmt: skip


def _inputs(vocab: VocabRun, base: Base, other: Base | None, corpus: Corpus) -> dict[str, Any]:
    """What a result is made of besides its run file: parents by their hashes, texts by their sums."""
    return {
        "parents": _parents(vocab, base, other),
        "text": {language: corpus.counted(language) for language in corpus.languages},
    }


def _check_same(before: Mapping[str, Any], made_of: Mapping[str, Any], to: Path) -> None:
    if changed := [key for key, value in made_of.items() if before[key] != value]:
        raise CurateError(
            "this was made by the same run file of something else", where=str(to), found=f"{' and '.join(changed)} changed since",
            next="--set save.to=FOLDER makes it anew",
        )  # fmt: skip


def _of_run(vocab: VocabRun) -> dict[str, Any]:
    """The run file without where its result goes."""
    return {key: value for key, value in vocab.canonical().items() if key != "save"}


def _opened(vocab: VocabRun, where: Where) -> Corpus:
    corpus = Corpus(vocab.text, float(vocab.held_out.value))
    action = getattr(vocab, vocab.action) if vocab.action else None
    corpus.check(getattr(action, "languages", ()), where((vocab.action, "languages")))
    if vocab.action in ("train", "extend", "trim") and corpus.documents == corpus.held_out:
        raise CurateError(
            "nothing is left to learn from", where=where(("held_out",)), found=f"{vocab.held_out} of {corpus.documents.total()} documents",
            allowed="a smaller share, or more text",
        )  # fmt: skip
    return corpus


def _checked_rows(vocab: VocabRun, corpus: Corpus, where: Where) -> Rows | None:
    """How rows are made; what can be known of the model is checked here, before text is learned from."""
    if vocab.model is None or not vocab.action:
        return None
    from train.vocab.init.write import check

    rows = vocab.rows or Rows()
    check(rows, vocab.model, corpus.languages, where)
    return rows


def _kept_always(base: Base, vocab: VocabRun, where: Where) -> set[int]:
    if vocab.trim is None:
        return set()
    found = trim.listed(base.config, vocab.trim.keep, where(("trim", "keep")))
    if vocab.trim.keep_file is not None:
        lines = Path(vocab.trim.keep_file).read_text(encoding="utf-8").split("\n")
        found |= trim.listed(base.config, [line for line in lines if line], vocab.trim.keep_file)
    return found


def _check_converted(base: Base, corpus: Corpus) -> None:
    """A SentencePiece model is worked on as a tokenizer.json: that must cut the user's text as SentencePiece does."""
    if base.tokenizer.files.kind != "sentencepiece":
        return
    texts = _sample(corpus)
    ids, others = library.ids_of(library.opened(base.config), texts), base.tokenizer.by_library().encode_batch(texts)
    if wrong := [k for k, (mine, theirs) in enumerate(zip(ids, others, strict=True)) if mine.tolist() != theirs.tolist()]:
        raise CurateError(
            "as a tokenizer.json this SentencePiece model cuts some texts otherwise", where=str(base.tokenizer.files.paths[0]),
            found=f"{len(wrong)} of {len(texts)} documents, such as {texts[wrong[0]][:60]!r}",
            next="write its tokenizer.json with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)",
        )  # fmt: skip


def _sample(corpus: Corpus) -> list[str]:
    """The first documents that are held out, or that there are."""
    held_out = corpus.held_out.total() > 0
    return [text for (_, text), _ in zip(corpus.measured(held_out=held_out), range(SAMPLE), strict=False)]


def _made(vocab: VocabRun, base: Base, other: Base | None, corpus: Corpus, keep: set[int], where: Where) -> Made | None:
    if vocab.extend is not None:
        return _extended(vocab, base, corpus)
    if vocab.train is not None:
        return _trained(vocab, base, corpus, where)
    if vocab.trim is not None:
        return _trimmed(vocab, base, corpus, keep)
    return _replaced(base, other) if other is not None else None


def _extended(vocab: VocabRun, base: Base, corpus: Corpus) -> Made:
    asked = vocab.extend
    assert asked is not None
    grown = grow(
        base.config, lambda: corpus.learned(asked.languages), asked.add, min_frequency=asked.min_frequency, max_chars=asked.max_chars,
        coverage=asked.character_coverage,
    )  # fmt: skip
    rows = id_map.table(grown.config, {i: i for i in tokens_of(base.config)}, grown.pieces, grown.how)
    return Made(grown.config, rows, base, {"asked": asked.add, "learned": len(grown.pieces)})


def _trained(vocab: VocabRun, base: Base, corpus: Corpus, where: Where) -> Made:
    """A tokenizer like the old one, but with no token of it but single bytes and added ones."""
    asked = vocab.train
    assert asked is not None
    ids = {token: i for i, token in tokens_of(base.config).items()}
    kept = {ids[letter] for letter in alphabet_of(base.config)} | {token["id"] for token in base.config["added_tokens"]}
    kept |= {ids[token] for token in (base.config["model"].get("unk_token"),) if token in ids}
    if asked.size <= len(kept):
        raise CurateError(
            "this size has no room for a word",
            where=where(("train", "size")),
            found=str(asked.size),
            allowed=f"more than {len(kept)}: bytes and added tokens",
        )
    bare, _ = select.select(base.config, kept)
    grown = grow(
        bare, lambda: corpus.learned(asked.languages), asked.size - len(kept), min_frequency=asked.min_frequency, max_chars=asked.max_chars,
        coverage=asked.character_coverage,
    )  # fmt: skip
    return _mapped(grown.config, base, base, {"asked": asked.size, "learned": len(grown.pieces)})


def _replaced(base: Base, other: Base) -> Made:
    return _mapped(other.config, base, other, {})


def _mapped(config: Config, old: Base, settings: Base, said: dict[str, Any]) -> Made:
    roles = [(settings.tokenizer.special_strings[role], old.tokenizer.special_strings[role]) for role in ("bos", "eos", "pad")]
    roles.append((config["model"].get("unk_token"), old.config["model"].get("unk_token")))
    old_ids = id_map.matched(config, old.config, roles)
    pieces = id_map.pieces_of(config, old.config, [i for i in tokens_of(config) if i not in old_ids])
    return Made(config, id_map.table(config, old_ids, pieces, {}), settings, said)


def _trimmed(vocab: VocabRun, base: Base, corpus: Corpus, keep: set[int]) -> Made:
    asked = vocab.trim
    assert asked is not None
    counts = trim.counted(base.config, corpus.learned(asked.languages))
    reasons = trim.chosen(base.config, counts, min_frequency=asked.min_frequency, size=asked.size, keep=keep)
    config, new = select.select(base.config, reasons)
    how = {new[old]: reason for old, reason in reasons.items()}
    rows = id_map.table(config, {i: old for old, i in new.items()}, {}, how)
    covered = float(counts[list(reasons)].sum() / max(counts.sum(), 1))
    return Made(config, rows, base, {"old_vocab_size": size_of(base.config), "tokens_kept_ratio": round(covered, 6)})


def _check_shares(made: Made, base: Base, vocab: VocabRun, where: Where) -> None:
    """A model whose every word is new has learned nothing that it keeps: bytes and special tokens alone are no shared vocabulary."""
    special = {token["content"] for token in made.config["added_tokens"]} | alphabet_of(made.config)
    old = [(i, token) for i, token in zip(made.rows["old_id"].to_pylist(), made.rows["token"].to_pylist(), strict=True)]
    if vocab.model is not None and not any(i != id_map.NEW and token not in special for i, token in old):
        raise CurateError(
            "the two vocabularies share nothing", where=where((vocab.action,)), 
            found=f"none of {len(old):,} tokens, bytes and special ones apart, is one of the model's {size_of(base.config):,}",
            allowed="a tokenizer that has tokens in common with the model's", next="extend: {add: N} keeps all of them",
        )  # fmt: skip


def _compared(made: Made, base: Base, corpus: Corpus, action: str) -> dict[str, Any]:
    """Extended: no text takes more tokens. Trimmed: a text whose tokens all stay has the same, renumbered. On the first documents held out."""
    if action not in ("extend", "trim"):
        return {}
    texts = _sample(corpus)
    old, new = library.ids_of(library.opened(base.config), texts), library.ids_of(library.opened(made.config), texts)
    if action == "extend":
        if longer := [k for k in range(len(texts)) if new[k].size > old[k].size]:
            raise AssertionError(f"{len(longer)} texts take more tokens than before")
        return {"compared_documents": len(texts)}
    back = dict(zip(made.rows["old_id"].to_pylist(), made.rows["new_id"].to_pylist(), strict=True))
    kept = [k for k in range(len(texts)) if all(int(i) in back for i in old[k])]
    if wrong := [k for k in kept if [back[int(i)] for i in old[k]] != new[k].tolist()]:
        raise AssertionError(f"{len(wrong)} kept texts are cut otherwise than before")
    return {"compared_documents": len(texts), "documents_cut_as_before": len(kept)}


def _report(vocab: VocabRun, base: Base, made: Made | None, corpus: Corpus) -> dict[str, Any]:
    if not vocab.text:
        return {}
    apart = made is not None and corpus.held_out.total() > 0
    configs = {"before": base.config} | ({"after": made.config} if made is not None else {})
    found = fertility.measure(configs, corpus.measured(held_out=apart), vocab.expensive_words)
    of = "held-out documents" if apart else "all documents" + (", which it learned from" if made is not None else "")
    print(fertility.screen(found, f"fertility on {of}"), flush=True)
    return {"measured_on": of, "languages": {language: own.data() for language, own in found.items()}}


def _write(
    folder: Path, vocab: VocabRun, base: Base, made_of: Mapping[str, Any], made: Made | None, corpus: Corpus, report: Mapping[str, Any],
    rows: Rows | None,
) -> None:  # fmt: skip
    receipt: dict[str, Any] = {
        "method": "vocab",
        "name": vocab.name,
        "action": vocab.action or "report",
        "run": _of_run(vocab),
        **made_of,
    }
    receipt["tokenizer_before"] = {
        "name": base.tokenizer.files.name,
        "sha256": base.tokenizer.sha256,
        "vocab_size": size_of(base.config),
    }
    if made is not None:
        tokenizer = write_folder(folder, made.config, made.base, made.rows)
        receipt["tokenizer"] = {"sha256": tokenizer.sha256, "vocab_size": tokenizer.vocab_size, "special": tokenizer.special}
        receipt["id_map"] = id_map.summary(made.rows) | made.said
        if rows is not None and vocab.model is not None:
            from train.vocab.init.write import write_model

            receipt["rows"] = write_model(rows, vocab.model, base.place, folder, corpus.by_language(), vocab.seed, _say)
    if report:
        write_json(folder / REPORT, dict(report))
    write_json(folder / RECEIPT, receipt)


def _parents(vocab: VocabRun, base: Base, other: Base | None) -> list[dict[str, Any]]:
    found = [lineage.of("init", str(vocab.model.init), vocab.model.revision)] if vocab.model is not None else []
    for role, one, (place, revision) in (("tokenizer", base, vocab.place), ("replaced_by", other, _by(vocab))):
        if one is not None:
            parent = lineage.of(role, place, revision) if not Path(place).exists() else lineage.of(role, str(one.place))
            found.append(parent | {"tokenizer_sha256": one.tokenizer.sha256})
    return found


def _by(vocab: VocabRun) -> tuple[str, str | None]:
    return (vocab.replace.by, vocab.replace.revision) if vocab.replace else ("", None)


def _corpus(corpus: Corpus) -> str:
    parts = (
        f"{language} {corpus.documents[language]:,} documents, {show_bytes(corpus.n_bytes[language])}"
        for language in corpus.languages
    )
    return "; ".join(parts) or "none"


def _what(made: Made) -> str:
    counted = id_map.summary(made.rows)
    return f"{counted['vocab_size']:,} tokens, {counted['kept']:,} of them old, {counted['new']:,} new"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
