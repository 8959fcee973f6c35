"""``python -m benchmarks.edge``: how well the edge is found, against dense sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import autograd.numpy as np
import numpy as onp

import hypergrad as hg

CACHE = Path(__file__).parent / ".cache" / "edge"


@dataclass(frozen=True)
class Setting:
    """A loss after training as a function of one number, ``varied``: "lr" or "scale", in logarithms."""

    low: float
    high: float
    sizes: tuple[int, ...]
    images: int = 500
    batch_size: int = 125
    steps: int = 50
    momentum: float = 0.9
    activation: str = "tanh"
    log_lr: float = 0.0
    log_scale: float = -2.0
    varied: str = "lr"

    def function(self, seed: int = 0):
        """The training loss on all images after training, of one number."""
        ((X, T),) = hg.data.load_mnist(self.images)
        model = hg.nn.MLP(self.sizes, self.activation)
        batch_loss = hg.nn.MinibatchLoss(model, X, T, self.batch_size)

        def f(x):
            log_lr, log_scale = (x, self.log_scale) if self.varied == "lr" else (self.log_lr, x)
            params = hg.init.scaled_normal(model.shapes, np.exp(log_scale), seed)
            optimizer = hg.SGD(np.exp(log_lr), self.momentum)
            return model.loss(hg.train(batch_loss, params, optimizer, steps=self.steps), X, T)

        return f


SETTINGS = {
    "jan14 part 2": Setting(0.5, 2.5, (784, 200, 50, 10), 1_000, 250),
    "one hidden layer": Setting(0.5, 3.0, (784, 50, 10)),
    "momentum 0.5": Setting(-0.5, 1.5, (784, 50, 50, 10), momentum=0.5),
    "200 images": Setting(0.5, 3.0, (784, 100, 50, 10), 200, 50),
    "parameter scale": Setting(-2.5, 0.5, (784, 50, 50, 10), varied="scale"),
    "relu": Setting(-0.5, 2.5, (784, 50, 10), activation="relu", log_scale=-3.0),
    "no edge": Setting(-3.0, 0.0, (784, 50, 10)),
    "chaotic throughout": Setting(2.8, 4.0, (784, 50, 10)),
}


def dense(name: str, jobs: int = 1) -> hg.probe.Sweep:
    """The dense sweep of a setting, 1,000 values; its points are cached."""
    setting = SETTINGS[name]
    values = onp.linspace(setting.low, setting.high, 1_000)
    return hg.probe.sweep(setting.function(), values, n_jobs=jobs, cache=CACHE / name.replace(" ", "_"))
