"""Losses written with jax.numpy: their derivatives are traced and compiled by JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..bridge import getval
from ..checks import check_dtype
from ..errors import ArgumentError
from ..nests import Structure, as_numpy, check_leaves, flatten, is_tracer_of_jax, leaf_places, unflatten
from ..workspace import Arena, row
from .autograd import warn_if_unused
from .base import Inputs, Linearized, Loss, register
from .jax_step import CompiledStep, Linear
from .jax_tracing import TRACING, Compiled, Traced, apply, as_dtype, check_float, jax_for, precision


def from_jax(loss: Callable, *, dtype: Any = None) -> JaxLoss:
    """A loss written with jax.numpy, for :func:`hypergrad.train`: JAX traces it once and compiles its derivatives.

        loss = hg.losses.from_jax(lambda params, hyper, step: jnp.mean((X @ params["w"] - y) ** 2))

    It trains with every optimizer, adjoint and mode. Gradient and what its products need come from one executable, so
    that a step that is computed again has the same bits. Called with the arguments of a loss it is a function that
    autograd differentiates, in both modes, so it can be part of another loss or of what is differentiated.

    Args:
      loss: ``loss(params, hyper, step)``, a float scalar, a pure function in jax.numpy. All three are traced: choose
        the minibatch of ``step`` by ``jax.lax.dynamic_slice`` or indexing of a JAX array, random numbers by
        ``jax.random.fold_in(key, step)``. What it captures is constant from its first call on, as in ``jax.jit``:
        values to be changed or differentiated come in through ``hyper``.
      dtype: what it computes in, float64 or float32; if None, that of the arrays of ``params``. The parameters and
        their updates keep their own dtype.

    Returns:
      The loss, an object that cannot be changed.

    Raises:
      ArgumentError: ``loss`` is no function, or ``dtype`` none of those.
      MissingExtraError: JAX is not installed.

    Training then raises LossError for what cannot be traced, is no scalar, does not depend on ``params``, or captures
    a float32 array in a float64 run.

    Cost: one compilation for each structure and shapes of ``params`` and ``hyper``; then a call a step for the gradient
    and one for the product. The parameters are copied to JAX's device at each step, and the gradient back.
    """
    jax_for("hg.losses.from_jax")
    if not callable(loss):
        raise ArgumentError(f"from_jax needs a function loss(params, hyper, step), got {loss!r}")
    return JaxLoss(loss, check_dtype(dtype, "dtype of from_jax"))


def jax_function(f: Callable, *, dtype: Any = None) -> JaxFunction:
    """A function written with jax.numpy as one that autograd differentiates: a validation loss, or a part of one.

        validation_loss = hg.losses.jax_function(lambda params: jnp.mean((X_valid @ params["w"] - y_valid) ** 2))

    Differentiable in reverse mode, in forward mode, and in both again, by every float array or number in its arguments;
    so a function that autograd differentiates may mix autograd.numpy and jax.numpy.

    Args:
      f: takes nests of float or integer arrays and numbers, all of which are traced, and returns a float array or a
        nest of those. What else it needs, a flag or a shape, it captures; that is constant from the first call on.
      dtype: what it computes in, float64 or float32; if None, float64, unless all float arrays among its arguments
        are float32.

    Returns:
      The function. It returns NumPy arrays.

    Raises:
      ArgumentError: ``f`` is no function, or ``dtype`` none of those.
      MissingExtraError: JAX is not installed.

    Cost: one compilation for each structure and shapes of its arguments, and one for each derivative of it. A first
    derivative in reverse mode does not compute the value again.
    """
    jax_for("hg.losses.jax_function")
    if not callable(f):
        raise ArgumentError(f"jax_function needs a function, got {f!r}")
    return JaxFunction(f, check_dtype(dtype, "dtype of jax_function"))


class _OfJax:
    """A function in jax.numpy with what was traced and compiled of it, for each form of its arguments."""

    __slots__ = ("_made", "dtype", "function")

    function: Callable
    dtype: np.dtype | None
    _made: dict

    def __init__(self, function: Callable, dtype: np.dtype | None):
        for name, value in (("function", function), ("dtype", dtype), ("_made", {})):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value):
        raise AttributeError(
            f"{name} of a {type(self).__name__} cannot be changed, since what is compiled belongs to it; make another"
        )

    def __reduce__(self):
        return type(self), (self.function, self.dtype)

    def _once(self, key: Any, make: Callable) -> Any:
        """What is made for a key, and JAX's own x64 flag: by one thread, once."""
        import jax

        key = key, jax.config.jax_enable_x64
        with TRACING:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]


