"""Check derivatives: of a function of hyperparameters three ways, and those that are written out for a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from autograd import value_and_grad

from .bridge import Probe, isbox, probed
from .checks import check_integer
from .errors import ArgumentError, DivergedError, HypergradientError, LossDerivativeError, ScheduleError
from .losses import loss_of
from .losses.autograd import AutogradLoss
from .losses.base import Inputs, Loss
from .nests import check_leaves, check_params, flatten, leaf_places, unflatten
from .workspace import Arena, Layout

__all__ = ["HypergradientError", "LeafCheck", "LossDerivativeError", "check_hypergradient", "check_loss"]

STEP_SIZES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_POINTS = 5  # the purpose of these random numbers, in seeds (seed, purpose)


def __dir__():
    return __all__


class LeafCheck(NamedTuple):
    """Derivatives along one random direction within one leaf.

    Attributes:
      place: the leaf.
      reverse: ⟨gradient, direction⟩ in reverse mode.
      forward: the same in forward mode.
      difference: the same by central differences, at the step size that agrees best.
      step_size: that step size.
      forward_error: |reverse − forward|, relative to the norm.
      difference_error: |reverse − difference|, relative to the norm.
    """

    place: str
    reverse: float
    forward: float
    difference: float
    step_size: float
    forward_error: float
    difference_error: float


def check_hypergradient(
    f: Callable, hypers: Any, *, rtol: float | None = None, rtol_differences: float | None = None, seed: int = 0
) -> list[LeafCheck]:
    """Check the derivative of ``f(hypers)`` three ways, along a random direction in every leaf.

    Errors are relative to the norm of the leaf's gradient, so a tiny hypergradient is checked as
    strictly as a large one. Differences are taken at several step sizes and the best one counts:
    too small a step drowns in rounding, too large a one in curvature, and at the edge of chaos no step
    size fits at all, which then shows here. What rounding does to the largest step is allowed for.
    The derivatives written out for losses that ``f`` trains on are checked by :func:`check_loss`.

    Args:
      f: returns a scalar.
      hypers: nest of float arrays.
      rtol: for reverse against forward mode; 1e-9 if None, 1e-4 where float32 is involved.
      rtol_differences: for reverse mode against differences; 1e-5 if None, 1e-2 where float32 is involved.
      seed: of the directions.

    Returns:
      One :class:`LeafCheck` for each leaf.

    Raises:
      HypergradientError: shows the worst leaf and both numbers.
      LossDerivativeError: a derivative that is written out for a loss is wrong.
      ArgumentError: ``f`` is not a scalar, or does not depend on ``hypers``.
      DifferentiationError: a function in ``f`` has no derivative in forward mode.

    Cost: a reverse pass, and for every leaf a forward-mode run and 10 runs of ``f``.

    >>> checks = check_hypergradient(lambda h: h["a"] ** 2 * h["b"], {"a": 3.0, "b": 2.0})
    >>> [check.place for check in checks]
    ["hypers['a']", "hypers['b']"]
    """
    leaves, structure = flatten(hypers)
    places = leaf_places(structure, "hypers")
    leaves = check_leaves(leaves, places)

    def checked(leaves):
        result = f(unflatten(structure, [leaves[i] for i in range(len(places))]))
        if np.shape(result) != ():
            raise ArgumentError(f"f returned something of shape {np.shape(result)}; it must return a scalar")
        if not isbox(result):
            raise ArgumentError("f(hypers) does not depend on hypers")
        return result

    probe = Probe()
    probed(checked, leaves, [np.zeros(np.shape(leaf)) for leaf in leaves], probe)
    _reraise(probe)
    for loss, params, hyper in _different(probe.losses):
        check_loss(loss, params, hyper, rtol=1e-3 if _is_single(params) else 1e-7)
    value, gradient = value_and_grad(checked)(leaves)
    single = any(np.asarray(x).dtype == np.float32 for x in (value, *leaves))
    rtol = rtol or (1e-4 if single else 1e-9)
    rtol_differences = rtol_differences or (1e-2 if single else 1e-5)
    rng = np.random.default_rng(seed)
    checks = []
    for index, (leaf, bar, place) in enumerate(zip(leaves, gradient, places)):
        if np.size(leaf) == 0:
            continue
        direction = np.asarray(rng.standard_normal(np.shape(leaf)))
        tangent = [np.zeros(np.shape(x)) for x in leaves]
        tangent[index] = direction
        forward = float(probed(checked, leaves, tangent, Probe())[1])

        def shifted(size, index=index, direction=direction):
            moved = list(leaves)
            moved[index] = moved[index] + size * direction
            try:
                return float(f(unflatten(structure, moved)))
            except (DivergedError, ScheduleError):  # the shift led outside of what can be trained
                return np.nan

        checks.append(_compare(place, leaf, np.asarray(bar), direction, forward, value, shifted))
    for error, tolerance, other in (
        ("forward_error", rtol, "forward"),
        ("difference_error", rtol_differences, "difference"),
    ):
        worst = max(checks, key=lambda check: np.nan_to_num(getattr(check, error), nan=np.inf))
        if not getattr(worst, error) <= tolerance:
            name = "forward mode" if other == "forward" else f"central differences (step {worst.step_size:.0e})"
            if np.isnan(worst.difference):
                raise HypergradientError(
                    f"worst leaf {worst.place}: no difference could be taken, because every shift diverges or leaves "
                    "the allowed range; give a smaller learning rate, or differentiate by its logarithm"
                )
            raise HypergradientError(
                f"worst leaf {worst.place}: reverse mode gives {worst.reverse!r} along a random direction, "
                f"{name} gives {getattr(worst, other)!r}: "
                f"relative error {getattr(worst, error):.1e}, allowed {tolerance:.0e}"
            )
    return checks


def _compare(place: str, leaf, bar, direction, forward: float, value, shifted: Callable) -> LeafCheck:
    reverse = float(np.vdot(bar, direction))
    norm = float(np.linalg.norm(bar))
    unit = max(1.0, float(np.sqrt(np.mean(np.square(leaf)))))
    # What rounding does to a difference over the largest step: more would let tiny gradients pass unseen.
    eps = max(np.finfo(np.asarray(x).dtype).eps for x in (leaf, value))
    rounding = 10 * eps * abs(float(value)) / (max(STEP_SIZES) * unit)

    def against(step_size):
        difference = (shifted(step_size * unit) - shifted(-step_size * unit)) / (2 * step_size * unit)
        error = _relative(abs(reverse - difference) - rounding, norm, difference)
        return (np.inf if np.isnan(error) else error), difference, step_size

    error, difference, step_size = min(against(step_size) for step_size in STEP_SIZES)
    forward_error = _relative(abs(reverse - forward), norm, forward)
    return LeafCheck(place, reverse, forward, difference, step_size, forward_error, error)


def _relative(error: float, norm: float, other: float) -> float:
    """The error relative to the norm of the gradient, or to the other number if that is larger."""
    return 0.0 if error <= 0.0 else error / max(norm, abs(other))


def _reraise(probe: Probe) -> None:
    """Raise what made a run in the function end early."""
    if probe.failures:
        raise probe.failures[0]


def _different(losses: list[tuple]) -> list[tuple]:
    """Each loss once."""
    return list({id(loss): (loss, params, hyper) for loss, params, hyper in losses}.values())


def _is_single(params) -> bool:
    return any(np.asarray(leaf).dtype == np.float32 for leaf in flatten(params)[0])


def check_loss(
    loss: Callable, params: Any, hyper: Any = None, *, steps: int = 3, seed: int = 0, rtol: float | None = None
) -> None:
    """Check the derivatives that are written out for a loss: gradient, product with the Hessian, mixed product.

    Against autograd of the loss itself and against central differences, at random points around ``params`` and for
    random directions. A loss without derivatives of its own has none to be checked.

    Args:
      loss: for example a :class:`hypergrad.losses.WrittenLoss` or a :class:`hypergrad.nn.MinibatchLoss`.
      params, hyper: as for :func:`hypergrad.train`.
      steps: the loss is checked at steps 0 … steps − 1, each at a point of its own.
      seed: of points and directions.
      rtol: relative to the norm; 1e-7 if None, 1e-3 in float32. Differences are allowed 1e-5, or 1e-2.

    Raises:
      LossDerivativeError: says which derivative, where and by how much.
      NestError, ArgumentError: bad input.

    Cost: for each step two gradients and products each way, and four of the loss.

    >>> import autograd.numpy as anp
    >>> from hypergrad.losses import WrittenLoss
    >>> bowl = WrittenLoss(
    ...     lambda w, hyper, step: anp.sum(w**2),
    ...     gradient=lambda w, hyper, step: 2 * w,
    ...     gradient_with_hvp=lambda w, hyper, step: (2 * w, lambda d: 2 * d),
    ... )
    >>> check_loss(bowl, np.ones(3))
    """
    leaves, structure = flatten(params)
    leaves = check_params(leaves, leaf_places(structure, "params"))
    hyper_leaves, hyper_structure = ([], None) if hyper is None else flatten(hyper)
    if hyper_structure is not None:
        hyper_leaves = check_leaves(hyper_leaves, leaf_places(hyper_structure, "hyper"))
    arrays, hypers = [np.asarray(w) for w in leaves], [np.asarray(h) for h in hyper_leaves]
    single = _is_single(params)
    rtol = rtol or (1e-3 if single else 1e-7)
    layout = Layout(arrays)
    for wants_hyper in (False, True) if hypers else (False,):
        inputs = Inputs(structure, hyper_structure, hypers, wants_hyper)
        written, plain = loss_of(loss, inputs), AutogradLoss(loss, inputs)
        if isinstance(written, AutogradLoss):
            continue
        for step in range(check_integer(steps, "steps", 1)):
            rng = np.random.default_rng([seed, _POINTS, step])
            point, direction = (
                layout.of(scale * _size(w) * rng.standard_normal(w.shape) + shift * w for w in arrays)
                for scale, shift in ((0.1, 1.0), (1.0, 0.0))
            )
            _check_point(written, plain, layout, point, direction, step, rtol, 1e-2 if single else 1e-5)


def _size(w: np.ndarray) -> float:
    return max(1e-3, float(np.sqrt(np.mean(np.square(w))))) if w.any() else 1.0


def _check_point(written: Loss, plain: AutogradLoss, layout: Layout, point, direction, step, rtol, rtol_difference):
    found = []
    for loss in (written, plain):
        gradient, product, again = layout.vector(), layout.vector(), layout.vector()
        linear = loss.linearize(point.arrays, step, gradient.arrays, Arena())
        mixed = linear.product(direction.arrays, product.arrays)
        loss.gradient(point.arrays, step, again.arrays, Arena())
        found.append((gradient, product, mixed, again))
    (gradient, product, mixed, again), (right_gradient, right_product, right_mixed, _) = found
    if not again.same_bits(gradient):
        raise LossDerivativeError(
            f"gradient and gradient_with_hvp of the loss give different gradients at step {step}; they must be the "
            "same to the last bit, so compute it in the same order in both"
        )
    _compare_nests("gradient", "autograd of the loss", gradient.arrays, right_gradient.arrays, step, rtol)
    _compare_nests("Hessian-vector product", "autograd of the loss", product.arrays, right_product.arrays, step, rtol)
    _compare_nests("mixed product with hyper", "autograd of the loss", mixed, right_mixed, step, rtol)
    size = 1e-5 if layout.dtypes[0] == np.float64 else 1e-2
    shifted = [layout.of(w + sign * size * d for w, d in zip(point.arrays, direction.arrays)) for sign in (1, -1)]
    gradients = [layout.vector(), layout.vector()]
    for moved, to in zip(shifted, gradients):
        written.gradient(moved.arrays, step, to.arrays, Arena())
    difference = [(a - b) / (2 * size) for a, b in zip(*(g.arrays for g in gradients))]
    scale = max(_norm(difference), _norm(gradient.arrays))
    _compare_nests(
        "Hessian-vector product",
        "differences of the gradient",
        product.arrays,
        difference,
        step,
        rtol_difference,
        scale,
    )


def _norm(arrays: list) -> float:
    return float(np.sqrt(sum(float(np.vdot(a, a)) for a in arrays)))


def _compare_nests(what: str, other: str, found: list, right: list, step: int, rtol: float, scale: float = 0.0) -> None:
    error = _norm([np.asarray(a) - np.asarray(b) for a, b in zip(found, right)])
    norm, tiny = max(_norm(right), scale), np.finfo(float).tiny
    if not error <= rtol * norm + tiny:
        raise LossDerivativeError(
            f"the {what} written out for the loss is not that of the loss: at step {step} its norm is "
            f"{_norm(found):.6g}, by {other} {_norm(right):.6g}; relative error {error / max(norm, tiny):.1e}, "
            f"allowed {rtol:.0e}"
        )
