"""``python -m experiments.figures`` draws every figure again from its stored results, and says which would differ.

The pixels are compared; with names, those of these experiments alone. Nothing is written without ``--write``, which
replaces the figures that differ, and the PDF beside each.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from experiments.shared.results import FIGURES, CommandError, describe, draw, load, named, questions


def every_part() -> list[tuple[str, int]]:
    """(experiment, part) of all parts that there are."""
    return [(name, part) for name in questions() for part in importlib.import_module(f"experiments.{name}").PARTS]


def redraw(name: str, part: int, folder: Path) -> Path:
    """Draw a part from its checked-in results into a folder."""
    module = importlib.import_module(f"experiments.{name}")
    return draw(module, folder, part, *load(module, FIGURES / name, part))


def difference(stored: Path, drawn: Path) -> str:
    """How two figures differ, in words; empty if all their pixels are the same."""
    from matplotlib.image import imread

    if not stored.exists():
        return "there is no figure yet"
    try:
        before, after = imread(stored), imread(drawn)
    except Exception as error:  # a damaged image can raise nearly anything
        return f"the figure there cannot be read ({error})"
    if before.shape != after.shape:
        return f"the size was {before.shape[1]} x {before.shape[0]} and is {after.shape[1]} x {after.shape[0]} pixels"
    changed = (before != after).any(axis=-1)
    return f"{100 * np.mean(changed):.2g} % of the pixels differ" if changed.any() else ""


def compare(name: str, part: int, folder: Path) -> tuple[Path, str]:
    """The figure drawn again, and in words how it differs from the one there."""
    import matplotlib

    path = redraw(name, part, folder)
    words = difference(FIGURES / name / path.name, path)
    if not words and not (FIGURES / name / path.with_suffix(".pdf").name).exists():
        words = "there is no PDF beside it yet"
    drawn_with = describe(FIGURES / name, part)["versions"]["matplotlib"]
    if words and drawn_with != matplotlib.__version__:
        words += f" (drawn with matplotlib {drawn_with}, this is {matplotlib.__version__})"
    return path, words


def main(argv: list[str] | None = None) -> int:
    """Returns 1 if a figure differs or could not be drawn, 2 if a name is that of no experiment, else 0."""
    parser = argparse.ArgumentParser(prog="python -m experiments.figures", description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace the figures that differ")
    parser.add_argument("names", nargs="*", metavar="NAME", help="an experiment (default: all)")
    args = parser.parse_args(argv)
    try:
        wanted = [named(name) for name in args.names]
    except CommandError as error:
        parser.error(str(error))
    failed = 0
    for name, part in every_part():
        if wanted and name not in wanted:
            continue
        place = f"{FIGURES.name}/{name}/part{part}.png"
        with tempfile.TemporaryDirectory() as folder:
            try:
                _, words = compare(name, part, Path(folder))
            except CommandError as error:
                print(f"{place}: cannot be drawn: {error}")
                failed += 1
                continue
            if words and args.write:
                for drawn in Path(folder).iterdir():  # the PDF beside it too
                    shutil.copyfile(drawn, FIGURES / name / drawn.name)
                print(f"{place}: replaced, {words}")
            else:
                print(f"{place}: {words or 'the same'}", flush=True)
                failed += bool(words)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
