"""How well a classifier does on data."""

from __future__ import annotations

import numpy as np

import hypergrad as hg


def loss_and_error(model, params, X, T) -> tuple[float, float]:
    """The mean cross-entropy in nats and the error rate, from one pass over the data."""
    logits = model.logits(params, X)
    missed = np.argmax(logits, axis=1) != np.argmax(T, axis=1)
    return float(hg.nn.softmax_cross_entropy(logits, T)), float(np.mean(missed))
