"""The diagonal linear recurrence, for use in any loss, and models of sequences made of it.

For h_k = z_k ⊙ h_{k−1} + x_k, k = 1 … T, and a cotangent g of h, the adjoint is the same recurrence backwards,

    λ_k = g_k + z_{k+1} ⊙ λ_{k+1}          x̄_k = λ_k          z̄_k = λ_k ⊙ h_{k−1}          h̄_0 = z_1 ⊙ λ_1,

where in complex arithmetic nothing is conjugated, because autograd's cotangent of a complex number a + ib is
∂L/∂a − i ∂L/∂b. A tangent runs forwards: ḣ_k = z_k ⊙ ḣ_{k−1} + (ẋ_k + ż_k ⊙ h_{k−1}). The two recurrences are each
other's adjoint in x and g, so they are closed under differentiation to all orders.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import autograd.numpy as anp
import numpy as np

from ..bridge import defjvp, defjvp_argnums, defvjp, defvjp_argnums, getval, primitive, sum_outgrads
from ..errors import ArgumentError
from .arrays import check_floats, shape_of


def diagonal_recurrence(z, x, h0=None):
    """All states of a linear recurrence whose units do not mix.

        h_k = z_k ⊙ h_{k−1} + x_k,   k = 1 … T

    Differentiable in z, x and h0, to any order and in both modes. What is real has real derivatives, also where the
    others are complex; those of complex arguments are autograd's, ∂L/∂Re − i ∂L/∂Im.

    Args:
      z: real or complex, of shape (N,) if it is the same at all positions, or of the shape of x.
      x: real or complex, of shape (…, T, N).
      h0: the state before the first position, of shape (…, N); 0 if None.

    Returns:
      h_1 … h_T, shape (…, T, N), laid out in memory like x. Where position is the slowest axis of x in
      memory, each step works on memory in one piece.

    Raises:
      ArgumentError: an argument that is none of these.

    Costs O(T) for the value and for every derivative: T steps of two operations on (…, N).

    >>> diagonal_recurrence(np.array([0.5]), np.array([[1.0], [1.0], [1.0]])).ravel().tolist()
    [1.0, 1.5, 1.75]
    """
    x = check_floats(x, "x", ("T", "N"), kinds="fc", what="real or complex floats")
    z = check_floats(z, "z", ("N",), kinds="fc", what="real or complex floats")
    shape = shape_of(x)
    if shape_of(z) not in (shape, shape[-1:]):
        raise ArgumentError(f"z has shape {shape_of(z)}, but x of shape {shape} needs {shape[-1:]} or {shape}")
    if h0 is not None:
        h0 = check_floats(h0, "h0", ("N",), kinds="fc", what="real or complex floats")
        if shape_of(h0) != shape[:-2] + shape[-1:]:
            raise ArgumentError(f"h0 has shape {shape_of(h0)}, but x of shape {shape} needs {shape[:-2] + shape[-1:]}")
    return _forwards(z, x, h0)


# What overflows here shows in the parameters, where training looks for it and reports the step.
_reported = np.errstate(over="ignore", invalid="ignore")


def _by_time(a: np.ndarray) -> np.ndarray:
    return np.moveaxis(a, -2, 0)


@_reported
def _run(factors: Iterable, sources: np.ndarray, states: np.ndarray, state: Any) -> None:
    """Write state ← factor · state + source for each position; ``state`` is the one before, None for 0."""
    for factor, source, to in zip(factors, sources, states):
        if state is None:
            to[...] = source
        else:
            np.multiply(factor, state, out=to)
            to += source
        state = to


@primitive
def _forwards(z, x, h0):
    h = np.empty_like(x, dtype=np.result_type(z, x, x if h0 is None else h0))
    factors = [z] * x.shape[-2] if z.ndim == 1 else _by_time(z)
    _run(factors, _by_time(x), _by_time(h), h0)
    return h


@primitive
def _backwards(z, g):
    """λ_k = g_k + z_{k+1} λ_{k+1}."""
    adjoint = np.empty_like(g, dtype=np.result_type(z, g))
    factors = [z] * g.shape[-2] if z.ndim == 1 else [None, *_by_time(z)[:0:-1]]
    _run(factors, _by_time(g)[::-1], _by_time(adjoint)[::-1], None)
    return adjoint


@primitive
def _lagged(h, first):
    """h_{k−1}: ``first`` (0 if None), then all but the last."""
    lagged = np.empty_like(h)
    lagged[..., 0, :] = 0.0 if first is None else first
    lagged[..., 1:, :] = h[..., :-1, :]
    return lagged


@primitive
def _leading(g):
    """g_{k+1}, 0 after the last."""
    leading = np.empty_like(g)
    leading[..., :-1, :] = g[..., 1:, :]
    leading[..., -1, :] = 0.0
    return leading


def _like(target, value) -> Any:
    """A derivative as the argument has it: real, or summed over the positions at which it is the same."""
    axes = tuple(range(len(shape_of(value)) - len(shape_of(target))))
    value = anp.sum(value, axis=axes) if axes else value
    return anp.real(value) if np.iscomplexobj(getval(value)) and not np.iscomplexobj(getval(target)) else value


def _forwards_vjp(argnums, ans, args, kwargs):
    z, x, h0 = args

    def pull(g):
        adjoint = _backwards(z, g)
        bars = []
        for argnum in argnums:
            if argnum == 0:
                bars.append(_like(z, adjoint * _lagged(ans, h0)))
            elif argnum == 1:
                bars.append(_like(x, adjoint))
            else:
                first = z if len(shape_of(z)) == 1 else z[..., 0, :]
                bars.append(_like(h0, first * adjoint[..., 0, :]))
        return tuple(bars)

    return pull


def _forwards_jvp(argnums, gs, ans, args, kwargs):
    z, x, h0 = args
    given = dict(zip(argnums, gs))
    sources = []
    if 0 in given:
        sources.append(given[0] * _lagged(ans, h0))
    if 1 in given:
        sources.append(given[1])
    source = sources[0] + sources[1] if len(sources) == 2 else sources[0] if sources else np.zeros_like(getval(x))
    return _whole(_forwards(z, source, given.get(2)), ans)


def _whole(tangent, ans) -> Any:
    """A tangent in the number type of its value."""
    is_narrow = np.iscomplexobj(getval(ans)) and not np.iscomplexobj(getval(tangent))
    return tangent + 0j if is_narrow else tangent


def _backwards_vjp(argnums, ans, args, kwargs):
    z, g = args

    def pull(c):
        states = _forwards(z, c, None)
        return tuple(_like(z, ans * _lagged(states, None)) if n == 0 else _like(g, states) for n in argnums)

    return pull


def _backwards_jvp(argnums, gs, ans, args, kwargs):
    given = dict(zip(argnums, gs))
    sources = [_leading(given[0] * ans)] if 0 in given else []
    sources += [given[1]] if 1 in given else []
    return _whole(_backwards(args[0], sum_outgrads(sources)), ans)


defvjp_argnums(_forwards, _forwards_vjp)
defjvp_argnums(_forwards, _forwards_jvp)
defvjp_argnums(_backwards, _backwards_vjp)
defjvp_argnums(_backwards, _backwards_jvp)
defvjp(_lagged, lambda ans, h, first: lambda g: _leading(g), lambda ans, h, first: lambda g: _like(first, g[..., 0, :]))
defjvp(
    _lagged,
    lambda g, ans, h, first: _lagged(g, None),
    lambda g, ans, h, first: _lagged(np.zeros_like(getval(h)), g),
)
defvjp(_leading, lambda ans, g: lambda c: _lagged(c, None))
defjvp(_leading, lambda c, ans, g: _leading(c))
