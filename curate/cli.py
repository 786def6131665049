"""The command line and the only composition root: it alone joins curate, mixture and train.

Each command parses, loads, calls one function, prints and returns. Results go to stdout, everything else to stderr.
Exit codes: 0 done; 1 a check failed; 2 the user's mistake; 3 done, but past the recipe's quarantine limit.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from curate.errors import CurateError

if TYPE_CHECKING:
    from curate.pipeline import Curated
    from curate.recipe import Recipe
    from curate.store import Stage

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
    help="veski: raw text in, a token-budgeted mixture out. One command is the product: curate build-mixture RECIPE",
)  # fmt: skip
train_app = typer.Typer(no_args_is_help=True, help="Train from a manifest (extra: train).")
app.add_typer(train_app, name="train", rich_help_panel="train")
judge_app = typer.Typer(no_args_is_help=True, help="Two models side by side, judged blind by people or by a model.")
train_app.add_typer(judge_app, name="judge")

Build = Annotated[Path, typer.Argument(help="A build folder, e.g. build/quickstart")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Override a recipe key: key=value (repeatable).")]
GlobalBatch = Annotated[
    str | None, typer.Option(help="What one step trains: '512 sequences', '2M tokens', or the run file that says it.")
]


def main() -> None:
    """Entry point: a CurateError is one message and its exit code, never a traceback."""
    try:
        app()
    except CurateError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _show(data: Any, text: str, as_json: bool) -> None:
    print(json.dumps(data, ensure_ascii=False, indent=1, default=str) if as_json else text)


@app.command("inspect-source", rich_help_panel="make")
def inspect_source(
    path: Annotated[
        str, typer.Argument(metavar="PATH|URL|HUB_ID", help="A file or folder, a URL, or a dataset of the hub: owner/name")
    ],
    config: Annotated[str | None, typer.Option(help="Of a dataset of the hub.")] = None,
    split: Annotated[str | None, typer.Option(help="Of a dataset of the hub.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of a dataset of the hub; default: the commit of main.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at raw data and propose a source block for a recipe. Of what lies elsewhere only the first MB is looked at."""
    from curate.sources.places.look import look_at

    proposal = look_at(path, config, split, revision)
    _show(proposal.data(), proposal.text(), as_json)


