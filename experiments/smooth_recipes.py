"""26 November 2026: which recipe makes training differentiable, and at what cost in loss?

Setting: 784-30-10 tanh on the first 500 MNIST training images, minibatches of 125 in order, log parameter scale −2,
momentum 0.9, 50 steps, ten seeds; each recipe changes one thing (or two). The hyperparameter is the log of
the learning rate. For every recipe: the metasmoothness of Engstrom et al. (2025), the growth λ of
perturbations, the edge of chaos located with 16 trainings, and the actual over the predicted change of the
training loss over a step of 0.1. They change recipes of large models; this is their question on a net that
trains in a tenth of a second.

Part 1: 11 recipes at log learning rates 1 and 2.
Part 2: three of them over log learning rates −1 to 4.
With --full: 19 recipes, 40 trainings for each edge; five recipes over 41 learning rates.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.parts.smooth_recipes.recipe_figures import plot_curves, plot_table
from experiments.shared import runner, small_net
from experiments.shared.intervals import geometric_interval, t_interval
from hypergrad.runs.parallel import compute

LOOK_AT = (
    "Look at the last two columns together: a late edge counts only if the loss that is reached before it is low.\n"
    "And where metasmoothness has fallen while λ has not: there a step does not do what the derivative says."
)


class Recipe(NamedTuple):
    """What differs from the base of ``small_net``."""

    change: tuple[tuple[str, float], ...] = ()  # fields of SmallNet and their values
    activation: str = "tanh"
    layer_norm: bool = False
    warm_up: int = 0  # steps over which the learning rate grows linearly to its full value
    weight_decay: float = 0.0  # decoupled


RECIPES = {
    "base": Recipe(),
    "width 8": Recipe((("width", 8),)),
    "width 120": Recipe((("width", 120),)),
    "no hidden layer": Recipe((("hidden_layers", 0),)),
    "2 hidden layers": Recipe((("hidden_layers", 2),)),
    "3 hidden layers": Recipe((("hidden_layers", 3),)),
    "relu": Recipe(activation="relu"),
    "gelu": Recipe(activation="gelu"),
    "batches of 25": Recipe((("batch_size", 25),)),
    "all 500 images": Recipe((("batch_size", 500),)),
    "warm-up 10 steps": Recipe(warm_up=10),
    "warm-up 50 steps": Recipe(warm_up=50),
    "weight decay 0.003": Recipe(weight_decay=0.003),
    "weight decay 0.03": Recipe(weight_decay=0.03),
    "momentum 0": Recipe((("momentum", 0.0),)),
    "momentum 0.97": Recipe((("momentum", 0.97),)),
    "layer norm": Recipe(layer_norm=True),
    "3 hidden, layer norm": Recipe((("hidden_layers", 3),), layer_norm=True),
    "all images, warm-up": Recipe((("batch_size", 500),), warm_up=10),
}


@dataclass(frozen=True, kw_only=True)
class Config(small_net.Config):
    """Recipes and log learning rates.

    Attributes:
      step: in the log learning rate: h of the metasmoothness, and that over which the change of the loss is predicted.
      curves: whether the figure has the learning rates as its axis.
    """

    recipes: tuple[str, ...] = tuple(RECIPES)
    log_lrs: tuple[float, ...] = (0.0, 1.0, 2.0)
    step: float = 0.1
    curves: bool = False
    high: float = 5.0
    budget: int = 16
    quick_every: int = 10


CHOSEN = ("base", "width 8", "no hidden layer", "3 hidden layers", "relu", "batches of 25", "all 500 images")
CHOSEN += ("warm-up 10 steps", "weight decay 0.03", "momentum 0", "layer norm")
CURVES = ("base", "3 hidden layers", "layer norm")
PARTS = {
    1: Config(recipes=CHOSEN, log_lrs=(1.0, 2.0), seeds=10),
    2: Config(recipes=CURVES, log_lrs=tuple(np.linspace(-1.0, 4.0, 11).tolist()), curves=True, seeds=10),
}
FULL = {
    1: Config(seeds=10, budget=40),
    2: Config(
        recipes=(*CURVES, "all 500 images", "momentum 0"),
        log_lrs=tuple(np.linspace(-1.0, 4.0, 41).tolist()),
        curves=True,
        seeds=10,
        budget=40,
    ),
}


class Results(NamedTuple):
    """For s seeds, r recipes and l learning rates; NaN where training diverged."""

    loss: np.ndarray  # (s, r, l), training loss on all images, nats
    gradient: np.ndarray  # (s, r, l), its derivative, nats per unit of log learning rate
    change: np.ndarray  # (s, r, l), of the loss over the step, nats
    smoothness: np.ndarray  # (s, r, l), Ŝ
    curvature: np.ndarray  # (s, r, l), of the loss over twice the step
    growth: np.ndarray  # (s, r, l), λ per step over the second half of the run
    edge: np.ndarray  # (s, r), log learning rate; NaN if there is none up to the highest
    best: np.ndarray  # (s, r), lowest loss at the learning rates tried below the edge, nats

    def ratio(self, config: Config) -> np.ndarray:
        """The actual change over the step, over the one that the derivative predicts."""
        return self.change / (self.gradient * config.step)

    def held(self, config: Config) -> np.ndarray:
        """Where that ratio is within a factor of two of 1."""
        return (self.ratio(config) > 0.5) & (self.ratio(config) < 2.0)

    def edges(self, config: Config) -> np.ndarray:
        """Those that were not found counted as the highest learning rate."""
        return np.where(np.isnan(self.edge), config.high, self.edge)


SEED_AXIS = dict.fromkeys(Results._fields, 0)


class NormalisedMLP(hg.nn.MLP):
    """A multilayer perceptron with layer normalisation before each activation."""

    def logits(self, params, X):
        a = X
        for W, b in params[:-1]:
            a = anp.tanh(hg.nn.layer_norm(anp.dot(a, W) + b))
        W, b = params[-1]
        return anp.dot(a, W) + b


def training(config: Config, name: str, seed: int):
    """The minibatch loss, the initial parameters, the optimizer of a log learning rate, and the loss on all images."""
    recipe = RECIPES[name]
    net = small_net.run_of(config, **dict(recipe.change))
    ((X, T),) = hg.data.load_mnist(net.images)
    sizes = (784, *[net.width] * net.hidden_layers, 10)
    model = NormalisedMLP(sizes) if recipe.layer_norm else hg.nn.MLP(sizes, recipe.activation)
    params = hg.init.scaled_normal(model.shapes, np.exp(net.log_scale), seed)
    ramp = np.minimum(1.0, np.arange(1, net.steps + 1) / max(1, recipe.warm_up))

    def optimizer(log_lr):
        lr = anp.exp(log_lr) * ramp if recipe.warm_up else anp.exp(log_lr)
        return hg.SGD(lr, net.momentum, weight_decay=recipe.weight_decay)

    batch_loss = hg.nn.MinibatchLoss(model, X, T, net.batch_size)
    return batch_loss, params, optimizer, lambda trained: model.loss(trained, X, T), net.steps


def point(config: Config, seed: int, number: float) -> dict:
    """All that is asked of one recipe."""
    name = config.recipes[int(number)]
    batch_loss, params, optimizer, outer, steps = training(config, name, seed)
    train = lambda log_lr: hg.train(batch_loss, params, optimizer(log_lr), steps=steps)
    final = lambda log_lr: outer(train(log_lr))
    log_lrs = np.array(config.log_lrs[:: config.every])
    sweep = hg.probe.sweep(final, log_lrs, progress=False)
    rows = [measured(config, train, outer, batch_loss, params, optimizer, steps, x) for x in log_lrs]
    found = hg.probe.locate_edge(final, config.low, config.high, budget=config.budget)
    below = found.loss[found.values < (np.inf if np.isnan(found.location) else found.location)]
    best = np.nanmin(below, initial=np.inf)
    arrays = sweep.loss, sweep.gradient, *np.transpose(rows), found.location, best
    return dict(zip(Results._fields, map(np.asarray, arrays)))


def measured(config: Config, train, outer, batch_loss, params, optimizer, steps: int, log_lr: float) -> tuple:
    """The change of the loss over the step, Ŝ, the curvature, and λ of the second half of the run."""
    try:
        smooth = hg.probe.metasmoothness(train, float(log_lr), 1.0, config.step, outer=outer)
        growth = hg.chaos.lyapunov(batch_loss, params, optimizer(log_lr), steps=steps).growth[steps // 2 :].mean()
    except hg.DivergedError:
        return (np.nan,) * 4
    return smooth.losses[1] - smooth.losses[0], smooth.value, smooth.curvature, growth


def run(config: Config, jobs: int, cache) -> Results:
    numbers = range(len(config.recipes))[:: config.every]
    seeds = [
        compute(partial(point, config, seed), numbers, n_jobs=jobs, cache=cache / f"seed{seed}")
        for seed in config.numbered
    ]
    return Results(*(np.array([[one[name] for one in points] for points in seeds]) for name in Results._fields))


def columns(results: Results, config: Config) -> dict[str, np.ndarray]:
    """What the table shows, (r, 1) or (r, 3): medians over seeds, and of edge and loss means with 95 % intervals."""
    log_lrs = config.log_lrs[:: config.every]
    shown = {"Ŝ": results.smoothness, "λ": results.growth, "actual/predicted": results.ratio(config)}
    found = {
        f"{head} at {x:g}": np.median(array[..., i], axis=0)[:, None]
        for head, array in shown.items()
        for i, x in enumerate(log_lrs)
    }
    return found | {"edge": means(results.edges(config)), "lowest loss below it": means(results.best, geometric=True)}


def means(values: np.ndarray, geometric: bool = False) -> np.ndarray:
    """Means of values (s, r) over seeds and the ends of their intervals, (r, 3); of one seed its values, (r, 1)."""
    interval = geometric_interval if geometric else t_interval
    return np.array([interval(one) for one in values.T]) if len(values) > 1 else values.T


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: the table, differences in pairs from the first recipe, and where steps do as predicted."""
    names, log_lrs = config.recipes[:: config.every], config.log_lrs[:: config.every]
    table, edges = columns(results, config), results.edges(config)
    found: dict = {f"{head}, {name}": column[i] for head, column in table.items() for i, name in enumerate(names)}
    for i, name in enumerate(names):
        found[f"range of edges, {name}"] = edges[:, i].min(), edges[:, i].max()
        if i > 0:
            found[f"edge less that of the {names[0]}, {name}"] = t_interval(edges[:, i] - edges[:, 0])
            losses = {"loss": results.best} | {f"loss at {x:g}": results.loss[..., k] for k, x in enumerate(log_lrs)}
            for words, loss in losses.items():
                found[f"{words} over that of the {names[0]}, {name}"] = geometric_interval(loss[:, i] / loss[:, 0])
    *_, second, latest = np.argsort(edges.mean(axis=0))
    found["latest edge less the next"] = t_interval(edges[:, latest] - edges[:, second])
    return found | as_predicted(results, config) | (along_rates(results, config) if config.curves else {})


