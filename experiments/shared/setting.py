"""The setting of January 2015, shared by its experiments: one network, trained on a few MNIST images.

784-200-50-10 tanh, the first training images in minibatches in order, normal initial weights and
biases of one scale, SGD with momentum in the form of 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from experiments.shared.runner import PartConfig, seeds_in_words


@dataclass(frozen=True, kw_only=True)
class Setting(PartConfig):
    """What every experiment on this network can choose.

    Attributes:
      log_lr, log_scale: natural logarithms of the learning rate and of the standard deviation of all
        initial weights and biases; None where that is what is varied.
    """

    log_lr: float | None = None
    log_scale: float | None = None
    momentum: float = 0.9
    images: int = 1_000
    batch_size: int = 250

    def title(self) -> str:
        """The setting in words, for figures."""
        chosen = [f"momentum {self.momentum}"]
        if self.log_lr is not None:
            chosen.append(f"learning rate {np.exp(self.log_lr):g}")
        if self.log_scale is not None:
            chosen.append(f"log parameter scale {self.log_scale:g}".replace("-", "−"))
        return (
            f"784-200-50-10 tanh, {self.images:,} MNIST images in minibatches of {self.batch_size},\n"
            f"{', '.join(chosen)}, {seeds_in_words(self.seeds)}"
        )


@lru_cache
def network(images: int, batch_size: int, sizes: tuple[int, ...] = (784, 200, 50, 10)):
    """The model and its minibatch loss, made once in every process."""
    ((X, T),) = hg.data.load_mnist(images)
    model = hg.nn.MLP(sizes)
    return model, hg.nn.MinibatchLoss(model, X, T, batch_size)


def initial_params(setting: Setting, log_scale, seed: int):
    """Normal weights and biases of this scale."""
    model, _ = network(setting.images, setting.batch_size)
    return hg.init.scaled_normal(model.shapes, anp.exp(log_scale), seed)


def training_losses(setting: Setting, params, log_lr, counts) -> list:
    """The loss on all training images after each of these step counts, in nats."""
    model, batch_loss = network(setting.images, setting.batch_size)
    optimizer = hg.SGD(anp.exp(log_lr), setting.momentum)
    saved = hg.train(batch_loss, params, optimizer, steps=counts[-1], save_at=counts)
    return [model.loss(trained, batch_loss.X, batch_loss.T) for trained in saved]
