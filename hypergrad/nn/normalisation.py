"""Layer normalisation, with derivatives that are primitives of their own, for use in any loss.

For a row x of D numbers with mean μ and σ² = ⟨x − μ, x − μ⟩ / D + ε

    n = (x − μ) / σ = D ∂σ/∂x,   and   ∂n/∂x g = (g − ⟨1, g⟩/D − n ⟨n, g⟩/D) / σ = J g

so J is symmetric and serves both modes, and so is its own derivative, for vectors g and c,

    ∂/∂x ⟨c, J g⟩ = −(n ⟨c, J g⟩ + J c ⟨n, g⟩ + J g ⟨n, c⟩) / (D σ).
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np

from ..bridge import defjvp, defvjp, isbox, primitive
from ..errors import ArgumentError
from .arrays import check_floats, shape_of


def layer_norm(x, gain=None, bias=None, *, eps: float = 1e-5):
    """Rows of mean 0 and variance 1, times ``gain``, plus ``bias``.

        y = gain · (x − mean x) / √(var x + eps) + bias,   over the last axis

    A constant row gives ``bias``, and its derivatives are finite. Differentiable in x, gain and bias, to any order
    and in both modes.

    Args:
      x: floats of shape (…, D).
      gain, bias: floats of shape (D,); left out if None.
      eps: a number > 0, added to the variance.

    Returns:
      An array like x.

    Raises:
      ArgumentError: an argument that is none of these.

    Costs a few passes over x for the value, and about twice as many for each derivative.

    Source: Ba, Kiros & Hinton (2016).

    >>> layer_norm(np.array([[1.0, 3.0], [5.0, 5.0]]), eps=1e-12).round(6)
    array([[-1.,  1.],
           [ 0.,  0.]])
    """
    x = check_floats(x, "x", ("D",))
    if isbox(eps) or not isinstance(eps, int | float | np.number) or not (np.isfinite(eps) and eps > 0):
        raise ArgumentError(f"eps of layer_norm must be a finite number > 0, got {eps!r}")
    width = shape_of(x)[-1:]
    for name, given in (("gain", gain), ("bias", bias)):
        if given is not None and shape_of(check_floats(given, name, ("D",))) != width:
            raise ArgumentError(f"{name} has shape {shape_of(given)}, but rows of x need {width}")
    y = _normalised(x, float(eps))
    y = y if gain is None else y * gain
    return y if bias is None else y + bias


def _mean_product(a, b) -> Any:
    """Means of a · b along the rows, shape (…, 1)."""
    if isbox(a) or isbox(b):
        return anp.mean(a * b, axis=-1, keepdims=True)
    means = np.vecdot(a, b)[..., None]
    means /= a.shape[-1]
    return means


def _rows_and_scale(x, eps: float) -> tuple:
    """n and 1 / σ."""
    centred = x - anp.mean(x, axis=-1, keepdims=True)
    scale = (_mean_product(centred, centred) + eps) ** -0.5
    return centred * scale, scale


def _times_jacobian(n, scale, g) -> Any:
    """J g."""
    return (g - anp.mean(g, axis=-1, keepdims=True) - n * _mean_product(n, g)) * scale


@primitive
def _normalised(x, eps):
    return _rows_and_scale(x, eps)[0]


@primitive
def _jacobian_product(x, g, eps):
    return _times_jacobian(*_rows_and_scale(x, eps), g)


def _second_product(x, g, c, eps):
    """∂/∂x ⟨c, J g⟩."""
    n, scale = _rows_and_scale(x, eps)
    of_g, of_c = _times_jacobian(n, scale, g), _times_jacobian(n, scale, c)
    return -scale * (n * _mean_product(c, of_g) + of_c * _mean_product(n, g) + of_g * _mean_product(n, c))


defvjp(_normalised, lambda ans, x, eps: lambda g: _jacobian_product(x, g, eps), argnums=(0,))
defjvp(_normalised, lambda g, ans, x, eps: _jacobian_product(x, g, eps), argnums=(0,))
defvjp(
    _jacobian_product,
    lambda ans, x, g, eps: lambda c: _second_product(x, g, c, eps),
    lambda ans, x, g, eps: lambda c: _jacobian_product(x, c, eps),
    argnums=(0, 1),
)
defjvp(
    _jacobian_product,
    lambda d, ans, x, g, eps: _second_product(x, g, d, eps),
    lambda d, ans, x, g, eps: _jacobian_product(x, d, eps),
    argnums=(0, 1),
)
