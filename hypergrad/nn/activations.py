"""Activation functions, with the first two derivatives that a Hessian-vector product needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import autograd.numpy as anp
import numpy as np

from ..bridge import defjvp, defvjp, primitive
from ..errors import ArgumentError


class Activation(NamedTuple):
    """An elementwise function φ, and its derivatives computed from z and a = φ(z).

    Attributes:
      value: φ(z), in autograd.numpy.
      write: writes φ(z) into an array, from (z, that array), in plain NumPy; to the same bits.
      slope: φ'(z), from (z, a), in plain NumPy.
      bend: φ''(z), from (z, a, slope), in plain NumPy; None where it vanishes.
      needs_preactivation: whether the derivatives are computed from z; where not, they are given None for it.

    The derivatives return arrays of their own, which the caller may change.
    """

    value: Callable
    write: Callable
    slope: Callable
    bend: Callable | None
    needs_preactivation: bool


def _tanh_slope(z, a):
    slope = a * a
    return np.subtract(1.0, slope, out=slope)


def _tanh_bend(z, a, slope):
    bend = a * slope
    bend *= -2.0
    return bend


@primitive
def _tanh(x):
    """The hyperbolic tangent; autograd's derivative of it takes a cosh, which is slow and overflows far out."""
    return np.tanh(x)


defvjp(_tanh, lambda ans, x: lambda g: g * (1.0 - ans * ans))
defjvp(_tanh, lambda g, ans, x: g * (1.0 - ans * ans))


@primitive
def _erf(x):
    """The error function; autograd's has no forward mode."""
    from scipy.special import erf

    return erf(x)


def _erf_slope(x):
    return 2 * np.pi**-0.5 * anp.exp(-(x**2))


defvjp(_erf, lambda ans, x: lambda g: g * _erf_slope(x))
defjvp(_erf, lambda g, ans, x: g * _erf_slope(x))


def _gelu(z):
    return z * 0.5 * (1.0 + _erf(z * 2**-0.5))


def _normal_density(z):
    return np.exp(-0.5 * z * z) * (2 * np.pi) ** -0.5


def _gelu_slope(z, a):
    return 0.5 * (1.0 + _erf(z * 2**-0.5)) + z * _normal_density(z)


def _write_gelu(z, to):
    to[...] = _gelu(z)


ACTIVATIONS = {
    "tanh": Activation(_tanh, lambda z, to: np.tanh(z, out=to), _tanh_slope, _tanh_bend, False),
    "relu": Activation(
        lambda z: z * (z > 0.0),  # not np.maximum, whose derivative at 0 is 1/2 in autograd
        lambda z, to: np.multiply(z, z > 0.0, out=to),
        lambda z, a: (a > 0.0).astype(a.dtype),
        None,
        False,
    ),
    "gelu": Activation(_gelu, _write_gelu, _gelu_slope, lambda z, a, slope: (2.0 - z * z) * _normal_density(z), True),
    "identity": Activation(lambda z: z, lambda z, to: np.copyto(to, z), lambda z, a: np.ones_like(a), None, False),
}


def get(name: str) -> Activation:
    """The activation of that name.

    Raises:
      ArgumentError: there is none.
    """
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ArgumentError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]
