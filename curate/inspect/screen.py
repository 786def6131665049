"""The screen at the end of `curate build-mixture`: what became of every source and component, and what to look at next.

In: a build folder (corpus.duckdb, manifest.json) and the run's times. Out: plain data, and its text in 100 columns.
Imports errors, manifest, recipe, units and the tables of this room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.inspect import contamination, duplicates
from curate.inspect.corpus import open_corpus, rows
from curate.inspect.tables import WIDTH, count, cut, flowed, number, paint, percent, short, table
from curate.manifest import read_manifest
from curate.recipe import Recipe, load_recipe
from curate.units import show_bytes

N_SOURCES = 12  # more are one command away; components are never folded
ALONE_SHARE = 0.02  # a rule that alone drops this share of a source is worth a look (a guess, as is the next)
DOMAIN_SHARE = 0.03  # of a source's kept tokens, in one web domain
FEW_JUDGED = 100  # documents, for the filter rate of a bin (a guess)


def screen(build_dir: Path, seconds: Mapping[str, float] | None = None, workers: int = 1, problem: str = "") -> dict[str, Any]:
    """Everything the end screen shows. `seconds` per stage of this run; `problem` says why there is no mixture."""
    build_dir = Path(build_dir)
    recipe = load_recipe(build_dir / "recipe.yaml")
    with open_corpus(build_dir) as corpus:
        sources = rows(corpus, "FROM sources ORDER BY priority")
        reasons = rows(corpus, "FROM reasons WHERE dropped > 0 ORDER BY dropped DESC, reason")
        components = rows(corpus, "FROM components")
        copies = rows(corpus, "FROM copies")
        phases, by_phase = rows(corpus, "FROM phases"), rows(corpus, "FROM component_phases")
        sets = rows(corpus, "FROM evaluation_sets ORDER BY eval_set")
        hints = _sample_hint(recipe) + _rule_hints(corpus, recipe) + _domain_hints(corpus, build_dir) + _copies_hints(copies)
        hints += _left_out_hints(recipe, sources) + _refused_hints(corpus) + _phase_hints(phases)
        hints += duplicates.capped_hints(corpus, build_dir, recipe) + _license_hints(recipe, sources)
        token_stages = rows(corpus, "SELECT path FROM stages WHERE stage = 'tokens'")
    for source in sources:
        mine = [r for r in reasons if r["source"] == source["source"]]
        source["reasons"] = [{"reason": r["reason"], "dropped": r["dropped"], "share_of_read": r["share_of_read"]} for r in mine]
    manifest = read_manifest(build_dir / "manifest.json") if components else None
    return {
        "name": recipe.name, "build": str(build_dir), "seconds": dict(seconds or {}), "workers": workers, "problem": problem,
        "sources": sources, "sums_close": all(s["sums_close"] for s in sources), "components": components, "copies": copies, "phases": phases,
        "component_phases": by_phase, "evaluation_sets": sets,
        "unavoidable_padding": sum(p["unavoidable_padding"] for p in phases), "hints": hints,
        "held_out_tokens": sum(c["held_out_tokens"] for c in components),
        "unknown_license_tokens": sum(s["unknown_license_tokens"] for s in sources),
        "token_bytes": sum(_size(build_dir / stage["path"]) for stage in token_stages),
        "stream_root": manifest["roots"]["stream"] if manifest else None,
        "next": _next(build_dir, recipe, reasons, bool(components)),
    }  # fmt: skip


def _phase_hints(phases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Budgets that had to bend, and lengths that no packing fits into the rows there are."""
    found = []
    for phase in phases:
        of = f"phase {phase['phase']}: " if len(phases) > 1 else ""
        if phase["bent"]:
            found.append(f"{of}on_shortage {phase['bent']}: {', '.join(phase['binding'])} cannot give what is asked")
        if phase["excess_padding"] is not None:
            share = percent(phase["excess_padding"], phase["n_sequences"] * phase["sequence_length"])
            other = (
                f"sequence_length {phase['longer_rows']:,} leaves little"
                if phase["longer_rows"]
                else "packing: concat cuts instead"
            )
            found.append(f"{of}{share} is padding that no packing can avoid: {other}")
    return found


