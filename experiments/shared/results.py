"""Where the results of experiments lie: stored, loaded and drawn.

A part of an experiment leaves ``partN.npz`` (arrays), ``partN.json`` (settings, versions, time, commit)
and ``partN.png`` in ``figures/<experiment>``.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
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
from hypergrad.style import DPI

EXPERIMENTS = Path(__file__).parent.parent
ROOT = EXPERIMENTS.parent
FIGURES = ROOT / "figures"
DATED = re.compile("[0-9]{1,2} [A-Z][a-z]+ [0-9]{4}: ")  # how the docstring of an experiment begins
FORMATS = {"png": {"Software": None}, "pdf": {"CreationDate": None}}  # the same bytes whenever it is drawn
CLOUD, MANY = 400, 4_000  # points of one curve, and of all on one axis, from which they become pixels in a PDF
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


def named(name: str) -> str:
    """The name, if it is that of an experiment.

    Raises:
      CommandError: it is not; says which is nearest.
    """
    names = list(questions())
    if name in names:
        return name
    beginnings = {other[: len(name)]: other for other in reversed(names)}  # of names that were not written to the end
    near = difflib.get_close_matches(name, names, 1)
    near = near or [beginnings[begun] for begun in difflib.get_close_matches(name, beginnings, 1)]
    hint = f"did you mean {near[0]}?" if near else "`python -m experiments` lists them"
    raise CommandError(f"there is no experiment {name}; {hint}")


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
    earlier: dict | None = None,
) -> None:
    """Write ``partN.npz`` and ``partN.json``; ``seconds`` are those of the last run, if it ``resumed`` another.

    ``command`` is what was typed, ``source`` a digest of the code that ran; for the journal. ``earlier`` says of the
    run whose seeds were kept, if this one only added some, how many those were, and when, from what and how long.
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
    if earlier is not None:
        description["earlier"] = earlier
    with written(output / f"part{part}.npz") as file:
        np.savez_compressed(file, **results._asdict())
    with written(output / f"part{part}.json") as file:
        file.write((json.dumps(description, indent=2) + "\n").encode())


def joined(before, after, axes: dict):
    """Results of some seeds and of those after them, as one; ``axes`` says which axis of each array is that of seeds.

    Arrays without one (None) are the same in both, but for rounding, or computed with the first seeds only and empty
    afterwards. Those that ``axes`` does not name are of all seeds at once, such as a fit: they stay as they were, for
    the module's ``completed`` to compute again.

    Raises:
      CommandError: they are not, or the arrays are of different shapes, so both are not results of the same function.
    """
    found = {}
    for name, first, second in zip(before._fields, before, after):
        axis = axes.get(name)
        if name not in axes or first.size == second.size == 0 or (axis is None and not second.size):
            found[name] = first
        elif axis is None:
            if first.shape != second.shape or not np.allclose(first, second, rtol=1e-4, equal_nan=True):
                raise CommandError(f"{name}, which does not depend on seeds, is not what it was: run all seeds again")
            found[name] = first
        else:
            try:
                found[name] = np.concatenate([first, second], axis=axis)
            except ValueError as error:
                raise CommandError(f"{name} has another shape than before ({error}): run all seeds again") from error
    return type(before)(**found)


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


def _with_tuples(value):
    """Lists, which is what JSON makes of them, as tuples again."""
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def load(module, output: Path, part: int):
    """The stored config and results of a part.

    Raises:
      CommandError: they are not there, or damaged.
    """
    description, path = describe(output, part), output / f"part{part}.npz"
    if not path.exists():
        raise CommandError(f"there is no {path} to draw from; run the part first, without --replot")
    try:
        stored = {key: _with_tuples(value) for key, value in description["config"].items()}
        config = type(module.PARTS[part])(**stored)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return config, kind(config).Results(**arrays)
    except Exception as error:  # a damaged archive can raise nearly anything
        raise CommandError(
            f"the results in {output} are damaged or of another version ({error}); run part {part} again, "
            "without --replot"
        ) from error


def draw(module, output: Path, part: int, config, results) -> Path:
    """Draw the figure of a part into ``partN.png``, and into ``partN.pdf`` for print; the path of the first."""
    figure = kind(config).plot(results, config)
    rasterise_clouds(figure)
    for suffix, metadata in FORMATS.items():
        with written(output / f"part{part}.{suffix}") as file:
            figure.savefig(file, format=suffix, dpi=DPI, metadata=metadata)
    return output / f"part{part}.png"


def rasterise_clouds(figure) -> None:
    """Have what consists of very many points stored as pixels in a PDF, where each would be a drawing of its own."""
    for artist in figure.findobj(lambda artist: hasattr(artist, "get_xydata") or hasattr(artist, "get_offsets")):
        points = artist.get_xydata() if hasattr(artist, "get_xydata") else artist.get_offsets()
        if len(points) > CLOUD:
            artist.set_rasterized(True)
    for axis in figure.axes:
        lines = [line for line in axis.lines if len(line.get_xydata())]
        if sum(len(line.get_xydata()) for line in lines) > MANY:
            for line in lines:
                line.set_rasterized(True)


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
