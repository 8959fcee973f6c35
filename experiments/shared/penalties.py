"""Logistic regression with a penalty for every weight."""

from __future__ import annotations

import autograd.numpy as anp
import numpy as np

import hypergrad as hg


def penalised(images: hg.nn.MinibatchLoss) -> hg.losses.WrittenLoss:
    """The loss of a minibatch + Σ e^λ w² for λ of the shape of the weights, with its derivatives.

    ``images`` is the loss of a network without hidden layers.
    """
    model = images.model

    def value(params, log_penalty, step):
        return images(params, None, step) + anp.sum(anp.exp(log_penalty) * params[0][0] ** 2)

    def gradient(params, log_penalty, step):
        ((of_W, of_b),) = model.gradient(params, *images.batch(step))
        return [(of_W + 2.0 * np.exp(log_penalty) * params[0][0], of_b)]

    def gradient_with_products(params, log_penalty, step):
        twice = 2.0 * np.exp(log_penalty)
        ((of_W, of_b),), hvp = model.gradient_with_hvp(params, *images.batch(step))

        def products(direction):
            ((along_W, along_b),) = hvp(direction)
            U = direction[0][0]
            return [(along_W + twice * U, along_b)], twice * params[0][0] * U

        return [(of_W + twice * params[0][0], of_b)], products

    def gradient_with_hvp(params, log_penalty, step):
        found, products = gradient_with_products(params, log_penalty, step)
        return found, lambda direction: products(direction)[0]

    return hg.losses.WrittenLoss(
        value,
        gradient=gradient,
        gradient_with_hvp=gradient_with_hvp,
        gradient_with_products=gradient_with_products,
    )
