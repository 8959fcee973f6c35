"""Derivatives in several directions by one run in forward mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np

from .bridge import NESTED, getval, isbox, jvps
from .errors import ArgumentError, DifferentiationError, NestError
from .nests import Structure, check_leaves, flatten, leaf_places, leaves_like, unflatten


class ForwardTangents(NamedTuple):
    """What :func:`forward_tangents` returns.

    Attributes:
      value: f(hypers), a number or an array.
      derivatives: along each direction, shape ``(K, *value.shape)``; or, if no directions were given, the gradient (the
        Jacobian, if the value is an array): a nest like ``hypers`` with leaves of shape
        ``(*value.shape, *leaf.shape)``.
    """

    value: Any
    derivatives: Any


def forward_tangents(f: Callable, hypers: Any, directions: Any = None) -> ForwardTangents:
    """The value of a function and its derivatives in K directions, by one run in forward mode.

        ∂f(x + ε d_k) / ∂ε   at ε = 0,   k = 1 … K

    Whatever ``f`` does runs once: each training carries all K tangents along, and its gradients are computed once a
    step and not K times. Reverse mode is better for many hyperparameters; this is for a few, in memory that does not
    depend on the number of steps, and for many losses at once (``save_at``), which all come from the same run.

    Args:
      f: written with autograd.numpy; it trains by :func:`hypergrad.train`, as often as it likes, and returns a number,
        an array or a list of numbers.
      hypers: a nest of float arrays and numbers, which ``f`` is called with.
      directions: a nest like ``hypers`` of arrays with an axis more, the first, of length K ≥ 1. If None, those of all
        single numbers in ``hypers``, K of them, so that the derivatives are the whole gradient.

    Returns:
      A :class:`ForwardTangents`: ``value``, ``derivatives``.

    Raises:
      NestError: ``hypers`` holds something else, or ``directions`` is another nest.
      ArgumentError: directions of the wrong shape or of different numbers, none at all, or a result that is no array.
      DifferentiationError: ``hypers`` is itself being differentiated, or a function in ``f`` has no derivative in
        forward mode.
      DivergedError: training diverged; and whatever else ``f`` raises.

    Cost, in matrix products a step and layer: 2 + 2 K, where K runs with one direction each take 4 K; as stacked
    products where the loss has them written out (:class:`hypergrad.nn.MinibatchLoss` of an :class:`hypergrad.nn.MLP`),
    and one after the other elsewhere. Memory: K times parameters, optimizer state and activations, and K numbers a step
    for each schedule.

    >>> import hypergrad as hg
    >>> bowl = lambda w, hyper, step: 0.5 * anp.sum(w**2)
    >>> def final_loss(lrs):
    ...     return bowl(hg.train(bowl, np.ones(2), hg.SGD(lrs, momentum=0.0), steps=2), None, 2)
    >>> value, gradient = forward_tangents(final_loss, np.array([0.5, 0.0]))
    >>> float(value), gradient.tolist()  # of (1 - a)² (1 - b)²
    (0.25, [-1.0, -0.5])
    """
    leaves, structure = flatten(hypers)
    leaves = check_leaves(leaves, leaf_places(structure, "hypers"))
    if any(map(isbox, leaves)):
        raise DifferentiationError(f"hypers of forward_tangents is being differentiated, but {NESTED}")
    arrays = [np.asarray(leaf) for leaf in leaves]
    stacks = _unit_directions(arrays) if directions is None else _checked(directions, arrays, structure)
    (value,), tangents = jvps(lambda boxes: [_array(f(unflatten(structure, boxes)))], leaves, stacks)
    derivatives = np.array([tangent for (tangent,) in tangents], dtype=np.asarray(value).dtype)
    if directions is not None:
        return ForwardTangents(value, derivatives)
    ends = np.cumsum([a.size for a in arrays])[:-1]
    gradients = [
        np.moveaxis(part, 0, -1).reshape((*np.shape(value), *a.shape))[()]
        for part, a in zip(np.split(derivatives, ends), arrays)
    ]
    return ForwardTangents(value, unflatten(structure, gradients))


def _array(result: Any) -> Any:
    """What a function returned, as a number or an array."""
    result = anp.array(result) if isinstance(result, list | tuple) else result
    plain = getval(result)
    if not isinstance(plain, float | np.floating | np.ndarray) or np.asarray(plain).dtype.kind != "f":
        raise ArgumentError(
            "f must return a number, an array or a list of numbers, such as losses after training, got "
            f"{type(plain).__name__} {plain!r:.60}"
        )
    return result


def _unit_directions(arrays: list) -> list:
    """For each array its tangents along every single number of all of them, stacked."""
    sizes = [a.size for a in arrays]
    count, start, stacks = sum(sizes), 0, []
    if count == 0:
        raise ArgumentError("hypers has no numbers to differentiate by")
    for a, size in zip(arrays, sizes):
        stack = np.zeros((count, size), a.dtype)
        stack[start + np.arange(size), np.arange(size)] = 1.0
        stacks.append(stack.reshape(count, *a.shape))
        start += size
    return stacks


def _checked(directions: Any, arrays: list, structure: Structure) -> list:
    """The directions of each array, stacked."""
    found = leaves_like(directions, structure)
    if found is None:
        raise NestError(
            "directions must be a nest like hypers, with the same keys and lengths, whose arrays have an axis more, "
            f"the first, for the directions; got {directions!r:.100}"
        )
    places = leaf_places(structure, "directions")
    found = [np.asarray(leaf) for leaf in check_leaves(found, places)]
    counts = {}
    for leaf, a, place in zip(found, arrays, places):
        if isbox(leaf):
            raise DifferentiationError(f"{place} is being differentiated: give plain numbers")
        if leaf.ndim != a.ndim + 1 or leaf.shape[1:] != a.shape:
            wanted = ", ".join(["K", *map(str, a.shape)]) + ("," if a.ndim == 0 else "")
            raise ArgumentError(
                f"{place} has shape {leaf.shape}, but it must be ({wanted}) for K directions of {a.shape or 'a number'}"
            )
        counts[place] = len(leaf)
    if len(set(counts.values())) > 1:
        raise ArgumentError(f"directions must be equally many in every array, got {counts}")
    if 0 in counts.values() or not counts:
        raise ArgumentError("directions has none: give at least one, or None for those of all single numbers in hypers")
    return [leaf.astype(a.dtype, copy=False) for leaf, a in zip(found, arrays)]
