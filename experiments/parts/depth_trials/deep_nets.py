"""Deep narrow networks on small MNIST images, some of whose labels are wrong, so that no net gets all of them right."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

import hypergrad as hg
from experiments.shared.pieces import Losses
from experiments.shared.runner import PartConfig

TEST_IMAGES = 5_000
LEAVES = ("one", "all")  # what is left out to predict a trial: itself, or all of its depth
_FLIPS = 41  # the purpose of these random numbers, in seeds (seed, purpose)


@dataclass(frozen=True, kw_only=True)
class DeepNet:
    """A training run, up to its depth, weight decay and seed.

    Attributes:
      width: of the hidden layers.
      gain: the standard deviation of initial weights, in units of 1/√fan-in; biases are 0.
      wrong: the share of labels that are drawn anew, from all ten.
      window: over how many last steps the loss is averaged.
    """

    width: int = 30
    gain: float = 1.4
    lr: float = 0.3
    momentum: float = 0.9
    images: int = 5_000
    wrong: float = 0.15
    batch_size: int = 100
    steps: int = 300
    window: int = 100


@dataclass(frozen=True, kw_only=True)
class Config(DeepNet, PartConfig):
    """Which trials there are: depths (layers with weights), each with several seeds."""

    depths: tuple[int, ...] = (2, 3, 5, 7, 9)

    def title(self) -> str:
        """The setting in words, for figures."""
        return (
            f"196-{self.width}-…-10 tanh, {self.images:,} MNIST images of 14 × 14, {100 * self.wrong:g} % of labels "
            f"drawn anew, minibatches of {self.batch_size},\nlearning rate {self.lr:g}, momentum {self.momentum:g}, "
            f"{self.steps} steps, initial weights {self.gain:g}/√fan-in"
        )


def net_of(config: Config) -> DeepNet:
    """The training of a config; a quick run takes ``every`` times fewer steps."""
    chosen = {field.name: getattr(config, field.name) for field in fields(DeepNet)}
    return DeepNet(**chosen | {"steps": config.steps // config.every, "window": config.window // config.every})


@lru_cache
def data(images: int, wrong: float) -> tuple:
    """Training images with some wrong labels, and test images with right ones, averaged over 2 × 2 pixels."""
    (X, T), (X_test, T_test) = hg.data.load_mnist(images, TEST_IMAGES)
    rng = np.random.default_rng((0, _FLIPS))
    rows, labels = rng.random(images) < wrong, rng.integers(0, 10, images)
    T = np.where(rows[:, None], np.eye(10)[labels], T)
    small = [images.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196) for images in (X, X_test)]
    return small[0], T, small[1], T_test


@lru_cache
def problem(net: DeepNet, depth: int):
    """The model and its minibatch loss."""
    X, T, *_ = data(net.images, net.wrong)
    model = hg.nn.MLP([196, *[net.width] * (depth - 1), 10])
    return model, hg.nn.MinibatchLoss(model, X, T, net.batch_size)


def initial(net: DeepNet, depth: int, seed: int, log_gains=None):
    """Initial weights; with log gains of the layers if they are given, differentiably in those."""
    import autograd.numpy as anp

    model, _ = problem(net, depth)
    gains = [net.gain] * depth if log_gains is None else [anp.exp(log_gains[i]) for i in range(depth)]
    scales = [(gain / np.sqrt(W[0]), 0.0) for gain, (W, _) in zip(gains, model.shapes)]
    return hg.init.scaled_normal(model.shapes, scales, seed)


def outcome(net: DeepNet, depth: int, seed: int, lr=None, weight_decay=0.0, log_gains=None) -> tuple[float, float]:
    """The mean loss of the last minibatches, in nats, and the test error; NaN if training diverges."""
    model, loss = problem(net, depth)
    seen = Losses()
    params, optimizer = initial(net, depth, seed, log_gains), hg.SGD(lr or net.lr, net.momentum, weight_decay)
    try:
        trained = hg.train(loss, params, optimizer, steps=net.steps, callback=seen)
    except hg.DivergedError:
        return np.nan, np.nan
    _, _, X_test, T_test = data(net.images, net.wrong)
    return float(np.mean(seen.losses[-net.window :])), model.error_rate(trained, X_test, T_test)


def irregular(depths, loss: np.ndarray, leave: str) -> np.ndarray:
    """(3, d, s): whether each trial is irregular, its score, and what was predicted; NaN for one that diverged."""
    table = np.full((3, *loss.shape), np.nan)
    there = np.isfinite(loss)
    depth = np.broadcast_to(np.array(depths, dtype=float)[:, None], loss.shape)
    try:
        found = hg.fit.irregular(depth[there], loss[there], leave=leave)
    except hg.errors.FitError:  # a single seed, or all of a depth diverged: nothing is known
        return np.where(there, [[[0.0]], [[np.nan]], [[np.nan]]], table)
    table[:, there] = found.flagged, found.score, found.predicted
    return table
