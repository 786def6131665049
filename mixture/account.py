"""The books of a build: every number counted from the rows as they were laid out, and the sums that must close.

Documents, layout and what each phase had in; counts, document states, checks and the summary for the screen out. No total is a
difference of others. Imports mixture's budget, kernels, selection, sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from mixture import budget, kernels
from mixture.selection import Coded, Documents, Part, State, whole_of
from mixture.sequences import Layout

STATES = ("kept", "selected", "over_budget", "held_out", "no_component", "left_out")


class Membership(NamedTuple):
    """The documents of one component in one phase, when the phase is over; uses are all so far."""

    documents: int
    unique_tokens: int
    copies: dict[str, int]  # uses -> documents
    min_epochs: int
    max_epochs: int
    unused_documents: int
    unused_tokens: int
    out_of_step: int  # documents used neither as often as their history makes due, nor once more
    above_cap: int  # documents used more than ceil(max_epochs) epochs


@dataclass(frozen=True)
class PhaseCounts:
    """What the rows of one phase hold. Arrays int64 (n_components,)."""

    tokens: np.ndarray
    loss_tokens: np.ndarray
    examples: np.ndarray  # uses begun
    cut: np.ndarray  # uses that end before their document does
    members: dict[int, Membership]  # component -> its documents; components of this phase

    def measured(self, unit: str) -> np.ndarray:
        return {"tokens": self.tokens, "loss_tokens": self.loss_tokens, "examples": self.examples}[unit]


@dataclass(frozen=True)
class Counts:
    """Over the build: by component (n_components,) or by document (n_documents,)."""

    phases: list[PhaseCounts]
    held_tokens: np.ndarray  # tokens in held-out rows, by component
    held_documents: np.ndarray  # documents in held-out rows, by component
    languages: list[np.ndarray]  # per component tokens trained on, by value of Documents.language; the last of none
    licences: list[np.ndarray]
    provenance: list[np.ndarray]
    trained: dict[int, np.ndarray]  # component that has copies -> tokens trained on by document
    is_used: np.ndarray  # bool: the document stands in a trained row
    is_held: np.ndarray  # bool: the document stands in a held-out row


def count(
    layout: Layout, docs: Documents, n_loss: np.ndarray, parts: Sequence[Sequence[Part]], caps: Sequence[Fraction], before: State
) -> Counts:
    """Everything the manifest states, counted from the chunks as they were laid out.

    `parts`: per phase its components; `caps`: max_epochs of all components; `before`: what the recipe's `continues` consumed."""
    n = len(docs.components)
    row = layout.row
    component = np.array([use.component for use in layout.uses], np.int64)[layout.row_use[row]]
    begins = layout.chunk == 0
    uses = before.used.copy()
    is_whole = uses > 0  # some use of the document reached its end; of one that was consumed before, what is lost is told apart
    partly: dict[int, int] = {}  # how far the uses came of a document that a budget cut
    phases = []
    for number, own in enumerate(parts):
        a, b = (int(layout.row_ptr[layout.first_row[number + k]]) for k in (0, 1))
        document, of, end = layout.document[a:b], component[a:b], (layout.start + layout.length)[a:b]
        begun = begins[a:b] & (layout.start[a:b] == 0)
        already = [uses[part.own] for part in own]
        kernels.add(document[begun], np.ones(int(begun.sum()), np.int64), uses)
        cut = np.flatnonzero(~layout.more[a:b] & (end < docs.n_tokens[document]))
        is_whole[document[end == docs.n_tokens[document]]] = True
        for d, reached in zip(document[cut].tolist(), end[cut].tolist(), strict=True):
            partly[d] = max(reached, partly.get(d, 0))
        left = {d: int(docs.n_tokens[d]) - reached for d, reached in partly.items() if not is_whole[d]}
        passes = {use.component: use.pass_ for use, _ in layout.of_phase(number)}  # the last one of each
        members = {
            part.component: _membership(docs, part, caps[part.component], uses, left, had, passes.get(part.component))
            for part, had in zip(own, already, strict=True)
        }
        phases.append(PhaseCounts(
            _sum(of, layout.length[a:b], n), _sum(of, n_loss[a:b], n), np.bincount(of[begun], minlength=n),
            np.bincount(of[cut], minlength=n), members,
        ))  # fmt: skip
    n_trained = int(layout.row_ptr[layout.n_trained])
    trained, held = slice(0, n_trained), slice(n_trained, None)
    is_used, is_held = np.zeros(docs.n, np.bool_), np.zeros(docs.n, np.bool_)
    is_used[layout.document[trained]] = True
    is_held[layout.document[held]] = True
    rows_of = [np.flatnonzero(component[trained] == c) for c in range(n)]
    return Counts(
        phases, _sum(component[held], layout.length[held], n), np.bincount(component[held][begins[held]], minlength=n),
        [_by_value(docs.language, layout, own) for own in rows_of], [_by_value(docs.license, layout, own) for own in rows_of],
        [_by_value(docs.provenance, layout, own) for own in rows_of],
        {c: _sum(layout.document[own], layout.length[own], docs.n) for c, own in enumerate(rows_of) if docs.copies[c].size > 1},
        is_used, is_held,
    )  # fmt: skip


