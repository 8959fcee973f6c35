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
from experiments.parts.jan16_initial_dist import distribution_plots, scales_and_rates
from experiments.shared import descents, runner
from experiments.shared.intervals import crossed_interval, geometric_interval, t_interval
from hypergrad.nests import flatten

JUMP = 1.2  # times the lowest loss so far: what a descent that has lost its way goes beyond
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
    1: Config(-3.0, 10, seeds=10, quick_every=10, per_array=False),
    2: Config(-2.0, 100, seeds=10, quick_every=50),
    3: Config(-2.0, 30, seeds=10, quick_every=30, ways=tuple(WAYS)[:3], held_out=10, probes=8, points=2),
    4: Config(
        -2.0,
        60,
        seeds=10,
        quick_every=30,
        ways=tuple(WAYS)[::3],
        held_out=20,
        points=2,
        log_rates=tuple(k / 4 for k in range(12)),
    ),
    5: scales_and_rates.Config(seeds=10, quick_every=15),
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
    """What the log quotes: means with 95 % intervals over the seeds, or over descents and unseen draws together."""
    found = {"seeds": config.seeds, "start": t_interval(results.value[0, :, 0])}
    for name, value in zip(config.ways, results.value):
        found.update({f"{what}, {name}": number for what, number in _of_descents(value).items()})
    if not config.per_array:
        found.update(_of_one_distribution(results))
    elif len(config.ways) == 1:
        found.update(_of_each_array(results))
    if config.probes:
        found.update(_of_increments(results))
    if config.held_out:
        found.update(_of_unseen_draws(results, config))
    if config.log_rates:
        found.update(_of_other_rates(results, config))
    return found


def _of_descents(value: onp.ndarray) -> dict:
    """How descents go, of the losses (s, n) along them; a jump is to more than JUMP times the lowest loss so far."""
    best, best_at = onp.nanmin(value, axis=-1), onp.nanargmin(value, axis=-1)
    jumps = value > JUMP * onp.fmin.accumulate(value, axis=-1)
    jumped, first = jumps.any(axis=-1), jumps.argmax(axis=-1)
    last = onp.isfinite(value).sum(axis=-1) - 1
    final = value[onp.arange(len(value)), last]
    highest = onp.array([onp.nanmax(losses[at:]) for losses, at in zip(value, best_at)])
    return {
        "best": t_interval(best),
        "best range": (best.min(), best.max()),
        "best at": (best_at.min(), best_at.max()),
        "jump": onp.count_nonzero(jumped),
        "first jump": (first[jumped].min(), first[jumped].max()) if jumped.any() else (onp.nan, onp.nan),
        "first jump, median": onp.median(first[jumped]) if jumped.any() else onp.nan,
        "best after a jump": onp.count_nonzero(jumped & (best_at > first)),
        "highest after the best": (highest.min(), highest.max()),
        "final": (final.min(), final.max()),
        "end above the start": onp.count_nonzero(final > value[:, 0]),
        "to the end": onp.count_nonzero(last == value.shape[-1] - 1),
    }


def _of_each_array(results: Results) -> dict:
    """The standard deviations of the distributions, at the best meta-iteration, and how far means moved at the jump."""
    value, free = results.value[0], results.free[0]  # (s, n), (s, n, arrays, knots)
    best_at = onp.nanargmin(value, axis=-1)
    first = (value > JUMP * onp.fmin.accumulate(value, axis=-1)).argmax(axis=-1)
    last = onp.isfinite(value).sum(axis=-1) - 1
    found = {"standard deviation at the start": standard_deviation(free[0, 0, 0])}
    for array, name in enumerate(distribution_plots.ARRAYS):
        deviations = onp.array([standard_deviation(one[at, array]) for one, at in zip(free, best_at)])
        found[f"standard deviation at the best, {name}"] = deviations.min(), deviations.max()
        found[f"standard deviation at the best, {name}, median"] = onp.median(deviations)
    moved = [abs(one[at, 0, 0]) / standard_deviation(one[at, 0]) for one, at in zip(free, first)]
    found["mean of the first layer at the first jump, in deviations"] = min(moved), max(moved), onp.median(moved)
    with onp.errstate(over="ignore", invalid="ignore"):  # where a spread overflows it is wide, too
        found["first layer wide in the end"] = sum(
            not standard_deviation(one[at, 0]) < 100.0 for one, at in zip(free, last)
        )
    return found