class JaxFunction(_OfJax):
    """What :func:`jax_function` returns."""

    __slots__ = ()

    def __call__(self, *arguments):
        leaves, structure = flatten(arguments)
        if any(map(is_tracer_of_jax, leaves)):  # it is part of another function in JAX
            return self.function(*arguments)
        places = [place.removeprefix("arguments") for place in leaf_places(structure, "arguments")]
        leaves = [_number(leaf, f"argument {place}") for leaf, place in zip(leaves, places)]
        arrays = [np.asarray(getval(leaf)) for leaf in leaves]
        dtype = self.dtype or _dtype_of(arrays)
        traced, compiled = self._once(
            (structure, _forms(arrays), dtype), lambda: self._trace_form(structure, arrays, dtype)
        )
        results = apply(compiled, *leaves)
        return unflatten(traced.structure, [results[i] for i in range(traced.structure.size)])

    def _trace_form(self, structure: Structure, arrays: list, dtype: np.dtype) -> tuple[Traced, Compiled]:
        def check(results, structure):
            for result, place in zip(results, leaf_places(structure, "its result")):
                check_float(result, place, "the function")

        function = lambda leaves: self.function(*unflatten(structure, leaves))
        traced = Traced(function, [as_dtype(a, dtype) for a in arrays], dtype, "the function", check)
        return traced, Compiled(traced, traced.constants, dtype)


class JaxLoss(_OfJax):
    """What :func:`from_jax` returns: a loss in jax.numpy, and its derivatives by JAX."""

    __slots__ = ()

    def __init_subclass__(cls):
        raise TypeError("a JaxLoss cannot be derived from, since its derivatives belong to its function")

    def __call__(self, params, hyper, step):
        (param_leaves, structure), (hyper_leaves, hyper_structure) = flatten(params), flatten(hyper)
        if any(map(is_tracer_of_jax, [*param_leaves, *hyper_leaves, step])):  # it is part of another function in JAX
            return self.function(params, hyper, step)
        param_leaves = check_leaves(param_leaves, leaf_places(structure, "params"))
        hyper_leaves = check_leaves(hyper_leaves, leaf_places(hyper_structure, "hyper"))
        arrays = [[np.asarray(getval(leaf)) for leaf in leaves] for leaves in (param_leaves, hyper_leaves)]
        step_of_run = self.step_for(structure, hyper_structure, *arrays)
        return apply(step_of_run.compiled, *param_leaves, *hyper_leaves, step)[0]

    def step_for(self, params: Structure, hyper: Structure, param_arrays: list, hyper_arrays: list) -> CompiledStep:
        """What is compiled for parameters and ``hyper`` of these structures and shapes."""
        dtype = self.dtype or _dtype_of(param_arrays)
        key = params, hyper, _forms(param_arrays), _forms(hyper_arrays), dtype
        make = lambda: CompiledStep(self.function, params, hyper, param_arrays, hyper_arrays, dtype)
        return self._once(key, make)


def _forms(arrays: list) -> tuple:
    return tuple((a.shape, a.dtype.str if a.dtype.kind != "f" else "f") for a in arrays)


def _dtype_of(arrays: list) -> np.dtype:
    """float64, unless all floats are float32."""
    floats = {a.dtype for a in arrays if a.dtype.kind == "f"}
    return np.dtype(np.float32 if floats == {np.dtype(np.float32)} else np.float64)


