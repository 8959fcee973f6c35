"""The error of each estimator from 10 to 5,000 steps, from the calm to chaos, by one learning rate; and the figure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from experiments.parts.estimators_by_problem import many_rates
from experiments.shared import pooled
from experiments.shared.runner import PartConfig, seeds_in_words
from hypergrad.runs.parallel import compute
from hypergrad.style import EXACT, MIXED, SMOOTHED, TRUNCATED, TRUNCATED_LONG, in_style

NAMES = ("exact", "truncated, K = T/2", "truncated, K = T/10", "smoothed", "mixed")
COLOURS = (EXACT, TRUNCATED_LONG, TRUNCATED, SMOOTHED, MIXED)
REACH = 3  # standard deviations to which the smoothing is summed
BINS = (-np.inf, 1.0, 3.0, 10.0, 30.0, 100.0, np.inf)  # of λT, for medians


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """One log learning rate, the training loss after T steps.

    Attributes:
      side, hidden, images, batch_size, momentum: of images, network and training.
      low, high: log learning rates; beyond them lies what the smoothing takes in.
      spacing: of the learning rates, a whole part of ``sigma``.
      sigma: of the smoothing, in log learning rates.
      horizons: T.
      shares: K / T of truncation; the last two are those of NAMES, the shorter one first.
      pairs: of values in a smoothed estimate; the mix has half as many pairs of hypergradients, at the same cost.
    """

    side: int = 7
    hidden: tuple[int, ...] = (8,)
    images: int = 100
    batch_size: int = 20
    momentum: float = 0.9
    low: float = 0.0
    high: float = 3.0
    spacing: float = 0.05
    sigma: float = 0.1
    horizons: tuple[int, ...] = (10, 50, 200, 1_000, 5_000)
    shares: tuple[float, ...] = (0.01, 0.03, 0.1, 0.5)
    pairs: int = 8

    def used(self) -> tuple[int, ...]:
        """The horizons: in a quick run the first ones."""
        return self.horizons if self.every == 1 else self.horizons[:3]

    def reach(self) -> int:
        """How many spacings the smoothing takes in on each side."""
        return round(REACH * self.sigma / self.spacing)

    def log_lrs(self) -> np.ndarray:
        count = round((self.high - self.low) / self.spacing)
        return self.low + self.spacing * np.arange(-self.reach(), count + self.reach() + 1)


class Results(NamedTuple):
    """For s seeds, t horizons, v log learning rates and k windows; nats, or nats per unit of log learning rate."""

    log_lr: np.ndarray  # (v,)
    loss: np.ndarray  # (s, t, v)
    gradient: np.ndarray  # (s, t, v), the derivative of the loss
    truncated: np.ndarray  # (s, t, k, v)
    growth: np.ndarray  # (s, t, v), λ, nats a step
    truth: np.ndarray  # (s, t, v), the derivative of the smoothed loss
    truth_error: np.ndarray  # (s, t, v), how far half of the points are off
    pair: np.ndarray  # (s, t, v), standard deviation of an estimate from one pair of values
    pair_of_gradients: np.ndarray  # (s, t, v), and of the mean of the hypergradients at one pair

    def errors(self, config: Config, pairs: float | None = None) -> np.ndarray:
        """Root mean square distance from the truth of NAMES, over its magnitude, (e, s, t, v); at a cost in pairs.

        The mix has the weights that are best for the variances as they are.
        """
        pairs = config.pairs if pairs is None else pairs
        unknown = lambda array: np.where(np.isnan(array), np.inf, array)  # where derivatives have overflowed
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            biased = [self.gradient, self.truncated[:, :, -1], self.truncated[:, :, -2]]
            values = self.pair / np.sqrt(pairs)
            mixed = 1.0 / np.sqrt((1.0 / self.pair**2 + 1.0 / unknown(self.pair_of_gradients) ** 2) * pairs / 2.0)
            off = [unknown(np.abs(one - self.truth)) for one in biased]
            return np.stack([*off, values, mixed]) / np.abs(self.truth)

    def horizon(self, config: Config) -> np.ndarray:
        """λT, (s, t, v)."""
        return self.growth * np.array(config.used())[:, None]


def seed_of(config: Config, seed: float) -> dict:
    """Everything of one seed: a training at each learning rate, then sums over those nearby."""
    model, batch_loss = pooled.network(config.images, config.side, config.hidden, config.batch_size)
    found = many_rates.swept(
        batch_loss.X,
        batch_loss.T,
        model.init(int(seed)),
        config.log_lrs(),
        config.momentum,
        config.batch_size,
        config.used(),
        config.shares,
        int(seed),
    )
    reach = config.reach()
    inside = slice(reach, -reach)
    truth, rough, pair, gradients = smoothed(found.loss, found.exact, config)
    return {
        "loss": found.loss[:, inside],
        "gradient": found.exact[:, inside],
        "truncated": found.truncated[..., inside],
        "growth": found.growth[:, inside],
        "truth": truth,
        "truth_error": np.abs(rough - truth),
        "pair": pair,
        "pair_of_gradients": gradients,
    }


def smoothed(loss, slope, config: Config) -> tuple:
    """From values (…, g) at equal distances: what is estimated, and how well from one pair.

    That is the derivative of the smoothed loss, the same from half of the points, and the standard deviations of
    estimates from one pair of values and from one pair of hypergradients. With x_j = x + σ z_j, z_j equally spaced, and
    φ_j its normal density, the derivative is Σ φ_j z_j f(x_j) / (σ Σ φ_j z_j²).
    """
    reach, count = config.reach(), loss.shape[-1] - 2 * config.reach()
    z = config.spacing / config.sigma * np.arange(1, reach + 1)
    weight = np.exp(-0.5 * z**2)
    at = lambda values, j: values[..., reach + j : reach + j + count]
    with np.errstate(over="ignore", invalid="ignore"):
        draws = np.stack([(at(loss, j) - at(loss, -j)) * x / (2.0 * config.sigma) for j, x in enumerate(z, 1)])
        means = np.stack([(at(slope, j) + at(slope, -j)) / 2.0 for j in range(reach + 1)])
        half = slice(1, None, 2)
        derivative = lambda part: np.tensordot(weight[part], draws[part], 1) / np.sum(weight[part] * z[part] ** 2)
        truth = derivative(slice(None))
        share = weight / np.sum(weight)
        scale = 1.0 / np.sum(share * z**2)  # 1 but for the ends that are cut off
        pair = np.sqrt(np.maximum(np.tensordot(share, (draws * scale) ** 2, 1) - truth**2, 0.0))
        both = np.append(0.5, weight) / (0.5 + np.sum(weight))  # z = 0 is there once, the others with both signs
        mean = np.tensordot(both, means, 1)
        gradients = np.sqrt(np.tensordot(both, (means - mean) ** 2, 1))
    return truth, derivative(half), pair, gradients


def run(config: Config, jobs: int, cache) -> Results:
    seeds = range(config.seeds)
    points = compute(partial(seed_of, config), seeds, n_jobs=jobs, cache=cache / "seeds", progress=False)
    inside = config.log_lrs()[config.reach() : -config.reach()]
    return Results(inside, *(np.array([one[name] for one in points]) for name in Results._fields[1:]))


def binned(results: Results, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Medians over all runs whose λT lies in a bin: of λT (b,) and of the errors (b, e); NaN where there are few."""
    horizon, errors = results.horizon(config), results.errors(config)
    middle, medians = [], []
    for low, high in pairwise(BINS):
        inside = (horizon >= low) & (horizon < high) & np.isfinite(results.truth)
        few = inside.sum() < 10
        middle.append(np.nan if few else np.median(horizon[inside]))
        medians.append(np.full(len(NAMES), np.nan) if few else np.median(errors[:, inside], axis=1))
    return np.array(middle), np.array(medians)


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: medians by λT, the truth's own error, and shares of runs in which each is best."""
    horizon, errors = results.horizon(config), results.errors(config)
    found, known = {}, np.abs(results.truth_error) < 0.5 * np.abs(results.truth)
    for low, high in pairwise(BINS):
        inside = (horizon >= low) & (horizon < high)
        if inside.sum() < 10:
            continue
        words = f"λT from {low:g} to {high:g}"
        for e, name in enumerate(NAMES):
            found[f"{name}, {words}"] = np.median(errors[e][inside])
        found[f"truth, {words}"] = np.median((results.truth_error / np.abs(results.truth))[inside])
        found[f"known, {words}"] = 100.0 * np.mean(known[inside])
        found[f"runs, {words}"] = inside.sum()
    for t, T in enumerate(config.used()):
        for low, high in pairwise(BINS):
            inside = (horizon[:, t] >= low) & (horizon[:, t] < high)
            if inside.sum() >= 10:
                for e, name in enumerate(NAMES):
                    found[f"{name}, λT from {low:g} to {high:g}, T = {T}"] = np.median(errors[e][:, t][inside])
        calm = horizon[:, t] < 3.0
        kept = results.truncated[:, t] / results.gradient[:, t, None]
        for k, share in enumerate(config.shares):
            found[f"kept, T = {T}, {share:g}"] = (
                np.median(np.moveaxis(kept, 1, -1)[calm][:, k]) if calm.any() else np.nan
            )
        chaotic = (horizon[:, t] > 10.0).any(axis=0)
        found[f"chaos, T = {T}"] = results.log_lr[chaotic].min() if chaotic.any() else np.nan
    return found