def _sample_hint(recipe: Recipe) -> list[str]:
    return [f"this is a sample: {recipe.sample} of the documents, token budgets scaled alike"] if recipe.sample.value < 1 else []


def _license_hints(recipe: Recipe, sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where tokens of an unknown licence are, if the recipe asks what its licences are."""
    found = [f"{s['source']} {short(s['unknown_license_tokens'])}" for s in sources if s["unknown_license_tokens"]]
    return [f"tokens of unknown licence: {', '.join(found)} (licenses.unknown: flag)"] if found and recipe.licenses else []


def _left_out_hints(recipe: Recipe, sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """Kept documents that satisfy no component, of sources that components with conditions take from."""
    asked = {name for c in recipe.mixture.leaves.values() if c.where for name in c.from_}
    return [
        f"{s['source']}: {s['no_component']:,} of {documents(s['kept'])} kept are in no component, by their conditions"
        for s in sources if s["source"] in asked and s["no_component"]
    ]  # fmt: skip


def _refused_hints(corpus: Any) -> list[str]:
    """Conversations that the chat template refuses, or that teach nothing: they are left out, not an error."""
    found = rows(corpus, "SELECT source, reason, count(*) AS n FROM refused GROUP BY ALL ORDER BY n DESC, source, reason")
    return [f'{r["source"]}: {documents(r["n"])} left out, {r["reason"]}: curate sql BUILD "from refused"' for r in found]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("tokens.ds*"))


def _rule_hints(corpus: Any, recipe: Recipe) -> list[str]:
    """Rules that remove many documents no other rule would."""
    found = rows(corpus, "FROM reasons WHERE alone > 0 ORDER BY alone DESC, source, reason")
    read = {row["source"]: row["records"] for row in rows(corpus, "FROM sources")}
    hints = []
    for row in found:
        rule = rule_of(recipe, row["reason"], row["source"])
        if rule is not None and row["alone"] >= ALONE_SHARE * (read[row["source"]] or 0):
            hints.append(f"{row['source']}: {rule.name} ({rule.bound_text}) alone removes {documents(row['alone'])} "
                         "that no other rule does")  # fmt: skip
    return hints[:3]


def documents(n: int) -> str:
    return f"{n:,} document" + ("s" if n != 1 else "")


def rule_of(recipe: Recipe, name: str, source: str) -> Any | None:
    """The rule of this name that judges this source; None for a reason that is no rule (duplicates)."""
    mine = (rule for rule in recipe.rules if rule.name == name and (rule.sources is None or source in rule.sources))
    return next(mine, None)


def _domain_hints(corpus: Any, build_dir: Path) -> list[str]:
    """Few web domains that hold much of a source's kept tokens, where there are many domains."""
    query = """
      SELECT d.source, count(*) AS n, sum(kept_tokens) / any_value(s.tokens) AS share, max_by(domain, (kept_tokens, domain)) AS largest
      FROM domains d JOIN sources s USING (source)
      WHERE s.tokens > 0 AND kept_tokens >= ? * s.tokens
        AND d.source IN (SELECT source FROM domains GROUP BY source HAVING count(*) >= 20)
      GROUP BY d.source ORDER BY share DESC, d.source LIMIT 2"""
    return [
        f"{row['n']} web domain{'s hold' if row['n'] > 1 else ' holds'} {percent(row['share'], 1)} of the kept {row['source']} "
        f"tokens: curate samples {build_dir} --domain {row['largest']}"
        for row in rows(corpus, query, DOMAIN_SHARE)
    ]


def _copies_hints(bins: Sequence[Mapping[str, Any]]) -> list[str]:
    """Documents without a value have one copy; copies by filter rate may rest on few documents."""
    none = [b for b in bins if b["lower"] is None]
    found = [f"{b['component']}: {documents(b['documents'])} in no bin of {b['by']}: one copy each" for b in none]
    few = [b for b in bins if b["judged"] is not None and b["copies"] > 1 and b["judged"] < FEW_JUDGED]
    return found[:2] + [
        f"{b['component']}: {b['copies']} copies of {b['by']} {bin_label(b)} rest on the rate of {documents(b['judged'])}: "
        "give a table instead" for b in few[:2]
    ]  # fmt: skip


def _next(build_dir: Path, recipe: Recipe, reasons: list[dict[str, Any]], has_mixture: bool) -> list[str]:
    commands = [f"curate stats {build_dir}"]
    if reasons:
        commands.append(f"curate samples {build_dir} --reason {reasons[0]['reason']}")
    if has_mixture:
        commands.append(f"curate verify {build_dir}")
        run = Path("recipes") / "train" / f"{recipe.name}.yaml"
        commands += [f"curate train cpt {run}"] if run.is_file() else []
    return commands


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    """The screen as text; lines of at most 100 characters except paths and commands."""
    lines = [paint(data["name"], "bold", colour) + _times(data), "", *_sources(data, colour), ""]
    if data["components"]:
        lines += [*_components(data), ""]
    if data["problem"]:
        lines += [paint("! no mixture: ", "red", colour) + data["problem"], ""]
    lines += [paint("! ", "yellow", colour) + hint for hint in data["hints"]]
    lines += filter(None, [contamination.line(data["evaluation_sets"], data["build"])])
    if data["components"]:
        lines.append(
            f"held out {short(data['held_out_tokens'])} tokens   unknown licence {short(data['unknown_license_tokens'])} tokens"
        )
        lines.append(f"manifest {data['build']}/manifest.json  stream root {data['stream_root'][:8]}  "
                     f"token shards {show_bytes(data['token_bytes'])}")  # fmt: skip
    return "\n".join([*lines, *flowed(data["next"], "next: ", "      ")])


def _times(data: Mapping[str, Any]) -> str:
    total = sum(data["seconds"].values())
    if not total:
        return ""
    large = {name: s for name, s in data["seconds"].items() if s >= 0.05 * total}
    shares = [f"{name} {percent(s, total)}" for name, s in large.items()]
    rest = total - sum(large.values())
    shares += [f"other {percent(rest, total)}"] if rest > 0.005 * total else []
    workers = f"{data['workers']} worker" + ("s" if data["workers"] != 1 else "")
    return f"  built in {duration(total)} on {workers} ({', '.join(shares)})"


def duration(seconds: float) -> str:
    """12.3 -> '12 s', 11520 -> '3 h 12 m'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} m" if hours else f"{minutes} m {rest} s" if minutes else f"{rest} s"


def _sources(data: Mapping[str, Any], colour: bool) -> list[str]:
    shown = []
    for source in data["sources"][:N_SOURCES]:
        reasons = ", ".join(f"{r['reason']} {percent(r['dropped'], source['records'])}" for r in source["reasons"][:2])
        figures = [count(source[key]) for key in ("records", "quarantined", "dropped", "kept")]
        shown.append([source["source"], *figures, reasons])
    head = ["source", "read", "quarantined", "dropped", "kept", "largest reasons (share of read)"]
    lines = table(head, shown, "<>>>><")
    folded = len(data["sources"]) - len(shown)
    left = f"({folded} more: curate stats {data['build']})" if folded > 0 else ""
    if data["sums_close"]:
        n = len(data["sources"])
        says = f"sums close for all {n} sources" if n != 1 else "sums close for the one source"
        return [*lines, f"{left:<60} {paint(says, 'green', colour)}".lstrip()]
    open_ = ", ".join(s["source"] for s in data["sources"] if not s["sums_close"])
    return [*lines, left, paint(f'SUMS DO NOT CLOSE for {open_}: curate sql {data["build"]} "from sources"', "red", colour)]


def copies_lines(bins: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per component with copies: `web: copies by cluster_size (preset fineweb2/rehydration): 1 for 1, 2 for 2, 3 for 3-4`."""
    lines = []
    for name in dict.fromkeys(b["component"] for b in bins):
        mine = [b for b in bins if b["component"] == name and b["documents"]]
        where = f"{name}: copies by {mine[0]['by']} ({mine[0]['origin']}): " if mine else f"{name}: no document has copies"
        says = [f"{b['copies']} for {bin_label(b)}" for b in mine]
        lines += flowed([*(f"{one}," for one in says[:-1]), *says[-1:]], where, "  ", " ")
    return lines


def bin_label(b: Mapping[str, Any]) -> str:
    """`1`, `3-4`, `>= 1,000` of cluster sizes, `50 to below 500` and `0.5 to below 0.9` of other numbers; `no bin` for documents outside all."""
    lower, upper = b["lower"], b["upper"]
    if lower is None:
        return "no bin"
    if lower != int(lower) or (upper is not None and upper != int(upper)):
        return f">= {lower:g}" if upper is None else f"{lower:g} to below {upper:g}"
    if upper is None:
        return f">= {number(lower)}"
    if b["by"].endswith("cluster_size"):  # counts: the next bin begins one further
        return number(lower) if upper == lower + 1 else f"{number(lower)}-{number(upper - 1)}"
    return f"{number(lower)} to below {number(upper)}"


def _components(data: Mapping[str, Any]) -> list[str]:
    if len(data["phases"]) > 1 or any(phase["unit"] not in (None, "tokens") for phase in data["phases"]):
        return _by_phase(data)
    realised = sum(c["train_tokens"] for c in data["components"])
    shown = [
        [c["component"], short(c["requested"]), count(c["train_tokens"]), percent(c["train_tokens"], realised),
         short(c["unique_tokens"]), "-" if c["epochs"] is None else f"{c['epochs']:.2f}", f"{c['max_epochs']:g}"]
        for c in data["components"]
    ]  # fmt: skip
    requested, unique = (sum(c[key] for c in data["components"]) for key in ("requested", "unique_tokens"))
    head = ["component", "requested", "to train", "share", "unique", "epochs", "cap"]
    shown.append(["total", short(requested), count(realised), "", short(unique), "", ""])
    if data["copies"]:  # an epoch uses its documents so many times, on average over their tokens
        head.insert(5, "copies")
        for row, c in zip(shown, [*data["components"], {"epoch_tokens": None}], strict=True):
            row.insert(5, f"{c['epoch_tokens'] / max(c['unique_tokens'], 1):.2f}" if c["epoch_tokens"] is not None else "")
    lines = table(head, shown, "<" + ">" * (len(head) - 1))
    padding, sequences = (sum(p[key] or 0 for p in data["phases"]) for key in ("padding", "n_sequences"))
    of = max(realised + padding, 1)
    lines[-1] += f"   {count(sequences)} sequences, padding {100 * padding / of:.3f} %"
    lines += copies_lines(data["copies"])
    if padding:
        lines.append(f"of that padding {100 * data['unavoidable_padding'] / of:.3f} % no packing of these lengths can avoid")
    return [cut(line, WIDTH) for line in lines]


def _by_phase(data: Mapping[str, Any]) -> list[str]:
    """A table over the phases, and a line for each: what its rows hold."""
    shown, below = [], []
    for phase in data["phases"]:
        mine = [c for c in data["component_phases"] if c["phase"] == phase["phase"]]
        trained = sum(c["train_tokens"] for c in mine)
        for c in mine:
            unit = "" if c["unit"] == "tokens" else f" {c['unit']}"
            shown.append([phase["phase"] if c is mine[0] else "", c["component"], short(c["requested"]) + unit, count(c["train_tokens"]),
                          percent(c["train_tokens"], trained), short(c["unique_tokens"]), f"{c['epochs'] or 0:.2f}",
                          count(c["max_epochs_used"]), f"{c['max_epochs']:g}"])  # fmt: skip
        room = phase["n_sequences"] * phase["sequence_length"]
        below.append(f"{phase['phase']}: {count(trained)} tokens in {count(phase['n_sequences'])} sequences of "
                     f"{count(phase['sequence_length'])}, padding {100 * phase['padding'] / max(room, 1):.3f} % "
                     f"({100 * phase['unavoidable_padding'] / max(room, 1):.3f} % no packing can avoid)")  # fmt: skip
    head = ["phase", "component", "requested", "to train", "share", "unique", "epochs", "most so far", "cap"]
    lines = [*table(head, shown, "<<" + ">" * 7), *below, *copies_lines(data["copies"])]
    return [cut(line, WIDTH) for line in lines]
