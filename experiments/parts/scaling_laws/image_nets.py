"""Networks of several sizes on MNIST images averaged over a few pixels, trained with as many images as wanted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

import hypergrad as hg
from experiments.shared.runner import PartConfig

_BLOCK = 500  # images that are tested at a time, so that what is between the layers stays in the cache
COUNTS = (50_000, 10_000, 10_000)  # training, validation, test: the first 60,000 are MNIST's training images


@dataclass(frozen=True, kw_only=True)
class Config(PartConfig):
    """A training run, up to its size.

    Attributes:
      convolutional: :class:`hypergrad.nn.ConvNet` with relu, or else an MLP with tanh.
      pooled: images are averaged over so many pixels in both directions.
    """

    convolutional: bool
    lr: float
    batch_size: int
    momentum: float = 0.9
    pooled: int = 2

    def network(self) -> str:
        """The network and its data in words."""
        kind = "ConvNet, relu" if self.convolutional else f"{self.side() ** 2}-width-10 tanh"
        return f"{kind}, MNIST images of {self.side()} × {self.side()}"

    def training(self) -> str:
        """How it is trained, in words."""
        return f"minibatches of {self.batch_size}, learning rate {self.lr:g}, momentum {self.momentum:g}"

    def side(self) -> int:
        return 28 // self.pooled


@lru_cache(2)
def pieces(pooled: int) -> tuple:
    """Training, validation and test images (n, side²), float32, with integer classes."""
    found = []
    for X, T in hg.data.load_mnist(*COUNTS):
        small = X.reshape(-1, 28 // pooled, pooled, 28 // pooled, pooled).mean((2, 4))
        found.append((small.reshape(len(X), -1).astype(np.float32), np.argmax(T, axis=1)))
    return tuple(found)


def model_of(config: Config, width: int, depth: int = 1):
    """A ConvNet of ``depth`` blocks, the first ``width`` channels wide; or an MLP with ``depth`` hidden layers."""
    side = config.side()
    if config.convolutional:
        return hg.nn.ConvNet(width, depth, image=(side, side, 1))
    return hg.nn.MLP([side**2, *[width] * depth, 10])


def trained(config: Config, model, images: int, steps: int, seed: int, lr=None, **options):
    """The parameters after training on the first so many images, in order, from the start again after the last.

    Args:
      lr: a number or a schedule; that of the config if None.
      options: of :func:`hypergrad.train`.
    """
    X, T = pieces(config.pooled)[0]
    loss = hg.nn.MinibatchLoss(model, X[:images], T[:images], min(config.batch_size, images))
    optimizer = hg.SGD(config.lr if lr is None else lr, config.momentum)
    return hg.train(loss, model.init(seed, dtype=np.float32), optimizer, steps=steps, **options)


def outcome(config: Config, model, images: int, steps: int, seed: int, lr=None) -> tuple[float, float]:
    """Loss (nats) and error on the test images, ``every`` times fewer in a quick run; NaN if training diverges."""
    try:
        params = trained(config, model, images, steps, seed, lr)
    except hg.DivergedError:
        return np.nan, np.nan
    X, T = (array[: len(array) // config.every] for array in pieces(config.pooled)[2])
    blocks = [model.logits(params, X[rows : rows + _BLOCK]) for rows in range(0, len(X), _BLOCK)]
    logits = np.concatenate(blocks)
    return float(hg.nn.softmax_cross_entropy(logits, T)), float(np.mean(np.argmax(logits, axis=1) != T))
