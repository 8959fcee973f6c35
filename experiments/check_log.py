"""``python -m experiments.check_log`` compares the marked numbers of the log with the checked-in results.

It ends with status 1 if one differs. With an experiment and a part it prints the numbers that those have, to be named
in the log. How they are marked says experiments/shared/log_numbers.py.
"""

from __future__ import annotations

import argparse
import importlib
import sys

import numpy as np

from experiments.shared.log_numbers import disagreements
from experiments.shared.results import EXPERIMENTS, FIGURES, CommandError, kind, load, named

LOG = EXPERIMENTS / "LOG.md"


def numbers_of(name: str, part: int) -> dict:
    """The named numbers of a part, from its checked-in results.

    Raises:
      CommandError: there is no such experiment or part, no results of it, or it names no numbers.
    """
    module = importlib.import_module(f"experiments.{named(name)}")
    if part not in module.PARTS:
        raise CommandError(f"there is no part {part} of {name}")
    config, results = load(module, FIGURES / name, part)
    if not hasattr(kind(config), "numbers"):
        raise CommandError(f"{kind(config).__name__} has no function numbers(results, config)")
    return kind(config).numbers(results, config)


def main(argv: list[str] | None = None) -> int:
    """Returns 1 if a number differs or is not there, 2 if something cannot be read, else 0."""
    parser = argparse.ArgumentParser(prog="python -m experiments.check_log", description=__doc__)
    parser.add_argument("experiment", nargs="?", help="print the numbers of this one")
    parser.add_argument("part", nargs="?", type=int, default=1, help="and this part (default: 1)")
    args = parser.parse_args(argv)
    try:
        if args.experiment:
            for name, values in numbers_of(args.experiment, args.part).items():
                print(f"{name}: {', '.join(f'{value:.6g}' for value in np.atleast_1d(values))}")
            return 0
        found = disagreements(LOG.read_text(encoding="utf-8"), numbers_of)
    except (CommandError, ValueError) as error:
        print(f"check_log: {error}", file=sys.stderr)
        return 2
    print("\n".join(found) or "every marked number of the log is that of the results")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
