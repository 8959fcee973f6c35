"""A table of rivals after the same number of trainings: hypergradients, searches, tuned shapes, rules of their own.

A module lists its rivals by name, ``rivals(config, seed, cache) -> dict[str, Rival]``. Each
minimises a function of some numbers z, with random draws of their own in every training, and is tested on draws that
nothing was chosen on; a hypergradient counts as search.COST trainings.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from experiments.shared import descents, search
from experiments.shared.intervals import crossed_interval
from experiments.shared.results import CommandError
from experiments.shared.runner import PartConfig
from hypergrad.style import LEARNED, SEARCHED, in_style

SHOWN = 4  # numbers of a point that are kept; of longer ones none
BELOW = 0.25  # of a row in the figure: where the single runs lie, below their mean and its interval


class Rival(NamedTuple):
    """One way to find good hyperparameters.

    Attributes:
      numbers: how many it chooses.
      by: ``by(f, numbers, trainings, seed) -> search.Path``.
      f: ``f(z, number)``, what is minimised.
      test: ``test(z, i)``, what is measured on the unseen draws i.
    """

    numbers: int
    by: Callable
    f: Callable
    test: Callable


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """``seeds`` runs of each search; a quick run spends ``every`` times fewer trainings, on as many fewer draws.

    Attributes:
      of: the module of experiments.shared that lists them.
      names: of the rivals, in the order of the figure; those that follow the hypergradient begin with "descent".
      measured: what is tested, in words with units, the main one first.
      setting: the title of the figure.
      trainings: that each spends.
      held_out: draws that they are tested on.
    """

    of: str
    names: tuple[str, ...]
    measured: tuple[str, ...]
    setting: str
    trainings: int
    held_out: int = 12

    def shortened(self, number: int, least: int) -> int:
        return max(least, number // self.every)


class Results(NamedTuple):
    """Arrays of m rivals, s runs, h draws held out and c measures."""

    value: np.ndarray  # (m, s, h, c)
    chosen: np.ndarray  # (m, s, SHOWN), the numbers z that were chosen; NaN past the last, and if there are more


SEED_AXIS = dict.fromkeys(Results._fields, 1)


def measure(config: Config, name: str, seed: int, cache) -> tuple:
    """One run of one rival: a piece of each array of the results."""
    rival = importlib.import_module(f"experiments.shared.{config.of}").rivals(config, seed, cache)[name]
    trainings = config.shortened(config.trainings, search.COST)
    file = cache / f"{config.names.index(name)} seed{seed}.npz"
    path = search.kept(file, lambda: rival.by(rival.f, rival.numbers, trainings, seed))
    z, chosen = path.after(trainings), np.full(SHOWN, np.nan)
    if len(z) <= SHOWN:
        chosen[: len(z)] = z
    tested = [rival.test(z, i) for i in range(config.shortened(config.held_out, 2))]
    return np.array(tested).reshape(len(tested), -1), chosen


def run(config: Config, jobs: int, cache) -> Results:
    if absent := search.missing():
        raise CommandError(absent)
    return Results(*descents.in_parallel(measure, config, config.names, jobs, cache))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: means with intervals over runs and draws together; differences on the same draws."""
    found: dict = {"trainings": config.trainings, "runs": config.seeds, "held out": results.value.shape[2]}
    for c, measured in enumerate(config.measured):
        what = measured.partition(" (")[0]
        tested = dict(zip(config.names, results.value[..., c]))  # each (s, h)
        led = {name: losses for name, losses in tested.items() if name.startswith("descent")}
        best = min(led, key=lambda name: led[name].mean())
        others = {name: losses for name, losses in tested.items() if name not in led}
        rival = min(others, key=lambda name: others[name].mean())
        for name, losses in tested.items():
            by_run = losses.mean(axis=-1)
            found[f"{what}, {name}"] = crossed_interval(losses)
            found[f"{what}, {name}, mean"] = losses.mean()
            found[f"{what}, {name}, by run"] = by_run
            found[f"{what}, {name}, lowest and highest run"] = by_run.min(), by_run.max()
            found[f"{what}, best descent less {name}"] = crossed_interval(led[best] - losses)
            same_space = f"descent, {name.partition(', ')[2]}"
            if name in others and same_space in led:
                found[f"{what}, descent less {name}"] = crossed_interval(led[same_space] - losses)
        found[f"{what}, best descent less best of the others"] = crossed_interval(led[best] - others[rival])
        found[f"{what}, lead over the others"] = crossed_interval(others[rival] - led[best])
        found[f"{what}, worst on one draw"] = results.value[..., c].max()
    return found


@in_style
def _plot(results, config, plt):
    from matplotlib.ticker import LogLocator, NullLocator

    rows, columns = len(config.names), len(config.measured)
    size = (4.6 * columns + 3.0, 0.36 * rows + 1.9)
    figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained", sharey=True, squeeze=False)
    for c, (axis, measured) in enumerate(zip(axes[0], config.measured)):
        for m, name in enumerate(config.names):
            colour = LEARNED if name.startswith("descent") else SEARCHED
            losses = results.value[m, ..., c]
            by_run = losses.mean(axis=-1)
            axis.plot(by_run, np.full(len(by_run), m + BELOW), ".", color=colour, alpha=0.6, markersize=5)
            mean, low, high = crossed_interval(losses)
            axis.plot([low, high], [m, m], color=colour, linewidth=2.2)
            axis.plot(mean, m, "s" if name.startswith("descent") else "o", color=colour, markersize=6)
        axis.set(xscale="log", xlabel=measured)
        low, high = axis.get_xlim()
        subs = (
            (*np.arange(1.0, 2.0, 0.1), *np.arange(2.0, 10.0, 0.5))
            if high < 3.0 * low
            else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
        )
        axis.xaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.tick_params(axis="x", labelsize="x-small")
        axis.grid(axis="y", color="0.92")
    axes[0, 0].set_yticks(range(rows), config.names)
    axes[0, 0].invert_yaxis()
    runs = f"{config.seeds} runs" if config.seeds > 1 else "one run"
    figure.suptitle(
        f"{config.setting}\n{config.trainings} trainings each (a hypergradient counts as {search.COST}); "
        f"{runs} of each: the dots below;\n"
        f"mean and 95 % interval over {'runs and ' * (config.seeds > 1)}{results.value.shape[2]} unseen draws; "
        "blue: by hypergradients",
        fontsize="small",
    )
    return figure


def plot(results: Results, config: Config):
    """A row for each rival, a column for each measure."""
    return _plot(results, config)


def by_descent(rate: float, cache, last: bool = False) -> Callable:
    """A search by Adam along the hypergradient, its iterations kept in a folder."""
    return lambda f, numbers, trainings, seed: search.descent(f, numbers, trainings, rate, cache, last)


def by_grid(*axes) -> Callable:
    """A search on a grid, of as many points as there are trainings; a quick run takes the first of them."""
    return partial(search.on_grid, axes=axes)
