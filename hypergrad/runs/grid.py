"""A grid of trainings with several seeds each: in parallel, kept as they finish, with a table and learning curves."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..checks import check_integer
from ..errors import AllDivergedError, ArgumentError, CallbackError, DivergedError, HypergradError
from .parallel import compute

_SHOWN = 4  # of the trials that diverged, in the message of an error
DIVERGED = "diverged_at"


class Trial(NamedTuple):
    """One training of a grid.

    Attributes:
      number: from 0; seeds vary fastest, then the last name of the grid.
      point: its settings by name.
      seed: of the training.
      metrics: the numbers that came out, by name; none if the training raised :class:`hypergrad.DivergedError`.
      curves: the arrays that came out, by name; the first axis is that of the steps.
      diverged_at: the step at which it diverged, −1 if it did not.
    """

    number: int
    point: dict[str, Any]
    seed: int
    metrics: dict[str, float]
    curves: dict[str, np.ndarray]
    diverged_at: int = -1

    def name(self) -> str:
        """The settings in words: "depth=9, weight_decay=0.0005, seed 1"."""
        return f"{_in_words(self.point)}, seed {self.seed}"


@dataclass(frozen=True, repr=False, eq=False)
class Trials:
    """What came out of a grid of trainings.

    Attributes:
      grid: the values by name.
      seeds: of each point.
      rows: a :class:`Trial` for each point and seed, in the order of their numbers.
    """

    grid: dict[str, tuple]
    seeds: tuple[int, ...]
    rows: tuple[Trial, ...]

    def __repr__(self):
        return self.table()

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each name has, and how many seeds there are."""
        return (*map(len, self.grid.values()), len(self.seeds))

    @property
    def diverged_at(self) -> np.ndarray:
        """The step at which each trial diverged, −1 where it did not, of :attr:`shape`."""
        return np.reshape([row.diverged_at for row in self.rows], self.shape)

    def names(self) -> list[str]:
        """Of all metrics, then of all curves."""
        return [*dict.fromkeys(name for row in self.rows for name in row.metrics), *self._curves()]

    def _curves(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row.curves))

    def values(self, name: str) -> np.ndarray:
        """A setting of each trial, or its ``"seed"``, of :attr:`shape`; for the x of a fit, say.

        Raises:
          ArgumentError: the grid has no such name.
        """
        if name != "seed" and name not in self.grid:
            raise ArgumentError(f"the grid has no {name!r}: it has {', '.join(self.grid)}")
        return np.reshape([row.seed if name == "seed" else row.point[name] for row in self.rows], self.shape)

    def array(self, name: str) -> np.ndarray:
        """A metric, of :attr:`shape`, or a curve, of that shape and its own; NaN where a trial has none, or less of it.

        Raises:
          ArgumentError: no trial has it.
        """
        found = [np.asarray({**row.metrics, **row.curves}.get(name, np.nan), dtype=float) for row in self.rows]
        if name not in self.names():
            raise ArgumentError(f"no trial has {name!r}: there are {', '.join(self.names()) or 'none, all diverged'}")
        longest = [max(sizes) for sizes in zip(*(a.shape for a in found if a.ndim))]
        table = np.full((len(found), *longest), np.nan)
        for i, a in enumerate(found):
            place: tuple[Any, ...] = (i, *map(slice, a.shape))
            table[place] = a
        return table.reshape(*self.shape, *longest)

    def table(self, *names: str) -> str:
        """A Markdown table with a line for each point: which trials diverged and where, and the metrics.

        Those are means over the seeds that did not diverge, ± the half-width of the 95 % interval by Student's t.

        Args:
          names: of the metrics; all of them if none is given.
        """
        names = names or tuple(name for name in self.names() if name not in self._curves())
        arrays = [self.array(name).reshape(-1, len(self.seeds)) for name in names]
        head = [*self.grid, "trials", "diverged", *names]
        lines = [head, ["---"] * len(head)]
        for i, (point, stopped) in enumerate(zip(_points(self.grid), self.diverged_at.reshape(-1, len(self.seeds)))):
            at = stopped[stopped >= 0]
            steps = f" (step {', '.join(map(str, at))})" if at.size else ""
            cells = [_mean_in_words(array[i]) for array in arrays]
            lines.append([*map(str, point.values()), str(len(stopped)), f"{at.size}{steps}", *cells])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def plot(
        self,
        curve: str = "loss",
        *,
        by: str | None = None,
        window: int = 10,
        xlabel: str = "step",
        ylabel: str | None = None,
        log: bool = True,
        title: str = "",
    ):
        """Learning curves: one colour for each value of ``by``, one panel for each point of the other names.

        Each seed has a line: the mean over the last ``window`` steps, and faintly behind it the curve itself. Where a
        trial diverged its line ends in a cross.

        Args:
          curve: which; one number a step.
          by: a name of the grid; the first with several values if None.
          window: steps of the running mean; 1 for none.
          xlabel, ylabel: of the axes; the name of the curve if None.
          log: whether the vertical axis is logarithmic.
          title: of the figure.

        Returns:
          The figure; ``figure.savefig(path)`` writes it.

        Raises:
          ArgumentError: no such curve, or name.
        """
        from .figures import plot_curves

        window = check_integer(window, "window", 1)
        if curve not in self._curves() or self.array(curve).ndim != len(self.shape) + 1:
            raise ArgumentError(f"no trial has a curve {curve!r} of one number a step: {', '.join(self._curves())}")
        several = [name for name, values in self.grid.items() if len(values) > 1]
        by = (several or list(self.grid))[0] if by is None else by
        self.values(by)
        return plot_curves(self, curve, by, window, xlabel=xlabel, ylabel=ylabel or curve, log=log, title=title)


