"""28 May 2026: which scales of a character transformer's initial weights matter, and can they be learned?

Setting: `hg.nn.Transformer` on the text of `experiments/shared/text.py`, 256-way characters, width 32, one block,
two heads, context 32, silu, learned positions; minibatches of 8 pieces, none seen twice; 100 steps of Adam with
ε = 10⁻⁵, at the best constant rate of a grid, weight decay 0.1 on all parameters; float32. A scale is the standard
deviation of the initial weights over 1/√fan-in (1 for the two tables of rows that are looked up, embedding and
position). Scaled down from width 64, two blocks, context 64 and 2,500 steps (--full). What is minimised is the loss
on validation text.

Part 1: a hand-made grid, 0.1, 0.5, 2 and 5 times each scale and the weight decay, one at a time, and the recipes he,
    1/√in and glorot, each read off the shapes of all matrices, tables included; then all eight numbers at once by
    hypergradient, each meta-iteration at two new seeds, against an evolution strategy that spends as many
    trainings (a hypergradient counts as three), ten runs of each. All are compared on draws and text that nothing was
    chosen by, after as many steps and twice as many.
"""

import sys
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd import grad

import hypergrad as hg
from experiments.shared import character_runs, descents, pieces, runner, scale_plots, text
from experiments.shared.intervals import crossed_interval, geometric_interval, t_interval
from experiments.shared.search import by_evolution_from

LOOK_AT = "Look at the bars: which scales have a hypergradient that differs from 0, and which move in the descents."
SCALES = ("embedding", "position", "qkv", "value", "output", "mlp", "head")
HYPERS = (*SCALES, "weight decay")  # their logs over the defaults are z, (8,)
RECIPES = {"he": lambda i, o: 2.0 / i, "1/√in": lambda i, o: 1.0 / i, "glorot": lambda i, o: 2.0 / (i + o)}  # variances
MINIBATCHES, HELD_OUT = 1, 2  # purposes of random numbers
UNSEEN = 10**6  # the first seed that nothing was chosen by


@dataclass(frozen=True)
class Config(character_runs.Config):
    """A quick run trains, descends and searches ``every`` times shorter, and compares fewer draws.

    Attributes:
      usual_eps: another ε of Adam, to compare hypergradients at.
      log_rates: log10 of the learning rates of the grid.
      factors: of the hand-made grid.
      meta_step: of the descents, by Adam.
      probes: draws whose hypergradients at the start are compared.
    """

    width: int = 32
    depth: int = 1
    length: int = 32
    batch_size: int = 8
    weight_decay: float = 0.1
    usual_eps: float = 1e-8
    log_rates: tuple[float, ...] = (-3.0, -2.5, -2.0, -1.5)
    factors: tuple[float, ...] = (0.1, 0.5, 2.0, 5.0)
    meta_step: float = 0.25
    probes: int = 8
    pieces: int = 128  # of validation text, and of test text


PARTS = {1: Config(seeds=10, quick_every=20)}
FULL = {
    1: Config(
        seeds=10, width=64, depth=2, length=64, batch_size=16, steps=2_500, iterations=30, meta_step=0.1, unseen=20
    )
}


class Results(NamedTuple):
    """Arrays of s seeds, n meta-iterations, 8 hyperparameters z, u unseen draws; losses in nats a character."""

    by_rate: np.ndarray  # (q,), validation loss at each rate, with all factors 1
    grid: np.ndarray  # (8, f), with one factor changed
    slopes: np.ndarray  # (2, p, 8), hypergradients at the start, by draw, with ``eps`` and with ``usual_eps``
    value: np.ndarray  # (s, n), along the descents, each meta-iteration at draws of its own
    z: np.ndarray  # (s, n, 8), there
    trial: np.ndarray  # (s, t, 8), of the search
    trial_value: np.ndarray  # (s, t)
    fixed: np.ndarray  # (w, u, 2), test loss of what no seed chose, after T and 2T steps
    searched: np.ndarray  # (s, u, 2), of the best trial
    learned: np.ndarray  # (s, u, 2), of the end of the descent

    def compared(self) -> dict[str, np.ndarray]:
        """(r, u, 2) by way: of r runs that chose, or of one thing that no seed chose."""
        return dict(zip(FIXED, self.fixed[:, None])) | {"search": self.searched, "hypergradient": self.learned}

    def best_trials(self) -> np.ndarray:
        """(s, 8): what each search recommends."""
        return self.trial[np.arange(len(self.trial)), np.nanargmin(self.trial_value, axis=1)]

    def combined(self, config: Config) -> np.ndarray:
        """(8,): the best of each line of the hand-made grid."""
        factors = np.array([1.0, *config.factors])
        losses = np.column_stack([np.full(len(HYPERS), np.nanmin(self.by_rate)), self.grid])
        return np.log(factors[np.nanargmin(losses, axis=1)])


