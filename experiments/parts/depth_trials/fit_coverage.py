"""Do the intervals of fitted power laws hold the coefficients that the points were drawn from?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.shared.runner import PartConfig
from hypergrad.runs.parallel import compute
from hypergrad.style import BLUE, VERMILION, in_style

_NOISE = 43  # the purpose of these random numbers, in seeds (seed, purpose)
NAMES = (("E", "A", "α"), ("E", "A", "B", "α", "β"))
LAWS = ((0.5, 2.0, 0.7), (1.8172, 482.01, 2085.43, 0.3478, 0.3658))  # the second: Besiroglu et al. (2024)


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """How points are drawn and fitted: y of the law times exp of normal noise.

    Attributes:
      noise: its standard deviation, for each of the laws.
      points: distinct x from 1 to 100, each ``repeats`` times; and a side of the grid of N from 5·10⁷ to 1.6·10¹⁰ and
        D from 10⁹ to 5·10¹¹.
      delta: of the Huber loss.
      level: of the intervals.
    """

    draws: int = 100
    noise: tuple[float, ...] = (0.02, 0.005)
    points: tuple[int, ...] = (12, 8)
    repeats: int = 3
    delta: float = 1e-3
    level: float = 0.95
    bootstraps: int = 80
    resample: tuple[str, ...] = ("points", "residuals")
    quick_every: int = 50


class Results(NamedTuple):
    """For l laws, r ways to resample, n draws and k coefficients; NaN where a law has fewer."""

    value: np.ndarray  # (l, r, n, k), fitted
    low: np.ndarray  # (l, r, n, k), ends of the intervals
    high: np.ndarray  # (l, r, n, k)
    truth: np.ndarray  # (l, k)


def design(config: Config, law: int):
    """The x of the points, and what the law has there."""
    truth = LAWS[law]
    if law == 0:
        x = np.repeat(np.geomspace(1.0, 100.0, config.points[0]), config.repeats)
        return x, truth[0] + truth[1] * x ** -truth[2]
    sides = np.geomspace(5e7, 1.6e10, config.points[1]), np.geomspace(1e9, 5e11, config.points[1])
    N, D = (a.ravel() for a in np.meshgrid(*sides))
    return {"N": N, "D": D}, truth[0] + truth[1] * N ** -truth[3] + truth[2] * D ** -truth[4]


def draw(config: Config, law: int, resample: str, number: float) -> dict:
    """One fit: its coefficients and their intervals."""
    x, y = design(config, law)
    noise = np.random.default_rng((int(number), _NOISE)).standard_normal(len(y))
    options = {"delta": config.delta, "bootstraps": config.bootstraps, "resample": resample, "starts": 3}
    found = hg.fit.power_law(x, y * np.exp(config.noise[law] * noise), **options)
    rows = []
    for what in ("floor", "scale", "exponent"):
        values, ends = getattr(found, what), found.interval(what, config.level)
        pairs = [(values[name], *ends[name]) for name in values] if isinstance(values, dict) else [(values, *ends)]
        rows += pairs
    table = np.full((3, max(map(len, LAWS))), np.nan)
    table[:, : len(rows)] = np.transpose(rows)
    return dict(zip(("value", "low", "high"), table))


def run(config: Config, jobs: int, cache) -> Results:
    laws = []
    for law in range(len(LAWS)):
        for resample in config.resample:
            f, folder = partial(draw, config, law, resample), cache / f"law{law}-{resample}"
            laws.append(compute(f, range(0, config.draws, config.every), n_jobs=jobs, cache=folder))
    tables = [
        np.array([[point[name] for point in points] for points in laws]).reshape(
            len(LAWS), len(config.resample), -1, max(map(len, LAWS))
        )
        for name in ("value", "low", "high")
    ]
    truth = np.full((len(LAWS), max(map(len, LAWS))), np.nan)
    for row, law in zip(truth, LAWS):
        row[: len(law)] = law
    return Results(*tables, truth)


def held(results: Results) -> np.ndarray:
    """(l, r, k): how many of the intervals hold the coefficient."""
    truth = results.truth[:, None, None]
    return np.sum((results.low <= truth) & (truth <= results.high), axis=2)


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes."""
    from scipy.stats import binom

    draws, counts = results.value.shape[2], held(results)
    found = {"draws": draws, "at least, in 99 of 100 experiments": binom.ppf(0.01, draws, config.level)}
    for law, names in enumerate(NAMES):
        for r, resample in enumerate(config.resample):
            found[f"held, law {law + 1}, {resample}"] = counts[law, r, : len(names)]
        found[f"median, law {law + 1}"] = np.median(results.value[law, 0, :, : len(names)], axis=0)
        error = np.median(np.abs(results.value[law, 0] / results.truth[law] - 1.0), axis=0)
        found[f"median error in %, law {law + 1}"] = 100.0 * error[: len(names)]
    return found


@in_style
def plot(results: Results, config: Config, plt):
    """Each interval over the true coefficient, sorted by its middle; those that miss it in another colour."""
    figure, axes = plt.subplots(2, 5, figsize=(13, 6.5), layout="constrained")
    counts = held(results)
    for law, row in enumerate(axes):
        for k, axis in enumerate(row):
            if k >= len(NAMES[law]):
                axis.set_axis_off()
                continue
            true = results.truth[law, k]
            order = np.argsort(results.value[law, 0, :, k])
            low, high = results.low[law, 0, order, k] / true, results.high[law, 0, order, k] / true
            holds = (low <= 1.0) & (high >= 1.0)
            for right, colour, style in ((True, BLUE, "-"), (False, VERMILION, "--")):
                at = np.flatnonzero(holds == right)
                axis.vlines(at, low[at], high[at], color=colour, linewidth=1.0, linestyle=style)
            axis.plot(np.arange(len(order)), results.value[law, 0, order, k] / true, ".", color="black", markersize=2)
            axis.axhline(1.0, color="0.5", linewidth=0.8)
            if NAMES[law][k] in "AB":
                axis.set_yscale("log")
            shares = [f"{name}: {counts[law, r, k]}" for r, name in enumerate(config.resample)]
            axis.set_title(f"{NAMES[law][k]} = {true:g}\n{', '.join(shares)}", fontsize="small")
        row[0].set_ylabel(("one variable" if law == 0 else "two variables") + "\nfitted / true")
    for axis in axes[1]:
        axis.set_xlabel("draw, in the order of the fits")
    for colour, style, label in ((BLUE, "-", "holds the truth"), (VERMILION, "--", "misses it")):
        axes[0, 0].plot([], [], color=colour, linestyle=style, label=f"interval that {label}")
    axes[0, 0].plot([], [], ".", color="black", label="fit")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3)
    figure.suptitle(
        f"{100 * config.level:g} % intervals of {results.value.shape[2]} draws, from {config.bootstraps} bootstrap "
        f"samples of the {config.resample[0]}; above each panel: how many hold the truth, and for those of residuals\n"
        f"noise {config.noise[0]:g} and {config.noise[1]:g} of the logs, Huber δ = {config.delta:g}",
        fontsize="medium",
    )
    return figure
