"""Where the results of experiments lie: stored, loaded and drawn.

A part of an experiment leaves ``partN.npz`` (arrays), ``partN.json`` (settings, versions, time, commit)
and ``partN.png`` in ``figures/<experiment>``.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import platform
import re
import subprocess
import sys
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

import hypergrad
from hypergrad.runs.store import written

EXPERIMENTS = Path(__file__).parent.parent
ROOT = EXPERIMENTS.parent
FIGURES = ROOT / "figures"
DATED = re.compile("[0-9]{1,2} [A-Z][a-z]+ [0-9]{4}: ")  # how the docstring of an experiment begins
LIBRARIES = ("numpy", "scipy", "autograd", "matplotlib", "joblib")


class CommandError(Exception):
    """The command line asks for something that is not possible; says what is."""


def questions() -> dict[str, tuple[str, str]]:
    """For every experiment, oldest first: its date and its question, from the first line of its docstring."""
    found = {}
    for path in EXPERIMENTS.glob("*.py"):
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        if DATED.match(first):
            day, _, question = first.partition(": ")
            found[path.stem] = (day, question)
    return dict(sorted(found.items(), key=lambda item: datetime.strptime(item[1][0], "%d %B %Y")))


def kind(config):
    """The module that knows how to run and plot a config: the one that defines its class."""
    return sys.modules[type(config).__module__]


def save(
    name: str,
    output: Path,
    part: int,
    config,
    results,
    seconds: float,
    commit: str,
    resumed: bool = False,
    command: str = "",
    source: str = "",
) -> None:
    """Write ``partN.npz`` and ``partN.json``; ``seconds`` are those of the last run, if it ``resumed`` another.

    ``command`` is what was typed, ``source`` a digest of the code that ran; for the journal.
    """
    description = {
        "experiment": name,
        "part": part,
        "config": dataclasses.asdict(config),
        "seconds": round(seconds, 1),
        "resumed": resumed,
        "date": date.today().isoformat(),
        "time": datetime.now().strftime("%H:%M:%S"),
        "commit": commit,
        "command": command or f"python -m experiments.{name} --part {part}",
        "source": source,
        "versions": versions(),
    }
    with written(output / f"part{part}.npz") as file:
        np.savez_compressed(file, **results._asdict())
    with written(output / f"part{part}.json") as file:
        file.write((json.dumps(description, indent=2) + "\n").encode())


def describe(output: Path, part: int) -> dict:
    """What ``partN.json`` says.

    Raises:
      CommandError: it is not there, or damaged.
    """
    path = output / f"part{part}.json"
    if not path.exists():
        raise CommandError(f"there is no {path}; run the part first, without --replot")
    try:
        description = json.loads(path.read_text())
        if not isinstance(description, dict) or not isinstance(description["experiment"], str):
            raise ValueError("it does not say of which experiment it is")
    except (OSError, ValueError, KeyError) as error:
        reason = "it has no 'experiment'" if isinstance(error, KeyError) else error
        raise CommandError(
            f"{path} is damaged ({reason}); delete it, or choose another folder with --output"
        ) from error
    return description


def load(module, output: Path, part: int):
    """The stored config and results of a part.

    Raises:
      CommandError: they are not there, or damaged.
    """
    description, path = describe(output, part), output / f"part{part}.npz"
    if not path.exists():
        raise CommandError(f"there is no {path} to draw from; run the part first, without --replot")
    try:
        stored = {key: tuple(v) if isinstance(v, list) else v for key, v in description["config"].items()}
        config = type(module.PARTS[part])(**stored)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return config, kind(config).Results(**arrays)
    except Exception as error:  # a damaged archive can raise nearly anything
        raise CommandError(
            f"the results in {output} are damaged or of another version ({error}); run part {part} again, "
            "without --replot"
        ) from error


def draw(module, output: Path, part: int, config, results) -> Path:
    """Draw the figure of a part into ``partN.png``."""
    figure, path = kind(config).plot(results, config), output / f"part{part}.png"
    with written(path) as file:
        figure.savefig(file, format="png", metadata={"Software": None})
    return path


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "hypergrad": hypergrad.__version__,
        **{library: version(library) for library in LIBRARIES},
    }


def commit_of_code() -> str:
    """The commit the code stands at, with a + if the code has changes on top; empty outside git."""

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)

    try:
        commit = git("rev-parse", "--short=12", "HEAD").stdout.strip()
        changed = git("diff", "--quiet", "HEAD", "--", "hypergrad", "experiments").returncode
    except OSError:
        return ""
    return f"{commit}+" if commit and changed else commit
