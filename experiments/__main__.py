"""``python -m experiments`` lists the experiments: date, question, and how long each part ran for the figures here.

With names it lists those alone. Each is run by a command of its own, ``python -m experiments.NAME``, whose ``--help``
says more. ``python -m experiments journal`` lists the runs, newest first; ``python -m experiments --continue`` goes on
with the newest of them that is not complete, or with the newest of an experiment named before, or with the run named
behind.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from experiments.shared import journal, runner
from experiments.shared.results import FIGURES, CommandError, describe, named, questions
from experiments.shared.unfinished import chosen


def took(description: dict) -> str:
    """The time of a run in words."""
    seconds = description["seconds"]
    time = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    return f"more than {time}" if description.get("resumed") else time


def main(argv: list[str] | None = None) -> int:
    """Returns 0, or 2 if a name is that of no experiment."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="an experiment (default: all)")
    parser.add_argument("--list", action="store_true", help="the same as without it")
    parser.add_argument("--continue", dest="run", nargs="?", const="", metavar="RUN", help="go on with a run")
    args = parser.parse_args(argv)
    try:
        wanted = [named(name) for name in args.names] or list(questions())
        if args.run is not None:
            if len(args.names) > 1:
                raise CommandError("--continue goes on with one run, so give one experiment at most")
            name = wanted[0] if args.names else chosen(None, args.run).told["experiment"]
            again = ["--continue", args.run] if args.run else ["--continue"]
            return runner.main(import_module(f"experiments.{named(name)}"), again)
    except CommandError as error:
        if args.run is not None:
            print(f"experiments: {error}", file=sys.stderr)
            return 2
        parser.error(str(error))
    for name in wanted:
        day, question = questions()[name]
        times = []
        for path in sorted((FIGURES / name).glob("part*.json")):
            part = path.stem.removeprefix("part")
            try:
                times.append(f"part {part}: {took(describe(FIGURES / name, part))}")
            except CommandError as error:
                times.append(f"part {part}: {error}")
        print(f"{day}: {question}\n    python -m experiments.{name}\n    {', '.join(times) or 'not run yet'}")
    return 0


if __name__ == "__main__":
    sys.exit(journal.main(sys.argv[2:]) if sys.argv[1:2] == ["journal"] else main())