def _number(leaf, place: str):
    """An argument of a function: a float or integer array or number."""
    leaf = as_numpy(leaf, place)
    if np.asarray(getval(leaf)).dtype.kind not in "fiub":
        raise ArgumentError(
            f"{place} is {leaf!r:.100}, but a function in JAX takes nests of arrays and numbers; let it capture what "
            "else it needs"
        )
    return leaf


class LossOfJax(Loss):
    """The loss of a run, with JAX's derivatives of it."""

    keeps_params = False  # JAX may use an array's memory as it is: of parameters that are kept, it gets copies

    def __init__(self, loss: JaxLoss, inputs: Inputs):
        self.loss, self.inputs = loss, inputs
        self._compiled: CompiledStep | None = None

    def is_closed(self, steps: int) -> bool:
        return self._compiled is not None and self._compiled.closed

    def working(self, kept: int) -> int:
        return 2 * kept  # of a step that is computed again, and what a product works with

    def value(self, params: list, step: int) -> float:
        compiled = self._for(params)
        with precision(compiled.dtype):
            return float(compiled.at(self._given(params), self._hs, step)[0])

    def gradient(self, params: list, step: int, to: list, arena: Arena) -> float | None:
        return self._at(params, step, to, None)[0]

    def linearize(self, params: list, step: int, to: list, arena: Arena) -> Linearized:
        compiled, with_hyper = self._for(params), self.inputs.wants_hyper
        pull = compiled.pull_with_hyper if with_hyper else compiled.pull
        value, kept = self._at(params, step, to, pull)

        def product(direction: list, to: list, add: bool = False) -> list:
            if with_hyper and step == 0 and not compiled.uses_hyper:
                warn_if_unused([None])
            with precision(compiled.dtype):
                bars = pull.apply(kept, self._given(direction))
            _write(bars[: len(to)], to, add)
            return [np.asarray(bar).astype(h.dtype) for bar, h in zip(bars[len(to) :], self.inputs.hyper_leaves)]

        return Linearized(value, product, lambda: compiled.nbytes(kept, pull))

    def tangents(self, params, step, to, params_dots, hyper_dots, to_dots, arena):
        compiled, with_hyper = self._for(params), self.inputs.wants_hyper
        if with_hyper and step == 0 and not compiled.uses_hyper:
            warn_if_unused([None])
        push = compiled.push_with_hyper if with_hyper else compiled.push
        value, kept = self._at(params, step, to, push)
        directions = [*params_dots, *hyper_dots] if with_hyper else params_dots
        for k in range(len(to_dots[0])):
            with precision(compiled.dtype):
                dots = push.apply(kept, self._given(row(directions, k)))
            _write(dots, row(to_dots, k))
        return value

    def _at(self, params: list, step: int, to: list, linear: Linear | None) -> tuple[float, list]:
        """Write the gradient; returns the loss, and what the linear function needs."""
        compiled = self._for(params)
        with precision(compiled.dtype):
            ws = self._given(params)
            for i in compiled.kept_params:
                ws[i] = ws[i].copy()
            value, gradient, kept = compiled.at(ws, self._hs, step, linear)
        _write(gradient, to)
        return float(value), kept

    def _for(self, params: list) -> CompiledStep:
        if self._compiled is None:
            hyper = flatten(None)[1] if self.inputs.hyper is None else self.inputs.hyper
            self._compiled = self.loss.step_for(self.inputs.params, hyper, params, self.inputs.hyper_leaves)
            self._hs = self._given([h.copy() for h in self.inputs.hyper_leaves])
        return self._compiled

    def _given(self, arrays: list) -> list:
        """The arrays in the dtype of the loss; the run's own memory, if they have it already."""
        return [as_dtype(a, self._compiled.dtype) for a in arrays]  # type: ignore[union-attr]


def _write(values: list, to: list, add: bool = False) -> None:
    """Write what JAX computed over arrays, or add it to them."""
    for value, array in zip(values, to):
        if add:
            array += np.asarray(value)
        else:
            array[...] = np.asarray(value)


register(JaxLoss, LossOfJax)
