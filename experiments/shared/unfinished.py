"""Runs that have begun and are not complete: what each leaves beside its cache, how far it is, and going on with it."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.shared.results import FIGURES, CommandError, versions
from hypergrad.runs.lock import holder
from hypergrad.runs.store import Unusable, arrays_in, written

RECORD = "run.json"
_SHOWN = 3  # of the files written last: trainings that are told of, points among which one with a loss is looked for


def four_digits(loss: float) -> str:
    """A loss as it is printed: with four significant digits."""
    return f"{loss:#.4g}".rstrip(".")


class Unfinished(NamedTuple):
    """A run of a part that is under way, or was killed.

    Attributes:
      folder: its cache.
      told: of its record: experiment, part, command, arguments, where and when it began, and when it last started.
    """

    folder: Path
    told: dict

    @property
    def name(self) -> str:
        """By which ``--continue`` knows it; a digest of settings, code and libraries."""
        return self.folder.name[:8]

    @property
    def output(self) -> Path:
        return self.folder.parent.parent

    def holder(self) -> str:
        """Who computes in its folder now, in words; "" if nobody."""
        return holder(self.folder.parent)

    def lines(self, question: str) -> list[str]:
        """For the journal."""
        name = self.told["experiment"]
        state = self.holder() or f"goes on with `python -m experiments {name} --continue {self.name}`"
        return [
            f"{self.told['started'][:10]}  {name}: {question}",
            f"    {self.told['command']}",
            f"    run {self.name}, not complete, begun {self.told['began']}, last started {self.told['started']}",
            f"    {progress(self.folder)}",
            f"    {state}",
        ]


def begin(folder: Path, name: str, part: int, arguments: list[str], command: str) -> None:
    """Note in its cache that a run begins, or goes on."""
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    told = {
        "experiment": name,
        "part": part,
        "command": command,
        "arguments": arguments,
        "where": str(Path.cwd()),
        "began": now,
        **(_read(folder / RECORD) or {}),
        "started": now,
        "versions": versions(),
    }
    with written(folder / RECORD) as file:
        file.write((json.dumps(told, indent=2) + "\n").encode())


def unfinished(below: Path = FIGURES, experiment: str | None = None) -> list[Unfinished]:
    """The runs below a folder that are not complete, newest first; one whose record is damaged is told of."""
    found = []
    for path in below.glob(f"**/.cache/*/{RECORD}"):
        told = _read(path)
        if told is None:
            print(f"journal: {path} is damaged; the command that began this run goes on with it", file=sys.stderr)
        elif experiment in (None, told["experiment"]):
            found.append(Unfinished(path.parent, told))
    return sorted(found, key=lambda run: run.told["started"], reverse=True)


def chosen(experiment: str | None, run: str) -> Unfinished:
    """The run named, by the beginning of its name or a folder above it; the newest of them that nobody computes.

    Raises:
      CommandError: there is none.
    """
    folder = Path(run) if run and Path(run).is_dir() else None
    of = f" of {experiment}" if experiment else ""
    found = unfinished(folder or FIGURES, experiment)
    if not found:
        raise CommandError(f"there is no unfinished run{of} below {folder or FIGURES} to continue")
    if run and folder is None:
        found = [one for one in found if one.name.startswith(run)]
        if not found:
            raise CommandError(f"there is no unfinished run {run}{of}; `python -m experiments journal` lists them")
    idle = [one for one in found if not one.holder()]
    if not idle:
        raise CommandError(f"nothing{of} is to be continued: run {found[0].name} {found[0].holder()}")
    if idle[0].told["where"] != str(Path.cwd()):
        raise CommandError(f"run {idle[0].name} was begun in {idle[0].told['where']}: continue it there")
    return idle[0]


def progress(folder: Path) -> str:
    """How far a run is: what is kept, where its trainings under way stand, and when something was written last."""
    files = list(folder.rglob("*.npz"))
    trainings = sorted((path for path in files if is_training(path)), key=_time)
    kept = sorted((path for path in files if not is_training(path)), key=_time)
    words = [f"{points_in_words(len(kept))} kept"]
    losses = [found["value"] for found in map(_arrays, kept[-_SHOWN:]) if np.ndim(found.get("value", [])) == 0]
    words += [f"the last loss {four_digits(float(loss))}" for loss in losses[-1:]]
    under_way = [found for found in map(_arrays, trainings[-_SHOWN:]) if "steps" in found]
    words += [f"a training at step {int(found['step']):,} of {int(found['steps']):,}" for found in under_way]
    if files:
        words.append(f"last written {datetime.fromtimestamp(max(map(_time, files))):%Y-%m-%d %H:%M:%S}")
    return ", ".join(words)


def points_in_words(count: int) -> str:
    """So many points are, or one is."""
    return "1 point is" if count == 1 else f"{count} points are"


def is_training(path: Path) -> bool:
    """Whether a file is the snapshot of a training, and not a finished piece of work."""
    return path.name.startswith("training-")


def _arrays(path: Path) -> dict:
    """What a file holds; nothing if it cannot be read, or is gone since."""
    try:
        return arrays_in(path)
    except (Unusable, OSError):
        return {}


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # gone since
        return 0.0


def _read(path: Path) -> dict | None:
    """A record, or None if it is not there or says nothing of use."""
    try:
        told = json.loads(path.read_text())
        needed = ("experiment", "command", "arguments", "where", "began", "started")
        return told if isinstance(told, dict) and all(name in told for name in needed) else None
    except (OSError, ValueError):
        return None
