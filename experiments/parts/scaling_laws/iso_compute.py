"""Networks of several widths with the same compute each: the best size and amount of data, and how they grow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

import hypergrad as hg
from experiments.parts.scaling_laws import image_nets
from experiments.shared import flops
from experiments.shared.fitted_laws import Estimate, best_split, curve_of_two, estimate, rows_of, shares, straight
from experiments.shared.runner import seeds_in_words
from hypergrad.style import BLUE, VERMILION, in_style

_RESAMPLED = 51  # the purpose of these random numbers, in seeds (seed, purpose)


@dataclass(frozen=True, kw_only=True)
class Config(image_nets.Config):
    """A quick run has the first budget, and ``every`` times fewer widths.

    Attributes:
      images: D; a training of e epochs sees D · e images, e not a whole number.
      budgets: C, FLOPs of a training.
      fewest: steps; trainings that would have fewer are left out.
      around: the best size is the lowest point of a parabola through the best width and so many on both sides.
    """

    convolutional: bool = False
    depth: int = 1
    lr: float = 0.5
    batch_size: int = 50
    widths: tuple[int, ...] = (3, 4, 6, 8, 11, 16, 23, 32, 45, 64)
    images: int = 50_000
    budgets: tuple[float, ...] = (3e7, 1e8, 3e8, 1e9, 3e9)
    fewest: int = 10
    around: int = 2
    bootstraps: int = 200
    seeds: int = 6
    quick_every: int = 3

    def chosen_widths(self) -> tuple[int, ...]:
        return self.widths[:: self.every]

    def chosen_budgets(self) -> tuple[float, ...]:
        return self.budgets if self.every == 1 else self.budgets[:1]


class Results(NamedTuple):
    """For c budgets, w widths, s seeds, and b bootstrap samples of the seeds after the mean of all."""

    value: np.ndarray  # (c, w, s), test loss, nats; NaN with too few steps
    budgets: np.ndarray  # (c,), C, FLOPs
    parameters: np.ndarray  # (w,), N
    per_image: np.ndarray  # (w,), FLOPs of an image: k N
    steps: np.ndarray  # (c, w), minibatches that C is enough for
    best: np.ndarray  # (1 + b, c, 3), N, D e and the loss at the lowest point; NaN if it lies at the end of the widths
    exponents: np.ndarray  # (1 + b, 2), of the best N and D e over C
    law: np.ndarray  # (1 + b, 5), E, A, B, a and b of L = E + A N^−a + B (D e)^−b, fitted to all trainings


SEED_AXIS = {"value": 2, "budgets": None, "parameters": None, "per_image": None, "steps": None}


def steps_of(config: Config) -> np.ndarray:
    """(c, w): e from C = k N D e, in minibatches."""
    per_image = [flops.training(image_nets.model_of(config, width, config.depth)) for width in config.chosen_widths()]
    return np.rint(np.divide.outer(config.chosen_budgets(), per_image) / config.batch_size).astype(int)


def trial(config: Config, point: dict, seed: int) -> dict:
    at = config.chosen_budgets().index(point["budget"]), config.chosen_widths().index(point["width"])
    steps = int(steps_of(config)[at])
    if steps < config.fewest:
        return {"loss": np.nan}
    model = image_nets.model_of(config, point["width"], config.depth)
    return {"loss": image_nets.outcome(config, model, config.images, steps, seed)[0]}


def run(config: Config, jobs: int, cache) -> Results:
    grid = {"budget": config.chosen_budgets(), "width": config.chosen_widths()}
    found = hg.runs.trials(grid, partial(trial, config), seeds=config.numbered, n_jobs=jobs, cache=cache)
    models = [image_nets.model_of(config, width, config.depth) for width in config.chosen_widths()]
    parameters = np.array([flops.parameters(model) for model in models])
    per_image = np.array([flops.training(model) for model in models])
    fixed = np.array(config.chosen_budgets()), parameters, per_image, steps_of(config)
    return completed(Results(found.array("loss"), *fixed, *[np.empty(0)] * 3), config)


def completed(results: Results, config: Config) -> Results:
    """With the best sizes, their exponents and the law of all seeds."""
    loss, budgets, parameters, per_image, steps = results[:5]
    seeds = loss.shape[-1]
    rng = np.random.default_rng((0, _RESAMPLED))
    samples = [np.arange(seeds), *rng.integers(0, seeds, (config.bootstraps, seeds))]
    best = np.array([best_sizes(loss[..., rows], budgets, parameters, per_image, config.around) for rows in samples])
    N, seen = np.broadcast_arrays(parameters[:, None], config.batch_size * steps[..., None], loss)[:2]
    there = np.isfinite(loss)
    law = rows_of({"N": N[there], "D": seen[there]}, loss[there], config.bootstraps, starts=5)
    exponents = np.array([growth(budgets, each) for each in best])
    return results._replace(best=best, exponents=exponents, law=law)


def best_sizes(loss, budgets, parameters, per_image, around: int) -> np.ndarray:
    """(c, 3): the lowest point of a parabola in log N through the mean of log L around the best width, by budget."""
    found = np.full((len(budgets), 3), np.nan)
    log_n, mean = np.log(parameters), np.log(loss).mean(axis=-1)
    for c, budget in enumerate(budgets):
        at = int(np.nanargmin(mean[c]))
        rows = slice(max(0, at - around), at + around + 1)
        there = np.isfinite(mean[c, rows])
        if at == 0 or at + 1 >= len(log_n) or not np.isfinite(mean[c, at + 1]) or there.sum() < 3:
            continue
        curvature, slope, height = np.polyfit(log_n[rows][there] - log_n[at], mean[c, rows][there], 2)
        if curvature <= 0.0:
            continue
        lowest = log_n[at] - 0.5 * slope / curvature
        cost = np.exp(np.interp(lowest, log_n, np.log(per_image)))  # FLOPs of an image at that size
        found[c] = np.exp(lowest), budget / cost, np.exp(height - 0.25 * slope**2 / curvature)
    return found


def growth(budgets, best) -> tuple[float, float]:
    """Exponents of the best N and D e over C; NaN from fewer than three budgets."""
    there = np.isfinite(best[:, 0])
    if there.sum() < 3:
        return np.nan, np.nan
    return tuple(straight(budgets[there], best[there, column])[1] for column in (0, 1))


def scatter(budgets, best) -> Estimate:
    """The exponent of the best sizes (c,) over C, with the 95 % t interval from their scatter around the line."""
    from scipy.stats import linregress, t

    there = np.isfinite(best)
    if there.sum() < 3:
        return Estimate(np.nan, np.nan, np.nan)
    line = linregress(np.log(budgets[there]), np.log(best[there]))
    half = t.ppf(0.975, there.sum() - 2) * line.stderr
    return Estimate(float(line.slope), float(line.slope - half), float(line.slope + half))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes; intervals are 95 % percentiles of the bootstrap, of seeds or of points."""
    a, b = results.law[:, 3], results.law[:, 4]
    implied = np.transpose(shares(a, b))
    return {
        "exponent of the best N": estimate(results.exponents, 0),
        "exponent of the best D": estimate(results.exponents, 1),
        "exponent of the best N, by the scatter": scatter(results.budgets, results.best[0, :, 0]),
        "exponent of the best D, by the scatter": scatter(results.budgets, results.best[0, :, 1]),
        "b/(a+b)": estimate(implied, 0),
        "a/(a+b)": estimate(implied, 1),
        "a": estimate(results.law, 3),
        "b": estimate(results.law, 4),
        "floor": estimate(results.law, 0),
        "k": [results.per_image[0] / results.parameters[0], results.per_image[-1] / results.parameters[-1]],
        "best N by budget": results.best[0, :, 0],
        "best images by budget": results.best[0, :, 1],
        "best loss by budget": results.best[0, :, 2],
        "best epochs by budget": results.best[0, :, 1] / config.images,
        "most epochs": results.steps.max() * config.batch_size / config.images,
        "median residual in %": 100.0 * np.nanmedian(np.abs(_residuals(results, config))),
    }


