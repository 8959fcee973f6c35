"""26 November 2026: how many hyperparameters can a validation set choose before it is overfitted?

Setting: 196-20-10 tanh, 500 MNIST images averaged to 14 × 14, minibatches of 100 in order, 50 steps of SGD. Nested
spaces of hyperparameters, in each a descent from the same start by Adam along the exact hypergradient of the loss on n
validation images: 1 (learning rate), 5 (rate, momentum, a scale of the initial weights for each layer, one penalty), 54
(the same with a rate for each step), 203 (rate and momentum for each step and layer, two scales, one penalty) and 4,322
(the same with a penalty e^λ w² for each weight). Training images, validation images and initial weights are those of
the seed and stay the same. The third split, 10,000 other images, is looked at and chooses nothing.

Part 1: n = 50, 200 and 1,000, 40 meta-iterations; and the same with half of the n images to descend on and the other
    half to choose the meta-iteration by; early stopping of the training; and, for 1 and 5 hyperparameters, plain search
    with as many trainings (a hypergradient counts as three).
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd.tracer import getval

import hypergrad as hg
from experiments.parts.nov26_generalisation import generalisation_plot, overfitting
from experiments.shared import descents, pooled, proposals, runner, search
from experiments.shared.intervals import t_interval
from experiments.shared.penalties import penalised
from experiments.shared.scores import loss_and_error
from hypergrad.runs.store import load, store

LOOK_AT = "Look at where the third split turns up while validation goes on falling, and how that depends on n."

SIDE, POOL, THIRD = 14, 10_000, 10_000  # images that seeds draw from, and those after them
MODEL = hg.nn.MLP([SIDE * SIDE, 20, 10])
WEIGHTS = [W for W, _ in MODEL.shapes]
LAYERS = len(WEIGHTS)
LOG_RATE, MOMENTUM, LOG_PENALTY = 0.0, 0.9, -7.0  # at the start, where scales are 1/√fan-in
CURVES = ("train", "valid", "third")
SEARCHED = (1, 5)  # hyperparameters for which there is plain search as well
_SEARCH = 29  # the purpose of these random numbers, in seeds (seed, purpose, …)


class Space(NamedTuple):
    """Shapes of the arrays of hyperparameters, which are broadcast; () for what stays as at the start."""

    rates: tuple[int, ...]  # to (steps, layers)
    momenta: tuple[int, ...] = ()  # likewise
    scales: tuple[int, ...] = ()  # to (layers,)
    penalties: tuple[int, ...] = ()  # to (weights,), those of all layers one after the other

    def numbers(self) -> int:
        return sum(int(np.prod(shape)) for shape in self if shape)


@dataclass(frozen=True)
class Config(runner.PartConfig):
    """A quick run has ``every`` times fewer meta-iterations and trials of the search.

    Attributes:
      iterations: evaluations of the hypergradient in a descent, the start among them.
      sizes: numbers n of validation images; the first n of one draw, so that larger sets contain the smaller.
      skipped: positions of spaces that are left out.
      rivals: whether there are descents on half of the n images, and plain search.
      meta_step: learning rate of Adam, on natural logs, and on the logit of the momentum.
    """

    iterations: int = 40
    sizes: tuple[int, ...] = (50, 200, 1_000)
    skipped: tuple[int, ...] = ()
    rivals: bool = True
    meta_step: float = 0.1
    images: int = 500
    batch_size: int = 100
    steps: int = 50

    def spaces(self) -> dict[int, Space]:
        """Those that are used, by the number of hyperparameters."""
        each, one, layers = (self.steps, LAYERS), (1, 1), (LAYERS,)
        weights = (sum(int(np.prod(shape)) for shape in WEIGHTS),)
        found = (
            Space(one),
            Space(one, one, layers, (1,)),
            Space((self.steps, 1), one, layers, (1,)),
            Space(each, each, layers, (1,)),
            Space(each, each, layers, weights),
        )
        return {space.numbers(): space for place, space in enumerate(found) if place not in self.skipped}

    def descended(self) -> tuple[int, ...]:
        """Numbers of validation images that there are descents on."""
        return tuple(sorted({*self.sizes, *(n // 2 for n in self.sizes if self.rivals)}))

    def evaluations(self) -> int:
        return max(2, self.iterations // self.every)


PARTS = {1: Config(seeds=10, quick_every=20)}
FULL = {1: replace(PARTS[1], seeds=20, iterations=150, images=1_000, steps=100)}


class Results(NamedTuple):
    """Arrays of p spaces, m sizes of ``descended``, s seeds, i evaluations, n ``sizes``, t trials; nats and shares."""

    train: np.ndarray  # (p, m, s, i), loss on all training images, without penalties
    valid: np.ndarray  # (p, m, s, i, m), on the first so many validation images: on [., a, ., ., a] it descended
    third: np.ndarray  # (p, m, s, i, 2), loss and error rate
    stopped: np.ndarray  # (p, n, s, 2, 3): step of lowest validation, loss and error there; at the start, at the best
    searched: np.ndarray  # (2, n, s, t, 3), in the order of the trials: validation loss, third loss and error


def training(config: Config, z) -> tuple:
    """Rates and momenta (steps, layers), scales (layers,) and log penalties (weights,) for hyperparameters z."""
    found, at = [], 0
    for shape in config.spaces()[len(z)]:
        size = int(np.prod(shape)) if shape else 0
        found.append(anp.reshape(z[at : at + size], shape) if shape else 0.0)
        at += size
    log_rates, logits, log_scales, log_penalties = found
    each, start = np.zeros((config.steps, LAYERS)), hg.schedules.unbounded(MOMENTUM, 0.0, 1.0)
    rates, momenta = anp.exp(LOG_RATE + log_rates + each), hg.schedules.bounded(start + logits + each, 0.0, 1.0)
    scales = anp.exp(log_scales + np.zeros(LAYERS))
    return rates, momenta, scales, LOG_PENALTY + log_penalties + np.zeros(sum(rows * n for rows, n in WEIGHTS))


def trained(config: Config, z, train, seed: int, **options):
    """The weights after training with hyperparameters z, from the initial weights of the seed."""
    rates, momenta, scales, log_penalties = training(config, z)
    ends = np.cumsum([rows * n for rows, n in WEIGHTS])
    by_layer = [anp.reshape(log_penalties[end - r * n : end], (r, n)) for end, (r, n) in zip(ends, WEIGHTS)]
    deviations = [(scales[layer] / np.sqrt(rows), 0.0) for layer, (rows, _) in enumerate(WEIGHTS)]
    params = hg.init.scaled_normal(MODEL.shapes, deviations, seed)
    optimizer = hg.SGD([rates[:, layer] for layer in range(LAYERS)], [momenta[:, layer] for layer in range(LAYERS)])
    loss = penalised(hg.nn.MinibatchLoss(MODEL, *train, config.batch_size))
    return hg.train(loss, params, optimizer, by_layer, steps=config.steps, adjoint=hg.Stored(), **options)


def split(config: Config, seed: int) -> list:
    """Images and labels to train on, to validate on, and the third split."""
    return pooled.draw(seed, config.images, config.sizes[-1], pool=POOL, test=THIRD, side=SIDE)


def losses_on_first(params, X, T, counts) -> np.ndarray:
    """The mean losses on the first so many images, for each of these counts."""
    of_each = -np.sum(T * hg.nn.log_softmax(MODEL.logits(params, X)), axis=1)
    return (np.cumsum(of_each) / np.arange(1, len(of_each) + 1))[np.array(counts) - 1]


def kept(file: Path, compute: Callable[[], dict]) -> dict:
    """Named arrays from a file, or computed and stored there."""
    found = load(file, dict, "piece")
    if found is None:
        found = compute()
        store(file, found)
    return found


def descend(config: Config, name: tuple[int, int], seed: int, cache) -> tuple:
    """One descent, by so many hyperparameters on the first so many validation images; what is looked at on its way."""
    (numbers, size), (train, valid, third), seen = name, split(config, seed), {}

    def validation_loss(z):
        params = trained(config, z, train, seed)
        plain = [tuple(getval(array) for array in layer) for layer in params]
        on_valid = losses_on_first(plain, *valid, config.descended())
        seen[getval(z).tobytes()] = MODEL.loss(plain, *train), on_valid, loss_and_error(MODEL, plain, *third)
        return MODEL.loss(params, valid[0][:size], valid[1][:size])

    def descent() -> dict:
        optimizer, steps = hg.Adam(config.meta_step), config.evaluations() - 1
        found = descents.history(validation_loss, np.zeros(numbers), steps=steps, optimizer=optimizer)
        rows = [seen[evaluation.hypers.tobytes()] for evaluation in found]
        best = min(found, key=lambda evaluation: evaluation.value).hypers
        return {**dict(zip(CURVES, descents.columns(rows, steps + 1))), "best": best}

    found = kept(cache / f"{numbers} {size} seed{seed}.npz", descent)
    stopped = [stop_early(config, z, size, seed) for z in (np.zeros(numbers), found["best"])]
    return (*(found[name].astype(np.float32) for name in CURVES), stopped)


def stop_early(config: Config, z, size: int, seed: int) -> tuple[float, float, float]:
    """The step with the lowest loss on so many validation images, and loss and error of the third split there."""
    if size not in config.sizes:
        return np.nan, np.nan, np.nan
    train, (X, T), third = split(config, seed)
    saved = trained(config, z, train, seed, save_at=range(1, config.steps + 1))
    best = int(np.argmin([MODEL.loss(params, X[:size], T[:size]) for params in saved]))
    return best + 1, *loss_and_error(MODEL, saved[best], *third)


def plain_search(config: Config, name: tuple[int, int], seed: int, cache) -> tuple:
    """Single rates spread evenly; or points at random, and from the middle of the search on around the best of them."""
    (numbers, size), (train, (X, T), third) = name, split(config, seed)
    trials, side = search.COST * config.evaluations(), np.full(numbers, search.BOX)
    rows = []

    def validation_loss(z, _):
        with np.errstate(all="ignore"):
            params = trained(config, z, train, seed, on_divergence="nan")
            loss, error = loss_and_error(MODEL, params, *third)
            rows.append((search.bounded(MODEL.loss(params, X[:size], T[:size])), search.bounded(loss), error))
        return rows[-1][0]

    rng = np.random.default_rng((seed, _SEARCH, numbers))
    spread = ([z] for z in islice(proposals.spread(-search.BOX, search.BOX), trials))
    where = proposals.each_of(spread) if numbers == 1 else proposals.around_best(rng, -side, side, trials)

    def searched() -> dict:
        search.tried(validation_loss, where)
        return {"rows": np.array(rows, dtype=np.float32)}

    return (kept(cache / f"search {numbers} {size} seed{seed}.npz", searched)["rows"],)


def run(config: Config, jobs: int, cache) -> Results:
    spaces, sizes = tuple(config.spaces()), config.descended()
    names = tuple((numbers, size) for numbers in spaces for size in sizes)
    arrays = descents.in_parallel(descend, config, names, jobs, cache)
    *curves, stopped = (array.reshape(len(spaces), -1, *array.shape[1:]) for array in arrays)
    searched = np.zeros((2, 0, config.seeds, 0, 3), dtype=np.float32)
    if config.rivals:
        names = tuple((numbers, n) for numbers in SEARCHED for n in config.sizes)
        (searched,) = descents.in_parallel(plain_search, config, names, jobs, cache)
        searched = searched.reshape(2, -1, *searched.shape[1:])
    whole = [sizes.index(n) for n in config.sizes]
    return Results(*curves, stopped[:, whole], searched)


plot = generalisation_plot.plot


def numbers(results: Results, config: Config) -> dict:
    """What the log quotes: means over seeds with t intervals, differences in pairs; nats, errors in per cent."""
    found = {
        "seeds": config.seeds,
        "trainings": search.COST * config.evaluations(),
        "meta-iterations": config.iterations,
    }
    ways = [way for way in overfitting.WAYS if config.rivals or way not in (overfitting.HALF, overfitting.AS_HALF)]
    for column, n in enumerate(config.sizes):
        train, valid, third, error = overfitting.of(results, config, n)
        reached = {way: overfitting.chosen(results, config, n, way) for way in ways}
        found[f"start, n = {n}"], found[f"error, start, n = {n}"] = third[0, :, 0].mean(), 100.0 * error[0, :, 0].mean()
        for place, count in enumerate(config.spaces()):
            of = f"{count}, n = {n}"
            for name, array in (("training", train), ("validation", valid)):
                found[f"{name}, {of}"] = array[place, ..., -1].mean()
            found[f"turn, {of}"], turned = overfitting.turn(third[place]), overfitting.rise(third[place])
            found[f"at the turn, {of}"] = third[place, :, found[f"turn, {of}"]].mean()
            found[f"validation at the turn, {of}"] = valid[place, :, found[f"turn, {of}"]].mean()
            found[f"rise, {of}"], found[f"rise only, {of}"] = t_interval(turned), turned.mean()
            for way, (losses, errors) in reached.items():
                found[f"{way}, {of}"], found[f"{way} only, {of}"] = t_interval(losses[place]), losses[place].mean()
                found[f"error, {way}, {of}"] = t_interval(100.0 * errors[place])
                found[f"error, {way} less one, {of}"] = t_interval(100.0 * (errors[place] - errors[0]))
                found[f"{way} less start, {of}"] = t_interval(losses[place] - third[place, :, 0])
                found[f"{way} less one, {of}"] = t_interval(losses[place] - losses[0])
                for smaller, rival in zip(list(config.spaces())[:place], reached["lowest validation"][0]):
                    found[f"{way} less lowest validation of {smaller}, {of}"] = t_interval(losses[place] - rival)
                found[f"{way} less lowest validation, {of}"] = t_interval(
                    losses[place] - reached["lowest validation"][0][place]
                )
            stopped = results.stopped[place, column]
            found[f"stopped less start, {of}"] = t_interval(stopped[:, 0, 1] - third[place, :, 0])
            found[f"stopped less all steps, {of}"] = t_interval(
                stopped[:, 1, 1] - reached["lowest validation"][0][place]
            )
            found[f"step, {of}"], found[f"step, start, n = {n}"] = stopped[:, 1, 0].mean(), stopped[:, 0, 0].mean()
            if config.rivals and count in SEARCHED:
                losses = overfitting.best_of_search(results, SEARCHED.index(count), column)[:, 0]
                found[f"search, {of}"] = t_interval(losses)
                for way in ways:
                    found[f"search less {way}, {of}"] = t_interval(losses - reached[way][0][place])
    for n in config.descended():
        for count, growth in zip(config.spaces(), overfitting.gap(results, config, n)):
            found[f"gap, {count}, n = {n}"], found[f"gap only, {count}, n = {n}"] = t_interval(growth), growth.mean()
            found[f"effective, {count}, n = {n}"] = n * growth.mean()
    if config.rivals:
        found["exponents"] = overfitting.exponents(results, config)
    return found


if __name__ == "__main__":
    sys.exit(runner.main(sys.modules[__name__]))
