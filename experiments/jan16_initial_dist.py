"""16 January 2015: can gradient descent find the distribution of the initial weights?

Setting: 784-50-10 tanh, 1,000 MNIST images in minibatches of 250, 20 steps, learning rate 1, momentum 0.9.
Descent on mean and log increments of a quantile function with 20 knots, along the exact hypergradient.

Part 1: one distribution for all parameters, from uniform ±e⁻³, 10 meta-iterations.
Part 2: one for each array, from uniform ±e⁻², 100 meta-iterations.
Part 3: have a few weights (the biases?) much larger gradients, and which meta-steps go wrong?
Part 4: made to work, with other draws at every meta-iteration, the means held, clipped gradients, Adam.
"""

import sys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as onp
from autograd import grad

import hypergrad as hg
from experiments.shared import descents, distribution_plots, runner
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


PARTS = {
    1: Config(-3.0, 10, quick_every=10, per_array=False),
    2: Config(-2.0, 100, quick_every=50),
    3: Config(-2.0, 30, quick_every=30, ways=tuple(WAYS)[:3], held_out=10, probes=8, points=2),
    4: Config(-2.0, 60, quick_every=30, ways=tuple(WAYS)[::3], held_out=20, points=2),
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

    def losses(params, save_at=(20,), **options):
        saved = hg.train(
            batch_loss, params, hg.SGD(1.0, 0.9), steps=20, save_at=save_at, adjoint=hg.Stored(), **options
        )
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

    probes = range(1_000 * seed, 1_000 * seed + config.probes)
    by_draw = [flatten(grad(lambda free, i=i: losses(draw(free, i))[0])(start))[0] for i in probes]
    by_weight = flatten(grad(lambda params: losses(params)[0])(draw(start, 1_000 * seed)))[0]
    percentiles = [onp.percentile(abs(w), range(101)) for w in by_weight]

    curve = lambda free: losses(draw(free, 1_000 * seed), curve_steps, on_divergence="nan")
    curve_of = descents.or_nan(curve, config.points)
    rows = [(e.value, flatten(e.hypers)[0], flatten(e.gradient)[0], curve_of(e)) for e in found]
    return *descents.columns(rows, iterations + 1), curve_steps, held_out, by_draw, percentiles


def run(config: Config, jobs: int, cache) -> Results:
    return Results(*descents.in_parallel(descend, config, config.ways, jobs, cache))


plot = distribution_plots.plot_distributions

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