def trials(
    grid: Mapping[str, Iterable],
    run: Callable[[dict, int], Mapping],
    *,
    seeds: int | Iterable[int] = 1,
    n_jobs: int = 1,
    cache=None,
    recheck: bool = True,
    callback: Callable[[Trial], Any] | None = None,
    progress: bool = True,
) -> Trials:
    """Run a training for every point of a grid and every seed.

    ``run(point, seed)`` trains with ``point``, a dict with one value for each name, and returns a mapping: numbers are
    the metrics of the trial, arrays its curves, by step. The ``results`` of :func:`hypergrad.track.watch` are one. A
    training that diverges is a row of its own: ``run`` raises :class:`hypergrad.DivergedError`, or returns the step as
    ``"diverged_at"`` with what came out before.

    Args:
      grid: names and the values of each; numbers, texts, True, False, None, and tuples of those.
      run: the training. With ``n_jobs`` other than 1, and on a cluster, it goes to other processes (cloudpickle).
      seeds: how many, from 0; or which.
      n_jobs: of joblib's workers, with one BLAS thread each; −1 for all cores. Within
        ``joblib.parallel_config(backend="dask")`` the workers are Dask's.
      cache: folder in which every trial is stored as soon as it is finished, or None; then a run that is killed goes
        on, and one with a larger grid, or with more seeds, computes what is new.
      recheck: whether one stored trial is computed again to see that ``run`` is the function it is of.
      callback: called with each :class:`Trial` as it arrives, stored ones first: :func:`hypergrad.track.jsonl`,
        :func:`hypergrad.track.tensorboard`, or one of your own.
      progress: show a progress bar.

    Returns:
      The :class:`Trials`.

    Raises:
      ArgumentError: the grid is no mapping, or empty, or holds other values; or ``run`` returns no mapping of numbers.
      AllDivergedError: all trials diverged; it has them, and says where.
      CallbackError: the callback raised. What was stored is kept, as after every error.
      OtherFunctionError, InUseError, StoreError: as with :func:`hypergrad.probe.sweep`.

    Cost: one ``run`` for each trial, one more where a run goes on. Memory: the metrics and curves.

    >>> def run(point, seed):
    ...     return {"error": 0.1 + 0.1 / point["depth"] + 0.01 * seed}
    >>> found = trials({"depth": [2, 4]}, run, seeds=2, progress=False)
    >>> found.array("error").round(3).tolist()
    [[0.15, 0.16], [0.125, 0.135]]
    >>> print(found.table())
    | depth | trials | diverged | error |
    | --- | --- | --- | --- |
    | 2 | 2 | 0 | 0.155 ± 0.064 |
    | 4 | 2 | 0 | 0.13 ± 0.064 |
    """
    checked = _checked_grid(grid)
    chosen = _checked_seeds(seeds)
    planned = [(point, seed) for point in _points(checked) for seed in chosen]
    keys = [json.dumps({"point": point, "seed": seed}) for point, seed in planned]
    rows: list = [None] * len(planned)

    def arrived(i: int, stored: dict) -> None:
        rows[i] = _row(i, *planned[i], stored)
        if callback is not None:
            try:
                callback(rows[i])
            except Exception as error:
                raise CallbackError(f"the callback raised at the trial {rows[i].name()}: {error!r}") from error

    options = {"n_jobs": n_jobs, "cache": cache, "recheck": recheck, "progress": progress}
    compute(partial(_results, run, dict(zip(keys, planned))), keys, what="trials", arrived=arrived, **options)
    found = Trials(checked, chosen, tuple(rows))
    if all(row.diverged_at >= 0 for row in rows):
        where = [f"{row.name()} at step {row.diverged_at}" for row in rows]
        raise AllDivergedError(found, "; ".join(where[:_SHOWN] + ["…"] * (len(where) > _SHOWN)))
    return found


