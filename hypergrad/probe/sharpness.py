"""The largest curvature of a loss, and the learning rate that it allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..bridge import isbox
from ..checks import check_integer
from ..errors import ArgumentError, DifferentiationError, LossError, ScheduleError
from ..losses import loss_of
from ..losses.base import Inputs
from ..nests import check_leaves, check_params, flatten, leaf_places
from ..workspace import Arena, Layout

_SHARPNESS = 2  # the purpose of these random numbers, in seeds (seed, purpose)


def sharpness(loss: Callable, params: Any, hyper: Any = None, step: int = 0) -> float:
    """The largest eigenvalue of the Hessian of ``loss(params, hyper, step)`` in ``params``.

    Args:
      loss, params, hyper: as for :func:`hypergrad.train`.
      step: picks the minibatch; for all data give a loss over all of them.

    Returns:
      λ_max, negative where the loss curves down everywhere.

    Raises:
      NestError, LossError: bad input; a Hessian that is not finite.
      DifferentiationError: something that is being differentiated.

    Cost: some tens of Hessian-vector products, 4 matrix products a layer each, by Lanczos iteration
    (scipy's ``eigsh``). Memory: 20 vectors.

    >>> import autograd.numpy as np
    >>> float(round(sharpness(lambda w, hyper, step: w[0] ** 2 + 3.0 * w[1] ** 2, np.ones(2)), 6))
    6.0
    """
    leaves, structure = flatten(params)
    leaves = check_params(leaves, leaf_places(structure, "params"))
    hyper_leaves, hyper_structure = ([], None) if hyper is None else flatten(hyper)
    if any(isbox(x) for x in leaves + hyper_leaves):
        raise DifferentiationError("sharpness cannot be differentiated: give it plain numbers")
    if hyper_structure is not None:
        hyper_leaves = check_leaves(hyper_leaves, leaf_places(hyper_structure, "hyper"))
    arrays, step = [np.asarray(w) for w in leaves], check_integer(step, "step", 0)
    run_loss = loss_of(loss, Inputs(structure, hyper_structure, [np.asarray(h) for h in hyper_leaves], False))
    layout = Layout(arrays)
    direction, result = layout.vector(), layout.vector()
    linear = run_loss.linearize(arrays, step, result.arrays, Arena())
    size = sum(layout.sizes)

    def product(vector):
        parts = np.split(np.ravel(vector), np.cumsum([w.size for w in arrays])[:-1])
        direction.write(part.reshape(w.shape) for part, w in zip(parts, arrays))
        linear.product(direction.arrays, result.arrays)
        return np.concatenate([np.ravel(a) for a in result.arrays])

    dtype = np.result_type(*arrays)
    start = np.random.default_rng([0, _SHARPNESS]).standard_normal(size).astype(dtype)
    with np.errstate(all="ignore"):
        first = product(start)
    if not np.isfinite(first).all():
        raise LossError(
            f"the Hessian of the loss is not finite at these params at step {step}, so it has no largest eigenvalue: a "
            "power or a norm at 0? move the params, or write the loss with a second derivative there"
        )
    if not first.any():  # a Hessian that takes a random direction to 0 is 0
        return 0.0
    if size == 1:  # too small for Lanczos
        return float(product(np.ones(1, dtype))[0])
    from scipy.sparse.linalg import LinearOperator, eigsh

    hessian = LinearOperator((size, size), matvec=product, dtype=dtype)
    return float(eigsh(hessian, k=1, which="LA", v0=start, return_eigenvectors=False)[0])


def max_lr(sharpness: float, momentum: float = 0.9) -> float:
    """The learning rate above which :class:`hypergrad.SGD` is unstable on a quadratic of that sharpness.

        α_max = 2 (1 + β) / ((1 − β) λ_max)

    in the form v ← βv − (1−β)g, w ← w + αv. Training settles near it or passes over it for a while
    without diverging, since a net is not a quadratic.

    Args:
      sharpness: λ_max, the largest eigenvalue of the Hessian.
      momentum: β in [0, 1).

    Returns:
      α_max; inf where λ_max ≤ 0.

    Raises:
      ScheduleError: a momentum outside [0, 1).
      ArgumentError: a sharpness that is NaN.

    Source: Polyak (1964) for the heavy ball, with the learning rate α(1−β); Cohen et al. (2021) for nets.

    >>> max_lr(4.0, momentum=0.0), round(max_lr(4.0, momentum=0.9), 6)
    (0.5, 9.5)
    """
    if not 0.0 <= momentum < 1.0:
        raise ScheduleError(f"momentum must lie in [0, 1), got {momentum!r}")
    if math.isnan(sharpness):
        raise ArgumentError("sharpness is nan")
    return 2.0 * (1.0 + momentum) / ((1.0 - momentum) * sharpness) if sharpness > 0.0 else math.inf
