"""Activation functions, to be called in any loss, and with their derivatives written out for models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bridge import defjvp, defvjp, getval, isbox, primitive
from ..errors import ArgumentError, DifferentiationError


@dataclass(frozen=True, eq=False)
class Activation:
    """An elementwise function φ, called like one: ``hg.nn.gelu(z)``.

    Differentiable in both modes, to third order at the least. Its derivatives are finite far out too
    (at ±1e4, say), where the second one of autograd's ``tanh``, and those of formulas with ``exp``, are NaN. It keeps
    the dtype of z.

    Attributes:
      name: of the function.
      value: φ(z), of arrays and of what is being differentiated.
      write: writes φ(z) into an array, from (z, that array), in plain NumPy; to the same bits. It may be that of z.
      slope: φ'(z), from (z, a = φ(z)), in plain NumPy.
      bend: φ''(z), from (z, a, slope), in plain NumPy; None where it vanishes.
      needs_preactivation: whether the derivatives are computed from z; where not, they are given None for it.
      gain: about by how much the variance of weights must be larger than 1 / fan-in, so that that of z stays.
      made_by: the function that makes it, and its arguments.
      formula: what it is, for its docstring.

    ``slope`` and ``bend`` return arrays of their own, which the caller may change.
    """

    name: str
    value: Callable
    write: Callable
    slope: Callable
    bend: Callable | None
    needs_preactivation: bool
    made_by: tuple
    gain: float = 1.0
    formula: str = ""

    def __post_init__(self):
        if self.formula:  # else the docstring is that of the class
            words = "An elementwise function with derivatives to third order, finite far out too, in the dtype of z."
            object.__setattr__(self, "__doc__", f"The activation {self.formula}.\n\n{words}")

    def __call__(self, z):
        return self.value(z)

    def __repr__(self):
        return f"hg.nn.{self.name}"

    def __reduce__(self):
        return self.made_by  # a copy of the functions would be without the rules of their derivatives


def get(activation: Any) -> Activation:
    """The activation of that name, or the object itself.

    Raises:
      ArgumentError: there is none.
    """
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ArgumentError(
            f"activation must be one of {', '.join(ACTIVATIONS)}, or an object such as hg.nn.leaky_relu(0.1), "
            f"got {activation!r}"
        )
    return ACTIVATIONS[activation]


def leaky_relu(slope: float = 0.01) -> Activation:
    """The activation max(z, 0) + slope · min(z, 0); its derivative at 0 is ``slope``.

    Args:
      slope: a number ≥ 0.

    Raises:
      ArgumentError: it is none.

    >>> leaky_relu(0.1)(np.array([-2.0, 3.0]))
    array([-0.2,  3. ])
    """
    if isbox(slope) or not isinstance(slope, int | float | np.number) or not (np.isfinite(slope) and slope >= 0):
        raise ArgumentError(f"slope of leaky_relu must be a finite number ≥ 0, got {slope!r}")
    below = float(slope)

    def slope_of(z, a):  # a and z have the same sign
        slopes = np.full_like(a, below)
        slopes[a > 0.0] = 1.0
        return slopes

    def write(z, to):
        np.multiply(z, slope_of(z, z), out=to)

    return _activation(
        f"leaky_relu({below:g})", write, slope_of, None, made_by=(leaky_relu, (below,)), gain=2.0 / (1.0 + below**2)
    )


def tanhshrink(a: Any = 1.0, b: Any = 1.0) -> Activation:
    """The activation z − a · tanh(z / b): small slope 1 − a/b at 0, and far out the identity less ±a.

    Called, it can be differentiated in a and b too, which may come from ``params`` or ``hyper``; as the
    activation of a model they are numbers.

    Args:
      a, b: numbers, or arrays that broadcast against z, one value for each unit; b is not 0.

    Raises:
      ArgumentError: a or b not finite, or b = 0.

    >>> from autograd import grad
    >>> float(grad(lambda b: tanhshrink(2.0, b)(0.5))(1.0).round(6))
    0.786448
    """
    for name, given in (("a", a), ("b", b)):
        plain = np.asarray(getval(given))
        if plain.dtype.kind not in "fiu" or not np.isfinite(plain).all() or (name == "b" and not plain.all()):
            wanted = "finite and not 0" if name == "b" else "finite"
            raise ArgumentError(f"{name} of tanhshrink must be {wanted}, got {getval(given)!r}")
    are_numbers = not (isbox(a) or isbox(b)) and np.ndim(a) == np.ndim(b) == 0
    if are_numbers:
        a, b = float(a), float(b)

    def value(z):
        shrunk = z - a * tanh(z / b)
        dtype = np.result_type(getval(z))  # that of a and b may be another
        return shrunk if getval(shrunk).dtype == dtype or dtype.kind != "f" else shrunk.astype(dtype)

    def write(z, to):
        to[...] = z - a * np.tanh(z / b)

    def slope_of(z, _):
        slopes = np.tanh(z / b)
        slopes *= slopes
        slopes -= 1.0
        slopes *= a / b
        slopes += 1.0
        return slopes

    def bend_of(z, _, slope):
        bends = np.tanh(z / b)
        bends *= 1.0 - slope
        bends *= 2.0 / b
        return bends

    written = (write, slope_of, bend_of) if are_numbers else (_of_numbers_only,) * 3
    name = f"tanhshrink({a:g}, {b:g})" if are_numbers else "tanhshrink(…)"
    return Activation(name, value, *written, True, (tanhshrink, (a, b)))


def _of_numbers_only(*_):
    raise DifferentiationError(
        "tanhshrink with a or b that is an array, or being differentiated, cannot be the activation of this model, "
        "whose derivatives are written out; call it in a loss of your own"
    )


def _activation(
    name: str,
    write: Callable,
    slope: Callable,
    bend: Callable | None,
    third: Callable | None = None,
    *,
    needs_preactivation: bool = False,
    made_by: tuple | None = None,
    gain: float = 1.0,
    formula: str = "",
) -> Activation:
    """An activation by functions in plain NumPy; ``third`` is φ'''(z), from (z, a, slope, bend)."""

    def value(z):
        a = np.empty(z.shape, z.dtype if z.dtype.kind == "f" else float)
        write(z, a)
        return a

    orders = [value, slope] if bend is None else [value, slope, bend, third]
    phi = _differentiable(name, orders)
    return Activation(name, phi, write, slope, bend, needs_preactivation, made_by or (get, (name,)), gain, formula)


def _differentiable(name: str, orders: list) -> Callable:
    """The first of these functions as one for autograd, of which each is the derivative of the one before.

    Each is given z and the values of all before it. A function of two orders is piecewise linear: its derivative
    is constant.
    """
    functions = [_elementwise(function, name + "'" * order) for order, function in enumerate(orders)]
    for order, function in enumerate(functions[:-1]):
        _link(function, functions[order + 1], constant=len(orders) == 2)
    if len(orders) > 2:
        _link(functions[-1], _no_further, constant=False)
    return functions[0]


def _link(function: Callable, derivative: Callable, constant: bool) -> None:
    """Tell autograd the derivative of a function of z; the values before it are taken for constants."""

    def times_derivative(g, ans, z, *before):
        return g * derivative(getval(z) if constant else z, *before, getval(ans))

    defvjp(function, lambda ans, z, *before: lambda g: times_derivative(g, ans, z, *before), argnums=(0,))
    defjvp(function, times_derivative, argnums=(0,))


def _no_further(*_):
    raise DifferentiationError(
        "the activations of hg.nn have derivatives to third order; write the function with autograd.numpy for more"
    )


def _elementwise(function: Callable, name: str) -> Callable:
    """For autograd, and for single numbers too."""

    def of_z(z, *before):
        z = np.asarray(z)
        if z.ndim == 0:
            return function(z.reshape(1), *(np.reshape(x, 1) for x in before))[0]
        return function(z, *before)

    of_z.__name__ = name
    return primitive(of_z)


def _tanh_slope(z, a):
    slope = a * a
    return np.subtract(1.0, slope, out=slope)


def _tanh_bend(z, a, slope):
    bend = a * slope
    bend *= -2.0
    return bend


def _sigmoid(z):
    small = np.exp(-np.abs(z))  # does not overflow
    return np.where(z >= 0.0, 1.0, small) / (1.0 + small)


def _write_sigmoid(z, to):
    to[...] = _sigmoid(z)


def _write_silu(z, to):
    np.multiply(z, _sigmoid(z), out=to)


def _silu_slope(z, a):
    p = _sigmoid(z)
    return p * (1.0 + z * (1.0 - p))


def _silu_bend(z, a, slope):
    p = _sigmoid(z)
    return p * (1.0 - p) * (2.0 + z * (1.0 - 2.0 * p))


def _silu_third(z, a, slope, bend):
    p = _sigmoid(z)
    p_slope = p * (1.0 - p)
    return p_slope * ((1.0 - 2.0 * p) * (3.0 + z * (1.0 - 2.0 * p)) - 2.0 * z * p_slope)


def _twice_normal_cdf(z):
    """2 Φ(z), with the normal distribution function Φ."""
    from scipy.special import erf

    return 1.0 + erf(z * 2**-0.5)


def _normal_density(z):
    return np.exp(-0.5 * z * z) * (2 * np.pi) ** -0.5


def _write_gelu(z, to):
    to[...] = z * 0.5 * _twice_normal_cdf(z)


def _gelu_slope(z, a):
    return 0.5 * _twice_normal_cdf(z) + z * _normal_density(z)


tanh = _activation(
    "tanh",
    lambda z, to: np.tanh(z, out=to),
    _tanh_slope,
    _tanh_bend,
    lambda z, a, slope, bend: -2.0 * slope * (slope - 2.0 * a * a),
    formula="tanh(z)",
)
relu = _activation(
    "relu",
    lambda z, to: np.multiply(z, z > 0.0, out=to),  # the derivative at 0 is 0
    lambda z, a: (a > 0.0).astype(a.dtype),
    None,
    gain=2.0,
    formula="max(z, 0); its derivative at 0 is 0",
)
gelu = _activation(
    "gelu",
    _write_gelu,
    _gelu_slope,
    lambda z, a, slope: (2.0 - z * z) * _normal_density(z),
    lambda z, a, slope, bend: z * (z * z - 4.0) * _normal_density(z),
    needs_preactivation=True,
    gain=2.0,
    formula="z Φ(z), exact, with the normal distribution function Φ; of Hendrycks & Gimpel (2016)",
)
sigmoid = _activation(
    "sigmoid",
    _write_sigmoid,
    lambda z, a: a * (1.0 - a),
    lambda z, a, slope: slope * (1.0 - 2.0 * a),
    lambda z, a, slope, bend: slope * (1.0 - 6.0 * slope),
    formula="1 / (1 + e⁻ᶻ)",
)
silu = _activation(
    "silu",
    _write_silu,
    _silu_slope,
    _silu_bend,
    _silu_third,
    needs_preactivation=True,
    gain=2.0,
    formula="z / (1 + e⁻ᶻ); of Elfwing, Uchibe & Doya (2018)",
)
identity = Activation(
    "identity",
    lambda z: z,
    lambda z, to: np.copyto(to, z),
    lambda z, a: np.ones_like(a),
    None,
    False,
    (get, ("identity",)),
    formula="z: none at all",
)
ACTIVATIONS = {phi.name: phi for phi in (tanh, relu, gelu, sigmoid, silu, identity)}