SEED_AXIS = dict.fromkeys(Results._fields, 0) | dict.fromkeys(("by_rate", "grid", "slopes", "fixed"))
FIXED = ("all scales 1", *RECIPES, "grid, best of each")


@lru_cache
def problem(config: Config):
    """The model, and pieces of validation and of test text."""
    model = hg.nn.Transformer(
        width=config.width, depth=config.depth, heads=2, length=config.length, activation="silu", position="learned"
    )
    parts = (text.validation(), text.test())
    return model, *(text.windows(part, config.pieces, config.length, (0, HELD_OUT)) for part in parts)


@lru_cache(4)
def minibatches(config: Config, seed: int):
    """The training loss on pieces of the text; enough of them for twice the steps, so that none comes twice."""
    pieces = 2 * config.trained_steps * config.batch_size
    X, T = text.windows(text.training(), pieces, config.length, (seed, MINIBATCHES))
    return hg.nn.MinibatchLoss(problem(config)[0], X, T, config.batch_size)


def initial(config: Config, z, seed: int):
    """Weights of these scales; or, with the name of a recipe for z, of its standard deviations."""
    model = problem(config)[0]
    if not isinstance(z, str):
        return model.init(seed, {name: anp.exp(z[i]) for i, name in enumerate(SCALES)}, np.float32)

    def drawn(nest):  # what a block adds to the stream keeps its factor 1/√(2 · depth)
        by_default = {name: 1.0 if name in ("embedding", "position") else 1.0 / len(w) for name, w in nest.items()}
        factors = {
            name: (RECIPES[z](*w.shape) / by_default[name]) ** 0.5 for name, w in nest.items() if np.ndim(w) == 2
        }
        return {name: np.float32(factors[name]) * w if name in factors else w for name, w in nest.items()}

    params = model.init(seed, dtype=np.float32)
    return drawn(params) | {"blocks": [drawn(block) for block in params["blocks"]]}


def trained(config: Config, z, log_rate: float, seed: int, **options):
    """The parameters after training; z may be a recipe, which leaves the weight decay as it is."""
    decay = config.weight_decay * (1.0 if isinstance(z, str) else anp.exp(z[-1]))
    optimizer = hg.Adam(10.0**log_rate, eps=config.eps, weight_decay=decay)
    options = {"steps": config.trained_steps, "adjoint": hg.Stored(), **options}
    return hg.train(minibatches(config, seed), initial(config, z, seed), optimizer, **options)


def validation_loss(config: Config, z, log_rate: float, seed: int, **options):
    """In nats a character, after training."""
    model, validation, _ = problem(config)
    return model.loss(trained(config, z, log_rate, seed, **options), *validation)


def mean_loss(config: Config, z, log_rate: float, first: int = 0) -> float:
    """The mean over draws from this one on, without derivatives; NaN where one diverges."""
    losses = [validation_loss(config, z, log_rate, first + i, on_divergence="nan") for i in range(config.draws)]
    return float(np.mean(losses))


def unseen_losses(config: Config, z, log_rate: float) -> np.ndarray:
    """(u, 2): the loss on test text after the steps, and twice as many, from draws that nothing was chosen by."""
    model, _, test = problem(config)
    counts, rows = [config.trained_steps, 2 * config.trained_steps], []
    for seed in range(UNSEEN, UNSEEN + config.unseen_draws):
        saved = trained(config, z, log_rate, seed, steps=counts[1], save_at=counts, on_divergence="nan")
        rows.append([model.loss(params, *test) for params in saved])
    return np.array(rows, dtype=float)


def descend(config: Config, log_rate: float, seed: int, cache) -> tuple:
    """A meta-descent, and what its end, not its lowest value, which draws differ by, gives on unseen draws."""
    found = descents.history(
        lambda z, draw: validation_loss(config, z, log_rate, 1_000 * (seed + 1) + draw),
        np.zeros(len(HYPERS)),
        steps=config.evaluations - 1,
        optimizer=hg.Adam(config.meta_step),
        seeds=config.draws,
        cache=cache / f"descent seed{seed}",
    )
    arrays = descents.columns([(e.value, e.hypers) for e in found], config.evaluations)
    return *arrays, unseen_losses(config, found[-1].hypers, log_rate)


