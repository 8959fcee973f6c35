"""The law over size with one learning rate for all widths, and with learning rates tuned for each width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.parts.scaling_laws import image_nets
from experiments.shared import descents, flops
from experiments.shared.fitted_laws import curve, estimate, rows_of
from experiments.shared.intervals import crossed_interval, geometric_interval
from experiments.shared.runner import seeds_in_words
from experiments.shared.search import COST, by_evolution
from hypergrad.style import DEFAULT, LEARNED, LEARNED_TOO, SEARCHED, SEARCHED_TOO, in_style

_RESAMPLED = 52  # the purpose of these random numbers, in seeds (seed, purpose)
FRESH = 1_000  # the first of the seeds of initial weights that nothing was chosen by
COLOURS = (DEFAULT, LEARNED, SEARCHED, LEARNED_TOO, SEARCHED_TOO)
MARKERS = "os^D*"


@dataclass(frozen=True, kw_only=True)
class Config(image_nets.Config):
    """A quick run has ``every`` times fewer widths, meta-steps and fresh seeds.

    Attributes:
      lr: the fixed learning rate, which was chosen for a middle width, and where the descents start.
      segments: learning rates for so many equal parts of the training are tuned; a config for each.
      meta_steps: of Adam along the hypergradient, each of size ``meta_rate`` per log learning rate at first.
      low, high: natural logs of the learning rates that plain search looks at.
      fresh: initial weights that nothing was chosen by, for the test loss.
    """

    convolutional: bool = False
    depth: int = 1
    lr: float = 0.5
    batch_size: int = 50
    widths: tuple[int, ...] = (4, 6, 8, 12, 16, 32)
    images: int = 20_000
    steps: int = 400
    segments: tuple[int, ...] = (1, 4)
    meta_steps: int = 8
    meta_rate: float = 0.3
    low: float = -3.0
    high: float = 2.0
    fresh: int = 10
    bootstraps: int = 100
    quick_every: int = 4

    def trainings(self) -> int:
        """What a descent costs, a hypergradient counted as three; and what a search may cost."""
        return COST * (self.meta_steps // self.every + 1)

    def chosen_widths(self) -> tuple[int, ...]:
        return self.widths if self.every == 1 else self.widths[:3]


class Results(NamedTuple):
    """For v ways (fixed, and for each number of segments by hypergradient and by search), w widths, s runs of the
    tuning, f fresh initial weights, and b bootstrap samples of s and f after the mean of all.
    """

    value: np.ndarray  # (v, w, s, f), test loss, nats
    tuned: np.ndarray  # (v, w, s), validation loss at the best, on the initial weights of the tuning
    log_lr: np.ndarray  # (v, w, s, segments), natural logs, repeated to the largest number of segments
    parameters: np.ndarray  # (w,), N
    laws: np.ndarray  # (v, 1 + b, 3), E, A and α of L(N) = E + A N^−α


SEED_AXIS = {"value": 2, "tuned": 2, "log_lr": 2, "parameters": None}


def ways(config: Config) -> list[str]:
    """The names of the ways to choose a learning rate, in order."""
    found = ["fixed"]
    for count in config.segments:
        words = "a rate" if count == 1 else f"{count} rates"
        found += [f"{words}, hypergradient", f"{words}, search"]
    return found


def tune(config: Config, width: str, seed: int, cache) -> tuple:
    """Everything of one width and one run of the tuning: test losses (v, f), validation losses, rates."""
    model = image_nets.model_of(config, int(width), config.depth)
    X, T = image_nets.pieces(config.pooled)[1]

    def schedule(log_lr):
        return anp.exp(hg.schedules.binned(log_lr, config.steps))

    def validation_loss(log_lr):
        params = image_nets.trained(config, model, config.images, config.steps, seed, schedule(log_lr))
        return model.loss(params, X, T)

    def searched(log_lr):
        try:
            return float(validation_loss(log_lr))
        except hg.DivergedError:
            return np.inf

    fixed, widest = np.full(1, np.log(config.lr)), max(config.segments)
    found = [(fixed, float(validation_loss(fixed)))]
    for count in config.segments:
        history = descents.history(
            validation_loss,
            np.full(count, np.log(config.lr)),
            steps=config.meta_steps // config.every,
            step_size=1.0,
            optimizer=hg.Adam(config.meta_rate),
            take_back=hg.meta.TakeBack(),
            cache=cache / f"width{width} seed{seed} {count}",
        )
        best = hg.meta.best(history)
        tried = by_evolution(searched, config.low, config.high, (count,), config.trainings(), seed)
        found += [(best.hypers, best.value), (tried.best, tried.values.min())]
    fresh = range(FRESH, FRESH + config.fresh // config.every)
    losses = [
        [image_nets.outcome(config, model, config.images, config.steps, i, schedule(log_lr))[0] for i in fresh]
        for log_lr, _ in found
    ]
    rates = [np.repeat(log_lr, widest // len(log_lr)) for log_lr, _ in found]
    return np.array(losses), np.array([value for _, value in found]), np.array(rates)


def run(config: Config, jobs: int, cache) -> Results:
    widths = tuple(map(str, config.chosen_widths()))
    losses, tuned, rates = descents.in_parallel(tune, config, widths, jobs, cache)
    parameters = np.array([flops.parameters(image_nets.model_of(config, int(w), config.depth)) for w in widths])
    found = np.transpose(losses, (2, 0, 1, 3)), np.moveaxis(tuned, -1, 0), np.moveaxis(rates, 2, 0)
    return completed(Results(*found, parameters, np.empty(0)), config)


def completed(results: Results, config: Config) -> Results:
    """With the laws of all runs of the tuning."""
    rng = np.random.default_rng((0, _RESAMPLED))
    value, parameters = results.value, results.parameters
    _, _, runs, fresh = value.shape
    draws = [(np.arange(runs), np.arange(fresh))]
    draws += [
        (rng.integers(0, runs, runs), rng.integers(0, fresh, fresh)) for _ in range(config.bootstraps // config.every)
    ]
    # The same runs and weights for all ways, so that their exponents can be compared in pairs.
    laws = [
        [rows_of(parameters, each[:, s][..., f].mean(axis=(1, 2)), 0, starts=3)[0] for s, f in draws] for each in value
    ]
    return results._replace(laws=np.array(laws))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes; intervals of laws are percentiles of the bootstrap, those of losses Student's t.

    Both are over runs of the tuning and initial weights.
    """
    found, names = {"trainings": config.trainings(), "parameters": results.parameters[[0, -1]]}, ways(config)
    found["runs"], found["fresh"] = results.value.shape[2:]
    for v, name in enumerate(names):
        found[f"exponent, {name}"] = estimate(results.laws[v])
        found[f"floor, {name}"] = estimate(results.laws[v], 0)
        found[f"losses by width, {name}"] = results.value[v].mean(axis=(1, 2))
        found[f"geometric mean of the rates by width, {name}"] = np.exp(results.log_lr[v].mean(axis=(1, 2)))
        if v:
            found[f"exponent less fixed, {name}"] = estimate(results.laws[v] - results.laws[0])
            apart = results.value[v] - results.value[0]
            found[f"mean of all widths less fixed, {name}"] = crossed_interval(apart.mean(axis=0))
            found[f"widest less fixed, {name}"] = crossed_interval(apart[-1])
    for v in range(1, len(names), 2):
        word = names[v].partition(",")[0]
        apart = results.value[v] - results.value[v + 1]  # (w, s, f)
        found[f"hypergradient less search, {word}"] = crossed_interval(apart.mean(axis=0))
        found[f"runs whose hypergradient is ahead, {word}"] = np.sum(apart.mean(axis=(0, 2)) < 0.0)
        found[f"exponent, hypergradient less search, {word}"] = estimate(results.laws[v] - results.laws[v + 1])
        found[f"hypergradient less search by width, {word}"] = apart.mean(axis=(1, 2))
        for width, each in zip(config.chosen_widths(), apart):
            found[f"hypergradient less search, width {width}, {word}"] = crossed_interval(each)
        tuned = results.tuned[v] - results.tuned[v + 1]
        found[f"validation loss, hypergradient less search, {word}"] = tuned.mean()
    return found