def _of_unseen_draws(results: Results, config: Config) -> dict:
    """The losses on draws not trained on, of which the start and 1/√fan-in have no luck of descents in them."""
    start, _, fan_in = onp.moveaxis(results.held_out[0, 0], -1, 0)
    found = {"held out, start": t_interval(start), "held out, fan-in": t_interval(fan_in)}
    found["held out, start, mean"], found["held out, best of the start"] = start.mean(), start.min()
    found["held out, fan-in, mean"] = fan_in.mean()
    for name, best in zip(config.ways, results.held_out[..., 1]):
        by_descent = best.mean(axis=-1)
        found[f"held out, {name}"], found[f"held out, {name}, mean"] = crossed_interval(best), best.mean()
        found[f"held out by descent, {name}"] = by_descent.min(), by_descent.max()
        found[f"held out worst, {name}"] = best.max()
        if name != config.ways[-1]:
            found[f"held out, {name} less {config.ways[-1]}"] = crossed_interval(best - results.held_out[-1, ..., 1])
    return found


def _of_other_rates(results: Results, config: Config) -> dict:
    """The scales that were learned, and how they do at other learning rates, beside plain search for one."""
    found, seeds = {}, onp.arange(config.seeds)
    free = results.free[-1, seeds, onp.nanargmin(results.value[-1], axis=-1)]
    for array, name in enumerate(distribution_plots.ARRAYS):
        deviations = [standard_deviation(free[seed, array]) for seed in seeds]
        found[f"standard deviation, {name}"] = min(deviations), max(deviations)
    at = config.log_rates.index
    learned, fan_in, normal = onp.moveaxis(results.by_rate[-1], -1, 0)  # each (s, h, q)
    found["normal of these scales"] = crossed_interval(normal[..., at(0.0)])
    found["learned less normal of these scales"] = crossed_interval((learned - normal)[..., at(0.0)])
    for word, log_rate in (("e", 1.0), ("e²", 2.0)):
        found[f"fan-in at rate {word}"] = t_interval(fan_in[0, :, at(log_rate)])
        found[f"learned at rate {word}"] = crossed_interval(learned[..., at(log_rate)])
    chosen = onp.nanargmin(results.searched[-1], axis=-1)
    log_rates, searched = onp.array(config.log_rates)[chosen], fan_in[seeds, :, chosen]
    found["log rate, search"], found["log rate, search, mean"] = (log_rates.min(), log_rates.max()), log_rates.mean()
    found["search"], found["search, mean"] = crossed_interval(searched), searched.mean()
    found["learned less search"] = crossed_interval(results.held_out[-1, ..., 1] - searched)
    found["learned best over rates"] = onp.nanmin(learned.mean(axis=(0, 1)))
    return found


def _of_one_distribution(results: Results) -> dict:
    """Where descents on one distribution end, and how far the second step has moved its mean."""
    value, free = results.value[0], results.free[0, :, 2, 0]
    best = onp.nanmin(value, axis=-1)
    moved = [abs(one[0]) / standard_deviation(one) for one in free]
    return {
        "start range": (value[:, 0].min(), value[:, 0].max()),
        "nothing learned in the end": onp.count_nonzero(value[:, -1] > 0.95 * onp.log(10.0)),
        "never below the start": onp.count_nonzero(onp.nanargmin(value, axis=-1) == 0),
        "best of those that come back": best[value[:, -1] < 0.95 * onp.log(10.0)],
        "moved, lowest, highest and median": (min(moved), max(moved), onp.median(moved)),
        "doubled by the second step": onp.count_nonzero(value[:, 2] >= 2.0 * value[:, 1]),
    }


def _of_increments(results: Results) -> dict:
    """How large gradients of single weights are, and hypergradients by the mean and the increments of each array."""
    by_draw, by_weight = results.by_draw[0, ..., 1:], results.by_weight[0]  # (s, draws, arrays, 19), (s, arrays, 101)
    by_mean = results.by_draw[0, ..., 0]
    each = onp.sqrt(onp.mean(onp.sum(by_draw**2, axis=-1), axis=1))  # (s, arrays)
    weights = distribution_plots.ARRAYS.index("weights 50-10")
    found = {"draws": by_mean[..., 0].size}
    for array, name in enumerate(distribution_plots.ARRAYS):
        found[f"last weights over {name}, draws"] = geometric_interval(each[:, weights] / each[:, array])
        mean, spread = by_draw[:, :, array].mean(axis=(0, 1)), by_draw[:, :, array].std(axis=(0, 1))
        found[f"mean over deviation, {name}"] = onp.median(onp.abs(mean) / spread)
        found[f"size of the mean by increments, {name}"] = onp.linalg.norm(mean)
        found[f"by the mean, {name}"] = t_interval(by_mean[..., array].ravel())
        found[f"by the mean, {name}, deviation"] = by_mean[..., array].std(ddof=1)
        for percent in (50, 99):
            found[f"single weights, {name}, percentile {percent}"] = by_weight[:, array, percent].mean()
    found["% of the first layer without a gradient"] = onp.count_nonzero(by_weight[:, 0] == 0.0, axis=-1).min() - 1
    return found


plot = distribution_plots.plot_distributions

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
