"""A small network on a few MNIST images, with everything that may move its edge of chaos as a setting."""

from __future__ import annotations

from dataclasses import dataclass, fields

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.shared.runner import PartConfig, seeds_in_words
from experiments.shared.setting import network


@dataclass(frozen=True, kw_only=True)
class SmallNet:
    """A training run, up to its learning rate and seed.

    Attributes:
      hidden_layers, width: of the network, 784-width-…-10.
      log_scale: natural logarithm of the standard deviation of all initial weights and biases.
    """

    hidden_layers: int = 1
    width: int = 30
    log_scale: float = -2.0
    momentum: float = 0.9
    images: int = 500
    batch_size: int = 125
    steps: int = 50


@dataclass(frozen=True, kw_only=True)
class Config(SmallNet, PartConfig):
    """Where edges are looked for.

    Attributes:
      low, high: natural logarithms of the learning rates.
      budget: trainings for each edge.
    """

    low: float = -3.0
    high: float = 6.0
    budget: int = 40

    def network(self) -> str:
        """The network and the data in words."""
        return f"784-{f'{self.width}-' * self.hidden_layers}10 tanh, {self.images:,} MNIST images"

    def title(self) -> str:
        """The setting in words, for figures."""
        return (
            f"{self.network()} in minibatches of {self.batch_size}, momentum {self.momentum},\n"
            f"log parameter scale {self.log_scale:g}, {self.steps} steps, {seeds_in_words(self.seeds)}"
        )


def run_of(config: Config, **changed) -> SmallNet:
    """The run of a config, with some of its settings changed."""
    return SmallNet(**{field.name: getattr(config, field.name) for field in fields(SmallNet)} | changed)


def problem(net: SmallNet, seed: int):
    """The model, its minibatch loss and the initial parameters."""
    sizes = (784, *[net.width] * net.hidden_layers, 10)
    model, batch_loss = network(net.images, net.batch_size, sizes)
    return model, batch_loss, hg.init.scaled_normal(model.shapes, anp.exp(net.log_scale), seed)


def final_loss(net: SmallNet, seed: int, log_lr):
    """The loss on all training images after training, in nats."""
    model, batch_loss, params = problem(net, seed)
    trained = hg.train(batch_loss, params, hg.SGD(anp.exp(log_lr), net.momentum), steps=net.steps)
    return model.loss(trained, batch_loss.X, batch_loss.T)


def find_edge(net: SmallNet, seed: int, config: Config) -> hg.probe.Edge:
    """The edge over the log of the learning rate."""
    return hg.probe.locate_edge(lambda x: final_loss(net, seed, x), config.low, config.high, budget=config.budget)


def sharpness_along(net: SmallNet, seed: int, log_lr: float, counts) -> np.ndarray:
    """After each of these step counts: the loss on all images, and the sharpness on all and on the next minibatch."""
    model, batch_loss, params = problem(net, seed)
    full_loss = hg.nn.MinibatchLoss(model, batch_loss.X, batch_loss.T)
    saved = hg.train(batch_loss, params, hg.SGD(np.exp(log_lr), net.momentum), steps=counts[-1], save_at=counts)
    rows = []
    for count, w in zip(counts, saved):
        sharpness = hg.chaos.sharpness(full_loss, w), hg.chaos.sharpness(batch_loss, w, step=int(count))
        rows.append([model.loss(w, batch_loss.X, batch_loss.T), *sharpness])
    return np.array(rows)


def log_max_lr(sharpness, momentum) -> np.ndarray:
    """Natural logarithm of :func:`hypergrad.chaos.max_lr`, for arrays."""
    return np.log(np.vectorize(hg.chaos.max_lr)(sharpness, momentum))
