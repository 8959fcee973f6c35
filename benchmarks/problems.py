"""The problem that the measurements share."""

from __future__ import annotations

import numpy as np

import hypergrad as hg


def mnist_network():
    """784-200-50-10 tanh on 1,000 MNIST images, minibatches of 250: (model, loss, params, X, T)."""
    ((X, T),) = hg.data.load_mnist(1_000)
    model = hg.nn.MLP([784, 200, 50, 10])
    loss = hg.nn.MinibatchLoss(model, X, T, batch_size=250)
    return model, loss, hg.init.scaled_normal(model.shapes, np.exp(-2.0), seed=0), X, T
