"""Small problems for the tests."""

import autograd.numpy as anp
import numpy as np

import hypergrad as hg
from hypergrad.nests import flatten


def classifier(sizes=(6, 5, 4, 3), activation="tanh", rows=20, batch_size=7, seed=0):
    """A small net with random data: (model, its minibatch loss, params, X, T)."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, sizes[0]))
    T = np.eye(sizes[-1])[rng.integers(0, sizes[-1], rows)]
    model = hg.nn.MLP(list(sizes), activation)
    params = hg.init.scaled_normal(model.shapes, 0.5, seed)
    return model, hg.nn.MinibatchLoss(model, X, T, batch_size), params, X, T


def written(loss):
    """A loss that is an object with its derivatives written out, as train takes them."""
    return hg.losses.WrittenLoss(loss.__call__, gradient=loss.gradient, gradient_with_hvp=loss.gradient_with_hvp)


def by_autograd(loss):
    """The same loss without its own gradient."""
    return lambda params, hyper, step: loss(params, hyper, step)


def penalised(loss):
    """A loss with a hyperparameter: an L2 penalty with one log weight for each array."""

    def penalised_loss(params, hyper, step):
        leaves, log_weights = flatten(params)[0], flatten(hyper)[0]
        return loss(params, None, step) + sum(anp.exp(h) * anp.sum(w**2) for h, w in zip(log_weights, leaves))

    return penalised_loss


def norm(nest):
    """Euclidean norm of all leaves."""
    return float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in flatten(nest)[0])))


def relative_error(actual, expected):
    """Norm of the difference of two nests, relative to that of the expected one."""
    actual, expected = flatten(actual), flatten(expected)
    assert actual[1] == expected[1], "the nests differ in structure"
    difference = [np.asarray(a) - np.asarray(b) for a, b in zip(actual[0], expected[0])]
    return norm(difference) / norm(expected[0])
