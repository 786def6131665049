"""`python -m train METHOD RUN.yaml [--set key=value ...]`, and the same under `accelerate launch -m train` or torchrun."""

from __future__ import annotations

import argparse
import importlib
import sys

from curate.errors import CurateError

METHODS = {
    "cpt": "train.cpt",
    "sft": "train.sft",
    "evaluate": "train.evaluation.run",
    "merge": "train.merge.run",
    "vocab": "train.vocab.run",
    "dpo": "train.dpo.run",
    "chain": "train.chain.run",
}  # method -> the module whose run() it is


def main() -> int:
    parser = argparse.ArgumentParser(prog="train", description="The same as: curate train METHOD RUN.yaml")
    parser.add_argument("method", choices=list(METHODS))
    parser.add_argument("run_file", metavar="RUN.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets", help="over the run file")
    arguments = parser.parse_args()
    try:
        return int(importlib.import_module(METHODS[arguments.method]).run(arguments.run_file, arguments.sets))
    except CurateError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
