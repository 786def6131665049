"""The command line and the only composition root: it alone joins curate, mixture and train.

Each command parses, loads, calls one function, prints and returns. Results go to stdout, everything else to stderr.
Exit codes: 0 done; 1 a check failed; 2 the user's mistake; 3 done, but past the recipe's quarantine limit.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.errors import CurateError

if TYPE_CHECKING:
    from curate.recipe import Recipe

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
    help="veski: raw text in, a token-budgeted mixture out. One command is the product: curate build-mixture RECIPE",
)  # fmt: skip
train_app = typer.Typer(no_args_is_help=True, help="Train from a manifest (extra: train).")
app.add_typer(train_app, name="train", rich_help_panel="train")

Build = Annotated[Path, typer.Argument(help="A build folder, e.g. build/quickstart")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Override a recipe key: key=value (repeatable).")]


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
def inspect_source(path: Annotated[Path, typer.Argument(help="Your JSONL, Parquet, text file or folder")], as_json: AsJson = False) -> None:
    """Look at raw data and propose a source block for a recipe."""
    from curate.sources.propose import propose

    proposal = propose(path)
    _show(proposal.data(), proposal.text(), as_json)


@app.command("build-mixture", rich_help_panel="make")
def build_mixture(
    recipe: Annotated[Path, typer.Argument(help="A recipe file")],
    out: Annotated[Path | None, typer.Option(help="The build folder. Default: build/<recipe name>")] = None,
    store: Annotated[Path, typer.Option(help="Where stages are kept, shared by all recipes.")] = Path("store"),
    sample: Annotated[str | None, typer.Option(help="Build from a share of the documents, e.g. 1%; budgets shrink alike.")] = None,
    until: Annotated[str | None, typer.Option(help="Stop after ingest, measure, relate, decide or tokenize.")] = None,
    sets: Sets = None,
    workers: Annotated[int, typer.Option(help="Processes; 0: one per core.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Build a mixture: from raw files to a manifest a trainer can prove it consumed."""
    from curate.build import build

    result = build(recipe, out=out, store=store, sample=sample, until=until, sets=sets or [], workers=workers, say=_say)
    _show(result.data, result.text, as_json)
    sys.exit(result.exit_code)
