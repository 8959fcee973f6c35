"""A tanh network on MNIST with a learning rate and a momentum for every step and array, and an initial scale for each.

An array is the weights or the biases of a layer. All hyperparameters together are one vector: the log learning rates
of every array and step, the logits of the momenta in the same order, and the log scales of the initial arrays.
A :class:`Space` makes this vector from fewer numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.shared import search, small_digits

START = np.array([-1.0, 0.0, -3.0])  # where the paper starts: log learning rate, logit of the momentum, log scale
IMAGES = {"training": 10_000, "validation": 5_000, "test": 10_000}
DESCENT, SEARCH, HELD_OUT, FIRST = range(4)  # what initial weights are drawn for


@dataclass(frozen=True)
class Net:
    """The network and its training: minibatches in order, in float32 if ``single``.

    Attributes:
      data: "mnist", or "digits" for those of scikit-learn.
    """

    sizes: tuple[int, ...] = (784, 50, 50, 50, 10)
    steps: int = 100
    batch_size: int = 200
    single: bool = True
    data: str = "mnist"

    @property
    def arrays(self) -> int:
        return 2 * (len(self.sizes) - 1)

    @property
    def numbers(self) -> int:
        """How many hyperparameters there are."""
        return self.arrays * (2 * self.steps + 1)

    @property
    def model(self) -> hg.nn.MLP:
        return hg.nn.MLP(list(self.sizes))

    def parts(self, hypers) -> tuple:
        """Log learning rates and logits of the momenta, both (arrays, steps), and log scales (arrays,)."""
        n = self.arrays * self.steps
        schedules = (hypers[i * n : (i + 1) * n].reshape((self.arrays, self.steps)) for i in range(2))
        return *schedules, hypers[2 * n :]

    def start(self) -> np.ndarray:
        """The hyperparameters from which the paper starts."""
        hypers = np.empty(self.numbers)
        for part, value in zip(self.parts(hypers), START):
            part[...] = value
        return hypers


@lru_cache
def images(single: bool, data: str = "mnist") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The images and digits of each of IMAGES, none of which is in another."""
    pairs = hg.data.load_mnist(*IMAGES.values()) if data == "mnist" else small_digits.pieces(1_000, 297, 500)
    dtype = np.float32 if single else np.float64
    return {name: (X.astype(dtype), T.astype(dtype)) for name, (X, T) in zip(IMAGES, pairs)}


def train(net: Net, hypers, seed: int, **options):
    """The trained parameters, from initial weights drawn with this seed."""

    log_lr, logit_momentum, log_scale = net.parts(hypers)
    momentum = hg.schedules.bounded(logit_momentum, 0.0, 1.0)
    optimizer = hg.SGD(_by_layer(anp.exp(log_lr)), _by_layer(momentum))
    return train_by(net, optimizer, _by_layer(anp.exp(log_scale)), seed, **options)


def train_by(net: Net, optimizer, scale, seed: int, **options):
    """The same with an optimizer of any kind, and a scale for all initial weights, or one for each array."""
    dtype = np.float32 if net.single else np.float64
    params = hg.init.scaled_normal(net.model.shapes, scale, seed, dtype)
    batch_loss = hg.nn.MinibatchLoss(net.model, *images(net.single, net.data)["training"], net.batch_size)
    return hg.train(batch_loss, params, optimizer, steps=net.steps, adjoint=hg.Stored(), **options)


def loss(net: Net, on: str, hypers, seed: int):
    """After training, the loss on all images of one of IMAGES, in nats; differentiable in the hyperparameters."""
    return net.model.loss(train(net, hypers, seed), *images(net.single, net.data)[on])


def plain_loss(net: Net, on: str, hypers, seed: int) -> float:
    """The same, not to be differentiated, and at most search.DIVERGED."""
    return loss_by(net, on, lambda: train(net, hypers, seed, on_divergence="nan"))


def rule_loss(net: Net, on: str, optimizer, scale: float, seed: int) -> float:
    """The same with an optimizer of any kind, and one scale for all initial weights."""
    return loss_by(net, on, lambda: train_by(net, optimizer, scale, seed, on_divergence="nan"))


def loss_by(net: Net, on: str, train: Callable) -> float:
    """The loss of what a training leads to, not to be differentiated, and at most search.DIVERGED."""
    with np.errstate(all="ignore"):
        trained = train()
        return search.bounded(net.model.loss(trained, *images(net.single, net.data)[on]))