def as_predicted(results: Results, config: Config) -> dict:
    """At how many points, of how many, the change over a step is within a factor of two of that by the derivative."""
    held = results.held(config)
    high, low, calm = results.smoothness >= 0.9, results.smoothness < 0.6, results.growth < 0.01
    where = {"Ŝ from 0.9": high, "Ŝ from 0.6 to 0.9": ~high & ~low, "Ŝ below 0.6": low, "λ below 0.01": calm}
    found: dict = {f"as predicted, {words}": ((held & at).sum(), at.sum()) for words, at in where.items()}
    shares = [100.0 * one[at].mean() for one, at in zip(held, calm)]
    return found | {"share as predicted, λ below 0.01": t_interval(shares)}


def along_rates(results: Results, config: Config) -> dict:
    """How far below the edge the first learning rate lies with an Ŝ below 0.9, with a step not as predicted, and with
    a λ above 0.02, where every seed has one; and how Ŝ rises again at the end.
    """
    names, log_lrs = config.recipes[:: config.every], np.array(config.log_lrs[:: config.every])
    events = {"Ŝ": results.smoothness < 0.9, "step": ~results.held(config), "λ": results.growth > 0.02}
    found = {}
    for i, name in enumerate(names):
        for words, happened in events.items():
            inside = happened[:, i].any(axis=1)
            found[f"seeds, {words}, {name}"] = inside.sum()
            if inside.all():
                first = log_lrs[happened[:, i].argmax(axis=1)]
                found[f"below the edge, {words}, {name}"] = t_interval(results.edges(config)[:, i] - first)
        rise = results.smoothness[:, i, -1] - results.smoothness[:, i, -3]
        found[f"Ŝ at {log_lrs[-1]:g} less that at {log_lrs[-3]:g}, {name}"] = t_interval(rise)
    return found


