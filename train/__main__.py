"""`python -m train cpt|evaluate RUN.yaml [--set key=value ...]`, and the same under `accelerate launch -m train` or torchrun."""

from __future__ import annotations

import argparse
import sys

from curate.errors import CurateError


def main() -> int:
    parser = argparse.ArgumentParser(prog="train", description="The same as: curate train cpt|evaluate RUN.yaml")
    parser.add_argument("method", choices=["cpt", "evaluate"])
    parser.add_argument("run_file", metavar="RUN.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets", help="over the run file")
    arguments = parser.parse_args()
    try:
        if arguments.method == "evaluate":
            from train.evaluation.run import run
        else:
            from train.cpt import run
        return run(arguments.run_file, arguments.sets)
    except CurateError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
