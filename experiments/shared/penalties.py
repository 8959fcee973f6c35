"""The loss of a network with a penalty for every weight."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np

import hypergrad as hg


def penalised(images: hg.nn.MinibatchLoss) -> hg.losses.WrittenLoss:
    """The loss of a minibatch + Σ e^λ w² over all weights but the biases, with its derivatives.

    ``images`` is the loss of a network; λ is a list of arrays, for each layer one of the shape of its weights, or the
    array alone for a network of one layer.
    """
    model = images.model

    def value(params, log_penalty, step):
        squares = sum(anp.sum(anp.exp(logs) * W**2) for (W, _), logs in zip(params, _by_layer(log_penalty)))
        return images(params, None, step) + squares

    def gradient(params, log_penalty, step):
        found, logs = model.gradient(params, *images.batch(step)), _by_layer(log_penalty)
        return [(of_W + 2.0 * np.exp(log) * W, of_b) for (of_W, of_b), (W, _), log in zip(found, params, logs)]

    def gradient_with_products(params, log_penalty, step):
        twice = [2.0 * np.exp(logs) for logs in _by_layer(log_penalty)]
        found, hvp = model.gradient_with_hvp(params, *images.batch(step))
        weights = [W for W, _ in params]

        def products(direction):
            along = [U for U, _ in direction]
            own = [(of_W + t * U, of_b) for (of_W, of_b), t, U in zip(hvp(direction), twice, along)]
            mixed = [t * W * U for t, W, U in zip(twice, weights, along)]
            return own, mixed if isinstance(log_penalty, list) else mixed[0]

        return [(of_W + t * W, of_b) for (of_W, of_b), t, W in zip(found, twice, weights)], products

    def gradient_with_hvp(params, log_penalty, step):
        found, products = gradient_with_products(params, log_penalty, step)
        return found, lambda direction: products(direction)[0]

    return hg.losses.WrittenLoss(
        value,
        gradient=gradient,
        gradient_with_hvp=gradient_with_hvp,
        gradient_with_products=gradient_with_products,
    )


def _by_layer(log_penalty) -> list:
    return log_penalty if isinstance(log_penalty, list) else [log_penalty]
