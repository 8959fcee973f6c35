"""16 January 2015: can gradient descent find the distribution of the initial weights?

Setting: 784-50-10 tanh, 1,000 MNIST images in minibatches of 250, 20 steps, learning rate 1, momentum 0.9.
Descent on mean and log increments of a quantile function with 20 knots, along the exact hypergradient.

Part 1: one distribution for all parameters, from uniform ±e⁻³, 10 meta-iterations.
Part 2: one for each array, from uniform ±e⁻², 100 meta-iterations.
Part 3: have a few weights (the biases?) much larger gradients, and which meta-steps go wrong?
Part 4: made to work, with other draws at every meta-iteration, the means held, clipped gradients, Adam; against
    normal weights of 1/√fan-in at a dozen learning rates.
Part 5: the scales of the weights and the learning rates learned together, against plain search for both.
"""

import sys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as onp
from autograd import grad

import hypergrad as hg
from experiments.shared import descents, distribution_plots, runner, scales_and_rates
from experiments.shared.intervals import t_interval
from hypergrad.nests import flatten

LOOK_AT = "Look at the first layer's weights: their mean is what a step too large ruins."


class Way(NamedTuple):
    """How the descent is done."""

    meta_step: float = 10.0  # of the log increments, per nat
    mean_step: float = 1e-3  # of the mean, in units of the weights squared, per nat
    draws: int = 1  # the loss is the mean over so many
    fresh: bool = False  # other draws at every meta-iteration
    clip: float = onp.inf  # largest norm of the hypergradient by the increments of one distribution
    rule: hg.Optimizer | None = None


WAYS = {
    "plain": Way(),
    "a tenth of the meta-steps": Way(1.0, 1e-4),
    "means held": Way(mean_step=0.0),
    "other draws, Adam": Way(0.05, 0.0, draws=3, fresh=True, clip=0.1, rule=hg.Adam(1.0)),
}


@dataclass(frozen=True)
class Config(runner.PartConfig):
    """A quick run ends its descents ``every`` times earlier."""

    log_width: float
    iterations: int
    per_array: bool = True
    ways: tuple[str, ...] = ("plain",)
    held_out: int = 0  # draws not trained on
    probes: int = 0  # draws whose hypergradients at the start are compared
    points: int = 21  # of a learning curve
    log_rates: tuple[float, ...] = ()  # logs of learning rates to train with on the draws not trained on


PARTS = {
    1: Config(-3.0, 10, quick_every=10, per_array=False),
    2: Config(-2.0, 100, quick_every=50),
    3: Config(-2.0, 30, quick_every=30, ways=tuple(WAYS)[:3], held_out=10, probes=8, points=2),
    4: Config(
        -2.0,
        60,
        quick_every=30,
        ways=tuple(WAYS)[::3],
        held_out=20,
        points=2,
        log_rates=tuple(k / 4 for k in range(12)),
    ),
    5: scales_and_rates.Config(quick_every=15),
}


class Results(NamedTuple):
    """Arrays of w ways, s seeds, n meta-iterations, a distributions, k knots; NaN after an early end."""

    value: onp.ndarray  # (w, s, n), nats
    free: onp.ndarray  # (w, s, n, a, k), mean and log increments
    gradient: onp.ndarray  # (w, s, n, a, k)
    curve: onp.ndarray  # (w, s, n, c), training loss during training, nats
    curve_steps: onp.ndarray  # (w, s, c)
    held_out: onp.ndarray  # (w, s, h, 3), start, best found, normal of 1/√fan-in; on draws not trained on
    by_draw: onp.ndarray  # (w, s, p, a, k), hypergradients at the start, by draw
    by_weight: onp.ndarray  # (w, s, 4, 101), percentiles of |gradient| of single weights, by array
    by_rate: onp.ndarray = onp.empty(0)  # (w, s, h, q, 3), with q rates: best found, 1/√fan-in, normal of best's scales
    searched: onp.ndarray = onp.empty(0)  # (w, s, q), with q rates and 1/√fan-in, on the first three draws of the seed


SEED_AXIS = dict.fromkeys(Results._fields, 1)


