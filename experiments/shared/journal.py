"""The journal: every run whose results lie below ``figures/``, newest first, and what came of it.

``python -m experiments journal`` prints it; ``--note FIGURE TEXT`` adds a result to the run that left a figure. A run
that is not complete is among them, with how far it is and the command that goes on with it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

from experiments.shared import unfinished
from experiments.shared.results import FIGURES, ROOT, CommandError, describe, questions
from experiments.shared.runner import seeds_in_words
from hypergrad.runs.store import written


class Entry(NamedTuple):
    """A run of a part, in words."""

    date: str
    time: str
    experiment: str
    why: str
    command: str
    seeds: str
    seconds: float
    versions: str
    source: str
    figure: str
    result: str

    def lines(self) -> list[str]:
        return [
            f"{self.date}  {self.experiment}: {self.why}",
            f"    {self.command}",
            f"    {self.seeds}, {self.seconds:.0f} s, {self.versions}",
            f"    source {self.source}, figure {self.figure}",
            f"    {self.result or '(no result noted)'}",
        ]


def entries(folder: Path = FIGURES) -> list[Entry]:
    """Every run below a folder whose description can be read, newest first."""
    asked = questions()
    found = []
    for path in folder.rglob("part*.json"):
        try:
            told = describe(path.parent, path.stem.removeprefix("part"))
        except CommandError as error:
            print(f"journal: {error}", file=sys.stderr)
            continue
        name, part = told["experiment"], told["part"]
        libraries = ", ".join(f"{library} {version}" for library, version in told["versions"].items())
        figure = path.with_suffix(".png").absolute()
        entry = Entry(
            told["date"],
            told.get("time", ""),
            name,
            asked.get(name, ("", "a question that is no more"))[1],
            told.get("command", f"python -m experiments.{name} --part {part}"),
            seeds_in_words(told["config"]["seeds"]),
            told["seconds"],
            libraries,
            told.get("source") or f"commit {told['commit'] or 'not known'}",
            str(figure.relative_to(ROOT) if figure.is_relative_to(ROOT) else figure),
            told.get("result", ""),
        )
        found.append((told["date"], told.get("time", ""), name, part, entry))
    return [entry for *_, entry in sorted(found, key=lambda row: row[:4], reverse=True)]


def note(figure: Path, text: str) -> None:
    """Write the result of a run, in one line, into its description.

    Raises:
      CommandError: there is no run that left this figure, or the text is no line.
    """
    if not text.strip() or "\n" in text.strip():
        raise CommandError(f"a result is one line of text, got {text!r}")
    told = describe(figure.parent, figure.stem.removeprefix("part"))
    with written(figure.with_suffix(".json")) as file:
        file.write((json.dumps({**told, "result": text.strip()}, indent=2) + "\n").encode())


def main(argv: list[str]) -> int:
    """Returns 2 if a note cannot be written, else 0."""
    parser = argparse.ArgumentParser(prog="python -m experiments journal", description=__doc__)
    parser.add_argument(
        "--note", nargs=2, metavar=("FIGURE", "TEXT"), help="the result of the run that left this figure"
    )
    args = parser.parse_args(argv)
    if args.note:
        try:
            note(Path(args.note[0]), args.note[1])
        except CommandError as error:
            print(f"journal: {error}", file=sys.stderr)
            return 2
        return 0
    try:
        print("\n".join(listed()), flush=True)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def listed(folder: Path = FIGURES) -> list[str]:
    """The lines of the journal: complete runs and those that are not, newest first."""
    asked, rows = questions(), [(entry.date, entry.time, entry.lines()) for entry in entries(folder)]
    for run in unfinished.unfinished(folder):
        date, _, time = run.told["started"].partition(" ")
        rows.append((date, time, run.lines(asked.get(run.told["experiment"], ("", "a question that is no more"))[1])))
    # Sorting keeps the order of complete runs that have the same date and time.
    return [line for *_, lines in sorted(rows, key=lambda row: row[:2], reverse=True) for line in lines]
