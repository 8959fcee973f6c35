"""The reference: training written as a plain loop, differentiated by autograd through every step."""

import autograd.numpy as anp
from autograd import grad
from autograd.builtins import tuple as autograd_tuple

from hypergrad.nests import broadcast_prefix, flatten, unflatten


def train(loss, params, update, schedules, hyper, steps, save_at):
    """Parameters after each of the step counts; nothing here is a primitive of the package.

    ``update(w, s, g, t, *hyperparameters)`` returns (w, s) for one array, with s = None at first; one that is
    :func:`whole` takes lists of all of them. ``schedules`` holds a scalar, an array or a nest for each hyperparameter.
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
        rows = [[at(column[i], step) for column in columns] for i in range(len(leaves))]
        leaves, states = (update if hasattr(update, "whole") else array_by_array(update))(
            leaves, states, gradients, step, rows
        )


def array_by_array(update):
    def of_all(ws, states, gs, t, rows):
        pairs = [update(w, s, g, t, *row) for w, s, g, row in zip(ws, states, gs, rows)]
        return [w for w, _ in pairs], [s for _, s in pairs]

    return of_all


def whole(update):
    update.whole = True
    return update


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


def decaying(update, at):
    """The update of weights that decay, by a last hyperparameter; the learning rate is the first."""

    def decayed(w, s, g, t, *h):
        after, s = update(w, s, g, t, *h[:at])
        return after - h[0] * h[at] * w, s

    return decayed


def clipped(update):
    """By the global norm; the last hyperparameter is the limit."""
    inside = update if hasattr(update, "whole") else array_by_array(update)

    @whole
    def of_all(ws, states, gs, t, rows):
        norm = anp.sqrt(sum(anp.sum(g**2) for g in gs))
        limit = rows[0][-1]
        gs = [g * limit / norm for g in gs] if norm > limit else gs
        return inside(ws, states, gs, t, [row[:-1] for row in rows])

    return of_all


def accumulated(update, every):
    inside = update if hasattr(update, "whole") else array_by_array(update)

    @whole
    def of_all(ws, states, gs, t, rows):
        states = [(None, 0.0) if state is None else state for state in states]
        means = [mean + g / every for (_, mean), g in zip(states, gs)]
        if (t + 1) % every:
            return ws, [(s, mean) for (s, _), mean in zip(states, means)]
        ws, inner = inside(ws, [s for s, _ in states], means, t // every, rows)
        return ws, [(s, 0.0) for s in inner]

    return of_all


@whole
def normalised(ws, states, gs, t, rows):
    """LARS without momentum, and a norm over all arrays beside."""
    total = anp.sqrt(sum(anp.sum(g**2) for g in gs))
    trust = [anp.sqrt(anp.sum(w**2) / (anp.sum(g**2) + 0.01)) for w, g in zip(ws, gs)]
    return [w - lr * r * g / (1.0 + total) for w, g, r, (lr,) in zip(ws, gs, trust, rows)], states