def _results(run: Callable, planned: dict, key: str) -> dict:
    """What a training returned, as arrays, and where it diverged."""
    point, seed = planned[key]
    place = f"in the trial {_in_words(point)}, seed {seed}"
    try:
        returned = run(dict(point), seed)
    except DivergedError as error:
        return {DIVERGED: error.step}
    except HypergradError as error:
        error.context = (place, *error.context)
        raise
    if not isinstance(returned, Mapping):
        raise ArgumentError(f"{place}, run must return a mapping of numbers and arrays, got {returned!r}")
    arrays = {DIVERGED: np.asarray(-1)}
    for name, value in returned.items():
        arrays[name] = np.asarray(value)
        if not isinstance(name, str) or name.startswith(".") or arrays[name].dtype.kind not in "fiub":
            raise ArgumentError(f"{place}, run returned {name!r}: {value!r}, which is no number or array of numbers")
    return arrays


def _row(number: int, point: dict, seed: int, stored: dict) -> Trial:
    arrays = {name: array for name, array in stored.items() if name != DIVERGED}
    metrics = {name: float(a) for name, a in arrays.items() if a.ndim == 0}
    curves = {name: a for name, a in arrays.items() if a.ndim}
    return Trial(number, point, seed, metrics, curves, int(stored[DIVERGED]))


def _points(grid: dict) -> list[dict]:
    return [dict(zip(grid, values)) for values in itertools.product(*grid.values())]


def _checked_grid(grid) -> dict[str, tuple]:
    if not isinstance(grid, Mapping):
        raise ArgumentError(f"the grid must be a mapping of names to values, such as {{'depth': [2, 3]}}, got {grid!r}")
    if not grid:
        raise ArgumentError("the grid is empty: give it a name with values, such as {'depth': [2, 3]}")
    checked = {}
    for name, values in grid.items():
        if not isinstance(name, str) or name == "seed":
            raise ArgumentError(f"the names of the grid must be texts, and none of them 'seed', got {name!r}")
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            raise ArgumentError(f"grid[{name!r}] must be a list of values, got {values!r}")
        checked[name] = tuple(_plain(value, f"grid[{name!r}]") for value in values)
        if not checked[name]:
            raise ArgumentError(f"grid[{name!r}] is empty: a grid needs at least one value for each name")
        if len({json.dumps(value) for value in checked[name]}) < len(checked[name]):
            raise ArgumentError(f"grid[{name!r}] has a value twice: {checked[name]}")
    return checked


def _plain(value, place: str):
    """A value that can be written down and read again."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple | list):
        return tuple(_plain(item, place) for item in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ArgumentError(f"{place} holds {value!r}: values are numbers, texts, True, False, None, or tuples of those")


def _checked_seeds(seeds) -> tuple[int, ...]:
    many = isinstance(seeds, Iterable) and not isinstance(seeds, str)
    chosen = tuple(seeds) if many else tuple(range(check_integer(seeds, "seeds", 1)))
    checked = tuple(check_integer(seed, "a seed", 0) for seed in chosen)
    if not checked or len(set(checked)) < len(checked):
        raise ArgumentError(f"seeds must be a number, or different integers, got {seeds!r}")
    return checked


def _in_words(point: dict) -> str:
    return ", ".join(f"{name}={value}" for name, value in point.items())


def _mean_in_words(values: np.ndarray) -> str:
    """A mean over the seeds, and the half-width of its interval to two digits."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return f"{values[0]:.4g}" if len(values) else "–"
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.4g} ± {half:.2g}"