def descend(config: Config, name: str, seed: int, cache) -> tuple:
    """A meta-descent and what is measured around it: a piece of each array of the results."""
    ((X, T),) = hg.data.load_mnist(1_000)
    model = hg.nn.MLP([784, 50, 10])
    batch_loss = hg.nn.MinibatchLoss(model, X, T, 250)
    way = WAYS[name]
    iterations = max(1, config.iterations // config.every)
    curve_steps = onp.linspace(0, 20, config.points).astype(int)
    one = hg.init.uniform_quantile(float(onp.exp(config.log_width)))
    start = [(one, one), (one, one)] if config.per_array else one

    def draw(free, number):
        return hg.init.quantile(model.shapes, free, number)

    def by_fan_in(number):
        return hg.init.scaled_normal(model.shapes, [(784**-0.5, 0.0), (50**-0.5, 0.0)], number)

    def losses(params, save_at=(20,), log_rate=0.0, **options):
        optimizer = hg.SGD(onp.exp(log_rate), 0.9)
        saved = hg.train(batch_loss, params, optimizer, steps=20, save_at=save_at, adjoint=hg.Stored(), **options)
        return [model.loss(trained, X, T) for trained in saved]

    def drawn_loss(free, iteration):
        first = 1_000 * seed + (way.draws * iteration if way.fresh else 0)
        return sum(losses(draw(free, first + i))[0] for i in range(way.draws)) / way.draws

    found = descents.history(
        drawn_loss,
        start,
        steps=iterations,
        step_size=onp.r_[way.mean_step, onp.full(19, way.meta_step)],
        seeds=1,
        optimizer=way.rule,
        transform=descents.clipping(way.clip),
        cache=cache / f"{name} seed{seed}",
    )
    best = hg.meta.best(found).hypers
    others = range(10**6, 10**6 + config.held_out)
    held_out = [[losses(params)[0] for params in (draw(start, i), draw(best, i), by_fan_in(i))] for i in others]

    def at_rates(params):
        rates = config.log_rates[:: config.every]
        return [losses(params, log_rate=log_rate, on_divergence="nan")[0] for log_rate in rates]

    scales = [tuple(standard_deviation(one) for one in layer) for layer in best] if config.log_rates else None
    compared = [
        (draw(best, i), by_fan_in(i), hg.init.scaled_normal(model.shapes, scales, i))
        for i in others
        if config.log_rates
    ]
    by_rate = [onp.transpose([at_rates(params) for params in several]) for several in compared]
    searched = onp.mean([at_rates(by_fan_in(1_000 * seed + i)) for i in range(3)], axis=0)

    probes = range(1_000 * seed, 1_000 * seed + config.probes)
    by_draw = [flatten(grad(lambda free, i=i: losses(draw(free, i))[0])(start))[0] for i in probes]
    by_weight = flatten(grad(lambda params: losses(params)[0])(draw(start, 1_000 * seed)))[0]
    percentiles = [onp.percentile(abs(w), range(101)) for w in by_weight]

    curve = lambda free: losses(draw(free, 1_000 * seed), curve_steps, on_divergence="nan")
    curve_of = descents.or_nan(curve, config.points)
    rows = [(e.value, flatten(e.hypers)[0], flatten(e.gradient)[0], curve_of(e)) for e in found]
    arrays = curve_steps, held_out, by_draw, percentiles, by_rate, searched
    return *descents.columns(rows, iterations + 1), *arrays


def standard_deviation(free) -> float:
    """Of the distribution with these mean and log increments: uniform between neighbouring knots."""
    knots = hg.init.knot_values(free)
    low, high = knots[:-1], knots[1:]
    return float(onp.sqrt(onp.mean((low**2 + low * high + high**2) / 3.0) - free[0] ** 2))


def run(config: Config, jobs: int, cache) -> Results:
    return Results(*descents.in_parallel(descend, config, config.ways, jobs, cache))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes. A number for each seed, or a mean and its 95 % interval over the draws not trained on."""
    found, seeds = {"start": results.value[0, :, 0]}, onp.arange(config.seeds)
    for name, value in zip(config.ways, results.value):
        found[f"best, {name}"], found[f"best at, {name}"] = onp.nanmin(value, axis=-1), onp.nanargmin(value, axis=-1)
    if config.probes:
        found.update(_of_increments(results))
    if not config.log_rates:
        return found
    start, _, fan_in = onp.moveaxis(results.held_out[0], -1, 0)
    found["held out, start"], found["held out, fan-in"] = start.mean(), t_interval(fan_in.mean(axis=0))
    found["held out, best of the start"] = start.min()
    for name, best in zip(config.ways, results.held_out[..., 1]):
        found[f"held out by seed, {name}"], found[f"held out worst, {name}"] = best.mean(axis=-1), best.max()
        found[f"held out, {name}"] = t_interval(best.mean(axis=0))
    free = results.free[-1, seeds, onp.nanargmin(results.value[-1], axis=-1)]
    for array, name in enumerate(distribution_plots.ARRAYS):
        deviations = [standard_deviation(free[seed, array]) for seed in seeds]
        found[f"standard deviation, {name}"] = min(deviations), max(deviations)
    at = config.log_rates.index
    learned, fan_in, normal = onp.moveaxis(results.by_rate[-1], -1, 0)  # each (s, h, q)
    found["normal of these scales"] = t_interval(normal[..., at(0.0)].mean(axis=0))
    for word, log_rate in (("e", 1.0), ("e²", 2.0)):
        found[f"fan-in at rate {word}"] = t_interval(fan_in[0, :, at(log_rate)])
        found[f"learned at rate {word}"] = t_interval(learned[..., at(log_rate)].mean(axis=0))
        found[f"learned at rate {word} by seed"] = learned[..., at(log_rate)].mean(axis=1)
    chosen = onp.nanargmin(results.searched[-1], axis=-1)
    searched = fan_in[seeds, :, chosen].mean(axis=0)
    found["log rate, search"], found["search"] = onp.array(config.log_rates)[chosen], t_interval(searched)
    found["learned less search"] = t_interval(results.held_out[-1, ..., 1].mean(axis=0) - searched)
    for name in [f"held out, {config.ways[-1]}", "held out, fan-in", "search"]:
        found[f"{name}, mean"] = found[name].mean
    found["learned best over rates"] = onp.nanmin(learned.mean(axis=(0, 1)))
    return found


def _of_increments(results: Results) -> dict:
    """How large the hypergradients by the increments of each array's distribution are, beside the last weights'."""
    by_draw = results.by_draw[0, ..., 1:]  # (s, draws, arrays, 19)
    size = onp.linalg.norm(by_draw.mean(axis=1), axis=-1)  # of the mean over the draws, (s, arrays)
    each = onp.sqrt(onp.mean(onp.sum(by_draw**2, axis=-1), axis=1))
    weights = distribution_plots.ARRAYS.index("weights 50-10")
    found = {}
    for array, name in enumerate(distribution_plots.ARRAYS):
        found[f"last weights over {name}, means"] = size[:, weights] / size[:, array]
        found[f"last weights over {name}, draws"] = each[:, weights] / each[:, array]
        mean, spread = by_draw[:, :, array].mean(axis=(0, 1)), by_draw[:, :, array].std(axis=(0, 1))
        found[f"mean over deviation, {name}"] = onp.median(onp.abs(mean) / spread)
    return found


plot = distribution_plots.plot_distributions

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