def _membership(
    docs: Documents, part: Part, max_epochs: Fraction, uses: np.ndarray, left: dict[int, int], had: np.ndarray, last: int | None
) -> Membership:
    """`left`: tokens that no use reached of documents used in part only; `had`: uses of the part's documents before the phase; `last`:
    the number of its last pass, None where it has none."""
    found = np.zeros(8, np.int64)
    histogram = np.zeros(int(uses.max(initial=0)) + 1, np.int64)
    kernels.count_members(
        part.own, part.copies, docs.n_tokens, uses, had, -1 if last is None else last, int(part.copies.max(initial=1)),
        -(-max_epochs.numerator // max_epochs.denominator), found, histogram,
    )  # fmt: skip
    unique, least, most, unused, unused_tokens, out_of_step, above_cap, _ = found.tolist()
    unused_tokens += sum(tokens for d, tokens in left.items() if (part.own == d).any())  # one a component and phase at most
    return Membership(
        part.own.size, unique, {str(k): int(n) for k, n in enumerate(histogram) if n}, least, most, unused, unused_tokens,
        out_of_step, above_cap,
    )  # fmt: skip


def _sum(index: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Exact sums of int64 values by index (bincount's weights would be floats); index -1 is the last."""
    out = np.zeros(n, np.int64)
    kernels.add(index, values, out)
    return out


def _by_value(column: Coded, layout: Layout, own: np.ndarray) -> np.ndarray:
    """Tokens of the chunks `own` by their documents' value, and last those of documents that have none."""
    return _sum(column.code[layout.document[own]], layout.length[own], len(column.values) + 1)


def summary(
    manifest: dict, docs: Documents, home: np.ndarray, held: np.ndarray, left: np.ndarray, counts: Counts,
    parts: Sequence[Sequence[Part]], plans: Sequence[budget.Plan],
) -> dict:  # fmt: skip
    """components: [{name, role, requested, to_train, share, unique, epochs, cap, padding_share, unavoidable_padding_share}], tokens over
    all phases (`requested` only where every phase counts tokens, `epochs` in the last phase that has it);
    phases: [{name, unit, requested, realised, tokens, sequences, padding_tokens, bent, binding, longer_rows}];
    total: {requested, to_train, unique, sequences, padding_tokens, padding_share}; held_out_tokens; stream_root;
    token_shard_bytes; documents: {source: {kept, selected, over_budget, held_out, no_component, left_out}}; checks: [{check, left, right}].

    `left`: the documents that are left out (overlong.py)."""
    stated = manifest["phases"]
    total = sum(p["budget"]["tokens"] for p in stated)
    in_tokens = all(p["budget"]["unit"] == "tokens" for p in stated)
    rows = []
    for c in manifest["components"]:
        own = [(p, s["sequence_length"]) for s in stated for p in s["packing"]["passes"] if p["component"] == c["name"]]
        filled = max(1, sum(p["sequences"] * length for p, length in own))
        tokens = sum(p["tokens"] for p in c["phases"])
        rows.append({
            "name": c["name"], "role": c["role"], "requested": sum(p["requested"] for p in c["phases"]) if in_tokens else None,
            "to_train": tokens, "share": tokens / total if total else 0.0, "unique": c["unique_tokens"],
            "epochs": c["phases"][-1]["epochs"]["mean"] if c["phases"] else 0.0, "cap": c["max_epochs"],
            "padding_share": sum(p["padding_tokens"] for p, _ in own) / filled,
            "unavoidable_padding_share": sum(p["unavoidable_padding_tokens"] for p, _ in own) / filled,
        })  # fmt: skip
    by_source = states(docs, home, left, counts)
    phases = [
        {
            "name": p["name"], "unit": p["budget"]["unit"], "requested": p["budget"]["requested"], "realised": p["budget"]["realised"],
            "tokens": p["budget"]["tokens"], "sequences": p["order"]["n_sequences"], "padding_tokens": p["budget"]["padding"],
            "bent": p["budget"]["bent"], "binding": p["budget"]["binding"], "longer_rows": p["packing"].get("longer_rows"),
        }
        for p in stated
    ]  # fmt: skip
    padding = sum(p["padding_tokens"] for p in phases)
    shards = [o["bytes"] for o in manifest["outputs"] if str(o["path"]).endswith(".ds")]
    return {
        "components": rows, "phases": phases,
        "total": {
            "requested": sum(p["requested"] for p in phases) if in_tokens else None, "to_train": total,
            "unique": sum(r["unique"] for r in rows), "sequences": sum(p["sequences"] for p in phases), "padding_tokens": padding,
            "padding_share": padding / max(1, sum(p["sequences"] * s["sequence_length"] for p, s in zip(phases, stated, strict=True))),
        },
        "held_out_tokens": sum(manifest["held_out"]["tokens"].values()), "stream_root": manifest["roots"]["stream"],
        "token_shard_bytes": sum(shards), "documents": by_source,
        "checks": checks(manifest, docs, held, left, counts, parts, plans, by_source),
    }  # fmt: skip


def states(docs: Documents, home: np.ndarray, left: np.ndarray, counts: Counts) -> dict[str, dict[str, int]]:
    """Per source, documents in each of the five states, every one by its own condition. `home`: the component of each, -1 in none."""
    found = np.zeros((len(docs.sources), len(STATES) - 1), np.int64)
    columns = [docs.source, home, counts.is_used, counts.is_held]
    if left.any():
        columns = [column[~left] for column in columns]
    kernels.count_states(*columns, found)
    out = np.bincount(docs.source[left], minlength=len(docs.sources))
    found = np.column_stack((found, out))
    found[:, 0] += out  # kept are all of them
    return {source: dict(zip(STATES, row, strict=True)) for source, row in zip(docs.sources, found.tolist(), strict=True)}


def checks(
    manifest: dict, docs: Documents, held: np.ndarray, left: np.ndarray, counts: Counts, parts: Sequence[Sequence[Part]],
    plans: Sequence[budget.Plan], by_source: dict,
) -> list[dict]:  # fmt: skip
    """[{check, left, right}]: every pair must be equal."""
    found: list[tuple[str, int, int]] = []
    for source, s in by_source.items():
        kinds = s["selected"] + s["over_budget"] + s["held_out"] + s["no_component"] + s["left_out"]
        found.append((f"{source}: kept = selected + over budget + held out + in no component + left out", s["kept"], kinds))
    for f, (phase, plan, now) in enumerate(zip(manifest["phases"], plans, counts.phases, strict=True)):
        title, unit = phase["name"], phase["budget"]["unit"]
        for part in parts[f]:
            c = part.component
            (numbers,) = [p for p in manifest["components"][c]["phases"] if p["phase"] == title]
            name, own = f"{title}, {docs.components[c]}", now.members[c]
            in_passes = [p for p in phase["packing"]["passes"] if p["component"] == docs.components[c]]
            found += [
                (
                    f"{name}: {unit} in rows = budget",
                    numbers["realised"] + _unused(part, plan, numbers["realised"], docs),
                    plan.targets[c],
                ),
                (f"{name}: {unit} above the cap", max(0, numbers["realised"] - max(part.cap, 0)), 0),
                (f"{name}: tokens by pass = tokens in rows", sum(p["tokens"] for p in in_passes), numbers["tokens"]),
                (f"{name}: documents by uses = documents", sum(numbers["copies"].values()), numbers["documents"]),
                (f"{name}: documents not used k or k + 1 times, given what was used before", own.out_of_step, 0),
                (f"{name}: documents used more than ceil(max_epochs) epochs", own.above_cap, 0),
                (
                    f"{name}: documents cut by the budget beyond one",
                    max(0, int(now.cut[c]) - (unit != "examples" and not part.is_whole)),
                    0,
                ),
            ]
        in_phase = [p for c in manifest["components"] for p in c["phases"] if p["phase"] == title]
        for what in ("tokens", "loss_tokens", "realised"):
            found.append((f"{title}: {what} of its components = {what}", sum(p[what] for p in in_phase), phase["budget"][what]))
    for component in manifest["components"]:
        name, tokens = component["name"], sum(p["tokens"] for p in component["phases"])
        found.append((f"{name}: tokens by licence = tokens to train", sum(component["licences"].values()), tokens))
        found.append((f"{name}: tokens by generator = tokens to train", sum(component["generators"].values()), tokens))
        found.append((f"{name}: tokens by language = tokens to train", sum(component["languages"].values()), tokens))
        if "copies_per_epoch" in component:
            by_bin = [*component["copies_per_epoch"]["bins"], component["copies_per_epoch"]["no_bin"]]
            found.append((f"{name}: tokens by bin of copies = tokens to train", sum(b["trained_tokens"] for b in by_bin), tokens))
    found.append(("documents in held-out rows = documents held out", int(counts.is_held.sum()), int(held.sum())))
    found.append(("held-out documents that are trained on", int((counts.is_used & held).sum()), 0))
    found.append(("documents left out that stand in a row", int((left & (counts.is_used | counts.is_held)).sum()), 0))
    return [{"check": check, "left": left, "right": right} for check, left, right in found]


def _unused(part: Part, plan: budget.Plan, realised: int, docs: Documents) -> int:
    """What whole documents leave of a budget: less than the largest of them, else nothing."""
    over = plan.targets[part.component] - realised
    if not part.is_whole or over <= 0:
        return 0
    most = int(whole_of(docs, part.own, part.unit, part.labels).max(initial=0))
    return over if over < most else 0
