"""`curate when BUILD ID|SOURCE_ID`: every time one document is trained on, or in plain words why it never is.

In: a build folder, a document's id (or its beginning) or the id its origin gave it; for steps, whoever knows a global batch. Out: plain
data, and its text. No text is read. Imports errors, manifest, inspect.corpus, inspect.samples (evidence), inspect.step, inspect.tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.inspect.corpus import Connection, open_corpus, rows
from curate.inspect.samples import evidence
from curate.inspect.step import name_of, passes_per_epoch
from curate.inspect.tables import WIDTH, count, cut, flowed, paint, table
from curate.manifest import read_manifest

N_USES = 100  # shown on the screen
N_MATCHES = 5  # documents named when a name fits several

_DOCUMENT = "SELECT id, source, source_id, title, url, file, byte_offset FROM documents"
_USES = """
SELECT phase, component, split, pass, chunk, n_chunks, token_start, n_tokens, n_loss_tokens, sequence, position, stream_index
FROM selection WHERE source = ? AND id = ? ORDER BY split DESC, stream_index, sequence, position
"""


def when(build_dir: Path, name: str, place: Callable[[int], tuple[int, int]] | None = None) -> dict[str, Any]:
    """{document, fate, why, component, components, n_tokens, cluster_size, uses, n_passes, trained_tokens, n_phases}.

    fate: trained | held_out | over_budget | left_out | no_component | no_tokens | dropped | no_mixture | undecided; `why` says it in words. A use has
    phase, sequence_length of its row, component, split, epoch (of the phase, from 1), pass, chunk, tokens, sequence, position,
    stream_index (held out: held_out_row instead), and with `place` (stream index -> step, row of its batch) step and row. `components`:
    those that it belongs to, in one phase or another; `component` is the first. Raises CurateError when no document, or several, have
    this name.
    """
    build_dir = Path(build_dir)
    manifest = read_manifest(build_dir / "manifest.json") if (build_dir / "manifest.json").exists() else None
    with open_corpus(build_dir) as corpus:
        document = find(corpus, build_dir, name)
        key = (document["source"], document["id"])
        uses = [_use(use, manifest, place) for use in rows(corpus, _USES, *key)]
        found = {kind: _row(corpus, kind, *key) for kind in ("decisions", "tokens", "duplicates", "left_out", "refused")}
        components = _components(corpus, manifest, uses, *key) if manifest else []
        witness = _witness(corpus, found["decisions"])
        named = [row["component"] for row in rows(corpus, "SELECT component FROM components")]
        has_tokens = bool(rows(corpus, "SELECT 1 FROM stages WHERE stage = 'tokens' LIMIT 1"))
    trained = [use for use in uses if use["split"] == "train"]
    fate, why = _fate(document["source"], found, witness, uses, components, named, manifest is not None, has_tokens)
    mine = [component["component"] for component in components]
    return {
        "build": str(build_dir), "document": document, "fate": fate, "why": why, "component": mine[0] if mine else None,
        "components": mine, "n_phases": len(manifest["phases"]) if manifest else 0,
        "n_tokens": found["tokens"]["n_tokens"] if found["tokens"] else None,
        "cluster_size": found["duplicates"]["cluster_size"] if found["duplicates"] else 1, "uses": uses,
        "n_passes": len(_begun(trained)), "trained_tokens": sum(use["n_tokens"] for use in trained),
    }  # fmt: skip


def _row(corpus: Connection, view: str, source: str, id_: str) -> dict[str, Any] | None:
    found = rows(corpus, f"SELECT * FROM {view} WHERE source = ? AND id = ?", source, id_)
    return found[0] if found else None


def find(corpus: Connection, build_dir: Path, name: str) -> dict[str, Any]:
    """The one document whose id or source_id is `name`, or else whose id begins with it."""
    found = rows(corpus, f"{_DOCUMENT} WHERE id = ?", name) if re.fullmatch(r"[0-9a-f]{32}", name) else []
    found = found or rows(corpus, f"{_DOCUMENT} WHERE source_id = ? ORDER BY source, id LIMIT {N_MATCHES + 1}", name)
    if not found and re.fullmatch(r"[0-9a-f]{1,31}", name):  # a range: row groups are skipped by it
        found = rows(corpus, f"{_DOCUMENT} WHERE id >= ? AND id < ? ORDER BY id LIMIT {N_MATCHES + 1}", name, name + "g")
    if not found:
        lost = rows(corpus, "SELECT count(*) AS n FROM quarantine")[0]["n"]
        raise CurateError(
            f"no document has this id or source_id: {name}", where=str(build_dir),
            allowed="32 hex digits or the beginning of them, or the id its origin gave it"
            + (f"; {lost:,} records are in quarantine, without an id" if lost else ""),
            next=f'curate sql {build_dir} "select id, source, source_id, title from documents limit 10"',
        )  # fmt: skip
    if len(found) > 1:
        shown = "; ".join(f"{d['source']} {d['id']} (source_id {d['source_id'] or '-'})" for d in found[:N_MATCHES])
        raise CurateError(
            f"more than one document has this id or source_id: {name}", where=str(build_dir),
            found=shown + ("; ..." if len(found) > N_MATCHES else ""), next="ask by the id, with more of its digits",
        )  # fmt: skip
    return found[0]


def _use(
    use: dict[str, Any], manifest: Mapping[str, Any] | None, place: Callable[[int], tuple[int, int]] | None
) -> dict[str, Any]:
    assert manifest is not None  # a use is a row of selection.parquet, which only a build with a manifest shows
    if use["split"] == "held_out":
        n = sum(phase["order"]["n_sequences"] for phase in manifest["phases"])
        length = manifest["held_out"].get("sequence_length", manifest["phases"][0]["sequence_length"])
        return use | {"epoch": None, "sequence_length": length, "held_out_row": use["sequence"] - n}
    length = next(phase["sequence_length"] for phase in manifest["phases"] if phase["name"] == use["phase"])
    step, row = place(use["stream_index"]) if place else (None, None)
    per_epoch = passes_per_epoch(manifest)[use["component"]]
    return use | {
        "sequence_length": length,
        "epoch": use["pass"] // per_epoch + 1,
        **({"step": step, "row": row} if place else {}),
    }


def _components(
    corpus: Connection, manifest: Mapping[str, Any], uses: list[dict[str, Any]], source: str, id_: str
) -> list[dict[str, Any]]:
    """The rows of `components` that the document belongs to: where it is used, else in each phase the first that it matches."""
    known = {row["component"]: row for row in rows(corpus, "FROM components")}
    if uses:
        return [known[name] for name in dict.fromkeys(use["component"] for use in uses)]
    found = rows(corpus, "SELECT components FROM members WHERE source = ? AND id = ?", source, id_)
    first: dict[str, str] = {}
    for component in manifest["components"]:  # in recipe order
        if found and component["name"] in found[0]["components"]:
            for phase in component["phases"]:
                first.setdefault(phase["phase"], component["name"])
    return [known[name] for name in dict.fromkeys(first.values())]


def _fate(
    source: str, found: Mapping[str, dict[str, Any] | None], witness: str, uses: list[dict[str, Any]],
    components: list[dict[str, Any]], named: list[str], has_mixture: bool, has_tokens: bool,
) -> tuple[str, str]:  # fmt: skip
    """(fate, the same in a sentence)."""
    decision, tokens, cluster = found["decisions"], found["tokens"], found["duplicates"]
    trained = [use for use in uses if use["split"] == "train"]
    if decision is None:
        return "undecided", "never trained on: the build stopped before it was decided what is kept"
    if not decision["keep"]:
        said = evidence(decision).strip()
        proof = f" of {witness}" if witness else f": {said}" if said else ""
        return "dropped", f"never trained on: dropped for {decision['reason']}{proof}"
    if tokens is None and not has_tokens:
        return "no_mixture", "kept; the build stopped before tokens were made"
    left = found["left_out"]
    if left is not None and left["action"] == "dropped":
        return "left_out", f"never trained on: left out of component {left['component']}, {_why_left(left, found['refused'])}"
    if tokens is None or not tokens["n_tokens"]:
        why = "" if (out := found["refused"]) is None else f", {out['reason']}: {out['detail']}"
        return "no_tokens", f"never trained on: kept, but it gives no token{why}"
    if not has_mixture:
        return "no_mixture", "kept and tokenized; the build has no mixture (its budget could not be met, or it stopped before)"
    if any(use["split"] == "held_out" for use in uses):
        with_ = f", with the {cluster['cluster_size']} documents of its duplicate cluster" if cluster else ""
        return "held_out", f"never trained on: held out of component {uses[0]['component']}{with_}, to watch the loss on"
    if trained:
        cut = f". Cut to {count(left['n_kept_tokens'])} of {count(left['n_tokens'])} tokens" if left is not None else ""
        return "trained", _times(trained, left["n_kept_tokens"] if left is not None else tokens["n_tokens"]) + cut
    if not components:
        return "no_component", (
            f"never trained on: it belongs to no component, by its source {source} or by their where: (components: {', '.join(named)})"
        )
    reached = [
        f"Component {c['component']} trains {count(c['train_tokens'])} tokens, {c['epochs']:.2f} epochs of "
        f"{count(c['unique_tokens'])} unique ones"
        for c in components
    ]
    return "over_budget", f"never trained on: over budget. {'. '.join(reached)}, and this document was not reached"


def _why_left(left: Mapping[str, Any], refused: Mapping[str, Any] | None) -> str:
    """The reason of a row of left_out in words; of a refused conversation what was said of it."""
    if refused is not None:
        return f"{left['reason']}: {refused['detail']}"
    words = {
        "longer_than_sequence": f"{count(left['length'])} tokens are longer than its sequences of {count(left['sequence_length'])}",
        "nothing_to_learn": f"nothing is left to learn in its first {count(left['sequence_length'])} tokens",
        "equal_completions": "chosen and rejected are the same when they are rendered",
        "empty_completion": "nothing is left of an answer when it is rendered",
        "prompt_is_no_prefix": "its prompt is no beginning of both conversations as they are rendered",
        "template_refuses": "the chat template refuses it",
        "no_calls_in_template": "the chat template writes no tool calls, and it has some",
    }
    return words.get(left["reason"], left["reason"])


def _witness(corpus: Connection, decision: Mapping[str, Any] | None) -> str:
    """The document this one was dropped for, and whether it is kept: a reference (dedup.against) is in no decision."""
    if decision is None or not decision["witness_id"]:
        return ""
    theirs = rows(corpus, "SELECT source, keep FROM decisions WHERE id = ?", decision["witness_id"])
    source = decision.get("witness_source") or (theirs[0]["source"] if theirs else "a reference")
    kept = ", which is kept" if theirs and theirs[0]["keep"] else ""
    similar = "" if decision["similarity"] is None else f", similarity {decision['similarity']:.4f}"
    return f"{source} {decision['witness_id']}{kept}{similar}"


def _begun(trained: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first chunks of the document's uses, in the order of the stream. A use that a phase left unfinished goes on in another, from
    the token where its budget ended."""
    return [use for use in trained if use["token_start"] == 0]


