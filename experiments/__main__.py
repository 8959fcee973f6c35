"""``python -m experiments`` lists the experiments: date, question, and how long each part ran for the figures here.

``python -m experiments journal`` lists the runs, newest first.
"""

import sys

from experiments.shared import journal
from experiments.shared.results import FIGURES, CommandError, describe, questions


def took(description: dict) -> str:
    """The time of a run in words."""
    seconds = description["seconds"]
    time = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    return f"more than {time}" if description.get("resumed") else time


def main() -> None:
    for name, (day, question) in questions().items():
        times = []
        for path in sorted((FIGURES / name).glob("part*.json")):
            part = path.stem.removeprefix("part")
            try:
                times.append(f"part {part}: {took(describe(FIGURES / name, part))}")
            except CommandError as error:
                times.append(f"part {part}: {error}")
        print(f"{day}: {question}\n    python -m experiments.{name}\n    {', '.join(times) or 'not run yet'}")


if __name__ == "__main__":
    sys.exit(journal.main(sys.argv[2:]) if sys.argv[1:2] == ["journal"] else main())