@in_style
def plot(results: Results, config: Config, plt):
    """Tuned and untuned laws in one panel, what tuning is worth, and the rates it found."""
    figure, (laws, gains, rates) = plt.subplots(1, 3, figsize=(15.0, 5.6), layout="constrained")
    x = results.parameters
    fine = np.geomspace(x.min(), x.max(), 60)
    for v, name in enumerate(ways(config)):
        style = {"color": COLOURS[v], "marker": MARKERS[v], "markersize": 5}
        shift = 1.0 + 0.03 * (v - 2)
        mean, low, high = _intervals(results.value[v])
        found = estimate(results.laws[v])
        label = f"{name}: α = {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
        laws.errorbar(x * shift, mean, [mean - low, high - mean], **style, linestyle="none", capsize=2)
        laws.plot(fine, curve(results.laws[v, 0], fine), color=COLOURS[v], linewidth=1.2, label=label)
        if v:
            mean, low, high = _intervals(results.value[v] - results.value[0])
            gains.errorbar(x * shift, mean, [mean - low, high - mean], **style, linewidth=1.0, capsize=2, label=name)
        middle = np.exp(results.log_lr[v].mean(axis=-1))  # (w, s)
        rates.plot(x * shift, middle, **style | {"markersize": 2.5}, linestyle="none", alpha=0.4)
        mean, low, high = np.array([_or_itself(geometric_interval, row) for row in middle]).T
        rates.errorbar(x * shift, mean, [mean - low, high - mean], **style, linewidth=1.0, capsize=2, label=name)
    gains.axhline(0.0, color="black", linewidth=0.8)
    laws.set(xscale="log", yscale="log", ylabel="test loss (nats)", title="L(N) = E + A N^−α")
    gains.set(xscale="log", ylabel="test loss less that of the fixed rate (nats)", title="what tuning is worth")
    rates.set(xscale="log", yscale="log", ylabel="learning rate (geometric mean over the training)")
    rates.set_title("rates found: single runs, and their geometric means", fontsize="medium")
    for axis in (laws, rates):
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
    for axis in (laws, gains, rates):
        axis.set_xlabel("parameters N")
        axis.set_xticks(x, [f"{count:,}" for count in x])
        axis.set_xticks([], minor=True)
        axis.legend(frameon=False, fontsize="small")
    training = config.training().replace("learning", "fixed learning")
    figure.suptitle(
        f"{config.network()}, {config.images:,} images once, {training}; a tuning costs {config.trainings()} "
        f"trainings, {seeds_in_words(config.seeds)};\n"
        f"test losses on {results.value.shape[-1]} other initial weights, with 95 % t intervals over both; "
        "those of α by bootstrap of both",
        fontsize="medium",
    )
    return figure


def _intervals(losses) -> np.ndarray:
    """(3, w): mean and 95 % interval of losses (w, s, f), over runs and initial weights."""
    return np.array([_or_itself(crossed_interval, each) for each in losses]).T


def _or_itself(interval, values) -> tuple:
    """An interval; of a single value, as in a quick run, only itself."""
    return interval(values) if np.size(values) > 1 else (float(np.mean(values)),) * 3
