"""The reference: training written as a plain loop, differentiated by autograd through every step."""

import autograd.numpy as anp
from autograd import grad
from autograd.builtins import tuple as autograd_tuple

from hypergrad.nests import broadcast_prefix, flatten, unflatten


def train(loss, params, update, schedules, hyper, steps, save_at):
    """Parameters after each of the step counts; nothing here is a primitive of the package.

    ``update(w, s, g, t, *hyperparameters)`` returns (w, s) for one array, with s = None at first;
    ``schedules`` holds a scalar, an array or a nest for each hyperparameter.
    """
    leaves, structure = flatten(params)
    gradient = grad(lambda ws, step: loss(unflatten(structure, list(ws)), hyper, step))
    columns = [per_array(schedule, structure) for schedule in schedules]
    states, saved = [None] * len(leaves), {}
    for step in range(steps + 1):
        saved[step] = unflatten(structure, leaves)
        if step == steps:
            return [saved[count] for count in save_at]
        gradients = gradient(autograd_tuple(leaves), step)
        pairs = [
            update(w, s, g, step, *(at(column[i], step) for column in columns))
            for i, (w, s, g) in enumerate(zip(leaves, states, gradients))
        ]
        leaves, states = [w for w, _ in pairs], [s for _, s in pairs]


def per_array(value, structure):
    leaves, cover, _ = broadcast_prefix(value, structure, name="schedule", target="params")
    return [leaves[i] for i in cover]


def at(value, step):
    return value if anp.ndim(value) == 0 else value[step]


def sgd(w, v, g, t, lr, momentum):
    v = (0.0 if v is None else momentum * v) - (1 - momentum) * g
    return w + lr * v, v


def rmsprop(w, s, g, t, lr, decay, eps):
    s = (0.0 if s is None else decay * s) + (1 - decay) * g**2
    return w - lr * g / (anp.sqrt(s) + eps), s


def adam(w, moments, g, t, lr, b1, b2, eps):
    m, s = (0.0, 0.0) if moments is None else moments
    m, s = b1 * m + (1 - b1) * g, b2 * s + (1 - b2) * g**2
    m_hat, s_hat = m / (1 - b1 ** (t + 1)), s / (1 - b2 ** (t + 1))
    return w - lr * m_hat / (anp.sqrt(s_hat) + eps), (m, s)


def nesterov(w, v, g, t, lr, momentum):
    v = (0.0 if v is None else momentum * v) - (1 - momentum) * g
    return w + lr * (momentum * v - (1 - momentum) * g), v
