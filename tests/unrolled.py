"""The reference: training written as a plain loop, differentiated by autograd through every step."""

import autograd.numpy as np
from autograd import grad

from hypergrad.nests import broadcast_prefix, flatten, unflatten


def sgd(loss, params, lr, momentum, hyper, steps, save_at):
    """Parameters after each of the step counts; nothing here is a primitive of the package."""
    leaves, structure = flatten(params)
    gradient = grad(lambda ws, step: loss(unflatten(structure, list(ws)), hyper, step))
    schedules = [per_array(value, structure) for value in (lr, momentum)]
    velocities, saved = [np.zeros(np.shape(w)) for w in leaves], {}
    for step in range(steps + 1):
        saved[step] = unflatten(structure, leaves)
        if step == steps:
            return [saved[count] for count in save_at]
        gradients = gradient(tuple_box(leaves), step)
        lrs, momenta = ([at(value, step) for value in values] for values in schedules)
        velocities = [b * v - (1 - b) * g for b, v, g in zip(momenta, velocities, gradients)]
        leaves = [w + a * v for a, w, v in zip(lrs, leaves, velocities)]


def tuple_box(leaves):
    """A tuple that autograd sees into, also where the leaves are boxes."""
    from autograd.builtins import tuple as autograd_tuple

    return autograd_tuple(leaves)


def per_array(value, structure):
    leaves, cover, _ = broadcast_prefix(value, structure, name="schedule", target="params")
    return [leaves[i] for i in cover]


def at(value, step):
    return value if np.ndim(value) == 0 else value[step]
