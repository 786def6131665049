"""A run in, the whole page out: verdict, figures, charts, tables. One file of HTML with its style and a few lines of script inside.

Imports train.report.*, train.watch.{record,words}, curate.recipe.files (the run file as YAML).
"""

from __future__ import annotations

import html
from datetime import UTC, datetime
from importlib.resources import files

from curate.recipe.files import dump_yaml
from train.report import figures, pairs, verdict
from train.report.find import Run
from train.watch import words
from train.watch.record import BESIDES, MFU_IS, Sums

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"  # the page can reach for nothing


def page(run: Run) -> str:
    axis = figures.axis_of(run)
    own = files("train.report")
    style, script = (own.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    parts = [
        head(run), _section("", tiles(run)), _section("Loss", figures.losses(run, axis, "loss"), marks_key(run)),
        _section("Bits per byte", figures.losses(run, axis, "bits per byte")),
        _section("Preferences", pairs.preferences(run, axis)),
        _section("Held-out", figures.held_out(run, axis, "loss") + figures.held_out(run, axis, "bits_per_byte")),
        _section("Schedule", figures.schedule(run, axis)),
        _section("Speed", figures.speed(run, axis), mfu_formula(run)), _section("Time", time_split(run)),
        _section("Memory and energy", figures.machine(run, axis), meters(run)),
        _section("Components", components(run)), _section("Languages", languages(run)), _section("What happened", events(run)),
        _section("Run file", _code(dump_yaml(run.start["run"])) if run.start.get("run") else ""),
        _section("Versions", versions(run)),
    ]  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{_t(run.name)} - run report</title>'
        f"<style>{style}</style></head><body><main>{''.join(parts)}</main><script>{script}</script></body></html>\n"
    )


def _t(text: object) -> str:
    return html.escape(str(text))


def _section(title: str, drawn: str, under: str = "") -> str:
    if not drawn and not under:
        return ""
    name = f"<h2>{title}</h2>" if title else ""
    return f'<section>{name}{under}<div class="charts">{drawn}</div></section>'


def head(run: Run) -> str:
    lines = "".join(f'<li class="{kind}">{_t(said)}</li>' for kind, said in verdict.verdict(run))
    damaged = run.history.n_damaged
    if damaged:
        said = "lines of the log could not be read and are" if damaged > 1 else "line of the log could not be read and is"
        lines += f'<li class="open">{damaged:,} {said} left out.</li>'
    last = datetime.fromtimestamp(run.history.last_time, UTC).strftime("%Y-%m-%d %H:%M UTC") if run.history.last_time else ""
    model = " · ".join(filter(None, [
        str(run.start.get("model", "")), _parameters(run), f"{run.start['world']} × {run.start.get('device', '')}" if run.start.get("world") else "",
        f"log until {last}" if last else "",
    ]))  # fmt: skip
    return f'<header><h1>{_t(run.name)}</h1><p class="sub">{_t(model)}</p><ul class="verdict">{lines}</ul></header>'


def _parameters(run: Run) -> str:
    n, trained = run.start.get("n_parameters"), run.start.get("n_trainable")
    if not n:
        return ""
    return f"{words.count(n)} parameters" + (f", {words.count(trained)} trained" if trained and trained != n else "")