@app.command("fetch", rich_help_panel="make")
def fetch(
    recipe: Annotated[Path, typer.Argument(help="A recipe file")],
    update: Annotated[
        bool, typer.Option("--update", help="Take what changed at its origin, forget what is gone from there.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read what is here again; fetch what is damaged anew.")] = False,
    parallel: Annotated[int, typer.Option(min=1, help="Files fetched side by side.")] = 8,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Mirror what a recipe names elsewhere (URLs, datasets, tokenizer, models) on this machine; builds then need no network.

    The mirror is the root `mirror`, else mirror/ beside the recipe. Interrupted, the same command goes on, in the middle of a file too.
    """
    from dataclasses import asdict

    from curate.models.files import model_file
    from curate.recipe import load_recipe
    from curate.sources.places.fetch import fetch as fetch_places
    from mixture.tokenizer.files import find_files

    loaded = load_recipe(recipe, sets or [])
    data = fetch_places(loaded, update=update, verify=verify, n_files=parallel)
    find_files(loaded.tokenizer, loaded.path)  # the hub's own cache keeps what comes from there
    for name, model in loaded.named_models().items():
        path = str(loaded.path(str(model.model), name)) if "{" in str(model.model) else str(model.model)
        model_file(path, model.revision, loaded.base, sha256=model.sha256, where=name)
        if name.startswith("models.") and loaded.models[name.removeprefix("models.")].kind == "kenlm":
            with contextlib.suppress(CurateError):  # what its maker says of it lies beside it, or does not
                model_file(f"{path}.json", model.revision, loaded.base, where=name)
    _show(asdict(data), data.text(), as_json)


@app.command("build-mixture", rich_help_panel="make")
def build_mixture(
    recipe: Annotated[Path, typer.Argument(help="A recipe file")],
    out: Annotated[
        Path | None, typer.Option(help="The build folder. Default: build/NAME, of a sample build/NAME-sample.")
    ] = None,
    store: Annotated[Path, typer.Option(help="Where stages are kept, shared by all recipes.")] = Path("store"),
    sample: Annotated[
        str | None, typer.Option(help="Build from a share of the documents, e.g. 1%; budgets shrink alike.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Stop after ingest, measure, relate, decide or tokenize.")] = None,
    sets: Sets = None,
    workers: Annotated[int, typer.Option(help="Processes; 0: one per core where there is enough to do.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Build a mixture: from raw files to a manifest a trainer can prove it consumed."""
    from curate import engine, pipeline
    from curate.inspect import corpus
    from curate.inspect import screen as room
    from curate.manifest import read_manifest
    from curate.recipe import load_recipe
    from curate.relate import references
    from curate.store import Store
    from mixture import budget, going_on, tokens

    loaded = load_recipe(recipe, sets or [], sample=_share(sample))
    if until is not None and until not in pipeline.STAGES:
        raise CurateError("no such stage", where="--until", found=until, allowed=", ".join(pipeline.STAGES))
    out = out or Path("build") / (loaded.name + ("-sample" if sample else ""))
    pipeline.check(loaded)
    references.check_out(loaded, out)
    tokenizer = tokens.check(loaded)
    budget.check(loaded.mixture)
    going_on.check(loaded, {"sha256": tokenizer.sha256}, out)
    home = Store(store)
    _say(pipeline.check_disk(loaded, home))
    _begin(out, loaded, store)
    curated = pipeline.curate(loaded, home, workers=workers, until=until or "mixture")
    stages, problem = curated.stages(), ""
    manifest = None
    if curated.decisions is not None and until != "decide":
        stages["tokens"], shortage = _mix(curated, out, tokenizer, workers, pack=until != "tokenize")
        problem = str(shortage) if shortage else ""
        manifest = read_manifest(out / "manifest.json") if until != "tokenize" and not shortage else None
    if curated.decisions is not None:
        corpus.write_corpus(out, {**stages, **curated.reference_stages()}, manifest)
        data = room.screen(out, curated.seconds, engine.most_workers, problem)
        _show(data, room.render(data, sys.stdout.isatty()), as_json)
    else:
        _show({name: s.info()["counts"] for name, s in curated.documents.items()}, pipeline.render_counts(curated), as_json)
    if problem:
        sys.exit(2)
    sys.exit(_quarantine_code(curated))


@app.command("plan", rich_help_panel="make")
def plan(
    target: Annotated[
        Path, typer.Argument(metavar="RECIPE|BUILD|RUN", help="A recipe, a build folder, or the run file of a training")
    ],
    build: Annotated[
        Path | None,
        typer.Option(help="The build whose documents stand for the recipe's, also a sample. Default: build/NAME[-sample]."),
    ] = None,
    stats: Annotated[Path | None, typer.Option(help="Numbers from elsewhere: JSON or CSV, source: documents, tokens.")] = None,
    sets: Sets = None,
    global_batch: GlobalBatch = None,
    tokens_per_second: Annotated[str | None, typer.Option(help="What your machine trains, for days: 40k.")] = None,
    device: Annotated[str, typer.Option(help="Of a run: the device it is planned for, h200. Default: what is here.")] = "",
    memory: Annotated[str, typer.Option(help="Of a run: the memory of a device, '141 GB'.")] = "",
    devices: Annotated[int, typer.Option(min=1, help="Of a run: how many devices.")] = 1,
    shard: Annotated[bool, typer.Option("--shard", help="Of a run: FSDP over the devices, not plain data parallel.")] = False,
    as_json: AsJson = False,
) -> None:
    """Predict a mixture before it is built: shares, caps, epochs, padding, steps; what to change where it cannot be. Of a run file: steps,
    hours, peak memory by part, and the first setting that fits the device. Writes nothing."""
    from curate.inspect import plan_screen
    from curate.recipe.files import load_extended
    from mixture import plan as room

    if target.is_file() and "manifest" in load_extended(target)[0]:
        _plan_run(target, sets, device, memory, devices, shard, _rate(tokens_per_second), as_json)
    recipe, run_of, known, is_exact, hints = _known_documents(target, build, stats, sets or [])
    _not_a_miniature(recipe)
    data = room.report(
        recipe.name, recipe.mixture, run_of, known=known, is_exact=is_exact, global_batch=global_batch,
        tokens_per_second=_rate(tokens_per_second), hints=hints,
    )  # fmt: skip
    _show(data, plan_screen.render(data, sys.stdout.isatty()), as_json)
    sys.exit(0 if data["feasible"] else 1)


@app.command("what-if", rich_help_panel="make")
def what_if(
    build: Build,
    changes: Annotated[
        list[str], typer.Argument(help="key=value, e.g. min_n_words=40 or mixture.components.et.budget='1M tokens'")
    ],
    texts: Annotated[int, typer.Option(help="Texts newly dropped and newly kept, for each reason.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Decide and plan again with other settings, nothing else; prints the YAML to paste back."""
    from curate.inspect import outcomes, what_if_screen
    from curate.inspect import what_if as room

    recipe, log = _recipe_of(build)
    _not_a_miniature(recipe)
    changed, _ = _recipe_of(build, changes)
    from curate import engine, pipeline
    from curate.membership import membership
    from curate.store import Store

    pipeline.check(changed)
    store = Store(build / log["store"])
    with engine.quietly():
        curated = pipeline.curate(changed, store, workers=1)
    assert curated.decisions is not None
    members = membership(recipe, outcomes.folders(build)), membership(changed, curated.folders())
    compared = outcomes.compare(build, curated.decisions.path, members, texts)
    copies = members[0].copies, members[1].copies
    problem, feasible = _plan_problem(changed, room.held(compared, 1), copies[1])
    data = room.what_if(build, compared, (recipe, changed), copies, problem, feasible)
    _show(data, what_if_screen.render(data, sys.stdout.isatty()), as_json)


@app.command("gc", rich_help_panel="hand over")
def gc(
    store: Annotated[Path, typer.Option(help="The store to clean.")] = Path("store"),
    builds: Annotated[Path, typer.Option(help="The folder of builds whose stages are kept.")] = Path("build"),
    delete: Annotated[bool, typer.Option("--delete", help="Really delete; without it, only list.")] = False,
    as_json: AsJson = False,
) -> None:
    """List, then with --delete remove, stages that no build uses and what interrupted runs left behind."""
    from curate import gc as room

    data = room.collect(store, builds, delete)
    _show(data, room.render(data), as_json)


@app.command("export", rich_help_panel="hand over")
def export(
    build: Build,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder; an equal export that lies there already is fine.")],
    tokens: Annotated[
        bool, typer.Option("--tokens", help="What trains elsewhere: manifest, selection, sequences, the token shards they need.")
    ] = False,
    text: Annotated[
        bool, typer.Option("--text", help="The documents that are trained on, as the model reads them, in Parquet.")
    ] = False,
    hub: Annotated[
        bool, typer.Option("--hub", help="The same as a dataset repository, but only rows whose licence lets them be handed on.")
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="A licence that may be handed on, in place of the recipe's: an SPDX id or 'CC-BY-*' (repeatable)."),
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Hard-link the token shards instead of copying them (same disk).")] = False,
    as_json: AsJson = False,
) -> None:
    """Hand a finished mixture over: --tokens (the default), --text or --hub. Never the store, nor what is not needed.

    DIR is whole or not there, holds no path of this machine but those recipe.yaml names, and is checked with `curate verify DIR`; an
    export of tokens also by its own verify.py. Tokens decode to the texts they are made of: hand them on as you would the texts.
    """
    kinds = [name for name, asked in (("--tokens", tokens), ("--text", text), ("--hub", hub)) if asked]
    if len(kinds) > 1:
        raise CurateError("one export at a time", where=" ".join(kinds), allowed="--tokens, --text or --hub")
    kind = kinds[0] if kinds else "--tokens"
    misplaced = [
        name for name, given, fits in (("--allow", allow, "--hub"), ("--link", link, "--tokens")) if given and kind != fits
    ]
    if misplaced:
        raise CurateError(f"{misplaced[0]} does not belong to {kind}", where=misplaced[0])
    from mixture.export import screen
    from mixture.export.texts import export_texts
    from mixture.export.tokens import export_tokens

    recipe, log = _recipe_of(build)
    if kind == "--tokens":
        data = export_tokens(build, folder, recipe, link=link)
    else:
        data = export_texts(build, folder, recipe, build / log["store"], allow=(allow or []) if hub else None)
    _show(data, screen.render(data), as_json)


@app.command("stats", rich_help_panel="look")
def stats(build: Build, as_json: AsJson = False) -> None:
    """Numbers of a build: sources, reasons, rules alone and together, components, signals."""
    from curate.inspect import stats as room

    data = room.stats(build)
    _show(data, room.render(data, sys.stdout.isatty()), as_json)


@app.command("samples", rich_help_panel="look")
def samples(
    build: Build,
    reason: Annotated[str | None, typer.Option(help="A reason of `curate stats`; without it, kept documents.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    domain: Annotated[str | None, typer.Option(help="Only this web domain; without a reason, kept and dropped ones.")] = None,
    n: Annotated[int, typer.Option(help="How many.")] = 10,
    seed: Annotated[int, typer.Option(help="Another seed draws other documents.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Texts by reason or web domain, and those kept and dropped nearest to a bound."""
    from curate.inspect import samples as room

    data = room.samples(build, reason, source, n, seed, domain)
    _show(data, room.render(data, sys.stdout.isatty()), as_json)


@app.command("explain", rich_help_panel="look")
def explain(
    build: Build, id: Annotated[str, typer.Argument(help="A document's id, or its beginning")], as_json: AsJson = False
) -> None:
    """Everything about one document: origin, signals against bounds, duplicates, decision, every use."""
    from curate.inspect import explain as room

    data = room.explain(build, id)
    _show(data, room.render(data, sys.stdout.isatty()), as_json)


@app.command("step", rich_help_panel="look")
def step(
    build: Build,
    number: Annotated[
        int, typer.Argument(metavar="S", help="A step as a run's log counts it, from 1; without --global-batch a stream index.")
    ],
    global_batch: GlobalBatch = None,
    world_size: Annotated[int | None, typer.Option(help="Processes of the run, for --rank.")] = None,
    rank: Annotated[int | None, typer.Option(help="Only the rows of this process, from 0.")] = None,
    texts: Annotated[
        bool, typer.Option("--texts", help="Also what the model reads, decoded; ⟦what it learns⟧ where that is not all.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The documents of one training step: its rows, by component, each with its pass, chunk and tokens."""
    from dataclasses import asdict

    from curate.inspect import step as room
    from curate.manifest import read_manifest
    from mixture import steps

    manifest = read_manifest(build / "manifest.json")
    asked = steps.ask(
        manifest, number, steps.steps_of(manifest, global_batch) if global_batch else None, rank=rank, world=world_size
    )
    read = steps.reader(build / "manifest.json", _recipe_of(build)[0]) if texts else None
    data = room.step(build, asked.rows, None if as_json else room.N_ROWS, read, asked.n_empty)
    said = {key: value for key, value in asdict(asked).items() if key not in ("rows", "n_empty")}
    _show({**said, **data}, room.render({**said, **data}, sys.stdout.isatty()), as_json)


@app.command("when", rich_help_panel="look")
def when(
    build: Build,
    document: Annotated[
        str, typer.Argument(metavar="ID|SOURCE_ID", help="A document's id or its beginning, or its origin's id.")
    ],
    global_batch: GlobalBatch = None,
    as_json: AsJson = False,
) -> None:
    """Every time a document is trained on: pass, chunk, step; or why it never is."""
    from functools import partial

    from curate.inspect import when as room
    from curate.manifest import read_manifest
    from mixture import steps

    manifest = read_manifest(build / "manifest.json") if global_batch else {}
    run = steps.steps_of(manifest, global_batch) if global_batch else None
    place = partial(steps.place, run) if run else None
    data = {
        "batch_rows": run and steps.said(run.rows), "n_steps": run and run.n_steps,
        **room.when(build, document, place),
    }  # fmt: skip
    _show(data, room.render(data, sys.stdout.isatty()), as_json)


@app.command("diff", rich_help_panel="look")
def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A build folder")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one")],
    texts: Annotated[int, typer.Option(help="Texts newly kept and newly dropped, for each reason.")] = 0,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Only documents and tokens, by component, phase, source, language, licence, or a signal: edu_score=0.5,0.7"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What changed between two builds: recipe, documents and tokens, reasons, and the first stage at which they part."""
    from curate.inspect import diff as room
    from curate.inspect import diff_screen

    data = room.compare_by(a, b, by) if by else room.diff(a, b, texts)
    _show(data, (diff_screen.render_by if by else diff_screen.render)(data, sys.stdout.isatty()), as_json)


@app.command("report", rich_help_panel="look")
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN_FOLDER|RUN.yaml", help="The folder that save.to names, or the run file")],
    out: Annotated[Path | None, typer.Option(help="The page. Default: report.html in the run's folder.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw a training run on one HTML page: finished or going on, here or on another machine. Needs no torch and no network."""
    import webbrowser

    from train.report import write_report

    path = write_report(run, out)
    if show:
        webbrowser.open(path.resolve().as_uri())
    _show({"report": str(path)}, str(path), as_json)


@app.command("sql", rich_help_panel="look")
def sql(
    build: Build,
    query: Annotated[str, typer.Argument(help="SQL over sources, reasons, documents, signals, decisions, selection, ...")] = "",
    setup: Annotated[bool, typer.Option("--setup", help="Print the line that makes the views work in another folder.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the build anything, in SQL (DuckDB)."""
    from curate.inspect import corpus
    from curate.inspect import sql as room

    if setup:
        print(corpus.setup(build))
        return
    if not query:
        raise CurateError("no query", next=f'curate sql {build} "select source, reason, count(*) from decisions group by all"')
    data = room.sql(build, query)
    _show(
        [dict(zip(data["columns"], row, strict=True)) for row in data["rows"]],
        room.render_csv(data) if csv else room.render(data, sys.stdout.isatty()),
        as_json,
    )


@app.command("select", rich_help_panel="adapt")
def select(
    build: Build,
    out: Annotated[
        Path, typer.Argument(help="OUT.jsonl: the picks and why; OUT.txt: their ids, for where: {id: {file: OUT.txt}}")
    ],
    n: Annotated[int, typer.Option(help="How many conversations.")] = 2000,
    languages: Annotated[str | None, typer.Option(help="As many of each, by what the user writes: et,en. Default: any.")] = None,
    difficulty: Annotated[str, typer.Option(help="A signal, larger is harder; -SIGNAL: smaller is harder.")] = "n_answer_words",
    min_answer_words: Annotated[int, typer.Option(help="Of the assistant's messages together.")] = 0,
    max_answer_words: Annotated[int | None, typer.Option(help="Of the assistant's messages together.")] = None,
    max_similarity: Annotated[
        float, typer.Option(help="Of a prompt with any pick's: weighted Jaccard index of their words.")
    ] = 0.5,
    source: Annotated[list[str] | None, typer.Option(help="Only this source (repeatable).")] = None,
    as_json: AsJson = False,
) -> None:
    """Choose a small set of the kept conversations: hardest first, of a length, in balanced languages, no two alike."""
    from curate.inspect import select as room

    names = tuple(name.strip() for name in (languages or "").split(",") if name.strip())
    data = room.select(
        build, room.Ask(n, names, difficulty, min_answer_words, max_answer_words, max_similarity, tuple(source or ()))
    )
    room.write(data, out)
    _show(data, room.render(data), as_json)
    sys.exit(1 if data["short"] else 0)


@app.command("export-prompts", rich_help_panel="hand over")
def export_prompts(
    build: Build,
    out: Annotated[Path, typer.Argument(help="A JSONL file")],
    task: Annotated[str, typer.Option(help="answer: conversations without their last answer; translate: whole ones.")] = "answer",
    to: Annotated[str | None, typer.Option(help="The language to translate into.")] = None,
    protect: Annotated[str, typer.Option(help="What placeholders stand for in a translation.")] = "code,numbers,names",
    source: Annotated[list[str] | None, typer.Option(help="Only this source (repeatable).")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the kept conversations for a model elsewhere to answer or translate; `import-answers` takes what it says."""
    from curate.inspect import exchange as room
    from curate.sources.protect import KINDS

    kinds = [kind.strip() for kind in protect.split(",") if kind.strip()]
    if task not in ("answer", "translate"):
        raise CurateError("no such task", where="--task", found=task, allowed="answer, translate")
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise CurateError("nothing of this kind is protected", where="--protect", found=unknown[0], allowed=", ".join(KINDS))
    data = room.export_prompts(build, out, task, to=to, sources=source or (), kinds=kinds)  # type: ignore[arg-type]
    _show(data, room.render(data), as_json)


@app.command("import-answers", rich_help_panel="make")
def import_answers(
    prompts: Annotated[Path, typer.Argument(help="What `curate export-prompts` wrote")],
    answers: Annotated[
        Path, typer.Argument(help="JSONL: {id, answer}, {id, texts} or {id, messages}; and seed, verdict, ... of a row")
    ],
    out: Annotated[Path, typer.Argument(help="A JSONL file, which a source of type: conversation reads")],
    generator: Annotated[str, typer.Option(help="The model that answered, with its version.")],
    seed: Annotated[str | None, typer.Option(help="Of its sampling.")] = None,
    date: Annotated[str | None, typer.Option(help="When it answered: 2026-11-29.")] = None,
    license: Annotated[str | None, typer.Option(help="Under which its answers may be used.")] = None,
    as_json: AsJson = False,
) -> None:
    """Join answers made elsewhere to their prompts, with their provenance. Exit code 1 where an answer fits no prompt."""
    from curate.inspect import exchange as room

    data = room.import_answers(prompts, answers, out, room.Told(generator, seed, date, license))
    _show(data, room.render(data), as_json)
    sys.exit(1 if data["problems"] else 0)


@app.command("thresholds", rich_help_panel="adapt")
def thresholds(
    build: Build,
    source: Annotated[list[str] | None, typer.Option(help="Only this source (repeatable).")] = None,
    method: Annotated[
        str | None, typer.Option(help="10tail, meanstd, quantile, medianratio or unchanged, for every bound.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="The source that the base bounds fit, e.g. clean English.")] = None,
    clean: Annotated[str | None, typer.Option(help="A clean source of the target's language to compare with it.")] = None,
    stop_words: Annotated[str | None, typer.Option(help="Derive stop words from this source.")] = None,
    write_stop_words: Annotated[Path | None, typer.Option(help="Write them to this file.")] = None,
    texts: Annotated[int, typer.Option(help="Texts on each side of a bound.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Propose a language's bounds from what was measured, by FineWeb2's methods."""
    from curate.inspect import thresholds as room
    from curate.inspect import thresholds_screen

    recipe, _ = _recipe_of(build)
    data = room.thresholds(
        build, recipe, source or [], method=method, reference=reference, clean=clean, stop_words=stop_words,
        write_stop_words=write_stop_words, n_texts=texts,
    )  # fmt: skip
    _show(data, thresholds_screen.render(data, sys.stdout.isatty()), as_json)


@app.command("train-classifier", rich_help_panel="adapt")
def train_classifier(
    out: Annotated[Path, typer.Argument(help="The model to write, e.g. models/quality.bin; its record goes to OUT.json")],
    positive: Annotated[
        list[str],
        typer.Option(help="Texts that get the label: a JSONL, Parquet or text file, BUILD or BUILD:reason=R (repeatable)."),
    ],
    negative: Annotated[list[str], typer.Option(help="Texts that do not, in the same forms (repeatable).")],
    kind: Annotated[str, typer.Option(help="fasttext, or features: no words of its own, a hundred times smaller.")] = "fasttext",
    label: Annotated[str, typer.Option(help="The label whose probability is the score.")] = "hq",
    seed: Annotated[int, typer.Option(min=0, help="Another seed holds out other texts.")] = 0,
    held_out: Annotated[str, typer.Option(help="The part of the texts kept for the figures.")] = "10%",
    dim: Annotated[int | None, typer.Option(min=1, help="fastText: numbers per word. Default 50.")] = None,
    epoch: Annotated[int | None, typer.Option(min=1, help="fastText: passes over the texts. Default 10.")] = None,
    lr: Annotated[float | None, typer.Option(help="fastText: learning rate. Default 0.5.")] = None,
    word_ngrams: Annotated[int | None, typer.Option(min=1, help="fastText: words in a row. Default 2.")] = None,
    minn: Annotated[int | None, typer.Option(min=0, help="fastText: least characters of a word's parts. Default 3.")] = None,
    maxn: Annotated[
        int | None, typer.Option(min=0, help="fastText: most characters of a word's parts. Default 5; 0: whole words.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a classifier of texts, measure it on texts it never saw, and print the recipe lines that use it."""
    from curate.models import training as room

    given = {"dim": dim, "epoch": epoch, "lr": lr, "wordNgrams": word_ngrams, "minn": minn, "maxn": maxn}
    parameters = {name: value for name, value in given.items() if value is not None}
    record = room.train_classifier(
        out, positive, negative, kind=kind, label=label, seed=seed, held_out=_share(held_out, "--held-out") or Fraction(1, 10),
        parameters=parameters,
    )  # fmt: skip
    _show(record, room.render(record, out), as_json)


@app.command("train-lm", rich_help_panel="adapt")
def train_lm(
    out: Annotated[Path, typer.Argument(help="The model to write; OUT.json lies beside it")],
    files: Annotated[list[Path], typer.Argument(help="JSONL, Parquet or text files, or build folders (what they keep)")],
    order: Annotated[int, typer.Option(help="Words of an n-gram, 2 to 6.")] = 5,
    prune: Annotated[str, typer.Option(help="Counts up to which n-grams are left out, by order from 1.")] = "0 0 1",
    held_out: Annotated[str, typer.Option(help="Share of the documents kept out, for figures and cutoffs.")] = "2%",
    seed: Annotated[int, typer.Option(help="Another seed holds out other documents.")] = 0,
    field: Annotated[str, typer.Option(help="The field of the texts.")] = "text",
    words: Annotated[str, typer.Option(help="How words are cut, as in a recipe's source.")] = "rules",
    kenlm: Annotated[Path | None, typer.Option(help="Folder of lmplz and build_binary. Default: the PATH.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a KenLM model on clean texts of your language, for bits per byte and perplexity."""
    from curate.models import lm_train as room

    share = _share(held_out, "--held-out")
    assert share is not None
    data = room.train(out, files, order=order, prune=prune, held_out=share, seed=seed, field=field, words=words, kenlm=kenlm)
    _show(data, room.render(out, data), as_json)


@app.command("similar", rich_help_panel="adapt")
def similar(
    build: Build,
    text_file: Annotated[Path, typer.Option(help="A plain file is one text; JSONL (also .gz, .zst) and Parquet hold many.")],
    jaccard: Annotated[float, typer.Option(min=0.01, max=1.0, help="The least similarity of a hit.")] = 0.5,
    limit: Annotated[int, typer.Option(min=1, help="Hits of each text.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Find the documents of a build, kept or dropped, that say nearly the same as your texts."""
    from curate.inspect import similar as room
    from curate.inspect import similar_screen
    from curate.store import Store

    recipe, log = _recipe_of(build)
    data = room.similar(build, recipe, Store(build / log["store"]), text_file, jaccard=jaccard, limit=limit)
    _show(data, similar_screen.render(data, sys.stdout.isatty()), as_json)


@app.command("simulate", rich_help_panel="adapt")
def simulate(
    build: Build,
    budget: Annotated[str, typer.Option(help="The miniature's share of every budget: 1/64, or '2 %'.")],
    out: Annotated[Path | None, typer.Option(help="Its build folder. Default: beside BUILD, NAME-1of64.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the dry run; fewer where its stream is shorter.")] = 100,
    global_batch: Annotated[
        str, typer.Option(help="What a step of the dry run trains: '16 sequences', '2M tokens', or a run file.")
    ] = "16 sequences",
    as_json: AsJson = False,
) -> None:
    """Build a miniature of a mixture, to try a run before it is paid for: the same shares, the same epochs, a part of its documents.

    Its documents are drawn by hash, so 1/64 lies inside 1/32. It is a build like any other: train from OUT/manifest.json. Held-out text
    is that of BUILD. Then a dry run reads the first steps of its stream, without a model: shares, padding, lengths, epochs.
    """
    from curate.recipe.miniature import share_of
    from mixture import dry_run, miniature_recipe, miniature_screen
    from mixture import steps as room
    from mixture.batches import Steps, phases_of

    recipe, log = _recipe_of(build)
    whole, share = _mixture_of(build), share_of(budget, "--budget")
    small = miniature_recipe.miniature_recipe(recipe, whole, share)
    out = out or build.parent / f"{build.name}-{share.numerator}of{share.denominator}"
    manifest, problem = _build_on(build, log, small, out)
    if problem is not None or manifest is None:
        raise problem or CurateError("no miniature was made", where=str(out))
    data = {
        "build": str(build), "out": str(out), "share": str(share), **dry_run.compared(build, out),
        "dry_run": dry_run.dry_run(out / "manifest.json", Steps(phases_of(manifest), room.steps_of(whole, global_batch).rows), steps),
    }  # fmt: skip
    _show(data, miniature_screen.render(data), as_json)
    sys.exit(0 if data["ok"] else 1)


@app.command("remove", rich_help_panel="adapt")
def remove(
    build: Build,
    ids: Annotated[Path, typer.Option(help="A file of ids or source_ids, one a line.")],
    out: Annotated[Path | None, typer.Option(help="The new build folder. Default: beside BUILD, NAME-removed.")] = None,
    jaccard: Annotated[float, typer.Option(min=0.01, max=1.0, help="Documents at least so similar are named.")] = 0.5,
    global_batch: GlobalBatch = None,
    as_json: AsJson = False,
) -> None:
    """Build the mixture again without some documents, as takedown requests ask, and name what like them remains.

    The new build's recipe lists them under remove:, so that it says it all; `curate explain` shows them dropped for `removed`. Only what
    depends on them is done again, and BUILD stays as it is. Exit code 1: the file also names documents that are not there.
    """
    from curate.inspect import removal as room
    from curate.inspect import removal_screen
    from curate.recipe.remove import Remove, read_names
    from curate.store import Store
    from mixture import steps, streams

    recipe, log = _recipe_of(build)
    found, unknown = room.find(build, read_names(ids, "--ids"))
    names = {document["id"] for document in found}.union(recipe.remove.ids if recipe.remove else [])
    without = recipe.model_copy(update={"remove": Remove(ids=sorted(names))})
    out = out or build.parent / f"{build.name}-removed"
    manifest, problem = _build_on(build, log, without, out)
    data = room.removal(build, out, without, Store(build / log["store"]), found, unknown, jaccard=jaccard)
    data |= {"problem": str(problem) if problem else "", "steps": None}
    if manifest is not None and (build / "manifest.json").exists():
        data["steps"] = streams.compare(build, out)
        if global_batch and data["steps"]["first_changed"] is not None:
            run = steps.steps_of(_mixture_of(build), global_batch)  # that of the run so far
            data["steps"]["first_step"] = steps.place(run, min(data["steps"]["first_changed"], run.n_rows - 1))[0]
    _show(data, removal_screen.render(data, sys.stdout.isatty()), as_json)
    sys.exit(2 if problem else 1 if unknown else 0)


@app.command("verify", rich_help_panel="check")
def verify(
    build: Build,
    raw: Annotated[bool, typer.Option(help="Count again from the raw input too.")] = True,
    fast: Annotated[bool, typer.Option("--fast", help="Decode one document in a hundred instead of all.")] = False,
    as_json: AsJson = False,
) -> None:
    """Count everything again, from raw records to packed tokens, and re-hash every file; of an export, what it holds."""
    from curate.inspect import corpus
    from curate.membership import membership
    from curate.recount import recount, similarity
    from mixture import verify as room
    from mixture.verify.exported import verify_export

    if (found := verify_export(build)) is not None:
        _show(found.data(), found.text(), as_json)
        sys.exit(1 if found.findings else 0)
    log = _log_of(build)
    stages = None if (build / "manifest.json").exists() else corpus.lineage(build)
    report = room.verify(
        build, Path(log["recipe_base"]), store=build / log["store"], stages=stages, recount=recount if raw else None,
        derived=corpus.differences, membership=membership, similarity=similarity, fast=fast,
    )  # fmt: skip
    _show(report.data(), report.text(), as_json)
    sys.exit(1 if report.findings else 0)


@train_app.command("cpt")
def train_cpt(
    run: Annotated[Path, typer.Argument(help="A run file, e.g. recipes/train/quickstart.yaml")],
    sets: Sets = None,
) -> None:
    """Continued pretraining from a manifest; the same command resumes."""
    _train("train.cpt", run, sets or [])


@train_app.command("sft")
def train_sft(
    run: Annotated[Path, typer.Argument(help="A run file, e.g. recipes/train/llammas-sft.yaml")],
    sets: Sets = None,
) -> None:
    """Supervised fine-tuning on conversations, from a manifest; the same command resumes."""
    _train("train.sft", run, sets or [])


@train_app.command("dpo")
def train_dpo(
    run: Annotated[Path, typer.Argument(help="A run file with method: dpo, e.g. recipes/train/et-dpo-8b.yaml")],
    sets: Sets = None,
) -> None:
    """Preference tuning from a manifest of pairs (DPO, IPO, SimPO, KTO, ...); the same command resumes."""
    _train("train.dpo.run", run, sets or [])


@train_app.command("evaluate")
def train_evaluate(
    run: Annotated[Path, typer.Argument(help="A run file with method: evaluate")],
    sets: Sets = None,
) -> None:
    """Ask a model what a suite asks; results go task by task into a folder. Exit codes: 1 a gate failed, 3 a task could not be run."""
    _train("train.evaluation.run", run, sets or [])


@train_app.command("vocab")
def train_vocab(
    run: Annotated[Path, typer.Argument(help="A run file with method: vocab, e.g. recipes/train/et-vocab-extend.yaml")],
    sets: Sets = None,
) -> None:
    """Fertility of a tokenizer on your text; train, extend, replace or trim it, with rows for a model."""
    _train("train.vocab.run", run, sets or [])


@train_app.command("compare")
def train_compare(
    results: Annotated[list[Path], typer.Argument(metavar="A B ...", help="Folders of results; differences are to the first.")],
    page: Annotated[Path | None, typer.Option("--html", help="Write one HTML page with a chart here.")] = None,
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Scores side by side with intervals, and what changed, paired by item."""
    from curate.store import write_atomic
    from train.evaluation import compare as room

    found = room.compare(results, seed=seed)
    if page is not None:
        write_atomic(page, room.page(found).encode())
    _show(found.data(), found.text() + (f"\n{page}" if page else ""), as_json)


@train_app.command("export")
def train_export(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|CHECKPOINT", help="A run file, its save.to folder, or a checkpoint in it.")
    ],
    to: Annotated[Path, typer.Option(help="A new folder.")],
    average: Annotated[
        list[str] | None, typer.Option(help="The mean of the newest N checkpoints, or of these (a path each, repeatable).")
    ] = None,
    best: Annotated[
        str | None,
        typer.Option(help="The kept checkpoint with the least held-out bits_per_byte or loss; of one part: loss:NAME."),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16; default: as it was trained.")] = None,
    merge: Annotated[bool, typer.Option("--merge-adapters", help="Into the model they were trained on.")] = False,
    as_json: AsJson = False,
) -> None:
    """A checkpoint as a folder for transformers and the hub: weights, tokenizer, a card, the receipt."""
    try:
        from train.export import export as export_model
    except ModuleNotFoundError as error:
        raise _needs_train(error) from None
    data = export_model(source, to, average=average or [], best=best, dtype=dtype, merge=merge)
    _show(data.data(), data.text(), as_json)


@train_app.command("chain")
def train_chain(
    chain: Annotated[Path, typer.Argument(metavar="CHAIN.yaml", help="A chain file, e.g. recipes/chain/chain.yaml")],
    sets: Sets = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check every file, list the stages, do nothing.")] = False,
) -> None:
    """Stages from vocabulary to evaluation, one after the other; the same command goes on. Ends with a failed stage's or gate's exit code."""
    _train("train.chain.run", chain, sets or [], dry_run=dry_run)


@train_app.command("merge")
def train_merge(
    run: Annotated[Path, typer.Argument(help="A run file with method: merge, e.g. recipes/train/et-chat-vector.yaml")],
    sets: Sets = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check shapes, vocabularies, numbers, memory and disk; write nothing.")
    ] = False,
) -> None:
    """Weight arithmetic without training: a + lambda (b - c), block by block from the disk. Exit code 3: a task of the sweep could not be run."""
    _train("train.merge.run", run, sets or [], dry_run=dry_run)


@train_app.command("gate")
def train_gate(
    before: Annotated[Path, typer.Argument(help="A folder of results: of the model that is to be kept.")],
    after: Annotated[Path, typer.Argument(help="A folder of results: of the model that comes after it.")],
    rule: Annotated[
        list[str] | None,
        typer.Option(help="NAME: RULE (repeatable), e.g. 'en_bits_per_byte: +2 %' or 'xcopa_et.accuracy: -1.5 points'."),
    ] = None,
    rules: Annotated[Path | None, typer.Option(help="A YAML file of NAME: RULE, alone or under `gate:`.")] = None,
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """May what follows begin? Exit code 1 where a rule failed or its metric was not measured, with numbers and intervals."""
    from train.evaluation import gate as room
    from train.evaluation.rules import from_options, read_rules

    asked = [*(read_rules(rules) if rules else []), *from_options(rule or [])]
    if not asked:
        raise CurateError("a gate without rules stops nothing", where="--rule", allowed="--rule 'NAME: RULE', --rules FILE")
    verdict = room.check(before, after, asked, seed=seed)
    _show(verdict.data(), verdict.text(), as_json)
    sys.exit(verdict.exit_code)


@judge_app.command("export")
def judge_export(
    models: Annotated[
        list[str], typer.Argument(metavar="NAME=RESULTS...", help="Two or more folders of results, each with a name.")
    ],
    to: Annotated[Path, typer.Option(help="A new folder for judges: vote.html, pairs.csv, pairs.jsonl.")],
    key: Annotated[
        Path | None, typer.Option(help="Which answer is whose; not for judges. Default: TO.key.json beside it.")
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task (repeatable).")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Pairs of every two models.")] = None,
    seed: Annotated[int, typer.Option(help="Of the order of pairs and of who is A.")] = 0,
    question: Annotated[str, typer.Option(help="What judges are asked.")] = "Which answer is better?",
    as_json: AsJson = False,
) -> None:
    """Answers side by side, models hidden, in an order by lot: a page to vote in, without network."""
    from train.evaluation import judge as room

    named: dict[str, Path] = {}
    for text in models:
        name, equals, folder = text.partition("=")
        if not equals or not name or name in named:
            raise CurateError("every model has a name of its own", where=text, allowed="NAME=RESULTS NAME=RESULTS ...")
        named[name] = Path(folder)
    data = room.export(named, to, key, tasks=task or [], limit=limit, seed=seed, question=question)
    _show(data.data(), data.text(), as_json)


@judge_app.command("import")
def judge_import(
    key: Annotated[Path, typer.Argument(help="The key of the export.")],
    votes: Annotated[list[Path], typer.Argument(help="Votes of one or more judges: CSV or JSON lines.")],
    seed: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Win rates with intervals, agreement of the judges, and whether the place of an answer decided."""
    from train.evaluation import judge as room
    from train.evaluation.votes import count

    known = room.read_key(key)
    found, n_replaced = room.read_votes(votes, known)
    if not found:
        raise CurateError("nobody has voted", where=", ".join(map(str, votes)))
    outcome = count(found, known, n_replaced, seed=seed)
    _show(outcome.data(), outcome.text(), as_json)


@judge_app.command("ask")
def judge_ask(
    pairs: Annotated[Path, typer.Argument(help="The folder of the export.")],
    judge: Annotated[Path, typer.Argument(help="A YAML file that names the judge: kind http or local, model, url, key_env.")],
    to: Annotated[Path, typer.Option(help="Votes as JSON lines; what is there is not asked again.")],
) -> None:
    """Let a model vote, every pair in both orders; then `curate train judge import`."""
    try:
        from train.evaluation import judge_models as room

        spec = room.load_spec(judge)
        asked = room.build(spec)
    except ModuleNotFoundError as error:
        raise _needs_train(error) from None
    done = room.ask(
        pairs, asked, spec.name or spec.model, to, lambda n, of: _say(f"{n} of {of}") if n % 50 == 0 or n == of else None
    )
    print(
        f"{done['asked']} pairs asked in both orders, {done['before']} known from before; the verdict turned with the order in "
        f"{done['turned']}, {done['skip']} without a verdict"
    )


def _train(room: str, *given: Any, **named: Any) -> NoReturn:
    """`run` of a room of train, which is imported here and not before; ends with its exit code."""
    try:
        code = importlib.import_module(room).run(*given, **named)
    except ModuleNotFoundError as error:
        raise _needs_train(error) from None
    sys.exit(code)


def _needs_train(error: ModuleNotFoundError) -> Exception:
    """What to say where torch or its companions are not installed; the error itself where it is another module."""
    if error.name not in ("torch", "accelerate", "safetensors", "transformers"):
        return error
    return CurateError(
        "training needs the extra `train`", found=f"{error.name} is not installed",
        next='pip install -c constraints.txt torch && pip install -c constraints.txt -e ".[train]"',
    )  # fmt: skip


def _plan_run(
    run: Path, sets: Sets, device: str, memory: str, devices: int, shard: bool, rate: float | None, as_json: bool
) -> None:  # fmt: skip
    """The plan of a training. Exits: 0, or 1 where it does not fit the device."""
    from curate.inspect import run_plan_screen

    try:
        from train import plan as room
    except ModuleNotFoundError as error:
        raise _needs_train(error) from None
    data = room.report(
        run, sets or [], device=device, memory=memory, devices=devices, sharded=shard, tokens_per_second=rate
    )  # fmt: skip
    _show(data, run_plan_screen.render(data, sys.stdout.isatty()), as_json)
    sys.exit(1 if data["fits"] is False else 0)


def _log_of(build: Path) -> dict:
    """Where the recipe and the store of a build lay when it was made."""
    log_file = build / "log" / "build.json"
    if not log_file.is_file():
        raise CurateError("this is not a build folder", where=str(build), next="curate build-mixture RECIPE")
    return json.loads(log_file.read_text())


def _recipe_of(build: Path, sets: list[str] | None = None) -> tuple[Recipe, dict]:
    """The recipe a build was made with (changed by `sets`) and its log entry."""
    from curate.recipe import load_recipe

    log = _log_of(build)
    return load_recipe(build / "recipe.yaml", sets or [], base=Path(log["recipe_base"])), log


def _not_a_miniature(recipe: Recipe) -> None:
    """Planning looks at all documents of a component: a miniature's own plan is that of its whole."""
    if recipe.miniature is not None:
        raise CurateError("a miniature follows the mixture it is made of", where=recipe.name, next="ask about that one")


def _mixture_of(build: Path) -> dict:
    from curate.manifest import read_manifest

    return read_manifest(build / "manifest.json")


def _build_on(build: Path, log: dict, recipe: Recipe, out: Path) -> tuple[dict | None, CurateError | None]:
    """Decide, tokenize and mix again by `recipe`, on the documents and relations of a finished build; (manifest, or why there is none)."""
    from curate import decide
    from curate.inspect import corpus
    from curate.reopen import reopen
    from curate.store import Store
    from mixture import tokens

    if out.resolve() == build.resolve():
        raise CurateError("the build itself stays as it is", where="--out", found=str(out), allowed="another folder")
    store = Store(build / log["store"])
    curated = reopen(build, recipe, store)
    assert curated.relations is not None
    tokenizer = tokens.check(recipe)
    _begin(out, recipe, store.root)
    with curated.timed("decide"):
        curated.decisions = decide.decide(store, recipe, curated.documents, curated.signals, curated.relations, 0)
    stages, problem = _mix(curated, out, tokenizer, 0, pack=True)
    manifest = None if problem else _mixture_of(out)
    corpus.write_corpus(out, {**curated.stages(), "tokens": stages, **curated.reference_stages()}, manifest)
    return manifest, problem


def _share(text: str | None, option: str = "--sample") -> Fraction | None:
    """`1%` or `0.5 %` -> a fraction in (0, 1)."""
    from curate.units import quantity

    if text is None:
        return None
    share = quantity(text, ("share",), option).value
    if not 0 < share < 1:
        raise CurateError("a share is more than nothing and less than all", where=option, found=text, allowed=f"{option} 1%")
    return share


def _begin(out: Path, recipe: Recipe, store: Path) -> None:
    """Open the build folder: the canonical recipe, and where things lay, in the log. An older manifest ends here."""
    import platform
    from datetime import UTC, datetime

    from curate.store import write_atomic

    out.mkdir(parents=True, exist_ok=True)
    (out / "manifest.json").unlink(missing_ok=True)
    write_atomic(out / "recipe.yaml", recipe.canonical_yaml())
    log = {
        "recipe_base": str(recipe.base.resolve()), "store": os.path.relpath(store, out), "host": platform.node(),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    write_atomic(out / "log" / "build.json", (json.dumps(log, indent=1) + "\n").encode())


def _mix(curated: Curated, out: Path, tokenizer: Any, workers: int, pack: bool) -> tuple[dict[str, Stage], CurateError | None]:
    """Tokenize what is kept, then plan, pack and write the mixture; an infeasible plan comes back as its message."""
    from curate import engine
    from curate.membership import membership
    from mixture import budget, build, licences, tokens
    from mixture.kept import kept_tables
    from mixture.provenance import sources_of

    assert curated.decisions is not None and curated.relations is not None
    recipe = curated.recipe
    with curated.timed("tokenize"):
        stages, tasks = tokens.tasks(curated.store, recipe, curated.documents, curated.decisions, curated.cuts)
        engine.run(tasks, workers=workers, label="tokenize")
        for stage in stages.values():
            stage.finish([key for task in tasks for of, key in task.outputs if of == stage])
    if not pack:
        return stages, None
    with curated.timed("mixture"):
        members = membership(recipe, curated.folders())
        tables, shards = kept_tables(curated.documents, curated.relations.clusters, stages, members.pattern, sources_of(recipe))
        facts = {
            "name": tokenizer.files.name, "sha256": tokenizer.sha256, "vocab_size": tokenizer.vocab_size, "special": tokenizer.special,
            "bos": recipe.tokenizer.bos, "eos": recipe.tokenizer.eos, "template_sha256": tokenizer.template_sha256,
        }  # fmt: skip
        try:
            with engine.progress("pack", 1) as advance:
                done = 0

                def progress(now: int, total: int) -> None:
                    nonlocal done
                    advance((now - done) / max(total, 1))
                    done = now

                build.plan_and_pack(
                    recipe,
                    tables,
                    shards,
                    out,
                    tokenizer=facts,
                    token_bytes=tokenizer.dtype.itemsize,
                    lineage=curated.lineage(out, tokens=stages),
                    patterns=members.patterns,
                    copies=members.copies,
                    progress=progress,
                )
        except (budget.Infeasible, licences.NotAllowed) as error:
            return stages, error
    return stages, None


def _known_documents(
    target: Path, build: Path | None, stats: Path | None, sets: list[str]
) -> tuple[Recipe, Any, str, bool, list[str]]:
    """(recipe, how its phases are planned, what that rests on, whether it is exact, hints): from a finished build's manifest, from
    the documents of a build, or from statistics."""
    from curate.manifest import read_manifest
    from curate.recipe import load_recipe
    from mixture import budget, plan_cells, plan_documents, plan_stats, planning, tokens
    from mixture.plan_manifest import of_manifest

    if is_build := target.is_dir():
        recipe, _ = _recipe_of(target, sets)
        build = target
        if (target / "manifest.json").exists() and not sets:
            return recipe, of_manifest(read_manifest(target / "manifest.json")), f"{target}/manifest.json", True, []
    else:
        recipe = load_recipe(target, sets)
    budget.check(recipe.mixture)
    consumed = plan_cells.consumed_of(recipe)
    if stats is not None:
        return (
            recipe,
            plan_cells.over_cells(plan_stats.read_stats(stats, recipe), consumed),
            str(stats),
            False,
            plan_stats.hints(recipe),
        )
    if build is None:
        places = [Path("build") / (recipe.name + end) for end in ("", "-sample")]
        build = next((place for place in places if (place / "corpus.duckdb").exists()), None)
    if build is None:
        raise CurateError(
            "nothing is known of the recipe's documents", where=str(target), found=f"no {places[0]}, no {places[1]}",
            next=f"curate build-mixture {target} --sample 1%\n        or curate plan {target} --stats FILE",
        )  # fmt: skip
    theirs, _ = _recipe_of(build)
    other = [
        key for key, value in recipe.canonical().items() if key not in _OF_THE_MIXTURE and theirs.canonical().get(key) != value
    ]
    if is_build and other:
        raise CurateError("a plan is of the documents that the build keeps", where="--set", found=", ".join(other),
                          next=f"curate what-if {build} {' '.join(sets)}")  # fmt: skip
    share = Fraction(1) if is_build else theirs.sample.value
    manifest = read_manifest(build / "manifest.json") if (build / "manifest.json").exists() else {}
    hints = [f"{', '.join(other)}: not as in {build}, whose documents these numbers are of"] if other else []
    whole = recipe if share == 1 else plan_cells.without_the_rest(recipe)
    tokenizer = manifest.get("tokenizer") or ({"sha256": tokens.check(whole).sha256} if whole.mixture.continues else {})
    of = planning.known(whole, *_kept_of(build, whole), tokenizer)
    if share == 1:
        return recipe, plan_documents.over_documents(of, recipe.seed), f"the documents of {build}", not other, hints
    cells = plan_cells.scaled(plan_documents.cells(of, list(recipe.mixture.leaves)), share, recipe)
    return recipe, plan_cells.over_cells(cells, consumed), f"{build}, a sample of {theirs.sample}", False, hints


def _rate(text: str | None) -> float | None:
    """`40k`, `40000` or `40k tokens`, a second."""
    from curate.units import quantity

    if text is None:
        return None
    found = quantity(text if text.rstrip().endswith("tokens") else f"{text} tokens", ("tokens",), "--tokens-per-second").count
    if not found:
        raise CurateError("nothing is trained at that rate", where="--tokens-per-second", found=text, allowed="40k")
    return float(found)


_OF_THE_MIXTURE = (
    "name",
    "roots",
    "seed",
    "sample",
    "held_out",
    "mixture",
    "limits",
)  # keys that decide nothing about a document


def _kept_of(build: Path, recipe: Recipe) -> tuple[Any, Any, Any, Any]:
    """Tables of the build's kept documents and their token shards, the patterns of the recipe's components, and its copies."""
    from curate.inspect import outcomes
    from curate.membership import membership
    from curate.store import Stage
    from mixture.kept import kept_tables

    found = outcomes.folders(build)
    wanted = [name for name in recipe.sources if any(name in leaf.from_ for leaf in recipe.mixture.leaves.values())]
    if missing := [name for name in wanted if ("tokens", name, "") not in found]:
        raise CurateError(
            f"this build has no tokens of source {missing[0]!r}", where=str(build), next="curate build-mixture RECIPE"
        )

    def stage(kind: str, source: str = "") -> Stage:
        folder = found[kind, source, ""]
        return Stage(folder.parent.parent, folder.parent.name, folder.name, 0, {}, ())

    members = membership(recipe, found)
    documents, tokens = ({name: stage(kind, name) for name in wanted} for kind in ("documents", "tokens"))
    tables, shards = kept_tables(documents, stage("clusters"), tokens, members.pattern)
    return tables, shards, members.patterns, members.copies


def _plan_problem(recipe: Recipe, held: dict[Any, Any], copies: dict[str, Any]) -> tuple[str, bool | None]:
    """The planner's message about what documents hold by pattern, "" when feasible; None when tokens are not known."""
    from curate.inspect import what_if
    from mixture.plan_cells import Cell, consumed_of, over_cells

    leaves_out = recipe.kind != "cpt" or any(recipe.mixture.overlong_of(name) != "split" for name in recipe.mixture.leaves)
    # what a miniature can use, what is too long, and what is refused, is a matter of documents
    if recipe.miniature or leaves_out or not all(one.is_complete for one in held.values()):
        return "", None
    shares, names = what_if.left_of(recipe, held), list(recipe.mixture.leaves)
    times = {name: what_if.times_of(copies, name) for name in names}
    cells = [
        Cell("", {names[c]: Fraction(times[names[c]][b]) for c, b in pattern},
             *(shares[pattern] * n for n in (one.documents, one.tokens, one.loss_tokens)))
        for pattern, one in held.items()
    ]  # fmt: skip
    problem = over_cells(cells, consumed_of(recipe))(recipe.mixture)[-1].problem
    return (str(problem), False) if problem is not None else ("", True)


def _quarantine_code(curated: Curated) -> int:
    """3 when a source's quarantine is past the recipe's limit, else 0."""
    limit = curated.recipe.limits.quarantine.value
    code = 0
    for name, stage in curated.documents.items():
        counts = stage.info()["counts"]
        if counts["n_quarantined"] > limit * counts["n_read"]:
            _say(
                f"! {name}: {counts['n_quarantined']:,} of {counts['n_read']:,} records are in quarantine, past limits.quarantine "
                f'{curated.recipe.limits.quarantine}: curate sql BUILD "from quarantine"'
            )
            code = 3
    return code


if __name__ == "__main__":
    main()