@in_style
def plot(results: Results, config: Config, plt):
    figure, (bias, chaos, cost) = plt.subplots(1, 3, figsize=(15.0, 4.6), layout="constrained")
    horizon = results.horizon(config)
    shades = plt.colormaps["viridis"](np.linspace(0.0, 0.9, len(config.used())))
    for t, (T, shade) in enumerate(zip(config.used(), shades)):
        calm = horizon[:, t] < 3.0
        kept = np.moveaxis(results.truncated[:, t] / results.gradient[:, t, None], 1, -1)[calm]
        if len(kept):
            bias.semilogx(config.shares, np.median(kept, axis=0), "o-", color=shade, label=f"T = {T:,}")
    bias.axhline(1.0, color="0.5", linewidth=1, linestyle="--")
    bias.set(
        xlabel="share of the steps that is gone back over, K / T",
        ylabel="derivative by the log learning rate,\ntruncated over exact",
    )
    bias.set_title("bias of truncation, runs with λT < 3 (medians)", fontsize="medium")
    bias.legend(frameon=False, fontsize="small")
    errors, middle_and_medians = results.errors(config), binned(results, config)
    for e, (name, colour) in enumerate(zip(NAMES, COLOURS)):
        shown = np.clip(errors[e].ravel(), 1e-4, 1e6)
        chaos.plot(np.maximum(horizon.ravel(), 0.1), shown, ",", color=colour, alpha=0.4)
        chaos.plot(
            middle_and_medians[0], np.clip(middle_and_medians[1][:, e], 1e-4, 1e6), "o-", color=colour, label=name
        )
    chaos.axhline(1.0, color="0.5", linewidth=1, linestyle="--")
    chaos.set(xscale="log", yscale="log", ylim=(0.5e-4, 2e6))
    chaos.set(
        xlabel="λT, growth of a perturbation over the run (nats)",
        ylabel="error over the derivative of the\nsmoothed loss, cut off at 10⁻⁴ and 10⁶",
    )
    chaos.set_title(f"{4 * config.pairs} products a step for the random ones; medians", fontsize="medium")
    chaos.legend(frameon=False, fontsize="small")
    pairs = np.geomspace(2.0, 512.0, 17)
    styles = (("calm, λT < 3", "-", horizon < 3.0), ("chaos, λT > 10", "--", horizon > 10.0))
    for words, style, inside in styles:
        if not inside.any():
            continue
        over_cost = np.array([np.median(results.errors(config, n)[:, inside], axis=1) for n in pairs])
        for e, colour in enumerate(COLOURS):
            shown = np.clip(over_cost[:, e], 1e-4, 1e6)
            if e < 3:  # not random: one point
                cost.plot([(4.0, 3.0, 2.2)[e]], shown[:1], "o" if style == "-" else "s", color=colour)
            else:
                cost.plot(4.0 * pairs, shown, style, color=colour)
        cost.plot([], [], style, color="0.4", label=words, marker="o" if style == "-" else "s")
    cost.set(
        xscale="log",
        yscale="log",
        xlabel="cost in products a step (training: 2)",
        ylabel="error over the derivative, median",
    )
    cost.set_title("error against cost", fontsize="medium")
    cost.legend(frameon=False, fontsize="small")
    sizes = "-".join(map(str, (config.side**2, *config.hidden, 10)))
    figure.suptitle(
        f"{sizes} tanh, {config.images} MNIST images of {config.side} × {config.side} in minibatches of "
        f"{config.batch_size}, momentum {config.momentum:g}, one log learning rate from {config.low:g} to "
        f"{config.high:g}; truth: loss smoothed over σ = {config.sigma:g}; {seeds_in_words(config.seeds)}",
        fontsize="medium",
    )
    return figure