def tiles(run: Run) -> str:
    """Figures of the whole run, all its parts together."""
    total, twice = run.history.totals(), run.history.twice
    if not total.n_steps:
        return ""
    n = max(1, total.n_steps // 20)
    end = run.history.steps.totals(total.n_steps - n).all
    mfu = total.mfu(run.start.get("flops"), run.start.get("world", 1))
    speeds, unit = total.speeds(), total.loss_unit
    memory = float(run.history.steps.number("memory_bytes").max(initial=0))
    shown = [
        ("steps", f"{total.n_steps:,}", f"{run.history.n_parts} parts" if run.history.n_parts > 1 else ""),
        ("tokens", words.count(total.tokens), f"{words.count(total.all.loss_tokens)} {'with a label' if unit == 'loss' else unit}"),
        ("loss", words.number(end.loss), f"mean of the last {n:,} steps"),
        *pairs.tile(run),
        ("bits per byte", words.number(end.bits_per_byte), f"mean of the last {n:,} steps") if end.bits_per_byte else None,
        ("tokens a second", f"{speeds['non-padding']:,.0f}", f"{speeds['all']:,.0f} all, {speeds[unit]:,.0f} {unit}") if speeds else None,
        ("packing fill", words.share(total.fill, 2), "positions that are no padding"),
        ("MFU", words.share(mfu["causal"]), f"causal; {words.share(mfu['non-causal'])} non-causal") if mfu else None,
        ("time", words.duration(sum(total.seconds.values())), f"{words.share(_of_training(total.seconds))} of it training"),
        ("peak memory", words.size(memory), "of a device") if memory else None,
        ("energy", words.energy(total.joules), f"{total.joules / max(1, total.tokens):.2g} J a token") if total.joules is not None else None,
        ("done twice", f"{twice.n_steps:,} steps", f"after kills: {words.duration(sum(twice.seconds.values()))}"
         + (f", {words.energy(twice.joules)}" if twice.joules is not None else "")) if twice.n_steps else None,
    ]  # fmt: skip
    cells = (f"<div><dt>{_t(one[0])}</dt><dd>{_t(one[1])}</dd><small>{_t(one[2])}</small></div>" for one in shown if one)
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def _of_training(seconds: dict[str, float]) -> float | None:
    whole = sum(seconds.values())
    return sum(value for part, value in seconds.items() if part not in BESIDES) / whole if whole else None


def marks_key(run: Run) -> str:
    kinds = dict.fromkeys(mark["event"] for mark in run.history.marks if mark["event"] in figures.MARKS)
    if not kinds or not len(run.history.steps):
        return ""
    return '<p class="key">' + "".join(f'<span class="{kind}">{kind}</span>' for kind in kinds) + "</p>"


def mfu_formula(run: Run) -> str:
    flops = run.start.get("flops")
    if not flops:
        return ""
    peak = (
        f"; peak {flops['peak'] / 1e12:,.0f} Tflop/s ({flops.get('source', '')})"
        if flops.get("peak")
        else "; the device's peak is not known"
    )
    return f'<p class="note">MFU = {MFU_IS}. Flop per token, causal: {_t(flops.get("formula", ""))}{_t(peak)}.</p>'


def time_split(run: Run) -> str:
    """A bar and its parts: where the seconds of rank 0 went."""
    seconds = {part: value for part, value in run.history.totals().seconds.items() if value > 0}
    whole = sum(seconds.values())
    if not whole:
        return ""
    bar = "".join(f'<i class="c{i}" style="width:{100 * value / whole:.2f}%"></i>' for i, value in enumerate(seconds.values()))
    rows = "".join(
        f'<tr><td><span class="c{i}">{words.PARTS.get(part, _t(part))}</span></td><td>{words.share(value / whole, 2)}</td>'
        f"<td>{words.duration(value)}</td></tr>" for i, (part, value) in enumerate(seconds.items())
    )  # fmt: skip
    return f'<figure class="chart"><div class="bar">{bar}</div><div class="scroll"><table class="split">{rows}</table></div></figure>'


def meters(run: Run) -> str:
    energy = run.start.get("energy")
    if energy is None:
        return ""
    names = ", ".join(energy.get("meters", ()))
    return f'<p class="note">Energy read by rank 0 on its machine: {_t(names) if names else "no meter could be read"}.</p>'


def components(run: Run) -> str:
    """Planned beside entered, and what each component's loss did."""
    receipt = {entry["name"]: entry for entry in (run.receipt or {}).get("components", ())}
    steps = run.history.steps
    total = steps.totals()
    whole = sum(entry["tokens"] for entry in receipt.values())
    rows = []
    for name in dict.fromkeys([*receipt, *run.planned, *run.names("components")]):
        entry, plan = receipt.get(name), run.planned.get(name)
        seen = total.components.get(name, Sums())
        difference = "" if entry is None or plan is None else f"{entry['tokens'] - plan:+,}" if entry["tokens"] != plan else "0"
        rows.append([
            name, "-" if plan is None else f"{plan:,}", f"{entry['tokens']:,}" if entry else "-", difference,
            words.share(entry["tokens"] / whole) if entry and whole else "-", f"{entry['sequences']:,}" if entry else "-",
            words.number(seen.loss), words.number(seen.bits_per_byte), *_held_out(run, "components", name),
        ])  # fmt: skip
    if not rows:
        return ""
    titles = [
        "component",
        "planned tokens",
        "entered",
        "difference",
        "of tokens",
        "rows",
        "mean loss",
        "mean bits/byte",
        "held-out first",
        "last",
    ]
    note = f"Entered: from {run.checkpoint}/receipt.json. " if run.receipt else "No receipt yet. "
    if not run.planned:
        note += "The manifest is not where the run file says, seen from here: planned tokens are not shown."
    return _table(titles, rows, note)


def languages(run: Run) -> str:
    steps = run.history.steps
    total = steps.totals()
    rows = [
        [name, f"{sums.tokens:,}", words.share(sums.tokens / max(1, total.tokens)), words.number(sums.loss), words.number(sums.bits_per_byte),
         *_held_out(run, "languages", name)]
        for name, sums in sorted(total.languages.items(), key=lambda item: -item[1].tokens)
    ]  # fmt: skip
    return (
        _table(["language", "tokens", "of tokens", "mean loss", "mean bits/byte", "held-out first", "last"], rows) if rows else ""
    )


def _held_out(run: Run, group: str, name: str) -> tuple[str, str]:
    values = [event[group][name] for event in run.history.held_out if name in event.get(group, {})]
    shown = [f"{v['bits_per_byte']:.3f} b/B" if "bits_per_byte" in v else f"{v['loss']:.3f}" for v in values]
    return (shown[0], shown[-1]) if shown else ("-", "-")


def events(run: Run) -> str:
    """All but the saves between the first and the last; a phase that is named again after a resume stands once."""
    marks, rows = run.history.marks, []
    saves = [mark for mark in marks if mark["event"] == "saved"]
    for mark in marks:
        if mark["event"] == "saved" and len(saves) > 4 and mark not in (saves[0], saves[-1]):
            continue
        at = datetime.fromtimestamp(mark["time"], UTC).strftime("%Y-%m-%d %H:%M:%S") if mark.get("time") else ""
        rows.append([figures.told(mark), at])
    if len(saves) > 4:
        rows.append([f"{len(saves) - 2:,} more saves", ""])
    return _table(["event", "UTC"], rows) if rows else ""


def versions(run: Run) -> str:
    rows = [[name, version] for name, version in run.start.get("versions", {}).items()]
    return _table(["", ""], rows) if rows else ""


def _table(titles: list[str], rows: list[list[str]], note: str = "") -> str:
    head = "".join(f"<th>{_t(title)}</th>" for title in titles)
    body = "".join("<tr>" + "".join(f"<td>{_t(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    said = f'<p class="note">{_t(note)}</p>' if note else ""
    return f'<figure class="wide"><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{said}</figure>'


def _code(text: str) -> str:
    return f'<pre class="wide">{_t(text)}</pre>'