def _times(trained: list[dict[str, Any]], n_tokens: int) -> str:
    begun, total = len(_begun(trained)), sum(use["n_tokens"] for use in trained)
    last = {name: trained[-1][name] for name in ("phase", "component", "pass")}
    end = max(use["token_start"] + use["n_tokens"] for use in trained if use | last == use)
    times = {1: "once", 2: "twice"}.get(begun, f"{begun} times")
    part = (
        "" if end == n_tokens else f"; in the last pass only its first {count(end)} of {count(n_tokens)}, where the budget ended"
    )
    return f"trained on {times}, {count(total)} tokens{part}"


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    """A document's uses as text, 100 columns. `data` with n_steps and batch_rows beside it, None where no global batch is known."""
    document = data["document"]
    at = f", byte {count(document['byte_offset'])}" if document["byte_offset"] >= 0 else ""
    lines = [paint(cut(f"{document['source']}  {document['id']}  {name_of(document)}", WIDTH), "bold", colour),
             cut(f"  from    {document['file']}{at}" + (f", source_id {document['source_id']}" if document["source_id"] else ""), WIDTH)]  # fmt: skip
    if data["n_tokens"]:
        named = f", component{'s' * (len(data['components']) > 1)} {', '.join(data['components'])}" if data["components"] else ""
        lines.append(f"  tokens  {count(data['n_tokens'])}{named}")
    style = "green" if data["fate"] == "trained" else "yellow"
    lines += [paint(line, style, colour) for line in flowed(data["why"].split(" "), "  ", "  ", " ")]
    if data["uses"]:
        lines += ["", *_uses(data["uses"], data["n_steps"], data["n_phases"])]
    if data["fate"] == "trained" and not data["batch_rows"]:
        lines.append("  --global-batch '512 sequences', or a run file, says in which training step")
    return "\n".join([*lines, f"  more: curate explain {data['build']} {document['id']}"])


def _uses(uses: list[dict[str, Any]], n_steps: int | None, n_phases: int) -> list[str]:
    steps = [f"step (of {count(n_steps)})", "row"] if n_steps else []
    lengths = ["of"] if n_phases > 1 else []  # tokens of the row that the position is in
    head = ["phase", "epoch", "pass", "chunk", "tokens", *steps, "stream index", "position", *lengths, "sequence"]
    shown = []
    for use in uses[:N_USES]:
        is_held = use["split"] == "held_out"
        where = ["-" if is_held else count(use[name]) for name in ("step", "row") if steps]
        shown.append([
            "held out" if is_held else use["phase"], "-" if is_held else str(use["epoch"]), str(use["pass"]),
            f"{use['chunk'] + 1}/{use['n_chunks']}", count(use["n_tokens"]), *where,
            f"held-out row {use['held_out_row']}" if is_held else str(use["stream_index"]), str(use["position"]),
            *(count(use["sequence_length"]) for _ in lengths), str(use["sequence"]),
        ])  # fmt: skip
    left = len(uses) - len(shown)
    return [*table(head, shown, "<" + ">" * (len(head) - 1), "  "), *([f"  and {count(left)} more: --json"] if left else [])]