def as_markdown(results: Results, config: Config) -> str:
    """The table of the log, its numbers named."""
    table = columns(results, config)
    rows = [f"| recipe | {' | '.join(table)} |", f"|---|{'---|' * len(table)}"]
    for i, name in enumerate(config.recipes[:: config.every]):
        cells = [f"{in_words(head, column[i])}<!-- 1: {head}, {name} -->" for head, column in table.items()]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def in_words(head: str, values: np.ndarray) -> str:
    """A cell of the table, with its interval if it has one: of λ three decimals, of the loss two digits, else two."""
    first, *ends = (rounded(head, value) for value in values)
    return f"{first} [{', '.join(ends)}]" if ends else first


def rounded(head: str, value: float) -> str:
    """A number of the table."""
    if np.isnan(value):
        return "–"
    if head.startswith("lowest") or np.abs(value) >= 100.0:
        return f"{value:#.2g}".replace("-", "−")
    digits = 3 if head.startswith("λ") else 2
    return f"{np.round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # + 0 makes 0 of −0


def plot(results: Results, config: Config):
    """A table of colours, or curves over the learning rate."""
    names = config.recipes[:: config.every]
    if config.curves:
        return plot_curves(results, config, results.ratio(config), names)
    return plot_table(columns(results, config), config, names, in_words)


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