def _residuals(results: Results, config: Config) -> np.ndarray:
    """log L less the log of the law."""
    law = curve_of_two(results.law[0], results.parameters, config.batch_size * results.steps)
    return np.log(results.value) - np.log(law)[..., None]


@in_style
def plot(results: Results, config: Config, plt):
    """The loss over the size at each compute, and the best size and data over compute."""
    figure, (sizes, best_n, best_d) = plt.subplots(1, 3, figsize=(15.0, 5.6), layout="constrained")
    colours = plt.colormaps["viridis"](np.linspace(0.0, 0.9, len(results.budgets)))
    for c, colour in enumerate(colours):
        x = np.repeat(results.parameters, results.value.shape[-1])
        sizes.plot(x, results.value[c].ravel(), ".", color=colour, markersize=4, alpha=0.5)
        label = f"C = {results.budgets[c]:.3g} FLOPs"
        sizes.plot(results.parameters, np.exp(np.log(results.value[c]).mean(axis=-1)), color=colour, label=label)
        sizes.plot(results.best[0, c, 0], results.best[0, c, 2], "*", color=colour, markersize=12, markeredgecolor="k")
    sizes.plot([], [], "*", color="0.7", markersize=12, markeredgecolor="k", linestyle="none", label="lowest point")
    sizes.set(xscale="log", yscale="log", xlabel="parameters N", ylabel="test loss (nats)")
    sizes.set_title("same compute, other sizes", fontsize="medium")
    sizes.yaxis.set_major_formatter("{x:g}")
    sizes.yaxis.set_minor_formatter("{x:g}")
    sizes.legend(frameon=False, fontsize="small")
    k = np.exp(np.mean(np.log(results.per_image / results.parameters)))
    split = best_split(*results.law[0, 1:], results.budgets, k)
    names = (("best N", "b/(a+b)", "parameters N"), ("best D·e", "a/(a+b)", "images seen, D·e"))
    implied = np.transpose(shares(results.law[:, 3], results.law[:, 4]))
    for i, (axis, (best, ratio, label)) in enumerate(zip((best_n, best_d), names)):
        low, high = np.nanpercentile(results.best[1:, :, i], [2.5, 97.5], axis=0)
        y = results.best[0, :, i]
        axis.errorbar(
            results.budgets, y, [np.fmax(y - low, 0.0), np.fmax(high - y, 0.0)], fmt="none", ecolor="black", capsize=3
        )
        axis.plot(results.budgets, y, "o", color="black", label="lowest points, 95 % bootstrap intervals")
        there, exponent = np.isfinite(y), estimate(results.exponents, i)
        if there.sum() >= 3:
            scale, power = straight(results.budgets[there], y[there])
            words = f"{best} ∝ C^p, p = {exponent.value:.2f} [{exponent.low:.2f}, {exponent.high:.2f}]"
            axis.plot(results.budgets, scale * results.budgets**power, color=BLUE, label=words)
        of_law = estimate(implied, i)
        words = f"from the law: {ratio} = {of_law.value:.2f} [{of_law.low:.2f}, {of_law.high:.2f}]"
        axis.plot(results.budgets, split[i], "--", color=VERMILION, label=words)
        axis.set(xscale="log", yscale="log", xlabel="compute C (FLOPs)", ylabel=label, title=f"{best}")
        axis.legend(frameon=False, fontsize="small", loc="upper left")
        low, high = axis.get_ylim()
        axis.set_ylim(low, high * (high / low) ** 0.3)
    figure.suptitle(
        f"{config.network()}, D = {config.images:,}, {config.training()}, {seeds_in_words(config.seeds)}; "
        "law: L = E + A N^−a + B (D e)^−b",
        fontsize="medium",
    )
    return figure