def search(config: Config, log_rate: float, seed: int) -> tuple:
    """An evolution strategy from all scales 1, at the same draws in all trials, and its best on unseen draws."""
    f = lambda z: mean_loss(config, z, log_rate, 1_000 * (seed + 1))
    tried = by_evolution_from(f, np.zeros(len(HYPERS)), config.trials, seed, length=0.3)
    return *tried, unseen_losses(config, tried.best, log_rate)


def slope(config: Config, log_rate: float, seed: int, eps: float) -> np.ndarray:
    """(8,): the hypergradient at the start, at one draw, with this ε."""
    config = replace(config, eps=eps)
    return grad(lambda z: validation_loss(config, z, log_rate, 10_000 + seed))(np.zeros(len(HYPERS)))


def run(config: Config, jobs: int, cache) -> Results:
    many, start = partial(pieces.each, jobs=jobs, cache=cache), np.zeros(len(HYPERS))
    by_rate = many(mean_loss, [(config, start, log_rate) for log_rate in config.log_rates])
    rate = config.log_rates[np.nanargmin(by_rate)]
    once = config.first_seed == 0  # what no seed chose, too
    steps = [np.log(factor) * row for row in np.eye(len(HYPERS)) for factor in config.factors]
    grid = np.reshape(many(mean_loss, [(config, z, rate) for z in steps if once]), (-1, len(config.factors)))
    probes, both = range(max(2, config.probes // config.every)), (config.eps, config.usual_eps)
    slopes = np.array(many(slope, [(config, rate, i, eps) for eps in both for i in probes if once]))
    learned = list(zip(*many(descend, [(config, rate, seed, cache) for seed in config.numbered])))
    searched = list(zip(*many(search, [(config, rate, seed) for seed in config.numbered])))
    value, z, learned, trial, trial_value, searched = (np.stack(pieces) for pieces in (*learned, *searched))
    found = Results(
        np.array(by_rate),
        grid,
        slopes.reshape(-1, len(probes), len(HYPERS)),
        value,
        z,
        trial,
        trial_value,
        np.empty((0, *learned.shape[1:])),
        searched,
        learned,
    )
    if not once:
        return found
    ways = [start, *RECIPES, found.combined(config)]
    return found._replace(fixed=np.stack(many(unseen_losses, [(config, way, rate) for way in ways])))


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: losses in nats a character, means and 95 % intervals over the runs and the unseen draws.

    A difference is taken in pairs of one draw, and of runs of one seed. Factors found: geometric means over the runs.
    """
    found = {"log10 rate": config.log_rates[np.nanargmin(results.by_rate)], "trainings": config.draws * config.trials}
    found["trainings of the grid"] = config.draws * (1 + results.grid.size)
    found["start, by rate"] = results.by_rate
    compared = results.compared()
    for name, losses in compared.items():
        for word, column in (("", 0), (", twice the steps", 1)):
            found[name + word] = crossed_interval(losses[..., column])
            for other in ("all scales 1", "search", "grid, best of each"):
                if other != name:
                    found[f"{name} less {other}{word}"] = crossed_interval((losses - compared[other])[..., column])
    for i, name in enumerate(HYPERS):
        found[f"slope, {name}"] = t_interval(results.slopes[0, :, i])
        found[f"slope with the usual ε, {name}"] = t_interval(results.slopes[1, :, i])
        for factor, loss in zip(config.factors, results.grid[i]):
            found[f"grid, {name} {factor:g}"] = loss
        found[f"slope of the grid, {name}"] = (results.grid[i, 2] - results.grid[i, 1]) / np.log(4.0)  # from 0.5 to 2
        found[f"range, {name}"] = np.ptp([*results.grid[i], np.nanmin(results.by_rate)])
        found[f"combined, {name}"] = np.exp(results.combined(config)[i])
        for word, ends in (("learned", results.z[:, -1, i]), ("searched", results.best_trials()[:, i])):
            found[f"{word}, {name}"] = geometric_interval(np.exp(ends))
            found[f"{word} below 1, {name}"], found[f"{word} above 1, {name}"] = np.sum(ends < 0.0), np.sum(ends > 0.0)
    for name in ("search", "hypergradient"):
        by_run = compared[name][..., 0].mean(axis=1)
        found[f"worst run, {name}"] = by_run.max()
        found[f"runs below all scales 1, {name}"] = np.sum(by_run < compared["all scales 1"][..., 0].mean())
    found["worst run, hypergradient, position"] = np.exp(results.z[by_run.argmax(), -1, HYPERS.index("position")])
    for word, slopes in zip(("", " with the usual ε"), results.slopes):
        found[f"largest slope{word}"] = np.abs(slopes).max()
    for name in compared:
        found[f"{name}, mean"] = found[name].mean
    return found


plot = scale_plots.plot_scales

if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