def curve(net: Net, hypers, seed: int, counts) -> list[float]:
    """The loss on all training images after so many steps."""
    with np.errstate(all="ignore"):
        saved = train(net, hypers, seed, save_at=[int(count) for count in counts], on_divergence="nan")
        return [float(net.model.loss(params, *images(net.single, net.data)["training"])) for params in saved]


def seed_of(run: int, purpose: int, number: int = 0) -> int:
    """The seed of initial weights that are drawn for one purpose."""
    return int(np.random.default_rng((run, purpose, number)).integers(2**31))


class Space(NamedTuple):
    """Hyperparameters that depend on few numbers z: offset + z · basis, or offset + z if there is no basis.

    At z = 0 they are the start of the paper, unless the schedule has another shape; a unit of z is a unit of the log
    learning rate, of the logit of the momentum or of the log scale.
    """

    offset: np.ndarray
    basis: np.ndarray | None

    @property
    def numbers(self) -> int:
        return len(self.offset if self.basis is None else self.basis)

    def at(self, z):
        return self.offset + (z if self.basis is None else anp.dot(z, self.basis))


def space(net: Net, numbers: int) -> Space:
    """One number to all of them; each of these spaces is contained in the next.

    1: the log learning rate. 3: and a momentum and a scale. 5: a log learning rate at the beginning, the middle and the
    end, with straight lines between, a momentum and a scale. 5 a layer: these five for each layer. Else all.
    """
    constant = np.ones((1, net.steps))
    lines = np.maximum(0.0, 1.0 - np.abs(np.linspace(0.0, 2.0, net.steps) - np.arange(3.0)[:, None]))
    everything = range(net.arrays)
    if numbers == net.numbers:
        return Space(net.start(), None)
    if numbers == 5 * net.arrays // 2:
        layers = [_rows(net, [i, i + 1], lines) for i in range(0, net.arrays, 2)]
        return Space(net.start(), np.concatenate(layers))
    if numbers not in (1, 3, 5):
        raise ValueError(f"there is no space of {numbers} numbers")
    rows = _rows(net, everything, lines if numbers == 5 else constant)
    return Space(net.start(), rows[:numbers])


def shaped(net: Net, shape: np.ndarray) -> Space:
    """Log peak learning rate, logit of the momentum and log scale, for a schedule of this shape (steps,), peak 1."""
    constants, offset = space(net, 3), net.start()
    log_lr, _, _ = net.parts(offset)
    log_lr += np.log(shape)
    return constants._replace(offset=offset)


def _by_layer(rows) -> list:
    """Of rows for each array, a pair for each layer."""
    return [(rows[i], rows[i + 1]) for i in range(0, len(rows), 2)]


def _rows(net: Net, arrays, shapes) -> np.ndarray:
    """A row for each shape of the log learning rates of some arrays, one for their momenta, one for their scales."""
    arrays, rows = list(arrays), np.zeros((len(shapes) + 2, net.numbers))
    for row, shape in zip(rows, shapes):
        net.parts(row)[0][arrays] = shape
    net.parts(rows[-2])[1][arrays] = 1.0
    net.parts(rows[-1])[2][arrays] = 1.0
    return rows


def averaged(net: Net, hypers: np.ndarray) -> np.ndarray:
    """Each log learning rate and logit of a momentum replaced by the mean over the steps of its array."""
    found = hypers.copy()
    for rows in net.parts(found)[:2]:
        rows[:] = rows.mean(axis=1, keepdims=True)
    return found


def carried_over(hypers: np.ndarray, before: Net, after: Net) -> np.ndarray:
    """Hyperparameters of one net for another: schedules stretched, weights scaled by 1/√fan-in as before."""
    found = np.empty(after.numbers)
    *schedules, log_scale = before.parts(hypers)
    *stretched, scale = after.parts(found)
    middles = [(np.arange(net.steps) + 0.5) / net.steps for net in (before, after)]
    for rows, to in zip(schedules, stretched):
        to[:] = [np.interp(middles[1], middles[0], row) for row in rows]
    scale[:] = log_scale
    scale[::2] += 0.5 * np.log(np.array(before.sizes[:-1]) / np.array(after.sizes[:-1]))
    return found
