"""A run in; the sentences at the top of the page out: is it finished, is what entered the model what was planned, what did it gain.

Imports train.report.find; the sentence on the receipt is that of train.receipt.verdict, from the receipt alone.
"""

from __future__ import annotations

from train.report.find import Run

GOOD, BAD, OPEN = "good", "bad", "open"
SHOWN = 12  # components in one sentence


def verdict(run: Run) -> list[tuple[str, str]]:
    """(good, bad or open; a sentence)"""
    return [finished(run), of_receipt(run), *gained(run)]


def finished(run: Run) -> tuple[str, str]:
    done, of = run.history.done, run.n_steps
    if not run.history.start and not len(run.history.steps):
        return OPEN, "Nothing has been logged yet."
    if of and done >= of:
        return GOOD, f"Finished: all {of:,} steps are done."
    said = f"{done:,} of {of:,} steps ({100 * done / of:.1f} %)" if of else f"{done:,} steps"
    last = next((mark for mark in reversed(run.history.marks) if mark["event"] in ("stopped", "resumed")), None)
    if last and last["event"] == "stopped" and last.get("step", 0) >= done:
        return OPEN, f"Stopped after {said}: {last.get('why', 'no reason given')}. The same command goes on from there."
    return OPEN, f"Not finished: {said} are in the log. It is still going, or it was killed; the same command goes on."


def of_receipt(run: Run) -> tuple[str, str]:
    receipt = run.receipt
    if receipt is None:
        return OPEN, "No receipt yet: there is no checkpoint."
    if receipt["differences"]:
        return BAD, "Receipt: what entered the model DIFFERS from the plan: " + "; ".join(receipt["differences"])
    skipped = len(receipt.get("skipped", ()))
    but = f", but for {skipped:,} rows that the run file skips" if skipped else ""
    rows = receipt["sequences"] + skipped
    of = sum(own["manifest"]["sequences"] for own in receipt["streams"])
    if rows == of:
        return GOOD, f"Receipt: {receipt['tokens']:,} tokens entered the model, equal to the plan to the token{but}."
    return GOOD if run.history.done >= run.n_steps > 0 else OPEN, (
        f"Receipt ({run.checkpoint}): {receipt['tokens']:,} tokens, {rows:,} of {of:,} rows, equal to the plan as far as it goes{but}."
    )


def gained(run: Run) -> list[tuple[str, str]]:
    """Held-out, first to last measurement, in bits per byte where all have it: components, and languages where they were measured."""
    events = run.history.held_out
    if not events:
        return []
    first, last = events[0], events[-1]
    return [
        (OPEN, f"Held-out {unit.replace('_', ' ')}{of}, step {first['step']:,} to {last['step']:,}: {said}.")
        for group, of in (("components", ""), ("languages", " by language"))
        for unit, said in _changes(first.get(group, {}), last.get(group, {}))
    ]


def _changes(first: dict, last: dict) -> list[tuple[str, str]]:
    names = [name for name in last if name in first]
    if not names:
        return []
    unit = "bits_per_byte" if all("bits_per_byte" in of[name] for of in (first, last) for name in names) else "loss"
    said = [f"{name} {first[name][unit]:.3f} → {last[name][unit]:.3f}" for name in names]
    more = f" and {len(said) - SHOWN} more, in the table below" if len(said) > SHOWN else ""
    return [(unit, ", ".join(said[:SHOWN]) + more)]
